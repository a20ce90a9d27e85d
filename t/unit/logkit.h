/*
 * What the tests of the log have in common: numbered records, submitting and waiting,
 * reading all there is.
 */

#ifndef LOGKIT_H
#define LOGKIT_H

#include "nuc_fs.h"
#include "nuc_log.h"

/* Record "n": its rid, id and data follow from the number; "data" has room for
 * kit_data_len. */
#define KIT_DATA_MAX 4096
void kit_record(uint64_t n, nuc_record_t *record, char id[32], char data[KIT_DATA_MAX]);

/* The number of a record that kit_record made, or 0 when anything about it is not as it
 * was. */
uint64_t kit_number(const nuc_record_t *record);

/*
 * The system's own calls, on a disk: directories of tests may lie in memory, where no
 * queue is taken.
 */
const nuc_sys_t *kit_sys(void);

nuc_log_options_t kit_options(const nuc_sys_t *sys, const char *dir);

/* Submit records first ... first + count - 1 as one batch, without a kick. */
nuc_rc_t kit_submit(nuc_queue_t *queue, uint64_t first, unsigned count,
                    nuc_ticket_t *ticket, nuc_err_t *err);

/* Wait until "count" tickets came back, or "ms" have passed; returns how many did. */
unsigned kit_wait(nuc_queue_t *queue, unsigned count, unsigned ms);

/* Submit, kick, wait: the ticket's answer. */
nuc_rc_t kit_store(nuc_queue_t *queue, uint64_t first, unsigned count);

/* Wait until ready answers something other than NUC_AGAIN, or what is wanted. */
nuc_rc_t kit_started(nuc_queue_t *queue);
int kit_wait_ready(nuc_queue_t *queue, nuc_rc_t wanted, unsigned ms);

/* A new directory under TMPDIR, for one test. */
void kit_temp_dir(char path[NUC_PATH_MAX]);

#endif /* LOGKIT_H */
