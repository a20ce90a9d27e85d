/*
 * What each tenant has in the queue, as nucleus-worker counts it for nginx, which holds
 * it against the quota: a text file, DIR/tenant-bytes in the queue's directory.  nginx
 * makes it when it has a quota to enforce; as long as it is there the worker counts, and
 * replaces it whenever something has changed:
 *
 *     412
 *     north 1048576 20000
 *
 * The number of this edition, one more each time; then a line a tenant, by name, with the
 * bytes that it has in the queue and the bytes a second at which they leave.  It is not
 * synced: all of it can be counted again.
 */

#ifndef NUC_TENANT_BYTES_H
#define NUC_TENANT_BYTES_H

#include "nuc_err.h"
#include "nuc_name.h"
#include "nuc_str.h"
#include "nuc_sys.h"

#define NUC_TENANT_BYTES_FILE "tenant-bytes"

typedef struct {
    char tenant[NUC_NAME_MAX + 1];
    uint64_t bytes;
    uint64_t rate; /* bytes a second */
} nuc_tenant_bytes_t;

typedef struct {
    uint64_t number; /* of the edition; 0: nobody has counted yet */
    size_t count;
    nuc_tenant_bytes_t items[]; /* by name */
} nuc_tenant_bytes_list_t;

/*
 * From malloc.  What cannot be read in it is left out, like the number: 0.
 * NUC_NOT_FOUND: there is no such file; NUC_IO, NUC_NOMEM, NUC_TOO_LARGE.
 */
nuc_rc_t nuc_tenant_bytes_read(const nuc_sys_t *sys, const char *dir,
                               nuc_tenant_bytes_list_t **list, nuc_err_t *err);

/* The same from memory. */
nuc_rc_t nuc_tenant_bytes_parse(nuc_str_t text, nuc_tenant_bytes_list_t **list,
                                nuc_err_t *err);

/* Make the file if it is not there, which asks the worker to count.  NUC_IO. */
nuc_rc_t nuc_tenant_bytes_ask(const nuc_sys_t *sys, const char *dir, nuc_err_t *err);

/* NUC_IO, NUC_NOMEM: what was there before is there. */
nuc_rc_t nuc_tenant_bytes_write(const nuc_sys_t *sys, const char *dir,
                                const nuc_tenant_bytes_list_t *list, nuc_err_t *err);

/* NULL: the tenant has nothing in the queue. */
const nuc_tenant_bytes_t *nuc_tenant_bytes_find(const nuc_tenant_bytes_list_t *list,
                                                nuc_str_t tenant);

#endif /* NUC_TENANT_BYTES_H */
