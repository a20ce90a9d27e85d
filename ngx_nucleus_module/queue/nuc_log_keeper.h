/*
 * What the parts of the keeper share: its rounds (nuc_log_keeper.c), recovery and sealing
 * (nuc_log_seal.c), removal (nuc_log_removal.c).  For these three alone.
 */

#ifndef NUC_LOG_KEEPER_H
#define NUC_LOG_KEEPER_H

#include "nuc_log.h"
#include "nuc_log_index.h"
#include "nuc_log_list.h"
#include "nuc_log_scan.h"

/* What is known of a writer from round to round. */
typedef struct {
    nuc_uuid_t id;
    uint64_t sealed; /* first sequence of the last segment known to be sealed */
    int dead;
    int settled; /* dead, and all its segments are sealed */
} nuc_keeper_writer_t;

struct nuc_log_keeper_s {
    const nuc_sys_t *sys;
    char dir[NUC_PATH_MAX];
    nuc_log_report_pt report;
    void *ctx;
    int lock_fd;

    nuc_keeper_writer_t *writers;
    size_t nwriters;

    nuc_writer_list_t listed;
    nuc_segment_list_t segments; /* of the writer being tended */
    char path[NUC_PATH_MAX];     /* of its directory */
    char segment_path[NUC_PATH_MAX];
    uint64_t published; /* by its head */
    uint64_t closed;    /* by its head */
    unsigned indexed;   /* segments that got an index in this round */
    uint64_t records;   /* in them */
    int searched;       /* the end was found by a search: it may not be durable */
    nuc_scan_t scan;
};

void nuc_keeper_report(nuc_log_keeper_t *keeper, nuc_log_event_t event,
                       const nuc_keeper_writer_t *writer, uint64_t segment,
                       uint64_t records, uint64_t bytes, const char *path);

/* One writer's trouble is told, the first of several, and does not stop the others. */
void nuc_keeper_keep_first(nuc_rc_t rc, const nuc_err_t *writer_err, nuc_rc_t *first,
                           nuc_err_t *err);

/*
 * What the directory at keeper->path, the writer's, holds now: its segments are listed,
 * and then its head is read (0 where there is no whole one).  *finished: how many of the
 * segments, from the oldest, will not change any more.  NUC_NOT_FOUND: it is gone.
 */
nuc_rc_t nuc_keeper_look(nuc_log_keeper_t *keeper, const nuc_keeper_writer_t *writer,
                         size_t *finished, nuc_err_t *err);

/* Where segment i ends: its successor knows, if it was begun. */
nuc_rc_t nuc_keeper_segment_end(nuc_log_keeper_t *keeper, nuc_keeper_writer_t *writer,
                                size_t i, uint64_t *end, nuc_err_t *err);

/*
 * Give the finished segment i its index, if it has none: cut what lies beyond its end,
 * copy what is damaged before it into quarantine/.
 */
nuc_rc_t nuc_keeper_seal(nuc_log_keeper_t *keeper, nuc_keeper_writer_t *writer, size_t i,
                         nuc_err_t *err);

#endif /* NUC_LOG_KEEPER_H */
