/* Buffer, names, time, UUIDs, CRC32C, record ids. */

#include <stdlib.h>
#include <time.h>

#include "nuc_buf.h"
#include "nuc_crc32c.h"
#include "nuc_name.h"
#include "nuc_rid.h"
#include "nuc_time.h"
#include "nuc_uuid.h"
#include "tap.h"

static void test_buf(void)
{
    int i;
    nuc_buf_t buf = NUC_BUF_INIT;
    uint8_t *memory;

    for (i = 0; i < 10000; i++) {
        nuc_buf_printf(&buf, "%d,", i);
    }

    ok(!buf.failed, "buffer grows");
    is_int((long long) buf.len, 48890, "buffer holds all that was printed");
    ok(memcmp(buf.data + buf.len - 10, "9998,9999,", 10) == 0, "buffer's end is right");

    memory = buf.data;
    nuc_buf_reset(&buf);
    nuc_buf_str(&buf, NUC_STR("abc"));
    nuc_buf_str(&buf, NUC_STR_NONE);
    nuc_buf_char(&buf, '\0');
    ok(buf.data == memory && buf.len == 4, "reset keeps the memory");
    is_str((char *) buf.data, "abc", "append after a reset");

    ok(nuc_buf_reserve(&buf, SIZE_MAX - 2) == NULL && buf.failed, "too much is refused");
    nuc_buf_append(&buf, "x", 1);
    nuc_buf_printf(&buf, "%s", "x");
    nuc_buf_json(&buf, NUC_STR("x"));
    is_int((long long) buf.len, 4, "after a failure appends do nothing");
    nuc_buf_reset(&buf);
    ok(nuc_buf_reserve(&buf, 1) != NULL, "reset forgets the failure");

    nuc_buf_free(&buf);
    ok(buf.data == NULL && buf.capacity == 0, "free leaves an empty buffer");

    nuc_buf_printf(&buf, "%256s", "x");
    is_int((long long) buf.len, 256, "printf of just the first allocation");
    nuc_buf_free(&buf);
}

static void is_json(nuc_str_t text, const char *want, const char *name)
{
    nuc_buf_t buf = NUC_BUF_INIT;
    uint8_t *copy;

    /* exactly as long as it is, so that a sanitizer sees a step too far */
    copy = malloc(text.len);
    memcpy(copy, text.data, text.len);

    nuc_buf_json(&buf, (nuc_str_t){copy, text.len});
    nuc_buf_char(&buf, '\0');
    is_str((char *) buf.data, want, "JSON string: %s", name);

    nuc_buf_free(&buf);
    free(copy);
}

#define FFFD "\xef\xbf\xbd"

static void test_buf_json(void)
{
    nuc_buf_t buf = NUC_BUF_INIT;

    nuc_buf_json(&buf, NUC_STR_NONE);
    ok(buf.len == 2 && memcmp(buf.data, "\"\"", 2) == 0, "JSON string: absent is empty");
    nuc_buf_free(&buf);

    is_json(NUC_STR("plain"), "\"plain\"", "plain");
    is_json(NUC_STR("a\"b\\c/d"), "\"a\\\"b\\\\c/d\"", "quote and backslash");
    is_json(NUC_STR("\b\t\n\f\r"), "\"\\b\\t\\n\\f\\r\"", "short escapes");
    is_json(NUC_STR("\0\x01\x0b\x0e\x1f\x7f"),
            "\"\\u0000\\u0001\\u000b\\u000e\\u001f\x7f\"", "control characters");
    is_json(NUC_STR("\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80"),
            "\"\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80\"", "UTF-8 as it is");
    is_json(NUC_STR("\xed\x9f\xbf\xee\x80\x80\xf4\x8f\xbf\xbf\xc2\x80\xe0\xa0\x80"),
            "\"\xed\x9f\xbf\xee\x80\x80\xf4\x8f\xbf\xbf\xc2\x80\xe0\xa0\x80\"",
            "UTF-8 at the bounds");
    is_json(NUC_STR("a\x80z"), "\"a" FFFD "z\"", "lone continuation");
    is_json(NUC_STR("\xc3"), "\"" FFFD "\"", "cut at the end");
    is_json(NUC_STR("\xf0\x9f\x98"), "\"" FFFD "\"", "cut after three of four");
    is_json(NUC_STR("\xe2\x82z"), "\"" FFFD "z\"", "cut in the middle");
    is_json(NUC_STR("\xc0\xaf"), "\"" FFFD FFFD "\"", "overlong, two bytes");
    is_json(NUC_STR("\xe0\x9f\xbf"), "\"" FFFD FFFD FFFD "\"", "overlong, three bytes");
    is_json(NUC_STR("\xf0\x8f\xbf\xbf"), "\"" FFFD FFFD FFFD FFFD "\"",
            "overlong, four bytes");
    is_json(NUC_STR("\xed\xa0\x80"), "\"" FFFD FFFD FFFD "\"", "surrogate");
    is_json(NUC_STR("\xf4\x90\x80\x80"), "\"" FFFD FFFD FFFD FFFD "\"", "over U+10FFFF");
    is_json(NUC_STR("\xff\"\xfe"), "\"" FFFD "\\\"" FFFD "\"", "bytes never in UTF-8");
}

static void test_name(void)
{
    char longest[NUC_NAME_MAX + 2];

    memset(longest, 'a', sizeof(longest));

    ok(nuc_name_valid(NUC_STR("default")), "name");
    ok(nuc_name_valid(NUC_STR("0")), "name of a digit");
    ok(nuc_name_valid(NUC_STR("a.b_c-9..")), "name with dots, dashes, underscores");
    ok(nuc_name_valid((nuc_str_t){(uint8_t *) longest, NUC_NAME_MAX}), "longest name");
    ok(!nuc_name_valid((nuc_str_t){(uint8_t *) longest, NUC_NAME_MAX + 1}), "too long");
    ok(!nuc_name_valid(NUC_STR_NONE), "absent");
    ok(!nuc_name_valid(NUC_STR("")), "empty");
    ok(!nuc_name_valid(NUC_STR("..")), "parent directory");
    ok(!nuc_name_valid(NUC_STR(".a")), "hidden file");
    ok(!nuc_name_valid(NUC_STR("-a")), "dash at the start");
    ok(!nuc_name_valid(NUC_STR("_a")), "underscore at the start");
    ok(!nuc_name_valid(NUC_STR("A")), "capital at the start");
    ok(!nuc_name_valid(NUC_STR("aB")), "capital");
    ok(!nuc_name_valid(NUC_STR("a/b")), "slash");
    ok(!nuc_name_valid(NUC_STR("a b")), "space");
    ok(!nuc_name_valid(NUC_STR("a=b")), "equals sign");
    ok(!nuc_name_valid(NUC_STR("a\0")), "zero byte");
    ok(!nuc_name_valid(NUC_STR("\xc3\xa9")), "beyond ASCII");
}

static void is_time(uint64_t us, const char *want)
{
    char text[NUC_TIME_TEXT_LEN + 2];

    memset(text, '#', sizeof(text));
    ok(nuc_time_format(us, text) == text + NUC_TIME_TEXT_LEN &&
           text[NUC_TIME_TEXT_LEN] == '#',
       "time of %s has its length", want);
    text[NUC_TIME_TEXT_LEN] = '\0';
    is_str(text, want, "time %llu", (unsigned long long) us);
}

static int time_differs(uint64_t second)
{
    time_t t;
    struct tm tm;
    nuc_time_utc_t utc;

    t = (time_t) second;
    gmtime_r(&t, &tm);
    nuc_time_split(second * 1000000 + 17, &utc);

    return utc.year != tm.tm_year + 1900 || utc.month != tm.tm_mon + 1 ||
           utc.day != tm.tm_mday || utc.hour != tm.tm_hour || utc.minute != tm.tm_min ||
           utc.second != tm.tm_sec || utc.microsecond != 17;
}

static void test_time(void)
{
    int differ;
    uint64_t second, before, after;

    is_time(0, "1970-01-01T00:00:00.000000Z");
    is_time(951782399999999, "2000-02-28T23:59:59.999999Z");
    is_time(951782400000000, "2000-02-29T00:00:00.000000Z");
    is_time(951868800000000, "2000-03-01T00:00:00.000000Z");
    is_time(1795258650123456, "2026-11-21T10:57:30.123456Z");
    is_time(4107542400000000, "2100-03-01T00:00:00.000000Z");
    is_time(253402300799999999, "9999-12-31T23:59:59.999999Z");
    is_time(UINT64_MAX, "9999-12-31T23:59:59.999999Z");

    differ = 0;

    /* every day to the year 9999, at another hour each */
    for (second = 0; second < 253402300800; second += 86399) {
        differ += time_differs(second);
    }

    is_int(differ, 0, "dates are those of gmtime_r");

    before = (uint64_t) time(NULL);
    ok(nuc_time_now() / 1000000 >= before && nuc_time_now() / 1000000 <= before + 10,
       "now is now, in microseconds");

    before = nuc_time_monotonic();
    after = nuc_time_monotonic();
    ok(after >= before && after - before < 10000000,
       "monotonic goes on, in microseconds");
}

static void test_uuid_v7(void)
{
    int i, failed, wrong, disorder;
    uint64_t now, ms;
    nuc_uuid_t last, uuid;
    nuc_uuid_source_t source;

    nuc_uuid_source_init(&source);
    memset(&last, 0, sizeof(last));
    now = 1795258650123456;
    failed = wrong = disorder = 0;

    for (i = 0; i < 100000; i++) {
        /* mostly some per ms; now and then the clock steps back by a minute */
        now += i % 9973 == 9972 ? (uint64_t) -60000000 : 37;

        failed += nuc_uuid_v7(&source, now, &uuid, NULL) != NUC_OK;
        wrong += uuid.b[6] >> 4 != 7 || uuid.b[8] >> 6 != 2;
        disorder += nuc_uuid_cmp(&last, &uuid) >= 0;
        last = uuid;
    }

    is_int(failed, 0, "UUIDs are made");
    is_int(wrong, 0, "UUIDs have version 7 and variant 2");
    is_int(disorder, 0, "UUIDs increase even when the clock steps back");

    nuc_uuid_source_init(&source);
    memset(&last, 0, sizeof(last));
    disorder = 0;

    for (i = 0; i < 20000; i++) {
        nuc_uuid_v7(&source, 1795258650123456, &uuid, NULL);
        disorder += nuc_uuid_cmp(&last, &uuid) >= 0;
        last = uuid;
    }

    is_int(disorder, 0, "UUIDs increase past the counter's end while the clock stands");

    now = 1795258650123456;
    nuc_uuid_source_init(&source);
    nuc_uuid_v7(&source, now, &uuid, NULL);

    for (ms = 0, i = 0; i < 6; i++) {
        ms = ms << 8 | uuid.b[i];
    }

    is_int((long long) ms, (long long) (now / 1000),
           "a UUID begins with its milliseconds");

    nuc_uuid_source_init(&source);
    nuc_uuid_v7(&source, now, &last, NULL);
    ok(memcmp(last.b + 8, uuid.b + 8, 8) != 0, "two sources differ at the same time");
}

static void test_uuid_text(void)
{
    static const char text[] = "01a9e3f0-5b7c-7def-8123-456789abcdef";
    static const char *const bad[] = {
        "",
        "01a9e3f0-5b7c-7def-8123-456789abcde",
        "01a9e3f0-5b7c-7def-8123-456789abcdef0",
        "01A9E3F0-5b7c-7def-8123-456789abcdef",
        "01a9e3f0 5b7c-7def-8123-456789abcdef",
        "01a9e3f-05b7c-7def-8123-456789abcdef",
        "01a9e3f0-5b7c-7def-8123-456789abcdeg",
        "01a9e3f0-5b7c-7def-8123-456789abc-ef",
    };
    unsigned i;
    nuc_uuid_t uuid, other;
    char out[NUC_UUID_TEXT_LEN + 1];

    is_int(nuc_uuid_parse(nuc_str(text), &uuid), NUC_OK, "UUID is read");
    ok(memcmp(uuid.b, "\x01\xa9\xe3\xf0\x5b\x7c\x7d\xef\x81\x23\x45\x67\x89\xab\xcd\xef",
              16) == 0,
       "UUID has the bytes of its text");
    ok(nuc_uuid_format(&uuid, out) == out + NUC_UUID_TEXT_LEN,
       "UUID's text has 36 bytes");
    out[NUC_UUID_TEXT_LEN] = '\0';
    is_str(out, text, "UUID's text comes back");

    for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        is_int(nuc_uuid_parse(nuc_str(bad[i]), &other), NUC_INVALID, "not a UUID: \"%s\"",
               bad[i]);
    }

    other = uuid;
    ok(nuc_uuid_cmp(&uuid, &other) == 0, "UUID equals itself");
    other.b[15]++;
    ok(nuc_uuid_cmp(&uuid, &other) < 0 && nuc_uuid_cmp(&other, &uuid) > 0,
       "UUIDs compare");
}

/* Bit by bit, straight from the definition. */
static uint32_t crc_by_bits(const uint8_t *p, size_t len)
{
    int bit;
    uint32_t crc;

    crc = 0xffffffff;

    for (/* void */; len != 0; len--, p++) {
        crc ^= *p;

        for (bit = 0; bit < 8; bit++) {
            crc = crc & 1 ? crc >> 1 ^ 0x82f63b78 : crc >> 1;
        }
    }

    return ~crc;
}

static void test_crc_vectors(void)
{
    /* RFC 3720, appendix B.4 */
    static const uint8_t pdu[48] = {
        0x01,        0xc0,        [16] = 0x14, [22] = 0x04,
        [27] = 0x14, [31] = 0x18, [32] = 0x28, [40] = 0x02,
    };
    int i;
    uint8_t data[32];

    memset(data, 0, sizeof(data));
    is_int(nuc_crc32c(0, data, 32), 0x8a9136aa, "CRC32C of 32 zeros");
    memset(data, 0xff, sizeof(data));
    is_int(nuc_crc32c(0, data, 32), 0x62a8ab43, "CRC32C of 32 ones");

    for (i = 0; i < 32; i++) {
        data[i] = (uint8_t) i;
    }

    is_int(nuc_crc32c(0, data, 32), 0x46dd794e, "CRC32C of 32 increasing bytes");

    for (i = 0; i < 32; i++) {
        data[i] = (uint8_t) (31 - i);
    }

    is_int(nuc_crc32c(0, data, 32), 0x113fdb5c, "CRC32C of 32 decreasing bytes");
    is_int(nuc_crc32c(0, pdu, 48), 0xd9963a56, "CRC32C of an iSCSI command");
    is_int(nuc_crc32c_portable(0, pdu, 48), 0xd9963a56, "portable CRC32C of it");
    is_int(nuc_crc32c(0, NULL, 0), 0, "CRC32C of nothing");
}

static void test_crc_ways(void)
{
    int differ;
    size_t offset, len, cut;
    uint8_t *memory;
    uint32_t want;

    memory = malloc(601);
    differ = 0;

    for (len = 0; len < 601; len++) {
        memory[len] = (uint8_t) (len * 2654435761u >> 13);
    }

    for (offset = 0; offset <= 300; offset++) {
        for (len = 0; len <= 300; len++) {
            want = nuc_crc32c_portable(0, memory + offset, len);
            differ += nuc_crc32c(0, memory + offset, len) != want;
        }

        differ += crc_by_bits(memory + offset, 300) != want;
    }

    is_int(differ, 0, "CRC32C both ways at all lengths and alignments");

    want = nuc_crc32c(0, memory, 300);
    differ = 0;

    for (cut = 0; cut <= 300; cut++) {
        differ += nuc_crc32c(nuc_crc32c(0, memory, cut), memory + cut, 300 - cut) != want;
        differ += nuc_crc32c_portable(nuc_crc32c_portable(0, memory, cut), memory + cut,
                                      300 - cut) != want;
    }

    is_int(differ, 0, "CRC32C goes on from any cut");
    free(memory);
}

static void hex(const uint8_t rid[NUC_RID_LEN], char *text)
{
    int i;

    for (i = 0; i < NUC_RID_LEN; i++) {
        sprintf(text + 2 * i, "%02x", rid[i]);
    }
}

static void is_rid(nuc_rid_hasher_t *hasher, const char *tenant, const char *stream,
                   nuc_kind_t kind, const char *source, const char *id, const char *want)
{
    uint8_t rid[NUC_RID_LEN];
    char text[2 * NUC_RID_LEN + 1];

    nuc_rid_from_id(hasher, nuc_str(tenant), nuc_str(stream), kind, nuc_str(source),
                    nuc_str(id), rid);
    hex(rid, text);
    is_str(text, want, "rid of %s, %s, %.20s", tenant, stream, id);
}

static void test_rid(void)
{
    nuc_rid_hasher_t *hasher;
    uint8_t a[NUC_RID_LEN], b[NUC_RID_LEN];
    char id[601], text[2 * NUC_RID_LEN + 1];

    hasher = nuc_rid_hasher_create();
    ok(hasher != NULL, "hasher is made");

    /* the wanted values were made by another implementation of SHA-256 */
    is_rid(hasher, "default", "json", NUC_KIND_JSON, "", "event-1",
           "edfd8437509cbaafe1693f5828392caf");
    is_rid(hasher, "district", "statements", NUC_KIND_CLOUDEVENTS, "https://lms.example/",
           "7", "50bda402c119adb6fe75eb9c3abb2b6b");

    memset(id, 'x', 600);
    id[600] = '\0';
    is_rid(hasher, "default", "json", NUC_KIND_JSON, "", id,
           "8735abbd52591b9fc16454b3219ea831");

    nuc_rid_from_key(hasher, NUC_STR("default"), NUC_STR("json"), NUC_STR("key-1"), 258,
                     a);
    hex(a, text);
    is_str(text, "bbd04ccb5e1f43899ab3128708c1069b", "rid of key and index");

    nuc_rid_from_key(hasher, NUC_STR("default"), NUC_STR("json"), NUC_STR("key-1"), 259,
                     b);
    ok(memcmp(a, b, NUC_RID_LEN) != 0, "the index changes the rid");

    nuc_rid_from_id(hasher, NUC_STR("ab"), NUC_STR("c"), NUC_KIND_JSON, NUC_STR_NONE,
                    NUC_STR("1"), a);
    nuc_rid_from_id(hasher, NUC_STR("a"), NUC_STR("bc"), NUC_KIND_JSON, NUC_STR_NONE,
                    NUC_STR("1"), b);
    ok(memcmp(a, b, NUC_RID_LEN) != 0, "the border between fields changes the rid");

    nuc_rid_from_id(hasher, NUC_STR("x"), NUC_STR("c"), NUC_KIND_JSON, NUC_STR_NONE,
                    NUC_STR("1"), b);
    ok(memcmp(a, b, NUC_RID_LEN) != 0, "the tenant changes the rid");

    nuc_rid_from_id(hasher, NUC_STR("ab"), NUC_STR("c"), NUC_KIND_XAPI, NUC_STR_NONE,
                    NUC_STR("1"), b);
    ok(memcmp(a, b, NUC_RID_LEN) != 0, "the kind changes the rid");

    nuc_rid_from_id(hasher, NUC_STR("ab"), NUC_STR("c"), NUC_KIND_JSON, NUC_STR("1"),
                    NUC_STR_NONE, b);
    ok(memcmp(a, b, NUC_RID_LEN) != 0, "source and id are not the same");

    nuc_rid_from_id(hasher, NUC_STR("ab"), NUC_STR("c"), NUC_KIND_JSON, NUC_STR(""),
                    NUC_STR("1"), b);
    ok(memcmp(a, b, NUC_RID_LEN) == 0, "the same fields give the same rid");

    is_int(nuc_rid_from_id(hasher, NUC_STR("ab"), NUC_STR("c"), NUC_KIND_COUNT,
                           NUC_STR_NONE, NUC_STR("1"), b),
           NUC_INVALID, "an unknown kind has no rid");

    nuc_rid_hasher_free(hasher);
}

int main(void)
{
    test_buf();
    test_buf_json();
    test_name();
    test_time();
    test_uuid_v7();
    test_uuid_text();
    test_crc_vectors();
    test_crc_ways();
    test_rid();

    return tap_done();
}
