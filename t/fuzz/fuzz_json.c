/*
 * The JSON scanner: jansson's view of the same bytes, and the pointer (RFC 6901) of a
 * place in them against a recursive walk.
 *
 * Input: two bytes of choices (a depth, the place's distance from the end), then the
 * text.
 */

#include "fuzz.h"
#include "json_oracle.h"

#define POINTER_LEN 16384
#define TEXT_MAX    4096 /* bytes, so that a pointer of a valid text is never cut */

/* The walk: finds the innermost value that holds the byte at "offset". */
typedef struct {
    const uint8_t *data;
    size_t len;
    size_t offset;
    nuc_buf_t path;  /* of the value that is walked */
    nuc_buf_t found; /* the pointer */
    int either;      /* where an empty array may begin or end: both pointers are right */
} walk_t;

static size_t walk_value(walk_t *w, size_t pos);

static size_t walk_space(const walk_t *w, size_t pos)
{
    while (pos < w->len && strchr(" \t\r\n", w->data[pos]) != NULL && w->data[pos] != 0) {
        pos++;
    }

    return pos;
}

/* Behind the string at "pos". */
static size_t walk_string(const walk_t *w, size_t pos)
{
    for (pos++; w->data[pos] != '"'; pos++) {
        pos += w->data[pos] == '\\';
    }

    return pos + 1;
}

static void walk_name(walk_t *w, nuc_str_t name)
{
    size_t i;
    nuc_buf_t text = NUC_BUF_INIT;

    nuc_json_unescape(name, &text);
    nuc_buf_char(&w->path, '/');

    for (i = 0; i < text.len; i++) {
        switch (text.data[i]) {
        case '~':
            nuc_buf_append(&w->path, "~0", 2);
            break;
        case '/':
            nuc_buf_append(&w->path, "~1", 2);
            break;
        case '\0':
            nuc_buf_append(&w->path, "\xef\xbf\xbd", 3);
            break;
        default:
            nuc_buf_char(&w->path, (char) text.data[i]);
        }
    }

    nuc_buf_free(&text);
}

/* The value that begins, with white space before it, at "pos": the path is its own. */
static size_t walk_part(walk_t *w, size_t pos)
{
    size_t end;

    if (w->offset >= pos) {
        nuc_buf_reset(&w->found);
        nuc_buf_append(&w->found, w->path.data, w->path.len);
    }

    end = walk_value(w, walk_space(w, pos));

    return end;
}

/* Behind a member or an element the innermost value is the container again. */
static void walk_leave(walk_t *w, size_t end, size_t path_len)
{
    w->path.len = path_len;

    if (w->offset >= end) {
        nuc_buf_reset(&w->found);
        nuc_buf_append(&w->found, w->path.data, w->path.len);
    }
}

static size_t walk_members(walk_t *w, size_t pos)
{
    size_t begin, end, path_len;

    path_len = w->path.len;

    do {
        begin = walk_space(w, pos + 1);
        end = walk_string(w, begin);
        walk_name(w, (nuc_str_t){w->data + begin + 1, end - begin - 2});
        pos = walk_part(w, walk_space(w, end) + 1);
        walk_leave(w, pos, path_len);
        pos = walk_space(w, pos);
    } while (w->data[pos] == ',');

    return pos + 1;
}

static size_t walk_elements(walk_t *w, size_t pos)
{
    unsigned i;
    size_t path_len;

    path_len = w->path.len;
    i = 0;

    do {
        nuc_buf_printf(&w->path, "/%u", i++);
        pos = walk_part(w, pos + 1);
        walk_leave(w, pos, path_len);
        pos = walk_space(w, pos);
    } while (w->data[pos] == ',');

    return pos + 1;
}

static size_t walk_empty(walk_t *w, size_t pos, size_t inside)
{
    w->either |= w->data[pos] == '[' && w->offset > pos && w->offset < inside;

    return inside + 1;
}

static size_t walk_scalar(const walk_t *w, size_t pos)
{
    while (pos < w->len && strchr("+-.0123456789Eaeflnrstu", w->data[pos]) != NULL &&
           w->data[pos] != 0) {
        pos++;
    }

    return pos;
}

static size_t walk_value(walk_t *w, size_t pos)
{
    size_t inside;

    switch (w->data[pos]) {
    case '{':
    case '[':
        inside = walk_space(w, pos + 1);

        if (w->data[inside] == ']' || w->data[inside] == '}') {
            return walk_empty(w, pos, inside);
        }

        return w->data[pos] == '[' ? walk_elements(w, pos) : walk_members(w, pos);
    case '"':
        return walk_string(w, pos);
    }

    return walk_scalar(w, pos);
}

/* Is "pointer" what RFC 6901 calls one, in UTF-8, and does it end in its room? */
static void check_syntax(const char *pointer, size_t size)
{
    size_t i, len;

    len = strnlen(pointer, size);
    FUZZ_CHECK(len < size, "a pointer without its zero");
    FUZZ_CHECK(len == 0 || pointer[0] == '/', "a pointer that begins with \"%c\"",
               pointer[0]);

    for (i = 0; i < len; i++) {
        FUZZ_CHECK(pointer[i] != '~' || pointer[i + 1] == '0' || pointer[i + 1] == '1',
                   "\"~%c\" in a pointer", pointer[i + 1]);
    }
}

/* A shorter one is the same, cut before a reference token. */
static void check_cut(nuc_str_t text, size_t offset, const char *whole, size_t size)
{
    size_t len;
    char *cut;

    cut = fuzz_alloc(size);
    nuc_json_pointer(text.data, text.len, offset, cut, size);
    check_syntax(cut, size);

    len = strlen(cut);
    FUZZ_CHECK(strncmp(cut, whole, len) == 0 && (whole[len] == '/' || whole[len] == '\0'),
               "\"%s\" is not the beginning of \"%s\"", cut, whole);
    free(cut);
}

static void check_valid_pointer(nuc_str_t text, size_t begin, size_t end, size_t offset,
                                const char *pointer)
{
    walk_t w = {.data = text.data, .len = text.len, .offset = offset};

    walk_value(&w, begin);
    nuc_buf_char(&w.found, '\0');

    /* the place of a scalar's end, and behind the whole, is nobody's */
    if (offset < end && !w.either) {
        FUZZ_CHECK(strcmp((char *) w.found.data, pointer) == 0,
                   "the pointer of byte %zu is \"%s\", not \"%s\"", offset,
                   (char *) w.found.data, pointer);
    }

    nuc_buf_free(&w.path);
    nuc_buf_free(&w.found);
}

static void check_pointer(nuc_str_t text, unsigned distance)
{
    size_t pos, offset;
    nuc_rc_t rc;
    nuc_json_value_t value;
    nuc_json_fault_t fault;
    char *pointer;

    pos = 0;
    rc = nuc_json_scan(text.data, text.len, &pos, NUC_JSON_DEPTH_MAX, &value, &fault);
    offset = rc != NUC_OK ? fault.offset : pos - (pos < distance ? pos : distance);

    pointer = fuzz_alloc(POINTER_LEN);
    nuc_json_pointer(text.data, text.len, offset, pointer, POINTER_LEN);
    check_syntax(pointer, POINTER_LEN);
    check_cut(text, offset, pointer, 1 + distance % 40);

    if (rc == NUC_OK) {
        check_valid_pointer(text, (size_t) (value.slice.data - text.data), pos, offset,
                            pointer);
    }

    free(pointer);
}

/* White space around a value is not its own, and the slices lie where they should. */
static void check_slices(nuc_str_t text)
{
    size_t pos;
    nuc_json_value_t value;
    nuc_json_fault_t fault;
    const uint8_t *end;

    pos = 0;

    if (nuc_json_scan(text.data, text.len, &pos, NUC_JSON_DEPTH_MAX, &value, &fault) !=
        NUC_OK) {
        FUZZ_CHECK(fault.offset <= text.len && fault.reason != NULL &&
                       *fault.reason != '\0',
                   "a fault without place or reason");
        return;
    }

    end = text.data + pos;
    FUZZ_CHECK(value.slice.len > 0 && value.slice.data + value.slice.len == end,
               "the slice does not end where the scan does");
    FUZZ_CHECK(value.slice.data ==
                   text.data + nuc_json_skip_space(text.data, text.len, 0),
               "the slice does not begin at the value");

    if (value.id.data != NULL) {
        FUZZ_CHECK(value.type == '{' && value.id.data > value.slice.data &&
                       value.id.data[-1] == '"' && value.id.data + value.id.len < end &&
                       value.id.data[value.id.len] == '"',
                   "the id lies elsewhere");
        FUZZ_CHECK(value.id_escaped ==
                       (memchr(value.id.data, '\\', value.id.len) != NULL),
                   "the id's escapes");
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    unsigned depth, distance;
    nuc_str_t text;
    fuzz_input_t in = {data, data + len};
    json_oracle_t oracle = {.what = NULL};

    depth = fuzz_take_below(&in, 8);
    distance = (unsigned) fuzz_take(&in, 1);
    text = fuzz_take_bytes(&in, TEXT_MAX);
    text = fuzz_copy(text.data, text.len);

    json_oracle_compare(&oracle, text, depth);
    FUZZ_CHECK(oracle.what == NULL, "the scanner and jansson differ: %s", oracle.what);
    json_oracle_free(&oracle);

    check_slices(text);
    check_pointer(text, distance);
    fuzz_free(text);

    return 0;
}
