#include "nuc_watch.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "nuc_fs.h"
#include "nuc_time.h"

#define NUC_WATCH_MS    100
#define NUC_WATCH_TRIES 50 /* at the end, each after 10 ms */

/* what is to be written into a file */
typedef struct {
    const nuc_notes_kind_t *kind; /* NULL: none yet */
    const char *dir;
    void *items; /* not written yet */
    size_t count;
} nuc_watch_notes_t;

struct nuc_watch_s {
    /* the thread's own, once it runs */
    const nuc_sys_t *sys;
    char *path;
    nuc_snapshot_identity_t seen; /* what needs no further look */
    int has_seen;
    nuc_snapshot_identity_t told; /* what an error was told of */
    int has_told;
    nuc_uuid_t registry;
    int has_registry;
    uint64_t generation; /* the last that was handed over */
    nuc_snapshot_identity_t bytes_seen;
    int has_bytes_seen;
    int has_told_bytes; /* that they can't be had */

    pthread_t thread;
    int wake_fd;

    pthread_mutex_t mutex;
    pthread_cond_t work; /* for the thread: stop */
    nuc_watch_notes_t notes[NUC_WATCH_KINDS];
    pthread_cond_t finished; /* for nuc_watch_stop */
    nuc_snapshot_file_t *file;
    const char *bytes_dir; /* NULL: nobody asks what tenants have */
    nuc_tenant_bytes_list_t *bytes;
    nuc_err_t error;
    int has_error;
    int fails; /* the last file that was looked at can't be used */
    int stop;
    int has_finished;
    int abandoned; /* the thread frees all */
};

static void nuc_watch_free(nuc_watch_t *watch)
{
    size_t i;

    nuc_snapshot_unload(watch->sys, watch->file);

    if (watch->wake_fd != -1) {
        close(watch->wake_fd);
    }

    pthread_cond_destroy(&watch->finished);
    pthread_cond_destroy(&watch->work);
    pthread_mutex_destroy(&watch->mutex);

    for (i = 0; i < NUC_WATCH_KINDS; i++) {
        free(watch->notes[i].items);
    }

    free(watch->bytes);
    free(watch->path);
    free(watch);
}

/* One that nobody took yet is as good as never there. */
static void nuc_watch_hand_over(nuc_watch_t *watch, nuc_snapshot_file_t *file)
{
    nuc_snapshot_file_t *before;

    pthread_mutex_lock(&watch->mutex);
    before = watch->file;
    watch->file = file;
    watch->fails = 0;
    (void) eventfd_write(watch->wake_fd, 1);
    pthread_mutex_unlock(&watch->mutex);

    nuc_snapshot_unload(watch->sys, before);
}

static void nuc_watch_complain(nuc_watch_t *watch, const nuc_err_t *err)
{
    pthread_mutex_lock(&watch->mutex);
    watch->error = *err;
    watch->has_error = 1;
    (void) eventfd_write(watch->wake_fd, 1);
    pthread_mutex_unlock(&watch->mutex);
}

static void nuc_watch_tell(nuc_watch_t *watch, const nuc_snapshot_identity_t *identity,
                           const nuc_err_t *err)
{
    pthread_mutex_lock(&watch->mutex);
    watch->fails = 1;
    pthread_mutex_unlock(&watch->mutex);

    if (watch->has_told && nuc_snapshot_same_file(&watch->told, identity)) {
        return;
    }

    watch->told = *identity;
    watch->has_told = 1;
    nuc_watch_complain(watch, err);
}

static nuc_rc_t nuc_watch_check(const nuc_watch_t *watch, const nuc_snapshot_t *snapshot,
                                nuc_err_t *err)
{
    nuc_rc_t rc;

    if (watch->has_registry && nuc_uuid_cmp(&watch->registry, &snapshot->registry) != 0) {
        rc = nuc_err_set(err, NUC_INVALID, "snapshot \"%s\" is of another registry",
                         watch->path);
        nuc_err_hint(err, "if the registry was made anew, restart nginx");
        return rc;
    }

    if (snapshot->generation < watch->generation) {
        rc = nuc_err_set(err, NUC_INVALID,
                         "snapshot \"%s\" is older than the one in use: generation %llu "
                         "after %llu",
                         watch->path, (unsigned long long) snapshot->generation,
                         (unsigned long long) watch->generation);
        nuc_err_hint(err, "if an older registry was restored on purpose, restart nginx");
        return rc;
    }

    return NUC_OK;
}

static nuc_rc_t nuc_watch_load(nuc_watch_t *watch, nuc_err_t *err)
{
    nuc_rc_t rc;
    nuc_snapshot_file_t *file;

    rc = nuc_snapshot_load(watch->sys, watch->path, &file, err);
    if (rc != NUC_OK) {
        return rc;
    }

    rc = nuc_watch_check(watch, &file->snapshot, err);
    if (rc != NUC_OK) {
        nuc_snapshot_unload(watch->sys, file);
        return rc;
    }

    watch->seen = file->identity;
    watch->registry = file->snapshot.registry;
    watch->has_registry = 1;
    watch->generation = file->snapshot.generation;
    watch->has_told = 0;
    nuc_watch_hand_over(watch, file);

    return NUC_OK;
}

static void nuc_watch_look(nuc_watch_t *watch)
{
    nuc_rc_t rc;
    nuc_err_t err;
    struct stat st;
    nuc_snapshot_identity_t identity;

    memset(&identity, 0, sizeof(identity));

    if (watch->sys->stat(watch->sys, watch->path, &st) == -1) {
        nuc_err_sys(&err, errno == ENOENT ? NUC_NOT_FOUND : NUC_IO, errno,
                    "stat of \"%s\" failed", watch->path);
        nuc_watch_tell(watch, &identity, &err);
        watch->has_seen = 0;
        return;
    }

    nuc_snapshot_identify(&st, &identity);

    if (watch->has_seen && nuc_snapshot_same_file(&watch->seen, &identity)) {
        return;
    }

    watch->seen = identity;
    rc = nuc_watch_load(watch, &err);

    /* what memory or a descriptor was missing for may be the one that revokes a key */
    watch->has_seen = rc == NUC_OK || rc == NUC_CORRUPT || rc == NUC_INVALID;

    if (rc != NUC_OK) {
        nuc_watch_tell(watch, &identity, &err);
    }
}

static nuc_rc_t nuc_watch_read_bytes(nuc_watch_t *watch, const char *dir, nuc_err_t *err)
{
    char path[NUC_PATH_MAX];
    nuc_rc_t rc;
    struct stat st;
    nuc_snapshot_identity_t identity;
    nuc_tenant_bytes_list_t *list, *before;

    rc = nuc_path_join(path, dir, NUC_TENANT_BYTES_FILE, err);
    if (rc != NUC_OK) {
        return rc;
    }

    if (watch->sys->stat(watch->sys, path, &st) == -1) {
        watch->has_bytes_seen = 0;

        return errno == ENOENT
                   ? nuc_tenant_bytes_ask(watch->sys, dir, err)
                   : nuc_err_sys(err, NUC_IO, errno, "stat of \"%s\" failed", path);
    }

    nuc_snapshot_identify(&st, &identity);

    if (watch->has_bytes_seen && nuc_snapshot_same_file(&watch->bytes_seen, &identity)) {
        return NUC_OK;
    }

    rc = nuc_tenant_bytes_read(watch->sys, dir, &list, err);
    if (rc != NUC_OK) {
        return rc;
    }

    watch->bytes_seen = identity;
    watch->has_bytes_seen = 1;

    pthread_mutex_lock(&watch->mutex);
    before = watch->bytes;
    watch->bytes = list;
    (void) eventfd_write(watch->wake_fd, 1);
    pthread_mutex_unlock(&watch->mutex);

    free(before);

    return NUC_OK;
}

static void nuc_watch_look_for_bytes(nuc_watch_t *watch)
{
    const char *dir;
    nuc_err_t err;

    pthread_mutex_lock(&watch->mutex);
    dir = watch->bytes_dir;
    pthread_mutex_unlock(&watch->mutex);

    if (dir == NULL) {
        return;
    }

    if (nuc_watch_read_bytes(watch, dir, &err) == NUC_OK) {
        watch->has_told_bytes = 0;

    } else if (!watch->has_told_bytes) {
        watch->has_told_bytes = 1;
        nuc_watch_complain(watch, &err);
    }
}

/* Returns 0 when the watch is to end. */
static int nuc_watch_wait(nuc_watch_t *watch)
{
    int stop;
    struct timespec deadline;

    nuc_time_deadline(NUC_WATCH_MS, &deadline);
    pthread_mutex_lock(&watch->mutex);

    while (!watch->stop &&
           pthread_cond_timedwait(&watch->work, &watch->mutex, &deadline) == 0) {
        continue;
    }

    stop = watch->stop;
    pthread_mutex_unlock(&watch->mutex);

    return !stop;
}

/* More than one note may come before the last is written. */
static void nuc_watch_join(nuc_watch_notes_t *notes, void *items, size_t count)
{
    char *joined;
    size_t size = notes->kind->size;

    if (notes->count == 0) {
        free(notes->items);
        notes->items = items;
        notes->count = count;
        return;
    }

    joined = realloc(notes->items, (notes->count + count) * size);
    if (joined != NULL) {
        memcpy(joined + notes->count * size, items, count * size);
        notes->items = joined;
        notes->count += count;
    }

    free(items);
}

/* Returns 1 when it is another's turn. */
static int nuc_watch_write_one(nuc_watch_t *watch, nuc_watch_notes_t *notes)
{
    nuc_watch_notes_t taken;

    pthread_mutex_lock(&watch->mutex);
    taken = *notes;
    notes->items = NULL;
    notes->count = 0;
    pthread_mutex_unlock(&watch->mutex);

    if (taken.count == 0 || nuc_notes_merge(watch->sys, taken.kind, taken.dir,
                                            taken.items, taken.count, NULL) != NUC_BUSY) {
        free(taken.items);
        return 0;
    }

    pthread_mutex_lock(&watch->mutex);
    nuc_watch_join(notes, taken.items, taken.count);
    pthread_mutex_unlock(&watch->mutex);

    return 1;
}

static int nuc_watch_write(nuc_watch_t *watch)
{
    int busy = 0;
    size_t i;

    for (i = 0; i < NUC_WATCH_KINDS; i++) {
        busy |= nuc_watch_write_one(watch, &watch->notes[i]);
    }

    return busy;
}

/* When nginx ends, its processes do so together. */
static void nuc_watch_write_last(nuc_watch_t *watch)
{
    unsigned tries = NUC_WATCH_TRIES;
    struct timespec pause = {.tv_nsec = 10 * 1000000};

    while (nuc_watch_write(watch) && tries-- > 0) {
        nanosleep(&pause, NULL);
    }
}

static void *nuc_watch_run(void *data)
{
    int abandoned;
    nuc_watch_t *watch = data;

    pthread_setname_np(pthread_self(), "nucleus-watch");

    do {
        nuc_watch_look(watch);
        nuc_watch_look_for_bytes(watch);
        nuc_watch_write(watch);
    } while (nuc_watch_wait(watch));

    nuc_watch_write_last(watch);

    pthread_mutex_lock(&watch->mutex);
    watch->has_finished = 1;
    abandoned = watch->abandoned;
    pthread_cond_signal(&watch->finished);
    pthread_mutex_unlock(&watch->mutex);

    if (abandoned) {
        nuc_watch_free(watch);
    }

    return NULL;
}

static void nuc_watch_init(nuc_watch_t *watch, const nuc_snapshot_file_t *current,
                           const nuc_uuid_t *registry)
{
    pthread_condattr_t attr;

    if (current != NULL) {
        watch->seen = current->identity;
        watch->has_seen = 1;
        watch->generation = current->snapshot.generation;
        registry = registry != NULL ? registry : &current->snapshot.registry;
    }

    if (registry != NULL) {
        watch->registry = *registry;
        watch->has_registry = 1;
    }

    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_mutex_init(&watch->mutex, NULL);
    pthread_cond_init(&watch->work, &attr);
    pthread_cond_init(&watch->finished, &attr);
    pthread_condattr_destroy(&attr);
}

/* Signals are the event thread's: a thread inherits the mask it is created under. */
static int nuc_watch_create_thread(nuc_watch_t *watch)
{
    int rc;
    sigset_t all, before;

    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    rc = pthread_create(&watch->thread, NULL, nuc_watch_run, watch);
    pthread_sigmask(SIG_SETMASK, &before, NULL);

    return rc;
}

nuc_rc_t nuc_watch_start(const nuc_sys_t *sys, const char *path,
                         const nuc_snapshot_file_t *current, const nuc_uuid_t *registry,
                         nuc_watch_t **watch, nuc_err_t *err)
{
    int saved;
    nuc_rc_t rc;
    nuc_watch_t *started;

    *watch = NULL;

    started = calloc(1, sizeof(*started));
    if (started == NULL) {
        return nuc_err_set(err, NUC_NOMEM, "no memory to watch \"%s\"", path);
    }

    nuc_watch_init(started, current, registry);
    started->sys = sys;
    started->wake_fd = -1;
    started->path = strdup(path);

    if (started->path == NULL) {
        rc = nuc_err_set(err, NUC_NOMEM, "no memory to watch \"%s\"", path);
        goto failed;
    }

    started->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (started->wake_fd == -1) {
        rc = nuc_err_sys(err, NUC_IO, errno, "eventfd failed");
        goto failed;
    }

    saved = nuc_watch_create_thread(started);
    if (saved != 0) {
        rc = nuc_err_sys(err, NUC_IO, saved, "thread for \"%s\" failed", path);
        goto failed;
    }

    *watch = started;

    return NUC_OK;

failed:

    nuc_watch_free(started);
    return rc;
}

int nuc_watch_fd(const nuc_watch_t *watch)
{
    return watch->wake_fd;
}

int nuc_watch_fails(nuc_watch_t *watch)
{
    int fails;

    pthread_mutex_lock(&watch->mutex);
    fails = watch->fails;
    pthread_mutex_unlock(&watch->mutex);

    return fails;
}

nuc_rc_t nuc_watch_poll(nuc_watch_t *watch, nuc_snapshot_file_t **file, nuc_err_t *err)
{
    nuc_rc_t rc = NUC_AGAIN;
    eventfd_t unused;

    *file = NULL;
    pthread_mutex_lock(&watch->mutex);

    if (watch->has_error) {
        watch->has_error = 0;
        rc = watch->error.rc;

        if (err != NULL) {
            *err = watch->error;
        }

    } else if (watch->file != NULL) {
        *file = watch->file;
        watch->file = NULL;
        rc = NUC_OK;
    }

    if (!watch->has_error && watch->file == NULL && watch->bytes == NULL) {
        (void) eventfd_read(watch->wake_fd, &unused);
    }

    pthread_mutex_unlock(&watch->mutex);

    return rc;
}

void nuc_watch_tenant_bytes(nuc_watch_t *watch, const char *dir)
{
    pthread_mutex_lock(&watch->mutex);
    watch->bytes_dir = dir;
    pthread_mutex_unlock(&watch->mutex);
}

nuc_tenant_bytes_list_t *nuc_watch_take_tenant_bytes(nuc_watch_t *watch)
{
    nuc_tenant_bytes_list_t *list;

    pthread_mutex_lock(&watch->mutex);
    list = watch->bytes;
    watch->bytes = NULL;
    pthread_mutex_unlock(&watch->mutex);

    return list;
}

void nuc_watch_note(nuc_watch_t *watch, const nuc_notes_kind_t *kind, const char *dir,
                    void *items, size_t count)
{
    size_t i;

    pthread_mutex_lock(&watch->mutex);

    for (i = 0; i < NUC_WATCH_KINDS; i++) {
        if (watch->notes[i].kind == NULL || watch->notes[i].kind == kind) {
            watch->notes[i].kind = kind;
            watch->notes[i].dir = dir;
            nuc_watch_join(&watch->notes[i], items, count);
            break;
        }
    }

    pthread_mutex_unlock(&watch->mutex);

    if (i == NUC_WATCH_KINDS) {
        free(items);
    }
}

nuc_rc_t nuc_watch_stop(nuc_watch_t *watch, unsigned deadline_ms, nuc_err_t *err)
{
    int has_finished;
    pthread_t thread = watch->thread;
    struct timespec deadline;

    nuc_time_deadline(deadline_ms, &deadline);
    pthread_mutex_lock(&watch->mutex);

    watch->stop = 1;
    pthread_cond_signal(&watch->work);

    while (!watch->has_finished &&
           pthread_cond_timedwait(&watch->finished, &watch->mutex, &deadline) == 0) {
        continue;
    }

    has_finished = watch->has_finished;
    watch->abandoned = !has_finished;
    pthread_mutex_unlock(&watch->mutex);

    if (!has_finished) {
        /* from here on the watch is the thread's */
        pthread_detach(thread);
        return nuc_err_set(err, NUC_UNKNOWN, "the disk did not answer in %u ms",
                           deadline_ms);
    }

    pthread_join(thread, NULL);
    nuc_watch_free(watch);

    return NUC_OK;
}
