#include "nuc_ctl_http.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>

#include "nuc_key.h"

#define NUC_HTTP_ANSWER_MAX (16u << 20) /* bytes */

typedef struct {
    CURL *curl;
    CURLU *url;
    struct curl_slist *headers;
    nuc_buf_t *out;
    int too_large;
    char why[CURL_ERROR_SIZE];
} nuc_http_t;

static size_t nuc_http_body(char *data, size_t size, size_t count, void *of)
{
    nuc_http_t *http = of;

    if (http->out->len + size * count > NUC_HTTP_ANSWER_MAX) {
        http->too_large = 1;
        return 0;
    }

    nuc_buf_append(http->out, data, size * count);

    return size * count;
}

static int nuc_http_is_local(const char *host)
{
    struct in_addr address;

    if (inet_pton(AF_INET, host, &address) == 1) {
        return ntohl(address.s_addr) >> 24 == 127;
    }

    /* libcurl looks that name up nowhere */
    return strcmp(host, "[::1]") == 0 || strcmp(host, "localhost") == 0;
}

/* Without TLS whoever is on the way reads the key: only this machine is near enough. */
static nuc_rc_t nuc_http_check_url(nuc_http_t *http, const nuc_http_request_t *request,
                                   nuc_err_t *err)
{
    char *scheme = NULL, *host = NULL;
    nuc_rc_t rc = NUC_OK;

    if (curl_url_set(http->url, CURLUPART_URL, request->url, 0) != CURLUE_OK ||
        curl_url_get(http->url, CURLUPART_SCHEME, &scheme, 0) != CURLUE_OK ||
        curl_url_get(http->url, CURLUPART_HOST, &host, 0) != CURLUE_OK) {
        rc = nuc_err_set(err, NUC_INVALID, "\"%s\" is no address", request->url);
        nuc_err_hint(err, "write it as https://events.example/events");

    } else if (request->key != NULL && strcmp(scheme, "https") != 0 &&
               (strcmp(scheme, "http") != 0 || !nuc_http_is_local(host))) {
        rc = nuc_err_set(err, NUC_INVALID,
                         "the key is not sent to \"%s\", where others could read it",
                         request->url);
        nuc_err_hint(err, "use https, or http to 127.0.0.1");
    }

    curl_free(scheme);
    curl_free(host);

    return rc;
}

static int nuc_http_header(nuc_http_t *http, const char *line)
{
    struct curl_slist *more = curl_slist_append(http->headers, line);

    http->headers = more != NULL ? more : http->headers;

    return more != NULL;
}

static int nuc_http_headers(nuc_http_t *http, const nuc_http_request_t *request)
{
    int done;
    char line[sizeof("Authorization: Bearer ") + NUC_KEY_LEN];

    if (request->key != NULL) {
        snprintf(line, sizeof(line), "Authorization: Bearer %s", request->key);
        done = nuc_http_header(http, line);
        OPENSSL_cleanse(line, sizeof(line));

        if (!done) {
            return 0;
        }
    }

    return request->json == NULL ||
           (nuc_http_header(http, "Content-Type: application/json") &&
            nuc_http_header(http, "Expect:"));
}

static nuc_rc_t nuc_http_set_up(nuc_http_t *http, const nuc_http_request_t *request,
                                nuc_err_t *err)
{
    CURL *curl = http->curl;

    /* one at a time, so that what follows a failure changes nothing */
    if (nuc_http_headers(http, request) &&
        curl_easy_setopt(curl, CURLOPT_CURLU, http->url) == CURLE_OK &&
        curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https") == CURLE_OK &&
        curl_easy_setopt(curl, CURLOPT_PROXY, "") == CURLE_OK &&
        curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L) == CURLE_OK &&
        curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long) request->ms) == CURLE_OK &&
        curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, http->why) == CURLE_OK &&
        curl_easy_setopt(curl, CURLOPT_HTTPHEADER, http->headers) == CURLE_OK &&
        curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, nuc_http_body) == CURLE_OK &&
        curl_easy_setopt(curl, CURLOPT_WRITEDATA, http) == CURLE_OK &&
        (request->socket == NULL ||
         curl_easy_setopt(curl, CURLOPT_UNIX_SOCKET_PATH, request->socket) == CURLE_OK) &&
        (request->ca == NULL ||
         curl_easy_setopt(curl, CURLOPT_CAINFO, request->ca) == CURLE_OK) &&
        (request->json == NULL ||
         curl_easy_setopt(curl, CURLOPT_POSTFIELDS, request->json) == CURLE_OK)) {
        return NUC_OK;
    }

    return nuc_err_set(err, NUC_NOMEM, "no memory for a request");
}

static nuc_rc_t nuc_http_perform(nuc_http_t *http, const nuc_http_request_t *request,
                                 long *status, nuc_err_t *err)
{
    CURLcode code;
    const char *to = request->socket != NULL ? request->socket : request->url;

    code = curl_easy_perform(http->curl);

    if (http->too_large) {
        return nuc_err_set(err, NUC_TOO_LARGE, "the answer of \"%.100s\" is over 16 MB",
                           to);
    }

    if (http->out->failed) {
        return nuc_err_set(err, NUC_NOMEM, "no memory for an answer");
    }

    if (code != CURLE_OK) {
        nuc_err_set(err, NUC_IO, "no answer from \"%.100s\": %.150s", to,
                    http->why[0] != '\0' ? http->why : curl_easy_strerror(code));

        if (code == CURLE_PEER_FAILED_VERIFICATION) {
            nuc_err_hint(err, "--ca FILE names the certificates to trust");
        }

        return NUC_IO;
    }

    curl_easy_getinfo(http->curl, CURLINFO_RESPONSE_CODE, status);

    return NUC_OK;
}

nuc_rc_t nuc_http_ask(const nuc_http_request_t *request, long *status, nuc_buf_t *out,
                      nuc_err_t *err)
{
    nuc_rc_t rc;
    nuc_http_t http = {.curl = curl_easy_init(), .url = curl_url(), .out = out};

    err->hint[0] = '\0';

    if (http.curl == NULL || http.url == NULL) {
        rc = nuc_err_set(err, NUC_NOMEM, "libcurl cannot begin");
    } else {
        rc = nuc_http_check_url(&http, request, err);
    }

    if (rc == NUC_OK) {
        rc = nuc_http_set_up(&http, request, err);
    }

    if (rc == NUC_OK) {
        rc = nuc_http_perform(&http, request, status, err);
    }

    curl_slist_free_all(http.headers);
    curl_url_cleanup(http.url);
    curl_easy_cleanup(http.curl);

    return rc;
}
