/* Whatever is hostile in a cookie is one clear error. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/str.h"
#include "cookie/cookie.h"
#include "cookie_texts.h"
#include "unit.h"

static struct cookie cookie;
static struct err err;

static void take(const char *text)
{
	ck_assert_ok(cookie_read(&cookie, text, strlen(text), &err), &err);
}

/* @text is refused for this reason, and nothing is left of it. */
static void refused(const char *text, const char *why)
{
	err = (struct err){0};
	ck_assert_int_eq(cookie_read(&cookie, text, strlen(text), &err), -1);
	ck_assert_int_eq(err.kind, ERR_REFUSED);
	ck_assert_str_eq(err.text, why);
	ck_assert_ptr_null(cookie.uuid);
	ck_assert_ptr_null(cookie.disks);
}

/* @text with the first @old in it replaced. */
static char *replaced(const char *text, const char *old, const char *new)
{
	const char *at = strstr(text, old);

	ck_assert_msg(at != NULL, "no %s", old);
	return str_printf("%.*s%s%s", (int)(at - text), text, new, at + strlen(old));
}

static void changed(const char *old, const char *new, const char *why)
{
	_autofree_ char *text = replaced(good, old, new);

	refused(text, why);
}

/* The same, everywhere. */
static void changed_all(const char *old, const char *new, const char *why)
{
	_autofree_ char *text = str_dup(good);

	while (strstr(text, old)) {
		_autofree_ char *before = str_take(&text);

		text = replaced(before, old, new);
	}
	refused(text, why);
}

/* --- no XML of our kind --- */

START_TEST(what_is_no_xml_is_refused)
{
	refused("", "cookie: is empty");
	refused("hello", "cookie: is not well-formed XML: line 1: Start tag expected, '<' not "
			 "found");
	refused("<qemu-migration>\n<a>\n</b>",
		"cookie: is not well-formed XML: line 3: Opening and ending tag mismatch: a line 2 "
		"and b");
	refused(COOKIE("") "x", "cookie: is not well-formed XML: line 1: Extra content at the end "
				"of the document");
}
END_TEST

START_TEST(another_document_element_is_refused)
{
	refused("<domain/>", "cookie: its document element is <domain>, not <qemu-migration>");
	refused("<qemu-migration xmlns='urn:x'/>",
		"cookie: its document element is <qemu-migration> in a namespace, not "
		"<qemu-migration>");
}
END_TEST

START_TEST(a_document_type_is_refused)
{
	static const char why[] = "cookie: has a document type (DOCTYPE), which no cookie has";

	refused("<!DOCTYPE qemu-migration>" COOKIE(""), why);
	refused("<!DOCTYPE qemu-migration SYSTEM 'file:///etc/passwd'>" COOKIE(""), why);
	refused("<!DOCTYPE a [<!ENTITY b SYSTEM 'file:///etc/passwd'>]>" COOKIE("<name>&b;</name>"),
		why);
	refused("<!DOCTYPE a [<!ENTITY % b SYSTEM 'http://127.0.0.1:1/x'>%b;]>" COOKIE(""), why);
	refused("<!DOCTYPE a [<!ENTITY l 'lol'><!ENTITY m '&l;&l;&l;&l;&l;&l;&l;&l;&l;&l;'>"
		"<!ENTITY n '&m;&m;&m;&m;&m;&m;&m;&m;&m;&m;'>]>" COOKIE("<name>&n;</name>"),
		why);
}
END_TEST

START_TEST(an_entity_is_refused)
{
	refused(COOKIE("<name>&lol;</name>"),
		"cookie: is not well-formed XML: line 1: Entity 'lol' not defined");
}
END_TEST

START_TEST(deep_nesting_is_refused)
{
	refused("<qemu-migration><a><a><a><a><a><a><a><a/></a></a></a></a></a></a></a>"
		"</qemu-migration>",
		"cookie: has elements nested more than 8 deep");
	take(COOKIE("<a><a><a><a><a><a><a/></a></a></a></a></a></a><b/>"));
	cookie_deinit(&cookie);
}
END_TEST

START_TEST(a_long_text_is_refused)
{
	size_t len = COOKIE_TEXT_MAX + 1;
	_autofree_ char *text = mem_zalloc(len + 1, 1);

	memset(text, ' ', len);
	memcpy(text, COOKIE(""), strlen(COOKIE("")));
	refused(text, "cookie: is longer than 1048576 bytes");
	text[len - 1] = '\0';
	take(text);
	cookie_deinit(&cookie);
}
END_TEST

/* Which kept libxml2 busy for half a minute. */
START_TEST(too_many_attributes_are_refused)
{
	_cleanup_buf_ struct buf text = {0};

	buf_printf(&text, "<qemu-migration");
	for (int i = 0; i < 90000; i++)
		buf_printf(&text, " a%x=''", (unsigned)i);
	buf_printf(&text, "/>");
	refused(text.data, "cookie: has an element with more than 1024 attributes, or '=' in them");
}
END_TEST

START_TEST(nul_bytes_are_refused)
{
	char text[] = COOKIE("<name>web1</name>");

	*strstr(text, "web1") = '\0';
	ck_assert_int_eq(cookie_read(&cookie, text, sizeof(text) - 1, &err), -1);
	ck_assert_str_eq(err.text, "cookie: has a NUL byte in it");
	ck_assert_int_eq(cookie_read(&cookie, COOKIE(""), sizeof(COOKIE("")), &err), -1);
	ck_assert_str_eq(err.text, "cookie: has a NUL byte in it");
}
END_TEST

START_TEST(another_encoding_is_refused)
{
	refused(COOKIE("<name>w\xe4</name>"), "cookie: is not UTF-8");
	refused("<?xml version='1.0' encoding='ISO-8859-1'?>" COOKIE("<name>w\xc3\xa4</name>"),
		"cookie: its encoding ISO-8859-1 is not UTF-8");
	refused("<?xml version='1.0' encoding='UTF-7'?>" COOKIE(""),
		"cookie: its encoding UTF-7 is not UTF-8");
	take("\xef\xbb\xbf<?xml version='1.0' encoding=\"UTF-8\"?>" COOKIE(
		"<name>\xc3\xa4</name>"));
	ck_assert_str_eq(cookie.name, "\xc3\xa4");
	cookie_deinit(&cookie);
}
END_TEST

START_TEST(nothing_is_printed)
{
	static const char *const bad[] = {
		"<a",          "<a>&b;</a>",
		"<a b='c'",    "<?xml version='9'?><a xmlns:b='c d'/>",
		"<a:b/>",      "<!DOCTYPE a [<!ENTITY % b SYSTEM 'c'>%b;]>",
		"<a>\xff</a>", "<a>\x01</a>",
	};
	FILE *printed = tmpfile();
	int out = dup(STDOUT_FILENO);

	fflush(stdout);
	dup2(fileno(printed), STDOUT_FILENO);
	dup2(fileno(printed), STDERR_FILENO);
	for (size_t i = 0; i < COUNT_OF(bad); i++)
		ck_assert_int_eq(cookie_read(&cookie, bad[i], strlen(bad[i]), &err), -1);
	fflush(stdout);
	dup2(out, STDOUT_FILENO);
	ck_assert_int_eq(lseek(fileno(printed), 0, SEEK_END), 0);
	close(out);
	fclose(printed);
}
END_TEST

START_TEST(a_cookie_cut_anywhere_is_refused)
{
	size_t whole = strlen(good) - 1; /* but for the newline */

	for (size_t len = 0; len < whole; len++) {
		_autofree_ char *text = mem_zalloc(len + 1, 1); /* so that ASan sees its end */

		memcpy(text, good, len);
		ck_assert_msg(cookie_read(&cookie, text, len, &err) < 0, "%zu", len);
	}
}
END_TEST

START_TEST(a_cookie_with_any_byte_changed_does_no_harm)
{
	static const char others[] = "\0<>&'\"=/9-\x80\xff";
	char text[sizeof(good)];

	for (size_t at = 0; at < sizeof(good) - 1; at++) {
		for (size_t i = 0; i < sizeof(others) - 1; i++) {
			memcpy(text, good, sizeof(good));
			text[at] = others[i];
			if (cookie_read(&cookie, text, sizeof(good) - 1, &err) == 0)
				cookie_deinit(&cookie);
		}
	}
}
END_TEST

START_TEST(a_known_feature_is_taken_an_unknown_one_refused)
{
	take(COOKIE("<feature name='nbd'/>"));
	cookie_deinit(&cookie);
	refused(COOKIE("<feature name='lockstate'/>"),
		"cookie: the feature lockstate is asked for, and not known here");
	refused(COOKIE("<feature/>"), "cookie: a <feature> without a name");
}
END_TEST

/* --- the guest and its host --- */

START_TEST(a_uuid_is_needed)
{
	refused("<qemu-migration><name>web1</name></qemu-migration>", "cookie: no uuid");
}
END_TEST

START_TEST(what_is_no_uuid_is_refused)
{
	static const char longer[] = UUID "0", blank[] = " " UUID;
	const char *const bad[] = {
		"x",
		"c7a5fdbdedaf9455926ad65c16db1809",
		"c7a5fdbd-edaf-9455-926a-d65c16db180g",
		longer,
		blank,
	};

	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		_autofree_ char *why = str_printf("cookie: uuid %s is no UUID", bad[i]);

		changed(UUID, bad[i], why);
	}
	changed("00000000-0000-0000-0000-00000000000a", "0-0-0-0-0",
		"cookie: hostuuid 0-0-0-0-0 is no UUID");
}
END_TEST

START_TEST(an_empty_text_is_refused)
{
	changed("web1", "", "cookie: name is empty");
	changed("<hostname>hosta</hostname>", "<hostname/>", "cookie: hostname is empty");
	changed("format='raw'", "format=''", "cookie: disk vda: format is empty");
}
END_TEST

START_TEST(a_second_one_is_refused)
{
	changed("<nbd>", "<nbd/><nbd>", "cookie: a second <nbd>");
	changed("  <vmferry", VMFERRY("begin", "", "") "<vmferry", "cookie: a second <vmferry>");
	changed("<name>", "<uuid>" UUID "</uuid><name>",
		"cookie: uuid " UUID " is there a second time");
	changed("<name>", "<name>a</name><name>", "cookie: name web1 is there a second time");
	refused(COOKIE("<nbd><disk src='/a' size='1' capacity='1'/></nbd>"),
		"cookie: disk /a: capacity 1 is there a second time");
}
END_TEST

START_TEST(elements_in_a_text_are_refused)
{
	changed("web1", "web<b/>1", "cookie: name is not text alone");
	changed("web1", "web<!-- -->1", "cookie: name is not text alone");
	take(COOKIE("<name>a&amp;<![CDATA[<b>]]>&#x63;</name>"));
	ck_assert_str_eq(cookie.name, "a&<b>c");
	cookie_deinit(&cookie);
}
END_TEST

START_TEST(long_texts_are_refused)
{
	char name[257], path[4097] = "/";
	_autofree_ char *why = NULL, *with = NULL;

	memset(name, 'n', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	memset(path + 1, 'p', sizeof(path) - 2);
	path[sizeof(path) - 1] = '\0';
	why = str_printf("cookie: name %.200s is longer than 255 bytes", name);
	changed("web1", name, why);
	free(why);
	why = str_printf("cookie: disk vda: dst %.200s is longer than 4095 bytes", path);
	with = str_printf("dst='%s'", path);
	changed("mode='0640'", with, why);
}
END_TEST

START_TEST(control_characters_are_refused)
{
	changed("web1", "web\n1",
		"cookie: name web 1 has control characters in it, or is not UTF-8");
	changed("'raw'", "'&#10;'",
		"cookie: disk vda: format   has control characters in it, or is not UTF-8");
	changed("'raw'", "'\xc2\x9b'",
		"cookie: disk vda: format ?? has control characters in it, or is not UTF-8");
	changed("'raw'", "'&#x7f;'",
		"cookie: disk vda: format ? has control characters in it, or is not UTF-8");
}
END_TEST

/* --- disks --- */

START_TEST(a_size_out_of_range_is_refused)
{
	static const char *const bad[] = {
		"9223372036854775808",
		"18446744073709551617",
		"0",
		"-1",
		"+1",
		" 1",
		"1 ",
		"0x10",
		"1e9",
		"1.5",
	};

	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		_autofree_ char *size = str_printf("name='vda' size='%s' x='", bad[i]);
		_autofree_ char *why = str_printf(
			"cookie: disk vda: size %s is not 1 to 9223372036854775807", bad[i]);
		_autofree_ char *text = replaced(good, "name='vda' src='/srv/a.img' size='", size);

		refused(text, why);
	}
	refused(COOKIE("<nbd><disk target='vda' capacity='9223372036854775808'/></nbd>"),
		"cookie: disk vda: capacity 9223372036854775808 is not 1 to 9223372036854775807");
	refused(COOKIE("<nbd><disk target='vda'/></nbd>"), "cookie: disk vda: no size");
	changed("name='vdb' src='/srv/b.img' size='512'", "name='vdb' src='/srv/b.img'",
		"cookie: disk vdb: no size");
}
END_TEST

START_TEST(the_largest_size_is_taken)
{
	take(COOKIE("<nbd><disk src='/a' size='9223372036854775807'/></nbd>"));
	ck_assert_uint_eq(cookie.disks[0].size, INT64_MAX);
	cookie_deinit(&cookie);
}
END_TEST

START_TEST(a_path_that_is_not_absolute_is_refused)
{
	changed_all("/srv/a.img", "srv/a.img", "cookie: disk 1: src srv/a.img is no absolute path");
	changed_all("/srv/a.img", "nbd://h/x", "cookie: disk 1: src nbd://h/x is no absolute path");
	changed_all("/srv/a.img", "", "cookie: disk 1: src is empty");
}
END_TEST

START_TEST(a_path_that_climbs_out_is_refused)
{
	static const char *const bad[] = {"/srv/../etc/passwd", "/..", "/srv/..", "//../a"};

	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		_autofree_ char *why =
			str_printf("cookie: disk 1: src %s has a \"..\" in it", bad[i]);

		changed_all("/srv/a.img", bad[i], why);
	}
	changed("mode=", "dst='/srv/../a' mode=",
		"cookie: disk vda: dst /srv/../a has a \"..\" in it");
	take(COOKIE("<nbd><disk src='/srv/..a/b..' size='1'/></nbd>"));
	cookie_deinit(&cookie);
}
END_TEST

START_TEST(two_disks_of_one_name_are_refused)
{
	changed("vdb", "vda", "cookie: two disks have the name vda");
	refused(COOKIE("<nbd><disk target='vda' capacity='1'/><disk target='vda' capacity='1'/>"
		       "</nbd>"),
		"cookie: two disks have the name vda");
}
END_TEST

START_TEST(two_disks_of_one_path_are_refused)
{
	changed_all("/srv/b.img", "/srv/a.img",
		    "cookie: the disks vda and vdb have the same src /srv/a.img");
	changed_all("/srv/b.img", "//srv/./a.img",
		    "cookie: the disks vda and vdb have the same src /srv/a.img");
}
END_TEST

static void both_have(const char *attribute, const char *value)
{
	_autofree_ char *set = str_printf("%s='%s' size=", attribute, value);
	_autofree_ char *a = str_printf("name='vda' src='/srv/a.img' %s", set);
	_autofree_ char *b = str_printf("name='vdb' src='/srv/b.img' %s", set);
	_autofree_ char *half = replaced(good, "name='vda' src='/srv/a.img' size=", a);
	_autofree_ char *text = replaced(half, "name='vdb' src='/srv/b.img' size=", b);
	_autofree_ char *why =
		str_printf("cookie: the disks vda and vdb have the same %s %s", attribute, value);

	refused(text, why);
}

START_TEST(two_disks_of_one_destination_are_refused)
{
	both_have("dst", "/srv/new.img");
	both_have("export", "e0");
	both_have("node", "n0");
	both_have("device", "d0");
	both_have("qdev", "q0");
}
END_TEST

/* @count disks in <nbd>. */
static char *many_disks(int count)
{
	_cleanup_buf_ struct buf text = {0};

	buf_printf(&text, "<qemu-migration><uuid>" UUID "</uuid><nbd>");
	for (int i = 0; i < count; i++)
		buf_printf(&text, "<disk src='/srv/%d' size='1'/>", i);
	buf_printf(&text, "</nbd></qemu-migration>");
	return str_dup(text.data);
}

START_TEST(more_disks_than_1024_are_refused)
{
	_autofree_ char *most = many_disks(1024);
	_autofree_ char *more = many_disks(1025);

	take(most);
	ck_assert_uint_eq(cookie.disks_count, 1024);
	cookie_deinit(&cookie);
	refused(more, "cookie: 1025 disks are more than 1024");
}
END_TEST

START_TEST(a_disk_without_a_name_is_refused)
{
	refused(COOKIE("<nbd><disk src='/a' size='1'/><disk size='1'/></nbd>"),
		"cookie: disk 2: neither src nor target");
	changed("name='vda' ", "", "cookie: disk 1: no name");
}
END_TEST

START_TEST(a_value_that_cannot_be_is_refused)
{
	static const char *const bad[][2] = {
		{"mode='0888'", "mode 0888 is not 0 to 7777, octal"},
		{"mode='10000'", "mode 10000 is not 0 to 7777, octal"},
		{"compat='1.0'", "compat 1.0 is not 0.10 or 1.1"},
		{"cluster-size='256'", "cluster-size 256 is not 512 to 2097152"},
		{"cluster-size='4194304'", "cluster-size 4194304 is not 512 to 2097152"},
		{"cluster-size='65535'", "cluster-size 65535 is no power of two"},
		{"dst-size='17179869183'",
		 "dst-size 17179869183 is less than its size 17179869184"},
		{"backing='0123'", "backing 0123 is not 64 lower-case hex digits"},
		{"allocated='-1'", "allocated -1 is not 0 to 9223372036854775807"},
		{"made='1'", "made 1 is not known"},
	};

	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		_autofree_ char *why = str_printf("cookie: disk vda: %s", bad[i][1]);

		changed("mode='0640'", bad[i][0], why);
	}
}
END_TEST

/* --- vmferry's own --- */

START_TEST(the_mode_is_octal)
{
	take(good);
	ck_assert_uint_eq(cookie.disks[0].mode, 0640);
	cookie_deinit(&cookie);
}
END_TEST

START_TEST(a_port_out_of_range_is_refused)
{
	static const char *const bad[] = {"70000", "65536", "0",   "",     "80x", "-2",
					  "+80",   " 80",   "--1", "0x50", "-1 "};

	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		_autofree_ char *nbd = str_printf("<nbd port='%s'>", bad[i]);
		_autofree_ char *why =
			str_printf("cookie: nbd: port \"%s\" is not 1 to 65535 or -1", bad[i]);

		changed("<nbd>", nbd, why);
	}
}
END_TEST

START_TEST(a_value_of_vmferry_that_cannot_be_is_refused)
{
	static const char *const bad[][2] = {
		{"ram-port='70000'", "ram-port 70000 is not 1 to 65535"},
		{"address='hostb'", "address hostb is no numeric IPv4 or IPv6 address"},
		{"address='::1%eth0'", "address ::1%eth0 is no numeric IPv4 or IPv6 address"},
		{"address='127.1'", "address 127.1 is no numeric IPv4 or IPv6 address"},
		{"failed='maybe'", "failed maybe is not known"},
		{"src-capabilities='4294967296'",
		 "src-capabilities 4294967296 is not 0 to 4294967295"},
		{"downtime-limit='9223372036854775808'",
		 "downtime-limit 9223372036854775808 is not 0 to 9223372036854775807"},
	};

	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		_autofree_ char *with = str_printf("<vmferry %s", bad[i][0]);
		_autofree_ char *why = str_printf("cookie: vmferry: %s", bad[i][1]);

		changed("<vmferry", with, why);
	}
	changed("method='nbd'", "method='ftp'", "cookie: vmferry: method ftp is not known");
	changed("phase='begin'", "phase='end'", "cookie: vmferry: phase end is not known");
	changed(HEX32, "0123", "cookie: vmferry: id 0123 is not 32 lower-case hex digits");
	changed("id='" HEX32 "'", "", "cookie: vmferry: no id");
}
END_TEST

START_TEST(a_phase_with_another_ones_port_is_refused)
{
	changed("<nbd>", "<nbd port='-1'>",
		"cookie: phase begin and an <nbd> with port -1 contradict each other");
	refused(COOKIE("<nbd/>" VMFERRY("prepare", "", "")),
		"cookie: phase prepare and an <nbd> with port 0 contradict each other");
	refused(COOKIE("<nbd port='80'/>" VMFERRY("perform", "", "")),
		"cookie: phase perform and an <nbd> with port 80 contradict each other");
	refused(COOKIE("<nbd port='-1'/>" VMFERRY("finish", "", "")),
		"cookie: phase finish and an <nbd> with port -1 contradict each other");
	changed("method='nbd'", "method='block'",
		"cookie: method block and an <nbd> contradict each other");
}
END_TEST

START_TEST(what_perform_needs_has_to_be_there)
{
	refused(COOKIE("<nbd port='80'/>" VMFERRY("prepare", "", "")),
		"cookie: vmferry: no address");
	refused(COOKIE("<nbd port='80'/>" VMFERRY("prepare", "address='::1'",
						  "<disk name='vda' size='1'/>")),
		"cookie: disk vda: no export");
	take(COOKIE("<nbd port='80'/>" VMFERRY("prepare", "failed='yes'",
					       "<disk name='vda' size='1'/>")));
	cookie_deinit(&cookie);
	take(COOKIE(VMFERRY("prepare", "", "<disk name='vda' size='1'/>")));
	cookie_deinit(&cookie);
}
END_TEST

START_TEST(disks_that_contradict_each_other_are_refused)
{
	static const char why[] = "cookie: disk vda: <nbd> and <vmferry> contradict each other";

	changed("<disk src='/srv/a.img' size='17179869184'/>", "",
		"cookie: <nbd> has 1 disks, but <vmferry> has 2");
	changed("<nbd>", "<nbd><disk src='/c' size='1'/>",
		"cookie: <nbd> has 3 disks, but <vmferry> has 2");
	changed("17179869184", "17179869185", why);
	changed("/srv/a.img", "/srv/c.img", why);
	changed("<disk src=", "<disk target='sda' src=", why);
	changed("src='/srv/a.img' ", "", why);
	refused(COOKIE("<nbd port='80'><disk target='vda' capacity='2'/></nbd>" VMFERRY(
			"prepare", "address='::1'", "<disk name='vda' size='1' export='e'/>")),
		why);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		what_is_no_xml_is_refused,
		another_document_element_is_refused,
		a_document_type_is_refused,
		an_entity_is_refused,
		deep_nesting_is_refused,
		a_long_text_is_refused,
		too_many_attributes_are_refused,
		nul_bytes_are_refused,
		another_encoding_is_refused,
		nothing_is_printed,
		a_cookie_cut_anywhere_is_refused,
		a_cookie_with_any_byte_changed_does_no_harm,
		a_known_feature_is_taken_an_unknown_one_refused,
		a_uuid_is_needed,
		what_is_no_uuid_is_refused,
		an_empty_text_is_refused,
		a_second_one_is_refused,
		elements_in_a_text_are_refused,
		long_texts_are_refused,
		control_characters_are_refused,
		a_size_out_of_range_is_refused,
		the_largest_size_is_taken,
		a_path_that_is_not_absolute_is_refused,
		a_path_that_climbs_out_is_refused,
		two_disks_of_one_name_are_refused,
		two_disks_of_one_path_are_refused,
		two_disks_of_one_destination_are_refused,
		more_disks_than_1024_are_refused,
		a_disk_without_a_name_is_refused,
		a_value_that_cannot_be_is_refused,
		the_mode_is_octal,
		a_port_out_of_range_is_refused,
		a_value_of_vmferry_that_cannot_be_is_refused,
		a_phase_with_another_ones_port_is_refused,
		what_perform_needs_has_to_be_there,
		disks_that_contradict_each_other_are_refused,
	};

	return unit_run("cookie_hostile", tests, COUNT_OF(tests));
}
