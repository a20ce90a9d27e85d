/*
 * Linked into the nginx of `make asan`: what nginx itself does not free when it exits, so
 * that the leaks that remain are the module's.
 */

#include <stddef.h>

#define MAIN_FRAME_MAX 65536 /* bytes; the heap is further away from the stack */

const char *__lsan_default_suppressions(void);
int __lsan_is_turned_off(void);

/* absent in the programs that configure tries the linker with */
extern unsigned long ngx_test_config __attribute__((weak));
extern const char *volatile ngx_cycle __attribute__((weak));

/* glibc's: where the stack of main() begins */
extern void *__libc_stack_end;

/* a match anywhere in the stack of the allocation */
const char *__lsan_default_suppressions(void)
{
    return "leak:ngx_init_cycle\n"          /* configurations of cycles that ended */
           "leak:ngx_event_process_init\n"; /* the tables of connections and events */
}

/* nginx -t frees nothing at all, nor does an nginx whose configuration was refused: it is
 * still in the cycle that it began with, which was a variable of main() */
int __lsan_is_turned_off(void)
{
    const char *cycle, *stack = __libc_stack_end;

    if (&ngx_test_config == NULL) {
        return 0;
    }

    cycle = ngx_cycle;

    return ngx_test_config != 0 || (cycle < stack && stack - cycle < MAIN_FRAME_MAX);
}
