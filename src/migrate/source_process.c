#include "migrate/source_process.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
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

static void free_list(char **list)
{
	for (size_t i = 0; list && list[i]; i++)
		free(list[i]);
	free(list);
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

/* What is behind "\nNAME:" in a /proc/PID/status; "" when it is not there. */
static const char *field(const struct buf *status, const char *name)
{
	const char *line = status->len ? strstr(status->data, name) : NULL;

	return line ? line + strlen(name) : "";
}

static bool add_groups(struct source_user *user, const char *line)
{
	size_t len = strcspn(line, "\n");
	size_t n = 0;

	for (size_t i = 0; i < len && n < sizeof(user->groups) - 1; i++)
		if (line[i] >= '0' && line[i] <= '9')
			user->groups[n++] = line[i];
		else if (n && user->groups[n - 1] != ',')
			user->groups[n++] = ',';
	if (n && user->groups[n - 1] == ',')
		n--;
	user->groups[n] = '\0';
	return n < sizeof(user->groups) - 1;
}

/* The owner of /proc/PID is another: root, where a process has changed its user (-runas). */
int source_user_read(struct source_user *user, pid_t pid)
{
	_cleanup_buf_ struct buf status = {0};

	*user = (struct source_user){0};
	if (read_file(pid, "status", &status, NULL) < 0)
		return -1;
	return sscanf(field(&status, "\nUid:"), "%*u %u", &user->uid) == 1 &&
			       sscanf(field(&status, "\nGid:"), "%*u %u", &user->gid) == 1 &&
			       sscanf(field(&status, "\nCapEff:"), "%lx", &user->capabilities) ==
				       1 &&
			       add_groups(user, field(&status, "\nGroups:"))
		       ? 0
		       : -1;
}

static char *group_name(unsigned gid)
{
	const struct group *entry = getgrgid(gid);

	return entry ? str_dup(entry->gr_name) : str_printf("%u", gid);
}

static char *group_names(const char *groups)
{
	struct buf b = {0};
	char *end;

	buf_add(&b, "", 0);
	for (; *groups; groups = *end ? end + 1 : end) {
		_autofree_ char *name = group_name((unsigned)strtoul(groups, &end, 10));
		_autofree_ char *word = str_shell_quote(name);

		buf_printf(&b, "%s%s", b.len ? " " : "", word);
	}
	return b.data;
}

static int read_user(struct source_process *process, pid_t pid, struct err *err)
{
	struct source_user user;
	struct passwd *entry;

	if (source_user_read(&user, pid) < 0)
		return err_set(err, ERR_FAILED, "/proc/%d/status does not tell its user", (int)pid);
	entry = getpwuid(user.uid);
	process->user = entry ? str_dup(entry->pw_name) : str_printf("%u", user.uid);
	if (!entry || entry->pw_gid != user.gid)
		process->group = group_name(user.gid);
	if (!entry)
		process->groups = group_names(user.groups);
	return 0;
}

static bool is_pwd(const char *setting)
{
	return str_starts(setting, "PWD=/");
}

char *source_process_pwd(pid_t pid)
{
	char **list;
	char *pwd;

	if (read_list(pid, "environ", is_pwd, &list, NULL) < 0)
		return NULL;
	pwd = list[0] ? str_dup(list[0] + strlen("PWD=")) : NULL;
	free_list(list);
	return pwd;
}

bool source_process_has_open(pid_t pid, const char *path)
{
	_autofree_ char *directory = str_printf("/proc/%d/fd", (int)pid);
	DIR *dir = opendir(directory);
	struct stat wanted, st;
	bool found = false;

	if (dir && stat(path, &wanted) == 0)
		for (const struct dirent *entry; !found && (entry = readdir(dir));)
			found = fstatat(dirfd(dir), entry->d_name, &st, 0) == 0 &&
				S_ISREG(st.st_mode) && st.st_dev == wanted.st_dev &&
				st.st_ino == wanted.st_ino;
	if (dir)
		closedir(dir);
	return found;
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
	    read_user(process, pid, err) < 0) {
		source_process_deinit(process);
		return -1;
	}
	return 0;
}

void source_process_deinit(struct source_process *process)
{
	free_list(process->argv);
	free_list(process->environment);
	free(process->program);
	free(process->user);
	free(process->group);
	free(process->groups);
	*process = (struct source_process){0};
}
