/*
 * UUIDs (RFC 9562): writers, records without an id of their own, names of output files.
 */

#ifndef NUC_UUID_H
#define NUC_UUID_H

#include <stddef.h>
#include <stdint.h>

#include "nuc_err.h"
#include "nuc_str.h"

#define NUC_UUID_TEXT_LEN 36

typedef struct {
    uint8_t b[16];
} nuc_uuid_t;

/*
 * A source of UUIDv7 (RFC 9562, sections 5.7 and 6.2, method 1): 48 bits of milliseconds,
 * a counter of 12 bits that starts anew at random each millisecond, 62 random bits.
 * Increasing within one source, whatever the clock does.  Not for several threads, not
 * across a fork.
 */
typedef struct {
    uint64_t last_ms;
    uint16_t counter;
    uint16_t left; /* random bytes not used yet */
    uint8_t random[1024];
} nuc_uuid_source_t;

void nuc_uuid_source_init(nuc_uuid_source_t *source);

/* "now" in µs since 1970.  Fails (NUC_IO) only if the system has no random bytes to give.
 */
nuc_rc_t nuc_uuid_v7(nuc_uuid_source_t *source, uint64_t now, nuc_uuid_t *uuid,
                     nuc_err_t *err);

/* Writes 36 characters, no zero, and returns the end. */
char *nuc_uuid_format(const nuc_uuid_t *uuid, char *text);

/* NUC_INVALID unless "text" is 36 characters of the canonical lower-case form. */
nuc_rc_t nuc_uuid_parse(nuc_str_t text, nuc_uuid_t *uuid);

int nuc_uuid_cmp(const nuc_uuid_t *a, const nuc_uuid_t *b);

#endif /* NUC_UUID_H */
