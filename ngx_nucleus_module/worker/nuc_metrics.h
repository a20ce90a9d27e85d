/*
 * The worker's page of metrics; docs/metrics.md says what each means.
 */

#ifndef NUC_METRICS_H
#define NUC_METRICS_H

#include "nuc_exposition.h"
#include "nuc_meter.h"
#include "nuc_status.h"

/* The writers of a pipeline that have series of their own; those above it, the oldest,
 * are source="_other" together. */
#define NUC_METRICS_SOURCES 64

/* A child of the supervisor, and what it counts. */
typedef struct {
    nuc_role_t role;
    const char *name;
    const nuc_meter_t *meter;
} nuc_metered_t;

/* Appends; the caller looks at out->failed. */
void nuc_metrics_page(const nuc_status_all_t *all, const nuc_worker_conf_t *conf,
                      const nuc_metered_t *metered, size_t count,
                      nuc_exposition_format_t format, nuc_buf_t *out);

#endif /* NUC_METRICS_H */
