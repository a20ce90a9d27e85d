/*
 * The small readers and writers of core/: UUIDs, times, names, media types, file names of
 * segments, sizes and times of worker.conf, JSON strings, CRC32C, rids; each against a
 * plain statement of what it should say.
 *
 * Input: a byte that chooses one, then its own.
 */

#include <ctype.h>
#include <jansson.h>
#include <time.h>

#include "fuzz.h"
#include "nuc_conf.h"
#include "nuc_crc32c.h"
#include "nuc_format.h"
#include "nuc_log_file.h"
#include "nuc_name.h"
#include "nuc_rid.h"
#include "nuc_time.h"
#include "nuc_uuid.h"

typedef unsigned __int128 wide_t;

static char *take_string(fuzz_input_t *in)
{
    char *string;
    nuc_str_t bytes;

    bytes = fuzz_take_bytes(in, SIZE_MAX);
    string = fuzz_alloc(bytes.len + 1);

    if (bytes.len != 0) {
        memcpy(string, bytes.data, bytes.len);
    }

    string[bytes.len] = '\0';

    return string;
}

static nuc_str_t take_copy(fuzz_input_t *in)
{
    nuc_str_t bytes;

    bytes = fuzz_take_bytes(in, SIZE_MAX);

    return fuzz_copy(bytes.data, bytes.len);
}

static void fuzz_uuid_text(fuzz_input_t *in)
{
    size_t i;
    int valid;
    char again[NUC_UUID_TEXT_LEN];
    nuc_str_t text;
    nuc_uuid_t uuid;

    text = take_copy(in);
    valid = text.len == NUC_UUID_TEXT_LEN;

    for (i = 0; valid && i < text.len; i++) {
        valid = i == 8 || i == 13 || i == 18 || i == 23
                    ? text.data[i] == '-'
                    : memchr("0123456789abcdef", text.data[i], 16) != NULL;
    }

    FUZZ_CHECK((nuc_uuid_parse(text, &uuid) == NUC_OK) == valid, "the verdict on a UUID");

    if (valid) {
        FUZZ_CHECK(nuc_uuid_format(&uuid, again) == again + sizeof(again) &&
                       memcmp(again, text.data, sizeof(again)) == 0,
                   "a UUID reads back as another");
    }

    fuzz_free(text);
}

/* Whatever the clock does, UUIDs of one source ascend. */
static void fuzz_uuid_source(fuzz_input_t *in)
{
    unsigned n, left;
    uint64_t now;
    nuc_err_t err;
    nuc_uuid_t uuid, before;
    nuc_uuid_source_t source;

    nuc_uuid_source_init(&source);
    memset(&before, 0, sizeof(before));
    now = fuzz_take(in, 7);

    /* a millisecond has 4096 at most; then the time runs ahead of the clock */
    for (left = 9000; left > 0 && in->p < in->end; /* void */) {
        now += fuzz_take(in, 1) < 128 ? 0 : fuzz_take(in, 3) - (1 << 23);

        /* the 48 bits of milliseconds last until the year 10889 */
        now &= (1ULL << 57) - 1;

        for (n = 1 + (unsigned) fuzz_take(in, 1) * 20; n > 0 && left > 0; n--, left--) {
            FUZZ_CHECK(nuc_uuid_v7(&source, now, &uuid, &err) == NUC_OK, "%s",
                       err.message);
            FUZZ_CHECK(nuc_uuid_cmp(&before, &uuid) < 0,
                       "a UUID that is not the greatest");
            FUZZ_CHECK(uuid.b[6] >> 4 == 7 && uuid.b[8] >> 6 == 2, "not a UUIDv7");
            before = uuid;
        }
    }
}

static void fuzz_time(fuzz_input_t *in)
{
    char text[NUC_TIME_TEXT_LEN], want[64];
    time_t seconds;
    uint64_t us;
    struct tm tm;

    us = fuzz_take(in, 8);
    FUZZ_CHECK(nuc_time_format(us, text) == text + sizeof(text), "the length of a time");

    us = us < 253402300800000000ULL ? us : 253402300799999999ULL;
    seconds = (time_t) (us / 1000000);
    FUZZ_CHECK(gmtime_r(&seconds, &tm) != NULL, "gmtime_r");
    strftime(want, sizeof(want), "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(want + 19, sizeof(want) - 19, ".%06uZ", (unsigned) (us % 1000000));
    FUZZ_CHECK(memcmp(text, want, sizeof(text)) == 0, "%.27s, not %s", text, want);
}

static void fuzz_name(fuzz_input_t *in)
{
    size_t i;
    int valid;
    nuc_str_t name;

    name = take_copy(in);
    valid = name.len >= 1 && name.len <= 64 && isalnum(name.data[0]);

    for (i = 0; i < name.len && valid; i++) {
        valid =
            memchr("abcdefghijklmnopqrstuvwxyz0123456789._-", name.data[i], 39) != NULL;
    }

    FUZZ_CHECK(nuc_name_valid(name) == valid, "the verdict on a name");
    fuzz_free(name);
}

static int ends(const char *text, const char *suffix)
{
    size_t len, suffix_len;

    len = strlen(text);
    suffix_len = strlen(suffix);

    return len > suffix_len && strcmp(text + len - suffix_len, suffix) == 0;
}

static void fuzz_media_type(fuzz_input_t *in)
{
    static const char *const lines[] = {
        "application/x-ndjson",  "application/ndjson",      "application/jsonl",
        "application/jsonlines", "application/x-jsonlines",
    };
    size_t i;
    char *text;
    nuc_str_t type;
    const nuc_format_t *want;

    text = take_string(in);
    type = fuzz_copy(text, strlen(text));

    for (i = 0; text[i] != '\0'; i++) {
        text[i] = (char) (isupper((unsigned char) text[i]) ? text[i] + 32 : text[i]);
    }

    want = NULL;

    for (i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        want = strcmp(text, lines[i]) == 0 ? &nuc_format_ndjson : want;
    }

    if (strcmp(text, "application/json") == 0 ||
        (strncmp(text, "application/", 12) == 0 && ends(text + 12, "+json"))) {
        want = &nuc_format_json;
    }

    FUZZ_CHECK(nuc_format_by_media_type(type) == want, "the format of \"%s\"", text);
    fuzz_free(type);
    free(text);
}

static void fuzz_segment_name(fuzz_input_t *in)
{
    char *name, again[NUC_LOG_NAME_MAX];
    uint64_t first;

    first = fuzz_take(in, 8);
    nuc_segment_name(first, NUC_LOG_INDEX_SUFFIX, again);
    FUZZ_CHECK(nuc_segment_name_parse(again, NUC_LOG_INDEX_SUFFIX) == first, "\"%s\"",
               again);
    FUZZ_CHECK(nuc_segment_name_parse(again, NUC_LOG_SEGMENT_SUFFIX) == 0, "\"%s\"",
               again);

    name = take_string(in);
    first = nuc_segment_name_parse(name, NUC_LOG_SEGMENT_SUFFIX);

    if (first != 0) {
        nuc_segment_name(first, NUC_LOG_SEGMENT_SUFFIX, again);
        FUZZ_CHECK(strcmp(again, name) == 0, "\"%s\" reads as \"%s\"", name, again);
    }

    free(name);
}

/* Digits from *p on; 0 when there are none, *over when they pass 64 bits. */
static int take_digits(const char **p, wide_t *number, int *over)
{
    const char *begin;

    *number = 0;

    for (begin = *p; **p >= '0' && **p <= '9'; (*p)++) {
        *number = *number * 10 + (unsigned) (**p - '0');
        *over |= *number > UINT64_MAX;
        *number = *number > UINT64_MAX ? UINT64_MAX : *number;
    }

    return *p != begin;
}

static void check_value(const char *text, const char *what,
                        nuc_rc_t (*parse)(const char *text, uint64_t *number), int valid,
                        wide_t want)
{
    int got;
    uint64_t number;

    number = 0;
    got = parse(text, &number) == NUC_OK;
    valid = valid && want <= UINT64_MAX;

    FUZZ_CHECK(got == valid, "\"%s\" as a %s is %s", text, what,
               got ? "taken" : "refused");
    FUZZ_CHECK(!got || number == want, "\"%s\" as a %s is %llu", text, what,
               (unsigned long long) number);
}

static void check_size(const char *text)
{
    int over, valid;
    wide_t want;
    const char *p, *unit;

    p = text;
    over = 0;
    valid = take_digits(&p, &want, &over) && !over;
    unit = *p != '\0' ? strchr("kKmMgG", *p) : NULL;

    if (unit != NULL) {
        want <<= 10 * (1 + (unsigned) (unit - strchr("kKmMgG", 'k')) / 2);
        p++;
    }

    valid = valid && *p == '\0';
    check_value(text, "size", nuc_conf_size, valid, want);
}

static void check_time(const char *text)
{
    static const struct {
        const char *name;
        uint64_t ms;
    } units[] = {{"d", 86400000}, {"h", 3600000}, {"m", 60000}, {"s", 1000}, {"ms", 1}};
    int over, valid;
    size_t len, unit, last;
    wide_t part, want;
    const char *p;

    p = text;
    over = 0;
    want = 0;
    last = 0;
    valid = *text != '\0';

    while (valid && *p != '\0') {
        valid = take_digits(&p, &part, &over) && !over;
        len = strspn(p, "dhms");

        for (unit = last; unit < 5 && !(strlen(units[unit].name) == len &&
                                        strncmp(p, units[unit].name, len) == 0);
             unit++) {
        }

        if (unit == 5 && *p == '\0' && last <= 3) {
            unit = 3; /* bare: seconds */
            len = 0;
        }

        valid = valid && unit < 5;
        want += valid ? part * units[unit].ms : 0;
        last = unit + 1;
        p += len;
    }

    check_value(text, "time", nuc_conf_time, valid, want);
}

static void fuzz_value(fuzz_input_t *in)
{
    int over, valid;
    char *text;
    wide_t want;
    const char *p;

    text = take_string(in);
    p = text;
    over = 0;
    valid = take_digits(&p, &want, &over) && !over && *p == '\0';
    check_value(text, "count", nuc_conf_count, valid, want);
    check_size(text);
    check_time(text);
    free(text);
}

/* Any bytes become a JSON string; UTF-8 becomes itself. */
static void fuzz_string(fuzz_input_t *in)
{
    json_t *json, *plain;
    nuc_str_t text;
    nuc_buf_t out = NUC_BUF_INIT;

    text = take_copy(in);
    nuc_buf_json(&out, text);
    json = json_loadb((const char *) out.data, out.len, JSON_DECODE_ANY | JSON_ALLOW_NUL,
                      NULL);
    FUZZ_CHECK(json_is_string(json), "not a JSON string");

    plain = json_stringn(text.len != 0 ? (const char *) text.data : "", text.len);
    FUZZ_CHECK(plain == NULL || json_equal(plain, json), "a string that is another");

    json_decref(plain);
    json_decref(json);
    nuc_buf_free(&out);
    fuzz_free(text);
}

static void fuzz_crc(fuzz_input_t *in)
{
    size_t at;
    uint32_t begin, crc;
    nuc_str_t bytes;

    begin = (uint32_t) fuzz_take(in, 4);
    at = (size_t) fuzz_take(in, 2);
    bytes = take_copy(in);
    at = bytes.len != 0 ? at % bytes.len : 0;

    crc = nuc_crc32c(begin, bytes.data, bytes.len);
    FUZZ_CHECK(crc == nuc_crc32c_portable(begin, bytes.data, bytes.len),
               "the two ways differ");
    FUZZ_CHECK(crc == nuc_crc32c(nuc_crc32c(begin, bytes.data, at), bytes.data + at,
                                 bytes.len - at),
               "two parts differ from the whole");
    fuzz_free(bytes);
}

/* No two lists of fields have the same rid: move a byte from one field to the next. */
static void fuzz_rid(fuzz_input_t *in)
{
    unsigned kind;
    uint8_t rid[NUC_RID_LEN], same[NUC_RID_LEN], moved[NUC_RID_LEN];
    nuc_str_t tenant, stream, rest;
    nuc_rid_hasher_t *hasher;

    kind = 1 + fuzz_take_below(in, NUC_KIND_COUNT - 1);
    tenant = fuzz_take_sized(in, 64);
    stream = fuzz_take_sized(in, 64);
    rest = fuzz_take_bytes(in, SIZE_MAX);

    hasher = nuc_rid_hasher_create();
    FUZZ_CHECK(hasher != NULL, "no hasher");
    FUZZ_CHECK(nuc_rid_from_id(hasher, tenant, stream, kind, rest, rest, rid) == NUC_OK &&
                   nuc_rid_from_id(hasher, tenant, stream, kind, rest, rest, same) ==
                       NUC_OK,
               "no rid");
    FUZZ_CHECK(memcmp(rid, same, sizeof(rid)) == 0, "the same fields, another rid");

    if (stream.len != 0 && rest.len != 0) {
        stream.len--;
        rest.len--;
        FUZZ_CHECK(nuc_rid_from_id(hasher, tenant, stream, kind, rest, rest, moved) ==
                           NUC_OK &&
                       memcmp(rid, moved, sizeof(rid)) != 0,
                   "other fields, the same rid");
    }

    FUZZ_CHECK(nuc_rid_from_key(hasher, tenant, stream, rest, kind, same) == NUC_OK &&
                   nuc_rid_from_key(hasher, tenant, stream, rest, kind + 1, moved) ==
                       NUC_OK &&
                   memcmp(same, moved, sizeof(same)) != 0 &&
                   memcmp(same, rid, sizeof(same)) != 0,
               "another index, the same rid");
    nuc_rid_hasher_free(hasher);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static void (*const subjects[])(fuzz_input_t * in) = {
        fuzz_uuid_text,    fuzz_uuid_source, fuzz_time,   fuzz_name, fuzz_media_type,
        fuzz_segment_name, fuzz_value,       fuzz_string, fuzz_crc,  fuzz_rid,
    };
    fuzz_input_t in = {data, data + len};

    subjects[fuzz_take_below(&in, sizeof(subjects) / sizeof(subjects[0]))](&in);

    return 0;
}
