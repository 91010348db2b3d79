#include "base/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"

int err_set(struct err *err, enum err_kind kind, const char *fmt, ...)
{
	va_list ap;

	if (!err)
		return -1;
	err->kind = kind;
	va_start(ap, fmt);
	vsnprintf(err->text, sizeof(err->text), fmt, ap);
	va_end(ap);
	str_sanitize(err->text);
	return -1;
}

int err_errno(struct err *err, int errnum, const char *fmt, ...)
{
	va_list ap;
	char what[ERR_TEXT_MAX];

	va_start(ap, fmt);
	vsnprintf(what, sizeof(what), fmt, ap);
	va_end(ap);
	return err_set(err, ERR_FAILED, "%s: %s", what, strerror(errnum));
}

int err_wrap(struct err *err, const char *fmt, ...)
{
	va_list ap;
	char context[ERR_TEXT_MAX];
	char inner[ERR_TEXT_MAX];

	if (!err)
		return -1;
	va_start(ap, fmt);
	vsnprintf(context, sizeof(context), fmt, ap);
	va_end(ap);
	memcpy(inner, err->text, sizeof(inner));
	return err_set(err, err->kind ? err->kind : ERR_FAILED, "%s: %s", context, inner);
}
