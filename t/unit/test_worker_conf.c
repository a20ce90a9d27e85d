/*
 * worker.conf: its defaults, its values, and a message with file and line for every
 * mistake.
 */

#include "tap.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "nuc_fs.h"
#include "nuc_worker_conf.h"
#include "sim.h"

#define QUEUE "queue log { path q; }\n"
#define SINK  "sink file { path s; }"

/* As the file sink lays out its options. */
typedef struct {
    const char *path;
    uint64_t file_size;
} file_options_t;

static nuc_record_t record(const char *tenant, const char *stream, nuc_kind_t kind)
{
    nuc_record_t rec;

    memset(&rec, 0, sizeof(rec));
    rec.kind = kind;

    if (tenant != NULL) {
        rec.attr[NUC_ATTR_TENANT] = nuc_str(tenant);
    }

    rec.attr[NUC_ATTR_STREAM] = nuc_str(stream);

    return rec;
}

static void test_defaults(void)
{
    nuc_err_t err;
    nuc_rc_t rc;
    nuc_record_t rec;
    nuc_worker_conf_t conf;
    const file_options_t *options;
    const nuc_pipeline_conf_t *p;

    rc = nuc_worker_conf_parse(nuc_str(QUEUE "pipeline a { " SINK " }"), "w.conf", &conf,
                               &err);
    is_int(rc, NUC_OK, "the least configuration");

    if (rc != NUC_OK) {
        diag("%s", err.message);
        return;
    }

    is_str(conf.state, "/var/lib/nucleus", "state");
    is_str(conf.queue, "q", "queue");
    is_str(conf.api, "/run/nucleus/worker.sock", "api");
    is_int(conf.npipelines, 1, "pipelines");

    p = &conf.pipelines[0];
    is_str(p->name, "a", "name");
    is_int(p->from_end, 0, "start earliest");
    is_int((long long) p->batch_size, 8 << 20, "batch_size 8m");
    is_int((long long) p->batch_events, 10000, "batch_events 10000");
    is_int((long long) p->batch_time, 1000, "batch_time 1s");
    is_str(p->sink->name, "file", "sink");

    options = p->sink_options;
    is_str(options->path, "s", "the sink's path");
    is_int((long long) options->file_size, 128 << 20, "file_size 128m");

    rec = record("any", "thing", NUC_KIND_XAPI);
    ok(nuc_pipeline_wants(p, &rec), "everything is wanted");

    nuc_worker_conf_free(&conf);
}

static const char full[] = "state  run/state;  # where cursors are\n"
                           "queue log { path run/queue; }\n"
                           "pipeline a.b-1 {\n"
                           "    tenants school-* north;\n"
                           "    streams statements;\n"
                           "    kinds   xapi json;\n"
                           "    start   latest;\n"
                           "    batch_size 1k; batch_events 5; batch_time 200ms;\n"
                           "    sink file { path 'run/my store'; file_size 1g; }\n"
                           "}\n"
                           "pipeline b { tenants *; streams *; kinds *; " SINK " }\n";

static void test_values(void)
{
    size_t i;
    nuc_err_t err;
    nuc_rc_t rc;
    nuc_record_t rec;
    nuc_worker_conf_t conf;
    const file_options_t *options;
    const nuc_pipeline_conf_t *p;
    static const struct {
        const char *tenant, *stream;
        nuc_kind_t kind;
        int wanted;
    } cases[] = {
        {"north", "statements", NUC_KIND_XAPI, 1},
        {"north", "statements", NUC_KIND_JSON, 1},
        {"school-", "statements", NUC_KIND_JSON, 1},
        {"school-7", "statements", NUC_KIND_JSON, 1},
        {"school", "statements", NUC_KIND_JSON, 0},
        {"northern", "statements", NUC_KIND_JSON, 0},
        {"nort", "statements", NUC_KIND_JSON, 0},
        {NULL, "statements", NUC_KIND_JSON, 0},
        {"north", "statement", NUC_KIND_JSON, 0},
        {"north", "statements", NUC_KIND_CALIPER, 0},
        {"north", "statements", (nuc_kind_t) 200, 0},
    };

    rc = nuc_worker_conf_parse(nuc_str(full), "w.conf", &conf, &err);
    is_int(rc, NUC_OK, "a full configuration");

    if (rc != NUC_OK) {
        diag("%s", err.message);
        return;
    }

    is_str(conf.state, "run/state", "state");
    is_int(conf.npipelines, 2, "pipelines");
    p = nuc_worker_conf_pipeline(&conf, "a.b-1");
    ok(p == &conf.pipelines[0], "found by name");
    ok(nuc_worker_conf_pipeline(&conf, "c") == NULL, "not found by another");
    is_int(p->from_end, 1, "start latest");
    is_int((long long) p->batch_size, 1024, "batch_size");
    is_int((long long) p->batch_events, 5, "batch_events");
    is_int((long long) p->batch_time, 200, "batch_time");
    options = p->sink_options;
    is_str(options->path, "run/my store", "path");
    is_int((long long) options->file_size, 1 << 30, "file_size");

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        rec = record(cases[i].tenant, cases[i].stream, cases[i].kind);
        is_int(nuc_pipeline_wants(p, &rec), cases[i].wanted, "filter, case %zu", i);
        ok(nuc_pipeline_wants(&conf.pipelines[1], &rec), "no filter, case %zu", i);
    }

    nuc_worker_conf_free(&conf);
}

#define LONG_60  "a23456789012345678901234567890123456789012345678901234567890"
#define PIPE(in) QUEUE "pipeline a {\n" in "\n}"

static void test_mistakes(void)
{
    size_t i;
    nuc_err_t err;
    nuc_rc_t rc;
    nuc_worker_conf_t conf;
    static const struct {
        const char *text, *message;
    } cases[] = {
        {"", "no \"queue\" in w.conf"},
        {QUEUE, "no \"pipeline\" in w.conf"},
        {"pipeline a { " SINK " }", "no \"queue\" in w.conf"},
        {"\ncolour red;", "unknown directive \"colour\" in w.conf:2"},
        {"\napi on;", "\"api\" is \"on\", not \"unix:PATH\" or \"off\" in w.conf:2"},
        {"api unix:;", "\"api\" is \"unix:\", not \"unix:PATH\" or \"off\" in w.conf:1"},
        {"state a b;", "invalid number of arguments in \"state\" in w.conf:1"},
        {"state '';", "empty path in \"state\" in w.conf:1"},
        {"state 'a\\nb';", "control character in the value of \"state\" in w.conf:1"},
        {"state a;\nstate b;", "directive \"state\" is duplicate in w.conf:2"},
        {"state a { }", "directive \"state\" takes no block in w.conf:1"},
        {"queue log;", "directive \"queue\" has no opening \"{\" in w.conf:1"},
        {"queue log { }", "no \"path\" in \"queue log\" in w.conf:1"},
        {"queue kafka { path a; }", "unknown queue \"kafka\" in w.conf:1"},
        {"queue { path a; }", "invalid number of arguments in \"queue\" in w.conf:1"},
        {"queue log {\n path a;\n topics b;\n}",
         "unknown directive \"topics\" in w.conf:3"},
        {QUEUE QUEUE, "directive \"queue\" is duplicate in w.conf:2"},
        {QUEUE "pipeline { " SINK " }",
         "invalid number of arguments in \"pipeline\" in w.conf:2"},
        {QUEUE "pipeline A { " SINK " }", "invalid name of a pipeline \"A\" in w.conf:2"},
        {QUEUE "pipeline ../a { " SINK " }",
         "invalid name of a pipeline \"../a\" in w.conf:2"},
        {QUEUE "pipeline " LONG_60 "56789 { " SINK " }",
         "invalid name of a pipeline \"" LONG_60 "56789\" in w.conf:2"},
        {PIPE(SINK) "\npipeline a { " SINK " }", "duplicate pipeline \"a\" in w.conf:5"},
        {PIPE(""), "no \"sink\" in pipeline \"a\" in w.conf:2"},
        {PIPE(SINK "\n" SINK), "directive \"sink\" is duplicate in w.conf:4"},
        {PIPE("sink s3 { bucket b; }"), "unknown sink \"s3\" in w.conf:3"},
        {PIPE("sink file { }"), "no \"path\" in \"sink file\" in w.conf:3"},
        {PIPE("sink file { path a; path b; }"),
         "directive \"path\" is duplicate in w.conf:3"},
        {PIPE("sink file { path a;\nformat ndjson; }"),
         "unknown directive \"format\" in w.conf:4"},
        {PIPE("sink file { path a; file_size 0; }"),
         "invalid value \"0\" in \"file_size\" in w.conf:3"},
        {PIPE("sink file { path a; file_size 1x; }"),
         "invalid value \"1x\" in \"file_size\" in w.conf:3"},
        {PIPE("sink file { path a { } }"),
         "directive \"path\" takes no block in w.conf:3"},
        {PIPE("tries 20;"), "unknown directive \"tries\" in w.conf:3"},
        {PIPE("transform jq f;"), "unknown directive \"transform\" in w.conf:3"},
        {PIPE("tenants;"), "invalid number of arguments in \"tenants\" in w.conf:3"},
        {PIPE("tenants A;"), "invalid name \"A\" in \"tenants\" in w.conf:3"},
        {PIPE("tenants a*b;"), "invalid name \"a*b\" in \"tenants\" in w.conf:3"},
        {PIPE("tenants *a;"), "invalid name \"*a\" in \"tenants\" in w.conf:3"},
        {PIPE("streams a; streams b;"), "directive \"streams\" is duplicate in w.conf:3"},
        {PIPE("kinds;"), "invalid number of arguments in \"kinds\" in w.conf:3"},
        {PIPE("kinds json soap;"), "unknown kind \"soap\" in w.conf:3"},
        {PIPE("kinds json *;"), "unknown kind \"*\" in w.conf:3"},
        {PIPE("start now;"),
         "\"start\" is \"now\", not \"earliest\" or \"latest\" in w.conf:3"},
        {PIPE("batch_size 0;"), "invalid value \"0\" in \"batch_size\" in w.conf:3"},
        {PIPE("batch_events 1k;"),
         "invalid value \"1k\" in \"batch_events\" in w.conf:3"},
        {PIPE("batch_time 1y;"), "invalid value \"1y\" in \"batch_time\" in w.conf:3"},
        {PIPE("batch_time 99999999999d;"),
         "invalid value \"99999999999d\" in \"batch_time\" in w.conf:3"},
    };

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        rc = nuc_worker_conf_parse(nuc_str(cases[i].text), "w.conf", &conf, &err);
        ok(rc == NUC_INVALID, "refused: %s", cases[i].message);

        if (rc == NUC_OK) {
            nuc_worker_conf_free(&conf);
            continue;
        }

        is_str(err.message, cases[i].message, "says so: %s", cases[i].message);
    }
}

static void check_api(const char *directive, const char *path)
{
    char text[256];
    nuc_err_t err;
    nuc_worker_conf_t conf;

    snprintf(text, sizeof(text), "%s " QUEUE "pipeline a { " SINK " }", directive);

    if (nuc_worker_conf_parse(nuc_str(text), "w.conf", &conf, &err) != NUC_OK) {
        ok(0, "%s: %s", directive, err.message);
        return;
    }

    ok(path == NULL ? conf.api == NULL : conf.api != NULL && strcmp(conf.api, path) == 0,
       "%s", directive);
    nuc_worker_conf_free(&conf);
}

/* A socket's path has 108 bytes with its zero. */
static void test_api(void)
{
    char path[108], directive[160];

    memset(path, 'x', sizeof(path) - 1);
    path[sizeof(path) - 1] = '\0';
    snprintf(directive, sizeof(directive), "api unix:%s;", path);

    check_api("api off;", NULL);
    check_api("api unix:run/w.sock;", "run/w.sock");
    check_api(directive, path);
}

static void check_dirs(const char *queue, const char *store, nuc_rc_t want)
{
    char text[512];
    nuc_err_t err;
    nuc_rc_t rc;
    nuc_worker_conf_t conf;

    snprintf(text, sizeof(text),
             "state st; queue log { path %s; } pipeline a { sink file { path %s; } }",
             queue, store);

    if (nuc_worker_conf_parse(nuc_str(text), "w.conf", &conf, &err) != NUC_OK) {
        ok(0, "%s", err.message);
        return;
    }

    rc = nuc_worker_conf_check(&conf, &err);
    is_int(rc, want, "queue \"%s\", store \"%s\": %s", queue, store,
           rc == NUC_OK ? "can be" : err.message);
    nuc_worker_conf_free(&conf);
}

static void test_directories(void)
{
    char dir[NUC_PATH_MAX];
    FILE *file;
    struct stat st;

    snprintf(dir, sizeof(dir), "%s/nuc-conf-XXXXXX",
             getenv("TMPDIR") != NULL ? getenv("TMPDIR") : "/tmp");

    if (mkdtemp(dir) == NULL || chdir(dir) == -1 || (file = fopen("file", "w")) == NULL) {
        ok(0, "directory \"%s\": %s", dir, strerror(errno));
        return;
    }

    fclose(file);

    check_dirs("q", "s", NUC_OK);
    check_dirs("deep/er/q", "/tmp/nucleus-not-there/s", NUC_OK);
    check_dirs("file", "s", NUC_INVALID);
    check_dirs("q", "file", NUC_INVALID);
    check_dirs("q", "file/below", NUC_IO);
    ok(stat("st", &st) == -1 && stat("q", &st) == -1 && stat("s", &st) == -1,
       "the check makes nothing");

    if (chdir("/") == 0) {
        sim_remove_tree(dir);
    }
}

int main(void)
{
    test_defaults();
    test_values();
    test_mistakes();
    test_api();
    test_directories();

    return tap_done();
}
