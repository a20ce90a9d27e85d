#include "nuc_status.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "nuc_commit.h"
#include "nuc_log_scan.h"
#include "nuc_progress.h"
#include "nuc_roster.h"
#include "nuc_state.h"
#include "nuc_time.h"

typedef struct {
    const char *name;
    int registered;
    int configured;
    nuc_rc_t rc; /* of reading the commit and the lag */
    nuc_err_t err;
    nuc_commit_t commit;
    nuc_log_lag_t lag;
    int has_progress;
    nuc_progress_report_t progress;
    int has_process;
    nuc_roster_entry_t process;
} nuc_status_t;

/* All that is to be printed. */
typedef struct {
    nuc_status_t *pipelines;
    size_t count;
    int running; /* a supervisor */
    int has_keeper;
    nuc_roster_entry_t keeper;
} nuc_status_all_t;

/* Gathering. */

static nuc_rc_t nuc_status_lag(const char *queue, const nuc_commit_t *commit,
                               nuc_log_lag_t *lag, nuc_err_t *err)
{
    size_t i;
    nuc_rc_t rc;
    nuc_log_reader_t *reader;

    rc = nuc_log_reader_open(&nuc_sys_posix, queue, NUC_LOG_ALL, &reader, err);
    if (rc != NUC_OK) {
        return rc;
    }

    for (i = 0; rc == NUC_OK && i < commit->npositions; i++) {
        rc = nuc_log_reader_seek(reader, &commit->positions[i], err);
    }

    if (rc == NUC_OK) {
        rc = nuc_log_reader_lag(reader, lag, err);
    }

    nuc_log_reader_close(reader);

    /* no queue yet: nothing to lag behind */
    return rc == NUC_NOT_FOUND ? NUC_OK : rc;
}

static void nuc_status_gather(const nuc_worker_conf_t *conf, nuc_status_t *status)
{
    char dir[NUC_PATH_MAX];
    nuc_rc_t rc;

    rc = nuc_state_pipeline_dir(dir, conf->state, status->name, &status->err);

    if (rc == NUC_OK) {
        rc = nuc_commit_read(&nuc_sys_posix, dir, &status->commit, &status->err);
    }

    if (rc == NUC_OK) {
        rc = nuc_status_lag(conf->queue, &status->commit, &status->lag, &status->err);
        status->has_progress =
            nuc_progress_read(&nuc_sys_posix, dir, nuc_time_monotonic(),
                              &status->progress) &&
            status->lag.records > 0;
    }

    status->rc = rc;
}

static void nuc_status_gather_processes(const nuc_worker_conf_t *conf,
                                        nuc_status_all_t *all)
{
    size_t i;
    nuc_buf_t text;
    nuc_status_t *status;

    text = NUC_BUF_INIT;
    all->running = nuc_roster_read(&nuc_sys_posix, conf->state, &text);

    if (all->running) {
        all->has_keeper = nuc_roster_find(&text, NULL, &all->keeper);

        for (i = 0; i < all->count; i++) {
            status = &all->pipelines[i];
            status->has_process = nuc_roster_find(&text, status->name, &status->process);
        }
    }

    nuc_buf_free(&text);
}

/* Printing. */

static void nuc_status_time(nuc_buf_t *out, uint64_t us)
{
    char text[NUC_TIME_TEXT_LEN];

    nuc_time_format(us, text);

    /* to the second */
    nuc_buf_append(out, text, 19);
    nuc_buf_char(out, 'Z');
}

/* ms until its next start. */
static uint64_t nuc_status_due(const nuc_roster_entry_t *process)
{
    uint64_t now;

    now = nuc_time_monotonic();

    return process->due > now ? (process->due - now) / 1000 : 0;
}

static const char *nuc_status_how(int status, int *number)
{
    *number = WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status);

    return WIFSIGNALED(status) ? "signal" : "exit_code";
}

static void nuc_status_json_process(const nuc_roster_entry_t *process, nuc_buf_t *out)
{
    int number;
    const char *how;

    nuc_buf_printf(out, "{\"restarts\":%u", process->restarts);

    if (process->pid != 0) {
        nuc_buf_printf(out, ",\"pid\":%ld,\"since\":\"", (long) process->pid);
        nuc_status_time(out, process->since);
        nuc_buf_char(out, '"');
    } else {
        nuc_buf_printf(out, ",\"next_start_ms\":%" PRIu64, nuc_status_due(process));
    }

    if (process->ended != 0) {
        how = nuc_status_how(process->status, &number);
        nuc_buf_printf(out, ",\"last_crash\":{\"%s\":%d,\"time\":\"", how, number);
        nuc_status_time(out, process->ended);
        nuc_buf_printf(out, "\"}");
    }

    nuc_buf_char(out, '}');
}

static void nuc_status_text_process(const nuc_roster_entry_t *process, nuc_buf_t *out)
{
    int number;

    if (process->pid != 0) {
        nuc_buf_printf(out, "  process %ld runs since ", (long) process->pid);
        nuc_status_time(out, process->since);
    } else {
        nuc_buf_printf(out, "  process does not run, starts in %" PRIu64 " ms",
                       nuc_status_due(process));
    }

    if (process->restarts > 0) {
        nuc_buf_printf(out, ", started again %u times in a row", process->restarts);
    }

    if (process->ended != 0) {
        (void) nuc_status_how(process->status, &number);
        nuc_buf_printf(out, ", last ended by %s %d",
                       WIFSIGNALED(process->status) ? "signal" : "exit code", number);

        if (WIFSIGNALED(process->status)) {
            nuc_buf_printf(out, " (%s)", strsignal(number));
        }

        nuc_buf_printf(out, " at ");
        nuc_status_time(out, process->ended);
    }

    nuc_buf_char(out, '\n');
}

static void nuc_status_json_lag(const nuc_status_t *status, nuc_buf_t *out)
{
    const nuc_progress_report_t *progress = &status->progress;

    nuc_buf_printf(out, ",\"lag\":{\"records\":%" PRIu64 ",\"bytes\":%" PRIu64,
                   status->lag.records, status->lag.bytes);

    if (status->has_progress) {
        nuc_buf_printf(out, ",\"records_per_second\":%" PRIu64, progress->rate);

        if (progress->seconds_left != NUC_PROGRESS_UNKNOWN) {
            nuc_buf_printf(out, ",\"seconds_left\":%" PRIu64, progress->seconds_left);
        }
    }

    nuc_buf_char(out, '}');
}

static void nuc_status_text_progress(const nuc_progress_report_t *progress,
                                     nuc_buf_t *out)
{
    nuc_buf_printf(out, "  reads %" PRIu64 " records a second", progress->rate);

    if (progress->seconds_left == NUC_PROGRESS_UNKNOWN) {
        nuc_buf_printf(out, ", and does not catch up\n");
        return;
    }

    nuc_buf_printf(out, ", will have caught up in %" PRIu64 " s\n",
                   progress->seconds_left);
}

static void nuc_status_json_positions(const nuc_commit_t *commit, nuc_buf_t *out)
{
    size_t i;
    char writer[NUC_UUID_TEXT_LEN + 1];
    const nuc_log_position_t *p;

    nuc_buf_printf(out, ",\"positions\":[");

    for (i = 0; i < commit->npositions; i++) {
        p = &commit->positions[i];
        *nuc_uuid_format(&p->writer, writer) = '\0';

        nuc_buf_printf(out,
                       "%s{\"writer\":\"%s\",\"segment\":%" PRIu64 ",\"offset\":%" PRIu64
                       ",\"sequence\":%" PRIu64 "}",
                       i > 0 ? "," : "", writer, p->segment, p->offset, p->sequence);
    }

    nuc_buf_char(out, ']');
}

static void nuc_status_json(const nuc_status_t *status, nuc_buf_t *out)
{
    const nuc_counts_t *n = &status->commit.counts;

    nuc_buf_printf(out, "{\"name\":");
    nuc_buf_json(out, nuc_str(status->name));
    nuc_buf_printf(out, ",\"registered\":%s,\"configured\":%s",
                   status->registered ? "true" : "false",
                   status->configured ? "true" : "false");

    if (status->rc != NUC_OK) {
        nuc_buf_printf(out, ",\"error\":");
        nuc_buf_json(out, nuc_str(status->err.message));

    } else if (status->registered) {
        nuc_buf_printf(out, ",\"generation\":%" PRIu64, status->commit.generation);
        nuc_buf_printf(out, ",\"read\":%" PRIu64, n->read);
        nuc_buf_printf(out, ",\"delivered\":%" PRIu64, n->delivered);
        nuc_buf_printf(out, ",\"delivered_bytes\":%" PRIu64, n->delivered_bytes);
        nuc_buf_printf(out, ",\"filtered\":%" PRIu64, n->filtered);
        nuc_buf_printf(out, ",\"corrupt\":%" PRIu64, n->corrupt);
        nuc_status_json_lag(status, out);
        nuc_status_json_positions(&status->commit, out);
    }

    if (status->has_process) {
        nuc_buf_printf(out, ",\"process\":");
        nuc_status_json_process(&status->process, out);
    }

    nuc_buf_char(out, '}');
}

static void nuc_status_text_head(const nuc_status_t *status, nuc_buf_t *out)
{
    nuc_buf_printf(out, "pipeline %s: ", status->name);

    if (!status->registered) {
        nuc_buf_printf(out, "not registered: the worker has not run with it\n");
    } else if (status->configured) {
        nuc_buf_printf(out, "registered\n");
    } else if (status->rc != NUC_OK) {
        nuc_buf_printf(out, "registered, not configured\n");
    } else {
        nuc_buf_printf(out,
                       "registered, not configured, holds %" PRIu64
                       " bytes of the log until it is forgotten\n",
                       status->lag.bytes);
    }
}

static void nuc_status_text(const nuc_status_t *status, nuc_buf_t *out)
{
    size_t i;
    char writer[NUC_UUID_TEXT_LEN + 1];
    const nuc_counts_t *n = &status->commit.counts;
    const nuc_log_position_t *p;

    nuc_status_text_head(status, out);

    if (status->rc != NUC_OK) {
        nuc_buf_printf(out, "  error: %s\n", status->err.message);

        if (status->err.hint[0] != '\0') {
            nuc_buf_printf(out, "  hint: %s\n", status->err.hint);
        }

        return;
    }

    if (!status->registered) {
        return;
    }

    nuc_buf_printf(out,
                   "  read %" PRIu64 " = delivered %" PRIu64 " + filtered %" PRIu64
                   " + corrupt %" PRIu64 "\n",
                   n->read, n->delivered, n->filtered, n->corrupt);
    nuc_buf_printf(out,
                   "  delivered bytes %" PRIu64 ", commit %" PRIu64 ", lag %" PRIu64
                   " records (up to %" PRIu64 " bytes)\n",
                   n->delivered_bytes, status->commit.generation, status->lag.records,
                   status->lag.bytes);

    if (status->has_progress) {
        nuc_status_text_progress(&status->progress, out);
    }

    for (i = 0; i < status->commit.npositions; i++) {
        p = &status->commit.positions[i];
        *nuc_uuid_format(&p->writer, writer) = '\0';

        nuc_buf_printf(out,
                       "  writer %s: sequence %" PRIu64 ", segment %" PRIu64
                       ", offset %" PRIu64 "\n",
                       writer, p->sequence, p->segment, p->offset);
    }
}

static nuc_rc_t nuc_status_write(nuc_buf_t *buf, FILE *out, nuc_err_t *err)
{
    nuc_rc_t rc;

    rc = NUC_OK;

    if (buf->failed) {
        rc = nuc_err_set(err, NUC_NOMEM, "no memory to print");

    } else if (fwrite(buf->data, 1, buf->len, out) != buf->len || fflush(out) != 0) {
        rc = nuc_err_sys(err, NUC_IO, errno, "printing failed");
    }

    nuc_buf_free(buf);

    return rc;
}

static void nuc_status_print_text(const nuc_status_all_t *all, nuc_buf_t *out)
{
    size_t i;

    for (i = 0; i < all->count; i++) {
        nuc_status_text(&all->pipelines[i], out);

        if (all->pipelines[i].has_process) {
            nuc_status_text_process(&all->pipelines[i].process, out);
        }
    }

    if (all->has_keeper) {
        nuc_buf_printf(out, "keeper\n");
        nuc_status_text_process(&all->keeper, out);
    }

    if (!all->running) {
        nuc_buf_printf(out, "no worker runs\n");
    }
}

static void nuc_status_print_json(const nuc_status_all_t *all, nuc_buf_t *out)
{
    size_t i;

    nuc_buf_printf(out, "{\"running\":%s,\"pipelines\":[",
                   all->running ? "true" : "false");

    for (i = 0; i < all->count; i++) {
        if (i > 0) {
            nuc_buf_char(out, ',');
        }

        nuc_status_json(&all->pipelines[i], out);
    }

    nuc_buf_char(out, ']');

    if (all->has_keeper) {
        nuc_buf_printf(out, ",\"keeper\":");
        nuc_status_json_process(&all->keeper, out);
    }

    nuc_buf_printf(out, "}\n");
}

static int nuc_status_has(const nuc_status_t *all, size_t count, const char *name)
{
    size_t i;

    for (i = 0; i < count; i++) {
        if (strcmp(all[i].name, name) == 0) {
            return 1;
        }
    }

    return 0;
}

/* The registered pipelines, then the configured ones that are not. */
static size_t nuc_status_collect(const nuc_worker_conf_t *conf,
                                 const nuc_state_names_t *names, nuc_status_t *all)
{
    size_t i, count;

    for (count = 0; count < names->count; count++) {
        all[count].name = names->names[count];
        all[count].registered = 1;
        all[count].configured = nuc_worker_conf_pipeline(conf, all[count].name) != NULL;
        nuc_status_gather(conf, &all[count]);
    }

    for (i = 0; i < conf->npipelines; i++) {
        if (!nuc_status_has(all, names->count, conf->pipelines[i].name)) {
            all[count].name = conf->pipelines[i].name;
            all[count].configured = 1;
            count++;
        }
    }

    return count;
}

nuc_rc_t nuc_status_print(const nuc_worker_conf_t *conf, int json, FILE *out,
                          nuc_err_t *err)
{
    size_t i;
    nuc_rc_t rc;
    nuc_buf_t buf;
    nuc_status_all_t all;
    nuc_state_names_t names;

    rc = nuc_state_list(&nuc_sys_posix, conf->state, &names, err);
    if (rc != NUC_OK) {
        return rc;
    }

    memset(&all, 0, sizeof(all));

    all.pipelines = calloc(names.count + conf->npipelines, sizeof(*all.pipelines));
    if (all.pipelines == NULL) {
        nuc_state_names_free(&names);
        return nuc_err_set(err, NUC_NOMEM, "no memory for a list of pipelines");
    }

    all.count = nuc_status_collect(conf, &names, all.pipelines);
    nuc_status_gather_processes(conf, &all);

    buf = NUC_BUF_INIT;

    if (json) {
        nuc_status_print_json(&all, &buf);
    } else {
        nuc_status_print_text(&all, &buf);
    }

    rc = nuc_status_write(&buf, out, err);

    for (i = 0; i < all.count; i++) {
        if (rc == NUC_OK && all.pipelines[i].rc != NUC_OK) {
            rc = all.pipelines[i].rc;
            *err = all.pipelines[i].err;
        }

        nuc_commit_free(&all.pipelines[i].commit);
    }

    free(all.pipelines);
    nuc_state_names_free(&names);

    return rc;
}

/* Finding. */

/* Take "…/<writer>/<segment>.seg" apart; the file's name is cut off. */
static nuc_rc_t nuc_status_parse_path(char *path, nuc_uuid_t *writer, uint64_t *first)
{
    char *slash, *name;

    slash = strrchr(path, '/');
    if (slash == NULL) {
        return NUC_INVALID;
    }

    *first = nuc_segment_name_parse(slash + 1, NUC_LOG_SEGMENT_SUFFIX);
    *slash = '\0';

    name = strrchr(path, '/');
    name = name == NULL ? path : name + 1;

    return *first == 0 ? NUC_INVALID : nuc_uuid_parse(nuc_str(name), writer);
}

static nuc_rc_t nuc_status_read_record(const char *segment, uint64_t offset,
                                       nuc_buf_t *out, nuc_err_t *err)
{
    char dir[NUC_PATH_MAX];
    uint64_t first;
    nuc_rc_t rc;
    nuc_scan_t scan;
    nuc_uuid_t writer;
    nuc_frame_t frame;
    nuc_record_t record;

    snprintf(dir, sizeof(dir), "%s", segment);

    if (nuc_status_parse_path(dir, &writer, &first) != NUC_OK) {
        return nuc_err_set(err, NUC_INVALID, "\"%s\" is not a segment's name", segment);
    }

    nuc_scan_init(&scan, &nuc_sys_posix);

    rc = nuc_scan_open(&scan, dir, &writer, first, O_RDONLY, err);

    if (rc == NUC_OK) {
        scan.offset = offset;
        rc = nuc_scan_frame(&scan, &frame, err);
    }

    if (rc == NUC_OK) {
        rc = nuc_record_decode(frame.payload, &record, err);
    }

    if (rc == NUC_OK) {
        rc = nuc_record_ndjson(&record, out, err);
    }

    nuc_scan_free(&scan);

    return rc;
}

nuc_rc_t nuc_status_find(const nuc_worker_conf_t *conf, const char *rid, FILE *out,
                         nuc_err_t *err)
{
    char path[NUC_PATH_MAX];
    uint64_t offset;
    nuc_rc_t rc;
    nuc_buf_t buf;
    nuc_uuid_t id;

    /* the id of a record is written as a UUID is */
    if (nuc_uuid_parse(nuc_str(rid), &id) != NUC_OK) {
        return nuc_err_set(err, NUC_INVALID, "\"%s\" is not the id of a record", rid);
    }

    rc = nuc_log_find(&nuc_sys_posix, conf->queue, id.b, path, &offset, err);

    if (rc == NUC_NOT_FOUND) {
        nuc_err_set(err, rc, "the log in \"%s\" has no record %s", conf->queue, rid);
        nuc_err_hint(err,
                     "it was never accepted, or every pipeline has passed it and its "
                     "segment was removed: look into the stores");
    }

    if (rc != NUC_OK) {
        return rc;
    }

    buf = NUC_BUF_INIT;
    nuc_buf_printf(&buf, "%s offset %" PRIu64 "\n", path, offset);

    rc = nuc_status_read_record(path, offset, &buf, err);
    if (rc != NUC_OK) {
        nuc_buf_free(&buf);
        return rc;
    }

    return nuc_status_write(&buf, out, err);
}
