/*
 * nucleusctl key
 */

#include "nuc_ctl.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "nuc_ctl_out.h"
#include "nuc_ctl_secret.h"
#include "nuc_ctl_value.h"
#include "nuc_last_used.h"
#include "nuc_time.h"

#define NUC_KEY_OVERLAP (7 * 86400) /* seconds */
#define NUC_KEY_LIST    1024        /* bytes of a list of scopes, streams and the like */

static uint64_t nuc_key_now(void)
{
    return nuc_time_now() / 1000000;
}

/* ---- what a key is like */

static const char *nuc_key_state(const nuc_registry_key_t *key, uint64_t now)
{
    if (key->is.revoked) {
        return "revoked";
    }

    if (key->is.not_after != 0 && key->is.not_after <= now) {
        return key->retired != 0 && key->retired <= now ? "rotated" : "expired";
    }

    if (key->is.not_before > now) {
        return "not yet valid";
    }

    return key->retired != 0 ? "valid, rotated" : "valid";
}

/* Words with commas between them, in "out"; as long as they fit. */
static void nuc_key_word(char out[NUC_KEY_LIST], const char *word, size_t len)
{
    size_t at = strlen(out);

    snprintf(out + at, NUC_KEY_LIST - at, "%s%.*s", at > 0 ? ", " : "", (int) len, word);
}

static void nuc_key_scopes(const nuc_registry_key_t *key, char out[NUC_KEY_LIST])
{
    unsigned i;
    const char *name;

    out[0] = '\0';

    for (i = 0; (name = nuc_scope_name(i)) != NULL; i++) {
        if (key->is.scopes & 1U << i) {
            nuc_key_word(out, name, strlen(name));
        }
    }
}

static void nuc_key_streams(const nuc_registry_key_t *key, char out[NUC_KEY_LIST])
{
    size_t i;

    strcpy(out, "");

    for (i = 0; i < key->is.nstreams; i++) {
        nuc_key_word(out, (const char *) key->is.streams[i].data, key->is.streams[i].len);
    }

    if (i == 0) {
        strcpy(out, "any");
    }
}

static void nuc_key_networks(const nuc_registry_key_t *key, char out[NUC_KEY_LIST])
{
    size_t i;
    char network[NUC_NETWORK_TEXT_MAX];

    strcpy(out, "");

    for (i = 0; i < key->is.nnetworks; i++) {
        nuc_network_text(&key->is.networks[i], network);
        nuc_key_word(out, network, strlen(network));
    }

    if (i == 0) {
        strcpy(out, "anywhere");
    }
}

static void nuc_key_hex(const uint8_t sha256[32], char out[65])
{
    int i;

    for (i = 0; i < 32; i++) {
        snprintf(out + 2 * i, 3, "%02x", sha256[i]);
    }
}

static void nuc_key_json_lists(nuc_buf_t *out, const nuc_registry_key_t *key)
{
    size_t i;
    unsigned k;
    const char *name;
    char text[NUC_NAME_MAX + 2];

    nuc_out_open(out, "scopes", '[');

    for (k = 0; (name = nuc_scope_name(k)) != NULL; k++) {
        if (key->is.scopes & 1U << k) {
            nuc_out_text(out, NULL, name);
        }
    }

    nuc_out_close(out, ']');
    nuc_out_open(out, "streams", '[');

    for (i = 0; i < key->is.nstreams; i++) {
        snprintf(text, sizeof(text), "%.*s", (int) key->is.streams[i].len,
                 (const char *) key->is.streams[i].data);
        nuc_out_text(out, NULL, text);
    }

    nuc_out_close(out, ']');
    nuc_out_open(out, "from", '[');

    for (i = 0; i < key->is.nnetworks; i++) {
        nuc_network_text(&key->is.networks[i], text);
        nuc_out_text(out, NULL, text);
    }

    nuc_out_close(out, ']');
    nuc_out_open(out, "certificates", '[');

    for (i = 0; i < key->is.ncertificates; i++) {
        nuc_key_hex(key->is.certificates[i], text);
        nuc_out_text(out, NULL, text);
    }

    nuc_out_close(out, ']');
}

static void nuc_key_json(nuc_buf_t *out, const nuc_registry_key_t *key, uint64_t used)
{
    char id[NUC_KEY_ID_LEN + 1];

    nuc_out_open(out, NULL, '{');
    nuc_key_id_text(key->is.id, id);
    nuc_out_text(out, "id", id);
    nuc_out_text(out, "tenant", key->tenant);
    nuc_out_text(out, "name", key->name);
    nuc_out_text(out, "state", nuc_key_state(key, nuc_key_now()));
    nuc_out_bool(out, "live", nuc_registry_key_live(key, nuc_key_now()));
    nuc_key_json_lists(out, key);
    nuc_out_limits(out, key->is.limits);
    nuc_key_id_text(key->is.lineage, id);
    nuc_out_text(out, "lineage", id);
    nuc_out_time(out, "created", key->created);
    nuc_out_time(out, "not_before", key->is.not_before * 1000000);
    nuc_out_time(out, "expires", key->expires * 1000000);
    nuc_out_time(out, "ends", key->is.not_after * 1000000);
    nuc_out_time(out, "revoked", key->revoked);
    nuc_out_time(out, "last_used", used * 1000000);
    nuc_out_close(out, '}');
}

static void nuc_key_text(nuc_buf_t *out, const nuc_registry_key_t *key, uint64_t used)
{
    size_t i;
    int unit;
    char id[NUC_KEY_ID_LEN + 1], time[NUC_OUT_TIME_MAX], list[NUC_KEY_LIST],
        limit[NUC_LIMIT_TEXT_MAX], hex[65];

    nuc_key_id_text(key->is.id, id);
    nuc_out_line(out, "id", "%s", id);
    nuc_out_line(out, "tenant", "%s", key->tenant);
    nuc_out_line(out, "name", "%s", key->name[0] != '\0' ? key->name : "-");
    nuc_out_line(out, "state", "%s", nuc_key_state(key, nuc_key_now()));
    nuc_key_scopes(key, list);
    nuc_out_line(out, "scopes", "%s", list);
    nuc_key_streams(key, list);
    nuc_out_line(out, "streams", "%s", list);
    nuc_key_networks(key, list);
    nuc_out_line(out, "from", "%s", list);

    for (i = 0; i < key->is.ncertificates; i++) {
        nuc_key_hex(key->is.certificates[i], hex);
        nuc_out_line(out, "certificate", "%s", hex);
    }

    for (unit = 0; unit < NUC_UNIT_COUNT; unit++) {
        nuc_limit_text(unit, &key->is.limits[unit], limit);
        nuc_out_line(out, nuc_unit_name(unit), "%s", limit);
    }

    nuc_key_id_text(key->is.lineage, id);
    nuc_out_line(out, "lineage", "%s", id);
    nuc_out_line(out, "created", "%s", nuc_out_time_text(key->created, time));
    nuc_out_line(out, "not before", "%s",
                 nuc_out_time_text(key->is.not_before * 1000000, time));
    nuc_out_line(out, "ends", "%s", nuc_out_time_text(key->is.not_after * 1000000, time));
    nuc_out_line(out, "revoked", "%s", nuc_out_time_text(key->revoked, time));
    nuc_out_line(out, "last used", "%s", nuc_out_time_text(used * 1000000, time));
}

/* ---- list and show */

typedef struct {
    nuc_last_used_t *uses;
    size_t count;
} nuc_key_uses_t;

static uint64_t nuc_key_used(const nuc_key_uses_t *used, uint64_t id)
{
    return nuc_last_used_find(used->uses, used->count, id);
}

static int nuc_key_load(nuc_ctl_t *ctl, const char *tenant, const uint64_t *id,
                        nuc_registry_keys_t *list, nuc_key_uses_t *used)
{
    int status;
    nuc_rc_t rc;
    nuc_err_t err;
    const char *queue = nuc_ctl_option(ctl, "--queue");

    memset(&err, 0, sizeof(err));
    status = ctl->registry == NULL ? nuc_ctl_open(ctl) : 0;

    if (status != 0) {
        return status;
    }

    rc = nuc_registry_keys(ctl->registry, tenant, id, list, &err);

    if (rc == NUC_OK && queue != NULL) {
        rc = nuc_last_used_read(ctl->sys, queue, &used->uses, &used->count, &err);
    }

    return rc == NUC_OK ? 0 : nuc_ctl_fail(ctl, &err);
}

static void nuc_key_list_text(nuc_ctl_t *ctl, const nuc_registry_keys_t *list,
                              const nuc_key_uses_t *used)
{
    size_t i;
    const nuc_registry_key_t *key;
    nuc_buf_t cells = NUC_BUF_INIT;
    char id[NUC_KEY_ID_LEN + 1], scopes[NUC_KEY_LIST], ends[NUC_OUT_TIME_MAX],
        last[NUC_OUT_TIME_MAX];

    nuc_buf_str(&cells, NUC_STR("ID\tTENANT\tNAME\tSTATE\tSCOPES\tENDS\tLAST USED\n"));

    for (i = 0; i < list->count; i++) {
        key = &list->keys[i];
        nuc_key_id_text(key->is.id, id);
        nuc_key_scopes(key, scopes);
        nuc_buf_printf(&cells, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", id, key->tenant,
                       key->name[0] != '\0' ? key->name : "-",
                       nuc_key_state(key, nuc_key_now()), scopes,
                       nuc_out_time_text(key->is.not_after * 1000000, ends),
                       nuc_out_time_text(nuc_key_used(used, key->is.id) * 1000000, last));
    }

    nuc_out_columns(&ctl->out, &cells);
    nuc_buf_free(&cells);
}

int nuc_ctl_key_list(nuc_ctl_t *ctl)
{
    size_t i;
    int status;
    nuc_registry_keys_t list = {.keys = NULL};
    nuc_key_uses_t used = {.uses = NULL};

    status = nuc_key_load(ctl, nuc_ctl_option(ctl, "--tenant"), NULL, &list, &used);

    if (status == 0 && ctl->json) {
        nuc_out_open(&ctl->out, NULL, '[');

        for (i = 0; i < list.count; i++) {
            nuc_key_json(&ctl->out, &list.keys[i],
                         nuc_key_used(&used, list.keys[i].is.id));
        }

        nuc_out_close(&ctl->out, ']');
        nuc_buf_char(&ctl->out, '\n');
    } else if (status == 0) {
        nuc_key_list_text(ctl, &list, &used);
    }

    nuc_registry_keys_free(&list);
    free(used.uses);

    return status;
}

static int nuc_key_print(nuc_ctl_t *ctl, uint64_t id)
{
    int status;
    nuc_registry_keys_t list = {.keys = NULL};
    nuc_key_uses_t used = {.uses = NULL};

    status = nuc_key_load(ctl, NULL, &id, &list, &used);

    if (status == 0 && ctl->json) {
        nuc_key_json(&ctl->out, &list.keys[0], nuc_key_used(&used, id));
        nuc_buf_char(&ctl->out, '\n');
    } else if (status == 0) {
        nuc_key_text(&ctl->out, &list.keys[0], nuc_key_used(&used, id));
    }

    nuc_registry_keys_free(&list);
    free(used.uses);

    return status;
}

int nuc_ctl_key_show(nuc_ctl_t *ctl)
{
    uint64_t id;
    int status = nuc_ctl_key_id(ctl, &id);

    return status == 0 ? nuc_key_print(ctl, id) : status;
}

/* ---- a new key is shown once */

/* "ends" is when the key that it succeeds does, in seconds; 0: it succeeds none. */
static void nuc_key_introduce(const nuc_ctl_t *ctl, uint64_t id, uint64_t ends,
                              nuc_buf_t *out)
{
    char text[NUC_KEY_ID_LEN + 1], time[NUC_OUT_TIME_MAX];

    nuc_key_id_text(id, text);

    if (!ctl->json) {
        nuc_out_line(out, "id", "%s", text);

        if (ends != 0) {
            nuc_out_line(out, "old key", "%s, ends %s", ctl->argument,
                         nuc_out_time_text(ends * 1000000, time));
        }

        return;
    }

    nuc_out_open(out, NULL, '{');
    nuc_out_text(out, "id", text);

    if (ends != 0) {
        nuc_out_text(out, "rotated", ctl->argument);
        nuc_out_time(out, "rotated_ends", ends * 1000000);
    }
}

/* The key itself goes past the buffer that all else is printed from. */
static nuc_rc_t nuc_key_show_secret(nuc_ctl_t *ctl, const nuc_secret_t *secret,
                                    uint64_t ends, nuc_err_t *err)
{
    nuc_rc_t rc;
    nuc_buf_t before = NUC_BUF_INIT;

    if (nuc_ctl_option(ctl, "--to-file") != NULL) {
        nuc_key_introduce(ctl, secret->id, ends, &ctl->out);
        nuc_buf_str(&ctl->out, nuc_str(ctl->json ? "}\n" : ""));
        return NUC_OK;
    }

    nuc_key_introduce(ctl, secret->id, ends, &before);
    nuc_buf_str(&before, nuc_str(ctl->json ? ",\"key\":\"" : "key:           "));

    rc = before.failed
             ? nuc_err_set(err, NUC_NOMEM, "no memory to print the key")
             : nuc_secret_print(secret, (nuc_str_t){before.data, before.len},
                                ctl->json ? "\"}\n"
                                          : "\n\nThis is the only time that the key is "
                                            "shown.\n",
                                err);

    nuc_buf_free(&before);

    return rc;
}

/* The change that brings a new key into the registry; "change" is about it. */
typedef nuc_rc_t (*nuc_key_change_pt)(nuc_ctl_t *ctl, const nuc_secret_t *secret,
                                      void *change, uint64_t *ends, nuc_err_t *err);

/*
 * The file first, then the registry: a key that is valid and in nobody's hands is worse
 * than a file that is removed again.
 */
static int nuc_key_bring(nuc_ctl_t *ctl, nuc_secret_t *secret, nuc_key_change_pt bring,
                         void *change)
{
    int status;
    nuc_rc_t rc;
    nuc_err_t err;
    uint64_t ends = 0;
    const char *file = nuc_ctl_option(ctl, "--to-file");

    memset(&err, 0, sizeof(err));
    rc = nuc_secret_make(secret, &err);

    if (rc == NUC_OK && file != NULL) {
        rc = nuc_secret_store(ctl->sys, secret, file, &err);
    }

    if (rc != NUC_OK) {
        return nuc_ctl_fail(ctl, &err);
    }

    rc = bring(ctl, secret, change, &ends, &err);

    if (rc != NUC_OK) {
        if (file != NULL) {
            ctl->sys->unlink(ctl->sys, file);
        }

        return nuc_ctl_fail(ctl, &err);
    }

    status = nuc_ctl_publish(ctl);
    rc = nuc_key_show_secret(ctl, secret, ends, &err);

    if (rc != NUC_OK) {
        nuc_err_hint(&err, "it is made and nobody has it: revoke it, see key list");
        return nuc_ctl_fail(ctl, &err);
    }

    return status;
}

static int nuc_key_with_secret(nuc_ctl_t *ctl, nuc_key_change_pt bring, void *change)
{
    int status;
    nuc_secret_t secret;

    status = nuc_key_bring(ctl, &secret, bring, change);
    nuc_secret_wipe(&secret);

    return status;
}

/* ---- create */

typedef struct {
    nuc_registry_key_t key;
    nuc_str_t *streams;
    nuc_network_t *networks;
    uint8_t (*certificates)[32];
} nuc_key_create_t;

static nuc_rc_t nuc_key_create_lists(const nuc_ctl_t *ctl, nuc_key_create_t *create,
                                     nuc_err_t *err)
{
    size_t at;
    const char *text;
    nuc_snapshot_key_t *is = &create->key.is;

    create->streams = calloc(ctl->ngiven + 1, sizeof(*create->streams));
    create->networks = calloc(ctl->ngiven + 1, sizeof(*create->networks));
    create->certificates = calloc(ctl->ngiven + 1, sizeof(*create->certificates));

    if (!create->streams || !create->networks || !create->certificates) {
        return nuc_err_set(err, NUC_NOMEM, "no memory for a key");
    }

    for (at = 0; (text = nuc_ctl_next(ctl, "--stream", &at)) != NULL;) {
        create->streams[is->nstreams++] = nuc_str(text);
    }

    for (at = 0; (text = nuc_ctl_next(ctl, "--from", &at)) != NULL;) {
        if (nuc_network_parse(text, &create->networks[is->nnetworks++], err) != NUC_OK) {
            return NUC_INVALID;
        }
    }

    for (at = 0; (text = nuc_ctl_next(ctl, "--certificate", &at)) != NULL;) {
        if (nuc_value_certificate(ctl->sys, text,
                                  create->certificates[is->ncertificates++],
                                  err) != NUC_OK) {
            return NUC_INVALID;
        }
    }

    is->streams = create->streams;
    is->networks = create->networks;
    is->certificates = (const uint8_t(*)[32]) create->certificates;

    return NUC_OK;
}

static nuc_rc_t nuc_key_create_times(const nuc_ctl_t *ctl, nuc_registry_key_t *key,
                                     nuc_err_t *err)
{
    const char *text;

    text = nuc_ctl_option(ctl, "--not-before");

    if (text != NULL &&
        nuc_value_time(text, nuc_key_now(), 0, &key->is.not_before, err) != NUC_OK) {
        return NUC_INVALID;
    }

    text = nuc_ctl_option(ctl, "--expires");

    if (text == NULL || strcmp(text, "none") == 0) {
        return NUC_OK;
    }

    if (nuc_value_time(text, nuc_key_now(), 0, &key->expires, err) != NUC_OK) {
        return NUC_INVALID;
    }

    return key->expires > nuc_key_now()
               ? NUC_OK
               : nuc_err_set(err, NUC_INVALID, "the key would have expired already");
}

static nuc_rc_t nuc_key_create_fill(const nuc_ctl_t *ctl, nuc_key_create_t *create,
                                    nuc_err_t *err)
{
    nuc_rc_t rc;
    const char *text;
    nuc_registry_limits_t limits;
    nuc_registry_key_t *key = &create->key;

    text = nuc_ctl_option(ctl, "--tenant");

    if (text == NULL) {
        return nuc_err_set(err, NUC_INVALID, "\"--tenant\" is needed");
    }

    if (strlen(text) > NUC_NAME_MAX) {
        return nuc_err_set(err, NUC_INVALID, "\"%.64s...\" is no name of a tenant", text);
    }

    strcpy(key->tenant, text);
    text = nuc_ctl_option(ctl, "--name");

    if (text != NULL && strlen(text) > NUC_REGISTRY_LABEL_MAX) {
        return nuc_err_set(err, NUC_INVALID, "a key's name has at most %d bytes",
                           NUC_REGISTRY_LABEL_MAX);
    }

    strcpy(key->name, text != NULL ? text : "");
    text = nuc_ctl_option(ctl, "--scope");
    rc = nuc_scopes_parse(text != NULL ? text : "collect", &key->is.scopes, err);

    if (rc == NUC_OK) {
        rc = nuc_key_create_times(ctl, key, err);
    }

    if (rc == NUC_OK) {
        rc = nuc_value_limits(ctl, &limits, err);
    }

    if (rc == NUC_OK) {
        memcpy(key->is.limits, limits.limits, sizeof(key->is.limits));
        rc = nuc_key_create_lists(ctl, create, err);
    }

    return rc;
}

static nuc_rc_t nuc_key_create_bring(nuc_ctl_t *ctl, const nuc_secret_t *secret,
                                     void *change, uint64_t *ends, nuc_err_t *err)
{
    nuc_key_create_t *create = change;

    (void) ends;
    create->key.is.id = secret->id;
    memcpy(create->key.is.digest, secret->digest, NUC_KEY_DIGEST_LEN);

    return nuc_registry_key_create(ctl->registry, &create->key, err);
}

int nuc_ctl_key_create(nuc_ctl_t *ctl)
{
    int status;
    nuc_err_t err;
    nuc_key_create_t create;

    memset(&err, 0, sizeof(err));
    memset(&create, 0, sizeof(create));

    if (nuc_key_create_fill(ctl, &create, &err) != NUC_OK) {
        status = nuc_ctl_misuse(ctl, "%s%s%s", err.message,
                                err.hint[0] != '\0' ? ": " : "", err.hint);
    } else {
        status = nuc_ctl_open(ctl);

        if (status == 0) {
            status = nuc_key_with_secret(ctl, nuc_key_create_bring, &create);
        }
    }

    free(create.streams);
    free(create.networks);
    free(create.certificates);

    return status;
}

/* ---- rotate */

typedef struct {
    uint64_t id;
    nuc_registry_rotation_t rotation;
} nuc_key_rotate_t;

static nuc_rc_t nuc_key_rotate_fill(const nuc_ctl_t *ctl,
                                    nuc_registry_rotation_t *rotation, nuc_err_t *err)
{
    uint64_t ms;
    nuc_registry_key_t times;
    const char *text = nuc_ctl_option(ctl, "--overlap");

    rotation->now = nuc_key_now();
    rotation->overlap = NUC_KEY_OVERLAP;

    if (text != NULL) {
        if (nuc_value_duration(text, &ms, err) != NUC_OK) {
            return NUC_INVALID;
        }

        rotation->overlap = ms / 1000;
    }

    memset(&times, 0, sizeof(times));

    if (nuc_key_create_times(ctl, &times, err) != NUC_OK) {
        return NUC_INVALID;
    }

    rotation->expires_set = nuc_ctl_option(ctl, "--expires") != NULL;
    rotation->expires = times.expires;

    return NUC_OK;
}

static nuc_rc_t nuc_key_rotate_bring(nuc_ctl_t *ctl, const nuc_secret_t *secret,
                                     void *change, uint64_t *ends, nuc_err_t *err)
{
    nuc_rc_t rc;
    nuc_key_rotate_t *rotate = change;
    nuc_registry_keys_t old = {.keys = NULL};

    rotate->rotation.id = secret->id;
    memcpy(rotate->rotation.digest, secret->digest, NUC_KEY_DIGEST_LEN);
    rc = nuc_registry_key_rotate(ctl->registry, rotate->id, &rotate->rotation, err);

    /* what it says of the old one is the registry's word */
    *ends = rotate->rotation.now + rotate->rotation.overlap;

    if (rc == NUC_OK &&
        nuc_registry_keys(ctl->registry, NULL, &rotate->id, &old, NULL) == NUC_OK) {
        *ends = old.keys[0].is.not_after;
    }

    nuc_registry_keys_free(&old);

    return rc;
}

int nuc_ctl_key_rotate(nuc_ctl_t *ctl)
{
    int status;
    nuc_err_t err;
    nuc_key_rotate_t rotate;

    memset(&err, 0, sizeof(err));
    memset(&rotate, 0, sizeof(rotate));
    status = nuc_ctl_key_id(ctl, &rotate.id);

    if (status == 0 && nuc_key_rotate_fill(ctl, &rotate.rotation, &err) != NUC_OK) {
        status = nuc_ctl_misuse(ctl, "%s", err.message);
    }

    if (status == 0) {
        status = nuc_ctl_open(ctl);
    }

    return status == 0 ? nuc_key_with_secret(ctl, nuc_key_rotate_bring, &rotate) : status;
}

/* ---- revoke and limits */

int nuc_ctl_key_revoke(nuc_ctl_t *ctl)
{
    int status;
    nuc_err_t err;
    uint64_t id, ms;

    memset(&err, 0, sizeof(err));
    status = nuc_ctl_key_id(ctl, &id);

    if (status == 0) {
        status = nuc_ctl_timeout(ctl, &ms);
    }

    if (status == 0) {
        status = nuc_ctl_open(ctl);
    }

    if (status == 0 && nuc_registry_key_revoke(ctl->registry, id, &err) != NUC_OK) {
        status = nuc_ctl_fail(ctl, &err);
    }

    if (status == 0) {
        status = nuc_ctl_publish(ctl);
    }

    if (status != 0) {
        return status;
    }

    if (!ctl->json) {
        nuc_buf_printf(&ctl->out, "The key %s is revoked.\n", ctl->argument);
        return nuc_ctl_wait(ctl);
    }

    nuc_out_open(&ctl->out, NULL, '{');
    nuc_out_text(&ctl->out, "id", ctl->argument);
    nuc_out_bool(&ctl->out, "revoked", 1);
    status = nuc_ctl_wait(ctl);
    nuc_out_close(&ctl->out, '}');
    nuc_buf_char(&ctl->out, '\n');

    return status;
}

int nuc_ctl_key_limits(nuc_ctl_t *ctl)
{
    int status;
    uint64_t id;
    nuc_err_t err;
    nuc_registry_limits_t limits;

    memset(&err, 0, sizeof(err));
    status = nuc_ctl_key_id(ctl, &id);

    if (status != 0) {
        return status;
    }

    if (nuc_value_limits(ctl, &limits, &err) != NUC_OK) {
        return nuc_ctl_misuse(ctl, "%s: %s", err.message, err.hint);
    }

    if (limits.units == 0) {
        return nuc_ctl_misuse(ctl, "no limit is given");
    }

    status = nuc_ctl_open(ctl);

    if (status == 0 &&
        nuc_registry_key_limits(ctl->registry, id, &limits, &err) != NUC_OK) {
        status = nuc_ctl_fail(ctl, &err);
    }

    if (status == 0) {
        status = nuc_ctl_publish(ctl);
    }

    return status == 0 ? nuc_key_print(ctl, id) : status;
}
