/*
 * Removal of what every consumer has passed: segments, and directories of dead writers.
 */

#include <errno.h>

#include "nuc_log_keeper.h"

/* Has every consumer read everything before "end"? */
static int nuc_keeper_passed(const nuc_uuid_t *writer, uint64_t end,
                             const nuc_log_consumer_t *consumers, size_t count)
{
    size_t i;
    const nuc_log_position_t *position;

    for (i = 0; i < count; i++) {
        position =
            nuc_log_position_of(consumers[i].positions, consumers[i].count, writer);

        if (position == NULL || position->sequence < end) {
            return 0;
        }
    }

    return 1;
}

/*
 * What was unlinked before, by this process or by one that died, is gone for good when
 * this returns.  So segments vanish in order, whatever the power does: a hole would look
 * like damage, and a segment that came back after its readers forgot it would be read
 * again (I9).
 */
static nuc_rc_t nuc_keeper_settle_removals(nuc_log_keeper_t *keeper, nuc_err_t *err)
{
    return nuc_fs_sync_dir(keeper->sys, keeper->path, "log-removal", err);
}

static nuc_rc_t nuc_keeper_remove_segment(nuc_log_keeper_t *keeper,
                                          nuc_keeper_writer_t *writer, uint64_t first,
                                          const nuc_index_summary_t *summary,
                                          nuc_err_t *err)
{
    char name[NUC_LOG_NAME_MAX];
    nuc_rc_t rc;

    rc = nuc_segment_path(keeper->path, first, NUC_LOG_SEGMENT_SUFFIX,
                          keeper->segment_path, err);
    if (rc != NUC_OK) {
        return rc;
    }

    rc = nuc_keeper_settle_removals(keeper, err);
    if (rc != NUC_OK) {
        return rc;
    }

    if (keeper->sys->unlink(keeper->sys, keeper->segment_path) == -1) {
        return nuc_err_sys(err, NUC_IO, errno, "unlink of \"%s\" failed",
                           keeper->segment_path);
    }

    /* an index without its segment is nothing; it goes second so that none is rebuilt */
    nuc_segment_name(first, NUC_LOG_INDEX_SUFFIX, name);
    nuc_fs_discard(keeper->sys, keeper->path, name);

    nuc_keeper_report(keeper, NUC_LOG_REMOVED, writer, first, summary->records,
                      summary->length, keeper->segment_path);

    return NUC_OK;
}

static int nuc_keeper_unlink_entry(void *ctx, const char *name)
{
    nuc_log_keeper_t *keeper = ctx;

    nuc_fs_discard(keeper->sys, keeper->path, name);

    return 0;
}

/*
 * Remove the directory of a dead writer that has no segments left; a consumer forgets its
 * position once the directory is gone.  Should the directory come back with the power,
 * its head must not: it would tell of records that were not read.
 */
static nuc_rc_t nuc_keeper_retire(nuc_log_keeper_t *keeper, nuc_keeper_writer_t *writer,
                                  nuc_err_t *err)
{
    nuc_rc_t rc;

    (void) keeper->sys->list(keeper->sys, keeper->path, nuc_keeper_unlink_entry, keeper);

    rc = nuc_keeper_settle_removals(keeper, err);
    if (rc != NUC_OK) {
        return rc;
    }

    if (keeper->sys->rmdir(keeper->sys, keeper->path) == -1) {
        return nuc_err_sys(err, NUC_IO, errno, "rmdir \"%s\" failed", keeper->path);
    }

    nuc_keeper_report(keeper, NUC_LOG_RETIRED, writer, 0, 0, 0, keeper->path);

    return NUC_OK;
}

/* The end of a finished segment; without its index too, which a full disk has no room
 * for. */
static nuc_rc_t nuc_keeper_summary(nuc_log_keeper_t *keeper, nuc_keeper_writer_t *writer,
                                   size_t i, nuc_index_summary_t *summary, nuc_err_t *err)
{
    nuc_rc_t rc;
    uint64_t first = keeper->segments.firsts[i];

    rc = nuc_index_summary(keeper->sys, keeper->path, &writer->id, first, summary, err);
    if (rc != NUC_NOT_FOUND) {
        return rc;
    }

    *summary = (nuc_index_summary_t){.first = first};

    return nuc_keeper_segment_end(keeper, writer, i, &summary->end, err);
}

static nuc_rc_t nuc_keeper_remove_of(nuc_log_keeper_t *keeper,
                                     nuc_keeper_writer_t *writer,
                                     const nuc_log_consumer_t *consumers, size_t count,
                                     nuc_err_t *err)
{
    size_t i, finished;
    nuc_rc_t rc;
    nuc_index_summary_t summary;

    rc = nuc_log_writer_path(keeper->dir, &writer->id, keeper->path, err);
    if (rc != NUC_OK) {
        return rc;
    }

    rc = nuc_keeper_look(keeper, writer, &finished, err);
    if (rc != NUC_OK) {
        return rc == NUC_NOT_FOUND ? NUC_OK : rc;
    }

    for (i = 0; i < finished; i++) {
        rc = nuc_keeper_summary(keeper, writer, i, &summary, err);
        if (rc != NUC_OK) {
            return rc;
        }

        if (summary.end > summary.first &&
            !nuc_keeper_passed(&writer->id, summary.end, consumers, count)) {
            return NUC_OK;
        }

        rc = nuc_keeper_remove_segment(keeper, writer, keeper->segments.firsts[i],
                                       &summary, err);
        if (rc != NUC_OK) {
            return rc;
        }
    }

    /* the head outlives segments that somebody removed: readers learn from it what they
       have lost */
    if (!writer->settled ||
        (keeper->published > 1 &&
         !nuc_keeper_passed(&writer->id, keeper->published, consumers, count))) {
        return NUC_OK;
    }

    return nuc_keeper_retire(keeper, writer, err);
}

nuc_rc_t nuc_log_keeper_remove(nuc_log_keeper_t *keeper,
                               const nuc_log_consumer_t *consumers, size_t count,
                               nuc_err_t *err)
{
    size_t i;
    nuc_rc_t rc, first_rc = NUC_OK;
    nuc_err_t writer_err;

    if (count == 0) {
        return NUC_OK;
    }

    for (i = 0; i < keeper->nwriters; i++) {
        rc = nuc_keeper_remove_of(keeper, &keeper->writers[i], consumers, count,
                                  &writer_err);
        nuc_keeper_keep_first(rc, &writer_err, &first_rc, err);
    }

    return first_rc;
}
