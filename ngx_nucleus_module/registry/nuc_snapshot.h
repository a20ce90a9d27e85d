/*
 * The snapshot: all that nginx needs of the registry, in one file that is mapped as it
 * is.  nucleusctl writes it whole after each change, under a new name, and renames it
 * over the old one; nginx's processes map the new one and let go of the old.
 *
 * (The layout of the file, the validity rule: at the head of nuc_snapshot.c.)
 */

#ifndef NUC_SNAPSHOT_H
#define NUC_SNAPSHOT_H

#include <sys/stat.h>
#include <time.h>

#include "nuc_buf.h"
#include "nuc_err.h"
#include "nuc_key.h"
#include "nuc_str.h"
#include "nuc_sys.h"
#include "nuc_uuid.h"

/* What a key may be used for. */
enum {
    NUC_SCOPE_COLLECT = 1,
    NUC_SCOPE_UPLOAD = 2,
    NUC_SCOPE_EXCHANGE = 4,
    NUC_SCOPE_READ = 8,
    NUC_SCOPE_ADMIN = 16
};

typedef enum {
    NUC_UNIT_REQUESTS = 0,
    NUC_UNIT_EVENTS,
    NUC_UNIT_BYTES,
    NUC_UNIT_COUNT
} nuc_unit_t;

typedef struct {
    uint64_t rate;  /* units a second; 0: no limit of its own */
    uint64_t burst; /* units */
} nuc_limit_t;

typedef struct {
    uint8_t address[16]; /* IPv6, or IPv4 mapped (::ffff:a.b.c.d); network byte order */
    uint8_t bits;        /* of the prefix, 0 to 128; an IPv4 prefix counts from 96 */
} nuc_network_t;

typedef struct {
    nuc_str_t name;
    int disabled;
    nuc_limit_t limits[NUC_UNIT_COUNT];
    uint64_t max_queue_bytes;  /* 0: no quota, so for all three */
    uint64_t max_events_a_day; /* UTC */
    uint64_t max_inflight;     /* bytes in one nginx process */
} nuc_snapshot_tenant_t;

typedef struct {
    uint64_t id;
    uint8_t digest[NUC_KEY_DIGEST_LEN]; /* nuc_key_digest */
    uint64_t lineage; /* shared by a key and its successors: limits count by it */
    uint32_t tenant;  /* its number, in the order of the tenants */
    unsigned scopes;
    int revoked;
    uint64_t not_before; /* seconds since 1970, 0: always; so for the next */
    uint64_t not_after;  /* no longer valid from then on */
    nuc_limit_t limits[NUC_UNIT_COUNT];
    const nuc_str_t *streams; /* none: all */
    size_t nstreams;
    const nuc_network_t *networks; /* none: from anywhere */
    size_t nnetworks;
    const uint8_t (*certificates)[32]; /* SHA-256 (DER) of those that stand for it */
    size_t ncertificates;
} nuc_snapshot_key_t;

/* ---- writing */

typedef struct {
    nuc_uuid_t registry; /* whose it is, made once at "nucleusctl init" */
    uint64_t generation; /* grows by one with each change */
    uint64_t created;    /* µs since 1970 */
    const nuc_snapshot_tenant_t *tenants;
    size_t ntenants;
    const nuc_snapshot_key_t *keys; /* in any order; ids and certificates are unique */
    size_t nkeys;
} nuc_snapshot_content_t;

/* Appends the file's bytes to "out".  NUC_INVALID on a double id, name or certificate. */
nuc_rc_t nuc_snapshot_build(const nuc_snapshot_content_t *content, nuc_buf_t *out,
                            nuc_err_t *err);

/*
 * Replaces "path" by "bytes" (nuc_fs_replace): after an error the old file or the new is
 * there.  Mode 0640 less the umask: there is no secret in it, digests are hashes of 256
 * random bits, but names and addresses are nobody else's business.  nginx's user reads it
 * by the group, which the directory gives to what is made in it (mode 2750).
 */
nuc_rc_t nuc_snapshot_save(const nuc_sys_t *sys, const char *path, nuc_str_t bytes,
                           nuc_err_t *err);

/* ---- reading */

typedef struct {
    const uint8_t *data;
    size_t len;
    nuc_uuid_t registry;
    uint64_t generation;
    uint64_t created; /* µs since 1970 */
    size_t ntenants;
    size_t nkeys;
} nuc_snapshot_t;

/*
 * Checks all of "data" (checksum, version, every offset), once, so that nothing below can
 * fail or lead outside.  "data" stays the caller's and must be aligned to 8. NUC_CORRUPT:
 * damaged or cut off; NUC_INVALID: of another version.
 */
nuc_rc_t nuc_snapshot_open(const uint8_t *data, size_t len, nuc_snapshot_t *snapshot,
                           nuc_err_t *err);

/* A key as nginx sees it; the slices point into the snapshot. */
typedef struct {
    uint64_t id;
    const uint8_t *digest; /* NUC_KEY_DIGEST_LEN */
    uint64_t lineage;
    uint32_t number; /* 0 to nkeys - 1, for arrays beside the snapshot */
    uint32_t tenant;
    unsigned scopes;
    int revoked;
    int any_stream; /* it may send to all */
    uint64_t not_before;
    uint64_t not_after;
    nuc_limit_t limits[NUC_UNIT_COUNT];
    const uint8_t *record; /* its place in the snapshot */
} nuc_snapshot_entry_t;

/* NUC_NOT_FOUND when there is none.  A few reads, however many keys there are. */
nuc_rc_t nuc_snapshot_find(const nuc_snapshot_t *snapshot, uint64_t id,
                           nuc_snapshot_entry_t *entry);
nuc_rc_t nuc_snapshot_find_certificate(const nuc_snapshot_t *snapshot,
                                       const uint8_t sha256[32],
                                       nuc_snapshot_entry_t *entry);

/* Whether the key may send to the stream; from the address (16 bytes, as nuc_network_t
 * has it). */
int nuc_snapshot_allows_stream(const nuc_snapshot_t *snapshot,
                               const nuc_snapshot_entry_t *entry, nuc_str_t stream);
int nuc_snapshot_allows_address(const nuc_snapshot_t *snapshot,
                                const nuc_snapshot_entry_t *entry,
                                const uint8_t address[16]);

/* "number" below ntenants. */
void nuc_snapshot_tenant(const nuc_snapshot_t *snapshot, uint32_t number,
                         nuc_snapshot_tenant_t *tenant);

/* ---- a snapshot's file */

/* Which file it is, so that another one is seen. */
typedef struct {
    dev_t dev;
    ino_t ino;
    off_t size;
    struct timespec mtime;
} nuc_snapshot_identity_t;

typedef struct {
    nuc_snapshot_t snapshot; /* its "data" is the mapped file */
    nuc_snapshot_identity_t identity;
} nuc_snapshot_file_t;

/*
 * Maps the file and opens the snapshot in it; nuc_snapshot_unload frees it.  The file
 * must only ever be replaced by rename: one that is cut off while it is mapped kills who
 * reads it.  NUC_NOT_FOUND: there is none; NUC_IO, NUC_NOMEM; what nuc_snapshot_open
 * answers.
 */
nuc_rc_t nuc_snapshot_load(const nuc_sys_t *sys, const char *path,
                           nuc_snapshot_file_t **file, nuc_err_t *err);
void nuc_snapshot_unload(const nuc_sys_t *sys, nuc_snapshot_file_t *file); /* or NULL */

void nuc_snapshot_identify(const struct stat *st, nuc_snapshot_identity_t *identity);
int nuc_snapshot_same_file(const nuc_snapshot_identity_t *a,
                           const nuc_snapshot_identity_t *b);

#endif /* NUC_SNAPSHOT_H */
