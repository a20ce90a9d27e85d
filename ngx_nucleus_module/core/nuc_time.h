/*
 * Time as Nucleus stores it: µs since 1970-01-01T00:00:00Z, and RFC 3339 text in UTC.
 */

#ifndef NUC_TIME_H
#define NUC_TIME_H

#include <stdint.h>
#include <time.h>

#define NUC_TIME_TEXT_LEN 27 /* 2026-11-21T10:57:30.123456Z */

typedef struct {
    int year, month, day, hour, minute, second; /* month and day from 1 */
    int microsecond;
} nuc_time_utc_t;

uint64_t nuc_time_now(void);       /* µs since 1970, wall clock */
uint64_t nuc_time_monotonic(void); /* µs, never goes back, for durations */

/* "ms" from now on that clock, CLOCK_MONOTONIC. */
void nuc_time_deadline(unsigned ms, struct timespec *ts);

void nuc_time_split(uint64_t us, nuc_time_utc_t *utc);

/* Writes NUC_TIME_TEXT_LEN characters, no zero, and returns the end. */
char *nuc_time_format(uint64_t us, char *text);

#endif /* NUC_TIME_H */
