
/*
 * The directives of Nucleus, and where nginx calls it.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_http_nucleus_module.h"

#include "nuc_fs.h"
#include "nuc_json.h"
#include "nuc_name.h"
#include "nuc_sys.h"


/* bytes: a small body and its copy must fit */
#define NGX_HTTP_NUCLEUS_MIN_INFLIGHT  (64 * 1024)


static void *ngx_http_nucleus_create_main_conf(ngx_conf_t *cf);
static char *ngx_http_nucleus_init_main_conf(ngx_conf_t *cf, void *conf);
static void *ngx_http_nucleus_create_loc_conf(ngx_conf_t *cf);
static char *ngx_http_nucleus_merge_loc_conf(ngx_conf_t *cf, void *parent,
    void *child);
static void ngx_http_nucleus_inherit(ngx_http_core_loc_conf_t *clcf,
    ngx_http_nucleus_loc_conf_t *prev, ngx_http_nucleus_loc_conf_t *conf);
static char *ngx_http_nucleus_check_location(ngx_conf_t *cf,
    ngx_http_nucleus_main_conf_t *nmcf, ngx_http_nucleus_loc_conf_t *conf);

static char *ngx_http_nucleus_note_open(ngx_conf_t *cf,
    ngx_http_nucleus_main_conf_t *nmcf, ngx_http_nucleus_loc_conf_t *conf);
static void ngx_http_nucleus_warn_of_open(ngx_conf_t *cf,
    ngx_http_nucleus_main_conf_t *nmcf, ngx_http_core_main_conf_t *cmcf);
static ngx_str_t *ngx_http_nucleus_public_address(
    ngx_http_core_main_conf_t *cmcf, ngx_http_core_srv_conf_t *server);
static ngx_uint_t ngx_http_nucleus_serves(ngx_http_conf_addr_t *addr,
    ngx_http_core_srv_conf_t *server);

static char *ngx_http_nucleus(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
static char *ngx_http_nucleus_health(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *ngx_http_nucleus_status(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *ngx_http_nucleus_location(ngx_conf_t *cf,
    ngx_http_nucleus_loc_conf_t *nlcf, ngx_http_handler_pt handler);
static char *ngx_http_nucleus_auth(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *ngx_http_nucleus_auth_argument(ngx_conf_t *cf,
    ngx_command_t *cmd, void *conf);
static char *ngx_http_nucleus_name(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *ngx_http_nucleus_check_inflight(ngx_conf_t *cf, void *post,
    void *data);
static char *ngx_http_nucleus_check_event_size(ngx_conf_t *cf, void *post,
    void *data);
static char *ngx_http_nucleus_queue(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *ngx_http_nucleus_queue_path(ngx_conf_t *cf,
    ngx_http_nucleus_main_conf_t *nmcf, ngx_str_t *name);
static ngx_int_t ngx_http_nucleus_queue_disk(ngx_conf_t *cf, ngx_path_t *path);
static char *ngx_http_nucleus_queue_option(ngx_conf_t *cf,
    ngx_http_nucleus_main_conf_t *nmcf, ngx_str_t *value);

static ngx_int_t ngx_http_nucleus_init(ngx_conf_t *cf);
static ngx_int_t ngx_http_nucleus_add_handler(ngx_http_core_main_conf_t *cmcf,
    ngx_http_phases phase, ngx_http_handler_pt handler);
static ngx_int_t ngx_http_nucleus_add_log_handler(
    ngx_http_core_main_conf_t *cmcf);


static ngx_conf_enum_t  ngx_http_nucleus_formats[] = {
    { ngx_string("auto"), 1 },
    { ngx_string("json"), 1 },
    { ngx_null_string, 0 }
};


static ngx_conf_enum_t  ngx_http_nucleus_healths[] = {
    { ngx_string("live"), NGX_HTTP_NUCLEUS_HEALTH_LIVE },
    { ngx_string("ready"), NGX_HTTP_NUCLEUS_HEALTH_READY },
    { ngx_null_string, 0 }
};


static ngx_conf_post_t  ngx_http_nucleus_inflight_post =
    { ngx_http_nucleus_check_inflight };

static ngx_conf_post_t  ngx_http_nucleus_event_size_post =
    { ngx_http_nucleus_check_event_size };


static ngx_conf_post_t  ngx_http_nucleus_zone_post =
    { ngx_http_nucleus_check_zone };


static ngx_conf_num_bounds_t  ngx_http_nucleus_events_bounds = {
    ngx_conf_check_num_bounds, 1, 1000000
};


static ngx_conf_num_bounds_t  ngx_http_nucleus_depth_bounds = {
    ngx_conf_check_num_bounds, 1, NUC_JSON_DEPTH_MAX
};


static ngx_command_t  ngx_http_nucleus_commands[] = {

    { ngx_string("nucleus"),
      NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_http_nucleus,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      ngx_http_nucleus_formats },

    { ngx_string("nucleus_health"),
      NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_http_nucleus_health,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_nucleus_loc_conf_t, health),
      ngx_http_nucleus_healths },

    { ngx_string("nucleus_status"),
      NGX_HTTP_LOC_CONF|NGX_CONF_NOARGS,
      ngx_http_nucleus_status,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("nucleus_queue"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_2MORE,
      ngx_http_nucleus_queue,
      NGX_HTTP_MAIN_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("nucleus_registry"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_1MORE,
      ngx_http_nucleus_registry,
      NGX_HTTP_MAIN_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("nucleus_max_inflight"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_off_slot,
      NGX_HTTP_MAIN_CONF_OFFSET,
      offsetof(ngx_http_nucleus_main_conf_t, max_inflight),
      &ngx_http_nucleus_inflight_post },

    { ngx_string("nucleus_auth"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_1MORE,
      ngx_http_nucleus_auth,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("nucleus_auth_argument"),
      NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_http_nucleus_auth_argument,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("nucleus_auth_delay"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_msec_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_nucleus_loc_conf_t, auth_delay),
      NULL },

    { ngx_string("nucleus_require_tls"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_FLAG,
      ngx_conf_set_flag_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_nucleus_loc_conf_t, require_tls),
      NULL },

    { ngx_string("nucleus_stream"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_http_nucleus_name,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_nucleus_loc_conf_t, stream),
      NULL },

    { ngx_string("nucleus_tenant"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_http_nucleus_name,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_nucleus_loc_conf_t, tenant),
      NULL },

    { ngx_string("nucleus_max_event_size"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_off_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_nucleus_loc_conf_t, max_event_size),
      &ngx_http_nucleus_event_size_post },

    { ngx_string("nucleus_max_events"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_num_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_nucleus_loc_conf_t, max_events),
      &ngx_http_nucleus_events_bounds },

    { ngx_string("nucleus_max_event_depth"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_num_slot,
      NGX_HTTP_LOC_CONF_OFFSET,
      offsetof(ngx_http_nucleus_loc_conf_t, max_depth),
      &ngx_http_nucleus_depth_bounds },

    { ngx_string("nucleus_limit"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF|NGX_CONF_TAKE123,
      ngx_http_nucleus_limit,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("nucleus_zone"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_size_slot,
      NGX_HTTP_MAIN_CONF_OFFSET,
      offsetof(ngx_http_nucleus_main_conf_t, zone_size),
      &ngx_http_nucleus_zone_post },

      ngx_null_command
};


static ngx_http_module_t  ngx_http_nucleus_module_ctx = {
    ngx_http_nucleus_add_variables,        /* preconfiguration */
    ngx_http_nucleus_init,                 /* postconfiguration */

    ngx_http_nucleus_create_main_conf,     /* create main configuration */
    ngx_http_nucleus_init_main_conf,       /* init main configuration */

    NULL,                                  /* create server configuration */
    NULL,                                  /* merge server configuration */

    ngx_http_nucleus_create_loc_conf,      /* create location configuration */
    ngx_http_nucleus_merge_loc_conf        /* merge location configuration */
};


ngx_module_t  ngx_http_nucleus_module = {
    NGX_MODULE_V1,
    &ngx_http_nucleus_module_ctx,          /* module context */
    ngx_http_nucleus_commands,             /* module directives */
    NGX_HTTP_MODULE,                       /* module type */
    NULL,                                  /* init master */
    ngx_http_nucleus_init_module,          /* init module */
    ngx_http_nucleus_init_process,         /* init process */
    NULL,                                  /* init thread */
    NULL,                                  /* exit thread */
    ngx_http_nucleus_exit_process,         /* exit process */
    NULL,                                  /* exit master */
    NGX_MODULE_V1_PADDING
};


static void *
ngx_http_nucleus_create_main_conf(ngx_conf_t *cf)
{
    ngx_http_nucleus_main_conf_t  *nmcf;

    nmcf = ngx_pcalloc(cf->pool, sizeof(ngx_http_nucleus_main_conf_t));
    if (nmcf == NULL) {
        return NULL;
    }

    /*
     * set by ngx_pcalloc():
     *
     *     nmcf->path = NULL;
     *     nmcf->zone = NULL;
     *     nmcf->default_limits = NULL;
     *     nmcf->used = 0;
     *     nmcf->limited = 0;
     *     nmcf->failed = 0;
     *     nmcf->registry = { 0, NULL };
     *     nmcf->registry_max_age = 0;
     */

    if (ngx_array_init(&nmcf->open, cf->pool, 1,
                       sizeof(ngx_http_nucleus_open_t))
        != NGX_OK)
    {
        return NULL;
    }

    nmcf->max_size = NGX_CONF_UNSET;
    nmcf->min_free = NGX_CONF_UNSET;
    nmcf->segment = NGX_CONF_UNSET;
    nmcf->timeout = NGX_CONF_UNSET_MSEC;
    nmcf->max_inflight = NGX_CONF_UNSET;
    nmcf->zone_size = NGX_CONF_UNSET_SIZE;
    nmcf->request_id = NGX_ERROR;

    return nmcf;
}


static char *
ngx_http_nucleus_init_main_conf(ngx_conf_t *cf, void *conf)
{
    ngx_http_nucleus_main_conf_t  *nmcf = conf;

    ngx_conf_init_value(nmcf->max_size, (off_t) 10 * 1024 * 1024 * 1024);
    ngx_conf_init_value(nmcf->min_free, 1024 * 1024 * 1024);
    ngx_conf_init_value(nmcf->segment, 64 * 1024 * 1024);
    ngx_conf_init_msec_value(nmcf->timeout, 5000);
    ngx_conf_init_value(nmcf->max_inflight, 128 * 1024 * 1024);
    ngx_conf_init_size_value(nmcf->zone_size, 16 * 1024 * 1024);

    if (nmcf->path && nmcf->segment > nmcf->max_size) {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "\"segment\" of \"nucleus_queue\" in %s:%ui "
                      "is larger than its \"max_size\"",
                      nmcf->path->conf_file, nmcf->path->line);
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


static void *
ngx_http_nucleus_create_loc_conf(ngx_conf_t *cf)
{
    ngx_http_nucleus_loc_conf_t  *nlcf;

    nlcf = ngx_pcalloc(cf->pool, sizeof(ngx_http_nucleus_loc_conf_t));
    if (nlcf == NULL) {
        return NULL;
    }

    /*
     * set by ngx_pcalloc():
     *
     *     nlcf->file = NULL;
     *     nlcf->line = 0;
     *     nlcf->auth_argument = { 0, NULL };
     *     nlcf->applied = NULL;
     *     nlcf->limit_file = NULL;
     *     nlcf->limit_line = 0;
     */

    nlcf->enable = NGX_CONF_UNSET;
    nlcf->health = NGX_CONF_UNSET_UINT;
    nlcf->status = NGX_CONF_UNSET;
    nlcf->auth = NGX_CONF_UNSET;
    nlcf->require_tls = NGX_CONF_UNSET;
    nlcf->auth_delay = NGX_CONF_UNSET_MSEC;
    nlcf->stream = NGX_CONF_UNSET_PTR;
    nlcf->tenant = NGX_CONF_UNSET_PTR;
    nlcf->max_event_size = NGX_CONF_UNSET;
    nlcf->max_events = NGX_CONF_UNSET;
    nlcf->max_depth = NGX_CONF_UNSET;
    nlcf->limits = NGX_CONF_UNSET_PTR;

    return nlcf;
}


static char *
ngx_http_nucleus_merge_loc_conf(ngx_conf_t *cf, void *parent, void *child)
{
    ngx_http_nucleus_loc_conf_t *prev = parent;
    ngx_http_nucleus_loc_conf_t *conf = child;

    ngx_http_core_loc_conf_t      *clcf;
    ngx_http_nucleus_main_conf_t  *nmcf;

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);
    nmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_nucleus_module);

    ngx_http_nucleus_inherit(clcf, prev, conf);

    ngx_conf_init_value(conf->enable, 0);
    ngx_conf_init_uint_value(conf->health, NGX_HTTP_NUCLEUS_HEALTH_OFF);
    ngx_conf_init_value(conf->status, 0);

    ngx_conf_merge_value(conf->auth, prev->auth, 1);
    ngx_conf_merge_value(conf->require_tls, prev->require_tls, 1);
    ngx_conf_merge_msec_value(conf->auth_delay, prev->auth_delay, 10000);
    ngx_conf_merge_ptr_value(conf->stream, prev->stream, NULL);
    ngx_conf_merge_ptr_value(conf->tenant, prev->tenant, NULL);

    ngx_conf_merge_off_value(conf->max_event_size, prev->max_event_size,
                             1024 * 1024);
    ngx_conf_merge_value(conf->max_events, prev->max_events, 1000);
    ngx_conf_merge_value(conf->max_depth, prev->max_depth, 64);

    ngx_conf_merge_ptr_value(conf->limits, prev->limits, NGX_CONF_UNSET_PTR);

    ngx_http_nucleus_warn_of_limits(cf, conf);

    return ngx_http_nucleus_check_location(cf, nmcf, conf);
}


/*
 * Like other content handlers ours is not inherited by nested locations, but
 * "if" and "limit_except" are the same location under another name
 */

static void
ngx_http_nucleus_inherit(ngx_http_core_loc_conf_t *clcf,
    ngx_http_nucleus_loc_conf_t *prev, ngx_http_nucleus_loc_conf_t *conf)
{
    if (!clcf->noname
        || conf->enable != NGX_CONF_UNSET
        || conf->health != NGX_CONF_UNSET_UINT
        || conf->status != NGX_CONF_UNSET)
    {
        return;
    }

    conf->enable = prev->enable;
    conf->health = prev->health;
    conf->status = prev->status;
    conf->file = prev->file;
    conf->line = prev->line;

    if (conf->auth_argument.len == 0) {
        conf->auth_argument = prev->auth_argument;
    }

    if (!clcf->lmt_excpt || clcf->handler) {
        return;
    }

    if (conf->enable) {
        clcf->handler = ngx_http_nucleus_handler;

    } else if (conf->health) {
        clcf->handler = ngx_http_nucleus_health_handler;

    } else if (conf->status) {
        clcf->handler = ngx_http_nucleus_status_handler;
    }
}


static char *
ngx_http_nucleus_check_location(ngx_conf_t *cf,
    ngx_http_nucleus_main_conf_t *nmcf, ngx_http_nucleus_loc_conf_t *conf)
{
    if (!conf->enable && !conf->status
        && conf->health != NGX_HTTP_NUCLEUS_HEALTH_READY)
    {
        return NGX_CONF_OK;
    }

    if (nmcf->path == NULL) {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "no \"nucleus_queue\" is defined for "
                      "the \"%s\" directive in %s:%ui",
                      conf->enable ? "nucleus"
                      : conf->status ? "nucleus_status" : "nucleus_health",
                      conf->file, conf->line);
        return NGX_CONF_ERROR;
    }

    if (!conf->enable) {
        return NGX_CONF_OK;
    }

    if (ngx_http_nucleus_apply_limits(cf, nmcf, conf) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    if (!conf->auth) {
        return ngx_http_nucleus_note_open(cf, nmcf, conf);
    }

    if (nmcf->registry.len == 0) {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "no \"nucleus_registry\" is defined for "
                      "the \"nucleus\" directive in %s:%ui, whose "
                      "\"nucleus_auth\" is not \"off\"",
                      conf->file, conf->line);
        return NGX_CONF_ERROR;
    }

    if (conf->tenant) {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "\"nucleus_tenant\" is defined for "
                      "the \"nucleus\" directive in %s:%ui, where the key "
                      "decides about the tenant: \"nucleus_auth\" is not "
                      "\"off\"", conf->file, conf->line);
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


/* who can reach it is known when all is read */

static char *
ngx_http_nucleus_note_open(ngx_conf_t *cf, ngx_http_nucleus_main_conf_t *nmcf,
    ngx_http_nucleus_loc_conf_t *conf)
{
    ngx_http_nucleus_open_t  *open;

    open = ngx_array_push(&nmcf->open);
    if (open == NULL) {
        return NGX_CONF_ERROR;
    }

    open->server = ngx_http_conf_get_module_srv_conf(cf, ngx_http_core_module);
    open->file = conf->file;
    open->line = conf->line;

    return NGX_CONF_OK;
}


static void
ngx_http_nucleus_warn_of_open(ngx_conf_t *cf,
    ngx_http_nucleus_main_conf_t *nmcf, ngx_http_core_main_conf_t *cmcf)
{
    ngx_str_t                *address;
    ngx_uint_t                i;
    ngx_http_nucleus_open_t  *open;

    open = nmcf->open.elts;

    for (i = 0; i < nmcf->open.nelts; i++) {

        address = ngx_http_nucleus_public_address(cmcf, open[i].server);

        if (address) {
            ngx_log_error(NGX_LOG_WARN, cf->log, 0,
                          "location with \"nucleus\" in %s:%ui takes events "
                          "from whoever reaches %V: "
                          "its \"nucleus_auth\" is \"off\"",
                          open[i].file, open[i].line, address);
        }
    }
}


/* where others than this machine reach the server, or NULL */

static ngx_str_t *
ngx_http_nucleus_public_address(ngx_http_core_main_conf_t *cmcf,
    ngx_http_core_srv_conf_t *server)
{
    ngx_uint_t             p, a;
    ngx_http_conf_port_t  *port;
    ngx_http_conf_addr_t  *addr;

    if (cmcf->ports == NULL) {
        return NULL;
    }

    port = cmcf->ports->elts;

    for (p = 0; p < cmcf->ports->nelts; p++) {

        addr = port[p].addrs.elts;

        for (a = 0; a < port[p].addrs.nelts; a++) {

            if (ngx_http_nucleus_serves(&addr[a], server)
                && !ngx_http_nucleus_is_loopback(addr[a].opt.sockaddr))
            {
                return &addr[a].opt.addr_text;
            }
        }
    }

    return NULL;
}


static ngx_uint_t
ngx_http_nucleus_serves(ngx_http_conf_addr_t *addr,
    ngx_http_core_srv_conf_t *server)
{
    ngx_uint_t                  i;
    ngx_http_core_srv_conf_t  **servers;

    servers = addr->servers.elts;

    for (i = 0; i < addr->servers.nelts; i++) {
        if (servers[i] == server) {
            return 1;
        }
    }

    return 0;
}


static char *
ngx_http_nucleus(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_nucleus_loc_conf_t *nlcf = conf;

    ngx_str_t        *value;
    ngx_uint_t        i;
    ngx_conf_enum_t  *e;

    if (nlcf->enable != NGX_CONF_UNSET) {
        return "is duplicate";
    }

    if (nlcf->health != NGX_CONF_UNSET_UINT) {
        return "is incompatible with \"nucleus_health\"";
    }

    if (nlcf->status != NGX_CONF_UNSET) {
        return "is incompatible with \"nucleus_status\"";
    }

    value = cf->args->elts;
    e = cmd->post;

    for (i = 0; e[i].name.len; i++) {
        if (e[i].name.len == value[1].len
            && ngx_strncmp(e[i].name.data, value[1].data, value[1].len) == 0)
        {
            nlcf->enable = 1;
            return ngx_http_nucleus_location(cf, nlcf,
                                             ngx_http_nucleus_handler);
        }
    }

    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                       "unknown format \"%V\", it must be \"auto\" or \"json\"",
                       &value[1]);

    return NGX_CONF_ERROR;
}


static char *
ngx_http_nucleus_health(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_nucleus_loc_conf_t *nlcf = conf;

    char  *rv;

    if (nlcf->enable != NGX_CONF_UNSET) {
        return "is incompatible with \"nucleus\"";
    }

    if (nlcf->status != NGX_CONF_UNSET) {
        return "is incompatible with \"nucleus_status\"";
    }

    rv = ngx_conf_set_enum_slot(cf, cmd, conf);

    if (rv != NGX_CONF_OK) {
        return rv;
    }

    return ngx_http_nucleus_location(cf, nlcf, ngx_http_nucleus_health_handler);
}


static char *
ngx_http_nucleus_status(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_nucleus_loc_conf_t *nlcf = conf;

    if (nlcf->status != NGX_CONF_UNSET) {
        return "is duplicate";
    }

    if (nlcf->enable != NGX_CONF_UNSET) {
        return "is incompatible with \"nucleus\"";
    }

    if (nlcf->health != NGX_CONF_UNSET_UINT) {
        return "is incompatible with \"nucleus_health\"";
    }

    nlcf->status = 1;

    return ngx_http_nucleus_location(cf, nlcf, ngx_http_nucleus_status_handler);
}


static char *
ngx_http_nucleus_location(ngx_conf_t *cf, ngx_http_nucleus_loc_conf_t *nlcf,
    ngx_http_handler_pt handler)
{
    ngx_str_t                      name;
    ngx_http_core_loc_conf_t      *clcf;
    ngx_http_nucleus_main_conf_t  *nmcf;

    nlcf->file = cf->conf_file->file.name.data;
    nlcf->line = cf->conf_file->line;

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);
    clcf->handler = handler;

    nmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_nucleus_module);
    nmcf->used = 1;

    ngx_str_set(&name, "request_id");

    nmcf->request_id = ngx_http_get_variable_index(cf, &name);
    if (nmcf->request_id == NGX_ERROR) {
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


static char *
ngx_http_nucleus_auth(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_nucleus_loc_conf_t *nlcf = conf;

    ngx_str_t  *value;

    if (nlcf->auth != NGX_CONF_UNSET) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (cf->args->nelts == 2 && ngx_strcmp(value[1].data, "off") == 0) {
        nlcf->auth = 0;
        return NGX_CONF_OK;
    }

    if (cf->args->nelts == 2 && ngx_strcmp(value[1].data, "key") == 0) {
        nlcf->auth = 1;
        return NGX_CONF_OK;
    }

    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                       "invalid value \"%V\" in \"nucleus_auth\" "
                       "directive, it must be \"off\" or \"key\": "
                       "signatures do not exist yet",
                       &value[cf->args->nelts - 1]);

    return NGX_CONF_ERROR;
}


static char *
ngx_http_nucleus_auth_argument(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_nucleus_loc_conf_t *nlcf = conf;

    u_char      ch;
    ngx_str_t  *value;
    ngx_uint_t  i;

    if (nlcf->auth_argument.len) {
        return "is duplicate";
    }

    value = cf->args->elts;

    for (i = 0; i < value[1].len; i++) {
        ch = ngx_tolower(value[1].data[i]);

        if ((ch < 'a' || ch > 'z') && (ch < '0' || ch > '9')
            && ch != '-' && ch != '_')
        {
            break;
        }
    }

    if (i == 0 || i < value[1].len) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid name \"%V\" in "
                           "\"nucleus_auth_argument\" directive", &value[1]);
        return NGX_CONF_ERROR;
    }

    nlcf->auth_argument = value[1];

    return NGX_CONF_OK;
}


static char *
ngx_http_nucleus_name(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    char  *p = conf;

    char                      *rv;
    ngx_str_t                 *value;
    ngx_http_complex_value_t  *cv;

    rv = ngx_http_set_complex_value_slot(cf, cmd, conf);

    if (rv != NGX_CONF_OK) {
        return rv;
    }

    cv = *(ngx_http_complex_value_t **) (p + cmd->offset);

    if (cv->lengths == NULL
        && !nuc_name_valid(ngx_http_nucleus_str(&cv->value)))
    {
        value = cf->args->elts;

        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid name \"%V\" in \"%V\" directive, "
                           "it must match [a-z0-9][a-z0-9._-]{0,63}",
                           &value[1], &cmd->name);
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


static char *
ngx_http_nucleus_check_inflight(ngx_conf_t *cf, void *post, void *data)
{
    off_t *size = data;

    if (*size < NGX_HTTP_NUCLEUS_MIN_INFLIGHT) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"nucleus_max_inflight\" must be at least %ui",
                           (ngx_uint_t) NGX_HTTP_NUCLEUS_MIN_INFLIGHT);
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


static char *
ngx_http_nucleus_check_event_size(ngx_conf_t *cf, void *post, void *data)
{
    off_t *size = data;

    if (*size == 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"nucleus_max_event_size\" must not be 0");
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


static char *
ngx_http_nucleus_queue(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_nucleus_main_conf_t *nmcf = conf;

    char        *rv;
    ngx_str_t   *value;
    ngx_uint_t   i;

    if (nmcf->path) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (ngx_strcmp(value[1].data, "log") != 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "unknown queue \"%V\", it must be \"log\"",
                           &value[1]);
        return NGX_CONF_ERROR;
    }

    rv = ngx_http_nucleus_queue_path(cf, nmcf, &value[2]);

    for (i = 3; rv == NGX_CONF_OK && i < cf->args->nelts; i++) {
        rv = ngx_http_nucleus_queue_option(cf, nmcf, &value[i]);
    }

    return rv;
}


/* like nginx's temporary paths: made at start, owned by the worker's user */

static char *
ngx_http_nucleus_queue_path(ngx_conf_t *cf, ngx_http_nucleus_main_conf_t *nmcf,
    ngx_str_t *name)
{
    ngx_path_t       *path;
    ngx_file_info_t   fi;

    path = ngx_pcalloc(cf->pool, sizeof(ngx_path_t));
    if (path == NULL) {
        return NGX_CONF_ERROR;
    }

    path->name = *name;

    while (path->name.len && path->name.data[path->name.len - 1] == '/') {
        path->name.len--;
    }

    /* nginx gives the directory to the worker's user: never the root */

    if (path->name.len == 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid directory \"%V\" in \"nucleus_queue\" "
                           "directive", name);
        return NGX_CONF_ERROR;
    }

    path->name.data[path->name.len] = '\0';

    if (ngx_conf_full_name(cf->cycle, &path->name, 0) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    if (path->name.len >= NUC_PATH_MAX / 2) {
        return "has a too long directory name";
    }

    if (ngx_file_info(path->name.data, &fi) != NGX_FILE_ERROR
        && !ngx_is_dir(&fi))
    {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"%V\" is not a directory", &path->name);
        return NGX_CONF_ERROR;
    }

    if (ngx_http_nucleus_queue_disk(cf, path) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    path->data = nmcf;
    path->conf_file = cf->conf_file->file.name.data;
    path->line = cf->conf_file->line;

    nmcf->path = path;

    if (ngx_add_path(cf, &nmcf->path) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


/* where nothing can be durable there is no queue */

static ngx_int_t
ngx_http_nucleus_queue_disk(ngx_conf_t *cf, ngx_path_t *path)
{
    nuc_rc_t   rc;
    nuc_err_t  err;

    rc = nuc_fs_check_durable(&nuc_sys_posix, (char *) path->name.data, &err);

    if (rc == NUC_OK) {
        return NGX_OK;
    }

    if (rc == NUC_INVALID) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "nucleus queue %s: %s",
                           err.message, err.hint);
        return NGX_ERROR;
    }

    ngx_conf_log_error(NGX_LOG_WARN, cf, 0, "nucleus queue %s%s%s",
                       err.message, err.hint[0] ? ": " : "", err.hint);
    return NGX_OK;
}


static char *
ngx_http_nucleus_queue_option(ngx_conf_t *cf,
    ngx_http_nucleus_main_conf_t *nmcf, ngx_str_t *value)
{
    off_t      *size;
    ngx_str_t   s;

    s.data = ngx_strlchr(value->data, value->data + value->len, '=');

    if (s.data == NULL) {
        goto invalid;
    }

    s.data++;
    s.len = value->data + value->len - s.data;

    if (ngx_strncmp(value->data, "timeout=", 8) == 0) {
        if (nmcf->timeout != NGX_CONF_UNSET_MSEC) {
            goto duplicate;
        }

        nmcf->timeout = ngx_parse_time(&s, 0);
        if (nmcf->timeout == (ngx_msec_t) NGX_ERROR || nmcf->timeout == 0) {
            goto invalid;
        }

        return NGX_CONF_OK;
    }

    if (ngx_strncmp(value->data, "max_size=", 9) == 0) {
        size = &nmcf->max_size;

    } else if (ngx_strncmp(value->data, "min_free=", 9) == 0) {
        size = &nmcf->min_free;

    } else if (ngx_strncmp(value->data, "segment=", 8) == 0) {
        size = &nmcf->segment;

    } else {
        goto invalid;
    }

    if (*size != NGX_CONF_UNSET) {
        goto duplicate;
    }

    *size = ngx_parse_offset(&s);
    if (*size == NGX_ERROR || (*size == 0 && size != &nmcf->min_free)) {
        goto invalid;
    }

    return NGX_CONF_OK;

duplicate:

    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "duplicate parameter \"%V\"",
                       value);

    return NGX_CONF_ERROR;

invalid:

    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "invalid parameter \"%V\"",
                       value);

    return NGX_CONF_ERROR;
}


static ngx_int_t
ngx_http_nucleus_init(ngx_conf_t *cf)
{
    ngx_http_core_main_conf_t     *cmcf;
    ngx_http_nucleus_main_conf_t  *nmcf;

    nmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_nucleus_module);

    if (!nmcf->used) {
        return NGX_OK;
    }

    cmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_core_module);

    ngx_http_nucleus_warn_of_open(cf, nmcf, cmcf);

    if (nmcf->registry.len) {

        if (ngx_http_nucleus_check_registry(cf, nmcf) != NGX_OK
            || ngx_http_nucleus_add_handler(cmcf, NGX_HTTP_ACCESS_PHASE,
                                            ngx_http_nucleus_access_handler)
               != NGX_OK
            || ngx_http_nucleus_add_handler(cmcf, NGX_HTTP_REWRITE_PHASE,
                                            ngx_http_nucleus_rewrite_handler)
               != NGX_OK
            || ngx_http_nucleus_add_log_handler(cmcf) != NGX_OK)
        {
            return NGX_ERROR;
        }
    }

    if (nmcf->path && ngx_http_nucleus_add_zone(cf, nmcf) != NGX_OK) {
        return NGX_ERROR;
    }

    return ngx_http_nucleus_filter_init(cf);
}


static ngx_int_t
ngx_http_nucleus_add_handler(ngx_http_core_main_conf_t *cmcf,
    ngx_http_phases phase, ngx_http_handler_pt handler)
{
    ngx_http_handler_pt  *h;

    h = ngx_array_push(&cmcf->phases[phase].handlers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    *h = handler;

    return NGX_OK;
}


/* before the module that writes access logs, which has added its own */

static ngx_int_t
ngx_http_nucleus_add_log_handler(ngx_http_core_main_conf_t *cmcf)
{
    ngx_array_t          *handlers;
    ngx_http_handler_pt  *h;

    handlers = &cmcf->phases[NGX_HTTP_LOG_PHASE].handlers;

    if (ngx_array_push(handlers) == NULL) {
        return NGX_ERROR;
    }

    h = handlers->elts;

    ngx_memmove(h + 1, h,
                (handlers->nelts - 1) * sizeof(ngx_http_handler_pt));

    *h = ngx_http_nucleus_log_handler;

    return NGX_OK;
}
