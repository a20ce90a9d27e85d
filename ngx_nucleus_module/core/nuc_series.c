#include "nuc_series.h"

#include <string.h>

#include "nuc_siphash.h"

#define NUC_SERIES_ALIGN  64
#define NUC_SERIES_PROBES 64 /* places that are looked at for one pair of names */

struct nuc_series_table_s {
    uint64_t key[2];
    uint64_t count; /* of places, with that of the others */
    _Alignas(NUC_SERIES_ALIGN) nuc_series_t places[];
};

static void nuc_series_name(nuc_series_t *series, nuc_str_t tenant, nuc_str_t stream)
{
    memcpy(series->tenant, tenant.data, tenant.len);
    memcpy(series->stream, stream.data, stream.len);
    series->tenant_len = (uint8_t) tenant.len;
    series->stream_len = (uint8_t) stream.len;
    atomic_store_explicit(&series->named, 1, memory_order_release);
}

nuc_series_table_t *nuc_series_init(void *memory, size_t size, const uint64_t key[2])
{
    size_t skip = -(uintptr_t) memory & (NUC_SERIES_ALIGN - 1);
    nuc_series_table_t *table;

    if (size < skip + sizeof(*table) + 2 * sizeof(nuc_series_t)) {
        return NULL;
    }

    table = (void *) ((char *) memory + skip);
    memset(table, 0, size - skip);
    table->key[0] = key[0];
    table->key[1] = key[1];
    table->count = (size - skip - sizeof(*table)) / sizeof(nuc_series_t);
    nuc_series_name(&table->places[0], NUC_STR("_other"), NUC_STR("_other"));

    return table;
}

/* A name holds no zero byte, so that it separates the two. */
static uint64_t nuc_series_tag(const nuc_series_table_t *table, nuc_str_t tenant,
                               nuc_str_t stream)
{
    uint64_t tag;
    uint8_t both[2 * NUC_NAME_MAX + 1];

    if (tenant.len != 0) {
        memcpy(both, tenant.data, tenant.len);
    }

    both[tenant.len] = '\0';

    if (stream.len != 0) {
        memcpy(both + tenant.len + 1, stream.data, stream.len);
    }

    tag = nuc_siphash(table->key, both, tenant.len + 1 + stream.len);

    return tag != 0 ? tag : 1;
}

nuc_series_t *nuc_series_get(nuc_series_table_t *table, nuc_str_t tenant,
                             nuc_str_t stream)
{
    size_t i, place, places = table->count - 1;
    uint64_t tag = nuc_series_tag(table, tenant, stream), found;
    nuc_series_t *series;

    place = (size_t) (((unsigned __int128) tag * places) >> 64);

    for (i = 0; i < NUC_SERIES_PROBES && i < places; i++) {
        series = &table->places[1 + place];
        place = place + 1 < places ? place + 1 : 0;
        found = atomic_load(&series->tag);

        if (found == 0) {
            (void) atomic_compare_exchange_strong(&series->tag, &found, tag);
            found = atomic_load(&series->tag);
        }

        if (found == tag) {
            if (!atomic_load_explicit(&series->named, memory_order_acquire)) {
                nuc_series_name(series, tenant, stream);
            }

            return series;
        }
    }

    return &table->places[0];
}

size_t nuc_series_count(const nuc_series_table_t *table)
{
    return table->count;
}

nuc_series_t *nuc_series_at(nuc_series_table_t *table, size_t i)
{
    nuc_series_t *series = &table->places[i];

    return atomic_load_explicit(&series->named, memory_order_acquire) ? series : NULL;
}
