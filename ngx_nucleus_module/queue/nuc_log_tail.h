/*
 * The walk through the last segment of a dead writer.  Groups follow each other: group n
 * + 1 was written only after group n was durable.  So damage is a torn tail unless a
 * later group, or the published end, proves that what is damaged had been durable.
 */

#ifndef NUC_LOG_TAIL_H
#define NUC_LOG_TAIL_H

#include "nuc_log_scan.h"

/*
 * The sequence after the last record of the segment that "scan" has just opened.  "known"
 * is the durable end that the writer's head tells, 0 without one.
 */
nuc_rc_t nuc_tail_find_end(nuc_scan_t *scan, uint64_t known, uint64_t *end,
                           nuc_err_t *err);

#endif /* NUC_LOG_TAIL_H */
