#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "migrate/disk.h"
#include "unit.h"

/* The strings of a drive are its own. */
#define S(text) ((char[]){text})

static struct qmp_drive guest[] = {
	{.device = S("virtio0"),
	 .qdev = S("/machine/peripheral-anon/device[1]/virtio-backend"),
	 .type = S("virtio-blk-device"),
	 .inserted = true,
	 .node = S("#block101"),
	 .driver = S("raw"),
	 .file = S("/srv/a.raw"),
	 .url = S("/srv/a.raw")},
	{.qdev = S("/machine/peripheral/vd1/virtio-backend"),
	 .id = S("vd1"),
	 .type = S("virtio-blk-device"),
	 .inserted = true,
	 .node = S("data"),
	 .driver = S("qcow2"),
	 .file = S("data.qcow2"),
	 .url = S("data.qcow2")},
	{.device = S("sd0"),
	 .qdev = S("scsi-disk-1"),
	 .type = S("scsi-hd"),
	 .inserted = true,
	 .node = S("#block303"),
	 .driver = S("raw"),
	 .url = S("nbd://h/x")},
	{.device = S("cd0"), .qdev = S("cd"), .type = S("ide-cd"), .removable = true},
	{.device = S("cd1"),
	 .qdev = S("cd-full"),
	 .type = S("scsi-cd"),
	 .removable = true,
	 .inserted = true,
	 .node = S("#block404"),
	 .file = S("/iso")},
	{.qdev = S("fd0"),
	 .type = S("floppy"),
	 .inserted = true,
	 .node = S("fd"),
	 .file = S("/fd.img")},
	{.device = S("pflash1"),
	 .qdev = S("/machine/system.flash1"),
	 .type = S("cfi.pflash01"),
	 .inserted = true,
	 .node = S("#block505"),
	 .file = S("/vars.fd")},
	{.device = S("ro"),
	 .qdev = S("x"),
	 .inserted = true,
	 .read_only = true,
	 .node = S("#block606")},
	{.device = S("idle"), .inserted = true, .node = S("#block707"), .file = S("/idle")},
	{.device = S("empty"), .qdev = S("y"), .type = S("scsi-hd"), .removable = true},
};

static const struct qmp_drives drives = {guest, COUNT_OF(guest)};

static struct disks disks;
static struct problems problems, left_out;

static void choose(const char *const *names, const char *const *maps, const char *cwd)
{
	struct options opt = {.disks = names, .maps = maps};

	disks_choose(&disks, &drives, &opt, cwd, &problems, &left_out);
}

static void forget(void)
{
	disks_deinit(&disks);
	problems_deinit(&problems);
	problems_deinit(&left_out);
}

static bool has(const struct problems *list, const char *part)
{
	for (size_t i = 0; i < list->count; i++)
		if (strstr(list->list[i], part))
			return true;
	return false;
}

static void ck_has(const struct problems *list, const char *part)
{
	ck_assert_msg(has(list, part), "no \"%s\" among %zu, first \"%s\"", part, list->count,
		      list->count ? list->list[0] : "");
}

START_TEST(without_disk_all_suitable_ones_move)
{
	choose(NULL, NULL, "/var/lib/vm");
	ck_assert_uint_eq(disks.count, 3);
	ck_assert_uint_eq(problems.count, 0);
	ck_assert_str_eq(disks.list[0].name, "virtio0");
	ck_assert_str_eq(disks.list[0].src_path, "/srv/a.raw");
	ck_assert_str_eq(disks.list[0].dst_path, "/srv/a.raw");
	ck_assert_str_eq(disks.list[1].name, "data");
	ck_assert_str_eq(disks.list[1].src_path, "/var/lib/vm/data.qcow2");
	ck_assert_str_eq(disks.list[2].name, "sd0");
	ck_assert_ptr_null(disks.list[2].src_path);
	ck_assert_ptr_null(disks.list[2].dst_path);
	ck_assert_uint_eq(left_out.count, 7);
	ck_has(&left_out, "cd0: a CD-ROM");
	ck_has(&left_out, "cd1: a CD-ROM");
	ck_has(&left_out, "fd: a floppy");
	ck_has(&left_out, "pflash1: firmware (pflash)");
	ck_has(&left_out, "ro: read-only");
	ck_has(&left_out, "idle: no device of the guest uses it");
	ck_has(&left_out, "empty: no medium is inserted");
	forget();
}
END_TEST

START_TEST(a_disk_is_named_by_device_node_or_qdev)
{
	static const char *const ways[][2] = {
		{"virtio0", "virtio0"},
		{"#block101", "virtio0"},
		{"/machine/peripheral-anon/device[1]/virtio-backend", "virtio0"},
		{"data", "data"},
		{"vd1", "data"},
		{"/machine/peripheral/vd1/virtio-backend", "data"},
		{"scsi-disk-1", "sd0"},
	};

	for (size_t i = 0; i < COUNT_OF(ways); i++) {
		const char *names[] = {ways[i][0], NULL};

		choose(names, NULL, "/");
		ck_assert_msg(disks.count == 1, "--disk %s", ways[i][0]);
		ck_assert_str_eq(disks.list[0].name, ways[i][1]);
		ck_assert_uint_eq(problems.count, 0);
		ck_assert_uint_eq(left_out.count, COUNT_OF(guest) - 1);
		forget();
	}
}
END_TEST

START_TEST(what_disk_does_not_name_is_left_out)
{
	const char *names[] = {"data", "virtio0", NULL};

	choose(names, NULL, "/");
	ck_assert_uint_eq(disks.count, 2);
	ck_assert_str_eq(disks.list[0].name, "data"); /* in the order asked for */
	ck_has(&left_out, "sd0: not asked for by --disk");
	forget();
}
END_TEST

START_TEST(an_unknown_disk_is_refused_with_what_there_is)
{
	const char *names[] = {"vda", "", NULL};

	choose(names, NULL, "/");
	ck_assert_uint_eq(disks.count, 0);
	ck_assert_uint_eq(problems.count, 2);
	ck_has(&problems, "--disk vda: the guest has no such disk; it has: virtio0, data, sd0, cd0 "
			  "(a CD-ROM), cd1 (a CD-ROM), fd (a floppy), pflash1 (firmware (pflash))");
	forget();
}
END_TEST

START_TEST(an_unsuitable_disk_is_refused_with_the_reason)
{
	const char *names[] = {"cd1", "pflash1", "ro", "fd0", "idle", "empty", NULL};

	choose(names, NULL, "/");
	ck_assert_uint_eq(disks.count, 0);
	ck_has(&problems, "--disk cd1: cannot be moved: a CD-ROM");
	ck_has(&problems, "--disk pflash1: cannot be moved: firmware");
	ck_has(&problems, "--disk ro: cannot be moved: read-only");
	ck_has(&problems, "--disk fd0: cannot be moved: a floppy");
	ck_has(&problems, "--disk idle: cannot be moved: no device of the guest uses it");
	ck_has(&problems, "--disk empty: cannot be moved: no medium is inserted");
	ck_assert_uint_eq(problems.count, 6);
	forget();
}
END_TEST

START_TEST(a_disk_named_twice_is_refused)
{
	const char *names[] = {"data", "vd1", NULL};

	choose(names, NULL, "/");
	ck_assert_uint_eq(disks.count, 1);
	ck_has(&problems, "--disk vd1: given twice");
	forget();
}
END_TEST

START_TEST(a_disk_may_be_given_its_path)
{
	const char *names[] = {"data=/new/d=1.qcow2", "sd0=/new/sd", "virtio0=relative", NULL};
	const char *maps[] = {"/new=/wrong", NULL};

	choose(names, maps, "/");
	ck_assert_uint_eq(disks.count, 2);
	ck_assert_str_eq(disks.list[0].dst_path, "/new/d=1.qcow2");
	ck_assert_str_eq(disks.list[1].dst_path, "/new/sd");
	ck_assert_uint_eq(problems.count, 1);
	ck_has(&problems, "--disk virtio0: the path relative is not absolute");
	forget();
}
END_TEST

START_TEST(a_throw_away_image_is_refused)
{
	guest[1].temporary = true;
	choose(NULL, NULL, "/");
	ck_assert_uint_eq(problems.count, 1);
	ck_has(&problems, "disk data: opened with snapshot=on");
	forget();
	guest[1].temporary = false;
}
END_TEST

static void mapped(const char *file, const char *const *maps, const char *wanted)
{
	static char name[64];

	snprintf(name, sizeof(name), "%s", file);
	guest[0].file = name;
	choose(NULL, maps, "/cwd");
	ck_assert_str_eq(disks.list[0].dst_path, wanted);
	forget();
}

START_TEST(the_longest_map_counts)
{
	const char *const maps[] = {"/srv/vm=/data/vm", "/srv=/d", "/srv/vm/web=/fast", NULL};

	mapped("/srv/a.raw", maps, "/d/a.raw");
	mapped("/srv/vm/a.raw", maps, "/data/vm/a.raw");
	mapped("/srv/vm/web/a.raw", maps, "/fast/a.raw");
	mapped("/srv/vmx/a.raw", maps, "/d/vmx/a.raw"); /* whole names only */
	mapped("/srvx/a.raw", maps, "/srvx/a.raw");
	mapped("/other/srv/a.raw", maps, "/other/srv/a.raw");
	mapped("srv/a.raw", maps, "/cwd/srv/a.raw");
}
END_TEST

START_TEST(a_map_may_end_in_slashes)
{
	static const char *const same[] = {"/srv/=/d/", "/srv=/d/", "/srv/=/d", "/srv=/d",
					   "/srv//=/d//"};

	for (size_t i = 0; i < COUNT_OF(same); i++) {
		const char *const maps[] = {same[i], NULL};

		mapped("/srv/a.raw", maps, "/d/a.raw");
		mapped("/srvx/a.raw", maps, "/srvx/a.raw");
	}
}
END_TEST

START_TEST(the_root_may_be_mapped)
{
	const char *const out[] = {"/=/mnt", NULL};
	const char *const out_slash[] = {"/=/mnt/", NULL};
	const char *const in[] = {"/mnt=/", NULL};

	mapped("/srv/a.raw", out, "/mnt/srv/a.raw");
	mapped("/srv/a.raw", out_slash, "/mnt/srv/a.raw");
	mapped("/mnt/a.raw", in, "/a.raw");
}
END_TEST

START_TEST(a_file_itself_may_be_mapped)
{
	const char *const maps[] = {"/srv/a.raw=/dev/vg/a", NULL};

	mapped("/srv/a.raw", maps, "/dev/vg/a");
	mapped("/srv/a.raw.old", maps, "/srv/a.raw.old");
}
END_TEST

START_TEST(a_relative_name_without_a_directory_stays)
{
	choose(NULL, NULL, NULL);
	ck_assert_str_eq(disks.list[1].src_path, "data.qcow2");
	forget();
}
END_TEST

START_TEST(the_names_on_both_qemus_are_our_own_and_unique)
{
	choose(NULL, NULL, "/");
	disks_name_exports(&disks, "0123456789abcdef0123456789abcdef");
	for (size_t i = 0; i < disks.count; i++) {
		_autofree_ char *export =
			str_printf("vmferry-0123456789abcdef0123456789abcdef-%zu", i);
		struct disk *d = &disks.list[i];

		ck_assert(str_starts(d->job, "vmferry-") && str_starts(d->target, "vmferry-"));
		ck_assert_str_eq(d->export, export);
		ck_assert_ptr_eq(disks_of_job(&disks, d->job), d);
		ck_assert_uint_lt(strlen(d->target), 32); /* QEMU's longest node name: 31 */
	}
	ck_assert_ptr_null(disks_of_job(&disks, "vmferry-99"));
	ck_assert_ptr_null(disks_of_job(&disks, NULL));
	forget();
}
END_TEST

/* --- pairing --- */

START_TEST(pairs_are_found_by_device_then_node_then_qdev)
{
	struct qmp_drive list[] = {
		{.device = S("other"), .qdev = S("q1"), .node = S("n1")},
		{.qdev = S("q2"), .node = S("n2")},
		{.device = S("d3"), .qdev = S("q3"), .node = S("n3")},
	};
	const struct qmp_drives there = {list, COUNT_OF(list)};
	struct qmp_drive all = {.device = S("d3"), .qdev = S("q1"), .node = S("n2")};
	struct qmp_drive by_node = {.device = S("d9"), .qdev = S("q1"), .node = S("n2")};
	struct qmp_drive by_qdev = {.device = S("d9"), .qdev = S("q1"), .node = S("n9")};
	struct qmp_drive none = {.device = S("d9"), .qdev = S("q9"), .node = S("n9")};

	ck_assert_ptr_eq(disk_counterpart(&all, &there), &list[2]);
	ck_assert_ptr_eq(disk_counterpart(&by_node, &there), &list[1]);
	ck_assert_ptr_eq(disk_counterpart(&by_qdev, &there), &list[0]);
	ck_assert_ptr_null(disk_counterpart(&none, &there));
}
END_TEST

START_TEST(names_qemu_made_up_are_no_pair)
{
	struct qmp_drive list[] = {{.node = S("#block101")}, {.device = NULL}};
	const struct qmp_drives there = {list, COUNT_OF(list)};
	struct qmp_drive src = {.node = S("#block101")};

	ck_assert_ptr_null(disk_counterpart(&src, &there));
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		without_disk_all_suitable_ones_move,
		a_disk_is_named_by_device_node_or_qdev,
		what_disk_does_not_name_is_left_out,
		an_unknown_disk_is_refused_with_what_there_is,
		an_unsuitable_disk_is_refused_with_the_reason,
		a_disk_named_twice_is_refused,
		a_disk_may_be_given_its_path,
		a_throw_away_image_is_refused,
		the_longest_map_counts,
		a_map_may_end_in_slashes,
		the_root_may_be_mapped,
		a_file_itself_may_be_mapped,
		a_relative_name_without_a_directory_stays,
		the_names_on_both_qemus_are_our_own_and_unique,
		pairs_are_found_by_device_then_node_then_qdev,
		names_qemu_made_up_are_no_pair,
	};

	return unit_run("disk", tests, COUNT_OF(tests));
}
