#include "cookie_equal.h"

#include "base/str.h"

static bool same_text(const char *a, const char *b)
{
	return (!a && !b) || str_eq(a, b);
}

#define TEXT(member)                                                                               \
	if (!same_text(a->member, b->member))                                                      \
	return #member
#define VALUE(member)                                                                              \
	if (a->member != b->member)                                                                \
	return #member

static const char *disk_difference(const struct cookie_disk *a, const struct cookie_disk *b)
{
	TEXT(name);
	TEXT(src);
	VALUE(size);
	TEXT(device);
	TEXT(node);
	TEXT(qdev);
	TEXT(format);
	VALUE(allocated);
	VALUE(cluster_size);
	TEXT(compat);
	TEXT(storage);
	TEXT(backing);
	VALUE(backing_size);
	VALUE(mode);
	TEXT(export);
	TEXT(dst);
	VALUE(dst_size);
	VALUE(made);
	return NULL;
}

static const char *guest_difference(const struct cookie *a, const struct cookie *b)
{
	TEXT(name);
	TEXT(uuid);
	TEXT(hostname);
	TEXT(hostuuid);
	VALUE(phase);
	VALUE(nbd);
	VALUE(nbd_port);
	return NULL;
}

static const char *own_difference(const struct cookie *a, const struct cookie *b)
{
	VALUE(vmferry);
	TEXT(id);
	VALUE(method);
	VALUE(stream);
	VALUE(incremental);
	VALUE(failed);
	TEXT(reason);
	VALUE(completed);
	VALUE(was_running);
	TEXT(address);
	VALUE(ram_port);
	VALUE(started);
	VALUE(hangup_kills);
	VALUE(src_capabilities);
	VALUE(dst_capabilities);
	VALUE(max_bandwidth);
	VALUE(downtime_limit);
	VALUE(disks_count);
	return NULL;
}

const char *cookie_difference(const struct cookie *a, const struct cookie *b)
{
	const char *what = guest_difference(a, b);

	if (!what)
		what = own_difference(a, b);
	for (size_t i = 0; !what && i < a->disks_count; i++)
		what = disk_difference(&a->disks[i], &b->disks[i]);
	return what;
}
