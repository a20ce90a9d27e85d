/*
 * The log under all its threads at once: two writers, each with an event thread and a
 * flusher, two readers that follow, and a keeper that seals and removes, on a disk that
 * is slow, and now and then fails.  `make tsan` looks for races in it.
 *
 * What was acknowledged every reader gets once; what was refused none gets (I1, I3, I7).
 */

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

#include "logkit.h"
#include "nuc_time.h"
#include "sim.h"
#include "tap.h"

#define WRITERS    2
#define READERS    2
#define BATCHES    1200 /* of each writer */
#define BATCH_MAX  4    /* records */
#define NUMBERS    (WRITERS * BATCHES * BATCH_MAX + 1)
#define IN_FLIGHT  8  /* batches that wait for their ticket */
#define SYNC_FAILS 41 /* every so many syncs of a group fail */
#define FULL_EVERY 29 /* every so many writes find the disk full */
#define PATIENCE   60 /* seconds until a thread gives up waiting */

typedef enum {
    NEVER,
    ACKNOWLEDGED,
    REFUSED,
    UNKNOWN
} fate_t;

typedef struct {
    nuc_ticket_t ticket; /* first: poll hands it back */
    uint64_t first;
    unsigned count; /* 0: free */
} batch_t;

typedef struct {
    pthread_t thread;
    unsigned number;
    int stuck;
} writer_t;

typedef struct {
    pthread_t thread;
    unsigned seen[NUMBERS];
    unsigned bad; /* records that nobody wrote so */
    nuc_rc_t rc;

    /* for the keeper */
    pthread_mutex_t mutex;
    nuc_log_position_t positions[WRITERS];
    size_t npositions;
} reader_t;

static nuc_sys_t slow_sys;
static char dir[NUC_PATH_MAX];
static atomic_uint syncs, writes, removed;
static atomic_int writers_done, keeper_done;
static _Atomic fate_t fates[NUMBERS];
static writer_t writers[WRITERS];
static reader_t readers[READERS];

/*
 * The disk.
 */

static void wait_us(unsigned us)
{
    struct timespec ts = {0, (long) us * 1000};

    nanosleep(&ts, NULL);
}

static int slow_fdatasync(const nuc_sys_t *sys, int fd, const char *site)
{
    unsigned n;

    (void) sys;
    n = atomic_fetch_add(&syncs, 1) + 1;
    wait_us(n % 7 * 150);

    if (strcmp(site, "log-group") == 0 && n % SYNC_FAILS == 0) {
        errno = EIO;
        return -1;
    }

    return nuc_sys_posix.fdatasync(&nuc_sys_posix, fd, site);
}

static ssize_t slow_pwrite(const nuc_sys_t *sys, int fd, const void *data, size_t len,
                           off_t offset)
{
    (void) sys;

    if (atomic_fetch_add(&writes, 1) % FULL_EVERY == FULL_EVERY - 1) {
        errno = ENOSPC;
        return -1;
    }

    return nuc_sys_posix.pwrite(&nuc_sys_posix, fd, data, len, offset);
}

/*
 * A writer's event thread.
 */

static void settle(batch_t *batch)
{
    unsigned i;
    fate_t fate;

    fate = batch->ticket.rc == NUC_OK        ? ACKNOWLEDGED
           : batch->ticket.rc == NUC_UNKNOWN ? UNKNOWN
                                             : REFUSED;

    for (i = 0; i < batch->count; i++) {
        atomic_store(&fates[batch->first + i], fate);
    }

    batch->count = 0;
}

static void take_tickets(nuc_queue_t *queue)
{
    nuc_ticket_t *ticket, *next;

    for (ticket = queue->ops->poll(queue); ticket != NULL; ticket = next) {
        next = ticket->next;
        settle((batch_t *) ticket);
    }
}

static batch_t *free_batch(batch_t *batches)
{
    unsigned i;

    for (i = 0; i < IN_FLIGHT; i++) {
        if (batches[i].count == 0) {
            return &batches[i];
        }
    }

    return NULL;
}

/* Returns 1 when the batch is the queue's. */
static int submit(nuc_queue_t *queue, batch_t *batch, uint64_t first, unsigned count)
{
    unsigned retry_after;
    nuc_err_t err;

    if (queue->ops->ready(queue, &retry_after, &err) != NUC_OK ||
        kit_submit(queue, first, count, &batch->ticket, &err) != NUC_OK) {
        return 0;
    }

    batch->first = first;
    batch->count = count;

    return 1;
}

/* All tickets are back, or patience ends. */
static int drain(nuc_queue_t *queue, const batch_t *batches)
{
    unsigned i, busy;
    uint64_t deadline;
    struct pollfd wake = {.fd = queue->ops->wake_fd(queue), .events = POLLIN};

    deadline = nuc_time_monotonic() + PATIENCE * 1000000ULL;

    do {
        queue->ops->kick(queue);
        take_tickets(queue);

        for (busy = 0, i = 0; i < IN_FLIGHT; i++) {
            busy += batches[i].count != 0;
        }

        if (busy != 0) {
            poll(&wake, 1, 10);
        }
    } while (busy != 0 && nuc_time_monotonic() < deadline);

    return busy == 0;
}

static void *run_writer(void *data)
{
    unsigned n, count;
    uint64_t first, deadline;
    batch_t *batch, batches[IN_FLIGHT] = {0};
    writer_t *writer = data;
    nuc_err_t err;
    nuc_queue_t *queue;
    nuc_queue_stats_t stats;
    nuc_log_options_t options = kit_options(&slow_sys, dir);

    if (nuc_log_open(&options, &queue, &err) != NUC_OK) {
        writer->stuck = 1;
        return NULL;
    }

    first = 1 + (uint64_t) writer->number * BATCHES * BATCH_MAX;
    deadline = nuc_time_monotonic() + PATIENCE * 1000000ULL;

    for (n = 0; n < BATCHES && nuc_time_monotonic() < deadline; /* void */) {
        batch = free_batch(batches);
        count = 1 + n % BATCH_MAX;

        if (batch != NULL && submit(queue, batch, first, count)) {
            first += count;
            n++;
        } else {
            poll(NULL, 0, 1);
        }

        if (n % 3 != 0 || batch == NULL) {
            queue->ops->kick(queue);
        }

        take_tickets(queue);
        queue->ops->stats(queue, &stats);
    }

    writer->stuck = n < BATCHES || !drain(queue, batches);
    writer->stuck |= queue->ops->close(queue, PATIENCE * 1000, &err) != NUC_OK;
    atomic_fetch_add(&writers_done, 1);

    return NULL;
}

/*
 * A reader.
 */

static void tell_position(reader_t *reader, nuc_log_reader_t *log)
{
    size_t n;
    const nuc_log_position_t *positions;

    n = nuc_log_reader_positions(log, &positions);

    pthread_mutex_lock(&reader->mutex);
    reader->npositions = n < WRITERS ? n : WRITERS;
    memcpy(reader->positions, positions, reader->npositions * sizeof(*positions));
    pthread_mutex_unlock(&reader->mutex);
}

static void *run_reader(void *data)
{
    int last;
    uint64_t lost, number;
    nuc_rc_t rc;
    nuc_err_t err;
    reader_t *reader = data;
    nuc_record_t record;
    nuc_log_reader_t *log;

    reader->rc = nuc_log_reader_open(&slow_sys, dir, NUC_LOG_ALL, &log, &err);

    if (reader->rc != NUC_OK) {
        return NULL;
    }

    do {
        /* what the dead left is there once the keeper has recovered it */
        last = atomic_load(&keeper_done);

        while ((rc = nuc_log_reader_next(log, &record, &lost, &err)) == NUC_OK) {
            number = kit_number(&record);

            if (number == 0 || number >= NUMBERS) {
                reader->bad++;
            } else {
                reader->seen[number]++;
            }
        }

        tell_position(reader, log);
        poll(NULL, 0, 1);
    } while (rc == NUC_AGAIN && !last);

    reader->rc = rc;

    if (rc != NUC_AGAIN) {
        diag("the reader stopped: %s", err.message);
    }

    nuc_log_reader_close(log);

    return NULL;
}

/*
 * The keeper.
 */

static void on_report(void *ctx, const nuc_log_report_t *report)
{
    (void) ctx;

    if (report->event == NUC_LOG_REMOVED) {
        atomic_fetch_add(&removed, 1);
    }
}

static void remove_passed(nuc_log_keeper_t *keeper)
{
    unsigned i;
    nuc_err_t err;
    nuc_log_position_t positions[READERS][WRITERS];
    nuc_log_consumer_t consumers[READERS];

    for (i = 0; i < READERS; i++) {
        pthread_mutex_lock(&readers[i].mutex);
        memcpy(positions[i], readers[i].positions, sizeof(positions[i]));
        consumers[i] = (nuc_log_consumer_t){positions[i], readers[i].npositions};
        pthread_mutex_unlock(&readers[i].mutex);
    }

    (void) nuc_log_keeper_remove(keeper, consumers, READERS, &err);
}

/* A round may fail, as the disk does; the next one goes on. */
static void *run_keeper(void *data)
{
    int dead;
    nuc_rc_t rc;
    nuc_err_t err;
    uint64_t deadline;
    nuc_log_keeper_t **keeper = data;

    deadline = nuc_time_monotonic() + 3 * PATIENCE * 1000000ULL;

    do {
        dead = atomic_load(&writers_done) == WRITERS;
        rc = nuc_log_keeper_tend(*keeper, &err);

        if (!dead) {
            remove_passed(*keeper);
        }

        poll(NULL, 0, 2);
    } while ((!dead || rc != NUC_OK) && nuc_time_monotonic() < deadline);

    atomic_store(&keeper_done, 1);

    return NULL;
}

static void check_reader(unsigned i)
{
    uint64_t number;
    unsigned missing, doubled, refused;
    const reader_t *reader = &readers[i];

    missing = doubled = refused = 0;

    for (number = 1; number < NUMBERS; number++) {
        missing += fates[number] == ACKNOWLEDGED && reader->seen[number] == 0;
        doubled += reader->seen[number] > 1;
        refused += (fates[number] == REFUSED || fates[number] == NEVER) &&
                   reader->seen[number] != 0;
    }

    is_int(reader->rc, NUC_AGAIN, "reader %u read to the end", i);
    is_int(reader->bad, 0, "reader %u: every record as it was written", i);
    is_int(missing, 0, "reader %u: nothing acknowledged is missing", i);
    is_int(doubled, 0, "reader %u: nothing is there twice", i);
    is_int(refused, 0, "reader %u: nothing that was refused", i);
}

static unsigned count_fate(fate_t fate)
{
    unsigned count;
    uint64_t number;

    for (count = 0, number = 1; number < NUMBERS; number++) {
        count += fates[number] == fate;
    }

    return count;
}

int main(void)
{
    unsigned i;
    pthread_t keeper_thread;
    nuc_err_t err;
    nuc_log_keeper_t *keeper;

    kit_temp_dir(dir);
    slow_sys = *kit_sys();
    slow_sys.fdatasync = slow_fdatasync;
    slow_sys.pwrite = slow_pwrite;

    is_int(nuc_log_keeper_open(&slow_sys, dir, on_report, NULL, &keeper, &err), NUC_OK,
           "the keeper");

    for (i = 0; i < READERS; i++) {
        pthread_mutex_init(&readers[i].mutex, NULL);
    }

    pthread_create(&keeper_thread, NULL, run_keeper, &keeper);

    for (i = 0; i < READERS; i++) {
        pthread_create(&readers[i].thread, NULL, run_reader, &readers[i]);
    }

    for (i = 0; i < WRITERS; i++) {
        writers[i].number = i;
        pthread_create(&writers[i].thread, NULL, run_writer, &writers[i]);
    }

    for (i = 0; i < WRITERS; i++) {
        pthread_join(writers[i].thread, NULL);
        is_int(writers[i].stuck, 0, "writer %u came to its end", i);
    }

    pthread_join(keeper_thread, NULL);

    for (i = 0; i < READERS; i++) {
        pthread_join(readers[i].thread, NULL);
        check_reader(i);
    }

    ok(count_fate(ACKNOWLEDGED) > NUMBERS / 8, "%u acknowledged",
       count_fate(ACKNOWLEDGED));
    ok(count_fate(UNKNOWN) > 0, "%u of unknown outcome", count_fate(UNKNOWN));
    ok(count_fate(REFUSED) > 0, "%u refused", count_fate(REFUSED));
    ok(atomic_load(&removed) > 0, "%u segments removed meanwhile", atomic_load(&removed));

    nuc_log_keeper_close(keeper);
    sim_remove_tree(dir);

    return tap_done();
}
