
/*
 * What of a request is worth a variable.  $nucleus_tenant and $nucleus_key_id
 * are there before the access phase, for limit_req and map.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_http_nucleus_module.h"


static ngx_int_t ngx_http_nucleus_tenant_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_http_nucleus_key_id_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_http_nucleus_string_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_http_nucleus_count_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_http_nucleus_error_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static void ngx_http_nucleus_set_variable(ngx_http_variable_value_t *v,
    u_char *data, size_t len);
static ngx_http_nucleus_auth_t *ngx_http_nucleus_known_auth(
    ngx_http_request_t *r);


static ngx_http_variable_t  ngx_http_nucleus_vars[] = {

    { ngx_string("nucleus_tenant"), NULL, ngx_http_nucleus_tenant_variable,
      0, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("nucleus_key_id"), NULL, ngx_http_nucleus_key_id_variable,
      0, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("nucleus_stream"), NULL, ngx_http_nucleus_string_variable,
      offsetof(ngx_http_nucleus_ctx_t, stream), NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("nucleus_durability"), NULL, ngx_http_nucleus_string_variable,
      offsetof(ngx_http_nucleus_ctx_t, durability), NGX_HTTP_VAR_NOCACHEABLE,
      0 },

    { ngx_string("nucleus_events"), NULL, ngx_http_nucleus_count_variable,
      0, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("nucleus_rejected"), NULL, ngx_http_nucleus_count_variable,
      1, NGX_HTTP_VAR_NOCACHEABLE, 0 },

    { ngx_string("nucleus_error"), NULL, ngx_http_nucleus_error_variable,
      0, NGX_HTTP_VAR_NOCACHEABLE, 0 },

      ngx_http_null_variable
};


ngx_int_t
ngx_http_nucleus_add_variables(ngx_conf_t *cf)
{
    ngx_http_variable_t  *var, *v;

    for (v = ngx_http_nucleus_vars; v->name.len; v++) {
        var = ngx_http_add_variable(cf, &v->name, v->flags);
        if (var == NULL) {
            return NGX_ERROR;
        }

        var->get_handler = v->get_handler;
        var->data = v->data;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_nucleus_tenant_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_http_nucleus_ctx_t   *ctx;
    ngx_http_nucleus_auth_t  *auth;

    auth = ngx_http_nucleus_known_auth(r);

    if (auth) {
        ngx_http_nucleus_set_variable(v, auth->tenant.data, auth->tenant.len);
        return NGX_OK;
    }

    /* with authentication off the handler knows it, and nobody before */

    ctx = ngx_http_get_module_ctx(r, ngx_http_nucleus_module);

    if (ctx && ctx->auth == NULL) {
        ngx_http_nucleus_set_variable(v, ctx->tenant.data, ctx->tenant.len);
        return NGX_OK;
    }

    v->not_found = 1;

    return NGX_OK;
}


static ngx_int_t
ngx_http_nucleus_key_id_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_http_nucleus_auth_t  *auth;

    auth = ngx_http_nucleus_known_auth(r);

    if (auth == NULL) {
        v->not_found = 1;
        return NGX_OK;
    }

    ngx_http_nucleus_set_variable(v, auth->key_id, NUC_KEY_ID_LEN);

    return NGX_OK;
}


/* whose secret was right; what nobody has asked yet is asked here */

static ngx_http_nucleus_auth_t *
ngx_http_nucleus_known_auth(ngx_http_request_t *r)
{
    ngx_http_nucleus_ctx_t       *ctx;
    ngx_http_nucleus_auth_t      *auth;
    ngx_http_nucleus_loc_conf_t  *nlcf;

    nlcf = ngx_http_get_module_loc_conf(r, ngx_http_nucleus_module);
    ctx = ngx_http_get_module_ctx(r, ngx_http_nucleus_module);

    if (nlcf->enable && nlcf->auth) {
        auth = ngx_http_nucleus_get_auth(r);

    } else {
        auth = ctx ? ctx->auth : NULL;
    }

    return (auth && auth->tenant.len) ? auth : NULL;
}


static ngx_int_t
ngx_http_nucleus_string_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_str_t               *s;
    ngx_http_nucleus_ctx_t  *ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_http_nucleus_module);

    if (ctx == NULL) {
        v->not_found = 1;
        return NGX_OK;
    }

    s = (ngx_str_t *) ((char *) ctx + data);

    ngx_http_nucleus_set_variable(v, s->data, s->len);

    return NGX_OK;
}


static ngx_int_t
ngx_http_nucleus_count_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    size_t                   n;
    u_char                  *p;
    ngx_uint_t               rejected;
    ngx_http_nucleus_ctx_t  *ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_http_nucleus_module);

    if (ctx == NULL) {
        v->not_found = 1;
        return NGX_OK;
    }

    rejected = data;

    if (rejected) {
        n = ctx->problem ? ctx->count : 0;

    } else {
        n = ctx->durability.len ? ctx->count : 0;
    }

    p = ngx_pnalloc(r->pool, NGX_SIZE_T_LEN);
    if (p == NULL) {
        return NGX_ERROR;
    }

    ngx_http_nucleus_set_variable(v, p, ngx_sprintf(p, "%uz", n) - p);

    return NGX_OK;
}


static ngx_int_t
ngx_http_nucleus_error_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    const char              *name;
    ngx_http_nucleus_ctx_t  *ctx;

    ctx = ngx_http_get_module_ctx(r, ngx_http_nucleus_module);

    if (ctx == NULL || ctx->problem == NULL) {
        v->not_found = 1;
        return NGX_OK;
    }

    name = ngx_http_nucleus_problem_name(ctx->problem->code);

    ngx_http_nucleus_set_variable(v, (u_char *) name, ngx_strlen(name));

    return NGX_OK;
}


static void
ngx_http_nucleus_set_variable(ngx_http_variable_value_t *v, u_char *data,
    size_t len)
{
    if (len == 0) {
        v->not_found = 1;
        return;
    }

    v->data = data;
    v->len = len;
    v->valid = 1;
    v->no_cacheable = 0;
    v->not_found = 0;
}
