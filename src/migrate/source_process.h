/* The process of the source's QEMU, as proc(5) shows it: how it was started. */
#ifndef VMFERRY_MIGRATE_SOURCE_PROCESS_H
#define VMFERRY_MIGRATE_SOURCE_PROCESS_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/err.h"

/* As whom a process acts. */
struct source_user {
	unsigned uid, gid;          /* effective */
	char groups[512];           /* the others, "4,24"; "" for none */
	unsigned long capabilities; /* effective; bit N is capability N */
};

int source_user_read(struct source_user *user, pid_t pid);

struct source_process {
	char **argv;        /* NULL at the end */
	char **environment; /* "A=b", only what matters to a QEMU; NULL at the end */
	char *program;      /* what runs: argv[0] where that is absolute, else the executable */
	char *user;         /* the name of its user, or the number */
	char *group;        /* the name of its group, or the number; NULL: its user's own */
	char *groups;       /* of a user without a name: the others, words of a shell; else NULL */
};

/* A process as no other will ever be on this host while it is up: "PID START", START being
 * field 22 of proc(5)'s stat; NULL when it is not seen. The caller's to free. */
char *process_name(pid_t pid);

/* The directory that the environment of @pid says it was started in ($PWD), if that is a path;
 * caller frees. Only a hint: whoever started it need not have kept it right. */
char *source_process_pwd(pid_t pid);

/* Whether @pid has the file @path, as this process sees it, open right now. */
bool source_process_has_open(pid_t pid, const char *path);

/* Reads it; needs to be that user, or root. */
int source_process_read(struct source_process *process, pid_t pid, struct err *err);
void source_process_deinit(struct source_process *process);

#endif
