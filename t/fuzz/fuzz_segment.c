/*
 * A writer's directory that may hold anything: the reader, the keeper's recovery and find
 * over segments, a head and an index that a script puts together of whole frames, damaged
 * ones and bytes, with the checksums that the code behind them asks for.
 *
 * The naive view beside it looks at every multiple of 8 in a segment for a whole frame.
 * What must hold:
 *
 *   - the reader delivers the whole frames up to the limit that README.md gives, in
 * order, each once, and nothing else; damage is told, and it comes to an end
 *   - what it read before recovery it reads after it (I7)
 *   - recovery puts aside a copy of what it passes over (I8), does nothing the second
 * time, and its indexes hold the records that the reader delivers
 *   - find finds each of them
 *   - what all have read is removed, and the dead writer's directory with it
 *
 * Input: see read_script.
 */

#include <fcntl.h>
#include <stdbool.h>

#include "fuzz.h"
#include "memfs.h"
#include "nuc_crc32c.h"
#include "nuc_le.h"
#include "nuc_log.h"
#include "nuc_log_index.h"
#include "nuc_log_scan.h"

#define QUEUE     "/q"
#define WRITER    QUEUE "/05050505-0505-0505-0505-050505050505"
#define SEGMENTS  3
#define FRAMES    400  /* in all segments */
#define BYTES_MAX 3000 /* of one segment */
#define STEPS_MAX 5000 /* of a reader; more is an endless loop */
#define NUMBERS   256  /* records of the script have numbers under it */

static const nuc_uuid_t writer = {{5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5}};

typedef struct {
    uint64_t sequence;
    uint64_t offset;
    nuc_str_t payload;
} whole_t;

typedef struct {
    uint64_t first;
    nuc_buf_t bytes;
} segment_t;

/* What a reader delivered. */
typedef struct {
    uint8_t rids[FRAMES][NUC_RID_LEN];
    bool is_record[FRAMES]; /* rather than a payload that is none */
    uint64_t sequences[FRAMES];
    unsigned count;
    unsigned records; /* those that are one */
    uint64_t lost;
    nuc_log_position_t position;
} delivered_t;

typedef struct {
    memfs_t *fs;
    const nuc_sys_t *sys;
    segment_t segments[SEGMENTS];
    unsigned nsegments;
    unsigned next_number;
    bool alive;
    bool harmed;      /* something is not as a writer leaves it */
    uint64_t batched; /* the sequence after the last whole batch */
    bool disordered;  /* a sequence stands behind a greater one, which no writer does */
    bool lying; /* an index or a head, with right checksums, that says what nobody said */
    int lock_fd;
    unsigned reports[NUC_LOG_RETIRED + 1];
} case_t;

/*
 * The script.
 */

static nuc_str_t make_record(case_t *c, size_t data_len, uint8_t *out)
{
    uint8_t data[256];
    nuc_record_t record = {.kind = NUC_KIND_JSON, .received = 1};

    memset(data, 'd', sizeof(data));
    nuc_le16_put(record.rid, (uint16_t) c->next_number++);
    record.attr[NUC_ATTR_TENANT] = NUC_STR("acme");
    record.data = (nuc_str_t){data, data_len};
    nuc_record_encode(&record, out);

    return (nuc_str_t){out, nuc_record_encoded_len(&record)};
}

/* Where the script stands in a segment. */
typedef struct {
    uint64_t sequence;
    uint32_t group;
    uint32_t salt;
    segment_t *segment;
} place_t;

static uint8_t *add_frame(place_t *at, nuc_str_t payload, uint32_t flags, uint32_t salt)
{
    size_t size;
    uint8_t *frame;

    size = nuc_frame_size(payload.len);
    frame = nuc_buf_reserve(&at->segment->bytes, size);
    FUZZ_CHECK(frame != NULL, "no memory for a frame");
    memset(frame, 0, size);

    if (payload.len != 0) {
        memcpy(frame + NUC_FRAME_HEADER_LEN, payload.data, payload.len);
    }

    nuc_frame_begin(frame, (uint32_t) payload.len, flags);
    nuc_frame_seal(frame, at->sequence++, at->group, salt);
    at->segment->bytes.len += size;

    return frame;
}

static void add_bytes(place_t *at, nuc_str_t bytes)
{
    nuc_buf_append(&at->segment->bytes, bytes.data, bytes.len);

    while (at->segment->bytes.len % NUC_FRAME_ALIGN != 0) {
        nuc_buf_char(&at->segment->bytes, '\0');
    }
}

static void cut(nuc_buf_t *bytes, size_t len)
{
    bytes->len -= len < bytes->len ? len : bytes->len;
}

/* One step; false at the end of the segment. */
static bool add_step(case_t *c, fuzz_input_t *in, place_t *at)
{
    size_t len;
    unsigned step;
    uint8_t *frame, payload[512];
    static const uint8_t zeros[128];

    step = fuzz_take_below(in, 14);
    c->harmed = c->harmed || step > 4;

    switch (step) {
    case 0:
        return false;
    case 1:
        add_frame(at, make_record(c, 2, payload), 0, at->salt);
        break;
    case 2:
        add_frame(at, make_record(c, 2, payload), NUC_FRAME_END_OF_BATCH, at->salt);
        break;
    case 3:
        add_frame(at, make_record(c, 3, payload),
                  NUC_FRAME_END_OF_BATCH | NUC_FRAME_END_OF_GROUP, at->salt);
        at->group++;
        break;
    case 4:
        len = (size_t) fuzz_take(in, 1);
        add_frame(at, make_record(c, len, payload), NUC_FRAME_END_OF_BATCH, at->salt);
        break;
    case 5:
        at->sequence += 1 + fuzz_take_below(in, 3);
        break;
    case 6:
        at->sequence -= at->sequence > 4 ? 1 + fuzz_take_below(in, 3) : 0;
        c->disordered = true;
        break;
    case 7:
        add_bytes(at, (nuc_str_t){zeros, 8 + 8 * (size_t) fuzz_take_below(in, 15)});
        break;
    case 8:
        add_bytes(at, fuzz_take_sized(in, 200));
        break;
    case 9:
        frame =
            add_frame(at, make_record(c, 5, payload), NUC_FRAME_END_OF_BATCH, at->salt);
        frame[fuzz_take_below(in, 64)] ^= (uint8_t) (1u << fuzz_take_below(in, 8));
        break;
    case 10:
        add_frame(at, fuzz_take_sized(in, 100), (uint32_t) fuzz_take(in, 1), at->salt);
        break;
    case 11:
        at->group = (uint32_t) fuzz_take(in, 1);
        break;
    case 12: /* a frame of another segment */
        add_frame(at, make_record(c, 2, payload), NUC_FRAME_END_OF_BATCH, at->salt + 1);
        break;
    default:
        cut(&at->segment->bytes, 1 + (size_t) fuzz_take(in, 1));
        add_bytes(at, NUC_STR_NONE);
    }

    c->batched = step >= 2 && step <= 4 ? at->sequence : c->batched;

    return at->segment->bytes.len < BYTES_MAX && c->next_number < NUMBERS;
}

/* The segment's header, with an end of the one before that is right unless chosen so. */
static void add_header(case_t *c, fuzz_input_t *in, segment_t *segment, uint64_t prev_end)
{
    uint8_t *out;
    unsigned choice;
    nuc_segment_header_t header = {writer, segment->first, 1, prev_end};

    choice = fuzz_take_below(in, 16);
    c->harmed = c->harmed || (choice >= 1 && choice <= 3);

    if (choice == 1) {
        header.prev_end += fuzz_take(in, 1);
    } else if (choice == 2) {
        header.prev_end -= prev_end < 256 ? 0 : fuzz_take(in, 1);
    }

    out = nuc_buf_reserve(&segment->bytes, NUC_SEGMENT_HEADER_LEN);
    FUZZ_CHECK(out != NULL, "no memory for a header");
    nuc_segment_header_encode(&header, out);
    segment->bytes.len += NUC_SEGMENT_HEADER_LEN;

    if (choice == 3) {
        out[fuzz_take_below(in, NUC_SEGMENT_HEADER_LEN)] ^= 1;
    }
}

static void put_file(case_t *c, uint64_t first, const char *suffix, nuc_str_t bytes)
{
    char path[NUC_PATH_MAX];

    FUZZ_CHECK(nuc_segment_path(WRITER, first, suffix, path, NULL) == NUC_OK, "a path");
    memfs_put(c->fs, path, bytes.data, bytes.len);
}

/* Returns the sequence behind the last frame. */
static uint64_t read_segment(case_t *c, fuzz_input_t *in, uint64_t prev_end)
{
    place_t at;
    segment_t *segment;

    segment = &c->segments[c->nsegments++];
    segment->first = prev_end + fuzz_take_below(in, 4) % 3;

    if (c->nsegments > 1 && segment->first <= segment[-1].first) {
        segment->first = segment[-1].first + 1; /* names are never used twice */
    }

    add_header(c, in, segment, prev_end);

    at = (place_t){segment->first, 1, nuc_segment_salt(&writer, segment->first), segment};

    while (add_step(c, in, &at)) {
    }

    if (fuzz_take_below(in, 8) ==
        1) { /* a length that no frame has, or less than a header */
        cut(&segment->bytes, (size_t) fuzz_take(in, 1));
        c->harmed = true;
    }

    put_file(c, segment->first, NUC_LOG_SEGMENT_SUFFIX,
             (nuc_str_t){segment->bytes.data, segment->bytes.len});

    return at.sequence;
}

static void put_head(case_t *c, fuzz_input_t *in, uint64_t next)
{
    unsigned choice;
    uint64_t durable, newest;
    union {
        nuc_log_head_t head;
        uint8_t bytes[NUC_HEAD_LEN];
    } file = {.bytes = {0}};

    choice = fuzz_take_below(in, 8);

    if (choice == 1) {
        return;
    }

    newest = c->nsegments != 0 ? c->segments[c->nsegments - 1].first : 0;
    durable = fuzz_take(in, 1);
    durable = choice == 2 ? durable : choice == 3 ? next + durable : next;
    nuc_head_fill(&file.head, &writer);
    file.head.durable = htole64(durable);
    file.head.segment = htole64(choice == 4 ? fuzz_take(in, 1) : newest);
    c->lying = choice == 4;
    file.head.closed = htole64(choice == 5 ? next : newest);

    if (choice == 6) {
        file.bytes[fuzz_take_below(in, 28)] ^= 0x40;
    }

    memfs_put(c->fs, WRITER "/" NUC_LOG_HEAD_NAME, file.bytes,
              choice == 7 ? (size_t) fuzz_take(in, 2) % NUC_HEAD_LEN : NUC_HEAD_LEN);
}

/* An index that lies, with the right checksum, or any bytes. */
static void put_index(case_t *c, fuzz_input_t *in)
{
    nuc_str_t bytes;
    uint8_t file[400] = {0};
    const segment_t *segment;

    segment = &c->segments[fuzz_take_below(in, SEGMENTS) % c->nsegments];
    c->lying = true;

    if (fuzz_take(in, 1) & 1) {
        put_file(c, segment->first, NUC_LOG_INDEX_SUFFIX, fuzz_take_sized(in, 300));
        return;
    }

    nuc_le64_put(file + 32, fuzz_take(in, 1));
    nuc_le64_put(file + 40, fuzz_take(in, 2));
    nuc_le64_put(file + 48, fuzz_take(in, 1));
    nuc_le64_put(file + 56, fuzz_take(in, 8));
    bytes = fuzz_take_sized(in, 200);

    if (bytes.len != 0) {
        memcpy(file + 128, bytes.data, bytes.len);
    }

    memcpy(file, "NUCIDX1", 8);
    memcpy(file + 8, writer.b, 16);
    nuc_le64_put(file + 24, segment->first);
    nuc_le64_put(file + 64, bytes.len);
    nuc_le32_put(file + 76, nuc_crc32c(0, file + 128, bytes.len));
    nuc_le32_put(file + 124, nuc_crc32c(0, file, 124));
    put_file(c, segment->first, NUC_LOG_INDEX_SUFFIX, (nuc_str_t){file, 128 + bytes.len});
}

static void read_script(case_t *c, fuzz_input_t *in)
{
    unsigned flags, i, n;
    uint64_t next;

    flags = (unsigned) fuzz_take(in, 1);
    next = 1;
    n = 1 + flags % SEGMENTS;
    c->alive = flags & 0x40;
    c->next_number = 1;

    for (i = 0; i < n; i++) {
        next = read_segment(c, in, next);
    }

    put_head(c, in, next);

    if (flags & 0x80) {
        put_index(c, in);
    }

    memfs_put(c->fs, WRITER "/" NUC_LOG_LOCK_NAME, "", 0);

    if (c->alive) {
        c->lock_fd = c->sys->open(c->sys, WRITER "/" NUC_LOG_LOCK_NAME, O_RDWR, 0);
        FUZZ_CHECK(c->sys->lock(c->sys, c->lock_fd) == 0, "the writer's lock");
    }
}

/*
 * The naive view.
 */

static bool is_whole(nuc_str_t file, uint64_t offset, uint32_t salt, whole_t *whole)
{
    uint32_t crc, length;
    const uint8_t *p;

    p = file.data + offset;

    if (file.len - offset < NUC_FRAME_HEADER_LEN) {
        return false;
    }

    length = nuc_le32(p);

    if (length == 0 || nuc_le64(p + 8) == 0 ||
        nuc_frame_size(length) > file.len - offset) {
        return false;
    }

    crc = nuc_crc32c(salt, p, 4);
    crc = nuc_crc32c(crc, p + 8, NUC_FRAME_HEADER_LEN - 8 + length);
    *whole = (whole_t){nuc_le64(p + 8), offset, {p + NUC_FRAME_HEADER_LEN, length}};

    return crc == nuc_le32(p + 4);
}

static nuc_str_t segment_file(const case_t *c, const segment_t *segment)
{
    char path[NUC_PATH_MAX];

    FUZZ_CHECK(nuc_segment_path(WRITER, segment->first, NUC_LOG_SEGMENT_SUFFIX, path,
                                NULL) == NUC_OK,
               "a path");

    return memfs_get(c->fs, path);
}

static uint64_t published(const case_t *c)
{
    nuc_str_t file;
    nuc_log_head_t want;

    nuc_head_fill(&want, &writer);
    file = memfs_get(c->fs, WRITER "/" NUC_LOG_HEAD_NAME);

    if (file.len < NUC_HEAD_LEN || memcmp(file.data, &want, 28) != 0) {
        return 0;
    }

    return nuc_le64(file.data + 32);
}

/* Where a reader must stop in segment i; README.md, "Reading". */
static uint64_t limit_of(const case_t *c, unsigned i)
{
    nuc_err_t err;
    nuc_str_t next;
    nuc_index_summary_t summary;
    nuc_segment_header_t header;
    const segment_t *after;

    if (nuc_index_summary(c->sys, WRITER, &writer, c->segments[i].first, &summary,
                          &err) == NUC_OK) {
        return summary.end;
    }

    if (i + 1 == c->nsegments) {
        return published(c);
    }

    after = &c->segments[i + 1];
    next = segment_file(c, after);

    /* a full disk let nobody begin the last one */
    if (i + 2 == c->nsegments && next.len < NUC_SEGMENT_HEADER_LEN && published(c) > 0 &&
        published(c) <= after->first) {
        return published(c);
    }

    return next.len >= NUC_SEGMENT_HEADER_LEN &&
                   nuc_segment_header_decode(next.data, &writer, after->first, &header) ==
                       NUC_OK
               ? header.prev_end
               : after->first;
}

static void deliver(delivered_t *d, uint64_t sequence, const nuc_record_t *record)
{
    FUZZ_CHECK(d->count < FRAMES, "more records than there are frames");

    if (record != NULL) {
        memcpy(d->rids[d->count], record->rid, NUC_RID_LEN);
        d->is_record[d->count] = true;
        d->records++;
    }

    d->sequences[d->count++] = sequence;
}

static bool is_same(const delivered_t *a, unsigned i, const delivered_t *b, unsigned j)
{
    return a->sequences[i] == b->sequences[j] &&
           memcmp(a->rids[i], b->rids[j], NUC_RID_LEN) == 0;
}

static void naive_segment(const case_t *c, unsigned i, uint64_t *position, delivered_t *d)
{
    uint64_t offset, limit;
    uint32_t salt;
    nuc_str_t file;
    whole_t whole;
    nuc_record_t record;

    limit = limit_of(c, i);
    file = segment_file(c, &c->segments[i]);
    salt = nuc_segment_salt(&writer, c->segments[i].first);

    for (offset = NUC_SEGMENT_HEADER_LEN; offset < file.len && *position < limit;
         offset += NUC_FRAME_ALIGN) {
        if (is_whole(file, offset, salt, &whole) && whole.sequence >= *position &&
            whole.sequence < limit) {
            *position = whole.sequence + 1;
            deliver(d, whole.sequence,
                    nuc_record_decode(whole.payload, &record, NULL) == NUC_OK ? &record
                                                                              : NULL);
        }
    }

    *position = *position < limit ? limit : *position;
}

static void naive_read(const case_t *c, delivered_t *d)
{
    unsigned i;
    uint64_t position;

    memset(d, 0, sizeof(*d));
    position = 1;

    for (i = 0; i < c->nsegments; i++) {
        position = position < c->segments[i].first ? c->segments[i].first : position;
        naive_segment(c, i, &position, d);
    }
}

/*
 * The code under test.
 */

static void check_progress(const nuc_log_position_t *before,
                           const nuc_log_position_t *after, uint64_t passed)
{
    FUZZ_CHECK(after->sequence ==
                   before->sequence + passed + (after->skipped - before->skipped),
               "sequence %llu after %llu, %llu were passed and %llu skipped",
               (unsigned long long) after->sequence,
               (unsigned long long) before->sequence, (unsigned long long) passed,
               (unsigned long long) (after->skipped - before->skipped));
    FUZZ_CHECK(after->skipped >= before->skipped, "skipped goes back");
    FUZZ_CHECK(after->segment > before->segment ||
                   (after->segment == before->segment && after->offset >= before->offset),
               "a position that goes back");
}

static nuc_log_position_t where(nuc_log_reader_t *reader)
{
    size_t n;
    const nuc_log_position_t *positions;

    n = nuc_log_reader_positions(reader, &positions);
    FUZZ_CHECK(n <= 1, "%zu writers", n);

    return n != 0 ? *positions : (nuc_log_position_t){.writer = writer, .sequence = 1};
}

/* Another reader that goes on from the position, as after a restart from a commit. */
static nuc_log_reader_t *resume(case_t *c, nuc_log_reader_t *reader,
                                const nuc_log_position_t *position)
{
    nuc_err_t err;
    nuc_log_reader_t *next;

    nuc_log_reader_close(reader);
    FUZZ_CHECK(nuc_log_reader_open(c->sys, QUEUE, NUC_LOG_ALL, &next, &err) == NUC_OK &&
                   nuc_log_reader_seek(next, position, &err) == NUC_OK,
               "%s", err.message);

    return next;
}

/* Who has read all is behind by nothing. */
static void check_lag(const case_t *c, nuc_log_reader_t *reader)
{
    nuc_err_t err;
    nuc_log_lag_t lag;

    FUZZ_CHECK(nuc_log_reader_lag(reader, &lag, &err) == NUC_OK, "%s", err.message);
    FUZZ_CHECK(lag.records == 0 || c->lying, "a lag of %llu when all was read",
               (unsigned long long) lag.records);
}

/* Everything; the reader is replaced by another after so many steps. */
static void read_all(case_t *c, delivered_t *d, unsigned resume_at)
{
    unsigned steps;
    uint64_t lost;
    nuc_rc_t rc;
    nuc_err_t err;
    nuc_record_t record;
    nuc_log_reader_t *reader;
    nuc_log_position_t before;

    memset(d, 0, sizeof(*d));
    FUZZ_CHECK(nuc_log_reader_open(c->sys, QUEUE, NUC_LOG_ALL, &reader, &err) == NUC_OK,
               "%s", err.message);
    before = where(reader);

    for (steps = 0; steps < STEPS_MAX; steps++) {
        lost = 0;
        rc = nuc_log_reader_next(reader, &record, &lost, &err);
        d->position = where(reader);

        if (rc == NUC_AGAIN) {
            break;
        }

        if (steps + 1 == resume_at) {
            reader = resume(c, reader, &d->position);
        }

        if (rc == NUC_OK) {
            check_progress(&before, &d->position, 1);
            deliver(d, d->position.sequence - 1, &record);
        } else {
            FUZZ_CHECK(rc == NUC_CORRUPT, "the reader answers %d: %s", rc, err.message);
            fuzz_check_err(rc, &err);
            check_progress(&before, &d->position, lost);
            d->lost += lost;
        }

        before = d->position;
    }

    FUZZ_CHECK(steps < STEPS_MAX, "the reader does not come to an end");
    check_lag(c, reader);
    nuc_log_reader_close(reader);
}

static void check_delivered(const delivered_t *got, const delivered_t *want)
{
    unsigned i, j;

    for (i = j = 0; j < want->count; j++) {
        if (!want->is_record[j]) { /* told as lost */
            continue;
        }

        FUZZ_CHECK(i < got->count, "sequence %llu is not delivered",
                   (unsigned long long) want->sequences[j]);
        FUZZ_CHECK(is_same(got, i, want, j), "sequence %llu is delivered, not %llu",
                   (unsigned long long) got->sequences[i],
                   (unsigned long long) want->sequences[j]);
        i++;
    }

    FUZZ_CHECK(i == got->count, "sequence %llu is delivered and should not be",
               (unsigned long long) got->sequences[i]);
}

static void check_is_there(const delivered_t *all, const delivered_t *d, unsigned i)
{
    unsigned j;

    for (j = 0; j < all->count; j++) {
        if (is_same(d, i, all, j)) {
            return;
        }
    }

    FUZZ_CHECK(0, "sequence %llu is delivered, and is in no segment",
               (unsigned long long) d->sequences[i]);
}

/* Every record that was delivered stands in a segment, with that sequence. */
static void check_not_invented(const case_t *c, const delivered_t *d)
{
    unsigned i;
    uint64_t offset;
    uint32_t salt;
    whole_t whole;
    nuc_str_t file;
    delivered_t all;
    nuc_record_t record;

    memset(&all, 0, sizeof(all));

    for (i = 0; i < c->nsegments; i++) {
        file = segment_file(c, &c->segments[i]);
        salt = nuc_segment_salt(&writer, c->segments[i].first);

        for (offset = NUC_SEGMENT_HEADER_LEN; offset < file.len;
             offset += NUC_FRAME_ALIGN) {
            if (is_whole(file, offset, salt, &whole) &&
                nuc_record_decode(whole.payload, &record, NULL) == NUC_OK) {
                deliver(&all, whole.sequence, &record);
            }
        }
    }

    for (i = 0; i < d->count; i++) {
        check_is_there(&all, d, i);
    }
}

/* All of "some", in order, are in "all". */
static void check_kept(const delivered_t *some, const delivered_t *all)
{
    unsigned i, j;

    for (i = j = 0; i < some->count; i++, j++) {
        while (j < all->count && all->sequences[j] != some->sequences[i]) {
            j++;
        }

        FUZZ_CHECK(j < all->count && is_same(some, i, all, j),
                   "sequence %llu was read before recovery and is gone",
                   (unsigned long long) some->sequences[i]);
    }
}

static void on_report(void *ctx, const nuc_log_report_t *report)
{
    nuc_str_t copy;
    case_t *c = ctx;

    c->reports[report->event]++;

    if (report->event == NUC_LOG_QUARANTINED) {
        copy = memfs_get(c->fs, report->path);
        FUZZ_CHECK(copy.data != NULL && copy.len <= report->bytes,
                   "no copy of what was put aside");
    }
}

static nuc_log_keeper_t *open_keeper(case_t *c)
{
    nuc_err_t err;
    nuc_log_keeper_t *keeper;

    FUZZ_CHECK(nuc_log_keeper_open(c->sys, QUEUE, on_report, c, &keeper, &err) == NUC_OK,
               "%s", err.message);

    return keeper;
}

static void tend(nuc_log_keeper_t *keeper)
{
    nuc_rc_t rc;
    nuc_err_t err;

    rc = nuc_log_keeper_tend(keeper, &err);
    FUZZ_CHECK(rc == NUC_OK, "the keeper answers %d: %s", rc, err.message);
}

/*
 * Nothing is lost of what a writer left that died, though its head may be older than its
 * last batches, or gone.
 */
static void check_unharmed(const case_t *c, const delivered_t *d)
{
    FUZZ_CHECK(d->position.sequence >= c->batched,
               "whole batches up to %llu, but recovery ends at %llu",
               (unsigned long long) c->batched,
               (unsigned long long) d->position.sequence);
    FUZZ_CHECK(d->lost == 0 || published(c) > c->batched, "lost without any damage");
}

/* A second round, and another keeper, find nothing to do. */
static void check_settled(case_t *c, nuc_log_keeper_t *keeper)
{
    unsigned i;
    nuc_log_keeper_t *other;

    memset(c->reports, 0, sizeof(c->reports));
    tend(keeper);
    nuc_log_keeper_close(keeper);
    other = open_keeper(c);
    tend(other);
    nuc_log_keeper_close(other);

    for (i = 0; i <= NUC_LOG_RETIRED; i++) {
        FUZZ_CHECK(c->reports[i] == 0, "report %u of a log that is settled", i);
    }
}

/* Every segment has an index, and together they hold what a reader gets. */
static void check_indexes(case_t *c, const delivered_t *d)
{
    unsigned i;
    bool overlap;
    uint64_t records, end;
    nuc_err_t err;
    nuc_index_summary_t summary;

    records = 0;
    end = 0;
    overlap = false;

    for (i = 0; i < c->nsegments; i++) {
        FUZZ_CHECK(nuc_index_summary(c->sys, WRITER, &writer, c->segments[i].first,
                                     &summary, &err) == NUC_OK,
                   "a segment without an index: %s", err.message);
        overlap = overlap || c->segments[i].first < end;
        end = summary.end > end ? summary.end : end;
        records += summary.records;
    }

    FUZZ_CHECK(overlap || records == d->records, "%llu records indexed, %u delivered",
               (unsigned long long) records, d->records);
}

static void check_find(case_t *c, const delivered_t *d, const char *when)
{
    unsigned i;
    char path[NUC_PATH_MAX];
    uint64_t offset;
    nuc_rc_t rc;
    nuc_str_t file;
    nuc_err_t err;
    nuc_record_t record;

    for (i = 0; i < d->count; i += 1 + d->count / 4) {
        rc = nuc_log_find(c->sys, QUEUE, d->rids[i], path, &offset, &err);
        FUZZ_CHECK(rc == NUC_OK, "%s, find does not find sequence %llu: %d", when,
                   (unsigned long long) d->sequences[i], rc);

        file = memfs_get(c->fs, path);
        FUZZ_CHECK(
            offset + NUC_FRAME_HEADER_LEN < file.len &&
                nuc_record_decode((nuc_str_t){file.data + offset + NUC_FRAME_HEADER_LEN,
                                              nuc_le32(file.data + offset)},
                                  &record, NULL) == NUC_OK &&
                memcmp(record.rid, d->rids[i], NUC_RID_LEN) == 0,
            "%s, find finds another record", when);
    }
}

/* Who has read nothing keeps all; when all was read, nothing is left. */
static void check_removal(case_t *c, const delivered_t *d)
{
    nuc_err_t err;
    nuc_log_keeper_t *keeper;
    nuc_log_consumer_t consumers[2] = {{&d->position, 1}, {NULL, 0}};

    keeper = open_keeper(c);
    tend(keeper);
    memset(c->reports, 0, sizeof(c->reports));

    if (d->count > 0) {
        FUZZ_CHECK(nuc_log_keeper_remove(keeper, consumers, 2, &err) == NUC_OK, "%s",
                   err.message);
        FUZZ_CHECK(c->reports[NUC_LOG_RETIRED] == 0, "removed before it was read");
    }

    FUZZ_CHECK(nuc_log_keeper_remove(keeper, consumers, 1, &err) == NUC_OK, "%s",
               err.message);
    FUZZ_CHECK(c->reports[NUC_LOG_RETIRED] == 1, "what was read by all stays");
    nuc_log_keeper_close(keeper);
}

static void kill_writer(case_t *c)
{
    if (c->alive) {
        c->sys->close(c->sys, c->lock_fd);
    }
}

static void check_case(case_t *c)
{
    delivered_t before, after, resumed, want;
    nuc_log_keeper_t *keeper;

    naive_read(c, &want);
    read_all(c, &before, 0);
    check_not_invented(c, &before);

    if (!c->lying) {
        check_delivered(&before, &want);
        check_find(c, &before, "before recovery");
    }

    keeper = open_keeper(c);
    tend(keeper);
    kill_writer(c);
    tend(keeper);

    read_all(c, &after, 0);
    check_not_invented(c, &after);

    if (c->lying || c->disordered) {
        nuc_log_keeper_close(keeper);
        return;
    }

    naive_read(c, &want);
    check_delivered(&after, &want);

    read_all(c, &resumed, 1 + c->next_number % 5);
    check_delivered(&resumed, &want);

    check_kept(&before, &after);

    if (!c->harmed) {
        check_unharmed(c, &after);
    }

    check_settled(c, keeper);
    check_indexes(c, &after);
    check_find(c, &after, "after recovery");
    check_removal(c, &after);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    unsigned i;
    case_t c;
    fuzz_input_t in = {data, data + len};

    memset(&c, 0, sizeof(c));
    c.fs = memfs_create();
    c.sys = memfs_sys(c.fs);

    read_script(&c, &in);
    check_case(&c);

    for (i = 0; i < c.nsegments; i++) {
        nuc_buf_free(&c.segments[i].bytes);
    }

    memfs_destroy(c.fs);

    return 0;
}
