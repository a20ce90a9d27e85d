/*
 * Metrics as text, for nginx and the worker alike: Prometheus' text format 0.0.4,
 * OpenMetrics 1.0, or JSON.  Families come one after the other, each with all of its
 * samples (OpenMetrics 1.0, "MetricFamily"); the text may be taken out of the buffer
 * between any two calls, so that a long page is made in pieces.
 *
 * In JSON it is {"metrics":[{"name","type","unit","help","samples":[{"labels":{…},
 * "value"}]}]}, a histogram's samples having "count", "sum" and "buckets" (cumulative, by
 * upper bound) instead of "value".
 */

#ifndef NUC_EXPOSITION_H
#define NUC_EXPOSITION_H

#include "nuc_buf.h"
#include "nuc_histogram.h"
#include "nuc_str.h"

typedef enum {
    NUC_EXPOSITION_PROMETHEUS,
    NUC_EXPOSITION_OPENMETRICS,
    NUC_EXPOSITION_JSON
} nuc_exposition_format_t;

typedef enum {
    NUC_METRIC_COUNTER,
    NUC_METRIC_GAUGE,
    NUC_METRIC_HISTOGRAM
} nuc_metric_type_t;

/*
 * The name without "_total", which a counter's gets; it ends with "_" and the unit, if
 * there is one (OpenMetrics 1.0, "Unit").
 */
typedef struct {
    const char *name;
    nuc_metric_type_t type;
    const char *unit; /* seconds, bytes; NULL: none */
    const char *help;
} nuc_metric_t;

typedef struct {
    const char *name;
    nuc_str_t value; /* any bytes; they are escaped */
} nuc_label_t;

typedef struct {
    nuc_buf_t *out;
    nuc_exposition_format_t format;
    const nuc_metric_t *family; /* NULL: none was begun */
    int has_samples;            /* the family */
} nuc_exposition_t;

/*
 * The format for an Accept header (RFC 9110, section 12.5.1; NULL data: none): JSON or
 * OpenMetrics where it is asked for by name and not with less weight than the others,
 * else Prometheus'.
 */
nuc_exposition_format_t nuc_exposition_negotiate(nuc_str_t accept);
const char *nuc_exposition_content_type(nuc_exposition_format_t format);

/* "out" stays the caller's, who looks at out->failed. */
void nuc_exposition_begin(nuc_exposition_t *exposition, nuc_exposition_format_t format,
                          nuc_buf_t *out);

/* "metric" stays until the next. */
void nuc_exposition_family(nuc_exposition_t *exposition, const nuc_metric_t *metric);
void nuc_exposition_number(nuc_exposition_t *exposition, const nuc_label_t *labels,
                           size_t nlabels, uint64_t value);
void nuc_exposition_real(nuc_exposition_t *exposition, const nuc_label_t *labels,
                         size_t nlabels, double value);
void nuc_exposition_histogram(nuc_exposition_t *exposition, const nuc_label_t *labels,
                              size_t nlabels, const nuc_histogram_kind_t *kind,
                              const nuc_histogram_t *histogram);
void nuc_exposition_end(nuc_exposition_t *exposition);

#endif /* NUC_EXPOSITION_H */
