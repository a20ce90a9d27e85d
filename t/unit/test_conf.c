/* The reader of worker.conf. */

#include <stdlib.h>

#include "nuc_buf.h"
#include "nuc_conf.h"
#include "tap.h"

/* The tree as text: each word in <>, blocks in {}. */
static void print_level(const nuc_conf_directive_t *directive, nuc_buf_t *out)
{
    unsigned i;

    for (/* void */; directive != NULL; directive = directive->next) {
        nuc_buf_printf(out, "%u<%s>", directive->line, directive->name);

        for (i = 0; i < directive->nargs; i++) {
            nuc_buf_printf(out, "<%s>", directive->args[i]);
        }

        if (directive->block) {
            nuc_buf_char(out, '{');
            print_level(directive->children, out);
            nuc_buf_char(out, '}');
        }
    }
}

static nuc_rc_t parse(const char *text, size_t len, nuc_conf_t **conf, nuc_err_t *err)
{
    nuc_rc_t rc;
    uint8_t *copy;

    copy = malloc(len);
    memcpy(copy, text, len);
    rc = nuc_conf_parse((nuc_str_t){copy, len}, "w.conf", conf, err);
    free(copy);

    return rc;
}

static void is_tree(const char *text, const char *want, const char *name)
{
    nuc_rc_t rc;
    nuc_err_t err;
    nuc_conf_t *conf;
    nuc_buf_t out = NUC_BUF_INIT;

    rc = parse(text, strlen(text), &conf, &err);
    is_int(rc, NUC_OK, "%s: is read", name);

    if (rc != NUC_OK) {
        diag("%s", err.message);
        return;
    }

    print_level(nuc_conf_root(conf), &out);
    nuc_buf_char(&out, '\0');
    is_str((char *) out.data, want, "%s: the tree", name);
    is_str(nuc_conf_file(conf), "w.conf", "%s: the file's name", name);
    nuc_buf_free(&out);
    nuc_conf_free(conf);
}

static void is_fault(const char *text, size_t len, const char *want)
{
    nuc_err_t err;
    nuc_conf_t *conf;

    is_int(parse(text, len, &conf, &err), NUC_INVALID, "refused: %s", want);
    is_str(err.message, want, "the message");
    ok(conf == NULL, "no tree");
}

#define FAULT(text, want) is_fault(text, sizeof(text) - 1, want)

static void test_trees(void)
{
    is_tree("", "", "empty");
    is_tree(" \t\r\n# only a comment", "", "comment");
    is_tree("a;", "1<a>", "one directive");
    is_tree("a b  c\td;e;", "1<a><b><c><d>1<e>", "words");
    is_tree("a\n b\n;\nc;", "1<a><b>4<c>", "over lines");
    is_tree("p x { q 1; r { } } s;", "1<p><x>{1<q><1>1<r>{}}1<s>", "blocks");
    is_tree("p{q{r;}}", "1<p>{1<q>{1<r>}}", "blocks without spaces");
    is_tree("a # b;\n c; # d", "1<a><c>", "comments");
    is_tree("a b#c d;", "1<a><b#c><d>", "no comment inside of a word");
    is_tree("a b}c;", "1<a><b}c>", "no end of a block inside of a word");
    is_tree("a \"b c;{}#\" 'd \"e\"' '';", "1<a><b c;{}#><d \"e\"><>", "quotes");
    is_tree("a \"b\nc\"; d;", "1<a><b\nc>2<d>", "a text over two lines");
    is_tree("'a' b;", "1<a><b>", "a name in quotes");
    is_tree("a b\"c\"d e'f;", "1<a><b\"c\"d><e'f>", "quotes inside of a word");
    is_tree("a \"b\"{c;}", "1<a><b>{1<c>}", "a block right behind a quote");
    is_tree("a \"\\\"\\\\\\t\\r\\n\\d\";", "1<a><\"\\\t\r\n\\d>", "escapes in quotes");
    is_tree("a b\\ c\\;\\{ \\\"d \\#e;", "1<a><b\\ c\\;\\{><\"d><\\#e>",
            "escapes outside of quotes");
    is_tree("a ${b}c $d;", "1<a><${b}c><$d>", "the braces of a variable");
    is_tree("a \xc3\xa9 \"\xff\";", "1<a><\xc3\xa9><\xff>", "bytes beyond ASCII");
}

static void test_faults(void)
{
    FAULT("a", "unexpected end of file, expecting \";\" or \"{\" in w.conf:1");
    FAULT("a b\n", "unexpected end of file, expecting \";\" or \"{\" in w.conf:2");
    FAULT("a {\nb;\n", "unexpected end of file, expecting \"}\" in w.conf:3");
    FAULT("a;\n}", "unexpected \"}\" in w.conf:2");
    FAULT("a {\n b }", "unexpected \"}\" in w.conf:2");
    FAULT("a;\n\n;", "unexpected \";\" in w.conf:3");
    FAULT("{", "unexpected \"{\" in w.conf:1");
    FAULT("a;\nb \"c\n\n", "missing terminating \" of the text begun in w.conf:2");
    FAULT("a 'b\\'", "missing terminating ' of the text begun in w.conf:1");
    FAULT("a \"b\"c;",
          "expected a space, \";\" or \"{\" after a quoted text in w.conf:1");
    FAULT("a;\nb \0;", "unexpected zero byte in w.conf:2");
    FAULT("\n\0", "unexpected zero byte in w.conf:2");
    FAULT("a\\", "unexpected end of file, expecting \";\" or \"{\" in w.conf:1");
}

static void test_depth(void)
{
    int i;
    nuc_err_t err;
    nuc_conf_t *conf;
    nuc_buf_t text = NUC_BUF_INIT;

    for (i = 0; i < 100000; i++) {
        nuc_buf_append(&text, "a{\n", 3);
    }

    is_int(parse((char *) text.data, text.len, &conf, &err), NUC_INVALID,
           "blocks without end are refused");
    is_str(err.message, "blocks are nested too deep in w.conf:17", "and where");
    nuc_buf_free(&text);
}

static void test_many(void)
{
    int i;
    nuc_err_t err;
    nuc_conf_t *conf;
    nuc_buf_t text = NUC_BUF_INIT;
    const nuc_conf_directive_t *root;

    nuc_buf_char(&text, 'a');

    for (i = 0; i < 1000; i++) {
        nuc_buf_printf(&text, " %d", i);
    }

    nuc_buf_printf(&text, " %20000s;", "\"");
    text.data[text.len - 2] = 'x';

    is_int(parse((char *) text.data, text.len, &conf, &err), NUC_OK, "many words");
    root = nuc_conf_root(conf);
    is_int(root->nargs, 1001, "all are there");
    is_str(root->args[999], "999", "and right");
    nuc_conf_free(conf);

    nuc_buf_reset(&text);
    nuc_buf_printf(&text, "a %020000d;", 7);
    is_int(parse((char *) text.data, text.len, &conf, &err), NUC_OK, "a long word");
    is_int((long long) strlen(nuc_conf_root(conf)->args[0]), 20000, "all of it is there");
    nuc_conf_free(conf);
    nuc_buf_free(&text);
}

static void test_truncated(void)
{
    static const char text[] =
        "# head\nstate \"run/st\\\"ate\" 'x\\y';\nqueue log { path ${a}b; }\n"
        "pipeline a\\ b {\n  sink file { path run/store; } # tail\n}\n";
    int wrong, good;
    size_t len;
    nuc_err_t err;
    nuc_rc_t rc;
    nuc_conf_t *conf;

    wrong = good = 0;

    for (len = 0; len < sizeof(text); len++) {
        rc = parse(text, len, &conf, &err);
        good += rc == NUC_OK;
        wrong += rc != NUC_OK && (rc != NUC_INVALID || conf != NULL);
        nuc_conf_free(conf);
    }

    is_int(wrong, 0, "a text cut anywhere is read or refused");

    /* the 7 cuts up to the state (the comment), and the two line ends between directives
     */
    ok(good > 7 && good < 20, "and read only between directives");
}

static void is_value(nuc_rc_t (*read)(const char *, uint64_t *), const char *text,
                     uint64_t want)
{
    uint64_t value;

    value = 0;
    is_int(read(text, &value), NUC_OK, "\"%s\" is a value", text);
    ok(value == want, "\"%s\" is %llu", text, (unsigned long long) want);
}

static void not_value(nuc_rc_t (*read)(const char *, uint64_t *), const char *text)
{
    uint64_t value;

    value = 4711;
    is_int(read(text, &value), NUC_INVALID, "\"%s\" is no value", text);
    is_int((long long) value, 4711, "and nothing is set");
}

static void test_values(void)
{
    is_value(nuc_conf_size, "0", 0);
    is_value(nuc_conf_size, "4096", 4096);
    is_value(nuc_conf_size, "8k", 8192);
    is_value(nuc_conf_size, "8M", 8 << 20);
    is_value(nuc_conf_size, "3g", 3ULL << 30);
    is_value(nuc_conf_size, "17179869183g", 17179869183ULL << 30);
    is_value(nuc_conf_size, "18446744073709551615", UINT64_MAX);
    not_value(nuc_conf_size, "17179869184g");
    not_value(nuc_conf_size, "18446744073709551616");
    not_value(nuc_conf_size, "99999999999999999999999");
    not_value(nuc_conf_size, "");
    not_value(nuc_conf_size, "k");
    not_value(nuc_conf_size, "-1");
    not_value(nuc_conf_size, "+1");
    not_value(nuc_conf_size, " 1");
    not_value(nuc_conf_size, "1 ");
    not_value(nuc_conf_size, "1kb");
    not_value(nuc_conf_size, "1.5m");
    not_value(nuc_conf_size, "0x10");
    not_value(nuc_conf_size, "1t");

    is_value(nuc_conf_time, "0", 0);
    is_value(nuc_conf_time, "5", 5000);
    is_value(nuc_conf_time, "250ms", 250);
    is_value(nuc_conf_time, "1s", 1000);
    is_value(nuc_conf_time, "5m", 300000);
    is_value(nuc_conf_time, "2h", 7200000);
    is_value(nuc_conf_time, "400d", 34560000000);
    is_value(nuc_conf_time, "1h30m", 5400000);
    is_value(nuc_conf_time, "1m30", 90000);
    is_value(nuc_conf_time, "1s500ms", 1500);
    not_value(nuc_conf_time, "");
    not_value(nuc_conf_time, "s");
    not_value(nuc_conf_time, "1x");
    not_value(nuc_conf_time, "1M");
    not_value(nuc_conf_time, "1m2h");
    not_value(nuc_conf_time, "1s1s");
    not_value(nuc_conf_time, "1s5");
    not_value(nuc_conf_time, "-1s");
    not_value(nuc_conf_time, "1 s");
    not_value(nuc_conf_time, "213503982335d");
    not_value(nuc_conf_time, "18446744073709552s");
    not_value(nuc_conf_time, "18446744073709551s616ms");
    is_value(nuc_conf_time, "18446744073709551s615ms", UINT64_MAX);

    is_value(nuc_conf_count, "10000", 10000);
    is_value(nuc_conf_count, "007", 7);
    not_value(nuc_conf_count, "");
    not_value(nuc_conf_count, "1k");
    not_value(nuc_conf_count, "1s");
    not_value(nuc_conf_count, "18446744073709551616");
}

int main(void)
{
    test_trees();
    test_faults();
    test_depth();
    test_many();
    test_truncated();
    test_values();

    return tap_done();
}
