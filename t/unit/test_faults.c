/*
 * Files of the queue that somebody removed, and files that are damaged, each at each
 * place: what was in them is counted as lost, once, all else is read, and nothing stands
 * still.
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

/* A log that came from another queue begins with what is there. */
static void test_adopted(void)
{
    char path[NUC_PATH_MAX];
    world_t world;
    uint64_t gone;

    begin(&world, NUC_LOG_ALL);
    gone = records_in(&world, 0);
    remove_segment(&world, 0);
    nuc_path_join(path, world.path, NUC_LOG_BEGINS_NAME, NULL);
    close(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    read_on(&world, UINT64_MAX);
    is_int(world.read, 200 - gone, "a log of another queue is read from what is there");
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

/* Damage: each kind, at each place, in each life of a log. */

typedef enum {
    ALIVE,
    DEAD,
    SEALED,
    LIVES
} life_t;

typedef enum {
    FLIP,     /* a bit */
    GARBAGE,  /* the whole field */
    PAGE,     /* the page that it is in is zeros */
    TRUNCATE, /* the file ends before it */
    KINDS
} kind_t;

static const char *const life_names[] = {"living", "dead", "sealed"};
static const char *const kind_names[] = {"flipped", "garbage", "zero page", "cut off"};

typedef struct {
    const char *name;
    const char *suffix; /* NULL: the head */
    size_t segment;
    off_t offset;
    size_t len;
} place_t;

#define SEG NUC_LOG_SEGMENT_SUFFIX
#define IDX NUC_LOG_INDEX_SUFFIX

static const place_t places[] = {
    {"head, magic", NULL, 0, 0, 8},
    {"head, writer", NULL, 0, 8, 16},
    {"head, checksum", NULL, 0, 24, 4},
    {"first header, magic", SEG, 0, 0, 8},
    {"middle header, version", SEG, 2, 6, 1},
    {"middle header, writer", SEG, 2, 8, 16},
    {"middle header, first", SEG, 2, 24, 8},
    {"middle header, prev_end", SEG, 2, 40, 8},
    {"last header, checksum", SEG, 99, 60, 4},
    {"first frame, length", SEG, 0, 64, 4},
    {"first frame, checksum", SEG, 2, 68, 4},
    {"first frame, sequence", SEG, 99, 72, 8},
    {"first frame, group", SEG, 0, 80, 4},
    {"first frame, flags", SEG, 2, 84, 4},
    {"first frame, record", SEG, 99, 100, 40},
    {"middle frames", SEG, 0, 9000, 300},
    {"middle frames of the last", SEG, 99, 9000, 300},
    {"end", SEG, 2, -30, 30},
    {"end of the last", SEG, 99, -30, 30},
    {"index, magic", IDX, 2, 0, 8},
    {"index, writer", IDX, 2, 8, 16},
    {"index, first", IDX, 0, 24, 8},
    {"index, end", IDX, 2, 32, 8},
    {"index, lost", IDX, 99, 56, 8},
    {"index, checksum", IDX, 0, 124, 4},
    {"index, body", IDX, 0, 200, 40},
};

static void put(int fd, off_t offset, size_t len, off_t size, int zeros)
{
    size_t i;
    uint8_t byte;

    for (i = 0; i < len && offset + (off_t) i < size; i++) {
        byte = zeros ? 0 : (uint8_t) (0x9d + 37 * i);

        if (pwrite(fd, &byte, 1, offset + (off_t) i) != 1) {
            die("pwrite");
        }
    }
}

static void damage(const world_t *world, const place_t *place, kind_t kind)
{
    int fd;
    char path[NUC_PATH_MAX];
    off_t offset;
    size_t which = place->segment < world->segments.count ? place->segment
                                                          : world->segments.count - 1;
    uint8_t byte;
    struct stat st;

    if (place->suffix == NULL) {
        nuc_path_join(path, world->path, NUC_LOG_HEAD_NAME, NULL);
    } else {
        nuc_segment_path(world->path, world->segments.firsts[which], place->suffix, path,
                         NULL);
    }

    fd = open(path, O_RDWR | O_CLOEXEC);

    if (fd == -1 || fstat(fd, &st) == -1) {
        die(path);
    }

    offset = place->offset < 0 ? st.st_size + place->offset : place->offset;

    if (kind == FLIP) {
        if (pread(fd, &byte, 1, offset) != 1) {
            die("nothing to flip");
        }

        byte ^= 0x10;

        if (pwrite(fd, &byte, 1, offset) != 1) {
            die("pwrite");
        }
    } else if (kind == GARBAGE) {
        put(fd, offset, place->len, st.st_size, 0);
    } else if (kind == PAGE) {
        put(fd, offset & ~(off_t) 4095, 4096, st.st_size, 1);
    } else if (ftruncate(fd, offset) == -1) {
        die("ftruncate");
    }

    close(fd);
}

/* A writer maps its head, and goes on writing where its segment ended: not by hand. */
static int possible(const place_t *place, kind_t kind, life_t life)
{
    if (place->suffix == NULL) {
        return life != ALIVE;
    }

    if (strcmp(place->suffix, IDX) == 0) {
        return life == SEALED;
    }

    return life != ALIVE || kind != TRUNCATE || place->segment != 99;
}

static void read_anew(world_t *world)
{
    nuc_log_reader_close(world->reader);
    world->read = world->lost = 0;

    if (nuc_log_reader_open(kit_sys(), world->dir, NUC_LOG_ALL, &world->reader, NULL) !=
        NUC_OK) {
        die("reader");
    }

    read_on(world, UINT64_MAX);
}

static void tend(world_t *world)
{
    nuc_err_t err = {.message = ""};
    nuc_log_keeper_t *keeper;

    if (nuc_log_keeper_open(kit_sys(), world->dir, take_report, NULL, &keeper, &err) !=
            NUC_OK ||
        nuc_log_keeper_tend(keeper, &err) != NUC_OK) {
        die(err.message);
    }

    nuc_log_keeper_close(keeper);
}

/* NULL, or what is wrong. */
static const char *survives(const place_t *place, kind_t kind, life_t life)
{
    unsigned told;
    uint64_t most;
    const char *wrong = NULL;
    world_t world;

    begin(&world, NUC_LOG_ALL);

    if (life != ALIVE) {
        kill_writer(&world);
    }

    if (life == SEALED) {
        tend(&world);
    }

    list(&world);
    damage(&world, place, kind);

    /* a record has 100 bytes at least */
    most = place->suffix == NULL || strcmp(place->suffix, IDX) == 0 ? 0
           : kind == PAGE                                           ? 41
           : kind == TRUNCATE                                       ? 40
           : place->offset >= 0 && place->offset < 64               ? 0
                                                                    : 3;

    read_on(&world, UINT64_MAX);

    /* without a head nobody knows yet where a log ends that nobody writes */
    if (world.read + world.lost != 200 && !(place->suffix == NULL && life == DEAD)) {
        wrong = "records were neither read nor counted";
    } else if (world.lost > most) {
        wrong = "more was lost than was hit";
    }

    tend(&world);
    told = damaged;
    read_anew(&world);

    if (wrong == NULL && (world.read + world.lost != 200 || world.lost > most)) {
        wrong = "not the same after the keeper";
    }

    if (wrong == NULL && world.lost > 0 && told == 0 && life == DEAD) {
        wrong = "the keeper put nothing aside";
    }

    tend(&world);

    if (wrong == NULL && damaged != told) {
        wrong = "the keeper tells it twice";
    }

    if (wrong != NULL) {
        diag("%s, %s, %s: %s: read %llu, lost %llu", place->name, kind_names[kind],
             life_names[life], wrong, (unsigned long long) world.read,
             (unsigned long long) world.lost);
    }

    end(&world);

    return wrong;
}

static void test_damage(void)
{
    size_t i;
    int kind, life;
    unsigned wrong, tried;

    for (i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
        wrong = tried = 0;

        for (kind = 0; kind < KINDS; kind++) {
            for (life = 0; life < LIVES; life++) {
                if (possible(&places[i], (kind_t) kind, (life_t) life)) {
                    wrong += survives(&places[i], (kind_t) kind, (life_t) life) != NULL;
                    tried++;
                }
            }
        }

        ok(wrong == 0 && tried > 0, "damage, %s: %u cases", places[i].name, tried);
    }
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
    test_adopted();
    test_all_segments(0);
    test_all_segments(1);
    test_directory(0);
    test_directory(1);
    test_current_segment();
    test_not_begun(0, 0);
    test_not_begun(0, 1);
    test_not_begun(1, 1);
    test_damage();

    return tap_done();
}
