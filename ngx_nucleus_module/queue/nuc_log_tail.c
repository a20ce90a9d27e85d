#include "nuc_log_tail.h"

typedef struct {
    uint64_t expected; /* sequence */
    uint64_t end;      /* sequence after the last whole batch */
    uint32_t group;
    int group_ended;
} nuc_tail_t;

static void nuc_tail_take(nuc_tail_t *tail, const nuc_frame_t *frame)
{
    tail->expected = frame->header.sequence + 1;
    tail->group = frame->header.group;
    tail->group_ended = (frame->header.flags & NUC_FRAME_END_OF_GROUP) != 0;

    if (frame->header.flags & NUC_FRAME_END_OF_BATCH) {
        tail->end = tail->expected;
    }
}

/* Is there a frame of a later group behind the damage?  Leaves the scan where it was. */
static nuc_rc_t nuc_tail_was_durable(nuc_scan_t *scan, const nuc_tail_t *tail,
                                     int *was_durable, nuc_err_t *err)
{
    uint64_t offset = scan->offset;
    uint32_t damaged = tail->group_ended ? tail->group + 1 : tail->group;
    nuc_rc_t rc;
    nuc_frame_t frame;

    *was_durable = 0;

    for (;;) {
        rc = nuc_scan_resync(scan, tail->expected, UINT64_MAX, &frame, err);
        if (rc != NUC_OK) {
            break;
        }

        if (frame.header.group > damaged) {
            *was_durable = 1;
            break;
        }
    }

    scan->offset = offset;

    return rc == NUC_NOT_FOUND ? NUC_OK : rc;
}

nuc_rc_t nuc_tail_find_end(nuc_scan_t *scan, uint64_t known, uint64_t *end,
                           nuc_err_t *err)
{
    int was_durable;
    nuc_rc_t rc;
    nuc_tail_t tail = {.expected = scan->first, .end = scan->first, .group_ended = 1};
    nuc_frame_t frame;

    for (;;) {
        rc = nuc_scan_frame(scan, &frame, err);

        if (rc == NUC_OK && frame.header.sequence >= tail.expected) {
            nuc_tail_take(&tail, &frame);
            nuc_scan_pass(scan, &frame);
            continue;
        }

        if (rc != NUC_OK && rc != NUC_NOT_FOUND && rc != NUC_CORRUPT) {
            return rc;
        }

        was_durable = tail.expected < known;

        if (!was_durable) {
            rc = nuc_tail_was_durable(scan, &tail, &was_durable, err);
            if (rc != NUC_OK) {
                return rc;
            }
        }

        if (!was_durable) {
            break;
        }

        rc = nuc_scan_resync(scan, tail.expected, UINT64_MAX, &frame, err);

        if (rc == NUC_NOT_FOUND) {
            break;
        }

        if (rc != NUC_OK) {
            return rc;
        }
    }

    *end = tail.end > known ? tail.end : known;

    return NUC_OK;
}
