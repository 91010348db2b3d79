/* --incremental against two fake QEMUs: what stands against it, and what is read for that.
 * qemu-img(1) and sha256sum(1) are ours: the one says what the test wants, the other is the
 * real one and counts. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/str.h"
#include "fake_move.h"
#include "unit.h"

static struct fake_move f;
static char bin[200]; /* where those programs are */

static void write_file(const char *directory, const char *name, const char *text)
{
	_autofree_ char *path = str_printf("%s/%s", directory, name);
	FILE *file = fopen(path, "w");

	ck_assert_ptr_nonnull(file);
	fputs(text, file);
	fclose(file);
	chmod(path, 0755);
}

static void make_programs(void)
{
	_autofree_ char *path = NULL;
	_autofree_ char *count = NULL;

	snprintf(bin, sizeof(bin), "/tmp/vmferry-bin-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(bin));
	count = str_printf("#!/bin/sh\necho read >>%s/reads\nPATH=${PATH#*:}\nexec sha256sum\n",
			   bin);
	write_file(bin, "sha256sum", count);
	write_file(bin, "qemu-img",
		   "#!/bin/sh\necho '[{ \"start\": 0, \"length\": 9, \"depth\": 1, \"present\": "
		   "true, \"zero\": false, \"data\": true},'\necho '{ \"start\": 9, \"length\": "
		   "9, \"depth\": 0, \"present\": false, \"zero\": true, \"data\": false}]'\n");
	path = str_printf("%s:%s", bin, getenv("PATH"));
	setenv("PATH", path, 1);
}

/* How many files were read. */
static size_t reads(void)
{
	_autofree_ char *path = str_printf("%s/reads", bin);
	struct stat st;

	return stat(path, &st) < 0 ? 0 : (size_t)st.st_size / strlen("read\n");
}

/* A file of its own beside that QEMU's socket. */
static void give_backing(struct fake_qemu *q, int drive, int depth, const char *name,
			 const char *text)
{
	_autofree_ char *directory = str_directory(fake_path(q->fake));

	write_file(directory, name, text);
	snprintf(q->drives[drive].backing[depth].name, sizeof(q->drives[drive].backing[depth].name),
		 "%s/%s", directory, name);
	q->drives[drive].backing[depth].format = "raw";
	q->drives[drive].backing[depth].size = 1 << 20;
}

/* Both disks of both sides have a backing image with the same contents. */
static void begin(void)
{
	make_programs();
	fake_move_begin(&f);
	f.opt.incremental = true;
	for (int i = 0; i < 2; i++) {
		f.src.drives[i].driver = f.dst.drives[i].driver = "qcow2";
		give_backing(&f.src, i, 0, i ? "base1" : "base0", i ? "one" : "zero");
		give_backing(&f.dst, i, 0, i ? "base1" : "base0", i ? "one" : "zero");
	}
}

static void end(void)
{
	_autofree_ char *src = str_directory(fake_path(f.src.fake));
	_autofree_ char *dst = str_directory(fake_path(f.dst.fake));
	_autofree_ char *remove = str_printf("rm -rf %s %s/base? %s/base? %s/under %s/under", bin,
					     src, dst, src, dst);

	ck_assert_int_eq(system(remove), 0);
	fake_move_end(&f);
}

static void ck_accepted(size_t files)
{
	fake_move_check(&f);
	ck_assert_msg(f.ret == 0, "%s: %s", f.err.text,
		      f.m->problems.count ? f.m->problems.list[0] : "");
	ck_assert_uint_eq(reads(), files);
	end();
}

/* For that one reason, with @files read. */
static void ck_refused(const char *part, size_t files)
{
	fake_move_check(&f);
	ck_assert_int_eq(f.err.kind, ERR_REFUSED);
	ck_assert_listed(&f.m->problems, part);
	ck_assert_uint_eq(f.m->problems.count, 1);
	ck_assert_uint_eq(reads(), files);
	end();
}

START_TEST(the_same_contents_are_accepted)
{
	begin();
	ck_accepted(4);
}
END_TEST

START_TEST(a_file_is_read_once)
{
	begin();
	give_backing(&f.src, 1, 0, "base0", "zero");
	give_backing(&f.dst, 1, 0, "base0", "zero");
	ck_accepted(2);
}
END_TEST

START_TEST(one_file_of_both_sides_is_not_read)
{
	begin();
	memcpy(f.dst.drives[0].backing, f.src.drives[0].backing, sizeof(f.dst.drives[0].backing));
	ck_accepted(2);
}
END_TEST

START_TEST(other_contents_are_refused)
{
	begin();
	give_backing(&f.dst, 1, 0, "base1", "onf");
	ck_refused("disk data: its backing image on destination", 4);
}
END_TEST

START_TEST(what_is_trusted_is_not_read)
{
	begin();
	give_backing(&f.dst, 1, 0, "base1", "onf");
	f.opt.trust_backing = true;
	ck_accepted(0);
}
END_TEST

START_TEST(the_whole_chain_counts)
{
	for (int same = 0; same < 2; same++) {
		begin();
		give_backing(&f.src, 1, 1, "under", "under");
		give_backing(&f.dst, 1, 1, "under", same ? "under" : "unDer");
		if (same)
			ck_accepted(6);
		else
			ck_refused("disk data: its backing image on destination", 6);
	}
}
END_TEST

START_TEST(chains_that_are_not_alike_cannot_be_compared)
{
	begin();
	give_backing(&f.src, 1, 1, "under", "under");
	ck_refused("cannot be compared: 2 images under the disk here, 1 there; if both are surely "
		   "the same, say --trust-backing",
		   0);
	begin();
	f.dst.drives[0].backing[0].format = "qcow2";
	ck_refused("is raw here and qcow2 there", 0);
	begin();
	snprintf(f.src.drives[0].backing[0].name, 160, "nbd://h/x");
	ck_refused("disk virtio0: its backing image nbd://h/x on source cannot be compared: it is "
		   "no file",
		   0);
	begin();
	snprintf(f.src.drives[0].backing[0].name, 160,
		 "json:{\"driver\": \"raw\", \"offset\": \"512\", \"file\": {\"driver\": \"file\", "
		 "\"filename\": \"/etc/passwd\"}}");
	ck_refused("its file is not just this image", 0);
	begin();
	snprintf(f.dst.drives[0].backing[0].name, 160, "/nonexistent/base");
	ck_refused("disk virtio0: its backing image /nonexistent/base on destination cannot be "
		   "compared: ",
		   0);
}
END_TEST

START_TEST(a_disk_without_a_backing_image_is_refused)
{
	begin();
	f.src.drives[1].backing[0].name[0] = '\0';
	ck_refused("disk data: has no backing image, so all of it would have to be copied", 0);
	begin();
	f.dst.drives[1].backing[0].name[0] = '\0';
	ck_refused("disk data: its image on destination has no backing image", 0);
}
END_TEST

START_TEST(another_size_is_refused)
{
	begin();
	f.dst.drives[0].backing[0].size = 512;
	ck_refused("has 512 bytes, the source's 1048576", 0);
	begin();
	f.dst.drives[1].size = 1 << 20;
	ck_refused("disk data: smaller on destination than on the source", 0);
}
END_TEST

/* The second disk's images hold these parts themselves: "start length" words. */
static void give_extents(const char *src, const char *dst)
{
	_autofree_ char *text = str_printf(
		"#!/bin/sh\n"
		"case $6 in *%s) set -- %s;; *%s) set -- %s;; *) set --;; esac\n"
		"while [ $# -gt 0 ]; do echo \"{ \\\"start\\\": $1, \\\"length\\\": $2, "
		"\\\"depth\\\": 0, \\\"present\\\": true, \\\"zero\\\": true},\"; shift 2; done\n",
		f.src.drives[1].file, src, f.dst.drives[1].file, dst);

	write_file(bin, "qemu-img", text);
}

START_TEST(an_image_that_holds_something_else_is_refused)
{
	static const struct {
		const char *src, *dst;
	} wrong[] = {
		{"", "0 1"},        {"0 512", "0 513"},    {"0 512 1024 512", "0 1536"},
		{"1 512", "0 512"}, {"0 512", "1024 512"}, {"0 9 100 9", "0 9 50 1 100 9"},
	};

	for (size_t i = 0; i < COUNT_OF(wrong); i++) {
		begin();
		give_extents(wrong[i].src, wrong[i].dst);
		ck_refused("disk data: its image on destination holds data where the source's "
			   "holds none",
			   0);
	}
}
END_TEST

START_TEST(a_map_that_makes_no_sense_is_refused)
{
	begin();
	give_extents("0 100", "10 18446744073709551615");
	ck_refused("disk data: whether its image on destination is empty, as --incremental needs "
		   "it, cannot be seen",
		   0);
}
END_TEST

START_TEST(an_image_that_an_earlier_try_left_is_accepted)
{
	static const struct {
		const char *src, *dst;
	} right[] = {
		{"0 512", "0 512"},
		{"0 512 512 512", "256 512"},
		{"0 10 100 10 200 10", "0 10 205 5"},
		{"0 10", ""},
	};

	for (size_t i = 0; i < COUNT_OF(right); i++) {
		begin();
		give_extents(right[i].src, right[i].dst);
		ck_accepted(4);
	}
}
END_TEST

START_TEST(an_image_that_cannot_be_seen_is_refused)
{
	begin();
	f.opt.trust_backing = true;
	write_file(bin, "qemu-img",
		   "#!/bin/sh\ncase $6 in */b.img) echo 'qemu-img: broken' >&2; exit 1;; esac\n");
	ck_refused("cannot be seen: qemu-img: broken; see that qemu-img over there", 0);
}
END_TEST

START_TEST(all_is_told_at_once)
{
	begin();
	f.src.drives[0].backing[0].name[0] = '\0';
	f.dst.drives[1].backing[0].name[0] = '\0';
	f.src.migration = "active";
	fake_move_check(&f);
	ck_assert_uint_eq(f.m->problems.count, 3);
	end();
}
END_TEST

START_TEST(only_the_top_images_are_mirrored)
{
	begin();
	fake_move_run(&f);
	ck_assert_ok(f.ret, &f.err);
	for (size_t i = 0; i < fake_calls_count; i++)
		if (str_eq(fake_calls[i].command, "blockdev-mirror"))
			ck_assert_str_eq(
				json_string_value(json_object_get(fake_calls[i].args, "sync")),
				"top");
	end();
}
END_TEST

START_TEST(the_signal_ends_it)
{
	_autofree_ char *stopper = NULL;

	begin();
	stopper = str_printf("#!/bin/sh\nkill -INT %d\nexec sleep 100\n", (int)getpid());
	write_file(bin, "sha256sum", stopper);
	fake_move_check(&f);
	ck_assert_int_eq(f.ret, -1);
	ck_assert_int_eq(f.err.kind, ERR_INTERRUPTED);
	end();
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		the_same_contents_are_accepted,
		a_file_is_read_once,
		one_file_of_both_sides_is_not_read,
		other_contents_are_refused,
		what_is_trusted_is_not_read,
		the_whole_chain_counts,
		chains_that_are_not_alike_cannot_be_compared,
		a_disk_without_a_backing_image_is_refused,
		another_size_is_refused,
		an_image_that_holds_something_else_is_refused,
		a_map_that_makes_no_sense_is_refused,
		an_image_that_an_earlier_try_left_is_accepted,
		an_image_that_cannot_be_seen_is_refused,
		all_is_told_at_once,
		only_the_top_images_are_mirrored,
		the_signal_ends_it,
	};

	return unit_run("look_backing", tests, COUNT_OF(tests));
}
