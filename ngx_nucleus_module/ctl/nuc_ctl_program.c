#include "nuc_ctl_program.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "nuc_time.h"

#define NUC_PROGRAM_OUTPUT_MAX (1u << 20) /* bytes; more is read and forgotten */

static int nuc_program_in(const char *dir, size_t len, const char *name,
                          char path[NUC_PATH_MAX])
{
    return len > 0 &&
           snprintf(path, NUC_PATH_MAX, "%.*s/%s", (int) len, dir, name) < NUC_PATH_MAX &&
           access(path, X_OK) == 0;
}

nuc_rc_t nuc_program_find(const char *name, char path[NUC_PATH_MAX], nuc_err_t *err)
{
    ssize_t n;
    size_t len;
    char self[NUC_PATH_MAX];
    const char *dirs;

    n = readlink("/proc/self/exe", self, sizeof(self) - 1);

    if (n > 0) {
        self[n] = '\0';
        *strrchr(self, '/') = '\0';

        if (nuc_program_in(self, strlen(self), name, path)) {
            return NUC_OK;
        }
    }

    for (dirs = getenv("PATH"); dirs != NULL;
         dirs = dirs[len] == ':' ? dirs + len + 1 : NULL) {
        len = strcspn(dirs, ":");

        if (nuc_program_in(dirs, len, name, path)) {
            return NUC_OK;
        }
    }

    if (nuc_program_in("/usr/sbin", strlen("/usr/sbin"), name, path)) {
        return NUC_OK;
    }

    nuc_err_set(err, NUC_NOT_FOUND, "the program \"%s\" is not found", name);
    nuc_err_hint(err, "install it, or add its directory to PATH");

    return NUC_NOT_FOUND;
}

nuc_rc_t nuc_program_become(const char *path, char **argv, nuc_err_t *err)
{
    execv(path, argv);

    return nuc_err_sys(err, NUC_IO, errno, "\"%s\" cannot be run", path);
}

/* The child's side. */
static void nuc_program_child(const char *path, char **argv, int fd)
{
    const nuc_sys_t *sys = &nuc_sys_posix;
    int null = sys->open(sys, "/dev/null", O_RDONLY, 0);

    if (null != -1 && dup2(null, STDIN_FILENO) != -1 && dup2(fd, STDOUT_FILENO) != -1 &&
        dup2(fd, STDERR_FILENO) != -1) {
        execv(path, argv);
    }

    _exit(127);
}

static void nuc_program_read(int fd, pid_t pid, unsigned ms, nuc_buf_t *out)
{
    ssize_t n;
    char chunk[4096];
    uint64_t now, until = nuc_time_monotonic() + 1000ULL * ms;
    struct pollfd p = {.fd = fd, .events = POLLIN};

    for (;;) {
        now = nuc_time_monotonic();

        if (now >= until || (poll(&p, 1, (int) ((until - now) / 1000) + 1) == 0)) {
            kill(pid, SIGKILL);
            return;
        }

        n = read(fd, chunk, sizeof(chunk));

        if (n == 0 || (n == -1 && errno != EINTR)) {
            return;
        }

        if (n > 0 && out->len < NUC_PROGRAM_OUTPUT_MAX) {
            nuc_buf_append(out, chunk, (size_t) n);
        }
    }
}

nuc_rc_t nuc_program_run(const char *path, char **argv, unsigned ms, nuc_buf_t *out,
                         int *status, nuc_err_t *err)
{
    pid_t pid;
    int pipes[2], ended;

    if (pipe2(pipes, O_CLOEXEC) == -1) {
        return nuc_err_sys(err, NUC_IO, errno, "pipe failed");
    }

    pid = fork();

    if (pid == 0) {
        nuc_program_child(path, argv, pipes[1]);
    }

    close(pipes[1]);

    if (pid == -1) {
        close(pipes[0]);
        return nuc_err_sys(err, NUC_IO, errno, "fork failed");
    }

    nuc_program_read(pipes[0], pid, ms, out);
    close(pipes[0]);

    while (waitpid(pid, &ended, 0) == -1) {
        if (errno != EINTR) {
            return nuc_err_sys(err, NUC_IO, errno, "wait for \"%s\" failed", path);
        }
    }

    *status = WIFEXITED(ended) ? WEXITSTATUS(ended) : 128 + WTERMSIG(ended);
    nuc_buf_char(out, '\0');

    return out->failed ? nuc_err_set(err, NUC_NOMEM, "no memory to run \"%s\"", path)
                       : NUC_OK;
}
