/* One session from its address to the moment requests can be made. */
#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "ssh/bridge.h"
#include "ssh/internal.h"

#define ANSWER_TIMEOUT_MS 30000

static void set_peer(struct ssh *ssh)
{
	struct sockaddr_storage sa;
	socklen_t len = sizeof(sa);

	if (!ssh->proxy && !ssh->login && getpeername(ssh->fd, (struct sockaddr *)&sa, &len) == 0)
		getnameinfo((struct sockaddr *)&sa, len, ssh->peer, sizeof(ssh->peer), NULL, 0,
			    NI_NUMERICHOST);
}

struct handshake {
	int rc;
};

static bool handshake_step(struct ssh *ssh, void *arg)
{
	struct handshake *h = arg;

	h->rc = libssh2_session_handshake(ssh->session, ssh->fd);
	return h->rc != LIBSSH2_ERROR_EAGAIN;
}

static int handshake(struct ssh *ssh, struct err *err)
{
	struct handshake h = {0};
	char *text = NULL;

	if (ssh_io_run(ssh,
		       "the server's side of the SSH handshake; does sshd listen on that port?",
		       handshake_step, &h, err) < 0)
		return -1;
	if (h.rc == 0)
		return 0;
	libssh2_session_last_error(ssh->session, &text, NULL, 0);
	if (h.rc == LIBSSH2_ERROR_KEX_FAILURE || h.rc == LIBSSH2_ERROR_METHOD_NONE)
		return err_set(err, ERR_REFUSED,
			       "%s: the server and libssh2 %s have no algorithm in common (%s); "
			       "see KexAlgorithms, HostKeyAlgorithms, Ciphers and MACs of its "
			       "sshd_config",
			       ssh->host, libssh2_version(0), text ? text : "");
	return err_set(err, ERR_FAILED, "%s: the SSH handshake failed: %s", ssh->host,
		       *ssh->reason ? ssh->reason
		       : text       ? text
				    : "no reason known");
}

/* What is left of the time for connecting. */
static void set_wait(struct ssh *ssh, int64_t until_ms)
{
	int64_t left_ms = until_ms - loop_now_ms();

	ssh->wait_ms = left_ms > 0 ? left_ms : 0;
}

static int start_proxy(struct ssh *ssh, const struct ssh_target *target, struct err *err)
{
	_autofree_ char *line = proxy_command_line(&ssh->config, target, err);
	int fd = -1;

	if (!line)
		return -1;
	ssh->proxy = proxy_start(ssh->loop, line, target, &fd, err);
	if (!ssh->proxy)
		err_wrap(err, "%s: ProxyCommand", ssh->host);
	return fd;
}

static int get_connection(struct ssh *ssh, const struct ssh_target *target, int64_t until_ms,
			  int *fd, struct err *err)
{
	const struct ssh_config *c = &ssh->config;

	if (ssh->login)
		return ssh_root_start(ssh, fd, err);
	*fd = c->proxy_command || c->proxy_jump
		      ? start_proxy(ssh, target, err)
		      : ssh_connect(ssh->loop, ssh->host, c, until_ms, err);
	return *fd < 0 ? -1 : 0;
}

static int establish(struct ssh *ssh, const struct ssh_target *target, struct err *err)
{
	int64_t until_ms = loop_now_ms() + ssh->config.connect_timeout_ms;
	int fd;

	if (get_connection(ssh, target, until_ms, &fd, err) < 0)
		return -1;
	if (ssh->login) /* sudo may have taken its time, which is not the network's */
		until_ms = loop_now_ms() + ssh->config.connect_timeout_ms;
	if (ssh_io_start(ssh, fd, err) < 0 || ssh_hostkey_prefer(ssh, err) < 0 ||
	    ssh_algorithms_prefer(ssh, err) < 0)
		return -1;
	set_peer(ssh);
	set_wait(ssh, until_ms);
	if (handshake(ssh, err) < 0 || (!ssh->login && ssh_hostkey_check(ssh, err) < 0))
		return -1;
	set_wait(ssh, until_ms);
	return ssh_auth(ssh, target, err);
}

/* What the proxy said last is mostly the reason. */
static void explain_proxy(struct ssh *ssh, struct err *err)
{
	const char *words = ssh->proxy ? proxy_words(ssh->proxy) : "";
	char text[ERR_TEXT_MAX];

	if (!*words || !err || err->kind == ERR_INTERRUPTED)
		return;
	memcpy(text, err->text, sizeof(text));
	err_set(err, err->kind, "%s; the %s said: %s", text,
		ssh->config.proxy_jump ? "ssh to its ProxyJump" : "ProxyCommand", words);
}

/* @login: see struct ssh; taken over, also when this fails. */
static struct ssh *open_session(struct loop *loop, const struct ssh_target *target,
				struct ssh *login, struct err *err)
{
	struct ssh *ssh = mem_zalloc(1, sizeof(*ssh));

	ssh->loop = loop;
	ssh->login = login;
	ssh->host = str_dup(target->host);
	ssh->fd = ssh->kick_fd = -1;
	if (ssh_config_read(&ssh->config, loop, target, err) < 0 ||
	    establish(ssh, target, err) < 0) {
		explain_proxy(ssh, err);
		ssh_close(ssh);
		return NULL;
	}
	ssh->established = true;
	ssh->wait_ms =
		target->answer_timeout_ms > 0 ? target->answer_timeout_ms : ANSWER_TIMEOUT_MS;
	ssh_keepalive_start(ssh);
	return ssh;
}

static struct ssh *open_as_root(struct loop *loop, const struct ssh_target *target, struct err *err)
{
	struct ssh *login = open_session(loop, target, NULL, err);

	if (!login || strcmp(login->config.user, "root") == 0)
		return login;
	return open_session(loop, target, login, err);
}

struct ssh *ssh_open(struct loop *loop, const struct ssh_target *target, struct err *err)
{
	struct ssh_target keeping = *target;
	struct ssh *ssh;

	if (!target->sudo)
		return open_session(loop, target, NULL, err);
	if (!target->keys) /* one question for both sessions */
		keeping.keys = ssh_keys_new();
	ssh = open_as_root(loop, &keeping, err);
	if (!target->keys)
		ssh_keys_free(keeping.keys);
	return ssh;
}

void ssh_close(struct ssh *ssh)
{
	if (!ssh)
		return;
	ssh_stream_orphan(ssh);
	ssh_io_stop(ssh);
	proxy_stop(ssh->proxy);
	bridge_free(ssh->bridge);
	ssh_close(ssh->login);
	ssh_config_deinit(&ssh->config);
	free(ssh->key);
	free(ssh->host);
	free(ssh);
}

const char *ssh_peer_address(const struct ssh *ssh)
{
	if (ssh->login)
		return ssh_peer_address(ssh->login);
	return *ssh->peer ? ssh->peer : NULL;
}
