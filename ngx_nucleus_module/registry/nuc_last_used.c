#include "nuc_last_used.h"

#include "nuc_fs.h"
#include "nuc_key.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

/* bytes; a line takes less than 40, and there may be a million keys */
#define FILE_MAX  (64u << 20)
#define LOCK_FILE NUC_LAST_USED_FILE ".lock"

/* An id, a space, decimal digits. */
static int nuc_last_used_parse_line(nuc_str_t line, nuc_last_used_t *use)
{
    size_t i = NUC_KEY_ID_LEN + 1;

    if (line.len <= i || line.len > i + 15 || line.data[NUC_KEY_ID_LEN] != ' ' ||
        nuc_key_id_parse((nuc_str_t){line.data, NUC_KEY_ID_LEN}, &use->id) != NUC_OK) {
        return 0;
    }

    for (use->seconds = 0; i < line.len; i++) {
        if (line.data[i] < '0' || line.data[i] > '9') {
            return 0;
        }
        use->seconds = use->seconds * 10 + (line.data[i] - '0');
    }

    return 1;
}

static size_t nuc_last_used_count_lines(nuc_str_t text)
{
    size_t n = 1;

    for (size_t i = 0; i < text.len; i++) {
        n += text.data[i] == '\n';
    }

    return n;
}

static size_t nuc_last_used_parse_lines(nuc_str_t text, nuc_last_used_t *uses)
{
    size_t n = 0;

    while (text.len) {
        const uint8_t *end = memchr(text.data, '\n', text.len);
        size_t len = end ? (size_t) (end - text.data) : text.len;

        n += nuc_last_used_parse_line((nuc_str_t){text.data, len}, &uses[n]);
        text.data += len + (end != NULL);
        text.len -= len + (end != NULL);
    }

    return n;
}

/* By id, and of one id the newest first. */
static int nuc_last_used_compare(const void *a, const void *b)
{
    const nuc_last_used_t *x = a, *y = b;

    if (x->id != y->id) {
        return x->id < y->id ? -1 : 1;
    }

    return x->seconds == y->seconds ? 0 : x->seconds > y->seconds ? -1 : 1;
}

static size_t nuc_last_used_sort(nuc_last_used_t *uses, size_t count)
{
    size_t kept = 0;

    qsort(uses, count, sizeof(*uses), nuc_last_used_compare);

    for (size_t i = 0; i < count; i++) {
        if (kept == 0 || uses[kept - 1].id != uses[i].id) {
            uses[kept++] = uses[i];
        }
    }

    return kept;
}

/* The file's uses with room for "more" behind them. */
static nuc_rc_t nuc_last_used_load(const nuc_sys_t *sys, const char *dir, size_t more,
                                   nuc_last_used_t **uses, size_t *count, nuc_err_t *err)
{
    char path[NUC_PATH_MAX];
    nuc_buf_t text = NUC_BUF_INIT;
    nuc_rc_t rc = nuc_path_join(path, dir, NUC_LAST_USED_FILE, err);

    if (rc == NUC_OK) {
        rc = nuc_fs_read_file(sys, path, FILE_MAX, &text, err);
    }
    if (rc != NUC_OK && rc != NUC_NOT_FOUND) {
        nuc_buf_free(&text);
        return rc;
    }

    nuc_str_t lines = {text.data, text.len};

    *uses = malloc((nuc_last_used_count_lines(lines) + more) * sizeof(**uses));
    if (*uses) {
        *count = nuc_last_used_parse_lines(lines, *uses);
    }
    nuc_buf_free(&text);

    return *uses ? NUC_OK : nuc_err_set(err, NUC_NOMEM, "no memory for the uses of keys");
}

nuc_rc_t nuc_last_used_read(const nuc_sys_t *sys, const char *dir, nuc_last_used_t **uses,
                            size_t *count, nuc_err_t *err)
{
    nuc_rc_t rc = nuc_last_used_load(sys, dir, 0, uses, count, err);

    if (rc == NUC_OK) {
        *count = nuc_last_used_sort(*uses, *count);
    }

    return rc;
}

static nuc_rc_t nuc_last_used_save(const nuc_sys_t *sys, const char *dir,
                                   const nuc_last_used_t *uses, size_t count,
                                   nuc_err_t *err)
{
    nuc_buf_t text = NUC_BUF_INIT;
    nuc_rc_t rc;

    for (size_t i = 0; i < count; i++) {
        char id[NUC_KEY_ID_LEN + 1];

        nuc_key_id_text(uses[i].id, id);
        nuc_buf_printf(&text, "%s %llu\n", id, (unsigned long long) uses[i].seconds);
    }

    rc = text.failed
             ? nuc_err_set(err, NUC_NOMEM, "no memory for the uses of keys")
             : nuc_fs_replace(sys, dir, NUC_LAST_USED_FILE,
                              (nuc_str_t){text.data, text.len}, 0640, NULL, NULL, err);
    nuc_buf_free(&text);

    return rc;
}

static nuc_rc_t nuc_last_used_add(const nuc_sys_t *sys, const char *dir,
                                  const nuc_last_used_t *uses, size_t count,
                                  nuc_err_t *err)
{
    nuc_last_used_t *all = NULL;
    size_t n = 0;
    nuc_rc_t rc = nuc_last_used_load(sys, dir, count, &all, &n, err);

    if (rc != NUC_OK) {
        return rc;
    }

    memcpy(all + n, uses, count * sizeof(*uses));
    n = nuc_last_used_sort(all, n + count);
    rc = nuc_last_used_save(sys, dir, all, n, err);
    free(all);

    return rc;
}

nuc_rc_t nuc_last_used_merge(const nuc_sys_t *sys, const char *dir,
                             const nuc_last_used_t *uses, size_t count, nuc_err_t *err)
{
    char path[NUC_PATH_MAX];
    nuc_rc_t rc = nuc_path_join(path, dir, LOCK_FILE, err);
    int fd;

    if (rc != NUC_OK || count == 0) {
        return rc;
    }

    fd = sys->open(sys, path, O_RDWR | O_CREAT, 0640);
    if (fd == -1) {
        return nuc_err_sys(err, NUC_IO, errno, "cannot open \"%s\"", path);
    }

    if (sys->lock(sys, fd) == 0) {
        rc = nuc_last_used_add(sys, dir, uses, count, err);
    } else if (errno == EWOULDBLOCK) {
        rc = nuc_err_set(err, NUC_BUSY, "\"%s\" is locked", path);
    } else {
        rc = nuc_err_sys(err, NUC_IO, errno, "cannot lock \"%s\"", path);
    }

    sys->close(sys, fd);

    return rc;
}

uint64_t nuc_last_used_find(const nuc_last_used_t *uses, size_t count, uint64_t id)
{
    size_t low = 0, high = count;

    while (low < high) {
        size_t middle = (low + high) / 2;

        if (uses[middle].id == id) {
            return uses[middle].seconds;
        }

        if (uses[middle].id < id) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }

    return 0;
}
