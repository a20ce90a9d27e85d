/*
 * Records: hostile bytes decoded; a record that was encoded decodes as itself, by an
 * older and a newer reader too; its line of NDJSON is one line of JSON that says the
 * same.
 *
 * Input: a first byte that chooses; then an encoded record, or choices that make one.
 */

#include <jansson.h>

#include "fuzz.h"
#include "nuc_json.h"
#include "nuc_le.h"
#include "nuc_record.h"
#include "nuc_time.h"
#include "nuc_uuid.h"

#define NEW_FIXED 12 /* bytes that a newer writer appends to the fixed part */
#define NEW_ATTR  40 /* the number of an attribute that is not there yet */

static int inside(nuc_str_t slice, nuc_str_t whole)
{
    return slice.len == 0 ||
           (slice.data >= whole.data && slice.data + slice.len <= whole.data + whole.len);
}

static void check_same(const nuc_record_t *a, const nuc_record_t *b, const char *whose)
{
    unsigned i;

    FUZZ_CHECK(memcmp(a->rid, b->rid, NUC_RID_LEN) == 0 && a->kind == b->kind &&
                   a->received == b->received,
               "%s: the fixed part", whose);
    FUZZ_CHECK(nuc_str_eq(a->data, b->data), "%s: the data", whose);

    for (i = 0; i < NUC_ATTR_COUNT; i++) {
        FUZZ_CHECK(nuc_str_eq(a->attr[i], b->attr[i]), "%s: attribute %s", whose,
                   nuc_attr_name((nuc_attr_t) i));
    }
}

static nuc_str_t encode(const nuc_record_t *record)
{
    size_t len;
    uint8_t *out;

    len = nuc_record_encoded_len(record);
    out = fuzz_alloc(len);
    FUZZ_CHECK(nuc_record_encode(record, out) == out + len, "the encoded length");

    return (nuc_str_t){out, len};
}

static void check_decodes(nuc_str_t payload, const nuc_record_t *record,
                          const char *whose)
{
    nuc_err_t err;
    nuc_record_t decoded;

    FUZZ_CHECK(nuc_record_decode(payload, &decoded, &err) == NUC_OK, "%s: %s", whose,
               err.message);
    check_same(record, &decoded, whose);
}

/* As a newer writer would write it: a longer fixed part, an attribute more. */
static void check_newer(const nuc_record_t *record, nuc_str_t payload)
{
    size_t attrs;
    uint8_t *newer, *p;
    const size_t more = 8 + 5;

    attrs = nuc_le32(payload.data + 4);
    p = newer = fuzz_alloc(payload.len + NEW_FIXED + more);

    memcpy(p, payload.data, NUC_RECORD_FIXED_LEN);
    nuc_le16_put(p + 2, NUC_RECORD_FIXED_LEN + NEW_FIXED);
    nuc_le32_put(p + 4, (uint32_t) (attrs + more));
    p += NUC_RECORD_FIXED_LEN;
    memset(p, 0xee, NEW_FIXED);
    p += NEW_FIXED;
    nuc_le16_put(p, NEW_ATTR);
    nuc_le16_put(p + 2, 0);
    nuc_le32_put(p + 4, 5);
    memcpy(p + 8, "later", 5);
    memcpy(p + more, payload.data + NUC_RECORD_FIXED_LEN,
           payload.len - NUC_RECORD_FIXED_LEN);

    check_decodes((nuc_str_t){newer, payload.len + NEW_FIXED + more}, record,
                  "a newer record");
    free(newer);
}

/*
 * The line.
 */

static nuc_str_t json_text(const json_t *object, const char *name)
{
    const json_t *value;

    value = json_object_get(object, name);

    return json_is_string(value) ? (nuc_str_t){(const uint8_t *) json_string_value(value),
                                               json_string_length(value)}
                                 : NUC_STR_NONE;
}

static int is_utf8(nuc_str_t text)
{
    json_t *string;

    string = json_stringn((const char *) text.data, text.len);
    json_decref(string);

    return text.len == 0 || string != NULL;
}

static void check_attrs(const json_t *json, const nuc_record_t *record)
{
    unsigned i;
    nuc_str_t text;

    for (i = 0; i < NUC_ATTR_COUNT; i++) {
        text = json_text(json, nuc_attr_name((nuc_attr_t) i));

        if (is_utf8(record->attr[i])) {
            FUZZ_CHECK(nuc_str_eq(text, record->attr[i]), "the line's %s",
                       nuc_attr_name((nuc_attr_t) i));
        } else {
            FUZZ_CHECK(text.len > 0, "the line lacks %s", nuc_attr_name((nuc_attr_t) i));
        }
    }
}

static int base64_digit(uint8_t c)
{
    static const char digits[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *found;

    found = c != 0 ? strchr(digits, c) : NULL;
    FUZZ_CHECK(found != NULL, "the byte %u in base64", c);

    return (int) (found - digits);
}

static void check_base64(nuc_str_t text, nuc_str_t data)
{
    size_t i, pad;
    uint32_t bits;

    FUZZ_CHECK(text.len == (data.len + 2) / 3 * 4, "the length of base64");
    pad = text.len / 4 * 3 - data.len;
    bits = 0;

    for (i = 0; i < text.len; i++) {
        if (i >= text.len - pad) {
            FUZZ_CHECK(text.data[i] == '=', "the padding of base64");
            continue;
        }

        bits = bits << 6 | (uint32_t) base64_digit(text.data[i]);

        if (i % 4 != 0) {
            FUZZ_CHECK((uint8_t) (bits >> (6 - 2 * (i % 4))) ==
                               data.data[i / 4 * 3 + i % 4 - 1] ||
                           i / 4 * 3 + i % 4 - 1 >= data.len,
                       "byte %zu of base64", i);
        }
    }
}

/* The data stands at the end of the line as it came, but for CR and LF. */
static void check_data(nuc_str_t line, nuc_str_t data)
{
    size_t i;
    uint8_t c;
    const uint8_t *p;

    FUZZ_CHECK(line.len > data.len + 10, "a line shorter than its data");
    p = line.data + line.len - 2 - data.len;
    FUZZ_CHECK(memcmp(p - 8, ",\"data\":", 8) == 0, "no data before the end");

    for (i = 0; i < data.len; i++) {
        c = data.data[i] == '\n' || data.data[i] == '\r' ? ' ' : data.data[i];
        FUZZ_CHECK(p[i] == c, "byte %zu of the data in the line", i);
    }
}

static void check_line(const nuc_record_t *record, nuc_str_t line)
{
    json_t *json;

    FUZZ_CHECK(line.len > 2 && line.data[line.len - 1] == '\n' &&
                   memchr(line.data, '\n', line.len - 1) == NULL &&
                   memchr(line.data, '\r', line.len) == NULL,
               "not one line");

    json = json_loadb((const char *) line.data, line.len, JSON_ALLOW_NUL, NULL);
    FUZZ_CHECK(json_is_object(json), "the line is not an object");
    FUZZ_CHECK(json_text(json, "rid").len == NUC_UUID_TEXT_LEN &&
                   json_text(json, "received").len == NUC_TIME_TEXT_LEN &&
                   json_text(json, "data_sha256").len == 64,
               "the fixed members");
    FUZZ_CHECK(nuc_str_eq(json_text(json, "kind"), nuc_str(nuc_kind_name(record->kind))),
               "the kind");
    check_attrs(json, record);

    if (record->kind == NUC_KIND_UPLOAD) {
        check_base64(json_text(json, "data_base64"), record->data);
    } else {
        check_data(line, record->data);
    }

    json_decref(json);
}

/* What the module lets in: JSON that jansson can read too. */
static int is_event(nuc_str_t data)
{
    json_t *json;
    size_t pos;
    nuc_json_value_t value;
    nuc_json_fault_t fault;

    pos = 0;

    if (nuc_json_scan(data.data, data.len, &pos, NUC_JSON_DEPTH_MAX, &value, &fault) !=
            NUC_OK ||
        nuc_json_skip_space(data.data, data.len, pos) != data.len) {
        return 0;
    }

    json = json_loadb((const char *) data.data, data.len,
                      JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    json_decref(json);

    return json != NULL;
}

static void check_ndjson(const nuc_record_t *record)
{
    nuc_rc_t rc;
    nuc_err_t err;
    nuc_buf_t out = NUC_BUF_INIT;

    nuc_buf_char(&out, '#');
    rc = nuc_record_ndjson(record, &out, &err);

    if (rc != NUC_OK) {
        fuzz_check_err(rc, &err);
        FUZZ_CHECK(rc == NUC_INVALID, "a record's line answers %d", rc);
        FUZZ_CHECK(nuc_kind_name(record->kind) == NULL ||
                       (record->data.len == 0 && record->kind != NUC_KIND_UPLOAD),
                   "a line was refused: %s", err.message);

    } else if (record->kind == NUC_KIND_UPLOAD || is_event(record->data)) {
        FUZZ_CHECK(out.data[0] == '#', "what stood before the line");
        check_line(record, (nuc_str_t){out.data + 1, out.len - 1});
    }

    nuc_buf_free(&out);
}

static void check_record(const nuc_record_t *record)
{
    nuc_str_t payload;

    payload = encode(record);
    check_decodes(payload, record, "encoded");
    check_newer(record, payload);
    check_ndjson(record);
    fuzz_free(payload);
}

static void fuzz_decode(fuzz_input_t *in)
{
    unsigned i;
    nuc_rc_t rc;
    nuc_err_t err;
    nuc_str_t payload;
    nuc_record_t record;

    payload = fuzz_take_bytes(in, SIZE_MAX);
    payload = fuzz_copy(payload.data, payload.len);
    rc = nuc_record_decode(payload, &record, &err);

    if (rc != NUC_OK) {
        FUZZ_CHECK(rc == NUC_CORRUPT, "a damaged record answers %d", rc);
        fuzz_check_err(rc, &err);

    } else {
        FUZZ_CHECK(inside(record.data, payload), "the data leads outside");

        for (i = 0; i < NUC_ATTR_COUNT; i++) {
            FUZZ_CHECK(inside(record.attr[i], payload) &&
                           (record.attr[i].len == 0 ||
                            record.attr[i].data + record.attr[i].len <= record.data.data),
                       "attribute %u leads outside", i);
        }

        check_record(&record);
    }

    fuzz_free(payload);
}

static void fuzz_make(fuzz_input_t *in)
{
    unsigned i;
    uint32_t present;
    nuc_record_t record = {.kind = NUC_KIND_JSON};

    record.kind = 1 + fuzz_take_below(in, NUC_KIND_COUNT);
    record.received = fuzz_take(in, 8);
    present = (uint32_t) fuzz_take(in, 2);

    for (i = 0; i < NUC_RID_LEN; i++) {
        record.rid[i] = (uint8_t) fuzz_take(in, 1);
    }

    for (i = 0; i < NUC_ATTR_COUNT; i++) {
        if (present >> i & 1) {
            record.attr[i] = fuzz_take_sized(in, 300);
        }
    }

    record.data = fuzz_take_bytes(in, SIZE_MAX);
    check_record(&record);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    fuzz_input_t in = {data, data + len};

    if (fuzz_take(&in, 1) & 1) {
        fuzz_make(&in);
    } else {
        fuzz_decode(&in);
    }

    return 0;
}
