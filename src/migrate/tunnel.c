#include "migrate/tunnel.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/str.h"
#include "migrate/key_directory.h"
#include "migrate/keys.h"
#include "migrate/nbd.h"
#include "migrate/source_process.h"
#include "migrate/step_functions.h"

/* Their names in both directories. */
#define NBD KEY_DIRECTORY_NBD
#define RAM KEY_DIRECTORY_RAM

bool tunnel_is_used(const struct migration *m)
{
	return keys_method(m) == ENCRYPT_SSH;
}

static char *path_of(const char *directory, const char *name)
{
	return str_printf("%s/%s", directory, name);
}

/* --- the session --- */

static int open_session(struct migration *m, struct err *err)
{
	const char *here = m->keys.src_directory, *there = m->keys.dst_directory;
	_autofree_ char *nbd_here = path_of(here, NBD), *nbd_there = path_of(there, NBD);
	_autofree_ char *ram_here = path_of(here, RAM), *ram_there = path_of(there, RAM);
	const struct ssh_forwarded sockets[] = {{nbd_here, nbd_there}, {ram_here, ram_there}};

	m->forward = host_forward(m->host, here, sockets, 2, err);
	return m->forward ? 0 : -1;
}

int step_tunnel(struct migration *m, int64_t timeout_ms, struct err *err)
{
	struct key_place src = {0}, dst = {0};
	int ret = keys_choose_places(m, true, &src, &dst, timeout_ms, err);

	if (ret == 0)
		ret = key_directory_make_empty(m->here, &src, timeout_ms, err);
	if (ret == 0)
		ret = key_directory_make_empty(m->host, &dst, timeout_ms, err);
	if (ret == 0)
		ret = open_session(m, err);
	keys_place_deinit(&src);
	keys_place_deinit(&dst);
	return ret;
}

void tunnel_hang_up(struct migration *m)
{
	ssh_forward_stop(m->forward);
	m->forward = NULL;
}

int undo_tunnel(struct migration *m, int64_t timeout_ms, struct err *err)
{
	tunnel_hang_up(m);
	return undo_keys(m, timeout_ms, err);
}

bool tunnel_stands(const struct migration *m)
{
	return m->forward && !ssh_forward_ended(m->forward);
}

int tunnel_reopen(struct migration *m, struct err *err)
{
	tunnel_hang_up(m);
	if (open_session(m, err) < 0)
		return -1;
	return m->link.path ? tunnel_let_source_in(m, err) : 0;
}

/* Once all is over there nothing goes through it any more. */
bool tunnel_has_failed(const struct migration *m, struct err *err)
{
	if (!m->forward || !ssh_forward_ended(m->forward) ||
	    str_eq(m->src.migration_status, "completed"))
		return false;
	err_set(err, ERR_FAILED, "%s: the SSH session of disks and memory was lost: %s",
		m->dst.name,
		*ssh_forward_words(m->forward) ? ssh_forward_words(m->forward)
					       : "ssh does not say why");
	return true;
}

/* --- over there --- */

/* Of a login that is neither root nor that QEMU's user sshd opens no socket of its. Whose QEMU it
 * is its monitor tells. */
void tunnel_look(struct migration *m)
{
	_autofree_ char *word = str_shell_quote(m->opt->dst.socket);
	_autofree_ char *command = str_printf("u=$(id -u); [ \"$u\" = 0 ] || "
					      "[ \"$(stat -L -c %%u -- %s)\" = \"$u\" ]",
					      word);
	struct process_output output = {0};
	struct err err;

	if (host_command(m->host, command, m->opt->timeouts.answer_ms, &output, &err) < 0)
		problems_add(&m->problems, "%s", err.text);
	else if (output.status != 0)
		problems_add(&m->problems,
			     "%s: its QEMU is another user's than the login, which could not reach "
			     "its sockets for disks and memory; log in as that user or as root, "
			     "give --sudo, or leave --encrypt=ssh out",
			     m->dst.name);
	process_output_deinit(&output);
}

/* With --sudo the commands are root's, but sshd opens the socket as the login: so it becomes the
 * login's, who may go through the directory, but look at nothing in it. */
static int give_to_login(struct migration *m, const char *path, int64_t timeout_ms, struct err *err)
{
	const char *login = host_forward_login(m->host);
	_autofree_ char *user = login ? str_shell_quote(login) : NULL;
	_autofree_ char *socket = str_shell_quote(path);
	_autofree_ char *directory = str_shell_quote(m->keys.dst_directory);
	_autofree_ char *command =
		user ? str_printf("s=%s; [ -S \"$s\" ] && [ ! -L \"$s\" ] && "
				  "chown -h -- %s: \"$s\" && chmod 0600 -- \"$s\" && "
				  "chgrp -- \"$(id -g -- %s)\" %s && chmod 0710 -- %s",
				  socket, user, user, directory, directory)
		     : NULL;
	struct process_output output = {0};
	int ret = command ? host_command_ok(m->host, command, timeout_ms, &output, err) : 0;

	process_output_deinit(&output);
	return ret;
}

static int cannot_make(struct migration *m, struct err *err)
{
	if (err->kind != ERR_QMP)
		return -1;
	return err_wrap(err,
			"%s: its QEMU cannot make a socket to go through SSH by; let it encrypt "
			"by itself (without --encrypt=ssh)",
			m->dst.name);
}

int tunnel_serve(struct migration *m, int64_t timeout_ms, struct err *err)
{
	_autofree_ char *path = path_of(m->keys.dst_directory, NBD);

	m->nbd_started = true; /* also when its answer is lost */
	if (qmp_nbd_start_unix(m->dst.qmp, path, err) < 0) {
		m->nbd_started = err->kind != ERR_QMP; /* one that runs already is not ours */
		return server_was_there(m, err) ? -1 : cannot_make(m, err);
	}
	return give_to_login(m, path, timeout_ms, err);
}

int tunnel_listen(struct migration *m, int64_t timeout_ms, struct err *err)
{
	_autofree_ char *path = path_of(m->keys.dst_directory, RAM);

	if (qmp_migrate_incoming_unix(m->dst.qmp, path, err) < 0)
		return cannot_make(m, err);
	return give_to_login(m, path, timeout_ms, err);
}

/* --- here --- */

/* Where that QEMU is another user's, it is he who may use the socket, and go through the directory
 * but look at nothing in it: what else is there tells an ssh(1) of ours what to do. */
static int give_to_source(struct migration *m, const struct source_user *user, struct err *err)
{
	const char *directory = m->keys.src_directory;

	if (user->uid == geteuid())
		return 0;
	if (lchown(m->link.path, user->uid, (gid_t)-1) < 0 ||
	    lchown(directory, (uid_t)-1, user->gid) < 0 || chmod(directory, 0710) < 0)
		return err_errno(err, errno, "give %s to the user of the source's QEMU",
				 m->link.path);
	return 0;
}

int tunnel_let_source_in(struct migration *m, struct err *err)
{
	struct source_user user;

	free(m->link.path);
	m->link.path = path_of(m->keys.src_directory, NBD);
	if (source_user_read(&user, m->src_pid) < 0)
		return err_set(err, ERR_FAILED,
			       "the source's QEMU: /proc/%d/status does not tell its user",
			       (int)m->src_pid);
	return give_to_source(m, &user, err);
}

/* ssh takes connections whenever it does anything, so none waits long. */
static int connect_to(struct migration *m, const char *name, struct err *err)
{
	_autofree_ char *path = path_of(m->keys.src_directory, name);
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd;

	if (strlen(path) >= sizeof(address.sun_path))
		return err_set(err, ERR_FAILED, "%s: too long for a Unix socket's path", path);
	strcpy(address.sun_path, path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
		return fd;
	err_errno(err, errno, "%s", path);
	if (fd >= 0)
		close(fd);
	return -1;
}

int tunnel_connect_ram(struct migration *m, struct err *err)
{
	return connect_to(m, RAM, err);
}

static void on_readable(void *came, short revents)
{
	(void)revents;
	*(bool *)came = true;
}

static bool has_come(void *came)
{
	return *(bool *)came;
}

/* An NBD server speaks first: so what is not reached is not left to QEMU to find out, whose monitor
 * would stand still. */
static int await_greeting(struct migration *m, int fd, int64_t timeout_ms, struct err *err)
{
	bool came = false;
	struct loop_fd *watch = loop_fd_add(m->loop, fd, POLLIN, on_readable, &came);
	int ret = loop_await(m->loop, "the NBD server, through SSH", timeout_ms, has_come, &came,
			     err);
	char byte;

	loop_fd_del(watch);
	if (ret < 0)
		return err_wrap(err, "%s", m->dst.name);
	if (recv(fd, &byte, 1, MSG_PEEK) == 1)
		return 0;
	return err_set(err, ERR_FAILED,
		       "%s: SSH does not get to its NBD server; may the login connect to %s/" NBD
		       " there, and does sshd_config say AllowStreamLocalForwarding yes?",
		       m->dst.name, m->keys.dst_directory);
}

int tunnel_connect_nbd(struct migration *m, int64_t timeout_ms, struct err *err)
{
	int fd = connect_to(m, NBD, err);

	if (fd < 0 || await_greeting(m, fd, timeout_ms, err) == 0)
		return fd;
	close(fd);
	return -1;
}
