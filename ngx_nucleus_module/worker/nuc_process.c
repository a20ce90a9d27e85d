#include "nuc_process.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "nuc_state.h"
#include "nuc_worker_log.h"

#define NUC_LOCK_POLL     100 /* ms */
#define NUC_DIR_POLL      100 /* ms */
#define NUC_BACKOFF_FIRST 100 /* ms */
#define NUC_BACKOFF_MOST  30000

/* longer than the supervisor lets a child drain, so that an orphan has ended by then */
#define NUC_LOCK_WAIT ((NUC_DRAIN_MAX + 5) * 1000)

static char *nuc_title;
static size_t nuc_title_size;

void nuc_process_titles(int argc, char **argv)
{
    int i;
    char *end;

    end = argv[0];

    /* the arguments lie one behind the other */
    for (i = 0; i < argc && argv[i] == end; i++) {
        end += strlen(argv[i]) + 1;
    }

    nuc_title = argv[0];
    nuc_title_size = (size_t) (end - argv[0]);
}

void nuc_process_set_title(const char *title)
{
    char name[16];

    snprintf(name, sizeof(name), "nucleus-%s", title);
    prctl(PR_SET_NAME, name, 0, 0, 0);

    if (nuc_title_size > 0) {
        memset(nuc_title, 0, nuc_title_size);
        snprintf(nuc_title, nuc_title_size, "nucleus-worker: %s", title);
    }
}

static nuc_rc_t nuc_process_listen(nuc_process_t *process, nuc_err_t *err)
{
    sigset_t set;

    signal(SIGINT, SIG_IGN);
    signal(SIGQUIT, SIG_IGN);
    signal(SIGHUP, SIG_IGN);

    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGUSR1);

    if (sigprocmask(SIG_SETMASK, &set, NULL) == -1) {
        return nuc_err_sys(err, NUC_IO, errno, "sigprocmask failed");
    }

    process->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (process->signal_fd == -1) {
        return nuc_err_sys(err, NUC_IO, errno, "signalfd failed");
    }

    return NUC_OK;
}

nuc_rc_t nuc_process_begin(nuc_process_t *process, const char *name, pid_t parent,
                           nuc_err_t *err)
{
    process->stopping = 0;
    process->signal_fd = -1;

    nuc_worker_log_process(name);
    nuc_process_set_title(name);

    if (prctl(PR_SET_PDEATHSIG, SIGTERM, 0, 0, 0) == -1) {
        return nuc_err_sys(err, NUC_IO, errno, "prctl failed");
    }

    /* it may have died before the request above */
    if (getppid() != parent) {
        return nuc_err_set(err, NUC_CLOSED, "the supervisor has died");
    }

    return nuc_process_listen(process, err);
}

static void nuc_process_take(nuc_process_t *process)
{
    struct signalfd_siginfo info;

    while (read(process->signal_fd, &info, sizeof(info)) == sizeof(info)) {
        if (info.ssi_signo == SIGUSR1) {
            nuc_worker_log_reopen();
            continue;
        }

        process->stopping = 1;

        /* an orphan has nobody who would end it */
        alarm(NUC_DRAIN_MAX + 2);
    }
}

int nuc_process_wait(nuc_process_t *process, int ms)
{
    return nuc_process_wait_for(process, -1, ms);
}

int nuc_process_wait_for(nuc_process_t *process, int fd, int ms)
{
    struct pollfd fds[2] = {{process->signal_fd, POLLIN, 0}, {fd, POLLIN, 0}};

    if (process->stopping) {
        return 1;
    }

    if (poll(fds, 2, ms) > 0 && (fds[0].revents & POLLIN) != 0) {
        nuc_process_take(process);
    }

    return process->stopping;
}

nuc_rc_t nuc_process_lock(nuc_process_t *process, const char *dir, nuc_err_t *err)
{
    int fd, waited;
    long holder;
    nuc_rc_t rc;

    for (waited = 0; /* void */; waited += NUC_LOCK_POLL) {
        rc = nuc_state_lock(&nuc_sys_posix, dir, &fd, &holder, err);

        /* the lock goes with the process: the descriptor is never closed */
        if (rc != NUC_BUSY || waited >= NUC_LOCK_WAIT) {
            return rc;
        }

        if (waited == 0) {
            nuc_worker_log(NUC_LEVEL_NOTICE, "waiting for the process before to end",
                           NUC_FIELD_NUMBER("holder", holder));
        }

        if (nuc_process_wait(process, NUC_LOCK_POLL)) {
            return nuc_err_set(err, NUC_CLOSED, "stopped while waiting for a lock");
        }
    }
}

nuc_rc_t nuc_process_wait_dir(nuc_process_t *process, const char *dir, nuc_err_t *err)
{
    int waiting;
    struct stat st;

    for (waiting = 0; nuc_sys_posix.stat(&nuc_sys_posix, dir, &st) == -1; waiting = 1) {

        if (errno != ENOENT) {
            return nuc_err_sys(err, NUC_IO, errno, "stat of \"%s\" failed", dir);
        }

        if (!waiting) {
            nuc_worker_log(NUC_LEVEL_NOTICE, "waiting for the queue's directory",
                           NUC_FIELD_TEXT("path", dir));
        }

        if (nuc_process_wait(process, NUC_DIR_POLL)) {
            return nuc_err_set(err, NUC_CLOSED, "stopped while waiting for \"%s\"", dir);
        }
    }

    return NUC_OK;
}

unsigned nuc_backoff_next(unsigned ms)
{
    if (ms == 0) {
        return NUC_BACKOFF_FIRST;
    }

    return ms * 2 < NUC_BACKOFF_MOST ? ms * 2 : NUC_BACKOFF_MOST;
}
