/*
 * nucleusctl queue
 */

#include "nuc_ctl.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "nuc_ctl_out.h"
#include "nuc_ctl_program.h"
#include "nuc_log_holder.h"
#include "nuc_log_list.h"
#include "nuc_time.h"

#define NUC_WORKER_PROGRAM "nucleus-worker"

/* ---- status: what is to be had without reading what the segments hold */

typedef struct {
    nuc_uuid_t id;
    long pid; /* 0: it is dead */
    uint64_t segments;
    uint64_t bytes;
    uint64_t records; /* durable ones whose segments are there */
    uint64_t oldest;  /* µs since 1970, when its first segment was begun; 0: not known */
    int head;         /* is whole, else the records are not known */
} nuc_queue_writer_t;

typedef struct {
    const nuc_sys_t *sys;
    const char *dir;
    nuc_buf_t locks;
    nuc_segment_list_t segments;
    nuc_queue_writer_t *writers;
    size_t count;
    nuc_queue_writer_t sum;
    size_t living;
} nuc_queue_status_t;

static uint64_t nuc_queue_begun(nuc_queue_status_t *q, const nuc_uuid_t *id,
                                const char *path, uint64_t first)
{
    int fd;
    size_t got = 0;
    uint8_t bytes[NUC_SEGMENT_HEADER_LEN];
    nuc_segment_header_t header = {.created = 0};

    fd = q->sys->open(q->sys, path, O_RDONLY, 0);

    if (fd == -1) {
        return 0;
    }

    if (nuc_sys_read_all(q->sys, fd, bytes, sizeof(bytes), 0, &got, NULL) != NUC_OK ||
        got < sizeof(bytes) ||
        nuc_segment_header_decode(bytes, id, first, &header) != NUC_OK) {
        header.created = 0;
    }

    q->sys->close(q->sys, fd);

    return header.created;
}

/* Segments may go while this looks. */
static void nuc_queue_segment(nuc_queue_status_t *q, nuc_queue_writer_t *writer,
                              const char *dir, uint64_t first)
{
    struct stat st;
    char path[NUC_PATH_MAX];

    if (nuc_segment_path(dir, first, NUC_LOG_SEGMENT_SUFFIX, path, NULL) != NUC_OK ||
        q->sys->stat(q->sys, path, &st) == -1) {
        return;
    }

    if (writer->segments == 0) {
        writer->oldest = nuc_queue_begun(q, &writer->id, path, first);
    }

    writer->segments++;
    writer->bytes += (uint64_t) st.st_size;
}

static nuc_rc_t nuc_queue_writer(nuc_queue_status_t *q, const nuc_uuid_t *id,
                                 nuc_queue_writer_t *writer, nuc_err_t *err)
{
    size_t i;
    nuc_rc_t rc;
    struct stat st;
    uint64_t durable;
    nuc_log_head_t *head;
    char dir[NUC_PATH_MAX], lock[NUC_PATH_MAX];

    writer->id = *id;
    rc = nuc_log_writer_path(q->dir, id, dir, err);

    if (rc == NUC_OK) {
        rc = nuc_path_join(lock, dir, NUC_LOG_LOCK_NAME, err);
    }

    if (rc == NUC_OK) {
        rc = nuc_log_list_segments(q->sys, dir, &q->segments, err);
    }

    if (rc != NUC_OK) {
        return rc == NUC_NOT_FOUND ? NUC_OK : rc;
    }

    if (q->sys->stat(q->sys, lock, &st) == 0) {
        writer->pid = nuc_log_holder(&q->locks, &st);
    }

    for (i = 0; i < q->segments.count; i++) {
        nuc_queue_segment(q, writer, dir, q->segments.firsts[i]);
    }

    head = nuc_head_map(q->sys, dir, id);
    writer->head = head != NULL;

    if (head != NULL) {
        durable = le64toh(atomic_load(&head->durable));
        q->sys->unmap(q->sys, head, NUC_HEAD_LEN);

        if (q->segments.count > 0 && durable > q->segments.firsts[0]) {
            writer->records = durable - q->segments.firsts[0];
        }
    }

    return NUC_OK;
}

static void nuc_queue_add(nuc_queue_status_t *q, const nuc_queue_writer_t *writer)
{
    q->living += writer->pid != 0;
    q->sum.segments += writer->segments;
    q->sum.bytes += writer->bytes;
    q->sum.records += writer->records;

    if (writer->oldest != 0 && (q->sum.oldest == 0 || writer->oldest < q->sum.oldest)) {
        q->sum.oldest = writer->oldest;
    }
}

static nuc_rc_t nuc_queue_look(nuc_queue_status_t *q, nuc_err_t *err)
{
    size_t i;
    nuc_rc_t rc;
    nuc_writer_list_t writers = {.ids = NULL};

    rc = nuc_log_list_writers(q->sys, q->dir, &writers, err);

    if (rc == NUC_OK) {
        /* after the listing: who is in it has its lock by now */
        rc = nuc_log_read_locks(q->sys, &q->locks, err);
    }

    if (rc == NUC_OK) {
        q->writers = calloc(writers.count + 1, sizeof(*q->writers));
        rc = q->writers != NULL
                 ? NUC_OK
                 : nuc_err_set(err, NUC_NOMEM, "no memory to look at \"%s\"", q->dir);
    }

    for (i = 0; i < writers.count && rc == NUC_OK; i++) {
        rc = nuc_queue_writer(q, &writers.ids[i], &q->writers[q->count], err);

        if (rc == NUC_OK) {
            nuc_queue_add(q, &q->writers[q->count++]);
        }
    }

    free(writers.ids);

    return rc;
}

static void nuc_queue_json(nuc_ctl_t *ctl, const nuc_queue_status_t *q)
{
    size_t i;
    nuc_buf_t *out = &ctl->out;
    char id[NUC_UUID_TEXT_LEN + 1];
    const nuc_queue_writer_t *writer;

    nuc_out_open(out, NULL, '{');
    nuc_out_text(out, "queue", q->dir);
    nuc_out_number(out, "segments", q->sum.segments);
    nuc_out_number(out, "bytes", q->sum.bytes);
    nuc_out_number(out, "records", q->sum.records);
    nuc_out_time(out, "oldest", q->sum.oldest);
    nuc_out_number(out, "living", q->living);
    nuc_out_open(out, "writers", '[');

    for (i = 0; i < q->count; i++) {
        writer = &q->writers[i];
        *nuc_uuid_format(&writer->id, id) = '\0';
        nuc_out_open(out, NULL, '{');
        nuc_out_text(out, "id", id);
        nuc_out_bool(out, "living", writer->pid != 0);
        nuc_out_number(out, "pid", (uint64_t) writer->pid);
        nuc_out_bool(out, "head", writer->head);
        nuc_out_number(out, "segments", writer->segments);
        nuc_out_number(out, "bytes", writer->bytes);
        nuc_out_number(out, "records", writer->records);
        nuc_out_time(out, "oldest", writer->oldest);
        nuc_out_close(out, '}');
    }

    nuc_out_close(out, ']');
    nuc_out_close(out, '}');
    nuc_buf_char(out, '\n');
}

static void nuc_queue_text(nuc_ctl_t *ctl, const nuc_queue_status_t *q)
{
    size_t i;
    nuc_buf_t cells = NUC_BUF_INIT;
    const nuc_queue_writer_t *writer;
    char id[NUC_UUID_TEXT_LEN + 1], time[NUC_OUT_TIME_MAX], size[NUC_OUT_SIZE_MAX],
        state[48];

    nuc_buf_str(&cells, NUC_STR("WRITER\tSTATE\tSEGMENTS\tSIZE\tRECORDS\tOLDEST\n"));

    for (i = 0; i < q->count; i++) {
        writer = &q->writers[i];
        *nuc_uuid_format(&writer->id, id) = '\0';
        snprintf(state, sizeof(state), "living, process %ld", writer->pid);
        nuc_buf_printf(&cells, "%s\t%s\t%" PRIu64 "\t%s\t%" PRIu64 "%s\t%s\n", id,
                       writer->pid != 0 ? state : "dead", writer->segments,
                       nuc_out_size_text(writer->bytes, size), writer->records,
                       writer->head ? "" : "?", nuc_out_time_text(writer->oldest, time));
    }

    if (q->count > 0) {
        nuc_out_columns(&ctl->out, &cells);
        nuc_buf_char(&ctl->out, '\n');
    }

    nuc_buf_printf(&ctl->out,
                   "%zu writers, %zu of them living; %" PRIu64 " segments, %s, %" PRIu64
                   " records, the oldest from %s\n",
                   q->count, q->living, q->sum.segments,
                   nuc_out_size_text(q->sum.bytes, size), q->sum.records,
                   nuc_out_time_text(q->sum.oldest, time));
    nuc_buf_free(&cells);
}

int nuc_ctl_queue_status(nuc_ctl_t *ctl)
{
    nuc_rc_t rc;
    nuc_err_t err;
    nuc_queue_status_t q = {.sys = ctl->sys, .dir = ctl->argument, .locks = NUC_BUF_INIT};

    memset(&err, 0, sizeof(err));
    rc = nuc_queue_look(&q, &err);

    if (rc == NUC_OK && ctl->json) {
        nuc_queue_json(ctl, &q);
    } else if (rc == NUC_OK) {
        nuc_queue_text(ctl, &q);
    }

    nuc_buf_free(&q.locks);
    free(q.segments.firsts);
    free(q.writers);

    return rc == NUC_OK ? NUC_EXIT_OK : nuc_ctl_fail(ctl, &err);
}

/* ---- verify and adopt: the worker's */

static int nuc_queue_worker(const nuc_ctl_t *ctl, char **argv)
{
    nuc_rc_t rc;
    nuc_err_t err;
    char path[NUC_PATH_MAX];

    memset(&err, 0, sizeof(err));
    rc = nuc_program_find(NUC_WORKER_PROGRAM, path, &err);

    if (rc == NUC_OK) {
        nuc_program_become(path, argv, &err);
    }

    nuc_ctl_fail(ctl, &err);

    return NUC_EXIT_FAILED;
}

int nuc_ctl_queue_verify(nuc_ctl_t *ctl)
{
    char *argv[] = {(char *) NUC_WORKER_PROGRAM, (char *) "--verify",
                    (char *) ctl->argument, ctl->json ? (char *) "--json" : NULL, NULL};

    return nuc_queue_worker(ctl, argv);
}

int nuc_ctl_queue_adopt(nuc_ctl_t *ctl)
{
    int status;
    size_t i, count;
    char **argv;
    nuc_err_t err;

    for (count = 0; ctl->rest != NULL && ctl->rest[count] != NULL; count++) {
        /* void */
    }

    if (count == 0) {
        return nuc_ctl_misuse(ctl, "\"%s\" needs its DIR", ctl->command->name);
    }

    argv = calloc(count + 4, sizeof(*argv));

    if (argv == NULL) {
        nuc_err_set(&err, NUC_NOMEM, "no memory for a command line");
        return nuc_ctl_fail(ctl, &err);
    }

    argv[0] = (char *) NUC_WORKER_PROGRAM;
    argv[1] = (char *) "--adopt";

    for (i = 0; i < count; i++) {
        argv[i + 2] = ctl->rest[i];
    }

    /* given before the words of the command */
    argv[count + 2] = ctl->json ? (char *) "--json" : NULL;
    status = nuc_queue_worker(ctl, argv);
    free(argv);

    return status;
}
