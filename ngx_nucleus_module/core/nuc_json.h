/*
 * A validating scanner for JSON (RFC 8259) in UTF-8 (RFC 3629): one pass, no allocation,
 * no tree. It answers whether the bytes are a JSON value, where it ends, and where the
 * client's id lies.
 */

#ifndef NUC_JSON_H
#define NUC_JSON_H

#include "nuc_buf.h"
#include "nuc_err.h"
#include "nuc_str.h"

#define NUC_JSON_DEPTH_MAX 512 /* the most that a caller may allow */

typedef struct {
    nuc_str_t slice; /* the value, without the white space around it */
    nuc_str_t id; /* the last top-level member "id" that is a string, between its quotes,
                     escapes as written; absent when there is none */
    char type;    /* first byte of the value: { [ " t f n, or 0 for a number */
    unsigned id_escaped : 1; /* the id has escapes: nuc_json_unescape */
} nuc_json_value_t;

typedef struct {
    size_t offset;      /* where, in bytes from "data" */
    const char *reason; /* what is wrong, lower-case, static */
    int too_deep;       /* the only fault is the depth */
} nuc_json_fault_t;

/* The offset of the first byte at or after "pos" that is not white space, or "len". */
size_t nuc_json_skip_space(const uint8_t *data, size_t len, size_t pos);

/*
 * Scan the value that begins at data[*pos] (white space before it is skipped) and move
 * *pos behind it.  "depth_max" counts nested arrays and objects, 1 for [] (at most
 * NUC_JSON_DEPTH_MAX).  NUC_INVALID fills "fault".
 */
nuc_rc_t nuc_json_scan(const uint8_t *data, size_t len, size_t *pos, unsigned depth_max,
                       nuc_json_value_t *value, nuc_json_fault_t *fault);

/*
 * Append the text of a string that the scanner accepted (between its quotes) with its
 * escapes resolved.  A lone surrogate, which RFC 8259 section 8.2 lets pass, becomes
 * U+FFFD.
 */
void nuc_json_unescape(nuc_str_t string, nuc_buf_t *out);

/*
 * Resolve the escape at *p, a backslash in such a string, up to "end": write one to four
 * bytes of UTF-8, return their number and move *p behind what they stand for.
 */
size_t nuc_json_resolve(const uint8_t **p, const uint8_t *end, uint8_t out[4]);

/*
 * The JSON pointer (RFC 6901) of the innermost value that contains data[offset], for an
 * error message: "" is the whole.  A value that a colon or an array's comma announces
 * begins there, so that a pointer names the one that is missing.  Slow, for error paths;
 * the data up to "offset" is the beginning of valid JSON.  A pointer longer than "size" -
 * 1 is cut at a reference token.  U+0000 in a name becomes U+FFFD, since the pointer ends
 * by a zero.
 */
void nuc_json_pointer(const uint8_t *data, size_t len, size_t offset, char *out,
                      size_t size);

#endif /* NUC_JSON_H */
