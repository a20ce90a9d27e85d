#include "nuc_ctl_last_used.h"

#include <stdlib.h>

#include "nuc_fs.h"
#include "nuc_key.h"

#define NUC_LAST_USED_FILE "last-used"
#define NUC_LAST_USED_MAX  (64u << 20) /* bytes */

static int nuc_last_used_cmp(const void *a, const void *b)
{
    const nuc_last_used_entry_t *x = a, *y = b;

    return x->id != y->id ? (x->id > y->id) - (x->id < y->id)
                          : (x->seconds > y->seconds) - (x->seconds < y->seconds);
}

/* A line that is none is passed: the file may be written just now. */
static void nuc_last_used_line(nuc_last_used_t *used, const char *line)
{
    char *end;
    nuc_last_used_entry_t *entry = &used->entries[used->count];

    if (strnlen(line, NUC_KEY_ID_LEN + 1) <= NUC_KEY_ID_LEN ||
        line[NUC_KEY_ID_LEN] != ' ' ||
        nuc_key_id_parse((nuc_str_t){(const uint8_t *) line, NUC_KEY_ID_LEN},
                         &entry->id) != NUC_OK) {
        return;
    }

    entry->seconds = strtoull(line + NUC_KEY_ID_LEN + 1, &end, 10);
    used->count += *end == '\0' && entry->seconds < INT64_MAX / 1000000;
}

static nuc_rc_t nuc_last_used_parse(nuc_last_used_t *used, char *text, nuc_err_t *err)
{
    size_t lines;
    char *p, *line, *rest;

    for (p = text, lines = 1; *p != '\0'; p++) {
        lines += *p == '\n';
    }

    used->entries = calloc(lines, sizeof(*used->entries));

    if (used->entries == NULL) {
        return nuc_err_set(err, NUC_NOMEM, "no memory to read when keys were used");
    }

    for (rest = text; (line = strsep(&rest, "\n")) != NULL;) {
        nuc_last_used_line(used, line);
    }

    qsort(used->entries, used->count, sizeof(*used->entries), nuc_last_used_cmp);

    return NUC_OK;
}

nuc_rc_t nuc_last_used_load(const nuc_sys_t *sys, const char *dir, nuc_last_used_t *used,
                            nuc_err_t *err)
{
    nuc_rc_t rc;
    char path[NUC_PATH_MAX];
    nuc_buf_t text = NUC_BUF_INIT;

    *used = (nuc_last_used_t){.entries = NULL};
    rc = nuc_path_join(path, dir, NUC_LAST_USED_FILE, err);

    if (rc != NUC_OK) {
        return rc;
    }

    rc = nuc_fs_read_file(sys, path, NUC_LAST_USED_MAX, &text, err);

    if (rc == NUC_OK) {
        nuc_buf_char(&text, '\0');
        rc = text.failed ? nuc_err_set(err, NUC_NOMEM, "no memory to read \"%s\"", path)
                         : nuc_last_used_parse(used, (char *) text.data, err);
    } else if (rc == NUC_NOT_FOUND) {
        rc = NUC_OK;
    }

    nuc_buf_free(&text);

    return rc;
}

uint64_t nuc_last_used(const nuc_last_used_t *used, uint64_t id)
{
    size_t low = 0, high = used->count, middle;

    /* behind the last of that id, which is its latest */
    while (low < high) {
        middle = (low + high) / 2;

        if (used->entries[middle].id <= id) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }

    return low > 0 && used->entries[low - 1].id == id ? used->entries[low - 1].seconds
                                                      : 0;
}
