#include "nuc_budget.h"

#include <assert.h>
#include <stdlib.h>

#define NUC_BUDGET_KEPT 1024 /* accounts whose memory is kept for the next */

#define NUC_BUDGET_COUNT    1000  /* ms, between two looks at the pace, at least */
#define NUC_BUDGET_STALE    10000 /* ms, after which a look says nothing of now */
#define NUC_BUDGET_STALLED  10    /* seconds, when nothing is returned */
#define NUC_BUDGET_WAIT_MAX 60

void nuc_budget_init(nuc_budget_t *budget, size_t max, uint64_t seed)
{
    memset(budget, 0, sizeof(*budget));
    budget->max = max;
    budget->seed = seed;
}

static void nuc_budget_free_list(nuc_account_t *a)
{
    nuc_account_t *next;

    for (/* void */; a != NULL; a = next) {
        next = a->next;
        free(a);
    }
}

void nuc_budget_free(nuc_budget_t *budget)
{
    size_t i;

    for (i = 0; i < NUC_BUDGET_BUCKETS; i++) {
        nuc_budget_free_list(budget->buckets[i]);
    }

    nuc_budget_free_list(budget->kept);
    memset(budget, 0, sizeof(*budget));
}

/* Accounts. */

static uint64_t nuc_budget_mix(uint64_t hash, uint64_t word)
{
    hash = (hash ^ word) * 0x9e3779b97f4a7c15ULL;

    return hash ^ (hash >> 29);
}

static nuc_account_t **nuc_budget_tenant_bucket(nuc_budget_t *budget, nuc_str_t name)
{
    size_t i, n;
    uint64_t word, hash = nuc_budget_mix(budget->seed, name.len);

    for (i = 0; i < name.len; i += n) {
        n = name.len - i < sizeof(word) ? name.len - i : sizeof(word);
        word = 0;
        memcpy(&word, name.data + i, n);
        hash = nuc_budget_mix(hash, word);
    }

    return &budget->buckets[hash & (NUC_BUDGET_BUCKETS - 1)];
}

static nuc_account_t **nuc_budget_address_bucket(nuc_budget_t *budget,
                                                 const nuc_account_t *tenant,
                                                 uint64_t address)
{
    uint64_t hash = nuc_budget_mix(budget->seed, (uintptr_t) tenant);

    hash = nuc_budget_mix(hash, address);

    return &budget->buckets[hash & (NUC_BUDGET_BUCKETS - 1)];
}

static nuc_account_t **nuc_budget_bucket(nuc_budget_t *budget, const nuc_account_t *a)
{
    if (a->tenant != NULL) {
        return nuc_budget_address_bucket(budget, a->tenant, a->address);
    }

    return nuc_budget_tenant_bucket(budget, (nuc_str_t){a->name, a->name_len});
}

static nuc_account_t *nuc_budget_find_tenant(nuc_budget_t *budget, nuc_str_t name)
{
    nuc_account_t *a;

    for (a = *nuc_budget_tenant_bucket(budget, name); a != NULL; a = a->next) {
        if (a->tenant == NULL && a->name_len == name.len &&
            memcmp(a->name, name.data, name.len) == 0) {
            return a;
        }
    }

    return NULL;
}

static nuc_account_t *nuc_budget_find_address(nuc_budget_t *budget,
                                              const nuc_account_t *tenant,
                                              uint64_t address)
{
    nuc_account_t *a;

    if (tenant == NULL) {
        return NULL;
    }

    for (a = *nuc_budget_address_bucket(budget, tenant, address); a != NULL;
         a = a->next) {
        if (a->tenant == tenant && a->address == address) {
            return a;
        }
    }

    return NULL;
}

static nuc_account_t *nuc_budget_alloc(nuc_budget_t *budget)
{
    nuc_account_t *a = budget->kept;

    if (a == NULL) {
        return malloc(sizeof(*a));
    }

    budget->kept = a->next;
    budget->nkept--;

    return a;
}

static void nuc_budget_link(nuc_budget_t *budget, nuc_account_t *a)
{
    nuc_account_t **bucket = nuc_budget_bucket(budget, a);

    a->used = 0;
    a->next = *bucket;
    *bucket = a;
    budget->accounts++;
}

/* An account that holds nothing is gone. */
static void nuc_budget_close(nuc_budget_t *budget, nuc_account_t *a)
{
    nuc_account_t **p;

    if (a->used > 0) {
        return;
    }

    for (p = nuc_budget_bucket(budget, a); *p != a; p = &(*p)->next) {
        continue;
    }

    *p = a->next;
    budget->accounts--;

    if (budget->nkept == NUC_BUDGET_KEPT) {
        free(a);
        return;
    }

    a->next = budget->kept;
    budget->kept = a;
    budget->nkept++;
}

static nuc_account_t *nuc_budget_open_tenant(nuc_budget_t *budget, nuc_str_t name)
{
    nuc_account_t *a = nuc_budget_alloc(budget);

    if (a == NULL) {
        return NULL;
    }

    assert(name.len > 0 && name.len <= NUC_NAME_MAX);

    a->tenant = NULL;
    a->name_len = (uint8_t) name.len;
    memcpy(a->name, name.data, name.len);
    nuc_budget_link(budget, a);

    return a;
}

static nuc_account_t *nuc_budget_open_address(nuc_budget_t *budget, nuc_account_t *tenant,
                                              uint64_t address)
{
    nuc_account_t *a = nuc_budget_alloc(budget);

    if (a == NULL) {
        return NULL;
    }

    a->tenant = tenant;
    a->address = address;
    a->name_len = 0;
    nuc_budget_link(budget, a);

    return a;
}

/* A tenant without an address must not stay behind when there is no memory for both. */
static nuc_account_t *nuc_budget_open(nuc_budget_t *budget, nuc_account_t *tenant,
                                      nuc_str_t name, uint64_t address)
{
    nuc_account_t *a;

    if (tenant == NULL) {
        tenant = nuc_budget_open_tenant(budget, name);
        if (tenant == NULL) {
            return NULL;
        }
    }

    a = nuc_budget_open_address(budget, tenant, address);

    if (a == NULL) {
        nuc_budget_close(budget, tenant);
    }

    return a;
}

/* Bytes. */

static int nuc_budget_fits(const nuc_budget_t *budget, const nuc_account_t *a,
                           const nuc_account_t *tenant, size_t size, size_t instead)
{
    size_t left, more, held;

    if (size > budget->max - budget->used) {
        return 0;
    }

    if (size / 2 < instead) {
        return 1;
    }

    more = size - instead;
    left = budget->max - budget->used - more;
    held = (a != NULL ? a->used : 0) + (tenant != NULL ? tenant->used : 0) + 2 * more;

    return held / 2 + held % 2 <= left;
}

nuc_rc_t nuc_budget_take(nuc_budget_t *budget, nuc_account_t **account, nuc_str_t name,
                         uint64_t address, size_t size, size_t instead)
{
    nuc_account_t *a = *account, *tenant;

    if (a == NULL) {
        tenant = nuc_budget_find_tenant(budget, name);
        a = nuc_budget_find_address(budget, tenant, address);

    } else {
        tenant = a->tenant;
    }

    if (!nuc_budget_fits(budget, a, tenant, size, instead)) {
        return NUC_BUSY;
    }

    if (a == NULL) {
        a = nuc_budget_open(budget, tenant, name, address);
        if (a == NULL) {
            return NUC_NOMEM;
        }
    }

    a->used += size;
    a->tenant->used += size;
    budget->used += size;
    *account = a;

    return NUC_OK;
}

size_t nuc_budget_used(nuc_budget_t *budget, nuc_str_t tenant)
{
    const nuc_account_t *a = nuc_budget_find_tenant(budget, tenant);

    return a != NULL ? a->used : 0;
}

void nuc_budget_give(nuc_budget_t *budget, nuc_account_t *a, size_t size)
{
    nuc_account_t *tenant = a->tenant;

    a->used -= size;
    tenant->used -= size;
    budget->used -= size;
    budget->given += size;

    nuc_budget_close(budget, a);
    nuc_budget_close(budget, tenant);
}

unsigned nuc_budget_wait(nuc_budget_t *budget, size_t size, uint64_t now)
{
    uint64_t passed = now - budget->counted_at, seconds;

    if (passed >= NUC_BUDGET_COUNT) {
        budget->rated = passed < NUC_BUDGET_STALE;
        budget->rate = (budget->given - budget->counted) * 1000 / passed;
        budget->counted = budget->given;
        budget->counted_at = now;
    }

    if (!budget->rated) {
        return 1;
    }

    if (budget->rate == 0) {
        return NUC_BUDGET_STALLED;
    }

    seconds = size / budget->rate + 1;

    return seconds > NUC_BUDGET_WAIT_MAX ? NUC_BUDGET_WAIT_MAX : (unsigned) seconds;
}
