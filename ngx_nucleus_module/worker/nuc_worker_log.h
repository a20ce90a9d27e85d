/*
 * The worker's log: lines as nuc_logline.h makes them, on standard error.  A line is one
 * write.  Contents of events never go here.
 *
 * "error_log FILE" puts the file in the place of standard error, as nginx does, so that
 * what a library or the kernel says of the process goes there too.  All processes of a
 * worker write to the same file; they share, in memory, its name and the level.
 */

#ifndef NUC_WORKER_LOG_H
#define NUC_WORKER_LOG_H

#include <stdint.h>

#include "nuc_err.h"
#include "nuc_logline.h"

/* A further member: text unless NULL, else number. */
typedef struct {
    const char *name; /* NULL ends the list */
    const char *text;
    uint64_t number;
} nuc_field_t;

#define NUC_FIELD_TEXT(name, value)   ((nuc_field_t){(name), (value), 0})
#define NUC_FIELD_NUMBER(name, value) ((nuc_field_t){(name), NULL, (uint64_t) (value)})
#define NUC_FIELD_END                 ((nuc_field_t){NULL, NULL, 0})

/* What "process" says from now on: supervisor, keeper, or a pipeline's name.  Not copied.
 */
void nuc_worker_log_process(const char *name);

/*
 * From now on, in this process and in those forked from it: lines from "least" on, to the
 * end of "file", which is made if it is not there; NULL: to what standard error was at
 * first.  The others open it when they are told to reopen.  After an error all goes on
 * where it went.
 */
nuc_rc_t nuc_worker_log_open(const char *file, nuc_level_t least, nuc_err_t *err);

/* Open the file anew, by its name, for it may have been renamed. */
void nuc_worker_log_reopen(void);

/* This process writes to what standard error was at first; 0 when it does already. */
int nuc_worker_log_to_console(void);

/* nuc_worker_log(NUC_LEVEL_INFO, "started", NUC_FIELD_TEXT("queue", path)); */
#define nuc_worker_log(level, ...) nuc_worker_log_(level, __VA_ARGS__, NUC_FIELD_END)
#define nuc_worker_log_(level, msg, ...)                                                 \
    nuc_worker_log_fields(level, msg, (const nuc_field_t[]){__VA_ARGS__})

void nuc_worker_log_fields(nuc_level_t level, const char *msg, const nuc_field_t *fields);

/* An error with its hint; "doing" says what did not work. */
void nuc_worker_log_error(nuc_level_t level, const char *doing, const nuc_err_t *err);

/* What goes wrong again and again; said: 0 at first, and when it is over. */
typedef struct {
    nuc_err_t last;
    uint64_t said; /* µs */
} nuc_trouble_t;

/* The same at level error, and while it stays the same, once a minute. */
void nuc_worker_log_trouble(nuc_trouble_t *trouble, const char *doing,
                            const nuc_err_t *err);

#endif /* NUC_WORKER_LOG_H */
