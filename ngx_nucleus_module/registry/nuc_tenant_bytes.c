#include "nuc_tenant_bytes.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "nuc_fs.h"
#include "nuc_notes.h"

/* bytes; a line takes 100 at most, and there may be a hundred thousand tenants */
#define FILE_MAX (16u << 20)
#define LINE_MIN 6 /* bytes of the shortest line with its end */

/* Up to the next "end", which is passed; all of it if there is none. */
static nuc_str_t nuc_tenant_bytes_cut(nuc_str_t *text, uint8_t end)
{
    const uint8_t *found = text->len ? memchr(text->data, end, text->len) : NULL;
    nuc_str_t cut = {text->data, found ? (size_t) (found - text->data) : text->len};

    text->data += cut.len + (found != NULL);
    text->len -= cut.len + (found != NULL);

    return cut;
}

static int nuc_tenant_bytes_parse_line(nuc_str_t line, nuc_tenant_bytes_t *item)
{
    nuc_str_t name = nuc_tenant_bytes_cut(&line, ' ');
    nuc_str_t bytes = nuc_tenant_bytes_cut(&line, ' ');

    if (!nuc_name_valid(name) || !nuc_notes_number(bytes, &item->bytes) ||
        !nuc_notes_number(line, &item->rate)) {
        return 0;
    }

    memset(item->tenant, 0, sizeof(item->tenant));
    memcpy(item->tenant, name.data, name.len);

    return 1;
}

static int nuc_tenant_bytes_compare(const void *a, const void *b)
{
    const nuc_tenant_bytes_t *x = a, *y = b;

    int order = strcmp(x->tenant, y->tenant);

    if (order != 0) {
        return order;
    }

    if (x->bytes != y->bytes) {
        return x->bytes < y->bytes ? -1 : 1;
    }

    return x->rate == y->rate ? 0 : x->rate < y->rate ? -1 : 1;
}

nuc_rc_t nuc_tenant_bytes_parse(nuc_str_t text, nuc_tenant_bytes_list_t **out,
                                nuc_err_t *err)
{
    nuc_tenant_bytes_list_t *list;

    list = calloc(1, sizeof(*list) + (text.len / LINE_MIN + 1) * sizeof(list->items[0]));
    if (list == NULL) {
        return nuc_err_set(err, NUC_NOMEM, "no memory for what tenants have");
    }

    if (!nuc_notes_number(nuc_tenant_bytes_cut(&text, '\n'), &list->number)) {
        list->number = 0;
    }

    while (text.len) {
        nuc_str_t line = nuc_tenant_bytes_cut(&text, '\n');

        if (line.len >= LINE_MIN - 1) {
            list->count += nuc_tenant_bytes_parse_line(line, &list->items[list->count]);
        }
    }

    qsort(list->items, list->count, sizeof(list->items[0]), nuc_tenant_bytes_compare);
    *out = list;

    return NUC_OK;
}

nuc_rc_t nuc_tenant_bytes_read(const nuc_sys_t *sys, const char *dir,
                               nuc_tenant_bytes_list_t **list, nuc_err_t *err)
{
    char path[NUC_PATH_MAX];
    nuc_buf_t text = NUC_BUF_INIT;
    nuc_rc_t rc = nuc_path_join(path, dir, NUC_TENANT_BYTES_FILE, err);

    if (rc == NUC_OK) {
        rc = nuc_fs_read_file(sys, path, FILE_MAX, &text, err);
    }

    if (rc == NUC_OK) {
        rc = nuc_tenant_bytes_parse((nuc_str_t){text.data, text.len}, list, err);
    }

    nuc_buf_free(&text);

    return rc;
}

nuc_rc_t nuc_tenant_bytes_ask(const nuc_sys_t *sys, const char *dir, nuc_err_t *err)
{
    char path[NUC_PATH_MAX];
    nuc_rc_t rc = nuc_path_join(path, dir, NUC_TENANT_BYTES_FILE, err);
    int fd;

    if (rc != NUC_OK) {
        return rc;
    }

    fd = sys->open(sys, path, O_WRONLY | O_CREAT, 0640);
    if (fd == -1) {
        return nuc_err_sys(err, NUC_IO, errno, "cannot make \"%s\"", path);
    }

    rc = nuc_fs_share(sys, dir, fd, err);
    sys->close(sys, fd);

    return rc;
}

nuc_rc_t nuc_tenant_bytes_write(const nuc_sys_t *sys, const char *dir,
                                const nuc_tenant_bytes_list_t *list, nuc_err_t *err)
{
    nuc_buf_t text = NUC_BUF_INIT;
    nuc_rc_t rc;

    nuc_buf_printf(&text, "%llu\n", (unsigned long long) list->number);

    for (size_t i = 0; i < list->count; i++) {
        nuc_buf_printf(&text, "%s %llu %llu\n", list->items[i].tenant,
                       (unsigned long long) list->items[i].bytes,
                       (unsigned long long) list->items[i].rate);
    }

    rc = text.failed
             ? nuc_err_set(err, NUC_NOMEM, "no memory for \"%s\"", NUC_TENANT_BYTES_FILE)
             : nuc_fs_replace(sys, dir, NUC_TENANT_BYTES_FILE,
                              (nuc_str_t){text.data, text.len}, 0640, NULL, NULL, err);
    nuc_buf_free(&text);

    return rc;
}

const nuc_tenant_bytes_t *nuc_tenant_bytes_find(const nuc_tenant_bytes_list_t *list,
                                                nuc_str_t tenant)
{
    size_t low = 0, high = list->count;

    while (low < high) {
        size_t middle = (low + high) / 2;
        const nuc_tenant_bytes_t *item = &list->items[middle];
        int order = strncmp(item->tenant, (const char *) tenant.data, tenant.len);

        if (order == 0 && item->tenant[tenant.len] == '\0') {
            return item;
        }

        if (order < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }

    return NULL;
}
