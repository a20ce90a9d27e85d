/*
 * The file, all integers little-endian:
 *
 *     head        128 bytes
 *         0   8   "NUCSNAP\n"
 *         8   4   version, 1
 *        12   4   0
 *        16  16   registry
 *        32   8   generation
 *        40   8   created
 *        48   8   length of the file
 *        56  56   7 tables, each: where it begins (4, in units of 8 bytes), rows (4)
 *       112  16   0
 *     tables, each from a multiple of 64 bytes on, in this order; bytes of a row
 *         key index            4   number of a key + 1, or 0
 *         certificate index    4   number of a certificate + 1, or 0
 *         keys               128   below
 *         tenants            144   below
 *         certificates        40   SHA-256 (32), number of its key (4), 0 (4)
 *         streams             72   length of the name (1), 0 (7), name (64)
 *         networks            24   address (16), bits (1), 0 (7)
 *     end
 *             8   CRC32C of all before it (4), 0 (4)
 *
 * A key: what each request looks at lies in its first 64 bytes, a line of the cache.
 *
 *         0   8   id                     64   8   lineage
 *         8  32   digest                 72   4   its first stream
 *        40   8   not before             76   4   its first network
 *        48   8   not after              80  48   limits: rate, burst of each unit
 *        56   4   tenant
 *        60   2   scopes
 *        62   2   flags: 1 revoked, 2 has streams, 4 has networks
 *
 * Its streams and networks end where the next key's begin, the last key's at the end of
 * the table.
 *
 * A tenant: length of the name (1), flags: 1 disabled (1), 0 (6), name (64), limits (48),
 * max_queue_bytes, max_events_a_day, max_inflight (8 each).
 *
 * An index has a power of two of rows, at least two for each key.  What is looked for
 * stands at the row that its hash says or behind it (after the last comes the first),
 * before the first 0.
 *
 * Valid is a file
 *   1. whose sum is right, whose length is what it says, whose tables lie where their
 *      rows put them: no offset in it can lead outside;
 *   2. whose indexes hold as many numbers as there are keys (certificates), and lead to
 *      each: so a search ends, and ids and certificates are unique;
 *   3. whose keys belong to a tenant that there is, have lists that ascend within their
 *      tables and flags that say the same of them; whose certificates belong to a key;
 *   4. whose names of tenants and streams are names, whose prefixes have at most 128
 *      bits.
 */

#include "nuc_snapshot.h"

#include <stdlib.h>

#include "nuc_crc32c.h"
#include "nuc_le.h"
#include "nuc_name.h"

#define NUC_SNAPSHOT_MAGIC   "NUCSNAP\n"
#define NUC_SNAPSHOT_VERSION 1
#define NUC_SNAPSHOT_HEAD    128
#define NUC_SNAPSHOT_TABLES  56
#define NUC_SNAPSHOT_END     8
#define NUC_SNAPSHOT_MAX     (1ULL << 32) /* bytes of all */
#define NUC_SNAPSHOT_ROWS    (1u << 30)   /* of an index */

enum {
    NUC_TABLE_KEY_INDEX = 0,
    NUC_TABLE_CERTIFICATE_INDEX,
    NUC_TABLE_KEYS,
    NUC_TABLE_TENANTS,
    NUC_TABLE_CERTIFICATES,
    NUC_TABLE_STREAMS,
    NUC_TABLE_NETWORKS,
    NUC_TABLE_COUNT
};

#define NUC_KEY_ROW         128
#define NUC_TENANT_ROW      144
#define NUC_CERTIFICATE_ROW 40
#define NUC_STREAM_ROW      72
#define NUC_NETWORK_ROW     24

#define NUC_KEY_REVOKED      1
#define NUC_KEY_HAS_STREAMS  2
#define NUC_KEY_HAS_NETWORKS 4

static const uint32_t nuc_snapshot_row[NUC_TABLE_COUNT] = {4,
                                                           4,
                                                           NUC_KEY_ROW,
                                                           NUC_TENANT_ROW,
                                                           NUC_CERTIFICATE_ROW,
                                                           NUC_STREAM_ROW,
                                                           NUC_NETWORK_ROW};

static uint32_t nuc_table_rows(const uint8_t *data, unsigned table)
{
    return nuc_le32(data + NUC_SNAPSHOT_TABLES + 8 * table + 4);
}

static uint64_t nuc_table_offset(const uint8_t *data, unsigned table)
{
    return (uint64_t) nuc_le32(data + NUC_SNAPSHOT_TABLES + 8 * table) * 8;
}

static const uint8_t *nuc_table_row(const uint8_t *data, unsigned table, uint32_t number)
{
    return data + nuc_table_offset(data, table) +
           (uint64_t) number * nuc_snapshot_row[table];
}

/* Ids and sums are random, but need not be: the multiplication spreads what is not. */
static uint32_t nuc_snapshot_hash(uint64_t value, uint32_t rows)
{
    value *= 0x9e3779b97f4a7c15ULL;

    return (uint32_t) (value >> 32) & (rows - 1);
}

/* The number of the row of "table" that begins with these bytes; NUC_NOT_FOUND. */
static nuc_rc_t nuc_snapshot_search(const uint8_t *data, unsigned index, unsigned table,
                                    const uint8_t *begin, size_t len, uint32_t *number)
{
    uint32_t at, found, rows = nuc_table_rows(data, index);
    const uint8_t *slots = nuc_table_row(data, index, 0);

    if (rows == 0) {
        return NUC_NOT_FOUND;
    }

    /* an id, or the first eight bytes of a sum */
    at = nuc_snapshot_hash(nuc_le64(begin), rows);

    while ((found = nuc_le32(slots + (uint64_t) at * 4)) != 0) {
        if (memcmp(nuc_table_row(data, table, found - 1), begin, len) == 0) {
            *number = found - 1;
            return NUC_OK;
        }

        at = (at + 1) & (rows - 1);
    }

    return NUC_NOT_FOUND;
}

/* ---- writing */

typedef struct {
    const nuc_snapshot_content_t *content;
    uint64_t rows[NUC_TABLE_COUNT];
    uint8_t *data; /* zero at first */
} nuc_snapshot_maker_t;

/* A power of two, so that no more than half is taken. */
static uint64_t nuc_index_rows(uint64_t count)
{
    uint64_t rows = 2;

    if (count == 0) {
        return 0;
    }

    while (rows < 2 * count) {
        rows *= 2;
    }

    return rows;
}

static void nuc_snapshot_count(nuc_snapshot_maker_t *maker)
{
    size_t i;
    uint64_t *rows = maker->rows;
    const nuc_snapshot_content_t *content = maker->content;

    rows[NUC_TABLE_KEYS] = content->nkeys;
    rows[NUC_TABLE_TENANTS] = content->ntenants;

    for (i = 0; i < content->nkeys; i++) {
        rows[NUC_TABLE_CERTIFICATES] += content->keys[i].ncertificates;
        rows[NUC_TABLE_STREAMS] += content->keys[i].nstreams;
        rows[NUC_TABLE_NETWORKS] += content->keys[i].nnetworks;
    }

    rows[NUC_TABLE_KEY_INDEX] = nuc_index_rows(rows[NUC_TABLE_KEYS]);
    rows[NUC_TABLE_CERTIFICATE_INDEX] = nuc_index_rows(rows[NUC_TABLE_CERTIFICATES]);
}

/* Where the table behind one that begins at "offset" begins. */
static uint64_t nuc_table_end(uint64_t offset, unsigned table, uint64_t rows)
{
    return (offset + rows * nuc_snapshot_row[table] + 63) & ~63ULL;
}

static void nuc_limits_put(uint8_t *p, const nuc_limit_t limits[NUC_UNIT_COUNT])
{
    unsigned unit;

    for (unit = 0; unit < NUC_UNIT_COUNT; unit++, p += 16) {
        nuc_le64_put(p, limits[unit].rate);
        nuc_le64_put(p + 8, limits[unit].burst);
    }
}

static uint8_t *nuc_snapshot_place(nuc_snapshot_maker_t *maker, unsigned table,
                                   uint64_t number)
{
    return maker->data + nuc_table_offset(maker->data, table) +
           number * nuc_snapshot_row[table];
}

/* Into the index of a table whose row is filled; 0 when the same is there already. */
static int nuc_snapshot_enter(nuc_snapshot_maker_t *maker, unsigned index, unsigned table,
                              uint32_t number, size_t len)
{
    uint32_t at, found, rows = nuc_table_rows(maker->data, index);
    const uint8_t *row = nuc_snapshot_place(maker, table, number);
    uint8_t *slots = nuc_snapshot_place(maker, index, 0);

    at = nuc_snapshot_hash(nuc_le64(row), rows);

    while ((found = nuc_le32(slots + (uint64_t) at * 4)) != 0) {
        if (memcmp(nuc_snapshot_place(maker, table, found - 1), row, len) == 0) {
            return 0;
        }

        at = (at + 1) & (rows - 1);
    }

    nuc_le32_put(slots + (uint64_t) at * 4, number + 1);

    return 1;
}

static void nuc_snapshot_put_head(nuc_snapshot_maker_t *maker, uint64_t len)
{
    unsigned table;
    uint64_t offset = NUC_SNAPSHOT_HEAD;
    uint8_t *p = maker->data;
    const nuc_snapshot_content_t *content = maker->content;

    memcpy(p, NUC_SNAPSHOT_MAGIC, 8);
    nuc_le32_put(p + 8, NUC_SNAPSHOT_VERSION);
    memcpy(p + 16, content->registry.b, 16);
    nuc_le64_put(p + 32, content->generation);
    nuc_le64_put(p + 40, content->created);
    nuc_le64_put(p + 48, len);

    for (table = 0; table < NUC_TABLE_COUNT; table++) {
        nuc_le32_put(p + NUC_SNAPSHOT_TABLES + 8 * table, (uint32_t) (offset / 8));
        nuc_le32_put(p + NUC_SNAPSHOT_TABLES + 8 * table + 4,
                     (uint32_t) maker->rows[table]);
        offset = nuc_table_end(offset, table, maker->rows[table]);
    }
}

static void nuc_snapshot_put_tenant(uint8_t *p, const nuc_snapshot_tenant_t *tenant)
{
    p[0] = (uint8_t) tenant->name.len;
    p[1] = tenant->disabled != 0;
    memcpy(p + 8, tenant->name.data, tenant->name.len);
    nuc_limits_put(p + 72, tenant->limits);
    nuc_le64_put(p + 120, tenant->max_queue_bytes);
    nuc_le64_put(p + 128, tenant->max_events_a_day);
    nuc_le64_put(p + 136, tenant->max_inflight);
}

static void nuc_snapshot_put_key(uint8_t *p, const nuc_snapshot_key_t *key)
{
    nuc_le64_put(p, key->id);
    memcpy(p + 8, key->digest, NUC_KEY_DIGEST_LEN);
    nuc_le64_put(p + 40, key->not_before);
    nuc_le64_put(p + 48, key->not_after);
    nuc_le32_put(p + 56, key->tenant);
    nuc_le16_put(p + 60, (uint16_t) key->scopes);
    nuc_le16_put(p + 62, (uint16_t) ((key->revoked ? NUC_KEY_REVOKED : 0) |
                                     (key->nstreams ? NUC_KEY_HAS_STREAMS : 0) |
                                     (key->nnetworks ? NUC_KEY_HAS_NETWORKS : 0)));
    nuc_le64_put(p + 64, key->lineage);
    nuc_limits_put(p + 80, key->limits);
}

static nuc_rc_t nuc_snapshot_put_certificates(nuc_snapshot_maker_t *maker,
                                              const nuc_snapshot_key_t *key,
                                              uint32_t number, uint32_t *next,
                                              nuc_err_t *err)
{
    size_t i;
    uint8_t *p;
    char id[NUC_KEY_ID_LEN + 1];

    for (i = 0; i < key->ncertificates; i++, ++*next) {
        p = nuc_snapshot_place(maker, NUC_TABLE_CERTIFICATES, *next);
        memcpy(p, key->certificates[i], 32);
        nuc_le32_put(p + 32, number);

        if (!nuc_snapshot_enter(maker, NUC_TABLE_CERTIFICATE_INDEX,
                                NUC_TABLE_CERTIFICATES, *next, 32)) {
            nuc_key_id_text(key->id, id);
            return nuc_err_set(err, NUC_INVALID,
                               "a certificate of key \"%s\" stands for a key already",
                               id);
        }
    }

    return NUC_OK;
}

static nuc_rc_t nuc_snapshot_check_key(const nuc_snapshot_content_t *content,
                                       const nuc_snapshot_key_t *key, nuc_err_t *err)
{
    size_t i;
    char id[NUC_KEY_ID_LEN + 1];

    nuc_key_id_text(key->id, id);

    if (key->id >> 60 != 0 || key->tenant >= content->ntenants ||
        key->scopes > UINT16_MAX) {
        return nuc_err_set(err, NUC_INVALID,
                           "key \"%s\" has an id, a tenant or scopes that cannot be", id);
    }

    for (i = 0; i < key->nstreams; i++) {
        if (!nuc_name_valid(key->streams[i])) {
            return nuc_err_set(err, NUC_INVALID,
                               "key \"%s\" has a stream \"%.*s\", which is no name", id,
                               key->streams[i].len > 80 ? 80 : (int) key->streams[i].len,
                               (const char *) key->streams[i].data);
        }
    }

    for (i = 0; i < key->nnetworks; i++) {
        if (key->networks[i].bits > 128) {
            return nuc_err_set(err, NUC_INVALID,
                               "key \"%s\" has a network of %u bits, there are 128", id,
                               (unsigned) key->networks[i].bits);
        }
    }

    return NUC_OK;
}

static nuc_rc_t nuc_snapshot_put_keys(nuc_snapshot_maker_t *maker, nuc_err_t *err)
{
    size_t i;
    uint8_t *p, *row;
    nuc_rc_t rc;
    char id[NUC_KEY_ID_LEN + 1];
    uint32_t number, certificate = 0, stream = 0, network = 0;
    const nuc_snapshot_key_t *key;

    for (number = 0; number < maker->content->nkeys; number++) {
        key = &maker->content->keys[number];

        rc = nuc_snapshot_check_key(maker->content, key, err);
        if (rc != NUC_OK) {
            return rc;
        }

        row = nuc_snapshot_place(maker, NUC_TABLE_KEYS, number);
        nuc_snapshot_put_key(row, key);
        nuc_le32_put(row + 72, stream);
        nuc_le32_put(row + 76, network);

        if (!nuc_snapshot_enter(maker, NUC_TABLE_KEY_INDEX, NUC_TABLE_KEYS, number, 8)) {
            nuc_key_id_text(key->id, id);
            return nuc_err_set(err, NUC_INVALID, "key \"%s\" is there twice", id);
        }

        for (i = 0; i < key->nstreams; i++) {
            p = nuc_snapshot_place(maker, NUC_TABLE_STREAMS, stream++);
            p[0] = (uint8_t) key->streams[i].len;
            memcpy(p + 8, key->streams[i].data, key->streams[i].len);
        }

        for (i = 0; i < key->nnetworks; i++) {
            p = nuc_snapshot_place(maker, NUC_TABLE_NETWORKS, network++);
            memcpy(p, key->networks[i].address, 16);
            p[16] = key->networks[i].bits;
        }

        rc = nuc_snapshot_put_certificates(maker, key, number, &certificate, err);
        if (rc != NUC_OK) {
            return rc;
        }
    }

    return NUC_OK;
}

static int nuc_name_cmp(const void *a, const void *b)
{
    const nuc_str_t *x = a, *y = b;

    return x->len != y->len ? (x->len < y->len ? -1 : 1)
                            : memcmp(x->data, y->data, x->len);
}

static nuc_rc_t nuc_snapshot_check_tenants(const nuc_snapshot_content_t *content,
                                           nuc_err_t *err)
{
    size_t i;
    nuc_rc_t rc = NUC_OK;
    nuc_str_t *names;

    names = calloc(content->ntenants + 1, sizeof(*names));
    if (names == NULL) {
        return nuc_err_set(err, NUC_NOMEM, "no memory for a snapshot");
    }

    for (i = 0; i < content->ntenants; i++) {
        names[i] = content->tenants[i].name;

        if (!nuc_name_valid(names[i])) {
            rc = nuc_err_set(err, NUC_INVALID, "tenant \"%.*s\" has no valid name",
                             names[i].len > 80 ? 80 : (int) names[i].len,
                             names[i].data ? (const char *) names[i].data : "");
            goto done;
        }
    }

    qsort(names, content->ntenants, sizeof(*names), nuc_name_cmp);

    for (i = 1; i < content->ntenants; i++) {
        if (nuc_str_eq(names[i], names[i - 1])) {
            rc = nuc_err_set(err, NUC_INVALID, "tenant \"%.*s\" is there twice",
                             (int) names[i].len, (const char *) names[i].data);
            goto done;
        }
    }

done:

    free(names);
    return rc;
}

nuc_rc_t nuc_snapshot_build(const nuc_snapshot_content_t *content, nuc_buf_t *out,
                            nuc_err_t *err)
{
    uint32_t i;
    unsigned table;
    nuc_rc_t rc;
    uint64_t len = NUC_SNAPSHOT_HEAD;
    nuc_snapshot_maker_t maker = {.content = content};

    rc = nuc_snapshot_check_tenants(content, err);
    if (rc != NUC_OK) {
        return rc;
    }

    nuc_snapshot_count(&maker);

    for (table = 0; table < NUC_TABLE_COUNT; table++) {
        if (maker.rows[table] > NUC_SNAPSHOT_ROWS) {
            return nuc_err_set(err, NUC_TOO_LARGE, "a snapshot cannot hold so much");
        }

        len = nuc_table_end(len, table, maker.rows[table]);
    }

    len += NUC_SNAPSHOT_END;

    if (len > NUC_SNAPSHOT_MAX) {
        return nuc_err_set(err, NUC_TOO_LARGE, "a snapshot cannot hold so much");
    }

    maker.data = nuc_buf_reserve(out, len);
    if (maker.data == NULL) {
        return nuc_err_set(err, NUC_NOMEM, "no memory for a snapshot");
    }

    memset(maker.data, 0, len);
    nuc_snapshot_put_head(&maker, len);

    for (i = 0; i < content->ntenants; i++) {
        nuc_snapshot_put_tenant(nuc_snapshot_place(&maker, NUC_TABLE_TENANTS, i),
                                &content->tenants[i]);
    }

    rc = nuc_snapshot_put_keys(&maker, err);
    if (rc != NUC_OK) {
        return rc;
    }

    nuc_le32_put(maker.data + len - NUC_SNAPSHOT_END,
                 nuc_crc32c(0, maker.data, len - NUC_SNAPSHOT_END));
    out->len += len;

    return NUC_OK;
}

/* ---- checking */

/* Returns what is wrong, or NULL; so do the next ones. */
static const char *nuc_snapshot_check_frame(const uint8_t *data, size_t len)
{
    unsigned table;
    uint64_t offset = NUC_SNAPSHOT_HEAD;

    if (nuc_le64(data + 48) != len) {
        return "its length is not what it says";
    }

    if (nuc_le64(data + len - NUC_SNAPSHOT_END) !=
        nuc_crc32c(0, data, len - NUC_SNAPSHOT_END)) {
        return "its checksum is wrong";
    }

    for (table = 0; table < NUC_TABLE_COUNT; table++) {
        if (nuc_table_offset(data, table) != offset) {
            return "a table is not where it should be";
        }

        offset = nuc_table_end(offset, table, nuc_table_rows(data, table));
    }

    return offset + NUC_SNAPSHOT_END == len ? NULL : "its tables are not all of it";
}

static const char *nuc_snapshot_check_index(const uint8_t *data, unsigned index,
                                            unsigned table, size_t len)
{
    uint32_t i, number, filled = 0;
    uint32_t rows = nuc_table_rows(data, index), count = nuc_table_rows(data, table);

    if ((rows & (rows - 1)) != 0 || rows < 2 * (uint64_t) count ||
        rows > NUC_SNAPSHOT_ROWS) {
        return "an index has a size that cannot be";
    }

    for (i = 0; i < rows; i++) {
        number = nuc_le32(nuc_table_row(data, index, i));
        filled += number != 0;

        if (number > count) {
            return "an index leads nowhere";
        }
    }

    if (filled != count) {
        return "an index has too many entries, or too few";
    }

    for (i = 0; i < count; i++) {
        if (nuc_snapshot_search(data, index, table, nuc_table_row(data, table, i), len,
                                &number) != NUC_OK ||
            number != i) {
            return "an index does not lead to each";
        }
    }

    return NULL;
}

/* The rows of a list: from that of the key to the next key's. */
static void nuc_snapshot_list(const uint8_t *data, unsigned table, unsigned field,
                              const uint8_t *key, uint32_t number, uint32_t *first,
                              uint32_t *end)
{
    *first = nuc_le32(key + field);
    *end = number + 1 < nuc_table_rows(data, NUC_TABLE_KEYS)
               ? nuc_le32(key + NUC_KEY_ROW + field)
               : nuc_table_rows(data, table);
}

static int nuc_snapshot_is_list(const uint8_t *data, unsigned table, unsigned field,
                                unsigned flag, uint32_t number)
{
    uint32_t first, end;
    const uint8_t *key = nuc_table_row(data, NUC_TABLE_KEYS, number);

    nuc_snapshot_list(data, table, field, key, number, &first, &end);

    /* what is in no list would be nobody's */
    return first <= end && end <= nuc_table_rows(data, table) &&
           (number != 0 || first == 0) &&
           (first != end) == ((nuc_le16(key + 62) & flag) != 0);
}

static const char *nuc_snapshot_check_keys(const uint8_t *data)
{
    uint32_t i;
    const uint8_t *key;

    for (i = 0; i < nuc_table_rows(data, NUC_TABLE_KEYS); i++) {
        key = nuc_table_row(data, NUC_TABLE_KEYS, i);

        if (nuc_le64(key) >> 60 != 0) {
            return "a key has an id that cannot be";
        }

        if (nuc_le32(key + 56) >= nuc_table_rows(data, NUC_TABLE_TENANTS)) {
            return "a key has a tenant that is not there";
        }

        if (!nuc_snapshot_is_list(data, NUC_TABLE_STREAMS, 72, NUC_KEY_HAS_STREAMS, i) ||
            !nuc_snapshot_is_list(data, NUC_TABLE_NETWORKS, 76, NUC_KEY_HAS_NETWORKS,
                                  i)) {
            return "a key has a list that cannot be";
        }
    }

    return NULL;
}

static const char *nuc_snapshot_check_rows(const uint8_t *data)
{
    uint32_t i;
    const uint8_t *row;

    for (i = 0; i < nuc_table_rows(data, NUC_TABLE_TENANTS); i++) {
        row = nuc_table_row(data, NUC_TABLE_TENANTS, i);

        if (!nuc_name_valid((nuc_str_t){row + 8, row[0]})) {
            return "a tenant has no valid name";
        }
    }

    for (i = 0; i < nuc_table_rows(data, NUC_TABLE_CERTIFICATES); i++) {
        row = nuc_table_row(data, NUC_TABLE_CERTIFICATES, i);

        if (nuc_le32(row + 32) >= nuc_table_rows(data, NUC_TABLE_KEYS)) {
            return "a certificate has a key that is not there";
        }
    }

    for (i = 0; i < nuc_table_rows(data, NUC_TABLE_STREAMS); i++) {
        row = nuc_table_row(data, NUC_TABLE_STREAMS, i);

        if (!nuc_name_valid((nuc_str_t){row + 8, row[0]})) {
            return "a stream has no valid name";
        }
    }

    for (i = 0; i < nuc_table_rows(data, NUC_TABLE_NETWORKS); i++) {
        if (nuc_table_row(data, NUC_TABLE_NETWORKS, i)[16] > 128) {
            return "a network has too many bits";
        }
    }

    return NULL;
}

static const char *nuc_snapshot_check(const uint8_t *data, size_t len)
{
    const char *wrong;

    if ((wrong = nuc_snapshot_check_frame(data, len)) != NULL ||
        (wrong = nuc_snapshot_check_rows(data)) != NULL ||
        (wrong = nuc_snapshot_check_keys(data)) != NULL ||
        (wrong = nuc_snapshot_check_index(data, NUC_TABLE_KEY_INDEX, NUC_TABLE_KEYS,
                                          8)) != NULL) {
        return wrong;
    }

    return nuc_snapshot_check_index(data, NUC_TABLE_CERTIFICATE_INDEX,
                                    NUC_TABLE_CERTIFICATES, 32);
}

nuc_rc_t nuc_snapshot_open(const uint8_t *data, size_t len, nuc_snapshot_t *snapshot,
                           nuc_err_t *err)
{
    const char *wrong;

    if (len < NUC_SNAPSHOT_HEAD + NUC_SNAPSHOT_END || len % 8 != 0 ||
        len > NUC_SNAPSHOT_MAX || memcmp(data, NUC_SNAPSHOT_MAGIC, 8) != 0) {
        return nuc_err_set(err, NUC_CORRUPT, "it is no snapshot, or not all of one");
    }

    if (nuc_le32(data + 8) != NUC_SNAPSHOT_VERSION) {
        return nuc_err_set(err, NUC_INVALID,
                           "it is of version %u, version %u is understood",
                           (unsigned) nuc_le32(data + 8), NUC_SNAPSHOT_VERSION);
    }

    wrong = nuc_snapshot_check(data, len);

    if (wrong != NULL) {
        return nuc_err_set(err, NUC_CORRUPT, "%s", wrong);
    }

    snapshot->data = data;
    snapshot->len = len;
    memcpy(snapshot->registry.b, data + 16, 16);
    snapshot->generation = nuc_le64(data + 32);
    snapshot->created = nuc_le64(data + 40);
    snapshot->ntenants = nuc_table_rows(data, NUC_TABLE_TENANTS);
    snapshot->nkeys = nuc_table_rows(data, NUC_TABLE_KEYS);

    return NUC_OK;
}

/* ---- reading */

static void nuc_limits_get(const uint8_t *p, nuc_limit_t limits[NUC_UNIT_COUNT])
{
    unsigned unit;

    for (unit = 0; unit < NUC_UNIT_COUNT; unit++, p += 16) {
        limits[unit].rate = nuc_le64(p);
        limits[unit].burst = nuc_le64(p + 8);
    }
}

static void nuc_snapshot_entry(const nuc_snapshot_t *snapshot, uint32_t number,
                               nuc_snapshot_entry_t *entry)
{
    const uint8_t *p = nuc_table_row(snapshot->data, NUC_TABLE_KEYS, number);

    entry->id = nuc_le64(p);
    entry->digest = p + 8;
    entry->lineage = nuc_le64(p + 64);
    entry->number = number;
    entry->tenant = nuc_le32(p + 56);
    entry->scopes = nuc_le16(p + 60);
    entry->revoked = (nuc_le16(p + 62) & NUC_KEY_REVOKED) != 0;
    entry->any_stream = (nuc_le16(p + 62) & NUC_KEY_HAS_STREAMS) == 0;
    entry->not_before = nuc_le64(p + 40);
    entry->not_after = nuc_le64(p + 48);
    nuc_limits_get(p + 80, entry->limits);
    entry->record = p;
}

nuc_rc_t nuc_snapshot_find(const nuc_snapshot_t *snapshot, uint64_t id,
                           nuc_snapshot_entry_t *entry)
{
    uint8_t begin[8];
    uint32_t number;

    nuc_le64_put(begin, id);

    if (nuc_snapshot_search(snapshot->data, NUC_TABLE_KEY_INDEX, NUC_TABLE_KEYS, begin,
                            sizeof(begin), &number) != NUC_OK) {
        return NUC_NOT_FOUND;
    }

    nuc_snapshot_entry(snapshot, number, entry);

    return NUC_OK;
}

nuc_rc_t nuc_snapshot_find_certificate(const nuc_snapshot_t *snapshot,
                                       const uint8_t sha256[32],
                                       nuc_snapshot_entry_t *entry)
{
    uint32_t number;
    const uint8_t *row;

    if (nuc_snapshot_search(snapshot->data, NUC_TABLE_CERTIFICATE_INDEX,
                            NUC_TABLE_CERTIFICATES, sha256, 32, &number) != NUC_OK) {
        return NUC_NOT_FOUND;
    }

    row = nuc_table_row(snapshot->data, NUC_TABLE_CERTIFICATES, number);
    nuc_snapshot_entry(snapshot, nuc_le32(row + 32), entry);

    return NUC_OK;
}

int nuc_snapshot_allows_stream(const nuc_snapshot_t *snapshot,
                               const nuc_snapshot_entry_t *entry, nuc_str_t stream)
{
    uint32_t i, end;
    const uint8_t *row;

    if (entry->any_stream) {
        return 1;
    }

    nuc_snapshot_list(snapshot->data, NUC_TABLE_STREAMS, 72, entry->record, entry->number,
                      &i, &end);

    for (/* void */; i < end; i++) {
        row = nuc_table_row(snapshot->data, NUC_TABLE_STREAMS, i);

        if (nuc_str_eq((nuc_str_t){row + 8, row[0]}, stream)) {
            return 1;
        }
    }

    return 0;
}

static int nuc_network_has(const uint8_t *network, const uint8_t address[16])
{
    unsigned bits = network[16], whole = bits / 8, rest = bits % 8;

    if (memcmp(network, address, whole) != 0) {
        return 0;
    }

    return rest == 0 || (network[whole] ^ address[whole]) >> (8 - rest) == 0;
}

int nuc_snapshot_allows_address(const nuc_snapshot_t *snapshot,
                                const nuc_snapshot_entry_t *entry,
                                const uint8_t address[16])
{
    uint32_t i, end;

    if ((nuc_le16(entry->record + 62) & NUC_KEY_HAS_NETWORKS) == 0) {
        return 1;
    }

    nuc_snapshot_list(snapshot->data, NUC_TABLE_NETWORKS, 76, entry->record,
                      entry->number, &i, &end);

    for (/* void */; i < end; i++) {
        if (nuc_network_has(nuc_table_row(snapshot->data, NUC_TABLE_NETWORKS, i),
                            address)) {
            return 1;
        }
    }

    return 0;
}

void nuc_snapshot_tenant(const nuc_snapshot_t *snapshot, uint32_t number,
                         nuc_snapshot_tenant_t *tenant)
{
    const uint8_t *p = nuc_table_row(snapshot->data, NUC_TABLE_TENANTS, number);

    tenant->name = (nuc_str_t){p + 8, p[0]};
    tenant->disabled = p[1] & 1;
    nuc_limits_get(p + 72, tenant->limits);
    tenant->max_queue_bytes = nuc_le64(p + 120);
    tenant->max_events_a_day = nuc_le64(p + 128);
    tenant->max_inflight = nuc_le64(p + 136);
}
