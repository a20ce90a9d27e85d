#include "nuc_adopt.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nuc_commit.h"
#include "nuc_crc32c.h"
#include "nuc_log_list.h"
#include "nuc_owner.h"
#include "nuc_state.h"

#define NUC_ADOPT_JOURNAL     "adopting"
#define NUC_ADOPT_JOURNAL_MAX 8192
#define NUC_ADOPT_DRAFT       ".adopt-"
#define NUC_ADOPT_MARK        "adopted"
#define NUC_ADOPT_QUARANTINE  "quarantine"
#define NUC_ADOPT_KEEPER_LOCK "keeper.lock"
#define NUC_ADOPT_CHUNK       (1024 * 1024) /* bytes */

typedef struct {
    nuc_adopt_options_t options;
    const nuc_sys_t *sys;
    nuc_writer_list_t writers; /* in "from" */
    int *locks;                /* one of each writer, and the keeper's; -1: none */
    uint8_t *chunk;

    /* of the writer being adopted */
    char id[NUC_UUID_TEXT_LEN + 1];
    char source[NUC_PATH_MAX];
    char draft[NUC_PATH_MAX];
    char target[NUC_PATH_MAX];
    uint64_t segments;
    uint64_t bytes;
} nuc_adopt_t;

static void nuc_adopt_say(nuc_adopt_t *a, nuc_adopt_event_t event, const char *name,
                          uint64_t count, uint64_t bytes)
{
    nuc_adopt_report_t report = {event, name, count, bytes};

    a->options.report(a->options.ctx, &report);
}

/* Entries. */

typedef nuc_rc_t (*nuc_adopt_entry_pt)(nuc_adopt_t *a, const char *dir, const char *name,
                                       nuc_err_t *err);

typedef struct {
    nuc_adopt_t *adopt;
    const char *dir;
    nuc_adopt_entry_pt entry;
    nuc_rc_t rc;
    nuc_err_t *err;
} nuc_adopt_walk_t;

static int nuc_adopt_walk_entry(void *ctx, const char *name)
{
    nuc_adopt_walk_t *walk = ctx;

    walk->rc = walk->entry(walk->adopt, walk->dir, name, walk->err);

    return walk->rc != NUC_OK;
}

/* A directory that is not there has no entries. */
static nuc_rc_t nuc_adopt_walk(nuc_adopt_t *a, const char *dir, nuc_adopt_entry_pt entry,
                               nuc_err_t *err)
{
    nuc_adopt_walk_t walk = {a, dir, entry, NUC_OK, err};

    if (a->sys->list(a->sys, dir, nuc_adopt_walk_entry, &walk) == -1 &&
        walk.rc == NUC_OK && errno != ENOENT) {
        return nuc_err_sys(err, NUC_IO, errno, "listing of \"%s\" failed", dir);
    }

    return walk.rc;
}

static nuc_rc_t nuc_adopt_exists(nuc_adopt_t *a, const char *path, int *exists,
                                 nuc_err_t *err)
{
    struct stat st;

    *exists = a->sys->stat(a->sys, path, &st) == 0;

    if (!*exists && errno != ENOENT) {
        return nuc_err_sys(err, NUC_IO, errno, "stat of \"%s\" failed", path);
    }

    return NUC_OK;
}

static nuc_rc_t nuc_adopt_unlink(nuc_adopt_t *a, const char *dir, const char *name,
                                 nuc_err_t *err)
{
    char path[NUC_PATH_MAX];
    nuc_rc_t rc;

    rc = nuc_path_join(path, dir, name, err);
    if (rc != NUC_OK) {
        return rc;
    }

    if (a->sys->unlink(a->sys, path) == -1 && errno != ENOENT) {
        return nuc_err_sys(err, NUC_IO, errno, "unlink of \"%s\" failed", path);
    }

    return NUC_OK;
}

static nuc_rc_t nuc_adopt_unlink_but_mark(nuc_adopt_t *a, const char *dir,
                                          const char *name, nuc_err_t *err)
{
    return strcmp(name, NUC_ADOPT_MARK) == 0 ? NUC_OK
                                             : nuc_adopt_unlink(a, dir, name, err);
}

static nuc_rc_t nuc_adopt_rmdir(nuc_adopt_t *a, const char *dir, nuc_err_t *err)
{
    if (a->sys->rmdir(a->sys, dir) == -1 && errno != ENOENT) {
        return nuc_err_sys(err, NUC_IO, errno, "rmdir of \"%s\" failed", dir);
    }

    return NUC_OK;
}

/* Before anything: is it a queue, and is everybody gone from it? */

static nuc_rc_t nuc_adopt_check_dirs(nuc_adopt_t *a, nuc_err_t *err)
{
    struct stat from, queue;
    const nuc_adopt_options_t *options = &a->options;

    if (a->sys->stat(a->sys, options->from, &from) == -1) {
        return nuc_err_sys(err, NUC_IO, errno, "stat of \"%s\" failed", options->from);
    }

    if (a->sys->stat(a->sys, options->queue, &queue) == -1) {
        nuc_err_sys(err, NUC_IO, errno, "no queue in \"%s\"", options->queue);
        nuc_err_hint(err, "nginx makes it when it starts");
        return NUC_IO;
    }

    if (from.st_dev == queue.st_dev && from.st_ino == queue.st_ino) {
        return nuc_err_set(err, NUC_INVALID, "\"%s\" is the queue itself", options->from);
    }

    return NUC_OK;
}

/* *fd is -1 when there is no such file. */
static nuc_rc_t nuc_adopt_lock(nuc_adopt_t *a, const char *dir, const char *name, int *fd,
                               nuc_err_t *err)
{
    char path[NUC_PATH_MAX];
    nuc_rc_t rc;

    *fd = -1;

    rc = nuc_path_join(path, dir, name, err);
    if (rc != NUC_OK) {
        return rc;
    }

    *fd = a->sys->open(a->sys, path, O_RDWR, 0);

    if (*fd == -1) {
        return errno == ENOENT
                   ? NUC_OK
                   : nuc_err_sys(err, NUC_IO, errno, "open of \"%s\" failed", path);
    }

    if (a->sys->lock(a->sys, *fd) == 0) {
        return NUC_OK;
    }

    nuc_err_set(err, NUC_BUSY, "somebody holds \"%s\"", path);
    nuc_err_hint(err, "stop the nginx and the worker that use that directory");

    return NUC_BUSY;
}

static nuc_rc_t nuc_adopt_lock_all(nuc_adopt_t *a, nuc_err_t *err)
{
    size_t i;
    char path[NUC_PATH_MAX];
    nuc_rc_t rc;

    a->locks = malloc((a->writers.count + 1) * sizeof(int));
    a->chunk = malloc(NUC_ADOPT_CHUNK);

    for (i = 0; a->locks != NULL && i <= a->writers.count; i++) {
        a->locks[i] = -1;
    }

    if (a->locks == NULL || a->chunk == NULL) {
        return nuc_err_set(err, NUC_NOMEM, "no memory to adopt %zu writers",
                           a->writers.count);
    }

    rc = nuc_adopt_lock(a, a->options.from, NUC_ADOPT_KEEPER_LOCK,
                        &a->locks[a->writers.count], err);

    for (i = 0; rc == NUC_OK && i < a->writers.count; i++) {
        rc = nuc_log_writer_path(a->options.from, &a->writers.ids[i], path, err);

        if (rc == NUC_OK) {
            rc = nuc_adopt_lock(a, path, NUC_LOG_LOCK_NAME, &a->locks[i], err);
        }
    }

    return rc;
}

static void nuc_adopt_unlock(nuc_adopt_t *a, size_t i)
{
    if (a->locks[i] != -1) {
        a->sys->close(a->sys, a->locks[i]);
        a->locks[i] = -1;
    }
}

static void nuc_adopt_free(nuc_adopt_t *a)
{
    size_t i;

    for (i = 0; a->locks != NULL && i <= a->writers.count; i++) {
        nuc_adopt_unlock(a, i);
    }

    free(a->locks);
    free(a->chunk);
    free(a->writers.ids);
}

/* The journal. */

static nuc_rc_t nuc_adopt_begin(nuc_adopt_t *a, nuc_err_t *err)
{
    int same;
    char path[NUC_PATH_MAX], text[2 * NUC_PATH_MAX + 32];
    nuc_rc_t rc;
    nuc_buf_t found;
    const nuc_adopt_options_t *options = &a->options;

    snprintf(text, sizeof(text), "queue %s\nstate %s\n", options->queue,
             options->old_state != NULL ? options->old_state : "-");

    rc = nuc_path_join(path, options->from, NUC_ADOPT_JOURNAL, err);
    if (rc != NUC_OK) {
        return rc;
    }

    found = NUC_BUF_INIT;
    rc = nuc_fs_read_file(a->sys, path, NUC_ADOPT_JOURNAL_MAX, &found, err);

    if (rc == NUC_OK) {
        same = nuc_str_eq((nuc_str_t){found.data, found.len}, nuc_str(text));

        if (!same) {
            rc = nuc_err_set(err, NUC_INVALID,
                             "another adoption of \"%s\" was begun, which \"%s\" names",
                             options->from, path);
            nuc_err_hint(err,
                         "finish it as it was begun: with that queue and that state");
        }
    }

    nuc_buf_free(&found);

    if (rc != NUC_NOT_FOUND) {
        return rc;
    }

    if (a->writers.count == 0) {
        return nuc_err_set(err, NUC_INVALID,
                           "\"%s\" has no directory of a writer: it is no queue, or an "
                           "empty one",
                           options->from);
    }

    return nuc_fs_replace(a->sys, options->from, NUC_ADOPT_JOURNAL, nuc_str(text), 0640,
                          "adopt-journal", "adopt-journal-entry", err);
}

/* The positions of the dead host's pipelines. */

static int nuc_adopt_has_writer(const nuc_adopt_t *a, const nuc_uuid_t *writer)
{
    size_t i;

    for (i = 0; i < a->writers.count; i++) {
        if (nuc_uuid_cmp(&a->writers.ids[i], writer) == 0) {
            return 1;
        }
    }

    return 0;
}

/* NUC_AGAIN: the commit is that far already. */
static nuc_rc_t nuc_adopt_merge_position(nuc_commit_t *commit,
                                         const nuc_log_position_t *position,
                                         nuc_err_t *err)
{
    size_t i;

    for (i = 0; i < commit->npositions; i++) {
        if (nuc_uuid_cmp(&commit->positions[i].writer, &position->writer) == 0 &&
            commit->positions[i].sequence >= position->sequence) {
            return NUC_AGAIN;
        }
    }

    /* what the dead host's pipeline has delivered stands in its own books */
    return nuc_commit_skip_to(commit, position, err);
}

static nuc_rc_t nuc_adopt_merge_commits(nuc_adopt_t *a, const char *name, const char *dir,
                                        nuc_commit_t *commit, const nuc_commit_t *old,
                                        nuc_err_t *err)
{
    int changed;
    size_t i;
    uint64_t writers;
    nuc_rc_t rc;

    changed = 0;
    writers = 0;

    for (i = 0; i < old->npositions; i++) {
        if (!nuc_adopt_has_writer(a, &old->positions[i].writer)) {
            continue;
        }

        writers++;
        rc = nuc_adopt_merge_position(commit, &old->positions[i], err);

        if (rc != NUC_OK && rc != NUC_AGAIN) {
            return rc;
        }

        changed |= rc == NUC_OK;
    }

    if (changed) {
        commit->generation++;

        rc = nuc_commit_write(a->sys, dir, commit, err);
        if (rc != NUC_OK) {
            return rc;
        }
    }

    nuc_adopt_say(a, NUC_ADOPT_POSITIONS, name, writers, 0);

    return NUC_OK;
}

static nuc_rc_t nuc_adopt_merge_pipeline(nuc_adopt_t *a, const char *name, nuc_err_t *err)
{
    int registered;
    char dir[NUC_PATH_MAX], old_dir[NUC_PATH_MAX];
    nuc_rc_t rc;
    nuc_commit_t commit, old;

    rc = nuc_state_pipeline_dir(dir, a->options.state, name, err);

    if (rc == NUC_OK) {
        rc = nuc_state_pipeline_dir(old_dir, a->options.old_state, name, err);
    }

    if (rc == NUC_OK) {
        rc = nuc_adopt_exists(a, dir, &registered, err);
    }

    if (rc != NUC_OK) {
        return rc;
    }

    if (!registered) {
        nuc_adopt_say(a, NUC_ADOPT_UNKNOWN, name, 0, 0);
        return NUC_OK;
    }

    nuc_commit_init(&commit);
    nuc_commit_init(&old);

    rc = nuc_commit_read(a->sys, dir, &commit, err);

    if (rc == NUC_OK) {
        rc = nuc_commit_read(a->sys, old_dir, &old, err);
    }

    if (rc == NUC_OK) {
        rc = nuc_adopt_merge_commits(a, name, dir, &commit, &old, err);
    }

    nuc_commit_free(&commit);
    nuc_commit_free(&old);

    return rc;
}

static nuc_rc_t nuc_adopt_merge(nuc_adopt_t *a, nuc_err_t *err)
{
    int fd;
    size_t i;
    nuc_rc_t rc;
    nuc_state_names_t names;

    if (a->options.old_state == NULL) {
        return NUC_OK;
    }

    rc = nuc_adopt_lock(a, a->options.old_state, NUC_LOG_LOCK_NAME, &fd, err);

    if (rc == NUC_OK) {
        rc = nuc_state_list(a->sys, a->options.old_state, &names, err);
    }

    if (rc == NUC_OK) {
        if (names.count == 0) {
            rc = nuc_err_set(err, NUC_INVALID, "no pipeline is registered in \"%s\"",
                             a->options.old_state);
        }

        for (i = 0; rc == NUC_OK && i < names.count; i++) {
            rc = nuc_adopt_merge_pipeline(a, names.names[i], err);
        }

        nuc_state_names_free(&names);
    }

    if (fd != -1) {
        a->sys->close(a->sys, fd);
    }

    return rc;
}

/* Copying. */

static nuc_rc_t nuc_adopt_read(nuc_adopt_t *a, int fd, const char *path, uint64_t offset,
                               size_t *got, nuc_err_t *err)
{
    nuc_rc_t rc;
    nuc_err_t cause;

    rc = nuc_sys_read_all(a->sys, fd, a->chunk, NUC_ADOPT_CHUNK, (off_t) offset, got,
                          &cause);

    return rc == NUC_OK ? NUC_OK
                        : nuc_err_set(err, rc, "\"%s\": %s", path, cause.message);
}

/* Length and CRC of what the file holds; with "to", it is written there on the way. */
static nuc_rc_t nuc_adopt_pass(nuc_adopt_t *a, const char *path, int fd, int to,
                               uint64_t *len, uint32_t *crc, nuc_err_t *err)
{
    size_t got;
    nuc_rc_t rc;

    *len = 0;
    *crc = 0;

    for (;;) {
        rc = nuc_adopt_read(a, fd, path, *len, &got, err);

        if (rc == NUC_OK && got > 0 && to != -1) {
            rc = nuc_sys_write_all(a->sys, to, a->chunk, got, (off_t) *len, err);
        }

        if (rc != NUC_OK || got == 0) {
            return rc;
        }

        *crc = nuc_crc32c(*crc, a->chunk, got);
        *len += got;
    }
}

static nuc_rc_t nuc_adopt_copy_open(nuc_adopt_t *a, const char *from, int from_fd,
                                    const char *to, int to_fd, nuc_err_t *err)
{
    uint64_t len, copied_len;
    uint32_t crc, copied_crc;
    nuc_rc_t rc;

    rc = nuc_adopt_pass(a, from, from_fd, to_fd, &len, &crc, err);
    if (rc != NUC_OK) {
        return rc;
    }

    if (a->sys->fdatasync(a->sys, to_fd, "adopt-copy") == -1) {
        return nuc_err_sys(err, NUC_IO, errno, "sync of \"%s\" failed", to);
    }

    rc = nuc_adopt_pass(a, to, to_fd, -1, &copied_len, &copied_crc, err);

    if (rc == NUC_OK && (len != copied_len || crc != copied_crc)) {
        rc = nuc_err_set(err, NUC_CORRUPT, "\"%s\" is not what was copied from \"%s\"",
                         to, from);
    }

    return rc;
}

static nuc_rc_t nuc_adopt_copy_file(nuc_adopt_t *a, const char *from, const char *to,
                                    nuc_err_t *err)
{
    int from_fd, to_fd;
    nuc_rc_t rc;

    from_fd = a->sys->open(a->sys, from, O_RDONLY, 0);
    if (from_fd == -1) {
        return nuc_err_sys(err, NUC_IO, errno, "open of \"%s\" failed", from);
    }

    to_fd = a->sys->open(a->sys, to, O_RDWR | O_CREAT | O_TRUNC, NUC_LOG_FILE_MODE);

    if (to_fd == -1) {
        rc = nuc_err_sys(err, NUC_IO, errno, "open of \"%s\" failed", to);
    } else {
        rc = nuc_adopt_copy_open(a, from, from_fd, to, to_fd, err);

        if (a->sys->close(a->sys, to_fd) == -1 && rc == NUC_OK) {
            rc = nuc_err_sys(err, NUC_IO, errno, "close of \"%s\" failed", to);
        }
    }

    a->sys->close(a->sys, from_fd);

    return rc;
}

static nuc_rc_t nuc_adopt_copy_entry(nuc_adopt_t *a, const char *dir, const char *name,
                                     nuc_err_t *err)
{
    char from[NUC_PATH_MAX], to[NUC_PATH_MAX];
    nuc_rc_t rc;

    if (strcmp(name, NUC_ADOPT_MARK ".tmp") == 0) {
        return NUC_OK;
    }

    rc = nuc_path_join(from, dir, name, err);

    if (rc == NUC_OK) {
        rc = nuc_path_join(to, a->draft, name, err);
    }

    return rc != NUC_OK ? rc : nuc_adopt_copy_file(a, from, to, err);
}

/* The whole copy, durable, under a name that nobody looks at; then the mark. */
static nuc_rc_t nuc_adopt_copy(nuc_adopt_t *a, nuc_err_t *err)
{
    nuc_rc_t rc;

    nuc_adopt_say(a, NUC_ADOPT_BEGUN, a->id, a->segments, a->bytes);

    /* of one that was not finished */
    rc = nuc_adopt_walk(a, a->draft, nuc_adopt_unlink, err);
    if (rc != NUC_OK) {
        return rc;
    }

    if (a->sys->mkdir(a->sys, a->draft, NUC_LOG_DIR_MODE) == -1 && errno != EEXIST) {
        return nuc_err_sys(err, NUC_IO, errno, "mkdir \"%s\" failed", a->draft);
    }

    rc = nuc_adopt_walk(a, a->source, nuc_adopt_copy_entry, err);

    if (rc == NUC_OK) {
        rc = nuc_fs_sync_dir(a->sys, a->draft, "adopt-copy-entries", err);
    }

    if (rc == NUC_OK) {
        rc = nuc_fs_sync_dir(a->sys, a->options.queue, "adopt-copy-dir", err);
    }

    return rc != NUC_OK ? rc
                        : nuc_fs_replace(a->sys, a->source, NUC_ADOPT_MARK, nuc_str(""),
                                         NUC_LOG_FILE_MODE, NULL, "adopt-mark", err);
}

/* Publishing, and what comes after. */

/* NUC_AGAIN: between two file systems. */
static nuc_rc_t nuc_adopt_rename(nuc_adopt_t *a, const char *from, nuc_err_t *err)
{
    if (a->sys->rename(a->sys, from, a->target) == 0) {
        return NUC_OK;
    }

    if (errno == EXDEV) {
        return NUC_AGAIN;
    }

    return nuc_err_sys(err, NUC_IO, errno, "rename of \"%s\" to \"%s\" failed", from,
                       a->target);
}

/* Also when it is there already: who published it may have died before he did this. */
static nuc_rc_t nuc_adopt_settle(nuc_adopt_t *a, nuc_err_t *err)
{
    return nuc_fs_sync_dir(a->sys, a->options.queue, "adopt-publish", err);
}

/* The original of what was published. */
static nuc_rc_t nuc_adopt_remove_source(nuc_adopt_t *a, nuc_err_t *err)
{
    nuc_rc_t rc;

    rc = nuc_adopt_walk(a, a->source, nuc_adopt_unlink_but_mark, err);

    if (rc == NUC_OK) {
        rc = nuc_fs_sync_dir(a->sys, a->source, "adopt-remove", err);
    }

    if (rc == NUC_OK) {
        rc = nuc_adopt_unlink(a, a->source, NUC_ADOPT_MARK, err);
    }

    return rc != NUC_OK ? rc : nuc_adopt_rmdir(a, a->source, err);
}

static nuc_rc_t nuc_adopt_finish_copy(nuc_adopt_t *a, nuc_err_t *err)
{
    int unpublished;
    nuc_rc_t rc;

    rc = nuc_adopt_exists(a, a->draft, &unpublished, err);

    if (rc == NUC_OK && unpublished) {
        rc = nuc_adopt_rename(a, a->draft, err);
    }

    if (rc == NUC_OK) {
        rc = nuc_adopt_settle(a, err);
    }

    return rc != NUC_OK ? rc : nuc_adopt_remove_source(a, err);
}

static nuc_rc_t nuc_adopt_count_entry(nuc_adopt_t *a, const char *dir, const char *name,
                                      nuc_err_t *err)
{
    char path[NUC_PATH_MAX];
    nuc_rc_t rc;
    struct stat st;

    rc = nuc_path_join(path, dir, name, err);
    if (rc != NUC_OK) {
        return rc;
    }

    if (a->sys->stat(a->sys, path, &st) == -1) {
        return nuc_err_sys(err, NUC_IO, errno, "stat of \"%s\" failed", path);
    }

    a->segments += nuc_segment_name_parse(name, NUC_LOG_SEGMENT_SUFFIX) != 0;
    a->bytes += (uint64_t) st.st_size;

    return NUC_OK;
}

static nuc_rc_t nuc_adopt_take(nuc_adopt_t *a, int marked, nuc_err_t *err)
{
    int taken;
    nuc_rc_t rc;

    if (marked) {
        rc = nuc_adopt_finish_copy(a, err);
        if (rc == NUC_OK) {
            nuc_adopt_say(a, NUC_ADOPT_FINISHED, a->id, a->segments, a->bytes);
        }

        return rc;
    }

    /* what is left of one that was published, or never had a record */
    if (a->segments == 0) {
        return nuc_adopt_remove_source(a, err);
    }

    rc = nuc_adopt_exists(a, a->target, &taken, err);
    if (rc != NUC_OK) {
        return rc;
    }

    if (taken) {
        nuc_err_set(err, NUC_INVALID, "the queue \"%s\" has the writer %s already",
                    a->options.queue, a->id);
        nuc_err_hint(err, "one is a copy of the other: move the one in \"%.60s\" away",
                     a->options.from);
        return NUC_INVALID;
    }

    rc = nuc_adopt_rename(a, a->source, err);

    if (rc == NUC_OK) {
        rc = nuc_adopt_settle(a, err);
        if (rc == NUC_OK) {
            nuc_adopt_say(a, NUC_ADOPT_MOVED, a->id, a->segments, a->bytes);
        }

        return rc;
    }

    if (rc != NUC_AGAIN) {
        return rc;
    }

    rc = nuc_adopt_copy(a, err);

    if (rc == NUC_OK) {
        rc = nuc_adopt_finish_copy(a, err);
    }

    if (rc == NUC_OK) {
        nuc_adopt_say(a, NUC_ADOPT_COPIED, a->id, a->segments, a->bytes);
    }

    return rc;
}

static nuc_rc_t nuc_adopt_writer(nuc_adopt_t *a, const nuc_uuid_t *writer, nuc_err_t *err)
{
    int marked;
    char name[sizeof(NUC_ADOPT_DRAFT) + NUC_UUID_TEXT_LEN], mark[NUC_PATH_MAX];
    nuc_rc_t rc;

    *nuc_uuid_format(writer, a->id) = '\0';
    snprintf(name, sizeof(name), NUC_ADOPT_DRAFT "%s", a->id);
    a->segments = 0;
    a->bytes = 0;

    rc = nuc_path_join(a->source, a->options.from, a->id, err);

    if (rc == NUC_OK) {
        rc = nuc_path_join(a->target, a->options.queue, a->id, err);
    }

    if (rc == NUC_OK) {
        rc = nuc_path_join(a->draft, a->options.queue, name, err);
    }

    if (rc == NUC_OK) {
        rc = nuc_path_join(mark, a->source, NUC_ADOPT_MARK, err);
    }

    if (rc == NUC_OK) {
        rc = nuc_adopt_walk(a, a->source, nuc_adopt_count_entry, err);
    }

    if (rc == NUC_OK) {
        rc = nuc_adopt_exists(a, mark, &marked, err);
    }

    return rc != NUC_OK ? rc : nuc_adopt_take(a, marked, err);
}

/* Damaged bytes that were put aside: names are unique, and the same holds the same. */

static nuc_rc_t nuc_adopt_quarantined(nuc_adopt_t *a, const char *dir, const char *name,
                                      nuc_err_t *err)
{
    char from[NUC_PATH_MAX], to[NUC_PATH_MAX], to_dir[NUC_PATH_MAX];
    nuc_rc_t rc;

    rc = nuc_path_join(from, dir, name, err);

    if (rc == NUC_OK) {
        rc = nuc_path_join(to_dir, a->options.queue, NUC_ADOPT_QUARANTINE, err);
    }

    if (rc == NUC_OK) {
        rc = nuc_path_join(to, to_dir, name, err);
    }

    if (rc == NUC_OK) {
        rc = nuc_adopt_copy_file(a, from, to, err);
    }

    if (rc == NUC_OK) {
        rc = nuc_fs_sync_dir(a->sys, to_dir, "adopt-quarantine", err);
    }

    if (rc == NUC_OK) {
        rc = nuc_adopt_unlink(a, dir, name, err);
    }

    if (rc == NUC_OK) {
        nuc_adopt_say(a, NUC_ADOPT_QUARANTINED, name, 0, 0);
    }

    return rc;
}

static nuc_rc_t nuc_adopt_quarantine(nuc_adopt_t *a, nuc_err_t *err)
{
    int exists = 0;
    char from[NUC_PATH_MAX], to[NUC_PATH_MAX];
    nuc_rc_t rc;

    rc = nuc_path_join(from, a->options.from, NUC_ADOPT_QUARANTINE, err);

    if (rc == NUC_OK) {
        rc = nuc_path_join(to, a->options.queue, NUC_ADOPT_QUARANTINE, err);
    }

    if (rc == NUC_OK) {
        rc = nuc_adopt_exists(a, from, &exists, err);
    }

    if (rc != NUC_OK || !exists) {
        return rc;
    }

    rc = nuc_fs_make_path(a->sys, to, NUC_LOG_DIR_MODE, "adopt-quarantine-dir", err);

    if (rc == NUC_OK) {
        rc = nuc_adopt_walk(a, from, nuc_adopt_quarantined, err);
    }

    return rc != NUC_OK ? rc : nuc_adopt_rmdir(a, from, err);
}

/* The end: what is left is of no use, and if it comes back it is removed again. */

static nuc_rc_t nuc_adopt_sweep_entry(nuc_adopt_t *a, const char *dir, const char *name,
                                      nuc_err_t *err)
{
    char path[NUC_PATH_MAX];
    nuc_rc_t rc;

    /* a writer that was being made when its process died: it has no records */
    if (strncmp(name, NUC_LOG_NEW_PREFIX, sizeof(NUC_LOG_NEW_PREFIX) - 1) == 0) {
        rc = nuc_path_join(path, dir, name, err);

        if (rc == NUC_OK) {
            rc = nuc_adopt_walk(a, path, nuc_adopt_unlink, err);
        }

        return rc != NUC_OK ? rc : nuc_adopt_rmdir(a, path, err);
    }

    return NUC_OK;
}

static nuc_rc_t nuc_adopt_end(nuc_adopt_t *a, nuc_err_t *err)
{
    static const char *const left[] = {NUC_ADOPT_KEEPER_LOCK, NUC_LOG_LOCK_NAME,
                                       NUC_OWNER_QUEUE_NAME, NUC_ADOPT_JOURNAL};
    size_t i;
    nuc_rc_t rc;
    const char *from = a->options.from;

    rc = nuc_adopt_walk(a, from, nuc_adopt_sweep_entry, err);

    for (i = 0; rc == NUC_OK && i < sizeof(left) / sizeof(left[0]); i++) {
        rc = nuc_adopt_unlink(a, from, left[i], err);
    }

    /* a mount point, or somebody's file in it, may stay */
    (void) a->sys->rmdir(a->sys, from);

    return rc;
}

static nuc_rc_t nuc_adopt_all(nuc_adopt_t *a, nuc_err_t *err)
{
    size_t i;
    nuc_rc_t rc;

    rc = nuc_adopt_check_dirs(a, err);

    if (rc == NUC_OK) {
        rc = nuc_log_list_writers(a->sys, a->options.from, &a->writers, err);
    }

    if (rc == NUC_OK) {
        rc = nuc_adopt_lock_all(a, err);
    }

    if (rc == NUC_OK) {
        rc = nuc_adopt_begin(a, err);
    }

    if (rc == NUC_OK) {
        rc = nuc_adopt_merge(a, err);
    }

    for (i = 0; rc == NUC_OK && i < a->writers.count; i++) {
        rc = nuc_adopt_writer(a, &a->writers.ids[i], err);

        /* the keeper may have it */
        nuc_adopt_unlock(a, i);
    }

    if (rc == NUC_OK) {
        rc = nuc_adopt_quarantine(a, err);
    }

    return rc != NUC_OK ? rc : nuc_adopt_end(a, err);
}

nuc_rc_t nuc_adopt(const nuc_adopt_options_t *options, nuc_err_t *err)
{
    nuc_rc_t rc;
    nuc_adopt_t a;

    a = (nuc_adopt_t){.options = *options, .sys = options->sys};

    rc = nuc_adopt_all(&a, err);
    nuc_adopt_free(&a);

    return rc;
}
