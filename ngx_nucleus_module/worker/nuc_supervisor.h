/*
 * The supervisor: one worker per state directory, one process per pipeline, one for the
 * keeper and one for the local API; starts them, starts them again when they die, and
 * stops them.
 */

#ifndef NUC_SUPERVISOR_H
#define NUC_SUPERVISOR_H

#include "nuc_worker_conf.h"

/*
 * In the foreground until SIGTERM, SIGINT or SIGQUIT; SIGHUP reads "file" again, SIGUSR1
 * opens the log anew.  "conf" is what "file" said; it is replaced, and the caller frees
 * what is there at the end.  Returns the exit status: 1 when it could not start, or when
 * a child had to be killed.
 */
int nuc_supervisor_run(const char *file, nuc_worker_conf_t *conf);

#endif /* NUC_SUPERVISOR_H */
