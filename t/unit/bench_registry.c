/*
 * What many keys cost: a snapshot of N keys is built and written, loaded as an nginx
 * process does, and keys are found in it in random order.
 *
 *     bench_registry [N [FILE]]      100000 keys; FILE is written for nginx to use,
 * FILE.readers too
 *
 * Prints a line of figures, and with FILE one of the keys behind it.
 */

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "nuc_fs.h"
#include "nuc_snapshot.h"
#include "nuc_sys.h"
#include "nuc_time.h"

#define FINDS 1000000

static void check(nuc_rc_t rc, const nuc_err_t *err)
{
    if (rc != NUC_OK) {
        fprintf(stderr, "%s: %s\n", nuc_rc_name(rc), err->message);
        exit(1);
    }
}

static void make_keys(nuc_snapshot_key_t *keys, uint64_t *ids, size_t count,
                      char text[NUC_KEY_LEN + 1])
{
    nuc_err_t err = {.message = ""};
    nuc_key_hasher_t *hasher;
    nuc_key_t key;

    check(nuc_key_hasher_create(&hasher, &err), &err);

    for (size_t i = 0; i < count; i++) {
        check(nuc_key_make(text, &err), &err);

        if (nuc_key_parse(nuc_str(text), &key) != NUC_KEY_GOOD) {
            fprintf(stderr, "a key that was made is not one\n");
            exit(1);
        }

        ids[i] = key.id;
        keys[i].id = key.id;
        keys[i].lineage = key.id;
        keys[i].scopes = NUC_SCOPE_COLLECT;
        check(nuc_key_digest(hasher, &key, keys[i].digest), &err);
    }

    nuc_key_hasher_free(hasher);
}

static void build(uint64_t *ids, size_t count, const char *path,
                  char text[NUC_KEY_LEN + 1])
{
    nuc_err_t err = {.message = ""};
    nuc_buf_t bytes = NUC_BUF_INIT;
    nuc_snapshot_tenant_t tenant = {.name = NUC_STR("bench")};
    nuc_snapshot_key_t *keys = calloc(count, sizeof(*keys));

    if (keys == NULL) {
        exit(1);
    }

    make_keys(keys, ids, count, text);

    nuc_snapshot_content_t content = {
        .generation = 1,
        .created = nuc_time_now(),
        .tenants = &tenant,
        .ntenants = 1,
        .keys = keys,
        .nkeys = count,
    };

    check(nuc_snapshot_build(&content, &bytes, &err), &err);
    check(
        nuc_snapshot_save(&nuc_sys_posix, path, (nuc_str_t){bytes.data, bytes.len}, &err),
        &err);
    nuc_buf_free(&bytes);
    free(keys);
}

/* ns for each of many finds, in random order. */
static double find(const nuc_snapshot_t *snapshot, const uint64_t *ids, size_t count)
{
    nuc_snapshot_entry_t entry;
    uint64_t begin = nuc_time_now();
    uint64_t state = 88172645463325252u;
    uint64_t sum = 0;

    for (size_t i = 0; i < FINDS; i++) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;

        if (nuc_snapshot_find(snapshot, ids[state % count], &entry) != NUC_OK) {
            fprintf(stderr, "a key is not found\n");
            exit(1);
        }

        sum += entry.digest[0];
    }

    if (sum == 0) {
        fprintf(stderr, "digests of zeros\n");
    }

    return (double) (nuc_time_now() - begin) * 1e3 / FINDS;
}

int main(int argc, char **argv)
{
    size_t count = argc > 1 ? strtoul(argv[1], NULL, 10) : 100000;
    const char *path = argc > 2 ? argv[2] : "bench-registry.snapshot";
    char text[NUC_KEY_LEN + 1], readers[NUC_PATH_MAX];
    nuc_err_t err = {.message = ""};
    nuc_snapshot_file_t *file;
    uint64_t *ids;
    uint64_t begin, loaded;

    if (count == 0) {
        fprintf(stderr, "usage: %s [KEYS [FILE]]\n", argv[0]);
        return 2;
    }

    ids = calloc(count, sizeof(*ids));
    if (ids == NULL) {
        return 1;
    }

    build(ids, count, path, text);

    begin = nuc_time_now();
    check(nuc_snapshot_load(&nuc_sys_posix, path, &file, &err), &err);
    loaded = nuc_time_now() - begin;

    printf("%zu keys: %.1f MB, loaded in %.1f ms, found in %.0f ns\n", count,
           (double) file->snapshot.len / 1e6, (double) loaded / 1e3,
           find(&file->snapshot, ids, count));

    nuc_snapshot_unload(&nuc_sys_posix, file);
    free(ids);

    if (argc <= 2) {
        unlink(path);
        return 0;
    }

    snprintf(readers, sizeof(readers), "%s.readers", path);

    int fd = open(readers, O_CREAT | O_RDWR, 0644);

    if (fd == -1) {
        perror(readers);
        return 1;
    }

    close(fd);
    printf("%s\n", text);

    return 0;
}
