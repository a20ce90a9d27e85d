#include "nuc_worker_log.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "nuc_buf.h"
#include "nuc_fs.h"
#include "nuc_time.h"

#define NUC_TROUBLE_REPEAT 60000000U /* µs */

/* Only the supervisor changes it, and tells the others. */
typedef struct {
    char file[NUC_PATH_MAX]; /* empty: standard error as it was */
    nuc_level_t least;
} nuc_worker_log_target_t;

static const char *nuc_worker_log_name = "nucleus-worker";
static nuc_worker_log_target_t *nuc_worker_log_target; /* shared; NULL: never opened */
static int nuc_worker_log_console =
    -1; /* standard error as it was, while a file is there */

static const char *const nuc_level_names[] = {"info", "notice", "warn", "error", "alert"};

nuc_rc_t nuc_worker_log_level(const char *name, nuc_level_t *level)
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

/* Standard error is "fd" from now on, which is closed. */
static nuc_rc_t nuc_worker_log_redirect(int fd, nuc_err_t *err)
{
    int failed;

    failed = dup2(fd, STDERR_FILENO) == -1;

    if (failed) {
        nuc_err_sys(err, NUC_IO, errno, "dup2 failed");
    }

    close(fd);

    return failed ? NUC_IO : NUC_OK;
}

static nuc_rc_t nuc_worker_log_open_file(const char *file, nuc_err_t *err)
{
    int fd;
    const nuc_sys_t *sys = &nuc_sys_posix;

    if (nuc_worker_log_console == -1) {
        nuc_worker_log_console = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
        if (nuc_worker_log_console == -1) {
            return nuc_err_sys(err, NUC_IO, errno, "dup of standard error failed");
        }
    }

    fd = sys->open(sys, file, O_WRONLY | O_APPEND | O_CREAT, 0640);
    if (fd == -1) {
        return nuc_err_sys(err, NUC_IO, errno, "open of the log \"%s\" failed", file);
    }

    return nuc_worker_log_redirect(fd, err);
}

int nuc_worker_log_to_console(void)
{
    int fd;

    fd = nuc_worker_log_console;
    nuc_worker_log_console = -1;

    return fd != -1 && nuc_worker_log_redirect(fd, NULL) == NUC_OK;
}

static nuc_rc_t nuc_worker_log_share(nuc_err_t *err)
{
    void *page;

    if (nuc_worker_log_target != NULL) {
        return NUC_OK;
    }

    page = mmap(NULL, sizeof(*nuc_worker_log_target), PROT_READ | PROT_WRITE,
                MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED) {
        return nuc_err_sys(err, NUC_NOMEM, errno, "mmap failed");
    }

    nuc_worker_log_target = page;

    return NUC_OK;
}

nuc_rc_t nuc_worker_log_open(const char *file, nuc_level_t least, nuc_err_t *err)
{
    nuc_rc_t rc;

    rc = nuc_worker_log_share(err);

    if (rc == NUC_OK && file != NULL) {
        rc = nuc_worker_log_open_file(file, err);
    }

    if (rc != NUC_OK) {
        return rc;
    }

    if (file == NULL) {
        (void) nuc_worker_log_to_console();
        file = "";
    }

    memcpy(nuc_worker_log_target->file, file, strlen(file) + 1);
    nuc_worker_log_target->least = least;

    return NUC_OK;
}

void nuc_worker_log_reopen(void)
{
    nuc_err_t err;

    if (nuc_worker_log_target->file[0] == '\0') {
        (void) nuc_worker_log_to_console();
        return;
    }

    if (nuc_worker_log_open_file(nuc_worker_log_target->file, &err) != NUC_OK) {
        nuc_worker_log_error(NUC_LEVEL_ERROR, "the log stays where it is", &err);
    }
}

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

    if (nuc_worker_log_target != NULL && level < nuc_worker_log_target->least) {
        return;
    }

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

void nuc_worker_log_trouble(nuc_trouble_t *trouble, const char *doing,
                            const nuc_err_t *err)
{
    uint64_t now;

    now = nuc_time_monotonic();

    if (trouble->said != 0 && now - trouble->said < NUC_TROUBLE_REPEAT &&
        strcmp(trouble->last.message, err->message) == 0) {
        return;
    }

    trouble->said = now;
    trouble->last = *err;
    nuc_worker_log_error(NUC_LEVEL_ERROR, doing, err);
}
