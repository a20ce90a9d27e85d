#include "nuc_bucket.h"

#include <stdatomic.h>

#include "nuc_siphash.h"

#define NUC_BUCKET_SECOND 1000000000u
#define NUC_BUCKET_SKEW                                                                  \
    (10 * (uint64_t) NUC_BUCKET_SECOND) /* between looks at the clock */
#define NUC_BUCKET_ALIGN   64
#define NUC_BUCKET_EMPTY   0 /* tags */
#define NUC_BUCKET_CLAIMED 1
#define NUC_BUCKET_TAGS    2 /* the first of a bucket */

_Static_assert(ATOMIC_LLONG_LOCK_FREE == 2 && sizeof(uint64_t) == sizeof(long long),
               "words of 64 bits must be lock-free");

typedef unsigned __int128 nuc_wide_t;

typedef struct {
    _Atomic uint64_t tag;
    _Atomic uint64_t tat; /* ns */
} nuc_bucket_way_t;

typedef struct {
    _Alignas(NUC_BUCKET_ALIGN) nuc_bucket_way_t ways[NUC_BUCKET_WAYS];
} nuc_bucket_set_t;

struct nuc_bucket_table_s {
    uint64_t key[2];
    uint64_t nsets;
    nuc_bucket_set_t sets[];
};

typedef enum {
    NUC_BUCKET_DONE,
    NUC_BUCKET_CHANGED, /* somebody else was first; tat is anew */
    NUC_BUCKET_GONE     /* the way is another bucket's */
} nuc_bucket_store_t;

nuc_bucket_table_t *nuc_bucket_init(void *memory, size_t size, const uint64_t key[2])
{
    size_t skip = -(uintptr_t) memory & (NUC_BUCKET_ALIGN - 1);
    nuc_bucket_table_t *table;

    if (size < skip + sizeof(*table) + sizeof(nuc_bucket_set_t)) {
        return NULL;
    }

    table = (void *) ((char *) memory + skip);
    memset(table, 0, size - skip);
    table->key[0] = key[0];
    table->key[1] = key[1];
    table->nsets = (size - skip - sizeof(*table)) / sizeof(nuc_bucket_set_t);

    return table;
}

size_t nuc_bucket_capacity(const nuc_bucket_table_t *table)
{
    return table->nsets * NUC_BUCKET_WAYS;
}

uint64_t nuc_bucket_name(const nuc_bucket_table_t *table, nuc_str_t name)
{
    return nuc_siphash(table->key, name.data, name.len);
}

/* One to one for each word: what was spread under the key stays so. */
static uint64_t nuc_bucket_mix(uint64_t hash, uint64_t word)
{
    hash = (hash ^ word) * 0x9e3779b97f4a7c15ULL;

    return hash ^ hash >> 32;
}

uint64_t nuc_bucket_tag(uint64_t kind, uint64_t name, const nuc_bucket_limit_t *limit)
{
    uint64_t tag = nuc_bucket_mix(name, kind);

    tag = nuc_bucket_mix(nuc_bucket_mix(tag, limit->rate), limit->burst);

    return tag < NUC_BUCKET_TAGS ? tag + NUC_BUCKET_TAGS : tag;
}

/* What the numbers say. */

static uint64_t nuc_bucket_burst(const nuc_bucket_limit_t *limit)
{
    return limit->burst >> 32 >= limit->rate ? limit->rate << 32 : limit->burst;
}

/* Mostly 64 bits will do, which the processor divides by itself. */
static uint64_t nuc_bucket_divide(nuc_wide_t number, uint64_t by)
{
    return number >> 64 == 0 ? (uint64_t) number / by : (uint64_t) (number / by);
}

static uint64_t nuc_bucket_cost(const nuc_bucket_limit_t *limit, uint64_t n)
{
    return nuc_bucket_divide((nuc_wide_t) n * NUC_BUCKET_SECOND + limit->rate - 1,
                             limit->rate);
}

/* "start" is tat or, if that has passed or is further ahead than can be, now. */
static nuc_rc_t nuc_bucket_judge(const nuc_bucket_limit_t *limit, uint64_t tat,
                                 uint64_t n, uint64_t now, uint64_t *start,
                                 nuc_bucket_answer_t *answer)
{
    uint64_t burst = nuc_bucket_burst(limit), ahead = tat > now ? tat - now : 0;
    nuc_wide_t used = (nuc_wide_t) ahead * limit->rate;
    nuc_wide_t all = (nuc_wide_t) burst * NUC_BUCKET_SECOND;

    if (used > all + (nuc_wide_t) NUC_BUCKET_SKEW * limit->rate) {
        ahead = 0;
        used = 0;
    }

    *start = now + ahead;
    answer->left = used < all ? nuc_bucket_divide(all - used, NUC_BUCKET_SECOND) : 0;
    answer->wait = 0;

    if (n <= answer->left) {
        return NUC_OK;
    }

    if (n > burst) {
        answer->wait = NUC_BUCKET_NEVER;
        return NUC_TOO_LARGE;
    }

    answer->wait = ahead - nuc_bucket_divide((nuc_wide_t) (burst - n) * NUC_BUCKET_SECOND,
                                             limit->rate);

    return NUC_AGAIN;
}

/* The table. */

static nuc_bucket_set_t *nuc_bucket_set(nuc_bucket_table_t *table, uint64_t tag)
{
    return &table->sets[(uint64_t) (((nuc_wide_t) tag * table->nsets) >> 64)];
}

static nuc_bucket_way_t *nuc_bucket_find(nuc_bucket_set_t *set, uint64_t tag)
{
    size_t i;

    for (i = 0; i < NUC_BUCKET_WAYS; i++) {
        if (atomic_load(&set->ways[i].tag) == tag) {
            return &set->ways[i];
        }
    }

    return NULL;
}

/* The way that is missed least; one that is claimed, perhaps by the dead, before the
 * busy. */
static nuc_bucket_way_t *nuc_bucket_victim(nuc_bucket_set_t *set, uint64_t now,
                                           uint64_t *tag)
{
    size_t i;
    uint64_t found, tat, least = 0;
    nuc_bucket_way_t *victim = NULL;

    for (i = 0; i < NUC_BUCKET_WAYS; i++) {
        found = atomic_load(&set->ways[i].tag);
        tat = found == NUC_BUCKET_CLAIMED ? now : atomic_load(&set->ways[i].tat);

        if (victim == NULL || tat < least) {
            victim = &set->ways[i];
            *tag = found;
            least = tat;
        }
    }

    return victim;
}

/* NULL when somebody else was first. */
static nuc_bucket_way_t *nuc_bucket_claim(nuc_bucket_set_t *set, uint64_t tag,
                                          uint64_t now)
{
    uint64_t found = NUC_BUCKET_EMPTY, claimed = NUC_BUCKET_CLAIMED, tat;
    nuc_bucket_way_t *way = nuc_bucket_victim(set, now, &found);

    if (found != NUC_BUCKET_CLAIMED &&
        !atomic_compare_exchange_strong(&way->tag, &found, NUC_BUCKET_CLAIMED)) {
        return NULL;
    }

    tat = atomic_load(&way->tat);

    if (!atomic_compare_exchange_strong(&way->tat, &tat, 0) ||
        !atomic_compare_exchange_strong(&way->tag, &claimed, tag)) {
        return NULL;
    }

    return way;
}

static nuc_bucket_way_t *nuc_bucket_get(nuc_bucket_set_t *set, uint64_t tag, uint64_t now)
{
    nuc_bucket_way_t *way;

    do {
        way = nuc_bucket_find(set, tag);

        if (way == NULL) {
            way = nuc_bucket_claim(set, tag, now);
        }
    } while (way == NULL);

    return way;
}

/* The tag is looked at last: what changed hands before that got a charge that is not its
 * own. */
static nuc_bucket_store_t nuc_bucket_store(nuc_bucket_way_t *way, uint64_t tag,
                                           uint64_t *tat, uint64_t next)
{
    int done = atomic_compare_exchange_strong(&way->tat, tat, next);

    if (atomic_load(&way->tag) == tag) {
        return done ? NUC_BUCKET_DONE : NUC_BUCKET_CHANGED;
    }

    if (done) {
        atomic_compare_exchange_strong(&way->tat, &next, *tat);
    }

    return NUC_BUCKET_GONE;
}

static nuc_bucket_store_t nuc_bucket_charge(nuc_bucket_way_t *way, uint64_t tag,
                                            const nuc_bucket_limit_t *limit, uint64_t n,
                                            uint64_t now, nuc_rc_t *rc,
                                            nuc_bucket_answer_t *answer)
{
    uint64_t start, tat = atomic_load(&way->tat);
    nuc_bucket_store_t stored;

    do {
        *rc = nuc_bucket_judge(limit, tat, n, now, &start, answer);

        if (*rc != NUC_OK) {
            return atomic_load(&way->tag) == tag ? NUC_BUCKET_DONE : NUC_BUCKET_GONE;
        }

        stored = nuc_bucket_store(way, tag, &tat, start + nuc_bucket_cost(limit, n));
    } while (stored == NUC_BUCKET_CHANGED);

    answer->left -= n;

    return stored;
}

nuc_rc_t nuc_bucket_take(nuc_bucket_table_t *table, uint64_t tag,
                         const nuc_bucket_limit_t *limit, uint64_t n, uint64_t now,
                         nuc_bucket_answer_t *answer)
{
    nuc_rc_t rc;
    nuc_bucket_way_t *way;
    nuc_bucket_set_t *set = nuc_bucket_set(table, tag);

    if (n == 0 || n > nuc_bucket_burst(limit)) {
        return nuc_bucket_peek(table, tag, limit, n, now, answer);
    }

    do {
        way = nuc_bucket_get(set, tag, now);
    } while (nuc_bucket_charge(way, tag, limit, n, now, &rc, answer) == NUC_BUCKET_GONE);

    return rc;
}

nuc_rc_t nuc_bucket_peek(nuc_bucket_table_t *table, uint64_t tag,
                         const nuc_bucket_limit_t *limit, uint64_t n, uint64_t now,
                         nuc_bucket_answer_t *answer)
{
    nuc_bucket_way_t *way = nuc_bucket_find(nuc_bucket_set(table, tag), tag);
    uint64_t start, tat = way != NULL ? atomic_load(&way->tat) : 0;

    return nuc_bucket_judge(limit, tat, n, now, &start, answer);
}

void nuc_bucket_give(nuc_bucket_table_t *table, uint64_t tag,
                     const nuc_bucket_limit_t *limit, uint64_t n, uint64_t taken,
                     uint64_t now)
{
    uint64_t tat, back = nuc_bucket_cost(limit, n), passed = now - taken;
    nuc_bucket_way_t *way = nuc_bucket_find(nuc_bucket_set(table, tag), tag);

    if (way == NULL || back <= passed) {
        return;
    }

    back -= passed;
    tat = atomic_load(&way->tat);

    while (nuc_bucket_store(way, tag, &tat, tat > back ? tat - back : 0) ==
           NUC_BUCKET_CHANGED) {
        continue;
    }
}
