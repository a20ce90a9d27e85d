/*
 * Every single allocation fails in turn, once and for good: the answer is NUC_NOMEM with
 * a message, nothing is leaked (the sanitizer says), and what is tried again afterwards
 * finds every record once.
 */

#include <stdlib.h>
#include <unistd.h>

#include "logkit.h"
#include "nomem.h"
#include "nuc_commit.h"
#include "nuc_format.h"
#include "nuc_key.h"
#include "nuc_keeper.h"
#include "nuc_pipeline.h"
#include "nuc_registry.h"
#include "nuc_rid.h"
#include "nuc_snapshot.h"
#include "nuc_state.h"
#include "nuc_tenant_bytes.h"
#include "nuc_watch.h"
#include "sim.h"
#include "tap.h"

#define RECORDS 60
#define FAR     20000 /* more allocations than any of these makes */

static char top[NUC_PATH_MAX], queue_dir[NUC_PATH_MAX], state_dir[NUC_PATH_MAX];
static char store_dir[NUC_PATH_MAX], commit_dir[NUC_PATH_MAX];
static nuc_worker_conf_t conf;

static char conf_text[8 * NUC_PATH_MAX];

static void die(const char *what)
{
    nomem_fail_at(0, 0);
    fprintf(stderr, "%s\n", what);
    exit(1);
}

/* What may fail; NUC_OK only when all was right. */

static nuc_rc_t parse_events(const nuc_format_t *format, nuc_str_t body)
{
    nuc_rc_t rc;
    nuc_event_list_t list;
    nuc_format_fault_t fault;
    nuc_format_limits_t limits = {
        .max_event_size = 1 << 20, .max_events = 1000, .max_depth = 64};

    nuc_event_list_init(&list);
    rc = format->parse(body, &limits, &list, &fault);

    if (rc == NUC_OK && list.count != 70) {
        rc = NUC_CORRUPT;
    }

    nuc_event_list_free(&list);

    return rc;
}

static nuc_rc_t do_format(nuc_err_t *err)
{
    unsigned i;
    nuc_rc_t rc;
    nuc_buf_t array = NUC_BUF_INIT, lines = NUC_BUF_INIT;

    for (i = 0; i < 70; i++) {
        nuc_buf_printf(&array, "%c{\"id\":\"a\\u0062%u\"}", i == 0 ? '[' : ',', i);
        nuc_buf_printf(&lines, "{\"id\":\"a\\u0062%u\"}\n", i);
    }

    nuc_buf_char(&array, ']');

    rc = array.failed || lines.failed ? NUC_NOMEM : NUC_OK;

    if (rc == NUC_OK) {
        rc = parse_events(&nuc_format_json, (nuc_str_t){array.data, array.len});
    }

    if (rc == NUC_OK) {
        rc = parse_events(&nuc_format_ndjson, (nuc_str_t){lines.data, lines.len});
    }

    nuc_buf_free(&array);
    nuc_buf_free(&lines);

    return nuc_err_set(err, rc, "events");
}

static nuc_rc_t do_hasher(nuc_err_t *err)
{
    uint8_t rid[NUC_RID_LEN];
    nuc_rc_t rc;
    nuc_rid_hasher_t *hasher = nuc_rid_hasher_create();

    if (hasher == NULL) {
        return nuc_err_set(err, NUC_NOMEM, "hasher");
    }

    rc = nuc_rid_from_key(hasher, NUC_STR("t"), NUC_STR("s"), NUC_STR("k"), 1, rid);
    nuc_rid_hasher_free(hasher);

    return nuc_err_set(err, rc, "hasher");
}

static nuc_rc_t do_conf(nuc_err_t *err)
{
    nuc_rc_t rc;
    nuc_worker_conf_t parsed;

    rc = nuc_worker_conf_parse(nuc_str(conf_text), "test", &parsed, err);

    if (rc == NUC_OK) {
        nuc_worker_conf_free(&parsed);
    }

    return rc;
}

static nuc_rc_t do_commit(nuc_err_t *err)
{
    nuc_rc_t rc;
    nuc_commit_t commit, back;

    nuc_commit_init(&commit);
    nuc_commit_init(&back);
    commit.generation = 3;
    nuc_buf_append(&commit.sink_state, conf_text, 300);
    rc =
        commit.sink_state.failed ? nuc_err_set(err, NUC_NOMEM, "the test's own") : NUC_OK;

    if (rc == NUC_OK) {
        rc = nuc_commit_write(kit_sys(), commit_dir, &commit, err);
    }

    if (rc == NUC_OK) {
        rc = nuc_commit_read(kit_sys(), commit_dir, &back, err);
    }

    if (rc == NUC_OK && back.sink_state.len != 300) {
        rc = nuc_err_set(err, NUC_CORRUPT, "not what was written");
    }

    nuc_commit_free(&commit);
    nuc_commit_free(&back);

    return rc;
}

static nuc_rc_t do_state(nuc_err_t *err)
{
    nuc_rc_t rc;
    nuc_state_names_t names;

    rc = nuc_state_list(kit_sys(), state_dir, &names, err);

    if (rc == NUC_OK) {
        rc =
            names.count == 1 ? NUC_OK : nuc_err_set(err, NUC_CORRUPT, "not one pipeline");
        nuc_state_names_free(&names);
    }

    return rc;
}

/* A reader goes on after each failure: nothing is missing, nothing comes twice. */
static nuc_rc_t do_read(nuc_err_t *err)
{
    uint64_t n, lost, total = 0;
    nuc_rc_t rc, failed = NUC_OK;
    nuc_record_t record;
    nuc_log_reader_t *reader;
    unsigned tries = 0, seen[RECORDS + 1] = {0};

    rc = nuc_log_reader_open(kit_sys(), queue_dir, NUC_LOG_ALL, &reader, err);
    if (rc != NUC_OK) {
        return rc;
    }

    do {
        rc = nuc_log_reader_next(reader, &record, &lost, err);

        if (rc == NUC_OK) {
            n = kit_number(&record);
            total += n > 0 && n <= RECORDS && seen[n]++ == 0;
        } else if (rc == NUC_NOMEM) {
            failed = rc;

            if (tries++ > 3) {
                nomem_fail_at(0, 0);
            }
        }
    } while (rc == NUC_OK || rc == NUC_NOMEM);

    nuc_log_reader_close(reader);

    if (rc != NUC_AGAIN || total != RECORDS) {
        return nuc_err_set(err, NUC_CORRUPT, "%s, %llu records", nuc_rc_name(rc),
                           (unsigned long long) total);
    }

    return failed;
}

static nuc_rc_t do_find(nuc_err_t *err)
{
    char path[NUC_PATH_MAX], id[32], data[KIT_DATA_MAX];
    uint64_t offset;
    nuc_record_t record;

    kit_record(RECORDS - 1, &record, id, data);

    return nuc_log_find(kit_sys(), queue_dir, record.rid, path, &offset, err);
}

static void ignore_report(void *ctx, const nuc_log_report_t *report)
{
    (void) ctx;

    if (report->event == NUC_LOG_QUARANTINED || report->event == NUC_LOG_CUT) {
        die("the keeper takes a whole log for damaged");
    }
}

static nuc_rc_t do_keep(nuc_err_t *err)
{
    nuc_rc_t rc;
    nuc_keeper_t keeper;

    /* so that it counts what tenants have, too */
    rc = nuc_tenant_bytes_ask(kit_sys(), queue_dir, err);
    if (rc != NUC_OK) {
        return rc;
    }

    rc = nuc_keeper_open(&keeper, kit_sys(), state_dir, queue_dir, ignore_report, NULL,
                         err);

    if (rc == NUC_OK) {
        rc = nuc_keeper_round(&keeper, err);
        nuc_keeper_close(&keeper);
    }

    return rc;
}

static nuc_rc_t do_pipeline(nuc_err_t *err)
{
    int did;
    nuc_rc_t rc;
    uint64_t now = 0;
    nuc_pipeline_t *pipeline;
    nuc_pipeline_options_t options = {
        .sys = kit_sys(),
        .conf = &conf.pipelines[0],
        .state = state_dir,
        .queue = queue_dir,
    };

    rc = nuc_pipeline_open(&options, &pipeline, err);
    if (rc != NUC_OK) {
        return rc;
    }

    do {
        now += 1000;
        rc = nuc_pipeline_step(pipeline, now, 1, &did, err);
    } while (rc == NUC_OK && did);

    if (rc == NUC_OK && nuc_pipeline_commit(pipeline)->counts.delivered != RECORDS) {
        rc = nuc_err_set(err, NUC_CORRUPT, "not all was delivered");
    }

    nuc_pipeline_close(pipeline);

    return rc;
}

/* The queue: a batch that is refused is not there, one that is taken is. */
static nuc_rc_t do_write(nuc_err_t *err)
{
    nuc_rc_t rc;
    nuc_queue_t *queue;
    nuc_record_t record;
    nuc_ticket_t ticket;
    nuc_log_options_t options;
    char id[32], data[KIT_DATA_MAX], dir[NUC_PATH_MAX];

    nuc_path_join(dir, top, "written", NULL);
    options = kit_options(kit_sys(), dir);
    rc = nuc_log_open(&options, &queue, err);
    if (rc != NUC_OK) {
        return rc;
    }

    if (!kit_wait_ready(queue, NUC_OK, 10000)) {
        die("the queue does not start");
    }

    kit_record(1, &record, id, data);
    rc = queue->ops->submit(queue, &record, 1, &ticket, err);

    if (rc == NUC_NOMEM) {
        /* one refusal spoils nothing */
        nomem_fail_at(0, 0);

        if (queue->ops->submit(queue, &record, 1, &ticket, err) != NUC_OK) {
            die("refused without need");
        }
    }

    queue->ops->kick(queue);

    if (kit_wait(queue, 1, 10000) != 1 || ticket.rc != NUC_OK) {
        die("a batch that was taken is not durable");
    }

    queue->ops->close(queue, 10000, NULL);

    return rc;
}

static nuc_rc_t do_key(nuc_err_t *err)
{
    nuc_rc_t rc;
    nuc_key_t key;
    nuc_key_hasher_t *hasher;
    char text[NUC_KEY_LEN + 1];
    uint8_t digest[NUC_KEY_DIGEST_LEN];

    rc = nuc_key_hasher_create(&hasher, err);
    if (rc != NUC_OK) {
        return rc;
    }

    rc = nuc_key_make(text, err);

    if (rc == NUC_OK && (nuc_key_parse(nuc_str(text), &key) != NUC_KEY_GOOD ||
                         nuc_key_digest(hasher, &key, digest) != NUC_OK)) {
        rc = nuc_err_set(err, NUC_NOMEM, "no digest");
    }

    nuc_key_hasher_free(hasher);

    return rc;
}

static nuc_rc_t do_snapshot(nuc_err_t *err)
{
    nuc_rc_t rc;
    char path[NUC_PATH_MAX];
    nuc_buf_t out = NUC_BUF_INIT;
    nuc_snapshot_file_t *file;
    nuc_snapshot_entry_t entry;
    const nuc_snapshot_tenant_t tenants[] = {{.name = NUC_STR("a")},
                                             {.name = NUC_STR("b")}};
    const nuc_snapshot_key_t key = {.id = 7};
    const nuc_snapshot_content_t content = {
        .tenants = tenants, .ntenants = 2, .keys = &key, .nkeys = 1};

    nuc_path_join(path, top, "snapshot", NULL);
    rc = nuc_snapshot_build(&content, &out, err);

    if (rc == NUC_OK) {
        rc = nuc_snapshot_save(kit_sys(), path, (nuc_str_t){out.data, out.len}, err);
    }

    nuc_buf_free(&out);

    if (rc == NUC_OK) {
        rc = nuc_snapshot_load(kit_sys(), path, &file, err);
    }

    if (rc == NUC_OK) {
        rc = nuc_snapshot_find(&file->snapshot, 7, &entry);
        nuc_snapshot_unload(kit_sys(), file);
    }

    return rc;
}

static nuc_rc_t do_watch(nuc_err_t *err)
{
    nuc_rc_t rc;
    nuc_watch_t *watch;

    rc = nuc_watch_start(kit_sys(), top, NULL, NULL, &watch, err);

    if (rc == NUC_OK) {
        rc = nuc_watch_stop(watch, 10000, err);
    }

    return rc;
}

static const nuc_registry_actor_t actor = {"tester", "local"};

static nuc_rc_t do_init(nuc_err_t *err)
{
    int made;
    char path[NUC_PATH_MAX];

    nuc_path_join(path, top, "registry/db", NULL);

    return nuc_registry_create(kit_sys(), path, NULL, NULL, &actor, &made, err);
}

/* A key with all that it can have. */
static nuc_rc_t make_key(nuc_registry_t *registry, uint64_t id, nuc_err_t *err)
{
    static const uint8_t certificates[1][32] = {{1}};
    static const nuc_network_t networks[1] = {{.bits = 0}};
    const nuc_str_t streams[2] = {NUC_STR("one"), NUC_STR("two")};
    nuc_registry_key_t key = {.tenant = "a", .name = "gate"};

    key.is.id = id;
    key.is.scopes = NUC_SCOPE_COLLECT;
    key.is.streams = streams;
    key.is.nstreams = 2;
    key.is.networks = networks;
    key.is.nnetworks = 1;
    key.is.certificates = certificates;
    key.is.ncertificates = id == 1;

    return nuc_registry_key_create(registry, &key, err);
}

static void begin_init(void)
{
    char dir[NUC_PATH_MAX];

    nuc_path_join(dir, top, "registry", NULL);

    if (access(dir, F_OK) == 0) {
        sim_remove_tree(dir);
    }
}

static nuc_rc_t open_registry(nuc_registry_t **registry, nuc_err_t *err)
{
    char path[NUC_PATH_MAX];

    nuc_path_join(path, top, "registry/db", NULL);

    return nuc_registry_open(kit_sys(), path, &actor, registry, err);
}

static void begin_registry(void)
{
    nuc_err_t err;
    nuc_registry_t *registry = NULL;

    begin_init();

    if (do_init(&err) != NUC_OK || open_registry(&registry, &err) != NUC_OK ||
        nuc_registry_tenant_create(registry, "a", &err) != NUC_OK ||
        make_key(registry, 1, &err) != NUC_OK) {
        die(err.message);
    }

    nuc_registry_close(registry);
}

static nuc_rc_t do_registry(nuc_err_t *err)
{
    nuc_rc_t rc;
    nuc_registry_t *registry;
    nuc_registry_keys_t keys = {.keys = NULL};
    nuc_registry_tenants_t tenants = {.tenants = NULL};
    nuc_registry_limits_t limits = {.units = 1, .limits = {{1, 1}}};

    rc = open_registry(&registry, err);

    if (rc != NUC_OK) {
        return rc;
    }

    rc = nuc_registry_keys(registry, NULL, &(uint64_t){1}, &keys, err);

    if (rc == NUC_OK) {
        rc = nuc_registry_tenants(registry, NULL, &tenants, err);
    }

    if (rc == NUC_OK && (keys.keys[0].is.nstreams != 2 || tenants.count != 1)) {
        rc = NUC_CORRUPT;
    }

    if (rc == NUC_OK) {
        rc = nuc_registry_key_limits(registry, 1, &limits, err);
    }

    if (rc == NUC_OK) {
        rc = nuc_registry_publish(registry, 0, err);
    }

    nuc_registry_keys_free(&keys);
    nuc_registry_tenants_free(&tenants);
    nuc_registry_close(registry);

    return rc;
}

static nuc_rc_t do_key_create(nuc_err_t *err)
{
    nuc_rc_t rc;
    nuc_registry_t *registry;

    rc = open_registry(&registry, err);

    if (rc == NUC_OK) {
        rc = make_key(registry, 2, err);

        /* made by the first try, whose answer was lost for want of memory */
        rc = rc == NUC_IO ? NUC_OK : rc;
        nuc_registry_close(registry);
    }

    return rc;
}

static void nothing(void)
{
}

/* The commit that a registration makes, and an empty store. */
static void begin_pipeline(void)
{
    nuc_err_t err;

    sim_remove_tree(state_dir);
    sim_remove_tree(store_dir);

    if (nuc_state_create(kit_sys(), state_dir, &err) != NUC_OK ||
        nuc_state_register(kit_sys(), state_dir, queue_dir, &conf.pipelines[0], &err) !=
            NUC_OK) {
        die(err.message);
    }
}

/* The log as its writers left it, without an index. */
static void begin_log(void)
{
    unsigned i, writer;
    nuc_queue_t *queue;
    nuc_log_options_t options;

    sim_remove_tree(queue_dir);

    for (writer = 0; writer < 2; writer++) {
        options = kit_options(kit_sys(), queue_dir);
        options.segment_size = 8192;

        if (nuc_log_open(&options, &queue, NULL) != NUC_OK ||
            !kit_wait_ready(queue, NUC_OK, 10000)) {
            die("the queue does not start");
        }

        for (i = 0; i < RECORDS / 2; i += 3) {
            if (kit_store(queue, 1 + writer * (RECORDS / 2) + i, 3) != NUC_OK) {
                die("not stored");
            }
        }

        queue->ops->close(queue, 10000, NULL);
    }

    begin_pipeline();
}

/* How many lines the store has, and how many of them are not the first of their record.
 */
static unsigned lines, repeated;

static int count_lines(void *ctx, const char *name);

static void count_dir(const char *dir)
{
    (void) nuc_sys_posix.list(&nuc_sys_posix, dir, count_lines, (void *) (uintptr_t) dir);
}

static void count_file(const char *path)
{
    char *line, *id;
    unsigned n;
    static unsigned char seen[RECORDS + 1];
    nuc_buf_t text = NUC_BUF_INIT;

    if (nuc_fs_read_file(&nuc_sys_posix, path, 1 << 24, &text, NULL) != NUC_OK) {
        die(path);
    }

    if (lines == 0) {
        memset(seen, 0, sizeof(seen));
    }

    nuc_buf_char(&text, '\0');

    for (line = strtok((char *) text.data, "\n"); line != NULL;
         line = strtok(NULL, "\n")) {
        id = strstr(line, "\"id\":\"event-");
        n = id == NULL ? 0 : (unsigned) strtoul(id + 12, NULL, 10);
        lines++;
        repeated += n == 0 || n > RECORDS || seen[n]++ > 0;
    }

    nuc_buf_free(&text);
}

static int count_lines(void *ctx, const char *name)
{
    char path[NUC_PATH_MAX];
    struct stat st;

    nuc_path_join(path, ctx, name, NULL);

    if (stat(path, &st) == 0 && S_ISDIR(st.st_mode)) {
        count_dir(path);
    } else {
        count_file(path);
    }

    return 0;
}

static const struct {
    const char *name;
    nuc_rc_t (*run)(nuc_err_t *err);
    void (*begin)(void);
    int delivers;
} cases[] = {
    {"formats", do_format, nothing, 0},
    {"hasher", do_hasher, nothing, 0},
    {"key", do_key, nothing, 0},
    {"snapshot", do_snapshot, nothing, 0},
    {"watch", do_watch, nothing, 0},
    {"init", do_init, begin_init, 0},
    {"registry", do_registry, begin_registry, 0},
    {"key create", do_key_create, begin_registry, 0},
    {"configuration", do_conf, nothing, 0},
    {"commit", do_commit, nothing, 0},
    {"registrations", do_state, nothing, 0},
    {"writer", do_write, nothing, 0},
    {"reader", do_read, nothing, 0},
    {"find, unsealed", do_find, nothing, 0},
    {"pipeline", do_pipeline, begin_pipeline, 1},
    {"keeper", do_keep, begin_log, 0},
    {"find, sealed", do_find, nothing, 0},
    {"reader, sealed", do_read, nothing, 0},
};

/* One failure, or one after which nothing works; then again with memory. */
static unsigned fail_each(size_t i, unsigned count)
{
    unsigned n, failures;
    nuc_rc_t rc;
    nuc_err_t err;

    for (n = 1; n < FAR; n++) {
        cases[i].begin();
        err.message[0] = '\0';

        nomem_fail_at(n, count);
        rc = cases[i].run(&err);
        failures = nomem_failed();
        nomem_fail_at(0, 0);

        if (failures == 0 && rc == NUC_OK) {
            return n - 1;
        }

        /* what can do without may go on */
        if (rc != NUC_NOMEM && rc != NUC_OK) {
            diag("%s, allocation %u: %s: %s", cases[i].name, n, nuc_rc_name(rc),
                 err.message);
            return 0;
        }

        if (rc == NUC_NOMEM && err.message[0] == '\0') {
            diag("%s, allocation %u: no message", cases[i].name, n);
            return 0;
        }

        rc = cases[i].run(&err);

        if (rc != NUC_OK) {
            diag("%s, after allocation %u: %s: %s", cases[i].name, n, nuc_rc_name(rc),
                 err.message);
            return 0;
        }

        if (cases[i].delivers) {
            lines = repeated = 0;
            count_dir(store_dir);

            if (lines != RECORDS || repeated != 0) {
                diag("%s, after allocation %u: %u lines, %u repeated", cases[i].name, n,
                     lines, repeated);
                return 0;
            }
        }
    }

    return 0;
}

int main(void)
{
    size_t i;
    unsigned n;
    nuc_err_t err;

    kit_temp_dir(top);
    nuc_path_join(queue_dir, top, "queue", NULL);
    nuc_path_join(state_dir, top, "state", NULL);
    nuc_path_join(store_dir, top, "store", NULL);
    nuc_path_join(commit_dir, top, "commit", NULL);
    mkdir(commit_dir, 0750);

    snprintf(conf_text, sizeof(conf_text),
             "state %s;\nqueue log { path %s; }\n"
             "pipeline store { tenants default other; batch_events 7;\n"
             "    sink file { path %s; file_size 4k; } }\n",
             state_dir, queue_dir, store_dir);

    if (nuc_worker_conf_parse(nuc_str(conf_text), "test", &conf, &err) != NUC_OK) {
        die(err.message);
    }

    begin_log();

    for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        n = fail_each(i, 1);
        ok(n > 0, "%s: each of %u allocations may fail", cases[i].name, n);
        n = fail_each(i, FAR);
        ok(n > 0, "%s: and all from each of %u on", cases[i].name, n);
    }

    nuc_worker_conf_free(&conf);
    sim_remove_tree(top);

    return tap_done();
}
