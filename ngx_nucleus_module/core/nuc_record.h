/*
 * One event is one record: attributes and the event's bytes exactly as they came.
 *
 * Encoded (all integers little-endian), the payload of a frame in the log:
 *
 *     0   u8   version, NUC_RECORD_VERSION
 *     1   u8   kind
 *     2   u16  length of this fixed part, 32 or more: a newer writer may append to it
 *     4   u32  length of the attributes
 *     8   16   rid
 *    24   u64  received, µs since 1970
 *   ...        attributes: { u16 number, u16 zero, u32 length, bytes } each
 *   ...        data, up to the end of the payload
 *
 * An older reader skips the attributes and the fixed bytes that it does not know; a newer
 * reader finds missing attributes absent.  A version that differs means that this rule
 * was broken.
 */

#ifndef NUC_RECORD_H
#define NUC_RECORD_H

#include "nuc_buf.h"
#include "nuc_err.h"
#include "nuc_str.h"

#define NUC_RECORD_VERSION   1
#define NUC_RECORD_FIXED_LEN 32
#define NUC_RID_LEN          16
#define NUC_RID_TEXT_LEN     36

typedef enum {
    NUC_KIND_JSON = 1,
    NUC_KIND_XAPI,
    NUC_KIND_CALIPER,
    NUC_KIND_CLOUDEVENTS,
    NUC_KIND_UPLOAD,
    NUC_KIND_COUNT
} nuc_kind_t;

/* The numbers are on disk: append, never reorder. */
typedef enum {
    NUC_ATTR_TENANT = 0,
    NUC_ATTR_STREAM,
    NUC_ATTR_ID,      /* the client's, unescaped UTF-8 */
    NUC_ATTR_TYPE,    /* verb, event type */
    NUC_ATTR_SUBJECT, /* actor */
    NUC_ATTR_KEY_ID,
    NUC_ATTR_TIME, /* the event's own, RFC 3339 as sent */
    NUC_ATTR_NODE,
    NUC_ATTR_REQUEST_ID,
    NUC_ATTR_TRACEPARENT,
    NUC_ATTR_CONTENT_TYPE,
    NUC_ATTR_COUNT
} nuc_attr_t;

typedef struct {
    uint8_t rid[NUC_RID_LEN];
    nuc_kind_t kind;
    uint64_t received;              /* µs since 1970 */
    nuc_str_t attr[NUC_ATTR_COUNT]; /* absent: len 0 */
    nuc_str_t data;
} nuc_record_t;

/* The lower-case names used in files, metrics and configuration, or NULL. */
const char *nuc_kind_name(nuc_kind_t kind);
const char *nuc_attr_name(nuc_attr_t attr);

/* Bytes that nuc_record_encode will write. */
size_t nuc_record_encoded_len(const nuc_record_t *rec);

/* Writes nuc_record_encoded_len bytes to "out" and returns the end. */
uint8_t *nuc_record_encode(const nuc_record_t *rec, uint8_t *out);

/*
 * The slices of "rec" point into "payload".  NUC_CORRUPT when a length leads outside, or
 * the version is another.
 */
nuc_rc_t nuc_record_decode(nuc_str_t payload, nuc_record_t *rec, nuc_err_t *err);

/*
 * The record as one line of NDJSON with its LF: the attributes, data_sha256, and "data"
 * verbatim but for CR and LF between tokens, which become spaces; data that is not JSON
 * by its kind (NUC_KIND_UPLOAD) is "data_base64".
 */
nuc_rc_t nuc_record_ndjson(const nuc_record_t *rec, nuc_buf_t *out, nuc_err_t *err);

#endif /* NUC_RECORD_H */
