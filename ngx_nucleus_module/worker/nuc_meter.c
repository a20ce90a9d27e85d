#include "nuc_meter.h"

#include <errno.h>
#include <sys/mman.h>

nuc_meter_t *nuc_meter_create(nuc_err_t *err)
{
    void *block;

    block = mmap(NULL, sizeof(nuc_meter_t), PROT_READ | PROT_WRITE,
                 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (block == MAP_FAILED) {
        nuc_err_sys(err, NUC_NOMEM, errno, "mmap failed");
        return NULL;
    }

    return block;
}

void nuc_meter_destroy(nuc_meter_t *meter)
{
    if (meter != NULL) {
        munmap(meter, sizeof(*meter));
    }
}

void nuc_meter_delivered(nuc_meter_t *meter, uint64_t us, uint64_t now)
{
    nuc_meter_add(&meter->delivery[nuc_histogram_bucket(&nuc_histogram_seconds, us)], 1);
    nuc_meter_add(&meter->delivery_sum, us);
    nuc_meter_add(&meter->batches, 1);
    nuc_meter_set(&meter->last_delivery, now);
}

void nuc_meter_delivery(const nuc_meter_t *meter, nuc_histogram_t *histogram)
{
    size_t i;

    for (i = 0; i < NUC_HISTOGRAM_BUCKETS; i++) {
        histogram->buckets[i] = nuc_meter_get(&meter->delivery[i]);
    }

    histogram->sum = nuc_meter_get(&meter->delivery_sum);
}
