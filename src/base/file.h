/* What there is to know of a file, on this host or on another. */
#ifndef VMFERRY_BASE_FILE_H
#define VMFERRY_BASE_FILE_H

#include <stdint.h>

enum file_kind {
	FILE_ABSENT, /* nothing of that name, in a directory that exists */
	FILE_REGULAR,
	FILE_DIRECTORY,
	FILE_BLOCK_DEVICE,
	FILE_OTHER, /* socket, fifo, character device */
};

struct file_info {
	enum file_kind kind;
	uint64_t size_bytes;
	uint32_t mode;     /* permission bits only */
	uint32_t uid, gid; /* FILE_OWNER_UNKNOWN: not told */
};

#define FILE_OWNER_UNKNOWN UINT32_MAX

/* The identity of a file: equal in all three fields means the same file. */
struct file_id {
	char boot_id[40]; /* of the host, /proc/sys/kernel/random/boot_id */
	uint64_t device;
	uint64_t inode;
};

#endif
