/*
 * Linked into the nginx of `make asan`: what nginx itself does not free when it exits, so
 * that the leaks that remain are the module's.
 */

#include <stddef.h>

const char *__lsan_default_suppressions(void);
int __lsan_is_turned_off(void);

/* absent in the programs that configure tries the linker with */
extern unsigned long ngx_test_config __attribute__((weak));
extern struct {
    void *conf_ctx;
    void *pool;
} *volatile ngx_cycle __attribute__((weak));

/* a match anywhere in the stack of the allocation */
const char *__lsan_default_suppressions(void)
{
    return "leak:ngx_init_cycle\n"          /* configurations of cycles that ended */
           "leak:ngx_event_process_init\n"; /* the tables of connections and events */
}

/* nginx -t frees nothing at all, nor does an nginx whose configuration was refused: it is
 * still in the cycle that it began with */
int __lsan_is_turned_off(void)
{
    if (&ngx_test_config == NULL || ngx_cycle == NULL) {
        return 0;
    }

    return ngx_test_config != 0 ||
           (ngx_cycle->conf_ctx == NULL && ngx_cycle->pool != NULL);
}
