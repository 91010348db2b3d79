#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "migrate/clone_argv.h"
#include "migrate/clone_words.h"
#include "unit.h"

static const char machine_name[] = "pc-i440fx-7.2";

static const char *disk_path(void *arg, const char *path)
{
	static const char *const moves[][2] = {
		{"/srv/disk.img", "/new/disk.img"},  {"/run/vm/disk.img", "/new/disk.img"},
		{"/run/vm/a,b.img", "/new/c,d.img"}, {"/srv/same.img", "/srv/same.img"},
		{"/dev/vg/web1", "/dev/vg2/web1"},   {"/dev/vg/web2", "/new/web2.img"},
		{"/srv/web3.img", "/dev/vg/web3"},   {"/srv/it's \"1\".img", "/new/it's \"2\".img"},
	};

	ck_assert_ptr_eq(arg, &machine_name);
	for (size_t i = 0; i < COUNT_OF(moves); i++)
		if (strcmp(moves[i][0], path) == 0)
			return moves[i][1];
	return NULL;
}

static bool exists(void *arg, const char *path)
{
	ck_assert_ptr_eq(arg, &machine_name);
	return strcmp(path, "/run/vm/here.bin") == 0 || strcmp(path, "/etc/qemu-ifup") == 0;
}

static const char *const maps[] = {"/srv=/data", "/srv/iso=/iso", NULL};

static struct clone_source source(const char *const *argv)
{
	return (struct clone_source){
		.argv = argv,
		.cwd = "/run/vm",
		.machine = machine_name,
		.maps = maps,
		.disk_path = disk_path,
		.exists = exists,
		.arg = (void *)&machine_name,
	};
}

static struct clone clone;
static struct problems problems;

static void make(const char *const *argv)
{
	struct clone_source src = source(argv);

	clone_make(&src, &clone, &problems);
}

static void forget(void)
{
	clone_deinit(&clone);
	problems_deinit(&problems);
}

static void no_problems(void)
{
	ck_assert_msg(!problems.count, "%s", problems.count ? problems.list[0] : "");
}

/* The command line is @argv, up to its NULL, and then what is always added. */
static void is_argv(const char *const *argv)
{
	static const char *const added[] = {"-incoming", "defer", "-S"};
	size_t n = 0;

	for (; argv[n]; n++) {
		ck_assert_uint_lt(n, clone.count);
		ck_assert_str_eq(clone.argv[n], argv[n]);
	}
	ck_assert_uint_eq(clone.count, n + COUNT_OF(added));
	for (size_t i = 0; i < COUNT_OF(added); i++) {
		ck_assert_str_eq(clone.argv[n + i], added[i]);
		ck_assert(clone.changed[n + i]);
	}
	ck_assert_ptr_null(clone.argv[clone.count]);
}

/* One option with its argument. */
struct one {
	const char *option, *argument;
	const char *made; /* NULL: as the argument */
	const char *file; /* the path listed; NULL: none is */
	enum clone_use use;
};

static void check_one(const struct one *one)
{
	const char *const argv[] = {"qemu", "-M", machine_name, one->option, one->argument, NULL};
	const char *made = one->made ? one->made : one->argument;
	const char *const expected[] = {"qemu", "-M", machine_name, one->option, made, NULL};

	make(argv);
	no_problems();
	is_argv(expected);
	ck_assert_msg(clone.changed[4] == (one->made != NULL), "%s %s", one->option, one->argument);
	ck_assert(!clone.changed[0] && !clone.changed[1] && !clone.changed[2] && !clone.changed[3]);
	ck_assert_msg(clone.files_count == (one->file != NULL), "%s %s: lists %zu files",
		      one->option, one->argument, clone.files_count);
	if (one->file) {
		ck_assert_str_eq(clone.files[0].path, one->file);
		ck_assert_msg(clone.files[0].use == one->use, "%s %s: use %d", one->option,
			      one->argument, clone.files[0].use);
		ck_assert_has(one->option, clone.files[0].what);
	}
	forget();
}

START_TEST(images_are_where_they_move_to)
{
	static const struct one ones[] = {
		{"-drive", "file=/srv/disk.img,if=virtio", "file=/new/disk.img,if=virtio", NULL, 0},
		{"-drive", "if=none,id=a,file=disk.img", "if=none,id=a,file=/new/disk.img", NULL,
		 0},
		{"-drive", "file=file:disk.img", "file=file:/new/disk.img", NULL, 0},
		{"-drive", "file=/srv/same.img,id=a", NULL, NULL, 0},
		{"-drive", "file=a,,b.img,id=x,,y", "file=/new/c,,d.img,id=x,,y", NULL, 0},
		{"-drive", "file.driver=file,file.filename=disk.img",
		 "file.driver=file,file.filename=/new/disk.img", NULL, 0},
		{"-drive", "file=json:{\"driver\":\"raw\",,\"file\":{\"filename\": \"disk.img\"}}",
		 "file=json:{\"driver\":\"raw\",,\"file\":{\"filename\": \"/new/disk.img\"}}", NULL,
		 0},
		{"-drive", "driver=host_device,file=/dev/vg/web1",
		 "driver=host_device,file=/dev/vg2/web1", NULL, 0},
		{"-hda", "a,b.img", "/new/c,d.img", NULL, 0},
		{"--hdd", "host_device:/dev/vg/web1", "host_device:/dev/vg2/web1", NULL, 0},
		{"-set", "drive.d0.file=disk.img", "drive.d0.file=/new/disk.img", NULL, 0},
		{"-blockdev", "file,node-name=f,filename=disk.img",
		 "file,node-name=f,filename=/new/disk.img", NULL, 0},
		{"-blockdev", "qcow2,node-name=q,file.driver=file,file.filename=/srv/disk.img",
		 "qcow2,node-name=q,file.driver=file,file.filename=/new/disk.img", NULL, 0},
		{"-blockdev", "raw,node-name=q,file=disk.img", NULL, NULL, 0},
		{"-blockdev", "host_device,node-name=f,filename=/dev/vg/web1",
		 "host_device,node-name=f,filename=/dev/vg2/web1", NULL, 0},
		{"-blockdev", "host_device,node-name=f,filename=/dev/vg/web2",
		 "file,node-name=f,filename=/new/web2.img", NULL, 0},
		{"-blockdev",
		 "{'driver':'raw','file':{'filename':'/srv/web3.img','driver':'file'}}",
		 "{'driver':'raw','file':{'filename':\"/dev/vg/web3\",'driver':\"host_device\"}}",
		 NULL, 0},
		{"-drive", "format=raw,file=/srv/web3.img", "format=raw,file=/dev/vg/web3", NULL,
		 0},
		{"-blockdev",
		 "{ \"driver\":\"file\", \"filename\" :\"/srv/disk.img\",\"n\":[1, {}]}",
		 "{ \"driver\":\"file\", \"filename\" :\"/new/disk.img\",\"n\":[1, {}]}", NULL, 0},
		{"-blockdev",
		 "{'driver':'qcow2','file':{'driver':'file','filename':'/srv/it\\'s "
		 "\\u00221\".img'}, 'x':-1e5}",
		 "{'driver':'qcow2','file':{'driver':'file','filename':\"/new/it's "
		 "\\\"2\\\".img\"},"
		 " 'x':-1e5}",
		 NULL, 0},
	};

	for (size_t i = 0; i < COUNT_OF(ones); i++)
		check_one(&ones[i]);
}
END_TEST

START_TEST(images_that_stay_are_listed)
{
	static const struct one ones[] = {
		{"-drive", "if=pflash,unit=1,file=vars.fd", "if=pflash,unit=1,file=/run/vm/vars.fd",
		 "/run/vm/vars.fd", CLONE_FILE_WRITTEN},
		{"-drive", "if=pflash,readonly=on,file=/usr/fw.fd", NULL, "/usr/fw.fd",
		 CLONE_FILE_READ},
		{"-drive", "readonly,file=/usr/fw.fd", NULL, "/usr/fw.fd", CLONE_FILE_READ},
		{"-drive", "readonly=off,file=/usr/fw.fd", NULL, "/usr/fw.fd", CLONE_FILE_WRITTEN},
		{"-drive", "media=cdrom,file=/srv/iso/a.iso", "media=cdrom,file=/iso/a.iso",
		 "/iso/a.iso", CLONE_FILE_READ},
		{"-drive", "media=cdrom,file=json:{\"driver\":\"file\",,\"filename\":\"/a.iso\"}",
		 NULL, "/a.iso", CLONE_FILE_READ},
		{"-cdrom", "/srv/x.iso", "/data/x.iso", "/data/x.iso", CLONE_FILE_READ},
		{"-fda", "f,1.img", "/run/vm/f,1.img", "/run/vm/f,1.img", CLONE_FILE_WRITTEN},
		{"-pflash", "/a/vars", NULL, "/a/vars", CLONE_FILE_WRITTEN},
		{"-sd", "/a/sd", NULL, "/a/sd", CLONE_FILE_WRITTEN},
		{"-mtdblock", "/a/mtd", NULL, "/a/mtd", CLONE_FILE_WRITTEN},
		{"-blockdev", "driver=file,filename=/a/iso,read-only=on,node-name=i", NULL,
		 "/a/iso", CLONE_FILE_READ},
		{"-blockdev",
		 "{\"driver\":\"raw\",\"read-only\":true,\"file\":{\"driver\":\"file\","
		 "\"filename\":\"/a/iso\"}}",
		 NULL, "/a/iso", CLONE_FILE_READ},
		{"-blockdev",
		 "{\"driver\":\"raw\",\"b\":{\"read-only\":true},\"file\":{\"filename\":\"/a\"}}",
		 NULL, "/a", CLONE_FILE_WRITTEN},
		{"-drive", "file=/srv/same.img,backing.file.filename=base",
		 "file=/srv/same.img,backing.file.filename=/run/vm/base", "/run/vm/base",
		 CLONE_FILE_READ},
		{"-blockdev", "nbd,node-name=n,server.type=unix,server.path=/srv/s",
		 "nbd,node-name=n,server.type=unix,server.path=/data/s", "/data/s",
		 CLONE_FILE_CONNECTED},
	};

	for (size_t i = 0; i < COUNT_OF(ones); i++)
		check_one(&ones[i]);
}
END_TEST

START_TEST(paths_are_absolute_and_mapped)
{
	static const struct one ones[] = {
		{"-kernel", "vmlinuz", "/run/vm/vmlinuz", "/run/vm/vmlinuz", CLONE_FILE_READ},
		{"-initrd", "/srv/rd", "/data/rd", "/data/rd", CLONE_FILE_READ},
		{"-shim", "/a", NULL, "/a", CLONE_FILE_READ},
		{"-L", "/srv/fw", "/data/fw", "/data/fw", CLONE_FILE_READ},
		{"-readconfig", "c.cfg", "/run/vm/c.cfg", "/run/vm/c.cfg", CLONE_FILE_READ},
		{"-D", "log", "/run/vm/log", "/run/vm/log", CLONE_FILE_CREATED},
		{"-mem-path", "/dev/hugepages", NULL, "/dev/hugepages", CLONE_FILE_RAM},
		{"-trace", "qmp*,file=t", "qmp*,file=/run/vm/t", "/run/vm/t", CLONE_FILE_CREATED},
		{"-trace", "events=/srv/e", "events=/data/e", "/data/e", CLONE_FILE_READ},
		{"-plugin", "p.so,fd=1,path=q", "/run/vm/p.so,fd=1,path=q", "/run/vm/p.so",
		 CLONE_FILE_READ},
		{"-bios", "here.bin", "/run/vm/here.bin", "/run/vm/here.bin", CLONE_FILE_READ},
		{"-bios", "bios-256k.bin", NULL, NULL, 0},
		{"-k", "de", NULL, NULL, 0},
		{"-bios", "/usr/share/ovmf.fd", NULL, "/usr/share/ovmf.fd", CLONE_FILE_READ},
		{"-option-rom", "here.bin,bootindex=1", "/run/vm/here.bin,bootindex=1",
		 "/run/vm/here.bin", CLONE_FILE_READ},
		{"-device", "e1000,romfile=,netdev=n", NULL, NULL, 0},
		{"-device", "e1000,romfile=here.bin", "e1000,romfile=/run/vm/here.bin",
		 "/run/vm/here.bin", CLONE_FILE_READ},
		{"-device", "{\"driver\":\"e1000\",\"romfile\":\"/srv/r\"}",
		 "{\"driver\":\"e1000\",\"romfile\":\"/data/r\"}", "/data/r", CLONE_FILE_READ},
		{"-device", "loader,addr=1,file=x", "loader,addr=1,file=/run/vm/x", "/run/vm/x",
		 CLONE_FILE_READ},
		{"-global", "e1000.romfile=/srv/a,b", "e1000.romfile=/data/a,b", "/data/a,b",
		 CLONE_FILE_READ},
		{"-global", "driver=e1000,property=romfile,value=/srv/a,,b",
		 "driver=e1000,property=romfile,value=/data/a,,b", "/data/a,b", CLONE_FILE_READ},
		{"-global", "driver=cfi.pflash01,property=secure,value=on", NULL, NULL, 0},
		{"-set", "device.nic0.romfile=/srv/a,b", "device.nic0.romfile=/data/a,b",
		 "/data/a,b", CLONE_FILE_READ},
		{"-acpitable", "sig=X,file=/a:/a", NULL, "/a", CLONE_FILE_READ},
		{"-smbios", "file=/srv/s", "file=/data/s", "/data/s", CLONE_FILE_READ},
		{"-smbios", "type=11,path=s", "type=11,path=/run/vm/s", "/run/vm/s",
		 CLONE_FILE_READ},
		{"-fw_cfg", "opt/x,file=f", "opt/x,file=/run/vm/f", "/run/vm/f", CLONE_FILE_READ},
		{"-fw_cfg", "name=opt/x,string=/srv/fd=3", NULL, NULL, 0},
		{"-boot", "order=c,splash=/srv/a.bmp", "order=c,splash=/data/a.bmp", "/data/a.bmp",
		 CLONE_FILE_READ},
		{"-netdev", "tap,id=n,script=/srv/up", "tap,id=n,script=/data/up", "/data/up",
		 CLONE_FILE_READ},
		{"-netdev", "tap,id=n,script=no,downscript=no,ifname=t", NULL, "/sys/class/net/t",
		 CLONE_FILE_INTERFACE},
		{"-nic", "tap,script=,downscript=no,ifname=t", NULL, "/sys/class/net/t",
		 CLONE_FILE_INTERFACE},
		{"-netdev", "tap,id=n,script=no,downscript=no,ifname=t%d", NULL, NULL, 0},
		{"-netdev", "tap,id=n,script=no,downscript=no", NULL, NULL, 0},
		{"-netdev", "tap,id=n,script=/up,ifname=t", NULL, "/up", CLONE_FILE_READ},
		{"-netdev", "tap,id=n,downscript=no,ifname=t", NULL, "/etc/qemu-ifup",
		 CLONE_FILE_READ},
		{"-net", "tap,downscript=no", NULL, "/etc/qemu-ifup", CLONE_FILE_READ},
		{"-netdev", "tap,id=n,helper=/srv/h", "tap,id=n,helper=/data/h", "/data/h",
		 CLONE_FILE_READ},
		{"-nic", "bridge,helper=/usr/lib/h", NULL, "/usr/lib/h", CLONE_FILE_READ},
		{"-netdev", "user,id=n,tftp=/srv/t,hostfwd=tcp::22-:22",
		 "user,id=n,tftp=/data/t,hostfwd=tcp::22-:22", "/data/t", CLONE_FILE_READ},
		{"-object", "memory-backend-file,id=m,mem-path=/srv/m,share=on",
		 "memory-backend-file,id=m,mem-path=/data/m,share=on", "/data/m", CLONE_FILE_RAM},
		{"-object", "memory-backend-file,id=m,mem-path=/m,readonly=on", NULL, "/m",
		 CLONE_FILE_READ},
		{"-object", "{\"qom-type\":\"secret\",\"id\":\"s\",\"file\":\"k\"}",
		 "{\"qom-type\":\"secret\",\"id\":\"s\",\"file\":\"/run/vm/k\"}", "/run/vm/k",
		 CLONE_FILE_READ},
		{"-object", "secret,id=s,data=/srv/x,,y", NULL, NULL, 0},
		{"-object", "tls-creds-x509,id=t,dir=/srv/pki", "tls-creds-x509,id=t,dir=/data/pki",
		 "/data/pki", CLONE_FILE_READ},
		{"-object", "rng-random,id=r,filename=/dev/urandom", NULL, NULL, 0},
		{"-object", "filter-dump,id=f,netdev=n,file=d",
		 "filter-dump,id=f,netdev=n,"
		 "file=/run/vm/d",
		 "/run/vm/d", CLONE_FILE_CREATED},
		{"-spice", "port=1,x509-dir=/srv/p", "port=1,x509-dir=/data/p", "/data/p",
		 CLONE_FILE_READ},
		{"-audiodev", "wav,id=a,path=o.wav", "wav,id=a,path=/run/vm/o.wav", "/run/vm/o.wav",
		 CLONE_FILE_CREATED},
		{"-writeconfig", "/srv/w", "/data/w", "/data/w", CLONE_FILE_CREATED},
	};

	for (size_t i = 0; i < COUNT_OF(ones); i++)
		check_one(&ones[i]);
}
END_TEST

START_TEST(sockets_and_their_like)
{
	static const struct one ones[] = {
		{"-chardev", "socket,id=a,path=s,server=on,wait=off",
		 "socket,id=a,path=/run/vm/s,server=on,wait=off", "/run/vm/s", CLONE_FILE_CREATED},
		{"-chardev", "socket,id=a,path=/s,server,nowait", NULL, "/s", CLONE_FILE_CREATED},
		{"-chardev", "socket,id=a,path=/srv/virtiofsd", "socket,id=a,path=/data/virtiofsd",
		 "/data/virtiofsd", CLONE_FILE_CONNECTED},
		{"-chardev", "socket,id=a,path=s,abstract=on", NULL, NULL, 0},
		{"-chardev", "socket,id=a,host=h,port=1", NULL, NULL, 0},
		{"-chardev", "file,id=a,path=l,append=on", "file,id=a,path=/run/vm/l,append=on",
		 "/run/vm/l", CLONE_FILE_CREATED},
		{"-chardev", "pty,id=a,logfile=/srv/l", "pty,id=a,logfile=/data/l", "/data/l",
		 CLONE_FILE_CREATED},
		{"-chardev", "pipe,id=a,path=/srv/p", "pipe,id=a,path=/data/p", "/data/p",
		 CLONE_FILE_CREATED},
		{"-chardev", "spicevmc,id=a,name=/srv/x", NULL, NULL, 0},
		{"-serial", "unix:s,,1,server=on", "unix:/run/vm/s,,1,server=on,wait=off",
		 "/run/vm/s,1", CLONE_FILE_CREATED},
		{"-serial", "unix:/s", NULL, "/s", CLONE_FILE_CONNECTED},
		{"-serial", "file:l,1", "file:/run/vm/l,1", "/run/vm/l,1", CLONE_FILE_CREATED},
		{"-parallel", "pipe:/srv/p", "pipe:/data/p", "/data/p", CLONE_FILE_CREATED},
		{"-monitor", "mon:unix:m,server", "mon:unix:/run/vm/m,server,wait=off", "/run/vm/m",
		 CLONE_FILE_CREATED},
		{"-serial", "mon:stdio", NULL, NULL, 0},
		{"-serial", "none", NULL, NULL, 0},
		{"-serial", "/dev/null", NULL, NULL, 0},
		{"-monitor", "tcp:h:1,server=on,wait=off", NULL, NULL, 0},
		{"-serial", "telnet:h:1,server=on,logfile=l",
		 "telnet:h:1,server=on,logfile=/run/vm/l,wait=off", "/run/vm/l",
		 CLONE_FILE_CREATED},
		{"-qmp", "chardev:x", NULL, NULL, 0},
		{"-gdb", "tcp::1234", NULL, NULL, 0},
		{"-vnc", ":1,password=on", NULL, NULL, 0},
		{"-vnc", "unix:v,password=on", "unix:/run/vm/v,password=on", "/run/vm/v",
		 CLONE_FILE_CREATED},
		{"-display", "vnc=unix:v", "vnc=unix:/run/vm/v", "/run/vm/v", CLONE_FILE_CREATED},
		{"-spice", "unix=on,addr=s", "unix=on,addr=/run/vm/s", "/run/vm/s",
		 CLONE_FILE_CREATED},
		{"-spice", "port=1,addr=s", NULL, NULL, 0},
		{"-netdev", "stream,id=n,server=on,addr.type=unix,addr.path=s",
		 "stream,id=n,server=on,addr.type=unix,addr.path=/run/vm/s", "/run/vm/s",
		 CLONE_FILE_CREATED},
		{"-netdev",
		 "{\"type\":\"stream\",\"server\":false,\"addr\":{\"type\":\"unix\",\"path\":\"s\"}"
		 "}",
		 "{\"type\":\"stream\",\"server\":false,\"addr\":{\"type\":\"unix\",\"path\":"
		 "\"/run/vm/s\"}}",
		 "/run/vm/s", CLONE_FILE_CONNECTED},
		{"-netdev", "dgram,id=n,local.type=unix,local.path=s",
		 "dgram,id=n,local.type=unix,local.path=/run/vm/s", "/run/vm/s",
		 CLONE_FILE_CREATED},
	};

	for (size_t i = 0; i < COUNT_OF(ones); i++)
		check_one(&ones[i]);
}
END_TEST

/* QEMU would stand still at its start until somebody connects. */
START_TEST(sockets_do_not_wait)
{
	static const struct one ones[] = {
		{"-serial", "telnet::4444,server", "telnet::4444,server,wait=off", NULL, 0},
		{"-serial", "mon:tcp::1,server,wait", "mon:tcp::1,server,wait,wait=off", NULL, 0},
		{"-monitor", "unix:/m,server", "unix:/m,server,wait=off", "/m", CLONE_FILE_CREATED},
		{"-chardev", "socket,id=a,port=1,server=on,wait=on",
		 "socket,id=a,port=1,server=on,wait=on,wait=off", NULL, 0},
		{"-chardev", "socket,id=a,port=1,server=y,nowait=off",
		 "socket,id=a,port=1,server=y,nowait=off,wait=off", NULL, 0},
		{"-chardev", "socket,id=a,wait=on,port=1,server,nowait", NULL, NULL, 0},
		{"-serial", "websocket::1,server=on,wait=off", NULL, NULL, 0},
		{"-serial", "tcp:h:1,wait=on", NULL, NULL, 0},
		{"-serial", "tcp:h:1,server=off", NULL, NULL, 0},
		{"-netdev", "stream,id=n,server=on,addr.type=inet,addr.host=h", NULL, NULL, 0},
	};

	for (size_t i = 0; i < COUNT_OF(ones); i++)
		check_one(&ones[i]);
}
END_TEST

START_TEST(several_paths_in_one_argument)
{
	const char *const argv[] = {
		"qemu", "-M", machine_name, "-acpitable", "sig=A,data=/srv/a:b:/c", NULL};
	const char *const made[] = {
		"qemu", "-M", machine_name, "-acpitable", "sig=A,data=/data/a:/run/vm/b:/c", NULL};

	make(argv);
	no_problems();
	is_argv(made);
	ck_assert_uint_eq(clone.files_count, 3);
	ck_assert_str_eq(clone.files[0].src_path, "/srv/a");
	ck_assert_str_eq(clone.files[0].path, "/data/a");
	ck_assert_str_eq(clone.files[0].what, "-acpitable");
	ck_assert_str_eq(clone.files[1].src_path, "/run/vm/b");
	ck_assert_str_eq(clone.files[2].path, "/c");
	forget();
}
END_TEST

START_TEST(the_machine_is_the_one_that_runs)
{
	static const struct {
		const char *typed, *made;
	} types[] = {
		{"pc", "pc-i440fx-7.2"},
		{"type=q35,accel=kvm:tcg", "type=pc-i440fx-7.2,accel=kvm:tcg"},
		{"accel=kvm,type=pc,usb=off", "accel=kvm,type=pc-i440fx-7.2,usb=off"},
		{"pc,usb=off,kernel=/srv/k", "pc-i440fx-7.2,usb=off,kernel=/data/k"},
		{"pc-i440fx-7.2,usb=off", "pc-i440fx-7.2,usb=off"},
	};

	for (size_t i = 0; i < COUNT_OF(types); i++) {
		const char *const argv[] = {"qemu", "-machine", types[i].typed, NULL};
		const char *const made[] = {"qemu", "-machine", types[i].made, NULL};

		make(argv);
		no_problems();
		is_argv(made);
		ck_assert(clone.changed[2] == (strcmp(types[i].typed, types[i].made) != 0));
		forget();
	}
}
END_TEST

START_TEST(a_machine_that_was_not_named_is_added)
{
	const char *const argv[] = {"qemu", "-machine", "accel=tcg", "-m", "32", NULL};
	const char *const made[] = {"qemu", "-machine", "accel=tcg",     "-m",
				    "32",   "-machine", "pc-i440fx-7.2", NULL};
	struct clone_source src = source(argv);

	make(argv);
	no_problems();
	is_argv(made);
	forget();

	src.machine = "";
	clone_make(&src, &clone, &problems);
	no_problems();
	is_argv(argv);
	forget();
}
END_TEST

/* All but the program, which is @program, and what is always added. */
static void check_accelerator(const char *real, const char *const *typed, const char *const *made)
{
	const char *argv[16] = {"kvm", "-M", machine_name};
	const char *expected[16] = {"/usr/bin/qemu", "-M", machine_name};
	struct clone_source src = source(argv);

	for (size_t i = 0; typed[i]; i++)
		argv[3 + i] = typed[i];
	for (size_t i = 0; made[i]; i++)
		expected[3 + i] = made[i];
	src.program = expected[0];
	src.accelerator = real;
	src.names_accelerator = exists;
	clone_make(&src, &clone, &problems);
	no_problems();
	is_argv(expected);
	forget();
}

/* QEMU takes KVM by itself where it is called "kvm". */
START_TEST(the_accelerator_is_the_one_that_runs)
{
	static const struct {
		const char *real, *typed[6], *made[6];
	} ones[] = {
		{"kvm", {NULL}, {"-accel", "kvm"}},
		{"tcg", {NULL}, {"-accel", "tcg"}},
		{"", {NULL}, {NULL}},
		{"kvm", {"-enable-kvm"}, {"-enable-kvm"}},
		{"kvm", {"-accel", "kvm,thread=multi"}, {"-accel", "kvm,thread=multi"}},
		{"kvm", {"-accel", "tcg", "-accel", "accel=kvm"}, {"-accel", "accel=kvm"}},
		{"tcg", {"-accel", "kvm", "-accel", "tcg"}, {"-accel", "tcg"}},
		{"", {"-accel", "kvm", "-accel", "tcg"}, {"-accel", "kvm", "-accel", "tcg"}},
		{"xen", {"-accel", "xen", "-accel", "tcg"}, {"-accel", "xen", "-accel", "tcg"}},
		{"kvm", {"-machine", "accel=kvm:tcg"}, {"-machine", "accel=kvm"}},
		{"tcg", {"-machine", "accel=kvm:tcg,usb=off"}, {"-machine", "accel=tcg,usb=off"}},
		{"tcg", {"-machine", "accel=tcg"}, {"-machine", "accel=tcg"}},
		{"tcg", {"-machine", "accel=xen:tcg"}, {"-machine", "accel=xen:tcg"}},
		{"tcg", {"-readconfig", "/a.cfg"}, {"-readconfig", "/a.cfg", "-accel", "tcg"}},
		{"tcg", {"-readconfig", "here.bin"}, {"-readconfig", "/run/vm/here.bin"}},
	};

	for (size_t i = 0; i < COUNT_OF(ones); i++)
		check_accelerator(ones[i].real, ones[i].typed, ones[i].made);
}
END_TEST

START_TEST(the_program_is_the_one_that_runs)
{
	static const struct {
		const char *typed, *program, *made;
	} ones[] = {
		{"kvm", "/usr/bin/qemu", "/usr/bin/qemu"},
		{"/usr/bin/kvm", "/usr/bin/kvm", "/usr/bin/kvm"},
		{"/srv/bin/qemu", "/srv/bin/qemu", "/data/bin/qemu"},
		{"qemu", "/srv/bin/qemu", "/data/bin/qemu"},
		{"../qemu", "/srv/bin/qemu", "/data/bin/qemu"},
	};

	for (size_t i = 0; i < COUNT_OF(ones); i++) {
		const char *const argv[] = {ones[i].typed, "-M", machine_name, NULL};
		struct clone_source src = source(argv);

		src.program = ones[i].program;
		clone_make(&src, &clone, &problems);
		no_problems();
		ck_assert_str_eq(clone.argv[0], ones[i].made);
		ck_assert(clone.changed[0] == (strcmp(ones[i].typed, ones[i].made) != 0));
		ck_assert_uint_eq(clone.files_count, 1);
		ck_assert_str_eq(clone.files[0].path, ones[i].made);
		ck_assert_str_eq(clone.files[0].what, CLONE_PROGRAM);
		forget();
	}
}
END_TEST

START_TEST(states_to_begin_with_are_dropped)
{
	const char *const argv[] = {"qemu", "-M",      machine_name, "-incoming", "fd:7",
				    "-m",   "-loadvm", "--loadvm",   "snap",      NULL};
	const char *const made[] = {"qemu", "-M", machine_name, "-m", "-loadvm", NULL};

	make(argv);
	no_problems();
	is_argv(made);
	forget();
}
END_TEST

START_TEST(a_guest_that_waits_already_waits_once)
{
	const char *const argv[] = {"qemu", "-M", machine_name, "--S", NULL};
	const char *const made[] = {"qemu", "-M", machine_name, "--S", "-incoming", "defer"};

	make(argv);
	no_problems();
	ck_assert_uint_eq(clone.count, COUNT_OF(made));
	for (size_t i = 0; i < COUNT_OF(made); i++)
		ck_assert_str_eq(clone.argv[i], made[i]);
	forget();
}
END_TEST

START_TEST(daemons_are_told)
{
	const char *const argv[] = {"qemu",     "-M",     machine_name, "-daemonize", "-pidfile",
				    "/srv/pid", "-runas", "nobody",     NULL};
	const char *const made[] = {"qemu",      "-M",     machine_name, "-pidfile",
				    "/data/pid", "-runas", "nobody",     NULL};
	const char *const named[] = {"qemu", "-M", machine_name, "-name", "-daemonize", NULL};

	make(argv);
	no_problems();
	is_argv(made);
	ck_assert(clone.daemonize && clone.drops_user);
	ck_assert_str_eq(clone.pidfile, "/data/pid");
	ck_assert_uint_eq(clone.files_count, 1);
	ck_assert(clone.files[0].use == CLONE_FILE_CREATED);
	ck_assert_str_eq(clone.files[0].what, "-pidfile");
	forget();

	make(named);
	is_argv(named);
	ck_assert(!clone.daemonize && !clone.drops_user);
	ck_assert_ptr_null(clone.pidfile);
	forget();
}
END_TEST

START_TEST(users_are_told)
{
	static const struct {
		const char *option, *argument;
		bool drops;
	} ones[] = {
		{"-runas", "nobody", true},
		{"-run-with", "user=nobody", true},
		{"-run-with", "async-teardown=on", false},
		{"-name", "user=nobody", false},
		{"-name", "-runas", false},
	};

	for (size_t i = 0; i < COUNT_OF(ones); i++) {
		make((const char *const[]){"qemu", ones[i].option, ones[i].argument, NULL});
		no_problems();
		ck_assert_msg(clone.drops_user == ones[i].drops, "%s", ones[i].argument);
		forget();
	}
}
END_TEST

START_TEST(a_daemon_has_left_where_its_paths_begin)
{
	const char *const argv[] = {"qemu", "-kernel", "k", "-daemonize", NULL};
	struct clone_source src = source(argv);

	src.cwd = "/";
	clone_make(&src, &clone, &problems);
	ck_assert_uint_eq(problems.count, 1);
	ck_assert_has(problems.list[0], "-kernel k: a relative path, and it is not known where");
	forget();

	src.cwd = "/home";
	clone_make(&src, &clone, &problems);
	no_problems();
	ck_assert_str_eq(clone.argv[2], "/home/k");
	forget();
}
END_TEST

static bool leads_to_monitor(void *arg, const char *path)
{
	ck_assert_ptr_eq(arg, &machine_name);
	return strcmp(path, "/var/run/vm/q") == 0;
}

START_TEST(the_monitor_is_where_it_is_wanted)
{
	static const struct {
		const char *option, *typed, *made;
	} monitors[] = {
		{"-qmp", "unix:/run/vm/q,server=on,wait=off", "unix:/q2,server=on,wait=off"},
		{"-qmp-pretty", "unix:q,server,nowait", "unix:/q2,server,nowait"},
		{"-chardev", "socket,id=m,path=/run//vm/./q,server=on",
		 "socket,id=m,path=/q2,server=on,wait=off"},
		{"-qmp", "unix:/var/run/vm/q,server,nowait", "unix:/q2,server,nowait"},
	};

	for (size_t i = 0; i < COUNT_OF(monitors); i++) {
		const char *const argv[] = {
			"qemu", "-M", machine_name, monitors[i].option, monitors[i].typed, NULL};
		const char *const made[] = {
			"qemu", "-M", machine_name, monitors[i].option, monitors[i].made, NULL};
		struct clone_source src = source(argv);

		src.monitor = "/run/vm/q";
		src.dst_monitor = "/q2";
		src.is_monitor = leads_to_monitor;
		clone_make(&src, &clone, &problems);
		no_problems();
		is_argv(made);
		forget();
	}
}
END_TEST

START_TEST(a_monitor_that_is_not_found_is_a_problem)
{
	const char *argv[] = {"qemu", "-qmp", "unix:/var/run/q,server=on", NULL, NULL, NULL};
	struct clone_source src = source(argv);

	src.monitor = src.dst_monitor = "/run/vm/q";
	clone_make(&src, &clone, &problems);
	ck_assert_uint_eq(problems.count, 1);
	ck_assert_has(problems.list[0], "/run/vm/q is not on the source's command line");
	forget();

	argv[3] = "-readconfig";
	argv[4] = "/etc/vm.cfg";
	clone_make(&src, &clone, &problems);
	no_problems();
	forget();
}
END_TEST

START_TEST(what_cannot_be_repeated_is_refused_by_name)
{
	static const struct {
		const char *option, *argument, *words;
	} refused[] = {
		{"-add-fd", "fd=3,set=1", "-add-fd: a descriptor"},
		{"-netdev", "tap,id=n,fd=5", "-netdev fd=5: a descriptor"},
		{"-netdev", "tap,id=n,fds=5:6,vhost=on", "-netdev fds=5:6: a descriptor"},
		{"-netdev", "tap,id=n,vhostfd=5", "-netdev vhostfd=5: a descriptor"},
		{"-net", "tap,vhostfds=5:6", "-net vhostfds=5:6: a descriptor"},
		{"-netdev", "stream,id=n,addr.type=fd,addr.str=5", "-netdev addr.type=fd"},
		{"-netdev", "vhost-vdpa,id=n,vhostdev=/dev/v", "-netdev type=vhost-vdpa: a device"},
		{"-chardev", "socket,id=a,fd=7,server=on", "-chardev fd=7: a descriptor"},
		{"-chardev", "fd,id=a", "-chardev backend=fd: a descriptor"},
		{"-chardev", "serial,id=a,path=/dev/ttyS0", "-chardev backend=serial: a device"},
		{"-chardev", "tty,id=a,path=/dev/ttyS0", "-chardev backend=tty: a device"},
		{"-chardev", "parallel,id=a,path=/dev/parport0", "backend=parallel: a device"},
		{"-serial", "/dev/ttyS0", "-serial /dev/ttyS0: a device"},
		{"-serial", "unix:/a,fd=3", "-serial fd=3: a descriptor"},
		{"-drive", "file=/dev/fdset/2", "-drive /dev/fdset/2: a descriptor"},
		{"-kernel", "/proc/self/fd/3", "-kernel /proc/self/fd/3: a descriptor"},
		{"-drive", "file=/srv/disk.img,snapshot=on", "-drive snapshot=on: what the guest"},
		{"-drive", "file=/srv/disk.img,snapshot", "-drive snapshot: what the guest"},
		{"-drive", "file=/dev/cdrom,media=cdrom", "-drive /dev/cdrom: a CD-ROM drive"},
		{"-cdrom", "/dev/sr0", "-cdrom /dev/sr0: a CD-ROM drive"},
		{"-cdrom", "host_cdrom:/dev/x", "-cdrom host_cdrom:/dev/x: a CD-ROM drive"},
		{"-drive", "format=host_cdrom,file=/x", "-drive format=host_cdrom: a device"},
		{"-drive", "file=/dev/vg/other", "say so with --map /dev/vg/other=/dev/vg/other"},
		{"-drive", "file.driver=nvme,file.device=0", "-drive file.driver=nvme: a device"},
		{"-drive", "file=nvme://0000:00:01.0/1", "-drive nvme://0000:00:01.0/1: a device"},
		{"-drive", "file=fat:rw:/srv/x", "-drive fat:rw:/srv/x: QEMU does not migrate"},
		{"-drive", "file=nbd:unix:/s", "-drive nbd:unix:/s: write it as -blockdev nbd"},
		{"-drive", "file=json:{", "-drive: the JSON of its image cannot be read"},
		{"-blockdev", "{\"driver\":\"file\"", "-blockdev: its JSON cannot be read"},
		{"-blockdev", "host_device,node-name=a,filename=/dev/x", "-blockdev /dev/x: a dev"},
		{"-blockdev", "{\"driver\":\"raw\",\"file\":{\"driver\":\"host_cdrom\"}}",
		 "-blockdev file.driver=host_cdrom: a device"},
		{"-blockdev", "vvfat,node-name=v,dir=/x", "-blockdev driver=vvfat: QEMU does not"},
		{"-device", "vfio-pci,host=01:00.0", "-device driver=vfio-pci: a device"},
		{"-device", "{\"driver\":\"usb-host\"}", "-device driver=usb-host: a device"},
		{"-device", "scsi-block,drive=d", "-device driver=scsi-block: a device"},
		{"-device", "scsi-generic,drive=d", "-device driver=scsi-generic: a device"},
		{"-device", "virtio-net,vhostfd=1", "-device vhostfd=1: a descriptor"},
		{"-device", "usb-mtp,rootdir=/x", "-device driver=usb-mtp: QEMU does not"},
		{"-object", "input-linux,id=i,evdev=/x", "-object qom-type=input-linux: a device"},
		{"-tpmdev", "passthrough,id=t", "-tpmdev type=passthrough: a device"},
		{"-fsdev", "local,id=f,path=/x", "-fsdev: QEMU does not migrate"},
		{"--virtfs", "local,path=/x,mount_tag=t", "-virtfs: QEMU does not migrate"},
		{"-chroot", "/x", "-chroot: paths mean something else"},
		{"-run-with", "chroot=/x", "-run-with chroot=/x: paths mean something else"},
		{"-run-with", "exit-with-parent=on", "-run-with exit-with-parent=on: whoever"},
		{"-icount", "1,rr=record,rrfile=r", "-icount rr=record: a recorded guest"},
		{"-dump-vmstate", "/x", "-dump-vmstate: QEMU ends at once"},
		{"-set", "chardev.c.path=/x", "-set chardev.c.path=/x: not known what it sets"},
		{"-set", "drive.c.snapshot=on", "-set drive.c.snapshot=on: what the guest writes"},
		{"-frobnicate", "x", "-frobnicate: no option that is known here"},
		{"-snapshot", NULL, "-snapshot: what the guest writes"},
		{"--preconfig", NULL, "-preconfig: what was set over QMP"},
		{"-version", NULL, "-version: QEMU ends at once"},
		{"-m", NULL, "-m: has no argument"},
	};

	for (size_t i = 0; i < COUNT_OF(refused); i++) {
		const char *const argv[] = {"qemu", refused[i].option, refused[i].argument, NULL};

		make(argv);
		ck_assert_msg(problems.count == 1, "%s %s: %zu problems", refused[i].option,
			      refused[i].argument, problems.count);
		ck_assert_has(problems.list[0], refused[i].words);
		ck_assert_has(problems.list[0], "--start");
		forget();
	}
}
END_TEST

START_TEST(all_objections_are_told_together)
{
	make((const char *const[]){"qemu", "-snapshot", "-add-fd", "fd=3,set=1", "-netdev",
				   "tap,id=n,fd=3,vhostfd=4", NULL});
	ck_assert_uint_eq(problems.count, 4);
	forget();
}
END_TEST

START_TEST(a_device_that_both_hosts_have_is_said_so)
{
	const char *const argv[] = {"qemu", "-drive", "file=/dev/vg/shared", NULL};
	const char *const same[] = {"/dev/vg/shared=/dev/vg/shared", NULL};
	struct clone_source src = source(argv);

	src.maps = same;
	clone_make(&src, &clone, &problems);
	no_problems();
	ck_assert_str_eq(clone.argv[2], argv[2]);
	ck_assert_uint_eq(clone.files_count, 1);
	ck_assert(clone.files[0].use == CLONE_FILE_WRITTEN);
	forget();
}
END_TEST

START_TEST(the_program_and_the_disk_image_without_an_option)
{
	make((const char *const[]){"./qemu", "disk.img", "/a/other", NULL});
	no_problems();
	ck_assert_str_eq(clone.argv[0], "/run/vm/./qemu");
	ck_assert(clone.changed[0]);
	ck_assert_str_eq(clone.argv[1], "/new/disk.img");
	ck_assert_str_eq(clone.argv[2], "/a/other");
	ck_assert_uint_eq(clone.files_count, 2);
	ck_assert_str_eq(clone.files[0].what, "the program");
	ck_assert_str_eq(clone.files[1].what, "the disk image");
	forget();
}
END_TEST

START_TEST(a_file_is_listed_once)
{
	make((const char *const[]){"qemu", "-cdrom", "/a.iso", "-drive", "media=cdrom,file=/a.iso",
				   "-hda", "/a.iso", NULL});
	no_problems();
	ck_assert_uint_eq(clone.files_count, 2);
	forget();
}
END_TEST

/* A command line with which nothing is wrong, as tests/system/guest.py and others write it. */
static const char *const plain[] = {
	"/usr/bin/qemu-system-x86_64",
	"-name",
	"vm1, \"quoted\" 'n' new\nline \xc3\xa4\xff",
	"-machine",
	machine_name,
	"-accel",
	"kvm",
	"-cpu",
	"host,-arch-capabilities",
	"-smp",
	"2,sockets=1",
	"-m",
	"32",
	"-nodefaults",
	"-display",
	"none",
	"-vga",
	"none",
	"-no-user-config",
	"-uuid",
	"3d0f3c30-0a3f-4d2f-9d3a-d5b0b7c1f001",
	"-chardev",
	"socket,id=qmp,path=/guests/vm1/qmp.sock,server=on,wait=off",
	"-mon",
	"chardev=qmp,mode=control",
	"-chardev",
	"file,id=beat,path=/guests/vm1/beat.log,append=on",
	"-device",
	"isa-debugcon,iobase=0xe9,chardev=beat",
	"-device",
	"virtio-scsi-pci,id=scsi0",
	"-blockdev",
	"file,node-name=disk0-file,cache.direct=on,discard=unmap,filename=/guests/vm1/disk0.img",
	"-blockdev",
	"raw,node-name=disk0,cache.direct=on,discard=unmap,file=disk0-file",
	"-device",
	"virtio-blk-pci,id=dev0,drive=disk0",
	"-drive",
	"if=none,id=disk1,format=qcow2,cache=none,discard=unmap,file=/guests/vm1/disk1.img",
	"-device",
	"scsi-hd,bus=scsi0.0,scsi-id=0,id=dev1,drive=disk1",
	"-drive",
	"if=none,id=cd,media=cdrom,readonly=on",
	"-device",
	"ide-cd,bus=ide.1,unit=1,drive=cd",
	"-drive",
	"if=none,id=floppy,format=raw,file=/guests/vm1/floppy.img",
	"-bios",
	"/guests/vm1/guest.bin",
	"-sandbox",
	"on,obsolete=deny,elevateprivileges=deny,spawn=deny",
	"-rtc",
	"base=utc",
	"-append",
	"console=ttyS0 fd=3 root=/dev/vda1,x",
	NULL};

START_TEST(what_need_not_change_does_not)
{
	const char *const files[] = {
		"/usr/bin/qemu-system-x86_64", "/guests/vm1/qmp.sock",  "/guests/vm1/beat.log",
		"/guests/vm1/disk0.img",       "/guests/vm1/disk1.img", "/guests/vm1/floppy.img",
		"/guests/vm1/guest.bin",
	};

	make(plain);
	no_problems();
	is_argv(plain);
	for (size_t i = 0; plain[i]; i++)
		ck_assert(!clone.changed[i]);
	ck_assert_uint_eq(clone.files_count, COUNT_OF(files));
	for (size_t i = 0; i < COUNT_OF(files); i++)
		ck_assert_str_eq(clone.files[i].path, files[i]);
	forget();
}
END_TEST

/* Numbers that are the same in each run. */
static unsigned next(unsigned *seed)
{
	*seed = *seed * 1103515245 + 12345;
	return *seed >> 16;
}

static char *any_text(unsigned *seed)
{
	static const char *const parts[] = {",",  "\"", "'",  "\n", " ",  "=", "\\",
					    "{",  "}",  ":",  "a",  "fd", "/", "\xc3\xa4",
					    "$x", ".",  "\t", "%s", "[",  ",,"};
	struct buf b = {0};

	buf_add(&b, "", 0);
	for (unsigned n = next(seed) % 12; n; n--) {
		const char *part = parts[next(seed) % COUNT_OF(parts)];

		buf_add(&b, part, strlen(part));
	}
	return b.data;
}

static char *doubled(const char *s)
{
	struct buf b = {0};

	buf_add(&b, "", 0);
	for (; *s; s++)
		buf_add(&b, *s == ',' ? ",," : s, *s == ',' ? 2 : 1);
	return b.data;
}

START_TEST(any_value_survives)
{
	unsigned seed = 1;

	for (int i = 0; i < 4000; i++) {
		_autofree_ char *id = any_text(&seed);
		_autofree_ char *dir = any_text(&seed);
		_autofree_ char *path = str_printf("/srv/%s", dir);
		_autofree_ char *new_path = str_printf("/data/%s", dir);
		_autofree_ char *id2 = doubled(id);
		_autofree_ char *path2 = doubled(path);
		_autofree_ char *new2 = doubled(new_path);
		_autofree_ char *idj = clone_json_quote(id);
		_autofree_ char *pathj = clone_json_quote(path);
		_autofree_ char *newj = clone_json_quote(new_path);
		_autofree_ char *keys = str_printf("secret,id=%s,file=%s,x=%s", id2, path2, id2);
		_autofree_ char *keys_made =
			str_printf("secret,id=%s,file=%s,x=%s", id2, new2, id2);
		_autofree_ char *json =
			str_printf("{\"qom-type\": 'secret', %s:[%s],\"file\" :%s,\"x\": %s}", idj,
				   idj, pathj, idj);
		_autofree_ char *json_made =
			str_printf("{\"qom-type\": 'secret', %s:[%s],\"file\" :%s,\"x\": %s}", idj,
				   idj, newj, idj);
		const char *const argv[] = {"qemu",    "-M", machine_name, "-object", keys,
					    "-object", json, "-name",      id,        NULL};
		const char *const made[] = {"qemu",    "-M",      machine_name, "-object",
					    keys_made, "-object", json_made,    "-name",
					    id,        NULL};

		if (strcmp(id, "fd") == 0)
			continue; /* refused, as a key */
		make(argv);
		no_problems();
		is_argv(made);
		forget();
	}
}
END_TEST

START_TEST(any_text_is_read_without_harm)
{
	unsigned seed = 7;

	for (int i = 0; i < 4000; i++) {
		static const char *const options[] = {
			"-drive",   "-blockdev", "-object", "-chardev", "-serial",   "-device",
			"-machine", "-global",   "-set",    "-hda",     "-acpitable"};
		_autofree_ char *text = any_text(&seed);
		_autofree_ char *json = str_printf("{%s", text);
		_autofree_ char *image = str_printf("json:{\"a\":%s", text);
		const char *option = options[next(&seed) % COUNT_OF(options)];

		make((const char *const[]){"qemu", option, text, option, json, option, image,
					   NULL});
		ck_assert_ptr_null(clone.argv[clone.count]);
		forget();
	}
}
END_TEST

START_TEST(json_is_read_as_qemu_reads_it)
{
	static const struct {
		const char *text, *value; /* of "a.0"; NULL: cannot be read */
	} texts[] = {
		{"{\"a\":[\"x\\u00e4\\ud83d\\ude00\\n\"]}", "x\xc3\xa4\xf0\x9f\x98\x80\n"},
		{"{'a':['\\'\"']} ", "'\""},
		{"{\"a\":[\"\\u20AC\\u007f\\/\"]}", "\xe2\x82\xac\x7f/"},
		{"{\"a\" : [ 18446744073709551615 , null ] }", "18446744073709551615"},
		{"{\"a\":[\"\\u0000\"]}", NULL},
		{"{\"a\":[\"\\ud83d\"]}", NULL},
		{"{\"a\":[\"\\udc00\"]}", NULL},
		{"{\"a\":[\"\\x\"]}", NULL},
		{"{\"a\":[\"x]}", NULL},
		{"{\"a\":[]} x", NULL},
		{"{\"a\":}", NULL},
		{"{\"a\" 1}", NULL},
		{"{a:1}", NULL},
		{"{\"a\":[\"\\", NULL},
		{"{", NULL},
	};
	char deep[400] = "{\"a\":";

	memset(deep + 5, '[', 300);
	for (size_t i = 0; i < COUNT_OF(texts); i++) {
		struct clone_words words;
		bool good = clone_words_parse(&words, texts[i].text, NULL);

		ck_assert_msg(good == (texts[i].value != NULL), "%s", texts[i].text);
		if (good)
			ck_assert_str_eq(clone_words_get(&words, "a.0"), texts[i].value);
		ck_assert(clone_words_join(&words) == NULL);
		clone_words_deinit(&words);
		ck_assert(!clone_words_parse(&words, deep, NULL));
		clone_words_deinit(&words);
	}
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		images_are_where_they_move_to,
		images_that_stay_are_listed,
		paths_are_absolute_and_mapped,
		sockets_and_their_like,
		sockets_do_not_wait,
		several_paths_in_one_argument,
		the_machine_is_the_one_that_runs,
		a_machine_that_was_not_named_is_added,
		the_accelerator_is_the_one_that_runs,
		the_program_is_the_one_that_runs,
		states_to_begin_with_are_dropped,
		a_guest_that_waits_already_waits_once,
		daemons_are_told,
		users_are_told,
		a_daemon_has_left_where_its_paths_begin,
		the_monitor_is_where_it_is_wanted,
		a_monitor_that_is_not_found_is_a_problem,
		what_cannot_be_repeated_is_refused_by_name,
		all_objections_are_told_together,
		a_device_that_both_hosts_have_is_said_so,
		the_program_and_the_disk_image_without_an_option,
		a_file_is_listed_once,
		what_need_not_change_does_not,
		any_value_survives,
		any_text_is_read_without_harm,
		json_is_read_as_qemu_reads_it,
	};

	return unit_run("clone_argv", tests, COUNT_OF(tests));
}
