/*
 * nucleusctl tenant
 */

#include "nuc_ctl.h"

#include <inttypes.h>

#include <stdlib.h>

#include "nuc_ctl_out.h"
#include "nuc_ctl_value.h"
#include "nuc_events_today.h"
#include "nuc_tenant_bytes.h"
#include "nuc_time.h"

#define NUC_TENANT_DAY ((uint64_t) 86400 * 1000000) /* us */

/* What the files in the queue's directory say. */
typedef struct {
    uint64_t events_today;
    int is_counted; /* is anybody interested in the bytes? */
    uint64_t bytes_queued;
} nuc_tenant_use_t;

/* "use": NULL when it is not asked for. */
static void nuc_tenant_json(nuc_buf_t *out, nuc_registry_tenant_t *tenant,
                            const nuc_tenant_use_t *use)
{
    int i;
    uint64_t quota;

    nuc_out_open(out, NULL, '{');
    nuc_out_text(out, "name", tenant->name);
    nuc_out_bool(out, "disabled", tenant->is.disabled);
    nuc_out_time(out, "created", tenant->created);
    nuc_out_number(out, "keys", tenant->keys);
    nuc_out_limits(out, tenant->is.limits);
    nuc_out_open(out, "quotas", '{');

    for (i = 0; i < NUC_QUOTA_COUNT; i++) {
        quota = *nuc_quota_field(&tenant->is, i);

        if (quota == 0) {
            nuc_out_raw(out, nuc_quota_name(i), "null");
        } else {
            nuc_out_number(out, nuc_quota_name(i), quota);
        }
    }

    nuc_out_close(out, '}');

    if (use != NULL) {
        nuc_out_number(out, "events_today", use->events_today);
    }

    if (use != NULL && use->is_counted) {
        nuc_out_number(out, "bytes_queued", use->bytes_queued);
    }

    nuc_out_close(out, '}');
}

static void nuc_tenant_text(nuc_buf_t *out, nuc_registry_tenant_t *tenant,
                            const nuc_tenant_use_t *use)
{
    int i;
    char text[NUC_LIMIT_TEXT_MAX], created[NUC_OUT_TIME_MAX];

    nuc_out_line(out, "tenant", "%s", tenant->name);
    nuc_out_line(out, "state", "%s", tenant->is.disabled ? "disabled" : "enabled");
    nuc_out_line(out, "created", "%s", nuc_out_time_text(tenant->created, created));
    nuc_out_line(out, "keys", "%" PRIu64, tenant->keys);

    for (i = 0; i < NUC_UNIT_COUNT; i++) {
        nuc_limit_text(i, &tenant->is.limits[i], text);
        nuc_out_line(out, nuc_unit_name(i), "%s", text);
    }

    for (i = 0; i < NUC_QUOTA_COUNT; i++) {
        nuc_quota_text(i, *nuc_quota_field(&tenant->is, i), text);
        nuc_out_line(out, nuc_quota_name(i), "%s", text);
    }

    if (use != NULL) {
        nuc_out_line(out, "events today", "%" PRIu64, use->events_today);
    }

    if (use != NULL && use->is_counted) {
        nuc_out_line(out, "bytes queued", "%" PRIu64, use->bytes_queued);
    }
}

/* nginx counts where there is a quota, and writes it down every few seconds. */
static nuc_rc_t nuc_tenant_today(nuc_ctl_t *ctl, const char *queue, uint64_t *today,
                                 nuc_err_t *err)
{
    size_t count;
    nuc_events_today_t *list;
    nuc_rc_t rc = nuc_events_today_read(ctl->sys, queue, &list, &count, err);

    if (rc == NUC_OK) {
        *today = nuc_events_today_find(list, count, ctl->argument,
                                       nuc_time_now() / NUC_TENANT_DAY);
        free(list);
    }

    return rc;
}

/* The worker counts where nginx has asked it to. */
static nuc_rc_t nuc_tenant_queued(nuc_ctl_t *ctl, const char *queue,
                                  nuc_tenant_use_t *use, nuc_err_t *err)
{
    const nuc_tenant_bytes_t *item;
    nuc_tenant_bytes_list_t *list;
    nuc_rc_t rc = nuc_tenant_bytes_read(ctl->sys, queue, &list, err);

    if (rc != NUC_OK) {
        return rc == NUC_NOT_FOUND ? NUC_OK : rc;
    }

    item = nuc_tenant_bytes_find(list, nuc_str(ctl->argument));
    use->is_counted = list->number > 0;
    use->bytes_queued = item != NULL ? item->bytes : 0;
    free(list);

    return NUC_OK;
}

static int nuc_tenant_print(nuc_ctl_t *ctl)
{
    nuc_rc_t rc;
    nuc_err_t err;
    nuc_tenant_use_t use = {0}, *told = NULL;
    const char *queue = nuc_ctl_option(ctl, "--queue");
    nuc_registry_tenants_t list = {.tenants = NULL};

    memset(&err, 0, sizeof(err));
    rc = nuc_registry_tenants(ctl->registry, ctl->argument, &list, &err);

    if (rc == NUC_OK && queue != NULL) {
        rc = nuc_tenant_today(ctl, queue, &use.events_today, &err);
        told = &use;
    }

    if (rc == NUC_OK && queue != NULL) {
        rc = nuc_tenant_queued(ctl, queue, &use, &err);
    }

    if (rc == NUC_OK && ctl->json) {
        nuc_tenant_json(&ctl->out, &list.tenants[0], told);
        nuc_buf_char(&ctl->out, '\n');
    } else if (rc == NUC_OK) {
        nuc_tenant_text(&ctl->out, &list.tenants[0], told);
    }

    nuc_registry_tenants_free(&list);

    return rc == NUC_OK ? NUC_EXIT_OK : nuc_ctl_fail(ctl, &err);
}

/* What was changed is published; 0, or what to exit with. */
static int nuc_tenant_changed(nuc_ctl_t *ctl, nuc_rc_t rc, const nuc_err_t *err)
{
    return rc == NUC_OK ? nuc_ctl_publish(ctl) : nuc_ctl_fail(ctl, err);
}

/* What a command that has changed the tenant answers. */
static int nuc_tenant_answer(nuc_ctl_t *ctl, const char *done)
{
    if (ctl->json) {
        return nuc_tenant_print(ctl);
    }

    nuc_buf_printf(&ctl->out, "The tenant %s is %s.\n", ctl->argument, done);

    return NUC_EXIT_OK;
}

int nuc_ctl_tenant_create(nuc_ctl_t *ctl)
{
    int status;
    nuc_rc_t rc;
    nuc_err_t err;

    memset(&err, 0, sizeof(err));
    status = nuc_ctl_open(ctl);

    if (status == 0) {
        rc = nuc_registry_tenant_create(ctl->registry, ctl->argument, &err);
        status = nuc_tenant_changed(ctl, rc, &err);
    }

    return status != 0 ? status : nuc_tenant_answer(ctl, "made");
}

int nuc_ctl_tenant_show(nuc_ctl_t *ctl)
{
    int status = nuc_ctl_open(ctl);

    return status == 0 ? nuc_tenant_print(ctl) : status;
}

static void nuc_tenant_list_text(nuc_ctl_t *ctl, const nuc_registry_tenants_t *list)
{
    size_t i;
    nuc_buf_t cells = NUC_BUF_INIT;
    char created[NUC_OUT_TIME_MAX];

    nuc_buf_str(&cells, NUC_STR("NAME\tSTATE\tKEYS\tCREATED\n"));

    for (i = 0; i < list->count; i++) {
        nuc_buf_printf(&cells, "%s\t%s\t%" PRIu64 "\t%s\n", list->tenants[i].name,
                       list->tenants[i].is.disabled ? "disabled" : "enabled",
                       list->tenants[i].keys,
                       nuc_out_time_text(list->tenants[i].created, created));
    }

    nuc_out_columns(&ctl->out, &cells);
    nuc_buf_free(&cells);
}

int nuc_ctl_tenant_list(nuc_ctl_t *ctl)
{
    size_t i;
    int status;
    nuc_err_t err;
    nuc_registry_tenants_t list = {.tenants = NULL};

    memset(&err, 0, sizeof(err));
    status = nuc_ctl_open(ctl);

    if (status != 0) {
        return status;
    }

    if (nuc_registry_tenants(ctl->registry, NULL, &list, &err) != NUC_OK) {
        nuc_registry_tenants_free(&list);
        return nuc_ctl_fail(ctl, &err);
    }

    if (ctl->json) {
        nuc_out_open(&ctl->out, NULL, '[');

        for (i = 0; i < list.count; i++) {
            nuc_tenant_json(&ctl->out, &list.tenants[i], NULL);
        }

        nuc_out_close(&ctl->out, ']');
        nuc_buf_char(&ctl->out, '\n');
    } else {
        nuc_tenant_list_text(ctl, &list);
    }

    nuc_registry_tenants_free(&list);

    return NUC_EXIT_OK;
}

static int nuc_tenant_set(nuc_ctl_t *ctl, int disabled)
{
    int status;
    nuc_rc_t rc;
    nuc_err_t err;

    memset(&err, 0, sizeof(err));
    status = nuc_ctl_open(ctl);

    if (status == 0) {
        rc = nuc_registry_tenant_disable(ctl->registry, ctl->argument, disabled, &err);
        status = nuc_tenant_changed(ctl, rc, &err);
    }

    return status;
}

int nuc_ctl_tenant_disable(nuc_ctl_t *ctl)
{
    int status;
    uint64_t ms;

    status = nuc_ctl_timeout(ctl, &ms);

    if (status == 0) {
        status = nuc_tenant_set(ctl, 1);
    }

    if (status != 0) {
        return status;
    }

    if (!ctl->json) {
        nuc_buf_printf(&ctl->out, "The tenant %s is disabled.\n", ctl->argument);
        return nuc_ctl_wait(ctl);
    }

    nuc_out_open(&ctl->out, NULL, '{');
    nuc_out_text(&ctl->out, "name", ctl->argument);
    nuc_out_bool(&ctl->out, "disabled", 1);
    status = nuc_ctl_wait(ctl);
    nuc_out_close(&ctl->out, '}');
    nuc_buf_char(&ctl->out, '\n');

    return status;
}

int nuc_ctl_tenant_enable(nuc_ctl_t *ctl)
{
    int status = nuc_tenant_set(ctl, 0);

    return status != 0 ? status : nuc_tenant_answer(ctl, "enabled");
}

int nuc_ctl_tenant_limits(nuc_ctl_t *ctl)
{
    int status;
    nuc_rc_t rc;
    nuc_err_t err;
    nuc_registry_limits_t limits;

    memset(&err, 0, sizeof(err));

    if (nuc_value_limits(ctl, &limits, &err) != NUC_OK) {
        return nuc_ctl_misuse(ctl, "%s: %s", err.message, err.hint);
    }

    if (limits.units == 0 && limits.quotas == 0) {
        return nuc_ctl_misuse(ctl, "no limit is given");
    }

    status = nuc_ctl_open(ctl);

    if (status == 0) {
        rc = nuc_registry_tenant_limits(ctl->registry, ctl->argument, &limits, &err);
        status = nuc_tenant_changed(ctl, rc, &err);
    }

    return status == 0 ? nuc_tenant_print(ctl) : status;
}
