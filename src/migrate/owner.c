/* What is made over there has the owner and the group of the source's file, if the login may give
 * it to them, being root. Names count, for the same user or group has another number on another
 * host; the number does where nobody has that name there.
 *
 * A file's label of SELinux is its directory's, which the kernel sees to: it is made in its final
 * directory, and keeps the label when it gets its final name. restorecon(8) is not run on it: it
 * would put what the policy says of the path in place of what was set for that directory.
 */
#include "migrate/owner.h"

#include <grp.h>
#include <inttypes.h>
#include <pwd.h>
#include <stdio.h>

#include "base/str.h"

/* Prints "no", or the numbers over there. */
static char *command_for(uint32_t uid, uint32_t gid)
{
	const struct passwd *user = getpwuid(uid);
	const struct group *group = getgrgid(gid);
	_autofree_ char *user_word = str_shell_quote(user ? user->pw_name : "");
	_autofree_ char *group_word = str_shell_quote(group ? group->gr_name : "");

	return str_printf(
		"[ \"$(id -u)\" = 0 ] || { echo no; exit 0; }; "
		"u=%s; [ -n \"$u\" ] && u=$(id -u \"$u\" 2>/dev/null) || u=%" PRIu32 "; "
		"g=%s; [ -z \"$g\" ] || g=$(getent group \"$g\" 2>/dev/null | cut -d: -f3); "
		"echo \"$u ${g:-%" PRIu32 "}\"",
		user_word, uid, group_word, gid);
}

static int look_up(struct migration *m, uint32_t uid, uint32_t gid, struct err *err)
{
	struct owner *owner = &m->owner;
	_autofree_ char *command = NULL;
	struct process_output output = {0};
	int ret;

	if (owner->known && owner->src_uid == uid && owner->src_gid == gid)
		return 0;
	command = command_for(uid, gid);
	ret = host_command_ok(m->host, command, m->opt->timeouts.answer_ms, &output, err);
	owner->known = ret == 0;
	owner->src_uid = uid;
	owner->src_gid = gid;
	owner->may = output.out.data &&
		     sscanf(output.out.data, "%" SCNu32 " %" SCNu32, &owner->uid, &owner->gid) == 2;
	process_output_deinit(&output);
	return ret;
}

/* Root of one host need not be root of the file system, as on NFS. */
static void tell(struct migration *m, const struct err *why)
{
	if (!m->owner.told)
		migration_note(m,
			       "%s; it stays the login's, see that the QEMU over there can open it",
			       why->text);
	m->owner.told = true;
}

int owner_give(struct migration *m, struct host_file *file, uint32_t uid, uint32_t gid,
	       struct err *err)
{
	bool for_its_qemu = m->opt->clone && m->as_other_user; /* see clone_user_give() */

	if (for_its_qemu || uid == FILE_OWNER_UNKNOWN || gid == FILE_OWNER_UNKNOWN)
		return 0;
	if (look_up(m, uid, gid, err) < 0)
		return -1;
	if (!m->owner.may || host_file_give(m->host, file, m->owner.uid, m->owner.gid, err) == 0)
		return 0;
	if (err->kind != ERR_FAILED)
		return -1;
	tell(m, err);
	return 0;
}
