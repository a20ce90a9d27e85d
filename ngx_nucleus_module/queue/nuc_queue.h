/*
 * The queue between nginx and the worker.  http/ submits batches of records and is told
 * when each is durable; how and where is the business of one of the implementations.
 */

#ifndef NUC_QUEUE_H
#define NUC_QUEUE_H

#include "nuc_err.h"
#include "nuc_histogram.h"
#include "nuc_record.h"

typedef struct nuc_queue_s nuc_queue_t;
typedef struct nuc_ticket_s nuc_ticket_t;

/*
 * The promise for one submitted batch.  The caller allocates it; it is the queue's from a
 * successful submit until poll hands it back.  "owner" is the caller's alone: a request
 * that dies first sets it to NULL.
 */
struct nuc_ticket_s {
    nuc_ticket_t *next; /* the queue's; after poll, the next of the list */
    void *owner;
    nuc_rc_t rc; /* NUC_OK: durable.  NUC_FULL, NUC_IO: nothing of it is or will be
                    stored. NUC_UNKNOWN: its records may appear, once */
};

/* What has become durable since the queue was opened. */
typedef struct {
    uint64_t groups; /* each of them one wait for the disk, or for Kafka */
    uint64_t records;
    uint64_t bytes;     /* as they are stored */
    uint64_t wait_most; /* µs, of the slowest group */

    nuc_histogram_t group_records; /* nuc_histogram_records */
    nuc_histogram_t group_wait;    /* nuc_histogram_seconds */

    uint64_t used; /* bytes that the queue's files take, of all writers; as of late */
    uint64_t free_bytes; /* of the file system, likewise */
} nuc_queue_stats_t;

typedef struct {
    /*
     * Copies the batch, all of whose records become durable together or not at all, and
     * queues it; never waits for the disk.  Nothing is promised before kick.  NUC_FULL
     * when the memory for what is not yet written is used up.
     */
    nuc_rc_t (*submit)(nuc_queue_t *queue, const nuc_record_t *records, size_t count,
                       nuc_ticket_t *ticket, nuc_err_t *err);

    /* Start on what was submitted; call it once after a round of submits. */
    void (*kick)(nuc_queue_t *queue);

    /* Readable (an eventfd) when poll has something to give. */
    int (*wake_fd)(nuc_queue_t *queue);

    /* All finished tickets as a list in order of submission, or NULL. */
    nuc_ticket_t *(*poll)(nuc_queue_t *queue);

    /*
     * Would a batch be taken now?  NUC_OK, or why not: NUC_FULL (quota, free space),
     * NUC_IO (the disk fails), NUC_AGAIN (starting).  *retry_after in seconds.  Cheap,
     * takes no lock that a disk can hold.
     */
    nuc_rc_t (*ready)(nuc_queue_t *queue, unsigned *retry_after, nuc_err_t *err);

    /* Takes no lock that a disk can hold. */
    void (*stats)(nuc_queue_t *queue, nuc_queue_stats_t *stats);

    /*
     * Write out what was submitted, wait for it until "deadline_ms" have passed, stop the
     * thread and free the queue.  NUC_UNKNOWN when the disk did not answer in time: the
     * thread is then left to the exit of the process.
     */
    nuc_rc_t (*close)(nuc_queue_t *queue, unsigned deadline_ms, nuc_err_t *err);
} nuc_queue_ops_t;

struct nuc_queue_s {
    const nuc_queue_ops_t *ops;
    const char *durability; /* the value of Nucleus-Durability: log, kafka */
};

#endif /* NUC_QUEUE_H */
