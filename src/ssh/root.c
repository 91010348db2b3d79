/* A session as root for a login that may only sudo.
 *
 * Files, commands, and the monitor's socket, which root's QEMU has made: all of them have to be
 * root's. `sudo sftp-server` and `sudo sh` would do for the first two, but nothing that is always
 * there carries bytes to a Unix socket, and sshd opens it as the login. So the program that sudo
 * runs is sshd itself, in inetd mode on the channel's stdin and stdout: it is always there, and
 * all the rest is as in any other session.
 *
 * - Who may log in there: root, by the one key that has opened the outer session
 *   (AuthorizedKeysCommand names it), so nothing depends on where keys are kept, and nothing is
 *   written. Whoever can do this has sudo to any end already.
 * - Its host key is not looked up: the way there is a channel of a session whose key was.
 * - UsePAM, because without it sshd refuses a root whose password is locked, which is just the
 *   root of hosts with sudo. The rest of the host's sshd_config is left aside (-f /dev/null), for
 *   it may deny root, rightly so from the network.
 * - The outer session looks after the connection, the inner one ends with it. */
#include <stdlib.h>
#include <string.h>

#include "ssh/bridge.h"
#include "ssh/internal.h"

#define CHECK_MS 20000

static const char find_sshd[] = "for sshd in /usr/sbin/sshd /usr/bin/sshd /usr/local/sbin/sshd; do "
				"[ ! -x $sshd ] || break; done; ";

static const char options[] = "-f /dev/null -o UsePAM=yes -o PermitRootLogin=yes -o StrictModes=no "
			      "-o PasswordAuthentication=no -o KbdInteractiveAuthentication=no "
			      "-o AuthorizedKeysFile=none -o AuthorizedKeysCommandUser=root "
			      "-o MaxAuthTries=100 -o MaxSessions=1000 "
			      "-o AllowAgentForwarding=no -o PrintMotd=no -o PrintLastLog=no "
			      "-o Subsystem='sftp internal-sftp'";

/* `sshd -t` says what there is to say, and to us: what -i says goes to the system's log. */
static int check(struct ssh *login, struct err *err)
{
	_autofree_ char *command = str_printf("%sexec sudo -n -- $sshd -t %s", find_sshd, options);
	struct process_output output = {0};
	int ret = ssh_command(login, command, CHECK_MS, &output, err);
	const char *words = output.err.len ? output.err.data : "it does not say why";

	if (ret < 0)
		err_wrap(err, "sudo");
	else if (output.status != 0)
		ret = err_set(err, ERR_REFUSED,
			      "%s: --sudo: %s cannot become root by sudo without being asked "
			      "anything (%s); give it NOPASSWD for /usr/sbin/sshd in the sudoers "
			      "there, or log in as root",
			      login->host, login->config.user, words);
	process_output_deinit(&output);
	return ret;
}

static int start(struct ssh *ssh, int *fd, struct err *err)
{
	struct ssh *login = ssh->login;
	_autofree_ char *command = str_printf("%sexec sudo -n -- $sshd -i %s "
					      "-o AuthorizedKeysCommand='/bin/echo %s' 2>/dev/null",
					      find_sshd, options, login->key);
	struct stream *stream = ssh_program(login, command, err);

	if (stream)
		ssh->bridge = bridge_new(ssh->loop, stream, fd, err);
	return ssh->bridge ? 0 : err_wrap(err, "%s: sudo", ssh->host);
}

static void become_root(struct ssh_config *c)
{
	free(c->user);
	c->user = str_dup("root");
	c->alive_interval_s = 0;
}

int ssh_root_start(struct ssh *ssh, int *fd, struct err *err)
{
	if (!ssh->login->key)
		return err_set(err, ERR_REFUSED,
			       "%s: --sudo: %s logged in without a key, so root cannot either",
			       ssh->host, ssh->login->config.user);
	become_root(&ssh->config);
	return check(ssh->login, err) < 0 ? -1 : start(ssh, fd, err);
}
