/* What the rows of the table in steps.c do; each lives in the file of its idea. */
#ifndef VMFERRY_MIGRATE_STEP_FUNCTIONS_H
#define VMFERRY_MIGRATE_STEP_FUNCTIONS_H

#include "migrate/migration.h"

#define STEP_FUNCTION(name) int name(struct migration *m, int64_t timeout_ms, struct err *err)

STEP_FUNCTION(step_look);

/* files.c */
STEP_FUNCTION(step_create);
STEP_FUNCTION(undo_create);

/* files.c: the name under which the file of @disk is made over there. The caller's to free. */
char *file_temporary_path(const struct migration *m, const struct disk *disk);

/* files.c: sees that the destination's host can be asked; the connection may be what failed, so
 * it is made anew if needed. */
int ensure_host(struct migration *m, struct err *err);

/* files.c: which file @path is over there; *@birth 0: not known. */
int file_identity(struct migration *m, const char *path, uint64_t *inode, uint64_t *birth,
		  struct err *err);

/* clone.c */
STEP_FUNCTION(step_guard);
STEP_FUNCTION(undo_guard);
STEP_FUNCTION(step_clone);

/* extra.c */
STEP_FUNCTION(step_extra);

/* start.c */
STEP_FUNCTION(step_start);
STEP_FUNCTION(undo_start);
STEP_FUNCTION(step_accept);

/* capabilities.c */
STEP_FUNCTION(step_hold);
STEP_FUNCTION(undo_hold);
STEP_FUNCTION(step_settings);
STEP_FUNCTION(undo_settings);

/* By hand: whether release has taken back already what hold had set, by the cookie, in the
 * destination's QEMU: a finish has run the guest before, and who has paused it since is not
 * us. */
int hold_was_released(struct migration *m, bool *released, struct err *err);

/* keys.c */
STEP_FUNCTION(step_keys);
STEP_FUNCTION(undo_keys);

/* probe.c */
STEP_FUNCTION(step_probe);

/* tunnel.c */
STEP_FUNCTION(step_tunnel);
STEP_FUNCTION(undo_tunnel);

/* nbd.c */
STEP_FUNCTION(step_serve);
STEP_FUNCTION(undo_serve);
STEP_FUNCTION(step_unserve);
STEP_FUNCTION(step_grow);
STEP_FUNCTION(step_export);
STEP_FUNCTION(step_target);
STEP_FUNCTION(undo_target);

/* mirror.c */
STEP_FUNCTION(step_mirror);
STEP_FUNCTION(undo_mirror);
STEP_FUNCTION(step_copy);
STEP_FUNCTION(step_sync);
STEP_FUNCTION(step_detach);

/* retry.c */
STEP_FUNCTION(step_rejoin);

/* ram.c */
STEP_FUNCTION(step_listen);
STEP_FUNCTION(step_stop);
STEP_FUNCTION(undo_stop);
STEP_FUNCTION(step_ram);
STEP_FUNCTION(undo_ram);
STEP_FUNCTION(step_switchover);

/* ram.c: ends the migration if it has not ended, with the guest on the source again. */
STEP_FUNCTION(ram_take_back);

/* finish.c */
STEP_FUNCTION(step_free);
STEP_FUNCTION(step_run);
STEP_FUNCTION(step_release);
STEP_FUNCTION(step_tidy);
STEP_FUNCTION(step_end);

/* engine.c: lets @undo take something back of each disk, of all of them even when one fails.
 * -1 with the last error when any did; the others' are in m->left_behind. */
int undo_each_disk(struct migration *m,
		   int (*undo)(struct migration *m, struct disk *disk, int64_t timeout_ms,
			       struct err *err),
		   int64_t timeout_ms, struct err *err);

/* ram.c: closes our copy of RAM's connection; QEMU's own stays. */
void disconnect_ram(struct migration *m);

/* start.c: waits until something listens where the destination's monitor is to be, or @ended,
 * which may be NULL, tells that nobody will; that is the caller's to explain. */
int await_monitor(struct migration *m, int64_t until_ms, bool (*ended)(void *arg), void *arg,
		  struct err *err);

/* presence.c: as side_open_dst(), but with ERR_REFUSED its QEMU has ended, surely: nobody listens
 * there. */
int open_or_see_it_gone(struct migration *m, struct err *err);

/* presence.c: for an undo. 0 with m->dst.qmp connected, or with m->dst_quit set since that
 * QEMU is gone; -1 when neither can be known. */
int reach_destination(struct migration *m, struct err *err);

/* Closes the connection, so that the next one to reach it makes a new one. */
void drop_destination(struct migration *m);

/* presence.c: *@rebooted: its host was, since the move began (boot_id of proc(5)). */
int destination_was_rebooted(struct migration *m, bool *rebooted, struct err *err);

/* Lets @act take something back on the destination's QEMU; nothing to do when that QEMU is
 * gone, or goes meanwhile: one whose incoming migration fails ends by itself. */
int undo_on_destination(struct migration *m, int (*act)(struct migration *m, struct err *err),
			struct err *err);

/* Ends the destination's QEMU and sees it gone. Nothing to do when it is gone already;
 * an error when that cannot be known. */
int end_destination(struct migration *m, int64_t timeout_ms, struct err *err);

#endif
