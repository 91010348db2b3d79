#include <stdlib.h>

#include "base/str.h"
#include "migrate/host.h"

struct ssh_host {
	struct host host;
	struct loop *loop;
	struct ssh_target target;
	struct ssh *ssh; /* NULL after a reopen that failed */
};

static struct ssh *session(struct host *host, struct err *err)
{
	struct ssh_host *h = (struct ssh_host *)host;

	if (!h->ssh)
		err_set(err, ERR_CLOSED, "%s: there is no SSH connection", host->name);
	return h->ssh;
}

static int remote_reopen(struct host *host, struct err *err)
{
	struct ssh_host *h = (struct ssh_host *)host;

	ssh_close(h->ssh);
	h->ssh = ssh_open(h->loop, &h->target, err);
	h->target.ask = NULL; /* not again, in the middle of a move */
	return h->ssh ? 0 : -1;
}

static const char *remote_address(const struct host *host)
{
	const struct ssh_host *h = (const struct ssh_host *)host;

	return h->ssh ? ssh_peer_address(h->ssh) : NULL;
}

static struct stream *remote_unix_stream(struct host *host, const char *path, struct err *err)
{
	struct ssh *ssh = session(host, err);

	return ssh ? ssh_unix_stream(ssh, path, err) : NULL;
}

static int remote_file_info(struct host *host, const char *path, struct file_info *info,
			    struct err *err)
{
	struct ssh *ssh = session(host, err);

	return ssh ? ssh_file_info(ssh, path, info, err) : -1;
}

static int remote_file_rename(struct host *host, const char *from, const char *to, struct err *err)
{
	struct ssh *ssh = session(host, err);

	return ssh ? ssh_file_rename(ssh, from, to, err) : -1;
}

/* A host_file of this kind is an ssh_file. */
static struct host_file *remote_file_open_new(struct host *host, const char *path, uint32_t mode,
					      struct err *err)
{
	struct ssh *ssh = session(host, err);

	return ssh ? (struct host_file *)ssh_file_open_new(ssh, path, mode, err) : NULL;
}

static int remote_file_resize(struct host_file *file, uint64_t size_bytes, struct err *err)
{
	return ssh_file_resize((struct ssh_file *)file, size_bytes, err);
}

static int remote_file_give(struct host_file *file, uint32_t uid, uint32_t gid, struct err *err)
{
	return ssh_file_give((struct ssh_file *)file, uid, gid, err);
}

static int remote_file_write(struct host_file *file, const void *data, size_t len, struct err *err)
{
	return ssh_file_write((struct ssh_file *)file, data, len, err);
}

static int remote_file_finish(struct host_file *file, struct err *err)
{
	return ssh_file_finish((struct ssh_file *)file, err);
}

static int remote_file_remove(struct host *host, const char *path, struct err *err)
{
	struct ssh *ssh = session(host, err);

	return ssh ? ssh_file_remove(ssh, path, err) : -1;
}

static int remote_free_space(struct host *host, const char *path, uint64_t *bytes, struct err *err)
{
	struct ssh *ssh = session(host, err);

	return ssh ? ssh_free_space(ssh, path, bytes, err) : -1;
}

static int remote_command(struct host *host, const char *command, int64_t timeout_ms,
			  struct process_output *output, struct err *err)
{
	struct ssh *ssh = session(host, err);

	*output = (struct process_output){0};
	return ssh ? ssh_command(ssh, command, timeout_ms, output, err) : -1;
}

static struct stream *remote_program(struct host *host, const char *command, struct err *err)
{
	struct ssh *ssh = session(host, err);

	return ssh ? ssh_program(ssh, command, err) : NULL;
}

static struct ssh_forward *remote_forward(struct host *host, const char *directory,
					  const struct ssh_forwarded *sockets, size_t count,
					  struct err *err)
{
	struct ssh_host *h = (struct ssh_host *)host;
	struct ssh *ssh = session(host, err);

	return ssh ? ssh_forward_start(ssh, &h->target, directory, sockets, count, err) : NULL;
}

static const char *remote_forward_login(const struct host *host)
{
	const struct ssh_host *h = (const struct ssh_host *)host;

	return h->ssh ? ssh_forward_login(h->ssh) : NULL;
}

static void remote_close(struct host *host)
{
	struct ssh_host *h = (struct ssh_host *)host;

	ssh_close(h->ssh);
	ssh_keys_free(h->target.keys);
	free(h);
}

static const struct host_ops remote_ops = {
	.reopen = remote_reopen,
	.address = remote_address,
	.unix_stream = remote_unix_stream,
	.file_info = remote_file_info,
	.file_rename = remote_file_rename,
	.file_open_new = remote_file_open_new,
	.file_resize = remote_file_resize,
	.file_give = remote_file_give,
	.file_write = remote_file_write,
	.file_finish = remote_file_finish,
	.file_remove = remote_file_remove,
	.free_space = remote_free_space,
	.command = remote_command,
	.program = remote_program,
	.forward = remote_forward,
	.forward_login = remote_forward_login,
	.close = remote_close,
};

struct host *host_ssh(struct loop *loop, const struct ssh_target *target, struct err *err)
{
	struct ssh_host *h = mem_zalloc(1, sizeof(*h));

	h->host.ops = &remote_ops;
	h->host.name = target->host;
	h->host.rename_links = true;
	h->loop = loop;
	h->target = *target;
	h->target.keys = ssh_keys_new();
	if (remote_reopen(&h->host, err) < 0) {
		remote_close(&h->host);
		return NULL;
	}
	return &h->host;
}
