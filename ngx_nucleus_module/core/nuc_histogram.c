#include "nuc_histogram.h"

static const uint64_t nuc_seconds_bounds[] = {500,     1000,    2500,    5000,    10000,
                                              25000,   50000,   100000,  250000,  500000,
                                              1000000, 2500000, 5000000, 10000000};

static const char *const nuc_seconds_texts[] = {
    "0.0005", "0.001", "0.0025", "0.005", "0.01", "0.025", "0.05",
    "0.1",    "0.25",  "0.5",    "1.0",   "2.5",  "5.0",   "10.0"};

const nuc_histogram_kind_t nuc_histogram_seconds = {
    .bounds = nuc_seconds_bounds,
    .texts = nuc_seconds_texts,
    .count = sizeof(nuc_seconds_bounds) / sizeof(nuc_seconds_bounds[0]),
    .per_unit = 1000000,
};

static const uint64_t nuc_records_bounds[] = {1,   2,   5,    10,   20,    50,    100,
                                              200, 500, 1000, 2000, 10000, 100000};

static const char *const nuc_records_texts[] = {
    "1.0",   "2.0",   "5.0",    "10.0",   "20.0",    "50.0",    "100.0",
    "200.0", "500.0", "1000.0", "2000.0", "10000.0", "100000.0"};

const nuc_histogram_kind_t nuc_histogram_records = {
    .bounds = nuc_records_bounds,
    .texts = nuc_records_texts,
    .count = sizeof(nuc_records_bounds) / sizeof(nuc_records_bounds[0]),
    .per_unit = 1,
};
