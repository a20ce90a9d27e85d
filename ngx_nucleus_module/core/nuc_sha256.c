#include "nuc_sha256.h"

#include <openssl/evp.h>

nuc_rc_t nuc_sha256_init(nuc_sha256_t *sha)
{
    sha->md = EVP_MD_fetch(NULL, "SHA256", NULL);
    sha->ctx = EVP_MD_CTX_new();

    if (sha->md == NULL || sha->ctx == NULL ||
        EVP_DigestInit_ex2(sha->ctx, sha->md, NULL) != 1) {
        nuc_sha256_free(sha);
        return NUC_NOMEM;
    }

    return NUC_OK;
}

void nuc_sha256_free(nuc_sha256_t *sha)
{
    EVP_MD_CTX_free(sha->ctx);
    EVP_MD_free(sha->md);
}
