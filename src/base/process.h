/* A program of this host, run to its end with the loop going on. */
#ifndef VMFERRY_BASE_PROCESS_H
#define VMFERRY_BASE_PROCESS_H

#include <stdbool.h>

#include "base/err.h"
#include "base/loop.h"
#include "base/str.h"
#include "base/stream.h"

/* What is kept of each output. */
#define PROCESS_OUTPUT_MAX (256u << 10)

struct process_output {
	bool begun;     /* it may have begun to run; also where its end was not seen */
	int status;     /* exit status; 128 + signal number when it was killed */
	struct buf out; /* what it wrote to stdout, cut at PROCESS_OUTPUT_MAX */
	struct buf err; /* and to stderr */
};

/* Runs @argv (found by PATH, no shell, stdin empty) and waits for its end: 0, whatever
 * its status. When @timeout_ms pass it is killed. A child of its own that keeps its
 * outputs open is not waited for. @output is the caller's to deinit in any case. */
int process_run(struct loop *loop, const char *const *argv, int64_t timeout_ms,
		struct process_output *output, struct err *err);

/* The same in two parts, for what is to be done meanwhile: the process runs, and its outputs are
 * taken in, whenever the loop waits. NULL with @err when it could not be started; @output, which
 * must stay where it is, is the caller's to deinit in any case. Each start wants its finish. */
struct process *process_start(struct loop *loop, const char *const *argv,
			      struct process_output *output, struct err *err);
int process_finish(struct process *process, int64_t timeout_ms, struct err *err);

/* Starts @command, of a POSIX shell, and gives its stdin, stdout and stderr as one stream: what
 * is written is its input, which ends with stream_close(), and what it writes can be read. Its
 * end is the end of the stream; its status is not told. It is nobody's child. */
struct stream *process_stream(struct loop *loop, const char *command, struct err *err);

void process_output_deinit(struct process_output *output);

#endif
