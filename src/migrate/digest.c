/* dd(1) reads the file, not sha256sum itself: what it tells of its progress each second is how
 * it finds out that nobody listens any more. sshd ends no command whose channel has gone, and
 * sha256sum alone, which writes nothing before its end, would go on reading for hours. */
#include "migrate/digest.h"

#include <stdlib.h>
#include <string.h>

#include "base/str.h"

#define HEX_LEN 64
#define READ_MARK "read\n" /* dd has come to the end of the file */

/* Some terabytes at the pace of a slow disk. A host that is gone is noticed long before. */
#define DIGEST_TIMEOUT_MS (24 * 3600 * 1000ll)

static bool same_id(const struct file_id *a, const struct file_id *b)
{
	return str_eq(a->boot_id, b->boot_id) && a->device == b->device && a->inode == b->inode;
}

int digests_add(struct digests *digests, struct host *host, const char *path, int64_t timeout_ms,
		size_t *place, struct err *err)
{
	struct digest_file file = {.host = host};
	struct file_info info;

	if (host_file_id(host, path, &file.id, timeout_ms, err) < 0 ||
	    host_file_info(host, path, &info, err) < 0)
		return -1;
	for (*place = 0; *place < digests->count; ++*place)
		if (same_id(&digests->list[*place].id, &file.id))
			return 0;
	file.path = str_dup(path);
	file.size_bytes = info.size_bytes;
	digests->list = mem_grow(digests->list, digests->count + 1, sizeof(*digests->list));
	digests->list[digests->count++] = file;
	return 0;
}

static char *command_for(const struct digest_file *file)
{
	_autofree_ char *word = str_shell_quote(file->path);

	return str_printf("{ { dd if=%s bs=1M status=progress && echo read >&3; } | sha256sum; } "
			  "3>&1",
			  word);
}

static bool take_hex(const char *text, char hex[65])
{
	if (!text || strspn(text, "0123456789abcdef") != HEX_LEN)
		return false;
	memcpy(hex, text, HEX_LEN);
	hex[HEX_LEN] = '\0';
	return true;
}

/* What dd said, or else the shell. */
static char *complaint(const struct process_output *output)
{
	const char *text = output->err.data ? output->err.data : "";
	const char *dd = strstr(text, "dd: ");

	if (dd)
		text = dd;
	return *text ? str_printf("%.*s", (int)strcspn(text, "\r\n"), text)
		     : str_dup("sha256sum gave no digest");
}

static void take_output(struct digest_file *file, int ret, const struct process_output *output,
			const struct err *err)
{
	const char *text = output->out.data;

	if (ret < 0)
		file->error = str_dup(err->text);
	else if (!text || !str_starts(text, READ_MARK) ||
		 !take_hex(text + strlen(READ_MARK), file->hex))
		file->error = complaint(output);
}

/* -1 only when it was interrupted. */
static int make_there(struct digest_file *file, struct err *err)
{
	_autofree_ char *command = command_for(file);
	struct process_output output = {0};
	int ret = host_command(file->host, command, DIGEST_TIMEOUT_MS, &output, err);

	take_output(file, ret, &output, err);
	process_output_deinit(&output);
	return ret < 0 && err->kind == ERR_INTERRUPTED ? -1 : 0;
}

/* @here is read by a process of its own while @there is waited for; either may be NULL. */
static int make_both(struct loop *loop, struct digest_file *here, struct digest_file *there,
		     struct err *err)
{
	_autofree_ char *command = here ? command_for(here) : NULL;
	const char *argv[] = {"/bin/sh", "-c", command, NULL};
	struct process_output output = {0};
	struct err local = {0};
	struct process *process = here ? process_start(loop, argv, &output, &local) : NULL;
	int ret = there ? make_there(there, err) : 0, ended = -1;

	if (process)
		ended = process_finish(process, ret < 0 ? 0 : DIGEST_TIMEOUT_MS, &local);
	if (here)
		take_output(here, ended, &output, &local);
	process_output_deinit(&output);
	if (ret == 0 && local.kind == ERR_INTERRUPTED) {
		*err = local;
		ret = -1;
	}
	return ret;
}

/* The next one to make, on this host or on the other. */
static struct digest_file *next(struct digests *digests, const struct host *here, bool is_here)
{
	for (size_t i = 0; i < digests->count; i++) {
		struct digest_file *file = &digests->list[i];

		if (file->wanted && !file->hex[0] && !file->error &&
		    (file->host == here) == is_here)
			return file;
	}
	return NULL;
}

int digests_make(struct digests *digests, struct loop *loop, struct host *here, struct err *err)
{
	for (;;) {
		struct digest_file *a = next(digests, here, true);
		struct digest_file *b = next(digests, here, false);

		if (!a && !b)
			return 0;
		if (make_both(loop, a, b, err) < 0)
			return -1;
	}
}

int digest_of_text(struct host *host, const char *text, int64_t timeout_ms, char hex[65],
		   struct err *err)
{
	_autofree_ char *word = str_shell_quote(text);
	_autofree_ char *command = str_printf("printf %%s %s | sha256sum", word);
	struct process_output output = {0};
	int ret = host_command_ok(host, command, timeout_ms, &output, err);

	if (ret == 0 && !take_hex(output.out.data, hex))
		ret = err_set(err, ERR_FAILED, "%s: sha256sum gave no digest", host->name);
	process_output_deinit(&output);
	return ret;
}

void digests_deinit(struct digests *digests)
{
	for (size_t i = 0; i < digests->count; i++) {
		free(digests->list[i].path);
		free(digests->list[i].error);
	}
	free(digests->list);
	*digests = (struct digests){0};
}
