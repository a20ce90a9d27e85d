/*
 * The index of a sealed segment: where it ends, how many records it holds and how many
 * were lost to damage, each rid with its offset, and counts per tenant.  It can be made
 * anew from the segment at any time, so it is never synced; a damaged one counts as none.
 *
 *     0   8    magic
 *     8   16   writer
 *    24   u64  first sequence
 *    32   u64  end: the sequence after the last
 *    40   u64  length of the segment in bytes
 *    48   u64  records
 *    56   u64  sequences lost to damage
 *    64   u64  length of the body
 *    72   u32  tenants in the body
 *    76   u32  CRC32C of the body
 *   124   u32  CRC32C of the bytes before it
 *   128        body: { rid, u64 offset } per record, by rid;
 *              { u32 length of the name, u64 records, u64 bytes of data, name } per
 * tenant
 */

#ifndef NUC_LOG_INDEX_H
#define NUC_LOG_INDEX_H

#include "nuc_log_file.h"
#include "nuc_record.h"

typedef struct {
    uint64_t first;
    uint64_t end;
    uint64_t length; /* of the segment, in bytes */
    uint64_t records;
    uint64_t lost;
} nuc_index_summary_t;

typedef struct nuc_index_builder_s nuc_index_builder_t;

nuc_index_builder_t *nuc_index_builder_create(void);
void nuc_index_builder_free(nuc_index_builder_t *builder);
nuc_rc_t nuc_index_builder_add(nuc_index_builder_t *builder, const nuc_record_t *record,
                               uint64_t offset, nuc_err_t *err);

nuc_rc_t nuc_index_builder_write(nuc_index_builder_t *builder, const nuc_sys_t *sys,
                                 const char *dir, const nuc_uuid_t *writer,
                                 const nuc_index_summary_t *summary, nuc_err_t *err);

/* The summary alone.  NUC_NOT_FOUND when there is no index, or a damaged one. */
nuc_rc_t nuc_index_summary(const nuc_sys_t *sys, const char *dir,
                           const nuc_uuid_t *writer, uint64_t first,
                           nuc_index_summary_t *summary, nuc_err_t *err);

/*
 * The offset of "rid" in its segment.  NUC_NOT_FOUND: the record is not in it;
 * NUC_CORRUPT: there is no whole index to tell.
 */
nuc_rc_t nuc_index_find(const nuc_sys_t *sys, const char *dir, const nuc_uuid_t *writer,
                        uint64_t first, const uint8_t rid[NUC_RID_LEN], uint64_t *offset,
                        nuc_err_t *err);

#endif /* NUC_LOG_INDEX_H */
