#include "nuc_log_holder.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#define NUC_LOG_LOCKS     "/proc/locks"
#define NUC_LOG_LOCKS_MAX (1u << 20) /* bytes */

nuc_rc_t nuc_log_read_locks(const nuc_sys_t *sys, nuc_buf_t *locks, nuc_err_t *err)
{
    int fd;
    size_t got;
    nuc_rc_t rc;
    uint8_t *room;

    nuc_buf_reset(locks);
    fd = sys->open(sys, NUC_LOG_LOCKS, O_RDONLY, 0);

    if (fd == -1) {
        return nuc_err_sys(err, NUC_IO, errno, "open of \"%s\" failed", NUC_LOG_LOCKS);
    }

    room = nuc_buf_reserve(locks, NUC_LOG_LOCKS_MAX + 1);

    if (room == NULL) {
        rc = nuc_err_set(err, NUC_NOMEM, "no memory for the list of locks");
    } else {
        rc = nuc_sys_read_all(sys, fd, room, NUC_LOG_LOCKS_MAX, 0, &got, err);
    }

    sys->close(sys, fd);

    if (rc == NUC_OK) {
        locks->len = got;
        locks->data[got] = '\0';
    }

    return rc;
}

/* "1: FLOCK  ADVISORY  WRITE 123 08:01:456 0 EOF" */
long nuc_log_holder(const nuc_buf_t *locks, const struct stat *st)
{
    static const char lock[] = "FLOCK  ADVISORY  WRITE ";
    long pid;
    char *end;
    const char *line, *inode;

    line = strstr((const char *) locks->data, lock);

    while (line != NULL) {
        line += sizeof(lock) - 1;
        pid = strtol(line, &end, 10);
        inode = strchr(end, ':');
        inode = inode == NULL ? NULL : strchr(inode + 1, ':');

        if (inode != NULL && strtoull(inode + 1, NULL, 10) == st->st_ino) {
            return pid > 0 ? pid : 1;
        }

        line = strstr(line, lock);
    }

    return 0;
}
