#include "nuc_record.h"

#include <openssl/evp.h>

#include "nuc_le.h"
#include "nuc_time.h"
#include "nuc_uuid.h"

#define NUC_ATTR_HEAD_LEN 8 /* number, zero, length */
#define NUC_SHA256_LEN    32
#define NUC_JSON_FIXED    512 /* more than the keys and the values of fixed length take */

static const char *const nuc_kind_names[NUC_KIND_COUNT] = {
    [NUC_KIND_JSON] = "json",       [NUC_KIND_XAPI] = "xapi",
    [NUC_KIND_CALIPER] = "caliper", [NUC_KIND_CLOUDEVENTS] = "cloudevents",
    [NUC_KIND_UPLOAD] = "upload",
};

static const char *const nuc_attr_names[NUC_ATTR_COUNT] = {
    [NUC_ATTR_TENANT] = "tenant",
    [NUC_ATTR_STREAM] = "stream",
    [NUC_ATTR_ID] = "id",
    [NUC_ATTR_TYPE] = "type",
    [NUC_ATTR_SUBJECT] = "subject",
    [NUC_ATTR_KEY_ID] = "key_id",
    [NUC_ATTR_TIME] = "time",
    [NUC_ATTR_NODE] = "node",
    [NUC_ATTR_REQUEST_ID] = "request_id",
    [NUC_ATTR_TRACEPARENT] = "traceparent",
    [NUC_ATTR_CONTENT_TYPE] = "content_type",
};

const char *nuc_kind_name(nuc_kind_t kind)
{
    return (unsigned) kind < NUC_KIND_COUNT ? nuc_kind_names[kind] : NULL;
}

const char *nuc_attr_name(nuc_attr_t attr)
{
    return (unsigned) attr < NUC_ATTR_COUNT ? nuc_attr_names[attr] : NULL;
}

static size_t nuc_record_attrs_len(const nuc_record_t *rec)
{
    size_t len;
    unsigned i;

    len = 0;

    for (i = 0; i < NUC_ATTR_COUNT; i++) {
        if (rec->attr[i].len != 0) {
            len += NUC_ATTR_HEAD_LEN + rec->attr[i].len;
        }
    }

    return len;
}

size_t nuc_record_encoded_len(const nuc_record_t *rec)
{
    return NUC_RECORD_FIXED_LEN + nuc_record_attrs_len(rec) + rec->data.len;
}

static uint8_t *nuc_put_bytes(uint8_t *out, const void *data, size_t len)
{
    if (len != 0) {
        memcpy(out, data, len);
    }

    return out + len;
}

uint8_t *nuc_record_encode(const nuc_record_t *rec, uint8_t *out)
{
    unsigned i;

    out[0] = NUC_RECORD_VERSION;
    out[1] = (uint8_t) rec->kind;
    nuc_le16_put(out + 2, NUC_RECORD_FIXED_LEN);
    nuc_le32_put(out + 4, (uint32_t) nuc_record_attrs_len(rec));
    memcpy(out + 8, rec->rid, NUC_RID_LEN);
    nuc_le64_put(out + 24, rec->received);
    out += NUC_RECORD_FIXED_LEN;

    for (i = 0; i < NUC_ATTR_COUNT; i++) {
        if (rec->attr[i].len != 0) {
            nuc_le16_put(out, (uint16_t) i);
            nuc_le16_put(out + 2, 0);
            nuc_le32_put(out + 4, (uint32_t) rec->attr[i].len);
            out += NUC_ATTR_HEAD_LEN;
            out = nuc_put_bytes(out, rec->attr[i].data, rec->attr[i].len);
        }
    }

    return nuc_put_bytes(out, rec->data.data, rec->data.len);
}

static nuc_rc_t nuc_record_decode_attrs(nuc_str_t attrs, nuc_record_t *rec,
                                        nuc_err_t *err)
{
    size_t len;
    unsigned number;

    while (attrs.len != 0) {
        if (attrs.len < NUC_ATTR_HEAD_LEN) {
            return nuc_err_set(err, NUC_CORRUPT, "record's attributes are cut short");
        }

        number = nuc_le16(attrs.data);
        len = nuc_le32(attrs.data + 4);
        attrs.data += NUC_ATTR_HEAD_LEN;
        attrs.len -= NUC_ATTR_HEAD_LEN;

        if (len > attrs.len) {
            return nuc_err_set(err, NUC_CORRUPT,
                               "attribute %u of %zu bytes leads out of the record",
                               number, len);
        }

        if (number < NUC_ATTR_COUNT && len != 0) {
            rec->attr[number] = (nuc_str_t){attrs.data, len};
        }

        attrs.data += len;
        attrs.len -= len;
    }

    return NUC_OK;
}

nuc_rc_t nuc_record_decode(nuc_str_t payload, nuc_record_t *rec, nuc_err_t *err)
{
    size_t fixed_len, attrs_len;
    const uint8_t *p;

    p = payload.data;

    if (payload.len < NUC_RECORD_FIXED_LEN) {
        return nuc_err_set(err, NUC_CORRUPT, "record of %zu bytes is too short",
                           payload.len);
    }

    if (p[0] != NUC_RECORD_VERSION) {
        nuc_err_set(err, NUC_CORRUPT, "record has version %u", p[0]);
        nuc_err_hint(err, "it was written by a newer Nucleus, which can read it");
        return NUC_CORRUPT;
    }

    fixed_len = nuc_le16(p + 2);
    attrs_len = nuc_le32(p + 4);

    if (p[1] == 0 || fixed_len < NUC_RECORD_FIXED_LEN || fixed_len > payload.len ||
        attrs_len > payload.len - fixed_len) {
        return nuc_err_set(
            err, NUC_CORRUPT,
            "record of %zu bytes has kind %u, a fixed part of %zu bytes and "
            "%zu bytes of attributes",
            payload.len, p[1], fixed_len, attrs_len);
    }

    memset(rec, 0, sizeof(*rec));
    rec->kind = (nuc_kind_t) p[1];
    memcpy(rec->rid, p + 8, NUC_RID_LEN);
    rec->received = nuc_le64(p + 24);
    rec->data.data = p + fixed_len + attrs_len;
    rec->data.len = payload.len - fixed_len - attrs_len;

    return nuc_record_decode_attrs((nuc_str_t){p + fixed_len, attrs_len}, rec, err);
}

static void nuc_ndjson_key(nuc_buf_t *out, const char *name)
{
    nuc_buf_append(out, ",\"", 2);
    nuc_buf_append(out, name, strlen(name));
    nuc_buf_append(out, "\":", 2);
}

static void nuc_ndjson_attrs(nuc_buf_t *out, const nuc_record_t *rec, unsigned first,
                             unsigned last)
{
    unsigned i;

    for (i = first; i <= last; i++) {
        if (rec->attr[i].len != 0) {
            nuc_ndjson_key(out, nuc_attr_names[i]);
            nuc_buf_json(out, rec->attr[i]);
        }
    }
}

static void nuc_ndjson_rid(nuc_buf_t *out, const uint8_t rid[NUC_RID_LEN])
{
    char text[NUC_UUID_TEXT_LEN];
    nuc_uuid_t uuid;

    memcpy(uuid.b, rid, NUC_RID_LEN);
    nuc_uuid_format(&uuid, text);

    nuc_buf_append(out, "{\"rid\":\"", 8);
    nuc_buf_append(out, text, sizeof(text));
    nuc_buf_char(out, '"');
}

static void nuc_ndjson_received(nuc_buf_t *out, uint64_t received)
{
    char text[NUC_TIME_TEXT_LEN];

    nuc_time_format(received, text);

    nuc_buf_append(out, ",\"received\":\"", 13);
    nuc_buf_append(out, text, sizeof(text));
    nuc_buf_char(out, '"');
}

static nuc_rc_t nuc_ndjson_sha256(nuc_buf_t *out, nuc_str_t data, nuc_err_t *err)
{
    static const char hex[] = "0123456789abcdef";
    unsigned i;
    uint8_t sum[NUC_SHA256_LEN];
    char text[2 * NUC_SHA256_LEN];

    if (EVP_Digest(data.data, data.len, sum, NULL, EVP_sha256(), NULL) != 1) {
        return nuc_err_set(err, NUC_NOMEM, "SHA-256 failed");
    }

    for (i = 0; i < NUC_SHA256_LEN; i++) {
        text[2 * i] = hex[sum[i] >> 4];
        text[2 * i + 1] = hex[sum[i] & 15];
    }

    nuc_buf_append(out, ",\"data_sha256\":\"", 16);
    nuc_buf_append(out, text, sizeof(text));
    nuc_buf_char(out, '"');

    return NUC_OK;
}

/* In JSON, CR and LF stand only between tokens, where a space says the same. */
static void nuc_ndjson_data(nuc_buf_t *out, nuc_str_t data)
{
    uint8_t *p, *end, *found;

    nuc_buf_append(out, ",\"data\":", 8);
    p = nuc_buf_reserve(out, data.len);

    if (p == NULL) {
        return;
    }

    memcpy(p, data.data, data.len);
    out->len += data.len;
    end = p + data.len;

    for (found = p; (found = memchr(found, '\n', (size_t) (end - found))) != NULL;
         found++) {
        *found = ' ';
    }

    for (found = p; (found = memchr(found, '\r', (size_t) (end - found))) != NULL;
         found++) {
        *found = ' ';
    }
}

/* RFC 4648, section 4, with padding. */
static void nuc_ndjson_base64(nuc_buf_t *out, nuc_str_t data)
{
    static const char digits[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t i, left;
    uint8_t *p;
    uint32_t bits;

    nuc_buf_append(out, ",\"data_base64\":\"", 16);
    p = nuc_buf_reserve(out, data.len / 3 * 4 + 4);

    if (p == NULL) {
        return;
    }

    for (i = 0; i < data.len; i += 3) {
        left = data.len - i;
        bits = (uint32_t) data.data[i] << 16;
        bits |= left > 1 ? (uint32_t) data.data[i + 1] << 8 : 0;
        bits |= left > 2 ? data.data[i + 2] : 0;

        *p++ = (uint8_t) digits[bits >> 18];
        *p++ = (uint8_t) digits[bits >> 12 & 63];
        *p++ = left > 1 ? (uint8_t) digits[bits >> 6 & 63] : '=';
        *p++ = left > 2 ? (uint8_t) digits[bits & 63] : '=';
    }

    out->len = (size_t) (p - out->data);
    nuc_buf_char(out, '"');
}

nuc_rc_t nuc_record_ndjson(const nuc_record_t *rec, nuc_buf_t *out, nuc_err_t *err)
{
    nuc_rc_t rc;
    const char *kind;

    kind = nuc_kind_name(rec->kind);

    if (kind == NULL) {
        nuc_err_set(err, NUC_INVALID, "record is of the unknown kind %u",
                    (unsigned) rec->kind);
        nuc_err_hint(err, "it was written by a newer Nucleus, which can read it");
        return NUC_INVALID;
    }

    if (rec->data.len == 0 && rec->kind != NUC_KIND_UPLOAD) {
        return nuc_err_set(err, NUC_INVALID, "record of kind \"%s\" has no data", kind);
    }

    /* most often the only allocation */
    nuc_buf_reserve(out, rec->data.len + NUC_JSON_FIXED);

    nuc_ndjson_rid(out, rec->rid);
    nuc_ndjson_attrs(out, rec, NUC_ATTR_TENANT, NUC_ATTR_STREAM);
    nuc_ndjson_key(out, "kind");
    nuc_buf_json(out, nuc_str(kind));
    nuc_ndjson_attrs(out, rec, NUC_ATTR_ID, NUC_ATTR_TIME);
    nuc_ndjson_received(out, rec->received);
    nuc_ndjson_attrs(out, rec, NUC_ATTR_NODE, NUC_ATTR_CONTENT_TYPE);

    rc = nuc_ndjson_sha256(out, rec->data, err);

    if (rc != NUC_OK) {
        return rc;
    }

    if (rec->kind == NUC_KIND_UPLOAD) {
        nuc_ndjson_base64(out, rec->data);
    } else {
        nuc_ndjson_data(out, rec->data);
    }

    nuc_buf_append(out, "}\n", 2);

    if (out->failed) {
        return nuc_err_set(err, NUC_NOMEM, "no memory for a record of %zu bytes",
                           rec->data.len);
    }

    return NUC_OK;
}
