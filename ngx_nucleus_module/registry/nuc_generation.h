/*
 * Who uses which generation of the snapshot: so that `nucleusctl key revoke` knows when
 * every process has taken it up.
 *
 * Each process that uses a snapshot holds a POSIX record lock (fcntl, F_RDLCK) of one
 * byte in FILE.readers, at the offset (generation << 22) + pid (a pid has at most 22 bits
 * on Linux).  The kernel drops it when the process ends, however it ends; nobody writes
 * the file, so a process that may only read it can say what it uses.  nucleusctl looks
 * for locks below a generation's offset.
 *
 * A process announces generation 0 before it opens its first snapshot, and takes the lock
 * of a new generation before it lets go of the old one's: at no moment is it unseen.
 */

#ifndef NUC_GENERATION_H
#define NUC_GENERATION_H

#include "nuc_err.h"
#include "nuc_sys.h"

#include <sys/types.h>

/* ---- a process that uses the snapshot */

typedef struct {
    int fd;
    uint64_t generation;
} nuc_reader_lock_t;

/* Opens "path" and announces generation 0.  A process opens it once (closing any of its
 * descriptors of the file would drop all its locks). */
nuc_rc_t nuc_reader_lock_open(const nuc_sys_t *sys, const char *path,
                              nuc_reader_lock_t *lock, nuc_err_t *err);
nuc_rc_t nuc_reader_lock_move(nuc_reader_lock_t *lock, uint64_t generation,
                              nuc_err_t *err);
void nuc_reader_lock_close(const nuc_sys_t *sys, nuc_reader_lock_t *lock);

/* ---- nucleusctl */

/* Processes that use a generation before "generation": their number, the first "max"
 * pids. */
nuc_rc_t nuc_readers_behind(int fd, uint64_t generation, pid_t *pids, size_t max,
                            size_t *count, nuc_err_t *err);

#endif /* NUC_GENERATION_H */
