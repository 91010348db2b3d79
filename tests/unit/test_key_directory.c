/* The directory of a key, on this host. */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/str.h"
#include "migrate/key_directory.h"
#include "unit.h"

#define PATIENCE_MS 20000
#define TMPFS_MAGIC 0x01021994

static struct loop *loop;
static struct host *host;
static struct key_place place;
static char name[64];
static struct err err;

static void choose(const char *reader)
{
	ck_assert_ok(key_directory_choose(host, name, reader, &place, PATIENCE_MS, &err), &err);
}

static void begin(void)
{
	loop = loop_new(NULL);
	host = host_local(loop, PATIENCE_MS);
	snprintf(name, sizeof(name), "vmferry-unit-test-%d", (int)getpid());
	place = (struct key_place){0};
}

static void forget(void)
{
	free(place.path);
	free(place.owner);
	place = (struct key_place){0};
}

static void end(void)
{
	forget();
	host_close(host);
	loop_free(loop);
}

static int make(const char *key, bool group)
{
	return key_directory_make(host, &place, key, strlen(key), group, PATIENCE_MS, &err);
}

static mode_t mode_of(const char *file)
{
	_autofree_ char *path = str_printf("%s/%s", place.path, file);
	struct stat st;

	return stat(path, &st) == 0 ? st.st_mode : 0;
}

START_TEST(only_its_user_can_read_it)
{
	_autofree_ char *key = NULL;
	char text[64] = "";
	struct stat st;
	FILE *f;

	begin();
	choose("true");
	ck_assert_ptr_null(place.owner);
	ck_assert_ok(make("vmferry:00ff\n", true), &err);
	ck_assert_int_eq(mode_of("."), S_IFDIR | 0700);
	ck_assert_int_eq(mode_of("keys.psk"), S_IFREG | 0600);
	ck_assert_int_eq(mode_of("dh-params.pem"), S_IFREG | 0600);
	key = str_printf("%s/keys.psk", place.path);
	f = fopen(key, "r");
	ck_assert(f && fgets(text, sizeof(text), f));
	fclose(f);
	ck_assert_str_eq(text, "vmferry:00ff\n");
	ck_assert_ok(key_directory_remove(host, place.path, PATIENCE_MS, &err), &err);
	ck_assert(stat(place.path, &st) < 0 && errno == ENOENT);
	end();
}
END_TEST

START_TEST(one_that_is_there_is_not_taken)
{
	begin();
	choose("true");
	ck_assert_ok(make("a", false), &err);
	ck_assert_int_eq(mode_of("dh-params.pem"), 0);
	ck_assert_int_eq(make("b", false), -1);
	ck_assert_ok(key_directory_remove(host, place.path, PATIENCE_MS, &err), &err);
	end();
}
END_TEST

START_TEST(what_is_gone_is_removed)
{
	begin();
	choose("true");
	ck_assert_ok(key_directory_remove(host, place.path, PATIENCE_MS, &err), &err);
	end();
}
END_TEST

/* Not what somebody else has put there. */
START_TEST(only_our_files_are_removed)
{
	_autofree_ char *other = NULL;
	FILE *f;

	begin();
	choose("true");
	ck_assert_ok(make("a", false), &err);
	other = str_printf("%s/other", place.path);
	f = fopen(other, "w");
	ck_assert(f != NULL);
	fclose(f);
	ck_assert_int_eq(key_directory_remove(host, place.path, PATIENCE_MS, &err), -1);
	ck_assert(access(other, F_OK) == 0);
	unlink(other);
	ck_assert_ok(key_directory_remove(host, place.path, PATIENCE_MS, &err), &err);
	end();
}
END_TEST

static void touch(const char *file)
{
	_autofree_ char *path = str_printf("%s/%s", place.path, file);
	FILE *f = fopen(path, "w");

	ck_assert(f != NULL);
	fclose(f);
}

/* For what listens there. */
START_TEST(an_empty_one_is_removed_with_what_comes_into_it)
{
	begin();
	choose("true");
	ck_assert_ok(key_directory_make_empty(host, &place, PATIENCE_MS, &err), &err);
	ck_assert_int_eq(mode_of("."), S_IFDIR | 0700);
	touch(KEY_DIRECTORY_NBD);
	touch(KEY_DIRECTORY_RAM);
	touch(SSH_FORWARD_CONFIG);
	touch(SSH_FORWARD_KNOWN_HOSTS);
	ck_assert_ok(key_directory_remove(host, place.path, PATIENCE_MS, &err), &err);
	ck_assert_int_eq(mode_of("."), 0);
	end();
}
END_TEST

START_TEST(whose_it_is_is_seen)
{
	_autofree_ char *own = key_reader_process((int)getpid());
	_autofree_ char *nobody = key_reader_process(0);

	begin();
	choose("echo 12345");
	ck_assert_str_eq(place.owner, "12345");
	forget();
	choose(own);
	ck_assert_ptr_null(place.owner);
	forget();
	choose(nobody);
	ck_assert_ptr_null(place.owner);
	forget();
	ck_assert_int_eq(
		key_directory_choose(host, name, "echo '1; rm x'", &place, PATIENCE_MS, &err), -1);
	end();
}
END_TEST

START_TEST(it_is_in_memory)
{
	_autofree_ char *parent = NULL;
	struct statfs fs;

	begin();
	if (statfs("/dev/shm", &fs) == 0 && fs.f_type == TMPFS_MAGIC) {
		choose("true");
		parent = str_directory(place.path);
		ck_assert(statfs(parent, &fs) == 0);
		ck_assert_int_eq(fs.f_type, TMPFS_MAGIC);
	}
	end();
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		only_its_user_can_read_it,
		one_that_is_there_is_not_taken,
		what_is_gone_is_removed,
		only_our_files_are_removed,
		whose_it_is_is_seen,
		it_is_in_memory,
		an_empty_one_is_removed_with_what_comes_into_it,
	};

	return unit_run("key_directory", tests, COUNT_OF(tests));
}
