/* As getpass(3) does it, but in the loop, by which signals come that ask us to stop: SIGINT,
 * SIGTERM and SIGHUP end the wait like any other, and the terminal is put back. Those that a key
 * sends and that the loop does not take, Ctrl-Z and Ctrl-\, would leave it without echo, so the
 * keys mean nothing while the question stands. Against kill -9 nothing helps but the shell, which
 * puts its terminal back itself. */
#include "cli/terminal.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "base/str.h"

/* sshd ends a login after 120 s (LoginGraceTime). */
#define ANSWER_MS 90000

struct question {
	int fd;
	char *secret;
	size_t size, len;
	bool ended, too_long;
};

static void take_byte(struct question *q, char c)
{
	if (c == '\n' || c == '\r')
		q->ended = true;
	else if (q->len + 1 < q->size)
		q->secret[q->len++] = c;
	else
		q->too_long = true;
}

static void on_typed(void *arg, short revents)
{
	struct question *q = arg;
	ssize_t n;
	char c;

	(void)revents;
	while (!q->ended && (n = read(q->fd, &c, 1)) == 1)
		take_byte(q, c);
	if (!q->ended && (n == 0 || errno != EAGAIN)) /* Ctrl-D, hung up */
		q->ended = true;
	explicit_bzero(&c, sizeof(c));
}

static bool is_answered(void *arg)
{
	return ((struct question *)arg)->ended;
}

static void say(int fd, const char *words)
{
	ssize_t n = write(fd, words, strlen(words));

	(void)n; /* nothing depends on it */
}

static int wait_for_answer(struct loop *loop, struct question *q, struct err *err)
{
	struct loop_fd *watch = loop_fd_add(loop, q->fd, POLLIN, on_typed, q);
	int ret = loop_await(loop, "an answer at the terminal", ANSWER_MS, is_answered, q, err);

	loop_fd_del(watch);
	q->secret[q->len] = '\0';
	if (ret == 0 && q->too_long)
		ret = err_set(err, ERR_FAILED, "the answer is too long");
	if (ret < 0)
		explicit_bzero(q->secret, q->size);
	return ret;
}

static int ask(struct loop *loop, struct question *q, const char *prompt, struct err *err)
{
	_autofree_ char *words = str_printf("vmferry: %s", prompt);
	struct termios before, hidden;
	int ret;

	if (tcgetattr(q->fd, &before) < 0)
		return err_errno(err, errno, "/dev/tty");
	hidden = before;
	hidden.c_lflag &= ~(tcflag_t)(ECHO | ECHONL);
	hidden.c_lflag |= ICANON | ISIG;
	hidden.c_cc[VSUSP] = hidden.c_cc[VQUIT] = _POSIX_VDISABLE;
	tcsetattr(q->fd, TCSAFLUSH, &hidden);
	say(q->fd, words);
	ret = wait_for_answer(loop, q, err);
	tcsetattr(q->fd, TCSAFLUSH, &before);
	say(q->fd, "\n");
	return ret;
}

int terminal_ask(struct loop *loop, const char *prompt, char *secret, size_t size, struct err *err)
{
	struct question q = {.secret = secret, .size = size};
	int ret;

	q.fd = open("/dev/tty", O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
	if (q.fd < 0)
		return err_set(err, ERR_FAILED, "needs a passphrase, and there is no terminal");
	if (tcgetpgrp(q.fd) != getpgrp()) /* it would be stopped */
		ret = err_set(err, ERR_FAILED,
			      "needs a passphrase, and vmferry runs in the background");
	else
		ret = ask(loop, &q, prompt, err);
	close(q.fd);
	return ret;
}
