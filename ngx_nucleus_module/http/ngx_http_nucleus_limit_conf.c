
/*
 * nucleus_limit and nucleus_zone, and the memory that they stand for.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_http_nucleus_metrics.h"

#include "nuc_sys.h"

#include <sys/random.h>


/* bytes; where pages are large, a few of them */
#define NGX_HTTP_NUCLEUS_MIN_ZONE   (64 * 1024)
#define NGX_HTTP_NUCLEUS_MIN_PAGES  8

/* of the zone, one part is for the tallies of each kind, a few are for metrics */
#define NGX_HTTP_NUCLEUS_ZONE_PARTS     16
#define NGX_HTTP_NUCLEUS_METRICS_PARTS  4
#define NGX_HTTP_NUCLEUS_ZONE_ALIGN     64

/* requests a second of a key, and at once */
#define NGX_HTTP_NUCLEUS_DEFAULT_RATE   100
#define NGX_HTTP_NUCLEUS_DEFAULT_BURST  50


/*
 * Addresses are many and anybody's: they have a table of their own, so that
 * they push out no key and no tenant
 */

typedef struct {
    nuc_bucket_table_t  *keys;
    nuc_bucket_table_t  *addresses;
    nuc_tally_table_t   *tallies;     /* events of tenants today */
    nuc_tally_table_t   *queue_tallies;  /* their bytes, see _quota.c */
    ngx_atomic_t         restored;    /* the tallies of before a restart */

    ngx_http_nucleus_metrics_t  *metrics;
} ngx_http_nucleus_zone_t;


static char *ngx_http_nucleus_limit_off(ngx_conf_t *cf,
    ngx_http_nucleus_loc_conf_t *nlcf);
static char *ngx_http_nucleus_limit_kind(ngx_conf_t *cf,
    ngx_http_nucleus_limit_t *limit);
static char *ngx_http_nucleus_limit_rate(ngx_conf_t *cf,
    ngx_http_nucleus_limit_t *limit, ngx_str_t *value, uint64_t *scale);
static char *ngx_http_nucleus_limit_number(ngx_conf_t *cf, ngx_str_t *value,
    u_char *last, uint64_t scale, uint64_t *number);
static ngx_uint_t ngx_http_nucleus_is_in(ngx_http_core_loc_conf_t *clcf);
static ngx_int_t ngx_http_nucleus_init_zone(ngx_shm_zone_t *zone, void *data);
static void ngx_http_nucleus_make_seed(uint64_t *seed);


static ngx_conf_enum_t  ngx_http_nucleus_limit_kinds[] = {
    { ngx_string("key"), NGX_HTTP_NUCLEUS_KEY },
    { ngx_string("tenant"), NGX_HTTP_NUCLEUS_TENANT },
    { ngx_string("address"), NGX_HTTP_NUCLEUS_ADDRESS },
    { ngx_null_string, 0 }
};


char *
ngx_http_nucleus_limit(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_nucleus_loc_conf_t *nlcf = conf;

    uint64_t                   scale;
    ngx_str_t                 *value, *rate, *burst, **p;
    ngx_uint_t                 i;
    ngx_http_nucleus_limit_t   limit;

    value = cf->args->elts;

    if (ngx_strcmp(value[1].data, "off") == 0) {
        return ngx_http_nucleus_limit_off(cf, nlcf);
    }

    if (ngx_http_nucleus_limit_kind(cf, &limit) != NGX_CONF_OK) {
        return NGX_CONF_ERROR;
    }

    rate = NULL;
    burst = NULL;

    for (i = 2; i < cf->args->nelts; i++) {

        if (ngx_strncmp(value[i].data, "rate=", 5) == 0) {
            p = &rate;

        } else if (ngx_strncmp(value[i].data, "burst=", 6) == 0) {
            p = &burst;

        } else {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid parameter \"%V\" in \"nucleus_limit\" "
                               "directive", &value[i]);
            return NGX_CONF_ERROR;
        }

        if (*p) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "duplicate parameter \"%V\" in "
                               "\"nucleus_limit\" directive", &value[i]);
            return NGX_CONF_ERROR;
        }

        *p = &value[i];
    }

    if (rate == NULL) {
        return "has no \"rate\"";
    }

    if (ngx_http_nucleus_limit_rate(cf, &limit, rate, &scale) != NGX_CONF_OK) {
        return NGX_CONF_ERROR;
    }

    limit.value.burst = limit.value.rate;

    if (burst
        && ngx_http_nucleus_limit_number(cf, burst, burst->data + burst->len,
                                         scale, &limit.value.burst)
           != NGX_CONF_OK)
    {
        return NGX_CONF_ERROR;
    }

    if (nlcf->limits != NGX_CONF_UNSET_PTR && nlcf->limits->nelts == 0) {
        return "is \"off\" already";
    }

    switch (ngx_http_nucleus_add_limit(cf, nlcf, &limit)) {

    case NGX_OK:
        nlcf->limit_file = cf->conf_file->file.name.data;
        nlcf->limit_line = cf->conf_file->line;
        return NGX_CONF_OK;

    case NGX_BUSY:
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "duplicate limit of this kind and unit "
                           "\"%V %V\" in \"nucleus_limit\" directive",
                           &value[1], rate);
        return NGX_CONF_ERROR;

    default:
        return NGX_CONF_ERROR;
    }
}


static char *
ngx_http_nucleus_limit_off(ngx_conf_t *cf, ngx_http_nucleus_loc_conf_t *nlcf)
{
    if (cf->args->nelts != 2) {
        return "has parameters beside \"off\"";
    }

    if (nlcf->limits != NGX_CONF_UNSET_PTR) {
        return "is duplicate";
    }

    nlcf->limits = ngx_array_create(cf->pool, 1,
                                    sizeof(ngx_http_nucleus_limit_t));

    return nlcf->limits ? NGX_CONF_OK : NGX_CONF_ERROR;
}


static char *
ngx_http_nucleus_limit_kind(ngx_conf_t *cf, ngx_http_nucleus_limit_t *limit)
{
    ngx_str_t        *value;
    ngx_conf_enum_t  *e;

    value = cf->args->elts;

    for (e = ngx_http_nucleus_limit_kinds; e->name.len; e++) {
        if (e->name.len == value[1].len
            && ngx_strncmp(e->name.data, value[1].data, value[1].len) == 0)
        {
            limit->kind = e->value;
            return NGX_CONF_OK;
        }
    }

    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                       "unknown limit \"%V\" in \"nucleus_limit\" directive, "
                       "it must be \"key\", \"tenant\", \"address\" or \"off\"",
                       &value[1]);

    return NGX_CONF_ERROR;
}


/* "rate=100r/s" */

static char *
ngx_http_nucleus_limit_rate(ngx_conf_t *cf, ngx_http_nucleus_limit_t *limit,
    ngx_str_t *value, uint64_t *scale)
{
    u_char  *unit;

    if (value->len < sizeof("rate=1r/s") - 1
        || ngx_strncmp(value->data + value->len - 2, "/s", 2) != 0)
    {
        goto invalid;
    }

    unit = value->data + value->len - 3;

    *scale = 1;

    switch (*unit) {

    case 'r':
        limit->unit = NUC_UNIT_REQUESTS;
        break;

    case 'e':
        limit->unit = NUC_UNIT_EVENTS;
        break;

    case 'k':
        limit->unit = NUC_UNIT_BYTES;
        *scale = 1024;
        break;

    case 'm':
        limit->unit = NUC_UNIT_BYTES;
        *scale = 1024 * 1024;
        break;

    default:
        goto invalid;
    }

    return ngx_http_nucleus_limit_number(cf, value, unit, *scale,
                                         &limit->value.rate);

invalid:

    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                       "invalid parameter \"%V\" in \"nucleus_limit\" "
                       "directive, it must be a number with \"r/s\", \"e/s\", "
                       "\"k/s\" or \"m/s\"", value);

    return NGX_CONF_ERROR;
}


/* what stands between "=" and "last" */

static char *
ngx_http_nucleus_limit_number(ngx_conf_t *cf, ngx_str_t *value, u_char *last,
    uint64_t scale, uint64_t *number)
{
    off_t    n;
    u_char  *p, *digit;

    p = ngx_strlchr(value->data, last, '=') + 1;

    for (digit = p; digit < last; digit++) {
        if (*digit < '0' || *digit > '9') {
            break;
        }
    }

    n = ngx_atoof(p, last - p);

    if (p == last || digit != last || n == 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid parameter \"%V\" in \"nucleus_limit\" "
                           "directive, it must be a number from 1", value);
        return NGX_CONF_ERROR;
    }

    if (n == NGX_ERROR || (uint64_t) n > NUC_BUCKET_MAX / scale) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "parameter \"%V\" in \"nucleus_limit\" directive "
                           "is too large, the most is %uL", value,
                           NUC_BUCKET_MAX / scale);
        return NGX_CONF_ERROR;
    }

    *number = (uint64_t) n * scale;

    return NGX_CONF_OK;
}


/* NGX_BUSY: there is one of this kind and unit */

ngx_int_t
ngx_http_nucleus_add_limit(ngx_conf_t *cf, ngx_http_nucleus_loc_conf_t *nlcf,
    ngx_http_nucleus_limit_t *limit)
{
    ngx_uint_t                     i;
    ngx_http_nucleus_limit_t      *added;
    ngx_http_nucleus_main_conf_t  *nmcf;

    if (nlcf->limits == NGX_CONF_UNSET_PTR || nlcf->limits == NULL) {
        nlcf->limits = ngx_array_create(cf->pool, 2,
                                        sizeof(ngx_http_nucleus_limit_t));
        if (nlcf->limits == NULL) {
            return NGX_ERROR;
        }
    }

    added = nlcf->limits->elts;

    for (i = 0; i < nlcf->limits->nelts; i++) {
        if (added[i].kind == limit->kind && added[i].unit == limit->unit) {
            return NGX_BUSY;
        }
    }

    added = ngx_array_push(nlcf->limits);
    if (added == NULL) {
        return NGX_ERROR;
    }

    *added = *limit;

    nmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_nucleus_module);
    nmcf->limited = 1;

    return ngx_http_nucleus_set_policy(cf->pool, added);
}


/* of a location where no request is limited; above locations it is a default */

void
ngx_http_nucleus_warn_of_limits(ngx_conf_t *cf,
    ngx_http_nucleus_loc_conf_t *nlcf)
{
    ngx_http_core_loc_conf_t  *clcf;
    ngx_http_core_srv_conf_t  *cscf;

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);
    cscf = ngx_http_conf_get_module_srv_conf(cf, ngx_http_core_module);

    if (nlcf->limit_line == 0 || nlcf->enable
        || clcf == cscf->ctx->loc_conf[ngx_http_core_module.ctx_index]
        || ngx_http_nucleus_is_in(clcf))
    {
        return;
    }

    ngx_log_error(NGX_LOG_WARN, cf->log, 0,
                  "location \"%V\" has \"nucleus_limit\" in %s:%ui, and "
                  "neither itself nor within it a \"nucleus\" to be limited",
                  &clcf->name, nlcf->limit_file, nlcf->limit_line);
}


static ngx_uint_t
ngx_http_nucleus_is_in(ngx_http_core_loc_conf_t *clcf)
{
    ngx_queue_t                  *q;
    ngx_http_core_loc_conf_t     *inner;
    ngx_http_location_queue_t    *lq;
    ngx_http_nucleus_loc_conf_t  *nlcf;

    if (clcf->locations == NULL) {
        return 0;
    }

    for (q = ngx_queue_head(clcf->locations);
         q != ngx_queue_sentinel(clcf->locations);
         q = ngx_queue_next(q))
    {
        lq = (ngx_http_location_queue_t *) q;
        inner = lq->exact ? lq->exact : lq->inclusive;
        nlcf = inner->loc_conf[ngx_http_nucleus_module.ctx_index];

        if (nlcf->enable == 1 || ngx_http_nucleus_is_in(inner)) {
            return 1;
        }
    }

    return 0;
}


/* where nothing is said, a key has a limit; one that the registry gives wins */

ngx_int_t
ngx_http_nucleus_apply_limits(ngx_conf_t *cf,
    ngx_http_nucleus_main_conf_t *nmcf, ngx_http_nucleus_loc_conf_t *nlcf)
{
    ngx_http_nucleus_limit_t  *limit;

    if (nlcf->auth) {

        /* for the limits of the registry, and for failures */

        nmcf->limited = 1;
    }

    if (nlcf->limits != NGX_CONF_UNSET_PTR) {
        nlcf->applied = nlcf->limits;
        return NGX_OK;
    }

    if (!nlcf->auth) {
        return NGX_OK;
    }

    if (nmcf->default_limits == NULL) {
        nmcf->default_limits = ngx_array_create(cf->pool, 1,
                                            sizeof(ngx_http_nucleus_limit_t));
        if (nmcf->default_limits == NULL) {
            return NGX_ERROR;
        }

        limit = ngx_array_push(nmcf->default_limits);
        if (limit == NULL) {
            return NGX_ERROR;
        }

        limit->kind = NGX_HTTP_NUCLEUS_KEY;
        limit->unit = NUC_UNIT_REQUESTS;
        limit->value.rate = NGX_HTTP_NUCLEUS_DEFAULT_RATE;
        limit->value.burst = NGX_HTTP_NUCLEUS_DEFAULT_BURST;

        if (ngx_http_nucleus_set_policy(cf->pool, limit) != NGX_OK) {
            return NGX_ERROR;
        }
    }

    nlcf->applied = nmcf->default_limits;

    return NGX_OK;
}


char *
ngx_http_nucleus_check_zone(ngx_conf_t *cf, void *post, void *data)
{
    size_t *size = data;

    size_t  min;

    min = ngx_max(NGX_HTTP_NUCLEUS_MIN_ZONE,
                  NGX_HTTP_NUCLEUS_MIN_PAGES * ngx_pagesize);

    if (*size < min) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"nucleus_zone\" must be at least %uz", min);
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


/* of the same size it lives on through a reload, with all that is in it */

ngx_int_t
ngx_http_nucleus_add_zone(ngx_conf_t *cf, ngx_http_nucleus_main_conf_t *nmcf)
{
    ngx_str_t  name;

    ngx_str_set(&name, "nucleus");

    nmcf->zone = ngx_shared_memory_add(cf, &name, nmcf->zone_size,
                                       &ngx_http_nucleus_module);
    if (nmcf->zone == NULL) {
        return NGX_ERROR;
    }

    nmcf->zone->init = ngx_http_nucleus_init_zone;

    return NGX_OK;
}


static ngx_int_t
ngx_http_nucleus_init_zone(ngx_shm_zone_t *zone, void *data)
{
    size_t                    size, tallies, metrics;
    u_char                   *p;
    uint64_t                  seed[2];
    ngx_slab_pool_t          *shpool;
    ngx_http_nucleus_zone_t  *nz;

    if (data) {
        zone->data = data;
        return NGX_OK;
    }

    shpool = (ngx_slab_pool_t *) zone->shm.addr;

    /* all that the pool has, as one piece */

    size = shpool->pfree * ngx_pagesize;

    p = ngx_slab_alloc(shpool, size);
    if (p == NULL) {
        return NGX_ERROR;
    }

    ngx_http_nucleus_make_seed(seed);

    nz = (ngx_http_nucleus_zone_t *) p;
    p += sizeof(ngx_http_nucleus_zone_t);
    size -= sizeof(ngx_http_nucleus_zone_t);
    tallies = size / NGX_HTTP_NUCLEUS_ZONE_PARTS;

    metrics = ngx_align(NGX_HTTP_NUCLEUS_METRICS_PARTS * tallies,
                        NGX_HTTP_NUCLEUS_ZONE_ALIGN);

    nz->metrics = ngx_http_nucleus_create_metrics(p, metrics, seed);

    p += metrics;
    size = (size - metrics - 2 * tallies) / 2;

    nz->keys = nuc_bucket_init(p, size, seed);
    nz->addresses = nuc_bucket_init(p + size, size, seed);
    nz->tallies = nuc_tally_init(p + 2 * size, tallies, seed);
    nz->queue_tallies = nuc_tally_init(p + 2 * size + tallies, tallies, seed);
    nz->restored = 0;

    if (nz->keys == NULL || nz->addresses == NULL || nz->tallies == NULL
        || nz->queue_tallies == NULL || nz->metrics == NULL)
    {
        return NGX_ERROR;
    }

    zone->data = nz;

    return NGX_OK;
}


static void
ngx_http_nucleus_make_seed(uint64_t *seed)
{
    size_t  size;

    size = 2 * sizeof(uint64_t);

    if (getrandom(seed, size, GRND_NONBLOCK) != (ssize_t) size) {
        seed[0] = (uint64_t) ngx_random() << 32 ^ ngx_random() ^ ngx_pid;
        seed[1] = (uint64_t) ngx_random() << 32 ^ ngx_random();
    }
}


nuc_bucket_table_t *
ngx_http_nucleus_get_table(ngx_shm_zone_t *zone, ngx_uint_t kind)
{
    ngx_http_nucleus_zone_t *nz = zone->data;

    return (kind == NGX_HTTP_NUCLEUS_ADDRESS) ? nz->addresses : nz->keys;
}


nuc_tally_table_t *
ngx_http_nucleus_get_tallies(ngx_shm_zone_t *zone)
{
    ngx_http_nucleus_zone_t *nz = zone->data;

    return nz->tallies;
}


nuc_tally_table_t *
ngx_http_nucleus_get_queue_tallies(ngx_shm_zone_t *zone)
{
    ngx_http_nucleus_zone_t *nz = zone->data;

    return nz->queue_tallies;
}


ngx_http_nucleus_metrics_t *
ngx_http_nucleus_get_metrics(ngx_shm_zone_t *zone)
{
    ngx_http_nucleus_zone_t *nz = zone->data;

    return nz->metrics;
}


/*
 * Of a zone that is new.  Each process does so before it serves, until one has
 * come to the end: a count that is there is only made larger, so that it
 * does not matter how many do, nor where one is killed
 */

void
ngx_http_nucleus_restore_tallies(ngx_shm_zone_t *zone, const char *dir,
    ngx_log_t *log)
{
    size_t                    i, n;
    uint64_t                  day;
    nuc_err_t                 err;
    nuc_events_today_t       *list;
    ngx_http_nucleus_zone_t  *nz;

    nz = zone->data;

    if (nz->restored) {
        return;
    }

    if (nuc_events_today_read(&nuc_sys_posix, dir, &list, &n, &err)
        != NUC_OK)
    {
        ngx_log_error(NGX_LOG_ERR, log, 0, "nucleus quotas: %s", err.message);
        return;
    }

    day = ngx_time() / 86400;

    for (i = 0; i < n; i++) {
        if (list[i].day == day) {
            (void) nuc_tally_raise(nz->tallies,
                         nuc_tally_tag(nz->tallies, nuc_str(list[i].tenant)),
                         list[i].count, day);
        }
    }

    free(list);

    nz->restored = 1;
}
