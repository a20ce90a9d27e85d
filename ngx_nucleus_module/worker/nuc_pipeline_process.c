#include "nuc_pipeline_process.h"

#include "nuc_pipeline.h"
#include "nuc_state.h"
#include "nuc_time.h"
#include "nuc_worker_log.h"

#define NUC_PIPELINE_POLL 50 /* ms between looks at a dry queue */

static void nuc_pipeline_log_counts(const char *msg, const nuc_pipeline_t *p)
{
    const nuc_commit_t *commit;

    commit = nuc_pipeline_commit(p);

    nuc_worker_log(NUC_LEVEL_NOTICE, msg,
                   NUC_FIELD_NUMBER("generation", commit->generation),
                   NUC_FIELD_NUMBER("read", commit->counts.read),
                   NUC_FIELD_NUMBER("delivered", commit->counts.delivered),
                   NUC_FIELD_NUMBER("filtered", commit->counts.filtered),
                   NUC_FIELD_NUMBER("corrupt", commit->counts.corrupt));
}

static void nuc_pipeline_log_lost(void *ctx, const nuc_err_t *err, uint64_t lost)
{
    (void) ctx;

    nuc_worker_log(NUC_LEVEL_ALERT, "damage in the queue was passed over",
                   NUC_FIELD_TEXT("error", err->message), NUC_FIELD_NUMBER("lost", lost));
}

/* Until an error, or NUC_OK when it was told to stop and has drained. */
static nuc_rc_t nuc_pipeline_run(nuc_process_t *process, nuc_pipeline_t *p,
                                 nuc_err_t *err)
{
    int did, wait;
    nuc_rc_t rc;

    for (wait = 0; !nuc_process_wait(process, wait); /* void */) {

        rc = nuc_pipeline_step(p, nuc_time_monotonic(), 0, &did, err);
        if (rc != NUC_OK) {
            return rc;
        }

        wait = did ? 0 : nuc_pipeline_wait(p, nuc_time_monotonic(), NUC_PIPELINE_POLL);
    }

    rc = nuc_pipeline_drain(p, nuc_time_monotonic(), err);
    if (rc == NUC_OK) {
        nuc_pipeline_log_counts("pipeline drained", p);
    }

    return rc;
}

/* Once from the last commit.  *progressed: it committed something. */
static nuc_rc_t nuc_pipeline_once(nuc_process_t *process,
                                  const nuc_pipeline_options_t *options, int *progressed,
                                  nuc_err_t *err)
{
    uint64_t generation;
    nuc_rc_t rc;
    nuc_pipeline_t *p;

    *progressed = 0;

    rc = nuc_process_wait_dir(process, options->queue, err);
    if (rc != NUC_OK) {
        return rc;
    }

    rc = nuc_pipeline_open(options, &p, err);
    if (rc != NUC_OK) {
        return rc;
    }

    nuc_pipeline_log_counts("pipeline started", p);
    generation = nuc_pipeline_commit(p)->generation;

    rc = nuc_pipeline_run(process, p, err);

    /* a batch makes two commits, the failed one was counted too */
    *progressed = nuc_pipeline_commit(p)->generation > generation + 2;
    nuc_pipeline_close(p);

    return rc;
}

static int nuc_pipeline_repeat(nuc_process_t *process,
                               const nuc_pipeline_options_t *options)
{
    int progressed;
    unsigned pause;
    nuc_rc_t rc;
    nuc_err_t err;

    for (pause = 0; /* void */; /* void */) {

        rc = nuc_pipeline_once(process, options, &progressed, &err);

        if (rc == NUC_OK || rc == NUC_CLOSED) {
            return 0;
        }

        pause = nuc_backoff_next(progressed ? 0 : pause);

        nuc_worker_log_error(NUC_LEVEL_ERROR, "pipeline failed, will open it again",
                             &err);

        if (nuc_process_wait(process, (int) pause)) {
            nuc_worker_log(NUC_LEVEL_WARN, "pipeline stops without having drained");
            return 1;
        }
    }
}

int nuc_pipeline_process(nuc_process_t *process, const nuc_worker_conf_t *conf,
                         const nuc_pipeline_conf_t *pipeline)
{
    char dir[NUC_PATH_MAX];
    nuc_rc_t rc;
    nuc_err_t err;
    nuc_pipeline_options_t options;

    rc = nuc_state_pipeline_dir(dir, conf->state, pipeline->name, &err);

    if (rc == NUC_OK) {
        rc = nuc_process_lock(process, dir, &err);
    }

    if (rc == NUC_CLOSED) {
        return 0;
    }

    if (rc != NUC_OK) {
        nuc_worker_log_error(NUC_LEVEL_ERROR, "pipeline cannot start", &err);
        return 1;
    }

    options = (nuc_pipeline_options_t){
        .sys = &nuc_sys_posix,
        .conf = pipeline,
        .state = conf->state,
        .queue = conf->queue,
        .report = nuc_pipeline_log_lost,
    };

    return nuc_pipeline_repeat(process, &options);
}
