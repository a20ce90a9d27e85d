/*
 * A pipeline: reads the queue, passes over what it does not want, gives the rest to its
 * sink in batches, and commits.  A library without process or global state:
 * nuc_worker_process.c runs it, tests run it beside a queue in one thread.
 *
 * A batch becomes durable in this order:
 *
 *     1. sink prepare; if it names something new: commit (old position, new sink state)
 *     2. sink flush
 *     3. commit (new position, counts and sink state in one file)
 *
 * Whatever fails or dies in between, the pipeline opens again from the last commit, the
 * sink goes back to what that commit says, and the batch is read once more.  After any
 * error it must be closed and opened again.
 */

#ifndef NUC_PIPELINE_H
#define NUC_PIPELINE_H

#include "nuc_commit.h"
#include "nuc_worker_conf.h"

typedef struct nuc_pipeline_s nuc_pipeline_t;

/* Damaged bytes of the queue were passed over, "lost" sequences with them. */
typedef void (*nuc_pipeline_report_pt)(void *ctx, const nuc_err_t *err, uint64_t lost);

/* A batch was delivered and committed, which took "us". */
typedef void (*nuc_pipeline_flushed_pt)(void *ctx, uint64_t us);

typedef struct {
    const nuc_sys_t *sys;
    const nuc_pipeline_conf_t *conf;
    const char *state; /* directories; the pipeline is registered in the state */
    const char *queue;
    nuc_pipeline_report_pt report;   /* may be NULL */
    nuc_pipeline_flushed_pt flushed; /* likewise */
    void *ctx;
} nuc_pipeline_options_t;

/* "options" is copied; what it points to outlives the pipeline. */
nuc_rc_t nuc_pipeline_open(const nuc_pipeline_options_t *options,
                           nuc_pipeline_t **pipeline, nuc_err_t *err);
void nuc_pipeline_close(nuc_pipeline_t *pipeline); /* drops an unfinished batch */

/*
 * Read some records, and write and commit the batch if it is due: by size, by number, by
 * time, or because of "force_flush".  "now" in µs of any clock that never goes back.
 * *did: something was read or committed; else the queue is dry.
 */
nuc_rc_t nuc_pipeline_step(nuc_pipeline_t *pipeline, uint64_t now, int force_flush,
                           int *did, nuc_err_t *err);

/* Deliver and commit what the queue holds now, and not what comes meanwhile. */
nuc_rc_t nuc_pipeline_drain(nuc_pipeline_t *pipeline, uint64_t now, nuc_err_t *err);

/* ms until the batch is due, at most "most". */
int nuc_pipeline_wait(const nuc_pipeline_t *pipeline, uint64_t now, int most);

/* Has it read what is not committed yet? */
int nuc_pipeline_pending(const nuc_pipeline_t *pipeline);

/* What the queue holds beyond what was read. */
nuc_rc_t nuc_pipeline_lag(nuc_pipeline_t *pipeline, nuc_log_lag_t *lag, nuc_err_t *err);

/* The last one. */
const nuc_commit_t *nuc_pipeline_commit(const nuc_pipeline_t *pipeline);

#endif /* NUC_PIPELINE_H */
