#include "nuc_registry_value.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "nuc_conf.h"

#define NUC_VALUE_MAX INT64_MAX /* what SQLite holds */

static const char *const nuc_scope_names[] = {
    "collect", "upload", "exchange", "read", "admin",
};

static const char *const nuc_unit_names[] = {
    [NUC_UNIT_REQUESTS] = "requests",
    [NUC_UNIT_EVENTS] = "events",
    [NUC_UNIT_BYTES] = "bytes",
};

static const char *const nuc_quota_names[] = {
    [NUC_QUOTA_QUEUE_BYTES] = "queue_bytes",
    [NUC_QUOTA_EVENTS_A_DAY] = "events_a_day",
    [NUC_QUOTA_INFLIGHT] = "inflight",
};

const char *nuc_unit_name(nuc_unit_t unit)
{
    return nuc_unit_names[unit];
}

const char *nuc_quota_name(nuc_quota_t quota)
{
    return nuc_quota_names[quota];
}

int nuc_quota_is_bytes(nuc_quota_t quota)
{
    return quota != NUC_QUOTA_EVENTS_A_DAY;
}

uint64_t *nuc_quota_field(nuc_snapshot_tenant_t *tenant, nuc_quota_t quota)
{
    switch (quota) {
    case NUC_QUOTA_QUEUE_BYTES:
        return &tenant->max_queue_bytes;
    case NUC_QUOTA_EVENTS_A_DAY:
        return &tenant->max_events_a_day;
    default:
        return &tenant->max_inflight;
    }
}

const char *nuc_scope_name(unsigned number)
{
    return number < sizeof(nuc_scope_names) / sizeof(nuc_scope_names[0])
               ? nuc_scope_names[number]
               : NULL;
}

static unsigned nuc_scope_bit(const char *text, size_t len)
{
    unsigned i;
    const char *name;

    for (i = 0; (name = nuc_scope_name(i)) != NULL; i++) {
        if (strlen(name) == len && memcmp(name, text, len) == 0) {
            return 1U << i;
        }
    }

    return 0;
}

nuc_rc_t nuc_scopes_parse(const char *text, unsigned *scopes, nuc_err_t *err)
{
    size_t len;
    unsigned bit;

    *scopes = 0;

    for (;; text += len + 1) {
        len = strcspn(text, ",");
        bit = nuc_scope_bit(text, len);

        if (bit == 0) {
            nuc_err_set(err, NUC_INVALID, "\"%.*s\" is no scope", (int) len, text);
            nuc_err_hint(err, "scopes are collect, upload, exchange, read, admin, with "
                              "commas between them");
            return NUC_INVALID;
        }

        *scopes |= bit;

        if (text[len] == '\0') {
            return NUC_OK;
        }
    }
}

/* ---- networks */

static const uint8_t nuc_network_mapped[12] = {[10] = 0xff, [11] = 0xff};

static int nuc_network_is_v4(const nuc_network_t *network)
{
    return network->bits >= 96 && memcmp(network->address, nuc_network_mapped, 12) == 0;
}

/* Are all bits behind the prefix 0? */
static int nuc_network_clean(const nuc_network_t *network)
{
    unsigned i;

    for (i = network->bits; i < 128; i++) {
        if (network->address[i / 8] & (0x80U >> i % 8)) {
            return 0;
        }
    }

    return 1;
}

nuc_rc_t nuc_network_parse(const char *text, nuc_network_t *network, nuc_err_t *err)
{
    uint64_t bits;
    unsigned offset;
    const char *slash;
    char address[INET6_ADDRSTRLEN];

    memset(network, 0, sizeof(*network));
    slash = strchr(text, '/');

    if (snprintf(address, sizeof(address), "%.*s",
                 slash != NULL ? (int) (slash - text) : (int) sizeof(address),
                 text) >= (int) sizeof(address)) {
        goto invalid;
    }

    if (inet_pton(AF_INET, address, network->address + 12) == 1) {
        memcpy(network->address, nuc_network_mapped, sizeof(nuc_network_mapped));
        offset = 96;
    } else if (inet_pton(AF_INET6, address, network->address) == 1) {
        offset = 0;
    } else {
        goto invalid;
    }

    bits = 128 - offset;

    if (slash != NULL &&
        (nuc_conf_count(slash + 1, &bits) != NUC_OK || bits > 128 - offset)) {
        goto invalid;
    }

    network->bits = (uint8_t) (bits + offset);

    if (!nuc_network_clean(network)) {
        nuc_err_set(err, NUC_INVALID, "\"%s\" has bits set behind its prefix", text);
        nuc_err_hint(err, "10.1.0.0/16 is a network, 10.1.2.3/32 one address");
        return NUC_INVALID;
    }

    return NUC_OK;

invalid:

    nuc_err_set(err, NUC_INVALID, "\"%s\" is neither an address nor a network", text);
    nuc_err_hint(err, "write 10.1.0.0/16, 2001:db8::/32 or an address");

    return NUC_INVALID;
}

void nuc_network_text(const nuc_network_t *network, char text[NUC_NETWORK_TEXT_MAX])
{
    int v4 = nuc_network_is_v4(network);
    char address[INET6_ADDRSTRLEN];

    inet_ntop(v4 ? AF_INET : AF_INET6, network->address + (v4 ? 12 : 0), address,
              sizeof(address));
    snprintf(text, NUC_NETWORK_TEXT_MAX, "%s/%u", address,
             network->bits - (v4 ? 96U : 0U));
}

/* ---- limits */

static nuc_rc_t nuc_amount_parse(int bytes, const char *text, uint64_t *value)
{
    nuc_rc_t rc;

    rc = bytes ? nuc_conf_size(text, value) : nuc_conf_count(text, value);

    return rc == NUC_OK && *value > 0 && *value <= NUC_VALUE_MAX ? NUC_OK : NUC_INVALID;
}

static void nuc_amount_text(int bytes, uint64_t value, char text[NUC_AMOUNT_TEXT_MAX])
{
    const char *unit = "";

    if (bytes && value > 0 && value % (1U << 30) == 0) {
        value >>= 30;
        unit = "g";
    } else if (bytes && value > 0 && value % (1U << 20) == 0) {
        value >>= 20;
        unit = "m";
    } else if (bytes && value > 0 && value % (1U << 10) == 0) {
        value >>= 10;
        unit = "k";
    }

    snprintf(text, NUC_AMOUNT_TEXT_MAX, "%" PRIu64 "%s", value, unit);
}

nuc_rc_t nuc_limit_parse(nuc_unit_t unit, const char *text, nuc_limit_t *limit,
                         nuc_err_t *err)
{
    const char *end;
    char rate[NUC_AMOUNT_TEXT_MAX];
    int bytes = unit == NUC_UNIT_BYTES;

    *limit = (nuc_limit_t){.rate = 0};

    if (strcmp(text, "none") == 0) {
        return NUC_OK;
    }

    end = strstr(text, "/s");

    if (end == NULL || (size_t) (end - text) >= sizeof(rate) ||
        (end[2] != '\0' && end[2] != ':')) {
        goto invalid;
    }

    snprintf(rate, sizeof(rate), "%.*s", (int) (end - text), text);

    if (nuc_amount_parse(bytes, rate, &limit->rate) != NUC_OK) {
        goto invalid;
    }

    limit->burst = limit->rate;

    if (end[2] == '\0' || nuc_amount_parse(bytes, end + 3, &limit->burst) == NUC_OK) {
        return NUC_OK;
    }

invalid:

    nuc_err_set(err, NUC_INVALID, "\"%s\" is no limit of %s", text, nuc_unit_name(unit));
    nuc_err_hint(err, "%s, or none",
                 bytes ? "RATE/s or RATE/s:BURST, with k, m or g, as 5m/s:20m"
                       : "RATE/s or RATE/s:BURST, as 100/s:200");

    return NUC_INVALID;
}

void nuc_limit_text(nuc_unit_t unit, const nuc_limit_t *limit,
                    char text[NUC_LIMIT_TEXT_MAX])
{
    int bytes = unit == NUC_UNIT_BYTES;
    char rate[NUC_AMOUNT_TEXT_MAX], burst[NUC_AMOUNT_TEXT_MAX];

    if (limit->rate == 0) {
        strcpy(text, "none");
        return;
    }

    nuc_amount_text(bytes, limit->rate, rate);
    nuc_amount_text(bytes, limit->burst, burst);
    snprintf(text, NUC_LIMIT_TEXT_MAX, "%s/s:%s", rate, burst);
}

nuc_rc_t nuc_quota_parse(nuc_quota_t quota, const char *text, uint64_t *value,
                         nuc_err_t *err)
{
    int bytes = nuc_quota_is_bytes(quota);

    *value = 0;

    if (strcmp(text, "none") == 0 || nuc_amount_parse(bytes, text, value) == NUC_OK) {
        return NUC_OK;
    }

    nuc_err_set(err, NUC_INVALID, "\"%s\" is no %s", text, bytes ? "size" : "number");
    nuc_err_hint(err, bytes ? "write 512m or 10g, or none" : "digits alone, or none");

    return NUC_INVALID;
}

void nuc_quota_text(nuc_quota_t quota, uint64_t value, char text[NUC_AMOUNT_TEXT_MAX])
{
    if (value == 0) {
        strcpy(text, "none");
        return;
    }

    nuc_amount_text(nuc_quota_is_bytes(quota), value, text);
}
