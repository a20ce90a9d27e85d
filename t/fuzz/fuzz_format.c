/*
 * Bodies of events: what the JSON and the NDJSON format make of one, against a splitter
 * that looks at brackets and lines alone.
 *
 * Input: four bytes of limits, then the body.
 */

#include "fuzz.h"
#include "nuc_format.h"
#include "nuc_json.h"

#define BODY_MAX 4096 /* bytes */

typedef struct {
    nuc_str_t *slices;
    size_t count;
} split_t;

static int is_space(uint8_t c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static nuc_str_t trim(const uint8_t *p, const uint8_t *end)
{
    while (p < end && is_space(*p)) {
        p++;
    }

    while (p < end && is_space(end[-1])) {
        end--;
    }

    return (nuc_str_t){p, (size_t) (end - p)};
}

static void split_add(split_t *split, const uint8_t *p, const uint8_t *end)
{
    nuc_str_t slice;

    slice = trim(p, end);

    if (slice.len != 0) {
        split->slices[split->count++] = slice;
    }
}

/* The lines that are not blank. */
static void split_lines(split_t *split, nuc_str_t body)
{
    size_t i, begin;

    begin = 0;

    for (i = 0; i <= body.len; i++) {
        if (i == body.len || body.data[i] == '\n') {
            split_add(split, body.data + begin, body.data + i);
            begin = i + 1;
        }
    }
}

/* The parts of an array between the commas of its own level. */
static void split_elements(split_t *split, nuc_str_t array)
{
    int string;
    unsigned level;
    const uint8_t *p, *begin, *end;

    begin = p = array.data + 1;
    end = array.data + array.len - 1;
    level = 0;
    string = 0;

    for (/* void */; p < end; p++) {
        if (string) {
            string = *p != '"';
            p += *p == '\\';
            continue;
        }

        string = *p == '"';
        level += *p == '{' || *p == '[';
        level -= *p == '}' || *p == ']';

        if (*p == ',' && level == 0) {
            split_add(split, begin, p);
            begin = p + 1;
        }
    }

    split_add(split, begin, end);
}

static void split_body(split_t *split, nuc_str_t body, const nuc_format_t *format)
{
    nuc_str_t whole;

    if (format == &nuc_format_ndjson) {
        split_lines(split, body);
        return;
    }

    whole = trim(body.data, body.data + body.len);

    if (whole.len != 0 && whole.data[0] == '[') {
        split_elements(split, whole);
    } else {
        split_add(split, whole.data, whole.data + whole.len);
    }
}

/* What refuses this part as an event; NUC_PROBLEM_NONE when it is one. */
static nuc_problem_t judge(nuc_str_t part, const nuc_format_limits_t *limits,
                           nuc_json_value_t *value)
{
    size_t pos;
    nuc_json_fault_t fault;

    pos = 0;

    if (nuc_json_scan(part.data, part.len, &pos, limits->max_depth, value, &fault) !=
        NUC_OK) {
        return fault.too_deep ? NUC_PROBLEM_TOO_DEEP : NUC_PROBLEM_INVALID_JSON;
    }

    if (value->type != '{') {
        return NUC_PROBLEM_NOT_AN_OBJECT;
    }

    if (value->slice.len > limits->max_event_size) {
        return NUC_PROBLEM_EVENT_TOO_LARGE;
    }

    return pos == part.len ? NUC_PROBLEM_NONE : NUC_PROBLEM_INVALID_JSON;
}

/* The events are those of the splitter, byte for byte, and their ids are theirs. */
static void check_events(const nuc_event_list_t *list, const split_t *split,
                         const nuc_format_limits_t *limits)
{
    size_t i;
    nuc_buf_t id = NUC_BUF_INIT;
    nuc_json_value_t value;
    const nuc_event_t *event;

    FUZZ_CHECK(list->count > 0 && list->count <= limits->max_events, "%zu events",
               list->count);
    FUZZ_CHECK(list->count == split->count, "%zu events, but %zu parts", list->count,
               split->count);

    for (i = 0; i < list->count; i++) {
        event = &list->events[i];

        FUZZ_CHECK(event->data.data == split->slices[i].data &&
                       event->data.len == split->slices[i].len,
                   "event %zu is not the part", i);
        FUZZ_CHECK(judge(event->data, limits, &value) == NUC_PROBLEM_NONE,
                   "event %zu should be refused", i);

        nuc_buf_reset(&id);
        nuc_json_unescape(value.id, &id);
        FUZZ_CHECK(nuc_str_eq(event->id, (nuc_str_t){id.data, id.len}),
                   "the id of event %zu", i);
    }

    nuc_buf_free(&id);
}

/* The event that is named is the first bad one, and what is said of it is so. */
static void check_ndjson_fault(const nuc_format_fault_t *fault, const split_t *split,
                               const nuc_format_limits_t *limits)
{
    size_t i;
    nuc_problem_t problem;
    nuc_json_value_t value;

    problem = NUC_PROBLEM_EMPTY_BODY;

    for (i = 0; i < split->count; i++) {
        problem = i >= limits->max_events ? NUC_PROBLEM_TOO_MANY_EVENTS
                                          : judge(split->slices[i], limits, &value);

        if (problem != NUC_PROBLEM_NONE) {
            break;
        }
    }

    FUZZ_CHECK(problem == fault->problem, "problem \"%s\", not \"%s\"",
               nuc_problem_name(fault->problem), nuc_problem_name(problem));
    FUZZ_CHECK(split->count == 0 || fault->event == i, "event %zu is named, not %zu",
               fault->event, i);
}

static int is_text(const char *text, size_t size)
{
    size_t len;

    len = strnlen(text, size);

    return len > 0 && len < size;
}

static void check_fault(const nuc_format_fault_t *fault, nuc_rc_t rc, nuc_str_t body)
{
    int too_large;

    too_large = fault->problem == NUC_PROBLEM_EVENT_TOO_LARGE ||
                fault->problem == NUC_PROBLEM_TOO_MANY_EVENTS;

    FUZZ_CHECK(fault->problem != NUC_PROBLEM_NONE, "a fault without a problem");
    FUZZ_CHECK(rc == (too_large ? NUC_TOO_LARGE : NUC_INVALID), "\"%s\" answers %d",
               nuc_problem_name(fault->problem), rc);
    FUZZ_CHECK(fault->offset <= body.len, "offset %zu of %zu", fault->offset, body.len);
    FUZZ_CHECK(is_text(fault->detail, sizeof(fault->detail)), "no detail");
    FUZZ_CHECK(strnlen(fault->pointer, sizeof(fault->pointer)) < sizeof(fault->pointer) &&
                   (fault->pointer[0] == '\0' || fault->pointer[0] == '/'),
               "no pointer");
}

static void check_format(nuc_str_t body, const nuc_format_t *format,
                         const nuc_format_limits_t *limits, nuc_event_list_t *list)
{
    nuc_rc_t rc;
    split_t split;
    nuc_format_fault_t fault;

    split.slices = fuzz_alloc((body.len + 2) * sizeof(nuc_str_t));
    split.count = 0;
    split_body(&split, body, format);

    memset(&fault, 0xa5, sizeof(fault));
    rc = format->parse(body, limits, list, &fault);

    if (rc == NUC_OK) {
        check_events(list, &split, limits);

    } else {
        FUZZ_CHECK(list->count == 0, "events of a body that was refused");
        check_fault(&fault, rc, body);

        if (format == &nuc_format_ndjson) {
            check_ndjson_fault(&fault, &split, limits);
        }
    }

    free(split.slices);
}

/* A line by itself gives the event that it gives among others. */
static void check_line_alone(nuc_str_t body, const nuc_format_limits_t *limits)
{
    size_t i;
    split_t split;
    nuc_str_t line;
    nuc_event_list_t list;
    nuc_format_fault_t fault;

    split.slices = fuzz_alloc((body.len + 2) * sizeof(nuc_str_t));
    split.count = 0;
    split_lines(&split, body);
    nuc_event_list_init(&list);

    for (i = 0; i < split.count && i < 4; i++) {
        line = fuzz_copy(split.slices[i].data, split.slices[i].len);

        if (nuc_format_ndjson.parse(line, limits, &list, &fault) == NUC_OK) {
            FUZZ_CHECK(list.count == 1 && nuc_str_eq(list.events[0].data, line),
                       "line %zu alone is another event", i);
            FUZZ_CHECK(nuc_format_json.parse(line, limits, &list, &fault) == NUC_OK &&
                           list.count == 1 && nuc_str_eq(list.events[0].data, line),
                       "line %zu as JSON is another event", i);
        }

        fuzz_free(line);
    }

    nuc_event_list_free(&list);
    free(split.slices);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    nuc_str_t body;
    fuzz_input_t in = {data, data + len};
    nuc_event_list_t list;
    nuc_format_limits_t limits;

    limits.max_event_size = 1 + (size_t) fuzz_take(&in, 2) % BODY_MAX;
    limits.max_events = 1 + fuzz_take_below(&in, 40);
    limits.max_depth = 1 + fuzz_take_below(&in, 12);
    body = fuzz_take_bytes(&in, BODY_MAX);
    body = fuzz_copy(body.data, body.len);

    /* one list for all, as a process has */
    nuc_event_list_init(&list);
    check_format(body, &nuc_format_ndjson, &limits, &list);
    check_format(body, &nuc_format_json, &limits, &list);
    check_format(body, &nuc_format_ndjson, &limits, &list);
    nuc_event_list_free(&list);

    check_line_alone(body, &limits);
    fuzz_free(body);

    return 0;
}
