#include "nuc_storage.h"

#include "nuc_fs.h"

typedef struct {
    const nuc_sys_t *sys;
    nuc_storage_warn_pt warn;
    void *ctx;
} nuc_storage_t;

/* "what" is the directive. */
static nuc_rc_t nuc_storage_judge(const nuc_storage_t *storage, const char *what,
                                  const char *path, int must, nuc_err_t *err)
{
    nuc_rc_t rc;
    nuc_err_t why, said;

    rc = nuc_fs_check_durable(storage->sys, path, &why);
    if (rc == NUC_OK) {
        return NUC_OK;
    }

    nuc_err_set(&said, rc, "%s %s", what, why.message);
    nuc_err_hint(&said, "%s", why.hint);

    if (rc == NUC_INVALID && must) {
        *err = said;
        return rc;
    }

    storage->warn(storage->ctx, &said);

    return NUC_OK;
}

static nuc_rc_t nuc_storage_judge_sink(const nuc_storage_t *storage,
                                       const nuc_pipeline_conf_t *pipeline,
                                       nuc_err_t *err)
{
    nuc_rc_t rc;
    const char *dir;
    const nuc_sink_option_t *option = NULL;

    while ((option = nuc_sink_next_dir(pipeline->sink, pipeline->sink_options, option,
                                       &dir)) != NULL) {
        rc = nuc_storage_judge(storage, "sink", dir, 0, err);
        if (rc != NUC_OK) {
            return rc;
        }
    }

    return NUC_OK;
}

nuc_rc_t nuc_storage_check(const nuc_sys_t *sys, const nuc_worker_conf_t *conf,
                           nuc_storage_warn_pt warn, void *ctx, nuc_err_t *err)
{
    unsigned i;
    nuc_rc_t rc;
    nuc_storage_t storage = {sys, warn, ctx};

    rc = nuc_storage_judge(&storage, "queue", conf->queue, 1, err);

    if (rc == NUC_OK) {
        rc = nuc_storage_judge(&storage, "state", conf->state, 1, err);
    }

    for (i = 0; rc == NUC_OK && i < conf->npipelines; i++) {
        rc = nuc_storage_judge_sink(&storage, &conf->pipelines[i], err);
    }

    return rc;
}
