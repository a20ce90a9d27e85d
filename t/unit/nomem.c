#include "nomem.h"

#include <stdatomic.h>
#include <stddef.h>

void *__real_malloc(size_t size) __attribute__((weak));
void *__real_calloc(size_t count, size_t size) __attribute__((weak));
void *__real_realloc(void *p, size_t size) __attribute__((weak));
char *__real_strdup(const char *s) __attribute__((weak));
char *__real_strndup(const char *s, size_t len) __attribute__((weak));

void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *p, size_t size);
char *__wrap_strdup(const char *s);
char *__wrap_strndup(const char *s, size_t len);

static atomic_uint nomem_first, nomem_last, nomem_count, nomem_failures;

void nomem_fail_at(unsigned n, unsigned count)
{
    nomem_last = 0;
    nomem_count = 0;
    nomem_failures = 0;
    nomem_first = n;
    nomem_last = n == 0 ? 0 : n + count - 1;
}

unsigned nomem_failed(void)
{
    return nomem_failures;
}

static int nomem_now(void)
{
    unsigned n;

    if (nomem_last == 0) {
        return 0;
    }

    n = ++nomem_count;

    if (n < nomem_first || n > nomem_last) {
        return 0;
    }

    nomem_failures++;

    return 1;
}

void *__wrap_malloc(size_t size)
{
    return nomem_now() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
    return nomem_now() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *p, size_t size)
{
    return nomem_now() ? NULL : __real_realloc(p, size);
}

char *__wrap_strdup(const char *s)
{
    return nomem_now() ? NULL : __real_strdup(s);
}

char *__wrap_strndup(const char *s, size_t len)
{
    return nomem_now() ? NULL : __real_strndup(s, len);
}
