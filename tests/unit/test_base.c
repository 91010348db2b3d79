#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/err.h"
#include "base/loop.h"
#include "base/process.h"
#include "base/str.h"
#include "base/stream.h"
#include "base/tcp.h"
#include "unit.h"

/* --- str --- */

START_TEST(sizes_are_parsed)
{
	static const struct {
		const char *text;
		uint64_t bytes;
	} good[] = {
		{"0", 0},
		{"1", 1},
		{"7B", 7},
		{"1k", 1024},
		{"1K", 1024},
		{"1kB", 1024},
		{"1KiB", 1024},
		{"500k", 512000},
		{"3M", 3ull << 20},
		{"2g", 2ull << 30},
		{"2GiB", 2ull << 30},
		{"1T", 1ull << 40},
		{"16777215T", 16777215ull << 40},
		{"18446744073709551615", UINT64_MAX},
		{"007", 7},
	};

	for (size_t i = 0; i < COUNT_OF(good); i++) {
		uint64_t bytes = 1234;

		ck_assert_msg(str_parse_size(good[i].text, &bytes), "%s", good[i].text);
		ck_assert_msg(bytes == good[i].bytes, "%s: %" PRIu64, good[i].text, bytes);
	}
}
END_TEST

START_TEST(what_is_no_size_is_refused)
{
	static const char *const bad[] = {
		"",
		"k",
		"-1",
		"+1",
		" 1",
		"1 ",
		"1 k",
		"1x",
		"1kk",
		"1Ki",
		"1kBB",
		"1iB",
		"1.5G",
		"0x10",
		"1P",
		"1BB",
		"1GiBs",
		"18446744073709551616",
		"16777216T",
		"99999999999999999999999",
		"18014398509481984k",
		"1\n",
	};

	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		uint64_t bytes;

		ck_assert_msg(!str_parse_size(bad[i], &bytes), "\"%s\" was taken", bad[i]);
	}
}
END_TEST

START_TEST(sizes_are_shown)
{
	char buf[32];

	ck_assert_str_eq(str_size(buf, sizeof(buf), 0), "0 bytes");
	ck_assert_str_eq(str_size(buf, sizeof(buf), 1023), "1023 bytes");
	ck_assert_str_eq(str_size(buf, sizeof(buf), 1024), "1.0 KiB");
	ck_assert_str_eq(str_size(buf, sizeof(buf), 18468320051), "17.2 GiB");
	ck_assert_str_eq(str_size(buf, sizeof(buf), 100ull << 30), "100 GiB");
	ck_assert_str_eq(str_size(buf, sizeof(buf), UINT64_MAX), "16.0 EiB");
}
END_TEST

static void sanitized(const char *from, const char *wanted)
{
	_autofree_ char *s = str_dup(from);

	str_sanitize(s);
	ck_assert_str_eq(s, wanted);
}

START_TEST(control_characters_are_replaced)
{
	sanitized("", "");
	sanitized("plain, with ~ and !", "plain, with ~ and !");
	sanitized("a\nb\tc", "a b c");
	sanitized("\033[31mred\033]0;title\007", "?[31mred?]0;title?");
	sanitized("\r\b\177\001", "????");
	sanitized("\302\233"
		  "31m",
		  "??31m");                    /* U+009B, CSI in one character */
	sanitized("\302\200\302\237", "????"); /* the first and the last C1 */
	sanitized("\302\240", "\302\240");     /* U+00A0 is none */
}
END_TEST

START_TEST(valid_utf8_stays)
{
	sanitized("gr\303\274n", "gr\303\274n");
	sanitized("\340\240\200\357\277\275", "\340\240\200\357\277\275"); /* U+0800, U+FFFD */
	sanitized("\360\220\200\200", "\360\220\200\200");                 /* U+10000 */
	sanitized("\364\217\277\277", "\364\217\277\277");                 /* U+10FFFF */
	sanitized("\355\237\277", "\355\237\277");                         /* U+D7FF */
}
END_TEST

START_TEST(invalid_utf8_is_replaced)
{
	sanitized("\377\376", "??");
	sanitized("\200\277", "??"); /* continuations of nothing */
	sanitized("a\303", "a?");    /* cut off */
	sanitized("a\342\202", "a??");
	sanitized("\360\237\230", "???");
	sanitized("\303A", "?A");
	sanitized("\300\233", "??"); /* ESC in two bytes */
	sanitized("\301\277", "??");
	sanitized("\365\200\200\200", "????");
}
END_TEST

START_TEST(overlong_and_impossible_utf8_is_replaced)
{
	sanitized("\340\200\233", "???");      /* ESC in three bytes */
	sanitized("\340\202\233", "???");      /* CSI in three bytes */
	sanitized("\360\200\200\233", "????"); /* ESC in four bytes */
	sanitized("\355\240\200", "???");      /* a surrogate */
	sanitized("\355\277\277", "???");
	sanitized("\364\220\200\200", "????"); /* beyond U+10FFFF */
}
END_TEST

/* What a shell makes of @s quoted. */
static void through_shell(const char *s)
{
	_autofree_ char *word = str_shell_quote(s);
	_autofree_ char *command = str_printf("printf '%%s|' %s", word);
	_autofree_ char *wanted = str_printf("%s|", s);
	struct process_output output;
	struct loop *loop = loop_new(NULL);
	const char *argv[] = {"sh", "-c", command, NULL};
	struct err err;

	ck_assert_ok(process_run(loop, argv, 30000, &output, &err), &err);
	ck_assert_int_eq(output.status, 0);
	ck_assert_str_eq(output.out.data, wanted);
	process_output_deinit(&output);
	loop_free(loop);
}

START_TEST(a_quoted_word_is_one_word)
{
	static const char *const words[] = {
		"",      " ",    "a b",   "'",  "''",   "'; touch /tmp/x; '",
		"$(id)", "`id`", "$HOME", "\\", "a\nb", "*",
		"~",     "\"",   "!!",    "-n", "\\'",  "%s",
	};
	unsigned seed = 4711;

	for (size_t i = 0; i < COUNT_OF(words); i++)
		through_shell(words[i]);
	for (int round = 0; round < 60; round++) {
		char s[40];
		size_t len = (size_t)rand_r(&seed) % (sizeof(s) - 1);

		for (size_t i = 0; i < len; i++)
			s[i] = (char)(rand_r(&seed) % 3
					      ? "'\\\"$`!; \n\t*?[]{}()<>|&#~"[rand_r(&seed) % 25]
					      : 1 + rand_r(&seed) % 255);
		s[len] = '\0';
		through_shell(s);
	}
}
END_TEST

START_TEST(the_directory_of_a_path)
{
	static const char *const pairs[][2] = {
		{"/a/b", "/a"}, {"/a", "/"}, {"/a/b/c.img", "/a/b"}, {"x", "."}, {"x/y", "x"},
	};

	for (size_t i = 0; i < COUNT_OF(pairs); i++) {
		_autofree_ char *directory = str_directory(pairs[i][0]);

		ck_assert_str_eq(directory, pairs[i][1]);
	}
}
END_TEST

START_TEST(a_string_handed_over_leaves_null)
{
	char *s = str_dup("x");
	char *taken = str_take(&s);

	ck_assert_ptr_null(s);
	ck_assert_str_eq(taken, "x");
	free(taken);
	ck_assert(!str_eq(NULL, NULL) && !str_eq("a", NULL) && str_eq("a", "a"));
	ck_assert(str_starts("abc", "ab") && !str_starts("ab", "abc") && !str_starts(NULL, "a"));
	ck_assert_ptr_null(str_dup(NULL));
}
END_TEST

/* --- buf --- */

START_TEST(a_buffer_grows_and_shrinks)
{
	_cleanup_buf_ struct buf b = {0};

	for (int i = 0; i < 10000; i++)
		buf_printf(&b, "%04d", i);
	ck_assert_uint_eq(b.len, 40000);
	ck_assert_uint_eq(strlen(b.data), 40000);
	buf_drop(&b, 4);
	ck_assert_int_eq(strncmp(b.data, "00010002", 8), 0);
	buf_drop(&b, 0);
	buf_drop(&b, b.len);
	ck_assert_uint_eq(b.len, 0);
	ck_assert_str_eq(b.data, "");
	buf_add(&b, "a\0b", 3);
	ck_assert_uint_eq(b.len, 3);
	ck_assert_mem_eq(b.data, "a\0b", 4);
}
END_TEST

START_TEST(an_empty_buffer_may_be_dropped_from_and_freed)
{
	struct buf b = {0};

	buf_drop(&b, 0);
	buf_deinit(&b);
	buf_add(&b, "", 0);
	ck_assert_str_eq(b.data, "");
	buf_deinit(&b);
	ck_assert_ptr_null(b.data);
}
END_TEST

static void json_is(const char *s, const char *wanted)
{
	_cleanup_buf_ struct buf b = {0};

	buf_json_string(&b, s);
	ck_assert_str_eq(b.data, wanted);
}

START_TEST(a_json_string_is_quoted_and_clean)
{
	json_is(NULL, "null");
	json_is("", "\"\"");
	json_is("a\"b\\c/", "\"a\\\"b\\\\c/\"");
	json_is("a\nb\033\001", "\"a b??\"");
	json_is("\377\355\240\200", "\"????\""); /* JSON has no invalid UTF-8 */
	json_is("gr\303\274n", "\"gr\303\274n\"");
}
END_TEST

/* --- err --- */

START_TEST(an_error_gets_its_context_in_front)
{
	struct err err;

	ck_assert_int_eq(err_set(&err, ERR_QMP, "no %s", "space"), -1);
	ck_assert_int_eq(err_wrap(&err, "create %d", 5), -1);
	ck_assert_int_eq(err_wrap(&err, "hostb"), -1);
	ck_assert_str_eq(err.text, "hostb: create 5: no space");
	ck_assert_int_eq(err.kind, ERR_QMP);
	err_errno(&err, ENOENT, "open %s", "x");
	ck_assert_str_eq(err.text, "open x: No such file or directory");
	ck_assert_int_eq(err.kind, ERR_FAILED);
	ck_assert_int_eq(err_set(NULL, ERR_QMP, "x"), -1);
	ck_assert_int_eq(err_wrap(NULL, "x"), -1);
	ck_assert_int_eq(err_errno(NULL, ENOENT, "x"), -1);
}
END_TEST

START_TEST(a_long_error_is_cut_and_stays_clean)
{
	char text[3 * ERR_TEXT_MAX];
	struct err err;

	for (size_t i = 0; i + 1 < sizeof(text); i++)
		text[i] = i % 2 ? '\274' : '\303'; /* so that a cut may fall into a character */
	text[sizeof(text) - 1] = '\0';
	err_set(&err, ERR_FAILED, "%s", text);
	ck_assert_uint_eq(strlen(err.text), ERR_TEXT_MAX - 1);
	ck_assert_int_eq(err.text[ERR_TEXT_MAX - 2], '?');
	err_wrap(&err, "context");
	ck_assert_uint_eq(strlen(err.text), ERR_TEXT_MAX - 1);
	ck_assert(str_starts(err.text, "context: \303\274"));
	err_set(&err, ERR_FAILED, "a\033[2Jb");
	ck_assert_str_eq(err.text, "a?[2Jb");
}
END_TEST

/* --- loop --- */

static bool yes(void *arg)
{
	(void)arg;
	return true;
}

static bool no(void *arg)
{
	(void)arg;
	return false;
}

/* Both ends of a pipe, and what its watch saw. */
struct probe {
	struct loop *loop;
	int fds[2];
	struct loop_fd *watch, *other;
	int calls;
};

static bool was_called(void *arg)
{
	return ((struct probe *)arg)->calls > 0;
}

static void on_readable(void *arg, short revents)
{
	struct probe *p = arg;
	char c;

	ck_assert(revents & POLLIN);
	ck_assert_int_eq(read(p->fds[0], &c, 1), 1);
	p->calls++;
}

static void probe_open(struct probe *p, struct loop *loop, void (*ready)(void *arg, short revents))
{
	*p = (struct probe){.loop = loop};
	ck_assert_int_eq(pipe2(p->fds, O_CLOEXEC | O_NONBLOCK), 0);
	p->watch = loop_fd_add(loop, p->fds[0], POLLIN, ready, p);
}

static void probe_close(struct probe *p)
{
	loop_fd_del(p->watch);
	close(p->fds[0]);
	close(p->fds[1]);
}

START_TEST(a_wait_ends_when_what_it_waits_for_is_true)
{
	struct loop *loop = loop_new(NULL);
	struct probe p;

	probe_open(&p, loop, on_readable);
	ck_assert_int_eq(write(p.fds[1], "x", 1), 1);
	ck_assert_int_eq(loop_wait(loop, was_called, &p, loop_now_ms() + 30000), LOOP_DONE);
	ck_assert_int_eq(p.calls, 1);
	probe_close(&p);
	loop_free(loop);
}
END_TEST

START_TEST(what_is_true_already_is_not_waited_for)
{
	struct loop *loop = loop_new(NULL);

	ck_assert_int_eq(loop_wait(loop, yes, NULL, 0), LOOP_DONE);
	ck_assert_int_eq(loop_wait(loop, no, NULL, 0), LOOP_TIMEOUT);
	raise(SIGINT);
	ck_assert_int_eq(loop_wait(loop, no, NULL, loop_now_ms() + 30000), LOOP_INTERRUPTED);
	ck_assert_int_eq(loop_wait(loop, yes, NULL, loop_now_ms() + 30000), LOOP_DONE);
	loop_free(loop);
}
END_TEST

START_TEST(a_wait_ends_at_its_deadline)
{
	struct loop *loop = loop_new(NULL);
	int64_t begun = loop_now_ms();
	struct err err;

	ck_assert_int_eq(loop_await(loop, "Godot", 50, no, NULL, &err), -1);
	ck_assert_int_eq(err.kind, ERR_TIMEOUT);
	ck_assert_str_eq(err.text, "timed out after 0.05 s waiting for Godot");
	ck_assert_int_ge(loop_now_ms() - begun, 49);
	loop_free(loop);
}
END_TEST

static void delete_both(void *arg, short revents)
{
	struct probe *p = arg;

	(void)revents;
	p->calls++;
	loop_fd_del(p->watch);
	loop_fd_del(p->other);
	p->watch = p->other = NULL;
}

START_TEST(a_callback_may_delete_itself_and_others)
{
	struct loop *loop = loop_new(NULL);
	struct probe p, witness;

	/* Two watches of one descriptor: whichever comes first deletes both. */
	probe_open(&p, loop, delete_both);
	probe_open(&witness, loop, on_readable);
	p.other = loop_fd_add(loop, p.fds[0], POLLIN, delete_both, &p);
	ck_assert_int_eq(write(p.fds[1], "x", 1), 1);
	ck_assert_int_eq(write(witness.fds[1], "x", 1), 1);
	ck_assert_int_eq(loop_wait(loop, was_called, &witness, loop_now_ms() + 30000), LOOP_DONE);
	ck_assert_int_eq(loop_wait(loop, no, NULL, loop_now_ms() + 20), LOOP_TIMEOUT);
	ck_assert_int_eq(p.calls, 1);
	probe_close(&p);
	probe_close(&witness);
	loop_fd_del(NULL);
	loop_free(loop);
}
END_TEST

static void add_another(void *arg, short revents)
{
	struct probe *p = arg;

	on_readable(arg, revents);
	if (!p->other)
		p->other = loop_fd_add(p->loop, p->fds[0], POLLIN, on_readable, p);
	loop_fd_del(p->watch);
	p->watch = NULL;
}

static bool was_called_twice(void *arg)
{
	return ((struct probe *)arg)->calls == 2;
}

START_TEST(a_callback_may_add_a_watch)
{
	struct loop *loop = loop_new(NULL);
	struct probe p;

	probe_open(&p, loop, add_another);
	ck_assert_int_eq(write(p.fds[1], "xy", 2), 2);
	ck_assert_int_eq(loop_wait(loop, was_called_twice, &p, loop_now_ms() + 30000), LOOP_DONE);
	ck_assert_ptr_nonnull(p.other);
	loop_fd_del(p.other);
	probe_close(&p);
	loop_free(loop);
}
END_TEST

START_TEST(a_signal_ends_a_wait)
{
	static const int signals[] = {SIGINT, SIGTERM, SIGHUP};

	for (size_t i = 0; i < COUNT_OF(signals); i++) {
		struct loop *loop = loop_new(NULL);
		struct err err;

		ck_assert_int_eq(loop_signal(loop), 0);
		raise(signals[i]);
		ck_assert_int_eq(loop_await(loop, "x", 30000, no, NULL, &err), -1);
		ck_assert_int_eq(err.kind, ERR_INTERRUPTED);
		ck_assert_int_eq(loop_signal(loop), signals[i]);
		loop_free(loop);
	}
}
END_TEST

START_TEST(a_shielded_loop_notes_a_signal_and_goes_on)
{
	struct loop *loop = loop_new(NULL);
	struct probe p;

	probe_open(&p, loop, on_readable);
	loop_shield(loop, true);
	loop_shield(loop, true);
	raise(SIGTERM);
	ck_assert_int_eq(loop_wait(loop, no, NULL, loop_now_ms() + 20), LOOP_TIMEOUT);
	ck_assert_int_eq(loop_signal(loop), SIGTERM);
	ck_assert_int_eq(write(p.fds[1], "x", 1), 1);
	loop_shield(loop, false);
	ck_assert_int_eq(loop_wait(loop, was_called, &p, loop_now_ms() + 30000), LOOP_DONE);
	loop_shield(loop, false);
	ck_assert_int_eq(loop_wait(loop, no, NULL, loop_now_ms() + 30000), LOOP_INTERRUPTED);
	probe_close(&p);
	loop_free(loop);
}
END_TEST

static void count_tick(void *arg)
{
	(*(int *)arg)++;
}

static bool three_ticks(void *arg)
{
	return *(int *)arg >= 3;
}

START_TEST(a_timer_ticks_while_the_loop_waits_and_not_after)
{
	struct loop *loop = loop_new(NULL);
	int ticks = 0, before;
	struct loop_timer *timer = loop_timer_add(loop, 2, count_tick, &ticks);

	ck_assert_int_eq(loop_wait(loop, three_ticks, &ticks, loop_now_ms() + 30000), LOOP_DONE);
	loop_timer_del(timer);
	loop_timer_del(NULL);
	before = ticks;
	ck_assert_int_eq(loop_wait(loop, no, NULL, loop_now_ms() + 20), LOOP_TIMEOUT);
	ck_assert_int_eq(ticks, before);
	loop_free(loop);
}
END_TEST

START_TEST(a_poll_takes_in_what_is_there_and_does_not_wait)
{
	struct loop *loop = loop_new(NULL);
	struct probe p;

	probe_open(&p, loop, on_readable);
	loop_poll(loop);
	ck_assert_int_eq(p.calls, 0);
	ck_assert_int_eq(write(p.fds[1], "x", 1), 1);
	loop_poll(loop);
	ck_assert_int_eq(p.calls, 1);
	raise(SIGHUP);
	loop_poll(loop);
	ck_assert_int_eq(loop_signal(loop), SIGHUP);
	probe_close(&p);
	loop_free(loop);
}
END_TEST

/* --- stream_unix --- */

struct listener {
	char directory[32];
	struct sockaddr_un addr;
	int fd;
};

static void listener_open(struct listener *l, int backlog)
{
	strcpy(l->directory, "/tmp/test-base.XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(l->directory));
	l->addr = (struct sockaddr_un){.sun_family = AF_UNIX};
	snprintf(l->addr.sun_path, sizeof(l->addr.sun_path), "%s/s", l->directory);
	l->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(bind(l->fd, (struct sockaddr *)&l->addr, sizeof(l->addr)), 0);
	ck_assert_int_eq(listen(l->fd, backlog), 0);
}

static void listener_close(struct listener *l)
{
	close(l->fd);
	unlink(l->addr.sun_path);
	rmdir(l->directory);
}

static void set_true(void *arg)
{
	*(bool *)arg = true;
}

static bool is_true(void *arg)
{
	return *(bool *)arg;
}

START_TEST(a_stream_carries_bytes_both_ways_and_tells_the_end)
{
	struct loop *loop = loop_new(NULL);
	struct listener l;
	struct stream *s;
	struct err err;
	bool ready = false;
	char buf[16];
	int peer;

	listener_open(&l, 5);
	s = stream_unix(loop, l.addr.sun_path, 1000, &err);
	ck_assert_ptr_nonnull(s);
	ck_assert_int_eq(stream_unix_peer(s), getpid());
	peer = accept(l.fd, NULL, NULL);
	stream_watch(s, set_true, &ready);
	ck_assert_int_eq(stream_read(s, buf, sizeof(buf), &err), STREAM_AGAIN);
	ck_assert_int_eq(stream_write(s, "hello", 5, &err), 5);
	ck_assert_int_eq(read(peer, buf, sizeof(buf)), 5);
	ck_assert_int_eq(write(peer, "you", 3), 3);
	ck_assert_int_eq(loop_wait(loop, is_true, &ready, loop_now_ms() + 30000), LOOP_DONE);
	ck_assert_int_eq(stream_read(s, buf, sizeof(buf), &err), 3);
	close(peer);
	ck_assert_int_eq(stream_read(s, buf, sizeof(buf), &err), -1);
	ck_assert_int_eq(err.kind, ERR_CLOSED);
	ck_assert_int_eq(stream_write(s, "x", 1, &err), -1);
	ck_assert_int_eq(err.kind, ERR_CLOSED);
	stream_close(s);
	stream_close(NULL);
	listener_close(&l);
	loop_free(loop);
}
END_TEST

START_TEST(a_full_stream_says_again_and_tells_when_it_is_not)
{
	static char zeros[1 << 20];
	struct loop *loop = loop_new(NULL);
	struct listener l;
	struct stream *s;
	struct err err;
	bool ready = false;
	ssize_t n;
	int peer;

	listener_open(&l, 5);
	s = stream_unix(loop, l.addr.sun_path, 1000, &err);
	peer = accept4(l.fd, NULL, NULL, SOCK_NONBLOCK);
	while ((n = stream_write(s, zeros, sizeof(zeros), &err)) > 0)
		;
	ck_assert_int_eq(n, STREAM_AGAIN);
	stream_watch(s, set_true, &ready);
	stream_want_write(s, true);
	ck_assert_int_eq(loop_wait(loop, is_true, &ready, loop_now_ms() + 20), LOOP_TIMEOUT);
	while (read(peer, zeros, sizeof(zeros)) > 0)
		;
	ck_assert_int_eq(loop_wait(loop, is_true, &ready, loop_now_ms() + 30000), LOOP_DONE);
	stream_want_write(s, false);
	loop_wait(loop, no, NULL, loop_now_ms() + 5);
	ready = false;
	ck_assert_int_eq(loop_wait(loop, is_true, &ready, loop_now_ms() + 20), LOOP_TIMEOUT);
	stream_close(s);
	close(peer);
	listener_close(&l);
	loop_free(loop);
}
END_TEST

START_TEST(a_path_too_long_or_without_listener_is_an_error)
{
	struct loop *loop = loop_new(NULL);
	char path[sizeof(((struct sockaddr_un *)NULL)->sun_path) + 1];
	struct listener l;
	struct err err;

	memset(path, 'x', sizeof(path));
	path[0] = '/';
	path[sizeof(path) - 1] = '\0';
	ck_assert_ptr_null(stream_unix(loop, path, 1000, &err));
	ck_assert_has(err.text, "longer than the 107 bytes");
	ck_assert_ptr_null(stream_unix(loop, "/nonexistent/s", 1000, &err));
	ck_assert_str_eq(err.text, "/nonexistent/s: No such file or directory");
	ck_assert_int_eq(err.kind, ERR_REFUSED);
	listener_open(&l, 5);
	close(l.fd);
	ck_assert_ptr_null(stream_unix(loop, l.addr.sun_path, 1000, &err));
	ck_assert_has(err.text, "Connection refused");
	ck_assert_int_eq(err.kind, ERR_REFUSED);
	l.fd = -1;
	listener_close(&l);
	loop_free(loop);
}
END_TEST

/* Connects until the listener, which accepts nobody, has no more room. */
static size_t fill_backlog(const struct listener *l, int *fds, size_t max)
{
	for (size_t n = 0; n < max; n++) {
		fds[n] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		if (connect(fds[n], (const struct sockaddr *)&l->addr, sizeof(l->addr)) < 0) {
			close(fds[n]);
			return n;
		}
	}
	ck_abort_msg("the backlog has no end");
}

START_TEST(a_full_backlog_is_a_timeout)
{
	struct loop *loop = loop_new(NULL);
	struct listener l;
	struct err err;
	int fds[8];
	size_t n;

	listener_open(&l, 0);
	n = fill_backlog(&l, fds, COUNT_OF(fds));
	ck_assert_ptr_null(stream_unix(loop, l.addr.sun_path, 60, &err));
	ck_assert_int_eq(err.kind, ERR_TIMEOUT);
	ck_assert_has(err.text, l.addr.sun_path);
	while (n)
		close(fds[--n]);
	listener_close(&l);
	loop_free(loop);
}
END_TEST

START_TEST(a_signal_ends_the_wait_for_a_full_backlog)
{
	struct loop *loop = loop_new(NULL);
	struct listener l;
	struct err err;
	int fds[8];
	size_t n;

	listener_open(&l, 0);
	n = fill_backlog(&l, fds, COUNT_OF(fds));
	raise(SIGINT);
	ck_assert_ptr_null(stream_unix(loop, l.addr.sun_path, 30000, &err));
	ck_assert_int_eq(err.kind, ERR_INTERRUPTED);
	while (n)
		close(fds[--n]);
	listener_close(&l);
	loop_free(loop);
}
END_TEST

struct accepting {
	int listen_fd;
	int accepted;
};

static void accept_one(void *arg, short revents)
{
	struct accepting *a = arg;

	(void)revents;
	if (a->accepted < 0)
		a->accepted = accept(a->listen_fd, NULL, NULL);
}

START_TEST(room_in_the_backlog_is_taken_when_it_comes)
{
	struct loop *loop = loop_new(NULL);
	struct accepting a;
	struct listener l;
	struct loop_fd *watch;
	struct stream *s;
	struct err err;
	int fds[8];
	size_t n;

	listener_open(&l, 0);
	n = fill_backlog(&l, fds, COUNT_OF(fds));
	a = (struct accepting){.listen_fd = l.fd, .accepted = -1};
	watch = loop_fd_add(loop, l.fd, POLLIN, accept_one, &a);
	s = stream_unix(loop, l.addr.sun_path, 30000, &err);
	ck_assert_ptr_nonnull(s);
	stream_close(s);
	loop_fd_del(watch);
	close(a.accepted);
	while (n)
		close(fds[--n]);
	listener_close(&l);
	loop_free(loop);
}
END_TEST

/* --- process --- */

static int run(const char *script, int64_t timeout_ms, struct process_output *output,
	       struct err *err)
{
	const char *argv[] = {"sh", "-c", script, NULL};
	struct loop *loop = loop_new(err);
	int ret = process_run(loop, argv, timeout_ms, output, err);

	loop_free(loop);
	return ret;
}

START_TEST(a_process_gives_its_status_and_both_outputs)
{
	struct process_output o;
	struct err err;

	ck_assert_ok(run("echo out; echo err >&2; exit 3", 30000, &o, &err), &err);
	ck_assert_int_eq(o.status, 3);
	ck_assert_str_eq(o.out.data, "out\n");
	ck_assert_str_eq(o.err.data, "err\n");
	process_output_deinit(&o);
}
END_TEST

START_TEST(a_killed_process_gives_the_shells_status)
{
	struct process_output o;
	struct err err;

	ck_assert_ok(run("kill -TERM $$", 30000, &o, &err), &err);
	ck_assert_int_eq(o.status, 128 + SIGTERM);
	process_output_deinit(&o);
}
END_TEST

START_TEST(a_process_has_no_stdin_and_takes_all_signals)
{
	struct process_output o;
	struct err err;
	unsigned long blocked = 1, ignored = 1ul << (SIGPIPE - 1);

	ck_assert_ok(run("cat; grep -E 'SigBlk|SigIgn' /proc/self/status", 30000, &o, &err), &err);
	ck_assert_int_eq(sscanf(o.out.data, "SigBlk: %lx SigIgn: %lx", &blocked, &ignored), 2);
	ck_assert_uint_eq(blocked, 0);
	ck_assert_uint_eq(ignored & 1ul << (SIGPIPE - 1), 0); /* which vmferry ignores */
	process_output_deinit(&o);
}
END_TEST

START_TEST(a_program_that_is_not_there_is_an_error)
{
	const char *argv[] = {"vmferry-no-such-program", NULL};
	struct loop *loop = loop_new(NULL);
	struct process_output o;
	struct err err;

	ck_assert_int_eq(process_run(loop, argv, 1000, &o, &err), -1);
	ck_assert_str_eq(err.text, "vmferry-no-such-program: No such file or directory");
	process_output_deinit(&o);
	loop_free(loop);
}
END_TEST

START_TEST(a_long_output_is_cut_without_a_hole)
{
	struct process_output o;
	struct err err;

	ck_assert_ok(run("i=0; while [ $i -lt 60 ]; do head -c 5000 /dev/zero | tr '\\0' a; "
			 "i=$((i + 1)); done; echo end; head -c 600000 /dev/zero | tr '\\0' b >&2",
			 30000, &o, &err),
		     &err);
	ck_assert_uint_eq(o.out.len, PROCESS_OUTPUT_MAX);
	ck_assert_ptr_null(strchr(o.out.data, 'e'));
	ck_assert_uint_eq(o.err.len, PROCESS_OUTPUT_MAX);
	process_output_deinit(&o);
}
END_TEST

START_TEST(a_process_past_its_deadline_is_killed_with_its_children)
{
	struct process_output o;
	struct err err;
	pid_t child;
	int64_t begun = loop_now_ms();

	ck_assert_int_eq(run("sleep 1000 & echo $!; wait", 300, &o, &err), -1);
	ck_assert_int_eq(err.kind, ERR_TIMEOUT);
	ck_assert_has(err.text, "waiting for sh");
	ck_assert_int_lt(loop_now_ms() - begun, 20000);
	ck_assert_int_eq(o.status, 128 + SIGKILL);
	child = (pid_t)atoi(o.out.data);
	for (int i = 0; i < 1000 && kill(child, 0) == 0; i++) {
		char path[64], state[256] = "";
		FILE *f;

		snprintf(path, sizeof(path), "/proc/%d/stat", (int)child);
		f = fopen(path, "r");
		if (!f || !fgets(state, sizeof(state), f) || strstr(state, ") Z "))
			i = 1000; /* a zombie nobody reaps yet is dead, too */
		if (f)
			fclose(f);
		poll(NULL, 0, 10);
		ck_assert_int_ne(i, 999);
	}
	process_output_deinit(&o);
}
END_TEST

START_TEST(a_process_that_never_stops_writing_is_killed_at_its_deadline)
{
	struct process_output o;
	struct err err;
	int64_t begun = loop_now_ms();

	ck_assert_int_eq(run("exec cat /dev/zero", 200, &o, &err), -1);
	ck_assert_int_eq(err.kind, ERR_TIMEOUT);
	ck_assert_int_lt(loop_now_ms() - begun, 20000);
	process_output_deinit(&o);
}
END_TEST

START_TEST(a_child_that_keeps_the_output_open_is_not_waited_for)
{
	struct process_output o;
	struct err err;
	int64_t begun = loop_now_ms();

	ck_assert_ok(run("sleep 1000 & echo $!", 30000, &o, &err), &err);
	ck_assert_int_eq(o.status, 0);
	ck_assert_int_lt(loop_now_ms() - begun, 20000);
	ck_assert_int_eq(kill((pid_t)atoi(o.out.data), SIGKILL), 0); /* it was let live */
	process_output_deinit(&o);
}
END_TEST

START_TEST(a_child_that_keeps_writing_is_not_waited_for)
{
	struct process_output o;
	struct err err;

	ck_assert_ok(run("setsid cat /dev/zero & echo $! >&2", 30000, &o, &err), &err);
	ck_assert_int_eq(o.status, 0);
	kill((pid_t)atoi(o.err.data), SIGKILL);
	process_output_deinit(&o);
}
END_TEST

START_TEST(a_signal_ends_a_process_unless_shielded)
{
	const char *argv[] = {"sh", "-c", "sleep 0.2; echo through", NULL};
	struct loop *loop = loop_new(NULL);
	struct process_output o;
	struct err err;

	raise(SIGINT);
	loop_shield(loop, true);
	ck_assert_ok(process_run(loop, argv, 30000, &o, &err), &err);
	ck_assert_str_eq(o.out.data, "through\n");
	process_output_deinit(&o);
	loop_shield(loop, false);
	ck_assert_int_eq(process_run(loop, argv, 30000, &o, &err), -1);
	ck_assert_int_eq(err.kind, ERR_INTERRUPTED);
	process_output_deinit(&o);
	loop_free(loop);
}
END_TEST

START_TEST(too_many_open_files_are_called_so)
{
	const char *argv[] = {"true", NULL};
	struct loop *loop = loop_new(NULL);
	struct rlimit limit;
	struct process_output o;
	struct err err;

	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = 0;
	setrlimit(RLIMIT_NOFILE, &limit);
	ck_assert_int_eq(process_run(loop, argv, 1000, &o, &err), -1);
	ck_assert_str_eq(err.text, "pipe: Too many open files");
	ck_assert_ptr_null(stream_unix(loop, "/tmp/x", 1000, &err));
	ck_assert_str_eq(err.text, "socket: Too many open files");
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
	loop_free(loop);
}
END_TEST

static int count_fds(void)
{
	int n = 0;

	for (int fd = 0; fd < 256; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

START_TEST(a_process_leaves_no_descriptors)
{
	int before = count_fds();
	struct process_output o;
	struct err err;

	ck_assert_ok(run("true", 30000, &o, &err), &err);
	process_output_deinit(&o);
	ck_assert_int_eq(run("sleep 1000", 50, &o, &err), -1);
	process_output_deinit(&o);
	ck_assert_int_eq(count_fds(), before);
}
END_TEST

/* --- tcp --- */

/* A bound socket on a free port of the loopback; listening if asked for. */
static int bound_port(bool listening, int *port)
{
	struct sockaddr_in addr = {.sin_family = AF_INET,
				   .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(addr);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	ck_assert_int_eq(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&addr, &len), 0);
	if (listening)
		ck_assert_int_eq(listen(fd, 5), 0);
	*port = ntohs(addr.sin_port);
	return fd;
}

START_TEST(a_listening_port_is_reached)
{
	struct loop *loop = loop_new(NULL);
	struct err err;
	int port, fd = bound_port(true, &port);
	int connected = tcp_connect(loop, "127.0.0.1", port, 5000, &err);

	ck_assert_msg(connected >= 0, "%s", err.text);
	ck_assert(fcntl(connected, F_GETFD) & FD_CLOEXEC);
	ck_assert(fcntl(connected, F_GETFL) & O_NONBLOCK);
	tcp_quickack(connected);
	close(connected);
	close(fd);
	loop_free(loop);
}
END_TEST

START_TEST(a_port_nobody_listens_on_is_refused)
{
	struct loop *loop = loop_new(NULL);
	struct err err;
	int port, fd = bound_port(false, &port);
	_autofree_ char *wanted = NULL;

	ck_assert_int_eq(tcp_connect(loop, "127.0.0.1", port, 5000, &err), -1);
	wanted = str_printf("a connection to 127.0.0.1 port %d: Connection refused", port);
	ck_assert_str_eq(err.text, wanted);
	close(fd);
	loop_free(loop);
}
END_TEST

START_TEST(a_name_is_no_numeric_address)
{
	struct loop *loop = loop_new(NULL);
	struct err err;

	ck_assert_int_eq(tcp_connect(loop, "localhost", 80, 5000, &err), -1);
	ck_assert_has(err.text, "localhost: ");
	loop_free(loop);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		sizes_are_parsed,
		what_is_no_size_is_refused,
		sizes_are_shown,
		control_characters_are_replaced,
		valid_utf8_stays,
		invalid_utf8_is_replaced,
		overlong_and_impossible_utf8_is_replaced,
		a_quoted_word_is_one_word,
		the_directory_of_a_path,
		a_string_handed_over_leaves_null,
		a_buffer_grows_and_shrinks,
		an_empty_buffer_may_be_dropped_from_and_freed,
		a_json_string_is_quoted_and_clean,
		an_error_gets_its_context_in_front,
		a_long_error_is_cut_and_stays_clean,
		a_wait_ends_when_what_it_waits_for_is_true,
		what_is_true_already_is_not_waited_for,
		a_wait_ends_at_its_deadline,
		a_callback_may_delete_itself_and_others,
		a_callback_may_add_a_watch,
		a_signal_ends_a_wait,
		a_shielded_loop_notes_a_signal_and_goes_on,
		a_timer_ticks_while_the_loop_waits_and_not_after,
		a_poll_takes_in_what_is_there_and_does_not_wait,
		a_stream_carries_bytes_both_ways_and_tells_the_end,
		a_full_stream_says_again_and_tells_when_it_is_not,
		a_path_too_long_or_without_listener_is_an_error,
		a_full_backlog_is_a_timeout,
		a_signal_ends_the_wait_for_a_full_backlog,
		room_in_the_backlog_is_taken_when_it_comes,
		a_process_gives_its_status_and_both_outputs,
		a_killed_process_gives_the_shells_status,
		a_process_has_no_stdin_and_takes_all_signals,
		a_program_that_is_not_there_is_an_error,
		a_long_output_is_cut_without_a_hole,
		a_process_past_its_deadline_is_killed_with_its_children,
		a_process_that_never_stops_writing_is_killed_at_its_deadline,
		a_child_that_keeps_the_output_open_is_not_waited_for,
		a_child_that_keeps_writing_is_not_waited_for,
		a_signal_ends_a_process_unless_shielded,
		too_many_open_files_are_called_so,
		a_process_leaves_no_descriptors,
		a_listening_port_is_reached,
		a_port_nobody_listens_on_is_refused,
		a_name_is_no_numeric_address,
	};

	return unit_run("base", tests, COUNT_OF(tests));
}
