#include "nuc_registry_sql.h"

#include <stdlib.h>

#include "nuc_time.h"

nuc_rc_t nuc_registry_tenant_row(nuc_registry_t *registry, const char *name, int64_t *row,
                                 nuc_err_t *err)
{
    nuc_rc_t rc;

    rc = nuc_sql_number(registry, row, err, "SELECT row FROM tenant WHERE name = ?1", "t",
                        name);

    if (rc == NUC_NOT_FOUND) {
        nuc_err_set(err, rc, "there is no tenant \"%s\"", name);
        nuc_err_hint(err, "nucleusctl tenant list shows them, tenant create makes one");
    }

    return rc;
}

/* ---- reading */

static nuc_registry_tenant_t *nuc_registry_tenant_add(nuc_registry_tenants_t *list)
{
    size_t capacity;
    nuc_registry_tenant_t *grown;

    if (list->count == list->capacity) {
        capacity = list->capacity > 0 ? 2 * list->capacity : 16;
        grown = realloc(list->tenants, capacity * sizeof(*grown));

        if (grown == NULL) {
            return NULL;
        }

        list->tenants = grown;
        list->capacity = capacity;
    }

    grown = &list->tenants[list->count++];
    memset(grown, 0, sizeof(*grown));

    return grown;
}

static nuc_rc_t nuc_registry_tenant_read(sqlite3_stmt *stmt, nuc_registry_tenants_t *list,
                                         nuc_err_t *err)
{
    nuc_registry_tenant_t *tenant;

    tenant = nuc_registry_tenant_add(list);

    if (tenant == NULL) {
        return nuc_err_set(err, NUC_NOMEM, "no memory to read the tenants");
    }

    nuc_sql_text(stmt, 0, tenant->name, sizeof(tenant->name));
    tenant->created = nuc_sql_uint(stmt, 1);
    tenant->is.disabled = sqlite3_column_int(stmt, 2) != 0;
    tenant->keys = nuc_sql_uint(stmt, 3);
    tenant->is.max_queue_bytes = nuc_sql_uint(stmt, 4);
    tenant->is.max_events_a_day = nuc_sql_uint(stmt, 5);
    tenant->is.max_inflight = nuc_sql_uint(stmt, 6);
    nuc_registry_limits_column(stmt, 7, tenant->is.limits);

    return NUC_OK;
}

nuc_rc_t nuc_registry_tenants(nuc_registry_t *registry, const char *name,
                              nuc_registry_tenants_t *list, nuc_err_t *err)
{
    int row;
    size_t i;
    nuc_rc_t rc;
    sqlite3_stmt *stmt;

    list->count = 0;
    rc = nuc_sql_query(
        registry, &stmt, err,
        "SELECT name, created, disabled,"
        " (SELECT count(*) FROM key WHERE tenant = tenant.row AND revoked = 0),"
        " queue_bytes, events_a_day, inflight, " NUC_LIMIT_COLUMNS
        " FROM tenant WHERE ?1 IS NULL OR name = ?1 ORDER BY name",
        "t", name);

    if (rc != NUC_OK) {
        return rc;
    }

    while ((rc = nuc_sql_step(registry, stmt, &row, err)) == NUC_OK && row) {
        rc = nuc_registry_tenant_read(stmt, list, err);

        if (rc != NUC_OK) {
            break;
        }
    }

    sqlite3_finalize(stmt);

    /* not before the array has stopped moving */
    for (i = 0; i < list->count; i++) {
        list->tenants[i].is.name = nuc_str(list->tenants[i].name);
    }

    if (rc == NUC_OK && name != NULL && list->count == 0) {
        return nuc_registry_tenant_row(registry, name, &(int64_t){0}, err);
    }

    return rc;
}

void nuc_registry_tenants_free(nuc_registry_tenants_t *list)
{
    free(list->tenants);
    *list = (nuc_registry_tenants_t){.tenants = NULL};
}

/* ---- changes */

static nuc_rc_t nuc_registry_tenant_insert(nuc_registry_t *registry, const char *name,
                                           nuc_err_t *err)
{
    nuc_rc_t rc;
    int64_t row;

    rc = nuc_sql_number(registry, &row, err, "SELECT row FROM tenant WHERE name = ?1",
                        "t", name);

    if (rc == NUC_OK) {
        return nuc_err_set(err, NUC_INVALID, "there is a tenant \"%s\" already", name);
    }

    if (rc != NUC_NOT_FOUND) {
        return rc;
    }

    return nuc_sql_run(registry, err,
                       "INSERT INTO tenant (name, created) VALUES (?1, ?2)", "ti", name,
                       (int64_t) nuc_time_now());
}

nuc_rc_t nuc_registry_tenant_create(nuc_registry_t *registry, const char *name,
                                    nuc_err_t *err)
{
    nuc_rc_t rc;
    nuc_buf_t details = NUC_BUF_INIT;
    nuc_registry_change_t change = {"tenant create", name, name, &details};

    if (!nuc_name_valid(nuc_str(name))) {
        nuc_err_set(err, NUC_INVALID, "\"%s\" is no name of a tenant", name);
        nuc_err_hint(err, "a-z, 0-9, and behind the first also . _ -; at most %d",
                     NUC_NAME_MAX);
        return NUC_INVALID;
    }

    rc = nuc_registry_begin(registry, err);

    if (rc != NUC_OK) {
        return rc;
    }

    nuc_buf_str(&details, NUC_STR("{}"));
    rc = nuc_registry_end(registry, nuc_registry_tenant_insert(registry, name, err),
                          &change, err);
    nuc_buf_free(&details);

    return rc;
}

nuc_rc_t nuc_registry_tenant_disable(nuc_registry_t *registry, const char *name,
                                     int disabled, nuc_err_t *err)
{
    nuc_rc_t rc;
    int64_t row, is;
    nuc_buf_t details = NUC_BUF_INIT;
    nuc_registry_change_t change = {disabled ? "tenant disable" : "tenant enable", name,
                                    name, &details};

    rc = nuc_registry_begin(registry, err);

    if (rc != NUC_OK) {
        return rc;
    }

    rc = nuc_registry_tenant_row(registry, name, &row, err);

    if (rc == NUC_OK) {
        rc = nuc_sql_number(registry, &is, err,
                            "SELECT disabled FROM tenant WHERE row = ?1", "i", row);
    }

    if (rc == NUC_OK && is == (disabled != 0)) {
        nuc_registry_cancel(registry);
        return NUC_OK;
    }

    if (rc == NUC_OK) {
        rc = nuc_sql_run(registry, err, "UPDATE tenant SET disabled = ?1 WHERE row = ?2",
                         "ii", (int64_t) (disabled != 0), row);
    }

    nuc_buf_str(&details, NUC_STR("{}"));
    rc = nuc_registry_end(registry, rc, &change, err);
    nuc_buf_free(&details);

    return rc;
}

nuc_rc_t nuc_registry_tenant_limits(nuc_registry_t *registry, const char *name,
                                    const nuc_registry_limits_t *limits, nuc_err_t *err)
{
    int64_t row;
    nuc_rc_t rc;
    nuc_buf_t details = NUC_BUF_INIT;
    nuc_registry_change_t change = {"tenant limits", name, name, &details};

    rc = nuc_registry_begin(registry, err);

    if (rc != NUC_OK) {
        return rc;
    }

    rc = nuc_registry_tenant_row(registry, name, &row, err);

    if (rc == NUC_OK) {
        rc = nuc_registry_limits_store(registry, "tenant", "name", name, limits, err);
    }

    nuc_buf_char(&details, '{');
    nuc_registry_limits_json(limits, &details);
    nuc_buf_char(&details, '}');
    rc = nuc_registry_end(registry, rc, &change, err);
    nuc_buf_free(&details);

    return rc;
}
