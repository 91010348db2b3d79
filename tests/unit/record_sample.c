#include "record_sample.h"

#include "base/str.h"

/* The strings of a record are its own. */
#define S(text) ((char[]){text})

static struct record_disk disks[] = {
	{
		.name = S("vd\"a"),
		.device = S("virtio0"),
		.node = S("#block101"),
		.qdev = S("/machine/peripheral-anon/device[1]/virtio-backend"),
		.src = S("/srv/100%/\xff\xfe\xc3\xa4\n.raw"),
		.dst = S("/srv/\xc3.raw"),
		.export = S("vmferry-vda"),
		.size = INT64_MAX,
		.dst_size = 1,
		.create = true,
		.inode = UINT64_MAX,
		.birth = INT64_MAX,
	},
	{.name = S("second"), .device = S("")},
};

static struct record_disk extras[] = {
	{.name = S("/srv/cd.iso"), .dst = S("/srv/cd.iso"), .inode = 7, .birth = 8},
};

static const struct record minimal = {
	.id = S(SAMPLE_ID),
	.source = S("/run/a.sock"),
	.dst_socket = S("/run/b.sock"),
	.step = S("look"),
	.mirror = S("auto"),
};

static const struct record sample = {
	.id = S(SAMPLE_ID),
	.guest = S("guest \xc3\xa9 \x1b[31m"),
	.uuid = S("5a0b3a1e-0000-4000-8000-0123456789ab"),
	.begun = 1700000000,
	.source = S("/run/a.sock\x80"),
	.src_boot = S("11111111-2222-3333-4444-555555555555"),
	.src_process = S("4711 123456"),
	.dst_host = S("hostb"),
	.dst_user = S("root"),
	.dst_port = 2222,
	.dst_socket = S("/run/b.sock"),
	.dst_boot = S("66666666-2222-3333-4444-555555555555"),
	.identity = S("/root/.ssh/id"),
	.config = S("/root/.ssh/config"),
	.known_hosts = S("/root/.ssh/known_hosts"),
	.start = S("qemu -x '%25'\n\t\x01\x7f\xc2\x85\xed\xa0\x80 \\ \""),
	.mirror = S("drive"),
	.encrypt = S("x509"),
	.certificates = S("/etc/pki/qemu"),
	.data_address = S("fe80::1%eth0"),
	.clone = true,
	.fast = true,
	.sudo = true,
	.incremental = true,
	.keep_source = true,
	.bandwidth = 1ull << 50,
	.downtime_limit = 2000000,
	.port_low = 49152,
	.port_high = 65535,
	.connect_ms = 1,
	.answer_ms = 2,
	.start_ms = 3,
	.stall_ms = 4,
	.reconnect_ms = 6,
	.reconnects = true,
	.halted = true,
	.untidy = true,
	.retried = 9,
	.switchover_ms = INT64_MAX,
	.step = S("switchover"),
	.state = RECORD_ENDED,
	.since = 1700000001,
	.outcome = RECORD_BACK,
	.in_stream = true,
	.was_running = true,
	.incoming = true,
	.migrating = true,
	.switched = true,
	.capabilities = UINT32_MAX,
	.parameters = true,
	.max_bandwidth = INT64_MAX,
	.src_downtime_limit = 300,
	.src_tls_name = S("hostb"),
	.src_keys = S("/run/vmferry-1-source"),
	.dst_keys = S("/dev/shm/vmferry-1-destination"),
	.address = S("192.0.2.1"),
	.nbd_port = 1,
	.ram_port = 65535,
	.disks = disks,
	.disks_count = sizeof(disks) / sizeof(disks[0]),
	.extras = extras,
	.extras_count = sizeof(extras) / sizeof(extras[0]),
};

struct record record_minimal(void)
{
	return minimal;
}

struct record record_sample(void)
{
	return sample;
}

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

static const char *disk_difference(const struct record_disk *a, const struct record_disk *b)
{
	TEXT(name);
	TEXT(device);
	TEXT(node);
	TEXT(qdev);
	TEXT(src);
	TEXT(dst);
	TEXT(export);
	VALUE(size);
	VALUE(dst_size);
	VALUE(create);
	VALUE(inode);
	VALUE(birth);
	return NULL;
}

static const char *sides_difference(const struct record *a, const struct record *b)
{
	TEXT(id);
	TEXT(guest);
	TEXT(uuid);
	VALUE(begun);
	TEXT(source);
	TEXT(src_boot);
	TEXT(src_process);
	TEXT(dst_host);
	TEXT(dst_user);
	VALUE(dst_port);
	TEXT(dst_socket);
	TEXT(dst_boot);
	return NULL;
}

static const char *options_difference(const struct record *a, const struct record *b)
{
	TEXT(identity);
	TEXT(config);
	TEXT(known_hosts);
	TEXT(start);
	TEXT(mirror);
	TEXT(data_address);
	VALUE(clone);
	VALUE(fast);
	VALUE(sudo);
	VALUE(incremental);
	VALUE(keep_source);
	VALUE(bandwidth);
	VALUE(downtime_limit);
	VALUE(port_low);
	VALUE(port_high);
	VALUE(connect_ms);
	VALUE(answer_ms);
	VALUE(start_ms);
	VALUE(stall_ms);
	VALUE(reconnect_ms);
	VALUE(reconnects);
	VALUE(halted);
	VALUE(untidy);
	VALUE(retried);
	VALUE(switchover_ms);
	return NULL;
}

static const char *progress_difference(const struct record *a, const struct record *b)
{
	TEXT(step);
	VALUE(state);
	VALUE(since);
	VALUE(outcome);
	VALUE(in_stream);
	VALUE(was_running);
	VALUE(incoming);
	VALUE(migrating);
	VALUE(switched);
	VALUE(capabilities);
	VALUE(parameters);
	VALUE(max_bandwidth);
	VALUE(src_downtime_limit);
	TEXT(address);
	VALUE(nbd_port);
	VALUE(ram_port);
	VALUE(disks_count);
	VALUE(extras_count);
	return NULL;
}

const char *record_difference(const struct record *a, const struct record *b)
{
	const char *what = sides_difference(a, b);

	if (!what)
		what = options_difference(a, b);
	if (!what)
		what = progress_difference(a, b);
	for (size_t i = 0; !what && i < a->disks_count; i++)
		what = disk_difference(&a->disks[i], &b->disks[i]);
	for (size_t i = 0; !what && i < a->extras_count; i++)
		what = disk_difference(&a->extras[i], &b->extras[i]);
	return what;
}
