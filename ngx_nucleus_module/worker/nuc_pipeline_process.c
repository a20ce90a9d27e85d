#include "nuc_pipeline_process.h"

#include "nuc_owner.h"
#include "nuc_pipeline.h"
#include "nuc_progress.h"
#include "nuc_state.h"
#include "nuc_time.h"
#include "nuc_worker_log.h"

#define NUC_PIPELINE_POLL 50 /* ms between looks at a dry queue */

/* What takes longer than this to drain waits in the log until the next start. */
#define NUC_PIPELINE_DRAIN (NUC_DRAIN_MAX * 2 / 3) /* seconds */
#define NUC_PIPELINE_RATE  10000 /* records a second, until it was measured */

typedef struct {
    nuc_process_t *process;
    nuc_pipeline_t *pipeline;
    nuc_meter_t *meter;
    nuc_progress_t progress;
    char dir[NUC_PATH_MAX]; /* of the pipeline's state */
} nuc_pipeline_run_t;

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

static void nuc_pipeline_count_batch(void *ctx, uint64_t us)
{
    nuc_meter_delivered(ctx, us, nuc_time_now());
}

/* A record slipped through, as a fault of this program would let it. */
static void nuc_pipeline_log_unbalanced(const nuc_commit_t *commit)
{
    size_t i;
    char writer[NUC_UUID_TEXT_LEN + 1];
    int64_t records;

    for (i = 0; i <= commit->npositions; i++) {
        records = nuc_commit_unbalanced(commit, i);
        if (records == 0) {
            continue;
        }

        strcpy(writer, "retired");
        if (i < commit->npositions) {
            *nuc_uuid_format(&commit->positions[i].writer, writer) = '\0';
        }

        nuc_worker_log(NUC_LEVEL_ALERT,
                       records > 0 ? "records were passed that nobody has counted"
                                   : "records were counted twice",
                       NUC_FIELD_TEXT("writer", writer),
                       NUC_FIELD_NUMBER("records", records > 0 ? records : -records));
    }
}

/* Progress. */

static uint64_t nuc_pipeline_read_so_far(const nuc_pipeline_run_t *run)
{
    return nuc_pipeline_commit(run->pipeline)->counts.read;
}

static void nuc_pipeline_log_behind(const nuc_progress_report_t *report)
{
    if (report->seconds_left == NUC_PROGRESS_UNKNOWN) {
        nuc_worker_log(NUC_LEVEL_INFO, "behind, and not catching up",
                       NUC_FIELD_NUMBER("lag_records", report->lag_records),
                       NUC_FIELD_NUMBER("lag_bytes", report->lag_bytes),
                       NUC_FIELD_NUMBER("records_per_second", report->rate));
        return;
    }

    nuc_worker_log(NUC_LEVEL_INFO, "catching up",
                   NUC_FIELD_NUMBER("lag_records", report->lag_records),
                   NUC_FIELD_NUMBER("lag_bytes", report->lag_bytes),
                   NUC_FIELD_NUMBER("records_per_second", report->rate),
                   NUC_FIELD_NUMBER("seconds_left", report->seconds_left));
}

static nuc_rc_t nuc_pipeline_measure(nuc_pipeline_run_t *run, uint64_t now,
                                     nuc_err_t *err)
{
    nuc_rc_t rc;
    nuc_log_lag_t lag;

    if (!nuc_progress_due(&run->progress, now)) {
        return NUC_OK;
    }

    rc = nuc_pipeline_lag(run->pipeline, &lag, err);
    if (rc != NUC_OK) {
        return rc;
    }

    nuc_progress_sample(&run->progress, now, nuc_pipeline_read_so_far(run), &lag);
    nuc_progress_write(&nuc_sys_posix, run->dir, &run->progress);

    if (nuc_progress_say(&run->progress, now)) {
        nuc_pipeline_log_behind(&run->progress.now);
    }

    return NUC_OK;
}

static void nuc_pipeline_caught_up(nuc_pipeline_run_t *run, uint64_t now)
{
    uint64_t records, us;

    if (nuc_progress_dry(&run->progress, now, nuc_pipeline_read_so_far(run), &records,
                         &us)) {
        nuc_worker_log(NUC_LEVEL_INFO, "caught up", NUC_FIELD_NUMBER("records", records),
                       NUC_FIELD_NUMBER("seconds", us / 1000000));
    }
}

/* The process was told to stop. */
static nuc_rc_t nuc_pipeline_finish(nuc_pipeline_run_t *run, nuc_err_t *err)
{
    int did;
    double rate;
    nuc_rc_t rc;
    uint64_t now;
    nuc_log_lag_t lag;

    now = nuc_time_monotonic();

    rc = nuc_pipeline_lag(run->pipeline, &lag, err);
    if (rc != NUC_OK) {
        return rc;
    }

    rate = run->progress.rate < 0 ? NUC_PIPELINE_RATE : run->progress.rate;

    if ((double) lag.records > rate * NUC_PIPELINE_DRAIN) {
        rc = nuc_pipeline_step(run->pipeline, now, 1, &did, err);
        if (rc == NUC_OK) {
            nuc_pipeline_log_counts("pipeline stops behind, the log keeps the rest",
                                    run->pipeline);
        }

        return rc;
    }

    rc = nuc_pipeline_drain(run->pipeline, now, err);
    if (rc == NUC_OK) {
        nuc_pipeline_log_counts("pipeline drained", run->pipeline);
    }

    return rc;
}

/* Until an error, or NUC_OK when it was told to stop and has drained. */
static nuc_rc_t nuc_pipeline_run(nuc_pipeline_run_t *run, nuc_err_t *err)
{
    int did, wait;
    nuc_rc_t rc;
    uint64_t now, generation;

    now = nuc_time_monotonic();
    nuc_progress_init(&run->progress, now, nuc_pipeline_read_so_far(run));

    generation = nuc_pipeline_commit(run->pipeline)->generation;

    for (wait = 0; !nuc_process_wait(run->process, wait); /* void */) {

        rc = nuc_pipeline_step(run->pipeline, nuc_time_monotonic(), 0, &did, err);
        if (rc != NUC_OK) {
            return rc;
        }

        now = nuc_time_monotonic();

        /* after an error it has to show that it can */
        if (nuc_pipeline_commit(run->pipeline)->generation != generation ||
            (!did && !nuc_pipeline_pending(run->pipeline))) {
            nuc_meter_set(&run->meter->works, 1);
        }

        if (did) {
            wait = 0;
            rc = nuc_pipeline_measure(run, now, err);
            if (rc != NUC_OK) {
                return rc;
            }

        } else {
            wait = nuc_pipeline_wait(run->pipeline, now, NUC_PIPELINE_POLL);
            nuc_pipeline_caught_up(run, now);
        }
    }

    return nuc_pipeline_finish(run, err);
}

/* Once from the last commit.  *progressed: it committed something. */
static nuc_rc_t nuc_pipeline_once(nuc_process_t *process,
                                  const nuc_pipeline_options_t *options, int *progressed,
                                  nuc_err_t *err)
{
    uint64_t generation;
    nuc_rc_t rc;
    nuc_pipeline_t *p;
    nuc_pipeline_run_t run;

    *progressed = 0;

    rc = nuc_process_wait_dir(process, options->queue, err);

    /* its disk may be gone, and with it all that the positions are for */
    if (rc == NUC_OK) {
        rc = nuc_owner_check(&nuc_sys_posix, options->state, options->queue, err);
    }

    if (rc != NUC_OK) {
        return rc;
    }

    rc = nuc_state_pipeline_dir(run.dir, options->state, options->conf->name, err);
    if (rc != NUC_OK) {
        return rc;
    }

    rc = nuc_pipeline_open(options, &p, err);
    if (rc != NUC_OK) {
        return rc;
    }

    run.process = process;
    run.pipeline = p;
    run.meter = options->ctx;

    nuc_pipeline_log_counts("pipeline started", p);
    nuc_pipeline_log_unbalanced(nuc_pipeline_commit(p));
    generation = nuc_pipeline_commit(p)->generation;

    rc = nuc_pipeline_run(&run, err);

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
    nuc_meter_t *meter = options->ctx;

    for (pause = 0; /* void */; /* void */) {

        rc = nuc_pipeline_once(process, options, &progressed, &err);

        if (rc == NUC_OK || rc == NUC_CLOSED) {
            return 0;
        }

        pause = nuc_backoff_next(progressed ? 0 : pause);

        nuc_meter_set(&meter->works, 0);
        nuc_meter_add(&meter->errors, 1);
        nuc_worker_log_error(NUC_LEVEL_ERROR, "pipeline failed, will open it again",
                             &err);

        if (nuc_process_wait(process, (int) pause)) {
            nuc_worker_log(NUC_LEVEL_WARN, "pipeline stops without having drained");
            return 1;
        }
    }
}

int nuc_pipeline_process(nuc_process_t *process, const nuc_worker_conf_t *conf,
                         const nuc_pipeline_conf_t *pipeline, nuc_meter_t *meter)
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
        .flushed = nuc_pipeline_count_batch,
        .ctx = meter,
    };

    return nuc_pipeline_repeat(process, &options);
}
