/*
 * worker.conf: the grammar (a tree that is written out reads back as itself) and the
 * meaning (what is taken is complete and within its limits; what is not says where).
 */

#include "fuzz.h"
#include "nuc_conf.h"
#include "nuc_fs.h"
#include "nuc_name.h"
#include "nuc_worker_conf.h"

#define FILE_NAME "worker.conf"

/* A word as quoted text. */
static void write_word(nuc_buf_t *out, const char *word)
{
    nuc_buf_char(out, '"');

    for (/* void */; *word != '\0'; word++) {
        if (*word == '"' || *word == '\\') {
            nuc_buf_char(out, '\\');
        }

        nuc_buf_char(out, *word);
    }

    nuc_buf_append(out, "\" ", 2);
}

static unsigned count_lines(nuc_str_t text)
{
    size_t i;
    unsigned lines;

    lines = 1;

    for (i = 0; i < text.len; i++) {
        lines += text.data[i] == '\n';
    }

    return lines;
}

/* "lines" gets the line of each directive. */
static void write_tree(nuc_buf_t *out, nuc_buf_t *lines, const nuc_conf_directive_t *d)
{
    unsigned i, line;

    for (/* void */; d != NULL; d = d->next) {
        line = count_lines((nuc_str_t){out->data, out->len});
        nuc_buf_append(lines, &line, sizeof(line));
        write_word(out, d->name);

        for (i = 0; i < d->nargs; i++) {
            write_word(out, d->args[i]);
        }

        if (!d->block) {
            nuc_buf_append(out, ";\n", 2);
            continue;
        }

        nuc_buf_append(out, "{\n", 2);
        write_tree(out, lines, d->children);
        nuc_buf_append(out, "}\n", 2);
    }
}

static void check_same_tree(const nuc_conf_directive_t *a, const nuc_conf_directive_t *b,
                            const unsigned **line)
{
    unsigned i;

    for (/* void */; a != NULL && b != NULL; a = a->next, b = b->next) {
        FUZZ_CHECK(b->line == *(*line)++, "\"%s\" stands in another line", b->name);
        FUZZ_CHECK(strcmp(a->name, b->name) == 0 && a->nargs == b->nargs &&
                       a->block == b->block,
                   "\"%s\" reads back as \"%s\"", a->name, b->name);

        for (i = 0; i < a->nargs; i++) {
            FUZZ_CHECK(strcmp(a->args[i], b->args[i]) == 0,
                       "argument \"%s\" reads back as \"%s\"", a->args[i], b->args[i]);
        }

        check_same_tree(a->children, b->children, line);
    }

    FUZZ_CHECK(a == NULL && b == NULL, "another number of directives");
}

/* Lines do not run backwards, nor beyond the text. */
static unsigned check_lines(const nuc_conf_directive_t *d, unsigned line, unsigned last)
{
    for (/* void */; d != NULL; d = d->next) {
        FUZZ_CHECK(d->line >= line && d->line <= last, "line %u after %u, of %u", d->line,
                   line, last);
        FUZZ_CHECK(d->block || d->children == NULL, "children without a block");
        line = check_lines(d->children, d->line, last);
    }

    return line;
}

/* "... in worker.conf:7", with a line that there is, where a line is at fault. */
static void check_fault(nuc_rc_t rc, const nuc_err_t *err, unsigned lines)
{
    char *end;
    unsigned long line;
    const char *where;

    FUZZ_CHECK(rc == NUC_INVALID, "a bad text answers %d", rc);
    fuzz_check_err(rc, err);

    where = strstr(err->message, " in " FILE_NAME);
    FUZZ_CHECK(where != NULL, "\"%s\" names no file", err->message);

    while (strstr(where + 1, " in " FILE_NAME) != NULL) {
        where = strstr(where + 1, " in " FILE_NAME);
    }

    where += strlen(" in " FILE_NAME);

    if (*where == '\0') {
        return;
    }

    line = strtoul(where + 1, &end, 10);
    FUZZ_CHECK(*where == ':' && *end == '\0' && line >= 1 && line <= lines,
               "\"%s\": there are %u lines", err->message, lines);
}

static void check_tree(nuc_str_t text)
{
    nuc_rc_t rc;
    nuc_err_t err;
    nuc_buf_t out = NUC_BUF_INIT, lines = NUC_BUF_INIT;
    nuc_conf_t *conf, *again;
    const unsigned *line;

    rc = nuc_conf_parse(text, FILE_NAME, &conf, &err);

    if (rc != NUC_OK) {
        FUZZ_CHECK(conf == NULL, "a tree of a bad text");
        check_fault(rc, &err, count_lines(text));
        return;
    }

    check_lines(nuc_conf_root(conf), 1, count_lines(text));

    nuc_buf_append(&out, "# again\n", 8);
    write_tree(&out, &lines, nuc_conf_root(conf));
    rc = nuc_conf_parse((nuc_str_t){out.data, out.len}, FILE_NAME, &again, &err);
    FUZZ_CHECK(rc == NUC_OK, "what was written out: %s", err.message);
    line = (const unsigned *) (const void *) lines.data;
    check_same_tree(nuc_conf_root(conf), nuc_conf_root(again), &line);

    nuc_conf_free(again);
    nuc_conf_free(conf);
    nuc_buf_free(&out);
    nuc_buf_free(&lines);
}

static void check_number(uint64_t number)
{
    FUZZ_CHECK(number > 0 && number <= 1ULL << 50, "the number %llu",
               (unsigned long long) number);
}

static void check_path(const char *path)
{
    size_t len;

    len = strlen(path);
    FUZZ_CHECK(len > 0 && len < NUC_PATH_MAX, "a path of %zu bytes", len);
}

/* A filter takes the names that it lists, and what begins as its patterns do. */
static void check_filter(const nuc_filter_t *filter)
{
    unsigned i;
    size_t len;
    char name[2 * NUC_NAME_MAX + 2];

    for (i = 0; i < filter->count; i++) {
        len = strlen(filter->patterns[i]);
        FUZZ_CHECK(len > 0 && len <= NUC_NAME_MAX + 1, "a pattern of %zu bytes", len);

        strcpy(name, filter->patterns[i]);

        if (name[len - 1] == '*') {
            strcpy(name + len - 1, "x");
        }

        FUZZ_CHECK(nuc_filter_match(filter, nuc_str(name)), "\"%s\" is not taken", name);
    }

    FUZZ_CHECK(filter->count != 0 || nuc_filter_match(filter, NUC_STR("any")),
               "no filter takes all");
}

static void check_pipeline(const nuc_worker_conf_t *conf, const nuc_pipeline_conf_t *p)
{
    nuc_record_t record = {.kind = NUC_KIND_JSON};

    FUZZ_CHECK(nuc_name_valid(nuc_str(p->name)), "a pipeline \"%s\"", p->name);
    FUZZ_CHECK(nuc_worker_conf_pipeline(conf, p->name) == p, "two pipelines \"%s\"",
               p->name);
    check_number(p->batch_size);
    check_number(p->batch_events);
    check_number(p->batch_time);
    check_filter(&p->tenants);
    check_filter(&p->streams);
    FUZZ_CHECK(p->sink != NULL && p->sink_options != NULL, "a pipeline without a sink");
    check_path(*(const char **) p->sink_options); /* path is the file sink's first */

    FUZZ_CHECK(nuc_pipeline_wants(p, &record) ==
                   ((p->kinds == 0 || (p->kinds & 1u << NUC_KIND_JSON) != 0) &&
                    nuc_filter_match(&p->tenants, NUC_STR_NONE) &&
                    nuc_filter_match(&p->streams, NUC_STR_NONE)),
               "what pipeline \"%s\" wants", p->name);
}

static void check_meaning(nuc_str_t text)
{
    unsigned i;
    nuc_rc_t rc;
    nuc_err_t err;
    nuc_worker_conf_t conf;

    rc = nuc_worker_conf_parse(text, FILE_NAME, &conf, &err);

    if (rc != NUC_OK) {
        check_fault(rc, &err, count_lines(text));
        return;
    }

    check_path(conf.state);
    check_path(conf.queue);
    FUZZ_CHECK(conf.api == NULL || (conf.api[0] != '\0' && strlen(conf.api) < 108),
               "a path that no socket can have");
    FUZZ_CHECK(conf.npipelines > 0, "no pipeline");

    for (i = 0; i < conf.npipelines; i++) {
        check_pipeline(&conf, &conf.pipelines[i]);
    }

    nuc_worker_conf_free(&conf);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    nuc_str_t text;

    text = fuzz_copy(data, len);
    check_tree(text);
    check_meaning(text);
    fuzz_free(text);

    return 0;
}
