/*
 * Which state reads which queue.  Two workers with different states on one queue would
 * remove what the other has not read; a queue that is empty because its disk is not
 * mounted would make pipelines forget where they are.  So each knows the other:
 *
 *     STATE/identity     the state's UUID, and that of its queue ("-": none yet)
 *     QUEUE/owner        the queue's UUID, that of its state, and where that lies
 *
 * The first worker that starts on a queue without an owner takes it.  The state's UUID is
 * durable before the queue names it, and the queue's before the state does; whoever dies
 * in between goes on at the next start.
 */

#ifndef NUC_OWNER_H
#define NUC_OWNER_H

#include "nuc_sys.h"

#define NUC_OWNER_STATE_NAME "identity"
#define NUC_OWNER_QUEUE_NAME "owner"

/*
 * Do they belong together, or can they?  Makes nothing.  NUC_INVALID, with a hint, when
 * not; NUC_CORRUPT when one of the files cannot be read.
 */
nuc_rc_t nuc_owner_check(const nuc_sys_t *sys, const char *state, const char *queue,
                         nuc_err_t *err);

/*
 * The same, and then they do, durably.  The caller holds the lock of the state.  A queue
 * that is not there yet is taken when this is called again.  NUC_BUSY: another worker is
 * doing the same.
 */
nuc_rc_t nuc_owner_claim(const nuc_sys_t *sys, const char *state, const char *queue,
                         nuc_err_t *err);

/* Whatever they belonged to, they belong together from now on.  Likewise. */
nuc_rc_t nuc_owner_accept(const nuc_sys_t *sys, const char *state, const char *queue,
                          nuc_err_t *err);

#endif /* NUC_OWNER_H */
