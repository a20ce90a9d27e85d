/*
 * The JSON scanner against jansson (see json_oracle.h), for documents that are made at
 * random and then damaged.
 *
 * SEED=n begins elsewhere.
 */

#include <inttypes.h>
#include <stdlib.h>

#include "json_oracle.h"
#include "tap.h"

#define CASES 250000
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

static void check_pointer(json_oracle_t *r, const maker_t *m)
{
    char pointer[8192];

    nuc_json_pointer(m->text.data, m->text.len, m->marked, pointer, sizeof(pointer));

    if (strcmp(pointer, (char *) m->pointer.data) != 0) {
        r->what = "the pointer of a value";
    }

    r->pointers++;
}

static void show(const json_oracle_t *r, unsigned number, nuc_str_t text)
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
static void compare_exact(json_oracle_t *r, nuc_buf_t *text)
{
    uint8_t *copy;

    copy = malloc(text->len + (text->len == 0));

    if (copy == NULL || text->failed) {
        abort();
    }

    memcpy(copy, text->data, text->len);
    json_oracle_compare(r, (nuc_str_t){copy, text->len}, random_below(8));
    free(copy);
}

int main(void)
{
    unsigned i, n, different;
    uint64_t seed;
    maker_t m = {.text = NUC_BUF_INIT};
    json_oracle_t r = {.what = NULL};

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
    json_oracle_free(&r);

    return tap_done();
}
