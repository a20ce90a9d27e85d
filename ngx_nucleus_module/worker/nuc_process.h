/*
 * What the supervisor's children have in common: they stop when they are told to or when
 * the supervisor dies, and only one process at a time does the work of each.
 */

#ifndef NUC_PROCESS_H
#define NUC_PROCESS_H

#include <sys/types.h>

#include "nuc_err.h"

#define NUC_DRAIN_MAX                                                                    \
    30 /* seconds that stopping may take before the supervisor kills                     \
        */

typedef struct {
    int signal_fd;
    int stopping;
} nuc_process_t;

/* Called by main first, so that ps can tell the processes apart: their titles go where
 * argv is. */
void nuc_process_titles(int argc, char **argv);
void nuc_process_set_title(const char *title);

/*
 * In the child, right after fork, the supervisor's signals still blocked: die with
 * "parent", listen to SIGTERM and SIGUSR1 (open the log anew), and leave the terminal's
 * signals to the supervisor.
 */
nuc_rc_t nuc_process_begin(nuc_process_t *process, const char *name, pid_t parent,
                           nuc_err_t *err);

/* Wait up to "ms" (0: look only).  Is the process to stop? */
int nuc_process_wait(nuc_process_t *process, int ms);

/* The same, but no longer than until "fd" (-1: none) can be read. */
int nuc_process_wait_for(nuc_process_t *process, int fd, int ms);

/*
 * Take dir/lock, waiting for the process that had this work before and may still be
 * draining. NUC_BUSY when it does not end, NUC_CLOSED when this one is to stop.
 */
nuc_rc_t nuc_process_lock(nuc_process_t *process, const char *dir, nuc_err_t *err);

/* Wait until the directory exists.  NUC_CLOSED when the process is to stop. */
nuc_rc_t nuc_process_wait_dir(nuc_process_t *process, const char *dir, nuc_err_t *err);

/* The pause before the next try: 0.1 s, doubling to 30 s.  "ms" is 0 at first. */
unsigned nuc_backoff_next(unsigned ms);

#endif /* NUC_PROCESS_H */
