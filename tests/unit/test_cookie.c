/* What the phases write is read back, and so are the shapes that others write. */
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "cookie/cookie.h"
#include "cookie_equal.h"
#include "cookie_texts.h"
#include "unit.h"

/* The strings of a cookie are its own. */
#define S(text) ((char[]){text})

static struct cookie cookie;
static struct err err;

static void take(const char *text)
{
	ck_assert_ok(cookie_read(&cookie, text, strlen(text), &err), &err);
}

static void round_trip(const struct cookie *wanted)
{
	_autofree_ char *text = cookie_write(wanted, &err);
	struct cookie back;
	const char *what;

	ck_assert_msg(text != NULL, "%s", err.text);
	ck_assert_ok(cookie_read(&back, text, strlen(text), &err), &err);
	what = cookie_difference(wanted, &back);
	ck_assert_msg(!what, "%s differs: %s", what, text);
	cookie_deinit(&back);
}

/* --- what the phases write --- */

static struct cookie_disk disks[] = {
	{.name = S("drive \"0\" & 'more' <\xc3\xa4>"),
	 .src = S("/srv/<\"a\" & 'b'> \xe2\x82\xac.qcow2"),
	 .size = INT64_MAX,
	 .device = S("drive0"),
	 .node = S("#block101"),
	 .qdev = S("/machine/peripheral-anon/device[1]/virtio-backend"),
	 .format = S("qcow2"),
	 .allocated = 123456,
	 .cluster_size = 2 << 20,
	 .compat = S("0.10"),
	 .backing = S("0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"),
	 .backing_size = 1,
	 .mode = 07640},
	{.name = S("vdb"), .size = 1},
};

static char address[] = "fd00::1", dst[] = "/srv/new.qcow2", reason[] = "hostb: no space left";
static char export_0[] = "vmferry-0", export_1[] = "vmferry-1";

static struct cookie first = {
	.name = S("web 1"),
	.uuid = S(UUID),
	.hostname = S("hosta.example"),
	.hostuuid = S("00000000-0000-0000-0000-00000000000a"),
	.phase = COOKIE_BEGIN,
	.nbd = true,
	.vmferry = true,
	.id = S(HEX32),
	.disks = disks,
	.disks_count = COUNT_OF(disks),
};

START_TEST(begins_cookie_comes_back)
{
	round_trip(&first);
}
END_TEST

static void prepare_it(void)
{
	first.phase = COOKIE_PREPARE;
	first.nbd_port = 65535;
	first.address = address;
	first.ram_port = 49152;
	first.started = true;
	first.hangup_kills = true;
	first.dst_capabilities = UINT32_MAX;
	disks[0].export = export_0;
	disks[0].dst = dst;
	disks[0].dst_size = INT64_MAX;
	disks[0].made = true;
	disks[1].export = export_1;
	disks[1].dst_size = 2;
}

START_TEST(prepares_cookie_comes_back)
{
	prepare_it();
	round_trip(&first);
}
END_TEST

static void perform_it(void)
{
	prepare_it();
	first.phase = COOKIE_PERFORM;
	first.nbd_port = -1;
	first.was_running = true;
	first.src_capabilities = 5;
	first.max_bandwidth = INT64_MAX;
	first.downtime_limit = 300;
}

START_TEST(performs_cookie_comes_back)
{
	perform_it();
	round_trip(&first);
}
END_TEST

START_TEST(finishs_cookie_comes_back)
{
	perform_it();
	first.phase = COOKIE_FINISH;
	first.nbd = false;
	first.nbd_port = 0;
	round_trip(&first);
}
END_TEST

START_TEST(a_failed_cookie_comes_back)
{
	perform_it();
	first.failed = true;
	first.reason = reason;
	round_trip(&first);
}
END_TEST

START_TEST(the_old_ways_cookie_comes_back_in_each_phase)
{
	first.nbd = false;
	first.method = COOKIE_BLOCK;
	first.incremental = true;
	for (int phase = COOKIE_BEGIN; phase <= COOKIE_FINISH; phase++) {
		first.phase = (enum cookie_phase)phase;
		round_trip(&first);
	}
}
END_TEST

START_TEST(a_guest_without_a_name_comes_back)
{
	first.name = first.hostname = first.hostuuid = NULL;
	round_trip(&first);
}
END_TEST

START_TEST(a_guest_without_disks_comes_back)
{
	first.disks_count = 0;
	first.disks = NULL;
	round_trip(&first);
}
END_TEST

/* The whole text; a change of it is a change of what other versions have to read. */
START_TEST(begins_cookie_is_what_the_issue_shows)
{
	_autofree_ char *text = NULL;

	take(good);
	text = cookie_write(&cookie, &err);
	ck_assert_str_eq(
		text,
		"<qemu-migration>\n"
		"  <name>web1</name>\n"
		"  <uuid>" UUID "</uuid>\n"
		"  <hostname>hosta</hostname>\n"
		"  <hostuuid>00000000-0000-0000-0000-00000000000a</hostuuid>\n"
		"  <nbd>\n"
		"    <disk src=\"/srv/a.img\" size=\"17179869184\"/>\n"
		"    <disk src=\"/srv/b.img\" size=\"512\"/>\n"
		"  </nbd>\n"
		"  <vmferry xmlns=\"urn:vmferry:cookie:1\" phase=\"begin\" id=\"" HEX32
		"\" method=\"nbd\">\n"
		"    <disk name=\"vda\" src=\"/srv/a.img\" size=\"17179869184\" format=\"raw\" "
		"mode=\"0640\"/>\n"
		"    <disk name=\"vdb\" src=\"/srv/b.img\" size=\"512\" format=\"qcow2\" "
		"cluster-size=\"65536\"/>\n"
		"  </vmferry>\n"
		"</qemu-migration>\n");
	cookie_deinit(&cookie);
}
END_TEST

static void ck_writes(const char *part, bool wanted)
{
	_autofree_ char *text = cookie_write(&first, &err);

	ck_assert_msg(text != NULL, "%s", err.text);
	ck_assert_msg(!strstr(text, part) == !wanted, "%s: %s", part, text);
}

START_TEST(nbd_is_what_the_phase_says)
{
	prepare_it();
	ck_writes("<nbd port=\"65535\"/>", true);
	first.phase = COOKIE_PERFORM; /* the port still prepare's */
	ck_writes("<nbd port=\"-1\"/>", true);
	first.phase = COOKIE_FINISH;
	ck_writes("<nbd", false);
}
END_TEST

START_TEST(without_nbd_none_is_written)
{
	first.nbd = false;
	ck_writes("<nbd", false);
	ck_writes("<disk name=\"vdb\" size=\"1\"/>", true);
}
END_TEST

START_TEST(a_reason_is_written_whatever_it_is)
{
	static char mess[6000];
	_autofree_ char *text = NULL;

	memset(mess, 'x', sizeof(mess) - 1);
	memcpy(mess, "\033[2J\xff\n\xef\xbf\xbf", 9);
	first.failed = true;
	first.reason = mess;
	text = cookie_write(&first, &err);
	take(text);
	ck_assert(str_starts(cookie.reason, "?[2J? ???xxx"));
	ck_assert_uint_eq(strlen(cookie.reason), 4095);
	cookie_deinit(&cookie);
}
END_TEST

static void not_written(const char *why)
{
	err = (struct err){0};
	ck_assert_ptr_null(cookie_write(&first, &err));
	ck_assert_int_eq(err.kind, ERR_REFUSED);
	ck_assert_str_eq(err.text, why);
}

START_TEST(a_failed_prepare_is_written_however_far_it_got)
{
	first.phase = COOKIE_PREPARE;
	first.failed = true;
	first.reason = reason;
	ck_writes("<nbd", false);
	first.nbd_port = 1234;
	ck_writes("<nbd port=\"1234\"/>", true);
}
END_TEST

START_TEST(what_would_be_refused_is_not_written)
{
	static char bad[] = "/srv/\n\x01.img", worse[] = "/srv/\xff.img", name[] = "vdb",
		    uuid[] = UUID;

	disks[1].src = bad;
	not_written("cookie: disk vdb: src /srv/ ?.img has control characters in it, or is not "
		    "UTF-8");
	disks[1].src = worse;
	not_written("cookie: disk vdb: src /srv/?.img has control characters in it, or is not "
		    "UTF-8");
	disks[1].src = disks[0].src;
	not_written("cookie: the disks drive \"0\" & 'more' <\xc3\xa4> and vdb have the same src "
		    "/srv/<\"a\" & 'b'> \xe2\x82\xac.qcow2");
	disks[1].src = NULL;
	disks[1].size = 0;
	not_written("cookie: disk vdb: size 0 is not 1 to 9223372036854775807");
	disks[1].size = 1;
	disks[1].name = NULL;
	not_written("cookie: disk 2: no name");
	disks[1].name = name;
	first.uuid = NULL;
	not_written("cookie: no uuid");
	first.uuid = uuid;
	first.id = NULL;
	not_written("cookie: vmferry: no id");
	first.id = worse;
	not_written("cookie: vmferry: id /srv/?.img has control characters in it, or is not UTF-8");
	first.name = bad;
	not_written("cookie: name /srv/ ?.img has control characters in it, or is not UTF-8");
}
END_TEST

START_TEST(another_cookie_with_a_phase_that_nothing_shows_is_not_written)
{
	first.vmferry = false;
	disks[1].src = dst;
	first.nbd = false;
	first.phase = COOKIE_PERFORM;
	not_written("cookie: phase, port and disks do not go together");
}
END_TEST

START_TEST(the_phases_have_names)
{
	ck_assert_str_eq(cookie_phase_name(COOKIE_BEGIN), "begin");
	ck_assert_str_eq(cookie_phase_name(COOKIE_PREPARE), "prepare");
	ck_assert_str_eq(cookie_phase_name(COOKIE_PERFORM), "perform");
	ck_assert_str_eq(cookie_phase_name(COOKIE_FINISH), "finish");
}
END_TEST

START_TEST(nothing_is_freed_as_well)
{
	struct cookie none = {0};

	cookie_deinit(&none);
	cookie_deinit(&none);
}
END_TEST

/* --- others' shapes --- */

START_TEST(the_first_designs_shapes_are_read)
{
	take(COOKIE("<nbd><disk src='/var/lib/images/f17.img' size='17179869184'/></nbd>"));
	ck_assert_int_eq(cookie.phase, COOKIE_BEGIN);
	ck_assert(cookie.nbd && !cookie.vmferry);
	ck_assert_uint_eq(cookie.disks_count, 1);
	ck_assert_str_eq(cookie.disks[0].src, "/var/lib/images/f17.img");
	ck_assert_str_eq(cookie.disks[0].name, "/var/lib/images/f17.img");
	ck_assert_uint_eq(cookie.disks[0].size, 17179869184u);
	round_trip(&cookie);
	cookie_deinit(&cookie);

	take(COOKIE("<nbd port='49153'/>"));
	ck_assert_int_eq(cookie.phase, COOKIE_PREPARE);
	ck_assert_int_eq(cookie.nbd_port, 49153);
	round_trip(&cookie);
	cookie_deinit(&cookie);

	take(COOKIE("<nbd port='-1'/>"));
	ck_assert_int_eq(cookie.phase, COOKIE_PERFORM);
	ck_assert_int_eq(cookie.nbd_port, -1);
	round_trip(&cookie);
	cookie_deinit(&cookie);

	take(COOKIE(""));
	ck_assert_int_eq(cookie.phase, COOKIE_BEGIN);
	ck_assert(!cookie.nbd);
	cookie_deinit(&cookie);
}
END_TEST

/* As its 10.0 writes them, cut. */
START_TEST(libvirts_shape_is_read)
{
	take("<qemu-migration>\n"
	     "  <name>web1</name>\n"
	     "  <uuid>C7A5FDBD-EDAF-9455-926A-D65C16DB1809</uuid>\n"
	     "  <hostname>hosta</hostname>\n"
	     "  <hostuuid>00000000-0000-0000-0000-00000000000a</hostuuid>\n"
	     "  <graphics type='spice' port='5900' listen='127.0.0.1' tlsPort='-1'/>\n"
	     "  <network><interface index='0' vporttype='openvswitch'/></network>\n"
	     "  <nbd port='49153'>\n"
	     "    <disk target='vda' capacity='10737418240'/>\n"
	     "    <disk target='vdb' capacity='1'/>\n"
	     "  </nbd>\n"
	     "  <capabilities><cap name='xbzrle' auto='no'/></capabilities>\n"
	     "</qemu-migration>");
	ck_assert_str_eq(cookie.name, "web1");
	ck_assert_str_eq(cookie.uuid, UUID); /* in lower case */
	ck_assert_int_eq(cookie.phase, COOKIE_PREPARE);
	ck_assert_int_eq(cookie.nbd_port, 49153);
	ck_assert_uint_eq(cookie.disks_count, 2);
	ck_assert_str_eq(cookie.disks[0].name, "vda");
	ck_assert_ptr_null(cookie.disks[0].src);
	ck_assert_uint_eq(cookie.disks[0].size, 10737418240u);
	round_trip(&cookie);
	cookie_deinit(&cookie);
}
END_TEST

START_TEST(unknown_elements_and_attributes_are_skipped)
{
	take("<?xml version='1.0' encoding='utf-8'?><!-- a --><?b c?>"
	     "<qemu-migration new='1'>text<new><nbd port='x'/></new><uuid new='1'>" UUID "</uuid>"
	     "<x:nbd xmlns:x='urn:x' port='x'/><vmferry phase='x'/>"
	     "<nbd new='1' xmlns:x='urn:x' x:port='x'><new/><x:disk/>"
	     "<disk src='/a' size='1' x:size='0' new=''><new/></disk></nbd></qemu-migration>");
	ck_assert(cookie.nbd && !cookie.vmferry);
	ck_assert_int_eq(cookie.nbd_port, 0);
	ck_assert_uint_eq(cookie.disks_count, 1);
	cookie_deinit(&cookie);
}
END_TEST

START_TEST(vmferrys_element_may_have_a_prefix)
{
	take(COOKIE("<v:vmferry xmlns:v='urn:vmferry:cookie:1' phase='finish' id='" HEX32
		    "' method='nbd'><v:disk name='a' size='1'/><disk/></v:vmferry>"));
	ck_assert_int_eq(cookie.phase, COOKIE_FINISH);
	ck_assert_uint_eq(cookie.disks_count, 1);
	cookie_deinit(&cookie);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		begins_cookie_comes_back,
		prepares_cookie_comes_back,
		performs_cookie_comes_back,
		finishs_cookie_comes_back,
		a_failed_cookie_comes_back,
		the_old_ways_cookie_comes_back_in_each_phase,
		a_guest_without_a_name_comes_back,
		a_guest_without_disks_comes_back,
		begins_cookie_is_what_the_issue_shows,
		nbd_is_what_the_phase_says,
		without_nbd_none_is_written,
		a_reason_is_written_whatever_it_is,
		a_failed_prepare_is_written_however_far_it_got,
		what_would_be_refused_is_not_written,
		another_cookie_with_a_phase_that_nothing_shows_is_not_written,
		the_phases_have_names,
		nothing_is_freed_as_well,
		the_first_designs_shapes_are_read,
		libvirts_shape_is_read,
		unknown_elements_and_attributes_are_skipped,
		vmferrys_element_may_have_a_prefix,
	};

	return unit_run("cookie", tests, COUNT_OF(tests));
}
