/*
 * A file system in memory behind nuc_sys_t, for fuzz targets: a hostile directory is made
 * and gone in microseconds.  Paths begin with "/" and are compared as they are; nothing
 * fails but what POSIX says fails.  One thread.
 */

#ifndef MEMFS_H
#define MEMFS_H

#include "nuc_sys.h"

typedef struct memfs_s memfs_t;

memfs_t *memfs_create(void);
void memfs_destroy(memfs_t *fs); /* all descriptors must be closed */
const nuc_sys_t *memfs_sys(memfs_t *fs);

/* A file with this content; the directories above it are made. */
void memfs_put(memfs_t *fs, const char *path, const void *data, size_t len);
void memfs_mkdir(memfs_t *fs, const char *path);

/* The content of a file, as long as it is not changed; data is NULL when there is none.
 */
nuc_str_t memfs_get(memfs_t *fs, const char *path);

/* Every file there is. */
void memfs_each(memfs_t *fs, void (*file)(void *ctx, const char *path, nuc_str_t content),
                void *ctx);

unsigned memfs_open_files(const memfs_t *fs);

#endif /* MEMFS_H */
