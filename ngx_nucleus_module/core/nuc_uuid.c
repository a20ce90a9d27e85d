#include "nuc_uuid.h"

#include <errno.h>
#include <sys/random.h>

#define NUC_UUID_COUNTER_MAX 0xfff
#define NUC_UUID_RANDOM      10 /* random bytes for one: 8 at its end, 2 for the counter */

void nuc_uuid_source_init(nuc_uuid_source_t *source)
{
    memset(source, 0, sizeof(*source));
}

/* Have at least "need" random bytes left; the system is asked for all at once. */
static nuc_rc_t nuc_uuid_refill(nuc_uuid_source_t *source, uint16_t need, nuc_err_t *err)
{
    size_t have;
    ssize_t got;

    if (source->left >= need) {
        return NUC_OK;
    }

    have = 0;

    while (have < sizeof(source->random)) {
        got = getrandom(source->random + have, sizeof(source->random) - have, 0);

        if (got < 0 && errno != EINTR) {
            return nuc_err_sys(err, NUC_IO, errno, "getrandom() failed");
        }

        have += got > 0 ? (size_t) got : 0;
    }

    source->left = sizeof(source->random);

    return NUC_OK;
}

/*
 * Advance time and counter.  A clock that stands or stepped back leaves the time at its
 * last value; a counter that ran out takes the time one ahead of the clock.
 */
static void nuc_uuid_tick(nuc_uuid_source_t *source, uint64_t now_ms, uint16_t start)
{
    if (now_ms > source->last_ms) {
        source->last_ms = now_ms;
        source->counter = start;

    } else if (source->counter < NUC_UUID_COUNTER_MAX) {
        source->counter++;

    } else {
        source->last_ms++;
        source->counter = start;
    }
}

nuc_rc_t nuc_uuid_v7(nuc_uuid_source_t *source, uint64_t now, nuc_uuid_t *uuid,
                     nuc_err_t *err)
{
    int i;
    nuc_rc_t rc;
    uint16_t start;
    const uint8_t *random;

    rc = nuc_uuid_refill(source, NUC_UUID_RANDOM, err);

    if (rc != NUC_OK) {
        return rc;
    }

    source->left -= NUC_UUID_RANDOM;
    random = source->random + source->left;

    /* the highest bit is left clear, so that the counter has room to count */
    start = (uint16_t) ((random[8] << 8 | random[9]) & (NUC_UUID_COUNTER_MAX >> 1));
    nuc_uuid_tick(source, now / 1000, start);

    for (i = 0; i < 6; i++) {
        uuid->b[i] = (uint8_t) (source->last_ms >> (40 - 8 * i));
    }

    uuid->b[6] = (uint8_t) (0x70 | source->counter >> 8);
    uuid->b[7] = (uint8_t) source->counter;

    memcpy(uuid->b + 8, random, 8);
    uuid->b[8] = (uint8_t) (0x80 | (uuid->b[8] & 0x3f));

    return NUC_OK;
}

static int nuc_uuid_dash_before(unsigned byte)
{
    return byte == 4 || byte == 6 || byte == 8 || byte == 10;
}

char *nuc_uuid_format(const nuc_uuid_t *uuid, char *text)
{
    static const char hex[] = "0123456789abcdef";
    unsigned i;

    for (i = 0; i < sizeof(uuid->b); i++) {
        if (nuc_uuid_dash_before(i)) {
            *text++ = '-';
        }

        *text++ = hex[uuid->b[i] >> 4];
        *text++ = hex[uuid->b[i] & 15];
    }

    return text;
}

static int nuc_uuid_hex(uint8_t c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }

    if (c >= 'a' && c <= 'f') {
        return c - 'a' + 10;
    }

    return -1;
}

nuc_rc_t nuc_uuid_parse(nuc_str_t text, nuc_uuid_t *uuid)
{
    unsigned i;
    int high, low;
    const uint8_t *p;

    if (text.len != NUC_UUID_TEXT_LEN) {
        return NUC_INVALID;
    }

    p = text.data;

    for (i = 0; i < sizeof(uuid->b); i++) {
        if (nuc_uuid_dash_before(i) && *p++ != '-') {
            return NUC_INVALID;
        }

        high = nuc_uuid_hex(*p++);
        low = nuc_uuid_hex(*p++);

        if (high < 0 || low < 0) {
            return NUC_INVALID;
        }

        uuid->b[i] = (uint8_t) (high << 4 | low);
    }

    return NUC_OK;
}

int nuc_uuid_cmp(const nuc_uuid_t *a, const nuc_uuid_t *b)
{
    return memcmp(a->b, b->b, sizeof(a->b));
}
