/*
 * The values of the registry as people write and read them: scopes, networks, limits.
 */

#ifndef NUC_REGISTRY_VALUE_H
#define NUC_REGISTRY_VALUE_H

#include "nuc_snapshot.h"

#define NUC_NETWORK_TEXT_MAX 50 /* with the final zero */
#define NUC_AMOUNT_TEXT_MAX  24
#define NUC_LIMIT_TEXT_MAX   (2 * NUC_AMOUNT_TEXT_MAX + 4)

/* The quotas of a tenant; each has its field in nuc_snapshot_tenant_t. */
typedef enum {
    NUC_QUOTA_QUEUE_BYTES = 0,
    NUC_QUOTA_EVENTS_A_DAY,
    NUC_QUOTA_INFLIGHT,
    NUC_QUOTA_COUNT
} nuc_quota_t;

const char *nuc_unit_name(nuc_unit_t unit);    /* "requests" */
const char *nuc_quota_name(nuc_quota_t quota); /* "queue_bytes", as the column is named */
int nuc_quota_is_bytes(nuc_quota_t quota);
uint64_t *nuc_quota_field(nuc_snapshot_tenant_t *tenant, nuc_quota_t quota);

/* The name of the scope whose bit is 1 << "number", or NULL behind the last. */
const char *nuc_scope_name(unsigned number);

/* "collect,upload".  NUC_INVALID. */
nuc_rc_t nuc_scopes_parse(const char *text, unsigned *scopes, nuc_err_t *err);

/*
 * "10.0.0.0/8", "2001:db8::/32", or one address.  NUC_INVALID, also when bits behind the
 * prefix are set: who wrote that meant something else.
 */
nuc_rc_t nuc_network_parse(const char *text, nuc_network_t *network, nuc_err_t *err);
void nuc_network_text(const nuc_network_t *network, char text[NUC_NETWORK_TEXT_MAX]);

/*
 * "100/s", "100/s:200" (rate and burst), bytes with k, m or g; "none" is a rate of 0.
 * Without a burst it is what a second brings.  NUC_INVALID.
 */
nuc_rc_t nuc_limit_parse(nuc_unit_t unit, const char *text, nuc_limit_t *limit,
                         nuc_err_t *err);
void nuc_limit_text(nuc_unit_t unit, const nuc_limit_t *limit,
                    char text[NUC_LIMIT_TEXT_MAX]);

/* A count, or a size with k, m or g; "none" is 0.  NUC_INVALID. */
nuc_rc_t nuc_quota_parse(nuc_quota_t quota, const char *text, uint64_t *value,
                         nuc_err_t *err);
void nuc_quota_text(nuc_quota_t quota, uint64_t value, char text[NUC_AMOUNT_TEXT_MAX]);

#endif /* NUC_REGISTRY_VALUE_H */
