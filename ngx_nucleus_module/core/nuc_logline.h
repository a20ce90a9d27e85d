/*
 * A line of a log, as the worker writes it and nucleusctl with --json: one JSON object
 * with time, level, process, pid, msg and further members.  docs/logs.md has the fields,
 * docs/log.schema.json the schema.  Nothing is written here; contents of events never go
 * into one.
 */

#ifndef NUC_LOGLINE_H
#define NUC_LOGLINE_H

#include "nuc_buf.h"
#include "nuc_err.h"

typedef enum {
    NUC_LEVEL_INFO = 0,
    NUC_LEVEL_NOTICE,
    NUC_LEVEL_WARN,
    NUC_LEVEL_ERROR,
    NUC_LEVEL_ALERT
} nuc_level_t;

/* NUC_INVALID unless it is the name of a level. */
nuc_rc_t nuc_logline_level(const char *name, nuc_level_t *level);

/* "line" is empty, and the caller looks at line->failed behind the end. */
void nuc_logline_begin(nuc_buf_t *line, nuc_level_t level, const char *process,
                       const char *msg);
void nuc_logline_text(nuc_buf_t *line, const char *name, const char *text);
void nuc_logline_number(nuc_buf_t *line, const char *name, uint64_t number);
/* Members "error", "code" and, if there is one, "hint". */
void nuc_logline_error(nuc_buf_t *line, const nuc_err_t *err);
void nuc_logline_end(nuc_buf_t *line);

#endif /* NUC_LOGLINE_H */
