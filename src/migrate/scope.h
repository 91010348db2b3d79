/* --scope: the QEMU over there in a scope of systemd's of its own, and whether it needs one. */
#ifndef VMFERRY_MIGRATE_SCOPE_H
#define VMFERRY_MIGRATE_SCOPE_H

#include "migrate/migration.h"

/* The most that scope_words() gives. */
#define SCOPE_WORDS_MAX 16

/* Objects when --scope cannot be, or when it was not asked for and what a login over there
 * leaves running would be ended. @login: the user that logs in there. */
void look_at_scope(struct migration *m, const char *login);

/* What goes before the program's words; how many. They are borrowed from @m. */
size_t scope_words(const struct migration *m, const char **words);

/* The unit and the slice that @cgroup, a /proc/PID/cgroup, names: "web1" of
 * "0::/machine.slice/web1.scope", to be freed. NULL: none that says what runs in it, as that of a
 * login; a slice that everything is in. */
void scope_parse(const char *cgroup, char **unit, char **slice);

#endif
