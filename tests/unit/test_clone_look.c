/* What --clone has to be over there, looked at on this host in a directory of the test's own: in
 * "here" are the source's files, in "there" the destination's. */
#include <check.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/str.h"
#include "migrate/look.h"
#include "unit.h"

static char root[64];
static char program[] = "qemu", *words[] = {program, NULL};
static struct options opt = {.timeouts.answer_ms = 20000};
static struct options copying = {.timeouts.answer_ms = 20000, .copy_extra = true};
static struct migration m;
static char notes[512];

static void on_note(void *arg, const char *text)
{
	(void)arg;
	snprintf(notes, sizeof(notes), "%s", text);
}

static const struct report silent = {.note = on_note};

static char *path_of(const char *name)
{
	return str_printf("%s/%s", root, name);
}

static void make_directory(const char *name)
{
	_autofree_ char *path = path_of(name);

	ck_assert_int_eq(mkdir(path, 0700), 0);
}

static void make_file(const char *name)
{
	_autofree_ char *path = path_of(name);
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	ck_assert_int_ge(fd, 0);
	close(fd);
}

static void begin(void)
{
	snprintf(root, sizeof(root), "/tmp/vmferry-unit-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(root));
	make_directory("here");
	make_directory("there");
	m = (struct migration){.opt = &opt, .loop = loop_new(NULL), .dst.name = "hostb"};
	m.here = host_local(m.loop, 20000);
	m.host = host_local(m.loop, 20000);
	m.process.argv = words;
	m.process.user = str_dup(getpwuid(geteuid())->pw_name);
	m.report = &silent;
}

static void needs(const char *name, enum clone_use use, const char *what)
{
	struct clone *clone = &m.clone;

	clone->files = mem_grow(clone->files, clone->files_count + 1, sizeof(*clone->files));
	clone->files[clone->files_count++] =
		(struct clone_file){.path = str_printf("%s/there/%s", root, name),
				    .src_path = str_printf("%s/here/%s", root, name),
				    .use = use,
				    .what = what};
}

static void source_user_forget(void)
{
	free(m.process.user);
	free(m.process.group);
	free(m.process.groups);
	m.process.user = m.process.group = m.process.groups = NULL;
}

/* The source's QEMU runs so. NULL: as in source_process.h. */
static void runs_as(const char *user, const char *group, const char *groups)
{
	source_user_forget();
	m.process.user = str_dup(user);
	m.process.group = str_dup(group);
	m.process.groups = str_dup(groups);
	look_at_clone_over_there(&m);
}

static void end(void)
{
	_autofree_ char *command = str_printf("rm -r %s", root);

	clone_deinit(&m.clone);
	clone_user_deinit(&m.clone_user);
	source_user_forget();
	extras_deinit(&m.extras);
	problems_deinit(&m.problems);
	host_close(m.here);
	host_close(m.host);
	loop_free(m.loop);
	ck_assert_int_eq(system(command), 0);
}

static bool is_told(const char *part)
{
	for (size_t i = 0; i < m.problems.count; i++)
		if (strstr(m.problems.list[i], part))
			return true;
	return false;
}

static void told(const char *name, const char *begins)
{
	_autofree_ char *path = str_printf("%s/there/%s", root, name);
	_autofree_ char *words_of_it = str_printf("hostb: %s%s", begins, path);

	ck_assert_msg(is_told(words_of_it), "not told: %s", words_of_it);
}

START_TEST(a_directory_for_ram_has_to_be_one)
{
	begin();
	make_directory("here/huge");
	make_directory("here/both");
	make_directory("here/file");
	make_directory("there/both");
	make_file("there/file");
	needs("huge", CLONE_FILE_RAM, "-mem-path");
	needs("both", CLONE_FILE_RAM, "-mem-path");
	needs("file", CLONE_FILE_RAM, "-object");
	look_at_clone_over_there(&m);
	told("huge", "there is no directory ");
	told("file", "there is no directory ");
	ck_assert(!is_told("there/both"));
	ck_assert_uint_eq(m.extras.count, 0);
	end();
}
END_TEST

START_TEST(a_file_for_ram_is_not_there_yet)
{
	begin();
	make_file("here/ram");
	make_file("here/guest");
	make_file("there/guest");
	needs("ram", CLONE_FILE_RAM, "-object");
	needs("guest", CLONE_FILE_RAM, "-object");
	needs("none/ram", CLONE_FILE_RAM, "-object");
	look_at_clone_over_there(&m);
	ck_assert_uint_eq(m.extras.count, 1);
	ck_assert(m.extras.list[0].ram && m.extras.list[0].file == &m.clone.files[0]);
	told("guest", "");
	ck_assert(is_told("there/guest exists already, in which -object would put the guest's"));
	told("none", "there is no directory ");
	end();
}
END_TEST

START_TEST(the_source_s_own_file_is_not_to_be_removed)
{
	begin();
	make_file("here/ram");
	needs("../here/ram", CLONE_FILE_RAM, "-object");
	look_at_clone_over_there(&m);
	ck_assert_uint_eq(m.problems.count, 1);
	ck_assert(is_told("here/ram of -object is the source's own"));
	end();
}
END_TEST

START_TEST(images_that_nobody_writes_to_are_copied)
{
	static char floppy[] = "floppy", cd[] = "ide-cd", disk[] = "scsi-hd";
	struct qmp_drive drives[5] = {
		{.read_only = true, .type = disk},
		{.type = cd},
		{.type = floppy},
		{.type = cd},
		{.type = floppy},
	};
	static const char *const names[] = {"ro", "cd", "floppy", "both", "both"};

	begin();
	m.opt = &copying;
	m.src.drives = (struct qmp_drives){drives, COUNT_OF(drives)};
	for (size_t i = 0; i < COUNT_OF(drives); i++) {
		_autofree_ char *path = str_printf("here/%s", names[i]);

		drives[i].file = str_printf("%s/%s", root, path);
		if (i == 4)
			break;
		make_file(path);
		needs(names[i], CLONE_FILE_WRITTEN, "-blockdev");
	}
	make_file("here/other");
	needs("other", CLONE_FILE_WRITTEN, "-blockdev");
	look_at_clone_over_there(&m);
	ck_assert_uint_eq(m.extras.count, 2);
	ck_assert_uint_eq(m.problems.count, 3);
	for (size_t i = 0; i < m.problems.count; i++)
		ck_assert_has(m.problems.list[i], "the guest may write to it");
	for (size_t i = 0; i < COUNT_OF(drives); i++)
		free(drives[i].file);
	end();
}
END_TEST

START_TEST(a_device_that_is_not_there)
{
	begin();
	needs("", CLONE_FILE_READ, "-display");
	free(m.clone.files[0].path);
	m.clone.files[0].path = str_dup("/dev/vmferry-none");
	look_at_clone_over_there(&m);
	ck_assert_uint_eq(m.problems.count, 1);
	ck_assert(is_told("hostb: there is no device /dev/vmferry-none, which -display needs"));
	end();
}
END_TEST

START_TEST(a_socket_where_nobody_listens)
{
	begin();
	needs("swtpm", CLONE_FILE_CONNECTED, "-chardev");
	look_at_clone_over_there(&m);
	ck_assert_uint_eq(m.problems.count, 1);
	ck_assert(
		is_told("there/swtpm, to which -chardev connects; start there what listens on it"));
	end();
}
END_TEST

START_TEST(a_network_interface_that_is_not_there)
{
	static const char *const names[] = {"lo", "vmferry-none"};

	begin();
	for (size_t i = 0; i < COUNT_OF(names); i++) {
		struct clone_file *file;

		needs("", CLONE_FILE_INTERFACE, "-netdev");
		file = &m.clone.files[i];
		free(file->path);
		file->path = str_printf("/sys/class/net/%s", names[i]);
	}
	look_at_clone_over_there(&m);
	ck_assert_uint_eq(m.problems.count, 1);
	ck_assert(
		is_told("hostb: there is no network interface vmferry-none, which -netdev needs"));
	end();
}
END_TEST

START_TEST(a_user_that_is_not_there)
{
	begin();
	runs_as("vmferry-nobody", NULL, NULL);
	ck_assert_uint_eq(m.problems.count, 1);
	ck_assert(is_told("hostb: there is no user vmferry-nobody, as whom the source's QEMU"));
	end();
}
END_TEST

START_TEST(a_user_by_its_name)
{
	const struct passwd *own = getpwuid(geteuid());
	_autofree_ char *uid = str_printf("%u", own->pw_uid);
	_autofree_ char *gid = str_printf("%u", own->pw_gid);
	const char *words_of_it[CLONE_USER_WORDS];

	begin();
	runs_as(own->pw_name, NULL, NULL);
	ck_assert_uint_eq(m.problems.count, 0);
	ck_assert_str_eq(m.clone_user.uid, uid);
	ck_assert_str_eq(m.clone_user.gid, gid);
	ck_assert_str_eq(m.clone_user.groups, "");
	ck_assert(!m.as_other_user);
	ck_assert_uint_eq(clone_user_words(&m, words_of_it), 0);
	end();
}
END_TEST

START_TEST(a_user_without_a_name)
{
	const struct group *named = getgrgid(1);
	_autofree_ char *groups = str_printf("%s 4711 vmferry-none", named ? named->gr_name : "1");
	const char *words_of_it[CLONE_USER_WORDS];

	begin();
	runs_as("64055", "64056", groups);
	ck_assert(m.as_other_user);
	ck_assert_uint_eq(m.problems.count, geteuid() != 0);
	ck_assert_str_eq(m.clone_user.uid, "64055");
	ck_assert_str_eq(m.clone_user.gid, "64056");
	ck_assert_str_eq(m.clone_user.groups, "1,4711");
	ck_assert_uint_eq(clone_user_words(&m, words_of_it), CLONE_USER_WORDS);
	end();

	begin();
	runs_as("64055", "64055", "");
	ck_assert_str_eq(m.clone_user.groups, "-");
	end();

	begin();
	runs_as("64055", named ? named->gr_name : "1", "");
	ck_assert_str_eq(m.clone_user.gid, "1");
	end();

	begin();
	runs_as("64055", "vmferry-none", "");
	ck_assert(is_told("there is no group vmferry-none, in which the source's QEMU runs"));
	end();
}
END_TEST

START_TEST(a_group_that_is_not_the_user_s_own)
{
	const struct passwd *own = getpwuid(geteuid());
	_autofree_ char *name = str_dup(own->pw_name);
	_autofree_ char *gid = str_printf("%u", own->pw_gid);
	const struct group *other = getgrgid(1);

	begin();
	runs_as(name, other ? other->gr_name : "1", NULL);
	ck_assert_str_eq(m.clone_user.gid, "1");
	ck_assert_str_eq(notes, "");
	end();

	begin();
	runs_as(name, "vmferry-none", NULL);
	ck_assert_str_eq(m.clone_user.gid, gid);
	ck_assert_has(notes, "runs in the group vmferry-none, which is not there");
	end();
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		a_directory_for_ram_has_to_be_one,
		a_file_for_ram_is_not_there_yet,
		the_source_s_own_file_is_not_to_be_removed,
		images_that_nobody_writes_to_are_copied,
		a_device_that_is_not_there,
		a_socket_where_nobody_listens,
		a_network_interface_that_is_not_there,
		a_user_that_is_not_there,
		a_user_by_its_name,
		a_user_without_a_name,
		a_group_that_is_not_the_user_s_own,
	};

	return unit_run("clone_look", tests, COUNT_OF(tests));
}
