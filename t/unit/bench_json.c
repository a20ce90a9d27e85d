/*
 * How fast the scanner is, beside jansson's json_loadb: ns a statement and MB/s for an
 * xAPI statement of 811 bytes.
 *
 *     make build/unit/bench_json && build/unit/bench_json
 */

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "nuc_json.h"
#include "nuc_time.h"

#define ROUND_US 200000
#define ROUNDS   5

/* clang-format off */
static const char statement[] =
    "{\"id\":\"6690e6c9-3ef0-4ed3-8b37-7f3964730bee\","
    "\"timestamp\":\"2026-09-14T08:31:07.412Z\","
    "\"actor\":{\"objectType\":\"Agent\",\"name\":\"Ana M\xc3\xa9ndez\","
    "\"account\":{\"homePage\":\"https://sis.district.example\","
    "\"name\":\"stu-0048213\"}},"
    "\"verb\":{\"id\":\"http://adlnet.gov/expapi/verbs/answered\","
    "\"display\":{\"en-US\":\"answered\"}},"
    "\"object\":{\"objectType\":\"Activity\","
    "\"id\":\"https://lms.district.example/courses/alg-1/quiz/7/3\","
    "\"definition\":{\"type\":\"http://adlnet.gov/expapi/activities/question\","
    "\"name\":{\"en-US\":\"Slope of a line, from two points"
    " and the point where it meets axis y\"},"
    "\"interactionType\":\"numeric\"}},"
    "\"result\":{\"score\":{\"scaled\":0.85,\"raw\":17,\"min\":0,\"max\":20},"
    "\"success\":true,\"completion\":true,\"response\":\"2.5\",\"duration\":\"PT1M42S\"},"
    "\"context\":{\"registration\":\"ec531277-b57b-4c15-8d91-d292c5b2b8f7\","
    "\"platform\":\"LMS\",\"language\":\"en-US\"}}";
/* clang-format on */

#define STATEMENT_LEN (sizeof(statement) - 1)
_Static_assert(STATEMENT_LEN == 811, "the statement of the performance figures");

static void scan(void)
{
    size_t pos;
    nuc_json_value_t value;
    nuc_json_fault_t fault;

    pos = 0;

    if (nuc_json_scan((const uint8_t *) statement, STATEMENT_LEN, &pos, 100, &value,
                      &fault) != NUC_OK ||
        value.id.len != 36) {
        fprintf(stderr, "the scanner refuses the statement\n");
        exit(1);
    }
}

static void load(void)
{
    json_t *json;
    json_error_t error;

    json = json_loadb(statement, STATEMENT_LEN, 0, &error);

    if (json == NULL) {
        fprintf(stderr, "jansson refuses the statement: %s\n", error.text);
        exit(1);
    }

    json_decref(json);
}

/* The best round's ns a call. */
static double measure(void (*parse)(void))
{
    int i, round;
    double best, ns;
    uint64_t begin, end, calls;

    best = 0;

    for (round = 0; round < ROUNDS; round++) {
        calls = 0;
        begin = end = nuc_time_monotonic();

        while (end - begin < ROUND_US) {
            for (i = 0; i < 100; i++) {
                parse();
            }

            calls += 100;
            end = nuc_time_monotonic();
        }

        ns = (double) (end - begin) * 1000 / (double) calls;

        if (round == 0 || ns < best) {
            best = ns;
        }
    }

    return best;
}

int main(void)
{
    double ours, theirs;

    ours = measure(scan);
    theirs = measure(load);

    printf("%zu bytes: nuc_json_scan %.0f ns, %.0f MB/s; json_loadb %.0f ns, %.0f MB/s; "
           "%.1f times\n",
           STATEMENT_LEN, ours, (double) STATEMENT_LEN * 1000 / ours, theirs,
           (double) STATEMENT_LEN * 1000 / theirs, theirs / ours);

    return 0;
}
