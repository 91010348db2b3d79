/* `ssh -G host` prints the configuration that ssh(1) would use, one keyword a line, in
 * lower case. It leaves "~" and the %-tokens of identityfile and identityagent as they
 * are (seen with 9.2), so those are expanded here, and ${NAME} of the environment; %C, a hash of
 * other tokens, is left alone.
 * What the keywords mean here is in keyword.c. */
#include "ssh/config.h"

#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/process.h"
#include "ssh/keyword.h"

#define CONFIG_TIMEOUT_MS 15000
#define CONNECT_TIMEOUT_MS 10000

/* ssh(1) takes the home directory from the password database, not from $HOME. */
static const char *home(void)
{
	const struct passwd *pw = getpwuid(getuid());

	return pw ? pw->pw_dir : "/";
}

/* Of this host; @short_: without its domain. */
static void add_own_name(struct buf *b, bool short_)
{
	char name[256] = "";

	gethostname(name, sizeof(name) - 1);
	if (short_)
		name[strcspn(name, ".")] = '\0';
	buf_printf(b, "%s", name);
}

/* "${NAME}" at the beginning of @text; how long that is, 0: it is not there. */
static size_t expand_variable(struct buf *b, const char *text)
{
	size_t len = str_starts(text, "${") ? strcspn(text, "}") : 0;
	_autofree_ char *name = NULL;
	const char *value;

	if (!len || !text[len])
		return 0;
	name = str_printf("%.*s", (int)(len - 2), text + 2);
	value = getenv(name);
	buf_printf(b, "%s", value ? value : "");
	return len + 1;
}

static void expand_token(struct buf *b, char token, const struct ssh_config *c, const char *host)
{
	const struct passwd *pw = getpwuid(getuid());

	switch (token) {
	case '%':
		buf_add(b, "%", 1);
		break;
	case 'd':
		buf_printf(b, "%s", home());
		break;
	case 'h':
		buf_printf(b, "%s", c->hostname);
		break;
	case 'n':
		buf_printf(b, "%s", host);
		break;
	case 'k':
		buf_printf(b, "%s", c->key_name ? c->key_name : host);
		break;
	case 'L':
	case 'l':
		add_own_name(b, token == 'L');
		break;
	case 'p':
		buf_printf(b, "%d", c->port);
		break;
	case 'r':
		buf_printf(b, "%s", c->user);
		break;
	case 'u':
		buf_printf(b, "%s", pw ? pw->pw_name : "");
		break;
	case 'i':
		buf_printf(b, "%u", (unsigned)getuid());
		break;
	default:
		buf_printf(b, "%%%c", token);
	}
}

/* A file name of ssh_config with "~/" and the tokens put in. Caller frees. */
static char *expand(const char *name, const struct ssh_config *c, const char *host)
{
	struct buf b = {0};

	if (str_starts(name, "~/")) {
		buf_printf(&b, "%s", home());
		name++;
	}
	while (*name) {
		size_t len = expand_variable(&b, name);

		if (!len && name[0] == '%' && name[1])
			expand_token(&b, name[1], c, host);
		else if (!len)
			buf_add(&b, name, 1);
		name += len ? len : name[0] == '%' && name[1] ? 2 : 1;
	}
	return b.data ? b.data : str_dup("");
}

static int take_lines(struct ssh_config *c, const char *host, char *text, struct err *err)
{
	char *rest = NULL;

	for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
		char *value = strchr(line, ' ');

		if (!value)
			continue;
		*value++ = '\0';
		if (keyword_take(c, host, line, value, err) < 0)
			return -1;
	}
	return 0;
}

static bool program_exists(const char *name)
{
	const char *path = getenv("PATH");
	_autofree_ char *copy = str_dup(path ? path : "/usr/local/bin:/usr/bin:/bin");
	char *rest = NULL;

	for (char *dir = strtok_r(copy, ":", &rest); dir; dir = strtok_r(NULL, ":", &rest)) {
		_autofree_ char *file = str_printf("%s/%s", dir, name);

		if (access(file, X_OK) == 0)
			return true;
	}
	return false;
}

static int run_ssh(struct loop *loop, const struct ssh_target *t, struct process_output *output,
		   struct err *err)
{
	const char *argv[12] = {"ssh", "-G"};
	_autofree_ char *port = str_printf("%d", t->port);
	int n = 2;

	if (t->config) {
		argv[n++] = "-F";
		argv[n++] = t->config;
	}
	if (t->user) {
		argv[n++] = "-l";
		argv[n++] = t->user;
	}
	if (t->port) {
		argv[n++] = "-p";
		argv[n++] = port;
	}
	argv[n++] = "--";
	argv[n++] = t->host;
	if (process_run(loop, argv, CONFIG_TIMEOUT_MS, output, err) < 0)
		return err_wrap(err, "%s: the configuration that ssh would use", t->host);
	if (output->status != 0)
		return err_set(err, ERR_REFUSED, "%s: ssh -G refused: %s", t->host,
			       output->err.len ? output->err.data : "no reason given");
	return 0;
}

/* What ssh(1) does without any configuration. */
static void set_defaults(struct ssh_config *c, const struct ssh_target *t)
{
	static const char *const keys[] = {"id_ed25519", "id_ecdsa", "id_rsa"};
	const struct passwd *pw = getpwuid(getuid());

	c->hostname = str_dup(t->host);
	c->user = str_dup(t->user ? t->user : pw ? pw->pw_name : "root");
	c->port = t->port ? t->port : 22;
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
		names_add(&c->identities, str_printf("~/.ssh/%s", keys[i]));
	names_add(&c->known_hosts, str_dup("~/.ssh/known_hosts"));
	names_add(&c->global_known_hosts, str_dup("/etc/ssh/ssh_known_hosts"));
}

/* What the user said himself is taken as it is; the rest is expanded. */
static void finish(struct ssh_config *c, const struct ssh_target *t)
{
	for (size_t i = 0; i < c->identities.count; i++) {
		_autofree_ char *name = c->identities.name[i];

		c->identities.name[i] = expand(name, c, t->host);
	}
	for (size_t i = 0; i < c->global_known_hosts.count; i++)
		names_add(&c->known_hosts, str_dup(c->global_known_hosts.name[i]));
	for (size_t i = 0; i < c->known_hosts.count; i++) {
		_autofree_ char *name = c->known_hosts.name[i];

		c->known_hosts.name[i] = expand(name, c, t->host);
	}
	if (c->agent) {
		_autofree_ char *name = c->agent;

		c->agent = expand(name, c, t->host);
	}
	if (t->identity) {
		names_deinit(&c->identities);
		names_add(&c->identities, str_dup(t->identity));
		c->identities_only = true;
	}
	if (t->known_hosts) {
		names_deinit(&c->known_hosts);
		names_add(&c->known_hosts, str_dup(t->known_hosts));
	}
	if (t->connect_timeout_ms > 0)
		c->connect_timeout_ms = t->connect_timeout_ms;
}

int ssh_config_read(struct ssh_config *c, struct loop *loop, const struct ssh_target *target,
		    struct err *err)
{
	struct process_output output = {0};
	int ret = 0;

	*c = (struct ssh_config){.family = AF_UNSPEC,
				 .tcp_keepalive = true,
				 .silence_ms = target->silence_ms,
				 .alive_count_max = 3,
				 .connect_timeout_ms = CONNECT_TIMEOUT_MS};
	keyword_set_agent(c, "SSH_AUTH_SOCK");
	if (!program_exists("ssh")) {
		set_defaults(c, target);
	} else {
		ret = run_ssh(loop, target, &output, err);
		if (ret == 0 && output.out.len)
			ret = take_lines(c, target->host, output.out.data, err);
		process_output_deinit(&output);
	}
	if (ret == 0 && (!c->hostname || !c->user || c->port <= 0 || c->port > 65535))
		ret = err_set(err, ERR_FAILED, "%s: ssh -G names no host, user or port",
			      target->host);
	if (ret == 0)
		finish(c, target);
	else
		ssh_config_deinit(c);
	return ret;
}

void ssh_config_deinit(struct ssh_config *c)
{
	free(c->hostname);
	free(c->key_name);
	free(c->user);
	free(c->agent);
	free(c->proxy_command);
	free(c->proxy_jump);
	names_deinit(&c->identities);
	names_deinit(&c->known_hosts);
	names_deinit(&c->global_known_hosts);
	names_deinit(&c->useless);
	free(c->bind_address);
	free(c->not_strict);
	free(c->host_key_algorithms);
	free(c->kex_algorithms);
	free(c->ciphers);
	free(c->macs);
	free(c->key_algorithms);
	*c = (struct ssh_config){0};
}
