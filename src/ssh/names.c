#include "ssh/names.h"

#include <string.h>

#include "base/str.h"

/* More than ssh(1) would read of anything; the rest is dropped. */
#define NAMES_MAX 256

void names_add(struct ssh_names *names, char *name)
{
	if (names->count == NAMES_MAX) {
		free(name);
		return;
	}
	names->name = mem_grow(names->name, names->count + 1, sizeof(*names->name));
	names->name[names->count++] = name;
}

void names_deinit(struct ssh_names *names)
{
	for (size_t i = 0; i < names->count; i++)
		free(names->name[i]);
	free(names->name);
	*names = (struct ssh_names){0};
}

bool names_in_list(const char *list, const char *name)
{
	size_t len = strlen(name);

	for (; *list; list += strcspn(list, ",")) {
		list += *list == ',';
		if (strncmp(list, name, len) == 0 && (list[len] == ',' || !list[len]))
			return true;
	}
	return false;
}
