#include "nuc_log_list.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void *nuc_list_grow(void *array, size_t *capacity, size_t count, size_t size)
{
    size_t wanted;
    void *grown;

    if (count < *capacity) {
        return array;
    }

    wanted = *capacity ? 2 * *capacity : 16;
    grown = realloc(array, wanted * size);

    if (grown != NULL) {
        *capacity = wanted;
    }

    return grown;
}

static int nuc_list_writer(void *ctx, const char *name)
{
    void *grown;
    nuc_uuid_t id;
    nuc_writer_list_t *writers = ctx;

    if (nuc_uuid_parse(nuc_str(name), &id) != NUC_OK) {
        return 0;
    }

    grown = nuc_list_grow(writers->ids, &writers->capacity, writers->count, sizeof(id));
    if (grown == NULL) {
        writers->count = SIZE_MAX;
        return 1;
    }

    writers->ids = grown;
    writers->ids[writers->count++] = id;

    return 0;
}

static int nuc_list_segment(void *ctx, const char *name)
{
    void *grown;
    uint64_t first;
    nuc_segment_list_t *segments = ctx;

    first = nuc_segment_name_parse(name, NUC_LOG_SEGMENT_SUFFIX);
    if (first == 0) {
        return 0;
    }

    grown = nuc_list_grow(segments->firsts, &segments->capacity, segments->count,
                          sizeof(first));
    if (grown == NULL) {
        segments->count = SIZE_MAX;
        return 1;
    }

    segments->firsts = grown;
    segments->firsts[segments->count++] = first;

    return 0;
}

/* One listing; the entry functions set the count to SIZE_MAX when memory ran out. */
static nuc_rc_t nuc_list(const nuc_sys_t *sys, const char *dir, nuc_sys_list_pt entry,
                         void *ctx, size_t *count, nuc_err_t *err)
{
    *count = 0;

    if (sys->list(sys, dir, entry, ctx) == -1) {
        *count = 0;
        return nuc_err_sys(err, errno == ENOENT ? NUC_NOT_FOUND : NUC_IO, errno,
                           "listing of \"%s\" failed", dir);
    }

    if (*count == SIZE_MAX) {
        *count = 0;
        return nuc_err_set(err, NUC_NOMEM, "no memory to list \"%s\"", dir);
    }

    return NUC_OK;
}

static int nuc_list_writer_cmp(const void *a, const void *b)
{
    return nuc_uuid_cmp(a, b);
}

static int nuc_list_first_cmp(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *) a, y = *(const uint64_t *) b;

    return (x > y) - (x < y);
}

nuc_rc_t nuc_log_list_writers(const nuc_sys_t *sys, const char *dir,
                              nuc_writer_list_t *writers, nuc_err_t *err)
{
    nuc_rc_t rc;

    rc = nuc_list(sys, dir, nuc_list_writer, writers, &writers->count, err);

    if (writers->count > 1) {
        qsort(writers->ids, writers->count, sizeof(nuc_uuid_t), nuc_list_writer_cmp);
    }

    return rc;
}

nuc_rc_t nuc_log_list_segments(const nuc_sys_t *sys, const char *dir,
                               nuc_segment_list_t *segments, nuc_err_t *err)
{
    nuc_rc_t rc;

    rc = nuc_list(sys, dir, nuc_list_segment, segments, &segments->count, err);

    if (segments->count > 1) {
        qsort(segments->firsts, segments->count, sizeof(uint64_t), nuc_list_first_cmp);
    }

    return rc;
}

nuc_rc_t nuc_log_writer_path(const char *dir, const nuc_uuid_t *writer,
                             char path[NUC_PATH_MAX], nuc_err_t *err)
{
    char text[NUC_UUID_TEXT_LEN + 1];

    *nuc_uuid_format(writer, text) = '\0';

    return nuc_path_join(path, dir, text, err);
}
