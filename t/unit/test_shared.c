/*
 * A queue that two users share: a directory of a group, with the set-group-ID bit.  What
 * the writer makes there the keeper may read, change and remove, whatever the umask, and
 * the reverse; where it cannot be shared nothing is acknowledged.  As root the two are
 * two users in truth.
 */

#include <errno.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "logkit.h"
#include "nuc_log_file.h"
#include "nuc_log_list.h"
#include "nuc_owner.h"
#include "nuc_state.h"
#include "nuc_tenant_bytes.h"
#include "sim.h"
#include "tap.h"

#define NGINX  33001 /* users and a group that nobody has */
#define WORKER 33002
#define GROUP  33003

static const mode_t umasks[] = {0, 022, 077};

/* Only where ids may be set at all: a container may map root alone. */
static int two_users(void)
{
    return getuid() == 0 && setegid(GROUP) == 0 && setegid(getgid()) == 0;
}

static void become(uid_t uid)
{
    gid_t group = GROUP;

    if (setgroups(1, &group) == -1 || setgid((gid_t) uid) == -1 || setuid(uid) == -1) {
        diag("user %u: %s", (unsigned) uid, strerror(errno));
        _exit(1);
    }
}

/* "code" in a process of that user: its exit status. */
static int as(uid_t uid, int (*code)(const char *dir), const char *dir)
{
    int status;
    pid_t pid;

    fflush(stdout);
    pid = fork();

    if (pid == 0) {
        if (two_users()) {
            become(uid);
        }

        _exit(code(dir));
    }

    if (pid == -1 || waitpid(pid, &status, 0) == -1 || !WIFEXITED(status)) {
        return -1;
    }

    return WEXITSTATUS(status);
}

static void make_shared(char dir[NUC_PATH_MAX], char queue[NUC_PATH_MAX])
{
    kit_temp_dir(dir);
    nuc_path_join(queue, dir, "queue", NULL);

    if (chmod(dir, 0755) == -1 || mkdir(queue, 0700) == -1 ||
        (two_users() && chown(queue, NGINX, GROUP) == -1) || chmod(queue, 02770) == -1) {
        diag("%s: %s", queue, strerror(errno));
        exit(1);
    }
}

static int failed(nuc_rc_t rc, const nuc_err_t *err)
{
    if (rc != NUC_OK) {
        diag("%s", err->message);
    }

    return rc != NUC_OK;
}

/* A life of nginx: 6 records in 3 segments, and a file that asks the worker to count. */
static int write_some(const char *dir)
{
    int bad = 0;
    unsigned i;
    nuc_err_t err = {0};
    nuc_queue_t *queue;
    nuc_log_options_t options = kit_options(kit_sys(), dir);

    options.segment_size = 4096;
    bad |= failed(nuc_log_open(&options, &queue, &err), &err);

    for (i = 0; !bad && i < 3; i++) {
        bad |= kit_store(queue, 1 + 2 * i, 2) != NUC_OK;
    }

    queue->ops->close(queue, 5000, &err);
    bad |= failed(nuc_tenant_bytes_ask(kit_sys(), dir, &err), &err);

    return bad;
}

static void no_report(void *ctx, const nuc_log_report_t *report)
{
    (void) ctx;
    (void) report;
}

/* A life of the worker: all is read, indexed, counted and removed. */
static int read_and_remove(const char *dir)
{
    int bad = 0, fd;
    long holder;
    uint64_t lost, count = 0;
    nuc_err_t err = {0};
    nuc_record_t record;
    nuc_log_reader_t *reader;
    nuc_log_keeper_t *keeper;
    nuc_tenant_bytes_list_t list = {.count = 0};
    nuc_writer_list_t writers = {NULL, 0, 0};
    nuc_log_position_t position = {.segment = 0};
    nuc_log_consumer_t consumer = {&position, 1};

    bad |= failed(nuc_state_lock(kit_sys(), dir, &fd, &holder, &err), &err);

    if (bad || failed(nuc_log_keeper_open(kit_sys(), dir, no_report, NULL, &keeper, &err),
                      &err)) {
        return 1;
    }

    bad |= failed(nuc_log_keeper_tend(keeper, &err), &err);
    bad |= failed(nuc_log_reader_open(kit_sys(), dir, 0, &reader, &err), &err);

    while (!bad && nuc_log_reader_next(reader, &record, &lost, &err) == NUC_OK) {
        count++;
    }

    bad |= count != 6;
    nuc_log_reader_close(reader);
    bad |= failed(nuc_tenant_bytes_write(kit_sys(), dir, &list, &err), &err);
    bad |= failed(nuc_log_list_writers(kit_sys(), dir, &writers, &err), &err);
    bad |= writers.count != 1;

    if (!bad) {
        position.writer = writers.ids[0];
        position.sequence = 7;
        bad |= failed(nuc_log_keeper_remove(keeper, &consumer, 1, &err), &err);
        bad |= failed(nuc_log_list_writers(kit_sys(), dir, &writers, &err), &err);
        bad |= writers.count != 0;
    }

    free(writers.ids);
    nuc_log_keeper_close(keeper);
    close(fd);

    return bad;
}

static unsigned unshared;

/* Counts what is not open to the group as the queue's directory is, with its group. */
static int look(void *ctx, const char *name)
{
    char path[NUC_PATH_MAX];
    const char *dir = ctx;
    mode_t mode;
    struct stat above, st;

    nuc_path_join(path, dir, name, NULL);

    if (stat(dir, &above) == -1 || stat(path, &st) == -1) {
        diag("%s: %s", path, strerror(errno));
        unshared++;
        return 0;
    }

    mode = S_ISDIR(st.st_mode) ? S_ISGID | S_IRWXG : S_IRGRP | S_IWGRP;

    if (st.st_gid != above.st_gid || (st.st_mode & mode) != mode ||
        (st.st_mode & S_IRWXO) != 0) {
        diag("%s has mode %o and group %u", path, st.st_mode & 07777,
             (unsigned) st.st_gid);
        unshared++;
    }

    if (S_ISDIR(st.st_mode) && kit_sys()->list(kit_sys(), path, look, path) == -1) {
        diag("%s: %s", path, strerror(errno));
        unshared++;
    }

    return 0;
}

static int all_shared(const char *dir)
{
    char path[NUC_PATH_MAX];

    snprintf(path, sizeof(path), "%s", dir);
    unshared = 0;
    (void) look(path, ".");

    return unshared == 0;
}

static void test_two_users(void)
{
    unsigned i;
    char dir[NUC_PATH_MAX], queue[NUC_PATH_MAX];

    for (i = 0; i < sizeof(umasks) / sizeof(umasks[0]); i++) {
        umask(022);
        make_shared(dir, queue);
        umask(umasks[i]);

        ok(as(NGINX, write_some, queue) == 0, "umask %03o: one user writes", umasks[i]);
        ok(all_shared(queue), "and gives its group what it made");
        ok(as(WORKER, read_and_remove, queue) == 0, "another reads, seals and removes");
        ok(all_shared(queue), "and gives its group what it made");
        ok(as(NGINX, write_some, queue) == 0, "the first goes on");
        ok(as(WORKER, read_and_remove, queue) == 0, "so does the other");
        umask(022);
        sim_remove_tree(dir);
    }
}

/* A directory that no group shares, as nginx makes it, gives nobody more. */
static void test_not_shared(void)
{
    char dir[NUC_PATH_MAX], path[NUC_PATH_MAX];
    nuc_err_t err;
    struct stat st;
    nuc_writer_list_t writers = {NULL, 0, 0};

    umask(0);
    kit_temp_dir(dir);
    chmod(dir, 0750);
    ok(write_some(dir) == 0, "a directory that its group may not write");
    nuc_log_list_writers(kit_sys(), dir, &writers, &err);
    nuc_log_writer_path(dir, &writers.ids[0], path, &err);
    ok(stat(path, &st) == 0 && (st.st_mode & 07777) == 0750,
       "directories have mode 0750");
    strcat(path, "/" NUC_LOG_HEAD_NAME);
    ok(stat(path, &st) == 0 && (st.st_mode & 07777) == 0640, "files have mode 0640");
    free(writers.ids);
    umask(022);
    sim_remove_tree(dir);
}

/* Each call that fails while a writer starts in a shared directory. */
static void test_failures(void)
{
    int finished = 0, wrong = 0;
    unsigned n, refused = 0;
    char dir[NUC_PATH_MAX], queue_dir[NUC_PATH_MAX];
    nuc_err_t err;
    nuc_rc_t rc;
    nuc_queue_t *queue;
    nuc_log_options_t options;
    sim_t *sim;

    umask(077);

    for (n = 1; !finished && n < 100; n++) {
        make_shared(dir, queue_dir);
        sim = sim_create(queue_dir);
        sim_fail_at(sim, n, 1, EIO);
        options = kit_options(sim_sys(sim), queue_dir);

        if (nuc_log_open(&options, &queue, &err) != NUC_OK) {
            diag("%s", err.message);
            wrong++;
            break;
        }

        rc = kit_started(queue);
        refused += rc == NUC_IO;

        if (kit_wait_ready(queue, NUC_OK, 5000)) {
            rc = kit_store(queue, 1, 1);
            wrong += rc != NUC_OK && rc != NUC_IO && rc != NUC_UNKNOWN;
            refused += rc != NUC_OK;
        } else {
            wrong++;
        }

        finished = sim_operations(sim) < n;
        queue->ops->close(queue, 5000, &err);
        wrong += rc == NUC_OK && !all_shared(queue_dir);
        sim_kill(sim);
        sim_destroy(sim);
        sim_remove_tree(dir);
    }

    ok(!wrong, "whatever fails: what is acknowledged is shared, %u tries", n);
    ok(finished && refused > 3, "and it did fail, %u times", refused);
    umask(022);
}

int main(void)
{
    test_two_users();
    test_not_shared();
    test_failures();

    return tap_done();
}
