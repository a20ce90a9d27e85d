#include "nuc_status.h"

#include <stdlib.h>
#include <string.h>

#include "nuc_time.h"

static void nuc_status_take_source(nuc_status_source_t *source,
                                   const nuc_commit_t *commit, size_t i,
                                   const nuc_log_reader_t *reader)
{
    uint64_t passed, head;
    const nuc_log_position_t *p = &commit->positions[i];

    passed = p->sequence > 0 ? p->sequence - 1 : 0;
    head = nuc_log_reader_durable(reader, &p->writer);

    source->writer = p->writer;
    source->durable = head > 0 ? head - 1 : 0;

    /* the head is never synced: a power cut leaves an old one, or none */
    if (source->durable < passed) {
        source->durable = passed;
    }

    source->queued = source->durable - passed;
    source->skipped = p->skipped;
    source->book = commit->books[i];
    source->unbalanced =
        (int64_t) (source->durable - source->queued - source->skipped -
                   source->book.delivered - source->book.filtered - source->book.corrupt);
}

/* Writers whose directories are gone have no head any more. */
static void nuc_status_take_retired(nuc_status_source_t *source,
                                    const nuc_commit_t *commit)
{
    source->durable = commit->retired.sequences;
    source->queued = 0;
    source->skipped = commit->retired.skipped;
    source->book = commit->retired.book;
    source->unbalanced = nuc_commit_unbalanced(commit, commit->npositions);
}

static nuc_rc_t nuc_status_take_sources(nuc_status_t *status, nuc_log_reader_t *reader,
                                        nuc_err_t *err)
{
    size_t i;
    nuc_rc_t rc;
    nuc_commit_t *commit = &status->commit;

    rc = nuc_commit_take_positions(commit, reader, err);
    if (rc != NUC_OK) {
        return rc;
    }

    status->sources = calloc(commit->npositions + 1, sizeof(*status->sources));
    if (status->sources == NULL) {
        return nuc_err_set(err, NUC_NOMEM, "no memory for %zu writers",
                           commit->npositions);
    }

    for (i = 0; i < commit->npositions; i++) {
        nuc_status_take_source(&status->sources[i], commit, i, reader);
    }

    nuc_status_take_retired(&status->sources[i], commit);
    status->nsources = i + 1;

    return NUC_OK;
}

static nuc_rc_t nuc_status_ask(nuc_status_t *status, nuc_log_reader_t *reader,
                               nuc_err_t *err)
{
    size_t i;
    nuc_rc_t rc;

    for (i = 0, rc = NUC_OK; rc == NUC_OK && i < status->commit.npositions; i++) {
        rc = nuc_log_reader_seek(reader, &status->commit.positions[i], err);
    }

    if (rc == NUC_OK) {
        rc = nuc_log_reader_lag(reader, &status->lag, err);

        /* no queue yet: nothing to lag behind, and no writer that could be gone */
        if (rc == NUC_NOT_FOUND) {
            return NUC_OK;
        }
    }

    if (rc == NUC_OK) {
        rc = nuc_status_take_sources(status, reader, err);
    }

    if (rc == NUC_OK && status->lag.records > 0) {
        rc = nuc_log_reader_oldest(reader, &status->oldest, err);
    }

    return rc;
}

static nuc_rc_t nuc_status_ask_log(const char *queue, nuc_status_t *status,
                                   nuc_err_t *err)
{
    nuc_rc_t rc;
    nuc_log_reader_t *reader;

    rc = nuc_log_reader_open(&nuc_sys_posix, queue, NUC_LOG_ALL, &reader, err);
    if (rc != NUC_OK) {
        return rc;
    }

    rc = nuc_status_ask(status, reader, err);
    nuc_log_reader_close(reader);

    return rc;
}

static void nuc_status_gather_one(const nuc_worker_conf_t *conf, nuc_status_t *status)
{
    char dir[NUC_PATH_MAX];
    nuc_rc_t rc;

    rc = nuc_state_pipeline_dir(dir, conf->state, status->name, &status->err);

    if (rc == NUC_OK) {
        rc = nuc_commit_read(&nuc_sys_posix, dir, &status->commit, &status->err);
    }

    if (rc == NUC_OK) {
        rc = nuc_status_ask_log(conf->queue, status, &status->err);
        status->has_progress =
            nuc_progress_read(&nuc_sys_posix, dir, nuc_time_monotonic(),
                              &status->progress) &&
            status->lag.records > 0;
    }

    status->rc = rc;
}

static void nuc_status_gather_processes(const nuc_worker_conf_t *conf,
                                        nuc_status_all_t *all)
{
    size_t i;
    nuc_buf_t text;
    nuc_status_t *status;

    text = NUC_BUF_INIT;
    all->running = nuc_roster_read(&nuc_sys_posix, conf->state, &text);

    if (all->running) {
        all->has_keeper = nuc_roster_find(&text, NUC_ROLE_KEEPER, NULL, &all->keeper);
        all->has_api = nuc_roster_find(&text, NUC_ROLE_API, NULL, &all->api);

        for (i = 0; i < all->count; i++) {
            status = &all->pipelines[i];
            status->has_process =
                nuc_roster_find(&text, NUC_ROLE_PIPELINE, status->name, &status->process);
        }
    }

    nuc_buf_free(&text);
}

static int nuc_status_has(const nuc_status_t *all, size_t count, const char *name)
{
    size_t i;

    for (i = 0; i < count; i++) {
        if (strcmp(all[i].name, name) == 0) {
            return 1;
        }
    }

    return 0;
}

/* The registered pipelines, then the configured ones that are not. */
static size_t nuc_status_collect(const nuc_worker_conf_t *conf,
                                 const nuc_state_names_t *names, nuc_status_t *all)
{
    size_t i, count;

    for (count = 0; count < names->count; count++) {
        all[count].name = names->names[count];
        all[count].registered = 1;
        all[count].configured = nuc_worker_conf_pipeline(conf, all[count].name) != NULL;
        nuc_status_gather_one(conf, &all[count]);
    }

    for (i = 0; i < conf->npipelines; i++) {
        if (!nuc_status_has(all, names->count, conf->pipelines[i].name)) {
            all[count].name = conf->pipelines[i].name;
            all[count].configured = 1;
            count++;
        }
    }

    return count;
}

nuc_rc_t nuc_status_gather(const nuc_worker_conf_t *conf, nuc_status_all_t *all,
                           nuc_err_t *err)
{
    nuc_rc_t rc;

    memset(all, 0, sizeof(*all));

    rc = nuc_state_list(&nuc_sys_posix, conf->state, &all->names, err);
    if (rc != NUC_OK) {
        return rc;
    }

    all->pipelines = calloc(all->names.count + conf->npipelines, sizeof(*all->pipelines));
    if (all->pipelines == NULL) {
        nuc_state_names_free(&all->names);
        return nuc_err_set(err, NUC_NOMEM, "no memory for a list of pipelines");
    }

    all->count = nuc_status_collect(conf, &all->names, all->pipelines);
    nuc_status_gather_processes(conf, all);

    return NUC_OK;
}

void nuc_status_free(nuc_status_all_t *all)
{
    size_t i;

    for (i = 0; i < all->count; i++) {
        nuc_commit_free(&all->pipelines[i].commit);
        free(all->pipelines[i].sources);
    }

    free(all->pipelines);
    nuc_state_names_free(&all->names);
}

uint64_t nuc_status_waited(const nuc_status_t *status, uint64_t now)
{
    return status->oldest > 0 && now > status->oldest ? now - status->oldest : 0;
}
