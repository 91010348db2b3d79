/* Why not libssh2_agent_*(): it reads and writes the agent's socket blocking (src/agent.c of
 * 1.10.0), and an agent that asks its user, or hangs, would stop everything, signals
 * included. It also signs with SHA-1 when the key is RSA. */
#include "ssh/agent.h"

#include <stdlib.h>

#include "base/stream.h"
#include "ssh/wire.h"

#define ANSWER_MAX (256u << 10)
#define KEYS_MAX 256

enum message {
	REQUEST_IDENTITIES = 11,
	IDENTITIES_ANSWER = 12,
	SIGN_REQUEST = 13,
	SIGN_RESPONSE = 14,
};

struct agent {
	struct loop *loop;
	struct stream *stream;
	struct buf out, in;
	bool gone;
};

static void write_out(struct agent *a)
{
	ssize_t n;

	while (a->out.len && !a->gone) {
		n = stream_write(a->stream, a->out.data, a->out.len, NULL);
		if (n < 0)
			a->gone = true;
		if (n <= 0)
			break;
		buf_drop(&a->out, (size_t)n);
	}
	stream_want_write(a->stream, a->out.len && !a->gone);
}

static void on_ready(void *arg)
{
	struct agent *a = arg;
	char chunk[4096];
	ssize_t n;

	write_out(a);
	while (!a->gone && (n = stream_read(a->stream, chunk, sizeof(chunk), NULL)) != 0) {
		if (n < 0 || a->in.len + (size_t)n > ANSWER_MAX) {
			a->gone = true;
			stream_close(a->stream);
			a->stream = NULL;
			return;
		}
		buf_add(&a->in, chunk, (size_t)n);
	}
}

struct agent *agent_open(struct loop *loop, const char *path, int64_t timeout_ms, struct err *err)
{
	struct stream *stream = stream_unix(loop, path, timeout_ms, err);
	struct agent *a;

	if (!stream)
		return NULL;
	a = mem_zalloc(1, sizeof(*a));
	a->loop = loop;
	a->stream = stream;
	stream_watch(stream, on_ready, a);
	return a;
}

void agent_close(struct agent *a)
{
	if (!a)
		return;
	stream_close(a->stream);
	buf_deinit(&a->out);
	buf_deinit(&a->in);
	free(a);
}

static void send_message(struct agent *a, const struct buf *message)
{
	if (a->gone)
		return;
	buf_deinit(&a->in);
	wire_add_string(&a->out, message->data, message->len);
	write_out(a);
}

/* The whole answer, or false. */
static bool answer(const struct agent *a, struct wire *message)
{
	struct wire w = {.data = (const unsigned char *)a->in.data, .len = a->in.len};

	return wire_string(&w, message) && message->len > 0;
}

static bool has_answer(void *arg)
{
	struct agent *a = arg;
	struct wire message;

	return a->gone || answer(a, &message);
}

/* Skips the message's number, which has to be @number. */
static bool take_number(struct wire *w, enum message number)
{
	if (w->len < 1 || w->data[0] != (unsigned char)number)
		return false;
	w->data++;
	w->len--;
	return true;
}

static bool take_key(struct wire *w, struct agent_keys *keys)
{
	struct wire blob, comment;
	struct agent_key *key;
	char *type;

	if (!wire_string(w, &blob) || !wire_string(w, &comment))
		return false;
	type = wire_key_type(blob.data, blob.len);
	if (!type)
		return true;
	keys->key = mem_grow(keys->key, keys->count + 1, sizeof(*keys->key));
	key = &keys->key[keys->count++];
	*key = (struct agent_key){.type = type};
	key->comment = str_printf("%.*s", comment.len < 200 ? (int)comment.len : 200,
				  (const char *)comment.data);
	buf_add(&key->blob, blob.data, blob.len);
	return true;
}

int agent_list(struct agent *a, int64_t timeout_ms, struct agent_keys *keys, struct err *err)
{
	const char request = REQUEST_IDENTITIES;
	struct buf message _cleanup_buf_ = {0};
	struct wire w;
	uint32_t count;

	*keys = (struct agent_keys){0};
	buf_add(&message, &request, 1);
	send_message(a, &message);
	if (loop_await(a->loop, "the ssh-agent", timeout_ms, has_answer, a, err) < 0)
		return -1;
	if (a->gone || !answer(a, &w))
		return err_set(err, ERR_FAILED, "the ssh-agent closed the connection");
	if (!take_number(&w, IDENTITIES_ANSWER) || !wire_u32(&w, &count))
		return err_set(err, ERR_FAILED, "the ssh-agent does not show its keys");
	for (uint32_t i = 0; i < count && i < KEYS_MAX; i++)
		if (!take_key(&w, keys))
			break;
	return 0;
}

void agent_keys_deinit(struct agent_keys *keys)
{
	for (size_t i = 0; i < keys->count; i++) {
		buf_deinit(&keys->key[i].blob);
		free(keys->key[i].type);
		free(keys->key[i].comment);
	}
	free(keys->key);
	*keys = (struct agent_keys){0};
}

void agent_sign(struct agent *a, const struct buf *blob, const void *data, size_t len,
		uint32_t flags)
{
	const char request = SIGN_REQUEST;
	struct buf message _cleanup_buf_ = {0};

	buf_add(&message, &request, 1);
	wire_add_string(&message, blob->data, blob->len);
	wire_add_string(&message, data, len);
	wire_add_u32(&message, flags);
	send_message(a, &message);
}

enum agent_answer agent_signature(struct agent *a, struct buf *signature)
{
	struct wire w, whole, algorithm, raw;

	if (a->gone)
		return AGENT_REFUSED;
	if (!answer(a, &w))
		return AGENT_WAIT;
	if (!take_number(&w, SIGN_RESPONSE) || !wire_string(&w, &whole) ||
	    !wire_string(&whole, &algorithm) || !wire_string(&whole, &raw))
		return AGENT_REFUSED;
	buf_add(signature, raw.data, raw.len);
	return AGENT_SIGNED;
}
