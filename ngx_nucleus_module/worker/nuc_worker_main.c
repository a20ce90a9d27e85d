/*
 * nucleus-worker: the command line.
 */

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "nuc_adopt.h"
#include "nuc_find.h"
#include "nuc_log.h"
#include "nuc_owner.h"
#include "nuc_process.h"
#include "nuc_state.h"
#include "nuc_status.h"
#include "nuc_storage.h"
#include "nuc_supervisor.h"
#include "nuc_verify.h"
#include "nuc_worker_conf.h"

typedef enum {
    NUC_DO_RUN = 0,
    NUC_DO_TEST,
    NUC_DO_VERIFY,
    NUC_DO_SIGNAL,
    NUC_DO_FORGET,
    NUC_DO_RENAME,
    NUC_DO_FIND,
    NUC_DO_ADOPT,
    NUC_DO_ACCEPT,
    NUC_DO_STATUS
} nuc_command_t;

typedef struct {
    const char *file;
    nuc_command_t command;
    const char *argument;  /* of the command */
    const char *second;    /* of --rename */
    const char *old_state; /* of --adopt */
    int json;
} nuc_command_line_t;

enum {
    NUC_OPTION_HELP = 256,
    NUC_OPTION_VERIFY,
    NUC_OPTION_FORGET,
    NUC_OPTION_RENAME,
    NUC_OPTION_FIND,
    NUC_OPTION_ADOPT,
    NUC_OPTION_ACCEPT,
    NUC_OPTION_WITH_STATE,
    NUC_OPTION_STATUS,
    NUC_OPTION_JSON
};

static const struct option nuc_options[] = {
    {"version", no_argument, NULL, 'V'},
    {"help", no_argument, NULL, NUC_OPTION_HELP},
    {"verify", required_argument, NULL, NUC_OPTION_VERIFY},
    {"forget", required_argument, NULL, NUC_OPTION_FORGET},
    {"rename", required_argument, NULL, NUC_OPTION_RENAME},
    {"find", required_argument, NULL, NUC_OPTION_FIND},
    {"accept-queue", no_argument, NULL, NUC_OPTION_ACCEPT},
    {"adopt", required_argument, NULL, NUC_OPTION_ADOPT},
    {"with-state", required_argument, NULL, NUC_OPTION_WITH_STATE},
    {"status", no_argument, NULL, NUC_OPTION_STATUS},
    {"json", no_argument, NULL, NUC_OPTION_JSON},
    {NULL, 0, NULL, 0},
};

static const char nuc_usage[] =
    "usage: nucleus-worker [-c FILE] [-t | -s SIGNAL | --status [--json] | --find RID |\n"
    "                      --verify DIR [--json] |\n"
    "                      --adopt DIR [--with-state DIR] [--json] |\n"
    "                      --accept-queue | --rename OLD NEW | --forget NAME]\n"
    "\n"
    "Carries events from the queue to the stores, in the foreground, until SIGTERM.\n"
    "\n"
    "  -c FILE           the configuration (default " NUC_WORKER_CONF_DEFAULT ")\n"
    "  -t                test the configuration and exit\n"
    "  -s SIGNAL         tell the running worker: quit, stop, reload, reopen\n"
    "  --status          show the pipelines: counts, positions, lag\n"
    "  --json            with --status, --adopt and --verify: as JSON\n"
    "  --verify DIR      explain what a queue or state directory holds and what is "
    "wrong\n"
    "                    with it; reads only, also beside nginx and a worker\n"
    "  --find RID        show where the record lies in the log, and the record\n"
    "  --adopt DIR       take the queue directory of a dead host into the queue\n"
    "  --with-state DIR  with --adopt: the dead worker's state; what its pipelines have\n"
    "                    delivered those of the same name do not deliver again\n"
    "  --accept-queue    the queue is the right one for the state, whatever it was "
    "before\n"
    "  --rename OLD NEW  give a registered pipeline another name, with all that it had\n"
    "  --forget NAME     forget how far the pipeline has come, so that the log is no\n"
    "                    longer kept for it\n"
    "  -V, --version     show the version\n"
    "  --help            show this\n";

static int nuc_fail(const nuc_err_t *err, int json)
{
    if (json) {
        nuc_worker_log_error(NUC_LEVEL_ERROR, "the command failed", err);
        return 1;
    }

    fprintf(stderr, "nucleus-worker: %s\n", err->message);

    if (err->hint[0] != '\0') {
        fprintf(stderr, "nucleus-worker: hint: %s\n", err->hint);
    }

    return 1;
}

static void nuc_test_warn(void *ctx, const nuc_err_t *err)
{
    (void) ctx;
    fprintf(stderr, "nucleus-worker: warning: %s: %s\n", err->message, err->hint);
}

static int nuc_test(const nuc_command_line_t *line)
{
    nuc_rc_t rc;
    nuc_err_t err, warning;
    nuc_worker_conf_t conf;

    rc = nuc_worker_conf_load(line->file, &conf, &err);

    if (rc == NUC_OK) {
        rc = nuc_worker_conf_check(&conf, &err);

        if (nuc_worker_conf_check_api(&conf, &warning) != NUC_OK) {
            nuc_test_warn(NULL, &warning);
        }

        if (rc == NUC_OK) {
            rc = nuc_owner_check(&nuc_sys_posix, conf.state, conf.queue, &err);
        }

        if (rc == NUC_OK) {
            rc = nuc_storage_check(&nuc_sys_posix, &conf, nuc_test_warn, NULL, &err);
        }

        nuc_worker_conf_free(&conf);
    }

    if (rc != NUC_OK) {
        nuc_fail(&err, 0);
        fprintf(stderr, "nucleus-worker: the configuration file %s test failed\n",
                line->file);
        return 1;
    }

    fprintf(stderr, "nucleus-worker: the configuration file %s test is successful\n",
            line->file);

    return 0;
}

/* -s */

static const struct {
    const char *name;
    int signo;
} nuc_signals[] = {
    {"quit", SIGQUIT},   {"stop", SIGTERM}, {"reload", SIGHUP},
    {"reopen", SIGUSR1}, {NULL, 0},
};

static int nuc_signal_number(const char *name)
{
    size_t i;

    for (i = 0; nuc_signals[i].name != NULL; i++) {
        if (strcmp(nuc_signals[i].name, name) == 0) {
            return nuc_signals[i].signo;
        }
    }

    return 0;
}

/* The configuration was read by now: one that is wrong is not sent off. */
static nuc_rc_t nuc_signal(const nuc_worker_conf_t *conf, int signo, nuc_err_t *err)
{
    long pid;
    nuc_rc_t rc;

    rc = signo == SIGHUP ? nuc_worker_conf_check(conf, err) : NUC_OK;

    if (rc == NUC_OK) {
        rc = nuc_state_holder(&nuc_sys_posix, conf->state, &pid, err);
    }

    if (rc != NUC_OK) {
        return rc;
    }

    if (pid <= 0) {
        return nuc_err_set(err, NUC_IO, "it is not known which process runs on \"%s\"",
                           conf->state);
    }

    if (kill((pid_t) pid, signo) == -1) {
        return nuc_err_sys(err, NUC_IO, errno, "signal to process %ld failed", pid);
    }

    return NUC_OK;
}

/* What changes a registration. */

static nuc_rc_t nuc_lock_state(const nuc_worker_conf_t *conf, int *fd, nuc_err_t *err)
{
    long holder;
    nuc_rc_t rc;

    rc = nuc_state_lock(&nuc_sys_posix, conf->state, fd, &holder, err);

    if (rc == NUC_BUSY) {
        nuc_err_set(err, rc, "a worker, process %ld, runs on the state \"%s\"", holder,
                    conf->state);
        nuc_err_hint(err, "stop it first");
    }

    return rc;
}

static nuc_rc_t nuc_check_name(const char *name, nuc_err_t *err)
{
    if (nuc_name_valid(nuc_str(name))) {
        return NUC_OK;
    }

    return nuc_err_set(err, NUC_INVALID, "\"%s\" is not the name of a pipeline", name);
}

static nuc_rc_t nuc_check_removed(const nuc_worker_conf_t *conf, const char *name,
                                  const char *hint, nuc_err_t *err)
{
    nuc_rc_t rc;

    rc = nuc_check_name(name, err);

    if (rc == NUC_OK && nuc_worker_conf_pipeline(conf, name) != NULL) {
        rc = nuc_err_set(err, NUC_BUSY, "the pipeline \"%s\" is in the configuration",
                         name);
        nuc_err_hint(err, "%s", hint);
    }

    return rc;
}

static nuc_rc_t nuc_forget(const nuc_worker_conf_t *conf, const char *name,
                           nuc_err_t *err)
{
    int fd;
    nuc_rc_t rc;

    rc = nuc_check_removed(conf, name,
                           "take it out first: the worker would register it again", err);

    if (rc == NUC_OK) {
        rc = nuc_lock_state(conf, &fd, err);
    }

    if (rc != NUC_OK) {
        return rc;
    }

    rc = nuc_state_forget(&nuc_sys_posix, conf->state, name, err);
    nuc_sys_posix.close(&nuc_sys_posix, fd);

    if (rc != NUC_OK) {
        return rc;
    }

    printf("The pipeline \"%s\" is forgotten: the log is no longer kept for it, what it "
           "had not\n"
           "delivered it will not deliver, and a new pipeline of that name begins anew.\n"
           "What it has stored stays.\n",
           name);

    return NUC_OK;
}

static nuc_rc_t nuc_rename(const nuc_worker_conf_t *conf, const char *from,
                           const char *to, nuc_err_t *err)
{
    int fd;
    nuc_rc_t rc;

    rc = nuc_check_removed(
        conf, from, "rename it there first: the worker would register the old name again",
        err);

    if (rc == NUC_OK) {
        rc = nuc_check_name(to, err);
    }

    if (rc == NUC_OK) {
        rc = nuc_lock_state(conf, &fd, err);
    }

    if (rc != NUC_OK) {
        return rc;
    }

    rc = nuc_state_rename(&nuc_sys_posix, conf->state, from, to, err);
    nuc_sys_posix.close(&nuc_sys_posix, fd);

    if (rc == NUC_OK) {
        printf("The pipeline \"%s\" is \"%s\" from now on, and goes on where it was.\n",
               from, to);
    }

    return rc;
}

/* --accept-queue */

static nuc_rc_t nuc_accept(const nuc_worker_conf_t *conf, nuc_err_t *err)
{
    int fd;
    nuc_rc_t rc;
    nuc_log_keeper_t *keeper;

    rc = nuc_state_create(&nuc_sys_posix, conf->state, err);

    if (rc == NUC_OK) {
        rc = nuc_lock_state(conf, &fd, err);
    }

    if (rc != NUC_OK) {
        return rc;
    }

    /* the worker that has it would go on removing what it has read */
    rc = nuc_log_keeper_open(&nuc_sys_posix, conf->queue, NULL, NULL, &keeper, err);

    if (rc == NUC_OK) {
        rc = nuc_owner_accept(&nuc_sys_posix, conf->state, conf->queue, err);
        nuc_log_keeper_close(keeper);
    }

    nuc_sys_posix.close(&nuc_sys_posix, fd);

    if (rc == NUC_OK) {
        printf("The queue \"%s\" belongs to the state \"%s\" now.\n", conf->queue,
               conf->state);
    }

    return rc;
}

/* --adopt */

static void nuc_adopt_json(void *ctx, const nuc_adopt_report_t *report)
{
    static const char *const names[] = {
        [NUC_ADOPT_POSITIONS] = "positions",
        [NUC_ADOPT_UNKNOWN] = "unknown-pipeline",
        [NUC_ADOPT_BEGUN] = "begun",
        [NUC_ADOPT_MOVED] = "moved",
        [NUC_ADOPT_COPIED] = "copied",
        [NUC_ADOPT_FINISHED] = "finished",
        [NUC_ADOPT_QUARANTINED] = "quarantined",
    };

    (void) ctx;
    printf("{\"event\":\"%s\",\"name\":\"%s\",\"count\":%" PRIu64 ",\"bytes\":%" PRIu64
           "}\n",
           names[report->event], report->name, report->count, report->bytes);
    fflush(stdout);
}

static void nuc_adopt_text(void *ctx, const nuc_adopt_report_t *report)
{
    (void) ctx;

    switch (report->event) {
    case NUC_ADOPT_POSITIONS:
        printf("pipeline %s: its position in %" PRIu64 " writers is taken over\n",
               report->name, report->count);
        break;
    case NUC_ADOPT_UNKNOWN:
        printf("pipeline %s is not registered here: its positions are not used\n",
               report->name);
        break;
    case NUC_ADOPT_BEGUN:
        printf("writer %s: %" PRIu64 " segments, copying %" PRIu64 " bytes\n",
               report->name, report->count, report->bytes);
        break;
    case NUC_ADOPT_MOVED:
    case NUC_ADOPT_COPIED:
    case NUC_ADOPT_FINISHED:
        printf("writer %s: %" PRIu64 " segments, %" PRIu64 " bytes %s\n", report->name,
               report->count, report->bytes,
               report->event == NUC_ADOPT_MOVED    ? "moved"
               : report->event == NUC_ADOPT_COPIED ? "copied"
                                                   : "left, of what was adopted before");
        break;
    case NUC_ADOPT_QUARANTINED:
        printf("quarantine: %s\n", report->name);
        break;
    }

    fflush(stdout);
}

static nuc_rc_t nuc_adopt_command(const nuc_worker_conf_t *conf,
                                  const nuc_command_line_t *line, nuc_err_t *err)
{
    int fd;
    nuc_rc_t rc;
    nuc_adopt_options_t options = {
        .sys = &nuc_sys_posix,
        .from = line->argument,
        .queue = conf->queue,
        .state = conf->state,
        .old_state = line->old_state,
        .report = line->json ? nuc_adopt_json : nuc_adopt_text,
    };

    fd = -1;
    rc = line->old_state != NULL ? nuc_lock_state(conf, &fd, err) : NUC_OK;

    if (rc == NUC_OK) {
        rc = nuc_adopt(&options, err);
    }

    if (fd != -1) {
        nuc_sys_posix.close(&nuc_sys_posix, fd);
    }

    if (rc == NUC_OK && !line->json) {
        printf("\"%s\" is adopted: %s\n", line->argument,
               line->old_state != NULL ? "what its pipelines had not delivered will be"
                                       : "all that it held will be delivered");
    }

    return rc;
}

static int nuc_do(const nuc_command_line_t *line)
{
    int status;
    nuc_rc_t rc;
    nuc_err_t err;
    nuc_worker_conf_t conf;

    if (nuc_worker_conf_load(line->file, &conf, &err) != NUC_OK) {
        return nuc_fail(&err, line->json);
    }

    rc = NUC_OK;
    status = 0;

    switch (line->command) {
    case NUC_DO_SIGNAL:
        rc = nuc_signal(&conf, nuc_signal_number(line->argument), &err);
        break;
    case NUC_DO_RENAME:
        rc = nuc_rename(&conf, line->argument, line->second, &err);
        break;
    case NUC_DO_FORGET:
        rc = nuc_forget(&conf, line->argument, &err);
        break;
    case NUC_DO_FIND:
        rc = nuc_find_record(&conf, line->argument, stdout, &err);
        break;
    case NUC_DO_ACCEPT:
        rc = nuc_accept(&conf, &err);
        break;
    case NUC_DO_ADOPT:
        rc = nuc_adopt_command(&conf, line, &err);
        break;
    case NUC_DO_STATUS:
        rc = nuc_status_print(&conf, line->json, stdout, &err);
        break;
    default:
        status = nuc_supervisor_run(line->file, &conf);
    }

    nuc_worker_conf_free(&conf);

    return rc == NUC_OK ? status : nuc_fail(&err, line->json);
}

/* 0 to go on, else what to exit with plus one. */
static int nuc_parse(int argc, char **argv, nuc_command_line_t *line)
{
    int c;
    nuc_command_t command;

    while ((c = getopt_long(argc, argv, "c:ts:V", nuc_options, NULL)) != -1) {
        command = NUC_DO_RUN;

        switch (c) {
        case 'c':
            line->file = optarg;
            break;
        case 't':
            command = NUC_DO_TEST;
            break;
        case 's':
            command = NUC_DO_SIGNAL;
            line->argument = optarg;
            break;
        case 'V':
            printf("nucleus-worker " NUC_WORKER_VERSION "\n");
            return 1;
        case NUC_OPTION_HELP:
            fputs(nuc_usage, stdout);
            return 1;
        case NUC_OPTION_FORGET:
            command = NUC_DO_FORGET;
            line->argument = optarg;
            break;
        case NUC_OPTION_RENAME:
            command = NUC_DO_RENAME;
            line->argument = optarg;
            break;
        case NUC_OPTION_FIND:
            command = NUC_DO_FIND;
            line->argument = optarg;
            break;
        case NUC_OPTION_ACCEPT:
            command = NUC_DO_ACCEPT;
            break;
        case NUC_OPTION_VERIFY:
            command = NUC_DO_VERIFY;
            line->argument = optarg;
            break;
        case NUC_OPTION_ADOPT:
            command = NUC_DO_ADOPT;
            line->argument = optarg;
            break;
        case NUC_OPTION_WITH_STATE:
            line->old_state = optarg;
            break;
        case NUC_OPTION_STATUS:
            command = NUC_DO_STATUS;
            break;
        case NUC_OPTION_JSON:
            line->json = 1;
            break;
        default:
            fputs(nuc_usage, stderr);
            return 3;
        }

        if (command == NUC_DO_RUN) {
            continue;
        }

        if (line->command != NUC_DO_RUN) {
            fputs("nucleus-worker: one command at a time\n", stderr);
            return 3;
        }

        line->command = command;
    }

    if (line->command == NUC_DO_RENAME) {
        if (optind == argc) {
            fputs("nucleus-worker: --rename takes two names\n", stderr);
            return 3;
        }

        line->second = argv[optind++];
    }

    if (line->command == NUC_DO_SIGNAL && nuc_signal_number(line->argument) == 0) {
        fprintf(stderr, "nucleus-worker: \"%s\" is not quit, stop, reload or reopen\n",
                line->argument);
        return 3;
    }

    if (optind < argc) {
        fprintf(stderr, "nucleus-worker: unexpected argument \"%s\"\n", argv[optind]);
        return 3;
    }

    if (line->json && line->command != NUC_DO_STATUS && line->command != NUC_DO_ADOPT &&
        line->command != NUC_DO_VERIFY) {
        fputs("nucleus-worker: --json goes with --status, --adopt or --verify\n", stderr);
        return 3;
    }

    if (line->old_state != NULL && line->command != NUC_DO_ADOPT) {
        fputs("nucleus-worker: --with-state goes with --adopt\n", stderr);
        return 3;
    }

    return 0;
}

int main(int argc, char **argv)
{
    int status;
    nuc_command_line_t line;

    line = (nuc_command_line_t){.file = NUC_WORKER_CONF_DEFAULT};

    status = nuc_parse(argc, argv, &line);
    if (status != 0) {
        return status - 1;
    }

    if (line.command == NUC_DO_TEST) {
        return nuc_test(&line);
    }

    if (line.command == NUC_DO_VERIFY) {
        return nuc_verify_command(line.argument, line.json);
    }

    if (line.command == NUC_DO_RUN) {
        nuc_process_titles(argc, argv);
    }

    return nuc_do(&line);
}
