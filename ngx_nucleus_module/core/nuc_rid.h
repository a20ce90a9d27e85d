/*
 * The identity of a record: the first 128 bits of SHA-256 (FIPS 180-4) over the fields
 * that name it, each preceded by its length (u64, little-endian) so that no two lists of
 * fields give the same bytes.  The kind is hashed by its name, the index as u32,
 * little-endian.
 */

#ifndef NUC_RID_H
#define NUC_RID_H

#include "nuc_err.h"
#include "nuc_record.h"

typedef struct nuc_rid_hasher_s nuc_rid_hasher_t;

/* One per thread: it keeps OpenSSL's digest context from one record to the next. */
nuc_rid_hasher_t *nuc_rid_hasher_create(void);
void nuc_rid_hasher_free(nuc_rid_hasher_t *hasher);

/* From the client's id; "source" is the CloudEvents source or empty. */
nuc_rc_t nuc_rid_from_id(nuc_rid_hasher_t *hasher, nuc_str_t tenant, nuc_str_t stream,
                         nuc_kind_t kind, nuc_str_t source, nuc_str_t id,
                         uint8_t rid[NUC_RID_LEN]);

/* From the request's Idempotency-Key and the event's index in it. */
nuc_rc_t nuc_rid_from_key(nuc_rid_hasher_t *hasher, nuc_str_t tenant, nuc_str_t stream,
                          nuc_str_t key, uint32_t index, uint8_t rid[NUC_RID_LEN]);

#endif /* NUC_RID_H */
