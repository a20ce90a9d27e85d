/*
 * API keys: made, parsed, refused; ids as text; digests against OpenSSL's one-shot
 * function.
 */

#include <openssl/sha.h>

#include "nuc_crc32c.h"
#include "nuc_key.h"
#include "tap.h"

static const char base62[] =
    "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
static const char base32[] = "0123456789abcdefghjkmnpqrstvwxyz";

/* The form as the header has it, in other words than the source's. */
static const char *wrong_with(const char *key)
{
    size_t i;
    uint64_t sum = 0;

    if (strlen(key) != 66 || strncmp(key, "nuc_", 4) != 0 || key[16] != '_') {
        return "its frame";
    }

    if (strspn(key + 4, base32) != 12) {
        return "its id";
    }

    if (strspn(key + 17, base62) != 49) {
        return "its secret";
    }

    for (i = 60; i < 66; i++) {
        sum = sum * 62 + (uint64_t) (strchr(base62, key[i]) - base62);
    }

    return sum == nuc_crc32c(0, key, 60) ? NULL : "its sum";
}

static void test_make(void)
{
    unsigned i, made = 0, good = 0, same = 0, seen[128] = {0}, missing = 0;
    char key[NUC_KEY_LEN + 1], last[NUC_KEY_LEN + 1] = "";
    const char *wrong;
    nuc_err_t err;
    nuc_key_t parsed;

    for (i = 0; i < 2000; i++) {
        made += nuc_key_make(key, &err) == NUC_OK;
        wrong = wrong_with(key);

        if (wrong == NULL && nuc_key_parse(nuc_str(key), &parsed) == NUC_KEY_GOOD &&
            parsed.secret.data == (const uint8_t *) key + 17) {
            good++;
        }

        same += strcmp(key, last) == 0;
        memcpy(last, key, sizeof(last));

        for (wrong = key + 17; *wrong != '\0'; wrong++) {
            seen[*wrong & 127]++;
        }
    }

    is_int(made, 2000, "keys are made");
    is_int(good, 2000, "every key that is made has the form and parses");
    is_int(same, 0, "no two are the same");

    for (i = 0; i < 62; i++) {
        /* 86,000 characters of the secrets, 1,387 of each but for chance */
        missing += seen[(int) base62[i]] < 1100;
    }

    is_int(missing, 0, "every character is as likely as the others");
}

static void test_refused(void)
{
    size_t i;
    unsigned unseen = 0, good = 0;
    int c;
    char key[NUC_KEY_LEN + 1], copy[NUC_KEY_LEN + 2];
    nuc_key_t parsed;

    nuc_key_make(key, NULL);

    for (i = 0; i < NUC_KEY_LEN; i++) {
        for (c = 0; c < 256; c++) {
            memcpy(copy, key, NUC_KEY_LEN);
            copy[i] = (char) c;

            if (copy[i] == key[i]) {
                good += nuc_key_parse((nuc_str_t){(uint8_t *) copy, NUC_KEY_LEN},
                                      &parsed) == NUC_KEY_GOOD;
            } else {
                unseen += nuc_key_parse((nuc_str_t){(uint8_t *) copy, NUC_KEY_LEN},
                                        &parsed) == NUC_KEY_GOOD;
            }
        }
    }

    is_int(good, NUC_KEY_LEN, "the key itself is good");
    is_int(unseen, 0, "every changed character is seen");

    memcpy(copy, key, sizeof(key));
    copy[30] = copy[30] == 'a' ? 'b' : 'a';
    is_int(nuc_key_parse(nuc_str(copy), &parsed), NUC_KEY_BAD_SUM, "mistyped: its sum");
    copy[30] = '-';
    is_int(nuc_key_parse(nuc_str(copy), &parsed), NUC_KEY_MALFORMED, "no such character");
    memcpy(copy, key, sizeof(key));
    copy[5] = 'u';
    is_int(nuc_key_parse(nuc_str(copy), &parsed), NUC_KEY_MALFORMED, "no such id");

    for (c = 0, unseen = 0; c < 256; c++) {
        memcpy(copy, key, sizeof(key));
        copy[59] = (char) c;
        unseen += (nuc_key_parse((nuc_str_t){(uint8_t *) copy, NUC_KEY_LEN}, &parsed) !=
                   NUC_KEY_MALFORMED) != (c != 0 && strchr(base62, c) != NULL);
        memcpy(copy, key, sizeof(key));
        copy[4] = (char) c;
        unseen += (nuc_key_parse((nuc_str_t){(uint8_t *) copy, NUC_KEY_LEN}, &parsed) !=
                   NUC_KEY_MALFORMED) != (c != 0 && strchr(base32, c) != NULL);
    }

    is_int(unseen, 0,
           "secret and id have the characters of their alphabets and no other");

    for (i = 0, unseen = 0; i < NUC_KEY_LEN; i++) {
        unseen +=
            nuc_key_parse((nuc_str_t){(uint8_t *) key, i}, &parsed) != NUC_KEY_MALFORMED;
    }

    is_int(unseen, 0, "every key that was cut off is malformed");
    snprintf(copy, sizeof(copy), "%sx", key);
    is_int(nuc_key_parse(nuc_str(copy), &parsed), NUC_KEY_MALFORMED, "one too many");
    is_int(nuc_key_parse(NUC_STR_NONE, &parsed), NUC_KEY_MALFORMED, "nothing");
}

static void test_pair(void)
{
    char key[NUC_KEY_LEN + 1], other[NUC_KEY_LEN + 1];
    nuc_key_t whole, pair;
    nuc_str_t id, password, other_id;

    nuc_key_make(key, NULL);
    nuc_key_make(other, NULL);
    id = (nuc_str_t){(uint8_t *) key + 4, 12};
    other_id = (nuc_str_t){(uint8_t *) other + 4, 12};
    password = nuc_str(key + 17);
    nuc_key_parse(nuc_str(key), &whole);

    is_int(nuc_key_parse_pair(id, password, &pair), NUC_KEY_GOOD, "id, secret and sum");
    ok(pair.id == whole.id && nuc_str_eq(pair.secret, whole.secret), "the same key");
    is_int(nuc_key_parse_pair(id, nuc_str(key), &pair), NUC_KEY_GOOD, "id and whole key");
    ok(pair.id == whole.id && nuc_str_eq(pair.secret, whole.secret), "the same key");
    is_int(nuc_key_parse_pair(other_id, password, &pair), NUC_KEY_BAD_SUM,
           "another's id: the sum is of both");
    is_int(nuc_key_parse_pair(other_id, nuc_str(key), &pair), NUC_KEY_MALFORMED,
           "another's id with a whole key");
    is_int(nuc_key_parse_pair(NUC_STR("nobody"), password, &pair), NUC_KEY_MALFORMED,
           "no id");
    is_int(nuc_key_parse_pair(id, NUC_STR_NONE, &pair), NUC_KEY_MALFORMED, "no password");
}

static void test_id(void)
{
    char text[NUC_KEY_ID_LEN + 1];
    uint64_t id = 1;

    nuc_key_id_text(0, text);
    is_str(text, "000000000000", "the least id");
    nuc_key_id_text((1ULL << 60) - 1, text);
    is_str(text, "zzzzzzzzzzzz", "the greatest");
    is_int(nuc_key_id_parse(nuc_str(text), &id), NUC_OK, "parses");
    ok(id == (1ULL << 60) - 1, "as itself");
    is_int(nuc_key_id_parse(NUC_STR("00000000001z"), &id), NUC_OK, "parses");
    is_int((long long) id, 63, "most significant first");
    is_int(nuc_key_id_parse(NUC_STR("00000000001Z"), &id), NUC_INVALID, "upper case");
    is_int(nuc_key_id_parse(NUC_STR("00000000001"), &id), NUC_INVALID, "too short");
    is_int(nuc_key_id_parse(NUC_STR("0000000000001"), &id), NUC_INVALID, "too long");
    is_int(nuc_key_id_parse((nuc_str_t){(const uint8_t *) "00000000000", 12}, &id),
           NUC_INVALID, "a zero byte");
}

static void test_digest(void)
{
    unsigned i, same = 0;
    char text[NUC_KEY_LEN + 1];
    uint8_t digest[NUC_KEY_DIGEST_LEN], expected[NUC_KEY_DIGEST_LEN];
    nuc_err_t err;
    nuc_key_t key;
    nuc_key_hasher_t *hasher;

    is_int(nuc_key_hasher_create(&hasher, &err), NUC_OK, "a hasher");

    for (i = 0; i < 100; i++) {
        nuc_key_make(text, NULL);
        nuc_key_parse(nuc_str(text), &key);
        SHA256((uint8_t *) text + 17, 43, expected);
        same += nuc_key_digest(hasher, &key, digest) == NUC_OK &&
                memcmp(digest, expected, sizeof(digest)) == 0;
    }

    is_int(same, 100, "SHA-256 of the secret, key after key");
    ok(nuc_key_digest_equal(digest, expected), "a digest equals itself");

    for (i = 0, same = 0; i < 8 * NUC_KEY_DIGEST_LEN; i++) {
        digest[i / 8] ^= (uint8_t) (1 << i % 8);
        same += nuc_key_digest_equal(digest, expected) != 0;
        digest[i / 8] ^= (uint8_t) (1 << i % 8);
    }

    is_int(same, 0, "and none that differs in a bit");
    nuc_key_hasher_free(hasher);
    nuc_key_hasher_free(NULL);
}

int main(void)
{
    test_make();
    test_refused();
    test_pair();
    test_id();
    test_digest();

    return tap_done();
}
