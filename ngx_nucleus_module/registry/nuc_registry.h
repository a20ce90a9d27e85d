/*
 * The registry: tenants, keys, limits, and the audit of every change, in one SQLite file.
 * What nginx needs of it is published as a snapshot (nuc_snapshot.h) after each change.
 *
 * Every change is one transaction, which also grows the generation by one and appends to
 * the audit.  No secret comes in here: keys are an id and the digest of a secret.
 *
 * Files, of which FILE.db is the registry's path; FILE.snapshot lies beside it unless
 * another path was given when it was made:
 *
 *     FILE.db                 0600, and FILE.db-journal while a change is made
 *     FILE.db.lock            0600, held while a snapshot is written
 *     FILE.snapshot           0640 and of a group when the registry has one, else 0644
 *     FILE.snapshot.readers   the same; empty, see nuc_generation.h
 */

#ifndef NUC_REGISTRY_H
#define NUC_REGISTRY_H

#include "nuc_fs.h"
#include "nuc_name.h"
#include "nuc_registry_value.h"

#define NUC_REGISTRY_LABEL_MAX 128 /* bytes of a key's name */
#define NUC_REGISTRY_GROUP_MAX 64
#define NUC_REGISTRY_LIVE_MAX  2 /* live keys of one lineage */

typedef struct nuc_registry_s nuc_registry_t;

/* Who makes the changes, for the audit. */
typedef struct {
    const char *who;  /* login name and uid */
    const char *from; /* the terminal or the address */
} nuc_registry_actor_t;

typedef struct {
    nuc_uuid_t id;
    uint64_t generation;
    char path[NUC_PATH_MAX];
    char snapshot[NUC_PATH_MAX];
    char readers[NUC_PATH_MAX];
    char group[NUC_REGISTRY_GROUP_MAX]; /* empty: none */
} nuc_registry_info_t;

/*
 * Makes database, readers file and an empty snapshot, and the directory when it is
 * missing. "snapshot" NULL: beside the database; "group" NULL: none.  *made is 0 when the
 * registry was there already; then nothing is changed.  NUC_INVALID: no such group.
 */
nuc_rc_t nuc_registry_create(const nuc_sys_t *sys, const char *path, const char *snapshot,
                             const char *group, const nuc_registry_actor_t *actor,
                             int *made, nuc_err_t *err);

/* NUC_NOT_FOUND: there is none; NUC_INVALID: of another version; NUC_CORRUPT: is no
 * database. "actor" must outlive the registry. */
nuc_rc_t nuc_registry_open(const nuc_sys_t *sys, const char *path,
                           const nuc_registry_actor_t *actor, nuc_registry_t **registry,
                           nuc_err_t *err);
void nuc_registry_close(nuc_registry_t *registry);

/* As of now. */
nuc_rc_t nuc_registry_info(nuc_registry_t *registry, nuc_registry_info_t *info,
                           nuc_err_t *err);

/* ---- reading */

typedef struct {
    nuc_snapshot_tenant_t is; /* as the snapshot has it */
    char name[NUC_NAME_MAX + 1];
    uint64_t created; /* µs since 1970 */
    uint64_t keys;    /* not revoked */
} nuc_registry_tenant_t;

typedef struct {
    nuc_registry_tenant_t *tenants; /* by name */
    size_t count;
    size_t capacity;
} nuc_registry_tenants_t;

typedef struct {
    nuc_snapshot_key_t is; /* as the snapshot has it, but for the tenant's number */
    char tenant[NUC_NAME_MAX + 1];
    char name[NUC_REGISTRY_LABEL_MAX + 1];
    uint64_t created; /* µs since 1970; so for the next */
    uint64_t revoked; /* 0: it is not */
    uint64_t expires; /* seconds, as it was set; 0: never */
    uint64_t
        retired; /* seconds, the end of the overlap after a rotation; 0: not rotated */
} nuc_registry_key_t;

typedef struct {
    nuc_registry_key_t *keys; /* by id */
    size_t count;
    size_t capacity;
} nuc_registry_keys_t;

/* All, or the one of that name: NUC_NOT_FOUND.  The list is replaced; free it after the
 * last use. */
nuc_rc_t nuc_registry_tenants(nuc_registry_t *registry, const char *name,
                              nuc_registry_tenants_t *list, nuc_err_t *err);
void nuc_registry_tenants_free(nuc_registry_tenants_t *list);

/* All, those of a tenant (NULL: any), the one of that id (NULL: any): NUC_NOT_FOUND. */
nuc_rc_t nuc_registry_keys(nuc_registry_t *registry, const char *tenant, const uint64_t *id,
                           nuc_registry_keys_t *list, nuc_err_t *err);
void nuc_registry_keys_free(nuc_registry_keys_t *list);

/* Can it be used at "now" (seconds), or later? */
int nuc_registry_key_live(const nuc_registry_key_t *key, uint64_t now);

typedef struct {
    uint64_t at; /* µs since 1970 */
    uint64_t generation;
    const char *who;
    const char *from;
    const char *what;    /* "key create" */
    const char *subject; /* id of the key, name of the tenant, or "" */
    const char *tenant;  /* or "" */
    const char *details; /* a JSON object */
} nuc_registry_audit_t;

typedef void (*nuc_registry_audit_pt)(void *ctx, const nuc_registry_audit_t *entry);

/* Oldest first, the last "limit" (0: all) at or after "since"; "tenant" NULL: of all. */
nuc_rc_t nuc_registry_audit(nuc_registry_t *registry, uint64_t since, const char *tenant,
                            uint64_t limit, nuc_registry_audit_pt entry, void *ctx,
                            nuc_err_t *err);

/* ---- changes; NUC_BUSY: another process changes it, NUC_UNKNOWN: it may or may not be
 * made */

typedef struct {
    unsigned units; /* bits, 1 << nuc_unit_t: which limits are given */
    nuc_limit_t limits[NUC_UNIT_COUNT];
    unsigned quotas; /* bits, 1 << nuc_quota_t; not for keys */
    uint64_t quota[NUC_QUOTA_COUNT];
} nuc_registry_limits_t;

/* NUC_INVALID: no name, or there is one of that name. */
nuc_rc_t nuc_registry_tenant_create(nuc_registry_t *registry, const char *name,
                                    nuc_err_t *err);
/* Disabling what is disabled changes nothing. */
nuc_rc_t nuc_registry_tenant_disable(nuc_registry_t *registry, const char *name,
                                     int disabled, nuc_err_t *err);
nuc_rc_t nuc_registry_tenant_limits(nuc_registry_t *registry, const char *name,
                                    const nuc_registry_limits_t *limits, nuc_err_t *err);

/* Of "key" counts: is (but lineage, tenant, revoked, not_after), tenant, name, expires.
 */
nuc_rc_t nuc_registry_key_create(nuc_registry_t *registry, const nuc_registry_key_t *key,
                                 nuc_err_t *err);

typedef struct {
    uint64_t id; /* of the successor */
    uint8_t digest[NUC_KEY_DIGEST_LEN];
    uint64_t now;     /* seconds */
    uint64_t overlap; /* seconds for which the old one stays valid */
    int expires_set;  /* else the successor expires when the old one was to */
    uint64_t expires; /* seconds; 0: never */
} nuc_registry_rotation_t;

/* NUC_INVALID: it is not live, or has a live successor already. */
nuc_rc_t nuc_registry_key_rotate(nuc_registry_t *registry, uint64_t id,
                                 const nuc_registry_rotation_t *rotation, nuc_err_t *err);
nuc_rc_t nuc_registry_key_revoke(nuc_registry_t *registry, uint64_t id, nuc_err_t *err);
nuc_rc_t nuc_registry_key_limits(nuc_registry_t *registry, uint64_t id,
                                 const nuc_registry_limits_t *limits, nuc_err_t *err);

/* ---- the snapshot */

typedef struct {
    nuc_rc_t rc;   /* of looking at it: NUC_OK, NUC_NOT_FOUND, NUC_CORRUPT, ... */
    nuc_err_t err; /* when it is another than NUC_OK */
    int foreign;   /* another registry's */
    nuc_uuid_t registry;
    uint64_t generation;
    uint64_t created; /* µs since 1970 */
    uint64_t bytes;
    size_t ntenants;
    size_t nkeys;
} nuc_registry_published_t;

/* What is published now; never fails, but says so. */
void nuc_registry_published(nuc_registry_t *registry,
                            nuc_registry_published_t *published);

/*
 * Write the snapshot if it is missing, damaged or older than the registry; with "force"
 * in any case, and then a newer one (a backup of the registry was restored) is outdone by
 * a new generation and a foreign one replaced.  With "force", or where there is no
 * snapshot, the readers file is made when it is missing.
 */
nuc_rc_t nuc_registry_publish(nuc_registry_t *registry, int force, nuc_err_t *err);

#endif /* NUC_REGISTRY_H */
