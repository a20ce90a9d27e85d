/*
 * How much room a queue's directory has and takes, counted over all its writers.
 */

#ifndef NUC_LOG_SPACE_H
#define NUC_LOG_SPACE_H

#include "nuc_err.h"
#include "nuc_sys.h"

typedef struct {
    uint64_t used;       /* bytes of all writers' files */
    uint64_t free_bytes; /* of the file system, for unprivileged users */
    uint64_t drain_rate; /* bytes/s that the worker removes, smoothed; 0: not seen yet */
    uint64_t counted_at; /* µs, monotonic */
} nuc_space_t;

/* Count anew; "space" is zero before the first time. */
nuc_rc_t nuc_space_count(nuc_space_t *space, const nuc_sys_t *sys, const char *dir,
                         nuc_err_t *err);

/* Seconds until "bytes" are likely to have been removed, from 1 to 60. */
unsigned nuc_space_wait(const nuc_space_t *space, uint64_t bytes);

#endif /* NUC_LOG_SPACE_H */
