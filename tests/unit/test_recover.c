/* A move that was abandoned, between two fake QEMUs: what is on record of it, and what is done by
 * what both sides are like. */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/str.h"
#include "fake_move.h"
#include "migrate/record.h"
#include "migrate/recover.h"
#include "unit.h"

static struct fake_move f;
static char directory[] = "/tmp/test-recover-XXXXXX";

static void begin(void)
{
	strcpy(strrchr(directory, '-'), "-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(directory));
	memset(&f, 0, sizeof(f));
	fake_move_begin(&f);
	f.opt.journal_directory = directory;
}

/* A move that has looked, and is on record. */
static void put_on_record(void)
{
	fake_move_check(&f);
	ck_assert_ok(f.ret, &f.err);
	ck_assert_ok(record_open(f.m, &f.err), &f.err);
}

static void end(void)
{
	_autofree_ char *command = str_printf("rm -r %s", directory);

	fake_move_end(&f);
	ck_assert_int_eq(system(command), 0);
}

/* --- what is on record --- */

START_TEST(only_timeouts_that_were_asked_for_are_on_record)
{
	struct options later = {0};

	begin();
	f.opt.asked = (struct timeouts){.answer_ms = 5000, .reconnect_ms = -1};
	put_on_record();
	record_options(&f.m->record, &later);
	ck_assert_int_eq(later.timeouts.answer_ms, 5000);
	ck_assert_int_eq(later.timeouts.connect_ms, 0);
	ck_assert_int_eq(later.timeouts.switchover_ms, 0);
	ck_assert_int_eq(later.timeouts.reconnect_ms, -1);
	end();
}
END_TEST

START_TEST(the_command_that_starts_is_not_on_record)
{
	_autofree_ char *line = NULL;

	begin();
	f.opt.start = "start-vm --password secret";
	fake_qemu_die(&f.dst);
	fake_move_check(&f);
	ck_assert_ok(record_open(f.m, &f.err), &f.err);
	ck_assert(f.m->record.starts);
	line = record_write(&f.m->record, &f.err);
	ck_assert_ptr_nonnull(line);
	ck_assert_ptr_null(strstr(line, "secret"));
	end();
}
END_TEST

/* --- by another move of the same guest --- */

static void check_again(const char *source)
{
	migration_free(f.m);
	f.opt.source = source;
	f.err = (struct err){0};
	fake_move_check(&f);
	ck_assert_int_eq(f.ret, -1);
	ck_assert_int_eq(f.err.kind, ERR_REFUSED);
}

static void ck_not_listed(const struct problems *list, const char *part)
{
	for (size_t i = 0; i < list->count; i++)
		ck_assert_msg(!strstr(list->list[i], part), "%s", list->list[i]);
}

START_TEST(a_move_that_was_abandoned_is_an_objection)
{
	begin();
	put_on_record();
	f.src.state = "postmigrate";
	fake_calls_forget();
	check_again(f.opt.source);
	ck_assert_listed(&f.m->problems, "an earlier move of this guest");
	ck_assert_listed(&f.m->problems, "`vmferry recover ");
	ck_assert_uint_eq(f.m->problems.count, 1); /* nothing that would destroy what it left */
	ck_assert_uint_eq(fake_calls_count, 0);
	end();
}
END_TEST

/* The fakes are monitors of one process. */
START_TEST(it_is_known_through_another_monitor)
{
	begin();
	put_on_record();
	check_again(fake_path(f.dst.fake));
	ck_assert_listed(&f.m->problems, "an earlier move of this guest");
	ck_assert_uint_eq(f.m->problems.count, 1);
	end();
}
END_TEST

static pid_t hold(const char *path)
{
	int ready[2];
	pid_t child;
	char byte;

	ck_assert_int_eq(pipe(ready), 0);
	child = fork();
	if (child == 0) {
		struct record record;
		pid_t holder;

		if (journal_open(path, &record, &holder, &f.err) && write(ready[1], "x", 1) == 1)
			pause();
		_exit(1);
	}
	close(ready[1]);
	ck_assert_int_eq(read(ready[0], &byte, 1), 1);
	close(ready[0]);
	return child;
}

/* Its monitor is busy, and is not waited for. */
START_TEST(a_move_that_is_under_way_is_an_objection)
{
	_autofree_ char *path = NULL, *word = NULL;
	pid_t holder;

	begin();
	put_on_record();
	path = str_dup(journal_path(f.m->journal));
	migration_free(f.m);
	f.m = NULL;
	holder = hold(path);
	fake_greeting(f.src.fake, NULL);
	check_again(f.opt.source);
	word = str_printf("process %d", (int)holder);
	ck_assert_listed(&f.m->problems, word);
	ck_not_listed(&f.m->problems, "greeting");
	kill(holder, SIGKILL);
	ck_assert_int_eq(waitpid(holder, NULL, 0), holder);
	end();
}
END_TEST

/* --- what is found --- */

/* As what the fakes are; the states are those of QEMU. */
struct situation {
	const char *what;
	const char *step; /* that was begun when vmferry died */
	bool undoing;
	bool switched;          /* `cont` may have been sent */
	const char *src, *dst;  /* state; NULL: it is silent; "gone" */
	bool src_anew;          /* it is another QEMU of the guest */
	bool handed_over;       /* the destination has taken all in */
	const char *choices[2]; /* parts of them */
};

#define QUIT_SRC "end the source's QEMU (`quit`)"
#define CONT_SRC "run it here as it was at the switchover (`cont`)"
#define QUIT_DST "end the QEMU on destination (`quit`)"
#define CONT_DST "run it on destination (`cont`)"
#define STOPPED "postmigrate"

static const struct situation situations[] = {
	{"`cont` may have been sent, nobody answers there",
	 "run",
	 false,
	 true,
	 STOPPED,
	 NULL,
	 false,
	 false,
	 {QUIT_SRC, CONT_SRC}},
	{"`cont` may have been sent, its QEMU is gone",
	 "run",
	 false,
	 true,
	 STOPPED,
	 "gone",
	 false,
	 false,
	 {QUIT_SRC, CONT_SRC}},
	{"`cont` may have been sent, another waits there",
	 "run",
	 false,
	 true,
	 STOPPED,
	 "inmigrate",
	 false,
	 false,
	 {QUIT_SRC, CONT_SRC}},
	{"the guest runs here since",
	 "run",
	 false,
	 true,
	 "running",
	 NULL,
	 false,
	 false,
	 {QUIT_DST, NULL}},
	{"the guest runs here since, and is there, too",
	 "run",
	 false,
	 true,
	 "running",
	 "paused",
	 false,
	 true,
	 {QUIT_SRC, QUIT_DST}},
	{"handed over, nobody answers there",
	 "switchover",
	 false,
	 false,
	 STOPPED,
	 NULL,
	 false,
	 false,
	 {QUIT_SRC, CONT_SRC}},
	{"handed over, somebody else's is there",
	 "switchover",
	 false,
	 false,
	 STOPPED,
	 "prelaunch",
	 false,
	 false,
	 {QUIT_SRC, CONT_SRC}},
	{"both run",
	 "switchover",
	 false,
	 false,
	 "running",
	 "running",
	 false,
	 true,
	 {QUIT_SRC, QUIT_DST}},
	{"the source is gone, nobody answers there",
	 "switchover",
	 false,
	 false,
	 "gone",
	 NULL,
	 false,
	 false,
	 {CONT_DST, QUIT_DST}},
	{"the source is gone, `cont` may have been sent",
	 "run",
	 false,
	 true,
	 "gone",
	 NULL,
	 false,
	 false,
	 {CONT_DST, QUIT_DST}},
	{"the source is gone, what waits there may be old",
	 "switchover",
	 true,
	 false,
	 "gone",
	 "paused",
	 false,
	 true,
	 {CONT_DST, QUIT_DST}},
	{"the source is gone, somebody else's is there",
	 "switchover",
	 false,
	 false,
	 "gone",
	 "prelaunch",
	 false,
	 false,
	 {NULL, NULL}},
	{"the source is silent",
	 "copy",
	 false,
	 false,
	 NULL,
	 "inmigrate",
	 false,
	 false,
	 {NULL, NULL}},
	{"the source is silent, and nobody is there",
	 "run",
	 false,
	 true,
	 NULL,
	 "gone",
	 false,
	 false,
	 {NULL, NULL}},
	{"the source was started anew",
	 "switchover",
	 false,
	 false,
	 "running",
	 "paused",
	 true,
	 true,
	 {QUIT_SRC, QUIT_DST}},
	{"of another version", "fly", false, false, STOPPED, NULL, false, false, {NULL, NULL}},
};

static void be(struct fake_qemu *q, const char *state)
{
	if (!state)
		fake_greeting(q->fake, NULL);
	else if (str_eq(state, "gone"))
		fake_qemu_die(q);
	else
		q->state = state;
}

/* The fakes are of our own process, which is not gone, and would not be another. */
static void be_of_process(const char *process)
{
	free(f.m->record.src_process);
	f.m->record.src_process = str_dup(process);
}

static struct step step_of(const char *name)
{
	return (struct step){.name = name, .cancellable = !str_eq(name, "run")};
}

/* Dies at that step, and the two QEMUs become what is found later. */
static void abandon(const struct situation *s)
{
	struct migration *m = f.m;
	struct step step = step_of(s->step);

	if (s->src_anew || str_eq(s->src, "gone"))
		be_of_process("999999999 1");
	m->was_running = true;
	m->migrating = !str_eq(s->step, "copy");
	m->switched = s->switched;
	ck_assert_ok(record_step(m, &step, RECORD_BEGUN, &f.err), &f.err);
	if (s->undoing)
		record_undoing(m);
	migration_free(m);
	f.m = NULL;
	f.src.migration = str_eq(s->src, STOPPED) ? "completed" : "";
	f.dst.migration = s->handed_over ? "completed" : "";
	be(&f.src, s->src);
	be(&f.dst, s->dst);
	fake_calls_forget();
}

static void recover(void)
{
	struct journal_list list;
	struct record record;
	struct journal *journal;
	pid_t holder;

	ck_assert_ok(journal_list(directory, NULL, &list, &f.err), &f.err);
	ck_assert_uint_eq(list.count, 1);
	journal = journal_open(list.list[0].path, &record, &holder, &f.err);
	ck_assert_msg(journal != NULL, "%s", f.err.text);
	f.opt.timeouts.connect_ms = f.opt.timeouts.switchover_ms = 200;
	f.m = migration_new(f.loop, &f.opt, &f.report);
	record_take(f.m, journal, &record);
	f.ret = migration_recover(f.m, &f.err);
	journal_list_deinit(&list);
}

static void ck_nothing_changed(const char *what)
{
	for (size_t i = 0; i < fake_calls_count; i++) {
		const char *command = fake_calls[i].command;

		ck_assert_msg(str_starts(command, "query-") || str_eq(command, "qom-get") ||
				      str_eq(command, "qom-list") ||
				      str_eq(command, "qmp_capabilities"),
			      "%s: %s was sent", what, command);
	}
	ck_assert_int_eq(access(journal_path(f.m->journal), F_OK), 0);
}

static void ck_choices(const struct situation *s)
{
	size_t wanted = !!s->choices[0] + !!s->choices[1];

	ck_assert_msg(f.m->choices.count == wanted, "%s: %zu choices: %s", s->what,
		      f.m->choices.count, f.err.text);
	for (size_t i = 0; i < wanted; i++)
		ck_assert_msg(strstr(f.m->choices.list[i], s->choices[i]) != NULL, "%s: %s",
			      s->what, f.m->choices.list[i]);
}

static void play(const struct situation *s)
{
	struct err err;

	begin();
	put_on_record();
	abandon(s);
	recover();
	err = f.err;
	ck_assert_msg(f.ret < 0 && err.kind == ERR_HUMAN, "%s: %s", s->what, err.text);
	ck_assert_has(err.text, "nothing was changed");
	ck_assert_has(err.text, "vmferry recover");
	ck_assert_uint_eq(f.m->seen.count, 2);
	ck_nothing_changed(s->what);
	ck_choices(s);
	end();
}

START_TEST(what_can_be_chosen_goes_with_what_was_seen)
{
	for (size_t i = 0; i < COUNT_OF(situations); i++)
		play(&situations[i]);
}
END_TEST

/* --- what was started --- */

static void play_started(const char *command)
{
	begin();
	put_on_record();
	f.m->record.start = str_dup(command);
	f.m->record.starts = !command;
	abandon(&(struct situation){.step = "settings", .src = "running", .dst = "inmigrate"});
	recover();
	ck_assert_ok(f.ret, &f.err);
	ck_assert(f.dst.gone);
	ck_assert_str_eq(f.src.state, "running");
	end();
}

/* Also by a version that has its command on record. */
START_TEST(what_was_started_is_ended)
{
	play_started(NULL);
	play_started("start-vm");
}
END_TEST

/* --- lines for a shell --- */

static const char *line_of(size_t choice)
{
	return strrchr(f.m->choices.list[choice], '|');
}

START_TEST(the_choices_are_lines_for_a_shell)
{
	_autofree_ char *source = NULL;

	begin();
	put_on_record();
	abandon(&situations[0]);
	recover();
	ck_assert_has(f.m->seen.list[0], "source: its guest is \"postmigrate\"");
	ck_assert_has(f.m->seen.list[1], "destination: ");
	source = str_printf("| socat - UNIX:%s", f.opt.source);
	ck_assert_str_eq(line_of(0), source);
	ck_assert_has(
		f.m->choices.list[0],
		": (echo '{\"execute\":\"qmp_capabilities\"}{\"execute\":\"quit\"}'; sleep 1) |");
	ck_assert_has(f.m->choices.list[1], "{\"execute\":\"cont\"}'; sleep 1) |");
	end();
}
END_TEST

/* Nothing listens there. */
START_TEST(the_other_host_is_reached_as_it_was)
{
	char host[] = "127.0.0.1";

	begin();
	put_on_record();
	f.m->record.dst_host = str_dup(host);
	abandon(&(struct situation){.step = "run", .switched = true, .src = "gone"});
	f.opt.dst.host = host;
	f.opt.ssh = (struct ssh_target){.host = host,
					.config = "none",
					.identity = "/root/a key",
					.user = "me",
					.port = 1,
					.connect_timeout_ms = 200,
					.answer_timeout_ms = 200,
					.sudo = true};
	recover();
	ck_assert_int_eq(f.err.kind, ERR_HUMAN);
	ck_assert_has(f.m->seen.list[1], "127.0.0.1");
	ck_assert_has(f.m->choices.list[0],
		      ": ssh -F none -i '/root/a key' -p 1 -l me 127.0.0.1 \"(echo "
		      "'{\\\"execute\\\":\\\"qmp_capabilities\\\"}");
	ck_assert_has(f.m->choices.list[0], "; sleep 1) | sudo socat - UNIX:/");
	f.opt.dst.host = NULL;
	end();
}
END_TEST

/* Where quotes would be needed on two hosts. */
START_TEST(a_monitor_of_a_strange_name_is_only_named)
{
	_autofree_ char *strange = NULL;

	begin();
	put_on_record();
	abandon(&situations[0]);
	strange = str_printf("%s 1;true", f.opt.source);
	ck_assert_int_eq(symlink(f.opt.source, strange), 0);
	f.opt.source = strange;
	f.opt.timeouts.connect_ms = 200;
	recover();
	unlink(strange);
	ck_assert_uint_eq(f.m->choices.count, 2);
	ck_assert_has(f.m->choices.list[0], "(`quit`): quit on /tmp/");
	end();
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		only_timeouts_that_were_asked_for_are_on_record,
		the_command_that_starts_is_not_on_record,
		a_move_that_was_abandoned_is_an_objection,
		it_is_known_through_another_monitor,
		a_move_that_is_under_way_is_an_objection,
		what_can_be_chosen_goes_with_what_was_seen,
		what_was_started_is_ended,
		the_choices_are_lines_for_a_shell,
		the_other_host_is_reached_as_it_was,
		a_monitor_of_a_strange_name_is_only_named,
	};

	return unit_run("recover", tests, COUNT_OF(tests));
}
