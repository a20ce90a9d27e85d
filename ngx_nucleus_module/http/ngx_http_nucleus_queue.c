
/*
 * The queues of a worker process: their start and end, and the event that
 * tells of durable records.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_http.h>

#include "ngx_http_nucleus_metrics.h"

#include "nuc_fs.h"
#include "nuc_log.h"
#include "nuc_sys.h"
#include "nuc_time.h"


/* ms, enough for an idle queue to end when another has used up the time */
#define NGX_HTTP_NUCLEUS_MIN_EXIT_TIME  200

#define NGX_HTTP_NUCLEUS_NICENESS       10
#define NGX_HTTP_NUCLEUS_KEEP           33554432


static ngx_int_t ngx_http_nucleus_init_queues(ngx_cycle_t *cycle,
    ngx_http_nucleus_main_conf_t *nmcf);
static ngx_int_t ngx_http_nucleus_init_queue(ngx_cycle_t *cycle,
    ngx_http_nucleus_main_conf_t *nmcf, ngx_http_nucleus_queue_t *nq);
static ngx_int_t ngx_http_nucleus_add_wake_event(ngx_cycle_t *cycle,
    ngx_http_nucleus_queue_t *nq);
static ngx_int_t ngx_http_nucleus_exit_queue(ngx_cycle_t *cycle,
    ngx_http_nucleus_queue_t *nq, ngx_msec_t deadline);

static void ngx_http_nucleus_end_tickets(ngx_http_nucleus_queue_t *nq);
static void ngx_http_nucleus_log_stats(ngx_cycle_t *cycle,
    ngx_http_nucleus_queue_t *nq);

static void ngx_http_nucleus_kick_handler(ngx_event_t *ev);
static void ngx_http_nucleus_wake_handler(ngx_event_t *ev);
static void ngx_http_nucleus_timeout_handler(ngx_event_t *ev);

static void ngx_http_nucleus_log_state(ngx_http_nucleus_queue_t *nq,
    nuc_rc_t rc, nuc_err_t *err);

static void ngx_http_nucleus_end_ticket(ngx_http_nucleus_ticket_t *nt);
static ngx_http_nucleus_ticket_t *ngx_http_nucleus_get_ticket(void);
static void ngx_http_nucleus_free_ticket(ngx_http_nucleus_ticket_t *nt);


ngx_http_nucleus_process_t  ngx_http_nucleus_process;


/* here nginx has made the path; an error returned would end a master process */

ngx_int_t
ngx_http_nucleus_init_module(ngx_cycle_t *cycle)
{
    nuc_err_t                      err;
    ngx_http_nucleus_main_conf_t  *nmcf;

    nmcf = ngx_http_cycle_get_module_main_conf(cycle, ngx_http_nucleus_module);

    if (nmcf == NULL || nmcf->path == NULL || !nmcf->used
        || ngx_test_config)
    {
        return NGX_OK;
    }

    if (nuc_log_prepare(&nuc_sys_posix, (char *) nmcf->path->name.data, &err)
        != NUC_OK)
    {
        ngx_log_error(NGX_LOG_EMERG, cycle->log, 0, "nucleus queue \"%V\": %s",
                      &nmcf->path->name, err.message);
        nmcf->failed = 1;
    }

    return NGX_OK;
}


ngx_int_t
ngx_http_nucleus_init_process(ngx_cycle_t *cycle)
{
    ngx_http_nucleus_main_conf_t  *nmcf;

    if (ngx_process != NGX_PROCESS_WORKER && ngx_process != NGX_PROCESS_SINGLE)
    {
        return NGX_OK;
    }

    nmcf = ngx_http_cycle_get_module_main_conf(cycle, ngx_http_nucleus_module);

    if (nmcf == NULL || nmcf->path == NULL || !nmcf->used) {
        return NGX_OK;
    }

    if (ngx_http_nucleus_init_queues(cycle, nmcf) != NGX_OK) {
        return NGX_ERROR;
    }

    if (nmcf->registry.len
        && ngx_http_nucleus_init_registry(cycle, nmcf) != NGX_OK)
    {
        return NGX_ERROR;
    }

    ngx_http_nucleus_init_meter(cycle, nmcf);

    return NGX_OK;
}


/*
 * A queue that can't be opened does not end the process: its locations answer
 * 503, and the others are served
 */

static ngx_int_t
ngx_http_nucleus_init_queues(ngx_cycle_t *cycle,
    ngx_http_nucleus_main_conf_t *nmcf)
{
    ngx_uint_t                   i;
    ngx_http_nucleus_process_t  *np;

    np = &ngx_http_nucleus_process;

    ngx_memzero(np, sizeof(ngx_http_nucleus_process_t));

    np->timeout = nmcf->timeout;
    np->zone = nmcf->zone;

    ngx_http_nucleus_init_budget(nmcf->max_inflight);

    np->queues[0].name = "small bodies";
    np->queues[1].name = "large bodies";

    np->hasher = nuc_rid_hasher_create();
    if (np->hasher == NULL) {
        return NGX_ERROR;
    }

    nuc_event_list_init(&np->events);
    nuc_uuid_source_init(&np->uuids);

    np->text = NUC_BUF_INIT;

    if (nmcf->failed) {
        return NGX_OK;
    }

    for (i = 0; i < NGX_HTTP_NUCLEUS_QUEUES; i++) {
        if (ngx_http_nucleus_init_queue(cycle, nmcf, &np->queues[i])
            != NGX_OK)
        {
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_nucleus_init_queue(ngx_cycle_t *cycle,
    ngx_http_nucleus_main_conf_t *nmcf, ngx_http_nucleus_queue_t *nq)
{
    nuc_err_t          err;
    nuc_log_options_t  options;

    ngx_memzero(&options, sizeof(nuc_log_options_t));

    options.dir = (char *) nmcf->path->name.data;
    options.max_size = nmcf->max_size;
    options.min_free = nmcf->min_free;
    options.segment_size = nmcf->segment;
    options.max_pending = nmcf->max_inflight;
    options.sys = &nuc_sys_posix;

    if (nq == &ngx_http_nucleus_process.queues[1]) {

        /* large bodies give way to small ones, and are rarely alone */

        options.niceness = NGX_HTTP_NUCLEUS_NICENESS;
        options.keep = NGX_HTTP_NUCLEUS_KEEP;
    }

    nq->kick.handler = ngx_http_nucleus_kick_handler;
    nq->kick.data = nq;
    nq->kick.log = cycle->log;

    if (nuc_log_open(&options, &nq->queue, &err) != NUC_OK) {
        nq->queue = NULL;

        ngx_log_error(NGX_LOG_CRIT, cycle->log, 0,
                      "nucleus queue \"%V\" for %s: %s", &nmcf->path->name,
                      nq->name, err.message);
        return NGX_OK;
    }

    return ngx_http_nucleus_add_wake_event(cycle, nq);
}


static ngx_int_t
ngx_http_nucleus_add_wake_event(ngx_cycle_t *cycle,
    ngx_http_nucleus_queue_t *nq)
{
    nq->connection = ngx_http_nucleus_listen(cycle,
                                       nq->queue->ops->wake_fd(nq->queue), nq,
                                       ngx_http_nucleus_wake_handler);

    return nq->connection ? NGX_OK : NGX_ERROR;
}


/* a descriptor by which a thread of ours wakes the event loop; NULL: failed */

ngx_connection_t *
ngx_http_nucleus_listen(ngx_cycle_t *cycle, int fd, void *data,
    ngx_event_handler_pt handler)
{
    ngx_connection_t  *c;

    c = ngx_get_connection(fd, cycle->log);
    if (c == NULL) {
        return NULL;
    }

    c->data = data;

    c->read->handler = handler;
    c->read->log = cycle->log;
    c->write->log = cycle->log;

    return (ngx_handle_read_event(c->read, 0) == NGX_OK) ? c : NULL;
}


/* the descriptor is the thread's */

void
ngx_http_nucleus_unlisten(ngx_connection_t *c)
{
    if (c->read->active) {
        ngx_del_event(c->read, NGX_READ_EVENT, 0);
    }

    if (c->read->posted) {
        ngx_delete_posted_event(c->read);
    }

    ngx_free_connection(c);

    c->fd = (ngx_socket_t) -1;
}


void
ngx_http_nucleus_exit_process(ngx_cycle_t *cycle)
{
    ngx_uint_t                   i, busy;
    ngx_msec_t                   end;
    ngx_msec_int_t               left;
    ngx_http_nucleus_ticket_t   *nt;
    ngx_http_nucleus_process_t  *np;

    np = &ngx_http_nucleus_process;

    ngx_http_nucleus_exit_meter();

    busy = 0;

    ngx_time_update();

    end = ngx_current_msec + np->timeout;

    for (i = 0; i < NGX_HTTP_NUCLEUS_QUEUES; i++) {

        if (np->queues[i].queue == NULL) {
            continue;
        }

        ngx_time_update();

        left = (ngx_msec_int_t) (end - ngx_current_msec);

        if (ngx_http_nucleus_exit_queue(cycle, &np->queues[i],
                            ngx_max(left, NGX_HTTP_NUCLEUS_MIN_EXIT_TIME))
            != NGX_OK)
        {
            busy = 1;
        }
    }

    /* some may be in the hands of a thread that waits for the disk */

    while (np->tickets && !busy) {
        nt = np->tickets;
        np->tickets = nt->next;

        if (nt->timer.timer_set) {
            ngx_del_timer(&nt->timer);
        }

        ngx_free(nt);
    }

    if (np->registry.name.len) {
        ngx_http_nucleus_exit_registry();
    }

    if (np->hasher) {
        nuc_rid_hasher_free(np->hasher);
        nuc_event_list_free(&np->events);
        nuc_buf_free(&np->text);
        ngx_free(np->records);
        nuc_budget_free(&np->budget);
    }

    ngx_memzero(np, sizeof(ngx_http_nucleus_process_t));
}


static ngx_int_t
ngx_http_nucleus_exit_queue(ngx_cycle_t *cycle, ngx_http_nucleus_queue_t *nq,
    ngx_msec_t deadline)
{
    nuc_rc_t   rc;
    nuc_err_t  err;

    if (nq->kick.posted) {
        ngx_delete_posted_event(&nq->kick);
    }

    if (nq->connection) {
        ngx_http_nucleus_unlisten(nq->connection);
    }

    ngx_http_nucleus_log_stats(cycle, nq);

    rc = nq->queue->ops->close(nq->queue, deadline, &err);

    if (rc != NUC_OK) {
        ngx_log_error(NGX_LOG_ERR, cycle->log, 0,
                      "nucleus queue for %s was left: %s",
                      nq->name, err.message);
        return NGX_BUSY;
    }

    ngx_http_nucleus_end_tickets(nq);

    return NGX_OK;
}


/* those that nobody polls any more: all of the queue have an answer now */

static void
ngx_http_nucleus_end_tickets(ngx_http_nucleus_queue_t *nq)
{
    ngx_http_nucleus_ctx_t     *ctx;
    ngx_http_nucleus_ticket_t  *nt;

    for (nt = ngx_http_nucleus_process.tickets; nt; nt = nt->next) {

        if (nt->queue != nq) {
            continue;
        }

        ctx = nt->ticket.owner;

        if (ctx) {
            ngx_http_nucleus_leave(ctx);
        }

        ngx_http_nucleus_end_ticket(nt);
    }
}


static void
ngx_http_nucleus_log_stats(ngx_cycle_t *cycle, ngx_http_nucleus_queue_t *nq)
{
    nuc_queue_stats_t  stats;

    nq->queue->ops->stats(nq->queue, &stats);

    if (stats.groups == 0) {
        return;
    }

    ngx_log_error(NGX_LOG_INFO, cycle->log, 0,
                  "nucleus queue for %s took %uL records of %uL bytes in %uL "
                  "groups, a group waited %uL us for the disk on average and "
                  "%uL us at most", nq->name, stats.records, stats.bytes,
                  stats.groups, stats.group_wait.sum / stats.groups, stats.wait_most);
}


/* NULL: none is open */

ngx_http_nucleus_queue_t *
ngx_http_nucleus_get_queue(off_t size)
{
    ngx_http_nucleus_queue_t  *nq;

    nq = &ngx_http_nucleus_process.queues[size > NGX_HTTP_NUCLEUS_LARGE_BODY];

    return nq->queue ? nq : NULL;
}


nuc_rc_t
ngx_http_nucleus_ready(ngx_http_nucleus_queue_t *nq, unsigned *retry_after)
{
    nuc_rc_t   rc;
    nuc_err_t  err;

    *retry_after = 1;

    rc = nq->queue->ops->ready(nq->queue, retry_after, &err);

    if (rc == NUC_OK && nq->stalled) {
        *retry_after = ngx_http_nucleus_process.timeout / 1000 + 1;
        rc = nuc_err_set(&err, NUC_IO, "the disk has not answered for %lu ms",
                         (unsigned long) ngx_http_nucleus_process.timeout);
    }

    if (rc != nq->state) {
        ngx_http_nucleus_log_state(nq, rc, &err);
    }

    return rc;
}


static void
ngx_http_nucleus_log_state(ngx_http_nucleus_queue_t *nq, nuc_rc_t rc,
    nuc_err_t *err)
{
    ngx_log_t   *log;
    ngx_uint_t   level;

    log = ngx_cycle->log;

    if (rc == NUC_OK) {
        nq->state = rc;
        ngx_log_error(NGX_LOG_NOTICE, log, 0,
                      "nucleus queue for %s accepts events again", nq->name);
        return;
    }

    if (rc == NUC_AGAIN) {

        /* it is starting, which is no news */

        return;
    }

    nq->state = rc;

    level = (rc == NUC_FULL) ? NGX_LOG_ERR : NGX_LOG_CRIT;

    ngx_log_error(level, log, 0,
                  "nucleus queue for %s accepts no events: %s%s%s",
                  nq->name, err->message, err->hint[0] ? "; " : "", err->hint);
}


/*
 * The queue copies the records.  "size" was reserved by the request, and is
 * the ticket's from here on
 */

nuc_rc_t
ngx_http_nucleus_submit(ngx_http_nucleus_ctx_t *ctx,
    ngx_http_nucleus_queue_t *nq, size_t size)
{
    unsigned                     retry_after;
    nuc_rc_t                     rc;
    nuc_err_t                    err;
    ngx_http_nucleus_ticket_t   *nt;
    ngx_http_nucleus_process_t  *np;

    np = &ngx_http_nucleus_process;

    nt = ngx_http_nucleus_get_ticket();
    if (nt == NULL) {
        return NUC_NOMEM;
    }

    nt->ticket.owner = ctx;

    rc = nq->queue->ops->submit(nq->queue, np->records, ctx->count,
                                &nt->ticket, &err);
    if (rc != NUC_OK) {
        ngx_http_nucleus_free_ticket(nt);
        (void) ngx_http_nucleus_ready(nq, &retry_after);
        return rc;
    }

    if (!nq->kick.posted) {
        ngx_post_event(&nq->kick, &ngx_posted_events);
    }

    ngx_http_nucleus_hand_over(ctx, nt, size);

    nt->generation = ngx_http_nucleus_hold_generation();

    nt->queue = nq;

    ngx_http_nucleus_meter_ticket(ctx, nt, size);

    ctx->ticket = nt;

    nt->ident = -1;
    nt->timer.handler = ngx_http_nucleus_timeout_handler;
    nt->timer.data = nt;
    nt->timer.log = ngx_cycle->log;

    ngx_add_timer(&nt->timer, np->timeout);

    return NUC_OK;
}


/* the request does not wait any more, whatever becomes of its records */

void
ngx_http_nucleus_detach(ngx_http_nucleus_ctx_t *ctx)
{
    if (ctx->ticket == NULL) {
        return;
    }

    if (ctx->ticket->timer.timer_set) {
        ngx_del_timer(&ctx->ticket->timer);
    }

    ngx_http_nucleus_leave(ctx);
}


/*
 * The same for a request that nobody waits for: its time still runs, for a
 * process that quits, and to notice a disk that does not answer
 */

void
ngx_http_nucleus_leave(ngx_http_nucleus_ctx_t *ctx)
{
    ngx_http_nucleus_leave_events(ctx, &ctx->ticket->counted);

    ctx->ticket->ticket.owner = NULL;
    ctx->ticket = NULL;
}


static void
ngx_http_nucleus_kick_handler(ngx_event_t *ev)
{
    ngx_http_nucleus_queue_t *nq = ev->data;

    nq->queue->ops->kick(nq->queue);
}


/*
 * A request that is finished here may end itself and others, whose tickets
 * then lose their owner, and may begin new ones, which take no ticket of
 * this list
 */

static void
ngx_http_nucleus_wake_handler(ngx_event_t *ev)
{
    nuc_rc_t                        rc;
    uint64_t                        now;
    unsigned                        retry_after;
    nuc_ticket_t                   *ticket, *next;
    ngx_connection_t               *c;
    ngx_http_nucleus_ctx_t         *ctx;
    ngx_http_nucleus_queue_t       *nq;
    ngx_http_nucleus_ticket_t      *nt;
    ngx_http_nucleus_generation_t  *ng;

    c = ev->data;
    nq = c->data;

    ticket = nq->queue->ops->poll(nq->queue);

    now = 0;

    if (ticket) {
        now = nuc_time_now();
        nq->stalled = 0;
        (void) ngx_http_nucleus_ready(nq, &retry_after);
    }

    for ( /* void */ ; ticket; ticket = next) {

        next = ticket->next;

        rc = ticket->rc;
        ctx = ticket->owner;
        nt = (ngx_http_nucleus_ticket_t *) ticket;

        if (nt->timer.timer_set) {
            ngx_del_timer(&nt->timer);
        }

        ng = nt->generation;

        ngx_http_nucleus_count_ticket(nt, rc, now);

        nuc_budget_give(&ngx_http_nucleus_process.budget, nt->account,
                        nt->size);
        ngx_http_nucleus_end_ticket(nt);
        ngx_http_nucleus_free_ticket(nt);

        if (ctx) {
            ctx->ticket = NULL;
            ngx_http_nucleus_finish(ctx, nq, rc);
        }

        ngx_http_nucleus_release_generation(ng);
    }

    if (ngx_handle_read_event(ev, 0) != NGX_OK) {
        ngx_log_error(NGX_LOG_ALERT, ev->log, 0,
                      "nucleus queue for %s can't be listened to", nq->name);
    }
}


static void
ngx_http_nucleus_timeout_handler(ngx_event_t *ev)
{
    ngx_http_nucleus_ticket_t *nt = ev->data;

    unsigned                   retry_after;
    ngx_http_nucleus_ctx_t    *ctx;
    ngx_http_nucleus_queue_t  *nq;

    nq = nt->queue;
    ctx = nt->ticket.owner;

    /* until it answers, more would only wait for nothing */

    nq->stalled = 1;
    (void) ngx_http_nucleus_ready(nq, &retry_after);

    if (ctx == NULL) {
        return;
    }

    ngx_http_nucleus_detach(ctx);

    ngx_http_nucleus_finish(ctx, nq, NUC_UNKNOWN);
}


/*
 * Nothing of it is stored.  A request that waits returns its events itself;
 * here those of one that is gone, is a copy, or whose time was up
 */

static void
ngx_http_nucleus_end_ticket(ngx_http_nucleus_ticket_t *nt)
{
    if (nt->ticket.rc == NUC_FULL || nt->ticket.rc == NUC_IO) {
        ngx_http_nucleus_return_left(&nt->counted);
    }
}


static ngx_http_nucleus_ticket_t *
ngx_http_nucleus_get_ticket(void)
{
    ngx_http_nucleus_ticket_t   *nt;
    ngx_http_nucleus_process_t  *np;

    np = &ngx_http_nucleus_process;

    nt = np->free;

    if (nt) {
        np->free = (ngx_http_nucleus_ticket_t *) nt->ticket.next;
        return nt;
    }

    nt = ngx_calloc(sizeof(ngx_http_nucleus_ticket_t), ngx_cycle->log);
    if (nt == NULL) {
        return NULL;
    }

    nt->next = np->tickets;
    np->tickets = nt;

    return nt;
}


static void
ngx_http_nucleus_free_ticket(ngx_http_nucleus_ticket_t *nt)
{
    ngx_http_nucleus_process_t  *np;

    np = &ngx_http_nucleus_process;

    nt->queue = NULL;
    nt->counted.ntaken = 0;
    nt->counted.tallied = 0;

    nt->ticket.next = (nuc_ticket_t *) np->free;
    np->free = nt;
}
