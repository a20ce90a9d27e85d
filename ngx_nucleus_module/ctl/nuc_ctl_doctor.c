/*
 * nucleusctl doctor
 */

#include "nuc_ctl.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/timex.h>
#include <unistd.h>

#include "nuc_ctl_nginx.h"
#include "nuc_ctl_out.h"
#include "nuc_ctl_program.h"
#include "nuc_ctl_readers.h"
#include "nuc_log_list.h"
#include "nuc_time.h"

#define NUC_DOCTOR_NGINX_CONF  "/etc/nginx/nginx.conf"
#define NUC_DOCTOR_NGINX_USER  "www-data" /* Debian's */
#define NUC_DOCTOR_WORKER_CONF "/etc/nucleus/worker.conf"
#define NUC_DOCTOR_YEAR        2024        /* no clock of today is before it */
#define NUC_DOCTOR_ROOM        (64u << 20) /* bytes that the registry's disk should have */
#define NUC_DOCTOR_PROGRAM_MS  30000
#define NUC_DOCTOR_LINES       300 /* bytes of what a program said that are shown */

typedef enum {
    NUC_DOCTOR_OK = 0,
    NUC_DOCTOR_WARNING,
    NUC_DOCTOR_PROBLEM
} nuc_finding_t;

typedef struct {
    nuc_ctl_t *ctl;
    const nuc_sys_t *sys;
    const char *check; /* the one at work */
    size_t count[3];
    nuc_registry_info_t info;
    int has_registry;
    const char *nginx_file; /* NULL: none */
    nuc_nginx_conf_t nginx;
    nuc_nginx_user_t user;
    int has_user;
    char queue[NUC_PATH_MAX]; /* empty: not known */
    const char *worker_file;  /* NULL: none */
    nuc_nginx_worker_t worker;
} nuc_doctor_t;

static const char *const nuc_doctor_names[] = {
    [NUC_DOCTOR_OK] = "ok",
    [NUC_DOCTOR_WARNING] = "warning",
    [NUC_DOCTOR_PROBLEM] = "problem",
};

/* ---- what was found */

__attribute__((format(printf, 4, 5))) static void nuc_doctor_say(nuc_doctor_t *d,
                                                                 nuc_finding_t finding,
                                                                 const char *hint,
                                                                 const char *fmt, ...)
{
    va_list args;
    char text[2 * NUC_PATH_MAX];
    nuc_buf_t *out = &d->ctl->out;

    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);

    d->count[finding]++;

    if (d->ctl->json) {
        nuc_out_open(out, NULL, '{');
        nuc_out_text(out, "check", d->check);
        nuc_out_text(out, "result", nuc_doctor_names[finding]);
        nuc_out_text(out, "message", text);
        nuc_out_text(out, "hint", finding == NUC_DOCTOR_OK ? "" : hint);
        nuc_out_close(out, '}');
        return;
    }

    nuc_buf_printf(out, "%-8s %-9s ", nuc_doctor_names[finding], d->check);
    nuc_buf_str(out, nuc_str(text));
    nuc_buf_char(out, '\n');

    if (finding != NUC_DOCTOR_OK && *hint != '\0') {
        nuc_buf_printf(out, "%18s -> ", "");
        nuc_buf_str(out, nuc_str(hint));
        nuc_buf_char(out, '\n');
    }
}

static void nuc_doctor_err(nuc_doctor_t *d, nuc_finding_t finding, const nuc_err_t *err,
                           const char *hint)
{
    nuc_doctor_say(d, finding, err->hint[0] != '\0' ? err->hint : hint, "%s",
                   err->message);
}

static void nuc_doctor_parent(const char *path, char parent[NUC_PATH_MAX])
{
    const char *slash = strrchr(path, '/');

    if (slash == NULL) {
        strcpy(parent, ".");
    } else {
        snprintf(parent, NUC_PATH_MAX, "%.*s", slash == path ? 1 : (int) (slash - path),
                 path);
    }
}

/* ---- the registry's files */

static void nuc_doctor_database(nuc_doctor_t *d)
{
    struct stat st;
    char hint[NUC_PATH_MAX + 32];
    const char *path = d->ctl->path;

    if (d->sys->stat(d->sys, path, &st) == -1) {
        nuc_doctor_say(d, NUC_DOCTOR_PROBLEM,
                       "nucleusctl init, or name it with --registry",
                       "the registry %s cannot be looked at: %s", path, strerror(errno));
        return;
    }

    if (st.st_mode & 077) {
        snprintf(hint, sizeof(hint), "chmod 600 %s", path);
        nuc_doctor_say(d, NUC_DOCTOR_PROBLEM, hint,
                       "others than its owner may use the registry %s", path);
    } else {
        nuc_doctor_say(d, NUC_DOCTOR_OK, "", "the registry %s is its owner's alone",
                       path);
    }
}

static void nuc_doctor_may_read(nuc_doctor_t *d, const char *path)
{
    char why[NUC_PATH_MAX], hint[NUC_PATH_MAX + 96];

    if (!nuc_nginx_may(d->sys, &d->user, path, R_OK, why)) {
        snprintf(hint, sizeof(hint), "give %s a group of that user: init --group does",
                 why);
        nuc_doctor_say(d, NUC_DOCTOR_PROBLEM, hint,
                       "nginx's user %s may not read %s, because of %s", d->user.name,
                       path, why);
        return;
    }

    if (d->user.uid != 0 && nuc_nginx_may(d->sys, &d->user, path, W_OK, why)) {
        snprintf(hint, sizeof(hint), "chmod go-w %s, and an owner that is not %s", path,
                 d->user.name);
        nuc_doctor_say(d, NUC_DOCTOR_PROBLEM, hint, "nginx's user %s may write %s",
                       d->user.name, path);
        return;
    }

    nuc_doctor_say(d, NUC_DOCTOR_OK, "", "nginx's user %s may read %s%s", d->user.name,
                   path, d->user.uid != 0 ? " and not write it" : "");
}

/* Who may write a directory above may put another one in its place, unless the sticky bit
 * forbids. */
static int nuc_doctor_may_replace(nuc_doctor_t *d, char dir[NUC_PATH_MAX], int above)
{
    struct stat st;
    char why[NUC_PATH_MAX];

    return nuc_nginx_may(d->sys, &d->user, dir, W_OK, why) &&
           (!above || d->sys->stat(d->sys, dir, &st) == -1 || !(st.st_mode & S_ISVTX));
}

static void nuc_doctor_may_not_make(nuc_doctor_t *d, const char *path)
{
    int above;
    char *real;
    char dir[NUC_PATH_MAX], hint[2 * NUC_PATH_MAX];

    real = realpath(path, NULL);

    if (real == NULL) {
        return;
    }

    for (above = 0; strrchr(real, '/') != real; above++) {
        *strrchr(real, '/') = '\0';
        snprintf(dir, sizeof(dir), "%s", real);

        if (nuc_doctor_may_replace(d, dir, above)) {
            snprintf(hint, sizeof(hint), "let another user own %s, with mode 755 or 750",
                     dir);
            nuc_doctor_say(d, NUC_DOCTOR_PROBLEM, hint,
                           "nginx's user %s may replace what lies in %s", d->user.name,
                           dir);
            free(real);
            return;
        }
    }

    free(real);
    nuc_doctor_say(d, NUC_DOCTOR_OK, "",
                   "nginx's user %s may replace neither it nor a directory above it",
                   d->user.name);
}

static void nuc_doctor_files(nuc_doctor_t *d)
{
    d->check = "files";
    nuc_doctor_database(d);

    if (!d->has_registry || !d->has_user) {
        return;
    }

    nuc_doctor_may_read(d, d->info.snapshot);
    nuc_doctor_may_read(d, d->info.readers);

    if (d->user.uid == 0) {
        nuc_doctor_say(d, NUC_DOCTOR_WARNING, "user www-data; in nginx.conf",
                       "nginx's processes run as root and may write everything");
        return;
    }

    nuc_doctor_may_not_make(d, d->info.snapshot);
}

/* ---- the snapshot and who uses it */

static void nuc_doctor_snapshot(nuc_doctor_t *d)
{
    nuc_registry_published_t p;

    d->check = "snapshot";

    if (!d->has_registry) {
        return;
    }

    nuc_registry_published(d->ctl->registry, &p);

    if (p.rc != NUC_OK) {
        nuc_doctor_say(d, NUC_DOCTOR_PROBLEM, "nucleusctl snapshot --rewrite", "%s",
                       p.err.message);
    } else if (p.foreign) {
        nuc_doctor_say(d, NUC_DOCTOR_PROBLEM,
                       "nucleusctl snapshot --rewrite, if this registry shall replace it",
                       "%s is another registry's", d->info.snapshot);
    } else if (p.generation != d->info.generation) {
        nuc_doctor_say(
            d, NUC_DOCTOR_PROBLEM, "nucleusctl snapshot --rewrite",
            "the snapshot has generation %" PRIu64 ", the registry %" PRIu64 "%s",
            p.generation, d->info.generation,
            p.generation > d->info.generation ? ": it was restored from a backup" : "");
    } else {
        nuc_doctor_say(d, NUC_DOCTOR_OK, "",
                       "generation %" PRIu64 ", %zu tenants, %zu keys", p.generation,
                       p.ntenants, p.nkeys);
    }
}

static void nuc_doctor_readers(nuc_doctor_t *d)
{
    nuc_err_t err;
    nuc_readers_t readers;
    nuc_buf_t pids = NUC_BUF_INIT;

    d->check = "readers";
    memset(&err, 0, sizeof(err));

    if (!d->has_registry) {
        return;
    }

    if (nuc_readers_look(d->sys, d->info.readers, d->info.generation, &readers, &err) !=
        NUC_OK) {
        nuc_doctor_err(d, NUC_DOCTOR_PROBLEM, &err,
                       "nucleusctl snapshot --rewrite, then reload nginx");
        return;
    }

    if (readers.behind > 0) {
        nuc_readers_describe(&readers, &pids);
        nuc_doctor_say(d, NUC_DOCTOR_PROBLEM,
                       "look at nginx's error log, then reload nginx",
                       "%zu of %zu processes use an older generation: %s", readers.behind,
                       readers.total, pids.failed ? "" : (const char *) pids.data);
        nuc_buf_free(&pids);
    } else if (readers.total == 0) {
        nuc_doctor_say(d, NUC_DOCTOR_WARNING,
                       "nucleus_registry in nginx.conf, and nginx running",
                       "no process of nginx uses the registry");
    } else {
        nuc_doctor_say(d, NUC_DOCTOR_OK, "", "%zu processes, none behind", readers.total);
    }
}

/* ---- other programs */

/* The last lines, on one. */
static void nuc_doctor_last_lines(const nuc_buf_t *said, char text[NUC_DOCTOR_LINES + 1])
{
    char *p;
    size_t len = said->len > 0 ? said->len - 1 : 0; /* its zero */
    size_t skip = len > NUC_DOCTOR_LINES ? len - NUC_DOCTOR_LINES : 0;

    snprintf(text, NUC_DOCTOR_LINES + 1, "%.*s", (int) (len - skip),
             len > 0 ? (const char *) said->data + skip : "");

    for (p = text; *p != '\0'; p++) {
        if ((unsigned char) *p < 0x20) {
            *p = ' ';
        }
    }
}

/* "name" with these arguments: does it find its configuration right? */
static void nuc_doctor_test(nuc_doctor_t *d, const char *name, char **argv,
                            const char *hint)
{
    int status;
    nuc_err_t err;
    nuc_buf_t said = NUC_BUF_INIT;
    char path[NUC_PATH_MAX], text[NUC_DOCTOR_LINES + 1];

    memset(&err, 0, sizeof(err));

    if (nuc_program_find(name, path, &err) != NUC_OK) {
        nuc_doctor_err(d, NUC_DOCTOR_WARNING, &err, "");
        return;
    }

    if (nuc_program_run(path, argv, NUC_DOCTOR_PROGRAM_MS, &said, &status, &err) !=
        NUC_OK) {
        nuc_doctor_err(d, NUC_DOCTOR_PROBLEM, &err, "");
    } else if (status != 0) {
        nuc_doctor_last_lines(&said, text);
        nuc_doctor_say(d, NUC_DOCTOR_PROBLEM, hint, "%s -t refuses it (%d): %s", path,
                       status, text);
    } else {
        nuc_doctor_say(d, NUC_DOCTOR_OK, "", "%s -t accepts it", name);
    }

    nuc_buf_free(&said);
}

static void nuc_doctor_nginx_registry(nuc_doctor_t *d)
{
    char hint[NUC_PATH_MAX + 32];

    if (!d->has_registry) {
        return;
    }

    snprintf(hint, sizeof(hint), "nucleus_registry %s;", d->info.snapshot);

    if (d->nginx.registry[0] == '\0') {
        nuc_doctor_say(d, NUC_DOCTOR_WARNING, hint, "%s names no registry",
                       d->nginx_file);
    } else if (d->nginx.registry[0] == '/' && d->info.snapshot[0] == '/' &&
               strcmp(d->nginx.registry, d->info.snapshot) != 0) {
        nuc_doctor_say(d, NUC_DOCTOR_PROBLEM, hint,
                       "%s names %s, the snapshot of this registry is %s", d->nginx_file,
                       d->nginx.registry, d->info.snapshot);
    } else {
        nuc_doctor_say(d, NUC_DOCTOR_OK, "", "%s names the snapshot %s", d->nginx_file,
                       d->nginx.registry);
    }
}

static void nuc_doctor_nginx(nuc_doctor_t *d)
{
    char *argv[] = {(char *) "nginx", (char *) "-t", (char *) "-q",
                    (char *) "-c",    NULL,          NULL};
    char *file;

    d->check = "nginx";

    if (d->nginx_file == NULL) {
        nuc_doctor_say(d, NUC_DOCTOR_WARNING, "name it with --nginx-conf",
                       "no configuration of nginx was looked at");
        return;
    }

    nuc_doctor_nginx_registry(d);

    /* nginx would look for a relative name below its prefix */
    file = realpath(d->nginx_file, NULL);

    if (file == NULL) {
        nuc_doctor_say(d, NUC_DOCTOR_PROBLEM, "name another with --nginx-conf", "%s: %s",
                       d->nginx_file, strerror(errno));
        return;
    }

    argv[4] = file;
    nuc_doctor_test(d, "nginx", argv,
                    geteuid() == 0 ? "mend what it names; docs/directives.md has all"
                                   : "mend what it names, or look as root");
    free(file);
}

/* ---- queue, worker, disk, clock */

static void nuc_doctor_queue_room(nuc_doctor_t *d)
{
    uint64_t room;
    struct statvfs st;
    char text[NUC_OUT_SIZE_MAX], least[NUC_OUT_SIZE_MAX];

    if (d->sys->statvfs(d->sys, d->queue, &st) == -1) {
        nuc_doctor_say(d, NUC_DOCTOR_PROBLEM, "", "the room of %s is not known: %s",
                       d->queue, strerror(errno));
        return;
    }

    room = (uint64_t) st.f_bavail * st.f_frsize;
    nuc_out_size_text(room, text);
    nuc_out_size_text(d->nginx.min_free, least);

    if (room < d->nginx.min_free) {
        nuc_doctor_say(d, NUC_DOCTOR_PROBLEM,
                       "make room, or look why the worker does not deliver",
                       "%s has %s free, under min_free=%s: events are refused", d->queue,
                       text, least);
    } else if (room < 2 * d->nginx.min_free) {
        nuc_doctor_say(d, NUC_DOCTOR_WARNING, "make room before events are refused",
                       "%s has %s free, and must keep %s", d->queue, text, least);
    } else {
        nuc_doctor_say(d, NUC_DOCTOR_OK, "", "%s has %s free", d->queue, text);
    }
}

static void nuc_doctor_queue(nuc_doctor_t *d)
{
    nuc_rc_t rc;
    nuc_err_t err;
    nuc_writer_list_t writers = {.ids = NULL};

    d->check = "queue";
    memset(&err, 0, sizeof(err));

    if (d->queue[0] == '\0') {
        nuc_doctor_say(d, NUC_DOCTOR_WARNING, "name it with --queue",
                       "no queue was looked at");
        return;
    }

    rc = nuc_log_list_writers(d->sys, d->queue, &writers, &err);
    free(writers.ids);

    if (rc != NUC_OK) {
        nuc_doctor_err(d, NUC_DOCTOR_PROBLEM, &err,
                       "nginx makes it when it starts: is that its path?");
        return;
    }

    rc = nuc_fs_check_durable(d->sys, d->queue, &err);

    if (rc == NUC_OK) {
        nuc_doctor_say(d, NUC_DOCTOR_OK, "", "%s lies on a disk, %zu writers", d->queue,
                       writers.count);
    } else {
        nuc_doctor_err(d, rc == NUC_UNKNOWN ? NUC_DOCTOR_WARNING : NUC_DOCTOR_PROBLEM,
                       &err, "");
    }

    nuc_doctor_queue_room(d);
}

static int nuc_doctor_same_dir(const char *a, const char *b)
{
    int same;
    char *x = realpath(a, NULL), *y = realpath(b, NULL);

    same = x != NULL && y != NULL && strcmp(x, y) == 0;
    free(x);
    free(y);

    return same;
}

/*
 * The worker's processes are of the user who owns its state.  It is to share the queue's
 * directory with nginx's: by its group, which new files have by the set-group-ID bit,
 * and which nginx's user must have lest he clears that bit.
 */
static void nuc_doctor_shared(nuc_doctor_t *d, const nuc_nginx_user_t *worker,
                              const struct stat *st)
{
    char hint[3 * NUC_PATH_MAX];
    const nuc_nginx_user_t *lacking = NULL;

    if (!nuc_nginx_has_group(worker, st->st_gid)) {
        lacking = worker;
    } else if (!nuc_nginx_has_group(&d->user, st->st_gid)) {
        lacking = &d->user;
    }

    if ((st->st_mode & (S_ISGID | S_IRWXG)) != (S_ISGID | S_IRWXG)) {
        snprintf(hint, sizeof(hint),
                 "chmod -R g+rwX %s; find %s -type d -exec chmod g+s {} +", d->queue,
                 d->queue);
        nuc_doctor_say(d, NUC_DOCTOR_PROBLEM, hint,
                       "%s is not its group's (mode %04o): what nginx's user %s makes "
                       "there, the worker's user %s cannot remove",
                       d->queue, (unsigned) st->st_mode & 07777, d->user.name,
                       worker->name);

    } else if (lacking != NULL) {
        snprintf(hint, sizeof(hint),
                 "usermod -a -G $(stat -c %%G %s) %s, then start its processes anew",
                 d->queue, lacking->name);
        nuc_doctor_say(d, NUC_DOCTOR_PROBLEM, hint,
                       "%s belongs to the group %lu, which %s has not", d->queue,
                       (unsigned long) st->st_gid, lacking->name);
    } else {
        nuc_doctor_say(d, NUC_DOCTOR_OK, "", "%s and %s share %s", d->user.name,
                       worker->name, d->queue);
    }
}

/* What was made before the directory was shared stays as it was. */
static void nuc_doctor_writers(nuc_doctor_t *d, const nuc_nginx_user_t *worker)
{
    size_t i;
    nuc_err_t err;
    nuc_writer_list_t writers = {.ids = NULL};
    char path[NUC_PATH_MAX], why[NUC_PATH_MAX], hint[3 * NUC_PATH_MAX];

    memset(&err, 0, sizeof(err));

    /* that it can't be listed was said before */
    (void) nuc_log_list_writers(d->sys, d->queue, &writers, &err);

    for (i = 0; i < writers.count; i++) {
        if (nuc_log_writer_path(d->queue, &writers.ids[i], path, &err) == NUC_OK &&
            !nuc_nginx_may(d->sys, worker, path, R_OK | W_OK | X_OK, why)) {
            snprintf(hint, sizeof(hint), "chown -R %s %s, or share it by a group",
                     worker->name, path);
            nuc_doctor_say(d, NUC_DOCTOR_PROBLEM, hint,
                           "the worker's user %s may not tend %s, because of %s",
                           worker->name, path, why);
            break;
        }
    }

    free(writers.ids);
}

static void nuc_doctor_users(nuc_doctor_t *d)
{
    nuc_err_t err;
    struct stat st, queue;
    nuc_nginx_user_t worker;
    char why[NUC_PATH_MAX], hint[3 * NUC_PATH_MAX];

    memset(&err, 0, sizeof(err));

    /* said before */
    if (d->sys->stat(d->sys, d->queue, &queue) == -1) {
        return;
    }

    if (d->sys->stat(d->sys, d->worker.state, &st) == -1) {
        nuc_doctor_say(d, NUC_DOCTOR_WARNING, "start nucleus-worker",
                       "the worker's state %s: %s", d->worker.state, strerror(errno));
        return;
    }

    if (nuc_nginx_user_by_id(st.st_uid, &worker, &err) != NUC_OK) {
        nuc_doctor_err(d, NUC_DOCTOR_WARNING, &err, "the owner of the worker's state");
        return;
    }

    if (!nuc_nginx_may(d->sys, &d->user, d->queue, R_OK | W_OK | X_OK, why)) {
        snprintf(hint, sizeof(hint), "owner and mode of %s must let %s in", why,
                 d->user.name);
        nuc_doctor_say(d, NUC_DOCTOR_PROBLEM, hint,
                       "nginx's user %s may not write %s, because of %s", d->user.name,
                       d->queue, why);
    } else if (worker.uid != 0 && worker.uid != d->user.uid) {
        nuc_doctor_shared(d, &worker, &queue);
    }

    nuc_doctor_writers(d, &worker);
}

static void nuc_doctor_worker(nuc_doctor_t *d)
{
    const nuc_nginx_worker_t *worker = &d->worker;
    char *argv[] = {(char *) "nucleus-worker", (char *) "-c", (char *) d->worker_file,
                    (char *) "-t", NULL};

    d->check = "worker";

    if (d->worker_file == NULL) {
        return;
    }

    if (worker->queue[0] == '/' && d->queue[0] != '\0' &&
        !nuc_doctor_same_dir(worker->queue, d->queue)) {
        nuc_doctor_say(d, NUC_DOCTOR_PROBLEM, "both must name the same directory",
                       "the worker reads %s, nginx writes to %s", worker->queue,
                       d->queue);
    }

    if (worker->state[0] == '/' && d->queue[0] != '\0' && d->has_user) {
        nuc_doctor_users(d);
    }

    nuc_doctor_test(d, "nucleus-worker", argv,
                    "mend what it names; docs/worker.md has all directives");
}

static void nuc_doctor_disk(nuc_doctor_t *d)
{
    nuc_rc_t rc;
    uint64_t room;
    nuc_err_t err;
    struct statvfs st;
    char dir[NUC_PATH_MAX], text[NUC_OUT_SIZE_MAX];

    d->check = "disk";
    memset(&err, 0, sizeof(err));
    nuc_doctor_parent(d->ctl->path, dir);

    if (d->sys->statvfs(d->sys, dir, &st) == -1) {
        nuc_doctor_say(d, NUC_DOCTOR_PROBLEM, "nucleusctl init makes it", "%s: %s", dir,
                       strerror(errno));
        return;
    }

    room = (uint64_t) st.f_bavail * st.f_frsize;
    nuc_out_size_text(room, text);

    if (room < NUC_DOCTOR_ROOM) {
        nuc_doctor_say(d, NUC_DOCTOR_PROBLEM, "make room: no key can be revoked without",
                       "%s has %s free", dir, text);
    } else {
        nuc_doctor_say(d, NUC_DOCTOR_OK, "", "%s has %s free", dir, text);
    }

    rc = nuc_fs_check_durable(d->sys, dir, &err);

    if (rc != NUC_OK) {
        nuc_doctor_err(d, rc == NUC_UNKNOWN ? NUC_DOCTOR_WARNING : NUC_DOCTOR_PROBLEM,
                       &err, "");
    }
}

static void nuc_doctor_clock(nuc_doctor_t *d)
{
    int state;
    nuc_time_utc_t utc;
    uint64_t now = nuc_time_now();
    char text[NUC_OUT_TIME_MAX];
    struct timex timex = {.modes = 0};

    d->check = "clock";
    nuc_time_split(now, &utc);
    nuc_out_time_text(now, text);

    if (utc.year < NUC_DOCTOR_YEAR) {
        nuc_doctor_say(d, NUC_DOCTOR_PROBLEM, "set it, and let chrony or ntpd keep it",
                       "it says %s: keys would be valid at wrong times", text);
        return;
    }

    state = adjtimex(&timex);

    if (state == -1) {
        nuc_doctor_say(d, NUC_DOCTOR_WARNING, "timedatectl, or chronyc tracking",
                       "whether it is synchronised is not known: %s", strerror(errno));
    } else if (timex.status & STA_UNSYNC) {
        nuc_doctor_say(d, NUC_DOCTOR_WARNING,
                       "let chrony, ntpd or systemd-timesyncd keep it",
                       "it says %s, and is not synchronised", text);
    } else {
        nuc_doctor_say(d, NUC_DOCTOR_OK, "", "it says %s, and is synchronised", text);
    }
}

/* ---- what the checks need */

static void nuc_doctor_find_nginx(nuc_doctor_t *d)
{
    nuc_err_t err;
    struct stat st;
    const char *user;

    d->check = "nginx";
    memset(&err, 0, sizeof(err));
    d->nginx_file = nuc_ctl_option(d->ctl, "--nginx-conf");
    d->nginx.min_free = 1U << 30;

    if (d->nginx_file == NULL && d->sys->stat(d->sys, NUC_DOCTOR_NGINX_CONF, &st) == 0) {
        d->nginx_file = NUC_DOCTOR_NGINX_CONF;
    }

    if (d->nginx_file != NULL &&
        nuc_nginx_read(d->sys, d->nginx_file, &d->nginx, &err) != NUC_OK) {
        nuc_doctor_err(d, NUC_DOCTOR_WARNING, &err, "name another with --nginx-conf");
    }

    user = d->nginx.user[0] != '\0' ? d->nginx.user : NUC_DOCTOR_NGINX_USER;
    d->has_user = nuc_nginx_user(user, d->nginx.group, &d->user, &err) == NUC_OK;

    if (!d->has_user) {
        nuc_doctor_err(d, NUC_DOCTOR_WARNING, &err, "user, in nginx.conf");
    }
}

static void nuc_doctor_find_queue(nuc_doctor_t *d)
{
    const char *queue = nuc_ctl_option(d->ctl, "--queue");

    /* a relative path is below nginx's prefix, which is not known here */
    if (queue == NULL && d->nginx.queue[0] == '/') {
        queue = d->nginx.queue;
    }

    snprintf(d->queue, sizeof(d->queue), "%s", queue != NULL ? queue : "");
}

static void nuc_doctor_find_worker(nuc_doctor_t *d)
{
    nuc_err_t err;
    struct stat st;
    const char *file = nuc_ctl_option(d->ctl, "--worker-conf");

    d->check = "worker";
    memset(&err, 0, sizeof(err));

    if (file == NULL && d->sys->stat(d->sys, NUC_DOCTOR_WORKER_CONF, &st) == 0) {
        file = NUC_DOCTOR_WORKER_CONF;
    }

    if (file != NULL && nuc_nginx_read_worker(d->sys, file, &d->worker, &err) != NUC_OK) {
        nuc_doctor_err(d, NUC_DOCTOR_PROBLEM, &err, "name another with --worker-conf");
        return;
    }

    d->worker_file = file;
}

/* It is looked at as it is: nothing is published by the way. */
static void nuc_doctor_find_registry(nuc_doctor_t *d)
{
    nuc_err_t err;
    nuc_ctl_t *ctl = d->ctl;

    d->check = "registry";
    memset(&err, 0, sizeof(err));

    if (nuc_registry_open(ctl->sys, ctl->path, &ctl->actor, &ctl->registry, &err) !=
            NUC_OK ||
        nuc_registry_info(ctl->registry, &d->info, &err) != NUC_OK) {
        nuc_doctor_err(d, NUC_DOCTOR_PROBLEM, &err, "");
        return;
    }

    d->has_registry = 1;
    nuc_doctor_say(d, NUC_DOCTOR_OK, "", "%s opens, generation %" PRIu64, ctl->path,
                   d->info.generation);
}

static void (*const nuc_doctor_checks[])(nuc_doctor_t *d) = {
    nuc_doctor_find_registry, nuc_doctor_find_nginx, nuc_doctor_find_queue,
    nuc_doctor_find_worker,   nuc_doctor_files,      nuc_doctor_snapshot,
    nuc_doctor_readers,       nuc_doctor_nginx,      nuc_doctor_queue,
    nuc_doctor_worker,        nuc_doctor_disk,       nuc_doctor_clock,
};

int nuc_ctl_doctor(nuc_ctl_t *ctl)
{
    size_t i;
    nuc_doctor_t d;

    memset(&d, 0, sizeof(d));
    d.ctl = ctl;
    d.sys = ctl->sys;

    if (ctl->json) {
        nuc_out_open(&ctl->out, NULL, '{');
        nuc_out_open(&ctl->out, "checks", '[');
    }

    for (i = 0; i < sizeof(nuc_doctor_checks) / sizeof(nuc_doctor_checks[0]); i++) {
        nuc_doctor_checks[i](&d);
    }

    if (ctl->json) {
        nuc_out_close(&ctl->out, ']');
        nuc_out_number(&ctl->out, "problems", d.count[NUC_DOCTOR_PROBLEM]);
        nuc_out_number(&ctl->out, "warnings", d.count[NUC_DOCTOR_WARNING]);
        nuc_out_close(&ctl->out, '}');
        nuc_buf_char(&ctl->out, '\n');
    } else {
        nuc_buf_printf(&ctl->out, "\n%zu problems, %zu warnings\n",
                       d.count[NUC_DOCTOR_PROBLEM], d.count[NUC_DOCTOR_WARNING]);
    }

    return d.count[NUC_DOCTOR_PROBLEM] > 0 ? NUC_EXIT_FAILED : NUC_EXIT_OK;
}
