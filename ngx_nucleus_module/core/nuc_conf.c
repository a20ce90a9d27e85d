#include "nuc_conf.h"

#include <stdio.h>
#include <stdlib.h>

#define NUC_CONF_DEPTH_MAX 16
#define NUC_CONF_CHUNK     4096

/* The tree lives in chunks that are freed together. */
typedef struct nuc_conf_chunk_s nuc_conf_chunk_t;

struct nuc_conf_chunk_s {
    nuc_conf_chunk_t *next;
    size_t used, size;
    _Alignas(max_align_t) uint8_t bytes[];
};

struct nuc_conf_s {
    nuc_conf_chunk_t *chunks;
    nuc_conf_directive_t *root;
    const char *file;
};

typedef struct {
    nuc_conf_t *conf;
    const uint8_t *p, *end;
    unsigned line;
    nuc_err_t *err;

    const char **words; /* of the directive being read */
    unsigned nwords, words_size;
    unsigned words_line; /* of the first */

    unsigned depth;
    nuc_conf_directive_t *blocks[NUC_CONF_DEPTH_MAX]; /* the open ones */
    nuc_conf_directive_t **tail; /* where the next directive of this level hangs */
} nuc_conf_parser_t;

static void *nuc_conf_alloc(nuc_conf_t *conf, size_t size)
{
    void *memory;
    size_t chunk_size;
    nuc_conf_chunk_t *chunk;

    size = (size + _Alignof(max_align_t) - 1) & ~(_Alignof(max_align_t) - 1);
    chunk = conf->chunks;

    if (chunk == NULL || size > chunk->size - chunk->used) {
        chunk_size = size > NUC_CONF_CHUNK ? size : NUC_CONF_CHUNK;
        chunk = calloc(1, sizeof(*chunk) + chunk_size);

        if (chunk == NULL) {
            return NULL;
        }

        chunk->size = chunk_size;
        chunk->next = conf->chunks;
        conf->chunks = chunk;
    }

    memory = chunk->bytes + chunk->used;
    chunk->used += size;

    return memory;
}

static nuc_rc_t nuc_conf_nomem(nuc_conf_parser_t *parser)
{
    return nuc_err_set(parser->err, NUC_NOMEM, "no memory to read \"%s\"",
                       parser->conf->file);
}

static nuc_rc_t nuc_conf_fault(nuc_conf_parser_t *parser, unsigned line, const char *what)
{
    return nuc_err_set(parser->err, NUC_INVALID, "%s in %s:%u", what, parser->conf->file,
                       line);
}

static int nuc_conf_is_space(uint8_t c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static nuc_rc_t nuc_conf_add_word(nuc_conf_parser_t *parser, const char *word)
{
    unsigned size;
    const char **words;

    if (parser->nwords == parser->words_size) {
        size = parser->words_size != 0 ? 2 * parser->words_size : 16;
        words = realloc(parser->words, size * sizeof(*words));

        if (words == NULL) {
            return nuc_conf_nomem(parser);
        }

        parser->words = words;
        parser->words_size = size;
    }

    parser->words[parser->nwords++] = word;

    return NUC_OK;
}

/* A backslash hides what follows it, and goes itself before these; before others it
 * stays. */
static char nuc_conf_escape(uint8_t c)
{
    switch (c) {
    case '"':
    case '\'':
    case '\\':
        return (char) c;
    case 't':
        return '\t';
    case 'r':
        return '\r';
    case 'n':
        return '\n';
    default:
        return 0;
    }
}

static nuc_rc_t nuc_conf_store_word(nuc_conf_parser_t *parser, const uint8_t *start,
                                    const uint8_t *end)
{
    char *word, *out, escaped;

    word = out = nuc_conf_alloc(parser->conf, (size_t) (end - start) + 1);

    if (word == NULL) {
        return nuc_conf_nomem(parser);
    }

    for (/* void */; start < end; start++) {
        if (*start == '\\' && start + 1 < end) {
            escaped = nuc_conf_escape(start[1]);
            start++;

            if (escaped != 0) {
                *out++ = escaped;
                continue;
            }

            *out++ = '\\';
        }

        *out++ = (char) *start;
    }

    *out = '\0';

    return nuc_conf_add_word(parser, word);
}

static void nuc_conf_advance(nuc_conf_parser_t *parser)
{
    if (*parser->p == '\n') {
        parser->line++;
    }

    parser->p++;
}

/* Past a backslash and what it hides, or past one byte. */
static void nuc_conf_advance_escaped(nuc_conf_parser_t *parser)
{
    if (*parser->p == '\\' && parser->p + 1 < parser->end) {
        nuc_conf_advance(parser);
    }

    nuc_conf_advance(parser);
}

static nuc_rc_t nuc_conf_quoted(nuc_conf_parser_t *parser)
{
    uint8_t quote;
    unsigned line;
    nuc_rc_t rc;
    const uint8_t *start;

    line = parser->line;
    quote = *parser->p++;
    start = parser->p;

    while (parser->p < parser->end && *parser->p != quote) {
        nuc_conf_advance_escaped(parser);
    }

    if (parser->p == parser->end) {
        return nuc_conf_fault(parser, line,
                              quote == '"' ? "missing terminating \" of the text begun"
                                           : "missing terminating ' of the text begun");
    }

    rc = nuc_conf_store_word(parser, start, parser->p);
    parser->p++;

    if (rc == NUC_OK && parser->p < parser->end && !nuc_conf_is_space(*parser->p) &&
        *parser->p != ';' && *parser->p != '{') {
        return nuc_conf_fault(parser, parser->line,
                              "expected a space, \";\" or \"{\" after a quoted text");
    }

    return rc;
}

/* The "{" of "${name}" opens no block. */
static int nuc_conf_at_variable(const nuc_conf_parser_t *parser)
{
    return parser->end - parser->p >= 2 && parser->p[0] == '$' && parser->p[1] == '{';
}

static nuc_rc_t nuc_conf_plain(nuc_conf_parser_t *parser)
{
    const uint8_t *start;

    start = parser->p;

    while (parser->p < parser->end && !nuc_conf_is_space(*parser->p) &&
           *parser->p != ';' && *parser->p != '{') {
        if (nuc_conf_at_variable(parser)) {
            parser->p++;
        }

        nuc_conf_advance_escaped(parser);
    }

    return nuc_conf_store_word(parser, start, parser->p);
}

static nuc_rc_t nuc_conf_word(nuc_conf_parser_t *parser)
{
    if (parser->nwords == 0) {
        parser->words_line = parser->line;
    }

    if (*parser->p == '"' || *parser->p == '\'') {
        return nuc_conf_quoted(parser);
    }

    return nuc_conf_plain(parser);
}

/* The words so far are a directive. */
static nuc_conf_directive_t *nuc_conf_directive(nuc_conf_parser_t *parser)
{
    nuc_conf_directive_t *directive;

    directive = nuc_conf_alloc(parser->conf, sizeof(*directive));

    if (directive == NULL) {
        return NULL;
    }

    directive->args = nuc_conf_alloc(parser->conf, parser->nwords * sizeof(char *));

    if (directive->args == NULL) {
        return NULL;
    }

    directive->name = parser->words[0];
    directive->nargs = parser->nwords - 1;
    directive->line = parser->words_line;
    memcpy(directive->args, parser->words + 1, directive->nargs * sizeof(char *));

    parser->nwords = 0;
    *parser->tail = directive;
    parser->tail = &directive->next;

    return directive;
}

static nuc_rc_t nuc_conf_end_directive(nuc_conf_parser_t *parser)
{
    if (parser->nwords == 0) {
        return nuc_conf_fault(parser, parser->line, "unexpected \";\"");
    }

    parser->p++;

    return nuc_conf_directive(parser) != NULL ? NUC_OK : nuc_conf_nomem(parser);
}

static nuc_rc_t nuc_conf_open_block(nuc_conf_parser_t *parser)
{
    nuc_conf_directive_t *directive;

    if (parser->nwords == 0) {
        return nuc_conf_fault(parser, parser->line, "unexpected \"{\"");
    }

    if (parser->depth == NUC_CONF_DEPTH_MAX) {
        return nuc_conf_fault(parser, parser->line, "blocks are nested too deep");
    }

    directive = nuc_conf_directive(parser);

    if (directive == NULL) {
        return nuc_conf_nomem(parser);
    }

    directive->block = 1;
    parser->blocks[parser->depth++] = directive;
    parser->tail = &directive->children;
    parser->p++;

    return NUC_OK;
}

static nuc_rc_t nuc_conf_close_block(nuc_conf_parser_t *parser)
{
    if (parser->nwords != 0 || parser->depth == 0) {
        return nuc_conf_fault(parser, parser->line, "unexpected \"}\"");
    }

    parser->tail = &parser->blocks[--parser->depth]->next;
    parser->p++;

    return NUC_OK;
}

static void nuc_conf_skip_comment(nuc_conf_parser_t *parser)
{
    while (parser->p < parser->end && *parser->p != '\n') {
        parser->p++;
    }
}

static nuc_rc_t nuc_conf_token(nuc_conf_parser_t *parser)
{
    switch (*parser->p) {
    case ' ':
    case '\t':
    case '\r':
    case '\n':
        nuc_conf_advance(parser);
        return NUC_OK;
    case '#':
        nuc_conf_skip_comment(parser);
        return NUC_OK;
    case ';':
        return nuc_conf_end_directive(parser);
    case '{':
        return nuc_conf_open_block(parser);
    case '}':
        return nuc_conf_close_block(parser);
    default:
        return nuc_conf_word(parser);
    }
}

static nuc_rc_t nuc_conf_parse_all(nuc_conf_parser_t *parser)
{
    nuc_rc_t rc;

    while (parser->p < parser->end) {
        rc = nuc_conf_token(parser);

        if (rc != NUC_OK) {
            return rc;
        }
    }

    if (parser->nwords != 0) {
        return nuc_conf_fault(parser, parser->line,
                              "unexpected end of file, expecting \";\" or \"{\"");
    }

    if (parser->depth != 0) {
        return nuc_conf_fault(parser, parser->line,
                              "unexpected end of file, expecting \"}\"");
    }

    return NUC_OK;
}

/* Words become strings that end by a zero, so the text may hold none. */
static nuc_rc_t nuc_conf_check_zero(nuc_conf_parser_t *parser)
{
    const uint8_t *p, *zero;
    unsigned line;

    zero = parser->p < parser->end
               ? memchr(parser->p, 0, (size_t) (parser->end - parser->p))
               : NULL;

    if (zero == NULL) {
        return NUC_OK;
    }

    for (p = parser->p, line = 1; p < zero; p++) {
        line += *p == '\n';
    }

    return nuc_conf_fault(parser, line, "unexpected zero byte");
}

static nuc_conf_t *nuc_conf_create(const char *file)
{
    char *copy;
    nuc_conf_t *conf;

    conf = calloc(1, sizeof(*conf));

    if (conf == NULL) {
        return NULL;
    }

    copy = nuc_conf_alloc(conf, strlen(file) + 1);

    if (copy == NULL) {
        nuc_conf_free(conf);
        return NULL;
    }

    strcpy(copy, file);
    conf->file = copy;

    return conf;
}

nuc_rc_t nuc_conf_parse(nuc_str_t text, const char *file, nuc_conf_t **conf,
                        nuc_err_t *err)
{
    nuc_rc_t rc;
    nuc_conf_parser_t parser;

    memset(&parser, 0, sizeof(parser));
    *conf = NULL;
    parser.conf = nuc_conf_create(file);

    if (parser.conf == NULL) {
        return nuc_err_set(err, NUC_NOMEM, "no memory to read \"%s\"", file);
    }

    parser.p = text.data;
    parser.end = text.data + text.len;
    parser.line = 1;
    parser.err = err;
    parser.tail = &parser.conf->root;

    rc = nuc_conf_check_zero(&parser);

    if (rc == NUC_OK) {
        rc = nuc_conf_parse_all(&parser);
    }

    free(parser.words);

    if (rc != NUC_OK) {
        nuc_conf_free(parser.conf);
        return rc;
    }

    *conf = parser.conf;

    return NUC_OK;
}

const nuc_conf_directive_t *nuc_conf_root(const nuc_conf_t *conf)
{
    return conf->root;
}

const char *nuc_conf_file(const nuc_conf_t *conf)
{
    return conf->file;
}

void nuc_conf_free(nuc_conf_t *conf)
{
    nuc_conf_chunk_t *chunk, *next;

    if (conf == NULL) {
        return;
    }

    for (chunk = conf->chunks; chunk != NULL; chunk = next) {
        next = chunk->next;
        free(chunk);
    }

    free(conf);
}

/* The digits at *text, which moves behind them. */
static nuc_rc_t nuc_conf_digits(const char **text, uint64_t *number)
{
    const char *p;
    uint64_t value;

    value = 0;

    for (p = *text; *p >= '0' && *p <= '9'; p++) {
        if (__builtin_mul_overflow(value, 10, &value) ||
            __builtin_add_overflow(value, (uint64_t) (*p - '0'), &value)) {
            return NUC_INVALID;
        }
    }

    if (p == *text) {
        return NUC_INVALID;
    }

    *text = p;
    *number = value;

    return NUC_OK;
}

nuc_rc_t nuc_conf_size(const char *text, uint64_t *bytes)
{
    uint64_t value;
    unsigned shift;

    if (nuc_conf_digits(&text, &value) != NUC_OK) {
        return NUC_INVALID;
    }

    switch (*text) {
    case 'k':
    case 'K':
        shift = 10;
        break;
    case 'm':
    case 'M':
        shift = 20;
        break;
    case 'g':
    case 'G':
        shift = 30;
        break;
    default:
        shift = 0;
    }

    text += shift != 0;

    if (*text != '\0' || value > UINT64_MAX >> shift) {
        return NUC_INVALID;
    }

    *bytes = value << shift;

    return NUC_OK;
}

/* The ms of the unit at *text, which moves behind it; 0 when it is none. */
static uint64_t nuc_conf_time_unit(const char **text)
{
    static const struct {
        const char *name;
        uint64_t ms;
    } units[] = {
        {"ms", 1}, {"s", 1000}, {"m", 60 * 1000}, {"h", 3600 * 1000}, {"d", 86400 * 1000},
    };
    unsigned i;
    size_t len;

    for (i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        len = strlen(units[i].name);

        if (strncmp(*text, units[i].name, len) == 0) {
            *text += len;
            return units[i].ms;
        }
    }

    return **text == '\0' ? 1000 : 0;
}

/* As nginx: parts from the largest unit to the smallest, 1h30m; only the last may be
 * bare. */
nuc_rc_t nuc_conf_time(const char *text, uint64_t *ms)
{
    uint64_t value, total, unit, last_unit;

    total = 0;
    last_unit = UINT64_MAX;

    do {
        if (nuc_conf_digits(&text, &value) != NUC_OK) {
            return NUC_INVALID;
        }

        unit = nuc_conf_time_unit(&text);

        if (unit == 0 || unit >= last_unit ||
            __builtin_mul_overflow(value, unit, &value) ||
            __builtin_add_overflow(total, value, &total)) {
            return NUC_INVALID;
        }

        last_unit = unit;
    } while (*text != '\0');

    *ms = total;

    return NUC_OK;
}

nuc_rc_t nuc_conf_count(const char *text, uint64_t *number)
{
    uint64_t value;

    if (nuc_conf_digits(&text, &value) != NUC_OK || *text != '\0') {
        return NUC_INVALID;
    }

    *number = value;

    return NUC_OK;
}
