/*
 * With NUCLEUS_POWER=full in the environment every seed is tried, which takes some
 * minutes.
 *
 * The power is cut at every operation that the log, the worker and the file sink make,
 * and what the disk may then hold is gone on with.  At the end every acknowledged record
 * is in the store exactly once, unchanged; a refused one is not; all pipelines have the
 * same; and at every commit the books of every writer balance.
 *
 * Then the same again with one fsync or fdatasync left out, for each there is in the
 * sources: the loss must be noticed, or that sync, or this test, is good for nothing.
 */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "logkit.h"
#include "nuc_keeper.h"
#include "nuc_log_file.h"
#include "nuc_log_list.h"
#include "nuc_pipeline.h"
#include "nuc_state.h"
#include "nuc_time.h"
#include "nuc_worker_conf.h"
#include "sim.h"
#include "tap.h"

#define MAX_RECORDS 1000
#define BATCH       3

typedef enum {
    NEVER_SENT = 0,
    ACKNOWLEDGED,
    REFUSED,
    UNKNOWN
} fate_t;

typedef struct {
    char root[NUC_PATH_MAX]; /* all of the run, removed at its end */
    char dir[NUC_PATH_MAX];  /* the disk of this life */
    char queue[NUC_PATH_MAX];
    char state[NUC_PATH_MAX];
    unsigned lives;
    sim_t *sim;
    const char *skip;
    nuc_worker_conf_t conf;
    int has_conf;

    uint64_t next; /* number of the next record */
    fate_t fates[MAX_RECORDS];
    uint64_t corrupt; /* what pipelines and keeper said was lost */
    int forgot;       /* pipeline "gone" was forgotten, and was told so */
    int quiet;        /* damage is meant */
    const char *wrong;
    uint64_t wrong_record;
} world_t;

static void wrong(world_t *world, const char *what, uint64_t record)
{
    if (world->wrong == NULL) {
        world->wrong = what;
        world->wrong_record = record;
    }
}

/* The paths follow the disk from life to life. */
static void world_enter(world_t *world)
{
    char text[8 * NUC_PATH_MAX];
    nuc_err_t err;

    snprintf(world->queue, sizeof(world->queue), "%.900s/var/queue", world->dir);
    snprintf(world->state, sizeof(world->state), "%.900s/var/state", world->dir);
    snprintf(text, sizeof(text),
             "state %s; queue log { path %s; }\n"
             "pipeline a { sink file { path %s/store/a; file_size 8k; } }\n"
             "pipeline b { sink file { path %s/store/b; file_size 8k; } }\n"
             "pipeline gone { sink file { path %s/store/gone; } }\n",
             world->state, world->queue, world->dir, world->dir, world->dir);

    if (world->has_conf) {
        nuc_worker_conf_free(&world->conf);
    }

    if (nuc_worker_conf_parse(nuc_str(text), "test", &world->conf, &err) != NUC_OK) {
        diag("%s", err.message);
        exit(1);
    }

    world->has_conf = 1;
    world->sim = sim_create(world->dir);
    sim_skip_site(world->sim, world->skip);
}

static world_t *world_create(const char *skip)
{
    world_t *world = calloc(1, sizeof(*world));

    kit_temp_dir(world->root);
    snprintf(world->dir, sizeof(world->dir), "%.900s/disk", world->root);
    mkdir(world->dir, 0750);
    world->next = 1;
    world->skip = skip;
    world_enter(world);

    return world;
}

static void world_destroy(world_t *world)
{
    nuc_worker_conf_free(&world->conf);
    sim_kill(world->sim);
    sim_destroy(world->sim);
    sim_remove_tree(world->root);
    free(world);
}

static void world_cut(world_t *world, unsigned seed)
{
    char image[NUC_PATH_MAX];

    snprintf(image, sizeof(image), "%.900s/disk%u", world->root, ++world->lives);
    sim_image(world->sim, image, seed);
    sim_destroy(world->sim);
    sim_remove_tree(world->dir);
    strcpy(world->dir, image);
    world_enter(world);
}

static void keeper_report(void *ctx, const nuc_log_report_t *report)
{
    world_t *world = ctx;

    if (report->event == NUC_LOG_QUARANTINED) {
        if (world->skip == NULL && !world->quiet) {
            diag("put aside: %s, %llu bytes, %llu records", report->path,
                 (unsigned long long) report->bytes,
                 (unsigned long long) report->records);
        }

        world->corrupt += report->records + 1;
    }
}

static void pipeline_report(void *ctx, const nuc_err_t *err, uint64_t lost)
{
    world_t *world = ctx;

    if (world->skip == NULL) {
        diag("%s", err->message);
    }

    world->corrupt += lost + 1;
}

/* One round of the worker's keeper: recover, seal, remove what all have passed. */
static void keep(world_t *world)
{
    nuc_err_t err;
    nuc_keeper_t keeper;

    if (nuc_keeper_open(&keeper, sim_sys(world->sim), world->state, world->queue,
                        keeper_report, world, &err) != NUC_OK) {
        return;
    }

    (void) nuc_keeper_round(&keeper, &err);
    nuc_keeper_close(&keeper);
}

static int register_pipelines(world_t *world)
{
    unsigned i;
    nuc_err_t err;
    const nuc_sys_t *sys = sim_sys(world->sim);

    if (nuc_state_create(sys, world->state, &err) != NUC_OK) {
        return 0;
    }

    for (i = 0; i < 2; i++) {
        if (nuc_state_register(sys, world->state, world->queue, &world->conf.pipelines[i],
                               &err) != NUC_OK) {
            if (!sim_stopped(world->sim)) {
                wrong(world, "a pipeline cannot be registered", 0);
                diag("%s", err.message);
            }

            return 0;
        }
    }

    return 1;
}

/* Every sequence that the pipeline has passed is in the books of its writer. */
static void check_books(world_t *world, const nuc_pipeline_t *pipeline)
{
    size_t i;
    const nuc_commit_t *commit = nuc_pipeline_commit(pipeline);

    for (i = 0; i <= commit->npositions; i++) {
        if (nuc_commit_unbalanced(commit, i) != 0) {
            wrong(world, "the books of a writer do not balance", i);
        }
    }
}

/* Let a pipeline deliver what there is; returns 0 when the life ended on the way. */
static int deliver(world_t *world, unsigned which)
{
    int did;
    nuc_rc_t rc;
    nuc_err_t err;
    nuc_pipeline_t *pipeline;
    nuc_pipeline_options_t options = {
        .sys = sim_sys(world->sim),
        .conf = &world->conf.pipelines[which],
        .state = world->state,
        .queue = world->queue,
        .report = pipeline_report,
        .ctx = world,
    };

    rc = nuc_pipeline_open(&options, &pipeline, &err);

    if (rc == NUC_OK) {
        do {
            check_books(world, pipeline);
            rc = nuc_pipeline_step(pipeline, nuc_time_monotonic(), 1, &did, &err);
        } while (rc == NUC_OK && did);

        check_books(world, pipeline);

        nuc_pipeline_close(pipeline);
    }

    if (rc != NUC_OK && rc != NUC_NOT_FOUND && !sim_stopped(world->sim)) {
        wrong(world, "a pipeline fails on what a power cut left", 0);

        if (world->skip == NULL) {
            diag("%s", err.message);
        }
    }

    return rc == NUC_OK;
}

static void store(world_t *world, nuc_queue_t *queue)
{
    unsigned i;
    nuc_rc_t rc;

    rc = kit_store(queue, world->next, BATCH);

    for (i = 0; i < BATCH; i++) {
        world->fates[world->next++] = rc == NUC_OK        ? ACKNOWLEDGED
                                      : rc == NUC_UNKNOWN ? UNKNOWN
                                                          : REFUSED;
    }
}

/* Several batches that are committed as one group. */
static void store_group(world_t *world, nuc_queue_t *queue)
{
    unsigned i, j, sent;
    fate_t fate;
    nuc_ticket_t tickets[4];

    for (sent = 0; sent < 4; sent++) {
        if (kit_submit(queue, world->next + sent * BATCH, BATCH, &tickets[sent], NULL) !=
            NUC_OK) {
            break;
        }
    }

    queue->ops->kick(queue);
    kit_wait(queue, sent, 10000);

    for (i = 0; i < sent; i++) {
        fate = tickets[i].rc == NUC_OK        ? ACKNOWLEDGED
               : tickets[i].rc == NUC_UNKNOWN ? UNKNOWN
                                              : REFUSED;

        for (j = 0; j < BATCH; j++) {
            world->fates[world->next++] = fate;
        }
    }
}

static nuc_queue_t *open_queue(world_t *world)
{
    nuc_err_t err;
    nuc_queue_t *queue;
    nuc_log_options_t options = kit_options(sim_sys(world->sim), world->queue);

    options.segment_size = 2048;

    if (nuc_log_open(&options, &queue, &err) != NUC_OK) {
        diag("%s", err.message);
        exit(1);
    }

    kit_started(queue);

    return queue;
}

static void close_queue(nuc_queue_t *queue)
{
    nuc_err_t err;

    if (queue->ops->close(queue, 10000, &err) != NUC_OK) {
        diag("%s", err.message);
        exit(1);
    }
}

/* What nginx and the worker do, in one thread: until the end, or until everything stops.
 */
static void live(world_t *world)
{
    unsigned round;
    nuc_queue_t *queue = open_queue(world);

    for (round = 0; round < 4 && !sim_stopped(world->sim); round++) {
        store(world, queue);
        store(world, queue);

        if (round == 0) {
            continue;
        }

        if (register_pipelines(world)) {
            deliver(world, 0);
            keep(world);

            if (round == 2) {
                deliver(world, 1);
                keep(world);
            }
        }
    }

    close_queue(queue);
}

/* The last life: nothing fails any more, and everything is delivered. */
static void settle(world_t *world)
{
    unsigned i;

    mkdir(world->queue, 0750);

    if (!register_pipelines(world)) {
        wrong(world, "the state is not usable", 0);
        return;
    }

    for (i = 0; i < 2; i++) {
        keep(world);
        deliver(world, 0);
        deliver(world, 1);
    }
}

/* Reading the stores back. */

typedef struct {
    world_t *world;
    char path[NUC_PATH_MAX];
    unsigned char *times;
} stored_t;

static void read_line(stored_t *stored, const char *line)
{
    char id[32], data[KIT_DATA_MAX];
    const char *found;
    uint64_t n;
    nuc_record_t expected;

    found = strstr(line, "\"id\":\"event-");
    n = found ? strtoull(found + 12, NULL, 10) : 0;

    if (n == 0 || n >= stored->world->next) {
        wrong(stored->world, "a line of the store is not a record", n);
        return;
    }

    kit_record(n, &expected, id, data);
    found = strstr(line, ",\"data\":");

    if (found == NULL || strlen(found) != 8 + expected.data.len + 2 ||
        memcmp(found + 8, expected.data.data, expected.data.len) != 0) {
        wrong(stored->world, "a record was changed", n);
        return;
    }

    stored->times[n]++;
}

static int read_entry(void *ctx, const char *name)
{
    char line[2 * KIT_DATA_MAX];
    size_t len;
    FILE *file;
    struct stat st;
    stored_t *stored = ctx, inner = *stored;

    nuc_path_join(inner.path, stored->path, name, NULL);

    if (stat(inner.path, &st) == -1) {
        wrong(stored->world, "the store cannot be read", 0);
        return 0;
    }

    if (S_ISDIR(st.st_mode)) {
        nuc_sys_posix.list(&nuc_sys_posix, inner.path, read_entry, &inner);
        return 0;
    }

    file = fopen(inner.path, "r");

    while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
        len = strlen(line);

        if (line[len - 1] != '\n') {
            wrong(stored->world, "a file of the store ends in half a line", 0);
        } else {
            read_line(stored, line);
        }
    }

    if (file != NULL) {
        fclose(file);
    }

    return 0;
}

/* The pipeline says that it has delivered what its store holds, and no more. */
static void check_delivered(world_t *world, unsigned which, const unsigned char *times)
{
    uint64_t n, stored = 0;
    char dir[NUC_PATH_MAX];
    nuc_err_t err;
    nuc_commit_t commit;

    for (n = 1; n < world->next; n++) {
        stored += times[n];
    }

    nuc_commit_init(&commit);

    if (nuc_state_pipeline_dir(dir, world->state, world->conf.pipelines[which].name,
                               &err) != NUC_OK ||
        nuc_commit_read(sim_sys(world->sim), dir, &commit, &err) != NUC_OK) {
        wrong(world, "a commit cannot be read", which);
    } else if (commit.counts.delivered != stored) {
        wrong(world, "the books have another number of records than the store", stored);
    }

    nuc_commit_free(&commit);
}

static void check(world_t *world)
{
    unsigned i;
    uint64_t n;
    unsigned char times[2][MAX_RECORDS] = {{0}};
    stored_t stored = {.world = world};

    for (i = 0; i < 2; i++) {
        snprintf(stored.path, sizeof(stored.path), "%.900s/store/%c", world->dir,
                 'a' + i);
        stored.times = times[i];
        (void) nuc_sys_posix.list(&nuc_sys_posix, stored.path, read_entry, &stored);

        for (n = 1; n < world->next; n++) {
            if (times[i][n] > 1) {
                wrong(world, "a record is stored twice", n);
            }

            if (world->fates[n] == ACKNOWLEDGED && times[i][n] == 0) {
                wrong(world, "an acknowledged record is lost", n);
            }

            if (world->fates[n] == REFUSED && times[i][n] > 0) {
                wrong(world, "a refused record is stored", n);
            }
        }

        check_delivered(world, i, times[i]);
    }

    for (n = 1; n < world->next; n++) {
        if (times[0][n] != times[1][n]) {
            wrong(world, "one pipeline has a record that the other has not", n);
        }
    }

    if (world->corrupt > 0) {
        wrong(world, "a power cut was taken for damage", world->corrupt);
    }
}

/* The scenarios.  Each answers what went wrong, or NULL; *ended: there was nothing left
 * to try. */

static const char *finish(world_t *world)
{
    const char *what;

    settle(world);
    check(world);

    what = world->wrong;

    if (what != NULL && world->skip == NULL) {
        diag("%s: record %llu, fate %d", what, (unsigned long long) world->wrong_record,
             world->wrong_record < MAX_RECORDS ? (int) world->fates[world->wrong_record]
                                               : -1);
    }

    world_destroy(world);

    return what;
}

/* Stop at operation n; kill or cut; live on and stop again; cut; settle. */
static const char *cut_anywhere(const char *skip, unsigned n, unsigned seed, int *ended)
{
    world_t *world = world_create(skip);

    sim_stop_at(world->sim, n);
    live(world);
    *ended = !sim_stopped(world->sim);

    if (seed & 4) {
        sim_kill(world->sim);
        sim_revive(world->sim);

        /* a worker alone sees what the killed one left, and delivers it to one pipeline
         */
        if (seed & 8) {
            register_pipelines(world);
            keep(world);
            deliver(world, 0);
            world_cut(world, seed + 16 * n);
            return finish(world);
        }
    } else {
        world_cut(world, seed + 16 * n);
    }

    sim_stop_at(world->sim, sim_operations(world->sim) + 1 + (n * 7 + seed * 31) % 90);
    live(world);
    world_cut(world, seed / 4 + n);

    return finish(world);
}

/*
 * The worker is killed at its operation n, its successor dies with the power at its own
 * m-th: what the first had written and not yet synced, the second must not build upon.
 */
static const char *worker_dies_twice(const char *skip, unsigned n, unsigned seed,
                                     int *ended)
{
    unsigned m = 1 + seed / 2;
    world_t *world = world_create(skip);
    nuc_queue_t *queue = open_queue(world);

    store(world, queue);
    store(world, queue);
    close_queue(queue);

    sim_stop_at(world->sim, sim_operations(world->sim) + n);

    if (register_pipelines(world)) {
        deliver(world, 0);
        keep(world);
        deliver(world, 1);
        keep(world);
    }

    *ended = !sim_stopped(world->sim);
    sim_kill(world->sim);
    sim_revive(world->sim);

    sim_stop_at(world->sim, sim_operations(world->sim) + m);

    if (register_pipelines(world)) {
        deliver(world, 0);
        keep(world);
        deliver(world, 1);
    }

    world_cut(world, seed % 2 ? 2 + 4 * seed : 0);

    return finish(world);
}

/* An operation fails, once, while groups are written; then the power goes. */
static const char *fail_then_cut(const char *skip, unsigned n, unsigned seed, int *ended)
{
    world_t *world = world_create(skip);
    nuc_queue_t *queue;

    sim_fail_at(world->sim, n, 1, seed & 4 ? EIO : ENOSPC);
    queue = open_queue(world);
    store_group(world, queue);
    store_group(world, queue);

    *ended = sim_operations(world->sim) < n;
    sim_stop_at(world->sim, sim_operations(world->sim) + 1);
    close_queue(queue);
    world_cut(world, seed + 16 * n);

    return finish(world);
}

/* The disk is full in the middle of a group, which is refused; then the power goes. */
static const char *full_then_cut(const char *skip, unsigned n, unsigned seed, int *ended)
{
    world_t *world = world_create(skip);
    nuc_queue_t *queue = open_queue(world);

    store_group(world, queue);
    sim_fill(world->sim, n * 400);
    store_group(world, queue);

    *ended = world->fates[world->next - 1] == ACKNOWLEDGED;
    sim_stop_at(world->sim, sim_operations(world->sim) + 1);
    close_queue(queue);
    world_cut(world, seed + 16 * n);

    return finish(world);
}

/* While every sync fails no client may be let in to an unknown outcome. */
static const char *syncs_fail(const char *skip, unsigned n, unsigned seed, int *ended)
{
    unsigned tries, retry_after;
    world_t *world = world_create(skip);
    nuc_queue_t *queue = open_queue(world);

    (void) n;
    (void) seed;
    *ended = 1;

    store(world, queue);
    sim_fail_syncs(world->sim, EIO);
    store(world, queue);

    /* several ticks of 20 ms */
    for (tries = 0; tries < 20 && kit_wait_ready(queue, NUC_OK, 10) == 0; tries++) {
        continue;
    }

    if (queue->ops->ready(queue, &retry_after, NULL) == NUC_OK) {
        wrong(world, "the queue lets in what it cannot store", 0);
    }

    sim_fail_syncs(world->sim, 0);
    close_queue(queue);

    return finish(world);
}

static void spoil_first_segment(world_t *world)
{
    int fd;
    char path[NUC_PATH_MAX], name[NUC_LOG_NAME_MAX], file[NUC_PATH_MAX];
    uint8_t byte = 0x55;
    nuc_writer_list_t writers = {NULL, 0, 0};
    nuc_segment_list_t segments = {NULL, 0, 0};
    const nuc_sys_t *sys = sim_sys(world->sim);

    nuc_log_list_writers(sys, world->queue, &writers, NULL);
    nuc_log_writer_path(world->queue, &writers.ids[0], path, NULL);
    nuc_log_list_segments(sys, path, &segments, NULL);
    nuc_segment_name(segments.firsts[0], NUC_LOG_SEGMENT_SUFFIX, name);
    nuc_path_join(file, path, name, NULL);
    fd = sys->open(sys, file, O_RDWR, 0);
    sys->pwrite(sys, fd, &byte, 1, 200);
    sys->fdatasync(sys, fd, "test-damage");
    sys->close(sys, fd);
    free(writers.ids);
    free(segments.firsts);
}

static int count_quarantined(void *ctx, const char *name)
{
    char path[NUC_PATH_MAX];
    struct stat st;
    world_t *world = ctx;

    snprintf(path, sizeof(path), "%.800s/quarantine/%.100s", world->queue, name);

    if (strstr(name, ".tmp") == NULL && stat(path, &st) == 0 && st.st_size > 100) {
        world->wrong_record++;
    }

    return 0;
}

/* Damage is put aside; the segment is removed; the power goes; the copy must be there. */
static const char *quarantine_then_cut(const char *skip, unsigned n, unsigned seed,
                                       int *ended)
{
    char path[NUC_PATH_MAX];
    const char *what = NULL;
    world_t *world = world_create(skip);
    nuc_queue_t *queue = open_queue(world);

    *ended = n >= 4;
    world->quiet = 1;
    store(world, queue);
    store(world, queue);
    store(world, queue);
    close_queue(queue);
    spoil_first_segment(world);
    register_pipelines(world);
    keep(world);
    world_cut(world, seed + 16 * n + n);

    snprintf(path, sizeof(path), "%.900s/quarantine", world->queue);
    world->wrong_record = 0;
    (void) nuc_sys_posix.list(&nuc_sys_posix, path, count_quarantined, world);

    if (world->wrong_record == 0) {
        what = "what was put aside is lost";
    }

    world_destroy(world);

    return what;
}

/* A forgotten pipeline stays forgotten. */
static const char *forget_then_cut(const char *skip, unsigned n, unsigned seed,
                                   int *ended)
{
    size_t i;
    nuc_err_t err;
    const char *what = NULL;
    nuc_state_names_t names = {NULL, 0};
    world_t *world = world_create(skip);
    const nuc_sys_t *sys = sim_sys(world->sim);

    *ended = n >= 4;
    register_pipelines(world);

    if (nuc_state_register(sys, world->state, world->queue, &world->conf.pipelines[2],
                           &err) != NUC_OK ||
        nuc_state_forget(sys, world->state, "gone", &err) != NUC_OK) {
        diag("%s", err.message);
        what = "a pipeline cannot be forgotten";
    }

    world_cut(world, seed + 16 * n + n);

    if (nuc_state_list(sim_sys(world->sim), world->state, &names, &err) != NUC_OK) {
        what = "the state is lost";
    }

    for (i = 0; i < names.count; i++) {
        if (strcmp(names.names[i], "gone") == 0) {
            what = "a forgotten pipeline is back";
        }
    }

    nuc_state_names_free(&names);
    world_destroy(world);

    return what;
}

typedef struct {
    const char *name;
    const char *(*run)(const char *skip, unsigned n, unsigned seed, int *ended);
    unsigned seeds;
} scenario_t;

static const scenario_t scenarios[] = {
    {"cut anywhere", cut_anywhere, 16},
    {"worker dies twice", worker_dies_twice, 64},
    {"fail, then cut", fail_then_cut, 16},
    {"full, then cut", full_then_cut, 16},
    {"syncs fail", syncs_fail, 1},
    {"quarantine, then cut", quarantine_then_cut, 16},
    {"forget, then cut", forget_then_cut, 4},
};

#define NSCENARIOS (sizeof(scenarios) / sizeof(scenarios[0]))

/*
 * Run a scenario at every operation, with one in "step" of its seeds, others at each;
 * what went wrong first.
 */
static const char *run_all(const scenario_t *scenario, const char *skip, unsigned step,
                           unsigned *runs, unsigned *at)
{
    int ended = 0;
    unsigned n, seed;
    const char *what;

    step = step < scenario->seeds ? step : scenario->seeds;

    for (n = 1; !ended; n++) {
        for (seed = n % step; seed < scenario->seeds; seed += step) {
            what = scenario->run(skip, n, seed, &ended);
            ++*runs;

            if (what != NULL) {
                *at = n * 100 + seed;
                return what;
            }
        }
    }

    return NULL;
}

/* Every sync of queue/; those of worker/ and sink/ are left out in test_pipeline.c and
   test_sink_file.c, and `make check` finds the one that is in none of them. */
static const char *const log_sites[] = {
    "log-group",           "log-take-back",
    "log-probe",           "log-new-segment",
    "log-new-writer",      "log-queue-dir",
    "log-recovery",        "log-removal",
    "log-quarantine-copy", "log-quarantine-entry",
    "log-quarantine-dir",
};

static void test_site(const char *site)
{
    size_t i;
    unsigned step, runs = 0, at = 0;
    const char *what = NULL;

    /* few seeds find most; the rare scenarios are short */
    for (step = 16; what == NULL && step > 0; step /= 4) {
        for (i = NSCENARIOS; what == NULL && i-- > 0;) {
            what = run_all(&scenarios[i], site, step, &runs, &at);
        }
    }

    ok(what != NULL, "without \"%s\": %s (in run %u)", site,
       what ? what : "no test fails", runs);
}

int main(int argc, char **argv)
{
    int ended;
    size_t i;
    unsigned runs, at;
    const char *what;

    /* test_power SITE, or test_power OPERATION SEED, to look at one thing */
    if (argc == 2) {
        test_site(argv[1]);
        return tap_done();
    }

    if (argc == 3) {
        what = cut_anywhere(NULL, (unsigned) atoi(argv[1]), (unsigned) atoi(argv[2]),
                            &ended);
        ok(what == NULL, "cut anywhere");
        return tap_done();
    }

    for (i = 0; i < NSCENARIOS; i++) {
        runs = 0;
        at = 0;
        what = run_all(&scenarios[i], NULL, getenv("NUCLEUS_POWER") ? 1 : 8, &runs, &at);
        ok(what == NULL, "%s: %u runs%s%s", scenarios[i].name, runs, what ? ": " : "",
           what ? what : "");

        if (what != NULL) {
            diag("operation %u, seed %u", at / 100, at % 100);
        }
    }

    for (i = 0; i < sizeof(log_sites) / sizeof(log_sites[0]); i++) {
        test_site(log_sites[i]);
    }

    return tap_done();
}
