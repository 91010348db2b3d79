/* What people are told at the end. */
#ifndef VMFERRY_CLI_WORDS_H
#define VMFERRY_CLI_WORDS_H

#include <stdint.h>

#include "cli/cli.h"

/* After a move, or a phase of one, that went well; NULL when there is nothing to say. The
 * caller's to free. */
char *words_done(const struct migration *m, int64_t elapsed_ms);

/* After one that did not. The caller's to free. */
char *words_failed(const struct migration *m, const struct err *err, int code);

#endif
