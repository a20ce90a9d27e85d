/*
 * The file sink: a hostile state, as a commit may hold it; and a life of batches, crashes
 * and restarts, after each of which the store holds the records that were committed, each
 * once, and no byte more.
 *
 * Input: a first byte that chooses; then a state, or the steps of a life.
 */

#include "fuzz.h"
#include "memfs.h"
#include "nuc_sink.h"

#define STORE   "/d"
#define RECORDS 400 /* in a life */

typedef struct {
    memfs_t *fs;
    const nuc_sys_t *sys;
    void *options;
    nuc_sink_t *sink;
    nuc_buf_t state;             /* of the last commit */
    unsigned added;              /* records */
    unsigned committed;          /* of them: those with numbers under it */
    unsigned char seen[RECORDS]; /* in the store */
} life_t;

/* Fill the options by the sink's table, as worker.conf does. */
static void *make_options(const char *path, uint64_t file_size)
{
    void *options;
    const nuc_sink_option_t *option;

    options = calloc(1, nuc_sink_file.options_size);
    FUZZ_CHECK(options != NULL, "no memory for options");

    for (option = nuc_sink_file.options; option->name != NULL; option++) {
        if (strcmp(option->name, "path") == 0) {
            *(const char **) ((char *) options + option->offset) = path;
        } else if (strcmp(option->name, "file_size") == 0) {
            *(uint64_t *) ((char *) options + option->offset) = file_size;
        }
    }

    return options;
}

static void begin(life_t *life, uint64_t file_size)
{
    memset(life, 0, sizeof(*life));
    life->fs = memfs_create();
    life->sys = memfs_sys(life->fs);
    life->options = make_options(STORE, file_size);
    (void) nuc_buf_reserve(&life->state, 1); /* empty, and not NULL */
}

static void end(life_t *life)
{
    if (life->sink != NULL) {
        nuc_sink_file.close(life->sink);
    }

    nuc_buf_free(&life->state);
    free(life->options);
    memfs_destroy(life->fs);
}

static nuc_rc_t open_sink(life_t *life, nuc_str_t state, nuc_err_t *err)
{
    return nuc_sink_file.open(life->sys, "pipeline", life->options, state, &life->sink,
                              err);
}

static void make_record(nuc_record_t *record, char id[16], unsigned number,
                        unsigned where)
{
    static const char *const names[] = {"acme", "b.c", "x_y-z", "Not A Name"};

    memset(record, 0, sizeof(*record));
    snprintf(id, 16, "r%u", number);
    record->kind = NUC_KIND_JSON;
    record->received = 1795000000000000ULL + (uint64_t) (where >> 4) * 3600000000ULL;
    record->attr[NUC_ATTR_TENANT] = nuc_str(names[where & 3]);
    record->attr[NUC_ATTR_STREAM] = nuc_str(names[where >> 2 & 3]);
    record->attr[NUC_ATTR_ID] = nuc_str(id);
    record->data = NUC_STR("{\"a\":\n1}");
}

/*
 * What the store holds.
 */

static void see_line(life_t *life, const char *path, nuc_str_t line)
{
    char *end_of_number, text[16];
    size_t i;
    unsigned long number;
    static const char key[] = "\"id\":\"r";

    for (i = 0; i + sizeof(key) + 4 < line.len; i++) {
        if (memcmp(line.data + i, key, sizeof(key) - 1) == 0) {
            break;
        }
    }

    FUZZ_CHECK(i + sizeof(key) + 4 < line.len, "a line without an id in \"%s\"", path);
    memcpy(text, line.data + i + sizeof(key) - 1, 4);
    text[4] = '\0';
    number = strtoul(text, &end_of_number, 10);
    FUZZ_CHECK(*end_of_number == '"' && number < life->added, "the id \"%s\"", text);
    FUZZ_CHECK(life->seen[number]++ == 0, "record %lu is in the store twice", number);
}

static void see_file(void *ctx, const char *path, nuc_str_t content)
{
    const uint8_t *eol, *p;
    life_t *life = ctx;

    for (p = content.data; p < content.data + content.len; p = eol + 1) {
        eol = memchr(p, '\n', (size_t) (content.data + content.len - p));
        FUZZ_CHECK(eol != NULL, "half a line at the end of \"%s\"", path);
        see_line(life, path, (nuc_str_t){p, (size_t) (eol - p)});
    }
}

static void check_store(life_t *life)
{
    unsigned i;

    memset(life->seen, 0, sizeof(life->seen));
    memfs_each(life->fs, see_file, life);

    for (i = 0; i < life->added; i++) {
        FUZZ_CHECK(life->seen[i] == (i < life->committed),
                   "record %u of %u committed is %s", i, life->committed,
                   life->seen[i] ? "in the store" : "missing");
    }
}

/*
 * A life.
 */

static void commit(life_t *life, nuc_buf_t *state)
{
    nuc_buf_reset(&life->state);
    nuc_buf_append(&life->state, state->data, state->len);
    nuc_buf_reset(state);
}

static void add(life_t *life, unsigned where)
{
    char id[16];
    nuc_err_t err;
    nuc_record_t record;

    if (life->added == RECORDS) {
        return;
    }

    make_record(&record, id, life->added++, where);
    FUZZ_CHECK(nuc_sink_file.add(life->sink, &record, &err) == NUC_OK, "%s", err.message);
}

/* A batch up to the step that "steps" says; 3 is all of it. */
static void batch(life_t *life, unsigned steps)
{
    int needed;
    nuc_err_t err;
    nuc_buf_t state = NUC_BUF_INIT;

    FUZZ_CHECK(nuc_sink_file.prepare(life->sink, &state, &needed, &err) == NUC_OK, "%s",
               err.message);
    FUZZ_CHECK(needed || state.len == 0, "a state that is not needed");

    if (needed && steps > 0) {
        commit(life, &state);
    }

    /* without that commit the pipeline would not flush */
    if (steps > 1) {
        nuc_buf_reset(&state);
        FUZZ_CHECK(nuc_sink_file.flush(life->sink, &state, &err) == NUC_OK, "%s",
                   err.message);
    }

    if (steps > 2) {
        commit(life, &state);
        life->committed = life->added;
        FUZZ_CHECK(nuc_sink_file.batch_bytes(life->sink) == 0, "a batch after its flush");
        check_store(life);
    }

    nuc_buf_free(&state);
}

/* The process dies; another begins from the last commit. */
static void restart(life_t *life)
{
    nuc_err_t err;

    if (life->sink != NULL) {
        nuc_sink_file.close(life->sink);
        life->sink = NULL;
    }

    FUZZ_CHECK(open_sink(life, (nuc_str_t){life->state.data, life->state.len}, &err) ==
                   NUC_OK,
               "%s", err.message);

    /* what was not committed is read from the queue again */
    life->added = life->committed;
    check_store(life);
}

/* The crash left more behind in a file that may still grow: half of a write. */
static void tear(life_t *life, unsigned choice)
{
    char path[512];
    size_t len;
    nuc_buf_t bytes = NUC_BUF_INIT;
    nuc_str_t file;
    const char *p, *eol, *end_of_state;

    p = (const char *) life->state.data;
    end_of_state = p + life->state.len;

    for (eol = p; p < end_of_state; p = eol + 1) {
        eol = memchr(p, '\n', (size_t) (end_of_state - p));

        if (choice-- == 0 && memcmp(p, "root ", 5) != 0) {
            p = memchr(p, ' ', (size_t) (eol - p));
            snprintf(path, sizeof(path), STORE "/%.*s", (int) (eol - p - 1), p + 1);
            file = memfs_get(life->fs, path);

            if (file.data != NULL) {
                len = file.len;
                nuc_buf_append(&bytes, file.data, len);
                nuc_buf_append(&bytes, "{\"half\":", 8);
                memfs_put(life->fs, path, bytes.data, bytes.len);
            }

            break;
        }
    }

    nuc_buf_free(&bytes);
}

static void fuzz_life(fuzz_input_t *in)
{
    unsigned step;
    life_t life;

    begin(&life, 1 + fuzz_take(in, 2) % 2000);
    restart(&life);

    while (in->p < in->end && life.added < RECORDS) {
        step = (unsigned) fuzz_take(in, 1);

        switch (step % 8) {
        case 0:
            batch(&life, 3);
            break;
        case 1: /* dies at some step of a batch */
            batch(&life, step / 8 % 3);
            restart(&life);
            break;
        case 2:
            batch(&life, step / 8 % 3);
            tear(&life, step / 32);
            restart(&life);
            break;
        case 3:
            restart(&life);
            break;
        default:
            add(&life, (unsigned) fuzz_take(in, 1));
        }
    }

    batch(&life, 3);
    end(&life);
}

/*
 * A hostile state.
 */

/* Is one of the components of a line's path ".."? */
static int leads_upwards(nuc_str_t state)
{
    int path;
    size_t i;

    for (path = 0, i = 0; i + 3 < state.len; i++) {
        if (state.data[i] == '\n') {
            path = 0;
        } else if (state.data[i] == (path ? '/' : ' ')) {
            path = 1;

            if (memcmp(state.data + i + 1, "..", 2) == 0 &&
                (state.data[i + 3] == '/' || state.data[i + 3] == '\n')) {
                return 1;
            }
        }
    }

    return 0;
}

static void fuzz_state(fuzz_input_t *in, int with_root)
{
    nuc_rc_t rc;
    nuc_err_t err;
    life_t life;
    nuc_str_t text;
    nuc_buf_t state = NUC_BUF_INIT;

    begin(&life, 1000);
    memfs_put(life.fs, STORE "/a/f.ndjson", "0123456789", 10);
    memfs_put(life.fs, STORE "/b/g.ndjson", "0123456789", 10);

    if (with_root) {
        nuc_buf_append(&state, "root " STORE "\n", sizeof("root " STORE));
    }

    text = fuzz_take_bytes(in, SIZE_MAX);
    nuc_buf_append(&state, text.data, text.len);
    text = fuzz_copy(state.data, state.len);

    rc = open_sink(&life, text, &err);

    if (rc == NUC_OK) {
        FUZZ_CHECK(!with_root || !leads_upwards(text), "a path that leads upwards");
        add(&life, 5);
        add(&life, 85);
        nuc_buf_reset(&state);
        FUZZ_CHECK(nuc_sink_file.flush(life.sink, &state, &err) == NUC_OK ||
                       err.rc == NUC_IO || err.rc == NUC_TOO_LARGE,
                   "after a hostile state: %s", err.message);
    } else {
        fuzz_check_err(rc, &err);
        FUZZ_CHECK(rc == NUC_CORRUPT || rc == NUC_IO || rc == NUC_TOO_LARGE,
                   "a hostile state answers %d: %s", rc, err.message);
    }

    fuzz_free(text);
    nuc_buf_free(&state);
    end(&life);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    unsigned choice;
    fuzz_input_t in = {data, data + len};

    choice = fuzz_take_below(&in, 4);

    if (choice > 1) {
        fuzz_life(&in);
    } else {
        fuzz_state(&in, choice == 1);
    }

    return 0;
}
