#include "nuc_tally.h"

#include <stdatomic.h>

#include "nuc_siphash.h"

#define NUC_TALLY_ALIGN   64
#define NUC_TALLY_EMPTY   0 /* tags */
#define NUC_TALLY_CLAIMED 1
#define NUC_TALLY_TAGS    2 /* the first of a count */

_Static_assert(ATOMIC_LLONG_LOCK_FREE == 2 && sizeof(uint64_t) == sizeof(long long),
               "words of 64 bits must be lock-free");

typedef struct {
    _Atomic uint64_t tag;
    _Atomic uint64_t word;
} nuc_tally_way_t;

typedef struct {
    _Alignas(NUC_TALLY_ALIGN) nuc_tally_way_t ways[NUC_TALLY_WAYS];
} nuc_tally_set_t;

struct nuc_tally_table_s {
    uint64_t key[2];
    uint64_t nsets;
    _Atomic uint64_t missed;
    nuc_tally_set_t sets[];
};

/* What a word becomes on "day"; 0: it stays. */
typedef uint64_t (*nuc_tally_next_pt)(uint64_t word, uint64_t n, uint64_t max,
                                      uint64_t day);

nuc_tally_table_t *nuc_tally_init(void *memory, size_t size, const uint64_t key[2])
{
    size_t skip = -(uintptr_t) memory & (NUC_TALLY_ALIGN - 1);
    nuc_tally_table_t *table;

    if (size < skip + sizeof(*table) + sizeof(nuc_tally_set_t)) {
        return NULL;
    }

    table = (void *) ((char *) memory + skip);
    memset(table, 0, size - skip);
    table->key[0] = key[0];
    table->key[1] = key[1];
    table->nsets = (size - skip - sizeof(*table)) / sizeof(nuc_tally_set_t);

    return table;
}

size_t nuc_tally_capacity(const nuc_tally_table_t *table)
{
    return table->nsets * NUC_TALLY_WAYS;
}

uint64_t nuc_tally_tag(const nuc_tally_table_t *table, nuc_str_t name)
{
    uint64_t tag = nuc_siphash(table->key, name.data, name.len);

    return tag < NUC_TALLY_TAGS ? tag + NUC_TALLY_TAGS : tag;
}

/* What the words say. */

static uint64_t nuc_tally_day(uint64_t word)
{
    return word >> NUC_TALLY_BITS;
}

static uint64_t nuc_tally_word(uint64_t day, uint64_t count)
{
    return day << NUC_TALLY_BITS | count;
}

/* One that is further ahead is of a clock that was wrong. */
static int nuc_tally_is_past(uint64_t word, uint64_t day)
{
    return ((nuc_tally_day(word) - day) & (NUC_TALLY_DAYS - 1)) > 1;
}

static uint64_t nuc_tally_of(uint64_t word, uint64_t day)
{
    return nuc_tally_is_past(word, day) ? nuc_tally_word(day, 0) : word;
}

static uint64_t nuc_tally_next_take(uint64_t word, uint64_t n, uint64_t max, uint64_t day)
{
    uint64_t now = nuc_tally_of(word, day), count = now & NUC_TALLY_MAX;

    return count <= max && n <= max - count ? now + n : 0;
}

static uint64_t nuc_tally_next_raise(uint64_t word, uint64_t n, uint64_t max,
                                     uint64_t day)
{
    uint64_t now = nuc_tally_of(word, day), next = nuc_tally_word(day, n);

    (void) max;

    return now < next ? next : 0;
}

static nuc_rc_t nuc_tally_answer(uint64_t word, uint64_t n, uint64_t max, uint64_t day,
                                 nuc_tally_answer_t *answer)
{
    uint64_t now = nuc_tally_of(word, day);

    answer->day = nuc_tally_day(now);
    answer->count = now & NUC_TALLY_MAX;
    answer->left = answer->count < max ? max - answer->count : 0;

    return n > max ? NUC_TOO_LARGE : NUC_AGAIN;
}

/* The table. */

static nuc_tally_set_t *nuc_tally_set(nuc_tally_table_t *table, uint64_t tag)
{
    return &table->sets[(uint64_t) (((unsigned __int128) tag * table->nsets) >> 64)];
}

static nuc_tally_way_t *nuc_tally_find(nuc_tally_set_t *set, uint64_t tag)
{
    size_t i;

    for (i = 0; i < NUC_TALLY_WAYS; i++) {
        if (atomic_load(&set->ways[i].tag) == tag) {
            return &set->ways[i];
        }
    }

    return NULL;
}

static nuc_tally_way_t *nuc_tally_victim(nuc_tally_set_t *set, uint64_t day)
{
    size_t i;

    for (i = 0; i < NUC_TALLY_WAYS; i++) {
        if (nuc_tally_is_past(atomic_load(&set->ways[i].word), day)) {
            return &set->ways[i];
        }
    }

    return NULL;
}

/* Whether the way is now that of "tag"; if not, somebody else was first. */
static int nuc_tally_claim(nuc_tally_way_t *way, uint64_t tag, uint64_t day)
{
    uint64_t found = atomic_load(&way->tag), claimed = NUC_TALLY_CLAIMED;

    if (found == tag) {
        return 1;
    }

    if (found != NUC_TALLY_CLAIMED &&
        !atomic_compare_exchange_strong(&way->tag, &found, NUC_TALLY_CLAIMED)) {
        return 0;
    }

    if (!nuc_tally_is_past(atomic_load(&way->word), day)) {

        /* its owner counts again: who takes looks at the tag afterwards, as we do here */
        atomic_compare_exchange_strong(&way->tag, &claimed, found);
        return 0;
    }

    return atomic_compare_exchange_strong(&way->tag, &claimed, tag);
}

/* NULL: there is no place. */
static nuc_tally_way_t *nuc_tally_get(nuc_tally_set_t *set, uint64_t tag, uint64_t day)
{
    nuc_tally_way_t *way;

    for (;;) {
        way = nuc_tally_find(set, tag);

        if (way != NULL) {
            return way;
        }

        way = nuc_tally_victim(set, day);

        if (way == NULL || nuc_tally_claim(way, tag, day)) {
            return way;
        }
    }
}

/* The tag is looked at last: what changed hands before that is not its own. */
static int nuc_tally_store(nuc_tally_way_t *way, uint64_t tag, uint64_t *word,
                           uint64_t next)
{
    uint64_t before = *word, stored = next;

    if (!atomic_compare_exchange_strong(&way->word, word, next)) {
        return 0;
    }

    if (atomic_load(&way->tag) == tag) {
        return 1;
    }

    atomic_compare_exchange_strong(&way->word, &stored, before);

    return 0;
}

/* "*word" is what is there then.  NUC_AGAIN: "next" wants it to stay. */
static nuc_rc_t nuc_tally_change(nuc_tally_table_t *table, uint64_t tag,
                                 nuc_tally_next_pt next, uint64_t n, uint64_t max,
                                 uint64_t day, uint64_t *word)
{
    uint64_t to;
    nuc_tally_way_t *way;

    do {
        way = nuc_tally_get(nuc_tally_set(table, tag), tag, day);

        if (way == NULL) {
            atomic_fetch_add(&table->missed, 1);
            return NUC_FULL;
        }

        *word = atomic_load(&way->word);
        to = next(*word, n, max, day);

        if (to == 0) {
            return NUC_AGAIN;
        }
    } while (!nuc_tally_store(way, tag, word, to));

    *word = to;

    return NUC_OK;
}

nuc_rc_t nuc_tally_take(nuc_tally_table_t *table, uint64_t tag, uint64_t n, uint64_t max,
                        uint64_t day, nuc_tally_answer_t *answer)
{
    nuc_rc_t rc, why;
    uint64_t word = 0;

    max = max < NUC_TALLY_MAX ? max : NUC_TALLY_MAX;
    rc = nuc_tally_change(table, tag, nuc_tally_next_take, n, max, day, &word);
    why = nuc_tally_answer(word, n, max, day, answer);

    return rc == NUC_AGAIN ? why : rc;
}

void nuc_tally_give(nuc_tally_table_t *table, uint64_t tag, uint64_t n, uint64_t day)
{
    uint64_t word, count;
    nuc_tally_way_t *way = nuc_tally_find(nuc_tally_set(table, tag), tag);

    if (way == NULL) {
        return;
    }

    word = atomic_load(&way->word);

    /* a place of this day does not change hands on it */
    do {
        count = word & NUC_TALLY_MAX;

        if (nuc_tally_day(word) != day) {
            return;
        }
    } while (!atomic_compare_exchange_weak(
        &way->word, &word, nuc_tally_word(day, count > n ? count - n : 0)));
}

nuc_rc_t nuc_tally_raise(nuc_tally_table_t *table, uint64_t tag, uint64_t count,
                         uint64_t day)
{
    uint64_t word;
    nuc_rc_t rc;

    count = count < NUC_TALLY_MAX ? count : NUC_TALLY_MAX;
    rc = nuc_tally_change(table, tag, nuc_tally_next_raise, count, 0, day, &word);

    return rc == NUC_AGAIN ? NUC_OK : rc;
}

uint64_t nuc_tally_look(nuc_tally_table_t *table, uint64_t tag, uint64_t *day)
{
    nuc_tally_way_t *way = nuc_tally_find(nuc_tally_set(table, tag), tag);
    uint64_t word = way != NULL ? atomic_load(&way->word) : 0;

    *day = nuc_tally_day(word);

    return word & NUC_TALLY_MAX;
}

uint64_t nuc_tally_missed(const nuc_tally_table_t *table)
{
    return atomic_load(&table->missed);
}
