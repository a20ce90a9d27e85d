/*
 * Adoption: the queue directory of a host that is dead becomes part of another queue, for
 * a worker that may run on that one.  Each of its writers' directories is moved, or, from
 * another file system, copied, and is then a dead writer's like any other: the keeper
 * recovers it and the pipelines read it.
 *
 * It may die, or lose its power, anywhere: done again, it goes on.  What makes that so:
 *
 *     FROM/adopting        where to, and with which state; written first, removed last
 *     QUEUE/.adopt-UUID    a copy that is being made; nobody looks at it
 *     FROM/UUID/adopted    the copy is whole and durable: when .adopt-UUID is not there
 *                          any more, it was published, whatever became of it since
 *
 * A copy is published by one rename; of the original, the segments go first, and
 * "adopted" once they are gone for good.
 */

#ifndef NUC_ADOPT_H
#define NUC_ADOPT_H

#include "nuc_sys.h"

typedef enum {
    NUC_ADOPT_POSITIONS,  /* "name": a pipeline; "count" writers it has read from */
    NUC_ADOPT_UNKNOWN,    /* "name": a pipeline of the old state that is not registered */
    NUC_ADOPT_BEGUN,      /* "name": a writer, of which "bytes" are to be copied */
    NUC_ADOPT_MOVED,      /* "name": a writer; "count" segments */
    NUC_ADOPT_COPIED,     /* the same */
    NUC_ADOPT_FINISHED,   /* the same, which had been published before */
    NUC_ADOPT_QUARANTINED /* "name": a file of damaged bytes */
} nuc_adopt_event_t;

typedef struct {
    nuc_adopt_event_t event;
    const char *name;
    uint64_t count;
    uint64_t bytes;
} nuc_adopt_report_t;

typedef struct {
    const nuc_sys_t *sys;
    const char *from;      /* the queue directory that was brought */
    const char *queue;     /* where its records are to go */
    const char *state;     /* of this worker; used with old_state alone */
    const char *old_state; /* of the worker that read "from"; NULL: all is delivered */
    void (*report)(void *ctx, const nuc_adopt_report_t *report);
    void *ctx;
} nuc_adopt_options_t;

/*
 * With "old_state" the caller holds the lock of "state": no pipeline may run, for the
 * positions are written into their commits.  NUC_BUSY: somebody holds a lock in "from".
 * NUC_INVALID: it is no queue, or what was begun was something else.  All is durable on
 * return.
 */
nuc_rc_t nuc_adopt(const nuc_adopt_options_t *options, nuc_err_t *err);

#endif /* NUC_ADOPT_H */
