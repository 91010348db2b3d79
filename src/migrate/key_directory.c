/* /run, or the login's own $XDG_RUNTIME_DIR, then /dev/shm, are what a Linux host has in memory.
 * What others may write to is no danger: the directory's name is new with each migration and is
 * not known before, and mkdir(2) takes none that is there, nor follows a link. */
#include "migrate/key_directory.h"

#include <stdlib.h>
#include <string.h>

#include "base/str.h"

#define KEY_FILE "keys.psk"
#define GROUP_FILE "dh-params.pem"

/* ffdhe2048 of RFC 7919, appendix A.1: as public as pi. */
static const char group_pem[] = "-----BEGIN DH PARAMETERS-----\n"
				"MIIBCAKCAQEA//////////+t+FRYortKmq/cViAnPTzx2LnFg84tNpWp4TZBFGQz\n"
				"+8yTnc4kmz75fS/jY2MMddj2gbICrsRhetPfHtXV/WVhJDP1H18GbtCFY2VVPe0a\n"
				"87VXE15/V8k1mE8McODmi3fipona8+/och3xWKE2rec1MKzKT0g6eXq8CrGCsyT7\n"
				"YdEIqUuyyOP7uWrat2DX9GgdT0Kj3jlN9K5W7edjcrsZCwenyO4KbXCeAvzhzffi\n"
				"7MA0BM0oNC9hkXL+nOmFg/+OTxIy7vKBg8P+OxtMb61zO7X8vC7CIAXFjvGDfRaD\n"
				"ssbzSibBsu/6iGtCOGEoXJf//////////wIBAg==\n"
				"-----END DH PARAMETERS-----\n";

/* The effective user of a process; proc(5). */
#define READ_UID "while read -r k _ e _; do [ \"$k\" != Uid: ] || echo \"$e\"; done <"

char *key_reader_process(int pid)
{
	return str_printf("{ " READ_UID "/proc/%d/status; } 2>/dev/null", pid);
}

/* Only root sees whose socket it is, and only root could give the key to another user. */
char *key_reader_listener(const char *path)
{
	_autofree_ char *word = str_shell_quote(path);

	return str_printf(
		"[ \"$(id -u)\" != 0 ] || "
		"{ p=%s; while read -r _ _ _ _ _ _ i f; do [ \"$f\" != \"$p\" ] || break; "
		"done </proc/net/unix; [ \"$f\" = \"$p\" ] && "
		"d=$(find /proc/[0-9]*/fd -maxdepth 1 -lname \"socket:\\\\[$i\\\\]\" "
		"2>/dev/null | head -n 1) && " READ_UID "\"${d%%/fd/*}/status\"; } 2>/dev/null",
		word);
}

/* Takes "OWNER OWN PARENT" of the command below. */
static int take_place(struct host *host, char *text, const char *name, struct key_place *place,
		      struct err *err)
{
	char *rest = text, *owner = text ? strsep(&rest, " ") : NULL;
	const char *own = rest ? strsep(&rest, " ") : NULL;
	char *parent = rest ? strsep(&rest, "\n") : NULL;

	if (!parent || *parent != '/' || !rest || *rest || strspn(owner, "0123456789") == 0 ||
	    owner[strspn(owner, "0123456789")])
		return err_set(err, ERR_FAILED,
			       "%s: no directory is seen there for a key, or sockets (/run, "
			       "/dev/shm, /tmp)",
			       host->name);
	place->path = str_printf("%s/%s", parent, name);
	place->owner = str_eq(owner, own) ? NULL : str_dup(owner);
	return 0;
}

int key_directory_choose(struct host *host, const char *name, const char *reader,
			 struct key_place *place, int64_t timeout_ms, struct err *err)
{
	_autofree_ char *command =
		str_printf("o=$(%s); u=$(id -u); o=${o:-$u}; r=${XDG_RUNTIME_DIR-}; [ \"$u\" != 0 "
			   "] || r=/run; "
			   "for d in \"$r\" /dev/shm /tmp; do "
			   "case $d in *[!-/._A-Za-z0-9]* | '' | [!/]*) continue ;; esac; "
			   "[ -d \"$d\" ] && [ -w \"$d\" ] || continue; "
			   "case $d:$(stat -f -c %%T -- \"$d\") in /tmp:* | *:tmpfs | *:ramfs) "
			   "echo \"$o $u $d\"; exit ;; esac; done",
			   reader);
	struct process_output output = {0};
	int ret = host_command(host, command, timeout_ms, &output, err);

	if (ret == 0)
		ret = take_place(host, output.out.data, name, place, err);
	process_output_deinit(&output);
	return ret;
}

static int run(struct host *host, const char *command, int64_t timeout_ms, struct err *err)
{
	struct process_output output = {0};
	int ret = host_command_ok(host, command, timeout_ms, &output, err);

	process_output_deinit(&output);
	return ret;
}

/* @what: "" for the directory itself, or "-R" with what is in it. */
static int give(struct host *host, const struct key_place *place, const char *what,
		int64_t timeout_ms, struct err *err)
{
	_autofree_ char *word = str_shell_quote(place->path);
	_autofree_ char *command = str_printf("chown %s %s %s", what, place->owner, word);

	return place->owner ? run(host, command, timeout_ms, err) : 0;
}

int key_directory_make_empty(struct host *host, const struct key_place *place, int64_t timeout_ms,
			     struct err *err)
{
	_autofree_ char *word = str_shell_quote(place->path);
	_autofree_ char *command = str_printf("mkdir -m 0700 -- %s", word);

	if (run(host, command, timeout_ms, err) < 0)
		return -1;
	return give(host, place, "", timeout_ms, err);
}

static int write_file(struct host *host, const char *directory, const char *name, const void *data,
		      size_t len, struct err *err)
{
	_autofree_ char *path = str_printf("%s/%s", directory, name);
	struct host_file *file = host_file_open_new(host, path, 0600, err);
	int ret;

	if (!file)
		return -1;
	ret = host_file_write(host, file, data, len, err);
	if (host_file_finish(host, file, ret < 0 ? NULL : err) < 0)
		ret = -1;
	return ret;
}

int key_directory_make(struct host *host, const struct key_place *place, const void *key,
		       size_t len, bool group, int64_t timeout_ms, struct err *err)
{
	_autofree_ char *word = str_shell_quote(place->path);
	_autofree_ char *make = str_printf("mkdir -m 0700 -- %s", word);

	if (run(host, make, timeout_ms, err) < 0 ||
	    write_file(host, place->path, KEY_FILE, key, len, err) < 0 ||
	    (group &&
	     write_file(host, place->path, GROUP_FILE, group_pem, sizeof(group_pem) - 1, err) < 0))
		return -1;
	return give(host, place, "-R", timeout_ms, err);
}

int key_directory_remove(struct host *host, const char *path, int64_t timeout_ms, struct err *err)
{
	_autofree_ char *word = str_shell_quote(path);
	_autofree_ char *command =
		str_printf("keys=%s; [ ! -d \"$keys\" ] || { %s; }", word, KEY_DIRECTORY_REMOVE);

	return run(host, command, timeout_ms, err);
}
