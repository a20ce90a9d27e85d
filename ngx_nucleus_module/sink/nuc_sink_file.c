/*
 * The file sink: plain NDJSON, appended to
 *
 *     PATH/stream=<stream>/tenant=<tenant>/date=YYYY-MM-DD/hour=HH/<uuid>.ndjson
 *
 * where date and hour are those of "received", in UTC.  What the pipeline's commit
 * records for it:
 *
 *     root PATH
 *     <length> <path below the root>                 one line a file that may still grow
 *
 * The protocol:
 *
 * 1. A file is named by a commit, with length 0, before it is created (prepare).  So
 * there is never a file of ours in the store that no commit names or named: a crash
 * leaves nothing behind that could not be cut back.
 * 2. flush appends to each file at the length that the last commit recorded, syncs it,
 * and syncs the directory of each file that it created; the directories themselves are
 * durable as soon as they are made.  Only then comes the commit with the new lengths.
 * 3. open cuts each recorded file back to its length and syncs the cut, for the file may
 * never be written again.  A file that is shorter than recorded was changed by somebody
 * else.
 * 4. A file of recorded length 0 may have died between mkdir and the sync of the parent:
 * all its directories are synced again at open.
 * 5. A full file, or one whose hour has passed, leaves the state with the commit that
 * follows its last sync, and is never touched again.
 *
 * Memory: the lines of one batch, which the pipeline bounds, and NUC_FILE_MAX small
 * structs.
 */

#include "nuc_sink.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "nuc_fs.h"
#include "nuc_name.h"
#include "nuc_time.h"
#include "nuc_uuid.h"

#define NUC_FILE_MAX      20000         /* files in the state */
#define NUC_FILE_FDS      64            /* files open at a time */
#define NUC_FILE_BUCKETS  4096          /* of the hash table, a power of two */
#define NUC_FILE_HOUR     3600000000ULL /* µs */
#define NUC_FILE_GRACE    600000000ULL  /* µs that a file stays after its hour */
#define NUC_FILE_IDLE     32            /* flushes without it before it may leave */
#define NUC_FILE_MODE     0640
#define NUC_FILE_DIR_MODE 0750
#define NUC_FILE_SUFFIX   ".ndjson"

/* What stands in the path for a name that is none; the line itself has what was sent. */
#define NUC_FILE_NO_NAME "_invalid"

typedef struct {
    const char *path;
    uint64_t file_size;
} nuc_sink_file_options_t;

typedef struct nuc_file_s nuc_file_t;

struct nuc_file_s {
    nuc_file_t *next;      /* all files, the most recent first */
    nuc_file_t *next_hash; /* in its bucket; only the file that its partition writes to */
    nuc_file_t *next_dirty; /* in the current batch */
    char *path;             /* below the root */
    size_t dir_len;         /* of the path without "/<uuid>.ndjson" */
    uint64_t hour;          /* its partition's beginning, µs since 1970 */
    uint64_t length;        /* committed, or about to be */
    uint64_t flushed;       /* the number of the flush that wrote it last */
    nuc_buf_t lines;        /* of the current batch */
    int slot;               /* in sink->open, -1: not open */
    unsigned recorded : 1;  /* a commit names it */
    unsigned created : 1;
    unsigned dirty : 1;    /* in the list of the current batch */
    unsigned unsynced : 1; /* written since its last sync */
    unsigned full : 1;     /* leaves with the next commit */
};

typedef struct {
    int fd;
    uint64_t used; /* the larger the later */
    nuc_file_t *file;
} nuc_file_slot_t;

typedef struct {
    nuc_sink_t sink;
    const nuc_sys_t *sys;
    const nuc_sink_file_options_t *options;
    nuc_file_t *files;
    nuc_file_t *dirty;
    nuc_file_t **dirty_tail;
    size_t nfiles;
    nuc_file_t *buckets[NUC_FILE_BUCKETS];
    nuc_file_slot_t open[NUC_FILE_FDS];
    uint64_t uses;      /* counts openings and hits, for slots */
    uint64_t flushes;   /* counts flushes */
    uint64_t watermark; /* the latest "received" seen */
    size_t batch_bytes;
    nuc_uuid_source_t uuids;
} nuc_sink_file_t;

static const nuc_sink_option_t nuc_sink_file_option_table[] = {
    {"path", NUC_SINK_DIR, NULL, offsetof(nuc_sink_file_options_t, path),
     "the store: the directory below which the files are made"},
    {"file_size", NUC_SINK_SIZE, "128m", offsetof(nuc_sink_file_options_t, file_size),
     "a file that has reached this size is followed by a new one"},
    {NULL, NUC_SINK_STRING, NULL, 0, NULL},
};

/* Files and partitions. */

static void nuc_file_free(nuc_file_t *file)
{
    nuc_buf_free(&file->lines);
    free(file->path);
    free(file);
}

static nuc_file_t *nuc_file_add(nuc_sink_file_t *s, const char *path, size_t len)
{
    nuc_file_t *file;

    file = calloc(1, sizeof(*file));
    if (file == NULL) {
        return NULL;
    }

    file->path = strndup(path, len);
    if (file->path == NULL) {
        free(file);
        return NULL;
    }

    file->dir_len = (size_t) (strrchr(file->path, '/') - file->path);
    file->lines = NUC_BUF_INIT;
    file->slot = -1;
    file->flushed = s->flushes;
    file->next = s->files;
    s->files = file;
    s->nfiles++;

    return file;
}

static nuc_file_t **nuc_file_bucket(nuc_sink_file_t *s, const char *dir, size_t len)
{
    size_t i;
    uint64_t hash;

    hash = 14695981039346656037ULL; /* FNV-1a */

    for (i = 0; i < len; i++) {
        hash = (hash ^ (uint8_t) dir[i]) * 1099511628211ULL;
    }

    return &s->buckets[(hash ^ (hash >> 32)) & (NUC_FILE_BUCKETS - 1)];
}

static nuc_file_t *nuc_file_lookup(nuc_file_t **bucket, const char *dir, size_t len)
{
    nuc_file_t *file;

    for (file = *bucket; file != NULL; file = file->next_hash) {
        if (file->dir_len == len && memcmp(file->path, dir, len) == 0) {
            return file;
        }
    }

    return NULL;
}

static void nuc_file_unhash(nuc_sink_file_t *s, const nuc_file_t *file)
{
    nuc_file_t **p;

    for (p = nuc_file_bucket(s, file->path, file->dir_len); *p != NULL;
         p = &(*p)->next_hash) {
        if (*p == file) {
            *p = file->next_hash;
            return;
        }
    }
}

static nuc_rc_t nuc_file_full_path(const nuc_sink_file_t *s, const nuc_file_t *file,
                                   char out[NUC_PATH_MAX], nuc_err_t *err)
{
    return nuc_path_join(out, s->options->path, file->path, err);
}

static nuc_rc_t nuc_file_nomem(nuc_err_t *err)
{
    return nuc_err_set(err, NUC_NOMEM, "no memory for a file of the store");
}

/* Open files. */

static nuc_rc_t nuc_file_sync(nuc_sink_file_t *s, nuc_file_t *file, nuc_err_t *err)
{
    if (s->sys->fdatasync(s->sys, s->open[file->slot].fd, "sink-file-data") == -1) {
        return nuc_err_sys(err, NUC_IO, errno, "sync of \"%s/%s\" failed",
                           s->options->path, file->path);
    }

    file->unsynced = 0;

    return NUC_OK;
}

static void nuc_file_close(nuc_sink_file_t *s, nuc_file_t *file)
{
    if (file->slot == -1) {
        return;
    }

    s->sys->close(s->sys, s->open[file->slot].fd);
    s->open[file->slot].file = NULL;
    file->slot = -1;
}

/* A free slot; to have one, closes the file that was written longest ago. */
static nuc_rc_t nuc_file_take_slot(nuc_sink_file_t *s, int *slot, nuc_err_t *err)
{
    int i, oldest;
    nuc_rc_t rc;
    nuc_file_t *file;

    oldest = 0;

    for (i = 0; i < NUC_FILE_FDS; i++) {
        if (s->open[i].file == NULL) {
            *slot = i;
            return NUC_OK;
        }

        if (s->open[i].used < s->open[oldest].used) {
            oldest = i;
        }
    }

    file = s->open[oldest].file;

    /* an error of its writing would be told to this descriptor, not to a later one */
    if (file->unsynced) {
        rc = nuc_file_sync(s, file, err);
        if (rc != NUC_OK) {
            return rc;
        }
    }

    nuc_file_close(s, file);
    *slot = oldest;

    return NUC_OK;
}

/* Make the partition's directories, one after the other; what was made is durable. */
static nuc_rc_t nuc_file_make_dirs(nuc_sink_file_t *s, const nuc_file_t *file,
                                   nuc_err_t *err)
{
    char *slash, path[NUC_PATH_MAX], parent[NUC_PATH_MAX];
    size_t root_len;
    nuc_rc_t rc;

    rc = nuc_file_full_path(s, file, path, err);
    if (rc != NUC_OK) {
        return rc;
    }

    root_len = strlen(s->options->path);
    memcpy(parent, path, root_len);
    parent[root_len] = '\0';

    for (slash = strchr(path + root_len + 1, '/'); slash != NULL;
         slash = strchr(slash + 1, '/')) {
        *slash = '\0';

        if (s->sys->mkdir(s->sys, path, NUC_FILE_DIR_MODE) == 0) {
            rc = nuc_fs_sync_dir(s->sys, parent, "sink-file-parent", err);
            if (rc != NUC_OK) {
                return rc;
            }

        } else if (errno != EEXIST) {
            return nuc_err_sys(err, NUC_IO, errno, "mkdir \"%s\" failed", path);
        }

        strcpy(parent, path);
        *slash = '/';
    }

    return NUC_OK;
}

static nuc_rc_t nuc_file_open(nuc_sink_file_t *s, nuc_file_t *file, nuc_err_t *err)
{
    int fd, flags, slot;
    char path[NUC_PATH_MAX];
    nuc_rc_t rc;

    if (file->slot != -1) {
        s->open[file->slot].used = ++s->uses;
        return NUC_OK;
    }

    rc = nuc_file_full_path(s, file, path, err);
    if (rc != NUC_OK) {
        return rc;
    }

    rc = nuc_file_take_slot(s, &slot, err);
    if (rc != NUC_OK) {
        return rc;
    }

    flags = O_WRONLY | O_NOFOLLOW;

    if (!file->created) {
        flags |= O_CREAT | O_EXCL;

        rc = nuc_file_make_dirs(s, file, err);
        if (rc != NUC_OK) {
            return rc;
        }
    }

    fd = s->sys->open(s->sys, path, flags, NUC_FILE_MODE);
    if (fd == -1) {
        return nuc_err_sys(err, NUC_IO, errno, "open of \"%s\" failed", path);
    }

    s->open[slot] = (nuc_file_slot_t){fd, ++s->uses, file};
    file->slot = slot;

    return NUC_OK;
}

/* The state. */

static nuc_rc_t nuc_file_write_state(const nuc_sink_file_t *s, nuc_buf_t *state,
                                     nuc_err_t *err)
{
    const nuc_file_t *file;

    nuc_buf_printf(state, "root %s\n", s->options->path);

    for (file = s->files; file != NULL; file = file->next) {
        nuc_buf_printf(state, "%" PRIu64 " %s\n", file->length, file->path);
    }

    return state->failed ? nuc_file_nomem(err) : NUC_OK;
}

/*
 * Sync the directories of "path" up to the root.  Those that it shares with "before", for
 * which this was done already, are passed over.
 */
static nuc_rc_t nuc_file_settle_dirs(const nuc_sys_t *sys, const char *path,
                                     size_t root_len, const char *before, nuc_err_t *err)
{
    char *slash, dir[NUC_PATH_MAX];
    size_t len;
    nuc_rc_t rc;
    struct stat st;

    snprintf(dir, sizeof(dir), "%s", path);

    for (slash = strrchr(dir, '/'); slash != NULL; slash = strrchr(dir, '/')) {
        *slash = '\0';
        len = (size_t) (slash - dir);

        if (len < root_len) {
            break;
        }

        if (strncmp(before, dir, len) == 0 && before[len] == '/') {
            break;
        }

        if (sys->stat(sys, dir, &st) == -1 && errno == ENOENT) {
            continue;
        }

        rc = nuc_fs_sync_dir(sys, dir, "sink-file-settle", err);
        if (rc != NUC_OK) {
            return rc;
        }
    }

    return NUC_OK;
}

static nuc_rc_t nuc_file_changed(nuc_err_t *err, const char *path, const char *how,
                                 uint64_t length)
{
    nuc_err_set(err, NUC_CORRUPT, "\"%s\" %s, but %" PRIu64 " bytes of it were committed",
                path, how, length);
    nuc_err_hint(err,
                 "somebody changed the store: put the file back as it was, or --forget "
                 "the pipeline");

    return NUC_CORRUPT;
}

/* Bring one recorded file back to "length"; *found = 0 when there is none and need not
 * be. */
static nuc_rc_t nuc_file_cut(const nuc_sys_t *sys, const char *path, uint64_t length,
                             int *found, nuc_err_t *err)
{
    int fd;
    nuc_rc_t rc;
    struct stat st;

    *found = 0;

    fd = sys->open(sys, path, O_WRONLY | O_NOFOLLOW, 0);

    if (fd == -1) {
        if (errno != ENOENT) {
            return nuc_err_sys(err, NUC_IO, errno, "open of \"%s\" failed", path);
        }

        return length == 0 ? NUC_OK : nuc_file_changed(err, path, "is missing", length);
    }

    *found = 1;
    rc = NUC_OK;

    if (sys->fstat(sys, fd, &st) == -1) {
        rc = nuc_err_sys(err, NUC_IO, errno, "stat of \"%s\" failed", path);

    } else if (!S_ISREG(st.st_mode)) {
        rc = nuc_file_changed(err, path, "is not a file any more", length);

    } else if ((uint64_t) st.st_size < length) {
        rc = nuc_file_changed(err, path, "is shorter", length);

    } else if ((uint64_t) st.st_size > length) {

        if (sys->ftruncate(sys, fd, (off_t) length) == -1) {
            rc = nuc_err_sys(err, NUC_IO, errno, "truncate of \"%s\" failed", path);

        } else if (sys->fsync(sys, fd, "sink-file-cut") == -1) {
            rc = nuc_err_sys(err, NUC_IO, errno, "sync of \"%s\" failed", path);
        }
    }

    sys->close(sys, fd);

    return rc;
}

/* Is it a path such as this sink makes, which cannot lead out of the root? */
static int nuc_file_is_ours(const char *path)
{
    size_t len = strlen(path), suffix_len = strlen(NUC_FILE_SUFFIX);

    return path[0] != '/' && strchr(path, '/') != NULL && strncmp(path, "../", 3) != 0 &&
           strstr(path, "/../") == NULL && len > suffix_len &&
           strcmp(path + len - suffix_len, NUC_FILE_SUFFIX) == 0;
}

/* One line of the state: "<length> <path>". */
static nuc_rc_t nuc_file_recover(nuc_sink_file_t *s, const char *root, const char *line,
                                 size_t len, char before[NUC_PATH_MAX], nuc_err_t *err)
{
    int found;
    char *rest, name[NUC_PATH_MAX], path[NUC_PATH_MAX];
    uint64_t length;
    nuc_rc_t rc;
    nuc_file_t *file;

    if (len >= sizeof(name)) {
        return nuc_err_set(err, NUC_CORRUPT, "the state of the file sink has a bad line");
    }

    memcpy(name, line, len);
    name[len] = '\0';

    length = strtoull(name, &rest, 10);

    if (rest == name || rest[0] != ' ' || !nuc_file_is_ours(rest + 1)) {
        return nuc_err_set(err, NUC_CORRUPT, "the state of the file sink has a bad line");
    }

    rest++;

    rc = nuc_path_join(path, root, rest, err);
    if (rc != NUC_OK) {
        return rc;
    }

    rc = nuc_file_cut(s->sys, path, length, &found, err);
    if (rc != NUC_OK) {
        return rc;
    }

    if (length == 0) {
        rc = nuc_file_settle_dirs(s->sys, path, strlen(root), before, err);
        if (rc != NUC_OK) {
            return rc;
        }

        strcpy(before, path);
    }

    if (strcmp(root, s->options->path) != 0) {
        /* the path was changed: that store is complete and is left */
        return NUC_OK;
    }

    file = nuc_file_add(s, rest, strlen(rest));
    if (file == NULL) {
        return nuc_file_nomem(err);
    }

    file->length = length;
    file->recorded = 1;
    file->created = (unsigned) found;

    return NUC_OK;
}

/* The first second of the hour in ".../date=2026-11-21/hour=10", in µs; 0 when it is not
 * so. */
static uint64_t nuc_file_hour_of(const char *path)
{
    int year, month, day, hour;
    const char *date;
    struct tm tm;

    date = strstr(path, "/date=");

    if (date == NULL ||
        sscanf(date, "/date=%4d-%2d-%2d/hour=%2d", &year, &month, &day, &hour) != 4) {
        return 0;
    }

    memset(&tm, 0, sizeof(tm));
    tm.tm_year = year - 1900;
    tm.tm_mon = month - 1;
    tm.tm_mday = day;
    tm.tm_hour = hour;

    return (uint64_t) timegm(&tm) * 1000000;
}

/* The file that a partition goes on with: the last in the list, if it has room. */
static void nuc_file_index(nuc_sink_file_t *s)
{
    nuc_file_t *file, **bucket;

    for (file = s->files; file != NULL; file = file->next) {
        bucket = nuc_file_bucket(s, file->path, file->dir_len);
        file->hour = nuc_file_hour_of(file->path);

        if (file->length < s->options->file_size &&
            nuc_file_lookup(bucket, file->path, file->dir_len) == NULL) {
            file->next_hash = *bucket;
            *bucket = file;
        }
    }
}

/* Where the records of a root go that is not the configured one any more. */
static const char *nuc_file_find_root(const nuc_sink_file_t *s, const char *recorded)
{
    struct stat st;

    if (strcmp(recorded, s->options->path) != 0 &&
        s->sys->stat(s->sys, recorded, &st) == -1 && errno == ENOENT) {
        /* the store was moved and the configuration followed */
        return s->options->path;
    }

    return recorded;
}

static nuc_rc_t nuc_file_read_state(nuc_sink_file_t *s, nuc_str_t state, nuc_err_t *err)
{
    char recorded[NUC_PATH_MAX], before[NUC_PATH_MAX];
    size_t len;
    nuc_rc_t rc;
    const char *p, *end, *eol, *root;

    p = (const char *) state.data;
    end = p + state.len;
    root = NULL;
    before[0] = '\0';

    for (/* void */; p < end; p = eol + 1) {
        eol = memchr(p, '\n', (size_t) (end - p));
        if (eol == NULL) {
            return nuc_err_set(err, NUC_CORRUPT,
                               "the state of the file sink is cut short");
        }

        len = (size_t) (eol - p);

        if (root != NULL) {
            rc = nuc_file_recover(s, root, p, len, before, err);
            if (rc != NUC_OK) {
                return rc;
            }

            continue;
        }

        if (len < 5 || len - 5 >= sizeof(recorded) || memcmp(p, "root ", 5) != 0) {
            return nuc_err_set(err, NUC_CORRUPT,
                               "the state of the file sink has no root");
        }

        memcpy(recorded, p + 5, len - 5);
        recorded[len - 5] = '\0';
        root = nuc_file_find_root(s, recorded);
    }

    nuc_file_index(s);

    return NUC_OK;
}

/* The operations. */

static void nuc_sink_file_close(nuc_sink_t *sink)
{
    nuc_file_t *file, *next;
    nuc_sink_file_t *s = (nuc_sink_file_t *) sink;

    for (file = s->files; file != NULL; file = next) {
        next = file->next;
        nuc_file_close(s, file);
        nuc_file_free(file);
    }

    free(s);
}

static nuc_rc_t nuc_sink_file_open(const nuc_sys_t *sys, const char *pipeline,
                                   const void *options, nuc_str_t state,
                                   nuc_sink_t **sink, nuc_err_t *err)
{
    nuc_rc_t rc;
    nuc_sink_file_t *s;

    (void) pipeline;

    s = calloc(1, sizeof(*s));
    if (s == NULL) {
        return nuc_err_set(err, NUC_NOMEM, "no memory for a file sink");
    }

    s->sink.ops = &nuc_sink_file;
    s->sys = sys;
    s->options = options;
    s->dirty_tail = &s->dirty;
    nuc_uuid_source_init(&s->uuids);

    rc =
        nuc_fs_make_path(sys, s->options->path, NUC_FILE_DIR_MODE, "sink-file-root", err);

    if (rc == NUC_OK) {
        rc = nuc_file_read_state(s, state, err);
    }

    if (rc != NUC_OK) {
        nuc_sink_file_close(&s->sink);
        return rc;
    }

    *sink = &s->sink;

    return NUC_OK;
}

static size_t nuc_file_put_name(char *out, const char *key, nuc_str_t name)
{
    size_t key_len;

    if (!nuc_name_valid(name)) {
        name = nuc_str(NUC_FILE_NO_NAME);
    }

    key_len = strlen(key);
    memcpy(out, key, key_len);
    memcpy(out + key_len, name.data, name.len);

    return key_len + name.len;
}

/* The directory of the record's partition below the root, with a zero. */
static size_t nuc_file_partition(const nuc_record_t *rec, char out[NUC_PATH_MAX])
{
    char when[NUC_TIME_TEXT_LEN];
    size_t len;

    nuc_time_format(rec->received, when);

    len = nuc_file_put_name(out, "stream=", rec->attr[NUC_ATTR_STREAM]);
    len += nuc_file_put_name(out + len, "/tenant=", rec->attr[NUC_ATTR_TENANT]);

    memcpy(out + len, "/date=", 6);
    memcpy(out + len + 6, when, 10);
    memcpy(out + len + 16, "/hour=", 6);
    memcpy(out + len + 22, when + 11, 2);
    out[len + 24] = '\0';

    return len + 24;
}

static nuc_rc_t nuc_file_create(nuc_sink_file_t *s, const char *dir, size_t dir_len,
                                nuc_file_t **file, nuc_err_t *err)
{
    char path[NUC_PATH_MAX], name[NUC_UUID_TEXT_LEN + 1];
    int len;
    nuc_rc_t rc;
    nuc_uuid_t uuid;

    rc = nuc_uuid_v7(&s->uuids, nuc_time_now(), &uuid, err);
    if (rc != NUC_OK) {
        return rc;
    }

    *nuc_uuid_format(&uuid, name) = '\0';

    len =
        snprintf(path, sizeof(path), "%.*s/%s" NUC_FILE_SUFFIX, (int) dir_len, dir, name);

    *file = nuc_file_add(s, path, (size_t) len);

    return *file == NULL ? nuc_file_nomem(err) : NUC_OK;
}

/* The file that takes the next line of the partition; a new one if there is none with
 * room. */
static nuc_rc_t nuc_file_for(nuc_sink_file_t *s, const nuc_record_t *rec,
                             nuc_file_t **file, nuc_err_t *err)
{
    char dir[NUC_PATH_MAX];
    size_t len;
    nuc_rc_t rc;
    nuc_file_t **bucket;

    len = nuc_file_partition(rec, dir);
    bucket = nuc_file_bucket(s, dir, len);
    *file = nuc_file_lookup(bucket, dir, len);

    if (*file != NULL) {

        if ((*file)->length + (*file)->lines.len < s->options->file_size) {
            return NUC_OK;
        }

        (*file)->full = 1;
        nuc_file_unhash(s, *file);
    }

    rc = nuc_file_create(s, dir, len, file, err);
    if (rc != NUC_OK) {
        return rc;
    }

    (*file)->hour = rec->received - rec->received % NUC_FILE_HOUR;
    (*file)->next_hash = *bucket;
    *bucket = *file;

    return NUC_OK;
}

static nuc_rc_t nuc_sink_file_add(nuc_sink_t *sink, const nuc_record_t *rec,
                                  nuc_err_t *err)
{
    size_t before;
    nuc_rc_t rc;
    nuc_file_t *file;
    nuc_sink_file_t *s = (nuc_sink_file_t *) sink;

    rc = nuc_file_for(s, rec, &file, err);
    if (rc != NUC_OK) {
        return rc;
    }

    before = file->lines.len;

    rc = nuc_record_ndjson(rec, &file->lines, err);
    if (rc != NUC_OK) {
        file->lines.len = before;
        return rc;
    }

    s->batch_bytes += file->lines.len - before;

    if (rec->received > s->watermark) {
        s->watermark = rec->received;
    }

    if (!file->dirty) {
        file->dirty = 1;
        file->next_dirty = NULL;
        *s->dirty_tail = file;
        s->dirty_tail = &file->next_dirty;
    }

    return NUC_OK;
}

static nuc_rc_t nuc_sink_file_prepare(nuc_sink_t *sink, nuc_buf_t *state, int *needed,
                                      nuc_err_t *err)
{
    nuc_file_t *file;
    nuc_sink_file_t *s = (nuc_sink_file_t *) sink;

    *needed = 0;

    for (file = s->dirty; file != NULL; file = file->next_dirty) {
        if (!file->recorded) {
            *needed = 1;
            file->recorded = 1;
        }
    }

    return *needed ? nuc_file_write_state(s, state, err) : NUC_OK;
}

static nuc_rc_t nuc_file_write(nuc_sink_file_t *s, nuc_file_t *file, nuc_err_t *err)
{
    int created;
    char dir[NUC_PATH_MAX];
    nuc_rc_t rc;
    nuc_err_t cause;

    created = !file->created;

    rc = nuc_file_open(s, file, err);
    if (rc != NUC_OK) {
        return rc;
    }

    file->created = 1;
    file->unsynced = 1;

    rc = nuc_sys_write_paced(s->sys, s->open[file->slot].fd, file->lines.data,
                             file->lines.len, (off_t) file->length, NUC_SYS_STRIDE,
                             &cause);
    if (rc != NUC_OK) {
        return nuc_err_sys(err, rc, cause.sys_errno, "write to \"%s/%s\" failed",
                           s->options->path, file->path);
    }

    if (!created) {
        return NUC_OK;
    }

    rc = nuc_file_full_path(s, file, dir, err);
    if (rc != NUC_OK) {
        return rc;
    }

    *strrchr(dir, '/') = '\0';

    return nuc_fs_sync_dir(s->sys, dir, "sink-file-entry", err);
}

/* May the file leave the state with the next commit?  Everything is synced here. */
static int nuc_file_leaves(const nuc_sink_file_t *s, const nuc_file_t *file, size_t kept)
{
    if (file->full || kept >= NUC_FILE_MAX) {
        return 1;
    }

    if (file->flushed == s->flushes) {
        return 0;
    }

    if (s->nfiles > NUC_FILE_MAX) {
        return 1;
    }

    return file->hour + NUC_FILE_HOUR + NUC_FILE_GRACE < s->watermark &&
           s->flushes - file->flushed > NUC_FILE_IDLE;
}

static void nuc_file_drop(nuc_sink_file_t *s, nuc_file_t *file)
{
    nuc_err_t unused;
    char path[NUC_PATH_MAX];

    nuc_file_unhash(s, file);
    nuc_file_close(s, file);

    /* recovered and never written again: do not leave it empty */
    if (file->length == 0 && file->created &&
        nuc_file_full_path(s, file, path, &unused) == NUC_OK) {
        s->sys->unlink(s->sys, path);
    }

    nuc_file_free(file);
}

static void nuc_file_drop_finished(nuc_sink_file_t *s)
{
    size_t kept;
    nuc_file_t *file, **p;

    kept = 0;
    p = &s->files;

    while (*p != NULL) {
        file = *p;

        if (!nuc_file_leaves(s, file, kept)) {
            kept++;
            p = &file->next;
            continue;
        }

        *p = file->next;
        nuc_file_drop(s, file);
    }

    s->nfiles = kept;
}

static nuc_rc_t nuc_sink_file_flush(nuc_sink_t *sink, nuc_buf_t *state, nuc_err_t *err)
{
    nuc_rc_t rc;
    nuc_file_t *file;
    nuc_sink_file_t *s = (nuc_sink_file_t *) sink;

    s->flushes++;

    for (file = s->dirty; file != NULL; file = file->next_dirty) {
        rc = nuc_file_write(s, file, err);
        if (rc != NUC_OK) {
            return rc;
        }
    }

    for (file = s->dirty; file != NULL; file = file->next_dirty) {
        if (file->unsynced) {
            rc = nuc_file_sync(s, file, err);
            if (rc != NUC_OK) {
                return rc;
            }
        }

        file->length += file->lines.len;
        file->flushed = s->flushes;
        file->dirty = 0;
        nuc_buf_free(&file->lines);
    }

    s->dirty = NULL;
    s->dirty_tail = &s->dirty;
    s->batch_bytes = 0;

    nuc_file_drop_finished(s);

    return nuc_file_write_state(s, state, err);
}

static size_t nuc_sink_file_batch_bytes(const nuc_sink_t *sink)
{
    return ((const nuc_sink_file_t *) sink)->batch_bytes;
}

const nuc_sink_ops_t nuc_sink_file = {
    .name = "file",
    .options = nuc_sink_file_option_table,
    .options_size = sizeof(nuc_sink_file_options_t),
    .open = nuc_sink_file_open,
    .add = nuc_sink_file_add,
    .prepare = nuc_sink_file_prepare,
    .flush = nuc_sink_file_flush,
    .batch_bytes = nuc_sink_file_batch_bytes,
    .close = nuc_sink_file_close,
};
