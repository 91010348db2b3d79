#include "cli/words.h"

#include <inttypes.h>

#include "base/str.h"

/* How the guest is called in a sentence: its name, else its monitor. */
static const char *guest_of(const struct migration *m)
{
	if (m->guest.name[0])
		return m->guest.name;
	return m->opt->source ? m->opt->source : m->opt->dst.socket;
}

/* By hand, what comes next: after a phase that went well, and after one that did not. Of begin
 * and prepare nothing is left then, and there is no cookie. */
static const struct {
	const char *done, *failed;
} next[] = {
	[PHASE_BEGIN] = {"can be moved; give the cookie to `vmferry prepare` on the destination",
			 "nothing was changed"},
	[PHASE_PREPARE] = {"is expected here; give the cookie to `vmferry perform` on the source",
			   "undone, the guest is on the source as before"},
	[PHASE_PERFORM] = {"was handed over and is stopped; give the cookie to `vmferry finish` on "
			   "the destination at once",
			   "undone here, the guest is on the source as before; the cookie lets "
			   "`vmferry finish` take the preparation back"},
	[PHASE_FINISH] = {"is here; give the cookie to `vmferry confirm` on the source",
			  "the cookie lets `vmferry confirm` take the guest back"},
	[PHASE_CONFIRM] = {"was moved", "taken back, the guest is on the source as before"},
};

static char *done_by_hand(const struct migration *m)
{
	return str_printf("%s: %s %s", phase_name(m->phase), guest_of(m), next[m->phase].done);
}

static char *recovered(const struct migration *m)
{
	if (m->outcome == RECORD_MOVED)
		return str_printf("recovered: %s is on %s", guest_of(m), m->dst.name);
	if (m->src_postmigrate)
		return str_printf("recovered: undone, but %s, which was paused, is \"postmigrate\" "
				  "on the source now: let it run there (`cont`) before the next "
				  "move",
				  guest_of(m));
	return str_printf("recovered: undone, %s is on the source as before", guest_of(m));
}

char *words_done(const struct migration *m, int64_t elapsed_ms)
{
	double seconds = (double)elapsed_ms / 1000;

	if (m->resumed)
		return recovered(m);
	if (m->by_hand)
		return done_by_hand(m);
	if (!m->switched)
		return NULL;
	if (!m->was_running)
		return str_printf("done: %s is on %s, paused as it was; the move took %.1f s",
				  guest_of(m), m->dst.name, seconds);
	return str_printf("done: %s runs on %s; it was stopped for %" PRId64
			  " ms, the move took %.1f s",
			  guest_of(m), m->dst.name, m->resumed_ms - m->stopped_ms, seconds);
}

static char *refused(const struct migration *m, const struct err *err)
{
	if (!m->problems.count)
		return str_printf("%s: %s; nothing was changed", guest_of(m), err->text);
	return str_printf("%s: refused, nothing was changed (%zu objection%s)", guest_of(m),
			  m->problems.count, m->problems.count == 1 ? "" : "s");
}

/* Where the guest is, when what it came from was undone. */
static const char *state_of(const struct migration *m)
{
	if (m->migrating || m->source_lost || (m->source_silent && !m->by_hand))
		return "whether the guest runs on the source was not seen";
	if (m->by_hand && m->phase == PHASE_FINISH && !m->gave)
		return "the guest was not run here, and there is no cookie";
	if (m->by_hand && m->phase == PHASE_PERFORM && !m->gave)
		return "undone here, the guest is on the source as before, and there is no cookie";
	if (m->src_postmigrate)
		return "undone, but the guest, which was paused, is \"postmigrate\" on the source "
		       "now: let it run there (`cont`) before the next move";
	return m->by_hand ? next[m->phase].failed : "undone, the guest is on the source as before";
}

char *words_failed(const struct migration *m, const struct err *err, int code)
{
	if (code == EXIT_REFUSED)
		return refused(m, err);
	if (m->switched || (m->resumed && !m->left_behind.count))
		return str_printf("%s: LOOK AT THIS: %s", guest_of(m), err->text);
	if (code == EXIT_HUMAN)
		return str_printf(
			"%s: LOOK AT THIS: %s; %s, but what is said above was left behind",
			guest_of(m), err->text, state_of(m));
	return str_printf("%s: %s; %s", guest_of(m), err->text, state_of(m));
}
