/* `ssh -G host` prints the configuration that ssh(1) would use, one keyword a line, in
 * lower case. It leaves "~" and the %-tokens of identityfile and identityagent as they
 * are (seen with 9.2), so those are expanded here; %-tokens that depend on more than the
 * host, the user and the port are left alone.
 *
 * Not honoured: passwords and all other methods but keys, certificates, ControlMaster,
 * StrictHostKeyChecking (always strict here), ServerAliveInterval (TCP's own keepalive is
 * used), algorithm lists, CheckHostIP, BindAddress. */
#include "ssh/config.h"

#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/process.h"

#define CONFIG_TIMEOUT_MS 15000
#define CONNECT_TIMEOUT_MS 30000
#define NAMES_MAX 64
#define ALIVE_MAX_S 86400

static void names_add(struct ssh_names *names, char *name)
{
	if (names->count == NAMES_MAX) {
		free(name);
		return;
	}
	names->name = mem_grow(names->name, names->count + 1, sizeof(*names->name));
	names->name[names->count++] = name;
}

static void names_deinit(struct ssh_names *names)
{
	for (size_t i = 0; i < names->count; i++)
		free(names->name[i]);
	free(names->name);
	*names = (struct ssh_names){0};
}

/* ssh(1) takes the home directory from the password database, not from $HOME. */
static const char *home(void)
{
	const struct passwd *pw = getpwuid(getuid());

	return pw ? pw->pw_dir : "/";
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
	for (; *name; name++) {
		if (name[0] == '%' && name[1])
			expand_token(&b, *++name, c, host);
		else
			buf_add(&b, name, 1);
	}
	return b.data ? b.data : str_dup("");
}

static void set(char **to, const char *value)
{
	free(*to);
	*to = str_dup(value);
}

/* Several file names in one value; one with blanks in it is in double quotes. */
static void add_files(struct ssh_names *names, char *value)
{
	while (*value) {
		char end = ' ';
		char *start = value;

		if (*value == '"') {
			end = '"';
			start = ++value;
		}
		value += strcspn(value, end == '"' ? "\"" : " ");
		if (*value)
			*value++ = '\0';
		if (*start && strcmp(start, "none") != 0)
			names_add(names, str_dup(start));
	}
}

static int refuse_fdpass(const char *host, struct err *err)
{
	return err_set(err, ERR_REFUSED,
		       "%s: ssh_config asks for ProxyUseFdpass, which vmferry cannot do; a "
		       "ProxyCommand whose stdin and stdout are the connection is no problem",
		       host);
}

/* `IdentityAgent` has names of its own for "none" and for the environment's. */
static void set_agent(struct ssh_config *c, const char *value)
{
	const char *env = value;

	if (*value == '$')
		env = getenv(value + 1);
	else if (strcmp(value, "SSH_AUTH_SOCK") == 0)
		env = getenv("SSH_AUTH_SOCK");
	set(&c->agent, env && *env && strcmp(env, "none") != 0 ? env : NULL);
}

static int take_line(struct ssh_config *c, const char *host, const char *key, char *value,
		     struct err *err)
{
	if (strcmp(key, "hostname") == 0)
		set(&c->hostname, value);
	else if (strcmp(key, "hostkeyalias") == 0)
		set(&c->key_name, strcmp(value, "none") == 0 ? NULL : value);
	else if (strcmp(key, "user") == 0)
		set(&c->user, value);
	else if (strcmp(key, "port") == 0)
		c->port = atoi(value);
	else if (strcmp(key, "addressfamily") == 0)
		c->family = str_eq(value, "inet")    ? AF_INET
			    : str_eq(value, "inet6") ? AF_INET6
						     : AF_UNSPEC;
	else if (strcmp(key, "connecttimeout") == 0 && atoi(value) > 0)
		c->connect_timeout_ms = (int64_t)atoi(value) * 1000;
	else if (strcmp(key, "tcpkeepalive") == 0)
		c->tcp_keepalive = strcmp(value, "yes") == 0;
	else if (strcmp(key, "serveraliveinterval") == 0)
		c->alive_interval_s = atoi(value) < ALIVE_MAX_S ? atoi(value) : ALIVE_MAX_S;
	else if (strcmp(key, "serveralivecountmax") == 0)
		c->alive_count_max = atoi(value);
	else if (strcmp(key, "batchmode") == 0)
		c->batch = strcmp(value, "yes") == 0;
	else if (strcmp(key, "identitiesonly") == 0)
		c->identities_only = strcmp(value, "yes") == 0;
	else if (strcmp(key, "identityagent") == 0)
		set_agent(c, value);
	else if (strcmp(key, "identityfile") == 0)
		names_add(&c->identities, str_dup(value));
	else if (strcmp(key, "userknownhostsfile") == 0)
		add_files(&c->known_hosts, value);
	else if (strcmp(key, "globalknownhostsfile") == 0)
		add_files(&c->global_known_hosts, value);
	else if (strcmp(key, "proxyjump") == 0)
		set(&c->proxy_jump, strcmp(value, "none") == 0 ? NULL : value);
	else if (strcmp(key, "proxycommand") == 0)
		set(&c->proxy_command, strcmp(value, "none") == 0 ? NULL : value);
	else if (strcmp(key, "proxyusefdpass") == 0 && strcmp(value, "yes") == 0)
		return refuse_fdpass(host, err);
	return 0;
}

static int take_lines(struct ssh_config *c, const char *host, char *text, struct err *err)
{
	char *rest = NULL;

	for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
		char *value = strchr(line, ' ');

		if (!value)
			continue;
		*value++ = '\0';
		if (take_line(c, host, line, value, err) < 0)
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

	set(&c->hostname, t->host);
	set(&c->user, t->user ? t->user : pw ? pw->pw_name : "root");
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
				 .alive_count_max = 3,
				 .connect_timeout_ms = CONNECT_TIMEOUT_MS};
	set_agent(c, "SSH_AUTH_SOCK");
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
	*c = (struct ssh_config){0};
}
