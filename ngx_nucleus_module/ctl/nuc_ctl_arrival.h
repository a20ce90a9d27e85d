/*
 * Has an event that was answered 202 come out at the other end?  Told from the worker's
 * local API, whatever the sinks are, or from the store of a file sink.
 *
 * By the API: what is durable when the answer has come includes the event, so it has
 * passed a pipeline as soon as that has passed as many records of each writer.
 */

#ifndef NUC_CTL_ARRIVAL_H
#define NUC_CTL_ARRIVAL_H

#include "nuc_ctl_http.h"
#include "nuc_sys.h"

/* ---- the worker */

typedef struct nuc_arrival_s nuc_arrival_t;

/* Look at the worker behind the socket: before the event is sent. */
nuc_rc_t nuc_arrival_begin(const char *socket, uint64_t ms, nuc_arrival_t **arrival,
                           nuc_err_t *err);

/* Look again, when it is durable. */
nuc_rc_t nuc_arrival_mark(nuc_arrival_t *arrival, uint64_t ms, nuc_err_t *err);

/*
 * NUC_OK: every pipeline of the configuration has passed it, and one at least has
 * delivered records meanwhile; NUC_AGAIN: not yet, and "err" says which has not.
 */
nuc_rc_t nuc_arrival_look(nuc_arrival_t *arrival, uint64_t ms, nuc_err_t *err);

void nuc_arrival_free(nuc_arrival_t *arrival);

/* ---- the store */

/*
 * Is there a line of the record "rid" in the file sink's directory, of the tenant, in the
 * hours from "since" to now (us since 1970)?  NUC_AGAIN: not yet.
 */
nuc_rc_t nuc_arrival_stored(const nuc_sys_t *sys, const char *store, const char *tenant,
                            const char *rid, uint64_t since, nuc_err_t *err);

#endif /* NUC_CTL_ARRIVAL_H */
