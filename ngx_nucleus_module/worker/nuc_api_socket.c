#include "nuc_api_socket.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "nuc_fs.h"

#define NUC_API_SOCKET_BACKLOG 64
#define NUC_API_SOCKET_UMASK   0117 /* leaves 0660 */

static nuc_rc_t nuc_api_socket_lock(nuc_api_socket_t *s, nuc_err_t *err)
{
    char path[NUC_PATH_MAX];
    nuc_rc_t rc;

    snprintf(path, sizeof(path), "%s.lock", s->path);

    s->lock_fd = s->sys->open(s->sys, path, O_RDWR | O_CREAT, 0640);
    if (s->lock_fd == -1) {
        return nuc_err_sys(err, NUC_IO, errno, "open of \"%s\" failed", path);
    }

    if (s->sys->lock(s->sys, s->lock_fd) == 0) {
        return NUC_OK;
    }

    if (errno == EWOULDBLOCK) {
        rc = nuc_err_set(err, NUC_BUSY, "another worker has the socket \"%s\"", s->path);
        nuc_err_hint(err, "give each worker an \"api unix:PATH;\" of its own");
    } else {
        rc = nuc_err_sys(err, NUC_IO, errno, "lock of \"%s\" failed", path);
    }

    s->sys->close(s->sys, s->lock_fd);
    s->lock_fd = -1;

    return rc;
}

static int nuc_api_socket_new(void)
{
    return socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
}

static struct sockaddr_un nuc_api_socket_address(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    /* the configuration has looked at its length */
    snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);

    return address;
}

/* Does somebody listen on it?  Anything but a plain no means yes. */
static int nuc_api_socket_answers(const char *path)
{
    int fd, answers;
    struct sockaddr_un address = nuc_api_socket_address(path);

    fd = nuc_api_socket_new();
    if (fd == -1) {
        return 1;
    }

    answers = connect(fd, (struct sockaddr *) &address, sizeof(address)) == 0 ||
              (errno != ECONNREFUSED && errno != ENOENT);
    close(fd);

    return answers;
}

/* The lock is ours: what is there is nobody's, unless it is another program's. */
static nuc_rc_t nuc_api_socket_clear(const nuc_api_socket_t *s, nuc_err_t *err)
{
    struct stat st;

    if (lstat(s->path, &st) == -1) {
        return errno == ENOENT
                   ? NUC_OK
                   : nuc_err_sys(err, NUC_IO, errno, "stat of \"%s\" failed", s->path);
    }

    if (!S_ISSOCK(st.st_mode)) {
        nuc_err_set(err, NUC_INVALID, "\"%s\" is there, and is no socket", s->path);
        nuc_err_hint(err, "move it away, or name another path in \"api unix:PATH;\"");
        return NUC_INVALID;
    }

    if (nuc_api_socket_answers(s->path)) {
        nuc_err_set(err, NUC_INVALID, "another program listens on \"%s\"", s->path);
        nuc_err_hint(err, "name another path in \"api unix:PATH;\"");
        return NUC_INVALID;
    }

    if (s->sys->unlink(s->sys, s->path) == -1) {
        return nuc_err_sys(err, NUC_IO, errno, "unlink of \"%s\" failed", s->path);
    }

    return NUC_OK;
}

static nuc_rc_t nuc_api_socket_listen(nuc_api_socket_t *s, nuc_err_t *err)
{
    int failed;
    mode_t mask;
    struct sockaddr_un address = nuc_api_socket_address(s->path);

    s->fd = nuc_api_socket_new();
    if (s->fd == -1) {
        return nuc_err_sys(err, NUC_IO, errno, "socket failed");
    }

    mask = umask(NUC_API_SOCKET_UMASK);
    failed = bind(s->fd, (struct sockaddr *) &address, sizeof(address)) == -1;
    umask(mask);

    if (failed) {
        nuc_err_sys(err, NUC_IO, errno, "bind to \"%s\" failed", s->path);
        close(s->fd);
        s->fd = -1;
        return NUC_IO;
    }

    if (listen(s->fd, NUC_API_SOCKET_BACKLOG) == -1) {
        return nuc_err_sys(err, NUC_IO, errno, "listen on \"%s\" failed", s->path);
    }

    return NUC_OK;
}

nuc_rc_t nuc_api_socket_open(nuc_api_socket_t *s, const nuc_sys_t *sys, const char *path,
                             nuc_err_t *err)
{
    nuc_rc_t rc;

    *s = (nuc_api_socket_t){sys, path, -1, -1};

    rc = nuc_api_socket_lock(s, err);

    if (rc == NUC_OK) {
        rc = nuc_api_socket_clear(s, err);
    }

    if (rc == NUC_OK) {
        rc = nuc_api_socket_listen(s, err);

        /* bound, and good for nothing */
        if (rc != NUC_OK && s->fd != -1) {
            nuc_api_socket_close(s);
        }
    }

    if (rc != NUC_OK && s->lock_fd != -1) {
        sys->close(sys, s->lock_fd);
        s->lock_fd = -1;
    }

    return rc;
}

void nuc_api_socket_close(nuc_api_socket_t *s)
{
    if (s->fd != -1) {
        close(s->fd);
        s->fd = -1;
    }

    s->sys->unlink(s->sys, s->path);

    if (s->lock_fd != -1) {
        s->sys->close(s->sys, s->lock_fd);
        s->lock_fd = -1;
    }
}
