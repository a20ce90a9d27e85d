/*
 * Small text files in the queue's directory that the processes of nginx keep together: a
 * line an item, of which each process writes those that it knows more of.  Nothing here
 * is synced, and what a killed process has not written yet (some seconds) is lost.
 */

#ifndef NUC_NOTES_H
#define NUC_NOTES_H

#include "nuc_buf.h"
#include "nuc_err.h"
#include "nuc_str.h"
#include "nuc_sys.h"

typedef struct {
    const char *file;
    const char *lock; /* a file, too */
    size_t size;      /* bytes of an item */

    int (*parse)(nuc_str_t line, void *item); /* 0: it is none */
    void (*print)(const void *item, nuc_buf_t *out);
    int (*compare)(const void *a, const void *b); /* items; the one to keep first */
    int (*same)(const void *a, const void *b);    /* of these the first is kept */
} nuc_notes_kind_t;

/*
 * Writes what is to be kept of "items" (in any order) into the file in "dir".  Processes
 * take turns by the lock; NUC_BUSY when another holds it: try again later.  A line that
 * cannot be read is left out.
 */
nuc_rc_t nuc_notes_merge(const nuc_sys_t *sys, const nuc_notes_kind_t *kind,
                         const char *dir, const void *items, size_t count,
                         nuc_err_t *err);

/* All of the file, sorted, for the caller to free; no file: none. */
nuc_rc_t nuc_notes_read(const nuc_sys_t *sys, const nuc_notes_kind_t *kind,
                        const char *dir, void **items, size_t *count, nuc_err_t *err);

/* Decimal digits, at most 15 of them, and nothing else; 0: it is no number. */
int nuc_notes_number(nuc_str_t text, uint64_t *number);

#endif /* NUC_NOTES_H */
