/* What QEMU's command line can have, from 5.2 to 11.1, and what a clone does with it. */
#ifndef VMFERRY_MIGRATE_CLONE_OPTIONS_H
#define VMFERRY_MIGRATE_CLONE_OPTIONS_H

#include <stdbool.h>

/* What is done with a value. */
enum clone_rule {
	CLONE_KEEP,
	CLONE_REFUSE,
	CLONE_READ,       /* a path: it has to be there */
	CLONE_CREATE,     /* a path that QEMU makes: a log, a socket it listens on */
	CLONE_CONNECT,    /* a socket's path: somebody has to listen there */
	CLONE_SOCKET,     /* a socket's path: made if "server" is on, else as CLONE_CONNECT */
	CLONE_SPICE,      /* an address, with "unix" on a socket's path */
	CLONE_VNC,        /* a display, or "unix:PATH" */
	CLONE_RAM,        /* a file or directory for RAM, made if it is not there */
	CLONE_FIRMWARE,   /* a file's name that QEMU looks up in its own directories too */
	CLONE_SCRIPT,     /* a program's path, or "no" */
	CLONE_INTERFACE,  /* a tap's name: without a "script" it has to be there */
	CLONE_LIST,       /* paths with colons between them */
	CLONE_IMAGE,      /* an image as -drive has it: a path, "json:{...}", "nbd://..." */
	CLONE_IMAGE_FILE, /* an image's path, and nothing else */
	CLONE_CHARDEV,    /* "unix:PATH,server=on", "file:PATH", "stdio" */
	CLONE_RULES,
};

/* What is done with an option. */
enum clone_how {
	CLONE_AS_IS,
	CLONE_DROPPED,
	CLONE_REFUSED,
	CLONE_PAUSED,   /* -S */
	CLONE_DAEMON,   /* -daemonize: dropped, whoever starts it has it in the background */
	CLONE_USER,     /* -runas */
	CLONE_PIDFILE,  /* -pidfile */
	CLONE_ARGUMENT, /* its argument is one value */
	CLONE_KEYS,     /* its argument has keys, each with a rule of its own */
	CLONE_MACHINE,  /* as CLONE_KEYS, and the type becomes the real one */
	CLONE_SETTING,  /* -set group.id.key=value */
	CLONE_DEFAULT,  /* -global driver.property=value */
	CLONE_ACCEL,    /* as CLONE_KEYS, and dropped if it is not the real one */
	CLONE_KVM,      /* -enable-kvm */
	CLONE_HOWS,
};

struct clone_option {
	const char *name; /* with its dash */
	bool has_argument;
	enum clone_how how;
	enum clone_rule rule; /* of CLONE_ARGUMENT */
	const char *group;    /* of CLONE_KEYS: whose rules its keys have */
	const char *implied;  /* of CLONE_KEYS: the key of a first value without one, or NULL */
	const char *why;      /* of CLONE_REFUSED */
};

/* The option that @arg ("-drive", "--drive") is; NULL: no QEMU known here has it. */
const struct clone_option *clone_option_find(const char *arg);

struct clone_key {
	const char *group; /* NULL: all */
	const char *type;  /* of device, backend or driver; "vfio-*" is a prefix; NULL: all */
	const char *key;   /* this one; of blockdev and of all groups also the end of a longer one,
			    * behind a dot; "": all */
	const char *value; /* "on" is whatever QEMU takes for it; NULL: all */
	enum clone_rule rule;
	const char *why; /* of CLONE_REFUSE */
};

/* What is done with @key=@value; CLONE_KEEP's when nothing is. @type and @value may be NULL. */
const struct clone_key *clone_key_find(const char *group, const char *type, const char *key,
				       const char *value);

#endif
