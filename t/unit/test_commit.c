/*
 * The commit file: what was written is read back, and nothing that is damaged is taken.
 */

#include "tap.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "nuc_commit.h"
#include "nuc_crc32c.h"
#include "nuc_fs.h"
#include "sim.h"

/* Whatever a sink may put there. */
static const char sink_state[] = "root a b\n12 x\ncrc32c 00000000\n\0\xff";

static char dir[NUC_PATH_MAX];

static void fill(nuc_commit_t *commit, size_t npositions)
{
    size_t i;

    nuc_commit_init(commit);
    commit->generation = 7;
    commit->counts = (nuc_counts_t){
        .read = 100,
        .delivered = 90,
        .delivered_bytes = UINT64_MAX,
        .filtered = 9,
        .corrupt = 1,
    };

    commit->positions = calloc(npositions + 1, sizeof(nuc_log_position_t));
    commit->books = calloc(npositions + 1, sizeof(nuc_book_t));
    commit->npositions = npositions;
    commit->retired = (nuc_retired_t){50, 3, {.corrupt = npositions == 0}};

    for (i = 0; i < npositions; i++) {
        memset(commit->positions[i].writer.b, (int) i + 1, 16);
        commit->positions[i].sequence = UINT64_MAX - i;
        commit->positions[i].segment = 10 * i;
        commit->positions[i].offset = i;
        commit->positions[i].skipped = 100 * i;
    }

    /* together with the retired ones' those of the pipeline */
    commit->retired.book.delivered = 90;
    commit->retired.book.filtered = 9;

    for (i = 0; i < npositions; i++) {
        commit->books[i] = (nuc_book_t){20, 2, i == 0};
        commit->retired.book.delivered -= 20;
        commit->retired.book.filtered -= 2;
    }

    nuc_buf_append(&commit->sink_state, sink_state, sizeof(sink_state));
}

static int same(const nuc_commit_t *a, const nuc_commit_t *b)
{
    size_t i;

    if (a->generation != b->generation || a->npositions != b->npositions ||
        memcmp(&a->counts, &b->counts, sizeof(a->counts)) != 0 ||
        memcmp(&a->retired, &b->retired, sizeof(a->retired)) != 0 ||
        a->sink_state.len != b->sink_state.len ||
        (a->sink_state.len > 0 &&
         memcmp(a->sink_state.data, b->sink_state.data, a->sink_state.len) != 0)) {
        return 0;
    }

    for (i = 0; i < a->npositions; i++) {
        if (memcmp(&a->positions[i], &b->positions[i], sizeof(a->positions[i])) != 0 ||
            memcmp(&a->books[i], &b->books[i], sizeof(a->books[i])) != 0) {
            return 0;
        }
    }

    return 1;
}

static nuc_rc_t decode(const void *text, size_t len, nuc_err_t *err)
{
    nuc_rc_t rc;
    nuc_commit_t commit;

    nuc_commit_init(&commit);
    rc = nuc_commit_decode((nuc_str_t){text, len}, &commit, err);
    nuc_commit_free(&commit);

    return rc;
}

static void test_round_trip(void)
{
    size_t n;
    nuc_buf_t text = NUC_BUF_INIT;
    nuc_err_t err;
    nuc_commit_t commit, back;

    for (n = 0; n < 4; n++) {
        fill(&commit, n);
        nuc_buf_reset(&text);
        nuc_commit_encode(&commit, &text);
        nuc_commit_init(&back);

        ok(nuc_commit_decode((nuc_str_t){text.data, text.len}, &back, &err) == NUC_OK &&
               same(&commit, &back),
           "a commit of %zu writers is read back as it was", n);

        nuc_commit_free(&back);
        nuc_commit_free(&commit);
    }

    nuc_buf_free(&text);
}

static void test_damage(void)
{
    size_t i;
    unsigned bit, taken = 0;
    nuc_buf_t text = NUC_BUF_INIT;
    nuc_err_t err;
    nuc_commit_t commit;

    fill(&commit, 2);
    nuc_commit_encode(&commit, &text);
    nuc_commit_free(&commit);

    for (i = 0; i < text.len; i++) {
        for (bit = 0; bit < 8; bit++) {
            text.data[i] ^= (uint8_t) (1u << bit);
            taken += decode(text.data, text.len, &err) == NUC_OK;
            text.data[i] ^= (uint8_t) (1u << bit);
        }
    }

    is_int(taken, 0, "no flipped bit is taken");

    for (i = 0; i < text.len; i++) {
        taken += decode(text.data, i, &err) == NUC_OK;
    }

    is_int(taken, 0, "no shorter text is taken");

    nuc_buf_char(&text, '\n');
    is_int(decode(text.data, text.len, &err), NUC_CORRUPT, "no longer text is taken");
    nuc_buf_free(&text);
}

/* A text with a right checksum, and what is said of it. */
static void check_text(const char *body, nuc_rc_t rc, const char *message)
{
    nuc_buf_t text = NUC_BUF_INIT;
    nuc_err_t err = {.message = ""};

    nuc_buf_str(&text, nuc_str(body));
    nuc_buf_printf(&text, "crc32c %08x\n", nuc_crc32c(0, text.data, text.len));

    is_int(decode(text.data, text.len, &err), rc, "%s: %s", nuc_rc_name(rc), message);
    is_str(err.message, message, "%s", message);
    nuc_buf_free(&text);
}

#define COUNTS  "read 3\ndelivered 1\ndelivered_bytes 5\nfiltered 1\ncorrupt 1\n"
#define PLACE   "writer 01a1fdfc-1f1c-714d-b0ba-4f377f23ac2a segment 1 offset 2 sequence 4"
#define WRITER  PLACE " skipped 0 delivered 1 filtered 0 corrupt 1\n"
#define RETIRED "retired sequences 1 skipped 0 delivered 0 filtered 1 corrupt 0\n"
#define HEAD    "nucleus-commit 2\ngeneration 1\n"

static void test_contents(void)
{
    check_text(HEAD COUNTS WRITER RETIRED "sink 2\nab\n", NUC_OK, "");
    check_text("nucleus-commit 3\nwhatever it holds\n", NUC_INVALID,
               "the commit has version 3, this program reads up to 2");
    check_text("nucleus-commit 0\nwhatever it holds\n", NUC_INVALID,
               "the commit has version 0, this program reads up to 2");
    check_text("something else\n", NUC_CORRUPT,
               "the commit is damaged: it does not begin as one");
    check_text(HEAD "read 4\ndelivered 1\ndelivered_bytes 5\n"
                    "filtered 1\ncorrupt 1\n" WRITER RETIRED "sink 0\n\n",
               NUC_CORRUPT, "the commit is damaged: its counts do not add up");
    check_text(HEAD COUNTS WRITER WRITER RETIRED "sink 0\n\n", NUC_CORRUPT,
               "the commit is damaged: its counts do not add up");
    check_text(HEAD COUNTS RETIRED "sink 0\n\n", NUC_CORRUPT,
               "the commit is damaged: its counts do not add up");
    check_text("nucleus-commit 2\ngeneration 18446744073709551616\n" COUNTS WRITER RETIRED
               "sink 0\n\n",
               NUC_CORRUPT, "the commit is damaged: bad line of a count");
    check_text("nucleus-commit 2\ngeneration -1\n" COUNTS WRITER RETIRED "sink 0\n\n",
               NUC_CORRUPT, "the commit is damaged: bad line of a count");
    check_text(HEAD COUNTS "writer 01a1 segment 1\n" RETIRED "sink 0\n\n", NUC_CORRUPT,
               "the commit is damaged: bad line of a writer");
    check_text(HEAD COUNTS PLACE "\n" RETIRED "sink 0\n\n", NUC_CORRUPT,
               "the commit is damaged: bad line of a writer");
    check_text(HEAD COUNTS WRITER "sink 0\n\n", NUC_CORRUPT,
               "the commit is damaged: bad line of the retired writers");
    check_text(HEAD COUNTS WRITER RETIRED "sink 3\nab\n", NUC_CORRUPT,
               "the commit is damaged: more text than it should have");
    check_text(HEAD COUNTS WRITER RETIRED "sink 4\nab\n", NUC_CORRUPT,
               "the commit is damaged: bad length of the sink's state");
    check_text(HEAD COUNTS WRITER RETIRED "sink 1\nab\n", NUC_CORRUPT,
               "the commit is damaged: more text than it should have");
}

/* Version 1 knew no books of the writers. */
static void test_older(void)
{
    nuc_buf_t text = NUC_BUF_INIT;
    nuc_err_t err;
    nuc_commit_t commit;
    static const char body[] =
        "nucleus-commit 1\ngeneration 5\n" COUNTS PLACE "\nsink 2\nab\n";

    nuc_buf_str(&text, nuc_str(body));
    nuc_buf_printf(&text, "crc32c %08x\n", nuc_crc32c(0, text.data, text.len));
    nuc_commit_init(&commit);

    is_int(nuc_commit_decode((nuc_str_t){text.data, text.len}, &commit, &err), NUC_OK,
           "a commit of version 1 is read");
    ok(commit.generation == 5 && commit.counts.delivered == 1 && commit.npositions == 1 &&
           commit.positions[0].sequence == 4 && commit.sink_state.len == 2,
       "with all that it says");
    ok(commit.positions[0].skipped == 3 && commit.books[0].delivered == 0 &&
           commit.retired.sequences == 3 && commit.retired.book.delivered == 1,
       "its writers' books begin here, what it had counted is the retired ones'");
    ok(nuc_commit_unbalanced(&commit, 0) == 0 && nuc_commit_unbalanced(&commit, 1) == 0,
       "and they balance");

    nuc_buf_reset(&text);
    nuc_commit_encode(&commit, &text);
    nuc_commit_free(&commit);
    nuc_commit_init(&commit);
    ok(nuc_commit_decode((nuc_str_t){text.data, text.len}, &commit, &err) == NUC_OK &&
           commit.positions[0].skipped == 3 &&
           strncmp((char *) text.data, "nucleus-commit 2\n", 17) == 0,
       "it is written in version 2");

    nuc_commit_free(&commit);
    nuc_buf_free(&text);
}

/* What is passed and not counted is seen. */
static void test_books(void)
{
    size_t at = 0;
    nuc_err_t err;
    nuc_commit_t commit, copy;
    nuc_log_position_t position = {.sequence = 11, .skipped = 2};

    nuc_commit_init(&commit);
    nuc_commit_init(&copy);
    memset(position.writer.b, 7, 16);

    is_int(nuc_commit_set_position(&commit, &position, &at, &err), NUC_OK,
           "a writer comes");
    commit.books[at] = (nuc_book_t){5, 2, 1};
    is_int(nuc_commit_unbalanced(&commit, 0), 0, "10 = 2 + 5 + 2 + 1");

    commit.positions[0].sequence++;
    is_int(nuc_commit_unbalanced(&commit, 0), 1, "a record that nobody counted is seen");
    commit.books[0].delivered += 3;
    is_int(nuc_commit_unbalanced(&commit, 0), -2, "and two that were counted twice");
    commit.books[0].delivered -= 2;
    is_int(nuc_commit_unbalanced(&commit, 0), 0, "else nothing");

    position.sequence = 31;
    is_int(nuc_commit_skip_to(&commit, &position, &err), NUC_OK,
           "another worker has gone on from there");
    ok(nuc_commit_unbalanced(&commit, 0) == 0 && commit.positions[0].skipped == 21 &&
           commit.npositions == 1,
       "what it has passed is skipped: %llu",
       (unsigned long long) commit.positions[0].skipped);

    memset(position.writer.b, 8, 16);
    is_int(nuc_commit_skip_to(&commit, &position, &err), NUC_OK,
           "and read from a writer that is not known here");
    ok(nuc_commit_unbalanced(&commit, 1) == 0 && commit.positions[1].skipped == 30 &&
           commit.npositions == 2,
       "all of that is skipped");

    commit.retired = (nuc_retired_t){12, 1, {9, 1, 0}};
    is_int(nuc_commit_unbalanced(&commit, 2), 1, "retired writers are not forgotten");

    ok(nuc_commit_take_books(&copy, &commit, &err) == NUC_OK && same(&copy, &commit),
       "the books can be copied");

    nuc_commit_free(&copy);
    nuc_commit_free(&commit);
}

static void write_text(const char *text)
{
    nuc_err_t err;

    if (nuc_fs_replace(&nuc_sys_posix, dir, NUC_COMMIT_NAME, nuc_str(text), 0640, "test",
                       "test", &err) != NUC_OK) {
        diag("%s", err.message);
    }
}

static void test_files(void)
{
    nuc_err_t err;
    nuc_commit_t commit, back;
    struct stat st;
    char path[NUC_PATH_MAX];

    nuc_commit_init(&back);
    is_int(nuc_commit_read(&nuc_sys_posix, dir, &back, &err), NUC_NOT_FOUND,
           "a missing commit is not found, and not empty");

    fill(&commit, 3);
    is_int(nuc_commit_write(&nuc_sys_posix, dir, &commit, &err), NUC_OK, "it is written");
    ok(nuc_commit_read(&nuc_sys_posix, dir, &back, &err) == NUC_OK &&
           same(&commit, &back),
       "and read");
    nuc_commit_free(&back);
    nuc_commit_free(&commit);

    nuc_path_join(path, dir, NUC_COMMIT_NAME, &err);
    ok(stat(path, &st) == 0 && (st.st_mode & 0777 & ~0640) == 0,
       "others may not read it");

    write_text("nucleus-commit 1\n");
    is_int(nuc_commit_read(&nuc_sys_posix, dir, &back, &err), NUC_CORRUPT,
           "damage is an error");
    ok(strstr(err.message, path) != NULL, "which names the file: %s", err.message);
    ok(strstr(err.hint, "--forget") != NULL, "and says what to do: %s", err.hint);
    nuc_commit_free(&back);

    write_text("nucleus-commit 9\n");
    is_int(nuc_commit_read(&nuc_sys_posix, dir, &back, &err), NUC_INVALID,
           "another version is an error");
    ok(strstr(err.hint, "version") != NULL, "which says what to do: %s", err.hint);
    nuc_commit_free(&back);
}

int main(void)
{
    snprintf(dir, sizeof(dir), "%s/nuc-commit-XXXXXX",
             getenv("TMPDIR") != NULL ? getenv("TMPDIR") : "/tmp");

    if (mkdtemp(dir) == NULL) {
        diag("mkdtemp \"%s\": %s", dir, strerror(errno));
        return 1;
    }

    test_round_trip();
    test_damage();
    test_contents();
    test_older();
    test_books();
    test_files();

    sim_remove_tree(dir);

    return tap_done();
}
