#include "nuc_api.h"

#include <errno.h>
#include <microhttpd.h>
#include <stdlib.h>
#include <string.h>

#include "nuc_api_socket.h"
#include "nuc_status.h"
#include "nuc_worker_log.h"

/* What one client can have; docs/worker.md says these numbers. */
#define NUC_API_CONNECTIONS 64
#define NUC_API_TIMEOUT     10          /* seconds without a byte */
#define NUC_API_MEMORY      (32 * 1024) /* bytes a connection, for its request's head */

#define NUC_API_POLL 1000 /* ms */

typedef struct {
    const nuc_worker_conf_t *conf;
    const nuc_metered_t *metered;
    size_t count;
    nuc_trouble_t trouble; /* of answering */
} nuc_api_t;

/* What is to be sent; "body" is freed by the sender. */
typedef struct {
    unsigned status;
    const char *type;
    const char *allow; /* NULL: no such header */
    nuc_buf_t body;
} nuc_answer_t;

typedef nuc_rc_t (*nuc_api_handler_pt)(nuc_api_t *api, struct MHD_Connection *connection,
                                       nuc_answer_t *answer, nuc_err_t *err);

/* Answers. */

static void nuc_api_problem(nuc_answer_t *answer, unsigned status, const char *name,
                            const char *title, const char *detail)
{
    nuc_buf_reset(&answer->body);
    answer->status = status;
    answer->type = "application/problem+json";

    nuc_buf_printf(&answer->body,
                   "{\"type\":\"urn:nucleus:problem:%s\",\"title\":\"%s\",\"status\":%u,"
                   "\"detail\":",
                   name, title, status);
    nuc_buf_json(&answer->body, nuc_str(detail));
    nuc_buf_str(&answer->body, NUC_STR("}\n"));
}

/* The client gets no more than that it failed: the log has what it was. */
static void nuc_api_failed(nuc_api_t *api, nuc_answer_t *answer, const nuc_err_t *err)
{
    nuc_worker_log_trouble(&api->trouble, "a request to the local API failed", err);
    nuc_api_problem(answer, 500, "internal-error", "Internal error",
                    "the worker's log says why");
}

static enum MHD_Result nuc_api_send(struct MHD_Connection *connection,
                                    nuc_answer_t *answer)
{
    enum MHD_Result sent;
    struct MHD_Response *response;

    if (answer->body.failed) {
        nuc_buf_free(&answer->body);
        return MHD_NO;
    }

    response = MHD_create_response_from_buffer(answer->body.len, answer->body.data,
                                               MHD_RESPMEM_MUST_FREE);
    if (response == NULL) {
        nuc_buf_free(&answer->body);
        return MHD_NO;
    }

    /* a header for which there is no memory is missing */
    (void) MHD_add_response_header(response, "Content-Type", answer->type);
    (void) MHD_add_response_header(response, "Cache-Control", "no-store");

    if (answer->allow != NULL) {
        (void) MHD_add_response_header(response, "Allow", answer->allow);
    }

    sent = MHD_queue_response(connection, answer->status, response);
    MHD_destroy_response(response);

    return sent;
}

/* What can be asked. */

static nuc_rc_t nuc_api_metrics(nuc_api_t *api, struct MHD_Connection *connection,
                                nuc_answer_t *answer, nuc_err_t *err)
{
    nuc_rc_t rc;
    const char *accept;
    nuc_status_all_t all;
    nuc_exposition_format_t format;

    accept = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Accept");
    format =
        nuc_exposition_negotiate(accept != NULL ? nuc_str(accept) : (nuc_str_t){NULL, 0});

    rc = nuc_status_gather(api->conf, &all, err);
    if (rc != NUC_OK) {
        return rc;
    }

    answer->type = nuc_exposition_content_type(format);
    nuc_metrics_page(&all, api->conf, api->metered, api->count, format, &answer->body);
    nuc_status_free(&all);

    return NUC_OK;
}

static nuc_rc_t nuc_api_status(nuc_api_t *api, struct MHD_Connection *connection,
                               nuc_answer_t *answer, nuc_err_t *err)
{
    nuc_rc_t rc;
    nuc_status_all_t all;

    (void) connection;

    rc = nuc_status_gather(api->conf, &all, err);
    if (rc != NUC_OK) {
        return rc;
    }

    nuc_status_json(&all, &answer->body);
    nuc_status_free(&all);

    return NUC_OK;
}

static int nuc_api_is_down(const nuc_api_t *api, const nuc_metered_t *m)
{
    return m->role != NUC_ROLE_API &&
           (m->role != NUC_ROLE_PIPELINE ||
            nuc_worker_conf_pipeline(api->conf, m->name) != NULL) &&
           nuc_meter_get(&m->meter->works) == 0;
}

static nuc_rc_t nuc_api_health(nuc_api_t *api, struct MHD_Connection *connection,
                               nuc_answer_t *answer, nuc_err_t *err)
{
    size_t i;
    nuc_buf_t down = NUC_BUF_INIT;

    (void) connection;

    for (i = 0; i < api->count; i++) {
        if (nuc_api_is_down(api, &api->metered[i])) {
            nuc_buf_printf(&down, "%s%s%s", down.len > 0 ? ", " : "",
                           api->metered[i].role == NUC_ROLE_KEEPER ? "the " : "pipeline ",
                           api->metered[i].name);
        }
    }

    if (down.len > 0) {
        nuc_buf_append(&down, " is down", sizeof(" is down"));
    }

    if (down.failed) {
        nuc_buf_free(&down);
        return nuc_err_set(err, NUC_NOMEM, "no memory for an answer");
    }

    if (down.len > 0) {
        nuc_api_problem(answer, 503, "not-ready", "Not ready", (const char *) down.data);
    } else {
        nuc_buf_str(&answer->body, NUC_STR("{\"status\":\"ready\"}\n"));
    }

    nuc_buf_free(&down);

    return NUC_OK;
}

static const struct {
    const char *path;
    nuc_api_handler_pt handler;
} nuc_api_routes[] = {
    {"/metrics", nuc_api_metrics},
    {"/status", nuc_api_status},
    {"/health", nuc_api_health},
    {NULL, NULL},
};

/* Requests. */

static nuc_api_handler_pt nuc_api_route(const char *path)
{
    size_t i;

    for (i = 0; nuc_api_routes[i].path != NULL; i++) {
        if (strcmp(nuc_api_routes[i].path, path) == 0) {
            break;
        }
    }

    return nuc_api_routes[i].handler;
}

/* What is refused by its head; 0: nothing. */
static int nuc_api_refuse(struct MHD_Connection *connection, const char *path,
                          const char *method, nuc_answer_t *answer)
{
    const char *length;

    if (nuc_api_route(path) == NULL) {
        nuc_api_problem(answer, 404, "not-found", "Not found",
                        "there are /metrics, /status and /health");
        return 1;
    }

    if (strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0) {
        nuc_api_problem(answer, 405, "method-not-allowed", "Method not allowed",
                        "it can be read, by GET or HEAD");
        answer->allow = "GET, HEAD";
        return 1;
    }

    length = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Content-Length");

    if ((length != NULL && strcmp(length, "0") != 0) ||
        MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Transfer-Encoding") !=
            NULL) {
        nuc_api_problem(answer, 413, "body-too-large", "Body too large",
                        "a request has no body here");
        return 1;
    }

    return 0;
}

/* Called when the head is there, and again when the request is. */
static enum MHD_Result nuc_api_answer(void *cls, struct MHD_Connection *connection,
                                      const char *path, const char *method,
                                      const char *version, const char *upload,
                                      size_t *upload_size, void **request)
{
    nuc_err_t err;
    nuc_api_t *api = cls;
    nuc_answer_t answer = {.status = 200, .type = "application/json"};

    (void) version;
    (void) upload;

    if (*request == NULL) {
        *request = api;
        return nuc_api_refuse(connection, path, method, &answer)
                   ? nuc_api_send(connection, &answer)
                   : MHD_YES;
    }

    if (*upload_size > 0) {
        return MHD_NO;
    }

    if (nuc_api_route(path)(api, connection, &answer, &err) != NUC_OK) {
        nuc_api_failed(api, &answer, &err);
    } else {
        api->trouble.said = 0;
    }

    return nuc_api_send(connection, &answer);
}

/* The process. */

static nuc_rc_t nuc_api_start(nuc_api_t *api, nuc_api_socket_t *s,
                              struct MHD_Daemon **daemon, nuc_err_t *err)
{
    nuc_rc_t rc;

    rc = nuc_worker_conf_check_api(api->conf, err);

    if (rc == NUC_OK) {
        rc = nuc_api_socket_open(s, &nuc_sys_posix, api->conf->api, err);
    }

    if (rc != NUC_OK) {
        return rc;
    }

    *daemon = MHD_start_daemon(
        MHD_USE_EPOLL, 0, NULL, NULL, nuc_api_answer, api, MHD_OPTION_LISTEN_SOCKET,
        s->fd, MHD_OPTION_CONNECTION_LIMIT, (unsigned) NUC_API_CONNECTIONS,
        MHD_OPTION_CONNECTION_TIMEOUT, (unsigned) NUC_API_TIMEOUT,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t) NUC_API_MEMORY, MHD_OPTION_END);

    if (*daemon == NULL) {
        nuc_api_socket_close(s);
        return nuc_err_set(err, NUC_IO, "libmicrohttpd does not start");
    }

    return NUC_OK;
}

/* NUC_CLOSED: the process is to stop. */
static nuc_rc_t nuc_api_begin(nuc_process_t *process, nuc_api_t *api, nuc_api_socket_t *s,
                              struct MHD_Daemon **daemon)
{
    unsigned pause = 0, waited = 0;
    nuc_rc_t rc;
    nuc_err_t err;
    nuc_trouble_t trouble = {.said = 0};

    while ((rc = nuc_api_start(api, s, daemon, &err)) != NUC_OK) {

        /* at first it is the process of the worker before, which is ending */
        if (rc != NUC_BUSY || waited > NUC_DRAIN_MAX * 1000) {
            nuc_worker_log_trouble(&trouble, "the local API cannot start, will try again",
                                   &err);
        }

        pause = nuc_backoff_next(pause);
        waited += pause;

        if (nuc_process_wait(process, (int) pause)) {
            return NUC_CLOSED;
        }
    }

    return NUC_OK;
}

static int nuc_api_pause(struct MHD_Daemon *daemon)
{
    MHD_UNSIGNED_LONG_LONG ms;

    return MHD_get_timeout(daemon, &ms) == MHD_YES && ms < NUC_API_POLL ? (int) ms
                                                                        : NUC_API_POLL;
}

int nuc_api_process(nuc_process_t *process, const nuc_worker_conf_t *conf,
                    const nuc_metered_t *metered, size_t count)
{
    int fd;
    nuc_api_t api = {.conf = conf, .metered = metered, .count = count};
    nuc_api_socket_t s;
    struct MHD_Daemon *daemon;

    if (nuc_api_begin(process, &api, &s, &daemon) != NUC_OK) {
        return 0;
    }

    nuc_worker_log(NUC_LEVEL_NOTICE, "local API started",
                   NUC_FIELD_TEXT("path", conf->api));
    fd = MHD_get_daemon_info(daemon, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd;

    while (!nuc_process_wait_for(process, fd, nuc_api_pause(daemon))) {
        MHD_run(daemon);
    }

    /* which closes the socket */
    MHD_stop_daemon(daemon);
    s.fd = -1;
    nuc_api_socket_close(&s);
    nuc_worker_log(NUC_LEVEL_NOTICE, "local API stopped");

    return 0;
}
