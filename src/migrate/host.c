#include "migrate/host.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* The last line of what a program said, which with most programs is the error. */
static const char *last_line(struct buf *b)
{
	char *start;

	while (b->len && (b->data[b->len - 1] == '\n' || b->data[b->len - 1] == '\r'))
		b->data[--b->len] = '\0';
	if (!b->len)
		return "it gave no reason";
	start = strrchr(b->data, '\n');
	return start ? start + 1 : b->data;
}

int host_command_ok(struct host *host, const char *command, int64_t timeout_ms,
		    struct process_output *output, struct err *err)
{
	if (host_command(host, command, timeout_ms, output, err) < 0)
		return -1;
	if (output->status != 0)
		return err_set(err, ERR_FAILED, "%s: %s (exit status %d of: %s)", host->name,
			       last_line(&output->err), output->status, command);
	return 0;
}

int host_file_id(struct host *host, const char *path, struct file_id *id, int64_t timeout_ms,
		 struct err *err)
{
	_autofree_ char *word = str_shell_quote(path);
	_autofree_ char *command = str_printf(
		"cat /proc/sys/kernel/random/boot_id && stat -L -c '%%d %%i' -- %s", word);
	struct process_output output = {0};
	int ret = host_command_ok(host, command, timeout_ms, &output, err);

	if (ret == 0 && (!output.out.data || sscanf(output.out.data, "%39s %" SCNu64 " %" SCNu64,
						    id->boot_id, &id->device, &id->inode) != 3))
		ret = err_set(err, ERR_FAILED, "%s: stat of %s gives no device and inode",
			      host->name, path);
	process_output_deinit(&output);
	return ret;
}

char *host_file_state(struct host *host, const char *path, int64_t timeout_ms, struct err *err)
{
	_autofree_ char *word = str_shell_quote(path);
	_autofree_ char *command = str_printf("p=%s; f='%%d %%i %%s %%y'; [ ! -b \"$p\" ] || "
					      "f='%%t %%T'; stat -L -c \"$f\" -- \"$p\"",
					      word);
	struct process_output output = {0};
	int ret = host_command_ok(host, command, timeout_ms, &output, err);
	char *state = ret == 0 ? str_dup(output.out.data ? output.out.data : "") : NULL;

	process_output_deinit(&output);
	return state;
}

int host_file_sync(struct host *host, const char *path, int64_t timeout_ms, struct err *err)
{
	_autofree_ char *word = str_shell_quote(path);
	_autofree_ char *command = str_printf("sync -- %s", word);
	struct process_output output = {0};
	int ret = host_command_ok(host, command, timeout_ms, &output, err);

	process_output_deinit(&output);
	return ret;
}

char *host_listener_cwd(struct host *host, const char *path, int64_t timeout_ms, struct err *err)
{
	_autofree_ char *word = str_shell_quote(path);
	_autofree_ char *command = str_printf(
		"p=%s; while read -r _ _ _ _ _ _ i f; do [ \"$f\" != \"$p\" ] || break; done "
		"</proc/net/unix; [ \"$f\" = \"$p\" ] && d=$(find /proc/[0-9]*/fd -maxdepth 1 "
		"-lname "
		"\"socket:\\\\[$i\\\\]\" 2>/dev/null | head -n 1) && readlink \"${d%%/fd/*}/cwd\"",
		word);
	struct process_output output = {0};
	char *cwd = NULL;

	if (host_command(host, command, timeout_ms, &output, err) == 0) {
		char *end = output.out.data ? strchr(output.out.data, '\n') : NULL;

		if (output.status == 0 && end && output.out.data[0] == '/')
			cwd = str_printf("%.*s", (int)(end - output.out.data), output.out.data);
		else
			err_set(err, ERR_FAILED, "no process is seen that listens on %s", path);
	}
	process_output_deinit(&output);
	return cwd;
}

/* Exits with 10 when somebody listens on $p. The flag is __SO_ACCEPTCON; "@" stands before the
 * names of the abstract namespace. A name that is not $p itself is one in the root directory of
 * whoever listens, or relative to where he was: a daemon has gone to / since, but for its $PWD. */
#define LISTENS 10

static const char listener_script[] =
	"[ -r /proc/self/net/unix ] || exit 1; "
	"is_it() { "
	"x=$(find /proc/[0-9]*/fd -maxdepth 1 -lname \"socket:\\\\[$1\\\\]\" | head -n 1); "
	"x=${x%/fd/*}; [ \"$x\" ] || { [ -e \"$p\" ]; return; }; "
	"case $2 in /*) [ \"$x/root$2\" -ef \"$p\" ]; return ;; esac; "
	"for w in \"$x/cwd\" \"$(tr '\\0' '\\n' <\"$x/environ\" | sed -n 's/^PWD=//p')\"; do "
	"w=$w/$2; [ ! \"${w%/*}/\" -ef \"${p%/*}/\" ] || return 0; done; return 1; }; "
	"for d in /proc/self /proc/[0-9]*; do "
	"if [ $d != /proc/self ] && { [ $d/ns/net -ef /proc/self/ns/net ] || "
	"[ ! \"$d/root$p\" -ef \"$p\" ]; }; then continue; fi; "
	"while read -r _ _ _ flags _ _ i f; do [ \"$flags\" = 00010000 ] || continue; "
	"case $f in @*) continue ;; \"$p\") exit 10 ;; "
	"/*) [ ! \"$f\" -ef \"$p\" ] || exit 10; [ ! -e \"$f\" ] || continue ;; esac; "
	"[ \"${f##*/}\" != \"${p##*/}\" ] || ! is_it \"$i\" \"$f\" || exit 10; "
	"done <$d/net/unix; done 2>/dev/null; exit 0";

int host_listens(struct host *host, const char *path, int64_t timeout_ms, bool *listens,
		 struct err *err)
{
	_autofree_ char *word = str_shell_quote(path);
	_autofree_ char *command = str_printf("p=%s; %s", word, listener_script);
	struct process_output output = {0};
	int ret = host_command(host, command, timeout_ms, &output, err);

	if (ret == 0 && output.status != 0 && output.status != LISTENS)
		ret = err_set(err, ERR_FAILED, "%s: whether somebody listens on %s cannot be seen",
			      host->name, path);
	*listens = ret == 0 && output.status == LISTENS;
	process_output_deinit(&output);
	return ret;
}
