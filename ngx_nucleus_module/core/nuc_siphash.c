#include "nuc_siphash.h"

#include "nuc_le.h"

typedef struct {
    uint64_t v0, v1, v2, v3;
} nuc_sip_t;

static inline uint64_t nuc_sip_rotate(uint64_t x, unsigned bits)
{
    return (x << bits) | (x >> (64 - bits));
}

/* By value, so that the state stays in registers. */
static inline nuc_sip_t nuc_sip_rounds(nuc_sip_t s, unsigned count)
{
    for (/* void */; count > 0; count--) {
        s.v0 += s.v1;
        s.v2 += s.v3;
        s.v1 = nuc_sip_rotate(s.v1, 13) ^ s.v0;
        s.v3 = nuc_sip_rotate(s.v3, 16) ^ s.v2;
        s.v0 = nuc_sip_rotate(s.v0, 32);

        s.v2 += s.v1;
        s.v0 += s.v3;
        s.v1 = nuc_sip_rotate(s.v1, 17) ^ s.v2;
        s.v3 = nuc_sip_rotate(s.v3, 21) ^ s.v0;
        s.v2 = nuc_sip_rotate(s.v2, 32);
    }

    return s;
}

/* The last word: what is left of the bytes, and their number. */
static uint64_t nuc_sip_last(const uint8_t *p, size_t left, size_t len)
{
    size_t i;
    uint64_t last = (uint64_t) len << 56;

    for (i = 0; i < left; i++) {
        last |= (uint64_t) p[i] << (8 * i);
    }

    return last;
}

uint64_t nuc_siphash(const uint64_t key[2], const void *data, size_t len)
{
    size_t i;
    uint64_t word;
    const uint8_t *p = data;
    nuc_sip_t s = {
        key[0] ^ 0x736f6d6570736575ULL,
        key[1] ^ 0x646f72616e646f6dULL,
        key[0] ^ 0x6c7967656e657261ULL,
        key[1] ^ 0x7465646279746573ULL,
    };

    for (i = 0; i <= len / 8; i++, p += 8) {
        word = i < len / 8 ? nuc_le64(p) : nuc_sip_last(p, len % 8, len);

        s.v3 ^= word;
        s = nuc_sip_rounds(s, 1);
        s.v0 ^= word;
    }

    s.v2 ^= 0xff;
    s = nuc_sip_rounds(s, 3);

    return s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
}
