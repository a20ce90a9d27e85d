#include "nuc_sys.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <unistd.h>

static int nuc_posix_open(const nuc_sys_t *sys, const char *path, int flags, mode_t mode)
{
    (void) sys;
    return open(path, flags | O_CLOEXEC, mode);
}

static int nuc_posix_close(const nuc_sys_t *sys, int fd)
{
    (void) sys;
    return close(fd);
}

static ssize_t nuc_posix_pread(const nuc_sys_t *sys, int fd, void *data, size_t len,
                               off_t offset)
{
    (void) sys;
    return pread(fd, data, len, offset);
}

static ssize_t nuc_posix_pwrite(const nuc_sys_t *sys, int fd, const void *data,
                                size_t len, off_t offset)
{
    (void) sys;
    return pwrite(fd, data, len, offset);
}

static int nuc_posix_fdatasync(const nuc_sys_t *sys, int fd, const char *site)
{
    (void) sys;
    (void) site;
    return fdatasync(fd);
}

static int nuc_posix_fsync(const nuc_sys_t *sys, int fd, const char *site)
{
    (void) sys;
    (void) site;
    return fsync(fd);
}

/* Where a sandbox forbids the call, the next sync has more to do, that is all. */
static int nuc_posix_write_out(const nuc_sys_t *sys, int fd, off_t offset, off_t len)
{
    int rc;

    (void) sys;
    rc = sync_file_range(fd, offset, len,
                         SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE |
                             SYNC_FILE_RANGE_WAIT_AFTER);

    return rc == -1 && (errno == ENOSYS || errno == EPERM) ? 0 : rc;
}

static int nuc_posix_ftruncate(const nuc_sys_t *sys, int fd, off_t len)
{
    (void) sys;
    return ftruncate(fd, len);
}

static int nuc_posix_fallocate(const nuc_sys_t *sys, int fd, int mode, off_t offset,
                               off_t len)
{
    (void) sys;
    return fallocate(fd, mode, offset, len);
}

static int nuc_posix_fchmod(const nuc_sys_t *sys, int fd, mode_t mode)
{
    (void) sys;
    return fchmod(fd, mode);
}

static int nuc_posix_fstat(const nuc_sys_t *sys, int fd, struct stat *st)
{
    (void) sys;
    return fstat(fd, st);
}

static int nuc_posix_stat(const nuc_sys_t *sys, const char *path, struct stat *st)
{
    (void) sys;
    return stat(path, st);
}

static int nuc_posix_statvfs(const nuc_sys_t *sys, const char *path, struct statvfs *st)
{
    (void) sys;
    return statvfs(path, st);
}

static int nuc_posix_statfs(const nuc_sys_t *sys, const char *path, struct statfs *st)
{
    (void) sys;
    return statfs(path, st);
}

static int nuc_posix_rename(const nuc_sys_t *sys, const char *from, const char *to)
{
    (void) sys;
    return rename(from, to);
}

static int nuc_posix_unlink(const nuc_sys_t *sys, const char *path)
{
    (void) sys;
    return unlink(path);
}

static int nuc_posix_mkdir(const nuc_sys_t *sys, const char *path, mode_t mode)
{
    (void) sys;
    return mkdir(path, mode);
}

static int nuc_posix_rmdir(const nuc_sys_t *sys, const char *path)
{
    (void) sys;
    return rmdir(path);
}

static int nuc_posix_lock(const nuc_sys_t *sys, int fd)
{
    (void) sys;
    return flock(fd, LOCK_EX | LOCK_NB);
}

static void *nuc_posix_map(const nuc_sys_t *sys, int fd, size_t len, int writable)
{
    void *address;

    (void) sys;
    address =
        mmap(NULL, len, writable ? PROT_READ | PROT_WRITE : PROT_READ, MAP_SHARED, fd, 0);

    return address == MAP_FAILED ? NULL : address;
}

static int nuc_posix_unmap(const nuc_sys_t *sys, void *address, size_t len)
{
    (void) sys;
    return munmap(address, len);
}

static int nuc_posix_list(const nuc_sys_t *sys, const char *path, nuc_sys_list_pt entry,
                          void *ctx)
{
    DIR *dir;
    int saved;
    struct dirent *de;

    (void) sys;

    dir = opendir(path);
    if (dir == NULL) {
        return -1;
    }

    for (;;) {
        errno = 0;
        de = readdir(dir);
        if (de == NULL) {
            break;
        }

        if (strcmp(de->d_name, ".") == 0 || strcmp(de->d_name, "..") == 0) {
            continue;
        }

        if (entry(ctx, de->d_name) != 0) {
            errno = 0;
            break;
        }
    }

    saved = errno;
    closedir(dir);
    errno = saved;

    return saved == 0 ? 0 : -1;
}

const nuc_sys_t nuc_sys_posix = {
    .open = nuc_posix_open,
    .close = nuc_posix_close,
    .pread = nuc_posix_pread,
    .pwrite = nuc_posix_pwrite,
    .fdatasync = nuc_posix_fdatasync,
    .fsync = nuc_posix_fsync,
    .write_out = nuc_posix_write_out,
    .ftruncate = nuc_posix_ftruncate,
    .fchmod = nuc_posix_fchmod,
    .fallocate = nuc_posix_fallocate,
    .fstat = nuc_posix_fstat,
    .stat = nuc_posix_stat,
    .statvfs = nuc_posix_statvfs,
    .statfs = nuc_posix_statfs,
    .rename = nuc_posix_rename,
    .unlink = nuc_posix_unlink,
    .mkdir = nuc_posix_mkdir,
    .rmdir = nuc_posix_rmdir,
    .lock = nuc_posix_lock,
    .map = nuc_posix_map,
    .unmap = nuc_posix_unmap,
    .list = nuc_posix_list,
};

nuc_rc_t nuc_sys_write_all(const nuc_sys_t *sys, int fd, const void *data, size_t len,
                           off_t offset, nuc_err_t *err)
{
    ssize_t n;
    const uint8_t *p = data;

    while (len > 0) {
        n = sys->pwrite(sys, fd, p, len, offset);

        if (n == -1) {
            if (errno == EINTR) {
                continue;
            }

            return nuc_err_sys(err, NUC_IO, errno, "write failed");
        }

        if (n == 0) {
            return nuc_err_sys(err, NUC_IO, ENOSPC, "write took nothing");
        }

        p += n;
        len -= (size_t) n;
        offset += n;
    }

    return NUC_OK;
}

nuc_rc_t nuc_sys_write_paced(const nuc_sys_t *sys, int fd, const void *data, size_t len,
                             off_t offset, size_t stride, nuc_err_t *err)
{
    size_t n;
    nuc_rc_t rc;
    const uint8_t *p = data;

    if (len <= stride) {
        return nuc_sys_write_all(sys, fd, data, len, offset, err);
    }

    for (/* void */; len > 0; len -= n, p += n, offset += (off_t) n) {
        n = len < stride ? len : stride;

        rc = nuc_sys_write_all(sys, fd, p, n, offset, err);
        if (rc != NUC_OK) {
            return rc;
        }

        if (sys->write_out(sys, fd, offset, (off_t) n) == -1) {
            return nuc_err_sys(err, NUC_UNKNOWN, errno, "write failed");
        }
    }

    return NUC_OK;
}

nuc_rc_t nuc_sys_read_all(const nuc_sys_t *sys, int fd, void *data, size_t len,
                          off_t offset, size_t *got, nuc_err_t *err)
{
    ssize_t n;
    uint8_t *p = data;

    *got = 0;

    while (*got < len) {
        n = sys->pread(sys, fd, p + *got, len - *got, offset + (off_t) *got);

        if (n == -1) {
            if (errno == EINTR) {
                continue;
            }

            return nuc_err_sys(err, NUC_IO, errno, "read failed");
        }

        if (n == 0) {
            break;
        }

        *got += (size_t) n;
    }

    return NUC_OK;
}
