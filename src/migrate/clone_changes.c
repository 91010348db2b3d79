/* Devices that were plugged in since get a -device, with the options of their backends; those that
 * were unplugged lose theirs, and the others keep the places that QEMU has chosen; images and
 * media become those that are open now. So the QEMU over there is right from its beginning:
 * nothing has to be changed in it afterwards, nothing to be taken back when that fails, and all
 * that cannot be done is known before anything was. (An -incoming QEMU takes device_add, but the
 * device_del of a PCI device waits for the guest, which does not run there.)
 *
 * Whether it became what the source is, is not believed: the two QEMUs are compared before a byte
 * is copied, as always (look_devices.c, look_machine.c).
 */
#include "migrate/clone_changes.h"

#include <stdlib.h>

#include "base/str.h"

void changing_refuse(struct changing *c, const char *what, const char *why)
{
	problems_add(&c->m->problems,
		     "%s: %s; --clone cannot repeat that: start a QEMU over there that has it, "
		     "with --start",
		     what, why);
}

char **clone_changed_argv(struct migration *m)
{
	struct changing c = {.m = m};
	char **argv = NULL;
	struct err err;

	clone_line_parse(&c.line, (const char *const *)m->process.argv);
	if (qmp_changes_query(m->src.qmp, &c.changes, &err) < 0 ||
	    clone_change_devices(&c, &err) < 0) {
		problems_add(&m->problems, "%s", err.text);
	} else {
		clone_change_images(&c);
		argv = clone_line_argv(&c.line);
	}
	qmp_changes_deinit(&c.changes);
	clone_line_deinit(&c.line);
	return argv;
}
