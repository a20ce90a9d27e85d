/*
 * Names of tenants, streams and pipelines: they become path components, metric labels and
 * topic names, so they are [a-z0-9][a-z0-9._-]{0,63} and nothing else.
 */

#ifndef NUC_NAME_H
#define NUC_NAME_H

#include "nuc_str.h"

#define NUC_NAME_MAX 64

int nuc_name_valid(nuc_str_t name);

#endif /* NUC_NAME_H */
