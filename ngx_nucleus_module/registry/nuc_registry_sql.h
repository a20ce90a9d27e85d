/*
 * Inside of the registry: the open database, statements, transactions.
 */

#ifndef NUC_REGISTRY_SQL_H
#define NUC_REGISTRY_SQL_H

#include <sqlite3.h>

#include "nuc_registry.h"

struct nuc_registry_s {
    const nuc_sys_t *sys;
    sqlite3 *db;
    const nuc_registry_actor_t *actor;
    nuc_registry_info_t info;
};

/* What the audit says of a change; "details" is a JSON object. */
typedef struct {
    const char *what;
    const char *subject;
    const char *tenant;
    nuc_buf_t *details;
} nuc_registry_change_t;

nuc_rc_t nuc_sql_fail(nuc_registry_t *registry, int code, nuc_err_t *err);
nuc_rc_t nuc_sql_exec(nuc_registry_t *registry, const char *sql, nuc_err_t *err);

/*
 * A statement with its parameters, by the letters of "types": t a string (const char *,
 * NULL is SQL's), i an int64_t, b bytes (const void *, int).  What they point to must
 * outlive it.
 */
nuc_rc_t nuc_sql_query(nuc_registry_t *registry, sqlite3_stmt **stmt, nuc_err_t *err,
                       const char *sql, const char *types, ...);

/* *row is 0 behind the last. */
nuc_rc_t nuc_sql_step(nuc_registry_t *registry, sqlite3_stmt *stmt, int *row,
                      nuc_err_t *err);

/* One that gives no rows. */
nuc_rc_t nuc_sql_run(nuc_registry_t *registry, nuc_err_t *err, const char *sql,
                     const char *types, ...);

/* One that gives one number; NUC_NOT_FOUND, without a message, when it gives none. */
nuc_rc_t nuc_sql_number(nuc_registry_t *registry, int64_t *number, nuc_err_t *err,
                        const char *sql, const char *types, ...);

/* A column that was stored as text of at most "size" - 1 bytes. */
void nuc_sql_text(sqlite3_stmt *stmt, int column, char *out, size_t size);
uint64_t nuc_sql_uint(sqlite3_stmt *stmt, int column);

/* Several reads of one state. */
nuc_rc_t nuc_registry_read_begin(nuc_registry_t *registry, nuc_err_t *err);
void nuc_registry_read_end(nuc_registry_t *registry);

nuc_rc_t nuc_registry_begin(nuc_registry_t *registry, nuc_err_t *err);

/*
 * The end of a change: when "rc" is NUC_OK the new generation, the audit and the commit;
 * else, and when that fails, all is as it was.  Returns the first that failed.
 */
nuc_rc_t nuc_registry_end(nuc_registry_t *registry, nuc_rc_t rc,
                          const nuc_registry_change_t *change, nuc_err_t *err);

/* Nothing was to be changed. */
void nuc_registry_cancel(nuc_registry_t *registry);

/* The rowid of a tenant; NUC_NOT_FOUND with a message. */
nuc_rc_t nuc_registry_tenant_row(nuc_registry_t *registry, const char *name, int64_t *row,
                                 nuc_err_t *err);

/* The limits of a tenant or a key. */
#define NUC_LIMIT_COLUMNS                                                                \
    "requests_rate, requests_burst, events_rate, events_burst, bytes_rate, bytes_burst"

void nuc_registry_limits_column(sqlite3_stmt *stmt, int column,
                                nuc_limit_t limits[NUC_UNIT_COUNT]);

/* Store those that are given, in the row of "table" whose "column" is "name". */
nuc_rc_t nuc_registry_limits_store(nuc_registry_t *registry, const char *table,
                                   const char *column, const char *name,
                                   const nuc_registry_limits_t *limits, nuc_err_t *err);

/* As members of a JSON object. */
void nuc_registry_limits_json(const nuc_registry_limits_t *limits, nuc_buf_t *out);

/* Begins a member of a JSON object that ends with "out": a comma if need be, the name. */
void nuc_registry_json_name(nuc_buf_t *out, const char *name);

#endif /* NUC_REGISTRY_SQL_H */
