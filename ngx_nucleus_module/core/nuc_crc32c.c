/*
 * Slicing by 8: T<k>(i) is the remainder of the byte i followed by k zero bytes, by the
 * reflected polynomial 0x82f63b78.  Remainders are linear, so an entry is the sum
 * (exclusive or) of those of its bits; the compiler computes the tables from these 64.
 */

#include "nuc_crc32c.h"

#include <string.h>

#include "nuc_le.h"

#define BIT(i, n, remainder) (((i) >> n) % 2 ? remainder : 0)

#define E(i, b0, b1, b2, b3, b4, b5, b6, b7)                                             \
    (BIT(i, 0, b0) ^ BIT(i, 1, b1) ^ BIT(i, 2, b2) ^ BIT(i, 3, b3) ^ BIT(i, 4, b4) ^     \
     BIT(i, 5, b5) ^ BIT(i, 6, b6) ^ BIT(i, 7, b7))

#define T0(i)                                                                            \
    E(i, 0xf26b8303, 0xe13b70f7, 0xc79a971f, 0x8ad958cf, 0x105ec76f, 0x20bd8ede,         \
      0x417b1dbc, 0x82f63b78)
#define T1(i)                                                                            \
    E(i, 0x13a29877, 0x274530ee, 0x4e8a61dc, 0x9d14c3b8, 0x3fc5f181, 0x7f8be302,         \
      0xff17c604, 0xfbc3faf9)
#define T2(i)                                                                            \
    E(i, 0xa541927e, 0x4f6f520d, 0x9edea41a, 0x38513ec5, 0x70a27d8a, 0xe144fb14,         \
      0xc76580d9, 0x8b277743)
#define T3(i)                                                                            \
    E(i, 0xdd45aab8, 0xbf672381, 0x7b2231f3, 0xf64463e6, 0xe964b13d, 0xd725148b,         \
      0xaba65fe7, 0x52a0c93f)
#define T4(i)                                                                            \
    E(i, 0x38116fac, 0x7022df58, 0xe045beb0, 0xc5670b91, 0x8f2261d3, 0x1ba8b557,         \
      0x37516aae, 0x6ea2d55c)
#define T5(i)                                                                            \
    E(i, 0xef306b19, 0xdb8ca0c3, 0xb2f53777, 0x6006181f, 0xc00c303e, 0x85f4168d,         \
      0x0e045beb, 0x1c08b7d6)
#define T6(i)                                                                            \
    E(i, 0x68032cc8, 0xd0065990, 0xa5e0c5d1, 0x4e2dfd53, 0x9c5bfaa6, 0x3d5b83bd,         \
      0x7ab7077a, 0xf56e0ef4)
#define T7(i)                                                                            \
    E(i, 0x493c7d27, 0x9278fa4e, 0x211d826d, 0x423b04da, 0x847609b4, 0x0d006599,         \
      0x1a00cb32, 0x34019664)

#define X4(T, i)  T(i), T((i) + 1), T((i) + 2), T((i) + 3)
#define X16(T, i) X4(T, i), X4(T, (i) + 4), X4(T, (i) + 8), X4(T, (i) + 12)
#define X64(T, i) X16(T, i), X16(T, (i) + 16), X16(T, (i) + 32), X16(T, (i) + 48)
#define X256(T)   X64(T, 0), X64(T, 64), X64(T, 128), X64(T, 192)

static const uint32_t nuc_crc_table[8][256] = {
    {X256(T0)}, {X256(T1)}, {X256(T2)}, {X256(T3)},
    {X256(T4)}, {X256(T5)}, {X256(T6)}, {X256(T7)},
};

uint32_t nuc_crc32c_portable(uint32_t crc, const void *data, size_t len)
{
    uint32_t low, high;
    const uint8_t *p;
    const uint32_t(*t)[256];

    p = data;
    t = nuc_crc_table;
    crc = ~crc;

    for (/* void */; len >= 8; len -= 8, p += 8) {
        low = nuc_le32(p) ^ crc;
        high = nuc_le32(p + 4);

        crc = t[7][low & 0xff] ^ t[6][low >> 8 & 0xff] ^ t[5][low >> 16 & 0xff] ^
              t[4][low >> 24] ^ t[3][high & 0xff] ^ t[2][high >> 8 & 0xff] ^
              t[1][high >> 16 & 0xff] ^ t[0][high >> 24];
    }

    for (/* void */; len != 0; len--, p++) {
        crc = t[0][(crc ^ *p) & 0xff] ^ crc >> 8;
    }

    return ~crc;
}

#if defined(__x86_64__)

__attribute__((target("sse4.2"))) static uint32_t nuc_crc32c_sse42(uint32_t crc,
                                                                   const void *data,
                                                                   size_t len)
{
    uint64_t word, sum;
    const uint8_t *p;

    p = data;
    sum = ~crc;

    for (/* void */; len >= 8; len -= 8, p += 8) {
        memcpy(&word, p, sizeof(word));
        sum = __builtin_ia32_crc32di(sum, word);
    }

    for (/* void */; len != 0; len--, p++) {
        sum = __builtin_ia32_crc32qi((uint32_t) sum, *p);
    }

    return ~(uint32_t) sum;
}

#endif

uint32_t nuc_crc32c(uint32_t crc, const void *data, size_t len)
{
#if defined(__x86_64__)
    if (__builtin_cpu_supports("sse4.2")) {
        return nuc_crc32c_sse42(crc, data, len);
    }
#endif

    return nuc_crc32c_portable(crc, data, len);
}
