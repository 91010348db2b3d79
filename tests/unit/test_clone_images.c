/* Media that are not those of the source's command line any more, and what --clone makes of it. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "migrate/clone_changes.h"
#include "migrate/look.h"
#include "unit.h"

static char directory[] = "/run/vm", anonymous[] = "/machine/peripheral-anon/device[0]",
	    second[] = "/machine/peripheral-anon/device[1]", ide_cd[] = "ide-cd", raw[] = "raw",
	    node[] = "#block123", cd[] = "cd", one[] = "/srv/1.iso", two[] = "/srv/2.iso",
	    relative[] = "1.iso", mapped[] = "/data/2.iso";
static const char *const maps[] = {"/srv=/data", NULL};
static struct options opt = {.clone = true, .maps = maps};
static struct migration m;
static struct qmp_drive drives[2], dst_drives[1];
static struct changing c;
static char **made;

static struct qmp_drive medium(char *qdev, char *file)
{
	return (struct qmp_drive){.qdev = qdev,
				  .type = ide_cd,
				  .removable = true,
				  .inserted = file,
				  .node = file ? node : NULL,
				  .driver = raw,
				  .file = file,
				  .read_only = true};
}

static void begin(size_t count)
{
	m = (struct migration){.opt = &opt, .src_cwd = directory, .dst.name = "hostb"};
	m.src.drives = (struct qmp_drives){drives, count};
	m.dst.drives = (struct qmp_drives){dst_drives, COUNT_OF(dst_drives)};
}

static void change(const char *const *argv)
{
	c = (struct changing){.m = &m};
	clone_line_parse(&c.line, argv);
	clone_change_images(&c);
	made = clone_line_argv(&c.line);
	clone_line_deinit(&c.line);
}

/* The arguments are these now. */
static void is_argv(const char *const *argv)
{
	size_t n = 0;

	ck_assert_msg(!m.problems.count, "%s", m.problems.count ? m.problems.list[0] : "");
	for (; argv[n]; n++)
		ck_assert_str_eq(made[n], argv[n]);
	ck_assert_ptr_null(made[n]);
}

static void end(void)
{
	for (size_t i = 0; made && made[i]; i++)
		free(made[i]);
	free(made);
	made = NULL;
	problems_deinit(&m.problems);
	problems_deinit(&m.repairs);
}

static const char *const of_nodes[] = {
	"qemu",
	"-blockdev",
	"file,filename=/srv/1.iso,node-name=f,read-only=on",
	"-blockdev",
	"raw,file=f,node-name=cd,read-only=on",
	"-device",
	"ide-cd,drive=cd",
	NULL,
};

START_TEST(another_medium_of_a_device_without_an_id)
{
	begin(1);
	drives[0] = medium(anonymous, two);
	change(of_nodes);
	is_argv((const char *const[]){"qemu", "-blockdev",
				      "file,filename=/srv/2.iso,node-name=f,read-only=on",
				      "-blockdev", "raw,file=f,node-name=cd,read-only=on",
				      "-device", "ide-cd,drive=cd", NULL});
	ck_assert_uint_eq(m.repairs.count, 1);
	end();
}
END_TEST

START_TEST(the_same_medium_of_a_device_without_an_id)
{
	begin(1);
	drives[0] = medium(anonymous, one);
	drives[0].node = cd;
	change(of_nodes);
	is_argv(of_nodes);
	ck_assert_uint_eq(m.repairs.count, 0);
	end();
}
END_TEST

START_TEST(no_medium_in_a_device_without_an_id)
{
	begin(1);
	drives[0] = medium(anonymous, NULL);
	change(of_nodes);
	is_argv((const char *const[]){"qemu", "-device", "driver=ide-cd", NULL});
	end();
}
END_TEST

static const char *const of_two[] = {
	"qemu",
	"-blockdev",
	"raw,node-name=a,file.driver=file,file.filename=/srv/a.iso",
	"-blockdev",
	"raw,node-name=cd,file.driver=file,file.filename=/srv/1.iso",
	"-device",
	"ide-cd,drive=a",
	"-device",
	"ide-cd,drive=cd",
	NULL,
};

START_TEST(one_of_two_devices_without_an_id)
{
	static char name[] = "a", path[] = "/srv/a.iso";

	begin(2);
	drives[0] = medium(anonymous, path);
	drives[0].node = name;
	drives[1] = medium(second, two);
	change(of_two);
	is_argv((const char *const[]){"qemu", "-blockdev", of_two[2], "-blockdev",
				      "raw,node-name=cd,file.driver=file,file.filename=/srv/2.iso",
				      "-device", "ide-cd,drive=a", "-device", "ide-cd,drive=cd",
				      NULL});
	end();
}
END_TEST

START_TEST(which_of_two_devices_is_not_guessed)
{
	begin(2);
	drives[0] = medium(anonymous, one);
	drives[1] = medium(second, two);
	change(of_two);
	is_argv(of_two);
	ck_assert_uint_eq(m.repairs.count, 0);
	end();
}
END_TEST

START_TEST(a_drive_whose_path_is_its_file_s)
{
	begin(1);
	drives[0] = medium(anonymous, two);
	drives[0].device = cd;
	change((const char *const[]){"qemu", "-drive",
				     "id=cd,media=cdrom,file.driver=file,file.filename=/srv/1.iso",
				     NULL});
	is_argv((const char *const[]){
		"qemu", "-drive",
		"id=cd,media=cdrom,file.driver=file,file.filename=/srv/2.iso,format=raw", NULL});
	end();

	begin(1);
	drives[0] = medium(anonymous, NULL);
	drives[0].device = cd;
	change((const char *const[]){"qemu", "-drive",
				     "id=cd,media=cdrom,file.driver=file,file.filename=/srv/1.iso",
				     NULL});
	is_argv((const char *const[]){"qemu", "-drive", "id=cd,media=cdrom", NULL});
	end();
}
END_TEST

/* One that has gone to the background is in another directory since. */
START_TEST(a_relative_name_is_where_it_was)
{
	static const char *const argv[] = {
		"qemu", "-drive", "id=cd,media=cdrom,file=1.iso", "-drive", "if=floppy,file=1.iso",
		NULL};

	begin(1);
	drives[0] = medium(anonymous, relative);
	drives[0].device = cd;
	change(argv);
	is_argv(argv);
	ck_assert_uint_eq(m.repairs.count, 0);
	end();
}
END_TEST

/* What is on the two sides of the first drive. */
static void compare(char *src, char *dst)
{
	begin(1);
	drives[0] = medium(anonymous, src);
	dst_drives[0] = medium(anonymous, dst);
	look_at_media(&m);
}

START_TEST(two_media_of_one_size)
{
	compare(two, one);
	ck_assert_uint_eq(m.problems.count, 1);
	ck_assert_has(m.problems.list[0], "/srv/2.iso is in it now, and its QEMU on hostb has "
					  "/srv/1.iso");
	end();

	compare(two, mapped);
	ck_assert_uint_eq(m.problems.count, 0);
	end();

	compare(relative, relative);
	ck_assert_uint_eq(m.problems.count, 1);
	end();
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		another_medium_of_a_device_without_an_id, the_same_medium_of_a_device_without_an_id,
		no_medium_in_a_device_without_an_id,      one_of_two_devices_without_an_id,
		which_of_two_devices_is_not_guessed,      a_drive_whose_path_is_its_file_s,
		a_relative_name_is_where_it_was,          two_media_of_one_size,
	};

	return unit_run("clone_images", tests, COUNT_OF(tests));
}
