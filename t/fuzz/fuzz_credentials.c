/*
 * Authorization, X-API-Key and keys: any text has one meaning, and a key that is parsed
 * is written again as it was.
 *
 * Input: a byte that chooses (the form; whether the last six characters of the key are
 * made its sum), then the text.
 */

#include <openssl/evp.h>

#include "fuzz.h"
#include "nuc_crc32c.h"
#include "nuc_credentials.h"

static const char base62[] =
    "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

static int is_in(const char *set, uint8_t c)
{
    return memchr(set, c, strlen(set)) != NULL;
}

static void put_sum(uint8_t *key)
{
    int i;
    uint32_t crc = nuc_crc32c(0, key, NUC_KEY_LEN - NUC_KEY_SUM_LEN);

    for (i = NUC_KEY_LEN - 1; i >= NUC_KEY_LEN - NUC_KEY_SUM_LEN; i--, crc /= 62) {
        key[i] = (uint8_t) base62[crc % 62];
    }
}

/* The key as text, from its parts. */
static void write_key(const nuc_key_t *key, uint8_t text[NUC_KEY_LEN])
{
    char id[NUC_KEY_ID_LEN + 1];

    FUZZ_CHECK(key->secret.len == NUC_KEY_SECRET_LEN, "a secret of %zu characters",
               key->secret.len);
    nuc_key_id_text(key->id, id);
    memcpy(text, "nuc_", 4);
    memcpy(text + 4, id, NUC_KEY_ID_LEN);
    text[16] = '_';
    memcpy(text + 17, key->secret.data, NUC_KEY_SECRET_LEN);
    put_sum(text);
}

/* The form, stated once more. */
static nuc_key_fault_t judge(nuc_str_t text)
{
    size_t i;
    uint8_t again[NUC_KEY_LEN];

    if (text.len != NUC_KEY_LEN || memcmp(text.data, "nuc_", 4) != 0 ||
        text.data[16] != '_') {
        return NUC_KEY_MALFORMED;
    }

    for (i = 4; i < NUC_KEY_LEN; i++) {
        if (i != 16 &&
            !is_in(i < 16 ? "0123456789abcdefghjkmnpqrstvwxyz" : base62, text.data[i])) {
            return NUC_KEY_MALFORMED;
        }
    }

    memcpy(again, text.data, sizeof(again));
    put_sum(again);

    return memcmp(again, text.data, sizeof(again)) == 0 ? NUC_KEY_GOOD : NUC_KEY_BAD_SUM;
}

static void fuzz_key(nuc_str_t text)
{
    nuc_key_t key;
    nuc_key_fault_t fault, pair;
    uint8_t again[NUC_KEY_LEN];

    fault = nuc_key_parse(text, &key);
    FUZZ_CHECK(fault == judge(text), "the verdict on a key: %d", (int) fault);

    if (text.len == NUC_KEY_LEN && fault == NUC_KEY_GOOD) {
        write_key(&key, again);
        FUZZ_CHECK(memcmp(again, text.data, sizeof(again)) == 0, "another key");
        pair = nuc_key_parse_pair((nuc_str_t){text.data + 4, NUC_KEY_ID_LEN},
                                  (nuc_str_t){text.data + 17, text.len - 17}, &key);
        FUZZ_CHECK(pair == NUC_KEY_GOOD, "its halves are no key");
    }
}

/* What a good key of a header may have been made of: the header holds it, or its text. */
static void check_good(nuc_str_t value, const nuc_credentials_t *credentials)
{
    char encoded[300];
    uint8_t key[NUC_KEY_LEN], pair[100];
    char id[NUC_KEY_ID_LEN + 1];
    int i, len[3], found = 0;
    size_t size;

    write_key(&credentials->key, key);

    if (credentials->form != NUC_CREDENTIALS_BASIC) {
        FUZZ_CHECK(memmem(value.data, value.len, key, sizeof(key)) != NULL,
                   "the key is not what was sent");
        return;
    }

    nuc_key_id_text(credentials->key.id, id);

    for (i = 0; i < 3; i++) {
        len[i] = i == 0 ? snprintf((char *) pair, sizeof(pair), "%s:%.49s", id, key + 17)
                 : i == 1 ? snprintf((char *) pair, sizeof(pair), "%s:%.66s", id, key)
                          : snprintf((char *) pair, sizeof(pair), "%.66s:", key);
        size = (size_t) EVP_EncodeBlock((uint8_t *) encoded, pair, len[i]);
        found += memmem(value.data, value.len, encoded, size) != NULL;
    }

    FUZZ_CHECK(found == 1, "the pair is not what was sent");
}

static void fuzz_value(nuc_str_t value, int bare)
{
    uint8_t *scratch;
    nuc_credentials_t credentials, again;
    nuc_credentials_fault_t fault;
    nuc_buf_t spaced = NUC_BUF_INIT;

    scratch = fuzz_alloc(NUC_CREDENTIALS_SCRATCH);
    fault = nuc_credentials_authorization(value, bare, scratch, &credentials);

    FUZZ_CHECK(fault <= NUC_CREDENTIALS_MISMATCH, "a fault that is none");
    FUZZ_CHECK((credentials.form == NUC_CREDENTIALS_UNKNOWN) ==
                   (fault == NUC_CREDENTIALS_NONE || fault == NUC_CREDENTIALS_SCHEME),
               "a form of nothing");
    FUZZ_CHECK(bare || credentials.form != NUC_CREDENTIALS_BARE, "a bare key");

    if (fault == NUC_CREDENTIALS_GOOD) {
        check_good(value, &credentials);
    }

    nuc_buf_str(&spaced, NUC_STR(" \t "));
    nuc_buf_append(&spaced, value.data, value.len);
    nuc_buf_str(&spaced, NUC_STR("\t"));
    FUZZ_CHECK(nuc_credentials_authorization((nuc_str_t){spaced.data, spaced.len}, bare,
                                             scratch, &again) == fault,
               "spaces around it count");

    nuc_buf_free(&spaced);
    free(scratch);
}

static void fuzz_bare(nuc_str_t value)
{
    nuc_credentials_t credentials;

    if (nuc_credentials_bare(value, &credentials) == NUC_CREDENTIALS_GOOD) {
        check_good(value, &credentials);
    }
}

/* Basic of a text: what the base64 hides is reached. */
static void fuzz_pair(nuc_str_t text)
{
    nuc_str_t value;
    nuc_buf_t buf = NUC_BUF_INIT;
    uint8_t *end;

    nuc_buf_str(&buf, NUC_STR("Basic "));
    end = nuc_buf_reserve(&buf, text.len / 3 * 4 + 5);
    buf.len += (size_t) EVP_EncodeBlock(end, text.data, (int) text.len);
    value = fuzz_copy(buf.data, buf.len);
    fuzz_value(value, 1);
    fuzz_free(value);
    nuc_buf_free(&buf);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    unsigned choice;
    uint8_t *key;
    nuc_str_t text;
    fuzz_input_t in = {data, data + len};

    choice = (unsigned) fuzz_take(&in, 1);
    text = fuzz_take_bytes(&in, SIZE_MAX);
    text = fuzz_copy(text.data, text.len);
    key = text.len < NUC_KEY_LEN
              ? NULL
              : memmem(text.data, text.len - NUC_KEY_LEN + 4, "nuc_", 4);

    if ((choice & 128) != 0 && key != NULL) {
        put_sum(key);
    }

    switch (choice % 4) {
    case 0:
        fuzz_key(text);
        fuzz_bare(text);
        break;
    case 1:
        fuzz_value(text, 1);
        break;
    case 2:
        fuzz_value(text, 0);
        break;
    default:
        fuzz_pair(text);
        break;
    }

    fuzz_free(text);

    return 0;
}
