/*
 * Somebody removes files of the queue by hand: what was in them is counted as lost, once,
 * and nothing stands still.
 */

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "logkit.h"
#include "nuc_log_file.h"
#include "nuc_log_list.h"
#include "sim.h"
#include "tap.h"

typedef struct {
    char dir[NUC_PATH_MAX];
    char path[NUC_PATH_MAX]; /* of the first writer */
    nuc_writer_list_t writers;
    nuc_segment_list_t segments;
    nuc_queue_t *queue; /* NULL: its writer is dead */
    nuc_log_reader_t *reader;
    uint64_t read;
    uint64_t lost;
    char said[320];
} world_t;

static unsigned damaged; /* reports of the keeper */

static void die(const char *what)
{
    fprintf(stderr, "%s\n", what);
    exit(1);
}

static nuc_queue_t *open_queue(const char *dir)
{
    nuc_log_options_t options = kit_options(kit_sys(), dir);
    nuc_queue_t *queue;

    if (nuc_log_open(&options, &queue, NULL) != NUC_OK || kit_started(queue) != NUC_OK) {
        die("the queue does not start");
    }

    return queue;
}

static void list(world_t *world)
{
    nuc_log_list_writers(kit_sys(), world->dir, &world->writers, NULL);

    if (world->writers.count == 0) {
        die("no writer");
    }

    nuc_log_writer_path(world->dir, &world->writers.ids[0], world->path, NULL);
    nuc_log_list_segments(kit_sys(), world->path, &world->segments, NULL);
}

/* 40 batches of 5 in several segments; the writer lives. */
static void begin(world_t *world, nuc_log_from_t from)
{
    unsigned i;

    memset(world, 0, sizeof(*world));
    damaged = 0;
    kit_temp_dir(world->dir);
    world->queue = open_queue(world->dir);

    for (i = 0; i < 40; i++) {
        if (kit_store(world->queue, 1 + 5 * i, 5) != NUC_OK) {
            die("a batch is not stored");
        }
    }

    list(world);

    if (world->segments.count < 4 ||
        nuc_log_reader_open(kit_sys(), world->dir, from, &world->reader, NULL) !=
            NUC_OK) {
        die("too few segments, or no reader");
    }
}

static void kill_writer(world_t *world)
{
    world->queue->ops->close(world->queue, 5000, NULL);
    world->queue = NULL;
}

static void end(world_t *world)
{
    if (world->queue != NULL) {
        kill_writer(world);
    }

    nuc_log_reader_close(world->reader);
    free(world->writers.ids);
    free(world->segments.firsts);
    sim_remove_tree(world->dir);
}

/* To the end, at most "most" records.  A reader that has run dry has looked for more. */
static void read_on(world_t *world, uint64_t most)
{
    unsigned dry = 0;
    uint64_t lost;
    nuc_rc_t rc = NUC_OK;
    nuc_err_t err;
    nuc_record_t record;

    while (most > 0 && dry < 2) {
        rc = nuc_log_reader_next(world->reader, &record, &lost, &err);

        if (rc == NUC_OK) {
            world->read++;
            most--;
        } else if (rc == NUC_CORRUPT) {
            world->lost += lost;
            strcpy(world->said, err.message);
        } else if (rc == NUC_AGAIN) {
            dry++;
        } else {
            die(err.message);
        }
    }
}

static void remove_segment(world_t *world, size_t i)
{
    char name[NUC_LOG_NAME_MAX];

    nuc_segment_name(world->segments.firsts[i], NUC_LOG_SEGMENT_SUFFIX, name);
    nuc_fs_discard(kit_sys(), world->path, name);
    nuc_segment_name(world->segments.firsts[i], NUC_LOG_INDEX_SUFFIX, name);
    nuc_fs_discard(kit_sys(), world->path, name);
}

static uint64_t records_in(const world_t *world, size_t i)
{
    uint64_t after = i + 1 < world->segments.count ? world->segments.firsts[i + 1] : 201;

    return after - world->segments.firsts[i];
}

static void take_report(void *ctx, const nuc_log_report_t *report)
{
    (void) ctx;
    damaged += report->event == NUC_LOG_QUARANTINED;
}

/* One round of the keeper, with what the reader has passed.  How many writers are left?
 */
static size_t keep(world_t *world)
{
    nuc_err_t err = {.message = ""};
    nuc_log_keeper_t *keeper;
    nuc_log_consumer_t consumer;
    nuc_writer_list_t writers = {NULL, 0, 0};

    if (nuc_log_keeper_open(kit_sys(), world->dir, take_report, NULL, &keeper, &err) !=
            NUC_OK ||
        nuc_log_keeper_tend(keeper, &err) != NUC_OK) {
        die(err.message);
    }

    consumer.count = nuc_log_reader_positions(world->reader, &consumer.positions);

    if (nuc_log_keeper_remove(keeper, &consumer, 1, &err) != NUC_OK) {
        die(err.message);
    }

    nuc_log_keeper_close(keeper);
    nuc_log_list_writers(kit_sys(), world->dir, &writers, NULL);
    free(writers.ids);

    return writers.count;
}

/* Whatever the segment, unread or in the midst, sealed or not, its writer alive or dead.
 */
static void test_segment(size_t which, uint64_t read_before, int alive, int sealed)
{
    uint64_t gone;
    world_t world;

    begin(&world, NUC_LOG_ALL);

    if (!alive) {
        kill_writer(&world);
    }

    read_on(&world, read_before);

    if (sealed) {
        (void) keep(&world);
        list(&world);
    }

    which = which < world.segments.count ? which : world.segments.count - 1;
    gone = records_in(&world, which);
    remove_segment(&world, which);

    read_on(&world, UINT64_MAX);
    is_int(world.read + world.lost, 200,
           "segment %zu removed, %s writer, %s: every record read or counted", which,
           alive ? "living" : "dead", sealed ? "sealed" : "unsealed");
    is_int(world.lost, gone, "those that were in it are lost, no others");
    ok(strstr(world.said, world.path) != NULL, "said: %s", world.said);

    if (!alive) {
        is_int(keep(&world), 0, "the rest is removed");
    }

    end(&world);
}

/* A reader that has it open reads it to its end. */
static void test_open_segment(void)
{
    world_t world;

    begin(&world, NUC_LOG_ALL);
    read_on(&world, 3);
    remove_segment(&world, 0);
    read_on(&world, UINT64_MAX);
    is_int(world.read, 200, "a segment that is open is read though it was removed");
    is_int(world.lost, 0, "and nothing of it is lost");
    end(&world);
}

static void test_earliest(void)
{
    world_t world;
    uint64_t gone;

    begin(&world, NUC_LOG_EARLIEST);
    gone = records_in(&world, 0);
    remove_segment(&world, 0);
    read_on(&world, UINT64_MAX);
    is_int(world.read, 200 - gone, "a reader that begins with what is there reads that");
    is_int(world.lost, 0, "and misses nothing");
    end(&world);
}

/* All the segments: the head alone knows. */
static void test_all_segments(int alive)
{
    size_t i;
    world_t world;

    begin(&world, NUC_LOG_ALL);

    if (!alive) {
        kill_writer(&world);
    }

    for (i = 0; i < world.segments.count; i++) {
        remove_segment(&world, i);
    }

    is_int(keep(&world), 1, "the keeper leaves the head to those who have not read");
    read_on(&world, UINT64_MAX);
    is_int(world.read, 0, "all segments removed, %s writer: nothing is read",
           alive ? "living" : "dead");
    is_int(world.lost, 200, "all is counted");
    ok(strstr(world.said, "their segments were removed") != NULL, "said: %s", world.said);
    read_on(&world, UINT64_MAX);
    is_int(world.lost, 200, "once");
    is_int(keep(&world), alive ? 1 : 0, "then the directory of a dead writer goes");
    end(&world);
}

static void test_directory(int alive)
{
    world_t world;
    const nuc_log_position_t *positions;

    begin(&world, NUC_LOG_ALL);

    if (!alive) {
        kill_writer(&world);
    }

    read_on(&world, 3);
    sim_remove_tree(world.path);
    read_on(&world, UINT64_MAX);

    is_int(world.read + world.lost, 200,
           "the directory of a %s writer removed: every record read or counted",
           alive ? "living" : "dead");
    ok(world.lost > 100, "%llu are lost", (unsigned long long) world.lost);

    if (alive) {
        world.read = world.lost = 0;

        is_int(kit_store(world.queue, 1000, 3), NUC_OK, "what comes next is taken");
        nuc_log_list_writers(kit_sys(), world.dir, &world.writers, NULL);
        is_int(world.writers.count, 1, "its writer begins another directory");
        read_on(&world, UINT64_MAX);
        ok(world.read == 3 && world.lost == 0, "where it is found");
    }

    (void) nuc_log_reader_refresh(world.reader, NULL);
    is_int(nuc_log_reader_positions(world.reader, &positions), alive ? 1 : 0,
           "and its position is forgotten");
    end(&world);
}

/* The living writer's own segment. */
static void test_current_segment(void)
{
    world_t world;

    begin(&world, NUC_LOG_ALL);
    read_on(&world, UINT64_MAX);
    remove_segment(&world, world.segments.count - 1);

    is_int(kit_store(world.queue, 1000, 3), NUC_OK,
           "a writer whose segment was removed takes records");
    read_on(&world, UINT64_MAX);
    ok(world.read == 203 && world.lost == 0, "into another, where they are found");
    end(&world);
}

/* The disk is full: a segment could not be begun, its file is there. */
static void test_not_begun(int alive, int given_up)
{
    char name[NUC_LOG_NAME_MAX], path[NUC_PATH_MAX];
    world_t world;

    begin(&world, NUC_LOG_ALL);

    /* the segment at hand is finished, and another not begun behind it */
    if (!alive) {
        kill_writer(&world);
    }

    nuc_segment_name(201 + (given_up ? 7 : 0), NUC_LOG_SEGMENT_SUFFIX, name);
    nuc_path_join(path, world.path, name, NULL);
    close(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));

    read_on(&world, UINT64_MAX);
    is_int(world.read, 200, "a segment not begun, %s writer: all is read",
           alive ? "living" : "dead");
    is_int(world.lost, 0, "and nothing thought lost");

    if (!alive) {
        is_int(keep(&world), 0, "the keeper seals and removes all");
    }

    read_on(&world, UINT64_MAX);
    is_int(world.lost, 0, "nor later");
    is_int(damaged, 0, "nor by the keeper");
    end(&world);
}

int main(void)
{
    size_t which;
    int alive, sealed;

    for (which = 0; which < 100; which = which < 2 ? which + 1 : which + 97) {
        for (alive = 0; alive < 2; alive++) {
            for (sealed = 0; sealed < 2; sealed++) {
                test_segment(which, 0, alive, sealed);
            }
        }
    }

    test_open_segment();
    test_earliest();
    test_all_segments(0);
    test_all_segments(1);
    test_directory(0);
    test_directory(1);
    test_current_segment();
    test_not_begun(0, 0);
    test_not_begun(0, 1);
    test_not_begun(1, 1);

    return tap_done();
}
