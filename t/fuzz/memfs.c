#include "memfs.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stddef.h>

#include "fuzz.h"

#define MEMFS_FDS  256
#define MEMFS_MAX  (256u << 20) /* bytes of a file; then the disk is full */
#define MEMFS_ROOM (8ULL << 30)

typedef struct memfs_node_s memfs_node_t;

struct memfs_node_s {
    memfs_node_t *next;
    char *path; /* NULL when it was unlinked and is open still */
    ino_t ino;
    int is_dir;
    uint8_t *data;
    size_t len;
    size_t capacity;
    unsigned opened;
    unsigned mapped;
    int lock_fd; /* -1: not locked */
};

struct memfs_s {
    nuc_sys_t sys;
    memfs_node_t *nodes;
    ino_t inos;
    struct {
        memfs_node_t *node; /* NULL: free */
        int flags;
    } fds[MEMFS_FDS];
};

static int memfs_fail(int error)
{
    errno = error;
    return -1;
}

static memfs_node_t *memfs_find(memfs_t *fs, const char *path)
{
    memfs_node_t *node;

    for (node = fs->nodes; node != NULL; node = node->next) {
        if (node->path != NULL && strcmp(node->path, path) == 0) {
            return node;
        }
    }

    return NULL;
}

/* The directory above exists.  "/" always does. */
static int memfs_has_parent(memfs_t *fs, const char *path)
{
    size_t len;
    char *parent;
    memfs_node_t *node;
    const char *slash;

    slash = strrchr(path, '/');
    len = slash != NULL ? (size_t) (slash - path) : 0;

    if (len == 0) {
        return 1;
    }

    parent = strndup(path, len);
    node = memfs_find(fs, parent);
    free(parent);

    return node != NULL && node->is_dir;
}

static memfs_node_t *memfs_add(memfs_t *fs, const char *path, int is_dir)
{
    memfs_node_t *node;

    node = calloc(1, sizeof(*node));
    FUZZ_CHECK(node != NULL, "no memory for a file");

    node->path = strdup(path);
    node->ino = ++fs->inos;
    node->is_dir = is_dir;
    node->lock_fd = -1;
    node->next = fs->nodes;
    fs->nodes = node;

    return node;
}

static void memfs_free(memfs_node_t *node)
{
    free(node->path);
    free(node->data);
    free(node);
}

/* Free what has neither name nor descriptor nor mapping. */
static void memfs_sweep(memfs_t *fs)
{
    memfs_node_t *node, **p;

    for (p = &fs->nodes; (node = *p) != NULL; /* void */) {
        if (node->path == NULL && node->opened == 0 && node->mapped == 0) {
            *p = node->next;
            memfs_free(node);
        } else {
            p = &node->next;
        }
    }
}

static void memfs_drop_name(memfs_t *fs, memfs_node_t *node)
{
    free(node->path);
    node->path = NULL;
    memfs_sweep(fs);
}

static memfs_node_t *memfs_node(memfs_t *fs, int fd)
{
    FUZZ_CHECK(fd >= 0 && fd < MEMFS_FDS && fs->fds[fd].node != NULL,
               "descriptor %d is not open", fd);

    return fs->fds[fd].node;
}

static int memfs_resize(memfs_node_t *node, size_t len)
{
    size_t capacity;
    uint8_t *data;

    if (len > MEMFS_MAX) {
        return memfs_fail(ENOSPC);
    }

    if (len > node->capacity) {
        FUZZ_CHECK(node->mapped == 0, "a mapped file grows");
        capacity = len > 2 * node->capacity ? len : 2 * node->capacity;
        data = realloc(node->data, capacity);
        FUZZ_CHECK(data != NULL, "no memory for a file of %zu bytes", len);
        node->data = data;
        node->capacity = capacity;
    }

    if (len > node->len) {
        memset(node->data + node->len, 0, len - node->len);
    }

    node->len = len;

    return 0;
}

static int memfs_open(const nuc_sys_t *sys, const char *path, int flags, mode_t mode)
{
    int fd;
    memfs_t *fs = (memfs_t *) sys;
    memfs_node_t *node;

    (void) mode;
    node = memfs_find(fs, path);

    if (node == NULL && ((flags & O_CREAT) == 0 || !memfs_has_parent(fs, path))) {
        return memfs_fail(ENOENT);
    }

    if (node != NULL && (flags & (O_CREAT | O_EXCL)) == (O_CREAT | O_EXCL)) {
        return memfs_fail(EEXIST);
    }

    if (node != NULL && node->is_dir && (flags & O_ACCMODE) != O_RDONLY) {
        return memfs_fail(EISDIR);
    }

    if (node != NULL && !node->is_dir && (flags & O_DIRECTORY)) {
        return memfs_fail(ENOTDIR);
    }

    for (fd = 3; fs->fds[fd].node != NULL; fd++) {
        if (fd == MEMFS_FDS - 1) {
            return memfs_fail(EMFILE);
        }
    }

    if (node == NULL) {
        node = memfs_add(fs, path, 0);
    }

    if (flags & O_TRUNC) {
        node->len = 0;
    }

    node->opened++;
    fs->fds[fd].node = node;
    fs->fds[fd].flags = flags;

    return fd;
}

static int memfs_close(const nuc_sys_t *sys, int fd)
{
    memfs_t *fs = (memfs_t *) sys;
    memfs_node_t *node;

    node = memfs_node(fs, fd);
    node->lock_fd = node->lock_fd == fd ? -1 : node->lock_fd;
    node->opened--;
    fs->fds[fd].node = NULL;
    memfs_sweep(fs);

    return 0;
}

static ssize_t memfs_pread(const nuc_sys_t *sys, int fd, void *data, size_t len,
                           off_t offset)
{
    size_t left;
    memfs_node_t *node;

    node = memfs_node((memfs_t *) sys, fd);

    if (offset < 0) {
        return memfs_fail(EINVAL);
    }

    if ((uint64_t) offset >= node->len) {
        return 0;
    }

    left = node->len - (size_t) offset;
    len = len < left ? len : left;
    memcpy(data, node->data + offset, len);

    return (ssize_t) len;
}

static ssize_t memfs_pwrite(const nuc_sys_t *sys, int fd, const void *data, size_t len,
                            off_t offset)
{
    memfs_t *fs = (memfs_t *) sys;
    memfs_node_t *node;

    node = memfs_node(fs, fd);

    if (offset < 0) {
        return memfs_fail(EINVAL);
    }

    if ((fs->fds[fd].flags & O_ACCMODE) == O_RDONLY) {
        return memfs_fail(EBADF);
    }

    if ((uint64_t) offset + len > node->len &&
        memfs_resize(node, (size_t) offset + len) == -1) {
        return -1;
    }

    if (len != 0) {
        memcpy(node->data + offset, data, len);
    }

    return (ssize_t) len;
}

static int memfs_sync(const nuc_sys_t *sys, int fd, const char *site)
{
    (void) site;
    (void) memfs_node((memfs_t *) sys, fd);

    return 0;
}

static int memfs_write_out(const nuc_sys_t *sys, int fd, off_t offset, off_t len)
{
    (void) offset;
    (void) len;
    (void) memfs_node((memfs_t *) sys, fd);

    return 0;
}

static int memfs_ftruncate(const nuc_sys_t *sys, int fd, off_t len)
{
    memfs_t *fs = (memfs_t *) sys;

    if (len < 0 || (fs->fds[fd].flags & O_ACCMODE) == O_RDONLY) {
        return memfs_fail(EINVAL);
    }

    return memfs_resize(memfs_node(fs, fd), (size_t) len);
}

static int memfs_fchmod(const nuc_sys_t *sys, int fd, mode_t mode)
{
    (void) mode;
    (void) memfs_node((memfs_t *) sys, fd);

    return 0;
}

static int memfs_fallocate(const nuc_sys_t *sys, int fd, int mode, off_t offset,
                           off_t len)
{
    memfs_node_t *node;

    node = memfs_node((memfs_t *) sys, fd);

    if (mode & FALLOC_FL_PUNCH_HOLE) {
        return memfs_fail(EOPNOTSUPP);
    }

    if ((mode & FALLOC_FL_KEEP_SIZE) || (size_t) (offset + len) <= node->len) {
        return 0;
    }

    return memfs_resize(node, (size_t) (offset + len));
}

static void memfs_fill_stat(const memfs_node_t *node, struct stat *st)
{
    memset(st, 0, sizeof(*st));
    st->st_ino = node->ino;
    st->st_mode = (node->is_dir ? S_IFDIR | 0750 : S_IFREG | 0640);
    st->st_size = (off_t) node->len;
    st->st_blocks = (blkcnt_t) ((node->len + 511) / 512);
    st->st_nlink = 1;
}

static int memfs_fstat(const nuc_sys_t *sys, int fd, struct stat *st)
{
    memfs_fill_stat(memfs_node((memfs_t *) sys, fd), st);

    return 0;
}

static int memfs_stat(const nuc_sys_t *sys, const char *path, struct stat *st)
{
    memfs_node_t *node;

    node = memfs_find((memfs_t *) sys, path);

    if (node == NULL) {
        return memfs_fail(ENOENT);
    }

    memfs_fill_stat(node, st);

    return 0;
}

static int memfs_statvfs(const nuc_sys_t *sys, const char *path, struct statvfs *st)
{
    (void) sys;
    (void) path;

    memset(st, 0, sizeof(*st));
    st->f_bsize = 4096;
    st->f_frsize = 4096;
    st->f_blocks = 2 * MEMFS_ROOM / 4096;
    st->f_bfree = MEMFS_ROOM / 4096;
    st->f_bavail = MEMFS_ROOM / 4096;

    return 0;
}

static int memfs_statfs(const nuc_sys_t *sys, const char *path, struct statfs *st)
{
    (void) sys;
    (void) path;

    memset(st, 0, sizeof(*st));
    st->f_type = EXT4_SUPER_MAGIC;

    return 0;
}

static int memfs_is_below(const char *path, const char *dir)
{
    size_t len;

    len = strlen(dir);

    return strncmp(path, dir, len) == 0 && path[len] == '/';
}

static void memfs_move_below(memfs_t *fs, const char *from, const char *to)
{
    size_t len;
    char *path;
    memfs_node_t *node;

    for (node = fs->nodes; node != NULL; node = node->next) {
        if (node->path == NULL || !memfs_is_below(node->path, from)) {
            continue;
        }

        len = strlen(to) + strlen(node->path + strlen(from)) + 1;
        path = fuzz_alloc(len);
        snprintf(path, len, "%s%s", to, node->path + strlen(from));
        free(node->path);
        node->path = path;
    }
}

static int memfs_rename(const nuc_sys_t *sys, const char *from, const char *to)
{
    memfs_t *fs = (memfs_t *) sys;
    memfs_node_t *node, *old;

    node = memfs_find(fs, from);
    old = memfs_find(fs, to);

    if (node == NULL || !memfs_has_parent(fs, to)) {
        return memfs_fail(ENOENT);
    }

    if (old != NULL && old->is_dir) {
        return memfs_fail(node->is_dir ? ENOTEMPTY : EISDIR);
    }

    if (old != NULL && old != node) {
        memfs_drop_name(fs, old);
    }

    memfs_move_below(fs, from, to);
    free(node->path);
    node->path = strdup(to);

    return 0;
}

static int memfs_unlink(const nuc_sys_t *sys, const char *path)
{
    memfs_node_t *node;

    node = memfs_find((memfs_t *) sys, path);

    if (node == NULL || node->is_dir) {
        return memfs_fail(node == NULL ? ENOENT : EISDIR);
    }

    memfs_drop_name((memfs_t *) sys, node);

    return 0;
}

static int memfs_make_dir(const nuc_sys_t *sys, const char *path, mode_t mode)
{
    memfs_t *fs = (memfs_t *) sys;

    (void) mode;

    if (memfs_find(fs, path) != NULL) {
        return memfs_fail(EEXIST);
    }

    if (!memfs_has_parent(fs, path)) {
        return memfs_fail(ENOENT);
    }

    memfs_add(fs, path, 1);

    return 0;
}

static int memfs_rmdir(const nuc_sys_t *sys, const char *path)
{
    memfs_t *fs = (memfs_t *) sys;
    memfs_node_t *node, *dir;

    dir = memfs_find(fs, path);

    if (dir == NULL || !dir->is_dir) {
        return memfs_fail(dir == NULL ? ENOENT : ENOTDIR);
    }

    for (node = fs->nodes; node != NULL; node = node->next) {
        if (node->path != NULL && memfs_is_below(node->path, path)) {
            return memfs_fail(ENOTEMPTY);
        }
    }

    memfs_drop_name(fs, dir);

    return 0;
}

static int memfs_lock(const nuc_sys_t *sys, int fd)
{
    memfs_node_t *node;

    node = memfs_node((memfs_t *) sys, fd);

    if (node->lock_fd != -1 && node->lock_fd != fd) {
        return memfs_fail(EWOULDBLOCK);
    }

    node->lock_fd = fd;

    return 0;
}

static void *memfs_map(const nuc_sys_t *sys, int fd, size_t len, int writable)
{
    memfs_node_t *node;

    (void) writable;
    node = memfs_node((memfs_t *) sys, fd);
    FUZZ_CHECK(node->len >= len, "a mapping beyond the end would be a SIGBUS");
    node->mapped++;

    return node->data;
}

static int memfs_unmap(const nuc_sys_t *sys, void *address, size_t len)
{
    memfs_t *fs = (memfs_t *) sys;
    memfs_node_t *node;

    (void) len;

    for (node = fs->nodes; node != NULL && node->data != address; node = node->next) {
    }

    FUZZ_CHECK(node != NULL && node->mapped > 0, "not mapped");
    node->mapped--;
    memfs_sweep(fs);

    return 0;
}

/* As readdir may: what is unlinked meanwhile is not seen again. */
static int memfs_list(const nuc_sys_t *sys, const char *path, nuc_sys_list_pt entry,
                      void *ctx)
{
    size_t i, count, prefix;
    char **names;
    memfs_t *fs = (memfs_t *) sys;
    memfs_node_t *node, *dir;

    dir = memfs_find(fs, path);

    if (dir == NULL || !dir->is_dir) {
        return memfs_fail(dir == NULL ? ENOENT : ENOTDIR);
    }

    prefix = strlen(path) + 1;
    names = fuzz_alloc((size_t) fs->inos * sizeof(*names));
    count = 0;

    for (node = fs->nodes; node != NULL; node = node->next) {
        if (node->path != NULL && memfs_is_below(node->path, path) &&
            strchr(node->path + prefix, '/') == NULL) {
            names[count++] = strdup(node->path + prefix);
        }
    }

    for (i = 0; i < count && entry(ctx, names[i]) == 0; i++) {
    }

    for (i = 0; i < count; i++) {
        free(names[i]);
    }

    free(names);

    return 0;
}

memfs_t *memfs_create(void)
{
    memfs_t *fs;

    fs = calloc(1, sizeof(*fs));
    FUZZ_CHECK(fs != NULL, "no memory for a file system");

    fs->sys = (nuc_sys_t){
        .open = memfs_open,
        .close = memfs_close,
        .pread = memfs_pread,
        .pwrite = memfs_pwrite,
        .fdatasync = memfs_sync,
        .fsync = memfs_sync,
        .write_out = memfs_write_out,
        .ftruncate = memfs_ftruncate,
        .fchmod = memfs_fchmod,
        .fallocate = memfs_fallocate,
        .fstat = memfs_fstat,
        .stat = memfs_stat,
        .statvfs = memfs_statvfs,
        .statfs = memfs_statfs,
        .rename = memfs_rename,
        .unlink = memfs_unlink,
        .mkdir = memfs_make_dir,
        .rmdir = memfs_rmdir,
        .lock = memfs_lock,
        .map = memfs_map,
        .unmap = memfs_unmap,
        .list = memfs_list,
    };

    memfs_add(fs, "/", 1);

    return fs;
}

unsigned memfs_open_files(const memfs_t *fs)
{
    unsigned fd, count;

    count = 0;

    for (fd = 0; fd < MEMFS_FDS; fd++) {
        count += fs->fds[fd].node != NULL;
    }

    return count;
}

void memfs_destroy(memfs_t *fs)
{
    memfs_node_t *node;

    FUZZ_CHECK(memfs_open_files(fs) == 0, "%u files were left open",
               memfs_open_files(fs));

    while ((node = fs->nodes) != NULL) {
        FUZZ_CHECK(node->mapped == 0, "\"%s\" was left mapped", node->path);
        fs->nodes = node->next;
        memfs_free(node);
    }

    free(fs);
}

const nuc_sys_t *memfs_sys(memfs_t *fs)
{
    return &fs->sys;
}

void memfs_mkdir(memfs_t *fs, const char *path)
{
    char *slash, *copy;

    copy = strdup(path);

    for (slash = strchr(copy + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        (void) memfs_make_dir(&fs->sys, copy, 0);
        *slash = '/';
    }

    (void) memfs_make_dir(&fs->sys, copy, 0);
    free(copy);
}

void memfs_put(memfs_t *fs, const char *path, const void *data, size_t len)
{
    char *dir;
    memfs_node_t *node;

    dir = strdup(path);
    *strrchr(dir, '/') = '\0';

    if (*dir != '\0') {
        memfs_mkdir(fs, dir);
    }

    free(dir);
    node = memfs_find(fs, path);
    node = node != NULL ? node : memfs_add(fs, path, 0);
    node->len = 0;
    FUZZ_CHECK(memfs_resize(node, len) == 0, "no room for \"%s\"", path);

    if (len != 0) {
        memcpy(node->data, data, len);
    }
}

nuc_str_t memfs_get(memfs_t *fs, const char *path)
{
    memfs_node_t *node;

    node = memfs_find(fs, path);

    if (node == NULL || node->is_dir) {
        return NUC_STR_NONE;
    }

    return (nuc_str_t){node->data != NULL ? node->data : (const uint8_t *) "", node->len};
}

void memfs_each(memfs_t *fs, void (*file)(void *ctx, const char *path, nuc_str_t content),
                void *ctx)
{
    memfs_node_t *node;

    for (node = fs->nodes; node != NULL; node = node->next) {
        if (node->path != NULL && !node->is_dir) {
            file(ctx, node->path, memfs_get(fs, node->path));
        }
    }
}
