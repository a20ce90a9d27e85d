#include "nuc_worker_log.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

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

static int nuc_worker_log_hides(nuc_level_t level)
{
    return nuc_worker_log_target != NULL && level < nuc_worker_log_target->least;
}

static void nuc_worker_log_end(nuc_buf_t *line)
{
    nuc_logline_end(line);

    if (!line->failed) {
        nuc_worker_log_write(line->data, line->len);
    }

    nuc_buf_free(line);
}

void nuc_worker_log_fields(nuc_level_t level, const char *msg, const nuc_field_t *fields)
{
    nuc_buf_t line;

    if (nuc_worker_log_hides(level)) {
        return;
    }

    line = NUC_BUF_INIT;
    nuc_logline_begin(&line, level, nuc_worker_log_name, msg);

    for (/* void */; fields->name != NULL; fields++) {
        if (fields->text != NULL) {
            nuc_logline_text(&line, fields->name, fields->text);
        } else {
            nuc_logline_number(&line, fields->name, fields->number);
        }
    }

    nuc_worker_log_end(&line);
}

void nuc_worker_log_error(nuc_level_t level, const char *doing, const nuc_err_t *err)
{
    nuc_buf_t line;

    if (nuc_worker_log_hides(level)) {
        return;
    }

    line = NUC_BUF_INIT;
    nuc_logline_begin(&line, level, nuc_worker_log_name, doing);
    nuc_logline_error(&line, err);
    nuc_worker_log_end(&line);
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
