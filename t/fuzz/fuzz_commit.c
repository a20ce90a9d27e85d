/*
 * The commit of a pipeline: hostile text decoded, with its checksum as it came or made
 * right; a commit that was encoded decodes as itself.
 *
 * Input: a first byte that chooses; then a text, or choices that make a commit.
 */

#include <inttypes.h>

#include "fuzz.h"
#include "memfs.h"
#include "nuc_commit.h"
#include "nuc_crc32c.h"

#define DIR       "/state"
#define SUM_LINE  16 /* bytes of the last line */
#define POSITIONS 40

static void check_same(const nuc_commit_t *a, const nuc_commit_t *b)
{
    size_t i;
    const nuc_log_position_t *p, *q;

    FUZZ_CHECK(a->generation == b->generation, "the generation");
    FUZZ_CHECK(memcmp(&a->counts, &b->counts, sizeof(a->counts)) == 0, "the counts");
    FUZZ_CHECK(a->npositions == b->npositions, "the number of positions");
    FUZZ_CHECK(nuc_str_eq((nuc_str_t){a->sink_state.data, a->sink_state.len},
                          (nuc_str_t){b->sink_state.data, b->sink_state.len}),
               "the sink's state");

    for (i = 0; i < a->npositions; i++) {
        p = &a->positions[i];
        q = &b->positions[i];
        FUZZ_CHECK(nuc_uuid_cmp(&p->writer, &q->writer) == 0 &&
                       p->segment == q->segment && p->offset == q->offset &&
                       p->sequence == q->sequence && p->skipped == q->skipped,
                   "position %zu", i);
        FUZZ_CHECK(memcmp(&a->books[i], &b->books[i], sizeof(a->books[i])) == 0,
                   "book %zu", i);
    }

    FUZZ_CHECK(memcmp(&a->retired, &b->retired, sizeof(a->retired)) == 0,
               "the retired writers");
}

/* Through a file and back. */
static void check_file(const nuc_commit_t *commit)
{
    nuc_err_t err;
    memfs_t *fs;
    nuc_commit_t read;

    fs = memfs_create();
    memfs_mkdir(fs, DIR);
    nuc_commit_init(&read);

    FUZZ_CHECK(nuc_commit_read(memfs_sys(fs), DIR, &read, &err) == NUC_NOT_FOUND,
               "a commit where there is none");
    FUZZ_CHECK(nuc_commit_write(memfs_sys(fs), DIR, commit, &err) == NUC_OK, "%s",
               err.message);
    FUZZ_CHECK(nuc_commit_read(memfs_sys(fs), DIR, &read, &err) == NUC_OK, "%s",
               err.message);
    check_same(commit, &read);

    nuc_commit_free(&read);
    memfs_destroy(fs);
}

static void check_decoded(const nuc_commit_t *commit)
{
    FUZZ_CHECK(nuc_counts_balance(&commit->counts), "books that do not balance");
    check_file(commit);
}

/* No single bit of a commit may change unnoticed. */
static void check_damage(const nuc_commit_t *commit, uint64_t choice)
{
    nuc_err_t err;
    nuc_rc_t rc;
    nuc_buf_t text = NUC_BUF_INIT;
    nuc_commit_t decoded;

    nuc_commit_encode(commit, &text);
    text.data[choice / 8 % text.len] ^= (uint8_t) (1u << choice % 8);

    nuc_commit_init(&decoded);
    rc = nuc_commit_decode((nuc_str_t){text.data, text.len}, &decoded, &err);
    FUZZ_CHECK(rc == NUC_CORRUPT || rc == NUC_INVALID, "a changed bit answers %d", rc);
    fuzz_check_err(rc, &err);

    nuc_commit_free(&decoded);
    nuc_buf_free(&text);
}

/* The text with a last line that has the right sum. */
static void seal(nuc_buf_t *text)
{
    size_t len;

    len = text->len < SUM_LINE ? text->len : text->len - SUM_LINE;
    text->len = len;
    nuc_buf_printf(text, "crc32c %08" PRIx32 "\n", nuc_crc32c(0, text->data, len));
}

static void fuzz_decode(fuzz_input_t *in, int sealed)
{
    nuc_rc_t rc;
    nuc_err_t err;
    nuc_str_t text;
    nuc_buf_t buf = NUC_BUF_INIT;
    nuc_commit_t commit;

    text = fuzz_take_bytes(in, SIZE_MAX);
    nuc_buf_append(&buf, text.data, text.len);

    if (sealed) {
        seal(&buf);
    }

    text = fuzz_copy(buf.data, buf.len);
    nuc_commit_init(&commit);
    rc = nuc_commit_decode(text, &commit, &err);

    if (rc == NUC_OK) {
        check_decoded(&commit);
    } else {
        FUZZ_CHECK(rc == NUC_CORRUPT || rc == NUC_INVALID, "a bad text answers %d", rc);
        fuzz_check_err(rc, &err);
    }

    nuc_commit_free(&commit);
    nuc_buf_free(&buf);
    fuzz_free(text);
}

/* A book, which the pipeline's counts include. */
static void take_book(fuzz_input_t *in, nuc_commit_t *commit, nuc_book_t *book)
{
    *book = (nuc_book_t){fuzz_take(in, 6), fuzz_take(in, 4), fuzz_take(in, 4)};
    commit->counts.delivered += book->delivered;
    commit->counts.filtered += book->filtered;
    commit->counts.corrupt += book->corrupt;
}

static void fuzz_make(fuzz_input_t *in)
{
    size_t i;
    uint64_t damage;
    nuc_str_t state;
    nuc_commit_t commit;
    nuc_book_t books[POSITIONS];
    nuc_log_position_t positions[POSITIONS];

    nuc_commit_init(&commit);
    memset(positions, 0, sizeof(positions));
    memset(books, 0, sizeof(books));
    damage = fuzz_take(in, 4);

    commit.generation = fuzz_take(in, 8);
    take_book(in, &commit, &commit.retired.book);
    commit.counts.delivered_bytes = fuzz_take(in, 8);
    commit.retired.sequences = fuzz_take(in, 8);
    commit.retired.skipped = fuzz_take(in, 8);
    commit.positions = positions;
    commit.books = books;
    commit.npositions = fuzz_take_below(in, POSITIONS);

    for (i = 0; i < commit.npositions; i++) {
        memset(positions[i].writer.b, (int) fuzz_take(in, 1), 16);
        positions[i].segment = fuzz_take(in, 8);
        positions[i].offset = fuzz_take(in, 4);
        positions[i].sequence = fuzz_take(in, 8);
        positions[i].skipped = fuzz_take(in, 8);
        take_book(in, &commit, &books[i]);
    }

    commit.counts.read =
        commit.counts.delivered + commit.counts.filtered + commit.counts.corrupt;

    state = fuzz_take_bytes(in, SIZE_MAX);
    nuc_buf_append(&commit.sink_state, state.data, state.len);

    check_file(&commit);
    check_damage(&commit, damage);
    nuc_buf_free(&commit.sink_state);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    unsigned choice;
    fuzz_input_t in = {data, data + len};

    choice = fuzz_take_below(&in, 4);

    if (choice == 3) {
        fuzz_make(&in);
    } else {
        fuzz_decode(&in, choice != 0);
    }

    return 0;
}
