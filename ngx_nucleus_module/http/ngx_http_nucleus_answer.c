
/*
 * Receipts, and problems (RFC 9457).
 *
 * A refusal is a status that a handler returns, so that error_page,
 * keepalive and lingering close are nginx's own.  Where nginx then answers
 * with its built-in page, whoever refused the request, a filter puts the
 * problem in the page's place.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_http_nucleus_module.h"


/* bytes of the buffer that problems are written to */
#define NGX_HTTP_NUCLEUS_KEPT_TEXT  65536


typedef struct {
    ngx_uint_t   status;
    const char  *name;
    const char  *title;
    const char  *detail;
} ngx_http_nucleus_problem_type_t;


static ngx_int_t ngx_http_nucleus_header_filter(ngx_http_request_t *r);
static ngx_int_t ngx_http_nucleus_body_filter(ngx_http_request_t *r,
    ngx_chain_t *in);
static ngx_uint_t ngx_http_nucleus_is_special_response(ngx_http_request_t *r);
static ngx_buf_t *ngx_http_nucleus_create_problem(ngx_http_request_t *r,
    ngx_http_nucleus_ctx_t *ctx);
static void ngx_http_nucleus_write_problem(ngx_http_request_t *r,
    ngx_http_nucleus_ctx_t *ctx, const ngx_http_nucleus_problem_type_t *type,
    nuc_buf_t *out);
static const ngx_http_nucleus_problem_type_t *ngx_http_nucleus_get_type(
    ngx_uint_t status);
static ngx_int_t ngx_http_nucleus_add_problem_headers(ngx_http_request_t *r,
    ngx_http_nucleus_ctx_t *ctx);

static ngx_int_t ngx_http_nucleus_send(ngx_http_request_t *r, ngx_buf_t *b);
static size_t ngx_http_nucleus_ids_len(ngx_http_nucleus_ctx_t *ctx);
static u_char *ngx_http_nucleus_write_ids(ngx_http_nucleus_ctx_t *ctx,
    u_char *p);


static ngx_http_output_header_filter_pt  ngx_http_next_header_filter;
static ngx_http_output_body_filter_pt    ngx_http_next_body_filter;


/* in the order of ngx_http_nucleus_problem_e; names are stable */

static const ngx_http_nucleus_problem_type_t  ngx_http_nucleus_types[] = {

    { 400, "empty-body", "No events",
      "the body has no event" },

    { 400, "invalid-json", "Invalid JSON", NULL },

    { 400, "not-an-object", "Event is not an object", NULL },

    { 400, "too-deep", "Event is nested too deeply", NULL },

    { 413, "event-too-large", "Event is too large",
      "an event is larger than may be stored" },

    { 413, "too-many-events", "Too many events", NULL },

    { 400, "invalid-stream", "Invalid stream",
      "the name of a stream must match [a-z0-9][a-z0-9._-]{0,63}" },

    { 400, "invalid-tenant", "Invalid tenant",
      "the name of a tenant must match [a-z0-9][a-z0-9._-]{0,63}" },

    { 400, "invalid-idempotency-key", "Invalid Idempotency-Key",
      "there may be one Idempotency-Key, of 1 to 255 printable ASCII "
      "characters" },

    { 400, "incomplete-body", "Incomplete body",
      "the body was not read to its end" },

    { 413, "body-too-large", "Body is too large",
      "the body is larger than this server takes" },

    { 415, "unsupported-media-type", "Unsupported media type",
      "the Content-Type must be one that says JSON or NDJSON, such as "
      "application/json or application/x-ndjson" },

    { 415, "unsupported-charset", "Unsupported charset",
      "JSON is UTF-8" },

    { 415, "unsupported-encoding", "Unsupported content encoding",
      "the body must be sent without Content-Encoding" },

    { 503, "queue-starting", "Queue is starting",
      "nothing was stored; send the request again" },

    { 503, "queue-full", "Queue is full",
      "nothing was stored; send the request again later" },

    { 503, "queue-failed", "Queue has failed",
      "nothing was stored; send the request again later" },

    { 503, "busy", "Too many bytes are on their way",
      "nothing was stored; send the request again" },

    { 503, "outcome-unknown", "Outcome is unknown",
      "the events may or may not be stored, under these ids; to be sure, send "
      "them again with the same ids or the same Idempotency-Key" },

    { 403, "tls-required", "TLS is required",
      "a key is taken over TLS only; one that was sent without it is known to "
      "others now and should be revoked" },

    { 401, "missing-credentials", "Credentials are missing",
      "an API key is needed, as Authorization: Bearer, as Basic with its id "
      "and its secret, or as X-API-Key" },

    { 401, "unsupported-scheme", "Unsupported authentication scheme",
      "Authorization must be Bearer, Basic, or the API key alone" },

    { 401, "malformed-credentials", "Malformed credentials",
      "what was sent is not an API key: it begins with nuc_ and has 66 "
      "characters" },

    { 401, "damaged-key", "Damaged API key",
      "the API key does not match its own checksum: a character is missing or "
      "mistyped" },

    { 401, "mismatched-key", "Mismatched API key",
      "the user of Basic is not the id of the API key" },

    { 401, "invalid-credentials", "Invalid credentials",
      "there is no such API key" },

    { 401, "unknown-certificate", "Unknown certificate",
      "the client's certificate stands for no API key" },

    { 401, "key-expired", "API key has expired",
      "the time of this API key is over" },

    { 401, "key-not-yet-valid", "API key is not valid yet",
      "the time of this API key has not begun" },

    { 403, "key-revoked", "API key is revoked",
      "this API key was revoked" },

    { 403, "tenant-disabled", "Tenant is disabled",
      "the tenant of this API key is disabled" },

    { 403, "insufficient-scope", "Insufficient scope",
      "this API key may not be used to send events" },

    { 403, "address-not-allowed", "Address is not allowed",
      "this API key may not be used from this address" },

    { 403, "stream-not-allowed", "Stream is not allowed",
      "this API key may not be used for this stream" },

    { 503, "registry-failed", "Registry has failed",
      "nothing was stored; send the request again later" },

    { 429, "too-many-failures", "Too many failures",
      "too many wrong keys were sent from this address" },

    { 429, "rate-limited", "Too many requests, events or bytes", NULL },

    { 413, "batch-too-large", "Batch is larger than its limit lets through",
      NULL },

    { 429, "quota-exceeded", "The tenant's events of today are used up", NULL },

    { 503, "tenant-queue-full", "The tenant's part of the queue is full", NULL }
};


/* what nginx itself refuses */

static const ngx_http_nucleus_problem_type_t  ngx_http_nucleus_statuses[] = {
    { 400, "bad-request", "Bad request", NULL },
    { 401, "unauthorized", "Unauthorized", NULL },
    { 403, "forbidden", "Forbidden", NULL },
    { 404, "not-found", "Not found", NULL },
    { 405, "method-not-allowed", "Method not allowed", NULL },
    { 408, "request-timeout", "Request timeout", NULL },
    { 411, "length-required", "Length required", NULL },
    { 413, "body-too-large", "Body is too large",
      "the body is larger than this server takes" },
    { 414, "uri-too-long", "URI is too long", NULL },
    { 415, "unsupported-media-type", "Unsupported media type", NULL },
    { 429, "too-many-requests", "Too many requests", NULL },
    { 431, "header-too-large", "Header is too large", NULL },
    { 500, "internal-error", "Internal error", NULL },
    { 501, "not-implemented", "Not implemented", NULL },
    { 502, "bad-gateway", "Bad gateway", NULL },
    { 503, "unavailable", "Service is unavailable", NULL },
    { 504, "gateway-timeout", "Gateway timeout", NULL },
    { 0, "error", "Error", NULL }
};


/*
 * Remembers why for the filter, and returns the status to finalize the
 * request with
 */

ngx_int_t
ngx_http_nucleus_refuse(ngx_http_request_t *r,
    ngx_http_nucleus_problem_e code, ngx_uint_t retry_after)
{
    ngx_http_nucleus_ctx_t      *ctx;
    ngx_http_nucleus_problem_t  *problem;

    ctx = ngx_http_get_module_ctx(r, ngx_http_nucleus_module);

    problem = ngx_pcalloc(r->pool, sizeof(ngx_http_nucleus_problem_t));
    if (problem == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    /*
     * set by ngx_pcalloc():
     *
     *     problem->pointer = { 0, NULL };
     *     problem->detail = { 0, NULL };
     *     problem->limit = NULL;
     *     problem->keepalive = 0;
     */

    problem->code = code;
    problem->retry_after = retry_after;
    problem->event = -1;
    problem->offset = -1;

    /* a bad event, unlike a bad request, is no reason to end the connection */

    if (r->request_body && !r->reading_body && !r->discard_body) {
        problem->keepalive = r->keepalive;
    }

    ctx->problem = problem;

    ngx_log_debug1(NGX_LOG_DEBUG_HTTP, r->connection->log, 0,
                   "nucleus refuses: %s", ngx_http_nucleus_types[code].name);

    return ngx_http_nucleus_types[code].status;
}


ngx_uint_t
ngx_http_nucleus_problem_status(ngx_http_nucleus_problem_e code)
{
    return ngx_http_nucleus_types[code].status;
}


const char *
ngx_http_nucleus_problem_name(ngx_http_nucleus_problem_e code)
{
    return ngx_http_nucleus_types[code].name;
}


ngx_int_t
ngx_http_nucleus_refuse_fault(ngx_http_request_t *r, nuc_format_fault_t *fault)
{
    size_t                       len;
    ngx_int_t                    rc;
    ngx_http_nucleus_ctx_t      *ctx;
    ngx_http_nucleus_problem_t  *problem;
    ngx_http_nucleus_problem_e   code;

    switch (fault->problem) {

    case NUC_PROBLEM_EMPTY_BODY:
        return ngx_http_nucleus_refuse(r, NGX_HTTP_NUCLEUS_EMPTY_BODY, 0);

    case NUC_PROBLEM_NOT_AN_OBJECT:
        code = NGX_HTTP_NUCLEUS_NOT_AN_OBJECT;
        break;

    case NUC_PROBLEM_TOO_DEEP:
        code = NGX_HTTP_NUCLEUS_TOO_DEEP;
        break;

    case NUC_PROBLEM_EVENT_TOO_LARGE:
        code = NGX_HTTP_NUCLEUS_EVENT_TOO_LARGE;
        break;

    case NUC_PROBLEM_TOO_MANY_EVENTS:
        code = NGX_HTTP_NUCLEUS_TOO_MANY_EVENTS;
        break;

    default: /* NUC_PROBLEM_INVALID_JSON */
        code = NGX_HTTP_NUCLEUS_INVALID_JSON;
        break;
    }

    rc = ngx_http_nucleus_refuse(r, code, 0);

    ctx = ngx_http_get_module_ctx(r, ngx_http_nucleus_module);
    problem = ctx->problem;

    if (problem == NULL) {
        return rc;
    }

    problem->event = fault->event;
    problem->offset = fault->offset;

    /* the fault is gone before the filter writes the problem */

    len = ngx_strlen(fault->pointer);

    problem->pointer.data = ngx_pnalloc(r->pool,
                                        len + ngx_strlen(fault->detail) + 1);
    if (problem->pointer.data == NULL) {
        return rc;
    }

    problem->pointer.len = len;
    problem->detail.data = ngx_cpymem(problem->pointer.data, fault->pointer,
                                      len);
    problem->detail.len = ngx_strlen(fault->detail);

    ngx_memcpy(problem->detail.data, fault->detail, problem->detail.len);

    return rc;
}


static ngx_int_t
ngx_http_nucleus_header_filter(ngx_http_request_t *r)
{
    ngx_buf_t                    *b;
    ngx_http_nucleus_ctx_t       *ctx;
    ngx_http_nucleus_loc_conf_t  *nlcf;

    if (!ngx_http_nucleus_is_special_response(r)) {
        return ngx_http_next_header_filter(r);
    }

    /* there is none where nginx has refused before anything of ours was called */

    ctx = ngx_http_nucleus_get_ctx(r);
    if (ctx == NULL) {
        return NGX_ERROR;
    }

    nlcf = ngx_http_get_module_loc_conf(r, ngx_http_nucleus_module);

    if (nlcf->enable) {
        ctx->ours = 1;
    }

    b = ngx_http_nucleus_create_problem(r, ctx);
    if (b == NULL) {
        return NGX_ERROR;
    }

    if (ngx_http_nucleus_add_problem_headers(r, ctx) != NGX_OK) {
        return NGX_ERROR;
    }

    ctx->answer = b;

    if (r->reading_body) {

        /* nginx closes it then, but says so too late */

        r->keepalive = 0;

    } else if (ctx->problem && ctx->problem->keepalive) {
        r->keepalive = 1;
    }

    ngx_str_set(&r->headers_out.content_type, "application/problem+json");
    r->headers_out.content_type_len = r->headers_out.content_type.len;
    r->headers_out.content_type_lowcase = NULL;
    r->headers_out.content_length_n = b->last - b->pos;

    return ngx_http_next_header_filter(r);
}


static ngx_uint_t
ngx_http_nucleus_is_special_response(ngx_http_request_t *r)
{
    ngx_http_nucleus_loc_conf_t  *nlcf;

    if (r->err_status < NGX_HTTP_BAD_REQUEST || r != r->main) {
        return 0;
    }

    nlcf = ngx_http_get_module_loc_conf(r, ngx_http_nucleus_module);

    if (!nlcf->enable && !nlcf->health) {
        return 0;
    }

    /* a "return" with a text may answer where error_page has led to */

    return r->headers_out.content_type.len == 0
           || (r->headers_out.content_type.len == sizeof("text/html") - 1
               && ngx_strncmp(r->headers_out.content_type.data, "text/html",
                              sizeof("text/html") - 1)
                  == 0);
}


static ngx_int_t
ngx_http_nucleus_body_filter(ngx_http_request_t *r, ngx_chain_t *in)
{
    ngx_chain_t             *cl, out;
    ngx_http_nucleus_ctx_t  *ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_http_nucleus_module);

    if (in == NULL || ctx == NULL || ctx->answer == NULL) {
        return ngx_http_next_body_filter(r, in);
    }

    for (cl = in; cl; cl = cl->next) {
        cl->buf->pos = cl->buf->last;
        cl->buf->file_pos = cl->buf->file_last;
    }

    out.buf = ctx->answer;
    out.next = NULL;

    ctx->answer = NULL;

    return ngx_http_next_body_filter(r, &out);
}


static ngx_buf_t *
ngx_http_nucleus_create_problem(ngx_http_request_t *r,
    ngx_http_nucleus_ctx_t *ctx)
{
    ngx_buf_t                              *b;
    nuc_buf_t                              *out;
    const ngx_http_nucleus_problem_type_t  *type;

    type = NULL;

    if (ctx->problem) {
        type = &ngx_http_nucleus_types[ctx->problem->code];
    }

    if (type == NULL || type->status != r->err_status) {

        /* it is another refusal that is answered */

        ctx->problem = NULL;
        type = ngx_http_nucleus_get_type(r->err_status);
    }

    out = &ngx_http_nucleus_process.text;

    nuc_buf_reset(out);

    ngx_http_nucleus_write_problem(r, ctx, type, out);

    if (out->failed) {
        return NULL;
    }

    b = ngx_create_temp_buf(r->pool, out->len);
    if (b == NULL) {
        return NULL;
    }

    b->last = ngx_cpymem(b->pos, out->data, out->len);
    b->last_buf = 1;
    b->last_in_chain = 1;

    /* what one long list of ids made grow is not kept for ever */

    if (out->capacity > NGX_HTTP_NUCLEUS_KEPT_TEXT) {
        nuc_buf_free(out);
    }

    return b;
}


static const ngx_http_nucleus_problem_type_t *
ngx_http_nucleus_get_type(ngx_uint_t status)
{
    const ngx_http_nucleus_problem_type_t  *type;

    for (type = ngx_http_nucleus_statuses; type->status; type++) {
        if (type->status == status) {
            break;
        }
    }

    return type;
}


static void
ngx_http_nucleus_write_problem(ngx_http_request_t *r,
    ngx_http_nucleus_ctx_t *ctx, const ngx_http_nucleus_problem_type_t *type,
    nuc_buf_t *out)
{
    u_char                      *p;
    ngx_http_nucleus_problem_t  *problem;

    problem = ctx->problem;

    nuc_buf_printf(out, "{\"type\":\"urn:nucleus:problem:%s\",\"title\":\"%s\","
                   "\"status\":%u", type->name, type->title,
                   (unsigned) r->err_status);

    if (problem && problem->detail.len) {
        nuc_buf_printf(out, ",\"detail\":");
        nuc_buf_json(out, ngx_http_nucleus_str(&problem->detail));

    } else if (type->detail) {
        nuc_buf_printf(out, ",\"detail\":");
        nuc_buf_json(out, nuc_str(type->detail));
    }

    if (problem && problem->event >= 0) {
        nuc_buf_printf(out, ",\"event\":%ld,\"offset\":%lld",
                       (long) problem->event, (long long) problem->offset);
    }

    if (problem && problem->pointer.data) {
        nuc_buf_printf(out, ",\"pointer\":");
        nuc_buf_json(out, ngx_http_nucleus_str(&problem->pointer));
    }

    if (problem && problem->limit) {
        ngx_http_nucleus_write_violated(problem->limit, out);
    }

    if (problem && problem->code == NGX_HTTP_NUCLEUS_OUTCOME_UNKNOWN) {
        nuc_buf_printf(out, ",");

        p = nuc_buf_reserve(out, ngx_http_nucleus_ids_len(ctx));
        if (p) {
            out->len += ngx_http_nucleus_write_ids(ctx, p) - p;
        }
    }

    nuc_buf_printf(out, ",\"request_id\":");
    nuc_buf_json(out, ngx_http_nucleus_request_id(r));
    nuc_buf_printf(out, "}" CRLF);
}


static ngx_int_t
ngx_http_nucleus_add_problem_headers(ngx_http_request_t *r,
    ngx_http_nucleus_ctx_t *ctx)
{
    ngx_str_t                     value;
    ngx_http_nucleus_loc_conf_t  *nlcf;

    if (r->err_status == NGX_HTTP_NOT_ALLOWED) {

        nlcf = ngx_http_get_module_loc_conf(r, ngx_http_nucleus_module);

        if (nlcf->enable) {
            ngx_str_set(&value, "POST");

        } else {
            ngx_str_set(&value, "GET, HEAD");
        }

        return ngx_http_nucleus_add_header(r, "Allow", &value);
    }

    if (ctx->problem == NULL) {
        return NGX_OK;
    }

    if (ctx->problem->code == NGX_HTTP_NUCLEUS_UNSUPPORTED_ENCODING) {
        ngx_str_set(&value, "identity");
        return ngx_http_nucleus_add_header(r, "Accept-Encoding", &value);
    }

    if (ctx->problem->limit
        && ngx_http_nucleus_add_limit_headers(r, ctx) != NGX_OK)
    {
        return NGX_ERROR;
    }

    if (ctx->problem->retry_after == 0) {
        return NGX_OK;
    }

    value.data = ngx_pnalloc(r->pool, NGX_INT_T_LEN);
    if (value.data == NULL) {
        return NGX_ERROR;
    }

    value.len = ngx_sprintf(value.data, "%ui", ctx->problem->retry_after)
                - value.data;

    return ngx_http_nucleus_add_header(r, "Retry-After", &value);
}


/* memory that the ids take until the request ends */

size_t
ngx_http_nucleus_receipt_size(ngx_http_nucleus_ctx_t *ctx)
{
    return ctx->count * NUC_RID_LEN + ngx_http_nucleus_ids_len(ctx);
}


/*
 * What is stored is acknowledged, even where "error_page 405 @nucleus" would
 * have it that the status is still 405
 */

ngx_int_t
ngx_http_nucleus_send_receipt(ngx_http_request_t *r,
    ngx_http_nucleus_ctx_t *ctx, const char *durability)
{
    ngx_buf_t  *b;

    b = ngx_create_temp_buf(r->pool, sizeof("{\"accepted\":,}" CRLF) - 1
                                     + NGX_SIZE_T_LEN
                                     + ngx_http_nucleus_ids_len(ctx));
    if (b == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    b->last = ngx_sprintf(b->last, "{\"accepted\":%uz,", ctx->count);
    b->last = ngx_http_nucleus_write_ids(ctx, b->last);
    b->last = ngx_cpymem(b->last, "}" CRLF, sizeof("}" CRLF) - 1);

    ctx->durability.data = (u_char *) durability;
    ctx->durability.len = ngx_strlen(durability);

    if (ngx_http_nucleus_add_header(r, "Nucleus-Durability", &ctx->durability)
            != NGX_OK
        || ngx_http_nucleus_add_limit_headers(r, ctx) != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    r->err_status = 0;
    r->headers_out.status = NGX_HTTP_ACCEPTED;

    return ngx_http_nucleus_send(r, b);
}


ngx_int_t
ngx_http_nucleus_send_health(ngx_http_request_t *r, ngx_str_t *text)
{
    ngx_buf_t  *b;
    ngx_str_t   value;

    b = ngx_create_temp_buf(r->pool, text->len);
    if (b == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    b->last = ngx_cpymem(b->last, text->data, text->len);

    ngx_str_set(&value, "no-store");

    if (ngx_http_nucleus_add_header(r, "Cache-Control", &value) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    r->err_status = 0;
    r->headers_out.status = NGX_HTTP_OK;

    return ngx_http_nucleus_send(r, b);
}


static ngx_int_t
ngx_http_nucleus_send(ngx_http_request_t *r, ngx_buf_t *b)
{
    ngx_int_t    rc;
    ngx_chain_t  out;

    ngx_str_set(&r->headers_out.content_type, "application/json");
    r->headers_out.content_type_len = r->headers_out.content_type.len;
    r->headers_out.content_type_lowcase = NULL;
    r->headers_out.content_length_n = b->last - b->pos;

    rc = ngx_http_send_header(r);

    if (rc == NGX_ERROR || rc > NGX_OK || r->header_only) {
        return rc;
    }

    b->last_buf = (r == r->main) ? 1 : 0;
    b->last_in_chain = 1;

    out.buf = b;
    out.next = NULL;

    return ngx_http_output_filter(r, &out);
}


static size_t
ngx_http_nucleus_ids_len(ngx_http_nucleus_ctx_t *ctx)
{
    return sizeof("\"ids\":[]") - 1
           + ctx->count * (NUC_RID_TEXT_LEN + sizeof("\"\",") - 1);
}


/* at most ngx_http_nucleus_ids_len() bytes */

static u_char *
ngx_http_nucleus_write_ids(ngx_http_nucleus_ctx_t *ctx, u_char *p)
{
    size_t       i;
    nuc_uuid_t   uuid;

    p = ngx_cpymem(p, "\"ids\":[", sizeof("\"ids\":[") - 1);

    for (i = 0; i < ctx->count; i++) {

        if (i) {
            *p++ = ',';
        }

        ngx_memcpy(uuid.b, &ctx->rids[i * NUC_RID_LEN], NUC_RID_LEN);

        *p++ = '"';
        p = (u_char *) nuc_uuid_format(&uuid, (char *) p);
        *p++ = '"';
    }

    *p++ = ']';

    return p;
}


ngx_int_t
ngx_http_nucleus_add_header(ngx_http_request_t *r, const char *name,
    ngx_str_t *value)
{
    ngx_table_elt_t  *h;

    h = ngx_list_push(&r->headers_out.headers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    h->hash = 1;
    h->key.data = (u_char *) name;
    h->key.len = ngx_strlen(name);
    h->value = *value;
    h->lowcase_key = NULL;

#if (nginx_version >= 1023000)
    h->next = NULL;
#endif

    return NGX_OK;
}


ngx_int_t
ngx_http_nucleus_filter_init(ngx_conf_t *cf)
{
    ngx_http_next_header_filter = ngx_http_top_header_filter;
    ngx_http_top_header_filter = ngx_http_nucleus_header_filter;

    ngx_http_next_body_filter = ngx_http_top_body_filter;
    ngx_http_top_body_filter = ngx_http_nucleus_body_filter;

    return NGX_OK;
}
