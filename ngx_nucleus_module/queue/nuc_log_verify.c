#include "nuc_log_verify.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "nuc_log_holder.h"
#include "nuc_log_index.h"
#include "nuc_log_list.h"
#include "nuc_log_scan.h"
#include "nuc_log_tail.h"

#define NUC_VERIFY_PROGRESS    (8u << 20) /* bytes between two reports */
#define NUC_VERIFY_QUARANTINES "quarantine"
#define NUC_VERIFY_KEEPER      "keeper.lock"
#define NUC_VERIFY_OWNER       "owner" /* of worker/nuc_owner.h */

typedef struct {
    const nuc_sys_t *sys;
    const char *dir;
    const nuc_verify_report_t *report;
    nuc_verify_summary_t *summary;
    nuc_buf_t locks; /* of the system, as text */
    nuc_writer_list_t writers;
    nuc_segment_list_t segments; /* of the writer at hand */
    nuc_scan_t scan;
    uint64_t done;
    uint64_t total;
    uint64_t told; /* of done */

    /* the writer at hand */
    nuc_uuid_t id;
    char path[NUC_PATH_MAX];
    long pid;
    uint64_t published; /* read before the listing; 0 without a whole head */
    uint64_t end;       /* of the segment before, 0: not known */
} nuc_verify_t;

static void nuc_verify_found(nuc_verify_t *v, nuc_verify_finding_t *finding)
{
    nuc_verify_summary_t *s = v->summary;

    finding->writer = v->id;

    switch (finding->type) {
    case NUC_VERIFY_DAMAGE:
    case NUC_VERIFY_GAP:
        s->damage++;
        s->lost += finding->lost;
        break;
    case NUC_VERIFY_TAIL:
        s->tails++;
        break;
    case NUC_VERIFY_LEFTOVER:
        s->leftovers++;
        break;
    case NUC_VERIFY_QUARANTINE:
        s->quarantined++;
        break;
    case NUC_VERIFY_SEGMENT:
        s->segments++;
        s->records += finding->records;
        s->bytes += finding->bytes;
        s->damage += !finding->header;
        s->damage += finding->index == NUC_VERIFY_INDEX_DAMAGED ||
                     finding->index == NUC_VERIFY_INDEX_WRONG;
        break;
    case NUC_VERIFY_WRITER:
        s->writers++;
        s->damage += !finding->head;
    }

    v->report->found(v->report->ctx, finding);
}

/* One segment. */

static void nuc_verify_advance(nuc_verify_t *v, uint64_t bytes)
{
    v->done += bytes;

    if (v->report->progress != NULL && v->done - v->told >= NUC_VERIFY_PROGRESS) {
        v->told = v->done;
        v->report->progress(v->report->ctx, v->done, v->total);
    }
}

/* Walk to "limit", and tell of each damage on the way. */
static nuc_rc_t nuc_verify_walk(nuc_verify_t *v, nuc_verify_finding_t *segment,
                                uint64_t limit, uint8_t rid[NUC_RID_LEN],
                                uint64_t *rid_offset, nuc_err_t *err)
{
    uint64_t from, expected = v->scan.first;
    nuc_rc_t rc;
    nuc_frame_t frame;
    nuc_record_t record;
    nuc_verify_finding_t damage;

    while (expected < limit) {
        from = v->scan.offset;
        rc = nuc_scan_frame(&v->scan, &frame, err);

        if (rc == NUC_OK && frame.header.sequence < expected) {
            rc = NUC_CORRUPT;
        }

        if (rc == NUC_CORRUPT || rc == NUC_NOT_FOUND) {
            rc = nuc_scan_resync(&v->scan, expected, limit, &frame, err);
        }

        if (rc != NUC_OK && rc != NUC_NOT_FOUND) {
            return rc;
        }

        if (rc == NUC_NOT_FOUND || frame.header.sequence > expected) {
            damage = *segment;
            damage.type = NUC_VERIFY_DAMAGE;
            damage.offset = from;
            damage.bytes = v->scan.offset - from;
            damage.first = expected;
            damage.lost =
                (rc == NUC_OK && frame.header.sequence < limit ? frame.header.sequence
                                                               : limit) -
                expected;
            segment->lost += damage.lost;
            nuc_verify_found(v, &damage);
        }

        if (rc == NUC_NOT_FOUND || frame.header.sequence >= limit) {
            break;
        }

        if (nuc_record_decode(frame.payload, &record, NULL) == NUC_OK) {
            memcpy(rid, record.rid, NUC_RID_LEN);
            *rid_offset = frame.offset;
        }

        segment->records++;
        segment->first = segment->first == 0 ? frame.header.sequence : segment->first;
        segment->last = frame.header.sequence;
        expected = frame.header.sequence + 1;
        nuc_scan_pass(&v->scan, &frame);
        nuc_verify_advance(v, frame.size);
    }

    return NUC_OK;
}

/* Where segment i ends, and whether a search had to say so. */
static nuc_rc_t nuc_verify_end(nuc_verify_t *v, size_t i,
                               const nuc_index_summary_t *summary, uint64_t *end,
                               int *searched, nuc_err_t *err)
{
    uint64_t next;
    nuc_rc_t rc;
    nuc_scan_t following;

    *searched = 0;

    if (summary != NULL) {
        *end = summary->end;
        return NUC_OK;
    }

    if (i + 1 == v->segments.count && v->pid != 0) {
        *end = v->published;
        return NUC_OK;
    }

    if (i + 1 < v->segments.count) {
        next = v->segments.firsts[i + 1];
        nuc_scan_init(&following, v->sys);
        rc = nuc_scan_open(&following, v->path, &v->id, next, O_RDONLY, err);

        if (rc == NUC_OK && following.header_valid) {
            *end = following.header.prev_end;
        } else if (rc == NUC_OK && !nuc_scan_not_begun(&following, v->published)) {
            *end = next;
        } else {
            *searched = 1;
        }

        nuc_scan_free(&following);

        if (rc != NUC_OK || !*searched) {
            return rc;
        }
    }

    *searched = 1;
    rc = nuc_tail_find_end(&v->scan, v->published, end, err);
    v->scan.offset = NUC_SEGMENT_HEADER_LEN;
    nuc_scan_forget(&v->scan);

    return rc;
}

static nuc_rc_t nuc_verify_index(nuc_verify_t *v, nuc_verify_finding_t *segment,
                                 const nuc_index_summary_t *summary,
                                 const uint8_t rid[NUC_RID_LEN], uint64_t rid_offset,
                                 nuc_err_t *err)
{
    uint64_t offset;
    nuc_rc_t rc;

    if (summary == NULL) {
        return NUC_OK;
    }

    segment->index = NUC_VERIFY_INDEX_OK;

    /* damage that came later makes the segment hold less */
    if (summary->records > summary->end - summary->first ||
        summary->records < segment->records) {
        segment->index = NUC_VERIFY_INDEX_WRONG;
        return NUC_OK;
    }

    if (rid_offset == 0) {
        return NUC_OK;
    }

    rc = nuc_index_find(v->sys, v->path, &v->id, segment->segment, rid, &offset, err);

    if (rc == NUC_CORRUPT) {
        segment->index = NUC_VERIFY_INDEX_DAMAGED;
    } else if (rc == NUC_NOT_FOUND) {
        segment->index = NUC_VERIFY_INDEX_WRONG;
    } else if (rc != NUC_OK) {
        return rc;
    }

    return NUC_OK;
}

static void nuc_verify_tail(nuc_verify_t *v, const nuc_verify_finding_t *segment,
                            uint64_t size)
{
    nuc_verify_finding_t tail = *segment;

    if (size <= v->scan.offset) {
        return;
    }

    tail.type = NUC_VERIFY_TAIL;
    tail.offset = v->scan.offset;
    tail.bytes = size - v->scan.offset;
    nuc_verify_found(v, &tail);
}

static void nuc_verify_gap(nuc_verify_t *v, const nuc_verify_finding_t *segment)
{
    nuc_verify_finding_t gap = *segment;

    if (v->end == 0 || !v->scan.header_valid || v->scan.header.prev_end <= v->end) {
        return;
    }

    gap.type = NUC_VERIFY_GAP;
    gap.first = v->end;
    gap.lost = v->scan.header.prev_end - v->end;
    nuc_verify_found(v, &gap);
}

static int nuc_verify_index_there(nuc_verify_t *v, uint64_t first)
{
    char path[NUC_PATH_MAX];
    struct stat st;

    return nuc_segment_path(v->path, first, NUC_LOG_INDEX_SUFFIX, path, NULL) == NUC_OK &&
           v->sys->stat(v->sys, path, &st) == 0;
}

static nuc_rc_t nuc_verify_opened(nuc_verify_t *v, size_t i,
                                  nuc_verify_finding_t *segment, nuc_err_t *err)
{
    int searched, there;
    uint64_t end, rid_offset = 0;
    uint8_t rid[NUC_RID_LEN];
    nuc_rc_t rc;
    nuc_index_summary_t summary, *known = NULL;

    there = nuc_verify_index_there(v, segment->segment);
    rc = nuc_index_summary(v->sys, v->path, &v->id, segment->segment, &summary, err);

    if (rc == NUC_OK) {
        known = &summary;
    } else if (rc != NUC_NOT_FOUND) {
        return rc;
    }

    rc = nuc_scan_file_size(&v->scan, &segment->bytes, err);
    if (rc != NUC_OK) {
        return rc;
    }

    segment->header =
        v->scan.header_valid ||
        (i + 1 == v->segments.count && nuc_scan_not_begun(&v->scan, v->published));
    segment->open = i + 1 == v->segments.count && v->pid != 0 && known == NULL;
    nuc_verify_gap(v, segment);

    rc = nuc_verify_end(v, i, known, &end, &searched, err);

    if (rc == NUC_OK) {
        rc = nuc_verify_walk(v, segment, end, rid, &rid_offset, err);
    }

    if (rc == NUC_OK && searched && segment->lost == 0) {
        nuc_verify_tail(v, segment, segment->bytes);
    }

    if (rc == NUC_OK) {
        rc = nuc_verify_index(v, segment, known, rid, rid_offset, err);
    }

    if (rc == NUC_OK) {
        if (known == NULL && there) {
            segment->index = NUC_VERIFY_INDEX_DAMAGED;
        }

        v->end = end > segment->segment ? end : 0;
        nuc_verify_found(v, segment);
    }

    return rc;
}

static nuc_rc_t nuc_verify_segment(nuc_verify_t *v, size_t i, nuc_err_t *err)
{
    char path[NUC_PATH_MAX];
    nuc_rc_t rc;
    nuc_verify_finding_t segment = {.type = NUC_VERIFY_SEGMENT, .path = path};

    segment.segment = v->segments.firsts[i];

    rc = nuc_segment_path(v->path, segment.segment, NUC_LOG_SEGMENT_SUFFIX, path, err);

    if (rc == NUC_OK) {
        rc = nuc_scan_open(&v->scan, v->path, &v->id, segment.segment, O_RDONLY, err);
    }

    if (rc == NUC_NOT_FOUND) {
        /* the keeper has removed it meanwhile */
        v->end = 0;
        return NUC_OK;
    }

    if (rc == NUC_OK) {
        rc = nuc_verify_opened(v, i, &segment, err);
    }

    nuc_scan_close(&v->scan);

    return rc == NUC_NOT_FOUND ? NUC_OK : rc;
}

/* One writer. */

static int nuc_verify_file_entry(void *ctx, const char *name)
{
    char path[NUC_PATH_MAX];
    nuc_verify_t *v = ctx;
    nuc_verify_finding_t leftover = {.type = NUC_VERIFY_LEFTOVER, .path = path};
    uint64_t first = nuc_segment_name_parse(name, NUC_LOG_INDEX_SUFFIX);

    if (strcmp(name, NUC_LOG_LOCK_NAME) == 0 || strcmp(name, NUC_LOG_HEAD_NAME) == 0 ||
        strcmp(name, NUC_LOG_BEGINS_NAME) == 0 ||
        nuc_segment_name_parse(name, NUC_LOG_SEGMENT_SUFFIX) != 0) {
        return 0;
    }

    /* of a segment that is there, or that was begun after the listing */
    if (first != 0 && (v->segments.count == 0 || first >= v->segments.firsts[0])) {
        return 0;
    }

    if (nuc_path_join(path, v->path, name, NULL) == NUC_OK) {
        nuc_verify_found(v, &leftover);
    }

    return 0;
}

static nuc_rc_t nuc_verify_writer(nuc_verify_t *v, const nuc_uuid_t *id, nuc_err_t *err)
{
    size_t i;
    char path[NUC_PATH_MAX];
    nuc_rc_t rc;
    struct stat st;
    nuc_log_head_t *head;
    nuc_verify_finding_t writer = {.type = NUC_VERIFY_WRITER};

    v->id = *id;
    v->end = 0;
    v->pid = 0;

    rc = nuc_log_writer_path(v->dir, id, v->path, err);

    if (rc == NUC_OK) {
        rc = nuc_path_join(path, v->path, NUC_LOG_LOCK_NAME, err);
    }

    if (rc != NUC_OK) {
        return rc;
    }

    if (v->sys->stat(v->sys, path, &st) == 0) {
        v->pid = nuc_log_holder(&v->locks, &st);
    }

    head = nuc_head_map(v->sys, v->path, id);
    v->published = head == NULL ? 0 : le64toh(atomic_load(&head->durable));

    if (head != NULL) {
        v->sys->unmap(v->sys, head, NUC_HEAD_LEN);
    }

    rc = nuc_log_list_segments(v->sys, v->path, &v->segments, err);
    if (rc != NUC_OK) {
        return rc == NUC_NOT_FOUND ? NUC_OK : rc;
    }

    writer.path = v->path;
    writer.pid = v->pid;
    writer.head = head != NULL;
    writer.records = v->segments.count;
    nuc_verify_found(v, &writer);

    for (i = 0; i < v->segments.count; i++) {
        rc = nuc_verify_segment(v, i, err);
        if (rc != NUC_OK) {
            return rc;
        }
    }

    (void) v->sys->list(v->sys, v->path, nuc_verify_file_entry, v);

    return NUC_OK;
}

/* The directory. */

static int nuc_verify_quarantine_entry(void *ctx, const char *name)
{
    char dir[NUC_PATH_MAX], path[NUC_PATH_MAX];
    struct stat st;
    nuc_verify_t *v = ctx;
    nuc_verify_finding_t copy = {.type = NUC_VERIFY_QUARANTINE, .path = path};

    if (nuc_path_join(dir, v->dir, NUC_VERIFY_QUARANTINES, NULL) == NUC_OK &&
        nuc_path_join(path, dir, name, NULL) == NUC_OK &&
        v->sys->stat(v->sys, path, &st) == 0) {
        copy.bytes = (uint64_t) st.st_size;
        nuc_verify_found(v, &copy);
    }

    return 0;
}

static int nuc_verify_top_entry(void *ctx, const char *name)
{
    char path[NUC_PATH_MAX];
    nuc_uuid_t id;
    nuc_verify_t *v = ctx;
    nuc_verify_finding_t leftover = {.type = NUC_VERIFY_LEFTOVER, .path = path};

    if (nuc_uuid_parse(nuc_str(name), &id) == NUC_OK ||
        strcmp(name, NUC_VERIFY_KEEPER) == 0 || strcmp(name, NUC_VERIFY_OWNER) == 0 ||
        strcmp(name, NUC_LOG_LOCK_NAME) == 0 ||
        nuc_path_join(path, v->dir, name, NULL) != NUC_OK) {
        return 0;
    }

    if (strcmp(name, NUC_VERIFY_QUARANTINES) == 0) {
        (void) v->sys->list(v->sys, path, nuc_verify_quarantine_entry, v);
        return 0;
    }

    memset(&v->id, 0, sizeof(v->id));
    nuc_verify_found(v, &leftover);

    return 0;
}

/* How much there is to read. */
static void nuc_verify_count(nuc_verify_t *v)
{
    size_t i, j;
    char path[NUC_PATH_MAX];
    struct stat st;

    for (i = 0; i < v->writers.count; i++) {
        if (nuc_log_writer_path(v->dir, &v->writers.ids[i], v->path, NULL) != NUC_OK ||
            nuc_log_list_segments(v->sys, v->path, &v->segments, NULL) != NUC_OK) {
            continue;
        }

        for (j = 0; j < v->segments.count; j++) {
            if (nuc_segment_path(v->path, v->segments.firsts[j], NUC_LOG_SEGMENT_SUFFIX,
                                 path, NULL) == NUC_OK &&
                v->sys->stat(v->sys, path, &st) == 0) {
                v->total += (uint64_t) st.st_size;
            }
        }
    }
}

static nuc_rc_t nuc_verify_all(nuc_verify_t *v, nuc_err_t *err)
{
    size_t i;
    char path[NUC_PATH_MAX];
    nuc_rc_t rc;
    struct stat st;

    rc = nuc_log_list_writers(v->sys, v->dir, &v->writers, err);
    if (rc != NUC_OK) {
        return rc;
    }

    if (v->writers.count == 0 &&
        (nuc_path_join(path, v->dir, NUC_VERIFY_KEEPER, NULL) != NUC_OK ||
         v->sys->stat(v->sys, path, &st) == -1)) {
        return nuc_err_set(err, NUC_INVALID, "\"%s\" is no queue: it has no writer",
                           v->dir);
    }

    nuc_verify_count(v);

    for (i = 0; i < v->writers.count; i++) {
        /* anew: what began since the last look is alive */
        rc = nuc_log_read_locks(v->sys, &v->locks, err);

        if (rc == NUC_OK) {
            rc = nuc_verify_writer(v, &v->writers.ids[i], err);
        }

        if (rc != NUC_OK) {
            return rc;
        }
    }

    (void) v->sys->list(v->sys, v->dir, nuc_verify_top_entry, v);

    return NUC_OK;
}

nuc_rc_t nuc_log_verify(const nuc_sys_t *sys, const char *dir,
                        const nuc_verify_report_t *report, nuc_verify_summary_t *summary,
                        nuc_err_t *err)
{
    nuc_rc_t rc;
    nuc_verify_t v = {.sys = sys, .dir = dir, .report = report, .summary = summary};

    memset(summary, 0, sizeof(*summary));
    v.locks = NUC_BUF_INIT;
    nuc_scan_init(&v.scan, sys);

    rc = nuc_verify_all(&v, err);

    nuc_scan_free(&v.scan);
    nuc_buf_free(&v.locks);
    free(v.writers.ids);
    free(v.segments.firsts);

    return rc;
}
