/*
 * Test Anything Protocol for the C unit tests: each test is a program; prove reads its
 * output.
 */

#ifndef TAP_H
#define TAP_H

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int tap_run;
static int tap_failed;

__attribute__((unused, format(printf, 1, 2))) static void diag(const char *fmt, ...)
{
    va_list args;

    fflush(stdout);
    fputs("# ", stderr);
    va_start(args, fmt);
    vfprintf(stderr, fmt, args);
    va_end(args);
    fputc('\n', stderr);
}

__attribute__((format(printf, 4, 0))) static int tap_report(int passed, const char *file,
                                                            int line, const char *fmt,
                                                            va_list args)
{
    char name[512];
    char *p;

    vsnprintf(name, sizeof(name), fmt, args);

    /* "#" begins a directive, and a line ends the test */
    for (p = name; *p != '\0'; p++) {
        if (*p == '#' || *p == '\n' || *p == '\r') {
            *p = '.';
        }
    }

    printf("%sok %d - %s\n", passed ? "" : "not ", ++tap_run, name);

    if (!passed) {
        tap_failed++;
        diag("failed \"%s\" at %s:%d", name, file, line);
    }

    return passed;
}

__attribute__((unused, format(printf, 4, 5))) static int tap_ok(int passed,
                                                                const char *file,
                                                                int line, const char *fmt,
                                                                ...)
{
    va_list args;

    va_start(args, fmt);
    tap_report(passed, file, line, fmt, args);
    va_end(args);

    return passed;
}

__attribute__((unused, format(printf, 5, 6))) static int tap_is_int(
    long long got, long long want, const char *file, int line, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    tap_report(got == want, file, line, fmt, args);
    va_end(args);

    if (got != want) {
        diag("     got %lld", got);
        diag("expected %lld", want);
    }

    return got == want;
}

__attribute__((unused, format(printf, 5, 6))) static int tap_is_str(
    const char *got, const char *want, const char *file, int line, const char *fmt, ...)
{
    int same;
    va_list args;

    same = (got == NULL || want == NULL) ? got == want : strcmp(got, want) == 0;

    va_start(args, fmt);
    tap_report(same, file, line, fmt, args);
    va_end(args);

    if (!same) {
        diag("     got \"%s\"", got != NULL ? got : "(null)");
        diag("expected \"%s\"", want != NULL ? want : "(null)");
    }

    return same;
}

#define ok(passed, ...)        tap_ok(!!(passed), __FILE__, __LINE__, __VA_ARGS__)
#define is_int(got, want, ...) tap_is_int(got, want, __FILE__, __LINE__, __VA_ARGS__)
#define is_str(got, want, ...) tap_is_str(got, want, __FILE__, __LINE__, __VA_ARGS__)

/* fork(): what waits to be printed is not said by both (a sanitizer's _exit() flushes).
 */
__attribute__((unused)) static pid_t tap_fork(void)
{
    fflush(stdout);

    return fork();
}

/* Prints the plan; what main returns. */
__attribute__((unused)) static int tap_done(void)
{
    printf("1..%d\n", tap_run);
    fflush(stdout);

    return tap_run == 0 || tap_failed != 0;
}

#endif /* TAP_H */
