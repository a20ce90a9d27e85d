/*
 * How many bytes each tenant has in the queue: its durable records that some consumer has
 * not passed.  Two readers go over the log, one at its durable end, which adds, and one
 * at the slowest consumer, which takes off; neither keeps anything of the records, so the
 * memory is that of the tenants' names, however much is queued.
 *
 * A record's bytes are those of its encoding (nuc_record_encoded_len).  What is damaged
 * counts for nobody; damage that comes between the two readers is added and never taken
 * off, until the queue is empty or the count begins anew.
 */

#ifndef NUC_LOG_TENANTS_H
#define NUC_LOG_TENANTS_H

#include "nuc_log.h"
#include "nuc_name.h"

typedef struct {
    char name[NUC_NAME_MAX + 1];
    int64_t bytes;   /* under 0 only while the first reader lags behind the second */
    uint64_t passed; /* bytes that were taken off since nuc_log_tenants_settle */
    uint64_t rate;   /* bytes a second that are taken off, smoothed */
} nuc_log_tenant_t;

typedef struct nuc_log_tenants_s nuc_log_tenants_t;

/*
 * Begins to count behind what every consumer has passed, see nuc_log_keeper_remove for
 * "consumers"; with none, everything counts.
 */
nuc_rc_t nuc_log_tenants_open(const nuc_sys_t *sys, const char *dir,
                              const nuc_log_consumer_t *consumers, size_t count,
                              nuc_log_tenants_t **tenants, nuc_err_t *err);
void nuc_log_tenants_close(nuc_log_tenants_t *tenants);

/*
 * Goes on to the durable end and to where the slowest consumer is now.  *moved: some
 * record was added or taken off.  NUC_AGAIN: there is more than one call may read, and
 * what the tenants are said to have is not right before the next.  After NUC_OK no
 * record before "consumers" is needed any more.  After another error: close it.
 */
nuc_rc_t nuc_log_tenants_count(nuc_log_tenants_t *tenants,
                               const nuc_log_consumer_t *consumers, size_t count,
                               int *moved, nuc_err_t *err);

/*
 * Those that have something in the queue, by name, after "elapsed" µs since the last
 * call: their rates are reckoned, and who has nothing any more is forgotten.  *list is
 * valid until the next call of any of these.
 */
size_t nuc_log_tenants_settle(nuc_log_tenants_t *tenants, uint64_t elapsed,
                              const nuc_log_tenant_t **list);

#endif /* NUC_LOG_TENANTS_H */
