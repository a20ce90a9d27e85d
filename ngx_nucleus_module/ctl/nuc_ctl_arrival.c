#include "nuc_ctl_arrival.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "nuc_fs.h"
#include "nuc_name.h"
#include "nuc_time.h"
#include "nuc_uuid.h"

#define NUC_ARRIVAL_LINE 512         /* more than a line that is looked at has */
#define NUC_ARRIVAL_FILE (64u << 20) /* bytes of a file of the store */
#define NUC_ARRIVAL_HOUR 3600000000u /* us */

/* ---- the worker */

typedef struct {
    char name[NUC_UUID_TEXT_LEN + 1];
    double durable;
} nuc_mark_t;

struct nuc_arrival_s {
    const char *socket;
    double delivered; /* by all pipelines, before */
    nuc_mark_t *marks;
    size_t nmarks;
};

/* What a line is, and of what. */
typedef struct {
    char pipeline[NUC_NAME_MAX + 1];
    char source[NUC_UUID_TEXT_LEN + 1];
    char word[16]; /* state or result */
    double value;
} nuc_line_t;

static nuc_rc_t nuc_arrival_page(const nuc_arrival_t *arrival, uint64_t ms,
                                 nuc_buf_t *page, nuc_err_t *err)
{
    long status = 0;
    nuc_rc_t rc;
    nuc_http_request_t request = {
        .url = "http://worker/metrics", .socket = arrival->socket, .ms = ms};

    rc = nuc_http_ask(&request, &status, page, err);

    if (rc != NUC_OK) {
        if (rc == NUC_IO) {
            nuc_err_hint(err, "does the worker run, with \"api unix:%.80s\"?",
                         arrival->socket);
        }

        return rc;
    }

    if (status != 200) {
        return nuc_err_set(err, NUC_IO, "the worker's local API answers %ld", status);
    }

    nuc_buf_char(page, '\0');

    return page->failed ? nuc_err_set(err, NUC_NOMEM, "no memory for an answer") : NUC_OK;
}

/* The next line that begins with "name{"; "at" is NULL behind the last. */
static int nuc_line_next(const char **at, const char *name, char line[NUC_ARRIVAL_LINE])
{
    size_t len, prefix = strlen(name);
    const char *begin;

    while (*at != NULL && **at != '\0') {
        begin = *at;
        len = strcspn(begin, "\n");
        *at = begin[len] == '\n' ? begin + len + 1 : NULL;

        if (len < NUC_ARRIVAL_LINE && len > prefix && begin[prefix] == '{' &&
            memcmp(begin, name, prefix) == 0) {
            memcpy(line, begin + prefix, len - prefix);
            line[len - prefix] = '\0';
            return 1;
        }
    }

    return 0;
}

/* The pipelines' names have no character that would be escaped. */
static int nuc_line_pipeline(const char *line, nuc_line_t *l)
{
    return sscanf(line, "{pipeline=\"%64[^\"]\"} %lf", l->pipeline, &l->value) == 2;
}

static int nuc_line_record(const char *line, nuc_line_t *l)
{
    return sscanf(line, "{pipeline=\"%64[^\"]\",result=\"%15[^\"]\"} %lf", l->pipeline,
                  l->word, &l->value) == 3;
}

static int nuc_line_durable(const char *line, nuc_line_t *l)
{
    return sscanf(line, "{source=\"%36[^\"]\"} %lf", l->source, &l->value) == 2;
}

static int nuc_line_state(const char *line, nuc_line_t *l)
{
    return sscanf(line,
                  "{pipeline=\"%64[^\"]\",source=\"%36[^\"]\",state=\"%15[^\"]\"} %lf",
                  l->pipeline, l->source, l->word, &l->value) == 4;
}

static double nuc_page_delivered(const char *page)
{
    double sum = 0;
    char line[NUC_ARRIVAL_LINE];
    nuc_line_t l;

    while (nuc_line_next(&page, "nucleus_pipeline_records_total", line)) {
        if (nuc_line_record(line, &l) && strcmp(l.word, "delivered") == 0) {
            sum += l.value;
        }
    }

    return sum;
}

nuc_rc_t nuc_arrival_begin(const char *socket, uint64_t ms, nuc_arrival_t **arrival,
                           nuc_err_t *err)
{
    nuc_rc_t rc;
    nuc_buf_t page = NUC_BUF_INIT;
    nuc_arrival_t *a = calloc(1, sizeof(*a));

    if (a == NULL) {
        return nuc_err_set(err, NUC_NOMEM, "no memory to look at the worker");
    }

    a->socket = socket;
    rc = nuc_arrival_page(a, ms, &page, err);

    if (rc == NUC_OK) {
        a->delivered = nuc_page_delivered((char *) page.data);
        *arrival = a;
    } else {
        free(a);
    }

    nuc_buf_free(&page);

    return rc;
}

static nuc_rc_t nuc_arrival_add(nuc_arrival_t *arrival, const nuc_line_t *l,
                                nuc_err_t *err)
{
    nuc_mark_t *marks;

    marks = realloc(arrival->marks, (arrival->nmarks + 1) * sizeof(*marks));
    if (marks == NULL) {
        return nuc_err_set(err, NUC_NOMEM, "no memory to look at the worker");
    }

    arrival->marks = marks;
    memcpy(marks[arrival->nmarks].name, l->source, sizeof(l->source));
    marks[arrival->nmarks++].durable = l->value;

    return NUC_OK;
}

nuc_rc_t nuc_arrival_mark(nuc_arrival_t *arrival, uint64_t ms, nuc_err_t *err)
{
    char line[NUC_ARRIVAL_LINE];
    nuc_rc_t rc;
    nuc_buf_t page = NUC_BUF_INIT;
    nuc_line_t l;
    const char *at;

    arrival->nmarks = 0;
    rc = nuc_arrival_page(arrival, ms, &page, err);
    at = (char *) page.data;

    while (rc == NUC_OK && nuc_line_next(&at, "nucleus_source_durable_records", line)) {
        if (nuc_line_durable(line, &l)) {
            rc = nuc_arrival_add(arrival, &l, err);
        }
    }

    nuc_buf_free(&page);

    if (rc == NUC_OK && arrival->nmarks == 0) {
        rc = nuc_err_set(err, NUC_AGAIN, "the worker knows of no writer of the queue");
        nuc_err_hint(err, "does it read the queue to which this nginx writes?");
    }

    return rc;
}

/*
 * What of the writer has passed the pipeline; -1: nothing is known of it.  *known:
 * something is known of the pipeline.
 */
static double nuc_page_passed(const char *page, const char *pipeline, const char *source,
                              int *known)
{
    double sum = -1;
    char line[NUC_ARRIVAL_LINE];
    nuc_line_t l;

    while (nuc_line_next(&page, "nucleus_pipeline_source_records", line)) {
        if (!nuc_line_state(line, &l) || strcmp(l.pipeline, pipeline) != 0) {
            continue;
        }

        *known = 1;

        if (strcmp(l.source, source) == 0) {
            sum = sum < 0 ? 0 : sum;
            sum += strcmp(l.word, "queued") != 0 ? l.value : 0;
        }
    }

    return sum;
}

/* A writer that is gone has been read to its end by everybody. */
static nuc_rc_t nuc_arrival_passed(const nuc_arrival_t *arrival, const char *page,
                                   const char *pipeline, nuc_err_t *err)
{
    int known;
    size_t i;
    double passed;

    for (i = 0; i < arrival->nmarks; i++) {
        known = 0;
        passed = nuc_page_passed(page, pipeline, arrival->marks[i].name, &known);

        if (!known) {
            return nuc_err_set(err, NUC_AGAIN, "pipeline %s has no readable commit",
                               pipeline);
        }

        if (passed >= 0 && passed < arrival->marks[i].durable) {
            return nuc_err_set(err, NUC_AGAIN,
                               "pipeline %s has %.0f records of a writer before it",
                               pipeline, arrival->marks[i].durable - passed);
        }
    }

    return NUC_OK;
}

static nuc_rc_t nuc_arrival_judge(const nuc_arrival_t *arrival, const char *page,
                                  nuc_err_t *err)
{
    int any = 0;
    char line[NUC_ARRIVAL_LINE];
    nuc_rc_t rc;
    nuc_line_t l;
    const char *at = page;

    while (nuc_line_next(&at, "nucleus_pipeline_up", line)) {
        if (!nuc_line_pipeline(line, &l)) {
            continue;
        }

        any = 1;
        rc = nuc_arrival_passed(arrival, page, l.pipeline, err);

        if (rc != NUC_OK) {
            return rc;
        }
    }

    if (!any || nuc_page_delivered(page) <= arrival->delivered) {
        rc = nuc_err_set(err, NUC_AGAIN, "no pipeline has delivered anything since");
        nuc_err_hint(err, "has one filters that let the event through?");
        return rc;
    }

    return NUC_OK;
}

nuc_rc_t nuc_arrival_look(nuc_arrival_t *arrival, uint64_t ms, nuc_err_t *err)
{
    nuc_rc_t rc;
    nuc_buf_t page = NUC_BUF_INIT;

    rc = nuc_arrival_page(arrival, ms, &page, err);

    if (rc == NUC_OK) {
        rc = nuc_arrival_judge(arrival, (char *) page.data, err);
    }

    nuc_buf_free(&page);

    return rc;
}

void nuc_arrival_free(nuc_arrival_t *arrival)
{
    if (arrival != NULL) {
        free(arrival->marks);
        free(arrival);
    }
}

/* ---- the store */

static int nuc_stored_ends(const char *name, const char *end)
{
    size_t len = strlen(name);

    return len > strlen(end) && strcmp(name + len - strlen(end), end) == 0;
}

/* A line that has its end. */
static int nuc_stored_line(const nuc_buf_t *file, const char *rid)
{
    char begin[sizeof("{\"rid\":\"\"") + NUC_UUID_TEXT_LEN];
    const uint8_t *at;

    snprintf(begin, sizeof(begin), "{\"rid\":\"%.36s\"", rid);
    at = memmem(file->data, file->len, begin, strlen(begin));

    return at != NULL && memchr(at, '\n', file->len - (size_t) (at - file->data)) != NULL;
}

static nuc_rc_t nuc_stored_hour(const nuc_sys_t *sys, const char *dir, const char *rid,
                                nuc_err_t *err)
{
    DIR *d;
    char path[NUC_PATH_MAX];
    nuc_rc_t rc = NUC_AGAIN;
    nuc_buf_t file = NUC_BUF_INIT;
    struct dirent *entry;

    d = opendir(dir);

    if (d == NULL) {
        return errno == ENOENT
                   ? nuc_err_set(err, NUC_AGAIN, "the store has no \"%.250s\"", dir)
                   : nuc_err_sys(err, NUC_IO, errno, "\"%.200s\" cannot be read", dir);
    }

    while (rc == NUC_AGAIN && (entry = readdir(d)) != NULL) {
        if (!nuc_stored_ends(entry->d_name, ".ndjson") ||
            nuc_path_join(path, dir, entry->d_name, NULL) != NUC_OK) {
            continue;
        }

        nuc_buf_reset(&file);
        rc = nuc_fs_read_file(sys, path, NUC_ARRIVAL_FILE, &file, err);

        if (rc == NUC_NOT_FOUND || (rc == NUC_OK && !nuc_stored_line(&file, rid))) {
            rc = nuc_err_set(err, NUC_AGAIN, "\"%.200s\" does not have it yet", dir);
        }
    }

    closedir(d);
    nuc_buf_free(&file);

    return rc == NUC_AGAIN
               ? nuc_err_set(err, NUC_AGAIN, "it is not in \"%.250s\" yet", dir)
               : rc;
}

static nuc_rc_t nuc_stored_stream(const nuc_sys_t *sys, const char *stream,
                                  const char *tenant, const char *rid, uint64_t since,
                                  nuc_err_t *err)
{
    char dir[NUC_PATH_MAX], hour[128];
    uint64_t at, until = nuc_time_now();
    nuc_rc_t rc = NUC_AGAIN;
    nuc_time_utc_t utc;

    for (at = since; rc == NUC_AGAIN && at / NUC_ARRIVAL_HOUR <= until / NUC_ARRIVAL_HOUR;
         at += NUC_ARRIVAL_HOUR) {
        nuc_time_split(at, &utc);
        snprintf(hour, sizeof(hour), "tenant=%.64s/date=%04d-%02d-%02d/hour=%02d", tenant,
                 utc.year, utc.month, utc.day, utc.hour);
        rc = nuc_path_join(dir, stream, hour, err);

        if (rc == NUC_OK) {
            rc = nuc_stored_hour(sys, dir, rid, err);
        }
    }

    return rc;
}

nuc_rc_t nuc_arrival_stored(const nuc_sys_t *sys, const char *store, const char *tenant,
                            const char *rid, uint64_t since, nuc_err_t *err)
{
    DIR *d;
    char stream[NUC_PATH_MAX];
    nuc_rc_t rc;
    struct dirent *entry;

    d = opendir(store);

    if (d == NULL) {
        return nuc_err_sys(err, errno == ENOENT ? NUC_AGAIN : NUC_IO, errno,
                           "\"%.200s\" cannot be read", store);
    }

    rc = nuc_err_set(err, NUC_AGAIN, "the store \"%.200s\" is empty", store);

    while (rc == NUC_AGAIN && (entry = readdir(d)) != NULL) {
        if (strncmp(entry->d_name, "stream=", 7) == 0 &&
            nuc_path_join(stream, store, entry->d_name, NULL) == NUC_OK) {
            rc = nuc_stored_stream(sys, stream, tenant, rid, since, err);
        }
    }

    closedir(d);

    return rc;
}
