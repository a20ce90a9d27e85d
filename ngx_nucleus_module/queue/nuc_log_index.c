#include "nuc_log_index.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "nuc_crc32c.h"
#include "nuc_le.h"
#include "nuc_log_list.h"

#define NUC_INDEX_HEADER_LEN 128
#define NUC_INDEX_ENTRY_LEN  (NUC_RID_LEN + 8)
#define NUC_INDEX_TENANT_LEN 20 /* without the name */
#define NUC_INDEX_MAX        (1u << 30)

static const uint8_t nuc_index_magic[8] = "NUCIDX1";

typedef struct {
    uint8_t *name; /* owned */
    size_t len;
    uint64_t records;
    uint64_t bytes;
} nuc_index_tenant_t;

struct nuc_index_builder_s {
    nuc_buf_t entries;
    nuc_index_tenant_t *tenants; /* sorted by name */
    size_t ntenants;
    size_t tenants_capacity;
};

nuc_index_builder_t *nuc_index_builder_create(void)
{
    return calloc(1, sizeof(nuc_index_builder_t));
}

void nuc_index_builder_free(nuc_index_builder_t *builder)
{
    size_t i;

    if (builder == NULL) {
        return;
    }

    for (i = 0; i < builder->ntenants; i++) {
        free(builder->tenants[i].name);
    }

    free(builder->tenants);
    nuc_buf_free(&builder->entries);
    free(builder);
}

static int nuc_index_tenant_cmp(const nuc_index_tenant_t *tenant, nuc_str_t name)
{
    int rc;
    size_t len = tenant->len < name.len ? tenant->len : name.len;

    rc = len == 0 ? 0 : memcmp(tenant->name, name.data, len);

    return rc != 0 ? rc : (tenant->len > name.len) - (tenant->len < name.len);
}

/* Where the tenant stands, or would stand. */
static size_t nuc_index_tenant_place(const nuc_index_builder_t *builder, nuc_str_t name)
{
    size_t low = 0, high = builder->ntenants, middle;

    while (low < high) {
        middle = (low + high) / 2;

        if (nuc_index_tenant_cmp(&builder->tenants[middle], name) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }

    return low;
}

static nuc_index_tenant_t *nuc_index_tenant(nuc_index_builder_t *builder, nuc_str_t name)
{
    size_t place;
    uint8_t *copy;
    nuc_index_tenant_t *tenants;

    place = nuc_index_tenant_place(builder, name);

    if (place < builder->ntenants &&
        nuc_index_tenant_cmp(&builder->tenants[place], name) == 0) {
        return &builder->tenants[place];
    }

    tenants = nuc_list_grow(builder->tenants, &builder->tenants_capacity,
                            builder->ntenants, sizeof(*tenants));
    if (tenants == NULL) {
        return NULL;
    }

    builder->tenants = tenants;

    copy = malloc(name.len + 1);
    if (copy == NULL) {
        return NULL;
    }

    if (name.len > 0) {
        memcpy(copy, name.data, name.len);
    }

    tenants = builder->tenants + place;
    memmove(tenants + 1, tenants, (builder->ntenants - place) * sizeof(*tenants));
    builder->ntenants++;

    *tenants = (nuc_index_tenant_t){.name = copy, .len = name.len};

    return tenants;
}

nuc_rc_t nuc_index_builder_add(nuc_index_builder_t *builder, const nuc_record_t *record,
                               uint64_t offset, nuc_err_t *err)
{
    uint8_t *entry;
    nuc_index_tenant_t *tenant;

    entry = nuc_buf_reserve(&builder->entries, NUC_INDEX_ENTRY_LEN);
    tenant = nuc_index_tenant(builder, record->attr[NUC_ATTR_TENANT]);

    if (entry == NULL || tenant == NULL) {
        return nuc_err_set(err, NUC_NOMEM, "no memory for a segment's index");
    }

    memcpy(entry, record->rid, NUC_RID_LEN);
    nuc_le64_put(entry + NUC_RID_LEN, offset);
    builder->entries.len += NUC_INDEX_ENTRY_LEN;

    tenant->records++;
    tenant->bytes += record->data.len;

    return NUC_OK;
}

static int nuc_index_entry_cmp(const void *a, const void *b)
{
    return memcmp(a, b, NUC_RID_LEN);
}

static void nuc_index_put_tenants(const nuc_index_builder_t *builder, nuc_buf_t *out)
{
    size_t i;
    uint8_t fixed[NUC_INDEX_TENANT_LEN];
    const nuc_index_tenant_t *tenant;

    for (i = 0; i < builder->ntenants; i++) {
        tenant = &builder->tenants[i];

        nuc_le32_put(fixed, (uint32_t) tenant->len);
        nuc_le64_put(fixed + 4, tenant->records);
        nuc_le64_put(fixed + 12, tenant->bytes);
        nuc_buf_append(out, fixed, sizeof(fixed));
        nuc_buf_append(out, tenant->name, tenant->len);
    }
}

nuc_rc_t nuc_index_builder_write(nuc_index_builder_t *builder, const nuc_sys_t *sys,
                                 const char *dir, const nuc_uuid_t *writer,
                                 const nuc_index_summary_t *summary, nuc_err_t *err)
{
    char name[NUC_LOG_NAME_MAX];
    uint8_t header[NUC_INDEX_HEADER_LEN] = {0};
    nuc_rc_t rc;
    nuc_buf_t out = NUC_BUF_INIT;

    if (builder->entries.len > 0) {
        qsort(builder->entries.data, builder->entries.len / NUC_INDEX_ENTRY_LEN,
              NUC_INDEX_ENTRY_LEN, nuc_index_entry_cmp);
    }

    nuc_buf_append(&out, header, sizeof(header));
    nuc_buf_append(&out, builder->entries.data, builder->entries.len);
    nuc_index_put_tenants(builder, &out);

    if (out.failed) {
        nuc_buf_free(&out);
        return nuc_err_set(err, NUC_NOMEM, "no memory for a segment's index");
    }

    memcpy(out.data, nuc_index_magic, 8);
    memcpy(out.data + 8, writer->b, 16);
    nuc_le64_put(out.data + 24, summary->first);
    nuc_le64_put(out.data + 32, summary->end);
    nuc_le64_put(out.data + 40, summary->length);
    nuc_le64_put(out.data + 48, summary->records);
    nuc_le64_put(out.data + 56, summary->lost);
    nuc_le64_put(out.data + 64, out.len - sizeof(header));
    nuc_le32_put(out.data + 72, (uint32_t) builder->ntenants);
    nuc_le32_put(out.data + 76,
                 nuc_crc32c(0, out.data + sizeof(header), out.len - sizeof(header)));
    nuc_le32_put(out.data + 124, nuc_crc32c(0, out.data, 124));

    nuc_segment_name(summary->first, NUC_LOG_INDEX_SUFFIX, name);

    rc = nuc_fs_replace(sys, dir, name, (nuc_str_t){out.data, out.len}, NUC_LOG_FILE_MODE,
                        NULL, NULL, err);
    nuc_buf_free(&out);

    return rc;
}

static int nuc_index_header_valid(const uint8_t *header, const nuc_uuid_t *writer,
                                  uint64_t first)
{
    return memcmp(header, nuc_index_magic, 8) == 0 &&
           memcmp(header + 8, writer->b, 16) == 0 && nuc_le64(header + 24) == first &&
           nuc_le32(header + 124) == nuc_crc32c(0, header, 124);
}

nuc_rc_t nuc_index_summary(const nuc_sys_t *sys, const char *dir,
                           const nuc_uuid_t *writer, uint64_t first,
                           nuc_index_summary_t *summary, nuc_err_t *err)
{
    int fd;
    char path[NUC_PATH_MAX];
    size_t got;
    uint8_t header[NUC_INDEX_HEADER_LEN];
    nuc_rc_t rc;

    rc = nuc_segment_path(dir, first, NUC_LOG_INDEX_SUFFIX, path, err);
    if (rc != NUC_OK) {
        return rc;
    }

    fd = sys->open(sys, path, O_RDONLY, 0);
    if (fd == -1) {
        return nuc_err_sys(err, errno == ENOENT ? NUC_NOT_FOUND : NUC_IO, errno,
                           "open of \"%s\" failed", path);
    }

    rc = nuc_sys_read_all(sys, fd, header, sizeof(header), 0, &got, err);
    sys->close(sys, fd);

    if (rc != NUC_OK) {
        return rc;
    }

    if (got < sizeof(header) || !nuc_index_header_valid(header, writer, first)) {
        return nuc_err_set(err, NUC_NOT_FOUND, "index \"%s\" is damaged", path);
    }

    summary->first = first;
    summary->end = nuc_le64(header + 32);
    summary->length = nuc_le64(header + 40);
    summary->records = nuc_le64(header + 48);
    summary->lost = nuc_le64(header + 56);

    return NUC_OK;
}

nuc_rc_t nuc_index_find(const nuc_sys_t *sys, const char *dir, const nuc_uuid_t *writer,
                        uint64_t first, const uint8_t rid[NUC_RID_LEN], uint64_t *offset,
                        nuc_err_t *err)
{
    char path[NUC_PATH_MAX];
    size_t body_len;
    uint64_t records;
    nuc_rc_t rc;
    nuc_buf_t file = NUC_BUF_INIT;
    const uint8_t *body, *entry;

    rc = nuc_segment_path(dir, first, NUC_LOG_INDEX_SUFFIX, path, err);
    if (rc != NUC_OK) {
        return rc;
    }

    rc = nuc_fs_read_file(sys, path, NUC_INDEX_MAX, &file, err);
    if (rc != NUC_OK) {
        rc = rc == NUC_NOT_FOUND ? NUC_CORRUPT : rc;
        goto done;
    }

    body = file.data + NUC_INDEX_HEADER_LEN;
    body_len = file.len - NUC_INDEX_HEADER_LEN;

    if (file.len < NUC_INDEX_HEADER_LEN ||
        !nuc_index_header_valid(file.data, writer, first) ||
        nuc_le64(file.data + 64) != body_len ||
        nuc_le32(file.data + 76) != nuc_crc32c(0, body, body_len)) {
        rc = nuc_err_set(err, NUC_CORRUPT, "index \"%s\" is damaged", path);
        goto done;
    }

    records = nuc_le64(file.data + 48);

    if (records > body_len / NUC_INDEX_ENTRY_LEN) {
        rc = nuc_err_set(err, NUC_CORRUPT, "index \"%s\" is damaged", path);
        goto done;
    }

    entry = records == 0 ? NULL
                         : bsearch(rid, body, (size_t) records, NUC_INDEX_ENTRY_LEN,
                                   nuc_index_entry_cmp);
    if (entry == NULL) {
        rc = NUC_NOT_FOUND;
        goto done;
    }

    *offset = nuc_le64(entry + NUC_RID_LEN);

done:

    nuc_buf_free(&file);

    return rc;
}
