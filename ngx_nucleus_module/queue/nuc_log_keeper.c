/*
 * The keeper of a queue directory: recovers the logs of writers that died, seals finished
 * segments, removes what every consumer has passed.  The worker runs one; nothing else
 * unlinks.
 *
 * A segment is finished when its writer began another, or is dead (its lock is free).
 * Where its last durable record lies is said by the header of the segment after it; only
 * the last segment of a dead writer has to be searched for its end, see README.md,
 * "Recovery".
 */

#include "nuc_log_keeper.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "nuc_time.h"

#define NUC_KEEPER_LOCK_NAME  "keeper.lock"
#define NUC_ABANDONED_AFTER_S 60 /* seconds until a half-made one is removed */

static nuc_rc_t nuc_keeper_tend_writer(nuc_log_keeper_t *keeper,
                                       nuc_keeper_writer_t *writer, nuc_err_t *err);

void nuc_keeper_report(nuc_log_keeper_t *keeper, nuc_log_event_t event,
                       const nuc_keeper_writer_t *writer, uint64_t segment,
                       uint64_t records, uint64_t bytes, const char *path)
{
    nuc_log_report_t report = {
        .event = event,
        .writer = writer->id,
        .segment = segment,
        .records = records,
        .bytes = bytes,
        .path = path,
    };

    keeper->report(keeper->ctx, &report);
}

nuc_rc_t nuc_log_keeper_open(const nuc_sys_t *sys, const char *dir,
                             nuc_log_report_pt report, void *ctx, nuc_log_keeper_t **out,
                             nuc_err_t *err)
{
    char path[NUC_PATH_MAX];
    nuc_rc_t rc;
    nuc_log_keeper_t *keeper;

    rc = nuc_path_join(path, dir, NUC_KEEPER_LOCK_NAME, err);
    if (rc != NUC_OK) {
        return rc;
    }

    keeper = calloc(1, sizeof(nuc_log_keeper_t));
    if (keeper == NULL) {
        return nuc_err_set(err, NUC_NOMEM, "no memory for the keeper");
    }

    keeper->sys = sys;
    keeper->report = report;
    keeper->ctx = ctx;
    strcpy(keeper->dir, dir);
    nuc_scan_init(&keeper->scan, sys);

    keeper->lock_fd = sys->open(sys, path, O_RDWR | O_CREAT, NUC_LOG_FILE_MODE);
    if (keeper->lock_fd == -1) {
        rc = nuc_err_sys(err, errno == ENOENT ? NUC_NOT_FOUND : NUC_IO, errno,
                         "open of \"%s\" failed", path);
        nuc_log_keeper_close(keeper);
        return rc;
    }

    if (sys->lock(sys, keeper->lock_fd) == -1) {
        rc = nuc_err_set(err, NUC_BUSY, "another process keeps the queue in \"%s\"", dir);
        nuc_log_keeper_close(keeper);
        return rc;
    }

    rc = nuc_fs_share(sys, dir, keeper->lock_fd, err);
    if (rc != NUC_OK) {
        nuc_log_keeper_close(keeper);
        return rc;
    }

    *out = keeper;

    return NUC_OK;
}

void nuc_log_keeper_close(nuc_log_keeper_t *keeper)
{
    if (keeper->lock_fd != -1) {
        keeper->sys->close(keeper->sys, keeper->lock_fd);
    }

    nuc_scan_free(&keeper->scan);
    free(keeper->writers);
    free(keeper->listed.ids);
    free(keeper->segments.firsts);
    free(keeper);
}

/* The same writers as on disk, with what is known of each kept. */
static nuc_rc_t nuc_keeper_refresh(nuc_log_keeper_t *keeper, nuc_err_t *err)
{
    size_t i, j = 0;
    nuc_rc_t rc;
    nuc_keeper_writer_t *writers;

    rc = nuc_log_list_writers(keeper->sys, keeper->dir, &keeper->listed, err);
    if (rc != NUC_OK) {
        return rc;
    }

    writers = calloc(keeper->listed.count + 1, sizeof(*writers));
    if (writers == NULL) {
        return nuc_err_set(err, NUC_NOMEM, "no memory for %zu writers",
                           keeper->listed.count);
    }

    for (i = 0; i < keeper->listed.count; i++) {
        writers[i].id = keeper->listed.ids[i];

        while (j < keeper->nwriters &&
               nuc_uuid_cmp(&keeper->writers[j].id, &writers[i].id) < 0) {
            j++;
        }

        if (j < keeper->nwriters &&
            nuc_uuid_cmp(&keeper->writers[j].id, &writers[i].id) == 0) {
            writers[i] = keeper->writers[j];
        }
    }

    free(keeper->writers);
    keeper->writers = writers;
    keeper->nwriters = keeper->listed.count;

    return NUC_OK;
}

/* A directory that a process was making when it died; never one that is being made. */
static int nuc_keeper_sweep_entry(void *ctx, const char *name)
{
    char path[NUC_PATH_MAX];
    struct stat st;
    nuc_log_keeper_t *keeper = ctx;

    if (strncmp(name, NUC_LOG_NEW_PREFIX, sizeof(NUC_LOG_NEW_PREFIX) - 1) != 0 ||
        nuc_path_join(path, keeper->dir, name, NULL) != NUC_OK ||
        keeper->sys->stat(keeper->sys, path, &st) == -1 ||
        (uint64_t) st.st_mtime + NUC_ABANDONED_AFTER_S > nuc_time_now() / 1000000) {
        return 0;
    }

    nuc_fs_discard(keeper->sys, path, NUC_LOG_HEAD_NAME);
    nuc_fs_discard(keeper->sys, path, NUC_LOG_LOCK_NAME);
    (void) keeper->sys->rmdir(keeper->sys, path);

    return 0;
}

void nuc_keeper_keep_first(nuc_rc_t rc, const nuc_err_t *writer_err, nuc_rc_t *first,
                           nuc_err_t *err)
{
    if (rc == NUC_OK || *first != NUC_OK) {
        return;
    }

    *first = rc;

    if (err != NULL) {
        *err = *writer_err;
    }
}

nuc_rc_t nuc_log_keeper_tend(nuc_log_keeper_t *keeper, nuc_err_t *err)
{
    size_t i;
    nuc_rc_t rc, first_rc;
    nuc_err_t writer_err;

    rc = nuc_keeper_refresh(keeper, err);
    if (rc != NUC_OK) {
        return rc;
    }

    (void) keeper->sys->list(keeper->sys, keeper->dir, nuc_keeper_sweep_entry, keeper);

    first_rc = NUC_OK;

    for (i = 0; i < keeper->nwriters; i++) {
        if (keeper->writers[i].settled) {
            continue;
        }

        rc = nuc_keeper_tend_writer(keeper, &keeper->writers[i], &writer_err);
        nuc_keeper_keep_first(rc, &writer_err, &first_rc, err);
    }

    return first_rc;
}

/* Dead when its lock is free: a writer takes it before its directory has its name. */
static nuc_rc_t nuc_keeper_check_dead(nuc_log_keeper_t *keeper,
                                      nuc_keeper_writer_t *writer, nuc_err_t *err)
{
    int fd;
    char path[NUC_PATH_MAX];
    nuc_rc_t rc;
    const nuc_sys_t *sys = keeper->sys;

    rc = nuc_path_join(path, keeper->path, NUC_LOG_LOCK_NAME, err);
    if (rc != NUC_OK) {
        return rc;
    }

    fd = sys->open(sys, path, O_RDWR, 0);
    if (fd == -1) {
        if (errno == ENOENT) {
            /* a power cut kept the directory and lost the file */
            writer->dead = 1;
            return NUC_OK;
        }

        return nuc_err_sys(err, NUC_IO, errno, "open of \"%s\" failed", path);
    }

    writer->dead = sys->lock(sys, fd) == 0;
    sys->close(sys, fd);

    return NUC_OK;
}

static void nuc_keeper_read_head(nuc_log_keeper_t *keeper, const nuc_uuid_t *id)
{
    nuc_log_head_t *head;

    keeper->published = 0;
    keeper->closed = 0;

    head = nuc_head_map(keeper->sys, keeper->path, id);

    if (head != NULL) {
        keeper->published = le64toh(atomic_load(&head->durable));
        keeper->closed = le64toh(atomic_load(&head->closed));
        keeper->sys->unmap(keeper->sys, head, NUC_HEAD_LEN);
    }
}

static size_t nuc_keeper_finished(nuc_log_keeper_t *keeper,
                                  const nuc_keeper_writer_t *writer)
{
    size_t count = keeper->segments.count;

    if (count == 0 || writer->dead ||
        keeper->segments.firsts[count - 1] < keeper->closed) {
        return count;
    }

    return count - 1;
}

nuc_rc_t nuc_keeper_look(nuc_log_keeper_t *keeper, const nuc_keeper_writer_t *writer,
                         size_t *finished, nuc_err_t *err)
{
    nuc_rc_t rc;

    rc = nuc_log_list_segments(keeper->sys, keeper->path, &keeper->segments, err);
    if (rc != NUC_OK) {
        return rc;
    }

    nuc_keeper_read_head(keeper, &writer->id);
    *finished = nuc_keeper_finished(keeper, writer);

    return NUC_OK;
}

static nuc_rc_t nuc_keeper_tend_writer(nuc_log_keeper_t *keeper,
                                       nuc_keeper_writer_t *writer, nuc_err_t *err)
{
    size_t i, finished;
    nuc_rc_t rc;

    keeper->indexed = 0;
    keeper->records = 0;

    rc = nuc_log_writer_path(keeper->dir, &writer->id, keeper->path, err);
    if (rc != NUC_OK) {
        return rc;
    }

    /* before the listing: what a dead writer has, it has */
    if (!writer->dead) {
        rc = nuc_keeper_check_dead(keeper, writer, err);
        if (rc != NUC_OK) {
            return rc;
        }
    }

    rc = nuc_keeper_look(keeper, writer, &finished, err);
    if (rc != NUC_OK) {
        return rc == NUC_NOT_FOUND ? NUC_OK : rc;
    }

    for (i = 0; i < finished; i++) {
        if (keeper->segments.firsts[i] <= writer->sealed) {
            continue;
        }

        rc = nuc_keeper_seal(keeper, writer, i, err);
        if (rc != NUC_OK) {
            return rc;
        }

        writer->sealed = keeper->segments.firsts[i];
    }

    if (writer->dead) {
        writer->settled = 1;

        /* one whose segments have their indexes was recovered before this process began
         */
        if (keeper->indexed > 0) {
            nuc_keeper_report(keeper, NUC_LOG_ADOPTED, writer, 0, keeper->records, 0,
                              keeper->path);
        }
    }

    return NUC_OK;
}
