/*
 * The file sink alone: names, rotation, what it goes back to, what it refuses, its
 * limits. test_pipeline.c stops it everywhere.
 */

#include "tap.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "nuc_fs.h"
#include "nuc_sink.h"
#include "sim.h"

#define HOUR 3600000000ULL
#define T0   1793444400000000ULL /* 2026-10-31T11:00:00Z */

/* As the sink lays out its options. */
typedef struct {
    const char *path;
    uint64_t file_size;
} options_t;

static const options_t plain = {"store", 1 << 20};

static char top[NUC_PATH_MAX];

/* A sink with the state that a pipeline would have committed. */
typedef struct {
    const nuc_sys_t *sys;
    nuc_sink_t *sink;
    nuc_buf_t state;
    nuc_err_t err;
} store_t;

static nuc_rc_t store_open(store_t *s, const options_t *options)
{
    return nuc_sink_file.open(s->sys, "test", options,
                              (nuc_str_t){s->state.data, s->state.len}, &s->sink,
                              &s->err);
}

static void store_close(store_t *s)
{
    nuc_sink_file.close(s->sink);
}

static nuc_rc_t store_add(store_t *s, const char *tenant, uint64_t received,
                          const char *data)
{
    nuc_record_t rec;

    memset(&rec, 0, sizeof(rec));
    rec.kind = NUC_KIND_JSON;
    rec.received = received;
    rec.attr[NUC_ATTR_TENANT] = nuc_str(tenant);
    rec.attr[NUC_ATTR_STREAM] = nuc_str("json");
    rec.data = nuc_str(data);

    return s->sink->ops->add(s->sink, &rec, &s->err);
}

static nuc_rc_t store_prepare(store_t *s)
{
    int needed;
    nuc_rc_t rc;
    nuc_buf_t state = NUC_BUF_INIT;

    rc = s->sink->ops->prepare(s->sink, &state, &needed, &s->err);

    if (rc == NUC_OK && needed) {
        nuc_buf_free(&s->state);
        s->state = state;
    } else {
        nuc_buf_free(&state);
    }

    return rc;
}

/* "commit" 0: as if the process had died before the commit. */
static nuc_rc_t store_flush(store_t *s, int commit)
{
    nuc_rc_t rc;
    nuc_buf_t state = NUC_BUF_INIT;

    rc = s->sink->ops->flush(s->sink, &state, &s->err);

    if (rc == NUC_OK && commit) {
        nuc_buf_free(&s->state);
        s->state = state;
    } else {
        nuc_buf_free(&state);
    }

    return rc;
}

static nuc_rc_t store_write(store_t *s, const char *tenant, uint64_t received,
                            const char *data)
{
    nuc_rc_t rc;

    rc = store_add(s, tenant, received, data);

    if (rc == NUC_OK) {
        rc = store_prepare(s);
    }

    return rc == NUC_OK ? store_flush(s, 1) : rc;
}

/* What is on the disk. */

typedef struct {
    unsigned files;
    unsigned lines;
    unsigned unsafe; /* files and directories that others may read */
    char last[NUC_PATH_MAX];
    off_t last_size;
} found_t;

static void count_lines(const char *path, found_t *found)
{
    size_t i;
    nuc_buf_t text = NUC_BUF_INIT;

    if (nuc_fs_read_file(&nuc_sys_posix, path, 1 << 26, &text, NULL) != NUC_OK) {
        return;
    }

    for (i = 0; i < text.len; i++) {
        found->lines += text.data[i] == '\n';
    }

    nuc_buf_free(&text);
}

static void look(const char *path, found_t *found)
{
    DIR *dir;
    char child[NUC_PATH_MAX];
    struct stat st;
    struct dirent *entry;

    dir = opendir(path);

    while (dir != NULL && (entry = readdir(dir)) != NULL) {
        if (entry->d_name[0] == '.' ||
            nuc_path_join(child, path, entry->d_name, NULL) != NUC_OK ||
            stat(child, &st) == -1) {
            continue;
        }

        found->unsafe += (st.st_mode & 07) != 0;

        if (S_ISDIR(st.st_mode)) {
            look(child, found);
            continue;
        }

        found->files++;
        found->last_size = st.st_size;
        strcpy(found->last, child);
        count_lines(child, found);
    }

    if (dir != NULL) {
        closedir(dir);
    }
}

static found_t look_into(const char *path)
{
    found_t found = {0};

    look(path, &found);

    return found;
}

static unsigned state_files(const store_t *s)
{
    size_t i;
    unsigned lines = 0;

    for (i = 0; i < s->state.len; i++) {
        lines += s->state.data[i] == '\n';
    }

    return lines - 1; /* the root */
}

static store_t fresh(void)
{
    sim_remove_tree("store");

    return (store_t){.sys = &nuc_sys_posix, .state = NUC_BUF_INIT};
}

static void done(store_t *s)
{
    nuc_buf_free(&s->state);
}

/* The tests. */

static void test_names(void)
{
    found_t found;
    store_t s = fresh();

    is_int(store_open(&s, &plain), NUC_OK, "a store is made");
    is_int(store_write(&s, "north", T0 + HOUR - 1, "{\"a\": 1}"), NUC_OK,
           "a record is stored");
    found = look_into("store");
    is_int(found.files, 1, "in one file");
    is_int(found.lines, 1, "as one line");
    is_int(found.unsafe, 0, "which others may not read");
    found.last[strlen("store/stream=json/tenant=north/date=2026-10-31/hour=11")] = '\0';
    is_str(found.last, "store/stream=json/tenant=north/date=2026-10-31/hour=11",
           "by its time");

    is_int(store_write(&s, "north", T0, "{\"a\": 2}"), NUC_OK, "another");
    found = look_into("store");
    is_int(found.files, 1, "goes to the same file");
    is_int(found.lines, 2, "behind the first");

    is_int(store_write(&s, "north", T0 + HOUR, "{\"a\": 3}"), NUC_OK,
           "one of the next hour");
    is_int(look_into("store").files, 2, "goes to a file of its own");

    is_int(store_write(&s, "../../etc", T0, "{\"a\": 4}"), NUC_OK, "a name that is none");
    is_int(look_into("store/stream=json/tenant=_invalid").lines, 1, "leads nowhere else");

    store_close(&s);
    done(&s);
}

static void test_sizes(void)
{
    int i;
    found_t found;
    store_t s = fresh();
    options_t options = {"store", 400};

    is_int(store_open(&s, &options), NUC_OK, "a store of small files");

    for (i = 0; i < 9; i++) {
        ok(store_add(&s, "north", T0, "{\"a\": 1}") == NUC_OK, "record %d", i);
    }

    ok(s.sink->ops->batch_bytes(s.sink) > 9 * 100, "the batch grows");
    ok(store_prepare(&s) == NUC_OK && store_flush(&s, 1) == NUC_OK, "they are stored");
    is_int((long long) s.sink->ops->batch_bytes(s.sink), 0, "the batch is empty");

    found = look_into("store");
    is_int(found.lines, 9, "all of them");
    ok(found.files > 2 && found.files < 9, "in several files (%u)", found.files);
    ok(state_files(&s) <= 1, "full files leave the state (%u)", state_files(&s));

    store_close(&s);
    done(&s);
}

static void test_hours(void)
{
    int i;
    store_t s = fresh();

    is_int(store_open(&s, &plain), NUC_OK, "a store over hours");
    is_int(store_write(&s, "north", T0, "{\"a\": 1}"), NUC_OK, "the first hour");

    for (i = 0; i < 40; i++) {
        ok(store_write(&s, "north", T0 + HOUR + HOUR / 10, "{\"a\": 2}") == NUC_OK,
           "the next");
    }

    is_int(state_files(&s), 2, "the first hour's file stays for late ones");

    is_int(store_write(&s, "north", T0 + HOUR + HOUR / 4, "{\"a\": 3}"), NUC_OK,
           "10 minutes on");
    is_int(state_files(&s), 1, "then it leaves the state");

    is_int(store_write(&s, "north", T0, "{\"a\": 4}"), NUC_OK, "a very late one");
    is_int(look_into("store").files, 3, "gets a file of its own");
    is_int(look_into("store").lines, 43, "and all are there");

    store_close(&s);
    done(&s);
}

static void test_recovery(void)
{
    store_t s = fresh();

    is_int(store_open(&s, &plain), NUC_OK, "a store that dies");
    is_int(store_write(&s, "north", T0, "{\"a\": 1}"), NUC_OK, "one committed");
    ok(store_add(&s, "north", T0, "{\"a\": 2}") == NUC_OK &&
           store_add(&s, "south", T0, "{\"a\": 3}") == NUC_OK &&
           store_prepare(&s) == NUC_OK && store_flush(&s, 0) == NUC_OK,
       "two written and not committed");
    is_int(look_into("store").lines, 3, "they are on the disk");
    store_close(&s);

    is_int(store_open(&s, &plain), NUC_OK, "opened again");
    is_int(look_into("store").lines, 1, "they are gone");
    is_int(store_write(&s, "south", T0, "{\"a\": 3}"), NUC_OK, "and delivered again");
    is_int(look_into("store").lines, 2, "are there once");
    is_int(look_into("store").files, 2, "in the file that was made for them");
    store_close(&s);
    done(&s);
}

/* A file that was made, is not needed after all, and leaves the state. */
static void test_leftover(void)
{
    int i;
    store_t s = fresh();

    is_int(store_open(&s, &plain), NUC_OK, "a store with a file that nobody writes to");
    ok(store_add(&s, "north", T0, "{\"a\": 1}") == NUC_OK &&
           store_prepare(&s) == NUC_OK && store_flush(&s, 0) == NUC_OK,
       "it is made");
    store_close(&s);

    is_int(store_open(&s, &plain), NUC_OK, "opened again");
    is_int(look_into("store").files, 1, "it is empty");

    for (i = 0; i < 40; i++) {
        ok(store_write(&s, "south", T0 + 2 * HOUR, "{\"a\": 2}") == NUC_OK, "others");
    }

    is_int(look_into("store").files, 1, "it is not left behind");
    is_int(look_into("store").lines, 40, "the others are");
    store_close(&s);
    done(&s);
}

static void test_changed_store(void)
{
    found_t found;
    store_t s = fresh();

    is_int(store_open(&s, &plain), NUC_OK, "a store that somebody changes");
    is_int(store_write(&s, "north", T0, "{\"a\": 1}"), NUC_OK, "one committed");
    store_close(&s);

    found = look_into("store");
    ok(truncate(found.last, found.last_size - 1) == 0, "a byte is cut off");
    is_int(store_open(&s, &plain), NUC_CORRUPT, "refused: %s", s.err.message);
    ok(s.err.hint[0] != '\0', "with a hint: %s", s.err.hint);

    ok(unlink(found.last) == 0, "the file is removed");
    is_int(store_open(&s, &plain), NUC_CORRUPT, "refused: %s", s.err.message);
    ok(s.err.hint[0] != '\0', "with a hint: %s", s.err.hint);

    ok(symlink("/dev/null", found.last) == 0, "the file is a link");
    is_int(store_open(&s, &plain), NUC_IO, "refused: %s", s.err.message);
    done(&s);
}

static void test_other_path(void)
{
    store_t s = fresh();
    options_t other = {"store2", 1 << 20};

    sim_remove_tree("store2");
    is_int(store_open(&s, &plain), NUC_OK, "a store whose path is changed");
    is_int(store_write(&s, "north", T0, "{\"a\": 1}"), NUC_OK, "one committed");
    ok(store_add(&s, "north", T0, "{\"a\": 2}") == NUC_OK && store_flush(&s, 0) == NUC_OK,
       "one not");
    store_close(&s);

    is_int(store_open(&s, &other), NUC_OK, "opened at the other path");
    is_int(look_into("store").lines, 1, "the old store is complete");
    is_int(store_write(&s, "north", T0, "{\"a\": 2}"), NUC_OK, "what follows");
    is_int(look_into("store2").lines, 1, "goes to the new one");
    store_close(&s);

    ok(rename("store2", "store") == -1 && (sim_remove_tree("store"), 1) &&
           rename("store2", "store") == 0,
       "the store is moved");
    is_int(store_open(&s, &plain), NUC_OK, "and the path follows");
    is_int(store_write(&s, "north", T0, "{\"a\": 3}"), NUC_OK, "what follows");
    is_int(look_into("store").files, 1, "goes to the same file");
    is_int(look_into("store").lines, 2, "behind the others");
    store_close(&s);
    done(&s);
}

static unsigned open_files(void)
{
    DIR *dir;
    unsigned count = 0;

    dir = opendir("/proc/self/fd");

    while (dir != NULL && readdir(dir) != NULL) {
        count++;
    }

    if (dir != NULL) {
        closedir(dir);
    }

    return count;
}

static void test_many_partitions(void)
{
    int i;
    char tenant[32];
    unsigned before, after;
    store_t s = fresh();

    is_int(store_open(&s, &plain), NUC_OK, "a store of many partitions");
    before = open_files();

    for (i = 0; i < 600; i++) {
        snprintf(tenant, sizeof(tenant), "t%d", i % 300);
        if (store_add(&s, tenant, T0, "{\"a\": 1}") != NUC_OK) {
            break;
        }

        if (i % 200 == 199 &&
            (store_prepare(&s) != NUC_OK || store_flush(&s, 1) != NUC_OK)) {
            break;
        }
    }

    is_int(i, 600, "600 records for 300 tenants");
    after = open_files();
    ok(after - before <= 64, "%u files are open", after - before);
    is_int(look_into("store").files, 300, "300 files");
    is_int(look_into("store").lines, 600, "600 lines");
    is_int(state_files(&s), 300, "all in the state");
    store_close(&s);

    is_int(store_open(&s, &plain), NUC_OK, "opened again");
    is_int(open_files(), before, "no file is open");
    store_close(&s);
    done(&s);
}

/* A cut that is not synced comes back when nobody writes to the file any more. */
static void test_cut(void)
{
    int i, skipped;
    char dir[NUC_PATH_MAX], image[NUC_PATH_MAX];
    sim_t *sim;
    store_t s;

    nuc_path_join(dir, top, "cut", NULL);
    nuc_path_join(image, top, "image", NULL);

    for (skipped = 0; skipped < 2; skipped++) {
        sim_remove_tree(dir);
        sim_remove_tree(image);
        ok(mkdir(dir, 0750) == 0 && chdir(dir) == 0, "a disk");
        sim = sim_create(dir);
        sim_skip_site(sim, skipped ? "sink-file-cut" : NULL);
        s = (store_t){.sys = sim_sys(sim), .state = NUC_BUF_INIT};

        ok(store_open(&s, &plain) == NUC_OK &&
               store_write(&s, "north", T0, "{\"a\": 1}") == NUC_OK &&
               store_add(&s, "north", T0, "{\"a\": 2}") == NUC_OK &&
               store_flush(&s, 0) == NUC_OK,
           "a file that is longer than its commit");
        store_close(&s);

        ok(store_open(&s, &plain) == NUC_OK, "is cut");

        for (i = 0; i < 40; i++) {
            ok(store_write(&s, "south", T0 + 2 * HOUR, "{\"a\": 3}") == NUC_OK,
               "others follow");
        }

        is_int(state_files(&s), 1, "it is never written again");
        store_close(&s);
        sim_image(sim, image, 0);
        sim_destroy(sim);
        done(&s);

        is_int(chdir(image), 0, "the power goes");
        is_int(look_into("store/stream=json/tenant=north").lines, skipped ? 2 : 1,
               "it is %s as long as its commit",
               skipped ? "without the sync not" : "still");
        is_int(chdir(top), 0, "back");
    }
}

int main(void)
{
    snprintf(top, sizeof(top), "%s/nuc-sink-XXXXXX",
             getenv("TMPDIR") != NULL ? getenv("TMPDIR") : "/tmp");

    if (mkdtemp(top) == NULL || chdir(top) == -1) {
        diag("directory \"%s\": %s", top, strerror(errno));
        return 1;
    }

    test_names();
    test_sizes();
    test_hours();
    test_recovery();
    test_leftover();
    test_changed_store();
    test_other_path();
    test_many_partitions();
    test_cut();

    if (chdir("/") == 0) {
        sim_remove_tree(top);
    }

    return tap_done();
}
