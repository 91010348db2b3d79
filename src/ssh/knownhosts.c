/* libssh2's own reader (libssh2_knownhost_readfile, 1.10.0) stops at the first line that it
 * does not understand, and knows neither patterns nor markers. So the lines are read here,
 * and libssh2 is only asked whether a hashed name is the one looked for. */
#include "ssh/knownhosts.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"

/* `*` and `?`, without regard to case (no [] as fnmatch(3) has it: those are in names). */
static bool match_pattern(const char *s, const char *pattern, size_t len)
{
	const char *end = pattern + len;

	for (; pattern < end; pattern++, s++) {
		if (*pattern == '*') {
			while (pattern < end && *pattern == '*')
				pattern++;
			if (pattern == end)
				return true;
			for (; *s; s++)
				if (match_pattern(s, pattern, (size_t)(end - pattern)))
					return true;
			return false;
		}
		if (!*s || (*pattern != '?' && strncasecmp(s, pattern, 1) != 0))
			return false;
	}
	return !*s;
}

/* A list of patterns, one of which has to match, and none of those with "!". */
static bool match_list(const char *name, const char *list)
{
	bool found = false;

	while (*list) {
		size_t len = strcspn(list, ",");
		bool negated = *list == '!';

		if (match_pattern(name, list + negated, len - negated)) {
			if (negated)
				return false;
			found = true;
		}
		list += len + (list[len] == ',');
	}
	return found;
}

/* "|1|salt|hash": libssh2 reads the one line, and any answer but "not found" says that the
 * name is that of the line. */
static bool match_hashed(LIBSSH2_SESSION *session, const char *name, const char *hashed)
{
	static const char any_key[] = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAA"
				      "AAAAAAAAAAAAAAAAAAAA";
	_autofree_ char *line = str_printf("%s %s", hashed, any_key);
	LIBSSH2_KNOWNHOSTS *one = libssh2_knownhost_init(session);
	bool found = false;

	if (!one)
		return false;
	if (libssh2_knownhost_readline(one, line, strlen(line), LIBSSH2_KNOWNHOST_FILE_OPENSSH) ==
	    0)
		found = libssh2_knownhost_checkp(one, name, -1, "none", 4,
						 LIBSSH2_KNOWNHOST_TYPE_PLAIN |
							 LIBSSH2_KNOWNHOST_KEYENC_BASE64,
						 NULL) == LIBSSH2_KNOWNHOST_CHECK_MISMATCH;
	libssh2_knownhost_free(one);
	return found;
}

static void add_type(struct knownhosts *known, const char *type)
{
	for (int i = 0; i < known->type_count; i++)
		if (strcmp(known->types[i], type) == 0)
			return;
	if (known->type_count < KNOWNHOSTS_TYPES_MAX && strlen(type) < sizeof(known->types[0]))
		strcpy(known->types[known->type_count++], type);
}

struct wanted {
	LIBSSH2_SESSION *session;
	const char *name, *type, *key;
	const char *file;
	int line;
};

static void take_key(const struct wanted *w, const char *type, const char *key,
		     struct knownhosts *known)
{
	add_type(known, type);
	if (!w->type || strcmp(type, w->type) != 0)
		return;
	if (strcmp(key, w->key) == 0) {
		known->match = true;
	} else if (!known->changed_file) {
		known->changed_file = str_dup(w->file);
		known->changed_line = w->line;
	}
}

static void take_line(const struct wanted *w, char *line, struct knownhosts *known)
{
	static const char blank[] = " \t\r\n";
	char *rest = NULL;
	char *word = strtok_r(line, blank, &rest);
	const char *marker = word && *word == '@' ? word : NULL;
	const char *hosts = marker ? strtok_r(NULL, blank, &rest) : word;
	const char *type = strtok_r(NULL, blank, &rest);
	const char *key = strtok_r(NULL, blank, &rest);

	if (!word || *word == '#' || !hosts || !type || !key)
		return;
	if (*hosts == '|' ? !match_hashed(w->session, w->name, hosts) : !match_list(w->name, hosts))
		return;
	if (str_eq(marker, "@cert-authority"))
		known->authority = true;
	else if (str_eq(marker, "@revoked"))
		known->revoked |= str_eq(key, w->key);
	else if (!marker)
		take_key(w, type, key, known);
}

static int read_file(struct wanted *w, struct knownhosts *known, struct err *err)
{
	FILE *f = fopen(w->file, "re");
	_autofree_ char *line = NULL;
	size_t cap = 0;

	if (!f && (errno == ENOENT || errno == ENOTDIR))
		return 0;
	if (!f)
		return err_errno(err, errno, "%s", w->file);
	for (w->line = 1; getline(&line, &cap, f) >= 0; w->line++)
		take_line(w, line, known);
	fclose(f);
	return 0;
}

int knownhosts_find(LIBSSH2_SESSION *session, const struct ssh_names *files, const char *name,
		    const char *type, const char *key, struct knownhosts *known, struct err *err)
{
	struct wanted w = {.session = session, .name = name, .type = type, .key = key};

	for (size_t i = 0; i < files->count; i++) {
		w.file = files->name[i];
		if (read_file(&w, known, err) < 0)
			return -1;
	}
	return 0;
}

void knownhosts_deinit(struct knownhosts *known)
{
	free(known->changed_file);
	known->changed_file = NULL;
}
