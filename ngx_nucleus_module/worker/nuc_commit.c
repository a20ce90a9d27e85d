#include "nuc_commit.h"

#include <inttypes.h>
#include <stdlib.h>

#include "nuc_crc32c.h"
#include "nuc_fs.h"

#define NUC_COMMIT_MAGIC   "nucleus-commit "
#define NUC_COMMIT_VERSION 1
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
    nuc_buf_free(&commit->sink_state);
    nuc_commit_init(commit);
}

int nuc_counts_balance(const nuc_counts_t *counts)
{
    return counts->read == counts->delivered + counts->filtered + counts->corrupt;
}

nuc_rc_t nuc_commit_take_positions(nuc_commit_t *commit, nuc_log_reader_t *reader,
                                   nuc_err_t *err)
{
    size_t n;
    nuc_log_position_t *copy;
    const nuc_log_position_t *positions;

    n = nuc_log_reader_positions(reader, &positions);
    if (n == SIZE_MAX) {
        return nuc_err_set(err, NUC_NOMEM, "no memory for the reader's positions");
    }

    copy = realloc(commit->positions, (n + 1) * sizeof(*copy));
    if (copy == NULL) {
        return nuc_err_set(err, NUC_NOMEM, "no memory for %zu positions", n);
    }

    memcpy(copy, positions, n * sizeof(*copy));

    commit->positions = copy;
    commit->npositions = n;

    return NUC_OK;
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
                       " sequence %" PRIu64 "\n",
                       writer, p->segment, p->offset, p->sequence);
    }

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

static int nuc_commit_take_position(nuc_commit_cursor_t *c, nuc_log_position_t *p)
{
    nuc_str_t writer;

    if (!nuc_commit_take(c, "writer ") || c->end - c->pos < NUC_UUID_TEXT_LEN) {
        return 0;
    }

    writer = (nuc_str_t){(const uint8_t *) c->pos, NUC_UUID_TEXT_LEN};
    c->pos += NUC_UUID_TEXT_LEN;

    return nuc_uuid_parse(writer, &p->writer) == NUC_OK &&
           nuc_commit_take(c, " segment ") && nuc_commit_take_number(c, &p->segment) &&
           nuc_commit_take(c, " offset ") && nuc_commit_take_number(c, &p->offset) &&
           nuc_commit_take(c, " sequence ") && nuc_commit_take_number(c, &p->sequence) &&
           nuc_commit_take(c, "\n");
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

static nuc_rc_t nuc_commit_decode_positions(nuc_commit_cursor_t *c, nuc_commit_t *commit,
                                            nuc_err_t *err)
{
    size_t i, n;

    n = nuc_commit_count_writers(c);

    commit->positions = calloc(n + 1, sizeof(nuc_log_position_t));
    if (commit->positions == NULL) {
        return nuc_err_set(err, NUC_NOMEM, "no memory for %zu positions", n);
    }

    for (i = 0; i < n; i++) {
        if (!nuc_commit_take_position(c, &commit->positions[i])) {
            return nuc_commit_damaged(err, "bad line of a writer");
        }
    }

    commit->npositions = n;

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

    if (version != NUC_COMMIT_VERSION) {
        return nuc_err_set(err, NUC_INVALID,
                           "the commit has version %" PRIu64 ", this program reads %d",
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

    if (!nuc_counts_balance(n)) {
        return nuc_commit_damaged(err, "its counts do not add up");
    }

    rc = nuc_commit_decode_positions(&c, commit, err);
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
