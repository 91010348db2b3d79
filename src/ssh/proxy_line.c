/* The command lines of ProxyCommand and ProxyJump, as ssh(1) makes them: a ProxyJump becomes a
 * ProxyCommand that runs ssh -W (main() in ssh.c of OpenSSH 9.2), the last host of several being
 * the one that is connected to, through the others. As there, what was given on the command line
 * for the host itself, a key say, is not given to the jump; the configuration file is, and
 * besides the file of known hosts, where ssh(1) would have had it in that configuration.
 *
 * %h and %r come from whoever names the destination and go to a shell, so they are checked as
 * OpenSSH 9.6 and later do it (valid_hostname(), valid_ruser()), but by what is allowed. */
#include <ctype.h>
#include <string.h>

#include "ssh/proxy.h"

/* One hop of ProxyJump in the form of `ssh -G`: [user@]host[:port], an address in brackets. */
struct hop {
	char *user, *host, *port; /* NULL: not named */
};

static void hop_deinit(struct hop *hop)
{
	free(hop->user);
	free(hop->host);
	free(hop->port);
}

static void hop_parse(struct hop *hop, const char *text)
{
	const char *at = strrchr(text, '@');
	const char *host = at ? at + 1 : text;
	const char *end = *host == '[' ? strchr(host, ']') : NULL;
	const char *colon = strchr(end ? end : host, ':');
	size_t len;

	if (end)
		host++;
	len = end ? (size_t)(end - host) : strcspn(host, ":");
	*hop = (struct hop){
		.user = at ? str_printf("%.*s", (int)(at - text), text) : NULL,
		.host = str_printf("%.*s", (int)len, host),
		.port = colon && colon[1] ? str_dup(colon + 1) : NULL,
	};
}

/* A word of the shell, in which tokens are put in as everywhere in a ProxyCommand. */
static void add_word(struct buf *b, const char *option, const char *word)
{
	_autofree_ char *quoted = word ? str_shell_quote(word) : NULL;

	if (word)
		buf_printf(b, " %s %s", option, quoted);
}

/* The name of a file, in which there are none. */
static void add_file(struct buf *b, const char *option, const char *name)
{
	_autofree_ char *quoted = name ? str_shell_quote(name) : NULL;

	if (!name)
		return;
	buf_printf(b, " %s ", option);
	for (const char *p = quoted; *p; p++)
		buf_printf(b, "%s%c", *p == '%' ? "%" : "", *p);
}

static char *jump_template(const struct ssh_config *c, const struct ssh_target *target)
{
	const char *comma = strrchr(c->proxy_jump, ',');
	_autofree_ char *others =
		comma ? str_printf("%.*s", (int)(comma - c->proxy_jump), c->proxy_jump) : NULL;
	_autofree_ char *known =
		target->known_hosts ? str_printf("UserKnownHostsFile=\"%s\"", target->known_hosts)
				    : NULL;
	struct hop hop;
	struct buf b = {0};

	hop_parse(&hop, comma ? comma + 1 : c->proxy_jump);
	buf_printf(&b, "ssh");
	add_file(&b, "-F", target->config);
	add_file(&b, "-o", known);
	add_word(&b, "-o", known ? "GlobalKnownHostsFile=/dev/null" : NULL);
	add_word(&b, "-o", "BatchMode=yes");
	add_word(&b, "-l", hop.user);
	add_word(&b, "-p", hop.port);
	add_word(&b, "-J", others);
	buf_printf(&b, " -W '[%%h]:%%p'");
	add_word(&b, "--", hop.host);
	hop_deinit(&hop);
	return b.data;
}

/* The others, however the command quotes them, can end a word or begin an option. */
static bool is_name(const char *name)
{
	static const char allowed[] = "._-:%@+=,~";

	if (!*name || *name == '-')
		return false;
	for (; *name; name++)
		if (!isalnum((unsigned char)*name) && !((unsigned char)*name & 0x80) &&
		    !strchr(allowed, *name))
			return false;
	return true;
}

static int add_name(struct buf *b, const char *name, const char *host, struct err *err)
{
	if (!is_name(name))
		return err_set(err, ERR_REFUSED,
			       "%s: \"%s\" cannot be given to the ProxyCommand or ProxyJump of "
			       "ssh_config: it is no plain name",
			       host, name);
	buf_printf(b, "%s", name);
	return 0;
}

static int add_token(struct buf *b, char token, const struct ssh_config *c, const char *host,
		     struct err *err)
{
	switch (token) {
	case '%':
		buf_add(b, "%", 1);
		return 0;
	case 'h':
		return add_name(b, c->hostname, host, err);
	case 'n':
		return add_name(b, host, host, err);
	case 'r':
		return add_name(b, c->user, host, err);
	case 'p':
		buf_printf(b, "%d", c->port);
		return 0;
	case '\0':
		return err_set(err, ERR_REFUSED,
			       "%s: the ProxyCommand of ssh_config ends with %%; see ssh_config(5)",
			       host);
	default:
		return err_set(err, ERR_REFUSED,
			       "%s: the ProxyCommand of ssh_config has %%%c, which is none of its "
			       "tokens (%%%% %%h %%n %%p %%r); see ssh_config(5)",
			       host, token);
	}
}

static int put_in(struct buf *b, const char *template, const struct ssh_config *c, const char *host,
		  struct err *err)
{
	for (; *template; template ++) {
		if (*template != '%')
			buf_add(b, template, 1);
		else if (add_token(b, template[1], c, host, err) < 0)
			return -1;
		else
			template ++;
	}
	return 0;
}

char *proxy_command_line(const struct ssh_config *c, const struct ssh_target *target,
			 struct err *err)
{
	_autofree_ char *made = c->proxy_jump ? jump_template(c, target) : NULL;
	struct buf b = {0};

	if (put_in(&b, made ? made : c->proxy_command, c, target->host, err) < 0) {
		buf_deinit(&b);
		return NULL;
	}
	return b.data;
}
