#include "migrate/urgency.h"

#include "base/str.h"
#include "migrate/record.h"

/* From `ram` on the source's QEMU stops the guest by itself, whether we are there or not. */
static bool may_stand_still(const struct record *r, size_t row)
{
	bool runs_there =
		row > step_row("run") || (row == step_row("run") && r->state == RECORD_DONE);

	return r->halted || row == step_row("stop") || row == step_row("part") ||
	       (row >= step_row("ram") && !runs_there);
}

/* What was started by --clone, or went through an SSH session, has ended with its vmferry. */
static bool may_be_copied_on(const struct record *r, size_t row)
{
	return row >= step_row("mirror") && row < step_row("ram") && r->state != RECORD_UNDOING &&
	       !r->clone && !str_eq(r->encrypt, "ssh");
}

enum urgency urgency_of(const struct record *r)
{
	size_t row = record_row(r);

	if (row == steps_count)
		return URGENCY_SHORT;
	if (r->in_stream && row == step_row("ram") && r->state == RECORD_BEGUN)
		return URGENCY_STREAM;
	if (may_stand_still(r, row))
		return URGENCY_STANDS;
	return may_be_copied_on(r, row) ? URGENCY_COPY : URGENCY_SHORT;
}
