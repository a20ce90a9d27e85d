/*
 * Metrics as text: each format to the letter, and which one a client gets.
 */

#include <math.h>
#include <stdlib.h>

#include "nuc_exposition.h"
#include "tap.h"

static const nuc_metric_t requests = {"nucleus_requests", NUC_METRIC_COUNTER, NULL,
                                      "Requests."};
static const nuc_metric_t depth = {"nucleus_queue_bytes", NUC_METRIC_GAUGE, "bytes",
                                   "Bytes in \"it\"."};
static const nuc_metric_t wait = {"nucleus_sync_seconds", NUC_METRIC_HISTOGRAM, "seconds",
                                  "Time."};

static const uint64_t bounds[] = {1000, 2500};
static const char *const texts[] = {"0.001", "0.0025"};
static const nuc_histogram_kind_t kind = {bounds, texts, 2, 1000000};

static void make(nuc_exposition_format_t format, nuc_buf_t *out)
{
    nuc_exposition_t e;
    nuc_histogram_t histogram = {{0}, 0};
    nuc_label_t labels[] = {{"tenant", NUC_STR("a\"b\\c\nd")}, {"result", NUC_STR("ok")}};

    nuc_histogram_add(&kind, &histogram, 1000);
    nuc_histogram_add(&kind, &histogram, 1001);
    nuc_histogram_add(&kind, &histogram, 7000000);

    nuc_exposition_begin(&e, format, out);
    nuc_exposition_family(&e, &requests);
    nuc_exposition_number(&e, labels, 2, 18446744073709551615u);
    nuc_exposition_number(&e, labels + 1, 1, 0);
    nuc_exposition_family(&e, &depth);
    nuc_exposition_real(&e, NULL, 0, 0.25);
    nuc_exposition_real(&e, NULL, 0, (double) INFINITY);
    nuc_exposition_family(&e, &wait);
    nuc_exposition_histogram(&e, labels + 1, 1, &kind, &histogram);
    nuc_exposition_end(&e);
    nuc_buf_char(out, '\0');
}

static void is_page(nuc_exposition_format_t format, const char *expected,
                    const char *what)
{
    nuc_buf_t out = NUC_BUF_INIT;

    make(format, &out);
    is_str((const char *) out.data, expected, "%s", what);
    nuc_buf_free(&out);
}

#define SAMPLES                                                                          \
    "nucleus_sync_seconds_bucket{result=\"ok\",le=\"0.001\"} 1\n"                        \
    "nucleus_sync_seconds_bucket{result=\"ok\",le=\"0.0025\"} 2\n"                       \
    "nucleus_sync_seconds_bucket{result=\"ok\",le=\"+Inf\"} 3\n"                         \
    "nucleus_sync_seconds_sum{result=\"ok\"} 7.002001\n"                                 \
    "nucleus_sync_seconds_count{result=\"ok\"} 3\n"

static void test_formats(void)
{
    is_page(NUC_EXPOSITION_PROMETHEUS,
            "# HELP nucleus_requests_total Requests.\n"
            "# TYPE nucleus_requests_total counter\n"
            "nucleus_requests_total{tenant=\"a\\\"b\\\\c\\nd\",result=\"ok\"} "
            "18446744073709551615\n"
            "nucleus_requests_total{result=\"ok\"} 0\n"
            "# HELP nucleus_queue_bytes Bytes in \"it\".\n"
            "# TYPE nucleus_queue_bytes gauge\n"
            "nucleus_queue_bytes 0.25\n"
            "nucleus_queue_bytes +Inf\n"
            "# HELP nucleus_sync_seconds Time.\n"
            "# TYPE nucleus_sync_seconds histogram\n" SAMPLES,
            "Prometheus' text");

    is_page(NUC_EXPOSITION_OPENMETRICS,
            "# HELP nucleus_requests Requests.\n"
            "# TYPE nucleus_requests counter\n"
            "nucleus_requests_total{tenant=\"a\\\"b\\\\c\\nd\",result=\"ok\"} "
            "18446744073709551615\n"
            "nucleus_requests_total{result=\"ok\"} 0\n"
            "# HELP nucleus_queue_bytes Bytes in \"it\".\n"
            "# TYPE nucleus_queue_bytes gauge\n"
            "# UNIT nucleus_queue_bytes bytes\n"
            "nucleus_queue_bytes 0.25\n"
            "nucleus_queue_bytes +Inf\n"
            "# HELP nucleus_sync_seconds Time.\n"
            "# TYPE nucleus_sync_seconds histogram\n"
            "# UNIT nucleus_sync_seconds seconds\n" SAMPLES "# EOF\n",
            "OpenMetrics");

    is_page(NUC_EXPOSITION_JSON,
            "{\"metrics\":[{\"name\":\"nucleus_requests_total\",\"type\":\"counter\","
            "\"help\":\"Requests.\",\"samples\":["
            "{\"labels\":{\"tenant\":\"a\\\"b\\\\c\\nd\",\"result\":\"ok\"},"
            "\"value\":18446744073709551615},"
            "{\"labels\":{\"result\":\"ok\"},\"value\":0}]},"
            "{\"name\":\"nucleus_queue_bytes\",\"type\":\"gauge\",\"unit\":\"bytes\","
            "\"help\":\"Bytes in \\\"it\\\".\",\"samples\":["
            "{\"labels\":{},\"value\":0.25},{\"labels\":{},\"value\":null}]},"
            "{\"name\":\"nucleus_sync_seconds\",\"type\":\"histogram\","
            "\"unit\":\"seconds\",\"help\":\"Time.\",\"samples\":["
            "{\"labels\":{\"result\":\"ok\"},\"buckets\":{\"0.001\":1,\"0.0025\":2,"
            "\"+Inf\":3},\"count\":3,\"sum\":7.002001}]}]}\n",
            "JSON");
}

static void test_negotiate(void)
{
    static const struct {
        const char *accept;
        nuc_exposition_format_t format;
    } cases[] = {
        {"", NUC_EXPOSITION_PROMETHEUS},
        {"*/*", NUC_EXPOSITION_PROMETHEUS},
        {"text/html", NUC_EXPOSITION_PROMETHEUS},
        {"application/json", NUC_EXPOSITION_JSON},
        {"Application/JSON ; q=0.1", NUC_EXPOSITION_JSON},
        {"application/json;q=0", NUC_EXPOSITION_PROMETHEUS},
        {"application/json;q=nonsense", NUC_EXPOSITION_PROMETHEUS},
        {"text/plain, application/json;q=0.9", NUC_EXPOSITION_PROMETHEUS},
        {"application/openmetrics-text", NUC_EXPOSITION_OPENMETRICS},
        {"text/plain;q=0.5,application/openmetrics-text;version=1.0.0;q=0.5",
         NUC_EXPOSITION_OPENMETRICS},
        {"text/plain;q=0.6, application/openmetrics-text;q=0.5",
         NUC_EXPOSITION_PROMETHEUS},
        /* what Prometheus sends */
        {"application/openmetrics-text;version=1.0.0,application/"
         "openmetrics-text;version="
         "0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
         NUC_EXPOSITION_OPENMETRICS},
        {"text/plain;q=0.8,application/openmetrics-text,"
         "application/openmetrics-text;version=0.0.1;q=0.7",
         NUC_EXPOSITION_OPENMETRICS},
        {",;,q=1;;q=0.5,", NUC_EXPOSITION_PROMETHEUS},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        is_int(nuc_exposition_negotiate(nuc_str(cases[i].accept)), cases[i].format,
               "\"%s\"", cases[i].accept);
    }

    is_int(nuc_exposition_negotiate((nuc_str_t){NULL, 0}), NUC_EXPOSITION_PROMETHEUS,
           "none");
}

static void test_kinds(void)
{
    const nuc_histogram_kind_t *kinds[] = {&nuc_histogram_seconds,
                                           &nuc_histogram_records};

    for (size_t k = 0; k < 2; k++) {
        int right = kinds[k]->count < NUC_HISTOGRAM_BUCKETS;

        for (size_t i = 0; i < kinds[k]->count; i++) {
            right &= i == 0 || kinds[k]->bounds[i] > kinds[k]->bounds[i - 1];
            right &= fabs(atof(kinds[k]->texts[i]) * (double) kinds[k]->per_unit -
                          (double) kinds[k]->bounds[i]) < 1e-6;
            right &= nuc_histogram_bucket(kinds[k], kinds[k]->bounds[i]) == i;
        }

        ok(right, "the bounds ascend, are what their texts say, and belong below");
    }

    is_int((long long) nuc_histogram_bucket(&nuc_histogram_seconds, UINT64_MAX),
           NUC_HISTOGRAM_BUCKETS - 1, "the last has no bound");
    is_int((long long) nuc_histogram_bucket(&nuc_histogram_seconds, 0), 0, "the first");
}

int main(void)
{
    test_formats();
    test_negotiate();
    test_kinds();

    return tap_done();
}
