/* The options are those that qemu-system-x86_64 of 5.2, 7.2, 10.0 and 11.1 take, and whether
 * they have an argument is what these said when asked. None changed that from one to the
 * next. What nobody here has heard of is refused: whether it has an argument cannot be told,
 * nor what it does. */
#include "migrate/clone_options.h"

#include <stddef.h>
#include <string.h>

#include "base/str.h"
#include "migrate/clone_words.h"

static const char descriptor[] = "a descriptor of whoever started it";
static const char host_device[] = "a device of this host, which does not move";
static const char throw_away[] = "what the guest writes would be thrown away at its end";
static const char ends[] = "QEMU ends at once with it";
static const char folder[] = "QEMU does not migrate a guest that has mounted a folder of its host";
static const char prison[] = "paths mean something else inside than outside";

static const struct clone_option options[] = {
	/* clang-format off */
	{"-D",               true,  CLONE_ARGUMENT, CLONE_CREATE, NULL, NULL, NULL},
	{"-L",               true,  CLONE_ARGUMENT, CLONE_READ, NULL, NULL, NULL},
	{"-M",               true,  CLONE_MACHINE,  CLONE_KEEP, "machine", "type", NULL},
	{"-S",               false, CLONE_PAUSED,   CLONE_KEEP, NULL, NULL, NULL},
	{"-accel",           true,  CLONE_ACCEL,    CLONE_KEEP, "accel", "accel", NULL},
	{"-acpitable",       true,  CLONE_KEYS,     CLONE_KEEP, "acpitable", NULL, NULL},
	{"-action",          true,  CLONE_AS_IS,    CLONE_KEEP, NULL, NULL, NULL},
	{"-add-fd",          true,  CLONE_REFUSED,  CLONE_KEEP, NULL, NULL, descriptor},
	{"-alt-grab",        false, CLONE_AS_IS,    CLONE_KEEP, NULL, NULL, NULL},
	{"-append",          true,  CLONE_AS_IS,    CLONE_KEEP, NULL, NULL, NULL},
	{"-async-teardown",  false, CLONE_AS_IS,    CLONE_KEEP, NULL, NULL, NULL},
	{"-audio",           true,  CLONE_KEYS,     CLONE_KEEP, "audiodev", "driver", NULL},
	{"-audio-help",      false, CLONE_REFUSED,  CLONE_KEEP, NULL, NULL, ends},
	{"-audiodev",        true,  CLONE_KEYS,     CLONE_KEEP, "audiodev", "driver", NULL},
	{"-bios",            true,  CLONE_ARGUMENT, CLONE_FIRMWARE, NULL, NULL, NULL},
	{"-blockdev",        true,  CLONE_KEYS,     CLONE_KEEP, "blockdev", "driver", NULL},
	{"-boot",            true,  CLONE_KEYS,     CLONE_KEEP, "boot", "order", NULL},
	{"-cdrom",           true,  CLONE_ARGUMENT, CLONE_IMAGE, NULL, NULL, NULL},
	{"-chardev",         true,  CLONE_KEYS,     CLONE_KEEP, "chardev", "backend", NULL},
	{"-chroot",          true,  CLONE_REFUSED,  CLONE_KEEP, NULL, NULL, prison},
	{"-compat",          true,  CLONE_AS_IS,    CLONE_KEEP, NULL, NULL, NULL},
	{"-cpu",             true,  CLONE_AS_IS,    CLONE_KEEP, NULL, NULL, NULL},
	{"-ctrl-grab",       false, CLONE_AS_IS,    CLONE_KEEP, NULL, NULL, NULL},
	{"-curses",          false, CLONE_AS_IS,    CLONE_KEEP, NULL, NULL, NULL},
	{"-d",               true,  CLONE_AS_IS,    CLONE_KEEP, NULL, NULL, NULL},
	{"-daemonize",       false, CLONE_DAEMON,   CLONE_KEEP, NULL, NULL, NULL},
	{"-debugcon",        true,  CLONE_ARGUMENT, CLONE_CHARDEV, NULL, NULL, NULL},
	{"-device",          true,  CLONE_KEYS,     CLONE_KEEP, "device", "driver", NULL},
	{"-dfilter",         true,  CLONE_AS_IS,    CLONE_KEEP, NULL, NULL, NULL},
	{"-display",         true,  CLONE_KEYS,     CLONE_KEEP, "display", "type", NULL},
	{"-drive",           true,  CLONE_KEYS,     CLONE_KEEP, "drive", NULL, NULL},
	{"-dtb",             true,  CLONE_ARGUMENT, CLONE_FIRMWARE, NULL, NULL, NULL},
	{"-dump-vmstate",    true,  CLONE_REFUSED,  CLONE_KEEP, NULL, NULL, ends},
	{"-echr",            true,  CLONE_AS_IS,    CLONE_KEEP, NULL, NULL, NULL},
	{"-enable-fips",     false, CLONE_AS_IS,    CLONE_KEEP, NULL, NULL, NULL},
	{"-enable-kvm",      false, CLONE_KVM,      CLONE_KEEP, NULL, NULL, NULL},
	{"-enable-sync-profile", false, CLONE_AS_IS, CLONE_KEEP, NULL, NULL, NULL},
	{"-fda",             true,  CLONE_ARGUMENT, CLONE_IMAGE, NULL, NULL, NULL},
	{"-fdb",             true,  CLONE_ARGUMENT, CLONE_IMAGE, NULL, NULL, NULL},
	{"-fsdev",           true,  CLONE_REFUSED,  CLONE_KEEP, NULL, NULL, folder},
	{"-full-screen",     false, CLONE_AS_IS,    CLONE_KEEP, NULL, NULL, NULL},
	{"-fw_cfg",          true,  CLONE_KEYS,     CLONE_KEEP, "fw_cfg", "name", NULL},
	{"-g",               true,  CLONE_AS_IS,    CLONE_KEEP, NULL, NULL, NULL},
	{"-gdb",             true,  CLONE_ARGUMENT, CLONE_CHARDEV, NULL, NULL, NULL},
	{"-global",          true,  CLONE_DEFAULT,  CLONE_KEEP, NULL, NULL, NULL},
	{"-h",               false, CLONE_REFUSED,  CLONE_KEEP, NULL, NULL, ends},
	{"-hda",             true,  CLONE_ARGUMENT, CLONE_IMAGE, NULL, NULL, NULL},
	{"-hdb",             true,  CLONE_ARGUMENT, CLONE_IMAGE, NULL, NULL, NULL},
	{"-hdc",             true,  CLONE_ARGUMENT, CLONE_IMAGE, NULL, NULL, NULL},
	{"-hdd",             true,  CLONE_ARGUMENT, CLONE_IMAGE, NULL, NULL, NULL},
	{"-help",            false, CLONE_REFUSED,  CLONE_KEEP, NULL, NULL, ends},
	{"-icount",          true,  CLONE_KEYS,     CLONE_KEEP, "icount", "shift", NULL},
	/* The source's own incoming migration is over; the clone's comes at the end. */
	{"-incoming",        true,  CLONE_DROPPED,  CLONE_KEEP, NULL, NULL, NULL},
	{"-initrd",          true,  CLONE_ARGUMENT, CLONE_READ, NULL, NULL, NULL},
	{"-iscsi",           true,  CLONE_AS_IS,    CLONE_KEEP, NULL, NULL, NULL},
	{"-jitdump",         false, CLONE_AS_IS,    CLONE_KEEP, NULL, NULL, NULL},
	{"-k",               true,  CLONE_ARGUMENT, CLONE_FIRMWARE, NULL, NULL, NULL},
	{"-kernel",          true,  CLONE_ARGUMENT, CLONE_READ, NULL, NULL, NULL},
	/* A state to begin with: what comes in by migration takes its place. */
	{"-loadvm",          true,  CLONE_DROPPED,  CLONE_KEEP, NULL, NULL, NULL},
	{"-m",               true,  CLONE_AS_IS,    CLONE_KEEP, NULL, NULL, NULL},
	{"-machine",         true,  CLONE_MACHINE,  CLONE_KEEP, "machine", "type", NULL},
	{"-mem-path",        true,  CLONE_ARGUMENT, CLONE_RAM, NULL, NULL, NULL},
	{"-mem-prealloc",    false, CLONE_AS_IS,    CLONE_KEEP, NULL, NULL, NULL},
	{"-mon",             true,  CLONE_AS_IS,    CLONE_KEEP, NULL, NULL, NULL},
	{"-monitor",         true,  CLONE_ARGUMENT, CLONE_CHARDEV, NULL, NULL, NULL},
	{"-msg",             true,  CLONE_AS_IS,    CLONE_KEEP, NULL, NULL, NULL},
	{"-mtdblock",        true,  CLONE_ARGUMENT, CLONE_IMAGE, NULL, NULL, NULL},
	{"-name",            true,  CLONE_AS_IS,    CLONE_KEEP, NULL, NULL, NULL},
	{"-net",             true,  CLONE_KEYS,     CLONE_KEEP, "netdev", "type", NULL},
	{"-netdev",          true,  CLONE_KEYS,     CLONE_KEEP, "netdev", "type", NULL},
	{"-nic",             true,  CLONE_KEYS,     CLONE_KEEP, "netdev", "type", NULL},
	{"-no-acpi",         false, CLONE_AS_IS,    CLONE_KEEP, NULL, NULL, NULL},
	{"-no-fd-bootchk",   false, CLONE_AS_IS,    CLONE_KEEP, NULL, NULL, NULL},
	{"-no-hpet",         false, CLONE_AS_IS,    CLONE_KEEP, NULL, NULL, NULL},
	{"-no-quit",         false, CLONE_AS_IS,    CLONE_KEEP, NULL, NULL, NULL},
	{"-no-reboot",       false, CLONE_AS_IS,    CLONE_KEEP, NULL, NULL, NULL},
	{"-no-shutdown",     false, CLONE_AS_IS,    CLONE_KEEP, NULL, NULL, NULL},
	{"-no-user-config",  false, CLONE_AS_IS,    CLONE_KEEP, NULL, NULL, NULL},
	{"-nodefaults",      false, CLONE_AS_IS,    CLONE_KEEP, NULL, NULL, NULL},
	{"-nographic",       false, CLONE_AS_IS,    CLONE_KEEP, NULL, NULL, NULL},
	{"-numa",            true,  CLONE_AS_IS,    CLONE_KEEP, NULL, NULL, NULL},
	{"-object",          true,  CLONE_KEYS,     CLONE_KEEP, "object", "qom-type", NULL},
	{"-old-param",       false, CLONE_AS_IS,    CLONE_KEEP, NULL, NULL, NULL},
	{"-only-migratable", false, CLONE_AS_IS,    CLONE_KEEP, NULL, NULL, NULL},
	{"-option-rom",      true,  CLONE_KEYS,     CLONE_KEEP, "device", "romfile", NULL},
	{"-overcommit",      true,  CLONE_AS_IS,    CLONE_KEEP, NULL, NULL, NULL},
	{"-parallel",        true,  CLONE_ARGUMENT, CLONE_CHARDEV, NULL, NULL, NULL},
	{"-perfmap",         false, CLONE_AS_IS,    CLONE_KEEP, NULL, NULL, NULL},
	{"-pflash",          true,  CLONE_ARGUMENT, CLONE_IMAGE, NULL, NULL, NULL},
	{"-pidfile",         true,  CLONE_PIDFILE,  CLONE_KEEP, NULL, NULL, NULL},
	{"-plugin",          true,  CLONE_KEYS,     CLONE_KEEP, "plugin", "file", NULL},
	{"-portrait",        false, CLONE_AS_IS,    CLONE_KEEP, NULL, NULL, NULL},
	{"-preconfig",       false, CLONE_REFUSED,  CLONE_KEEP, NULL, NULL,
	 "what was set over QMP before the machine was made is not on the command line"},
	{"-prom-env",        true,  CLONE_AS_IS,    CLONE_KEEP, NULL, NULL, NULL},
	{"-qmp",             true,  CLONE_ARGUMENT, CLONE_CHARDEV, NULL, NULL, NULL},
	{"-qmp-pretty",      true,  CLONE_ARGUMENT, CLONE_CHARDEV, NULL, NULL, NULL},
	{"-qtest",           true,  CLONE_ARGUMENT, CLONE_CHARDEV, NULL, NULL, NULL},
	{"-qtest-log",       true,  CLONE_AS_IS,    CLONE_KEEP, NULL, NULL, NULL},
	{"-readconfig",      true,  CLONE_ARGUMENT, CLONE_READ, NULL, NULL, NULL},
	{"-realtime",        true,  CLONE_AS_IS,    CLONE_KEEP, NULL, NULL, NULL},
	{"-rotate",          true,  CLONE_AS_IS,    CLONE_KEEP, NULL, NULL, NULL},
	{"-rtc",             true,  CLONE_AS_IS,    CLONE_KEEP, NULL, NULL, NULL},
	{"-run-with",        true,  CLONE_KEYS,     CLONE_KEEP, "run-with", NULL, NULL},
	{"-runas",           true,  CLONE_USER,     CLONE_KEEP, NULL, NULL, NULL},
	{"-s",               false, CLONE_AS_IS,    CLONE_KEEP, NULL, NULL, NULL},
	{"-sandbox",         true,  CLONE_AS_IS,    CLONE_KEEP, NULL, NULL, NULL},
	{"-sd",              true,  CLONE_ARGUMENT, CLONE_IMAGE, NULL, NULL, NULL},
	{"-sdl",             false, CLONE_AS_IS,    CLONE_KEEP, NULL, NULL, NULL},
	{"-seed",            true,  CLONE_AS_IS,    CLONE_KEEP, NULL, NULL, NULL},
	{"-semihosting",     false, CLONE_AS_IS,    CLONE_KEEP, NULL, NULL, NULL},
	{"-semihosting-config", true, CLONE_AS_IS,  CLONE_KEEP, NULL, NULL, NULL},
	{"-serial",          true,  CLONE_ARGUMENT, CLONE_CHARDEV, NULL, NULL, NULL},
	{"-set",             true,  CLONE_SETTING,  CLONE_KEEP, NULL, NULL, NULL},
	{"-shim",            true,  CLONE_ARGUMENT, CLONE_READ, NULL, NULL, NULL},
	{"-show-cursor",     false, CLONE_AS_IS,    CLONE_KEEP, NULL, NULL, NULL},
	{"-singlestep",      false, CLONE_AS_IS,    CLONE_KEEP, NULL, NULL, NULL},
	{"-smbios",          true,  CLONE_KEYS,     CLONE_KEEP, "smbios", NULL, NULL},
	{"-smp",             true,  CLONE_AS_IS,    CLONE_KEEP, NULL, NULL, NULL},
	{"-snapshot",        false, CLONE_REFUSED,  CLONE_KEEP, NULL, NULL, throw_away},
	{"-soundhw",         true,  CLONE_AS_IS,    CLONE_KEEP, NULL, NULL, NULL},
	{"-spice",           true,  CLONE_KEYS,     CLONE_KEEP, "spice", NULL, NULL},
	{"-tb-size",         true,  CLONE_AS_IS,    CLONE_KEEP, NULL, NULL, NULL},
	{"-tpmdev",          true,  CLONE_KEYS,     CLONE_KEEP, "tpmdev", "type", NULL},
	{"-trace",           true,  CLONE_KEYS,     CLONE_KEEP, "trace", "enable", NULL},
	{"-usb",             false, CLONE_AS_IS,    CLONE_KEEP, NULL, NULL, NULL},
	{"-usbdevice",       true,  CLONE_AS_IS,    CLONE_KEEP, NULL, NULL, NULL},
	{"-uuid",            true,  CLONE_AS_IS,    CLONE_KEEP, NULL, NULL, NULL},
	{"-version",         false, CLONE_REFUSED,  CLONE_KEEP, NULL, NULL, ends},
	{"-vga",             true,  CLONE_AS_IS,    CLONE_KEEP, NULL, NULL, NULL},
	{"-virtfs",          true,  CLONE_REFUSED,  CLONE_KEEP, NULL, NULL, folder},
	{"-vnc",             true,  CLONE_KEYS,     CLONE_KEEP, "vnc", "vnc", NULL},
	{"-watchdog",        true,  CLONE_AS_IS,    CLONE_KEEP, NULL, NULL, NULL},
	{"-watchdog-action", true,  CLONE_AS_IS,    CLONE_KEEP, NULL, NULL, NULL},
	{"-win2k-hack",      false, CLONE_AS_IS,    CLONE_KEEP, NULL, NULL, NULL},
	{"-writeconfig",     true,  CLONE_ARGUMENT, CLONE_CREATE, NULL, NULL, NULL},
	{"-xen-attach",      false, CLONE_AS_IS,    CLONE_KEEP, NULL, NULL, NULL},
	{"-xen-domid",       true,  CLONE_AS_IS,    CLONE_KEEP, NULL, NULL, NULL},
	{"-xen-domid-restrict", false, CLONE_AS_IS, CLONE_KEEP, NULL, NULL, NULL},
	/* clang-format on */
};

/* The first that fits counts. */
static const struct clone_key keys[] = {
	/* clang-format off */
	{"plugin",  NULL, "file",    NULL, CLONE_READ, NULL},
	{"plugin",  NULL, "",        NULL, CLONE_KEEP, NULL},
	{"fw_cfg",  NULL, "file",    NULL, CLONE_READ, NULL},
	{"fw_cfg",  NULL, "",        NULL, CLONE_KEEP, NULL},

	{NULL, NULL, "fd",           NULL, CLONE_REFUSE, descriptor},
	{NULL, NULL, "fds",          NULL, CLONE_REFUSE, descriptor},
	{NULL, NULL, "vhostfd",      NULL, CLONE_REFUSE, descriptor},
	{NULL, NULL, "vhostfds",     NULL, CLONE_REFUSE, descriptor},
	{NULL, NULL, "sock_fd",      NULL, CLONE_REFUSE, descriptor},
	{NULL, NULL, "sock-fds",     NULL, CLONE_REFUSE, descriptor},
	{NULL, NULL, "type",         "fd", CLONE_REFUSE, descriptor},
	{"chardev", NULL, "backend", "fd", CLONE_REFUSE, descriptor},

	{"drive",    NULL, "snapshot", "on",                CLONE_REFUSE, throw_away},
	{"drive",    NULL, "file",     NULL,                CLONE_IMAGE, NULL},
	{"drive",    NULL, "format",   "host_cdrom",        CLONE_REFUSE, host_device},
	{"drive",    NULL, "format",   "vvfat",             CLONE_REFUSE, folder},

	{"device", NULL, "driver", "vfio-*",              CLONE_REFUSE, host_device},
	{"device", NULL, "driver", "vhost-vdpa-*",        CLONE_REFUSE, host_device},
	{"device", NULL, "driver", "usb-host",            CLONE_REFUSE, host_device},
	{"device", NULL, "driver", "scsi-block",          CLONE_REFUSE, host_device},
	{"device", NULL, "driver", "scsi-generic",        CLONE_REFUSE, host_device},
	{"device", NULL, "driver", "u2f-passthru",        CLONE_REFUSE, host_device},
	{"device", NULL, "driver", "ccid-card-emulated",  CLONE_REFUSE, host_device},
	{"device", NULL, "driver", "xen-pci-passthrough", CLONE_REFUSE, host_device},
	{"device", NULL, "driver", "usb-mtp",             CLONE_REFUSE, folder},
	{"device", NULL, "romfile",       NULL, CLONE_FIRMWARE, NULL},
	{"device", "loader",       "file",        NULL, CLONE_READ, NULL},
	{"device", "guest-loader", "kernel",      NULL, CLONE_READ, NULL},
	{"device", "guest-loader", "initrd",      NULL, CLONE_READ, NULL},
	{"device", "ipmi-bmc-sim", "sdrfile",     NULL, CLONE_READ, NULL},
	{"device", "ipmi-bmc-sim", "frudatafile", NULL, CLONE_READ, NULL},
	{"device", "u2f-emulated", "dir",         NULL, CLONE_READ, NULL},

	{"chardev", NULL, "backend", "serial",   CLONE_REFUSE, host_device},
	{"chardev", NULL, "backend", "tty",      CLONE_REFUSE, host_device},
	{"chardev", NULL, "backend", "parallel", CLONE_REFUSE, host_device},
	{"chardev", NULL, "backend", "parport",  CLONE_REFUSE, host_device},
	{"chardev", NULL,     "logfile",    NULL, CLONE_CREATE, NULL},
	{"chardev", "socket", "path",       NULL, CLONE_SOCKET, NULL},
	{"chardev", "file",   "path",       NULL, CLONE_CREATE, NULL},
	{"chardev", "file",   "input-path", NULL, CLONE_READ, NULL},
	/* PATH, or PATH.in and PATH.out: only QEMU over there can tell whether they are. */
	{"chardev", "pipe",   "path",       NULL, CLONE_CREATE, NULL},
	{"chardev", "pty",    "path",       NULL, CLONE_CREATE, NULL},

	{"object", "memory-backend-file", "mem-path", NULL, CLONE_RAM, NULL},
	{"object", "input-linux",       "qom-type", NULL, CLONE_REFUSE, host_device},
	{"object", "secret",            "file",     NULL, CLONE_READ, NULL},
	{"object", "tls-creds-*",       "dir",      NULL, CLONE_READ, NULL},
	{"object", "rng-random",        "filename", NULL, CLONE_READ, NULL},
	{"object", "authz-list-file",   "filename", NULL, CLONE_READ, NULL},
	{"object", "pr-manager-helper", "path",     NULL, CLONE_CONNECT, NULL},
	{"object", "filter-dump",       "file",     NULL, CLONE_CREATE, NULL},
	{"object", "igvm-cfg",          "file",     NULL, CLONE_READ, NULL},
	{"object", "sev*",              "dh-cert-file", NULL, CLONE_READ, NULL},
	{"object", "sev*",              "session-file", NULL, CLONE_READ, NULL},

	{"netdev", "vhost-vdpa", "type",       NULL, CLONE_REFUSE, host_device},
	{"netdev", "tap",    "ifname",      NULL, CLONE_INTERFACE, NULL},
	{"netdev", "tap",    "script",      NULL, CLONE_SCRIPT, NULL},
	{"netdev", "tap",    "downscript",  NULL, CLONE_SCRIPT, NULL},
	{"netdev", NULL,     "helper",      NULL, CLONE_SCRIPT, NULL},
	{"netdev", "vde",    "sock",        NULL, CLONE_CONNECT, NULL},
	{"netdev", "user",   "smb",         NULL, CLONE_READ, NULL},
	{"netdev", "user",   "tftp",        NULL, CLONE_READ, NULL},
	{"netdev", "stream", "addr.path",   NULL, CLONE_SOCKET, NULL},
	{"netdev", "dgram",  "local.path",  NULL, CLONE_CREATE, NULL},
	{"netdev", "dgram",  "remote.path", NULL, CLONE_CONNECT, NULL},

	{"accel",     NULL,  "device",   NULL, CLONE_READ, NULL},
	{"acpitable", NULL,  "file",     NULL, CLONE_LIST, NULL},
	{"acpitable", NULL,  "data",     NULL, CLONE_LIST, NULL},
	{"audiodev",  "wav", "path",     NULL, CLONE_CREATE, NULL},
	{"boot",      NULL,  "splash",   NULL, CLONE_FIRMWARE, NULL},
	{"display",   NULL,  "vnc",      NULL, CLONE_VNC, NULL},
	{"display",   NULL,  "rendernode", NULL, CLONE_READ, NULL},
	{"icount",    NULL,  "rr",       NULL, CLONE_REFUSE, "a recorded guest cannot be moved"},
	{"machine",   NULL,  "kernel",   NULL, CLONE_READ, NULL},
	{"machine",   NULL,  "initrd",   NULL, CLONE_READ, NULL},
	{"machine",   NULL,  "shim",     NULL, CLONE_READ, NULL},
	{"machine",   NULL,  "dtb",      NULL, CLONE_FIRMWARE, NULL},
	{"machine",   NULL,  "firmware", NULL, CLONE_FIRMWARE, NULL},
	{"run-with",  NULL,  "chroot",   NULL, CLONE_REFUSE, prison},
	{"run-with",  NULL,  "exit-with-parent", "on", CLONE_REFUSE,
	 "whoever starts it over there ends before it"},
	{"smbios",    NULL,  "file",     NULL, CLONE_READ, NULL},
	{"smbios",    NULL,  "path",     NULL, CLONE_READ, NULL},
	{"spice",     NULL,  "addr",     NULL, CLONE_SPICE, NULL},
	{"spice",     NULL,  "x509-dir",         NULL, CLONE_READ, NULL},
	{"spice",     NULL,  "x509-key-file",    NULL, CLONE_READ, NULL},
	{"spice",     NULL,  "x509-cert-file",   NULL, CLONE_READ, NULL},
	{"spice",     NULL,  "x509-cacert-file", NULL, CLONE_READ, NULL},
	{"spice",     NULL,  "x509-dh-key-file", NULL, CLONE_READ, NULL},
	{"spice",     NULL,  "rendernode",       NULL, CLONE_READ, NULL},
	{"tpmdev",    "passthrough", "type",     NULL, CLONE_REFUSE, host_device},
	{"trace",     NULL,  "events",   NULL, CLONE_READ, NULL},
	{"trace",     NULL,  "file",     NULL, CLONE_CREATE, NULL},
	{"vnc",       NULL,  "vnc",      NULL, CLONE_VNC, NULL},

	/* The nodes of -blockdev; those of -drive and "json:" have the same keys. */
	{"blockdev", NULL, "driver",   "host_cdrom",    CLONE_REFUSE, host_device},
	{"blockdev", NULL, "driver",   "nvme",          CLONE_REFUSE, host_device},
	{"blockdev", NULL, "driver",   "nvme-io_uring", CLONE_REFUSE, host_device},
	{"blockdev", NULL, "driver",   "virtio-blk-*",  CLONE_REFUSE, host_device},
	{"blockdev", NULL, "driver",   "vvfat",         CLONE_REFUSE, folder},
	{"blockdev", NULL, "filename", NULL,            CLONE_IMAGE_FILE, NULL},
	{"blockdev", NULL, "server.path", NULL,         CLONE_CONNECT, NULL},
	{"blockdev", NULL, "conf",     NULL,            CLONE_READ, NULL},
	/* clang-format on */
};

static const struct clone_key kept = {NULL, NULL, "", NULL, CLONE_KEEP, NULL};

const struct clone_option *clone_option_find(const char *arg)
{
	if (str_starts(arg, "--"))
		arg++;
	for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++)
		if (str_eq(options[i].name, arg))
			return &options[i];
	return NULL;
}

/* @pattern: NULL for all, or with a star at its end for a beginning. */
static bool fits(const char *pattern, const char *s)
{
	size_t len = pattern ? strlen(pattern) : 0;

	if (!len || !s)
		return !len;
	return pattern[len - 1] == '*' ? strncmp(pattern, s, len - 1) == 0 : str_eq(pattern, s);
}

static bool fits_value(const char *pattern, const char *value)
{
	return str_eq(pattern, "on") ? clone_words_is_on(value) : fits(pattern, value);
}

/* Nodes are nested, and so are the keys of those options that have nodes or addresses. */
static bool fits_key(const struct clone_key *row, const char *key)
{
	size_t len = strlen(row->key), key_len = strlen(key);
	bool nested = !row->group || str_eq(row->group, "blockdev");

	return !len || str_eq(row->key, key) ||
	       (nested && key_len > len && key[key_len - len - 1] == '.' &&
		str_eq(row->key, key + key_len - len));
}

const struct clone_key *clone_key_find(const char *group, const char *type, const char *key,
				       const char *value)
{
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
		if ((!keys[i].group || str_eq(keys[i].group, group)) && fits(keys[i].type, type) &&
		    fits_key(&keys[i], key) && fits_value(keys[i].value, value))
			return &keys[i];
	return str_eq(group, "drive") ? clone_key_find("blockdev", NULL, key, value) : &kept;
}
