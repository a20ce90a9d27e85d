/*
 * The log as a queue: what is acknowledged is read back, what is refused is not there,
 * and every failure of a system call ends in one of the two.
 */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "logkit.h"
#include "nuc_log_file.h"
#include "nuc_log_list.h"
#include "nuc_time.h"
#include "sim.h"
#include "tap.h"

#define MAX_RECORDS 100000

static unsigned reports[8];
static uint64_t report_records[8];

static void count_report(void *ctx, const nuc_log_report_t *report)
{
    (void) ctx;
    reports[report->event]++;
    report_records[report->event] += report->records;
}

static void forget_reports(void)
{
    memset(reports, 0, sizeof(reports));
    memset(report_records, 0, sizeof(report_records));
}

static nuc_queue_t *open_queue(const nuc_log_options_t *options)
{
    nuc_err_t err;
    nuc_queue_t *queue = NULL;

    if (nuc_log_open(options, &queue, &err) != NUC_OK) {
        diag("%s", err.message);
        exit(1);
    }

    return queue;
}

/* How often each number was read, and how much was said to be lost. */
typedef struct {
    unsigned char *times;
    uint64_t total;
    uint64_t lost;
    unsigned foreign;
    uint64_t last;
    int in_order;
} tally_t;

static tally_t tally_new(void)
{
    return (tally_t){.times = calloc(MAX_RECORDS, 1), .in_order = 1};
}

static void tally_record(tally_t *tally, const nuc_record_t *record)
{
    uint64_t n = kit_number(record);

    if (n == 0 || n >= MAX_RECORDS) {
        tally->foreign++;
        return;
    }

    tally->times[n]++;
    tally->total++;
    tally->in_order &= n > tally->last;
    tally->last = n;
}

static nuc_rc_t drain(nuc_log_reader_t *reader, tally_t *tally)
{
    uint64_t lost;
    nuc_rc_t rc;
    nuc_err_t err;
    nuc_record_t record;

    for (;;) {
        rc = nuc_log_reader_next(reader, &record, &lost, &err);

        if (rc == NUC_OK) {
            tally_record(tally, &record);
        } else if (rc == NUC_CORRUPT) {
            tally->lost += lost;
        } else {
            return rc;
        }
    }
}

static tally_t read_all(const nuc_sys_t *sys, const char *dir)
{
    tally_t tally = tally_new();
    nuc_err_t err;
    nuc_log_reader_t *reader;

    if (nuc_log_reader_open(sys, dir, 0, &reader, &err) != NUC_OK ||
        drain(reader, &tally) != NUC_AGAIN) {
        diag("reading failed");
        tally.foreign++;
    }

    nuc_log_reader_close(reader);

    return tally;
}

static nuc_log_keeper_t *open_keeper(const nuc_sys_t *sys, const char *dir)
{
    nuc_err_t err;
    nuc_log_keeper_t *keeper;

    if (nuc_log_keeper_open(sys, dir, count_report, NULL, &keeper, &err) != NUC_OK) {
        diag("%s", err.message);
        exit(1);
    }

    return keeper;
}

static void tend(const nuc_sys_t *sys, const char *dir)
{
    nuc_err_t err = {0};
    nuc_log_keeper_t *keeper = open_keeper(sys, dir);

    forget_reports();
    is_int(nuc_log_keeper_tend(keeper, &err), NUC_OK, "the keeper tends %s", err.message);
    nuc_log_keeper_close(keeper);
}

/* The only writer's segments. */
static size_t segments_of(const char *dir, char path[NUC_PATH_MAX], uint64_t *firsts,
                          size_t max)
{
    size_t count;
    nuc_writer_list_t writers = {NULL, 0, 0};
    nuc_segment_list_t segments = {NULL, 0, 0};

    nuc_log_list_writers(kit_sys(), dir, &writers, NULL);

    if (writers.count != 1) {
        diag("%zu writers in %s", writers.count, dir);
        exit(1);
    }

    nuc_log_writer_path(dir, &writers.ids[0], path, NULL);
    nuc_log_list_segments(kit_sys(), path, &segments, NULL);
    count = segments.count < max ? segments.count : max;
    memcpy(firsts, segments.firsts, count * sizeof(*firsts));
    free(writers.ids);
    free(segments.firsts);

    return count;
}

static void test_roundtrip(void)
{
    char dir[NUC_PATH_MAX], path[NUC_PATH_MAX];
    uint64_t n, offset, lost;
    uint8_t rid[NUC_RID_LEN];
    unsigned i;
    tally_t tally;
    nuc_err_t err;
    nuc_ticket_t tickets[50];
    nuc_log_lag_t lag;
    nuc_queue_t *queue;
    nuc_record_t record;
    nuc_log_reader_t *reader;
    nuc_log_options_t options;
    nuc_queue_stats_t stats;
    const nuc_log_position_t *positions;
    nuc_log_position_t kept;

    kit_temp_dir(dir);
    options = kit_options(kit_sys(), dir);
    queue = open_queue(&options);
    is_int(kit_started(queue), NUC_OK, "the queue starts");

    queue->ops->stats(queue, &stats);
    is_int(stats.groups + stats.records + stats.bytes, 0, "nothing is counted yet");

    is_int(kit_store(queue, 1, 3), NUC_OK, "a batch of three is durable");

    for (i = 0; i < 50; i++) {
        kit_submit(queue, 4 + 4 * i, 4, &tickets[i], &err);
    }

    queue->ops->kick(queue);
    is_int(kit_wait(queue, 50, 10000), 50, "50 tickets come back");

    for (i = 0; i < 50 && tickets[i].rc == NUC_OK; i++) {
        continue;
    }

    is_int(i, 50, "all of them durable");

    is_int(nuc_log_reader_open(kit_sys(), dir, 0, &reader, &err), NUC_OK, "reader");
    tally = tally_new();
    is_int(nuc_log_reader_next(reader, &record, &lost, &err), NUC_OK, "a first record");
    tally_record(&tally, &record);
    is_int(nuc_log_reader_lag(reader, &lag, &err), NUC_OK, "lag");
    is_int(lag.records, 202, "lag in records");
    ok(lag.bytes > 202 * 50, "lag in bytes: %llu", (unsigned long long) lag.bytes);

    is_int(nuc_log_reader_positions(reader, &positions), 1, "one position");
    kept = positions[0];
    is_int(drain(reader, &tally), NUC_AGAIN, "then it has run dry");
    is_int(tally.total, 203, "all records are read");
    ok(tally.in_order && tally.foreign == 0 && tally.lost == 0, "in order, unchanged");

    is_int(kit_store(queue, 204, 1), NUC_OK, "one more");
    is_int(drain(reader, &tally), NUC_AGAIN, "the reader goes on");
    is_int(tally.total, 204, "and finds it");
    nuc_log_reader_close(reader);
    free(tally.times);

    nuc_log_reader_open(kit_sys(), dir, 0, &reader, &err);
    nuc_log_reader_seek(reader, &kept, &err);
    tally = tally_new();
    drain(reader, &tally);
    is_int(tally.total, 203, "a reader that seeks begins behind the position");
    is_int(tally.times[1], 0, "not before it");
    nuc_log_reader_close(reader);
    free(tally.times);

    kept.segment = 0;
    kept.offset = 0;
    kept.sequence = 200;
    nuc_log_reader_open(kit_sys(), dir, 0, &reader, &err);
    nuc_log_reader_seek(reader, &kept, &err);
    tally = tally_new();
    drain(reader, &tally);
    is_int(tally.total, 5, "a sequence alone is enough for a position");
    nuc_log_reader_close(reader);
    free(tally.times);

    nuc_log_reader_open(kit_sys(), dir, 1, &reader, &err);
    tally = tally_new();
    drain(reader, &tally);
    is_int(tally.total, 0, "a reader from the end finds nothing old");
    kit_store(queue, 205, 2);
    drain(reader, &tally);
    is_int(tally.total, 2, "but what comes");
    nuc_log_reader_close(reader);
    free(tally.times);

    for (n = 1; n < 206; n += 51) {
        char id[32], data[KIT_DATA_MAX];

        kit_record(n, &record, id, data);
        memcpy(rid, record.rid, sizeof(rid));
        is_int(nuc_log_find(kit_sys(), dir, rid, path, &offset, &err), NUC_OK,
               "record %llu is found unsealed", (unsigned long long) n);
    }

    queue->ops->stats(queue, &stats);
    is_int(stats.records, 206, "all are counted");
    ok(stats.groups >= 4 && stats.groups <= 53, "in %llu groups",
       (unsigned long long) stats.groups);
    ok(stats.bytes > 206 * 50 && stats.group_wait.sum >= stats.wait_most &&
           stats.wait_most > 0,
       "of %llu bytes, the disk took %llu us", (unsigned long long) stats.bytes,
       (unsigned long long) stats.group_wait.sum);
    is_int((long long) stats.group_records.sum, 206, "each in a group");

    /* every tick */
    for (n = 0; stats.used < stats.bytes && n < 5000; n++) {
        usleep(1000);
        queue->ops->stats(queue, &stats);
    }

    ok(stats.used >= stats.bytes && stats.free_bytes > 0, "the files are counted, too");

    is_int(queue->ops->close(queue, 5000, &err), NUC_OK, "the queue closes");

    tend(kit_sys(), dir);
    ok(reports[NUC_LOG_SEALED] >= 2, "segments are sealed: %u", reports[NUC_LOG_SEALED]);
    is_int(report_records[NUC_LOG_SEALED], 206, "with all records");
    is_int(reports[NUC_LOG_ADOPTED], 1, "the dead writer's log is adopted");
    is_int(reports[NUC_LOG_CUT] + reports[NUC_LOG_QUARANTINED], 0, "nothing was damaged");

    is_int(nuc_log_find(kit_sys(), dir, rid, path, &offset, &err), NUC_OK,
           "a record is found by index");
    memset(rid, 0xff, sizeof(rid));
    is_int(nuc_log_find(kit_sys(), dir, rid, path, &offset, &err), NUC_NOT_FOUND,
           "another is not");

    tally = read_all(kit_sys(), dir);
    is_int(tally.total, 206, "sealed segments read the same");
    free(tally.times);
    sim_remove_tree(dir);
}

static void test_removal(void)
{
    char dir[NUC_PATH_MAX], path[NUC_PATH_MAX];
    uint64_t firsts[64];
    size_t before, count;
    unsigned i;
    nuc_err_t err;
    nuc_queue_t *queue;
    nuc_log_options_t options;
    nuc_log_keeper_t *keeper, *second;
    nuc_log_position_t position = {.segment = 0};
    nuc_log_consumer_t consumers[2] = {{&position, 1}, {NULL, 0}};
    nuc_writer_list_t writers = {NULL, 0, 0};

    kit_temp_dir(dir);
    options = kit_options(kit_sys(), dir);
    queue = open_queue(&options);

    for (i = 0; i < 20; i++) {
        kit_store(queue, 1 + 10 * i, 10);
    }

    keeper = open_keeper(kit_sys(), dir);
    is_int(nuc_log_keeper_open(kit_sys(), dir, count_report, NULL, &second, &err),
           NUC_BUSY, "there is one keeper");

    forget_reports();
    nuc_log_keeper_tend(keeper, &err);
    before = segments_of(dir, path, firsts, 64);
    is_int(reports[NUC_LOG_SEALED], before - 1, "all but the living segment are sealed");
    is_int(reports[NUC_LOG_ADOPTED], 0, "a living writer is not adopted");

    nuc_log_list_writers(kit_sys(), dir, &writers, &err);
    position.writer = writers.ids[0];
    position.sequence = firsts[3];

    nuc_log_keeper_remove(keeper, consumers, 2, &err);
    is_int(reports[NUC_LOG_REMOVED], 0,
           "a consumer that has read nothing holds everything");
    nuc_log_keeper_remove(keeper, consumers, 0, &err);
    is_int(reports[NUC_LOG_REMOVED], 0, "no consumer at all: nothing is removed");
    nuc_log_keeper_remove(keeper, consumers, 1, &err);
    is_int(reports[NUC_LOG_REMOVED], 3, "the segments before the position go");
    position.sequence = firsts[4] - 1;
    nuc_log_keeper_remove(keeper, consumers, 1, &err);
    is_int(reports[NUC_LOG_REMOVED], 3, "a segment with one unread record stays");
    position.sequence = 201;
    nuc_log_keeper_remove(keeper, consumers, 1, &err);
    count = segments_of(dir, path, firsts, 64);
    is_int(count, 1, "the living segment stays");

    queue->ops->close(queue, 5000, &err);
    nuc_log_keeper_tend(keeper, &err);
    nuc_log_keeper_remove(keeper, consumers, 1, &err);
    is_int(reports[NUC_LOG_RETIRED], 1, "the dead writer's empty directory goes");
    nuc_log_list_writers(kit_sys(), dir, &writers, &err);
    is_int(writers.count, 0, "nothing is left");
    nuc_log_keeper_close(keeper);
    free(writers.ids);
    sim_remove_tree(dir);
}

/* What the worker does: read all, and remove what was read. */
static void make_room(const char *dir)
{
    nuc_err_t err;
    tally_t tally = tally_new();
    nuc_log_keeper_t *keeper = open_keeper(kit_sys(), dir);
    nuc_log_reader_t *reader;
    const nuc_log_position_t *positions;
    nuc_log_consumer_t consumer;

    nuc_log_keeper_tend(keeper, &err);
    nuc_log_reader_open(kit_sys(), dir, 0, &reader, &err);
    drain(reader, &tally);
    free(tally.times);
    consumer.count = nuc_log_reader_positions(reader, &positions);
    consumer.positions = positions;
    nuc_log_keeper_remove(keeper, &consumer, 1, &err);
    nuc_log_reader_close(reader);
    nuc_log_keeper_close(keeper);
}

/* Store records until the queue is full; returns the number of the next. */
static uint64_t fill(nuc_queue_t *queue)
{
    uint64_t n;
    unsigned retry_after;

    for (n = 1; n < 1000 && queue->ops->ready(queue, &retry_after, NULL) == NUC_OK; n++) {
        kit_store(queue, n, 1);
        kit_wait_ready(queue, NUC_FULL, n > 60 ? 40 : 0);
    }

    return n;
}

/* The quota is used up by a segment that is still being written: it must not stay so. */
static void test_full_by_open_segment(void)
{
    char dir[NUC_PATH_MAX];
    uint64_t n;
    unsigned retry_after;
    tally_t tally;
    nuc_err_t err;
    nuc_queue_t *queue;
    nuc_log_options_t options;

    kit_temp_dir(dir);
    options = kit_options(kit_sys(), dir);
    options.max_size = 65536;
    options.segment_size = 1 << 20;
    queue = open_queue(&options);
    kit_started(queue);

    n = fill(queue);

    is_int(queue->ops->ready(queue, &retry_after, &err), NUC_FULL,
           "one segment fills the queue");
    tally = read_all(kit_sys(), dir);
    is_int(tally.total, n - 1, "its records are read");
    free(tally.times);

    make_room(dir);
    ok(kit_wait_ready(queue, NUC_OK, 5000), "ready again once it was read");
    is_int(kit_store(queue, n, 5), NUC_OK, "and takes records");

    tally = read_all(kit_sys(), dir);
    is_int(tally.total, 5, "which are read");
    is_int(tally.lost, 0, "nothing is thought lost");
    free(tally.times);
    queue->ops->close(queue, 5000, &err);
    sim_remove_tree(dir);
}

static void test_full(void)
{
    char dir[NUC_PATH_MAX];
    unsigned retry_after;
    uint64_t n;
    tally_t tally;
    nuc_err_t err;
    nuc_queue_t *queue;
    nuc_log_options_t options;

    kit_temp_dir(dir);
    options = kit_options(kit_sys(), dir);
    options.max_size = 65536;
    queue = open_queue(&options);
    kit_started(queue);

    n = fill(queue);

    is_int(queue->ops->ready(queue, &retry_after, &err), NUC_FULL,
           "the quota is reached");
    ok(strstr(err.message, "max_size") != NULL && err.hint[0] != '\0',
       "the message names the limit: %s", err.message);
    ok(retry_after >= 1 && retry_after <= 60, "retry after %u s", retry_after);
    ok(n > 60 && n < 150, "near the limit: %llu records", (unsigned long long) n);

    tally = read_all(kit_sys(), dir);
    is_int(tally.total, n - 1, "all that were taken are there");
    free(tally.times);

    make_room(dir);

    ok(kit_wait_ready(queue, NUC_OK, 5000), "it is ready again by itself");
    is_int(kit_store(queue, n, 1), NUC_OK, "and takes records");
    queue->ops->close(queue, 5000, &err);
    sim_remove_tree(dir);

    test_full_by_open_segment();

    kit_temp_dir(dir);
    options = kit_options(kit_sys(), dir);
    options.min_free = UINT64_MAX;
    queue = open_queue(&options);
    is_int(kit_started(queue), NUC_FULL, "min_free is above what the disk has");
    queue->ops->ready(queue, &retry_after, &err);
    ok(strstr(err.message, "min_free") != NULL, "the message names it: %s", err.message);
    queue->ops->close(queue, 5000, &err);
    sim_remove_tree(dir);

    kit_temp_dir(dir);
    options = kit_options(kit_sys(), dir);
    options.max_pending = 1000;
    queue = open_queue(&options);
    kit_started(queue);
    {
        nuc_ticket_t tickets[8];
        unsigned i, taken = 0;

        for (i = 0; i < 8; i++) {
            taken += kit_submit(queue, 1 + i * 40, 1, &tickets[i], &err) == NUC_OK;
        }

        ok(taken >= 1 && taken < 8, "what may wait is limited: %u taken", taken);
        queue->ops->kick(queue);
        is_int(kit_wait(queue, taken, 5000), taken, "those taken come back");
    }
    queue->ops->close(queue, 5000, &err);
    sim_remove_tree(dir);
}

static void test_start_fails(void)
{
    char dir[NUC_PATH_MAX], sub[NUC_PATH_MAX];
    unsigned retry_after;
    nuc_err_t err;
    nuc_queue_t *queue;
    nuc_log_options_t options;

    kit_temp_dir(dir);
    nuc_path_join(sub, dir, "queue", NULL);
    close(open(sub, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    options = kit_options(kit_sys(), sub);
    queue = open_queue(&options);
    is_int(kit_started(queue), NUC_IO, "where a file is in its place it is not ready");
    queue->ops->ready(queue, &retry_after, &err);
    ok(strstr(err.message, sub) != NULL, "the message names it: %s", err.message);
    unlink(sub);
    ok(kit_wait_ready(queue, NUC_OK, 5000), "it starts once the file is gone");
    is_int(kit_store(queue, 1, 1), NUC_OK, "and takes records");
    queue->ops->close(queue, 5000, &err);
    sim_remove_tree(dir);
}

/* On a file system in memory no queue starts; on one that is doubtful it does. */
static void test_file_systems(void)
{
    static const struct {
        long type;
        nuc_rc_t rc;
        const char *said;
    } cases[] = {
        {SIM_EXT4, NUC_OK, ""},
        {SIM_TMPFS, NUC_INVALID, "tmpfs"},
        {0x858458f6, NUC_INVALID, "ramfs"},
        {SIM_OVERLAY, NUC_UNKNOWN, "overlayfs"},
        {0x6969, NUC_UNKNOWN, "nfs"},
        {(int) 0xff534d42, NUC_UNKNOWN, "cifs"},
    };

    char dir[NUC_PATH_MAX], deep[NUC_PATH_MAX];
    size_t i;
    unsigned retry_after;
    nuc_err_t err;
    nuc_queue_t *queue;
    nuc_log_options_t options;
    sim_t *sim;

    kit_temp_dir(dir);
    nuc_path_join(deep, dir, "not/yet/there", NULL);
    sim = sim_create(dir);

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        sim_fs_type(sim, cases[i].type);
        err.message[0] = err.hint[0] = '\0';
        is_int(nuc_fs_check_durable(sim_sys(sim), deep, &err), cases[i].rc,
               "file system %s", cases[i].said);
        ok(strstr(err.message, cases[i].said) != NULL &&
               (err.hint[0] != '\0') == (cases[i].rc != NUC_OK),
           "said: %s; %s", err.message, err.hint);
    }

    sim_fs_type(sim, SIM_TMPFS);
    is_int(nuc_log_prepare(sim_sys(sim), deep, &err), NUC_INVALID, "refused: %s",
           err.message);
    ok(access(deep, F_OK) == -1, "and not made");

    options = kit_options(sim_sys(sim), dir);
    queue = open_queue(&options);
    is_int(kit_started(queue), NUC_IO, "a queue on tmpfs is not ready");
    queue->ops->ready(queue, &retry_after, &err);
    ok(strstr(err.message, "tmpfs") != NULL && strcmp(err.hint, "put it on a disk") == 0,
       "and says why: %s", err.message);
    is_int(kit_store(queue, 1, 1), NUC_IO,
           "nothing of a batch is stored, and that is said");
    sim_fs_type(sim, SIM_OVERLAY);
    ok(kit_wait_ready(queue, NUC_OK, 5000), "it starts once a disk is mounted there");
    queue->ops->close(queue, 5000, &err);
    sim_kill(sim);
    sim_destroy(sim);
    sim_remove_tree(dir);
}

static void test_sync_fails(void)
{
    char dir[NUC_PATH_MAX];
    uint64_t start;
    tally_t tally;
    nuc_err_t err;
    nuc_queue_t *queue;
    nuc_log_options_t options;
    sim_t *sim;

    kit_temp_dir(dir);
    sim = sim_create(dir);
    options = kit_options(sim_sys(sim), dir);
    queue = open_queue(&options);
    kit_started(queue);

    is_int(kit_store(queue, 1, 5), NUC_OK, "durable");
    sim_fail_syncs(sim, EIO);
    is_int(kit_store(queue, 6, 5), NUC_UNKNOWN, "a failed sync: the outcome is unknown");
    ok(kit_wait_ready(queue, NUC_IO, 1000), "then the queue is not ready");

    /* probes fail tick after tick, and the door stays shut */
    start = nuc_time_monotonic();

    while (nuc_time_monotonic() - start < 300000) {
        unsigned retry_after;

        if (queue->ops->ready(queue, &retry_after, &err) != NUC_IO) {
            break;
        }
    }

    ok(nuc_time_monotonic() - start >= 300000, "as long as syncs fail");
    sim_fail_syncs(sim, 0);
    ok(kit_wait_ready(queue, NUC_OK, 5000), "ready when the disk syncs again");
    is_int(kit_store(queue, 11, 5), NUC_OK, "durable again");

    tally = read_all(sim_sys(sim), dir);
    is_int(tally.lost, 0, "no false alarm of damage");
    ok(tally.times[1] == 1 && tally.times[5] == 1 && tally.times[11] == 1 &&
           tally.times[15] == 1,
       "acknowledged records are read once");
    ok(tally.times[6] <= 1 && tally.times[10] <= 1, "the others at most once");
    free(tally.times);

    queue->ops->close(queue, 5000, &err);
    tend(sim_sys(sim), dir);
    is_int(reports[NUC_LOG_QUARANTINED], 0, "and none from the keeper");
    sim_kill(sim);
    sim_destroy(sim);
    sim_remove_tree(dir);
}

/* Where "byte" of the first (or last) segment is changed; 0 from the end counts
 * backwards. */
static void spoil(const char *dir, size_t which, off_t offset, size_t len)
{
    int fd;
    char path[NUC_PATH_MAX], name[NUC_LOG_NAME_MAX], segment[NUC_PATH_MAX];
    uint64_t firsts[64];
    size_t i, count = segments_of(dir, path, firsts, 64);
    uint8_t byte;

    nuc_segment_name(firsts[which < count ? which : count - 1], NUC_LOG_SEGMENT_SUFFIX,
                     name);
    nuc_path_join(segment, path, name, NULL);
    fd = open(segment, O_RDWR | O_CLOEXEC);

    for (i = 0; i < len; i++) {
        if (pread(fd, &byte, 1, offset + (off_t) i) != 1) {
            diag("nothing to spoil at %ld of %s", (long) offset, segment);
            exit(1);
        }

        byte ^= 0x55;

        if (pwrite(fd, &byte, 1, offset + (off_t) i) != 1) {
            exit(1);
        }
    }

    close(fd);
}

static void write_some(const char *dir, unsigned groups)
{
    unsigned i;
    nuc_err_t err;
    nuc_log_options_t options = kit_options(kit_sys(), dir);
    nuc_queue_t *queue = open_queue(&options);

    for (i = 0; i < groups; i++) {
        kit_store(queue, 1 + 5 * i, 5);
    }

    queue->ops->close(queue, 5000, &err);
}

static int count_files(void *ctx, const char *name)
{
    (void) name;
    ++*(unsigned *) ctx;
    return 0;
}

static void test_damage(void)
{
    char dir[NUC_PATH_MAX], quarantine[NUC_PATH_MAX];
    size_t where;
    unsigned files;
    tally_t tally;

    /* 40 groups of 5, several segments; the first and the last are hit, header and frames
     */
    static const struct {
        size_t segment;
        off_t offset;
        size_t len;
        unsigned lost_max;
    } hits[] = {
        {0, 70, 1, 1}, {0, 5000, 1, 1}, {0, 5000, 3000, 12},
        {0, 3, 1, 0},  {99, 66, 1, 1},  {2, 64, 200, 4},
    };

    for (where = 0; where < sizeof(hits) / sizeof(hits[0]); where++) {
        kit_temp_dir(dir);
        write_some(dir, 40);
        spoil(dir, hits[where].segment, hits[where].offset, hits[where].len);

        tally = read_all(kit_sys(), dir);
        is_int(tally.total + tally.lost, 200,
               "hit %zu: every record read or counted lost", where);
        ok(tally.lost <= hits[where].lost_max, "hit %zu: no more than it hit: %llu",
           where, (unsigned long long) tally.lost);
        ok(tally.in_order && tally.foreign == 0, "hit %zu: the others unchanged", where);
        free(tally.times);

        tend(kit_sys(), dir);
        is_int(report_records[NUC_LOG_QUARANTINED], tally.lost,
               "hit %zu: the keeper counts the same", where);
        is_int(reports[NUC_LOG_CUT], 0, "hit %zu: nothing durable is cut", where);

        files = 0;
        nuc_path_join(quarantine, dir, "quarantine", NULL);
        kit_sys()->list(kit_sys(), quarantine, count_files, &files);
        is_int(files > 0, tally.lost > 0, "hit %zu: a copy is kept", where);

        tally = read_all(kit_sys(), dir);
        is_int(tally.total + tally.lost, 200, "hit %zu: sealed reads the same", where);
        free(tally.times);
        sim_remove_tree(dir);
    }
}

/* A segment that a power cut left without its bytes: lost is what was durable, no more.
 */
static void test_empty_segment(void)
{
    char dir[NUC_PATH_MAX], path[NUC_PATH_MAX], name[NUC_LOG_NAME_MAX];
    char segment[NUC_PATH_MAX];
    uint64_t firsts[4];
    tally_t tally;

    kit_temp_dir(dir);
    write_some(dir, 1);
    segments_of(dir, path, firsts, 4);
    nuc_segment_name(firsts[0], NUC_LOG_SEGMENT_SUFFIX, name);
    nuc_path_join(segment, path, name, NULL);
    is_int(truncate(segment, 0), 0, "a segment is emptied");

    tend(kit_sys(), dir);
    is_int(reports[NUC_LOG_QUARANTINED], 1, "the keeper says so");
    is_int(report_records[NUC_LOG_QUARANTINED], 5, "and how much is lost");
    tally = read_all(kit_sys(), dir);
    is_int(tally.lost, 5, "as the reader does");
    free(tally.times);
    sim_remove_tree(dir);
}

/* An event whose bytes look like a frame of the log must not be taken for one. */
static void test_smuggled_frame(void)
{
    char dir[NUC_PATH_MAX], path[NUC_PATH_MAX], id[32], data[KIT_DATA_MAX];
    uint8_t payload[KIT_DATA_MAX], inner[KIT_DATA_MAX] = {0};
    uint64_t firsts[4];
    size_t len;
    nuc_err_t err;
    nuc_record_t record, outer;
    nuc_ticket_t ticket;
    nuc_queue_t *queue;
    nuc_log_options_t options;
    tally_t tally;

    kit_temp_dir(dir);
    options = kit_options(kit_sys(), dir);
    queue = open_queue(&options);
    kit_store(queue, 1, 1);

    /* record 77 as a frame with sequence 3, sealed under a salt that the client guesses
     */
    kit_record(77, &record, id, data);
    len = (size_t) (nuc_record_encode(&record, inner + NUC_FRAME_HEADER_LEN) - inner);
    nuc_frame_begin(inner, (uint32_t) (len - NUC_FRAME_HEADER_LEN),
                    NUC_FRAME_END_OF_BATCH);
    nuc_frame_seal(inner, 3, 3, 0);
    memcpy(payload, inner, nuc_frame_size(len - NUC_FRAME_HEADER_LEN));

    kit_record(2, &outer, id, data);
    outer.kind = NUC_KIND_UPLOAD;
    outer.data = (nuc_str_t){payload, nuc_frame_size(len - NUC_FRAME_HEADER_LEN)};
    queue->ops->submit(queue, &outer, 1, &ticket, &err);
    queue->ops->kick(queue);
    kit_wait(queue, 1, 5000);
    kit_store(queue, 4, 1);
    queue->ops->close(queue, 5000, &err);

    /* break the outer frame's header, so that the search walks into its payload */
    segments_of(dir, path, firsts, 4);
    {
        nuc_record_t first;

        kit_record(1, &first, id, data);
        spoil(dir, 0,
              (off_t) (NUC_SEGMENT_HEADER_LEN +
                       nuc_frame_size(nuc_record_encoded_len(&first))),
              1);
    }

    tally = read_all(kit_sys(), dir);
    is_int(tally.times[77], 0, "the client's frame is not a record");
    is_int(tally.times[1] + tally.times[4], 2, "the true ones are");
    is_int(tally.lost, 1, "the damaged one is lost");
    free(tally.times);
    sim_remove_tree(dir);
}

/* Fail each operation in turn, once and for a while, with each error; the answers stay
 * true. */
static void test_every_failure(void)
{
    static const int errors[] = {EIO, ENOSPC};

    char dir[NUC_PATH_MAX];
    int wrong = 0, finished;
    unsigned n, e, g, length, runs = 0, refused = 0, unknown = 0;
    nuc_rc_t rc[12];
    nuc_err_t err;
    nuc_queue_t *queue;
    nuc_log_options_t options;
    sim_t *sim;
    tally_t tally;

    /* two errors, whole and short writes, once and three times; then in strides */
    for (e = 0; e < 8; e++) {
        finished = 0;
        length = e == 4 || e == 5 ? 3 : 1;

        for (n = 1; !finished && n < 200; n++) {
            kit_temp_dir(dir);
            sim = sim_create(dir);

            if (e % 2 == 0 && e >= 2) {
                sim_short_at(sim, n);
            }

            sim_fail_at(sim, n, length, errors[e % 2]);
            options = kit_options(sim_sys(sim), dir);
            options.segment_size = 4096;
            options.stride = e >= 6 ? 128 : 1 << 20;
            queue = open_queue(&options);

            for (g = 0; g < 12; g++) {
                kit_wait_ready(queue, NUC_OK, 3000);
                rc[g] = kit_store(queue, 1 + 3 * g, 3);
            }

            finished = sim_operations(sim) < n;
            queue->ops->close(queue, 5000, &err);
            tally = read_all(sim_sys(sim), dir);

            for (g = 0; g < 12; g++) {
                unsigned times = tally.times[1 + 3 * g] + tally.times[2 + 3 * g] +
                                 tally.times[3 + 3 * g];

                wrong += rc[g] == NUC_OK && times != 3;
                wrong += (rc[g] == NUC_FULL || rc[g] == NUC_IO) && times != 0;
                wrong += rc[g] == NUC_UNKNOWN && times > 3;
                wrong += rc[g] == NUC_AGAIN;
                refused += rc[g] == NUC_FULL || rc[g] == NUC_IO;
                unknown += rc[g] == NUC_UNKNOWN;
            }

            wrong += tally.lost != 0 || tally.foreign != 0;

            if (wrong) {
                diag("operation %u, case %u: lost %llu", n, e,
                     (unsigned long long) tally.lost);
                finished = 1;
            }

            free(tally.times);
            sim_kill(sim);
            sim_destroy(sim);
            sim_remove_tree(dir);
            runs++;
        }
    }

    ok(!wrong, "each of %u failures leaves true answers (%u refused, %u unknown)", runs,
       refused, unknown);
    ok(refused > 10 && unknown > 5, "and they did fail");
}

/* Groups whose buffers are passed on, given back, or shared with small ones. */
static void test_large_groups(void)
{
    static const struct {
        size_t len;
        int alone; /* its ticket is waited for */
    } batches[] = {
        {9u << 20, 1}, {9u << 20, 1},  {100, 1},      {12u << 20, 0}, {200, 0},
        {9u << 20, 1}, {40u << 20, 1}, {9u << 20, 0}, {9u << 20, 1},  {300, 1},
    };
    enum {
        COUNT = sizeof(batches) / sizeof(batches[0])
    };

    char dir[NUC_PATH_MAX], id[32], kit[KIT_DATA_MAX];
    size_t i, j, waiting = 0;
    int wrong = 0;
    uint8_t *data = malloc(40u << 20);
    uint64_t lost;
    nuc_err_t err;
    nuc_ticket_t tickets[COUNT];
    nuc_queue_t *queue;
    nuc_record_t record;
    nuc_log_reader_t *reader;
    nuc_log_options_t options;

    kit_temp_dir(dir);
    options = kit_options(kit_sys(), dir);
    options.stride = 0;
    options.max_pending = 128u << 20;
    options.keep = 32u << 20;
    options.niceness = 1;
    queue = open_queue(&options);
    is_int(kit_started(queue), NUC_OK, "a queue for large groups starts");

    for (i = 0; i < COUNT; i++) {
        kit_record(i + 1, &record, id, kit);
        memset(data, 'a' + (int) i, batches[i].len);
        record.data = (nuc_str_t){data, batches[i].len};
        queue->ops->submit(queue, &record, 1, &tickets[i], &err);
        queue->ops->kick(queue);
        waiting++;

        if (batches[i].alone) {
            is_int(kit_wait(queue, (unsigned) waiting, 60000), (int) waiting,
                   "%zu bytes come back", batches[i].len);
            waiting = 0;
        }
    }

    nuc_log_reader_open(kit_sys(), dir, NUC_LOG_EARLIEST, &reader, &err);

    for (i = 0; i < COUNT; i++) {
        wrong += tickets[i].rc != NUC_OK;
        wrong += nuc_log_reader_next(reader, &record, &lost, &err) != NUC_OK;
        wrong += record.data.len != batches[i].len;

        for (j = 0; j < record.data.len; j++) {
            wrong += record.data.data[j] != 'a' + (int) i;
        }
    }

    is_int(wrong, 0, "and all are read as they were written");
    nuc_log_reader_close(reader);
    queue->ops->close(queue, 60000, &err);
    sim_remove_tree(dir);
    free(data);
}

int main(void)
{
    test_roundtrip();
    test_large_groups();
    test_removal();
    test_full();
    test_start_fails();
    test_file_systems();
    test_sync_fails();
    test_damage();
    test_empty_segment();
    test_smuggled_frame();
    test_every_failure();

    return tap_done();
}
