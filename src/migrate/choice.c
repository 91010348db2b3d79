/* Each command is sent through the QEMU's monitor by socat(1), with a second for its answer: QEMU
 * drops what it has not read yet when its client ends (seen on 7.2). */
#include "migrate/choice.h"

#include <string.h>

#include "base/str.h"

/* One of the two: what speaks for it, in two parts around the destination's name. */
struct choice {
	bool on_src;
	const char *command; /* QEMU's */
	const char *before, *after;
};

struct pair {
	struct choice of[2];
};

static const struct pair source_stands = {{
	{true, "quit", "if the guest runs on ", ", end the source's QEMU (`quit`)"},
	{true, "cont", "if it surely does not run on ",
	 ", run it here as it was at the switchover (`cont`)"},
}};

static const struct pair source_gone = {{
	{false, "cont", "if the guest has not run here since, nor is to, run it on ", " (`cont`)"},
	{false, "quit", "if it has, or is to be started anew, end the QEMU on ", " (`quit`)"},
}};

static const struct pair both_have_it = {{
	{true, "quit", "if the guest is to be on ",
	 ", end the source's QEMU (`quit`); what it has written here since is lost"},
	{false, "quit", "if it is to be here, end the QEMU on ",
	 " (`quit`); what it has written there since is lost"},
}};

/* It may have no more than this: nobody is told to end what runs here. */
static const struct pair source_runs = {{
	{false, "quit", "as the guest runs here, end the QEMU on ", " (`quit`)"},
}};

/* NULL: no command settles it. Whose monitor does not answer obeys none. */
static const struct pair *pair_for(const struct migration *m, const struct found *found,
				   bool dst_holds)
{
	bool dst_is_not_ours = found->dst == SEEN_GONE || found->dst == SEEN_OTHER;

	if (found->src == SEEN_UNKNOWN)
		return NULL;
	if (found->src == SEEN_THERE && !m->src.status.running && !dst_holds)
		return &source_stands;
	if (dst_is_not_ours)
		return NULL;
	if (found->src == SEEN_GONE)
		return &source_gone;
	return dst_holds ? &both_have_it : &source_runs;
}

/* In no need of quotes, in our shell, in that over there, and in socat's addresses. */
static bool is_plain(const char *word)
{
	return !word[strspn(word, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
				  "/._+-@")];
}

static void add_option(struct buf *line, const char *option, const char *value)
{
	_autofree_ char *quoted = value && !is_plain(value) ? str_shell_quote(value) : NULL;

	if (value)
		buf_printf(line, " %s%s", option, quoted ? quoted : value);
}

/* What the command goes through to the destination's host. */
static void add_ssh(struct buf *line, const struct ssh_target *ssh)
{
	_autofree_ char *port = ssh->port ? str_printf("%d", ssh->port) : NULL;

	buf_printf(line, "ssh");
	add_option(line, "-F ", ssh->config);
	add_option(line, "-i ", ssh->identity);
	add_option(line, "-o UserKnownHostsFile=", ssh->known_hosts);
	add_option(line, "-p ", port);
	add_option(line, "-l ", ssh->user);
	add_option(line, "", ssh->host);
}

/* The pipe is all on the host of the monitor: over there, its second does not run while ssh(1)
 * connects. */
static void add_command(struct buf *line, const struct migration *m, const struct choice *choice)
{
	const char *socket = choice->on_src ? m->opt->source : m->opt->dst.socket;
	bool by_ssh = !choice->on_src && m->opt->dst.host;
	const char *quote = by_ssh ? "\\\"" : "\"";

	if (!is_plain(socket)) {
		buf_printf(line, "%s on %s", choice->command, socket);
		return;
	}
	if (by_ssh)
		add_ssh(line, &m->opt->ssh);
	buf_printf(line,
		   "%s(echo '{%sexecute%s:%sqmp_capabilities%s}{%sexecute%s:%s%s%s}'; sleep 1) "
		   "| %ssocat - UNIX:%s%s",
		   by_ssh ? " \"" : "", quote, quote, quote, quote, quote, quote, quote,
		   choice->command, quote, by_ssh && m->opt->ssh.sudo ? "sudo " : "", socket,
		   by_ssh ? "\"" : "");
}

void choice_offer(struct migration *m, const struct found *found, bool dst_holds)
{
	const struct pair *pair = pair_for(m, found, dst_holds);

	for (size_t i = 0; pair && i < 2 && pair->of[i].command; i++) {
		const struct choice *choice = &pair->of[i];
		_cleanup_buf_ struct buf line = {0};

		add_command(&line, m, choice);
		problems_add(&m->choices, "%s%s%s: %s", choice->before, m->dst.name, choice->after,
			     line.data);
	}
}
