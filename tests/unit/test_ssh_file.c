/* Files, against a real sshd. */
#include <check.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "test_ssh_server.h"

static struct server server;
static struct loop *loop;
static struct ssh *ssh;
static struct err err;

static void start(const char *sshd_config)
{
	server_start(&server, sshd_config);
	loop = loop_new(&err);
	ssh = server_open(loop, &server);
}

static void teardown(void)
{
	ssh_close(ssh);
	loop_free(loop);
	server_stop(&server);
}

static char *in_dir(const char *name)
{
	return str_printf("%s/%s", server.dir, name);
}

static int create(const char *path, uint64_t size, uint32_t mode)
{
	struct ssh_file *file = ssh_file_open_new(ssh, path, mode, &err);
	int ret = file ? ssh_file_resize(file, size, &err) : -1;

	if (file && ssh_file_finish(file, ret < 0 ? NULL : &err) < 0)
		ret = -1;
	return ret;
}

static void assert_create_fails(const char *path, const char *words)
{
	ck_assert_int_eq(create(path, 1024, 0600), -1);
	ck_assert_msg(strstr(err.text, words) != NULL, "no \"%s\" in: %s", words, err.text);
	ck_assert_ptr_nonnull(strstr(err.text, "good: "));
	ck_assert_ptr_nonnull(strstr(err.text, path));
}

START_TEST(file_is_created_sparse)
{
	const uint64_t size = 5ull << 40;
	_autofree_ char *path = NULL;
	struct file_info info;
	struct stat st;

	start(NULL);
	path = in_dir("big.img");
	ck_assert_msg(create(path, size, 0666) == 0, "%s", err.text);
	ck_assert_int_eq(ssh_file_info(ssh, path, &info, &err), 0);
	ck_assert_int_eq(info.kind, FILE_REGULAR);
	ck_assert_uint_eq(info.size_bytes, size);
	ck_assert_uint_eq(info.mode, 0666);
	ck_assert_int_eq(stat(path, &st), 0);
	ck_assert_int_lt(st.st_blocks, 100);
}
END_TEST

START_TEST(existing_file_stays_as_it_is)
{
	_autofree_ char *path = NULL;
	_autofree_ char *dangling = NULL;
	struct file_info info;

	start(NULL);
	server_shell(&server, "cd $DIR && echo precious > disk && ln -s nothing dangling");
	path = in_dir("disk");
	dangling = in_dir("dangling");
	assert_create_fails(path, "already exists");
	assert_create_fails(dangling, "already exists");
	ck_assert_int_eq(ssh_file_info(ssh, dangling, &info, &err), -1);
	ck_assert_ptr_nonnull(strstr(err.text, "symbolic link to nothing"));
	server_shell(&server, "test \"$(cat $DIR/disk)\" = precious && test ! -e $DIR/nothing");
}
END_TEST

START_TEST(directory_is_missing)
{
	_autofree_ char *path = NULL;
	struct file_info info;

	start(NULL);
	path = in_dir("not/there");
	assert_create_fails(path, "there is no directory");
	ck_assert_int_eq(ssh_file_info(ssh, path, &info, &err), -1);
	ck_assert_ptr_nonnull(strstr(err.text, "there is no directory"));
}
END_TEST

/* No file system takes a file of 2^63 - 1 bytes. */
START_TEST(file_that_cannot_be_sized)
{
	_autofree_ char *path = NULL;

	start(NULL);
	path = in_dir("huge");
	ck_assert_int_eq(create(path, UINT64_MAX >> 1, 0600), -1);
	ck_assert_msg(strstr(err.text, "set the size of") != NULL, "%s", err.text);
	ck_assert_msg(strstr(err.text, path) != NULL, "%s", err.text);
}
END_TEST

/* Also when something else has its name by then. */
START_TEST(file_is_given_away)
{
	_autofree_ char *path = NULL;
	struct ssh_file *file;
	struct file_info info;

	start(NULL);
	path = in_dir("disk");
	file = ssh_file_open_new(ssh, path, 0640, &err);
	ck_assert_ptr_nonnull(file);
	server_shell(&server,
		     "cd $DIR && mv disk ours && echo precious >other && ln -s other disk");
	ck_assert_int_eq(ssh_file_give(file, 54321, 54322, &err), geteuid() ? -1 : 0);
	ck_assert_int_eq(ssh_file_finish(file, &err), 0);
	server_shell(&server, "cd $DIR && test \"$(stat -c %u other)$(stat -c %u disk)\" = "
			      "\"$(id -u)$(id -u)\"");
	if (geteuid())
		return;
	free(path);
	path = in_dir("ours");
	ck_assert_int_eq(ssh_file_info(ssh, path, &info, &err), 0);
	ck_assert_uint_eq(info.uid, 54321);
	ck_assert_uint_eq(info.gid, 54322);
	ck_assert_uint_eq(info.mode, 0640);
}
END_TEST

START_TEST(file_is_removed_once_or_twice)
{
	_autofree_ char *path = NULL;
	struct file_info info;

	start(NULL);
	path = in_dir("disk");
	ck_assert_int_eq(create(path, 10, 0600), 0);
	ck_assert_int_eq(ssh_file_remove(ssh, path, &err), 0);
	ck_assert_int_eq(ssh_file_info(ssh, path, &info, &err), 0);
	ck_assert_int_eq(info.kind, FILE_ABSENT);
	ck_assert_int_eq(ssh_file_remove(ssh, path, &err), 0);
	ck_assert_int_eq(ssh_file_remove(ssh, server.dir, &err), -1);
	ck_assert_ptr_nonnull(strstr(err.text, "good: remove /tmp/"));
}
END_TEST

START_TEST(file_is_renamed)
{
	_autofree_ char *from = NULL;
	_autofree_ char *to = NULL;
	struct stat before, after;

	start(NULL);
	from = in_dir(".disk new");
	to = in_dir("disk");
	ck_assert_int_eq(create(from, 10, 0640), 0);
	ck_assert_int_eq(stat(from, &before), 0);
	ck_assert_msg(ssh_file_rename(ssh, from, to, &err) == 0, "%s", err.text);
	ck_assert_int_eq(stat(to, &after), 0);
	ck_assert_uint_eq(before.st_ino, after.st_ino);
	ck_assert_uint_eq(after.st_nlink, 1);
	ck_assert_int_eq(access(from, F_OK), -1);
}
END_TEST

static void assert_rename_fails(const char *from, const char *to, const char *words)
{
	ck_assert_int_eq(ssh_file_rename(ssh, from, to, &err), -1);
	ck_assert_msg(strstr(err.text, words) != NULL, "no \"%s\" in: %s", words, err.text);
	ck_assert_ptr_nonnull(strstr(err.text, "good: "));
	ck_assert_ptr_nonnull(strstr(err.text, from));
	ck_assert_ptr_nonnull(strstr(err.text, to));
}

START_TEST(rename_leaves_what_is_there)
{
	static const char *const there[] = {"file", "dangling", "directory"};
	_autofree_ char *from = NULL;

	start(NULL);
	server_shell(&server, "cd $DIR && echo new > new && echo precious > file && "
			      "ln -s nothing dangling && mkdir directory");
	from = in_dir("new");
	for (size_t i = 0; i < sizeof(there) / sizeof(there[0]); i++) {
		_autofree_ char *to = in_dir(there[i]);

		assert_rename_fails(from, to, "already exists");
	}
	server_shell(&server, "cd $DIR && test \"$(cat file)\" = precious && test -L dangling && "
			      "test ! -e nothing && test \"$(cat new)\" = new && rmdir directory");
}
END_TEST

START_TEST(rename_of_or_to_what_is_not_there)
{
	_autofree_ char *from = NULL;
	_autofree_ char *nowhere = NULL;
	_autofree_ char *to = NULL;

	start(NULL);
	server_shell(&server, "echo new > $DIR/new");
	from = in_dir("new");
	nowhere = in_dir("not/there");
	to = in_dir("to");
	assert_rename_fails(from, nowhere, "no such file or directory");
	assert_rename_fails(nowhere, to, "no such file or directory");
	server_shell(&server, "test -e $DIR/new && test ! -e $DIR/to");
}
END_TEST

START_TEST(kinds_of_files)
{
	struct file_info info;

	start(NULL);
	ck_assert_int_eq(ssh_file_info(ssh, server.dir, &info, &err), 0);
	ck_assert_int_eq(info.kind, FILE_DIRECTORY);
	ck_assert_uint_eq(info.mode, 0700);
	ck_assert_int_eq(ssh_file_info(ssh, "/dev/null", &info, &err), 0);
	ck_assert_int_eq(info.kind, FILE_OTHER);
}
END_TEST

START_TEST(free_space)
{
	struct statvfs st;
	uint64_t bytes;

	start(NULL);
	ck_assert_int_eq(ssh_free_space(ssh, server.dir, &bytes, &err), 0);
	ck_assert_int_eq(statvfs(server.dir, &st), 0);
	ck_assert_uint_le(bytes, (uint64_t)st.f_blocks * st.f_frsize);
	ck_assert_uint_gt(bytes, (uint64_t)st.f_bavail * st.f_frsize / 2);
	ck_assert_int_eq(ssh_free_space(ssh, "/not/there", &bytes, &err), -1);
	ck_assert_ptr_nonnull(strstr(err.text, "/not/there: no such file"));
}
END_TEST

START_TEST(server_without_sftp)
{
	struct file_info info;
	struct process_output output;

	start("Subsystem other /bin/false");
	ck_assert_int_eq(ssh_file_info(ssh, "/", &info, &err), -1);
	ck_assert_ptr_nonnull(strstr(err.text, "good: the server has no SFTP"));
	ck_assert_ptr_nonnull(strstr(err.text, "Subsystem sftp"));
	ck_assert_int_eq(ssh_command(ssh, "true", 20000, &output, &err), 0);
	process_output_deinit(&output);
}
END_TEST

/* Opens a session whose SFTP server leaves its pid in $DIR/pid, and uses it once. */
static void start_with_pid(void)
{
	struct ssh_target target;
	struct file_info info;

	start(NULL);
	ssh_close(ssh);
	server_shell(&server, "cd $DIR && sed -i \"s|^Subsystem.*|Subsystem sftp $DIR/sftp|\" "
			      "sshd_config && { echo '#!/bin/sh'; echo \"echo \\$\\$ > $DIR/pid\"; "
			      "echo exec /usr/lib/openssh/sftp-server; } > sftp && chmod +x sftp");
	target = server_target(&server);
	target.answer_timeout_ms = 1500;
	ssh = ssh_open(loop, &target, &err);
	ck_assert_msg(ssh != NULL, "%s", err.text);
	ck_assert_msg(ssh_file_info(ssh, "/", &info, &err) == 0, "%s", err.text);
}

/* The SFTP server hangs (as with a dead NFS): an error in time, and the next one works. */
START_TEST(sftp_does_not_answer)
{
	struct file_info info;

	start_with_pid();
	server_shell(&server, "kill -STOP $(cat $DIR/pid)");
	ck_assert_int_eq(ssh_file_info(ssh, "/", &info, &err), -1);
	ck_assert_int_eq(err.kind, ERR_TIMEOUT);
	ck_assert_ptr_nonnull(strstr(err.text, "good: timed out after 1.5 s waiting for SFTP"));
	ck_assert_msg(ssh_file_info(ssh, "/", &info, &err) == 0, "%s", err.text);
}
END_TEST

START_TEST(sftp_dies)
{
	struct file_info info;

	start_with_pid();
	server_shell(&server, "kill -KILL $(cat $DIR/pid)");
	ck_assert_int_eq(ssh_file_info(ssh, "/", &info, &err), -1);
	ck_assert_msg(strstr(err.text, "good: look at /: the server's SFTP has ended") != NULL,
		      "%s", err.text);
	ck_assert_msg(ssh_file_info(ssh, "/", &info, &err) == 0, "%s", err.text);
}
END_TEST

/* 5 MiB and a bit, so that it takes many packets, and ends within one. */
#define CONTENTS_SIZE ((5u << 20) + 12345)

static char *contents(void)
{
	char *data = mem_zalloc(1, CONTENTS_SIZE);

	for (uint32_t i = 0, x = 1; i < CONTENTS_SIZE; i++, x = x * 1664525 + 1013904223)
		data[i] = (char)(x >> 24);
	return data;
}

static bool file_is(const char *path, const char *data, size_t len)
{
	_autofree_ char *seen = mem_zalloc(1, len + 1);
	FILE *file = fopen(path, "rb");
	bool same = file && fread(seen, 1, len + 1, file) == len && memcmp(seen, data, len) == 0;

	if (file)
		fclose(file);
	return same;
}

START_TEST(contents_are_written)
{
	_autofree_ char *data = contents();
	_autofree_ char *path = NULL;
	struct ssh_file *file;
	struct stat st;

	start(NULL);
	path = in_dir("cd.iso");
	file = ssh_file_open_new(ssh, path, 0442, &err);
	ck_assert_msg(file != NULL, "%s", err.text);
	for (size_t at = 0, n; at < CONTENTS_SIZE; at += n) {
		n = CONTENTS_SIZE - at < (1u << 20) ? CONTENTS_SIZE - at : 1u << 20;
		ck_assert_msg(ssh_file_write(file, data + at, n, &err) == 0, "%s", err.text);
	}
	ck_assert_msg(ssh_file_finish(file, &err) == 0, "%s", err.text);
	ck_assert(file_is(path, data, CONTENTS_SIZE));
	ck_assert_int_eq(stat(path, &st), 0);
	ck_assert_int_eq(st.st_mode & 07777, 0442);
}
END_TEST

START_TEST(contents_never_go_into_an_existing_file)
{
	_autofree_ char *path = NULL;

	start(NULL);
	server_shell(&server, "echo precious > $DIR/iso");
	path = in_dir("iso");
	ck_assert_ptr_null(ssh_file_open_new(ssh, path, 0644, &err));
	ck_assert_ptr_nonnull(strstr(err.text, "already exists"));
	ck_assert(file_is(path, "precious\n", 9));
}
END_TEST

START_TEST(sftp_dies_while_contents_are_written)
{
	_autofree_ char *data = contents();
	_autofree_ char *path = NULL;
	struct ssh_file *file;

	start_with_pid();
	path = in_dir("iso");
	file = ssh_file_open_new(ssh, path, 0644, &err);
	ck_assert_msg(file != NULL, "%s", err.text);
	ck_assert_int_eq(ssh_file_write(file, data, 1000, &err), 0);
	server_shell(&server, "kill -KILL $(cat $DIR/pid)");
	ck_assert_int_eq(ssh_file_write(file, data, CONTENTS_SIZE, &err), -1);
	ck_assert_msg(strstr(err.text, "SFTP has ended") != NULL, "%s", err.text);
	ck_assert_int_eq(ssh_file_write(file, data, 1, &err), -1);
	ck_assert_int_eq(ssh_file_finish(file, &err), -1);
	ck_assert_int_eq(ssh_file_remove(ssh, path, &err), 0);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {file_is_created_sparse,
				      existing_file_stays_as_it_is,
				      directory_is_missing,
				      file_that_cannot_be_sized,
				      file_is_given_away,
				      file_is_removed_once_or_twice,
				      file_is_renamed,
				      rename_leaves_what_is_there,
				      rename_of_or_to_what_is_not_there,
				      kinds_of_files,
				      free_space,
				      server_without_sftp,
				      sftp_does_not_answer,
				      sftp_dies,
				      contents_are_written,
				      contents_never_go_into_an_existing_file,
				      sftp_dies_while_contents_are_written};

	return server_run_tests("ssh_file", tests, sizeof(tests) / sizeof(tests[0]), NULL,
				teardown);
}
