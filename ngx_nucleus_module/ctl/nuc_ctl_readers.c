#include "nuc_ctl_readers.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

#include "nuc_generation.h"

nuc_rc_t nuc_readers_look(const nuc_sys_t *sys, const char *path, uint64_t generation,
                          nuc_readers_t *readers, nuc_err_t *err)
{
    int fd;
    nuc_rc_t rc;

    memset(readers, 0, sizeof(*readers));
    readers->generation = generation;
    fd = sys->open(sys, path, O_RDONLY, 0);

    if (fd == -1) {
        return nuc_err_sys(err, errno == ENOENT ? NUC_NOT_FOUND : NUC_IO, errno,
                           "open of \"%s\" failed", path);
    }

    /* first who is there, then who is behind: one that comes in between is counted as
     * behind */
    rc = nuc_readers_behind(fd, generation + 1, readers->pids, NUC_READERS_MAX,
                            &readers->total, err);

    if (rc == NUC_OK) {
        rc = nuc_readers_behind(fd, generation, readers->pids, NUC_READERS_MAX,
                                &readers->behind, err);
    }

    sys->close(sys, fd);

    if (readers->total < readers->behind) {
        readers->total = readers->behind;
    }

    return rc;
}

static void nuc_readers_name(pid_t pid, char name[32])
{
    int fd;
    size_t got = 0;
    char path[64];
    const nuc_sys_t *sys = &nuc_sys_posix;

    snprintf(path, sizeof(path), "/proc/%ld/comm", (long) pid);
    fd = sys->open(sys, path, O_RDONLY, 0);

    if (fd != -1) {
        (void) nuc_sys_read_all(sys, fd, name, 31, 0, &got, NULL);
        sys->close(sys, fd);
    }

    name[got] = '\0';
    name[strcspn(name, "\n")] = '\0';
}

void nuc_readers_describe(const nuc_readers_t *readers, nuc_buf_t *out)
{
    size_t i;
    char name[32];

    for (i = 0; i < readers->behind && i < NUC_READERS_MAX; i++) {
        nuc_readers_name(readers->pids[i], name);
        nuc_buf_printf(out, "%s%ld", i > 0 ? ", " : "", (long) readers->pids[i]);

        if (name[0] != '\0') {
            nuc_buf_printf(out, " (%s)", name);
        }
    }

    nuc_buf_char(out, '\0');
}
