
/*
 * Counting.  Each thing is counted once, where it happens: a request when it
 * is answered, events when the queue gives their ticket back, whoever still
 * waits for them.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_http_nucleus_metrics.h"

#include "nuc_time.h"


/* of the memory, the part for meters; and how many there are at least, and most */
#define NGX_HTTP_NUCLEUS_METER_PARTS  4
#define NGX_HTTP_NUCLEUS_MIN_METERS   4
#define NGX_HTTP_NUCLEUS_MAX_METERS   256

/* ms */
#define NGX_HTTP_NUCLEUS_METER_TIME   1000


static ngx_http_nucleus_meter_t *ngx_http_nucleus_claim_meter(
    ngx_http_nucleus_metrics_t *nm, ngx_log_t *log);
static ngx_uint_t ngx_http_nucleus_take_meter(ngx_http_nucleus_meter_t *meter);
static void ngx_http_nucleus_meter_handler(ngx_event_t *ev);
static void ngx_http_nucleus_publish_queue(ngx_http_nucleus_meter_t *meter,
    ngx_uint_t i);
static void ngx_http_nucleus_publish_histogram(
    ngx_http_nucleus_histogram_t *to, nuc_histogram_t *now,
    nuc_histogram_t *before);
static nuc_series_t *ngx_http_nucleus_get_series(ngx_http_nucleus_ctx_t *ctx);
static ngx_uint_t ngx_http_nucleus_get_result(ngx_http_nucleus_ctx_t *ctx);


ngx_http_nucleus_metrics_t *
ngx_http_nucleus_create_metrics(u_char *p, size_t size, const uint64_t *seed)
{
    size_t                       len;
    ngx_uint_t                   n;
    ngx_http_nucleus_metrics_t  *nm;

    n = size / NGX_HTTP_NUCLEUS_METER_PARTS / sizeof(ngx_http_nucleus_meter_t);
    n = ngx_max(n, NGX_HTTP_NUCLEUS_MIN_METERS);
    n = ngx_min(n, NGX_HTTP_NUCLEUS_MAX_METERS);

    len = offsetof(ngx_http_nucleus_metrics_t, meters)
          + n * sizeof(ngx_http_nucleus_meter_t);

    if (len >= size) {
        return NULL;
    }

    nm = (ngx_http_nucleus_metrics_t *) p;

    ngx_memzero(nm, len);

    nm->nmeters = n;
    nm->series = nuc_series_init(p + len, size - len, seed);

    return nm->series ? nm : NULL;
}


void
ngx_http_nucleus_init_meter(ngx_cycle_t *cycle,
    ngx_http_nucleus_main_conf_t *nmcf)
{
    ngx_http_nucleus_process_t  *np;
    ngx_http_nucleus_metrics_t  *nm;

    np = &ngx_http_nucleus_process;

    if (nmcf->zone == NULL) {
        return;
    }

    nm = ngx_http_nucleus_get_metrics(nmcf->zone);

    np->series = nm->series;
    np->meter = ngx_http_nucleus_claim_meter(nm, cycle->log);

    np->metering.handler = ngx_http_nucleus_meter_handler;
    np->metering.log = cycle->log;
    np->metering.cancelable = 1;

    /* the first time at once, so that there is something to see */

    ngx_http_nucleus_meter_handler(&np->metering);
}


static ngx_http_nucleus_meter_t *
ngx_http_nucleus_claim_meter(ngx_http_nucleus_metrics_t *nm, ngx_log_t *log)
{
    ngx_uint_t                 i;
    ngx_http_nucleus_meter_t  *meter;

    for (i = 0; i < nm->nmeters; i++) {

        if (ngx_http_nucleus_take_meter(&nm->meters[i])) {
            return &nm->meters[i];
        }
    }

    ngx_log_error(NGX_LOG_ERR, log, 0,
                  "nucleus metrics: \"nucleus_zone\" is too small to count for "
                  "more than %ui processes, this one's queues and refusals are "
                  "not shown", nm->nmeters);

    meter = ngx_calloc(sizeof(ngx_http_nucleus_meter_t), log);

    return meter;
}


/* what a process leaves that was killed is another's */

static ngx_uint_t
ngx_http_nucleus_take_meter(ngx_http_nucleus_meter_t *meter)
{
    ngx_pid_t  pid;

    pid = (ngx_pid_t) meter->pid;

    if (pid && (pid == ngx_pid || kill(pid, 0) == 0 || ngx_errno != ESRCH)) {
        return 0;
    }

    if (!ngx_atomic_cmp_set(&meter->pid, (ngx_atomic_uint_t) pid,
                            (ngx_atomic_uint_t) ngx_pid))
    {
        return 0;
    }

    meter->ready[0] = 0;
    meter->ready[1] = 0;
    meter->inflight = 0;
    meter->max_inflight = 0;
    meter->generation = 0;
    meter->known = 0;

    return 1;
}


void
ngx_http_nucleus_exit_meter(void)
{
    ngx_http_nucleus_process_t  *np;

    np = &ngx_http_nucleus_process;

    if (np->metering.timer_set) {
        ngx_del_timer(&np->metering);
    }

    if (np->meter == NULL) {
        return;
    }

    ngx_http_nucleus_publish_meter();

    if (np->meter->pid) {
        np->meter->pid = 0;

    } else {
        ngx_free(np->meter);
    }

    np->meter = NULL;
}


static void
ngx_http_nucleus_meter_handler(ngx_event_t *ev)
{
    ngx_http_nucleus_publish_meter();

    ngx_add_timer(ev, NGX_HTTP_NUCLEUS_METER_TIME);
}


void
ngx_http_nucleus_publish_meter(void)
{
    ngx_uint_t                   i;
    nuc_snapshot_t              *snapshot;
    ngx_http_nucleus_meter_t    *meter;
    ngx_http_nucleus_process_t  *np;

    np = &ngx_http_nucleus_process;
    meter = np->meter;

    if (meter == NULL) {
        return;
    }

    for (i = 0; i < NGX_HTTP_NUCLEUS_QUEUES; i++) {
        if (np->queues[i].queue) {
            ngx_http_nucleus_publish_queue(meter, i);
        }
    }

    meter->inflight = np->budget.used;
    meter->max_inflight = np->budget.max;

    snapshot = ngx_http_nucleus_snapshot();
    meter->generation = snapshot ? snapshot->generation : 0;
    meter->known = ngx_http_nucleus_registry_is_known();
}


static void
ngx_http_nucleus_publish_queue(ngx_http_nucleus_meter_t *meter, ngx_uint_t i)
{
    unsigned                     retry_after;
    nuc_queue_stats_t            now;
    ngx_http_nucleus_queue_t    *nq;

    nq = &ngx_http_nucleus_process.queues[i];

    nq->queue->ops->stats(nq->queue, &now);

    ngx_http_nucleus_publish_histogram(&meter->group_records[i],
                                       &now.group_records,
                                       &nq->published.group_records);
    ngx_http_nucleus_publish_histogram(&meter->group_wait[i], &now.group_wait,
                                       &nq->published.group_wait);

    nq->published = now;

    meter->ready[i] = ngx_http_nucleus_ready(nq, &retry_after) == NUC_OK;
}


static void
ngx_http_nucleus_publish_histogram(ngx_http_nucleus_histogram_t *to,
    nuc_histogram_t *now, nuc_histogram_t *before)
{
    ngx_uint_t  i;

    for (i = 0; i < NUC_HISTOGRAM_BUCKETS; i++) {
        to->buckets[i] += now->buckets[i] - before->buckets[i];
    }

    to->sum += now->sum - before->sum;
}


void
ngx_http_nucleus_count_limit(ngx_uint_t which)
{
    if (ngx_http_nucleus_process.meter) {
        ngx_http_nucleus_process.meter->limits[which]++;
    }
}


/*
 * At the end of the request, or of its time in a location.  Here also what was
 * refused after it had been parsed
 */

void
ngx_http_nucleus_count_request(ngx_http_nucleus_ctx_t *ctx)
{
    nuc_series_t                *series;
    ngx_http_nucleus_process_t  *np;

    np = &ngx_http_nucleus_process;

    if (np->meter == NULL || !ctx->ours) {
        return;
    }

    series = ctx->series ? ctx->series : ngx_http_nucleus_get_series(ctx);

    nuc_series_add(series, ngx_http_nucleus_get_result(ctx), 1);

    if (ctx->problem == NULL) {
        return;
    }

    np->meter->problems[ctx->problem->code]++;

    /* those of a ticket are counted when it is back */

    if (ctx->count && ctx->series == NULL) {
        nuc_series_add(series, NGX_HTTP_NUCLEUS_EVENTS_REFUSED, ctx->count);
    }
}


/* its records have been submitted */

void
ngx_http_nucleus_meter_ticket(ngx_http_nucleus_ctx_t *ctx,
    ngx_http_nucleus_ticket_t *nt, size_t size)
{
    ngx_http_nucleus_process_t  *np;

    np = &ngx_http_nucleus_process;

    nt->series = NULL;

    if (np->meter == NULL) {
        return;
    }

    ctx->series = ngx_http_nucleus_get_series(ctx);

    nt->series = ctx->series;
    nt->count = ctx->count;
    nt->bytes = size;
    nt->received = np->records[0].received;
}


/* "now" is us since 1970: the clock may have been set, which is no time at all */

void
ngx_http_nucleus_count_ticket(ngx_http_nucleus_ticket_t *nt, nuc_rc_t rc,
    uint64_t now)
{
    uint64_t                       wait;
    ngx_http_nucleus_process_t    *np;
    ngx_http_nucleus_histogram_t  *durable;

    if (nt->series == NULL) {
        return;
    }

    np = &ngx_http_nucleus_process;

    if (rc != NUC_OK) {
        nuc_series_add(nt->series,
                       (rc == NUC_FULL || rc == NUC_IO)
                       ? NGX_HTTP_NUCLEUS_EVENTS_REFUSED
                       : NGX_HTTP_NUCLEUS_EVENTS_UNKNOWN,
                       nt->count);
        return;
    }

    nuc_series_add(nt->series, NGX_HTTP_NUCLEUS_EVENTS_ACCEPTED, nt->count);
    nuc_series_add(nt->series, NGX_HTTP_NUCLEUS_BYTES, nt->bytes);

    wait = now > nt->received ? now - nt->received : 0;
    durable = &np->meter->durable[nt->queue - np->queues];

    durable->buckets[nuc_histogram_bucket(&nuc_histogram_seconds, wait)]++;
    durable->sum += wait;
}


/* most requests are of the tenant and the stream of the one before */

static nuc_series_t *
ngx_http_nucleus_get_series(ngx_http_nucleus_ctx_t *ctx)
{
    nuc_str_t                    tenant, stream;
    nuc_series_t                *last;
    ngx_http_nucleus_process_t  *np;

    np = &ngx_http_nucleus_process;

    /* who was not let in may be known all the same */

    tenant = (ctx->tenant.len == 0 && ctx->auth)
             ? ngx_http_nucleus_str(&ctx->auth->tenant)
             : ngx_http_nucleus_str(&ctx->tenant);

    stream = ngx_http_nucleus_str(&ctx->stream);

    last = np->last_series;

    if (last
        && last->tenant_len == tenant.len && last->stream_len == stream.len
        && ngx_memcmp(last->tenant, tenant.data, tenant.len) == 0
        && ngx_memcmp(last->stream, stream.data, stream.len) == 0)
    {
        return last;
    }

    /* those that are refused may be no names */

    if (!nuc_name_valid(tenant)) {
        tenant.len = 0;
    }

    if (!nuc_name_valid(stream)) {
        stream.len = 0;
    }

    np->last_series = nuc_series_get(np->series, tenant, stream);

    return np->last_series;
}


static ngx_uint_t
ngx_http_nucleus_get_result(ngx_http_nucleus_ctx_t *ctx)
{
    ngx_uint_t                  status;
    ngx_http_request_t         *r;
    ngx_http_nucleus_problem_e  code;

    r = ctx->request;

    /* nobody waits for the answer to a mirrored request */

    if (ctx->durability.len
        || (ctx->series && ctx->problem == NULL && r->background))
    {
        return NGX_HTTP_NUCLEUS_ACCEPTED;
    }

    if (ctx->problem) {
        code = ctx->problem->code;

        if (code == NGX_HTTP_NUCLEUS_OUTCOME_UNKNOWN) {
            return NGX_HTTP_NUCLEUS_UNKNOWN;
        }

        if (code == NGX_HTTP_NUCLEUS_BATCH_TOO_LARGE
            || code == NGX_HTTP_NUCLEUS_TENANT_QUEUE_FULL)
        {
            return NGX_HTTP_NUCLEUS_LIMITED;
        }

        status = ngx_http_nucleus_problem_status(code);

    } else {
        status = r->err_status ? r->err_status : r->headers_out.status;
    }

    switch (status) {

    case NGX_HTTP_UNAUTHORIZED:
    case NGX_HTTP_FORBIDDEN:
        return NGX_HTTP_NUCLEUS_DENIED;

    case NGX_HTTP_TOO_MANY_REQUESTS:
        return NGX_HTTP_NUCLEUS_LIMITED;

    case NGX_HTTP_SERVICE_UNAVAILABLE:
        return NGX_HTTP_NUCLEUS_UNAVAILABLE;

    case 0:
    case NGX_HTTP_REQUEST_TIME_OUT:
    case NGX_HTTP_CLIENT_CLOSED_REQUEST:
        return NGX_HTTP_NUCLEUS_ABORTED;
    }

    return status < NGX_HTTP_INTERNAL_SERVER_ERROR ? NGX_HTTP_NUCLEUS_INVALID
                                                    : NGX_HTTP_NUCLEUS_FAILED;
}
