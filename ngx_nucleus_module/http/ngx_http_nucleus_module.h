
/*
 * Shared by the files of http/: the configuration, what a process keeps
 * from request to request, and the life of one request.
 */


#ifndef _NGX_HTTP_NUCLEUS_MODULE_H_INCLUDED_
#define _NGX_HTTP_NUCLEUS_MODULE_H_INCLUDED_


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>

#include "nuc_bucket.h"
#include "nuc_budget.h"
#include "nuc_buf.h"
#include "nuc_err.h"
#include "nuc_events_today.h"
#include "nuc_format.h"
#include "nuc_generation.h"
#include "nuc_last_used.h"
#include "nuc_name.h"
#include "nuc_queue.h"
#include "nuc_record.h"
#include "nuc_rid.h"
#include "nuc_series.h"
#include "nuc_snapshot.h"
#include "nuc_tally.h"
#include "nuc_tenant_bytes.h"
#include "nuc_uuid.h"
#include "nuc_watch.h"


#define NGX_HTTP_NUCLEUS_HEALTH_OFF    0
#define NGX_HTTP_NUCLEUS_HEALTH_LIVE   1
#define NGX_HTTP_NUCLEUS_HEALTH_READY  2

/* bodies over this size have a queue of their own and don't delay others */
#define NGX_HTTP_NUCLEUS_LARGE_BODY    (256 * 1024)

#define NGX_HTTP_NUCLEUS_QUEUES        2

/* whose requests, events and bytes a limit counts */
#define NGX_HTTP_NUCLEUS_KEY           0
#define NGX_HTTP_NUCLEUS_TENANT        1
#define NGX_HTTP_NUCLEUS_ADDRESS       2
#define NGX_HTTP_NUCLEUS_KINDS         3

/* bytes, for 64 request ids */
#define NGX_HTTP_NUCLEUS_RANDOM        1024

/* ms after which a fault that stays is told again */
#define NGX_HTTP_NUCLEUS_FAULT_REPEAT  60000


/* takes events without a key */

typedef struct {
    ngx_http_core_srv_conf_t      *server;
    u_char                        *file;
    ngx_uint_t                     line;
} ngx_http_nucleus_open_t;


typedef struct {
    ngx_path_t                    *path;          /* of nucleus_queue */
    off_t                          max_size;
    off_t                          min_free;
    off_t                          segment;
    ngx_msec_t                     timeout;
    off_t                          max_inflight;
    size_t                         zone_size;
    ngx_shm_zone_t                *zone;          /* NULL: no queue */
    ngx_array_t                   *default_limits;
    ngx_int_t                      request_id;    /* index of $request_id */
    ngx_str_t                      registry;      /* the snapshot's file */
    time_t                         registry_max_age;
    u_char                        *registry_file; /* where it was said */
    ngx_uint_t                     registry_line;
    ngx_array_t                    open;          /* locations without keys */
    unsigned                       used:1;        /* some location is ours */
    unsigned                       limited:1;     /* some location may be */
    unsigned                       failed:1;      /* path can't be trusted */
} ngx_http_nucleus_main_conf_t;


typedef struct {
    ngx_flag_t                     enable;        /* nucleus */
    ngx_uint_t                     health;
    ngx_flag_t                     status;
    ngx_flag_t                     auth;          /* a key is asked for */
    ngx_str_t                      auth_argument; /* len 0: not in the query */
    ngx_flag_t                     require_tls;
    ngx_msec_t                     auth_delay;    /* at most, 0: none */
    ngx_http_complex_value_t      *stream;
    ngx_http_complex_value_t      *tenant;
    off_t                          max_event_size;
    ngx_int_t                      max_events;
    ngx_int_t                      max_depth;
    ngx_array_t                   *limits;        /* ngx_http_nucleus_limit_t */
    ngx_array_t                   *applied;       /* these, or the default */
    u_char                        *limit_file;    /* where the last was said */
    ngx_uint_t                     limit_line;    /* 0: not at this level */

    u_char                        *file;          /* where nucleus was said */
    ngx_uint_t                     line;
} ngx_http_nucleus_loc_conf_t;


typedef struct {
    ngx_uint_t                     kind;
    nuc_unit_t                     unit;
    nuc_bucket_limit_t             value;
    ngx_str_t                      policy;        /* in RateLimit-Policy */
    size_t                         name;          /* bytes of it, with quotes */
} ngx_http_nucleus_limit_t;


/* one of a kind, for one request */

typedef struct {
    uint64_t                       name;          /* when a limit has asked */
    const nuc_limit_t             *own;           /* of each unit, or NULL */
    unsigned                       known:1;       /* 0: limits don't apply */
    unsigned                       named:1;
} ngx_http_nucleus_party_t;


typedef struct {
    const ngx_http_nucleus_limit_t  *limit;
    nuc_bucket_table_t            *table;
    uint64_t                       tag;
    uint64_t                       taken;         /* units */
    uint64_t                       at;            /* ns */
    uint64_t                       left;          /* units, when last asked */
} ngx_http_nucleus_bucket_t;


typedef struct {
    nuc_queue_t                   *queue;
    ngx_connection_t              *connection;    /* of its wake_fd */
    ngx_event_t                    kick;
    nuc_rc_t                       state;         /* ready's, as last logged */
    nuc_queue_stats_t              published;     /* in the meter */
    const char                    *name;
    unsigned                       stalled:1;     /* a request has timed out */
} ngx_http_nucleus_queue_t;


typedef struct ngx_http_nucleus_meter_s  ngx_http_nucleus_meter_t;


/* places for keys that were used; a power of two */
#define NGX_HTTP_NUCLEUS_USES          4096

/* places for tenants whose quotas were used; a power of two */
#define NGX_HTTP_NUCLEUS_TALLIES       1024

/* one that is not current is there until its last ticket is back */

typedef struct ngx_http_nucleus_generation_s  ngx_http_nucleus_generation_t;

struct ngx_http_nucleus_generation_s {
    nuc_snapshot_file_t           *file;
    ngx_uint_t                     tickets;       /* submitted under it */
    ngx_http_nucleus_generation_t *newer;
};


typedef struct {
    ngx_str_t                      name;
    time_t                         max_age;       /* 0: any */
    nuc_key_hasher_t              *hasher;
    nuc_reader_lock_t              lock;
    nuc_watch_t                   *watch;
    ngx_connection_t              *connection;    /* of the watch */
    ngx_http_nucleus_generation_t *current;       /* NULL: none */
    ngx_http_nucleus_generation_t *oldest;
    ngx_event_t                    age;           /* when max_age is over */

    const char                    *notes_dir;
    nuc_last_used_t               *uses;          /* not handed over yet */
    ngx_uint_t                     nuses;
    nuc_events_today_t            *tallies;       /* likewise */
    ngx_uint_t                     ntallies;
    ngx_event_t                    hand_over;

    nuc_tenant_bytes_list_t       *tenant_bytes;  /* NULL: not known */
    unsigned                       asked:1;       /* for them */
} ngx_http_nucleus_registry_t;


/* events that limits and the quota have counted, until they are stored */

typedef struct {
    ngx_uint_t                     kind;
    nuc_bucket_limit_t             limit;
    uint64_t                       tag;
    uint64_t                       taken;         /* events */
    uint64_t                       at;            /* ns */
} ngx_http_nucleus_taken_t;


typedef struct {
    ngx_uint_t                     ntaken;
    ngx_http_nucleus_taken_t       taken[NGX_HTTP_NUCLEUS_KINDS];

    uint64_t                       tally;         /* tag of the tenant's */
    uint64_t                       tallied;       /* events */
    uint64_t                       day;           /* on which they are */
} ngx_http_nucleus_counted_t;


/*
 * freed by no request: the queue may hold it longer than the request lives;
 * so does its timer where nobody waits for the answer
 */

typedef struct ngx_http_nucleus_ticket_s  ngx_http_nucleus_ticket_t;

struct ngx_http_nucleus_ticket_s {
    nuc_ticket_t                   ticket;        /* must be the first */

    /* event ident must be after 3 pointers as in ngx_connection_t */
    ngx_socket_t                   ident;

    ngx_event_t                    timer;

    nuc_account_t                 *account;       /* of the budget */
    size_t                         size;          /* bytes reserved there */
    ngx_http_nucleus_counted_t     counted;       /* without an owner */
    ngx_http_nucleus_queue_t      *queue;
    ngx_http_nucleus_generation_t *generation;    /* NULL: without keys */

    nuc_series_t                  *series;        /* NULL: nothing is counted */
    size_t                         count;         /* of events */
    size_t                         bytes;
    uint64_t                       received;      /* us since 1970 */

    ngx_http_nucleus_ticket_t     *next;          /* of all */
};


/* what can fail anew with each request, and is told once a minute */

typedef enum {
    NGX_HTTP_NUCLEUS_FAULT_DIGEST = 0,
    NGX_HTTP_NUCLEUS_FAULT_ID,
    NGX_HTTP_NUCLEUS_FAULT_BODY_FILE,
    NGX_HTTP_NUCLEUS_FAULT_BODY_MEMORY,
    NGX_HTTP_NUCLEUS_FAULT_ACCOUNT,
    NGX_HTTP_NUCLEUS_FAULT_READER,
    NGX_HTTP_NUCLEUS_FAULTS
} ngx_http_nucleus_fault_e;


/* what a worker process keeps from request to request */

typedef struct {
    ngx_http_nucleus_queue_t       queues[NGX_HTTP_NUCLEUS_QUEUES];

    ngx_http_nucleus_ticket_t     *tickets;       /* all */
    ngx_http_nucleus_ticket_t     *free;

    ngx_http_nucleus_registry_t    registry;

    ngx_http_nucleus_meter_t      *meter;         /* NULL: nothing is counted */
    nuc_series_table_t            *series;
    nuc_series_t                  *last_series;
    ngx_event_t                    metering;

    ngx_uint_t                     nslowed;       /* refusals that wait */
    unsigned                       crowded:1;     /* a quota had no place */
    ngx_msec_t                     told[NGX_HTTP_NUCLEUS_FAULTS];

    ngx_shm_zone_t                *zone;          /* of limits and quotas */
    nuc_budget_t                   budget;        /* of max_inflight */
    ngx_msec_t                     timeout;

    nuc_event_list_t               events;
    nuc_record_t                  *records;
    size_t                         nrecords;      /* allocated */

    nuc_rid_hasher_t              *hasher;
    nuc_uuid_source_t              uuids;
    nuc_buf_t                      text;

    u_char                         random[NGX_HTTP_NUCLEUS_RANDOM];
    size_t                         nrandom;       /* not used yet */
} ngx_http_nucleus_process_t;


typedef enum {
    NGX_HTTP_NUCLEUS_NO_PROBLEM = -1,
    NGX_HTTP_NUCLEUS_EMPTY_BODY,
    NGX_HTTP_NUCLEUS_INVALID_JSON,
    NGX_HTTP_NUCLEUS_NOT_AN_OBJECT,
    NGX_HTTP_NUCLEUS_TOO_DEEP,
    NGX_HTTP_NUCLEUS_EVENT_TOO_LARGE,
    NGX_HTTP_NUCLEUS_TOO_MANY_EVENTS,
    NGX_HTTP_NUCLEUS_INVALID_STREAM,
    NGX_HTTP_NUCLEUS_INVALID_TENANT,
    NGX_HTTP_NUCLEUS_INVALID_KEY,
    NGX_HTTP_NUCLEUS_INCOMPLETE_BODY,
    NGX_HTTP_NUCLEUS_BODY_TOO_LARGE,
    NGX_HTTP_NUCLEUS_UNSUPPORTED_TYPE,
    NGX_HTTP_NUCLEUS_UNSUPPORTED_CHARSET,
    NGX_HTTP_NUCLEUS_UNSUPPORTED_ENCODING,
    NGX_HTTP_NUCLEUS_QUEUE_STARTING,
    NGX_HTTP_NUCLEUS_QUEUE_FULL,
    NGX_HTTP_NUCLEUS_QUEUE_FAILED,
    NGX_HTTP_NUCLEUS_BUSY,
    NGX_HTTP_NUCLEUS_OUTCOME_UNKNOWN,
    NGX_HTTP_NUCLEUS_TLS_REQUIRED,
    NGX_HTTP_NUCLEUS_MISSING_CREDENTIALS,
    NGX_HTTP_NUCLEUS_UNSUPPORTED_SCHEME,
    NGX_HTTP_NUCLEUS_MALFORMED_CREDENTIALS,
    NGX_HTTP_NUCLEUS_DAMAGED_KEY,
    NGX_HTTP_NUCLEUS_MISMATCHED_KEY,
    NGX_HTTP_NUCLEUS_INVALID_CREDENTIALS,
    NGX_HTTP_NUCLEUS_UNKNOWN_CERTIFICATE,
    NGX_HTTP_NUCLEUS_KEY_EXPIRED,
    NGX_HTTP_NUCLEUS_KEY_NOT_YET_VALID,
    NGX_HTTP_NUCLEUS_KEY_REVOKED,
    NGX_HTTP_NUCLEUS_TENANT_DISABLED,
    NGX_HTTP_NUCLEUS_INSUFFICIENT_SCOPE,
    NGX_HTTP_NUCLEUS_ADDRESS_NOT_ALLOWED,
    NGX_HTTP_NUCLEUS_STREAM_NOT_ALLOWED,
    NGX_HTTP_NUCLEUS_REGISTRY_FAILED,
    NGX_HTTP_NUCLEUS_TOO_MANY_FAILURES,
    NGX_HTTP_NUCLEUS_RATE_LIMITED,
    NGX_HTTP_NUCLEUS_BATCH_TOO_LARGE,
    NGX_HTTP_NUCLEUS_QUOTA_EXCEEDED,
    NGX_HTTP_NUCLEUS_TENANT_QUEUE_FULL,

    NGX_HTTP_NUCLEUS_LAST_PROBLEM = NGX_HTTP_NUCLEUS_TENANT_QUEUE_FULL
} ngx_http_nucleus_problem_e;


typedef struct {
    ngx_http_nucleus_problem_e     code;
    ngx_uint_t                     retry_after;   /* seconds, 0: not said */
    ngx_int_t                      event;         /* -1: not said */
    off_t                          offset;        /* -1: not said */
    ngx_str_t                      pointer;       /* data NULL: not said */
    ngx_str_t                      detail;        /* len 0: the code's own */
    const ngx_http_nucleus_limit_t  *limit;       /* NULL: none refused it */
    unsigned                       keepalive:1;
} ngx_http_nucleus_problem_t;


/* what was counted in a tally */

typedef struct {
    uint64_t                       tag;
    uint64_t                       count;         /* 0: nothing */
    uint64_t                       day;           /* on which it is */
} ngx_http_nucleus_tallied_t;


/* what is known of who sends; nothing here points into a snapshot */

typedef struct {
    ngx_http_nucleus_problem_e     code;          /* NO_PROBLEM: let in */
    uint64_t                       generation;
    uint64_t                       id;
    uint64_t                       lineage;
    u_char                         digest[NUC_KEY_DIGEST_LEN];
    ngx_str_t                      tenant;        /* len 0: not known */
    u_char                         tenant_name[NUC_NAME_MAX];
    u_char                         key_id[NUC_KEY_ID_LEN + 1];
    nuc_limit_t                    key_limits[NUC_UNIT_COUNT];
    nuc_limit_t                    tenant_limits[NUC_UNIT_COUNT];
    size_t                         max_inflight;  /* bytes, 0: no quota */
    uint64_t                       max_events;    /* a day, 0: no quota */
    uint64_t                       max_queued;    /* bytes, likewise */
    unsigned                       by_certificate:1;
    unsigned                       any_stream:1;
    unsigned                       key_limited:1; /* by the registry */
    unsigned                       tenant_limited:1;
} ngx_http_nucleus_auth_t;


typedef struct {
    ngx_http_request_t            *request;
    ngx_http_nucleus_auth_t       *auth;          /* NULL: not asked yet */
    ngx_http_nucleus_ticket_t     *ticket;        /* while it waits */
    ngx_http_nucleus_problem_t    *problem;       /* why it is refused */

    const nuc_format_t            *format;
    ngx_str_t                      stream;
    ngx_str_t                      tenant;
    ngx_str_t                      key;           /* Idempotency-Key */
    ngx_str_t                      traceparent;
    ngx_str_t                      durability;    /* of what is acknowledged */

    ngx_str_t                      body;
    size_t                         capacity;      /* 0: body is not ours */

    nuc_account_t                 *account;       /* NULL: reserved is 0 */
    size_t                         reserved;

    ngx_http_nucleus_bucket_t     *buckets;       /* of the limits that apply */
    ngx_uint_t                     nbuckets;

    uint64_t                       tally;         /* tag of the tenant's */
    uint64_t                       tallied;       /* events */
    uint64_t                       day;           /* on which they are */

    ngx_shm_zone_t                *zone;          /* of queued */
    ngx_http_nucleus_tallied_t     queued;        /* bytes */

    nuc_series_t                  *series;        /* where its ticket counts */

    size_t                         count;
    u_char                        *rids;          /* NUC_RID_LEN each */
    u_char                         rid[NUC_RID_LEN];

    ngx_buf_t                     *answer;        /* instead of nginx's own */
    void                          *page;          /* of nucleus_status */

    unsigned                       consumed:1;    /* body is here alone */
    unsigned                       let_in:1;      /* into this location */
    unsigned                       slow:1;        /* its refusal waits */
    unsigned                       slowed:1;      /* or has waited */
    unsigned                       measured:1;    /* its bytes are taken */
    unsigned                       ours:1;        /* to be counted */
} ngx_http_nucleus_ctx_t;


#define ngx_http_nucleus_str(s)   ((nuc_str_t) { (s)->data, (s)->len })

/* ngx_http_nucleus_registry.c */

char *ngx_http_nucleus_registry(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
ngx_int_t ngx_http_nucleus_check_registry(ngx_conf_t *cf,
    ngx_http_nucleus_main_conf_t *nmcf);
ngx_int_t ngx_http_nucleus_init_registry(ngx_cycle_t *cycle,
    ngx_http_nucleus_main_conf_t *nmcf);
void ngx_http_nucleus_exit_registry(void);
void ngx_http_nucleus_note_use(uint64_t id);
void ngx_http_nucleus_note_tally(ngx_str_t *tenant, uint64_t tag);
const nuc_tenant_bytes_list_t *ngx_http_nucleus_tenant_bytes(void);
nuc_snapshot_t *ngx_http_nucleus_snapshot(void);
ngx_uint_t ngx_http_nucleus_registry_is_ready(void);
ngx_uint_t ngx_http_nucleus_registry_is_known(void);
ngx_http_nucleus_generation_t *ngx_http_nucleus_hold_generation(void);
void ngx_http_nucleus_release_generation(ngx_http_nucleus_generation_t *ng);

/* ngx_http_nucleus_auth.c */

ngx_int_t ngx_http_nucleus_access_handler(ngx_http_request_t *r);
ngx_int_t ngx_http_nucleus_rewrite_handler(ngx_http_request_t *r);
ngx_int_t ngx_http_nucleus_log_handler(ngx_http_request_t *r);
ngx_int_t ngx_http_nucleus_authenticate(ngx_http_request_t *r,
    ngx_http_nucleus_ctx_t *ctx);
ngx_int_t ngx_http_nucleus_authenticate_again(ngx_http_request_t *r,
    ngx_http_nucleus_ctx_t *ctx);
void ngx_http_nucleus_end_slow(ngx_http_nucleus_ctx_t *ctx);
ngx_int_t ngx_http_nucleus_check_stream(ngx_http_request_t *r,
    ngx_http_nucleus_ctx_t *ctx);
ngx_http_nucleus_auth_t *ngx_http_nucleus_get_auth(ngx_http_request_t *r);
ngx_uint_t ngx_http_nucleus_is_loopback(struct sockaddr *sa);
void ngx_http_nucleus_map_address(struct sockaddr *sa, u_char *address);

/* ngx_http_nucleus_variables.c */

ngx_int_t ngx_http_nucleus_add_variables(ngx_conf_t *cf);

/* ngx_http_nucleus_request.c */

ngx_http_nucleus_ctx_t *ngx_http_nucleus_get_ctx(ngx_http_request_t *r);

ngx_int_t ngx_http_nucleus_handler(ngx_http_request_t *r);
ngx_int_t ngx_http_nucleus_health_handler(ngx_http_request_t *r);
void ngx_http_nucleus_waiting_handler(ngx_http_request_t *r);
void ngx_http_nucleus_process_body(ngx_http_request_t *r,
    ngx_http_nucleus_ctx_t *ctx);
void ngx_http_nucleus_finish(ngx_http_nucleus_ctx_t *ctx,
    ngx_http_nucleus_queue_t *nq, nuc_rc_t rc);

/* ngx_http_nucleus_headers.c */

nuc_str_t ngx_http_nucleus_request_id(ngx_http_request_t *r);
ngx_int_t ngx_http_nucleus_check_headers(ngx_http_request_t *r,
    ngx_http_nucleus_ctx_t *ctx);

/* ngx_http_nucleus_body.c */

void ngx_http_nucleus_body_handler(ngx_http_request_t *r);
void ngx_http_nucleus_free_body(ngx_http_nucleus_ctx_t *ctx);
void ngx_http_nucleus_forget_body(ngx_http_request_t *r,
    ngx_http_nucleus_ctx_t *ctx);
void ngx_http_nucleus_give_body_back(ngx_http_request_t *r,
    ngx_http_nucleus_ctx_t *ctx);

/* ngx_http_nucleus_budget.c */

void ngx_http_nucleus_init_budget(size_t max);
size_t ngx_http_nucleus_max_body(ngx_http_nucleus_ctx_t *ctx);
uint64_t ngx_http_nucleus_address(ngx_connection_t *c);
ngx_int_t ngx_http_nucleus_reserve(ngx_http_nucleus_ctx_t *ctx, size_t size,
    size_t instead);
void ngx_http_nucleus_release(ngx_http_nucleus_ctx_t *ctx, size_t size);
void ngx_http_nucleus_hand_over(ngx_http_nucleus_ctx_t *ctx,
    ngx_http_nucleus_ticket_t *nt, size_t size);
ngx_int_t ngx_http_nucleus_check_share(ngx_http_nucleus_ctx_t *ctx,
    size_t size);
ngx_int_t ngx_http_nucleus_refuse_size(ngx_http_request_t *r, ngx_int_t rc,
    size_t size);

/* ngx_http_nucleus_limit.c */

ngx_int_t ngx_http_nucleus_limit_request(ngx_http_request_t *r,
    ngx_http_nucleus_ctx_t *ctx);
ngx_int_t ngx_http_nucleus_limit_body(ngx_http_request_t *r,
    ngx_http_nucleus_ctx_t *ctx);
ngx_int_t ngx_http_nucleus_limit_events(ngx_http_request_t *r,
    ngx_http_nucleus_ctx_t *ctx);
void ngx_http_nucleus_return_events(ngx_http_request_t *r,
    ngx_http_nucleus_ctx_t *ctx);
void ngx_http_nucleus_leave_events(ngx_http_nucleus_ctx_t *ctx,
    ngx_http_nucleus_counted_t *counted);
void ngx_http_nucleus_return_left(ngx_http_nucleus_counted_t *counted);
ngx_uint_t ngx_http_nucleus_count_failure(ngx_http_request_t *r);
ngx_int_t ngx_http_nucleus_add_limit_headers(ngx_http_request_t *r,
    ngx_http_nucleus_ctx_t *ctx);
void ngx_http_nucleus_write_violated(const ngx_http_nucleus_limit_t *limit,
    nuc_buf_t *out);
ngx_int_t ngx_http_nucleus_set_policy(ngx_pool_t *pool,
    ngx_http_nucleus_limit_t *limit);
void ngx_http_nucleus_tell_crowded(ngx_http_request_t *r,
    ngx_http_nucleus_ctx_t *ctx);

/* ngx_http_nucleus_quota.c */

ngx_int_t ngx_http_nucleus_check_queued(ngx_http_request_t *r,
    ngx_http_nucleus_ctx_t *ctx);
ngx_int_t ngx_http_nucleus_take_queued(ngx_http_request_t *r,
    ngx_http_nucleus_ctx_t *ctx, size_t size);
void ngx_http_nucleus_return_queued(ngx_http_nucleus_ctx_t *ctx);

/* ngx_http_nucleus_limit_conf.c */

char *ngx_http_nucleus_limit(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
char *ngx_http_nucleus_check_zone(ngx_conf_t *cf, void *post, void *data);
ngx_int_t ngx_http_nucleus_add_limit(ngx_conf_t *cf,
    ngx_http_nucleus_loc_conf_t *nlcf, ngx_http_nucleus_limit_t *limit);
void ngx_http_nucleus_warn_of_limits(ngx_conf_t *cf,
    ngx_http_nucleus_loc_conf_t *nlcf);
ngx_int_t ngx_http_nucleus_apply_limits(ngx_conf_t *cf,
    ngx_http_nucleus_main_conf_t *nmcf, ngx_http_nucleus_loc_conf_t *nlcf);
ngx_int_t ngx_http_nucleus_add_zone(ngx_conf_t *cf,
    ngx_http_nucleus_main_conf_t *nmcf);
nuc_bucket_table_t *ngx_http_nucleus_get_table(ngx_shm_zone_t *zone,
    ngx_uint_t kind);
nuc_tally_table_t *ngx_http_nucleus_get_tallies(ngx_shm_zone_t *zone);
nuc_tally_table_t *ngx_http_nucleus_get_queue_tallies(ngx_shm_zone_t *zone);
void ngx_http_nucleus_restore_tallies(ngx_shm_zone_t *zone, const char *dir,
    ngx_log_t *log);

/* ngx_http_nucleus_answer.c */

ngx_int_t ngx_http_nucleus_refuse(ngx_http_request_t *r,
    ngx_http_nucleus_problem_e code, ngx_uint_t retry_after);
ngx_int_t ngx_http_nucleus_refuse_fault(ngx_http_request_t *r,
    nuc_format_fault_t *fault);
ngx_int_t ngx_http_nucleus_add_header(ngx_http_request_t *r,
    const char *name, ngx_str_t *value);
ngx_uint_t ngx_http_nucleus_problem_status(ngx_http_nucleus_problem_e code);
const char *ngx_http_nucleus_problem_name(ngx_http_nucleus_problem_e code);
size_t ngx_http_nucleus_receipt_size(ngx_http_nucleus_ctx_t *ctx);
ngx_int_t ngx_http_nucleus_send_receipt(ngx_http_request_t *r,
    ngx_http_nucleus_ctx_t *ctx, const char *durability);
ngx_int_t ngx_http_nucleus_send_health(ngx_http_request_t *r,
    ngx_str_t *text);
ngx_int_t ngx_http_nucleus_filter_init(ngx_conf_t *cf);

/* ngx_http_nucleus_queue.c */

ngx_int_t ngx_http_nucleus_init_module(ngx_cycle_t *cycle);
ngx_int_t ngx_http_nucleus_init_process(ngx_cycle_t *cycle);
void ngx_http_nucleus_exit_process(ngx_cycle_t *cycle);
ngx_connection_t *ngx_http_nucleus_listen(ngx_cycle_t *cycle, int fd,
    void *data, ngx_event_handler_pt handler);
void ngx_http_nucleus_unlisten(ngx_connection_t *c);
ngx_http_nucleus_queue_t *ngx_http_nucleus_get_queue(off_t size);
nuc_rc_t ngx_http_nucleus_ready(ngx_http_nucleus_queue_t *nq,
    unsigned *retry_after);
nuc_rc_t ngx_http_nucleus_submit(ngx_http_nucleus_ctx_t *ctx,
    ngx_http_nucleus_queue_t *nq, size_t size);
void ngx_http_nucleus_detach(ngx_http_nucleus_ctx_t *ctx);
void ngx_http_nucleus_leave(ngx_http_nucleus_ctx_t *ctx);


/* ngx_http_nucleus_metrics.c */

void ngx_http_nucleus_count_limit(ngx_uint_t which);
void ngx_http_nucleus_count_request(ngx_http_nucleus_ctx_t *ctx);
void ngx_http_nucleus_meter_ticket(ngx_http_nucleus_ctx_t *ctx,
    ngx_http_nucleus_ticket_t *nt, size_t size);
void ngx_http_nucleus_count_ticket(ngx_http_nucleus_ticket_t *nt, nuc_rc_t rc,
    uint64_t now);

/* ngx_http_nucleus_status.c */

ngx_int_t ngx_http_nucleus_status_handler(ngx_http_request_t *r);


extern ngx_module_t                ngx_http_nucleus_module;
extern ngx_http_nucleus_process_t  ngx_http_nucleus_process;


/* has the fault not been told in the last minute? it is then being told */

static ngx_inline ngx_uint_t
ngx_http_nucleus_is_news(ngx_http_nucleus_fault_e fault)
{
    ngx_msec_t  *told = &ngx_http_nucleus_process.told[fault];

    if (*told && ngx_current_msec - *told < NGX_HTTP_NUCLEUS_FAULT_REPEAT) {
        return 0;
    }

    *told = ngx_current_msec;

    return 1;
}


#endif /* _NGX_HTTP_NUCLEUS_MODULE_H_INCLUDED_ */
