/*
 * What core, formats, queue and sink answer.  They never log and never exit: they return
 * an nuc_rc_t and fill a caller-owned nuc_err_t; the edge (http/, worker/) logs once and
 * maps.
 */

#ifndef NUC_ERR_H
#define NUC_ERR_H

typedef enum {
    NUC_OK = 0,
    NUC_AGAIN,     /* nothing to give now; ask again later */
    NUC_INVALID,   /* the input is not what its format says */
    NUC_TOO_LARGE, /* the input is over a limit */
    NUC_FULL,      /* no room now: quota, free space, memory budget */
    NUC_IO,        /* a system call failed, sys_errno says how; nothing was written */
    NUC_UNKNOWN,   /* a write's outcome is not known: it may or may not be durable */
    NUC_CORRUPT,   /* stored bytes are damaged */
    NUC_BUSY,      /* somebody else holds the lock */
    NUC_NOT_FOUND, /* there is no such thing */
    NUC_CLOSED,    /* the object was closed or gave up */
    NUC_NOMEM      /* an allocation failed */
} nuc_rc_t;

typedef struct {
    nuc_rc_t rc;
    int sys_errno;     /* 0, or the errno of the failed system call */
    char message[320]; /* what is wrong: lower-case, no full stop, values quoted */
    char hint[160];    /* what to do about it, or an empty string */
} nuc_err_t;

/*
 * Fill "err" (may be NULL) and return "rc", so that failing is one statement.  The
 * message is cut to what fits.
 */
#define nuc_err_set(err, rc, ...) (nuc_err_fill(err, rc, __VA_ARGS__), nuc_err_return(rc))

/* The same for a failed system call: appends the text of "sys_errno". */
#define nuc_err_sys(err, rc, sys_errno, ...)                                             \
    (nuc_err_fill_sys(err, rc, sys_errno, __VA_ARGS__), nuc_err_return(rc))

void nuc_err_fill(nuc_err_t *err, nuc_rc_t rc, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void nuc_err_fill_sys(nuc_err_t *err, nuc_rc_t rc, int sys_errno, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* Here, where compilers and analyzers see that what fails does not return NUC_OK. */
static inline nuc_rc_t nuc_err_return(nuc_rc_t rc)
{
    return rc;
}

void nuc_err_hint(nuc_err_t *err, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* A stable lower-case name of "rc", for logs. */
const char *nuc_rc_name(nuc_rc_t rc);

#endif /* NUC_ERR_H */
