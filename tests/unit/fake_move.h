/* A migration between two fake QEMUs of this host, as tests of look and engine begin. */
#ifndef VMFERRY_TESTS_FAKE_MOVE_H
#define VMFERRY_TESTS_FAKE_MOVE_H

#include "fake_qemu.h"
#include "migrate/migrate.h"

struct fake_move {
	struct loop *loop;
	struct fake_qemu src, dst;
	struct options opt;
	struct report report;
	struct migration *m;
	struct err err;
	int ret;
	char steps[1024]; /* names of the steps begun, each with a blank behind it */
	char failed[32];  /* the step that failed */
	char notes[2048];
	const char *signal_at; /* the step at whose begin SIGINT comes, or NULL */
	bool starts;           /* see fake_move_begin_start() */
	char files[2][160];    /* with it: the files that --start's QEMU uses */
};

/* Both QEMUs and the options; what a test changes, it changes before the next two. */
void fake_move_begin(struct fake_move *f);

/* With --start: the destination's QEMU is not there before step "start", and its files are
 * not there before step "create". */
void fake_move_begin_start(struct fake_move *f);

void fake_move_check(struct fake_move *f);
void fake_move_run(struct fake_move *f);
void fake_move_end(struct fake_move *f);

/* The list has an entry with @part in it, or the test fails and shows the list. */
void ck_assert_listed(const struct problems *list, const char *part);

#endif
