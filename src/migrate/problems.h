/* A list of objections (or of things left behind), so that all are told together. */
#ifndef VMFERRY_MIGRATE_PROBLEMS_H
#define VMFERRY_MIGRATE_PROBLEMS_H

#include <stddef.h>

struct problems {
	char **list;
	size_t count;
};

void problems_add(struct problems *problems, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
void problems_deinit(struct problems *problems);

#endif
