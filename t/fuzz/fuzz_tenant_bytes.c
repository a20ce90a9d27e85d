/*
 * What the worker tells nginx of the bytes in the queue: whatever the file holds, what is
 * read is in order, can be found, and is read again the same once it is written.
 */

#include "fuzz.h"
#include "memfs.h"
#include "nuc_tenant_bytes.h"

#define DIR      "/q"
#define TEXT_MAX 65536

static void check_list(const nuc_tenant_bytes_list_t *list)
{
    size_t i;
    const nuc_tenant_bytes_t *found;

    for (i = 0; i < list->count; i++) {
        nuc_str_t name = nuc_str(list->items[i].tenant);

        FUZZ_CHECK(nuc_name_valid(name), "\"%s\" is no name", list->items[i].tenant);
        FUZZ_CHECK(i == 0 ||
                       strcmp(list->items[i - 1].tenant, list->items[i].tenant) <= 0,
                   "\"%s\" is out of order", list->items[i].tenant);

        found = nuc_tenant_bytes_find(list, name);
        FUZZ_CHECK(found != NULL && strcmp(found->tenant, list->items[i].tenant) == 0,
                   "\"%s\" is not found", list->items[i].tenant);
    }

    FUZZ_CHECK(nuc_tenant_bytes_find(list, NUC_STR("Nobody")) == NULL, "nobody is found");
}

static int same(const nuc_tenant_bytes_list_t *a, const nuc_tenant_bytes_list_t *b)
{
    return a->number == b->number && a->count == b->count &&
           memcmp(a->items, b->items, a->count * sizeof(a->items[0])) == 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    memfs_t *fs;
    nuc_err_t err;
    nuc_str_t text;
    nuc_tenant_bytes_list_t *list = NULL, *again = NULL;

    if (len > TEXT_MAX) {
        return 0;
    }

    text = fuzz_copy(data, len);
    FUZZ_CHECK(nuc_tenant_bytes_parse(text, &list, &err) == NUC_OK, "%s", err.message);
    check_list(list);

    fs = memfs_create();
    memfs_mkdir(fs, DIR);
    FUZZ_CHECK(nuc_tenant_bytes_read(memfs_sys(fs), DIR, &again, &err) == NUC_NOT_FOUND,
               "a file that is not there is read");
    FUZZ_CHECK(nuc_tenant_bytes_write(memfs_sys(fs), DIR, list, &err) == NUC_OK, "%s",
               err.message);
    FUZZ_CHECK(nuc_tenant_bytes_read(memfs_sys(fs), DIR, &again, &err) == NUC_OK, "%s",
               err.message);
    FUZZ_CHECK(same(list, again), "what is written is read as something else");
    FUZZ_CHECK(memfs_open_files(fs) == 0, "a file is left open");

    memfs_destroy(fs);
    fuzz_free(text);
    free(list);
    free(again);

    return 0;
}
