/* Asking the user, at the terminal that the command was started from. */
#ifndef VMFERRY_CLI_TERMINAL_H
#define VMFERRY_CLI_TERMINAL_H

#include <stddef.h>

#include "base/err.h"
#include "base/loop.h"

/* Asks for a secret, which is not shown, on /dev/tty, whatever stdin and stderr are. 0 with the
 * line that was typed in @secret (@size bytes with the NUL; what does not fit is an error). The
 * loop goes on meanwhile. Errors: nobody is there, or took longer than a minute and a half, or a
 * signal (Ctrl-C) came; the terminal is as it was before in any case. */
int terminal_ask(struct loop *loop, const char *prompt, char *secret, size_t size, struct err *err);

#endif
