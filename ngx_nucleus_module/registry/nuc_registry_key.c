#include "nuc_registry_sql.h"

#include <stdlib.h>

#include "nuc_time.h"

/* ---- reading */

/* Rows of a table beside the keys, in the keys' order. */
typedef struct {
    sqlite3_stmt *stmt;
    int row; /* there is one, not taken yet */
} nuc_key_child_t;

enum {
    NUC_CHILD_STREAMS = 0,
    NUC_CHILD_NETWORKS,
    NUC_CHILD_CERTIFICATES,
    NUC_CHILDREN
};

static const char *const nuc_key_children[NUC_CHILDREN] = {
    [NUC_CHILD_STREAMS] = "SELECT key, stream FROM key_stream"
                          " WHERE ?1 IS NULL OR key = ?1 ORDER BY key, stream",
    [NUC_CHILD_NETWORKS] = "SELECT key, network FROM key_network"
                           " WHERE ?1 IS NULL OR key = ?1 ORDER BY key, network",
    [NUC_CHILD_CERTIFICATES] = "SELECT key, sha256 FROM key_certificate"
                               " WHERE ?1 IS NULL OR key = ?1 ORDER BY key, sha256",
};

typedef struct {
    nuc_registry_t *registry;
    nuc_registry_keys_t *list;
    nuc_key_child_t children[NUC_CHILDREN];
    nuc_err_t *err;
} nuc_key_reading_t;

static nuc_rc_t nuc_key_no_memory(nuc_err_t *err)
{
    return nuc_err_set(err, NUC_NOMEM, "no memory to read the keys");
}

static void nuc_key_free(nuc_registry_key_t *key)
{
    size_t i;

    for (i = 0; i < key->is.nstreams; i++) {
        free((void *) key->is.streams[i].data);
    }

    free((void *) key->is.streams);
    free((void *) key->is.networks);
    free((void *) key->is.certificates);
}

void nuc_registry_keys_free(nuc_registry_keys_t *list)
{
    size_t i;

    for (i = 0; i < list->count; i++) {
        nuc_key_free(&list->keys[i]);
    }

    free(list->keys);
    *list = (nuc_registry_keys_t){.keys = NULL};
}

/* One element more in an array of a key; NULL for want of memory. */
static void *nuc_key_grow(const void *array, size_t count, size_t size)
{
    return realloc((void *) array, (count + 1) * size);
}

static nuc_rc_t nuc_key_add_stream(nuc_registry_key_t *key, const char *stream,
                                   nuc_err_t *err)
{
    char *copy;
    nuc_str_t *streams;

    streams = nuc_key_grow(key->is.streams, key->is.nstreams, sizeof(*streams));

    if (streams == NULL) {
        return nuc_key_no_memory(err);
    }

    key->is.streams = streams;
    copy = strdup(stream);

    if (copy == NULL) {
        return nuc_key_no_memory(err);
    }

    streams[key->is.nstreams++] = nuc_str(copy);

    return NUC_OK;
}

static nuc_rc_t nuc_key_add_network(nuc_registry_key_t *key, const char *text,
                                    nuc_err_t *err)
{
    nuc_network_t *networks;

    networks = nuc_key_grow(key->is.networks, key->is.nnetworks, sizeof(*networks));

    if (networks == NULL) {
        return nuc_key_no_memory(err);
    }

    key->is.networks = networks;

    if (nuc_network_parse(text, &networks[key->is.nnetworks], err) != NUC_OK) {
        return nuc_err_set(err, NUC_CORRUPT, "the registry has a network \"%s\"", text);
    }

    key->is.nnetworks++;

    return NUC_OK;
}

static nuc_rc_t nuc_key_add_certificate(nuc_registry_key_t *key, const void *sha256,
                                        nuc_err_t *err)
{
    uint8_t(*certificates)[32];

    certificates =
        nuc_key_grow(key->is.certificates, key->is.ncertificates, sizeof(*certificates));

    if (certificates == NULL) {
        return nuc_key_no_memory(err);
    }

    key->is.certificates = (const uint8_t(*)[32]) certificates;
    memcpy(certificates[key->is.ncertificates++], sha256, 32);

    return NUC_OK;
}

static nuc_rc_t nuc_key_add_child(nuc_registry_key_t *key, int kind, sqlite3_stmt *stmt,
                                  nuc_err_t *err)
{
    const void *value = sqlite3_column_blob(stmt, 1);

    if (value == NULL) {
        return nuc_key_no_memory(err);
    }

    if (kind == NUC_CHILD_CERTIFICATES) {
        return nuc_key_add_certificate(key, value, err);
    }

    value = sqlite3_column_text(stmt, 1);

    if (value == NULL) {
        return nuc_key_no_memory(err);
    }

    return kind == NUC_CHILD_STREAMS ? nuc_key_add_stream(key, value, err)
                                     : nuc_key_add_network(key, value, err);
}

/* All rows that are of the key; those of keys that are not in the list are passed. */
static nuc_rc_t nuc_key_take_children(nuc_key_reading_t *reading, nuc_registry_key_t *key,
                                      const char *id, int kind)
{
    int order;
    nuc_rc_t rc;
    const unsigned char *of;
    nuc_key_child_t *child = &reading->children[kind];

    while (child->row) {
        of = sqlite3_column_text(child->stmt, 0);

        if (of == NULL) {
            return nuc_key_no_memory(reading->err);
        }

        order = strcmp((const char *) of, id);

        if (order > 0) {
            break;
        }

        if (order == 0) {
            rc = nuc_key_add_child(key, kind, child->stmt, reading->err);

            if (rc != NUC_OK) {
                return rc;
            }
        }

        rc = nuc_sql_step(reading->registry, child->stmt, &child->row, reading->err);

        if (rc != NUC_OK) {
            return rc;
        }
    }

    return NUC_OK;
}

static nuc_registry_key_t *nuc_key_add(nuc_registry_keys_t *list)
{
    size_t capacity;
    nuc_registry_key_t *grown;

    if (list->count == list->capacity) {
        capacity = list->capacity > 0 ? 2 * list->capacity : 16;
        grown = realloc(list->keys, capacity * sizeof(*grown));

        if (grown == NULL) {
            return NULL;
        }

        list->keys = grown;
        list->capacity = capacity;
    }

    grown = &list->keys[list->count++];
    memset(grown, 0, sizeof(*grown));

    return grown;
}

static uint64_t nuc_key_earlier(uint64_t a, uint64_t b)
{
    return a == 0 || (b != 0 && b < a) ? b : a;
}

static const char nuc_key_columns[] =
    "SELECT k.id, k.lineage, k.digest, t.name, k.name, k.scopes, k.created, k.not_before,"
    " k.expires, k.retired, k.revoked, k.requests_rate, k.requests_burst, k.events_rate,"
    " k.events_burst, k.bytes_rate, k.bytes_burst"
    " FROM key k JOIN tenant t ON t.row = k.tenant"
    " WHERE (?1 IS NULL OR t.name = ?1) AND (?2 IS NULL OR k.id = ?2) ORDER BY k.id";

static nuc_rc_t nuc_key_read(nuc_key_reading_t *reading, sqlite3_stmt *stmt)
{
    int i;
    nuc_rc_t rc;
    const void *digest;
    nuc_registry_key_t *key;
    char id[NUC_KEY_ID_LEN + 1], lineage[NUC_KEY_ID_LEN + 1];

    key = nuc_key_add(reading->list);

    if (key == NULL) {
        return nuc_key_no_memory(reading->err);
    }

    nuc_sql_text(stmt, 0, id, sizeof(id));
    nuc_sql_text(stmt, 1, lineage, sizeof(lineage));
    digest = sqlite3_column_blob(stmt, 2);

    if (nuc_key_id_parse(nuc_str(id), &key->is.id) != NUC_OK || digest == NULL ||
        nuc_key_id_parse(nuc_str(lineage), &key->is.lineage) != NUC_OK) {
        return nuc_err_set(reading->err, NUC_CORRUPT, "the registry has a key \"%s\"",
                           id);
    }

    memcpy(key->is.digest, digest, NUC_KEY_DIGEST_LEN);
    nuc_sql_text(stmt, 3, key->tenant, sizeof(key->tenant));
    nuc_sql_text(stmt, 4, key->name, sizeof(key->name));
    key->is.scopes = (unsigned) sqlite3_column_int(stmt, 5);
    key->created = nuc_sql_uint(stmt, 6);
    key->is.not_before = nuc_sql_uint(stmt, 7);
    key->expires = nuc_sql_uint(stmt, 8);
    key->retired = nuc_sql_uint(stmt, 9);
    key->revoked = nuc_sql_uint(stmt, 10);
    key->is.revoked = key->revoked != 0;
    key->is.not_after = nuc_key_earlier(key->expires, key->retired);
    nuc_registry_limits_column(stmt, 11, key->is.limits);

    for (i = 0, rc = NUC_OK; i < NUC_CHILDREN && rc == NUC_OK; i++) {
        rc = nuc_key_take_children(reading, key, id, i);
    }

    return rc;
}

static nuc_rc_t nuc_key_open_children(nuc_key_reading_t *reading, const char *id)
{
    int i;
    nuc_rc_t rc;
    nuc_key_child_t *child;

    for (i = 0; i < NUC_CHILDREN; i++) {
        child = &reading->children[i];
        rc = nuc_sql_query(reading->registry, &child->stmt, reading->err,
                           nuc_key_children[i], "t", id);

        if (rc == NUC_OK) {
            rc = nuc_sql_step(reading->registry, child->stmt, &child->row, reading->err);
        }

        if (rc != NUC_OK) {
            return rc;
        }
    }

    return NUC_OK;
}

static nuc_rc_t nuc_key_read_all(nuc_key_reading_t *reading, const char *tenant,
                                 const char *id)
{
    int row;
    nuc_rc_t rc;
    sqlite3_stmt *stmt;

    rc = nuc_key_open_children(reading, id);

    if (rc == NUC_OK) {
        rc = nuc_sql_query(reading->registry, &stmt, reading->err, nuc_key_columns, "tt",
                           tenant, id);
    }

    if (rc != NUC_OK) {
        return rc;
    }

    while ((rc = nuc_sql_step(reading->registry, stmt, &row, reading->err)) == NUC_OK &&
           row) {
        rc = nuc_key_read(reading, stmt);

        if (rc != NUC_OK) {
            break;
        }
    }

    sqlite3_finalize(stmt);

    return rc;
}

static nuc_rc_t nuc_key_none(nuc_err_t *err, const char *id)
{
    nuc_err_set(err, NUC_NOT_FOUND, "there is no key \"%s\"", id);
    nuc_err_hint(err, "nucleusctl key list shows them");

    return NUC_NOT_FOUND;
}

nuc_rc_t nuc_registry_keys(nuc_registry_t *registry, const char *tenant,
                           const uint64_t *id, nuc_registry_keys_t *list, nuc_err_t *err)
{
    int i, nested;
    nuc_rc_t rc;
    char text[NUC_KEY_ID_LEN + 1] = "";
    nuc_key_reading_t reading = {.registry = registry, .list = list, .err = err};

    nuc_registry_keys_free(list);
    nested = !sqlite3_get_autocommit(registry->db);
    rc = nested ? NUC_OK : nuc_registry_read_begin(registry, err);

    if (id != NULL) {
        nuc_key_id_text(*id, text);
    }

    if (rc != NUC_OK) {
        return rc;
    }

    rc = tenant != NULL ? nuc_registry_tenant_row(registry, tenant, &(int64_t){0}, err)
                        : NUC_OK;

    if (rc == NUC_OK) {
        rc = nuc_key_read_all(&reading, tenant, id != NULL ? text : NULL);
    }

    for (i = 0; i < NUC_CHILDREN; i++) {
        sqlite3_finalize(reading.children[i].stmt);
    }

    if (!nested) {
        nuc_registry_read_end(registry);
    }

    return rc == NUC_OK && id != NULL && list->count == 0 ? nuc_key_none(err, text) : rc;
}

int nuc_registry_key_live(const nuc_registry_key_t *key, uint64_t now)
{
    return !key->is.revoked && (key->is.not_after == 0 || key->is.not_after > now);
}

/* ---- making keys */

static nuc_rc_t nuc_key_check_name(const char *name, nuc_err_t *err)
{
    const unsigned char *p;

    for (p = (const unsigned char *) name; *p != '\0'; p++) {
        if (*p < 0x20 || *p == 0x7f) {
            return nuc_err_set(err, NUC_INVALID,
                               "a key's name has no control characters");
        }
    }

    if (p - (const unsigned char *) name > NUC_REGISTRY_LABEL_MAX) {
        return nuc_err_set(err, NUC_INVALID, "a key's name has at most %d bytes",
                           NUC_REGISTRY_LABEL_MAX);
    }

    return NUC_OK;
}

static nuc_rc_t nuc_key_check(const nuc_registry_key_t *key, nuc_err_t *err)
{
    size_t i;
    const nuc_str_t *stream;

    for (i = 0; i < key->is.nstreams; i++) {
        stream = &key->is.streams[i];

        if (!nuc_name_valid(*stream)) {
            nuc_err_set(err, NUC_INVALID, "\"%.*s\" is no name of a stream",
                        (int) stream->len, (const char *) stream->data);
            nuc_err_hint(err, "a-z, 0-9, and behind the first also . _ -; at most %d",
                         NUC_NAME_MAX);
            return NUC_INVALID;
        }
    }

    if (key->is.scopes == 0) {
        return nuc_err_set(err, NUC_INVALID, "a key needs a scope");
    }

    if (key->expires != 0 && key->expires <= key->is.not_before) {
        return nuc_err_set(err, NUC_INVALID, "the key would expire before it begins");
    }

    return nuc_key_check_name(key->name, err);
}

/* A certificate stands for one key: for its successor, or another one once it is of no
 * use. */
static nuc_rc_t nuc_key_store_certificate(nuc_registry_t *registry, const char *id,
                                          const uint8_t sha256[32], nuc_err_t *err)
{
    nuc_rc_t rc;
    int64_t taken;
    uint64_t now = nuc_time_now() / 1000000;

    rc = nuc_sql_number(
        registry, &taken, err,
        "SELECT 1 FROM key_certificate c JOIN key k ON k.id = c.key WHERE c.sha256 = ?1"
        " AND k.revoked = 0 AND (k.expires = 0 OR k.expires > ?2)"
        " AND (k.retired = 0 OR k.retired > ?2)"
        " AND k.lineage <> (SELECT lineage FROM key WHERE id = ?3)",
        "bit", (const void *) sha256, 32, (int64_t) now, id);

    if (rc == NUC_OK) {
        nuc_err_set(err, NUC_INVALID, "the certificate stands for another key already");
        nuc_err_hint(err, "revoke that key first: nucleusctl key list shows it");
        return NUC_INVALID;
    }

    if (rc != NUC_NOT_FOUND) {
        return rc;
    }

    return nuc_sql_run(registry, err,
                       "INSERT INTO key_certificate (sha256, key) VALUES (?1, ?2)"
                       " ON CONFLICT (sha256) DO UPDATE SET key = excluded.key",
                       "bt", (const void *) sha256, 32, id);
}

static nuc_rc_t nuc_key_store_children(nuc_registry_t *registry, const char *id,
                                       const nuc_registry_key_t *key, nuc_err_t *err)
{
    size_t i;
    nuc_rc_t rc;
    char text[NUC_NAME_MAX + 1], network[NUC_NETWORK_TEXT_MAX];

    rc = NUC_OK;

    for (i = 0; i < key->is.nstreams && rc == NUC_OK; i++) {
        memcpy(text, key->is.streams[i].data, key->is.streams[i].len);
        text[key->is.streams[i].len] = '\0';
        rc =
            nuc_sql_run(registry, err, "INSERT OR IGNORE INTO key_stream VALUES (?1, ?2)",
                        "tt", id, text);
    }

    for (i = 0; i < key->is.nnetworks && rc == NUC_OK; i++) {
        nuc_network_text(&key->is.networks[i], network);
        rc = nuc_sql_run(registry, err,
                         "INSERT OR IGNORE INTO key_network VALUES (?1, ?2)", "tt", id,
                         network);
    }

    for (i = 0; i < key->is.ncertificates && rc == NUC_OK; i++) {
        rc = nuc_key_store_certificate(registry, id, key->is.certificates[i], err);
    }

    return rc;
}

static nuc_rc_t nuc_key_store(nuc_registry_t *registry, const nuc_registry_key_t *key,
                              nuc_err_t *err)
{
    int i;
    nuc_rc_t rc;
    int64_t tenant;
    nuc_registry_limits_t limits = {.units = (1U << NUC_UNIT_COUNT) - 1};
    char id[NUC_KEY_ID_LEN + 1], lineage[NUC_KEY_ID_LEN + 1];

    nuc_key_id_text(key->is.id, id);
    nuc_key_id_text(key->is.lineage, lineage);
    rc = nuc_registry_tenant_row(registry, key->tenant, &tenant, err);

    if (rc == NUC_OK) {
        rc = nuc_sql_run(registry, err,
                         "INSERT INTO key (id, digest, lineage, tenant, name, scopes,"
                         " created, not_before, expires)"
                         " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
                         "tbtitiiii", id, (const void *) key->is.digest,
                         NUC_KEY_DIGEST_LEN, lineage, tenant, key->name,
                         (int64_t) key->is.scopes, (int64_t) nuc_time_now(),
                         (int64_t) key->is.not_before, (int64_t) key->expires);
    }

    for (i = 0; i < NUC_UNIT_COUNT; i++) {
        limits.limits[i] = key->is.limits[i];
    }

    if (rc == NUC_OK) {
        rc = nuc_registry_limits_store(registry, "key", "id", id, &limits, err);
    }

    return rc == NUC_OK ? nuc_key_store_children(registry, id, key, err) : rc;
}

/* ---- what the audit says of them */

static void nuc_key_json_time(nuc_buf_t *out, const char *name, uint64_t seconds)
{
    char text[NUC_TIME_TEXT_LEN];

    if (seconds > 0) {
        nuc_registry_json_name(out, name);
        nuc_time_format(seconds * 1000000, text);
        nuc_buf_json(out, (nuc_str_t){(uint8_t *) text, sizeof(text)});
    }
}

static void nuc_key_json_lists(const nuc_registry_key_t *key, nuc_buf_t *out)
{
    size_t i, k;
    char text[NUC_NETWORK_TEXT_MAX];

    nuc_registry_json_name(out, "streams");
    nuc_buf_char(out, '[');

    for (i = 0; i < key->is.nstreams; i++) {
        nuc_buf_str(out, nuc_str(i > 0 ? "," : ""));
        nuc_buf_json(out, key->is.streams[i]);
    }

    nuc_buf_char(out, ']');
    nuc_registry_json_name(out, "from");
    nuc_buf_char(out, '[');

    for (i = 0; i < key->is.nnetworks; i++) {
        nuc_network_text(&key->is.networks[i], text);
        nuc_buf_str(out, nuc_str(i > 0 ? "," : ""));
        nuc_buf_json(out, nuc_str(text));
    }

    nuc_buf_char(out, ']');
    nuc_registry_json_name(out, "certificates");
    nuc_buf_char(out, '[');

    for (i = 0; i < key->is.ncertificates; i++) {
        nuc_buf_str(out, nuc_str(i > 0 ? ",\"" : "\""));

        for (k = 0; k < 32; k++) {
            nuc_buf_printf(out, "%02x", key->is.certificates[i][k]);
        }

        nuc_buf_char(out, '"');
    }

    nuc_buf_char(out, ']');
}

static void nuc_key_json(const nuc_registry_key_t *key, nuc_buf_t *out)
{
    unsigned i;
    int first = 1;
    const char *name;
    nuc_registry_limits_t limits = {.units = 0};

    nuc_registry_json_name(out, "name");
    nuc_buf_json(out, nuc_str(key->name));
    nuc_registry_json_name(out, "scopes");
    nuc_buf_char(out, '[');

    for (i = 0; (name = nuc_scope_name(i)) != NULL; i++) {
        if (key->is.scopes & 1U << i) {
            nuc_buf_str(out, nuc_str(first ? "" : ","));
            nuc_buf_json(out, nuc_str(name));
            first = 0;
        }
    }

    nuc_buf_char(out, ']');
    nuc_key_json_lists(key, out);
    nuc_key_json_time(out, "not_before", key->is.not_before);
    nuc_key_json_time(out, "expires", key->expires);

    for (i = 0; i < NUC_UNIT_COUNT; i++) {
        limits.units |= key->is.limits[i].rate > 0 ? 1U << i : 0;
        limits.limits[i] = key->is.limits[i];
    }

    nuc_registry_limits_json(&limits, out);
}

nuc_rc_t nuc_registry_key_create(nuc_registry_t *registry, const nuc_registry_key_t *key,
                                 nuc_err_t *err)
{
    nuc_rc_t rc;
    char id[NUC_KEY_ID_LEN + 1];
    nuc_buf_t details = NUC_BUF_INIT;
    nuc_registry_key_t created = *key;
    nuc_registry_change_t change = {"key create", id, key->tenant, &details};

    rc = nuc_key_check(key, err);

    if (rc == NUC_OK) {
        rc = nuc_registry_begin(registry, err);
    }

    if (rc != NUC_OK) {
        return rc;
    }

    nuc_key_id_text(key->is.id, id);
    created.is.lineage = key->is.id;
    rc = nuc_key_store(registry, &created, err);

    nuc_buf_char(&details, '{');
    nuc_key_json(&created, &details);
    nuc_buf_char(&details, '}');
    rc = nuc_registry_end(registry, rc, &change, err);
    nuc_buf_free(&details);

    return rc;
}

/* ---- changing keys */

/* The key, in a change that is under way. */
static nuc_rc_t nuc_key_begin(nuc_registry_t *registry, uint64_t id,
                              nuc_registry_keys_t *list, nuc_err_t *err)
{
    nuc_rc_t rc;

    rc = nuc_registry_begin(registry, err);

    if (rc != NUC_OK) {
        return rc;
    }

    rc = nuc_registry_keys(registry, NULL, &id, list, err);

    if (rc != NUC_OK) {
        nuc_registry_cancel(registry);
        nuc_registry_keys_free(list);
    }

    return rc;
}

static nuc_rc_t nuc_key_check_rotation(nuc_registry_t *registry,
                                       const nuc_registry_key_t *key, uint64_t now,
                                       nuc_err_t *err)
{
    int64_t live;
    nuc_rc_t rc;
    char id[NUC_KEY_ID_LEN + 1], lineage[NUC_KEY_ID_LEN + 1];

    nuc_key_id_text(key->is.id, id);
    nuc_key_id_text(key->is.lineage, lineage);

    if (!nuc_registry_key_live(key, now)) {
        nuc_err_set(err, NUC_INVALID, "the key \"%s\" is %s", id,
                    key->is.revoked ? "revoked" : "no longer valid");
        nuc_err_hint(err, "make a new one: nucleusctl key create");
        return NUC_INVALID;
    }

    rc = nuc_sql_number(registry, &live, err,
                        "SELECT count(*) FROM key WHERE lineage = ?1 AND revoked = 0"
                        " AND (expires = 0 OR expires > ?2)"
                        " AND (retired = 0 OR retired > ?2)",
                        "ti", lineage, (int64_t) now);

    if (rc == NUC_OK && live >= NUC_REGISTRY_LIVE_MAX) {
        nuc_err_set(err, NUC_INVALID, "the key \"%s\" was rotated, and both are valid",
                    id);
        nuc_err_hint(err, "wait for the end of the overlap, or revoke one of them");
        return NUC_INVALID;
    }

    return rc;
}

static nuc_rc_t nuc_key_succeed(nuc_registry_t *registry, nuc_registry_key_t *key,
                                const nuc_registry_rotation_t *rotation, nuc_err_t *err)
{
    nuc_rc_t rc;
    char id[NUC_KEY_ID_LEN + 1];
    nuc_registry_key_t successor = *key;

    rc = nuc_key_check_rotation(registry, key, rotation->now, err);

    if (rc != NUC_OK) {
        return rc;
    }

    successor.is.id = rotation->id;
    memcpy(successor.is.digest, rotation->digest, NUC_KEY_DIGEST_LEN);
    successor.expires = rotation->expires_set ? rotation->expires : key->expires;
    rc = nuc_key_check(&successor, err);

    if (rc == NUC_OK) {
        rc = nuc_key_store(registry, &successor, err);
    }

    if (rc != NUC_OK) {
        return rc;
    }

    /* one that was retired before, whose successor was revoked, gets no more time by this
     */
    key->retired = nuc_key_earlier(key->retired, rotation->now + rotation->overlap);
    nuc_key_id_text(key->is.id, id);

    return nuc_sql_run(registry, err, "UPDATE key SET retired = ?1 WHERE id = ?2", "it",
                       (int64_t) key->retired, id);
}

nuc_rc_t nuc_registry_key_rotate(nuc_registry_t *registry, uint64_t id,
                                 const nuc_registry_rotation_t *rotation, nuc_err_t *err)
{
    nuc_rc_t rc;
    nuc_buf_t details = NUC_BUF_INIT;
    nuc_registry_keys_t list = {.keys = NULL};
    char old[NUC_KEY_ID_LEN + 1], successor[NUC_KEY_ID_LEN + 1];
    nuc_registry_change_t change = {"key rotate", old, "", &details};

    rc = nuc_key_begin(registry, id, &list, err);

    if (rc != NUC_OK) {
        return rc;
    }

    nuc_key_id_text(id, old);
    nuc_key_id_text(rotation->id, successor);
    change.tenant = list.keys[0].tenant;
    rc = nuc_key_succeed(registry, &list.keys[0], rotation, err);

    nuc_buf_char(&details, '{');
    nuc_registry_json_name(&details, "successor");
    nuc_buf_json(&details, nuc_str(successor));
    nuc_key_json_time(&details, "old_ends", list.keys[0].retired);
    nuc_key_json_time(&details, "expires",
                      rotation->expires_set ? rotation->expires : list.keys[0].expires);
    nuc_buf_char(&details, '}');
    rc = nuc_registry_end(registry, rc, &change, err);

    nuc_buf_free(&details);
    nuc_registry_keys_free(&list);

    return rc;
}

nuc_rc_t nuc_registry_key_revoke(nuc_registry_t *registry, uint64_t id, nuc_err_t *err)
{
    nuc_rc_t rc;
    char text[NUC_KEY_ID_LEN + 1];
    nuc_buf_t details = NUC_BUF_INIT;
    nuc_registry_keys_t list = {.keys = NULL};
    nuc_registry_change_t change = {"key revoke", text, "", &details};

    rc = nuc_key_begin(registry, id, &list, err);

    if (rc != NUC_OK) {
        return rc;
    }

    if (list.keys[0].is.revoked) {
        nuc_registry_cancel(registry);
        nuc_registry_keys_free(&list);
        return NUC_OK;
    }

    nuc_key_id_text(id, text);
    change.tenant = list.keys[0].tenant;
    rc = nuc_sql_run(registry, err, "UPDATE key SET revoked = ?1 WHERE id = ?2", "it",
                     (int64_t) nuc_time_now(), text);

    nuc_buf_char(&details, '{');
    nuc_registry_json_name(&details, "name");
    nuc_buf_json(&details, nuc_str(list.keys[0].name));
    nuc_buf_char(&details, '}');
    rc = nuc_registry_end(registry, rc, &change, err);

    nuc_buf_free(&details);
    nuc_registry_keys_free(&list);

    return rc;
}

nuc_rc_t nuc_registry_key_limits(nuc_registry_t *registry, uint64_t id,
                                 const nuc_registry_limits_t *limits, nuc_err_t *err)
{
    nuc_rc_t rc;
    char text[NUC_KEY_ID_LEN + 1];
    nuc_buf_t details = NUC_BUF_INIT;
    nuc_registry_keys_t list = {.keys = NULL};
    nuc_registry_limits_t own = *limits;
    nuc_registry_change_t change = {"key limits", text, "", &details};

    rc = nuc_key_begin(registry, id, &list, err);

    if (rc != NUC_OK) {
        return rc;
    }

    own.quotas = 0;
    nuc_key_id_text(id, text);
    change.tenant = list.keys[0].tenant;
    rc = nuc_registry_limits_store(registry, "key", "id", text, &own, err);

    nuc_buf_char(&details, '{');
    nuc_registry_limits_json(&own, &details);
    nuc_buf_char(&details, '}');
    rc = nuc_registry_end(registry, rc, &change, err);

    nuc_buf_free(&details);
    nuc_registry_keys_free(&list);

    return rc;
}
