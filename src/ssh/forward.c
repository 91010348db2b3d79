/* Why not channels of our own session: libssh2 1.10.0 encrypts 16 bytes a call and has no cipher
 * that authenticates by itself (transport.c). For one GiB it takes 4 s of CPU where ssh(1) takes
 * 1.2 s by aes128-gcm and 3.4 s by its default; through one connection, on two cores, it brought
 * 160 to 180 MiB/s, ssh -L 260, and with aes128-gcm 550 to 620. And so the bytes do not go through
 * this process: our loop stays free, and answers of the monitors do not queue behind them.
 *
 * ssh(1) is not to find out anything anew, which might lead elsewhere. It gets a configuration of
 * its own, made of what our session has found: the numeric address that it has reached, the host
 * key that was shown to it, the login, the agent or key files, the proxy. No file of the user's is
 * read, so no LocalForward of his is made either.
 *
 * It is tied to us by its stdin: a shell beside it waits for the end of that and ends it. So it
 * does not outlive us, nor do its connections. Over there it runs a command that waits, too: for a
 * session with a command sshd turns Nagle's algorithm off, for a mere `ssh -N` it does not
 * (ssh_packet_set_interactive() in 9.2), and the answers of an NBD server are small.
 */
#include "ssh/forward.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "ssh/internal.h"
#include "ssh/keyagent.h"
#include "ssh/login.h"
#include "ssh/wire.h"

/* Names in ssh's configuration of what it is to reach. */
#define HOST "vmferry"

/* A server that is silent for three times so long is given up. */
#define SILENT_TIMES 3

#define READY "vmferry-forward-ready"

struct ssh_forward {
	struct loop *loop;
	struct proxy *program;
	int fd; /* its stdin and stdout */
	struct loop_fd *watch;
	struct buf said; /* on stdout, until it is ready */
	bool ready, ended;
};

/* --- its configuration --- */

/* A value that is a file name or a word: quoted, and with no tokens in it (ssh_config(5)). */
static void add_text(struct buf *b, const char *keyword, const char *text)
{
	buf_printf(b, "%s \"", keyword);
	for (; *text; text++)
		buf_printf(b, "%s%c",
			   *text == '%'            ? "%"
			   : strchr("\"\\", *text) ? "\\"
						   : "",
			   *text);
	buf_printf(b, "\"\n");
}

static void add_list(struct buf *b, const char *keyword, const char *list)
{
	if (list)
		buf_printf(b, "%s %s\n", keyword, list);
}

/* Of x86 and ARM; proc(5). */
static bool cpu_has_aes(void)
{
	_autofree_ char *line = NULL;
	FILE *f = fopen("/proc/cpuinfo", "re");
	bool found = false;
	size_t cap = 0;

	while (f && !found && getline(&line, &cap, f) > 0)
		found = (str_starts(line, "flags") || str_starts(line, "Features")) &&
			strstr(line, " aes") != NULL;
	if (f)
		fclose(f);
	return found;
}

/* Those that ssh_config allows, in its order. But where that begins as OpenSSH's own does, with
 * AES in the CPU aes128-gcm goes first, which is twice as fast (see above). */
static void add_ciphers(struct buf *b, const char *allowed)
{
	static const char fast[] = "aes128-gcm@openssh.com";
	_autofree_ char *copy = str_dup(allowed);
	bool first = allowed && str_starts(allowed, "chacha20-poly1305@openssh.com,") &&
		     names_in_list(allowed, fast) && cpu_has_aes();
	char *rest = NULL;

	if (!allowed)
		return;
	buf_printf(b, "Ciphers %s", first ? fast : "");
	for (char *a = strtok_r(copy, ",", &rest); a; a = strtok_r(NULL, ",", &rest))
		if (!first || !str_eq(a, fast))
			buf_printf(b, "%s%s", b->data[b->len - 1] == ' ' ? "" : ",", a);
	buf_printf(b, "\n");
}

static int add_way(struct buf *b, const struct ssh *ssh, const struct ssh_target *target,
		   struct err *err)
{
	const struct ssh_config *c = &ssh->config;
	_autofree_ char *line = NULL;

	buf_printf(b, "Port %d\n", c->port);
	if (!ssh->proxy) {
		add_text(b, "HostName", ssh->peer);
		if (c->bind_address)
			add_text(b, "BindAddress", c->bind_address);
		return 0;
	}
	line = proxy_command_line(c, target, err);
	if (!line)
		return -1;
	add_text(b, "HostName", c->hostname);
	buf_printf(b, "ProxyCommand ");
	for (const char *p = line; *p; p++)
		buf_printf(b, "%s%c", *p == '%' ? "%" : "", *p);
	buf_printf(b, "\n");
	return 0;
}

/* A key that was asked for is in an agent of our own. */
static void add_login(struct buf *b, const struct ssh_config *c, const struct ssh_target *target)
{
	const struct keyagent *kept = target->keys ? target->keys->agent : NULL;
	const char *agent = kept ? keyagent_path(kept) : c->agent;

	add_text(b, "User", c->user);
	add_text(b, "IdentityAgent", agent ? agent : "none");
	buf_printf(b, "IdentitiesOnly %s\n", c->identities_only && !kept ? "yes" : "no");
	for (size_t i = 0; i < c->identities.count; i++)
		if (access(c->identities.name[i], F_OK) == 0)
			add_text(b, "IdentityFile", c->identities.name[i]);
	buf_printf(b, "IgnoreUnknown PubkeyAcceptedAlgorithms\n"); /* before 8.5 */
	add_list(b, "PubkeyAcceptedAlgorithms", c->key_algorithms);
}

/* An RSA key signs by SHA-2; see hostkey.c. */
static const char *algorithms_of(const char *key_type)
{
	return str_eq(key_type, "ssh-rsa") ? "rsa-sha2-512,rsa-sha2-256" : key_type;
}

static void add_rest(struct buf *b, const struct ssh_config *c, const char *directory,
		     const char *key_type)
{
	_autofree_ char *known = str_printf("%s/" SSH_FORWARD_KNOWN_HOSTS, directory);
	int64_t silence_ms = c->silence_ms > 15000 ? c->silence_ms : 15000;

	add_text(b, "UserKnownHostsFile", known);
	buf_printf(b,
		   "GlobalKnownHostsFile /dev/null\nHostKeyAlias " HOST "\nHostKeyAlgorithms %s\n"
		   "StrictHostKeyChecking yes\nUpdateHostKeys no\nCheckHostIP no\n"
		   "BatchMode yes\nPreferredAuthentications publickey\nLogLevel ERROR\n"
		   "ExitOnForwardFailure yes\nStreamLocalBindUnlink yes\nControlPath "
		   "none\nCompression no\n"
		   "ConnectTimeout %d\nTCPKeepAlive %s\n",
		   algorithms_of(key_type), (int)(c->connect_timeout_ms / 1000) + 1,
		   c->tcp_keepalive ? "yes" : "no");
	if (c->tcp_keepalive || c->alive_interval_s)
		buf_printf(b, "ServerAliveInterval %d\nServerAliveCountMax %d\n",
			   (int)(silence_ms / 1000 / SILENT_TIMES), SILENT_TIMES);
	add_list(b, "KexAlgorithms", c->kex_algorithms);
	add_list(b, "MACs", c->macs);
	add_ciphers(b, c->ciphers);
}

static int write_file(const char *directory, const char *name, const struct buf *text,
		      struct err *err)
{
	_autofree_ char *path = str_printf("%s/%s", directory, name);
	int fd;
	int ret = 0;

	unlink(path);
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return err_errno(err, errno, "create %s", path);
	if (write(fd, text->data, text->len) != (ssize_t)text->len)
		ret = err_errno(err, errno, "write %s", path);
	close(fd);
	return ret;
}

/* The host is known by the key that it has shown to our session, and by no other. */
static int write_known_hosts(const struct ssh *ssh, const char *directory, char **key_type,
			     struct err *err)
{
	struct buf text _cleanup_buf_ = {0};
	size_t len = 0;
	int unused;
	const char *raw = libssh2_session_hostkey(ssh->session, &len, &unused);
	_autofree_ char *key = NULL;

	*key_type = raw ? wire_key_type(raw, len) : NULL;
	if (!*key_type)
		return err_set(err, ERR_FAILED, "%s: its host key is not known", ssh->host);
	key = wire_base64(raw, len);
	buf_printf(&text, HOST " %s %s\n", *key_type, key);
	return write_file(directory, SSH_FORWARD_KNOWN_HOSTS, &text, err);
}

static int write_config(const struct ssh *ssh, const struct ssh_target *target,
			const char *directory, const struct ssh_forwarded *sockets, size_t count,
			struct err *err)
{
	struct buf text _cleanup_buf_ = {0};
	_autofree_ char *key_type = NULL;

	if (write_known_hosts(ssh, directory, &key_type, err) < 0 ||
	    add_way(&text, ssh, target, err) < 0)
		return -1;
	add_login(&text, &ssh->config, target);
	add_rest(&text, &ssh->config, directory, key_type);
	for (size_t i = 0; i < count; i++)
		buf_printf(&text, "LocalForward %s %s\n", sockets[i].here, sockets[i].there);
	return write_file(directory, SSH_FORWARD_CONFIG, &text, err);
}

/* --- the program --- */

/* Its input is ours: it ends when we do. What ends first ends the other. */
static const char script[] =
	"exec 3<&0; ssh -T -F \"$1\" " HOST " \"$2\" <&3 3<&- & p=$!; "
	"{ read -r x <&3; kill $p; } >/dev/null 2>&1 & w=$!; wait $p; s=$?; kill $w; exit $s";

/* By whatever shell the login has. */
static const char waits_over_there[] = "exec /bin/sh -c 'echo " READY "; exec cat >/dev/null'";

static void on_output(void *arg, short revents)
{
	struct ssh_forward *f = arg;
	char chunk[4096];
	ssize_t n = read(f->fd, chunk, sizeof(chunk));

	(void)revents;
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		f->ended = true;
		loop_fd_del(f->watch);
		f->watch = NULL;
	} else if (!f->ready && f->said.len < (64u << 10)) {
		buf_add(&f->said, chunk, (size_t)n);
		f->ready = strstr(f->said.data, READY) != NULL;
	}
}

static bool ready_or_ended(void *arg)
{
	struct ssh_forward *f = arg;

	return f->ready || f->ended;
}

static int start(struct ssh_forward *f, const struct ssh_target *target, const char *directory,
		 struct err *err)
{
	_autofree_ char *config = str_printf("%s/" SSH_FORWARD_CONFIG, directory);
	_autofree_ char *runs = str_shell_quote(script);
	_autofree_ char *by = str_shell_quote(config);
	_autofree_ char *waits = str_shell_quote(waits_over_there);
	_autofree_ char *command = str_printf("sh -c %s vmferry-forward %s %s", runs, by, waits);

	f->program = proxy_start(f->loop, command, target, &f->fd, err);
	if (!f->program) {
		f->fd = -1;
		return -1;
	}
	f->watch = loop_fd_add(f->loop, f->fd, POLLIN, on_output, f);
	return 0;
}

static int await_ready(struct ssh_forward *f, const struct ssh *ssh, struct err *err)
{
	if (loop_await(f->loop, "ssh to log in for the data", ssh->config.connect_timeout_ms,
		       ready_or_ended, f, err) < 0)
		return err_wrap(err, "%s", ssh->host);
	if (f->ready)
		return 0;
	return err_set(err, ERR_FAILED, "%s: ssh, which is to carry the data, does not log in: %s",
		       ssh->host, *ssh_forward_words(f) ? ssh_forward_words(f) : "it says nothing");
}

struct ssh_forward *ssh_forward_start(struct ssh *ssh, const struct ssh_target *target,
				      const char *directory, const struct ssh_forwarded *sockets,
				      size_t count, struct err *err)
{
	struct ssh_forward *f = mem_zalloc(1, sizeof(*f));

	if (ssh->login)
		ssh = ssh->login;
	f->loop = ssh->loop;
	f->fd = -1;
	if (write_config(ssh, target, directory, sockets, count, err) == 0 &&
	    start(f, target, directory, err) == 0 && await_ready(f, ssh, err) == 0)
		return f;
	ssh_forward_stop(f);
	return NULL;
}

const char *ssh_forward_login(const struct ssh *ssh)
{
	return ssh->login ? ssh->login->config.user : NULL;
}

bool ssh_forward_ended(const struct ssh_forward *f)
{
	return f->ended;
}

const char *ssh_forward_words(struct ssh_forward *f)
{
	return proxy_words(f->program);
}

void ssh_forward_stop(struct ssh_forward *f)
{
	if (!f)
		return;
	loop_fd_del(f->watch);
	if (f->fd >= 0)
		close(f->fd);
	proxy_stop(f->program);
	buf_deinit(&f->said);
	free(f);
}
