/*
 * Memory that runs out at the Nth allocation.  For programs that the Makefile links with
 * --wrap; in others nothing ever fails.
 */

#ifndef NOMEM_H
#define NOMEM_H

/*
 * The n-th allocation from now on (from 1) fails, and the "count" - 1 after it.  0: none
 * does.  Counts in all threads.
 */
void nomem_fail_at(unsigned n, unsigned count);

/* How many have failed since. */
unsigned nomem_failed(void);

#endif /* NOMEM_H */
