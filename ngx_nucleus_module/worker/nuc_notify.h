/*
 * What a service manager is told, as sd_notify(3) defines it: a datagram of NAME=VALUE
 * lines to the socket in $NOTIFY_SOCKET.  Where there is none, nothing is said.
 */

#ifndef NUC_NOTIFY_H
#define NUC_NOTIFY_H

#include <stdint.h>
#include <sys/un.h>

#include "nuc_err.h"

typedef struct {
    int fd; /* -1: nobody is to be told */
    struct sockaddr_un address;
    unsigned address_len; /* bytes */
    uint64_t watchdog; /* µs from one sign of life to the next, or 0: none is wanted */
} nuc_notify_t;

/*
 * Takes the variables out of the environment: they are meant for this process alone.
 * After an error nobody is told.
 */
nuc_rc_t nuc_notify_open(nuc_notify_t *notify, nuc_err_t *err);

nuc_rc_t nuc_notify_send(const nuc_notify_t *notify, const char *lines, nuc_err_t *err);

void nuc_notify_close(nuc_notify_t *notify);

#endif /* NUC_NOTIFY_H */
