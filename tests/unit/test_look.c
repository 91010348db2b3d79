/* `check` against two fake QEMUs: each refusal, and that nothing is ever changed by it. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/str.h"
#include "fake_move.h"
#include "unit.h"

static struct fake_move f;

static void only_asked(void)
{
	for (size_t i = 0; i < fake_calls_count; i++) {
		const char *command = fake_calls[i].command;

		ck_assert_msg(
			str_starts(command, "query-") || str_eq(command, "qom-get") ||
				str_eq(command, "qom-list") || str_eq(command, "qmp_capabilities"),
			"check has sent %s to the %s", command, fake_name(fake_calls[i].fake));
	}
	ck_assert_ptr_null(fake_qemu_changed(&f.src));
	ck_assert_ptr_null(fake_qemu_changed(&f.dst));
}

/* The check refuses with @count objections; the test looks at them. */
static void refused(size_t count)
{
	fake_move_check(&f);
	ck_assert_int_eq(f.ret, -1);
	ck_assert_int_eq(f.err.kind, ERR_REFUSED);
	only_asked();
	if (count != f.m->problems.count)
		ck_assert_listed(&f.m->problems, "another number of objections");
}

/* The one objection is @part. */
static void refused_for(const char *part)
{
	refused(1);
	ck_assert_listed(&f.m->problems, part);
	fake_move_end(&f);
}

static void accepted(void)
{
	fake_move_check(&f);
	ck_assert_msg(f.ret == 0, "%s: %s", f.err.text,
		      f.m->problems.count ? f.m->problems.list[0] : "");
	only_asked();
	fake_move_end(&f);
}

START_TEST(a_good_pair_is_accepted_and_shown)
{
	fake_move_begin(&f);
	fake_move_check(&f);
	ck_assert_ok(f.ret, &f.err);
	only_asked();
	ck_assert_str_eq(f.steps, "look ");
	ck_assert_uint_eq(f.m->disks.count, 2);
	ck_assert_str_eq(f.m->disks.list[0].dst_node, "#block222");
	ck_assert_str_eq(f.m->disks.list[0].dst_path, f.dst.drives[0].file);
	ck_assert_str_eq(f.m->disks.list[1].dst_node, "data");
	ck_assert_int_eq(f.m->disks.list[1].fate, DISK_EXISTS);
	ck_assert_str_eq(f.m->guest.name, "web1");
	ck_assert_str_eq(f.m->src.status.state, "running");
	ck_assert_str_eq(f.m->listening.address, "127.0.0.1");
	fake_move_end(&f);
}
END_TEST

START_TEST(a_block_job_is_refused)
{
	fake_move_begin(&f);
	fake_reply(f.src.fake, "query-block-jobs", "[{\"device\": \"backup0\"}]");
	refused_for("source: block job \"backup0\" is active");
}
END_TEST

START_TEST(a_block_job_without_a_name_is_refused_too)
{
	fake_move_begin(&f);
	fake_reply(f.src.fake, "query-block-jobs", "[{\"type\": \"backup\"}]");
	refused_for("source: block job \"");
}
END_TEST

START_TEST(a_migration_under_way_here_is_refused)
{
	fake_move_begin(&f);
	f.src.migration = "active";
	refused_for("source: a migration is under way already (\"active\")");
}
END_TEST

START_TEST(a_migration_status_never_heard_of_is_refused)
{
	fake_move_begin(&f);
	f.src.migration = "never-heard-of";
	refused_for("a migration is under way already (\"never-heard-of\")");
}
END_TEST

START_TEST(a_migration_that_is_over_is_no_objection)
{
	fake_move_begin(&f);
	f.src.migration = "cancelled";
	accepted();
}
END_TEST

START_TEST(what_blocks_migration_is_told)
{
	fake_move_begin(&f);
	fake_reply(f.src.fake, "query-migrate",
		   "{\"blocked-reasons\": [\"vhost-user lacks\\u001b[31m\"]}");
	refused_for("source: QEMU cannot migrate this guest: vhost-user lacks?[31m");
}
END_TEST

START_TEST(a_guest_that_neither_runs_nor_is_paused_is_refused)
{
	fake_move_begin(&f);
	f.src.state = "suspended";
	refused_for("neither running nor paused but \"suspended\"; wake it first");
	fake_move_begin(&f);
	f.src.state = "postmigrate";
	refused_for("neither running nor paused but \"postmigrate\"");
	fake_move_begin(&f);
	f.src.state = "io-error";
	refused_for("neither running nor paused but \"io-error\"");
}
END_TEST

START_TEST(a_paused_guest_is_accepted)
{
	fake_move_begin(&f);
	f.src.state = "paused";
	accepted();
	fake_move_begin(&f);
	f.src.state = "prelaunch";
	accepted();
}
END_TEST

START_TEST(a_throw_away_image_is_refused)
{
	fake_move_begin(&f);
	f.src.drives[1].temporary = true;
	snprintf(f.src.drives[1].file, sizeof(f.src.drives[1].file), "/var/tmp/vl.AbCdEf");
	refused_for("disk data: opened with snapshot=on");
}
END_TEST

START_TEST(a_source_without_events_is_refused)
{
	fake_move_begin(&f);
	fake_qemu_cannot(&f.src, "events");
	refused_for("source: this QEMU has no events of a migration");
}
END_TEST

START_TEST(a_mirror_the_source_has_not_is_refused)
{
	fake_move_begin(&f);
	fake_qemu_cannot(&f.src, "blockdev-mirror");
	f.opt.mirror = MIRROR_BLOCKDEV;
	refused_for("source: this QEMU has no blockdev-mirror");
	fake_move_begin(&f);
	fake_qemu_cannot(&f.src, "drive-mirror");
	f.opt.mirror = MIRROR_DRIVE;
	refused_for("source: this QEMU has no drive-mirror");
	fake_move_begin(&f);
	fake_qemu_cannot(&f.src, "blockdev-mirror");
	accepted();
}
END_TEST

START_TEST(a_destination_that_runs_is_refused)
{
	fake_move_begin(&f);
	f.dst.state = "running";
	refused_for("runs a guest; the destination must wait");
}
END_TEST

START_TEST(a_destination_that_does_not_wait_is_refused)
{
	fake_move_begin(&f);
	f.dst.state = "prelaunch";
	refused_for("does not wait for a migration (it is \"prelaunch\")");
}
END_TEST

START_TEST(a_destination_that_listens_already_is_refused)
{
	fake_move_begin(&f);
	f.dst.migration = "setup";
	refused_for("listens for a migration already");
}
END_TEST

START_TEST(exports_that_are_there_are_refused)
{
	fake_move_begin(&f);
	fake_reply(f.dst.fake, "query-block-exports", "[{\"id\": \"x\"}, {\"id\": \"y\"}]");
	refused_for("has 2 block exports already");
	fake_move_begin(&f);
	fake_reply(f.dst.fake, "query-block-exports", "[{\"id\": \"x\"}]");
	refused_for("has 1 block export already");
}
END_TEST

START_TEST(a_destination_without_an_nbd_server_is_refused)
{
	fake_move_begin(&f);
	fake_qemu_cannot(&f.dst, "nbd-server-start");
	refused_for("destination: its QEMU has no NBD server; nor can the disks go the old way");
	fake_move_begin(&f);
	fake_qemu_cannot(&f.dst, "late-block-activate");
	refused_for("destination: this QEMU has no late-block-activate");
}
END_TEST

/* Both sides' drives as the old way wants them. */
static void begin_old_way(void)
{
	fake_move_begin(&f);
	for (int dst = 0; dst < 2; dst++) {
		struct fake_qemu *q = dst ? &f.dst : &f.src;

		q->drives[1].device = "data";
		json_object_set_new(q->capabilities, "block", json_false());
		json_object_set_new(json_object_get(q->at_start, "capabilities"), "block",
				    json_false());
	}
	fake_qemu_cannot(&f.dst, "nbd-server-start");
}

START_TEST(the_old_way_is_taken_where_nbd_is_missing)
{
	begin_old_way();
	fake_move_check(&f);
	ck_assert_ok(f.ret, &f.err);
	ck_assert(f.m->in_stream);
	ck_assert_has(f.notes, "the old way");
	ck_assert_has(f.notes, "destination: its QEMU has no NBD server");
	only_asked();
	fake_move_end(&f);
}
END_TEST

START_TEST(what_stands_against_the_old_way_is_told)
{
	static const char *const disks[] = {"virtio0", NULL};

	begin_old_way();
	f.src.drives[1].device = f.dst.drives[1].device = "";
	refused_for("disk data is a -blockdev");
	begin_old_way();
	f.dst.drives[1].device = "other";
	refused_for("disk data has another name on destination");
	begin_old_way();
	f.opt.disks = disks;
	refused_for("QEMU would copy data, too");
	begin_old_way();
	fake_qemu_cannot(&f.src, "block");
	refused_for("the source's QEMU has no block migration");
	begin_old_way();
	f.dst.drives[1].size = 1 << 20;
	refused_for("smaller on destination");
}
END_TEST

START_TEST(the_old_way_can_be_asked_for)
{
	fake_move_begin(&f);
	f.opt.mirror = MIRROR_NONE;
	refused_for(
		"--mirror=none: the disks cannot go the old way: the source's QEMU has no block");
	begin_old_way();
	f.opt.mirror = MIRROR_NONE;
	accepted();
	begin_old_way();
	f.opt.mirror = MIRROR_DRIVE; /* no other way instead of the one that was asked for */
	refused_for("destination: its QEMU has no NBD server");
}
END_TEST

START_TEST(a_disk_without_counterpart_is_refused)
{
	fake_move_begin(&f);
	f.dst.drives[1].node = "other";
	f.dst.drives[1].qdev = "sd9";
	refused_for("disk data: the QEMU on destination has no disk by that name");
}
END_TEST

START_TEST(a_counterpart_without_medium_is_refused)
{
	fake_move_begin(&f);
	f.dst.drives[1].empty = true;
	refused_for("disk data: the QEMU on destination has no medium in the drive by that name");
}
END_TEST

START_TEST(a_read_only_counterpart_is_refused)
{
	fake_move_begin(&f);
	f.dst.drives[0].read_only = true;
	refused_for("disk virtio0: read-only on destination");
}
END_TEST

START_TEST(two_disks_with_one_counterpart_are_refused)
{
	fake_move_begin(&f);
	f.dst.drives[0].node = "data";
	f.dst.drives[1].device = NULL;
	refused_for("disks virtio0 and data");
}
END_TEST

START_TEST(a_smaller_disk_is_refused_where_it_cannot_grow)
{
	fake_move_begin(&f);
	f.dst.drives[1].size = 1 << 20;
	fake_qemu_cannot(&f.dst, "block_resize");
	refused_for("disk data: smaller on destination (1.0 MiB) than here (2.0 MiB)");
	fake_move_begin(&f);
	f.dst.drives[1].size = 1 << 20;
	refused_for("its device there (scsi-hd) would not take the new size in");
	fake_move_begin(&f);
	f.dst.drives[1].size = 1 << 20;
	f.dst.drives[1].type = "virtio-blk-device";
	accepted();
	fake_move_begin(&f);
	f.dst.drives[1].size = 3 << 20;
	fake_qemu_cannot(&f.dst, "block_resize");
	accepted();
}
END_TEST

START_TEST(the_same_file_on_both_sides_is_refused)
{
	fake_move_begin(&f);
	memcpy(f.dst.drives[0].file, f.src.drives[0].file, sizeof(f.src.drives[0].file));
	refused_for("is the same file on both sides");
}
END_TEST

START_TEST(the_same_file_by_another_name_is_refused)
{
	fake_move_begin(&f);
	unlink(f.dst.drives[0].file);
	ck_assert_int_eq(link(f.src.drives[0].file, f.dst.drives[0].file), 0);
	refused_for("is the same file on both sides");
}
END_TEST

START_TEST(a_waiting_qemu_must_use_the_path_that_was_asked_for)
{
	char word[200];
	const char *disks[] = {word, NULL};

	fake_move_begin(&f);
	snprintf(word, sizeof(word), "virtio0=%s.other", f.dst.drives[0].file);
	f.opt.disks = disks;
	refused_for(".other, but the QEMU on destination uses ");
	fake_move_begin(&f);
	snprintf(word, sizeof(word), "virtio0=%s", f.dst.drives[0].file);
	accepted();
	fake_move_begin(&f);
	snprintf(word, sizeof(word), "virtio0=%s", f.dst.drives[0].file);
	f.opt.disks = disks;
	accepted();
}
END_TEST

/* The listener is this process: the file is looked for in its working directory. */
START_TEST(a_relative_image_over_there_is_found)
{
	_autofree_ char *directory = NULL;

	fake_move_begin(&f);
	directory = str_directory(f.src.drives[0].file);
	ck_assert_int_eq(chdir(directory), 0);
	snprintf(f.dst.drives[0].file, sizeof(f.dst.drives[0].file), "%s",
		 strrchr(f.src.drives[0].file, '/') + 1);
	refused_for("is the same file on both sides");
}
END_TEST

START_TEST(a_passed_through_disk_is_refused)
{
	fake_move_begin(&f);
	f.src.drives[1].type = "scsi-block";
	refused_for("disk data: scsi-block hands the guest's commands to the device");
}
END_TEST

START_TEST(another_machine_is_refused)
{
	static const char *const different[] = {
		"{\"base-memory\": 33554432, \"plugged-memory\": 0}",
		"{\"base-memory\": 67108864, \"plugged-memory\": 1048576}",
	};
	static const char *const words[] = {
		"size of memory (32.0 MiB) than the source's (64.0 MiB)",
		"size of plugged memory (1.0 MiB)"};

	for (size_t i = 0; i < COUNT_OF(different); i++) {
		fake_move_begin(&f);
		fake_reply(f.src.fake, "query-memory-size-summary",
			   "{\"base-memory\": 67108864, \"plugged-memory\": 0}");
		fake_reply(f.dst.fake, "query-memory-size-summary", different[i]);
		refused_for(words[i]);
	}
	fake_move_begin(&f);
	fake_reply(f.src.fake, "query-cpus-fast", "[{}, {}]");
	fake_reply(f.dst.fake, "query-cpus-fast", "[{}]");
	refused_for("has 1 CPUs, the source's 2");
}
END_TEST

START_TEST(cpus_in_other_places_are_refused)
{
	static const char here[] =
		"[{\"props\": {\"socket-id\": 0, \"core-id\": 0, \"thread-id\": 0}}, "
		"{\"props\": {\"socket-id\": 0, \"core-id\": 2, \"thread-id\": 0}}]";

	fake_move_begin(&f);
	fake_reply(f.src.fake, "query-cpus-fast", here);
	fake_reply(f.dst.fake, "query-cpus-fast",
		   "[{\"props\": {\"socket-id\": 0, \"core-id\": 0, \"thread-id\": 0}}, "
		   "{\"props\": {\"socket-id\": 0, \"core-id\": 1, \"thread-id\": 0}}]");
	refused_for("no CPU in the place of the source's with socket-id=0,core-id=2,thread-id=0");
	fake_move_begin(&f);
	fake_reply(f.src.fake, "query-cpus-fast", here);
	fake_reply(f.dst.fake, "query-cpus-fast", "[{}, {\"props\": 5}]");
	accepted();
}
END_TEST

/* --- devices --- */

#define PCI_BUS "/machine/i440fx/pci.0"
#define ON_PCI(type, devfn)                                                                        \
	"{\"type\": \"" type "\", \"parent_bus\": \"" PCI_BUS "\", \"addr\": " devfn "}"
#define ON_SCSI(bus, id)                                                                           \
	"{\"type\": \"scsi-hd\", \"parent_bus\": \"" bus "\", \"channel\": 0, \"scsi-id\": " id    \
	", \"lun\": 0}"

/* Two QEMUs with the same devices, called and counted differently. */
static void begin_devices(void)
{
	fake_move_begin(&f);
	for (int dst = 0; dst < 2; dst++) {
		struct fake_qemu *q = dst ? &f.dst : &f.src;
		const char *bus = dst ? "/machine/peripheral-anon/device[1]/virtio-backend/scsi.0"
				      : "/machine/peripheral/scsi0/virtio-backend/scsi0.0";

		fake_qemu_add(q, PCI_BUS, "{\"type\": \"PCI\"}");
		fake_qemu_add(q, bus, "{\"type\": \"SCSI\"}");
		fake_qemu_add(
			q, dst ? "/machine/peripheral-anon/device[1]" : "/machine/peripheral/scsi0",
			ON_PCI("virtio-scsi-pci", "32"));
		fake_qemu_add(q, "/machine/peripheral/sd0", ON_SCSI("", "1"));
		json_object_set_new(json_object_get(q->qom, "/machine/peripheral/sd0"),
				    "parent_bus", json_string(bus));
		fake_qemu_add(q, "/machine/peripheral-anon/device[0]",
			      ON_PCI("virtio-rng-pci", "40"));
	}
}

START_TEST(the_same_devices_by_other_names_are_accepted)
{
	begin_devices();
	accepted();
}
END_TEST

START_TEST(a_device_that_lacks_is_refused)
{
	begin_devices();
	fake_qemu_add(&f.src, "/machine/peripheral/net1", ON_PCI("virtio-net-pci", "49"));
	refused_for("destination: its QEMU lacks the device net1 (virtio-net-pci, "
		    "bus=pci.0,addr=06.1), which the source has, plugged in since its start "
		    "perhaps; start it with -device virtio-net-pci,id=net1,bus=pci.0,addr=06.1");
	begin_devices();
	fake_qemu_add(&f.src, "/machine/unattached/device[9]",
		      "{\"type\": \"isa-serial\", \"iobase\": 760}");
	refused_for("its QEMU lacks the device (isa-serial)");
	begin_devices();
	fake_qemu_add(&f.src, "/machine/peripheral/d0", "{\"type\": \"pc-dimm\", \"slot\": 3}");
	refused_for("start it with -device pc-dimm,id=d0,slot=3");
}
END_TEST

START_TEST(a_device_too_many_is_refused)
{
	begin_devices();
	fake_qemu_add(&f.dst, "/machine/peripheral/tab", "{\"type\": \"usb-tablet\"}");
	refused_for(
		"destination: its QEMU has the device tab (usb-tablet), which the source lacks");
}
END_TEST

START_TEST(a_device_in_another_place_is_refused)
{
	begin_devices();
	fake_qemu_add(&f.dst, "/machine/peripheral-anon/device[0]", ON_PCI("virtio-rng-pci", "48"));
	refused_for("has the device (virtio-rng-pci, bus=pci.0,addr=06.0) where the source has the "
		    "device (virtio-rng-pci, bus=pci.0,addr=05.0)");
	begin_devices();
	json_object_set_new(json_object_get(f.dst.qom, "/machine/peripheral/sd0"), "scsi-id",
			    json_integer(2));
	refused_for("bus=scsi.0,channel=0,scsi-id=2,lun=0) where the source has the device sd0 "
		    "(scsi-hd, bus=scsi0.0,channel=0,scsi-id=1,lun=0)");
}
END_TEST

/* The disks on a controller that is elsewhere are not told. */
START_TEST(what_hangs_on_a_device_elsewhere_goes_without_saying)
{
	begin_devices();
	fake_qemu_add(&f.dst, "/machine/peripheral-anon/device[1]",
		      ON_PCI("virtio-scsi-pci", "80"));
	fake_qemu_add(&f.dst, "/machine/peripheral/scsi0", ON_PCI("virtio-scsi-pci", "80"));
	json_object_del(f.dst.qom, "/machine/peripheral-anon/device[1]");
	json_object_set_new(json_object_get(f.dst.qom, "/machine/peripheral/sd0"), "parent_bus",
			    json_string("/machine/peripheral/scsi0/virtio-backend/scsi0.0"));
	fake_qemu_add(&f.dst, "/machine/peripheral/scsi0/virtio-backend/scsi0.0",
		      "{\"type\": \"SCSI\"}");
	refused_for("has the device scsi0 (virtio-scsi-pci, bus=pci.0,addr=0a.0) where");
}
END_TEST

START_TEST(a_device_of_another_type_is_refused)
{
	begin_devices();
	fake_qemu_add(&f.dst, "/machine/peripheral-anon/device[0]", ON_PCI("e1000", "40"));
	refused_for("has the device (e1000, bus=pci.0,addr=05.0) where the source has the device "
		    "(virtio-rng-pci, bus=pci.0,addr=05.0)");
}
END_TEST

#define FUNCTION(slot, device)                                                                     \
	"[{\"bus\": 0, \"devices\": [{\"bus\": 0, \"slot\": " slot ", \"function\": 0, "           \
	"\"id\": {\"vendor\": 32902, \"device\": " device "}}]}]"

START_TEST(what_is_built_in_is_compared_by_its_pci_ids)
{
	begin_devices();
	fake_reply(f.src.fake, "query-pci", FUNCTION("3", "4110"));
	fake_reply(f.dst.fake, "query-pci", FUNCTION("3", "4110"));
	accepted();
	begin_devices();
	fake_reply(f.src.fake, "query-pci", FUNCTION("3", "4110"));
	fake_reply(f.dst.fake, "query-pci", FUNCTION("3", "4111"));
	refused_for("PCI 8086:100f, addr=03.0) where the source has the device (of -nic, -vga or "
		    "the board, PCI 8086:100e, addr=03.0)");
	begin_devices();
	fake_reply(f.src.fake, "query-pci", FUNCTION("3", "4110"));
	fake_reply(f.dst.fake, "query-pci", FUNCTION("6", "4110"));
	fake_qemu_add(&f.src, "/machine/peripheral/net1", ON_PCI("e1000", "48"));
	refused(2);
	ck_assert_listed(&f.m->problems, "addr=03.0), which the source has");
	ck_assert_listed(&f.m->problems, "where the source has the device net1 (e1000");
	fake_move_end(&f);
}
END_TEST

/* -nic on one side, -device on the other: the same for the guest. */
START_TEST(a_device_of_its_own_stands_for_a_built_in_one)
{
	begin_devices();
	fake_reply(f.src.fake, "query-pci", FUNCTION("6", "4110"));
	fake_reply(f.dst.fake, "query-pci", FUNCTION("6", "4110"));
	fake_qemu_add(&f.src, "/machine/peripheral/net1", ON_PCI("e1000", "48"));
	accepted();
}
END_TEST

START_TEST(cpus_are_no_devices_here)
{
	begin_devices();
	fake_qemu_add(&f.src, "/machine/peripheral/cpu1", "{\"type\": \"host-x86_64-cpu\"}");
	fake_qemu_add(&f.src, "/machine/peripheral-anon/device[7]", "{\"type\": \"loader\"}");
	accepted();
}
END_TEST

START_TEST(devices_that_are_not_told_are_not_missed)
{
	for (int dst = 0; dst < 2; dst++) {
		begin_devices();
		fake_qemu_cannot(dst ? &f.dst : &f.src, "qom-list");
		accepted();
	}
}
END_TEST

START_TEST(of_many_differences_some_are_named)
{
	begin_devices();
	for (int i = 0; i < 100; i++) {
		_autofree_ char *path = str_printf("/machine/peripheral/usb%d", i);

		fake_qemu_add(&f.src, path, "{\"type\": \"usb-kbd\"}");
	}
	refused(17);
	ck_assert_listed(&f.m->problems, "84 more of its QEMU's devices differ");
	fake_move_end(&f);
}
END_TEST

START_TEST(hundreds_of_devices_are_compared)
{
	begin_devices();
	for (int i = 0; i < 700; i++) {
		_autofree_ char *path = str_printf("/machine/peripheral/usb%d", i);

		fake_qemu_add(&f.src, path, "{\"type\": \"usb-kbd\"}");
		fake_qemu_add(&f.dst, path, "{\"type\": \"usb-kbd\"}");
	}
	accepted();
}
END_TEST

START_TEST(a_flood_of_devices_is_an_error)
{
	json_t *list = json_array();

	begin_devices();
	for (int i = 0; i < 2000; i++)
		json_array_append_new(list, json_pack("{s:s, s:s}", "name", "x", "type",
						      "child<virtio-rng-pci>"));
	fake_reply_json(f.dst.fake, "qom-list", list);
	refused_for("destination: shows more than 1024 devices");
}
END_TEST

/* A hostile peer's buses may lie on each other in a circle, and be of any shape. */
START_TEST(a_circle_of_buses_comes_to_an_end)
{
	begin_devices();
	fake_qemu_add(&f.dst, "/machine/peripheral/a",
		      "{\"type\": \"x\", \"parent_bus\": \"/machine/peripheral/b/\"}");
	fake_qemu_add(&f.dst, "/machine/peripheral/b",
		      "{\"type\": \"x\", \"parent_bus\": \"/machine/peripheral/a/c.0\"}");
	fake_qemu_add(&f.dst, "/machine/peripheral/sd0",
		      "{\"type\": \"scsi-hd\", \"parent_bus\": 5, \"addr\": {}}");
	fake_reply(f.dst.fake, "query-pci", "[5, {\"devices\": [5, {\"slot\": 77}, {}]}]");
	refused(4);
	fake_move_end(&f);
}
END_TEST

/* --- media --- */

START_TEST(a_medium_of_one_side_alone_is_refused)
{
	static const char cdrom[] =
		"{\"device\": \"cd\", \"qdev\": \"/machine/q\", \"removable\": true%s}";
	static const char iso[] =
		", \"inserted\": {\"node-name\": \"n\", \"drv\": \"raw\", \"ro\": true, "
		"\"image\": {\"filename\": \"/a.iso\", \"virtual-size\": %d}}";
	static const struct {
		int src, dst;
		const char *words;
	} cases[] = {
		{1024, 0, "drive cd: holds /a.iso here, but is empty on destination"},
		{0, 1024, "drive cd: is empty here, but holds /a.iso on destination"},
		{1024, 2048, "drive cd: /a.iso on destination is another image (2.0 KiB) than the"},
		{1024, 1024, NULL},
		{0, 0, NULL},
	};

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		fake_move_begin(&f);
		for (int dst = 0; dst < 2; dst++) {
			struct fake_qemu *q = dst ? &f.dst : &f.src;
			int size = dst ? cases[i].dst : cases[i].src;
			_autofree_ char *medium = str_printf(iso, size);
			_autofree_ char *entry = str_printf(cdrom, size ? medium : "");

			q->more_drive = json_loads(entry, 0, NULL);
		}
		if (cases[i].words)
			refused_for(cases[i].words);
		else
			accepted();
	}
}
END_TEST

START_TEST(another_machine_type_is_refused)
{
	fake_move_begin(&f);
	f.src.machine = "pc-i440fx-7.2-machine";
	f.dst.machine = "pc-q35-7.2-machine";
	refused_for("start it with -machine pc-i440fx-7.2");
}
END_TEST

START_TEST(settings_of_one_side_alone_are_refused)
{
	for (int dst = 0; dst < 2; dst++) {
		fake_move_begin(&f);
		json_object_set_new((dst ? &f.dst : &f.src)->capabilities, "multifd", json_true());
		fake_move_check(&f);
		ck_assert_uint_eq(f.m->problems.count, 1);
		ck_assert_listed(&f.m->problems, "capability \"multifd\" is on");
		fake_move_end(&f);
		fake_move_begin(&f);
		json_object_set_new((dst ? &f.dst : &f.src)->parameters, "tls-creds",
				    json_string("tls0"));
		fake_move_check(&f);
		ck_assert_uint_eq(f.m->problems.count, 1);
		ck_assert_listed(&f.m->problems, "tls-creds is set");
		fake_move_end(&f);
	}
}
END_TEST

START_TEST(a_silent_source_is_refused)
{
	fake_move_begin(&f);
	fake_greeting(f.src.fake, NULL);
	f.opt.timeouts.connect_ms = 100;
	refused_for("source: the monitor sends no QMP greeting: another client holds it");
}
END_TEST

START_TEST(a_silent_destination_is_refused)
{
	fake_move_begin(&f);
	fake_greeting(f.dst.fake, NULL);
	f.opt.timeouts.connect_ms = 300;
	refused_for("destination: the monitor sends no QMP greeting: another client holds it");
}
END_TEST

START_TEST(a_destination_that_is_not_there_is_refused)
{
	fake_move_begin(&f);
	fake_qemu_die(&f.dst);
	refused(1);
	ck_assert_listed(&f.m->problems, "No such file or directory; start its QEMU with "
					 "-incoming defer -S, or give --start COMMAND");
	fake_move_end(&f);
}
END_TEST

START_TEST(a_source_that_closes_is_refused)
{
	fake_move_begin(&f);
	fake_hang_up(f.src.fake, "query-block-jobs");
	fake_move_check(&f);
	ck_assert_int_eq(f.err.kind, ERR_REFUSED);
	ck_assert_listed(&f.m->problems, "source: the connection was closed");
	fake_move_end(&f);
}
END_TEST

START_TEST(all_objections_are_told_at_once)
{
	fake_move_begin(&f);
	f.src.migration = "active";
	fake_reply(f.src.fake, "query-block-jobs", "[{\"device\": \"backup0\"}]");
	f.dst.state = "running";
	f.dst.drives[1].node = "other";
	f.dst.drives[1].qdev = "sd9";
	fake_reply(f.dst.fake, "query-block-exports", "[{\"id\": \"x\"}]");
	refused(5);
	ck_assert_listed(&f.m->problems, "block job \"backup0\"");
	ck_assert_listed(&f.m->problems, "a migration is under way");
	ck_assert_listed(&f.m->problems, "runs a guest");
	ck_assert_listed(&f.m->problems, "has 1 block export already");
	ck_assert_listed(&f.m->problems, "has no disk by that name");
	fake_move_end(&f);
}
END_TEST

START_TEST(an_unknown_disk_and_a_dead_destination_are_told_at_once)
{
	static const char *const names[] = {"vda", NULL};

	fake_move_begin(&f);
	f.opt.disks = names;
	fake_qemu_die(&f.dst);
	refused(2);
	ck_assert_listed(&f.m->problems, "--disk vda: the guest has no such disk; it has: virtio0");
	ck_assert_listed(&f.m->problems, "start its QEMU");
	fake_move_end(&f);
}
END_TEST

/* --- with --start: the host is looked at, no QEMU is there yet --- */

static char other[160];

static void begin_start(void)
{
	_autofree_ char *directory = NULL;

	fake_move_begin(&f);
	directory = str_directory(fake_path(f.dst.fake));
	snprintf(other, sizeof(other), "%s", directory);
	fake_qemu_die(&f.dst);
	f.opt.start = "false";
}

START_TEST(with_start_files_that_lack_are_to_be_made)
{
	static char map[400];
	static const char *maps[] = {map, NULL};
	_autofree_ char *here = NULL;

	begin_start();
	here = str_directory(f.src.drives[0].file);
	snprintf(map, sizeof(map), "%s=%s", here, other);
	f.opt.maps = maps;
	unlink(f.dst.drives[0].file);
	fake_move_check(&f);
	ck_assert_msg(f.ret == 0, "%s", f.m->problems.count ? f.m->problems.list[0] : f.err.text);
	only_asked();
	ck_assert_int_eq(f.m->disks.list[0].fate, DISK_CREATE);
	ck_assert_str_eq(f.m->disks.list[0].dst_path, f.dst.drives[0].file);
	ck_assert_int_eq(f.m->disks.list[1].fate, DISK_EXISTS);
	ck_assert_int_ne(access(f.dst.drives[0].file, F_OK), 0);
	fake_move_end(&f);
}
END_TEST

START_TEST(with_start_the_sources_own_files_are_refused)
{
	begin_start();
	refused(2);
	ck_assert_listed(&f.m->problems, "disk virtio0: ");
	ck_assert_listed(&f.m->problems, "is the same file on both sides");
	fake_move_end(&f);
}
END_TEST

START_TEST(with_start_a_listening_monitor_is_refused)
{
	static char first[200], second[200];
	static const char *disks[] = {first, second, NULL};

	fake_move_begin(&f);
	f.opt.start = "false";
	snprintf(first, sizeof(first), "virtio0=%s", f.dst.drives[0].file);
	snprintf(second, sizeof(second), "data=%s", f.dst.drives[1].file);
	f.opt.disks = disks;
	refused_for("listens on");
}
END_TEST

START_TEST(with_start_a_missing_directory_is_refused)
{
	static const char *disks[] = {"virtio0=/nonexistent/a.img", NULL};

	begin_start();
	f.opt.disks = disks;
	refused_for("there is no directory /nonexistent");
}
END_TEST

START_TEST(with_start_a_directory_is_no_target)
{
	static const char *disks[] = {"virtio0=/tmp", NULL};

	begin_start();
	f.opt.disks = disks;
	refused_for("disk virtio0: /tmp on destination is neither a file nor a block device");
}
END_TEST

START_TEST(with_start_two_disks_into_one_file_are_refused)
{
	static const char *disks[] = {"virtio0=/tmp/vmferry-x.img", "data=/tmp/vmferry-x.img",
				      NULL};

	begin_start();
	f.opt.disks = disks;
	refused_for("disks virtio0 and data would both go to /tmp/vmferry-x.img");
}
END_TEST

START_TEST(with_start_a_disk_too_large_is_refused)
{
	begin_start();
	fake_reply(f.src.fake, "query-block",
		   "[{\"device\": \"big\", \"qdev\": \"q\", \"inserted\": {\"node-name\": \"n\", "
		   "\"drv\": \"raw\", \"ro\": false, \"image\": {\"filename\": "
		   "\"/tmp/vmferry-no-such.img\", \"virtual-size\": 4611686018427387904, "
		   "\"actual-size\": 4611686018427387904}}}]");
	refused_for("not enough free space in /tmp: the files need 4.0 EiB");
}
END_TEST

START_TEST(with_start_what_cannot_be_made_is_refused)
{
	static const char *disks[] = {"virtio0=/tmp/vmferry-x.img", NULL};

	begin_start();
	f.opt.disks = disks;
	f.src.drives[0].driver = "vmdk";
	refused_for("cannot be made there: it is neither raw nor qcow2");
}
END_TEST

START_TEST(with_start_an_image_that_is_no_file_wants_a_path)
{
	static const char *disks[] = {"virtio0", NULL};

	begin_start();
	f.opt.disks = disks;
	snprintf(f.src.drives[0].file, sizeof(f.src.drives[0].file), "nbd://h/x");
	refused_for("disk virtio0: its image is no file (nbd://h/x)");
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		a_good_pair_is_accepted_and_shown,
		a_block_job_is_refused,
		a_block_job_without_a_name_is_refused_too,
		a_migration_under_way_here_is_refused,
		a_migration_status_never_heard_of_is_refused,
		a_migration_that_is_over_is_no_objection,
		what_blocks_migration_is_told,
		a_guest_that_neither_runs_nor_is_paused_is_refused,
		a_paused_guest_is_accepted,
		a_throw_away_image_is_refused,
		a_source_without_events_is_refused,
		a_mirror_the_source_has_not_is_refused,
		a_destination_that_runs_is_refused,
		a_destination_that_does_not_wait_is_refused,
		a_destination_that_listens_already_is_refused,
		exports_that_are_there_are_refused,
		a_destination_without_an_nbd_server_is_refused,
		the_old_way_is_taken_where_nbd_is_missing,
		what_stands_against_the_old_way_is_told,
		the_old_way_can_be_asked_for,
		a_disk_without_counterpart_is_refused,
		a_counterpart_without_medium_is_refused,
		a_read_only_counterpart_is_refused,
		two_disks_with_one_counterpart_are_refused,
		a_smaller_disk_is_refused_where_it_cannot_grow,
		the_same_file_on_both_sides_is_refused,
		the_same_file_by_another_name_is_refused,
		a_waiting_qemu_must_use_the_path_that_was_asked_for,
		a_relative_image_over_there_is_found,
		a_passed_through_disk_is_refused,
		another_machine_is_refused,
		cpus_in_other_places_are_refused,
		the_same_devices_by_other_names_are_accepted,
		a_device_that_lacks_is_refused,
		a_device_too_many_is_refused,
		a_device_in_another_place_is_refused,
		what_hangs_on_a_device_elsewhere_goes_without_saying,
		a_device_of_another_type_is_refused,
		what_is_built_in_is_compared_by_its_pci_ids,
		a_device_of_its_own_stands_for_a_built_in_one,
		cpus_are_no_devices_here,
		devices_that_are_not_told_are_not_missed,
		of_many_differences_some_are_named,
		hundreds_of_devices_are_compared,
		a_flood_of_devices_is_an_error,
		a_circle_of_buses_comes_to_an_end,
		a_medium_of_one_side_alone_is_refused,
		another_machine_type_is_refused,
		settings_of_one_side_alone_are_refused,
		a_silent_source_is_refused,
		a_silent_destination_is_refused,
		a_destination_that_is_not_there_is_refused,
		a_source_that_closes_is_refused,
		all_objections_are_told_at_once,
		an_unknown_disk_and_a_dead_destination_are_told_at_once,
		with_start_files_that_lack_are_to_be_made,
		with_start_the_sources_own_files_are_refused,
		with_start_a_listening_monitor_is_refused,
		with_start_a_missing_directory_is_refused,
		with_start_a_directory_is_no_target,
		with_start_two_disks_into_one_file_are_refused,
		with_start_a_disk_too_large_is_refused,
		with_start_what_cannot_be_made_is_refused,
		with_start_an_image_that_is_no_file_wants_a_path,
	};

	return unit_run("look", tests, COUNT_OF(tests));
}
