#include "cookie/cookie.h"

#include "base/str.h"
#include "cookie/field.h"
#include "cookie/internal.h"

void cookie_free_disks(struct cookie_disk *disks, size_t count)
{
	for (size_t i = 0; i < count; i++)
		field_deinit(field_disk(), &disks[i]);
	free(disks);
}

void cookie_disk_copy(struct cookie_disk *to, const struct cookie_disk *from)
{
	*to = *from;
	field_copy_texts(field_disk(), to);
}

void cookie_deinit(struct cookie *cookie)
{
	field_deinit(field_guest(), cookie);
	field_deinit(field_vmferry(), cookie);
	cookie_free_disks(cookie->disks, cookie->disks_count);
	*cookie = (struct cookie){0};
}

const char *cookie_phase_name(enum cookie_phase phase)
{
	return field_phases()[phase];
}
