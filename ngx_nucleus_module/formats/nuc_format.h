/*
 * Formats: a request's body in, events or a precise error out.  Pure: no I/O, no logging,
 * no state between calls.
 */

#ifndef NUC_FORMAT_H
#define NUC_FORMAT_H

#include "nuc_buf.h"
#include "nuc_err.h"
#include "nuc_record.h"

typedef struct {
    size_t max_event_size; /* bytes of one event */
    unsigned max_events;   /* in one request */
    unsigned max_depth;    /* of nested arrays and objects */
} nuc_format_limits_t;

/* One event of the body.  The slices point into the body, or into the list's scratch. */
typedef struct {
    nuc_str_t data; /* exactly as it came */
    nuc_str_t id;   /* the client's, unescaped; absent when there is none */
    nuc_str_t type, subject, time, source;
} nuc_event_t;

typedef struct {
    nuc_event_t *events;
    size_t count;
    size_t capacity;
    nuc_buf_t scratch; /* unescaped ids */
} nuc_event_list_t;

/* Each is a problem type of its own; the names are in nuc_format_problem_name. */
typedef enum {
    NUC_PROBLEM_NONE = 0,
    NUC_PROBLEM_EMPTY_BODY,      /* no event at all */
    NUC_PROBLEM_INVALID_JSON,    /* not RFC 8259 or not UTF-8 */
    NUC_PROBLEM_NOT_AN_OBJECT,   /* an event is JSON, but not an object */
    NUC_PROBLEM_TOO_DEEP,        /* over max_depth */
    NUC_PROBLEM_EVENT_TOO_LARGE, /* over max_event_size */
    NUC_PROBLEM_TOO_MANY_EVENTS  /* over max_events */
} nuc_problem_t;

typedef struct {
    nuc_problem_t problem;
    size_t event;      /* index of the bad event in the body, from 0 */
    size_t offset;     /* of the fault, in bytes of the body */
    char pointer[256]; /* RFC 6901, into the body (into the line, for NDJSON) */
    char detail[256];  /* one sentence for the client */
} nuc_format_fault_t;

typedef struct nuc_format_s {
    const char *media_type; /* what its records carry as content_type */
    nuc_kind_t kind;

    /*
     * All events of "body", in order.  NUC_OK; NUC_INVALID or NUC_TOO_LARGE with "fault"
     * filled and the list as if empty: one bad event refuses all; NUC_NOMEM.
     */
    nuc_rc_t (*parse)(nuc_str_t body, const nuc_format_limits_t *limits,
                      nuc_event_list_t *list, nuc_format_fault_t *fault);
} nuc_format_t;

extern const nuc_format_t nuc_format_json; /* one object, or an array of objects */
extern const nuc_format_t
    nuc_format_ndjson; /* an object a line; blank lines are passed over */

/*
 * The format that the media type of a Content-Type (without parameters, any case) means
 * where the configuration says json or auto; NULL when none does (415).
 */
const nuc_format_t *nuc_format_by_media_type(nuc_str_t media_type);

const char *nuc_problem_name(nuc_problem_t problem); /* "invalid-json" */

void nuc_event_list_init(nuc_event_list_t *list);
void nuc_event_list_free(nuc_event_list_t *list);

#endif /* NUC_FORMAT_H */
