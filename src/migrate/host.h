/* A host as the destination needs it: streams to its Unix sockets, its files, its
 * commands. This host (host_local.c), or one reached by SSH (host_ssh.c); who uses it
 * does not learn which.
 */
#ifndef VMFERRY_MIGRATE_HOST_H
#define VMFERRY_MIGRATE_HOST_H

#include <stdint.h>

#include "base/err.h"
#include "base/file.h"
#include "base/loop.h"
#include "base/process.h"
#include "base/stream.h"
#include "ssh/forward.h"
#include "ssh/ssh.h"

struct host;
struct host_file; /* the kind of host knows what it is */

struct host_ops {
	int (*reopen)(struct host *host, struct err *err);
	const char *(*address)(const struct host *host);
	struct stream *(*unix_stream)(struct host *host, const char *path, struct err *err);
	int (*file_info)(struct host *host, const char *path, struct file_info *info,
			 struct err *err);
	int (*file_rename)(struct host *host, const char *from, const char *to, struct err *err);
	struct host_file *(*file_open_new)(struct host *host, const char *path, uint32_t mode,
					   struct err *err);
	int (*file_resize)(struct host_file *file, uint64_t size_bytes, struct err *err);
	int (*file_give)(struct host_file *file, uint32_t uid, uint32_t gid, struct err *err);
	int (*file_write)(struct host_file *file, const void *data, size_t len, struct err *err);
	int (*file_finish)(struct host_file *file, struct err *err);
	int (*file_remove)(struct host *host, const char *path, struct err *err);
	int (*free_space)(struct host *host, const char *path, uint64_t *bytes, struct err *err);
	int (*command)(struct host *host, const char *command, int64_t timeout_ms,
		       struct process_output *output, struct err *err);
	struct stream *(*program)(struct host *host, const char *command, struct err *err);
	struct ssh_forward *(*forward)(struct host *host, const char *directory,
				       const struct ssh_forwarded *sockets, size_t count,
				       struct err *err); /* NULL: nothing goes through SSH */
	const char *(*forward_login)(const struct host *host);
	void (*close)(struct host *host);
};

/* The first member of both kinds. */
struct host {
	const struct host_ops *ops;
	const char *name;  /* for words */
	bool rename_links; /* file_rename is safe only where the file system has hard links */
};

struct host *host_local(struct loop *loop, int64_t answer_timeout_ms);

/* @target and its strings must live as long as the host. */
struct host *host_ssh(struct loop *loop, const struct ssh_target *target, struct err *err);

/* NULL is accepted. */
static inline void host_close(struct host *host)
{
	if (host)
		host->ops->close(host);
}

/* Connects again; streams of the old session must have been closed. */
static inline int host_reopen(struct host *host, struct err *err)
{
	return host->ops->reopen(host, err);
}

/* The numeric address at which we reach it. */
static inline const char *host_address(const struct host *host)
{
	return host->ops->address(host);
}

static inline struct stream *host_unix_stream(struct host *host, const char *path, struct err *err)
{
	return host->ops->unix_stream(host, path, err);
}

/* As the functions of the same name in ssh/ssh.h. */
static inline int host_file_info(struct host *host, const char *path, struct file_info *info,
				 struct err *err)
{
	return host->ops->file_info(host, path, info, err);
}

static inline int host_file_rename(struct host *host, const char *from, const char *to,
				   struct err *err)
{
	return host->ops->file_rename(host, from, to, err);
}

static inline struct host_file *host_file_open_new(struct host *host, const char *path,
						   uint32_t mode, struct err *err)
{
	return host->ops->file_open_new(host, path, mode, err);
}

static inline int host_file_resize(struct host *host, struct host_file *file, uint64_t size_bytes,
				   struct err *err)
{
	return host->ops->file_resize(file, size_bytes, err);
}

static inline int host_file_give(struct host *host, struct host_file *file, uint32_t uid,
				 uint32_t gid, struct err *err)
{
	return host->ops->file_give(file, uid, gid, err);
}

static inline int host_file_write(struct host *host, struct host_file *file, const void *data,
				  size_t len, struct err *err)
{
	return host->ops->file_write(file, data, len, err);
}

static inline int host_file_finish(struct host *host, struct host_file *file, struct err *err)
{
	return host->ops->file_finish(file, err);
}

static inline int host_file_remove(struct host *host, const char *path, struct err *err)
{
	return host->ops->file_remove(host, path, err);
}

static inline int host_free_space(struct host *host, const char *path, uint64_t *bytes,
				  struct err *err)
{
	return host->ops->free_space(host, path, bytes, err);
}

/* Runs @command by a shell of that host. 0 when it ended, whatever its status. */
static inline int host_command(struct host *host, const char *command, int64_t timeout_ms,
			       struct process_output *output, struct err *err)
{
	return host->ops->command(host, command, timeout_ms, output, err);
}

/* As process_stream() and ssh_program(). */
static inline struct stream *host_program(struct host *host, const char *command, struct err *err)
{
	return host->ops->program(host, command, err);
}

/* As ssh_forward_start(), for a host that is reached by SSH. */
static inline struct ssh_forward *host_forward(struct host *host, const char *directory,
					       const struct ssh_forwarded *sockets, size_t count,
					       struct err *err)
{
	return host->ops->forward(host, directory, sockets, count, err);
}

/* As ssh_forward_login(). */
static inline const char *host_forward_login(const struct host *host)
{
	return host->ops->forward_login(host);
}

/* As host_command, and a status other than 0 is an error with the command's last line of
 * stderr: "hostb: qemu-img: ...". */
int host_command_ok(struct host *host, const char *command, int64_t timeout_ms,
		    struct process_output *output, struct err *err);

/* The working directory of the program that listens on the Unix socket @path of that host; the
 * caller's to free. NULL when it cannot be seen, as by a login that is not that program's. */
char *host_listener_cwd(struct host *host, const char *path, int64_t timeout_ms, struct err *err);

/* Whether somebody on that host listens on the Unix socket @path (net/unix of proc(5)), whether he
 * has bound it by this name or by another, and in whichever network namespace, as long as @path is
 * the same file there. True also when that cannot be told, where the last name is the same. False
 * when it is in a namespace of its own, and its process may not be seen by the login. */
int host_listens(struct host *host, const char *path, int64_t timeout_ms, bool *listens,
		 struct err *err);

/* Which file @path is on that host, by stat(1) and its boot id. */
int host_file_id(struct host *host, const char *path, struct file_id *id, int64_t timeout_ms,
		 struct err *err);

/* Words that are others when @path of that host was written to since, or is another file: its
 * identity, size and time of modification (stat(1)), of a block device its number alone. The
 * caller's to free; NULL with @err set. */
char *host_file_state(struct host *host, const char *path, int64_t timeout_ms, struct err *err);

/* fsync(2) of the file @path, by sync(1). One that takes no file (coreutils before 8.24) syncs all.
 */
int host_file_sync(struct host *host, const char *path, int64_t timeout_ms, struct err *err);

#endif
