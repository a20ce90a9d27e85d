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

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nuc_log.h"
#include "nuc_log_index.h"
#include "nuc_log_list.h"
#include "nuc_log_scan.h"
#include "nuc_log_tail.h"
#include "nuc_time.h"

#define NUC_KEEPER_LOCK_NAME "keeper.lock"
#define NUC_QUARANTINE_NAME  "quarantine"
#define NUC_ABANDONED_AFTER_S                                                            \
    60 /* seconds until a half-made writer's directory is removed */

/* What is known of a writer from round to round. */
typedef struct {
    nuc_uuid_t id;
    uint64_t sealed; /* first sequence of the last segment known to be sealed */
    int dead;
    int settled; /* dead, and all its segments are sealed */
} nuc_keeper_writer_t;

struct nuc_log_keeper_s {
    const nuc_sys_t *sys;
    char dir[NUC_PATH_MAX];
    nuc_log_report_pt report;
    void *ctx;
    int lock_fd;

    nuc_keeper_writer_t *writers;
    size_t nwriters;

    nuc_writer_list_t listed;
    nuc_segment_list_t segments; /* of the writer being tended */
    char path[NUC_PATH_MAX];     /* of its directory */
    char segment_path[NUC_PATH_MAX];
    uint64_t published; /* by its head */
    uint64_t closed;    /* by its head */
    unsigned indexed;   /* segments that got an index in this round */
    uint64_t records;   /* in them */
    int searched;       /* the end was found by a search: it may not be durable */
    nuc_scan_t scan;
};

static nuc_rc_t nuc_keeper_tend_writer(nuc_log_keeper_t *keeper,
                                       nuc_keeper_writer_t *writer, nuc_err_t *err);
static nuc_rc_t nuc_keeper_seal(nuc_log_keeper_t *keeper, nuc_keeper_writer_t *writer,
                                size_t i, nuc_err_t *err);
static nuc_rc_t nuc_keeper_index_records(nuc_log_keeper_t *keeper,
                                         nuc_keeper_writer_t *writer,
                                         nuc_index_builder_t *builder,
                                         nuc_index_summary_t *summary, int *damaged_tail,
                                         nuc_err_t *err);
static nuc_rc_t nuc_keeper_quarantine(nuc_log_keeper_t *keeper,
                                      nuc_keeper_writer_t *writer, uint64_t from,
                                      uint64_t to, uint64_t lost, nuc_err_t *err);

static void nuc_keeper_report(nuc_log_keeper_t *keeper, nuc_log_event_t event,
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

/* One writer's trouble is told, the first of several, and does not stop the others. */
static void nuc_keeper_keep_first(nuc_rc_t rc, const nuc_err_t *writer_err,
                                  nuc_rc_t *first, nuc_err_t *err)
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

/* What the head says now; 0 where there is no whole one. */
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

/* How many of the listed segments, from the oldest, will not change any more. */
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

    rc = nuc_log_list_segments(keeper->sys, keeper->path, &keeper->segments, err);
    if (rc != NUC_OK) {
        return rc == NUC_NOT_FOUND ? NUC_OK : rc;
    }

    nuc_keeper_read_head(keeper, &writer->id);
    finished = nuc_keeper_finished(keeper, writer);

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

/* Where the last segment ends that was begun: the head knows, or it has to be searched.
 */
static nuc_rc_t nuc_keeper_last_end(nuc_log_keeper_t *keeper, nuc_keeper_writer_t *writer,
                                    uint64_t first, uint64_t *end, nuc_err_t *err)
{
    nuc_rc_t rc;

    if (!writer->dead) {
        *end = keeper->closed;
        return NUC_OK;
    }

    keeper->searched = 1;
    rc = nuc_scan_open(&keeper->scan, keeper->path, &writer->id, first, O_RDONLY, err);

    return rc == NUC_OK ? nuc_tail_find_end(&keeper->scan, keeper->published, end, err)
                        : rc;
}

/* Where segment i ends: its successor knows, if it was begun. */
static nuc_rc_t nuc_keeper_segment_end(nuc_log_keeper_t *keeper,
                                       nuc_keeper_writer_t *writer, size_t i,
                                       uint64_t *end, nuc_err_t *err)
{
    uint64_t next, first = keeper->segments.firsts[i];
    nuc_rc_t rc;

    keeper->searched = 0;

    if (i + 1 == keeper->segments.count) {
        return nuc_keeper_last_end(keeper, writer, first, end, err);
    }

    next = keeper->segments.firsts[i + 1];

    rc = nuc_scan_open(&keeper->scan, keeper->path, &writer->id, next, O_RDONLY, err);
    if (rc != NUC_OK) {
        return rc;
    }

    if (i + 2 == keeper->segments.count &&
        nuc_scan_not_begun(&keeper->scan, keeper->published)) {
        return nuc_keeper_last_end(keeper, writer, first, end, err);
    }

    *end = keeper->scan.header_valid ? keeper->scan.header.prev_end : next;

    return NUC_OK;
}

/*
 * Cut what lies beyond the end, and make the last segment of a dead writer durable: a
 * record that its writer wrote and did not live to sync is in the page cache alone.  Once
 * a consumer may read it, it must not vanish from the others (I7).
 */
static nuc_rc_t nuc_keeper_settle(nuc_log_keeper_t *keeper, nuc_keeper_writer_t *writer,
                                  const nuc_index_summary_t *summary, int is_last,
                                  int damaged_tail, nuc_err_t *err)
{
    uint64_t size;
    nuc_rc_t rc;
    const nuc_sys_t *sys = keeper->sys;

    rc = nuc_scan_file_size(&keeper->scan, &size, err);
    if (rc != NUC_OK) {
        return rc;
    }

    if (size > summary->length && !damaged_tail) {
        if (sys->ftruncate(sys, keeper->scan.fd, (off_t) summary->length) == -1) {
            return nuc_err_sys(err, NUC_IO, errno, "cut of \"%s\" failed",
                               keeper->segment_path);
        }

        nuc_keeper_report(keeper, NUC_LOG_CUT, writer, summary->first, 0,
                          size - summary->length, keeper->segment_path);
    }

    if (is_last && sys->fdatasync(sys, keeper->scan.fd, "log-recovery") == -1) {
        return nuc_err_sys(err, NUC_IO, errno, "sync of \"%s\" failed",
                           keeper->segment_path);
    }

    return NUC_OK;
}

/* Walk the segment once more, now that its end is known, and write down what it holds. */
static nuc_rc_t nuc_keeper_seal_to(nuc_log_keeper_t *keeper, nuc_keeper_writer_t *writer,
                                   nuc_index_summary_t *summary, int is_last,
                                   nuc_err_t *err)
{
    int damaged_tail = 0;
    nuc_rc_t rc;
    nuc_index_builder_t *builder;

    builder = nuc_index_builder_create();
    if (builder == NULL) {
        return nuc_err_set(err, NUC_NOMEM, "no memory for a segment's index");
    }

    rc = nuc_keeper_index_records(keeper, writer, builder, summary, &damaged_tail, err);

    if (rc == NUC_OK) {
        rc = nuc_keeper_settle(keeper, writer, summary, is_last, damaged_tail, err);
    }

    if (rc == NUC_OK) {
        rc = nuc_index_builder_write(builder, keeper->sys, keeper->path, &writer->id,
                                     summary, err);
    }

    nuc_index_builder_free(builder);

    if (rc == NUC_OK) {
        keeper->indexed++;
        keeper->records += summary->records;
        nuc_keeper_report(keeper, NUC_LOG_SEALED, writer, summary->first,
                          summary->records, summary->length, keeper->segment_path);
    }

    return rc;
}

static nuc_rc_t nuc_keeper_seal(nuc_log_keeper_t *keeper, nuc_keeper_writer_t *writer,
                                size_t i, nuc_err_t *err)
{
    uint64_t end, first = keeper->segments.firsts[i];
    nuc_rc_t rc;
    nuc_scan_t *scan = &keeper->scan;
    nuc_index_summary_t summary;

    rc = nuc_index_summary(keeper->sys, keeper->path, &writer->id, first, &summary, err);
    if (rc != NUC_NOT_FOUND) {
        return rc;
    }

    rc = nuc_segment_path(keeper->path, first, NUC_LOG_SEGMENT_SUFFIX,
                          keeper->segment_path, err);
    if (rc != NUC_OK) {
        return rc;
    }

    rc = nuc_keeper_segment_end(keeper, writer, i, &end, err);
    if (rc != NUC_OK) {
        return rc;
    }

    rc = nuc_scan_open(scan, keeper->path, &writer->id, first, O_RDWR, err);
    if (rc != NUC_OK) {
        return rc;
    }

    summary = (nuc_index_summary_t){.first = first, .end = end};

    rc = nuc_keeper_seal_to(keeper, writer, &summary,
                            i + 1 == keeper->segments.count || keeper->searched, err);
    nuc_scan_close(scan);

    return rc;
}

/* Index the records up to summary->end, and put aside what is damaged on the way. */
static nuc_rc_t nuc_keeper_index_records(nuc_log_keeper_t *keeper,
                                         nuc_keeper_writer_t *writer,
                                         nuc_index_builder_t *builder,
                                         nuc_index_summary_t *summary, int *damaged_tail,
                                         nuc_err_t *err)
{
    uint64_t from, expected = summary->first;
    nuc_rc_t rc;
    nuc_scan_t *scan = &keeper->scan;
    nuc_frame_t frame;
    nuc_record_t record;

    while (expected < summary->end) {
        from = scan->offset;
        rc = nuc_scan_frame(scan, &frame, err);

        if (rc == NUC_OK && frame.header.sequence < expected) {
            rc = NUC_CORRUPT;
        }

        if (rc == NUC_CORRUPT || rc == NUC_NOT_FOUND) {
            rc = nuc_scan_resync(scan, expected, summary->end, &frame, err);

            if (rc != NUC_OK && rc != NUC_NOT_FOUND) {
                return rc;
            }

            *damaged_tail = rc == NUC_NOT_FOUND;

            rc = nuc_keeper_quarantine(
                keeper, writer, from, scan->offset,
                (*damaged_tail ? summary->end : frame.header.sequence) - expected, err);
            if (rc != NUC_OK) {
                return rc;
            }

            if (*damaged_tail) {
                summary->lost += summary->end - expected;
                summary->length = scan->offset;
                return NUC_OK;
            }

            /* putting aside read elsewhere in the file */
            rc = nuc_scan_frame(scan, &frame, err);
        }

        if (rc != NUC_OK) {
            return rc;
        }

        if (frame.header.sequence >= summary->end) {
            break;
        }

        summary->lost += frame.header.sequence - expected;

        if (nuc_record_decode(frame.payload, &record, NULL) == NUC_OK) {
            rc = nuc_index_builder_add(builder, &record, frame.offset, err);
            if (rc != NUC_OK) {
                return rc;
            }

            summary->records++;
        }

        expected = frame.header.sequence + 1;
        nuc_scan_pass(scan, &frame);
    }

    summary->length = scan->offset;

    return NUC_OK;
}

/* A copy of the damaged bytes outlives the segment: somebody may want to look (I8). */
static nuc_rc_t nuc_keeper_copy(nuc_log_keeper_t *keeper, const char *dir,
                                const char *name, uint64_t from, uint64_t to,
                                nuc_err_t *err)
{
    size_t got;
    uint8_t *bytes;
    nuc_rc_t rc;

    bytes = malloc((size_t) (to - from) + 1);
    if (bytes == NULL) {
        return nuc_err_set(err, NUC_NOMEM, "no memory for %llu damaged bytes",
                           (unsigned long long) (to - from));
    }

    rc = nuc_sys_read_all(keeper->sys, keeper->scan.fd, bytes, (size_t) (to - from),
                          (off_t) from, &got, err);

    if (rc == NUC_OK) {
        rc = nuc_fs_replace(keeper->sys, dir, name, (nuc_str_t){bytes, got},
                            NUC_LOG_FILE_MODE, "log-quarantine-copy",
                            "log-quarantine-entry", err);
    }

    free(bytes);

    return rc;
}

static nuc_rc_t nuc_keeper_quarantine(nuc_log_keeper_t *keeper,
                                      nuc_keeper_writer_t *writer, uint64_t from,
                                      uint64_t to, uint64_t lost, nuc_err_t *err)
{
    char dir[NUC_PATH_MAX], path[NUC_PATH_MAX], id[NUC_UUID_TEXT_LEN + 1], name[128];
    nuc_rc_t rc;

    *nuc_uuid_format(&writer->id, id) = '\0';
    snprintf(name, sizeof(name), "%s-%020llu-%llu.bin", id,
             (unsigned long long) keeper->scan.first, (unsigned long long) from);

    rc = nuc_path_join(dir, keeper->dir, NUC_QUARANTINE_NAME, err);

    if (rc == NUC_OK) {
        rc = nuc_path_join(path, dir, name, err);
    }

    if (rc == NUC_OK) {
        rc = nuc_fs_make_path(keeper->sys, dir, NUC_LOG_DIR_MODE, "log-quarantine-dir",
                              err);
    }

    if (rc == NUC_OK) {
        rc = nuc_keeper_copy(keeper, dir, name, from, to, err);
    }

    if (rc == NUC_OK) {
        nuc_keeper_report(keeper, NUC_LOG_QUARANTINED, writer, keeper->scan.first, lost,
                          to - from, path);
    }

    return rc;
}

/* Removal. */

/* Has every consumer read everything before "end"? */
static int nuc_keeper_passed(const nuc_uuid_t *writer, uint64_t end,
                             const nuc_log_consumer_t *consumers, size_t count)
{
    size_t i, j;

    for (i = 0; i < count; i++) {
        for (j = 0; j < consumers[i].count; j++) {
            if (nuc_uuid_cmp(&consumers[i].positions[j].writer, writer) == 0) {
                break;
            }
        }

        if (j == consumers[i].count || consumers[i].positions[j].sequence < end) {
            return 0;
        }
    }

    return 1;
}

/*
 * What was unlinked before, by this process or by one that died, is gone for good when
 * this returns.  So segments vanish in order, whatever the power does: a hole would look
 * like damage, and a segment that came back after its readers forgot it would be read
 * again (I9).
 */
static nuc_rc_t nuc_keeper_settle_removals(nuc_log_keeper_t *keeper, nuc_err_t *err)
{
    return nuc_fs_sync_dir(keeper->sys, keeper->path, "log-removal", err);
}

static nuc_rc_t nuc_keeper_remove_segment(nuc_log_keeper_t *keeper,
                                          nuc_keeper_writer_t *writer, uint64_t first,
                                          const nuc_index_summary_t *summary,
                                          nuc_err_t *err)
{
    char name[NUC_LOG_NAME_MAX];
    nuc_rc_t rc;

    rc = nuc_segment_path(keeper->path, first, NUC_LOG_SEGMENT_SUFFIX,
                          keeper->segment_path, err);
    if (rc != NUC_OK) {
        return rc;
    }

    rc = nuc_keeper_settle_removals(keeper, err);
    if (rc != NUC_OK) {
        return rc;
    }

    if (keeper->sys->unlink(keeper->sys, keeper->segment_path) == -1) {
        return nuc_err_sys(err, NUC_IO, errno, "unlink of \"%s\" failed",
                           keeper->segment_path);
    }

    /* an index without its segment is nothing; it goes second so that none is rebuilt */
    nuc_segment_name(first, NUC_LOG_INDEX_SUFFIX, name);
    nuc_fs_discard(keeper->sys, keeper->path, name);

    nuc_keeper_report(keeper, NUC_LOG_REMOVED, writer, first, summary->records,
                      summary->length, keeper->segment_path);

    return NUC_OK;
}

static int nuc_keeper_unlink_entry(void *ctx, const char *name)
{
    nuc_log_keeper_t *keeper = ctx;

    nuc_fs_discard(keeper->sys, keeper->path, name);

    return 0;
}

/*
 * Remove the directory of a dead writer that has no segments left; a consumer forgets its
 * position once the directory is gone.  Should the directory come back with the power,
 * its head must not: it would tell of records that were not read.
 */
static nuc_rc_t nuc_keeper_retire(nuc_log_keeper_t *keeper, nuc_keeper_writer_t *writer,
                                  nuc_err_t *err)
{
    nuc_rc_t rc;

    (void) keeper->sys->list(keeper->sys, keeper->path, nuc_keeper_unlink_entry, keeper);

    rc = nuc_keeper_settle_removals(keeper, err);
    if (rc != NUC_OK) {
        return rc;
    }

    if (keeper->sys->rmdir(keeper->sys, keeper->path) == -1) {
        return nuc_err_sys(err, NUC_IO, errno, "rmdir \"%s\" failed", keeper->path);
    }

    nuc_keeper_report(keeper, NUC_LOG_RETIRED, writer, 0, 0, 0, keeper->path);

    return NUC_OK;
}

/* The end of a finished segment; without its index too, which a full disk has no room
 * for. */
static nuc_rc_t nuc_keeper_summary(nuc_log_keeper_t *keeper, nuc_keeper_writer_t *writer,
                                   size_t i, nuc_index_summary_t *summary, nuc_err_t *err)
{
    nuc_rc_t rc;
    uint64_t first = keeper->segments.firsts[i];

    rc = nuc_index_summary(keeper->sys, keeper->path, &writer->id, first, summary, err);
    if (rc != NUC_NOT_FOUND) {
        return rc;
    }

    *summary = (nuc_index_summary_t){.first = first};

    return nuc_keeper_segment_end(keeper, writer, i, &summary->end, err);
}

static nuc_rc_t nuc_keeper_remove_of(nuc_log_keeper_t *keeper,
                                     nuc_keeper_writer_t *writer,
                                     const nuc_log_consumer_t *consumers, size_t count,
                                     nuc_err_t *err)
{
    size_t i, finished;
    nuc_rc_t rc;
    nuc_index_summary_t summary;

    rc = nuc_log_writer_path(keeper->dir, &writer->id, keeper->path, err);
    if (rc != NUC_OK) {
        return rc;
    }

    rc = nuc_log_list_segments(keeper->sys, keeper->path, &keeper->segments, err);
    if (rc != NUC_OK) {
        return rc == NUC_NOT_FOUND ? NUC_OK : rc;
    }

    nuc_keeper_read_head(keeper, &writer->id);
    finished = nuc_keeper_finished(keeper, writer);

    for (i = 0; i < finished; i++) {
        rc = nuc_keeper_summary(keeper, writer, i, &summary, err);
        if (rc != NUC_OK) {
            return rc;
        }

        if (summary.end > summary.first &&
            !nuc_keeper_passed(&writer->id, summary.end, consumers, count)) {
            return NUC_OK;
        }

        rc = nuc_keeper_remove_segment(keeper, writer, keeper->segments.firsts[i],
                                       &summary, err);
        if (rc != NUC_OK) {
            return rc;
        }
    }

    /* the head outlives segments that somebody removed: readers learn from it what they
       have lost */
    if (!writer->settled ||
        (keeper->published > 1 &&
         !nuc_keeper_passed(&writer->id, keeper->published, consumers, count))) {
        return NUC_OK;
    }

    return nuc_keeper_retire(keeper, writer, err);
}

nuc_rc_t nuc_log_keeper_remove(nuc_log_keeper_t *keeper,
                               const nuc_log_consumer_t *consumers, size_t count,
                               nuc_err_t *err)
{
    size_t i;
    nuc_rc_t rc, first_rc = NUC_OK;
    nuc_err_t writer_err;

    if (count == 0) {
        return NUC_OK;
    }

    for (i = 0; i < keeper->nwriters; i++) {
        rc = nuc_keeper_remove_of(keeper, &keeper->writers[i], consumers, count,
                                  &writer_err);
        nuc_keeper_keep_first(rc, &writer_err, &first_rc, err);
    }

    return first_rc;
}
