/*
 * A pipeline from the log to the files, stopped everywhere: every record that was in the
 * log is in the store exactly once, whatever failed, was killed or lost its power on the
 * way.
 */

#include "tap.h"

#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

#include "logkit.h"
#include "nuc_keeper.h"
#include "nuc_pipeline.h"
#include "nuc_state.h"
#include "sim.h"

#define RECORDS 36
#define TRIES   8 /* openings after which a run that gets nowhere is given up */
#define FAR     1000000

static char top[NUC_PATH_MAX];      /* of everything that is made here */
static char template[NUC_PATH_MAX]; /* a state, a store and a queue as they were before */

static nuc_worker_conf_t conf;
static int trouble_expected; /* a sync is left out: say nothing about what comes of it */

/* Files. */

static void die(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, strerror(errno));
    exit(1);
}

static void join(char *out, const char *a, const char *b)
{
    if (nuc_path_join(out, a, b, NULL) != NUC_OK) {
        die("path");
    }
}

static void copy_file(const char *from, const char *to)
{
    nuc_buf_t bytes = NUC_BUF_INIT;
    FILE *file;

    if (nuc_fs_read_file(&nuc_sys_posix, from, 1 << 24, &bytes, NULL) != NUC_OK) {
        die(from);
    }

    file = fopen(to, "w");
    if (file == NULL || fwrite(bytes.data, 1, bytes.len, file) != bytes.len) {
        die(to);
    }

    fclose(file);
    nuc_buf_free(&bytes);
}

static void copy_tree(const char *from, const char *to)
{
    DIR *dir;
    char source[NUC_PATH_MAX], target[NUC_PATH_MAX];
    struct stat st;
    struct dirent *entry;

    dir = opendir(from);
    if (dir == NULL || mkdir(to, 0750) == -1) {
        die(to);
    }

    while ((entry = readdir(dir)) != NULL) {
        if (entry->d_name[0] == '.') {
            continue;
        }

        join(source, from, entry->d_name);
        join(target, to, entry->d_name);

        if (stat(source, &st) == -1) {
            die(source);
        }

        if (S_ISDIR(st.st_mode)) {
            copy_tree(source, target);
        } else {
            copy_file(source, target);
        }
    }

    closedir(dir);
}

/* The log: two writers that are gone, several segments each, two hours, three tenants. */

static void fill_record(unsigned n, nuc_record_t *rec, char data[32])
{
    static const char *const tenants[] = {"north", "south", "west"};

    memset(rec, 0, sizeof(*rec));
    snprintf(data, 32, "{\"n\":%u}", n);
    snprintf((char *) rec->rid, sizeof(rec->rid), "%u", n);
    rec->kind = NUC_KIND_JSON;
    rec->received = 1793444400000000ULL + n * 200000000ULL;
    rec->attr[NUC_ATTR_TENANT] = nuc_str(tenants[n % 3]);
    rec->attr[NUC_ATTR_STREAM] = nuc_str("json");
    rec->data = nuc_str(data);
}

static void wait_for_ticket(nuc_queue_t *queue, nuc_ticket_t *ticket)
{
    struct pollfd pfd = {queue->ops->wake_fd(queue), POLLIN, 0};
    nuc_ticket_t *done;

    do {
        poll(&pfd, 1, -1);
        done = queue->ops->poll(queue);
    } while (done == NULL);

    if (done != ticket || done->rc != NUC_OK) {
        die("submit");
    }
}

static void write_log(const char *queue_dir, unsigned from, unsigned to)
{
    nuc_err_t err;
    nuc_queue_t *queue;
    nuc_record_t rec;
    nuc_ticket_t ticket;
    nuc_log_options_t options = {
        .dir = queue_dir,
        .max_size = 1 << 30,
        .segment_size = 768,
        .max_pending = 1 << 20,
        .sys = kit_sys(),
    };
    char data[32];

    if (nuc_log_open(&options, &queue, &err) != NUC_OK) {
        die(err.message);
    }

    for (/* void */; from < to; from++) {
        fill_record(from, &rec, data);

        if (queue->ops->submit(queue, &rec, 1, &ticket, &err) != NUC_OK) {
            die(err.message);
        }

        queue->ops->kick(queue);
        wait_for_ticket(queue, &ticket);
    }

    if (queue->ops->close(queue, 10000, &err) != NUC_OK) {
        die(err.message);
    }
}

static void make_template(void)
{
    char queue[NUC_PATH_MAX];

    join(template, top, "template");
    join(queue, template, "queue");

    if (mkdir(template, 0750) == -1 || mkdir(queue, 0750) == -1) {
        die(queue);
    }

    write_log(queue, 0, RECORDS / 2);
    write_log(queue, RECORDS / 2, RECORDS);
}

/* Running: relative paths, so that an image can be gone on with where it lies. */

static void enter(const char *name)
{
    char dir[NUC_PATH_MAX];

    join(dir, top, name);

    if (chdir(dir) == -1) {
        die(dir);
    }
}

static void begin(const char *name)
{
    char dir[NUC_PATH_MAX];

    join(dir, top, name);
    sim_remove_tree(dir);
    copy_tree(template, dir);
    enter(name);
}

static sim_t *simulate(const char *name)
{
    char dir[NUC_PATH_MAX];

    join(dir, top, name);

    return sim_create(dir);
}

typedef struct {
    const nuc_sys_t *sys;
    int with_keeper;
    unsigned reports; /* of the keeper */
    nuc_err_t err;
} run_t;

static void count_report(void *ctx, const nuc_log_report_t *report)
{
    run_t *run = ctx;

    run->reports += report->event == NUC_LOG_REMOVED;
}

static void tend(run_t *run)
{
    nuc_err_t err;
    nuc_keeper_t keeper;

    if (run->with_keeper && nuc_keeper_open(&keeper, run->sys, "state", "queue",
                                            count_report, run, &err) == NUC_OK) {
        (void) nuc_keeper_round(&keeper, &err);
        (void) nuc_keeper_round(&keeper, &err);
        nuc_keeper_close(&keeper);
    }
}

/* Commits, of all runs, that had passed a record which is in nobody's books. */
static unsigned unbalanced;

static int books_balance(const nuc_commit_t *commit)
{
    size_t i;

    /* the last are those of the retired writers */
    for (i = 0; i <= commit->npositions; i++) {
        if (nuc_commit_unbalanced(commit, i) != 0) {
            return 0;
        }
    }

    return 1;
}

/* One opening, to the end of the log or to an error. */
static nuc_rc_t run_once(run_t *run)
{
    int did;
    nuc_rc_t rc;
    uint64_t now = 0;
    nuc_pipeline_t *pipeline;
    nuc_pipeline_options_t options = {
        .sys = run->sys,
        .conf = &conf.pipelines[0],
        .state = "state",
        .queue = "queue",
    };

    rc = nuc_pipeline_open(&options, &pipeline, &run->err);
    if (rc != NUC_OK) {
        return rc;
    }

    do {
        unbalanced += !books_balance(nuc_pipeline_commit(pipeline));
        now += 1000;
        rc = nuc_pipeline_step(pipeline, now, 1, &did, &run->err);
        tend(run);
    } while (rc == NUC_OK && did);

    unbalanced += !books_balance(nuc_pipeline_commit(pipeline));

    nuc_pipeline_close(pipeline);

    return rc;
}

static nuc_rc_t run_registered(run_t *run)
{
    nuc_rc_t rc;

    rc = nuc_state_create(run->sys, "state", &run->err);

    if (rc == NUC_OK) {
        rc =
            nuc_state_register(run->sys, "state", "queue", &conf.pipelines[0], &run->err);
    }

    return rc == NUC_OK ? run_once(run) : rc;
}

/* As the worker does: again after every error. */
static nuc_rc_t run_all(sim_t *sim, int with_keeper)
{
    int i;
    nuc_rc_t rc = NUC_AGAIN;
    run_t run = {.sys = sim_sys(sim), .with_keeper = with_keeper};

    for (i = 0; i < TRIES && rc != NUC_OK && !sim_stopped(sim); i++) {
        rc = run_registered(&run);
    }

    if (rc != NUC_OK && !sim_stopped(sim) && !trouble_expected) {
        diag("%s: %s", nuc_rc_name(rc), run.err.message);
    }

    return rc;
}

/* The store. */

static unsigned seen[RECORDS];
static unsigned torn;

static void read_lines(const char *path)
{
    int end;
    char *line, *next, *data;
    unsigned n;
    nuc_buf_t text = NUC_BUF_INIT;

    if (nuc_fs_read_file(&nuc_sys_posix, path, 1 << 24, &text, NULL) != NUC_OK) {
        die(path);
    }

    nuc_buf_char(&text, '\0');

    for (line = (char *) text.data; *line != '\0'; line = next) {
        next = strchr(line, '\n');

        if (next == NULL) {
            torn++;
            break;
        }

        *next++ = '\0';
        data = strstr(line, "\"data\":{");
        end = 0;

        if (line + strlen(line) + 1 != next || strncmp(line, "{\"rid\":", 7) != 0 ||
            data == NULL || sscanf(data, "\"data\":{\"n\":%u}}%n", &n, &end) != 1 ||
            data[end] != '\0' || end == 0 || n >= RECORDS) {
            torn++;
            continue;
        }

        seen[n]++;
    }

    if ((size_t) (line - (char *) text.data) + 1 < text.len) {
        torn++;
    }

    nuc_buf_free(&text);
}

static void read_store(const char *path)
{
    DIR *dir;
    char child[NUC_PATH_MAX];
    struct stat st;
    struct dirent *entry;

    dir = opendir(path);
    if (dir == NULL) {
        return;
    }

    while ((entry = readdir(dir)) != NULL) {
        if (entry->d_name[0] == '.') {
            continue;
        }

        join(child, path, entry->d_name);

        if (stat(child, &st) == 0 && S_ISDIR(st.st_mode)) {
            read_store(child);
        } else {
            read_lines(child);
        }
    }

    closedir(dir);
}

/* The books, and each record once. */
static int store_is_right(int quiet, const char *when, unsigned a, unsigned b)
{
    int right;
    unsigned i, lost = 0, repeated = 0;
    nuc_err_t err;
    nuc_commit_t commit;

    memset(seen, 0, sizeof(seen));
    torn = 0;
    read_store("store");

    for (i = 0; i < RECORDS; i++) {
        lost += seen[i] == 0;
        repeated += seen[i] > 1;
    }

    nuc_commit_init(&commit);
    right = nuc_commit_read(&nuc_sys_posix, "state/pipelines/store", &commit, &err) ==
                NUC_OK &&
            commit.counts.read == RECORDS && commit.counts.delivered == RECORDS &&
            books_balance(&commit) && lost == 0 && repeated == 0 && torn == 0;

    if (!right && !quiet) {
        diag("%s (%u, %u): lost %u, repeated %u, torn %u, read %llu", when, a, b, lost,
             repeated, torn, (unsigned long long) commit.counts.read);
    }

    nuc_commit_free(&commit);

    return right;
}

/* Kill: what was done stays, what would follow does not happen. */
static void kill_at(sim_t *sim, unsigned n)
{
    sim_fail_at(sim, n, FAR, EIO);
}

static void live_on(sim_t *sim)
{
    sim_fail_at(sim, 0, 0, 0);
}

/* The power goes at once; the image goes on to the end. */
static int survives_power_cut(sim_t *sim, unsigned seed, const char *skip,
                              const char *when, unsigned a, unsigned b)
{
    int right;
    char image[NUC_PATH_MAX];
    sim_t *after;

    join(image, top, "image");
    sim_remove_tree(image);
    sim_image(sim, image, seed);
    enter("image");

    after = simulate("image");
    sim_skip_site(after, skip);
    right = run_all(after, 1) == NUC_OK && store_is_right(skip != NULL, when, a, b);
    sim_destroy(after);

    return right;
}

/* How many operations a whole run has. */
static unsigned operations(int with_keeper)
{
    unsigned n;
    sim_t *sim;

    begin("run");
    sim = simulate("run");
    ok(run_all(sim, with_keeper) == NUC_OK && store_is_right(0, "undisturbed", 0, 0),
       "an undisturbed run delivers all, %s keeper", with_keeper ? "with" : "without");
    n = sim_operations(sim);
    sim_destroy(sim);

    return n;
}

static void test_failures(unsigned total)
{
    static const int errors[] = {EIO, ENOSPC, EACCES};
    unsigned n, wrong = 0;
    sim_t *sim;

    for (n = 1; n <= total; n++) {
        begin("run");
        sim = simulate("run");
        sim_fail_at(sim, n, 1 + n % 3, errors[n % 3]);
        wrong += run_all(sim, 1) != NUC_OK || !store_is_right(0, "failure", n, 0);
        sim_destroy(sim);

        begin("run");
        sim = simulate("run");
        sim_short_at(sim, n);
        wrong += run_all(sim, 1) != NUC_OK || !store_is_right(0, "short write", n, 0);
        sim_destroy(sim);
    }

    is_int(wrong, 0, "each of %u operations may fail or be cut short", total);
}

static void test_kills(unsigned total)
{
    unsigned n, wrong = 0;
    sim_t *sim;

    for (n = 1; n <= total; n++) {
        begin("run");
        sim = simulate("run");
        kill_at(sim, n);
        run_t run = {.sys = sim_sys(sim), .with_keeper = 1};
        (void) run_registered(&run);
        live_on(sim);

        wrong += run_all(sim, 1) != NUC_OK || !store_is_right(0, "kill", n, 0);
        sim_destroy(sim);
    }

    is_int(wrong, 0, "it may be killed before each of %u operations", total);
}

/*
 * The scenarios of a power cut.  "skip" is a sync that does nothing; then the first thing
 * that goes wrong ends the scenario, for it is what was looked for.  Answers how much
 * went wrong.
 */
typedef unsigned (*scenario_t)(unsigned total, const char *skip);

/* At n, or after a whole run. */
static unsigned power_cuts(unsigned total, const char *skip)
{
    unsigned n, i, wrong = 0;
    sim_t *sim;

    for (n = 1; n <= total + 1; n++) {
        for (i = 0; i < 3; i++) {
            begin("run");
            sim = simulate("run");
            sim_skip_site(sim, skip);
            sim_stop_at(sim, n);
            (void) run_all(sim, 1);

            /* what was not synced: lost, then mixed, then torn */
            wrong += !survives_power_cut(sim, 4 * n + (i == 0 ? 0 : i + 1), skip,
                                         "power cut", n, i);
            sim_destroy(sim);

            if (wrong > 0 && skip != NULL) {
                return wrong;
            }
        }
    }

    return wrong;
}

/* Killed at n, and the power goes m operations after the restart, or after a whole run.
 */
static unsigned power_cuts_after_kill_to(unsigned total, unsigned most, const char *skip)
{
    unsigned n, m, wrong = 0;
    sim_t *sim;
    run_t run;

    for (n = 1; n <= total; n++) {
        for (m = 0; m <= most; m++) {
            begin("run");
            sim = simulate("run");
            sim_skip_site(sim, skip);
            kill_at(sim, n);
            run = (run_t){.sys = sim_sys(sim), .with_keeper = 1};
            (void) run_registered(&run);
            live_on(sim);

            sim_stop_at(sim, m == 0 ? 0 : sim_operations(sim) + m);
            (void) run_all(sim, 1);
            wrong +=
                !survives_power_cut(sim, 4 * (n + m), skip, "power cut after kill", n, m);
            sim_destroy(sim);

            if (wrong > 0 && skip != NULL) {
                return wrong;
            }
        }
    }

    return wrong;
}

static unsigned power_cuts_after_kill(unsigned total, const char *skip)
{
    return power_cuts_after_kill_to(total, skip == NULL ? 2 : 12, skip);
}

/* One failure at n, a keeper that goes on, and then the power goes. */
static unsigned power_cuts_after_failure(unsigned total, const char *skip)
{
    unsigned n, wrong = 0;
    sim_t *sim;
    run_t run;

    for (n = 1; n <= total; n++) {
        begin("run");
        sim = simulate("run");
        sim_skip_site(sim, skip);
        sim_fail_at(sim, n, 1, EIO);
        run = (run_t){.sys = sim_sys(sim), .with_keeper = 1};
        (void) run_registered(&run);
        wrong += !survives_power_cut(sim, 4 * n, skip, "power cut after failure", n, 0);
        sim_destroy(sim);

        if (wrong > 0 && skip != NULL) {
            return wrong;
        }
    }

    return wrong;
}

static void test_power(unsigned total)
{
    is_int(power_cuts(total, NULL), 0, "the power may go before each of %u operations",
           total);
    is_int(power_cuts_after_kill(total, NULL), 0, "the power may go after a restart");
    is_int(power_cuts_after_failure(total, NULL), 0, "the power may go after a failure");
}

static void test_sites(unsigned total)
{
    static const struct {
        const char *site;
        scenario_t scenario;
    } sites[] = {
        {"commit-file", power_cuts},
        {"commit-dir", power_cuts},
        {"commit-settle", power_cuts_after_failure},
        {"sink-file-data", power_cuts},
        {"sink-file-entry", power_cuts},
        {"sink-file-parent", power_cuts},
        {"sink-file-settle", power_cuts_after_kill},
        {"sink-file-root", power_cuts},
        {"state-dir", power_cuts},
        {"state-pipeline", power_cuts},
    };
    size_t i;

    trouble_expected = 1;

    for (i = 0; i < sizeof(sites) / sizeof(sites[0]); i++) {
        ok(sites[i].scenario(total, sites[i].site) > 0,
           "without the sync \"%s\" something is lost or repeated", sites[i].site);
    }

    trouble_expected = 0;
}

static void test_forget(void)
{
    char image[NUC_PATH_MAX];
    int skipped;
    sim_t *sim;
    nuc_err_t err;
    struct stat st;

    for (skipped = 0; skipped < 2; skipped++) {
        begin("run");
        sim = simulate("run");
        ok(run_all(sim, 0) == NUC_OK, "a pipeline has run");
        sim_skip_site(sim, skipped ? "state-forget" : NULL);
        ok(nuc_state_forget(sim_sys(sim), "state", "store", &err) == NUC_OK,
           "it is forgotten");

        join(image, top, "image");
        sim_remove_tree(image);
        sim_image(sim, image, 0);
        sim_destroy(sim);
        enter("image");

        ok((stat("state/pipelines/store", &st) == 0) == skipped,
           "the power goes: it is %s",
           skipped ? "back, without the sync" : "still forgotten");
    }
}

static int is_registered(const char *name)
{
    char dir[NUC_PATH_MAX];
    nuc_err_t err;
    nuc_commit_t commit;
    nuc_rc_t rc;

    if (nuc_state_pipeline_dir(dir, "state", name, &err) != NUC_OK) {
        die(err.message);
    }

    nuc_commit_init(&commit);
    rc = nuc_commit_read(&nuc_sys_posix, dir, &commit, &err);

    if (rc == NUC_OK && commit.counts.read != RECORDS) {
        ok(0, "%s has read what was read: %llu", name,
           (unsigned long long) commit.counts.read);
    }

    nuc_commit_free(&commit);

    return rc == NUC_OK;
}

/* The power goes at each operation of a rename, and behind it. */
static void test_rename(void)
{
    char image[NUC_PATH_MAX];
    int renamed, back = 0, wrong = 0, skipped;
    unsigned n, before, seed;
    sim_t *sim;
    nuc_err_t err;
    run_t run = {.sys = &nuc_sys_posix};

    join(image, top, "image");

    /* it has five operations; the last time nothing stops it, but a sync is left out */
    for (n = 1; n <= 7; n++) {
        for (seed = 0; seed < 8; seed++) {
            skipped = n == 7;
            begin("run");
            sim = simulate("run");

            if (run_all(sim, 0) != NUC_OK) {
                die("a pipeline has run");
            }

            before = sim_operations(sim);
            sim_skip_site(sim, skipped ? "state-rename" : NULL);
            sim_stop_at(sim, skipped ? 0 : before + n);
            renamed =
                nuc_state_rename(sim_sys(sim), "state", "store", "new", &err) == NUC_OK;

            sim_kill(sim);
            sim_remove_tree(image);
            sim_image(sim, image, seed);
            sim_destroy(sim);
            enter("image");

            wrong += is_registered("store") == is_registered("new");
            back += renamed && is_registered("store");

            if (!skipped && back > 0) {
                ok(0, "a rename that was done stays, operation %u, seed %u", n, seed);
                return;
            }
        }
    }

    is_int(wrong, 0, "the pipeline has the one name or the other");
    ok(back > 0, "without the sync \"state-rename\" a rename is undone");

    begin("run");
    is_int(run_registered(&run), NUC_OK, "a registered pipeline");
    is_int(nuc_state_rename(&nuc_sys_posix, "state", "nobody", "new", &err),
           NUC_NOT_FOUND, "%s", err.message);
    is_int(nuc_state_rename(&nuc_sys_posix, "state", "store", "store", &err), NUC_BUSY,
           "%s", err.message);
}

/* Without the simulator: what a pipeline reads, and when it commits. */

typedef struct {
    nuc_worker_conf_t conf;
    nuc_pipeline_t *pipeline;
    unsigned lost; /* as reported */
    nuc_err_t err;
} plain_t;

static void report_lost(void *ctx, const nuc_err_t *err, uint64_t lost)
{
    (void) err;
    ((plain_t *) ctx)->lost += (unsigned) lost;
}

static nuc_rc_t plain_open(plain_t *p, const char *options)
{
    char text[512];
    nuc_rc_t rc;
    nuc_pipeline_options_t pipeline_options;

    memset(p, 0, sizeof(*p));
    snprintf(text, sizeof(text),
             "queue log { path queue; } pipeline store { %s sink file { path store; } }",
             options);

    rc = nuc_worker_conf_parse(nuc_str(text), "test", &p->conf, &p->err);
    if (rc != NUC_OK) {
        return rc;
    }

    rc = nuc_state_create(&nuc_sys_posix, "state", &p->err);

    if (rc == NUC_OK) {
        rc = nuc_state_register(&nuc_sys_posix, "state", "queue", &p->conf.pipelines[0],
                                &p->err);
    }

    pipeline_options = (nuc_pipeline_options_t){
        .sys = &nuc_sys_posix,
        .conf = &p->conf.pipelines[0],
        .state = "state",
        .queue = "queue",
        .report = report_lost,
        .ctx = p,
    };

    return rc != NUC_OK ? rc
                        : nuc_pipeline_open(&pipeline_options, &p->pipeline, &p->err);
}

static void plain_close(plain_t *p)
{
    nuc_pipeline_close(p->pipeline);
    nuc_worker_conf_free(&p->conf);
}

static const nuc_counts_t *plain_counts(const plain_t *p)
{
    return &nuc_pipeline_commit(p->pipeline)->counts;
}

static void test_latest(void)
{
    plain_t p;

    begin("run");
    is_int(plain_open(&p, "start latest;"), NUC_OK, "start latest");
    is_int(nuc_pipeline_drain(p.pipeline, 0, &p.err), NUC_OK, "drained");
    is_int((long long) plain_counts(&p)->read, 0, "what was there is not read");
    plain_close(&p);

    write_log("queue", 3, 7);
    is_int(plain_open(&p, "start latest;"), NUC_OK, "opened again, with a new writer");
    is_int(nuc_pipeline_drain(p.pipeline, 0, &p.err), NUC_OK, "drained");
    is_int((long long) plain_counts(&p)->read, 4, "what came since is read");
    plain_close(&p);
}

static void test_filters(void)
{
    plain_t p;

    begin("run");
    is_int(plain_open(&p, "tenants no* west; kinds json; batch_events 4;"), NUC_OK,
           "filters");
    is_int(nuc_pipeline_drain(p.pipeline, 0, &p.err), NUC_OK, "drained");
    is_int((long long) plain_counts(&p)->read, RECORDS, "all are read");
    is_int((long long) plain_counts(&p)->delivered, 2 * RECORDS / 3,
           "two thirds delivered");
    is_int((long long) plain_counts(&p)->filtered, RECORDS / 3, "one third filtered");
    plain_close(&p);

    is_int(plain_open(&p, "streams other;"), NUC_OK, "nothing passes the filter");
    is_int(nuc_pipeline_drain(p.pipeline, 0, &p.err), NUC_OK, "drained");
    is_int((long long) plain_counts(&p)->read, RECORDS, "none is read twice");
    plain_close(&p);
}

static void test_batches(void)
{
    int did;
    plain_t p;
    uint64_t generation;

    begin("run");
    is_int(plain_open(&p, "batch_time 1s;"), NUC_OK, "a batch by time");
    generation = nuc_pipeline_commit(p.pipeline)->generation;

    is_int(nuc_pipeline_wait(p.pipeline, 0, 50), 50, "nothing is due");
    is_int(nuc_pipeline_step(p.pipeline, 5000000, 0, &did, &p.err), NUC_OK, "a step");
    ok(did, "has read");
    is_int(nuc_pipeline_step(p.pipeline, 5999999, 0, &did, &p.err), NUC_OK,
           "before its time");
    ok(!did && nuc_pipeline_commit(p.pipeline)->generation == generation,
       "nothing is committed");
    is_int(nuc_pipeline_wait(p.pipeline, 5990000, 50), 11, "it is due soon");
    is_int(nuc_pipeline_step(p.pipeline, 6000000, 0, &did, &p.err), NUC_OK,
           "at its time");
    ok(did && plain_counts(&p)->read == RECORDS, "it is committed");
    is_int(nuc_pipeline_wait(p.pipeline, 7000000, 50), 50, "nothing is due any more");
    plain_close(&p);

    begin("run");
    is_int(plain_open(&p, "batch_events 7;"), NUC_OK, "a batch by number");
    is_int(nuc_pipeline_step(p.pipeline, 0, 0, &did, &p.err), NUC_OK, "a step");
    is_int((long long) plain_counts(&p)->read, 7, "it is committed when it is full");
    plain_close(&p);

    begin("run");
    is_int(plain_open(&p, "batch_size 1k;"), NUC_OK, "a batch by size");
    is_int(nuc_pipeline_step(p.pipeline, 0, 0, &did, &p.err), NUC_OK, "a step");
    ok(plain_counts(&p)->read > 1 && plain_counts(&p)->read < 10,
       "it is committed when full");
    plain_close(&p);
}

/* A byte of a record in the middle of the first segment of the first writer. */
static void damage_log(void)
{
    DIR *dir;
    int found = 0;
    char path[NUC_PATH_MAX];
    FILE *file;
    struct dirent *entry;

    dir = opendir("queue");

    while (dir != NULL && !found && (entry = readdir(dir)) != NULL) {
        snprintf(path, sizeof(path), "queue/%s/00000000000000000001.seg", entry->d_name);
        file = fopen(path, "r+");

        if (file != NULL) {
            found = fseek(file, 64 + 24 + 8, SEEK_SET) == 0 && fputc('!', file) == '!';
            fclose(file);
        }
    }

    closedir(dir);
    ok(found, "a record is damaged");
}

static void test_damage(void)
{
    plain_t p;

    begin("run");
    damage_log();
    is_int(plain_open(&p, "batch_events 4;"), NUC_OK, "a damaged log");
    is_int(nuc_pipeline_drain(p.pipeline, 0, &p.err), NUC_OK, "drained");
    is_int((long long) plain_counts(&p)->read, RECORDS, "the books have all");
    is_int((long long) plain_counts(&p)->corrupt, 1, "one is corrupt");
    is_int((long long) plain_counts(&p)->delivered, RECORDS - 1,
           "its neighbours are delivered");
    is_int(p.lost, 1, "and it was reported");
    plain_close(&p);
}

/* What the keeper may not touch. */
static void test_keeper(void)
{
    run_t run = {.sys = &nuc_sys_posix};
    plain_t p;
    nuc_err_t err;
    nuc_keeper_t keeper;

    begin("run");
    is_int(plain_open(&p, ""), NUC_OK, "a pipeline");
    is_int(nuc_pipeline_drain(p.pipeline, 0, &p.err), NUC_OK, "that has read all");
    plain_close(&p);

    ok(mkdir("state/pipelines/other", 0750) == 0, "and one that has no commit");
    is_int(nuc_keeper_open(&keeper, &nuc_sys_posix, "state", "queue", count_report, &run,
                           &err),
           NUC_OK, "the keeper");
    is_int(nuc_keeper_round(&keeper, &err), NUC_NOT_FOUND, "says so: %s", err.message);
    is_int(nuc_keeper_round(&keeper, &err), NUC_NOT_FOUND, "and again");
    is_int(run.reports, 0, "and removes nothing");

    is_int(nuc_state_forget(&nuc_sys_posix, "state", "other", &err), NUC_OK,
           "it is forgotten");
    is_int(nuc_keeper_round(&keeper, &err), NUC_OK, "the keeper goes on");
    ok(run.reports > 0, "and removes what was read");
    nuc_keeper_close(&keeper);

    is_int(nuc_state_forget(&nuc_sys_posix, "state", "other", &err), NUC_NOT_FOUND,
           "it cannot be forgotten twice");
}

static void test_lost_commit(void)
{
    plain_t p;

    begin("run");
    is_int(plain_open(&p, ""), NUC_OK, "a pipeline");
    plain_close(&p);

    ok(unlink("state/pipelines/store/commit") == 0, "its commit is gone");
    is_int(plain_open(&p, ""), NUC_OK,
           "and nothing else was there: it is registered anew");
    plain_close(&p);

    ok(unlink("state/pipelines/store/commit") == 0, "it is gone again");
    copy_file("/dev/null", "state/pipelines/store/lock");
    is_int(plain_open(&p, ""), NUC_CORRUPT, "but it had run: %s", p.err.message);
    ok(strstr(p.err.hint, "--forget") != NULL, "with a hint: %s", p.err.hint);
    nuc_worker_conf_free(&p.conf);
}

/* The books of each writer. */

/* "skipped+delivered/filtered/corrupt", and "!" where that is not what was passed. */
static void book_text(char text[64], const nuc_commit_t *commit, size_t i)
{
    int of_writer = i < commit->npositions;
    const nuc_book_t *book = of_writer ? &commit->books[i] : &commit->retired.book;

    snprintf(text, 64, "%llu+%llu/%llu/%llu%s",
             (unsigned long long) (of_writer ? commit->positions[i].skipped
                                             : commit->retired.skipped),
             (unsigned long long) book->delivered, (unsigned long long) book->filtered,
             (unsigned long long) book->corrupt,
             nuc_commit_unbalanced(commit, i) ? "!" : "");
}

static int text_cmp(const void *a, const void *b)
{
    return strcmp(a, b);
}

/* Those in the pipeline's last commit: of each writer, sorted, and of the retired ones.
 */
static const char *books(void)
{
    static char text[1024];
    char texts[8][64];
    size_t i, len;
    nuc_err_t err;
    nuc_commit_t commit;

    nuc_commit_init(&commit);

    if (nuc_commit_read(&nuc_sys_posix, "state/pipelines/store", &commit, &err) !=
            NUC_OK ||
        commit.npositions > 7) {
        die(err.message);
    }

    for (i = 0; i <= commit.npositions; i++) {
        book_text(texts[i], &commit, i);
    }

    qsort(texts, commit.npositions, sizeof(texts[0]), text_cmp);
    len = 0;

    for (i = 0; i <= commit.npositions; i++) {
        len += (size_t) snprintf(text + len, sizeof(text) - len, "%s%s", i > 0 ? " " : "",
                                 texts[i]);
    }

    nuc_commit_free(&commit);

    return text;
}

static void drain_plain(const char *options, const char *what)
{
    plain_t p;

    if (plain_open(&p, options) != NUC_OK ||
        nuc_pipeline_drain(p.pipeline, 0, &p.err) != NUC_OK) {
        die(p.err.message);
    }

    ok(books_balance(nuc_pipeline_commit(p.pipeline)), "%s", what);
    plain_close(&p);
}

static void keep_plain(unsigned rounds)
{
    nuc_err_t err;
    run_t run = {.sys = &nuc_sys_posix};
    nuc_keeper_t keeper;

    if (nuc_keeper_open(&keeper, &nuc_sys_posix, "state", "queue", count_report, &run,
                        &err) != NUC_OK) {
        die(err.message);
    }

    while (rounds-- > 0) {
        if (nuc_keeper_round(&keeper, &err) != NUC_OK) {
            die(err.message);
        }
    }

    nuc_keeper_close(&keeper);
}

/* The first segment of each writer. */
static int remove_first(void *ctx, const char *name)
{
    char path[NUC_PATH_MAX];

    snprintf(path, sizeof(path), "queue/%s/00000000000000000001.seg", name);
    *(int *) ctx += unlink(path) == 0;

    return 0;
}

static void test_books(void)
{
    int removed = 0;

    begin("run");
    drain_plain("tenants north;", "delivered and filtered");
    is_str(books(), "0+6/12/0 0+6/12/0 0+0/0/0", "stand in each writer's book");

    keep_plain(3);
    write_log("queue", 0, 9);
    drain_plain("", "two writers are gone, one has come");
    is_str(books(), "0+9/0/0 0+12/24/0", "theirs are kept as those of the retired");

    begin("run");
    drain_plain("start latest;", "start latest");
    is_str(books(), "18+0/0/0 18+0/0/0 0+0/0/0", "what was there before is skipped");
    write_log("queue", 0, 5);
    drain_plain("", "and what comes then");
    is_str(books(), "0+5/0/0 18+0/0/0 18+0/0/0 0+0/0/0", "is not");

    begin("run");
    damage_log();
    drain_plain("", "damage");
    ok(strstr(books(), "0+17/0/1") != NULL, "is in its writer's book: %s", books());

    begin("run");
    nuc_sys_posix.list(&nuc_sys_posix, "queue", remove_first, &removed);
    is_int(removed, 2, "segments are lost before a pipeline is registered");
    drain_plain("", "and passed over");
    is_str(books(), "8+10/0/0 8+10/0/0 0+0/0/0", "it begins behind them");

    begin("run");
    removed = 0;
    drain_plain("batch_events 1;", "a pipeline is registered");
    write_log("queue", 0, 12);
    nuc_sys_posix.list(&nuc_sys_posix, "queue", remove_first, &removed);
    drain_plain("", "and segments are lost that it has not read");
    is_str(books(), "0+18/0/0 0+18/0/0 0+4/0/8 0+0/0/0", "they are corrupt");
}

/* The position moves on by one record, and nobody counts it. */
static void hide_record(void)
{
    size_t i, low = 0;
    nuc_err_t err;
    nuc_commit_t commit;

    nuc_commit_init(&commit);

    if (nuc_commit_read(&nuc_sys_posix, "state/pipelines/store", &commit, &err) !=
        NUC_OK) {
        die(err.message);
    }

    for (i = 0; i < commit.npositions; i++) {
        low = commit.positions[i].sequence < commit.positions[low].sequence ? i : low;
    }

    commit.positions[low].sequence++;

    if (nuc_commit_write(&nuc_sys_posix, "state/pipelines/store", &commit, &err) !=
        NUC_OK) {
        die(err.message);
    }

    nuc_commit_free(&commit);
}

static void test_hidden_record(void)
{
    int did;
    plain_t p;

    begin("run");
    is_int(plain_open(&p, "batch_events 5;"), NUC_OK, "a pipeline");
    is_int(nuc_pipeline_step(p.pipeline, 0, 1, &did, &p.err), NUC_OK, "a batch");
    plain_close(&p);
    is_str(books(), "0+0/0/0 0+5/0/0 0+0/0/0", "is in the books");

    hide_record();
    is_int(plain_open(&p, ""), NUC_OK, "its commit skips a record");
    is_int(nuc_pipeline_drain(p.pipeline, 0, &p.err), NUC_OK, "it goes on");
    is_int((long long) plain_counts(&p)->read, RECORDS - 1, "the record is not read");
    ok(!books_balance(nuc_pipeline_commit(p.pipeline)), "which is seen");
    plain_close(&p);

    keep_plain(3);
    write_log("queue", 0, 9);
    is_int(plain_open(&p, ""), NUC_OK, "its writer goes");
    is_int(nuc_pipeline_drain(p.pipeline, 0, &p.err), NUC_OK, "others come");
    plain_close(&p);
    is_str(books(), "0+9/0/0 0+35/0/0!", "the loss stays in the books");
}

/* Makes the directory of the test where it costs least. */
static int make_top(const char *in)
{
    if (in == NULL) {
        return 0;
    }

    snprintf(top, sizeof(top), "%s/nuc-pipeline-XXXXXX", in);

    return mkdtemp(top) != NULL;
}

int main(void)
{
    static const char text[] = "queue log { path queue; }"
                               "pipeline store {"
                               "    batch_events 5;"
                               "    sink file { path store; file_size 2k; }"
                               "}";
    unsigned total;
    nuc_err_t err;

    if (!make_top(getenv("TMPDIR")) && !make_top("/dev/shm") && !make_top("/tmp")) {
        die(top);
    }

    if (nuc_worker_conf_parse(NUC_STR(text), "test", &conf, &err) != NUC_OK) {
        die(err.message);
    }

    make_template();
    (void) operations(0);
    total = operations(1);

    test_latest();
    test_filters();
    test_batches();
    test_damage();
    test_books();
    test_hidden_record();
    test_keeper();
    test_lost_commit();
    test_failures(total);
    test_kills(total);
    test_power(total);
    test_sites(total);
    test_forget();
    test_rename();

    is_int(unbalanced, 0, "the books held at every commit, through all of this");

    if (chdir("/") == 0) {
        sim_remove_tree(top);
    }

    nuc_worker_conf_free(&conf);

    return tap_done();
}
