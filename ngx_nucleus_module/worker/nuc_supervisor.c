/*
 * One thread that waits for signals with a time limit, so that nothing happens between
 * looking and waiting: all signals that matter are blocked for good and taken by
 * sigtimedwait.
 *
 * Before any child runs, every pipeline is registered: the keeper never sees a log
 * without the pipelines that are to read it.
 */

#include "nuc_supervisor.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "nuc_keeper.h"
#include "nuc_pipeline_process.h"
#include "nuc_process.h"
#include "nuc_state.h"
#include "nuc_time.h"
#include "nuc_worker_log.h"

#define NUC_HEALTHY  60000000ULL /* µs of running that reset the backoff */
#define NUC_DRAIN    (NUC_DRAIN_MAX * 1000000ULL) /* µs */
#define NUC_NEVER    UINT64_MAX
#define NUC_WAIT_MAX 60000000ULL /* µs between two looks when nothing is due */

typedef struct {
    const char *name;
    const nuc_pipeline_conf_t *pipeline; /* NULL: the keeper */
    pid_t pid;                           /* 0: not running */
    uint64_t started;                    /* µs */
    uint64_t due;                        /* µs, when to start it */
    unsigned pause;                      /* ms, before the last start */
} nuc_child_t;

typedef struct {
    const nuc_worker_conf_t *conf;
    nuc_child_t *children; /* the keeper, then the pipelines */
    unsigned nchildren;
    sigset_t signals;
    int lock_fd;
    int stopping;
    uint64_t kill_at; /* µs, when stopping */
    int status;       /* what to exit with */
} nuc_supervisor_t;

/* Children. */

static void nuc_supervisor_child(const nuc_supervisor_t *s, const nuc_child_t *child,
                                 pid_t parent)
{
    int status;
    nuc_err_t err;
    nuc_process_t process;

    /* else the state would stay locked for as long as an orphan drains */
    close(s->lock_fd);

    if (nuc_process_begin(&process, child->name, parent, &err) != NUC_OK) {
        nuc_worker_log_error(NUC_LEVEL_ERROR, "process cannot start", &err);
        _exit(1);
    }

    if (child->pipeline == NULL) {
        status = nuc_keeper_process(&process, s->conf);
    } else {
        status = nuc_pipeline_process(&process, s->conf, child->pipeline);
    }

    _exit(status);
}

static void nuc_supervisor_backoff(nuc_child_t *child, uint64_t now)
{
    if (child->started != 0 && now - child->started >= NUC_HEALTHY) {
        child->pause = 0;
    }

    child->pause = nuc_backoff_next(child->pause);
    child->due = now + child->pause * 1000ULL;
}

static void nuc_supervisor_start(nuc_supervisor_t *s, nuc_child_t *child, uint64_t now)
{
    pid_t pid, parent;
    nuc_err_t err;

    parent = getpid();
    pid = fork();

    if (pid == 0) {
        nuc_supervisor_child(s, child, parent);
    }

    if (pid == -1) {
        nuc_err_sys(&err, NUC_IO, errno, "fork failed");
        nuc_worker_log_error(NUC_LEVEL_ERROR, "process cannot start", &err);
        nuc_supervisor_backoff(child, now);
        return;
    }

    child->pid = pid;
    child->started = now;
    child->due = NUC_NEVER;

    nuc_worker_log(NUC_LEVEL_NOTICE, "process started",
                   NUC_FIELD_TEXT("child", child->name),
                   NUC_FIELD_NUMBER("child_pid", pid));
}

static nuc_child_t *nuc_supervisor_find(nuc_supervisor_t *s, pid_t pid)
{
    unsigned i;

    for (i = 0; i < s->nchildren; i++) {
        if (s->children[i].pid == pid) {
            return &s->children[i];
        }
    }

    return NULL;
}

static void nuc_supervisor_ended(nuc_supervisor_t *s, nuc_child_t *child, int status,
                                 uint64_t now)
{
    int by_signal, number;
    nuc_level_t level;

    by_signal = WIFSIGNALED(status);
    number = by_signal ? WTERMSIG(status) : WEXITSTATUS(status);
    level = s->stopping && status == 0 ? NUC_LEVEL_NOTICE : NUC_LEVEL_ERROR;

    if (s->stopping && status != 0) {
        s->status = 1;
    }

    nuc_supervisor_backoff(child, now);

    nuc_worker_log(
        level, s->stopping ? "process ended" : "process ended, will be started again",
        NUC_FIELD_TEXT("child", child->name), NUC_FIELD_NUMBER("child_pid", child->pid),
        NUC_FIELD_NUMBER(by_signal ? "signal" : "exit_code", number),
        NUC_FIELD_NUMBER("pause_ms", s->stopping ? 0 : child->pause));

    child->pid = 0;
}

static void nuc_supervisor_reap(nuc_supervisor_t *s, uint64_t now)
{
    int status;
    pid_t pid;
    nuc_child_t *child;

    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        child = nuc_supervisor_find(s, pid);

        if (child != NULL) {
            nuc_supervisor_ended(s, child, status, now);
        }
    }
}

static void nuc_supervisor_signal(nuc_supervisor_t *s, int signo)
{
    unsigned i;

    for (i = 0; i < s->nchildren; i++) {
        if (s->children[i].pid != 0) {
            kill(s->children[i].pid, signo);
        }
    }
}

static unsigned nuc_supervisor_running(const nuc_supervisor_t *s)
{
    unsigned i, n;

    n = 0;

    for (i = 0; i < s->nchildren; i++) {
        n += s->children[i].pid != 0;
    }

    return n;
}

/* The loop. */

static void nuc_supervisor_stop(nuc_supervisor_t *s, int signo, uint64_t now)
{
    if (s->stopping) {
        return;
    }

    nuc_worker_log(NUC_LEVEL_NOTICE, "stopping, pipelines drain",
                   NUC_FIELD_NUMBER("signal", signo));

    s->stopping = 1;
    s->kill_at = now + NUC_DRAIN;
    nuc_supervisor_signal(s, SIGTERM);
}

static void nuc_supervisor_take(nuc_supervisor_t *s, int signo, uint64_t now)
{
    switch (signo) {

    case SIGTERM:
    case SIGINT:
    case SIGQUIT:
        nuc_supervisor_stop(s, signo, now);
        return;

    case SIGHUP:
        nuc_worker_log(
            NUC_LEVEL_WARN,
            "the configuration is not read again on SIGHUP: restart the worker");
        return;

    default:
        /* SIGCHLD: the loop reaps */
        return;
    }
}

static void nuc_supervisor_kill(nuc_supervisor_t *s)
{
    nuc_worker_log(NUC_LEVEL_ERROR, "processes did not drain in time and are killed",
                   NUC_FIELD_NUMBER("seconds", NUC_DRAIN_MAX),
                   NUC_FIELD_NUMBER("processes", nuc_supervisor_running(s)));

    s->kill_at = NUC_NEVER;
    nuc_supervisor_signal(s, SIGKILL);
}

/* Do what is due; returns when the next thing will be. */
static uint64_t nuc_supervisor_tend(nuc_supervisor_t *s, uint64_t now)
{
    unsigned i;
    uint64_t next;

    if (s->stopping) {
        if (now >= s->kill_at) {
            nuc_supervisor_kill(s);
        }

        return s->kill_at;
    }

    next = NUC_NEVER;

    for (i = 0; i < s->nchildren; i++) {
        if (s->children[i].pid == 0 && s->children[i].due <= now) {
            nuc_supervisor_start(s, &s->children[i], now);
        }

        if (s->children[i].due < next) {
            next = s->children[i].due;
        }
    }

    return next;
}

static void nuc_supervisor_wait(nuc_supervisor_t *s, uint64_t next)
{
    int signo;
    uint64_t now, us;
    struct timespec limit;

    now = nuc_time_monotonic();
    us = next > now ? next - now : 0;

    if (us > NUC_WAIT_MAX) {
        us = NUC_WAIT_MAX;
    }

    limit.tv_sec = (time_t) (us / 1000000);
    limit.tv_nsec = (long) (us % 1000000) * 1000;

    signo = sigtimedwait(&s->signals, NULL, &limit);
    if (signo > 0) {
        nuc_supervisor_take(s, signo, nuc_time_monotonic());
    }
}

static void nuc_supervisor_loop(nuc_supervisor_t *s)
{
    uint64_t next;

    for (/* void */; /* void */; /* void */) {
        nuc_supervisor_reap(s, nuc_time_monotonic());

        if (s->stopping && nuc_supervisor_running(s) == 0) {
            return;
        }

        next = nuc_supervisor_tend(s, nuc_time_monotonic());
        nuc_supervisor_wait(s, next);
    }
}

/* The start. */

static nuc_rc_t nuc_supervisor_listen(nuc_supervisor_t *s, nuc_err_t *err)
{
    sigemptyset(&s->signals);
    sigaddset(&s->signals, SIGCHLD);
    sigaddset(&s->signals, SIGTERM);
    sigaddset(&s->signals, SIGINT);
    sigaddset(&s->signals, SIGQUIT);
    sigaddset(&s->signals, SIGHUP);

    signal(SIGPIPE, SIG_IGN);

    /* an inherited SIG_IGN would hide them from sigtimedwait, or reap in our place */
    signal(SIGCHLD, SIG_DFL);
    signal(SIGTERM, SIG_DFL);
    signal(SIGINT, SIG_DFL);
    signal(SIGQUIT, SIG_DFL);
    signal(SIGHUP, SIG_DFL);

    if (sigprocmask(SIG_SETMASK, &s->signals, NULL) == -1) {
        return nuc_err_sys(err, NUC_IO, errno, "sigprocmask failed");
    }

    return NUC_OK;
}

static nuc_rc_t nuc_supervisor_take_state(nuc_supervisor_t *s, nuc_err_t *err)
{
    long holder;
    nuc_rc_t rc;

    rc = nuc_state_create(&nuc_sys_posix, s->conf->state, err);
    if (rc != NUC_OK) {
        return rc;
    }

    rc = nuc_state_lock(&nuc_sys_posix, s->conf->state, &s->lock_fd, &holder, err);

    if (rc == NUC_BUSY) {
        nuc_err_set(err, NUC_BUSY,
                    "another worker, process %ld, runs on the state \"%s\"", holder,
                    s->conf->state);
    }

    return rc;
}

static nuc_rc_t nuc_supervisor_register(const nuc_supervisor_t *s, nuc_err_t *err)
{
    unsigned i;
    nuc_rc_t rc;

    for (i = 0; i < s->conf->npipelines; i++) {
        rc = nuc_state_register(&nuc_sys_posix, s->conf->state, s->conf->queue,
                                &s->conf->pipelines[i], err);
        if (rc != NUC_OK) {
            return rc;
        }
    }

    return NUC_OK;
}

static nuc_rc_t nuc_supervisor_warn_of_others(const nuc_supervisor_t *s, nuc_err_t *err)
{
    size_t i;
    nuc_rc_t rc;
    nuc_state_names_t names;

    rc = nuc_state_list(&nuc_sys_posix, s->conf->state, &names, err);
    if (rc != NUC_OK) {
        return rc;
    }

    for (i = 0; i < names.count; i++) {
        if (nuc_worker_conf_pipeline(s->conf, names.names[i]) == NULL) {
            nuc_worker_log(
                NUC_LEVEL_WARN,
                "a registered pipeline is not in the configuration: the log is kept "
                "for it until it is forgotten (--forget)",
                NUC_FIELD_TEXT("pipeline", names.names[i]));
        }
    }

    nuc_state_names_free(&names);

    return NUC_OK;
}

static nuc_rc_t nuc_supervisor_list_children(nuc_supervisor_t *s, nuc_err_t *err)
{
    unsigned i;

    s->nchildren = s->conf->npipelines + 1;

    s->children = calloc(s->nchildren, sizeof(*s->children));
    if (s->children == NULL) {
        return nuc_err_set(err, NUC_NOMEM, "no memory for %u processes", s->nchildren);
    }

    s->children[0].name = "keeper";

    for (i = 0; i < s->conf->npipelines; i++) {
        s->children[i + 1].name = s->conf->pipelines[i].name;
        s->children[i + 1].pipeline = &s->conf->pipelines[i];
    }

    return NUC_OK;
}

static nuc_rc_t nuc_supervisor_begin(nuc_supervisor_t *s, nuc_err_t *err)
{
    nuc_rc_t rc;

    rc = nuc_supervisor_listen(s, err);

    if (rc == NUC_OK) {
        rc = nuc_supervisor_take_state(s, err);
    }

    if (rc == NUC_OK) {
        rc = nuc_supervisor_register(s, err);
    }

    if (rc == NUC_OK) {
        rc = nuc_supervisor_warn_of_others(s, err);
    }

    return rc != NUC_OK ? rc : nuc_supervisor_list_children(s, err);
}

int nuc_supervisor_run(const nuc_worker_conf_t *conf)
{
    nuc_err_t err;
    nuc_supervisor_t s;

    s = (nuc_supervisor_t){.conf = conf, .lock_fd = -1};
    nuc_worker_log_process("supervisor");

    if (nuc_supervisor_begin(&s, &err) != NUC_OK) {
        nuc_worker_log_error(NUC_LEVEL_ERROR, "worker cannot start", &err);
        return 1;
    }

    nuc_process_set_title("supervisor");
    nuc_worker_log(NUC_LEVEL_NOTICE, "worker started",
                   NUC_FIELD_NUMBER("pipelines", conf->npipelines),
                   NUC_FIELD_TEXT("state", conf->state),
                   NUC_FIELD_TEXT("queue", conf->queue));

    nuc_supervisor_loop(&s);

    nuc_worker_log(NUC_LEVEL_NOTICE, "worker stopped");
    free(s.children);
    close(s.lock_fd);

    return s.status;
}
