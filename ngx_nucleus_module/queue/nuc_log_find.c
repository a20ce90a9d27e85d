/*
 * Where is a record?  By the indexes of sealed segments; the few others are walked.
 */

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "nuc_log.h"
#include "nuc_log_index.h"
#include "nuc_log_list.h"
#include "nuc_log_scan.h"

static nuc_rc_t nuc_find_by_walk(nuc_scan_t *scan, const char *dir,
                                 const nuc_uuid_t *writer, uint64_t first,
                                 const uint8_t rid[NUC_RID_LEN], uint64_t *offset,
                                 nuc_err_t *err)
{
    nuc_rc_t rc;
    nuc_frame_t frame;
    nuc_record_t record;

    rc = nuc_scan_open(scan, dir, writer, first, O_RDONLY, err);
    if (rc != NUC_OK) {
        return rc;
    }

    for (;;) {
        rc = nuc_scan_frame(scan, &frame, err);

        if (rc == NUC_CORRUPT || rc == NUC_NOT_FOUND) {
            rc = nuc_scan_resync(scan, 1, UINT64_MAX, &frame, err);
        }

        if (rc != NUC_OK) {
            return rc;
        }

        if (nuc_record_decode(frame.payload, &record, NULL) == NUC_OK &&
            memcmp(record.rid, rid, NUC_RID_LEN) == 0) {
            *offset = frame.offset;
            return NUC_OK;
        }

        nuc_scan_pass(scan, &frame);
    }
}

static nuc_rc_t nuc_find_in_writer(const nuc_sys_t *sys, const char *dir,
                                   const nuc_uuid_t *writer,
                                   const uint8_t rid[NUC_RID_LEN], char *path,
                                   uint64_t *offset, nuc_err_t *err)
{
    size_t i;
    nuc_rc_t rc;
    nuc_scan_t scan;
    nuc_segment_list_t segments = {NULL, 0, 0};

    nuc_scan_init(&scan, sys);

    rc = nuc_log_list_segments(sys, dir, &segments, err);

    if (rc == NUC_OK) {
        rc = NUC_NOT_FOUND;
    }

    for (i = 0; rc == NUC_NOT_FOUND && i < segments.count; i++) {
        rc = nuc_index_find(sys, dir, writer, segments.firsts[i], rid, offset, err);

        if (rc == NUC_CORRUPT) {
            rc = nuc_find_by_walk(&scan, dir, writer, segments.firsts[i], rid, offset,
                                  err);
        }

        if (rc == NUC_OK) {
            rc = nuc_segment_path(dir, segments.firsts[i], NUC_LOG_SEGMENT_SUFFIX, path,
                                  err);
        }
    }

    nuc_scan_free(&scan);
    free(segments.firsts);

    return rc;
}

nuc_rc_t nuc_log_find(const nuc_sys_t *sys, const char *dir,
                      const uint8_t rid[NUC_RID_LEN], char *path, uint64_t *offset,
                      nuc_err_t *err)
{
    size_t i;
    char writer_path[NUC_PATH_MAX];
    nuc_rc_t rc;
    nuc_writer_list_t writers = {NULL, 0, 0};

    rc = nuc_log_list_writers(sys, dir, &writers, err);

    if (rc == NUC_OK) {
        rc = NUC_NOT_FOUND;
    }

    for (i = 0; rc == NUC_NOT_FOUND && i < writers.count; i++) {
        rc = nuc_log_writer_path(dir, &writers.ids[i], writer_path, err);

        if (rc == NUC_OK) {
            rc = nuc_find_in_writer(sys, writer_path, &writers.ids[i], rid, path, offset,
                                    err);
        }
    }

    free(writers.ids);

    return rc;
}
