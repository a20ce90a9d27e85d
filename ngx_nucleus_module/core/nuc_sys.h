/*
 * The system calls that queue/, sink/ and worker/ make on files, in a table, so that a
 * test can, at every Nth call, fail it, cut it short, kill the process or cut the power.
 * Everything that must survive goes through here; `make check` refuses a direct fsync,
 * fdatasync or rename elsewhere.
 *
 * The calls answer as those of POSIX do (-1 and errno).  Interrupted and short calls are
 * the business of the helpers below.
 */

#ifndef NUC_SYS_H
#define NUC_SYS_H

#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <sys/types.h>

#include "nuc_err.h"
#include "nuc_str.h"

typedef struct nuc_sys_s nuc_sys_t;

/* One call per entry of a directory but "." and ".."; a return other than 0 ends the
 * listing. */
typedef int (*nuc_sys_list_pt)(void *ctx, const char *name);

struct nuc_sys_s {
    int (*open)(const nuc_sys_t *sys, const char *path, int flags, mode_t mode);
    int (*close)(const nuc_sys_t *sys, int fd);
    ssize_t (*pread)(const nuc_sys_t *sys, int fd, void *data, size_t len, off_t offset);
    ssize_t (*pwrite)(const nuc_sys_t *sys, int fd, const void *data, size_t len,
                      off_t offset);

    /* "site" names the call in messages, and to the tests that leave out one at a time;
       it is a string literal, unique in the sources. */
    int (*fdatasync)(const nuc_sys_t *sys, int fd, const char *site);
    int (*fsync)(const nuc_sys_t *sys, int fd, const char *site);

    /*
     * Hand what was written there to the device, and wait until it has taken it.  Nothing
     * is durable by that; but an error that this tells, the next sync may not tell again.
     */
    int (*write_out)(const nuc_sys_t *sys, int fd, off_t offset, off_t len);

    int (*ftruncate)(const nuc_sys_t *sys, int fd, off_t len);
    int (*fchmod)(const nuc_sys_t *sys, int fd, mode_t mode);
    int (*fallocate)(const nuc_sys_t *sys, int fd, int mode, off_t offset, off_t len);
    int (*fstat)(const nuc_sys_t *sys, int fd, struct stat *st);
    int (*stat)(const nuc_sys_t *sys, const char *path, struct stat *st);
    int (*statvfs)(const nuc_sys_t *sys, const char *path, struct statvfs *st);
    int (*statfs)(const nuc_sys_t *sys, const char *path, struct statfs *st);
    int (*rename)(const nuc_sys_t *sys, const char *from, const char *to);
    int (*unlink)(const nuc_sys_t *sys, const char *path);
    int (*mkdir)(const nuc_sys_t *sys, const char *path, mode_t mode);
    int (*rmdir)(const nuc_sys_t *sys, const char *path);

    /* An exclusive flock(2) that does not wait; EWOULDBLOCK when another holds it. */
    int (*lock)(const nuc_sys_t *sys, int fd);

    /* "len" bytes from the start of the file, shared; NULL on failure. */
    void *(*map)(const nuc_sys_t *sys, int fd, size_t len, int writable);
    int (*unmap)(const nuc_sys_t *sys, void *address, size_t len);

    int (*list)(const nuc_sys_t *sys, const char *path, nuc_sys_list_pt entry, void *ctx);
};

/* The operating system's own calls. */
extern const nuc_sys_t nuc_sys_posix;

/* All of "len" bytes, past interruptions and short writes. */
nuc_rc_t nuc_sys_write_all(const nuc_sys_t *sys, int fd, const void *data, size_t len,
                           off_t offset, nuc_err_t *err);

/*
 * The same for what a sync is to follow, handed to the device "stride" bytes at a time:
 * what one sync finds to write, the syncs of others wait for, on most file systems and
 * devices.  NUC_UNKNOWN: the device did not take it, and a sync that succeeds means
 * nothing any more.
 */
nuc_rc_t nuc_sys_write_paced(const nuc_sys_t *sys, int fd, const void *data, size_t len,
                             off_t offset, size_t stride, nuc_err_t *err);

/*
 * A stride that keeps a small sync beside large ones waiting for about a millisecond
 * more, and costs the large ones nothing that could be measured.
 */
#define NUC_SYS_STRIDE (512u << 10)

/* Up to "len" bytes, past interruptions; *got is less only at the end of the file. */
nuc_rc_t nuc_sys_read_all(const nuc_sys_t *sys, int fd, void *data, size_t len,
                          off_t offset, size_t *got, nuc_err_t *err);

#endif /* NUC_SYS_H */
