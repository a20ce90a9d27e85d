/*
 * CRC32C (Castagnoli; RFC 3720, appendix B.4): the check of every frame, index and
 * commit. Uses the processor's instruction where it has one; both ways give the same
 * sums.
 */

#ifndef NUC_CRC32C_H
#define NUC_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* Continue "crc" (0 to begin) over "len" bytes. */
uint32_t nuc_crc32c(uint32_t crc, const void *data, size_t len);

/* The portable way alone, for the test that compares. */
uint32_t nuc_crc32c_portable(uint32_t crc, const void *data, size_t len);

#endif /* NUC_CRC32C_H */
