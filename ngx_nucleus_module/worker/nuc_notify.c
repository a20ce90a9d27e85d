#include "nuc_notify.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define NUC_NOTIFY_SOCKET   "NOTIFY_SOCKET"
#define NUC_NOTIFY_WATCHDOG "WATCHDOG_USEC"
#define NUC_NOTIFY_PID      "WATCHDOG_PID"

static uint64_t nuc_notify_number(const char *name)
{
    const char *text = getenv(name);

    return text == NULL ? 0 : strtoull(text, NULL, 10);
}

/* Twice in the time that the manager waits; 0: it does not. */
static uint64_t nuc_notify_watchdog(void)
{
    uint64_t pid = nuc_notify_number(NUC_NOTIFY_PID);

    if (pid != 0 && pid != (uint64_t) getpid()) {
        return 0;
    }

    return nuc_notify_number(NUC_NOTIFY_WATCHDOG) / 2;
}

/* A path, or "@" and a name that is in no file system. */
static nuc_rc_t nuc_notify_address(nuc_notify_t *notify, const char *name, nuc_err_t *err)
{
    size_t len = strlen(name);

    if ((name[0] != '/' && name[0] != '@') || len >= sizeof(notify->address.sun_path)) {
        return nuc_err_set(err, NUC_INVALID,
                           "\"%.100s\" in " NUC_NOTIFY_SOCKET " is no socket", name);
    }

    notify->address.sun_family = AF_UNIX;
    memcpy(notify->address.sun_path, name, len + 1);
    notify->address_len = (unsigned) (offsetof(struct sockaddr_un, sun_path) + len);

    if (name[0] == '@') {
        notify->address.sun_path[0] = '\0';
    }

    return NUC_OK;
}

nuc_rc_t nuc_notify_open(nuc_notify_t *notify, nuc_err_t *err)
{
    nuc_rc_t rc = NUC_OK;
    const char *name = getenv(NUC_NOTIFY_SOCKET);

    memset(notify, 0, sizeof(*notify));
    notify->fd = -1;

    if (name != NULL) {
        rc = nuc_notify_address(notify, name, err);
        notify->watchdog = nuc_notify_watchdog();
    }

    unsetenv(NUC_NOTIFY_SOCKET);
    unsetenv(NUC_NOTIFY_WATCHDOG);
    unsetenv(NUC_NOTIFY_PID);

    if (name == NULL || rc != NUC_OK) {
        return rc;
    }

    notify->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    return notify->fd != -1
               ? NUC_OK
               : nuc_err_sys(err, NUC_IO, errno, "socket to the service manager failed");
}

nuc_rc_t nuc_notify_send(const nuc_notify_t *notify, const char *lines, nuc_err_t *err)
{
    ssize_t n;

    if (notify->fd == -1) {
        return NUC_OK;
    }

    do {
        n = sendto(notify->fd, lines, strlen(lines), MSG_NOSIGNAL,
                   (const struct sockaddr *) &notify->address, notify->address_len);
    } while (n == -1 && errno == EINTR);

    return n != -1
               ? NUC_OK
               : nuc_err_sys(err, NUC_IO, errno, "message to the service manager failed");
}

void nuc_notify_close(nuc_notify_t *notify)
{
    if (notify->fd != -1) {
        close(notify->fd);
        notify->fd = -1;
    }
}
