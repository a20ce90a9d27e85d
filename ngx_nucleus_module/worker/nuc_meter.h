/*
 * What the supervisor's children count in memory that they share with it and with the
 * local API: one block for each of them, made before it is forked, so that the counts
 * outlive its crashes, and a reload that leaves it alone.  What is counted exactly, and
 * for ever, stands in the commits (nuc_commit.h).
 *
 * One process writes a block at a time: the child, or the supervisor when it has ended.
 */

#ifndef NUC_METER_H
#define NUC_METER_H

#include <stdatomic.h>
#include <stdint.h>

#include "nuc_err.h"
#include "nuc_histogram.h"

typedef struct {
    _Atomic uint64_t works;         /* it runs, and does what it is for */
    _Atomic uint64_t restarts;      /* its crashes */
    _Atomic uint64_t errors;        /* after which it opened again, or tried again */
    _Atomic uint64_t batches;       /* that the sink has stored and a commit has taken */
    _Atomic uint64_t last_delivery; /* µs since 1970; 0: none yet */
    _Atomic uint64_t delivery[NUC_HISTOGRAM_BUCKETS]; /* µs a batch, nuc_histogram_seconds
                                                       */
    _Atomic uint64_t delivery_sum;
    _Atomic uint64_t quarantined; /* bytes */
} nuc_meter_t;

/* NULL with NUC_NOMEM. */
nuc_meter_t *nuc_meter_create(nuc_err_t *err);
void nuc_meter_destroy(nuc_meter_t *meter);

static inline void nuc_meter_add(_Atomic uint64_t *count, uint64_t more)
{
    atomic_fetch_add_explicit(count, more, memory_order_relaxed);
}

static inline void nuc_meter_set(_Atomic uint64_t *value, uint64_t to)
{
    atomic_store_explicit(value, to, memory_order_relaxed);
}

static inline uint64_t nuc_meter_get(const _Atomic uint64_t *value)
{
    return atomic_load_explicit(value, memory_order_relaxed);
}

/* A batch was delivered and committed in "us", at "now" (µs since 1970). */
void nuc_meter_delivered(nuc_meter_t *meter, uint64_t us, uint64_t now);

void nuc_meter_delivery(const nuc_meter_t *meter, nuc_histogram_t *histogram);

#endif /* NUC_METER_H */
