/* What a login leaves running, systemd-logind may end with it (KillUserProcesses=yes): then the
 * guest would run on neither host as soon as our SSH session ends, after a move that went well.
 * So that is refused, with the way out: a scope of its own, which is no part of the session. It
 * is not chosen by itself, because where a guest's process is in the tree of units decides what
 * limits and watches it.
 *
 * systemd-run --scope puts itself into the new scope and then becomes the program: the guard's
 * process stays the guard's, and the scope is gone when that has ended. A scope of a user's own
 * manager ends with that user's last login, unless it lingers.
 */
#include "migrate/scope.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"

/* Each fact a line, as loginctl gives its own. */
static const char question[] =
	"[ -d /run/systemd/system ] || exit 0; echo Systemd=yes; "
	"if command -v systemd-run >/dev/null; then echo Run=yes; fi; "
	"if grep -qs '/session-[^/]*\\.scope' /proc/self/cgroup; then echo Session=yes; fi; "
	"loginctl show-session -p KillUserProcesses -p KillOnlyUsers -p KillExcludeUsers; "
	"loginctl show-user \"$(id -un)\" -p Linger; exit 0";

/* The value of "NAME=" in the answer; the caller's to free, "" when it is not there. */
static char *value_of(const char *answer, const char *name)
{
	size_t len = strlen(name);

	for (const char *line = answer; *line;) {
		size_t line_len = strcspn(line, "\n");

		if (strncmp(line, name, len) == 0 && line[len] == '=')
			return str_printf("%.*s", (int)(line_len - len - 1), line + len + 1);
		line += line_len + (line[line_len] == '\n');
	}
	return str_dup("");
}

static bool is_yes(const char *answer, const char *name)
{
	_autofree_ char *value = value_of(answer, name);

	return str_eq(value, "yes");
}

/* Whether @user is in the list that @name has in the answer; *@empty: that has none. */
static bool lists(const char *answer, const char *name, const char *user, bool *empty)
{
	_autofree_ char *list = value_of(answer, name);
	char *rest = NULL;
	bool found = false;

	*empty = !*list;
	for (char *word = strtok_r(list, " ", &rest); word; word = strtok_r(NULL, " ", &rest))
		found |= str_eq(word, user);
	return found;
}

/* manager_shall_kill() of systemd's src/login/logind-core.c. */
static bool is_killed(const char *answer, const char *login)
{
	bool none_excluded, all;
	bool excluded = lists(answer, "KillExcludeUsers", login, &none_excluded);
	bool named = lists(answer, "KillOnlyUsers", login, &all);

	return is_yes(answer, "KillUserProcesses") && !excluded && (all || named);
}

static void object(struct migration *m, const char *answer, const char *login)
{
	bool root = str_eq(login, "root");

	if (m->opt->scope && !is_yes(answer, "Systemd"))
		problems_add(&m->problems, "%s: no systemd runs there; leave --scope out",
			     m->dst.name);
	else if (m->opt->scope && !is_yes(answer, "Run"))
		problems_add(&m->problems, "%s: there is no systemd-run, which --scope needs",
			     m->dst.name);
	else if (m->opt->scope && !root && !is_yes(answer, "Linger"))
		problems_add(&m->problems,
			     "%s: what %s has running ends with the last login of %s, also in a "
			     "scope; let it linger (loginctl enable-linger %s), or log in as root",
			     m->dst.name, login, login, login);
	else if (!m->opt->scope && is_yes(answer, "Session") && is_killed(answer, login))
		problems_add(&m->problems,
			     "%s: systemd-logind ends there what a login of %s leaves running "
			     "(KillUserProcesses=yes), and the guest would end with our SSH "
			     "session; give --scope",
			     m->dst.name, login);
}

static bool ends_with(const char *s, size_t len, const char *end)
{
	return len > strlen(end) && strncmp(s + len - strlen(end), end, strlen(end)) == 0;
}

/* Units that say how a process was started, not what it is. */
static bool is_anybodys(const char *name)
{
	static const char *const beginnings[] = {"session-",   "user@",        "run-",
						 "init.scope", "ssh",          "user-",
						 "user.slice", "system.slice", "app.slice"};

	for (size_t i = 0; i < sizeof(beginnings) / sizeof(beginnings[0]); i++)
		if (str_starts(name, beginnings[i]))
			return true;
	return false;
}

/* The path of systemd's own hierarchy: "0::/a" or "1:name=systemd:/a". */
static const char *path_of(const char *cgroup)
{
	const char *v1 = strstr(cgroup, ":name=systemd:");
	const char *v2 = strstr(cgroup, "0::/");

	return v1 ? v1 + strlen(":name=systemd:") : v2 ? v2 + strlen("0::") : "";
}

void scope_parse(const char *cgroup, char **unit, char **slice)
{
	const char *p = path_of(cgroup);

	*unit = *slice = NULL;
	while (*p == '/' && !*unit) {
		size_t len = strcspn(++p, "/\n");
		_autofree_ char *name = str_printf("%.*s", (int)len, p);
		const char *end = ends_with(p, len, ".scope")     ? ".scope"
				  : ends_with(p, len, ".service") ? ".service"
								  : NULL;

		p += len;
		if (ends_with(name, len, ".slice")) {
			free(*slice);
			*slice = is_anybodys(name) ? NULL : str_take(&name);
		} else if (end && !is_anybodys(name)) {
			*unit = str_printf("%.*s", (int)(len - strlen(end)), name);
		}
	}
}

static void read_unit(struct migration *m)
{
	_autofree_ char *path = str_printf("/proc/%d/cgroup", (int)m->src_pid);
	FILE *file = fopen(path, "re");
	char text[8192];
	size_t n = file ? fread(text, 1, sizeof(text) - 1, file) : 0;

	text[n] = '\0';
	if (file)
		fclose(file);
	scope_parse(text, &m->scope_unit, &m->scope_slice);
}

void look_at_scope(struct migration *m, const char *login)
{
	struct process_output output = {0};
	struct err err;

	m->scope_of_user = !str_eq(login, "root");
	if (m->opt->scope)
		read_unit(m);
	if (host_command(m->host, question, m->opt->timeouts.answer_ms, &output, &err) < 0)
		problems_add(&m->problems, "%s", err.text);
	else
		object(m, output.out.data ? output.out.data : "", login);
	process_output_deinit(&output);
}

/* The bus of a user's manager, where sshd has no PAM that tells where it is. */
static const char on_user_bus[] =
	"XDG_RUNTIME_DIR=${XDG_RUNTIME_DIR:-/run/user/$(id -u)} exec \"$@\"";

size_t scope_words(const struct migration *m, const char **words)
{
	static const char *const user[] = {"sh", "-c", on_user_bus, "sh", "systemd-run", "--user"};
	size_t n = 0;

	if (!m->opt->scope)
		return 0;
	for (size_t i = 0; m->scope_of_user && i < sizeof(user) / sizeof(user[0]); i++)
		words[n++] = user[i];
	if (!m->scope_of_user)
		words[n++] = "systemd-run";
	words[n++] = "--scope";
	words[n++] = "--quiet";
	words[n++] = "--collect";
	if (m->scope_unit) {
		words[n++] = "--unit";
		words[n++] = m->scope_unit;
	}
	if (m->scope_slice) {
		words[n++] = "--slice";
		words[n++] = m->scope_slice;
	}
	words[n++] = "--";
	return n;
}
