/*
 * What the headers of a request say about its key.  Pure: nothing is looked up, and what
 * is good here proves nothing yet.
 *
 *     Authorization: Bearer KEY           RFC 6750, section 2.1
 *     Authorization: Basic BASE64         RFC 7617, section 2: of ID:SECRET+SUM,
 *                                         ID:KEY or KEY:
 *     Authorization: KEY                  Caliper's sensors
 *     X-API-Key: KEY
 *     ?NAME=KEY                           where a location allows it
 *
 * Schemes are of any case; spaces and tabs around a value and spaces behind a scheme are
 * nothing (RFC 9110, sections 5.5 and 11.4).  Nothing else is tolerated.
 */

#ifndef NUC_CREDENTIALS_H
#define NUC_CREDENTIALS_H

#include "nuc_key.h"
#include "nuc_str.h"

/* Bytes that Basic is decoded into: the id, a colon and a whole key, in groups of three.
 */
#define NUC_CREDENTIALS_SCRATCH 81

typedef enum {
    NUC_CREDENTIALS_GOOD = 0,
    NUC_CREDENTIALS_NONE,      /* an empty value: as if it were not there */
    NUC_CREDENTIALS_SCHEME,    /* Digest, Negotiate, ...: none that is known here */
    NUC_CREDENTIALS_MALFORMED, /* no key of the form that nuc_key.h describes */
    NUC_CREDENTIALS_BAD_SUM,   /* cut off or mistyped; in a pair perhaps the id of another
                                  key */
    NUC_CREDENTIALS_MISMATCH   /* Basic: a whole key, and a user who is not its id */
} nuc_credentials_fault_t;

typedef enum {
    NUC_CREDENTIALS_UNKNOWN = 0,
    NUC_CREDENTIALS_BEARER,
    NUC_CREDENTIALS_BASIC,
    NUC_CREDENTIALS_BARE
} nuc_credentials_form_t;

typedef struct {
    nuc_credentials_form_t form; /* of what is faulty too, for the answer */
    nuc_key_t key; /* when good; a slice of the value or of the scratch buffer */
} nuc_credentials_t;

/*
 * The value of Authorization; a bare key there only where "bare" is not 0.  Basic is
 * decoded into "scratch", which the caller clears (OPENSSL_cleanse) when he is done with
 * the key, after a fault too.
 */
nuc_credentials_fault_t nuc_credentials_authorization(
    nuc_str_t value, int bare, uint8_t scratch[NUC_CREDENTIALS_SCRATCH],
    nuc_credentials_t *credentials);

/* The key alone: X-API-Key, or a parameter of the query. */
nuc_credentials_fault_t nuc_credentials_bare(nuc_str_t value,
                                             nuc_credentials_t *credentials);

#endif /* NUC_CREDENTIALS_H */
