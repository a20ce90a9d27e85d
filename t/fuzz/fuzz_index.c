/*
 * The index of a segment: hostile bytes with their checksums as they came or made right;
 * an index that was built finds what was put into it, and nothing else.
 *
 * Input: a first byte that chooses; then an index, or choices that make one.
 */

#include "fuzz.h"
#include "memfs.h"
#include "nuc_crc32c.h"
#include "nuc_le.h"
#include "nuc_log_index.h"
#include "nuc_record.h"

#define DIR        "/q"
#define FIRST      7u
#define PATH       DIR "/00000000000000000007.idx"
#define HEADER_LEN 128u
#define ENTRY_LEN  24u
#define RECORDS    64u
#define RIDS       48u /* that are asked for */

static const nuc_uuid_t writer = {
    {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}};

static void check_no_index(memfs_t *fs)
{
    uint8_t rid[NUC_RID_LEN] = {0};
    uint64_t offset;
    nuc_err_t err;
    nuc_index_summary_t summary;

    FUZZ_CHECK(nuc_index_summary(memfs_sys(fs), DIR, &writer, FIRST, &summary, &err) ==
                   NUC_NOT_FOUND,
               "a summary of a bad index");
    fuzz_check_err(NUC_NOT_FOUND, &err);
    FUZZ_CHECK(nuc_index_find(memfs_sys(fs), DIR, &writer, FIRST, rid, &offset, &err) ==
                   NUC_CORRUPT,
               "a bad index was searched");
}

/*
 * What was found is an entry of the file with that rid; in a file whose entries are in
 * order, as the builder writes them, all are found.
 */
static void check_find(memfs_t *fs, nuc_str_t file)
{
    size_t i, j;
    int sorted;
    uint64_t offset, records;
    nuc_rc_t rc;
    nuc_err_t err;
    const uint8_t *entry;

    records = nuc_le64(file.data + 48);
    records = records > (file.len - HEADER_LEN) / ENTRY_LEN ? 1 : records;
    entry = file.data + HEADER_LEN;
    sorted = 1;

    for (i = 1; i < records; i++) {
        sorted = sorted && memcmp(entry + (i - 1) * ENTRY_LEN, entry + i * ENTRY_LEN,
                                  NUC_RID_LEN) <= 0;
    }

    for (i = 0; i < records && i < 16 && file.len >= HEADER_LEN + ENTRY_LEN; i++) {
        rc = nuc_index_find(memfs_sys(fs), DIR, &writer, FIRST, entry + i * ENTRY_LEN,
                            &offset, &err);

        if (rc == NUC_CORRUPT) {
            fuzz_check_err(rc, &err);
            continue;
        }

        FUZZ_CHECK(rc == NUC_OK || (rc == NUC_NOT_FOUND && !sorted), "find answers %d",
                   rc);

        for (j = 0; rc == NUC_OK && j < records; j++) {
            if (nuc_le64(entry + j * ENTRY_LEN + NUC_RID_LEN) == offset &&
                memcmp(entry + j * ENTRY_LEN, entry + i * ENTRY_LEN, NUC_RID_LEN) == 0) {
                break;
            }
        }

        FUZZ_CHECK(rc != NUC_OK || j < records, "the offset of another record");
    }
}

/* Make the parts that a hostile index must have right, as far as "choice" says. */
static void seal(uint8_t *file, size_t len, unsigned choice)
{
    if (len < HEADER_LEN || choice == 0) {
        return;
    }

    memcpy(file, "NUCIDX1", 8);
    memcpy(file + 8, writer.b, 16);
    nuc_le64_put(file + 24, FIRST);

    if (choice & 1) {
        nuc_le64_put(file + 64, len - HEADER_LEN);
    }

    if (choice & 2) {
        nuc_le32_put(file + 76, nuc_crc32c(0, file + HEADER_LEN, len - HEADER_LEN));
    }

    nuc_le32_put(file + 124, nuc_crc32c(0, file, 124));
}

static void fuzz_read(fuzz_input_t *in, unsigned choice)
{
    nuc_rc_t rc;
    nuc_err_t err;
    memfs_t *fs;
    nuc_str_t file;
    nuc_index_summary_t summary;

    file = fuzz_take_bytes(in, SIZE_MAX);
    file = fuzz_copy(file.data, file.len);
    seal((uint8_t *) (uintptr_t) file.data, file.len, choice);

    fs = memfs_create();
    memfs_put(fs, PATH, file.data, file.len);
    rc = nuc_index_summary(memfs_sys(fs), DIR, &writer, FIRST, &summary, &err);

    if (rc == NUC_OK) {
        FUZZ_CHECK(summary.first == FIRST && summary.end == nuc_le64(file.data + 32) &&
                       summary.lost == nuc_le64(file.data + 56),
                   "the summary");
        check_find(fs, file);
    } else {
        check_no_index(fs);
    }

    memfs_destroy(fs);
    fuzz_free(file);
}

/* Few different rids, so that some are there twice. */
static void make_rid(uint8_t rid[NUC_RID_LEN], unsigned number)
{
    memset(rid, 0x5a, NUC_RID_LEN);
    rid[number % 2 ? 0 : NUC_RID_LEN - 1] = (uint8_t) (number * 37);
}

static void build(memfs_t *fs, const unsigned *numbers, const nuc_str_t *tenants,
                  unsigned count)
{
    unsigned i;
    nuc_err_t err;
    nuc_record_t record = {.kind = NUC_KIND_JSON, .data = NUC_STR("{}")};
    nuc_index_builder_t *builder;
    nuc_index_summary_t summary = {FIRST, FIRST + count, 64 + 40u * count, count, 1};

    builder = nuc_index_builder_create();
    FUZZ_CHECK(builder != NULL, "no builder");

    for (i = 0; i < count; i++) {
        make_rid(record.rid, numbers[i]);
        record.attr[NUC_ATTR_TENANT] = tenants[i];
        FUZZ_CHECK(nuc_index_builder_add(builder, &record, 64 + 40u * i, &err) == NUC_OK,
                   "%s", err.message);
    }

    FUZZ_CHECK(nuc_index_builder_write(builder, memfs_sys(fs), DIR, &writer, &summary,
                                       &err) == NUC_OK,
               "%s", err.message);
    nuc_index_builder_free(builder);
}

static void check_built(memfs_t *fs, const unsigned *numbers, unsigned count)
{
    unsigned i, number;
    int there;
    uint8_t rid[NUC_RID_LEN], other[NUC_RID_LEN];
    uint64_t offset;
    nuc_rc_t rc;
    nuc_err_t err;

    for (number = 0; number < RIDS; number++) {
        make_rid(rid, number);
        rc = nuc_index_find(memfs_sys(fs), DIR, &writer, FIRST, rid, &offset, &err);

        for (there = 0, i = 0; i < count; i++) {
            make_rid(other, numbers[i]);
            there |= memcmp(rid, other, NUC_RID_LEN) == 0 &&
                     (rc != NUC_OK || offset == 64 + 40u * i);
        }

        FUZZ_CHECK(rc == (there ? NUC_OK : NUC_NOT_FOUND), "rid %u: %d", number, rc);
    }
}

/* Tenants ascend, each once, and their records are all there are. */
static void check_tenants(nuc_str_t file, unsigned count)
{
    unsigned i;
    int order;
    uint64_t records;
    nuc_str_t name, before;
    const uint8_t *p, *end;

    p = file.data + HEADER_LEN + ENTRY_LEN * count;
    end = file.data + file.len;
    before = NUC_STR_NONE;
    records = 0;

    for (i = 0; i < nuc_le32(file.data + 72); i++) {
        FUZZ_CHECK(end - p >= 20, "tenant %u is cut short", i);
        name = (nuc_str_t){p + 20, nuc_le32(p)};
        FUZZ_CHECK((size_t) (end - p) - 20 >= name.len, "tenant %u leads outside", i);
        records += nuc_le64(p + 4);
        FUZZ_CHECK(nuc_le64(p + 12) == 2 * nuc_le64(p + 4), "bytes of tenant %u", i);

        order = before.len == 0 ? -1
                                : memcmp(before.data, name.data,
                                         before.len < name.len ? before.len : name.len);
        FUZZ_CHECK(i == 0 || order < 0 || (order == 0 && before.len < name.len),
                   "tenant %u does not ascend", i);
        before = name;
        p += 20 + name.len;
    }

    FUZZ_CHECK(p == end && records == count, "%llu records of tenants, not %u",
               (unsigned long long) records, count);
}

static void fuzz_build(fuzz_input_t *in)
{
    unsigned i, count, numbers[RECORDS];
    memfs_t *fs;
    nuc_err_t err;
    nuc_str_t tenants[RECORDS];
    nuc_index_summary_t summary;

    count = fuzz_take_below(in, RECORDS);

    for (i = 0; i < count; i++) {
        numbers[i] = (unsigned) fuzz_take(in, 1) % (RIDS - 4);
        tenants[i] = fuzz_take_bytes(in, (size_t) fuzz_take(in, 1) % 6);
    }

    fs = memfs_create();
    memfs_mkdir(fs, DIR);
    check_no_index(fs);
    build(fs, numbers, tenants, count);

    FUZZ_CHECK(nuc_index_summary(memfs_sys(fs), DIR, &writer, FIRST, &summary, &err) ==
                   NUC_OK,
               "%s", err.message);
    FUZZ_CHECK(summary.first == FIRST && summary.end == FIRST + count &&
                   summary.length == 64 + 40u * count && summary.records == count &&
                   summary.lost == 1,
               "the summary of what was built");

    check_built(fs, numbers, count);
    check_tenants(memfs_get(fs, PATH), count);
    memfs_destroy(fs);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    unsigned choice;
    fuzz_input_t in = {data, data + len};

    choice = fuzz_take_below(&in, 6);

    if (choice > 3) {
        fuzz_build(&in);
    } else {
        fuzz_read(&in, choice);
    }

    return 0;
}
