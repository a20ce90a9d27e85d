/*
 * Where the directories of a configuration lie: on a disk, or where no sync means
 * anything.
 */

#ifndef NUC_STORAGE_H
#define NUC_STORAGE_H

#include "nuc_sys.h"
#include "nuc_worker_conf.h"

typedef void (*nuc_storage_warn_pt)(void *ctx, const nuc_err_t *err);

/*
 * NUC_INVALID when the queue or the state lies in memory.  What depends on something
 * else, and a store in memory, is a warning.
 */
nuc_rc_t nuc_storage_check(const nuc_sys_t *sys, const nuc_worker_conf_t *conf,
                           nuc_storage_warn_pt warn, void *ctx, nuc_err_t *err);

#endif /* NUC_STORAGE_H */
