/*
 * Preloaded into nginx by Nucleus::Fault: makes the disk below a directory fail, stall or fill up
 * when the test says so.  The control file (its name is in NUCLEUS_FAULT, the directory's in
 * NUCLEUS_FAULT_DIR) is read at each call and holds any of these words:
 *
 *     sync-fail     fdatasync and fsync fail with EIO
 *     sync-stall    they wait until the word is gone
 *     sync-slow     they take 300 ms
 *     space-none    writes and allocations fail with ENOSPC, statvfs says that nothing is free
 *     clock-hour    it is an hour later
 *     clock-back    it is an hour earlier
 *     clock-run     the monotonic clock is an hour later, which no clock may do: time passes quickly
 *     open-none     the process has no descriptor left: EMFILE, for what it opens there
 *     read-only     the file system has turned read-only: EROFS
 *     read-fail     reads fail with EIO
 *     fs-tmpfs, fs-overlay, fs-nfs, fs-disk    what statfs says of it
 *
 * Each call that was made to suffer is noted by one byte in the file "<control>.hits".
 */

#define _GNU_SOURCE

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

static char control[PATH_MAX], hits[PATH_MAX + 8], dir[PATH_MAX];

/* nginx takes the environment away from its processes */
static void __attribute__((constructor)) fault_init(void)
{
    const char *s;

    s = getenv("NUCLEUS_FAULT");
    snprintf(control, sizeof(control), "%s", s != NULL ? s : "");
    snprintf(hits, sizeof(hits), "%s.hits", control);

    s = getenv("NUCLEUS_FAULT_DIR");
    snprintf(dir, sizeof(dir), "%s", s != NULL ? s : "");
}

/* Its own files: not by open(), which is below. */
static int fault_openat(const char *path, int flags, mode_t mode)
{
    return openat(AT_FDCWD, path, flags, mode);
}

static int fault_said(const char *word)
{
    int fd;
    char text[256];
    ssize_t n;

    fd = fault_openat(control, O_RDONLY | O_CLOEXEC, 0);
    if (fd == -1) {
        return 0;
    }

    n = read(fd, text, sizeof(text) - 1);
    close(fd);
    text[n > 0 ? n : 0] = '\0';

    return strstr(text, word) != NULL;
}

static void fault_note(void)
{
    int fd, saved;

    saved = errno;
    fd = fault_openat(hits, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666);

    if (fd != -1) {
        if (write(fd, "x", 1) != 1) {
            perror(hits);
        }

        close(fd);
    }

    errno = saved;
}

static int fault_below(const char *path)
{
    return dir[0] != '\0' && strncmp(path, dir, strlen(dir)) == 0;
}

static int fault_concerns(int fd)
{
    char link[64], path[PATH_MAX];
    ssize_t n;

    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    n = readlink(link, path, sizeof(path) - 1);
    path[n > 0 ? n : 0] = '\0';

    return fault_below(path);
}

static void fault_pause(long ms)
{
    struct timespec ts = { ms / 1000, ms % 1000 * 1000000 };

    nanosleep(&ts, NULL);
}

static int fault_sync(int fd)
{
    if (!fault_concerns(fd)) {
        return 0;
    }

    if (fault_said("sync-slow")) {
        fault_note();
        fault_pause(300);
    }

    if (fault_said("sync-stall")) {
        fault_note();

        while (fault_said("sync-stall")) {
            fault_pause(10);
        }
    }

    if (fault_said("sync-fail")) {
        fault_note();
        errno = EIO;
        return -1;
    }

    return 0;
}

static int fault_space(int fd)
{
    if (fault_concerns(fd) && fault_said("space-none")) {
        fault_note();
        errno = ENOSPC;
        return -1;
    }

    return 0;
}

static int fault_path(const char *path, int changes)
{
    if (!fault_below(path)) {
        return 0;
    }

    if (changes && fault_said("read-only")) {
        fault_note();
        errno = EROFS;
        return -1;
    }

    return 0;
}

static int fault_open(const char *path, int flags)
{
    if (!fault_below(path)) {
        return 0;
    }

    if (fault_said("open-none")) {
        fault_note();
        errno = EMFILE;
        return -1;
    }

    return fault_path(path, (flags & (O_ACCMODE | O_CREAT)) != O_RDONLY);
}

static int fault_change(int fd)
{
    if (fault_said("read-only") && fault_concerns(fd)) {
        fault_note();
        errno = EROFS;
        return -1;
    }

    return 0;
}

static int fault_write(int fd)
{
    return fault_change(fd) == 0 ? fault_space(fd) : -1;
}

static int fault_read(int fd)
{
    if (fault_said("read-fail") && fault_concerns(fd)) {
        fault_note();
        errno = EIO;
        return -1;
    }

    return 0;
}

#define FAULT_NEXT(name) ((__typeof__(&name)) dlsym(RTLD_NEXT, #name))

int fdatasync(int fd)
{
    return fault_sync(fd) == 0 ? FAULT_NEXT(fdatasync)(fd) : -1;
}

int fsync(int fd)
{
    return fault_sync(fd) == 0 ? FAULT_NEXT(fsync)(fd) : -1;
}

ssize_t pwrite(int fd, const void *data, size_t len, off_t offset)
{
    return fault_write(fd) == 0 ? FAULT_NEXT(pwrite)(fd, data, len, offset) : -1;
}

ssize_t pwrite64(int fd, const void *data, size_t len, off64_t offset)
{
    return fault_write(fd) == 0 ? FAULT_NEXT(pwrite64)(fd, data, len, offset) : -1;
}

int fallocate(int fd, int mode, off_t offset, off_t len)
{
    return fault_space(fd) == 0 ? FAULT_NEXT(fallocate)(fd, mode, offset, len) : -1;
}

int fallocate64(int fd, int mode, off64_t offset, off64_t len)
{
    return fault_space(fd) == 0 ? FAULT_NEXT(fallocate64)(fd, mode, offset, len) : -1;
}

ssize_t pread(int fd, void *data, size_t len, off_t offset)
{
    return fault_read(fd) == 0 ? FAULT_NEXT(pread)(fd, data, len, offset) : -1;
}

ssize_t pread64(int fd, void *data, size_t len, off64_t offset)
{
    return fault_read(fd) == 0 ? FAULT_NEXT(pread64)(fd, data, len, offset) : -1;
}

int open(const char *path, int flags, ...)
{
    mode_t mode;
    va_list args;

    va_start(args, flags);
    mode = va_arg(args, mode_t);
    va_end(args);

    return fault_open(path, flags) == 0 ? FAULT_NEXT(open)(path, flags, mode) : -1;
}

int open64(const char *path, int flags, ...)
{
    mode_t mode;
    va_list args;

    va_start(args, flags);
    mode = va_arg(args, mode_t);
    va_end(args);

    return fault_open(path, flags) == 0 ? FAULT_NEXT(open64)(path, flags, mode) : -1;
}

DIR *opendir(const char *path)
{
    return fault_open(path, O_RDONLY) == 0 ? FAULT_NEXT(opendir)(path) : NULL;
}

int mkdir(const char *path, mode_t mode)
{
    return fault_path(path, 1) == 0 ? FAULT_NEXT(mkdir)(path, mode) : -1;
}

int unlink(const char *path)
{
    return fault_path(path, 1) == 0 ? FAULT_NEXT(unlink)(path) : -1;
}

int rename(const char *from, const char *to)
{
    return fault_path(to, 1) == 0 ? FAULT_NEXT(rename)(from, to) : -1;
}

int ftruncate(int fd, off_t len)
{
    return fault_change(fd) == 0 ? FAULT_NEXT(ftruncate)(fd, len) : -1;
}

int ftruncate64(int fd, off64_t len)
{
    return fault_change(fd) == 0 ? FAULT_NEXT(ftruncate64)(fd, len) : -1;
}

static void fault_type(const char *path, __fsword_t *type)
{
    size_t i;
    static const struct {
        const char *word;
        long type;
    } types[] = {
        { "fs-tmpfs", 0x01021994 },
        { "fs-overlay", 0x794c7630 },
        { "fs-nfs", 0x6969 },
        { "fs-disk", 0xef53 },
    };

    /* the directory itself may not be there yet: what is above it is asked for then */
    if (strncmp(path, dir, strlen(path)) != 0 && !fault_below(path)) {
        return;
    }

    for (i = 0; i < sizeof(types) / sizeof(types[0]); i++) {
        if (fault_said(types[i].word)) {
            *type = types[i].type;
        }
    }
}

int statfs(const char *path, struct statfs *st)
{
    int rc;

    rc = FAULT_NEXT(statfs)(path, st);

    if (rc == 0) {
        fault_type(path, &st->f_type);
    }

    return rc;
}

int statfs64(const char *path, struct statfs64 *st)
{
    int rc;

    rc = FAULT_NEXT(statfs64)(path, st);

    if (rc == 0) {
        fault_type(path, &st->f_type);
    }

    return rc;
}

int clock_gettime(clockid_t clock, struct timespec *ts)
{
    int rc;

    rc = FAULT_NEXT(clock_gettime)(clock, ts);

    if (rc != 0) {
        return rc;
    }

    if (clock == CLOCK_REALTIME && fault_said("clock-hour")) {
        ts->tv_sec += 3600;
    }

    if (clock == CLOCK_REALTIME && fault_said("clock-back")) {
        ts->tv_sec -= 3600;
    }

    if (clock == CLOCK_MONOTONIC && fault_said("clock-run")) {
        ts->tv_sec += 3600;
    }

    return rc;
}

int statvfs(const char *path, struct statvfs *st)
{
    int rc;

    rc = FAULT_NEXT(statvfs)(path, st);

    if (rc == 0 && fault_below(path) && fault_said("space-none")) {
        st->f_bfree = 0;
        st->f_bavail = 0;
    }

    return rc;
}

int statvfs64(const char *path, struct statvfs64 *st)
{
    int rc;

    rc = FAULT_NEXT(statvfs64)(path, st);

    if (rc == 0 && fault_below(path) && fault_said("space-none")) {
        st->f_bfree = 0;
        st->f_bavail = 0;
    }

    return rc;
}
