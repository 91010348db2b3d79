#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "migrate/clone_line.h"
#include "unit.h"

static struct clone_line line;

static struct clone_item *parse(const char *option, const char *argument)
{
	const char *const argv[] = {"qemu", option, argument, NULL};

	clone_line_parse(&line, argv);
	ck_assert_uint_eq(line.count, 2);
	return &line.list[1];
}

/* One change of one argument. */
struct one {
	const char *option, *argument;
	const char *key, *value; /* value NULL: the key is taken away */
	const char *made;        /* NULL: it cannot be */
};

static void check_one(const struct one *one)
{
	struct clone_item *item = parse(one->option, one->argument);
	bool done = one->value ? clone_item_set(item, one->key, one->value)
			       : clone_item_remove(item, one->key);

	ck_assert_msg(done == (one->made != NULL), "%s %s", one->option, one->argument);
	ck_assert_str_eq(item->argument, one->made ? one->made : one->argument);
	clone_line_deinit(&line);
}

START_TEST(values_are_set)
{
	static const struct one ones[] = {
		{"-drive", "id=a,file=/x,format=raw", "format", "qcow2",
		 "id=a,file=/x,format=qcow2"},
		{"-drive", "id=a,file=/x", "format", "qcow2", "id=a,file=/x,format=qcow2"},
		{"-drive", "id=a,file=/x", "file", "/a,b", "id=a,file=/a,,b"},
		{"-device", "scsi-hd,drive=a", "drive", "b", "scsi-hd,drive=b"},
		{"-blockdev", "raw,node-name=a,file=f", "driver", "qcow2",
		 "qcow2,node-name=a,file=f"},
		{"-blockdev", "{\"driver\":\"raw\", \"file\":{\"filename\":\"/x\"}}",
		 "file.filename", "/y", "{\"driver\":\"raw\", \"file\":{\"filename\":\"/y\"}}"},
		{"-device", "{'driver':'scsi-cd'} ", "drive", "a\"b",
		 "{'driver':'scsi-cd',\"drive\":\"a\\\"b\"}"},
		{"-device", "{\"driver\":\"scsi-cd\",\"lun\":1}", "lun", "2", NULL},
		{"-drive", "id=a,readonly", "readonly", "off", NULL},
	};

	for (size_t i = 0; i < COUNT_OF(ones); i++)
		check_one(&ones[i]);
}
END_TEST

START_TEST(keys_are_taken_away)
{
	static const struct one ones[] = {
		{"-drive", "id=a,,b,file=/x,readonly,format=raw", "file", NULL,
		 "id=a,,b,readonly,format=raw"},
		{"-drive", "id=a,file=/x", "format", NULL, "id=a,file=/x"},
		{"-device", "scsi-cd,drive=a,id=b", "drive", NULL, "driver=scsi-cd,id=b"},
		{"-device", "{\"driver\":\"scsi-cd\" , \"drive\" : \"a\",\"id\":\"b\"}", "drive",
		 NULL, "{\"driver\":\"scsi-cd\" ,\"id\":\"b\"}"},
		{"-device", "{\"drive\":\"a\", \"id\":\"b\"}", "drive", NULL, "{ \"id\":\"b\"}"},
		{"-device", "{\"driver\":\"x\",\"drive\":\"a\"}", "drive", NULL,
		 "{\"driver\":\"x\"}"},
		{"-blockdev", "{\"driver\":\"x\",\"file\":{\"filename\":\"a\"}}", "file.filename",
		 NULL, NULL},
	};

	for (size_t i = 0; i < COUNT_OF(ones); i++)
		check_one(&ones[i]);
}
END_TEST

START_TEST(what_is_not_changed_stays)
{
	const char *const argv[] = {"qemu", "--drive", "file=a,,b", "disk.img", "-S",
				    "-m",   "1G",      "-drive",    NULL};
	char **made;

	clone_line_parse(&line, argv);
	line.list[3].dropped = true;
	clone_line_add(&line, "-device", str_dup("e1000"));
	made = clone_line_argv(&line);
	for (size_t i = 0, k = 0; argv[i]; i++) {
		if (strcmp(argv[i], "-S") == 0)
			continue;
		ck_assert_str_eq(made[k], argv[i]);
		free(made[k++]);
	}
	ck_assert_str_eq(made[7], "-device");
	ck_assert_str_eq(made[8], "e1000");
	ck_assert_ptr_null(made[9]);
	free(made[7]);
	free(made[8]);
	free(made);
	clone_line_deinit(&line);
}
END_TEST

START_TEST(words_that_are_not_allowed)
{
	static const char *const allowed[] = {"driver", "node-name", "cache.*", NULL};
	struct clone_item *item = parse("-blockdev", "qcow2,node-name=a,cache.direct=on,cachet=1");
	char *key = clone_item_other_key(item, allowed);

	ck_assert_str_eq(key, "cachet");
	free(key);
	clone_line_deinit(&line);
	item = parse("-blockdev", "{\"driver\":\"qcow2\",\"backing\":null}");
	ck_assert_ptr_null(clone_item_other_key(item, allowed));
	clone_line_deinit(&line);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		values_are_set,
		keys_are_taken_away,
		what_is_not_changed_stays,
		words_that_are_not_allowed,
	};

	return unit_run("clone_line", tests, COUNT_OF(tests));
}
