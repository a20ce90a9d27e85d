#include "nuc_commit.h"

#include <inttypes.h>
#include <stdlib.h>

#include "nuc_crc32c.h"
#include "nuc_fs.h"

#define NUC_COMMIT_MAGIC   "nucleus-commit "
#define NUC_COMMIT_VERSION 2
#define NUC_COMMIT_MAX     (64 * 1024 * 1024)
#define NUC_COMMIT_CRC_LEN 16 /* "crc32c 0a1b2c3d\n" */

/* What is left of the text; every reader below moves on, or answers 0 and the text is
 * damaged. */
typedef struct {
    const char *pos;
    const char *end;
} nuc_commit_cursor_t;

void nuc_commit_init(nuc_commit_t *commit)
{
    memset(commit, 0, sizeof(*commit));
    commit->sink_state = NUC_BUF_INIT;
}

void nuc_commit_free(nuc_commit_t *commit)
{
    free(commit->positions);
    free(commit->books);
    nuc_buf_free(&commit->sink_state);
    nuc_commit_init(commit);
}

int nuc_counts_balance(const nuc_counts_t *counts)
{
    return counts->read == counts->delivered + counts->filtered + counts->corrupt;
}

/* Positions and books. */

/* Room for "n" of both; what is there stays. */
static nuc_rc_t nuc_commit_grow(nuc_commit_t *commit, size_t n, nuc_err_t *err)
{
    nuc_book_t *books;
    nuc_log_position_t *positions;

    positions = realloc(commit->positions, (n + 1) * sizeof(*positions));
    if (positions != NULL) {
        commit->positions = positions;
    }

    books = realloc(commit->books, (n + 1) * sizeof(*books));
    if (books != NULL) {
        commit->books = books;
    }

    if (positions == NULL || books == NULL) {
        return nuc_err_set(err, NUC_NOMEM, "no memory for %zu positions", n);
    }

    return NUC_OK;
}

/* npositions: it is not there. */
static size_t nuc_commit_find(const nuc_commit_t *commit, const nuc_uuid_t *writer)
{
    size_t i;

    for (i = 0; i < commit->npositions; i++) {
        if (nuc_uuid_cmp(&commit->positions[i].writer, writer) == 0) {
            break;
        }
    }

    return i;
}

nuc_rc_t nuc_commit_set_position(nuc_commit_t *commit, const nuc_log_position_t *position,
                                 size_t *index, nuc_err_t *err)
{
    nuc_rc_t rc;

    if (*index >= commit->npositions ||
        nuc_uuid_cmp(&commit->positions[*index].writer, &position->writer) != 0) {
        *index = nuc_commit_find(commit, &position->writer);
    }

    if (*index == commit->npositions) {
        rc = nuc_commit_grow(commit, commit->npositions + 1, err);
        if (rc != NUC_OK) {
            return rc;
        }

        commit->books[commit->npositions++] = (nuc_book_t){0, 0, 0};
    }

    commit->positions[*index] = *position;

    return NUC_OK;
}

/* Sequences before the next one. */
static uint64_t nuc_commit_passed(const nuc_log_position_t *position)
{
    return position->sequence > 0 ? position->sequence - 1 : 0;
}

nuc_rc_t nuc_commit_skip_to(nuc_commit_t *commit, const nuc_log_position_t *position,
                            nuc_err_t *err)
{
    size_t i;
    uint64_t counted;
    nuc_rc_t rc;
    nuc_log_position_t old = {.sequence = 0};

    i = nuc_commit_find(commit, &position->writer);

    if (i < commit->npositions) {
        old = commit->positions[i];
    }

    rc = nuc_commit_set_position(commit, position, &i, err);
    if (rc != NUC_OK) {
        return rc;
    }

    counted = nuc_commit_passed(&old) - old.skipped;
    commit->positions[i].skipped = nuc_commit_passed(position) - counted;

    return NUC_OK;
}

/* Its writer's directory is gone; the last one takes its place. */
static void nuc_commit_retire(nuc_commit_t *commit, size_t i)
{
    const nuc_book_t *book = &commit->books[i];
    nuc_retired_t *retired = &commit->retired;

    retired->sequences += nuc_commit_passed(&commit->positions[i]);
    retired->skipped += commit->positions[i].skipped;
    retired->book.delivered += book->delivered;
    retired->book.filtered += book->filtered;
    retired->book.corrupt += book->corrupt;

    commit->npositions--;
    commit->positions[i] = commit->positions[commit->npositions];
    commit->books[i] = commit->books[commit->npositions];
}

nuc_rc_t nuc_commit_take_positions(nuc_commit_t *commit, nuc_log_reader_t *reader,
                                   nuc_err_t *err)
{
    size_t i, n, at;
    nuc_rc_t rc;
    const nuc_log_position_t *positions;

    n = nuc_log_reader_positions(reader, &positions);
    if (n == SIZE_MAX) {
        return nuc_err_set(err, NUC_NOMEM, "no memory for the reader's positions");
    }

    rc = nuc_commit_grow(commit, commit->npositions + n, err);
    if (rc != NUC_OK) {
        return rc;
    }

    for (i = 0; i < commit->npositions; /* void */) {
        if (nuc_log_position_of(positions, n, &commit->positions[i].writer) != NULL) {
            i++;
        } else {
            nuc_commit_retire(commit, i);
        }
    }

    for (i = 0; rc == NUC_OK && i < n; i++) {
        at = i;
        rc = nuc_commit_set_position(commit, &positions[i], &at, err);
    }

    return rc;
}

nuc_rc_t nuc_commit_take_books(nuc_commit_t *commit, const nuc_commit_t *from,
                               nuc_err_t *err)
{
    size_t i;
    nuc_rc_t rc;

    rc = nuc_commit_grow(commit, from->npositions, err);
    if (rc != NUC_OK) {
        return rc;
    }

    commit->npositions = from->npositions;

    for (i = 0; i < from->npositions; i++) {
        commit->positions[i] = from->positions[i];
        commit->books[i] = from->books[i];
    }

    commit->counts = from->counts;
    commit->retired = from->retired;

    return NUC_OK;
}

int64_t nuc_commit_unbalanced(const nuc_commit_t *commit, size_t index)
{
    uint64_t passed, skipped;
    const nuc_book_t *book;

    if (index < commit->npositions) {
        passed = nuc_commit_passed(&commit->positions[index]);
        skipped = commit->positions[index].skipped;
        book = &commit->books[index];
    } else {
        passed = commit->retired.sequences;
        skipped = commit->retired.skipped;
        book = &commit->retired.book;
    }

    return (int64_t) (passed - skipped - book->delivered - book->filtered -
                      book->corrupt);
}

/* Do the books of the writers make up those of the pipeline? */
static int nuc_commit_sums(const nuc_commit_t *commit)
{
    size_t i;
    nuc_book_t sum = commit->retired.book;

    for (i = 0; i < commit->npositions; i++) {
        sum.delivered += commit->books[i].delivered;
        sum.filtered += commit->books[i].filtered;
        sum.corrupt += commit->books[i].corrupt;
    }

    return nuc_counts_balance(&commit->counts) &&
           sum.delivered == commit->counts.delivered &&
           sum.filtered == commit->counts.filtered &&
           sum.corrupt == commit->counts.corrupt;
}

/* The text. */

static void nuc_commit_encode_book(const nuc_book_t *book, nuc_buf_t *out)
{
    nuc_buf_printf(out,
                   " delivered %" PRIu64 " filtered %" PRIu64 " corrupt %" PRIu64 "\n",
                   book->delivered, book->filtered, book->corrupt);
}

void nuc_commit_encode(const nuc_commit_t *commit, nuc_buf_t *out)
{
    size_t i, start;
    char writer[NUC_UUID_TEXT_LEN + 1];
    const nuc_log_position_t *p;

    start = out->len;

    nuc_buf_printf(out, NUC_COMMIT_MAGIC "%d\n", NUC_COMMIT_VERSION);
    nuc_buf_printf(out, "generation %" PRIu64 "\n", commit->generation);
    nuc_buf_printf(out, "read %" PRIu64 "\n", commit->counts.read);
    nuc_buf_printf(out, "delivered %" PRIu64 "\n", commit->counts.delivered);
    nuc_buf_printf(out, "delivered_bytes %" PRIu64 "\n", commit->counts.delivered_bytes);
    nuc_buf_printf(out, "filtered %" PRIu64 "\n", commit->counts.filtered);
    nuc_buf_printf(out, "corrupt %" PRIu64 "\n", commit->counts.corrupt);

    for (i = 0; i < commit->npositions; i++) {
        p = &commit->positions[i];
        *nuc_uuid_format(&p->writer, writer) = '\0';
        nuc_buf_printf(out,
                       "writer %s segment %" PRIu64 " offset %" PRIu64
                       " sequence %" PRIu64 " skipped %" PRIu64,
                       writer, p->segment, p->offset, p->sequence, p->skipped);
        nuc_commit_encode_book(&commit->books[i], out);
    }

    nuc_buf_printf(out, "retired sequences %" PRIu64 " skipped %" PRIu64,
                   commit->retired.sequences, commit->retired.skipped);
    nuc_commit_encode_book(&commit->retired.book, out);

    nuc_buf_printf(out, "sink %zu\n", commit->sink_state.len);
    nuc_buf_append(out, commit->sink_state.data, commit->sink_state.len);
    nuc_buf_char(out, '\n');

    if (!out->failed) {
        nuc_buf_printf(out, "crc32c %08" PRIx32 "\n",
                       nuc_crc32c(0, out->data + start, out->len - start));
    }
}

static int nuc_commit_take(nuc_commit_cursor_t *c, const char *literal)
{
    size_t len;

    len = strlen(literal);

    if ((size_t) (c->end - c->pos) < len || memcmp(c->pos, literal, len) != 0) {
        return 0;
    }

    c->pos += len;

    return 1;
}

static int nuc_commit_take_number(nuc_commit_cursor_t *c, uint64_t *number)
{
    unsigned digit;
    const char *start;

    start = c->pos;
    *number = 0;

    while (c->pos < c->end && *c->pos >= '0' && *c->pos <= '9') {
        digit = (unsigned) (*c->pos - '0');

        if (*number > (UINT64_MAX - digit) / 10) {
            return 0;
        }

        *number = *number * 10 + digit;
        c->pos++;
    }

    return c->pos > start;
}

/* "NAME NUMBER\n" */
static int nuc_commit_take_field(nuc_commit_cursor_t *c, const char *name,
                                 uint64_t *number)
{
    return nuc_commit_take(c, name) && nuc_commit_take(c, " ") &&
           nuc_commit_take_number(c, number) && nuc_commit_take(c, "\n");
}

/* " NAME NUMBER" */
static int nuc_commit_take_pair(nuc_commit_cursor_t *c, const char *name,
                                uint64_t *number)
{
    return nuc_commit_take(c, " ") && nuc_commit_take(c, name) &&
           nuc_commit_take(c, " ") && nuc_commit_take_number(c, number);
}

/* " skipped 0 delivered 45 filtered 5 corrupt 0" */
static int nuc_commit_take_book(nuc_commit_cursor_t *c, uint64_t *skipped,
                                nuc_book_t *book)
{
    return nuc_commit_take_pair(c, "skipped", skipped) &&
           nuc_commit_take_pair(c, "delivered", &book->delivered) &&
           nuc_commit_take_pair(c, "filtered", &book->filtered) &&
           nuc_commit_take_pair(c, "corrupt", &book->corrupt);
}

static int nuc_commit_take_position(nuc_commit_cursor_t *c, uint64_t version,
                                    nuc_log_position_t *p, nuc_book_t *book)
{
    nuc_str_t writer;

    if (!nuc_commit_take(c, "writer ") || c->end - c->pos < NUC_UUID_TEXT_LEN) {
        return 0;
    }

    writer = (nuc_str_t){(const uint8_t *) c->pos, NUC_UUID_TEXT_LEN};
    c->pos += NUC_UUID_TEXT_LEN;

    if (nuc_uuid_parse(writer, &p->writer) != NUC_OK ||
        !nuc_commit_take_pair(c, "segment", &p->segment) ||
        !nuc_commit_take_pair(c, "offset", &p->offset) ||
        !nuc_commit_take_pair(c, "sequence", &p->sequence)) {
        return 0;
    }

    if (version == 1) {
        p->skipped = nuc_commit_passed(p);
    } else if (!nuc_commit_take_book(c, &p->skipped, book)) {
        return 0;
    }

    return nuc_commit_take(c, "\n");
}

static size_t nuc_commit_count_writers(const nuc_commit_cursor_t *c)
{
    size_t n;
    const char *line;
    nuc_commit_cursor_t rest;

    rest = *c;

    for (n = 0; nuc_commit_take(&rest, "writer "); n++) {
        line = memchr(rest.pos, '\n', (size_t) (rest.end - rest.pos));
        if (line == NULL) {
            break;
        }

        rest.pos = line + 1;
    }

    return n;
}

static nuc_rc_t nuc_commit_damaged(nuc_err_t *err, const char *what)
{
    return nuc_err_set(err, NUC_CORRUPT, "the commit is damaged: %s", what);
}

static nuc_rc_t nuc_commit_decode_positions(nuc_commit_cursor_t *c, uint64_t version,
                                            nuc_commit_t *commit, nuc_err_t *err)
{
    size_t i, n;

    n = nuc_commit_count_writers(c);

    commit->positions = calloc(n + 1, sizeof(nuc_log_position_t));
    commit->books = calloc(n + 1, sizeof(nuc_book_t));

    if (commit->positions == NULL || commit->books == NULL) {
        return nuc_err_set(err, NUC_NOMEM, "no memory for %zu positions", n);
    }

    for (i = 0; i < n; i++) {
        if (!nuc_commit_take_position(c, version, &commit->positions[i],
                                      &commit->books[i])) {
            return nuc_commit_damaged(err, "bad line of a writer");
        }
    }

    commit->npositions = n;

    return NUC_OK;
}

static nuc_rc_t nuc_commit_decode_retired(nuc_commit_cursor_t *c, uint64_t version,
                                          nuc_commit_t *commit, nuc_err_t *err)
{
    nuc_retired_t *retired = &commit->retired;
    const nuc_counts_t *counts = &commit->counts;

    if (version == 1) {
        *retired = (nuc_retired_t){
            .sequences = counts->read,
            .book = {counts->delivered, counts->filtered, counts->corrupt},
        };

        return NUC_OK;
    }

    if (!nuc_commit_take(c, "retired") ||
        !nuc_commit_take_pair(c, "sequences", &retired->sequences) ||
        !nuc_commit_take_book(c, &retired->skipped, &retired->book) ||
        !nuc_commit_take(c, "\n")) {
        return nuc_commit_damaged(err, "bad line of the retired writers");
    }

    return NUC_OK;
}

static nuc_rc_t nuc_commit_decode_sink(nuc_commit_cursor_t *c, nuc_commit_t *commit,
                                       nuc_err_t *err)
{
    uint64_t len;

    if (!nuc_commit_take_field(c, "sink", &len) || len > (uint64_t) (c->end - c->pos)) {
        return nuc_commit_damaged(err, "bad length of the sink's state");
    }

    nuc_buf_append(&commit->sink_state, c->pos, (size_t) len);
    c->pos += len;

    if (commit->sink_state.failed) {
        return nuc_err_set(err, NUC_NOMEM, "no memory for the sink's state");
    }

    if (!nuc_commit_take(c, "\n") || c->pos != c->end) {
        return nuc_commit_damaged(err, "more text than it should have");
    }

    return NUC_OK;
}

static nuc_rc_t nuc_commit_check_sum(nuc_commit_cursor_t *c, nuc_err_t *err)
{
    char want[NUC_COMMIT_CRC_LEN + 1];
    nuc_buf_t sum;
    const char *start;

    if (c->end - c->pos < NUC_COMMIT_CRC_LEN) {
        return nuc_commit_damaged(err, "it is cut short");
    }

    start = c->pos;
    c->end -= NUC_COMMIT_CRC_LEN;
    sum = NUC_BUF_INIT;

    nuc_buf_printf(&sum, "crc32c %08" PRIx32 "\n",
                   nuc_crc32c(0, start, (size_t) (c->end - start)));
    if (sum.failed || sum.len != NUC_COMMIT_CRC_LEN) {
        nuc_buf_free(&sum);
        return nuc_err_set(err, NUC_NOMEM, "no memory for a checksum");
    }

    memcpy(want, sum.data, NUC_COMMIT_CRC_LEN);
    nuc_buf_free(&sum);

    if (memcmp(c->end, want, NUC_COMMIT_CRC_LEN) != 0) {
        return nuc_commit_damaged(err, "its checksum is another");
    }

    return NUC_OK;
}

nuc_rc_t nuc_commit_decode(nuc_str_t text, nuc_commit_t *commit, nuc_err_t *err)
{
    uint64_t version;
    nuc_rc_t rc;
    nuc_counts_t *n;
    nuc_commit_cursor_t c, head;

    c.pos = (const char *) text.data;
    c.end = c.pos + text.len;
    head = c;

    /* the version first: another one may have another checksum */
    if (!nuc_commit_take(&head, NUC_COMMIT_MAGIC) ||
        !nuc_commit_take_number(&head, &version) || !nuc_commit_take(&head, "\n")) {
        return nuc_commit_damaged(err, "it does not begin as one");
    }

    if (version == 0 || version > NUC_COMMIT_VERSION) {
        return nuc_err_set(err, NUC_INVALID,
                           "the commit has version %" PRIu64
                           ", this program reads up to %d",
                           version, NUC_COMMIT_VERSION);
    }

    rc = nuc_commit_check_sum(&c, err);
    if (rc != NUC_OK) {
        return rc;
    }

    c.pos = head.pos;
    n = &commit->counts;

    if (!nuc_commit_take_field(&c, "generation", &commit->generation) ||
        !nuc_commit_take_field(&c, "read", &n->read) ||
        !nuc_commit_take_field(&c, "delivered", &n->delivered) ||
        !nuc_commit_take_field(&c, "delivered_bytes", &n->delivered_bytes) ||
        !nuc_commit_take_field(&c, "filtered", &n->filtered) ||
        !nuc_commit_take_field(&c, "corrupt", &n->corrupt)) {
        return nuc_commit_damaged(err, "bad line of a count");
    }

    rc = nuc_commit_decode_positions(&c, version, commit, err);

    if (rc == NUC_OK) {
        rc = nuc_commit_decode_retired(&c, version, commit, err);
    }

    if (rc == NUC_OK && !nuc_commit_sums(commit)) {
        rc = nuc_commit_damaged(err, "its counts do not add up");
    }

    if (rc != NUC_OK) {
        return rc;
    }

    return nuc_commit_decode_sink(&c, commit, err);
}

nuc_rc_t nuc_commit_read(const nuc_sys_t *sys, const char *dir, nuc_commit_t *commit,
                         nuc_err_t *err)
{
    char path[NUC_PATH_MAX];
    nuc_rc_t rc;
    nuc_buf_t text;
    nuc_err_t cause;

    rc = nuc_path_join(path, dir, NUC_COMMIT_NAME, err);
    if (rc != NUC_OK) {
        return rc;
    }

    text = NUC_BUF_INIT;

    rc = nuc_fs_read_file(sys, path, NUC_COMMIT_MAX, &text, err);
    if (rc != NUC_OK) {
        nuc_buf_free(&text);
        return rc != NUC_NOT_FOUND ? rc
                                   : nuc_err_set(err, rc, "there is no \"%s\"", path);
    }

    rc = nuc_commit_decode((nuc_str_t){text.data, text.len}, commit, &cause);
    nuc_buf_free(&text);

    if (rc == NUC_OK) {
        return NUC_OK;
    }

    nuc_err_set(err, rc, "%s, in \"%s\"", cause.message, path);

    if (rc == NUC_CORRUPT) {
        nuc_err_hint(
            err, "restore the file; or stop the worker, and --forget the pipeline: it "
                 "then starts anew and stores again what the log still holds");
    } else if (rc == NUC_INVALID) {
        nuc_err_hint(err, "start the version of nucleus-worker that wrote it");
    }

    return rc;
}

nuc_rc_t nuc_commit_settle(const nuc_sys_t *sys, const char *dir, nuc_err_t *err)
{
    return nuc_fs_sync_dir(sys, dir, "commit-settle", err);
}

nuc_rc_t nuc_commit_write(const nuc_sys_t *sys, const char *dir,
                          const nuc_commit_t *commit, nuc_err_t *err)
{
    nuc_rc_t rc;
    nuc_buf_t text;
    nuc_err_t cause;

    text = NUC_BUF_INIT;
    nuc_commit_encode(commit, &text);

    if (text.failed) {
        nuc_buf_free(&text);
        return nuc_err_set(err, NUC_NOMEM, "no memory for the text of a commit");
    }

    rc = nuc_fs_replace(sys, dir, NUC_COMMIT_NAME, (nuc_str_t){text.data, text.len}, 0640,
                        "commit-file", "commit-dir", &cause);
    nuc_buf_free(&text);

    if (rc != NUC_OK) {
        nuc_err_set(err, rc, "commit in \"%s\": %s", dir, cause.message);
    }

    return rc;
}
