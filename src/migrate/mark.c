#include "migrate/mark.h"

#include <errno.h>
#include <string.h>
#include <sys/xattr.h>

static const char attribute[] = "user.vmferry.migration";

int mark_file(const char *path, const char *id, struct err *err)
{
	if (lsetxattr(path, attribute, id, strlen(id), 0) < 0)
		return err_errno(err, errno, "mark %s", path);
	return 0;
}

bool mark_is_on(const char *path, const char *id)
{
	char value[64];
	ssize_t n = lgetxattr(path, attribute, value, sizeof(value));

	return n > 0 && (size_t)n == strlen(id) && memcmp(value, id, (size_t)n) == 0;
}

void unmark_file(const char *path)
{
	lremovexattr(path, attribute);
}
