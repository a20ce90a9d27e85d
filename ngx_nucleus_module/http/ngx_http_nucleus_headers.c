
/*
 * What the headers of a request say about its body and its records.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "ngx_http_nucleus_module.h"

#include "nuc_name.h"

#include <sys/random.h>


#define NGX_HTTP_NUCLEUS_TRACEPARENT_LEN      55
#define NGX_HTTP_NUCLEUS_TRACEPARENT_MAX_LEN  256
#define NGX_HTTP_NUCLEUS_KEY_MAX_LEN          255
#define NGX_HTTP_NUCLEUS_REQUEST_ID_LEN       16


typedef ngx_int_t (*ngx_http_nucleus_header_pt)(ngx_http_request_t *r,
    ngx_http_nucleus_ctx_t *ctx, ngx_str_t *value);

typedef struct {
    ngx_str_t                   name;
    ngx_http_nucleus_header_pt  handler;
} ngx_http_nucleus_header_t;


static ngx_int_t ngx_http_nucleus_check_type(ngx_http_request_t *r,
    ngx_http_nucleus_ctx_t *ctx);
static u_char *ngx_http_nucleus_skip_space(u_char *p, u_char *last);
static ngx_int_t ngx_http_nucleus_check_charset(u_char *p, u_char *last);
static ngx_int_t ngx_http_nucleus_check_names(ngx_http_request_t *r,
    ngx_http_nucleus_ctx_t *ctx);
static ngx_int_t ngx_http_nucleus_get_name(ngx_http_request_t *r,
    ngx_http_complex_value_t *cv, const char *value, ngx_str_t *name);

static ngx_int_t ngx_http_nucleus_content_encoding(ngx_http_request_t *r,
    ngx_http_nucleus_ctx_t *ctx, ngx_str_t *value);
static ngx_int_t ngx_http_nucleus_idempotency_key(ngx_http_request_t *r,
    ngx_http_nucleus_ctx_t *ctx, ngx_str_t *value);
static ngx_int_t ngx_http_nucleus_traceparent(ngx_http_request_t *r,
    ngx_http_nucleus_ctx_t *ctx, ngx_str_t *value);
static ngx_int_t ngx_http_nucleus_hex(u_char *p, size_t n, ngx_uint_t *zero);
static void ngx_http_nucleus_make_request_id(ngx_http_request_t *r,
    ngx_http_variable_value_t *vv);


static ngx_http_nucleus_header_t  ngx_http_nucleus_headers[] = {
    { ngx_string("content-encoding"), ngx_http_nucleus_content_encoding },
    { ngx_string("idempotency-key"), ngx_http_nucleus_idempotency_key },
    { ngx_string("traceparent"), ngx_http_nucleus_traceparent },
    { ngx_null_string, NULL }
};


ngx_int_t
ngx_http_nucleus_check_headers(ngx_http_request_t *r,
    ngx_http_nucleus_ctx_t *ctx)
{
    ngx_int_t                   rc;
    ngx_uint_t                  i;
    ngx_list_part_t            *part;
    ngx_table_elt_t            *header;
    ngx_http_nucleus_header_t  *h;

    rc = ngx_http_nucleus_check_type(r, ctx);
    if (rc != NGX_OK) {
        return rc;
    }

    part = &r->headers_in.headers.part;
    header = part->elts;

    for (i = 0; /* void */; i++) {

        if (i >= part->nelts) {
            if (part->next == NULL) {
                break;
            }

            part = part->next;
            header = part->elts;
            i = 0;
        }

        for (h = ngx_http_nucleus_headers; h->name.len; h++) {

            if (header[i].key.len != h->name.len
                || ngx_strncmp(header[i].lowcase_key, h->name.data, h->name.len)
                   != 0)
            {
                continue;
            }

            rc = h->handler(r, ctx, &header[i].value);
            if (rc != NGX_OK) {
                return rc;
            }

            break;
        }
    }

    return ngx_http_nucleus_check_names(r, ctx);
}


/* RFC 9110, section 8.3.1 */

static ngx_int_t
ngx_http_nucleus_check_type(ngx_http_request_t *r, ngx_http_nucleus_ctx_t *ctx)
{
    u_char     *p, *last;
    nuc_str_t   type;
    ngx_str_t  *value;

    if (r->headers_in.content_type == NULL) {
        return ngx_http_nucleus_refuse(r, NGX_HTTP_NUCLEUS_UNSUPPORTED_TYPE, 0);
    }

    value = &r->headers_in.content_type->value;
    last = value->data + value->len;

    for (p = value->data; p < last; p++) {
        if (*p == ';' || *p == ' ' || *p == '\t') {
            break;
        }
    }

    type.data = value->data;
    type.len = p - value->data;

    ctx->format = nuc_format_by_media_type(type);
    if (ctx->format == NULL) {
        return ngx_http_nucleus_refuse(r, NGX_HTTP_NUCLEUS_UNSUPPORTED_TYPE, 0);
    }

    if (ngx_http_nucleus_check_charset(p, last) != NGX_OK) {
        return ngx_http_nucleus_refuse(r, NGX_HTTP_NUCLEUS_UNSUPPORTED_CHARSET,
                                       0);
    }

    return NGX_OK;
}


static u_char *
ngx_http_nucleus_skip_space(u_char *p, u_char *last)
{
    while (p < last && (*p == ' ' || *p == '\t')) {
        p++;
    }

    return p;
}


/* "p" points to the parameters of a media type */

static ngx_int_t
ngx_http_nucleus_check_charset(u_char *p, u_char *last)
{
    u_char  *value;
    size_t   len;

    for ( ;; ) {

        p = ngx_strlchr(p, last, ';');

        if (p == NULL) {
            return NGX_OK;
        }

        p = ngx_http_nucleus_skip_space(p + 1, last);

        if (last - p < (ssize_t) sizeof("charset=") - 1
            || ngx_strncasecmp(p, (u_char *) "charset=", sizeof("charset=") - 1)
               != 0)
        {
            continue;
        }

        value = p + sizeof("charset=") - 1;

        for (p = value; p < last; p++) {
            if (*p == ';' || *p == ' ' || *p == '\t') {
                break;
            }
        }

        len = p - value;

        if (len > 2 && value[0] == '"' && value[len - 1] == '"') {
            value++;
            len -= 2;
        }

        if (len != sizeof("utf-8") - 1
            || ngx_strncasecmp(value, (u_char *) "utf-8", len) != 0)
        {
            return NGX_DECLINED;
        }
    }
}


static ngx_int_t
ngx_http_nucleus_check_names(ngx_http_request_t *r, ngx_http_nucleus_ctx_t *ctx)
{
    ngx_int_t                     rc;
    ngx_http_nucleus_loc_conf_t  *nlcf;

    nlcf = ngx_http_get_module_loc_conf(r, ngx_http_nucleus_module);

    rc = ngx_http_nucleus_get_name(r, nlcf->stream,
                                   nuc_kind_name(ctx->format->kind),
                                   &ctx->stream);

    if (rc == NGX_DECLINED) {
        return ngx_http_nucleus_refuse(r, NGX_HTTP_NUCLEUS_INVALID_STREAM, 0);
    }

    if (rc != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    if (nlcf->auth) {
        return NGX_OK;
    }

    rc = ngx_http_nucleus_get_name(r, nlcf->tenant, "default", &ctx->tenant);

    if (rc == NGX_DECLINED) {
        return ngx_http_nucleus_refuse(r, NGX_HTTP_NUCLEUS_INVALID_TENANT, 0);
    }

    if (rc != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_nucleus_get_name(ngx_http_request_t *r, ngx_http_complex_value_t *cv,
    const char *value, ngx_str_t *name)
{
    if (cv == NULL) {
        name->data = (u_char *) value;
        name->len = ngx_strlen(value);
        return NGX_OK;
    }

    if (ngx_http_complex_value(r, cv, name) != NGX_OK) {
        return NGX_ERROR;
    }

    if (cv->lengths && !nuc_name_valid(ngx_http_nucleus_str(name))) {
        return NGX_DECLINED;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_nucleus_content_encoding(ngx_http_request_t *r,
    ngx_http_nucleus_ctx_t *ctx, ngx_str_t *value)
{
    if (value->len == sizeof("identity") - 1
        && ngx_strncasecmp(value->data, (u_char *) "identity", value->len) == 0)
    {
        return NGX_OK;
    }

    return ngx_http_nucleus_refuse(r, NGX_HTTP_NUCLEUS_UNSUPPORTED_ENCODING, 0);
}


static ngx_int_t
ngx_http_nucleus_idempotency_key(ngx_http_request_t *r,
    ngx_http_nucleus_ctx_t *ctx, ngx_str_t *value)
{
    size_t  i;

    if (ctx->key.len
        || value->len == 0
        || value->len > NGX_HTTP_NUCLEUS_KEY_MAX_LEN)
    {
        return ngx_http_nucleus_refuse(r, NGX_HTTP_NUCLEUS_INVALID_KEY, 0);
    }

    for (i = 0; i < value->len; i++) {
        if (value->data[i] < 0x20 || value->data[i] > 0x7e) {
            return ngx_http_nucleus_refuse(r, NGX_HTTP_NUCLEUS_INVALID_KEY, 0);
        }
    }

    ctx->key = *value;

    return NGX_OK;
}


/*
 * W3C Trace Context, section 3.2.  One that is not valid, or one of two, is
 * as if it were not there
 */

static ngx_int_t
ngx_http_nucleus_traceparent(ngx_http_request_t *r,
    ngx_http_nucleus_ctx_t *ctx, ngx_str_t *value)
{
    u_char      *p;
    ngx_uint_t   version_zero, trace_zero, parent_zero, flags_zero;

    if (ctx->traceparent.data) {
        ctx->traceparent.len = 0;
        return NGX_OK;
    }

    p = value->data;

    ctx->traceparent.data = p;

    if (value->len < NGX_HTTP_NUCLEUS_TRACEPARENT_LEN
        || value->len > NGX_HTTP_NUCLEUS_TRACEPARENT_MAX_LEN
        || p[2] != '-' || p[35] != '-' || p[52] != '-'
        || ngx_http_nucleus_hex(&p[0], 2, &version_zero) != NGX_OK
        || ngx_http_nucleus_hex(&p[3], 32, &trace_zero) != NGX_OK
        || ngx_http_nucleus_hex(&p[36], 16, &parent_zero) != NGX_OK
        || ngx_http_nucleus_hex(&p[53], 2, &flags_zero) != NGX_OK
        || trace_zero || parent_zero
        || (p[0] == 'f' && p[1] == 'f'))
    {
        return NGX_OK;
    }

    /* later versions may go on after another dash */

    if (value->len > NGX_HTTP_NUCLEUS_TRACEPARENT_LEN
        && (version_zero || p[NGX_HTTP_NUCLEUS_TRACEPARENT_LEN] != '-'))
    {
        return NGX_OK;
    }

    ctx->traceparent.len = value->len;

    return NGX_OK;
}


static ngx_int_t
ngx_http_nucleus_hex(u_char *p, size_t n, ngx_uint_t *zero)
{
    size_t  i;

    *zero = 1;

    for (i = 0; i < n; i++) {

        if ((p[i] < '0' || p[i] > '9') && (p[i] < 'a' || p[i] > 'f')) {
            return NGX_DECLINED;
        }

        if (p[i] != '0') {
            *zero = 0;
        }
    }

    return NGX_OK;
}


/* $request_id, as it is in the access log */

nuc_str_t
ngx_http_nucleus_request_id(ngx_http_request_t *r)
{
    nuc_str_t                      id;
    ngx_http_variable_value_t     *vv;
    ngx_http_nucleus_main_conf_t  *nmcf;

    nmcf = ngx_http_get_module_main_conf(r, ngx_http_nucleus_module);

    vv = &r->variables[nmcf->request_id];

    if (!vv->valid && !vv->not_found) {
        ngx_http_nucleus_make_request_id(r, vv);
    }

    vv = ngx_http_get_indexed_variable(r, nmcf->request_id);

    if (vv == NULL || vv->not_found) {
        return NUC_STR_NONE;
    }

    id.data = vv->data;
    id.len = vv->len;

    return id;
}


/*
 * What nginx's own handler of the variable would do: 16 random bytes, in hex.
 * It asks OpenSSL for them each time, at a twentieth of the time of a request
 */

static void
ngx_http_nucleus_make_request_id(ngx_http_request_t *r,
    ngx_http_variable_value_t *vv)
{
    u_char                      *p;
    ngx_http_nucleus_process_t  *np;

    np = &ngx_http_nucleus_process;

    if (np->nrandom == 0) {

        if (getrandom(np->random, NGX_HTTP_NUCLEUS_RANDOM, GRND_NONBLOCK)
            != NGX_HTTP_NUCLEUS_RANDOM)
        {
            return;
        }

        np->nrandom = NGX_HTTP_NUCLEUS_RANDOM;
    }

    p = ngx_pnalloc(r->pool, 2 * NGX_HTTP_NUCLEUS_REQUEST_ID_LEN);
    if (p == NULL) {
        return;
    }

    np->nrandom -= NGX_HTTP_NUCLEUS_REQUEST_ID_LEN;

    ngx_hex_dump(p, &np->random[np->nrandom], NGX_HTTP_NUCLEUS_REQUEST_ID_LEN);

    vv->data = p;
    vv->len = 2 * NGX_HTTP_NUCLEUS_REQUEST_ID_LEN;
    vv->valid = 1;
    vv->no_cacheable = 0;
    vv->not_found = 0;
}
