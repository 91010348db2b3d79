#include "migrate/source_process.h"

#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/str.h"

/* What execve(2) takes at most, arguments and environment together, is less. */
#define PROC_FILE_MAX (8u << 20)

/* The settings that change what a QEMU does, not those of the shell it came from. */
static bool matters(const char *setting)
{
	static const char *const beginnings[] = {
		"QEMU_",     "LD_LIBRARY_PATH=", "TMPDIR=",   "G_SLICE=",
		"MALLOC_",   "GLIBC_TUNABLES=",  "PULSE_",    "SDL_",
		"PIPEWIRE_", "SPICE_DEBUG",      "LIBISCSI_", "CEPH_"};

	for (size_t i = 0; i < sizeof(beginnings) / sizeof(beginnings[0]); i++)
		if (str_starts(setting, beginnings[i]))
			return true;
	return false;
}

static int read_file(pid_t pid, const char *name, struct buf *b, struct err *err)
{
	_autofree_ char *path = str_printf("/proc/%d/%s", (int)pid, name);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	char chunk[16384];
	ssize_t n = 0;

	if (fd < 0)
		return err_errno(err, errno, "%s", path);
	while (b->len < PROC_FILE_MAX && (n = read(fd, chunk, sizeof(chunk))) > 0)
		buf_add(b, chunk, (size_t)n);
	if (n < 0)
		err_errno(err, errno, "%s", path);
	close(fd);
	return n < 0 ? -1 : 0;
}

/* Strings with a NUL behind each; of those that @wanted (NULL: all). */
static char **split(const struct buf *b, bool (*wanted)(const char *word))
{
	char **list = mem_zalloc(1, sizeof(*list));
	size_t count = 0;

	for (size_t at = 0; at < b->len; at += strlen(b->data + at) + 1) {
		if (wanted && !wanted(b->data + at))
			continue;
		list = mem_grow(list, count + 2, sizeof(*list));
		list[count++] = str_dup(b->data + at);
		list[count] = NULL;
	}
	return list;
}

static int read_list(pid_t pid, const char *name, bool (*wanted)(const char *word), char ***list,
		     struct err *err)
{
	_cleanup_buf_ struct buf b = {0};

	if (read_file(pid, name, &b, err) < 0)
		return -1;
	*list = split(&b, wanted);
	return 0;
}

static char *read_link(pid_t pid, const char *name, struct err *err)
{
	_autofree_ char *path = str_printf("/proc/%d/%s", (int)pid, name);
	char target[4096];
	ssize_t n = readlink(path, target, sizeof(target) - 1);

	if (n < 0) {
		err_errno(err, errno, "%s", path);
		return NULL;
	}
	return str_printf("%.*s", (int)n, target);
}

/* A name that a shell would look for is not looked for again, over there it may be another. */
static char *program_of(pid_t pid, const char *name, struct err *err)
{
	char *program;

	if (name && *name == '/')
		return str_dup(name);
	program = read_link(pid, "exe", err);
	if (program && strstr(program, " (deleted)")) /* upgraded since */
		*strstr(program, " (deleted)") = '\0';
	return program;
}

static char *user_of(pid_t pid, struct err *err)
{
	_autofree_ char *path = str_printf("/proc/%d", (int)pid);
	struct passwd *user;
	struct stat st;

	if (stat(path, &st) < 0) {
		err_errno(err, errno, "%s", path);
		return NULL;
	}
	user = getpwuid(st.st_uid);
	return user ? str_dup(user->pw_name) : str_printf("%u", (unsigned)st.st_uid);
}

char *process_name(pid_t pid)
{
	_autofree_ char *path = str_printf("/proc/%d/stat", (int)pid);
	FILE *file = pid > 0 ? fopen(path, "re") : NULL;
	char line[1024] = "", *rest = NULL, *word = NULL;

	if (!file)
		return NULL;
	if (fgets(line, sizeof(line), file))
		word = strrchr(line, ')');
	fclose(file);
	word = word ? strtok_r(word, " ", &rest) : NULL;
	if (word && (*rest == 'Z' || *rest == 'X'))
		return NULL; /* it has ended, and its parent has not asked yet */
	for (int field = 2; word && field < 22; field++)
		word = strtok_r(NULL, " ", &rest);
	return word ? str_printf("%d %s", (int)pid, word) : NULL;
}

int source_process_read(struct source_process *process, pid_t pid, struct err *err)
{
	*process = (struct source_process){0};
	if (read_list(pid, "cmdline", NULL, &process->argv, err) < 0 ||
	    read_list(pid, "environ", matters, &process->environment, err) < 0 ||
	    !(process->program = program_of(pid, process->argv[0], err)) ||
	    !(process->cwd = read_link(pid, "cwd", err)) || !(process->user = user_of(pid, err))) {
		source_process_deinit(process);
		return -1;
	}
	return 0;
}

static void free_list(char **list)
{
	for (size_t i = 0; list && list[i]; i++)
		free(list[i]);
	free(list);
}

void source_process_deinit(struct source_process *process)
{
	free_list(process->argv);
	free_list(process->environment);
	free(process->program);
	free(process->cwd);
	free(process->user);
	*process = (struct source_process){0};
}
