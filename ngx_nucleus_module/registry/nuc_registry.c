#include "nuc_registry_sql.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "nuc_time.h"

#define NUC_REGISTRY_SCHEMA 1
#define NUC_REGISTRY_WAIT   10000 /* ms for which a change waits for another process's */

/* tables refuse values of another type, from this version on */
#define NUC_SQLITE_STRICT 3037000

#define NUC_LIMIT_TABLE                                                                  \
    " requests_rate INTEGER NOT NULL DEFAULT 0, requests_burst INTEGER NOT NULL "        \
    "DEFAULT 0,"                                                                         \
    " events_rate INTEGER NOT NULL DEFAULT 0, events_burst INTEGER NOT NULL DEFAULT 0,"  \
    " bytes_rate INTEGER NOT NULL DEFAULT 0, bytes_burst INTEGER NOT NULL DEFAULT 0"

/* Tables without their "STRICT".  Times of the audit and of what was made are µs since
 * 1970, those that decide whether a key is valid are seconds. */
static const struct {
    const char *name;
    const char *columns;
    const char *options;
} nuc_registry_tables[] = {
    {"registry",
     "one INTEGER PRIMARY KEY CHECK (one = 1), id TEXT NOT NULL,"
     " generation INTEGER NOT NULL, snapshot TEXT NOT NULL, grp TEXT NOT NULL",
     ""},
    {"tenant",
     "row INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, created INTEGER NOT NULL,"
     " disabled INTEGER NOT NULL DEFAULT 0, queue_bytes INTEGER NOT NULL DEFAULT 0,"
     " events_a_day INTEGER NOT NULL DEFAULT 0,"
     " inflight INTEGER NOT NULL DEFAULT 0," NUC_LIMIT_TABLE,
     ""},
    {"key",
     "id TEXT PRIMARY KEY NOT NULL, digest BLOB NOT NULL CHECK (length(digest) = 32),"
     " lineage TEXT NOT NULL, tenant INTEGER NOT NULL REFERENCES tenant,"
     " name TEXT NOT NULL, scopes INTEGER NOT NULL, created INTEGER NOT NULL,"
     " not_before INTEGER NOT NULL, expires INTEGER NOT NULL,"
     " retired INTEGER NOT NULL DEFAULT 0,"
     " revoked INTEGER NOT NULL DEFAULT 0," NUC_LIMIT_TABLE,
     "WITHOUT ROWID"},
    {"key_stream",
     "key TEXT NOT NULL REFERENCES key, stream TEXT NOT NULL, PRIMARY KEY (key, stream)",
     "WITHOUT ROWID"},
    {"key_network",
     "key TEXT NOT NULL REFERENCES key, network TEXT NOT NULL,"
     " PRIMARY KEY (key, network)",
     "WITHOUT ROWID"},
    {"key_certificate",
     "sha256 BLOB PRIMARY KEY NOT NULL CHECK (length(sha256) = 32),"
     " key TEXT NOT NULL REFERENCES key",
     "WITHOUT ROWID"},
    {"audit",
     "number INTEGER PRIMARY KEY AUTOINCREMENT, at INTEGER NOT NULL,"
     " generation INTEGER NOT NULL, who TEXT NOT NULL, origin TEXT NOT NULL,"
     " what TEXT NOT NULL, subject TEXT NOT NULL, tenant TEXT NOT NULL,"
     " details TEXT NOT NULL",
     ""},
};

/* what was audited stays as it was */
static const char nuc_registry_more[] =
    "CREATE INDEX key_lineage ON key (lineage);"
    "CREATE INDEX key_tenant ON key (tenant);"
    "CREATE INDEX certificate_key ON key_certificate (key);"
    "CREATE TRIGGER audit_update BEFORE UPDATE ON audit"
    " BEGIN SELECT raise(ABORT, 'the audit is not changed'); END;"
    "CREATE TRIGGER audit_delete BEFORE DELETE ON audit"
    " BEGIN SELECT raise(ABORT, 'the audit is not changed'); END;";

/* ---- opening */

/*
 * A rollback journal rather than a write-ahead log: one file to back up, and changes are
 * rare. EXTRA: the directory is synced when the journal goes, so that a commit outlives a
 * power cut.
 */
static nuc_rc_t nuc_registry_settings(nuc_registry_t *registry, nuc_err_t *err)
{
    sqlite3_busy_timeout(registry->db, NUC_REGISTRY_WAIT);
    sqlite3_extended_result_codes(registry->db, 1);

    return nuc_sql_exec(registry,
                        "PRAGMA foreign_keys = ON; PRAGMA synchronous = EXTRA;"
                        "PRAGMA trusted_schema = OFF; PRAGMA secure_delete = ON;",
                        err);
}

static nuc_rc_t nuc_registry_connect(nuc_registry_t *registry, nuc_err_t *err)
{
    int code;

    code = sqlite3_open_v2(registry->info.path, &registry->db,
                           SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);

    if (registry->db == NULL) {
        return nuc_err_set(err, NUC_NOMEM, "no memory to open the registry");
    }

    if (code != SQLITE_OK) {
        return nuc_sql_fail(registry, code, err);
    }

    return nuc_registry_settings(registry, err);
}

/* "registry.db" has "registry.snapshot" beside it, wherever both are moved to. */
static nuc_rc_t nuc_registry_snapshot_path(nuc_registry_info_t *info, nuc_err_t *err)
{
    size_t len = strlen(info->path);

    if (len > 3 && strcmp(info->path + len - 3, ".db") == 0) {
        len -= 3;
    }

    if (len + sizeof(".snapshot.readers") > sizeof(info->snapshot)) {
        return nuc_err_set(err, NUC_TOO_LARGE, "path \"%s\" is too long", info->path);
    }

    snprintf(info->snapshot, sizeof(info->snapshot), "%.*s.snapshot", (int) len,
             info->path);

    return NUC_OK;
}

static nuc_rc_t nuc_registry_load_info(nuc_registry_t *registry, nuc_err_t *err)
{
    int row;
    nuc_rc_t rc;
    sqlite3_stmt *stmt;
    nuc_registry_info_t *info = &registry->info;

    rc = nuc_sql_query(registry, &stmt, err,
                       "SELECT id, generation, snapshot, grp FROM registry", "");

    if (rc != NUC_OK) {
        return rc;
    }

    rc = nuc_sql_step(registry, stmt, &row, err);

    if (rc == NUC_OK &&
        (!row ||
         nuc_uuid_parse(nuc_str(row ? (const char *) sqlite3_column_text(stmt, 0) : ""),
                        &info->id) != NUC_OK)) {
        rc = nuc_err_set(err, NUC_CORRUPT, "registry \"%s\" does not say which it is",
                         info->path);
    }

    if (rc == NUC_OK) {
        info->generation = nuc_sql_uint(stmt, 1);
        nuc_sql_text(stmt, 2, info->snapshot, sizeof(info->snapshot));
        nuc_sql_text(stmt, 3, info->group, sizeof(info->group));
    }

    sqlite3_finalize(stmt);

    if (rc == NUC_OK && info->snapshot[0] == '\0') {
        rc = nuc_registry_snapshot_path(info, err);
    }

    if (rc == NUC_OK && snprintf(info->readers, sizeof(info->readers), "%s.readers",
                                 info->snapshot) >= (int) sizeof(info->readers)) {
        rc = nuc_err_set(err, NUC_TOO_LARGE, "path \"%s.readers\" is too long",
                         info->snapshot);
    }

    return rc;
}

static nuc_rc_t nuc_registry_check_schema(nuc_registry_t *registry, nuc_err_t *err)
{
    int64_t schema;
    nuc_rc_t rc;

    rc = nuc_sql_number(registry, &schema, err, "PRAGMA user_version", "");

    if (rc != NUC_OK || schema == NUC_REGISTRY_SCHEMA) {
        return rc;
    }

    if (schema == 0) {
        nuc_err_set(err, NUC_NOT_FOUND, "\"%s\" is no registry", registry->info.path);
        nuc_err_hint(err, "make it with nucleusctl init");
        return NUC_NOT_FOUND;
    }

    nuc_err_set(err, NUC_INVALID,
                "registry \"%s\" is of version %d, this program's is %d",
                registry->info.path, (int) schema, NUC_REGISTRY_SCHEMA);
    nuc_err_hint(err, "use the nucleusctl that made it, or a newer one");

    return NUC_INVALID;
}

static nuc_rc_t nuc_registry_alloc(const nuc_sys_t *sys, const char *path,
                                   const nuc_registry_actor_t *actor,
                                   nuc_registry_t **registry, nuc_err_t *err)
{
    if (strlen(path) >= NUC_PATH_MAX) {
        return nuc_err_set(err, NUC_TOO_LARGE, "path \"%s\" is too long", path);
    }

    *registry = calloc(1, sizeof(**registry));

    if (*registry == NULL) {
        return nuc_err_set(err, NUC_NOMEM, "no memory to open the registry");
    }

    (*registry)->sys = sys;
    (*registry)->actor = actor;
    strcpy((*registry)->info.path, path);

    return NUC_OK;
}

nuc_rc_t nuc_registry_open(const nuc_sys_t *sys, const char *path,
                           const nuc_registry_actor_t *actor, nuc_registry_t **registry,
                           nuc_err_t *err)
{
    nuc_rc_t rc;
    struct stat st;

    if (sys->stat(sys, path, &st) == -1) {
        rc = errno == ENOENT ? NUC_NOT_FOUND : NUC_IO;
        nuc_err_fill_sys(err, rc, errno, "registry \"%s\" cannot be opened", path);
        nuc_err_hint(err, "%s",
                     rc == NUC_NOT_FOUND
                         ? "make it with nucleusctl init, or name it with "
                           "--registry"
                         : "run this as the registry's owner");
        return rc;
    }

    rc = nuc_registry_alloc(sys, path, actor, registry, err);

    if (rc != NUC_OK) {
        return rc;
    }

    rc = nuc_registry_connect(*registry, err);

    if (rc == NUC_OK) {
        rc = nuc_registry_check_schema(*registry, err);
    }

    if (rc == NUC_OK) {
        rc = nuc_registry_load_info(*registry, err);
    }

    if (rc != NUC_OK) {
        nuc_registry_close(*registry);
        *registry = NULL;
    }

    return rc;
}

void nuc_registry_close(nuc_registry_t *registry)
{
    if (registry == NULL) {
        return;
    }

    sqlite3_close(registry->db);
    free(registry);
}

nuc_rc_t nuc_registry_info(nuc_registry_t *registry, nuc_registry_info_t *info,
                           nuc_err_t *err)
{
    nuc_rc_t rc;

    rc = nuc_registry_load_info(registry, err);
    *info = registry->info;

    return rc;
}

/* ---- making one */

static nuc_rc_t nuc_registry_make_tables(nuc_registry_t *registry, nuc_err_t *err)
{
    size_t i;
    nuc_rc_t rc;
    char sql[1024];
    const char *options, *strict;

    rc = NUC_OK;
    strict = sqlite3_libversion_number() >= NUC_SQLITE_STRICT ? "STRICT" : "";

    for (i = 0;
         rc == NUC_OK && i < sizeof(nuc_registry_tables) / sizeof(nuc_registry_tables[0]);
         i++) {
        options = nuc_registry_tables[i].options;
        snprintf(sql, sizeof(sql), "CREATE TABLE %s (%s) %s%s%s",
                 nuc_registry_tables[i].name, nuc_registry_tables[i].columns, options,
                 *options != '\0' && *strict != '\0' ? ", " : "", strict);
        rc = nuc_sql_exec(registry, sql, err);
    }

    return rc == NUC_OK ? nuc_sql_exec(registry, nuc_registry_more, err) : rc;
}

static nuc_rc_t nuc_registry_make_identity(nuc_registry_t *registry, nuc_err_t *err)
{
    nuc_rc_t rc;
    nuc_uuid_source_t source;
    char id[NUC_UUID_TEXT_LEN + 1];

    nuc_uuid_source_init(&source);
    rc = nuc_uuid_v7(&source, nuc_time_now(), &registry->info.id, err);

    if (rc != NUC_OK) {
        return rc;
    }

    *nuc_uuid_format(&registry->info.id, id) = '\0';

    return nuc_sql_run(registry, err, "INSERT INTO registry VALUES (1, ?1, 0, ?2, ?3)",
                       "ttt", id, registry->info.snapshot, registry->info.group);
}

static nuc_rc_t nuc_registry_check_empty(nuc_registry_t *registry, nuc_err_t *err)
{
    nuc_rc_t rc;
    int64_t count;

    rc = nuc_sql_number(registry, &count, err, "SELECT count(*) FROM sqlite_master", "");

    if (rc == NUC_OK && count > 0) {
        nuc_err_set(err, NUC_INVALID, "\"%s\" is another program's database",
                    registry->info.path);
        nuc_err_hint(err, "name a new file with --registry");
        return NUC_INVALID;
    }

    return rc;
}

/* All in one transaction: a registry is there, or it is not. */
static nuc_rc_t nuc_registry_make(nuc_registry_t *registry, int *made, nuc_err_t *err)
{
    int64_t schema;
    nuc_rc_t rc;
    char sql[64];
    nuc_buf_t details = NUC_BUF_INIT;
    nuc_registry_change_t change = {"init", "", "", &details};

    rc = nuc_registry_begin(registry, err);

    if (rc != NUC_OK) {
        return rc;
    }

    rc = nuc_sql_number(registry, &schema, err, "PRAGMA user_version", "");

    if (rc == NUC_OK && schema != 0) {
        nuc_registry_cancel(registry);
        rc = nuc_registry_check_schema(registry, err);
        return rc == NUC_OK ? nuc_registry_load_info(registry, err) : rc;
    }

    if (rc == NUC_OK) {
        rc = nuc_registry_check_empty(registry, err);
    }

    if (rc == NUC_OK) {
        rc = nuc_registry_make_tables(registry, err);
    }

    if (rc == NUC_OK) {
        rc = nuc_registry_make_identity(registry, err);
    }

    if (rc == NUC_OK) {
        snprintf(sql, sizeof(sql), "PRAGMA user_version = %d", NUC_REGISTRY_SCHEMA);
        rc = nuc_sql_exec(registry, sql, err);
    }

    nuc_buf_str(&details, NUC_STR("{"));
    nuc_registry_json_name(&details, "snapshot");
    nuc_buf_json(&details, nuc_str(registry->info.snapshot));
    nuc_registry_json_name(&details, "group");
    nuc_buf_json(&details, nuc_str(registry->info.group));
    nuc_buf_char(&details, '}');

    if (rc == NUC_OK) {
        rc = nuc_registry_load_info(registry, err);
    }

    rc = nuc_registry_end(registry, rc, &change, err);
    *made = rc == NUC_OK;
    nuc_buf_free(&details);

    return rc;
}

static nuc_rc_t nuc_registry_set_places(nuc_registry_t *registry, const char *snapshot,
                                        const char *group, nuc_err_t *err)
{
    nuc_registry_info_t *info = &registry->info;

    if (group != NULL &&
        (strlen(group) >= sizeof(info->group) || getgrnam(group) == NULL)) {
        nuc_err_set(err, NUC_INVALID, "there is no group \"%s\"", group);
        nuc_err_hint(err, "name the one that nginx's user is in, as www-data");
        return NUC_INVALID;
    }

    strcpy(info->group, group != NULL ? group : "");

    if (snapshot == NULL) {
        return NUC_OK;
    }

    if (strlen(snapshot) + sizeof(".readers") > sizeof(info->snapshot)) {
        return nuc_err_set(err, NUC_TOO_LARGE, "path \"%s\" is too long", snapshot);
    }

    strcpy(info->snapshot, snapshot);

    return NUC_OK;
}

/* The directory that a file is to lie in. */
static nuc_rc_t nuc_registry_make_dir(const nuc_sys_t *sys, const char *path,
                                      nuc_err_t *err)
{
    char dir[NUC_PATH_MAX];
    const char *slash = strrchr(path, '/');

    if (slash == NULL || slash == path) {
        return NUC_OK;
    }

    snprintf(dir, sizeof(dir), "%.*s", (int) (slash - path), path);

    return nuc_fs_make_path(sys, dir, 0755, "registry-dir", err);
}

/* SQLite would make it for all to read; what is made beside it gets the same mode. */
static nuc_rc_t nuc_registry_make_file(const nuc_sys_t *sys, const char *path,
                                       nuc_err_t *err)
{
    int fd;

    fd = sys->open(sys, path, O_RDWR | O_CREAT, 0600);

    if (fd == -1) {
        return nuc_err_sys(err, NUC_IO, errno, "open of \"%s\" failed", path);
    }

    sys->close(sys, fd);

    return NUC_OK;
}

nuc_rc_t nuc_registry_create(const nuc_sys_t *sys, const char *path, const char *snapshot,
                             const char *group, const nuc_registry_actor_t *actor,
                             int *made, nuc_err_t *err)
{
    nuc_rc_t rc;
    nuc_registry_t *registry;

    *made = 0;
    rc = nuc_registry_alloc(sys, path, actor, &registry, err);

    if (rc != NUC_OK) {
        return rc;
    }

    rc = nuc_registry_set_places(registry, snapshot, group, err);

    if (rc == NUC_OK) {
        rc = nuc_registry_make_dir(sys, path, err);
    }

    if (rc == NUC_OK && snapshot != NULL) {
        rc = nuc_registry_make_dir(sys, snapshot, err);
    }

    if (rc == NUC_OK) {
        rc = nuc_registry_make_file(sys, path, err);
    }

    if (rc == NUC_OK) {
        rc = nuc_registry_connect(registry, err);
    }

    if (rc == NUC_OK) {
        rc = nuc_registry_make(registry, made, err);
    }

    /* whoever made it may have been killed before he did */
    if (rc == NUC_OK) {
        rc = nuc_registry_publish(registry, 0, err);
    }

    nuc_registry_close(registry);

    return rc;
}

/* ---- the audit */

nuc_rc_t nuc_registry_audit(nuc_registry_t *registry, uint64_t since, const char *tenant,
                            uint64_t limit, nuc_registry_audit_pt entry, void *ctx,
                            nuc_err_t *err)
{
    int row;
    nuc_rc_t rc;
    sqlite3_stmt *stmt;
    nuc_registry_audit_t a;

    rc = nuc_sql_query(
        registry, &stmt, err,
        "SELECT at, generation, who, origin, what, subject, tenant, details FROM"
        " (SELECT * FROM audit WHERE at >= ?1 AND (?2 IS NULL OR tenant = ?2)"
        "  ORDER BY number DESC LIMIT ?3) ORDER BY number",
        "iti", (int64_t) since, tenant, limit > 0 ? (int64_t) limit : (int64_t) -1);

    if (rc != NUC_OK) {
        return rc;
    }

    while ((rc = nuc_sql_step(registry, stmt, &row, err)) == NUC_OK && row) {
        a.at = nuc_sql_uint(stmt, 0);
        a.generation = nuc_sql_uint(stmt, 1);
        a.who = (const char *) sqlite3_column_text(stmt, 2);
        a.from = (const char *) sqlite3_column_text(stmt, 3);
        a.what = (const char *) sqlite3_column_text(stmt, 4);
        a.subject = (const char *) sqlite3_column_text(stmt, 5);
        a.tenant = (const char *) sqlite3_column_text(stmt, 6);
        a.details = (const char *) sqlite3_column_text(stmt, 7);

        if (!a.who || !a.from || !a.what || !a.subject || !a.tenant || !a.details) {
            rc = nuc_err_set(err, NUC_NOMEM, "no memory to read the audit");
            break;
        }

        entry(ctx, &a);
    }

    sqlite3_finalize(stmt);

    return rc;
}
