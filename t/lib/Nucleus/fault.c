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
 *
 * Each call that was made to suffer is noted by one byte in the file "<control>.hits".
 */

#define _GNU_SOURCE

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
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

static int fault_said(const char *word)
{
    int fd;
    char text[256];
    ssize_t n;

    fd = open(control, O_RDONLY | O_CLOEXEC);
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
    fd = open(hits, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666);

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
    return fault_space(fd) == 0 ? FAULT_NEXT(pwrite)(fd, data, len, offset) : -1;
}

ssize_t pwrite64(int fd, const void *data, size_t len, off64_t offset)
{
    return fault_space(fd) == 0 ? FAULT_NEXT(pwrite64)(fd, data, len, offset) : -1;
}

int fallocate(int fd, int mode, off_t offset, off_t len)
{
    return fault_space(fd) == 0 ? FAULT_NEXT(fallocate)(fd, mode, offset, len) : -1;
}

int fallocate64(int fd, int mode, off64_t offset, off64_t len)
{
    return fault_space(fd) == 0 ? FAULT_NEXT(fallocate64)(fd, mode, offset, len) : -1;
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
