/*
 * The store of the registry: values, changes, what is refused and leaves nothing, what is
 * published when disks fail and the power goes.
 */

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "logkit.h"
#include "nuc_ctl_readers.h"
#include "nuc_ctl_secret.h"
#include "nuc_generation.h"
#include "nuc_registry.h"
#include "nuc_time.h"
#include "nuc_watch.h"
#include "sim.h"
#include "tap.h"

#define NOW 1800000000 /* seconds */

static const nuc_registry_actor_t actor = {"tester (0)", "local"};

static char top[NUC_PATH_MAX];
static char path[NUC_PATH_MAX];
static nuc_err_t err;
static long long last; /* generation of the registry at hand */

static void shell(const char *command)
{
    if (chdir(top) == -1 || system(command) != 0) {
        diag("%s failed", command);
        exit(1);
    }
}

/* ---- values */

static void test_networks(void)
{
    static const struct {
        const char *in, *out;
    } good[] = {
        {"10.0.0.0/8", "10.0.0.0/8"},
        {"127.0.0.1", "127.0.0.1/32"},
        {"0.0.0.0/0", "0.0.0.0/0"},
        {"::/0", "::/0"},
        {"2001:DB8::/32", "2001:db8::/32"},
        {"::1", "::1/128"},
        {"::ffff:10.0.0.0/104", "10.0.0.0/8"},
        {"fe80::1/128", "fe80::1/128"},
    };
    static const char *const bad[] = {
        "",
        "10.0.0.0/33",
        "10.0.0.1/8",
        "10.0.0/8",
        "10.0.0.0/",
        "10.0.0.0/x",
        "::1/129",
        "2001:db8::1/32",
        "localhost",
        "/8",
        "10.0.0.0/8 ",
        "10.0.0.0/-1",
        "1111:1111:1111:1111:1111:1111:1111:1111:1111:1111:1111:1111",
    };
    size_t i;
    nuc_network_t network;
    char text[NUC_NETWORK_TEXT_MAX];

    for (i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        is_int(nuc_network_parse(good[i].in, &network, &err), NUC_OK, "%s", good[i].in);
        nuc_network_text(&network, text);
        is_str(text, good[i].out, "is %s", good[i].out);
    }

    for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        is_int(nuc_network_parse(bad[i], &network, &err), NUC_INVALID, "\"%s\"", bad[i]);
    }
}

static void test_limits(void)
{
    static const struct {
        nuc_unit_t unit;
        const char *in, *out;
    } good[] = {
        {NUC_UNIT_REQUESTS, "100/s", "100/s:100"},
        {NUC_UNIT_EVENTS, "1/s:5", "1/s:5"},
        {NUC_UNIT_BYTES, "5m/s:20m", "5m/s:20m"},
        {NUC_UNIT_BYTES, "1025/s", "1025/s:1025"},
        {NUC_UNIT_BYTES, "2048k/s", "2m/s:2m"},
        {NUC_UNIT_EVENTS, "none", "none"},
        {NUC_UNIT_REQUESTS, "9223372036854775807/s",
         "9223372036854775807/s:9223372036854775807"},
    };
    static const char *const bad[] = {
        "",
        "5",
        "5/m",
        "0/s",
        "5/s:0",
        "5/s:",
        "/s",
        "5/s:x",
        "-5/s",
        "5k/s",
        "5/sx",
        "5 /s",
        "none/s",
        "9223372036854775808/s",
        "111111111111111111111111111111/s",
    };
    size_t i;
    unsigned scopes;
    uint64_t value;
    nuc_limit_t limit;
    char text[NUC_LIMIT_TEXT_MAX];

    for (i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        is_int(nuc_limit_parse(good[i].unit, good[i].in, &limit, &err), NUC_OK, "%s",
               good[i].in);
        nuc_limit_text(good[i].unit, &limit, text);
        is_str(text, good[i].out, "is %s", good[i].out);
    }

    for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        is_int(nuc_limit_parse(NUC_UNIT_EVENTS, bad[i], &limit, &err), NUC_INVALID,
               "\"%s\"", bad[i]);
    }

    is_int(nuc_quota_parse(NUC_QUOTA_EVENTS_A_DAY, "5k", &value, &err), NUC_INVALID,
           "events have no unit");
    is_int(nuc_quota_parse(NUC_QUOTA_INFLIGHT, "5k", &value, &err), NUC_OK, "bytes have");
    is_int((int) value, 5120, "of 1024");
    is_int(nuc_scopes_parse("read,collect,read", &scopes, &err), NUC_OK, "scopes");
    is_int(scopes, NUC_SCOPE_READ | NUC_SCOPE_COLLECT, "are a set");
    is_int(nuc_scopes_parse("collect,", &scopes, &err), NUC_INVALID, "an empty scope");
    is_int(nuc_scopes_parse("Collect", &scopes, &err), NUC_INVALID, "another one");
}

/* ---- a registry for a test */

static nuc_registry_t *fresh(void)
{
    int made;
    nuc_registry_t *registry;

    last = 1;
    shell("rm -rf run");
    nuc_path_join(path, top, "run/registry.db", NULL);

    if (nuc_registry_create(&nuc_sys_posix, path, NULL, NULL, &actor, &made, &err) !=
            NUC_OK ||
        !made ||
        nuc_registry_open(&nuc_sys_posix, path, &actor, &registry, &err) != NUC_OK) {
        diag("%s", err.message);
        exit(1);
    }

    return registry;
}

static long long generation(nuc_registry_t *registry)
{
    nuc_registry_info_t info;

    return nuc_registry_info(registry, &info, &err) == NUC_OK
               ? (long long) info.generation
               : -1;
}

static void count_entry(void *ctx, const nuc_registry_audit_t *entry)
{
    long long *count = ctx;

    *count = entry->generation == (uint64_t) *count + 1 ? *count + 1 : -1;
}

/* The entries of the audit, whose generations are 1, 2, 3, ... */
static long long audited(nuc_registry_t *registry)
{
    long long count = 0;

    return nuc_registry_audit(registry, 0, NULL, 0, count_entry, &count, &err) == NUC_OK
               ? count
               : -1;
}

/* "rc" is as wanted, and the generation has grown only if that is NUC_OK. */
static void change(nuc_registry_t *registry, nuc_rc_t rc, nuc_rc_t wanted,
                   const char *name)
{
    is_int(rc, wanted, "%s%s%s", name, rc != NUC_OK ? ": " : "",
           rc != NUC_OK ? err.message : "");
    last += wanted == NUC_OK;
    is_int(generation(registry), last, "%s: the generation", name);
    is_int(audited(registry), last, "%s: the audit", name);
}

static nuc_registry_key_t key_of(uint64_t id)
{
    nuc_registry_key_t key;

    memset(&key, 0, sizeof(key));
    key.is.id = id;
    key.is.scopes = NUC_SCOPE_COLLECT;
    memset(key.is.digest, (int) id, sizeof(key.is.digest));
    strcpy(key.tenant, "a");
    strcpy(key.name, "gate");

    return key;
}

static void test_keys(void)
{
    static const uint8_t certificates[1][32] = {{7}};
    nuc_str_t streams[2] = {NUC_STR("two"), NUC_STR("one")};
    nuc_network_t networks[1];
    nuc_registry_t *registry = fresh();
    nuc_registry_key_t key = key_of(1);
    nuc_registry_keys_t list = {.keys = NULL};
    nuc_registry_limits_t limits = {.units = 1U << NUC_UNIT_EVENTS, .quotas = 1};

    change(registry, nuc_registry_tenant_create(registry, "a", &err), NUC_OK, "a tenant");
    change(registry, nuc_registry_tenant_create(registry, "a", &err), NUC_INVALID,
           "the same");
    change(registry, nuc_registry_tenant_create(registry, "A", &err), NUC_INVALID,
           "no name");

    nuc_network_parse("10.0.0.0/8", &networks[0], NULL);
    key.is.streams = streams;
    key.is.nstreams = 2;
    key.is.networks = networks;
    key.is.nnetworks = 1;
    key.is.certificates = certificates;
    key.is.ncertificates = 1;
    key.is.limits[NUC_UNIT_BYTES] = (nuc_limit_t){5, 6};
    key.expires = NOW + 1000;
    change(registry, nuc_registry_key_create(registry, &key, &err), NUC_OK, "a key");
    change(registry, nuc_registry_key_create(registry, &key, &err), NUC_IO,
           "its id again");

    key = key_of(2);
    key.is.certificates = certificates;
    key.is.ncertificates = 1;
    change(registry, nuc_registry_key_create(registry, &key, &err), NUC_INVALID,
           "its certificate again");
    key.is.ncertificates = 0;
    strcpy(key.tenant, "b");
    change(registry, nuc_registry_key_create(registry, &key, &err), NUC_NOT_FOUND,
           "of no tenant");
    key = key_of(2);
    key.is.scopes = 0;
    change(registry, nuc_registry_key_create(registry, &key, &err), NUC_INVALID,
           "without scope");
    key = key_of(2);
    strcpy(key.name, "a\nb");
    change(registry, nuc_registry_key_create(registry, &key, &err), NUC_INVALID,
           "a name of two lines");

    is_int(nuc_registry_keys(registry, "a", &(uint64_t){1}, &list, &err), NUC_OK, "read");
    is_int((int) list.count, 1, "one");
    is_int((int) list.keys[0].is.nstreams, 2, "its streams");
    ok(nuc_str_eq(list.keys[0].is.streams[0], NUC_STR("one")), "in order");
    is_int((int) list.keys[0].is.limits[NUC_UNIT_BYTES].burst, 6, "its limits");
    is_int(memcmp(list.keys[0].is.certificates[0], certificates[0], 32), 0,
           "its certificate");
    is_int(memcmp(list.keys[0].is.networks, networks, sizeof(networks)), 0,
           "its network");

    limits.limits[NUC_UNIT_EVENTS] = (nuc_limit_t){3, 4};
    change(registry, nuc_registry_key_limits(registry, 1, &limits, &err), NUC_OK,
           "limits");
    change(registry, nuc_registry_key_limits(registry, 9, &limits, &err), NUC_NOT_FOUND,
           "limits of none");
    is_int(nuc_registry_keys(registry, NULL, &(uint64_t){1}, &list, &err), NUC_OK,
           "read");
    is_int((int) list.keys[0].is.limits[NUC_UNIT_EVENTS].rate, 3, "set");
    is_int((int) list.keys[0].is.limits[NUC_UNIT_BYTES].rate, 5, "the other is kept");
    is_int(nuc_registry_keys(registry, NULL, &(uint64_t){0}, &list, &err), NUC_NOT_FOUND,
           "id 0 is an id");

    nuc_registry_keys_free(&list);
    nuc_registry_close(registry);
}

static nuc_rc_t rotate(nuc_registry_t *registry, uint64_t id, uint64_t to, uint64_t now,
                       uint64_t overlap)
{
    nuc_registry_rotation_t rotation = {.id = to, .now = now, .overlap = overlap};

    return nuc_registry_key_rotate(registry, id, &rotation, &err);
}

static nuc_registry_key_t *find(nuc_registry_t *registry, uint64_t id,
                                nuc_registry_keys_t *list)
{
    if (nuc_registry_keys(registry, NULL, &id, list, &err) != NUC_OK) {
        diag("%s", err.message);
        exit(1);
    }

    return &list->keys[0];
}

static void test_rotation(void)
{
    nuc_registry_t *registry = fresh();
    nuc_registry_key_t key = key_of(1);
    nuc_registry_keys_t list = {.keys = NULL};

    change(registry, nuc_registry_tenant_create(registry, "a", &err), NUC_OK, "a tenant");
    key.expires = NOW + 1000;
    change(registry, nuc_registry_key_create(registry, &key, &err), NUC_OK, "a key");
    change(registry, rotate(registry, 1, 2, NOW + 1000, 5), NUC_INVALID, "expired");
    change(registry, rotate(registry, 1, 2, NOW, 100), NUC_OK, "rotated");
    is_int((long long) find(registry, 1, &list)->is.not_after, NOW + 100,
           "the old one ends");
    is_int((long long) find(registry, 2, &list)->is.not_after, NOW + 1000,
           "the new one expires as the old one was to");
    is_int((long long) find(registry, 2, &list)->is.lineage, 1, "one lineage");
    change(registry, rotate(registry, 2, 3, NOW + 99, 5), NUC_INVALID, "two are live");
    change(registry, rotate(registry, 1, 3, NOW + 99, 5), NUC_INVALID, "the old one too");
    change(registry, rotate(registry, 2, 3, NOW + 100, 2000), NUC_OK,
           "after the overlap");
    is_int((long long) find(registry, 2, &list)->is.not_after, NOW + 1000,
           "an overlap makes no key live longer");

    /* the successor is revoked: the old one may have another, and gets no more time */
    change(registry, nuc_registry_key_revoke(registry, 3, &err), NUC_OK, "revoked");
    change(registry, rotate(registry, 3, 4, NOW + 200, 5), NUC_INVALID,
           "of a revoked one");
    change(registry, rotate(registry, 2, 4, NOW + 200, 5000), NUC_OK, "again");
    is_int((long long) find(registry, 2, &list)->is.not_after, NOW + 1000, "as before");
    is_int((long long) find(registry, 4, &list)->expires, NOW + 1000,
           "what ends by rotation alone is not handed on");

    is_int(nuc_registry_key_revoke(registry, 3, &err), NUC_OK, "revoked twice");
    change(registry, nuc_registry_key_revoke(registry, 9, &err), NUC_NOT_FOUND, "none");
    nuc_registry_keys_free(&list);
    nuc_registry_close(registry);
}

/* ---- what is published */

static int published_is(nuc_registry_t *registry, long long wanted)
{
    nuc_registry_published_t published;

    nuc_registry_published(registry, &published);

    return published.rc == NUC_OK && (long long) published.generation == wanted;
}

static void test_publish(void)
{
    nuc_registry_t *registry = fresh();

    ok(published_is(registry, 1), "init publishes");
    is_int(nuc_registry_tenant_create(registry, "a", &err), NUC_OK, "a change");
    ok(published_is(registry, 1), "is not published by itself");
    is_int(nuc_registry_publish(registry, 0, &err), NUC_OK, "but so");
    ok(published_is(registry, 2), "it is");
    shell("cp -p run/registry.snapshot kept");
    is_int(nuc_registry_publish(registry, 0, &err), NUC_OK, "again");
    ok(system("test ! run/registry.snapshot -nt kept") == 0, "that writes nothing");

    shell("cp run/registry.db old.db");
    is_int(nuc_registry_tenant_create(registry, "b", &err), NUC_OK, "a change");
    is_int(nuc_registry_publish(registry, 0, &err), NUC_OK, "published");
    nuc_registry_close(registry);
    shell("cp old.db run/registry.db");
    is_int(nuc_registry_open(&nuc_sys_posix, path, &actor, &registry, &err), NUC_OK,
           "a backup is restored");
    is_int(nuc_registry_publish(registry, 0, &err), NUC_OK, "an older one");
    ok(published_is(registry, 3), "is not published by the way");
    is_int(nuc_registry_publish(registry, 1, &err), NUC_OK, "but when asked");
    ok(published_is(registry, 4), "with a newer generation");
    nuc_registry_close(registry);
}

/* ---- a process that uses it, as nginx's do */

/* Follows the snapshot until "id" is revoked in it; what the process exits with. */
static int follow(const char *snapshot, const char *readers, uint64_t id)
{
    nuc_watch_t *watch;
    nuc_reader_lock_t lock;
    nuc_snapshot_entry_t entry;
    nuc_snapshot_file_t *file, *newer;
    const nuc_sys_t *sys = &nuc_sys_posix;

    if (nuc_reader_lock_open(sys, readers, &lock, &err) != NUC_OK ||
        nuc_snapshot_load(sys, snapshot, &file, &err) != NUC_OK ||
        nuc_reader_lock_move(&lock, file->snapshot.generation, &err) != NUC_OK ||
        nuc_watch_start(sys, snapshot, file, NULL, &watch, &err) != NUC_OK) {
        diag("%s", err.message);
        return 1;
    }

    while (nuc_snapshot_find(&file->snapshot, id, &entry) == NUC_OK && !entry.revoked) {
        (void) poll(&(struct pollfd){.fd = nuc_watch_fd(watch), .events = POLLIN}, 1,
                    20000);

        while (nuc_watch_poll(watch, &newer, &err) == NUC_OK) {
            nuc_snapshot_unload(sys, file);
            file = newer;

            if (nuc_reader_lock_move(&lock, file->snapshot.generation, &err) != NUC_OK) {
                return 2;
            }
        }
    }

    /* still there when it is looked for */
    (void) poll(NULL, 0, -1);

    return 3;
}

/* Until as many processes of all are behind; µs that it took. */
static uint64_t wait_behind(nuc_registry_t *registry, size_t total, size_t behind)
{
    nuc_readers_t readers;
    nuc_registry_info_t info;
    uint64_t begun = nuc_time_monotonic();

    do {
        if (nuc_registry_info(registry, &info, &err) != NUC_OK ||
            nuc_readers_look(&nuc_sys_posix, info.readers, info.generation, &readers,
                             &err) != NUC_OK) {
            diag("%s", err.message);
            return UINT64_MAX;
        }

        if (readers.total == total && readers.behind == behind) {
            return nuc_time_monotonic() - begun;
        }

        usleep(1000);
    } while (nuc_time_monotonic() - begun < 20000000);

    diag("%zu processes, %zu behind", readers.total, readers.behind);

    return UINT64_MAX;
}

static void test_readers(void)
{
    int i;
    pid_t pids[3];
    uint64_t took;
    nuc_registry_info_t info;
    nuc_registry_t *registry = fresh();
    nuc_registry_key_t key = key_of(1);

    if (nuc_registry_tenant_create(registry, "a", &err) != NUC_OK ||
        nuc_registry_key_create(registry, &key, &err) != NUC_OK ||
        nuc_registry_publish(registry, 0, &err) != NUC_OK ||
        nuc_registry_info(registry, &info, &err) != NUC_OK) {
        diag("%s", err.message);
        exit(1);
    }

    for (i = 0; i < 3; i++) {
        fflush(stdout);
        pids[i] = tap_fork();

        if (pids[i] == 0) {
            _exit(follow(info.snapshot, info.readers, 1));
        }
    }

    ok(wait_behind(registry, 3, 0) != UINT64_MAX, "three processes use it");
    is_int(nuc_registry_key_revoke(registry, 1, &err), NUC_OK, "a key is revoked");
    ok(wait_behind(registry, 3, 3) != UINT64_MAX,
       "before it is published all are behind");
    is_int(nuc_registry_publish(registry, 0, &err), NUC_OK, "published");
    took = wait_behind(registry, 3, 0);
    ok(took < 1000000, "all have taken it up, within a second: %llu us",
       (unsigned long long) took);

    for (i = 0; i < 3; i++) {
        kill(pids[i], SIGKILL);
        waitpid(pids[i], NULL, 0);
    }

    ok(wait_behind(registry, 0, 0) != UINT64_MAX, "who was killed uses it no more");
    nuc_registry_close(registry);
}

/* Every call that changes something fails once, or all do from then on. */
static void test_faults(void)
{
    int made;
    nuc_rc_t rc;
    unsigned n, wrong = 0, failed = 0;
    sim_t *sim;
    nuc_registry_t *registry;
    char name[16];

    for (n = 1; n < 100; n++) {
        registry = fresh();
        nuc_registry_close(registry);

        sim = sim_create(top);
        rc = nuc_registry_open(sim_sys(sim), path, &actor, &registry, &err);
        snprintf(name, sizeof(name), "t%u", n);

        if (rc == NUC_OK) {
            rc = nuc_registry_tenant_create(registry, name, &err);
        }

        wrong += rc != NUC_OK;
        sim_fail_at(sim, n, n % 2 ? 1 : 1000, EIO);
        rc = nuc_registry_publish(registry, 0, &err);
        sim_fail_at(sim, 0, 0, 0);
        failed += rc != NUC_OK;

        /* the old one or the new one, and then the new one */
        wrong += rc == NUC_OK ? !published_is(registry, 2)
                              : !published_is(registry, 1) && !published_is(registry, 2);
        wrong += nuc_registry_publish(registry, 0, &err) != NUC_OK;
        wrong += !published_is(registry, 2);
        nuc_registry_close(registry);
        sim_destroy(sim);

        if (rc == NUC_OK && n % 2 == 0) {
            break;
        }
    }

    ok(n < 100 && failed > 4, "%u faults of the disk", failed);
    is_int(wrong, 0, "are told, leave a good snapshot, and are mended");

    for (n = 1; n < 100; n++) {
        shell("rm -rf run && mkdir run");
        sim = sim_create(top);
        sim_fail_at(sim, n, 1, EIO);
        nuc_path_join(path, top, "run/deep/registry.db", NULL);
        rc = nuc_registry_create(sim_sys(sim), path, NULL, NULL, &actor, &made, &err);
        sim_destroy(sim);

        wrong += nuc_registry_create(&nuc_sys_posix, path, NULL, NULL, &actor, &made,
                                     &err) != NUC_OK;
        wrong +=
            nuc_registry_open(&nuc_sys_posix, path, &actor, &registry, &err) != NUC_OK;
        wrong += nuc_registry_publish(registry, 0, &err) != NUC_OK;
        wrong += !published_is(registry, 1);
        nuc_registry_close(registry);

        if (rc == NUC_OK) {
            break;
        }
    }

    ok(n > 4, "init met %u faults", n - 1);
    is_int(wrong, 0, "and is finished by doing it again");
}

/* ---- what is there when the power goes after it was said to be there */

static int there(const char *file)
{
    char full[NUC_PATH_MAX];

    nuc_path_join(full, top, file, NULL);

    return access(full, R_OK) == 0;
}

static unsigned init_lost(const char *skip)
{
    int made;
    unsigned seed, lost = 0;
    char image[NUC_PATH_MAX];
    sim_t *sim;

    nuc_path_join(path, top, "run/deep/registry.db", NULL);
    nuc_path_join(image, top, "image", NULL);

    for (seed = 0; seed < 16; seed++) {
        shell("rm -rf run image && mkdir run");
        sim = sim_create("run");
        sim_skip_site(sim, skip);

        if (nuc_registry_create(sim_sys(sim), path, NULL, NULL, &actor, &made, &err) !=
            NUC_OK) {
            diag("%s", err.message);
            exit(1);
        }

        sim_image(sim, image, seed);
        sim_destroy(sim);
        lost +=
            !there("image/deep/registry.snapshot") || !there("image/deep/registry.db");
    }

    return lost;
}

static void test_secret(void)
{
    struct rlimit limit;
    nuc_secret_t secret;
    nuc_key_t key;

    is_int(nuc_secret_make(&secret, &err), NUC_OK, "a key");
    is_int(nuc_key_parse(nuc_str(secret.text), &key), NUC_KEY_GOOD, "is one");
    ok(key.id == secret.id, "of that id");
    is_int(prctl(PR_GET_DUMPABLE, 0, 0, 0, 0), 0, "while it is there, no core");
    ok(getrlimit(RLIMIT_CORE, &limit) == 0 && limit.rlim_cur == 0 && limit.rlim_max == 0,
       "of no size either");
    nuc_secret_wipe(&secret);
    ok(secret.text[0] == '\0' && secret.digest[5] == 0, "it is wiped");
}

static unsigned key_lost(const char *skip)
{
    unsigned seed, lost = 0;
    char image[NUC_PATH_MAX];
    nuc_secret_t secret;
    nuc_buf_t stored = NUC_BUF_INIT;
    sim_t *sim;

    nuc_path_join(image, top, "image", NULL);

    if (nuc_secret_make(&secret, &err) != NUC_OK) {
        diag("%s", err.message);
        exit(1);
    }

    for (seed = 0; seed < 16; seed++) {
        shell("rm -rf run image && mkdir run");
        sim = sim_create("run");
        sim_skip_site(sim, skip);

        if (nuc_secret_store(sim_sys(sim), &secret, "run/key", &err) != NUC_OK) {
            diag("%s", err.message);
            exit(1);
        }

        sim_image(sim, image, seed);
        sim_destroy(sim);
        nuc_buf_reset(&stored);
        lost += nuc_fs_read_file(&nuc_sys_posix, "image/key", 1000, &stored, &err) !=
                    NUC_OK ||
                stored.len != NUC_KEY_LEN + 1 ||
                memcmp(stored.data, secret.text, NUC_KEY_LEN) != 0;
    }

    nuc_buf_free(&stored);
    nuc_secret_wipe(&secret);

    return lost;
}

static void test_power(void)
{
    is_int(init_lost(NULL), 0, "what init made is there");
    ok(init_lost("registry-dir") > 0, "not without \"registry-dir\"");
    is_int(key_lost(NULL), 0, "a key's file is there");
    ok(key_lost("ctl-key-file") > 0, "not without \"ctl-key-file\"");
    ok(key_lost("ctl-key-dir") > 0, "not without \"ctl-key-dir\"");
}

int main(void)
{
    kit_temp_dir(top);

    test_networks();
    test_limits();
    test_keys();
    test_rotation();
    test_publish();
    test_readers();
    test_faults();
    test_secret();
    test_power();

    if (chdir("/") == 0) {
        sim_remove_tree(top);
    }

    return tap_done();
}
