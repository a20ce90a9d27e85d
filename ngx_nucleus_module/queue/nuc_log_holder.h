/*
 * Who is alive?  Trying a writer's lock would take it: the list of the system's locks
 * tells, too.
 */

#ifndef NUC_LOG_HOLDER_H
#define NUC_LOG_HOLDER_H

#include "nuc_buf.h"
#include "nuc_sys.h"

/* Replaces what "locks" held by the list as of now, for nuc_log_holder. */
nuc_rc_t nuc_log_read_locks(const nuc_sys_t *sys, nuc_buf_t *locks, nuc_err_t *err);

/* The process that has an exclusive flock(2) of the file, 0: none has. */
long nuc_log_holder(const nuc_buf_t *locks, const struct stat *st);

#endif /* NUC_LOG_HOLDER_H */
