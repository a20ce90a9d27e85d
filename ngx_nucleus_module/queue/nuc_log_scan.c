#include "nuc_log_scan.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define NUC_SCAN_CHUNK (1u << 20) /* bytes read at a time */

void nuc_scan_init(nuc_scan_t *scan, const nuc_sys_t *sys)
{
    memset(scan, 0, sizeof(*scan));
    scan->sys = sys;
    scan->fd = -1;
}

void nuc_scan_forget(nuc_scan_t *scan)
{
    scan->buf_len = 0;
}

void nuc_scan_close(nuc_scan_t *scan)
{
    if (scan->fd != -1) {
        scan->sys->close(scan->sys, scan->fd);
        scan->fd = -1;
    }

    nuc_scan_forget(scan);
}

void nuc_scan_free(nuc_scan_t *scan)
{
    nuc_scan_close(scan);
    free(scan->buf);
    scan->buf = NULL;
    scan->capacity = 0;
}

nuc_rc_t nuc_scan_open(nuc_scan_t *scan, const char *dir, const nuc_uuid_t *writer,
                       uint64_t first, int flags, nuc_err_t *err)
{
    char path[NUC_PATH_MAX];
    size_t got;
    uint8_t header[NUC_SEGMENT_HEADER_LEN];
    nuc_rc_t rc;

    nuc_scan_close(scan);

    rc = nuc_segment_path(dir, first, NUC_LOG_SEGMENT_SUFFIX, path, err);
    if (rc != NUC_OK) {
        return rc;
    }

    scan->fd = scan->sys->open(scan->sys, path, flags, 0);
    if (scan->fd == -1) {
        return nuc_err_sys(err, errno == ENOENT ? NUC_NOT_FOUND : NUC_IO, errno,
                           "open of \"%s\" failed", path);
    }

    rc = nuc_sys_read_all(scan->sys, scan->fd, header, sizeof(header), 0, &got, err);
    if (rc != NUC_OK) {
        nuc_scan_close(scan);
        return rc;
    }

    scan->first = first;
    scan->salt = nuc_segment_salt(writer, first);
    scan->offset = NUC_SEGMENT_HEADER_LEN;
    scan->header_valid =
        got == sizeof(header) &&
        nuc_segment_header_decode(header, writer, first, &scan->header) == NUC_OK;

    return NUC_OK;
}

/*
 * Have "need" bytes from scan->offset on in the buffer, or as many as the file has; *p
 * and *len say where and how many.
 */
static nuc_rc_t nuc_scan_fill(nuc_scan_t *scan, size_t need, const uint8_t **p,
                              size_t *len, nuc_err_t *err)
{
    size_t kept, got, want;
    uint8_t *grown;
    nuc_rc_t rc;

    if (scan->offset >= scan->buf_offset &&
        scan->offset < scan->buf_offset + scan->buf_len) {
        kept = (size_t) (scan->buf_offset + scan->buf_len - scan->offset);

        if (kept >= need) {
            *p = scan->buf + (scan->offset - scan->buf_offset);
            *len = kept;
            return NUC_OK;
        }

        memmove(scan->buf, scan->buf + scan->buf_len - kept, kept);

    } else {
        kept = 0;
    }

    want = need > NUC_SCAN_CHUNK ? need : NUC_SCAN_CHUNK;

    if (scan->capacity < want) {
        grown = realloc(scan->buf, want);
        if (grown == NULL) {
            scan->buf_len = 0;
            return nuc_err_set(err, NUC_NOMEM, "no memory to read %zu bytes of a segment",
                               want);
        }

        scan->buf = grown;
        scan->capacity = want;
    }

    scan->buf_offset = scan->offset;
    scan->buf_len = kept;

    rc = nuc_sys_read_all(scan->sys, scan->fd, scan->buf + kept, scan->capacity - kept,
                          (off_t) (scan->offset + kept), &got, err);
    if (rc != NUC_OK) {
        scan->buf_len = 0;
        return rc;
    }

    scan->buf_len += got;
    *p = scan->buf;
    *len = scan->buf_len;

    return NUC_OK;
}

/* A damaged length must not make us ask for memory that the file cannot fill. */
static nuc_rc_t nuc_scan_within(nuc_scan_t *scan, size_t need, nuc_err_t *err)
{
    uint64_t size;
    nuc_rc_t rc;

    if (need <= NUC_SCAN_CHUNK) {
        return NUC_OK;
    }

    rc = nuc_scan_file_size(scan, &size, err);
    if (rc != NUC_OK) {
        return rc;
    }

    return scan->offset + need <= size ? NUC_OK : NUC_CORRUPT;
}

nuc_rc_t nuc_scan_frame(nuc_scan_t *scan, nuc_frame_t *frame, nuc_err_t *err)
{
    size_t len, need = NUC_FRAME_HEADER_LEN;
    nuc_rc_t rc;
    const uint8_t *p;

    do {
        rc = nuc_scan_within(scan, need, err);
        if (rc != NUC_OK) {
            return rc;
        }

        rc = nuc_scan_fill(scan, need, &p, &len, err);
        if (rc != NUC_OK) {
            return rc;
        }

        if (len < need) {
            return len == 0 ? NUC_NOT_FOUND : NUC_CORRUPT;
        }

        rc = nuc_frame_check(p, len, scan->salt, &frame->header, &need);
    } while (rc == NUC_AGAIN);

    if (rc != NUC_OK) {
        return rc;
    }

    frame->offset = scan->offset;
    frame->size = nuc_frame_size(frame->header.length);
    frame->payload = (nuc_str_t){p + NUC_FRAME_HEADER_LEN, frame->header.length};

    return NUC_OK;
}

void nuc_scan_pass(nuc_scan_t *scan, const nuc_frame_t *frame)
{
    scan->offset = frame->offset + frame->size;
}

/* Could a frame begin here?  Cheap: it stands between a CRC and nearly every offset
 * tried. */
static int nuc_scan_plausible(const uint8_t *p, uint64_t left, uint64_t min,
                              uint64_t limit)
{
    nuc_frame_header_t header;

    nuc_frame_header_decode(p, &header);

    return header.length > 0 && nuc_frame_size(header.length) <= left &&
           header.sequence >= min && header.sequence < limit;
}

nuc_rc_t nuc_scan_resync(nuc_scan_t *scan, uint64_t min, uint64_t limit,
                         nuc_frame_t *frame, nuc_err_t *err)
{
    size_t len;
    uint64_t size, from = scan->offset;
    nuc_rc_t rc;
    const uint8_t *p;

    rc = nuc_scan_file_size(scan, &size, err);
    if (rc != NUC_OK) {
        return rc;
    }

    for (;;) {
        scan->offset += NUC_FRAME_ALIGN;

        if (scan->offset + NUC_FRAME_HEADER_LEN > size) {
            /* a file that lost its end may be shorter than where the search began */
            scan->offset = size > from ? size : from;
            return NUC_NOT_FOUND;
        }

        rc = nuc_scan_fill(scan, NUC_FRAME_HEADER_LEN, &p, &len, err);
        if (rc != NUC_OK) {
            return rc;
        }

        if (len < NUC_FRAME_HEADER_LEN) {
            return NUC_NOT_FOUND;
        }

        if (!nuc_scan_plausible(p, size - scan->offset, min, limit)) {
            continue;
        }

        rc = nuc_scan_frame(scan, frame, err);
        if (rc == NUC_OK) {
            return NUC_OK;
        }

        if (rc != NUC_CORRUPT && rc != NUC_NOT_FOUND) {
            return rc;
        }
    }
}

int nuc_scan_not_begun(nuc_scan_t *scan, uint64_t published)
{
    uint64_t size;

    return !scan->header_valid && published > 0 && published <= scan->first &&
           nuc_scan_file_size(scan, &size, NULL) == NUC_OK &&
           size < NUC_SEGMENT_HEADER_LEN;
}

nuc_rc_t nuc_scan_file_size(nuc_scan_t *scan, uint64_t *size, nuc_err_t *err)
{
    struct stat st;

    if (scan->sys->fstat(scan->sys, scan->fd, &st) == -1) {
        return nuc_err_sys(err, NUC_IO, errno, "stat of a segment failed");
    }

    *size = (uint64_t) st.st_size;

    return NUC_OK;
}
