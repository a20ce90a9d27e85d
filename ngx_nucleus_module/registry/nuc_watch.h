/*
 * A thread that looks for a new snapshot ten times a second, loads and checks it, and
 * hands it to the event loop: there it costs the exchange of a pointer.
 */

#ifndef NUC_WATCH_H
#define NUC_WATCH_H

#include "nuc_notes.h"
#include "nuc_snapshot.h"
#include "nuc_tenant_bytes.h"

#define NUC_WATCH_KINDS 2 /* of notes */

typedef struct nuc_watch_s nuc_watch_t;

/*
 * "current" is the file in use, or NULL while there is none; it stays the caller's and is
 * not looked at afterwards.  "registry" is whose snapshots are taken; NULL: that of
 * "current", or else of the first that is taken.  "sys" must outlive the watch.
 */
nuc_rc_t nuc_watch_start(const nuc_sys_t *sys, const char *path,
                         const nuc_snapshot_file_t *current, const nuc_uuid_t *registry,
                         nuc_watch_t **watch, nuc_err_t *err);

/* Readable when there is something to poll. */
int nuc_watch_fd(const nuc_watch_t *watch);

/*
 * Call it until it answers NUC_AGAIN.  NUC_OK: *file is a newer snapshot, now the
 * caller's (nuc_snapshot_unload).  All else is a failure, told once for a file, and what
 * is in use stays so: NUC_CORRUPT: damaged; NUC_INVALID: of another version, of another
 * registry, or of an older generation; NUC_NOT_FOUND: there is none any more; NUC_IO,
 * NUC_NOMEM: it will be tried again.
 */
nuc_rc_t nuc_watch_poll(nuc_watch_t *watch, nuc_snapshot_file_t **file, nuc_err_t *err);

/*
 * Is there no snapshot to be had from the file as it is now?  What is in use may be older
 * than what somebody meant to bring in.
 */
int nuc_watch_fails(nuc_watch_t *watch);

/*
 * From now on have the thread look for what tenants have in the queue "dir", too, which
 * outlives the watch, and ask for it to be counted.  Call it as often as you like.
 */
void nuc_watch_tenant_bytes(nuc_watch_t *watch, const char *dir);

/* What was read last, now the caller's to free; NULL: nothing since the last call.  Ask
 * when there is something to poll, before nuc_watch_poll. */
nuc_tenant_bytes_list_t *nuc_watch_take_tenant_bytes(nuc_watch_t *watch);

/*
 * Have the thread write what nuc_notes_merge takes; "items" is from malloc and the
 * watch's from here on, "kind" and "dir" outlive the watch.  There may be NUC_WATCH_KINDS
 * of them.  What is lost (no memory, the disk) is lost.
 */
void nuc_watch_note(nuc_watch_t *watch, const nuc_notes_kind_t *kind, const char *dir,
                    void *items, size_t count);

/*
 * Ends the thread, which first writes what was noted, and frees the watch and
 * what nobody took of it.  NUC_UNKNOWN: the disk did not answer in time; the thread frees
 * both when it does.
 */
nuc_rc_t nuc_watch_stop(nuc_watch_t *watch, unsigned deadline_ms, nuc_err_t *err);

#endif /* NUC_WATCH_H */
