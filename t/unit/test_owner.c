/*
 * A state and its queue: who belongs together, through power cuts, and who is refused.
 */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "logkit.h"
#include "nuc_owner.h"
#include "nuc_state.h"
#include "sim.h"
#include "tap.h"

static char top[NUC_PATH_MAX];

static void enter(const char *name)
{
    char dir[NUC_PATH_MAX];

    nuc_path_join(dir, top, name, NULL);

    if (chdir(dir) == -1) {
        diag("chdir \"%s\": %s", dir, strerror(errno));
        exit(1);
    }
}

/* Relative paths, so that an image can be gone on with where it lies. */
static void begin(void)
{
    enter(".");

    if (system("rm -rf run image && mkdir -p run/state/pipelines run/queue") != 0) {
        exit(1);
    }

    enter("run");
}

static void shell(const char *command)
{
    ok(system(command) == 0, "%s", command);
}

static void claims(nuc_rc_t expected, const char *state, const char *queue)
{
    nuc_err_t err = {.message = ""};

    is_int(nuc_owner_check(&nuc_sys_posix, state, queue, &err), expected,
           "%s on %s, looked at: %s", state, queue, err.message);
    is_int(nuc_owner_claim(&nuc_sys_posix, state, queue, &err), expected, "%s on %s: %s",
           state, queue, err.message);

    if (expected != NUC_OK) {
        ok(strstr(err.hint, "--accept-queue") != NULL, "with a hint: %s", err.hint);
    }
}

static void accepts(const char *state, const char *queue)
{
    nuc_err_t err = {.message = ""};

    is_int(nuc_owner_accept(&nuc_sys_posix, state, queue, &err), NUC_OK,
           "%s takes %s: %s", state, queue, err.message);
    claims(NUC_OK, state, queue);
}

static void test_refused(void)
{
    begin();
    shell("mkdir -p other/pipelines second");

    claims(NUC_OK, "state", "queue");
    claims(NUC_OK, "state", "queue");
    claims(NUC_INVALID, "other", "queue");
    claims(NUC_INVALID, "state", "second");
    claims(NUC_INVALID, "state", "nowhere");

    /* a disk that is not mounted */
    shell("mv queue away && mkdir queue");
    claims(NUC_INVALID, "state", "queue");
    shell("rmdir queue && mv away queue");
    claims(NUC_OK, "state", "queue");

    /* moved, and copied */
    shell("mv queue moved && mv state here");
    claims(NUC_OK, "here", "moved");
    shell("cp -a here copy");
    claims(NUC_INVALID, "copy", "moved");
    claims(NUC_OK, "here", "moved");

    accepts("other", "moved");
    claims(NUC_INVALID, "here", "moved");
    accepts("here", "second");
    claims(NUC_INVALID, "here", "moved");

    shell("echo spoilt > second/owner");
    claims(NUC_CORRUPT, "here", "second");
    accepts("here", "second");

    shell("mkdir late");
    claims(NUC_OK, "late", "later");
    shell("mkdir later");
    claims(NUC_OK, "late", "later");
    claims(NUC_INVALID, "late", "nowhere");
}

/* The power goes at operation n of a claim, or behind it; then it is claimed again. */
static unsigned cut(const char *skip, unsigned n, unsigned seed, int *ended)
{
    unsigned wrong;
    char dir[NUC_PATH_MAX], image[NUC_PATH_MAX];
    sim_t *sim;
    nuc_err_t err;

    begin();
    nuc_path_join(dir, top, "run", NULL);
    nuc_path_join(image, top, "image", NULL);
    sim = sim_create(dir);
    sim_skip_site(sim, skip);
    sim_stop_at(sim, n);
    *ended = nuc_owner_claim(sim_sys(sim), "state", "queue", &err) == NUC_OK;
    sim_image(sim, image, seed);
    sim_destroy(sim);
    enter("image");

    wrong = nuc_owner_claim(&nuc_sys_posix, "state", "queue", &err) != NUC_OK;

    if (wrong && skip == NULL) {
        diag("operation %u, seed %u: %s", n, seed, err.message);
    }

    /* what was claimed stays so */
    if (*ended && !wrong) {
        wrong = nuc_owner_check(&nuc_sys_posix, "state", "elsewhere", &err) == NUC_OK;
    }

    return wrong;
}

static unsigned cut_everywhere(const char *skip)
{
    int ended = 0;
    unsigned n, seed, wrong = 0;

    for (n = 1; !ended; n++) {
        for (seed = 0; seed < 16; seed++) {
            wrong += cut(skip, n, seed, &ended);
        }
    }

    return wrong;
}

int main(void)
{
    static const char *const sites[] = {"owner-state-file", "owner-state-entry",
                                        "owner-queue-file", "owner-queue-entry"};
    size_t i;

    kit_temp_dir(top);

    test_refused();
    is_int(cut_everywhere(NULL), 0, "the power may go at each operation");

    for (i = 0; i < sizeof(sites) / sizeof(sites[0]); i++) {
        ok(cut_everywhere(sites[i]) > 0, "without \"%s\" they are torn apart", sites[i]);
    }

    if (chdir("/") == 0) {
        sim_remove_tree(top);
    }

    return tap_done();
}
