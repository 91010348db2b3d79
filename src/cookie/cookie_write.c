/* Struct to tree to text. Every text is checked by its row as it goes in (libxml2 would write
 * what no parser takes back), and at the end the whole is read again: what this host would
 * refuse must not be found out by the other one, when it has begun to act on it.
 */
#include <libxml/xmlsave.h>
#include <string.h>

#include "base/str.h"
#include "cookie/document.h"
#include "cookie/internal.h"
#include "cookie/text.h"

/* Adding to a tree fails for want of memory alone: noted here, looked at once. */
struct writing {
	const struct cookie *cookie;
	xmlNode *root;
	bool failed;
};

static xmlNode *add_element(struct writing *w, xmlNode *parent, const char *name, const char *text)
{
	xmlNode *node = NULL;

	if (parent)
		node = xmlNewTextChild(parent, NULL, (const xmlChar *)name, (const xmlChar *)text);
	w->failed |= !node;
	return node;
}

static void add_attribute(struct writing *w, xmlNode *node, const char *name, const char *text)
{
	if (!node || !xmlNewProp(node, (const xmlChar *)name, (const xmlChar *)text))
		w->failed = true;
}

static int wrap_disk(const struct cookie_disk *disk, struct err *err)
{
	return err_wrap(err, "disk %.200s", disk->name ? disk->name : "without a name");
}

static int add_field(struct writing *w, xmlNode *node, const struct field *field,
		     const void *record, struct err *err)
{
	_autofree_ char *text = field_print(field, record);

	if (!text)
		return 0;
	if (field_check(field, text, err) < 0)
		return -1;
	add_attribute(w, node, field->name, text);
	return 0;
}

static int add_guest(struct writing *w, struct err *err)
{
	for (const struct field *field = field_guest(); field->name; field++) {
		_autofree_ char *text = field_print(field, w->cookie);

		if (!text)
			continue;
		if (field_check(field, text, err) < 0)
			return -1;
		add_element(w, w->root, field->name, text);
	}
	return 0;
}

/* A disk as others read it. Its name is vmferry's to tell, if that has an element of its own. */
static int add_plain_disk(struct writing *w, xmlNode *nbd, const struct cookie_disk *disk,
			  struct err *err)
{
	struct cookie_disk plain = {.src = disk->src, .size = disk->size};
	xmlNode *node = add_element(w, nbd, "disk", NULL);

	if (!w->cookie->vmferry && !str_eq(disk->name, disk->src))
		plain.name = disk->name;
	for (const struct field *field = field_plain(); field->name; field++)
		if (!str_eq(field->name, "capacity") && add_field(w, node, field, &plain, err) < 0)
			return -1;
	return 0;
}

static bool writes_nbd(const struct cookie *cookie)
{
	if (cookie->phase == COOKIE_PREPARE && cookie->failed && !cookie->nbd_port)
		return false; /* it did not get that far */
	return cookie->nbd && cookie->phase != COOKIE_FINISH;
}

/* What the phase says by it; see cookie.h. */
static void add_port(struct writing *w, xmlNode *nbd)
{
	_autofree_ char *port = NULL;

	if (w->cookie->phase == COOKIE_BEGIN)
		return;
	port = str_printf("%d", w->cookie->phase == COOKIE_PERFORM ? -1 : w->cookie->nbd_port);
	add_attribute(w, nbd, "port", port);
}

static int add_nbd(struct writing *w, struct err *err)
{
	const struct cookie *cookie = w->cookie;
	xmlNode *nbd;

	if (!writes_nbd(cookie))
		return 0;
	nbd = add_element(w, w->root, "nbd", NULL);
	add_port(w, nbd);
	if (cookie->vmferry && cookie->phase != COOKIE_BEGIN)
		return 0;
	for (size_t i = 0; i < cookie->disks_count; i++)
		if (add_plain_disk(w, nbd, &cookie->disks[i], err) < 0)
			return wrap_disk(&cookie->disks[i], err);
	return 0;
}

static int add_disk(struct writing *w, xmlNode *parent, const struct cookie_disk *disk,
		    struct err *err)
{
	xmlNode *node = add_element(w, parent, "disk", NULL);

	for (const struct field *field = field_disk(); field->name; field++)
		if (add_field(w, node, field, disk, err) < 0)
			return -1;
	return 0;
}

/* The reason of a failure, made fit to be told whatever is in it; NULL for none. */
static char *fit_reason(const char *reason)
{
	char *fit = reason && *reason ? str_printf("%.*s", TEXT_MAX, reason) : NULL;

	if (fit)
		text_sanitize(fit);
	return fit;
}

static xmlNode *add_own_element(struct writing *w, const char *name)
{
	xmlNode *node = add_element(w, w->root, name, NULL);
	xmlNs *ns = node ? xmlNewNs(node, (const xmlChar *)COOKIE_NAMESPACE, NULL) : NULL;

	w->failed |= !ns;
	xmlSetNs(node, ns);
	return node;
}

static int add_vmferry(struct writing *w, struct err *err)
{
	struct cookie cookie = *w->cookie; /* but for the reason */
	_autofree_ char *reason = fit_reason(cookie.reason);
	xmlNode *node;

	if (!cookie.vmferry)
		return 0;
	cookie.reason = reason;
	node = add_own_element(w, "vmferry");
	for (const struct field *field = field_vmferry(); field->name; field++)
		if (add_field(w, node, field, &cookie, err) < 0)
			return err_wrap(err, "vmferry");
	for (size_t i = 0; i < cookie.disks_count; i++)
		if (add_disk(w, node, &cookie.disks[i], err) < 0)
			return wrap_disk(&cookie.disks[i], err);
	return 0;
}

/* The tree as text; NULL for want of memory. */
static char *save(xmlDoc *doc)
{
	xmlBuffer *buffer = xmlBufferCreate();
	xmlSaveCtxt *save =
		buffer ? xmlSaveToBuffer(buffer, "UTF-8", XML_SAVE_FORMAT | XML_SAVE_NO_DECL)
		       : NULL;
	bool good = save && xmlSaveDoc(save, doc) >= 0;
	char *text = NULL;

	if (save && xmlSaveClose(save) < 0)
		good = false;
	if (good)
		text = str_dup((const char *)xmlBufferContent(buffer));
	xmlBufferFree(buffer);
	return text;
}

static int check_text(const struct cookie *cookie, const char *text, struct err *err)
{
	struct cookie back;
	bool same;

	if (cookie_read(&back, text, strlen(text), err) < 0)
		return -1;
	same = back.phase == cookie->phase && back.disks_count == cookie->disks_count;
	cookie_deinit(&back);
	return same ? 0
		    : err_set(err, ERR_REFUSED, "cookie: phase, port and disks do not go together");
}

static int build(struct writing *w, xmlDoc *doc, struct err *err)
{
	w->root = xmlNewDocNode(doc, NULL, (const xmlChar *)COOKIE_ROOT, NULL);
	if (!w->root)
		return err_set(err, ERR_FAILED, "out of memory");
	xmlDocSetRootElement(doc, w->root);
	if (add_guest(w, err) < 0 || add_nbd(w, err) < 0 || add_vmferry(w, err) < 0)
		return -1;
	return w->failed ? err_set(err, ERR_FAILED, "out of memory") : 0;
}

char *cookie_write(const struct cookie *cookie, struct err *err)
{
	_cleanup_document_ xmlDoc *doc = NULL;
	_autofree_ char *text = NULL;
	struct writing writing = {.cookie = cookie};

	document_quiet();
	doc = xmlNewDoc((const xmlChar *)"1.0");
	if (doc && build(&writing, doc, err) < 0) {
		err_wrap(err, "cookie");
		return NULL;
	}
	text = doc ? save(doc) : NULL;
	if (!text) {
		err_set(err, ERR_FAILED, "cookie: out of memory");
		return NULL;
	}
	return check_text(cookie, text, err) < 0 ? NULL : str_take(&text);
}
