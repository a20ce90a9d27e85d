/*
 * A new key, while its secret is in this process: then the process leaves no core and
 * cannot be traced.
 */

#ifndef NUC_CTL_SECRET_H
#define NUC_CTL_SECRET_H

#include "nuc_key.h"
#include "nuc_sys.h"

typedef struct {
    char text[NUC_KEY_LEN + 1];
    uint64_t id;
    uint8_t digest[NUC_KEY_DIGEST_LEN];
} nuc_secret_t;

/* nuc_secret_wipe it after the last use, also after an error. */
nuc_rc_t nuc_secret_make(nuc_secret_t *secret, nuc_err_t *err);

/* Into a new file, durably, mode 0600.  NUC_INVALID: there is one of that name. */
nuc_rc_t nuc_secret_store(const nuc_sys_t *sys, const nuc_secret_t *secret,
                          const char *path, nuc_err_t *err);

/* "before", the key, "after", to standard output. */
nuc_rc_t nuc_secret_print(const nuc_secret_t *secret, nuc_str_t before, const char *after,
                          nuc_err_t *err);

void nuc_secret_wipe(nuc_secret_t *secret);

#endif /* NUC_CTL_SECRET_H */
