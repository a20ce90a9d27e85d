#include "nuc_err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void nuc_err_put(nuc_err_t *err, nuc_rc_t rc, int sys_errno, const char *fmt,
                        va_list args)
{
    err->rc = rc;
    err->sys_errno = sys_errno;
    err->hint[0] = '\0';
    vsnprintf(err->message, sizeof(err->message), fmt, args);
}

void nuc_err_fill(nuc_err_t *err, nuc_rc_t rc, const char *fmt, ...)
{
    va_list args;

    if (err != NULL) {
        va_start(args, fmt);
        nuc_err_put(err, rc, 0, fmt, args);
        va_end(args);
    }
}

void nuc_err_fill_sys(nuc_err_t *err, nuc_rc_t rc, int sys_errno, const char *fmt, ...)
{
    size_t len;
    va_list args;
    char text[96];

    if (err != NULL) {
        va_start(args, fmt);
        nuc_err_put(err, rc, sys_errno, fmt, args);
        va_end(args);

        len = strlen(err->message);
        snprintf(err->message + len, sizeof(err->message) - len, " (%d: %s)", sys_errno,
                 strerror_r(sys_errno, text, sizeof(text)));
    }
}

void nuc_err_hint(nuc_err_t *err, const char *fmt, ...)
{
    va_list args;

    if (err != NULL) {
        va_start(args, fmt);
        vsnprintf(err->hint, sizeof(err->hint), fmt, args);
        va_end(args);
    }
}

const char *nuc_rc_name(nuc_rc_t rc)
{
    switch (rc) {
    case NUC_OK:
        return "ok";
    case NUC_AGAIN:
        return "again";
    case NUC_INVALID:
        return "invalid";
    case NUC_TOO_LARGE:
        return "too large";
    case NUC_FULL:
        return "full";
    case NUC_IO:
        return "io";
    case NUC_UNKNOWN:
        return "outcome unknown";
    case NUC_CORRUPT:
        return "corrupt";
    case NUC_BUSY:
        return "busy";
    case NUC_NOT_FOUND:
        return "not found";
    case NUC_CLOSED:
        return "closed";
    case NUC_NOMEM:
        return "no memory";
    }

    return "unexpected";
}
