#include "nuc_registry_sql.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "nuc_time.h"

#define NUC_PUBLISH_WAIT                                                                 \
    10000000U /* µs for which another process's publishing is waited for */
#define NUC_PUBLISH_POLL 5000000 /* ns */

/* ---- what is there */

void nuc_registry_published(nuc_registry_t *registry, nuc_registry_published_t *published)
{
    nuc_buf_t buf = NUC_BUF_INIT;
    nuc_snapshot_t snapshot;

    memset(published, 0, sizeof(*published));
    published->rc = nuc_fs_read_file(registry->sys, registry->info.snapshot, SIZE_MAX / 2,
                                     &buf, &published->err);

    if (published->rc == NUC_OK) {
        published->bytes = buf.len;
        published->rc = nuc_snapshot_open(buf.data, buf.len, &snapshot, &published->err);
    }

    if (published->rc == NUC_OK) {
        published->registry = snapshot.registry;
        published->foreign = nuc_uuid_cmp(&snapshot.registry, &registry->info.id) != 0;
        published->generation = snapshot.generation;
        published->created = snapshot.created;
        published->ntenants = snapshot.ntenants;
        published->nkeys = snapshot.nkeys;
    }

    nuc_buf_free(&buf);
}

/* ---- what is to be */

static int nuc_publish_tenant_cmp(const void *name, const void *tenant)
{
    return strcmp(name, ((const nuc_registry_tenant_t *) tenant)->name);
}

static nuc_rc_t nuc_publish_build(nuc_registry_t *registry,
                                  const nuc_registry_tenants_t *tenants,
                                  const nuc_registry_keys_t *keys, nuc_buf_t *out,
                                  nuc_err_t *err)
{
    size_t i;
    nuc_rc_t rc;
    nuc_snapshot_key_t *k;
    nuc_snapshot_tenant_t *t;
    nuc_snapshot_content_t content;
    const nuc_registry_tenant_t *tenant;

    t = calloc(tenants->count + 1, sizeof(*t));
    k = calloc(keys->count + 1, sizeof(*k));

    if (t == NULL || k == NULL) {
        rc = nuc_err_set(err, NUC_NOMEM, "no memory to build the snapshot");
        goto done;
    }

    for (i = 0; i < tenants->count; i++) {
        t[i] = tenants->tenants[i].is;
    }

    for (i = 0; i < keys->count; i++) {
        tenant = bsearch(keys->keys[i].tenant, tenants->tenants, tenants->count,
                         sizeof(*tenant), nuc_publish_tenant_cmp);

        if (tenant == NULL) {
            rc = nuc_err_set(err, NUC_CORRUPT, "a key is of no tenant");
            goto done;
        }

        k[i] = keys->keys[i].is;
        k[i].tenant = (uint32_t) (tenant - tenants->tenants);
    }

    content = (nuc_snapshot_content_t){
        .registry = registry->info.id,
        .generation = registry->info.generation,
        .created = nuc_time_now(),
        .tenants = t,
        .ntenants = tenants->count,
        .keys = k,
        .nkeys = keys->count,
    };

    rc = nuc_snapshot_build(&content, out, err);

done:

    free(t);
    free(k);

    return rc;
}

/* The registry as one transaction shows it. */
static nuc_rc_t nuc_publish_read(nuc_registry_t *registry, nuc_buf_t *out, nuc_err_t *err)
{
    nuc_rc_t rc;
    nuc_registry_keys_t keys = {.keys = NULL};
    nuc_registry_tenants_t tenants = {.tenants = NULL};
    nuc_registry_info_t info;

    rc = nuc_registry_read_begin(registry, err);

    if (rc != NUC_OK) {
        return rc;
    }

    rc = nuc_registry_info(registry, &info, err);

    if (rc == NUC_OK) {
        rc = nuc_registry_tenants(registry, NULL, &tenants, err);
    }

    if (rc == NUC_OK) {
        rc = nuc_registry_keys(registry, NULL, NULL, &keys, err);
    }

    nuc_registry_read_end(registry);

    if (rc == NUC_OK) {
        rc = nuc_publish_build(registry, &tenants, &keys, out, err);
    }

    nuc_registry_keys_free(&keys);
    nuc_registry_tenants_free(&tenants);

    return rc;
}

/* ---- writing it */

/*
 * Anybody may read the snapshot where there is no group: it holds digests of random
 * secrets of 256 bits, from which nobody finds a secret, and names, limits and addresses
 * of tenants, which a group keeps to those who are in it.
 */
static mode_t nuc_publish_mode(const nuc_registry_t *registry)
{
    return registry->info.group[0] != '\0' ? 0640 : 0644;
}

/* Not left to the umask: who starts nucleusctl may have any. */
static nuc_rc_t nuc_publish_own(nuc_registry_t *registry, const char *path, int flags,
                                nuc_err_t *err)
{
    int fd;
    nuc_rc_t rc;
    struct group *group;

    fd = registry->sys->open(registry->sys, path, O_RDWR | O_CREAT | O_NOFOLLOW | flags,
                             0600);

    if (fd == -1) {
        return nuc_err_sys(err, NUC_IO, errno, "open of \"%s\" failed", path);
    }

    rc = NUC_OK;

    if (registry->info.group[0] != '\0') {
        group = getgrnam(registry->info.group);

        if (group == NULL) {
            rc = nuc_err_set(err, NUC_INVALID, "there is no group \"%s\"",
                             registry->info.group);
            nuc_err_hint(err, "the registry was made for it: make the group again");
        } else if (fchown(fd, (uid_t) -1, group->gr_gid) == -1) {
            rc = nuc_err_sys(err, NUC_IO, errno, "\"%s\" cannot be given to group \"%s\"",
                             path, registry->info.group);
        }
    }

    if (rc == NUC_OK && fchmod(fd, nuc_publish_mode(registry)) == -1) {
        rc = nuc_err_sys(err, NUC_IO, errno, "chmod of \"%s\" failed", path);
    }

    registry->sys->close(registry->sys, fd);

    return rc;
}

/*
 * One that was removed is not made again by the way: processes that hold their locks in
 * the old one would be missed without a word.
 */
static nuc_rc_t nuc_publish_make_readers(nuc_registry_t *registry, nuc_err_t *err)
{
    struct stat st;

    if (registry->sys->stat(registry->sys, registry->info.readers, &st) == 0) {
        return NUC_OK;
    }

    return nuc_publish_own(registry, registry->info.readers, O_EXCL, err);
}

/*
 * The temporary file is made first, so that it has its group and mode before it has
 * contents; what replaces the snapshot by it leaves them.
 */
static nuc_rc_t nuc_publish_write(nuc_registry_t *registry, nuc_str_t contents,
                                  nuc_err_t *err)
{
    nuc_rc_t rc;
    char temp[NUC_PATH_MAX];
    const char *path = registry->info.snapshot;

    if (snprintf(temp, sizeof(temp), "%s.tmp", path) >= (int) sizeof(temp)) {
        return nuc_err_set(err, NUC_TOO_LARGE, "path \"%s.tmp\" is too long", path);
    }

    rc = nuc_publish_own(registry, temp, 0, err);

    return rc == NUC_OK ? nuc_snapshot_save(registry->sys, path, contents, err) : rc;
}

/* Two that publish at once could leave the older one's snapshot. */
static nuc_rc_t nuc_publish_lock(nuc_registry_t *registry, int *fd, nuc_err_t *err)
{
    uint64_t until;
    char path[NUC_PATH_MAX];
    const nuc_sys_t *sys = registry->sys;

    if (snprintf(path, sizeof(path), "%s.lock", registry->info.path) >=
        (int) sizeof(path)) {
        return nuc_err_set(err, NUC_TOO_LARGE, "path \"%s.lock\" is too long",
                           registry->info.path);
    }

    *fd = sys->open(sys, path, O_RDWR | O_CREAT | O_NOFOLLOW, 0600);

    if (*fd == -1) {
        return nuc_err_sys(err, NUC_IO, errno, "open of \"%s\" failed", path);
    }

    until = nuc_time_monotonic() + NUC_PUBLISH_WAIT;

    while (sys->lock(sys, *fd) == -1) {
        if ((errno != EWOULDBLOCK && errno != EINTR) || nuc_time_monotonic() > until) {
            nuc_err_fill_sys(err, NUC_BUSY, errno, "\"%s\" is locked", path);
            nuc_err_hint(err, "another process writes the snapshot: try again");
            sys->close(sys, *fd);
            return NUC_BUSY;
        }

        (void) nanosleep(&(struct timespec){.tv_nsec = NUC_PUBLISH_POLL}, NULL);
    }

    return NUC_OK;
}

/* A new generation with nothing else in it. */
static nuc_rc_t nuc_publish_outdo(nuc_registry_t *registry,
                                  const nuc_registry_published_t *published,
                                  nuc_err_t *err)
{
    nuc_rc_t rc;
    nuc_buf_t details = NUC_BUF_INIT;
    nuc_registry_change_t change = {"snapshot rewrite", "", "", &details};

    rc = nuc_registry_begin(registry, err);

    if (rc != NUC_OK) {
        return rc;
    }

    nuc_buf_printf(&details, "{\"published\":%llu}",
                   (unsigned long long) published->generation);
    rc = nuc_registry_end(registry, NUC_OK, &change, err);
    nuc_buf_free(&details);

    return rc;
}

static nuc_rc_t nuc_publish_foreign(nuc_registry_t *registry, nuc_err_t *err)
{
    nuc_err_set(err, NUC_INVALID, "the snapshot \"%s\" is another registry's",
                registry->info.snapshot);
    nuc_err_hint(err, "if this one shall replace it: nucleusctl snapshot --rewrite");

    return NUC_INVALID;
}

static nuc_rc_t nuc_publish_locked(nuc_registry_t *registry, int force, nuc_err_t *err)
{
    nuc_rc_t rc;
    nuc_buf_t out = NUC_BUF_INIT;
    nuc_registry_info_t info;
    nuc_registry_published_t published;

    rc = nuc_registry_info(registry, &info, err);

    if (rc != NUC_OK) {
        return rc;
    }

    nuc_registry_published(registry, &published);

    if (published.rc == NUC_NOMEM) {
        return nuc_err_set(err, published.rc, "%s", published.err.message);
    }

    if (force || published.rc == NUC_NOT_FOUND) {
        rc = nuc_publish_make_readers(registry, err);

        if (rc != NUC_OK) {
            return rc;
        }
    }

    if (!force && published.rc == NUC_OK && published.foreign) {
        return nuc_publish_foreign(registry, err);
    }

    if (!force && published.rc == NUC_OK && published.generation >= info.generation) {
        return NUC_OK;
    }

    if (published.rc == NUC_OK && !published.foreign &&
        published.generation > info.generation) {
        rc = nuc_publish_outdo(registry, &published, err);
    }

    if (rc == NUC_OK) {
        rc = nuc_publish_read(registry, &out, err);
    }

    if (rc == NUC_OK && out.failed) {
        rc = nuc_err_set(err, NUC_NOMEM, "no memory to build the snapshot");
    }

    if (rc == NUC_OK) {
        rc = nuc_publish_write(registry, (nuc_str_t){out.data, out.len}, err);
    }

    nuc_buf_free(&out);

    return rc;
}

nuc_rc_t nuc_registry_publish(nuc_registry_t *registry, int force, nuc_err_t *err)
{
    int fd;
    nuc_rc_t rc;

    rc = nuc_publish_lock(registry, &fd, err);

    if (rc != NUC_OK) {
        return rc;
    }

    rc = nuc_publish_locked(registry, force, err);
    registry->sys->close(registry->sys, fd);

    return rc;
}
