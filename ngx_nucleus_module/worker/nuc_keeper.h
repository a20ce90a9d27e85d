/*
 * The keeper of the log: recovers what dead writers left, seals and indexes segments, and
 * removes what every registered pipeline has passed.
 */

#ifndef NUC_KEEPER_H
#define NUC_KEEPER_H

#include "nuc_log.h"
#include "nuc_meter.h"
#include "nuc_process.h"
#include "nuc_tenant_count.h"
#include "nuc_worker_conf.h"

typedef struct {
    const nuc_sys_t *sys;
    const char *state;
    nuc_log_keeper_t *log;
    nuc_tenant_count_t counted;
    uint64_t
        settled; /* the generations of all commits together, when last made durable */
} nuc_keeper_t;

/* NUC_BUSY: the queue has another keeper. */
nuc_rc_t nuc_keeper_open(nuc_keeper_t *keeper, const nuc_sys_t *sys, const char *state,
                         const char *queue, nuc_log_report_pt report, void *ctx,
                         nuc_err_t *err);
void nuc_keeper_close(nuc_keeper_t *keeper);

/*
 * One round: tend the log, then remove.  Nothing is removed unless the commit of every
 * registered pipeline could be read and is durable.  The first error is returned.
 */
nuc_rc_t nuc_keeper_round(nuc_keeper_t *keeper, nuc_err_t *err);

/* The process: a round every 500 ms until it is told to stop.  Returns the exit status.
 */
int nuc_keeper_process(nuc_process_t *process, const nuc_worker_conf_t *conf,
                       nuc_meter_t *meter);

#endif /* NUC_KEEPER_H */
