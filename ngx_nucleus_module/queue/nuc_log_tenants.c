#include "nuc_log_tenants.h"

#include <stdlib.h>
#include <string.h>

#include "nuc_log_list.h"

/* Bytes that one call reads: about as much as a disk gives in a second. */
#define NUC_TENANTS_SLICE (256u << 20)

struct nuc_log_tenants_s {
    nuc_log_reader_t *tail; /* at the durable end */
    nuc_log_reader_t *low;  /* at the slowest consumer */

    nuc_log_tenant_t *list; /* by name */
    size_t count;
    size_t capacity;
    size_t last; /* that was found: one is likely to be asked for again */

    nuc_log_position_t *passed; /* by every consumer */
    size_t npassed;
    size_t passed_capacity;
};

/* Of a writer that one consumer lacks, nothing is passed. */
static const nuc_log_position_t *nuc_tenants_slowest(const nuc_log_consumer_t *consumers,
                                                     size_t count,
                                                     const nuc_uuid_t *writer)
{
    size_t i;
    const nuc_log_position_t *position, *slowest = NULL;

    for (i = 0; i < count; i++) {
        position =
            nuc_log_position_of(consumers[i].positions, consumers[i].count, writer);
        if (position == NULL) {
            return NULL;
        }

        if (slowest == NULL || position->sequence < slowest->sequence) {
            slowest = position;
        }
    }

    return slowest;
}

static nuc_rc_t nuc_tenants_set_passed(nuc_log_tenants_t *tenants,
                                       const nuc_log_consumer_t *consumers, size_t count,
                                       nuc_err_t *err)
{
    size_t i;
    nuc_log_position_t *grown;
    const nuc_log_position_t *slowest;

    tenants->npassed = 0;

    for (i = 0; count > 0 && i < consumers[0].count; i++) {
        slowest =
            nuc_tenants_slowest(consumers, count, &consumers[0].positions[i].writer);
        if (slowest == NULL) {
            continue;
        }

        grown = nuc_list_grow(tenants->passed, &tenants->passed_capacity,
                              tenants->npassed, sizeof(*grown));
        if (grown == NULL) {
            return nuc_err_set(err, NUC_NOMEM, "no memory for positions");
        }

        tenants->passed = grown;
        tenants->passed[tenants->npassed++] = *slowest;
    }

    return NUC_OK;
}

static nuc_rc_t nuc_tenants_open_reader(const nuc_log_tenants_t *tenants,
                                        const nuc_sys_t *sys, const char *dir,
                                        nuc_log_reader_t **reader, nuc_err_t *err)
{
    size_t i;
    nuc_rc_t rc;

    rc = nuc_log_reader_open(sys, dir, NUC_LOG_EARLIEST, reader, err);

    for (i = 0; rc == NUC_OK && i < tenants->npassed; i++) {
        rc = nuc_log_reader_seek(*reader, &tenants->passed[i], err);
    }

    /* where it begins in the other writers is fixed by its first look at them */
    return rc == NUC_OK ? nuc_log_reader_refresh(*reader, err) : rc;
}

nuc_rc_t nuc_log_tenants_open(const nuc_sys_t *sys, const char *dir,
                              const nuc_log_consumer_t *consumers, size_t count,
                              nuc_log_tenants_t **out, nuc_err_t *err)
{
    nuc_rc_t rc;
    nuc_log_tenants_t *tenants;

    tenants = calloc(1, sizeof(*tenants));
    if (tenants == NULL) {
        return nuc_err_set(err, NUC_NOMEM, "no memory to count what tenants have");
    }

    rc = nuc_tenants_set_passed(tenants, consumers, count, err);

    /* first the one that must not begin behind the other's beginning */
    if (rc == NUC_OK) {
        rc = nuc_tenants_open_reader(tenants, sys, dir, &tenants->tail, err);
    }

    if (rc == NUC_OK) {
        rc = nuc_tenants_open_reader(tenants, sys, dir, &tenants->low, err);
    }

    if (rc != NUC_OK) {
        nuc_log_tenants_close(tenants);
        return rc;
    }

    *out = tenants;

    return NUC_OK;
}

void nuc_log_tenants_close(nuc_log_tenants_t *tenants)
{
    if (tenants->tail != NULL) {
        nuc_log_reader_close(tenants->tail);
    }

    if (tenants->low != NULL) {
        nuc_log_reader_close(tenants->low);
    }

    free(tenants->passed);
    free(tenants->list);
    free(tenants);
}

static int nuc_tenants_compare(const nuc_log_tenant_t *tenant, nuc_str_t name)
{
    int order = strncmp(tenant->name, (const char *) name.data, name.len);

    return order != 0 ? order : tenant->name[name.len] != '\0';
}

/* The tenant's place in the list, made if it is not there; NULL: no memory. */
static nuc_log_tenant_t *nuc_tenants_get(nuc_log_tenants_t *tenants, nuc_str_t name)
{
    size_t low = 0, high = tenants->count, middle;
    nuc_log_tenant_t *grown;

    if (tenants->last < tenants->count &&
        nuc_tenants_compare(&tenants->list[tenants->last], name) == 0) {
        return &tenants->list[tenants->last];
    }

    while (low < high) {
        middle = (low + high) / 2;

        if (nuc_tenants_compare(&tenants->list[middle], name) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }

    tenants->last = low;

    if (low < tenants->count && nuc_tenants_compare(&tenants->list[low], name) == 0) {
        return &tenants->list[low];
    }

    grown =
        nuc_list_grow(tenants->list, &tenants->capacity, tenants->count, sizeof(*grown));
    if (grown == NULL) {
        return NULL;
    }

    tenants->list = grown;
    memmove(&grown[low + 1], &grown[low], (tenants->count - low) * sizeof(*grown));
    tenants->count++;

    memset(&grown[low], 0, sizeof(*grown));
    memcpy(grown[low].name, name.data, name.len);

    return &grown[low];
}

static nuc_rc_t nuc_tenants_add(nuc_log_tenants_t *tenants, const nuc_record_t *record,
                                int sign, nuc_err_t *err)
{
    size_t size = nuc_record_encoded_len(record);
    nuc_str_t name = record->attr[NUC_ATTR_TENANT];
    nuc_log_tenant_t *tenant;

    /* none that nginx wrote */
    if (!nuc_name_valid(name)) {
        return NUC_OK;
    }

    tenant = nuc_tenants_get(tenants, name);
    if (tenant == NULL) {
        return nuc_err_set(err, NUC_NOMEM, "no memory for one more tenant");
    }

    tenant->bytes += sign * (int64_t) size;
    tenant->passed += sign < 0 ? size : 0;

    return NUC_OK;
}

/* All that a reader has now, or a slice of it: NUC_AGAIN. */
static nuc_rc_t nuc_tenants_read(nuc_log_tenants_t *tenants, nuc_log_reader_t *reader,
                                 int sign, int *moved, nuc_err_t *err)
{
    size_t taken;
    nuc_rc_t rc;
    uint64_t lost;
    nuc_record_t record;

    for (taken = 0; taken < NUC_TENANTS_SLICE; taken += nuc_record_encoded_len(&record)) {

        /* damage is told by those who read what it took */
        do {
            rc = nuc_log_reader_next(reader, &record, &lost, err);
            *moved |= rc != NUC_AGAIN;
        } while (rc == NUC_CORRUPT);

        if (rc == NUC_OK) {
            rc = nuc_tenants_add(tenants, &record, sign, err);
        }

        if (rc != NUC_OK) {
            return rc == NUC_AGAIN ? NUC_OK : rc;
        }
    }

    return NUC_AGAIN;
}

/* Has all that was added been taken off? */
static int nuc_tenants_is_drained(nuc_log_tenants_t *tenants)
{
    size_t i, ntail, nlow;
    const nuc_log_position_t *tail, *low, *taken;

    ntail = nuc_log_reader_positions(tenants->tail, &tail);
    nlow = nuc_log_reader_positions(tenants->low, &low);

    if (ntail == SIZE_MAX || nlow == SIZE_MAX) {
        return 0;
    }

    for (i = 0; i < ntail; i++) {
        taken = nuc_log_position_of(low, nlow, &tail[i].writer);

        if (taken == NULL || taken->sequence != tail[i].sequence) {
            return 0;
        }
    }

    return 1;
}

nuc_rc_t nuc_log_tenants_count(nuc_log_tenants_t *tenants,
                               const nuc_log_consumer_t *consumers, size_t count,
                               int *moved, nuc_err_t *err)
{
    size_t i;
    nuc_rc_t rc, more;

    *moved = 0;

    rc = nuc_tenants_set_passed(tenants, consumers, count, err);
    if (rc != NUC_OK) {
        return rc;
    }

    rc = nuc_log_reader_refresh(tenants->low, err);
    if (rc != NUC_OK) {
        return rc;
    }

    nuc_log_reader_until(tenants->low, tenants->passed, tenants->npassed);

    more = nuc_tenants_read(tenants, tenants->tail, 1, moved, err);
    if (more != NUC_OK && more != NUC_AGAIN) {
        return more;
    }

    rc = nuc_tenants_read(tenants, tenants->low, -1, moved, err);
    if (rc != NUC_OK) {
        return rc;
    }

    if (more == NUC_OK && nuc_tenants_is_drained(tenants)) {
        for (i = 0; i < tenants->count; i++) {
            tenants->list[i].bytes = 0;
        }
    }

    return more;
}

size_t nuc_log_tenants_settle(nuc_log_tenants_t *tenants, uint64_t elapsed,
                              const nuc_log_tenant_t **list)
{
    size_t i, kept = 0;
    uint64_t rate;
    nuc_log_tenant_t *tenant;

    for (i = 0; i < tenants->count; i++) {
        tenant = &tenants->list[i];

        if (tenant->bytes <= 0 && tenant->passed == 0) {
            continue;
        }

        rate = elapsed > 0 ? (uint64_t) ((double) tenant->passed * 1e6 / (double) elapsed)
                           : 0;
        tenant->rate = tenant->rate - tenant->rate / 4 + rate / 4;
        tenant->passed = 0;

        tenants->list[kept++] = *tenant;
    }

    tenants->count = kept;
    *list = tenants->list;

    return kept;
}
