
/*
 * What the processes count together, in the zone.
 *
 * Each process has a meter that is its own: counters in it are taken over, as
 * they are, by the process that has it next, so that sums never go back; what
 * is there of a moment (gauges) is of the process that has it now.  By tenant
 * and stream all count in one table.
 */


#ifndef _NGX_HTTP_NUCLEUS_METRICS_H_INCLUDED_
#define _NGX_HTTP_NUCLEUS_METRICS_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>

#include "nuc_histogram.h"
#include "nuc_series.h"

#include "ngx_http_nucleus_module.h"


/* what of a series is counted: results of requests, of events, then bytes */

#define NGX_HTTP_NUCLEUS_ACCEPTED         0
#define NGX_HTTP_NUCLEUS_INVALID          1
#define NGX_HTTP_NUCLEUS_DENIED           2
#define NGX_HTTP_NUCLEUS_LIMITED          3
#define NGX_HTTP_NUCLEUS_UNAVAILABLE      4
#define NGX_HTTP_NUCLEUS_UNKNOWN          5
#define NGX_HTTP_NUCLEUS_ABORTED          6
#define NGX_HTTP_NUCLEUS_FAILED           7
#define NGX_HTTP_NUCLEUS_RESULTS          8

#define NGX_HTTP_NUCLEUS_EVENTS_ACCEPTED  8
#define NGX_HTTP_NUCLEUS_EVENTS_REFUSED   9
#define NGX_HTTP_NUCLEUS_EVENTS_UNKNOWN   10
#define NGX_HTTP_NUCLEUS_BYTES            11

/* limits by kind and unit, then quotas */

#define NGX_HTTP_NUCLEUS_LIMIT(kind, unit)  ((kind) * NUC_UNIT_COUNT + (unit))
#define NGX_HTTP_NUCLEUS_QUOTA_EVENTS                                         \
    NGX_HTTP_NUCLEUS_LIMIT(NGX_HTTP_NUCLEUS_KINDS, 0)
#define NGX_HTTP_NUCLEUS_QUOTA_QUEUE      (NGX_HTTP_NUCLEUS_QUOTA_EVENTS + 1)
#define NGX_HTTP_NUCLEUS_QUOTA_INFLIGHT   (NGX_HTTP_NUCLEUS_QUOTA_EVENTS + 2)
#define NGX_HTTP_NUCLEUS_LIMITS           (NGX_HTTP_NUCLEUS_QUOTA_EVENTS + 3)

#define NGX_HTTP_NUCLEUS_MAX_PROBLEMS     64


typedef struct {
    ngx_atomic_t                   buckets[NUC_HISTOGRAM_BUCKETS];
    ngx_atomic_t                   sum;
} ngx_http_nucleus_histogram_t;


struct ngx_http_nucleus_meter_s {
    ngx_atomic_t                   pid;           /* 0: nobody's */

    ngx_atomic_t                   problems[NGX_HTTP_NUCLEUS_MAX_PROBLEMS];
    ngx_atomic_t                   limits[NGX_HTTP_NUCLEUS_LIMITS];

    /* of each queue */

    ngx_http_nucleus_histogram_t   durable[NGX_HTTP_NUCLEUS_QUEUES];
    ngx_http_nucleus_histogram_t   group_records[NGX_HTTP_NUCLEUS_QUEUES];
    ngx_http_nucleus_histogram_t   group_wait[NGX_HTTP_NUCLEUS_QUEUES];

    /* of the moment */

    ngx_atomic_t                   ready[NGX_HTTP_NUCLEUS_QUEUES];
    ngx_atomic_t                   inflight;      /* bytes */
    ngx_atomic_t                   max_inflight;
    ngx_atomic_t                   generation;    /* of the registry */
    ngx_atomic_t                   known;         /* the registry: as it is */
};


typedef struct {
    nuc_series_table_t            *series;
    ngx_uint_t                     nmeters;
    ngx_http_nucleus_meter_t       meters[1];
} ngx_http_nucleus_metrics_t;


/* in memory of "size" bytes; NULL: it is too small */
ngx_http_nucleus_metrics_t *ngx_http_nucleus_create_metrics(u_char *p,
    size_t size, const uint64_t *seed);

void ngx_http_nucleus_init_meter(ngx_cycle_t *cycle,
    ngx_http_nucleus_main_conf_t *nmcf);
void ngx_http_nucleus_exit_meter(void);

/* what the queues tell is added, and the moment's is noted */
void ngx_http_nucleus_publish_meter(void);

ngx_http_nucleus_metrics_t *ngx_http_nucleus_get_metrics(ngx_shm_zone_t *zone);


#endif /* _NGX_HTTP_NUCLEUS_METRICS_H_INCLUDED_ */
