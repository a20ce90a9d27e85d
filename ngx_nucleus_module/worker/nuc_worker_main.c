/*
 * nucleus-worker: the command line.
 */

#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "nuc_process.h"
#include "nuc_state.h"
#include "nuc_status.h"
#include "nuc_supervisor.h"
#include "nuc_worker_conf.h"

#define NUC_WORKER_VERSION "0.1.0"

typedef enum {
    NUC_DO_RUN = 0,
    NUC_DO_TEST,
    NUC_DO_FORGET,
    NUC_DO_FIND,
    NUC_DO_STATUS
} nuc_command_t;

typedef struct {
    const char *file;
    nuc_command_t command;
    const char *argument; /* of --forget and --find */
    int json;
} nuc_command_line_t;

enum {
    NUC_OPTION_HELP = 256,
    NUC_OPTION_FORGET,
    NUC_OPTION_FIND,
    NUC_OPTION_STATUS,
    NUC_OPTION_JSON
};

static const struct option nuc_options[] = {
    {"version", no_argument, NULL, 'V'},
    {"help", no_argument, NULL, NUC_OPTION_HELP},
    {"forget", required_argument, NULL, NUC_OPTION_FORGET},
    {"find", required_argument, NULL, NUC_OPTION_FIND},
    {"status", no_argument, NULL, NUC_OPTION_STATUS},
    {"json", no_argument, NULL, NUC_OPTION_JSON},
    {NULL, 0, NULL, 0},
};

static const char nuc_usage[] =
    "usage: nucleus-worker [-c FILE] [-t | --status [--json] | --find RID | --forget "
    "NAME]\n"
    "\n"
    "Carries events from the queue to the stores, in the foreground, until SIGTERM.\n"
    "\n"
    "  -c FILE        the configuration (default " NUC_WORKER_CONF_DEFAULT ")\n"
    "  -t             test the configuration and exit\n"
    "  --status       show the pipelines: counts, positions, lag\n"
    "  --json         with --status: as JSON\n"
    "  --find RID     show where the record lies in the log, and the record\n"
    "  --forget NAME  forget how far the pipeline has come, so that the log is no "
    "longer\n"
    "                 kept for it\n"
    "  -V, --version  show the version\n"
    "  --help         show this\n";

static int nuc_fail(const nuc_err_t *err)
{
    fprintf(stderr, "nucleus-worker: %s\n", err->message);

    if (err->hint[0] != '\0') {
        fprintf(stderr, "nucleus-worker: hint: %s\n", err->hint);
    }

    return 1;
}

static int nuc_test(const nuc_command_line_t *line)
{
    nuc_rc_t rc;
    nuc_err_t err;
    nuc_worker_conf_t conf;

    rc = nuc_worker_conf_load(line->file, &conf, &err);

    if (rc == NUC_OK) {
        rc = nuc_worker_conf_check(&conf, &err);
        nuc_worker_conf_free(&conf);
    }

    if (rc != NUC_OK) {
        nuc_fail(&err);
        fprintf(stderr, "nucleus-worker: the configuration file %s test failed\n",
                line->file);
        return 1;
    }

    fprintf(stderr, "nucleus-worker: the configuration file %s test is successful\n",
            line->file);

    return 0;
}

static nuc_rc_t nuc_forget_locked(const nuc_worker_conf_t *conf, const char *name,
                                  nuc_err_t *err)
{
    int fd;
    long holder;
    nuc_rc_t rc;

    rc = nuc_state_lock(&nuc_sys_posix, conf->state, &fd, &holder, err);

    if (rc == NUC_BUSY) {
        nuc_err_set(err, rc, "a worker, process %ld, runs on the state \"%s\"", holder,
                    conf->state);
        nuc_err_hint(err, "stop it first");
    }

    if (rc != NUC_OK) {
        return rc;
    }

    rc = nuc_state_forget(&nuc_sys_posix, conf->state, name, err);
    nuc_sys_posix.close(&nuc_sys_posix, fd);

    return rc;
}

static nuc_rc_t nuc_forget(const nuc_worker_conf_t *conf, const char *name,
                           nuc_err_t *err)
{
    nuc_rc_t rc;

    if (!nuc_name_valid(nuc_str(name))) {
        return nuc_err_set(err, NUC_INVALID, "\"%s\" is not the name of a pipeline",
                           name);
    }

    if (nuc_worker_conf_pipeline(conf, name) != NULL) {
        nuc_err_set(err, NUC_BUSY, "the pipeline \"%s\" is in the configuration", name);
        nuc_err_hint(err, "take it out first: the worker would register it again");
        return NUC_BUSY;
    }

    rc = nuc_forget_locked(conf, name, err);
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

static int nuc_do(const nuc_command_line_t *line)
{
    int status;
    nuc_rc_t rc;
    nuc_err_t err;
    nuc_worker_conf_t conf;

    if (nuc_worker_conf_load(line->file, &conf, &err) != NUC_OK) {
        return nuc_fail(&err);
    }

    rc = NUC_OK;
    status = 0;

    switch (line->command) {
    case NUC_DO_FORGET:
        rc = nuc_forget(&conf, line->argument, &err);
        break;
    case NUC_DO_FIND:
        rc = nuc_status_find(&conf, line->argument, stdout, &err);
        break;
    case NUC_DO_STATUS:
        rc = nuc_status_print(&conf, line->json, stdout, &err);
        break;
    default:
        status = nuc_supervisor_run(&conf);
    }

    nuc_worker_conf_free(&conf);

    return rc == NUC_OK ? status : nuc_fail(&err);
}

/* 0 to go on, else what to exit with plus one. */
static int nuc_parse(int argc, char **argv, nuc_command_line_t *line)
{
    int c;
    nuc_command_t command;

    while ((c = getopt_long(argc, argv, "c:tV", nuc_options, NULL)) != -1) {
        command = NUC_DO_RUN;

        switch (c) {
        case 'c':
            line->file = optarg;
            break;
        case 't':
            command = NUC_DO_TEST;
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
        case NUC_OPTION_FIND:
            command = NUC_DO_FIND;
            line->argument = optarg;
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

    if (optind < argc) {
        fprintf(stderr, "nucleus-worker: unexpected argument \"%s\"\n", argv[optind]);
        return 3;
    }

    if (line->json && line->command != NUC_DO_STATUS) {
        fputs("nucleus-worker: --json goes with --status\n", stderr);
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

    if (line.command == NUC_DO_RUN) {
        nuc_process_titles(argc, argv);
    }

    return nuc_do(&line);
}
