/* Requests of SFTP, for the files of this layer that make them. */
#ifndef VMFERRY_SSH_SFTP_H
#define VMFERRY_SSH_SFTP_H

#include "ssh/internal.h"

/* One request; which fields are used depends on it. */
struct sftp_request {
	bool (*step)(struct ssh *ssh, void *arg);
	const char *path;
	const char *to; /* of rename */
	LIBSSH2_SFTP_HANDLE *handle;
	LIBSSH2_SFTP_ATTRIBUTES attrs;
	LIBSSH2_SFTP_STATVFS space;
	const char *data; /* of write: what is still to be written */
	size_t len;
	int kind; /* of stat */
	long mode;
	int rc;
	unsigned long status; /* SSH_FX_*, when rc is LIBSSH2_ERROR_SFTP_PROTOCOL */
};

/* Starts the session's SFTP, if it has none. */
int sftp_start(struct ssh *ssh, struct err *err);

/* Makes the request, which @step does: 0 when the server answered, which may be an error of the
 * file (r->rc, r->status). After -1 the session's SFTP is another, and handles of this one are
 * gone. */
int sftp_ask(struct ssh *ssh, const char *verb, bool (*step)(struct ssh *ssh, void *arg),
	     struct sftp_request *r, struct err *err);

bool sftp_no_such_file(const struct sftp_request *r);

/* "hostb: create /srv/web1.img: permission denied". Returns -1. */
int sftp_failed(struct ssh *ssh, const struct sftp_request *r, const char *verb, struct err *err);

#endif
