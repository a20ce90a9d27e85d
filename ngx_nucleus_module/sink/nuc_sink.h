/*
 * A sink stores batches of records at one kind of destination.  The pipeline owns order,
 * retry and commit; a sink only writes, makes durable, and says how far it came.
 */

#ifndef NUC_SINK_H
#define NUC_SINK_H

#include "nuc_buf.h"
#include "nuc_err.h"
#include "nuc_record.h"
#include "nuc_sys.h"

typedef struct nuc_sink_s nuc_sink_t;

/* One table per sink: parsing, defaults, -t and the reference in docs/ come from it. */
typedef enum {
    NUC_SINK_STRING,
    NUC_SINK_DIR, /* a string: a directory, made when it is missing */
    NUC_SINK_SIZE,
    NUC_SINK_TIME,
    NUC_SINK_COUNT
} nuc_sink_option_type_t;

typedef struct {
    const char *name;
    nuc_sink_option_type_t type;
    const char *default_value; /* NULL: must be given */
    size_t offset; /* in the sink's options struct: const char *, or uint64_t (bytes, ms,
                      count) */
    const char *help;
} nuc_sink_option_t;

typedef struct {
    const char *name; /* "file" */
    const nuc_sink_option_t *options;
    size_t options_size;

    /*
     * "options" was filled from the table and outlives the sink.  "state" is what the
     * last commit recorded for this sink (empty at the first start): the sink goes back
     * to exactly that, undoing what was written after it.
     */
    nuc_rc_t (*open)(const nuc_sys_t *sys, const char *pipeline, const void *options,
                     nuc_str_t state, nuc_sink_t **sink, nuc_err_t *err);

    /* Take one record into the current batch; copies what it keeps. */
    nuc_rc_t (*add)(nuc_sink_t *sink, const nuc_record_t *record, nuc_err_t *err);

    /*
     * Before the batch is written: what it will touch that no commit names yet.  NUC_OK:
     * append the state to record first to "state", *needed = 1, and the pipeline commits
     * it (at the old position) before it calls flush.  *needed = 0: nothing new.
     */
    nuc_rc_t (*prepare)(nuc_sink_t *sink, nuc_buf_t *state, int *needed, nuc_err_t *err);

    /*
     * Write the batch and make it durable; append to "state" what to record with the new
     * position.  After an error the sink must be closed and opened again from the last
     * commit.
     */
    nuc_rc_t (*flush)(nuc_sink_t *sink, nuc_buf_t *state, nuc_err_t *err);

    size_t (*batch_bytes)(const nuc_sink_t *sink); /* gathered since the last flush */
    void (*close)(nuc_sink_t *sink);               /* drops an unflushed batch */
} nuc_sink_ops_t;

struct nuc_sink_s {
    const nuc_sink_ops_t *ops;
};

extern const nuc_sink_ops_t nuc_sink_file;

/*
 * For a loop over the directories that a sink was given: the option behind "after" (NULL:
 * the first) that is one, with its value in *dir.  NULL: there is no other.
 */
const nuc_sink_option_t *nuc_sink_next_dir(const nuc_sink_ops_t *sink,
                                           const void *options,
                                           const nuc_sink_option_t *after,
                                           const char **dir);

/* By the name in `sink NAME { ... }`, or NULL. */
const nuc_sink_ops_t *nuc_sink_find(const char *name);

#endif /* NUC_SINK_H */
