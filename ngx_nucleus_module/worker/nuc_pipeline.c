#include "nuc_pipeline.h"

#include <assert.h>
#include <stdlib.h>

#include "nuc_state.h"
#include "nuc_time.h"

#define NUC_PIPELINE_STEP 1024 /* records read in one step */

struct nuc_pipeline_s {
    nuc_pipeline_options_t options;
    char dir[NUC_PATH_MAX]; /* of the commit */
    nuc_log_reader_t *reader;
    nuc_sink_t *sink;
    nuc_commit_t commit;  /* the last; being changed while a batch is written */
    nuc_commit_t next;    /* its books and what was read since */
    size_t source;        /* of the books, to which the last record belongs */
    uint64_t batch_begun; /* µs, when something was first read since the commit */
    uint64_t batch_events;
    int dirty; /* something was read since the commit */
    int failed;
};

static nuc_rc_t nuc_pipeline_seek(nuc_pipeline_t *p, nuc_err_t *err)
{
    size_t i;
    nuc_rc_t rc;

    for (i = 0; i < p->commit.npositions; i++) {
        rc = nuc_log_reader_seek(p->reader, &p->commit.positions[i], err);
        if (rc != NUC_OK) {
            return rc;
        }
    }

    return NUC_OK;
}

static nuc_rc_t nuc_pipeline_open_parts(nuc_pipeline_t *p, nuc_err_t *err)
{
    nuc_rc_t rc;
    nuc_str_t state;
    const nuc_sys_t *sys = p->options.sys;
    const nuc_pipeline_conf_t *conf = p->options.conf;

    rc = nuc_state_pipeline_dir(p->dir, p->options.state, conf->name, err);
    if (rc != NUC_OK) {
        return rc;
    }

    rc = nuc_commit_read(sys, p->dir, &p->commit, err);
    if (rc != NUC_OK) {
        return rc;
    }

    rc = nuc_commit_settle(sys, p->dir, err);
    if (rc != NUC_OK) {
        return rc;
    }

    rc = nuc_commit_take_books(&p->next, &p->commit, err);
    if (rc != NUC_OK) {
        return rc;
    }

    /* a writer that no commit names has come since the registration */
    rc = nuc_log_reader_open(sys, p->options.queue, NUC_LOG_ALL, &p->reader, err);
    if (rc != NUC_OK) {
        return rc;
    }

    rc = nuc_pipeline_seek(p, err);
    if (rc != NUC_OK) {
        return rc;
    }

    state = (nuc_str_t){p->commit.sink_state.data, p->commit.sink_state.len};

    return conf->sink->open(sys, conf->name, conf->sink_options, state, &p->sink, err);
}

nuc_rc_t nuc_pipeline_open(const nuc_pipeline_options_t *options,
                           nuc_pipeline_t **pipeline, nuc_err_t *err)
{
    nuc_rc_t rc;
    nuc_pipeline_t *p;

    p = calloc(1, sizeof(*p));
    if (p == NULL) {
        return nuc_err_set(err, NUC_NOMEM, "no memory for a pipeline");
    }

    p->options = *options;
    nuc_commit_init(&p->commit);
    nuc_commit_init(&p->next);

    rc = nuc_pipeline_open_parts(p, err);
    if (rc != NUC_OK) {
        nuc_pipeline_close(p);
        return rc;
    }

    *pipeline = p;

    return NUC_OK;
}

void nuc_pipeline_close(nuc_pipeline_t *p)
{
    if (p->sink != NULL) {
        p->sink->ops->close(p->sink);
    }

    if (p->reader != NULL) {
        nuc_log_reader_close(p->reader);
    }

    nuc_commit_free(&p->commit);
    nuc_commit_free(&p->next);
    free(p);
}

int nuc_pipeline_pending(const nuc_pipeline_t *p)
{
    return p->dirty;
}

nuc_rc_t nuc_pipeline_lag(nuc_pipeline_t *p, nuc_log_lag_t *lag, nuc_err_t *err)
{
    return nuc_log_reader_lag(p->reader, lag, err);
}

const nuc_commit_t *nuc_pipeline_commit(const nuc_pipeline_t *p)
{
    return &p->commit;
}

/* Reading. */

static void nuc_pipeline_touch(nuc_pipeline_t *p, uint64_t now)
{
    if (!p->dirty) {
        p->dirty = 1;
        p->batch_begun = now;
    }
}

/* The books of the writer that was just read. */
static nuc_rc_t nuc_pipeline_book(nuc_pipeline_t *p, nuc_book_t **book, nuc_err_t *err)
{
    nuc_rc_t rc;

    rc = nuc_commit_set_position(&p->next, nuc_log_reader_last(p->reader), &p->source,
                                 err);
    *book = rc == NUC_OK ? &p->next.books[p->source] : NULL;

    return rc;
}

static nuc_rc_t nuc_pipeline_lost(nuc_pipeline_t *p, uint64_t lost, uint64_t now,
                                  nuc_err_t *damage)
{
    nuc_rc_t rc;
    nuc_err_t err;
    nuc_book_t *book;

    rc = nuc_pipeline_book(p, &book, &err);
    if (rc != NUC_OK) {
        *damage = err;
        return rc;
    }

    nuc_pipeline_touch(p, now);
    book->corrupt += lost;
    p->next.counts.read += lost;
    p->next.counts.corrupt += lost;

    if (p->options.report != NULL) {
        p->options.report(p->options.ctx, damage, lost);
    }

    return NUC_OK;
}

/* The next record, into the sink or past it.  NUC_AGAIN: there is none. */
static nuc_rc_t nuc_pipeline_read(nuc_pipeline_t *p, uint64_t now, nuc_err_t *err)
{
    nuc_rc_t rc;
    uint64_t lost;
    nuc_book_t *book;
    nuc_record_t record;
    nuc_counts_t *counts = &p->next.counts;

    lost = 0;
    rc = nuc_log_reader_next(p->reader, &record, &lost, err);

    if (rc == NUC_CORRUPT) {
        return nuc_pipeline_lost(p, lost, now, err);
    }

    if (rc == NUC_OK) {
        rc = nuc_pipeline_book(p, &book, err);
    }

    if (rc != NUC_OK) {
        return rc;
    }

    nuc_pipeline_touch(p, now);
    counts->read++;

    if (!nuc_pipeline_wants(p->options.conf, &record)) {
        book->filtered++;
        counts->filtered++;
        return NUC_OK;
    }

    book->delivered++;
    counts->delivered++;
    counts->delivered_bytes += record.data.len;
    p->batch_events++;

    return p->sink->ops->add(p->sink, &record, err);
}

static int nuc_pipeline_full(const nuc_pipeline_t *p)
{
    const nuc_pipeline_conf_t *conf = p->options.conf;

    return p->batch_events >= conf->batch_events ||
           p->sink->ops->batch_bytes(p->sink) >= conf->batch_size;
}

/* Reads at most "most" sequences, to the end of the queue or of the batch. */
static nuc_rc_t nuc_pipeline_gather(nuc_pipeline_t *p, uint64_t now, uint64_t most,
                                    nuc_err_t *err)
{
    nuc_rc_t rc;
    uint64_t end;

    end = p->next.counts.read + most;

    while (p->next.counts.read < end && !nuc_pipeline_full(p)) {
        rc = nuc_pipeline_read(p, now, err);
        if (rc != NUC_OK) {
            return rc;
        }
    }

    return NUC_OK;
}

/* Writing. */

static nuc_rc_t nuc_pipeline_commit_now(nuc_pipeline_t *p, nuc_err_t *err)
{
    assert(nuc_counts_balance(&p->commit.counts));

    p->commit.generation++;

    return nuc_commit_write(p->options.sys, p->dir, &p->commit, err);
}

static nuc_rc_t nuc_pipeline_write_batch(nuc_pipeline_t *p, nuc_err_t *err)
{
    int needed;
    nuc_rc_t rc;
    nuc_buf_t *state = &p->commit.sink_state;
    const nuc_sink_ops_t *ops = p->sink->ops;

    nuc_buf_reset(state);
    needed = 0;

    rc = ops->prepare(p->sink, state, &needed, err);

    if (rc == NUC_OK && needed) {
        rc = nuc_pipeline_commit_now(p, err);
        nuc_buf_reset(state);
    }

    return rc != NUC_OK ? rc : ops->flush(p->sink, state, err);
}

static nuc_rc_t nuc_pipeline_flush(nuc_pipeline_t *p, nuc_err_t *err)
{
    nuc_rc_t rc;
    uint64_t begun;

    begun = nuc_time_monotonic();

    if (p->batch_events > 0) {
        rc = nuc_pipeline_write_batch(p, err);
        if (rc != NUC_OK) {
            return rc;
        }
    }

    rc = nuc_commit_take_positions(&p->next, p->reader, err);

    if (rc == NUC_OK) {
        rc = nuc_commit_take_books(&p->commit, &p->next, err);
    }

    if (rc != NUC_OK) {
        return rc;
    }

    rc = nuc_pipeline_commit_now(p, err);
    if (rc != NUC_OK) {
        return rc;
    }

    if (p->batch_events > 0 && p->options.flushed != NULL) {
        p->options.flushed(p->options.ctx, nuc_time_monotonic() - begun);
    }

    p->dirty = 0;
    p->batch_events = 0;

    return NUC_OK;
}

static int nuc_pipeline_due(const nuc_pipeline_t *p, uint64_t now)
{
    return p->dirty && (nuc_pipeline_full(p) ||
                        now - p->batch_begun >= p->options.conf->batch_time * 1000);
}

static nuc_rc_t nuc_pipeline_try(nuc_pipeline_t *p, uint64_t now, uint64_t most,
                                 int force, int *did, nuc_err_t *err)
{
    nuc_rc_t rc;
    uint64_t before;

    before = p->next.counts.read;

    rc = nuc_pipeline_gather(p, now, most, err);
    if (rc != NUC_OK && rc != NUC_AGAIN) {
        return rc;
    }

    *did = p->next.counts.read != before;

    if (!nuc_pipeline_due(p, now) && !(force && p->dirty)) {
        return NUC_OK;
    }

    *did = 1;

    return nuc_pipeline_flush(p, err);
}

static nuc_rc_t nuc_pipeline_advance(nuc_pipeline_t *p, uint64_t now, uint64_t most,
                                     int force, int *did, nuc_err_t *err)
{
    nuc_rc_t rc;

    *did = 0;

    if (p->failed) {
        return nuc_err_set(err, NUC_CLOSED,
                           "the pipeline has failed and was not reopened");
    }

    rc = nuc_pipeline_try(p, now, most, force, did, err);
    if (rc != NUC_OK) {
        p->failed = 1;
    }

    return rc;
}

nuc_rc_t nuc_pipeline_step(nuc_pipeline_t *p, uint64_t now, int force_flush, int *did,
                           nuc_err_t *err)
{
    return nuc_pipeline_advance(p, now, NUC_PIPELINE_STEP, force_flush, did, err);
}

nuc_rc_t nuc_pipeline_drain(nuc_pipeline_t *p, uint64_t now, nuc_err_t *err)
{
    int did;
    nuc_rc_t rc;
    uint64_t end, left;
    nuc_log_lag_t lag;

    rc = nuc_log_reader_lag(p->reader, &lag, err);
    if (rc != NUC_OK) {
        return rc;
    }

    end = p->next.counts.read + lag.records;

    do {
        left = end > p->next.counts.read ? end - p->next.counts.read : 0;

        if (left > NUC_PIPELINE_STEP) {
            left = NUC_PIPELINE_STEP;
        }

        rc = nuc_pipeline_advance(p, now, left, 0, &did, err);
        if (rc != NUC_OK) {
            return rc;
        }

    } while (did && p->next.counts.read < end);

    return nuc_pipeline_advance(p, now, 0, 1, &did, err);
}

int nuc_pipeline_wait(const nuc_pipeline_t *p, uint64_t now, int most)
{
    uint64_t due;

    if (!p->dirty) {
        return most;
    }

    due = p->batch_begun + p->options.conf->batch_time * 1000;

    if (due <= now) {
        return 0;
    }

    return (due - now) / 1000 < (uint64_t) most ? (int) ((due - now) / 1000) + 1 : most;
}
