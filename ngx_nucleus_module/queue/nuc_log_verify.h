/*
 * What a queue directory holds, and what is wrong with it.  Reads only and takes no lock:
 * safe beside a running nginx and worker, whose files may grow, be sealed and go while it
 * looks; none of that is a finding.
 */

#ifndef NUC_LOG_VERIFY_H
#define NUC_LOG_VERIFY_H

#include "nuc_log_file.h"

typedef enum {
    NUC_VERIFY_WRITER,    /* "pid", "head"; its segments follow */
    NUC_VERIFY_SEGMENT,   /* behind what was found in it */
    NUC_VERIFY_DAMAGE,    /* at "offset", "bytes"; "lost" sequences from "first" on */
    NUC_VERIFY_TAIL,      /* at "offset", "bytes" that recovery will cut */
    NUC_VERIFY_GAP,       /* "lost" sequences before the segment: a file is missing */
    NUC_VERIFY_LEFTOVER,  /* a file or directory that has no use */
    NUC_VERIFY_QUARANTINE /* "bytes" of a copy of damage */
} nuc_verify_type_t;

typedef enum {
    NUC_VERIFY_INDEX_MISSING, /* the segment is not sealed, or had no room for it */
    NUC_VERIFY_INDEX_OK,
    NUC_VERIFY_INDEX_DAMAGED,
    NUC_VERIFY_INDEX_WRONG /* whole, but not of what the segment holds */
} nuc_verify_index_t;

typedef struct {
    nuc_verify_type_t type;
    nuc_uuid_t writer;
    const char *path;
    uint64_t segment;
    uint64_t first; /* sequence; 0 in a segment without records */
    uint64_t last;
    uint64_t records;
    uint64_t bytes;
    uint64_t offset;
    uint64_t lost;
    long pid;   /* that holds the writer's lock; 0: it is dead */
    int head;   /* is whole */
    int header; /* of the segment is whole */
    int open;   /* its writer may still write it */
    nuc_verify_index_t index;
} nuc_verify_finding_t;

typedef struct {
    uint64_t writers;
    uint64_t segments;
    uint64_t records;
    uint64_t bytes; /* of segments */
    uint64_t
        damage; /* places: damage, gaps, heads, headers and indexes that are not whole */
    uint64_t lost; /* sequences */
    uint64_t tails;
    uint64_t leftovers;
    uint64_t quarantined;
} nuc_verify_summary_t;

typedef struct {
    void (*found)(void *ctx, const nuc_verify_finding_t *finding);
    void (*progress)(void *ctx, uint64_t done, uint64_t total); /* bytes; may be NULL */
    void *ctx;
} nuc_verify_report_t;

/* NUC_NOT_FOUND: no such directory.  NUC_INVALID: it is no queue.  NUC_IO, NUC_NOMEM. */
nuc_rc_t nuc_log_verify(const nuc_sys_t *sys, const char *dir,
                        const nuc_verify_report_t *report, nuc_verify_summary_t *summary,
                        nuc_err_t *err);

#endif /* NUC_LOG_VERIFY_H */
