/* The encoded record, and the record as a line of NDJSON. */

#include <jansson.h>
#include <stdlib.h>

#include "nuc_record.h"
#include "tap.h"

static const uint8_t rid[NUC_RID_LEN] = {0x01, 0xa9, 0xe3, 0xf0, 0x5b, 0x7c, 0x7d, 0xef,
                                         0x81, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef};

static nuc_record_t sample(void)
{
    nuc_record_t rec;

    memset(&rec, 0, sizeof(rec));
    memcpy(rec.rid, rid, NUC_RID_LEN);
    rec.kind = NUC_KIND_JSON;
    rec.received = 1795258650123456;
    rec.attr[NUC_ATTR_TENANT] = NUC_STR("default");
    rec.attr[NUC_ATTR_STREAM] = NUC_STR("json");
    rec.attr[NUC_ATTR_ID] = NUC_STR("an \"id\"");
    rec.attr[NUC_ATTR_CONTENT_TYPE] = NUC_STR("application/json");
    rec.data = NUC_STR("{\"a\":\r\n1}");

    return rec;
}

static nuc_str_t encode(const nuc_record_t *rec)
{
    size_t len;
    uint8_t *out;

    len = nuc_record_encoded_len(rec);
    out = malloc(len);

    if (nuc_record_encode(rec, out) != out + len) {
        abort();
    }

    return (nuc_str_t){out, len};
}

static int same_records(const nuc_record_t *a, const nuc_record_t *b)
{
    int i;

    for (i = 0; i < NUC_ATTR_COUNT; i++) {
        if (!nuc_str_eq(a->attr[i], b->attr[i])) {
            return 0;
        }
    }

    return memcmp(a->rid, b->rid, NUC_RID_LEN) == 0 && a->kind == b->kind &&
           a->received == b->received && nuc_str_eq(a->data, b->data);
}

static void test_round_trip(void)
{
    int i;
    nuc_err_t err;
    nuc_record_t rec, back;
    nuc_str_t payload;

    rec = sample();
    payload = encode(&rec);

    is_int(nuc_record_decode(payload, &back, &err), NUC_OK, "record is read");
    ok(same_records(&rec, &back), "record comes back");
    ok(back.attr[NUC_ATTR_KEY_ID].len == 0 && back.attr[NUC_ATTR_KEY_ID].data == NULL,
       "what was absent is absent");
    free((void *) payload.data);

    for (i = 0; i < NUC_ATTR_COUNT; i++) {
        rec.attr[i] = nuc_str(nuc_attr_name((nuc_attr_t) i));
    }

    payload = encode(&rec);
    ok(nuc_record_decode(payload, &back, &err) == NUC_OK && same_records(&rec, &back),
       "record with every attribute comes back");
    free((void *) payload.data);

    memset(&rec, 0, sizeof(rec));
    rec.kind = NUC_KIND_UPLOAD;
    payload = encode(&rec);
    is_int((long long) payload.len, NUC_RECORD_FIXED_LEN, "empty record's length");
    ok(nuc_record_decode(payload, &back, &err) == NUC_OK && same_records(&rec, &back),
       "record with nothing comes back");
    free((void *) payload.data);
}

/* The layout is on disk: these bytes were written down once and must stay readable. */
static void test_layout(void)
{
    static const char golden[] = "\x01\x01\x20\x00\x09\x00\x00\x00"
                                 "\x01\xa9\xe3\xf0\x5b\x7c\x7d\xef"
                                 "\x81\x23\x45\x67\x89\xab\xcd\xef"
                                 "\x40\xe2\x2e\xd2\xc5\x60\x06\x00"
                                 "\x01\x00\x00\x00\x01\x00\x00\x00s"
                                 "42";
    nuc_record_t rec;
    nuc_str_t payload;

    memset(&rec, 0, sizeof(rec));
    memcpy(rec.rid, rid, NUC_RID_LEN);
    rec.kind = NUC_KIND_JSON;
    rec.received = 0x000660c5d22ee240;
    rec.attr[NUC_ATTR_STREAM] = NUC_STR("s");
    rec.data = NUC_STR("42");

    payload = encode(&rec);
    ok(nuc_str_eq(payload, NUC_STR(golden)), "the bytes are those of the layout");
    free((void *) payload.data);
}

static void test_truncated(void)
{
    int bad;
    size_t len, data_at;
    uint8_t *cut;
    nuc_err_t err;
    nuc_rc_t rc;
    nuc_record_t rec, back;
    nuc_str_t payload;

    rec = sample();
    payload = encode(&rec);
    data_at = payload.len - rec.data.len;
    bad = 0;

    for (len = 0; len < payload.len; len++) {
        cut = malloc(len);
        memcpy(cut, payload.data, len);
        memset(&err, 0, sizeof(err));
        rc = nuc_record_decode((nuc_str_t){cut, len}, &back, &err);

        if (len < data_at) {
            bad += rc != NUC_CORRUPT || err.rc != NUC_CORRUPT || err.message[0] == '\0';
        } else {
            bad += rc != NUC_OK || back.data.len != len - data_at;
        }

        free(cut);
    }

    is_int(bad, 0, "a record cut anywhere before its data is corrupt");
    free((void *) payload.data);
}

/* No byte of a damaged record leads outside of it. */
static void test_damaged(void)
{
    unsigned value, attr;
    size_t i, read;
    uint8_t *copy;
    nuc_record_t rec, back;
    nuc_str_t payload, slice;
    int outside;

    rec = sample();
    payload = encode(&rec);
    copy = malloc(payload.len);
    outside = 0;

    for (i = 0; i < payload.len; i++) {
        for (value = 0; value < 256; value++) {
            memcpy(copy, payload.data, payload.len);
            copy[i] = (uint8_t) value;

            if (nuc_record_decode((nuc_str_t){copy, payload.len}, &back, NULL) !=
                NUC_OK) {
                continue;
            }

            for (attr = 0; attr <= NUC_ATTR_COUNT; attr++) {
                slice = attr < NUC_ATTR_COUNT ? back.attr[attr] : back.data;
                read = slice.len != 0 ? (size_t) (slice.data - copy) + slice.len : 0;
                outside += read > payload.len;
            }
        }
    }

    is_int(outside, 0, "no damaged byte leads out of the record");
    free(copy);
    free((void *) payload.data);
}

/* Insert "more" bytes at "at" and correct the lengths in the fixed part. */
static nuc_str_t grow(nuc_str_t payload, size_t at, const char *bytes, size_t more,
                      unsigned fixed_more)
{
    size_t attrs_more;
    uint8_t *out;

    out = malloc(payload.len + more);
    memcpy(out, payload.data, at);
    memcpy(out + at, bytes, more);
    memcpy(out + at + more, payload.data + at, payload.len - at);

    attrs_more = more - fixed_more;
    out[2] = (uint8_t) (out[2] + fixed_more);
    out[4] = (uint8_t) (out[4] + attrs_more);
    free((void *) payload.data);

    return (nuc_str_t){out, payload.len + more};
}

static void test_newer_record(void)
{
    nuc_err_t err;
    nuc_record_t rec, back;
    nuc_str_t payload;
    uint8_t *bytes;

    rec = sample();
    payload = encode(&rec);
    payload = grow(payload, NUC_RECORD_FIXED_LEN, "appended", 8, 8);
    ok(nuc_record_decode(payload, &back, &err) == NUC_OK && same_records(&rec, &back),
       "a longer fixed part is skipped");

    payload = grow(payload, NUC_RECORD_FIXED_LEN + 8, "\xe7\x03\0\0\x03\0\0\0new", 11, 0);
    ok(nuc_record_decode(payload, &back, &err) == NUC_OK && same_records(&rec, &back),
       "an attribute of an unknown number is skipped");

    payload = grow(payload, NUC_RECORD_FIXED_LEN + 8 + 11, "\x0b\0\0\0\0\0\0\0", 8, 0);
    ok(nuc_record_decode(payload, &back, &err) == NUC_OK && same_records(&rec, &back),
       "so is the first number not in use, with nothing in it");

    bytes = (uint8_t *) payload.data;
    bytes[1] = 200;
    is_int(nuc_record_decode(payload, &back, &err), NUC_OK, "an unknown kind is read");
    is_int(back.kind, 200, "and kept");

    bytes[1] = 0;
    is_int(nuc_record_decode(payload, &back, &err), NUC_CORRUPT, "no kind is corrupt");

    bytes[1] = NUC_KIND_JSON;
    bytes[0] = 2;
    is_int(nuc_record_decode(payload, &back, &err), NUC_CORRUPT,
           "another version is refused");
    is_str(err.message, "record has version 2", "and named");

    bytes[0] = NUC_RECORD_VERSION;
    bytes[2] = NUC_RECORD_FIXED_LEN - 1;
    is_int(nuc_record_decode(payload, &back, &err), NUC_CORRUPT,
           "a fixed part that is too short is corrupt");
    free((void *) payload.data);
}

static void is_line(const nuc_record_t *rec, const char *want, const char *name)
{
    json_error_t fault;
    json_t *tree;
    nuc_err_t err;
    nuc_buf_t buf = NUC_BUF_INIT;

    is_int(nuc_record_ndjson(rec, &buf, &err), NUC_OK, "%s: a line is made", name);
    nuc_buf_char(&buf, '\0');
    is_str((char *) buf.data, want, "%s: the line", name);
    ok(strchr((char *) buf.data, '\n') == (char *) buf.data + buf.len - 2 &&
           strchr((char *) buf.data, '\r') == NULL,
       "%s: it ends where its only LF is", name);

    tree = json_loads((char *) buf.data, JSON_REJECT_DUPLICATES, &fault);
    ok(tree != NULL, "%s: it is JSON", name);
    json_decref(tree);
    nuc_buf_free(&buf);
}

#define RID "{\"rid\":\"01a9e3f0-5b7c-7def-8123-456789abcdef\","

static void test_ndjson(void)
{
    int i;
    nuc_record_t rec;

    rec = sample();
    is_line(&rec,
            RID "\"tenant\":\"default\",\"stream\":\"json\",\"kind\":\"json\","
                "\"id\":\"an \\\"id\\\"\",\"received\":\"2026-11-21T10:57:30.123456Z\","
                "\"content_type\":\"application/json\",\"data_sha256\":"
                "\"a22d61455a908adc840a4c4aa8b3672ebc1c6331d3e96d2a3d6c264cb8e28460\","
                "\"data\":{\"a\":  1}}\n",
            "some attributes");

    for (i = 0; i < NUC_ATTR_COUNT; i++) {
        rec.attr[i] = nuc_str(nuc_attr_name((nuc_attr_t) i));
    }

    rec.kind = NUC_KIND_XAPI;
    is_line(&rec,
            RID "\"tenant\":\"tenant\",\"stream\":\"stream\",\"kind\":\"xapi\","
                "\"id\":\"id\",\"type\":\"type\",\"subject\":\"subject\","
                "\"key_id\":\"key_id\",\"time\":\"time\","
                "\"received\":\"2026-11-21T10:57:30.123456Z\",\"node\":\"node\","
                "\"request_id\":\"request_id\",\"traceparent\":\"traceparent\","
                "\"content_type\":\"content_type\",\"data_sha256\":"
                "\"a22d61455a908adc840a4c4aa8b3672ebc1c6331d3e96d2a3d6c264cb8e28460\","
                "\"data\":{\"a\":  1}}\n",
            "every attribute");

    memset(rec.attr, 0, sizeof(rec.attr));
    rec.kind = NUC_KIND_UPLOAD;
    rec.data = NUC_STR("\0\xff"
                       "ab");
    is_line(&rec,
            RID "\"kind\":\"upload\",\"received\":\"2026-11-21T10:57:30.123456Z\","
                "\"data_sha256\":"
                "\"e4cd5227505b895076a955c0c49e751cc6ed42c1764b4253824d595a57da4441\","
                "\"data_base64\":\"AP9hYg==\"}\n",
            "bytes that are not JSON");
}

/* RFC 4648, section 10 */
static void test_base64(void)
{
    static const char *const vectors[][2] = {
        {"", ""},
        {"f", "Zg=="},
        {"fo", "Zm8="},
        {"foo", "Zm9v"},
        {"foob", "Zm9vYg=="},
        {"fooba", "Zm9vYmE="},
        {"foobar", "Zm9vYmFy"},
    };
    unsigned i;
    char want[64];
    nuc_record_t rec;
    nuc_buf_t buf = NUC_BUF_INIT;

    memset(&rec, 0, sizeof(rec));
    rec.kind = NUC_KIND_UPLOAD;

    for (i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++) {
        rec.data = nuc_str(vectors[i][0]);
        nuc_buf_reset(&buf);
        nuc_record_ndjson(&rec, &buf, NULL);
        nuc_buf_char(&buf, '\0');
        snprintf(want, sizeof(want), "\"data_base64\":\"%s\"}\n", vectors[i][1]);
        ok(strstr((char *) buf.data, want) != NULL, "base64 of \"%s\"", vectors[i][0]);
    }

    nuc_buf_free(&buf);
}

static void test_ndjson_verbatim(void)
{
    static const char data[] =
        "\r\n[ 1.0e+400 ,\r\n\t-0 ,\n\n\"\\u00e9\xc3\xa9\\r\\n\" ]\n";
    static const char want[] =
        "\"data\":  [ 1.0e+400 ,  \t-0 ,  \"\\u00e9\xc3\xa9\\r\\n\" ] }\n";
    nuc_record_t rec;
    nuc_buf_t buf = NUC_BUF_INIT;

    rec = sample();
    rec.data = NUC_STR(data);
    nuc_buf_char(&buf, '\n'); /* of a line before */
    nuc_record_ndjson(&rec, &buf, NULL);

    ok(buf.len > sizeof(want) &&
           memcmp(buf.data + buf.len - sizeof(want) + 1, want, sizeof(want) - 1) == 0,
       "only CR and LF of the data change");
    ok(buf.data[0] == '\n', "the line before is left alone");
    nuc_buf_free(&buf);
}

static void test_ndjson_refused(void)
{
    nuc_err_t err;
    nuc_record_t rec;
    nuc_buf_t buf = NUC_BUF_INIT;

    rec = sample();
    rec.kind = (nuc_kind_t) 200;
    is_int(nuc_record_ndjson(&rec, &buf, &err), NUC_INVALID,
           "no line of an unknown kind");
    is_str(err.message, "record is of the unknown kind 200", "and the kind is named");
    is_int((long long) buf.len, 0, "and nothing is written");

    rec = sample();
    rec.data = NUC_STR_NONE;
    is_int(nuc_record_ndjson(&rec, &buf, &err), NUC_INVALID,
           "no line of JSON without data");

    rec = sample();
    buf.failed = 1;
    is_int(nuc_record_ndjson(&rec, &buf, &err), NUC_NOMEM, "a failed buffer is told");
    nuc_buf_free(&buf);
}

static void test_names(void)
{
    is_str(nuc_kind_name(NUC_KIND_CLOUDEVENTS), "cloudevents", "a kind's name");
    ok(nuc_kind_name(NUC_KIND_COUNT) == NULL, "no kind, no name");
    ok(nuc_kind_name((nuc_kind_t) 0) == NULL, "kind 0 has no name");
    is_str(nuc_attr_name(NUC_ATTR_KEY_ID), "key_id", "an attribute's name");
    ok(nuc_attr_name(NUC_ATTR_COUNT) == NULL, "no attribute, no name");
}

int main(void)
{
    test_round_trip();
    test_layout();
    test_truncated();
    test_damaged();
    test_newer_record();
    test_ndjson();
    test_base64();
    test_ndjson_verbatim();
    test_ndjson_refused();
    test_names();

    return tap_done();
}
