#include "nuc_verify.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "nuc_buf.h"
#include "nuc_commit.h"
#include "nuc_log_verify.h"
#include "nuc_state.h"
#include "nuc_time.h"
#include "nuc_worker_log.h"

#define NUC_VERIFY_EVERY 2000000U /* µs between two lines of progress */

typedef struct {
    int json;
    uint64_t said; /* when, µs */

    /* elements of the arrays, for JSON */
    nuc_buf_t writers;
    nuc_buf_t segments;
    nuc_buf_t findings;
} nuc_verify_out_t;

static const char *const nuc_verify_index_names[] = {
    [NUC_VERIFY_INDEX_MISSING] = "missing",
    [NUC_VERIFY_INDEX_OK] = "ok",
    [NUC_VERIFY_INDEX_DAMAGED] = "damaged",
    [NUC_VERIFY_INDEX_WRONG] = "wrong",
};

static const char *const nuc_verify_type_names[] = {
    [NUC_VERIFY_WRITER] = "writer",
    [NUC_VERIFY_SEGMENT] = "segment",
    [NUC_VERIFY_DAMAGE] = "damage",
    [NUC_VERIFY_TAIL] = "torn tail",
    [NUC_VERIFY_GAP] = "gap",
    [NUC_VERIFY_LEFTOVER] = "leftover",
    [NUC_VERIFY_QUARANTINE] = "quarantine",
};

/* For a person. */

static void nuc_verify_print_segment(const nuc_verify_finding_t *f)
{
    printf("  segment %020" PRIu64 ": %s, %" PRIu64 " records", f->segment,
           f->open                           ? "open"
           : f->index == NUC_VERIFY_INDEX_OK ? "sealed"
                                             : "not sealed",
           f->records);

    if (f->records > 0) {
        printf(" (%" PRIu64 " to %" PRIu64 ")", f->first, f->last);
    }

    printf(", %" PRIu64 " bytes, index %s%s\n", f->bytes,
           nuc_verify_index_names[f->index], f->header ? "" : ", HEADER DAMAGED");
}

static void nuc_verify_print(const nuc_verify_finding_t *f)
{
    char id[NUC_UUID_TEXT_LEN + 1];

    switch (f->type) {
    case NUC_VERIFY_WRITER:
        *nuc_uuid_format(&f->writer, id) = '\0';
        printf("writer %s: ", id);

        if (f->pid != 0) {
            printf("living, process %ld", f->pid);
        } else {
            printf("dead");
        }

        printf(", %" PRIu64 " segments%s\n", f->records,
               f->head ? "" : ", HEAD DAMAGED OR MISSING");
        break;

    case NUC_VERIFY_SEGMENT:
        nuc_verify_print_segment(f);
        break;

    case NUC_VERIFY_DAMAGE:
        printf("  DAMAGE in segment %020" PRIu64 " at offset %" PRIu64 ": %" PRIu64
               " bytes, %" PRIu64 " records lost (from %" PRIu64 ")\n",
               f->segment, f->offset, f->bytes, f->lost, f->first);
        break;

    case NUC_VERIFY_TAIL:
        printf("  torn tail of segment %020" PRIu64 " at offset %" PRIu64 ": %" PRIu64
               " bytes that were acknowledged to nobody; recovery will cut them\n",
               f->segment, f->offset, f->bytes);
        break;

    case NUC_VERIFY_GAP:
        printf("  MISSING before segment %020" PRIu64 ": %" PRIu64
               " records (from %" PRIu64 "), a segment was removed\n",
               f->segment, f->lost, f->first);
        break;

    case NUC_VERIFY_LEFTOVER:
        printf("leftover: %s\n", f->path);
        break;

    case NUC_VERIFY_QUARANTINE:
        printf("quarantine: %s, %" PRIu64 " bytes\n", f->path, f->bytes);
    }
}

/* For programs. */

static void nuc_verify_json_begin(nuc_buf_t *out)
{
    nuc_buf_str(out, nuc_str(out->len == 0 ? "\n  {" : ",\n  {"));
}

static void nuc_verify_json_number(nuc_buf_t *out, const char *name, uint64_t value)
{
    nuc_buf_printf(out, ",\"%s\":%" PRIu64, name, value);
}

static void nuc_verify_json(nuc_verify_out_t *out, const nuc_verify_finding_t *f)
{
    char id[NUC_UUID_TEXT_LEN + 1];
    nuc_buf_t *to = f->type == NUC_VERIFY_WRITER    ? &out->writers
                    : f->type == NUC_VERIFY_SEGMENT ? &out->segments
                                                    : &out->findings;

    *nuc_uuid_format(&f->writer, id) = '\0';
    nuc_verify_json_begin(to);
    nuc_buf_printf(to, "\"type\":\"%s\",\"path\":", nuc_verify_type_names[f->type]);
    nuc_buf_json(to, nuc_str(f->path));

    if (f->type != NUC_VERIFY_LEFTOVER && f->type != NUC_VERIFY_QUARANTINE) {
        nuc_buf_printf(to, ",\"writer\":\"%s\"", id);
    }

    switch (f->type) {
    case NUC_VERIFY_WRITER:
        nuc_buf_printf(to, ",\"state\":\"%s\",\"head\":%s", f->pid ? "living" : "dead",
                       f->head ? "true" : "false");
        nuc_verify_json_number(to, "pid", (uint64_t) f->pid);
        nuc_verify_json_number(to, "segments", f->records);
        break;

    case NUC_VERIFY_SEGMENT:
        nuc_buf_printf(to, ",\"open\":%s,\"header\":%s,\"index\":\"%s\"",
                       f->open ? "true" : "false", f->header ? "true" : "false",
                       nuc_verify_index_names[f->index]);
        nuc_verify_json_number(to, "segment", f->segment);
        nuc_verify_json_number(to, "records", f->records);
        nuc_verify_json_number(to, "first", f->first);
        nuc_verify_json_number(to, "last", f->last);
        nuc_verify_json_number(to, "bytes", f->bytes);
        nuc_verify_json_number(to, "lost", f->lost);
        break;

    case NUC_VERIFY_LEFTOVER:
        break;

    case NUC_VERIFY_QUARANTINE:
        nuc_verify_json_number(to, "bytes", f->bytes);
        break;

    default:
        nuc_verify_json_number(to, "segment", f->segment);
        nuc_verify_json_number(to, "offset", f->offset);
        nuc_verify_json_number(to, "bytes", f->bytes);
        nuc_verify_json_number(to, "first", f->first);
        nuc_verify_json_number(to, "lost", f->lost);
    }

    nuc_buf_char(to, '}');
}

static void nuc_verify_found(void *ctx, const nuc_verify_finding_t *finding)
{
    nuc_verify_out_t *out = ctx;

    if (out->json) {
        nuc_verify_json(out, finding);
    } else {
        nuc_verify_print(finding);
    }
}

static void nuc_verify_progress(void *ctx, uint64_t done, uint64_t total)
{
    uint64_t now = nuc_time_monotonic();
    nuc_verify_out_t *out = ctx;

    if (now - out->said >= NUC_VERIFY_EVERY && total > 0) {
        out->said = now;
        fprintf(stderr,
                "nucleus-worker: %" PRIu64 " of %" PRIu64 " bytes, %" PRIu64 " %%\n",
                done, total, done < total ? done * 100 / total : 100);
    }
}

static int nuc_verify_fail(const nuc_err_t *err, int json)
{
    if (json) {
        nuc_worker_log_error(NUC_LEVEL_ERROR, "the command failed", err);
    } else {
        fprintf(stderr, "nucleus-worker: %s\n", err->message);
    }

    return 2;
}

static void nuc_verify_sum_also(uint64_t count, const char *of)
{
    if (count > 0) {
        printf(", %" PRIu64 " %s", count, of);
    }
}

static void nuc_verify_sum(const nuc_verify_summary_t *s)
{
    printf("%" PRIu64 " writers, %" PRIu64 " segments, %" PRIu64 " records, %" PRIu64
           " bytes: ",
           s->writers, s->segments, s->records, s->bytes);

    if (s->damage == 0) {
        printf("no damage");
    } else {
        printf("DAMAGE in %" PRIu64 " places, %" PRIu64 " records lost", s->damage,
               s->lost);
    }

    nuc_verify_sum_also(s->tails, "torn tails");
    nuc_verify_sum_also(s->quarantined, "files in quarantine");
    nuc_verify_sum_also(s->leftovers, "leftovers");
    printf("\n");
}

static int nuc_verify_sum_json(nuc_verify_out_t *out, const nuc_verify_summary_t *s)
{
    if (out->writers.failed || out->segments.failed || out->findings.failed) {
        fputs("nucleus-worker: no memory for the answer\n", stderr);
        return 2;
    }

    printf("{\"writers\":[%.*s],\n\"segments\":[%.*s],\n\"findings\":[%.*s],\n",
           (int) out->writers.len, (const char *) out->writers.data,
           (int) out->segments.len, (const char *) out->segments.data,
           (int) out->findings.len, (const char *) out->findings.data);
    printf("\"summary\":{\"writers\":%" PRIu64 ",\"segments\":%" PRIu64
           ",\"records\":%" PRIu64 ",\"bytes\":%" PRIu64 ",\"damage\":%" PRIu64
           ",\"lost\":%" PRIu64 ",\"torn_tails\":%" PRIu64 ",\"leftovers\":%" PRIu64
           ",\"quarantine\":%" PRIu64 "}}\n",
           s->writers, s->segments, s->records, s->bytes, s->damage, s->lost, s->tails,
           s->leftovers, s->quarantined);

    return s->damage > 0;
}

static int nuc_verify_queue(const char *dir, int json)
{
    int status;
    nuc_rc_t rc;
    nuc_err_t err;
    nuc_verify_summary_t summary;
    nuc_verify_out_t out = {.json = json, .said = nuc_time_monotonic()};
    nuc_verify_report_t report = {nuc_verify_found, nuc_verify_progress, &out};

    rc = nuc_log_verify(&nuc_sys_posix, dir, &report, &summary, &err);

    if (rc != NUC_OK) {
        status = nuc_verify_fail(&err, json);
    } else if (json) {
        status = nuc_verify_sum_json(&out, &summary);
    } else {
        nuc_verify_sum(&summary);
        status = summary.damage > 0;
    }

    nuc_buf_free(&out.writers);
    nuc_buf_free(&out.segments);
    nuc_buf_free(&out.findings);

    return status;
}

/* A state directory: are the commits whole, and their books? */

static void nuc_verify_book(const nuc_commit_t *commit, size_t i, nuc_buf_t *json)
{
    char writer[NUC_UUID_TEXT_LEN + 1];
    int64_t records = nuc_commit_unbalanced(commit, i);

    strcpy(writer, "_retired");
    if (i < commit->npositions) {
        *nuc_uuid_format(&commit->positions[i].writer, writer) = '\0';
    }

    if (json == NULL) {
        printf("  UNBALANCED: of writer %s %" PRId64
               " records were passed that nobody has counted\n",
               writer, records);
    } else {
        nuc_buf_printf(json, "%s{\"writer\":\"%s\",\"records\":%" PRId64 "}",
                       json->data[json->len - 1] == '[' ? "" : ",", writer, records);
    }
}

/* How many of the writers' books do not balance. */
static unsigned nuc_verify_books(const nuc_commit_t *commit, nuc_buf_t *json)
{
    size_t i;
    unsigned unbalanced = 0;

    for (i = 0; i <= commit->npositions; i++) {
        if (nuc_commit_unbalanced(commit, i) != 0) {
            nuc_verify_book(commit, i, json);
            unbalanced++;
        }
    }

    return unbalanced;
}

static void nuc_verify_print_commit(const char *name, nuc_rc_t rc,
                                    const nuc_commit_t *commit, const nuc_err_t *err)
{
    if (rc == NUC_OK) {
        printf("pipeline %s: commit ok, generation %" PRIu64 ", read %" PRIu64
               ", %zu writers\n",
               name, commit->generation, commit->counts.read, commit->npositions);
    } else {
        printf("pipeline %s: DAMAGE: %s\n", name, err->message);
    }
}

/* How much is wrong with it. */
static unsigned nuc_verify_commit(const char *state, const char *name, nuc_buf_t *json)
{
    char dir[NUC_PATH_MAX];
    unsigned wrong;
    nuc_rc_t rc;
    nuc_err_t err;
    nuc_commit_t commit;

    nuc_commit_init(&commit);
    rc = nuc_state_pipeline_dir(dir, state, name, &err);

    if (rc == NUC_OK) {
        rc = nuc_commit_read(&nuc_sys_posix, dir, &commit, &err);
    }

    if (json == NULL) {
        nuc_verify_print_commit(name, rc, &commit, &err);
    } else {
        nuc_verify_json_begin(json);
        nuc_buf_printf(json, "\"name\":\"%s\",\"commit\":\"%s\",\"error\":", name,
                       rc == NUC_OK ? "ok" : nuc_rc_name(rc));
        nuc_buf_json(json, nuc_str(rc == NUC_OK ? "" : err.message));
        nuc_buf_str(json, NUC_STR(",\"unbalanced\":["));
    }

    wrong = rc == NUC_OK ? nuc_verify_books(&commit, json) : 1;

    if (json != NULL) {
        nuc_buf_str(json, NUC_STR("]}"));
    }

    nuc_commit_free(&commit);

    return wrong;
}

static int nuc_verify_state(const char *state, int json)
{
    size_t i;
    unsigned damaged = 0;
    nuc_buf_t out = NUC_BUF_INIT;
    nuc_err_t err;
    nuc_state_names_t names;

    if (nuc_state_list(&nuc_sys_posix, state, &names, &err) != NUC_OK) {
        return nuc_verify_fail(&err, json);
    }

    for (i = 0; i < names.count; i++) {
        damaged += nuc_verify_commit(state, names.names[i], json ? &out : NULL);
    }

    if (json) {
        printf("{\"pipelines\":[%.*s],\n\"summary\":{\"pipelines\":%zu,\"damage\":%u}}\n",
               (int) out.len, (const char *) out.data, names.count, damaged);
    } else {
        printf("%zu pipelines: %s\n", names.count, damaged ? "DAMAGE" : "no damage");
    }

    nuc_buf_free(&out);
    nuc_state_names_free(&names);

    return damaged > 0;
}

int nuc_verify_command(const char *dir, int json)
{
    char path[NUC_PATH_MAX];
    struct stat st;
    nuc_err_t err;

    if (nuc_path_join(path, dir, "pipelines", &err) != NUC_OK) {
        return nuc_verify_fail(&err, json);
    }

    return nuc_sys_posix.stat(&nuc_sys_posix, path, &st) == 0
               ? nuc_verify_state(dir, json)
               : nuc_verify_queue(dir, json);
}
