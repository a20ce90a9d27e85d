/*
 * The worker's state directory:
 *
 *     lock                    held by the supervisor; its pid
 *     pipelines/NAME/         a registered pipeline: the log is kept for it
 *     pipelines/NAME/lock     held by the process of the pipeline
 *     pipelines/NAME/commit   see nuc_commit.h
 *     pipelines/NAME/progress see nuc_progress.h
 *     identity                see nuc_owner.h
 *     processes               see nuc_roster.h
 *
 * A pipeline is registered from the moment that its directory exists, until it is
 * forgotten.
 */

#ifndef NUC_STATE_H
#define NUC_STATE_H

#include "nuc_fs.h"
#include "nuc_name.h"
#include "nuc_sys.h"
#include "nuc_worker_conf.h"

typedef struct {
    char (*names)[NUC_NAME_MAX + 1];
    size_t count;
} nuc_state_names_t;

/* state/pipelines/NAME */
nuc_rc_t nuc_state_pipeline_dir(char out[NUC_PATH_MAX], const char *state,
                                const char *name, nuc_err_t *err);

/*
 * Make dir/lock, or take the one that is there, and write the process's id into it.
 * NUC_BUSY: another holds it, *holder is its id, 0 when not known.  Closing *fd, or the
 * death of all processes that have it, gives the lock back.
 */
nuc_rc_t nuc_state_lock(const nuc_sys_t *sys, const char *dir, int *fd, long *holder,
                        nuc_err_t *err);

/* The process that holds state/lock: the supervisor.  NUC_NOT_FOUND when none does. */
nuc_rc_t nuc_state_holder(const nuc_sys_t *sys, const char *state, long *holder,
                          nuc_err_t *err);

/* Make the state directory and what is fixed in it; durable on return. */
nuc_rc_t nuc_state_create(const nuc_sys_t *sys, const char *state, nuc_err_t *err);

/*
 * Register a pipeline that is not yet, after nuc_state_create: its directory and its
 * first commit are durable on return. The positions are those of the queue as it is
 * now; without a queue's directory there is nothing to pass over.  NUC_CORRUPT:
 * there is a directory that lost its commit.
 */
nuc_rc_t nuc_state_register(const nuc_sys_t *sys, const char *state, const char *queue,
                            const nuc_pipeline_conf_t *pipeline, nuc_err_t *err);

/*
 * The pipeline has another name from now on, and all that it had; durable on return.
 * NUC_NOT_FOUND, or NUC_BUSY when there is one of the new name, or its process runs.
 */
nuc_rc_t nuc_state_rename(const nuc_sys_t *sys, const char *state, const char *from,
                          const char *to, nuc_err_t *err);

/* All registered pipelines; an empty list without a state directory.  Free it. */
nuc_rc_t nuc_state_list(const nuc_sys_t *sys, const char *state, nuc_state_names_t *names,
                        nuc_err_t *err);
void nuc_state_names_free(nuc_state_names_t *names);

/* Remove the registration.  NUC_NOT_FOUND, or NUC_BUSY when the pipeline's process runs.
 */
nuc_rc_t nuc_state_forget(const nuc_sys_t *sys, const char *state, const char *name,
                          nuc_err_t *err);

#endif /* NUC_STATE_H */
