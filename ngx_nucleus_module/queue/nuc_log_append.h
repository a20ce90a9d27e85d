/*
 * The files of one writer: its directory, its segments, and groups appended to them. Used
 * by one thread at a time, the flusher; knows nothing of clients, tickets or quotas.
 *
 * Errors are NUC_IO with the errno, also for a full disk, unless a function says
 * otherwise.
 */

#ifndef NUC_LOG_APPEND_H
#define NUC_LOG_APPEND_H

#include "nuc_buf.h"
#include "nuc_log.h"
#include "nuc_log_file.h"

typedef struct {
    const nuc_sys_t *sys;
    const char *dir;       /* of the queue; the caller's */
    uint64_t segment_size; /* bytes after which a new segment begins */
    uint64_t stride;       /* bytes of a group that the device gets at a time */

    nuc_uuid_source_t uuids;
    nuc_uuid_t writer;
    char path[NUC_PATH_MAX]; /* of the writer's directory; empty until it is there */
    int lock_fd;
    nuc_log_head_t *head;
    int segment_fd; /* -1: the next group opens one */
    uint32_t salt;
    uint32_t group;
    uint64_t offset;  /* end of the last durable group in the segment */
    uint64_t next;    /* sequence of the next record */
    uint64_t durable; /* the sequence after the last durable record */
    uint64_t synced;  /* µs that the sync of the last group took */
} nuc_append_t;

void nuc_append_init(nuc_append_t *a, const nuc_log_options_t *options, const char *dir);

/* Make the writer's directory; a group or a probe does it too, if this has failed. */
nuc_rc_t nuc_append_start(nuc_append_t *a, nuc_err_t *err);

/*
 * Seal the frames as one group, write and sync them.  NUC_OK: durable (I1).  NUC_IO: none
 * of it is on disk, or will be (I3).  NUC_UNKNOWN: the segment is given up, the next
 * group begins another (I4).
 */
nuc_rc_t nuc_append_group(nuc_append_t *a, const nuc_buf_t *frames, size_t records,
                          nuc_err_t *err);

/*
 * After a failure: does the disk take a small write again?  Only a sync that succeeded
 * counts, so that a disk that fails all syncs leaves no further client in doubt (I5).
 */
nuc_rc_t nuc_append_probe(nuc_append_t *a, nuc_err_t *err);

/* Finish the segment, if one with records is open, so that the keeper may seal it. */
void nuc_append_finish_segment(nuc_append_t *a);

/* Close the files and free the lock: the writer is dead. */
void nuc_append_close(nuc_append_t *a);

#endif /* NUC_LOG_APPEND_H */
