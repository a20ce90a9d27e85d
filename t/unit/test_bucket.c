/*
 * Buckets in shared memory: exact to the unit, whoever is replaced, killed or first.
 */

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "nuc_bucket.h"
#include "nuc_siphash.h"
#include "tap.h"

#define SECOND  1000000000ULL
#define CLAIMED 1 /* a tag, as in nuc_bucket.c */
#define WORKERS 4
#define N_MAX   50 /* units that a worker takes at once, at most */

typedef unsigned __int128 wide_t;

static const uint64_t key[2] = {1, 2};
static uint64_t seed = 88172645463325252ULL;

static uint64_t next_random(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;

    return seed;
}

static uint64_t now_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);

    return (uint64_t) ts.tv_sec * SECOND + (uint64_t) ts.tv_nsec;
}

static void *shared(size_t size)
{
    void *memory =
        mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    if (memory == MAP_FAILED) {
        abort();
    }

    return memory;
}

/* A table of so many sets. */
static nuc_bucket_table_t *make_table(void *memory, size_t sets)
{
    return nuc_bucket_init(memory, 64 + sets * 128, key);
}

static uint64_t *find_word(void *memory, size_t size, uint64_t tag)
{
    uint64_t *word = memory, *end = word + size / sizeof(*word);

    while (word < end && *word != tag) {
        word++;
    }

    return word < end ? word : NULL;
}

static void test_hash(void)
{
    uint8_t data[15];
    size_t i;
    const uint64_t k[2] = {0x0706050403020100ULL, 0x0f0e0d0c0b0a0908ULL},
                   zeros[2] = {0, 0};

    for (i = 0; i < sizeof(data); i++) {
        data[i] = (uint8_t) i;
    }

    /* as Rust has it; with a key of zeros, CPython's hash(bytes(range(15))) */
    ok(nuc_siphash(k, data, 0) == 0xabac0158050fc4dcULL, "SipHash of nothing");
    ok(nuc_siphash(k, data, 15) == 0xd320d86d2a519956ULL, "SipHash of 15 bytes");
    ok(nuc_siphash(k, data, 8) == 0x369095118d299a8eULL, "SipHash of a word");
    ok(nuc_siphash(zeros, data, 15) == 0xf30eb725bb91c9eaULL, "SipHash, key of zeros");
}

static void test_init(void)
{
    char *memory = shared(8192);

    ok(make_table(memory, 0) == NULL, "no room for a set");
    is_int(nuc_bucket_capacity(make_table(memory, 3)), 24, "3 sets are 24 buckets");
    is_int(nuc_bucket_capacity(nuc_bucket_init(memory + 8, 8192 - 8, key)), 63 * 8,
           "memory that is not aligned");
    munmap(memory, 8192);
}

static void test_tags(void)
{
    char *memory = shared(4096);
    nuc_bucket_table_t *table = make_table(memory, 1);
    nuc_bucket_limit_t a = {100, 50}, b = {100, 51}, c = {101, 50};
    uint64_t tag = nuc_bucket_tag(1, 7, &a);

    ok(tag == nuc_bucket_tag(1, 7, &a), "the same bucket");
    ok(tag != nuc_bucket_tag(2, 7, &a), "of another kind");
    ok(tag != nuc_bucket_tag(1, 8, &a), "another's");
    ok(tag != nuc_bucket_tag(1, 7, &b), "with another burst");
    ok(tag != nuc_bucket_tag(1, 7, &c), "with another rate");
    ok(nuc_bucket_name(table, nuc_str("a")) != nuc_bucket_name(table, nuc_str("b")),
       "names");
    munmap(memory, 4096);
}

/*
 * Beside a bucket of exact numbers: "level" is what it holds, in units / 10^9.  Ours may
 * be behind by a nanosecond's worth for each take since it was full.
 */
static void simulate(uint64_t rate, uint64_t burst, uint64_t step, uint64_t most)
{
    char *memory = shared(4096);
    nuc_bucket_table_t *table = make_table(memory, 1);
    nuc_bucket_limit_t limit = {rate, burst};
    nuc_bucket_answer_t answer, later;
    uint64_t tag = nuc_bucket_tag(1, 1, &limit);
    uint64_t start = 1000 * SECOND, now = start, n, passed;
    uint64_t wrong = 0, over = 0, waits = 0, refused = 0;
    wide_t level = (wide_t) burst * SECOND, behind = 0, taken = 0, exact;
    int i;
    nuc_rc_t rc;

    for (i = 0; i < 200000; i++) {
        passed = next_random() % step;
        now += passed;
        level += (wide_t) passed * rate;

        if (level >= (wide_t) burst * SECOND + behind) {
            level = (wide_t) burst * SECOND;
            behind = 0;
        }

        if (level > (wide_t) burst * SECOND) {
            level = (wide_t) burst * SECOND;
        }

        n = 1 + next_random() % most;
        rc = nuc_bucket_take(table, tag, &limit, n, now, &answer);

        if (rc == NUC_OK) {
            over += (wide_t) n * SECOND > level;
            level -= (wide_t) n * SECOND;
            taken += n;
            behind += rate;

        } else {
            refused++;
            waits += answer.wait == 0;
            rc = nuc_bucket_peek(table, tag, &limit, n, now + answer.wait, &later);
            waits += rc != NUC_OK || later.left < n || later.wait != 0;
            rc = nuc_bucket_peek(table, tag, &limit, n, now + answer.wait - 1, &later);
            waits += rc != NUC_AGAIN || later.wait != 1;
        }

        exact = level / SECOND;
        wrong += answer.left > exact;
        exact = level > behind ? (level - behind) / SECOND : 0;
        wrong += answer.left < exact;
        over += taken * SECOND > (wide_t) (now - start) * rate + (wide_t) burst * SECOND;
    }

    ok(taken > 0 && refused > 0, "%llu/s, burst %llu: some taken, some refused",
       (unsigned long long) rate, (unsigned long long) burst);
    is_int((long long) over, 0, "never more than rate and burst");
    is_int((long long) wrong, 0, "what is left is right");
    is_int((long long) waits, 0, "and so is how long to wait, to the nanosecond");
    munmap(memory, 4096);
}

static void test_exact(void)
{
    simulate(1, 1, 2 * SECOND, 1);
    simulate(3, 1, SECOND / 2, 1);
    simulate(100, 50, SECOND / 20, 10);
    simulate(7, 1000, SECOND, 20);
    simulate(20000, 50000, SECOND / 100, 1000);
    simulate(999999937, 1u << 20, 1000, 2000);
    simulate(NUC_BUCKET_MAX, 1u << 24, 100, 200000);
    simulate(NUC_BUCKET_MAX, NUC_BUCKET_MAX, SECOND, NUC_BUCKET_MAX);
}

static void test_edges(void)
{
    char *memory = shared(4096);
    nuc_bucket_table_t *table = make_table(memory, 1);
    nuc_bucket_limit_t slow = {1, NUC_BUCKET_MAX}, fast = {NUC_BUCKET_MAX, 10};
    nuc_bucket_limit_t wide = {NUC_BUCKET_MAX, NUC_BUCKET_MAX};
    nuc_bucket_answer_t a;
    uint64_t tag = 12345, now = (uint64_t) 1 << 62, most = (uint64_t) 1 << 32;

    is_int(nuc_bucket_take(table, tag, &slow, UINT64_MAX, now, &a), NUC_TOO_LARGE,
           "as many as can be said never fit");
    ok(a.wait == NUC_BUCKET_NEVER && a.left == most,
       "a burst counts up to what 2^32 s make");
    is_int(nuc_bucket_take(table, tag, &slow, most + 1, now, &a), NUC_TOO_LARGE,
           "and not more");
    is_int(nuc_bucket_take(table, tag, &slow, most, now, &a), NUC_OK, "which is taken");
    is_int((long long) a.left, 0, "all of it");
    is_int(nuc_bucket_take(table, tag, &slow, 1, now, &a), NUC_AGAIN, "nothing is left");
    is_int((long long) a.wait, (long long) SECOND, "for a second");
    is_int(nuc_bucket_peek(table, tag, &slow, most, now, &a), NUC_AGAIN, "nor as many");
    ok(a.wait == most * SECOND, "for 2^32 s");

    tag++;
    is_int(nuc_bucket_take(table, tag, &fast, 10, 0, &a), NUC_OK,
           "less than a nanosecond");
    is_int(nuc_bucket_take(table, tag, &fast, 10, 0, &a), NUC_AGAIN,
           "is a nanosecond's wait");
    is_int((long long) a.wait, 1, "at time 0");
    is_int(nuc_bucket_take(table, tag, &fast, 11, 0, &a), NUC_TOO_LARGE, "over it");

    tag++;
    is_int(nuc_bucket_take(table, tag, &wide, NUC_BUCKET_MAX, 5, &a), NUC_OK, "a lot");
    is_int(nuc_bucket_take(table, tag, &wide, 1, 5, &a), NUC_AGAIN, "is a lot");
    is_int(nuc_bucket_take(table, tag, &wide, NUC_BUCKET_MAX, 5 + SECOND, &a), NUC_OK,
           "for a second");

    tag++;
    is_int(nuc_bucket_take(table, tag, &fast, 0, 0, &a), NUC_OK,
           "nothing may always be had");
    ok(a.left == 10 && find_word(memory, 4096, tag) == NULL, "and makes no bucket");
    munmap(memory, 4096);
}

static void test_give(void)
{
    char *memory = shared(4096);
    nuc_bucket_table_t *table = make_table(memory, 1);
    nuc_bucket_limit_t limit = {10, 100};
    nuc_bucket_answer_t a;
    uint64_t t = 100 * SECOND;

    nuc_bucket_take(table, 5, &limit, 60, t, &a);
    nuc_bucket_give(table, 5, &limit, 20, t, t);
    nuc_bucket_peek(table, 5, &limit, 1, t, &a);
    is_int((long long) a.left, 60, "what is given back is there again");

    nuc_bucket_give(table, 5, &limit, 40, t, t);
    nuc_bucket_peek(table, 5, &limit, 1, t, &a);
    is_int((long long) a.left, 100, "all of it");

    nuc_bucket_take(table, 6, &limit, 100, t, &a);
    nuc_bucket_take(table, 6, &limit, 50, t + 5 * SECOND, &a);
    nuc_bucket_give(table, 6, &limit, 100, t, t + 5 * SECOND);
    nuc_bucket_peek(table, 6, &limit, 1, t + 5 * SECOND, &a);
    is_int((long long) a.left, 50, "but not what came of itself in the meantime");

    nuc_bucket_give(table, 6, &limit, 50, t + 5 * SECOND, t + 10 * SECOND);
    nuc_bucket_peek(table, 6, &limit, 1, t + 10 * SECOND, &a);
    is_int((long long) a.left, 100, "a bucket does not overflow");

    nuc_bucket_give(table, 7, &limit, 50, t, t);
    ok(find_word(memory, 4096, 7) == NULL, "to one that is gone nothing is given");
    munmap(memory, 4096);
}

static void test_eviction(void)
{
    char *memory = shared(4096);
    nuc_bucket_table_t *table = make_table(memory, 1);
    nuc_bucket_limit_t limit = {10, 100};
    nuc_bucket_answer_t a;
    uint64_t i, t = 100 * SECOND, refused = 0;

    /* the bucket of 100 has the most to lose */
    for (i = 0; i < NUC_BUCKET_WAYS; i++) {
        nuc_bucket_take(table, 100 - i, &limit, 80 - 10 * i, t, &a);
    }

    nuc_bucket_take(table, 50, &limit, 100, t + 2 * SECOND, &a);
    ok(a.left == 0 && find_word(memory, 4096, 93) == NULL,
       "a new bucket takes the place of one that is idle");

    nuc_bucket_take(table, 51, &limit, 100, t, &a);
    ok(find_word(memory, 4096, 94) == NULL && find_word(memory, 4096, 95) != NULL,
       "or of one that is full again soonest");

    for (i = 1000; i < 100000; i++) {
        refused += nuc_bucket_take(table, i, &limit, 100, t, &a) != NUC_OK;
    }

    is_int((long long) refused, 0, "nobody is refused because there is no room");
    is_int(nuc_bucket_take(table, i - 1, &limit, 1, t, &a), NUC_AGAIN,
           "the last of them is there");
    munmap(memory, 4096);
}

static void test_foreign(void)
{
    char *memory = shared(4096);
    nuc_bucket_table_t *table = make_table(memory, 1);
    nuc_bucket_limit_t limit = {10, 100};
    nuc_bucket_answer_t a;
    uint64_t *word, t = 100 * SECOND;
    size_t i;

    nuc_bucket_take(table, 5, &limit, 100, t, &a);
    word = find_word(memory, 4096, 5);

    word[1] = t + 15 * SECOND;
    is_int(nuc_bucket_peek(table, 5, &limit, 1, t, &a), NUC_AGAIN,
           "a charge by a clock that was read later counts");
    word[1] = t + 1000 * SECOND;
    is_int(nuc_bucket_take(table, 5, &limit, 1, t, &a), NUC_OK,
           "one that no take of this limit can have made does not");
    is_int((long long) a.left, 99, "the bucket is full");

    for (i = 0; i < NUC_BUCKET_WAYS; i++) {
        nuc_bucket_take(table, 100 + i, &limit, 100, t, &a);
        word = find_word(memory, 4096, 100 + i);
        word[0] = CLAIMED;
        word[1] = t + 5 * SECOND;
    }

    is_int(nuc_bucket_take(table, 7, &limit, 100, t, &a), NUC_OK,
           "what the dead have claimed is taken over");
    is_int(nuc_bucket_take(table, 7, &limit, 1, t, &a), NUC_AGAIN, "and works");
    munmap(memory, 4096);
}

/* ---- killed at every instruction */

typedef struct {
    char *memory; /* of the child's table, in which 8 buckets are */
    char *copy;   /* what a kill leaves */
    uint64_t tag;
    long count; /* instructions */
    int bad;
    int stuck;
} killed_t;

static const nuc_bucket_limit_t killed_limit = {10, 100};
static const uint64_t killed_at = 100 * SECOND;

/* The child has gone one instruction further: what if it went no more? */
static void look_at(killed_t *k)
{
    nuc_bucket_table_t *table = (void *) k->copy;
    const nuc_bucket_limit_t *limit = &killed_limit;
    nuc_bucket_answer_t a;
    uint64_t i, t = killed_at;

    memcpy(k->copy, k->memory, 4096);

    /* the way of the first is the one that is given up */
    for (i = 1; i < NUC_BUCKET_WAYS; i++) {
        nuc_bucket_peek(table, 10 + i, limit, 1, t, &a);
        k->bad += a.left != 80 - 10 * i && !(10 + i == k->tag && a.left == 70 - 10 * i);
    }

    alarm(20);
    k->stuck += nuc_bucket_take(table, 1000, limit, 100, t, &a) != NUC_OK;
    k->stuck += nuc_bucket_take(table, k->tag, limit, 1, t, &a) != NUC_OK;
    k->stuck += nuc_bucket_take(table, 1001, limit, 100, t, &a) != NUC_OK;
    alarm(0);
}

/* -1: there is no ptrace here. */
static int step_through(killed_t *k, nuc_bucket_table_t *table)
{
    int status;
    nuc_bucket_answer_t a;
    pid_t pid = tap_fork();

    if (pid == 0) {
        if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0) {
            _exit(2);
        }

        raise(SIGSTOP);
        nuc_bucket_take(table, k->tag, &killed_limit, 10, killed_at, &a);
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

/* In a full set: "tag" may be one that is there, or a new one. */
static void test_killed(const char *name, uint64_t tag)
{
    char *memory = shared(8192);
    killed_t k = {.memory = memory, .copy = memory + 4096, .tag = tag};
    nuc_bucket_table_t *table = make_table(memory, 1);
    nuc_bucket_answer_t a;
    uint64_t i;

    for (i = 0; i < NUC_BUCKET_WAYS; i++) {
        nuc_bucket_take(table, 10 + i, &killed_limit, 20 + 10 * i, killed_at, &a);
    }

    if (step_through(&k, table) != 0) {
        ok(getenv("CI") == NULL, "killed in %s: no ptrace here", name);

    } else {
        nuc_bucket_peek(table, tag, &killed_limit, 1, killed_at, &a);
        is_int((long long) a.left, tag == 999 ? 90 : 40, "what %s does", name);
        ok(k.count > 50, "killed at each of its %ld instructions", k.count);
        is_int(k.bad, 0, "it touches no bucket of others");
        is_int(k.stuck, 0, "and all goes on");
    }

    munmap(memory, 8192);
}

/* ---- many at once */

typedef struct {
    _Atomic uint64_t accepted[2]; /* units, of each hot bucket */
    _Atomic uint64_t takes;
    _Atomic uint64_t others; /* takes from buckets that come and go */
    _Atomic int stop;
    nuc_bucket_table_t *table;
} crowd_t;

static const nuc_bucket_limit_t hot[2] = {{20000, 20000}, {1000000, 1000000}};
static const nuc_bucket_limit_t cold = {1000, 10};

static uint64_t hot_tag(unsigned which)
{
    return nuc_bucket_tag(1, which, &hot[which]);
}

static void work(crowd_t *crowd, uint64_t random)
{
    unsigned which;
    uint64_t n, t;
    nuc_bucket_answer_t a;

    while (!atomic_load(&crowd->stop)) {
        random = random * 6364136223846793005ULL + 1442695040888963407ULL;
        which = random >> 40 & 1;
        n = 1 + (random >> 41) % N_MAX;
        t = now_ns();

        if (nuc_bucket_take(crowd->table, hot_tag(which), &hot[which], n, t, &a) ==
            NUC_OK) {
            if (random >> 60 == 0) {
                nuc_bucket_give(crowd->table, hot_tag(which), &hot[which], n, t,
                                now_ns());
            } else {
                atomic_fetch_add(&crowd->accepted[which], n);
            }

            atomic_fetch_add(&crowd->takes, 1);
        }

        if (nuc_bucket_take(crowd->table, nuc_bucket_tag(2, random, &cold), &cold, 1, t,
                            &a) == NUC_OK) {
            atomic_fetch_add(&crowd->others, 1);
        }
    }
}

static crowd_t *crowd_create(size_t sets)
{
    crowd_t *crowd = shared(65536);
    nuc_bucket_answer_t a;
    unsigned i;
    uint64_t t = now_ns();

    crowd->table = make_table((char *) crowd + 4096, sets);

    /* so that no two make one bucket, and it is the others that are replaced */
    for (i = 0; i < 2; i++) {
        nuc_bucket_take(crowd->table, hot_tag(i), &hot[i], hot[i].burst, t, &a);
        atomic_store(&crowd->accepted[i], hot[i].burst);
    }

    return crowd;
}

/* "lost" takes, at most, were of processes that were killed. */
static void crowd_check(crowd_t *crowd, uint64_t start, uint64_t lost, const char *name)
{
    unsigned i;
    uint64_t end = now_ns(), most, least, accepted;
    nuc_bucket_answer_t a;

    for (i = 0; i < 2; i++) {
        accepted = atomic_load(&crowd->accepted[i]);
        most = hot[i].burst + (uint64_t) ((wide_t) hot[i].rate * (end - start) / SECOND);
        nuc_bucket_peek(crowd->table, hot_tag(i), &hot[i], 1, end, &a);
        least = most * 98 / 100 - lost * N_MAX;

        ok(accepted <= most, "%s: %llu of %llu, never more", name,
           (unsigned long long) accepted, (unsigned long long) most);
        ok(accepted + a.left >= least, "%s: nor less than %llu", name,
           (unsigned long long) least);
    }
}

static void *thread_main(void *data)
{
    work(data, (uintptr_t) pthread_self());

    return NULL;
}

static void test_threads(void)
{
    crowd_t *crowd = crowd_create(4);
    pthread_t threads[WORKERS];
    uint64_t start = now_ns();
    size_t i;

    for (i = 0; i < WORKERS; i++) {
        if (pthread_create(&threads[i], NULL, thread_main, crowd) != 0) {
            abort();
        }
    }

    while (now_ns() < start + SECOND) {
        usleep(1000);
    }

    atomic_store(&crowd->stop, 1);

    for (i = 0; i < WORKERS; i++) {
        pthread_join(threads[i], NULL);
    }

    crowd_check(crowd, start, 0, "threads");
    munmap(crowd, 65536);
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
    crowd_t *crowd = crowd_create(4);
    pid_t pids[WORKERS];
    uint64_t start = now_ns(), kills = 0, before, since;
    size_t i;
    int status, stuck = 0;

    for (i = 0; i < WORKERS; i++) {
        pids[i] = start_worker(crowd);
    }

    while (now_ns() < start + 3 * SECOND) {
        usleep(next_random() % 3000);
        i = next_random() % WORKERS;
        kill(pids[i], SIGKILL);
        waitpid(pids[i], &status, 0);
        kills++;

        before = atomic_load(&crowd->others);
        pids[i] = start_worker(crowd);
        since = now_ns();

        while (atomic_load(&crowd->others) == before && now_ns() < since + 20 * SECOND) {
            usleep(50);
        }

        stuck += atomic_load(&crowd->others) == before;
    }

    atomic_store(&crowd->stop, 1);

    for (i = 0; i < WORKERS; i++) {
        waitpid(pids[i], &status, 0);
        stuck += !WIFEXITED(status) || WEXITSTATUS(status) != 0;
    }

    ok(kills > 20, "%llu processes are killed", (unsigned long long) kills);
    is_int(stuck, 0, "the others go on, and end");
    crowd_check(crowd, start, kills, "processes");
    munmap(crowd, 65536);
}

int main(void)
{
    test_hash();
    test_init();
    test_tags();
    test_exact();
    test_edges();
    test_give();
    test_eviction();
    test_foreign();
    test_killed("a take", 13);
    test_killed("a take that makes a bucket", 999);
    test_threads();
    test_processes();

    return tap_done();
}
