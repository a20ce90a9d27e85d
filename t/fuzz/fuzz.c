#include "fuzz.h"

#include <ctype.h>
#include <stdarg.h>

void fuzz_broken(const char *file, int line, const char *fmt, ...)
{
    va_list args;

    fprintf(stderr, "\nbroken at %s:%d: ", file, line);
    va_start(args, fmt);
    vfprintf(stderr, fmt, args);
    va_end(args);
    fputc('\n', stderr);

    abort();
}

void fuzz_check_err(nuc_rc_t rc, const nuc_err_t *err)
{
    size_t len;

    len = strnlen(err->message, sizeof(err->message));

    FUZZ_CHECK(err->rc == rc, "%d was returned, and the error says %d", rc, err->rc);
    FUZZ_CHECK(len > 0 && len < sizeof(err->message), "an error without a message");
    FUZZ_CHECK(strnlen(err->hint, sizeof(err->hint)) < sizeof(err->hint),
               "an endless hint");
}

void *fuzz_alloc(size_t len)
{
    void *memory;

    memory = malloc(len);
    FUZZ_CHECK(memory != NULL || len == 0, "no memory for %zu bytes", len);

    return memory;
}

nuc_str_t fuzz_copy(const void *data, size_t len)
{
    uint8_t *copy;

    copy = fuzz_alloc(len);

    if (len != 0) {
        memcpy(copy, data, len);
    }

    return (nuc_str_t){copy, len};
}

void fuzz_free(nuc_str_t copy)
{
    free((void *) (uintptr_t) copy.data);
}

uint64_t fuzz_take(fuzz_input_t *in, unsigned bytes)
{
    unsigned i;
    uint64_t value;

    value = 0;

    for (i = 0; i < bytes && in->p < in->end; i++) {
        value |= (uint64_t) *in->p++ << (8 * i);
    }

    return value;
}

uint32_t fuzz_take_below(fuzz_input_t *in, uint32_t n)
{
    return (uint32_t) fuzz_take(in, n <= 256 ? 1 : 4) % n;
}

nuc_str_t fuzz_take_bytes(fuzz_input_t *in, size_t max)
{
    size_t left;
    nuc_str_t bytes;

    left = (size_t) (in->end - in->p);
    bytes = (nuc_str_t){in->p, left < max ? left : max};
    in->p += bytes.len;

    return bytes;
}

nuc_str_t fuzz_take_sized(fuzz_input_t *in, size_t max)
{
    return fuzz_take_bytes(in, (size_t) fuzz_take(in, 2) % (max + 1));
}
