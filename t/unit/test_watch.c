/*
 * The watch: a new snapshot comes, a broken, older or foreign one does not, and nothing
 * is leaked or waited for without end.
 */

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "logkit.h"
#include "nuc_events_today.h"
#include "nuc_last_used.h"
#include "nuc_time.h"
#include "nuc_watch.h"
#include "sim.h"
#include "tap.h"

#define WAIT_MS 20000

static char top[NUC_PATH_MAX], path[NUC_PATH_MAX];
static const nuc_uuid_t ours = {{1}}, foreign = {{2}};

/* A disk that stands still, or fails, when it is told to. */
static nuc_sys_t disk;
static atomic_int stuck, failing, looks, busy; /* busy: locks that others hold */

static int disk_stat(const nuc_sys_t *sys, const char *name, struct stat *st)
{
    looks++;

    while (stuck) {
        usleep(1000);
    }

    return nuc_sys_posix.stat(sys, name, st);
}

static int disk_open(const nuc_sys_t *sys, const char *name, int flags, mode_t mode)
{
    if (failing) {
        errno = EMFILE;
        return -1;
    }

    return nuc_sys_posix.open(sys, name, flags, mode);
}

static int disk_lock(const nuc_sys_t *sys, int fd)
{
    if (busy > 0) {
        busy--;
        errno = EWOULDBLOCK;
        return -1;
    }

    return nuc_sys_posix.lock(sys, fd);
}

static void save(const nuc_uuid_t *registry, uint64_t generation)
{
    nuc_err_t err;
    nuc_buf_t out = NUC_BUF_INIT;
    nuc_snapshot_content_t content = {.registry = *registry, .generation = generation};

    if (nuc_snapshot_build(&content, &out, &err) != NUC_OK ||
        nuc_snapshot_save(&nuc_sys_posix, path, (nuc_str_t){out.data, out.len}, &err) !=
            NUC_OK) {
        diag("%s", err.message);
        exit(1);
    }

    nuc_buf_free(&out);
}

static void save_text(const char *text)
{
    nuc_err_t err;

    if (nuc_snapshot_save(&nuc_sys_posix, path, nuc_str(text), &err) != NUC_OK) {
        diag("%s", err.message);
        exit(1);
    }
}

static nuc_watch_t *start(const nuc_snapshot_file_t *current, const nuc_uuid_t *registry)
{
    nuc_err_t err;
    nuc_watch_t *watch;

    if (nuc_watch_start(&disk, path, current, registry, &watch, &err) != NUC_OK) {
        diag("%s", err.message);
        exit(1);
    }

    return watch;
}

/* The next outcome; NUC_AGAIN when there is none for long. */
static nuc_rc_t next(nuc_watch_t *watch, nuc_snapshot_file_t **file, nuc_err_t *err)
{
    struct pollfd fd = {.fd = nuc_watch_fd(watch), .events = POLLIN};

    *file = NULL;

    return poll(&fd, 1, WAIT_MS) == 1 ? nuc_watch_poll(watch, file, err) : NUC_AGAIN;
}

/* A few more looks of the thread have told nothing. */
static void is_quiet(nuc_watch_t *watch, const char *name)
{
    int until = looks + 3;
    uint64_t end = nuc_time_monotonic() + WAIT_MS * 1000ULL;
    nuc_err_t err;
    nuc_snapshot_file_t *file;

    while (looks < until && nuc_time_monotonic() < end) {
        usleep(1000);
    }

    ok(looks >= until && nuc_watch_poll(watch, &file, &err) == NUC_AGAIN, "%s", name);
}

static void gives(nuc_watch_t *watch, uint64_t generation, const char *name)
{
    nuc_err_t err = {.message = ""};
    nuc_snapshot_file_t *file;

    is_int(next(watch, &file, &err), NUC_OK, "%s %s", name, err.message);
    ok(file != NULL && file->snapshot.generation == generation, "%s: generation %llu",
       name, (unsigned long long) generation);
    nuc_snapshot_unload(&disk, file);
}

static void tells(nuc_watch_t *watch, nuc_rc_t rc, const char *name)
{
    nuc_err_t err = {.message = ""};
    nuc_snapshot_file_t *file;

    is_int(next(watch, &file, &err), rc, "%s: %s", name, err.message);
    ok(file == NULL && strstr(err.message, path) != NULL, "%s: says which", name);
    is_quiet(watch, "once");
    ok(nuc_watch_fails(watch), "%s: it fails", name);
}

static void stop(nuc_watch_t *watch)
{
    nuc_err_t err = {.message = ""};

    is_int(nuc_watch_stop(watch, WAIT_MS, &err), NUC_OK, "stopped %s", err.message);
}

static void test_replaced(void)
{
    nuc_err_t err;
    nuc_watch_t *watch;
    nuc_snapshot_file_t *current;

    save(&ours, 5);
    is_int(nuc_snapshot_load(&disk, path, &current, &err), NUC_OK, "the first");
    watch = start(current, NULL);
    nuc_snapshot_unload(&disk, current);
    is_quiet(watch, "what is in use is not told");

    save(&ours, 6);
    gives(watch, 6, "a new one");
    is_quiet(watch, "once");
    save(&ours, 6);
    gives(watch, 6, "the same, made anew");

    save_text("nonsense");
    tells(watch, NUC_CORRUPT, "a broken one");
    save_text("other nonsense");
    tells(watch, NUC_CORRUPT, "another broken one");
    save(&ours, 5);
    tells(watch, NUC_INVALID, "an older one");
    save(&foreign, 7);
    tells(watch, NUC_INVALID, "a foreign one");
    unlink(path);
    tells(watch, NUC_NOT_FOUND, "none any more");
    save(&ours, 7);
    gives(watch, 7, "and then a good one");

    failing = 1;
    save(&ours, 8);
    tells(watch, NUC_IO, "one that cannot be opened");
    failing = 0;
    gives(watch, 8, "until it can");

    stop(watch);
}

static void test_first(void)
{
    nuc_watch_t *watch;

    unlink(path);
    watch = start(NULL, NULL);
    tells(watch, NUC_NOT_FOUND, "none at the start");
    save(&foreign, 3);
    gives(watch, 3, "the first that comes");
    save(&ours, 4);
    tells(watch, NUC_INVALID, "decides whose are taken");
    stop(watch);

    watch = start(NULL, &foreign);
    tells(watch, NUC_INVALID, "or a registry that is given");
    save(&foreign, 1);
    gives(watch, 1, "this one's");
    stop(watch);
}

/* What nobody takes is freed, and only the newest is handed over. */
static void test_not_taken(void)
{
    uint64_t generation;
    int until;
    nuc_watch_t *watch;

    save(&ours, 1);
    watch = start(NULL, NULL);

    for (generation = 2; generation < 6; generation++) {
        until = looks + 2;
        save(&ours, generation);

        while (looks < until) {
            usleep(1000);
        }
    }

    gives(watch, 5, "the newest");
    is_quiet(watch, "alone");

    until = looks + 2;
    save(&ours, 9);

    while (looks < until) {
        usleep(1000);
    }

    stop(watch);
}

static void test_stuck(void)
{
    int before;
    uint64_t end;
    nuc_err_t err;
    nuc_watch_t *watch;

    save(&ours, 1);
    watch = start(NULL, NULL);
    gives(watch, 1, "a watch");
    stuck = 1;
    before = looks;

    while (looks < before + 1) {
        usleep(1000);
    }

    is_int(nuc_watch_stop(watch, 50, &err), NUC_UNKNOWN, "a disk that stands still: %s",
           err.message);
    stuck = 0;

    /* the thread ends and frees all, which leak sanitizer would tell */
    end = nuc_time_monotonic() + WAIT_MS * 1000ULL;

    for (before = 1; before != 0 && nuc_time_monotonic() < end; usleep(1000)) {
        before = system("grep -qs nucleus-watch /proc/$PPID/task/*/comm") == 0;
    }

    is_int(before, 0, "its thread ends when the disk answers");
}

static void on_signal(int sig)
{
    (void) sig;
}

static void test_signals(void)
{
    int before;
    sigset_t all, old;
    nuc_watch_t *watch;

    signal(SIGUSR1, on_signal);
    save(&ours, 1);
    watch = start(NULL, NULL);

    /* with this thread deaf, only the watch could take it */
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &old);
    kill(getpid(), SIGUSR1);
    before = looks;

    while (looks < before + 2) {
        usleep(1000);
    }

    sigpending(&all);
    ok(sigismember(&all, SIGUSR1), "signals are not the watch's");
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    stop(watch);
}

/* The event loop's notes: "uses" and "count" as one of each kind. */
static void note(nuc_watch_t *watch, uint64_t seconds, uint64_t count)
{
    nuc_last_used_t *use = calloc(1, sizeof(*use));
    nuc_events_today_t *of = calloc(1, sizeof(*of));

    *use = (nuc_last_used_t){.id = 5, .seconds = seconds};
    *of = (nuc_events_today_t){.tenant = "north", .day = 7, .count = count};
    nuc_watch_note(watch, &nuc_last_used_notes, top, use, 1);
    nuc_watch_note(watch, &nuc_events_today_notes, top, of, 1);
}

static int is_written(uint64_t seconds, uint64_t count)
{
    int written = 0;
    size_t nuses = 0, n = 0;
    nuc_last_used_t *uses = NULL;
    nuc_events_today_t *list = NULL;

    if (nuc_last_used_read(&nuc_sys_posix, top, &uses, &nuses, NULL) == NUC_OK &&
        nuc_events_today_read(&nuc_sys_posix, top, &list, &n, NULL) == NUC_OK) {
        written = nuses == 1 && uses[0].seconds == seconds && n == 1 &&
                  nuc_events_today_find(list, n, "north", 7) == count;
    }

    free(uses);
    free(list);

    return written;
}

static void test_notes(void)
{
    static const nuc_notes_kind_t third = {.size = 1};
    uint64_t end = nuc_time_monotonic() + WAIT_MS * 1000ULL;
    nuc_watch_t *watch;

    save(&ours, 1);
    watch = start(NULL, NULL);
    gives(watch, 1, "a snapshot");
    note(watch, 10, 100);

    while (!is_written(10, 100) && nuc_time_monotonic() < end) {
        usleep(1000);
    }

    ok(is_written(10, 100), "notes of two kinds are written");

    busy = 6;
    note(watch, 11, 101);
    note(watch, 12, 102);

    while (!is_written(12, 102) && nuc_time_monotonic() < end) {
        usleep(1000);
    }

    ok(is_written(12, 102) && busy == 0, "and those that had to wait for others");
    nuc_watch_note(watch, &third, top, calloc(1, 1), 1);
    busy = 20;
    note(watch, 13, 103);
    stop(watch);
    ok(is_written(13, 103) && busy == 0, "at the end too");

    watch = start(NULL, NULL);
    busy = 1000000;
    note(watch, 14, 104);
    stop(watch);
    ok(is_written(13, 103) && busy > 0, "which is not waited for for ever");
    busy = 0;
}

int main(void)
{
    kit_temp_dir(top);
    nuc_path_join(path, top, "snapshot", NULL);
    disk = nuc_sys_posix;
    disk.stat = disk_stat;
    disk.open = disk_open;
    disk.lock = disk_lock;

    test_replaced();
    test_first();
    test_not_taken();
    test_stuck();
    test_signals();
    test_notes();

    sim_remove_tree(top);

    return tap_done();
}
