/*
 * When keys were used last: lines "ID SECONDS" of the file last-used in the queue's
 * directory.
 */

#ifndef NUC_CTL_LAST_USED_H
#define NUC_CTL_LAST_USED_H

#include "nuc_err.h"
#include "nuc_sys.h"

typedef struct {
    uint64_t id;
    uint64_t seconds; /* since 1970 */
} nuc_last_used_entry_t;

typedef struct {
    nuc_last_used_entry_t *entries; /* by id */
    size_t count;
} nuc_last_used_t;

/* A file that is not there tells nothing.  free() the entries after the last use. */
nuc_rc_t nuc_last_used_load(const nuc_sys_t *sys, const char *dir, nuc_last_used_t *used,
                            nuc_err_t *err);

/* Seconds since 1970, 0: not known. */
uint64_t nuc_last_used(const nuc_last_used_t *used, uint64_t id);

#endif /* NUC_CTL_LAST_USED_H */
