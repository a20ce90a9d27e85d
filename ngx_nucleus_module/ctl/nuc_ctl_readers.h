/*
 * The processes of nginx that use the registry's snapshot.
 */

#ifndef NUC_CTL_READERS_H
#define NUC_CTL_READERS_H

#include <sys/types.h>

#include "nuc_buf.h"
#include "nuc_err.h"
#include "nuc_sys.h"

#define NUC_READERS_MAX 64

typedef struct {
    uint64_t generation;
    size_t total;  /* processes */
    size_t behind; /* that use an older generation; of them the first NUC_READERS_MAX: */
    pid_t pids[NUC_READERS_MAX];
} nuc_readers_t;

/* NUC_NOT_FOUND: there is no readers file "path". */
nuc_rc_t nuc_readers_look(const nuc_sys_t *sys, const char *path, uint64_t generation,
                          nuc_readers_t *readers, nuc_err_t *err);

/* Those behind, as "123 (nginx), 124 (nginx)"; ends by a zero. */
void nuc_readers_describe(const nuc_readers_t *readers, nuc_buf_t *out);

#endif /* NUC_CTL_READERS_H */
