/*
 * The file that keeps the counts of a day: the larger of a day, the later of days,
 * whatever is there.
 */

#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

#include "nuc_events_today.h"
#include "nuc_fs.h"
#include "tap.h"

static char dir[] = "/tmp/nucleus-events-today-XXXXXX";

static void holds(const char *expected, const char *what)
{
    char text[1024] = "";
    size_t len = 0, n = 0;
    nuc_events_today_t *list = NULL;

    is_int(nuc_events_today_read(&nuc_sys_posix, dir, &list, &n, NULL), NUC_OK,
           "%s: read", what);

    for (size_t i = 0; i < n; i++) {
        len += (size_t) snprintf(text + len, sizeof(text) - len, "%s:%llu:%llu ",
                                 list[i].tenant, (unsigned long long) list[i].day,
                                 (unsigned long long) list[i].count);
    }

    free(list);
    is_str(text, expected, "%s", what);
}

static nuc_rc_t merge(const nuc_events_today_t *list, size_t n)
{
    return nuc_notes_merge(&nuc_sys_posix, &nuc_events_today_notes, dir, list, n, NULL);
}

static FILE *open_file(const char *name, const char *mode)
{
    char path[NUC_PATH_MAX];

    nuc_path_join(path, dir, name, NULL);

    return fopen(path, mode);
}

static void put(const char *text)
{
    FILE *file = open_file(NUC_EVENTS_TODAY_FILE, "w");

    ok(file != NULL && fputs(text, file) >= 0 && fclose(file) == 0, "a file by hand");
}

static void test_merge(void)
{
    nuc_events_today_t first[] = {{"south", 5, 10}, {"north", 5, 7}, {"south", 5, 12}};
    nuc_events_today_t second[] = {{"north", 6, 1}, {"south", 5, 3}, {"east", 4, 0}};

    holds("", "no file");
    is_int(merge(first, 3), NUC_OK, "written");
    holds("north:5:7 south:5:12 ", "the larger of a day");
    is_int(merge(second, 3), NUC_OK, "written again");
    holds("east:4:0 north:6:1 south:5:12 ", "the later of days");
    is_int(merge(first, 0), NUC_OK, "nothing to write");
    holds("east:4:0 north:6:1 south:5:12 ", "changes nothing");
}

static void test_lines(void)
{
    nuc_events_today_t one = {"west", 7, 1099511627775};

    put("north 5 7\n\nnorth\n 5 7\nnorth 5\nnorth 5 \nnorth 5 7 8\nNorth 5 7\n"
        "south  5\nsouth 5 -1\nsouth 5x 1\nsouth 1234567890123456 1\n../x 5 5\n"
        "a123456789012345678901234567890123456789012345678901234567890123 5 1\n"
        "a1234567890123456789012345678901234567890123456789012345678901234 5 1\n"
        "east 9 9");
    holds("a123456789012345678901234567890123456789012345678901234567890123:5:1 "
          "east:9:9 north:5:7 ",
          "lines that are none are left out");
    is_int(merge(&one, 1), NUC_OK, "written");
    put("west 7 1099511627775\n");
    holds("west:7:1099511627775 ", "the largest count");
}

static void test_find(void)
{
    nuc_events_today_t list[] = {{"east", 5, 1}, {"north", 6, 2}};

    is_int((long long) nuc_events_today_find(list, 2, "north", 6), 2, "found");
    is_int((long long) nuc_events_today_find(list, 2, "north", 7), 0, "of another day");
    is_int((long long) nuc_events_today_find(list, 2, "nort", 6), 0, "of nobody");
    is_int((long long) nuc_events_today_find(NULL, 0, "north", 6), 0, "of none");
}

static void test_lock(void)
{
    nuc_events_today_t one = {"west", 8, 1};
    FILE *lock = open_file(NUC_EVENTS_TODAY_FILE ".lock", "r");

    ok(lock != NULL && flock(fileno(lock), LOCK_EX) == 0, "another writes");
    is_int(merge(&one, 1), NUC_BUSY, "so we don't");
    fclose(lock);
    is_int(merge(&one, 1), NUC_OK, "until it has");
    holds("west:8:1 ", "written");
    is_int(nuc_notes_merge(&nuc_sys_posix, &nuc_events_today_notes, "/nonexistent", &one,
                           1, NULL),
           NUC_IO, "no directory");
}

int main(void)
{
    static const char *files[] = {NUC_EVENTS_TODAY_FILE, NUC_EVENTS_TODAY_FILE ".lock"};
    char path[NUC_PATH_MAX];

    if (mkdtemp(dir) == NULL) {
        abort();
    }

    test_merge();
    test_lines();
    test_find();
    test_lock();

    for (size_t i = 0; i < 2; i++) {
        nuc_path_join(path, dir, files[i], NULL);
        unlink(path);
    }

    is_int(rmdir(dir), 0, "nothing else was left");

    return tap_done();
}
