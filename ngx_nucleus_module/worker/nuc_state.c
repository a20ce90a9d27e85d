#include "nuc_state.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "nuc_commit.h"
#include "nuc_log.h"
#include "nuc_progress.h"

#define NUC_STATE_PIPELINES  "pipelines"
#define NUC_STATE_LOCK       "lock"
#define NUC_STATE_NEW_PREFIX ".new-"
#define NUC_STATE_DIR_MODE   0750
#define NUC_STATE_FILE_MODE  0640

nuc_rc_t nuc_state_pipeline_dir(char out[NUC_PATH_MAX], const char *state,
                                const char *name, nuc_err_t *err)
{
    char pipelines[NUC_PATH_MAX];
    nuc_rc_t rc;

    rc = nuc_path_join(pipelines, state, NUC_STATE_PIPELINES, err);

    return rc != NUC_OK ? rc : nuc_path_join(out, pipelines, name, err);
}

/* The lock. */

static long nuc_state_read_holder(const nuc_sys_t *sys, int fd)
{
    char text[32];
    size_t len;

    if (nuc_sys_read_all(sys, fd, text, sizeof(text) - 1, 0, &len, NULL) != NUC_OK) {
        return 0;
    }

    text[len] = '\0';

    return strtol(text, NULL, 10);
}

/* For messages alone: it need not survive, and may fail. */
static void nuc_state_write_holder(const nuc_sys_t *sys, int fd)
{
    char text[32];
    int len;

    len = snprintf(text, sizeof(text), "%ld\n", (long) getpid());

    if (sys->ftruncate(sys, fd, 0) == 0) {
        nuc_sys_write_all(sys, fd, text, (size_t) len, 0, NULL);
    }
}

nuc_rc_t nuc_state_lock(const nuc_sys_t *sys, const char *dir, int *fd, long *holder,
                        nuc_err_t *err)
{
    int saved;
    char path[NUC_PATH_MAX];
    nuc_rc_t rc;

    *fd = -1;
    *holder = 0;

    rc = nuc_path_join(path, dir, NUC_STATE_LOCK, err);
    if (rc != NUC_OK) {
        return rc;
    }

    *fd = sys->open(sys, path, O_RDWR | O_CREAT, NUC_STATE_FILE_MODE);
    if (*fd == -1) {
        return nuc_err_sys(err, NUC_IO, errno, "open of \"%s\" failed", path);
    }

    if (sys->lock(sys, *fd) == 0) {
        rc = nuc_fs_share(sys, dir, *fd, err);

        if (rc != NUC_OK) {
            sys->close(sys, *fd);
            *fd = -1;
            return rc;
        }

        nuc_state_write_holder(sys, *fd);
        return NUC_OK;
    }

    saved = errno;
    *holder = nuc_state_read_holder(sys, *fd);
    sys->close(sys, *fd);
    *fd = -1;

    if (saved != EWOULDBLOCK) {
        return nuc_err_sys(err, NUC_IO, saved, "lock of \"%s\" failed", path);
    }

    return nuc_err_set(err, NUC_BUSY, "process %ld holds \"%s\"", *holder, path);
}

nuc_rc_t nuc_state_holder(const nuc_sys_t *sys, const char *state, long *holder,
                          nuc_err_t *err)
{
    int fd;
    char path[NUC_PATH_MAX];
    nuc_rc_t rc;

    rc = nuc_path_join(path, state, NUC_STATE_LOCK, err);
    if (rc != NUC_OK) {
        return rc;
    }

    fd = sys->open(sys, path, O_RDWR, 0);

    if (fd == -1 && errno != ENOENT) {
        return nuc_err_sys(err, NUC_IO, errno, "open of \"%s\" failed", path);
    }

    if (fd == -1 || sys->lock(sys, fd) == 0) {
        rc = nuc_err_set(err, NUC_NOT_FOUND, "no worker runs on the state \"%s\"", state);
    } else {
        *holder = nuc_state_read_holder(sys, fd);
    }

    if (fd != -1) {
        sys->close(sys, fd);
    }

    return rc;
}

nuc_rc_t nuc_state_create(const nuc_sys_t *sys, const char *state, nuc_err_t *err)
{
    char path[NUC_PATH_MAX];
    nuc_rc_t rc;

    rc = nuc_path_join(path, state, NUC_STATE_PIPELINES, err);
    if (rc != NUC_OK) {
        return rc;
    }

    return nuc_fs_make_path(sys, path, NUC_STATE_DIR_MODE, "state-dir", err);
}

/* Registration. */

/* A registration that died halfway leaves at most the commit's draft. */
static int nuc_state_not_draft(void *ctx, const char *name)
{
    *(int *) ctx = strcmp(name, NUC_COMMIT_NAME ".tmp") != 0;

    return *(int *) ctx;
}

static nuc_rc_t nuc_state_check_unused(const nuc_sys_t *sys, const char *dir,
                                       const char *name, nuc_err_t *err)
{
    int used;

    used = 0;

    if (sys->list(sys, dir, nuc_state_not_draft, &used) == -1 && errno != ENOENT) {
        return nuc_err_sys(err, NUC_IO, errno, "listing of \"%s\" failed", dir);
    }

    if (!used) {
        return NUC_OK;
    }

    nuc_err_set(err, NUC_CORRUPT,
                "the commit of the pipeline \"%s\" is missing in \"%s\"", name, dir);
    nuc_err_hint(err, "restore the file; or stop the worker and --forget the pipeline");

    return NUC_CORRUPT;
}

/*
 * Where each writer is begun that is there now.  Whatever is missing later, of these from
 * there on and of others from their first record on, is known to be lost.
 */
static nuc_rc_t nuc_state_begin(const nuc_sys_t *sys, const char *queue, int from_end,
                                nuc_commit_t *commit, nuc_err_t *err)
{
    nuc_rc_t rc;
    nuc_log_reader_t *reader;

    rc = nuc_log_reader_open(sys, queue, from_end ? NUC_LOG_LATEST : NUC_LOG_EARLIEST,
                             &reader, err);
    if (rc != NUC_OK) {
        return rc;
    }

    rc = nuc_log_reader_refresh(reader, err);

    if (rc == NUC_OK) {
        rc = nuc_commit_take_positions(commit, reader, err);
    }

    nuc_log_reader_close(reader);

    return rc == NUC_NOT_FOUND ? NUC_OK : rc;
}

static nuc_rc_t nuc_state_first_commit(const nuc_sys_t *sys, const char *dir,
                                       const char *queue, int from_end, nuc_err_t *err)
{
    nuc_rc_t rc;
    nuc_commit_t commit;

    nuc_commit_init(&commit);
    commit.generation = 1;

    rc = nuc_state_begin(sys, queue, from_end, &commit, err);

    if (rc == NUC_OK) {
        rc = nuc_commit_write(sys, dir, &commit, err);
    }

    nuc_commit_free(&commit);

    return rc;
}

static nuc_rc_t nuc_state_pipelines(char out[NUC_PATH_MAX], const char *state,
                                    nuc_err_t *err)
{
    return nuc_path_join(out, state, NUC_STATE_PIPELINES, err);
}

/*
 * The directory is made under a name that is no pipeline's, and gets its own when its
 * commit is in it: the keeper, which may run, never sees a pipeline without one.
 */
static nuc_rc_t nuc_state_make(const nuc_sys_t *sys, const char *state, const char *queue,
                               const nuc_pipeline_conf_t *pipeline, const char *dir,
                               nuc_err_t *err)
{
    char draft[NUC_PATH_MAX], name[sizeof(NUC_STATE_NEW_PREFIX) + NUC_NAME_MAX];
    nuc_rc_t rc;

    snprintf(name, sizeof(name), NUC_STATE_NEW_PREFIX "%s", pipeline->name);

    rc = nuc_state_pipeline_dir(draft, state, name, err);
    if (rc != NUC_OK) {
        return rc;
    }

    if (sys->mkdir(sys, draft, NUC_STATE_DIR_MODE) == -1 && errno != EEXIST) {
        return nuc_err_sys(err, NUC_IO, errno, "mkdir \"%s\" failed", draft);
    }

    rc = nuc_state_first_commit(sys, draft, queue, pipeline->from_end, err);
    if (rc != NUC_OK) {
        return rc;
    }

    /* all that nuc_state_check_unused lets pass */
    nuc_fs_discard(sys, dir, NUC_COMMIT_NAME ".tmp");

    if (sys->rename(sys, draft, dir) == -1) {
        return nuc_err_sys(err, NUC_IO, errno, "rename of \"%s\" to \"%s\" failed", draft,
                           dir);
    }

    return NUC_OK;
}

nuc_rc_t nuc_state_register(const nuc_sys_t *sys, const char *state, const char *queue,
                            const nuc_pipeline_conf_t *pipeline, nuc_err_t *err)
{
    char dir[NUC_PATH_MAX], path[NUC_PATH_MAX];
    nuc_rc_t rc;
    struct stat st;

    rc = nuc_state_pipeline_dir(dir, state, pipeline->name, err);
    if (rc != NUC_OK) {
        return rc;
    }

    rc = nuc_path_join(path, dir, NUC_COMMIT_NAME, err);
    if (rc != NUC_OK) {
        return rc;
    }

    if (sys->stat(sys, path, &st) == -1) {
        if (errno != ENOENT) {
            return nuc_err_sys(err, NUC_IO, errno, "stat of \"%s\" failed", path);
        }

        rc = nuc_state_check_unused(sys, dir, pipeline->name, err);

        if (rc == NUC_OK) {
            rc = nuc_state_make(sys, state, queue, pipeline, dir, err);
        }

        if (rc != NUC_OK) {
            return rc;
        }
    }

    /* one that is there may have been made by a process that died before it did this */
    rc = nuc_state_pipelines(path, state, err);

    return rc != NUC_OK ? rc : nuc_fs_sync_dir(sys, path, "state-pipeline", err);
}

/* The name. */

nuc_rc_t nuc_state_rename(const nuc_sys_t *sys, const char *state, const char *from,
                          const char *to, nuc_err_t *err)
{
    int fd;
    char from_dir[NUC_PATH_MAX], to_dir[NUC_PATH_MAX], pipelines[NUC_PATH_MAX];
    long holder;
    nuc_rc_t rc;
    struct stat st;

    rc = nuc_state_pipeline_dir(from_dir, state, from, err);

    if (rc == NUC_OK) {
        rc = nuc_state_pipeline_dir(to_dir, state, to, err);
    }

    if (rc != NUC_OK) {
        return rc;
    }

    if (sys->stat(sys, to_dir, &st) == 0) {
        return nuc_err_set(err, NUC_BUSY, "a pipeline \"%s\" is registered already", to);
    }

    if (sys->stat(sys, from_dir, &st) == -1) {
        return nuc_err_sys(err, errno == ENOENT ? NUC_NOT_FOUND : NUC_IO, errno,
                           "no pipeline \"%s\" is registered", from);
    }

    rc = nuc_state_lock(sys, from_dir, &fd, &holder, err);
    if (rc != NUC_OK) {
        return rc;
    }

    if (sys->rename(sys, from_dir, to_dir) == -1) {
        rc = nuc_err_sys(err, NUC_IO, errno, "rename of \"%s\" to \"%s\" failed",
                         from_dir, to_dir);
    } else {
        rc = nuc_state_pipelines(pipelines, state, err);
    }

    if (rc == NUC_OK) {
        rc = nuc_fs_sync_dir(sys, pipelines, "state-rename", err);
    }

    sys->close(sys, fd);

    return rc;
}

/* Listing. */

typedef struct {
    const nuc_sys_t *sys;
    const char *pipelines;
    nuc_state_names_t *names;
    nuc_rc_t rc;
    nuc_err_t *err;
} nuc_state_lister_t;

static nuc_rc_t nuc_state_list_one(nuc_state_lister_t *lister, const char *name)
{
    char path[NUC_PATH_MAX], (*names)[NUC_NAME_MAX + 1];
    nuc_rc_t rc;
    struct stat st;

    if (!nuc_name_valid(nuc_str(name))) {
        return NUC_OK;
    }

    rc = nuc_path_join(path, lister->pipelines, name, lister->err);
    if (rc != NUC_OK) {
        return rc;
    }

    if (lister->sys->stat(lister->sys, path, &st) == -1) {
        return nuc_err_sys(lister->err, NUC_IO, errno, "stat of \"%s\" failed", path);
    }

    if (!S_ISDIR(st.st_mode)) {
        return NUC_OK;
    }

    names = realloc(lister->names->names, (lister->names->count + 1) * sizeof(*names));
    if (names == NULL) {
        return nuc_err_set(lister->err, NUC_NOMEM, "no memory for a list of pipelines");
    }

    lister->names->names = names;
    strcpy(names[lister->names->count++], name);

    return NUC_OK;
}

static int nuc_state_list_entry(void *ctx, const char *name)
{
    nuc_state_lister_t *lister = ctx;

    lister->rc = nuc_state_list_one(lister, name);

    return lister->rc != NUC_OK;
}

static int nuc_state_name_cmp(const void *a, const void *b)
{
    return strcmp(a, b);
}

nuc_rc_t nuc_state_list(const nuc_sys_t *sys, const char *state, nuc_state_names_t *names,
                        nuc_err_t *err)
{
    int failed;
    char pipelines[NUC_PATH_MAX];
    nuc_rc_t rc;
    nuc_state_lister_t lister;

    names->names = NULL;
    names->count = 0;

    rc = nuc_path_join(pipelines, state, NUC_STATE_PIPELINES, err);
    if (rc != NUC_OK) {
        return rc;
    }

    lister = (nuc_state_lister_t){sys, pipelines, names, NUC_OK, err};
    failed = sys->list(sys, pipelines, nuc_state_list_entry, &lister);
    rc = lister.rc;

    if (rc == NUC_OK && failed == -1 && errno != ENOENT) {
        rc = nuc_err_sys(err, NUC_IO, errno, "listing of \"%s\" failed", pipelines);
    }

    if (rc != NUC_OK) {
        nuc_state_names_free(names);
        return rc;
    }

    if (names->count > 0) {
        qsort(names->names, names->count, sizeof(names->names[0]), nuc_state_name_cmp);
    }

    return NUC_OK;
}

void nuc_state_names_free(nuc_state_names_t *names)
{
    free(names->names);
    names->names = NULL;
    names->count = 0;
}

/* Forgetting. */

static nuc_rc_t nuc_state_unlink(const nuc_sys_t *sys, const char *dir, const char *name,
                                 nuc_err_t *err)
{
    char path[NUC_PATH_MAX];
    nuc_rc_t rc;

    rc = nuc_path_join(path, dir, name, err);
    if (rc != NUC_OK) {
        return rc;
    }

    if (sys->unlink(sys, path) == -1 && errno != ENOENT) {
        return nuc_err_sys(err, NUC_IO, errno, "unlink of \"%s\" failed", path);
    }

    return NUC_OK;
}

/* The commit goes last: without it and with anything else the directory would be an
 * error. */
static nuc_rc_t nuc_state_remove(const nuc_sys_t *sys, const char *state, const char *dir,
                                 nuc_err_t *err)
{
    char pipelines[NUC_PATH_MAX];
    nuc_rc_t rc;

    rc = nuc_state_unlink(sys, dir, NUC_COMMIT_NAME ".tmp", err);

    if (rc == NUC_OK) {
        rc = nuc_state_unlink(sys, dir, NUC_PROGRESS_NAME ".tmp", err);
    }

    if (rc == NUC_OK) {
        rc = nuc_state_unlink(sys, dir, NUC_PROGRESS_NAME, err);
    }

    if (rc == NUC_OK) {
        rc = nuc_state_unlink(sys, dir, NUC_STATE_LOCK, err);
    }

    if (rc == NUC_OK) {
        rc = nuc_state_unlink(sys, dir, NUC_COMMIT_NAME, err);
    }

    if (rc != NUC_OK) {
        return rc;
    }

    if (sys->rmdir(sys, dir) == -1) {
        return nuc_err_sys(err, NUC_IO, errno, "rmdir of \"%s\" failed", dir);
    }

    rc = nuc_state_pipelines(pipelines, state, err);

    return rc != NUC_OK ? rc : nuc_fs_sync_dir(sys, pipelines, "state-forget", err);
}

nuc_rc_t nuc_state_forget(const nuc_sys_t *sys, const char *state, const char *name,
                          nuc_err_t *err)
{
    int fd;
    char dir[NUC_PATH_MAX];
    long holder;
    nuc_rc_t rc;
    struct stat st;

    rc = nuc_state_pipeline_dir(dir, state, name, err);
    if (rc != NUC_OK) {
        return rc;
    }

    if (sys->stat(sys, dir, &st) == -1) {
        return nuc_err_sys(err, errno == ENOENT ? NUC_NOT_FOUND : NUC_IO, errno,
                           "no pipeline \"%s\" is registered", name);
    }

    rc = nuc_state_lock(sys, dir, &fd, &holder, err);
    if (rc != NUC_OK) {
        return rc;
    }

    rc = nuc_state_remove(sys, state, dir, err);
    sys->close(sys, fd);

    return rc;
}
