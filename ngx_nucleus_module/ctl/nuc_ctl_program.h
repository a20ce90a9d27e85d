/*
 * Other programs that nucleusctl runs.
 */

#ifndef NUC_CTL_PROGRAM_H
#define NUC_CTL_PROGRAM_H

#include "nuc_fs.h"

/* Beside this program, in PATH, or in /usr/sbin.  NUC_NOT_FOUND. */
nuc_rc_t nuc_program_find(const char *name, char path[NUC_PATH_MAX], nuc_err_t *err);

/* Become it; returns only when that failed. */
nuc_rc_t nuc_program_become(const char *path, char **argv, nuc_err_t *err);

/* What it printed, on both ways, ends by a zero; *status is what it exited with, or 128
 * and more after a signal.  It is ended after "ms". */
nuc_rc_t nuc_program_run(const char *path, char **argv, unsigned ms, nuc_buf_t *out,
                         int *status, nuc_err_t *err);

#endif /* NUC_CTL_PROGRAM_H */
