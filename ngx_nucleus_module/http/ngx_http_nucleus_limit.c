
/*
 * Limits of requests, events and bytes a second.  The buckets are shared by
 * all processes: core/nuc_bucket.h.
 *
 * What several limits count is taken from all of them or from none: when one
 * refuses, what the request has taken so far goes back.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_http_nucleus_metrics.h"

#include <time.h>


#define NGX_HTTP_NUCLEUS_NS         1000000000
#define NGX_HTTP_NUCLEUS_DAY        86400

/* wrong keys of an address that are counted */
#define NGX_HTTP_NUCLEUS_FAILURES   20


/* bytes, with numbers of at most 2^40, and 2^64 ns */
#define NGX_HTTP_NUCLEUS_POLICY_LEN                                           \
    (sizeof("\"address-requests\";q=;qu=\"content-bytes\";w=;nucleus-rate=")  \
     + 3 * NGX_INT64_LEN)

#define NGX_HTTP_NUCLEUS_STATE_LEN                                            \
    (sizeof("\"address-requests\";r=;t=") + 2 * NGX_INT64_LEN)

#define NGX_HTTP_NUCLEUS_DETAIL_LEN                                           \
    (sizeof("over the limit of requests of this address, /s with a burst of " \
            ":  never fit,  would fit now")                                   \
     + 4 * NGX_INT64_LEN)

#define NGX_HTTP_NUCLEUS_QUOTA_LEN                                            \
    (sizeof("over the quota of events a day of this tenant, : accepted "      \
            "today,  never fit,  would fit now")                              \
     + 4 * NGX_INT64_LEN)


typedef struct {
    const ngx_http_nucleus_bucket_t  *bucket;     /* NULL: none refuses */
    uint64_t                          n;
    nuc_bucket_answer_t               answer;
} ngx_http_nucleus_refusal_t;


static ngx_int_t ngx_http_nucleus_set_buckets(ngx_http_request_t *r,
    ngx_http_nucleus_ctx_t *ctx, ngx_shm_zone_t *zone);
static void ngx_http_nucleus_set_parties(ngx_http_nucleus_ctx_t *ctx,
    ngx_http_nucleus_party_t *parties);
static ngx_int_t ngx_http_nucleus_add_own(ngx_http_request_t *r,
    ngx_http_nucleus_ctx_t *ctx, ngx_shm_zone_t *zone, ngx_uint_t kind,
    ngx_http_nucleus_party_t *party);
static void ngx_http_nucleus_add_bucket(ngx_http_nucleus_ctx_t *ctx,
    ngx_shm_zone_t *zone, const ngx_http_nucleus_limit_t *limit,
    ngx_http_nucleus_party_t *party);
static uint64_t ngx_http_nucleus_name(ngx_http_nucleus_ctx_t *ctx,
    nuc_bucket_table_t *table, ngx_uint_t kind);
static uint64_t ngx_http_nucleus_name_address(ngx_connection_t *c,
    nuc_bucket_table_t *table);
static ngx_int_t ngx_http_nucleus_take(ngx_http_request_t *r,
    ngx_http_nucleus_ctx_t *ctx, const uint64_t *amounts);
static void ngx_http_nucleus_take_one(ngx_http_nucleus_bucket_t *b,
    uint64_t n, uint64_t now, ngx_http_nucleus_refusal_t *refusal);
static void ngx_http_nucleus_give_back(ngx_http_nucleus_ctx_t *ctx,
    uint64_t now);
static void ngx_http_nucleus_give_one(ngx_http_nucleus_bucket_t *b,
    uint64_t now);
static ngx_int_t ngx_http_nucleus_refuse_limit(ngx_http_request_t *r,
    ngx_http_nucleus_ctx_t *ctx, ngx_http_nucleus_refusal_t *refusal);
static ngx_int_t ngx_http_nucleus_take_quota(ngx_http_request_t *r,
    ngx_http_nucleus_ctx_t *ctx);
static ngx_int_t ngx_http_nucleus_refuse_quota(ngx_http_request_t *r,
    ngx_http_nucleus_ctx_t *ctx, nuc_rc_t rc, nuc_tally_answer_t *answer);
static u_char *ngx_http_nucleus_write_state(ngx_http_nucleus_ctx_t *ctx,
    ngx_http_nucleus_bucket_t *b, u_char *p);
static u_char *ngx_http_nucleus_write_number(u_char *p, uint64_t number);
static ngx_shm_zone_t *ngx_http_nucleus_get_zone(ngx_http_request_t *r);
static uint64_t ngx_http_nucleus_now(void);


static const char  *ngx_http_nucleus_kinds[] = {
    "key", "tenant", "address"
};

static const char  *ngx_http_nucleus_units[] = {
    "requests", "events", "bytes"
};

/* "requests" need not be said */

static const char  *ngx_http_nucleus_quota_units[] = {
    "", ";qu=\"events\"", ";qu=\"content-bytes\""
};


/* before the body is read: the request itself, and its bytes if it says them */

ngx_int_t
ngx_http_nucleus_limit_request(ngx_http_request_t *r,
    ngx_http_nucleus_ctx_t *ctx)
{
    uint64_t         amounts[NUC_UNIT_COUNT];
    ngx_shm_zone_t  *zone;

    zone = ngx_http_nucleus_get_zone(r);
    if (zone == NULL) {
        return NGX_OK;
    }

    if (ngx_http_nucleus_set_buckets(r, ctx, zone) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ngx_memzero(amounts, sizeof(amounts));

    amounts[NUC_UNIT_REQUESTS] = 1;

    if (r->headers_in.content_length_n >= 0) {
        amounts[NUC_UNIT_BYTES] = r->headers_in.content_length_n;
        ctx->measured = 1;
    }

    return ngx_http_nucleus_take(r, ctx, amounts);
}


ngx_int_t
ngx_http_nucleus_limit_body(ngx_http_request_t *r, ngx_http_nucleus_ctx_t *ctx)
{
    uint64_t  amounts[NUC_UNIT_COUNT];

    if (ctx->measured) {
        return NGX_OK;
    }

    ngx_memzero(amounts, sizeof(amounts));

    amounts[NUC_UNIT_BYTES] = ctx->body.len;

    return ngx_http_nucleus_take(r, ctx, amounts);
}


ngx_int_t
ngx_http_nucleus_limit_events(ngx_http_request_t *r,
    ngx_http_nucleus_ctx_t *ctx)
{
    uint64_t   amounts[NUC_UNIT_COUNT];
    ngx_int_t  rc;

    ngx_memzero(amounts, sizeof(amounts));

    amounts[NUC_UNIT_EVENTS] = ctx->count;

    rc = ngx_http_nucleus_take(r, ctx, amounts);

    if (rc != NGX_OK) {
        return rc;
    }

    return ngx_http_nucleus_take_quota(r, ctx);
}


/*
 * What was refused after it was counted was not accepted; requests and bytes
 * were sent all the same.  Where the outcome is unknown, it may be stored
 */

void
ngx_http_nucleus_return_events(ngx_http_request_t *r,
    ngx_http_nucleus_ctx_t *ctx)
{
    uint64_t                    now;
    ngx_uint_t                  i;
    ngx_http_nucleus_bucket_t  *b;

    if (ctx->problem
        && ctx->problem->code == NGX_HTTP_NUCLEUS_OUTCOME_UNKNOWN)
    {
        return;
    }

    ngx_http_nucleus_return_queued(ctx);

    now = ngx_http_nucleus_now();

    for (i = 0; i < ctx->nbuckets; i++) {

        b = &ctx->buckets[i];

        if (b->limit->unit == NUC_UNIT_EVENTS) {
            ngx_http_nucleus_give_one(b, now);
        }
    }

    if (ctx->tallied) {
        nuc_tally_give(
               ngx_http_nucleus_get_tallies(ngx_http_nucleus_get_zone(r)),
               ctx->tally, ctx->tallied, ctx->day);
        ctx->tallied = 0;
    }
}


/*
 * The same for a request that is gone, or that does not wait: what it has
 * counted is its ticket's, which knows in the end
 */

void
ngx_http_nucleus_leave_events(ngx_http_nucleus_ctx_t *ctx,
    ngx_http_nucleus_counted_t *counted)
{
    ngx_uint_t                  i;
    ngx_http_nucleus_taken_t   *taken;
    ngx_http_nucleus_bucket_t  *b;

    for (i = 0; i < ctx->nbuckets; i++) {

        b = &ctx->buckets[i];

        if (b->limit->unit != NUC_UNIT_EVENTS || b->taken == 0) {
            continue;
        }

        /* there is one of each kind */

        taken = &counted->taken[counted->ntaken++];

        taken->kind = b->limit->kind;
        taken->limit = b->limit->value;
        taken->tag = b->tag;
        taken->taken = b->taken;
        taken->at = b->at;

        b->taken = 0;
    }

    counted->tally = ctx->tally;
    counted->tallied = ctx->tallied;
    counted->day = ctx->day;

    ctx->tallied = 0;
}


void
ngx_http_nucleus_return_left(ngx_http_nucleus_counted_t *counted)
{
    uint64_t                   now;
    ngx_uint_t                 i;
    ngx_shm_zone_t            *zone;
    ngx_http_nucleus_taken_t  *taken;

    zone = ngx_http_nucleus_process.zone;
    now = ngx_http_nucleus_now();

    for (i = 0; i < counted->ntaken; i++) {

        taken = &counted->taken[i];

        nuc_bucket_give(ngx_http_nucleus_get_table(zone, taken->kind),
                        taken->tag, &taken->limit, taken->taken, taken->at,
                        now);
    }

    if (counted->tallied) {
        nuc_tally_give(ngx_http_nucleus_get_tallies(zone), counted->tally,
                       counted->tallied, counted->day);
    }

    counted->ntaken = 0;
    counted->tallied = 0;
}


/* where there is no place to count in, all are let through, and it is told */

static ngx_int_t
ngx_http_nucleus_take_quota(ngx_http_request_t *r, ngx_http_nucleus_ctx_t *ctx)
{
    nuc_rc_t             rc;
    ngx_shm_zone_t      *zone;
    nuc_tally_table_t   *table;
    nuc_tally_answer_t   answer;

    zone = ngx_http_nucleus_get_zone(r);

    if (zone == NULL || ctx->auth == NULL || ctx->auth->max_events == 0) {
        return NGX_OK;
    }

    table = ngx_http_nucleus_get_tallies(zone);

    ctx->tally = nuc_tally_tag(table, ngx_http_nucleus_str(&ctx->tenant));

    rc = nuc_tally_take(table, ctx->tally, ctx->count, ctx->auth->max_events,
                        ngx_time() / NGX_HTTP_NUCLEUS_DAY, &answer);

    if (rc == NUC_OK) {
        ctx->tallied = ctx->count;
        ctx->day = answer.day;

        ngx_http_nucleus_note_tally(&ctx->tenant, ctx->tally);
        return NGX_OK;
    }

    if (rc == NUC_FULL) {

        ngx_http_nucleus_tell_crowded(r, ctx);
        return NGX_OK;
    }

    ngx_http_nucleus_give_back(ctx, ngx_http_nucleus_now());

    return ngx_http_nucleus_refuse_quota(r, ctx, rc, &answer);
}


void
ngx_http_nucleus_tell_crowded(ngx_http_request_t *r,
    ngx_http_nucleus_ctx_t *ctx)
{
    if (ngx_http_nucleus_process.crowded) {
        return;
    }

    ngx_http_nucleus_process.crowded = 1;

    ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                  "nucleus quotas: \"nucleus_zone\" is too small to count "
                  "for tenant \"%V\", who is not held to the quota today",
                  &ctx->tenant);
}


/* until midnight, however long that is: RFC 9110, section 10.2.3 */

static ngx_int_t
ngx_http_nucleus_refuse_quota(ngx_http_request_t *r,
    ngx_http_nucleus_ctx_t *ctx, nuc_rc_t rc, nuc_tally_answer_t *answer)
{
    u_char                      *p;
    time_t                       wait;
    ngx_int_t                    status;
    ngx_http_nucleus_problem_t  *problem;

    ngx_http_nucleus_count_limit(NGX_HTTP_NUCLEUS_QUOTA_EVENTS);

    if (rc == NUC_TOO_LARGE) {
        status = ngx_http_nucleus_refuse(r, NGX_HTTP_NUCLEUS_BATCH_TOO_LARGE,
                                         0);
    } else {
        wait = (time_t) (answer->day + 1) * NGX_HTTP_NUCLEUS_DAY - ngx_time();
        status = ngx_http_nucleus_refuse(r, NGX_HTTP_NUCLEUS_QUOTA_EXCEEDED,
                                         ngx_max(wait, 1));
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

    p = ngx_sprintf(p, "over the quota of events a day of this tenant, %uL: "
                    "%uL accepted today, ",
                    ctx->auth->max_events, answer->count);

    if (rc == NUC_TOO_LARGE) {
        p = ngx_sprintf(p, "%uz never fit, ", ctx->count);

    } else {
        p = ngx_sprintf(p, "of %uz, ", ctx->count);
    }

    p = ngx_sprintf(p, "%uL would fit now", answer->left);

    problem->detail.len = p - problem->detail.data;

    return status;
}


/* the limits that apply: those of the location, or of the registry instead */

static ngx_int_t
ngx_http_nucleus_set_buckets(ngx_http_request_t *r,
    ngx_http_nucleus_ctx_t *ctx, ngx_shm_zone_t *zone)
{
    ngx_uint_t                    i, n, kind;
    ngx_http_nucleus_limit_t     *limit;
    ngx_http_nucleus_party_t      parties[NGX_HTTP_NUCLEUS_KINDS], *party;
    ngx_http_nucleus_loc_conf_t  *nlcf;

    nlcf = ngx_http_get_module_loc_conf(r, ngx_http_nucleus_module);

    ngx_http_nucleus_set_parties(ctx, parties);

    n = nlcf->applied ? nlcf->applied->nelts : 0;

    for (kind = 0; kind < NGX_HTTP_NUCLEUS_KINDS; kind++) {
        n += parties[kind].own ? NUC_UNIT_COUNT : 0;
    }

    ctx->nbuckets = 0;

    if (n == 0) {
        return NGX_OK;
    }

    ctx->buckets = ngx_palloc(r->pool, n * sizeof(ngx_http_nucleus_bucket_t));
    if (ctx->buckets == NULL) {
        return NGX_ERROR;
    }

    for (i = 0; nlcf->applied && i < nlcf->applied->nelts; i++) {

        limit = (ngx_http_nucleus_limit_t *) nlcf->applied->elts + i;
        party = &parties[limit->kind];

        if (party->known
            && (party->own == NULL || party->own[limit->unit].rate == 0))
        {
            ngx_http_nucleus_add_bucket(ctx, zone, limit, party);
        }
    }

    for (kind = 0; kind < NGX_HTTP_NUCLEUS_KINDS; kind++) {
        if (ngx_http_nucleus_add_own(r, ctx, zone, kind, &parties[kind])
            != NGX_OK)
        {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


/* whom the limits of each kind count, and what the registry allows them */

static void
ngx_http_nucleus_set_parties(ngx_http_nucleus_ctx_t *ctx,
    ngx_http_nucleus_party_t *parties)
{
    ngx_http_nucleus_auth_t  *auth;

    ngx_memzero(parties,
                NGX_HTTP_NUCLEUS_KINDS * sizeof(ngx_http_nucleus_party_t));

    auth = ctx->auth;

    if (auth) {
        parties[NGX_HTTP_NUCLEUS_KEY].known = 1;

        if (auth->key_limited) {
            parties[NGX_HTTP_NUCLEUS_KEY].own = auth->key_limits;
        }

        if (auth->tenant_limited) {
            parties[NGX_HTTP_NUCLEUS_TENANT].own = auth->tenant_limits;
        }
    }

    parties[NGX_HTTP_NUCLEUS_TENANT].known = 1;
    parties[NGX_HTTP_NUCLEUS_ADDRESS].known = 1;
}


static ngx_int_t
ngx_http_nucleus_add_own(ngx_http_request_t *r, ngx_http_nucleus_ctx_t *ctx,
    ngx_shm_zone_t *zone, ngx_uint_t kind,
    ngx_http_nucleus_party_t *party)
{
    uint64_t                   burst;
    nuc_unit_t                 unit;
    const nuc_limit_t         *own;
    ngx_http_nucleus_limit_t  *limit;

    if (!party->known || party->own == NULL) {
        return NGX_OK;
    }

    for (unit = 0; unit < NUC_UNIT_COUNT; unit++) {

        own = &party->own[unit];

        if (own->rate == 0) {
            continue;
        }

        limit = ngx_palloc(r->pool, sizeof(ngx_http_nucleus_limit_t));
        if (limit == NULL) {
            return NGX_ERROR;
        }

        burst = own->burst ? own->burst : own->rate;

        limit->kind = kind;
        limit->unit = unit;
        limit->value.rate = ngx_min(own->rate, NUC_BUCKET_MAX);
        limit->value.burst = ngx_min(burst, NUC_BUCKET_MAX);

        if (ngx_http_nucleus_set_policy(r->pool, limit) != NGX_OK) {
            return NGX_ERROR;
        }

        ngx_http_nucleus_add_bucket(ctx, zone, limit, party);
    }

    return NGX_OK;
}


static void
ngx_http_nucleus_add_bucket(ngx_http_nucleus_ctx_t *ctx, ngx_shm_zone_t *zone,
    const ngx_http_nucleus_limit_t *limit, ngx_http_nucleus_party_t *party)
{
    nuc_bucket_table_t         *table;
    ngx_http_nucleus_bucket_t  *b;

    table = ngx_http_nucleus_get_table(zone, limit->kind);

    if (!party->named) {
        party->name = ngx_http_nucleus_name(ctx, table, limit->kind);
        party->named = 1;
    }

    b = &ctx->buckets[ctx->nbuckets++];

    b->limit = limit;
    b->table = table;
    b->tag = nuc_bucket_tag(limit->kind * NUC_UNIT_COUNT + limit->unit,
                            party->name, &limit->value);
    b->taken = 0;
    b->at = 0;
    b->left = 0;
}


/* the lineage of a key was drawn at random; what others choose is hashed */

static uint64_t
ngx_http_nucleus_name(ngx_http_nucleus_ctx_t *ctx, nuc_bucket_table_t *table,
    ngx_uint_t kind)
{
    switch (kind) {

    case NGX_HTTP_NUCLEUS_KEY:
        return ctx->auth->lineage;

    case NGX_HTTP_NUCLEUS_TENANT:
        return nuc_bucket_name(table, ngx_http_nucleus_str(&ctx->tenant));

    default: /* NGX_HTTP_NUCLEUS_ADDRESS */
        return ngx_http_nucleus_name_address(ctx->request->connection, table);
    }
}


static uint64_t
ngx_http_nucleus_name_address(ngx_connection_t *c, nuc_bucket_table_t *table)
{
    uint64_t  address;

    address = ngx_http_nucleus_address(c);

    return nuc_bucket_name(table, (nuc_str_t) { (u_char *) &address,
                                                sizeof(uint64_t) });
}


static ngx_int_t
ngx_http_nucleus_take(ngx_http_request_t *r, ngx_http_nucleus_ctx_t *ctx,
    const uint64_t *amounts)
{
    uint64_t                     n, now;
    ngx_uint_t                   i;
    ngx_http_nucleus_bucket_t   *b;
    ngx_http_nucleus_refusal_t   refusal;

    if (ctx->nbuckets == 0) {
        return NGX_OK;
    }

    now = ngx_http_nucleus_now();

    refusal.bucket = NULL;

    for (i = 0; i < ctx->nbuckets; i++) {

        b = &ctx->buckets[i];
        n = amounts[b->limit->unit];

        if (n) {
            ngx_http_nucleus_take_one(b, n, now, &refusal);
        }
    }

    if (refusal.bucket == NULL) {
        return NGX_OK;
    }

    ngx_http_nucleus_give_back(ctx, now);

    return ngx_http_nucleus_refuse_limit(r, ctx, &refusal);
}


/* of those that refuse, the one that does so longest is told of */

static void
ngx_http_nucleus_take_one(ngx_http_nucleus_bucket_t *b, uint64_t n,
    uint64_t now, ngx_http_nucleus_refusal_t *refusal)
{
    nuc_rc_t             rc;
    nuc_bucket_answer_t  answer;

    if (refusal->bucket == NULL) {
        rc = nuc_bucket_take(b->table, b->tag, &b->limit->value, n, now,
                             &answer);

    } else {
        rc = nuc_bucket_peek(b->table, b->tag, &b->limit->value, n, now,
                             &answer);
    }

    if (rc == NUC_OK) {

        if (refusal->bucket == NULL) {
            b->taken = n;
            b->at = now;
            b->left = answer.left;
        }

        return;
    }

    if (refusal->bucket == NULL || answer.wait > refusal->answer.wait) {
        refusal->bucket = b;
        refusal->n = n;
        refusal->answer = answer;
    }
}


static void
ngx_http_nucleus_give_back(ngx_http_nucleus_ctx_t *ctx, uint64_t now)
{
    ngx_uint_t  i;

    for (i = 0; i < ctx->nbuckets; i++) {
        ngx_http_nucleus_give_one(&ctx->buckets[i], now);
    }
}


static void
ngx_http_nucleus_give_one(ngx_http_nucleus_bucket_t *b, uint64_t now)
{
    if (b->taken == 0) {
        return;
    }

    nuc_bucket_give(b->table, b->tag, &b->limit->value, b->taken, b->at, now);

    b->taken = 0;
}


/*
 * RFC 6585, section 4: 429 is for what may be sent again later.  What is
 * larger than the burst never fits, which is RFC 9110's 413, without a time
 */

static ngx_int_t
ngx_http_nucleus_refuse_limit(ngx_http_request_t *r,
    ngx_http_nucleus_ctx_t *ctx, ngx_http_nucleus_refusal_t *refusal)
{
    u_char                          *p;
    uint64_t                         wait;
    ngx_int_t                        status;
    ngx_http_nucleus_problem_t      *problem;
    const ngx_http_nucleus_limit_t  *limit;

    wait = refusal->answer.wait;
    limit = refusal->bucket->limit;

    ngx_http_nucleus_count_limit(NGX_HTTP_NUCLEUS_LIMIT(limit->kind,
                                                        limit->unit));

    if (wait == NUC_BUCKET_NEVER) {
        status = ngx_http_nucleus_refuse(r, NGX_HTTP_NUCLEUS_BATCH_TOO_LARGE,
                                         0);
    } else {
        status = ngx_http_nucleus_refuse(r, NGX_HTTP_NUCLEUS_RATE_LIMITED,
                        (wait + NGX_HTTP_NUCLEUS_NS - 1) / NGX_HTTP_NUCLEUS_NS);
    }

    problem = ctx->problem;

    if (problem == NULL) {
        return status;
    }

    problem->limit = limit;

    p = ngx_pnalloc(r->pool, NGX_HTTP_NUCLEUS_DETAIL_LEN);
    if (p == NULL) {
        return status;
    }

    problem->detail.data = p;

    p = ngx_sprintf(p, "over the limit of %s of this %s, %uL/s with a burst "
                    "of %uL: ",
                    ngx_http_nucleus_units[limit->unit],
                    ngx_http_nucleus_kinds[limit->kind],
                    limit->value.rate, limit->value.burst);

    if (wait == NUC_BUCKET_NEVER) {
        p = ngx_sprintf(p, "%uL never fit, ", refusal->n);

    } else if (limit->unit != NUC_UNIT_REQUESTS) {
        p = ngx_sprintf(p, "of %uL, ", refusal->n);
    }

    p = ngx_sprintf(p, "%uL would fit now", refusal->answer.left);

    problem->detail.len = p - problem->detail.data;

    return status;
}


/* the wrong keys of the address lately, of which one is forgotten in 5 seconds */

ngx_uint_t
ngx_http_nucleus_count_failure(ngx_http_request_t *r)
{
    uint64_t              tag, now;
    ngx_shm_zone_t       *zone;
    nuc_bucket_table_t   *table;
    nuc_bucket_answer_t   answer;

    /* in thousandths */

    static const nuc_bucket_limit_t  limit = {
        .rate = 200,
        .burst = NGX_HTTP_NUCLEUS_FAILURES * 1000
    };

    zone = ngx_http_nucleus_get_zone(r);
    if (zone == NULL) {
        return 0;
    }

    table = ngx_http_nucleus_get_table(zone, NGX_HTTP_NUCLEUS_ADDRESS);
    now = ngx_http_nucleus_now();

    tag = nuc_bucket_tag(NGX_HTTP_NUCLEUS_KINDS * NUC_UNIT_COUNT,
                         ngx_http_nucleus_name_address(r->connection, table),
                         &limit);

    (void) nuc_bucket_take(table, tag, &limit, 1000, now, &answer);

    return NGX_HTTP_NUCLEUS_FAILURES - answer.left / 1000;
}


/* draft-ietf-httpapi-ratelimit-headers-11, section 5.1 */

void
ngx_http_nucleus_write_violated(const ngx_http_nucleus_limit_t *limit,
    nuc_buf_t *out)
{
    nuc_buf_printf(out, ",\"violated-policies\":[\"%s-%s\"]",
                   ngx_http_nucleus_kinds[limit->kind],
                   ngx_http_nucleus_units[limit->unit]);
}


/*
 * draft-ietf-httpapi-ratelimit-headers-11, section 3: the burst is the quota,
 * and its window the time in which the rate makes as much, so that who keeps
 * to it is never refused
 */

ngx_int_t
ngx_http_nucleus_set_policy(ngx_pool_t *pool, ngx_http_nucleus_limit_t *limit)
{
    u_char    *p;
    uint64_t   rate, burst;

    p = ngx_pnalloc(pool, NGX_HTTP_NUCLEUS_POLICY_LEN);
    if (p == NULL) {
        return NGX_ERROR;
    }

    rate = limit->value.rate;
    burst = limit->value.burst;

    limit->policy.data = p;

    p = ngx_sprintf(p, "\"%s-%s\"", ngx_http_nucleus_kinds[limit->kind],
                    ngx_http_nucleus_units[limit->unit]);

    limit->name = p - limit->policy.data;

    p = ngx_sprintf(p, ";q=%uL%s;w=%uL;nucleus-rate=%uL", burst,
                    ngx_http_nucleus_quota_units[limit->unit],
                    (burst + rate - 1) / rate, rate);

    limit->policy.len = p - limit->policy.data;

    return NGX_OK;
}


ngx_int_t
ngx_http_nucleus_add_limit_headers(ngx_http_request_t *r,
    ngx_http_nucleus_ctx_t *ctx)
{
    size_t                      len;
    u_char                     *p, *last;
    ngx_str_t                   policy, state;
    ngx_uint_t                  i;
    ngx_http_nucleus_bucket_t  *b;

    if (ctx->nbuckets == 0) {
        return NGX_OK;
    }

    b = ctx->buckets;
    len = 0;

    for (i = 0; i < ctx->nbuckets; i++) {
        len += b[i].limit->policy.len + NGX_HTTP_NUCLEUS_STATE_LEN + 4;
    }

    p = ngx_pnalloc(r->pool, len);
    if (p == NULL) {
        return NGX_ERROR;
    }

    last = p + len;
    policy.data = p;

    for (i = 0; i < ctx->nbuckets; i++) {

        if (i) {
            *p++ = ','; *p++ = ' ';
        }

        p = ngx_cpymem(p, b[i].limit->policy.data, b[i].limit->policy.len);
    }

    policy.len = p - policy.data;

    /* the states from the last to the first, as the digits of their numbers */

    p = last;

    for (i = ctx->nbuckets; i > 0; i--) {

        if (i < ctx->nbuckets) {
            *--p = ' '; *--p = ',';
        }

        p = ngx_http_nucleus_write_state(ctx, &b[i - 1], p);
    }

    state.data = p;
    state.len = last - p;

    if (ngx_http_nucleus_add_header(r, "RateLimit-Policy", &policy) != NGX_OK) {
        return NGX_ERROR;
    }

    return ngx_http_nucleus_add_header(r, "RateLimit", &state);
}


/*
 * Before "p".  The window is the time in which the rate makes what is left, so
 * that their ratio is no invitation to more; it ends before Retry-After
 */

static u_char *
ngx_http_nucleus_write_state(ngx_http_nucleus_ctx_t *ctx,
    ngx_http_nucleus_bucket_t *b, u_char *p)
{
    uint64_t                         window, rate, left;
    nuc_bucket_answer_t              answer;
    const ngx_http_nucleus_limit_t  *limit;

    limit = b->limit;
    rate = limit->value.rate;
    left = b->left;

    /* what it has taken told it, as of a moment ago */

    if (b->taken == 0) {
        (void) nuc_bucket_peek(b->table, b->tag, &limit->value, 0,
                               ngx_http_nucleus_now(), &answer);

        left = answer.left;
    }

    window = ngx_max((left + rate - 1) / rate, 1);

    if (ctx->problem && ctx->problem->retry_after) {
        window = ngx_min(window, ctx->problem->retry_after);
    }

    p = ngx_http_nucleus_write_number(p, window);

    p -= 3;
    ngx_memcpy(p, ";t=", 3);

    p = ngx_http_nucleus_write_number(p, left);

    p -= 3;
    ngx_memcpy(p, ";r=", 3);

    p -= limit->name;
    ngx_memcpy(p, limit->policy.data, limit->name);

    return p;
}


/*
 * Before "p", two digits at a time.  ngx_sprintf() takes as long for six of
 * them as the limits themselves
 */

static u_char *
ngx_http_nucleus_write_number(u_char *p, uint64_t number)
{
    static const char  pairs[] =
        "0001020304050607080910111213141516171819"
        "2021222324252627282930313233343536373839"
        "4041424344454647484950515253545556575859"
        "6061626364656667686970717273747576777879"
        "8081828384858687888990919293949596979899";

    while (number >= 100) {
        p -= 2;
        ngx_memcpy(p, &pairs[2 * (number % 100)], 2);
        number /= 100;
    }

    if (number >= 10) {
        p -= 2;
        ngx_memcpy(p, &pairs[2 * number], 2);
        return p;
    }

    *--p = (u_char) ('0' + number);

    return p;
}


/* NULL: there are no limits */

static ngx_shm_zone_t *
ngx_http_nucleus_get_zone(ngx_http_request_t *r)
{
    ngx_http_nucleus_main_conf_t  *nmcf;

    nmcf = ngx_http_get_module_main_conf(r, ngx_http_nucleus_module);

    return nmcf->limited ? nmcf->zone : NULL;
}


/* ns; unlike ngx_current_msec it is not as old as the events of this round */

static uint64_t
ngx_http_nucleus_now(void)
{
    struct timespec  ts;

    (void) clock_gettime(CLOCK_MONOTONIC_COARSE, &ts);

    return (uint64_t) ts.tv_sec * NGX_HTTP_NUCLEUS_NS + ts.tv_nsec;
}
