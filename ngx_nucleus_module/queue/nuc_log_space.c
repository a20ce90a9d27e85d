#include "nuc_log_space.h"

#include <errno.h>

#include "nuc_fs.h"
#include "nuc_time.h"
#include "nuc_uuid.h"

#define NUC_SPACE_WAIT     10 /* seconds, while nothing is known of the worker's pace */
#define NUC_SPACE_WAIT_MAX 60

typedef struct {
    const nuc_sys_t *sys;
    const char *dir;
    char path[NUC_PATH_MAX]; /* of the writer's directory being counted */
    uint64_t bytes;
} nuc_space_count_t;

static int nuc_space_count_file(void *ctx, const char *name)
{
    char path[NUC_PATH_MAX];
    struct stat st;
    nuc_space_count_t *count = ctx;

    if (nuc_path_join(path, count->path, name, NULL) == NUC_OK &&
        count->sys->stat(count->sys, path, &st) == 0) {
        count->bytes += (uint64_t) st.st_size;
    }

    return 0;
}

/* A writer's directory that is removed while it is counted holds nothing. */
static int nuc_space_count_writer(void *ctx, const char *name)
{
    nuc_uuid_t writer;
    nuc_space_count_t *count = ctx;

    if (nuc_uuid_parse(nuc_str(name), &writer) == NUC_OK &&
        nuc_path_join(count->path, count->dir, name, NULL) == NUC_OK) {
        (void) count->sys->list(count->sys, count->path, nuc_space_count_file, count);
    }

    return 0;
}

nuc_rc_t nuc_space_count(nuc_space_t *space, const nuc_sys_t *sys, const char *dir,
                         nuc_err_t *err)
{
    uint64_t now, removed, passed;
    struct statvfs st;
    nuc_space_count_t count = {.sys = sys, .dir = dir};

    now = nuc_time_monotonic();
    passed = now - space->counted_at;
    space->counted_at = now;

    if (sys->list(sys, dir, nuc_space_count_writer, &count) == -1) {
        return nuc_err_sys(err, NUC_IO, errno, "listing of \"%s\" failed", dir);
    }

    if (sys->statvfs(sys, dir, &st) == -1) {
        return nuc_err_sys(err, NUC_IO, errno, "statvfs of \"%s\" failed", dir);
    }

    if (count.bytes < space->used && passed > 0) {
        removed = (space->used - count.bytes) * 1000000 / passed;
        space->drain_rate = (3 * space->drain_rate + removed) / 4;
    }

    space->used = count.bytes;
    space->free_bytes = (uint64_t) st.f_bavail * st.f_frsize;

    return NUC_OK;
}

unsigned nuc_space_wait(const nuc_space_t *space, uint64_t bytes)
{
    uint64_t seconds;

    if (space->drain_rate == 0) {
        return NUC_SPACE_WAIT;
    }

    seconds = bytes / space->drain_rate + 1;

    return seconds > NUC_SPACE_WAIT_MAX ? NUC_SPACE_WAIT_MAX : (unsigned) seconds;
}
