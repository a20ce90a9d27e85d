#include "nuc_name.h"

static int nuc_name_alnum(uint8_t c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

int nuc_name_valid(nuc_str_t name)
{
    size_t i;

    if (name.len == 0 || name.len > NUC_NAME_MAX || !nuc_name_alnum(name.data[0])) {
        return 0;
    }

    for (i = 1; i < name.len; i++) {
        if (!nuc_name_alnum(name.data[i]) && name.data[i] != '.' && name.data[i] != '_' &&
            name.data[i] != '-') {
            return 0;
        }
    }

    return 1;
}
