/*
 * The log on disk: the writer, which is a queue, and the reader, recovery and removal,
 * which are the worker's.  The layout, the rules and the invariants are in README.md
 * beside this file.
 */

#ifndef NUC_LOG_H
#define NUC_LOG_H

#include "nuc_queue.h"
#include "nuc_sys.h"
#include "nuc_uuid.h"

/* The writer. */

typedef struct {
    const char *dir;       /* the queue's directory; it must exist */
    uint64_t max_size;     /* bytes of all writers' files together; at it: NUC_FULL */
    uint64_t min_free;     /* bytes the file system must keep free; under it: NUC_FULL */
    uint64_t segment_size; /* bytes after which a new segment begins */
    uint64_t max_pending;  /* bytes that may wait for the disk; over it: NUC_FULL */
    unsigned tick_ms;      /* how often room and health are looked at; 0: 1000 */
    uint64_t stride;       /* bytes of a group that the device gets at a time; 0: 512k */
    int niceness;          /* added to that of the thread that writes, see nice(2) */
    size_t keep;           /* bytes of a group's buffer that are kept for the next group
                              that is as large, if it comes within a tick; 0: 8 MB */
    const nuc_sys_t *sys;  /* must outlive the queue */
} nuc_log_options_t;

/*
 * Make the entries that lead to the queue's directory durable, and the directory if it is
 * not there.  Whoever made it has not synced it; the master process of nginx calls this
 * with the rights to.  NUC_INVALID: it lies in memory, where nothing can be durable.
 */
nuc_rc_t nuc_log_prepare(const nuc_sys_t *sys, const char *dir, nuc_err_t *err);

/*
 * Starts the flusher thread, which makes the writer's directory and then its segments;
 * does not wait for it (ready answers NUC_AGAIN until then).  Call it after fork.
 */
nuc_rc_t nuc_log_open(const nuc_log_options_t *options, nuc_queue_t **queue,
                      nuc_err_t *err);

/* The reader. */

typedef struct nuc_log_reader_s nuc_log_reader_t;

/* How far a consumer has read one writer: the next sequence to read and where to find it.
 */
typedef struct {
    nuc_uuid_t writer;
    uint64_t sequence; /* of the next record */
    uint64_t
        segment;     /* first sequence of its segment, the segment's name; 0: not begun */
    uint64_t offset; /* in that segment */
    uint64_t skipped; /* of the sequences before "sequence", those that were no records to
                         read: before the reading began, or given up by the writer */
} nuc_log_position_t;

/* The one of that writer; NULL: there is none. */
const nuc_log_position_t *nuc_log_position_of(const nuc_log_position_t *positions,
                                              size_t count, const nuc_uuid_t *writer);

/* Where reading begins in a writer that has no position set. */
typedef enum {
    NUC_LOG_EARLIEST = 0, /* at the first record that is there now */
    NUC_LOG_LATEST,       /* at its durable end as of now */
    NUC_LOG_ALL /* at its very first record: what is not there any more is lost */
} nuc_log_from_t;

/*
 * Reads every writer's durable records, each writer's in order.  Writers that appear
 * after the first refresh are read from their very first record.
 */
nuc_rc_t nuc_log_reader_open(const nuc_sys_t *sys, const char *dir, nuc_log_from_t from,
                             nuc_log_reader_t **reader, nuc_err_t *err);
void nuc_log_reader_close(nuc_log_reader_t *reader);

/* Before the first next: continue this writer from a committed position. */
nuc_rc_t nuc_log_reader_seek(nuc_log_reader_t *reader, const nuc_log_position_t *position,
                             nuc_err_t *err);

/*
 * From now on read no further than these, up to each one's sequence, and nothing of a
 * writer that is not among them.  Refresh first: writers that the reader does not know
 * are not remembered.
 */
void nuc_log_reader_until(nuc_log_reader_t *reader, const nuc_log_position_t *positions,
                          size_t count);

/*
 * The next durable record; its slices are valid until the next call.  NUC_AGAIN: all was
 * read, ask again in a while.  NUC_CORRUPT: damaged bytes were passed over, or files with
 * records were removed before they were read; "err" says where and *lost how many
 * sequences went with them; the reader goes on behind them at the next call.
 */
nuc_rc_t nuc_log_reader_next(nuc_log_reader_t *reader, nuc_record_t *record,
                             uint64_t *lost, nuc_err_t *err);

/* Look for new writers and new durable ends; next does so by itself when it has run dry.
 */
nuc_rc_t nuc_log_reader_refresh(nuc_log_reader_t *reader, nuc_err_t *err);

/* The positions behind the last record that next gave; *positions is valid until the next
 * call. */
size_t nuc_log_reader_positions(nuc_log_reader_t *reader,
                                const nuc_log_position_t **positions);

/* The position of the writer that next last gave something of, or passed over; NULL: of
 * none since a refresh. */
const nuc_log_position_t *nuc_log_reader_last(const nuc_log_reader_t *reader);

/* The sequence after the writer's last durable record, as its head says; 0: that is not
 * known.  After a power cut it may be old. */
uint64_t nuc_log_reader_durable(const nuc_log_reader_t *reader, const nuc_uuid_t *writer);

/*
 * When the oldest of the records was received that come next, of each writer one: µs
 * since 1970, 0 when there are none.  It reads them, so the reader is good for nothing
 * more.
 */
nuc_rc_t nuc_log_reader_oldest(nuc_log_reader_t *reader, uint64_t *received,
                               nuc_err_t *err);

typedef struct {
    uint64_t records; /* durable and not read yet */
    uint64_t bytes;
} nuc_log_lag_t;

nuc_rc_t nuc_log_reader_lag(nuc_log_reader_t *reader, nuc_log_lag_t *lag, nuc_err_t *err);

/* The keeper: what one process per queue directory does for all. */

typedef enum {
    NUC_LOG_ADOPTED, /* a dead writer's log was recovered; records: how many it holds */
    NUC_LOG_CUT,     /* a torn tail of "bytes" was cut */
    NUC_LOG_QUARANTINED, /* "bytes" of damage in the middle were copied to quarantine/ */
    NUC_LOG_SEALED,      /* a segment got its index */
    NUC_LOG_REMOVED,     /* a segment that every consumer has passed was unlinked */
    NUC_LOG_RETIRED      /* a dead writer's empty directory was removed */
} nuc_log_event_t;

typedef struct {
    nuc_log_event_t event;
    nuc_uuid_t writer;
    uint64_t segment; /* first sequence, 0 when the event is about the writer */
    uint64_t records;
    uint64_t bytes;
    const char *path; /* of the segment, or of the copy in quarantine/ */
} nuc_log_report_t;

typedef void (*nuc_log_report_pt)(void *ctx, const nuc_log_report_t *report);

typedef struct nuc_log_keeper_s nuc_log_keeper_t;

/* Takes the keeper's lock of the directory: NUC_BUSY when another process is its keeper.
 */
nuc_rc_t nuc_log_keeper_open(const nuc_sys_t *sys, const char *dir,
                             nuc_log_report_pt report, void *ctx,
                             nuc_log_keeper_t **keeper, nuc_err_t *err);
void nuc_log_keeper_close(nuc_log_keeper_t *keeper);

/*
 * One round: recover writers that died, seal finished segments.  An error about one
 * writer does not stop the others; the first is returned.
 */
nuc_rc_t nuc_log_keeper_tend(nuc_log_keeper_t *keeper, nuc_err_t *err);

/*
 * Unlink the sealed segments that lie wholly before every consumer's durable position,
 * and the directories of dead writers that became empty.  "consumers" is one array of
 * positions per registered consumer; a consumer that lacks a writer has read nothing of
 * it.  No consumer at all: nothing is removed.
 */
typedef struct {
    const nuc_log_position_t *positions;
    size_t count;
} nuc_log_consumer_t;

nuc_rc_t nuc_log_keeper_remove(nuc_log_keeper_t *keeper,
                               const nuc_log_consumer_t *consumers, size_t count,
                               nuc_err_t *err);

/*
 * Where the record "rid" lies: its segment's path into "path" (NUC_PATH_MAX bytes) and
 * its offset. Looks into the indexes of sealed segments, then into the others.
 * NUC_NOT_FOUND.
 */
nuc_rc_t nuc_log_find(const nuc_sys_t *sys, const char *dir,
                      const uint8_t rid[NUC_RID_LEN], char *path, uint64_t *offset,
                      nuc_err_t *err);

#endif /* NUC_LOG_H */
