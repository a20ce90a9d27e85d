
/*
 * The quota of bytes that a tenant may have in the queue.  nucleus-worker
 * counts what is there, in editions: registry/nuc_tenant_bytes.h.  What was
 * accepted since the edition in use is counted here, among all processes, by
 * a tally whose days are the editions; so without a worker, that is, in one
 * edition for ever, the quota holds as well.
 *
 * What is accepted between the worker's looking at the log and the edition
 * that it makes of it, some tenths of a second, is missed until the next.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_http_nucleus_metrics.h"


/* seconds to wait, at most, and where nothing leaves the queue */
#define NGX_HTTP_NUCLEUS_QUOTA_WAIT  60

#define NGX_HTTP_NUCLEUS_QUOTA_LEN                                            \
    (sizeof("over the quota of bytes in the queue of this tenant, : are "     \
            "there,  never fit,  would fit now")                              \
     + 4 * NGX_INT64_LEN)


typedef struct {
    uint64_t  max;
    uint64_t  bytes;         /* in the queue, as the edition says */
    uint64_t  rate;          /* at which they leave, bytes a second */
    uint64_t  edition;       /* its number as a day of the tally */
} ngx_http_nucleus_queued_t;


static ngx_uint_t ngx_http_nucleus_get_queued(ngx_http_request_t *r,
    ngx_http_nucleus_ctx_t *ctx, ngx_http_nucleus_queued_t *nq);
static ngx_int_t ngx_http_nucleus_refuse_queued(ngx_http_request_t *r,
    ngx_http_nucleus_ctx_t *ctx, ngx_http_nucleus_queued_t *nq, uint64_t size,
    uint64_t since);


/* before the body is read */

ngx_int_t
ngx_http_nucleus_check_queued(ngx_http_request_t *r,
    ngx_http_nucleus_ctx_t *ctx)
{
    uint64_t                   since, edition;
    nuc_tally_table_t         *table;
    ngx_http_nucleus_queued_t  nq;

    if (!ngx_http_nucleus_get_queued(r, ctx, &nq)) {
        return NGX_OK;
    }

    table = ngx_http_nucleus_get_queue_tallies(ctx->zone);

    since = nuc_tally_look(table,
                    nuc_tally_tag(table, ngx_http_nucleus_str(&ctx->tenant)),
                    &edition);

    if (edition != nq.edition) {
        since = 0;
    }

    if (nq.bytes + since < nq.max) {
        return NGX_OK;
    }

    return ngx_http_nucleus_refuse_queued(r, ctx, &nq, 0, since);
}


/* "size" bytes of records are about to be queued */

ngx_int_t
ngx_http_nucleus_take_queued(ngx_http_request_t *r,
    ngx_http_nucleus_ctx_t *ctx, size_t size)
{
    uint64_t                   left;
    nuc_rc_t                   rc;
    nuc_tally_table_t         *table;
    nuc_tally_answer_t         answer;
    ngx_http_nucleus_queued_t  nq;

    if (!ngx_http_nucleus_get_queued(r, ctx, &nq)) {
        return NGX_OK;
    }

    table = ngx_http_nucleus_get_queue_tallies(ctx->zone);
    left = nq.bytes < nq.max ? nq.max - nq.bytes : 0;

    ctx->queued.tag = nuc_tally_tag(table, ngx_http_nucleus_str(&ctx->tenant));

    rc = nuc_tally_take(table, ctx->queued.tag, size, left, nq.edition,
                        &answer);

    if (rc == NUC_OK) {
        ctx->queued.count = size;
        ctx->queued.day = answer.day;
        return NGX_OK;
    }

    if (rc == NUC_FULL) {
        ngx_http_nucleus_tell_crowded(r, ctx);
        return NGX_OK;
    }

    return ngx_http_nucleus_refuse_queued(r, ctx, &nq, size, answer.count);
}


/* what was not queued; the next edition knows nothing of it either */

void
ngx_http_nucleus_return_queued(ngx_http_nucleus_ctx_t *ctx)
{
    if (ctx->queued.count) {
        nuc_tally_give(ngx_http_nucleus_get_queue_tallies(ctx->zone),
                       ctx->queued.tag, ctx->queued.count, ctx->queued.day);
        ctx->queued.count = 0;
    }
}


/* 0: the tenant has no quota */

static ngx_uint_t
ngx_http_nucleus_get_queued(ngx_http_request_t *r,
    ngx_http_nucleus_ctx_t *ctx, ngx_http_nucleus_queued_t *nq)
{
    uint64_t                       number;
    const nuc_tenant_bytes_t      *item;
    ngx_http_nucleus_main_conf_t  *nmcf;
    const nuc_tenant_bytes_list_t *list;

    if (ctx->auth == NULL || ctx->auth->max_queued == 0) {
        return 0;
    }

    nmcf = ngx_http_get_module_main_conf(r, ngx_http_nucleus_module);

    if (nmcf->zone == NULL) {
        return 0;
    }

    ctx->zone = nmcf->zone;

    list = ngx_http_nucleus_tenant_bytes();
    number = list ? list->number : 0;
    item = list ? nuc_tenant_bytes_find(list,
                                        ngx_http_nucleus_str(&ctx->tenant))
                : NULL;

    nq->max = ctx->auth->max_queued;
    nq->bytes = item ? item->bytes : 0;
    nq->rate = item ? item->rate : 0;

    /* neither the first day nor the last, which the tally takes for one past */

    nq->edition = 1 + number % (NUC_TALLY_DAYS - 2);

    return 1;
}


/* RFC 9110, section 15.6.4: what is there now leaves, and then it fits */

static ngx_int_t
ngx_http_nucleus_refuse_queued(ngx_http_request_t *r,
    ngx_http_nucleus_ctx_t *ctx, ngx_http_nucleus_queued_t *nq, uint64_t size,
    uint64_t since)
{
    u_char                      *p;
    uint64_t                     there, wait;
    ngx_int_t                    status;
    ngx_http_nucleus_problem_t  *problem;

    there = nq->bytes + since;

    ngx_http_nucleus_count_limit(NGX_HTTP_NUCLEUS_QUOTA_QUEUE);

    if (size > nq->max) {
        status = ngx_http_nucleus_refuse(r, NGX_HTTP_NUCLEUS_BATCH_TOO_LARGE,
                                         0);
    } else {
        wait = NGX_HTTP_NUCLEUS_QUOTA_WAIT;

        if (nq->rate) {
            wait = ngx_min(1 + (there + size - nq->max) / nq->rate, wait);
        }

        status = ngx_http_nucleus_refuse(r, NGX_HTTP_NUCLEUS_TENANT_QUEUE_FULL,
                                         wait);
    }

    problem = ctx->problem;

    if (problem == NULL) {
        return status;
    }

    p = ngx_pnalloc(r->pool, NGX_HTTP_NUCLEUS_QUOTA_LEN);
    if (p == NULL) {
        return status;
    }

    problem->detail.data = p;

    p = ngx_sprintf(p, "over the quota of bytes in the queue of this tenant, "
                    "%uL: %uL are there, ", nq->max, there);

    if (size > nq->max) {
        p = ngx_sprintf(p, "%uL never fit, ", size);

    } else if (size) {
        p = ngx_sprintf(p, "of %uL, ", size);
    }

    p = ngx_sprintf(p, "%uL would fit now",
                    there < nq->max ? nq->max - there : 0);

    problem->detail.len = p - problem->detail.data;

    return status;
}
