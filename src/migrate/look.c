#include "migrate/look.h"
#include "migrate/step_functions.h"

int step_look(struct migration *m, int64_t timeout_ms, struct err *err)
{
	(void)timeout_ms;
	if (look_at_source(m, err) < 0 || look_at_host(m, err) < 0)
		return -1;
	if (m->host && !m->opt->start && look_at_destination(m, err) < 0)
		return -1;
	if (m->problems.count)
		return err_set(err, ERR_REFUSED, "refused");
	return 0;
}
