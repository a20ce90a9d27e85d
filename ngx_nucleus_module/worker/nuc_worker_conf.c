#include "nuc_worker_conf.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/un.h>
#include <unistd.h>

#include "nuc_fs.h"
#include "nuc_name.h"

#define NUC_WORKER_CONF_MAX (4 * 1024 * 1024)    /* bytes of a file */
#define NUC_DIR_MAX         (NUC_PATH_MAX - 400) /* leaves room for what is made below */
#define NUC_KINDS_ALL       0
#define NUC_NUMBER_MAX      (1ULL << 50) /* so that sums and units cannot overflow */

/* Where the reading stands, and where messages go. */
typedef struct {
    const nuc_conf_directive_t *directive;
    const char *file;
    nuc_err_t *err;
} nuc_conf_reader_t;

typedef nuc_rc_t (*nuc_conf_set_pt)(nuc_conf_reader_t *r, void *base);

typedef struct {
    const char *name;
    int block;
    int repeats; /* may stand more than once */
    nuc_conf_set_pt set;
} nuc_conf_command_t;

static nuc_rc_t nuc_conf_bad(const nuc_conf_reader_t *r, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

static nuc_rc_t nuc_conf_set_state(nuc_conf_reader_t *r, void *base);
static nuc_rc_t nuc_conf_set_queue(nuc_conf_reader_t *r, void *base);
static nuc_rc_t nuc_conf_set_error_log(nuc_conf_reader_t *r, void *base);
static nuc_rc_t nuc_conf_set_api(nuc_conf_reader_t *r, void *base);
static nuc_rc_t nuc_conf_set_queue_path(nuc_conf_reader_t *r, void *base);
static nuc_rc_t nuc_conf_set_pipeline(nuc_conf_reader_t *r, void *base);
static nuc_rc_t nuc_conf_set_tenants(nuc_conf_reader_t *r, void *base);
static nuc_rc_t nuc_conf_set_streams(nuc_conf_reader_t *r, void *base);
static nuc_rc_t nuc_conf_set_kinds(nuc_conf_reader_t *r, void *base);
static nuc_rc_t nuc_conf_set_start(nuc_conf_reader_t *r, void *base);
static nuc_rc_t nuc_conf_set_batch_size(nuc_conf_reader_t *r, void *base);
static nuc_rc_t nuc_conf_set_batch_events(nuc_conf_reader_t *r, void *base);
static nuc_rc_t nuc_conf_set_batch_time(nuc_conf_reader_t *r, void *base);
static nuc_rc_t nuc_conf_set_sink(nuc_conf_reader_t *r, void *base);

static const nuc_conf_command_t nuc_worker_commands[] = {
    {"state", 0, 0, nuc_conf_set_state},         {"queue", 1, 0, nuc_conf_set_queue},
    {"error_log", 0, 0, nuc_conf_set_error_log}, {"api", 0, 0, nuc_conf_set_api},
    {"pipeline", 1, 1, nuc_conf_set_pipeline},   {NULL, 0, 0, NULL},
};

static const nuc_conf_command_t nuc_queue_commands[] = {
    {"path", 0, 0, nuc_conf_set_queue_path},
    {NULL, 0, 0, NULL},
};

static const nuc_conf_command_t nuc_pipeline_commands[] = {
    {"tenants", 0, 0, nuc_conf_set_tenants},
    {"streams", 0, 0, nuc_conf_set_streams},
    {"kinds", 0, 0, nuc_conf_set_kinds},
    {"start", 0, 0, nuc_conf_set_start},
    {"batch_size", 0, 0, nuc_conf_set_batch_size},
    {"batch_events", 0, 0, nuc_conf_set_batch_events},
    {"batch_time", 0, 0, nuc_conf_set_batch_time},
    {"sink", 1, 0, nuc_conf_set_sink},
    {NULL, 0, 0, NULL},
};

static nuc_rc_t nuc_conf_bad(const nuc_conf_reader_t *r, const char *fmt, ...)
{
    char what[256];
    va_list args;

    va_start(args, fmt);
    vsnprintf(what, sizeof(what), fmt, args);
    va_end(args);

    return nuc_err_set(r->err, NUC_INVALID, "%s in %s:%u", what, r->file,
                       r->directive->line);
}

static nuc_rc_t nuc_conf_no_memory(const nuc_conf_reader_t *r)
{
    return nuc_err_set(r->err, NUC_NOMEM, "no memory for the configuration");
}

/* Walking a block. */

static const nuc_conf_command_t *nuc_conf_find(const nuc_conf_command_t *commands,
                                               const char *name)
{
    for (/* void */; commands->name != NULL; commands++) {
        if (strcmp(commands->name, name) == 0) {
            return commands;
        }
    }

    return NULL;
}

static int nuc_conf_seen_before(const nuc_conf_directive_t *first,
                                const nuc_conf_directive_t *directive)
{
    for (/* void */; first != directive; first = first->next) {
        if (strcmp(first->name, directive->name) == 0) {
            return 1;
        }
    }

    return 0;
}

static nuc_rc_t nuc_conf_block_or_not(const nuc_conf_reader_t *r, int block)
{
    if (r->directive->block == block) {
        return NUC_OK;
    }

    if (block) {
        return nuc_conf_bad(r, "directive \"%s\" has no opening \"{\"",
                            r->directive->name);
    }

    return nuc_conf_bad(r, "directive \"%s\" takes no block", r->directive->name);
}

static nuc_rc_t nuc_conf_walk(const nuc_conf_directive_t *first,
                              const nuc_conf_command_t *commands, const char *file,
                              void *base, nuc_err_t *err)
{
    nuc_rc_t rc;
    nuc_conf_reader_t r;
    const nuc_conf_command_t *command;
    const nuc_conf_directive_t *d;

    for (d = first; d != NULL; d = d->next) {
        r = (nuc_conf_reader_t){d, file, err};

        command = nuc_conf_find(commands, d->name);
        if (command == NULL) {
            return nuc_conf_bad(&r, "unknown directive \"%s\"", d->name);
        }

        if (!command->repeats && nuc_conf_seen_before(first, d)) {
            return nuc_conf_bad(&r, "directive \"%s\" is duplicate", d->name);
        }

        rc = nuc_conf_block_or_not(&r, command->block);
        if (rc != NUC_OK) {
            return rc;
        }

        rc = command->set(&r, base);
        if (rc != NUC_OK) {
            return rc;
        }
    }

    return NUC_OK;
}

/* Values. */

static nuc_rc_t nuc_conf_one_argument(const nuc_conf_reader_t *r)
{
    if (r->directive->nargs != 1) {
        return nuc_conf_bad(r, "invalid number of arguments in \"%s\"",
                            r->directive->name);
    }

    return NUC_OK;
}

static nuc_rc_t nuc_conf_set_text(const nuc_conf_reader_t *r, const char **field)
{
    nuc_rc_t rc;
    const char *p;

    rc = nuc_conf_one_argument(r);
    if (rc != NUC_OK) {
        return rc;
    }

    *field = r->directive->args[0];

    for (p = *field; *p != '\0'; p++) {
        if ((unsigned char) *p < ' ') {
            return nuc_conf_bad(r, "control character in the value of \"%s\"",
                                r->directive->name);
        }
    }

    return NUC_OK;
}

static nuc_rc_t nuc_conf_set_dir(const nuc_conf_reader_t *r, const char **field)
{
    nuc_rc_t rc;

    rc = nuc_conf_set_text(r, field);
    if (rc != NUC_OK) {
        return rc;
    }

    if ((*field)[0] == '\0') {
        return nuc_conf_bad(r, "empty path in \"%s\"", r->directive->name);
    }

    if (strlen(*field) > NUC_DIR_MAX) {
        return nuc_conf_bad(r, "too long path in \"%s\"", r->directive->name);
    }

    return NUC_OK;
}

/* A size, time or count, which must not be zero. */
static nuc_rc_t nuc_conf_set_number(const nuc_conf_reader_t *r,
                                    nuc_rc_t (*parse)(const char *text, uint64_t *number),
                                    uint64_t *field)
{
    nuc_rc_t rc;

    rc = nuc_conf_one_argument(r);
    if (rc != NUC_OK) {
        return rc;
    }

    if (parse(r->directive->args[0], field) != NUC_OK || *field == 0 ||
        *field > NUC_NUMBER_MAX) {
        return nuc_conf_bad(r, "invalid value \"%s\" in \"%s\"", r->directive->args[0],
                            r->directive->name);
    }

    return NUC_OK;
}

/* "*", a name, or the beginning of names with "*" behind it. */
static int nuc_conf_pattern_valid(const char *pattern)
{
    nuc_str_t s;

    s = nuc_str(pattern);

    if (s.len > 0 && s.data[s.len - 1] == '*') {
        s.len--;
        return s.len == 0 || nuc_name_valid(s);
    }

    return nuc_name_valid(s);
}

static nuc_rc_t nuc_conf_set_filter(const nuc_conf_reader_t *r, nuc_filter_t *filter)
{
    unsigned i;
    const nuc_conf_directive_t *d;

    d = r->directive;

    if (d->nargs == 0) {
        return nuc_conf_bad(r, "invalid number of arguments in \"%s\"", d->name);
    }

    for (i = 0; i < d->nargs; i++) {
        if (!nuc_conf_pattern_valid(d->args[i])) {
            return nuc_conf_bad(r, "invalid name \"%s\" in \"%s\"", d->args[i], d->name);
        }
    }

    filter->patterns = d->args;
    filter->count = d->nargs;

    return NUC_OK;
}

/* The top level. */

static nuc_rc_t nuc_conf_set_state(nuc_conf_reader_t *r, void *base)
{
    nuc_worker_conf_t *conf = base;

    conf->state_line = r->directive->line;

    return nuc_conf_set_dir(r, &conf->state);
}

/* FILE or "stderr", and the least level that is logged. */
static nuc_rc_t nuc_conf_set_error_log(nuc_conf_reader_t *r, void *base)
{
    nuc_conf_directive_t first;
    nuc_conf_reader_t at;
    nuc_worker_conf_t *conf = base;
    const nuc_conf_directive_t *d = r->directive;

    if (d->nargs != 1 && d->nargs != 2) {
        return nuc_conf_bad(r, "invalid number of arguments in \"%s\"", d->name);
    }

    if (d->nargs == 2 && nuc_logline_level(d->args[1], &conf->log_level) != NUC_OK) {
        return nuc_conf_bad(r, "invalid level \"%s\" in \"%s\"", d->args[1], d->name);
    }

    if (strcmp(d->args[0], "stderr") == 0) {
        return NUC_OK;
    }

    first = *d;
    first.nargs = 1;
    at = *r;
    at.directive = &first;

    return nuc_conf_set_dir(&at, &conf->error_log);
}

/* "unix:PATH" or "off" */
static nuc_rc_t nuc_conf_set_api(nuc_conf_reader_t *r, void *base)
{
    nuc_rc_t rc;
    const char *value;
    nuc_worker_conf_t *conf = base;

    rc = nuc_conf_set_text(r, &value);
    if (rc != NUC_OK) {
        return rc;
    }

    if (strcmp(value, "off") == 0) {
        conf->api = NULL;
        return NUC_OK;
    }

    if (strncmp(value, "unix:", 5) != 0 || value[5] == '\0') {
        return nuc_conf_bad(r, "\"api\" is \"%s\", not \"unix:PATH\" or \"off\"", value);
    }

    conf->api = value + 5;

    if (strlen(conf->api) >= sizeof(((struct sockaddr_un *) NULL)->sun_path)) {
        return nuc_conf_bad(
            r, "too long path in \"%s\", a socket's has at most %zu bytes",
            r->directive->name, sizeof(((struct sockaddr_un *) NULL)->sun_path) - 1);
    }

    return NUC_OK;
}

static nuc_rc_t nuc_conf_set_queue(nuc_conf_reader_t *r, void *base)
{
    nuc_rc_t rc;
    nuc_worker_conf_t *conf = base;

    rc = nuc_conf_one_argument(r);
    if (rc != NUC_OK) {
        return rc;
    }

    if (strcmp(r->directive->args[0], "log") != 0) {
        return nuc_conf_bad(r, "unknown queue \"%s\"", r->directive->args[0]);
    }

    rc = nuc_conf_walk(r->directive->children, nuc_queue_commands, r->file, conf, r->err);
    if (rc != NUC_OK) {
        return rc;
    }

    if (conf->queue == NULL) {
        return nuc_conf_bad(r, "no \"path\" in \"queue log\"");
    }

    return NUC_OK;
}

static nuc_rc_t nuc_conf_set_queue_path(nuc_conf_reader_t *r, void *base)
{
    nuc_worker_conf_t *conf = base;

    conf->queue_line = r->directive->line;

    return nuc_conf_set_dir(r, &conf->queue);
}

static nuc_rc_t nuc_conf_set_pipeline(nuc_conf_reader_t *r, void *base)
{
    nuc_rc_t rc;
    const char *name;
    nuc_worker_conf_t *conf = base;
    nuc_pipeline_conf_t *pipeline;

    rc = nuc_conf_one_argument(r);
    if (rc != NUC_OK) {
        return rc;
    }

    name = r->directive->args[0];

    if (!nuc_name_valid(nuc_str(name))) {
        return nuc_conf_bad(r, "invalid name of a pipeline \"%s\"", name);
    }

    if (nuc_worker_conf_pipeline(conf, name) != NULL) {
        return nuc_conf_bad(r, "duplicate pipeline \"%s\"", name);
    }

    pipeline = realloc(conf->pipelines, (conf->npipelines + 1) * sizeof(*pipeline));
    if (pipeline == NULL) {
        return nuc_conf_no_memory(r);
    }

    conf->pipelines = pipeline;
    pipeline += conf->npipelines++;

    memset(pipeline, 0, sizeof(*pipeline));
    pipeline->name = name;
    pipeline->batch_size = 8 * 1024 * 1024;
    pipeline->batch_events = 10000;
    pipeline->batch_time = 1000;

    rc = nuc_conf_walk(r->directive->children, nuc_pipeline_commands, r->file, pipeline,
                       r->err);
    if (rc != NUC_OK) {
        return rc;
    }

    if (pipeline->sink == NULL) {
        return nuc_conf_bad(r, "no \"sink\" in pipeline \"%s\"", name);
    }

    return NUC_OK;
}

/* In a pipeline. */

static nuc_rc_t nuc_conf_set_tenants(nuc_conf_reader_t *r, void *base)
{
    return nuc_conf_set_filter(r, &((nuc_pipeline_conf_t *) base)->tenants);
}

static nuc_rc_t nuc_conf_set_streams(nuc_conf_reader_t *r, void *base)
{
    return nuc_conf_set_filter(r, &((nuc_pipeline_conf_t *) base)->streams);
}

static nuc_kind_t nuc_conf_kind(const char *name)
{
    int kind;

    for (kind = 1; kind < NUC_KIND_COUNT; kind++) {
        if (strcmp(nuc_kind_name((nuc_kind_t) kind), name) == 0) {
            return (nuc_kind_t) kind;
        }
    }

    return NUC_KIND_COUNT;
}

static nuc_rc_t nuc_conf_set_kinds(nuc_conf_reader_t *r, void *base)
{
    unsigned i;
    nuc_kind_t kind;
    nuc_pipeline_conf_t *pipeline = base;
    const nuc_conf_directive_t *d;

    d = r->directive;

    if (d->nargs == 0) {
        return nuc_conf_bad(r, "invalid number of arguments in \"%s\"", d->name);
    }

    if (d->nargs == 1 && strcmp(d->args[0], "*") == 0) {
        pipeline->kinds = NUC_KINDS_ALL;
        return NUC_OK;
    }

    for (i = 0; i < d->nargs; i++) {
        kind = nuc_conf_kind(d->args[i]);
        if (kind == NUC_KIND_COUNT) {
            return nuc_conf_bad(r, "unknown kind \"%s\"", d->args[i]);
        }

        pipeline->kinds |= 1u << kind;
    }

    return NUC_OK;
}

static nuc_rc_t nuc_conf_set_start(nuc_conf_reader_t *r, void *base)
{
    nuc_rc_t rc;
    const char *value;

    rc = nuc_conf_one_argument(r);
    if (rc != NUC_OK) {
        return rc;
    }

    value = r->directive->args[0];

    if (strcmp(value, "earliest") != 0 && strcmp(value, "latest") != 0) {
        return nuc_conf_bad(r, "\"start\" is \"%s\", not \"earliest\" or \"latest\"",
                            value);
    }

    ((nuc_pipeline_conf_t *) base)->from_end = strcmp(value, "latest") == 0;

    return NUC_OK;
}

static nuc_rc_t nuc_conf_set_batch_size(nuc_conf_reader_t *r, void *base)
{
    return nuc_conf_set_number(r, nuc_conf_size,
                               &((nuc_pipeline_conf_t *) base)->batch_size);
}

static nuc_rc_t nuc_conf_set_batch_events(nuc_conf_reader_t *r, void *base)
{
    return nuc_conf_set_number(r, nuc_conf_count,
                               &((nuc_pipeline_conf_t *) base)->batch_events);
}

static nuc_rc_t nuc_conf_set_batch_time(nuc_conf_reader_t *r, void *base)
{
    return nuc_conf_set_number(r, nuc_conf_time,
                               &((nuc_pipeline_conf_t *) base)->batch_time);
}

/* The sink, by its own table of options. */

static nuc_rc_t nuc_conf_set_option(const nuc_conf_reader_t *r,
                                    const nuc_sink_option_t *option, void *options)
{
    void *field;

    field = (char *) options + option->offset;

    switch (option->type) {
    case NUC_SINK_STRING:
        return nuc_conf_set_text(r, field);
    case NUC_SINK_DIR:
        return nuc_conf_set_dir(r, field);
    case NUC_SINK_SIZE:
        return nuc_conf_set_number(r, nuc_conf_size, field);
    case NUC_SINK_TIME:
        return nuc_conf_set_number(r, nuc_conf_time, field);
    case NUC_SINK_COUNT:
        return nuc_conf_set_number(r, nuc_conf_count, field);
    }

    return nuc_conf_bad(r, "option \"%s\" has no type", option->name);
}

static const nuc_conf_directive_t *nuc_conf_child(const nuc_conf_directive_t *parent,
                                                  const char *name)
{
    const nuc_conf_directive_t *d;

    for (d = parent->children; d != NULL; d = d->next) {
        if (strcmp(d->name, name) == 0) {
            return d;
        }
    }

    return NULL;
}

static nuc_rc_t nuc_conf_set_options(const nuc_conf_reader_t *r,
                                     const nuc_sink_ops_t *sink, void *options)
{
    nuc_rc_t rc;
    const char *args[1];
    nuc_conf_reader_t at;
    nuc_conf_directive_t by_default;
    const nuc_sink_option_t *option;

    for (option = sink->options; option->name != NULL; option++) {
        at = *r;
        at.directive = nuc_conf_child(r->directive, option->name);

        if (at.directive == NULL) {

            if (option->default_value == NULL) {
                return nuc_conf_bad(r, "no \"%s\" in \"sink %s\"", option->name,
                                    sink->name);
            }

            args[0] = option->default_value;
            by_default = *r->directive;
            by_default.name = option->name;
            by_default.args = args;
            by_default.nargs = 1;
            at.directive = &by_default;
        }

        rc = nuc_conf_set_option(&at, option, options);
        if (rc != NUC_OK) {
            return rc;
        }
    }

    return NUC_OK;
}

static const nuc_sink_option_t *nuc_conf_find_option(const nuc_sink_ops_t *sink,
                                                     const char *name)
{
    const nuc_sink_option_t *option;

    for (option = sink->options; option->name != NULL; option++) {
        if (strcmp(option->name, name) == 0) {
            return option;
        }
    }

    return NULL;
}

static nuc_rc_t nuc_conf_check_options(const nuc_conf_reader_t *r,
                                       const nuc_sink_ops_t *sink)
{
    nuc_rc_t rc;
    nuc_conf_reader_t at;
    const nuc_conf_directive_t *d;

    for (d = r->directive->children; d != NULL; d = d->next) {
        at = (nuc_conf_reader_t){d, r->file, r->err};

        if (nuc_conf_find_option(sink, d->name) == NULL) {
            return nuc_conf_bad(&at, "unknown directive \"%s\"", d->name);
        }

        if (nuc_conf_seen_before(r->directive->children, d)) {
            return nuc_conf_bad(&at, "directive \"%s\" is duplicate", d->name);
        }

        rc = nuc_conf_block_or_not(&at, 0);
        if (rc != NUC_OK) {
            return rc;
        }
    }

    return NUC_OK;
}

static nuc_rc_t nuc_conf_set_sink(nuc_conf_reader_t *r, void *base)
{
    nuc_rc_t rc;
    nuc_pipeline_conf_t *pipeline = base;

    rc = nuc_conf_one_argument(r);
    if (rc != NUC_OK) {
        return rc;
    }

    pipeline->sink = nuc_sink_find(r->directive->args[0]);
    if (pipeline->sink == NULL) {
        return nuc_conf_bad(r, "unknown sink \"%s\"", r->directive->args[0]);
    }

    rc = nuc_conf_check_options(r, pipeline->sink);
    if (rc != NUC_OK) {
        return rc;
    }

    pipeline->sink_options = calloc(1, pipeline->sink->options_size);
    if (pipeline->sink_options == NULL) {
        return nuc_conf_no_memory(r);
    }

    return nuc_conf_set_options(r, pipeline->sink, pipeline->sink_options);
}

/* The whole. */

static nuc_rc_t nuc_worker_conf_read(nuc_worker_conf_t *conf, const char *file,
                                     nuc_err_t *err)
{
    nuc_rc_t rc;

    rc = nuc_conf_walk(nuc_conf_root(conf->tree), nuc_worker_commands, file, conf, err);
    if (rc != NUC_OK) {
        return rc;
    }

    if (conf->queue == NULL) {
        return nuc_err_set(err, NUC_INVALID, "no \"queue\" in %s", file);
    }

    if (conf->npipelines == 0) {
        return nuc_err_set(err, NUC_INVALID, "no \"pipeline\" in %s", file);
    }

    return NUC_OK;
}

nuc_rc_t nuc_worker_conf_parse(nuc_str_t text, const char *file, nuc_worker_conf_t *conf,
                               nuc_err_t *err)
{
    nuc_rc_t rc;

    memset(conf, 0, sizeof(*conf));
    conf->state = NUC_WORKER_STATE_DEFAULT;
    conf->api = NUC_WORKER_API_DEFAULT;

    rc = nuc_conf_parse(text, file, &conf->tree, err);
    if (rc != NUC_OK) {
        return rc;
    }

    rc = nuc_worker_conf_read(conf, nuc_conf_file(conf->tree), err);
    if (rc != NUC_OK) {
        nuc_worker_conf_free(conf);
    }

    return rc;
}

nuc_rc_t nuc_worker_conf_load(const char *file, nuc_worker_conf_t *conf, nuc_err_t *err)
{
    nuc_rc_t rc;
    nuc_buf_t text;

    text = NUC_BUF_INIT;

    rc = nuc_fs_read_file(&nuc_sys_posix, file, NUC_WORKER_CONF_MAX, &text, err);
    if (rc == NUC_OK) {
        rc = nuc_worker_conf_parse((nuc_str_t){text.data, text.len}, file, conf, err);
    }

    nuc_buf_free(&text);

    return rc;
}

void nuc_worker_conf_free(nuc_worker_conf_t *conf)
{
    unsigned i;

    for (i = 0; i < conf->npipelines; i++) {
        free(conf->pipelines[i].sink_options);
    }

    free(conf->pipelines);
    nuc_conf_free(conf->tree);
    memset(conf, 0, sizeof(*conf));
}

/* Directories. */

/* Cut the path to that of the directory above. */
static void nuc_conf_parent(char *path)
{
    char *slash;

    slash = strrchr(path, '/');

    if (slash == NULL) {
        strcpy(path, ".");
    } else if (slash == path) {
        path[1] = '\0';
    } else {
        *slash = '\0';
    }
}

static nuc_rc_t nuc_conf_check_dir(const char *what, const char *path, nuc_err_t *err)
{
    char dir[NUC_PATH_MAX];
    struct stat st;

    snprintf(dir, sizeof(dir), "%s", path);

    /* up to the first directory that exists: below it the rest will be made */
    while (stat(dir, &st) == -1) {
        if (errno != ENOENT) {
            return nuc_err_sys(err, NUC_IO, errno, "%s \"%s\" cannot be reached", what,
                               path);
        }

        nuc_conf_parent(dir);
    }

    if (!S_ISDIR(st.st_mode)) {
        return nuc_err_set(err, NUC_INVALID, "%s \"%s\": \"%s\" is not a directory", what,
                           path, dir);
    }

    if (access(dir, R_OK | W_OK | X_OK) == -1) {
        return nuc_err_sys(err, NUC_IO, errno, "%s \"%s\": no access to \"%s\"", what,
                           path, dir);
    }

    return NUC_OK;
}

static nuc_rc_t nuc_conf_check_sink(const nuc_pipeline_conf_t *pipeline, nuc_err_t *err)
{
    nuc_rc_t rc;
    const char *dir;
    const nuc_sink_option_t *option = NULL;

    while ((option = nuc_sink_next_dir(pipeline->sink, pipeline->sink_options, option,
                                       &dir)) != NULL) {
        rc = nuc_conf_check_dir(option->name, dir, err);
        if (rc != NUC_OK) {
            return rc;
        }
    }

    return NUC_OK;
}

/* It is made at the start, in a directory that must be there. */
static nuc_rc_t nuc_conf_check_log(const char *file, nuc_err_t *err)
{
    char dir[NUC_PATH_MAX];
    struct stat st;

    if (file == NULL) {
        return NUC_OK;
    }

    if (stat(file, &st) == 0) {
        if (S_ISDIR(st.st_mode) || access(file, W_OK) == -1) {
            return nuc_err_sys(err, NUC_IO, S_ISDIR(st.st_mode) ? EISDIR : errno,
                               "error_log \"%s\" cannot be written", file);
        }

        return NUC_OK;
    }

    snprintf(dir, sizeof(dir), "%s", file);
    nuc_conf_parent(dir);

    if (access(dir, W_OK | X_OK) == -1) {
        return nuc_err_sys(err, NUC_IO, errno, "error_log \"%s\" cannot be made", file);
    }

    return NUC_OK;
}

nuc_rc_t nuc_worker_conf_check(const nuc_worker_conf_t *conf, nuc_err_t *err)
{
    unsigned i;
    nuc_rc_t rc;

    rc = nuc_conf_check_log(conf->error_log, err);

    if (rc == NUC_OK) {
        rc = nuc_conf_check_dir("state", conf->state, err);
    }

    if (rc == NUC_OK) {
        rc = nuc_conf_check_dir("queue", conf->queue, err);
    }

    for (i = 0; rc == NUC_OK && i < conf->npipelines; i++) {
        rc = nuc_conf_check_sink(&conf->pipelines[i], err);
    }

    return rc;
}

nuc_rc_t nuc_worker_conf_check_api(const nuc_worker_conf_t *conf, nuc_err_t *err)
{
    char dir[NUC_PATH_MAX];

    if (conf->api == NULL) {
        return NUC_OK;
    }

    snprintf(dir, sizeof(dir), "%s", conf->api);
    nuc_conf_parent(dir);

    if (access(dir, W_OK | X_OK) == 0) {
        return NUC_OK;
    }

    nuc_err_sys(err, NUC_IO, errno, "the socket \"%s\" cannot be made in \"%s\"",
                conf->api, dir);
    nuc_err_hint(err, "make the directory, owned by the user of nucleus-worker; or set "
                      "\"api unix:PATH;\" or \"api off;\" in the configuration");

    return NUC_IO;
}

const nuc_pipeline_conf_t *nuc_worker_conf_pipeline(const nuc_worker_conf_t *conf,
                                                    const char *name)
{
    unsigned i;

    for (i = 0; i < conf->npipelines; i++) {
        if (strcmp(conf->pipelines[i].name, name) == 0) {
            return &conf->pipelines[i];
        }
    }

    return NULL;
}

/* Comparison. */

static int nuc_filter_same(const nuc_filter_t *a, const nuc_filter_t *b)
{
    unsigned i;

    if (a->count != b->count) {
        return 0;
    }

    for (i = 0; i < a->count; i++) {
        if (strcmp(a->patterns[i], b->patterns[i]) != 0) {
            return 0;
        }
    }

    return 1;
}

static int nuc_option_same(const nuc_sink_option_t *option, const void *a, const void *b)
{
    const char *x = (const char *) a + option->offset;
    const char *y = (const char *) b + option->offset;

    if (option->type == NUC_SINK_STRING || option->type == NUC_SINK_DIR) {
        return strcmp(*(const char *const *) x, *(const char *const *) y) == 0;
    }

    return *(const uint64_t *) x == *(const uint64_t *) y;
}

int nuc_pipeline_conf_same(const nuc_pipeline_conf_t *a, const nuc_pipeline_conf_t *b)
{
    const nuc_sink_option_t *option;

    /* from_end has had its meaning when the pipeline was registered */
    if (!nuc_filter_same(&a->tenants, &b->tenants) ||
        !nuc_filter_same(&a->streams, &b->streams) || a->kinds != b->kinds ||
        a->batch_size != b->batch_size || a->batch_events != b->batch_events ||
        a->batch_time != b->batch_time || a->sink != b->sink) {
        return 0;
    }

    for (option = a->sink->options; option->name != NULL; option++) {
        if (!nuc_option_same(option, a->sink_options, b->sink_options)) {
            return 0;
        }
    }

    return 1;
}

/* Filters. */

static int nuc_filter_match_one(const char *pattern, nuc_str_t name)
{
    size_t len;

    len = strlen(pattern);

    if (len > 0 && pattern[len - 1] == '*') {
        len--;
        return name.len >= len && (len == 0 || memcmp(name.data, pattern, len) == 0);
    }

    return nuc_str_eq(name, nuc_str(pattern));
}

int nuc_filter_match(const nuc_filter_t *filter, nuc_str_t name)
{
    unsigned i;

    for (i = 0; i < filter->count; i++) {
        if (nuc_filter_match_one(filter->patterns[i], name)) {
            return 1;
        }
    }

    return filter->count == 0;
}

int nuc_pipeline_wants(const nuc_pipeline_conf_t *conf, const nuc_record_t *record)
{
    /* the kind of a newer writer may be any byte */
    if (conf->kinds != NUC_KINDS_ALL &&
        (record->kind >= NUC_KIND_COUNT || (conf->kinds & (1u << record->kind)) == 0)) {
        return 0;
    }

    return nuc_filter_match(&conf->tenants, record->attr[NUC_ATTR_TENANT]) &&
           nuc_filter_match(&conf->streams, record->attr[NUC_ATTR_STREAM]);
}
