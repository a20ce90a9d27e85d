/*
 * Preloaded into gtlsclient by Nucleus::Http3, which sends no field of the test's choice by itself.
 * From the environment, all optional:
 *
 *     NUCLEUS_FIELDS     lines "name: value", which are added to each request
 *     NUCLEUS_NO_LENGTH  leave Content-Length out
 *     NUCLEUS_GATE       a file; the second half of a body waits until it is there.  When the first
 *                        half has been acknowledged there is another one, with ".half" behind its name
 */

#define _GNU_SOURCE

#include <dlfcn.h>
#include <nghttp3/nghttp3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_FIELDS 32
#define GATE_POLL  10000 /* us */
#define GATE_POLLS 3000

typedef int (*submit_request_pt)(nghttp3_conn *, int64_t, const nghttp3_nv *, size_t,
                                 const nghttp3_data_reader *, void *);
typedef int (*resume_stream_pt)(nghttp3_conn *, int64_t);
typedef int (*add_ack_offset_pt)(nghttp3_conn *, int64_t, uint64_t);

/* of the one body that waits */
static enum { WHOLE = 0, FIRST_HALF, WAITING, SECOND_HALF } state;
static nghttp3_read_data_callback read_whole;
static nghttp3_vec second;
static uint32_t second_flags;

static void *next_of(const char *name)
{
    void *function = dlsym(RTLD_NEXT, name);

    if (function == NULL) {
        fprintf(stderr, "http3.c: there is no %s\n", name);
        abort();
    }

    return function;
}

static int is_length(const nghttp3_nv *nv)
{
    static const char name[] = "content-length";

    return nv->namelen == sizeof(name) - 1 && memcmp(nv->name, name, nv->namelen) == 0;
}

static size_t add_fields(nghttp3_nv *fields, size_t n)
{
    char *line, *value, *rest;
    const char *text = getenv("NUCLEUS_FIELDS");

    /* as long as the process */
    rest = text != NULL ? strdup(text) : NULL;

    while ((line = strsep(&rest, "\n")) != NULL) {
        value = strstr(line, ": ");

        if (value == NULL || n == MAX_FIELDS) {
            abort();
        }

        *value = '\0';
        value += 2;
        fields[n].name = (uint8_t *) line;
        fields[n].namelen = strlen(line);
        fields[n].value = (uint8_t *) value;
        fields[n].valuelen = strlen(value);
        fields[n].flags = NGHTTP3_NV_FLAG_NONE;
        n++;
    }

    return n;
}

static nghttp3_ssize read_halves(nghttp3_conn *conn, int64_t stream_id, nghttp3_vec *vec,
                                 size_t veccnt, uint32_t *pflags, void *data, void *stream_data)
{
    nghttp3_ssize n;

    switch (state) {

    case FIRST_HALF:
        n = read_whole(conn, stream_id, vec, veccnt, pflags, data, stream_data);

        if (n != 1 || vec[0].len < 2) {
            abort();
        }

        second_flags = *pflags;
        second.len = vec[0].len / 2;
        vec[0].len -= second.len;
        second.base = vec[0].base + vec[0].len;
        *pflags = NGHTTP3_DATA_FLAG_NONE;
        state = WAITING;

        return 1;

    case SECOND_HALF:
        vec[0] = second;
        *pflags = second_flags;
        state = WHOLE;

        return 1;

    default:
        return NGHTTP3_ERR_WOULDBLOCK;
    }
}

int nghttp3_conn_submit_request(nghttp3_conn *conn, int64_t stream_id, const nghttp3_nv *nva,
                                size_t nvlen, const nghttp3_data_reader *dr, void *data)
{
    submit_request_pt next;
    nghttp3_data_reader halves = {read_halves};
    nghttp3_nv fields[MAX_FIELDS];
    size_t i, n;

    *(void **) &next = next_of("nghttp3_conn_submit_request");

    for (i = 0, n = 0; i < nvlen && n < MAX_FIELDS; i++) {
        if (getenv("NUCLEUS_NO_LENGTH") == NULL || !is_length(&nva[i])) {
            fields[n++] = nva[i];
        }
    }

    n = add_fields(fields, n);

    if (dr != NULL && getenv("NUCLEUS_GATE") != NULL) {
        read_whole = dr->read_data;
        state = FIRST_HALF;
        dr = &halves;
    }

    return next(conn, stream_id, fields, n, dr, data);
}

static void wait_at(const char *gate)
{
    int i;
    char path[4096];
    FILE *half;

    snprintf(path, sizeof(path), "%s.half", gate);
    half = fopen(path, "w");

    if (half == NULL || fclose(half) != 0) {
        abort();
    }

    for (i = 0; i < GATE_POLLS && access(gate, F_OK) != 0; i++) {
        usleep(GATE_POLL);
    }
}

/* What has been acknowledged has been taken by nginx: the client does nothing else until the gate opens. */
int nghttp3_conn_add_ack_offset(nghttp3_conn *conn, int64_t stream_id, uint64_t n)
{
    int rc;
    add_ack_offset_pt next;
    resume_stream_pt resume;

    *(void **) &next = next_of("nghttp3_conn_add_ack_offset");
    *(void **) &resume = next_of("nghttp3_conn_resume_stream");

    rc = next(conn, stream_id, n);

    if (rc == 0 && state == WAITING && stream_id == 0) {
        wait_at(getenv("NUCLEUS_GATE"));
        state = SECOND_HALF;
        rc = resume(conn, stream_id);
    }

    return rc;
}
