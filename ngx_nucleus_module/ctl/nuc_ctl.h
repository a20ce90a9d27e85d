/*
 * nucleusctl: the table of commands, and what they share.
 */

#ifndef NUC_CTL_H
#define NUC_CTL_H

#include "nuc_buf.h"
#include "nuc_registry.h"

#define NUC_CTL_REGISTRY "/var/lib/nucleus/registry.db"

/* What the program exits with. */
enum {
    NUC_EXIT_OK = 0,
    NUC_EXIT_FAILED = 1,
    NUC_EXIT_USAGE = 2,
    NUC_EXIT_NOT_FOUND = 3,
    NUC_EXIT_BEHIND =
        4 /* some process has not taken the change up, or not passed it on */
};

/* How an option's or an argument's value is completed in a shell. */
typedef enum {
    NUC_COMPLETE_NOTHING = 0,
    NUC_COMPLETE_FILE,
    NUC_COMPLETE_DIR,
    NUC_COMPLETE_TENANT,
    NUC_COMPLETE_KEY,
    NUC_COMPLETE_SCOPE
} nuc_ctl_complete_t;

typedef struct {
    const char *name;  /* "--tenant"; NULL ends a list */
    const char *value; /* what its value is called; NULL: it has none */
    const char *help;
    nuc_ctl_complete_t complete;
    int many; /* may be given more than once */
} nuc_ctl_option_t;

typedef struct nuc_ctl_s nuc_ctl_t;

typedef struct {
    const char *name;     /* "key create" */
    const char *argument; /* what its one argument is called; NULL: it has none */
    const char *help;     /* one line */
    const char *more;     /* further lines, or NULL */
    const nuc_ctl_option_t *options;
    int (*run)(nuc_ctl_t *ctl); /* returns what to exit with */
    nuc_ctl_complete_t complete;
    int passes; /* all that follows is another program's: ctl->rest */
} nuc_ctl_command_t;

typedef struct {
    const nuc_ctl_option_t *option;
    const char *value;
} nuc_ctl_given_t;

struct nuc_ctl_s {
    const nuc_sys_t *sys;
    const char *program; /* argv[0] */
    const nuc_ctl_command_t *command;
    const char *argument;
    char **rest;
    nuc_ctl_given_t *given;
    size_t ngiven;
    const char *path; /* of the registry */
    int json;
    char who[128];
    char from[128];
    nuc_registry_actor_t actor;
    nuc_registry_t *registry;
    nuc_buf_t out; /* printed when the command returns */
};

int nuc_ctl_run(int argc, char **argv);

/* The value of an option, or NULL; "" for one without a value. */
const char *nuc_ctl_option(const nuc_ctl_t *ctl, const char *name);

/* The values of one that may be given more than once: *at is 0 at first. */
const char *nuc_ctl_next(const nuc_ctl_t *ctl, const char *name, size_t *at);

/* Tell what failed, to standard error, with --json as a line of a log (nuc_logline.h);
 * what to exit with. */
int nuc_ctl_fail(const nuc_ctl_t *ctl, const nuc_err_t *err);
int nuc_ctl_misuse(const nuc_ctl_t *ctl, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
void nuc_ctl_warn(const nuc_ctl_t *ctl, const nuc_err_t *err);

/* Open the registry, and publish what a command that was interrupted did not; 0, or what
 * to exit with. */
int nuc_ctl_open(nuc_ctl_t *ctl);

/* Publish a change that was made; 0, or what to exit with. */
int nuc_ctl_publish(nuc_ctl_t *ctl);

/*
 * Wait until every process uses the present generation.  Adds to "out" what became of it:
 * words, or members of the JSON object.  0, or what to exit with.
 */
int nuc_ctl_wait(nuc_ctl_t *ctl);

/* For how long, in ms; looked at before anything is changed.  0, or what to exit with. */
int nuc_ctl_timeout(const nuc_ctl_t *ctl, uint64_t *ms);

/* The id of a key from the command's argument; 0, or what to exit with. */
int nuc_ctl_key_id(const nuc_ctl_t *ctl, uint64_t *id);

/* ---- commands */

int nuc_ctl_init(nuc_ctl_t *ctl);
int nuc_ctl_audit(nuc_ctl_t *ctl);
int nuc_ctl_snapshot(nuc_ctl_t *ctl);
int nuc_ctl_tenant_create(nuc_ctl_t *ctl);
int nuc_ctl_tenant_list(nuc_ctl_t *ctl);
int nuc_ctl_tenant_show(nuc_ctl_t *ctl);
int nuc_ctl_tenant_disable(nuc_ctl_t *ctl);
int nuc_ctl_tenant_enable(nuc_ctl_t *ctl);
int nuc_ctl_tenant_limits(nuc_ctl_t *ctl);
int nuc_ctl_key_create(nuc_ctl_t *ctl);
int nuc_ctl_key_list(nuc_ctl_t *ctl);
int nuc_ctl_key_show(nuc_ctl_t *ctl);
int nuc_ctl_key_rotate(nuc_ctl_t *ctl);
int nuc_ctl_key_revoke(nuc_ctl_t *ctl);
int nuc_ctl_key_limits(nuc_ctl_t *ctl);
int nuc_ctl_queue_status(nuc_ctl_t *ctl);
int nuc_ctl_queue_verify(nuc_ctl_t *ctl);
int nuc_ctl_queue_adopt(nuc_ctl_t *ctl);
int nuc_ctl_doctor(nuc_ctl_t *ctl);
int nuc_ctl_check(nuc_ctl_t *ctl);
int nuc_ctl_completion(nuc_ctl_t *ctl);

#endif /* NUC_CTL_H */
