/*
 * Events as JSON: one object, an array of objects, or an object a line (NDJSON).
 *
 * An id points into the body as it is found, escapes and all.  When every event is good,
 * the ids with escapes are resolved into the scratch, which is first given room for all
 * of them and so does not move under the slices that point into it.
 */

#include "nuc_format.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "nuc_json.h"

#define NUC_EVENTS_FIRST 8 /* events of the first allocation */

/* A body on its way through the parser; offsets are in bytes of the body. */
typedef struct {
    const uint8_t *data;
    size_t begin;       /* of the body, or of the line */
    size_t end;         /* of the same */
    size_t pos;         /* of what comes next */
    size_t line;        /* its number, from 1; 0 when lines mean nothing */
    size_t escaped_ids; /* bytes */
    const nuc_format_limits_t *limits;
    nuc_event_list_t *list;
    nuc_format_fault_t *fault;
} nuc_json_body_t;

__attribute__((cold, format(printf, 4, 5))) static nuc_rc_t nuc_json_body_refuse(
    nuc_json_body_t *body, nuc_problem_t problem, size_t offset, const char *fmt, ...)
{
    int len;
    va_list args;
    nuc_format_fault_t *fault;

    fault = body->fault;
    fault->problem = problem;
    fault->event = body->list->count;
    fault->offset = offset;
    nuc_json_pointer(body->data + body->begin, body->end - body->begin,
                     offset - body->begin, fault->pointer, sizeof(fault->pointer));

    len = 0;

    if (body->line != 0) {
        len = snprintf(fault->detail, sizeof(fault->detail), "line %zu: ", body->line);
    }

    va_start(args, fmt);
    vsnprintf(fault->detail + len, sizeof(fault->detail) - (size_t) len, fmt, args);
    va_end(args);

    body->list->count = 0;

    if (problem == NUC_PROBLEM_EVENT_TOO_LARGE ||
        problem == NUC_PROBLEM_TOO_MANY_EVENTS) {
        return NUC_TOO_LARGE;
    }

    return NUC_INVALID;
}

/* Not RFC 8259 at "offset". */
__attribute__((cold)) static nuc_rc_t nuc_json_body_refuse_json(nuc_json_body_t *body,
                                                                size_t offset,
                                                                const char *reason)
{
    const char *hint;

    hint = "";

    if (offset == body->end) {
        reason = "unexpected end";
        hint = body->line != 0 ? ": put the whole object on one line, or send it as "
                                 "application/json"
                               : ": the body is not complete";
    }

    return nuc_json_body_refuse(body, NUC_PROBLEM_INVALID_JSON, offset,
                                "%s at byte %zu%s", reason, offset, hint);
}

__attribute__((cold)) static nuc_rc_t nuc_json_body_refuse_more(nuc_json_body_t *body)
{
    const char *hint;

    /* a line is one event: the one that was just taken from it is the bad one */
    if (body->line != 0) {
        body->list->count--;
    }

    hint = body->line != 0 ? "put each event on a line of its own"
                           : "send several events as an array, or one a line as "
                             "application/x-ndjson";

    return nuc_json_body_refuse(body, NUC_PROBLEM_INVALID_JSON, body->pos,
                                "more data after the JSON value, at byte %zu: %s",
                                body->pos, hint);
}

__attribute__((cold)) static nuc_rc_t nuc_json_body_refuse_empty(nuc_json_body_t *body,
                                                                 const char *instead)
{
    body->line = 0;
    body->begin = 0;

    return nuc_json_body_refuse(body, NUC_PROBLEM_EMPTY_BODY, 0,
                                "the body has no event: send %s", instead);
}

static const char *nuc_json_type_name(char type)
{
    switch (type) {
    case '{':
        return "an object";
    case '[':
        return "an array";
    case '"':
        return "a string";
    case 't':
    case 'f':
        return "a boolean";
    case 'n':
        return "null";
    }

    return "a number";
}

__attribute__((cold)) static nuc_rc_t nuc_json_body_refuse_type(nuc_json_body_t *body,
                                                                size_t offset, char type)
{
    const char *hint;

    hint = body->line != 0 && type == '[' ? "; send an array as application/json" : "";

    return nuc_json_body_refuse(body, NUC_PROBLEM_NOT_AN_OBJECT, offset,
                                "event %zu is %s: each event must be a JSON object%s",
                                body->list->count, nuc_json_type_name(type), hint);
}

__attribute__((cold)) static nuc_rc_t nuc_json_body_refuse_scan(
    nuc_json_body_t *body, const nuc_json_fault_t *fault)
{
    if (!fault->too_deep) {
        return nuc_json_body_refuse_json(body, fault->offset, fault->reason);
    }

    return nuc_json_body_refuse(
        body, NUC_PROBLEM_TOO_DEEP, fault->offset,
        "event %zu is nested too deep: send at most %u arrays and "
        "objects in each other",
        body->list->count, body->limits->max_depth);
}

/* Room for one more event, or NULL. */
static nuc_event_t *nuc_event_list_add(nuc_event_list_t *list)
{
    size_t capacity;
    nuc_event_t *events;

    if (list->count == list->capacity) {
        capacity = list->capacity != 0 ? list->capacity * 2 : NUC_EVENTS_FIRST;

        if (capacity > SIZE_MAX / sizeof(nuc_event_t)) {
            return NULL;
        }

        events = realloc(list->events, capacity * sizeof(nuc_event_t));

        if (events == NULL) {
            return NULL;
        }

        list->events = events;
        list->capacity = capacity;
    }

    return &list->events[list->count++];
}

/* The event at body->pos, where there is no white space, and past it. */
static nuc_rc_t nuc_json_body_event(nuc_json_body_t *body)
{
    size_t begin;
    nuc_event_t *event;
    nuc_json_value_t value;
    nuc_json_fault_t fault;
    const nuc_format_limits_t *limits;

    begin = body->pos;
    limits = body->limits;

    if (body->list->count >= limits->max_events) {
        return nuc_json_body_refuse(body, NUC_PROBLEM_TOO_MANY_EVENTS, begin,
                                    "more than %u events: send them in several requests",
                                    limits->max_events);
    }

    if (nuc_json_scan(body->data, body->end, &body->pos, limits->max_depth, &value,
                      &fault) != NUC_OK) {
        return nuc_json_body_refuse_scan(body, &fault);
    }

    if (value.type != '{') {
        return nuc_json_body_refuse_type(body, begin, value.type);
    }

    if (value.slice.len > limits->max_event_size) {
        return nuc_json_body_refuse(
            body, NUC_PROBLEM_EVENT_TOO_LARGE, begin,
            "event %zu has %zu bytes: send at most %zu in one event", body->list->count,
            value.slice.len, limits->max_event_size);
    }

    event = nuc_event_list_add(body->list);

    if (event == NULL) {
        return NUC_NOMEM;
    }

    *event = (nuc_event_t){.data = value.slice};

    if (value.id.len != 0) {
        event->id = value.id;
        body->escaped_ids += value.id_escaped ? value.id.len : 0;
    }

    return NUC_OK;
}

static void nuc_json_body_skip_space(nuc_json_body_t *body)
{
    body->pos = nuc_json_skip_space(body->data, body->end, body->pos);
}

static int nuc_json_body_at(const nuc_json_body_t *body, char c)
{
    return body->pos < body->end && body->data[body->pos] == (uint8_t) c;
}

/* From the opening bracket to behind the closing one. */
static nuc_rc_t nuc_json_body_array(nuc_json_body_t *body)
{
    nuc_rc_t rc;

    body->pos++;
    nuc_json_body_skip_space(body);

    if (nuc_json_body_at(body, ']')) {
        body->pos++;
        return NUC_OK;
    }

    for (;;) {
        rc = nuc_json_body_event(body);

        if (rc != NUC_OK) {
            return rc;
        }

        nuc_json_body_skip_space(body);

        if (nuc_json_body_at(body, ']')) {
            body->pos++;
            return NUC_OK;
        }

        if (!nuc_json_body_at(body, ',')) {
            return nuc_json_body_refuse_json(body, body->pos,
                                             "a comma or ] was expected");
        }

        body->pos++;
        nuc_json_body_skip_space(body);

        if (nuc_json_body_at(body, ']')) {
            return nuc_json_body_refuse_json(body, body->pos, "a comma before ]");
        }
    }
}

/* One object, or an array of objects. */
static nuc_rc_t nuc_json_body_value(nuc_json_body_t *body)
{
    nuc_rc_t rc;

    nuc_json_body_skip_space(body);

    if (body->pos < body->end) {
        rc = nuc_json_body_at(body, '[') ? nuc_json_body_array(body)
                                         : nuc_json_body_event(body);

        if (rc != NUC_OK) {
            return rc;
        }

        nuc_json_body_skip_space(body);
    }

    if (body->pos < body->end) {
        return nuc_json_body_refuse_more(body);
    }

    if (body->list->count == 0) {
        return nuc_json_body_refuse_empty(body, "a JSON object, or an array of them");
    }

    return NUC_OK;
}

/* The line from body->begin to body->end. */
static nuc_rc_t nuc_json_body_line(nuc_json_body_t *body)
{
    nuc_rc_t rc;

    body->pos = body->begin;
    nuc_json_body_skip_space(body);

    if (body->pos == body->end) {
        return NUC_OK;
    }

    rc = nuc_json_body_event(body);

    if (rc != NUC_OK) {
        return rc;
    }

    nuc_json_body_skip_space(body);

    return body->pos == body->end ? NUC_OK : nuc_json_body_refuse_more(body);
}

/* The CR of a CRLF is white space to JSON. */
static nuc_rc_t nuc_json_body_lines(nuc_json_body_t *body)
{
    size_t end;
    nuc_rc_t rc;
    const uint8_t *lf;

    end = body->end;

    while (body->begin < end) {
        lf = memchr(body->data + body->begin, '\n', end - body->begin);
        body->end = lf != NULL ? (size_t) (lf - body->data) : end;
        body->line++;

        rc = nuc_json_body_line(body);

        if (rc != NUC_OK) {
            return rc;
        }

        body->begin = body->end + 1;
    }

    if (body->list->count == 0) {
        return nuc_json_body_refuse_empty(body, "a JSON object a line");
    }

    return NUC_OK;
}

/* Point the ids that have escapes into the scratch, resolved: they never grow. */
static nuc_rc_t nuc_json_body_resolve_ids(nuc_json_body_t *body)
{
    size_t i, begin;
    nuc_str_t *id;
    nuc_buf_t *scratch;

    scratch = &body->list->scratch;

    if (nuc_buf_reserve(scratch, body->escaped_ids) == NULL) {
        return NUC_NOMEM;
    }

    for (i = 0; i < body->list->count; i++) {
        id = &body->list->events[i].id;

        if (id->len != 0 && memchr(id->data, '\\', id->len) != NULL) {
            begin = scratch->len;
            nuc_json_unescape(*id, scratch);
            *id = (nuc_str_t){scratch->data + begin, scratch->len - begin};
        }
    }

    return NUC_OK;
}

static nuc_rc_t nuc_json_body_parse(nuc_str_t text, const nuc_format_limits_t *limits,
                                    nuc_event_list_t *list, nuc_format_fault_t *fault,
                                    nuc_rc_t (*parse)(nuc_json_body_t *body))
{
    nuc_rc_t rc;
    nuc_json_body_t body = {
        .data = text.data,
        .end = text.len,
        .limits = limits,
        .list = list,
        .fault = fault,
    };

    fault->problem = NUC_PROBLEM_NONE;
    list->count = 0;
    nuc_buf_reset(&list->scratch);

    rc = parse(&body);

    if (rc == NUC_OK && body.escaped_ids != 0) {
        rc = nuc_json_body_resolve_ids(&body);
    }

    if (rc != NUC_OK) {
        list->count = 0;
    }

    return rc;
}

static nuc_rc_t nuc_format_json_parse(nuc_str_t text, const nuc_format_limits_t *limits,
                                      nuc_event_list_t *list, nuc_format_fault_t *fault)
{
    return nuc_json_body_parse(text, limits, list, fault, nuc_json_body_value);
}

static nuc_rc_t nuc_format_ndjson_parse(nuc_str_t text, const nuc_format_limits_t *limits,
                                        nuc_event_list_t *list, nuc_format_fault_t *fault)
{
    return nuc_json_body_parse(text, limits, list, fault, nuc_json_body_lines);
}

const nuc_format_t nuc_format_json = {
    .media_type = "application/json",
    .kind = NUC_KIND_JSON,
    .parse = nuc_format_json_parse,
};

/* Each of its events is a JSON text by itself. */
const nuc_format_t nuc_format_ndjson = {
    .media_type = "application/json",
    .kind = NUC_KIND_JSON,
    .parse = nuc_format_ndjson_parse,
};
