/* What the files of this layer share beyond cookie.h. */
#ifndef VMFERRY_COOKIE_INTERNAL_H
#define VMFERRY_COOKIE_INTERNAL_H

#include "cookie/cookie.h"
#include "cookie/field.h"

#define COOKIE_ROOT "qemu-migration"
#define COOKIE_NAMESPACE "urn:vmferry:cookie:1"

/* What no single value can be blamed for: values that contradict each other, and disks that are
 * the same. ERR_REFUSED. */
int cookie_check(const struct cookie *cookie, struct err *err);

/* That the @count disks of <nbd>, as others read them, are vmferry's own. */
int cookie_check_agreement(const struct cookie *cookie, const struct cookie_disk *plain,
			   size_t count, struct err *err);

/* Frees an array of disks. */
void cookie_free_disks(struct cookie_disk *disks, size_t count);

#endif
