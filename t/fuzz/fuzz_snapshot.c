/*
 * Snapshots: hostile ones, with the checksum as it came or made right, and then every
 * lookup; those that were built of choices read back as what they were built of.
 *
 * Input: a first byte that chooses; then a file, or choices that make one.
 */

#include "fuzz.h"
#include "nuc_crc32c.h"
#include "nuc_le.h"
#include "nuc_name.h"
#include "nuc_snapshot.h"

#define KEYS    24
#define TENANTS 5

/* All that nginx may ask of a snapshot, of any. */
static void look_up(const nuc_snapshot_t *snapshot, const nuc_snapshot_entry_t *entry)
{
    nuc_snapshot_tenant_t tenant;
    static const uint8_t address[16] = {[10] = 0xff, 0xff, 127, 0, 0, 1};

    FUZZ_CHECK(entry->number < snapshot->nkeys, "a number that is too large");
    FUZZ_CHECK(entry->tenant < snapshot->ntenants, "a tenant that is not there");
    FUZZ_CHECK(entry->id >> 60 == 0, "an id of more than 60 bits");
    FUZZ_CHECK(entry->digest >= snapshot->data &&
                   entry->digest + NUC_KEY_DIGEST_LEN <= snapshot->data + snapshot->len,
               "a digest outside");

    (void) nuc_snapshot_allows_stream(snapshot, entry, NUC_STR("default"));
    (void) nuc_snapshot_allows_address(snapshot, entry, address);
    nuc_snapshot_tenant(snapshot, entry->tenant, &tenant);
    FUZZ_CHECK(nuc_name_valid(tenant.name), "a tenant without a name");
}

/* Every number that stands anywhere in it is asked for, as an id and as a certificate. */
static void look_up_all(const nuc_snapshot_t *snapshot)
{
    size_t i, found = 0;
    nuc_snapshot_entry_t entry;
    uint8_t seen[4096] = {0};

    for (i = 0; i + 32 <= snapshot->len; i += 8) {
        if (nuc_snapshot_find(snapshot, nuc_le64(snapshot->data + i), &entry) == NUC_OK) {
            look_up(snapshot, &entry);

            if (entry.number < sizeof(seen) && !seen[entry.number]) {
                seen[entry.number] = 1;
                found++;
            }
        }

        if (nuc_snapshot_find_certificate(snapshot, snapshot->data + i, &entry) ==
            NUC_OK) {
            look_up(snapshot, &entry);
        }
    }

    FUZZ_CHECK(found == snapshot->nkeys || snapshot->nkeys > sizeof(seen),
               "%zu keys of %zu are found", found, snapshot->nkeys);
}

static void fuzz_open(fuzz_input_t *in, int sealed)
{
    nuc_rc_t rc;
    nuc_err_t err;
    nuc_str_t bytes;
    nuc_snapshot_t snapshot;

    bytes = fuzz_take_bytes(in, SIZE_MAX);
    bytes = fuzz_copy(bytes.data, bytes.len);

    if (sealed && bytes.len >= 136) {
        nuc_le64_put((uint8_t *) (uintptr_t) bytes.data + 48, bytes.len);
        nuc_le64_put((uint8_t *) (uintptr_t) bytes.data + bytes.len - 8,
                     nuc_crc32c(0, bytes.data, bytes.len - 8));
    }

    rc = nuc_snapshot_open(bytes.data, bytes.len, &snapshot, &err);

    if (rc == NUC_OK) {
        look_up_all(&snapshot);
    } else {
        FUZZ_CHECK(rc == NUC_CORRUPT || rc == NUC_INVALID, "a bad file answers %d", rc);
        fuzz_check_err(rc, &err);
    }

    fuzz_free(bytes);
}

/* Some names, one of which is none. */
static const nuc_str_t names[] = {
    NUC_STR("default"),
    NUC_STR("a"),
    NUC_STR("b.c-d_e"),
    NUC_STR("north"),
    NUC_STR("xapi"),
    NUC_STR("0123456789abcdef0123456789abcdef"
            "0123456789abcdef0123456789abcdef"),
    NUC_STR("No"),
};

#define NAMES (sizeof(names) / sizeof(names[0]))

typedef struct {
    nuc_snapshot_tenant_t tenants[TENANTS];
    nuc_snapshot_key_t keys[KEYS];
    nuc_str_t streams[KEYS][3];
    nuc_network_t networks[KEYS][3];
    uint8_t certificates[KEYS][2][32];
    nuc_snapshot_content_t content;
} made_t;

static void make_key(fuzz_input_t *in, made_t *made, size_t n)
{
    size_t i, j;
    nuc_snapshot_key_t *key = &made->keys[n];

    key->id = fuzz_take(in, 1);
    key->id = key->id < 128 ? key->id : key->id << (fuzz_take(in, 1) % 54);
    key->tenant = fuzz_take_below(in, TENANTS);
    key->scopes = fuzz_take_below(in, 32);
    key->revoked = fuzz_take(in, 1) == 0;
    key->lineage = key->id / 2;
    key->limits[key->scopes % NUC_UNIT_COUNT].rate = fuzz_take(in, 2);
    key->nstreams = fuzz_take_below(in, 4);
    key->nnetworks = fuzz_take_below(in, 4);
    key->ncertificates = fuzz_take_below(in, 16);
    key->ncertificates = key->ncertificates < 3 ? key->ncertificates : 0;
    key->streams = made->streams[n];
    key->networks = made->networks[n];
    key->certificates = (const uint8_t(*)[32]) made->certificates[n];

    for (i = 0; i < key->nstreams; i++) {
        made->streams[n][i] = names[fuzz_take_below(in, 250) * NAMES / 252];
    }

    for (i = 0; i < key->nnetworks; i++) {
        made->networks[n][i].bits = (uint8_t) fuzz_take_below(in, 130);

        for (j = 0; j < 16; j++) {
            made->networks[n][i].address[j] = (uint8_t) fuzz_take(in, 1);
        }
    }

    for (i = 0; i < key->ncertificates; i++) {
        made->certificates[n][i][0] = (uint8_t) fuzz_take(in, 1);
        made->certificates[n][i][31] = (uint8_t) fuzz_take(in, 1);
    }
}

static void make(fuzz_input_t *in, made_t *made)
{
    size_t i;

    memset(made, 0, sizeof(*made));
    made->content.generation = fuzz_take(in, 2);
    made->content.tenants = made->tenants;
    made->content.ntenants = fuzz_take_below(in, TENANTS + 1);
    made->content.keys = made->keys;
    made->content.nkeys = fuzz_take_below(in, KEYS + 1);

    for (i = 0; i < made->content.ntenants; i++) {
        made->tenants[i].name = names[fuzz_take(in, 1) % NAMES];
        made->tenants[i].disabled = (int) fuzz_take(in, 1) & 1;
        made->tenants[i].max_inflight = fuzz_take(in, 3);
    }

    for (i = 0; i < made->content.nkeys; i++) {
        make_key(in, made, i);
    }
}

static int has_address(const nuc_snapshot_key_t *key, const uint8_t address[16])
{
    size_t i;
    unsigned bit;

    for (i = 0; i < key->nnetworks; i++) {
        for (bit = 0; bit < key->networks[i].bits; bit++) {
            if (((key->networks[i].address[bit / 8] ^ address[bit / 8]) &
                 (0x80 >> bit % 8)) != 0) {
                break;
            }
        }

        if (bit == key->networks[i].bits) {
            return 1;
        }
    }

    return key->nnetworks == 0;
}

static int has_stream(const nuc_snapshot_key_t *key, nuc_str_t stream)
{
    size_t i;

    for (i = 0; i < key->nstreams; i++) {
        if (nuc_str_eq(key->streams[i], stream)) {
            return 1;
        }
    }

    return key->nstreams == 0;
}

static void check_key(const nuc_snapshot_t *snapshot, const nuc_snapshot_key_t *key,
                      uint32_t number)
{
    size_t i;
    uint8_t address[16];
    nuc_snapshot_entry_t entry;

    FUZZ_CHECK(nuc_snapshot_find(snapshot, key->id, &entry) == NUC_OK, "a key is lost");
    FUZZ_CHECK(entry.number == number && entry.id == key->id &&
                   entry.tenant == key->tenant && entry.scopes == key->scopes &&
                   entry.revoked == key->revoked && entry.lineage == key->lineage &&
                   memcmp(entry.limits, key->limits, sizeof(entry.limits)) == 0,
               "a key is another");

    for (i = 0; i < NAMES; i++) {
        FUZZ_CHECK(nuc_snapshot_allows_stream(snapshot, &entry, names[i]) ==
                       has_stream(key, names[i]),
                   "stream %zu", i);
    }

    for (i = 0; i < 16 * 8 && key->nnetworks > 0; i++) {
        memcpy(address, key->networks[i % key->nnetworks].address, sizeof(address));
        address[i / 8] ^= (uint8_t) (0x80 >> i % 8);
        FUZZ_CHECK(nuc_snapshot_allows_address(snapshot, &entry, address) ==
                       has_address(key, address),
                   "an address, bit %zu", i);
    }

    for (i = 0; i < key->ncertificates; i++) {
        FUZZ_CHECK(nuc_snapshot_find_certificate(snapshot, key->certificates[i],
                                                 &entry) == NUC_OK &&
                       entry.number == number,
                   "a certificate");
    }
}

static void fuzz_build(fuzz_input_t *in)
{
    uint32_t i;
    nuc_rc_t rc;
    nuc_err_t err;
    nuc_str_t bytes;
    nuc_buf_t out = NUC_BUF_INIT;
    nuc_snapshot_t snapshot;
    nuc_snapshot_tenant_t tenant;
    made_t *made = fuzz_alloc(sizeof(*made));

    make(in, made);
    rc = nuc_snapshot_build(&made->content, &out, &err);

    if (rc != NUC_OK) {
        FUZZ_CHECK(rc == NUC_INVALID && out.len == 0, "a bad content answers %d", rc);
        fuzz_check_err(rc, &err);
        goto done;
    }

    bytes = fuzz_copy(out.data, out.len);
    rc = nuc_snapshot_open(bytes.data, bytes.len, &snapshot, &err);
    FUZZ_CHECK(rc == NUC_OK, "%s", err.message);
    FUZZ_CHECK(snapshot.generation == made->content.generation, "the generation");

    for (i = 0; i < made->content.nkeys; i++) {
        check_key(&snapshot, &made->keys[i], i);
    }

    for (i = 0; i < made->content.ntenants; i++) {
        nuc_snapshot_tenant(&snapshot, i, &tenant);
        FUZZ_CHECK(nuc_str_eq(tenant.name, made->tenants[i].name) &&
                       tenant.disabled == made->tenants[i].disabled &&
                       tenant.max_inflight == made->tenants[i].max_inflight,
                   "a tenant is another");
    }

    look_up_all(&snapshot);
    fuzz_free(bytes);

done:

    nuc_buf_free(&out);
    free(made);
}

/* One that is built, and then some of its bytes are others. */
static void fuzz_changed(fuzz_input_t *in)
{
    size_t at;
    unsigned n;
    nuc_buf_t out = NUC_BUF_INIT;
    made_t *made = fuzz_alloc(sizeof(*made));
    fuzz_input_t changed;

    make(in, made);

    if (nuc_snapshot_build(&made->content, &out, NULL) == NUC_OK) {
        for (n = 0; n < 8 && in->p < in->end; n++) {
            at = (size_t) fuzz_take(in, 2) % out.len;
            out.data[at] = (uint8_t) fuzz_take(in, 1);
        }

        changed = (fuzz_input_t){out.data, out.data + out.len};
        fuzz_open(&changed, 1);
    }

    nuc_buf_free(&out);
    free(made);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    fuzz_input_t in = {data, data + len};

    switch (fuzz_take(&in, 1) % 4) {
    case 0:
        fuzz_open(&in, 0);
        break;
    case 1:
        fuzz_open(&in, 1);
        break;
    case 2:
        fuzz_build(&in);
        break;
    default:
        fuzz_changed(&in);
        break;
    }

    return 0;
}
