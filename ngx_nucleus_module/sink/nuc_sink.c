#include "nuc_sink.h"

static const nuc_sink_ops_t *const nuc_sinks[] = {
    &nuc_sink_file,
};

const nuc_sink_ops_t *nuc_sink_find(const char *name)
{
    size_t i;

    for (i = 0; i < sizeof(nuc_sinks) / sizeof(nuc_sinks[0]); i++) {
        if (strcmp(nuc_sinks[i]->name, name) == 0) {
            return nuc_sinks[i];
        }
    }

    return NULL;
}
