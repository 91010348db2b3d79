/* The destination's QEMU command line, made out of the source's.
 *
 * Nothing is looked at and nothing is run: what has to be over there is listed for someone
 * who can look. An argument in which nothing is to be changed is passed on as it is; of one
 * in which something is, all the rest stays byte for byte. */
#ifndef VMFERRY_MIGRATE_CLONE_ARGV_H
#define VMFERRY_MIGRATE_CLONE_ARGV_H

#include <stdbool.h>
#include <stddef.h>

#include "migrate/problems.h"

/* All borrowed. */
struct clone_source {
	const char *const *argv; /* the source's, with its program's name; NULL at the end */
	const char *program;     /* the file that runs, absolute; NULL: what argv[0] names */
	const char *cwd;         /* where the source was started, absolute; NULL: not known, then
				  * relative paths are refused. A "/" is taken for not known when
				  * there is a -daemonize: QEMU goes there then */
	const char *machine;     /* what really runs, "pc-i440fx-7.2": /machine's QOM type
				  * without "-machine"; NULL or "": not known, nothing pinned */
	const char *accelerator; /* what it really runs under, "kvm" or "tcg"; NULL or "": not
				  * known, nothing pinned */
	const char *const *maps; /* SRCPREFIX=DSTPREFIX; NULL-terminated, NULL: none */
	const char *monitor;     /* path of the source's QMP socket; NULL: it does not matter */
	const char *dst_monitor; /* where it is to be over there */

	/* Where the image @path (absolute, as QEMU names it) goes. NULL: it is none that
	 * moves. May be NULL itself: none does. The result is borrowed. */
	const char *(*disk_path)(void *arg, const char *path);

	/* Whether @path (absolute) is a file here. Asked for names that QEMU looks up in its
	 * own directories when it does not find them in its working directory
	 * (-bios bios.bin), and for the script that it runs unasked. May be NULL: then there
	 * are none. */
	bool (*exists)(void *arg, const char *path);

	/* Whether @path (absolute) is the same file as @monitor, though written in another way, as
	 * through a link. May be NULL: none is. */
	bool (*is_monitor)(void *arg, const char *path);

	/* Whether the configuration file @path (absolute) names an accelerator. May be NULL: none
	 * does. */
	bool (*names_accelerator)(void *arg, const char *path);
	void *arg; /* of all */
};

enum clone_use {
	CLONE_FILE_READ,      /* has to be there: firmware, a kernel, a CD-ROM's image, a script,
			       * a key, a directory */
	CLONE_FILE_CONNECTED, /* has to be there: a socket that QEMU connects to */
	CLONE_FILE_WRITTEN,   /* has to be there: an image that does not move and is not said to
			       * be read-only (a pflash variable store, a floppy) */
	CLONE_FILE_CREATED,   /* its directory has to be there (a log, a socket, a pid file);
			       * where it is a directory here, it has to be one there */
	CLONE_FILE_INTERFACE, /* has to be there: a network interface, of /sys/class/net */
	CLONE_FILE_RAM,       /* a file may not be there yet, and is made in a directory that has to
			       * be; a directory or a device has to be there, as it is here */
};

#define CLONE_PROGRAM "the program"

struct clone_file {
	char *path;     /* over there, absolute */
	char *src_path; /* here, absolute */
	enum clone_use use;
	const char *what; /* for words: "-drive", CLONE_PROGRAM; static */
};

struct clone {
	char **argv;   /* NULL at the end */
	bool *changed; /* of each argument: it is not one of the source's */
	size_t count;
	struct clone_file *files; /* in the order of the arguments, each once */
	size_t files_count;
	bool daemonize;  /* the source went to the background by itself; the clone is not to */
	bool drops_user; /* it is started as root and becomes another user by itself (-runas) */
	char *pidfile;   /* over there; NULL: it writes none */
};

/* Makes @clone, to be given back to clone_deinit(). What cannot be repeated over there goes
 * to @problems, each with its option's name; when anything was added to these, the command
 * line is not to be run. */
void clone_make(const struct clone_source *src, struct clone *clone, struct problems *problems);
void clone_deinit(struct clone *clone);

#endif
