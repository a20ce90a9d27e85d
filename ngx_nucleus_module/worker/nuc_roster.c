#include "nuc_roster.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "nuc_fs.h"

#define NUC_ROSTER_NAME "processes"
#define NUC_ROSTER_MAX  (1024 * 1024)

static const char *const nuc_role_names[] = {
    [NUC_ROLE_PIPELINE] = "pipeline",
    [NUC_ROLE_KEEPER] = "keeper",
    [NUC_ROLE_API] = "api",
};

void nuc_roster_begin(nuc_buf_t *text)
{
    nuc_buf_printf(text,
                   "# what runs, for --status: written at each change, never synced\n"
                   "supervisor %ld\n",
                   (long) getpid());
}

void nuc_roster_add(nuc_buf_t *text, const nuc_roster_entry_t *entry)
{
    nuc_buf_printf(text,
                   "%s %s pid %ld since %" PRIu64 " restarts %u ended %" PRIu64
                   " status %d due %" PRIu64 "\n",
                   nuc_role_names[entry->role], entry->name, (long) entry->pid,
                   entry->since, entry->restarts, entry->ended, entry->status,
                   entry->due);
}

void nuc_roster_write(const nuc_sys_t *sys, const char *state, const nuc_buf_t *text)
{
    if (!text->failed) {
        (void) nuc_fs_replace(sys, state, NUC_ROSTER_NAME,
                              (nuc_str_t){text->data, text->len}, 0640, NULL, NULL, NULL);
    }
}

void nuc_roster_remove(const nuc_sys_t *sys, const char *state)
{
    nuc_fs_discard(sys, state, NUC_ROSTER_NAME);
}

/* A supervisor that was killed has left its last words. */
static int nuc_roster_alive(const char *text)
{
    long pid;
    const char *line;

    line = strstr(text, "\nsupervisor ");

    return line != NULL && sscanf(line, "\nsupervisor %ld", &pid) == 1 && pid > 0 &&
           (kill((pid_t) pid, 0) == 0 || errno == EPERM);
}

int nuc_roster_read(const nuc_sys_t *sys, const char *state, nuc_buf_t *text)
{
    char path[NUC_PATH_MAX];

    if (nuc_path_join(path, state, NUC_ROSTER_NAME, NULL) != NUC_OK ||
        nuc_fs_read_file(sys, path, NUC_ROSTER_MAX, text, NULL) != NUC_OK) {
        return 0;
    }

    nuc_buf_char(text, '\0');

    return !text->failed && nuc_roster_alive((const char *) text->data);
}

static int nuc_roster_parse(const char *line, nuc_roster_entry_t *entry)
{
    char role[16];
    long pid;
    size_t i;

    memset(entry, 0, sizeof(*entry));

    /* 64 is NUC_NAME_MAX */
    if (sscanf(line,
               "%15s %64s pid %ld since %" SCNu64 " restarts %u ended %" SCNu64
               " status %d due %" SCNu64,
               role, entry->name, &pid, &entry->since, &entry->restarts, &entry->ended,
               &entry->status, &entry->due) != 8) {
        return 0;
    }

    entry->pid = (pid_t) pid;

    for (i = 0; i < sizeof(nuc_role_names) / sizeof(nuc_role_names[0]); i++) {
        if (strcmp(role, nuc_role_names[i]) == 0) {
            entry->role = (nuc_role_t) i;
            return 1;
        }
    }

    return 0;
}

int nuc_roster_find(const nuc_buf_t *text, nuc_role_t role, const char *name,
                    nuc_roster_entry_t *entry)
{
    const char *line;

    if (text->data == NULL) {
        return 0;
    }

    for (line = (const char *) text->data; line != NULL; line = strchr(line, '\n')) {
        line += *line == '\n';

        if (nuc_roster_parse(line, entry) && entry->role == role &&
            (name == NULL || strcmp(entry->name, name) == 0)) {
            return 1;
        }
    }

    return 0;
}
