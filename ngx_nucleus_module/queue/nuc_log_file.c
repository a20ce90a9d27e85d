#include "nuc_log_file.h"

#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nuc_crc32c.h"
#include "nuc_le.h"

#define NUC_SEGMENT_DIGITS 20

static const uint8_t nuc_head_magic[8] = "NUCHEAD";
static const uint8_t nuc_segment_magic[8] = "NUCLOG1";

_Static_assert(offsetof(nuc_log_head_t, durable) == 32, "layout of the head");
_Static_assert(offsetof(nuc_log_head_t, segment) == 40, "layout of the head");
_Static_assert(offsetof(nuc_log_head_t, closed) == 48, "layout of the head");

void nuc_segment_name(uint64_t first, const char *suffix, char *out)
{
    snprintf(out, NUC_LOG_NAME_MAX, "%020llu%s", (unsigned long long) first, suffix);
}

nuc_rc_t nuc_segment_path(const char *dir, uint64_t first, const char *suffix,
                          char path[NUC_PATH_MAX], nuc_err_t *err)
{
    char name[NUC_LOG_NAME_MAX];

    nuc_segment_name(first, suffix, name);

    return nuc_path_join(path, dir, name, err);
}

uint64_t nuc_segment_name_parse(const char *name, const char *suffix)
{
    size_t i;
    uint64_t first = 0;

    if (strlen(name) != NUC_SEGMENT_DIGITS + strlen(suffix) ||
        strcmp(name + NUC_SEGMENT_DIGITS, suffix) != 0) {
        return 0;
    }

    for (i = 0; i < NUC_SEGMENT_DIGITS; i++) {
        if (name[i] < '0' || name[i] > '9' || __builtin_mul_overflow(first, 10, &first) ||
            __builtin_add_overflow(first, (uint64_t) (name[i] - '0'), &first)) {
            return 0;
        }
    }

    return first;
}

static uint32_t nuc_head_crc(const nuc_log_head_t *head)
{
    return nuc_crc32c(0, head, offsetof(nuc_log_head_t, crc));
}

void nuc_head_fill(nuc_log_head_t *head, const nuc_uuid_t *writer)
{
    memcpy(head->magic, nuc_head_magic, sizeof(head->magic));
    memcpy(head->writer, writer->b, sizeof(head->writer));
    head->crc = htole32(nuc_head_crc(head));
    head->reserved = 0;
    atomic_store(&head->durable, htole64(1));
    atomic_store(&head->segment, 0);
    atomic_store(&head->closed, 0);
}

static int nuc_head_valid(const nuc_log_head_t *head, const nuc_uuid_t *writer)
{
    return memcmp(head->magic, nuc_head_magic, sizeof(head->magic)) == 0 &&
           memcmp(head->writer, writer->b, sizeof(head->writer)) == 0 &&
           le32toh(head->crc) == nuc_head_crc(head);
}

nuc_log_head_t *nuc_head_map(const nuc_sys_t *sys, const char *dir,
                             const nuc_uuid_t *writer)
{
    int fd;
    char path[NUC_PATH_MAX];
    struct stat st;
    nuc_log_head_t *head = NULL;

    if (nuc_path_join(path, dir, NUC_LOG_HEAD_NAME, NULL) != NUC_OK) {
        return NULL;
    }

    fd = sys->open(sys, path, O_RDONLY, 0);
    if (fd == -1) {
        return NULL;
    }

    /* a shorter file could not be looked at without a SIGBUS */
    if (sys->fstat(sys, fd, &st) == 0 && st.st_size >= NUC_HEAD_LEN) {
        head = sys->map(sys, fd, NUC_HEAD_LEN, 0);
    }

    sys->close(sys, fd);

    if (head != NULL && !nuc_head_valid(head, writer)) {
        sys->unmap(sys, head, NUC_HEAD_LEN);
        head = NULL;
    }

    return head;
}

void nuc_segment_header_encode(const nuc_segment_header_t *header,
                               uint8_t out[NUC_SEGMENT_HEADER_LEN])
{
    memset(out, 0, NUC_SEGMENT_HEADER_LEN);
    memcpy(out, nuc_segment_magic, 8);
    memcpy(out + 8, header->writer.b, 16);
    nuc_le64_put(out + 24, header->first);
    nuc_le64_put(out + 32, header->created);
    nuc_le64_put(out + 40, header->prev_end);
    nuc_le32_put(out + 60, nuc_crc32c(0, out, 60));
}

nuc_rc_t nuc_segment_header_decode(const uint8_t in[NUC_SEGMENT_HEADER_LEN],
                                   const nuc_uuid_t *writer, uint64_t first,
                                   nuc_segment_header_t *header)
{
    if (memcmp(in, nuc_segment_magic, 8) != 0 || memcmp(in + 8, writer->b, 16) != 0 ||
        nuc_le64(in + 24) != first || nuc_le64(in + 40) > first ||
        nuc_le32(in + 60) != nuc_crc32c(0, in, 60)) {
        return NUC_CORRUPT;
    }

    header->writer = *writer;
    header->first = first;
    header->created = nuc_le64(in + 32);
    header->prev_end = nuc_le64(in + 40);

    return NUC_OK;
}

uint32_t nuc_segment_salt(const nuc_uuid_t *writer, uint64_t first)
{
    uint8_t name[24];

    memcpy(name, writer->b, 16);
    nuc_le64_put(name + 16, first);

    return nuc_crc32c(0, name, sizeof(name));
}

size_t nuc_frame_size(size_t length)
{
    return (NUC_FRAME_HEADER_LEN + length + NUC_FRAME_ALIGN - 1) &
           ~(size_t) (NUC_FRAME_ALIGN - 1);
}

void nuc_frame_begin(uint8_t *frame, uint32_t length, uint32_t flags)
{
    nuc_le32_put(frame, length);
    nuc_le32_put(frame + 20, flags);
}

uint32_t nuc_frame_length(const uint8_t *frame)
{
    return nuc_le32(frame);
}

void nuc_frame_add_flags(uint8_t *frame, uint32_t flags)
{
    nuc_le32_put(frame + 20, nuc_le32(frame + 20) | flags);
}

/* The length is under the CRC too: it is put in front of what follows the CRC. */
static uint32_t nuc_frame_crc(const uint8_t *frame, size_t length, uint32_t salt)
{
    uint32_t crc;

    crc = nuc_crc32c(salt, frame, 4);

    return nuc_crc32c(crc, frame + 8, NUC_FRAME_HEADER_LEN - 8 + length);
}

void nuc_frame_seal(uint8_t *frame, uint64_t sequence, uint32_t group, uint32_t salt)
{
    nuc_le64_put(frame + 8, sequence);
    nuc_le32_put(frame + 16, group);
    nuc_le32_put(frame + 4, nuc_frame_crc(frame, nuc_frame_length(frame), salt));
}

void nuc_frame_header_decode(const uint8_t *frame, nuc_frame_header_t *header)
{
    header->length = nuc_le32(frame);
    header->crc = nuc_le32(frame + 4);
    header->sequence = nuc_le64(frame + 8);
    header->group = nuc_le32(frame + 16);
    header->flags = nuc_le32(frame + 20);
}

nuc_rc_t nuc_frame_check(const uint8_t *frame, size_t len, uint32_t salt,
                         nuc_frame_header_t *header, size_t *need)
{
    if (len < NUC_FRAME_HEADER_LEN) {
        *need = NUC_FRAME_HEADER_LEN;
        return NUC_AGAIN;
    }

    nuc_frame_header_decode(frame, header);

    if (header->length == 0) {
        return nuc_le64(frame) == 0 ? NUC_NOT_FOUND : NUC_CORRUPT;
    }

    if (header->length > NUC_FRAME_PAYLOAD_MAX || header->sequence == 0) {
        return NUC_CORRUPT;
    }

    *need = nuc_frame_size(header->length);

    if (len < *need) {
        return NUC_AGAIN;
    }

    if (nuc_frame_crc(frame, header->length, salt) != header->crc) {
        return NUC_CORRUPT;
    }

    return NUC_OK;
}
