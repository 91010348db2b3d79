/* SHA-256 of files of both hosts, so that large files can be compared without being copied.
 * sha256sum(1) makes it where the file is. A file is read once, whatever names it goes by, and
 * only when somebody wants it; files of the two hosts are read at the same time. */
#ifndef VMFERRY_MIGRATE_DIGEST_H
#define VMFERRY_MIGRATE_DIGEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/file.h"
#include "migrate/host.h"

struct digest_file {
	struct host *host; /* borrowed */
	char *path;        /* as a shell of that host opens it */
	struct file_id id;
	uint64_t size_bytes; /* 0: not known, as of a block device */
	bool wanted;
	char hex[65]; /* once it was made */
	char *error;  /* why it could not be made; NULL: it was, or was not wanted */
};

struct digests {
	struct digest_file *list;
	size_t count;
};

/* Looks which file @path is; gives its place in the list, where it may have been already. */
int digests_add(struct digests *digests, struct host *host, const char *path, int64_t timeout_ms,
		size_t *place, struct err *err);

/* Makes those that are wanted and were not made yet; @here is this host. -1 only when that was
 * interrupted; what else goes wrong with a file is in its `error`. */
int digests_make(struct digests *digests, struct loop *loop, struct host *here, struct err *err);

/* The digest of @text, made on @host. */
int digest_of_text(struct host *host, const char *text, int64_t timeout_ms, char hex[65],
		   struct err *err);

void digests_deinit(struct digests *digests);

#endif
