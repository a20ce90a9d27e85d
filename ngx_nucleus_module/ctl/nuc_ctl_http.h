/*
 * One HTTP request, by libcurl: with the certificate verified, to where the address says
 * and nowhere else (no redirect, no proxy).
 */

#ifndef NUC_CTL_HTTP_H
#define NUC_CTL_HTTP_H

#include "nuc_buf.h"
#include "nuc_err.h"

typedef struct {
    const char *url;
    const char *socket; /* path of a Unix socket to connect to; NULL: what "url" says */
    const char *ca;     /* file of certificates to trust; NULL: the system's */
    const char *key;    /* sent as Bearer; NULL: none */
    const char *json;   /* a body to POST; NULL: GET */
    uint64_t ms;        /* for all of it */
} nuc_http_request_t;

/*
 * *status and the body of the answer, which is appended to "out".  NUC_INVALID: "url" is
 * none that may be asked, such as one that would show the key to others; NUC_TOO_LARGE;
 * NUC_IO: no answer.
 */
nuc_rc_t nuc_http_ask(const nuc_http_request_t *request, long *status, nuc_buf_t *out,
                      nuc_err_t *err);

#endif /* NUC_CTL_HTTP_H */
