/*
 * Who uses which generation: real processes that announce, move, are killed.
 */

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "logkit.h"
#include "nuc_generation.h"
#include "sim.h"
#include "tap.h"

#define PROCESSES 12
#define MOVES     2000

typedef struct {
    pid_t pid;
    int orders;  /* a generation to move to */
    int answers; /* what that answered */
} process_t;

static char path[NUC_PATH_MAX];
static int file;

__attribute__((noreturn)) static void run_process(int orders, int answers)
{
    uint64_t generation;
    nuc_rc_t rc;
    nuc_reader_lock_t lock;

    /* a test that gives up leaves nobody behind */
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    rc = nuc_reader_lock_open(&nuc_sys_posix, path, &lock, NULL);

    while (write(answers, &rc, sizeof(rc)) == sizeof(rc) &&
           read(orders, &generation, sizeof(generation)) == sizeof(generation)) {
        rc = nuc_reader_lock_move(&lock, generation, NULL);
    }

    _exit(0);
}

static nuc_rc_t answer(const process_t *process)
{
    nuc_rc_t rc;

    return read(process->answers, &rc, sizeof(rc)) == sizeof(rc) ? rc : NUC_CLOSED;
}

static process_t start(void)
{
    int orders[2], answers[2];
    process_t process;

    if (pipe2(orders, O_CLOEXEC) == -1 || pipe2(answers, O_CLOEXEC) == -1) {
        exit(1);
    }

    fflush(stdout);
    process.pid = tap_fork();

    if (process.pid == 0) {
        close(orders[1]);
        close(answers[0]);
        run_process(orders[0], answers[1]);
    }

    close(orders[0]);
    close(answers[1]);
    process.orders = orders[1];
    process.answers = answers[0];

    return process;
}

static nuc_rc_t move(const process_t *process, uint64_t generation)
{
    if (write(process->orders, &generation, sizeof(generation)) != sizeof(generation)) {
        return NUC_CLOSED;
    }

    return answer(process);
}

static void stop(process_t *process, int sig)
{
    if (sig != 0) {
        kill(process->pid, sig);
    }

    close(process->orders);
    waitpid(process->pid, NULL, 0);
    close(process->answers);
}

static long long behind(uint64_t generation, pid_t *pids)
{
    size_t count;
    nuc_err_t err;

    if (nuc_readers_behind(file, generation, pids, PROCESSES, &count, &err) != NUC_OK) {
        diag("%s", err.message);
        return -1;
    }

    return (long long) count;
}

static int is_among(pid_t pid, const pid_t *pids, size_t count)
{
    while (count-- > 0) {
        if (pids[count] == pid) {
            return 1;
        }
    }

    return 0;
}

static void test_one(void)
{
    pid_t pids[PROCESSES];
    process_t process;
    nuc_reader_lock_t lock;
    nuc_err_t err;

    is_int(behind(100, pids), 0, "nobody");
    process = start();
    is_int(answer(&process), NUC_OK, "a process announces itself");
    is_int(behind(0, pids), 0, "nobody is before generation 0");
    is_int(behind(1, pids), 1, "it uses generation 0");
    is_int(pids[0], process.pid, "that is it");
    is_int(move(&process, 7), NUC_OK, "it moves to 7");
    is_int(behind(7, pids), 0, "it is not behind 7");
    is_int(behind(8, pids), 1, "it is behind 8");
    is_int(move(&process, 7), NUC_OK, "to the same once more");
    is_int(behind(8, pids), 1, "it is still seen");
    is_int(move(&process, 3), NUC_OK, "and back");
    is_int(behind(4, pids), 1, "as somebody may restore a registry");
    is_int(move(&process, 1ULL << 40), NUC_OK, "to a large one");
    is_int(behind(1ULL << 40, pids), 0, "it is there");
    is_int(behind((1ULL << 40) + 1, pids), 1, "no further");
    is_int(move(&process, 1ULL << 41), NUC_INVALID, "one that is too large");
    is_int(behind((1ULL << 40) + 1, pids), 1, "it stays");
    stop(&process, 0);
    is_int(behind((1ULL << 40) + 1, pids), 0, "it ends");

    is_int(nuc_reader_lock_open(&nuc_sys_posix, "/nowhere/x", &lock, &err), NUC_NOT_FOUND,
           "no file: %s", err.message);
}

static void test_several(void)
{
    unsigned i, right = 0;
    size_t all = 0;
    long long count;
    pid_t pids[PROCESSES];
    process_t processes[PROCESSES];

    for (i = 0; i < PROCESSES; i++) {
        processes[i] = start();
        answer(&processes[i]);
    }

    /* each at another generation, the youngest at the least */
    for (i = 0; i < PROCESSES; i++) {
        right += move(&processes[i], 100 - i) == NUC_OK;
    }

    is_int(right, PROCESSES, "several, each with a generation of its own");

    for (i = 0, right = 0; i < PROCESSES; i++) {
        count = behind(100 - i, pids);
        right += count == PROCESSES - 1 - i &&
                 !is_among(processes[i].pid, pids, (size_t) count) &&
                 (count == 0 || is_among(processes[i + 1].pid, pids, (size_t) count));
    }

    is_int(right, PROCESSES, "those that are behind, and no others");

    stop(&processes[PROCESSES - 1], SIGKILL);
    count = behind(1000, pids);
    is_int(count, PROCESSES - 1, "one that is killed is behind nothing");
    ok(!is_among(processes[PROCESSES - 1].pid, pids, (size_t) count), "it is gone");

    for (i = 0; i < PROCESSES - 1; i++) {
        move(&processes[i], 500);
    }

    is_int(behind(501, pids), PROCESSES - 1, "all at one generation");
    is_int(behind(500, pids), 0, "have it");

    nuc_readers_behind(file, 501, pids, 2, &all, NULL);
    is_int((long long) all, PROCESSES - 1, "more than there is room for are counted");

    for (i = 0; i < PROCESSES - 1; i++) {
        stop(&processes[i], SIGKILL);
    }

    is_int(behind(501, pids), 0, "all end");
}

/* However often we look, a process that moves is behind a generation it never reaches. */
static void test_no_gap(void)
{
    uint64_t generation;
    unsigned looks = 0, unseen = 0;
    pid_t pids[PROCESSES];
    process_t process = start();

    answer(&process);

    for (generation = 1; generation <= MOVES; generation++) {
        if (write(process.orders, &generation, sizeof(generation)) !=
            sizeof(generation)) {
            break;
        }

        /* between two looks at offsets it may pass: then it has the newer one */
        unseen += behind(generation + 1, pids) < 1;
        looks++;
        unseen += answer(&process) != NUC_OK;
    }

    is_int(looks, MOVES, "a process moves %u times", MOVES);
    is_int(unseen, 0, "and is never unseen");
    stop(&process, 0);
}

int main(void)
{
    char top[NUC_PATH_MAX];

    kit_temp_dir(top);
    nuc_path_join(path, top, "snapshot.readers", NULL);
    file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0640);
    close(file);
    chmod(path, 0440);
    file = open(path, O_RDONLY | O_CLOEXEC);

    test_one();
    test_several();
    test_no_gap();

    close(file);
    sim_remove_tree(top);

    return tap_done();
}
