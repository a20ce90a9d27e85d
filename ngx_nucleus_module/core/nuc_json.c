/*
 * The scanner is one flat function: a state is a label, so that a value costs no call,
 * and what it must remember of the containers around it is their closing bracket.
 * Strings, most of an event's bytes, are passed eight bytes at a time; all that is rare
 * (escapes, bytes beyond ASCII, faults) is out of line.
 *
 * A fault's offset is that of the first byte that no valid document has after the bytes
 * before it, or the length of the data when it is only cut off.
 */

#include "nuc_json.h"

#include "nuc_le.h"
#include "nuc_utf8.h"

#define NUC_JSON_BYTES(byte) (0x0101010101010101ULL * (byte))

#define NUC_JSON_CUT "unexpected end"

/* What is scanned, for the functions that may have to refuse it. */
typedef struct {
    const uint8_t *data;
    const uint8_t *end;
    nuc_json_fault_t *fault;
} nuc_json_input_t;

/* RFC 8259, section 2 */
static const uint8_t nuc_json_is_space[256] = {
    [' '] = 1,
    ['\t'] = 1,
    ['\n'] = 1,
    ['\r'] = 1,
};

/* What the letter behind a backslash stands for; RFC 8259, section 7. */
static const uint8_t nuc_json_escaped[256] = {
    ['"'] = '"',  ['\\'] = '\\', ['/'] = '/',  ['b'] = '\b',
    ['f'] = '\f', ['n'] = '\n',  ['r'] = '\r', ['t'] = '\t',
};

/* The value of a hexadecimal digit plus 1; 0 for all else. */
static const uint8_t nuc_json_hex[256] = {
    ['0'] = 1,  ['1'] = 2,  ['2'] = 3,  ['3'] = 4,  ['4'] = 5,  ['5'] = 6,
    ['6'] = 7,  ['7'] = 8,  ['8'] = 9,  ['9'] = 10, ['a'] = 11, ['b'] = 12,
    ['c'] = 13, ['d'] = 14, ['e'] = 15, ['f'] = 16, ['A'] = 11, ['B'] = 12,
    ['C'] = 13, ['D'] = 14, ['E'] = 15, ['F'] = 16,
};

static inline int nuc_json_is_digit(uint8_t c)
{
    return (uint8_t) (c - '0') <= 9;
}

/* Note the fault at "p".  NULL, for the functions that otherwise return the next byte. */
__attribute__((cold, noinline)) static const uint8_t *nuc_json_refuse(
    const nuc_json_input_t *in, const uint8_t *p, const char *reason)
{
    in->fault->offset = (size_t) (p - in->data);
    in->fault->reason = p == in->end ? NUC_JSON_CUT : reason;
    in->fault->too_deep = 0;

    return NULL;
}

static inline const uint8_t *nuc_json_space(const uint8_t *p, const uint8_t *end)
{
    while (p < end && nuc_json_is_space[*p]) {
        p++;
    }

    return p;
}

size_t nuc_json_skip_space(const uint8_t *data, size_t len, size_t pos)
{
    while (pos < len && nuc_json_is_space[data[pos]]) {
        pos++;
    }

    return pos;
}

/* "p" is at the backslash. */
static const uint8_t *nuc_json_escape(const nuc_json_input_t *in, const uint8_t *p)
{
    unsigned i;

    p++;

    if (p < in->end && nuc_json_escaped[*p] != 0) {
        return p + 1;
    }

    if (p == in->end || *p != 'u') {
        return nuc_json_refuse(in, p, "an escape that JSON does not have");
    }

    p++;

    for (i = 0; i < 4; i++, p++) {
        if (p == in->end || nuc_json_hex[*p] == 0) {
            return nuc_json_refuse(in, p, "\\u without four hexadecimal digits");
        }
    }

    return p;
}

/* Past what stopped the quick walk through a string: all that isn't plain ASCII. */
__attribute__((noinline)) static const uint8_t *nuc_json_special(
    const nuc_json_input_t *in, const uint8_t *p)
{
    int valid;

    if (*p == '\\') {
        return nuc_json_escape(in, p);
    }

    if (*p < 0x20) {
        return nuc_json_refuse(in, p, "control character in a string (write an escape)");
    }

    do {
        p += nuc_utf8_sequence(p, in->end, &valid);

        if (!valid) {
            return nuc_json_refuse(in, p, "not UTF-8");
        }
    } while (p < in->end && *p >= 0x80);

    return p;
}

/*
 * Zero if all eight bytes stand for themselves in a string; else the lowest bit that is
 * set is the top bit of the first that doesn't (those above it may be wrong, by
 * borrowing).  The exclusive or with 2 swaps the quote (0x22) with the space (0x20), so
 * that one comparison finds quotes and control characters.
 */
static inline uint64_t nuc_json_stops(uint64_t bytes)
{
    uint64_t quote, backslash;

    quote = (bytes ^ NUC_JSON_BYTES(2)) - NUC_JSON_BYTES(0x21);
    backslash = (bytes ^ NUC_JSON_BYTES('\\')) - NUC_JSON_BYTES(1);

    return (quote | backslash | bytes) & NUC_JSON_BYTES(0x80);
}

/* From behind the opening quote to the closing one, or NULL. */
static inline const uint8_t *nuc_json_string(const nuc_json_input_t *in, const uint8_t *p)
{
    uint64_t stops;
    const uint8_t *end;

    end = in->end;

    for (;;) {
        if (end - p >= 8) {
            stops = nuc_json_stops(nuc_le64(p));

            if (stops == 0) {
                p += 8;
                continue;
            }

            p += __builtin_ctzll(stops) / 8;

        } else {
            while (p < end && *p != '"' && *p != '\\' && *p >= 0x20 && *p < 0x80) {
                p++;
            }

            if (p == end) {
                return nuc_json_refuse(in, p, NUC_JSON_CUT);
            }
        }

        if (*p == '"') {
            return p;
        }

        p = nuc_json_special(in, p);

        if (p == NULL) {
            return NULL;
        }
    }
}

/* Past the digits at "p", of which there must be one. */
static inline const uint8_t *nuc_json_digits(const nuc_json_input_t *in, const uint8_t *p)
{
    if (p == in->end || !nuc_json_is_digit(*p)) {
        return nuc_json_refuse(in, p, "a digit was expected");
    }

    do {
        p++;
    } while (p < in->end && nuc_json_is_digit(*p));

    return p;
}

/* RFC 8259, section 6 */
static const uint8_t *nuc_json_number(const nuc_json_input_t *in, const uint8_t *p)
{
    const uint8_t *end;

    end = in->end;

    if (*p == '-') {
        p++;
    }

    if (p < end && *p == '0') {
        p++;

        if (p < end && nuc_json_is_digit(*p)) {
            return nuc_json_refuse(in, p, "leading zero");
        }

    } else {
        p = nuc_json_digits(in, p);
    }

    if (p != NULL && p < end && *p == '.') {
        p = nuc_json_digits(in, p + 1);
    }

    if (p != NULL && p < end && (*p | 0x20) == 'e') {
        p++;

        if (p < end && (*p == '+' || *p == '-')) {
            p++;
        }

        p = nuc_json_digits(in, p);
    }

    return p;
}

static const uint8_t *nuc_json_literal(const nuc_json_input_t *in, const uint8_t *p,
                                       const char *literal)
{
    for (; *literal != '\0'; literal++, p++) {
        if (p == in->end || *p != (uint8_t) *literal) {
            return nuc_json_refuse(in, p, "misspelt true, false or null");
        }
    }

    return p;
}

/* Whether the name between "p" and "end" says id, in whatever way it is written. */
static int nuc_json_is_id(const uint8_t *p, const uint8_t *end)
{
    size_t len;
    const char *want;
    uint8_t text[4];

    if (end - p == 2) {
        return p[0] == 'i' && p[1] == 'd';
    }

    for (want = "id"; *want != '\0'; want++) {
        if (p == end) {
            return 0;
        }

        if (*p == '\\') {
            len = nuc_json_resolve(&p, end, text);
        } else {
            text[0] = *p++;
            len = 1;
        }

        if (len != 1 || text[0] != (uint8_t) *want) {
            return 0;
        }
    }

    return p == end;
}

/* Say why "p" does not begin a value in what "close" closes. */
__attribute__((cold, noinline)) static const uint8_t *nuc_json_refuse_value(
    const nuc_json_input_t *in, const uint8_t *p, uint8_t close)
{
    const char *reason;

    reason = "a value was expected";

    if (in->end - p >= 3 && memcmp(p, "\xef\xbb\xbf", 3) == 0) {
        reason = "byte order mark (send UTF-8 without one)";

    } else if (*p == '\'') {
        reason = "a string in single quotes (use double quotes)";

    } else if (*p == ']' && close == ']') {
        reason = "a comma before ]";
    }

    return nuc_json_refuse(in, p, reason);
}

/* The same for the name of a member. */
__attribute__((cold, noinline)) static const uint8_t *nuc_json_refuse_name(
    const nuc_json_input_t *in, const uint8_t *p)
{
    return nuc_json_refuse(in, p,
                           p < in->end && *p == '}'
                               ? "a comma before }"
                               : "a member's name in double quotes was expected");
}

nuc_rc_t nuc_json_scan(const uint8_t *data, size_t len, size_t *pos, unsigned depth_max,
                       nuc_json_value_t *value, nuc_json_fault_t *fault)
{
    int id_member; /* the last member at depth 1 is an id */
    uint8_t close; /* of the innermost container */
    unsigned depth;
    nuc_str_t id;
    const uint8_t *p, *end, *begin, *start;
    nuc_json_input_t in;
    uint8_t closes[NUC_JSON_DEPTH_MAX]; /* of the containers around it, by depth */

    if (depth_max > NUC_JSON_DEPTH_MAX) {
        depth_max = NUC_JSON_DEPTH_MAX;
    }

    end = data + len;
    in.data = data;
    in.end = end;
    in.fault = fault;
    depth = 0;
    close = 0;
    id_member = 0;
    id = NUC_STR_NONE;
    begin = nuc_json_space(data + *pos, end);
    p = begin;

value:

    p = nuc_json_space(p, end);

    if (p == end) {
        nuc_json_refuse(&in, p, NUC_JSON_CUT);
        return NUC_INVALID;
    }

    switch (*p) {

    case '"':
        start = p + 1;
        p = nuc_json_string(&in, start);

        if (p == NULL) {
            return NUC_INVALID;
        }

        if (id_member && depth == 1) {
            id.data = start;
            id.len = (size_t) (p - start);
        }

        p++;
        break;

    case '{':
        if (depth == depth_max) {
            goto too_deep;
        }

        closes[depth++] = close;
        close = '}';
        p = nuc_json_space(p + 1, end);

        if (p < end && *p == '}') {
            goto closed;
        }

        goto member;

    case '[':
        if (depth == depth_max) {
            goto too_deep;
        }

        closes[depth++] = close;
        close = ']';
        p = nuc_json_space(p + 1, end);

        if (p < end && *p == ']') {
            goto closed;
        }

        goto value;

    case 't':
        p = nuc_json_literal(&in, p, "true");
        break;

    case 'f':
        p = nuc_json_literal(&in, p, "false");
        break;

    case 'n':
        p = nuc_json_literal(&in, p, "null");
        break;

    case '-':
    case '0' ... '9':
        p = nuc_json_number(&in, p);
        break;

    default:
        p = nuc_json_refuse_value(&in, p, close);
    }

    if (p == NULL) {
        return NUC_INVALID;
    }

next:

    if (depth == 0) {
        goto done;
    }

    p = nuc_json_space(p, end);

    if (p == end) {
        nuc_json_refuse(&in, p, NUC_JSON_CUT);
        return NUC_INVALID;
    }

    if (*p == close) {
        goto closed;
    }

    if (*p != ',') {
        nuc_json_refuse(&in, p,
                        close == '}' ? "a comma or } was expected"
                                     : "a comma or ] was expected");
        return NUC_INVALID;
    }

    p++;

    if (close == ']') {
        goto value;
    }

    p = nuc_json_space(p, end);

member:

    if (p == end || *p != '"') {
        nuc_json_refuse_name(&in, p);
        return NUC_INVALID;
    }

    start = p + 1;
    p = nuc_json_string(&in, start);

    if (p == NULL) {
        return NUC_INVALID;
    }

    if (depth == 1) {
        id_member = nuc_json_is_id(start, p);

        if (id_member) {
            id = NUC_STR_NONE;
        }
    }

    p = nuc_json_space(p + 1, end);

    if (p == end || *p != ':') {
        nuc_json_refuse(&in, p, "a colon was expected");
        return NUC_INVALID;
    }

    p++;
    goto value;

closed:

    p++;
    close = closes[--depth];
    goto next;

too_deep:

    nuc_json_refuse(&in, p, "nested too deep");
    fault->too_deep = 1;
    return NUC_INVALID;

done:

    value->slice.data = begin;
    value->slice.len = (size_t) (p - begin);
    value->type = *begin == '-' || nuc_json_is_digit(*begin) ? 0 : (char) *begin;
    value->id = id;
    value->id_escaped = id.data != NULL && memchr(id.data, '\\', id.len) != NULL;
    *pos = (size_t) (p - data);

    return NUC_OK;
}

/* The four hexadecimal digits at "p". */
static uint32_t nuc_json_hex4(const uint8_t *p)
{
    unsigned i;
    uint32_t unit;

    unit = 0;

    for (i = 0; i < 4; i++) {
        unit = unit << 4 | (uint32_t) (nuc_json_hex[p[i]] - 1);
    }

    return unit;
}

/* The code point of the \u escape at *p, with the low surrogate that follows a high one.
 */
static uint32_t nuc_json_code_point(const uint8_t **p, const uint8_t *end)
{
    uint32_t high, low;

    high = nuc_json_hex4(*p + 2);
    *p += 6;

    if (high < 0xd800 || high > 0xdfff) {
        return high;
    }

    if (high < 0xdc00 && end - *p >= 6 && (*p)[0] == '\\' && (*p)[1] == 'u') {
        low = nuc_json_hex4(*p + 2);

        if (low >= 0xdc00 && low <= 0xdfff) {
            *p += 6;
            return 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
        }
    }

    return 0xfffd;
}

size_t nuc_json_resolve(const uint8_t **p, const uint8_t *end, uint8_t out[4])
{
    uint32_t c;

    if ((*p)[1] != 'u') {
        out[0] = nuc_json_escaped[(*p)[1]];
        *p += 2;
        return 1;
    }

    c = nuc_json_code_point(p, end);

    if (c < 0x80) {
        out[0] = (uint8_t) c;
        return 1;
    }

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

void nuc_json_unescape(nuc_str_t string, nuc_buf_t *out)
{
    size_t len;
    const uint8_t *p, *end, *plain;
    uint8_t text[4];

    if (string.len == 0) {
        return;
    }

    p = string.data;
    end = p + string.len;

    while (p < end) {
        plain = p;
        p = memchr(plain, '\\', (size_t) (end - plain));

        if (p == NULL) {
            p = end;
        }

        nuc_buf_append(out, plain, (size_t) (p - plain));

        if (p < end) {
            len = nuc_json_resolve(&p, end, text);
            nuc_buf_append(out, text, len);
        }
    }
}
