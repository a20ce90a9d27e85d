/*
 * The meaning of worker.conf.
 */

#ifndef NUC_WORKER_CONF_H
#define NUC_WORKER_CONF_H

#include "nuc_conf.h"
#include "nuc_err.h"
#include "nuc_record.h"
#include "nuc_sink.h"
#include "nuc_worker_log.h"

#define NUC_WORKER_VERSION       "0.1.0"
#define NUC_WORKER_CONF_DEFAULT  "/etc/nucleus/worker.conf"
#define NUC_WORKER_STATE_DEFAULT "/var/lib/nucleus"
#define NUC_WORKER_API_DEFAULT   "/run/nucleus/worker.sock"

/* Exact names, and prefixes of names: those end with "*", which stands alone for all. */
typedef struct {
    const char **patterns;
    unsigned count; /* 0: everything */
} nuc_filter_t;

typedef struct {
    const char *name;
    nuc_filter_t tenants;
    nuc_filter_t streams;
    unsigned kinds;        /* bit 1 << nuc_kind_t; 0: everything */
    int from_end;          /* start latest */
    uint64_t batch_size;   /* bytes */
    uint64_t batch_events; /* records */
    uint64_t batch_time;   /* ms */
    const nuc_sink_ops_t *sink;
    void *sink_options; /* filled from the sink's table */
} nuc_pipeline_conf_t;

typedef struct {
    const char *state;   /* the directory of lock and cursors */
    const char *queue;   /* the directory of the log */
    unsigned state_line; /* where they stand; 0: nowhere */
    unsigned queue_line;
    const char *error_log; /* a file; NULL: standard error */
    nuc_level_t log_level; /* the least that is logged */
    const char *api;       /* the socket of the local API; NULL: off */
    nuc_pipeline_conf_t *pipelines;
    unsigned npipelines;
    nuc_conf_t *tree; /* owns the strings */
} nuc_worker_conf_t;

/*
 * NUC_INVALID for what is wrong in the text, as `message in FILE:LINE`.  "conf" needs no
 * initialisation; after an error there is nothing to free.
 */
nuc_rc_t nuc_worker_conf_parse(nuc_str_t text, const char *file, nuc_worker_conf_t *conf,
                               nuc_err_t *err);
nuc_rc_t nuc_worker_conf_load(const char *file, nuc_worker_conf_t *conf, nuc_err_t *err);
void nuc_worker_conf_free(nuc_worker_conf_t *conf);

/* Do the directories exist, or can they be made?  Makes nothing. */
nuc_rc_t nuc_worker_conf_check(const nuc_worker_conf_t *conf, nuc_err_t *err);

/* Is there the directory of the API's socket?  It is not needed to deliver. */
nuc_rc_t nuc_worker_conf_check_api(const nuc_worker_conf_t *conf, nuc_err_t *err);

const nuc_pipeline_conf_t *nuc_worker_conf_pipeline(const nuc_worker_conf_t *conf,
                                                    const char *name);

/* Would both deliver the same to the same place, in the same batches? */
int nuc_pipeline_conf_same(const nuc_pipeline_conf_t *a, const nuc_pipeline_conf_t *b);

int nuc_filter_match(const nuc_filter_t *filter, nuc_str_t name);

/* Does the pipeline want the record? */
int nuc_pipeline_wants(const nuc_pipeline_conf_t *conf, const nuc_record_t *record);

#endif /* NUC_WORKER_CONF_H */
