/*
 * What nginx's configuration says that concerns the registry, and what nginx's user may
 * do.
 */

#ifndef NUC_CTL_NGINX_H
#define NUC_CTL_NGINX_H

#include <sys/types.h>

#include "nuc_fs.h"

#define NUC_NGINX_USER_MAX   64
#define NUC_NGINX_GROUPS_MAX 64

typedef struct {
    char user[NUC_NGINX_USER_MAX];  /* empty: not said */
    char group[NUC_NGINX_USER_MAX]; /* empty: the user's */
    char registry[NUC_PATH_MAX];    /* as written; empty: none */
    char queue[NUC_PATH_MAX];       /* as written; empty: none */
    uint64_t min_free;              /* bytes */
} nuc_nginx_conf_t;

/*
 * Reads the file and what it includes.  What is not there in the end nginx -t will tell;
 * this fails, for the first file alone, with what nuc_fs_read_file and nuc_conf_parse
 * answer.
 */
nuc_rc_t nuc_nginx_read(const nuc_sys_t *sys, const char *file, nuc_nginx_conf_t *conf,
                        nuc_err_t *err);

typedef struct {
    char queue[NUC_PATH_MAX]; /* as written; empty: none */
    char state[NUC_PATH_MAX]; /* as written, or the default */
} nuc_nginx_worker_t;

/* What a worker's configuration says. */
nuc_rc_t nuc_nginx_read_worker(const nuc_sys_t *sys, const char *file,
                               nuc_nginx_worker_t *worker, nuc_err_t *err);

typedef struct {
    char name[NUC_NGINX_USER_MAX];
    uid_t uid;
    gid_t groups[NUC_NGINX_GROUPS_MAX];
    int ngroups;
} nuc_nginx_user_t;

/* As nginx sets its processes' groups.  NUC_NOT_FOUND: there is no such user or group. */
nuc_rc_t nuc_nginx_user(const char *name, const char *group, nuc_nginx_user_t *user,
                        nuc_err_t *err);

/* Likewise with all groups that the user has.  NUC_NOT_FOUND: there is no such user. */
nuc_rc_t nuc_nginx_user_by_id(uid_t uid, nuc_nginx_user_t *user, nuc_err_t *err);

int nuc_nginx_has_group(const nuc_nginx_user_t *user, gid_t group);

/*
 * May the user do that (R_OK, W_OK, X_OK) by owner and mode, with the directories above
 * it? Access control lists are not looked at.  "why" gets the path that forbids it.
 */
int nuc_nginx_may(const nuc_sys_t *sys, const nuc_nginx_user_t *user, const char *path,
                  int what, char why[NUC_PATH_MAX]);

#endif /* NUC_CTL_NGINX_H */
