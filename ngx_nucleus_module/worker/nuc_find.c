#include "nuc_find.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>

#include "nuc_log.h"
#include "nuc_log_scan.h"

/* Take "…/<writer>/<segment>.seg" apart; the file's name is cut off. */
static nuc_rc_t nuc_find_parse_path(char *path, nuc_uuid_t *writer, uint64_t *first)
{
    char *slash, *name;

    slash = strrchr(path, '/');
    if (slash == NULL) {
        return NUC_INVALID;
    }

    *first = nuc_segment_name_parse(slash + 1, NUC_LOG_SEGMENT_SUFFIX);
    *slash = '\0';

    name = strrchr(path, '/');
    name = name == NULL ? path : name + 1;

    return *first == 0 ? NUC_INVALID : nuc_uuid_parse(nuc_str(name), writer);
}

static nuc_rc_t nuc_find_read_record(const char *segment, uint64_t offset, nuc_buf_t *out,
                                     nuc_err_t *err)
{
    char dir[NUC_PATH_MAX];
    uint64_t first;
    nuc_rc_t rc;
    nuc_scan_t scan;
    nuc_uuid_t writer;
    nuc_frame_t frame;
    nuc_record_t record;

    snprintf(dir, sizeof(dir), "%s", segment);

    if (nuc_find_parse_path(dir, &writer, &first) != NUC_OK) {
        return nuc_err_set(err, NUC_INVALID, "\"%s\" is not a segment's name", segment);
    }

    nuc_scan_init(&scan, &nuc_sys_posix);

    rc = nuc_scan_open(&scan, dir, &writer, first, O_RDONLY, err);

    if (rc == NUC_OK) {
        scan.offset = offset;
        rc = nuc_scan_frame(&scan, &frame, err);
    }

    if (rc == NUC_OK) {
        rc = nuc_record_decode(frame.payload, &record, err);
    }

    if (rc == NUC_OK) {
        rc = nuc_record_ndjson(&record, out, err);
    }

    nuc_scan_free(&scan);

    return rc;
}

nuc_rc_t nuc_find_record(const nuc_worker_conf_t *conf, const char *rid, FILE *out,
                         nuc_err_t *err)
{
    char path[NUC_PATH_MAX];
    uint64_t offset;
    nuc_rc_t rc;
    nuc_buf_t buf;
    nuc_uuid_t id;

    /* the id of a record is written as a UUID is */
    if (nuc_uuid_parse(nuc_str(rid), &id) != NUC_OK) {
        return nuc_err_set(err, NUC_INVALID, "\"%s\" is not the id of a record", rid);
    }

    rc = nuc_log_find(&nuc_sys_posix, conf->queue, id.b, path, &offset, err);

    if (rc == NUC_NOT_FOUND) {
        nuc_err_set(err, rc, "the log in \"%s\" has no record %s", conf->queue, rid);
        nuc_err_hint(err,
                     "it was never accepted, or every pipeline has passed it and its "
                     "segment was removed: look into the stores");
    }

    if (rc != NUC_OK) {
        return rc;
    }

    buf = NUC_BUF_INIT;
    nuc_buf_printf(&buf, "%s offset %" PRIu64 "\n", path, offset);

    rc = nuc_find_read_record(path, offset, &buf, err);
    if (rc != NUC_OK) {
        nuc_buf_free(&buf);
        return rc;
    }

    if (buf.failed) {
        rc = nuc_err_set(err, NUC_NOMEM, "no memory to print");
    } else if (fwrite(buf.data, 1, buf.len, out) != buf.len || fflush(out) != 0) {
        rc = nuc_err_sys(err, NUC_IO, errno, "printing failed");
    }

    nuc_buf_free(&buf);

    return rc;
}
