#include "nuc_events_today.h"

#include <string.h>

/* Up to the next space, which is passed; all of it if there is none. */
static nuc_str_t nuc_events_today_word(nuc_str_t *line)
{
    const uint8_t *end = memchr(line->data, ' ', line->len);
    nuc_str_t word = {line->data, end ? (size_t) (end - line->data) : line->len};

    line->data += word.len + (end != NULL);
    line->len -= word.len + (end != NULL);

    return word;
}

static int nuc_events_today_parse(nuc_str_t line, void *item)
{
    nuc_events_today_t *of = item;
    nuc_str_t name, day;

    if (line.len == 0) {
        return 0;
    }

    name = nuc_events_today_word(&line);
    day = nuc_events_today_word(&line);

    if (!nuc_name_valid(name) || !nuc_notes_number(day, &of->day) ||
        !nuc_notes_number(line, &of->count)) {
        return 0;
    }

    memset(of->tenant, 0, sizeof(of->tenant));
    memcpy(of->tenant, name.data, name.len);

    return 1;
}

static void nuc_events_today_print(const void *item, nuc_buf_t *out)
{
    const nuc_events_today_t *of = item;

    nuc_buf_printf(out, "%s %llu %llu\n", of->tenant, (unsigned long long) of->day,
                   (unsigned long long) of->count);
}

static int nuc_events_today_compare(const void *a, const void *b)
{
    const nuc_events_today_t *x = a, *y = b;
    int order = strcmp(x->tenant, y->tenant);

    if (order != 0) {
        return order;
    }

    if (x->day != y->day) {
        return x->day > y->day ? -1 : 1;
    }

    return x->count == y->count ? 0 : x->count > y->count ? -1 : 1;
}

static int nuc_events_today_same(const void *a, const void *b)
{
    const nuc_events_today_t *x = a, *y = b;

    return strcmp(x->tenant, y->tenant) == 0;
}

const nuc_notes_kind_t nuc_events_today_notes = {
    .file = NUC_EVENTS_TODAY_FILE,
    .lock = NUC_EVENTS_TODAY_FILE ".lock",
    .size = sizeof(nuc_events_today_t),
    .parse = nuc_events_today_parse,
    .print = nuc_events_today_print,
    .compare = nuc_events_today_compare,
    .same = nuc_events_today_same,
};

nuc_rc_t nuc_events_today_read(const nuc_sys_t *sys, const char *dir,
                               nuc_events_today_t **list, size_t *count, nuc_err_t *err)
{
    void *items = NULL;
    nuc_rc_t rc = nuc_notes_read(sys, &nuc_events_today_notes, dir, &items, count, err);

    *list = items;

    return rc;
}

uint64_t nuc_events_today_find(const nuc_events_today_t *list, size_t count,
                               const char *tenant, uint64_t day)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(list[i].tenant, tenant) == 0) {
            return list[i].day == day ? list[i].count : 0;
        }
    }

    return 0;
}
