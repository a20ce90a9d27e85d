#include "nuc_exposition.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* Which format. */

static nuc_str_t nuc_accept_trim(nuc_str_t s)
{
    while (s.len && (s.data[0] == ' ' || s.data[0] == '\t')) {
        s.data++;
        s.len--;
    }

    while (s.len && (s.data[s.len - 1] == ' ' || s.data[s.len - 1] == '\t')) {
        s.len--;
    }

    return s;
}

/* What stands before "end", which is passed. */
static nuc_str_t nuc_accept_cut(nuc_str_t *s, uint8_t end)
{
    const uint8_t *found = s->len ? memchr(s->data, end, s->len) : NULL;
    nuc_str_t cut = {s->data, found ? (size_t) (found - s->data) : s->len};

    s->data += cut.len + (found != NULL);
    s->len -= cut.len + (found != NULL);

    return nuc_accept_trim(cut);
}

/* RFC 9110, section 12.4.2, in thousandths; what is no weight is none. */
static unsigned nuc_accept_weight(nuc_str_t value)
{
    unsigned weight = 0, unit = 1000;

    if (value.len == 0 || value.len > 5 ||
        (value.data[0] != '0' && value.data[0] != '1')) {
        return 0;
    }

    for (size_t i = 0; i < value.len; i++) {
        if (i == 1) {
            if (value.data[i] != '.') {
                return 0;
            }
            continue;
        }
        if (value.data[i] < '0' || value.data[i] > '9') {
            return 0;
        }
        weight += unit * (value.data[i] - '0');
        unit /= 10;
    }

    return weight > 1000 ? 1000 : weight;
}

static unsigned nuc_accept_item_weight(nuc_str_t parameters)
{
    while (parameters.len) {
        nuc_str_t parameter = nuc_accept_cut(&parameters, ';');

        if (parameter.len > 2 && (parameter.data[0] | 0x20) == 'q' &&
            parameter.data[1] == '=') {
            return nuc_accept_weight((nuc_str_t){parameter.data + 2, parameter.len - 2});
        }
    }

    return 1000;
}

static int nuc_accept_is(nuc_str_t type, const char *name)
{
    return type.len == strlen(name) &&
           strncasecmp((const char *) type.data, name, type.len) == 0;
}

nuc_exposition_format_t nuc_exposition_negotiate(nuc_str_t accept)
{
    static const char *const names[] = {
        [NUC_EXPOSITION_PROMETHEUS] = "text/plain",
        [NUC_EXPOSITION_OPENMETRICS] = "application/openmetrics-text",
        [NUC_EXPOSITION_JSON] = "application/json",
    };
    unsigned weights[sizeof(names) / sizeof(names[0])] = {0};

    while (accept.len) {
        nuc_str_t item = nuc_accept_cut(&accept, ',');
        nuc_str_t type = nuc_accept_cut(&item, ';');
        unsigned weight = nuc_accept_item_weight(item);

        for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
            if (nuc_accept_is(type, names[i]) && weight > weights[i]) {
                weights[i] = weight;
            }
        }
    }

    if (weights[NUC_EXPOSITION_OPENMETRICS] > 0 &&
        weights[NUC_EXPOSITION_OPENMETRICS] >= weights[NUC_EXPOSITION_PROMETHEUS] &&
        weights[NUC_EXPOSITION_OPENMETRICS] >= weights[NUC_EXPOSITION_JSON]) {
        return NUC_EXPOSITION_OPENMETRICS;
    }

    if (weights[NUC_EXPOSITION_JSON] > weights[NUC_EXPOSITION_PROMETHEUS]) {
        return NUC_EXPOSITION_JSON;
    }

    return NUC_EXPOSITION_PROMETHEUS;
}

const char *nuc_exposition_content_type(nuc_exposition_format_t format)
{
    static const char *const types[] = {
        [NUC_EXPOSITION_PROMETHEUS] = "text/plain; version=0.0.4; charset=utf-8",
        [NUC_EXPOSITION_OPENMETRICS] =
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
        [NUC_EXPOSITION_JSON] = "application/json",
    };

    return types[format];
}

/* The page. */

static const char *const nuc_metric_types[] = {
    [NUC_METRIC_COUNTER] = "counter",
    [NUC_METRIC_GAUGE] = "gauge",
    [NUC_METRIC_HISTOGRAM] = "histogram",
};

static const char *nuc_metric_suffix(const nuc_metric_t *metric)
{
    return metric->type == NUC_METRIC_COUNTER ? "_total" : "";
}

void nuc_exposition_begin(nuc_exposition_t *exposition, nuc_exposition_format_t format,
                          nuc_buf_t *out)
{
    *exposition = (nuc_exposition_t){.out = out, .format = format};

    if (format == NUC_EXPOSITION_JSON) {
        nuc_buf_str(out, NUC_STR("{\"metrics\":["));
    }
}

static void nuc_exposition_close_family(nuc_exposition_t *exposition)
{
    if (exposition->family != NULL && exposition->format == NUC_EXPOSITION_JSON) {
        nuc_buf_str(exposition->out, NUC_STR("]}"));
    }
}

static void nuc_exposition_json_family(nuc_exposition_t *exposition,
                                       const nuc_metric_t *metric)
{
    nuc_buf_t *out = exposition->out;

    nuc_buf_printf(out, "%s{\"name\":\"%s%s\",\"type\":\"%s\",",
                   exposition->family != NULL ? "," : "", metric->name,
                   nuc_metric_suffix(metric), nuc_metric_types[metric->type]);

    if (metric->unit != NULL) {
        nuc_buf_printf(out, "\"unit\":\"%s\",", metric->unit);
    }

    nuc_buf_str(out, NUC_STR("\"help\":"));
    nuc_buf_json(out, nuc_str(metric->help));
    nuc_buf_str(out, NUC_STR(",\"samples\":["));
}

void nuc_exposition_family(nuc_exposition_t *exposition, const nuc_metric_t *metric)
{
    nuc_buf_t *out = exposition->out;
    const char *suffix =
        exposition->format == NUC_EXPOSITION_PROMETHEUS ? nuc_metric_suffix(metric) : "";

    nuc_exposition_close_family(exposition);

    if (exposition->format == NUC_EXPOSITION_JSON) {
        nuc_exposition_json_family(exposition, metric);
    } else {
        nuc_buf_printf(out, "# HELP %s%s %s\n# TYPE %s%s %s\n", metric->name, suffix,
                       metric->help, metric->name, suffix,
                       nuc_metric_types[metric->type]);
    }

    if (exposition->format == NUC_EXPOSITION_OPENMETRICS && metric->unit != NULL) {
        nuc_buf_printf(out, "# UNIT %s %s\n", metric->name, metric->unit);
    }

    exposition->family = metric;
    exposition->has_samples = 0;
}

/* OpenMetrics 1.0, "escaped-string"; Prometheus' format escapes the same in labels. */
static void nuc_exposition_escape(nuc_buf_t *out, nuc_str_t value)
{
    for (size_t i = 0; i < value.len; i++) {
        switch (value.data[i]) {
        case '\\':
            nuc_buf_str(out, NUC_STR("\\\\"));
            break;
        case '"':
            nuc_buf_str(out, NUC_STR("\\\""));
            break;
        case '\n':
            nuc_buf_str(out, NUC_STR("\\n"));
            break;
        default:
            nuc_buf_char(out, (char) value.data[i]);
        }
    }
}

/* "le": the bound of a bucket, or NULL. */
static void nuc_exposition_labels(nuc_buf_t *out, const nuc_label_t *labels,
                                  size_t nlabels, const char *le)
{
    if (nlabels == 0 && le == NULL) {
        return;
    }

    nuc_buf_char(out, '{');

    for (size_t i = 0; i < nlabels; i++) {
        nuc_buf_printf(out, "%s%s=\"", i ? "," : "", labels[i].name);
        nuc_exposition_escape(out, labels[i].value);
        nuc_buf_char(out, '"');
    }

    if (le != NULL) {
        nuc_buf_printf(out, "%sle=\"%s\"", nlabels ? "," : "", le);
    }

    nuc_buf_char(out, '}');
}

static void nuc_exposition_json_labels(nuc_exposition_t *exposition,
                                       const nuc_label_t *labels, size_t nlabels)
{
    nuc_buf_t *out = exposition->out;

    nuc_buf_str(out, exposition->has_samples ? NUC_STR(",{\"labels\":{")
                                             : NUC_STR("{\"labels\":{"));
    exposition->has_samples = 1;

    for (size_t i = 0; i < nlabels; i++) {
        nuc_buf_printf(out, "%s\"%s\":", i ? "," : "", labels[i].name);
        nuc_buf_json(out, labels[i].value);
    }

    nuc_buf_char(out, '}');
}

static void nuc_exposition_sample(nuc_exposition_t *exposition, const nuc_label_t *labels,
                                  size_t nlabels, const char *value)
{
    nuc_buf_t *out = exposition->out;

    if (exposition->format == NUC_EXPOSITION_JSON) {
        nuc_exposition_json_labels(exposition, labels, nlabels);
        nuc_buf_printf(out, ",\"value\":%s}", value);
        return;
    }

    nuc_buf_printf(out, "%s%s", exposition->family->name,
                   nuc_metric_suffix(exposition->family));
    nuc_exposition_labels(out, labels, nlabels, NULL);
    nuc_buf_printf(out, " %s\n", value);
}

void nuc_exposition_number(nuc_exposition_t *exposition, const nuc_label_t *labels,
                           size_t nlabels, uint64_t value)
{
    char text[32];

    snprintf(text, sizeof(text), "%llu", (unsigned long long) value);
    nuc_exposition_sample(exposition, labels, nlabels, text);
}

/* "text" has 40 bytes.  JSON has no word for what is no number. */
static void nuc_exposition_real_text(const nuc_exposition_t *exposition, double value,
                                     char *text)
{
    if (isfinite(value)) {
        snprintf(text, 40, "%.15g", value);
    } else if (exposition->format == NUC_EXPOSITION_JSON) {
        strcpy(text, "null");
    } else {
        strcpy(text, isnan(value) ? "NaN" : value > 0 ? "+Inf" : "-Inf");
    }
}

void nuc_exposition_real(nuc_exposition_t *exposition, const nuc_label_t *labels,
                         size_t nlabels, double value)
{
    char text[40];

    nuc_exposition_real_text(exposition, value, text);
    nuc_exposition_sample(exposition, labels, nlabels, text);
}

void nuc_exposition_histogram(nuc_exposition_t *exposition, const nuc_label_t *labels,
                              size_t nlabels, const nuc_histogram_kind_t *kind,
                              const nuc_histogram_t *histogram)
{
    char sum[40];
    uint64_t total = 0;
    nuc_buf_t *out = exposition->out;
    int json = exposition->format == NUC_EXPOSITION_JSON;

    nuc_exposition_real_text(exposition,
                             (double) histogram->sum / (double) kind->per_unit, sum);

    if (json) {
        nuc_exposition_json_labels(exposition, labels, nlabels);
        nuc_buf_str(out, NUC_STR(",\"buckets\":{"));
    }

    for (size_t i = 0; i <= kind->count; i++) {
        const char *le = i < kind->count ? kind->texts[i] : "+Inf";

        total += histogram->buckets[i < kind->count ? i : NUC_HISTOGRAM_BUCKETS - 1];

        if (json) {
            nuc_buf_printf(out, "%s\"%s\":%llu", i ? "," : "", le,
                           (unsigned long long) total);
        } else {
            nuc_buf_printf(out, "%s_bucket", exposition->family->name);
            nuc_exposition_labels(out, labels, nlabels, le);
            nuc_buf_printf(out, " %llu\n", (unsigned long long) total);
        }
    }

    if (json) {
        nuc_buf_printf(out, "},\"count\":%llu,\"sum\":%s}", (unsigned long long) total,
                       sum);
        return;
    }

    nuc_buf_printf(out, "%s_sum", exposition->family->name);
    nuc_exposition_labels(out, labels, nlabels, NULL);
    nuc_buf_printf(out, " %s\n%s_count", sum, exposition->family->name);
    nuc_exposition_labels(out, labels, nlabels, NULL);
    nuc_buf_printf(out, " %llu\n", (unsigned long long) total);
}

void nuc_exposition_end(nuc_exposition_t *exposition)
{
    nuc_exposition_close_family(exposition);

    switch (exposition->format) {
    case NUC_EXPOSITION_JSON:
        nuc_buf_str(exposition->out, NUC_STR("]}\n"));
        break;
    case NUC_EXPOSITION_OPENMETRICS:
        nuc_buf_str(exposition->out, NUC_STR("# EOF\n"));
        break;
    default:
        break;
    }
}
