/*
 * Recovery and sealing: where a finished segment ends, what of it is whole, what is to be
 * cut or put aside; then its index.
 */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

#include "nuc_log_keeper.h"
#include "nuc_log_tail.h"

#define NUC_QUARANTINE_NAME "quarantine"

static nuc_rc_t nuc_keeper_index_records(nuc_log_keeper_t *keeper,
                                         nuc_keeper_writer_t *writer,
                                         nuc_index_builder_t *builder,
                                         nuc_index_summary_t *summary, int *damaged_tail,
                                         nuc_err_t *err);
static nuc_rc_t nuc_keeper_quarantine(nuc_log_keeper_t *keeper,
                                      nuc_keeper_writer_t *writer, uint64_t from,
                                      uint64_t to, uint64_t lost, nuc_err_t *err);

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

nuc_rc_t nuc_keeper_segment_end(nuc_log_keeper_t *keeper, nuc_keeper_writer_t *writer,
                                size_t i, uint64_t *end, nuc_err_t *err)
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

nuc_rc_t nuc_keeper_seal(nuc_log_keeper_t *keeper, nuc_keeper_writer_t *writer, size_t i,
                         nuc_err_t *err)
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
        rc = nuc_fs_share_dir(keeper->sys, keeper->dir, dir, err);
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
