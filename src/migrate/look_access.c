/* Whether the source's QEMU may still open the images it has open. One that has become another
 * user since its start (-runas) may not, and then it is the move that kills the guest: when a
 * mirror ends, QEMU opens a -drive's image anew, for other access, and takes it for impossible
 * that this fails ("Unexpected error in qemu_open_internal()", then abort(); seen on 7.2).
 *
 * Asked only where the answer is surely QEMU's own: in our mount namespace, without capabilities
 * that open everything.
 */
#include <sys/stat.h>
#include <unistd.h>

#include "base/str.h"
#include "migrate/look.h"

#define CAP_DAC_OVERRIDE_BIT 1

/* It sees the files that we see, under the same names. */
static bool sees_our_files(pid_t pid)
{
	_autofree_ char *path = str_printf("/proc/%d/ns/mnt", (int)pid);
	_autofree_ char *root = str_printf("/proc/%d/root/.", (int)pid);
	struct stat a, b;

	return stat(path, &a) == 0 && stat("/proc/self/ns/mnt", &b) == 0 && a.st_ino == b.st_ino &&
	       stat(root, &a) == 0 && stat("/", &b) == 0 && a.st_dev == b.st_dev &&
	       a.st_ino == b.st_ino;
}

/* 0 when @user may read and write @path, 1 when not; else it cannot be told. */
static int ask(struct migration *m, const struct source_user *user, const char *path)
{
	_autofree_ char *word = str_shell_quote(path);
	_autofree_ char *command = str_printf(
		"setpriv --reuid %u --regid %u %s%s -- sh -c '[ -r \"$1\" ] && [ -w \"$1\" ]' sh "
		"%s",
		user->uid, user->gid, user->groups[0] ? "--groups " : "--clear-groups",
		user->groups, word);
	struct process_output output = {0};
	int ret = host_command(m->here, command, m->opt->timeouts.answer_ms, &output, NULL);

	process_output_deinit(&output);
	return ret < 0 ? -1 : output.status;
}

void look_at_access(struct migration *m)
{
	struct source_user user;

	if (!m->src_pid || geteuid() != 0 || source_user_read(&user, m->src_pid) < 0 ||
	    user.uid == 0 || (user.capabilities >> CAP_DAC_OVERRIDE_BIT & 1) ||
	    !sees_our_files(m->src_pid))
		return;
	for (size_t i = 0; i < m->disks.count; i++) {
		const struct disk *disk = &m->disks.list[i];

		if (disk->src_path && ask(m, &user, disk->src_path) == 1)
			problems_add(&m->problems,
				     "disk %s: the source's QEMU runs as user %u now, who may not "
				     "open %s any more; QEMU does that when a mirror ends, and "
				     "would end of it: let that user read and write it (chown)",
				     disk->name, user.uid, disk->src_path);
	}
}
