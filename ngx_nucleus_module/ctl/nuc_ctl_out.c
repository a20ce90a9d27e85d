#include "nuc_ctl_out.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "nuc_time.h"

#define NUC_OUT_COLUMNS 16
#define NUC_OUT_NAME    14 /* width of the names before values */

static void nuc_out_name(nuc_buf_t *out, const char *name)
{
    uint8_t last = out->len > 0 ? out->data[out->len - 1] : '[';

    if (last != '[' && last != '{') {
        nuc_buf_char(out, ',');
    }

    if (name != NULL) {
        nuc_buf_json(out, nuc_str(name));
        nuc_buf_char(out, ':');
    }
}

void nuc_out_open(nuc_buf_t *out, const char *name, char bracket)
{
    nuc_out_name(out, name);
    nuc_buf_char(out, bracket);
}

void nuc_out_close(nuc_buf_t *out, char bracket)
{
    nuc_buf_char(out, bracket);
}

void nuc_out_text(nuc_buf_t *out, const char *name, const char *text)
{
    nuc_out_name(out, name);
    nuc_buf_json(out, nuc_str(text));
}

void nuc_out_number(nuc_buf_t *out, const char *name, uint64_t number)
{
    nuc_out_name(out, name);
    nuc_buf_printf(out, "%" PRIu64, number);
}

void nuc_out_bool(nuc_buf_t *out, const char *name, int value)
{
    nuc_out_raw(out, name, value ? "true" : "false");
}

void nuc_out_time(nuc_buf_t *out, const char *name, uint64_t us)
{
    char text[NUC_OUT_TIME_MAX];

    if (us == 0) {
        nuc_out_raw(out, name, "null");
    } else {
        nuc_out_text(out, name, nuc_out_time_text(us, text));
    }
}

void nuc_out_raw(nuc_buf_t *out, const char *name, const char *json)
{
    nuc_out_name(out, name);
    nuc_buf_str(out, nuc_str(json));
}

void nuc_out_limits(nuc_buf_t *out, const nuc_limit_t limits[NUC_UNIT_COUNT])
{
    int i;

    nuc_out_open(out, "limits", '{');

    for (i = 0; i < NUC_UNIT_COUNT; i++) {
        if (limits[i].rate == 0) {
            nuc_out_raw(out, nuc_unit_name(i), "null");
            continue;
        }

        nuc_out_open(out, nuc_unit_name(i), '{');
        nuc_out_number(out, "rate", limits[i].rate);
        nuc_out_number(out, "burst", limits[i].burst);
        nuc_out_close(out, '}');
    }

    nuc_out_close(out, '}');
}

const char *nuc_out_time_text(uint64_t us, char text[NUC_OUT_TIME_MAX])
{
    char full[NUC_TIME_TEXT_LEN];

    if (us == 0) {
        return strcpy(text, "-");
    }

    nuc_time_format(us, full);
    snprintf(text, NUC_OUT_TIME_MAX, "%.19sZ", full);

    return text;
}

const char *nuc_out_size_text(uint64_t bytes, char text[NUC_OUT_SIZE_MAX])
{
    static const char *const units[] = {"bytes", "KB", "MB", "GB", "TB", "PB", "EB"};
    double value = (double) bytes;
    int unit = 0;

    while (value >= 1024) {
        value /= 1024;
        unit++;
    }

    snprintf(text, NUC_OUT_SIZE_MAX, unit == 0 ? "%.0f %s" : "%.1f %s", value,
             units[unit]);

    return text;
}

/* Characters, not bytes. */
static size_t nuc_out_width(const uint8_t *text, size_t len)
{
    size_t i, width;

    for (i = 0, width = 0; i < len; i++) {
        width += (text[i] & 0xc0) != 0x80;
    }

    return width;
}

/* The next cell, without what ends it, which goes to *end; *at moves behind it. */
static nuc_str_t nuc_out_cell(const nuc_buf_t *cells, size_t *at, char *end)
{
    nuc_str_t cell = {cells->data + *at, 0};

    while (*at < cells->len && cells->data[*at] != '\t' && cells->data[*at] != '\n') {
        (*at)++;
        cell.len++;
    }

    *end = *at < cells->len ? (char) cells->data[*at] : '\n';
    (*at)++;

    return cell;
}

void nuc_out_columns(nuc_buf_t *out, const nuc_buf_t *cells)
{
    char end;
    size_t at, column, width, widths[NUC_OUT_COLUMNS] = {0};
    nuc_str_t cell;

    for (at = 0, column = 0; at < cells->len;) {
        cell = nuc_out_cell(cells, &at, &end);
        width = nuc_out_width(cell.data, cell.len);

        if (column < NUC_OUT_COLUMNS && width > widths[column]) {
            widths[column] = width;
        }

        column = end == '\n' ? 0 : column + 1;
    }

    for (at = 0, column = 0; at < cells->len;) {
        cell = nuc_out_cell(cells, &at, &end);
        nuc_buf_str(out, cell);

        if (end == '\n') {
            nuc_buf_char(out, '\n');
            column = 0;
            continue;
        }

        width = nuc_out_width(cell.data, cell.len);
        nuc_buf_printf(out, "%*s", (int) (widths[column % NUC_OUT_COLUMNS] - width + 2),
                       "");
        column++;
    }

    out->failed |= cells->failed;
}

void nuc_out_line(nuc_buf_t *out, const char *name, const char *fmt, ...)
{
    char text[512];
    va_list args;

    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);

    nuc_buf_printf(out, "%s:%*s%s\n", name,
                   strlen(name) < NUC_OUT_NAME ? (int) (NUC_OUT_NAME - strlen(name)) : 1,
                   "", text);
}
