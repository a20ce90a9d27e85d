/*
 * The file that says when keys were last used: newest wins, whoever writes, whatever is
 * there.
 */

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

#include "nuc_fs.h"
#include "nuc_last_used.h"
#include "tap.h"

static char dir[] = "/tmp/nucleus-last-used-XXXXXX";

static void holds(const char *expected, const char *what)
{
    char text[512] = "";
    size_t len = 0;
    nuc_last_used_t *uses = NULL;
    size_t n = 0;

    is_int(nuc_last_used_read(&nuc_sys_posix, dir, &uses, &n, NULL), NUC_OK, "%s: read",
           what);

    for (size_t i = 0; i < n; i++) {
        len += (size_t) snprintf(text + len, sizeof(text) - len, "%llu=%llu ",
                                 (unsigned long long) uses[i].id,
                                 (unsigned long long) uses[i].seconds);
        ok(nuc_last_used_find(uses, n, uses[i].id) == uses[i].seconds, "%s: found", what);
    }

    ok(nuc_last_used_find(uses, n, 9) == 0, "%s: what is not there is not found", what);

    free(uses);
    is_str(text, expected, "%s", what);
}

static nuc_rc_t merge(const nuc_last_used_t *uses, size_t n)
{
    return nuc_notes_merge(&nuc_sys_posix, &nuc_last_used_notes, dir, uses, n, NULL);
}

static void put(const char *text)
{
    char path[NUC_PATH_MAX];
    FILE *file;

    nuc_path_join(path, dir, NUC_LAST_USED_FILE, NULL);
    file = fopen(path, "w");
    ok(file != NULL && fputs(text, file) >= 0 && fclose(file) == 0, "a file by hand");
}

/* Two processes that write at once, each until its turn has come. */
static void both_write(void)
{
    enum {
        ROUNDS = 50
    };
    pid_t pid = tap_fork();
    int status = 0, done = 0;
    uint64_t id = pid == 0 ? 100 : 200;

    for (uint64_t i = 0; i < ROUNDS; i++) {
        nuc_last_used_t use = {id + i, 5};
        nuc_rc_t rc;

        do {
            rc = merge(&use, 1);
        } while (rc == NUC_BUSY);
        done += rc == NUC_OK;
    }

    if (pid == 0) {
        _exit(done == ROUNDS ? 0 : 1);
    }

    waitpid(pid, &status, 0);
    ok(done == ROUNDS && status == 0, "two processes write");

    nuc_last_used_t *uses = NULL;
    size_t n = 0;

    is_int(nuc_last_used_read(&nuc_sys_posix, dir, &uses, &n, NULL), NUC_OK,
           "and it is read");
    is_int((long long) n, 2 * ROUNDS, "nothing of one is lost by the other");
    free(uses);
}

int main(void)
{
    if (mkdtemp(dir) == NULL) {
        return 1;
    }

    holds("", "no file");

    nuc_last_used_t first[] = {{7, 10}, {3, 20}, {7, 12}, {7, 11}};

    is_int(merge(first, 4), NUC_OK, "merge");
    holds("3=20 7=12 ", "the newest of each, by id");

    nuc_last_used_t second[] = {{7, 5}, {3, 21}, {1, 1}};

    is_int(merge(second, 3), NUC_OK, "merge again");
    holds("1=1 3=21 7=12 ", "an older use does not replace a newer");
    is_int(merge(NULL, 0), NUC_OK, "nothing to merge");

    char lock[NUC_PATH_MAX];

    nuc_path_join(lock, dir, NUC_LAST_USED_FILE ".lock", NULL);

    int fd = open(lock, O_RDWR);

    ok(fd != -1 && flock(fd, LOCK_EX) == 0, "somebody holds the lock");
    is_int(merge(second, 3), NUC_BUSY, "then it is busy");
    close(fd);

    put("000000000001 7\nnonsense\n000000000002 x\n000000000003\n\n00000000000u "
        "4\n000000000004 8");
    holds("1=7 4=8 ", "lines that cannot be read are left out");

    put("");
    both_write();

    is_int(nuc_notes_merge(&nuc_sys_posix, &nuc_last_used_notes, "/nonexistent", second,
                           3, NULL),
           NUC_IO, "no directory");

    char command[128];

    snprintf(command, sizeof(command), "rm -rf %s", dir);
    ok(system(command) == 0, "tidied");

    return tap_done();
}
