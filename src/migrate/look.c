#include "migrate/look.h"
#include "migrate/handover.h"
#include "migrate/step_functions.h"

/* What each process looks at: in one go both sides; by hand its own. */
static int look_at_sides(struct migration *m, struct err *err)
{
	bool src = !m->by_hand || m->phase == PHASE_BEGIN || m->phase == PHASE_PERFORM;
	bool dst = !m->by_hand || m->phase == PHASE_PREPARE;

	if (src && look_at_source(m, err) < 0)
		return -1;
	if (!dst)
		return m->by_hand && !src ? look_at_the_end(m, err) : 0;
	if (m->by_hand)
		handover_choose_disks(m);
	if (m->opt->clone)
		look_at_clone(m);
	if (look_at_host(m, err) < 0)
		return -1;
	if (m->opt->clone)
		look_at_clone_over_there(m);
	if (m->host && starts_destination(m))
		look_at_space(m);
	return m->host && !starts_destination(m) ? look_at_destination(m, err) : 0;
}

int step_look(struct migration *m, int64_t timeout_ms, struct err *err)
{
	(void)timeout_ms;
	if (look_at_sides(m, err) < 0)
		return -1;
	if (m->problems.count)
		return err_set(err, ERR_REFUSED, "refused");
	return 0;
}
