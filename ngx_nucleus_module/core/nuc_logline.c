#include "nuc_logline.h"

#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "nuc_time.h"

static const char *const nuc_level_names[] = {"info", "notice", "warn", "error", "alert"};

nuc_rc_t nuc_logline_level(const char *name, nuc_level_t *level)
{
    size_t i;

    for (i = 0; i < sizeof(nuc_level_names) / sizeof(nuc_level_names[0]); i++) {
        if (strcmp(name, nuc_level_names[i]) == 0) {
            *level = (nuc_level_t) i;
            return NUC_OK;
        }
    }

    return NUC_INVALID;
}

void nuc_logline_begin(nuc_buf_t *line, nuc_level_t level, const char *process,
                       const char *msg)
{
    char when[NUC_TIME_TEXT_LEN + 1];

    *nuc_time_format(nuc_time_now(), when) = '\0';

    nuc_buf_printf(line, "{\"time\":\"%s\",\"level\":\"%s\",\"process\":", when,
                   nuc_level_names[level]);
    nuc_buf_json(line, nuc_str(process));
    nuc_buf_printf(line, ",\"pid\":%d,\"msg\":", (int) getpid());
    nuc_buf_json(line, nuc_str(msg));
}

void nuc_logline_text(nuc_buf_t *line, const char *name, const char *text)
{
    nuc_buf_printf(line, ",\"%s\":", name);
    nuc_buf_json(line, nuc_str(text));
}

void nuc_logline_number(nuc_buf_t *line, const char *name, uint64_t number)
{
    nuc_buf_printf(line, ",\"%s\":%" PRIu64, name, number);
}

void nuc_logline_error(nuc_buf_t *line, const nuc_err_t *err)
{
    nuc_logline_text(line, "error", err->message);
    nuc_logline_text(line, "code", nuc_rc_name(err->rc));

    if (err->hint[0] != '\0') {
        nuc_logline_text(line, "hint", err->hint);
    }
}

void nuc_logline_end(nuc_buf_t *line)
{
    nuc_buf_str(line, NUC_STR("}\n"));
}
