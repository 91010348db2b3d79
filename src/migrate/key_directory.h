/* A directory of a host that holds a key for the QEMU there, and for nobody else. */
#ifndef VMFERRY_MIGRATE_KEY_DIRECTORY_H
#define VMFERRY_MIGRATE_KEY_DIRECTORY_H

#include <stdbool.h>
#include <stddef.h>

#include "migrate/host.h"

struct key_place {
	char *path;  /* of the directory; the caller's to free */
	char *owner; /* who is to read it, a number, when that is not our login there; else NULL.
		      * The caller's to free */
};

/* Where one of the name @name would be: in memory if the host has such a file system, so that the
 * key never gets to a disk. @reader: a shell command that prints the user id of who will read it;
 * when it prints nothing, that is our login. */
int key_directory_choose(struct host *host, const char *name, const char *reader,
			 struct key_place *place, int64_t timeout_ms, struct err *err);

/* Makes it, and in it keys.psk of @key, @len bytes that are not shown to any command; and, if
 * @group, dh-params.pem (see keys.c). */
int key_directory_make(struct host *host, const struct key_place *place, const void *key,
		       size_t len, bool group, int64_t timeout_ms, struct err *err);

/* Makes it, with nothing in it: for sockets. */
int key_directory_make_empty(struct host *host, const struct key_place *place, int64_t timeout_ms,
			     struct err *err);

/* Removes it, with the files that key_directory_make(), or who was given an empty one (tunnel.c),
 * may have made. One that is not there is no error. */
int key_directory_remove(struct host *host, const char *path, int64_t timeout_ms, struct err *err);

/* The sockets in an empty one. */
#define KEY_DIRECTORY_NBD "vmferry.nbd"
#define KEY_DIRECTORY_RAM "vmferry.ram"

/* The same as words of a POSIX shell, of the directory whose name is in $keys. */
#define KEY_DIRECTORY_REMOVE                                                                       \
	"for f in keys.psk dh-params.pem " KEY_DIRECTORY_NBD " " KEY_DIRECTORY_RAM                 \
	" " SSH_FORWARD_CONFIG " " SSH_FORWARD_KNOWN_HOSTS                                         \
	"; do rm -f -- \"$keys/$f\"; done; rmdir -- \"$keys\""

/* The user of process @pid, and of who listens on the Unix socket @path, as a command for
 * key_directory_choose(). The caller's to free. */
char *key_reader_process(int pid);
char *key_reader_listener(const char *path);

#endif
