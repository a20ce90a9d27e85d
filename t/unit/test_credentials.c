/*
 * Authorization and its kin: each form, and each fault that a client is told.
 */

#include <openssl/evp.h>
#include <stdlib.h>

#include "nuc_credentials.h"
#include "tap.h"

static char key[NUC_KEY_LEN + 1], other[NUC_KEY_LEN + 1], id[13], secret[50];

static nuc_credentials_fault_t parse(const char *value, int bare, nuc_credentials_t *out)
{
    /* just as long as it is, so that a sanitizer sees a read beyond it */
    static uint8_t scratch[NUC_CREDENTIALS_SCRATCH];
    size_t len = strlen(value);
    uint8_t copy[len + 1];

    memcpy(copy, value, len);

    return nuc_credentials_authorization((nuc_str_t){copy, len}, bare, scratch, out);
}

static void is_fault(nuc_credentials_fault_t expected, nuc_credentials_form_t form,
                     const char *value, const char *name)
{
    nuc_credentials_t got;
    nuc_key_t whole;

    is_int(parse(value, 1, &got), expected, "%s", name);
    is_int(got.form, form, "%s: its form", name);

    if (expected == NUC_CREDENTIALS_GOOD) {
        nuc_key_parse(nuc_str(key), &whole);
        ok(got.key.id == whole.id && got.key.secret.len == whole.secret.len,
           "%s: its key", name);
    }
}

static void is_basic(nuc_credentials_fault_t expected, const char *pair, const char *name)
{
    char value[600] = "Basic ";

    EVP_EncodeBlock((uint8_t *) value + 6, (const uint8_t *) pair, (int) strlen(pair));
    is_fault(expected, NUC_CREDENTIALS_BASIC, value, name);
}

static const char *text(const char *fmt, const char *a, const char *b)
{
    static char line[600];

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    snprintf(line, sizeof(line), fmt, a, b);
#pragma GCC diagnostic pop

    return line;
}

static void test_bearer(void)
{
    const nuc_credentials_form_t form = NUC_CREDENTIALS_BEARER;
    const nuc_credentials_fault_t good = NUC_CREDENTIALS_GOOD;
    const nuc_credentials_fault_t malformed = NUC_CREDENTIALS_MALFORMED;
    char typo[NUC_KEY_LEN + 1];

    memcpy(typo, key, sizeof(typo));
    typo[40] = typo[40] == 'x' ? 'y' : 'x';

    is_fault(good, form, text("Bearer %s%s", key, ""), "Bearer");
    is_fault(good, form, text("bEARER %s%s", key, ""), "a scheme of any case");
    is_fault(good, form, text(" \tBearer   %s%s", key, " \t"), "spaces around it");
    is_fault(malformed, form, text("Bearer \t%s%s", key, ""), "a tab behind the scheme");
    is_fault(malformed, form, "Bearer", "no token");
    is_fault(malformed, form, "Bearer  ", "no token but spaces");
    is_fault(malformed, form, text("Bearer %s %s", key, key), "two tokens");
    is_fault(malformed, form, text("Bearer %s,%s", key, ""), "a comma");
    is_fault(malformed, form, text("Bearer \"%s\"%s", key, ""), "quotes");
    is_fault(malformed, form, "Bearer eyJhbGciOiJIUzI1NiJ9.e30.x", "another's token");
    is_fault(NUC_CREDENTIALS_BAD_SUM, form, text("Bearer %s%s", typo, ""), "mistyped");
}

static void test_basic(void)
{
    char value[300] = "Basic ";
    size_t i, len;
    unsigned good = 0;
    nuc_credentials_t got;
    const nuc_credentials_fault_t malformed = NUC_CREDENTIALS_MALFORMED;
    char other_id[13];

    snprintf(other_id, sizeof(other_id), "%.12s", other + 4);

    is_basic(NUC_CREDENTIALS_GOOD, text("%s:%s", id, secret), "id and secret");
    is_basic(NUC_CREDENTIALS_GOOD, text("%s:%s", id, key), "id and whole key");
    is_basic(NUC_CREDENTIALS_GOOD, text("%s:%s", key, ""), "the key as user");
    is_basic(NUC_CREDENTIALS_MISMATCH, text("%s:%s", other_id, key), "another's id");
    is_basic(NUC_CREDENTIALS_MISMATCH, text("%s:%s", "xapi", key), "a user with a key");
    is_basic(NUC_CREDENTIALS_BAD_SUM, text("%s:%s", other_id, secret),
             "another's id with a secret");
    is_basic(malformed, text("%s:%s", key, "x"), "the key as user, and a password");
    is_basic(malformed, text("%s%s", key, ""), "no colon");
    is_basic(malformed, text("%s:%s:", id, secret), "a colon too many");
    is_basic(malformed, text("%s:%s", id, ""), "no password");
    is_basic(malformed, text("%s:%s", "", secret), "no user");
    is_basic(malformed, text("%s: %s", id, secret), "a space");
    is_basic(malformed, ":", "two times nothing");
    is_basic(malformed, text("%s:%s0123456789", key, key), "far too long");
    is_fault(malformed, NUC_CREDENTIALS_BASIC, "Basic", "no token");
    is_fault(malformed, NUC_CREDENTIALS_BASIC, "Basic ====", "padding of nothing");
    is_fault(malformed, NUC_CREDENTIALS_BASIC, "Basic YTpi YTpi", "two tokens");

    /* the key as user has 67 characters: two are of the padding */
    EVP_EncodeBlock((uint8_t *) value + 6, (uint8_t *) text("%s:%s", key, ""), 67);
    len = strlen(value);
    is_int(parse(value, 1, &got), NUC_CREDENTIALS_GOOD, "with its padding");
    value[len - 3]++;
    is_fault(malformed, NUC_CREDENTIALS_BASIC, value, "bits behind the last byte");
    value[len - 3]--;

    for (i = 6; i < len; i++) {
        value[len - 1 - (i - 6)] = '\0';
        good += parse(value, 1, &got) == NUC_CREDENTIALS_GOOD;
    }

    is_int(good, 0, "nothing of it that was cut off is good, padding included");
}

static void test_bare(void)
{
    nuc_credentials_t got;

    is_fault(NUC_CREDENTIALS_GOOD, NUC_CREDENTIALS_BARE, key, "the bare key");
    is_fault(NUC_CREDENTIALS_GOOD, NUC_CREDENTIALS_BARE, text("  %s%s", key, "\t"),
             "spaces around it");
    is_fault(NUC_CREDENTIALS_MALFORMED, NUC_CREDENTIALS_BARE, text("%s %s", key, "x"),
             "the bare key and more");
    is_int(parse(key, 0, &got), NUC_CREDENTIALS_SCHEME, "where it is not allowed");

    is_int(nuc_credentials_bare(nuc_str(key), &got), NUC_CREDENTIALS_GOOD, "X-API-Key");
    is_int(nuc_credentials_bare(NUC_STR(" "), &got), NUC_CREDENTIALS_NONE,
           "an empty one");
    is_int(nuc_credentials_bare(NUC_STR_NONE, &got), NUC_CREDENTIALS_NONE, "none");
    is_int(nuc_credentials_bare(NUC_STR("secret"), &got), NUC_CREDENTIALS_MALFORMED,
           "somebody else's");
}

static void test_others(void)
{
    static uint8_t scratch[NUC_CREDENTIALS_SCRATCH];
    size_t i, len = 1 << 20;
    char *long_value = malloc(len);
    nuc_credentials_t got;
    static const char *const schemes[] = {"Digest username=\"a\"",
                                          "Negotiate x",
                                          "Basi",
                                          "Basic:x",
                                          "Basics x",
                                          "Bearers",
                                          "Bear x",
                                          "=",
                                          "nuc"};

    for (i = 0; i < sizeof(schemes) / sizeof(schemes[0]); i++) {
        is_fault(NUC_CREDENTIALS_SCHEME, NUC_CREDENTIALS_UNKNOWN, schemes[i], schemes[i]);
    }

    is_fault(NUC_CREDENTIALS_NONE, NUC_CREDENTIALS_UNKNOWN, "", "nothing");
    is_fault(NUC_CREDENTIALS_NONE, NUC_CREDENTIALS_UNKNOWN, " \t ", "nothing but spaces");

    memset(long_value, 'A', len);
    memcpy(long_value, "Basic ", 6);
    is_int(nuc_credentials_authorization((nuc_str_t){(uint8_t *) long_value, len - 2}, 1,
                                         scratch, &got),
           NUC_CREDENTIALS_MALFORMED, "a megabyte of Basic");
    memset(long_value, ' ', len);
    is_int(nuc_credentials_authorization((nuc_str_t){(uint8_t *) long_value, len}, 1,
                                         scratch, &got),
           NUC_CREDENTIALS_NONE, "a megabyte of spaces");
    free(long_value);
}

int main(void)
{
    nuc_key_make(key, NULL);
    nuc_key_make(other, NULL);
    snprintf(id, sizeof(id), "%.12s", key + 4);
    snprintf(secret, sizeof(secret), "%.49s", key + 17);

    test_bearer();
    test_basic();
    test_bare();
    test_others();

    return tap_done();
}
