/*
 * Who runs this, and from where, for the audit.
 */

#ifndef NUC_CTL_ACTOR_H
#define NUC_CTL_ACTOR_H

#include <stddef.h>

/* "alice (1000)", or "alice (1000) as root (0)" through sudo. */
void nuc_actor_who(char *out, size_t size);

/* "ssh 192.0.2.7", "terminal pts/3", or "local" without a terminal. */
void nuc_actor_from(char *out, size_t size);

#endif /* NUC_CTL_ACTOR_H */
