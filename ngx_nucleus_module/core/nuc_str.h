/*
 * A slice of bytes that somebody else owns.  Not terminated by zero.
 */

#ifndef NUC_STR_H
#define NUC_STR_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef struct {
    const uint8_t *data; /* NULL when the thing is absent */
    size_t len;          /* bytes */
} nuc_str_t;

#define NUC_STR(literal) ((nuc_str_t){(const uint8_t *) (literal), sizeof(literal) - 1})
#define NUC_STR_NONE     ((nuc_str_t){NULL, 0})

static inline nuc_str_t nuc_str(const char *s)
{
    return (nuc_str_t){(const uint8_t *) s, strlen(s)};
}

static inline int nuc_str_eq(nuc_str_t a, nuc_str_t b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

#endif /* NUC_STR_H */
