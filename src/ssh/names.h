/* A short list of names or words. */
#ifndef VMFERRY_SSH_NAMES_H
#define VMFERRY_SSH_NAMES_H

#include <stdbool.h>
#include <stddef.h>

struct ssh_names {
	char **name;
	size_t count;
};

/* Takes @name over. */
void names_add(struct ssh_names *names, char *name);
void names_deinit(struct ssh_names *names);

/* Whether @name is one of @list, "a,b,c". */
bool names_in_list(const char *list, const char *name);

#endif
