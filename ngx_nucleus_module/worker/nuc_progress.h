/*
 * How fast a pipeline goes, and when it will have caught up.  The numbers are for people:
 * they go to the log and into state/pipelines/NAME/progress, for --status, which is
 * replaced now and then and never synced.
 *
 * A pipeline is behind from the moment that its queue was last seen dry.
 */

#ifndef NUC_PROGRESS_H
#define NUC_PROGRESS_H

#include "nuc_log.h"
#include "nuc_sys.h"

#define NUC_PROGRESS_NAME "progress"

/* "Not known": nothing was measured, or it does not come nearer. */
#define NUC_PROGRESS_UNKNOWN UINT64_MAX

typedef struct {
    uint64_t lag_records;
    uint64_t lag_bytes;
    uint64_t rate;         /* records a second */
    uint64_t seconds_left; /* at the speed at which the lag shrinks */
} nuc_progress_report_t;

typedef struct {
    uint64_t behind_since; /* µs, when the queue was last seen dry */
    uint64_t looked;       /* µs, the last sample */
    uint64_t said;         /* µs, the last report; 0: none since it fell behind */
    uint64_t read;         /* records, at the last sample */
    uint64_t read_behind;  /* at behind_since */
    double rate;           /* records a second, smoothed; below 0: no sample yet */
    double shrinks;        /* so does the lag */
    nuc_progress_report_t now;
} nuc_progress_t;

/* All times are µs of a clock that never goes back; "read" counts records. */
void nuc_progress_init(nuc_progress_t *progress, uint64_t now, uint64_t read);

/* Is it time for a sample?  Once a second, for what is worth telling. */
int nuc_progress_due(const nuc_progress_t *progress, uint64_t now);
void nuc_progress_sample(nuc_progress_t *progress, uint64_t now, uint64_t read,
                         const nuc_log_lag_t *lag);

/* It is behind for longer than a moment, and was not reported for ten seconds. */
int nuc_progress_say(nuc_progress_t *progress, uint64_t now);

/*
 * The queue is dry.  True when it had been reported that it was behind: *records were
 * read in *us meanwhile.
 */
int nuc_progress_dry(nuc_progress_t *progress, uint64_t now, uint64_t read,
                     uint64_t *records, uint64_t *us);

/* Replaces dir/progress; failures are not told. */
void nuc_progress_write(const nuc_sys_t *sys, const char *dir,
                        const nuc_progress_t *progress);

/* What dir/progress says; 0 when it says nothing, or nothing that is still true. */
int nuc_progress_read(const nuc_sys_t *sys, const char *dir, uint64_t now,
                      nuc_progress_report_t *report);

#endif /* NUC_PROGRESS_H */
