/* The guard is a script of a POSIX shell that reads the token, then orders from its stdin, the
 * connection:
 *
 *   alive        we are: without this for so long, as if stdin had ended
 *   made N       file N of its arguments was made
 *   keys DIR     the directory DIR is made for keys: no longer than the guard lives
 *   run          the program; its shell words follow, up to a line with the token alone
 *   release      let everything live, whatever becomes of the connection
 *   undo         end the program, remove what was made, go; so does the end of stdin, if it was
 *                not released
 *   leave        go, after a release
 *
 * and says "TOKEN started", "TOKEN ended STATUS", "TOKEN released", "TOKEN undone". Everything
 * else that comes is the program's own. The token, drawn for each guard, keeps the two apart: what
 * a QEMU says may come from a guest.
 *
 * These are its processes, besides the shell that waits for them all:
 *
 *   main   has the orders;
 *   dog    sends main a SIGTERM when it was not told of an "alive" for so long: `read` of a POSIX
 *          shell knows no time;
 *   run    the parent of the program, which waits for its end, or ends it: first kindly, so that
 *          it removes its sockets, then by SIGKILL;
 *   relay  all that the others and the program write goes through it. It says "released" or
 *          "undone" and ends: then the connection is held open by nobody, and the program's stderr
 *          is a pipe that nobody reads, where writing fails at once. (QEMU ignores SIGPIPE: seen
 *          on 5.2, 7.2, 10.0, 11.1.) A pipe that is open and not emptied - by an sshd whose network
 *          has died - would sooner or later stop the guest.
 *
 * What the program writes need not end with its line (QEMU 7.2 warns of two floppy controllers
 * without): so whatever the guard says begins on a line of its own.
 *
 * The program gets a session of its own, so that no hangup of sshd reaches it. Whoever is ended
 * is told until it has heard: dash (0.5.12) loses a signal that comes to a subshell between its
 * fork and its first command. Until `run` knows whom to end it is deaf to that.
 *
 * A guard may outlive its move. Meanwhile the user may have removed its files and begun anew. So
 * each file is known by its inode, which the guard holds open so that no other file gets its
 * number: each level of orders() has one on descriptor 3, and those of the levels above out of the
 * way.
 */
#include "migrate/guard.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/str.h"
#include "migrate/key_directory.h"

/* The longest line of the program's, and how much of several is kept in words. */
#define WORDS_MAX 4096
#define WORDS_KEPT 1024

struct guard {
	struct loop *loop;
	struct host *host;
	struct stream *stream; /* NULL: the connection has ended */
	struct loop_timer *beat;
	char token[24];
	struct buf in, out;
	int64_t timeout_ms;
	bool ready, started, ended, released, undone;
	char words[WORDS_KEPT + WORDS_MAX]; /* of the program; see take_words() */
	size_t kept;                        /* bytes of them that stay */
	bool failed;                        /* they begin with an error */
};

/* So many naps of the dog, and so many of our signs of life, are its patience. */
#define NAPS 12

/* The files, as words of a shell; how many naps of how many seconds. */
static const char script[] =
	"set -- %s; naps=%d; nap=%d\n"
	"IFS= read -r t; exec 4>&1; made=; keys=; w=; d=; freed=; i=0\n"
	"for f in \"$@\"; do i=$((i + 1)); eval \"f$i=\\$f\"; done\n"
	"say() { printf '\\n%%s %%s\\n' \"$t\" \"$1\"; }\n"
	"nap() { sleep $1 & z=$!; wait $z; }\n"
	"stop() { kill $1; wait $1; }\n"
	"finish() {\n"
	"(q=; z=; trap 'q=1; [ -z \"$z\" ] || kill $z' TERM\n"
	"while [ -z \"$q\" ] && kill -TERM $1; do sleep 1 & z=$!\n"
	"[ -z \"$q\" ] || kill $z; while kill -0 $z; do wait $z; done; z=; done) & x=$!\n"
	"wait $1; stop $x; } 2>/dev/null\n"
	"id() { ls -di -- \"$1\" 2>/dev/null | { read -r n r; echo \"$n\"; }; }\n"
	"forget() { [ -z \"$keys\" ] || { " KEY_DIRECTORY_REMOVE "; } 2>/dev/null; }\n"
	"undo() {\n"
	"trap '' HUP TERM INT PIPE\n"
	"[ -z \"$w\" ] || finish $w\n"
	"forget\n"
	"for n in $made; do eval \"f=\\$f$n; i=\\$i$n\"\n"
	"[ \"$(id \"$f\")\" != \"$i\" ] || rm -f -- \"$f\"; done\n"
	"finish $d; [ -z \"$freed\" ] || exec >&4; say undone; exit 0; }\n"
	"leave() {\n"
	"trap '' HUP TERM INT; forget\n"
	"[ -z \"$w\" ] || kill -KILL $w; finish $d; exit 0; } 2>/dev/null\n"
	"run() {\n"
	"trap : TERM; trap - USR1\n"
	"if command -v setsid >/dev/null; then setsid \"$@\" </dev/null & else \"$@\" </dev/null & "
	"fi\n"
	"k=$!; x=\n"
	"trap 'kill -TERM $k; [ -n \"$x\" ] || {\n"
	"(trap \"kill \\$z; exit\" TERM; nap 3; kill -KILL $k) & x=$!; }' TERM\n"
	"trap '' HUP INT PIPE\n"
	"wait $k; s=$?\n"
	"while kill -0 $k; do wait $k; s=$?; done 2>/dev/null\n"
	"[ -z \"$x\" ] || stop $x 2>/dev/null; say \"ended $s\"; } 2>&1\n"
	"dog() {\n"
	"n=0; q=; z=; trap '' HUP INT PIPE; trap n=0 USR1\n"
	"trap 'q=1; [ -z \"$z\" ] || kill $z' TERM\n"
	"while [ -z \"$q\" ] && [ $n -lt $naps ]; do n=$((n + 1)); sleep $nap & z=$!\n"
	"[ -z \"$q\" ] || kill $z; while kill -0 $z; do wait $z; done; z=; done\n"
	"[ -n \"$q\" ] || kill -TERM $me; }\n"
	"relay() {\n"
	"while IFS= read -r l || [ -n \"$l\" ]; do\n"
	"printf '%%s\\n' \"$l\"; case $l in \"$t released\" | \"$t undone\") exit ;; esac; done; "
	"}\n"
	"orders() { while read -r word arg; do case $word in\n"
	"alive) kill -USR1 $d ;;\n"
	"made) eval \"f=\\$f$arg\"; eval \"i$arg=\\$(id \\\"\\$f\\\")\"; made=\"$made $arg\"\n"
	"[ ! -r \"$f\" ] || orders 3<\"$f\" ;;\n"
	"keys) keys=$arg ;;\n"
	"run) c=; while IFS= read -r l && [ \"$l\" != \"$t\" ]; do c=\"$c$l\n\"; done\n"
	"eval \"run $c\" 3<&- 4>&- & w=$!; say started ;;\n"
	"release) trap leave HUP TERM INT; trap '' PIPE; freed=1; say released ;;\n"
	"undo) undo ;;\n"
	"leave) leave ;;\n"
	"esac; done; [ -z \"$freed\" ] || leave; undo; }\n"
	"main() {\n"
	"read -r me r </proc/self/stat; trap undo HUP TERM INT PIPE; trap '' USR1\n"
	"dog </dev/null >/dev/null 2>&1 4>&- & d=$!\n"
	"say ready; orders; }\n"
	"main | relay 4>&-";

static void take_order(struct guard *g, const char *word)
{
	if (str_eq(word, "ready"))
		g->ready = true;
	else if (str_eq(word, "started"))
		g->started = true;
	else if (str_eq(word, "released"))
		g->released = true;
	else if (str_eq(word, "undone"))
		g->undone = true;
	else if (str_starts(word, "ended"))
		g->ended = true;
}

/* QEMU's own begin with its name, "kvm: ..."; those that explain one ("Use -machine help to list
 * supported machines") do not. */
static bool is_error(const char *line)
{
	size_t len = strcspn(line, ": ");

	return len && str_starts(line + len, ": ") && !strstr(line, ": warning: ") &&
	       !strstr(line, ": info: ");
}

/* From its first error on all that it says, as far as there is room, and always the last; before
 * that the last line alone. */
static void take_words(struct guard *g, const char *line)
{
	bool first = !g->failed && is_error(line);
	size_t end;

	g->failed |= first;
	if (first || !g->failed)
		g->kept = 0;
	snprintf(g->words + g->kept, sizeof(g->words) - g->kept, "%s%s", g->kept ? "; " : "", line);
	str_sanitize(g->words);
	end = strlen(g->words);
	if (g->failed && (!g->kept || end <= WORDS_KEPT))
		g->kept = end < WORDS_KEPT ? end : WORDS_KEPT;
}

static void take_line(struct guard *g, char *line)
{
	size_t len = strlen(g->token);

	if (strncmp(line, g->token, len) == 0 && line[len] == ' ') {
		take_order(g, line + len + 1);
	} else if (*line) {
		take_words(g, line);
	}
}

static void take_lines(struct guard *g)
{
	char *end;

	while (g->in.len && (end = memchr(g->in.data, '\n', g->in.len))) {
		*end = '\0';
		take_line(g, g->in.data);
		buf_drop(&g->in, (size_t)(end - g->in.data) + 1);
	}
	if (g->in.len > WORDS_MAX)
		buf_drop(&g->in, g->in.len - WORDS_MAX);
}

static void lose(struct guard *g)
{
	stream_close(g->stream);
	g->stream = NULL;
}

static void flush(struct guard *g)
{
	while (g->stream && g->out.len) {
		ssize_t n = stream_write(g->stream, g->out.data, g->out.len, NULL);

		if (n < 0)
			lose(g);
		if (n <= 0)
			break;
		buf_drop(&g->out, (size_t)n);
	}
	if (g->stream)
		stream_want_write(g->stream, g->out.len > 0);
}

static void on_ready(void *arg)
{
	struct guard *g = arg;
	char chunk[4096];
	ssize_t n = 0;

	flush(g);
	while (g->stream && (n = stream_read(g->stream, chunk, sizeof(chunk), NULL)) > 0) {
		buf_add(&g->in, chunk, (size_t)n);
		take_lines(g);
	}
	if (n < 0)
		lose(g);
}

static int send_text(struct guard *g, const char *text, struct err *err)
{
	if (g->stream) {
		buf_add(&g->out, text, strlen(text));
		flush(g);
	}
	if (!g->stream)
		return err_set(err, ERR_CLOSED, "%s: the guard of its QEMU is gone%s%s",
			       g->host->name, g->words[0] ? ": " : "", g->words);
	return 0;
}

static bool ready_or_lost(void *arg)
{
	return ((struct guard *)arg)->ready || !((struct guard *)arg)->stream;
}

static bool started_or_lost(void *arg)
{
	return ((struct guard *)arg)->started || !((struct guard *)arg)->stream;
}

static bool released_or_lost(void *arg)
{
	return ((struct guard *)arg)->released || !((struct guard *)arg)->stream;
}

/* It says "undone" and ends; only then is nothing of it left. */
static bool lost(void *arg)
{
	return !((struct guard *)arg)->stream;
}

static int await(struct guard *g, const char *what, bool (*done)(void *arg), const bool *came,
		 struct err *err)
{
	if (loop_await(g->loop, what, g->timeout_ms, done, g, err) < 0)
		return err_wrap(err, "%s", g->host->name);
	return *came ? 0
		     : err_set(err, ERR_CLOSED, "%s: the guard of its QEMU has ended: %s",
			       g->host->name, g->words[0] ? g->words : "without a reason");
}

static int draw_token(struct guard *g, struct err *err)
{
	uint64_t n;

	if (getrandom(&n, sizeof(n), 0) != (ssize_t)sizeof(n))
		return err_errno(err, errno, "getrandom");
	snprintf(g->token, sizeof(g->token), "%016llx", (unsigned long long)n);
	return 0;
}

static char *make_script(char *const *files, size_t count, int patience_s)
{
	_cleanup_buf_ struct buf words = {0};
	int nap_s = (patience_s + NAPS - 1) / NAPS;

	for (size_t i = 0; i < count; i++) {
		_autofree_ char *word = str_shell_quote(files[i]);

		buf_printf(&words, "%s ", word);
	}
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
	return str_printf(script, words.data ? words.data : "", patience_s / nap_s, nap_s);
#pragma GCC diagnostic pop
}

/* One that the connection has not taken yet says it all. */
static void on_beat(void *arg)
{
	struct guard *g = arg;

	if (!g->out.len)
		send_text(g, "alive\n", NULL);
}

static int first_words(struct guard *g, int patience_s, struct err *err)
{
	_autofree_ char *token = str_printf("%s\n", g->token);

	stream_watch(g->stream, on_ready, g);
	if (send_text(g, token, err) < 0 ||
	    await(g, "a shell over there", ready_or_lost, &g->ready, err) < 0)
		return -1;
	g->beat = loop_timer_add(g->loop, patience_s * 1000 / NAPS, on_beat, g);
	return 0;
}

struct guard *guard_start(struct loop *loop, struct host *host, char *const *files, size_t count,
			  const struct guard_patience *patience, struct err *err)
{
	struct guard *g = mem_zalloc(1, sizeof(*g));
	_autofree_ char *command = make_script(files, count, patience->silence_s);

	g->loop = loop;
	g->host = host;
	g->timeout_ms = patience->answer_ms;
	if (draw_token(g, err) == 0)
		g->stream = host_program(host, command, err);
	if (g->stream && first_words(g, patience->silence_s, err) == 0)
		return g;
	guard_close(g);
	return NULL;
}

int guard_made(struct guard *g, size_t index, struct err *err)
{
	_autofree_ char *order = str_printf("made %zu\n", index + 1);

	return send_text(g, order, err);
}

int guard_keys(struct guard *g, const char *directory, struct err *err)
{
	_autofree_ char *order = str_printf("keys %s\n", directory);

	return send_text(g, order, err);
}

static void add_words(struct buf *b, const char *const *words)
{
	for (; words && *words; words++) {
		_autofree_ char *word = str_shell_quote(*words);

		buf_printf(b, "%s ", word);
	}
}

int guard_run(struct guard *g, const char *cwd, const char *const *environment,
	      const char *const *argv, struct err *err)
{
	_cleanup_buf_ struct buf order = {0};
	_autofree_ char *directory = str_shell_quote(cwd);

	g->started = g->ended = g->failed = false;
	g->words[0] = '\0';
	g->kept = 0;
	buf_printf(&order, "run\n");
	buf_printf(&order, "sh -c 'cd \"$1\" && shift && exec \"$@\"' sh %s env ", directory);
	add_words(&order, environment);
	add_words(&order, argv);
	buf_printf(&order, "\n%s\n", g->token);
	if (send_text(g, order.data, err) < 0)
		return -1;
	return await(g, "the start of QEMU", started_or_lost, &g->started, err);
}

bool guard_program_ended(const struct guard *g)
{
	return g->ended || !g->stream;
}

bool guard_is_there(const struct guard *g)
{
	return g->stream;
}

const char *guard_last_words(const struct guard *g)
{
	return g->words[0] ? g->words : "it gave no reason";
}

int guard_release(struct guard *g, int64_t timeout_ms, struct err *err)
{
	if (g->released)
		return 0;
	g->timeout_ms = timeout_ms;
	if (send_text(g, "release\n", err) < 0)
		return -1;
	return await(g, "the guard to let go of it", released_or_lost, &g->released, err);
}

int guard_undo(struct guard *g, int64_t timeout_ms, struct err *err)
{
	g->timeout_ms = timeout_ms;
	if (send_text(g, "undo\n", err) < 0)
		return -1;
	return await(g, "the guard to end what it started", lost, &g->undone, err);
}

int guard_leave(struct guard *g, int64_t timeout_ms, struct err *err)
{
	if (send_text(g, "leave\n", err) < 0)
		return 0; /* it has */
	if (loop_await(g->loop, "the guard to leave", timeout_ms, lost, g, err) < 0)
		return err_wrap(err, "%s", g->host->name);
	return 0;
}

void guard_close(struct guard *g)
{
	if (!g)
		return;
	loop_timer_del(g->beat);
	lose(g);
	buf_deinit(&g->in);
	buf_deinit(&g->out);
	free(g);
}
