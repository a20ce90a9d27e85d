#include "nuc_last_used.h"

#include "nuc_key.h"

/* An id, a space, decimal digits. */
static int nuc_last_used_parse(nuc_str_t line, void *item)
{
    nuc_last_used_t *use = item;
    size_t i = NUC_KEY_ID_LEN + 1;

    return line.len > i && line.data[NUC_KEY_ID_LEN] == ' ' &&
           nuc_key_id_parse((nuc_str_t){line.data, NUC_KEY_ID_LEN}, &use->id) == NUC_OK &&
           nuc_notes_number((nuc_str_t){line.data + i, line.len - i}, &use->seconds);
}

static void nuc_last_used_print(const void *item, nuc_buf_t *out)
{
    const nuc_last_used_t *use = item;
    char id[NUC_KEY_ID_LEN + 1];

    nuc_key_id_text(use->id, id);
    nuc_buf_printf(out, "%s %llu\n", id, (unsigned long long) use->seconds);
}

/* By id, and of one id the newest first. */
static int nuc_last_used_compare(const void *a, const void *b)
{
    const nuc_last_used_t *x = a, *y = b;

    if (x->id != y->id) {
        return x->id < y->id ? -1 : 1;
    }

    return x->seconds == y->seconds ? 0 : x->seconds > y->seconds ? -1 : 1;
}

static int nuc_last_used_same(const void *a, const void *b)
{
    const nuc_last_used_t *x = a, *y = b;

    return x->id == y->id;
}

const nuc_notes_kind_t nuc_last_used_notes = {
    .file = NUC_LAST_USED_FILE,
    .lock = NUC_LAST_USED_FILE ".lock",
    .size = sizeof(nuc_last_used_t),
    .parse = nuc_last_used_parse,
    .print = nuc_last_used_print,
    .compare = nuc_last_used_compare,
    .same = nuc_last_used_same,
};

nuc_rc_t nuc_last_used_read(const nuc_sys_t *sys, const char *dir, nuc_last_used_t **uses,
                            size_t *count, nuc_err_t *err)
{
    void *items = NULL;
    nuc_rc_t rc = nuc_notes_read(sys, &nuc_last_used_notes, dir, &items, count, err);

    *uses = items;

    return rc;
}

uint64_t nuc_last_used_find(const nuc_last_used_t *uses, size_t count, uint64_t id)
{
    size_t low = 0, high = count;

    while (low < high) {
        size_t middle = (low + high) / 2;

        if (uses[middle].id == id) {
            return uses[middle].seconds;
        }

        if (uses[middle].id < id) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }

    return 0;
}
