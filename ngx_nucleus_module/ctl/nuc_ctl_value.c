#include "nuc_ctl_value.h"

#include <inttypes.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <time.h>

#include "nuc_conf.h"
#include "nuc_fs.h"

#define NUC_VALUE_FILE_MAX (1u << 20) /* bytes of a certificate's file */

/* what SQLite and µs can hold, and the year has four digits */
#define NUC_VALUE_SECONDS_MAX 253402300799ULL

nuc_rc_t nuc_value_duration(const char *text, uint64_t *ms, nuc_err_t *err)
{
    if (nuc_conf_time(text, ms) == NUC_OK && *ms / 1000 < NUC_VALUE_SECONDS_MAX) {
        return NUC_OK;
    }

    nuc_err_set(err, NUC_INVALID, "\"%s\" is no duration", text);
    nuc_err_hint(err, "write 30s, 10m, 12h or 7d");

    return NUC_INVALID;
}

/* The forms that a date may have. */
static const char *const nuc_value_dates[] = {
    "%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%dT%H:%MZ", "%Y-%m-%dT%H:%M:%S",
    "%Y-%m-%dT%H:%M",     "%Y-%m-%d",
};

static nuc_rc_t nuc_value_date(const char *text, uint64_t *seconds)
{
    size_t i;
    time_t t;
    struct tm tm;
    char again[32];
    const char *end;

    for (i = 0; i < sizeof(nuc_value_dates) / sizeof(nuc_value_dates[0]); i++) {
        memset(&tm, 0, sizeof(tm));
        end = strptime(text, nuc_value_dates[i], &tm);

        if (end == NULL || *end != '\0') {
            continue;
        }

        t = timegm(&tm);

        /* February 30 has become a day of March, and strptime takes "2026- 1-2" */
        if (t <= 0 || (uint64_t) t > NUC_VALUE_SECONDS_MAX ||
            strftime(again, sizeof(again), nuc_value_dates[i], &tm) == 0 ||
            strcmp(again, text) != 0) {
            return NUC_INVALID;
        }

        *seconds = (uint64_t) t;

        return NUC_OK;
    }

    return NUC_INVALID;
}

nuc_rc_t nuc_value_time(const char *text, uint64_t now, int ago, uint64_t *seconds,
                        nuc_err_t *err)
{
    uint64_t ms;

    if (nuc_value_date(text, seconds) == NUC_OK) {
        return NUC_OK;
    }

    if (*text == '@' && nuc_conf_count(text + 1, seconds) == NUC_OK &&
        *seconds <= NUC_VALUE_SECONDS_MAX) {
        return NUC_OK;
    }

    if (nuc_conf_time(text, &ms) == NUC_OK && ms / 1000 < NUC_VALUE_SECONDS_MAX - now) {
        *seconds = ago ? now - (ms / 1000 < now ? ms / 1000 : now) : now + ms / 1000;
        return NUC_OK;
    }

    nuc_err_set(err, NUC_INVALID, "\"%s\" is no time", text);
    nuc_err_hint(err, "write 2026-12-31, 2026-12-31T12:00:00Z (UTC) or 30d");

    return NUC_INVALID;
}

/* ---- limits */

/* "queue_bytes" is the option "--queue-bytes". */
static void nuc_value_option_name(const char *name, char *option, size_t size)
{
    char *p;

    snprintf(option, size, "--%s", name);

    for (p = option; *p != '\0'; p++) {
        if (*p == '_') {
            *p = '-';
        }
    }
}

nuc_rc_t nuc_value_limits(const nuc_ctl_t *ctl, nuc_registry_limits_t *limits,
                          nuc_err_t *err)
{
    unsigned i;
    nuc_rc_t rc;
    char name[32];
    const char *text;

    memset(limits, 0, sizeof(*limits));
    rc = NUC_OK;

    for (i = 0; i < NUC_UNIT_COUNT && rc == NUC_OK; i++) {
        nuc_value_option_name(nuc_unit_name(i), name, sizeof(name));
        text = nuc_ctl_option(ctl, name);

        if (text != NULL) {
            limits->units |= 1U << i;
            rc = nuc_limit_parse(i, text, &limits->limits[i], err);
        }
    }

    for (i = 0; i < NUC_QUOTA_COUNT && rc == NUC_OK; i++) {
        nuc_value_option_name(nuc_quota_name(i), name, sizeof(name));
        text = nuc_ctl_option(ctl, name);

        if (text != NULL) {
            limits->quotas |= 1U << i;
            rc = nuc_quota_parse(i, text, &limits->quota[i], err);
        }
    }

    return rc;
}

/* ---- certificates */

/* One that is encrypted is none: OpenSSL would ask the terminal for a passphrase. */
static int nuc_value_no_passphrase(char *text, int size, int writing, void *ctx)
{
    (void) text;
    (void) size;
    (void) writing;
    (void) ctx;

    return -1;
}

static nuc_rc_t nuc_value_digest(const nuc_buf_t *pem, const char *path,
                                 uint8_t sha256[32], nuc_err_t *err)
{
    int done;
    BIO *bio;
    X509 *certificate;
    unsigned len = 32;

    bio = BIO_new_mem_buf(pem->data, (int) pem->len);

    if (bio == NULL) {
        return nuc_err_set(err, NUC_NOMEM, "no memory to read \"%s\"", path);
    }

    certificate = PEM_read_bio_X509(bio, NULL, nuc_value_no_passphrase, NULL);
    BIO_free(bio);

    if (certificate == NULL) {
        ERR_clear_error();
        nuc_err_set(err, NUC_INVALID, "\"%s\" has no certificate", path);
        nuc_err_hint(err, "it is to be PEM: -----BEGIN CERTIFICATE-----");
        return NUC_INVALID;
    }

    done = X509_digest(certificate, EVP_sha256(), sha256, &len);
    X509_free(certificate);

    return done ? NUC_OK
                : nuc_err_set(err, NUC_NOMEM, "the digest of \"%s\" failed", path);
}

nuc_rc_t nuc_value_certificate(const nuc_sys_t *sys, const char *path, uint8_t sha256[32],
                               nuc_err_t *err)
{
    nuc_rc_t rc;
    nuc_buf_t pem = NUC_BUF_INIT;

    rc = nuc_fs_read_file(sys, path, NUC_VALUE_FILE_MAX, &pem, err);

    if (rc == NUC_OK) {
        rc = nuc_value_digest(&pem, path, sha256, err);
    }

    nuc_buf_free(&pem);

    return rc;
}
