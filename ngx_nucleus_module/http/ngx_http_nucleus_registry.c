
/*
 * The registry's snapshot in a process: checked with the configuration, taken
 * up again, by a thread, whenever nucleusctl has written another.
 *
 * "nucleusctl key revoke" returns when nobody uses an older generation, and
 * what was accepted under it is answered before that: so a generation is held
 * until the last ticket is back that was submitted under it, or one before.
 */


#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_event.h>
#include <ngx_http.h>

#include "ngx_http_nucleus_module.h"

#include "nuc_fs.h"
#include "nuc_sys.h"

#include <grp.h>


/* seconds, so that a time in ms does not overflow on 32 bits */
#define NGX_HTTP_NUCLEUS_MAX_WAIT   86400

/* ms */
#define NGX_HTTP_NUCLEUS_STOP_TIME  1000
#define NGX_HTTP_NUCLEUS_NOTES_TIME 5000


static char *ngx_http_nucleus_registry_option(ngx_conf_t *cf,
    ngx_http_nucleus_main_conf_t *nmcf, ngx_str_t *value);
static ngx_int_t ngx_http_nucleus_check_owner(ngx_conf_t *cf,
    ngx_http_nucleus_main_conf_t *nmcf);
static ngx_uint_t ngx_http_nucleus_in_group(ngx_core_conf_t *ccf, gid_t gid);
static ngx_int_t ngx_http_nucleus_watch_registry(ngx_cycle_t *cycle,
    ngx_http_nucleus_registry_t *nr);
static void ngx_http_nucleus_registry_handler(ngx_event_t *ev);
static ngx_int_t ngx_http_nucleus_use(ngx_http_nucleus_registry_t *nr,
    nuc_snapshot_file_t *file);
static void ngx_http_nucleus_drop_old(ngx_http_nucleus_registry_t *nr);
static void ngx_http_nucleus_watch_age(ngx_http_nucleus_registry_t *nr);
static void ngx_http_nucleus_age_handler(ngx_event_t *ev);
static void ngx_http_nucleus_hand_over_uses(ngx_http_nucleus_registry_t *nr);
static void ngx_http_nucleus_hand_over_tallies(
    ngx_http_nucleus_registry_t *nr);
static void ngx_http_nucleus_notes_handler(ngx_event_t *ev);


char *
ngx_http_nucleus_registry(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_nucleus_main_conf_t *nmcf = conf;

    char        *rv;
    ngx_str_t   *value;
    ngx_uint_t   i;

    if (nmcf->registry.len) {
        return "is duplicate";
    }

    value = cf->args->elts;

    nmcf->registry = value[1];
    nmcf->registry_file = cf->conf_file->file.name.data;
    nmcf->registry_line = cf->conf_file->line;

    if (ngx_conf_full_name(cf->cycle, &nmcf->registry, 0) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    if (nmcf->registry.len >= NUC_PATH_MAX / 2) {
        return "has a too long file name";
    }

    for (i = 2; i < cf->args->nelts; i++) {
        rv = ngx_http_nucleus_registry_option(cf, nmcf, &value[i]);
        if (rv != NGX_CONF_OK) {
            return rv;
        }
    }

    return NGX_CONF_OK;
}


static char *
ngx_http_nucleus_registry_option(ngx_conf_t *cf,
    ngx_http_nucleus_main_conf_t *nmcf, ngx_str_t *value)
{
    ngx_str_t  s;

    if (ngx_strncmp(value->data, "max_age=", 8) != 0) {
        goto invalid;
    }

    if (nmcf->registry_max_age) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "duplicate parameter \"%V\"",
                           value);
        return NGX_CONF_ERROR;
    }

    s.data = value->data + 8;
    s.len = value->len - 8;

    nmcf->registry_max_age = ngx_parse_time(&s, 1);

    if (nmcf->registry_max_age != (time_t) NGX_ERROR
        && nmcf->registry_max_age != 0)
    {
        return NGX_CONF_OK;
    }

invalid:

    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "invalid parameter \"%V\"",
                       value);

    return NGX_CONF_ERROR;
}


/* what can be wrong with the file is said by "nginx -t" */

ngx_int_t
ngx_http_nucleus_check_registry(ngx_conf_t *cf,
    ngx_http_nucleus_main_conf_t *nmcf)
{
    nuc_err_t             err;
    nuc_snapshot_file_t  *file;

    if (ngx_http_nucleus_check_owner(cf, nmcf) != NGX_OK) {
        return NGX_ERROR;
    }

    if (nuc_snapshot_load(&nuc_sys_posix, (char *) nmcf->registry.data, &file,
                          &err)
        != NUC_OK)
    {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "nucleus registry: %s%s%s in %s:%ui", err.message,
                      err.hint[0] ? "; " : "", err.hint,
                      nmcf->registry_file, nmcf->registry_line);
        return NGX_ERROR;
    }

    nuc_snapshot_unload(&nuc_sys_posix, file);

    return NGX_OK;
}


/*
 * Whoever may write the snapshot decides who may send.  "user" may stand
 * behind "http", and is not known then
 */

static ngx_int_t
ngx_http_nucleus_check_owner(ngx_conf_t *cf,
    ngx_http_nucleus_main_conf_t *nmcf)
{
    ngx_str_t        *name;
    ngx_file_info_t   fi;
    ngx_core_conf_t  *ccf;

    name = &nmcf->registry;

    if (ngx_file_info(name->data, &fi) == NGX_FILE_ERROR) {
        ngx_log_error(NGX_LOG_EMERG, cf->log, ngx_errno,
                      "nucleus registry \"%V\" is not there; "
                      "\"nucleusctl init\" makes it in %s:%ui",
                      name, nmcf->registry_file, nmcf->registry_line);
        return NGX_ERROR;
    }

    if (fi.st_mode & (S_IWGRP|S_IWOTH)) {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "nucleus registry \"%V\" may be written by others than "
                      "its owner in %s:%ui",
                      name, nmcf->registry_file, nmcf->registry_line);
        return NGX_ERROR;
    }

    ccf = (ngx_core_conf_t *) ngx_get_conf(cf->cycle->conf_ctx,
                                           ngx_core_module);

    if (geteuid() != 0 || ccf->user == (ngx_uid_t) NGX_CONF_UNSET_UINT
        || ccf->user == 0)
    {
        return NGX_OK;
    }

    if (fi.st_uid == ccf->user) {
        ngx_log_error(NGX_LOG_WARN, cf->log, 0,
                      "nucleus registry \"%V\" belongs to the user of nginx's "
                      "worker processes, who should only read it in %s:%ui",
                      name, nmcf->registry_file, nmcf->registry_line);
        return NGX_OK;
    }

    if ((fi.st_mode & S_IROTH)
        || ((fi.st_mode & S_IRGRP)
            && ngx_http_nucleus_in_group(ccf, fi.st_gid)))
    {
        return NGX_OK;
    }

    ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                  "nucleus registry \"%V\" can't be read by the user of "
                  "nginx's worker processes; \"nucleusctl init --group\" "
                  "names their group in %s:%ui",
                  name, nmcf->registry_file, nmcf->registry_line);

    return NGX_ERROR;
}


static ngx_uint_t
ngx_http_nucleus_in_group(ngx_core_conf_t *ccf, gid_t gid)
{
    int    i, n;
    gid_t  groups[64];

    if (ccf->group == gid) {
        return 1;
    }

    n = sizeof(groups) / sizeof(groups[0]);

    if (ccf->username == NULL
        || getgrouplist(ccf->username, ccf->group, groups, &n) == -1)
    {
        return 0;
    }

    for (i = 0; i < n; i++) {
        if (groups[i] == gid) {
            return 1;
        }
    }

    return 0;
}


/*
 * Without a snapshot the process runs, and refuses what needs a key; the
 * thread goes on looking for one
 */

ngx_int_t
ngx_http_nucleus_init_registry(ngx_cycle_t *cycle,
    ngx_http_nucleus_main_conf_t *nmcf)
{
    nuc_err_t                     err;
    nuc_snapshot_file_t          *file;
    char                          readers[NUC_PATH_MAX];
    ngx_http_nucleus_registry_t  *nr;

    nr = &ngx_http_nucleus_process.registry;

    nr->max_age = nmcf->registry_max_age;
    nr->name = nmcf->registry;
    nr->notes_dir = (char *) nmcf->path->name.data;

    nr->hand_over.handler = ngx_http_nucleus_notes_handler;
    nr->hand_over.data = nr;
    nr->hand_over.log = cycle->log;
    nr->hand_over.cancelable = 1;

    ngx_sprintf((u_char *) readers, "%V.readers%Z", &nr->name);

    if (nuc_key_hasher_create(&nr->hasher, &err) != NUC_OK) {
        return NGX_ERROR;
    }

    if (nmcf->zone) {
        ngx_http_nucleus_restore_tallies(nmcf->zone, nr->notes_dir,
                                         cycle->log);
    }

    if (nuc_reader_lock_open(&nuc_sys_posix, readers, &nr->lock, &err)
        != NUC_OK)
    {
        ngx_log_error(NGX_LOG_ALERT, cycle->log, 0, "nucleus registry: %s",
                      err.message);
        nr->lock.fd = -1;
    }

    if (nuc_snapshot_load(&nuc_sys_posix, (char *) nr->name.data, &file, &err)
        == NUC_OK)
    {
        if (ngx_http_nucleus_use(nr, file) != NGX_OK) {
            return NGX_ERROR;
        }

    } else {
        ngx_log_error(NGX_LOG_ALERT, cycle->log, 0, "nucleus registry: %s",
                      err.message);
    }

    return ngx_http_nucleus_watch_registry(cycle, nr);
}


static ngx_int_t
ngx_http_nucleus_watch_registry(ngx_cycle_t *cycle,
    ngx_http_nucleus_registry_t *nr)
{
    nuc_err_t  err;

    if (nuc_watch_start(&nuc_sys_posix, (char *) nr->name.data,
                        nr->current ? nr->current->file : NULL, NULL,
                        &nr->watch, &err)
        != NUC_OK)
    {
        ngx_log_error(NGX_LOG_ALERT, cycle->log, 0, "nucleus registry: %s",
                      err.message);
        return NGX_ERROR;
    }

    nr->connection = ngx_http_nucleus_listen(cycle, nuc_watch_fd(nr->watch),
                                           nr,
                                           ngx_http_nucleus_registry_handler);

    return nr->connection ? NGX_OK : NGX_ERROR;
}


static void
ngx_http_nucleus_registry_handler(ngx_event_t *ev)
{
    nuc_rc_t                      rc;
    nuc_err_t                     err;
    ngx_connection_t             *c;
    nuc_snapshot_file_t          *file;
    nuc_tenant_bytes_list_t      *list;
    ngx_http_nucleus_registry_t  *nr;

    c = ev->data;
    nr = c->data;

    list = nuc_watch_take_tenant_bytes(nr->watch);

    if (list) {
        free(nr->tenant_bytes);
        nr->tenant_bytes = list;
    }

    for ( ;; ) {
        rc = nuc_watch_poll(nr->watch, &file, &err);

        if (rc == NUC_AGAIN) {
            break;
        }

        if (rc != NUC_OK) {
            ngx_log_error(NGX_LOG_ALERT, ev->log, 0,
                          "nucleus registry: %s%s%s",
                          err.message, err.hint[0] ? "; " : "", err.hint);

        } else if (ngx_http_nucleus_use(nr, file) == NGX_OK) {
            ngx_log_error(NGX_LOG_INFO, ev->log, 0,
                          "nucleus registry \"%V\" is used in generation %uL",
                          &nr->name, file->snapshot.generation);
        }
    }

    if (ngx_handle_read_event(ev, 0) != NGX_OK) {
        ngx_log_error(NGX_LOG_ALERT, ev->log, 0,
                      "nucleus registry \"%V\" can't be watched", &nr->name);
    }
}


static ngx_int_t
ngx_http_nucleus_use(ngx_http_nucleus_registry_t *nr,
    nuc_snapshot_file_t *file)
{
    ngx_http_nucleus_generation_t  *ng;

    ng = ngx_calloc(sizeof(ngx_http_nucleus_generation_t), ngx_cycle->log);
    if (ng == NULL) {
        nuc_snapshot_unload(&nuc_sys_posix, file);
        return NGX_ERROR;
    }

    ng->file = file;

    if (nr->current) {
        nr->current->newer = ng;

    } else {
        nr->oldest = ng;
    }

    nr->current = ng;

    ngx_http_nucleus_drop_old(nr);
    ngx_http_nucleus_watch_age(nr);

    return NGX_OK;
}


/* one that nobody refreshes any more still lets in whom it knows */

static void
ngx_http_nucleus_watch_age(ngx_http_nucleus_registry_t *nr)
{
    int64_t  left;

    if (nr->max_age == 0) {
        return;
    }

    left = (int64_t) (nr->current->file->snapshot.created / 1000000)
           + nr->max_age - ngx_time();

    nr->age.handler = ngx_http_nucleus_age_handler;
    nr->age.data = nr;
    nr->age.log = ngx_cycle->log;
    nr->age.cancelable = 1;

    left = ngx_max(left, 0);
    left = ngx_min(left, NGX_HTTP_NUCLEUS_MAX_WAIT);

    ngx_add_timer(&nr->age, (ngx_msec_t) left * 1000);
}


static void
ngx_http_nucleus_age_handler(ngx_event_t *ev)
{
    ngx_http_nucleus_registry_t *nr = ev->data;

    if (ngx_http_nucleus_registry_is_ready()) {
        ngx_http_nucleus_watch_age(nr);
        return;
    }

    ngx_log_error(NGX_LOG_ALERT, ev->log, 0,
                  "nucleus registry \"%V\" was written more than %T seconds "
                  "ago, which is its \"max_age\"", &nr->name, nr->max_age);
}


static void
ngx_http_nucleus_drop_old(ngx_http_nucleus_registry_t *nr)
{
    nuc_err_t                       err;
    ngx_http_nucleus_generation_t  *ng;

    while (nr->oldest != nr->current && nr->oldest->tickets == 0) {
        ng = nr->oldest;
        nr->oldest = ng->newer;

        nuc_snapshot_unload(&nuc_sys_posix, ng->file);
        ngx_free(ng);
    }

    if (nr->lock.fd == -1
        || nr->lock.generation == nr->oldest->file->snapshot.generation)
    {
        return;
    }

    if (nuc_reader_lock_move(&nr->lock, nr->oldest->file->snapshot.generation,
                             &err)
        != NUC_OK
        && ngx_http_nucleus_is_news(NGX_HTTP_NUCLEUS_FAULT_READER))
    {
        ngx_log_error(NGX_LOG_ALERT, ngx_cycle->log, 0, "nucleus registry: %s",
                      err.message);
    }
}


/* NULL: none has been taken up, or the only one was too old to be used */

nuc_snapshot_t *
ngx_http_nucleus_snapshot(void)
{
    ngx_http_nucleus_generation_t  *ng;

    ng = ngx_http_nucleus_process.registry.current;

    return ng ? &ng->file->snapshot : NULL;
}


/*
 * The watch looks for them from when somebody asks first; NULL: they are not
 * known yet
 */

const nuc_tenant_bytes_list_t *
ngx_http_nucleus_tenant_bytes(void)
{
    ngx_http_nucleus_registry_t  *nr;

    nr = &ngx_http_nucleus_process.registry;

    if (!nr->asked) {
        nr->asked = 1;
        nuc_watch_tenant_bytes(nr->watch, nr->notes_dir);
    }

    return nr->tenant_bytes;
}


/* a ticket is submitted under the generation that is used */

ngx_http_nucleus_generation_t *
ngx_http_nucleus_hold_generation(void)
{
    ngx_http_nucleus_generation_t  *ng;

    ng = ngx_http_nucleus_process.registry.current;

    if (ng) {
        ng->tickets++;
    }

    return ng;
}


void
ngx_http_nucleus_release_generation(ngx_http_nucleus_generation_t *ng)
{
    ngx_http_nucleus_registry_t  *nr;

    nr = &ngx_http_nucleus_process.registry;

    if (ng && --ng->tickets == 0 && ng != nr->current) {
        ngx_http_nucleus_drop_old(nr);
    }
}


ngx_uint_t
ngx_http_nucleus_registry_is_ready(void)
{
    uint64_t                      created;
    ngx_http_nucleus_registry_t  *nr;

    nr = &ngx_http_nucleus_process.registry;

    if (nr->name.len == 0) {
        return 1;
    }

    if (nr->current == NULL) {
        return 0;
    }

    created = nr->current->file->snapshot.created / 1000000;

    return nr->max_age == 0
           || created + nr->max_age > (uint64_t) ngx_time();
}


/* ready, and the file as it is now is the one in use */

ngx_uint_t
ngx_http_nucleus_registry_is_known(void)
{
    ngx_http_nucleus_registry_t  *nr;

    nr = &ngx_http_nucleus_process.registry;

    return ngx_http_nucleus_registry_is_ready()
           && (nr->watch == NULL || !nuc_watch_fails(nr->watch));
}


/* for "nucleusctl key list": a hash table of the keys used since the last time */

void
ngx_http_nucleus_note_use(uint64_t id)
{
    ngx_uint_t                    i;
    ngx_http_nucleus_registry_t  *nr;

    nr = &ngx_http_nucleus_process.registry;

    if (nr->uses == NULL) {
        nr->uses = calloc(NGX_HTTP_NUCLEUS_USES, sizeof(nuc_last_used_t));
        if (nr->uses == NULL) {
            return;
        }

        nr->nuses = 0;

        if (!nr->hand_over.timer_set) {
            ngx_add_timer(&nr->hand_over, NGX_HTTP_NUCLEUS_NOTES_TIME);
        }
    }

    i = id & (NGX_HTTP_NUCLEUS_USES - 1);

    while (nr->uses[i].id != id && nr->uses[i].seconds) {
        i = (i + 1) & (NGX_HTTP_NUCLEUS_USES - 1);
    }

    if (nr->uses[i].seconds == 0) {
        nr->uses[i].id = id;
        nr->nuses++;
    }

    nr->uses[i].seconds = ngx_time();

    if (nr->nuses > NGX_HTTP_NUCLEUS_USES / 4 * 3) {
        ngx_http_nucleus_hand_over_uses(nr);
    }
}


static void
ngx_http_nucleus_notes_handler(ngx_event_t *ev)
{
    ngx_http_nucleus_hand_over_uses(ev->data);
    ngx_http_nucleus_hand_over_tallies(ev->data);
}


static void
ngx_http_nucleus_hand_over_uses(ngx_http_nucleus_registry_t *nr)
{
    size_t  i, n;

    if (nr->uses == NULL) {
        return;
    }

    n = 0;

    for (i = 0; i < NGX_HTTP_NUCLEUS_USES; i++) {
        if (nr->uses[i].seconds) {
            nr->uses[n++] = nr->uses[i];
        }
    }

    nuc_watch_note(nr->watch, &nuc_last_used_notes, nr->notes_dir, nr->uses,
                   n);

    nr->uses = NULL;
}


/*
 * A hash table of the tenants whose events were counted since the last time;
 * how many there are is seen when it is handed over
 */

void
ngx_http_nucleus_note_tally(ngx_str_t *tenant, uint64_t tag)
{
    ngx_uint_t                    i;
    nuc_events_today_t           *of;
    ngx_http_nucleus_registry_t  *nr;

    nr = &ngx_http_nucleus_process.registry;

    if (nr->tallies == NULL) {
        nr->tallies = calloc(NGX_HTTP_NUCLEUS_TALLIES,
                             sizeof(nuc_events_today_t));
        if (nr->tallies == NULL) {
            return;
        }

        nr->ntallies = 0;

        if (!nr->hand_over.timer_set) {
            ngx_add_timer(&nr->hand_over, NGX_HTTP_NUCLEUS_NOTES_TIME);
        }
    }

    i = tag & (NGX_HTTP_NUCLEUS_TALLIES - 1);
    of = nr->tallies;

    while (of[i].tenant[0]
           && (ngx_strncmp(of[i].tenant, tenant->data, tenant->len) != 0
               || of[i].tenant[tenant->len] != '\0'))
    {
        i = (i + 1) & (NGX_HTTP_NUCLEUS_TALLIES - 1);
    }

    if (of[i].tenant[0]) {
        return;
    }

    ngx_memcpy(of[i].tenant, tenant->data, tenant->len);

    if (++nr->ntallies > NGX_HTTP_NUCLEUS_TALLIES / 4 * 3) {
        ngx_http_nucleus_hand_over_tallies(nr);
    }
}


static void
ngx_http_nucleus_hand_over_tallies(ngx_http_nucleus_registry_t *nr)
{
    size_t               i, n;
    nuc_tally_table_t   *table;
    nuc_events_today_t  *of;

    if (nr->tallies == NULL) {
        return;
    }

    table = ngx_http_nucleus_get_tallies(ngx_http_nucleus_process.zone);
    n = 0;

    for (i = 0; i < NGX_HTTP_NUCLEUS_TALLIES; i++) {

        of = &nr->tallies[i];

        if (of->tenant[0] == '\0') {
            continue;
        }

        of->count = nuc_tally_look(table,
                                   nuc_tally_tag(table, nuc_str(of->tenant)),
                                   &of->day);

        if (of->day) {
            nr->tallies[n++] = *of;
        }
    }

    nuc_watch_note(nr->watch, &nuc_events_today_notes, nr->notes_dir,
                   nr->tallies, n);

    nr->tallies = NULL;
}


void
ngx_http_nucleus_exit_registry(void)
{
    nuc_err_t                       err;
    ngx_http_nucleus_registry_t    *nr;
    ngx_http_nucleus_generation_t  *ng;

    nr = &ngx_http_nucleus_process.registry;

    if (nr->connection) {
        ngx_http_nucleus_unlisten(nr->connection);
    }

    if (nr->age.timer_set) {
        ngx_del_timer(&nr->age);
    }

    if (nr->hand_over.timer_set) {
        ngx_del_timer(&nr->hand_over);
    }

    if (nr->watch) {
        ngx_http_nucleus_hand_over_uses(nr);
        ngx_http_nucleus_hand_over_tallies(nr);
    }

    if (nr->watch
        && nuc_watch_stop(nr->watch, NGX_HTTP_NUCLEUS_STOP_TIME, &err)
           != NUC_OK)
    {
        ngx_log_error(NGX_LOG_ERR, ngx_cycle->log, 0,
                      "nucleus registry: %s", err.message);
    }

    while (nr->oldest) {
        ng = nr->oldest;
        nr->oldest = ng->newer;

        nuc_snapshot_unload(&nuc_sys_posix, ng->file);
        ngx_free(ng);
    }

    if (nr->lock.fd != -1) {
        nuc_reader_lock_close(&nuc_sys_posix, &nr->lock);
    }

    free(nr->tenant_bytes);

    nuc_key_hasher_free(nr->hasher);
}
