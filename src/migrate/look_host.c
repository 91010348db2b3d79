#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "base/tcp.h"
#include "migrate/look.h"
#include "migrate/tunnel.h"

/* Why this disk's file cannot be made by us, or NULL. */
static const char *cannot_create(const struct disk *disk)
{
	if (!disk->dst_path)
		return "its image is no file";
	if (!str_eq(disk->src->driver, "raw") && !str_eq(disk->src->driver, "qcow2"))
		return "it is neither raw nor qcow2";
	return disk->src->encrypted ? "it is encrypted" : NULL;
}

static void look_at_target_file(struct migration *m, struct disk *disk)
{
	const char *why = cannot_create(disk);
	struct file_info info = {0};
	struct err err;

	if (!disk->dst_path) {
		problems_add(&m->problems,
			     "disk %s: %s (%s), so there is no path for it on %s; give one with "
			     "--disk %s=PATH",
			     disk->name, why, disk->src->url, m->dst.name, disk->name);
		return;
	}
	if (host_file_info(m->host, disk->dst_path, &info, &err) < 0) {
		problems_add(&m->problems, "disk %s: %s", disk->name, err.text);
		return;
	}
	disk->fate = info.kind == FILE_ABSENT ? DISK_CREATE : DISK_EXISTS;
	if (info.kind == FILE_ABSENT && m->incremental)
		look_for_overlay(m, disk);
	else if (info.kind == FILE_ABSENT && why)
		problems_add(&m->problems,
			     "disk %s: %s does not exist on %s and cannot be made there: %s; "
			     "make it there first",
			     disk->name, disk->dst_path, m->dst.name, why);
	if (info.kind == FILE_DIRECTORY || info.kind == FILE_OTHER)
		problems_add(&m->problems, "disk %s: %s on %s is neither a file nor a block device",
			     disk->name, disk->dst_path, m->dst.name);
	if (info.kind != FILE_ABSENT)
		look_for_same_file(m, disk);
}

/* Two disks into one file would be two mirrors over one another. */
static void look_for_doubles(struct migration *m)
{
	for (size_t i = 0; i < m->disks.count; i++)
		for (size_t k = 0; k < i; k++)
			if (str_eq(m->disks.list[i].dst_path, m->disks.list[k].dst_path))
				problems_add(&m->problems,
					     "disks %s and %s would both go to %s; separate them "
					     "with --disk NAME=PATH",
					     m->disks.list[k].name, m->disks.list[i].name,
					     m->disks.list[i].dst_path);
}

static int connect_host(struct migration *m, struct err *err)
{
	if (!m->opt->dst.host)
		m->host = host_local(m->loop, m->opt->timeouts.connect_ms);
	else
		m->host = host_ssh(m->loop, &m->opt->ssh, err);
	return m->host ? 0 : -1;
}

/* With --start nothing may listen yet where the monitor is to be. */
static void look_for_monitor(struct migration *m)
{
	struct stream *stream = host_unix_stream(m->host, m->opt->dst.socket, NULL);

	if (stream)
		problems_add(&m->problems,
			     "%s: a program listens on %s already; leave --start or --clone out to "
			     "use it, "
			     "or end it",
			     m->dst.name, m->opt->dst.socket);
	stream_close(stream);
}

/* By hand nobody has reached this host from the source; but this host can look at which of its
 * addresses it would be reached from the other side. */
static char *address_towards_source(struct migration *m, struct err *err)
{
	const char *source = m->cookie->hostname;
	char *address;

	if (!source) {
		err_set(err, ERR_FAILED, "the cookie does not tell which host it is from");
		return NULL;
	}
	address = tcp_local_address(source, err);
	if (address && (str_starts(address, "127.") || str_eq(address, "::1")) &&
	    !look_is_same_host(m)) {
		err_set(err, ERR_FAILED, "%s has a loopback address here", source);
		free(address);
		return NULL;
	}
	return address;
}

static void choose_address(struct migration *m)
{
	struct err err;

	if (tunnel_is_used(m))
		return;
	if (m->opt->data_address || !m->by_hand) {
		m->address = str_dup(m->opt->data_address ? m->opt->data_address
							  : host_address(m->host));
		m->listening.address = m->address;
		if (!m->address)
			problems_add(&m->problems,
				     "%s: SSH gets there by a ProxyJump or ProxyCommand, so its "
				     "address for disks and RAM is not known; name one of its "
				     "addresses that this host reaches: --data-address ADDR",
				     m->dst.name);
		return;
	}
	m->address = address_towards_source(m, &err);
	m->listening.address = m->address;
	if (!m->address)
		problems_add(
			&m->problems,
			"at which of its addresses the source reaches this host cannot be seen: "
			"%s; give it with --data-address ADDR",
			err.text);
}

int look_at_host(struct migration *m, struct err *err)
{
	struct err local;

	if (connect_host(m, &local) < 0) {
		problems_add(&m->problems, "%s", local.text);
		if (local.kind == ERR_INTERRUPTED)
			*err = local;
		return local.kind == ERR_INTERRUPTED ? -1 : 0;
	}
	choose_address(m);
	if (!starts_destination(m))
		return 0;
	look_for_monitor(m);
	for (size_t i = 0; i < m->disks.count; i++) {
		look_at_target_file(m, &m->disks.list[i]);
	}
	look_for_doubles(m);
	return 0;
}
