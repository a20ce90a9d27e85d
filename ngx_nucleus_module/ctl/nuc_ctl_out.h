/*
 * What commands print: JSON, and tables of words.
 */

#ifndef NUC_CTL_OUT_H
#define NUC_CTL_OUT_H

#include "nuc_buf.h"
#include "nuc_registry.h"

/* JSON; "name" is NULL in an array and at the top.  Commas come by themselves. */
void nuc_out_open(nuc_buf_t *out, const char *name, char bracket);
void nuc_out_close(nuc_buf_t *out, char bracket);
void nuc_out_text(nuc_buf_t *out, const char *name, const char *text);
void nuc_out_number(nuc_buf_t *out, const char *name, uint64_t number);
void nuc_out_bool(nuc_buf_t *out, const char *name, int value);
void nuc_out_time(nuc_buf_t *out, const char *name, uint64_t us); /* null when 0 */
void nuc_out_raw(nuc_buf_t *out, const char *name, const char *json);
void nuc_out_limits(nuc_buf_t *out, const nuc_limit_t limits[NUC_UNIT_COUNT]);

/* 2026-11-21T10:57:30Z, or "-" when 0. */
#define NUC_OUT_TIME_MAX 24
const char *nuc_out_time_text(uint64_t us, char text[NUC_OUT_TIME_MAX]);

/* 1.5 GB and the like. */
#define NUC_OUT_SIZE_MAX 24
const char *nuc_out_size_text(uint64_t bytes, char text[NUC_OUT_SIZE_MAX]);

/* Lines of cells that end by a tab, the last by a newline, become columns in "out". */
void nuc_out_columns(nuc_buf_t *out, const nuc_buf_t *cells);

/* "name:      value" */
void nuc_out_line(nuc_buf_t *out, const char *name, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

#endif /* NUC_CTL_OUT_H */
