
/*
 * Reading a request's body.  One that came whole and in one piece is used
 * where it lies; any other is collected in a buffer of ours as it arrives,
 * never in a file.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_http_nucleus_module.h"


#define NGX_HTTP_NUCLEUS_BODY_START  16384

/* bytes of a body that are read before others have their turn */
#define NGX_HTTP_NUCLEUS_READ_MAX    524288


static void ngx_http_nucleus_read_handler(ngx_http_request_t *r);
static void ngx_http_nucleus_read_body(ngx_http_request_t *r,
    ngx_http_nucleus_ctx_t *ctx);
static ngx_uint_t ngx_http_nucleus_yield(ngx_http_request_t *r, size_t read);
static ngx_int_t ngx_http_nucleus_use_body(ngx_http_request_t *r,
    ngx_http_nucleus_ctx_t *ctx);
static ngx_int_t ngx_http_nucleus_collect_body(ngx_http_request_t *r,
    ngx_http_nucleus_ctx_t *ctx);
static ngx_int_t ngx_http_nucleus_append_body(ngx_http_request_t *r,
    ngx_http_nucleus_ctx_t *ctx, ngx_buf_t *b);
static ngx_int_t ngx_http_nucleus_grow_body(ngx_http_request_t *r,
    ngx_http_nucleus_ctx_t *ctx, size_t size);


void
ngx_http_nucleus_body_handler(ngx_http_request_t *r)
{
    ngx_http_nucleus_ctx_t  *ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_http_nucleus_module);

    if (r->reading_body) {
        r->read_event_handler = ngx_http_nucleus_read_handler;
    }

    ngx_http_nucleus_read_body(r, ctx);
}


static void
ngx_http_nucleus_read_handler(ngx_http_request_t *r)
{
    ngx_int_t                rc;
    ngx_http_nucleus_ctx_t  *ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_http_nucleus_module);

    rc = ngx_http_read_unbuffered_request_body(r);

    if (rc >= NGX_HTTP_SPECIAL_RESPONSE) {
        ngx_http_finalize_request(r, rc);
        return;
    }

    if (r->request_body->bufs == NULL && r->reading_body) {
        return;
    }

    ngx_http_nucleus_read_body(r, ctx);
}


/* takes what nginx has read, and reads on until there is no more for now */

static void
ngx_http_nucleus_read_body(ngx_http_request_t *r, ngx_http_nucleus_ctx_t *ctx)
{
    size_t     before;
    ngx_int_t  rc;

    if (!r->reading_body && ngx_http_nucleus_use_body(r, ctx) == NGX_OK) {
        ngx_http_nucleus_process_body(r, ctx);
        return;
    }

    before = ctx->body.len;

    for ( ;; ) {

        rc = ngx_http_nucleus_collect_body(r, ctx);
        if (rc != NGX_OK) {
            break;
        }

        if (!r->reading_body) {
            r->read_event_handler = ngx_http_block_reading;
            ngx_http_nucleus_process_body(r, ctx);
            return;
        }

        if (ngx_http_nucleus_yield(r, ctx->body.len - before)) {
            return;
        }

        rc = ngx_http_read_unbuffered_request_body(r);
        if (rc >= NGX_HTTP_SPECIAL_RESPONSE) {
            break;
        }

        if (r->request_body->bufs == NULL && r->reading_body) {
            return;
        }
    }

    ngx_http_nucleus_forget_body(r, ctx);
    ngx_http_finalize_request(r, rc);
}


/*
 * A client that sends faster than we read would keep us here.  HTTP/2 and
 * HTTP/3 read by themselves, as far as their windows go
 */

static ngx_uint_t
ngx_http_nucleus_yield(ngx_http_request_t *r, size_t read)
{
    ngx_event_t  *rev;

    rev = r->connection->read;

    if (read < NGX_HTTP_NUCLEUS_READ_MAX
        || r->http_version >= NGX_HTTP_VERSION_20
        || !rev->ready)
    {
        return 0;
    }

    ngx_post_event(rev, &ngx_posted_next_events);

    return 1;
}


/* a body that is whole, in memory and in one piece: no copy */

static ngx_int_t
ngx_http_nucleus_use_body(ngx_http_request_t *r, ngx_http_nucleus_ctx_t *ctx)
{
    ngx_buf_t    *b;
    ngx_chain_t  *cl;

    if (ctx->capacity) {
        return NGX_DECLINED;
    }

    ngx_str_null(&ctx->body);

    if (r->request_body == NULL) {
        return NGX_OK;
    }

    for (cl = r->request_body->bufs; cl; cl = cl->next) {

        b = cl->buf;

        if (ngx_buf_size(b) == 0) {
            continue;
        }

        if (ctx->body.len || !ngx_buf_in_memory(b)) {
            ngx_str_null(&ctx->body);
            return NGX_DECLINED;
        }

        ctx->body.data = b->pos;
        ctx->body.len = b->last - b->pos;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_nucleus_collect_body(ngx_http_request_t *r,
    ngx_http_nucleus_ctx_t *ctx)
{
    ngx_int_t     rc;
    ngx_buf_t    *b;
    ngx_chain_t  *cl, *ln;

    cl = r->request_body->bufs;

    if (r->request_body_no_buffering) {

        /* we are the one who reads, and nginx reuses what is consumed */

        r->request_body->bufs = NULL;
        ctx->consumed = 1;
    }

    while (cl) {

        b = cl->buf;

        rc = ngx_http_nucleus_append_body(r, ctx, b);
        if (rc != NGX_OK) {
            return rc;
        }

        ln = cl;
        cl = cl->next;

        if (r->request_body_no_buffering) {
            b->pos = b->last;
            ngx_free_chain(r->pool, ln);
        }
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_nucleus_append_body(ngx_http_request_t *r,
    ngx_http_nucleus_ctx_t *ctx, ngx_buf_t *b)
{
    off_t      size;
    u_char    *p;
    ssize_t    n;
    ngx_int_t  rc;

    size = ngx_buf_size(b);

    if (size == 0) {
        return NGX_OK;
    }

    rc = ngx_http_nucleus_grow_body(r, ctx, ctx->body.len + (size_t) size);
    if (rc != NGX_OK) {
        return rc;
    }

    p = ctx->body.data + ctx->body.len;

    if (ngx_buf_in_memory(b)) {
        ngx_memcpy(p, b->pos, size);

    } else if (b->file->fd == NGX_INVALID_FILE) {

        /* sent upstream, then closed: what post_action is left with */

        return ngx_http_nucleus_refuse(r, NGX_HTTP_NUCLEUS_INCOMPLETE_BODY, 0);

    } else {
        n = ngx_read_file(b->file, p, size, b->file_pos);

        if (n != (ssize_t) size) {
            if (ngx_http_nucleus_is_news(NGX_HTTP_NUCLEUS_FAULT_BODY_FILE)) {
                ngx_log_error(NGX_LOG_CRIT, r->connection->log, 0,
                              "read of the request body from \"%V\" returned "
                              "only %z bytes instead of %O",
                              &b->file->name, n, size);
            }

            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }
    }

    ctx->body.len += size;

    return NGX_OK;
}


/* memory follows what has arrived, not what the client says will come */

static ngx_int_t
ngx_http_nucleus_grow_body(ngx_http_request_t *r, ngx_http_nucleus_ctx_t *ctx,
    size_t size)
{
    off_t      length;
    u_char    *p;
    size_t     capacity;
    ngx_int_t  rc;

    if (size <= ctx->capacity) {
        return NGX_OK;
    }

    if (size > ngx_http_nucleus_max_body(ctx)) {
        return ngx_http_nucleus_refuse(r, NGX_HTTP_NUCLEUS_BODY_TOO_LARGE, 0);
    }

    capacity = ngx_max(size, 2 * ctx->capacity);
    capacity = ngx_max(capacity, NGX_HTTP_NUCLEUS_BODY_START);
    capacity = ngx_min(capacity, ngx_http_nucleus_max_body(ctx));

    length = r->headers_in.content_length_n;

    if (!r->headers_in.chunked && length >= (off_t) size) {
        capacity = ngx_min(capacity, (size_t) length);
    }

    rc = ngx_http_nucleus_reserve(ctx, capacity - ctx->capacity, 0);

    if (rc == NGX_BUSY && size < capacity) {
        capacity = size;
        rc = ngx_http_nucleus_reserve(ctx, capacity - ctx->capacity, 0);
    }

    if (rc != NGX_OK) {
        return ngx_http_nucleus_refuse_size(r, rc,
                          ngx_max(length, (off_t) capacity) - ctx->capacity);
    }

    p = realloc(ctx->capacity ? ctx->body.data : NULL, capacity);
    if (p == NULL) {
        if (ngx_http_nucleus_is_news(NGX_HTTP_NUCLEUS_FAULT_BODY_MEMORY)) {
            ngx_log_error(NGX_LOG_EMERG, r->connection->log, ngx_errno,
                          "realloc(%uz) failed", capacity);
        }

        ngx_http_nucleus_release(ctx, capacity - ctx->capacity);
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ctx->body.data = p;
    ctx->capacity = capacity;

    return NGX_OK;
}


void
ngx_http_nucleus_free_body(ngx_http_nucleus_ctx_t *ctx)
{
    if (ctx->capacity) {
        ngx_free(ctx->body.data);
        ngx_http_nucleus_release(ctx, ctx->capacity);
    }

    ngx_str_null(&ctx->body);
    ctx->capacity = 0;
}


/*
 * The queue has its copy, or the rest never came.  If error_page leads to
 * another location now, then without a body
 */

void
ngx_http_nucleus_forget_body(ngx_http_request_t *r,
    ngx_http_nucleus_ctx_t *ctx)
{
    ngx_http_nucleus_free_body(ctx);

    if (ctx->consumed) {
        r->headers_in.content_length_n = 0;
        r->headers_in.chunked = 0;
    }
}


/*
 * A body that was read by us is gone for a named location that error_page
 * leads to, unless it is put where nginx keeps bodies
 */

void
ngx_http_nucleus_give_body_back(ngx_http_request_t *r,
    ngx_http_nucleus_ctx_t *ctx)
{
    ngx_buf_t    *b;
    ngx_chain_t  *cl;

    if (!ctx->consumed || ctx->capacity == 0) {
        return;
    }

    cl = ngx_alloc_chain_link(r->pool);
    b = ngx_calloc_buf(r->pool);

    if (cl == NULL || b == NULL) {
        return;
    }

    b->temporary = 1;
    b->start = ctx->body.data;
    b->pos = b->start;
    b->last = b->start + ctx->body.len;
    b->end = b->last;
    b->last_buf = 1;

    cl->buf = b;
    cl->next = NULL;

    r->request_body->bufs = cl;
    r->headers_in.content_length_n = ctx->body.len;
}
