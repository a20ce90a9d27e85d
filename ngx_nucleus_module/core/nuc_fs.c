#include "nuc_fs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

nuc_rc_t nuc_path_join(char out[NUC_PATH_MAX], const char *a, const char *b,
                       nuc_err_t *err)
{
    size_t a_len = strlen(a), b_len = strlen(b);

    if (a_len + 1 + b_len + 1 > NUC_PATH_MAX) {
        return nuc_err_set(err, NUC_TOO_LARGE, "path \"%s/%s\" is too long", a, b);
    }

    memmove(out, a, a_len);
    out[a_len] = '/';
    memcpy(out + a_len + 1, b, b_len + 1);

    return NUC_OK;
}

void nuc_fs_discard(const nuc_sys_t *sys, const char *dir, const char *name)
{
    char path[NUC_PATH_MAX];

    if (nuc_path_join(path, dir, name, NULL) == NUC_OK) {
        (void) sys->unlink(sys, path);
    }
}

nuc_rc_t nuc_fs_sync_dir(const nuc_sys_t *sys, const char *path, const char *site,
                         nuc_err_t *err)
{
    int fd, failed, saved;

    fd = sys->open(sys, path, O_RDONLY | O_DIRECTORY, 0);
    if (fd == -1) {
        return nuc_err_sys(err, NUC_IO, errno, "open of directory \"%s\" failed", path);
    }

    failed = sys->fsync(sys, fd, site);
    saved = errno;
    sys->close(sys, fd);

    if (failed) {
        return nuc_err_sys(err, NUC_IO, saved, "sync of directory \"%s\" failed", path);
    }

    return NUC_OK;
}

/* The directory above: "a/b" gives "a", "a" gives ".", "/a" gives "/". */
static void nuc_fs_parent(const char *path, char parent[NUC_PATH_MAX])
{
    char *slash;

    snprintf(parent, NUC_PATH_MAX, "%s", path);

    slash = strrchr(parent, '/');

    if (slash == NULL) {
        strcpy(parent, ".");
    } else if (slash == parent) {
        parent[1] = '\0';
    } else {
        *slash = '\0';
    }
}

static const struct {
    uint32_t type; /* statfs(2), f_type */
    nuc_rc_t rc;
    const char *name;
} nuc_fs_types[] = {
    {0x01021994, NUC_INVALID, "tmpfs"},     {0x858458f6, NUC_INVALID, "ramfs"},
    {0x794c7630, NUC_UNKNOWN, "overlayfs"}, {0x00006969, NUC_UNKNOWN, "nfs"},
    {0xff534d42, NUC_UNKNOWN, "cifs"},      {0xfe534d42, NUC_UNKNOWN, "smb2"},
    {0x00c36400, NUC_UNKNOWN, "ceph"},      {0x0bd00bd0, NUC_UNKNOWN, "lustre"},
    {0x01021997, NUC_UNKNOWN, "9p"},        {0x65735546, NUC_UNKNOWN, "fuse"},
};

static nuc_rc_t nuc_fs_judge(const char *path, uint32_t type, nuc_err_t *err)
{
    size_t i;
    const char *name;

    for (i = 0; i < sizeof(nuc_fs_types) / sizeof(nuc_fs_types[0]); i++) {
        if (nuc_fs_types[i].type == type) {
            break;
        }
    }

    if (i == sizeof(nuc_fs_types) / sizeof(nuc_fs_types[0])) {
        return NUC_OK;
    }

    name = nuc_fs_types[i].name;

    if (nuc_fs_types[i].rc == NUC_INVALID) {
        nuc_err_set(err, NUC_INVALID,
                    "\"%s\" lies on %s, whose files are gone with the power", path, name);
        nuc_err_hint(err, "put it on a disk");
        return NUC_INVALID;
    }

    if (strcmp(name, "overlayfs") == 0) {
        nuc_err_set(err, NUC_UNKNOWN,
                    "\"%s\" lies on %s, whose files may be gone with their container",
                    path, name);
        nuc_err_hint(err, "put it on a volume");
        return NUC_UNKNOWN;
    }

    nuc_err_set(err, NUC_UNKNOWN,
                "\"%s\" lies on %s, which alone decides what a sync and a lock mean",
                path, name);
    nuc_err_hint(err, "a local disk is better; else see \"File systems\" in "
                      "docs/failures.md");

    return NUC_UNKNOWN;
}

nuc_rc_t nuc_fs_check_durable(const nuc_sys_t *sys, const char *path, nuc_err_t *err)
{
    char dir[NUC_PATH_MAX], parent[NUC_PATH_MAX];
    struct statfs st;

    if (strlen(path) >= sizeof(dir)) {
        return nuc_err_set(err, NUC_TOO_LARGE, "path \"%s\" is too long", path);
    }

    strcpy(dir, path);

    while (sys->statfs(sys, dir, &st) == -1) {
        if (errno != ENOENT || strcmp(dir, "/") == 0 || strcmp(dir, ".") == 0) {
            return nuc_err_sys(err, NUC_IO, errno, "statfs of \"%s\" failed", dir);
        }

        nuc_fs_parent(dir, parent);
        strcpy(dir, parent);
    }

    return nuc_fs_judge(path, (uint32_t) st.f_type, err);
}

/*
 * A directory that is there already is synced into its parent as well: who made it may
 * have been killed before he did.
 */
static nuc_rc_t nuc_fs_make_dir(const nuc_sys_t *sys, const char *path, mode_t mode,
                                const char *site, nuc_err_t *err)
{
    int found;
    nuc_rc_t rc;
    char parent[NUC_PATH_MAX];

    found = sys->mkdir(sys, path, mode) == -1;

    if (found && errno != EEXIST) {
        return nuc_err_sys(err, NUC_IO, errno, "mkdir \"%s\" failed", path);
    }

    nuc_fs_parent(path, parent);

    rc = nuc_fs_sync_dir(sys, parent, site, err);

    if (found && rc == NUC_IO && err->sys_errno == EACCES) {
        /* a parent that we may not even read, we did not make an entry in */
        return NUC_OK;
    }

    return rc;
}

nuc_rc_t nuc_fs_make_path(const nuc_sys_t *sys, const char *path, mode_t mode,
                          const char *site, nuc_err_t *err)
{
    char *p;
    nuc_rc_t rc;
    nuc_err_t unused;
    char partial[NUC_PATH_MAX];

    if (err == NULL) {
        err = &unused;
    }

    if (strlen(path) >= NUC_PATH_MAX) {
        return nuc_err_set(err, NUC_TOO_LARGE, "path \"%s\" is too long", path);
    }

    strcpy(partial, path);

    for (p = partial + 1; *p != '\0'; p++) {
        if (*p != '/') {
            continue;
        }

        *p = '\0';

        rc = nuc_fs_make_dir(sys, partial, mode, site, err);
        if (rc != NUC_OK) {
            return rc;
        }

        *p = '/';
    }

    return nuc_fs_make_dir(sys, partial, mode, site, err);
}

nuc_rc_t nuc_fs_share(const nuc_sys_t *sys, const char *dir, int fd, nuc_err_t *err)
{
    mode_t mode;
    struct stat above, st;

    if (sys->stat(sys, dir, &above) == -1 || sys->fstat(sys, fd, &st) == -1) {
        return nuc_err_sys(err, NUC_IO, errno, "stat in \"%s\" failed", dir);
    }

    if (!(above.st_mode & S_IWGRP) || st.st_gid != above.st_gid) {
        return NUC_OK;
    }

    mode = above.st_mode & (S_ISDIR(st.st_mode) ? S_IRWXG : S_IRGRP | S_IWGRP);

    if ((st.st_mode & mode) == mode) {
        return NUC_OK;
    }

    if (sys->fchmod(sys, fd, (st.st_mode & 07777) | mode) == -1 && errno != EPERM) {
        return nuc_err_sys(err, NUC_IO, errno, "chmod in \"%s\" failed", dir);
    }

    return NUC_OK;
}

nuc_rc_t nuc_fs_share_dir(const nuc_sys_t *sys, const char *dir, const char *made,
                          nuc_err_t *err)
{
    int fd;
    nuc_rc_t rc;

    fd = sys->open(sys, made, O_RDONLY | O_DIRECTORY, 0);
    if (fd == -1) {
        return nuc_err_sys(err, NUC_IO, errno, "open of directory \"%s\" failed", made);
    }

    rc = nuc_fs_share(sys, dir, fd, err);
    sys->close(sys, fd);

    return rc;
}

nuc_rc_t nuc_fs_replace(const nuc_sys_t *sys, const char *dir, const char *name,
                        nuc_str_t contents, mode_t mode, const char *file_site,
                        const char *dir_site, nuc_err_t *err)
{
    int fd;
    nuc_rc_t rc;
    char path[NUC_PATH_MAX], temp[NUC_PATH_MAX];

    rc = nuc_path_join(path, dir, name, err);
    if (rc != NUC_OK) {
        return rc;
    }

    if (snprintf(temp, sizeof(temp), "%s.tmp", path) >= (int) sizeof(temp)) {
        return nuc_err_set(err, NUC_TOO_LARGE, "path \"%s.tmp\" is too long", path);
    }

    fd = sys->open(sys, temp, O_WRONLY | O_CREAT | O_TRUNC, mode);
    if (fd == -1) {
        return nuc_err_sys(err, NUC_IO, errno, "open of \"%s\" failed", temp);
    }

    rc = nuc_fs_share(sys, dir, fd, err);

    if (rc == NUC_OK) {
        rc = nuc_sys_write_all(sys, fd, contents.data, contents.len, 0, err);
    }

    if (rc == NUC_OK && file_site != NULL && sys->fdatasync(sys, fd, file_site) == -1) {
        rc = nuc_err_sys(err, NUC_IO, errno, "sync of \"%s\" failed", temp);
    }

    if (sys->close(sys, fd) == -1 && rc == NUC_OK) {
        rc = nuc_err_sys(err, NUC_IO, errno, "close of \"%s\" failed", temp);
    }

    if (rc != NUC_OK) {
        sys->unlink(sys, temp);
        return rc;
    }

    if (sys->rename(sys, temp, path) == -1) {
        rc = nuc_err_sys(err, NUC_IO, errno, "rename of \"%s\" to \"%s\" failed", temp,
                         path);
        sys->unlink(sys, temp);
        return rc;
    }

    return dir_site == NULL ? NUC_OK : nuc_fs_sync_dir(sys, dir, dir_site, err);
}

nuc_rc_t nuc_fs_read_file(const nuc_sys_t *sys, const char *path, size_t max,
                          nuc_buf_t *out, nuc_err_t *err)
{
    int fd;
    size_t got, len;
    uint8_t *p;
    nuc_rc_t rc;
    struct stat st;

    fd = sys->open(sys, path, O_RDONLY, 0);
    if (fd == -1) {
        return nuc_err_sys(err, errno == ENOENT ? NUC_NOT_FOUND : NUC_IO, errno,
                           "open of \"%s\" failed", path);
    }

    if (sys->fstat(sys, fd, &st) == -1) {
        rc = nuc_err_sys(err, NUC_IO, errno, "stat of \"%s\" failed", path);
        goto done;
    }

    len = (size_t) st.st_size;

    if (len > max) {
        rc = nuc_err_set(err, NUC_TOO_LARGE, "\"%s\" has %zu bytes, more than %zu", path,
                         len, max);
        goto done;
    }

    p = nuc_buf_reserve(out, len + 1);
    if (p == NULL) {
        rc = nuc_err_set(err, NUC_NOMEM, "no memory to read \"%s\"", path);
        goto done;
    }

    rc = nuc_sys_read_all(sys, fd, p, len, 0, &got, err);
    if (rc == NUC_OK) {
        out->len += got;
    }

done:

    sys->close(sys, fd);
    return rc;
}
