/*
 * What durable files need more than once: directories whose entries are synced, files
 * replaced as a whole.
 */

#ifndef NUC_FS_H
#define NUC_FS_H

#include "nuc_buf.h"
#include "nuc_sys.h"

#define NUC_PATH_MAX 1024 /* bytes with the final zero; longer paths are an error */

/* "a/b" into out[NUC_PATH_MAX]; NUC_TOO_LARGE when it does not fit. */
nuc_rc_t nuc_path_join(char out[NUC_PATH_MAX], const char *a, const char *b,
                       nuc_err_t *err);

/*
 * Unlink dir/name.  For tidying up, where a file that stays costs nothing but its room: a
 * failure is not told.
 */
void nuc_fs_discard(const nuc_sys_t *sys, const char *dir, const char *name);

/*
 * Does a sync below "path" mean anything, or below the nearest directory above it that
 * there is?  NUC_OK: as far as one can know.  NUC_INVALID: no, the file system lives in
 * memory.  NUC_UNKNOWN: it depends, as with network file systems and the layers of
 * containers.  NUC_IO: the question failed.  "err" (not NULL) says why and what to do.
 */
nuc_rc_t nuc_fs_check_durable(const nuc_sys_t *sys, const char *path, nuc_err_t *err);

/* Make the entries of the directory durable. */
nuc_rc_t nuc_fs_sync_dir(const nuc_sys_t *sys, const char *path, const char *site,
                         nuc_err_t *err);

/*
 * Create "path" and what is missing above it.  Every directory of the path is durable
 * when this returns, found or made: the parent of each is synced, under "site".  Costs a
 * sync a level, so call it once for a directory, not once for a write.
 */
nuc_rc_t nuc_fs_make_path(const nuc_sys_t *sys, const char *path, mode_t mode,
                          const char *site, nuc_err_t *err);

/*
 * Who shares a directory shares what is made in it, whatever the umask: where the group
 * may write "dir", it may do the same with "fd", which was made in it and has its group
 * (of a directory with the set-group-ID bit everything has).  What another user made is
 * his to share.
 */
nuc_rc_t nuc_fs_share(const nuc_sys_t *sys, const char *dir, int fd, nuc_err_t *err);

/* The same for the directory "made". */
nuc_rc_t nuc_fs_share_dir(const nuc_sys_t *sys, const char *dir, const char *made,
                          nuc_err_t *err);

/*
 * Replace dir/name by "contents" as a whole: write dir/name.tmp, sync it (under
 * "file_site"), rename, sync the directory (under "dir_site"); shared as by nuc_fs_share.
 * A site of NULL leaves that sync out, for what can be made anew.  After an error the old
 * file or the new is there, never a mixture.
 */
nuc_rc_t nuc_fs_replace(const nuc_sys_t *sys, const char *dir, const char *name,
                        nuc_str_t contents, mode_t mode, const char *file_site,
                        const char *dir_site, nuc_err_t *err);

/* Append the whole file to "out"; NUC_NOT_FOUND, or NUC_TOO_LARGE when over "max" bytes.
 */
nuc_rc_t nuc_fs_read_file(const nuc_sys_t *sys, const char *path, size_t max,
                          nuc_buf_t *out, nuc_err_t *err);

#endif /* NUC_FS_H */
