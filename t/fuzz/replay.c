/*
 * Gives a fuzz target the inputs that are committed: its corpus, and each input that once
 * was a finding.  Prints TAP.  Needs no clang; under the sanitizers it sees what they
 * see.
 *
 * The inputs run in a child process, so that one that kills it is a failed test with a
 * name, and those behind it run in the next child.
 *
 *     replay_SUBJECT            t/fuzz/corpus/SUBJECT and t/fuzz/regressions/SUBJECT
 *     replay_SUBJECT FILE ...   these
 */

#include <dirent.h>
#include <errno.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fuzz.h"
#include "tap.h"

#define PATH_LEN 512 /* bytes of an input's path */

typedef struct {
    char (*paths)[PATH_LEN];
    size_t count;
    size_t capacity;
} inputs_t;

__attribute__((noreturn)) static void die(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, strerror(errno));
    exit(2);
}

static void add_input(inputs_t *inputs, const char *path)
{
    if (inputs->count == inputs->capacity) {
        inputs->capacity = inputs->capacity * 2 + 64;
        inputs->paths = realloc(inputs->paths, inputs->capacity * PATH_LEN);

        if (inputs->paths == NULL) {
            die("realloc");
        }
    }

    snprintf(inputs->paths[inputs->count++], PATH_LEN, "%s", path);
}

/* The files of a directory; one that is not there has none. */
static void add_directory(inputs_t *inputs, const char *kind, const char *subject)
{
    char dir[PATH_LEN / 2], path[PATH_LEN];
    DIR *stream;
    struct dirent *entry;

    snprintf(dir, sizeof(dir), "t/fuzz/%s/%s", kind, subject);
    stream = opendir(dir);

    if (stream == NULL) {
        if (errno != ENOENT) {
            die(dir);
        }

        return;
    }

    while ((entry = readdir(stream)) != NULL) {
        if (entry->d_name[0] != '.') {
            snprintf(path, sizeof(path), "%s/%s", dir, entry->d_name);
            add_input(inputs, path);
        }
    }

    closedir(stream);
}

static void run_input(const char *path)
{
    FILE *file;
    long len;
    uint8_t *bytes;

    file = fopen(path, "rb");
    len = file != NULL && fseek(file, 0, SEEK_END) == 0 ? ftell(file) : -1;

    if (len < 0) {
        die(path);
    }

    rewind(file);
    bytes = fuzz_alloc((size_t) len);

    if (fread(bytes, 1, (size_t) len, file) != (size_t) len) {
        die(path);
    }

    fclose(file);
    LLVMFuzzerTestOneInput(bytes, (size_t) len);
    free(bytes);
}

/* From *next on, in a child; *next is shared and says which one it was when it died. */
static int run_inputs(const inputs_t *inputs, volatile size_t *next)
{
    int status;
    pid_t pid;

    fflush(stdout);
    pid = fork();

    if (pid == -1) {
        die("fork");
    }

    if (pid == 0) {
        while (*next < inputs->count) {
            run_input(inputs->paths[*next]);
            *next += 1;
        }

        exit(0); /* so that the leak checker looks */
    }

    if (waitpid(pid, &status, 0) != pid) {
        die("waitpid");
    }

    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

int main(int argc, char **argv)
{
    int i;
    size_t run, failed;
    inputs_t inputs = {NULL, 0, 0};
    const char *subject;
    volatile size_t *next;

    subject = program_invocation_short_name + strlen("replay_");
    next = mmap(NULL, sizeof(*next), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
                -1, 0);

    if (next == MAP_FAILED) {
        die("mmap");
    }

    for (i = 1; i < argc; i++) {
        add_input(&inputs, argv[i]);
    }

    if (argc == 1) {
        add_directory(&inputs, "corpus", subject);
        add_directory(&inputs, "regressions", subject);
    }

    for (failed = 0; *next < inputs.count; *next = run + 1) {
        if (run_inputs(&inputs, next)) {
            break;
        }

        run = *next;
        failed++;
        ok(0, "%s", run < inputs.count ? inputs.paths[run] : "at exit");
    }

    ok(inputs.count > 0, "%s: there are inputs", subject);
    is_int((long long) failed, 0, "%s: %zu inputs, none is a finding", subject,
           inputs.count);
    free(inputs.paths);

    return tap_done();
}
