/*
 * What a pipeline knows after each batch, in one file that is replaced as a whole:
 *
 *     nucleus-commit 1
 *     generation 12
 *     read 100
 *     delivered 90
 *     delivered_bytes 81234
 *     filtered 10
 *     corrupt 0
 *     writer 019... segment 1 offset 4096 sequence 101     one line a writer
 *     sink 57                                              length of the sink's state
 *     (57 bytes that only the sink understands) LF
 *     crc32c 0a1b2c3d                                      of all bytes before this line
 *
 * The position and what the sink has stored stand in one file, so that they change
 * together.
 */

#ifndef NUC_COMMIT_H
#define NUC_COMMIT_H

#include "nuc_buf.h"
#include "nuc_log.h"
#include "nuc_sys.h"

#define NUC_COMMIT_NAME "commit"

/* The books: read = delivered + filtered + corrupt, exact at every commit. */
typedef struct {
    uint64_t read;            /* sequences that were passed */
    uint64_t delivered;       /* records that the sink has stored */
    uint64_t delivered_bytes; /* of their data */
    uint64_t filtered;        /* records that the pipeline does not want */
    uint64_t corrupt;         /* sequences that damage took */
} nuc_counts_t;

typedef struct {
    uint64_t generation; /* one more at each commit, 1 at registration */
    nuc_counts_t counts;
    nuc_log_position_t *positions;
    size_t npositions;
    nuc_buf_t sink_state;
} nuc_commit_t;

void nuc_commit_init(nuc_commit_t *commit);
void nuc_commit_free(nuc_commit_t *commit);

int nuc_counts_balance(const nuc_counts_t *counts);

/* Where the reader stands.  NUC_NOMEM leaves the old positions. */
nuc_rc_t nuc_commit_take_positions(nuc_commit_t *commit, nuc_log_reader_t *reader,
                                   nuc_err_t *err);

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
