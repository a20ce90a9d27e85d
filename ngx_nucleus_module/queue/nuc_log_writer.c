/*
 * The writer of the log: a queue whose records are durable when they are in a segment
 * file and fdatasync has returned.
 *
 * Two threads meet here.  The event thread of nginx calls the operations of
 * nuc_queue_ops_t; it encodes frames into "gather" and never touches a file.  The flusher
 * thread owns the files: it takes all that was gathered as one commit group, seals the
 * frames, writes and syncs them, then publishes the new durable end in the head and hands
 * back the tickets.  While it waits for the disk, the next group gathers.  "mutex" guards
 * what both touch and is never held over a system call on a file.
 *
 * The invariants (I1 ...) are numbered in README.md.
 */

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "nuc_buf.h"
#include "nuc_log.h"
#include "nuc_log_append.h"
#include "nuc_log_file.h"
#include "nuc_log_space.h"
#include "nuc_time.h"

/* The buffer of a group that needed more is given back when the group is done: its owner
 * counts bytes of records, not what is kept for the next ones. */
#define NUC_GATHER_KEEP    (8u << 20)
#define NUC_HUGE_PAGE      (2u << 20)
#define NUC_TICK_MS        1000
#define NUC_RETRY_AFTER_IO 5 /* seconds */

typedef struct {
    nuc_buf_t frames;
    size_t records;
    nuc_ticket_t *tickets;
    nuc_ticket_t **tickets_end;
} nuc_group_t;

typedef struct {
    nuc_queue_t queue; /* first: the interface */

    nuc_log_options_t options;
    char dir[NUC_PATH_MAX];
    const nuc_sys_t *sys;

    pthread_t thread;
    int wake_fd;

    pthread_mutex_t mutex;
    pthread_cond_t work;     /* for the flusher: kicked, or stop */
    pthread_cond_t finished; /* for close */
    nuc_group_t gather;
    nuc_ticket_t *done;
    nuc_ticket_t **done_end;
    int kicked;
    int waiting; /* the flusher sleeps on "work" */
    int stop;
    int has_finished;
    nuc_queue_stats_t stats;
    nuc_err_t state; /* why nothing is accepted, or NUC_OK */
    unsigned retry_after;

    /* the same as state.rc, to be looked at without the mutex */
    atomic_int state_rc;

    /* the flusher's alone */
    nuc_group_t flight;
    nuc_append_t append;
    nuc_err_t failure; /* the last group's, until a probe succeeds */
    nuc_space_t space;
    int large; /* a group since the last tick needed a buffer that is not kept for long */
} nuc_log_t;

static void *nuc_log_flusher(void *data);
static void nuc_log_start(nuc_log_t *log);
static void nuc_log_classify(nuc_err_t *err);
static int nuc_log_wait(nuc_log_t *log);
static void nuc_log_commit(nuc_log_t *log);
static int nuc_log_tick_due(const nuc_log_t *log);
static void nuc_log_tick(nuc_log_t *log);
static void nuc_log_probe(nuc_log_t *log);
static void nuc_log_update_state(nuc_log_t *log, const nuc_err_t *space_err);
static void nuc_log_set_state(nuc_log_t *log, const nuc_err_t *err, unsigned retry_after);

/* A group of records on its way to the disk. */

static void nuc_group_init(nuc_group_t *group)
{
    nuc_buf_reset(&group->frames);
    group->records = 0;
    group->tickets = NULL;
    group->tickets_end = &group->tickets;
}

static void nuc_group_swap(nuc_group_t *gather, nuc_group_t *flight)
{
    nuc_group_t empty = *flight;

    *flight = *gather;

    if (flight->tickets == NULL) {
        flight->tickets_end = &flight->tickets;
    }

    *gather = empty;
    nuc_group_init(gather);
}

/*
 * The first touch of a new page is the dearest part of a copy, and large bodies are
 * copied by the event thread: ask for large pages.  A wish that may stay one.
 */
static void nuc_group_wish(const nuc_buf_t *frames)
{
    uintptr_t begin, end;

    if (frames->capacity <= NUC_GATHER_KEEP) {
        return;
    }

    begin = ((uintptr_t) frames->data + frames->len + NUC_HUGE_PAGE - 1) &
            ~(uintptr_t) (NUC_HUGE_PAGE - 1);
    end =
        ((uintptr_t) frames->data + frames->capacity) & ~(uintptr_t) (NUC_HUGE_PAGE - 1);

    if (begin < end) {
        (void) madvise((void *) begin, end - begin, MADV_HUGEPAGE);
    }
}

/* The event thread's side. */

static nuc_rc_t nuc_log_submit(nuc_queue_t *queue, const nuc_record_t *records,
                               size_t count, nuc_ticket_t *ticket, nuc_err_t *err)
{
    size_t i, length, before, capacity, total = 0;
    uint8_t *frame, *end, *following;
    nuc_rc_t rc = NUC_OK;
    nuc_log_t *log = (nuc_log_t *) queue;
    nuc_buf_t *frames = &log->gather.frames;

    for (i = 0; i < count; i++) {
        length = nuc_record_encoded_len(&records[i]);

        if (length > NUC_FRAME_PAYLOAD_MAX) {
            return nuc_err_set(err, NUC_TOO_LARGE,
                               "a record of %zu bytes is over the log's limit of %u",
                               length, NUC_FRAME_PAYLOAD_MAX);
        }

        total += nuc_frame_size(length);
    }

    pthread_mutex_lock(&log->mutex);

    before = frames->len;

    if (log->stop) {
        rc = nuc_err_set(err, NUC_CLOSED, "the queue is closing");
        goto done;
    }

    if (before + total > log->options.max_pending && before > 0) {
        rc = nuc_err_set(err, NUC_FULL, "%zu bytes wait for the disk already", before);
        goto done;
    }

    capacity = frames->capacity;

    frame = nuc_buf_reserve(frames, total);
    if (frame == NULL) {
        nuc_buf_reset(frames);
        frames->len = before;
        rc = nuc_err_set(err, NUC_NOMEM, "no memory for %zu bytes of records", total);
        goto done;
    }

    if (frames->capacity != capacity) {
        nuc_group_wish(frames);
    }

    for (i = 0; i < count; i++) {
        end = nuc_record_encode(&records[i], frame + NUC_FRAME_HEADER_LEN);
        length = (size_t) (end - frame) - NUC_FRAME_HEADER_LEN;
        following = frame + nuc_frame_size(length);

        nuc_frame_begin(frame, (uint32_t) length,
                        i + 1 == count ? NUC_FRAME_END_OF_BATCH : 0);
        memset(end, 0, (size_t) (following - end));
        frame = following;
    }

    frames->len += total;
    log->gather.records += count;

    ticket->next = NULL;
    ticket->rc = NUC_AGAIN;
    *log->gather.tickets_end = ticket;
    log->gather.tickets_end = &ticket->next;

done:

    pthread_mutex_unlock(&log->mutex);

    return rc;
}

static void nuc_log_kick(nuc_queue_t *queue)
{
    nuc_log_t *log = (nuc_log_t *) queue;

    pthread_mutex_lock(&log->mutex);

    log->kicked = 1;

    if (log->waiting) {
        pthread_cond_signal(&log->work);
    }

    pthread_mutex_unlock(&log->mutex);
}

static int nuc_log_wake_fd(nuc_queue_t *queue)
{
    return ((nuc_log_t *) queue)->wake_fd;
}

static nuc_ticket_t *nuc_log_poll(nuc_queue_t *queue)
{
    uint64_t count;
    nuc_log_t *log = (nuc_log_t *) queue;
    nuc_ticket_t *done;

    /* Empty the counter before the list: what is added between the two wakes us again. */
    while (read(log->wake_fd, &count, sizeof(count)) == -1 && errno == EINTR) {
        continue;
    }

    pthread_mutex_lock(&log->mutex);

    done = log->done;
    log->done = NULL;
    log->done_end = &log->done;

    pthread_mutex_unlock(&log->mutex);

    return done;
}

static nuc_rc_t nuc_log_ready(nuc_queue_t *queue, unsigned *retry_after, nuc_err_t *err)
{
    nuc_rc_t rc;
    nuc_log_t *log = (nuc_log_t *) queue;

    if (atomic_load_explicit(&log->state_rc, memory_order_relaxed) == NUC_OK) {
        return NUC_OK;
    }

    pthread_mutex_lock(&log->mutex);

    rc = log->state.rc;
    *retry_after = log->retry_after;

    if (err != NULL) {
        *err = log->state;
    }

    pthread_mutex_unlock(&log->mutex);

    return rc;
}

static void nuc_log_stats(nuc_queue_t *queue, nuc_queue_stats_t *stats)
{
    nuc_log_t *log = (nuc_log_t *) queue;

    pthread_mutex_lock(&log->mutex);
    *stats = log->stats;
    pthread_mutex_unlock(&log->mutex);
}

static void nuc_log_free(nuc_log_t *log)
{
    nuc_append_close(&log->append);

    if (log->wake_fd != -1) {
        close(log->wake_fd);
    }

    nuc_buf_free(&log->gather.frames);
    nuc_buf_free(&log->flight.frames);
    pthread_cond_destroy(&log->finished);
    pthread_cond_destroy(&log->work);
    pthread_mutex_destroy(&log->mutex);
    free(log);
}

static nuc_rc_t nuc_log_close(nuc_queue_t *queue, unsigned deadline_ms, nuc_err_t *err)
{
    int has_finished;
    nuc_log_t *log = (nuc_log_t *) queue;
    struct timespec deadline;

    nuc_time_deadline(deadline_ms, &deadline);

    pthread_mutex_lock(&log->mutex);

    log->stop = 1;
    pthread_cond_signal(&log->work);

    while (!log->has_finished &&
           pthread_cond_timedwait(&log->finished, &log->mutex, &deadline) == 0) {
        continue;
    }

    has_finished = log->has_finished;

    pthread_mutex_unlock(&log->mutex);

    if (!has_finished) {
        return nuc_err_set(err, NUC_UNKNOWN,
                           "the disk did not answer in %u ms, what was not acknowledged "
                           "may or may not be stored",
                           deadline_ms);
    }

    pthread_join(log->thread, NULL);
    nuc_log_free(log);

    return NUC_OK;
}

static const nuc_queue_ops_t nuc_log_ops = {
    .submit = nuc_log_submit,
    .kick = nuc_log_kick,
    .wake_fd = nuc_log_wake_fd,
    .poll = nuc_log_poll,
    .ready = nuc_log_ready,
    .stats = nuc_log_stats,
    .close = nuc_log_close,
};

static void nuc_log_init_sync(nuc_log_t *log)
{
    pthread_condattr_t attr;

    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_mutex_init(&log->mutex, NULL);
    pthread_cond_init(&log->work, &attr);
    pthread_cond_init(&log->finished, &attr);
    pthread_condattr_destroy(&attr);
}

/* Signals are the event thread's: a thread inherits the mask it is created under. */
static int nuc_log_create_thread(nuc_log_t *log)
{
    int rc;
    sigset_t all, before;

    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    rc = pthread_create(&log->thread, NULL, nuc_log_flusher, log);
    pthread_sigmask(SIG_SETMASK, &before, NULL);

    return rc;
}

nuc_rc_t nuc_log_open(const nuc_log_options_t *options, nuc_queue_t **queue,
                      nuc_err_t *err)
{
    int rc;
    nuc_log_t *log;

    if (strlen(options->dir) >= NUC_PATH_MAX) {
        return nuc_err_set(err, NUC_INVALID, "queue directory \"%s\" is too long",
                           options->dir);
    }

    log = calloc(1, sizeof(nuc_log_t));
    if (log == NULL) {
        return nuc_err_set(err, NUC_NOMEM, "no memory for the queue");
    }

    log->queue.ops = &nuc_log_ops;
    log->queue.durability = "log";
    log->options = *options;
    log->sys = options->sys;

    if (log->options.tick_ms == 0) {
        log->options.tick_ms = NUC_TICK_MS;
    }

    strcpy(log->dir, options->dir);
    nuc_append_init(&log->append, options, log->dir);
    log->done_end = &log->done;
    nuc_group_init(&log->gather);
    nuc_group_init(&log->flight);
    nuc_log_init_sync(log);

    nuc_err_set(&log->state, NUC_AGAIN, "the queue in \"%s\" is starting", log->dir);
    log->retry_after = 1;
    atomic_store(&log->state_rc, NUC_AGAIN);

    log->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (log->wake_fd == -1) {
        rc = nuc_err_sys(err, NUC_IO, errno, "eventfd failed");
        nuc_log_free(log);
        return rc;
    }

    rc = nuc_log_create_thread(log);
    if (rc != 0) {
        rc = nuc_err_sys(err, NUC_IO, rc, "creation of the flusher thread failed");
        nuc_log_free(log);
        return rc;
    }

    *queue = &log->queue;

    return NUC_OK;
}

/* The flusher's side. */

static void *nuc_log_flusher(void *data)
{
    nuc_log_t *log = data;

    pthread_setname_np(pthread_self(), "nucleus-log");

    /* of the calling thread alone, on Linux; a wish */
    (void) setpriority(PRIO_PROCESS, 0,
                       getpriority(PRIO_PROCESS, 0) + log->options.niceness);
    nuc_log_start(log);

    while (nuc_log_wait(log)) {
        if (log->flight.tickets != NULL) {
            nuc_log_commit(log);
        }

        if (nuc_log_tick_due(log)) {
            nuc_log_tick(log);
        }
    }

    nuc_append_close(&log->append);

    pthread_mutex_lock(&log->mutex);
    log->has_finished = 1;
    pthread_cond_signal(&log->finished);
    pthread_mutex_unlock(&log->mutex);

    return NULL;
}

static void nuc_log_start(nuc_log_t *log)
{
    log->failure.rc = nuc_append_start(&log->append, &log->failure);
    nuc_log_classify(&log->failure);
    nuc_log_tick(log);
}

/*
 * A ticket says but three things of a failure.  Whatever call found the disk full, the
 * client is told so, and what stopped the group before it was written (a path, a file
 * system that is none for a queue) is the disk's failure to him.
 */
static void nuc_log_classify(nuc_err_t *err)
{
    if (err->rc == NUC_IO && (err->sys_errno == ENOSPC || err->sys_errno == EDQUOT)) {
        err->rc = NUC_FULL;
    }

    if (err->rc != NUC_OK && err->rc != NUC_FULL && err->rc != NUC_UNKNOWN) {
        err->rc = NUC_IO;
    }
}

/*
 * What becomes of the buffer of the group that is done.  One that is large goes to the
 * next group, if that has none yet, so that there is but one of them; else it is freed,
 * without the mutex, for that takes a while.
 */
static void nuc_log_recycle(nuc_log_t *log)
{
    nuc_buf_t *done = &log->flight.frames, *next = &log->gather.frames, other;

    log->large |= done->len > NUC_GATHER_KEEP;

    if (done->capacity > NUC_GATHER_KEEP) {
        pthread_mutex_lock(&log->mutex);

        if (done->capacity <= log->options.keep && log->gather.records == 0 &&
            next->capacity <= NUC_GATHER_KEEP) {
            other = *next;
            *next = *done;
            *done = other;
            nuc_buf_reset(next);
        }

        pthread_mutex_unlock(&log->mutex);

        if (done->capacity > NUC_GATHER_KEEP) {
            nuc_buf_free(done);
        }
    }

    nuc_group_init(&log->flight);
}

/* No other group as large came: its buffer is given back after all. */
static void nuc_log_trim(nuc_log_t *log)
{
    nuc_buf_t unused = NUC_BUF_INIT;

    pthread_mutex_lock(&log->mutex);

    if (!log->large && log->gather.records == 0 &&
        log->gather.frames.capacity > NUC_GATHER_KEEP) {
        unused = log->gather.frames;
        log->gather.frames = NUC_BUF_INIT;
    }

    pthread_mutex_unlock(&log->mutex);

    nuc_buf_free(&unused);
    log->large = 0;
}

/*
 * Wait for a group, or for the next tick.  Returns 0 when closing and all is written.
 * What gathered while the last group was written is taken at once, kicked or not.
 */
static int nuc_log_wait(nuc_log_t *log)
{
    int go_on = 1;
    struct timespec tick;

    pthread_mutex_lock(&log->mutex);

    if (!log->stop && !(log->kicked && log->gather.records > 0)) {
        nuc_time_deadline(log->options.tick_ms, &tick);
        log->waiting = 1;
        pthread_cond_timedwait(&log->work, &log->mutex, &tick);
        log->waiting = 0;
    }

    log->kicked = 0;

    if (log->gather.records > 0) {
        nuc_group_swap(&log->gather, &log->flight);
    } else if (log->stop) {
        go_on = 0;
    }

    pthread_mutex_unlock(&log->mutex);

    return go_on;
}

static void nuc_log_count(nuc_log_t *log)
{
    nuc_queue_stats_t *stats = &log->stats;

    stats->groups++;
    stats->records += log->flight.records;
    stats->bytes += log->flight.frames.len;
    nuc_histogram_add(&nuc_histogram_records, &stats->group_records, log->flight.records);
    nuc_histogram_add(&nuc_histogram_seconds, &stats->group_wait, log->append.synced);

    if (stats->wait_most < log->append.synced) {
        stats->wait_most = log->append.synced;
    }
}

/* Give the tickets back in order, and wake the event thread if it was not woken already.
 */
static void nuc_log_complete(nuc_log_t *log, nuc_rc_t rc)
{
    int was_empty;
    uint64_t one = 1;
    nuc_ticket_t *ticket;

    for (ticket = log->flight.tickets; ticket != NULL; ticket = ticket->next) {
        ticket->rc = rc;
    }

    pthread_mutex_lock(&log->mutex);

    if (rc == NUC_OK) {
        nuc_log_count(log);
    }

    was_empty = log->done == NULL;
    *log->done_end = log->flight.tickets;
    log->done_end = log->flight.tickets_end;

    pthread_mutex_unlock(&log->mutex);

    if (was_empty) {
        while (write(log->wake_fd, &one, sizeof(one)) == -1 && errno == EINTR) {
            continue;
        }
    }

    nuc_log_recycle(log);
}

static void nuc_log_commit(nuc_log_t *log)
{
    nuc_rc_t rc;
    nuc_err_t err;

    rc = nuc_append_group(&log->append, &log->flight.frames, log->flight.records, &err);

    if (rc == NUC_OK) {
        log->space.used += log->flight.frames.len;
    } else {
        nuc_log_classify(&err);
        rc = err.rc;
        log->failure = err;
        nuc_log_tick(log);
    }

    nuc_log_complete(log, rc);
}

/* Room and health: once a second, and after a failure. */

/* Early when the group just written filled the queue. */
static int nuc_log_tick_due(const nuc_log_t *log)
{
    return nuc_time_monotonic() - log->space.counted_at >=
               (uint64_t) log->options.tick_ms * 1000 ||
           (log->space.used >= log->options.max_size && log->state.rc == NUC_OK);
}

static void nuc_log_tick(nuc_log_t *log)
{
    nuc_err_t err;

    nuc_log_trim(log);
    nuc_log_probe(log);

    err.rc = nuc_space_count(&log->space, log->sys, log->dir, &err);
    nuc_log_update_state(log, &err);

    /* what is delivered can be removed once its segment is finished: don't hold on to it
     */
    if (log->state.rc == NUC_FULL) {
        nuc_append_finish_segment(&log->append);
    }
}

static void nuc_log_probe(nuc_log_t *log)
{
    if (log->failure.rc != NUC_OK) {
        log->failure.rc = nuc_append_probe(&log->append, &log->failure);
        nuc_log_classify(&log->failure);
    }
}

/* How long until the worker has made room for a segment, at the pace it was seen to keep.
 */
static unsigned nuc_log_retry_after(const nuc_log_t *log)
{
    uint64_t missing = log->options.segment_size;

    if (log->space.used > log->options.max_size) {
        missing += log->space.used - log->options.max_size;
    }

    return nuc_space_wait(&log->space, missing);
}

/*
 * Once full, the queue opens again with an eighth of its size free, or a sixteenth more
 * than min_free, so that it doesn't open and shut with every segment.
 */
static void nuc_log_update_state(nuc_log_t *log, const nuc_err_t *space_err)
{
    nuc_err_t err;
    uint64_t max_size = log->options.max_size, min_free = log->options.min_free;
    const nuc_space_t *space = &log->space;

    if (log->state.rc == NUC_FULL) {
        max_size -= max_size / 8;
        min_free = min_free > UINT64_MAX / 2 ? min_free : min_free + min_free / 16;
    }

    if (log->failure.rc != NUC_OK && log->failure.rc != NUC_FULL) {
        err = log->failure;
        err.rc = NUC_IO;
        nuc_log_set_state(log, &err, NUC_RETRY_AFTER_IO);
        return;
    }

    if (space_err->rc != NUC_OK) {
        nuc_log_set_state(log, space_err, NUC_RETRY_AFTER_IO);
        return;
    }

    if (log->failure.rc == NUC_FULL) {
        nuc_log_set_state(log, &log->failure, nuc_log_retry_after(log));
        return;
    }

    if (space->used >= max_size) {
        nuc_err_set(&err, NUC_FULL,
                    "the queue in \"%s\" holds %llu bytes, its max_size is %llu",
                    log->dir, (unsigned long long) space->used,
                    (unsigned long long) log->options.max_size);
        nuc_err_hint(&err, "see that nucleus-worker runs and that its sinks take events");
        nuc_log_set_state(log, &err, nuc_log_retry_after(log));
        return;
    }

    if (space->free_bytes < min_free) {
        nuc_err_set(&err, NUC_FULL,
                    "the file system of \"%s\" has %llu bytes free, min_free is %llu",
                    log->dir, (unsigned long long) space->free_bytes,
                    (unsigned long long) log->options.min_free);
        nuc_err_hint(&err, "make room on the disk, or lower min_free");
        nuc_log_set_state(log, &err, nuc_log_retry_after(log));
        return;
    }

    err.rc = NUC_OK;
    nuc_log_set_state(log, &err, 0);
}

static void nuc_log_set_state(nuc_log_t *log, const nuc_err_t *err, unsigned retry_after)
{
    pthread_mutex_lock(&log->mutex);

    log->state = *err;
    log->retry_after = retry_after;
    log->stats.used = log->space.used;
    log->stats.free_bytes = log->space.free_bytes;

    pthread_mutex_unlock(&log->mutex);

    atomic_store_explicit(&log->state_rc, (int) err->rc, memory_order_relaxed);
}
