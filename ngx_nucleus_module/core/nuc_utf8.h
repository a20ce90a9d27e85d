/*
 * UTF-8 (RFC 3629, section 4).
 */

#ifndef NUC_UTF8_H
#define NUC_UTF8_H

#include <stddef.h>
#include <stdint.h>

/*
 * The length of the sequence that begins at "p", whose first byte is over 0x7f, up to
 * "end". *valid = 0: the length of its sound beginning; the byte behind that, if there is
 * one, is wrong.  0 means that the first byte begins nothing.
 */
static inline size_t nuc_utf8_sequence(const uint8_t *p, const uint8_t *end, int *valid)
{
    size_t i, len;
    uint8_t low, high;

    *valid = 0;

    if (*p < 0xc2 || *p > 0xf4) {
        return 0;
    }

    len = *p < 0xe0 ? 2 : *p < 0xf0 ? 3 : 4;
    low = *p == 0xe0 ? 0xa0 : *p == 0xf0 ? 0x90 : 0x80; /* no overlong forms */
    high = *p == 0xed   ? 0x9f
           : *p == 0xf4 ? 0x8f
                        : 0xbf; /* no surrogates, nor over U+10FFFF */

    for (i = 1; i < len; i++) {
        if (p + i == end || p[i] < low || p[i] > high) {
            return i;
        }

        low = 0x80;
        high = 0xbf;
    }

    *valid = 1;
    return len;
}

#endif /* NUC_UTF8_H */
