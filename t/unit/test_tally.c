/*
 * Counts of a day: exact, whoever takes at the same time, and whoever is killed.
 */

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include "nuc_tally.h"
#include "tap.h"

#define SIZE    8192
#define SET     ((size_t) 8 * 16) /* bytes */
#define HEAD    64
#define CLAIMED 1
#define WORKERS 4
#define DAY     20000

static void *shared(size_t size)
{
    void *memory =
        mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    if (memory == MAP_FAILED) {
        abort();
    }

    return memory;
}

static nuc_tally_table_t *make_table(void *memory, size_t sets)
{
    static const uint64_t key[2] = {1, 2};

    return nuc_tally_init(memory, HEAD + sets * SET, key);
}

/* In a table of one set: its tag, and behind it the word. */
static uint64_t *find_word(void *memory, uint64_t tag)
{
    size_t i;
    uint64_t *way = (void *) ((char *) memory + HEAD);

    for (i = 0; i < NUC_TALLY_WAYS; i++) {
        if (__atomic_load_n(&way[2 * i], __ATOMIC_SEQ_CST) == tag) {
            return &way[2 * i];
        }
    }

    return NULL;
}

static long long count_of(nuc_tally_table_t *table, uint64_t tag)
{
    uint64_t day;

    return (long long) nuc_tally_look(table, tag, &day);
}

static void test_init(void)
{
    char *memory = shared(SIZE);
    static const uint64_t key[2] = {1, 2}, other[2] = {1, 3};
    nuc_tally_table_t *table;
    uint64_t tag;

    ok(nuc_tally_init(memory, HEAD + SET - 1, key) == NULL, "no room for a set");
    ok(nuc_tally_init(memory + 8, HEAD + SET + 8, key) == NULL, "nor behind a gap");
    table = nuc_tally_init(memory, HEAD + 3 * SET + 5, key);
    is_int((long long) nuc_tally_capacity(table), 24, "three sets");

    tag = nuc_tally_tag(table, NUC_STR("north"));
    ok(tag == nuc_tally_tag(table, NUC_STR("north")) &&
           tag != nuc_tally_tag(table, NUC_STR("south")),
       "a tag stands for a name");
    table = nuc_tally_init(memory, SIZE, other);
    ok(tag != nuc_tally_tag(table, NUC_STR("north")), "and depends on the key");
    munmap(memory, SIZE);
}

static void test_take(void)
{
    char *memory = shared(SIZE);
    nuc_tally_table_t *table = make_table(memory, 1);
    nuc_tally_answer_t a;
    uint64_t day;

    is_int(nuc_tally_take(table, 5, 7, 10, DAY, &a), NUC_OK, "taken");
    ok(a.count == 7 && a.left == 3 && a.day == DAY, "7 of 10");
    is_int(nuc_tally_take(table, 5, 4, 10, DAY, &a), NUC_AGAIN, "4 don't fit");
    ok(a.count == 7 && a.left == 3, "3 would");
    is_int(nuc_tally_take(table, 5, 11, 10, DAY, &a), NUC_TOO_LARGE, "11 never do");
    is_int((long long) a.left, 3, "3 would");
    is_int(nuc_tally_take(table, 5, 3, 10, DAY, &a), NUC_OK, "to the last");
    is_int(nuc_tally_take(table, 5, 1, 10, DAY, &a), NUC_AGAIN, "and not one more");
    is_int((long long) a.left, 0, "nothing fits");
    is_int(nuc_tally_take(table, 5, 1, 4, DAY, &a), NUC_AGAIN, "a quota made smaller");
    is_int((long long) a.left, 0, "has nothing left");
    is_int(nuc_tally_take(table, 5, 10, 20, DAY, &a), NUC_OK, "one made larger has");
    is_int(nuc_tally_take(table, 6, 10, 10, DAY, &a), NUC_OK, "another has its own");

    is_int(nuc_tally_take(table, 5, 9, 10, DAY + 1, &a), NUC_OK, "a new day");
    ok(a.count == 9 && a.day == DAY + 1, "starts at what is taken");
    is_int(nuc_tally_take(table, 5, 2, 10, DAY, &a), NUC_AGAIN, "who is late");
    ok(a.left == 1 && a.day == DAY + 1, "counts on the new day");
    is_int(nuc_tally_take(table, 5, 1, 10, DAY, &a), NUC_OK, "if it fits");
    is_int((long long) nuc_tally_look(table, 5, &day), 10, "10");
    is_int((long long) day, DAY + 1, "on the new day");
    is_int(nuc_tally_take(table, 5, 3, 10, DAY - 1, &a), NUC_OK, "a clock set right");
    ok(a.count == 3 && a.day == DAY - 1, "starts anew");

    is_int(nuc_tally_take(table, 9, 5, 9, NUC_TALLY_DAYS - 2, &a), NUC_OK,
           "the last day");
    is_int(nuc_tally_take(table, 9, 5, 9, NUC_TALLY_DAYS - 2, &a), NUC_AGAIN, "counts");
    is_int(nuc_tally_take(table, 9, 5, 9, 1, &a), NUC_OK, "then the first again");
    ok(a.count == 5 && a.day == 1, "starts anew");

    is_int(nuc_tally_take(table, 7, NUC_TALLY_MAX, UINT64_MAX, DAY, &a), NUC_OK, "a lot");
    is_int(nuc_tally_take(table, 7, 1, UINT64_MAX, DAY, &a), NUC_AGAIN, "is a lot");
    is_int(nuc_tally_take(table, 7, UINT64_MAX, UINT64_MAX, DAY, &a), NUC_TOO_LARGE,
           "as many as can be said");
    ok(a.count == NUC_TALLY_MAX && a.day == DAY, "all is as it was");
    is_int((long long) nuc_tally_look(table, 8, &day), 0, "nothing is known");
    is_int((long long) day, 0, "of who took nothing");
    munmap(memory, SIZE);
}

static void test_give(void)
{
    char *memory = shared(SIZE);
    nuc_tally_table_t *table = make_table(memory, 1);
    nuc_tally_answer_t a;

    nuc_tally_take(table, 5, 7, 10, DAY, &a);
    nuc_tally_give(table, 5, 3, DAY);
    is_int(count_of(table, 5), 4, "given back");
    nuc_tally_give(table, 5, 9, DAY);
    is_int(count_of(table, 5), 0, "not below none");
    nuc_tally_take(table, 5, 7, 10, DAY + 1, &a);
    nuc_tally_give(table, 5, 7, DAY);
    is_int(count_of(table, 5), 7, "what was another day's is gone");
    nuc_tally_give(table, 6, 7, DAY);
    ok(find_word(memory, 6) == NULL, "to one that is not there nothing is given");

    is_int(nuc_tally_raise(table, 5, 9, DAY + 1), NUC_OK, "raised");
    is_int(count_of(table, 5), 9, "to 9");
    nuc_tally_raise(table, 5, 8, DAY + 1);
    is_int(count_of(table, 5), 9, "and not lowered");
    nuc_tally_raise(table, 5, 8, DAY + 2);
    is_int(count_of(table, 5), 8, "on another day it is");
    nuc_tally_raise(table, 6, 1, DAY);
    is_int(count_of(table, 6), 1, "one that was not there");
    munmap(memory, SIZE);
}

static void test_places(void)
{
    char *memory = shared(SIZE);
    nuc_tally_table_t *table = make_table(memory, 1);
    nuc_tally_answer_t a;
    uint64_t i, *word;
    int lost;

    for (i = 0; i < NUC_TALLY_WAYS; i++) {
        nuc_tally_take(table, 10 + i, 1 + i, 10, DAY, &a);
    }

    is_int((long long) nuc_tally_missed(table), 0, "there was room");
    is_int(nuc_tally_take(table, 5, 1, 10, DAY, &a), NUC_FULL, "there is none");
    is_int(nuc_tally_raise(table, 5, 1, DAY), NUC_FULL, "for this neither");
    is_int((long long) nuc_tally_missed(table), 2, "which is told");

    for (i = 0, lost = 0; i < NUC_TALLY_WAYS; i++) {
        lost += count_of(table, 10 + i) != (long long) (1 + i);
    }

    is_int(lost, 0, "and nobody lost a thing");

    nuc_tally_take(table, 10, 1, 10, DAY + 2, &a);
    is_int(nuc_tally_take(table, 5, 1, 10, DAY + 2, &a), NUC_OK,
           "on a new day there is room");
    ok(find_word(memory, 10) != NULL && find_word(memory, 11) == NULL,
       "the place of one who did not send on it");
    is_int((long long) a.count, 1, "whose count is not taken over");

    for (i = 0; i < NUC_TALLY_WAYS - 2; i++) {
        word = find_word(memory, 12 + i);
        word[0] = CLAIMED;
    }

    for (i = 0; i < NUC_TALLY_WAYS - 2; i++) {
        is_int(nuc_tally_take(table, 20 + i, 1, 10, DAY + 2, &a), NUC_OK,
               "what the dead have claimed is taken over");
    }

    is_int(nuc_tally_take(table, 30, 1, 10, DAY + 2, &a), NUC_FULL, "to the last");
    munmap(memory, SIZE);
}

/* ---- killed at every instruction */

typedef struct {
    char *memory;
    char *copy;
    uint64_t tag;
    uint64_t before; /* of the tag */
    long count;
    int bad;
    int stuck;
} killed_t;

/* The child has gone one instruction further: what if it went no more? */
static void look_at(killed_t *k)
{
    nuc_tally_table_t *table = (void *) k->copy;
    nuc_tally_answer_t a;
    uint64_t i, n;

    memcpy(k->copy, k->memory, SIZE);

    /* the first is the one of the day before */
    for (i = 1; i < NUC_TALLY_WAYS; i++) {
        n = (uint64_t) count_of(table, 10 + i);
        k->bad += n != 1 + i && !(10 + i == k->tag && n == 1 + i + 3);
    }

    alarm(20);
    k->stuck += nuc_tally_take(table, k->tag, 1, 100, DAY, &a) != NUC_OK;
    k->bad += a.count != k->before + 1 && a.count != k->before + 4;
    alarm(0);
}

/* -1: there is no ptrace here. */
static int step_through(killed_t *k, nuc_tally_table_t *table)
{
    int status;
    nuc_tally_answer_t a;
    pid_t pid = tap_fork();

    if (pid == 0) {
        if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0) {
            _exit(2);
        }

        raise(SIGSTOP);
        nuc_tally_take(table, k->tag, 3, 100, DAY, &a);
        _exit(0);
    }

    while (waitpid(pid, &status, 0) == pid && WIFSTOPPED(status)) {
        look_at(k);
        k->count++;

        if (ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL) != 0) {
            kill(pid, SIGKILL);
        }
    }

    return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -1;
}

static void test_killed(const char *name, uint64_t tag, uint64_t before)
{
    char *memory = shared(2 * SIZE);
    killed_t k = {.memory = memory, .copy = memory + SIZE, .tag = tag, .before = before};
    nuc_tally_table_t *table = make_table(memory, 1);
    nuc_tally_answer_t a;
    uint64_t i;

    for (i = 0; i < NUC_TALLY_WAYS; i++) {
        nuc_tally_take(table, 10 + i, 1 + i, 100, i == 0 ? DAY - 1 : DAY, &a);
    }

    if (step_through(&k, table) != 0) {
        ok(getenv("CI") == NULL, "killed in %s: no ptrace here", name);

    } else {
        is_int(count_of(table, tag), (long long) before + 3, "what %s does", name);
        ok(k.count > 50, "killed at each of its %ld instructions", k.count);
        is_int(k.bad, 0, "all or nothing is counted, and of nobody else");
        is_int(k.stuck, 0, "and all goes on");
    }

    munmap(memory, 2 * SIZE);
}

/* ---- many at once */

enum {
    QUOTA = 200000,
    N_MAX = 50
};

typedef struct {
    _Atomic uint64_t accepted[2];
    _Atomic uint64_t steps;
    _Atomic int stop;
    nuc_tally_table_t *table;
} crowd_t;

static void work(crowd_t *crowd, uint64_t random)
{
    unsigned which;
    uint64_t n, other, *way;
    nuc_tally_answer_t a;

    while (!atomic_load(&crowd->stop)) {
        random = random * 6364136223846793005ULL + 1442695040888963407ULL;
        which = random >> 40 & 1;
        n = 1 + (random >> 41) % N_MAX;

        if (nuc_tally_take(crowd->table, 100 + which, n, QUOTA, DAY, &a) == NUC_OK) {
            if (random >> 62 == 0) {
                nuc_tally_give(crowd->table, 100 + which, n, a.day);
            } else {
                atomic_fetch_add(&crowd->accepted[which], n);
            }
        }

        /* others come, and go as if their day were past */
        other = 1000 + (random >> 50) % 100;
        nuc_tally_take(crowd->table, other, n, QUOTA, DAY, &a);
        way = find_word(crowd->table, other);

        if (way != NULL) {
            __atomic_store_n(&way[1], 0, __ATOMIC_SEQ_CST);
        }

        atomic_fetch_add(&crowd->steps, 1);
    }
}

static crowd_t *crowd_create(void)
{
    crowd_t *crowd = shared(2 * SIZE);
    nuc_tally_answer_t a;
    unsigned i;

    crowd->table = make_table((char *) crowd + SIZE, 1);

    /* so that no two make one place */
    for (i = 0; i < 2; i++) {
        nuc_tally_take(crowd->table, 100 + i, 1, QUOTA, DAY, &a);
        atomic_store(&crowd->accepted[i], 1);
    }

    return crowd;
}

static int is_used_up(crowd_t *crowd)
{
    return count_of(crowd->table, 100) > QUOTA - N_MAX &&
           count_of(crowd->table, 101) > QUOTA - N_MAX;
}

/* "lost" takes, at most, were of processes that were killed. */
static void crowd_check(crowd_t *crowd, uint64_t lost, const char *name)
{
    unsigned i;
    uint64_t accepted, counted;

    for (i = 0; i < 2; i++) {
        accepted = atomic_load(&crowd->accepted[i]);
        counted = (uint64_t) count_of(crowd->table, 100 + i);

        ok(accepted <= counted && counted <= QUOTA, "%s: %llu counted, never too few",
           name, (unsigned long long) counted);
        ok(counted <= accepted + lost * N_MAX, "%s: nor more than the %llu taken", name,
           (unsigned long long) accepted);
    }
}

static void *thread_main(void *data)
{
    work(data, (uintptr_t) pthread_self());

    return NULL;
}

static void test_threads(void)
{
    crowd_t *crowd = crowd_create();
    pthread_t threads[WORKERS];
    size_t i;

    for (i = 0; i < WORKERS; i++) {
        if (pthread_create(&threads[i], NULL, thread_main, crowd) != 0) {
            abort();
        }
    }

    alarm(120);

    while (!is_used_up(crowd)) {
        usleep(1000);
    }

    alarm(0);
    atomic_store(&crowd->stop, 1);

    for (i = 0; i < WORKERS; i++) {
        pthread_join(threads[i], NULL);
    }

    crowd_check(crowd, 0, "threads");
    munmap(crowd, 2 * SIZE);
}

static pid_t start_worker(crowd_t *crowd)
{
    pid_t pid = tap_fork();

    if (pid == 0) {
        work(crowd, (uint64_t) getpid() * 7919);
        _exit(0);
    }

    return pid;
}

static void test_processes(void)
{
    crowd_t *crowd = crowd_create();
    pid_t pids[WORKERS];
    uint64_t kills, before;
    size_t i;
    int status, failed = 0;

    for (i = 0; i < WORKERS; i++) {
        pids[i] = start_worker(crowd);
    }

    alarm(120); /* nothing may stand still */

    for (kills = 0; kills < 200 || !is_used_up(crowd); kills++) {
        usleep((useconds_t) (kills * 7919 % 2000));
        i = kills % WORKERS;
        kill(pids[i], SIGKILL);
        waitpid(pids[i], &status, 0);

        before = atomic_load(&crowd->steps);
        pids[i] = start_worker(crowd);

        while (atomic_load(&crowd->steps) == before) {
            usleep(50);
        }
    }

    atomic_store(&crowd->stop, 1);

    for (i = 0; i < WORKERS; i++) {
        waitpid(pids[i], &status, 0);
        failed += !WIFEXITED(status) || WEXITSTATUS(status) != 0;
    }

    alarm(0);
    is_int(failed, 0, "%llu are killed, the others go on and end",
           (unsigned long long) kills);
    crowd_check(crowd, kills, "processes");
    munmap(crowd, 2 * SIZE);
}

int main(void)
{
    test_init();
    test_take();
    test_give();
    test_places();
    test_killed("a take", 13, 4);
    test_killed("a take that makes a place", 999, 0);
    test_threads();
    test_processes();

    return tap_done();
}
