/*
 * nucleus-worker --verify DIR: explains the state of a queue directory, or of a worker's
 * state directory, to a person or as JSON.
 */

#ifndef NUC_VERIFY_H
#define NUC_VERIFY_H

/* What to exit with: 0 nothing is damaged, 1 something is, 2 it could not be looked at.
 */
int nuc_verify_command(const char *dir, int json);

#endif /* NUC_VERIFY_H */
