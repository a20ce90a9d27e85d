/*
 * What a queue directory holds: its writers, and a writer's segments, in order.
 */

#ifndef NUC_LOG_LIST_H
#define NUC_LOG_LIST_H

#include "nuc_log_file.h"

typedef struct {
    nuc_uuid_t *ids; /* ascending, which is by age: they are UUIDv7 */
    size_t count;
    size_t capacity;
} nuc_writer_list_t;

typedef struct {
    uint64_t *firsts; /* first sequences, ascending */
    size_t count;
    size_t capacity;
} nuc_segment_list_t;

/* Both replace what the list held; free() the array after the last use.  NUC_NOT_FOUND
   when the directory is not there. */
nuc_rc_t nuc_log_list_writers(const nuc_sys_t *sys, const char *dir,
                              nuc_writer_list_t *writers, nuc_err_t *err);
nuc_rc_t nuc_log_list_segments(const nuc_sys_t *sys, const char *dir,
                               nuc_segment_list_t *segments, nuc_err_t *err);

/*
 * Room for one element of "size" bytes behind "count" in an array that malloc made, or
 * NULL for an empty one.  Returns where the array is now; NULL for want of memory, the
 * old one is as it was.
 */
void *nuc_list_grow(void *array, size_t *capacity, size_t count, size_t size);

/* The path of a writer's directory. */
nuc_rc_t nuc_log_writer_path(const char *dir, const nuc_uuid_t *writer,
                             char path[NUC_PATH_MAX], nuc_err_t *err);

#endif /* NUC_LOG_LIST_H */
