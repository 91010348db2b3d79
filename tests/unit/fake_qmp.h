/* A scripted QMP monitor that lives in the same loop as the client under test.
 *
 * It listens on a Unix socket in a directory of its own and serves one client at a time,
 * as QEMU does. What it answers is a table "command -> rule"; a command without a rule is
 * answered with QEMU's CommandNotFound words. Everything received is recorded.
 */
#ifndef VMFERRY_TESTS_FAKE_QMP_H
#define VMFERRY_TESTS_FAKE_QMP_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/loop.h"

struct fake;

/* One command as it was received. */
struct fake_call {
	struct fake *fake;
	char *command;
	json_t *args; /* NULL: it had none */
};

/* Calls of all fakes of this process in the order of their arrival. */
extern struct fake_call *fake_calls;
extern size_t fake_calls_count;

/* A fake with the greeting of a QEMU. @name is for messages of failed tests. */
struct fake *fake_new(struct loop *loop, const char *name);
void fake_free(struct fake *f);
const char *fake_path(const struct fake *f);
const char *fake_name(const struct fake *f);

/* --- what it says first --- */

void fake_greeting(struct fake *f, const char *text); /* instead of the greeting; NULL: silence */

/* --- what it answers; the last rule set for a command counts --- */

void fake_reply(struct fake *f, const char *command, const char *json); /* the "return" */
void fake_reply_json(struct fake *f, const char *command, json_t *value);
void fake_error(struct fake *f, const char *command, const char *desc);
void fake_silence(struct fake *f, const char *command);
void fake_hang_up(struct fake *f, const char *command); /* closes instead of an answer */

/* Sends @text as it is, "@ID@" replaced by the command's id. */
void fake_raw(struct fake *f, const char *command, const char *text);

/* Calls @fn, which answers by fake_answer() or fake_refuse(), and may tell events. */
typedef void fake_fn(struct fake *f, json_t *args, void *arg);
void fake_call_fn(struct fake *f, const char *command, fake_fn *fn, void *arg);

enum fake_fault {
	FAKE_REFUSES,      /* an error of QEMU's */
	FAKE_HANGS_UP,     /* the connection is closed, the command not obeyed */
	FAKE_LOSES_ANSWER, /* the command is obeyed, the connection closed */
	FAKE_CALLS,        /* fake_on_fault()'s function is called, the command not obeyed */
};

/* Before every rule: the @n-th command from now (0: the next) meets @fault. The words of
 * FAKE_REFUSES are "injected"; what takes something away has then done so all the same, for
 * QEMU refuses that only when there is nothing to take away. */
void fake_break(struct fake *f, size_t n, enum fake_fault fault);
/* The same for the @n-th command after that fault. */
void fake_break_again(struct fake *f, size_t n, enum fake_fault fault);

void fake_on_fault(struct fake *f, void (*fn)(void *arg), void *arg);
bool fake_broke(const struct fake *f);

/* --- what it sends; from a rule's function or at any time --- */

void fake_answer(struct fake *f, json_t *value);    /* to the command in hand; takes it */
void fake_refuse(struct fake *f, const char *desc); /* the same with an error */
void fake_send(struct fake *f, const char *text);   /* raw bytes */
void fake_event(struct fake *f, const char *name, json_t *data); /* takes @data, may be NULL */

/* Nothing is sent for the next @rounds rounds of the loop. */
void fake_pause(struct fake *f, unsigned rounds);

/* Everything goes out in pieces of @size bytes, each read by the client before the next
 * is sent; 0: as a whole. */
void fake_chunk(struct fake *f, size_t size);

/* The next output is cut once, after @at bytes. */
void fake_split(struct fake *f, size_t at);

/* Closes the client's connection once all is sent. With @gone nothing listens afterwards
 * and the socket is unlinked, as when QEMU ends. */
void fake_close(struct fake *f, bool gone);
bool fake_connected(const struct fake *f);

/* Listens again after it was gone. */
void fake_listen(struct fake *f);

/* --- what it received --- */

/* The descriptor that came last, the caller's now; -1 when none came. */
int fake_take_fd(struct fake *f);

size_t fake_count(const struct fake *f, const char *command); /* NULL: any */

/* The arguments of the last such command, NULL when it was never received. Borrowed. */
json_t *fake_last(const struct fake *f, const char *command);
void fake_calls_forget(void);

#endif
