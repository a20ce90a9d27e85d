/*
 * One thread that waits for signals with a time limit, so that nothing happens between
 * looking and waiting: all signals that matter are blocked for good and taken by
 * sigtimedwait.
 *
 * Before any child runs, every pipeline is registered: the keeper never sees a log
 * without the pipelines that are to read it.  So is one that SIGHUP adds, before the
 * configuration is taken.
 */

#include "nuc_supervisor.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "nuc_api.h"
#include "nuc_keeper.h"
#include "nuc_owner.h"
#include "nuc_pipeline_process.h"
#include "nuc_process.h"
#include "nuc_roster.h"
#include "nuc_state.h"
#include "nuc_storage.h"
#include "nuc_time.h"
#include "nuc_worker_log.h"

#define NUC_HEALTHY  60000000ULL /* µs of running that reset the backoff */
#define NUC_DRAIN    (NUC_DRAIN_MAX * 1000000ULL) /* µs */
#define NUC_NEVER    UINT64_MAX
#define NUC_WAIT_MAX 60000000ULL /* µs between two looks when nothing is due */

/* What becomes of a child when it ends. */
typedef enum {
    NUC_CHILD_RUNS,    /* started again, after a pause */
    NUC_CHILD_CHANGES, /* was told to stop; started at once, with its new configuration */
    NUC_CHILD_LEAVES   /* was told to stop; not started any more */
} nuc_child_goal_t;

typedef struct nuc_child_s nuc_child_t;

struct nuc_child_s {
    nuc_child_t *next;
    nuc_roster_entry_t entry;            /* what --status says of it */
    const nuc_pipeline_conf_t *pipeline; /* in the configuration; NULL: not in it */
    nuc_meter_t *meter;                  /* shared with it */
    nuc_child_goal_t goal;
    uint64_t started; /* µs */
    uint64_t kill_at; /* µs, when it was told to stop */
    unsigned pause;   /* ms, before the last start */
};

typedef struct {
    char *file; /* of the configuration; the argument lies where the title goes */
    nuc_worker_conf_t *conf;
    nuc_child_t *children; /* the keeper first */
    sigset_t signals;
    int lock_fd;
    int stopping;
    int changed; /* since the roster was written */
    int status;  /* what to exit with */
} nuc_supervisor_t;

/* The list of children. */

static nuc_rc_t nuc_supervisor_add(nuc_supervisor_t *s, nuc_role_t role, const char *name,
                                   const nuc_pipeline_conf_t *pipeline, uint64_t now,
                                   nuc_err_t *err)
{
    nuc_child_t *child, **last;

    child = calloc(1, sizeof(*child));
    if (child == NULL) {
        return nuc_err_set(err, NUC_NOMEM, "no memory for a process");
    }

    child->meter = nuc_meter_create(err);
    if (child->meter == NULL) {
        free(child);
        return NUC_NOMEM;
    }

    strcpy(child->entry.name, name);
    child->entry.role = role;
    child->entry.due = now;
    child->pipeline = pipeline;
    child->kill_at = NUC_NEVER;

    for (last = &s->children; *last != NULL; last = &(*last)->next) {
        continue;
    }

    *last = child;

    return NUC_OK;
}

static nuc_child_t *nuc_supervisor_child_of(nuc_supervisor_t *s, nuc_role_t role,
                                            const char *name)
{
    nuc_child_t *child;

    for (child = s->children; child != NULL; child = child->next) {
        if (child->entry.role == role && strcmp(child->entry.name, name) == 0) {
            return child;
        }
    }

    return NULL;
}

/* Drops the child at the link. */
static void nuc_supervisor_drop(nuc_child_t **link)
{
    nuc_child_t *child = *link;

    *link = child->next;
    nuc_meter_destroy(child->meter);
    free(child);
}

/* Drop those that have left. */
static void nuc_supervisor_sweep(nuc_supervisor_t *s)
{
    nuc_child_t *child, **link;

    link = &s->children;

    while ((child = *link) != NULL) {
        if (child->goal != NUC_CHILD_LEAVES || child->entry.pid != 0) {
            link = &child->next;
            continue;
        }

        nuc_supervisor_drop(link);
    }
}

static void nuc_supervisor_publish(const nuc_supervisor_t *s)
{
    nuc_buf_t text;
    const nuc_child_t *child;

    text = NUC_BUF_INIT;
    nuc_roster_begin(&text);

    for (child = s->children; child != NULL; child = child->next) {
        nuc_roster_add(&text, &child->entry);
    }

    nuc_roster_write(&nuc_sys_posix, s->conf->state, &text);
    nuc_buf_free(&text);
}

/* Children. */

/* The process of the API: it reads what the others count. */
static int nuc_supervisor_api(nuc_process_t *process, const nuc_supervisor_t *s)
{
    int status;
    size_t n = 0;
    nuc_metered_t *all;
    const nuc_child_t *child;

    for (child = s->children; child != NULL; child = child->next) {
        n++;
    }

    all = calloc(n, sizeof(*all));
    if (all == NULL) {
        return 1;
    }

    for (child = s->children, n = 0; child != NULL; child = child->next) {
        all[n++] = (nuc_metered_t){child->entry.role, child->entry.name, child->meter};
    }

    status = nuc_api_process(process, s->conf, all, n);
    free(all);

    return status;
}

static void nuc_supervisor_child(const nuc_supervisor_t *s, const nuc_child_t *child,
                                 pid_t parent)
{
    int status;
    nuc_err_t err;
    nuc_process_t process;

    /* else the state would stay locked for as long as an orphan drains */
    close(s->lock_fd);

    if (nuc_process_begin(&process, child->entry.name, parent, &err) != NUC_OK) {
        nuc_worker_log_error(NUC_LEVEL_ERROR, "process cannot start", &err);
        _exit(1);
    }

    switch (child->entry.role) {
    case NUC_ROLE_KEEPER:
        status = nuc_keeper_process(&process, s->conf, child->meter);
        break;
    case NUC_ROLE_API:
        status = nuc_supervisor_api(&process, s);
        break;
    default:
        status = nuc_pipeline_process(&process, s->conf, child->pipeline, child->meter);
    }

    _exit(status);
}

static void nuc_supervisor_backoff(nuc_child_t *child, uint64_t now)
{
    child->pause = nuc_backoff_next(child->pause);
    child->entry.restarts++;
    child->entry.due = now + child->pause * 1000ULL;
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

    child->entry.pid = pid;
    child->entry.since = nuc_time_now();
    child->entry.due = NUC_NEVER;
    child->started = now;

    nuc_worker_log(NUC_LEVEL_NOTICE, "process started",
                   NUC_FIELD_TEXT("child", child->entry.name),
                   NUC_FIELD_NUMBER("child_pid", pid));
}

/* It drains, and what does not end in time is killed. */
static void nuc_supervisor_tell(nuc_child_t *child, nuc_child_goal_t goal, uint64_t now)
{
    child->goal = goal;

    if (child->entry.pid != 0 && child->kill_at == NUC_NEVER) {
        child->kill_at = now + NUC_DRAIN;
        kill(child->entry.pid, SIGTERM);
    }
}

/* Its configuration is another one, or it came back. */
static void nuc_supervisor_change(nuc_child_t *child, uint64_t now)
{
    if (child->entry.pid != 0) {
        nuc_supervisor_tell(child, NUC_CHILD_CHANGES, now);
        return;
    }

    child->goal = NUC_CHILD_RUNS;
    child->pause = 0;
    child->entry.due = now;
}

static nuc_child_t *nuc_supervisor_find(nuc_supervisor_t *s, pid_t pid)
{
    nuc_child_t *child;

    for (child = s->children; child != NULL; child = child->next) {
        if (child->entry.pid == pid) {
            return child;
        }
    }

    return NULL;
}

/* It was told to. */
static void nuc_supervisor_stopped(nuc_supervisor_t *s, nuc_child_t *child, int status,
                                   uint64_t now)
{
    int by_signal;

    by_signal = WIFSIGNALED(status);

    if (s->stopping && status != 0) {
        s->status = 1;
    }

    nuc_worker_log(status == 0 ? NUC_LEVEL_NOTICE : NUC_LEVEL_ERROR, "process ended",
                   NUC_FIELD_TEXT("child", child->entry.name),
                   NUC_FIELD_NUMBER("child_pid", child->entry.pid),
                   NUC_FIELD_NUMBER(by_signal ? "signal" : "exit_code",
                                    by_signal ? WTERMSIG(status) : WEXITSTATUS(status)));

    if (child->goal == NUC_CHILD_CHANGES) {
        child->goal = NUC_CHILD_RUNS;
        child->pause = 0;
        child->entry.due = now;
    }
}

static void nuc_supervisor_crashed(nuc_child_t *child, int status, uint64_t now)
{
    nuc_supervisor_backoff(child, now);
    nuc_meter_add(&child->meter->restarts, 1);

    nuc_worker_log(
        NUC_LEVEL_ERROR, "process ended, will be started again",
        NUC_FIELD_TEXT("child", child->entry.name),
        NUC_FIELD_NUMBER("child_pid", child->entry.pid),
        NUC_FIELD_NUMBER(WIFSIGNALED(status) ? "signal" : "exit_code",
                         WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status)),
        NUC_FIELD_NUMBER("in_a_row", child->entry.restarts),
        NUC_FIELD_NUMBER("lived_ms", (now - child->started) / 1000),
        NUC_FIELD_NUMBER("pause_ms", child->pause));
}

static void nuc_supervisor_ended(nuc_supervisor_t *s, nuc_child_t *child, int status,
                                 uint64_t now)
{
    if (child->goal == NUC_CHILD_RUNS) {
        nuc_supervisor_crashed(child, status, now);
        child->entry.ended = nuc_time_now();
        child->entry.status = status;
    } else {
        nuc_supervisor_stopped(s, child, status, now);
    }

    nuc_meter_set(&child->meter->works, 0);
    child->entry.pid = 0;
    child->kill_at = NUC_NEVER;
    s->changed = 1;
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

    nuc_supervisor_sweep(s);
}

/* SIGHUP. */

static nuc_rc_t nuc_supervisor_cannot_change(const nuc_supervisor_t *s, const char *what,
                                             const char *old, const char *value,
                                             unsigned line, const char *hint,
                                             nuc_err_t *err)
{
    nuc_err_set(err, NUC_INVALID,
                "the %s cannot change from \"%s\" to \"%s\" while the worker runs, in "
                "%s:%u",
                what, old, value, s->file, line);
    nuc_err_hint(err, "%s", hint);

    return NUC_INVALID;
}

/* What runs and what is on the disk hang together by these two. */
static nuc_rc_t nuc_supervisor_check_fixed(const nuc_supervisor_t *s,
                                           const nuc_worker_conf_t *conf, nuc_err_t *err)
{
    if (strcmp(s->conf->state, conf->state) != 0) {
        return nuc_supervisor_cannot_change(
            s, "state", s->conf->state, conf->state, conf->state_line,
            "stop the worker, move the directory, and start it again", err);
    }

    if (strcmp(s->conf->queue, conf->queue) != 0) {
        return nuc_supervisor_cannot_change(
            s, "path of the queue", s->conf->queue, conf->queue, conf->queue_line,
            "wait until --status shows no lag, stop the worker, and start it again", err);
    }

    return NUC_OK;
}

static nuc_rc_t nuc_supervisor_register(const nuc_worker_conf_t *conf, nuc_err_t *err)
{
    unsigned i;
    nuc_rc_t rc;

    for (i = 0; i < conf->npipelines; i++) {
        rc = nuc_state_register(&nuc_sys_posix, conf->state, conf->queue,
                                &conf->pipelines[i], err);
        if (rc != NUC_OK) {
            return rc;
        }
    }

    return NUC_OK;
}

static nuc_rc_t nuc_supervisor_warn_of_others(const nuc_worker_conf_t *conf,
                                              nuc_err_t *err)
{
    size_t i;
    nuc_rc_t rc;
    nuc_state_names_t names;

    rc = nuc_state_list(&nuc_sys_posix, conf->state, &names, err);
    if (rc != NUC_OK) {
        return rc;
    }

    for (i = 0; i < names.count; i++) {
        if (nuc_worker_conf_pipeline(conf, names.names[i]) == NULL) {
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

/* A valid configuration whose pipelines are registered, or nothing has changed. */
static nuc_rc_t nuc_supervisor_read_conf(const nuc_supervisor_t *s,
                                         nuc_worker_conf_t *conf, nuc_err_t *err)
{
    nuc_rc_t rc;

    rc = nuc_worker_conf_load(s->file, conf, err);
    if (rc != NUC_OK) {
        return rc;
    }

    rc = nuc_supervisor_check_fixed(s, conf, err);

    if (rc == NUC_OK) {
        rc = nuc_worker_conf_check(conf, err);
    }

    if (rc == NUC_OK) {
        rc = nuc_supervisor_register(conf, err);
    }

    if (rc != NUC_OK) {
        nuc_worker_conf_free(conf);
    }

    return rc;
}

static void nuc_supervisor_remove_pipeline(nuc_child_t *child, uint64_t now)
{
    nuc_worker_log(NUC_LEVEL_NOTICE, "pipeline was removed, it drains",
                   NUC_FIELD_TEXT("pipeline", child->entry.name));
    child->pipeline = NULL;
    nuc_supervisor_tell(child, NUC_CHILD_LEAVES, now);
}

/* Point the child to its part of the new configuration, and say whether that is another.
 */
static void nuc_supervisor_compare(nuc_child_t *child, const nuc_worker_conf_t *conf,
                                   uint64_t now)
{
    int same;
    const nuc_pipeline_conf_t *pipeline;

    pipeline = nuc_worker_conf_pipeline(conf, child->entry.name);

    if (pipeline == NULL) {
        if (child->goal != NUC_CHILD_LEAVES) {
            nuc_supervisor_remove_pipeline(child, now);
        }

        return;
    }

    same = child->goal != NUC_CHILD_LEAVES &&
           nuc_pipeline_conf_same(child->pipeline, pipeline);
    child->pipeline = pipeline;

    if (!same) {
        nuc_worker_log(NUC_LEVEL_NOTICE, "pipeline was changed, it starts anew",
                       NUC_FIELD_TEXT("pipeline", child->entry.name));
        nuc_supervisor_change(child, now);
    }
}

/* It starts anew at each reload: it was forked before there was what has been added. */
static void nuc_supervisor_change_api(nuc_supervisor_t *s, const nuc_worker_conf_t *conf,
                                      uint64_t now)
{
    nuc_err_t err;
    nuc_child_t *child;

    child = nuc_supervisor_child_of(s, NUC_ROLE_API, NUC_API_NAME);

    if (child == NULL && conf->api != NULL) {
        if (nuc_supervisor_add(s, NUC_ROLE_API, NUC_API_NAME, NULL, now, &err) !=
            NUC_OK) {
            nuc_worker_log_error(NUC_LEVEL_ERROR, "process cannot start", &err);
        }
    } else if (child != NULL && conf->api != NULL) {
        nuc_supervisor_change(child, now);
    } else if (child != NULL) {
        nuc_supervisor_tell(child, NUC_CHILD_LEAVES, now);
    }
}

static void nuc_supervisor_take_conf(nuc_supervisor_t *s, nuc_worker_conf_t *conf,
                                     uint64_t now)
{
    unsigned i;
    nuc_err_t err;
    nuc_child_t *child;

    for (child = s->children; child != NULL; child = child->next) {
        if (child->entry.role == NUC_ROLE_PIPELINE) {
            nuc_supervisor_compare(child, conf, now);
        }
    }

    for (i = 0; i < conf->npipelines; i++) {
        if (nuc_supervisor_child_of(s, NUC_ROLE_PIPELINE, conf->pipelines[i].name) !=
            NULL) {
            continue;
        }

        nuc_worker_log(NUC_LEVEL_NOTICE, "pipeline was added",
                       NUC_FIELD_TEXT("pipeline", conf->pipelines[i].name));

        if (nuc_supervisor_add(s, NUC_ROLE_PIPELINE, conf->pipelines[i].name,
                               &conf->pipelines[i], now, &err) != NUC_OK) {
            nuc_worker_log_error(NUC_LEVEL_ERROR, "process cannot start", &err);
        }
    }

    nuc_supervisor_change_api(s, conf, now);
}

static void nuc_supervisor_use_log(const nuc_supervisor_t *s)
{
    nuc_err_t err;
    nuc_child_t *child;

    if (nuc_worker_log_open(s->conf->error_log, s->conf->log_level, &err) != NUC_OK) {
        nuc_worker_log_error(NUC_LEVEL_ERROR, "the log stays where it is", &err);
        return;
    }

    for (child = s->children; child != NULL; child = child->next) {
        if (child->entry.pid != 0) {
            kill(child->entry.pid, SIGUSR1);
        }
    }
}

static void nuc_supervisor_reload(nuc_supervisor_t *s, uint64_t now)
{
    nuc_err_t err;
    nuc_worker_conf_t conf;

    if (nuc_supervisor_read_conf(s, &conf, &err) != NUC_OK) {
        nuc_worker_log_error(NUC_LEVEL_ERROR,
                             "configuration is not taken, the old one stays", &err);
        return;
    }

    nuc_supervisor_take_conf(s, &conf, now);
    nuc_worker_conf_free(s->conf);
    *s->conf = conf;
    nuc_supervisor_use_log(s);
    nuc_supervisor_sweep(s);

    nuc_worker_log(NUC_LEVEL_NOTICE, "configuration taken",
                   NUC_FIELD_TEXT("file", s->file),
                   NUC_FIELD_NUMBER("pipelines", conf.npipelines));

    if (nuc_supervisor_warn_of_others(s->conf, &err) != NUC_OK) {
        nuc_worker_log_error(NUC_LEVEL_ERROR, "registered pipelines cannot be listed",
                             &err);
    }
}

/* The loop. */

static void nuc_supervisor_stop(nuc_supervisor_t *s, int signo, uint64_t now)
{
    nuc_child_t *child;

    if (s->stopping) {
        return;
    }

    nuc_worker_log(NUC_LEVEL_NOTICE, "stopping, pipelines drain",
                   NUC_FIELD_NUMBER("signal", signo));

    s->stopping = 1;

    for (child = s->children; child != NULL; child = child->next) {
        nuc_supervisor_tell(child, NUC_CHILD_LEAVES, now);
    }
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
        if (!s->stopping) {
            nuc_supervisor_reload(s, now);
        }

        return;

    case SIGUSR1:
        nuc_supervisor_use_log(s);
        return;

    default:
        /* SIGCHLD: the loop reaps */
        return;
    }
}

static uint64_t nuc_supervisor_tend_running(nuc_supervisor_t *s, nuc_child_t *child,
                                            uint64_t now)
{
    if (now >= child->kill_at) {
        nuc_worker_log(NUC_LEVEL_ERROR, "process did not drain in time and is killed",
                       NUC_FIELD_TEXT("child", child->entry.name),
                       NUC_FIELD_NUMBER("child_pid", child->entry.pid),
                       NUC_FIELD_NUMBER("seconds", NUC_DRAIN_MAX));

        /* it stays told to stop, and dies but once */
        child->kill_at = NUC_NEVER - 1;
        kill(child->entry.pid, SIGKILL);
    }

    if (child->entry.restarts == 0) {
        return child->kill_at;
    }

    if (now - child->started < NUC_HEALTHY) {
        return child->kill_at < child->started + NUC_HEALTHY
                   ? child->kill_at
                   : child->started + NUC_HEALTHY;
    }

    child->pause = 0;
    child->entry.restarts = 0;
    s->changed = 1;

    return child->kill_at;
}

/* Do what is due; returns when the next thing will be. */
static uint64_t nuc_supervisor_tend(nuc_supervisor_t *s, uint64_t now)
{
    uint64_t next, due;
    nuc_child_t *child;

    next = NUC_NEVER;

    for (child = s->children; child != NULL; child = child->next) {
        if (child->entry.pid == 0 && child->entry.due <= now) {
            nuc_supervisor_start(s, child, now);
            s->changed = 1;
        }

        due = child->entry.pid == 0 ? child->entry.due
                                    : nuc_supervisor_tend_running(s, child, now);

        if (due < next) {
            next = due;
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

    while (s->children != NULL) {
        next = nuc_supervisor_tend(s, nuc_time_monotonic());

        if (s->changed) {
            s->changed = 0;
            nuc_supervisor_publish(s);
        }

        nuc_supervisor_wait(s, next);
        nuc_supervisor_reap(s, nuc_time_monotonic());
    }
}

/* The start. */

static nuc_rc_t nuc_supervisor_listen(nuc_supervisor_t *s, nuc_err_t *err)
{
    static const int taken[] = {SIGCHLD, SIGTERM, SIGINT, SIGQUIT, SIGHUP, SIGUSR1};
    size_t i;

    sigemptyset(&s->signals);
    signal(SIGPIPE, SIG_IGN);

    for (i = 0; i < sizeof(taken) / sizeof(taken[0]); i++) {
        sigaddset(&s->signals, taken[i]);

        /* an inherited SIG_IGN would hide it from sigtimedwait, or reap in our place */
        signal(taken[i], SIG_DFL);
    }

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

/* Busy for a moment: another worker looks too, or a keeper that has lost its supervisor.
 */
static nuc_rc_t nuc_supervisor_take_queue(const nuc_supervisor_t *s, nuc_err_t *err)
{
    unsigned tries;
    nuc_rc_t rc;
    const struct timespec pause = {0, 10000000};

    for (tries = 0; /* void */; tries++) {
        rc = nuc_owner_claim(&nuc_sys_posix, s->conf->state, s->conf->queue, err);

        if (rc != NUC_BUSY || tries == 100) {
            return rc;
        }

        nanosleep(&pause, NULL);
    }
}

static nuc_rc_t nuc_supervisor_list_children(nuc_supervisor_t *s, nuc_err_t *err)
{
    unsigned i;
    nuc_rc_t rc;
    const nuc_pipeline_conf_t *pipeline;

    rc = nuc_supervisor_add(s, NUC_ROLE_KEEPER, "keeper", NULL, 0, err);

    if (rc == NUC_OK && s->conf->api != NULL) {
        rc = nuc_supervisor_add(s, NUC_ROLE_API, NUC_API_NAME, NULL, 0, err);
    }

    for (i = 0; rc == NUC_OK && i < s->conf->npipelines; i++) {
        pipeline = &s->conf->pipelines[i];
        rc = nuc_supervisor_add(s, NUC_ROLE_PIPELINE, pipeline->name, pipeline, 0, err);
    }

    return rc;
}

static void nuc_supervisor_warn_of_storage(void *ctx, const nuc_err_t *err)
{
    (void) ctx;
    nuc_worker_log_error(NUC_LEVEL_WARN, "a sync may not be one", err);
}

static nuc_rc_t nuc_supervisor_begin(nuc_supervisor_t *s, nuc_err_t *err)
{
    nuc_rc_t rc;

    if (s->file == NULL) {
        return nuc_err_set(err, NUC_NOMEM, "no memory for a file's name");
    }

    rc = nuc_supervisor_listen(s, err);

    if (rc == NUC_OK) {
        rc = nuc_worker_log_open(s->conf->error_log, s->conf->log_level, err);
    }

    if (rc == NUC_OK) {
        rc = nuc_storage_check(&nuc_sys_posix, s->conf, nuc_supervisor_warn_of_storage,
                               NULL, err);
    }

    if (rc == NUC_OK) {
        rc = nuc_supervisor_take_state(s, err);
    }

    if (rc == NUC_OK) {
        rc = nuc_supervisor_take_queue(s, err);
    }

    if (rc == NUC_OK) {
        rc = nuc_supervisor_register(s->conf, err);
    }

    if (rc == NUC_OK) {
        rc = nuc_supervisor_warn_of_others(s->conf, err);
    }

    return rc != NUC_OK ? rc : nuc_supervisor_list_children(s, err);
}

int nuc_supervisor_run(const char *file, nuc_worker_conf_t *conf)
{
    nuc_err_t err;
    nuc_supervisor_t s;

    s = (nuc_supervisor_t){.file = strdup(file), .conf = conf, .lock_fd = -1};
    nuc_worker_log_process("supervisor");

    if (nuc_supervisor_begin(&s, &err) != NUC_OK) {
        nuc_worker_log_error(NUC_LEVEL_ERROR, "worker cannot start", &err);

        if (nuc_worker_log_to_console()) {
            nuc_worker_log_error(NUC_LEVEL_ERROR, "worker cannot start", &err);
        }

        while (s.children != NULL) {
            nuc_supervisor_drop(&s.children);
        }

        free(s.file);

        return 1;
    }

    nuc_process_set_title("supervisor");
    nuc_worker_log(NUC_LEVEL_NOTICE, "worker started",
                   NUC_FIELD_NUMBER("pipelines", conf->npipelines),
                   NUC_FIELD_TEXT("state", conf->state),
                   NUC_FIELD_TEXT("queue", conf->queue));

    nuc_supervisor_loop(&s);

    nuc_roster_remove(&nuc_sys_posix, conf->state);
    nuc_worker_log(NUC_LEVEL_NOTICE, "worker stopped");
    close(s.lock_fd);
    free(s.file);

    return s.status;
}
