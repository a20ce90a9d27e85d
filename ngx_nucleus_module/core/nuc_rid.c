#include "nuc_rid.h"

#include <openssl/evp.h>
#include <stdlib.h>

#include "nuc_le.h"
#include "nuc_sha256.h"

#define NUC_RID_GATHER 512 /* short fields are hashed in one call */

struct nuc_rid_hasher_s {
    nuc_sha256_t sha;
    int failed;
    size_t len;
    uint8_t gathered[NUC_RID_GATHER];
};

nuc_rid_hasher_t *nuc_rid_hasher_create(void)
{
    nuc_rid_hasher_t *hasher;

    hasher = calloc(1, sizeof(*hasher));

    if (hasher == NULL) {
        return NULL;
    }

    if (nuc_sha256_init(&hasher->sha) != NUC_OK) {
        free(hasher);
        return NULL;
    }

    return hasher;
}

void nuc_rid_hasher_free(nuc_rid_hasher_t *hasher)
{
    if (hasher != NULL) {
        nuc_sha256_free(&hasher->sha);
        free(hasher);
    }
}

static void nuc_rid_begin(nuc_rid_hasher_t *hasher)
{
    hasher->len = 0;
    hasher->failed = EVP_DigestInit_ex2(hasher->sha.ctx, NULL, NULL) != 1;
}

static void nuc_rid_update(nuc_rid_hasher_t *hasher, const void *data, size_t len)
{
    if (EVP_DigestUpdate(hasher->sha.ctx, data, len) != 1) {
        hasher->failed = 1;
    }
}

static void nuc_rid_bytes(nuc_rid_hasher_t *hasher, const void *data, size_t len)
{
    if (len > sizeof(hasher->gathered) - hasher->len) {
        nuc_rid_update(hasher, hasher->gathered, hasher->len);
        hasher->len = 0;
    }

    if (len > sizeof(hasher->gathered)) {
        nuc_rid_update(hasher, data, len);

    } else if (len != 0) {
        memcpy(hasher->gathered + hasher->len, data, len);
        hasher->len += len;
    }
}

/* The field's length, then its bytes. */
static void nuc_rid_field(nuc_rid_hasher_t *hasher, nuc_str_t field)
{
    uint8_t len[8];

    nuc_le64_put(len, field.len);
    nuc_rid_bytes(hasher, len, sizeof(len));
    nuc_rid_bytes(hasher, field.data, field.len);
}

static nuc_rc_t nuc_rid_end(nuc_rid_hasher_t *hasher, uint8_t rid[NUC_RID_LEN])
{
    uint8_t sum[EVP_MAX_MD_SIZE];

    nuc_rid_update(hasher, hasher->gathered, hasher->len);

    if (hasher->failed || EVP_DigestFinal_ex(hasher->sha.ctx, sum, NULL) != 1) {
        return NUC_NOMEM;
    }

    memcpy(rid, sum, NUC_RID_LEN);

    return NUC_OK;
}

nuc_rc_t nuc_rid_from_id(nuc_rid_hasher_t *hasher, nuc_str_t tenant, nuc_str_t stream,
                         nuc_kind_t kind, nuc_str_t source, nuc_str_t id,
                         uint8_t rid[NUC_RID_LEN])
{
    const char *name;

    name = nuc_kind_name(kind);

    if (name == NULL) {
        return NUC_INVALID;
    }

    nuc_rid_begin(hasher);
    nuc_rid_field(hasher, tenant);
    nuc_rid_field(hasher, stream);
    nuc_rid_field(hasher, nuc_str(name));
    nuc_rid_field(hasher, source);
    nuc_rid_field(hasher, id);

    return nuc_rid_end(hasher, rid);
}

nuc_rc_t nuc_rid_from_key(nuc_rid_hasher_t *hasher, nuc_str_t tenant, nuc_str_t stream,
                          nuc_str_t key, uint32_t index, uint8_t rid[NUC_RID_LEN])
{
    uint8_t bytes[4];

    nuc_le32_put(bytes, index);

    nuc_rid_begin(hasher);
    nuc_rid_field(hasher, tenant);
    nuc_rid_field(hasher, stream);
    nuc_rid_field(hasher, key);
    nuc_rid_field(hasher, (nuc_str_t){bytes, sizeof(bytes)});

    return nuc_rid_end(hasher, rid);
}
