#include "nuc_owner.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "nuc_fs.h"
#include "nuc_state.h"
#include "nuc_time.h"
#include "nuc_uuid.h"

#define NUC_OWNER_FILE_MAX  4096 /* bytes */
#define NUC_OWNER_FILE_MODE 0640

#define NUC_OWNER_ACCEPT                                                                 \
    "if it is the right one: nucleus-worker --accept-queue, with the worker stopped"

typedef struct {
    const nuc_sys_t *sys;
    const char *state_dir;
    const char *queue_dir;

    int has_identity; /* what the state says */
    int bound;
    nuc_uuid_t state;
    nuc_uuid_t bound_to;

    int has_queue; /* the directory */
    int owned;     /* what it says */
    nuc_uuid_t queue;
    nuc_uuid_t owner;
    char owner_dir[NUC_PATH_MAX];
} nuc_owner_t;

/* Reading. */

/* NUC_NOT_FOUND when there is no file; "text" has NUC_OWNER_FILE_MAX + 1 bytes. */
static nuc_rc_t nuc_owner_read(const nuc_sys_t *sys, const char *dir, const char *name,
                               char *text, nuc_err_t *err)
{
    char path[NUC_PATH_MAX];
    nuc_rc_t rc;
    nuc_buf_t buf;

    rc = nuc_path_join(path, dir, name, err);
    if (rc != NUC_OK) {
        return rc;
    }

    buf = NUC_BUF_INIT;
    rc = nuc_fs_read_file(sys, path, NUC_OWNER_FILE_MAX, &buf, err);

    if (rc == NUC_OK) {
        /* an empty file has no data to copy from */
        if (buf.len != 0) {
            memcpy(text, buf.data, buf.len);
        }

        text[buf.len] = '\0';
    }

    nuc_buf_free(&buf);

    return rc;
}

static nuc_rc_t nuc_owner_damaged(const char *dir, const char *name, nuc_err_t *err)
{
    nuc_err_set(err, NUC_CORRUPT, "\"%s/%s\" is damaged", dir, name);
    nuc_err_hint(err, NUC_OWNER_ACCEPT);

    return NUC_CORRUPT;
}

static nuc_rc_t nuc_owner_read_state(const nuc_sys_t *sys, const char *dir,
                                     nuc_owner_t *o, nuc_err_t *err)
{
    char text[NUC_OWNER_FILE_MAX + 1], state[64], queue[64];
    nuc_rc_t rc;

    rc = nuc_owner_read(sys, dir, NUC_OWNER_STATE_NAME, text, err);
    if (rc != NUC_OK) {
        return rc == NUC_NOT_FOUND ? NUC_OK : rc;
    }

    if (sscanf(text, "nucleus-state 1\nstate %63s\nqueue %63s\n", state, queue) != 2 ||
        nuc_uuid_parse(nuc_str(state), &o->state) != NUC_OK) {
        return nuc_owner_damaged(dir, NUC_OWNER_STATE_NAME, err);
    }

    o->has_identity = 1;
    o->bound = strcmp(queue, "-") != 0;

    if (o->bound && nuc_uuid_parse(nuc_str(queue), &o->bound_to) != NUC_OK) {
        return nuc_owner_damaged(dir, NUC_OWNER_STATE_NAME, err);
    }

    return NUC_OK;
}

static nuc_rc_t nuc_owner_read_queue(nuc_owner_t *o, nuc_err_t *err)
{
    char text[NUC_OWNER_FILE_MAX + 1], queue[64], state[64];
    nuc_rc_t rc;
    struct stat st;

    o->has_queue = o->sys->stat(o->sys, o->queue_dir, &st) == 0;

    if (!o->has_queue) {
        return errno == ENOENT ? NUC_OK
                               : nuc_err_sys(err, NUC_IO, errno, "stat of \"%s\" failed",
                                             o->queue_dir);
    }

    rc = nuc_owner_read(o->sys, o->queue_dir, NUC_OWNER_QUEUE_NAME, text, err);
    if (rc != NUC_OK) {
        return rc == NUC_NOT_FOUND ? NUC_OK : rc;
    }

    /* 1023 is NUC_PATH_MAX - 1 */
    if (sscanf(text, "nucleus-queue 1\nqueue %63s\nstate %63s\npath %1023[^\n]\n", queue,
               state, o->owner_dir) != 3 ||
        nuc_uuid_parse(nuc_str(queue), &o->queue) != NUC_OK ||
        nuc_uuid_parse(nuc_str(state), &o->owner) != NUC_OK) {
        return nuc_owner_damaged(o->queue_dir, NUC_OWNER_QUEUE_NAME, err);
    }

    o->owned = 1;

    return NUC_OK;
}

static nuc_rc_t nuc_owner_load(nuc_owner_t *o, const nuc_sys_t *sys, const char *state,
                               const char *queue, nuc_err_t *err)
{
    nuc_rc_t rc;

    memset(o, 0, sizeof(*o));
    o->sys = sys;
    o->state_dir = state;
    o->queue_dir = queue;

    rc = nuc_owner_read_state(sys, state, o, err);

    return rc != NUC_OK ? rc : nuc_owner_read_queue(o, err);
}

/* Judging. */

static nuc_rc_t nuc_owner_refuse(nuc_err_t *err)
{
    nuc_err_hint(err, NUC_OWNER_ACCEPT);

    return NUC_INVALID;
}

/* Is there another directory, where the owner was, with the same identity? */
static int nuc_owner_copied(const nuc_owner_t *o)
{
    nuc_owner_t other;
    struct stat here, there;

    memset(&other, 0, sizeof(other));

    return strcmp(o->owner_dir, o->state_dir) != 0 &&
           o->sys->stat(o->sys, o->state_dir, &here) == 0 &&
           o->sys->stat(o->sys, o->owner_dir, &there) == 0 &&
           (here.st_dev != there.st_dev || here.st_ino != there.st_ino) &&
           nuc_owner_read_state(o->sys, o->owner_dir, &other, NULL) == NUC_OK &&
           other.has_identity && nuc_uuid_cmp(&other.state, &o->state) == 0;
}

static nuc_rc_t nuc_owner_judge(const nuc_owner_t *o, nuc_err_t *err)
{
    if (!o->has_queue || !o->owned) {
        if (!o->bound) {
            return NUC_OK;
        }

        nuc_err_set(err, NUC_INVALID,
                    "the queue \"%s\" is not the one that the state \"%s\" knows: %s",
                    o->queue_dir, o->state_dir,
                    o->has_queue ? "it has no owner, is its disk mounted?"
                                 : "it is not there, is its disk mounted?");
        return nuc_owner_refuse(err);
    }

    if (!o->has_identity || nuc_uuid_cmp(&o->owner, &o->state) != 0) {
        nuc_err_set(err, NUC_INVALID,
                    "the queue \"%s\" belongs to the state \"%s\", not to \"%s\"",
                    o->queue_dir, o->owner_dir, o->state_dir);
        return nuc_owner_refuse(err);
    }

    if (o->bound && nuc_uuid_cmp(&o->queue, &o->bound_to) != 0) {
        nuc_err_set(err, NUC_INVALID,
                    "the queue \"%s\" is another one than the state \"%s\" read last",
                    o->queue_dir, o->state_dir);
        return nuc_owner_refuse(err);
    }

    if (nuc_owner_copied(o)) {
        nuc_err_set(err, NUC_INVALID,
                    "the state \"%s\" is a copy of \"%s\", to which the queue belongs",
                    o->state_dir, o->owner_dir);
        return nuc_owner_refuse(err);
    }

    return NUC_OK;
}

/* Writing. */

static nuc_rc_t nuc_owner_new_uuid(nuc_uuid_t *uuid, nuc_err_t *err)
{
    nuc_uuid_source_t source;

    nuc_uuid_source_init(&source);

    return nuc_uuid_v7(&source, nuc_time_now(), uuid, err);
}

static nuc_rc_t nuc_owner_write_state(const nuc_owner_t *o, nuc_err_t *err)
{
    char text[256], state[NUC_UUID_TEXT_LEN + 1], queue[NUC_UUID_TEXT_LEN + 1];

    *nuc_uuid_format(&o->state, state) = '\0';
    *nuc_uuid_format(&o->bound_to, queue) = '\0';
    snprintf(text, sizeof(text), "nucleus-state 1\nstate %s\nqueue %s\n", state,
             o->bound ? queue : "-");

    return nuc_fs_replace(o->sys, o->state_dir, NUC_OWNER_STATE_NAME, nuc_str(text),
                          NUC_OWNER_FILE_MODE, "owner-state-file", "owner-state-entry",
                          err);
}

static nuc_rc_t nuc_owner_write_queue(const nuc_owner_t *o, nuc_err_t *err)
{
    char text[NUC_PATH_MAX + 256], state[NUC_UUID_TEXT_LEN + 1],
        queue[NUC_UUID_TEXT_LEN + 1];

    *nuc_uuid_format(&o->state, state) = '\0';
    *nuc_uuid_format(&o->queue, queue) = '\0';
    snprintf(text, sizeof(text), "nucleus-queue 1\nqueue %s\nstate %s\npath %s\n", queue,
             state, o->state_dir);

    return nuc_fs_replace(o->sys, o->queue_dir, NUC_OWNER_QUEUE_NAME, nuc_str(text),
                          NUC_OWNER_FILE_MODE, "owner-queue-file", "owner-queue-entry",
                          err);
}

static nuc_rc_t nuc_owner_bind(nuc_owner_t *o, nuc_err_t *err)
{
    nuc_rc_t rc;

    if (!o->has_identity) {
        rc = nuc_owner_new_uuid(&o->state, err);

        if (rc == NUC_OK) {
            rc = nuc_owner_write_state(o, err);
        }

        if (rc != NUC_OK) {
            return rc;
        }
    }

    if (!o->has_queue) {
        return NUC_OK;
    }

    rc = o->owned ? NUC_OK : nuc_owner_new_uuid(&o->queue, err);

    if (rc == NUC_OK && (!o->owned || nuc_uuid_cmp(&o->owner, &o->state) != 0 ||
                         strcmp(o->owner_dir, o->state_dir) != 0)) {
        rc = nuc_owner_write_queue(o, err);
    }

    if (rc != NUC_OK || (o->bound && nuc_uuid_cmp(&o->bound_to, &o->queue) == 0)) {
        return rc;
    }

    o->bound = 1;
    o->bound_to = o->queue;

    return nuc_owner_write_state(o, err);
}

nuc_rc_t nuc_owner_check(const nuc_sys_t *sys, const char *state, const char *queue,
                         nuc_err_t *err)
{
    nuc_rc_t rc;
    nuc_owner_t o;

    rc = nuc_owner_load(&o, sys, state, queue, err);

    return rc != NUC_OK ? rc : nuc_owner_judge(&o, err);
}

/* One at a time on a queue. */
static nuc_rc_t nuc_owner_locked(nuc_owner_t *o, const nuc_sys_t *sys, const char *state,
                                 const char *queue, int judge, nuc_err_t *err)
{
    int fd;
    long holder;
    nuc_rc_t rc;
    struct stat st;

    fd = -1;

    if (sys->stat(sys, queue, &st) == 0) {
        rc = nuc_state_lock(sys, queue, &fd, &holder, err);
        if (rc != NUC_OK) {
            return rc;
        }
    }

    rc = nuc_owner_load(o, sys, state, queue, err);

    if (rc == NUC_OK && judge) {
        rc = nuc_owner_judge(o, err);
    }

    /* what is damaged is replaced */
    if (rc == NUC_OK || (!judge && rc == NUC_CORRUPT)) {
        rc = nuc_owner_bind(o, err);
    }

    if (fd != -1) {
        sys->close(sys, fd);
    }

    return rc;
}

nuc_rc_t nuc_owner_claim(const nuc_sys_t *sys, const char *state, const char *queue,
                         nuc_err_t *err)
{
    nuc_rc_t rc;
    nuc_owner_t o;

    /* nothing is made, not even a lock, below a mount point that is not the queue */
    rc = nuc_owner_check(sys, state, queue, err);

    return rc != NUC_OK ? rc : nuc_owner_locked(&o, sys, state, queue, 1, err);
}

nuc_rc_t nuc_owner_accept(const nuc_sys_t *sys, const char *state, const char *queue,
                          nuc_err_t *err)
{
    nuc_owner_t o;
    struct stat st;

    if (sys->stat(sys, queue, &st) == -1) {
        return nuc_err_sys(err, NUC_IO, errno, "no queue in \"%s\"", queue);
    }

    return nuc_owner_locked(&o, sys, state, queue, 0, err);
}
