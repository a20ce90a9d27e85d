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

const nuc_sink_option_t *nuc_sink_next_dir(const nuc_sink_ops_t *sink,
                                           const void *options,
                                           const nuc_sink_option_t *after,
                                           const char **dir)
{
    const nuc_sink_option_t *option;

    option = after == NULL ? sink->options : after + 1;

    for (/* void */; option->name != NULL; option++) {
        if (option->type == NUC_SINK_DIR) {
            *dir = *(const char *const *) ((const char *) options + option->offset);
            return option;
        }
    }

    return NULL;
}
