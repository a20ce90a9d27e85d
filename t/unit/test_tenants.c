/*
 * What each tenant has in the queue: counted from the log by nuc_log_tenants, and again
 * here, record by record, from what was stored and what two consumers have read.
 */

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "logkit.h"
#include "nuc_le.h"
#include "nuc_log_tenants.h"
#include "nuc_tenant_bytes.h"
#include "nuc_tenant_count.h"
#include "tap.h"

#define MAX_RECORDS 20000
#define READERS     2
#define STEPS       300

static char dir[NUC_PATH_MAX];
static unsigned char stored[MAX_RECORDS], passed[READERS][MAX_RECORDS];
static uint64_t last; /* number of the last record */
static nuc_log_reader_t *readers[READERS];
static nuc_log_consumer_t consumers[READERS];
static nuc_log_position_t *positions[READERS];
static unsigned seed = 4711;

static unsigned any(unsigned below)
{
    seed = seed * 1103515245u + 12345u;

    return (seed >> 8) % below;
}

static void must(nuc_rc_t rc, const nuc_err_t *err)
{
    if (rc != NUC_OK) {
        diag("%s: %s", nuc_rc_name(rc), err->message);
        exit(1);
    }
}

static nuc_queue_t *begin_writer(void)
{
    nuc_err_t err;
    nuc_queue_t *queue;
    nuc_log_options_t options = kit_options(kit_sys(), dir);

    must(nuc_log_open(&options, &queue, &err), &err);
    must(kit_started(queue), &err);

    return queue;
}

static void end_writer(nuc_queue_t *queue)
{
    nuc_err_t err;

    must(queue->ops->close(queue, 10000, &err), &err);
}

static void store(nuc_queue_t *queue, unsigned count)
{
    unsigned i;

    if (last + count >= MAX_RECORDS || kit_store(queue, last + 1, count) != NUC_OK) {
        diag("records cannot be stored");
        exit(1);
    }

    for (i = 0; i < count; i++) {
        stored[++last] = 1;
    }
}

static void keep_positions(unsigned who)
{
    const nuc_log_position_t *now;

    consumers[who].count = nuc_log_reader_positions(readers[who], &now);
    free(positions[who]);
    positions[who] = malloc((consumers[who].count + 1) * sizeof(*now));
    memcpy(positions[who], now, consumers[who].count * sizeof(*now));
    consumers[who].positions = positions[who];
}

static void consume(unsigned who, unsigned count)
{
    uint64_t lost;
    nuc_rc_t rc = NUC_OK;
    nuc_err_t err;
    nuc_record_t record;

    while (count-- > 0 && rc != NUC_AGAIN) {
        rc = nuc_log_reader_next(readers[who], &record, &lost, &err);

        if (rc == NUC_OK) {
            passed[who][kit_number(&record)] = 1;
        } else if (rc != NUC_AGAIN && rc != NUC_CORRUPT) {
            must(rc, &err);
        }
    }

    keep_positions(who);
}

static void begin(void)
{
    unsigned who;
    nuc_err_t err;

    kit_temp_dir(dir);
    memset(stored, 0, sizeof(stored));
    memset(passed, 0, sizeof(passed));
    last = 0;

    for (who = 0; who < READERS; who++) {
        must(nuc_log_reader_open(kit_sys(), dir, NUC_LOG_EARLIEST, &readers[who], &err),
             &err);
        keep_positions(who);
    }
}

static void end(void)
{
    unsigned who;

    for (who = 0; who < READERS; who++) {
        nuc_log_reader_close(readers[who]);
    }
}

static uint64_t truth(const char *tenant)
{
    char id[32], data[KIT_DATA_MAX];
    uint64_t n, bytes = 0;
    nuc_record_t record;

    for (n = 1; n <= last; n++) {
        kit_record(n, &record, id, data);

        if (stored[n] && !(passed[0][n] && passed[1][n]) &&
            nuc_str_eq(record.attr[NUC_ATTR_TENANT], nuc_str(tenant))) {
            bytes += nuc_record_encoded_len(&record);
        }
    }

    return bytes;
}

static uint64_t counted(nuc_log_tenants_t *tenants, const char *tenant)
{
    size_t i, count;
    const nuc_log_tenant_t *list;

    count = nuc_log_tenants_settle(tenants, 1000000, &list);

    for (i = 0; i < count; i++) {
        if (strcmp(list[i].name, tenant) == 0) {
            return (uint64_t) list[i].bytes;
        }
    }

    return 0;
}

static nuc_log_tenants_t *begin_count(void)
{
    nuc_err_t err;
    nuc_log_tenants_t *tenants;

    must(nuc_log_tenants_open(kit_sys(), dir, consumers, READERS, &tenants, &err), &err);

    return tenants;
}

/* Is it right for both tenants? */
static int agrees(nuc_log_tenants_t *tenants)
{
    int moved;
    nuc_err_t err;
    uint64_t bytes[2];

    must(nuc_log_tenants_count(tenants, consumers, READERS, &moved, &err), &err);

    bytes[0] = counted(tenants, "default");
    bytes[1] = counted(tenants, "other");

    if (bytes[0] == truth("default") && bytes[1] == truth("other")) {
        return 1;
    }

    diag("counted %llu and %llu, it is %llu and %llu", (unsigned long long) bytes[0],
         (unsigned long long) bytes[1], (unsigned long long) truth("default"),
         (unsigned long long) truth("other"));

    return 0;
}

static void ignore_report(void *ctx, const nuc_log_report_t *report)
{
    unsigned *removed = ctx;

    *removed += report->event == NUC_LOG_REMOVED;
}

/* Writers come and go, consumers read here and there, segments are removed. */
static void test_any(void)
{
    unsigned step, disagreed = 0, removed = 0, restarts = 0;
    nuc_err_t err;
    nuc_queue_t *queues[3] = {NULL};
    nuc_log_keeper_t *keeper;
    nuc_log_tenants_t *tenants;

    begin();
    queues[0] = begin_writer();
    store(queues[0], 50);
    consume(0, 20);
    must(nuc_log_keeper_open(kit_sys(), dir, ignore_report, &removed, &keeper, &err),
         &err);
    tenants = begin_count();

    for (step = 0; step < STEPS && disagreed == 0; step++) {
        unsigned which = any(3);

        switch (any(8)) {
        case 0:
            if (queues[which] != NULL) {
                end_writer(queues[which]);
                queues[which] = NULL;
            } else {
                queues[which] = begin_writer();
            }
            break;
        case 1:
        case 2:
        case 3:
            if (queues[which] != NULL) {
                store(queues[which], 1 + any(60));
            }
            break;
        case 4:
        case 5:
            consume(any(READERS), any(150));
            break;
        case 6:
            nuc_log_tenants_close(tenants);
            tenants = begin_count();
            restarts++;
            break;
        default:
            /* in this order, as the keeper of the worker does */
            disagreed += !agrees(tenants);
            must(nuc_log_keeper_tend(keeper, &err), &err);
            must(nuc_log_keeper_remove(keeper, consumers, READERS, &err), &err);
        }

        disagreed += !agrees(tenants);
    }

    is_int(disagreed, 0, "it agreed with what was stored and read, at each of %u steps",
           STEPS);
    ok(last > 2000 && removed > 5 && restarts > 10,
       "%llu records, %u segments removed, %u times begun anew",
       (unsigned long long) last, removed, restarts);

    /* a reader that has run dry looks for writers that are new */
    for (step = 0; step < 2; step++) {
        consume(0, MAX_RECORDS);
        consume(1, MAX_RECORDS);
    }

    ok(agrees(tenants) && truth("default") == 0, "nothing is left");

    for (step = 0; step < 3; step++) {
        if (queues[step] != NULL) {
            end_writer(queues[step]);
        }
    }

    nuc_log_tenants_close(tenants);
    nuc_log_keeper_close(keeper);
    end();
}

static void test_consumers(void)
{
    int moved;
    nuc_err_t err;
    nuc_queue_t *queue;
    nuc_log_tenants_t *tenants;

    begin();
    queue = begin_writer();
    store(queue, 100);

    must(nuc_log_tenants_open(kit_sys(), dir, NULL, 0, &tenants, &err), &err);
    must(nuc_log_tenants_count(tenants, NULL, 0, &moved, &err), &err);
    ok(moved && counted(tenants, "default") == truth("default"),
       "without consumers everything is in the queue");
    must(nuc_log_tenants_count(tenants, NULL, 0, &moved, &err), &err);
    ok(!moved, "and nothing moves");
    nuc_log_tenants_close(tenants);

    consume(0, 1000);
    tenants = begin_count();
    ok(agrees(tenants) && truth("default") > 0, "what one has not passed counts");
    consume(1, 40);
    ok(agrees(tenants), "until it has");
    must(nuc_log_tenants_count(tenants, consumers, 1, &moved, &err), &err);
    is_int((long long) counted(tenants, "default"), 0, "or is forgotten");
    nuc_log_tenants_close(tenants);

    end_writer(queue);
    end();
}

/* Damage counts for nobody, and what comes behind it does. */
static void test_damage(void)
{
    int fd, moved;
    uint64_t whole, damaged;
    nuc_err_t err;
    char path[NUC_PATH_MAX];
    uint64_t offset;
    nuc_queue_t *queue;
    nuc_log_tenants_t *tenants;
    nuc_record_t record;
    char id[32], data[KIT_DATA_MAX];

    begin();
    queue = begin_writer();
    store(queue, 30);
    whole = truth("default");

    kit_record(4, &record, id, data);
    must(nuc_log_find(kit_sys(), dir, record.rid, path, &offset, &err), &err);
    fd = open(path, O_WRONLY);
    ok(fd != -1 && pwrite(fd, "damage", 6, (off_t) offset + 40) == 6 && close(fd) == 0,
       "a record is damaged");

    tenants = begin_count();
    must(nuc_log_tenants_count(tenants, consumers, READERS, &moved, &err), &err);
    damaged = counted(tenants, "default");
    is_int((long long) (whole - damaged), (long long) nuc_record_encoded_len(&record),
           "it alone is not counted");

    consume(0, 15);
    consume(1, 1000);
    must(nuc_log_tenants_count(tenants, consumers, READERS, &moved, &err), &err);
    passed[0][4] = passed[1][4] = 1;
    ok(agrees(tenants), "nor taken off");

    nuc_log_tenants_close(tenants);
    end_writer(queue);
    end();
}

/* Reading goes on only so far, and where it was left. */
static void test_until(void)
{
    uint64_t lost, n = 0;
    nuc_err_t err;
    nuc_queue_t *queue;
    nuc_record_t record;
    nuc_log_position_t until;

    begin();
    queue = begin_writer();
    store(queue, 40);

    must(nuc_log_reader_refresh(readers[0], &err), &err);
    keep_positions(0);
    nuc_log_reader_until(readers[0], NULL, 0);
    is_int(nuc_log_reader_next(readers[0], &record, &lost, &err), NUC_AGAIN,
           "nothing of a writer that is not named");

    until = positions[0][0];
    until.sequence = 8;
    nuc_log_reader_until(readers[0], &until, 1);

    while (nuc_log_reader_next(readers[0], &record, &lost, &err) == NUC_OK) {
        n = kit_number(&record);
    }

    is_int((long long) n, 7, "up to the sequence");
    until.sequence = 20;
    nuc_log_reader_until(readers[0], &until, 1);
    is_int(nuc_log_reader_next(readers[0], &record, &lost, &err), NUC_OK, "then");
    is_int((long long) kit_number(&record), 8, "from there on");

    end_writer(queue);
    end();
}

static nuc_tenant_bytes_list_t *read_list(void)
{
    nuc_err_t err;
    nuc_tenant_bytes_list_t *list = NULL;

    (void) nuc_tenant_bytes_read(kit_sys(), dir, &list, &err);

    return list;
}

/* What the worker's keeper makes of it for nginx. */
static void test_file(void)
{
    nuc_err_t err;
    nuc_queue_t *queue;
    nuc_tenant_count_t count;
    nuc_tenant_bytes_list_t *list;
    const nuc_tenant_bytes_t *item;

    begin();
    queue = begin_writer();
    store(queue, 60);

    nuc_tenant_count_init(&count, kit_sys(), dir);
    is_int(nuc_tenant_count_round(&count, consumers, READERS, &err), NUC_OK, "a round");
    ok(read_list() == NULL, "nobody asked");

    is_int(nuc_tenant_bytes_ask(kit_sys(), dir, &err), NUC_OK, "somebody does");
    list = read_list();
    ok(list != NULL && list->number == 0 && list->count == 0, "nothing is counted yet");
    free(list);

    is_int(nuc_tenant_count_round(&count, consumers, READERS, &err), NUC_OK, "a round");
    list = read_list();
    item = nuc_tenant_bytes_find(list, NUC_STR("other"));
    ok(list->number == 1 && list->count == 2 && item != NULL &&
           item->bytes == truth("other"),
       "the first edition");
    ok(nuc_tenant_bytes_find(list, NUC_STR("othe")) == NULL &&
           nuc_tenant_bytes_find(list, NUC_STR("otherr")) == NULL,
       "others have nothing");
    free(list);

    is_int(nuc_tenant_bytes_ask(kit_sys(), dir, &err), NUC_OK, "asked once more");
    must(nuc_tenant_count_round(&count, consumers, READERS, &err), &err);
    list = read_list();
    ok(list->number == 1 && list->count == 2, "nothing has moved, so it stays");
    free(list);

    consume(0, 1000);
    consume(1, 1000);
    must(nuc_tenant_count_round(&count, consumers, READERS, &err), &err);
    list = read_list();
    ok(list->number == 2 && list->count == 0, "the second: all is gone");
    free(list);

    nuc_tenant_count_free(&count);
    nuc_tenant_count_init(&count, kit_sys(), dir);
    must(nuc_tenant_count_round(&count, consumers, READERS, &err), &err);
    list = read_list();
    is_int((long long) list->number, 3, "numbers go on after a restart");
    free(list);

    nuc_tenant_count_free(&count);
    end_writer(queue);
    end();
}

static void test_lines(void)
{
    nuc_err_t err;
    nuc_tenant_bytes_list_t *list;

    must(nuc_tenant_bytes_parse(NUC_STR("7\nsouth 5 1\n\nnorth 12 0\nnorth\nNorth 5 1\n"
                                        "east 5\n 1 2\nwest -1 0\nwest 1 2 3\n"
                                        "west 1234567890123456 1\nfar 9 9"),
                                &list, &err),
         &err);
    is_int((long long) list->number, 7, "the number");
    ok(list->count == 3 && strcmp(list->items[0].tenant, "far") == 0 &&
           strcmp(list->items[1].tenant, "north") == 0 && list->items[1].bytes == 12 &&
           list->items[2].rate == 1,
       "lines that are none are left out, the others in order");
    free(list);

    must(nuc_tenant_bytes_parse(NUC_STR("north 12 0\n"), &list, &err), &err);
    ok(list->number == 0 && list->count == 0, "without a number");
    free(list);

    must(nuc_tenant_bytes_parse(NUC_STR(""), &list, &err), &err);
    ok(list->number == 0 && list->count == 0, "nothing");
    free(list);
}

int main(void)
{
    test_until();
    test_consumers();
    test_any();
    test_damage();
    test_file();
    test_lines();

    free(positions[0]);
    free(positions[1]);

    return tap_done();
}
