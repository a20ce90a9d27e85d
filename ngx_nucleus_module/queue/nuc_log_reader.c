/*
 * The reader: every writer's durable records, each writer's in order.
 *
 * Per writer it stands in one segment and knows a limit, the sequence that it must not
 * reach.  The limit of a sealed segment is in its index, that of one whose writer went on
 * to another in the next one's header, and that of the segment being written is what the
 * head publishes.  The head is looked at before the directory: the writer makes a new
 * segment's file first and publishes a record in it later, so a published end that was
 * read before a listing without a successor belongs to the segment at hand (I6).
 */

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "nuc_log.h"
#include "nuc_log_index.h"
#include "nuc_log_list.h"
#include "nuc_log_scan.h"

/* Records read from one writer before the next has its turn. */
#define NUC_READER_TURN 4096

typedef struct {
    nuc_log_position_t position;
    char path[NUC_PATH_MAX];
    nuc_log_head_t *head; /* mapped; NULL when there is no whole one */
    nuc_scan_t scan;      /* closed when the position has no segment */
    uint64_t limit;       /* of the segment; as of the last look */
    uint64_t damaged;     /* offset in it of what was told last; 0: nothing */
    uint64_t
        successor;  /* first sequence of the next segment; 0: none as of the last look */
    uint64_t until; /* sequence that is not read, see nuc_log_reader_until */
    int seen;       /* in the listing of this refresh */
    int begun;      /* its position says where it is begun */
} nuc_log_source_t;

struct nuc_log_reader_s {
    const nuc_sys_t *sys;
    char dir[NUC_PATH_MAX];
    nuc_log_from_t from;
    int refreshed;
    int bounded; /* by nuc_log_reader_until: nothing of a writer that is new */

    nuc_log_source_t **sources;
    size_t nsources;
    size_t capacity;
    size_t turn;                  /* whose turn it is */
    unsigned taken;               /* in this turn */
    const nuc_log_source_t *last; /* what next gave something of; NULL: it may be gone */

    nuc_writer_list_t listed;
    nuc_segment_list_t segments;
    nuc_log_position_t *positions; /* what nuc_log_reader_positions last gave */
};

static nuc_rc_t nuc_source_next(nuc_log_reader_t *reader, nuc_log_source_t *source,
                                nuc_record_t *record, uint64_t *lost, nuc_err_t *err);
static nuc_rc_t nuc_source_advance(nuc_log_reader_t *reader, nuc_log_source_t *source,
                                   uint64_t *lost, nuc_err_t *err);
static nuc_rc_t nuc_source_look(nuc_log_reader_t *reader, nuc_log_source_t *source,
                                nuc_err_t *err);

nuc_rc_t nuc_log_reader_open(const nuc_sys_t *sys, const char *dir, nuc_log_from_t from,
                             nuc_log_reader_t **out, nuc_err_t *err)
{
    nuc_log_reader_t *reader;

    if (strlen(dir) >= NUC_PATH_MAX) {
        return nuc_err_set(err, NUC_TOO_LARGE, "queue directory \"%s\" is too long", dir);
    }

    reader = calloc(1, sizeof(nuc_log_reader_t));
    if (reader == NULL) {
        return nuc_err_set(err, NUC_NOMEM, "no memory for a reader");
    }

    reader->sys = sys;
    reader->from = from;
    strcpy(reader->dir, dir);

    *out = reader;

    return NUC_OK;
}

static void nuc_source_free(nuc_log_reader_t *reader, nuc_log_source_t *source)
{
    if (source->head != NULL) {
        reader->sys->unmap(reader->sys, source->head, NUC_HEAD_LEN);
    }

    nuc_scan_free(&source->scan);
    free(source);
}

void nuc_log_reader_close(nuc_log_reader_t *reader)
{
    size_t i;

    for (i = 0; i < reader->nsources; i++) {
        nuc_source_free(reader, reader->sources[i]);
    }

    free(reader->sources);
    free(reader->listed.ids);
    free(reader->segments.firsts);
    free(reader->positions);
    free(reader);
}

/* A source for "writer", new or known.  NULL for want of memory. */
static nuc_log_source_t *nuc_reader_source(nuc_log_reader_t *reader,
                                           const nuc_uuid_t *writer)
{
    size_t i;
    nuc_log_source_t *source, **sources;

    for (i = 0; i < reader->nsources; i++) {
        if (nuc_uuid_cmp(&reader->sources[i]->position.writer, writer) == 0) {
            return reader->sources[i];
        }
    }

    sources = nuc_list_grow(reader->sources, &reader->capacity, reader->nsources,
                            sizeof(*sources));
    if (sources == NULL) {
        return NULL;
    }

    reader->sources = sources;

    source = calloc(1, sizeof(*source));
    if (source == NULL ||
        nuc_log_writer_path(reader->dir, writer, source->path, NULL) != NUC_OK) {
        free(source);
        return NULL;
    }

    source->position.writer = *writer;
    source->position.sequence = 1;
    source->until = reader->bounded ? 0 : UINT64_MAX;
    nuc_scan_init(&source->scan, reader->sys);
    reader->sources[reader->nsources++] = source;

    return source;
}

nuc_rc_t nuc_log_reader_seek(nuc_log_reader_t *reader, const nuc_log_position_t *position,
                             nuc_err_t *err)
{
    nuc_log_source_t *source;

    source = nuc_reader_source(reader, &position->writer);
    if (source == NULL) {
        return nuc_err_set(err, NUC_NOMEM, "no memory for a writer's position");
    }

    source->position = *position;
    source->begun = 1;

    return NUC_OK;
}

const nuc_log_position_t *nuc_log_position_of(const nuc_log_position_t *positions,
                                              size_t count, const nuc_uuid_t *writer)
{
    size_t i;

    for (i = 0; i < count; i++) {
        if (nuc_uuid_cmp(&positions[i].writer, writer) == 0) {
            return &positions[i];
        }
    }

    return NULL;
}

void nuc_log_reader_until(nuc_log_reader_t *reader, const nuc_log_position_t *positions,
                          size_t count)
{
    size_t i;
    nuc_log_source_t *source;
    const nuc_log_position_t *until;

    reader->bounded = 1;

    for (i = 0; i < reader->nsources; i++) {
        source = reader->sources[i];
        until = nuc_log_position_of(positions, count, &source->position.writer);
        source->until = until != NULL ? until->sequence : 0;
    }
}

static uint64_t nuc_source_published(const nuc_log_source_t *source)
{
    if (source->head == NULL) {
        return 0;
    }

    return le64toh(atomic_load_explicit(&source->head->durable, memory_order_acquire));
}

/*
 * Where a source begins that has no position.  The head is read before the directory: its
 * writer may begin a segment meanwhile.
 */
static nuc_rc_t nuc_source_begin(nuc_log_reader_t *reader, nuc_log_source_t *source,
                                 nuc_err_t *err)
{
    char path[NUC_PATH_MAX];
    uint64_t begin = nuc_source_published(source);
    nuc_rc_t rc;
    struct stat st;
    nuc_log_from_t from = reader->refreshed ? NUC_LOG_ALL : reader->from;

    if (source->begun) {
        return NUC_OK;
    }

    if (from == NUC_LOG_ALL &&
        nuc_path_join(path, source->path, NUC_LOG_BEGINS_NAME, NULL) == NUC_OK &&
        reader->sys->stat(reader->sys, path, &st) == 0) {
        from = NUC_LOG_EARLIEST;
    }

    if (from == NUC_LOG_ALL) {
        source->begun = 1;
        return NUC_OK;
    }

    if (from == NUC_LOG_EARLIEST) {
        rc = nuc_log_list_segments(reader->sys, source->path, &reader->segments, err);
        if (rc != NUC_OK && rc != NUC_NOT_FOUND) {
            return rc;
        }

        if (reader->segments.count > 0) {
            begin = reader->segments.firsts[0];
        }
    }

    source->position.sequence = begin > 0 ? begin : 1;
    source->position.skipped = source->position.sequence - 1;
    source->begun = 1;

    return NUC_OK;
}

/*
 * Forget sources whose directory was removed, but for those that it took records from
 * which were not read: those are to be told first.
 */
static void nuc_reader_drop_gone(nuc_log_reader_t *reader)
{
    size_t i, kept = 0;

    for (i = 0; i < reader->nsources; i++) {
        if (reader->sources[i]->seen || reader->sources[i]->position.sequence <
                                            nuc_source_published(reader->sources[i])) {
            reader->sources[kept++] = reader->sources[i];
        } else {
            nuc_source_free(reader, reader->sources[i]);
        }
    }

    reader->nsources = kept;

    if (reader->turn >= kept) {
        reader->turn = 0;
    }
}

nuc_rc_t nuc_log_reader_refresh(nuc_log_reader_t *reader, nuc_err_t *err)
{
    size_t i;
    nuc_rc_t rc;
    nuc_log_source_t *source;

    rc = nuc_log_list_writers(reader->sys, reader->dir, &reader->listed, err);
    if (rc != NUC_OK) {
        return rc;
    }

    for (i = 0; i < reader->nsources; i++) {
        reader->sources[i]->seen = 0;
    }

    for (i = 0; i < reader->listed.count; i++) {
        source = nuc_reader_source(reader, &reader->listed.ids[i]);
        if (source == NULL) {
            return nuc_err_set(err, NUC_NOMEM, "no memory for a writer");
        }

        source->seen = 1;

        if (source->head == NULL) {
            source->head =
                nuc_head_map(reader->sys, source->path, &reader->listed.ids[i]);
        }
    }

    for (i = 0; i < reader->nsources; i++) {
        rc = nuc_source_begin(reader, reader->sources[i], err);
        if (rc != NUC_OK) {
            return rc;
        }
    }

    nuc_reader_drop_gone(reader);
    reader->refreshed = 1;
    reader->last = NULL;

    return NUC_OK;
}

nuc_rc_t nuc_log_reader_next(nuc_log_reader_t *reader, nuc_record_t *record,
                             uint64_t *lost, nuc_err_t *err)
{
    size_t tried;
    nuc_rc_t rc;

    if (!reader->refreshed) {
        rc = nuc_log_reader_refresh(reader, err);
        if (rc != NUC_OK) {
            return rc;
        }
    }

    if (reader->taken >= NUC_READER_TURN) {
        reader->taken = 0;
        reader->turn++;
    }

    for (tried = 0; tried < reader->nsources; tried++) {
        if (reader->turn >= reader->nsources) {
            reader->turn = 0;
        }

        rc = nuc_source_next(reader, reader->sources[reader->turn], record, lost, err);

        if (rc != NUC_AGAIN) {
            reader->last = reader->sources[reader->turn];
            reader->taken++;
            return rc;
        }

        reader->taken = 0;
        reader->turn++;
    }

    rc = nuc_log_reader_refresh(reader, err);

    return rc == NUC_OK ? NUC_AGAIN : rc;
}

/* What is missing from offset "from" on, up to the sequence "next", where the scan is. */
static nuc_rc_t nuc_source_lost(nuc_log_source_t *source, uint64_t from, uint64_t next,
                                uint64_t *lost, nuc_err_t *err)
{
    nuc_log_position_t *position = &source->position;

    *lost = next - position->sequence;
    position->sequence = next;
    position->offset = source->scan.offset;

    return nuc_err_set(
        err, NUC_CORRUPT,
        "segment %020llu in \"%s\" is damaged at offset %llu, %llu records "
        "are lost",
        (unsigned long long) position->segment, source->path, (unsigned long long) from,
        (unsigned long long) *lost);
}

/*
 * Damage: pass over it to the next whole frame, or to the limit.  The scan then stays
 * where it is, since the frames beyond the limit, which are to be read when it moves, lie
 * anywhere behind; so damage may be met twice, and is told once.
 */
static nuc_rc_t nuc_source_pass_damage(nuc_log_source_t *source, uint64_t *lost,
                                       nuc_err_t *err)
{
    uint64_t next, from = source->scan.offset;
    nuc_rc_t rc;
    nuc_frame_t frame;

    rc = nuc_scan_resync(&source->scan, source->position.sequence, source->limit, &frame,
                         err);

    if (rc != NUC_OK) {
        source->scan.offset = from;
    }

    if (rc != NUC_OK && rc != NUC_NOT_FOUND) {
        return rc;
    }

    next = rc == NUC_OK ? frame.header.sequence : source->limit;

    if (from == source->damaged && next == source->position.sequence) {
        return NUC_OK;
    }

    source->damaged = from;

    return nuc_source_lost(source, from, next, lost, err);
}

static nuc_rc_t nuc_source_next(nuc_log_reader_t *reader, nuc_log_source_t *source,
                                nuc_record_t *record, uint64_t *lost, nuc_err_t *err)
{
    nuc_rc_t rc;
    nuc_frame_t frame;
    nuc_log_position_t *position = &source->position;

    *lost = 0;

    if (position->sequence >= source->until) {
        return NUC_AGAIN;
    }

    if (source->scan.fd == -1 || position->sequence >= source->limit) {
        rc = nuc_source_advance(reader, source, lost, err);
        if (rc != NUC_OK) {
            return rc;
        }
    }

    for (;;) {
        rc = nuc_scan_frame(&source->scan, &frame, err);

        if (rc == NUC_CORRUPT || rc == NUC_NOT_FOUND ||
            (rc == NUC_OK && frame.header.sequence >= source->limit)) {
            rc = nuc_source_pass_damage(source, lost, err);
            if (rc != NUC_OK) {
                return rc;
            }

            continue;
        }

        if (rc != NUC_OK) {
            return rc;
        }

        if (frame.header.sequence > position->sequence) {
            /* whole, so it is read next; what should stand before it is gone */
            return nuc_source_lost(source, frame.offset, frame.header.sequence, lost,
                                   err);
        }

        nuc_scan_pass(&source->scan, &frame);

        if (frame.header.sequence == position->sequence) {
            break;
        }

        /* before the position that was sought */
    }

    position->sequence++;
    position->offset = source->scan.offset;

    rc = nuc_record_decode(frame.payload, record, err);
    if (rc != NUC_OK) {
        *lost = 1;
        return NUC_CORRUPT;
    }

    return NUC_OK;
}

/* Of the writer that was listed last. */
static int nuc_reader_is_last(const nuc_log_reader_t *reader, uint64_t first)
{
    return reader->segments.count > 0 &&
           reader->segments.firsts[reader->segments.count - 1] == first;
}

/* Learn the limit of the segment that the source stands in, and whether there is another.
 */
static nuc_rc_t nuc_source_look(nuc_log_reader_t *reader, nuc_log_source_t *source,
                                nuc_err_t *err)
{
    size_t i;
    uint64_t published;
    nuc_rc_t rc;
    nuc_scan_t next;
    nuc_index_summary_t summary;
    nuc_log_position_t *position = &source->position;

    nuc_scan_forget(&source->scan);

    published = nuc_source_published(source);
    source->successor = 0;

    if (source->head != NULL && position->sequence < published &&
        le64toh(atomic_load_explicit(&source->head->segment, memory_order_acquire)) ==
            position->segment) {
        source->limit = published;
        return NUC_OK;
    }

    rc = nuc_log_list_segments(reader->sys, source->path, &reader->segments, err);
    if (rc != NUC_OK && rc != NUC_NOT_FOUND) {
        return rc;
    }

    for (i = 0; i < reader->segments.count; i++) {
        if (reader->segments.firsts[i] > position->segment) {
            source->successor = reader->segments.firsts[i];
            break;
        }
    }

    rc = nuc_index_summary(reader->sys, source->path, &position->writer,
                           position->segment, &summary, err);
    if (rc == NUC_OK) {
        source->limit = summary.end;
        return NUC_OK;
    }

    if (rc != NUC_NOT_FOUND) {
        return rc;
    }

    if (source->successor == 0) {
        source->limit = published;
        return NUC_OK;
    }

    nuc_scan_init(&next, reader->sys);

    rc = nuc_scan_open(&next, source->path, &position->writer, source->successor,
                       O_RDONLY, err);
    if (rc == NUC_OK && nuc_reader_is_last(reader, source->successor) &&
        nuc_scan_not_begun(&next, published)) {
        source->limit = published;
    } else if (rc == NUC_OK) {
        source->limit = next.header_valid ? next.header.prev_end : source->successor;
    }

    nuc_scan_free(&next);

    return rc;
}

/* The segment to open for the position: the one that holds it, else the next one there
 * is. */
static uint64_t nuc_source_choose(const nuc_segment_list_t *segments, uint64_t sequence)
{
    size_t i;
    uint64_t chosen = 0;

    for (i = 0; i < segments->count; i++) {
        if (segments->firsts[i] <= sequence || chosen == 0) {
            chosen = segments->firsts[i];
        }
    }

    return chosen;
}

/*
 * Open segment "first" where the position says, or at its beginning.  Sequences between
 * the position and the segment were given up by the writer, unless its header says that
 * the segment before it held some of them durably: those are lost.  Where the header does
 * not say, all of them are.  NUC_NOT_FOUND: the segment is the last, and was not begun.
 */
static nuc_rc_t nuc_source_enter(nuc_log_reader_t *reader, nuc_log_source_t *source,
                                 uint64_t first, uint64_t *lost, nuc_err_t *err)
{
    uint64_t end;
    nuc_rc_t rc;
    nuc_scan_t *scan = &source->scan;
    nuc_log_position_t *position = &source->position;

    rc = nuc_scan_open(scan, source->path, &position->writer, first, O_RDONLY, err);
    if (rc != NUC_OK) {
        return rc == NUC_NOT_FOUND ? NUC_AGAIN : rc;
    }

    if (position->segment == first && position->offset >= NUC_SEGMENT_HEADER_LEN) {
        scan->offset = position->offset;
    }

    if (nuc_reader_is_last(reader, first) &&
        nuc_scan_not_begun(scan, nuc_source_published(source))) {
        nuc_scan_close(scan);
        return NUC_NOT_FOUND;
    }

    end = scan->header_valid && scan->header.prev_end < first ? scan->header.prev_end
                                                              : first;

    if (first > position->sequence) {
        *lost = end > position->sequence ? end - position->sequence : 0;
        position->skipped += first - position->sequence - *lost;
        position->sequence = first;
    }

    position->segment = first;
    position->offset = scan->offset;
    source->damaged = 0;

    if (*lost > 0) {
        return nuc_err_set(
            err, NUC_CORRUPT, "%llu records before segment %020llu in \"%s\" are missing",
            (unsigned long long) *lost, (unsigned long long) first, source->path);
    }

    return NUC_OK;
}

/*
 * There is no further segment.  But the head, read before that was looked for, may say
 * that there were: a writer makes its segments before it publishes a record in them, and
 * the keeper removes none that was not read.
 */
static nuc_rc_t nuc_source_dry(nuc_log_source_t *source, uint64_t published,
                               uint64_t *lost, nuc_err_t *err)
{
    nuc_log_position_t *position = &source->position;

    if (published <= position->sequence) {
        return NUC_AGAIN;
    }

    *lost = published - position->sequence;
    position->sequence = published;

    return nuc_err_set(err, NUC_CORRUPT,
                       "%llu records before sequence %llu in \"%s\" are missing, their "
                       "segments were removed",
                       (unsigned long long) *lost, (unsigned long long) published,
                       source->path);
}

/* Find something to read: more in this segment, or the next.  NUC_AGAIN: nothing yet. */
static nuc_rc_t nuc_source_advance(nuc_log_reader_t *reader, nuc_log_source_t *source,
                                   uint64_t *lost, nuc_err_t *err)
{
    uint64_t first, published;
    nuc_rc_t rc;
    nuc_log_position_t *position = &source->position;

    if (source->scan.fd == -1) {
        published = nuc_source_published(source);

        rc = nuc_log_list_segments(reader->sys, source->path, &reader->segments, err);
        if (rc != NUC_OK && rc != NUC_NOT_FOUND) {
            return rc;
        }

        first = nuc_source_choose(&reader->segments, position->sequence);
        if (first == 0) {
            return nuc_source_dry(source, published, lost, err);
        }

        source->limit = 0;

        rc = nuc_source_enter(reader, source, first, lost, err);
        if (rc == NUC_NOT_FOUND) {
            return nuc_source_dry(source, published, lost, err);
        }

        if (rc != NUC_OK) {
            return rc;
        }
    }

    for (;;) {
        published = nuc_source_published(source);

        rc = nuc_source_look(reader, source, err);
        if (rc != NUC_OK) {
            return rc;
        }

        if (position->sequence < source->limit) {
            return NUC_OK;
        }

        if (source->successor == 0) {
            return nuc_source_dry(source, published, lost, err);
        }

        first = source->successor;
        source->limit = 0;

        rc = nuc_source_enter(reader, source, first, lost, err);
        if (rc != NUC_OK) {
            return rc == NUC_NOT_FOUND ? NUC_AGAIN : rc;
        }
    }
}

size_t nuc_log_reader_positions(nuc_log_reader_t *reader,
                                const nuc_log_position_t **positions)
{
    size_t i;
    nuc_log_position_t *grown;

    grown = realloc(reader->positions, (reader->nsources + 1) * sizeof(*grown));
    if (grown == NULL) {
        *positions = NULL;
        return SIZE_MAX;
    }

    reader->positions = grown;

    for (i = 0; i < reader->nsources; i++) {
        grown[i] = reader->sources[i]->position;
    }

    *positions = grown;

    return reader->nsources;
}

const nuc_log_position_t *nuc_log_reader_last(const nuc_log_reader_t *reader)
{
    return reader->last != NULL ? &reader->last->position : NULL;
}

uint64_t nuc_log_reader_durable(const nuc_log_reader_t *reader, const nuc_uuid_t *writer)
{
    size_t i;

    for (i = 0; i < reader->nsources; i++) {
        if (nuc_uuid_cmp(&reader->sources[i]->position.writer, writer) == 0) {
            return nuc_source_published(reader->sources[i]);
        }
    }

    return 0;
}

nuc_rc_t nuc_log_reader_oldest(nuc_log_reader_t *reader, uint64_t *received,
                               nuc_err_t *err)
{
    size_t i;
    uint64_t lost;
    nuc_rc_t rc;
    nuc_record_t record;

    *received = 0;

    rc = nuc_log_reader_refresh(reader, err);

    for (i = 0; rc == NUC_OK && i < reader->nsources; i++) {
        do {
            rc = nuc_source_next(reader, reader->sources[i], &record, &lost, err);
        } while (rc == NUC_CORRUPT);

        if (rc == NUC_OK && (*received == 0 || record.received < *received)) {
            *received = record.received;
        }

        rc = rc == NUC_AGAIN ? NUC_OK : rc;
    }

    return rc;
}

/* Bytes from the position to the end of what the writer's files hold. */
static uint64_t nuc_source_bytes(nuc_log_reader_t *reader, nuc_log_source_t *source)
{
    size_t i;
    char path[NUC_PATH_MAX];
    uint64_t bytes = 0, first;
    struct stat st;

    if (nuc_log_list_segments(reader->sys, source->path, &reader->segments, NULL) !=
        NUC_OK) {
        return 0;
    }

    for (i = 0; i < reader->segments.count; i++) {
        first = reader->segments.firsts[i];

        if (first < source->position.segment) {
            continue;
        }

        if (nuc_segment_path(source->path, first, NUC_LOG_SEGMENT_SUFFIX, path, NULL) ==
                NUC_OK &&
            reader->sys->stat(reader->sys, path, &st) == 0) {
            bytes += (uint64_t) st.st_size;
        }
    }

    first = source->position.segment ? source->position.offset : 0;

    return bytes > first ? bytes - first : 0;
}

nuc_rc_t nuc_log_reader_lag(nuc_log_reader_t *reader, nuc_log_lag_t *lag, nuc_err_t *err)
{
    size_t i;
    uint64_t published;
    nuc_rc_t rc;
    nuc_log_source_t *source;

    *lag = (nuc_log_lag_t){0, 0};

    rc = nuc_log_reader_refresh(reader, err);
    if (rc != NUC_OK) {
        return rc;
    }

    for (i = 0; i < reader->nsources; i++) {
        source = reader->sources[i];
        published = nuc_source_published(source);

        if (published > source->position.sequence) {
            lag->records += published - source->position.sequence;
            lag->bytes += nuc_source_bytes(reader, source);
        }
    }

    return NUC_OK;
}
