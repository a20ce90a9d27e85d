#include "nuc_ctl.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "nuc_ctl_actor.h"
#include "nuc_logline.h"
#include "nuc_version.h"

#define NUC_HELP_WIDTH 28 /* of what the helping words stand behind */

/* ---- the table */

#define NUC_OPTION_LIMITS                                                                \
    {"--requests", "N/s[:BURST]", "requests a second; none removes the limit", 0, 0},    \
        {"--events", "N/s[:BURST]", "events a second", 0, 0},                            \
    {                                                                                    \
        "--bytes", "N/s[:BURST]", "bytes a second, with k, m or g: 5m/s:20m", 0, 0       \
    }

#define NUC_OPTION_TIMEOUT                                                               \
    {                                                                                    \
        "--timeout", "TIME", "how long to wait for nginx's processes (10s)", 0, 0        \
    }

#define NUC_OPTION_QUEUE                                                                 \
    {                                                                                    \
        "--queue", "DIR", "the queue's directory: its file last-used tells when",        \
            NUC_COMPLETE_DIR, 0                                                          \
    }

#define NUC_OPTION_END                                                                   \
    {                                                                                    \
        NULL, NULL, NULL, 0, 0                                                           \
    }

static const nuc_ctl_option_t nuc_options_global[] = {
    {"--registry", "FILE", "the registry (" NUC_CTL_REGISTRY ", or $NUCLEUS_REGISTRY)",
     NUC_COMPLETE_FILE, 0},
    {"--json", NULL, "print JSON", 0, 0},
    {"--help", NULL, "show this", 0, 0},
    NUC_OPTION_END,
};

static const nuc_ctl_option_t nuc_options_none[] = {NUC_OPTION_END};

static const nuc_ctl_option_t nuc_options_init[] = {
    {"--group", "NAME", "the group of nginx's user, which may read the snapshot", 0, 0},
    {"--snapshot", "FILE", "the snapshot, instead of one beside the registry",
     NUC_COMPLETE_FILE, 0},
    NUC_OPTION_END,
};

static const nuc_ctl_option_t nuc_options_tenant_limits[] = {
    NUC_OPTION_LIMITS,
    {"--queue-bytes", "SIZE", "bytes that may lie in the queue", 0, 0},
    {"--events-a-day", "N", "events a day (UTC)", 0, 0},
    {"--inflight", "SIZE", "bytes that may be on their way in one nginx process", 0, 0},
    NUC_OPTION_END,
};

static const nuc_ctl_option_t nuc_options_tenant_show[] = {
    {"--queue", "DIR", "the queue's directory: its file events-today tells how many",
     NUC_COMPLETE_DIR, 0},
    NUC_OPTION_END,
};

static const nuc_ctl_option_t nuc_options_wait[] = {NUC_OPTION_TIMEOUT, NUC_OPTION_END};

static const nuc_ctl_option_t nuc_options_key_create[] = {
    {"--tenant", "T", "whose key it is (needed)", NUC_COMPLETE_TENANT, 0},
    {"--name", "LABEL", "what people call it", 0, 0},
    {"--scope", "LIST", "collect,upload,exchange,read,admin (collect)",
     NUC_COMPLETE_SCOPE, 0},
    {"--stream", "S", "a stream that it may send to (any)", 0, 1},
    {"--from", "CIDR", "a network that it may come from (any)", 0, 1},
    {"--not-before", "TIME", "valid from then on", 0, 0},
    {"--expires", "TIME", "valid until then: 2026-12-31, or 30d", 0, 0},
    NUC_OPTION_LIMITS,
    {"--certificate", "FILE.pem", "a client certificate that stands for it",
     NUC_COMPLETE_FILE, 1},
    {"--to-file", "FILE", "write the key to a new file, and do not print it",
     NUC_COMPLETE_FILE, 0},
    NUC_OPTION_END,
};

static const nuc_ctl_option_t nuc_options_key_list[] = {
    {"--tenant", "T", "the keys of one tenant", NUC_COMPLETE_TENANT, 0},
    NUC_OPTION_QUEUE,
    NUC_OPTION_END,
};

static const nuc_ctl_option_t nuc_options_key_show[] = {NUC_OPTION_QUEUE, NUC_OPTION_END};

static const nuc_ctl_option_t nuc_options_key_rotate[] = {
    {"--overlap", "TIME", "how long the old key stays valid (7d)", 0, 0},
    {"--expires", "TIME", "when the new one expires, or none (as the old one)", 0, 0},
    {"--to-file", "FILE", "write the key to a new file, and do not print it",
     NUC_COMPLETE_FILE, 0},
    NUC_OPTION_END,
};

static const nuc_ctl_option_t nuc_options_key_limits[] = {NUC_OPTION_LIMITS,
                                                          NUC_OPTION_END};

static const nuc_ctl_option_t nuc_options_audit[] = {
    {"--since", "TIME", "from then on: 2026-12-31, or 7d ago", 0, 0},
    {"--tenant", "T", "of one tenant", NUC_COMPLETE_TENANT, 0},
    {"--limit", "N", "the last N", 0, 0},
    NUC_OPTION_END,
};

static const nuc_ctl_option_t nuc_options_snapshot[] = {
    {"--rewrite", NULL, "write it anew, whatever is there", 0, 0},
    NUC_OPTION_END,
};

static const nuc_ctl_option_t nuc_options_doctor[] = {
    {"--nginx-conf", "FILE", "nginx's configuration (/etc/nginx/nginx.conf, if there)",
     NUC_COMPLETE_FILE, 0},
    {"--worker-conf", "FILE", "the worker's configuration, to be looked at too",
     NUC_COMPLETE_FILE, 0},
    {"--queue", "DIR", "the queue's directory (as nginx's configuration has it)",
     NUC_COMPLETE_DIR, 0},
    NUC_OPTION_END,
};

static const nuc_ctl_option_t nuc_options_check[] = {
    {"--url", "URL", "where events are sent to (needed)", 0, 0},
    {"--key-file", "FILE", "a file with an API key, and nothing else", NUC_COMPLETE_FILE,
     0},
    {"--ca", "FILE", "certificates to trust, instead of the system's", NUC_COMPLETE_FILE,
     0},
    {"--timeout", "TIME", "how long to wait for all of it (30s)", 0, 0},
    {"--api", "unix:PATH",
     "the worker's local API (unix:/run/nucleus/worker.sock; none with --store)", 0, 0},
    {"--store", "DIR", "a file sink's directory, in which the event must be found",
     NUC_COMPLETE_DIR, 1},
    {"--tenant", "T", "of the key, to look into the store (nucleus-check)",
     NUC_COMPLETE_TENANT, 0},
    {"--textfile", "FILE", "write metrics for the node exporter's textfile collector",
     NUC_COMPLETE_FILE, 0},
    NUC_OPTION_END,
};

static const nuc_ctl_command_t nuc_commands[] = {
    {"init", NULL, "make a registry",
     "Makes the database, an empty snapshot for nginx and the file by which nginx's\n"
     "processes say which snapshot they use, and the directory when it is missing.\n"
     "A registry that is there already is left as it is.\n",
     nuc_options_init, nuc_ctl_init, 0, 0},
    {"tenant create", "NAME", "make a tenant", NULL, nuc_options_none,
     nuc_ctl_tenant_create, 0, 0},
    {"tenant list", NULL, "show the tenants", NULL, nuc_options_none, nuc_ctl_tenant_list,
     0, 0},
    {"tenant show", "NAME", "show a tenant, its limits and quotas", NULL,
     nuc_options_tenant_show, nuc_ctl_tenant_show, NUC_COMPLETE_TENANT, 0},
    {"tenant disable", "NAME", "refuse whatever comes with a key of the tenant",
     "Returns when every nginx process refuses it; else says which do not, and exits\n"
     "with 4.\n",
     nuc_options_wait, nuc_ctl_tenant_disable, NUC_COMPLETE_TENANT, 0},
    {"tenant enable", "NAME", "accept its keys again", NULL, nuc_options_none,
     nuc_ctl_tenant_enable, NUC_COMPLETE_TENANT, 0},
    {"tenant limits", "NAME", "set limits and quotas of a tenant",
     "What is not named stays as it is; \"none\" removes a limit or a quota.  Without\n"
     "BURST it is what one second brings.\n",
     nuc_options_tenant_limits, nuc_ctl_tenant_limits, NUC_COMPLETE_TENANT, 0},
    {"key create", NULL, "make a key, and show it this once",
     "The key is shown now and never again: only a digest of it is stored.\n",
     nuc_options_key_create, nuc_ctl_key_create, 0, 0},
    {"key list", NULL, "show the keys", NULL, nuc_options_key_list, nuc_ctl_key_list, 0,
     0},
    {"key show", "ID", "show a key, but for its secret", NULL, nuc_options_key_show,
     nuc_ctl_key_show, NUC_COMPLETE_KEY, 0},
    {"key rotate", "ID", "make a successor of a key, and show it this once",
     "The successor has the name and the settings of the old key, which ends after the\n"
     "overlap.  At most two keys of a line are valid at a time.\n",
     nuc_options_key_rotate, nuc_ctl_key_rotate, NUC_COMPLETE_KEY, 0},
    {"key revoke", "ID", "refuse a key from now on",
     "Returns when every nginx process refuses it; else says which do not, and exits\n"
     "with 4.  A revoked key stays revoked.\n",
     nuc_options_wait, nuc_ctl_key_revoke, NUC_COMPLETE_KEY, 0},
    {"key limits", "ID", "set the limits of a key",
     "They count for a key and its successors together, and win over nginx.conf.\n"
     "What is not named stays as it is; \"none\" removes a limit.\n",
     nuc_options_key_limits, nuc_ctl_key_limits, NUC_COMPLETE_KEY, 0},
    {"audit", NULL, "show who changed what, when and from where", NULL, nuc_options_audit,
     nuc_ctl_audit, 0, 0},
    {"snapshot", NULL, "show what nginx is given, and who has not taken it up",
     "With --rewrite it is written anew: when it was lost or damaged, or the registry "
     "was\n"
     "restored from a backup.\n",
     nuc_options_snapshot, nuc_ctl_snapshot, 0, 0},
    {"queue status", "DIR", "show the writers of a queue and what they hold", NULL,
     nuc_options_none, nuc_ctl_queue_status, NUC_COMPLETE_DIR, 0},
    {"queue verify", "DIR", "explain what is wrong with a queue",
     "Runs nucleus-worker --verify DIR, with --json when that is given.\n",
     nuc_options_none, nuc_ctl_queue_verify, NUC_COMPLETE_DIR, 0},
    {"queue adopt", "DIR", "take over the queue of a dead host",
     "Runs nucleus-worker --adopt with all that follows, for example\n"
     "nucleusctl queue adopt DIR -c /etc/nucleus/worker.conf --with-state DIR --json\n",
     nuc_options_none, nuc_ctl_queue_adopt, NUC_COMPLETE_DIR, 1},
    {"doctor", NULL, "look for what is wrong, and say what to do",
     "Looks at files and owners, snapshot, nginx's processes and configuration, queue,\n"
     "disk and clock.  Exits with 1 if there is a problem; warnings are none.\n",
     nuc_options_doctor, nuc_ctl_doctor, 0, 0},
    {"check", NULL, "send an event, and wait until it is delivered",
     "Exits with 1 when the event is not accepted, with 4 when it is, and is not "
     "delivered\n"
     "in time.  Needs no registry.\n",
     nuc_options_check, nuc_ctl_check, 0, 0},
    {"completion", "SHELL", "print completions for a shell: bash",
     "Use it with: source <(nucleusctl completion bash)\n", nuc_options_none,
     nuc_ctl_completion, 0, 0},
};

#define NUC_COMMANDS (sizeof(nuc_commands) / sizeof(nuc_commands[0]))

/* ---- messages */

static int nuc_ctl_exit_of(nuc_rc_t rc)
{
    return rc == NUC_NOT_FOUND ? NUC_EXIT_NOT_FOUND : NUC_EXIT_FAILED;
}

/* A line for programs; 0 when that is not what was asked for. */
static int nuc_ctl_tell_json(const nuc_ctl_t *ctl, nuc_level_t level, const char *msg,
                             const nuc_err_t *err)
{
    nuc_buf_t line = NUC_BUF_INIT;

    if (!ctl->json) {
        return 0;
    }

    nuc_logline_begin(&line, level, "nucleusctl", msg);

    if (ctl->command != NULL) {
        nuc_logline_text(&line, "command", ctl->command->name);
    }

    nuc_logline_error(&line, err);
    nuc_logline_end(&line);

    if (!line.failed) {
        fwrite(line.data, 1, line.len, stderr);
    }

    nuc_buf_free(&line);

    return 1;
}

static void nuc_ctl_tell(const char *kind, const nuc_err_t *err)
{
    fprintf(stderr, "nucleusctl: %s%s\n", kind, err->message);

    if (err->hint[0] != '\0') {
        fprintf(stderr, "nucleusctl: hint: %s\n", err->hint);
    }
}

int nuc_ctl_fail(const nuc_ctl_t *ctl, const nuc_err_t *err)
{
    if (!nuc_ctl_tell_json(ctl, NUC_LEVEL_ERROR, "the command failed", err)) {
        nuc_ctl_tell("", err);
    }

    return nuc_ctl_exit_of(err->rc);
}

void nuc_ctl_warn(const nuc_ctl_t *ctl, const nuc_err_t *err)
{
    if (!nuc_ctl_tell_json(ctl, NUC_LEVEL_WARN, "the command warns", err)) {
        nuc_ctl_tell("warning: ", err);
    }
}

int nuc_ctl_misuse(const nuc_ctl_t *ctl, const char *fmt, ...)
{
    va_list args;
    nuc_err_t err, text;

    va_start(args, fmt);
    vsnprintf(text.message, sizeof(text.message), fmt, args);
    va_end(args);

    nuc_err_set(&err, NUC_INVALID, "%s", text.message);
    nuc_err_hint(&err, "nucleusctl %s%s--help",
                 ctl->command != NULL ? ctl->command->name : "",
                 ctl->command != NULL ? " " : "");

    if (!nuc_ctl_tell_json(ctl, NUC_LEVEL_ERROR, "wrong command line", &err)) {
        nuc_ctl_tell("", &err);
    }

    return NUC_EXIT_USAGE;
}

/* ---- help */

static void nuc_ctl_help_options(const nuc_ctl_option_t *options)
{
    int width;

    for (/* void */; options->name != NULL; options++) {
        width = printf("  %s%s%s", options->name, options->value != NULL ? " " : "",
                       options->value != NULL ? options->value : "");
        printf("%*s%s%s\n", width < NUC_HELP_WIDTH ? NUC_HELP_WIDTH - width : 1, "",
               options->help, options->many ? "; may be repeated" : "");
    }
}

static int nuc_ctl_help_command(const nuc_ctl_command_t *command)
{
    printf("usage: nucleusctl %s%s%s%s\n\n%c%s.\n", command->name,
           command->argument != NULL ? " " : "",
           command->argument != NULL ? command->argument : "",
           command->passes ? " ..." : " [options]", command->help[0] + 'A' - 'a',
           command->help + 1);

    if (command->more != NULL) {
        printf("%s", command->more);
    }

    putchar('\n');
    nuc_ctl_help_options(command->options);
    nuc_ctl_help_options(nuc_options_global);

    return NUC_EXIT_OK;
}

/* Is it of the group, as "key create" is of "key"?  Everything is of "". */
static int nuc_ctl_in_group(const nuc_ctl_command_t *command, const char *group)
{
    size_t len = strlen(group);

    return len == 0 ||
           (strncmp(command->name, group, len) == 0 && command->name[len] == ' ');
}

static int nuc_ctl_help(const char *group)
{
    size_t i;
    int width;

    printf("usage: nucleusctl %s%sCOMMAND [options]\n\n"
           "Rules who may send events to Nucleus, and how much.\n\n",
           group, *group != '\0' ? " " : "");

    for (i = 0; i < NUC_COMMANDS; i++) {
        if (nuc_ctl_in_group(&nuc_commands[i], group)) {
            width =
                printf("  %s%s%s", nuc_commands[i].name,
                       nuc_commands[i].argument != NULL ? " " : "",
                       nuc_commands[i].argument != NULL ? nuc_commands[i].argument : "");
            printf("%*s%s\n", width < NUC_HELP_WIDTH ? NUC_HELP_WIDTH - width : 1, "",
                   nuc_commands[i].help);
        }
    }

    printf("\nEach command has --help.  Of all:\n\n");
    nuc_ctl_help_options(nuc_options_global);
    printf("  --version%*sshow the version\n\n"
           "Exits with 0 on success, 1 on failure, 2 on wrong usage, 3 when there is no\n"
           "such thing, 4 when a process of nginx has not taken a change up.\n",
           NUC_HELP_WIDTH - 11, "");

    return NUC_EXIT_OK;
}

/* ---- the command line */

static const nuc_ctl_option_t *nuc_ctl_find_option(const nuc_ctl_option_t *options,
                                                   const char *text, size_t len)
{
    for (/* void */; options->name != NULL; options++) {
        if (strlen(options->name) == len && memcmp(options->name, text, len) == 0) {
            return options;
        }
    }

    return NULL;
}

const char *nuc_ctl_next(const nuc_ctl_t *ctl, const char *name, size_t *at)
{
    const nuc_ctl_given_t *given;

    while (*at < ctl->ngiven) {
        given = &ctl->given[(*at)++];

        if (strcmp(given->option->name, name) == 0) {
            return given->value;
        }
    }

    return NULL;
}

const char *nuc_ctl_option(const nuc_ctl_t *ctl, const char *name)
{
    size_t at = 0;

    return nuc_ctl_next(ctl, name, &at);
}

/* One option at argv[*at]; 0, or what to exit with. */
static int nuc_ctl_take_option(nuc_ctl_t *ctl, int argc, char **argv, int *at)
{
    size_t len;
    const char *value, *text = argv[*at];
    const nuc_ctl_option_t *option = NULL;

    len = strcspn(text, "=");
    value = text[len] == '=' ? text + len + 1 : NULL;

    if (ctl->command != NULL) {
        option = nuc_ctl_find_option(ctl->command->options, text, len);
    }

    if (option == NULL) {
        option = nuc_ctl_find_option(nuc_options_global, text, len);
    }

    if (option == NULL) {
        return nuc_ctl_misuse(ctl, "there is no option \"%.*s\"%s", (int) len, text,
                              ctl->command == NULL ? " before a command" : "");
    }

    if (!option->many && nuc_ctl_option(ctl, option->name) != NULL) {
        return nuc_ctl_misuse(ctl, "\"%s\" is given twice", option->name);
    }

    if (option->value == NULL && value != NULL) {
        return nuc_ctl_misuse(ctl, "\"%s\" takes no value", option->name);
    }

    if (option->value != NULL && value == NULL) {
        if (*at + 1 == argc) {
            return nuc_ctl_misuse(ctl, "\"%s\" needs a value: %s", option->name,
                                  option->value);
        }

        value = argv[++*at];
    }

    ctl->given[ctl->ngiven++] =
        (nuc_ctl_given_t){option, option->value != NULL ? value : ""};

    return 0;
}

/* Commands are one word or two; "words" is how many were taken. */
static const nuc_ctl_command_t *nuc_ctl_find_command(const char *first,
                                                     const char *second, int *words)
{
    size_t i;
    char name[64];

    *words = 1;

    for (i = 0; i < NUC_COMMANDS; i++) {
        if (strcmp(nuc_commands[i].name, first) == 0) {
            return &nuc_commands[i];
        }
    }

    if (second == NULL ||
        snprintf(name, sizeof(name), "%s %s", first, second) >= (int) sizeof(name)) {
        return NULL;
    }

    *words = 2;

    for (i = 0; i < NUC_COMMANDS; i++) {
        if (strcmp(nuc_commands[i].name, name) == 0) {
            return &nuc_commands[i];
        }
    }

    return NULL;
}

static int nuc_ctl_is_group(const char *word)
{
    size_t i;

    for (i = 0; i < NUC_COMMANDS; i++) {
        if (nuc_ctl_in_group(&nuc_commands[i], word)) {
            return *word != '\0';
        }
    }

    return 0;
}

/* The words at argv[*at]; 0, or what to exit with plus one. */
static int nuc_ctl_take_command(nuc_ctl_t *ctl, int argc, char **argv, int *at)
{
    int words;
    const char *first = argv[*at], *second = *at + 1 < argc ? argv[*at + 1] : NULL;

    ctl->command = nuc_ctl_find_command(first, second, &words);

    if (ctl->command != NULL) {
        *at += words - 1;
        return 0;
    }

    if (!nuc_ctl_is_group(first)) {
        return nuc_ctl_misuse(ctl, "there is no command \"%s\"", first) + 1;
    }

    if (second == NULL || strcmp(second, "--help") == 0 || strcmp(second, "-h") == 0) {
        nuc_ctl_help(first);
        return (second == NULL ? NUC_EXIT_USAGE : NUC_EXIT_OK) + 1;
    }

    return nuc_ctl_misuse(ctl, "there is no command \"%s %s\"", first, second) + 1;
}

/* A word that is no option: the command, then its argument. */
static int nuc_ctl_take_word(nuc_ctl_t *ctl, int argc, char **argv, int *at)
{
    if (ctl->command == NULL) {
        return nuc_ctl_take_command(ctl, argc, argv, at);
    }

    if (ctl->command->argument == NULL || ctl->argument != NULL) {
        return nuc_ctl_misuse(ctl, "unexpected argument \"%s\"", argv[*at]) + 1;
    }

    ctl->argument = argv[*at];

    return 0;
}

/* 0 to go on, else what to exit with plus one. */
static int nuc_ctl_parse(nuc_ctl_t *ctl, int argc, char **argv)
{
    int i, status, words;

    for (i = 1, words = 0; i < argc; i++) {
        if (!words && (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)) {
            return (ctl->command != NULL ? nuc_ctl_help_command(ctl->command)
                                         : nuc_ctl_help("")) +
                   1;
        }

        if (ctl->command != NULL && ctl->command->passes) {
            ctl->rest = argv + i;
            return 0;
        }

        if (!words && ctl->command == NULL && strcmp(argv[i], "--version") == 0) {
            printf("nucleusctl " NUC_VERSION "\n");
            return NUC_EXIT_OK + 1;
        }

        if (!words && strcmp(argv[i], "--") == 0) {
            words = 1;
            continue;
        }

        if (!words && argv[i][0] == '-' && argv[i][1] != '\0') {
            status = nuc_ctl_take_option(ctl, argc, argv, &i);
            status += status != 0;
        } else {
            status = nuc_ctl_take_word(ctl, argc, argv, &i);
        }

        if (status != 0) {
            return status;
        }
    }

    if (ctl->command == NULL) {
        nuc_ctl_help("");
        return NUC_EXIT_USAGE + 1;
    }

    if (ctl->command->argument != NULL && ctl->argument == NULL) {
        return nuc_ctl_misuse(ctl, "\"%s\" needs its %s", ctl->command->name,
                              ctl->command->argument) +
               1;
    }

    return 0;
}

static const char *nuc_ctl_registry_path(const nuc_ctl_t *ctl)
{
    const char *path;

    path = nuc_ctl_option(ctl, "--registry");

    if (path == NULL) {
        path = getenv("NUCLEUS_REGISTRY");
    }

    return path != NULL && *path != '\0' ? path : NUC_CTL_REGISTRY;
}

/* ---- running it */

/* What a command says is printed at its end, also when it failed. */
static int nuc_ctl_flush(nuc_ctl_t *ctl, int status)
{
    nuc_err_t err;

    if (ctl->out.failed) {
        nuc_err_set(&err, NUC_NOMEM, "no memory for the answer");
        return nuc_ctl_fail(ctl, &err);
    }

    if ((ctl->out.len > 0 &&
         fwrite(ctl->out.data, 1, ctl->out.len, stdout) != ctl->out.len) ||
        fflush(stdout) == EOF) {
        nuc_err_sys(&err, NUC_IO, errno, "the answer could not be printed");
        nuc_ctl_fail(ctl, &err);
        return status == NUC_EXIT_OK ? NUC_EXIT_FAILED : status;
    }

    return status;
}

/* Else a file that is opened could be what the key is printed to. */
static int nuc_ctl_standard_files(const nuc_sys_t *sys)
{
    int fd;

    do {
        fd = sys->open(sys, "/dev/null", O_RDONLY, 0);
    } while (fd >= 0 && fd <= STDERR_FILENO);

    if (fd != -1) {
        sys->close(sys, fd);
    }

    return fd;
}

/* A command line that is wrong before it comes to that is told of in the same form. */
static int nuc_ctl_wants_json(int argc, char **argv)
{
    int i;

    for (i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--json") == 0) {
            return 1;
        }
    }

    return 0;
}

int nuc_ctl_run(int argc, char **argv)
{
    int status;
    nuc_ctl_t ctl = {.sys = &nuc_sys_posix, .program = argv[0], .out = NUC_BUF_INIT};

    /* not more than anybody may read, whatever the shell had */
    umask(022);

    ctl.given = calloc((size_t) argc + 1, sizeof(*ctl.given));

    if (ctl.given == NULL || nuc_ctl_standard_files(ctl.sys) == -1) {
        free(ctl.given);
        fprintf(stderr, "nucleusctl: it cannot begin (%d: %s)\n", errno, strerror(errno));
        return NUC_EXIT_FAILED;
    }

    ctl.json = nuc_ctl_wants_json(argc, argv);
    status = nuc_ctl_parse(&ctl, argc, argv);

    if (status == 0) {
        ctl.path = nuc_ctl_registry_path(&ctl);
        ctl.json = nuc_ctl_option(&ctl, "--json") != NULL;
        nuc_actor_who(ctl.who, sizeof(ctl.who));
        nuc_actor_from(ctl.from, sizeof(ctl.from));
        ctl.actor = (nuc_registry_actor_t){ctl.who, ctl.from};
        status = nuc_ctl_flush(&ctl, ctl.command->run(&ctl));
    } else {
        status--;
    }

    nuc_registry_close(ctl.registry);
    nuc_buf_free(&ctl.out);
    free(ctl.given);

    return status;
}

/* ---- completion */

static const char *const nuc_complete_actions[] = {
    [NUC_COMPLETE_NOTHING] = ":",
    [NUC_COMPLETE_FILE] = "_nucleusctl_words $(compgen -f -- \"$cur\")",
    [NUC_COMPLETE_DIR] = "_nucleusctl_words $(compgen -d -- \"$cur\")",
    [NUC_COMPLETE_TENANT] = "_nucleusctl_words $(_nucleusctl_ask tenant list)",
    [NUC_COMPLETE_KEY] = "_nucleusctl_words $(_nucleusctl_ask key list)",
    [NUC_COMPLETE_SCOPE] = "_nucleusctl_words collect upload exchange read admin",
};

static const char nuc_complete_begin[] =
    "# bash completion of nucleusctl " NUC_VERSION "\n"
    "_nucleusctl_words() { COMPREPLY=($(compgen -W \"$*\" -- \"$cur\")); }\n"
    "_nucleusctl_ask() {\n"
    "    nucleusctl ${registry:+--registry \"$registry\"} \"$@\" 2> /dev/null |\n"
    "        sed -e 1d -e 's/ .*//'\n"
    "}\n"
    "_nucleusctl() {\n"
    "    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}\n"
    "    local word command= skip= registry=\n"
    "    for word in \"${COMP_WORDS[@]:1:COMP_CWORD-1}\"; do\n"
    "        if [ -n \"$skip\" ]; then skip= registry=$word; continue; fi\n"
    "        case $word in\n"
    "        --registry) skip=yes ;;\n"
    "        -*) ;;\n"
    "        *) command=\"$command${command:+ }$word\" ;;\n"
    "        esac\n"
    "    done\n"
    "    COMPREPLY=()\n";

static void nuc_complete_options(nuc_buf_t *out, const nuc_ctl_option_t *options)
{
    for (/* void */; options->name != NULL; options++) {
        nuc_buf_printf(out, " %s", options->name);
    }
}

static void nuc_complete_values(nuc_buf_t *out, const char *command,
                                const nuc_ctl_option_t *options)
{
    for (/* void */; options->name != NULL; options++) {
        if (options->value != NULL) {
            nuc_buf_printf(out, "    \"%s\"*:%s) %s; return ;;\n", command, options->name,
                           nuc_complete_actions[options->complete]);
        }
    }
}

/* The words that can follow the ones of a group, or begin a command. */
static void nuc_complete_words(nuc_buf_t *out, const char *group)
{
    size_t i, len, skip = *group != '\0' ? strlen(group) + 1 : 0;
    const char *last = "", *word;

    nuc_buf_printf(out, "    \"%s\") _nucleusctl_words", group);

    for (i = 0; i < NUC_COMMANDS; i++) {
        if (!nuc_ctl_in_group(&nuc_commands[i], group)) {
            continue;
        }

        word = nuc_commands[i].name + skip;
        len = strcspn(word, " ");

        if (strlen(last) < len || strncmp(last, word, len) != 0) {
            nuc_buf_printf(out, " %.*s", (int) len, word);
        }

        last = word;
    }

    nuc_buf_str(out, NUC_STR(" ;;\n"));
}

static void nuc_complete_command(nuc_buf_t *out, const nuc_ctl_command_t *command)
{
    nuc_buf_printf(out,
                   "    \"%s\"*)\n        case $cur in\n"
                   "        -*) _nucleusctl_words",
                   command->name);
    nuc_complete_options(out, command->options);
    nuc_complete_options(out, nuc_options_global);
    nuc_buf_printf(out, " ;;\n        *) %s ;;\n        esac ;;\n",
                   strcmp(command->name, "completion") == 0
                       ? "_nucleusctl_words bash"
                       : nuc_complete_actions[command->complete]);
}

int nuc_ctl_completion(nuc_ctl_t *ctl)
{
    size_t i;
    nuc_buf_t *out = &ctl->out;

    if (strcmp(ctl->argument, "bash") != 0) {
        return nuc_ctl_misuse(ctl, "there are no completions for \"%s\", only for bash",
                              ctl->argument);
    }

    nuc_buf_str(out, nuc_str(nuc_complete_begin));
    nuc_buf_str(out, NUC_STR("    case $command:$prev in\n"));
    nuc_complete_values(out, "", nuc_options_global);

    for (i = 0; i < NUC_COMMANDS; i++) {
        nuc_complete_values(out, nuc_commands[i].name, nuc_commands[i].options);
    }

    nuc_buf_str(out, NUC_STR("    esac\n    case $command in\n"));
    nuc_complete_words(out, "");
    nuc_complete_words(out, "tenant");
    nuc_complete_words(out, "key");
    nuc_complete_words(out, "queue");

    for (i = 0; i < NUC_COMMANDS; i++) {
        nuc_complete_command(out, &nuc_commands[i]);
    }

    nuc_buf_str(out, NUC_STR("    esac\n}\ncomplete -F _nucleusctl nucleusctl\n"));

    return NUC_EXIT_OK;
}
