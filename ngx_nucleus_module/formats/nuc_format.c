#include "nuc_format.h"

#include <stdlib.h>
#include <strings.h>

typedef struct {
    const char *media_type;
    const nuc_format_t *format;
} nuc_format_media_type_t;

static const nuc_format_media_type_t nuc_format_media_types[] = {
    {"application/json", &nuc_format_json},
    {"application/x-ndjson", &nuc_format_ndjson},
    {"application/ndjson", &nuc_format_ndjson},
    {"application/jsonl", &nuc_format_ndjson},
    {"application/jsonlines", &nuc_format_ndjson},
    {"application/x-jsonlines", &nuc_format_ndjson},
};

#define NUC_FORMAT_MEDIA_TYPES                                                           \
    (sizeof(nuc_format_media_types) / sizeof(nuc_format_media_types[0]))

static int nuc_format_is_type(nuc_str_t media_type, const char *name)
{
    return media_type.len == strlen(name) &&
           strncasecmp((const char *) media_type.data, name, media_type.len) == 0;
}

/* Any application type that ends in +json; RFC 6839, section 3.1. */
static int nuc_format_has_json_suffix(nuc_str_t media_type)
{
    static const char top[] = "application/", suffix[] = "+json";
    const size_t top_len = sizeof(top) - 1, suffix_len = sizeof(suffix) - 1;
    const char *text;

    text = (const char *) media_type.data;

    return media_type.len > top_len + suffix_len &&
           strncasecmp(text, top, top_len) == 0 &&
           strncasecmp(text + media_type.len - suffix_len, suffix, suffix_len) == 0;
}

const nuc_format_t *nuc_format_by_media_type(nuc_str_t media_type)
{
    size_t i;

    for (i = 0; i < NUC_FORMAT_MEDIA_TYPES; i++) {
        if (nuc_format_is_type(media_type, nuc_format_media_types[i].media_type)) {
            return nuc_format_media_types[i].format;
        }
    }

    return nuc_format_has_json_suffix(media_type) ? &nuc_format_json : NULL;
}

const char *nuc_problem_name(nuc_problem_t problem)
{
    switch (problem) {
    case NUC_PROBLEM_NONE:
        return "none";
    case NUC_PROBLEM_EMPTY_BODY:
        return "empty-body";
    case NUC_PROBLEM_INVALID_JSON:
        return "invalid-json";
    case NUC_PROBLEM_NOT_AN_OBJECT:
        return "not-an-object";
    case NUC_PROBLEM_TOO_DEEP:
        return "too-deep";
    case NUC_PROBLEM_EVENT_TOO_LARGE:
        return "event-too-large";
    case NUC_PROBLEM_TOO_MANY_EVENTS:
        return "too-many-events";
    }

    return "unexpected";
}

void nuc_event_list_init(nuc_event_list_t *list)
{
    *list = (nuc_event_list_t){NULL, 0, 0, NUC_BUF_INIT};
}

void nuc_event_list_free(nuc_event_list_t *list)
{
    free(list->events);
    nuc_buf_free(&list->scratch);
    nuc_event_list_init(list);
}
