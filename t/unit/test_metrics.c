/*
 * The worker's page of metrics: what is folded into one series, and what is left out.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "nuc_metrics.h"
#include "tap.h"

#define WRITERS (NUC_METRICS_SOURCES + 6)

static char text[256 * 1024];

static const char *page(const nuc_status_all_t *all, const nuc_worker_conf_t *conf,
                        const nuc_metered_t *metered, size_t count)
{
    nuc_buf_t out = NUC_BUF_INIT;

    nuc_metrics_page(all, conf, metered, count, NUC_EXPOSITION_PROMETHEUS, &out);
    snprintf(text, sizeof(text), "%.*s", (int) out.len, (const char *) out.data);
    ok(!out.failed && out.len < sizeof(text), "a page of %zu bytes", out.len);
    nuc_buf_free(&out);

    return text;
}

static unsigned times(const char *in, const char *what)
{
    unsigned n = 0;

    while ((in = strstr(in, what)) != NULL) {
        n++;
        in += strlen(what);
    }

    return n;
}

static void has(const char *in, const char *line)
{
    ok(strstr(in, line) != NULL, "%.*s", (int) strcspn(line, "\n"), line);
}

/* Each writer has 10: delivered, but for those that the caller changes. */
static void fill(nuc_status_t *status, nuc_status_source_t *sources, size_t n)
{
    size_t i;

    memset(sources, 0, (n + 1) * sizeof(*sources));

    for (i = 0; i < n; i++) {
        sources[i].writer.b[15] = (uint8_t) (i + 1);
        sources[i].durable = 10;
        sources[i].book.delivered = 10;
    }

    *status = (nuc_status_t){
        .name = "p",
        .registered = 1,
        .sources = sources,
        .nsources = n + 1,
    };
}

#define BOOKS(source, state)                                                             \
    "nucleus_pipeline_source_records{pipeline=\"p\",source=\"" source                    \
    "\",state=\"" state "\"} "

#define UNBALANCED(source)                                                               \
    "nucleus_pipeline_unbalanced_records{pipeline=\"p\",source=\"" source "\"} "

static void test_sources(void)
{
    const char *said;
    nuc_status_t status;
    nuc_status_all_t all = {.pipelines = &status, .count = 1};
    nuc_worker_conf_t conf = {.queue = "/nonexistent"};
    nuc_status_source_t sources[WRITERS + 1];

    fill(&status, sources, NUC_METRICS_SOURCES);
    said = page(&all, &conf, NULL, 0);
    is_int(times(said, "unbalanced_records{"), NUC_METRICS_SOURCES + 1,
           "so many writers, and those that are gone, stand for themselves");
    is_int(times(said, "source=\"_other\""), 0, "there are no others");

    /* the six oldest are too many: one has lost a record, another has it twice */
    fill(&status, sources, WRITERS);
    sources[0].book.delivered = 9;
    sources[0].unbalanced = 1;
    sources[1].book.delivered = 11;
    sources[1].unbalanced = -1;
    sources[2].queued = 4;
    sources[2].book = (nuc_book_t){1, 2, 3};
    sources[WRITERS].durable = 7;
    sources[WRITERS].book.filtered = 7;
    said = page(&all, &conf, NULL, 0);

    is_int(times(said, "unbalanced_records{"), NUC_METRICS_SOURCES + 2,
           "more of them make one series more");
    has(said, UNBALANCED("_other") "2\n");
    has(said, UNBALANCED("_retired") "0\n");
    has(said, UNBALANCED("00000000-0000-0000-0000-000000000007") "0\n");
    ok(strstr(said, "000000000006\"") == NULL, "the newest stand for themselves");
    has(said, BOOKS("_other", "delivered") "51\n");
    has(said, BOOKS("_other", "queued") "4\n");
    has(said, BOOKS("_other", "filtered") "2\n");
    has(said, BOOKS("_other", "corrupt") "3\n");
    has(said, BOOKS("_other", "skipped") "0\n");
    has(said, BOOKS("_retired", "filtered") "7\n");
    has(said, "nucleus_source_durable_records{source=\"_other\"} 60\n");
    ok(strstr(said, "nucleus_source_durable_records{source=\"_retired\"}") == NULL,
       "writers that are gone have no durable end");

    sources[WRITERS - 1].unbalanced = -3;
    has(page(&all, &conf, NULL, 0),
        UNBALANCED("00000000-0000-0000-0000-000000000046") "-3\n");
}

/* What a child counts, the supervisor sees, also when the child is gone. */
static void test_meters(void)
{
    int status;
    const char *said;
    pid_t pid;
    nuc_err_t err;
    nuc_meter_t *meter = nuc_meter_create(&err), *keeper = nuc_meter_create(&err);
    nuc_pipeline_conf_t pipelines[2] = {{.name = "p"}, {.name = "new"}};
    nuc_status_t failed = {.name = "p", .registered = 1, .rc = NUC_CORRUPT};
    nuc_status_all_t all = {.pipelines = &failed, .count = 1};
    nuc_worker_conf_t conf = {
        .queue = "/nonexistent", .pipelines = pipelines, .npipelines = 2};
    const nuc_metered_t metered[] = {{NUC_ROLE_KEEPER, "keeper", keeper},
                                     {NUC_ROLE_PIPELINE, "p", meter},
                                     {NUC_ROLE_PIPELINE, "gone", keeper}};

    if (meter == NULL || keeper == NULL) {
        ok(0, "%s", err.message);
        return;
    }

    pid = fork();

    if (pid == 0) {
        nuc_meter_delivered(meter, 700, 1500000);
        nuc_meter_delivered(meter, 20000000, 2500000);
        nuc_meter_set(&meter->works, 1);
        nuc_meter_add(&meter->errors, 2);
        nuc_meter_add(&keeper->quarantined, 4096);
        _exit(0);
    }

    ok(pid > 0 && waitpid(pid, &status, 0) == pid && status == 0, "a child has counted");
    nuc_meter_add(&meter->restarts, 1);
    said = page(&all, &conf, metered, 3);

    has(said, "nucleus_pipeline_up{pipeline=\"p\"} 1\n");
    has(said, "nucleus_pipeline_restarts_total{pipeline=\"p\"} 1\n");
    has(said, "nucleus_pipeline_errors_total{pipeline=\"p\"} 2\n");
    has(said, "nucleus_pipeline_batches_total{pipeline=\"p\"} 2\n");
    has(said,
        "nucleus_pipeline_delivery_seconds_bucket{pipeline=\"p\",le=\"0.001\"} 1\n");
    has(said, "nucleus_pipeline_delivery_seconds_bucket{pipeline=\"p\",le=\"10.0\"} 1\n");
    has(said, "nucleus_pipeline_delivery_seconds_count{pipeline=\"p\"} 2\n");
    has(said, "nucleus_pipeline_delivery_seconds_sum{pipeline=\"p\"} 20.0007\n");
    has(said, "nucleus_pipeline_last_delivery_timestamp_seconds{pipeline=\"p\"} 2.5\n");
    has(said, "nucleus_keeper_up 0\n");
    has(said, "nucleus_queue_quarantined_bytes_total 4096\n");
    has(said, "nucleus_queue_segments 0\n");
    ok(strstr(said, "\"new\"") == NULL, "one that has not been started is not shown");
    ok(strstr(said, "\"gone\"") == NULL, "nor one that is not in the configuration");
    ok(strstr(said, "lag_records{") == NULL &&
           strstr(said, "pipeline_records_total{") == NULL,
       "what a commit that can't be read would say is left out");

    nuc_meter_destroy(meter);
    nuc_meter_destroy(keeper);
}

int main(void)
{
    test_sources();
    test_meters();

    return tap_done();
}
