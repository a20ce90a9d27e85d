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
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "nuc_buf.h"
#include "nuc_log.h"
#include "nuc_log_file.h"
#include "nuc_time.h"

/* A gather buffer that a burst made larger than this is given back when a group needed
 * little. */
#define NUC_GATHER_KEEP (8u << 20)
#define NUC_TICK_MS     1000
#define NUC_RETRY_AFTER_FULL                                                             \
    10 /* seconds, while nothing is known of the worker's pace                           \
        */
#define NUC_RETRY_AFTER_MAX 60
#define NUC_RETRY_AFTER_IO  5

typedef struct {
    nuc_buf_t frames;
    size_t records;
    nuc_ticket_t *tickets;
    nuc_ticket_t **tickets_end;
} nuc_group_t;

/* How much room there is, as of the last tick. */
typedef struct {
    uint64_t used;       /* bytes of all writers' files */
    uint64_t free_bytes; /* of the file system, for unprivileged users */
    uint64_t drain_rate; /* bytes/s that the worker removes, smoothed */
    uint64_t counted_at; /* µs, monotonic */
} nuc_space_t;

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
    nuc_err_t state; /* why nothing is accepted, or NUC_OK */
    unsigned retry_after;

    /* the same as state.rc, to be looked at without the mutex */
    atomic_int state_rc;

    /* the flusher's alone */
    nuc_group_t flight;
    nuc_uuid_source_t uuids;
    nuc_uuid_t writer;
    char path[NUC_PATH_MAX]; /* of the writer's directory; empty until it is there */
    int lock_fd;
    nuc_log_head_t *head;
    int segment_fd; /* -1: the next group opens one */
    uint32_t salt;
    uint32_t group;
    uint64_t offset;   /* end of the last durable group in the segment */
    uint64_t next;     /* sequence of the next record */
    uint64_t durable;  /* the sequence after the last durable record */
    nuc_err_t failure; /* the last group's, until a probe succeeds */
    nuc_space_t space;
} nuc_log_t;

static void *nuc_log_flusher(void *data);
static void nuc_log_start(nuc_log_t *log);
static void nuc_log_classify(nuc_err_t *err);
static int nuc_log_wait(nuc_log_t *log);
static void nuc_log_commit(nuc_log_t *log);
static nuc_rc_t nuc_log_write_group(nuc_log_t *log, nuc_err_t *err);
static void nuc_log_seal_frames(nuc_log_t *log);
static nuc_rc_t nuc_log_take_back(nuc_log_t *log, nuc_rc_t rc);
static nuc_rc_t nuc_log_open_segment(nuc_log_t *log, nuc_err_t *err);
static void nuc_log_close_segment(nuc_log_t *log);
static nuc_rc_t nuc_log_make_writer(nuc_log_t *log, nuc_err_t *err);
static int nuc_log_tick_due(const nuc_log_t *log);
static void nuc_log_tick(nuc_log_t *log);
static void nuc_log_probe(nuc_log_t *log);
static nuc_rc_t nuc_log_count_space(nuc_log_t *log, nuc_err_t *err);
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

static void nuc_group_trim(nuc_group_t *group)
{
    if (group->frames.capacity > NUC_GATHER_KEEP &&
        group->frames.len < group->frames.capacity / 8) {
        nuc_buf_free(&group->frames);
    }

    nuc_group_init(group);
}

/* The event thread's side. */

static nuc_rc_t nuc_log_submit(nuc_queue_t *queue, const nuc_record_t *records,
                               size_t count, nuc_ticket_t *ticket, nuc_err_t *err)
{
    size_t i, length, size, before, total = 0;
    uint8_t *frame;
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

    frame = nuc_buf_reserve(frames, total);
    if (frame == NULL) {
        nuc_buf_reset(frames);
        frames->len = before;
        rc = nuc_err_set(err, NUC_NOMEM, "no memory for %zu bytes of records", total);
        goto done;
    }

    for (i = 0; i < count; i++) {
        length = nuc_record_encoded_len(&records[i]);
        size = nuc_frame_size(length);

        memset(frame + size - NUC_FRAME_ALIGN, 0, NUC_FRAME_ALIGN);
        nuc_frame_begin(frame, (uint32_t) length,
                        i + 1 == count ? NUC_FRAME_END_OF_BATCH : 0);
        nuc_record_encode(&records[i], frame + NUC_FRAME_HEADER_LEN);
        frame += size;
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

static void nuc_log_free(nuc_log_t *log)
{
    if (log->head != NULL) {
        log->sys->unmap(log->sys, log->head, NUC_HEAD_LEN);
    }

    if (log->lock_fd != -1) {
        log->sys->close(log->sys, log->lock_fd);
    }

    close(log->wake_fd);
    nuc_buf_free(&log->gather.frames);
    nuc_buf_free(&log->flight.frames);
    pthread_cond_destroy(&log->finished);
    pthread_cond_destroy(&log->work);
    pthread_mutex_destroy(&log->mutex);
    free(log);
}

static void nuc_deadline(unsigned ms, struct timespec *ts)
{
    clock_gettime(CLOCK_MONOTONIC, ts);

    ts->tv_sec += ms / 1000;
    ts->tv_nsec += (long) (ms % 1000) * 1000000;

    if (ts->tv_nsec >= 1000000000) {
        ts->tv_sec++;
        ts->tv_nsec -= 1000000000;
    }
}

static nuc_rc_t nuc_log_close(nuc_queue_t *queue, unsigned deadline_ms, nuc_err_t *err)
{
    int has_finished;
    nuc_log_t *log = (nuc_log_t *) queue;
    struct timespec deadline;

    nuc_deadline(deadline_ms, &deadline);

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

nuc_rc_t nuc_log_prepare(const nuc_sys_t *sys, const char *dir, nuc_err_t *err)
{
    return nuc_fs_make_path(sys, dir, NUC_LOG_DIR_MODE, "log-queue-dir", err);
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
    log->lock_fd = -1;
    log->segment_fd = -1;
    log->next = 1;
    log->durable = 1;
    log->done_end = &log->done;
    nuc_group_init(&log->gather);
    nuc_group_init(&log->flight);
    nuc_uuid_source_init(&log->uuids);
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
    nuc_log_start(log);

    while (nuc_log_wait(log)) {
        if (log->flight.tickets != NULL) {
            nuc_log_commit(log);
        }

        if (nuc_log_tick_due(log)) {
            nuc_log_tick(log);
        }
    }

    nuc_log_close_segment(log);

    pthread_mutex_lock(&log->mutex);
    log->has_finished = 1;
    pthread_cond_signal(&log->finished);
    pthread_mutex_unlock(&log->mutex);

    return NULL;
}

static void nuc_log_start(nuc_log_t *log)
{
    log->failure.rc = nuc_log_make_writer(log, &log->failure);
    nuc_log_classify(&log->failure);
    nuc_log_tick(log);
}

/* Whatever call found the disk full, the client is told so, and not that the disk fails.
 */
static void nuc_log_classify(nuc_err_t *err)
{
    if (err->rc == NUC_IO && (err->sys_errno == ENOSPC || err->sys_errno == EDQUOT)) {
        err->rc = NUC_FULL;
    }
}

/*
 * Wait for a group, or for the next tick.  Returns 0 when closing and all is written.
 * What gathered while the last group was written is taken at once, kicked or not.
 */
static int nuc_log_wait(nuc_log_t *log)
{
    int go_on = 1;
    struct timespec tick;

    nuc_deadline(log->options.tick_ms, &tick);

    pthread_mutex_lock(&log->mutex);

    if (!log->stop && !(log->kicked && log->gather.records > 0)) {
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

    was_empty = log->done == NULL;
    *log->done_end = log->flight.tickets;
    log->done_end = log->flight.tickets_end;

    pthread_mutex_unlock(&log->mutex);

    if (was_empty) {
        while (write(log->wake_fd, &one, sizeof(one)) == -1 && errno == EINTR) {
            continue;
        }
    }

    nuc_group_trim(&log->flight);
}

static void nuc_log_commit(nuc_log_t *log)
{
    nuc_rc_t rc;
    nuc_err_t err;

    rc = nuc_log_write_group(log, &err);

    if (rc != NUC_OK) {
        nuc_log_classify(&err);
        rc = err.rc;
        log->failure = err;
        nuc_log_tick(log);
    }

    nuc_log_complete(log, rc);
}

/*
 * Write and sync the group.  NUC_OK: durable (I1).  NUC_FULL, NUC_IO: none of it is on
 * disk, or will be (I3).  NUC_UNKNOWN: the segment is given up, the next group begins
 * another (I4).
 */
static nuc_rc_t nuc_log_write_group(nuc_log_t *log, nuc_err_t *err)
{
    nuc_rc_t rc;
    const nuc_sys_t *sys = log->sys;
    const nuc_buf_t *frames = &log->flight.frames;

    if (log->segment_fd != -1 && log->offset >= log->options.segment_size) {
        nuc_log_close_segment(log);
    }

    if (log->segment_fd == -1) {
        rc = nuc_log_open_segment(log, err);
        if (rc != NUC_OK) {
            return rc;
        }
    }

    nuc_log_seal_frames(log);

    rc = nuc_sys_write_all(sys, log->segment_fd, frames->data, frames->len,
                           (off_t) log->offset, err);
    if (rc != NUC_OK) {
        err->rc = nuc_log_take_back(log, rc);
        return err->rc;
    }

    if (sys->fdatasync(sys, log->segment_fd, "log-group") == -1) {
        nuc_err_sys(err, NUC_UNKNOWN, errno, "sync of a segment in \"%s\" failed",
                    log->path);
        nuc_log_close_segment(log);
        log->next += log->flight.records;
        return NUC_UNKNOWN;
    }

    log->offset += frames->len;
    log->next += log->flight.records;
    log->durable = log->next;
    log->space.used += frames->len;
    atomic_store_explicit(&log->head->durable, htole64(log->durable),
                          memory_order_release);

    return NUC_OK;
}

static void nuc_log_seal_frames(nuc_log_t *log)
{
    uint8_t *frame, *end, *following;
    uint64_t sequence = log->next;

    log->group++;

    frame = log->flight.frames.data;
    end = frame + log->flight.frames.len;

    while (frame < end) {
        following = frame + nuc_frame_size(nuc_frame_length(frame));

        if (following == end) {
            nuc_frame_add_flags(frame, NUC_FRAME_END_OF_GROUP);
        }

        nuc_frame_seal(frame, sequence++, log->group, log->salt);
        frame = following;
    }
}

/*
 * A write failed: make sure that no part of the group can come back after a power cut, so
 * that the clients may be told that nothing was stored.  Where that fails too, nobody
 * knows.
 */
static nuc_rc_t nuc_log_take_back(nuc_log_t *log, nuc_rc_t rc)
{
    const nuc_sys_t *sys = log->sys;

    if (sys->ftruncate(sys, log->segment_fd, (off_t) log->offset) == 0 &&
        sys->fdatasync(sys, log->segment_fd, "log-take-back") == 0) {
        log->group--;
        return rc;
    }

    nuc_log_close_segment(log);
    log->next += log->flight.records;

    return NUC_UNKNOWN;
}

/*
 * Create the next segment.  Its entry in the directory is durable before the first group
 * can be acknowledged (I2); its header becomes so together with that group.
 */
static nuc_rc_t nuc_log_open_segment(nuc_log_t *log, nuc_err_t *err)
{
    int fd;
    char name[NUC_LOG_NAME_MAX], path[NUC_PATH_MAX];
    uint8_t header_bytes[NUC_SEGMENT_HEADER_LEN];
    nuc_rc_t rc;
    const nuc_sys_t *sys = log->sys;
    nuc_segment_header_t header;

    if (log->path[0] == '\0') {
        rc = nuc_log_make_writer(log, err);
        if (rc != NUC_OK) {
            return rc;
        }
    }

    nuc_segment_name(log->next, NUC_LOG_SEGMENT_SUFFIX, name);

    rc = nuc_path_join(path, log->path, name, err);
    if (rc != NUC_OK) {
        return rc;
    }

    /* A file of this name can only be what an open that failed below left behind. */
    fd = sys->open(sys, path, O_RDWR | O_CREAT | O_TRUNC, NUC_LOG_FILE_MODE);
    if (fd == -1) {
        return nuc_err_sys(err, NUC_IO, errno, "open of \"%s\" failed", path);
    }

    /* Only the blocks, not the length: it is a wish, a disk that is full says so here. */
    if (sys->fallocate(sys, fd, FALLOC_FL_KEEP_SIZE, 0,
                       (off_t) log->options.segment_size) == -1 &&
        errno == ENOSPC) {
        rc = nuc_err_sys(err, NUC_FULL, errno, "no room for a segment in \"%s\"",
                         log->path);
        goto failed;
    }

    header.writer = log->writer;
    header.first = log->next;
    header.created = nuc_time_now();
    header.prev_end = log->durable;
    nuc_segment_header_encode(&header, header_bytes);

    rc = nuc_sys_write_all(sys, fd, header_bytes, sizeof(header_bytes), 0, err);
    if (rc != NUC_OK) {
        goto failed;
    }

    rc = nuc_fs_sync_dir(sys, log->path, "log-new-segment", err);
    if (rc != NUC_OK) {
        goto failed;
    }

    log->segment_fd = fd;
    log->salt = nuc_segment_salt(&log->writer, log->next);
    log->group = 0;
    log->offset = NUC_SEGMENT_HEADER_LEN;

    /* before "durable" passes its first record: see README.md, the reader */
    atomic_store_explicit(&log->head->segment, htole64(log->next), memory_order_release);

    return NUC_OK;

failed:

    sys->close(sys, fd);

    return rc;
}

/*
 * Truncation gives back the blocks beyond the end, and what a failed group left there.
 * What is durable stays so without a sync.
 */
static void nuc_log_close_segment(nuc_log_t *log)
{
    const nuc_sys_t *sys = log->sys;

    if (log->segment_fd == -1) {
        return;
    }

    /* a failure costs disk space until the keeper has sealed the segment, nothing else */
    (void) sys->ftruncate(sys, log->segment_fd, (off_t) log->offset);
    (void) sys->close(sys, log->segment_fd);
    log->segment_fd = -1;

    atomic_store_explicit(&log->head->closed, htole64(log->durable),
                          memory_order_release);
}

/* The writer's directory. */

static nuc_rc_t nuc_log_make_lock(nuc_log_t *log, const char *dir, nuc_err_t *err)
{
    char path[NUC_PATH_MAX];
    nuc_rc_t rc;
    const nuc_sys_t *sys = log->sys;

    rc = nuc_path_join(path, dir, NUC_LOG_LOCK_NAME, err);
    if (rc != NUC_OK) {
        return rc;
    }

    log->lock_fd = sys->open(sys, path, O_RDWR | O_CREAT | O_EXCL, NUC_LOG_FILE_MODE);
    if (log->lock_fd == -1) {
        return nuc_err_sys(err, NUC_IO, errno, "open of \"%s\" failed", path);
    }

    if (sys->lock(sys, log->lock_fd) == -1) {
        return nuc_err_sys(err, NUC_IO, errno, "lock of \"%s\" failed", path);
    }

    return NUC_OK;
}

/* The page is written before it is mapped: a mapped hole on a full disk would be a
 * SIGBUS. */
static nuc_rc_t nuc_log_make_head(nuc_log_t *log, const char *dir, nuc_err_t *err)
{
    int fd;
    char path[NUC_PATH_MAX];
    nuc_rc_t rc;
    const nuc_sys_t *sys = log->sys;
    union {
        nuc_log_head_t head;
        uint8_t bytes[NUC_HEAD_LEN];
    } page;

    rc = nuc_path_join(path, dir, NUC_LOG_HEAD_NAME, err);
    if (rc != NUC_OK) {
        return rc;
    }

    fd = sys->open(sys, path, O_RDWR | O_CREAT | O_EXCL, NUC_LOG_FILE_MODE);
    if (fd == -1) {
        return nuc_err_sys(err, NUC_IO, errno, "open of \"%s\" failed", path);
    }

    memset(&page, 0, sizeof(page));
    nuc_head_fill(&page.head, &log->writer);
    atomic_store(&page.head.durable, htole64(log->durable));

    rc = nuc_sys_write_all(sys, fd, &page, sizeof(page), 0, err);

    if (rc == NUC_OK) {
        log->head = sys->map(sys, fd, NUC_HEAD_LEN, 1);

        if (log->head == NULL) {
            rc = nuc_err_sys(err, NUC_IO, errno, "mmap of \"%s\" failed", path);
        }
    }

    sys->close(sys, fd);

    return rc;
}

static void nuc_log_remove_file(nuc_log_t *log, const char *dir, const char *name)
{
    char path[NUC_PATH_MAX];

    if (nuc_path_join(path, dir, name, NULL) == NUC_OK) {
        (void) log->sys->unlink(log->sys, path);
    }
}

/* What an attempt that failed has made so far; if this fails too, the keeper finds the
 * rest. */
static void nuc_log_unmake_writer(nuc_log_t *log, const char *dir)
{
    const nuc_sys_t *sys = log->sys;

    if (log->head != NULL) {
        sys->unmap(sys, log->head, NUC_HEAD_LEN);
        log->head = NULL;
    }

    nuc_log_remove_file(log, dir, NUC_LOG_HEAD_NAME);
    nuc_log_remove_file(log, dir, NUC_LOG_LOCK_NAME);
    (void) sys->rmdir(sys, dir);

    if (log->lock_fd != -1) {
        sys->close(sys, log->lock_fd);
        log->lock_fd = -1;
    }
}

/*
 * Make the directory under a temporary name, so that nobody meets it unlocked, and give
 * it its own.  The new name is durable before anything in it can be acknowledged (I2).
 */
static nuc_rc_t nuc_log_make_writer(nuc_log_t *log, nuc_err_t *err)
{
    char *end, text[NUC_UUID_TEXT_LEN + 1],
        name[sizeof(text) + sizeof(NUC_LOG_NEW_PREFIX)];
    char made[NUC_PATH_MAX], path[NUC_PATH_MAX];
    nuc_rc_t rc;
    const nuc_sys_t *sys = log->sys;

    /* again: it may be another directory than the one nginx started with */
    rc = nuc_log_prepare(sys, log->dir, err);
    if (rc != NUC_OK) {
        return rc;
    }

    rc = nuc_uuid_v7(&log->uuids, nuc_time_now(), &log->writer, err);
    if (rc != NUC_OK) {
        return rc;
    }

    end = nuc_uuid_format(&log->writer, text);
    *end = '\0';
    snprintf(name, sizeof(name), "%s%s", NUC_LOG_NEW_PREFIX, text);

    rc = nuc_path_join(made, log->dir, name, err);
    if (rc != NUC_OK) {
        return rc;
    }

    rc = nuc_path_join(path, log->dir, text, err);
    if (rc != NUC_OK) {
        return rc;
    }

    if (sys->mkdir(sys, made, NUC_LOG_DIR_MODE) == -1) {
        rc = nuc_err_sys(err, NUC_IO, errno, "mkdir \"%s\" failed", made);

        if (err->sys_errno == EACCES) {
            nuc_err_hint(err, "nginx's user must be able to write \"%.100s\"", log->dir);
        }

        return rc;
    }

    rc = nuc_log_make_lock(log, made, err);

    if (rc == NUC_OK) {
        rc = nuc_log_make_head(log, made, err);
    }

    if (rc == NUC_OK && sys->rename(sys, made, path) == -1) {
        rc = nuc_err_sys(err, NUC_IO, errno, "rename of \"%s\" to \"%s\" failed", made,
                         path);
    }

    if (rc != NUC_OK) {
        nuc_log_unmake_writer(log, made);
        return rc;
    }

    rc = nuc_fs_sync_dir(sys, log->dir, "log-new-writer", err);
    if (rc != NUC_OK) {
        nuc_log_unmake_writer(log, path);
        return rc;
    }

    strcpy(log->path, path);

    return NUC_OK;
}

/* Room and health: once a second, and after a failure. */

/* Early when the group just written filled the queue. */
static int nuc_log_tick_due(const nuc_log_t *log)
{
    return nuc_time_monotonic() - log->space.counted_at >=
               (uint64_t) log->options.tick_ms * 1000 ||
           (log->space.used >= log->options.max_size &&
            atomic_load_explicit(&log->state_rc, memory_order_relaxed) == NUC_OK);
}

static void nuc_log_tick(nuc_log_t *log)
{
    nuc_err_t err;

    nuc_log_probe(log);

    err.rc = nuc_log_count_space(log, &err);
    nuc_log_update_state(log, &err);

    /* what is delivered can be removed once its segment is finished: don't hold on to it
     */
    if (atomic_load_explicit(&log->state_rc, memory_order_relaxed) == NUC_FULL &&
        log->offset > NUC_SEGMENT_HEADER_LEN) {
        nuc_log_close_segment(log);
    }
}

/*
 * After a failure: does the disk take a small write again?  Only a sync that succeeded
 * opens the door, so that a disk that fails all syncs leaves no further client in doubt
 * (I5).
 */
static void nuc_log_probe(nuc_log_t *log)
{
    nuc_rc_t rc;
    nuc_err_t err;
    const nuc_sys_t *sys = log->sys;

    if (log->failure.rc == NUC_OK) {
        return;
    }

    if (log->segment_fd == -1) {
        rc = nuc_log_open_segment(log, &err);
        if (rc != NUC_OK) {
            nuc_log_classify(&err);
            log->failure = err;
            return;
        }
    }

    if (sys->fallocate(sys, log->segment_fd, FALLOC_FL_KEEP_SIZE, (off_t) log->offset,
                       NUC_HEAD_LEN) == -1 &&
        errno == ENOSPC) {
        nuc_err_sys(&log->failure, NUC_FULL, errno, "no room in \"%s\"", log->path);
        return;
    }

    if (sys->fdatasync(sys, log->segment_fd, "log-probe") == -1) {
        nuc_err_sys(&log->failure, NUC_IO, errno, "sync of a segment in \"%s\" failed",
                    log->path);
        nuc_log_close_segment(log);
        return;
    }

    log->failure.rc = NUC_OK;
}

typedef struct {
    nuc_log_t *log;
    char path[NUC_PATH_MAX]; /* of the writer's directory being counted */
    uint64_t bytes;
} nuc_log_count_t;

static int nuc_log_count_file(void *ctx, const char *name)
{
    char path[NUC_PATH_MAX];
    struct stat st;
    nuc_log_count_t *count = ctx;

    if (nuc_path_join(path, count->path, name, NULL) == NUC_OK &&
        count->log->sys->stat(count->log->sys, path, &st) == 0) {
        count->bytes += (uint64_t) st.st_size;
    }

    return 0;
}

/* A writer's directory that is removed while it is counted holds nothing. */
static int nuc_log_count_writer(void *ctx, const char *name)
{
    nuc_uuid_t writer;
    nuc_log_count_t *count = ctx;

    if (nuc_uuid_parse(nuc_str(name), &writer) == NUC_OK &&
        nuc_path_join(count->path, count->log->dir, name, NULL) == NUC_OK) {
        (void) count->log->sys->list(count->log->sys, count->path, nuc_log_count_file,
                                     count);
    }

    return 0;
}

static nuc_rc_t nuc_log_count_space(nuc_log_t *log, nuc_err_t *err)
{
    uint64_t now, removed, passed;
    nuc_space_t *space = &log->space;
    struct statvfs st;
    nuc_log_count_t count = {.log = log};

    now = nuc_time_monotonic();
    passed = now - space->counted_at;
    space->counted_at = now;

    if (log->sys->list(log->sys, log->dir, nuc_log_count_writer, &count) == -1) {
        return nuc_err_sys(err, NUC_IO, errno, "listing of \"%s\" failed", log->dir);
    }

    if (log->sys->statvfs(log->sys, log->dir, &st) == -1) {
        return nuc_err_sys(err, NUC_IO, errno, "statvfs of \"%s\" failed", log->dir);
    }

    if (count.bytes < space->used && passed > 0) {
        removed = (space->used - count.bytes) * 1000000 / passed;
        space->drain_rate = (3 * space->drain_rate + removed) / 4;
    }

    space->used = count.bytes;
    space->free_bytes = (uint64_t) st.f_bavail * st.f_frsize;

    return NUC_OK;
}

/* How long until the worker has made room for a segment, at the pace it was seen to keep.
 */
static unsigned nuc_log_retry_after(const nuc_log_t *log)
{
    uint64_t missing, seconds;

    if (log->space.drain_rate == 0) {
        return NUC_RETRY_AFTER_FULL;
    }

    missing = log->options.segment_size;

    if (log->space.used > log->options.max_size) {
        missing += log->space.used - log->options.max_size;
    }

    seconds = missing / log->space.drain_rate + 1;

    return seconds > NUC_RETRY_AFTER_MAX ? NUC_RETRY_AFTER_MAX : (unsigned) seconds;
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

    pthread_mutex_unlock(&log->mutex);

    atomic_store_explicit(&log->state_rc, (int) err->rc, memory_order_relaxed);
}
