#include "logkit.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "nuc_le.h"
#include "nuc_time.h"
#include "sim.h"

static size_t kit_pad(uint64_t n)
{
    return (size_t) (n * 37 % 1500);
}

static size_t kit_data(uint64_t n, char data[KIT_DATA_MAX])
{
    int len;
    size_t pad = kit_pad(n);

    len = snprintf(data, KIT_DATA_MAX, "{\"id\":\"event-%llu\",\"pad\":\"",
                   (unsigned long long) n);
    memset(data + len, 'a' + (int) (n % 26), pad);
    memcpy(data + len + pad, "\"}", 2);

    return (size_t) len + pad + 2;
}

void kit_record(uint64_t n, nuc_record_t *record, char id[32], char data[KIT_DATA_MAX])
{
    size_t len;

    memset(record, 0, sizeof(*record));
    snprintf(id, 32, "event-%llu", (unsigned long long) n);
    len = kit_data(n, data);

    nuc_le64_put(record->rid, n);
    nuc_le64_put(record->rid + 8, ~n);
    record->kind = NUC_KIND_JSON;
    record->received = 1795000000000000u + n;
    record->attr[NUC_ATTR_TENANT] = n % 3 ? NUC_STR("default") : NUC_STR("other");
    record->attr[NUC_ATTR_STREAM] = NUC_STR("json");
    record->attr[NUC_ATTR_ID] = nuc_str(id);
    record->data = (nuc_str_t){(const uint8_t *) data, len};
}

uint64_t kit_number(const nuc_record_t *record)
{
    char id[32], data[KIT_DATA_MAX];
    uint64_t n = nuc_le64(record->rid);
    nuc_record_t expected;

    kit_record(n, &expected, id, data);

    if (memcmp(record->rid, expected.rid, NUC_RID_LEN) != 0 ||
        record->received != expected.received ||
        !nuc_str_eq(record->attr[NUC_ATTR_ID], expected.attr[NUC_ATTR_ID]) ||
        !nuc_str_eq(record->attr[NUC_ATTR_TENANT], expected.attr[NUC_ATTR_TENANT]) ||
        !nuc_str_eq(record->data, expected.data)) {
        return 0;
    }

    return n;
}

static int kit_statfs(const nuc_sys_t *sys, const char *path, struct statfs *st)
{
    int rc = nuc_sys_posix.statfs(sys, path, st);

    st->f_type = SIM_EXT4;

    return rc;
}

const nuc_sys_t *kit_sys(void)
{
    static nuc_sys_t sys;

    if (sys.open == NULL) {
        sys = nuc_sys_posix;
        sys.statfs = kit_statfs;
    }

    return &sys;
}

nuc_log_options_t kit_options(const nuc_sys_t *sys, const char *dir)
{
    return (nuc_log_options_t){
        .dir = dir,
        .max_size = 1u << 30,
        .min_free = 0,
        .segment_size = 16384,
        .max_pending = 8u << 20,
        .tick_ms = 20,
        .stride = 1024,
        .sys = sys,
    };
}

nuc_rc_t kit_submit(nuc_queue_t *queue, uint64_t first, unsigned count,
                    nuc_ticket_t *ticket, nuc_err_t *err)
{
    unsigned i;
    nuc_rc_t rc;
    char(*ids)[32] = calloc(count, sizeof(*ids));
    char(*data)[KIT_DATA_MAX] = calloc(count, sizeof(*data));
    nuc_record_t *records = calloc(count, sizeof(*records));

    for (i = 0; i < count; i++) {
        kit_record(first + i, &records[i], ids[i], data[i]);
    }

    rc = queue->ops->submit(queue, records, count, ticket, err);

    /* the queue must have copied: spoil what it was given */
    memset(data, 'x', count * sizeof(*data));
    free(records);
    free(data);
    free(ids);

    return rc;
}

unsigned kit_wait(nuc_queue_t *queue, unsigned count, unsigned ms)
{
    int left;
    uint64_t deadline = nuc_time_monotonic() + (uint64_t) ms * 1000;
    unsigned came = 0;
    nuc_ticket_t *ticket;
    struct pollfd wake = {.fd = queue->ops->wake_fd(queue), .events = POLLIN};

    for (;;) {
        for (ticket = queue->ops->poll(queue); ticket != NULL; ticket = ticket->next) {
            came++;
        }

        left = (int) ((int64_t) (deadline - nuc_time_monotonic()) / 1000);

        if (came >= count || left <= 0) {
            return came;
        }

        poll(&wake, 1, left);
    }
}

nuc_rc_t kit_store(nuc_queue_t *queue, uint64_t first, unsigned count)
{
    nuc_rc_t rc;
    static nuc_ticket_t ticket;

    rc = kit_submit(queue, first, count, &ticket, NULL);
    if (rc != NUC_OK) {
        return rc;
    }

    queue->ops->kick(queue);

    return kit_wait(queue, 1, 10000) == 1 ? ticket.rc : NUC_AGAIN;
}

int kit_wait_ready(nuc_queue_t *queue, nuc_rc_t wanted, unsigned ms)
{
    unsigned retry_after;
    uint64_t deadline = nuc_time_monotonic() + (uint64_t) ms * 1000;

    while (nuc_time_monotonic() < deadline) {
        if (queue->ops->ready(queue, &retry_after, NULL) == wanted) {
            return 1;
        }

        poll(NULL, 0, 1);
    }

    return 0;
}

nuc_rc_t kit_started(nuc_queue_t *queue)
{
    nuc_rc_t rc;
    unsigned retry_after;

    do {
        poll(NULL, 0, 1);
        rc = queue->ops->ready(queue, &retry_after, NULL);
    } while (rc == NUC_AGAIN);

    return rc;
}

void kit_temp_dir(char path[NUC_PATH_MAX])
{
    const char *base = getenv("TMPDIR");

    /* the simulator decides what a disk keeps, so the files may as well be in memory */
    if (base == NULL) {
        base = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    }

    snprintf(path, NUC_PATH_MAX, "%s/nucleus-unit-XXXXXX", base);

    if (mkdtemp(path) == NULL) {
        fprintf(stderr, "mkdtemp of \"%s\" failed: %s\n", path, strerror(errno));
        abort();
    }
}
