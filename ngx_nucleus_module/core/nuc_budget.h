/*
 * A budget of bytes, shared between tenants and, within a tenant, between addresses.
 *
 * The rule is that of dynamic thresholds (A. K. Choudhury and E. L. Hahne, "Dynamic Queue
 * Length Thresholds for Shared-Memory Packet Switches", IEEE/ACM Transactions on
 * Networking 6(2), 1998): a share's limit is a multiple of what is free.  So it follows
 * the demand without anybody counting shares, and something always stays free for who
 * comes next.  Here, after each reservation,
 *
 *     bytes of the tenant <= 2 * free bytes                                        (1)
 *     bytes of the address <= 2 * free bytes - bytes of its tenant                 (2)
 *
 * where (2) says the same of the address within what its tenant may have, and implies
 * (1). One address alone gets 1/2 of the budget, a tenant of many addresses up to 2/3,
 * and of n tenants that all want more than there is each gets 2/(1 + 2n), while 1/(1 +
 * 2n) stays free.
 *
 * Reserving and returning take constant time.  An account that holds nothing is gone; the
 * memory of some is kept, so that a steady state allocates nothing.
 */

#ifndef NUC_BUDGET_H
#define NUC_BUDGET_H

#include <stddef.h>
#include <stdint.h>

#include "nuc_err.h"
#include "nuc_name.h"
#include "nuc_str.h"

#define NUC_BUDGET_BUCKETS 4096 /* a power of two */

typedef struct nuc_account_s nuc_account_t;

/* Treat as opaque: what one address of one tenant holds, or all of a tenant. */
struct nuc_account_s {
    nuc_account_t *next;   /* in its bucket, or in the list of those kept */
    nuc_account_t *tenant; /* whose address it is; NULL for a tenant */
    size_t used;           /* bytes */
    uint64_t address;
    uint8_t name[NUC_NAME_MAX];
    uint8_t name_len; /* 0 for an address */
};

typedef struct {
    size_t max;      /* bytes */
    size_t used;     /* bytes; never more than max */
    size_t accounts; /* that hold something */
    uint64_t seed;
    nuc_account_t *kept;
    size_t nkept;
    uint64_t given;      /* bytes returned, ever */
    uint64_t counted;    /* "given" at "counted_at" */
    uint64_t counted_at; /* ms */
    uint64_t rate;       /* bytes/s returned between the last two counts */
    int rated;           /* there were two */
    nuc_account_t *buckets[NUC_BUDGET_BUCKETS];
} nuc_budget_t;

/* "seed" is secret, so that nobody can choose names that fall into one bucket. */
void nuc_budget_init(nuc_budget_t *budget, size_t max, uint64_t seed);

/* All that was reserved must have been returned, or is forgotten. */
void nuc_budget_free(nuc_budget_t *budget);

/*
 * Reserve "size" bytes for an address of a tenant, and set *account to where they are to
 * be returned; one that is not NULL is used as it is, and "tenant" and "address" are not
 * looked at. "instead" bytes of that account are about to be returned: there must be room
 * for both, but up to twice as many are not measured against the share, which others may
 * have made smaller since.
 *
 * NUC_BUSY: there is no room, or it would be more than the share.  NUC_NOMEM.  *account
 * is then what it was.
 */
nuc_rc_t nuc_budget_take(nuc_budget_t *budget, nuc_account_t **account, nuc_str_t tenant,
                         uint64_t address, size_t size, size_t instead);

/* Bytes that the tenant holds. */
size_t nuc_budget_used(nuc_budget_t *budget, nuc_str_t tenant);

/* Return some of what was reserved.  The account is gone when it holds nothing more. */
void nuc_budget_give(nuc_budget_t *budget, nuc_account_t *account, size_t size);

/* The most that one address can ever hold, and so the most of one request. */
static inline size_t nuc_budget_most(const nuc_budget_t *budget)
{
    return budget->max / 2;
}

/*
 * What Retry-After should say to who was refused "size" bytes: the seconds, from 1 to 60,
 * in which as many are returned at the pace seen between refusals of late.  "now" in ms,
 * on a clock that never goes back.
 */
unsigned nuc_budget_wait(nuc_budget_t *budget, size_t size, uint64_t now);

#endif /* NUC_BUDGET_H */
