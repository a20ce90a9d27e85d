/*
 * The JSON scanner against jansson: the same verdict, the same id, equal elements, for
 * documents that are made at random and then damaged.
 *
 * jansson refuses three things that RFC 8259 lets pass: a lone surrogate, U+0000 in a
 * member's name, a number beyond a double.  It overlooks one that RFC 8259 refuses: a
 * zero byte behind a number or a literal.  The copy that it is given has U+FFFD, U+0001,
 * 1e0 and the byte 0x01 in their places, so that all the rest is still compared.
 *
 * SEED=n begins elsewhere.
 */

#include <inttypes.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>

#include "nuc_json.h"
#include "tap.h"

#define CASES 250000
#define FLAGS (JSON_DECODE_ANY | JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL)
#define SHOWN 10 /* differences that are printed */

static uint64_t random_state;

/* xorshift64* */
static uint32_t random_below(uint32_t n)
{
    random_state ^= random_state >> 12;
    random_state ^= random_state << 25;
    random_state ^= random_state >> 27;

    return (uint32_t) ((random_state * 2685821657736338717ULL) >> 32) % n;
}

/*
 * Making documents.
 */

typedef struct {
    nuc_buf_t text;
    nuc_buf_t path;    /* the pointer of the value that is being made */
    unsigned values;   /* made so far */
    size_t marked;     /* offset of one of them, taken at random */
    nuc_buf_t pointer; /* its pointer */
} maker_t;

static void make_value(maker_t *m, unsigned depth);

static void make_space(maker_t *m)
{
    while (random_below(8) == 0) {
        nuc_buf_char(&m->text, " \t\r\n"[random_below(4)]);
    }
}

static void put_utf8(nuc_buf_t *out, uint32_t c)
{
    if (c < 0x80) {
        nuc_buf_char(out, (char) c);
        return;
    }

    if (c < 0x800) {
        nuc_buf_char(out, (char) (0xc0 | c >> 6));

    } else {
        if (c < 0x10000) {
            nuc_buf_char(out, (char) (0xe0 | c >> 12));
        } else {
            nuc_buf_char(out, (char) (0xf0 | c >> 18));
            nuc_buf_char(out, (char) (0x80 | (c >> 12 & 0x3f)));
        }

        nuc_buf_char(out, (char) (0x80 | (c >> 6 & 0x3f)));
    }

    nuc_buf_char(out, (char) (0x80 | (c & 0x3f)));
}

/* A code point, now and then a surrogate. */
static uint32_t make_code_point(void)
{
    static const uint32_t edges[] = {0,      0x1f,   0x7f,   0x80,    0x7ff,   0x800,
                                     0xd7ff, 0xe000, 0xffff, 0x10000, 0x10ffff};

    switch (random_below(12)) {
    case 0:
        return edges[random_below(sizeof(edges) / sizeof(edges[0]))];
    case 1:
        return random_below(0x110000);
    case 2:
        return random_below(0x800);
    case 3:
        return (uint32_t) "\"\\/~\b\f\n\r\t"[random_below(9)];
    case 4:
        return random_below(16) == 0 ? 0xd800 + random_below(0x800) : 'u';
    default:
        return 0x20 + random_below(0x5f);
    }
}

static int is_surrogate(uint32_t c)
{
    return c >= 0xd800 && c <= 0xdfff;
}

/* "c" inside a string, as it is or escaped. */
static void make_character(nuc_buf_t *out, uint32_t c)
{
    static const char letters[] = "\"\\/\bb\ff\nn\rr\tt";
    static const char *const hex[] = {"\\u%04x", "\\u%04X"};
    const char *letter;

    letter = c != 0 && c < 0x80 ? strchr(letters, (int) c) : NULL;

    if (letter != NULL && (c < 0x20 || letter - letters < 3) && random_below(2) == 0) {
        nuc_buf_char(out, '\\');
        nuc_buf_char(out, c < 0x20 ? letter[1] : letter[0]);
        return;
    }

    if (c >= 0x20 && c != '"' && c != '\\' && !is_surrogate(c) && random_below(8) != 0) {
        put_utf8(out, c);
        return;
    }

    if (c >= 0x10000) {
        nuc_buf_printf(out, hex[random_below(2)], 0xd800 + ((c - 0x10000) >> 10));
        c = 0xdc00 + ((c - 0x10000) & 0x3ff);
    }

    nuc_buf_printf(out, hex[random_below(2)], c);
}

static unsigned make_length(void)
{
    return random_below(16) == 0 ? random_below(60) : random_below(9);
}

static void make_string(maker_t *m)
{
    unsigned n;

    nuc_buf_char(&m->text, '"');

    for (n = make_length(); n > 0; n--) {
        make_character(&m->text, make_code_point());
    }

    nuc_buf_char(&m->text, '"');
}

/* A character of a name, in the text and in the pointer. */
static void make_name_character(maker_t *m, uint32_t c)
{
    make_character(&m->text, c);

    if (c == '~' || c == '/') {
        nuc_buf_printf(&m->path, "~%d", c == '/');
    } else {
        put_utf8(&m->path, c == 0 || is_surrogate(c) ? 0xfffd : c);
    }
}

/* Whether it is an id. */
static int make_name(maker_t *m)
{
    int id;
    unsigned n;
    uint32_t c, before;

    nuc_buf_char(&m->path, '/');
    nuc_buf_char(&m->text, '"');

    id = random_below(4) == 0;

    if (id) {
        make_name_character(m, 'i');
        make_name_character(m, random_below(16) != 0 ? 'd' : 'D');

    } else {
        before = 0;

        for (n = make_length(); n > 0; n--) {
            c = make_code_point();

            /* what two lone surrogates become depends on how they stand */
            if (is_surrogate(c) && is_surrogate(before)) {
                c = 'x';
            }

            make_name_character(m, c);
            before = c;
        }
    }

    nuc_buf_char(&m->text, '"');

    return id;
}

static void make_digits(maker_t *m)
{
    unsigned n;

    for (n = 1 + (random_below(64) == 0 ? random_below(330) : random_below(5)); n > 0;
         n--) {
        nuc_buf_char(&m->text, (char) ('0' + random_below(10)));
    }
}

static void make_number(maker_t *m)
{
    if (random_below(3) == 0) {
        nuc_buf_char(&m->text, '-');
    }

    if (random_below(4) == 0) {
        nuc_buf_char(&m->text, '0');
    } else {
        nuc_buf_char(&m->text, (char) ('1' + random_below(9)));
        make_digits(m);
    }

    if (random_below(3) == 0) {
        nuc_buf_char(&m->text, '.');
        make_digits(m);
    }

    if (random_below(4) == 0) {
        nuc_buf_char(&m->text, "eE"[random_below(2)]);

        if (random_below(2) == 0) {
            nuc_buf_char(&m->text, "+-"[random_below(2)]);
        }

        make_digits(m);
    }
}

static void make_object(maker_t *m, unsigned depth)
{
    int id;
    unsigned n;
    size_t path_len;

    path_len = m->path.len;
    nuc_buf_char(&m->text, '{');
    make_space(m);

    for (n = random_below(5); n > 0; n--) {
        id = make_name(m);
        make_space(m);
        nuc_buf_char(&m->text, ':');
        make_space(m);

        if (id && random_below(2) == 0) {
            make_string(m);
        } else {
            make_value(m, depth);
        }

        make_space(m);
        m->path.len = path_len;

        if (n > 1) {
            nuc_buf_char(&m->text, ',');
            make_space(m);
        }
    }

    nuc_buf_char(&m->text, '}');
}

static void make_array(maker_t *m, unsigned depth)
{
    unsigned i, n;
    size_t path_len;

    path_len = m->path.len;
    n = random_below(16) == 0 ? random_below(30) : random_below(5);
    nuc_buf_char(&m->text, '[');
    make_space(m);

    for (i = 0; i < n; i++) {
        nuc_buf_printf(&m->path, "/%u", i);
        make_value(m, depth);
        make_space(m);
        m->path.len = path_len;

        if (i + 1 < n) {
            nuc_buf_char(&m->text, ',');
            make_space(m);
        }
    }

    nuc_buf_char(&m->text, ']');
}

/* Up to 40 containers in each other, so that no damage reaches NUC_JSON_DEPTH_MAX. */
static void make_deep(maker_t *m)
{
    unsigned n, depth;
    uint64_t kinds;

    kinds = (uint64_t) random_below(UINT32_MAX) << 16;
    depth = 1 + random_below(40);

    for (n = 0; n < depth; n++) {
        nuc_buf_printf(&m->text, kinds >> n & 1 ? "[" : "{\"id\":");
    }

    nuc_buf_char(&m->text, '1');

    while (n-- > 0) {
        nuc_buf_char(&m->text, kinds >> n & 1 ? ']' : '}');
    }
}

/* Perhaps take the value that begins here as the one whose pointer is compared. */
static void make_marked(maker_t *m)
{
    if (random_below(++m->values) == 0) {
        m->marked = m->text.len;
        nuc_buf_reset(&m->pointer);
        nuc_buf_append(&m->pointer, m->path.data, m->path.len);
        nuc_buf_char(&m->pointer, '\0');
    }
}

/* "depth" more containers are allowed. */
static void make_value(maker_t *m, unsigned depth)
{
    uint32_t kind;

    make_marked(m);

    kind = random_below(16);

    if (depth > 0 && kind < 5) {
        make_object(m, depth - 1);
    } else if (depth > 0 && kind < 8) {
        make_array(m, depth - 1);
    } else if (kind < 11) {
        make_number(m);
    } else if (kind < 13) {
        nuc_buf_printf(&m->text, "%s",
                       kind == 12             ? "null"
                       : random_below(2) == 0 ? "true"
                                              : "false");
    } else {
        make_string(m);
    }
}

static void make_document(maker_t *m)
{
    nuc_buf_reset(&m->text);
    nuc_buf_reset(&m->path);
    m->values = 0;

    make_space(m);

    switch (random_below(16)) {
    case 0:
        make_value(m, 4);
        break;
    case 1:
        make_marked(m);
        make_deep(m);
        break;
    case 2:
    case 3:
    case 4:
    case 5:
        make_marked(m);
        make_array(m, 3);
        break;
    default:
        make_marked(m);
        make_object(m, 3);
    }

    make_space(m);
}

/*
 * Damaging them.
 */

static char make_byte(void)
{
    static const char bytes[] =
        "\"\"\\{}[]::,,-+.eE019 tfnu/\r\n\x1f\x7f\x80\xc3\xe0\xed\xf4";

    return random_below(4) == 0 ? (char) random_below(256)
                                : bytes[random_below(sizeof(bytes) - 1)];
}

/* "len" bytes that are not there yet at "at" */
static void insert(nuc_buf_t *text, size_t at, const void *data, size_t len)
{
    if (nuc_buf_reserve(text, len) == NULL) {
        abort();
    }

    memmove(text->data + at + len, text->data + at, text->len - at);
    memcpy(text->data + at, data, len);
    text->len += len;
}

static void damage(nuc_buf_t *text)
{
    char c;
    size_t at, len;
    uint8_t copy[16];

    if (text->len == 0) {
        return;
    }

    at = random_below((uint32_t) text->len);
    c = make_byte();

    switch (random_below(6)) {
    case 0:
        text->data[at] ^= (uint8_t) (1u << random_below(8));
        break;
    case 1:
        text->data[at] = (uint8_t) c;
        break;
    case 2:
        insert(text, at, &c, 1);
        break;
    case 3:
        memmove(text->data + at, text->data + at + 1, text->len - at - 1);
        text->len--;
        break;
    case 4:
        len = 1 + random_below(sizeof(copy));
        len = len < text->len - at ? len : text->len - at;
        memcpy(copy, text->data + at, len);
        insert(text, at, copy, len);
        break;
    default:
        text->len = at;
    }
}

/*
 * jansson's view.
 */

static int hex4(const uint8_t *p, const uint8_t *end, uint32_t *unit)
{
    unsigned i;
    char text[5];

    if (end - p < 6 || p[0] != '\\' || p[1] != 'u') {
        return 0;
    }

    for (i = 0; i < 4; i++) {
        if (strchr("0123456789abcdefABCDEF", p[2 + i]) == NULL || p[2 + i] == '\0') {
            return 0;
        }
    }

    memcpy(text, p + 2, 4);
    text[4] = '\0';
    *unit = (uint32_t) strtoul(text, NULL, 16);

    return 1;
}

/* One character or escape of a string, changed to what jansson takes; returns its bytes.
 */
static size_t adapt_character(nuc_buf_t *out, const uint8_t *p, const uint8_t *end,
                              int name)
{
    size_t len;
    uint32_t unit, low;

    if (!hex4(p, end, &unit)) {
        len = *p == '\\' && end - p > 1 ? 2 : 1;
        nuc_buf_append(out, p, len);
        return len;
    }

    if (unit >= 0xd800 && unit < 0xdc00 && hex4(p + 6, end, &low) && low >= 0xdc00 &&
        low <= 0xdfff) {
        nuc_buf_append(out, p, 12);
        return 12;
    }

    if (is_surrogate(unit)) {
        nuc_buf_printf(out, "\\ufffd");
    } else if (unit == 0 && name) {
        nuc_buf_printf(out, "\\u0001");
    } else {
        nuc_buf_append(out, p, 6);
    }

    return 6;
}

static void adapt(nuc_buf_t *out, nuc_str_t text)
{
    int name;
    const uint8_t *p, *end, *close, *after;

    nuc_buf_reset(out);
    p = text.data;
    end = p + text.len;

    while (p < end) {
        nuc_buf_char(out, *p != 0 ? (char) *p : '\x01');

        if (*p++ != '"') {
            continue;
        }

        for (close = p; close < end && *close != '"'; close++) {
            close += *close == '\\' && end - close > 1;
        }

        after = close < end ? close + 1 : end;
        after += nuc_json_skip_space(after, (size_t) (end - after), 0);
        name = after < end && *after == ':';

        while (p < close) {
            p += adapt_character(out, p, close, name);
        }

        if (close < end) {
            nuc_buf_char(out, '"');
            p++;
        }
    }
}

/* The number beyond a double that ends at "end" becomes 1e0; 0 if there is none. */
static int adapt_number(nuc_buf_t *text, size_t end)
{
    size_t begin, len;
    char number[2048];
    char *rest;

    begin = end;

    while (begin > 0 && strchr("0123456789+-.eE", text->data[begin - 1]) != NULL) {
        begin--;
    }

    len = end - begin;

    if (len < 3 || len >= sizeof(number)) {
        return 0;
    }

    memcpy(number, text->data + begin, len);
    number[len] = '\0';

    if (!isinf(strtod(number, &rest)) || *rest != '\0') {
        return 0;
    }

    memcpy(text->data + begin, "1e0", 3);
    memmove(text->data + begin + 3, text->data + end, text->len - end);
    text->len -= len - 3;

    return 1;
}

/* The tree that jansson makes of "text", or NULL; "scratch" is changed. */
static json_t *load(nuc_str_t text, nuc_buf_t *scratch)
{
    json_t *json;
    json_error_t error;

    adapt(scratch, text);

    for (;;) {
        json = json_loadb((char *) scratch->data, scratch->len, FLAGS, &error);

        if (json != NULL || json_error_code(&error) != json_error_numeric_overflow ||
            !adapt_number(scratch, (size_t) error.position)) {
            return json;
        }
    }
}

/*
 * The comparison.
 */

typedef struct {
    const char *what; /* differs; NULL when nothing does */
    size_t valid, invalid, ids, elements, too_deep, pointers;
    nuc_buf_t scratch, element_scratch, id;
} result_t;

static void differs(result_t *r, const char *what)
{
    if (r->what == NULL) {
        r->what = what;
    }
}

static void compare_id(result_t *r, const nuc_json_value_t *value, const json_t *json)
{
    json_t *id;

    id = json_object_get(json, "id");

    if (value->id.data == NULL || !json_is_string(id)) {
        if (value->id.data != NULL || json_is_string(id)) {
            differs(r, "one of the two has no id");
        }

        return;
    }

    nuc_buf_reset(&r->id);
    nuc_json_unescape(value->id, &r->id);

    if (!nuc_str_eq((nuc_str_t){r->id.data, r->id.len},
                    (nuc_str_t){(const uint8_t *) json_string_value(id),
                                json_string_length(id)})) {
        differs(r, "id");
    }

    r->ids++;
}

/* The slices of an array's elements, one after the other, parse to equal values. */
static void compare_elements(result_t *r, nuc_str_t array, const json_t *json)
{
    size_t i, pos;
    json_t *element;
    nuc_json_value_t value;
    nuc_json_fault_t fault;

    pos = 1;

    for (i = 0; i < json_array_size(json); i++) {
        if (nuc_json_scan(array.data, array.len, &pos, NUC_JSON_DEPTH_MAX, &value,
                          &fault) != NUC_OK) {
            differs(r, "an element is not valid by itself");
            return;
        }

        element = load(value.slice, &r->element_scratch);

        if (element == NULL || !json_equal(element, json_array_get(json, i))) {
            differs(r, "an element's slice");
        }

        json_decref(element);
        r->elements++;
        pos = nuc_json_skip_space(array.data, array.len, pos) + 1; /* comma or ] */
    }

    if (json_array_size(json) != 0 && pos != array.len) {
        differs(r, "the number of elements");
    }
}

/* The offset of the first bracket that opens level "depth" + 1 of a valid text, or its
 * length. */
static size_t find_deeper(nuc_str_t text, unsigned depth)
{
    size_t i;
    int string;
    unsigned open;

    string = 0;
    open = 0;

    for (i = 0; i < text.len; i++) {
        if (string) {
            string = text.data[i] != '"';
            i += text.data[i] == '\\';
            continue;
        }

        string = text.data[i] == '"';

        if ((text.data[i] == '[' || text.data[i] == '{') && open++ == depth) {
            return i;
        }

        open -= text.data[i] == ']' || text.data[i] == '}';
    }

    return text.len;
}

static void compare_depth(result_t *r, nuc_str_t text)
{
    size_t pos, deeper;
    unsigned depth;
    nuc_rc_t rc;
    nuc_json_value_t value;
    nuc_json_fault_t fault;

    pos = 0;
    depth = random_below(8);
    deeper = find_deeper(text, depth);
    rc = nuc_json_scan(text.data, text.len, &pos, depth, &value, &fault);

    if (deeper == text.len) {
        if (rc != NUC_OK) {
            differs(r, "refused at a depth that is allowed");
        }

        return;
    }

    if (rc == NUC_OK || !fault.too_deep || fault.offset != deeper) {
        differs(r, "where it is too deep");
    }

    r->too_deep++;
}

static void compare_valid(result_t *r, nuc_str_t text, const nuc_json_value_t *value,
                          const json_t *json)
{
    r->valid++;
    compare_id(r, value, json);
    compare_depth(r, text);

    if (value->type == '[') {
        compare_elements(r, value->slice, json);
    }

    if ((value->type == '[') != json_is_array(json) ||
        (value->type == '{') != json_is_object(json) ||
        (value->type == '"') != json_is_string(json) ||
        (value->type == 0) != json_is_number(json) ||
        (value->type == 'n') != json_is_null(json)) {
        differs(r, "type");
    }
}

/* The bytes before a fault are the beginning of something valid; with the next one, not.
 */
static void check_fault(result_t *r, nuc_str_t text, const nuc_json_fault_t *fault)
{
    size_t pos;
    nuc_json_value_t value;
    nuc_json_fault_t other;

    r->invalid++;

    if (fault->offset > text.len || fault->too_deep) {
        differs(r, "a fault beyond the end, or too deep");
        return;
    }

    pos = 0;

    if (nuc_json_scan(text.data, fault->offset, &pos, NUC_JSON_DEPTH_MAX, &value,
                      &other) != NUC_OK &&
        (other.offset != fault->offset || strcmp(other.reason, "unexpected end") != 0)) {
        differs(r, "a fault lies before its offset");
    }

    if (fault->offset == text.len) {
        return;
    }

    pos = 0;

    if (nuc_json_scan(text.data, fault->offset + 1, &pos, NUC_JSON_DEPTH_MAX, &value,
                      &other) == NUC_OK ||
        other.offset != fault->offset) {
        differs(r, "a fault lies behind its offset");
    }
}

static void compare(result_t *r, nuc_str_t text)
{
    size_t pos;
    json_t *json;
    nuc_rc_t rc;
    nuc_json_value_t value;
    nuc_json_fault_t fault;

    pos = 0;
    rc = nuc_json_scan(text.data, text.len, &pos, NUC_JSON_DEPTH_MAX, &value, &fault);
    json = load(text, &r->scratch);

    if (rc != NUC_OK) {
        check_fault(r, text, &fault);

        if (json != NULL) {
            differs(r, "only jansson accepts it");
        }

    } else if (nuc_json_skip_space(text.data, text.len, pos) != text.len) {
        r->invalid++;

        if (json != NULL) {
            differs(r, "jansson sees no more behind it");
        }

    } else if (json == NULL) {
        differs(r, "only jansson refuses it");

    } else {
        compare_valid(r, text, &value, json);
    }

    json_decref(json);
}

static void check_pointer(result_t *r, const maker_t *m)
{
    char pointer[8192];

    nuc_json_pointer(m->text.data, m->text.len, m->marked, pointer, sizeof(pointer));

    if (strcmp(pointer, (char *) m->pointer.data) != 0) {
        differs(r, "the pointer of a value");
    }

    r->pointers++;
}

static void show(const result_t *r, unsigned number, nuc_str_t text)
{
    size_t i;
    nuc_buf_t out = NUC_BUF_INIT;

    for (i = 0; i < text.len; i++) {
        if (text.data[i] < 0x20 || text.data[i] >= 0x7f) {
            nuc_buf_printf(&out, "<%02x>", text.data[i]);
        } else {
            nuc_buf_char(&out, (char) text.data[i]);
        }
    }

    nuc_buf_char(&out, '\0');
    diag("document %u, %s: %s", number, r->what, (char *) out.data);
    nuc_buf_free(&out);
}

/* The text in memory of just its size, so that a sanitizer sees a read beyond it. */
static void compare_exact(result_t *r, nuc_buf_t *text)
{
    uint8_t *copy;

    copy = malloc(text->len + (text->len == 0));

    if (copy == NULL || text->failed) {
        abort();
    }

    memcpy(copy, text->data, text->len);
    compare(r, (nuc_str_t){copy, text->len});
    free(copy);
}

int main(void)
{
    unsigned i, n, different;
    uint64_t seed;
    maker_t m = {.text = NUC_BUF_INIT};
    result_t r = {.what = NULL};

    seed = getenv("SEED") != NULL ? strtoull(getenv("SEED"), NULL, 0) : 8259;
    random_state = seed * 0x9e3779b97f4a7c15ULL + 1;
    different = 0;

    for (i = 0; i < CASES; i++) {
        r.what = NULL;
        make_document(&m);

        if (random_below(4) == 0) {
            check_pointer(&r, &m);
        } else {
            for (n = 1 + random_below(3); n > 0; n--) {
                damage(&m.text);
            }
        }

        compare_exact(&r, &m.text);

        if (r.what != NULL && different++ < SHOWN) {
            show(&r, i, (nuc_str_t){m.text.data, m.text.len});
        }
    }

    is_int(different, 0, "%d documents: no difference to jansson, seed %" PRIu64, CASES,
           seed);
    ok(r.valid > CASES / 4, "%zu valid ones", r.valid);
    ok(r.invalid > CASES / 4, "%zu invalid ones, faults where they are", r.invalid);
    ok(r.ids > CASES / 50, "%zu ids", r.ids);
    ok(r.elements > CASES / 8, "%zu elements of arrays", r.elements);
    ok(r.too_deep > CASES / 50, "%zu too deep", r.too_deep);
    ok(r.pointers > CASES / 8, "%zu pointers", r.pointers);

    nuc_buf_free(&m.text);
    nuc_buf_free(&m.path);
    nuc_buf_free(&m.pointer);
    nuc_buf_free(&r.scratch);
    nuc_buf_free(&r.element_scratch);
    nuc_buf_free(&r.id);

    return tap_done();
}
