/*
 * The notes that nginx's processes keep together, events-today and last-used: whatever
 * the file holds, what is read is the best line of each name, and a merge writes just
 * that, with what was merged.
 *
 * Input: a byte that chooses the file, the file's text, then items to merge.
 */

#include "fuzz.h"
#include "memfs.h"
#include "nuc_events_today.h"
#include "nuc_key.h"
#include "nuc_last_used.h"

#define DIR       "/q"
#define NOTES_MAX 4096
#define ADDED_MAX 64
#define NUMBERS   1000000000000000ULL /* 15 digits */

/* A line of either file: two numbers, of which the first counts more. */
typedef struct {
    char name[NUC_NAME_MAX + 1];
    uint64_t first;
    uint64_t second;
} note_t;

typedef struct {
    note_t notes[NOTES_MAX];
    size_t count;
} book_t;

static void put_note(book_t *book, const note_t *note)
{
    size_t i;
    note_t *old;

    for (i = 0; i < book->count; i++) {
        old = &book->notes[i];

        if (strcmp(old->name, note->name) == 0) {
            if (note->first > old->first ||
                (note->first == old->first && note->second > old->second)) {
                *old = *note;
            }
            return;
        }
    }

    FUZZ_CHECK(book->count < NOTES_MAX, "more lines than an input can have");
    book->notes[book->count++] = *note;
}

/* ---- the lines, stated once more */

/* Characters of "set" at the beginning, at most "max". */
static size_t span(const char *text, const char *set, size_t max)
{
    size_t n = strspn(text, set);

    return n <= max ? n : 0;
}

/* " 123", and then the line or the next word. */
static int take_number(const char **text, uint64_t *number)
{
    size_t n = **text == ' ' ? span(*text + 1, "0123456789", 15) : 0;

    *number = n != 0 ? strtoull(*text + 1, NULL, 10) : 0;
    *text += n + 1;

    return n != 0;
}

static int read_line(const char *line, int today, note_t *note)
{
    size_t len = today ? span(line, "abcdefghijklmnopqrstuvwxyz0123456789._-", 64)
                       : span(line, "0123456789abcdefghjkmnpqrstvwxyz", 12);

    if (len == 0 || strchr("._-", *line) != NULL || (!today && len != 12)) {
        return 0;
    }

    memset(note, 0, sizeof(*note));
    memcpy(note->name, line, len);
    line += len;

    return take_number(&line, &note->first) &&
           (!today || take_number(&line, &note->second)) && *line == '\0';
}

static void read_lines(book_t *book, nuc_str_t text, int today)
{
    char *line;
    note_t note;
    const uint8_t *end, *p = text.data, *last = text.data + text.len;

    for (; p < last; p = end + 1) {
        end = memchr(p, '\n', (size_t) (last - p));
        end = end != NULL ? end : last;
        line = fuzz_alloc((size_t) (end - p) + 1);
        memcpy(line, p, (size_t) (end - p));
        line[end - p] = '\0';

        /* a line with a zero byte in it is none */
        if (strlen(line) == (size_t) (end - p) && read_line(line, today, &note)) {
            put_note(book, &note);
        }
        free(line);
    }
}

/* ---- what was read */

static void check_book(const book_t *book, const note_t *notes, size_t count)
{
    size_t i, j;

    FUZZ_CHECK(count == book->count, "%zu names were read, not %zu", count, book->count);

    for (i = 0; i < count; i++) {
        FUZZ_CHECK(i == 0 || strcmp(notes[i - 1].name, notes[i].name) < 0,
                   "\"%s\" is out of order", notes[i].name);

        for (j = 0; j < count && strcmp(book->notes[j].name, notes[i].name) != 0; j++) {
        }

        FUZZ_CHECK(j < count && memcmp(&book->notes[j], &notes[i], sizeof(note_t)) == 0,
                   "\"%s\" is not the best of its lines", notes[i].name);
    }
}

static size_t read_today(memfs_t *fs, note_t *notes)
{
    size_t i, count = 0;
    nuc_err_t err;
    nuc_events_today_t *list = NULL;

    FUZZ_CHECK(nuc_events_today_read(memfs_sys(fs), DIR, &list, &count, &err) == NUC_OK,
               "%s", err.message);

    for (i = 0; i < count && i < NOTES_MAX; i++) {
        memset(&notes[i], 0, sizeof(notes[i]));
        strcpy(notes[i].name, list[i].tenant);
        notes[i].first = list[i].day;
        notes[i].second = list[i].count;
        FUZZ_CHECK(
            nuc_events_today_find(list, count, list[i].tenant, list[i].day) ==
                    list[i].count &&
                nuc_events_today_find(list, count, list[i].tenant, list[i].day + 1) == 0,
            "the count of \"%s\"", list[i].tenant);
    }

    FUZZ_CHECK(nuc_events_today_find(list, count, "Nobody", 1) == 0, "a count of nobody");
    free(list);

    return count;
}

static size_t read_used(memfs_t *fs, note_t *notes)
{
    size_t i, count = 0;
    nuc_err_t err;
    nuc_last_used_t *uses = NULL;

    FUZZ_CHECK(nuc_last_used_read(memfs_sys(fs), DIR, &uses, &count, &err) == NUC_OK,
               "%s", err.message);

    for (i = 0; i < count && i < NOTES_MAX; i++) {
        memset(&notes[i], 0, sizeof(notes[i]));
        nuc_key_id_text(uses[i].id, notes[i].name);
        notes[i].first = uses[i].seconds;
        FUZZ_CHECK(nuc_last_used_find(uses, count, uses[i].id) == uses[i].seconds,
                   "the use of \"%s\"", notes[i].name);
    }

    FUZZ_CHECK(nuc_last_used_find(uses, count, UINT64_MAX) == 0, "a use of no key");
    free(uses);

    return count;
}

static void check_read(memfs_t *fs, const book_t *book, int today)
{
    static note_t notes[NOTES_MAX];

    check_book(book, notes, today ? read_today(fs, notes) : read_used(fs, notes));
}

/* ---- merging */

static void merge(memfs_t *fs, const nuc_notes_kind_t *kind, const void *items,
                  size_t count)
{
    nuc_err_t err;

    FUZZ_CHECK(nuc_notes_merge(memfs_sys(fs), kind, DIR, items, count, &err) == NUC_OK,
               "%s", err.message);
    FUZZ_CHECK(memfs_open_files(fs) == 0, "a file is left open");
}

/* One of a few names, so that some are there twice. */
static void take_today(fuzz_input_t *in, nuc_events_today_t *item)
{
    memset(item, 0, sizeof(*item));
    memset(item->tenant, 'a' + (int) fuzz_take_below(in, 8),
           1 + (size_t) fuzz_take_below(in, NUC_NAME_MAX));
    item->day = fuzz_take(in, 2);
    item->count = fuzz_take(in, 8) % NUMBERS;
}

static void add_today(fuzz_input_t *in, memfs_t *fs, book_t *book, size_t count)
{
    size_t i;
    note_t note;
    nuc_events_today_t items[ADDED_MAX];

    for (i = 0; i < count; i++) {
        take_today(in, &items[i]);
        memset(&note, 0, sizeof(note));
        strcpy(note.name, items[i].tenant);
        note.first = items[i].day;
        note.second = items[i].count;
        put_note(book, &note);
    }

    merge(fs, &nuc_events_today_notes, items, count);
}

static void add_used(fuzz_input_t *in, memfs_t *fs, book_t *book, size_t count)
{
    size_t i;
    note_t note;
    nuc_last_used_t items[ADDED_MAX];

    for (i = 0; i < count; i++) {
        items[i].id = fuzz_take(in, 1) << (5 * fuzz_take_below(in, 11));
        items[i].seconds = fuzz_take(in, 8) % NUMBERS;
        memset(&note, 0, sizeof(note));
        nuc_key_id_text(items[i].id, note.name);
        note.first = items[i].seconds;
        put_note(book, &note);
    }

    merge(fs, &nuc_last_used_notes, items, count);
}

/* A file that was merged holds its lines and nothing else, and stays as it is. */
static void check_merged(memfs_t *fs, const nuc_notes_kind_t *kind, const char *path)
{
    void *items = NULL;
    size_t i, count = 0;
    nuc_err_t err;
    nuc_str_t now, before;
    nuc_buf_t want = NUC_BUF_INIT;

    FUZZ_CHECK(nuc_notes_read(memfs_sys(fs), kind, DIR, &items, &count, &err) == NUC_OK,
               "%s", err.message);

    for (i = 0; i < count; i++) {
        kind->print((char *) items + i * kind->size, &want);
    }

    now = memfs_get(fs, path);
    FUZZ_CHECK(nuc_str_eq(now, (nuc_str_t){want.data, want.len}),
               "the file holds something else than its lines");

    before = fuzz_copy(now.data, now.len);
    merge(fs, kind, items, count);
    FUZZ_CHECK(nuc_str_eq(memfs_get(fs, path), before), "a second merge changes it");

    fuzz_free(before);
    nuc_buf_free(&want);
    free(items);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    static book_t book;
    int today;
    size_t count;
    memfs_t *fs;
    nuc_str_t text;
    const char *path;
    fuzz_input_t in = {data, data + len};

    book.count = 0;
    today = (int) fuzz_take(&in, 1) % 2;
    path = today ? DIR "/" NUC_EVENTS_TODAY_FILE : DIR "/" NUC_LAST_USED_FILE;
    fs = memfs_create();
    memfs_mkdir(fs, DIR);
    check_read(fs, &book, today);

    text = fuzz_take_sized(&in, NOTES_MAX);
    text = fuzz_copy(text.data, text.len);
    memfs_put(fs, path, text.data, text.len);
    read_lines(&book, text, today);
    check_read(fs, &book, today);

    while (in.p < in.end && book.count + ADDED_MAX < NOTES_MAX) {
        count = 1 + fuzz_take_below(&in, ADDED_MAX);

        if (today) {
            add_today(&in, fs, &book, count);
        } else {
            add_used(&in, fs, &book, count);
        }

        check_read(fs, &book, today);
        check_merged(fs, today ? &nuc_events_today_notes : &nuc_last_used_notes, path);
    }

    fuzz_free(text);
    memfs_destroy(fs);

    return 0;
}
