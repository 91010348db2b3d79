/* --clone: as whom the QEMU over there runs. Names count, for the same user or group has another
 * number on another host; the number does where it has no name here. */
#ifndef VMFERRY_MIGRATE_CLONE_USER_H
#define VMFERRY_MIGRATE_CLONE_USER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct migration;

/* All numbers are those over there; NULL before the look. */
struct clone_user {
	char *uid, *gid;
	char *groups; /* the others, "4,24"; "-" for none; "": those of the user over there */
};

/* Objects where it is not there, or the login may not become it. */
void look_at_clone_user(struct migration *m);

/* Gives it what was made for it. */
int clone_user_give(struct migration *m, int64_t timeout_ms, struct err *err);

#define CLONE_USER_WORDS 8

/* Puts the words into @words, at most CLONE_USER_WORDS, that go ahead of a program's to run it as
 * that user; borrowed from @m. Returns how many: none, where the login is it, or the program sees
 * to that itself. */
size_t clone_user_words(const struct migration *m, const char **words);

void clone_user_deinit(struct clone_user *user);

#endif
