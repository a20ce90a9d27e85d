#include "nuc_ctl_actor.h"

#include <arpa/inet.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <utmp.h>

static void nuc_actor_user(uid_t uid, char *out, size_t size)
{
    struct passwd *pw = getpwuid(uid);

    snprintf(out, size, "%.32s (%lu)", pw != NULL ? pw->pw_name : "unknown",
             (unsigned long) uid);
}

/*
 * The environment is the caller's to set.  But SUDO_UID is looked at for root alone, who
 * could say anything here anyway, and as a number.
 */
static int nuc_actor_sudo(uid_t *uid)
{
    char *end;
    unsigned long value;
    const char *text = getenv("SUDO_UID");

    if (getuid() != 0 || text == NULL || *text < '0' || *text > '9') {
        return 0;
    }

    value = strtoul(text, &end, 10);
    *uid = (uid_t) value;

    return *end == '\0' && value == *uid && value != 0;
}

void nuc_actor_who(char *out, size_t size)
{
    uid_t uid;
    char self[56], behind[56];

    nuc_actor_user(getuid(), self, sizeof(self));

    if (nuc_actor_sudo(&uid)) {
        nuc_actor_user(uid, behind, sizeof(behind));
        snprintf(out, size, "%s as %s", behind, self);
    } else {
        snprintf(out, size, "%s", self);
    }
}

static int nuc_actor_is_address(const char *text)
{
    uint8_t address[16];

    return inet_pton(AF_INET, text, address) == 1 ||
           inet_pton(AF_INET6, text, address) == 1;
}

/* SSH_CONNECTION is "CLIENT PORT SERVER PORT". */
static int nuc_actor_ssh(char *address, size_t size)
{
    const char *text = getenv("SSH_CONNECTION");

    if (text == NULL) {
        return 0;
    }

    snprintf(address, size, "%.*s", (int) strcspn(text, " "), text);

    return nuc_actor_is_address(address);
}

/* sudo takes the variable away; the list of logins knows the terminal still. */
static int nuc_actor_login(const char *line, char *address, size_t size)
{
    int found;
    struct utmp *entry, key;

    memset(&key, 0, sizeof(key));
    snprintf(key.ut_line, sizeof(key.ut_line), "%.*s", (int) sizeof(key.ut_line) - 1,
             line);
    setutent();
    entry = getutline(&key);
    found = entry != NULL && entry->ut_type == USER_PROCESS;

    if (found) {
        snprintf(address, size, "%.63s", entry->ut_host);
    }

    endutent();

    return found && nuc_actor_is_address(address);
}

void nuc_actor_from(char *out, size_t size)
{
    char terminal[64], address[64];
    const char *line;

    if (nuc_actor_ssh(address, sizeof(address))) {
        snprintf(out, size, "ssh %s", address);
        return;
    }

    if (ttyname_r(STDIN_FILENO, terminal, sizeof(terminal)) != 0 &&
        ttyname_r(STDERR_FILENO, terminal, sizeof(terminal)) != 0) {
        snprintf(out, size, "local");
        return;
    }

    line = strncmp(terminal, "/dev/", 5) == 0 ? terminal + 5 : terminal;

    if (nuc_actor_login(line, address, sizeof(address))) {
        snprintf(out, size, "ssh %s", address);
    } else {
        snprintf(out, size, "terminal %s", line);
    }
}
