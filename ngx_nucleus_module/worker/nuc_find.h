/*
 * Where a record lies in the log.  Takes no lock, and can be asked beside a running
 * worker.
 */

#ifndef NUC_FIND_H
#define NUC_FIND_H

#include <stdio.h>

#include "nuc_worker_conf.h"

/*
 * The segment and the offset of the record, and its line of NDJSON.  "rid" as text.
 * NUC_INVALID: not an id.  NUC_NOT_FOUND: the log does not hold it, or not any more.
 */
nuc_rc_t nuc_find_record(const nuc_worker_conf_t *conf, const char *rid, FILE *out,
                         nuc_err_t *err);

#endif /* NUC_FIND_H */
