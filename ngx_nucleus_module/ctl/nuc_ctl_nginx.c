#include "nuc_ctl_nginx.h"

#include <glob.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "nuc_conf.h"

#define NUC_NGINX_CONF_MAX (4u << 20) /* bytes of one file */
#define NUC_NGINX_DEPTH    8          /* of includes */

#define NUC_NGINX_MIN_FREE     (1ULL << 30) /* as the directives' defaults */
#define NUC_NGINX_WORKER_STATE "/var/lib/nucleus/state"

typedef struct {
    const nuc_sys_t *sys;
    const char *file; /* the first */
    nuc_nginx_conf_t *conf;
    unsigned depth;
} nuc_nginx_reader_t;

static nuc_rc_t nuc_nginx_file(nuc_nginx_reader_t *reader, const char *file,
                               nuc_err_t *err);

/* Relative names are of the directory of the first file. */
static void nuc_nginx_include(nuc_nginx_reader_t *reader, const char *pattern)
{
    size_t i;
    glob_t found;
    char path[NUC_PATH_MAX];
    const char *slash = strrchr(reader->file, '/');

    if (reader->depth == NUC_NGINX_DEPTH ||
        snprintf(path, sizeof(path), "%.*s%s",
                 pattern[0] == '/' || slash == NULL ? 0
                                                    : (int) (slash - reader->file + 1),
                 reader->file, pattern) >= (int) sizeof(path) ||
        glob(path, 0, NULL, &found) != 0) {
        return;
    }

    reader->depth++;

    for (i = 0; i < found.gl_pathc; i++) {
        (void) nuc_nginx_file(reader, found.gl_pathv[i], NULL);
    }

    reader->depth--;
    globfree(&found);
}

static void nuc_nginx_queue(nuc_nginx_conf_t *conf, const nuc_conf_directive_t *d)
{
    unsigned i;
    uint64_t size;

    if (d->nargs < 2 || strcmp(d->args[0], "log") != 0) {
        return;
    }

    snprintf(conf->queue, sizeof(conf->queue), "%s", d->args[1]);

    for (i = 2; i < d->nargs; i++) {
        if (strncmp(d->args[i], "min_free=", 9) == 0 &&
            nuc_conf_size(d->args[i] + 9, &size) == NUC_OK) {
            conf->min_free = size;
        }
    }
}

static void nuc_nginx_directive(nuc_nginx_reader_t *reader, const nuc_conf_directive_t *d)
{
    nuc_nginx_conf_t *conf = reader->conf;

    if (d->nargs == 0) {
        return;
    }

    if (strcmp(d->name, "user") == 0) {
        snprintf(conf->user, sizeof(conf->user), "%s", d->args[0]);
        snprintf(conf->group, sizeof(conf->group), "%s", d->nargs > 1 ? d->args[1] : "");
    } else if (strcmp(d->name, "nucleus_registry") == 0) {
        snprintf(conf->registry, sizeof(conf->registry), "%s", d->args[0]);
    } else if (strcmp(d->name, "nucleus_queue") == 0) {
        nuc_nginx_queue(conf, d);
    } else if (strcmp(d->name, "include") == 0) {
        nuc_nginx_include(reader, d->args[0]);
    }
}

/* All that counts here stands at the top or in http. */
static void nuc_nginx_directives(nuc_nginx_reader_t *reader,
                                 const nuc_conf_directive_t *d)
{
    for (/* void */; d != NULL; d = d->next) {
        if (!d->block) {
            nuc_nginx_directive(reader, d);
            continue;
        }

        if (strcmp(d->name, "http") == 0) {
            nuc_nginx_directives(reader, d->children);
        }
    }
}

static nuc_rc_t nuc_nginx_parse(const nuc_sys_t *sys, const char *file, nuc_conf_t **conf,
                                nuc_err_t *err)
{
    nuc_rc_t rc;
    nuc_buf_t text = NUC_BUF_INIT;

    rc = nuc_fs_read_file(sys, file, NUC_NGINX_CONF_MAX, &text, err);

    if (rc == NUC_OK) {
        rc = nuc_conf_parse((nuc_str_t){text.data, text.len}, file, conf, err);
    }

    nuc_buf_free(&text);

    return rc;
}

static nuc_rc_t nuc_nginx_file(nuc_nginx_reader_t *reader, const char *file,
                               nuc_err_t *err)
{
    nuc_rc_t rc;
    nuc_conf_t *conf;

    rc = nuc_nginx_parse(reader->sys, file, &conf, err);

    if (rc == NUC_OK) {
        nuc_nginx_directives(reader, nuc_conf_root(conf));
        nuc_conf_free(conf);
    }

    return rc;
}

nuc_rc_t nuc_nginx_read(const nuc_sys_t *sys, const char *file, nuc_nginx_conf_t *conf,
                        nuc_err_t *err)
{
    nuc_nginx_reader_t reader = {.sys = sys, .file = file, .conf = conf};

    memset(conf, 0, sizeof(*conf));
    conf->min_free = NUC_NGINX_MIN_FREE;

    return nuc_nginx_file(&reader, file, err);
}

static void nuc_nginx_worker_path(const nuc_conf_directive_t *d,
                                  nuc_nginx_worker_t *worker)
{
    for (/* void */; d != NULL; d = d->next) {
        if (strcmp(d->name, "path") == 0 && d->nargs == 1) {
            snprintf(worker->queue, NUC_PATH_MAX, "%s", d->args[0]);
        }
    }
}

nuc_rc_t nuc_nginx_read_worker(const nuc_sys_t *sys, const char *file,
                               nuc_nginx_worker_t *worker, nuc_err_t *err)
{
    nuc_rc_t rc;
    nuc_conf_t *conf;
    const nuc_conf_directive_t *d;

    worker->queue[0] = '\0';
    strcpy(worker->state, NUC_NGINX_WORKER_STATE);
    rc = nuc_nginx_parse(sys, file, &conf, err);

    if (rc != NUC_OK) {
        return rc;
    }

    for (d = nuc_conf_root(conf); d != NULL; d = d->next) {
        if (strcmp(d->name, "state") == 0 && d->nargs == 1) {
            snprintf(worker->state, NUC_PATH_MAX, "%s", d->args[0]);
        } else if (strcmp(d->name, "queue") == 0 && d->nargs == 1 &&
                   strcmp(d->args[0], "log") == 0) {
            nuc_nginx_worker_path(d->children, worker);
        }
    }

    nuc_conf_free(conf);

    return NUC_OK;
}

/* ---- its user */

static void nuc_nginx_groups(nuc_nginx_user_t *user, gid_t group)
{
    user->ngroups = NUC_NGINX_GROUPS_MAX;

    if (getgrouplist(user->name, group, user->groups, &user->ngroups) == -1) {
        user->ngroups = NUC_NGINX_GROUPS_MAX;
    }
}

nuc_rc_t nuc_nginx_user(const char *name, const char *group, nuc_nginx_user_t *user,
                        nuc_err_t *err)
{
    struct group *gr;
    struct passwd *pw;

    memset(user, 0, sizeof(*user));
    snprintf(user->name, sizeof(user->name), "%s", name);
    pw = getpwnam(name);

    if (pw == NULL) {
        return nuc_err_set(err, NUC_NOT_FOUND, "there is no user \"%s\"", name);
    }

    user->uid = pw->pw_uid;

    /* without one nginx takes the group that is called as the user */
    gr = getgrnam(*group != '\0' ? group : name);

    if (gr == NULL) {
        return nuc_err_set(err, NUC_NOT_FOUND, "there is no group \"%s\"",
                           *group != '\0' ? group : name);
    }

    nuc_nginx_groups(user, gr->gr_gid);

    return NUC_OK;
}

nuc_rc_t nuc_nginx_user_by_id(uid_t uid, nuc_nginx_user_t *user, nuc_err_t *err)
{
    struct passwd *pw = getpwuid(uid);

    if (pw == NULL) {
        return nuc_err_set(err, NUC_NOT_FOUND, "there is no user with id %lu",
                           (unsigned long) uid);
    }

    memset(user, 0, sizeof(*user));
    snprintf(user->name, sizeof(user->name), "%s", pw->pw_name);
    user->uid = uid;
    nuc_nginx_groups(user, pw->pw_gid);

    return NUC_OK;
}

int nuc_nginx_has_group(const nuc_nginx_user_t *user, gid_t group)
{
    int i;

    for (i = 0; i < user->ngroups; i++) {
        if (user->groups[i] == group) {
            return 1;
        }
    }

    return 0;
}

static int nuc_nginx_mode(const nuc_nginx_user_t *user, const struct stat *st, int what)
{
    mode_t bits = st->st_mode;

    if (user->uid == 0) {
        return 1;
    }

    if (st->st_uid == user->uid) {
        return ((int) (bits >> 6) & what) == what;
    }

    if (nuc_nginx_has_group(user, st->st_gid)) {
        return ((int) (bits >> 3) & what) == what;
    }

    return ((int) bits & what) == what;
}

int nuc_nginx_may(const nuc_sys_t *sys, const nuc_nginx_user_t *user, const char *path,
                  int what, char why[NUC_PATH_MAX])
{
    int may;
    struct stat st;
    char *real, *slash;

    snprintf(why, NUC_PATH_MAX, "%s", path);
    real = realpath(path, NULL);

    if (real == NULL) {
        return 0;
    }

    may = sys->stat(sys, real, &st) == 0 && nuc_nginx_mode(user, &st, what);

    while (may && (slash = strrchr(real, '/')) != NULL && slash != real) {
        *slash = '\0';
        snprintf(why, NUC_PATH_MAX, "%s", real);
        may = sys->stat(sys, real, &st) == 0 && nuc_nginx_mode(user, &st, X_OK);
    }

    free(real);

    return may;
}
