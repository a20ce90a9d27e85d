/*
 * The memory budget: who gets how much, who always finds room, and the books.
 */

#include <stdlib.h>

#include "nuc_budget.h"
#include "tap.h"

#define MAX  1000000u /* the budget, in bytes */
#define STEP 10u      /* what floods ask for at a time */

static nuc_budget_t budget;

/* Take "size" bytes and forget where; 1 when it was granted. */
static int take(const char *tenant, uint64_t address, size_t size)
{
    nuc_account_t *account = NULL;

    return nuc_budget_take(&budget, &account, nuc_str(tenant), address, size, 0) ==
           NUC_OK;
}

static size_t flood(const char *tenant, uint64_t address)
{
    size_t got = 0;

    while (take(tenant, address, STEP)) {
        got += STEP;
    }

    return got;
}

/* All take in turn until none gets anything; what each has then must be this. */
static void storm(size_t tenants, size_t addresses, size_t want)
{
    size_t t, a, granted, got[8][64] = {{0}}, least = MAX, most = 0;
    char name[32];

    nuc_budget_init(&budget, MAX, 7);

    do {
        granted = 0;

        for (t = 0; t < tenants; t++) {
            snprintf(name, sizeof(name), "tenant-%zu", t);

            for (a = 0; a < addresses; a++) {
                if (take(name, a, STEP)) {
                    got[t][a] += STEP;
                    granted++;
                }
            }
        }
    } while (granted > 0);

    for (t = 0; t < tenants; t++) {
        for (a = 0; a < addresses; a++) {
            least = got[t][a] < least ? got[t][a] : least;
            most = got[t][a] > most ? got[t][a] : most;
        }
    }

    ok(most - least <= 2 * STEP, "%zu tenants, %zu addresses each: all get the same",
       tenants, addresses);
    ok(most <= want + 2 * STEP && least + 2 * STEP >= want,
       "%zu tenants, %zu addresses each: %zu bytes, should be %zu", tenants, addresses,
       most, want);

    ok(take("newcomer", 99, STEP), "a newcomer finds room");
    ok(take("tenant-0", 99, STEP), "and so does another address of a tenant that floods");
    ok(budget.used <= MAX, "never over the budget");

    nuc_budget_free(&budget);
}

static void test_shares(void)
{
    nuc_account_t *account = NULL;

    nuc_budget_init(&budget, MAX, 1);

    is_int(nuc_budget_most(&budget), MAX / 2, "one address may have half");
    ok(!take("a", 1, MAX / 2 + 1), "not more than half at once");
    is_int(budget.accounts, 0, "who was refused has no account");
    is_int((long long) nuc_budget_used(&budget, nuc_str("a")), 0,
           "nobody holds anything");
    is_int(nuc_budget_take(&budget, &account, nuc_str("a"), 1, MAX / 2, 0), NUC_OK,
           "half");
    is_int((long long) nuc_budget_used(&budget, nuc_str("a")), MAX / 2, "which it holds");
    ok(!take("a", 1, 1), "and then not a byte more");
    ok(!take("b", 1, MAX / 4 + 1), "a newcomer: not more than half of what is left");
    ok(take("b", 1, MAX / 4), "a newcomer: half of what is left");
    nuc_budget_give(&budget, account, MAX / 2);
    is_int(budget.used, MAX / 4, "returned");
    nuc_budget_free(&budget);

    nuc_budget_init(&budget, MAX, 1);
    is_int(flood("a", 1), MAX / 2, "in small steps, too");
    ok(flood("a", 2) > 0, "a second address of the tenant");
    ok(flood("b", 2) > 0, "the same address under another tenant");
    nuc_budget_free(&budget);

    /* what all take together, by the rule, when each wants more than there is */
    storm(1, 1, MAX / 2);
    storm(1, 2, 2 * MAX / 7);
    storm(1, 64, 2 * MAX / 193);
    storm(2, 1, MAX / 3);
    storm(8, 1, MAX / 9);
    storm(8, 64, 2 * MAX / (1 + 64 + 2 * 8 * 64));
}

/* What takes the place of other bytes needs room for both, but no larger share. */
static void test_instead(void)
{
    nuc_account_t *account = NULL;
    nuc_str_t a = nuc_str("a");

    nuc_budget_init(&budget, MAX, 1);

    nuc_budget_take(&budget, &account, a, 1, 400000, 0);
    is_int(nuc_budget_take(&budget, &account, a, 1, 400000, 0), NUC_BUSY,
           "twice: too much");
    is_int(nuc_budget_take(&budget, &account, a, 1, 400000, 400000), NUC_OK,
           "a copy of it");
    is_int(budget.used, 800000, "both are there");
    nuc_budget_give(&budget, account, 400000);
    is_int(budget.used, 400000, "and then one");
    is_int(account->used, 400000, "in its account");

    is_int(nuc_budget_take(&budget, &account, a, 1, 600001, 400000), NUC_BUSY,
           "no room for both");
    is_int(flood("b", 1), 300000, "another comes");
    ok(!take("a", 1, 1), "and the share is smaller now than what is held");
    is_int(nuc_budget_take(&budget, &account, a, 1, 199999, 100000), NUC_OK,
           "up to twice a part of it");
    nuc_budget_give(&budget, account, 199999);
    is_int(nuc_budget_take(&budget, &account, a, 1, 200000, 100000), NUC_BUSY,
           "not more");
    is_int(account->used, 400000, "who was refused holds what he held");
    nuc_budget_give(&budget, account, 400000);
    is_int(budget.used, 300000, "what the other took stays");
    nuc_budget_free(&budget);

    nuc_budget_init(&budget, MAX, 1);
    account = NULL;
    nuc_budget_take(&budget, &account, a, 1, 1000, 0);
    nuc_budget_give(&budget, account, 1000);

    is_int(budget.used, 0, "all is returned");
    is_int(budget.accounts, 0, "and nobody has an account");
    nuc_budget_free(&budget);
}

/* A steady state allocates nothing, and a peak does not stay. */
static void test_memory(void)
{
    uint64_t i, granted = 0;
    nuc_account_t *first = NULL, *again = NULL, *accounts[3000] = {NULL};
    nuc_str_t a = nuc_str("a");

    nuc_budget_init(&budget, MAX, 1);

    nuc_budget_take(&budget, &first, a, 1, STEP, 0);
    nuc_budget_give(&budget, first, STEP);
    is_int(budget.nkept, 2, "the accounts of tenant and address are kept");
    nuc_budget_take(&budget, &again, nuc_str("b"), 2, STEP, 0);
    is_int(budget.nkept, 0, "for the next ones");
    nuc_budget_give(&budget, again, STEP);

    for (i = 0; i < 3000; i++) {
        if (nuc_budget_take(&budget, &accounts[i], a, i, 1, 0) == NUC_OK) {
            granted++;
        }
    }

    is_int(granted, 3000, "3000 addresses");
    is_int(budget.accounts, 3001, "each with an account");

    for (i = 0; i < 3000; i++) {
        nuc_budget_give(&budget, accounts[i], 1);
    }

    is_int(budget.accounts, 0, "gone with their bytes");
    ok(budget.nkept <= 1024, "most of their memory, too");
    nuc_budget_free(&budget);
}

/* Many at random, against plain sums. */
static void test_books(void)
{
    enum {
        HOLDS = 500,
        TENANTS = 7,
        ADDRESSES = 11
    };
    static const char *const names[TENANTS] = {
        "a",
        "b",
        "abcdefgh",
        "abcdefghi",
        "abcdefgh-",
        "0",
        "x123456789012345678901234567890123456789012345678901234567890123"};
    struct {
        nuc_account_t *account;
        int tenant, address;
        size_t size;
    } hold[HOLDS] = {0};
    size_t i, t, a, n, tenant_used, address_used, used = 0, busy = 0, wrong = 0;

    nuc_budget_init(&budget, MAX, 42);
    srand(5);

    for (n = 0; n < 200000; n++) {
        i = (size_t) rand() % HOLDS;

        if (hold[i].size > 0) {
            nuc_budget_give(&budget, hold[i].account, hold[i].size);
            used -= hold[i].size;
            hold[i].size = 0;
            hold[i].account = NULL;
            wrong += budget.used != used;
            continue;
        }

        t = (size_t) rand() % TENANTS;
        a = (size_t) rand() % ADDRESSES;
        hold[i].size = 1 + (size_t) rand() % (rand() % 10 ? 2000 : 200000);
        tenant_used = address_used = hold[i].size;

        for (size_t k = 0; k < HOLDS; k++) {
            if (k != i && hold[k].size > 0 && hold[k].tenant == (int) t) {
                tenant_used += hold[k].size;
                address_used += hold[k].address == (int) a ? hold[k].size : 0;
            }
        }

        hold[i].tenant = (int) t;
        hold[i].address = (int) a;

        int may = used + hold[i].size <= MAX &&
                  address_used + tenant_used <= 2 * (MAX - used - hold[i].size);

        if (nuc_budget_take(&budget, &hold[i].account, nuc_str(names[t]), a, hold[i].size,
                            0) == NUC_OK) {
            wrong += !may;
            used += hold[i].size;
        } else {
            wrong += may;
            busy++;
            hold[i].size = 0;
        }

        wrong += budget.used != used;
    }

    is_int(wrong, 0, "200,000 at random agree with the rule and with plain sums");
    ok(busy > 1000 && busy < 100000, "%zu of them were refused", busy);

    for (i = 0; i < HOLDS; i++) {
        if (hold[i].size > 0) {
            nuc_budget_give(&budget, hold[i].account, hold[i].size);
        }
    }

    is_int(budget.used, 0, "all is returned");
    is_int(budget.accounts, 0, "no account is left");
    nuc_budget_free(&budget);
}

static void test_wait(void)
{
    nuc_account_t *account = NULL;

    nuc_budget_init(&budget, MAX, 1);
    nuc_budget_take(&budget, &account, nuc_str("a"), 1, 100000, 0);

    is_int(nuc_budget_wait(&budget, 50000, 1000000), 1, "nothing is known yet: a second");
    is_int(nuc_budget_wait(&budget, 50000, 1000999), 1, "nor a moment later");
    is_int(nuc_budget_wait(&budget, 50000, 1002000), 10,
           "nothing was returned: 10 seconds");

    nuc_budget_give(&budget, account, 20000);
    is_int(nuc_budget_wait(&budget, 50000, 1004000), 6, "10,000 bytes a second");
    is_int(nuc_budget_wait(&budget, 5000, 1004001), 1, "fewer bytes");
    is_int(nuc_budget_wait(&budget, 900000000, 1004002), 60, "a minute at most");
    is_int(nuc_budget_wait(&budget, 50000, 2004002), 1,
           "a pace of long ago is not the pace");

    nuc_budget_give(&budget, account, 80000);
    nuc_budget_free(&budget);
}

int main(void)
{
    test_shares();
    test_instead();
    test_memory();
    test_books();
    test_wait();

    return tap_done();
}
