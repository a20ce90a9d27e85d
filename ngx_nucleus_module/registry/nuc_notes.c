#include "nuc_notes.h"

#include "nuc_fs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

/* bytes; a line takes some 100 at most, and there may be a million keys */
#define FILE_MAX (64u << 20)

static char *nuc_notes_at(const nuc_notes_kind_t *kind, void *items, size_t i)
{
    return (char *) items + i * kind->size;
}

int nuc_notes_number(nuc_str_t text, uint64_t *number)
{
    size_t i;

    if (text.len == 0 || text.len > 15) {
        return 0;
    }

    for (i = 0, *number = 0; i < text.len; i++) {
        if (text.data[i] < '0' || text.data[i] > '9') {
            return 0;
        }
        *number = *number * 10 + (text.data[i] - '0');
    }

    return 1;
}

static size_t nuc_notes_count_lines(nuc_str_t text)
{
    size_t n = 1;

    for (size_t i = 0; i < text.len; i++) {
        n += text.data[i] == '\n';
    }

    return n;
}

static size_t nuc_notes_parse(const nuc_notes_kind_t *kind, nuc_str_t text, void *items)
{
    size_t n = 0;

    while (text.len) {
        const uint8_t *end = memchr(text.data, '\n', text.len);
        size_t len = end ? (size_t) (end - text.data) : text.len;

        n += kind->parse((nuc_str_t){text.data, len}, nuc_notes_at(kind, items, n)) != 0;
        text.data += len + (end != NULL);
        text.len -= len + (end != NULL);
    }

    return n;
}

static size_t nuc_notes_sort(const nuc_notes_kind_t *kind, void *items, size_t count)
{
    size_t kept = 0;

    qsort(items, count, kind->size, kind->compare);

    for (size_t i = 0; i < count; i++) {
        const char *item = nuc_notes_at(kind, items, i);

        if (kept == 0 || !kind->same(nuc_notes_at(kind, items, kept - 1), item)) {
            memmove(nuc_notes_at(kind, items, kept++), item, kind->size);
        }
    }

    return kept;
}

/* The file's items with room for "more" behind them. */
static nuc_rc_t nuc_notes_load(const nuc_sys_t *sys, const nuc_notes_kind_t *kind,
                               const char *dir, size_t more, void **items, size_t *count,
                               nuc_err_t *err)
{
    char path[NUC_PATH_MAX];
    nuc_buf_t text = NUC_BUF_INIT;
    nuc_rc_t rc = nuc_path_join(path, dir, kind->file, err);

    if (rc == NUC_OK) {
        rc = nuc_fs_read_file(sys, path, FILE_MAX, &text, err);
    }
    if (rc != NUC_OK && rc != NUC_NOT_FOUND) {
        nuc_buf_free(&text);
        return rc;
    }

    nuc_str_t lines = {text.data, text.len};

    *items = malloc((nuc_notes_count_lines(lines) + more) * kind->size);
    if (*items) {
        *count = nuc_notes_parse(kind, lines, *items);
    }
    nuc_buf_free(&text);

    return *items ? NUC_OK : nuc_err_set(err, NUC_NOMEM, "no memory for \"%s\"", path);
}

nuc_rc_t nuc_notes_read(const nuc_sys_t *sys, const nuc_notes_kind_t *kind,
                        const char *dir, void **items, size_t *count, nuc_err_t *err)
{
    nuc_rc_t rc = nuc_notes_load(sys, kind, dir, 0, items, count, err);

    if (rc == NUC_OK) {
        *count = nuc_notes_sort(kind, *items, *count);
    }

    return rc;
}

static nuc_rc_t nuc_notes_save(const nuc_sys_t *sys, const nuc_notes_kind_t *kind,
                               const char *dir, void *items, size_t count, nuc_err_t *err)
{
    nuc_buf_t text = NUC_BUF_INIT;
    nuc_rc_t rc;

    for (size_t i = 0; i < count; i++) {
        kind->print(nuc_notes_at(kind, items, i), &text);
    }

    rc = text.failed
             ? nuc_err_set(err, NUC_NOMEM, "no memory for \"%s\"", kind->file)
             : nuc_fs_replace(sys, dir, kind->file, (nuc_str_t){text.data, text.len},
                              0640, NULL, NULL, err);
    nuc_buf_free(&text);

    return rc;
}

static nuc_rc_t nuc_notes_add(const nuc_sys_t *sys, const nuc_notes_kind_t *kind,
                              const char *dir, const void *items, size_t count,
                              nuc_err_t *err)
{
    void *all = NULL;
    size_t n = 0;
    nuc_rc_t rc = nuc_notes_load(sys, kind, dir, count, &all, &n, err);

    if (rc != NUC_OK) {
        return rc;
    }

    memcpy(nuc_notes_at(kind, all, n), items, count * kind->size);
    n = nuc_notes_sort(kind, all, n + count);
    rc = nuc_notes_save(sys, kind, dir, all, n, err);
    free(all);

    return rc;
}

nuc_rc_t nuc_notes_merge(const nuc_sys_t *sys, const nuc_notes_kind_t *kind,
                         const char *dir, const void *items, size_t count, nuc_err_t *err)
{
    char path[NUC_PATH_MAX];
    nuc_rc_t rc = nuc_path_join(path, dir, kind->lock, err);
    int fd;

    if (rc != NUC_OK || count == 0) {
        return rc;
    }

    fd = sys->open(sys, path, O_RDWR | O_CREAT, 0640);
    if (fd == -1) {
        return nuc_err_sys(err, NUC_IO, errno, "cannot open \"%s\"", path);
    }

    if (sys->lock(sys, fd) == 0) {
        rc = nuc_fs_share(sys, dir, fd, err);

        if (rc == NUC_OK) {
            rc = nuc_notes_add(sys, kind, dir, items, count, err);
        }
    } else if (errno == EWOULDBLOCK) {
        rc = nuc_err_set(err, NUC_BUSY, "\"%s\" is locked", path);
    } else {
        rc = nuc_err_sys(err, NUC_IO, errno, "cannot lock \"%s\"", path);
    }

    sys->close(sys, fd);

    return rc;
}
