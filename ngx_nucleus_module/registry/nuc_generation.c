#include "nuc_generation.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#define NUC_PID_BITS       22
#define NUC_GENERATION_MAX (INT64_MAX >> NUC_PID_BITS)

static off_t nuc_reader_offset(uint64_t generation, pid_t pid)
{
    return (off_t) (generation << NUC_PID_BITS) + pid;
}

static int nuc_reader_lock_set(int fd, short type, uint64_t generation)
{
    struct flock lock = {
        .l_type = type,
        .l_whence = SEEK_SET,
        .l_start = nuc_reader_offset(generation, getpid()),
        .l_len = 1,
    };

    return fcntl(fd, F_SETLK, &lock);
}

nuc_rc_t nuc_reader_lock_open(const nuc_sys_t *sys, const char *path,
                              nuc_reader_lock_t *lock, nuc_err_t *err)
{
    int saved;

    lock->generation = 0;
    lock->fd = sys->open(sys, path, O_RDONLY | O_NONBLOCK, 0);

    if (lock->fd == -1) {
        return nuc_err_sys(err, errno == ENOENT ? NUC_NOT_FOUND : NUC_IO, errno,
                           "open of \"%s\" failed", path);
    }

    if (nuc_reader_lock_set(lock->fd, F_RDLCK, 0) == -1) {
        saved = errno;
        nuc_reader_lock_close(sys, lock);
        return nuc_err_sys(err, NUC_IO, saved, "lock of \"%s\" failed", path);
    }

    return NUC_OK;
}

nuc_rc_t nuc_reader_lock_move(nuc_reader_lock_t *lock, uint64_t generation,
                              nuc_err_t *err)
{
    if (generation == lock->generation) {
        return NUC_OK;
    }

    if (generation >= NUC_GENERATION_MAX) {
        return nuc_err_set(err, NUC_INVALID, "generation %llu is too large",
                           (unsigned long long) generation);
    }

    if (nuc_reader_lock_set(lock->fd, F_RDLCK, generation) == -1) {
        return nuc_err_sys(err, NUC_IO, errno, "lock of generation %llu failed",
                           (unsigned long long) generation);
    }

    if (nuc_reader_lock_set(lock->fd, F_UNLCK, lock->generation) == -1) {
        return nuc_err_sys(err, NUC_IO, errno, "unlock of generation %llu failed",
                           (unsigned long long) lock->generation);
    }

    lock->generation = generation;

    return NUC_OK;
}

void nuc_reader_lock_close(const nuc_sys_t *sys, nuc_reader_lock_t *lock)
{
    if (lock->fd != -1) {
        sys->close(sys, lock->fd);
        lock->fd = -1;
    }
}

/*
 * The first lock of others in [start, end): the kernel names any one, so what is before
 * it is asked for until there is none.  Returns 0 when there is none at all, -1 with
 * errno.
 */
static int nuc_readers_first(int fd, off_t start, off_t end, struct flock *first)
{
    int found = 0;
    struct flock lock;

    while (start < end) {
        lock = (struct flock){.l_type = F_WRLCK,
                              .l_whence = SEEK_SET,
                              .l_start = start,
                              .l_len = end - start};

        if (fcntl(fd, F_GETLK, &lock) == -1) {
            return -1;
        }

        if (lock.l_type == F_UNLCK) {
            break;
        }

        *first = lock;
        found = 1;
        end = lock.l_start;
    }

    return found;
}

nuc_rc_t nuc_readers_behind(int fd, uint64_t generation, pid_t *pids, size_t max,
                            size_t *count, nuc_err_t *err)
{
    int found;
    off_t start = 0, end;
    struct flock lock;

    *count = 0;

    if (generation >= NUC_GENERATION_MAX) {
        return nuc_err_set(err, NUC_INVALID, "generation %llu is too large",
                           (unsigned long long) generation);
    }

    end = nuc_reader_offset(generation, 0);

    while ((found = nuc_readers_first(fd, start, end, &lock)) == 1) {
        if (*count < max) {
            /* of a container that we do not see into: the number it has there */
            pids[*count] = lock.l_pid > 0
                               ? lock.l_pid
                               : (pid_t) (lock.l_start & ((1 << NUC_PID_BITS) - 1));
        }

        ++*count;

        if (lock.l_len == 0) {
            break;
        }

        start = lock.l_start + lock.l_len;
    }

    if (found == -1) {
        return nuc_err_sys(err, NUC_IO, errno, "look for locks failed");
    }

    return NUC_OK;
}
