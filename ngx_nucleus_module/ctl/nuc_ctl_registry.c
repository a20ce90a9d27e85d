/*
 * The registry as a whole: init, audit, snapshot; opening, publishing, waiting.
 */

#include "nuc_ctl.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <time.h>

#include "nuc_conf.h"
#include "nuc_ctl_out.h"
#include "nuc_ctl_readers.h"
#include "nuc_ctl_value.h"
#include "nuc_time.h"

#define NUC_WAIT_DEFAULT 10000    /* ms */
#define NUC_WAIT_POLL    20000000 /* ns */

/* ---- what the commands share */

static int nuc_ctl_open_only(nuc_ctl_t *ctl)
{
    nuc_err_t err;

    memset(&err, 0, sizeof(err));

    return nuc_registry_open(ctl->sys, ctl->path, &ctl->actor, &ctl->registry, &err) ==
                   NUC_OK
               ? 0
               : nuc_ctl_fail(ctl, &err);
}

int nuc_ctl_open(nuc_ctl_t *ctl)
{
    int status;
    nuc_err_t err;

    memset(&err, 0, sizeof(err));
    status = nuc_ctl_open_only(ctl);

    if (status == 0 && nuc_registry_publish(ctl->registry, 0, &err) != NUC_OK) {
        nuc_ctl_warn(ctl, &err);
    }

    return status;
}

int nuc_ctl_publish(nuc_ctl_t *ctl)
{
    nuc_err_t err, told;

    memset(&err, 0, sizeof(err));

    if (nuc_registry_publish(ctl->registry, 0, &err) == NUC_OK) {
        return 0;
    }

    told = err;
    nuc_err_set(&told, NUC_IO, "the change is made, but nginx does not have it: %.200s",
                err.message);
    nuc_err_hint(&told, "mend that, then: nucleusctl snapshot");

    return nuc_ctl_fail(ctl, &told);
}

int nuc_ctl_key_id(const nuc_ctl_t *ctl, uint64_t *id)
{
    if (nuc_key_id_parse(nuc_str(ctl->argument), id) == NUC_OK) {
        return 0;
    }

    /* what follows an id could be a secret: it is not repeated */
    if (strncmp(ctl->argument, NUC_KEY_PREFIX, strlen(NUC_KEY_PREFIX)) == 0) {
        return nuc_ctl_misuse(ctl,
                              "a key's ID is wanted, the %d characters behind \"%s\"",
                              NUC_KEY_ID_LEN, NUC_KEY_PREFIX);
    }

    return nuc_ctl_misuse(ctl, "that is no key's ID, which has %d characters",
                          NUC_KEY_ID_LEN);
}

/* ---- waiting for nginx */

static void nuc_wait_json(nuc_ctl_t *ctl, const nuc_readers_t *readers)
{
    size_t i;

    nuc_out_number(&ctl->out, "generation", readers->generation);
    nuc_out_number(&ctl->out, "processes", readers->total);
    nuc_out_open(&ctl->out, "behind", '[');

    for (i = 0; i < readers->behind && i < NUC_READERS_MAX; i++) {
        nuc_out_number(&ctl->out, NULL, (uint64_t) readers->pids[i]);
    }

    nuc_out_close(&ctl->out, ']');
}

static void nuc_wait_text(nuc_ctl_t *ctl, const nuc_readers_t *readers)
{
    if (readers->total == 0) {
        nuc_buf_str(&ctl->out, NUC_STR("No process of nginx uses the registry now.\n"));
    } else if (readers->behind == 0) {
        nuc_buf_printf(&ctl->out, "All processes of nginx (%zu) have taken that up.\n",
                       readers->total);
    }
}

static int nuc_wait_behind(const nuc_ctl_t *ctl, const nuc_readers_t *readers)
{
    nuc_err_t err;
    nuc_buf_t pids = NUC_BUF_INIT;

    nuc_readers_describe(readers, &pids);
    nuc_err_set(&err, NUC_AGAIN, "%zu processes have not taken that up: %.200s",
                readers->behind, pids.failed ? "" : (const char *) pids.data);
    nuc_err_hint(&err,
                 "they go on as before: look at nginx's error log, reload nginx or end "
                 "them");
    nuc_buf_free(&pids);
    nuc_ctl_fail(ctl, &err);

    return NUC_EXIT_BEHIND;
}

static int nuc_wait_unknown(const nuc_ctl_t *ctl, const nuc_err_t *why)
{
    nuc_err_t err;

    nuc_err_set(&err, NUC_UNKNOWN, "whether nginx has taken that up is not known: %.200s",
                why->message);
    nuc_err_hint(&err, "nucleusctl snapshot --rewrite, then reload nginx");
    nuc_ctl_fail(ctl, &err);

    return NUC_EXIT_BEHIND;
}

int nuc_ctl_timeout(const nuc_ctl_t *ctl, uint64_t *ms)
{
    nuc_err_t err;
    const char *text = nuc_ctl_option(ctl, "--timeout");

    *ms = NUC_WAIT_DEFAULT;

    if (text != NULL && nuc_value_duration(text, ms, &err) != NUC_OK) {
        return nuc_ctl_misuse(ctl, "%s: %s", err.message, err.hint);
    }

    return 0;
}

int nuc_ctl_wait(nuc_ctl_t *ctl)
{
    int status;
    nuc_rc_t rc;
    nuc_err_t err;
    uint64_t ms, until;
    nuc_readers_t readers;
    nuc_registry_info_t info;

    memset(&err, 0, sizeof(err));
    status = nuc_ctl_timeout(ctl, &ms);

    if (status != 0) {
        return status;
    }

    if (nuc_registry_info(ctl->registry, &info, &err) != NUC_OK) {
        return nuc_ctl_fail(ctl, &err);
    }

    until = nuc_time_monotonic() + 1000 * ms;

    do {
        rc = nuc_readers_look(ctl->sys, info.readers, info.generation, &readers, &err);

        if (rc != NUC_OK) {
            return nuc_wait_unknown(ctl, &err);
        }

        if (readers.behind == 0 || nuc_time_monotonic() >= until) {
            break;
        }

        (void) nanosleep(&(struct timespec){.tv_nsec = NUC_WAIT_POLL}, NULL);
    } while (1);

    if (ctl->json) {
        nuc_wait_json(ctl, &readers);
    } else {
        nuc_wait_text(ctl, &readers);
    }

    return readers.behind == 0 ? 0 : nuc_wait_behind(ctl, &readers);
}

/* ---- init */

static void nuc_init_tell(nuc_ctl_t *ctl, const nuc_registry_info_t *info, int made)
{
    char id[NUC_UUID_TEXT_LEN + 1];

    *nuc_uuid_format(&info->id, id) = '\0';

    if (ctl->json) {
        nuc_out_open(&ctl->out, NULL, '{');
        nuc_out_bool(&ctl->out, "made", made);
        nuc_out_text(&ctl->out, "registry", info->path);
        nuc_out_text(&ctl->out, "id", id);
        nuc_out_text(&ctl->out, "snapshot", info->snapshot);
        nuc_out_text(&ctl->out, "group", info->group);
        nuc_out_close(&ctl->out, '}');
        nuc_buf_char(&ctl->out, '\n');
        return;
    }

    nuc_buf_printf(&ctl->out, "The registry %s %s.\n", info->path,
                   made ? "is made" : "is there already; nothing was changed");
    nuc_out_line(&ctl->out, "id", "%s", id);
    nuc_out_line(&ctl->out, "snapshot", "%s", info->snapshot);
    nuc_out_line(&ctl->out, "group", "%s", info->group[0] != '\0' ? info->group : "-");

    if (made) {
        nuc_buf_printf(&ctl->out, "\nIn nginx.conf: nucleus_registry %s;\n",
                       info->snapshot);
    }
}

/* The snapshot's path is stored, so it is to mean the same in any directory. */
static nuc_rc_t nuc_init_absolute(const char *path, char out[NUC_PATH_MAX],
                                  nuc_err_t *err)
{
    nuc_rc_t rc;
    char *cwd;

    if (path[0] == '/') {
        return strlen(path) < NUC_PATH_MAX
                   ? (strcpy(out, path), NUC_OK)
                   : nuc_err_set(err, NUC_TOO_LARGE, "path \"%s\" is too long", path);
    }

    cwd = realpath(".", NULL);

    if (cwd == NULL) {
        return nuc_err_sys(err, NUC_IO, errno, "the directory has no name");
    }

    rc = nuc_path_join(out, cwd, path, err);
    free(cwd);

    return rc;
}

int nuc_ctl_init(nuc_ctl_t *ctl)
{
    int made;
    nuc_rc_t rc;
    nuc_err_t err;
    char path[NUC_PATH_MAX];
    nuc_registry_info_t info;
    const char *snapshot = nuc_ctl_option(ctl, "--snapshot");

    memset(&err, 0, sizeof(err));

    if (snapshot != NULL && nuc_init_absolute(snapshot, path, &err) != NUC_OK) {
        return nuc_ctl_fail(ctl, &err);
    }

    rc = nuc_registry_create(ctl->sys, ctl->path, snapshot != NULL ? path : NULL,
                             nuc_ctl_option(ctl, "--group"), &ctl->actor, &made, &err);

    if (rc == NUC_OK) {
        rc = nuc_registry_open(ctl->sys, ctl->path, &ctl->actor, &ctl->registry, &err);
    }

    if (rc == NUC_OK) {
        rc = nuc_registry_info(ctl->registry, &info, &err);
    }

    if (rc != NUC_OK) {
        return nuc_ctl_fail(ctl, &err);
    }

    nuc_init_tell(ctl, &info, made);

    return NUC_EXIT_OK;
}

/* ---- audit */

typedef struct {
    nuc_ctl_t *ctl;
    nuc_buf_t cells;
} nuc_audit_out_t;

static void nuc_audit_json(nuc_buf_t *out, const nuc_registry_audit_t *entry)
{
    char at[NUC_TIME_TEXT_LEN + 1];

    *nuc_time_format(entry->at, at) = '\0';
    nuc_out_open(out, NULL, '{');
    nuc_out_text(out, "at", at);
    nuc_out_number(out, "generation", entry->generation);
    nuc_out_text(out, "who", entry->who);
    nuc_out_text(out, "from", entry->from);
    nuc_out_text(out, "what", entry->what);
    nuc_out_text(out, "subject", entry->subject);
    nuc_out_text(out, "tenant", entry->tenant);
    nuc_out_raw(out, "details", entry->details);
    nuc_out_close(out, '}');
    nuc_buf_char(out, '\n');
}

/* With --json one object a line: an audit may be long. */
static void nuc_audit_entry(void *ctx, const nuc_registry_audit_t *entry)
{
    char at[NUC_OUT_TIME_MAX];
    nuc_audit_out_t *out = ctx;

    if (out->ctl->json) {
        nuc_buf_reset(&out->cells);
        nuc_audit_json(&out->cells, entry);
        nuc_buf_str(&out->ctl->out, (nuc_str_t){out->cells.data, out->cells.len});
        return;
    }

    nuc_buf_printf(&out->cells, "%s\t%" PRIu64 "\t%s\t%s\t%s\t%s\t%s\t%s\n",
                   nuc_out_time_text(entry->at, at), entry->generation, entry->who,
                   entry->from, entry->what,
                   entry->subject[0] != '\0' ? entry->subject : "-",
                   entry->tenant[0] != '\0' ? entry->tenant : "-", entry->details);
}

int nuc_ctl_audit(nuc_ctl_t *ctl)
{
    int status;
    nuc_rc_t rc;
    nuc_err_t err;
    uint64_t since = 0, limit = 0;
    nuc_audit_out_t out = {ctl, NUC_BUF_INIT};
    const char *text = nuc_ctl_option(ctl, "--since");

    memset(&err, 0, sizeof(err));

    if (text != NULL &&
        nuc_value_time(text, nuc_time_now() / 1000000, 1, &since, &err) != NUC_OK) {
        return nuc_ctl_misuse(ctl, "%s", err.message);
    }

    text = nuc_ctl_option(ctl, "--limit");

    if (text != NULL &&
        (nuc_conf_count(text, &limit) != NUC_OK || limit == 0 || limit > INT64_MAX)) {
        return nuc_ctl_misuse(ctl, "\"%s\" is no number of entries", text);
    }

    status = nuc_ctl_open(ctl);

    if (status != 0) {
        return status;
    }

    if (!ctl->json) {
        nuc_buf_str(&out.cells,
                    NUC_STR("WHEN\tGENERATION\tWHO\tFROM\tWHAT\tSUBJECT\tTENANT"
                            "\tDETAILS\n"));
    }

    rc = nuc_registry_audit(ctl->registry, since * 1000000,
                            nuc_ctl_option(ctl, "--tenant"), limit, nuc_audit_entry, &out,
                            &err);

    if (rc == NUC_OK && !ctl->json) {
        nuc_out_columns(&ctl->out, &out.cells);
    }

    nuc_buf_free(&out.cells);

    return rc == NUC_OK ? NUC_EXIT_OK : nuc_ctl_fail(ctl, &err);
}

/* ---- snapshot */

typedef struct {
    nuc_registry_info_t info;
    nuc_registry_published_t published;
    nuc_readers_t readers;
    nuc_rc_t readers_rc;
} nuc_snapshot_state_t;

static void nuc_snapshot_json(nuc_ctl_t *ctl, const nuc_snapshot_state_t *s)
{
    size_t i;
    nuc_buf_t *out = &ctl->out;

    nuc_out_open(out, NULL, '{');
    nuc_out_text(out, "snapshot", s->info.snapshot);
    nuc_out_bool(out, "good", s->published.rc == NUC_OK && !s->published.foreign);
    nuc_out_number(out, "registry_generation", s->info.generation);
    nuc_out_number(out, "generation", s->published.generation);
    nuc_out_time(out, "created", s->published.created);
    nuc_out_number(out, "tenants", s->published.ntenants);
    nuc_out_number(out, "keys", s->published.nkeys);
    nuc_out_number(out, "bytes", s->published.bytes);

    if (s->readers_rc == NUC_OK) {
        nuc_out_number(out, "processes", s->readers.total);
        nuc_out_open(out, "behind", '[');

        for (i = 0; i < s->readers.behind && i < NUC_READERS_MAX; i++) {
            nuc_out_number(out, NULL, (uint64_t) s->readers.pids[i]);
        }

        nuc_out_close(out, ']');
    }

    nuc_out_close(out, '}');
    nuc_buf_char(out, '\n');
}

static void nuc_snapshot_text(nuc_ctl_t *ctl, const nuc_snapshot_state_t *s)
{
    nuc_buf_t *out = &ctl->out;
    nuc_buf_t pids = NUC_BUF_INIT;
    char created[NUC_OUT_TIME_MAX], size[NUC_OUT_SIZE_MAX];

    nuc_out_line(out, "snapshot", "%s", s->info.snapshot);
    nuc_out_line(out, "generation", "%" PRIu64 " (the registry's is %" PRIu64 ")",
                 s->published.generation, s->info.generation);
    nuc_out_line(out, "created", "%s", nuc_out_time_text(s->published.created, created));
    nuc_out_line(out, "tenants", "%zu", s->published.ntenants);
    nuc_out_line(out, "keys", "%zu", s->published.nkeys);
    nuc_out_line(out, "size", "%s", nuc_out_size_text(s->published.bytes, size));

    if (s->readers_rc != NUC_OK) {
        return;
    }

    nuc_readers_describe(&s->readers, &pids);
    nuc_out_line(out, "processes", "%zu, %zu of them behind%s%s", s->readers.total,
                 s->readers.behind, s->readers.behind > 0 ? ": " : "",
                 s->readers.behind > 0 && !pids.failed ? (const char *) pids.data : "");
    nuc_buf_free(&pids);
}

/* What is wrong with it is told once more by what it exits with. */
static int nuc_snapshot_judge(const nuc_ctl_t *ctl, const nuc_snapshot_state_t *s,
                              const nuc_err_t *readers)
{
    nuc_err_t err;

    memset(&err, 0, sizeof(err));

    if (s->published.rc != NUC_OK) {
        err = s->published.err;
        nuc_err_hint(&err, "nucleusctl snapshot --rewrite");
    } else if (s->published.foreign) {
        nuc_err_set(&err, NUC_INVALID, "the snapshot is another registry's");
        nuc_err_hint(&err, "if this one shall replace it: nucleusctl snapshot --rewrite");
    } else if (s->published.generation > s->info.generation) {
        nuc_err_set(&err, NUC_INVALID,
                    "the snapshot is newer than the registry, which was "
                    "restored from a backup");
        nuc_err_hint(&err, "if the registry is as wanted: nucleusctl snapshot --rewrite");
    } else if (s->readers_rc != NUC_OK) {
        err = *readers;
        nuc_err_hint(&err, "nucleusctl snapshot --rewrite, then reload nginx");
    }

    if (err.rc == NUC_OK) {
        return NUC_EXIT_OK;
    }

    nuc_ctl_fail(ctl, &err);

    return NUC_EXIT_FAILED;
}

int nuc_ctl_snapshot(nuc_ctl_t *ctl)
{
    int status;
    nuc_rc_t rc;
    nuc_err_t err;
    nuc_snapshot_state_t s;
    int force = nuc_ctl_option(ctl, "--rewrite") != NULL;

    memset(&s, 0, sizeof(s));
    memset(&err, 0, sizeof(err));
    status = force ? nuc_ctl_open_only(ctl) : nuc_ctl_open(ctl);

    if (status != 0) {
        return status;
    }

    rc = force ? nuc_registry_publish(ctl->registry, 1, &err) : NUC_OK;

    if (rc == NUC_OK) {
        rc = nuc_registry_info(ctl->registry, &s.info, &err);
    }

    if (rc != NUC_OK) {
        return nuc_ctl_fail(ctl, &err);
    }

    nuc_registry_published(ctl->registry, &s.published);
    s.readers_rc =
        nuc_readers_look(ctl->sys, s.info.readers, s.info.generation, &s.readers, &err);

    if (ctl->json) {
        nuc_snapshot_json(ctl, &s);
    } else {
        nuc_snapshot_text(ctl, &s);
    }

    return nuc_snapshot_judge(ctl, &s, &err);
}
