/*
 * Counters by tenant and stream: exact among processes, through kills, and when there is
 * no more room.
 */

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "nuc_series.h"
#include "tap.h"

#define SIZE      (256 * 1024)
#define PROCESSES 4
#define ROUNDS    50000
#define NAMES     200

static const uint64_t key[2] = {0x0706050403020100u, 0x0f0e0d0c0b0a0908u};

static void *shared(size_t size)
{
    void *memory =
        mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    if (memory == MAP_FAILED) {
        abort();
    }

    return memory;
}

static int is_named(nuc_series_t *series, const char *tenant, const char *stream)
{
    return nuc_str_eq((nuc_str_t){series->tenant, series->tenant_len}, nuc_str(tenant)) &&
           nuc_str_eq((nuc_str_t){series->stream, series->stream_len}, nuc_str(stream));
}

static void test_get(void)
{
    char longest[NUC_NAME_MAX + 1];
    void *memory = shared(SIZE);
    nuc_series_table_t *table;
    nuc_series_t *a, *b;

    ok(nuc_series_init(memory, 100, key) == NULL, "no room");
    table = nuc_series_init(memory, SIZE, key);
    ok(table != NULL && nuc_series_count(table) > SIZE / 300, "places");
    ok(is_named(nuc_series_at(table, 0), "_other", "_other"), "one for the others");
    ok(nuc_series_at(table, 1) == NULL, "a free one");

    a = nuc_series_get(table, NUC_STR("north"), NUC_STR("json"));
    ok(a != nuc_series_at(table, 0) && is_named(a, "north", "json"), "a series");
    ok(nuc_series_get(table, NUC_STR("north"), NUC_STR("json")) == a, "is found again");
    b = nuc_series_get(table, NUC_STR("northj"), NUC_STR("son"));
    ok(b != a && is_named(b, "northj", "son"), "names don't run together");
    ok(is_named(nuc_series_get(table, NUC_STR(""), NUC_STR("")), "", ""), "no names");

    memset(longest, 'x', NUC_NAME_MAX);
    longest[NUC_NAME_MAX] = '\0';
    ok(is_named(nuc_series_get(table, nuc_str(longest), nuc_str(longest)), longest,
                longest),
       "long names");

    nuc_series_add(a, 3, 5);
    nuc_series_add(a, 3, 2);
    is_int((long long) nuc_series_look(a, 3), 7, "counted");
    is_int((long long) nuc_series_look(a, 4), 0, "alone");
    munmap(memory, SIZE);
}

static void count_all(nuc_series_table_t *table, unsigned rounds)
{
    unsigned i;
    char tenant[16], stream[16];

    for (i = 0; i < rounds; i++) {
        snprintf(tenant, sizeof(tenant), "t%u", i % NAMES);
        snprintf(stream, sizeof(stream), "s%u", i % 7);
        nuc_series_add(nuc_series_get(table, nuc_str(tenant), nuc_str(stream)), 1, 1);
    }
}

static uint64_t sum(nuc_series_table_t *table, size_t *used)
{
    size_t i, j;
    uint64_t all = 0;
    nuc_series_t *series, *other;

    *used = 0;

    for (i = 0; i < nuc_series_count(table); i++) {
        series = nuc_series_at(table, i);

        if (series == NULL) {
            continue;
        }

        all += nuc_series_look(series, 1);
        (*used)++;

        for (j = 0; j < i; j++) {
            other = nuc_series_at(table, j);
            if (other != NULL && other->tag == series->tag) {
                diag("twice: %.*s", series->tenant_len, series->tenant);
                return 0;
            }
        }
    }

    return all;
}

static void test_processes(void)
{
    int i, round;
    size_t used;
    pid_t pids[PROCESSES];
    void *memory = shared(2 * SIZE);
    nuc_series_table_t *table = nuc_series_init(memory, 2 * SIZE, key);

    for (i = 0; i < PROCESSES; i++) {
        pids[i] = tap_fork();
        if (pids[i] == 0) {
            count_all(table, ROUNDS);
            _exit(0);
        }
    }

    for (i = 0; i < PROCESSES; i++) {
        waitpid(pids[i], NULL, 0);
    }

    is_int((long long) sum(table, &used), PROCESSES * ROUNDS,
           "processes: all is counted");
    is_int((long long) used, NAMES * 7 + 1, "once for each pair of names");

    /* whatever a killed one leaves, others go on, and make the same of it */
    for (round = 0; round < 50; round++) {
        memset(memory, 0, 2 * SIZE);
        table = nuc_series_init(memory, 2 * SIZE, key);
        pids[0] = tap_fork();
        if (pids[0] == 0) {
            count_all(table, 1000000000);
            _exit(0);
        }
        usleep((unsigned) (round * 40));
        kill(pids[0], SIGKILL);
        waitpid(pids[0], NULL, 0);
        count_all(table, NAMES * 7);
        if (sum(table, &used) < NAMES * 7 || used != NAMES * 7 + 1) {
            break;
        }
    }

    is_int(round, 50, "killed ones leave nothing that others stumble over");
    munmap(memory, 2 * SIZE);
}

/* Killed between taking the place and naming it. */
static void test_unnamed(void)
{
    void *memory = shared(SIZE);
    nuc_series_table_t *table = nuc_series_init(memory, SIZE, key);
    nuc_series_t *a = nuc_series_get(table, NUC_STR("north"), NUC_STR("json"));

    atomic_store(&a->named, 0);
    memset(a->tenant, 0, sizeof(a->tenant));
    ok(nuc_series_get(table, NUC_STR("north"), NUC_STR("json")) == a &&
           is_named(a, "north", "json"),
       "the next one names it");
    munmap(memory, SIZE);
}

static void test_full(void)
{
    size_t used, i, places;
    char name[16];
    void *memory = shared(16 * 1024);
    nuc_series_table_t *table = nuc_series_init(memory, 16 * 1024, key);

    places = nuc_series_count(table);

    for (i = 0; i < 1000; i++) {
        snprintf(name, sizeof(name), "t%zu", i);
        nuc_series_add(nuc_series_get(table, nuc_str(name), NUC_STR("json")), 1, 1);
    }

    is_int((long long) sum(table, &used), 1000, "full: all is counted");
    is_int((long long) used, (long long) places, "in every place");
    ok(nuc_series_look(nuc_series_at(table, 0), 1) == 1000 - (places - 1),
       "the rest among the others");
    munmap(memory, 16 * 1024);
}

int main(void)
{
    test_get();
    test_processes();
    test_unnamed();
    test_full();

    return tap_done();
}
