/*
 * What can be asked beside a running worker: it takes no lock, commits are read as they
 * are.
 */

#ifndef NUC_STATUS_H
#define NUC_STATUS_H

#include <stdio.h>

#include "nuc_worker_conf.h"

/*
 * Every pipeline that is registered or configured: its counts, positions, lag, how fast
 * it goes, and what the supervisor says of its process.  A
 * pipeline whose commit cannot be read is shown with its error, and the first such is
 * returned.
 */
nuc_rc_t nuc_status_print(const nuc_worker_conf_t *conf, int json, FILE *out,
                          nuc_err_t *err);

/*
 * Where the record lies in the log, and its line of NDJSON.  "rid" as text.  NUC_INVALID:
 * not an id.  NUC_NOT_FOUND: the log does not hold it, or not any more.
 */
nuc_rc_t nuc_status_find(const nuc_worker_conf_t *conf, const char *rid, FILE *out,
                         nuc_err_t *err);

#endif /* NUC_STATUS_H */
