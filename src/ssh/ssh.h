/* One SSH session to the destination's host, and what goes through it: streams to
 * Unix sockets over there, files by SFTP, commands.
 *
 * Everything waits in the loop it was given, so other connections go on meanwhile;
 * every wait has a deadline. Nothing is installed on the other host and nothing but
 * sshd is needed there.
 */
#ifndef VMFERRY_SSH_SSH_H
#define VMFERRY_SSH_SSH_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "base/file.h"
#include "base/loop.h"
#include "base/process.h"
#include "base/str.h"
#include "base/stream.h"

struct ssh;
struct ssh_keys;

/* What the user asked for; NULL and 0 mean "what ssh(1) would do", which is asked of
 * `ssh -G` (ssh_config(5)). The strings stay the caller's. */
struct ssh_target {
	const char *host; /* name, alias of ssh_config, IPv4 or IPv6 literal without brackets */
	const char *user;
	int port;
	const char *identity;    /* -i FILE: then only this key, of the agent or of the file */
	const char *config;      /* -F FILE */
	const char *known_hosts; /* --known-hosts FILE: then only this file */
	int64_t connect_timeout_ms;
	int64_t answer_timeout_ms; /* for each single request afterwards */
	int64_t silence_ms;        /* a network that is silent for so long ends it; at least 15 s */
	/* Asks the user for a secret, waiting in @loop: 0 with the answer in @secret, which has
	 * room for @size bytes with the NUL; -1 with @err. NULL: nobody is to be asked. */
	int (*ask)(struct loop *loop, const char *prompt, char *secret, size_t size,
		   struct err *err);
	bool sudo; /* a login that is not root becomes it by sudo, which asks nothing */
	/* Keeps the keys that were asked for, so that connecting again needs no asking; NULL: they
	 * are forgotten once logged in. */
	struct ssh_keys *keys;
	/* A line that a ProxyCommand, or the ssh of a ProxyJump, wrote to stderr, "HOST: " before
	 * it; from the loop. NULL: nobody wants to know. */
	void (*said)(void *arg, const char *line);
	void *said_arg;
};

/* Connects, checks the host's key against known_hosts, authenticates (agent, then
 * key files). Always strict: an unknown host key is refused, whatever
 * StrictHostKeyChecking says. NULL with @err, whose text names the host and the way out. */
struct ssh *ssh_open(struct loop *loop, const struct ssh_target *target, struct err *err);

/* For ssh_target; freed after the sessions that use it. NULL is accepted. */
struct ssh_keys *ssh_keys_new(void);
void ssh_keys_free(struct ssh_keys *keys);

/* Says goodbye if that is possible at once, frees. Streams of the session must have
 * been closed before. NULL is accepted. */
void ssh_close(struct ssh *ssh);

/* The numeric address that the session's TCP connection reached (IPv6 without
 * brackets). Valid as long as @ssh. NULL behind a ProxyCommand or ProxyJump: there it is not
 * known. */
const char *ssh_peer_address(const struct ssh *ssh);

/* A stream to a listening Unix socket of the other host: a channel of type
 * direct-streamlocal@openssh.com (OpenSSH's PROTOCOL, 2.4). */
struct stream *ssh_unix_stream(struct ssh *ssh, const char *path, struct err *err);

/* Starts @command, of a POSIX shell, by /bin/sh of the other host, and gives its stdin, stdout
 * and stderr as one stream, as process_stream() does. When the connection ends, so does its
 * input (as soon as sshd notices). */
struct stream *ssh_program(struct ssh *ssh, const char *command, struct err *err);

/* Runs @command, one line of POSIX shell, by /bin/sh of the other host, stdin empty, and
 * waits for its end; what it leaves running in the background is not waited for. 0 when it
 * ran and ended, whatever its status. Each output is cut at PROCESS_OUTPUT_MAX. When
 * @timeout_ms pass or a signal comes, the channel is closed; what still runs over there
 * then is not known. The output is the caller's to deinit, also after an error. */
int ssh_command(struct ssh *ssh, const char *command, int64_t timeout_ms,
		struct process_output *output, struct err *err);

/* Fills @info of what @path names, symbolic links followed. An absent file is not an
 * error (FILE_ABSENT); a directory of the path that is missing is one. */
int ssh_file_info(struct ssh *ssh, const char *path, struct file_info *info, struct err *err);

/* A new, empty file with permission bits @mode, made exclusively: what is there already, be it a
 * symbolic link, is an error and stays as it is. It may be given a size, all holes, and be written
 * from its beginning to its end: ssh_file_write() returns when the server has taken all of @len.
 * ssh_file_give() changes its owner, which only root may: of this file, whatever has its name by
 * then. ssh_file_finish() closes it, which may fail, and frees; the file stays in any case. */
struct ssh_file;

struct ssh_file *ssh_file_open_new(struct ssh *ssh, const char *path, uint32_t mode,
				   struct err *err);
int ssh_file_resize(struct ssh_file *file, uint64_t size_bytes, struct err *err);
int ssh_file_give(struct ssh_file *file, uint32_t uid, uint32_t gid, struct err *err);
int ssh_file_write(struct ssh_file *file, const void *data, size_t len, struct err *err);
int ssh_file_finish(struct ssh_file *file, struct err *err);

/* Removes a file; one that is not there is no error. */
int ssh_file_remove(struct ssh *ssh, const char *path, struct err *err);

/* Renames the file @from, in its file system, to @to, if nothing is there. OpenSSH's sftp-server
 * (process_rename() in sftp-server.c) does it by link(2) and unlink(2), which cannot overwrite
 * anything. But where link(2) fails because the file system has no hard links, it looks and then
 * calls rename(2), which can, what comes in between: so only where hard links are known to work.
 * When the answer is lost (ERR_CLOSED, ERR_TIMEOUT) the file has the one name, or the other, or
 * both. */
int ssh_file_rename(struct ssh *ssh, const char *from, const char *to, struct err *err);

/* Bytes that may be allocated in the file system of directory @path
 * (statvfs@openssh.com). */
int ssh_free_space(struct ssh *ssh, const char *path, uint64_t *bytes, struct err *err);

#endif
