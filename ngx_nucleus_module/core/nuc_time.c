#include "nuc_time.h"

#include <time.h>

#define NUC_SECOND 1000000ULL
#define NUC_DAY    (86400 * NUC_SECOND)

/* 9999-12-31T23:59:59.999999Z: RFC 3339 has four digits for the year */
#define NUC_TIME_LAST (2932897 * NUC_DAY - 1)

static uint64_t nuc_time_clock(clockid_t clock)
{
    struct timespec ts;

    clock_gettime(clock, &ts);

    return (uint64_t) ts.tv_sec * NUC_SECOND + (uint64_t) ts.tv_nsec / 1000;
}

uint64_t nuc_time_now(void)
{
    return nuc_time_clock(CLOCK_REALTIME);
}

uint64_t nuc_time_monotonic(void)
{
    return nuc_time_clock(CLOCK_MONOTONIC);
}

/*
 * The Gregorian date of a day since 1970.  Years are counted from March, so that the leap
 * day is the last of its year and the months' lengths repeat every five (153 days).
 */
static void nuc_time_date(uint64_t day, nuc_time_utc_t *utc)
{
    uint64_t era, year, month;

    day += 719468; /* from 0000-03-01 */
    era = day / 146097;
    day %= 146097; /* of 400 years */
    year = (day - day / 1460 + day / 36524 - day / 146096) / 365;
    day -= 365 * year + year / 4 - year / 100;
    month = (5 * day + 2) / 153; /* from March */

    utc->day = (int) (day - (153 * month + 2) / 5 + 1);
    utc->month = (int) (month < 10 ? month + 3 : month - 9);
    utc->year = (int) (era * 400 + year + (month < 10 ? 0 : 1));
}

void nuc_time_deadline(unsigned ms, struct timespec *ts)
{
    clock_gettime(CLOCK_MONOTONIC, ts);

    ts->tv_sec += ms / 1000;
    ts->tv_nsec += (long) (ms % 1000) * 1000000;

    if (ts->tv_nsec >= 1000000000) {
        ts->tv_sec++;
        ts->tv_nsec -= 1000000000;
    }
}

void nuc_time_split(uint64_t us, nuc_time_utc_t *utc)
{
    uint64_t rest;

    nuc_time_date(us / NUC_DAY, utc);
    rest = us % NUC_DAY;

    utc->hour = (int) (rest / (3600 * NUC_SECOND));
    utc->minute = (int) (rest / (60 * NUC_SECOND) % 60);
    utc->second = (int) (rest / NUC_SECOND % 60);
    utc->microsecond = (int) (rest % NUC_SECOND);
}

static char *nuc_time_digits(char *text, int value, int width, char end)
{
    int i;

    for (i = width - 1; i >= 0; i--) {
        text[i] = (char) ('0' + value % 10);
        value /= 10;
    }

    text[width] = end;

    return text + width + 1;
}

char *nuc_time_format(uint64_t us, char *text)
{
    nuc_time_utc_t utc;

    nuc_time_split(us < NUC_TIME_LAST ? us : NUC_TIME_LAST, &utc);

    text = nuc_time_digits(text, utc.year, 4, '-');
    text = nuc_time_digits(text, utc.month, 2, '-');
    text = nuc_time_digits(text, utc.day, 2, 'T');
    text = nuc_time_digits(text, utc.hour, 2, ':');
    text = nuc_time_digits(text, utc.minute, 2, ':');
    text = nuc_time_digits(text, utc.second, 2, '.');

    return nuc_time_digits(text, utc.microsecond, 6, 'Z');
}
