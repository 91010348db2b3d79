/* A hostile text as an XML tree, or refused. */
#ifndef VMFERRY_COOKIE_DOCUMENT_H
#define VMFERRY_COOKIE_DOCUMENT_H

#include <libxml/tree.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

/* Elements may be nested this deep. */
#define DOCUMENT_DEPTH_MAX 8

/* And have as many attributes, or '=' in those. */
#define DOCUMENT_ATTRIBUTES_MAX 1024

/* The tree of @text, @len bytes; NULL with ERR_REFUSED for what is too long or too deep, is not
 * UTF-8, has a document type (so no entities) or is not well-formed. Nothing but @text is ever
 * opened, and nothing printed. */
xmlDoc *document_parse(const char *text, size_t len, struct err *err);

/* From here on libxml2 prints nothing in this process. */
void document_quiet(void);

/* Whether @node is the element @name in the namespace @uri; NULL: in none. */
bool document_is(const xmlNode *node, const char *uri, const char *name);

/* The first element at @node or behind it that is, or NULL. */
xmlNode *document_next(xmlNode *node, const char *uri, const char *name);

/* The attribute, or NULL; the caller's to free. */
char *document_attribute(xmlNode *node, const char *name);

/* What is written in the element; NULL when that is not text alone. Caller frees. */
char *document_text(xmlNode *node);

static inline void document_freep(xmlDoc **doc)
{
	xmlFreeDoc(*doc);
}

#define _cleanup_document_ __attribute__((cleanup(document_freep)))

#endif
