/* A mark on the files that prepare has made, so that finish, a later process, can tell them
 * from all others: it removes what a cookie names, and a cookie comes from another host, which
 * must not be able to have any file removed by naming it. An extended attribute (xattr(7))
 * stays with the file and goes with it; no other file can get it from over there. */
#ifndef VMFERRY_MIGRATE_MARK_H
#define VMFERRY_MIGRATE_MARK_H

#include <stdbool.h>

#include "base/err.h"

/* Marks the file @path of this host as made by migration @id. */
int mark_file(const char *path, const char *id, struct err *err);

/* Whether it carries that mark. */
bool mark_is_on(const char *path, const char *id);

/* Takes the mark off, if it is there. */
void unmark_file(const char *path);

#endif
