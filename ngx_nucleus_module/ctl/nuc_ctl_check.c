/*
 * nucleusctl check: one event, sent as any client would, and waited for until it has come
 * out at the other end.
 */

#include <openssl/crypto.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>

#include "nuc_ctl.h"
#include "nuc_ctl_arrival.h"
#include "nuc_ctl_http.h"
#include "nuc_ctl_out.h"
#include "nuc_ctl_value.h"
#include "nuc_exposition.h"
#include "nuc_fs.h"
#include "nuc_json.h"
#include "nuc_key.h"
#include "nuc_name.h"
#include "nuc_time.h"
#include "nuc_uuid.h"

#define NUC_CHECK_SOCKET  "/run/nucleus/worker.sock"
#define NUC_CHECK_TENANT  "nucleus-check"
#define NUC_CHECK_TIMEOUT 30000 /* ms */
#define NUC_CHECK_FILE    4096  /* bytes of a key's file */
#define NUC_CHECK_PAUSE   20    /* ms, before it is looked for again; grows */
#define NUC_CHECK_PAUSES  500

typedef struct {
    nuc_ctl_t *ctl;
    const char *url;
    const char *socket; /* NULL: the worker is not asked */
    const char *tenant;
    const char *textfile;
    uint64_t ms;
    nuc_buf_t file;            /* of the key */
    char key[NUC_KEY_LEN + 1]; /* "": none */

    uint64_t began; /* µs since 1970 */
    uint64_t start; /* µs, monotonic */
    uint64_t accepted;
    uint64_t delivered;
    char rid[NUC_UUID_TEXT_LEN + 1];
    nuc_arrival_t *arrival;
    nuc_err_t err;
} nuc_check_t;

/* ---- what was given */

static nuc_rc_t nuc_check_parse_key(nuc_check_t *check, const char *path)
{
    size_t len;
    nuc_key_t key;
    const uint8_t *text = check->file.data;

    for (len = check->file.len; len > 0 && text[len - 1] <= ' '; len--) {
        /* what ends the line */
    }

    if (nuc_key_parse((nuc_str_t){text, len}, &key) != NUC_KEY_GOOD) {
        nuc_err_set(&check->err, NUC_INVALID, "\"%s\" holds no API key, and nothing else",
                    path);
        nuc_err_hint(&check->err, "nucleusctl key create --to-file FILE makes one");
        return NUC_INVALID;
    }

    memcpy(check->key, text, NUC_KEY_LEN);

    return NUC_OK;
}

static nuc_rc_t nuc_check_read_key(nuc_check_t *check, const char *path)
{
    nuc_rc_t rc;
    nuc_err_t err;
    struct stat st;
    const nuc_sys_t *sys = check->ctl->sys;

    if (sys->stat(sys, path, &st) == 0 && (st.st_mode & S_IROTH)) {
        nuc_err_set(&err, NUC_INVALID, "everybody can read the key in \"%s\"", path);
        nuc_err_hint(&err, "chmod 0600, and revoke it");
        nuc_ctl_warn(check->ctl, &err);
    }

    rc = nuc_fs_read_file(sys, path, NUC_CHECK_FILE, &check->file, &check->err);

    if (rc == NUC_OK) {
        rc = nuc_check_parse_key(check, path);
    }

    if (check->file.data != NULL) {
        OPENSSL_cleanse(check->file.data, check->file.capacity);
    }

    nuc_buf_free(&check->file);

    return rc;
}

/* 0, or what to exit with. */
static int nuc_check_options(nuc_check_t *check)
{
    nuc_err_t err;
    nuc_ctl_t *ctl = check->ctl;
    const char *api = nuc_ctl_option(ctl, "--api");
    const char *tenant = nuc_ctl_option(ctl, "--tenant");
    const char *timeout = nuc_ctl_option(ctl, "--timeout");

    check->url = nuc_ctl_option(ctl, "--url");
    check->textfile = nuc_ctl_option(ctl, "--textfile");
    check->tenant = tenant != NULL ? tenant : NUC_CHECK_TENANT;
    check->ms = NUC_CHECK_TIMEOUT;

    if (check->url == NULL) {
        return nuc_ctl_misuse(ctl, "\"check\" needs --url");
    }

    if (!nuc_name_valid(nuc_str(check->tenant))) {
        return nuc_ctl_misuse(ctl, "\"%s\" is not the name of a tenant", check->tenant);
    }

    if (timeout != NULL && nuc_value_duration(timeout, &check->ms, &err) != NUC_OK) {
        return nuc_ctl_misuse(ctl, "%s: %s", err.message, err.hint);
    }

    if (api == NULL && nuc_ctl_option(ctl, "--store") == NULL) {
        api = "unix:" NUC_CHECK_SOCKET;
    }

    if (api != NULL && (strncmp(api, "unix:", 5) != 0 || api[5] != '/')) {
        return nuc_ctl_misuse(ctl, "--api is \"%s\", not \"unix:/PATH\"", api);
    }

    check->socket = api != NULL ? api + 5 : NULL;

    return 0;
}

/* ---- the event */

static uint64_t nuc_check_left(const nuc_check_t *check)
{
    uint64_t passed = (nuc_time_monotonic() - check->start) / 1000;

    return passed < check->ms ? check->ms - passed : 1;
}

/* {"accepted":1,"ids":["…"]} */
static nuc_rc_t nuc_check_receipt(nuc_check_t *check, const nuc_buf_t *answer)
{
    static const char begin[] = "\"ids\":[\"";
    size_t pos = 0, len;
    nuc_uuid_t rid;
    nuc_json_value_t value;
    nuc_json_fault_t fault;
    const uint8_t *at, *end = answer->data + answer->len;

    at = answer->len > 0 ? memmem(answer->data, answer->len, begin, strlen(begin)) : NULL;
    len = at != NULL ? (size_t) (end - at) - strlen(begin) : 0;

    if (len > NUC_UUID_TEXT_LEN &&
        nuc_json_scan(answer->data, answer->len, &pos, 8, &value, &fault) == NUC_OK &&
        nuc_uuid_parse((nuc_str_t){at + strlen(begin), NUC_UUID_TEXT_LEN}, &rid) ==
            NUC_OK) {
        *nuc_uuid_format(&rid, check->rid) = '\0';
        return NUC_OK;
    }

    nuc_err_set(&check->err, NUC_INVALID, "\"%.200s\" answers 202, but with no receipt",
                check->url);
    nuc_err_hint(&check->err, "is that a location with \"nucleus\"?");

    return NUC_INVALID;
}

static nuc_rc_t nuc_check_refused(nuc_check_t *check, long status, nuc_buf_t *answer)
{
    static const char begin[] = "urn:nucleus:problem:";
    size_t len = 0;
    const char *at = NULL;

    nuc_buf_char(answer, '\0');

    if (!answer->failed) {
        at = strstr((char *) answer->data, begin);
    }

    if (at != NULL) {
        at += strlen(begin);
        len = strspn(at, "abcdefghijklmnopqrstuvwxyz-");
    }

    nuc_err_set(&check->err, NUC_INVALID, "\"%.150s\" answers %ld%s%.*s", check->url,
                status, len > 0 ? " " : "", (int) (len < 64 ? len : 64),
                at != NULL ? at : "");
    nuc_err_hint(&check->err, len > 0 ? "docs/errors.md says what that means"
                                      : "is that a location with \"nucleus\"?");

    return NUC_INVALID;
}

static nuc_rc_t nuc_check_send(nuc_check_t *check)
{
    long status = 0;
    char event[160], sent[NUC_TIME_TEXT_LEN + 1], id[NUC_UUID_TEXT_LEN + 1];
    nuc_rc_t rc;
    nuc_buf_t answer = NUC_BUF_INIT;
    nuc_uuid_t uuid;
    nuc_uuid_source_t source;
    nuc_http_request_t request = {.url = check->url,
                                  .ca = nuc_ctl_option(check->ctl, "--ca"),
                                  .key = check->key[0] != '\0' ? check->key : NULL,
                                  .json = event,
                                  .ms = nuc_check_left(check)};

    nuc_uuid_source_init(&source);
    rc = nuc_uuid_v7(&source, check->began, &uuid, &check->err);

    if (rc != NUC_OK) {
        return rc;
    }

    *nuc_uuid_format(&uuid, id) = '\0';
    *nuc_time_format(check->began, sent) = '\0';
    snprintf(event, sizeof(event), "{\"id\":\"nucleus-check-%s\",\"sent\":\"%s\"}", id,
             sent);

    rc = nuc_http_ask(&request, &status, &answer, &check->err);

    if (rc == NUC_OK) {
        check->accepted = nuc_time_monotonic();
        rc = status == 202 ? nuc_check_receipt(check, &answer)
                           : nuc_check_refused(check, status, &answer);
    }

    nuc_buf_free(&answer);

    return rc;
}

/* ---- its way */

static nuc_rc_t nuc_check_stores(nuc_check_t *check)
{
    size_t at = 0;
    nuc_rc_t rc = NUC_OK;
    const char *store;

    while (rc == NUC_OK && (store = nuc_ctl_next(check->ctl, "--store", &at)) != NULL) {
        rc = nuc_arrival_stored(check->ctl->sys, store, check->tenant, check->rid,
                                check->began, &check->err);
    }

    return rc;
}

/* A worker that does not answer now may do so in a moment. */
static nuc_rc_t nuc_check_worker(nuc_check_t *check, int *marked)
{
    nuc_rc_t rc = NUC_OK;
    uint64_t left = nuc_check_left(check);

    if (check->arrival == NULL) {
        return NUC_OK;
    }

    if (!*marked) {
        rc = nuc_arrival_mark(check->arrival, left, &check->err);
        *marked = rc == NUC_OK;
    }

    if (rc == NUC_OK) {
        rc = nuc_arrival_look(check->arrival, left, &check->err);
    }

    return rc == NUC_IO ? NUC_AGAIN : rc;
}

static nuc_rc_t nuc_check_wait(nuc_check_t *check)
{
    int marked = 0;
    nuc_rc_t rc;
    uint64_t pause = NUC_CHECK_PAUSE;
    struct timespec ts;

    for (;;) {
        check->err.hint[0] = '\0';
        rc = nuc_check_worker(check, &marked);

        if (rc == NUC_OK) {
            rc = nuc_check_stores(check);
        }

        if (rc != NUC_AGAIN || nuc_check_left(check) <= 1) {
            break;
        }

        ts = (struct timespec){.tv_nsec = (long) pause * 1000000};
        nanosleep(&ts, NULL);
        pause = pause * 2 < NUC_CHECK_PAUSES ? pause * 2 : NUC_CHECK_PAUSES;
    }

    if (rc == NUC_OK) {
        check->delivered = nuc_time_monotonic();
    }

    return rc;
}

static nuc_rc_t nuc_check_run(nuc_check_t *check)
{
    nuc_rc_t rc = NUC_OK;
    const char *file = nuc_ctl_option(check->ctl, "--key-file");

    if (file != NULL) {
        rc = nuc_check_read_key(check, file);
    }

    if (rc == NUC_OK && check->socket != NULL) {
        rc = nuc_arrival_begin(check->socket, nuc_check_left(check), &check->arrival,
                               &check->err);
    }

    if (rc == NUC_OK) {
        rc = nuc_check_send(check);
    }

    return rc == NUC_OK ? nuc_check_wait(check) : rc;
}

/* ---- what became of it */

static double nuc_check_seconds(const nuc_check_t *check, uint64_t at)
{
    return (double) (at - check->start) / 1e6;
}

static nuc_rc_t nuc_check_page(const nuc_check_t *check, nuc_buf_t *out)
{
    static const nuc_metric_t success = {
        "nucleus_check_success", NUC_METRIC_GAUGE, NULL,
        "1: the last event that nucleusctl check sent has been delivered."};
    static const nuc_metric_t duration = {
        "nucleus_check_duration_seconds", NUC_METRIC_GAUGE, "seconds",
        "Time until it was, or until that was given up."};
    static const nuc_metric_t timestamp = {"nucleus_check_timestamp_seconds",
                                           NUC_METRIC_GAUGE, "seconds",
                                           "When that was known."};
    uint64_t end = check->delivered > 0 ? check->delivered : nuc_time_monotonic();
    nuc_exposition_t exposition;

    nuc_exposition_begin(&exposition, NUC_EXPOSITION_PROMETHEUS, out);
    nuc_exposition_family(&exposition, &success);
    nuc_exposition_number(&exposition, NULL, 0, check->delivered > 0);
    nuc_exposition_family(&exposition, &duration);
    nuc_exposition_real(&exposition, NULL, 0, nuc_check_seconds(check, end));
    nuc_exposition_family(&exposition, &timestamp);
    nuc_exposition_real(&exposition, NULL, 0, (double) nuc_time_now() / 1e6);
    nuc_exposition_end(&exposition);

    return out->failed ? NUC_NOMEM : NUC_OK;
}

/* For the node exporter's textfile collector, which reads it at any moment. */
static int nuc_check_write(const nuc_check_t *check)
{
    char dir[NUC_PATH_MAX];
    nuc_rc_t rc;
    nuc_err_t err;
    nuc_buf_t page = NUC_BUF_INIT;
    const char *slash = strrchr(check->textfile, '/');
    const char *name = slash != NULL ? slash + 1 : check->textfile;

    if (snprintf(dir, sizeof(dir), "%.*s",
                 slash != NULL ? (int) (slash - check->textfile + 1) : 2,
                 slash != NULL ? check->textfile : "./") >= (int) sizeof(dir)) {
        rc = nuc_err_set(&err, NUC_TOO_LARGE, "the name of the file is too long");
    } else if (nuc_check_page(check, &page) != NUC_OK) {
        rc = nuc_err_set(&err, NUC_NOMEM, "no memory for metrics");
    } else {
        rc = nuc_fs_replace(check->ctl->sys, dir, name, (nuc_str_t){page.data, page.len},
                            0644, NULL, NULL, &err);
    }

    nuc_buf_free(&page);

    return rc == NUC_OK ? NUC_EXIT_OK : nuc_ctl_fail(check->ctl, &err);
}

static void nuc_check_json(const nuc_check_t *check)
{
    char number[32];
    nuc_buf_t *out = &check->ctl->out;

    nuc_out_open(out, NULL, '{');
    nuc_out_bool(out, "success", check->delivered > 0);

    if (check->rid[0] != '\0') {
        nuc_out_text(out, "rid", check->rid);
        snprintf(number, sizeof(number), "%.6f",
                 nuc_check_seconds(check, check->accepted));
        nuc_out_raw(out, "accepted_seconds", number);
    }

    if (check->delivered > 0) {
        snprintf(number, sizeof(number), "%.6f",
                 nuc_check_seconds(check, check->delivered));
        nuc_out_raw(out, "delivered_seconds", number);
    }

    nuc_out_close(out, '}');
    nuc_buf_char(out, '\n');
}

static void nuc_check_text(const nuc_check_t *check)
{
    nuc_buf_t *out = &check->ctl->out;

    if (check->rid[0] != '\0') {
        nuc_buf_printf(out, "event %s\naccepted after %.3f s\n", check->rid,
                       nuc_check_seconds(check, check->accepted));
    }

    if (check->delivered > 0) {
        nuc_buf_printf(out, "delivered after %.3f s\n",
                       nuc_check_seconds(check, check->delivered));
    }
}

/* It was accepted, and did not come out. */
static int nuc_check_late(const nuc_check_t *check)
{
    nuc_err_t err;

    nuc_err_set(&err, NUC_UNKNOWN,
                "the event %s was accepted, and not delivered within %.0f s: %.150s",
                check->rid, (double) check->ms / 1000, check->err.message);
    nuc_err_hint(&err, "%.150s",
                 check->err.hint[0] != '\0' ? check->err.hint
                                            : "nucleus-worker --status, and its log");
    nuc_ctl_fail(check->ctl, &err);

    return NUC_EXIT_BEHIND;
}

int nuc_ctl_check(nuc_ctl_t *ctl)
{
    int status, written = NUC_EXIT_OK;
    nuc_rc_t rc;
    nuc_check_t check = {.ctl = ctl, .file = NUC_BUF_INIT};

    memset(&check.err, 0, sizeof(check.err));
    check.began = nuc_time_now();
    check.start = nuc_time_monotonic();
    status = nuc_check_options(&check);

    if (status != 0) {
        return status;
    }

    rc = nuc_check_run(&check);
    OPENSSL_cleanse(check.key, sizeof(check.key));
    nuc_arrival_free(check.arrival);

    if (ctl->json) {
        nuc_check_json(&check);
    } else {
        nuc_check_text(&check);
    }

    if (rc == NUC_AGAIN) {
        status = nuc_check_late(&check);
    } else if (rc != NUC_OK) {
        nuc_ctl_fail(ctl, &check.err);
        status = NUC_EXIT_FAILED;
    }

    if (check.textfile != NULL) {
        written = nuc_check_write(&check);
    }

    return status != NUC_EXIT_OK ? status : written;
}
