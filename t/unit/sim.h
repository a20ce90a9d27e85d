/*
 * A disk whose power can be cut: an nuc_sys_t that works on real files under one
 * directory and keeps a journal of what was changed and what was synced.  A test runs the
 * code under test on it, stops it at any operation, and asks for an image: a directory
 * that holds what was synced, and of the rest whatever a seed chooses: kept, lost or
 * torn, in any order, data and directory entries alike.  POSIX promises no more than
 * that, so no file system is relied on for more.
 *
 * Not for files that change otherwise than through it, but for mapped ones: their pages
 * count as written back, or not.
 */

#ifndef SIM_H
#define SIM_H

#include "nuc_sys.h"

typedef struct sim_s sim_t;

/* "dir" is an existing directory; what it holds at this moment counts as synced. */
sim_t *sim_create(const char *dir);
void sim_destroy(sim_t *sim);

const nuc_sys_t *sim_sys(sim_t *sim);

/* Changes and syncs asked for so far; opens for reading, reads and listings don't count.
 */
unsigned sim_operations(sim_t *sim);

/* At the n-th operation (from 1) and after it nothing works any more: EIO.  0: never. */
void sim_stop_at(sim_t *sim, unsigned n);
int sim_stopped(sim_t *sim);

/* The n-th operation and the "count" - 1 after it fail with "error". */
void sim_fail_at(sim_t *sim, unsigned n, unsigned count, int error);

/* The n-th operation, if a write, writes but half. */
void sim_short_at(sim_t *sim, unsigned n);

/* The disk has room for so many further bytes; writes beyond are cut short, then ENOSPC.
 */
void sim_fill(sim_t *sim, size_t room);

/* All syncs fail with "error" while it is not 0. */
void sim_fail_syncs(sim_t *sim, int error);

/* Syncs of that site do nothing and say that they did; NULL: none. */
void sim_skip_site(sim_t *sim, const char *site);

/* What statfs(2) answers as f_type; at first it is a disk's. */
#define SIM_EXT4    0xef53
#define SIM_TMPFS   0x01021994
#define SIM_OVERLAY 0x794c7630
void sim_fs_type(sim_t *sim, long type);

/* The process is gone: its descriptors and locks are, what it wrote is in the page cache.
 */
void sim_kill(sim_t *sim);

/* After a kill: another process begins, on the same page cache. */
void sim_revive(sim_t *sim);

/* The power is gone: build in "dir" (made by this) an image chosen by "seed". */
void sim_image(sim_t *sim, const char *dir, unsigned seed);

/* Remove a directory and all in it. */
void sim_remove_tree(const char *dir);

#endif /* SIM_H */
