/*
 * Adoption of a dead host's queue, while the power is cut at each of its operations, or
 * one of them fails and the worker goes on with what is there; then it is done again.  In
 * the end every record is in the store once.  And the same with each sync left out, which
 * must be noticed.
 */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "logkit.h"
#include "nuc_adopt.h"
#include "nuc_keeper.h"
#include "nuc_pipeline.h"
#include "nuc_state.h"
#include "sim.h"
#include "tap.h"

#define OLD_RECORDS 12 /* in two writers of the dead host */
#define RECORDS     18 /* with those of the queue that takes them */
#define LATE        3  /* that come after the power cut */

typedef struct {
    int copy;       /* as between two file systems */
    int with_state; /* the dead host's pipeline had delivered some */
    int fail;       /* an operation fails, rather than that the power goes */
} variant_t;

static char top[NUC_PATH_MAX];
static nuc_worker_conf_t conf, old_conf;
static int quiet; /* a sync is left out: trouble is expected */
static int (*posix_rename)(const nuc_sys_t *sys, const char *from, const char *to);

static void die(const char *what)
{
    diag("%s: %s", what, strerror(errno));
    exit(1);
}

static void enter(const char *name)
{
    char dir[NUC_PATH_MAX];

    nuc_path_join(dir, top, name, NULL);

    if (chdir(dir) == -1) {
        die(dir);
    }
}

/* Relative paths, so that an image can be gone on with where it lies. */
static void write_log(const char *dir, uint64_t first, uint64_t end)
{
    nuc_queue_t *queue;
    nuc_log_options_t options = kit_options(kit_sys(), dir);
    nuc_err_t err;

    options.segment_size = 1024;

    if (nuc_log_open(&options, &queue, &err) != NUC_OK || kit_started(queue) != NUC_OK) {
        die("open of a queue");
    }

    for (/* void */; first < end; first += 3) {
        if (kit_store(queue, first, 3) != NUC_OK) {
            die("store");
        }
    }

    if (queue->ops->close(queue, 10000, &err) != NUC_OK) {
        die(err.message);
    }
}

static void keep(const nuc_sys_t *sys, const char *state, const char *queue);

/* Whatever is there; "most" steps of six records. */
static nuc_rc_t deliver(const nuc_sys_t *sys, const nuc_worker_conf_t *worker,
                        unsigned most, nuc_err_t *err)
{
    int did = 1;
    nuc_rc_t rc;
    nuc_pipeline_t *pipeline;
    nuc_pipeline_options_t options = {
        .sys = sys,
        .conf = &worker->pipelines[0],
        .state = worker->state,
        .queue = worker->queue,
    };

    rc = nuc_state_create(sys, worker->state, err);

    if (rc == NUC_OK) {
        rc = nuc_state_register(sys, worker->state, worker->queue, &worker->pipelines[0],
                                err);
    }

    if (rc == NUC_OK) {
        rc = nuc_pipeline_open(&options, &pipeline, err);
    }

    if (rc != NUC_OK) {
        return rc;
    }

    while (rc == NUC_OK && did && most-- > 0) {
        rc = nuc_pipeline_step(pipeline, 0, most > 1000, &did, err);
    }

    nuc_pipeline_close(pipeline);

    return rc;
}

static void no_report(void *ctx, const nuc_log_report_t *report)
{
    (void) ctx;
    (void) report;
}

static void keep(const nuc_sys_t *sys, const char *state, const char *queue)
{
    nuc_err_t err;
    nuc_keeper_t keeper;

    if (nuc_keeper_open(&keeper, sys, state, queue, no_report, NULL, &err) == NUC_OK) {
        (void) nuc_keeper_round(&keeper, &err);
        (void) nuc_keeper_round(&keeper, &err);
        nuc_keeper_close(&keeper);
    }
}

static void work(const nuc_sys_t *sys)
{
    nuc_err_t err;

    keep(sys, conf.state, conf.queue);

    if (deliver(sys, &conf, 5000, &err) != NUC_OK && !quiet) {
        diag("%s", err.message);
    }

    keep(sys, conf.state, conf.queue);
}

static void load(const char *text, nuc_worker_conf_t *worker)
{
    nuc_err_t err;

    if (nuc_worker_conf_parse(nuc_str(text), "test", worker, &err) != NUC_OK) {
        die(err.message);
    }
}

/* What a dead host has left, with a quarantine, and a worker that has begun with its own
 * queue. */
static void make_template(void)
{
    nuc_err_t err;
    FILE *file;

    if (mkdir("template", 0750) == -1) {
        die("template");
    }

    enter("template");

    if (mkdir("old", 0750) == -1 || mkdir("queue", 0750) == -1 ||
        mkdir("old/quarantine", 0750) == -1) {
        die("directories");
    }

    write_log("old", 1, 1 + OLD_RECORDS / 2);
    write_log("old", 1 + OLD_RECORDS / 2, 1 + OLD_RECORDS);
    write_log("queue", 1 + OLD_RECORDS, 1 + RECORDS);

    file = fopen("old/quarantine/damaged.bin", "w");

    if (file == NULL || fputs("damaged", file) == EOF || fclose(file) != 0) {
        die("quarantine");
    }

    if (deliver(&nuc_sys_posix, &old_conf, 1, &err) != NUC_OK ||
        deliver(&nuc_sys_posix, &conf, 1, &err) != NUC_OK) {
        die(err.message);
    }

    enter(".");
}

static void ignore_report(void *ctx, const nuc_adopt_report_t *report)
{
    (void) ctx;
    (void) report;
}

static nuc_rc_t adopt(const nuc_sys_t *sys, const variant_t *variant, nuc_err_t *err)
{
    nuc_adopt_options_t options = {
        .sys = sys,
        .from = "old",
        .queue = "queue",
        .state = "state",
        .old_state = variant->with_state ? "oldstate" : NULL,
        .report = ignore_report,
    };

    return nuc_adopt(&options, err);
}

/* Other file systems are told by rename alone. */
static int rename_within(const nuc_sys_t *sys, const char *from, const char *to)
{
    const char *from_end = strrchr(from, '/'), *to_end = strrchr(to, '/');

    if (from_end == NULL || to_end == NULL || from_end - from != to_end - to ||
        strncmp(from, to, (size_t) (from_end - from)) != 0) {
        errno = EXDEV;
        return -1;
    }

    return posix_rename(sys, from, to);
}

static sim_t *simulate(const variant_t *variant, const char *skip)
{
    char dir[NUC_PATH_MAX];
    nuc_sys_t *sys;
    sim_t *sim;

    nuc_path_join(dir, top, "run", NULL);
    sim_remove_tree(dir);
    enter(".");

    if (system("cp -a template run") != 0) {
        die("cp");
    }

    enter("run");
    sim = sim_create(dir);
    sim_skip_site(sim, skip);

    if (variant->copy) {
        sys = (nuc_sys_t *) sim_sys(sim);
        posix_rename = sys->rename;
        sys->rename = rename_within;
    }

    return sim;
}

/* How often each record is in the stores. */

typedef struct {
    const char *dir;
    unsigned *times;
} store_t;

static int read_entry(void *ctx, const char *name)
{
    char path[NUC_PATH_MAX], line[2 * KIT_DATA_MAX];
    FILE *file;
    const char *id;
    store_t *store = ctx, inner = *store;
    struct stat st;
    uint64_t n;

    nuc_path_join(path, store->dir, name, NULL);
    inner.dir = path;

    if (stat(path, &st) == 0 && S_ISDIR(st.st_mode)) {
        (void) nuc_sys_posix.list(&nuc_sys_posix, path, read_entry, &inner);
        return 0;
    }

    file = fopen(path, "r");

    while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
        id = strstr(line, "\"id\":\"event-");
        n = id != NULL ? strtoull(id + 12, NULL, 10) : 0;
        store->times[n <= RECORDS + LATE ? n : 0]++;
    }

    if (file != NULL) {
        fclose(file);
    }

    return 0;
}

/* Of each writer, also of those that came with positions. */
static int books_balance(void)
{
    int balance;
    size_t i;
    nuc_err_t err;
    nuc_commit_t commit;

    nuc_commit_init(&commit);
    balance =
        nuc_commit_read(&nuc_sys_posix, "state/pipelines/store", &commit, &err) == NUC_OK;

    for (i = 0; i <= commit.npositions; i++) {
        balance = balance && nuc_commit_unbalanced(&commit, i) == 0;
    }

    nuc_commit_free(&commit);

    return balance;
}

/* "delivered": the dead host's own store counts too. */
static int is_once(const variant_t *variant, const char *when, unsigned n, unsigned seed)
{
    int right = 1;
    unsigned i, times[RECORDS + LATE + 1] = {0};
    struct stat st;
    store_t store = {"store", times}, old = {"oldstore", times};

    (void) nuc_sys_posix.list(&nuc_sys_posix, "store", read_entry, &store);

    if (variant->with_state) {
        (void) nuc_sys_posix.list(&nuc_sys_posix, "oldstore", read_entry, &old);
    }

    for (i = 0; i <= RECORDS; i++) {
        if (times[i] == (i > 0)) {
            continue;
        }

        right = 0;

        if (!quiet) {
            diag("%s at %u, seed %u%s%s: record %u is stored %u times", when, n, seed,
                 variant->copy ? ", copied" : "",
                 variant->with_state ? ", with state" : "", i, times[i]);
        }
    }

    if (!books_balance()) {
        right = 0;

        if (!quiet) {
            diag("%s at %u, seed %u: the books do not balance", when, n, seed);
        }
    }

    if (stat("queue/quarantine/damaged.bin", &st) == -1 || st.st_size != 7) {
        right = 0;

        if (!quiet) {
            diag("%s at %u, seed %u: the quarantine is lost", when, n, seed);
        }
    }

    return right;
}

/* After the power cut: once more, and all is delivered. */
static int finish(sim_t *sim, const variant_t *variant, const char *when, unsigned n,
                  unsigned seed)
{
    char image[NUC_PATH_MAX];
    nuc_rc_t rc;
    nuc_err_t err;
    struct stat st;

    nuc_path_join(image, top, "image", NULL);
    sim_kill(sim);
    sim_remove_tree(image);
    sim_image(sim, image, seed);
    sim_destroy(sim);
    enter("image");

    /* the worker may come first, and commit where it is */
    if (seed & 4) {
        write_log("queue", RECORDS + 1, RECORDS + LATE + 1);
        work(&nuc_sys_posix);
    }

    /* whoever came so far that there is nothing left to adopt is told so */
    if (stat("old", &st) == 0) {
        rc = adopt(&nuc_sys_posix, variant, &err);

        if (rc != NUC_OK && strstr(err.message, "no directory of a writer") == NULL &&
            !quiet) {
            diag("%s at %u, seed %u: %s", when, n, seed, err.message);
        }
    }

    work(&nuc_sys_posix);

    return is_once(variant, when, n, seed);
}

/* Stop, or fail, at each operation of the adoption, with one in "step" of the seeds. */
static unsigned everywhere(const variant_t *variant, const char *skip, unsigned step,
                           unsigned *runs)
{
    int ended = 0;
    unsigned n, seed, before, wrong = 0;
    nuc_err_t err;
    sim_t *sim;

    for (n = 1; !ended; n++) {
        for (seed = n % step; seed < 16; seed += step) {
            sim = simulate(variant, skip);
            before = sim_operations(sim);

            if (variant->fail) {
                sim_fail_at(sim, before + n, 1, EIO);
            } else {
                sim_stop_at(sim, before + n);
            }

            (void) adopt(sim_sys(sim), variant, &err);
            ended = sim_operations(sim) < before + n;

            if (variant->fail || ended) {
                sim_stop_at(sim, 0);
                work(sim_sys(sim));
            }

            if (variant->fail && (seed & 8)) {
                (void) adopt(sim_sys(sim), variant, &err);
            }

            wrong +=
                !finish(sim, variant, variant->fail ? "failure" : "power cut", n, seed);
            ++*runs;

            if (wrong > 0) {
                return wrong;
            }
        }
    }

    return 0;
}

static void test_variants(void)
{
    unsigned i, runs, wrong;
    variant_t variant;

    for (i = 0; i < 8; i++) {
        variant = (variant_t){i & 1, (i & 2) != 0, (i & 4) != 0};
        runs = 0;
        wrong = everywhere(&variant, NULL, getenv("NUCLEUS_POWER") ? 1 : 8, &runs);
        is_int(wrong, 0,
               "%s%s, %s at each operation, then again: each record once, %u runs",
               variant.copy ? "copied" : "moved", variant.with_state ? " with state" : "",
               variant.fail ? "a failure" : "a power cut", runs);
    }
}

static void test_site(const char *site)
{
    unsigned i, step, runs = 0, wrong = 0;
    variant_t variant;

    quiet = 1;

    for (step = 8; wrong == 0 && step > 0; step /= 8) {
        for (i = 0; wrong == 0 && i < 8; i++) {
            variant = (variant_t){i & 1, (i & 2) != 0, (i & 4) != 0};
            wrong = everywhere(&variant, site, step, &runs);
        }
    }

    ok(wrong > 0, "without \"%s\" something is lost or repeated (%u runs)", site, runs);
    quiet = 0;
}

static void test_sites(void)
{
    static const char *const sites[] = {
        "adopt-journal",    "adopt-journal-entry",  "adopt-copy",    "adopt-copy-entries",
        "adopt-copy-dir",   "adopt-mark",           "adopt-publish", "adopt-remove",
        "adopt-quarantine", "adopt-quarantine-dir",
    };
    size_t i;

    for (i = 0; i < sizeof(sites) / sizeof(sites[0]); i++) {
        test_site(sites[i]);
    }
}

/* What is refused. */

static void refused(nuc_rc_t expected, const variant_t *variant, const char *what)
{
    nuc_err_t err;

    err.message[0] = '\0';
    is_int(adopt(&nuc_sys_posix, variant, &err), expected, "%s: %s", what, err.message);
}

static void test_refused(void)
{
    sim_t *sim;
    nuc_err_t err;
    nuc_keeper_t keeper;
    variant_t plain = {0, 0, 0}, with_state = {0, 1, 0};

    sim = simulate(&plain, NULL);
    sim_destroy(sim);

    is_int(nuc_keeper_open(&keeper, &nuc_sys_posix, "oldstate", "old", no_report, NULL,
                           &err),
           NUC_OK, "somebody keeps it");
    refused(NUC_BUSY, &plain, "its keeper runs");
    nuc_keeper_close(&keeper);

    ok(system("cp -a old/0* queue") == 0, "a copy is in the queue");
    refused(NUC_INVALID, &plain, "a writer of the same name");

    sim = simulate(&plain, NULL);
    sim_destroy(sim);
    ok(system("echo 'queue elsewhere' > old/adopting") == 0, "begun with another queue");
    refused(NUC_INVALID, &plain, "another adoption");

    ok(unlink("old/adopting") == 0 && system("rm -r old/0*") == 0, "no writers");
    refused(NUC_INVALID, &plain, "no queue");
    ok(system("mkdir -p old/01900000-0000-7000-8000-000000000001 && rm -r oldstate/*") ==
           0,
       "an empty state");
    refused(NUC_INVALID, &with_state, "no state");
}

int main(int argc, char **argv)
{
    kit_temp_dir(top);
    load("state state; queue log { path queue; }"
         "pipeline store { sink file { path store; } }",
         &conf);
    load("state oldstate; queue log { path old; }"
         "pipeline store { batch_events 5; sink file { path oldstore; } }"
         "pipeline other { sink file { path oldother; } }",
         &old_conf);

    enter(".");
    make_template();

    /* a site, to look at it alone */
    if (argc == 2) {
        test_site(argv[1]);
    } else {
        test_variants();
        test_sites();
        test_refused();
    }

    if (chdir("/") == 0) {
        sim_remove_tree(top);
    }

    nuc_worker_conf_free(&conf);
    nuc_worker_conf_free(&old_conf);

    return tap_done();
}
