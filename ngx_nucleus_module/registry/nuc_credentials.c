#include "nuc_credentials.h"

#include <strings.h>

#define NUC_BASE64_MAX (NUC_CREDENTIALS_SCRATCH / 3 * 4)

static nuc_str_t nuc_credentials_trim(nuc_str_t value)
{
    while (value.len > 0 && (value.data[0] == ' ' || value.data[0] == '\t')) {
        value.data++;
        value.len--;
    }

    while (value.len > 0 &&
           (value.data[value.len - 1] == ' ' || value.data[value.len - 1] == '\t')) {
        value.len--;
    }

    return value;
}

static nuc_credentials_fault_t nuc_credentials_fault(nuc_key_fault_t fault)
{
    switch (fault) {
    case NUC_KEY_GOOD:
        return NUC_CREDENTIALS_GOOD;
    case NUC_KEY_BAD_SUM:
        return NUC_CREDENTIALS_BAD_SUM;
    default:
        return NUC_CREDENTIALS_MALFORMED;
    }
}

/* 0 to 63, or -1: RFC 4648, section 4. */
static int nuc_base64_value(uint8_t c)
{
    if (c >= 'A' && c <= 'Z') {
        return c - 'A';
    }

    if (c >= 'a' && c <= 'z') {
        return c - 'a' + 26;
    }

    if (c >= '0' && c <= '9') {
        return c - '0' + 52;
    }

    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* With its padding, and no bits beyond the last byte; a text has one form. */
static int nuc_base64_decode(nuc_str_t text, uint8_t out[NUC_CREDENTIALS_SCRATCH],
                             nuc_str_t *decoded)
{
    int value;
    size_t i, len = 0, digits = text.len;
    unsigned bits = 0;
    uint32_t held = 0;

    if (text.len == 0 || text.len % 4 != 0 || text.len > NUC_BASE64_MAX) {
        return 0;
    }

    while (text.len - digits < 2 && text.data[digits - 1] == '=') {
        digits--;
    }

    for (i = 0; i < digits; i++) {
        value = nuc_base64_value(text.data[i]);

        if (value == -1) {
            return 0;
        }

        held = held << 6 | (uint32_t) value;
        bits += 6;

        if (bits >= 8) {
            bits -= 8;
            out[len++] = (uint8_t) (held >> bits);
            held &= (1u << bits) - 1;
        }
    }

    *decoded = (nuc_str_t){out, len};

    return held == 0;
}

static nuc_credentials_fault_t nuc_credentials_pair(nuc_str_t user, nuc_str_t password,
                                                    nuc_key_t *key)
{
    uint64_t id;
    nuc_key_fault_t fault;

    if (password.len == 0) {
        return nuc_credentials_fault(nuc_key_parse(user, key));
    }

    if (password.len != NUC_KEY_LEN) {
        return nuc_credentials_fault(nuc_key_parse_pair(user, password, key));
    }

    fault = nuc_key_parse(password, key);

    if (fault == NUC_KEY_GOOD &&
        (nuc_key_id_parse(user, &id) != NUC_OK || id != key->id)) {
        return NUC_CREDENTIALS_MISMATCH;
    }

    return nuc_credentials_fault(fault);
}

static nuc_credentials_fault_t nuc_credentials_basic(nuc_str_t token, uint8_t *scratch,
                                                     nuc_key_t *key)
{
    const uint8_t *colon;
    nuc_str_t decoded, user, password;

    if (!nuc_base64_decode(token, scratch, &decoded)) {
        return NUC_CREDENTIALS_MALFORMED;
    }

    colon = memchr(decoded.data, ':', decoded.len);

    if (colon == NULL) {
        return NUC_CREDENTIALS_MALFORMED;
    }

    user = (nuc_str_t){decoded.data, (size_t) (colon - decoded.data)};
    password = (nuc_str_t){colon + 1, decoded.len - user.len - 1};

    return nuc_credentials_pair(user, password, key);
}

static int nuc_credentials_is_scheme(nuc_str_t value, nuc_str_t scheme, nuc_str_t *token)
{
    if (value.len < scheme.len ||
        strncasecmp((const char *) value.data, (const char *) scheme.data, scheme.len) !=
            0 ||
        (value.len > scheme.len && value.data[scheme.len] != ' ')) {
        return 0;
    }

    *token = (nuc_str_t){value.data + scheme.len, value.len - scheme.len};

    while (token->len > 0 && token->data[0] == ' ') {
        token->data++;
        token->len--;
    }

    return 1;
}

nuc_credentials_fault_t nuc_credentials_bare(nuc_str_t value,
                                             nuc_credentials_t *credentials)
{
    memset(credentials, 0, sizeof(*credentials));
    value = nuc_credentials_trim(value);

    if (value.len == 0) {
        return NUC_CREDENTIALS_NONE;
    }

    credentials->form = NUC_CREDENTIALS_BARE;

    return nuc_credentials_fault(nuc_key_parse(value, &credentials->key));
}

nuc_credentials_fault_t nuc_credentials_authorization(
    nuc_str_t value, int bare, uint8_t scratch[NUC_CREDENTIALS_SCRATCH],
    nuc_credentials_t *credentials)
{
    nuc_str_t token, prefix = NUC_STR(NUC_KEY_PREFIX);

    memset(credentials, 0, sizeof(*credentials));
    value = nuc_credentials_trim(value);

    if (value.len == 0) {
        return NUC_CREDENTIALS_NONE;
    }

    if (nuc_credentials_is_scheme(value, NUC_STR("Bearer"), &token)) {
        credentials->form = NUC_CREDENTIALS_BEARER;
        return nuc_credentials_fault(nuc_key_parse(token, &credentials->key));
    }

    if (nuc_credentials_is_scheme(value, NUC_STR("Basic"), &token)) {
        credentials->form = NUC_CREDENTIALS_BASIC;
        return nuc_credentials_basic(token, scratch, &credentials->key);
    }

    if (bare && value.len >= prefix.len &&
        memcmp(value.data, prefix.data, prefix.len) == 0) {
        return nuc_credentials_bare(value, credentials);
    }

    return NUC_CREDENTIALS_SCHEME;
}
