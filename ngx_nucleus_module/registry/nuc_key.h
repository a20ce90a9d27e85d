/*
 * API keys:
 *
 *     nuc_k7f3m9q2xwtd_9hQ…43 characters…ZrA1b2C3
 *         id           secret             sum
 *
 * id      12 characters of Crockford's base32 in lower case (0-9 a-z without
 *         i l o u): 60 random bits.  Names the key everywhere: records, logs,
 *         nucleusctl.  No secret.
 * secret  43 characters of 0-9 A-Z a-z, each drawn at random: 256 bits.
 * sum     6 characters of the same: the CRC32C of all before it, most significant
 *         first.  Tells a key that was cut off or mistyped from a wrong one, without
 *         a look at the registry, and lets scanners of repositories find keys.
 *
 * The registry keeps SHA-256 of the secret's 43 characters.  A random secret of 256 bits
 * needs no slow hash.
 */

#ifndef NUC_KEY_H
#define NUC_KEY_H

#include "nuc_err.h"
#include "nuc_str.h"

#define NUC_KEY_PREFIX     "nuc_"
#define NUC_KEY_ID_LEN     12
#define NUC_KEY_SECRET_LEN 43
#define NUC_KEY_SUM_LEN    6
#define NUC_KEY_LEN        (4 + NUC_KEY_ID_LEN + 1 + NUC_KEY_SECRET_LEN + NUC_KEY_SUM_LEN)
#define NUC_KEY_DIGEST_LEN 32

typedef struct {
    uint64_t id;      /* 60 bits */
    nuc_str_t secret; /* NUC_KEY_SECRET_LEN characters, a slice of what was parsed */
} nuc_key_t;

typedef enum {
    NUC_KEY_GOOD = 0,
    NUC_KEY_MALFORMED, /* not of this form */
    NUC_KEY_BAD_SUM    /* of this form, but the sum is another */
} nuc_key_fault_t;

/* A key as a client sent it; proves nothing yet. */
nuc_key_fault_t nuc_key_parse(nuc_str_t text, nuc_key_t *key);

/*
 * The parts as Basic has them: "id" as user, secret and sum, or the whole key, as
 * password.  A whole key of another id is malformed; the sum tells the rest apart.
 */
nuc_key_fault_t nuc_key_parse_pair(nuc_str_t id, nuc_str_t password, nuc_key_t *key);

/* A new random key as text, zero-terminated.  NUC_IO: there are no random bytes. */
nuc_rc_t nuc_key_make(char text[NUC_KEY_LEN + 1], nuc_err_t *err);

/* NUC_INVALID when "text" is no id. */
nuc_rc_t nuc_key_id_parse(nuc_str_t text, uint64_t *id);
void nuc_key_id_text(uint64_t id, char text[NUC_KEY_ID_LEN + 1]);

/*
 * SHA-256 of the secret.  "hasher" is for one thread; hashing many with one saves
 * OpenSSL's set-up of each.
 */
typedef struct nuc_key_hasher_s nuc_key_hasher_t;

nuc_rc_t nuc_key_hasher_create(nuc_key_hasher_t **hasher, nuc_err_t *err);
void nuc_key_hasher_free(nuc_key_hasher_t *hasher);
nuc_rc_t nuc_key_digest(nuc_key_hasher_t *hasher, const nuc_key_t *key,
                        uint8_t digest[NUC_KEY_DIGEST_LEN]);

/* Takes as long wherever they differ. */
int nuc_key_digest_equal(const uint8_t a[NUC_KEY_DIGEST_LEN],
                         const uint8_t b[NUC_KEY_DIGEST_LEN]);

#endif /* NUC_KEY_H */
