/*
 * The snapshot: what was built is found, whatever was damaged is refused, a file is
 * replaced whole, with the power cut anywhere.
 */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "logkit.h"
#include "nuc_crc32c.h"
#include "nuc_le.h"
#include "nuc_snapshot.h"
#include "sim.h"
#include "tap.h"

#define MANY 100000

static char top[NUC_PATH_MAX];

static const uint8_t certificates[3][32] = {{1, 2, 3}, {1, 2, 4}, {9}};
static const nuc_network_t networks[] = {
    {.address = {[10] = 0xff, 0xff, 192, 0, 2, 0}, .bits = 96 + 25},
    {.address = {0x20, 0x01, 0x0d, 0xb8}, .bits = 32},
    {.address = {[10] = 0xff, 0xff, 198, 51, 100, 7}, .bits = 128},
};

static nuc_rc_t build(uint64_t generation, nuc_buf_t *out, nuc_err_t *err)
{
    const nuc_str_t streams[] = {NUC_STR("xapi"), NUC_STR("a.b-c_d"), NUC_STR("default")};
    const nuc_snapshot_tenant_t tenants[] = {
        {.name = NUC_STR("north"), .max_queue_bytes = 1, .max_inflight = 1ULL << 40},
        {.name = NUC_STR("south"),
         .disabled = 1,
         .max_events_a_day = 7,
         .limits = {[NUC_UNIT_BYTES] = {UINT64_MAX, 3}}},
    };
    const nuc_snapshot_key_t keys[] = {
        {.id = 5, .digest = {5}, .lineage = 50, .scopes = NUC_SCOPE_COLLECT},
        {.id = (1ULL << 60) - 1,
         .digest = {6, 7},
         .lineage = 60,
         .tenant = 1,
         .scopes = NUC_SCOPE_ADMIN | NUC_SCOPE_READ,
         .revoked = 1,
         .not_before = 1000,
         .not_after = 2000,
         .limits = {[NUC_UNIT_REQUESTS] = {1, 2}, [NUC_UNIT_EVENTS] = {3, 4}},
         .streams = streams,
         .nstreams = 2,
         .networks = networks,
         .nnetworks = 2,
         .certificates = certificates,
         .ncertificates = 2},
        {.id = 0,
         .lineage = UINT64_MAX,
         .streams = streams + 2,
         .nstreams = 1,
         .networks = networks + 2,
         .nnetworks = 1,
         .certificates = certificates + 2,
         .ncertificates = 1},
    };
    const nuc_snapshot_content_t content = {
        .registry = {{1, 2, 3, 4}},
        .generation = generation,
        .created = 1234567,
        .tenants = tenants,
        .ntenants = 2,
        .keys = keys,
        .nkeys = 3,
    };

    return nuc_snapshot_build(&content, out, err);
}

static void test_roundtrip(void)
{
    nuc_err_t err;
    nuc_buf_t out = NUC_BUF_INIT;
    nuc_snapshot_t snapshot;
    nuc_snapshot_entry_t entry, same;
    nuc_snapshot_tenant_t tenant;
    const uint8_t unknown[32] = {1, 2, 5};

    is_int(build(42, &out, &err), NUC_OK, "built");
    is_int(nuc_snapshot_open(out.data, out.len, &snapshot, &err), NUC_OK, "opened");
    ok(snapshot.registry.b[3] == 4 && snapshot.generation == 42 &&
           snapshot.created == 1234567 && snapshot.ntenants == 2 && snapshot.nkeys == 3,
       "its head");

    is_int(nuc_snapshot_find(&snapshot, 5, &entry), NUC_OK, "a key without anything");
    ok(entry.id == 5 && entry.digest[0] == 5 && entry.lineage == 50 &&
           entry.number == 0 && entry.tenant == 0 && entry.scopes == NUC_SCOPE_COLLECT &&
           !entry.revoked && entry.not_before == 0 && entry.not_after == 0 &&
           entry.limits[0].rate == 0,
       "all of it");
    ok(nuc_snapshot_allows_stream(&snapshot, &entry, NUC_STR("any")), "all streams");
    ok(nuc_snapshot_allows_address(&snapshot, &entry, networks[0].address), "anywhere");

    is_int(nuc_snapshot_find(&snapshot, (1ULL << 60) - 1, &entry), NUC_OK, "a key");
    ok(entry.digest[1] == 7 && entry.digest[31] == 0 && entry.lineage == 60 &&
           entry.number == 1 && entry.tenant == 1 &&
           entry.scopes == (NUC_SCOPE_ADMIN | NUC_SCOPE_READ) && entry.revoked == 1 &&
           entry.not_before == 1000 && entry.not_after == 2000,
       "all of it");
    ok(entry.limits[NUC_UNIT_REQUESTS].rate == 1 &&
           entry.limits[NUC_UNIT_REQUESTS].burst == 2 &&
           entry.limits[NUC_UNIT_EVENTS].rate == 3 &&
           entry.limits[NUC_UNIT_EVENTS].burst == 4 &&
           entry.limits[NUC_UNIT_BYTES].rate == 0,
       "its limits");
    ok(nuc_snapshot_allows_stream(&snapshot, &entry, NUC_STR("xapi")) &&
           nuc_snapshot_allows_stream(&snapshot, &entry, NUC_STR("a.b-c_d")),
       "its streams");
    ok(!nuc_snapshot_allows_stream(&snapshot, &entry, NUC_STR("xap")) &&
           !nuc_snapshot_allows_stream(&snapshot, &entry, NUC_STR("xapi2")) &&
           !nuc_snapshot_allows_stream(&snapshot, &entry, NUC_STR("default")) &&
           !nuc_snapshot_allows_stream(&snapshot, &entry, NUC_STR_NONE),
       "no others, not another key's");

    is_int(nuc_snapshot_find(&snapshot, 0, &entry), NUC_OK, "the last key");
    ok(nuc_snapshot_allows_stream(&snapshot, &entry, NUC_STR("default")) &&
           !nuc_snapshot_allows_stream(&snapshot, &entry, NUC_STR("xapi")),
       "its stream");
    is_int(nuc_snapshot_find(&snapshot, 6, &entry), NUC_NOT_FOUND, "a key that is not");

    is_int(nuc_snapshot_find_certificate(&snapshot, certificates[1], &entry), NUC_OK,
           "by certificate");
    nuc_snapshot_find(&snapshot, (1ULL << 60) - 1, &same);
    ok(entry.record == same.record && entry.id == same.id, "the same key");
    is_int(nuc_snapshot_find_certificate(&snapshot, certificates[2], &entry), NUC_OK,
           "another's");
    is_int((long long) entry.id, 0, "another key");
    is_int(nuc_snapshot_find_certificate(&snapshot, unknown, &entry), NUC_NOT_FOUND,
           "a certificate that begins like another");

    nuc_snapshot_tenant(&snapshot, 0, &tenant);
    ok(nuc_str_eq(tenant.name, NUC_STR("north")) && !tenant.disabled &&
           tenant.max_queue_bytes == 1 && tenant.max_events_a_day == 0 &&
           tenant.max_inflight == 1ULL << 40,
       "a tenant");
    nuc_snapshot_tenant(&snapshot, 1, &tenant);
    ok(nuc_str_eq(tenant.name, NUC_STR("south")) && tenant.disabled == 1 &&
           tenant.max_events_a_day == 7 &&
           tenant.limits[NUC_UNIT_BYTES].rate == UINT64_MAX &&
           tenant.limits[NUC_UNIT_BYTES].burst == 3,
       "another");

    nuc_buf_free(&out);
}

static void test_addresses(void)
{
    size_t i;
    unsigned bits, j, wrong = 0;
    nuc_buf_t out = NUC_BUF_INIT;
    nuc_snapshot_t snapshot;
    nuc_snapshot_entry_t entry;
    uint8_t address[16];
    static const struct {
        uint8_t a, b, c, d;
        int allowed;
    } v4[] = {{192, 0, 2, 0, 1}, {192, 0, 2, 127, 1}, {192, 0, 2, 128, 0},
              {192, 0, 3, 0, 0}, {0, 0, 0, 0, 0},     {198, 51, 100, 7, 0}};
    nuc_snapshot_tenant_t tenant = {.name = NUC_STR("t")};
    nuc_network_t network = {.address = {0}};
    nuc_snapshot_key_t key = {.networks = &network, .nnetworks = 1};
    nuc_snapshot_content_t content = {
        .tenants = &tenant, .ntenants = 1, .keys = &key, .nkeys = 1};

    build(1, &out, NULL);
    nuc_snapshot_open(out.data, out.len, &snapshot, NULL);
    nuc_snapshot_find(&snapshot, (1ULL << 60) - 1, &entry);

    for (i = 0; i < sizeof(v4) / sizeof(v4[0]); i++) {
        memset(address, 0, 10);
        memset(address + 10, 0xff, 2);
        memcpy(address + 12, &v4[i], 4);
        is_int(nuc_snapshot_allows_address(&snapshot, &entry, address), v4[i].allowed,
               "%u.%u.%u.%u", v4[i].a, v4[i].b, v4[i].c, v4[i].d);
    }

    memcpy(address, networks[1].address, 16);
    address[4] = address[15] = 255;
    ok(nuc_snapshot_allows_address(&snapshot, &entry, address), "2001:db8:ff00::ff");
    address[3]++;
    ok(!nuc_snapshot_allows_address(&snapshot, &entry, address), "2001:db9:ff00::ff");

    /* the bit before the prefix' end counts, the one behind it does not */
    for (bits = 0; bits <= 128; bits++) {
        out.len = 0;
        network.bits = (uint8_t) bits;
        memset(network.address, 0xa5, 16);
        nuc_snapshot_build(&content, &out, NULL);
        nuc_snapshot_open(out.data, out.len, &snapshot, NULL);
        nuc_snapshot_find(&snapshot, 0, &entry);

        for (j = 0; j < 128; j++) {
            memset(address, 0xa5, 16);
            address[j / 8] ^= (uint8_t) (0x80 >> j % 8);
            wrong +=
                nuc_snapshot_allows_address(&snapshot, &entry, address) != (j >= bits);
        }
    }

    is_int(wrong, 0, "every prefix, every bit");
    nuc_buf_free(&out);
}

static void refused(const nuc_snapshot_content_t *content, const char *name)
{
    nuc_err_t err = {.message = ""};
    nuc_buf_t out = NUC_BUF_INIT;

    is_int(nuc_snapshot_build(content, &out, &err), NUC_INVALID, "%s: %s", name,
           err.message);
    is_int((long long) out.len, 0, "nothing was appended");
    nuc_buf_free(&out);
}

static void test_refused(void)
{
    nuc_str_t stream = NUC_STR("No Name");
    nuc_network_t network = {.bits = 129};
    nuc_snapshot_tenant_t tenants[2] = {{.name = NUC_STR("t")}, {.name = NUC_STR("u")}};
    nuc_snapshot_key_t keys[2] = {{.id = 1}, {.id = 2}};
    nuc_snapshot_content_t content = {
        .tenants = tenants, .ntenants = 2, .keys = keys, .nkeys = 2};

    keys[1].id = 1;
    refused(&content, "a double id");
    keys[1].id = 1ULL << 60;
    refused(&content, "an id of 61 bits");
    keys[1].id = 2;
    keys[1].tenant = 2;
    refused(&content, "no such tenant");
    keys[1].tenant = 0;
    tenants[1].name = NUC_STR("t");
    refused(&content, "a double name");
    tenants[1].name = NUC_STR("../t");
    refused(&content, "no name");
    tenants[1].name = NUC_STR_NONE;
    refused(&content, "none at all");
    tenants[1].name = NUC_STR("u");
    keys[0].certificates = keys[1].certificates = certificates;
    keys[0].ncertificates = keys[1].ncertificates = 1;
    refused(&content, "a certificate of two keys");
    keys[0].ncertificates = 0;
    keys[0].streams = &stream;
    keys[0].nstreams = 1;
    refused(&content, "a stream without a name");
    keys[0].nstreams = 0;
    keys[0].networks = &network;
    keys[0].nnetworks = 1;
    refused(&content, "129 bits");
}

static void test_many(void)
{
    uint32_t i;
    unsigned found = 0, strangers = 0, by_certificate = 0;
    nuc_err_t err;
    nuc_buf_t out = NUC_BUF_INIT;
    nuc_snapshot_t snapshot;
    nuc_snapshot_entry_t entry;
    nuc_str_t stream = NUC_STR("s");
    nuc_snapshot_tenant_t tenant = {.name = NUC_STR("t")};
    nuc_snapshot_key_t *keys = calloc(MANY, sizeof(*keys));
    uint8_t(*sums)[32] = calloc(MANY, sizeof(*sums));
    nuc_snapshot_content_t content = {
        .tenants = &tenant, .ntenants = 1, .keys = keys, .nkeys = MANY};

    for (i = 0; i < MANY; i++) {
        /* not random at all, which the index must bear */
        keys[i].id = 3 * (uint64_t) i << (i % 2 ? 30 : 0);
        keys[i].lineage = i;
        nuc_le32_put(sums[i], i);

        if (i % 3 == 0) {
            keys[i].certificates = &sums[i];
            keys[i].ncertificates = 1;
            keys[i].streams = &stream;
            keys[i].nstreams = 1;
        }
    }

    is_int(nuc_snapshot_build(&content, &out, &err), NUC_OK, "%u keys", MANY);
    is_int(nuc_snapshot_open(out.data, out.len, &snapshot, &err), NUC_OK, "open");
    diag("%zu bytes", out.len);

    for (i = 0; i < MANY; i++) {
        found +=
            nuc_snapshot_find(&snapshot, keys[i].id, &entry) == NUC_OK &&
            entry.lineage == i && entry.number == i &&
            nuc_snapshot_allows_stream(&snapshot, &entry, NUC_STR("x")) == (i % 3 != 0);
        strangers += nuc_snapshot_find(&snapshot, 3 * (uint64_t) i + 1, &entry) == NUC_OK;
        by_certificate +=
            nuc_snapshot_find_certificate(&snapshot, sums[i], &entry) == NUC_OK &&
            entry.lineage == i;
    }

    is_int(found, MANY, "each is found");
    is_int(strangers, 0, "no other");
    is_int(by_certificate, (MANY + 2) / 3, "and those that have one, by certificate");

    nuc_buf_free(&out);
    free(keys);
    free(sums);
}

static void test_empty(void)
{
    nuc_err_t err;
    nuc_buf_t out = NUC_BUF_INIT;
    nuc_snapshot_t snapshot;
    nuc_snapshot_entry_t entry;
    nuc_snapshot_content_t content = {.generation = 1};

    is_int(nuc_snapshot_build(&content, &out, &err), NUC_OK, "a registry without keys");
    is_int(nuc_snapshot_open(out.data, out.len, &snapshot, &err), NUC_OK, "opens");
    is_int(nuc_snapshot_find(&snapshot, 0, &entry), NUC_NOT_FOUND, "has no key");
    is_int(nuc_snapshot_find_certificate(&snapshot, certificates[0], &entry),
           NUC_NOT_FOUND, "has no certificate");
    nuc_buf_free(&out);
}

/* In memory of just its size, so that a sanitizer sees a read beyond it. */
static nuc_rc_t open_copy(const uint8_t *data, size_t len, nuc_err_t *err)
{
    nuc_rc_t rc;
    uint8_t *copy = malloc(len + (len == 0));
    nuc_snapshot_t snapshot;

    memcpy(copy, data, len);
    rc = nuc_snapshot_open(copy, len, &snapshot, err);
    free(copy);

    return rc;
}

static void test_damage(void)
{
    size_t i;
    nuc_rc_t rc;
    unsigned bit, flipped = 0, cut = 0, longer;
    nuc_err_t err;
    nuc_buf_t out = NUC_BUF_INIT;

    build(1, &out, &err);

    for (i = 0; i < out.len; i++) {
        for (bit = 0; bit < 8; bit++) {
            out.data[i] ^= (uint8_t) (1 << bit);
            rc = open_copy(out.data, out.len, &err);
            flipped += rc == NUC_CORRUPT || (rc == NUC_INVALID && i >= 8 && i < 12);
            out.data[i] ^= (uint8_t) (1 << bit);
        }

        cut += open_copy(out.data, i, &err) == NUC_CORRUPT;
    }

    is_int(flipped, (long long) out.len * 8, "every flipped bit is seen");
    is_int(cut, (long long) out.len, "every length is");
    longer = (unsigned) out.len;
    nuc_buf_append(&out, "\0\0\0\0\0\0\0", 8);
    is_int(open_copy(out.data, out.len, &err), NUC_CORRUPT, "and what is too long");
    out.len = longer;

    nuc_le32_put(out.data + 8, 2);
    is_int(open_copy(out.data, out.len, &err), NUC_INVALID, "another version: %s",
           err.message);

    nuc_buf_free(&out);
}

/* Every byte is changed to others with a sum that is right: nothing leads outside. */
static void test_hostile(void)
{
    size_t i, j;
    unsigned opened = 0;
    static const uint8_t values[] = {0, 1, 2, 3, 4, 7, 0x7f, 0x80, 0xff};
    uint8_t before;
    nuc_err_t err;
    nuc_buf_t out = NUC_BUF_INIT;

    build(1, &out, &err);

    for (i = 12; i < out.len - 8; i++) {
        before = out.data[i];

        for (j = 0; j < sizeof(values); j++) {
            out.data[i] = values[j];
            nuc_le32_put(out.data + out.len - 8, nuc_crc32c(0, out.data, out.len - 8));
            opened += open_copy(out.data, out.len, &err) == NUC_OK;
        }

        out.data[i] = before;
    }

    ok(opened > 0 && opened < out.len * sizeof(values), "%u of them open", opened);
    nuc_buf_free(&out);
}

static nuc_rc_t save(const nuc_sys_t *sys, const char *path, uint64_t generation)
{
    nuc_rc_t rc;
    nuc_err_t err;
    nuc_buf_t out = NUC_BUF_INIT;

    build(generation, &out, &err);
    rc = nuc_snapshot_save(sys, path, (nuc_str_t){out.data, out.len}, &err);
    nuc_buf_free(&out);

    return rc;
}

static void test_file(void)
{
    char path[NUC_PATH_MAX];
    struct stat st;
    nuc_err_t err;
    nuc_snapshot_file_t *file, *other;
    nuc_snapshot_entry_t entry;
    FILE *broken;

    nuc_path_join(path, top, "snapshot", NULL);
    is_int(nuc_snapshot_load(&nuc_sys_posix, path, &file, &err), NUC_NOT_FOUND, "none");
    ok(file == NULL, "is none");
    is_int(save(&nuc_sys_posix, path, 1), NUC_OK, "saved");
    ok(stat(path, &st) == 0 && (st.st_mode & 0137) == 0, "not for everybody");
    is_int(nuc_snapshot_load(&nuc_sys_posix, path, &file, &err), NUC_OK, "loaded");
    is_int(save(&nuc_sys_posix, path, 2), NUC_OK, "replaced");
    is_int(nuc_snapshot_load(&nuc_sys_posix, path, &other, &err), NUC_OK, "loaded");
    is_int((long long) file->snapshot.generation, 1, "the old one is what it was");
    is_int((long long) other->snapshot.generation, 2, "the new one is new");
    is_int(nuc_snapshot_find(&file->snapshot, 5, &entry), NUC_OK, "with its keys");
    ok(!nuc_snapshot_same_file(&file->identity, &other->identity), "another file");
    nuc_snapshot_unload(&nuc_sys_posix, file);
    nuc_snapshot_unload(&nuc_sys_posix, other);
    nuc_snapshot_unload(&nuc_sys_posix, NULL);

    is_int(truncate(path, st.st_size - 1), 0, "cut off");
    is_int(nuc_snapshot_load(&nuc_sys_posix, path, &file, &err), NUC_CORRUPT, "%s",
           err.message);
    ok(strstr(err.message, path) != NULL, "says which file");
    broken = fopen(path, "w");
    fclose(broken);
    is_int(nuc_snapshot_load(&nuc_sys_posix, path, &file, &err), NUC_CORRUPT, "empty");
    is_int(nuc_snapshot_load(&nuc_sys_posix, top, &file, &err), NUC_CORRUPT, "no file");

    memset(path, 'a', sizeof(path) - 1);
    path[sizeof(path) - 1] = '\0';
    is_int(save(&nuc_sys_posix, path, 1), NUC_TOO_LARGE, "a path that is too long");
}

/*
 * What was saved is there after the power was cut, at whatever operation; returns what
 * was wrong.
 */
static const char *cut_power(const char *skip, unsigned n, unsigned seed, int *ended)
{
    sim_t *sim;
    nuc_rc_t rc, first;
    const char *wrong = NULL;
    char disk[NUC_PATH_MAX], image[NUC_PATH_MAX], path[NUC_PATH_MAX];
    nuc_snapshot_file_t *file;

    nuc_path_join(disk, top, "disk", NULL);
    nuc_path_join(image, top, "image", NULL);
    mkdir(disk, 0750);
    nuc_path_join(path, disk, "snapshot", NULL);

    sim = sim_create(disk);
    sim_skip_site(sim, skip);
    first = save(sim_sys(sim), path, 1);
    sim_stop_at(sim, sim_operations(sim) + n);
    rc = save(sim_sys(sim), path, 2);
    *ended = !sim_stopped(sim);
    sim_image(sim, image, seed);
    sim_destroy(sim);

    nuc_path_join(path, image, "snapshot", NULL);

    if (first != NUC_OK ||
        nuc_snapshot_load(&nuc_sys_posix, path, &file, NULL) != NUC_OK) {
        wrong = "there is none";
    } else {
        if (file->snapshot.generation < (rc == NUC_OK ? 2 : 1)) {
            wrong = "what was saved is lost";
        }

        nuc_snapshot_unload(&nuc_sys_posix, file);
    }

    sim_remove_tree(disk);
    sim_remove_tree(image);

    return wrong;
}

static const char *cut_everywhere(const char *skip)
{
    int ended = 0;
    unsigned n, seed;
    const char *wrong;

    for (n = 1; !ended; n++) {
        for (seed = 0; seed < 64; seed++) {
            wrong = cut_power(skip, n, seed, &ended);

            if (wrong != NULL) {
                return wrong;
            }
        }
    }

    return NULL;
}

static void test_power(void)
{
    size_t i;
    const char *wrong;
    static const char *const sites[] = {"snapshot-file", "snapshot-dir"};

    is_str(cut_everywhere(NULL), NULL, "the power is cut anywhere");

    for (i = 0; i < sizeof(sites) / sizeof(sites[0]); i++) {
        wrong = cut_everywhere(sites[i]);
        ok(wrong != NULL, "without \"%s\": %s", sites[i], wrong ? wrong : "nothing");
    }
}

int main(void)
{
    kit_temp_dir(top);

    test_roundtrip();
    test_addresses();
    test_refused();
    test_empty();
    test_many();
    test_damage();
    test_hostile();
    test_file();
    test_power();

    sim_remove_tree(top);

    return tap_done();
}
