#include "nuc_snapshot.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

#include "nuc_fs.h"

nuc_rc_t nuc_snapshot_save(const nuc_sys_t *sys, const char *path, nuc_str_t bytes,
                           nuc_err_t *err)
{
    const char *slash = strrchr(path, '/'), *name = slash == NULL ? path : slash + 1;
    char dir[NUC_PATH_MAX];

    if (snprintf(dir, sizeof(dir), "%.*s%s", (int) (name - path), path,
                 name == path ? "." : "") >= (int) sizeof(dir)) {
        return nuc_err_set(err, NUC_TOO_LARGE, "path \"%s\" is too long", path);
    }

    return nuc_fs_replace(sys, dir, name, bytes, 0640, "snapshot-file", "snapshot-dir",
                          err);
}

void nuc_snapshot_identify(const struct stat *st, nuc_snapshot_identity_t *identity)
{
    identity->dev = st->st_dev;
    identity->ino = st->st_ino;
    identity->size = st->st_size;
    identity->mtime = st->st_mtim;
}

int nuc_snapshot_same_file(const nuc_snapshot_identity_t *a,
                           const nuc_snapshot_identity_t *b)
{
    return a->dev == b->dev && a->ino == b->ino && a->size == b->size &&
           a->mtime.tv_sec == b->mtime.tv_sec && a->mtime.tv_nsec == b->mtime.tv_nsec;
}

static nuc_rc_t nuc_snapshot_map(const nuc_sys_t *sys, const char *path, int fd,
                                 nuc_snapshot_file_t *file, nuc_err_t *err)
{
    void *data;
    nuc_rc_t rc;
    nuc_err_t why;
    struct stat st;

    if (sys->fstat(sys, fd, &st) == -1) {
        return nuc_err_sys(err, NUC_IO, errno, "stat of \"%s\" failed", path);
    }

    if (!S_ISREG(st.st_mode) || st.st_size == 0) {
        return nuc_err_set(err, NUC_CORRUPT, "\"%s\" is empty, or no file", path);
    }

    data = sys->map(sys, fd, (size_t) st.st_size, 0);
    if (data == NULL) {
        return nuc_err_sys(err, NUC_IO, errno, "mmap of \"%s\" failed", path);
    }

    nuc_snapshot_identify(&st, &file->identity);

    rc = nuc_snapshot_open(data, (size_t) st.st_size, &file->snapshot, &why);

    if (rc != NUC_OK) {
        sys->unmap(sys, data, (size_t) st.st_size);
        return nuc_err_set(err, rc, "snapshot \"%s\" is not usable: %s", path,
                           why.message);
    }

    return NUC_OK;
}

nuc_rc_t nuc_snapshot_load(const nuc_sys_t *sys, const char *path,
                           nuc_snapshot_file_t **file, nuc_err_t *err)
{
    int fd;
    nuc_rc_t rc;
    nuc_snapshot_file_t *loaded;

    *file = NULL;

    loaded = calloc(1, sizeof(*loaded));
    if (loaded == NULL) {
        return nuc_err_set(err, NUC_NOMEM, "no memory to load \"%s\"", path);
    }

    /* not to wait for who writes into a pipe of that name */
    fd = sys->open(sys, path, O_RDONLY | O_NONBLOCK, 0);

    if (fd == -1) {
        rc = nuc_err_sys(err, errno == ENOENT ? NUC_NOT_FOUND : NUC_IO, errno,
                         "open of \"%s\" failed", path);
        free(loaded);
        return rc;
    }

    rc = nuc_snapshot_map(sys, path, fd, loaded, err);
    sys->close(sys, fd);

    if (rc != NUC_OK) {
        free(loaded);
        return rc;
    }

    *file = loaded;

    return NUC_OK;
}

void nuc_snapshot_unload(const nuc_sys_t *sys, nuc_snapshot_file_t *file)
{
    if (file != NULL) {
        sys->unmap(sys, (void *) (uintptr_t) file->snapshot.data, file->snapshot.len);
        free(file);
    }
}
