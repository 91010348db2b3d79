/* A QEMU in the foreground has the terminal or the display of whoever started it, and nobody's over
 * there. A stdout that nobody reads does no harm: writing to it fails at once, and what the guest
 * says is lost (see guard.c). Without a display QEMU does not start. */
#include "base/str.h"
#include "migrate/look.h"
#include "qmp/console.h"

static bool needs_screen(const char *display)
{
	static const char *const displays[] = {"gtk", "sdl", "cocoa", "curses", "spice-app"};

	for (size_t i = 0; i < sizeof(displays) / sizeof(displays[0]); i++)
		if (str_eq(display, displays[i]))
			return true;
	return false;
}

void look_at_console(struct migration *m)
{
	struct qmp_console console;
	struct err err;

	if (qmp_console_query(m->src.qmp, &console, &err) < 0) {
		problems_add(&m->problems, "%s", err.text);
		return;
	}
	if (needs_screen(console.display))
		problems_add(&m->problems,
			     "source: its QEMU shows the guest on the screen of whoever started it "
			     "(-display %s), and there is none on %s; start one there with another "
			     "display, as -vnc or -display none (--start)",
			     console.display, m->dst.name);
	if (console.stdio[0])
		migration_note(m,
			       "%s is the terminal that the source was started in (stdio, or "
			       "-nographic), and there is none on %s: what the guest or QEMU says "
			       "there is lost, and nobody can type; to keep it, start a QEMU there "
			       "that has a socket for it (--start)",
			       console.stdio, m->dst.name);
}
