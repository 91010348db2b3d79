/* The files of known host keys, as ssh(1) reads them (sshd(8), SSH_KNOWN_HOSTS FILE FORMAT):
 * patterns, negation, hashed names, markers. */
#ifndef VMFERRY_SSH_KNOWNHOSTS_H
#define VMFERRY_SSH_KNOWNHOSTS_H

#include <libssh2.h>
#include <stdbool.h>

#include "ssh/config.h"

#define KNOWNHOSTS_TYPES_MAX 8

/* What is known of a host. */
struct knownhosts {
	bool match;                           /* the key is the host's */
	bool revoked;                         /* the key is marked as @revoked */
	bool authority;                       /* there is a @cert-authority for the host */
	char *changed_file;                   /* here is another key of the same type, or NULL */
	int changed_line;                     /* its line */
	char types[KNOWNHOSTS_TYPES_MAX][40]; /* the types of keys that are known */
	int type_count;
};

/* Looks for @name (as ssh(1) writes it: "host", or "[host]:port") in all of @files; @type and
 * @key (base64) are the server's key, or NULL when it is only asked what is known. Adds to
 * what @known says already; deinit it in any case. */
int knownhosts_find(LIBSSH2_SESSION *session, const struct ssh_names *files, const char *name,
		    const char *type, const char *key, struct knownhosts *known, struct err *err);
void knownhosts_deinit(struct knownhosts *known);

#endif
