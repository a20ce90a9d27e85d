#include "nuc_siphash.h"

#include "nuc_le.h"

typedef struct {
    uint64_t v[4];
} nuc_sip_t;

static uint64_t nuc_sip_rotate(uint64_t x, unsigned bits)
{
    return (x << bits) | (x >> (64 - bits));
}

static void nuc_sip_rounds(nuc_sip_t *s, unsigned count)
{
    uint64_t *v = s->v;

    for (/* void */; count > 0; count--) {
        v[0] += v[1];
        v[2] += v[3];
        v[1] = nuc_sip_rotate(v[1], 13) ^ v[0];
        v[3] = nuc_sip_rotate(v[3], 16) ^ v[2];
        v[0] = nuc_sip_rotate(v[0], 32);

        v[2] += v[1];
        v[0] += v[3];
        v[1] = nuc_sip_rotate(v[1], 17) ^ v[2];
        v[3] = nuc_sip_rotate(v[3], 21) ^ v[0];
        v[2] = nuc_sip_rotate(v[2], 32);
    }
}

static void nuc_sip_word(nuc_sip_t *s, uint64_t word)
{
    s->v[3] ^= word;
    nuc_sip_rounds(s, 2);
    s->v[0] ^= word;
}

uint64_t nuc_siphash(const uint64_t key[2], const void *data, size_t len)
{
    size_t i;
    uint64_t last = (uint64_t) len << 56;
    const uint8_t *p = data;
    nuc_sip_t s = {{
        key[0] ^ 0x736f6d6570736575ULL,
        key[1] ^ 0x646f72616e646f6dULL,
        key[0] ^ 0x6c7967656e657261ULL,
        key[1] ^ 0x7465646279746573ULL,
    }};

    for (i = 0; i + 8 <= len; i += 8) {
        nuc_sip_word(&s, nuc_le64(p + i));
    }

    for (/* void */; i < len; i++) {
        last |= (uint64_t) p[i] << (8 * (i % 8));
    }

    nuc_sip_word(&s, last);
    s.v[2] ^= 0xff;
    nuc_sip_rounds(&s, 4);

    return s.v[0] ^ s.v[1] ^ s.v[2] ^ s.v[3];
}
