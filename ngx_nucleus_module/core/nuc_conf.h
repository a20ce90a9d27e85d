/*
 * A reader for nginx's configuration grammar, for worker.conf: words ended by ";" or "{",
 * quoted with "" or '', escapes by a backslash, comments from # to the end of the line.
 * It builds a tree of directives; what they mean is the caller's business.
 */

#ifndef NUC_CONF_H
#define NUC_CONF_H

#include "nuc_err.h"
#include "nuc_str.h"

typedef struct nuc_conf_s nuc_conf_t;
typedef struct nuc_conf_directive_s nuc_conf_directive_t;

struct nuc_conf_directive_s {
    const char *name;
    const char **args; /* without the name; zero-terminated strings */
    unsigned nargs;
    unsigned line;
    int block;                      /* ended by { rather than ; */
    nuc_conf_directive_t *children; /* the first inside the block */
    nuc_conf_directive_t *next;     /* the next on the same level */
};

/*
 * Parse "text" ("file" is for messages: `... in FILE:LINE`).  NUC_INVALID on bad syntax.
 * nuc_conf_free frees the whole tree; "text" may go at once.
 */
nuc_rc_t nuc_conf_parse(nuc_str_t text, const char *file, nuc_conf_t **conf,
                        nuc_err_t *err);
const nuc_conf_directive_t *nuc_conf_root(
    const nuc_conf_t *conf); /* the first, or NULL */
const char *nuc_conf_file(const nuc_conf_t *conf);
void nuc_conf_free(nuc_conf_t *conf);

/* Values with nginx's units.  NUC_INVALID when the text is not one, or overflows. */
nuc_rc_t nuc_conf_size(const char *text, uint64_t *bytes); /* 8m; k m g, powers of 1024 */
nuc_rc_t nuc_conf_time(const char *text, uint64_t *ms);    /* 1s; ms s m h d; bare: s */
nuc_rc_t nuc_conf_count(const char *text, uint64_t *number); /* digits alone */

#endif /* NUC_CONF_H */
