
/*
 * The memory that requests may take: bodies of ours, records that are not
 * durable yet, long receipts.  What each may have is core/nuc_budget.h's rule.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_http_nucleus_metrics.h"

#include <sys/random.h>


void
ngx_http_nucleus_init_budget(size_t max)
{
    uint64_t  seed;

    if (getrandom(&seed, sizeof(seed), GRND_NONBLOCK) != sizeof(seed)) {
        seed = (uint64_t) ngx_random() << 32 ^ ngx_random() ^ ngx_pid;
    }

    nuc_budget_init(&ngx_http_nucleus_process.budget, max, seed);
}


/* more is refused to a request that is alone, too */

size_t
ngx_http_nucleus_max_body(ngx_http_nucleus_ctx_t *ctx)
{
    size_t  most;

    most = nuc_budget_most(&ngx_http_nucleus_process.budget);

    if (ctx->auth && ctx->auth->max_inflight) {
        most = ngx_min(most, ctx->auth->max_inflight);
    }

    return most;
}


/* the request holds it until it releases it, or hands it over to a ticket */

ngx_int_t
ngx_http_nucleus_reserve(ngx_http_nucleus_ctx_t *ctx, size_t size,
    size_t instead)
{
    nuc_rc_t   rc;
    nuc_str_t  tenant;

    tenant = ngx_http_nucleus_str(&ctx->tenant);

    if (ctx->auth && ctx->auth->max_inflight
        && nuc_budget_used(&ngx_http_nucleus_process.budget, tenant) + size
           > ctx->auth->max_inflight + instead)
    {
        ngx_http_nucleus_count_limit(NGX_HTTP_NUCLEUS_QUOTA_INFLIGHT);
        return NGX_BUSY;
    }

    rc = nuc_budget_take(&ngx_http_nucleus_process.budget, &ctx->account,
                         tenant, ngx_http_nucleus_address(ctx->request->connection),
                         size, instead);

    if (rc == NUC_OK) {
        ctx->reserved += size;
        return NGX_OK;
    }

    return rc == NUC_BUSY ? NGX_BUSY : NGX_ERROR;
}


void
ngx_http_nucleus_release(ngx_http_nucleus_ctx_t *ctx, size_t size)
{
    nuc_budget_give(&ngx_http_nucleus_process.budget, ctx->account, size);

    ctx->reserved -= size;

    if (ctx->reserved == 0) {
        ctx->account = NULL;
    }
}


void
ngx_http_nucleus_hand_over(ngx_http_nucleus_ctx_t *ctx,
    ngx_http_nucleus_ticket_t *nt, size_t size)
{
    nt->account = ctx->account;
    nt->size = size;

    ctx->reserved -= size;

    if (ctx->reserved == 0) {
        ctx->account = NULL;
    }
}


/* a large body that has no chance now is not read, and nothing is reserved */

ngx_int_t
ngx_http_nucleus_check_share(ngx_http_nucleus_ctx_t *ctx, size_t size)
{
    ngx_int_t  rc;

    rc = ngx_http_nucleus_reserve(ctx, size, 0);

    if (rc == NGX_OK) {
        ngx_http_nucleus_release(ctx, size);
    }

    return rc;
}


/* the status to answer when "size" more bytes could not be reserved */

ngx_int_t
ngx_http_nucleus_refuse_size(ngx_http_request_t *r, ngx_int_t rc, size_t size)
{
    ngx_uint_t  seconds;

    if (rc != NGX_BUSY) {
        if (ngx_http_nucleus_is_news(NGX_HTTP_NUCLEUS_FAULT_ACCOUNT)) {
            ngx_log_error(NGX_LOG_EMERG, r->connection->log, ngx_errno,
                          "nucleus has no memory to account for a request");
        }

        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    seconds = nuc_budget_wait(&ngx_http_nucleus_process.budget, size,
                              ngx_current_msec);

    return ngx_http_nucleus_refuse(r, NGX_HTTP_NUCLEUS_BUSY, seconds);
}


/*
 * IPv6: who has one address has at least its /64.  The others get prefixes of
 * multicast, from which nobody sends
 */

uint64_t
ngx_http_nucleus_address(ngx_connection_t *c)
{
    u_char    mapped[16], key[8] = { 0xff };
    uint64_t  address;

    static u_char  v4[] = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff };
    static u_char  none[16];

    ngx_http_nucleus_map_address(c->sockaddr, mapped);

    if (ngx_memcmp(mapped, v4, sizeof(v4)) == 0) {
        ngx_memcpy(&key[4], &mapped[12], 4);

    } else if (ngx_memcmp(mapped, none, sizeof(none)) != 0) {
        ngx_memcpy(key, mapped, 8);

    } else { /* AF_UNIX */
        key[1] = 1;
    }

    ngx_memcpy(&address, key, 8);

    return address;
}
