/*
 * Keeps DIR/tenant-bytes right as long as it is there: nginx has made it because some
 * tenant has a quota of bytes in the queue, see nuc_tenant_bytes.h.
 */

#ifndef NUC_TENANT_COUNT_H
#define NUC_TENANT_COUNT_H

#include "nuc_log_tenants.h"

typedef struct {
    const nuc_sys_t *sys;
    const char *queue;
    nuc_log_tenants_t *tenants; /* NULL: nobody asks, or it has failed */
    uint64_t number;            /* of the last edition */
    uint64_t written;           /* when; µs, monotonic */
    uint64_t failed;            /* likewise; 0: it has not */
} nuc_tenant_count_t;

void nuc_tenant_count_init(nuc_tenant_count_t *of, const nuc_sys_t *sys,
                           const char *queue);
void nuc_tenant_count_free(nuc_tenant_count_t *of);

/*
 * Count on, before anything is removed that these consumers have passed.  NUC_AGAIN: not
 * all is counted yet, and nothing may be removed.  After another error, which is not told
 * again for a minute, things may be removed: the count begins anew then.
 */
nuc_rc_t nuc_tenant_count_round(nuc_tenant_count_t *of,
                                const nuc_log_consumer_t *consumers, size_t count,
                                nuc_err_t *err);

#endif /* NUC_TENANT_COUNT_H */
