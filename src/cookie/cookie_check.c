#include <inttypes.h>

#include "base/str.h"
#include "cookie/internal.h"
#include "cookie/text.h"

static int check_disk(const struct cookie_disk *disk, struct err *err)
{
	if (disk->cluster_size & (disk->cluster_size - 1))
		return err_set(err, ERR_REFUSED, "cluster-size %" PRIu64 " is no power of two",
			       disk->cluster_size);
	if (disk->dst_size && disk->dst_size < disk->size)
		return err_set(err, ERR_REFUSED,
			       "dst-size %" PRIu64 " is less than its size %" PRIu64,
			       disk->dst_size, disk->size);
	return 0;
}

static int check_disks(const struct cookie *cookie, struct err *err)
{
	for (size_t i = 0; i < cookie->disks_count; i++)
		if (check_disk(&cookie->disks[i], err) < 0)
			return err_wrap(err, "disk %.200s", cookie->disks[i].name);
	return 0;
}

static bool same(const struct field *field, const struct cookie_disk *a,
		 const struct cookie_disk *b)
{
	const char *text_a = field_text(field, a), *text_b = field_text(field, b);

	if (!text_a || !text_b)
		return false;
	return field->check == text_path ? text_same_path(text_a, text_b) : str_eq(text_a, text_b);
}

static int check_pair(const struct cookie_disk *a, const struct cookie_disk *b, struct err *err)
{
	if (str_eq(a->name, b->name))
		return err_set(err, ERR_REFUSED, "two disks have the name %.200s", a->name);
	for (const struct field *field = field_disk(); field->name; field++)
		if (field->unique && same(field, a, b))
			return err_set(err, ERR_REFUSED,
				       "the disks %.200s and %.200s have the same %s %.200s",
				       a->name, b->name, field->name, field_text(field, a));
	return 0;
}

/* At most COOKIE_DISKS_MAX squared; a guest has a handful. */
static int check_unique(const struct cookie *cookie, struct err *err)
{
	for (size_t i = 0; i < cookie->disks_count; i++)
		for (size_t j = 0; j < i; j++)
			if (check_pair(&cookie->disks[j], &cookie->disks[i], err) < 0)
				return -1;
	return 0;
}

static bool port_fits(const struct cookie *cookie)
{
	switch (cookie->phase) {
	case COOKIE_BEGIN:
		return cookie->nbd_port == 0;
	case COOKIE_PREPARE:
		return cookie->nbd_port > 0;
	case COOKIE_PERFORM:
		return cookie->nbd_port == -1;
	case COOKIE_FINISH:
		return false;
	}
	return false;
}

static int check_nbd(const struct cookie *cookie, struct err *err)
{
	if (!cookie->nbd)
		return 0;
	if (cookie->method == COOKIE_BLOCK)
		return err_set(err, ERR_REFUSED, "method block and an <nbd> contradict each other");
	if (!port_fits(cookie))
		return err_set(err, ERR_REFUSED,
			       "phase %s and an <nbd> with port %d contradict each other",
			       cookie_phase_name(cookie->phase), cookie->nbd_port);
	return 0;
}

/* What perform cannot do without. */
static int check_prepared(const struct cookie *cookie, struct err *err)
{
	if (!cookie->vmferry || !cookie->nbd || cookie->phase != COOKIE_PREPARE || cookie->failed)
		return 0;
	if (!cookie->address)
		return err_set(err, ERR_REFUSED, "vmferry: no address");
	for (size_t i = 0; i < cookie->disks_count; i++)
		if (!cookie->disks[i].export)
			return err_set(err, ERR_REFUSED, "disk %.200s: no export",
				       cookie->disks[i].name);
	return 0;
}

int cookie_check(const struct cookie *cookie, struct err *err)
{
	if (check_disks(cookie, err) < 0 || check_unique(cookie, err) < 0)
		return -1;
	return check_nbd(cookie, err) < 0 ? -1 : check_prepared(cookie, err);
}

static bool agrees(const struct cookie_disk *plain, const struct cookie_disk *disk)
{
	if (plain->size != disk->size || (plain->name && !str_eq(plain->name, disk->name)))
		return false;
	return plain->src ? str_eq(plain->src, disk->src) : !disk->src;
}

int cookie_check_agreement(const struct cookie *cookie, const struct cookie_disk *plain,
			   size_t count, struct err *err)
{
	if (!cookie->nbd || (cookie->phase != COOKIE_BEGIN && !count))
		return 0;
	if (count != cookie->disks_count)
		return err_set(err, ERR_REFUSED, "<nbd> has %zu disks, but <vmferry> has %zu",
			       count, cookie->disks_count);
	for (size_t i = 0; i < count; i++)
		if (!agrees(&plain[i], &cookie->disks[i]))
			return err_set(err, ERR_REFUSED,
				       "disk %.200s: <nbd> and <vmferry> contradict each other",
				       cookie->disks[i].name);
	return 0;
}
