/*
 * What people write to nucleusctl: times, durations, networks, limits, quotas, scopes,
 * certificates.  Each has one meaning, stated once more here or read back from its own
 * text.
 *
 * Input: a byte that chooses one, then its text.
 */

#include <arpa/inet.h>

#include "fuzz.h"
#include "memfs.h"
#include "nuc_conf.h"
#include "nuc_ctl_value.h"
#include "nuc_registry_value.h"

#define NOW     1795280979ULL
#define SECONDS 253402300799ULL /* the last of the year 9999 */

static char *take_string(fuzz_input_t *in)
{
    nuc_str_t bytes = fuzz_take_bytes(in, SIZE_MAX);
    char *string = fuzz_alloc(bytes.len + 1);

    if (bytes.len != 0) {
        memcpy(string, bytes.data, bytes.len);
    }

    string[bytes.len] = '\0';

    return string;
}

/* What was refused is told with a hint, and nothing else is returned. */
static int is_taken(nuc_rc_t rc, const nuc_err_t *err, const char *text)
{
    if (rc == NUC_OK) {
        return 1;
    }

    FUZZ_CHECK(rc == NUC_INVALID, "\"%s\" is answered %d", text, rc);
    fuzz_check_err(rc, err);
    FUZZ_CHECK(*err->hint != '\0', "\"%s\" is refused without a hint", text);

    return 0;
}

/* ---- times */

static unsigned two_digits(const char *p)
{
    return (unsigned) (p[0] - '0') * 10 + (unsigned) (p[1] - '0');
}

static unsigned days_of(unsigned year, unsigned month)
{
    static const unsigned days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};

    return days[month - 1] +
           (month == 2 && year % 4 == 0 && (year % 100 != 0 || year % 400 == 0));
}

/* Seconds since 1970 of a date as the manual has it, 0: it is none. */
static uint64_t judge_date(const char *text)
{
    static const char *const forms[] = {
        "9999-99-99", "9999-99-99T99:99",  "9999-99-99T99:99:99",
        NULL,         "9999-99-99T99:99Z", "9999-99-99T99:99:99Z",
    };
    size_t i, form, len = strlen(text);
    unsigned year, month, day, y, m;
    uint64_t days = 0, seconds = 0;

    for (form = 0; form < 6; form++) {
        for (i = 0; forms[form] != NULL && i < len && forms[form][i] != '\0'; i++) {
            if (forms[form][i] == '9' ? text[i] < '0' || text[i] > '9'
                                      : text[i] != forms[form][i]) {
                break;
            }
        }
        if (forms[form] != NULL && i == len && forms[form][i] == '\0') {
            break;
        }
    }

    if (form == 6) {
        return 0;
    }

    year = two_digits(text) * 100 + two_digits(text + 2);
    month = two_digits(text + 5);
    day = two_digits(text + 8);

    if (year < 1970 || month < 1 || month > 12 || day < 1 || day > days_of(year, month)) {
        return 0;
    }

    for (y = 1970; y < year; y++) {
        days += 337 + days_of(y, 2);
    }
    for (m = 1; m < month; m++) {
        days += days_of(year, m);
    }

    if (len > 10) {
        unsigned hour = two_digits(text + 11), minute = two_digits(text + 14);
        unsigned second = form % 3 == 2 ? two_digits(text + 17) : 0;

        if (hour > 23 || minute > 59 || second > 59) {
            return 0;
        }
        seconds = hour * 3600 + minute * 60 + second;
    }

    return (days + day - 1) * 86400 + seconds;
}

static void fuzz_time(const char *text, int ago)
{
    int valid;
    uint64_t ms = 0, got = 0, want = judge_date(text);
    nuc_err_t err;

    valid = want != 0;

    if (!valid && *text == '@') {
        valid = nuc_conf_count(text + 1, &want) == NUC_OK && want <= SECONDS;
    } else if (!valid && nuc_conf_time(text, &ms) == NUC_OK) {
        valid = ms / 1000 < SECONDS - NOW;
        want = !ago ? NOW + ms / 1000 : ms / 1000 < NOW ? NOW - ms / 1000 : 0;
    }

    FUZZ_CHECK(is_taken(nuc_value_time(text, NOW, ago, &got, &err), &err, text) == valid,
               "\"%s\" as a time is %s", text, valid ? "refused" : "taken");
    FUZZ_CHECK(!valid || got == want, "\"%s\" is %llu, not %llu", text,
               (unsigned long long) got, (unsigned long long) want);
}

static void fuzz_duration(const char *text)
{
    int valid;
    uint64_t ms = 0, want = 0;
    nuc_err_t err;

    valid = nuc_conf_time(text, &want) == NUC_OK && want / 1000 < SECONDS;
    FUZZ_CHECK(is_taken(nuc_value_duration(text, &ms, &err), &err, text) == valid,
               "\"%s\" as a duration is %s", text, valid ? "refused" : "taken");
    FUZZ_CHECK(!valid || ms == want, "\"%s\" as a duration", text);
}

/* ---- networks */

/* The bits of the prefix of an address of so many bytes, -1: no such network. */
static int judge_prefix(const char *bits, const uint8_t *address, unsigned bytes)
{
    size_t zeros = strspn(bits, "0"), digits = strspn(bits, "0123456789");
    unsigned i, n = bytes * 8;

    if (bits[digits] != '\0' || digits == 0 || digits - zeros > 3) {
        return -1;
    }

    n = (unsigned) atoi(bits + zeros);

    if (n > bytes * 8) {
        return -1;
    }

    for (i = n; i < bytes * 8; i++) {
        if (address[i / 8] & (128 >> i % 8)) {
            return -1;
        }
    }

    return (int) n;
}

static int judge_network(const char *text, nuc_network_t *network)
{
    int bits;
    uint8_t v4[4], v6[16] = {0};
    char *address = strdup(text), *slash = strchr(address, '/');
    int is_v4, is_v6;

    memset(network, 0, sizeof(*network));

    if (slash != NULL) {
        *slash++ = '\0';
    }

    is_v4 = inet_pton(AF_INET, address, v4) == 1;
    is_v6 = !is_v4 && inet_pton(AF_INET6, address, v6) == 1;

    if (is_v4) {
        memset(network->address + 10, 0xff, 2);
        memcpy(network->address + 12, v4, 4);
        bits = slash != NULL ? judge_prefix(slash, v4, 4) : 32;
        bits += bits >= 0 ? 96 : 0;
    } else {
        memcpy(network->address, v6, 16);
        bits = !is_v6 ? -1 : slash != NULL ? judge_prefix(slash, v6, 16) : 128;
    }

    network->bits = (uint8_t) bits;
    free(address);

    return bits >= 0;
}

static void fuzz_network(const char *text)
{
    int valid;
    nuc_err_t err;
    nuc_network_t got, want, again;
    char written[NUC_NETWORK_TEXT_MAX];

    valid = judge_network(text, &want);
    FUZZ_CHECK(is_taken(nuc_network_parse(text, &got, &err), &err, text) == valid,
               "\"%s\" as a network is %s", text, valid ? "refused" : "taken");

    if (!valid) {
        return;
    }

    FUZZ_CHECK(memcmp(&got, &want, sizeof(got)) == 0, "\"%s\" is another network", text);
    nuc_network_text(&got, written);
    FUZZ_CHECK(nuc_network_parse(written, &again, &err) == NUC_OK &&
                   memcmp(&got, &again, sizeof(got)) == 0,
               "\"%s\" is written as \"%s\"", text, written);
}

/* ---- limits and quotas */

/* An amount up to "end"; 0: it is none. */
static uint64_t judge_amount(const char *text, const char *end, int bytes)
{
    static const char units[] = "kmgKMG";
    unsigned shift = 0;
    unsigned __int128 n = 0;
    const char *unit;

    if (bytes && end > text && (unit = strchr(units, end[-1])) != NULL) {
        shift = 10 * (1 + (unsigned) (unit - units) % 3);
        end--;
    }

    if (end == text) {
        return 0;
    }

    for (; text < end; text++) {
        if (*text < '0' || *text > '9') {
            return 0;
        }
        n = n * 10 + (unsigned) (*text - '0');
        n = n <= INT64_MAX ? n : (unsigned __int128) INT64_MAX + 1;
    }

    n <<= shift;

    return n <= INT64_MAX ? (uint64_t) n : 0;
}

static int judge_limit(const char *text, int bytes, nuc_limit_t *limit)
{
    const char *end = strstr(text, "/s");

    *limit = (nuc_limit_t){.rate = 0};

    if (strcmp(text, "none") == 0) {
        return 1;
    }

    /* zeros before it count, too */
    if (end == NULL || end - text >= NUC_AMOUNT_TEXT_MAX) {
        return 0;
    }

    limit->rate = judge_amount(text, end, bytes);
    limit->burst =
        end[2] == ':' ? judge_amount(end + 3, strchr(end, '\0'), bytes) : limit->rate;

    return limit->rate != 0 && limit->burst != 0 && (end[2] == ':' || end[2] == '\0');
}

static void fuzz_limit(const char *text, nuc_unit_t unit)
{
    int valid;
    nuc_err_t err;
    nuc_limit_t got, want, again;
    char written[NUC_LIMIT_TEXT_MAX];

    valid = judge_limit(text, unit == NUC_UNIT_BYTES, &want);
    FUZZ_CHECK(is_taken(nuc_limit_parse(unit, text, &got, &err), &err, text) == valid,
               "\"%s\" as a limit of %s is %s", text, nuc_unit_name(unit),
               valid ? "refused" : "taken");

    if (!valid) {
        return;
    }

    FUZZ_CHECK(got.rate == want.rate && got.burst == want.burst,
               "\"%s\" is another limit", text);
    nuc_limit_text(unit, &got, written);
    FUZZ_CHECK(nuc_limit_parse(unit, written, &again, &err) == NUC_OK &&
                   got.rate == again.rate && got.burst == again.burst,
               "\"%s\" is written as \"%s\"", text, written);
}

static void fuzz_quota(const char *text, nuc_quota_t quota)
{
    int valid;
    uint64_t got = 0, again = 0, want;
    nuc_err_t err;
    char written[NUC_AMOUNT_TEXT_MAX];

    want = judge_amount(text, strchr(text, '\0'), nuc_quota_is_bytes(quota));
    valid = want != 0 || strcmp(text, "none") == 0;
    FUZZ_CHECK(is_taken(nuc_quota_parse(quota, text, &got, &err), &err, text) == valid,
               "\"%s\" as a quota is %s", text, valid ? "refused" : "taken");

    if (!valid) {
        return;
    }

    FUZZ_CHECK(got == want, "\"%s\" is another quota", text);
    nuc_quota_text(quota, got, written);
    FUZZ_CHECK(nuc_quota_parse(quota, written, &again, &err) == NUC_OK && got == again,
               "\"%s\" is written as \"%s\"", text, written);
}

/* The options of a command, each with a line of the input, where it begins with "+". */
static void fuzz_limits(char *text)
{
    static const nuc_ctl_option_t options[] = {
        {.name = "--requests"},    {.name = "--events"},       {.name = "--bytes"},
        {.name = "--queue-bytes"}, {.name = "--events-a-day"}, {.name = "--inflight"},
    };
    int valid = 1, taken;
    char *line, *rest = text;
    size_t i;
    uint64_t quota;
    nuc_ctl_given_t given[6];
    nuc_ctl_t ctl = {.given = given};
    nuc_err_t err;
    nuc_limit_t limit;
    nuc_registry_limits_t limits;

    for (i = 0; i < 6 && (line = strsep(&rest, "\n")) != NULL; i++) {
        if (*line == '+') {
            given[ctl.ngiven++] = (nuc_ctl_given_t){&options[i], line + 1};
        }
    }

    taken = is_taken(nuc_value_limits(&ctl, &limits, &err), &err, "limits");

    for (i = 0; i < ctl.ngiven; i++) {
        size_t option = (size_t) (given[i].option - options);

        if (option < NUC_UNIT_COUNT) {
            valid =
                judge_limit(given[i].value, option == NUC_UNIT_BYTES, &limit) && valid;
            FUZZ_CHECK(!taken || (limits.units >> option & 1 &&
                                  limits.limits[option].rate == limit.rate &&
                                  limits.limits[option].burst == limit.burst),
                       "%s %s", options[option].name, given[i].value);
        } else {
            option -= NUC_UNIT_COUNT;
            quota = judge_amount(given[i].value, strchr(given[i].value, '\0'),
                                 nuc_quota_is_bytes((nuc_quota_t) option));
            valid = (quota != 0 || strcmp(given[i].value, "none") == 0) && valid;
            FUZZ_CHECK(!taken ||
                           (limits.quotas >> option & 1 && limits.quota[option] == quota),
                       "%s %s", given[i].option->name, given[i].value);
        }
    }

    FUZZ_CHECK(taken == valid, "limits are %s", taken ? "taken" : "refused");
    FUZZ_CHECK(!taken || (size_t) __builtin_popcount(limits.units) +
                                 (size_t) __builtin_popcount(limits.quotas) ==
                             ctl.ngiven,
               "a limit that was not given");
}

/* ---- scopes */

static void fuzz_scopes(const char *text)
{
    static const char *const names[] = {"collect", "upload", "exchange", "read", "admin"};
    int valid = 1;
    char *copy = strdup(text), *rest = copy, *word;
    unsigned i, got = 0, want = 0;
    nuc_err_t err;

    while ((word = strsep(&rest, ",")) != NULL) {
        for (i = 0; i < 5 && strcmp(word, names[i]) != 0; i++) {
        }
        valid = valid && i < 5;
        want |= 1U << i;
    }

    FUZZ_CHECK(is_taken(nuc_scopes_parse(text, &got, &err), &err, text) == valid,
               "\"%s\" as scopes is %s", text, valid ? "refused" : "taken");
    FUZZ_CHECK(!valid || got == want, "\"%s\" are other scopes", text);
    free(copy);
}

/* ---- certificates */

static void fuzz_certificate(const char *text)
{
    memfs_t *fs = memfs_create();
    uint8_t digest[32], again[32];
    nuc_err_t err;
    nuc_buf_t more = NUC_BUF_INIT;

    memfs_put(fs, "/pem", text, strlen(text));

    if (is_taken(nuc_value_certificate(memfs_sys(fs), "/pem", digest, &err), &err,
                 "/pem")) {

        /* the first one counts, whatever follows */
        nuc_buf_append(&more, (const uint8_t *) text, strlen(text));
        nuc_buf_str(&more, NUC_STR("\n-----BEGIN CERTIFICATE-----\nno\n"));
        memfs_put(fs, "/pem", more.data, more.len);
        FUZZ_CHECK(nuc_value_certificate(memfs_sys(fs), "/pem", again, &err) == NUC_OK &&
                       memcmp(digest, again, sizeof(digest)) == 0,
                   "what follows a certificate counts");
    }

    nuc_buf_free(&more);
    memfs_destroy(fs);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
    char *text;
    unsigned choice;
    fuzz_input_t in = {data, data + len};

    choice = fuzz_take_below(&in, 13);
    text = take_string(&in);

    switch (choice) {
    case 0:
    case 1:
        fuzz_time(text, choice == 1);
        break;
    case 2:
        fuzz_duration(text);
        break;
    case 3:
        fuzz_network(text);
        break;
    case 4:
    case 5:
    case 6:
        fuzz_limit(text, (nuc_unit_t) (choice - 4));
        break;
    case 7:
    case 8:
    case 9:
        fuzz_quota(text, (nuc_quota_t) (choice - 7));
        break;
    case 10:
        fuzz_limits(text);
        break;
    case 11:
        fuzz_scopes(text);
        break;
    default:
        fuzz_certificate(text);
        break;
    }

    free(text);

    return 0;
}
