/*
 * When each key was last used, for `nucleusctl key list`: a text file, DIR/last-used in
 * the queue's directory, which nginx's user may write.  A line a key, in the order of the
 * ids:
 *
 *     k7f3m9q2xwtd 1795280979
 *
 * Kept for the operator's eye, not for decisions: nothing here is synced, and what a
 * killed process has not written yet (some seconds) is lost.
 */

#ifndef NUC_LAST_USED_H
#define NUC_LAST_USED_H

#include "nuc_notes.h"

#define NUC_LAST_USED_FILE "last-used"

typedef struct {
    uint64_t id;      /* of the key, as nuc_key.h has it */
    uint64_t seconds; /* since 1970 */
} nuc_last_used_t;

extern const nuc_notes_kind_t nuc_last_used_notes;

/* All of the file, sorted by id, for the caller to free; no file: none. */
nuc_rc_t nuc_last_used_read(const nuc_sys_t *sys, const char *dir, nuc_last_used_t **uses,
                            size_t *count, nuc_err_t *err);

/* Seconds since 1970, 0: not known.  "uses" is what nuc_last_used_read gave. */
uint64_t nuc_last_used_find(const nuc_last_used_t *uses, size_t count, uint64_t id);

#endif /* NUC_LAST_USED_H */
