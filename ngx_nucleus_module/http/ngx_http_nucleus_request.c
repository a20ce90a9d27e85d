
/*
 * The life of a request: checked, read, parsed, submitted to the queue,
 * answered when the queue has made it durable.
 *
 * While it waits it owns nothing that the queue uses: the queue has copied
 * the records, and the ticket outlives a request that is terminated.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_http_nucleus_module.h"

#include "nuc_time.h"


/* arrays that one large request made grow are not kept for ever */
#define NGX_HTTP_NUCLEUS_KEPT_RECORDS  4096

/* bytes: smaller bodies are read before it is seen whether there is room */
#define NGX_HTTP_NUCLEUS_CHECKED_BODY  65536


static ngx_int_t ngx_http_nucleus_start(ngx_http_request_t *r);
static void ngx_http_nucleus_cleanup(void *data);
static ngx_int_t ngx_http_nucleus_check_room(ngx_http_request_t *r,
    ngx_http_nucleus_ctx_t *ctx);
static ngx_int_t ngx_http_nucleus_refuse_rc(ngx_http_request_t *r,
    nuc_rc_t rc, unsigned retry_after);

static ngx_int_t ngx_http_nucleus_parse(ngx_http_request_t *r,
    ngx_http_nucleus_ctx_t *ctx);
static ngx_int_t ngx_http_nucleus_make_records(ngx_http_request_t *r,
    ngx_http_nucleus_ctx_t *ctx, size_t *size);
static void ngx_http_nucleus_set_attributes(ngx_http_request_t *r,
    ngx_http_nucleus_ctx_t *ctx, nuc_record_t *common);
static nuc_rc_t ngx_http_nucleus_make_rid(ngx_http_nucleus_ctx_t *ctx,
    nuc_record_t *rec, nuc_str_t source, size_t index);
static ngx_int_t ngx_http_nucleus_alloc_records(ngx_http_request_t *r,
    ngx_http_nucleus_ctx_t *ctx);
static void ngx_http_nucleus_trim_records(void);
static ngx_int_t ngx_http_nucleus_enqueue(ngx_http_request_t *r,
    ngx_http_nucleus_ctx_t *ctx);


ngx_int_t
ngx_http_nucleus_handler(ngx_http_request_t *r)
{
    ngx_int_t  rc;

    rc = ngx_http_nucleus_start(r);

    if (rc != NGX_OK) {

        /* a client that waits for 100 Continue may never send the body */

        if (r->headers_in.expect && !r->expect_tested) {
            r->keepalive = 0;
        }

        return rc;
    }

    r->request_body_no_buffering = 1;

    rc = ngx_http_read_client_request_body(r, ngx_http_nucleus_body_handler);

    if (rc >= NGX_HTTP_SPECIAL_RESPONSE) {
        return rc;
    }

    return NGX_DONE;
}


/* all that can be said before the body is read */

static ngx_int_t
ngx_http_nucleus_start(ngx_http_request_t *r)
{
    ngx_int_t                     rc;
    ngx_http_nucleus_ctx_t       *ctx;
    ngx_http_nucleus_loc_conf_t  *nlcf;

    ctx = ngx_http_nucleus_get_ctx(r);
    if (ctx == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ctx->ours = 1;

    if (r->method != NGX_HTTP_POST) {
        return NGX_HTTP_NOT_ALLOWED;
    }

    /* another location gave up in the middle of the body */

    if (r->reading_body) {
        return ngx_http_nucleus_refuse(r, NGX_HTTP_NUCLEUS_INCOMPLETE_BODY, 0);
    }

    nlcf = ngx_http_get_module_loc_conf(r, ngx_http_nucleus_module);

    /* "satisfy any" and subrequests come here without a key */

    if (nlcf->auth) {
        rc = ngx_http_nucleus_authenticate(r, ctx);
        if (rc != NGX_OK) {
            return rc;
        }

    } else {

        /* of a location that has refused it, and led here by error_page */

        ctx->auth = NULL;
    }

    rc = ngx_http_nucleus_check_headers(r, ctx);
    if (rc != NGX_OK) {
        return rc;
    }

    rc = ngx_http_nucleus_check_stream(r, ctx);
    if (rc != NGX_OK) {
        return rc;
    }

    rc = ngx_http_nucleus_limit_request(r, ctx);
    if (rc != NGX_OK) {
        return rc;
    }

    return ngx_http_nucleus_check_room(r, ctx);
}


/* NULL: no memory.  After an internal redirect it is another one */

ngx_http_nucleus_ctx_t *
ngx_http_nucleus_get_ctx(ngx_http_request_t *r)
{
    ngx_http_cleanup_t      *cln, *old;
    ngx_http_nucleus_ctx_t  *ctx, *before;

    ctx = ngx_http_get_module_ctx(r, ngx_http_nucleus_module);

    if (ctx) {
        return ctx;
    }

    /* a list of the main request, for its subrequests too */

    old = r->main->cleanup;

    cln = ngx_http_cleanup_add(r, sizeof(ngx_http_nucleus_ctx_t));
    if (cln == NULL) {
        return NULL;
    }

    ctx = cln->data;

    ngx_memzero(ctx, sizeof(ngx_http_nucleus_ctx_t));

    ctx->request = r;

    cln->handler = ngx_http_nucleus_cleanup;

    ngx_http_set_ctx(r, ctx, ngx_http_nucleus_module);

    for ( /* void */ ; old; old = old->next) {

        if (old->handler != ngx_http_nucleus_cleanup) {
            continue;
        }

        before = old->data;

        if (before->request == r) {
            ctx->auth = before->auth;
            break;
        }
    }

    return ctx;
}


static void
ngx_http_nucleus_cleanup(void *data)
{
    ngx_http_nucleus_ctx_t *ctx = data;

    ngx_http_nucleus_count_request(ctx);

    ngx_http_nucleus_detach(ctx);
    ngx_http_nucleus_free_body(ctx);
    ngx_http_nucleus_end_slow(ctx);

    if (ctx->reserved) {
        ngx_http_nucleus_release(ctx, ctx->reserved);
    }
}


static ngx_int_t
ngx_http_nucleus_check_room(ngx_http_request_t *r, ngx_http_nucleus_ctx_t *ctx)
{
    off_t                       length;
    nuc_rc_t                    rc;
    unsigned                    retry_after;
    ngx_int_t                   reserved;
    ngx_http_nucleus_queue_t   *nq;

    length = r->headers_in.content_length_n;

    if (length > (off_t) ngx_http_nucleus_max_body(ctx)) {
        return ngx_http_nucleus_refuse(r, NGX_HTTP_NUCLEUS_BODY_TOO_LARGE, 0);
    }

    nq = ngx_http_nucleus_get_queue(length);
    if (nq == NULL) {
        return ngx_http_nucleus_refuse_rc(r, NUC_CLOSED, 0);
    }

    rc = ngx_http_nucleus_ready(nq, &retry_after);

    /* a queue that is starting, as after each reload, takes what comes */

    if (rc != NUC_OK && rc != NUC_AGAIN) {
        return ngx_http_nucleus_refuse_rc(r, rc, retry_after);
    }

    if (length > NGX_HTTP_NUCLEUS_CHECKED_BODY && r->request_body == NULL) {
        reserved = ngx_http_nucleus_check_share(ctx, length);
        if (reserved != NGX_OK) {
            return ngx_http_nucleus_refuse_size(r, reserved, length);
        }
    }

    return ngx_http_nucleus_check_queued(r, ctx);
}


static ngx_int_t
ngx_http_nucleus_refuse_rc(ngx_http_request_t *r, nuc_rc_t rc,
    unsigned retry_after)
{
    ngx_http_nucleus_problem_e  code;

    switch (rc) {

    case NUC_FULL:
        code = NGX_HTTP_NUCLEUS_QUEUE_FULL;
        break;

    case NUC_AGAIN:
        code = NGX_HTTP_NUCLEUS_QUEUE_STARTING;
        break;

    case NUC_BUSY:
        code = NGX_HTTP_NUCLEUS_BUSY;
        break;

    case NUC_IO:
    case NUC_CLOSED:
        code = NGX_HTTP_NUCLEUS_QUEUE_FAILED;
        break;

    case NUC_TOO_LARGE:
        return ngx_http_nucleus_refuse(r, NGX_HTTP_NUCLEUS_EVENT_TOO_LARGE, 0);

    case NUC_NOMEM:
        return NGX_HTTP_INTERNAL_SERVER_ERROR;

    default:
        return ngx_http_nucleus_refuse(r, NGX_HTTP_NUCLEUS_OUTCOME_UNKNOWN, 0);
    }

    return ngx_http_nucleus_refuse(r, code, ngx_max(retry_after, 1));
}


/* the body is whole */

void
ngx_http_nucleus_process_body(ngx_http_request_t *r,
    ngx_http_nucleus_ctx_t *ctx)
{
    ngx_int_t  rc;

    rc = ngx_http_nucleus_limit_body(r, ctx);

    if (rc == NGX_OK) {
        rc = ngx_http_nucleus_parse(r, ctx);
    }

    if (rc == NGX_OK) {
        rc = ngx_http_nucleus_authenticate_again(r, ctx);
    }

    if (rc == NGX_OK) {
        rc = ngx_http_nucleus_limit_events(r, ctx);
    }

    if (rc == NGX_OK) {
        rc = ngx_http_nucleus_enqueue(r, ctx);
    }

    ngx_http_nucleus_trim_records();

    if (rc != NGX_OK) {
        ngx_http_nucleus_return_events(r, ctx);
        ngx_http_nucleus_give_body_back(r, ctx);
        ngx_http_finalize_request(r, rc);
        return;
    }

    if (r->background) {

        /* the copy of a mirror, which must not hold the client up */

        ngx_http_nucleus_leave(ctx);

        r->headers_out.status = NGX_HTTP_ACCEPTED;
        ngx_http_finalize_request(r, NGX_OK);
        return;
    }

    /*
     * An event once taken is not taken back: a client that goes away is
     * noticed when it is written to
     */

    r->read_event_handler = ngx_http_nucleus_waiting_handler;
    r->write_event_handler = ngx_http_request_empty_handler;
}


/* a connection of HTTP/2 ends only after its streams, which are told so here */

void
ngx_http_nucleus_waiting_handler(ngx_http_request_t *r)
{
    if (r->connection->error) {
        ngx_http_finalize_request(r, NGX_HTTP_CLIENT_CLOSED_REQUEST);
        return;
    }

    ngx_http_block_reading(r);
}


static ngx_int_t
ngx_http_nucleus_parse(ngx_http_request_t *r, ngx_http_nucleus_ctx_t *ctx)
{
    nuc_rc_t                      rc;
    nuc_format_fault_t            fault;
    nuc_format_limits_t           limits;
    ngx_http_nucleus_loc_conf_t  *nlcf;
    ngx_http_nucleus_process_t   *np;

    np = &ngx_http_nucleus_process;
    nlcf = ngx_http_get_module_loc_conf(r, ngx_http_nucleus_module);

    limits.max_event_size = nlcf->max_event_size;
    limits.max_events = nlcf->max_events;
    limits.max_depth = nlcf->max_depth;

    rc = ctx->format->parse(ngx_http_nucleus_str(&ctx->body), &limits,
                            &np->events, &fault);

    if (rc == NUC_OK) {
        ctx->count = np->events.count;
        return NGX_OK;
    }

    if (rc == NUC_NOMEM) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    return ngx_http_nucleus_refuse_fault(r, &fault);
}


static ngx_int_t
ngx_http_nucleus_enqueue(ngx_http_request_t *r, ngx_http_nucleus_ctx_t *ctx)
{
    size_t                     size, receipt;
    nuc_rc_t                   rc;
    unsigned                   retry_after;
    ngx_int_t                  reserved;
    ngx_http_nucleus_queue_t  *nq;

    if (ngx_http_nucleus_make_records(r, ctx, &size) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    /* a client that is slow to read many ids holds them, too */

    receipt = (ctx->count > 1) ? ngx_http_nucleus_receipt_size(ctx) : 0;

    if (size + receipt > ngx_http_nucleus_max_body(ctx)) {
        return ngx_http_nucleus_refuse(r, NGX_HTTP_NUCLEUS_BODY_TOO_LARGE, 0);
    }

    reserved = ngx_http_nucleus_take_queued(r, ctx, size);
    if (reserved != NGX_OK) {
        return reserved;
    }

    nq = ngx_http_nucleus_get_queue(ctx->body.len);
    if (nq == NULL) {
        return ngx_http_nucleus_refuse_rc(r, NUC_CLOSED, 0);
    }

    /* the queue's copy takes the place of a body of ours */

    reserved = ngx_http_nucleus_reserve(ctx, size + receipt, ctx->capacity);
    if (reserved != NGX_OK) {
        return ngx_http_nucleus_refuse_size(r, reserved, size);
    }

    rc = ngx_http_nucleus_submit(ctx, nq, size);

    if (rc == NUC_OK) {
        ngx_http_nucleus_forget_body(r, ctx);
        return NGX_OK;
    }

    ngx_http_nucleus_release(ctx, size + receipt);

    if (ngx_http_nucleus_ready(nq, &retry_after) == NUC_OK && rc == NUC_FULL) {

        /* the disk has room, the queue's memory has not */

        rc = NUC_BUSY;
    }

    return ngx_http_nucleus_refuse_rc(r, rc, retry_after);
}


static ngx_int_t
ngx_http_nucleus_make_records(ngx_http_request_t *r,
    ngx_http_nucleus_ctx_t *ctx, size_t *size)
{
    size_t                       i;
    nuc_event_t                 *event;
    nuc_record_t                *rec, common;
    ngx_http_nucleus_process_t  *np;

    if (ngx_http_nucleus_alloc_records(r, ctx) != NGX_OK) {
        return NGX_ERROR;
    }

    ngx_http_nucleus_set_attributes(r, ctx, &common);

    np = &ngx_http_nucleus_process;

    *size = 0;

    for (i = 0; i < ctx->count; i++) {

        event = &np->events.events[i];
        rec = &np->records[i];

        *rec = common;

        rec->attr[NUC_ATTR_ID] = event->id;
        rec->attr[NUC_ATTR_TYPE] = event->type;
        rec->attr[NUC_ATTR_SUBJECT] = event->subject;
        rec->attr[NUC_ATTR_TIME] = event->time;
        rec->data = event->data;

        if (ngx_http_nucleus_make_rid(ctx, rec, event->source, i) != NUC_OK) {
            if (ngx_http_nucleus_is_news(NGX_HTTP_NUCLEUS_FAULT_ID)) {
                ngx_log_error(NGX_LOG_CRIT, r->connection->log, 0,
                              "nucleus can't make an id for a record");
            }

            return NGX_ERROR;
        }

        ngx_memcpy(&ctx->rids[i * NUC_RID_LEN], rec->rid, NUC_RID_LEN);

        *size += nuc_record_encoded_len(rec);

        if (*size > ngx_http_nucleus_max_body(ctx)) {

            /* refused, however many more there are */

            return NGX_OK;
        }
    }

    return NGX_OK;
}


static void
ngx_http_nucleus_set_attributes(ngx_http_request_t *r,
    ngx_http_nucleus_ctx_t *ctx, nuc_record_t *common)
{
    ngx_memzero(common, sizeof(nuc_record_t));

    common->kind = ctx->format->kind;
    common->received = nuc_time_now();

    common->attr[NUC_ATTR_TENANT] = ngx_http_nucleus_str(&ctx->tenant);
    common->attr[NUC_ATTR_STREAM] = ngx_http_nucleus_str(&ctx->stream);
    common->attr[NUC_ATTR_NODE] = ngx_http_nucleus_str(&ngx_cycle->hostname);
    common->attr[NUC_ATTR_TRACEPARENT] = ngx_http_nucleus_str(
                                                            &ctx->traceparent);
    common->attr[NUC_ATTR_CONTENT_TYPE] = nuc_str(ctx->format->media_type);
    common->attr[NUC_ATTR_REQUEST_ID] = ngx_http_nucleus_request_id(r);

    if (ctx->auth) {
        common->attr[NUC_ATTR_KEY_ID].data = ctx->auth->key_id;
        common->attr[NUC_ATTR_KEY_ID].len = NUC_KEY_ID_LEN;
    }
}


static nuc_rc_t
ngx_http_nucleus_make_rid(ngx_http_nucleus_ctx_t *ctx, nuc_record_t *rec,
    nuc_str_t source, size_t index)
{
    nuc_rc_t                     rc;
    nuc_str_t                    tenant, stream;
    nuc_uuid_t                   uuid;
    ngx_http_nucleus_process_t  *np;

    np = &ngx_http_nucleus_process;

    tenant = rec->attr[NUC_ATTR_TENANT];
    stream = rec->attr[NUC_ATTR_STREAM];

    if (rec->attr[NUC_ATTR_ID].len) {
        return nuc_rid_from_id(np->hasher, tenant, stream, rec->kind, source,
                               rec->attr[NUC_ATTR_ID], rec->rid);
    }

    if (ctx->key.len) {
        return nuc_rid_from_key(np->hasher, tenant, stream,
                                ngx_http_nucleus_str(&ctx->key),
                                (uint32_t) index, rec->rid);
    }

    rc = nuc_uuid_v7(&np->uuids, rec->received, &uuid, NULL);

    ngx_memcpy(rec->rid, uuid.b, NUC_RID_LEN);

    return rc;
}


static ngx_int_t
ngx_http_nucleus_alloc_records(ngx_http_request_t *r,
    ngx_http_nucleus_ctx_t *ctx)
{
    nuc_record_t                *records;
    ngx_http_nucleus_process_t  *np;

    np = &ngx_http_nucleus_process;

    ctx->rids = ctx->rid;

    if (ctx->count > 1) {
        ctx->rids = ngx_pnalloc(r->pool, ctx->count * NUC_RID_LEN);
        if (ctx->rids == NULL) {
            return NGX_ERROR;
        }
    }

    if (ctx->count <= np->nrecords) {
        return NGX_OK;
    }

    records = ngx_alloc(ctx->count * sizeof(nuc_record_t), r->connection->log);
    if (records == NULL) {
        return NGX_ERROR;
    }

    ngx_free(np->records);

    np->records = records;
    np->nrecords = ctx->count;

    return NGX_OK;
}


static void
ngx_http_nucleus_trim_records(void)
{
    ngx_http_nucleus_process_t  *np;

    np = &ngx_http_nucleus_process;

    if (np->events.capacity > NGX_HTTP_NUCLEUS_KEPT_RECORDS) {
        nuc_event_list_free(&np->events);
        nuc_event_list_init(&np->events);
    }

    if (np->nrecords > NGX_HTTP_NUCLEUS_KEPT_RECORDS) {
        ngx_free(np->records);
        np->records = NULL;
        np->nrecords = 0;
    }
}


/*
 * The queue, or the clock, has decided about a request that does not wait
 * any more; it may be gone when this returns
 */

void
ngx_http_nucleus_finish(ngx_http_nucleus_ctx_t *ctx,
    ngx_http_nucleus_queue_t *nq, nuc_rc_t rc)
{
    ngx_int_t            status;
    unsigned             retry_after;
    ngx_connection_t    *c;
    ngx_http_request_t  *r;

    r = ctx->request;
    c = r->connection;

    ngx_http_set_log_request(c->log, r);

    ngx_log_debug1(NGX_LOG_DEBUG_HTTP, c->log, 0,
                   "nucleus request finished: %s", nuc_rc_name(rc));

    if (rc == NUC_OK) {
        status = ngx_http_nucleus_send_receipt(r, ctx, nq->queue->durability);

    } else {
        (void) ngx_http_nucleus_ready(nq, &retry_after);

        status = ngx_http_nucleus_refuse_rc(r, rc, retry_after);

        ngx_http_nucleus_return_events(r, ctx);
    }

    ngx_http_finalize_request(r, status);

    ngx_http_run_posted_requests(c);
}


ngx_int_t
ngx_http_nucleus_health_handler(ngx_http_request_t *r)
{
    nuc_rc_t                      rc;
    unsigned                      retry_after;
    ngx_int_t                     status;
    ngx_str_t                     text;
    ngx_uint_t                    i;
    ngx_http_nucleus_queue_t     *nq;
    ngx_http_nucleus_loc_conf_t  *nlcf;

    if (!(r->method & (NGX_HTTP_GET|NGX_HTTP_HEAD))) {
        return NGX_HTTP_NOT_ALLOWED;
    }

    if (ngx_http_nucleus_get_ctx(r) == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    status = ngx_http_discard_request_body(r);
    if (status != NGX_OK) {
        return status;
    }

    nlcf = ngx_http_get_module_loc_conf(r, ngx_http_nucleus_module);

    if (nlcf->health == NGX_HTTP_NUCLEUS_HEALTH_LIVE) {
        ngx_str_set(&text, "{\"status\":\"live\"}" CRLF);
        return ngx_http_nucleus_send_health(r, &text);
    }

    if (!ngx_http_nucleus_registry_is_ready()) {
        return ngx_http_nucleus_refuse(r, NGX_HTTP_NUCLEUS_REGISTRY_FAILED, 1);
    }

    for (i = 0; i < NGX_HTTP_NUCLEUS_QUEUES; i++) {

        nq = &ngx_http_nucleus_process.queues[i];

        retry_after = 1;
        rc = nq->queue ? ngx_http_nucleus_ready(nq, &retry_after) : NUC_CLOSED;

        if (rc != NUC_OK) {
            return ngx_http_nucleus_refuse_rc(r, rc, retry_after);
        }
    }

    ngx_str_set(&text, "{\"status\":\"ready\"}" CRLF);
    return ngx_http_nucleus_send_health(r, &text);
}
