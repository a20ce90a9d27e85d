#include "nuc_progress.h"

#include <inttypes.h>
#include <stdio.h>

#include "nuc_buf.h"
#include "nuc_fs.h"

#define NUC_PROGRESS_SAMPLE 1000000ULL /* µs between two samples */
#define NUC_PROGRESS_MOMENT                                                              \
    5000000ULL                          /* µs of being behind that are not worth a word \
                                         */
#define NUC_PROGRESS_REPEAT 10000000ULL /* µs between two reports */
#define NUC_PROGRESS_STALE  5000000ULL  /* µs after which a file says nothing any more */
#define NUC_PROGRESS_MAX    4096
#define NUC_PROGRESS_WEIGHT 0.2 /* of the newest sample */

void nuc_progress_init(nuc_progress_t *progress, uint64_t now, uint64_t read)
{
    *progress = (nuc_progress_t){.behind_since = now,
                                 .looked = now,
                                 .read = read,
                                 .read_behind = read,
                                 .rate = -1,
                                 .now = {.seconds_left = NUC_PROGRESS_UNKNOWN}};
}

int nuc_progress_due(const nuc_progress_t *progress, uint64_t now)
{
    return now - progress->looked >= NUC_PROGRESS_SAMPLE;
}

static void nuc_progress_smooth(double *value, double sample, int first)
{
    *value = first ? sample : *value + NUC_PROGRESS_WEIGHT * (sample - *value);
}

void nuc_progress_sample(nuc_progress_t *progress, uint64_t now, uint64_t read,
                         const nuc_log_lag_t *lag)
{
    int first;
    double seconds, left;
    nuc_progress_report_t *report = &progress->now;

    if (now <= progress->looked) {
        return;
    }

    seconds = (double) (now - progress->looked) / 1e6;
    first = progress->rate < 0;

    nuc_progress_smooth(&progress->rate, (double) (read - progress->read) / seconds,
                        first);

    /* the first time it is not known how long the lag was before */
    nuc_progress_smooth(&progress->shrinks,
                        first ? progress->rate
                              : ((double) report->lag_records - (double) lag->records) /
                                    seconds,
                        first);

    progress->looked = now;
    progress->read = read;

    left = progress->shrinks > 0 ? (double) lag->records / progress->shrinks : -1;

    report->lag_records = lag->records;
    report->lag_bytes = lag->bytes;
    report->rate = (uint64_t) (progress->rate + 0.5);
    report->seconds_left =
        left < 0 || left > 1e9 ? NUC_PROGRESS_UNKNOWN : (uint64_t) (left + 0.5);
}

int nuc_progress_say(nuc_progress_t *progress, uint64_t now)
{
    if (progress->rate < 0 || now - progress->behind_since < NUC_PROGRESS_MOMENT ||
        (progress->said != 0 && now - progress->said < NUC_PROGRESS_REPEAT)) {
        return 0;
    }

    progress->said = now;

    return 1;
}

int nuc_progress_dry(nuc_progress_t *progress, uint64_t now, uint64_t read,
                     uint64_t *records, uint64_t *us)
{
    int said;

    said = progress->said != 0;
    *records = read - progress->read_behind;
    *us = now - progress->behind_since;

    nuc_progress_init(progress, now, read);

    return said;
}

void nuc_progress_write(const nuc_sys_t *sys, const char *dir,
                        const nuc_progress_t *progress)
{
    nuc_buf_t text;

    text = NUC_BUF_INIT;
    nuc_buf_printf(&text,
                   "# how fast the pipeline goes, for --status: never synced, may be "
                   "removed\n"
                   "at %" PRIu64 " lag %" PRIu64 " bytes %" PRIu64 " rate %" PRIu64
                   " left %" PRIu64 "\n",
                   progress->looked, progress->now.lag_records, progress->now.lag_bytes,
                   progress->now.rate, progress->now.seconds_left);

    if (!text.failed) {
        (void) nuc_fs_replace(sys, dir, NUC_PROGRESS_NAME,
                              (nuc_str_t){text.data, text.len}, 0640, NULL, NULL, NULL);
    }

    nuc_buf_free(&text);
}

int nuc_progress_read(const nuc_sys_t *sys, const char *dir, uint64_t now,
                      nuc_progress_report_t *report)
{
    int known;
    char path[NUC_PATH_MAX];
    uint64_t at;
    nuc_buf_t text;

    text = NUC_BUF_INIT;
    known = 0;

    if (nuc_path_join(path, dir, NUC_PROGRESS_NAME, NULL) == NUC_OK &&
        nuc_fs_read_file(sys, path, NUC_PROGRESS_MAX, &text, NULL) == NUC_OK) {
        nuc_buf_char(&text, '\0');

        known = !text.failed &&
                sscanf((const char *) text.data,
                       "#%*[^\n]\nat %" SCNu64 " lag %" SCNu64 " bytes %" SCNu64
                       " rate %" SCNu64 " left %" SCNu64,
                       &at, &report->lag_records, &report->lag_bytes, &report->rate,
                       &report->seconds_left) == 5 &&
                at <= now && now - at < NUC_PROGRESS_STALE;
    }

    nuc_buf_free(&text);

    return known;
}
