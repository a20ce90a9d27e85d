/*
 * How it stands with each pipeline, as the files and the log tell: it can be asked beside
 * a running worker and without one.  It takes no lock, commits are read as they are.
 */

#ifndef NUC_STATUS_H
#define NUC_STATUS_H

#include <stdio.h>

#include "nuc_commit.h"
#include "nuc_log.h"
#include "nuc_progress.h"
#include "nuc_roster.h"
#include "nuc_state.h"
#include "nuc_worker_conf.h"

/*
 * The books of one writer (invariant 8 of the design), of figures that know nothing of
 * each other: what is durable comes from the writer's head, what is queued is what lies
 * between that and the position, and the others were counted where they happened.
 */
typedef struct {
    nuc_uuid_t writer;
    uint64_t durable; /* sequences */
    uint64_t queued;
    uint64_t skipped; /* were no records for this pipeline: nuc_log_position_t */
    nuc_book_t book;
    int64_t unbalanced; /* durable - all of the others */
} nuc_status_source_t;

typedef struct {
    const char *name;
    int registered;
    int configured;
    nuc_rc_t rc; /* of reading the commit and the lag */
    nuc_err_t err;
    nuc_commit_t commit;          /* with the writers that came and went since */
    nuc_status_source_t *sources; /* one for each position, and the retired ones' */
    size_t nsources;              /* 0 when there is an error */
    nuc_log_lag_t lag;
    uint64_t oldest; /* µs since 1970, when the oldest record of the lag was received; 0:
                        there is none */
    int has_progress;
    nuc_progress_report_t progress;
    int has_process;
    nuc_roster_entry_t process;
} nuc_status_t;

typedef struct {
    nuc_state_names_t names;
    nuc_status_t *pipelines; /* registered or configured */
    size_t count;
    int running; /* a supervisor */
    int has_keeper;
    nuc_roster_entry_t keeper;
    int has_api;
    nuc_roster_entry_t api;
} nuc_status_all_t;

/* The names are those of "conf".  Free it, but not after an error. */
nuc_rc_t nuc_status_gather(const nuc_worker_conf_t *conf, nuc_status_all_t *all,
                           nuc_err_t *err);
void nuc_status_free(nuc_status_all_t *all);

/* µs that the oldest record of the lag has waited. */
uint64_t nuc_status_waited(const nuc_status_t *status, uint64_t now);

/* Appends; the caller looks at out->failed. */
void nuc_status_json(const nuc_status_all_t *all, nuc_buf_t *out);
void nuc_status_text(const nuc_status_all_t *all, nuc_buf_t *out);

/*
 * Gathers and prints.  A pipeline whose commit cannot be read is shown with its error,
 * and the first such is returned.
 */
nuc_rc_t nuc_status_print(const nuc_worker_conf_t *conf, int json, FILE *out,
                          nuc_err_t *err);

#endif /* NUC_STATUS_H */
