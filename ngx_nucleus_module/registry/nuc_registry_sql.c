#include "nuc_registry_sql.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "nuc_time.h"

static const struct {
    int code; /* the primary one */
    nuc_rc_t rc;
    const char *hint;
} nuc_sql_codes[] = {
    {SQLITE_BUSY, NUC_BUSY, "another process changes the registry: try again"},
    {SQLITE_LOCKED, NUC_BUSY, "another process changes the registry: try again"},
    {SQLITE_CORRUPT, NUC_CORRUPT, "restore it from a backup: docs/registry.md"},
    {SQLITE_NOTADB, NUC_CORRUPT, "restore it from a backup: docs/registry.md"},
    {SQLITE_FULL, NUC_FULL, "make room on its disk"},
    {SQLITE_READONLY, NUC_IO, "only the registry's owner may change it: who is that?"},
    {SQLITE_PERM, NUC_IO, "only the registry's owner may change it: who is that?"},
    {SQLITE_CANTOPEN, NUC_IO, "only the registry's owner may open it: who is that?"},
    {SQLITE_NOMEM, NUC_NOMEM, ""},
};

nuc_rc_t nuc_sql_fail(nuc_registry_t *registry, int code, nuc_err_t *err)
{
    size_t i;

    for (i = 0; i < sizeof(nuc_sql_codes) / sizeof(nuc_sql_codes[0]); i++) {
        if (nuc_sql_codes[i].code == (code & 0xff)) {
            nuc_err_set(err, nuc_sql_codes[i].rc, "registry \"%s\": %s",
                        registry->info.path, sqlite3_errmsg(registry->db));
            nuc_err_hint(err, "%s", nuc_sql_codes[i].hint);
            return nuc_sql_codes[i].rc;
        }
    }

    return nuc_err_set(err, NUC_IO, "registry \"%s\": %s", registry->info.path,
                       sqlite3_errmsg(registry->db));
}

nuc_rc_t nuc_sql_exec(nuc_registry_t *registry, const char *sql, nuc_err_t *err)
{
    int code;

    code = sqlite3_exec(registry->db, sql, NULL, NULL, NULL);

    return code == SQLITE_OK ? NUC_OK : nuc_sql_fail(registry, code, err);
}

static int nuc_sql_bind(sqlite3_stmt *stmt, const char *types, va_list args)
{
    int i, code;
    const void *bytes;

    code = SQLITE_OK;

    for (i = 1; *types != '\0' && code == SQLITE_OK; i++, types++) {
        switch (*types) {
        case 't':
            code =
                sqlite3_bind_text(stmt, i, va_arg(args, const char *), -1, SQLITE_STATIC);
            break;
        case 'i':
            code = sqlite3_bind_int64(stmt, i, va_arg(args, int64_t));
            break;
        default:
            bytes = va_arg(args, const void *);
            code = sqlite3_bind_blob(stmt, i, bytes, va_arg(args, int), SQLITE_STATIC);
        }
    }

    return code;
}

static nuc_rc_t nuc_sql_vquery(nuc_registry_t *registry, sqlite3_stmt **stmt,
                               nuc_err_t *err, const char *sql, const char *types,
                               va_list args)
{
    int code;

    code = sqlite3_prepare_v2(registry->db, sql, -1, stmt, NULL);

    if (code == SQLITE_OK) {
        code = nuc_sql_bind(*stmt, types, args);
    }

    if (code == SQLITE_OK) {
        return NUC_OK;
    }

    sqlite3_finalize(*stmt);
    *stmt = NULL;

    return nuc_sql_fail(registry, code, err);
}

nuc_rc_t nuc_sql_query(nuc_registry_t *registry, sqlite3_stmt **stmt, nuc_err_t *err,
                       const char *sql, const char *types, ...)
{
    va_list args;
    nuc_rc_t rc;

    va_start(args, types);
    rc = nuc_sql_vquery(registry, stmt, err, sql, types, args);
    va_end(args);

    return rc;
}

nuc_rc_t nuc_sql_step(nuc_registry_t *registry, sqlite3_stmt *stmt, int *row,
                      nuc_err_t *err)
{
    int code;

    code = sqlite3_step(stmt);
    *row = code == SQLITE_ROW;

    return code == SQLITE_ROW || code == SQLITE_DONE ? NUC_OK
                                                     : nuc_sql_fail(registry, code, err);
}

/* The first column of the first row into "number", unless that is NULL; NUC_NOT_FOUND. */
static nuc_rc_t nuc_sql_first(nuc_registry_t *registry, int64_t *number, nuc_err_t *err,
                              const char *sql, const char *types, va_list args)
{
    int row;
    nuc_rc_t rc;
    sqlite3_stmt *stmt;

    rc = nuc_sql_vquery(registry, &stmt, err, sql, types, args);
    if (rc != NUC_OK) {
        return rc;
    }

    rc = nuc_sql_step(registry, stmt, &row, err);

    if (rc == NUC_OK && row && number != NULL) {
        *number = sqlite3_column_int64(stmt, 0);
    }

    sqlite3_finalize(stmt);

    return rc == NUC_OK && number != NULL && !row ? NUC_NOT_FOUND : rc;
}

nuc_rc_t nuc_sql_run(nuc_registry_t *registry, nuc_err_t *err, const char *sql,
                     const char *types, ...)
{
    va_list args;
    nuc_rc_t rc;

    va_start(args, types);
    rc = nuc_sql_first(registry, NULL, err, sql, types, args);
    va_end(args);

    return rc;
}

nuc_rc_t nuc_sql_number(nuc_registry_t *registry, int64_t *number, nuc_err_t *err,
                        const char *sql, const char *types, ...)
{
    va_list args;
    nuc_rc_t rc;

    *number = 0;

    va_start(args, types);
    rc = nuc_sql_first(registry, number, err, sql, types, args);
    va_end(args);

    return rc;
}

void nuc_sql_text(sqlite3_stmt *stmt, int column, char *out, size_t size)
{
    const unsigned char *text = sqlite3_column_text(stmt, column);

    snprintf(out, size, "%s", text != NULL ? (const char *) text : "");
}

uint64_t nuc_sql_uint(sqlite3_stmt *stmt, int column)
{
    int64_t value = sqlite3_column_int64(stmt, column);

    return value > 0 ? (uint64_t) value : 0;
}

/* ---- transactions */

nuc_rc_t nuc_registry_read_begin(nuc_registry_t *registry, nuc_err_t *err)
{
    return nuc_sql_exec(registry, "BEGIN", err);
}

void nuc_registry_cancel(nuc_registry_t *registry)
{
    /* fails where SQLite has rolled back by itself */
    (void) sqlite3_exec(registry->db, "ROLLBACK", NULL, NULL, NULL);
}

void nuc_registry_read_end(nuc_registry_t *registry)
{
    nuc_registry_cancel(registry);
}

nuc_rc_t nuc_registry_begin(nuc_registry_t *registry, nuc_err_t *err)
{
    return nuc_sql_exec(registry, "BEGIN IMMEDIATE", err);
}

/*
 * A database that was restored from a backup has used generations behind it that nginx
 * has seen: the next is newer than what is published, too.
 */
static nuc_rc_t nuc_registry_advance(nuc_registry_t *registry, nuc_err_t *err)
{
    nuc_registry_published_t published;

    nuc_registry_published(registry, &published);

    if (published.rc == NUC_NOMEM) {
        return nuc_err_set(err, published.rc, "%s", published.err.message);
    }

    return nuc_sql_run(
        registry, err, "UPDATE registry SET generation = max(generation, ?1) + 1", "i",
        published.rc == NUC_OK && !published.foreign ? (int64_t) published.generation
                                                     : (int64_t) 0);
}

static nuc_rc_t nuc_registry_record(nuc_registry_t *registry,
                                    const nuc_registry_change_t *change, nuc_err_t *err)
{
    nuc_buf_char(change->details, '\0');

    if (change->details->failed) {
        return nuc_err_set(err, NUC_NOMEM, "no memory for the audit");
    }

    return nuc_sql_run(
        registry, err,
        "INSERT INTO audit (at, generation, who, origin, what, subject, tenant, details)"
        " SELECT ?1, generation, ?2, ?3, ?4, ?5, ?6, ?7 FROM registry",
        "itttttt", (int64_t) nuc_time_now(), registry->actor->who, registry->actor->from,
        change->what, change->subject, change->tenant,
        (const char *) change->details->data);
}

nuc_rc_t nuc_registry_end(nuc_registry_t *registry, nuc_rc_t rc,
                          const nuc_registry_change_t *change, nuc_err_t *err)
{
    if (rc == NUC_OK) {
        rc = nuc_registry_advance(registry, err);
    }

    if (rc == NUC_OK) {
        rc = nuc_registry_record(registry, change, err);
    }

    if (rc == NUC_OK) {
        rc = nuc_sql_exec(registry, "COMMIT", err);
    }

    if (rc != NUC_OK) {
        nuc_registry_cancel(registry);
    }

    return rc;
}

/* ---- limits */

void nuc_registry_limits_column(sqlite3_stmt *stmt, int column,
                                nuc_limit_t limits[NUC_UNIT_COUNT])
{
    int i;

    for (i = 0; i < NUC_UNIT_COUNT; i++) {
        limits[i].rate = nuc_sql_uint(stmt, column + 2 * i);
        limits[i].burst = nuc_sql_uint(stmt, column + 2 * i + 1);
    }
}

nuc_rc_t nuc_registry_limits_store(nuc_registry_t *registry, const char *table,
                                   const char *column, const char *name,
                                   const nuc_registry_limits_t *limits, nuc_err_t *err)
{
    unsigned i;
    nuc_rc_t rc;
    char sql[160];

    rc = NUC_OK;

    for (i = 0; i < NUC_UNIT_COUNT && rc == NUC_OK; i++) {
        if (limits->units & 1U << i) {
            snprintf(sql, sizeof(sql),
                     "UPDATE %s SET %s_rate = ?1, %s_burst = ?2 WHERE %s = ?3", table,
                     nuc_unit_name(i), nuc_unit_name(i), column);
            rc = nuc_sql_run(registry, err, sql, "iit", (int64_t) limits->limits[i].rate,
                             (int64_t) limits->limits[i].burst, name);
        }
    }

    for (i = 0; i < NUC_QUOTA_COUNT && rc == NUC_OK; i++) {
        if (limits->quotas & 1U << i) {
            snprintf(sql, sizeof(sql), "UPDATE %s SET %s = ?1 WHERE %s = ?2", table,
                     nuc_quota_name(i), column);
            rc = nuc_sql_run(registry, err, sql, "it", (int64_t) limits->quota[i], name);
        }
    }

    return rc;
}

void nuc_registry_json_name(nuc_buf_t *out, const char *name)
{
    if (out->len > 0 && out->data[out->len - 1] != '{') {
        nuc_buf_char(out, ',');
    }

    nuc_buf_json(out, nuc_str(name));
    nuc_buf_char(out, ':');
}

void nuc_registry_limits_json(const nuc_registry_limits_t *limits, nuc_buf_t *out)
{
    unsigned i;
    char text[NUC_LIMIT_TEXT_MAX];

    for (i = 0; i < NUC_UNIT_COUNT; i++) {
        if (limits->units & 1U << i) {
            nuc_registry_json_name(out, nuc_unit_name(i));
            nuc_limit_text(i, &limits->limits[i], text);
            nuc_buf_json(out, nuc_str(text));
        }
    }

    for (i = 0; i < NUC_QUOTA_COUNT; i++) {
        if (limits->quotas & 1U << i) {
            nuc_registry_json_name(out, nuc_quota_name(i));
            nuc_quota_text(i, limits->quota[i], text);
            nuc_buf_json(out, nuc_str(text));
        }
    }
}
