
/*
 * The metrics, as text for Prometheus, as OpenMetrics or as JSON.
 *
 * With many tenants and streams the page is long, and the event loop has others
 * to serve: it is made in pieces, each in a fraction of a millisecond, and the
 * next only when the client has taken the one before.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_http_nucleus_metrics.h"

#include "nuc_exposition.h"
#include "nuc_time.h"
#include "nuc_version.h"


/* a piece: at most so many bytes, or us; the clock is asked every few samples */
#define NGX_HTTP_NUCLEUS_PIECE_SIZE     16384
#define NGX_HTTP_NUCLEUS_PIECE_TIME     250
#define NGX_HTTP_NUCLEUS_PIECE_SAMPLES  32


typedef struct {
    ngx_http_nucleus_meter_t       sum;
    ngx_uint_t                     processes;
    uint64_t                       generation;    /* the oldest in use */
    uint64_t                       newest;
} ngx_http_nucleus_totals_t;


typedef struct {
    ngx_http_request_t            *request;
    ngx_http_nucleus_metrics_t    *metrics;
    ngx_http_nucleus_totals_t      totals;

    nuc_exposition_t               exposition;
    nuc_buf_t                      text;
    ngx_uint_t                     family;
    size_t                         series;        /* the next of a family */

    ngx_chain_t                   *free;
    ngx_chain_t                   *busy;
    ngx_event_t                    next;
    uint64_t                       started;       /* us, the piece */
    ngx_uint_t                     samples;       /* until the clock is asked */
    unsigned                       last:1;
} ngx_http_nucleus_page_t;


/* writes samples of a family; NGX_AGAIN: there are more */

typedef ngx_int_t (*ngx_http_nucleus_family_pt)(ngx_http_nucleus_page_t *page);

typedef struct {
    nuc_metric_t                   metric;
    ngx_http_nucleus_family_pt     write;
} ngx_http_nucleus_family_t;


static ngx_http_nucleus_page_t *ngx_http_nucleus_create_page(
    ngx_http_request_t *r);
static void ngx_http_nucleus_free_page(void *data);
static nuc_exposition_format_t ngx_http_nucleus_get_format(
    ngx_http_request_t *r);
static void ngx_http_nucleus_sum_meters(ngx_http_nucleus_page_t *page);
static void ngx_http_nucleus_add_meter(ngx_http_nucleus_totals_t *totals,
    ngx_http_nucleus_meter_t *meter);
static void ngx_http_nucleus_add_histogram(ngx_http_nucleus_histogram_t *sum,
    ngx_http_nucleus_histogram_t *h);
static ngx_int_t ngx_http_nucleus_send_page(ngx_http_nucleus_page_t *page);
static void ngx_http_nucleus_next_handler(ngx_event_t *ev);
static void ngx_http_nucleus_page_writer(ngx_http_request_t *r);
static void ngx_http_nucleus_continue_page(ngx_http_request_t *r,
    ngx_http_nucleus_page_t *page);
static void ngx_http_nucleus_write_piece(ngx_http_nucleus_page_t *page);
static ngx_uint_t ngx_http_nucleus_is_piece(ngx_http_nucleus_page_t *page);
static ngx_int_t ngx_http_nucleus_send_piece(ngx_http_nucleus_page_t *page);

static ngx_int_t ngx_http_nucleus_write_requests(ngx_http_nucleus_page_t *page);
static ngx_int_t ngx_http_nucleus_write_events(ngx_http_nucleus_page_t *page);
static ngx_int_t ngx_http_nucleus_write_bytes(ngx_http_nucleus_page_t *page);
static ngx_int_t ngx_http_nucleus_write_overflow(ngx_http_nucleus_page_t *page);
static ngx_int_t ngx_http_nucleus_write_problems(ngx_http_nucleus_page_t *page);
static ngx_int_t ngx_http_nucleus_write_failures(ngx_http_nucleus_page_t *page);
static ngx_int_t ngx_http_nucleus_write_limits(ngx_http_nucleus_page_t *page);
static ngx_int_t ngx_http_nucleus_write_durable(ngx_http_nucleus_page_t *page);
static ngx_int_t ngx_http_nucleus_write_groups(ngx_http_nucleus_page_t *page);
static ngx_int_t ngx_http_nucleus_write_syncs(ngx_http_nucleus_page_t *page);
static ngx_int_t ngx_http_nucleus_write_ready(ngx_http_nucleus_page_t *page);
static ngx_int_t ngx_http_nucleus_write_used(ngx_http_nucleus_page_t *page);
static ngx_int_t ngx_http_nucleus_write_max_size(ngx_http_nucleus_page_t *page);
static ngx_int_t ngx_http_nucleus_write_free(ngx_http_nucleus_page_t *page);
static ngx_int_t ngx_http_nucleus_write_min_free(ngx_http_nucleus_page_t *page);
static ngx_int_t ngx_http_nucleus_write_inflight(ngx_http_nucleus_page_t *page);
static ngx_int_t ngx_http_nucleus_write_max_inflight(
    ngx_http_nucleus_page_t *page);
static ngx_int_t ngx_http_nucleus_write_processes(
    ngx_http_nucleus_page_t *page);
static ngx_int_t ngx_http_nucleus_write_generation(
    ngx_http_nucleus_page_t *page);
static ngx_int_t ngx_http_nucleus_write_newest(ngx_http_nucleus_page_t *page);
static ngx_int_t ngx_http_nucleus_write_known(ngx_http_nucleus_page_t *page);
static ngx_int_t ngx_http_nucleus_write_age(ngx_http_nucleus_page_t *page);
static ngx_int_t ngx_http_nucleus_write_build(ngx_http_nucleus_page_t *page);

static ngx_int_t ngx_http_nucleus_write_series(ngx_http_nucleus_page_t *page,
    const char *const *results, ngx_uint_t first, ngx_uint_t n);
static uint64_t ngx_http_nucleus_overflow(ngx_http_nucleus_page_t *page);
static void ngx_http_nucleus_write_queues(ngx_http_nucleus_page_t *page,
    const nuc_histogram_kind_t *kind, ngx_http_nucleus_histogram_t *histograms);


static const char *const  ngx_http_nucleus_request_results[] = {
    "accepted", "invalid", "denied", "limited", "unavailable", "unknown",
    "aborted", "failed"
};

static const char *const  ngx_http_nucleus_event_results[] = {
    "accepted", "refused", "unknown"
};

static const char *const  ngx_http_nucleus_limit_names[] = {
    "key-requests", "key-events", "key-bytes",
    "tenant-requests", "tenant-events", "tenant-bytes",
    "address-requests", "address-events", "address-bytes",
    "tenant-events-a-day", "tenant-queue-bytes", "tenant-inflight"
};

static const char *const  ngx_http_nucleus_queue_names[] = {
    "small", "large"
};


static const ngx_http_nucleus_family_t  ngx_http_nucleus_families[] = {

    { { "nucleus_requests", NUC_METRIC_COUNTER, NULL,
        "Requests to locations that take events, by result." },
      ngx_http_nucleus_write_requests },

    { { "nucleus_events", NUC_METRIC_COUNTER, NULL,
        "Events: accepted are durable, refused were parsed and not stored, "
        "unknown may be stored." },
      ngx_http_nucleus_write_events },

    { { "nucleus_event_bytes", NUC_METRIC_COUNTER, "bytes",
        "Bytes of accepted events, as their records are stored." },
      ngx_http_nucleus_write_bytes },

    { { "nucleus_series_overflow", NUC_METRIC_COUNTER, NULL,
        "Requests that are counted under the tenant _other, because "
        "nucleus_zone has no room for more tenants and streams." },
      ngx_http_nucleus_write_overflow },

    { { "nucleus_problems", NUC_METRIC_COUNTER, NULL,
        "Refused requests, by the type of the problem." },
      ngx_http_nucleus_write_problems },

    { { "nucleus_auth_failures", NUC_METRIC_COUNTER, NULL,
        "Requests that were not let in, by reason." },
      ngx_http_nucleus_write_failures },

    { { "nucleus_limited", NUC_METRIC_COUNTER, NULL,
        "Requests that a limit or a quota refused." },
      ngx_http_nucleus_write_limits },

    { { "nucleus_durable_seconds", NUC_METRIC_HISTOGRAM, "seconds",
        "Time from a whole body to durable events." },
      ngx_http_nucleus_write_durable },

    { { "nucleus_group_records", NUC_METRIC_HISTOGRAM, NULL,
        "Records of a group, which is one wait for the disk." },
      ngx_http_nucleus_write_groups },

    { { "nucleus_sync_seconds", NUC_METRIC_HISTOGRAM, "seconds",
        "Time that the disk took for a group." },
      ngx_http_nucleus_write_syncs },

    { { "nucleus_queue_ready", NUC_METRIC_GAUGE, NULL,
        "Whether all processes' queues accept events." },
      ngx_http_nucleus_write_ready },

    { { "nucleus_queue_bytes", NUC_METRIC_GAUGE, "bytes",
        "Bytes of the log's files, of all processes." },
      ngx_http_nucleus_write_used },

    { { "nucleus_queue_max_bytes", NUC_METRIC_GAUGE, "bytes",
        "The max_size of nucleus_queue." },
      ngx_http_nucleus_write_max_size },

    { { "nucleus_queue_free_bytes", NUC_METRIC_GAUGE, "bytes",
        "Bytes that are free on the log's file system." },
      ngx_http_nucleus_write_free },

    { { "nucleus_queue_min_free_bytes", NUC_METRIC_GAUGE, "bytes",
        "The min_free of nucleus_queue." },
      ngx_http_nucleus_write_min_free },

    { { "nucleus_inflight_bytes", NUC_METRIC_GAUGE, "bytes",
        "Bytes of bodies and records in memory, of all processes." },
      ngx_http_nucleus_write_inflight },

    { { "nucleus_inflight_max_bytes", NUC_METRIC_GAUGE, "bytes",
        "The nucleus_max_inflight of all processes together." },
      ngx_http_nucleus_write_max_inflight },

    { { "nucleus_processes", NUC_METRIC_GAUGE, NULL,
        "Processes of nginx that take events, also while they quit." },
      ngx_http_nucleus_write_processes },

    { { "nucleus_registry_generation", NUC_METRIC_GAUGE, NULL,
        "The oldest generation of the registry that a process uses." },
      ngx_http_nucleus_write_generation },

    { { "nucleus_registry_newest_generation", NUC_METRIC_GAUGE, NULL,
        "The newest generation of the registry that a process uses." },
      ngx_http_nucleus_write_newest },

    { { "nucleus_registry_ready", NUC_METRIC_GAUGE, NULL,
        "Whether all processes have taken up the registry's snapshot as it is, "
        "and it is no older than max_age." },
      ngx_http_nucleus_write_known },

    { { "nucleus_registry_age_seconds", NUC_METRIC_GAUGE, "seconds",
        "Time since the registry's snapshot that is in use was written." },
      ngx_http_nucleus_write_age },

    { { "nucleus_build_info", NUC_METRIC_GAUGE, NULL,
        "1; its labels tell the versions." },
      ngx_http_nucleus_write_build }
};

#define NGX_HTTP_NUCLEUS_FAMILIES                                             \
    (sizeof(ngx_http_nucleus_families) / sizeof(ngx_http_nucleus_families[0]))


ngx_int_t
ngx_http_nucleus_status_handler(ngx_http_request_t *r)
{
    ngx_int_t                 rc;
    ngx_http_nucleus_page_t  *page;

    if (!(r->method & (NGX_HTTP_GET|NGX_HTTP_HEAD))) {
        return NGX_HTTP_NOT_ALLOWED;
    }

    rc = ngx_http_discard_request_body(r);
    if (rc != NGX_OK) {
        return rc;
    }

    page = ngx_http_nucleus_create_page(r);
    if (page == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    r->headers_out.status = NGX_HTTP_OK;
    r->headers_out.content_type.data = (u_char *) nuc_exposition_content_type(
                                                      page->exposition.format);
    r->headers_out.content_type.len = ngx_strlen(
                                              r->headers_out.content_type.data);

    /* for gzip_types and the like, without the parameters */

    r->headers_out.content_type_len = strcspn(
                          (char *) r->headers_out.content_type.data, ";");
    r->headers_out.content_type_lowcase = NULL;

    ngx_http_clear_content_length(r);
    ngx_http_clear_accept_ranges(r);

    rc = ngx_http_send_header(r);

    if (rc == NGX_ERROR || rc > NGX_OK || r->header_only) {
        return rc;
    }

    r->read_event_handler = ngx_http_nucleus_waiting_handler;
    r->write_event_handler = ngx_http_nucleus_page_writer;

    rc = ngx_http_nucleus_send_page(page);

    if (rc != NGX_DONE) {
        return rc;
    }

    r->main->count++;

    return NGX_DONE;
}


static ngx_http_nucleus_page_t *
ngx_http_nucleus_create_page(ngx_http_request_t *r)
{
    ngx_pool_cleanup_t            *cln;
    ngx_http_nucleus_ctx_t        *ctx;
    ngx_http_nucleus_page_t       *page;
    ngx_http_nucleus_main_conf_t  *nmcf;

    ctx = ngx_http_nucleus_get_ctx(r);
    if (ctx == NULL) {
        return NULL;
    }

    cln = ngx_pool_cleanup_add(r->pool, sizeof(ngx_http_nucleus_page_t));
    if (cln == NULL) {
        return NULL;
    }

    page = cln->data;

    ngx_memzero(page, sizeof(ngx_http_nucleus_page_t));

    cln->handler = ngx_http_nucleus_free_page;

    ctx->page = page;

    nmcf = ngx_http_get_module_main_conf(r, ngx_http_nucleus_module);

    page->request = r;
    page->metrics = ngx_http_nucleus_get_metrics(nmcf->zone);
    page->text = NUC_BUF_INIT;

    page->next.handler = ngx_http_nucleus_next_handler;
    page->next.data = page;
    page->next.log = r->connection->log;

    /* this process' own are as of now, the others' as of a second ago */

    ngx_http_nucleus_publish_meter();
    ngx_http_nucleus_sum_meters(page);

    nuc_exposition_begin(&page->exposition, ngx_http_nucleus_get_format(r),
                         &page->text);

    nuc_exposition_family(&page->exposition,
                          &ngx_http_nucleus_families[0].metric);

    return page;
}


static void
ngx_http_nucleus_free_page(void *data)
{
    ngx_http_nucleus_page_t *page = data;

    if (page->next.posted) {
        ngx_delete_posted_event(&page->next);
    }

    nuc_buf_free(&page->text);
}


/* several Accept are one list: RFC 9110, section 5.3; the first will do */

static nuc_exposition_format_t
ngx_http_nucleus_get_format(ngx_http_request_t *r)
{
    nuc_str_t         accept;
    ngx_uint_t        i;
    ngx_list_part_t  *part;
    ngx_table_elt_t  *h;

    accept = (nuc_str_t) { NULL, 0 };

    part = &r->headers_in.headers.part;
    h = part->elts;

    for (i = 0; /* void */ ; i++) {

        if (i >= part->nelts) {
            if (part->next == NULL) {
                break;
            }

            part = part->next;
            h = part->elts;
            i = 0;
        }

        if (h[i].key.len == sizeof("Accept") - 1
            && ngx_strncasecmp(h[i].key.data, (u_char *) "Accept",
                               sizeof("Accept") - 1)
               == 0)
        {
            accept = ngx_http_nucleus_str(&h[i].value);
            break;
        }
    }

    return nuc_exposition_negotiate(accept);
}


static void
ngx_http_nucleus_sum_meters(ngx_http_nucleus_page_t *page)
{
    ngx_uint_t                  i;
    ngx_http_nucleus_totals_t  *totals;

    totals = &page->totals;

    totals->sum.ready[0] = 1;
    totals->sum.ready[1] = 1;
    totals->sum.known = 1;

    for (i = 0; i < page->metrics->nmeters; i++) {
        ngx_http_nucleus_add_meter(totals, &page->metrics->meters[i]);
    }
}


static void
ngx_http_nucleus_add_meter(ngx_http_nucleus_totals_t *totals,
    ngx_http_nucleus_meter_t *meter)
{
    ngx_pid_t                  pid;
    ngx_uint_t                 i;
    ngx_http_nucleus_meter_t  *sum;

    sum = &totals->sum;

    for (i = 0; i < NGX_HTTP_NUCLEUS_MAX_PROBLEMS; i++) {
        sum->problems[i] += meter->problems[i];
    }

    for (i = 0; i < NGX_HTTP_NUCLEUS_LIMITS; i++) {
        sum->limits[i] += meter->limits[i];
    }

    for (i = 0; i < NGX_HTTP_NUCLEUS_QUEUES; i++) {
        ngx_http_nucleus_add_histogram(&sum->durable[i], &meter->durable[i]);
        ngx_http_nucleus_add_histogram(&sum->group_records[i],
                                       &meter->group_records[i]);
        ngx_http_nucleus_add_histogram(&sum->group_wait[i],
                                       &meter->group_wait[i]);
    }

    /* the moment of one that was killed is past */

    pid = (ngx_pid_t) meter->pid;

    if (pid == 0 || (kill(pid, 0) == -1 && ngx_errno == ESRCH)) {
        return;
    }

    totals->processes++;

    sum->ready[0] &= meter->ready[0];
    sum->ready[1] &= meter->ready[1];
    sum->known &= meter->known;
    sum->inflight += meter->inflight;
    sum->max_inflight += meter->max_inflight;

    if (totals->processes == 1 || meter->generation < totals->generation) {
        totals->generation = meter->generation;
    }

    totals->newest = ngx_max(totals->newest, meter->generation);
}


static void
ngx_http_nucleus_add_histogram(ngx_http_nucleus_histogram_t *sum,
    ngx_http_nucleus_histogram_t *h)
{
    ngx_uint_t  i;

    for (i = 0; i < NUC_HISTOGRAM_BUCKETS; i++) {
        sum->buckets[i] += h->buckets[i];
    }

    sum->sum += h->sum;
}


/*
 * NGX_DONE: it goes on by itself, after others have had their turn, or when
 * the client has taken what it got
 */

static ngx_int_t
ngx_http_nucleus_send_page(ngx_http_nucleus_page_t *page)
{
    ngx_connection_t          *c;
    ngx_http_request_t        *r;
    ngx_http_core_loc_conf_t  *clcf;

    r = page->request;
    c = r->connection;

    if (page->busy == NULL) {

        ngx_http_nucleus_write_piece(page);

        if (ngx_http_nucleus_send_piece(page) != NGX_OK) {
            return NGX_ERROR;
        }
    }

    /* what is left of the last piece nginx sends */

    if (page->last) {
        return NGX_OK;
    }

    if (page->busy == NULL) {
        ngx_post_event(&page->next, &ngx_posted_next_events);
        return NGX_DONE;
    }

    clcf = ngx_http_get_module_loc_conf(r, ngx_http_core_module);

    if (!c->write->delayed) {
        ngx_add_timer(c->write, clcf->send_timeout);
    }

    if (ngx_handle_write_event(c->write, clcf->send_lowat) != NGX_OK) {
        return NGX_ERROR;
    }

    return NGX_DONE;
}


static void
ngx_http_nucleus_next_handler(ngx_event_t *ev)
{
    ngx_connection_t         *c;
    ngx_http_request_t       *r;
    ngx_http_nucleus_page_t  *page;

    page = ev->data;
    r = page->request;
    c = r->connection;

    ngx_http_set_log_request(c->log, r);

    ngx_http_nucleus_continue_page(r, page);

    ngx_http_run_posted_requests(c);
}


/* the client takes more, or has not for too long */

static void
ngx_http_nucleus_page_writer(ngx_http_request_t *r)
{
    ngx_int_t                 rc;
    ngx_chain_t              *out;
    ngx_event_t              *wev;
    ngx_http_nucleus_ctx_t   *ctx;
    ngx_http_nucleus_page_t  *page;

    wev = r->connection->write;

    if (wev->timedout) {
        ngx_log_error(NGX_LOG_INFO, r->connection->log, NGX_ETIMEDOUT,
                      "client timed out");
        r->connection->timedout = 1;

        ngx_http_finalize_request(r, NGX_HTTP_REQUEST_TIME_OUT);
        return;
    }

    if (wev->delayed) {
        if (ngx_handle_write_event(wev, 0) != NGX_OK) {
            ngx_http_finalize_request(r, NGX_ERROR);
        }

        return;
    }

    ctx = ngx_http_get_module_ctx(r, ngx_http_nucleus_module);
    page = ctx->page;

    if (page->next.posted) {
        return;
    }

    if (wev->timer_set) {
        ngx_del_timer(wev);
    }

    rc = ngx_http_output_filter(r, NULL);

    if (rc == NGX_ERROR) {
        ngx_http_finalize_request(r, NGX_ERROR);
        return;
    }

    out = NULL;

    ngx_chain_update_chains(r->pool, &page->free, &page->busy, &out,
                            (ngx_buf_tag_t) &ngx_http_nucleus_module);

    ngx_http_nucleus_continue_page(r, page);
}


static void
ngx_http_nucleus_continue_page(ngx_http_request_t *r,
    ngx_http_nucleus_page_t *page)
{
    ngx_int_t  rc;

    rc = ngx_http_nucleus_send_page(page);

    if (rc != NGX_DONE) {
        ngx_http_finalize_request(r, rc);
    }
}


static void
ngx_http_nucleus_write_piece(ngx_http_nucleus_page_t *page)
{
    page->started = nuc_time_monotonic();
    page->samples = 0;

    do {
        if (ngx_http_nucleus_families[page->family].write(page) == NGX_AGAIN) {
            return;
        }

        page->series = 0;

        if (++page->family == NGX_HTTP_NUCLEUS_FAMILIES) {
            nuc_exposition_end(&page->exposition);
            page->last = 1;
            return;
        }

        nuc_exposition_family(&page->exposition,
                              &ngx_http_nucleus_families[page->family].metric);

    } while (!ngx_http_nucleus_is_piece(page));
}


/* is it large enough, or has it taken long enough? */

static ngx_uint_t
ngx_http_nucleus_is_piece(ngx_http_nucleus_page_t *page)
{
    if (page->text.len >= NGX_HTTP_NUCLEUS_PIECE_SIZE) {
        return 1;
    }

    if (page->samples++ < NGX_HTTP_NUCLEUS_PIECE_SAMPLES) {
        return 0;
    }

    page->samples = 0;

    return nuc_time_monotonic() - page->started >= NGX_HTTP_NUCLEUS_PIECE_TIME;
}


static ngx_int_t
ngx_http_nucleus_send_piece(ngx_http_nucleus_page_t *page)
{
    ngx_buf_t           *b;
    ngx_int_t            rc;
    ngx_chain_t         *out;
    ngx_http_request_t  *r;

    r = page->request;

    if (page->text.failed) {
        ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                      "nucleus has no memory for a page of metrics");
        return NGX_ERROR;
    }

    /* most of a table may be empty */

    if (page->text.len == 0 && !page->last) {
        return NGX_OK;
    }

    out = ngx_chain_get_free_buf(r->pool, &page->free);
    if (out == NULL) {
        return NGX_ERROR;
    }

    b = out->buf;

    if ((size_t) (b->end - b->start) < page->text.len) {

        b->start = ngx_palloc(r->pool, page->text.len
                                       + NGX_HTTP_NUCLEUS_PIECE_SIZE);
        if (b->start == NULL) {
            return NGX_ERROR;
        }

        b->end = b->start + page->text.len + NGX_HTTP_NUCLEUS_PIECE_SIZE;
    }

    b->pos = b->start;
    b->last = ngx_cpymem(b->pos, page->text.data, page->text.len);
    b->tag = (ngx_buf_tag_t) &ngx_http_nucleus_module;
    b->temporary = page->text.len ? 1 : 0;
    b->last_buf = (page->last && r == r->main) ? 1 : 0;
    b->last_in_chain = page->last;
    b->flush = !page->last;

    nuc_buf_reset(&page->text);

    rc = ngx_http_output_filter(r, out);

    ngx_chain_update_chains(r->pool, &page->free, &page->busy, &out,
                            (ngx_buf_tag_t) &ngx_http_nucleus_module);

    return (rc == NGX_ERROR) ? NGX_ERROR : NGX_OK;
}


/* the families */

static ngx_int_t
ngx_http_nucleus_write_requests(ngx_http_nucleus_page_t *page)
{
    return ngx_http_nucleus_write_series(page,
                                         ngx_http_nucleus_request_results,
                                         NGX_HTTP_NUCLEUS_ACCEPTED,
                                         NGX_HTTP_NUCLEUS_RESULTS);
}


static ngx_int_t
ngx_http_nucleus_write_events(ngx_http_nucleus_page_t *page)
{
    return ngx_http_nucleus_write_series(page, ngx_http_nucleus_event_results,
                                         NGX_HTTP_NUCLEUS_EVENTS_ACCEPTED, 3);
}


static ngx_int_t
ngx_http_nucleus_write_bytes(ngx_http_nucleus_page_t *page)
{
    return ngx_http_nucleus_write_series(page, NULL, NGX_HTTP_NUCLEUS_BYTES, 1);
}


/* of the results but the first, those that there were */

static ngx_int_t
ngx_http_nucleus_write_series(ngx_http_nucleus_page_t *page,
    const char *const *results, ngx_uint_t first, ngx_uint_t n)
{
    uint64_t             value;
    ngx_uint_t           i;
    nuc_label_t          labels[3];
    nuc_series_t        *series;
    nuc_series_table_t  *table;

    table = page->metrics->series;

    labels[0].name = "tenant";
    labels[1].name = "stream";
    labels[2].name = "result";

    while (page->series < nuc_series_count(table)) {

        series = nuc_series_at(table, page->series++);

        if (series && (page->series > 1 || ngx_http_nucleus_overflow(page))) {

            labels[0].value.data = series->tenant;
            labels[0].value.len = series->tenant_len;
            labels[1].value.data = series->stream;
            labels[1].value.len = series->stream_len;

            for (i = 0; i < n; i++) {
                value = nuc_series_look(series, first + i);

                if (value == 0 && i) {
                    continue;
                }

                if (results) {
                    labels[2].value = nuc_str(results[i]);
                }

                nuc_exposition_number(&page->exposition, labels,
                                      results ? 3 : 2, value);
            }
        }

        if (ngx_http_nucleus_is_piece(page)) {
            return NGX_AGAIN;
        }
    }

    return NGX_OK;
}


/* requests that had no series of their own */

static uint64_t
ngx_http_nucleus_overflow(ngx_http_nucleus_page_t *page)
{
    uint64_t       n;
    ngx_uint_t     i;
    nuc_series_t  *others;

    n = 0;
    others = nuc_series_at(page->metrics->series, 0);

    for (i = 0; i < NGX_HTTP_NUCLEUS_RESULTS; i++) {
        n += nuc_series_look(others, i);
    }

    return n;
}


static ngx_int_t
ngx_http_nucleus_write_overflow(ngx_http_nucleus_page_t *page)
{
    nuc_exposition_number(&page->exposition, NULL, 0,
                          ngx_http_nucleus_overflow(page));
    return NGX_OK;
}


/* all of them from the start, so that the first of each is a rise */

static ngx_int_t
ngx_http_nucleus_write_problems(ngx_http_nucleus_page_t *page)
{
    ngx_uint_t   i;
    nuc_label_t  label;

    label.name = "problem";

    for (i = 0; i <= NGX_HTTP_NUCLEUS_LAST_PROBLEM; i++) {
        label.value = nuc_str(ngx_http_nucleus_problem_name(i));

        nuc_exposition_number(&page->exposition, &label, 1,
                              page->totals.sum.problems[i]);
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_nucleus_write_failures(ngx_http_nucleus_page_t *page)
{
    ngx_uint_t   i, status;
    nuc_label_t  label;

    label.name = "reason";

    for (i = 0; i <= NGX_HTTP_NUCLEUS_LAST_PROBLEM; i++) {

        status = ngx_http_nucleus_problem_status(i);

        if (status != NGX_HTTP_UNAUTHORIZED && status != NGX_HTTP_FORBIDDEN
            && i != NGX_HTTP_NUCLEUS_TOO_MANY_FAILURES)
        {
            continue;
        }

        label.value = nuc_str(ngx_http_nucleus_problem_name(i));

        nuc_exposition_number(&page->exposition, &label, 1,
                              page->totals.sum.problems[i]);
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_nucleus_write_limits(ngx_http_nucleus_page_t *page)
{
    ngx_uint_t   i;
    nuc_label_t  label;

    label.name = "limit";

    for (i = 0; i < NGX_HTTP_NUCLEUS_LIMITS; i++) {
        label.value = nuc_str(ngx_http_nucleus_limit_names[i]);

        nuc_exposition_number(&page->exposition, &label, 1,
                              page->totals.sum.limits[i]);
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_nucleus_write_durable(ngx_http_nucleus_page_t *page)
{
    ngx_http_nucleus_write_queues(page, &nuc_histogram_seconds,
                                  page->totals.sum.durable);
    return NGX_OK;
}


static ngx_int_t
ngx_http_nucleus_write_groups(ngx_http_nucleus_page_t *page)
{
    ngx_http_nucleus_write_queues(page, &nuc_histogram_records,
                                  page->totals.sum.group_records);
    return NGX_OK;
}


static ngx_int_t
ngx_http_nucleus_write_syncs(ngx_http_nucleus_page_t *page)
{
    ngx_http_nucleus_write_queues(page, &nuc_histogram_seconds,
                                  page->totals.sum.group_wait);
    return NGX_OK;
}


static void
ngx_http_nucleus_write_queues(ngx_http_nucleus_page_t *page,
    const nuc_histogram_kind_t *kind, ngx_http_nucleus_histogram_t *histograms)
{
    ngx_uint_t       i, k;
    nuc_label_t      label;
    nuc_histogram_t  histogram;

    label.name = "queue";

    for (i = 0; i < NGX_HTTP_NUCLEUS_QUEUES; i++) {

        for (k = 0; k < NUC_HISTOGRAM_BUCKETS; k++) {
            histogram.buckets[k] = histograms[i].buckets[k];
        }

        histogram.sum = histograms[i].sum;

        label.value = nuc_str(ngx_http_nucleus_queue_names[i]);

        nuc_exposition_histogram(&page->exposition, &label, 1, kind,
                                 &histogram);
    }
}


static ngx_int_t
ngx_http_nucleus_write_ready(ngx_http_nucleus_page_t *page)
{
    ngx_uint_t   i;
    nuc_label_t  label;

    label.name = "queue";

    for (i = 0; i < NGX_HTTP_NUCLEUS_QUEUES; i++) {
        label.value = nuc_str(ngx_http_nucleus_queue_names[i]);

        nuc_exposition_number(&page->exposition, &label, 1,
                              page->totals.sum.ready[i]);
    }

    return NGX_OK;
}


/* each process looks at the whole log: this one's word is as good as any */

static ngx_int_t
ngx_http_nucleus_write_used(ngx_http_nucleus_page_t *page)
{
    nuc_exposition_number(&page->exposition, NULL, 0,
                        ngx_http_nucleus_process.queues[0].published.used);
    return NGX_OK;
}


static ngx_int_t
ngx_http_nucleus_write_max_size(ngx_http_nucleus_page_t *page)
{
    ngx_http_nucleus_main_conf_t  *nmcf;

    nmcf = ngx_http_get_module_main_conf(page->request,
                                         ngx_http_nucleus_module);

    nuc_exposition_number(&page->exposition, NULL, 0, nmcf->max_size);
    return NGX_OK;
}


static ngx_int_t
ngx_http_nucleus_write_free(ngx_http_nucleus_page_t *page)
{
    nuc_exposition_number(&page->exposition, NULL, 0,
                     ngx_http_nucleus_process.queues[0].published.free_bytes);
    return NGX_OK;
}


static ngx_int_t
ngx_http_nucleus_write_min_free(ngx_http_nucleus_page_t *page)
{
    ngx_http_nucleus_main_conf_t  *nmcf;

    nmcf = ngx_http_get_module_main_conf(page->request,
                                         ngx_http_nucleus_module);

    nuc_exposition_number(&page->exposition, NULL, 0, nmcf->min_free);
    return NGX_OK;
}


static ngx_int_t
ngx_http_nucleus_write_inflight(ngx_http_nucleus_page_t *page)
{
    nuc_exposition_number(&page->exposition, NULL, 0,
                          page->totals.sum.inflight);
    return NGX_OK;
}


static ngx_int_t
ngx_http_nucleus_write_max_inflight(ngx_http_nucleus_page_t *page)
{
    nuc_exposition_number(&page->exposition, NULL, 0,
                          page->totals.sum.max_inflight);
    return NGX_OK;
}


static ngx_int_t
ngx_http_nucleus_write_processes(ngx_http_nucleus_page_t *page)
{
    nuc_exposition_number(&page->exposition, NULL, 0, page->totals.processes);
    return NGX_OK;
}


static ngx_int_t
ngx_http_nucleus_write_generation(ngx_http_nucleus_page_t *page)
{
    nuc_exposition_number(&page->exposition, NULL, 0, page->totals.generation);
    return NGX_OK;
}


static ngx_int_t
ngx_http_nucleus_write_newest(ngx_http_nucleus_page_t *page)
{
    nuc_exposition_number(&page->exposition, NULL, 0, page->totals.newest);
    return NGX_OK;
}


static ngx_int_t
ngx_http_nucleus_write_known(ngx_http_nucleus_page_t *page)
{
    nuc_exposition_number(&page->exposition, NULL, 0, page->totals.sum.known);
    return NGX_OK;
}


/* no sample where there is no registry, or none that can be used */

static ngx_int_t
ngx_http_nucleus_write_age(ngx_http_nucleus_page_t *page)
{
    nuc_snapshot_t  *snapshot;

    snapshot = ngx_http_nucleus_snapshot();

    if (snapshot) {
        nuc_exposition_real(&page->exposition, NULL, 0,
                            ((double) nuc_time_now()
                             - (double) snapshot->created) / 1e6);
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_nucleus_write_build(ngx_http_nucleus_page_t *page)
{
    nuc_label_t  labels[2];

    labels[0].name = "version";
    labels[0].value = NUC_STR(NUC_VERSION);
    labels[1].name = "nginx";
    labels[1].value = NUC_STR(NGINX_VERSION);

    nuc_exposition_number(&page->exposition, labels, 2, 1);
    return NGX_OK;
}
