#include "nuc_log_append.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "nuc_log.h"
#include "nuc_time.h"

static void nuc_append_seal_frames(nuc_append_t *a, const nuc_buf_t *frames);
static nuc_rc_t nuc_append_sync(nuc_append_t *a, nuc_err_t *err);
static nuc_rc_t nuc_append_take_back(nuc_append_t *a, nuc_rc_t rc);
static nuc_rc_t nuc_append_open_segment(nuc_append_t *a, nuc_err_t *err);
static void nuc_append_close_segment(nuc_append_t *a);
static void nuc_append_release(nuc_append_t *a);

void nuc_append_init(nuc_append_t *a, const nuc_log_options_t *options, const char *dir)
{
    memset(a, 0, sizeof(*a));

    a->sys = options->sys;
    a->dir = dir;
    a->segment_size = options->segment_size;
    a->stride = options->stride != 0 ? options->stride : NUC_SYS_STRIDE;
    a->lock_fd = -1;
    a->segment_fd = -1;
    a->next = 1;
    a->durable = 1;
    nuc_uuid_source_init(&a->uuids);
}

/* By somebody's hand: no reader would find what is acknowledged from here on. */
static int nuc_append_was_removed(const nuc_append_t *a)
{
    struct stat st;

    return a->sys->fstat(a->sys, a->segment_fd, &st) == 0 && st.st_nlink == 0;
}

nuc_rc_t nuc_append_group(nuc_append_t *a, const nuc_buf_t *frames, size_t records,
                          nuc_err_t *err)
{
    nuc_rc_t rc;

    if (a->segment_fd != -1 &&
        (a->offset >= a->segment_size || nuc_append_was_removed(a))) {
        nuc_append_close_segment(a);
    }

    if (a->segment_fd == -1) {
        rc = nuc_append_open_segment(a, err);
        if (rc != NUC_OK) {
            return rc;
        }
    }

    nuc_append_seal_frames(a, frames);

    rc = nuc_sys_write_paced(a->sys, a->segment_fd, frames->data, frames->len,
                             (off_t) a->offset, a->stride, err);

    if (rc == NUC_OK) {
        rc = nuc_append_sync(a, err);

    } else if (rc != NUC_UNKNOWN) {
        rc = nuc_append_take_back(a, rc);
    }

    if (rc == NUC_UNKNOWN) {
        nuc_append_close_segment(a);
        a->next += records;
    }

    if (rc != NUC_OK) {
        err->rc = rc;
        return rc;
    }

    a->offset += frames->len;
    a->next += records;
    a->durable = a->next;
    atomic_store_explicit(&a->head->durable, htole64(a->durable), memory_order_release);

    return NUC_OK;
}

static void nuc_append_seal_frames(nuc_append_t *a, const nuc_buf_t *frames)
{
    uint8_t *frame, *end, *following;
    uint64_t sequence = a->next;

    a->group++;

    frame = frames->data;
    end = frame + frames->len;

    while (frame < end) {
        following = frame + nuc_frame_size(nuc_frame_length(frame));

        if (following == end) {
            nuc_frame_add_flags(frame, NUC_FRAME_END_OF_GROUP);
        }

        nuc_frame_seal(frame, sequence++, a->group, a->salt);
        frame = following;
    }
}

static nuc_rc_t nuc_append_sync(nuc_append_t *a, nuc_err_t *err)
{
    uint64_t begun = nuc_time_monotonic();

    if (a->sys->fdatasync(a->sys, a->segment_fd, "log-group") == -1) {
        return nuc_err_sys(err, NUC_UNKNOWN, errno, "sync of a segment in \"%s\" failed",
                           a->path);
    }

    a->synced = nuc_time_monotonic() - begun;

    return NUC_OK;
}

/*
 * A write failed: make sure that no part of the group can come back after a power cut, so
 * that the clients may be told that nothing was stored.  Where that fails too, nobody
 * knows.
 */
static nuc_rc_t nuc_append_take_back(nuc_append_t *a, nuc_rc_t rc)
{
    const nuc_sys_t *sys = a->sys;

    if (sys->ftruncate(sys, a->segment_fd, (off_t) a->offset) == 0 &&
        sys->fdatasync(sys, a->segment_fd, "log-take-back") == 0) {
        a->group--;
        return rc;
    }

    return NUC_UNKNOWN;
}

/* Its file; -1 and errno. */
static int nuc_append_create_segment(nuc_append_t *a, char path[NUC_PATH_MAX])
{
    if (nuc_segment_path(a->path, a->next, NUC_LOG_SEGMENT_SUFFIX, path, NULL) !=
        NUC_OK) {
        errno = ENAMETOOLONG;
        return -1;
    }

    /* A file of this name can only be what an open that failed below left behind. */
    return a->sys->open(a->sys, path, O_RDWR | O_CREAT | O_TRUNC, NUC_LOG_FILE_MODE);
}

/* Somebody removed the writer's directory: go on as another writer, in another. */
static nuc_rc_t nuc_append_start_anew(nuc_append_t *a, nuc_err_t *err)
{
    nuc_append_release(a);
    a->path[0] = '\0';
    a->next = 1;
    a->durable = 1;

    return nuc_append_start(a, err);
}

/*
 * Create the next segment.  Its entry in the directory is durable before the first group
 * can be acknowledged (I2); its header becomes so together with that group.
 */
static nuc_rc_t nuc_append_open_segment(nuc_append_t *a, nuc_err_t *err)
{
    int fd;
    char path[NUC_PATH_MAX];
    uint8_t header_bytes[NUC_SEGMENT_HEADER_LEN];
    nuc_rc_t rc;
    const nuc_sys_t *sys = a->sys;
    nuc_segment_header_t header;

    if (a->path[0] == '\0') {
        rc = nuc_append_start(a, err);
        if (rc != NUC_OK) {
            return rc;
        }
    }

    fd = nuc_append_create_segment(a, path);

    if (fd == -1 && errno == ENOENT) {
        rc = nuc_append_start_anew(a, err);
        if (rc != NUC_OK) {
            return rc;
        }

        fd = nuc_append_create_segment(a, path);
    }

    if (fd == -1) {
        return nuc_err_sys(err, NUC_IO, errno, "open of \"%s\" failed", path);
    }

    /* Only the blocks, not the length: it is a wish, a disk that is full says so here. */
    if (sys->fallocate(sys, fd, FALLOC_FL_KEEP_SIZE, 0, (off_t) a->segment_size) == -1 &&
        errno == ENOSPC) {
        rc =
            nuc_err_sys(err, NUC_FULL, errno, "no room for a segment in \"%s\"", a->path);
        goto failed;
    }

    rc = nuc_fs_share(sys, a->path, fd, err);
    if (rc != NUC_OK) {
        goto failed;
    }

    header.writer = a->writer;
    header.first = a->next;
    header.created = nuc_time_now();
    header.prev_end = a->durable;
    nuc_segment_header_encode(&header, header_bytes);

    rc = nuc_sys_write_all(sys, fd, header_bytes, sizeof(header_bytes), 0, err);
    if (rc != NUC_OK) {
        goto failed;
    }

    rc = nuc_fs_sync_dir(sys, a->path, "log-new-segment", err);
    if (rc != NUC_OK) {
        goto failed;
    }

    a->segment_fd = fd;
    a->salt = nuc_segment_salt(&a->writer, a->next);
    a->group = 0;
    a->offset = NUC_SEGMENT_HEADER_LEN;

    /* before "durable" passes its first record: see README.md, the reader */
    atomic_store_explicit(&a->head->segment, htole64(a->next), memory_order_release);

    return NUC_OK;

failed:

    sys->close(sys, fd);

    return rc;
}

/*
 * Truncation gives back the blocks beyond the end, and what a failed group left there.
 * What is durable stays so without a sync.
 */
static void nuc_append_close_segment(nuc_append_t *a)
{
    const nuc_sys_t *sys = a->sys;

    if (a->segment_fd == -1) {
        return;
    }

    /* a failure costs disk space until the keeper has sealed the segment, nothing else */
    (void) sys->ftruncate(sys, a->segment_fd, (off_t) a->offset);
    (void) sys->close(sys, a->segment_fd);
    a->segment_fd = -1;

    atomic_store_explicit(&a->head->closed, htole64(a->durable), memory_order_release);
}

void nuc_append_finish_segment(nuc_append_t *a)
{
    if (a->offset > NUC_SEGMENT_HEADER_LEN) {
        nuc_append_close_segment(a);
    }
}

nuc_rc_t nuc_append_probe(nuc_append_t *a, nuc_err_t *err)
{
    nuc_rc_t rc;
    const nuc_sys_t *sys = a->sys;

    if (a->segment_fd == -1) {
        rc = nuc_append_open_segment(a, err);
        if (rc != NUC_OK) {
            return rc;
        }
    }

    if (sys->fallocate(sys, a->segment_fd, FALLOC_FL_KEEP_SIZE, (off_t) a->offset,
                       NUC_HEAD_LEN) == -1 &&
        errno == ENOSPC) {
        return nuc_err_sys(err, NUC_IO, errno, "no room in \"%s\"", a->path);
    }

    if (sys->fdatasync(sys, a->segment_fd, "log-probe") == -1) {
        nuc_err_sys(err, NUC_IO, errno, "sync of a segment in \"%s\" failed", a->path);
        nuc_append_close_segment(a);
        return NUC_IO;
    }

    return NUC_OK;
}

/* The writer's directory. */

nuc_rc_t nuc_log_prepare(const nuc_sys_t *sys, const char *dir, nuc_err_t *err)
{
    nuc_rc_t rc;
    nuc_err_t why;

    rc = nuc_fs_check_durable(sys, dir, &why);

    if (rc == NUC_INVALID) {
        nuc_err_set(err, NUC_INVALID, "%s", why.message);
        nuc_err_hint(err, "%s", why.hint);
        return NUC_INVALID;
    }

    return nuc_fs_make_path(sys, dir, NUC_LOG_DIR_MODE, "log-queue-dir", err);
}

static nuc_rc_t nuc_append_make_lock(nuc_append_t *a, const char *dir, nuc_err_t *err)
{
    char path[NUC_PATH_MAX];
    nuc_rc_t rc;
    const nuc_sys_t *sys = a->sys;

    rc = nuc_path_join(path, dir, NUC_LOG_LOCK_NAME, err);
    if (rc != NUC_OK) {
        return rc;
    }

    a->lock_fd = sys->open(sys, path, O_RDWR | O_CREAT | O_EXCL, NUC_LOG_FILE_MODE);
    if (a->lock_fd == -1) {
        return nuc_err_sys(err, NUC_IO, errno, "open of \"%s\" failed", path);
    }

    if (sys->lock(sys, a->lock_fd) == -1) {
        return nuc_err_sys(err, NUC_IO, errno, "lock of \"%s\" failed", path);
    }

    return nuc_fs_share(sys, dir, a->lock_fd, err);
}

/* The page is written before it is mapped: a mapped hole on a full disk would be a
 * SIGBUS. */
static nuc_rc_t nuc_append_make_head(nuc_append_t *a, const char *dir, nuc_err_t *err)
{
    int fd;
    char path[NUC_PATH_MAX];
    nuc_rc_t rc;
    const nuc_sys_t *sys = a->sys;
    union {
        nuc_log_head_t head;
        uint8_t bytes[NUC_HEAD_LEN];
    } page;

    rc = nuc_path_join(path, dir, NUC_LOG_HEAD_NAME, err);
    if (rc != NUC_OK) {
        return rc;
    }

    fd = sys->open(sys, path, O_RDWR | O_CREAT | O_EXCL, NUC_LOG_FILE_MODE);
    if (fd == -1) {
        return nuc_err_sys(err, NUC_IO, errno, "open of \"%s\" failed", path);
    }

    memset(&page, 0, sizeof(page));
    nuc_head_fill(&page.head, &a->writer);

    rc = nuc_fs_share(sys, dir, fd, err);

    if (rc == NUC_OK) {
        rc = nuc_sys_write_all(sys, fd, &page, sizeof(page), 0, err);
    }

    if (rc == NUC_OK) {
        a->head = sys->map(sys, fd, NUC_HEAD_LEN, 1);

        if (a->head == NULL) {
            rc = nuc_err_sys(err, NUC_IO, errno, "mmap of \"%s\" failed", path);
        }
    }

    sys->close(sys, fd);

    return rc;
}

/* Unmap the head and give back the lock. */
static void nuc_append_release(nuc_append_t *a)
{
    if (a->head != NULL) {
        a->sys->unmap(a->sys, a->head, NUC_HEAD_LEN);
        a->head = NULL;
    }

    if (a->lock_fd != -1) {
        a->sys->close(a->sys, a->lock_fd);
        a->lock_fd = -1;
    }
}

/* What an attempt that failed has made so far; if this fails too, the keeper finds the
 * rest. */
static void nuc_append_unmake_writer(nuc_append_t *a, const char *dir)
{
    nuc_fs_discard(a->sys, dir, NUC_LOG_HEAD_NAME);
    nuc_fs_discard(a->sys, dir, NUC_LOG_LOCK_NAME);
    (void) a->sys->rmdir(a->sys, dir);
    nuc_append_release(a);
}

/*
 * Make the directory under a temporary name, so that nobody meets it unlocked, and give
 * it its own.  The new name is durable before anything in it can be acknowledged (I2).
 */
nuc_rc_t nuc_append_start(nuc_append_t *a, nuc_err_t *err)
{
    char *end, text[NUC_UUID_TEXT_LEN + 1],
        name[sizeof(text) + sizeof(NUC_LOG_NEW_PREFIX)];
    char made[NUC_PATH_MAX], path[NUC_PATH_MAX];
    nuc_rc_t rc;
    const nuc_sys_t *sys = a->sys;

    /* again: it may be another directory than the one nginx started with */
    rc = nuc_log_prepare(sys, a->dir, err);
    if (rc != NUC_OK) {
        return rc;
    }

    rc = nuc_uuid_v7(&a->uuids, nuc_time_now(), &a->writer, err);
    if (rc != NUC_OK) {
        return rc;
    }

    end = nuc_uuid_format(&a->writer, text);
    *end = '\0';
    snprintf(name, sizeof(name), "%s%s", NUC_LOG_NEW_PREFIX, text);

    rc = nuc_path_join(made, a->dir, name, err);
    if (rc != NUC_OK) {
        return rc;
    }

    rc = nuc_path_join(path, a->dir, text, err);
    if (rc != NUC_OK) {
        return rc;
    }

    if (sys->mkdir(sys, made, NUC_LOG_DIR_MODE) == -1) {
        rc = nuc_err_sys(err, NUC_IO, errno, "mkdir \"%s\" failed", made);

        if (err->sys_errno == EACCES) {
            nuc_err_hint(err, "nginx's user must be able to write \"%.100s\"", a->dir);
        }

        return rc;
    }

    rc = nuc_fs_share_dir(sys, a->dir, made, err);

    if (rc == NUC_OK) {
        rc = nuc_append_make_lock(a, made, err);
    }

    if (rc == NUC_OK) {
        rc = nuc_append_make_head(a, made, err);
    }

    if (rc == NUC_OK && sys->rename(sys, made, path) == -1) {
        rc = nuc_err_sys(err, NUC_IO, errno, "rename of \"%s\" to \"%s\" failed", made,
                         path);
    }

    if (rc != NUC_OK) {
        nuc_append_unmake_writer(a, made);
        return rc;
    }

    rc = nuc_fs_sync_dir(sys, a->dir, "log-new-writer", err);
    if (rc != NUC_OK) {
        nuc_append_unmake_writer(a, path);
        return rc;
    }

    strcpy(a->path, path);

    return NUC_OK;
}

void nuc_append_close(nuc_append_t *a)
{
    nuc_append_close_segment(a);
    nuc_append_release(a);
}
