/*
 * jansson's view of a text, against the scanner's: the same verdict, the same id, equal
 * elements, faults where they are.
 *
 * jansson refuses three things that RFC 8259 lets pass: a lone surrogate, U+0000 in a
 * member's name, a number beyond a double.  It overlooks one that RFC 8259 refuses: a
 * zero byte behind a number or a literal.  The copy that it is given has U+FFFD, U+0001,
 * 1e0 and the byte 0x01 in their places, so that all the rest is still compared.
 */

#ifndef JSON_ORACLE_H
#define JSON_ORACLE_H

#include "nuc_json.h"

typedef struct {
    const char *what; /* differs; NULL when nothing does */
    size_t valid, invalid, ids, elements, too_deep, pointers;
    nuc_buf_t scratch, element_scratch, id;
} json_oracle_t;

/*
 * Compare what both say of "text"; a valid one is scanned once more with at most "depth"
 * nested containers.  The first difference is noted in oracle->what.
 */
void json_oracle_compare(json_oracle_t *oracle, nuc_str_t text, unsigned depth);

void json_oracle_free(json_oracle_t *oracle);

#endif /* JSON_ORACLE_H */
