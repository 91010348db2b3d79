/* Output is a queue of pieces; the callback for "may be written" takes one look at it a
 * round. A piece with `rounds` left is waited for, so that the client has surely read what
 * came before it.
 */
#include "fake_qmp.h"

#include <check.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/str.h"

#define GREETING                                                                                   \
	"{\"QMP\": {\"version\": {\"qemu\": {\"micro\": 22, \"minor\": 2, \"major\": 7}, "         \
	"\"package\": \"\"}, \"capabilities\": [\"oob\"]}}\r\n"

/* Enough that the client's callback ran in between, whatever the order of the watches. */
#define ROUNDS_APART 2

enum rule_kind {
	REPLY,
	ERROR,
	SILENCE,
	HANG_UP,
	RAW,
	FUNCTION,
};

struct rule {
	struct rule *next;
	char *command;
	enum rule_kind kind;
	json_t *value;
	char *text;
	fake_fn *fn;
	void *arg;
};

struct piece {
	struct piece *next;
	struct buf bytes;
	unsigned rounds; /* to wait before it is sent */
};

struct fake {
	struct loop *loop;
	char *name, *directory, *path;
	char *greeting; /* NULL: none */
	int listen_fd, fd;
	struct loop_fd *listener, *client;
	struct buf in;
	struct rule *rules;
	struct piece *out;
	size_t chunk, split;
	unsigned pause;
	bool closing, gone;
	json_t *id; /* of the command in hand; borrowed */
	bool mute;  /* its answer is given by somebody else */
	int passed_fd;
	size_t break_in, again_in;
	bool breaks, broke, again;
	enum fake_fault fault, again_fault;
	void (*on_fault)(void *arg);
	void *fault_arg;
};

struct fake_call *fake_calls;
size_t fake_calls_count;

static void drop_output(struct fake *f)
{
	while (f->out) {
		struct piece *p = f->out;

		f->out = p->next;
		buf_deinit(&p->bytes);
		free(p);
	}
}

static void forget_client(struct fake *f)
{
	loop_fd_del(f->client);
	f->client = NULL;
	if (f->fd >= 0)
		close(f->fd);
	f->fd = -1;
	drop_output(f);
	buf_deinit(&f->in);
	if (f->listener)
		loop_fd_events(f->listener, POLLIN);
}

static void stop_listening(struct fake *f)
{
	if (!f->listener)
		return;
	loop_fd_del(f->listener);
	f->listener = NULL;
	close(f->listen_fd);
	unlink(f->path);
}

static void close_now(struct fake *f)
{
	f->closing = false;
	if (f->gone)
		stop_listening(f);
	forget_client(f);
}

static void want(struct fake *f)
{
	if (f->client)
		loop_fd_events(f->client, (short)(POLLIN | (f->out || f->closing ? POLLOUT : 0)));
}

static void append(struct fake *f, const char *data, size_t len, unsigned rounds)
{
	struct piece *p = mem_zalloc(1, sizeof(*p)), **end = &f->out;

	buf_add(&p->bytes, data, len);
	p->rounds = rounds;
	while (*end)
		end = &(*end)->next;
	*end = p;
}

static void send_bytes(struct fake *f, const char *data, size_t len)
{
	size_t first = f->split && f->split < len ? f->split : 0;

	if (f->fd < 0)
		return;
	f->split = 0;
	if (first)
		append(f, data, first, f->pause);
	data += first;
	len -= first;
	if (!f->chunk) {
		append(f, data, len, first ? ROUNDS_APART : f->pause);
	} else {
		for (; len > f->chunk; data += f->chunk, len -= f->chunk)
			append(f, data, f->chunk, ROUNDS_APART);
		append(f, data, len, ROUNDS_APART);
	}
	f->pause = 0;
	want(f);
}

void fake_send(struct fake *f, const char *text)
{
	send_bytes(f, text, strlen(text));
}

/* QEMU ends its lines with CR LF. */
static void send_json(struct fake *f, json_t *message)
{
	char *text = json_dumps(message, JSON_COMPACT);
	_autofree_ char *line = str_printf("%s\r\n", text);

	free(text);
	json_decref(message);
	fake_send(f, line);
}

static void answer_with(struct fake *f, const char *key, json_t *value)
{
	if (f->mute) {
		json_decref(value);
		return;
	}
	send_json(f, json_pack("{s:o, s:O}", key, value, "id", f->id ? f->id : json_null()));
}

void fake_answer(struct fake *f, json_t *value)
{
	answer_with(f, "return", value ? value : json_object());
}

void fake_refuse(struct fake *f, const char *desc)
{
	answer_with(f, "error", json_pack("{s:s, s:s}", "class", "GenericError", "desc", desc));
}

void fake_event(struct fake *f, const char *name, json_t *data)
{
	json_t *event = json_pack("{s:{s:i, s:i}, s:s}", "timestamp", "seconds", 1, "microseconds",
				  2, "event", name);

	if (data)
		json_object_set_new(event, "data", data);
	send_json(f, event);
}

static void send_raw(struct fake *f, const char *text)
{
	const char *mark = strstr(text, "@ID@");
	_autofree_ char *id = f->id ? json_dumps(f->id, JSON_ENCODE_ANY) : NULL;
	_cleanup_buf_ struct buf b = {0};

	for (; mark; mark = strstr(text, "@ID@")) {
		buf_add(&b, text, (size_t)(mark - text));
		buf_printf(&b, "%s", id);
		text = mark + 4;
	}
	buf_printf(&b, "%s", text);
	send_bytes(f, b.data, b.len);
}

static struct rule *rule_of(const struct fake *f, const char *command)
{
	for (struct rule *r = f->rules; r; r = r->next)
		if (str_eq(r->command, command))
			return r;
	return NULL;
}

static void obey(struct fake *f, const char *command, json_t *args)
{
	const struct rule *r = rule_of(f, command);
	_autofree_ char *unknown = str_printf("The command %s has not been found", command);

	if (!r)
		fake_refuse(f, unknown);
	else if (r->kind == REPLY)
		fake_answer(f, json_incref(r->value));
	else if (r->kind == ERROR)
		fake_refuse(f, r->text);
	else if (r->kind == RAW)
		send_raw(f, r->text);
	else if (r->kind == FUNCTION)
		r->fn(f, args, r->arg);
	else if (r->kind == HANG_UP)
		fake_close(f, false);
}

static void record(struct fake *f, const char *command, json_t *args)
{
	struct fake_call *call;

	fake_calls = mem_grow(fake_calls, fake_calls_count + 1, sizeof(*fake_calls));
	call = &fake_calls[fake_calls_count++];
	call->fake = f;
	call->command = str_dup(command);
	call->args = json_incref(args);
}

static void refuse_now(struct fake *f, const char *command, json_t *args)
{
	static const char *const takes_away[] = {"closefd", "nbd-server-stop", "block-job-cancel"};

	for (size_t i = 0; i < sizeof(takes_away) / sizeof(takes_away[0]); i++)
		if (str_eq(command, takes_away[i])) {
			f->mute = true;
			obey(f, command, args);
			f->mute = false;
		}
	fake_refuse(f, "injected");
}

static void break_now(struct fake *f, const char *command, json_t *args)
{
	enum fake_fault fault = f->fault;

	f->breaks = f->again;
	f->break_in = f->again_in;
	f->fault = f->again_fault;
	f->again = false;
	f->broke = true;
	if (fault == FAKE_REFUSES) {
		refuse_now(f, command, args);
		return;
	}
	if (fault == FAKE_LOSES_ANSWER)
		obey(f, command, args);
	else if (fault == FAKE_CALLS)
		f->on_fault(f->fault_arg);
	drop_output(f);
	fake_close(f, false);
}

static void take_command(struct fake *f, json_t *message)
{
	const json_t *execute = json_object_get(message, "execute");
	const char *command =
		json_string_value(execute ? execute : json_object_get(message, "exec-oob"));
	json_t *args = json_object_get(message, "arguments");

	ck_assert_msg(command != NULL, "%s: what came is no command", f->name);
	record(f, command, args);
	f->id = json_object_get(message, "id");
	if (f->breaks && f->break_in-- == 0)
		break_now(f, command, args);
	else
		obey(f, command, args);
	f->id = NULL;
}

static void take_lines(struct fake *f)
{
	char *end;

	while (f->in.len && (end = memchr(f->in.data, '\n', f->in.len))) {
		size_t len = (size_t)(end - f->in.data);
		json_t *message = json_loadb(f->in.data, len, 0, NULL);

		ck_assert_msg(message != NULL, "%s: what came is no JSON", f->name);
		buf_drop(&f->in, len + 1);
		take_command(f, message);
		json_decref(message);
	}
}

static void write_out(struct fake *f)
{
	while (f->out) {
		struct piece *p = f->out;
		ssize_t n;

		if (p->rounds) {
			p->rounds--;
			break;
		}
		n = p->bytes.len ? send(f->fd, p->bytes.data, p->bytes.len, MSG_NOSIGNAL) : 0;
		if (n < 0 && errno == EAGAIN)
			break;
		if (n < 0)
			n = (ssize_t)p->bytes.len; /* the client has gone */
		buf_drop(&p->bytes, (size_t)n);
		if (p->bytes.len)
			break;
		f->out = p->next;
		buf_deinit(&p->bytes);
		free(p);
	}
	if (!f->out && f->closing)
		close_now(f);
	want(f);
}

static ssize_t receive(struct fake *f, void *data, size_t len)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control;
	struct iovec iov = {.iov_base = data, .iov_len = len};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = control.bytes,
			     .msg_controllen = sizeof(control.bytes)};
	ssize_t n = recvmsg(f->fd, &msg, MSG_CMSG_CLOEXEC);
	struct cmsghdr *cmsg = n > 0 ? CMSG_FIRSTHDR(&msg) : NULL;
	int old;

	if (cmsg && cmsg->cmsg_type == SCM_RIGHTS) {
		old = fake_take_fd(f);
		if (old >= 0)
			close(old);
		memcpy(&f->passed_fd, CMSG_DATA(cmsg), sizeof(int));
	}
	return n;
}

int fake_take_fd(struct fake *f)
{
	int fd = f->passed_fd;

	f->passed_fd = -1;
	return fd;
}

static void on_client(void *arg, short revents)
{
	struct fake *f = arg;
	char chunk[65536];
	ssize_t n = 0;

	if (revents & POLLOUT)
		write_out(f);
	while (f->fd >= 0 && !f->closing && (n = receive(f, chunk, sizeof(chunk))) > 0) {
		buf_add(&f->in, chunk, (size_t)n);
		take_lines(f);
	}
	if (f->fd >= 0 && !f->closing && n == 0)
		forget_client(f);
}

static void on_listener(void *arg, short revents)
{
	struct fake *f = arg;

	(void)revents;
	f->fd = accept4(f->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (f->fd < 0)
		return;
	loop_fd_events(f->listener, 0);
	f->client = loop_fd_add(f->loop, f->fd, POLLIN, on_client, f);
	if (f->greeting)
		fake_send(f, f->greeting);
}

void fake_listen(struct fake *f)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", f->path);
	f->gone = false;
	f->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	ck_assert(bind(f->listen_fd, (struct sockaddr *)&addr, sizeof(addr)) == 0);
	ck_assert(listen(f->listen_fd, 1) == 0);
	f->listener = loop_fd_add(f->loop, f->listen_fd, POLLIN, on_listener, f);
}

struct fake *fake_new(struct loop *loop, const char *name)
{
	struct fake *f = mem_zalloc(1, sizeof(*f));
	char directory[] = "/tmp/fake-qmp.XXXXXX";

	ck_assert(mkdtemp(directory) != NULL);
	f->loop = loop;
	f->name = str_dup(name);
	f->directory = str_dup(directory);
	f->path = str_printf("%s/qmp.sock", directory);
	f->greeting = str_dup(GREETING);
	f->fd = f->passed_fd = -1;
	fake_listen(f);
	fake_reply(f, "qmp_capabilities", "{}");
	return f;
}

void fake_free(struct fake *f)
{
	if (!f)
		return;
	stop_listening(f);
	forget_client(f);
	if (f->passed_fd >= 0)
		close(f->passed_fd);
	ck_assert_msg(rmdir(f->directory) == 0, "%s: %m", f->directory);
	while (f->rules) {
		struct rule *r = f->rules;

		f->rules = r->next;
		json_decref(r->value);
		free(r->text);
		free(r->command);
		free(r);
	}
	free(f->greeting);
	free(f->name);
	free(f->path);
	free(f->directory);
	free(f);
}

const char *fake_path(const struct fake *f)
{
	return f->path;
}

const char *fake_name(const struct fake *f)
{
	return f->name;
}

void fake_greeting(struct fake *f, const char *text)
{
	free(f->greeting);
	f->greeting = str_dup(text);
}

/* The rule of @command, emptied. */
static struct rule *set_rule(struct fake *f, const char *command, enum rule_kind kind)
{
	struct rule *r = rule_of(f, command);

	if (!r) {
		r = mem_zalloc(1, sizeof(*r));
		r->command = str_dup(command);
		r->next = f->rules;
		f->rules = r;
	}
	json_decref(r->value);
	r->value = NULL;
	free(r->text);
	r->text = NULL;
	r->kind = kind;
	return r;
}

void fake_reply_json(struct fake *f, const char *command, json_t *value)
{
	set_rule(f, command, REPLY)->value = value;
}

void fake_reply(struct fake *f, const char *command, const char *json)
{
	json_t *value = json_loads(json, JSON_DECODE_ANY, NULL);

	ck_assert_msg(value != NULL, "the script's answer to %s is no JSON: %s", command, json);
	fake_reply_json(f, command, value);
}

void fake_error(struct fake *f, const char *command, const char *desc)
{
	set_rule(f, command, ERROR)->text = str_dup(desc);
}

void fake_silence(struct fake *f, const char *command)
{
	set_rule(f, command, SILENCE);
}

void fake_hang_up(struct fake *f, const char *command)
{
	set_rule(f, command, HANG_UP);
}

void fake_raw(struct fake *f, const char *command, const char *text)
{
	set_rule(f, command, RAW)->text = str_dup(text);
}

void fake_call_fn(struct fake *f, const char *command, fake_fn *fn, void *arg)
{
	struct rule *r = set_rule(f, command, FUNCTION);

	r->fn = fn;
	r->arg = arg;
}

void fake_break(struct fake *f, size_t n, enum fake_fault fault)
{
	f->break_in = n;
	f->fault = fault;
	f->breaks = true;
}

void fake_break_again(struct fake *f, size_t n, enum fake_fault fault)
{
	f->again_in = n;
	f->again_fault = fault;
	f->again = true;
}

void fake_on_fault(struct fake *f, void (*fn)(void *arg), void *arg)
{
	f->on_fault = fn;
	f->fault_arg = arg;
}

bool fake_broke(const struct fake *f)
{
	return f->broke;
}

void fake_pause(struct fake *f, unsigned rounds)
{
	f->pause = rounds;
}

void fake_chunk(struct fake *f, size_t size)
{
	f->chunk = size;
}

void fake_split(struct fake *f, size_t at)
{
	f->split = at;
}

void fake_close(struct fake *f, bool gone)
{
	f->gone = f->gone || gone;
	if (f->fd < 0) {
		close_now(f);
		return;
	}
	f->closing = true;
	want(f);
}

bool fake_connected(const struct fake *f)
{
	return f->fd >= 0;
}

size_t fake_count(const struct fake *f, const char *command)
{
	size_t n = 0;

	for (size_t i = 0; i < fake_calls_count; i++)
		if (fake_calls[i].fake == f && (!command || str_eq(fake_calls[i].command, command)))
			n++;
	return n;
}

json_t *fake_last(const struct fake *f, const char *command)
{
	for (size_t i = fake_calls_count; i-- > 0;)
		if (fake_calls[i].fake == f && str_eq(fake_calls[i].command, command))
			return fake_calls[i].args;
	return NULL;
}

void fake_calls_forget(void)
{
	for (size_t i = 0; i < fake_calls_count; i++) {
		free(fake_calls[i].command);
		json_decref(fake_calls[i].args);
	}
	free(fake_calls);
	fake_calls = NULL;
	fake_calls_count = 0;
}
