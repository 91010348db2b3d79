#include "migrate/destination.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/str.h"

static int bad(const char *text, const char *why, struct err *err)
{
	return err_set(err, ERR_USAGE,
		       "destination \"%s\": %s; write [user@]host:/path/qmp.sock, "
		       "ssh://[user@]host[:port]/path/qmp.sock, or /path/qmp.sock for this host",
		       text, why);
}

static char *dup_range(const char *from, const char *to)
{
	return str_printf("%.*s", (int)(to - from), from);
}

/* Takes "user@" off the front, if it is there before @end. */
static const char *take_user(struct destination *dst, const char *s, const char *end)
{
	const char *at = memrchr(s, '@', (size_t)(end - s));

	if (!at)
		return s;
	dst->user = dup_range(s, at);
	return at + 1;
}

/* Takes "host" or "[v6]"; returns what is behind it, or NULL. */
static const char *take_host(struct destination *dst, const char *s)
{
	const char *end;

	if (*s == '[') {
		end = strchr(s, ']');
		if (!end)
			return NULL;
		dst->host = dup_range(s + 1, end);
		return end + 1;
	}
	end = s + strcspn(s, ":/");
	dst->host = dup_range(s, end);
	return end;
}

static int parse_port(const char *s, const char *end)
{
	char *stop;
	long port = strtol(s, &stop, 10);

	return stop == end && *s >= '0' && *s <= '9' && port > 0 && port < 65536 ? (int)port : -1;
}

/* Options of ssh and of its shell must not come in through a name. */
static bool name_is_clean(const char *name)
{
	if (!name)
		return true;
	if (!*name || *name == '-')
		return false;
	for (; *name; name++)
		if ((unsigned char)*name <= ' ' || *name == 0x7f ||
		    strchr("'\"`$\\;&<>|(){}", *name))
			return false;
	return true;
}

static int parse_url(const char *text, struct destination *dst, struct err *err)
{
	const char *s = text + strlen("ssh://");
	const char *path = strchr(s, '/');

	if (!path)
		return bad(text, "it has no path", err);
	s = take_host(dst, take_user(dst, s, path));
	if (!s || (*s != ':' && s != path))
		return bad(text, "its host cannot be read", err);
	if (*s == ':' && (dst->port = parse_port(s + 1, path)) < 0)
		return bad(text, "its port is not one of 1 to 65535", err);
	dst->socket = str_dup(path);
	return 0;
}

static int parse_scp(const char *text, struct destination *dst, struct err *err)
{
	const char *path = strstr(text, ":/");
	const char *s;

	if (!path)
		return bad(text, strchr(text, ':') ? "its path is not absolute" : "it has no path",
			   err);
	s = take_host(dst, take_user(dst, text, path));
	if (!s || s != path)
		return bad(text, "an IPv6 address goes in brackets, a port into an ssh:// form",
			   err);
	dst->socket = str_dup(path + 1);
	return 0;
}

/* The other host's system is taken to be as this one; none of QEMU's has more. */
static int check_length(const struct destination *dst, struct err *err)
{
	size_t max = sizeof(((struct sockaddr_un *)NULL)->sun_path) - 1;

	if (strlen(dst->socket) <= max)
		return 0;
	return err_set(err, ERR_USAGE,
		       "destination: the path of its monitor, %s, has %zu characters, and a Unix "
		       "socket's at most %zu; name a shorter one there, HOST:/path/qmp.sock",
		       dst->socket, strlen(dst->socket), max);
}

int destination_parse(const char *text, struct destination *dst, struct err *err)
{
	int ret = 0;

	*dst = (struct destination){0};
	if (*text == '/')
		dst->socket = str_dup(text);
	else if (str_starts(text, "ssh://"))
		ret = parse_url(text, dst, err);
	else
		ret = parse_scp(text, dst, err);
	if (ret == 0 && (!name_is_clean(dst->host) || !name_is_clean(dst->user)))
		ret = bad(text, "its user or host is empty or has characters no name has", err);
	if (ret == 0)
		ret = check_length(dst, err);
	if (ret < 0)
		destination_deinit(dst);
	return ret;
}

static bool has_path(const char *text)
{
	if (str_starts(text, "ssh://"))
		return strchr(text + strlen("ssh://"), '/');
	return *text == '/' || strstr(text, ":/");
}

int destination_parse_host(const char *text, const char *socket, struct destination *dst,
			   struct err *err)
{
	_autofree_ char *absolute = NULL;
	_autofree_ char *whole = NULL;

	if (has_path(text))
		return destination_parse(text, dst, err);
	absolute = realpath(socket, NULL);
	if (!absolute)
		return err_set(err, ERR_USAGE, "source \"%s\": %s", socket, strerror(errno));
	whole = str_printf(str_starts(text, "ssh://") ? "%s%s" : "%s:%s", text, absolute);
	return destination_parse(whole, dst, err);
}

void destination_deinit(struct destination *dst)
{
	free(dst->user);
	free(dst->host);
	free(dst->socket);
	*dst = (struct destination){0};
}
