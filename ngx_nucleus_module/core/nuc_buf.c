#include "nuc_buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "nuc_utf8.h"

#define NUC_BUF_FIRST 256 /* bytes of the first allocation */

uint8_t *nuc_buf_reserve(nuc_buf_t *buf, size_t more)
{
    size_t capacity;
    uint8_t *data;

    if (buf->failed) {
        return NULL;
    }

    if (buf->data != NULL && more <= buf->capacity - buf->len) {
        return buf->data + buf->len;
    }

    if (more > SIZE_MAX / 2 - buf->len) {
        buf->failed = 1;
        return NULL;
    }

    capacity = buf->capacity != 0 ? buf->capacity : NUC_BUF_FIRST;

    while (capacity < buf->len + more) {
        capacity *= 2;
    }

    data = realloc(buf->data, capacity);

    if (data == NULL) {
        buf->failed = 1;
        return NULL;
    }

    buf->data = data;
    buf->capacity = capacity;

    return data + buf->len;
}

void nuc_buf_append(nuc_buf_t *buf, const void *data, size_t len)
{
    uint8_t *end;

    if (len == 0) {
        return;
    }

    end = nuc_buf_reserve(buf, len);

    if (end != NULL) {
        memcpy(end, data, len);
        buf->len += len;
    }
}

void nuc_buf_str(nuc_buf_t *buf, nuc_str_t s)
{
    nuc_buf_append(buf, s.data, s.len);
}

void nuc_buf_char(nuc_buf_t *buf, char c)
{
    nuc_buf_append(buf, &c, 1);
}

void nuc_buf_printf(nuc_buf_t *buf, const char *fmt, ...)
{
    int len;
    char *end;
    va_list args;

    va_start(args, fmt);
    len = vsnprintf(NULL, 0, fmt, args);
    va_end(args);

    if (len < 0) {
        buf->failed = 1;
        return;
    }

    end = (char *) nuc_buf_reserve(buf, (size_t) len + 1);

    if (end == NULL) {
        return;
    }

    va_start(args, fmt);
    vsnprintf(end, (size_t) len + 1, fmt, args);
    va_end(args);

    buf->len += (size_t) len;
}

/* What a byte of a string asks for: 0 nothing, 'u' a \u00XX, 'm' a look at its multi-byte
   sequence, else the letter behind the backslash. */
static const char nuc_json_escape[256] = {
    [0 ... 7] = 'u', ['\b'] = 'b',  ['\t'] = 't',          ['\n'] = 'n',
    [0x0b] = 'u',    ['\f'] = 'f',  ['\r'] = 'r',          [0x0e ... 0x1f] = 'u',
    ['"'] = '"',     ['\\'] = '\\', [0x80 ... 0xff] = 'm',
};

/* Append the byte at p escaped, or its multi-byte sequence; returns the bytes taken. */
static size_t nuc_buf_json_special(nuc_buf_t *buf, const uint8_t *p, const uint8_t *end)
{
    static const char hex[] = "0123456789abcdef";
    size_t len;
    int valid;
    char escape, text[6];

    escape = nuc_json_escape[*p];

    switch (escape) {
    case 'm':
        len = nuc_utf8_sequence(p, end, &valid);

        if (valid) {
            nuc_buf_append(buf, p, len);
            return len;
        }

        nuc_buf_append(buf, "\xef\xbf\xbd", 3);
        return len != 0 ? len : 1;

    case 'u':
        memcpy(text, "\\u00", 4);
        text[4] = hex[*p >> 4];
        text[5] = hex[*p & 15];
        nuc_buf_append(buf, text, 6);
        return 1;

    default:
        text[0] = '\\';
        text[1] = escape;
        nuc_buf_append(buf, text, 2);
        return 1;
    }
}

void nuc_buf_json(nuc_buf_t *buf, nuc_str_t s)
{
    const uint8_t *p, *plain, *end;

    nuc_buf_char(buf, '"');

    if (s.len != 0) {
        p = plain = s.data;
        end = s.data + s.len;

        while (p < end) {
            if (nuc_json_escape[*p] == 0) {
                p++;
                continue;
            }

            nuc_buf_append(buf, plain, (size_t) (p - plain));
            p += nuc_buf_json_special(buf, p, end);
            plain = p;
        }

        nuc_buf_append(buf, plain, (size_t) (p - plain));
    }

    nuc_buf_char(buf, '"');
}

void nuc_buf_reset(nuc_buf_t *buf)
{
    buf->len = 0;
    buf->failed = 0;
}

void nuc_buf_free(nuc_buf_t *buf)
{
    free(buf->data);
    *buf = NUC_BUF_INIT;
}
