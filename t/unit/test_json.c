/* The JSON scanner: every production, every class of UTF-8, every cut, ids, depth,
 * pointers. */

#include <dirent.h>
#include <stdlib.h>

#include "nuc_json.h"
#include "tap.h"

/* The bytes in memory of just their size, so that a sanitizer sees a read beyond them. */
static uint8_t *exact(nuc_str_t text)
{
    uint8_t *copy;

    copy = malloc(text.len != 0 ? text.len : 1);

    if (copy == NULL) {
        abort();
    }

    if (text.len != 0) {
        memcpy(copy, text.data, text.len);
    }

    return copy;
}

/* Whether "text" is one JSON value and nothing else; the fault, if not. */
static int is_valid(nuc_str_t text, unsigned depth_max, nuc_json_fault_t *fault)
{
    size_t pos;
    nuc_rc_t rc;
    uint8_t *data;
    nuc_json_value_t value;

    data = exact(text);
    pos = 0;
    *fault = (nuc_json_fault_t){.offset = SIZE_MAX, .reason = "none"};
    rc = nuc_json_scan(data, text.len, &pos, depth_max, &value, fault);

    if (rc == NUC_OK) {
        pos = nuc_json_skip_space(data, text.len, pos);

        if (pos < text.len) {
            rc = NUC_INVALID;
            fault->offset = pos;
            fault->reason = "more";
        }
    }

    free(data);

    return rc == NUC_OK;
}

static const nuc_str_t valid[] = {
    NUC_STR("null"),
    NUC_STR("true"),
    NUC_STR("false"),
    NUC_STR(" \t\r\nnull \t\r\n"),
    NUC_STR("0"),
    NUC_STR("-0"),
    NUC_STR("7"),
    NUC_STR("-19"),
    NUC_STR("1234567890123456789012345678901234567890"),
    NUC_STR("0.0"),
    NUC_STR("-1.50"),
    NUC_STR("0e0"),
    NUC_STR("1E5"),
    NUC_STR("1e+5"),
    NUC_STR("1E-05"),
    NUC_STR("12.34e56"),
    NUC_STR("1e999999"),
    NUC_STR("\"\""),
    NUC_STR("\"a\""),
    NUC_STR("\"1234567\""),
    NUC_STR("\"12345678\""),
    NUC_STR("\"123456789\""),
    NUC_STR("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\""),
    NUC_STR("\"\\u0000\\uffff\\uABcd\\u12eF\""),
    NUC_STR("\"\\ud83d\\ude00\""),
    NUC_STR("\"\\ud83d\""),
    NUC_STR("\"\\ude00\\ud83d\""),
    NUC_STR("\"\\ud83dx\""),
    NUC_STR("\"\x7f\""),
    NUC_STR(
        "\"\xc2\x80\xdf\xbf\xe0\xa0\x80\xef\xbf\xbf\xf0\x90\x80\x80\xf4\x8f\xbf\xbf\""),
    NUC_STR("\"\xef\xbb\xbf\""),
    NUC_STR("[]"),
    NUC_STR("[ ]"),
    NUC_STR("[1]"),
    NUC_STR("[ 1 , 2 ]"),
    NUC_STR("[[],[[]],{}]"),
    NUC_STR("[null,true,false,0,\"\",[],{}]"),
    NUC_STR("{}"),
    NUC_STR("{ }"),
    NUC_STR("{\"\":0}"),
    NUC_STR("{ \"a\" : 1 , \"a\" : { \"b\" : [ ] } }"),
    NUC_STR("{\"a\\u0000\":{\"b\":{\"c\":null}},\"d\":-1}"),
};

typedef struct {
    nuc_str_t text;
    size_t offset;
    const char *reason;
} fault_case_t;

#define CUT      "unexpected end"
#define VALUE    "a value was expected"
#define NAME     "a member's name in double quotes was expected"
#define COLON    "a colon was expected"
#define MEMBERS  "a comma or } was expected"
#define ELEMENTS "a comma or ] was expected"
#define DIGIT    "a digit was expected"
#define ZERO     "leading zero"
#define LITERAL  "misspelt true, false or null"
#define ESCAPE   "an escape that JSON does not have"
#define HEX      "\\u without four hexadecimal digits"
#define CONTROL  "control character in a string (write an escape)"
#define UTF8     "not UTF-8"
#define BOM      "byte order mark (send UTF-8 without one)"
#define SINGLE   "a string in single quotes (use double quotes)"

static const fault_case_t invalid[] = {
    {NUC_STR(""), 0, CUT},
    {NUC_STR(" \n"), 2, CUT},
    {NUC_STR("nul"), 3, CUT},
    {NUC_STR("nulL"), 3, LITERAL},
    {NUC_STR("tRue"), 1, LITERAL},
    {NUC_STR("falsx"), 4, LITERAL},
    {NUC_STR("truex"), 4, "more"},
    {NUC_STR("null null"), 5, "more"},
    {NUC_STR("NaN"), 0, VALUE},
    {NUC_STR("Infinity"), 0, VALUE},
    {NUC_STR("\0"), 0, VALUE},
    {NUC_STR("\x0b"), 0, VALUE},
    {NUC_STR("\x0c"), 0, VALUE},
    {NUC_STR("\xa0"), 0, VALUE},
    {NUC_STR("\xe2\x80\xa8"), 0, VALUE},
    {NUC_STR("\xef\xbb\xbf{}"), 0, BOM},
    {NUC_STR("[\xef\xbb\xbf{}"), 1, BOM},
    {NUC_STR("\xef\xbb"), 0, VALUE},
    {NUC_STR("'a'"), 0, SINGLE},
    {NUC_STR("}"), 0, VALUE},
    {NUC_STR("]"), 0, VALUE},
    {NUC_STR(","), 0, VALUE},
    {NUC_STR("// a\n1"), 0, VALUE},
    {NUC_STR("+1"), 0, VALUE},
    {NUC_STR(".5"), 0, VALUE},
    {NUC_STR("-"), 1, CUT},
    {NUC_STR("--1"), 1, DIGIT},
    {NUC_STR("-a"), 1, DIGIT},
    {NUC_STR("-.5"), 1, DIGIT},
    {NUC_STR("01"), 1, ZERO},
    {NUC_STR("-00"), 2, ZERO},
    {NUC_STR("[00]"), 2, ZERO},
    {NUC_STR("1."), 2, CUT},
    {NUC_STR("1.e5"), 2, DIGIT},
    {NUC_STR("1.-5"), 2, DIGIT},
    {NUC_STR("1e"), 2, CUT},
    {NUC_STR("1e+"), 3, CUT},
    {NUC_STR("1e+-1"), 3, DIGIT},
    {NUC_STR("1E "), 2, DIGIT},
    {NUC_STR("1.5.5"), 3, "more"},
    {NUC_STR("0x1"), 1, "more"},
    {NUC_STR("1_000"), 1, "more"},
    {NUC_STR("\""), 1, CUT},
    {NUC_STR("\"abcdefg"), 8, CUT},
    {NUC_STR("\"abcdefgh"), 9, CUT},
    {NUC_STR("\"\\"), 2, CUT},
    {NUC_STR("\"\\\""), 3, CUT},
    {NUC_STR("\"\\x\""), 2, ESCAPE},
    {NUC_STR("\"\\U0041\""), 2, ESCAPE},
    {NUC_STR("\"\\'\""), 2, ESCAPE},
    {NUC_STR("\"\\0\""), 2, ESCAPE},
    {NUC_STR("\"\\\0\""), 2, ESCAPE},
    {NUC_STR("\"\\\n\""), 2, ESCAPE},
    {NUC_STR("\"\\u"), 3, CUT},
    {NUC_STR("\"\\u004"), 6, CUT},
    {NUC_STR("\"\\u\""), 3, HEX},
    {NUC_STR("\"\\ug000\""), 3, HEX},
    {NUC_STR("\"\\u0g00\""), 4, HEX},
    {NUC_STR("\"\\u00g0\""), 5, HEX},
    {NUC_STR("\"\\u000g\""), 6, HEX},
    {NUC_STR("\"\\u+041\""), 3, HEX},
    {NUC_STR("\"\n\""), 1, CONTROL},
    {NUC_STR("\"\0\""), 1, CONTROL},
    {NUC_STR("\"abcdefghijk\x1f\""), 12, CONTROL},
    {NUC_STR("\"\x80\""), 1, UTF8},
    {NUC_STR("\"a\xc3(\""), 3, UTF8},
    {NUC_STR("\"\xe2\x82"), 3, CUT},
    {NUC_STR("[\"\xff\"]"), 2, UTF8},
    {NUC_STR("{\"\xff\":1}"), 2, UTF8},
    {NUC_STR("["), 1, CUT},
    {NUC_STR("[1"), 2, CUT},
    {NUC_STR("[1,"), 3, CUT},
    {NUC_STR("[1,]"), 3, "a comma before ]"},
    {NUC_STR("[1, ]"), 4, "a comma before ]"},
    {NUC_STR("[,1]"), 1, VALUE},
    {NUC_STR("[1,,2]"), 3, VALUE},
    {NUC_STR("[1 2]"), 3, ELEMENTS},
    {NUC_STR("[1:2]"), 2, ELEMENTS},
    {NUC_STR("[1}"), 2, ELEMENTS},
    {NUC_STR("[}"), 1, VALUE},
    {NUC_STR("[]]"), 2, "more"},
    {NUC_STR("[[]"), 3, CUT},
    {NUC_STR("{"), 1, CUT},
    {NUC_STR("{]"), 1, NAME},
    {NUC_STR("{,"), 1, NAME},
    {NUC_STR("{a:1}"), 1, NAME},
    {NUC_STR("{'a':1}"), 1, NAME},
    {NUC_STR("{1:1}"), 1, NAME},
    {NUC_STR("{\"a\""), 4, CUT},
    {NUC_STR("{\"a\"}"), 4, COLON},
    {NUC_STR("{\"a\",1}"), 4, COLON},
    {NUC_STR("{\"a\" 1}"), 5, COLON},
    {NUC_STR("{\"a\":"), 5, CUT},
    {NUC_STR("{\"a\":}"), 5, VALUE},
    {NUC_STR("{\"a\":]"), 5, VALUE},
    {NUC_STR("{\"a\"::1}"), 5, VALUE},
    {NUC_STR("{\"a\":1"), 6, CUT},
    {NUC_STR("{\"a\":1,"), 7, CUT},
    {NUC_STR("{\"a\":1,}"), 7, "a comma before }"},
    {NUC_STR("{\"a\":1 , }"), 9, "a comma before }"},
    {NUC_STR("{\"a\":1]"), 6, MEMBERS},
    {NUC_STR("{\"a\":1 \"b\":2}"), 7, MEMBERS},
    {NUC_STR("{\"a\":1;\"b\":2}"), 6, MEMBERS},
    {NUC_STR("{\"a\":[1,{\"b\":tru}]}"), 16, LITERAL},
    {NUC_STR("{} {}"), 3, "more"},
};

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))

static void test_valid(void)
{
    size_t i;
    nuc_json_fault_t fault;

    for (i = 0; i < COUNT(valid); i++) {
        ok(is_valid(valid[i], 4, &fault), "valid: %.*s", (int) valid[i].len,
           (const char *) valid[i].data);
    }
}

static void test_invalid(void)
{
    int right;
    size_t i;
    const fault_case_t *c;
    nuc_json_fault_t fault;

    for (i = 0; i < COUNT(invalid); i++) {
        c = &invalid[i];

        right = !is_valid(c->text, 4, &fault) && fault.offset == c->offset &&
                strcmp(fault.reason, c->reason) == 0 && !fault.too_deep;

        if (!ok(right, "invalid at %zu, %s: %.*s", c->offset, c->reason,
                (int) c->text.len, (const char *) c->text.data)) {
            diag("got %s at %zu", fault.reason, fault.offset);
        }
    }
}

/* Each proper prefix of an object or an array is cut off, and at its end. */
static void test_cuts(void)
{
    static const nuc_str_t whole[] = {
        NUC_STR(
            "{\"id\":\"\\ud83d\\ude00 \\n\",\"n\":-12.50e+7,\"t\":true,\"f\":false,"
            "\"x\":null,\"a\":[1,[],{}, {\"b\":[0]} ],\"\xc3\xa9\xe2\x82\xac"
            "\xf0\x9f\x98\x80\":{\"long enough for many words\":\"0123456789abcdef\"}}"),
        NUC_STR("[ {\"a\" : 0.1E-2 } , \"\\\\\" , [ [ ] ] ]"),
    };
    size_t i, len, wrong;
    nuc_json_fault_t fault;

    for (i = 0; i < COUNT(whole); i++) {
        ok(is_valid(whole[i], 8, &fault), "the whole of %zu is valid", i);
        wrong = 0;

        for (len = 0; len < whole[i].len; len++) {
            if (is_valid((nuc_str_t){whole[i].data, len}, 8, &fault) ||
                fault.offset != len || strcmp(fault.reason, CUT) != 0) {
                wrong++;
                diag("cut after %zu: %s at %zu", len, fault.reason, fault.offset);
            }
        }

        is_int((long long) wrong, 0, "each cut of %zu is refused at its end", i);
    }
}

/* Each byte at each place of a string, in the words of eight and in the rest. */
static void test_string_bytes(void)
{
    int c, good;
    size_t len, at, wrong;
    uint8_t text[40];
    nuc_json_fault_t fault;

    wrong = 0;

    for (len = 1; len <= 20; len++) {
        for (at = 0; at < len; at++) {
            for (c = 0; c < 256; c++) {
                memset(text, ' ', sizeof(text));
                text[0] = text[len + 1] = '"';
                text[at + 1] = (uint8_t) c;

                good = c >= 0x20 && c < 0x80 && c != '\\' && c != '"';

                if (is_valid((nuc_str_t){text, len + 2}, 1, &fault) != good) {
                    wrong++;
                    diag("byte %02x at %zu of %zu", c, at, len);
                }
            }
        }
    }

    is_int((long long) wrong, 0, "each byte at each place of a string");
}

/* The length of the well-formed sequence that "p" begins with, by its code point; 0 if
 * none. */
static size_t sequence_len(const uint8_t *p, size_t len)
{
    size_t i, want;
    uint32_t c;
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};

    want = p[0] >> 5 == 6 ? 2 : p[0] >> 4 == 14 ? 3 : p[0] >> 3 == 30 ? 4 : 0;

    if (want == 0 || want > len) {
        return 0;
    }

    c = p[0] & (0x7fu >> want);

    for (i = 1; i < want; i++) {
        if (p[i] >> 6 != 2) {
            return 0;
        }

        c = c << 6 | (p[i] & 0x3f);
    }

    return c < least[want] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff) ? 0 : want;
}

/* All sequences of "len" bytes over the first byte's and the given continuations'
 * classes. */
static void test_utf8(void)
{
    static const uint8_t bytes[] = {0x22, 0x41, 0x7f, 0x80, 0x81, 0x8f, 0x90,
                                    0x9f, 0xa0, 0xbf, 0xc0, 0xc2, 0xe0, 0xf0};
    int b0, b1;
    size_t i2, i3, i, len, wrong, cases;
    uint8_t text[16];
    nuc_json_fault_t fault;

    wrong = cases = 0;

    for (b0 = 0x80; b0 < 256; b0++) {
        for (b1 = 0; b1 < 256; b1++) {
            for (i2 = 0; i2 < COUNT(bytes); i2++) {
                for (i3 = 0; i3 < COUNT(bytes); i3++) {
                    memcpy(text, "\"xxxxyyyy\"", 10);
                    text[1] = (uint8_t) b0;
                    text[2] = (uint8_t) b1;
                    text[3] = bytes[i2];
                    text[4] = bytes[i3];

                    /* what follows the first sequence must not matter */
                    len = sequence_len(text + 1, 4);

                    for (i = 1 + len; len != 0 && i < 5; i++) {
                        text[i] = 'z';
                    }

                    cases++;

                    if (is_valid((nuc_str_t){text, 10}, 1, &fault) != (len != 0)) {
                        wrong++;
                        diag("%02x %02x %02x %02x", text[1], text[2], text[3], text[4]);
                    }
                }
            }
        }
    }

    is_int((long long) wrong, 0, "UTF-8: %zu sequences, ill-formed ones refused", cases);
}

static size_t encode(uint32_t c, uint8_t *out)
{
    if (c < 0x800) {
        out[0] = (uint8_t) (0xc0 | c >> 6);
        out[1] = (uint8_t) (0x80 | (c & 0x3f));
        return 2;
    }

    if (c < 0x10000) {
        out[0] = (uint8_t) (0xe0 | c >> 12);
        out[1] = (uint8_t) (0x80 | (c >> 6 & 0x3f));
        out[2] = (uint8_t) (0x80 | (c & 0x3f));
        return 3;
    }

    out[0] = (uint8_t) (0xf0 | c >> 18);
    out[1] = (uint8_t) (0x80 | (c >> 12 & 0x3f));
    out[2] = (uint8_t) (0x80 | (c >> 6 & 0x3f));
    out[3] = (uint8_t) (0x80 | (c & 0x3f));

    return 4;
}

/* Every code point beyond ASCII as it is: accepted, surrogates and more than Unicode has
 * not. */
static void test_code_points(void)
{
    size_t len, wrong;
    uint32_t c;
    uint8_t text[8];
    nuc_json_fault_t fault;

    wrong = 0;
    text[0] = '"';

    for (c = 0x80; c < 0x110800; c++) {
        len = encode(c, text + 1);
        text[len + 1] = '"';

        if (is_valid((nuc_str_t){text, len + 2}, 1, &fault) !=
            ((c < 0xd800 || c > 0xdfff) && c <= 0x10ffff)) {
            wrong++;
            diag("U+%04X", c);
        }
    }

    is_int((long long) wrong, 0, "every code point");
}

static void test_depth(void)
{
    enum {
        DEEP = 100000
    };
    unsigned depth;
    size_t wrong, i;
    char *text;
    nuc_json_fault_t fault;

    text = malloc(DEEP);

    if (text == NULL) {
        abort();
    }

    wrong = 0;

    /* [ and {"a": in turn, and then all closed */
    for (depth = 1; depth <= NUC_JSON_DEPTH_MAX + 2; depth++) {
        size_t len, open;

        len = open = 0;

        for (i = 0; i < depth; i++) {
            open = len;
            len += (size_t) sprintf(text + len, i % 3 == 0 ? "[" : "{\"a\":");
        }

        len += (size_t) sprintf(text + len, "1");

        for (i = depth; i-- > 0;) {
            text[len++] = i % 3 == 0 ? ']' : '}';
        }

        if (depth <= NUC_JSON_DEPTH_MAX) {
            wrong += !is_valid((nuc_str_t){(uint8_t *) text, len}, depth, &fault);
            wrong += is_valid((nuc_str_t){(uint8_t *) text, len}, depth - 1, &fault);
        } else {
            wrong += is_valid((nuc_str_t){(uint8_t *) text, len}, depth, &fault);
        }

        if (depth > NUC_JSON_DEPTH_MAX + 1) {
            continue; /* the fault lies before the last bracket */
        }

        wrong += !fault.too_deep || fault.offset != open ||
                 strcmp(fault.reason, "nested too deep") != 0;

        /* each closing bracket is checked against its own opening one */
        for (i = 0; i < depth && depth <= 70; i++) {
            text[len - 1 - i] ^= ']' ^ '}';
            wrong += is_valid((nuc_str_t){(uint8_t *) text, len}, depth, &fault) ||
                     fault.too_deep || fault.offset != len - 1 - i;
            text[len - 1 - i] ^= ']' ^ '}';
        }
    }

    is_int((long long) wrong, 0,
           "depth: at the limit, one over, and which bracket closes");

    memset(text, '[', DEEP);
    ok(!is_valid((nuc_str_t){(uint8_t *) text, DEEP}, 100000, &fault) && fault.too_deep &&
           fault.offset == NUC_JSON_DEPTH_MAX,
       "no caller can allow more than NUC_JSON_DEPTH_MAX");
    ok(!is_valid(NUC_STR("[]"), 0, &fault) && fault.too_deep && fault.offset == 0,
       "depth 0 allows no container");
    ok(is_valid(NUC_STR("1"), 0, &fault), "depth 0 allows a number");

    free(text);
}

typedef struct {
    nuc_str_t text;
    const char *slice;
    char type;
    const char *id;   /* between its quotes, or NULL */
    const char *name; /* the same unescaped, or NULL where it has no escapes */
} value_case_t;

static const value_case_t values[] = {
    {NUC_STR(" \n {\"id\":\"a-1\"} \t,"), "{\"id\":\"a-1\"}", '{', "a-1", NULL},
    {NUC_STR("{ \"id\" : \"\" }"), "{ \"id\" : \"\" }", '{', "", NULL},
    {NUC_STR("{\"a\":{\"id\":\"x\"}}"), "{\"a\":{\"id\":\"x\"}}", '{', NULL, NULL},
    {NUC_STR("{\"id\":{\"id\":\"x\"}}"), "{\"id\":{\"id\":\"x\"}}", '{', NULL, NULL},
    {NUC_STR("{\"id\":[\"x\"]}"), "{\"id\":[\"x\"]}", '{', NULL, NULL},
    {NUC_STR("{\"id\":{\"a\":\"x\"},\"b\":\"y\"}"), "{\"id\":{\"a\":\"x\"},\"b\":\"y\"}",
     '{', NULL, NULL},
    {NUC_STR("{\"id\":\"x\",\"a\":\"y\"}"), "{\"id\":\"x\",\"a\":\"y\"}", '{', "x", NULL},
    {NUC_STR("{\"id\":\"x\",\"id\":\"y\"}"), "{\"id\":\"x\",\"id\":\"y\"}", '{', "y",
     NULL},
    {NUC_STR("{\"id\":\"x\",\"id\":1}"), "{\"id\":\"x\",\"id\":1}", '{', NULL, NULL},
    {NUC_STR("{\"id\":\"x\",\"id\":null}"), "{\"id\":\"x\",\"id\":null}", '{', NULL,
     NULL},
    {NUC_STR("{\"id\":\"x\",\"id\":{}}"), "{\"id\":\"x\",\"id\":{}}", '{', NULL, NULL},
    {NUC_STR("{\"id\":\"x\",\"id\":[]}"), "{\"id\":\"x\",\"id\":[]}", '{', NULL, NULL},
    {NUC_STR("{\"id\":1,\"id\":\"x\"}"), "{\"id\":1,\"id\":\"x\"}", '{', "x", NULL},
    {NUC_STR("{\"id\":\"x\",\"b\":{\"id\":2}}"), "{\"id\":\"x\",\"b\":{\"id\":2}}", '{',
     "x", NULL},
    {NUC_STR("{\"\\u0069d\":\"x\"}"), "{\"\\u0069d\":\"x\"}", '{', "x", NULL},
    {NUC_STR("{\"i\\u0064\":\"x\"}"), "{\"i\\u0064\":\"x\"}", '{', "x", NULL},
    {NUC_STR("{\"\\u0069\\u0064\":\"x\"}"), "{\"\\u0069\\u0064\":\"x\"}", '{', "x", NULL},
    {NUC_STR("{\"id\":\"x\",\"\\u0069d\":1}"), "{\"id\":\"x\",\"\\u0069d\":1}", '{', NULL,
     NULL},
    {NUC_STR("{\"\\u0069\\u0064s\":\"x\"}"), "{\"\\u0069\\u0064s\":\"x\"}", '{', NULL,
     NULL},
    {NUC_STR("{\"\\u0069\":\"x\"}"), "{\"\\u0069\":\"x\"}", '{', NULL, NULL},
    {NUC_STR("{\"i\\u0164\":\"x\"}"), "{\"i\\u0164\":\"x\"}", '{', NULL, NULL},
    {NUC_STR("{\"i\\d\":\"x\"}"), NULL, 0, NULL, NULL},
    {NUC_STR("{\"\\n\":\"x\"}"), "{\"\\n\":\"x\"}", '{', NULL, NULL},
    {NUC_STR("{\"ID\":\"x\"}"), "{\"ID\":\"x\"}", '{', NULL, NULL},
    {NUC_STR("{\"idx\":\"x\",\"i\":\"y\",\"d\":\"z\",\"\":\"\"}"),
     "{\"idx\":\"x\",\"i\":\"y\",\"d\":\"z\",\"\":\"\"}", '{', NULL, NULL},
    {NUC_STR("{\"id\":\"a\\u002db\\n\"}"), "{\"id\":\"a\\u002db\\n\"}", '{',
     "a\\u002db\\n", "a-b\n"},
    {NUC_STR("{\"id\":\"\\\"\"}"), "{\"id\":\"\\\"\"}", '{', "\\\"", "\""},
    {NUC_STR("[\"id\",\"x\"]"), "[\"id\",\"x\"]", '[', NULL, NULL},
    {NUC_STR("[{\"id\":\"x\"}]"), "[{\"id\":\"x\"}]", '[', NULL, NULL},
    {NUC_STR("\"id\""), "\"id\"", '"', NULL, NULL},
    {NUC_STR("-1.5e3]"), "-1.5e3", 0, NULL, NULL},
    {NUC_STR("7"), "7", 0, NULL, NULL},
    {NUC_STR(" true,"), "true", 't', NULL, NULL},
    {NUC_STR("false}"), "false", 'f', NULL, NULL},
    {NUC_STR("null "), "null", 'n', NULL, NULL},
};

static void test_value(const value_case_t *c)
{
    size_t pos;
    nuc_rc_t rc;
    uint8_t *data;
    const char *text;
    nuc_buf_t buf = NUC_BUF_INIT;
    nuc_json_fault_t fault;
    nuc_json_value_t value;

    data = exact(c->text);
    text = (const char *) c->text.data;
    pos = 0;
    rc = nuc_json_scan(data, c->text.len, &pos, 9, &value, &fault);

    if (c->slice == NULL) {
        ok(rc == NUC_INVALID && pos == 0, "refused, position kept: %s", text);
        free(data);
        return;
    }

    ok(rc == NUC_OK && value.type == c->type, "type of %s", text);
    ok(nuc_str_eq(value.slice, nuc_str(c->slice)), "slice of %s", text);
    ok(data + pos == value.slice.data + value.slice.len, "position behind %s", text);

    if (c->id == NULL) {
        ok(value.id.data == NULL && value.id.len == 0 && !value.id_escaped, "no id: %s",
           text);
    } else {
        ok(value.id.data != NULL && nuc_str_eq(value.id, nuc_str(c->id)), "id of %s",
           text);
        is_int(value.id_escaped, c->name != NULL, "has the id escapes: %s", text);
        nuc_json_unescape(value.id, &buf);
        nuc_buf_char(&buf, '\0');
        is_str((char *) buf.data, c->name != NULL ? c->name : c->id, "unescaped: %s",
               text);
    }

    nuc_buf_free(&buf);
    free(data);
}

static void test_values(void)
{
    size_t i, pos;
    nuc_json_fault_t fault;
    nuc_json_value_t value;

    for (i = 0; i < COUNT(values); i++) {
        test_value(&values[i]);
    }

    pos = 4;
    ok(nuc_json_scan((const uint8_t *) "[1, {}]", 7, &pos, 1, &value, &fault) == NUC_OK &&
           pos == 6 && value.slice.len == 2,
       "a scan begins where it is told");
    pos = 3;
    ok(nuc_json_scan((const uint8_t *) "[1, }]", 6, &pos, 1, &value, &fault) ==
               NUC_INVALID &&
           fault.offset == 4,
       "a fault's offset counts from the beginning of the data");

    is_int((long long) nuc_json_skip_space((const uint8_t *) " \t\r\n\v", 5, 0), 4,
           "white space is passed over");
    is_int((long long) nuc_json_skip_space((const uint8_t *) "x  ", 3, 1), 3,
           "white space up to the end");
    is_int((long long) nuc_json_skip_space(NULL, 0, 0), 0, "no data has no white space");
}

static void test_unescape(void)
{
    static const struct {
        nuc_str_t in, out;
    } cases[] = {
        {NUC_STR(""), NUC_STR("")},
        {NUC_STR("plain \xc3\xa9"), NUC_STR("plain \xc3\xa9")},
        {NUC_STR("\\\"\\\\\\/\\b\\f\\n\\r\\t"), NUC_STR("\"\\/\b\f\n\r\t")},
        {NUC_STR("a\\u0000b"), NUC_STR("a\0b")},
        {NUC_STR("\\u007f\\u0080\\u07ff\\u0800\\uffff"),
         NUC_STR("\x7f\xc2\x80\xdf\xbf\xe0\xa0\x80\xef\xbf\xbf")},
        {NUC_STR("\\ud800\\udc00\\uDBFF\\uDFFF"),
         NUC_STR("\xf0\x90\x80\x80\xf4\x8f\xbf\xbf")},
        {NUC_STR("x\\ud83d\\ude00y"), NUC_STR("x\xf0\x9f\x98\x80y")},
        {NUC_STR("\\ud83d"), NUC_STR("\xef\xbf\xbd")},
        {NUC_STR("\\ude00"), NUC_STR("\xef\xbf\xbd")},
        {NUC_STR("\\ud800\\udbff"), NUC_STR("\xef\xbf\xbd\xef\xbf\xbd")},
        {NUC_STR("\\udc00\\udfff"), NUC_STR("\xef\xbf\xbd\xef\xbf\xbd")},
        {NUC_STR("\\ud7ff\\ue000"), NUC_STR("\xed\x9f\xbf\xee\x80\x80")},
        {NUC_STR("\\ude00\\ud83d"), NUC_STR("\xef\xbf\xbd\xef\xbf\xbd")},
        {NUC_STR("\\ud83d\\ud83d\\ude00"), NUC_STR("\xef\xbf\xbd\xf0\x9f\x98\x80")},
        {NUC_STR("\\ud83dude00"), NUC_STR("\xef\xbf\xbdude00")},
        {NUC_STR("\\ud83d\\nde00"), NUC_STR("\xef\xbf\xbd\nde00")},
        {NUC_STR("\\ud83d\\u0041"), NUC_STR("\xef\xbf\xbd"
                                            "A")},
        {NUC_STR("\\ud83d\\\\ude00"), NUC_STR("\xef\xbf\xbd\\ude00")},
    };
    size_t i;
    uint8_t *data;
    nuc_buf_t buf = NUC_BUF_INIT;

    for (i = 0; i < COUNT(cases); i++) {
        data = exact(cases[i].in);
        nuc_buf_reset(&buf);
        nuc_json_unescape((nuc_str_t){data, cases[i].in.len}, &buf);
        ok(!buf.failed && nuc_str_eq((nuc_str_t){buf.data, buf.len}, cases[i].out),
           "unescape %s", (const char *) cases[i].in.data);
        ok(buf.len <= cases[i].in.len, "unescaping never grows %s",
           (const char *) cases[i].in.data);
        free(data);
    }

    nuc_buf_free(&buf);
}

typedef struct {
    const char *text;
    size_t offset;
    const char *pointer;
} pointer_case_t;

static const pointer_case_t pointers[] = {
    {"", 0, ""},
    {"x", 0, ""},
    {"tru", 3, ""},
    {"[", 1, ""},
    {"[ ", 2, ""},
    {"[]", 1, ""},
    {"[x", 1, "/0"},
    {"[ x", 2, "/0"},
    {"[{}]", 1, "/0"},
    {"[{}]", 2, "/0"},
    {"[{}]", 3, ""},
    {"[1,2,x", 5, "/2"},
    {"[1,", 3, "/1"},
    {"[1,]", 3, "/1"},
    {"[1", 2, ""},
    {"[10", 3, ""},
    {"[19", 3, ""},
    {"[-", 2, "/0"},
    {"[1e", 3, "/0"},
    {"[tru", 4, "/0"},
    {"[fals", 5, "/0"},
    {"[true", 5, ""},
    {"[false", 6, ""},
    {"[null", 5, ""},
    {"[1x", 2, "/0"},
    {"[1 x", 3, ""},
    {"[\"a", 3, "/0"},
    {"[\"a\"", 3, "/0"},
    {"[\"a\"x", 4, ""},
    {"[\"\\", 3, "/0"},
    {"[\"\\x", 3, "/0"},
    {"[\"a\\\"b\",[x", 9, "/1/0"},
    {"{", 1, ""},
    {"{x", 1, ""},
    {"{\"a", 3, ""},
    {"{\"a\"", 4, ""},
    {"{\"a\"x", 4, ""},
    {"{\"a\":", 5, "/a"},
    {"{\"a\":x", 5, "/a"},
    {"{\"a\" : x", 7, "/a"},
    {"{\"a\":1", 6, ""},
    {"{\"a\":01", 6, "/a"},
    {"{\"a\":1,", 7, ""},
    {"{\"a\":1,\"b\":}", 11, "/b"},
    {"{\"a\":1,x", 7, ""},
    {"{\"a\":{\"b\":[0,{\"c\":x", 18, "/a/b/1/c"},
    {"{\"a\":{\"b\":[0,{\"c\":1}x", 20, "/a/b"},
    {"{\"a\":{\"b\":[0,{\"c\":1}]x", 21, "/a"},
    {"{\"a\":{\"b\":[]}}x", 14, ""},
    {"{\"a/b\":{\"m~n\":{\"\":x", 18, "/a~1b/m~0n/"},
    {"{\"\\u0061\\/\\\"\\u007e\":x", 20, "/a~1\"~0"},
    {"{\"\\u00e9\\ud83d\\ude00\":x", 22, "/\xc3\xa9\xf0\x9f\x98\x80"},
    {"{\"a\\u0000b\":x", 12,
     "/a\xef\xbf\xbd"
     "b"},
    {"[[0,0],[0,0,0],[0,[0,x", 21, "/2/1/1"},
    {"[0,0,0,0,0,0,0,0,0,0,{\"a\":[],\"b\":[{},{}x", 39, "/10/b"},
};

static void test_pointers(void)
{
    size_t i, len;
    uint8_t *data;
    char pointer[64];
    const pointer_case_t *c;

    for (i = 0; i < COUNT(pointers); i++) {
        c = &pointers[i];
        len = strlen(c->text);
        data = exact(nuc_str(c->text));
        nuc_json_pointer(data, len, c->offset, pointer, sizeof(pointer));
        is_str(pointer, c->pointer, "pointer to %zu of %s", c->offset, c->text);
        free(data);
    }
}

static void test_pointer_cut(void)
{
    static const char text[] = "{\"abc\":[0,{\"d~e\":{\"f\":x";
    static const char whole[] = "/abc/1/d~0e/f";
    size_t i, size, len, wrong;
    char pointer[64];
    static uint8_t deep[2000];

    wrong = 0;

    for (size = 1; size <= sizeof(pointer); size++) {
        memset(pointer, '#', sizeof(pointer));
        nuc_json_pointer((const uint8_t *) text, sizeof(text) - 1, sizeof(text) - 2,
                         pointer, size);
        len = strlen(pointer);

        /* a beginning of the whole, up to a slash or all of it, and as much as fits */
        if (len >= size || memcmp(pointer, whole, len) != 0 ||
            (whole[len] != '/' && whole[len] != '\0')) {
            wrong++;
        }

        for (i = len + 1; i < sizeof(whole) && i < size; i++) {
            wrong += whole[i] == '/' || whole[i] == '\0';
        }

        for (i = size; i < sizeof(pointer); i++) {
            wrong += pointer[i] != '#';
        }
    }

    is_int((long long) wrong, 0, "a pointer is cut at a reference token");

    pointer[0] = '#';
    nuc_json_pointer((const uint8_t *) text, sizeof(text) - 1, 5, pointer, 0);
    ok(pointer[0] == '#', "nothing is written where there is no room");

    memset(deep, '[', sizeof(deep));
    nuc_json_pointer(deep, sizeof(deep), sizeof(deep), pointer, 8);
    is_str(pointer, "/0/0/0", "what is deeper than any event is cut too");
}

static nuc_str_t read_whole(const char *dir, const char *name)
{
    FILE *f;
    size_t len;
    char path[1024];
    uint8_t *data;
    enum {
        MOST = 1 << 20
    };

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    f = fopen(path, "rb");
    data = malloc(MOST);

    if (f == NULL || data == NULL) {
        diag("cannot read \"%s\"", path);
        exit(1);
    }

    len = fread(data, 1, MOST, f);
    fclose(f);

    return (nuc_str_t){data, len};
}

static void test_corpus(const char *corpora)
{
    DIR *d;
    unsigned seen;
    char dir[512];
    nuc_str_t text;
    struct dirent *e;
    nuc_json_fault_t fault;

    snprintf(dir, sizeof(dir), "%s/json", corpora);
    d = opendir(dir);
    seen = 0;

    while (d != NULL && (e = readdir(d)) != NULL) {
        if ((e->d_name[0] != 'y' && e->d_name[0] != 'n') || e->d_name[1] != '_') {
            continue;
        }

        text = read_whole(dir, e->d_name);
        is_int(is_valid(text, NUC_JSON_DEPTH_MAX, &fault), e->d_name[0] == 'y',
               "corpus: %s", e->d_name);
        free((void *) text.data);
        seen++;
    }

    if (d != NULL) {
        closedir(d);
    }

    ok(seen > 250, "corpus: %u files", seen);
}

int main(void)
{
    test_valid();
    test_invalid();
    test_cuts();
    test_string_bytes();
    test_utf8();
    test_code_points();
    test_depth();
    test_values();
    test_unescape();
    test_pointers();
    test_pointer_cut();

    if (getenv("CORPORA") != NULL) {
        test_corpus(getenv("CORPORA"));
    }

    return tap_done();
}
