/*
 * Histograms with fixed bounds.  What is counted is a whole number of some small unit,
 * microseconds for instance; what is shown is in the metric's unit, seconds.
 */

#ifndef NUC_HISTOGRAM_H
#define NUC_HISTOGRAM_H

#include <stddef.h>
#include <stdint.h>

#define NUC_HISTOGRAM_BUCKETS 16 /* with the one that has no bound */

typedef struct {
    const uint64_t
        *bounds; /* ascending, of what is counted; each belongs to its bucket */
    const char *const *texts; /* the same in the metric's unit, as they are shown */
    size_t count;             /* of bounds; under NUC_HISTOGRAM_BUCKETS */
    uint64_t per_unit;        /* of what is counted make one of the metric's unit */
} nuc_histogram_kind_t;

typedef struct {
    uint64_t buckets[NUC_HISTOGRAM_BUCKETS]; /* not cumulative; the last has no bound */
    uint64_t sum;
} nuc_histogram_t;

extern const nuc_histogram_kind_t nuc_histogram_seconds; /* counts µs, 500 µs to 10 s */
extern const nuc_histogram_kind_t nuc_histogram_records; /* 1 to 100,000 */

/* Which bucket "value" belongs to. */
static inline size_t nuc_histogram_bucket(const nuc_histogram_kind_t *kind,
                                          uint64_t value)
{
    size_t i = 0;

    while (i < kind->count && value > kind->bounds[i]) {
        i++;
    }

    return i < kind->count ? i : NUC_HISTOGRAM_BUCKETS - 1;
}

static inline void nuc_histogram_add(const nuc_histogram_kind_t *kind,
                                     nuc_histogram_t *histogram, uint64_t value)
{
    histogram->buckets[nuc_histogram_bucket(kind, value)]++;
    histogram->sum += value;
}

#endif /* NUC_HISTOGRAM_H */
