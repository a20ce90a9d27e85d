/*
 * Token buckets in memory that processes share, without locks: a process that is killed
 * at any instruction stops no other.
 *
 * The algorithm is GCRA (ITU-T I.371, annex A), which is a token bucket in one word:
 * "tat" is the time at which the bucket is full again.  n units at rate R cost n / R
 * seconds of it:
 *
 *     tat' = max(tat, now) + n / R,    allowed if    (max(tat, now) - now) * R + n <=
 * burst
 *
 * so taking is one compare-and-swap.  Costs are rounded up to whole nanoseconds and
 * compared exactly: in t seconds at most R * t + burst units are taken, and each take may
 * lose up to a nanosecond of the rate.
 *
 * The table is set-associative: a tag selects a set of 8 ways of { tag, tat }.  A bucket
 * that is full is the same as none, so it is the idle that are replaced; when none of the
 * 8 is idle, the one that is full again soonest is forgotten, which gives its owner up to
 * one burst more.  Nobody is ever refused because there is no room.
 *
 * A way changes hands in three steps: its tag becomes "claimed", which no look-up finds;
 * its tat 0; its tag the new one.  What races and kills cost:
 *
 *   - Killed in a take: up to n units are taken and not used.  Killed between the steps:
 * the way stays claimed, and whoever needs one takes it over.
 *   - Two that make the same new bucket at once may make two, of which later looks find
 * one: what the other took from the second, at most n, is not counted.
 *   - A take that hits a way which changes hands at that moment sees so afterwards, and
 * moves its charge.  If it is killed right there, or a third one charges in between, the
 * new owner keeps the charge; one that is more than his burst (as of a limit with another
 * pace) is taken for what it is and passed over.
 *
 * Times are nanoseconds of one clock for all processes that does not go back, below 2^62.
 */

#ifndef NUC_BUCKET_H
#define NUC_BUCKET_H

#include <stddef.h>
#include <stdint.h>

#include "nuc_err.h"
#include "nuc_str.h"

#define NUC_BUCKET_WAYS  8
#define NUC_BUCKET_MAX   ((uint64_t) 1 << 40) /* of rate and of burst */
#define NUC_BUCKET_NEVER UINT64_MAX

typedef struct {
    uint64_t rate; /* units a second, from 1 to NUC_BUCKET_MAX */
    uint64_t
        burst; /* units, likewise; more than the rate makes in 2^32 s counts as that */
} nuc_bucket_limit_t;

typedef struct {
    uint64_t left; /* units that fit now: after a take what is left, else what would have
                      fit */
    uint64_t
        wait; /* ns until as many fit; 0: now; NUC_BUCKET_NEVER: more than the burst */
} nuc_bucket_answer_t;

typedef struct nuc_bucket_table_s nuc_bucket_table_t;

/*
 * Lays out a table in "size" bytes, which stay the caller's; before others use it.  "key"
 * is secret, so that nobody can choose names that fall into one set.  NULL: there is no
 * room.
 */
nuc_bucket_table_t *nuc_bucket_init(void *memory, size_t size, const uint64_t key[2]);

/* The buckets that there is room for. */
size_t nuc_bucket_capacity(const nuc_bucket_table_t *table);

/* Whose a bucket is, as 64 bits of a hash under the table's key. */
uint64_t nuc_bucket_name(const nuc_bucket_table_t *table, nuc_str_t name);

/*
 * Which bucket: of what kind, whose, under which limit.  A limit that is changed has
 * other buckets, full ones.  "name" is from nuc_bucket_name(), or random: the rest is
 * nobody's choice and only mixed in.
 */
uint64_t nuc_bucket_tag(uint64_t kind, uint64_t name, const nuc_bucket_limit_t *limit);

/*
 * Takes all of "n" units or none.  NUC_AGAIN: they don't fit now.  NUC_TOO_LARGE: they
 * never will.
 */
nuc_rc_t nuc_bucket_take(nuc_bucket_table_t *table, uint64_t tag,
                         const nuc_bucket_limit_t *limit, uint64_t n, uint64_t now,
                         nuc_bucket_answer_t *answer);

/* What nuc_bucket_take() would answer, except that "left" is before the take. */
nuc_rc_t nuc_bucket_peek(nuc_bucket_table_t *table, uint64_t tag,
                         const nuc_bucket_limit_t *limit, uint64_t n, uint64_t now,
                         nuc_bucket_answer_t *answer);

/*
 * Gives back what was taken at "taken" and not used.  What the rate has made since then
 * is not given back, so that takes never come to more than said above: a bucket that was
 * full gets all.
 */
void nuc_bucket_give(nuc_bucket_table_t *table, uint64_t tag,
                     const nuc_bucket_limit_t *limit, uint64_t n, uint64_t taken,
                     uint64_t now);

#endif /* NUC_BUCKET_H */
