/*
 * What the supervisor says of its processes, in state/processes, for --status.  Written
 * anew at each change and never synced: nothing depends on it, and after a crash it tells
 * of processes that are gone.
 */

#ifndef NUC_ROSTER_H
#define NUC_ROSTER_H

#include <sys/types.h>

#include "nuc_buf.h"
#include "nuc_name.h"
#include "nuc_sys.h"

typedef enum {
    NUC_ROLE_PIPELINE = 0,
    NUC_ROLE_KEEPER,
    NUC_ROLE_API
} nuc_role_t;

typedef struct {
    char name[NUC_NAME_MAX + 1];
    nuc_role_t role;   /* whatever the name */
    pid_t pid;         /* 0: does not run */
    uint64_t since;    /* µs since 1970, its last start */
    unsigned restarts; /* crashes in a row */
    uint64_t ended;    /* µs since 1970, its last crash; 0: none */
    int status;        /* of that, as waitpid gave it */
    uint64_t due;      /* µs of the monotonic clock, its next start */
} nuc_roster_entry_t;

void nuc_roster_begin(nuc_buf_t *text);
void nuc_roster_add(nuc_buf_t *text, const nuc_roster_entry_t *entry);

/* Replaces the file.  A failure is not told: --status then has less to say. */
void nuc_roster_write(const nuc_sys_t *sys, const char *state, const nuc_buf_t *text);
void nuc_roster_remove(const nuc_sys_t *sys, const char *state);

/*
 * Appends the file to "text", zero-terminated.  0 when no supervisor runs, or it says
 * nothing.
 */
int nuc_roster_read(const nuc_sys_t *sys, const char *state, nuc_buf_t *text);

/* The entry with the role, and, if it is not NULL, the name; 0 when there is none. */
int nuc_roster_find(const nuc_buf_t *text, nuc_role_t role, const char *name,
                    nuc_roster_entry_t *entry);

#endif /* NUC_ROSTER_H */
