#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/wait.h>

#include "nuc_status.h"
#include "nuc_time.h"

/* The last are the writers whose directories are gone. */
static void nuc_status_source_name(const nuc_status_t *status, size_t i,
                                   char name[NUC_UUID_TEXT_LEN + 1])
{
    if (i < status->commit.npositions) {
        *nuc_uuid_format(&status->sources[i].writer, name) = '\0';
    } else {
        strcpy(name, "_retired");
    }
}

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

    nuc_buf_printf(out,
                   ",\"lag\":{\"records\":%" PRIu64 ",\"bytes\":%" PRIu64
                   ",\"seconds\":%" PRIu64,
                   status->lag.records, status->lag.bytes,
                   nuc_status_waited(status, nuc_time_now()) / 1000000);

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

static void nuc_status_json_sources(const nuc_status_t *status, nuc_buf_t *out)
{
    size_t i;
    char writer[NUC_UUID_TEXT_LEN + 1];
    const nuc_status_source_t *s;

    nuc_buf_printf(out, ",\"sources\":[");

    for (i = 0; i < status->nsources; i++) {
        s = &status->sources[i];
        nuc_status_source_name(status, i, writer);

        nuc_buf_printf(out,
                       "%s{\"source\":\"%s\",\"durable\":%" PRIu64 ",\"queued\":%" PRIu64
                       ",\"delivered\":%" PRIu64 ",\"filtered\":%" PRIu64
                       ",\"corrupt\":%" PRIu64 ",\"skipped\":%" PRIu64
                       ",\"unbalanced\":%" PRId64 "}",
                       i > 0 ? "," : "", writer, s->durable, s->queued, s->book.delivered,
                       s->book.filtered, s->book.corrupt, s->skipped, s->unbalanced);
    }

    nuc_buf_char(out, ']');
}

static void nuc_status_json_pipeline(const nuc_status_t *status, nuc_buf_t *out)
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
        nuc_status_json_sources(status, out);
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

static void nuc_status_text_unbalanced(const nuc_status_t *status, nuc_buf_t *out)
{
    size_t i;
    char writer[NUC_UUID_TEXT_LEN + 1];

    for (i = 0; i < status->nsources; i++) {
        if (status->sources[i].unbalanced != 0) {
            nuc_status_source_name(status, i, writer);
            nuc_buf_printf(out,
                           "  UNBALANCED: of writer %s %" PRId64
                           " records were passed that nobody has counted\n",
                           writer, status->sources[i].unbalanced);
        }
    }
}

static void nuc_status_text_pipeline(const nuc_status_t *status, nuc_buf_t *out)
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
                   " records (up to %" PRIu64 " bytes, %" PRIu64 " s)\n",
                   n->delivered_bytes, status->commit.generation, status->lag.records,
                   status->lag.bytes,
                   nuc_status_waited(status, nuc_time_now()) / 1000000);

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

    nuc_status_text_unbalanced(status, out);
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

void nuc_status_text(const nuc_status_all_t *all, nuc_buf_t *out)
{
    size_t i;

    for (i = 0; i < all->count; i++) {
        nuc_status_text_pipeline(&all->pipelines[i], out);

        if (all->pipelines[i].has_process) {
            nuc_status_text_process(&all->pipelines[i].process, out);
        }
    }

    if (all->has_keeper) {
        nuc_buf_printf(out, "keeper\n");
        nuc_status_text_process(&all->keeper, out);
    }

    if (all->has_api) {
        nuc_buf_printf(out, "api\n");
        nuc_status_text_process(&all->api, out);
    }

    if (!all->running) {
        nuc_buf_printf(out, "no worker runs\n");
    }
}

void nuc_status_json(const nuc_status_all_t *all, nuc_buf_t *out)
{
    size_t i;

    nuc_buf_printf(out, "{\"running\":%s,\"pipelines\":[",
                   all->running ? "true" : "false");

    for (i = 0; i < all->count; i++) {
        if (i > 0) {
            nuc_buf_char(out, ',');
        }

        nuc_status_json_pipeline(&all->pipelines[i], out);
    }

    nuc_buf_char(out, ']');

    if (all->has_keeper) {
        nuc_buf_printf(out, ",\"keeper\":");
        nuc_status_json_process(&all->keeper, out);
    }

    if (all->has_api) {
        nuc_buf_printf(out, ",\"api\":");
        nuc_status_json_process(&all->api, out);
    }

    nuc_buf_printf(out, "}\n");
}

nuc_rc_t nuc_status_print(const nuc_worker_conf_t *conf, int json, FILE *out,
                          nuc_err_t *err)
{
    size_t i;
    nuc_rc_t rc;
    nuc_buf_t buf;
    nuc_status_all_t all;

    rc = nuc_status_gather(conf, &all, err);
    if (rc != NUC_OK) {
        return rc;
    }

    buf = NUC_BUF_INIT;

    if (json) {
        nuc_status_json(&all, &buf);
    } else {
        nuc_status_text(&all, &buf);
    }

    rc = nuc_status_write(&buf, out, err);

    for (i = 0; rc == NUC_OK && i < all.count; i++) {
        if (all.pipelines[i].rc != NUC_OK) {
            rc = all.pipelines[i].rc;
            *err = all.pipelines[i].err;
        }
    }

    nuc_status_free(&all);

    return rc;
}
