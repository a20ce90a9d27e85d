/*
 * Counts of a day, or of whatever else is numbered, in memory that processes share,
 * without locks: a process that is killed at any instruction stops no other.
 *
 * A place is { tag, word }, its word a day and what was counted on it, so taking is one
 * compare-and-swap, and a new day needs nobody to begin it.  The table is
 * set-associative: a tag selects a set of 8 places.  A place whose day is past is as good
 * as none and is given to who needs one; when none of the 8 is, there is nothing to count
 * with: NUC_FULL, and a number that tells how often.
 *
 * A place changes hands in two steps: its tag becomes "claimed", which no look-up finds,
 * then the new one; in between it is seen whether its owner counts on it after all.  What
 * races and kills cost:
 *
 *   - Killed in a take: up to n are counted and not used.  Killed between the steps: the
 *     place stays claimed, and whoever needs one takes it over.
 *   - A take that hits a place which changes hands at that moment sees so afterwards and
 *     undoes it.  If it is killed right there, or a third one counts in between, the new
 *     owner keeps the count.
 *   - Two that make the same place at once may make two, of which later looks find one:
 *     what the other counted in the second, at most n, is forgotten.
 *
 * Days are numbered on from any, those since 1970 for instance, and after NUC_TALLY_DAYS
 * from 0 again; the first and the last can't be told from one past, and are not used.
 * Processes see midnight one after the other: who is behind counts on the day that
 * another has begun.
 */

#ifndef NUC_TALLY_H
#define NUC_TALLY_H

#include <stddef.h>
#include <stdint.h>

#include "nuc_err.h"
#include "nuc_str.h"

#define NUC_TALLY_WAYS 8
#define NUC_TALLY_BITS 40 /* of the count; the day is above it */
#define NUC_TALLY_MAX  (((uint64_t) 1 << NUC_TALLY_BITS) - 1) /* of a count */
#define NUC_TALLY_DAYS ((uint64_t) 1 << (64 - NUC_TALLY_BITS))

typedef struct {
    uint64_t count; /* of the day, with what was taken */
    uint64_t left;  /* what fits now: after a take, else what would have */
    uint64_t day;   /* on which it was counted */
} nuc_tally_answer_t;

typedef struct nuc_tally_table_s nuc_tally_table_t;

/*
 * Lays out a table in "size" bytes, which stay the caller's; before others use it.  "key"
 * is secret, so that nobody can choose names that fall into one set.  NULL: there is no
 * room.
 */
nuc_tally_table_t *nuc_tally_init(void *memory, size_t size, const uint64_t key[2]);

/* The counts that there is room for. */
size_t nuc_tally_capacity(const nuc_tally_table_t *table);

uint64_t nuc_tally_tag(const nuc_tally_table_t *table, nuc_str_t name);

/*
 * Takes all of "n" or none.  "max" is cut to NUC_TALLY_MAX.  NUC_AGAIN: they don't fit on
 * this day; NUC_TOO_LARGE: on none; NUC_FULL: there is no place, nothing was counted.
 */
nuc_rc_t nuc_tally_take(nuc_tally_table_t *table, uint64_t tag, uint64_t n, uint64_t max,
                        uint64_t day, nuc_tally_answer_t *answer);

/* "day" is the answer's.  What was taken on a day that is past is not missed. */
void nuc_tally_give(nuc_tally_table_t *table, uint64_t tag, uint64_t n, uint64_t day);

/* Makes a count of "day" that is smaller, or another day's, "count".  NUC_FULL. */
nuc_rc_t nuc_tally_raise(nuc_tally_table_t *table, uint64_t tag, uint64_t count,
                         uint64_t day);

/* What was counted last, and on which day; 0 on day 0: nothing. */
uint64_t nuc_tally_look(nuc_tally_table_t *table, uint64_t tag, uint64_t *day);

/* How often there was no place. */
uint64_t nuc_tally_missed(const nuc_tally_table_t *table);

#endif /* NUC_TALLY_H */
