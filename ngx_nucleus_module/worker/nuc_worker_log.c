#include "nuc_worker_log.h"

#include <errno.h>
#include <inttypes.h>
#include <unistd.h>

#include "nuc_buf.h"
#include "nuc_time.h"

static const char *nuc_worker_log_name = "nucleus-worker";

static const char *const nuc_level_names[] = {"info", "notice", "warn", "error", "alert"};

void nuc_worker_log_process(const char *name)
{
    nuc_worker_log_name = name;
}

static void nuc_worker_log_write(const uint8_t *line, size_t len)
{
    ssize_t n;

    while (len > 0) {
        n = write(STDERR_FILENO, line, len);

        if (n == -1 && errno == EINTR) {
            continue;
        }

        if (n <= 0) {
            /* there is nowhere left to say it */
            return;
        }

        line += n;
        len -= (size_t) n;
    }
}

void nuc_worker_log_fields(nuc_level_t level, const char *msg, const nuc_field_t *fields)
{
    char when[NUC_TIME_TEXT_LEN + 1];
    nuc_buf_t line;

    *nuc_time_format(nuc_time_now(), when) = '\0';

    line = NUC_BUF_INIT;

    nuc_buf_printf(&line, "{\"time\":\"%s\",\"level\":\"%s\",\"process\":", when,
                   nuc_level_names[level]);
    nuc_buf_json(&line, nuc_str(nuc_worker_log_name));
    nuc_buf_printf(&line, ",\"pid\":%d,\"msg\":", (int) getpid());
    nuc_buf_json(&line, nuc_str(msg));

    for (/* void */; fields->name != NULL; fields++) {
        nuc_buf_printf(&line, ",\"%s\":", fields->name);

        if (fields->text != NULL) {
            nuc_buf_json(&line, nuc_str(fields->text));
        } else {
            nuc_buf_printf(&line, "%" PRIu64, fields->number);
        }
    }

    nuc_buf_append(&line, "}\n", 2);

    if (!line.failed) {
        nuc_worker_log_write(line.data, line.len);
    }

    nuc_buf_free(&line);
}

void nuc_worker_log_error(nuc_level_t level, const char *doing, const nuc_err_t *err)
{
    if (err->hint[0] == '\0') {
        nuc_worker_log(level, doing, NUC_FIELD_TEXT("error", err->message),
                       NUC_FIELD_TEXT("code", nuc_rc_name(err->rc)));
        return;
    }

    nuc_worker_log(level, doing, NUC_FIELD_TEXT("error", err->message),
                   NUC_FIELD_TEXT("code", nuc_rc_name(err->rc)),
                   NUC_FIELD_TEXT("hint", err->hint));
}
