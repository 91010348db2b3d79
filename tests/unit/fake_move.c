#include "fake_move.h"

#include <check.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/str.h"

static void on_step(void *arg, const struct step *step, enum step_state state)
{
	struct fake_move *f = arg;
	size_t len = strlen(f->steps);

	if (state == STEP_BEGUN && str_eq(step->name, f->signal_at))
		raise(SIGINT);
	if (state == STEP_BEGUN && f->starts && str_eq(step->name, "start")) {
		f->dst.gone = false;
		fake_listen(f->dst.fake);
	}
	if (state == STEP_BEGUN)
		snprintf(f->steps + len, sizeof(f->steps) - len, "%s ", step->name);
	if (state == STEP_FAILED)
		snprintf(f->failed, sizeof(f->failed), "%s", step->name);
}

static void on_progress(void *arg, const struct progress *items, size_t count)
{
	(void)arg;
	(void)items;
	(void)count;
}

static void on_note(void *arg, const char *text)
{
	struct fake_move *f = arg;
	size_t len = strlen(f->notes);

	snprintf(f->notes + len, sizeof(f->notes) - len, "%s\n", text);
}

void fake_move_begin(struct fake_move *f)
{
	memset(f, 0, sizeof(*f));
	f->loop = loop_new(NULL);
	fake_qemu_init(&f->src, f->loop, false);
	fake_qemu_init(&f->dst, f->loop, true);
	fake_qemu_pair(&f->src, &f->dst);
	f->report = (struct report){
		.step = on_step, .progress = on_progress, .note = on_note, .arg = f};
	f->opt = (struct options){
		.source = fake_path(f->src.fake),
		.dst.socket = str_dup(fake_path(f->dst.fake)),
		.encrypt = ENCRYPT_X509,
		.certificates = "/nowhere",
		.port_low = 20000 + (int)(loop_now_ms() % 20000),
		.timeouts = {.connect_ms = 20000,
			     .answer_ms = 20000,
			     .start_ms = 20000,
			     .stall_ms = 20000,
			     .switchover_ms = 20000},
	};
	f->opt.port_high = f->opt.port_low + 50;
}

void fake_move_begin_start(struct fake_move *f)
{
	static char words[2][200];
	static const char *const disks[] = {words[0], words[1], NULL};

	fake_move_begin(f);
	fake_qemu_die(&f->dst);
	f->starts = true;
	f->opt.start = "true";
	f->opt.disks = disks;
	for (int i = 0; i < 2; i++) {
		f->src.drives[i].driver = f->dst.drives[i].driver = "raw";
		unlink(f->dst.drives[i].file);
		snprintf(f->files[i], sizeof(f->files[i]), "%s", f->dst.drives[i].file);
		snprintf(words[i], sizeof(words[i]), "%s=%s", i ? "data" : "virtio0", f->files[i]);
	}
}

void fake_move_check(struct fake_move *f)
{
	f->m = migration_new(f->loop, &f->opt, &f->report);
	f->ret = migration_check(f->m, &f->err);
}

void fake_move_run(struct fake_move *f)
{
	f->m = migration_new(f->loop, &f->opt, &f->report);
	f->ret = migration_run(f->m, &f->err);
}

void fake_move_end(struct fake_move *f)
{
	migration_free(f->m);
	fake_qemu_deinit(&f->src);
	fake_qemu_deinit(&f->dst);
	fake_calls_forget();
	destination_deinit(&f->opt.dst);
	loop_free(f->loop);
}

void ck_assert_listed(const struct problems *list, const char *part)
{
	_cleanup_buf_ struct buf all = {0};

	for (size_t i = 0; i < list->count; i++) {
		if (strstr(list->list[i], part))
			return;
		buf_printf(&all, "\n  %s", list->list[i]);
	}
	ck_abort_msg("no \"%s\" among:%s", part, all.data ? all.data : " nothing");
}
