
/*
 * Who sends, and may they?  Asked once in a request, by whoever is first: the
 * access phase, a variable, or the handler.  The answer is kept past internal
 * redirects; what was proven is looked up again, without the secret, when the
 * registry has changed before the events are stored.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_http.h>

#include "ngx_http_nucleus_module.h"

#include "nuc_credentials.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>


static ngx_int_t ngx_http_nucleus_slow(ngx_http_request_t *r,
    ngx_http_nucleus_ctx_t *ctx, ngx_msec_t max);
static void ngx_http_nucleus_slow_handler(ngx_http_request_t *r);
static ngx_int_t ngx_http_nucleus_find_again(nuc_snapshot_t *snapshot,
    ngx_http_nucleus_auth_t *auth, nuc_snapshot_entry_t *entry);
static void ngx_http_nucleus_check_credentials(ngx_http_request_t *r,
    ngx_http_nucleus_auth_t *auth);
static ngx_uint_t ngx_http_nucleus_is_private(ngx_http_request_t *r);
static ngx_str_t *ngx_http_nucleus_find_header(ngx_http_request_t *r,
    ngx_str_t *names);
static void ngx_http_nucleus_take_key(ngx_http_request_t *r,
    ngx_http_nucleus_auth_t *auth, ngx_str_t *argument);
static ngx_http_nucleus_problem_e ngx_http_nucleus_fault(
    nuc_credentials_fault_t fault);
static void ngx_http_nucleus_check_key(ngx_http_request_t *r,
    ngx_http_nucleus_auth_t *auth, nuc_key_t *key);
static void ngx_http_nucleus_take_certificate(ngx_http_request_t *r,
    ngx_http_nucleus_auth_t *auth);
static ngx_int_t ngx_http_nucleus_certificate_digest(ngx_http_request_t *r,
    u_char *digest);
static void ngx_http_nucleus_check_entry(ngx_http_request_t *r,
    ngx_http_nucleus_auth_t *auth, nuc_snapshot_t *snapshot,
    nuc_snapshot_entry_t *entry);
static ngx_uint_t ngx_http_nucleus_copy_limits(nuc_limit_t *to,
    const nuc_limit_t *from);
static void ngx_http_nucleus_hide_user(ngx_http_request_t *r);
static void ngx_http_nucleus_hide_arguments(ngx_http_request_t *r,
    ngx_str_t *name);
static void ngx_http_nucleus_own(ngx_http_request_t *r, ngx_str_t *text);
static void ngx_http_nucleus_hide_argument(ngx_http_request_t *r,
    u_char *data, size_t name, size_t len);
static void ngx_http_nucleus_hide(ngx_str_t *where, ngx_str_t *argument,
    size_t name);
static ngx_int_t ngx_http_nucleus_challenge(ngx_http_request_t *r,
    ngx_http_nucleus_problem_e code);


/* wrong keys that cost nothing; half of what the next one costs, ms */
#define NGX_HTTP_NUCLEUS_FREE_FAILURES  5
#define NGX_HTTP_NUCLEUS_DELAY          100

/* refusals that wait in one process */
#define NGX_HTTP_NUCLEUS_MAX_SLOWED     512


/* the hops that only a proxy adds */

static ngx_str_t  ngx_http_nucleus_forwarding[] = {
    ngx_string("forwarded"),
    ngx_string("via"),
    ngx_string("x-forwarded-for"),
    ngx_string("x-forwarded-host"),
    ngx_string("x-forwarded-proto"),
    ngx_string("x-real-ip"),
    ngx_null_string
};


static ngx_str_t  ngx_http_nucleus_api_key[] = {
    ngx_string("x-api-key"),
    ngx_null_string
};


/* in a location that is not ours, or that asks for no key, there is nothing */

ngx_int_t
ngx_http_nucleus_access_handler(ngx_http_request_t *r)
{
    ngx_int_t                     rc;
    ngx_http_nucleus_ctx_t       *ctx;
    ngx_http_nucleus_loc_conf_t  *nlcf;

    nlcf = ngx_http_get_module_loc_conf(r, ngx_http_nucleus_module);

    if (!nlcf->enable || !nlcf->auth) {
        return NGX_DECLINED;
    }

    ctx = ngx_http_nucleus_get_ctx(r);
    if (ctx == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    rc = ngx_http_nucleus_authenticate(r, ctx);

    if (rc == NGX_OK) {
        return NGX_OK;
    }

    /* a client that waits for 100 Continue may never send the body */

    if (r->headers_in.expect && !r->expect_tested) {
        r->keepalive = 0;
    }

    if (rc == NGX_HTTP_UNAUTHORIZED && !ctx->slowed && nlcf->auth_delay
        && ctx->auth->code != NGX_HTTP_NUCLEUS_MISSING_CREDENTIALS)
    {
        return ngx_http_nucleus_slow(r, ctx, nlcf->auth_delay);
    }

    return rc;
}


/*
 * Who guesses keys waits for each answer, twice as long each time.  Not too
 * many at once: what waits takes a connection
 */

static ngx_int_t
ngx_http_nucleus_slow(ngx_http_request_t *r, ngx_http_nucleus_ctx_t *ctx,
    ngx_msec_t max)
{
    ngx_uint_t                   failures;
    ngx_msec_t                   delay;
    ngx_http_nucleus_process_t  *np;

    np = &ngx_http_nucleus_process;

    failures = ngx_http_nucleus_count_failure(r);

    if (failures <= NGX_HTTP_NUCLEUS_FREE_FAILURES) {
        return NGX_HTTP_UNAUTHORIZED;
    }

    failures -= NGX_HTTP_NUCLEUS_FREE_FAILURES;

    delay = (ngx_msec_t) NGX_HTTP_NUCLEUS_DELAY << failures;
    delay = ngx_min(delay, max);

    if (np->nslowed >= NGX_HTTP_NUCLEUS_MAX_SLOWED) {
        return ngx_http_nucleus_refuse(r, NGX_HTTP_NUCLEUS_TOO_MANY_FAILURES,
                                       (delay + 999) / 1000);
    }

    if (ngx_handle_read_event(r->connection->read, 0) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    np->nslowed++;

    ctx->slowed = 1;
    ctx->slow = 1;

    r->read_event_handler = ngx_http_test_reading;
    r->write_event_handler = ngx_http_nucleus_slow_handler;

    r->connection->write->delayed = 1;
    ngx_add_timer(r->connection->write, delay);

    return NGX_AGAIN;
}


static void
ngx_http_nucleus_slow_handler(ngx_http_request_t *r)
{
    ngx_event_t             *wev;
    ngx_http_nucleus_ctx_t  *ctx;

    wev = r->connection->write;

    if (wev->delayed) {

        if (ngx_handle_write_event(wev, 0) != NGX_OK) {
            ngx_http_finalize_request(r, NGX_HTTP_INTERNAL_SERVER_ERROR);
        }

        return;
    }

    ctx = ngx_http_get_module_ctx(r, ngx_http_nucleus_module);

    ngx_http_nucleus_end_slow(ctx);

    if (ngx_handle_read_event(r->connection->read, 0) != NGX_OK) {
        ngx_http_finalize_request(r, NGX_HTTP_INTERNAL_SERVER_ERROR);
        return;
    }

    r->read_event_handler = ngx_http_block_reading;
    r->write_event_handler = ngx_http_core_run_phases;

    ngx_http_core_run_phases(r);
}


void
ngx_http_nucleus_end_slow(ngx_http_nucleus_ctx_t *ctx)
{
    if (ctx->slow) {
        ctx->slow = 0;
        ngx_http_nucleus_process.nslowed--;
    }
}


/* a key that nginx would log by itself is hidden before anything can do so */

ngx_int_t
ngx_http_nucleus_rewrite_handler(ngx_http_request_t *r)
{
    ngx_http_nucleus_loc_conf_t  *nlcf;

    nlcf = ngx_http_get_module_loc_conf(r, ngx_http_nucleus_module);

    if (!nlcf->enable || !nlcf->auth) {
        return NGX_DECLINED;
    }

    ngx_http_nucleus_hide_user(r);

    if (nlcf->auth_argument.len && r == r->main) {
        (void) ngx_http_nucleus_get_auth(r);
    }

    return NGX_DECLINED;
}


/* what was refused before a location was found, or came to another, is logged */

ngx_int_t
ngx_http_nucleus_log_handler(ngx_http_request_t *r)
{
    ngx_http_nucleus_hide_user(r);

    return NGX_OK;
}


/* NGX_OK, or the status to refuse with */

ngx_int_t
ngx_http_nucleus_authenticate(ngx_http_request_t *r,
    ngx_http_nucleus_ctx_t *ctx)
{
    ngx_http_nucleus_auth_t      *auth;
    ngx_http_nucleus_loc_conf_t  *nlcf;

    if (ctx->let_in) {
        return NGX_OK;
    }

    auth = ngx_http_nucleus_get_auth(r);
    if (auth == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    nlcf = ngx_http_get_module_loc_conf(r, ngx_http_nucleus_module);

    if (nlcf->require_tls && !ngx_http_nucleus_is_private(r)) {
        return ngx_http_nucleus_refuse(r, NGX_HTTP_NUCLEUS_TLS_REQUIRED, 0);
    }

    if (auth->code == NGX_HTTP_NUCLEUS_NO_PROBLEM) {
        ctx->tenant = auth->tenant;
        ctx->let_in = 1;
        return NGX_OK;
    }

    if (auth->code == NGX_HTTP_NUCLEUS_REGISTRY_FAILED) {
        return ngx_http_nucleus_refuse(r, auth->code, 1);
    }

    if (ngx_http_nucleus_challenge(r, auth->code) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    return ngx_http_nucleus_refuse(r, auth->code, 0);
}


/* NULL: no memory */

ngx_http_nucleus_auth_t *
ngx_http_nucleus_get_auth(ngx_http_request_t *r)
{
    ngx_http_nucleus_ctx_t   *ctx;
    ngx_http_nucleus_auth_t  *auth;

    ctx = ngx_http_nucleus_get_ctx(r);
    if (ctx == NULL) {
        return NULL;
    }

    if (ctx->auth) {
        return ctx->auth;
    }

    auth = ngx_pcalloc(r->pool, sizeof(ngx_http_nucleus_auth_t));
    if (auth == NULL) {
        return NULL;
    }

    ngx_http_nucleus_check_credentials(r, auth);

    ctx->auth = auth;

    return auth;
}


/*
 * Once more, when the registry has changed since: what was revoked while the
 * body came is not stored
 */

ngx_int_t
ngx_http_nucleus_authenticate_again(ngx_http_request_t *r,
    ngx_http_nucleus_ctx_t *ctx)
{
    ngx_int_t                 rc;
    nuc_snapshot_t           *snapshot;
    nuc_snapshot_entry_t      entry;
    ngx_http_nucleus_auth_t  *auth;

    auth = ctx->auth;
    snapshot = ngx_http_nucleus_snapshot();

    if (auth == NULL || snapshot->generation == auth->generation) {
        return NGX_OK;
    }

    if (ngx_http_nucleus_find_again(snapshot, auth, &entry) == NGX_OK) {
        ngx_http_nucleus_check_entry(r, auth, snapshot, &entry);

    } else {
        auth->code = NGX_HTTP_NUCLEUS_INVALID_CREDENTIALS;
    }

    ctx->let_in = 0;

    rc = ngx_http_nucleus_authenticate(r, ctx);

    if (rc != NGX_OK) {
        return rc;
    }

    return ngx_http_nucleus_check_stream(r, ctx);
}


static ngx_int_t
ngx_http_nucleus_find_again(nuc_snapshot_t *snapshot,
    ngx_http_nucleus_auth_t *auth, nuc_snapshot_entry_t *entry)
{
    nuc_rc_t  rc;

    if (auth->by_certificate) {
        rc = nuc_snapshot_find_certificate(snapshot, auth->digest, entry);
        return rc == NUC_OK ? NGX_OK : NGX_DECLINED;
    }

    rc = nuc_snapshot_find(snapshot, auth->id, entry);

    if (rc != NUC_OK || !nuc_key_digest_equal(entry->digest, auth->digest)) {
        return NGX_DECLINED;
    }

    return NGX_OK;
}


ngx_int_t
ngx_http_nucleus_check_stream(ngx_http_request_t *r,
    ngx_http_nucleus_ctx_t *ctx)
{
    nuc_snapshot_t        *snapshot;
    nuc_snapshot_entry_t   entry;

    if (ctx->auth == NULL || ctx->auth->any_stream) {
        return NGX_OK;
    }

    snapshot = ngx_http_nucleus_snapshot();

    /* one that has gone meanwhile is refused before the events are stored */

    if (nuc_snapshot_find(snapshot, ctx->auth->id, &entry) != NUC_OK
        || nuc_snapshot_allows_stream(snapshot, &entry,
                                      ngx_http_nucleus_str(&ctx->stream)))
    {
        return NGX_OK;
    }

    return ngx_http_nucleus_refuse(r, NGX_HTTP_NUCLEUS_STREAM_NOT_ALLOWED, 0);
}


static void
ngx_http_nucleus_check_credentials(ngx_http_request_t *r,
    ngx_http_nucleus_auth_t *auth)
{
    ngx_str_t                     argument;
    ngx_http_nucleus_loc_conf_t  *nlcf;

    nlcf = ngx_http_get_module_loc_conf(r, ngx_http_nucleus_module);

    if (nlcf->auth_argument.len == 0
        || ngx_http_arg(r, nlcf->auth_argument.data, nlcf->auth_argument.len,
                        &argument)
           != NGX_OK)
    {
        ngx_str_null(&argument);
    }

    if (ngx_http_nucleus_snapshot()) {
        ngx_http_nucleus_take_key(r, auth, &argument);

    } else {
        auth->code = NGX_HTTP_NUCLEUS_REGISTRY_FAILED;
    }

    if (argument.data) {
        ngx_http_nucleus_hide_arguments(r, &nlcf->auth_argument);
    }
}


/*
 * Nobody listens on the way.  What comes from this machine may have come to a
 * proxy here from anywhere: then a header, or the PROXY protocol, tells of it
 */

static ngx_uint_t
ngx_http_nucleus_is_private(ngx_http_request_t *r)
{
    ngx_connection_t  *c;

    c = r->connection;

#if (NGX_HTTP_SSL)

    if (c->ssl) {
        return 1;
    }

#endif

    if (!ngx_http_nucleus_is_loopback(c->sockaddr) || c->proxy_protocol) {
        return 0;
    }

    return ngx_http_nucleus_find_header(r, ngx_http_nucleus_forwarding)
           == NULL;
}


ngx_uint_t
ngx_http_nucleus_is_loopback(struct sockaddr *sa)
{
    u_char  address[16];

    static u_char  v4[] = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 127 };
    static u_char  v6[] = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1 };

    if (sa->sa_family == AF_UNIX) {
        return 1;
    }

    ngx_http_nucleus_map_address(sa, address);

    return ngx_memcmp(address, v4, sizeof(v4)) == 0
           || ngx_memcmp(address, v6, sizeof(v6)) == 0;
}


/* IPv4 is mapped into IPv6; an address of another kind is the unspecified */

void
ngx_http_nucleus_map_address(struct sockaddr *sa, u_char *address)
{
    struct sockaddr_in   *sin;
#if (NGX_HAVE_INET6)
    struct sockaddr_in6  *sin6;
#endif

    ngx_memzero(address, 16);

    switch (sa->sa_family) {

#if (NGX_HAVE_INET6)
    case AF_INET6:
        sin6 = (struct sockaddr_in6 *) sa;
        ngx_memcpy(address, sin6->sin6_addr.s6_addr, 16);
        break;
#endif

    case AF_INET:
        sin = (struct sockaddr_in *) sa;
        address[10] = 0xff;
        address[11] = 0xff;
        ngx_memcpy(&address[12], &sin->sin_addr.s_addr, 4);
        break;
    }
}


/*
 * The first header that has one of the names, none of which has 64 characters.
 * Most headers differ from all of them in their length already
 */

static ngx_str_t *
ngx_http_nucleus_find_header(ngx_http_request_t *r, ngx_str_t *names)
{
    size_t            len;
    uint64_t          lengths;
    ngx_str_t        *name;
    ngx_uint_t        i;
    ngx_list_part_t  *part;
    ngx_table_elt_t  *header;

    lengths = 0;

    for (name = names; name->len; name++) {
        lengths |= (uint64_t) 1 << name->len;
    }

    part = &r->headers_in.headers.part;
    header = part->elts;

    for (i = 0; /* void */; i++) {

        if (i >= part->nelts) {
            if (part->next == NULL) {
                return NULL;
            }

            part = part->next;
            header = part->elts;
            i = 0;
        }

        len = header[i].key.len;

        if (len > 63 || !(lengths >> len & 1)) {
            continue;
        }

        for (name = names; name->len; name++) {

            if (name->len == len
                && ngx_strncmp(header[i].lowcase_key, name->data, len) == 0)
            {
                return &header[i].value;
            }
        }
    }
}


/*
 * The first that is there: a key in Authorization, X-API-Key, the argument, a
 * client's certificate.  An Authorization that holds no key counts only when
 * there is nothing else: it may be meant for auth_basic
 */

static void
ngx_http_nucleus_take_key(ngx_http_request_t *r, ngx_http_nucleus_auth_t *auth,
    ngx_str_t *argument)
{
    ngx_str_t                *value;
    ngx_uint_t                decoded;
    nuc_credentials_t         credentials;
    nuc_credentials_fault_t   fault;
    u_char                    scratch[NUC_CREDENTIALS_SCRATCH];

    fault = NUC_CREDENTIALS_NONE;
    decoded = 0;

    if (r->headers_in.authorization) {
        value = &r->headers_in.authorization->value;
        fault = nuc_credentials_authorization(ngx_http_nucleus_str(value),
                                              1, scratch, &credentials);
        decoded = (credentials.form == NUC_CREDENTIALS_BASIC);
    }

    if (fault != NUC_CREDENTIALS_GOOD) {
        value = ngx_http_nucleus_find_header(r, ngx_http_nucleus_api_key);

        if (value == NULL && argument->len) {
            value = argument;
        }

        if (value) {
            fault = nuc_credentials_bare(ngx_http_nucleus_str(value),
                                         &credentials);
        }
    }

    if (fault == NUC_CREDENTIALS_GOOD) {
        ngx_http_nucleus_check_key(r, auth, &credentials.key);

    } else {
        auth->code = ngx_http_nucleus_fault(fault);
    }

    if (decoded) {
        OPENSSL_cleanse(scratch, NUC_CREDENTIALS_SCRATCH);
    }

    if (fault == NUC_CREDENTIALS_NONE) {
        ngx_http_nucleus_take_certificate(r, auth);
    }
}


static ngx_http_nucleus_problem_e
ngx_http_nucleus_fault(nuc_credentials_fault_t fault)
{
    switch (fault) {

    case NUC_CREDENTIALS_NONE:
        return NGX_HTTP_NUCLEUS_MISSING_CREDENTIALS;

    case NUC_CREDENTIALS_SCHEME:
        return NGX_HTTP_NUCLEUS_UNSUPPORTED_SCHEME;

    case NUC_CREDENTIALS_BAD_SUM:
        return NGX_HTTP_NUCLEUS_DAMAGED_KEY;

    case NUC_CREDENTIALS_MISMATCH:
        return NGX_HTTP_NUCLEUS_MISMATCHED_KEY;

    default: /* NUC_CREDENTIALS_MALFORMED */
        return NGX_HTTP_NUCLEUS_MALFORMED_CREDENTIALS;
    }
}


/* an unknown key takes as long as a known one with another secret */

static void
ngx_http_nucleus_check_key(ngx_http_request_t *r,
    ngx_http_nucleus_auth_t *auth, nuc_key_t *key)
{
    nuc_rc_t               rc;
    nuc_snapshot_t        *snapshot;
    nuc_snapshot_entry_t   entry;

    static u_char  nobody[NUC_KEY_DIGEST_LEN];

    snapshot = ngx_http_nucleus_snapshot();

    if (nuc_key_digest(ngx_http_nucleus_process.registry.hasher, key,
                       auth->digest)
        != NUC_OK)
    {
        if (ngx_http_nucleus_is_news(NGX_HTTP_NUCLEUS_FAULT_DIGEST)) {
            ngx_log_error(NGX_LOG_CRIT, r->connection->log, 0,
                          "nucleus can't make the digest of a key");
        }

        auth->code = NGX_HTTP_NUCLEUS_REGISTRY_FAILED;
        return;
    }

    rc = nuc_snapshot_find(snapshot, key->id, &entry);

    if (!nuc_key_digest_equal(auth->digest,
                              rc == NUC_OK ? entry.digest : nobody)
        || rc != NUC_OK)
    {
        auth->code = NGX_HTTP_NUCLEUS_INVALID_CREDENTIALS;
        return;
    }

    ngx_http_nucleus_check_entry(r, auth, snapshot, &entry);
}


/*
 * By the certificate's text, since the library that nginx was built with may
 * be another than ours
 */

static void
ngx_http_nucleus_take_certificate(ngx_http_request_t *r,
    ngx_http_nucleus_auth_t *auth)
{
    nuc_snapshot_t        *snapshot;
    nuc_snapshot_entry_t   entry;

    snapshot = ngx_http_nucleus_snapshot();

    if (ngx_http_nucleus_certificate_digest(r, auth->digest) != NGX_OK) {
        return;
    }

    if (nuc_snapshot_find_certificate(snapshot, auth->digest, &entry)
        != NUC_OK)
    {
        auth->code = NGX_HTTP_NUCLEUS_UNKNOWN_CERTIFICATE;
        return;
    }

    auth->by_certificate = 1;

    ngx_http_nucleus_check_entry(r, auth, snapshot, &entry);
}


/* SHA-256 of one that nginx has verified */

static ngx_int_t
ngx_http_nucleus_certificate_digest(ngx_http_request_t *r, u_char *digest)
{
    u_char                     *p, *last;
    ngx_str_t                   text, der;
    ngx_http_variable_value_t  *vv;

    static ngx_str_t  verify = ngx_string("ssl_client_verify");
    static ngx_str_t  cert = ngx_string("ssl_client_raw_cert");

    vv = ngx_http_get_variable(r, &verify,
                               ngx_hash_key(verify.data, verify.len));

    if (vv == NULL || vv->not_found || vv->len != sizeof("SUCCESS") - 1
        || ngx_strncmp(vv->data, "SUCCESS", vv->len) != 0)
    {
        return NGX_DECLINED;
    }

    vv = ngx_http_get_variable(r, &cert, ngx_hash_key(cert.data, cert.len));

    if (vv == NULL || vv->not_found || vv->len == 0) {
        return NGX_DECLINED;
    }

    text.data = ngx_pnalloc(r->pool, vv->len);
    der.data = ngx_pnalloc(r->pool, ngx_base64_decoded_length(vv->len));

    if (text.data == NULL || der.data == NULL) {
        return NGX_ERROR;
    }

    /* the lines between those that begin with dashes, as one */

    text.len = 0;
    last = vv->data + vv->len;

    for (p = vv->data; p < last; p++) {

        if (*p == '-') {
            p = ngx_strlchr(p, last, LF);

            if (p == NULL) {
                break;
            }

        } else if (*p != CR && *p != LF) {
            text.data[text.len++] = *p;
        }
    }

    if (ngx_decode_base64(&der, &text) != NGX_OK
        || EVP_Digest(der.data, der.len, digest, NULL, EVP_sha256(), NULL)
           != 1)
    {
        return NGX_ERROR;
    }

    return NGX_OK;
}


/* the secret is right, or was; all else is the registry's to say */

static void
ngx_http_nucleus_check_entry(ngx_http_request_t *r,
    ngx_http_nucleus_auth_t *auth, nuc_snapshot_t *snapshot,
    nuc_snapshot_entry_t *entry)
{
    time_t                 now;
    u_char                 address[16];
    nuc_snapshot_tenant_t  tenant;

    now = ngx_time();

    nuc_snapshot_tenant(snapshot, entry->tenant, &tenant);

    auth->generation = snapshot->generation;
    auth->id = entry->id;
    auth->lineage = entry->lineage;
    auth->any_stream = entry->any_stream;

    ngx_http_nucleus_map_address(r->connection->sockaddr, address);

    if (entry->revoked) {
        auth->code = NGX_HTTP_NUCLEUS_KEY_REVOKED;

    } else if (tenant.disabled) {
        auth->code = NGX_HTTP_NUCLEUS_TENANT_DISABLED;

    } else if (entry->not_before > (uint64_t) now) {
        auth->code = NGX_HTTP_NUCLEUS_KEY_NOT_YET_VALID;

    } else if (entry->not_after && entry->not_after <= (uint64_t) now) {
        auth->code = NGX_HTTP_NUCLEUS_KEY_EXPIRED;

    } else if (!(entry->scopes & NUC_SCOPE_COLLECT)) {
        auth->code = NGX_HTTP_NUCLEUS_INSUFFICIENT_SCOPE;

    } else if (!nuc_snapshot_allows_address(snapshot, entry, address)) {
        auth->code = NGX_HTTP_NUCLEUS_ADDRESS_NOT_ALLOWED;

    } else {
        auth->code = NGX_HTTP_NUCLEUS_NO_PROBLEM;
        ngx_http_nucleus_note_use(entry->id);
    }

    /* the snapshot may go before the request does */

    nuc_key_id_text(entry->id, (char *) auth->key_id);

    auth->tenant.data = auth->tenant_name;
    auth->tenant.len = tenant.name.len;

    ngx_memcpy(auth->tenant_name, tenant.name.data, tenant.name.len);

    auth->max_inflight = ngx_min(tenant.max_inflight, NGX_MAX_SIZE_T_VALUE);
    auth->max_events = tenant.max_events_a_day;
    auth->max_queued = tenant.max_queue_bytes;

    auth->key_limited = ngx_http_nucleus_copy_limits(auth->key_limits,
                                                     entry->limits);
    auth->tenant_limited = ngx_http_nucleus_copy_limits(auth->tenant_limits,
                                                        tenant.limits);
}


/* whether there are any */

static ngx_uint_t
ngx_http_nucleus_copy_limits(nuc_limit_t *to, const nuc_limit_t *from)
{
    nuc_unit_t  unit;
    ngx_uint_t  limited;

    limited = 0;

    for (unit = 0; unit < NUC_UNIT_COUNT; unit++) {
        to[unit] = from[unit];

        if (from[unit].rate) {
            limited = 1;
        }
    }

    return limited;
}


/*
 * Where the key is the user of Basic, right or wrong, $remote_user would be
 * the key, which "combined" logs.  Here nginx learns that there is no user
 */

static void
ngx_http_nucleus_hide_user(ngx_http_request_t *r)
{
    u_char     *p, *last;
    ngx_str_t  *value;

    /* all of "nuc_" but its last two bits */

    static ngx_str_t  prefix = ngx_string("bnVjX");

    if (r->headers_in.authorization == NULL) {
        return;
    }

    value = &r->headers_in.authorization->value;

    if (value->len < sizeof("Basic ") - 1
        || ngx_strncasecmp(value->data, (u_char *) "Basic ",
                           sizeof("Basic ") - 1)
           != 0)
    {
        return;
    }

    p = value->data + sizeof("Basic ") - 1;
    last = value->data + value->len;

    while (p < last && *p == ' ') {
        p++;
    }

    if ((size_t) (last - p) < prefix.len
        || ngx_strncmp(p, prefix.data, prefix.len) != 0)
    {
        return;
    }

    ngx_str_set(&r->headers_in.user, "");
}


/* however often it is there */

static void
ngx_http_nucleus_hide_arguments(ngx_http_request_t *r, ngx_str_t *name)
{
    u_char  *p, *end, *last;

    if (r != r->main) {

        /* the request that it is a copy of may have to send these on */

        ngx_http_nucleus_own(r, &r->request_line);
        ngx_http_nucleus_own(r, &r->unparsed_uri);
        ngx_http_nucleus_own(r, &r->args);
    }

    last = r->args.data + r->args.len;

    for (p = r->args.data; p < last; p = end + 1) {

        end = ngx_strlchr(p, last, '&');

        if (end == NULL) {
            end = last;
        }

        if ((size_t) (end - p) > name->len + 1
            && p[name->len] == '='
            && ngx_strncasecmp(p, name->data, name->len) == 0)
        {
            ngx_http_nucleus_hide_argument(r, p, name->len + 1, end - p);
        }
    }
}


/* where there is no memory for it, nothing is left to log */

static void
ngx_http_nucleus_own(ngx_http_request_t *r, ngx_str_t *text)
{
    u_char  *p;

    p = ngx_pstrdup(r->pool, text);

    if (p == NULL) {
        ngx_str_null(text);
        return;
    }

    text->data = p;
}


/*
 * It is in the request line, in the URI and in the arguments; with HTTP/1
 * these are the same bytes, with HTTP/2 and HTTP/3 copies
 */

static void
ngx_http_nucleus_hide_argument(ngx_http_request_t *r, u_char *data,
    size_t name, size_t len)
{
    ngx_str_t  argument;

    /* what is looked for must not be overwritten by the first that is found */

    argument.data = ngx_pnalloc(r->pool, len);
    if (argument.data == NULL) {
        return;
    }

    argument.len = len;

    ngx_memcpy(argument.data, data, len);

    ngx_http_nucleus_hide(&r->request_line, &argument, name);
    ngx_http_nucleus_hide(&r->unparsed_uri, &argument, name);
    ngx_http_nucleus_hide(&r->args, &argument, name);

    OPENSSL_cleanse(argument.data, len);
}


static void
ngx_http_nucleus_hide(ngx_str_t *where, ngx_str_t *argument, size_t name)
{
    u_char  *p, *last;

    last = where->data + where->len;

    for (p = where->data; p + argument->len <= last; p++) {
        if (ngx_memcmp(p, argument->data, argument->len) == 0) {
            ngx_memset(p + name, '*', argument->len - name);
        }
    }
}


/*
 * RFC 9110, section 11.6.1; RFC 6750, section 3: what was wrong is said to
 * who has sent something, and no more than the problem says
 */

static ngx_int_t
ngx_http_nucleus_challenge(ngx_http_request_t *r,
    ngx_http_nucleus_problem_e code)
{
    ngx_table_elt_t  *h;

    static ngx_str_t  missing = ngx_string(
        "Bearer realm=\"nucleus\", Basic realm=\"nucleus\", "
        "charset=\"UTF-8\"");

    static ngx_str_t  invalid = ngx_string(
        "Bearer realm=\"nucleus\", error=\"invalid_token\", "
        "Basic realm=\"nucleus\", charset=\"UTF-8\"");

    static ngx_str_t  scope = ngx_string(
        "Bearer realm=\"nucleus\", error=\"insufficient_scope\", "
        "scope=\"collect\"");

    /* once, however often it is refused */

    if (r->headers_out.www_authenticate
        && r->headers_out.www_authenticate->hash)
    {
        return NGX_OK;
    }

    if (ngx_http_nucleus_problem_status(code) != NGX_HTTP_UNAUTHORIZED
        && code != NGX_HTTP_NUCLEUS_INSUFFICIENT_SCOPE)
    {
        return NGX_OK;
    }

    h = ngx_list_push(&r->headers_out.headers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    h->hash = 1;
    ngx_str_set(&h->key, "WWW-Authenticate");
    h->lowcase_key = NULL;

#if (nginx_version >= 1023000)
    h->next = NULL;
#endif

    switch (code) {

    case NGX_HTTP_NUCLEUS_MISSING_CREDENTIALS:
    case NGX_HTTP_NUCLEUS_UNSUPPORTED_SCHEME:
        h->value = missing;
        break;

    case NGX_HTTP_NUCLEUS_INSUFFICIENT_SCOPE:
        h->value = scope;
        break;

    default:
        h->value = invalid;
    }

    r->headers_out.www_authenticate = h;

    return NGX_OK;
}
