/*
 * What a pipeline knows after each batch, in one file that is replaced as a whole:
 *
 *     nucleus-commit 2
 *     generation 12
 *     read 100
 *     delivered 90
 *     delivered_bytes 81234
 *     filtered 10
 *     corrupt 0
 *     writer 019... segment 1 offset 4096 sequence 51 skipped 0 delivered 45 filtered 5
 *                                                     corrupt 0   one line a writer
 *     retired sequences 50 skipped 0 delivered 45 filtered 5 corrupt 0
 *     sink 57                                              length of the sink's state
 *     (57 bytes that only the sink understands) LF
 *     crc32c 0a1b2c3d                                      of all bytes before this line
 *
 * The position and what the sink has stored stand in one file, so that they change
 * together.
 *
 * The books (invariant 8 of the design): what the pipeline has passed of a writer is
 * skipped + delivered + filtered + corrupt, each counted where it happens, so that a
 * record that slipped through is seen: nuc_commit_unbalanced.  Such a commit is no less
 * whole.  What its own sums say, it must say: all delivered = those of the writers and of
 * "retired", the writers whose directories are gone; and so on.
 *
 * Version 1 had no books of the writers.  They begin where it ends: what it had passed of
 * each writer is skipped, and what it had counted stands under "retired".
 */

#ifndef NUC_COMMIT_H
#define NUC_COMMIT_H

#include "nuc_buf.h"
#include "nuc_log.h"
#include "nuc_sys.h"

#define NUC_COMMIT_NAME "commit"

/* Of all writers together: read = delivered + filtered + corrupt, exact at every commit.
 */
typedef struct {
    uint64_t read;            /* sequences that were passed */
    uint64_t delivered;       /* records that the sink has stored */
    uint64_t delivered_bytes; /* of their data */
    uint64_t filtered;        /* records that the pipeline does not want */
    uint64_t corrupt;         /* sequences that damage took */
} nuc_counts_t;

/* Of one writer; what was skipped stands in its position. */
typedef struct {
    uint64_t delivered;
    uint64_t filtered;
    uint64_t corrupt;
} nuc_book_t;

typedef struct {
    uint64_t sequences; /* passed, up to the writers' ends */
    uint64_t skipped;
    nuc_book_t book;
} nuc_retired_t;

typedef struct {
    uint64_t generation; /* one more at each commit, 1 at registration */
    nuc_counts_t counts;
    nuc_log_position_t *positions;
    nuc_book_t *books; /* one for each position */
    size_t npositions;
    nuc_retired_t retired;
    nuc_buf_t sink_state;
} nuc_commit_t;

void nuc_commit_init(nuc_commit_t *commit);
void nuc_commit_free(nuc_commit_t *commit);

int nuc_counts_balance(const nuc_counts_t *counts);

/*
 * Where the reader stands; the books of writers that it has forgotten go to the retired
 * ones'.  After NUC_NOMEM the commit is as it was.
 */
nuc_rc_t nuc_commit_take_positions(nuc_commit_t *commit, nuc_log_reader_t *reader,
                                   nuc_err_t *err);

/*
 * The writer has this position from now on.  "*index": where; looked for there first.
 * NUC_NOMEM leaves the commit as it was.
 */
nuc_rc_t nuc_commit_set_position(nuc_commit_t *commit, const nuc_log_position_t *position,
                                 size_t *index, nuc_err_t *err);

/* The same, and what lies between was not this pipeline's to deliver. */
nuc_rc_t nuc_commit_skip_to(nuc_commit_t *commit, const nuc_log_position_t *position,
                            nuc_err_t *err);

/* Positions and books of "from", but not the sink's state.  NUC_NOMEM as above. */
nuc_rc_t nuc_commit_take_books(nuc_commit_t *commit, const nuc_commit_t *from,
                               nuc_err_t *err);

/*
 * Sequences of the writer that were passed and that nobody has counted; below 0: that
 * many were counted twice.  "index" npositions: of the retired writers.
 */
int64_t nuc_commit_unbalanced(const nuc_commit_t *commit, size_t index);

/* Appends the text; the caller checks out->failed. */
void nuc_commit_encode(const nuc_commit_t *commit, nuc_buf_t *out);

/*
 * Fills a commit that was initialised.  NUC_CORRUPT: damaged.  NUC_INVALID: a version
 * that this program does not read.
 */
nuc_rc_t nuc_commit_decode(nuc_str_t text, nuc_commit_t *commit, nuc_err_t *err);

/*
 * The commit in "dir".  NUC_NOT_FOUND, or what nuc_commit_decode answers, with a hint:
 * never take it for an empty one.  What is read may not be durable yet: see
 * nuc_commit_settle.
 */
nuc_rc_t nuc_commit_read(const nuc_sys_t *sys, const char *dir, nuc_commit_t *commit,
                         nuc_err_t *err);

/*
 * Make durable what nuc_commit_read gave.  Its writer may have died, or may be, between
 * the rename and the sync of the directory: whoever acts on a commit (writes into files
 * that only it names, removes what it has passed) must settle it first, or a power cut
 * brings back the commit before it.
 */
nuc_rc_t nuc_commit_settle(const nuc_sys_t *sys, const char *dir, nuc_err_t *err);

/* Durable on return.  After an error the old or the new is there. */
nuc_rc_t nuc_commit_write(const nuc_sys_t *sys, const char *dir,
                          const nuc_commit_t *commit, nuc_err_t *err);

#endif /* NUC_COMMIT_H */
