#include "json_oracle.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>

#define FLAGS (JSON_DECODE_ANY | JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL)

static int is_surrogate(uint32_t c)
{
    return c >= 0xd800 && c <= 0xdfff;
}

static int hex4(const uint8_t *p, const uint8_t *end, uint32_t *unit)
{
    unsigned i;
    char text[5];

    if (end - p < 6 || p[0] != '\\' || p[1] != 'u') {
        return 0;
    }

    for (i = 0; i < 4; i++) {
        if (strchr("0123456789abcdefABCDEF", p[2 + i]) == NULL || p[2 + i] == '\0') {
            return 0;
        }
    }

    memcpy(text, p + 2, 4);
    text[4] = '\0';
    *unit = (uint32_t) strtoul(text, NULL, 16);

    return 1;
}

/* One character or escape of a string, changed to what jansson takes; returns its bytes.
 */
static size_t adapt_character(nuc_buf_t *out, const uint8_t *p, const uint8_t *end,
                              int name)
{
    size_t len;
    uint32_t unit, low;

    if (!hex4(p, end, &unit)) {
        len = *p == '\\' && end - p > 1 ? 2 : 1;
        nuc_buf_append(out, p, len);
        return len;
    }

    if (unit >= 0xd800 && unit < 0xdc00 && hex4(p + 6, end, &low) && low >= 0xdc00 &&
        low <= 0xdfff) {
        nuc_buf_append(out, p, 12);
        return 12;
    }

    if (is_surrogate(unit)) {
        nuc_buf_printf(out, "\\ufffd");
    } else if (unit == 0 && name) {
        nuc_buf_printf(out, "\\u0001");
    } else {
        nuc_buf_append(out, p, 6);
    }

    return 6;
}

static void adapt(nuc_buf_t *out, nuc_str_t text)
{
    int name;
    const uint8_t *p, *end, *close, *after;

    nuc_buf_reset(out);
    p = text.data;
    end = p + text.len;

    while (p < end) {
        nuc_buf_char(out, *p != 0 ? (char) *p : '\x01');

        if (*p++ != '"') {
            continue;
        }

        for (close = p; close < end && *close != '"'; close++) {
            close += *close == '\\' && end - close > 1;
        }

        after = close < end ? close + 1 : end;
        after += nuc_json_skip_space(after, (size_t) (end - after), 0);
        name = after < end && *after == ':';

        while (p < close) {
            p += adapt_character(out, p, close, name);
        }

        if (close < end) {
            nuc_buf_char(out, '"');
            p++;
        }
    }
}

/* The number beyond a double that ends at "end" becomes 1e0; 0 if there is none. */
static int adapt_number(nuc_buf_t *text, size_t end)
{
    size_t begin, len;
    char number[2048];
    char *rest;

    begin = end;

    while (begin > 0 && strchr("0123456789+-.eE", text->data[begin - 1]) != NULL) {
        begin--;
    }

    len = end - begin;

    if (len < 3 || len >= sizeof(number)) {
        return 0;
    }

    memcpy(number, text->data + begin, len);
    number[len] = '\0';

    if (!isinf(strtod(number, &rest)) || *rest != '\0') {
        return 0;
    }

    memcpy(text->data + begin, "1e0", 3);
    memmove(text->data + begin + 3, text->data + end, text->len - end);
    text->len -= len - 3;

    return 1;
}

/* The tree that jansson makes of "text", or NULL; "scratch" is changed. */
static json_t *load(nuc_str_t text, nuc_buf_t *scratch)
{
    json_t *json;
    json_error_t error;

    adapt(scratch, text);

    for (;;) {
        json = json_loadb((char *) scratch->data, scratch->len, FLAGS, &error);

        if (json != NULL || json_error_code(&error) != json_error_numeric_overflow ||
            !adapt_number(scratch, (size_t) error.position)) {
            return json;
        }
    }
}

/*
 * The comparison.
 */

static void differs(json_oracle_t *r, const char *what)
{
    if (r->what == NULL) {
        r->what = what;
    }
}

static void compare_id(json_oracle_t *r, const nuc_json_value_t *value,
                       const json_t *json)
{
    json_t *id;

    id = json_object_get(json, "id");

    if (value->id.data == NULL || !json_is_string(id)) {
        if (value->id.data != NULL || json_is_string(id)) {
            differs(r, "one of the two has no id");
        }

        return;
    }

    nuc_buf_reset(&r->id);
    nuc_json_unescape(value->id, &r->id);

    if (!nuc_str_eq((nuc_str_t){r->id.data, r->id.len},
                    (nuc_str_t){(const uint8_t *) json_string_value(id),
                                json_string_length(id)})) {
        differs(r, "id");
    }

    r->ids++;
}

/* The slices of an array's elements, one after the other, parse to equal values. */
static void compare_elements(json_oracle_t *r, nuc_str_t array, const json_t *json)
{
    size_t i, pos;
    json_t *element;
    nuc_json_value_t value;
    nuc_json_fault_t fault;

    pos = 1;

    for (i = 0; i < json_array_size(json); i++) {
        if (nuc_json_scan(array.data, array.len, &pos, NUC_JSON_DEPTH_MAX, &value,
                          &fault) != NUC_OK) {
            differs(r, "an element is not valid by itself");
            return;
        }

        element = load(value.slice, &r->element_scratch);

        if (element == NULL || !json_equal(element, json_array_get(json, i))) {
            differs(r, "an element's slice");
        }

        json_decref(element);
        r->elements++;
        pos = nuc_json_skip_space(array.data, array.len, pos) + 1; /* comma or ] */
    }

    if (json_array_size(json) != 0 && pos != array.len) {
        differs(r, "the number of elements");
    }
}

/* The offset of the first bracket that opens level "depth" + 1 of a valid text, or its
 * length. */
static size_t find_deeper(nuc_str_t text, unsigned depth)
{
    size_t i;
    int string;
    unsigned open;

    string = 0;
    open = 0;

    for (i = 0; i < text.len; i++) {
        if (string) {
            string = text.data[i] != '"';
            i += text.data[i] == '\\';
            continue;
        }

        string = text.data[i] == '"';

        if ((text.data[i] == '[' || text.data[i] == '{') && open++ == depth) {
            return i;
        }

        open -= text.data[i] == ']' || text.data[i] == '}';
    }

    return text.len;
}

static void compare_depth(json_oracle_t *r, nuc_str_t text, unsigned depth)
{
    size_t pos, deeper;
    nuc_rc_t rc;
    nuc_json_value_t value;
    nuc_json_fault_t fault;

    pos = 0;
    deeper = find_deeper(text, depth);
    rc = nuc_json_scan(text.data, text.len, &pos, depth, &value, &fault);

    if (deeper == text.len) {
        if (rc != NUC_OK) {
            differs(r, "refused at a depth that is allowed");
        }

        return;
    }

    if (rc == NUC_OK || !fault.too_deep || fault.offset != deeper) {
        differs(r, "where it is too deep");
    }

    r->too_deep++;
}

static void compare_valid(json_oracle_t *r, nuc_str_t text, const nuc_json_value_t *value,
                          const json_t *json, unsigned depth)
{
    r->valid++;
    compare_id(r, value, json);
    compare_depth(r, text, depth);

    if (value->type == '[') {
        compare_elements(r, value->slice, json);
    }

    if ((value->type == '[') != json_is_array(json) ||
        (value->type == '{') != json_is_object(json) ||
        (value->type == '"') != json_is_string(json) ||
        (value->type == 0) != json_is_number(json) ||
        (value->type == 'n') != json_is_null(json)) {
        differs(r, "type");
    }
}

/* The bytes before a fault are the beginning of something valid; with the next one, not.
 */
static void check_fault(json_oracle_t *r, nuc_str_t text, const nuc_json_fault_t *fault)
{
    size_t pos;
    nuc_json_value_t value;
    nuc_json_fault_t other;

    r->invalid++;

    if (fault->offset > text.len) {
        differs(r, "a fault beyond the end");
        return;
    }

    if (fault->too_deep) {
        if (fault->offset != find_deeper(text, NUC_JSON_DEPTH_MAX)) {
            differs(r, "where it is deeper than any caller may allow");
        }

        return;
    }

    pos = 0;

    if (nuc_json_scan(text.data, fault->offset, &pos, NUC_JSON_DEPTH_MAX, &value,
                      &other) != NUC_OK &&
        (other.offset != fault->offset || strcmp(other.reason, "unexpected end") != 0)) {
        differs(r, "a fault lies before its offset");
    }

    if (fault->offset == text.len) {
        return;
    }

    pos = 0;

    if (nuc_json_scan(text.data, fault->offset + 1, &pos, NUC_JSON_DEPTH_MAX, &value,
                      &other) == NUC_OK ||
        other.offset != fault->offset) {
        differs(r, "a fault lies behind its offset");
    }
}

void json_oracle_compare(json_oracle_t *r, nuc_str_t text, unsigned depth)
{
    size_t pos;
    json_t *json;
    nuc_rc_t rc;
    nuc_json_value_t value;
    nuc_json_fault_t fault;

    pos = 0;
    rc = nuc_json_scan(text.data, text.len, &pos, NUC_JSON_DEPTH_MAX, &value, &fault);
    json = load(text, &r->scratch);

    if (rc != NUC_OK) {
        check_fault(r, text, &fault);

        if (json != NULL && !fault.too_deep) {
            differs(r, "only jansson accepts it");
        }

    } else if (nuc_json_skip_space(text.data, text.len, pos) != text.len) {
        r->invalid++;

        if (json != NULL) {
            differs(r, "jansson sees no more behind it");
        }

    } else if (json == NULL) {
        differs(r, "only jansson refuses it");

    } else {
        compare_valid(r, text, &value, json, depth);
    }

    json_decref(json);
}

void json_oracle_free(json_oracle_t *r)
{
    nuc_buf_free(&r->scratch);
    nuc_buf_free(&r->element_scratch);
    nuc_buf_free(&r->id);
}
