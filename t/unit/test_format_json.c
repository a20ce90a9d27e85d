/* JSON and NDJSON as formats: events and ids, faults and what they say, limits. */

#include <stdlib.h>

#include "nuc_format.h"
#include "tap.h"

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))

static const nuc_format_limits_t limits = {
    .max_event_size = 200,
    .max_events = 4,
    .max_depth = 3,
};

static nuc_event_list_t list;
static nuc_format_fault_t fault;

/* Parses the body in memory of just its size, so that a sanitizer sees a read beyond it.
 */
static nuc_rc_t parse(const nuc_format_t *format, nuc_str_t body,
                      const nuc_format_limits_t *within, uint8_t **memory)
{
    *memory = malloc(body.len + (body.len == 0));

    if (*memory == NULL) {
        abort();
    }

    if (body.len != 0) {
        memcpy(*memory, body.data, body.len);
    }

    memset(&fault, '#', sizeof(fault));

    return format->parse((nuc_str_t){*memory, body.len}, within, &list, &fault);
}

static const char *name_of(const nuc_format_t *format)
{
    return format == &nuc_format_json ? "json" : "ndjson";
}

typedef struct {
    const nuc_format_t *format;
    nuc_str_t body;
    const char *events[5]; /* each event's data and id, in turn */
    const char *ids[5];    /* NULL: absent */
} good_t;

#define J &nuc_format_json
#define L &nuc_format_ndjson

static const good_t goods[] = {
    {J, NUC_STR("{}"), {"{}"}, {NULL}},
    {J, NUC_STR(" \r\n\t{ \"a\" : 1 }\n "), {"{ \"a\" : 1 }"}, {NULL}},
    {J,
     NUC_STR("{\n\"id\":\"x-1\",\r\n\"n\":1e400}"),
     {"{\n\"id\":\"x-1\",\r\n\"n\":1e400}"},
     {"x-1"}},
    {J, NUC_STR("[{}]"), {"{}"}, {NULL}},
    {J,
     NUC_STR(" [ {\"id\":\"a\"} , { \"id\" : \"b\" },{\"id\":7},\n{\"id\":\"\"} ] "),
     {"{\"id\":\"a\"}", "{ \"id\" : \"b\" }", "{\"id\":7}", "{\"id\":\"\"}"},
     {"a", "b", NULL, NULL}},
    {J,
     NUC_STR("[{\"id\":\"\\u0061\\n\"},{\"id\":\"b\"},{\"\\u0069d\":\"\\\"c\\ud83d\"},"
             "{\"a\":{\"id\":\"\\t\"}}]"),
     {"{\"id\":\"\\u0061\\n\"}", "{\"id\":\"b\"}", "{\"\\u0069d\":\"\\\"c\\ud83d\"}",
      "{\"a\":{\"id\":\"\\t\"}}"},
     {"a\n", "b", "\"c\xef\xbf\xbd", NULL}},
    {L, NUC_STR("{}"), {"{}"}, {NULL}},
    {L, NUC_STR("{\"id\":\"a\"}\n"), {"{\"id\":\"a\"}"}, {"a"}},
    {L,
     NUC_STR("{\"id\":\"a\"}\n{\"id\":\"b\"}"),
     {"{\"id\":\"a\"}", "{\"id\":\"b\"}"},
     {"a", "b"}},
    {L,
     NUC_STR("{\"id\":\"a\"}\r\n{\"id\":\"\\u0062\"}\r\n"),
     {"{\"id\":\"a\"}", "{\"id\":\"\\u0062\"}"},
     {"a", "b"}},
    {L,
     NUC_STR("\n\r\n  \t\n {} \n\n{\"a\":[]}\t\r\n \r\n "),
     {"{}", "{\"a\":[]}"},
     {NULL, NULL}},
    {L, NUC_STR("{}\r"), {"{}"}, {NULL}},
};

static void test_good(const good_t *c)
{
    size_t i, n;
    nuc_rc_t rc;
    uint8_t *memory;
    const char *body;
    nuc_event_t *e;

    for (n = 0; n < COUNT(c->events) && c->events[n] != NULL; n++) {
        continue;
    }

    body = (const char *) c->body.data;
    rc = parse(c->format, c->body, &limits, &memory);
    ok(rc == NUC_OK && fault.problem == NUC_PROBLEM_NONE, "%s: %s", name_of(c->format),
       body);

    if (!is_int((long long) list.count, (long long) n, "events of %s", body)) {
        free(memory);
        return;
    }

    for (i = 0; i < n; i++) {
        e = &list.events[i];
        ok(nuc_str_eq(e->data, nuc_str(c->events[i])), "event %zu of %s", i, body);
        ok(e->data.data >= memory && e->data.data + e->data.len <= memory + c->body.len,
           "event %zu lies in the body", i);

        if (c->ids[i] == NULL) {
            ok(e->id.data == NULL && e->id.len == 0, "no id in event %zu of %s", i, body);
        } else {
            ok(nuc_str_eq(e->id, nuc_str(c->ids[i])), "id of event %zu of %s", i, body);
        }

        ok(e->type.data == NULL && e->subject.data == NULL && e->time.data == NULL &&
               e->source.data == NULL,
           "nothing else is known of event %zu", i);
    }

    free(memory);
}

typedef struct {
    const nuc_format_t *format;
    nuc_str_t body;
    nuc_problem_t problem;
    size_t event;
    size_t offset;
    const char *pointer;
    const char *detail;
} bad_t;

#define EMPTY   NUC_PROBLEM_EMPTY_BODY
#define INVALID NUC_PROBLEM_INVALID_JSON
#define NOT     NUC_PROBLEM_NOT_AN_OBJECT
#define DEEP    NUC_PROBLEM_TOO_DEEP
#define LARGE   NUC_PROBLEM_EVENT_TOO_LARGE
#define MANY    NUC_PROBLEM_TOO_MANY_EVENTS

#define NONE_JSON "the body has no event: send a JSON object, or an array of them"
#define NONE_LINE "the body has no event: send a JSON object a line"
#define MORE      "send several events as an array, or one a line as application/x-ndjson"
#define OBJECT    ": each event must be a JSON object"
#define ONE_LINE  ": put the whole object on one line, or send it as application/json"
#define CUT       ": the body is not complete"
#define FLAT      " is nested too deep: send at most 3 arrays and objects in each other"

static const bad_t bads[] = {
    {J, NUC_STR(""), EMPTY, 0, 0, "", NONE_JSON},
    {J, NUC_STR(" \r\n\t"), EMPTY, 0, 0, "", NONE_JSON},
    {J, NUC_STR("[]"), EMPTY, 0, 0, "", NONE_JSON},
    {J, NUC_STR(" [ ] "), EMPTY, 0, 0, "", NONE_JSON},
    {J, NUC_STR("[] x"), INVALID, 0, 3, "",
     "more data after the JSON value, at byte 3: " MORE},
    {J, NUC_STR("{} {}"), INVALID, 1, 3, "",
     "more data after the JSON value, at byte 3: " MORE},
    {J, NUC_STR("{}\n{}\n"), INVALID, 1, 3, "",
     "more data after the JSON value, at byte 3: " MORE},
    {J, NUC_STR("[{}]]"), INVALID, 1, 4, "",
     "more data after the JSON value, at byte 4: " MORE},
    {J, NUC_STR("{}\0"), INVALID, 1, 2, "",
     "more data after the JSON value, at byte 2: " MORE},
    {J, NUC_STR("hello"), INVALID, 0, 0, "", "a value was expected at byte 0"},
    {J, NUC_STR("a=1&b=2"), INVALID, 0, 0, "", "a value was expected at byte 0"},
    {J, NUC_STR("\xef\xbb\xbf{}"), INVALID, 0, 0, "",
     "byte order mark (send UTF-8 without one) at byte 0"},
    {J, NUC_STR("{"), INVALID, 0, 1, "", "unexpected end at byte 1" CUT},
    {J, NUC_STR("["), INVALID, 0, 1, "", "unexpected end at byte 1" CUT},
    {J, NUC_STR("[{}"), INVALID, 1, 3, "", "unexpected end at byte 3" CUT},
    {J, NUC_STR("[{},"), INVALID, 1, 4, "/1", "unexpected end at byte 4" CUT},
    {J, NUC_STR("[{},{\"a\":\"b"), INVALID, 1, 11, "/1/a",
     "unexpected end at byte 11" CUT},
    {J, NUC_STR("[{},]"), INVALID, 1, 4, "/1", "a comma before ] at byte 4"},
    {J, NUC_STR("[{} {}]"), INVALID, 1, 4, "", "a comma or ] was expected at byte 4"},
    {J, NUC_STR("[{}}"), INVALID, 1, 3, "", "a comma or ] was expected at byte 3"},
    {J, NUC_STR("[,{}]"), INVALID, 0, 1, "/0", "a value was expected at byte 1"},
    {J, NUC_STR("[{},{},{},{\"actor\":{\"name\":'x'}}]"), INVALID, 3, 27, "/3/actor/name",
     "a string in single quotes (use double quotes) at byte 27"},
    {J, NUC_STR("{\"a\":\"x\ny\"}"), INVALID, 0, 7, "/a",
     "control character in a string (write an escape) at byte 7"},
    {J, NUC_STR("{\"a\":\"\xe9t\xe9\"}"), INVALID, 0, 7, "/a", "not UTF-8 at byte 7"},
    {J, NUC_STR("{\"a\":007}"), INVALID, 0, 6, "/a", "leading zero at byte 6"},
    {J, NUC_STR("{\"a\":1,}"), INVALID, 0, 7, "", "a comma before } at byte 7"},
    {J, NUC_STR("7"), NOT, 0, 0, "", "event 0 is a number" OBJECT},
    {J, NUC_STR(" \"x\""), NOT, 0, 1, "", "event 0 is a string" OBJECT},
    {J, NUC_STR("null"), NOT, 0, 0, "", "event 0 is null" OBJECT},
    {J, NUC_STR("[{}, true]"), NOT, 1, 5, "/1", "event 1 is a boolean" OBJECT},
    {J, NUC_STR("[{},{},false]"), NOT, 2, 7, "/2", "event 2 is a boolean" OBJECT},
    {J, NUC_STR("[[{}]]"), NOT, 0, 1, "/0", "event 0 is an array" OBJECT},
    {J, NUC_STR("[{},-1]"), NOT, 1, 4, "/1", "event 1 is a number" OBJECT},
    {J, NUC_STR("{\"a\":[{\"b\":[]}]}"), DEEP, 0, 11, "/a/0/b", "event 0" FLAT},
    {J, NUC_STR("[{},{\"a\":[{\"b\":{}}]}]"), DEEP, 1, 15, "/1/a/0/b", "event 1" FLAT},
    {J, NUC_STR("[[[[[["), DEEP, 0, 4, "/0/0/0/0", "event 0" FLAT},
    {J, NUC_STR("[{},{},{},{},{}]"), MANY, 4, 13, "/4",
     "more than 4 events: send them in several requests"},
    {J, NUC_STR("[{},{},{},{},!"), MANY, 4, 13, "/4",
     "more than 4 events: send them in several requests"},

    {L, NUC_STR(""), EMPTY, 0, 0, "", NONE_LINE},
    {L, NUC_STR(" \r\n\n\t"), EMPTY, 0, 0, "", NONE_LINE},
    {L, NUC_STR("[]"), NOT, 0, 0, "",
     "line 1: event 0 is an array" OBJECT "; send an array as application/json"},
    {L, NUC_STR("{}\n\n7\n"), NOT, 1, 4, "", "line 3: event 1 is a number" OBJECT},
    {L, NUC_STR("{}\n{} {}\n"), INVALID, 1, 6, "",
     "line 2: more data after the JSON value, at byte 6: put each event on a line of its "
     "own"},
    {L, NUC_STR("{},\n{}"), INVALID, 0, 2, "",
     "line 1: more data after the JSON value, at byte 2: put each event on a line of its "
     "own"},
    {L, NUC_STR("{\n\"a\":1\n}\n"), INVALID, 0, 1, "",
     "line 1: unexpected end at byte 1" ONE_LINE},
    {L, NUC_STR("{}\r\n{\"a\":\r\n1}"), INVALID, 1, 10, "/a",
     "line 2: unexpected end at byte 10" ONE_LINE},
    {L, NUC_STR("{}\n{\"a\":\"x"), INVALID, 1, 10, "/a",
     "line 2: unexpected end at byte 10" ONE_LINE},
    {L, NUC_STR("{}\n{\"a\":\"x\n\"}"), INVALID, 1, 10, "/a",
     "line 2: unexpected end at byte 10" ONE_LINE},
    {L, NUC_STR("{}\n{}\n \n{\"a\":{\"b\":[1,tru]}}"), INVALID, 2, 24, "/a/b/1",
     "line 4: misspelt true, false or null at byte 24"},
    {L, NUC_STR("\xef\xbb\xbf{}\n"), INVALID, 0, 0, "",
     "line 1: byte order mark (send UTF-8 without one) at byte 0"},
    {L, NUC_STR("{}\n\x1e{}\n"), INVALID, 1, 3, "",
     "line 2: a value was expected at byte 3"},
    {L, NUC_STR("{}\n{\"a\":[{\"b\":[]}]}"), DEEP, 1, 14, "/a/0/b",
     "line 2: event 1" FLAT},
    {L, NUC_STR("{}\n{}\n{}\n{}\n\n{}\n!"), MANY, 4, 13, "",
     "line 6: more than 4 events: send them in several requests"},
};

static void test_bad(const bad_t *c)
{
    nuc_rc_t rc;
    uint8_t *memory;
    const char *body;

    body = (const char *) c->body.data;
    rc = parse(c->format, c->body, &limits, &memory);
    free(memory);

    is_int(rc, c->problem == MANY ? NUC_TOO_LARGE : NUC_INVALID, "%s: refused: %s",
           name_of(c->format), body);

    if (rc == NUC_OK) {
        return;
    }

    is_str(nuc_problem_name(fault.problem), nuc_problem_name(c->problem), "problem of %s",
           body);
    is_int((long long) fault.event, (long long) c->event, "event at fault in %s", body);
    is_int((long long) fault.offset, (long long) c->offset, "offset of the fault in %s",
           body);
    is_str(fault.pointer, c->pointer, "pointer to the fault in %s", body);
    is_str(fault.detail, c->detail, "detail of %s", body);
    is_int((long long) list.count, 0, "no event of %s", body);
}

static void test_sizes(const nuc_format_t *format, const char *before, const char *after)
{
    static const char event[] = "{\"id\":\"0123456789\"}";
    nuc_format_limits_t within;
    nuc_buf_t body = NUC_BUF_INIT;
    uint8_t *memory;

    nuc_buf_printf(&body, "%s  %s  %s", before, event, after);
    within = limits;
    within.max_event_size = sizeof(event) - 1;

    is_int(parse(format, (nuc_str_t){body.data, body.len}, &within, &memory), NUC_OK,
           "%s: an event of the largest size, spaces around it don't count",
           name_of(format));
    free(memory);

    within.max_event_size++;
    is_int(parse(format, (nuc_str_t){body.data, body.len}, &within, &memory), NUC_OK,
           "%s: an event under the largest size", name_of(format));
    free(memory);

    within.max_event_size -= 2;
    is_int(parse(format, (nuc_str_t){body.data, body.len}, &within, &memory),
           NUC_TOO_LARGE, "%s: an event over the largest size", name_of(format));
    free(memory);
    is_str(nuc_problem_name(fault.problem), "event-too-large", "its problem");
    is_int((long long) fault.offset, (long long) strlen(before) + 2, "its offset");
    is_int((long long) list.count, 0, "no event is left");
    ok(strstr(fault.detail, "event 1 has 19 bytes: send at most 18 in one event") != NULL,
       "its detail");
    is_str(fault.pointer, *before == '[' ? "/1" : "", "its pointer");
    is_int((long long) fault.event, 1, "its index");

    nuc_buf_free(&body);
}

static void test_limits(void)
{
    unsigned n;
    nuc_rc_t rc;
    nuc_str_t body;
    nuc_format_limits_t within;
    uint8_t *memory;

    test_sizes(&nuc_format_json, "[{},", ",{}]");
    test_sizes(&nuc_format_ndjson, "{}\n", "\n{}\n");

    for (n = 0; n <= 5; n++) {
        within = limits;
        within.max_events = n;
        rc = parse(&nuc_format_json, NUC_STR("[{},{},{}]"), &within, &memory);
        free(memory);
        is_int(rc, n < 3 ? NUC_TOO_LARGE : NUC_OK, "json: 3 events where %u may be", n);
        rc = parse(&nuc_format_ndjson, NUC_STR("{}\n{}\n{}\n"), &within, &memory);
        free(memory);
        is_int(rc, n < 3 ? NUC_TOO_LARGE : NUC_OK, "ndjson: 3 events where %u may be", n);
    }

    /* an event has the same depth alone, in an array, and on a line */
    for (n = 0; n <= 4; n++) {
        within = limits;
        within.max_depth = n;
        body = NUC_STR("{\"a\":[1]}");
        rc = parse(&nuc_format_json, body, &within, &memory);
        free(memory);
        is_int(rc, n < 2 ? NUC_INVALID : NUC_OK, "json: depth 2 where %u may be", n);
        rc = parse(&nuc_format_ndjson, body, &within, &memory);
        free(memory);
        is_int(rc, n < 2 ? NUC_INVALID : NUC_OK, "ndjson: depth 2 where %u may be", n);
        rc = parse(&nuc_format_json, NUC_STR("[{\"a\":[1]}]"), &within, &memory);
        free(memory);
        is_int(rc, n < 2 ? NUC_INVALID : NUC_OK, "array: depth 2 where %u may be", n);
    }
}

/* What a list held before is gone, whatever comes; its memory is used again. */
static void test_reuse(void)
{
    uint8_t *memory;
    nuc_event_t *events;

    parse(&nuc_format_json, NUC_STR("[{\"id\":\"\\u0061\"},{\"id\":\"b\"}]"), &limits,
          &memory);
    free(memory);
    events = list.events;

    ok(parse(&nuc_format_json, NUC_STR("{\"id\":\"\\u0063\"}"), &limits, &memory) ==
               NUC_OK &&
           list.count == 1 && list.events == events &&
           nuc_str_eq(list.events[0].id, NUC_STR("c")),
       "a list takes the next body");
    free(memory);

    parse(&nuc_format_json, NUC_STR("[{\"id\":\"\\u0061\"},"), &limits, &memory);
    free(memory);
    is_int((long long) list.count, 0, "a fault leaves it empty");
    nuc_event_list_free(&list);
    ok(list.events == NULL && list.capacity == 0 && list.scratch.data == NULL,
       "a freed list holds nothing");
}

static void test_media_types(void)
{
    static const struct {
        const char *type;
        const nuc_format_t *format;
    } cases[] = {
        {"application/json", J},
        {"Application/JSON", J},
        {"application/problem+json", J},
        {"application/vnd.example.v1+JSON", J},
        {"application/x-ndjson", L},
        {"application/ndjson", L},
        {"application/jsonl", L},
        {"application/jsonlines", L},
        {"APPLICATION/X-JSONLINES", L},
        {"", NULL},
        {"json", NULL},
        {"text/json", NULL},
        {"text/plain", NULL},
        {"text/x+json", NULL},
        {"application/+json", NULL},
        {"application/xjson", NULL},
        {"application/json5", NULL},
        {"application/jso", NULL},
        {"application/x+json2", NULL},
        {"application/json-seq", NULL},
        {"application/octet-stream", NULL},
        {"application/x-www-form-urlencoded", NULL},
    };
    size_t i;

    for (i = 0; i < COUNT(cases); i++) {
        ok(nuc_format_by_media_type(nuc_str(cases[i].type)) == cases[i].format,
           "media type \"%s\"", cases[i].type);
    }

    ok(nuc_format_by_media_type(NUC_STR_NONE) == NULL, "no media type");
    is_str(nuc_format_json.media_type, "application/json",
           "what a JSON event's record says");
    is_str(nuc_format_ndjson.media_type, "application/json", "what a line's record says");
    is_int(nuc_format_json.kind, NUC_KIND_JSON, "kind of a JSON event");
    is_int(nuc_format_ndjson.kind, NUC_KIND_JSON, "kind of a line");
}

static void test_names(void)
{
    static const struct {
        nuc_problem_t problem;
        const char *name;
    } cases[] = {
        {EMPTY, "empty-body"}, {INVALID, "invalid-json"},  {NOT, "not-an-object"},
        {DEEP, "too-deep"},    {LARGE, "event-too-large"}, {MANY, "too-many-events"},
    };
    size_t i;

    for (i = 0; i < COUNT(cases); i++) {
        is_str(nuc_problem_name(cases[i].problem), cases[i].name, "a stable name");
    }
}

/* Every name, offset and size at its longest still leaves the sentence whole. */
static void test_detail_fits(void)
{
    unsigned i;
    uint8_t *memory;
    nuc_buf_t body = NUC_BUF_INIT;

    for (i = 0; i < 1000000; i++) {
        nuc_buf_char(&body, '\n');
    }

    nuc_buf_printf(&body, "{\"");

    for (i = 0; i < 300; i++) {
        nuc_buf_char(&body, 'n');
    }

    nuc_buf_printf(&body, "\":{\"a\":{\"b\":'");
    parse(&nuc_format_ndjson, (nuc_str_t){body.data, body.len}, &limits, &memory);
    free(memory);

    is_str(fault.pointer, "", "a pointer is cut before a name that doesn't fit");
    is_str(fault.detail,
           "line 1000001: a string in single quotes (use double quotes) at byte 1000314",
           "the sentence is whole");
    nuc_buf_free(&body);
}

/*
 * A million of whatever may be sent: work that grows with the square of it would not end.
 * Ids with escapes outgrow the scratch of one body by far.
 */
static void test_hostile(void)
{
    static const struct {
        const nuc_format_t *format;
        const char *before, *repeated, *after;
        nuc_rc_t rc;
        size_t count;
    } cases[] = {
        {J, "[", "{\"id\":\"\\u0061\\n\"},", "{\"id\":\"z\"}]", NUC_OK, 1000001},
        {L, "", "{\"id\":\"\\u0061\\n\"}\n", "{\"id\":\"z\"}", NUC_OK, 1000001},
        {L, "", "\n", "{\"id\":\"z\"}", NUC_OK, 1},
        {L, "", " ", "{\"id\":\"z\"}", NUC_OK, 1},
        {J, "{", "\"\\u0069d\":\"\\\\x\",", "\"id\":\"z\"}", NUC_OK, 1},
        {J, "{\"id\":\"z\",\"a\":\"", "\\u0000", "\"}", NUC_OK, 1},
        {J, "[{\"a\":[", "{},", "{}]}, !", NUC_INVALID, 0},
        {J, "[", "{\"a\":", "", NUC_INVALID, 0},
        {J, "[{\"a\":\"", "\\\"", "", NUC_INVALID, 0},
        {J, "[{\"", "~", "\":!", NUC_INVALID, 0},
    };
    static const nuc_format_limits_t wide = {
        .max_event_size = 1u << 30,
        .max_events = 2000000,
        .max_depth = 512,
    };
    size_t i, n, wrong;
    nuc_rc_t rc;
    uint8_t *memory;
    nuc_buf_t body = NUC_BUF_INIT;

    for (i = 0; i < COUNT(cases); i++) {
        nuc_buf_reset(&body);
        nuc_buf_printf(&body, "%s", cases[i].before);

        for (n = 0; n < 1000000; n++) {
            nuc_buf_append(&body, cases[i].repeated, strlen(cases[i].repeated));
        }

        nuc_buf_printf(&body, "%s", cases[i].after);
        rc = parse(cases[i].format, (nuc_str_t){body.data, body.len}, &wide, &memory);
        is_int(rc, cases[i].rc, "a million times %s", cases[i].repeated);
        is_int((long long) list.count, (long long) cases[i].count, "events of it");
        wrong = 0;

        for (n = 0; n < list.count; n++) {
            wrong += !nuc_str_eq(list.events[n].id,
                                 n + 1 < list.count ? NUC_STR("a\n") : NUC_STR("z"));
        }

        is_int((long long) wrong, 0, "ids of it");
        free(memory);
    }

    nuc_buf_free(&body);
}

int main(void)
{
    size_t i;

    nuc_event_list_init(&list);

    for (i = 0; i < COUNT(goods); i++) {
        test_good(&goods[i]);
    }

    for (i = 0; i < COUNT(bads); i++) {
        test_bad(&bads[i]);
    }

    test_limits();
    test_reuse();
    test_media_types();
    test_names();
    test_detail_fits();
    test_hostile();
    nuc_event_list_free(&list);

    return tap_done();
}
