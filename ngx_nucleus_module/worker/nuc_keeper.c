#include "nuc_keeper.h"

#include <stdlib.h>

#include "nuc_commit.h"
#include "nuc_owner.h"
#include "nuc_state.h"
#include "nuc_time.h"
#include "nuc_worker_log.h"

#define NUC_KEEPER_POLL 500 /* ms */

/* The rounds. */

nuc_rc_t nuc_keeper_open(nuc_keeper_t *keeper, const nuc_sys_t *sys, const char *state,
                         const char *queue, nuc_log_report_pt report, void *ctx,
                         nuc_err_t *err)
{
    keeper->sys = sys;
    keeper->state = state;
    keeper->settled = 0;
    nuc_tenant_count_init(&keeper->counted, sys, queue);

    return nuc_log_keeper_open(sys, queue, report, ctx, &keeper->log, err);
}

void nuc_keeper_close(nuc_keeper_t *keeper)
{
    nuc_tenant_count_free(&keeper->counted);
    nuc_log_keeper_close(keeper->log);
}

static nuc_rc_t nuc_keeper_read(const nuc_keeper_t *keeper,
                                const nuc_state_names_t *names, nuc_commit_t *commits,
                                nuc_err_t *err)
{
    char dir[NUC_PATH_MAX];
    size_t i;
    nuc_rc_t rc;

    for (i = 0; i < names->count; i++) {
        rc = nuc_state_pipeline_dir(dir, keeper->state, names->names[i], err);
        if (rc != NUC_OK) {
            return rc;
        }

        rc = nuc_commit_read(keeper->sys, dir, &commits[i], err);
        if (rc != NUC_OK) {
            return rc;
        }
    }

    return NUC_OK;
}

/*
 * A commit may be visible and not durable yet.  Were the log removed up to it, a power
 * cut would bring back the older one, and what lies between would be lost.
 */
static nuc_rc_t nuc_keeper_settle(nuc_keeper_t *keeper, const nuc_state_names_t *names,
                                  const nuc_commit_t *commits, nuc_err_t *err)
{
    char dir[NUC_PATH_MAX];
    size_t i;
    uint64_t generations;
    nuc_rc_t rc;

    generations = 0;

    for (i = 0; i < names->count; i++) {
        generations += commits[i].generation;
    }

    /* it only grows: pipelines may be registered while a keeper runs, never forgotten */
    if (generations == keeper->settled) {
        return NUC_OK;
    }

    for (i = 0; i < names->count; i++) {
        rc = nuc_state_pipeline_dir(dir, keeper->state, names->names[i], err);
        if (rc != NUC_OK) {
            return rc;
        }

        rc = nuc_commit_settle(keeper->sys, dir, err);
        if (rc != NUC_OK) {
            return rc;
        }
    }

    keeper->settled = generations;

    return NUC_OK;
}

/* Count what tenants have, then remove. */
static nuc_rc_t nuc_keeper_remove_before(nuc_keeper_t *keeper,
                                         const nuc_commit_t *commits, size_t count,
                                         nuc_err_t *err)
{
    size_t i;
    nuc_rc_t rc, count_rc;
    nuc_err_t count_err;
    nuc_log_consumer_t *consumers;

    consumers = calloc(count + 1, sizeof(*consumers));
    if (consumers == NULL) {
        return nuc_err_set(err, NUC_NOMEM, "no memory for %zu cursors", count);
    }

    for (i = 0; i < count; i++) {
        consumers[i].positions = commits[i].positions;
        consumers[i].count = commits[i].npositions;
    }

    count_rc = nuc_tenant_count_round(&keeper->counted, consumers, count, &count_err);

    /* what has not been counted yet is still needed; a count that failed holds up nothing
     */
    rc = count_rc == NUC_AGAIN
             ? NUC_OK
             : nuc_log_keeper_remove(keeper->log, consumers, count, err);

    free(consumers);

    if (rc == NUC_OK && count_rc != NUC_OK && count_rc != NUC_AGAIN) {
        *err = count_err;
        return count_rc;
    }

    return rc;
}

static nuc_rc_t nuc_keeper_remove_listed(nuc_keeper_t *keeper,
                                         const nuc_state_names_t *names, nuc_err_t *err)
{
    size_t i;
    nuc_rc_t rc;
    nuc_commit_t *commits;

    commits = calloc(names->count + 1, sizeof(*commits));
    if (commits == NULL) {
        return nuc_err_set(err, NUC_NOMEM, "no memory for %zu commits", names->count);
    }

    for (i = 0; i < names->count; i++) {
        nuc_commit_init(&commits[i]);
    }

    rc = nuc_keeper_read(keeper, names, commits, err);

    if (rc == NUC_OK) {
        rc = nuc_keeper_settle(keeper, names, commits, err);
    }

    if (rc == NUC_OK) {
        rc = nuc_keeper_remove_before(keeper, commits, names->count, err);
    }

    for (i = 0; i < names->count; i++) {
        nuc_commit_free(&commits[i]);
    }

    free(commits);

    return rc;
}

static nuc_rc_t nuc_keeper_remove(nuc_keeper_t *keeper, nuc_err_t *err)
{
    nuc_rc_t rc;
    nuc_state_names_t names;

    rc = nuc_state_list(keeper->sys, keeper->state, &names, err);
    if (rc != NUC_OK) {
        return rc;
    }

    rc = nuc_keeper_remove_listed(keeper, &names, err);
    nuc_state_names_free(&names);

    return rc;
}

nuc_rc_t nuc_keeper_round(nuc_keeper_t *keeper, nuc_err_t *err)
{
    nuc_rc_t rc, remove_rc;
    nuc_err_t remove_err;

    /* one writer's trouble does not keep the others' segments on the disk */
    rc = nuc_log_keeper_tend(keeper->log, err);
    remove_rc = nuc_keeper_remove(keeper, &remove_err);

    if (rc == NUC_OK && remove_rc != NUC_OK) {
        *err = remove_err;
        return remove_rc;
    }

    return rc;
}

/* The process. */

static void nuc_keeper_log(void *ctx, const nuc_log_report_t *report)
{
    static const struct {
        nuc_level_t level;
        const char *msg;
    } said[] = {
        [NUC_LOG_ADOPTED] = {NUC_LEVEL_NOTICE, "log of a dead writer recovered"},
        [NUC_LOG_CUT] = {NUC_LEVEL_WARN, "torn tail cut"},
        [NUC_LOG_QUARANTINED] = {NUC_LEVEL_ALERT, "damaged bytes copied to quarantine"},
        [NUC_LOG_SEALED] = {NUC_LEVEL_INFO, "segment indexed"},
        [NUC_LOG_REMOVED] = {NUC_LEVEL_INFO, "segment removed"},
        [NUC_LOG_RETIRED] = {NUC_LEVEL_INFO, "directory of a dead writer removed"},
    };
    char writer[NUC_UUID_TEXT_LEN + 1];
    nuc_meter_t *meter = ctx;

    *nuc_uuid_format(&report->writer, writer) = '\0';

    if (report->event == NUC_LOG_QUARANTINED) {
        nuc_meter_add(&meter->quarantined, report->bytes);
    }

    nuc_worker_log(said[report->event].level, said[report->event].msg,
                   NUC_FIELD_TEXT("writer", writer),
                   NUC_FIELD_NUMBER("segment", report->segment),
                   NUC_FIELD_NUMBER("records", report->records),
                   NUC_FIELD_NUMBER("bytes", report->bytes),
                   NUC_FIELD_TEXT("path", report->path != NULL ? report->path : ""));
}

static nuc_rc_t nuc_keeper_open_process(nuc_process_t *process,
                                        const nuc_worker_conf_t *conf, nuc_meter_t *meter,
                                        nuc_keeper_t *keeper, nuc_err_t *err)
{
    nuc_rc_t rc;

    rc = nuc_process_wait_dir(process, conf->queue, err);

    /* it may not have been there when the worker started */
    if (rc == NUC_OK) {
        rc = nuc_owner_claim(&nuc_sys_posix, conf->state, conf->queue, err);
    }

    if (rc != NUC_OK) {
        return rc;
    }

    rc = nuc_keeper_open(keeper, &nuc_sys_posix, conf->state, conf->queue, nuc_keeper_log,
                         meter, err);
    if (rc == NUC_BUSY) {
        nuc_err_hint(err,
                     "one worker to a queue: another one's keeper does not know of these "
                     "pipelines and removes what they have not read");
    }

    return rc;
}

static nuc_rc_t nuc_keeper_begin(nuc_process_t *process, const nuc_worker_conf_t *conf,
                                 nuc_meter_t *meter, nuc_keeper_t *keeper)
{
    unsigned waited;
    nuc_rc_t rc;
    nuc_err_t err;
    nuc_trouble_t trouble;

    trouble.said = 0;

    for (waited = 0; /* void */; waited += NUC_KEEPER_POLL) {
        rc = nuc_keeper_open_process(process, conf, meter, keeper, &err);

        if (rc == NUC_OK || rc == NUC_CLOSED) {
            return rc;
        }

        /* at first it is the keeper of the worker before, which is ending */
        if (rc != NUC_BUSY || waited > NUC_DRAIN_MAX * 1000) {
            nuc_meter_add(&meter->errors, 1);
            nuc_worker_log_trouble(&trouble, "keeper cannot start", &err);
        }

        if (nuc_process_wait(process, NUC_KEEPER_POLL)) {
            return NUC_CLOSED;
        }
    }
}

int nuc_keeper_process(nuc_process_t *process, const nuc_worker_conf_t *conf,
                       nuc_meter_t *meter)
{
    nuc_err_t err;
    nuc_keeper_t keeper;
    nuc_trouble_t trouble;

    if (nuc_keeper_begin(process, conf, meter, &keeper) != NUC_OK) {
        return 0;
    }

    nuc_worker_log(NUC_LEVEL_NOTICE, "keeper started",
                   NUC_FIELD_TEXT("queue", conf->queue));
    trouble.said = 0;

    do {
        if (nuc_keeper_round(&keeper, &err) == NUC_OK) {
            trouble.said = 0;
            nuc_meter_set(&meter->works, 1);
        } else {
            nuc_meter_set(&meter->works, 0);
            nuc_meter_add(&meter->errors, 1);
            nuc_worker_log_trouble(&trouble, "keeper's round failed", &err);
        }

    } while (!nuc_process_wait(process, NUC_KEEPER_POLL));

    nuc_keeper_close(&keeper);
    nuc_worker_log(NUC_LEVEL_NOTICE, "keeper stopped");

    return 0;
}
