/* libxml2 is held short: it is asked for no entity, no DTD and no network, keeps its own limits
 * (no XML_PARSE_HUGE), and is stopped at the very start of a DOCTYPE or of an element too deep,
 * by the handlers below, so that neither is worked on. The encoding is UTF-8 whatever the text
 * says, so that no converter is chosen by the peer; a text that says otherwise is refused.
 */
#include "cookie/document.h"

#include <libxml/SAX2.h>
#include <libxml/parser.h>
#include <libxml/xmlerror.h>
#include <string.h>
#include <strings.h>

#include "base/str.h"
#include "cookie/cookie.h"

/* What the handlers know of the parsing under way. */
struct watch {
	unsigned depth;
	struct err *err;
	bool refused;
};

static void refuse(xmlParserCtxt *parser, const char *why)
{
	struct watch *watch = parser->_private;

	if (!watch->refused)
		err_set(watch->err, ERR_REFUSED, "%s", why);
	watch->refused = true;
	xmlStopParser(parser);
}

static void on_doctype(void *ctx, const xmlChar *name, const xmlChar *id, const xmlChar *uri)
{
	(void)name;
	(void)id;
	(void)uri;
	refuse(ctx, "has a document type (DOCTYPE), which no cookie has");
}

static void on_start(void *ctx, const xmlChar *name, const xmlChar *prefix, const xmlChar *uri,
		     int namespaces_count, const xmlChar **namespaces, int attributes_count,
		     int defaulted_count, const xmlChar **attributes)
{
	xmlParserCtxt *parser = ctx;
	struct watch *watch = parser->_private;

	if (++watch->depth > DOCUMENT_DEPTH_MAX)
		refuse(parser, "has elements nested more than 8 deep");
	else
		xmlSAX2StartElementNs(ctx, name, prefix, uri, namespaces_count, namespaces,
				      attributes_count, defaulted_count, attributes);
}

static void on_end(void *ctx, const xmlChar *name, const xmlChar *prefix, const xmlChar *uri)
{
	xmlParserCtxt *parser = ctx;
	struct watch *watch = parser->_private;

	watch->depth--;
	xmlSAX2EndElementNs(ctx, name, prefix, uri);
}

/* The first error is the one that tells; those behind it are of its making. */
static __attribute__((format(printf, 2, 3))) void on_error(void *ctx, const char *fmt, ...)
{
	xmlParserCtxt *parser = ctx;
	struct watch *watch = parser->_private;
	const xmlError *last = xmlCtxtGetLastError(parser);
	_autofree_ char *words = NULL;

	(void)fmt;
	if (watch->refused)
		return;
	watch->refused = true;
	words = str_dup(last && last->message ? last->message : "no reason given");
	words[strcspn(words, "\n")] = '\0';
	err_set(watch->err, ERR_REFUSED, "is not well-formed XML: line %d: %.200s",
		last ? last->line : 0, words);
}

static __attribute__((format(printf, 2, 3))) void on_words(void *ctx, const char *fmt, ...)
{
	(void)ctx;
	(void)fmt;
}

void document_quiet(void)
{
	xmlSetGenericErrorFunc(NULL, on_words);
}

/* The XML declaration, if there is one, names no other encoding than UTF-8. */
static int check_encoding(const char *text, struct err *err)
{
	const char *end, *at, *quote;

	if (str_starts(text, "\xef\xbb\xbf"))
		text += 3;
	end = str_starts(text, "<?xml ") ? strstr(text, "?>") : NULL;
	at = end ? strstr(text, "encoding") : NULL;
	quote = at && at < end ? strpbrk(at, "'\"") : NULL;
	if (!quote || quote >= end)
		return 0;
	if (strncasecmp(quote + 1, "UTF-8", 5) == 0 && quote[6] == *quote)
		return 0;
	return err_set(err, ERR_REFUSED, "its encoding %.*s is not UTF-8",
		       (int)strcspn(quote + 1, "'\"?"), quote + 1);
}

/* libxml2 compares each attribute of an element with all others of it: 100000 of them keep it
 * busy for half a minute. There is a '=' for each, and no '<' between them. */
static int check_attributes(const char *text, struct err *err)
{
	unsigned count = 0;

	for (; *text; text++) {
		if (*text == '<')
			count = 0;
		else if (*text == '=' && ++count > DOCUMENT_ATTRIBUTES_MAX)
			return err_set(
				err, ERR_REFUSED,
				"has an element with more than %d attributes, or '=' in them",
				DOCUMENT_ATTRIBUTES_MAX);
	}
	return 0;
}

static int check_bytes(const char *text, size_t len, struct err *err)
{
	if (!len)
		return err_set(err, ERR_REFUSED, "is empty");
	if (strlen(text) != len)
		return err_set(err, ERR_REFUSED, "has a NUL byte in it");
	if (!xmlCheckUTF8((const xmlChar *)text))
		return err_set(err, ERR_REFUSED, "is not UTF-8");
	return check_encoding(text, err) < 0 ? -1 : check_attributes(text, err);
}

static xmlDoc *parse(xmlParserCtxt *parser, const char *text, size_t len, struct err *err)
{
	static const int options = XML_PARSE_NONET | XML_PARSE_NOCDATA | XML_PARSE_IGNORE_ENC;
	struct watch watch = {.err = err};
	_cleanup_document_ xmlDoc *doc = NULL;
	xmlDoc *result;

	parser->_private = &watch;
	parser->sax->error = on_error;
	parser->sax->warning = on_words;
	parser->sax->internalSubset = on_doctype;
	parser->sax->startElementNs = on_start;
	parser->sax->endElementNs = on_end;
	doc = xmlCtxtReadMemory(parser, text, (int)len, NULL, "UTF-8", options);
	if (watch.refused)
		return NULL;
	if (!doc || !xmlDocGetRootElement(doc) || doc->intSubset || doc->extSubset) {
		err_set(err, ERR_REFUSED, "is not well-formed XML");
		return NULL;
	}
	result = doc;
	doc = NULL;
	return result;
}

xmlDoc *document_parse(const char *text, size_t len, struct err *err)
{
	_cleanup_buf_ struct buf copy = {0}; /* with a NUL at its end */
	xmlParserCtxt *parser;
	xmlDoc *doc;

	if (len > COOKIE_TEXT_MAX) {
		err_set(err, ERR_REFUSED, "is longer than %u bytes", COOKIE_TEXT_MAX);
		return NULL;
	}
	document_quiet();
	buf_add(&copy, len ? text : "", len);
	if (check_bytes(copy.data, len, err) < 0)
		return NULL;
	parser = xmlNewParserCtxt();
	if (!parser) {
		err_set(err, ERR_FAILED, "out of memory");
		return NULL;
	}
	doc = parse(parser, copy.data, len, err);
	xmlFreeParserCtxt(parser);
	return doc;
}

bool document_is(const xmlNode *node, const char *uri, const char *name)
{
	if (node->type != XML_ELEMENT_NODE || !str_eq((const char *)node->name, name))
		return false;
	return uri ? node->ns && str_eq((const char *)node->ns->href, uri) : !node->ns;
}

xmlNode *document_next(xmlNode *node, const char *uri, const char *name)
{
	while (node && !document_is(node, uri, name))
		node = node->next;
	return node;
}

/* A string of libxml2 as one of ours. */
static char *own(xmlChar *text)
{
	char *copy = str_dup((const char *)text);

	xmlFree(text);
	return copy;
}

char *document_attribute(xmlNode *node, const char *name)
{
	return own(xmlGetNoNsProp(node, (const xmlChar *)name));
}

char *document_text(xmlNode *node)
{
	for (const xmlNode *child = node->children; child; child = child->next)
		if (child->type != XML_TEXT_NODE && child->type != XML_CDATA_SECTION_NODE)
			return NULL;
	return own(xmlNodeGetContent(node));
}
