#include "sim.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SIM_SECTOR   512 /* bytes that reach the disk together or not at all */
#define SIM_FDS      1024
#define SIM_MAP_LEN  4096
#define SIM_PATH_MAX 2048

typedef struct sim_node_s sim_node_t;

typedef enum {
    SIM_WRITE,
    SIM_TRUNCATE,
    SIM_SET,   /* an entry now leads to a node */
    SIM_UNSET, /* an entry is gone */
    SIM_RENAME
} sim_change_type_t;

/* A rename from one directory to another: both changes are kept, or neither, as journals
 * do. */
typedef struct sim_move_s sim_move_t;

struct sim_move_s {
    sim_move_t *next;
    int synced; /* one of the directories was */
    int decided;
    int survives;
};

typedef struct {
    sim_change_type_t type;
    int synced;
    off_t offset; /* the new length, for SIM_TRUNCATE */
    size_t len;
    uint8_t *bytes;
    char *name;
    char *new_name;
    sim_node_t *node;
    sim_move_t *move;
} sim_change_t;

struct sim_node_s {
    sim_node_t *next; /* newest first: an inode number may be used again */
    ino_t ino;
    int is_dir;
    sim_change_t *changes;
    size_t nchanges;
    size_t capacity;
    void *mapped;
    uint8_t *page; /* what was mapped, when the power went */
};

struct sim_s {
    nuc_sys_t sys; /* first: what the callbacks get */
    char dir[SIM_PATH_MAX];
    pthread_mutex_t mutex;
    sim_node_t *nodes;
    sim_node_t *root;
    sim_move_t *moves;
    sim_node_t *fds[SIM_FDS];
    char opened[SIM_FDS];
    unsigned count;
    unsigned stop_at;
    int stopped;
    unsigned fail_at;
    unsigned fail_count;
    int fail_error;
    unsigned short_at;
    int has_room_limit;
    size_t room; /* bytes */
    int sync_error;
    const char *skip;
    long fs_type;
};

/* A bug of the simulator or its caller: no test result would mean anything. */
static void sim_die(const char *what)
{
    fprintf(stderr, "sim: %s: %s\n", what, strerror(errno));
    abort();
}

static void *sim_alloc(size_t size)
{
    void *p = calloc(1, size ? size : 1);

    if (p == NULL) {
        sim_die("calloc");
    }

    return p;
}

static sim_node_t *sim_node_add(sim_t *sim, const struct stat *st)
{
    sim_node_t *node = sim_alloc(sizeof(*node));

    node->ino = st->st_ino;
    node->is_dir = S_ISDIR(st->st_mode);
    node->next = sim->nodes;
    sim->nodes = node;

    return node;
}

static sim_node_t *sim_node_by_ino(sim_t *sim, ino_t ino)
{
    sim_node_t *node;

    for (node = sim->nodes; node != NULL; node = node->next) {
        if (node->ino == ino) {
            return node;
        }
    }

    return NULL;
}

static sim_change_t *sim_change(sim_node_t *node, sim_change_type_t type)
{
    if (node->nchanges == node->capacity) {
        node->capacity = node->capacity ? 2 * node->capacity : 8;
        node->changes = realloc(node->changes, node->capacity * sizeof(sim_change_t));

        if (node->changes == NULL) {
            sim_die("realloc");
        }
    }

    memset(&node->changes[node->nchanges], 0, sizeof(sim_change_t));
    node->changes[node->nchanges].type = type;

    return &node->changes[node->nchanges++];
}

static void sim_change_entry(sim_node_t *dir, sim_change_type_t type, const char *name,
                             const char *new_name, sim_node_t *node)
{
    sim_change_t *change = sim_change(dir, type);

    change->name = strdup(name);
    change->new_name = new_name ? strdup(new_name) : NULL;
    change->node = node;
}

static void sim_change_move(sim_t *sim, sim_node_t *from, const char *from_name,
                            sim_node_t *to, const char *to_name, sim_node_t *node)
{
    sim_move_t *move = sim_alloc(sizeof(*move));

    move->next = sim->moves;
    sim->moves = move;

    sim_change_entry(from, SIM_UNSET, from_name, NULL, NULL);
    from->changes[from->nchanges - 1].move = move;
    sim_change_entry(to, SIM_SET, to_name, NULL, node);
    to->changes[to->nchanges - 1].move = move;
}

static void sim_change_data(sim_node_t *file, const void *bytes, size_t len, off_t offset)
{
    sim_change_t *change = sim_change(file, SIM_WRITE);

    change->offset = offset;
    change->len = len;
    change->bytes = sim_alloc(len);
    memcpy(change->bytes, bytes, len);
}

static void sim_mark_synced(sim_node_t *node)
{
    size_t i;

    for (i = 0; i < node->nchanges; i++) {
        node->changes[i].synced = 1;

        if (node->changes[i].move != NULL) {
            node->changes[i].move->synced = 1;
        }
    }
}

/* The node of the directory above "path" and the last component; NULL when outside. */
static sim_node_t *sim_parent(sim_t *sim, const char *path, const char **name)
{
    char parent[SIM_PATH_MAX];
    const char *slash = strrchr(path, '/');
    struct stat st;

    if (slash == NULL) {
        *name = path;
        strcpy(parent, ".");
    } else {
        *name = slash + 1;
        snprintf(parent, sizeof(parent), "%.*s", (int) (slash - path), path);
    }

    if (stat(parent, &st) == -1) {
        return NULL;
    }

    return sim_node_by_ino(sim, st.st_ino);
}

static void sim_snapshot(sim_t *sim)
{
    sim_node_t *node;

    for (node = sim->nodes; node != NULL; node = node->next) {
        if (node->mapped != NULL && node->page == NULL) {
            node->page = sim_alloc(SIM_MAP_LEN);
            memcpy(node->page, node->mapped, SIM_MAP_LEN);
        }
    }
}

/* Locks the simulator and counts an operation; on -1 it is unlocked and errno says why.
 */
static int sim_begin(sim_t *sim)
{
    pthread_mutex_lock(&sim->mutex);

    if (!sim->stopped) {
        sim->count++;

        if (sim->count == sim->stop_at) {
            sim_snapshot(sim);
            sim->stopped = 1;
        }
    }

    if (sim->stopped) {
        pthread_mutex_unlock(&sim->mutex);
        errno = EIO;
        return -1;
    }

    if (sim->fail_at != 0 && sim->count >= sim->fail_at &&
        sim->count < sim->fail_at + sim->fail_count) {
        pthread_mutex_unlock(&sim->mutex);
        errno = sim->fail_error;
        return -1;
    }

    return 0;
}

static void sim_end(sim_t *sim)
{
    int saved = errno;

    pthread_mutex_unlock(&sim->mutex);
    errno = saved;
}

/* For calls that change nothing: they don't count, but they fail once all is over. */
static int sim_look(sim_t *sim)
{
    pthread_mutex_lock(&sim->mutex);

    if (sim->stopped) {
        pthread_mutex_unlock(&sim->mutex);
        errno = EIO;
        return -1;
    }

    return 0;
}

static int sim_open(const nuc_sys_t *sys, const char *path, int flags, mode_t mode)
{
    int fd, existed;
    sim_t *sim = (sim_t *) sys;
    struct stat st;
    const char *name;
    sim_node_t *parent, *node;

    if ((flags & (O_CREAT | O_TRUNC)) ? sim_begin(sim) : sim_look(sim)) {
        return -1;
    }

    existed = stat(path, &st) == 0;
    fd = nuc_sys_posix.open(&nuc_sys_posix, path, flags, mode);

    if (fd >= SIM_FDS) {
        errno = EMFILE;
        sim_die("descriptors");
    }

    if (fd != -1 && fstat(fd, &st) == 0) {
        parent = sim_parent(sim, path, &name);

        if (!existed && parent != NULL) {
            node = sim_node_add(sim, &st);
            sim_change_entry(parent, SIM_SET, name, NULL, node);
        } else {
            node = sim_node_by_ino(sim, st.st_ino);

            if (node != NULL && existed && (flags & O_TRUNC)) {
                sim_change(node, SIM_TRUNCATE)->offset = 0;
            }
        }

        sim->fds[fd] = node;
        sim->opened[fd] = 1;
    }

    sim_end(sim);

    return fd;
}

static int sim_close(const nuc_sys_t *sys, int fd)
{
    int rc;
    sim_t *sim = (sim_t *) sys;

    if (sim_look(sim)) {
        return -1;
    }

    sim->opened[fd] = 0;
    sim->fds[fd] = NULL;
    rc = close(fd);
    sim_end(sim);

    return rc;
}

static ssize_t sim_pread(const nuc_sys_t *sys, int fd, void *data, size_t len,
                         off_t offset)
{
    ssize_t n;
    sim_t *sim = (sim_t *) sys;

    if (sim_look(sim)) {
        return -1;
    }

    n = pread(fd, data, len, offset);
    sim_end(sim);

    return n;
}

static ssize_t sim_pwrite(const nuc_sys_t *sys, int fd, const void *data, size_t len,
                          off_t offset)
{
    ssize_t n;
    sim_t *sim = (sim_t *) sys;

    if (sim_begin(sim)) {
        return -1;
    }

    if (sim->count == sim->short_at && len > 1) {
        len /= 2;
    }

    if (sim->has_room_limit) {
        len = len < sim->room ? len : sim->room;
        sim->room -= len;
    }

    if (len == 0) {
        sim_end(sim);
        errno = ENOSPC;
        return -1;
    }

    n = pwrite(fd, data, len, offset);

    if (n > 0 && sim->fds[fd] != NULL) {
        sim_change_data(sim->fds[fd], data, (size_t) n, offset);
    }

    sim_end(sim);

    return n;
}

static int sim_sync(const nuc_sys_t *sys, int fd, const char *site)
{
    sim_t *sim = (sim_t *) sys;

    if (sim->skip != NULL && strcmp(sim->skip, site) == 0) {
        return 0;
    }

    if (sim_begin(sim)) {
        return -1;
    }

    if (sim->sync_error != 0) {
        pthread_mutex_unlock(&sim->mutex);
        errno = sim->sync_error;
        return -1;
    }

    if (sim->fds[fd] != NULL) {
        sim_mark_synced(sim->fds[fd]);
    }

    sim_end(sim);

    return 0;
}

static int sim_ftruncate(const nuc_sys_t *sys, int fd, off_t len)
{
    int rc;
    sim_t *sim = (sim_t *) sys;

    if (sim_begin(sim)) {
        return -1;
    }

    rc = ftruncate(fd, len);

    if (rc == 0 && sim->fds[fd] != NULL) {
        sim_change(sim->fds[fd], SIM_TRUNCATE)->offset = len;
    }

    sim_end(sim);

    return rc;
}

/* Promises nothing, so it keeps nothing. */
static int sim_write_out(const nuc_sys_t *sys, int fd, off_t offset, off_t len)
{
    sim_t *sim = (sim_t *) sys;

    (void) fd;
    (void) offset;
    (void) len;

    if (sim_begin(sim)) {
        return -1;
    }

    sim_end(sim);

    return 0;
}

/* Only ever used to reserve blocks, which changes nothing that can be read. */
static int sim_fallocate(const nuc_sys_t *sys, int fd, int mode, off_t offset, off_t len)
{
    int rc = 0;
    sim_t *sim = (sim_t *) sys;

    (void) fd;
    (void) offset;

    if (mode != FALLOC_FL_KEEP_SIZE) {
        errno = ENOSYS;
        sim_die("fallocate that changes the length");
    }

    if (sim_begin(sim)) {
        return -1;
    }

    if (sim->has_room_limit && (size_t) len > sim->room) {
        errno = ENOSPC;
        rc = -1;
    }

    sim_end(sim);

    return rc;
}

static int sim_fchmod(const nuc_sys_t *sys, int fd, mode_t mode)
{
    int rc;
    sim_t *sim = (sim_t *) sys;

    if (sim_begin(sim)) {
        return -1;
    }

    rc = fchmod(fd, mode);
    sim_end(sim);

    return rc;
}

static int sim_fstat(const nuc_sys_t *sys, int fd, struct stat *st)
{
    int rc;
    sim_t *sim = (sim_t *) sys;

    if (sim_look(sim)) {
        return -1;
    }

    rc = fstat(fd, st);
    sim_end(sim);

    return rc;
}

static int sim_stat(const nuc_sys_t *sys, const char *path, struct stat *st)
{
    int rc;
    sim_t *sim = (sim_t *) sys;

    if (sim_look(sim)) {
        return -1;
    }

    rc = stat(path, st);
    sim_end(sim);

    return rc;
}

static int sim_statvfs(const nuc_sys_t *sys, const char *path, struct statvfs *st)
{
    int rc;
    sim_t *sim = (sim_t *) sys;

    if (sim_look(sim)) {
        return -1;
    }

    rc = statvfs(path, st);
    sim_end(sim);

    return rc;
}

static int sim_statfs(const nuc_sys_t *sys, const char *path, struct statfs *st)
{
    int rc;
    sim_t *sim = (sim_t *) sys;

    if (sim_look(sim)) {
        return -1;
    }

    rc = statfs(path, st);
    st->f_type = sim->fs_type;
    sim_end(sim);

    return rc;
}

static int sim_rename(const nuc_sys_t *sys, const char *from, const char *to)
{
    int rc;
    sim_t *sim = (sim_t *) sys;
    struct stat st;
    const char *from_name, *to_name;
    sim_node_t *parent, *to_parent, *node;

    if (sim_begin(sim)) {
        return -1;
    }

    node = stat(from, &st) == 0 ? sim_node_by_ino(sim, st.st_ino) : NULL;
    parent = sim_parent(sim, from, &from_name);
    to_parent = sim_parent(sim, to, &to_name);

    if ((parent == NULL) != (to_parent == NULL)) {
        errno = EXDEV;
        sim_die("rename out of the disk");
    }

    rc = rename(from, to);

    if (rc == 0 && parent != NULL && node != NULL) {
        if (parent == to_parent) {
            sim_change_entry(parent, SIM_RENAME, from_name, to_name, node);
        } else {
            sim_change_move(sim, parent, from_name, to_parent, to_name, node);
        }
    }

    sim_end(sim);

    return rc;
}

static int sim_remove(sim_t *sim, const char *path, int (*remove_it)(const char *))
{
    int rc;
    const char *name;
    sim_node_t *parent;

    if (sim_begin(sim)) {
        return -1;
    }

    parent = sim_parent(sim, path, &name);
    rc = remove_it(path);

    if (rc == 0 && parent != NULL) {
        sim_change_entry(parent, SIM_UNSET, name, NULL, NULL);
    }

    sim_end(sim);

    return rc;
}

static int sim_unlink(const nuc_sys_t *sys, const char *path)
{
    return sim_remove((sim_t *) sys, path, unlink);
}

static int sim_rmdir(const nuc_sys_t *sys, const char *path)
{
    return sim_remove((sim_t *) sys, path, rmdir);
}

static int sim_mkdir(const nuc_sys_t *sys, const char *path, mode_t mode)
{
    int rc;
    sim_t *sim = (sim_t *) sys;
    struct stat st;
    const char *name;
    sim_node_t *parent;

    if (sim_begin(sim)) {
        return -1;
    }

    rc = mkdir(path, mode);

    if (rc == 0) {
        parent = sim_parent(sim, path, &name);

        if (parent != NULL && stat(path, &st) == 0) {
            sim_change_entry(parent, SIM_SET, name, NULL, sim_node_add(sim, &st));
        }
    }

    sim_end(sim);

    return rc;
}

static int sim_lock(const nuc_sys_t *sys, int fd)
{
    int rc;
    sim_t *sim = (sim_t *) sys;

    if (sim_look(sim)) {
        return -1;
    }

    rc = nuc_sys_posix.lock(&nuc_sys_posix, fd);
    sim_end(sim);

    return rc;
}

static void *sim_map(const nuc_sys_t *sys, int fd, size_t len, int writable)
{
    void *address;
    sim_t *sim = (sim_t *) sys;

    if (sim_look(sim)) {
        return NULL;
    }

    address = nuc_sys_posix.map(&nuc_sys_posix, fd, len, writable);

    if (address != NULL && writable && sim->fds[fd] != NULL) {
        sim->fds[fd]->mapped = address;
    }

    sim_end(sim);

    return address;
}

static int sim_unmap(const nuc_sys_t *sys, void *address, size_t len)
{
    sim_t *sim = (sim_t *) sys;
    sim_node_t *node;

    pthread_mutex_lock(&sim->mutex);

    for (node = sim->nodes; node != NULL; node = node->next) {
        if (node->mapped == address) {
            if (node->page == NULL) {
                node->page = sim_alloc(SIM_MAP_LEN);
                memcpy(node->page, address, SIM_MAP_LEN);
            }

            node->mapped = NULL;
        }
    }

    pthread_mutex_unlock(&sim->mutex);

    return nuc_sys_posix.unmap(&nuc_sys_posix, address, len);
}

static int sim_list(const nuc_sys_t *sys, const char *path, nuc_sys_list_pt entry,
                    void *ctx)
{
    sim_t *sim = (sim_t *) sys;

    /* the entry function makes calls of its own, so the lock cannot be held */
    if (sim_look(sim)) {
        return -1;
    }

    sim_end(sim);

    return nuc_sys_posix.list(&nuc_sys_posix, path, entry, ctx);
}

static int sim_load_entry(void *ctx, const char *name);

typedef struct {
    sim_t *sim;
    sim_node_t *dir;
    const char *path;
} sim_load_t;

static void sim_load(sim_t *sim, sim_node_t *dir, const char *path)
{
    sim_load_t load = {sim, dir, path};

    if (nuc_sys_posix.list(&nuc_sys_posix, path, sim_load_entry, &load) == -1) {
        sim_die(path);
    }

    sim_mark_synced(dir);
}

static void sim_load_file(sim_node_t *node, const char *path, size_t len)
{
    int fd;
    uint8_t *bytes = sim_alloc(len);

    fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd == -1 || read(fd, bytes, len) != (ssize_t) len) {
        sim_die(path);
    }

    close(fd);
    sim_change_data(node, bytes, len, 0);
    sim_mark_synced(node);
    free(bytes);
}

static int sim_load_entry(void *ctx, const char *name)
{
    char path[SIM_PATH_MAX];
    sim_load_t *load = ctx;
    struct stat st;
    sim_node_t *node;

    snprintf(path, sizeof(path), "%s/%s", load->path, name);

    if (stat(path, &st) == -1) {
        sim_die(path);
    }

    node = sim_node_add(load->sim, &st);
    sim_change_entry(load->dir, SIM_SET, name, NULL, node);

    if (node->is_dir) {
        sim_load(load->sim, node, path);
    } else {
        sim_load_file(node, path, (size_t) st.st_size);
    }

    return 0;
}

sim_t *sim_create(const char *dir)
{
    sim_t *sim = sim_alloc(sizeof(*sim));
    struct stat st;

    sim->sys = (nuc_sys_t){
        .open = sim_open,
        .close = sim_close,
        .pread = sim_pread,
        .pwrite = sim_pwrite,
        .fdatasync = sim_sync,
        .fsync = sim_sync,
        .write_out = sim_write_out,
        .ftruncate = sim_ftruncate,
        .fchmod = sim_fchmod,
        .fallocate = sim_fallocate,
        .fstat = sim_fstat,
        .stat = sim_stat,
        .statvfs = sim_statvfs,
        .statfs = sim_statfs,
        .rename = sim_rename,
        .unlink = sim_unlink,
        .mkdir = sim_mkdir,
        .rmdir = sim_rmdir,
        .lock = sim_lock,
        .map = sim_map,
        .unmap = sim_unmap,
        .list = sim_list,
    };

    snprintf(sim->dir, sizeof(sim->dir), "%s", dir);
    sim->fs_type = SIM_EXT4;
    pthread_mutex_init(&sim->mutex, NULL);

    if (stat(dir, &st) == -1) {
        sim_die(dir);
    }

    sim->root = sim_node_add(sim, &st);
    sim_load(sim, sim->root, dir);

    return sim;
}

void sim_destroy(sim_t *sim)
{
    size_t i;
    sim_move_t *move;
    sim_node_t *node;

    while ((move = sim->moves) != NULL) {
        sim->moves = move->next;
        free(move);
    }

    while ((node = sim->nodes) != NULL) {
        sim->nodes = node->next;

        for (i = 0; i < node->nchanges; i++) {
            free(node->changes[i].bytes);
            free(node->changes[i].name);
            free(node->changes[i].new_name);
        }

        free(node->changes);
        free(node->page);
        free(node);
    }

    pthread_mutex_destroy(&sim->mutex);
    free(sim);
}

const nuc_sys_t *sim_sys(sim_t *sim)
{
    return &sim->sys;
}

unsigned sim_operations(sim_t *sim)
{
    return sim->count;
}

void sim_stop_at(sim_t *sim, unsigned n)
{
    sim->stop_at = n;
}

int sim_stopped(sim_t *sim)
{
    int stopped;

    pthread_mutex_lock(&sim->mutex);
    stopped = sim->stopped;
    pthread_mutex_unlock(&sim->mutex);

    return stopped;
}

void sim_fail_at(sim_t *sim, unsigned n, unsigned count, int error)
{
    sim->fail_at = n;
    sim->fail_count = count;
    sim->fail_error = error;
}

void sim_short_at(sim_t *sim, unsigned n)
{
    sim->short_at = n;
}

void sim_fill(sim_t *sim, size_t room)
{
    pthread_mutex_lock(&sim->mutex);
    sim->has_room_limit = 1;
    sim->room = room;
    pthread_mutex_unlock(&sim->mutex);
}

void sim_fail_syncs(sim_t *sim, int error)
{
    pthread_mutex_lock(&sim->mutex);
    sim->sync_error = error;
    pthread_mutex_unlock(&sim->mutex);
}

void sim_skip_site(sim_t *sim, const char *site)
{
    sim->skip = site;
}

void sim_fs_type(sim_t *sim, long type)
{
    sim->fs_type = type;
}

void sim_kill(sim_t *sim)
{
    int fd;

    pthread_mutex_lock(&sim->mutex);
    sim_snapshot(sim);
    sim->stopped = 1;

    for (fd = 0; fd < SIM_FDS; fd++) {
        if (sim->opened[fd]) {
            close(fd);
            sim->opened[fd] = 0;
        }
    }

    pthread_mutex_unlock(&sim->mutex);
}

void sim_revive(sim_t *sim)
{
    sim_node_t *node;

    pthread_mutex_lock(&sim->mutex);

    for (node = sim->nodes; node != NULL; node = node->next) {
        node->mapped = NULL;
    }

    sim->stopped = 0;
    sim->stop_at = 0;

    pthread_mutex_unlock(&sim->mutex);
}

/* splitmix64 */
static uint64_t sim_random(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;

    return z ^ (z >> 31);
}

typedef struct {
    enum {
        SIM_LOSE_ALL,
        SIM_KEEP_ALL,
        SIM_MIX,
        SIM_TEAR
    } style;
    uint64_t random;
} sim_fate_t;

static int sim_survives(sim_fate_t *fate, const sim_change_t *change);

static int sim_move_survives(sim_fate_t *fate, sim_move_t *move)
{
    const sim_change_t change = {.synced = move->synced};

    if (!move->decided) {
        move->decided = 1;
        move->survives = sim_survives(fate, &change);
    }

    return move->survives;
}

static int sim_survives(sim_fate_t *fate, const sim_change_t *change)
{
    if (change->move != NULL) {
        return sim_move_survives(fate, change->move);
    }

    if (change->synced || fate->style == SIM_KEEP_ALL) {
        return 1;
    }

    return fate->style != SIM_LOSE_ALL && (sim_random(&fate->random) & 1);
}

typedef struct {
    uint8_t *bytes;
    size_t len;
} sim_contents_t;

static void sim_contents_grow(sim_contents_t *contents, size_t len)
{
    if (len > contents->len) {
        contents->bytes = realloc(contents->bytes, len);

        if (contents->bytes == NULL) {
            sim_die("realloc");
        }

        memset(contents->bytes + contents->len, 0, len - contents->len);
        contents->len = len;
    }
}

static void sim_contents_write(sim_contents_t *contents, const sim_change_t *change,
                               sim_fate_t *fate)
{
    size_t i, n, end, offset = (size_t) change->offset;

    for (i = 0; i < change->len; i += n) {
        n = SIM_SECTOR - (offset + i) % SIM_SECTOR;
        end = change->len - i;
        n = n < end ? n : end;

        if (!change->synced && fate->style == SIM_TEAR &&
            (sim_random(&fate->random) & 1)) {
            continue;
        }

        sim_contents_grow(contents, offset + i + n);
        memcpy(contents->bytes + offset + i, change->bytes + i, n);
    }
}

static void sim_image_file(sim_node_t *node, const char *path, sim_fate_t *fate)
{
    int fd;
    size_t i;
    sim_contents_t contents = {NULL, 0};
    const sim_change_t *change;

    for (i = 0; i < node->nchanges; i++) {
        change = &node->changes[i];

        if (!sim_survives(fate, change)) {
            continue;
        }

        if (change->type == SIM_WRITE) {
            sim_contents_write(&contents, change, fate);
        } else if ((size_t) change->offset < contents.len) {
            contents.len = (size_t) change->offset;
        } else {
            sim_contents_grow(&contents, (size_t) change->offset);
        }
    }

    if (node->page != NULL && contents.len >= SIM_MAP_LEN &&
        (fate->style == SIM_KEEP_ALL || (sim_random(&fate->random) & 1))) {
        memcpy(contents.bytes, node->page, SIM_MAP_LEN);
    }

    fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0640);

    if (fd == -1 || write(fd, contents.bytes, contents.len) != (ssize_t) contents.len) {
        sim_die(path);
    }

    close(fd);
    free(contents.bytes);
}

typedef struct {
    const char *name;
    sim_node_t *node;
} sim_entry_t;

static void sim_entry_unset(sim_entry_t *entries, size_t *count, const char *name)
{
    size_t i;

    for (i = 0; i < *count; i++) {
        if (strcmp(entries[i].name, name) == 0) {
            entries[i] = entries[--*count];
            return;
        }
    }
}

static void sim_image_dir(sim_node_t *dir, const char *path, sim_fate_t *fate)
{
    char child[SIM_PATH_MAX];
    size_t i, count = 0;
    sim_entry_t *entries = sim_alloc((dir->nchanges + 1) * sizeof(*entries));
    const char *name;
    const sim_change_t *change;

    for (i = 0; i < dir->nchanges; i++) {
        change = &dir->changes[i];

        if (!sim_survives(fate, change)) {
            continue;
        }

        sim_entry_unset(entries, &count, change->name);

        if (change->node != NULL) {
            name = change->new_name ? change->new_name : change->name;
            sim_entry_unset(entries, &count, name);
            entries[count++] = (sim_entry_t){name, change->node};
        }
    }

    if (mkdir(path, 0750) == -1) {
        sim_die(path);
    }

    for (i = 0; i < count; i++) {
        snprintf(child, sizeof(child), "%s/%s", path, entries[i].name);

        if (entries[i].node->is_dir) {
            sim_image_dir(entries[i].node, child, fate);
        } else {
            sim_image_file(entries[i].node, child, fate);
        }
    }

    free(entries);
}

void sim_image(sim_t *sim, const char *dir, unsigned seed)
{
    sim_fate_t fate = {.style = seed % 4, .random = seed};

    sim_kill(sim);
    sim_image_dir(sim->root, dir, &fate);
}

static int sim_remove_entry(void *ctx, const char *name)
{
    char path[SIM_PATH_MAX];
    struct stat st;

    snprintf(path, sizeof(path), "%s/%s", (const char *) ctx, name);

    if (lstat(path, &st) == 0 && S_ISDIR(st.st_mode)) {
        sim_remove_tree(path);
    } else {
        unlink(path);
    }

    return 0;
}

void sim_remove_tree(const char *dir)
{
    char path[SIM_PATH_MAX];

    snprintf(path, sizeof(path), "%s", dir);
    (void) nuc_sys_posix.list(&nuc_sys_posix, path, sim_remove_entry, path);
    rmdir(path);
}
