#include "migrate/clone_user.h"

#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "migrate/migration.h"
#include "migrate/scope.h"

/* --- who it is there --- */

/* Prints a line each: the login; its number; the user's number; the number of the user's group;
 * that of the group that was asked for; those of the others. Empty: there is none. */
static char *make_question(const struct source_process *process)
{
	_autofree_ char *user = str_shell_quote(process->user);
	_autofree_ char *group = str_shell_quote(process->group ? process->group : "");

	return str_printf("id -un; id -u; u=%s; n=$u; d=\n"
			  "case $u in *[!0-9]*) n=$(id -u \"$u\" 2>/dev/null)\n"
			  "d=$(id -g \"$u\" 2>/dev/null) ;; esac\n"
			  "gid() { case $1 in *[!0-9]*) getent group \"$1\" | cut -d: -f3 ;;\n"
			  "*) echo \"$1\" ;; esac; }\n"
			  "echo \"$n\"; echo \"$d\"; echo \"$(gid %s)\"\n"
			  "for g in %s; do gid \"$g\"; done; :",
			  user, group, process->groups ? process->groups : "");
}

/* The next line of *@text. Caller frees. */
static char *take_line(const char **text)
{
	size_t len = strcspn(*text, "\n");
	char *line = str_printf("%.*s", (int)len, *text);

	*text += len + ((*text)[len] == '\n');
	return line;
}

/* What is left of the answer: "4\n24\n" as "4,24". */
static char *take_groups(const char *text)
{
	struct buf b = {0};

	while (*text) {
		_autofree_ char *line = take_line(&text);

		if (*line)
			buf_printf(&b, "%s%s", b.len ? "," : "", line);
	}
	return b.data ? b.data : str_dup("-");
}

static void choose_group(struct migration *m, char *own, char *asked)
{
	if (!*asked && m->process.group && *own)
		migration_note(
			m,
			"%s: the source's QEMU runs in the group %s, which is not there; over "
			"there it runs in that of %s",
			m->dst.name, m->process.group, m->process.user);
	m->clone_user.gid = str_dup(*asked ? asked : own);
}

static void object(struct migration *m, const char *login)
{
	bool root = str_eq(login, "root");

	if (!*m->clone_user.uid)
		problems_add(&m->problems,
			     "%s: there is no user %s, as whom the source's QEMU runs; make that "
			     "user there, with its groups",
			     m->dst.name, m->process.user);
	else if (!*m->clone_user.gid)
		problems_add(&m->problems,
			     "%s: there is no group %s, in which the source's QEMU runs; make it "
			     "there",
			     m->dst.name, m->process.group);
	else if (m->clone.drops_user && !root)
		problems_add(&m->problems,
			     "%s: the source's QEMU was started as root, to become %s by itself "
			     "(-runas), and the login there is %s; log in as root",
			     m->dst.name, m->process.user, login);
	else if (m->as_other_user && !root)
		problems_add(&m->problems,
			     "%s: the source's QEMU runs as %s, and the login there is %s; log in "
			     "as %s or as root",
			     m->dst.name, m->process.user, login, m->process.user);
}

static void take_answer(struct migration *m, const char *text)
{
	struct clone_user *user = &m->clone_user;
	_autofree_ char *login = take_line(&text);
	_autofree_ char *login_uid = take_line(&text);
	_autofree_ char *own = NULL, *asked = NULL;

	user->uid = take_line(&text);
	own = take_line(&text);
	asked = take_line(&text);
	user->groups = m->process.groups ? take_groups(text) : str_dup("");
	m->as_other_user = !str_eq(login, m->process.user) && !str_eq(login_uid, user->uid);
	look_at_scope(m, login);
	choose_group(m, own, asked);
	object(m, login);
}

/* Its QEMU is to run as the same user; only root can see to that. One that becomes that user by
 * itself (-runas) has to be started as root: as the user it ends at once, since nobody else may
 * set groups (change_process_uid(), seen on 7.2). */
void look_at_clone_user(struct migration *m)
{
	_autofree_ char *command = make_question(&m->process);
	struct process_output output = {0};
	struct err err;

	if (host_command_ok(m->host, command, m->opt->timeouts.answer_ms, &output, &err) < 0)
		problems_add(&m->problems, "%s", err.text);
	else
		take_answer(m, output.out.data ? output.out.data : "");
	process_output_deinit(&output);
}

void clone_user_deinit(struct clone_user *user)
{
	free(user->uid);
	free(user->gid);
	free(user->groups);
	*user = (struct clone_user){0};
}

/* --- being it --- */

/* What was made for another user is that user's. */
static int give(struct migration *m, const char *made_path, int64_t timeout_ms, struct err *err)
{
	_autofree_ char *path = str_shell_quote(made_path ? made_path : "");
	_autofree_ char *command =
		str_printf("chown -h %s:%s %s", m->clone_user.uid, m->clone_user.gid, path);
	struct process_output output = {0};
	int ret = made_path ? host_command_ok(m->host, command, timeout_ms, &output, err) : 0;

	process_output_deinit(&output);
	return ret;
}

int clone_user_give(struct migration *m, int64_t timeout_ms, struct err *err)
{
	int ret = 0;

	for (size_t i = 0; m->as_other_user && ret == 0 && i < m->disks.count; i++)
		ret = give(m, m->disks.list[i].made_path, timeout_ms, err);
	for (size_t i = 0; m->as_other_user && ret == 0 && i < m->extras.count; i++)
		ret = give(m, m->extras.list[i].made_path, timeout_ms, err);
	return ret;
}

/* runuser stays as the parent of what it runs, and ends it when it is ended itself. It knows no
 * numbers. */
static const char as_user[] =
	"n=$1 u=$2 g=$3 s=$4; shift 4\n"
	"command -v setpriv >/dev/null || exec runuser -u \"$n\" -- \"$@\"\n"
	"case $s in '') set -- --init-groups -- \"$@\" ;; -) set -- --clear-groups -- \"$@\" ;;\n"
	"*) set -- --groups \"$s\" -- \"$@\" ;; esac\n"
	"exec setpriv --reuid \"$u\" --regid \"$g\" \"$@\"";

size_t clone_user_words(const struct migration *m, const char **words)
{
	size_t n = 0;

	if (!m->as_other_user || m->clone.drops_user)
		return 0;
	words[n++] = "sh";
	words[n++] = "-c";
	words[n++] = as_user;
	words[n++] = "sh";
	words[n++] = m->process.user;
	words[n++] = m->clone_user.uid;
	words[n++] = m->clone_user.gid;
	words[n++] = m->clone_user.groups;
	return n;
}
