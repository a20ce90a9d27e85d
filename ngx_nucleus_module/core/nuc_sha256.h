/*
 * OpenSSL's SHA-256 (FIPS 180-4), fetched once and set up for many digests: the fetch
 * costs more than a digest of a short text.
 */

#ifndef NUC_SHA256_H
#define NUC_SHA256_H

#include "nuc_err.h"

/* For one thread.  Begin each digest with EVP_DigestInit_ex2(ctx, NULL, NULL). */
typedef struct {
    struct evp_md_st *md;
    struct evp_md_ctx_st *ctx;
} nuc_sha256_t;

/* NUC_NOMEM: no memory, or OpenSSL has no SHA-256; there is nothing to free then. */
nuc_rc_t nuc_sha256_init(nuc_sha256_t *sha);
void nuc_sha256_free(nuc_sha256_t *sha);

#endif /* NUC_SHA256_H */
