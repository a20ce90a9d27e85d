/*
 * Walks the frames of one segment file, and finds the next whole frame behind damage. The
 * reader, the keeper and find walk with it.
 */

#ifndef NUC_LOG_SCAN_H
#define NUC_LOG_SCAN_H

#include "nuc_log_file.h"

typedef struct {
    const nuc_sys_t *sys;
    int fd;         /* -1 when closed */
    uint64_t first; /* of the segment */
    uint32_t salt;
    int header_valid; /* the segment's header was whole */
    nuc_segment_header_t header;
    uint64_t offset; /* of the frame to look at next */

    /* what was read of the file, from buf_offset on */
    uint8_t *buf;
    size_t capacity;
    uint64_t buf_offset;
    size_t buf_len;
} nuc_scan_t;

typedef struct {
    nuc_frame_header_t header;
    nuc_str_t payload; /* valid until the next call on the scan */
    uint64_t offset;   /* in the segment */
    size_t size;       /* with header and padding */
} nuc_frame_t;

void nuc_scan_init(nuc_scan_t *scan, const nuc_sys_t *sys);

/*
 * Open segment "first" in the writer's directory "dir", at its first frame.  A damaged
 * header is no error: header_valid says so.  NUC_NOT_FOUND, NUC_IO, NUC_NOMEM.
 */
nuc_rc_t nuc_scan_open(nuc_scan_t *scan, const char *dir, const nuc_uuid_t *writer,
                       uint64_t first, int flags, nuc_err_t *err);

/*
 * Did its writer fail to begin it?  It is shorter than its header, and nothing says that
 * it held a record: "published" is the durable end that the head tells.  Ask of the
 * writer's last segment alone; after an error the answer is no.
 */
int nuc_scan_not_begun(nuc_scan_t *scan, uint64_t published);

/*
 * The frame at scan->offset, without passing it.  NUC_OK; NUC_NOT_FOUND: nothing was
 * written there; NUC_CORRUPT: something was, but it is no whole frame; NUC_IO, NUC_NOMEM.
 */
nuc_rc_t nuc_scan_frame(nuc_scan_t *scan, nuc_frame_t *frame, nuc_err_t *err);

void nuc_scan_pass(nuc_scan_t *scan, const nuc_frame_t *frame);

/*
 * The next whole frame behind scan->offset whose sequence is at least "min" and under
 * "limit"; moves the scan to it.  NUC_NOT_FOUND: none up to the end of the file.
 */
nuc_rc_t nuc_scan_resync(nuc_scan_t *scan, uint64_t min, uint64_t limit,
                         nuc_frame_t *frame, nuc_err_t *err);

/* Forget what was read ahead: the file has grown since. */
void nuc_scan_forget(nuc_scan_t *scan);

nuc_rc_t nuc_scan_file_size(nuc_scan_t *scan, uint64_t *size, nuc_err_t *err);

/* Close the file; the buffer stays for the next open. */
void nuc_scan_close(nuc_scan_t *scan);
void nuc_scan_free(nuc_scan_t *scan);

#endif /* NUC_LOG_SCAN_H */
