#include "nuc_ctl_secret.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/uio.h>
#include <unistd.h>

#include "nuc_fs.h"

static nuc_rc_t nuc_secret_guard(nuc_err_t *err)
{
    struct rlimit none = {0, 0};

    if (setrlimit(RLIMIT_CORE, &none) == -1 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == -1) {
        return nuc_err_sys(err, NUC_IO, errno, "core dumps cannot be turned off");
    }

    return NUC_OK;
}

static nuc_rc_t nuc_secret_fill(nuc_secret_t *secret, nuc_err_t *err)
{
    nuc_key_t key;
    nuc_rc_t rc;
    nuc_key_hasher_t *hasher;

    rc = nuc_key_make(secret->text, err);

    if (rc != NUC_OK) {
        return rc;
    }

    if (nuc_key_parse(nuc_str(secret->text), &key) != NUC_KEY_GOOD) {
        return nuc_err_set(err, NUC_INVALID, "a new key is none");
    }

    rc = nuc_key_hasher_create(&hasher, err);

    if (rc != NUC_OK) {
        return rc;
    }

    secret->id = key.id;
    rc = nuc_key_digest(hasher, &key, secret->digest);
    nuc_key_hasher_free(hasher);

    return rc == NUC_OK ? NUC_OK : nuc_err_set(err, rc, "the digest of a key failed");
}

nuc_rc_t nuc_secret_make(nuc_secret_t *secret, nuc_err_t *err)
{
    nuc_rc_t rc;

    memset(secret, 0, sizeof(*secret));
    rc = nuc_secret_guard(err);

    return rc == NUC_OK ? nuc_secret_fill(secret, err) : rc;
}

static nuc_rc_t nuc_secret_write(const nuc_sys_t *sys, const nuc_secret_t *secret, int fd,
                                 const char *path, nuc_err_t *err)
{
    nuc_rc_t rc;

    rc = nuc_sys_write_all(sys, fd, secret->text, NUC_KEY_LEN, 0, err);

    if (rc == NUC_OK) {
        rc = nuc_sys_write_all(sys, fd, "\n", 1, NUC_KEY_LEN, err);
    }

    if (rc == NUC_OK && sys->fsync(sys, fd, "ctl-key-file") == -1) {
        rc = nuc_err_sys(err, NUC_IO, errno, "sync of \"%s\" failed", path);
    }

    return rc;
}

nuc_rc_t nuc_secret_store(const nuc_sys_t *sys, const nuc_secret_t *secret,
                          const char *path, nuc_err_t *err)
{
    int fd;
    nuc_rc_t rc;
    char dir[NUC_PATH_MAX];
    const char *slash = strrchr(path, '/');

    if (snprintf(dir, sizeof(dir), "%.*s%s", slash != NULL ? (int) (slash - path + 1) : 0,
                 path, slash == NULL ? "." : "") >= (int) sizeof(dir)) {
        return nuc_err_set(err, NUC_TOO_LARGE, "path \"%s\" is too long", path);
    }

    fd = sys->open(sys, path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);

    if (fd == -1) {
        rc = errno == EEXIST ? NUC_INVALID : NUC_IO;
        nuc_err_fill_sys(err, rc, errno, "the key's file \"%s\" cannot be made", path);

        if (rc == NUC_INVALID) {
            nuc_err_hint(err, "name a new file: none is overwritten");
        }

        return rc;
    }

    rc = nuc_secret_write(sys, secret, fd, path, err);

    if (sys->close(sys, fd) == -1 && rc == NUC_OK) {
        rc = nuc_err_sys(err, NUC_IO, errno, "close of \"%s\" failed", path);
    }

    if (rc == NUC_OK) {
        rc = nuc_fs_sync_dir(sys, dir, "ctl-key-dir", err);
    }

    if (rc != NUC_OK) {
        sys->unlink(sys, path);
    }

    return rc;
}

/* Not through stdio, whose buffer would keep it. */
nuc_rc_t nuc_secret_print(const nuc_secret_t *secret, nuc_str_t before, const char *after,
                          nuc_err_t *err)
{
    size_t i;
    ssize_t n;
    nuc_str_t parts[3] = {
        before, {(const uint8_t *) secret->text, NUC_KEY_LEN}, nuc_str(after)};

    for (i = 0; i < 3; i++) {
        while (parts[i].len > 0) {
            n = write(STDOUT_FILENO, parts[i].data, parts[i].len);

            if (n == -1 && errno != EINTR) {
                return nuc_err_sys(err, NUC_IO, errno, "the key could not be printed");
            }

            parts[i].data += n > 0 ? n : 0;
            parts[i].len -= n > 0 ? (size_t) n : 0;
        }
    }

    return NUC_OK;
}

void nuc_secret_wipe(nuc_secret_t *secret)
{
    OPENSSL_cleanse(secret, sizeof(*secret));

    /* for a leak sanitizer, which traces the process at its end */
    (void) prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
}
