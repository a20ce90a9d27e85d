/*
 * A buffer that grows by doubling.  Every append may fail for want of memory; the failure
 * is remembered, later appends do nothing, and the caller checks once, at the end.
 */

#ifndef NUC_BUF_H
#define NUC_BUF_H

#include "nuc_str.h"

typedef struct {
    uint8_t *data;
    size_t len;      /* bytes in use */
    size_t capacity; /* bytes allocated */
    int failed;      /* an allocation failed since the last reset */
} nuc_buf_t;

#define NUC_BUF_INIT ((nuc_buf_t){NULL, 0, 0, 0})

/* Room for "more" further bytes after len, or NULL; the caller adds to len what it wrote.
 */
uint8_t *nuc_buf_reserve(nuc_buf_t *buf, size_t more);

void nuc_buf_append(nuc_buf_t *buf, const void *data, size_t len);
void nuc_buf_str(nuc_buf_t *buf, nuc_str_t s);
void nuc_buf_char(nuc_buf_t *buf, char c);
void nuc_buf_printf(nuc_buf_t *buf, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/*
 * "s" as a JSON string with its quotes (RFC 8259, section 7).  Bytes that are not UTF-8
 * become U+FFFD, so that the output is JSON whatever came in.
 */
void nuc_buf_json(nuc_buf_t *buf, nuc_str_t s);

/* Forget the contents and a failure, keep the memory. */
void nuc_buf_reset(nuc_buf_t *buf);
void nuc_buf_free(nuc_buf_t *buf);

#endif /* NUC_BUF_H */
