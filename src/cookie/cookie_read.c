/* Text to tree to struct, in three steps: document.c refuses what is not XML of our kind; the
 * functions here walk the tree and take what the tables of field.c know, each value checked as
 * it is taken; cookie_check.c looks at the whole. All or nothing: at the first fault everything
 * taken so far is freed.
 */
#include <string.h>

#include "base/str.h"
#include "cookie/document.h"
#include "cookie/internal.h"
#include "cookie/text.h"

/* Of libvirt's mandatory features, those that ask nothing of vmferry that it does not do. */
static const char *const known_features[] = {"nbd"};

/* The parts below the root that are read after it, and the disks of <nbd>. */
struct parts {
	xmlNode *nbd, *vmferry;
	struct cookie_disk *plain;
	size_t plain_count;
};

static int set_once(xmlNode **place, xmlNode *node, struct err *err)
{
	if (*place)
		return err_set(err, ERR_REFUSED, "a second <%s>", (const char *)node->name);
	*place = node;
	return 0;
}

static int read_feature(xmlNode *node, struct err *err)
{
	_autofree_ char *name = document_attribute(node, "name");

	if (!name)
		return err_set(err, ERR_REFUSED, "a <feature> without a name");
	for (size_t i = 0; i < sizeof(known_features) / sizeof(known_features[0]); i++)
		if (str_eq(name, known_features[i]))
			return 0;
	return err_set(err, ERR_REFUSED, "the feature %.200s is asked for, and not known here",
		       name);
}

/* <name>, <uuid>, ...; anything else is skipped. */
static int read_guest(xmlNode *node, struct cookie *cookie, struct err *err)
{
	for (const struct field *field = field_guest(); field->name; field++) {
		_autofree_ char *text = NULL;

		if (!document_is(node, NULL, field->name))
			continue;
		text = document_text(node);
		if (!text)
			return err_set(err, ERR_REFUSED, "%s is not text alone", field->name);
		return field_read(field, text, cookie, err);
	}
	return 0;
}

static int read_child(xmlNode *node, struct cookie *cookie, struct parts *parts, struct err *err)
{
	if (document_is(node, NULL, "nbd"))
		return set_once(&parts->nbd, node, err);
	if (document_is(node, COOKIE_NAMESPACE, "vmferry"))
		return set_once(&parts->vmferry, node, err);
	if (document_is(node, NULL, "feature"))
		return read_feature(node, err);
	return read_guest(node, cookie, err);
}

static int read_root(xmlNode *root, struct cookie *cookie, struct parts *parts, struct err *err)
{
	if (!document_is(root, NULL, COOKIE_ROOT))
		return err_set(err, ERR_REFUSED,
			       "its document element is <%.200s>%s, not <" COOKIE_ROOT ">",
			       (const char *)root->name, root->ns ? " in a namespace" : "");
	for (xmlNode *node = root->children; node; node = node->next)
		if (read_child(node, cookie, parts, err) < 0)
			return -1;
	return cookie->uuid ? 0 : err_set(err, ERR_REFUSED, "no uuid");
}

static int read_attributes(xmlNode *node, const struct field *fields, void *record, struct err *err)
{
	for (; fields->name; fields++) {
		_autofree_ char *text = document_attribute(node, fields->name);

		if (!text && fields->required)
			return err_set(err, ERR_REFUSED, "no %s", fields->name);
		if (text && field_read(fields, text, record, err) < 0)
			return -1;
	}
	return 0;
}

/* Puts "disk NAME: " before the error, or the disk's number where it has no name. */
static int wrap_disk(const struct cookie_disk *disk, size_t number, struct err *err)
{
	const char *name = disk->name ? disk->name : disk->src;

	return name ? err_wrap(err, "disk %.200s", name) : err_wrap(err, "disk %zu", number);
}

/* All <disk> below @parent, by the table @fields. On error, too, @disks is the caller's. */
static int read_disks(xmlNode *parent, const char *uri, const struct field *fields,
		      struct cookie_disk **disks, size_t *count, struct err *err)
{
	size_t n = 0;
	xmlNode *node = document_next(parent->children, uri, "disk");

	for (xmlNode *p = node; p; p = document_next(p->next, uri, "disk"))
		n++;
	if (n > COOKIE_DISKS_MAX)
		return err_set(err, ERR_REFUSED, "%zu disks are more than %d", n, COOKIE_DISKS_MAX);
	*disks = n ? mem_zalloc(n, sizeof(**disks)) : NULL;
	*count = n;
	for (size_t i = 0; i < n; i++, node = document_next(node->next, uri, "disk"))
		if (read_attributes(node, fields, &(*disks)[i], err) < 0)
			return wrap_disk(&(*disks)[i], i + 1, err);
	return 0;
}

static int read_port(xmlNode *node, int *port, struct err *err)
{
	_autofree_ char *text = document_attribute(node, "port");
	uint64_t number;

	if (!text)
		return 0;
	if (str_eq(text, "-1")) {
		*port = -1;
		return 0;
	}
	if (!text_number(text, 10, UINT16_MAX, &number) || !number)
		return err_set(err, ERR_REFUSED, "nbd: port \"%.200s\" is not 1 to 65535 or -1",
			       text);
	*port = (int)number;
	return 0;
}

static int read_nbd(struct parts *parts, struct cookie *cookie, struct err *err)
{
	if (!parts->nbd)
		return 0;
	cookie->nbd = true;
	if (read_port(parts->nbd, &cookie->nbd_port, err) < 0)
		return -1;
	if (read_disks(parts->nbd, NULL, field_plain(), &parts->plain, &parts->plain_count, err) <
	    0)
		return -1;
	for (size_t i = 0; i < parts->plain_count; i++)
		if (!parts->plain[i].size) {
			err_set(err, ERR_REFUSED, "no size");
			return wrap_disk(&parts->plain[i], i + 1, err);
		}
	return 0;
}

static int read_vmferry(struct parts *parts, struct cookie *cookie, struct err *err)
{
	cookie->vmferry = true;
	if (read_attributes(parts->vmferry, field_vmferry(), cookie, err) < 0)
		return err_wrap(err, "vmferry");
	if (read_disks(parts->vmferry, COOKIE_NAMESPACE, field_disk(), &cookie->disks,
		       &cookie->disks_count, err) < 0)
		return -1;
	return cookie_check_agreement(cookie, parts->plain, parts->plain_count, err);
}

/* Another's cookie: the phase is told by the port, the disks are those of <nbd>. */
static int read_foreign(struct parts *parts, struct cookie *cookie, struct err *err)
{
	cookie->phase = cookie->nbd_port < 0   ? COOKIE_PERFORM
			: cookie->nbd_port > 0 ? COOKIE_PREPARE
					       : COOKIE_BEGIN;
	for (size_t i = 0; i < parts->plain_count; i++) {
		struct cookie_disk *disk = &parts->plain[i];

		if (!disk->name)
			disk->name = str_dup(disk->src);
		if (!disk->name)
			return err_set(err, ERR_REFUSED, "disk %zu: neither src nor target", i + 1);
	}
	cookie->disks = parts->plain;
	cookie->disks_count = parts->plain_count;
	parts->plain = NULL;
	parts->plain_count = 0;
	return 0;
}

static int read_all(xmlNode *root, struct cookie *cookie, struct parts *parts, struct err *err)
{
	if (read_root(root, cookie, parts, err) < 0 || read_nbd(parts, cookie, err) < 0)
		return -1;
	if (parts->vmferry ? read_vmferry(parts, cookie, err) < 0
			   : read_foreign(parts, cookie, err) < 0)
		return -1;
	return cookie_check(cookie, err);
}

int cookie_read(struct cookie *cookie, const char *text, size_t len, struct err *err)
{
	_cleanup_document_ xmlDoc *doc = document_parse(text, len, err);
	struct parts parts = {0};
	int result;

	*cookie = (struct cookie){0};
	if (!doc)
		return err_wrap(err, "cookie");
	result = read_all(xmlDocGetRootElement(doc), cookie, &parts, err);
	cookie_free_disks(parts.plain, parts.plain_count);
	if (result < 0) {
		cookie_deinit(cookie);
		err_wrap(err, "cookie");
	}
	return result;
}
