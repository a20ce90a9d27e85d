/*
 * The JSON scanner against jansson: the same verdict, the same id and equal elements, for
 * documents made at random and then damaged.
 *
 * jansson differs in four known ways.  It refuses lone surrogates, U+0000 in a member's name, and
 * numbers beyond a double; the copy that it is given has U+FFFD, U+0001 and 1 in their places,
 * so that all the rest is still compared.  Its depth is limited elsewhere; where ours is
 * exceeded, the brackets are counted.
 *
 * SEED=n begins elsewhere.
 */

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>

#include "nuc_json.h"
#include "tap.h"

#define CASES     250000
#define DEPTH_MAX 64
#define FLAGS     (JSON_DECODE_ANY | JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL)

static uint64_t random_state;

/* xorshift64* */
static uint32_t random_below(uint32_t n)
{
    random_state ^= random_state >> 12;
    random_state ^= random_state << 25;
    random_state ^= random_state >> 27;

    return (uint32_t) ((random_state * 2685821657736338717ULL) >> 32) % n;
}

/* A document as it is made, and the value in it whose pointer is known. */
typedef struct {
    nuc_buf_t text;
    nuc_buf_t path; /* the pointer of the value being made */
    unsigned values;
    size_t marked;
    char pointer[4096]; /* of the value at "marked" */
} maker_t;

static void make_value(maker_t *m, unsigned depth);

static void make_space(maker_t *m)
{
    while (random_below(8) == 0) {
        nuc_buf_char(&m->text, " \t\r\n"[random_below(4)]);
    }
}

/* A code point's UTF-8 */
static size_t encode(uint32_t c, char *out)
{
    if (c < 0x80) {
        out[0] = (char) c;
        return 1;
    }

    if (c < 0x800) {
        out[0] = (char) (0xc0 | c >> 6);
        out[1] = (char) (0x80 | (c & 0x3f));
        return 2;
    }

    if (c < 0x10000) {
        out[0] = (char) (0xe0 | c >> 12);
        out[1] = (char) (0x80 | (c >> 6 & 0x3f));
        out[2] = (char) (0x80 | (c & 0x3f));
        return 3;
    }

    out[0] = (char) (0xf0 | c >> 18);
    out[1] = (char) (0x80 | (c >> 12 & 0x3f));
    out[2] = (char) (0x80 | (c >> 6 & 0x3f));
    out[3] = (char) (0x80 | (c & 0x3f));

    return 4;
}

static uint32_t make_code_point(void)
{
    static const uint32_t edges[] = {0x7f,   0x80,   0x7ff,   0x800,   0xd7ff,
                                     0xe000, 0xffff, 0x10000, 0x10ffff};
    uint32_t c;

    switch (random_below(6)) {
    case 0:
        return edges[random_below(sizeof(edges) / sizeof(edges[0]))];
    case 1:
        do {
            c = random_below(0x110000);
        } while (c >= 0xd800 && c <= 0xdfff);

        return c;
    case 2:
        return random_below(0x800);
    default:
        return 0x20 + random_below(0x60);
    }
}

/* "c" as it is, or as an escape */
static void make_character(maker_t *m, uint32_t c)
{
    char utf8[4];
    static const char *const hex[] = {"\\u%04x", "\\u%04X"};
    static const char letters[] = "\"\\/\bb\fg\nn\rr\tt"; /* what \b .. \t are follows each */
    const char *letter;

    letter = strchr("\"\\/", (int) (c < 0x80 ? c : 0));

    if (c != 0 && letter != NULL && *letter != '\0' && random_below(2) == 0) {
        nuc_buf_printf(&m->text, "\\%c", (char) c);

    } else if (c < 0x20 && c >= 8 && c != 11 && c < 14 && random_below(2) == 0) {
        nuc_buf_printf(&m->text, "\\%c", "btn?fr"[c - 8]);

    } else if (c < 0x20 || c == '"' || c == '\\' || random_below(8) == 0) {
        if (c >= 0x10000) {
            nuc_buf_printf(&m->text, hex[0], 0xd800 + ((c - 0x10000) >> 10));
            c = 0xdc00 + ((c - 0x10000) & 0x3ff);
        }

        nuc_buf_printf(&m->text, hex[random_below(2)], c);

    } else {
        nuc_buf_append(&m->text, utf8, encode(c, utf8));
    }

    (void) letters;
}
