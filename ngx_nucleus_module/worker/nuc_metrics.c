#include "nuc_metrics.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "nuc_log_list.h"
#include "nuc_log_scan.h"
#include "nuc_time.h"

typedef struct {
    nuc_exposition_t exposition;
    const nuc_status_all_t *all;
    const nuc_worker_conf_t *conf;
    const nuc_metered_t *metered;
    size_t count;
    uint64_t now; /* µs since 1970 */
} nuc_page_t;

/* One writer, or "_retired", or all that are "_other". */
typedef struct {
    char name[NUC_UUID_TEXT_LEN + 1];
    nuc_status_source_t sum;
} nuc_shown_t;

typedef struct {
    nuc_shown_t shown[NUC_METRICS_SOURCES + 2];
    size_t count;
} nuc_shown_list_t;

static const nuc_metric_t nuc_metric_build = {
    "nucleus_worker_build_info", NUC_METRIC_GAUGE, NULL, "The version; always 1."};
static const nuc_metric_t nuc_metric_up = {
    "nucleus_pipeline_up", NUC_METRIC_GAUGE, NULL,
    "1: the pipeline delivers, or has nothing to deliver."};
static const nuc_metric_t nuc_metric_restarts = {"nucleus_pipeline_restarts",
                                                 NUC_METRIC_COUNTER, NULL,
                                                 "Crashes of the pipeline's process."};
static const nuc_metric_t nuc_metric_errors = {
    "nucleus_pipeline_errors", NUC_METRIC_COUNTER, NULL,
    "Errors after which the pipeline opened again from its last commit."};
static const nuc_metric_t nuc_metric_records = {
    "nucleus_pipeline_records", NUC_METRIC_COUNTER, NULL,
    "Records that the pipeline has passed, by what became of them."};
static const nuc_metric_t nuc_metric_bytes = {"nucleus_pipeline_delivered_bytes",
                                              NUC_METRIC_COUNTER, "bytes",
                                              "Data of the records that were delivered."};
static const nuc_metric_t nuc_metric_batches = {
    "nucleus_pipeline_batches", NUC_METRIC_COUNTER, NULL, "Batches that were delivered."};
static const nuc_metric_t nuc_metric_delivery = {
    "nucleus_pipeline_delivery_seconds", NUC_METRIC_HISTOGRAM, "seconds",
    "Time to write a batch to the sink and to commit it."};
static const nuc_metric_t nuc_metric_lag_records = {
    "nucleus_pipeline_lag_records", NUC_METRIC_GAUGE, NULL,
    "Records that are durable and not delivered."};
static const nuc_metric_t nuc_metric_lag_bytes = {
    "nucleus_pipeline_lag_bytes", NUC_METRIC_GAUGE, "bytes",
    "At most so many bytes of the log have not been delivered."};
static const nuc_metric_t nuc_metric_lag_seconds = {
    "nucleus_pipeline_lag_seconds", NUC_METRIC_GAUGE, "seconds",
    "Age of the oldest record that is not delivered; 0: there is none."};
static const nuc_metric_t nuc_metric_last = {
    "nucleus_pipeline_last_delivery_timestamp_seconds", NUC_METRIC_GAUGE, "seconds",
    "When a batch was last delivered since the worker started."};
static const nuc_metric_t nuc_metric_durable = {
    "nucleus_source_durable_records", NUC_METRIC_GAUGE, NULL,
    "The durable sequence of a writer, as its head says."};
static const nuc_metric_t nuc_metric_source = {
    "nucleus_pipeline_source_records", NUC_METRIC_GAUGE, NULL,
    "The books: what has become of a writer's sequences."};
static const nuc_metric_t nuc_metric_unbalanced = {
    "nucleus_pipeline_unbalanced_records", NUC_METRIC_GAUGE, NULL,
    "Durable sequences of a writer that are in no book; anything but 0 is a fault."};
static const nuc_metric_t nuc_metric_keeper_up = {
    "nucleus_keeper_up", NUC_METRIC_GAUGE, NULL,
    "1: the last round of the log's keeper went well."};
static const nuc_metric_t nuc_metric_keeper_restarts = {
    "nucleus_keeper_restarts", NUC_METRIC_COUNTER, NULL,
    "Crashes of the keeper's process."};
static const nuc_metric_t nuc_metric_keeper_errors = {
    "nucleus_keeper_errors", NUC_METRIC_COUNTER, NULL, "Rounds that failed."};
static const nuc_metric_t nuc_metric_quarantined = {
    "nucleus_queue_quarantined_bytes", NUC_METRIC_COUNTER, "bytes",
    "Damaged bytes that were copied to quarantine."};
static const nuc_metric_t nuc_metric_segments = {
    "nucleus_queue_segments", NUC_METRIC_GAUGE, NULL, "Segments of the log."};
static const nuc_metric_t nuc_metric_oldest = {
    "nucleus_queue_oldest_seconds", NUC_METRIC_GAUGE, "seconds",
    "Since the oldest segment of the log was begun; 0: there is none."};

/* Pipelines. */

static const nuc_meter_t *nuc_page_meter(const nuc_page_t *page, nuc_role_t role,
                                         const char *name)
{
    size_t i;

    for (i = 0; i < page->count; i++) {
        if (page->metered[i].role == role &&
            (name == NULL || strcmp(page->metered[i].name, name) == 0)) {
            return page->metered[i].meter;
        }
    }

    return NULL;
}

typedef uint64_t (*nuc_meter_value_pt)(const nuc_meter_t *meter);

static uint64_t nuc_page_works(const nuc_meter_t *meter)
{
    return nuc_meter_get(&meter->works);
}

static uint64_t nuc_page_restarts(const nuc_meter_t *meter)
{
    return nuc_meter_get(&meter->restarts);
}

static uint64_t nuc_page_errors(const nuc_meter_t *meter)
{
    return nuc_meter_get(&meter->errors);
}

static uint64_t nuc_page_batches(const nuc_meter_t *meter)
{
    return nuc_meter_get(&meter->batches);
}

/* Of those in the configuration: others have no process. */
static void nuc_page_meters(nuc_page_t *page, const nuc_metric_t *metric,
                            nuc_meter_value_pt value)
{
    unsigned i;
    const char *name;
    const nuc_meter_t *meter;

    nuc_exposition_family(&page->exposition, metric);

    for (i = 0; i < page->conf->npipelines; i++) {
        name = page->conf->pipelines[i].name;
        meter = nuc_page_meter(page, NUC_ROLE_PIPELINE, name);

        if (meter != NULL) {
            nuc_exposition_number(&page->exposition,
                                  &(nuc_label_t){"pipeline", nuc_str(name)}, 1,
                                  value(meter));
        }
    }
}

static void nuc_page_delivery(nuc_page_t *page)
{
    unsigned i;
    uint64_t last;
    nuc_label_t label;
    nuc_histogram_t histogram;
    const nuc_meter_t *meter;

    nuc_exposition_family(&page->exposition, &nuc_metric_delivery);

    for (i = 0; i < page->conf->npipelines; i++) {
        label = (nuc_label_t){"pipeline", nuc_str(page->conf->pipelines[i].name)};
        meter = nuc_page_meter(page, NUC_ROLE_PIPELINE, page->conf->pipelines[i].name);

        if (meter != NULL) {
            nuc_meter_delivery(meter, &histogram);
            nuc_exposition_histogram(&page->exposition, &label, 1, &nuc_histogram_seconds,
                                     &histogram);
        }
    }

    nuc_exposition_family(&page->exposition, &nuc_metric_last);

    for (i = 0; i < page->conf->npipelines; i++) {
        label = (nuc_label_t){"pipeline", nuc_str(page->conf->pipelines[i].name)};
        meter = nuc_page_meter(page, NUC_ROLE_PIPELINE, page->conf->pipelines[i].name);
        last = meter != NULL ? nuc_meter_get(&meter->last_delivery) : 0;

        if (last > 0) {
            nuc_exposition_real(&page->exposition, &label, 1, (double) last / 1e6);
        }
    }
}

/* What the commits say: of all that are registered, and could be read. */
static int nuc_page_known(const nuc_status_t *status)
{
    return status->registered && status->rc == NUC_OK;
}

static void nuc_page_result(nuc_page_t *page, const char *name, const char *result,
                            uint64_t value)
{
    const nuc_label_t labels[] = {{"pipeline", nuc_str(name)},
                                  {"result", nuc_str(result)}};

    nuc_exposition_number(&page->exposition, labels, 2, value);
}

static void nuc_page_records(nuc_page_t *page)
{
    size_t i;
    const nuc_status_t *status;
    const nuc_counts_t *counts;

    nuc_exposition_family(&page->exposition, &nuc_metric_records);

    for (i = 0; i < page->all->count; i++) {
        status = &page->all->pipelines[i];
        counts = &status->commit.counts;

        if (nuc_page_known(status)) {
            nuc_page_result(page, status->name, "delivered", counts->delivered);
            nuc_page_result(page, status->name, "filtered", counts->filtered);
            nuc_page_result(page, status->name, "corrupt", counts->corrupt);
        }
    }
}

typedef double (*nuc_status_value_pt)(const nuc_page_t *page, const nuc_status_t *status);

static double nuc_page_bytes(const nuc_page_t *page, const nuc_status_t *status)
{
    (void) page;
    return (double) status->commit.counts.delivered_bytes;
}

static double nuc_page_lag_records(const nuc_page_t *page, const nuc_status_t *status)
{
    (void) page;
    return (double) status->lag.records;
}

static double nuc_page_lag_bytes(const nuc_page_t *page, const nuc_status_t *status)
{
    (void) page;
    return (double) status->lag.bytes;
}

static double nuc_page_lag_seconds(const nuc_page_t *page, const nuc_status_t *status)
{
    return (double) nuc_status_waited(status, page->now) / 1e6;
}

static void nuc_page_commits(nuc_page_t *page, const nuc_metric_t *metric,
                             nuc_status_value_pt value)
{
    size_t i;
    const nuc_status_t *status;

    nuc_exposition_family(&page->exposition, metric);

    for (i = 0; i < page->all->count; i++) {
        status = &page->all->pipelines[i];

        if (nuc_page_known(status)) {
            nuc_exposition_real(&page->exposition,
                                &(nuc_label_t){"pipeline", nuc_str(status->name)}, 1,
                                value(page, status));
        }
    }
}

/* The books. */

static int nuc_shown_newest(const void *a, const void *b)
{
    const nuc_shown_t *x = a, *y = b;

    return nuc_uuid_cmp(&y->sum.writer, &x->sum.writer);
}

static void nuc_shown_add(nuc_status_source_t *sum, const nuc_status_source_t *s)
{
    sum->durable += s->durable;
    sum->queued += s->queued;
    sum->skipped += s->skipped;
    sum->book.delivered += s->book.delivered;
    sum->book.filtered += s->book.filtered;
    sum->book.corrupt += s->book.corrupt;

    /* one too many and one too few are two faults */
    sum->unbalanced += s->unbalanced < 0 ? -s->unbalanced : s->unbalanced;
}

/* The newest writers, those that are gone, and all others together. */
static void nuc_shown_fill(nuc_page_t *page, nuc_shown_list_t *list,
                           const nuc_status_t *status)
{
    size_t i, writers;
    nuc_shown_t *all, *other;

    list->count = 0;

    if (!nuc_page_known(status) || status->nsources == 0) {
        return;
    }

    writers = status->nsources - 1;

    all = calloc(writers + 1, sizeof(*all));
    if (all == NULL) {
        page->exposition.out->failed = 1;
        return;
    }

    for (i = 0; i < writers; i++) {
        all[i].sum = status->sources[i];
        *nuc_uuid_format(&all[i].sum.writer, all[i].name) = '\0';
    }

    qsort(all, writers, sizeof(*all), nuc_shown_newest);

    while (list->count < writers && list->count < NUC_METRICS_SOURCES) {
        list->shown[list->count] = all[list->count];
        list->count++;
    }

    if (list->count < writers) {
        other = &list->shown[list->count];
        *other = (nuc_shown_t){.name = "_other"};

        for (i = list->count++; i < writers; i++) {
            nuc_shown_add(&other->sum, &all[i].sum);
        }
    }

    list->shown[list->count++] =
        (nuc_shown_t){.name = "_retired", .sum = status->sources[writers]};
    free(all);
}

static void nuc_page_state(nuc_page_t *page, const char *pipeline, const char *source,
                           const char *state, uint64_t value)
{
    const nuc_label_t labels[] = {{"pipeline", nuc_str(pipeline)},
                                  {"source", nuc_str(source)},
                                  {"state", nuc_str(state)}};

    nuc_exposition_number(&page->exposition, labels, 3, value);
}

static void nuc_page_books(nuc_page_t *page, const char *pipeline,
                           const nuc_shown_list_t *list)
{
    size_t i;
    const char *source;
    const nuc_status_source_t *s;

    for (i = 0; i < list->count; i++) {
        s = &list->shown[i].sum;
        source = list->shown[i].name;

        nuc_page_state(page, pipeline, source, "queued", s->queued);
        nuc_page_state(page, pipeline, source, "delivered", s->book.delivered);
        nuc_page_state(page, pipeline, source, "filtered", s->book.filtered);
        nuc_page_state(page, pipeline, source, "corrupt", s->book.corrupt);
        nuc_page_state(page, pipeline, source, "skipped", s->skipped);
    }
}

static void nuc_page_unbalanced(nuc_page_t *page, const char *pipeline,
                                const nuc_shown_list_t *list)
{
    size_t i;

    for (i = 0; i < list->count; i++) {
        const nuc_label_t labels[] = {{"pipeline", nuc_str(pipeline)},
                                      {"source", nuc_str(list->shown[i].name)}};

        nuc_exposition_real(&page->exposition, labels, 2,
                            (double) list->shown[i].sum.unbalanced);
    }
}

/* Every pipeline that could be read knows all writers that there are. */
static void nuc_page_durable(nuc_page_t *page)
{
    size_t i, j;
    nuc_shown_list_t list = {.count = 0};

    for (i = 0; i < page->all->count && list.count == 0; i++) {
        nuc_shown_fill(page, &list, &page->all->pipelines[i]);
    }

    nuc_exposition_family(&page->exposition, &nuc_metric_durable);

    /* the last are those that are gone, as far as this pipeline knew them */
    for (j = 0; j + 1 < list.count; j++) {
        nuc_exposition_number(&page->exposition,
                              &(nuc_label_t){"source", nuc_str(list.shown[j].name)}, 1,
                              list.shown[j].sum.durable);
    }
}

static void nuc_page_sources(nuc_page_t *page)
{
    size_t i;
    nuc_shown_list_t list;

    nuc_page_durable(page);
    nuc_exposition_family(&page->exposition, &nuc_metric_source);

    for (i = 0; i < page->all->count; i++) {
        nuc_shown_fill(page, &list, &page->all->pipelines[i]);
        nuc_page_books(page, page->all->pipelines[i].name, &list);
    }

    nuc_exposition_family(&page->exposition, &nuc_metric_unbalanced);

    for (i = 0; i < page->all->count; i++) {
        nuc_shown_fill(page, &list, &page->all->pipelines[i]);
        nuc_page_unbalanced(page, page->all->pipelines[i].name, &list);
    }
}

/* The keeper and the log. */

static void nuc_page_one(nuc_page_t *page, const nuc_metric_t *metric, double value)
{
    nuc_exposition_family(&page->exposition, metric);
    nuc_exposition_real(&page->exposition, NULL, 0, value);
}

static void nuc_page_keeper(nuc_page_t *page)
{
    const nuc_meter_t *meter;

    meter = nuc_page_meter(page, NUC_ROLE_KEEPER, NULL);
    if (meter == NULL) {
        return;
    }

    nuc_page_one(page, &nuc_metric_keeper_up, (double) nuc_meter_get(&meter->works));
    nuc_page_one(page, &nuc_metric_keeper_restarts,
                 (double) nuc_meter_get(&meter->restarts));
    nuc_page_one(page, &nuc_metric_keeper_errors, (double) nuc_meter_get(&meter->errors));
    nuc_page_one(page, &nuc_metric_quarantined,
                 (double) nuc_meter_get(&meter->quarantined));
}

/* When the writer's first segment was begun, as its header says; 0: it does not. */
static uint64_t nuc_page_begun(const char *dir, const nuc_uuid_t *writer, uint64_t first)
{
    uint64_t created = 0;
    nuc_scan_t scan;

    nuc_scan_init(&scan, &nuc_sys_posix);

    if (nuc_scan_open(&scan, dir, writer, first, O_RDONLY, NULL) == NUC_OK &&
        scan.header_valid) {
        created = scan.header.created;
    }

    nuc_scan_free(&scan);

    return created;
}

static void nuc_page_queue(nuc_page_t *page)
{
    size_t i;
    char dir[NUC_PATH_MAX];
    uint64_t count = 0, begun, oldest = page->now;
    nuc_writer_list_t writers = {NULL, 0, 0};
    nuc_segment_list_t segments = {NULL, 0, 0};
    const char *queue = page->conf->queue;

    /* without a directory the list is empty */
    (void) nuc_log_list_writers(&nuc_sys_posix, queue, &writers, NULL);

    for (i = 0; i < writers.count; i++) {
        if (nuc_log_writer_path(queue, &writers.ids[i], dir, NULL) != NUC_OK ||
            nuc_log_list_segments(&nuc_sys_posix, dir, &segments, NULL) != NUC_OK ||
            segments.count == 0) {
            continue;
        }

        count += segments.count;
        begun = nuc_page_begun(dir, &writers.ids[i], segments.firsts[0]);
        oldest = begun > 0 && begun < oldest ? begun : oldest;
    }

    free(writers.ids);
    free(segments.firsts);

    nuc_page_one(page, &nuc_metric_segments, (double) count);
    nuc_page_one(page, &nuc_metric_oldest, (double) (page->now - oldest) / 1e6);
}

void nuc_metrics_page(const nuc_status_all_t *all, const nuc_worker_conf_t *conf,
                      const nuc_metered_t *metered, size_t count,
                      nuc_exposition_format_t format, nuc_buf_t *out)
{
    nuc_page_t page = {
        .all = all,
        .conf = conf,
        .metered = metered,
        .count = count,
        .now = nuc_time_now(),
    };

    nuc_exposition_begin(&page.exposition, format, out);

    nuc_exposition_family(&page.exposition, &nuc_metric_build);
    nuc_exposition_number(&page.exposition,
                          &(nuc_label_t){"version", nuc_str(NUC_WORKER_VERSION)}, 1, 1);

    nuc_page_meters(&page, &nuc_metric_up, nuc_page_works);
    nuc_page_meters(&page, &nuc_metric_restarts, nuc_page_restarts);
    nuc_page_meters(&page, &nuc_metric_errors, nuc_page_errors);
    nuc_page_records(&page);
    nuc_page_commits(&page, &nuc_metric_bytes, nuc_page_bytes);
    nuc_page_meters(&page, &nuc_metric_batches, nuc_page_batches);
    nuc_page_delivery(&page);
    nuc_page_commits(&page, &nuc_metric_lag_records, nuc_page_lag_records);
    nuc_page_commits(&page, &nuc_metric_lag_bytes, nuc_page_lag_bytes);
    nuc_page_commits(&page, &nuc_metric_lag_seconds, nuc_page_lag_seconds);
    nuc_page_sources(&page);
    nuc_page_keeper(&page);
    nuc_page_queue(&page);

    nuc_exposition_end(&page.exposition);
}
