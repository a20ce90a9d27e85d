#include "nuc_tenant_count.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "nuc_fs.h"
#include "nuc_tenant_bytes.h"
#include "nuc_time.h"

#define NUC_TENANT_COUNT_RETRY                                                           \
    60000000U /* µs; it begins with reading all that there is */

void nuc_tenant_count_init(nuc_tenant_count_t *of, const nuc_sys_t *sys,
                           const char *queue)
{
    memset(of, 0, sizeof(*of));
    of->sys = sys;
    of->queue = queue;
}

void nuc_tenant_count_free(nuc_tenant_count_t *of)
{
    if (of->tenants != NULL) {
        nuc_log_tenants_close(of->tenants);
        of->tenants = NULL;
    }
}

/* NUC_NOT_FOUND: nobody does. */
static nuc_rc_t nuc_tenant_count_is_wanted(const nuc_tenant_count_t *of, nuc_err_t *err)
{
    char path[NUC_PATH_MAX];
    nuc_rc_t rc;
    struct stat st;

    rc = nuc_path_join(path, of->queue, NUC_TENANT_BYTES_FILE, err);
    if (rc != NUC_OK || of->sys->stat(of->sys, path, &st) == 0) {
        return rc;
    }

    return nuc_err_sys(err, errno == ENOENT ? NUC_NOT_FOUND : NUC_IO, errno,
                       "stat of \"%s\" failed", path);
}

/* Editions are numbered on through a restart: nginx tells them apart by that. */
static nuc_rc_t nuc_tenant_count_begin(nuc_tenant_count_t *of,
                                       const nuc_log_consumer_t *consumers, size_t count,
                                       nuc_err_t *err)
{
    nuc_rc_t rc;
    nuc_tenant_bytes_list_t *list;

    rc = nuc_tenant_bytes_read(of->sys, of->queue, &list, err);
    if (rc != NUC_OK) {
        return rc;
    }

    of->number = list->number > of->number ? list->number : of->number;
    of->written = 0;
    free(list);

    return nuc_log_tenants_open(of->sys, of->queue, consumers, count, &of->tenants, err);
}

static nuc_rc_t nuc_tenant_count_write(nuc_tenant_count_t *of, nuc_err_t *err)
{
    size_t i, count;
    nuc_rc_t rc;
    uint64_t now = nuc_time_monotonic();
    const nuc_log_tenant_t *tenants;
    nuc_tenant_bytes_t *item;
    nuc_tenant_bytes_list_t *list;

    count = nuc_log_tenants_settle(of->tenants, of->written ? now - of->written : 0,
                                   &tenants);

    list = calloc(1, sizeof(*list) + count * sizeof(list->items[0]));
    if (list == NULL) {
        return nuc_err_set(err, NUC_NOMEM, "no memory for what tenants have");
    }

    list->number = of->number + 1;

    for (i = 0; i < count; i++) {
        if (tenants[i].bytes > 0) {
            item = &list->items[list->count++];
            memcpy(item->tenant, tenants[i].name, sizeof(item->tenant));
            item->bytes = (uint64_t) tenants[i].bytes;
            item->rate = tenants[i].rate;
        }
    }

    rc = nuc_tenant_bytes_write(of->sys, of->queue, list, err);
    free(list);

    if (rc == NUC_OK) {
        of->number++;
        of->written = now;
    }

    return rc;
}

static nuc_rc_t nuc_tenant_count_on(nuc_tenant_count_t *of,
                                    const nuc_log_consumer_t *consumers, size_t count,
                                    nuc_err_t *err)
{
    int moved;
    nuc_rc_t rc;

    if (of->tenants == NULL) {
        rc = nuc_tenant_count_begin(of, consumers, count, err);
        if (rc != NUC_OK) {
            return rc;
        }
    }

    rc = nuc_log_tenants_count(of->tenants, consumers, count, &moved, err);

    if (rc != NUC_OK || (!moved && of->written != 0)) {
        return rc;
    }

    return nuc_tenant_count_write(of, err);
}

nuc_rc_t nuc_tenant_count_round(nuc_tenant_count_t *of,
                                const nuc_log_consumer_t *consumers, size_t count,
                                nuc_err_t *err)
{
    nuc_rc_t rc;

    if (of->failed != 0 && nuc_time_monotonic() - of->failed < NUC_TENANT_COUNT_RETRY) {
        return NUC_OK;
    }

    of->failed = 0;
    rc = nuc_tenant_count_is_wanted(of, err);

    if (rc == NUC_OK) {
        rc = nuc_tenant_count_on(of, consumers, count, err);
    }

    if (rc == NUC_OK || rc == NUC_AGAIN) {
        return rc;
    }

    nuc_tenant_count_free(of);

    if (rc == NUC_NOT_FOUND) {
        return NUC_OK;
    }

    of->failed = nuc_time_monotonic();

    return rc;
}
