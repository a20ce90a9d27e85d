/*
 * What the fuzz targets have in common.  Each is one file, fuzz_SUBJECT.c, with
 * libFuzzer's entry; `make fuzz` links it with libFuzzer, `make test` with replay.c,
 * which gives it the inputs that are committed.
 */

#ifndef FUZZ_H
#define FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nuc_buf.h"
#include "nuc_err.h"
#include "nuc_str.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

/* What every input must fulfil; the words say what was broken. */
#define FUZZ_CHECK(condition, ...)                                                       \
    do {                                                                                 \
        if (!(condition)) {                                                              \
            fuzz_broken(__FILE__, __LINE__, __VA_ARGS__);                                \
        }                                                                                \
    } while (0)

__attribute__((noreturn, format(printf, 3, 4))) void fuzz_broken(const char *file,
                                                                 int line,
                                                                 const char *fmt, ...);

/* An error says what is wrong, as STYLE wants it: not empty, no full stop. */
void fuzz_check_err(nuc_rc_t rc, const nuc_err_t *err);

/* Memory or the end. */
void *fuzz_alloc(size_t len);

/* A copy in memory of just its size, so that a sanitizer sees a read beyond it; free().
 */
nuc_str_t fuzz_copy(const void *data, size_t len);
void fuzz_free(nuc_str_t copy);

/*
 * An input that is read as a sequence of choices.  At its end all choices are zero, so
 * every input means something.
 */
typedef struct {
    const uint8_t *p;
    const uint8_t *end;
} fuzz_input_t;

uint64_t fuzz_take(fuzz_input_t *in, unsigned bytes); /* up to 8, little-endian */
uint32_t fuzz_take_below(fuzz_input_t *in, uint32_t n);
nuc_str_t fuzz_take_bytes(fuzz_input_t *in, size_t max); /* as many as there are */
nuc_str_t fuzz_take_sized(fuzz_input_t *in,
                          size_t max); /* a length of two bytes before */

#endif /* FUZZ_H */
