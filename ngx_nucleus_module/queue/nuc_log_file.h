/*
 * The files of the log, byte by byte: names, the head, the segment header, frames. Shared
 * by the writer, which runs inside nginx, and by the reader and the keeper, which run in
 * the worker. README.md says what the fields are for; all integers are little-endian.
 */

#ifndef NUC_LOG_FILE_H
#define NUC_LOG_FILE_H

#include <stdatomic.h>

#include "nuc_err.h"
#include "nuc_fs.h"
#include "nuc_str.h"
#include "nuc_sys.h"
#include "nuc_uuid.h"

#define NUC_LOG_LOCK_NAME "lock"
#define NUC_LOG_HEAD_NAME "head"
/* empty: the log came from another queue, and begins with what is there */
#define NUC_LOG_BEGINS_NAME    "begins"
#define NUC_LOG_NEW_PREFIX     ".new-"
#define NUC_LOG_SEGMENT_SUFFIX ".seg"
#define NUC_LOG_INDEX_SUFFIX   ".idx"
#define NUC_LOG_NAME_MAX       32 /* a file's name in a writer's directory, with its zero */

#define NUC_LOG_DIR_MODE  0750
#define NUC_LOG_FILE_MODE 0640

#define NUC_HEAD_LEN           4096
#define NUC_SEGMENT_HEADER_LEN 64
#define NUC_FRAME_HEADER_LEN   24
#define NUC_FRAME_ALIGN        8
#define NUC_FRAME_PAYLOAD_MAX  (256u << 20) /* bytes */

/* flags of a frame */
#define NUC_FRAME_END_OF_BATCH 1u
#define NUC_FRAME_END_OF_GROUP 2u

/*
 * The head: one mapped page that the writer alone writes.  The fields from "durable" on
 * are what readers obey, each moves only forward; the rest is fixed before the directory
 * gets its name.
 */
typedef struct {
    uint8_t magic[8];
    uint8_t writer[16];
    uint32_t crc; /* of the bytes before it */
    uint32_t reserved;
    _Atomic uint64_t durable; /* the sequence after the last durable record */
    _Atomic uint64_t segment; /* first sequence of the newest segment; 0: none yet */
    _Atomic uint64_t closed;  /* segments that begin before it are finished, and the last
                                 of them  ends there */
} nuc_log_head_t;

typedef struct {
    nuc_uuid_t writer;
    uint64_t first;   /* sequence of its first record */
    uint64_t created; /* µs since 1970 */
    uint64_t
        prev_end; /* the sequence after the last durable record of the segment before */
} nuc_segment_header_t;

typedef struct {
    uint32_t length; /* of the payload */
    uint32_t crc;    /* CRC32C, begun with the segment's salt, over what follows it */
    uint64_t sequence;
    uint32_t group; /* commit group, counted from 1 in each segment */
    uint32_t flags;
} nuc_frame_header_t;

/* "out" has NUC_LOG_NAME_MAX bytes. */
void nuc_segment_name(uint64_t first, const char *suffix, char *out);

/* The path of that file in the writer's directory "dir". */
nuc_rc_t nuc_segment_path(const char *dir, uint64_t first, const char *suffix,
                          char path[NUC_PATH_MAX], nuc_err_t *err);

/* The first sequence from the name of a file with "suffix"; 0 when it is not such a name.
 */
uint64_t nuc_segment_name_parse(const char *name, const char *suffix);

void nuc_head_fill(nuc_log_head_t *head, const nuc_uuid_t *writer);

/*
 * The head in the writer's directory "dir", mapped for reading, so that its fields are
 * read whole; unmap NUC_HEAD_LEN bytes.  NULL when there is none, or a damaged one.
 */
nuc_log_head_t *nuc_head_map(const nuc_sys_t *sys, const char *dir,
                             const nuc_uuid_t *writer);

void nuc_segment_header_encode(const nuc_segment_header_t *header,
                               uint8_t out[NUC_SEGMENT_HEADER_LEN]);

/* NUC_CORRUPT unless it is the header of that writer's segment "first", which the one
 * before ends at or before. */
nuc_rc_t nuc_segment_header_decode(const uint8_t in[NUC_SEGMENT_HEADER_LEN],
                                   const nuc_uuid_t *writer, uint64_t first,
                                   nuc_segment_header_t *header);

/*
 * Where each frame's CRC begins.  It keeps frames of another segment, left in a reused
 * block or sent by a client as an event's bytes, from passing for frames of this one.
 */
uint32_t nuc_segment_salt(const nuc_uuid_t *writer, uint64_t first);

/* Bytes that a payload of "length" takes with its header and padding. */
size_t nuc_frame_size(size_t length);

/* Length and flags, at submission; the rest comes with nuc_frame_seal. */
void nuc_frame_begin(uint8_t *frame, uint32_t length, uint32_t flags);
uint32_t nuc_frame_length(const uint8_t *frame);
void nuc_frame_add_flags(uint8_t *frame, uint32_t flags);

/* The fields as they stand, unchecked; needs NUC_FRAME_HEADER_LEN bytes. */
void nuc_frame_header_decode(const uint8_t *frame, nuc_frame_header_t *header);

/* Sequence, group and CRC of a frame whose payload is in place. */
void nuc_frame_seal(uint8_t *frame, uint64_t sequence, uint32_t group, uint32_t salt);

/*
 * Is there a whole, valid frame in these "len" bytes?  NUC_OK fills "header";
 * NUC_NOT_FOUND: eight zero bytes, where no frame was written; NUC_AGAIN: it may be one,
 * *need bytes would tell; NUC_CORRUPT.
 */
nuc_rc_t nuc_frame_check(const uint8_t *frame, size_t len, uint32_t salt,
                         nuc_frame_header_t *header, size_t *need);

#endif /* NUC_LOG_FILE_H */
