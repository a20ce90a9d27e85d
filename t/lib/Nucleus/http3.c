/*
 * Preloaded into gtlsclient by Nucleus::Http3, which sends no field of the test's choice by itself:
 * adds the Content-Type of the environment variable NUCLEUS_TYPE, if it is there, to each request,
 * and leaves Content-Length out where NUCLEUS_NO_LENGTH is.
 */

#define _GNU_SOURCE

#include <dlfcn.h>
#include <nghttp3/nghttp3.h>
#include <stdlib.h>
#include <string.h>

#define MAX_FIELDS 32

typedef int (*submit_request_pt)(nghttp3_conn *, int64_t, const nghttp3_nv *, size_t,
                                 const nghttp3_data_reader *, void *);

static int is_length(const nghttp3_nv *nv)
{
    static const char name[] = "content-length";

    return nv->namelen == sizeof(name) - 1 && memcmp(nv->name, name, nv->namelen) == 0;
}

int nghttp3_conn_submit_request(nghttp3_conn *conn, int64_t stream_id, const nghttp3_nv *nva,
                                size_t nvlen, const nghttp3_data_reader *dr, void *data)
{
    static submit_request_pt next;
    const char *type;
    nghttp3_nv fields[MAX_FIELDS + 1];
    size_t i, n;

    if (next == NULL) {
        *(void **) &next = dlsym(RTLD_NEXT, "nghttp3_conn_submit_request");
    }

    if (next == NULL || nvlen > MAX_FIELDS) {
        abort();
    }

    for (i = 0, n = 0; i < nvlen; i++) {
        if (getenv("NUCLEUS_NO_LENGTH") == NULL || !is_length(&nva[i])) {
            fields[n++] = nva[i];
        }
    }

    type = getenv("NUCLEUS_TYPE");

    if (type != NULL) {
        fields[n].name = (uint8_t *) "content-type";
        fields[n].namelen = strlen("content-type");
        fields[n].value = (uint8_t *) type;
        fields[n].valuelen = strlen(type);
        fields[n].flags = NGHTTP3_NV_FLAG_NONE;
        n++;
    }

    return next(conn, stream_id, fields, n, dr, data);
}
