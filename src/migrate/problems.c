#include "migrate/problems.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/str.h"

void problems_add(struct problems *problems, const char *fmt, ...)
{
	va_list ap;
	char text[2048];

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	str_sanitize(text);
	problems->list = mem_grow(problems->list, problems->count + 1, sizeof(char *));
	problems->list[problems->count++] = str_dup(text);
}

void problems_deinit(struct problems *problems)
{
	for (size_t i = 0; i < problems->count; i++)
		free(problems->list[i]);
	free(problems->list);
	*problems = (struct problems){0};
}
