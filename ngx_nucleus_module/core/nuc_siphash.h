/*
 * SipHash-1-3 (J.-P. Aumasson and D. J. Bernstein, "SipHash: a fast short-input PRF",
 * INDOCRYPT 2012): a hash of 64 bits under a secret key, so that who does not know the
 * key cannot choose inputs that collide.  One round a word and three at the end are for
 * tables in memory, as in Rust's and CPython's; nobody is shown the hash.  A MAC would
 * need the paper's 2 and 4.
 */

#ifndef NUC_SIPHASH_H
#define NUC_SIPHASH_H

#include <stddef.h>
#include <stdint.h>

uint64_t nuc_siphash(const uint64_t key[2], const void *data, size_t len);

#endif /* NUC_SIPHASH_H */
