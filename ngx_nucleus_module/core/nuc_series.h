/*
 * Counters by tenant and stream, in memory that processes share, without locks: a process
 * that is killed at any instruction stops no other.
 *
 * A place is found by a keyed hash of the two names (SipHash, 64 bits), which is its
 * identity: whoever is first to need it puts the hash there by one compare-and-swap, and
 * counts at once.  The names are written behind that by everybody who finds them missing,
 * and are the same bytes whoever does.  A place is never given up, so that counters never
 * go back; where there is none left, everything is counted in one place for the others.
 */

#ifndef NUC_SERIES_H
#define NUC_SERIES_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "nuc_name.h"
#include "nuc_str.h"

#define NUC_SERIES_COUNTS 12

typedef struct {
    _Atomic uint64_t tag; /* 0: free */
    _Atomic uint64_t counts[NUC_SERIES_COUNTS];
    atomic_uchar named;
    uint8_t tenant_len;
    uint8_t stream_len;
    uint8_t tenant[NUC_NAME_MAX];
    uint8_t stream[NUC_NAME_MAX];
} nuc_series_t;

typedef struct nuc_series_table_s nuc_series_table_t;

/*
 * Lays out a table in "size" bytes, which stay the caller's; before others use it.  "key"
 * is secret: who may choose names cannot choose their places.  NULL: there is no room.
 */
nuc_series_table_t *nuc_series_init(void *memory, size_t size, const uint64_t key[2]);

/*
 * The place of the two, each of at most NUC_NAME_MAX bytes, also none.  Where there is no
 * room: that of the others, which is nuc_series_at(table, 0).
 */
nuc_series_t *nuc_series_get(nuc_series_table_t *table, nuc_str_t tenant,
                             nuc_str_t stream);

/* Places, the first being that of the others. */
size_t nuc_series_count(const nuc_series_table_t *table);

/* NULL: it is free, or its names are not written yet. */
nuc_series_t *nuc_series_at(nuc_series_table_t *table, size_t i);

static inline void nuc_series_add(nuc_series_t *series, unsigned which, uint64_t n)
{
    atomic_fetch_add_explicit(&series->counts[which], n, memory_order_relaxed);
}

static inline uint64_t nuc_series_look(nuc_series_t *series, unsigned which)
{
    return atomic_load_explicit(&series->counts[which], memory_order_relaxed);
}

#endif /* NUC_SERIES_H */
