#include "nuc_key.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <sys/random.h>

#include "nuc_crc32c.h"
#include "nuc_le.h"
#include "nuc_sha256.h"

#define NUC_KEY_PREFIX_LEN (sizeof(NUC_KEY_PREFIX) - 1)
#define NUC_KEY_SECRET_AT  (NUC_KEY_PREFIX_LEN + NUC_KEY_ID_LEN + 1)
#define NUC_KEY_SUM_AT     (NUC_KEY_SECRET_AT + NUC_KEY_SECRET_LEN)

static const char nuc_key_base32[] = "0123456789abcdefghjkmnpqrstvwxyz";
static const char nuc_key_base62[] =
    "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/* What a character is: its value in base32, and of which alphabets it is one. */
#define NUC_KEY_VALUE  31
#define NUC_KEY_BASE32 32
#define NUC_KEY_BASE62 64

#define B(value) (NUC_KEY_BASE32 | NUC_KEY_BASE62 | (value))
#define R        NUC_KEY_BASE62

static const uint8_t nuc_key_characters[256] = {
    ['0'] = B(0),  ['1'] = B(1),  ['2'] = B(2),  ['3'] = B(3),  ['4'] = B(4),
    ['5'] = B(5),  ['6'] = B(6),  ['7'] = B(7),  ['8'] = B(8),  ['9'] = B(9),
    ['a'] = B(10), ['b'] = B(11), ['c'] = B(12), ['d'] = B(13), ['e'] = B(14),
    ['f'] = B(15), ['g'] = B(16), ['h'] = B(17), ['j'] = B(18), ['k'] = B(19),
    ['m'] = B(20), ['n'] = B(21), ['p'] = B(22), ['q'] = B(23), ['r'] = B(24),
    ['s'] = B(25), ['t'] = B(26), ['v'] = B(27), ['w'] = B(28), ['x'] = B(29),
    ['y'] = B(30), ['z'] = B(31), ['i'] = R,     ['l'] = R,     ['o'] = R,
    ['u'] = R,     ['A'] = R,     ['B'] = R,     ['C'] = R,     ['D'] = R,
    ['E'] = R,     ['F'] = R,     ['G'] = R,     ['H'] = R,     ['I'] = R,
    ['J'] = R,     ['K'] = R,     ['L'] = R,     ['M'] = R,     ['N'] = R,
    ['O'] = R,     ['P'] = R,     ['Q'] = R,     ['R'] = R,     ['S'] = R,
    ['T'] = R,     ['U'] = R,     ['V'] = R,     ['W'] = R,     ['X'] = R,
    ['Y'] = R,     ['Z'] = R,
};

#undef B
#undef R

struct nuc_key_hasher_s {
    nuc_sha256_t sha;
};

nuc_rc_t nuc_key_id_parse(nuc_str_t text, uint64_t *id)
{
    size_t i;
    uint8_t character, all = NUC_KEY_BASE32;
    uint64_t value = 0;

    if (text.len != NUC_KEY_ID_LEN) {
        return NUC_INVALID;
    }

    for (i = 0; i < NUC_KEY_ID_LEN; i++) {
        character = nuc_key_characters[text.data[i]];
        all &= character;
        value = value << 5 | (character & NUC_KEY_VALUE);
    }

    if (all == 0) {
        return NUC_INVALID;
    }

    *id = value;

    return NUC_OK;
}

void nuc_key_id_text(uint64_t id, char text[NUC_KEY_ID_LEN + 1])
{
    size_t i;

    for (i = NUC_KEY_ID_LEN; i-- > 0; id >>= 5) {
        text[i] = nuc_key_base32[id & 31];
    }

    text[NUC_KEY_ID_LEN] = '\0';
}

/* "crc" is of all that stands before it. */
static void nuc_key_sum(uint32_t crc, char sum[NUC_KEY_SUM_LEN])
{
    size_t i;

    for (i = NUC_KEY_SUM_LEN; i-- > 0; crc /= 62) {
        sum[i] = nuc_key_base62[crc % 62];
    }
}

static int nuc_key_is_base62(const uint8_t *p, size_t len)
{
    size_t i;
    uint8_t all = NUC_KEY_BASE62;

    for (i = 0; i < len; i++) {
        all &= nuc_key_characters[p[i]];
    }

    return all != 0;
}

/* "rest" is the secret and the sum, "crc" of all that stands before the sum. */
static nuc_key_fault_t nuc_key_parse_parts(nuc_str_t id, nuc_str_t rest, uint32_t crc,
                                           nuc_key_t *key)
{
    char sum[NUC_KEY_SUM_LEN];

    if (!nuc_key_is_base62(rest.data, rest.len) ||
        nuc_key_id_parse(id, &key->id) != NUC_OK) {
        return NUC_KEY_MALFORMED;
    }

    nuc_key_sum(crc, sum);

    if (memcmp(sum, rest.data + NUC_KEY_SECRET_LEN, sizeof(sum)) != 0) {
        return NUC_KEY_BAD_SUM;
    }

    key->secret = (nuc_str_t){rest.data, NUC_KEY_SECRET_LEN};

    return NUC_KEY_GOOD;
}

nuc_key_fault_t nuc_key_parse(nuc_str_t text, nuc_key_t *key)
{
    nuc_str_t id, rest;

    if (text.len != NUC_KEY_LEN ||
        memcmp(text.data, NUC_KEY_PREFIX, NUC_KEY_PREFIX_LEN) != 0 ||
        text.data[NUC_KEY_SECRET_AT - 1] != '_') {
        return NUC_KEY_MALFORMED;
    }

    id = (nuc_str_t){text.data + NUC_KEY_PREFIX_LEN, NUC_KEY_ID_LEN};
    rest = (nuc_str_t){text.data + NUC_KEY_SECRET_AT, text.len - NUC_KEY_SECRET_AT};

    return nuc_key_parse_parts(id, rest, nuc_crc32c(0, text.data, NUC_KEY_SUM_AT), key);
}

/* The sum of a pair's parts is that of the whole key. */
static nuc_key_fault_t nuc_key_parse_split(nuc_str_t id, nuc_str_t rest, nuc_key_t *key)
{
    uint32_t crc;

    if (rest.len != NUC_KEY_SECRET_LEN + NUC_KEY_SUM_LEN) {
        return NUC_KEY_MALFORMED;
    }

    crc = nuc_crc32c(0, NUC_KEY_PREFIX, NUC_KEY_PREFIX_LEN);
    crc = nuc_crc32c(crc, id.data, id.len);
    crc = nuc_crc32c(crc, "_", 1);
    crc = nuc_crc32c(crc, rest.data, NUC_KEY_SECRET_LEN);

    return nuc_key_parse_parts(id, rest, crc, key);
}

nuc_key_fault_t nuc_key_parse_pair(nuc_str_t id, nuc_str_t password, nuc_key_t *key)
{
    uint64_t number;
    nuc_key_fault_t fault;

    if (password.len != NUC_KEY_LEN) {
        return nuc_key_parse_split(id, password, key);
    }

    fault = nuc_key_parse(password, key);

    if (fault == NUC_KEY_GOOD &&
        (nuc_key_id_parse(id, &number) != NUC_OK || number != key->id)) {
        return NUC_KEY_MALFORMED;
    }

    return fault;
}

static nuc_rc_t nuc_key_random(uint8_t *data, size_t len, nuc_err_t *err)
{
    ssize_t n;

    while (len > 0) {
        n = getrandom(data, len, 0);

        if (n == -1 && errno == EINTR) {
            continue;
        }

        if (n <= 0) {
            return nuc_err_sys(err, NUC_IO, errno, "getrandom failed");
        }

        data += n;
        len -= (size_t) n;
    }

    return NUC_OK;
}

/* Bytes from 248 on are drawn again: all 62 characters are equally likely. */
static nuc_rc_t nuc_key_draw(char *text, size_t len, nuc_err_t *err)
{
    size_t i;
    nuc_rc_t rc = NUC_OK;
    uint8_t bytes[64];

    while (len > 0) {
        rc = nuc_key_random(bytes, sizeof(bytes), err);
        if (rc != NUC_OK) {
            break;
        }

        for (i = 0; i < sizeof(bytes) && len > 0; i++) {
            if (bytes[i] < 4 * 62) {
                *text++ = nuc_key_base62[bytes[i] % 62];
                len--;
            }
        }
    }

    OPENSSL_cleanse(bytes, sizeof(bytes));

    return rc;
}

nuc_rc_t nuc_key_make(char text[NUC_KEY_LEN + 1], nuc_err_t *err)
{
    char *id = text + NUC_KEY_PREFIX_LEN, *secret = text + NUC_KEY_SECRET_AT;
    uint64_t number;
    nuc_rc_t rc;

    rc = nuc_key_random((uint8_t *) &number, sizeof(number), err);
    if (rc != NUC_OK) {
        return rc;
    }

    memcpy(text, NUC_KEY_PREFIX, NUC_KEY_PREFIX_LEN);
    nuc_key_id_text(number, id);
    id[NUC_KEY_ID_LEN] = '_';

    rc = nuc_key_draw(secret, NUC_KEY_SECRET_LEN, err);
    if (rc != NUC_OK) {
        OPENSSL_cleanse(text, NUC_KEY_LEN + 1);
        return rc;
    }

    nuc_key_sum(nuc_crc32c(0, text, NUC_KEY_SUM_AT), text + NUC_KEY_SUM_AT);
    text[NUC_KEY_LEN] = '\0';

    return NUC_OK;
}

nuc_rc_t nuc_key_hasher_create(nuc_key_hasher_t **hasher, nuc_err_t *err)
{
    nuc_key_hasher_t *created;

    *hasher = NULL;

    created = calloc(1, sizeof(*created));
    if (created == NULL) {
        return nuc_err_set(err, NUC_NOMEM, "no memory to hash keys");
    }

    if (nuc_sha256_init(&created->sha) != NUC_OK) {
        free(created);
        return nuc_err_set(err, NUC_NOMEM, "OpenSSL has no SHA-256 to hash keys with");
    }

    *hasher = created;

    return NUC_OK;
}

void nuc_key_hasher_free(nuc_key_hasher_t *hasher)
{
    if (hasher != NULL) {
        nuc_sha256_free(&hasher->sha);
        free(hasher);
    }
}

nuc_rc_t nuc_key_digest(nuc_key_hasher_t *hasher, const nuc_key_t *key,
                        uint8_t digest[NUC_KEY_DIGEST_LEN])
{
    if (EVP_DigestInit_ex2(hasher->sha.ctx, NULL, NULL) != 1 ||
        EVP_DigestUpdate(hasher->sha.ctx, key->secret.data, key->secret.len) != 1 ||
        EVP_DigestFinal_ex(hasher->sha.ctx, digest, NULL) != 1) {
        return NUC_NOMEM;
    }

    return NUC_OK;
}

int nuc_key_digest_equal(const uint8_t a[NUC_KEY_DIGEST_LEN],
                         const uint8_t b[NUC_KEY_DIGEST_LEN])
{
    size_t i;
    volatile uint64_t differ = 0; /* volatile: no step is left out */

    for (i = 0; i < NUC_KEY_DIGEST_LEN; i += 8) {
        differ |= nuc_le64(a + i) ^ nuc_le64(b + i);
    }

    return differ == 0;
}
