/*
 * How many events of each tenant were accepted on a day (UTC), for its quota to live
 * through a restart: a text file, DIR/events-today in the queue's directory, which
 * nginx's user may write.  A line a tenant that has a quota, of the last day on which it
 * sent, that being in days since 1970:
 *
 *     north 20778 1500
 *
 * Of one day the larger count is kept, of two days the later one: what was given back
 * since it was written counts again after a restart.
 */

#ifndef NUC_EVENTS_TODAY_H
#define NUC_EVENTS_TODAY_H

#include "nuc_name.h"
#include "nuc_notes.h"

#define NUC_EVENTS_TODAY_FILE "events-today"

typedef struct {
    char tenant[NUC_NAME_MAX + 1];
    uint64_t day; /* since 1970 */
    uint64_t count;
} nuc_events_today_t;

extern const nuc_notes_kind_t nuc_events_today_notes;

/* All of the file, sorted by tenant, for the caller to free; no file: none. */
nuc_rc_t nuc_events_today_read(const nuc_sys_t *sys, const char *dir,
                               nuc_events_today_t **list, size_t *count, nuc_err_t *err);

/* Of what was read; 0 when there is none of that day. */
uint64_t nuc_events_today_find(const nuc_events_today_t *list, size_t count,
                               const char *tenant, uint64_t day);

#endif /* NUC_EVENTS_TODAY_H */
