/*
 * The Unix socket of the local API.  PATH.lock says whose it is: it is held for as long
 * as the socket is listened on, so that a socket that a dead worker left is told from
 * that of a living one.  The lock's file stays.
 */

#ifndef NUC_API_SOCKET_H
#define NUC_API_SOCKET_H

#include "nuc_err.h"
#include "nuc_sys.h"

typedef struct {
    const nuc_sys_t *sys;
    const char *path;
    int fd; /* listens, does not block */
    int lock_fd;
} nuc_api_socket_t;

/*
 * "path" is not copied.  NUC_BUSY: another worker has it.  NUC_INVALID: another program
 * listens on it, or something is there that is no socket.  What is there then stays.
 */
nuc_rc_t nuc_api_socket_open(nuc_api_socket_t *s, const nuc_sys_t *sys, const char *path,
                             nuc_err_t *err);

/* Unlinks it.  "fd" is closed, unless that was done and it is -1. */
void nuc_api_socket_close(nuc_api_socket_t *s);

#endif /* NUC_API_SOCKET_H */
