#include "nuc_json.h"

#include <stdio.h>

/* A container on the way from the whole to the fault. */
typedef struct {
    nuc_str_t name; /* of the member last seen, between its quotes */
    size_t index;   /* of an array's element */
    int array;
    int inside; /* in the member or element, rather than before or behind it */
} nuc_json_level_t;

typedef struct {
    const uint8_t *data;
    size_t offset; /* of the fault: the bytes before it are the beginning of valid JSON */
    int last;      /* the byte there, or -1 at the end of the data */
    int opened;    /* an array, and nothing in it yet */
    unsigned depth;
    nuc_json_level_t
        levels[NUC_JSON_DEPTH_MAX + 1]; /* an event's, and an array around it */
} nuc_json_path_t;

static int nuc_json_is_delimiter(int c)
{
    return c == -1 || strchr("[]{}:,\" \t\r\n", c) != NULL;
}

/* Behind the string whose opening quote is at "pos"; 0 when the fault is within it. */
static size_t nuc_json_path_string(nuc_json_path_t *path, size_t pos)
{
    size_t begin;
    nuc_json_level_t *level;

    begin = ++pos;

    while (pos < path->offset && path->data[pos] != '"') {
        pos += path->data[pos] == '\\' ? 2 : 1;
    }

    if (pos >= path->offset) {
        return 0;
    }

    if (path->depth != 0) {
        level = &path->levels[path->depth - 1];

        if (!level->inside) {
            level->name = (nuc_str_t){path->data + begin, pos - begin};
        }

        level->inside = 0;
    }

    return pos + 1;
}

/* Whether a number or literal lacks nothing. */
static int nuc_json_is_whole(const uint8_t *scalar, size_t len)
{
    switch (*scalar) {
    case 't':
    case 'n':
        return len == 4;
    case 'f':
        return len == 5;
    }

    return scalar[len - 1] >= '0' && scalar[len - 1] <= '9';
}

/* The same for a number or a literal; what is glued to one belongs to it. */
static size_t nuc_json_path_scalar(nuc_json_path_t *path, size_t pos)
{
    size_t begin;

    begin = pos;

    while (pos < path->offset && !nuc_json_is_delimiter(path->data[pos])) {
        pos++;
    }

    if (pos == path->offset && !(nuc_json_is_delimiter(path->last) &&
                                 nuc_json_is_whole(path->data + begin, pos - begin))) {
        return 0;
    }

    if (path->depth != 0) {
        path->levels[path->depth - 1].inside = 0;
    }

    return pos;
}

/* One token; returns where the next begins, or 0 when the fault is within it. */
static size_t nuc_json_path_token(nuc_json_path_t *path, size_t pos)
{
    uint8_t c;
    nuc_json_level_t *level;

    c = path->data[pos];
    level = path->depth != 0 ? &path->levels[path->depth - 1] : NULL;

    if (strchr(" \t\r\n", c) != NULL) {
        return pos + 1;
    }

    path->opened = c == '[';

    switch (c) {

    case '"':
        return nuc_json_path_string(path, pos);

    case '{':
    case '[':
        if (path->depth == NUC_JSON_DEPTH_MAX + 1) {
            return 0;
        }

        path->levels[path->depth++] =
            (nuc_json_level_t){.array = c == '[', .inside = c == '['};
        break;

    case '}':
    case ']':
        if (path->depth != 0 && --path->depth != 0) {
            path->levels[path->depth - 1].inside = 0;
        }

        break;

    case ':':
        if (level != NULL) {
            level->inside = 1;
        }

        break;

    case ',':
        if (level != NULL) {
            level->inside = level->array;
            level->index++;
        }

        break;

    default:
        return nuc_json_path_scalar(path, pos);
    }

    return pos + 1;
}

/* Append one reference token with its slash; 0, and "out" as it was, when it doesn't fit.
 */
static size_t nuc_json_write_name(nuc_str_t name, char *out, size_t size)
{
    size_t len, used;
    const uint8_t *p, *end;
    uint8_t text[4];

    used = 0;
    out[used++] = '/';
    p = name.data;
    end = p + name.len;

    while (p < end) {
        text[0] = *p;
        len = 1;

        if (*p == '\\') {
            len = nuc_json_resolve(&p, end, text);
        } else {
            p++;
        }

        if (text[0] == '~' || text[0] == '/') {
            text[1] = text[0] == '~' ? '0' : '1';
            text[0] = '~';
            len = 2;

        } else if (text[0] == '\0') {
            memcpy(text, "\xef\xbf\xbd", 3); /* the pointer ends by a zero */
            len = 3;
        }

        if (used + len >= size) {
            return 0;
        }

        memcpy(out + used, text, len);
        used += len;
    }

    return used;
}

static size_t nuc_json_write_index(size_t index, char *out, size_t size)
{
    int len;

    len = snprintf(out, size, "/%zu", index);

    return len > 0 && (size_t) len < size ? (size_t) len : 0;
}

static void nuc_json_write_pointer(const nuc_json_path_t *path, char *out, size_t size)
{
    unsigned i;
    size_t len, used;
    const nuc_json_level_t *level;

    used = 0;

    for (i = 0; i < path->depth && path->levels[i].inside; i++) {
        level = &path->levels[i];

        if (size - used < sizeof("/")) {
            break;
        }

        len = level->array ? nuc_json_write_index(level->index, out + used, size - used)
                           : nuc_json_write_name(level->name, out + used, size - used);

        if (len == 0) {
            break;
        }

        used += len;
    }

    out[used] = '\0';
}

void nuc_json_pointer(const uint8_t *data, size_t len, size_t offset, char *out,
                      size_t size)
{
    size_t pos, next;
    nuc_json_path_t path;

    if (size == 0) {
        return;
    }

    path.data = data;
    path.offset = offset < len ? offset : len;
    path.last = offset < len ? data[offset] : -1;
    path.opened = 0;
    path.depth = 0;

    for (pos = 0; pos < path.offset; pos = next) {
        next = nuc_json_path_token(&path, pos);

        if (next == 0) {
            break;
        }
    }

    /* an array may end where its first element may begin */
    if (path.opened && (path.last == -1 || path.last == ']')) {
        path.levels[path.depth - 1].inside = 0;
    }

    nuc_json_write_pointer(&path, out, size);
}
