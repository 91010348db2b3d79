#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/str.h"
#include "fake_qmp.h"
#include "qmp/block.h"
#include "qmp/call.h"
#include "qmp/drives.h"
#include "qmp/migration.h"
#include "qmp/qmp.h"
#include "unit.h"

static struct loop *loop;
static struct fake *fake;
static struct qmp *qmp;
static struct err err;

/* What the client's handlers saw. */
static struct {
	int count;
	char names[16][32];
	char job[64], status[64], error[64];
	size_t lines_out, lines_in;
} seen;

static void copy(char *to, size_t size, const char *from)
{
	snprintf(to, size, "%s", from ? from : "(none)");
}

static void on_event(void *arg, const struct qmp_event *event)
{
	(void)arg;
	if (seen.count < (int)COUNT_OF(seen.names))
		copy(seen.names[seen.count], sizeof(seen.names[0]), event->name);
	seen.count++;
	copy(seen.job, sizeof(seen.job), event->job);
	copy(seen.status, sizeof(seen.status), event->status);
	copy(seen.error, sizeof(seen.error), event->error);
}

static void on_line(void *arg, bool out, const char *text, size_t len)
{
	(void)arg;
	ck_assert(len && text[len - 1] != '\n' && text[len - 1] != '\r');
	if (out)
		seen.lines_out++;
	else
		seen.lines_in++;
}

static struct qmp *open_with(int64_t greeting_timeout_ms, int64_t answer_timeout_ms)
{
	static const struct qmp_handlers handlers = {.event = on_event, .line = on_line};
	struct stream *stream = stream_unix(loop, fake_path(fake), 1000, &err);

	ck_assert_msg(stream != NULL, "%s", err.text);
	return qmp_open(loop, stream, "hostb", &handlers, greeting_timeout_ms, answer_timeout_ms,
			&err);
}

static void begin(void)
{
	loop = loop_new(NULL);
	fake = fake_new(loop, "fake");
}

static void begin_open(int64_t answer_timeout_ms)
{
	begin();
	qmp = open_with(20000, answer_timeout_ms);
	ck_assert_msg(qmp != NULL, "%s", err.text);
}

static void end(void)
{
	qmp_close(qmp);
	fake_free(fake);
	fake_calls_forget();
	loop_free(loop);
}

static bool never(void *arg)
{
	(void)arg;
	return false;
}

static void let_pass(int64_t ms)
{
	loop_wait(loop, never, NULL, loop_now_ms() + ms);
}

/* --- the greeting --- */

START_TEST(a_monitor_is_opened_and_negotiated)
{
	begin_open(20000);
	ck_assert(qmp_alive(qmp));
	ck_assert_str_eq(qmp_name(qmp), "hostb");
	ck_assert_uint_eq(fake_count(fake, "qmp_capabilities"), 1);
	ck_assert_uint_eq(fake_count(fake, NULL), 1);
	ck_assert_str_eq(
		json_string_value(json_array_get(
			json_object_get(fake_last(fake, "qmp_capabilities"), "enable"), 0)),
		"oob");
	ck_assert_uint_eq(seen.lines_out, 1);
	ck_assert_uint_eq(seen.lines_in, 2);
	ck_assert(!qmp_alive(NULL));
	qmp_close(NULL);
	end();
}
END_TEST

START_TEST(a_monitor_that_another_client_holds_is_told_so)
{
	begin();
	fake_greeting(fake, NULL);
	qmp = open_with(50, 20000);
	ck_assert_ptr_null(qmp);
	ck_assert_int_eq(err.kind, ERR_TIMEOUT);
	ck_assert_has(err.text, "hostb: ");
	ck_assert_has(err.text, "another client");
	ck_assert_uint_eq(fake_count(fake, NULL), 0);
	end();
}
END_TEST

START_TEST(a_signal_ends_the_wait_for_the_greeting)
{
	begin();
	fake_greeting(fake, NULL);
	raise(SIGINT);
	qmp = open_with(30000, 20000);
	ck_assert_ptr_null(qmp);
	ck_assert_int_eq(err.kind, ERR_INTERRUPTED);
	end();
}
END_TEST

static void greeted_with(const char *text, const char *wanted)
{
	begin();
	fake_greeting(fake, text);
	qmp = open_with(20000, 20000);
	ck_assert_ptr_null(qmp);
	ck_assert_has(err.text, wanted);
	ck_assert_uint_eq(fake_count(fake, NULL), 0);
	end();
}

START_TEST(what_is_no_greeting_is_refused)
{
	greeted_with("SSH-2.0-OpenSSH_9.2p1\r\n", "hostb: sent something that is not QMP");
	greeted_with("[]\n", "not QMP");
	greeted_with("\377\376\n", "not QMP");
	greeted_with("{\"return\": {}}\n", "does not begin with a QMP greeting");
	greeted_with("{\"event\": \"STOP\"}\n", "does not begin with a QMP greeting");
	greeted_with("{\"QMP\": {}\n", "not QMP");
}
END_TEST

START_TEST(a_greeting_in_any_pieces_is_understood)
{
	begin();
	fake_chunk(fake, 1);
	qmp = open_with(20000, 20000);
	ck_assert_msg(qmp != NULL, "%s", err.text);
	end();
}
END_TEST

START_TEST(a_peer_that_closes_before_it_greets_is_closed)
{
	begin();
	fake_greeting(fake, NULL);
	fake_hang_up(fake, "qmp_capabilities");
	fake_greeting(fake, "{\"QMP\": {}}\n");
	qmp = open_with(20000, 20000);
	ck_assert_ptr_null(qmp);
	ck_assert_int_eq(err.kind, ERR_CLOSED);
	ck_assert_str_eq(err.text, "hostb: the connection was closed");
	end();
}
END_TEST

START_TEST(a_refused_negotiation_is_an_error)
{
	begin();
	fake_error(fake, "qmp_capabilities", "Capability oob is not allowed");
	qmp = open_with(20000, 20000);
	ck_assert_ptr_null(qmp);
	ck_assert_int_eq(err.kind, ERR_QMP);
	ck_assert_str_eq(err.text, "hostb: qmp_capabilities: Capability oob is not allowed");
	end();
}
END_TEST

/* --- hostile lines --- */

/* The answer to `stop` is @text; the connection ends with @wanted. */
static void stop_answered_with(const char *text, const char *wanted)
{
	begin_open(20000);
	fake_raw(fake, "stop", text);
	ck_assert_int_eq(qmp_stop(qmp, &err), -1);
	ck_assert_has(err.text, "hostb: ");
	ck_assert_has(err.text, wanted);
	ck_assert(!qmp_alive(qmp));
	ck_assert_int_eq(qmp_stop(qmp, &err), -1); /* and stays so */
	ck_assert_has(err.text, wanted);
	end();
}

START_TEST(a_line_without_end_ends_the_connection)
{
	size_t len = QMP_LINE_MAX + (1u << 20);
	char *text = mem_zalloc(len + 1, 1);

	memset(text, ' ', len);
	stop_answered_with(text, "sent a line without end");
	free(text);
}
END_TEST

START_TEST(deep_nesting_ends_the_connection)
{
	size_t depth = 100000;
	char *text = mem_zalloc(2 * depth + 64, 1);

	strcpy(text, "{\"return\":");
	memset(text + strlen(text), '[', depth);
	strcat(text, "\n");
	stop_answered_with(text, "sent something that is not QMP");
	free(text);
}
END_TEST

START_TEST(an_answer_nobody_asked_for_ends_the_connection)
{
	stop_answered_with("{\"return\": {}, \"id\": 4711}\n", "an answer that nobody asked for");
	stop_answered_with("{\"return\": {}, \"id\": \"2\"}\n", "an answer that nobody asked for");
	stop_answered_with("{\"return\": {}}\n", "an answer that nobody asked for");
	stop_answered_with("{\"return\": {}, \"id\": null}\n", "an answer that nobody asked for");
	stop_answered_with("{\"error\": {\"desc\": \"JSON parse error\"}}\n",
			   "an answer that nobody asked for");
}
END_TEST

START_TEST(what_is_no_answer_ends_the_connection)
{
	stop_answered_with("{\"id\": @ID@}\n", "sent an answer without a result");
	stop_answered_with("{\"event\": 5, \"id\": @ID@}\n", "sent an event without a name");
	stop_answered_with("\"return\"\n", "not QMP");
	stop_answered_with("{\"return\": {}, \"id\": @ID@} x\n", "not QMP");
	stop_answered_with("{\"return\": \"\\u0000\", \"id\": @ID@}\n", "not QMP");
}
END_TEST

START_TEST(a_second_answer_ends_the_connection)
{
	begin_open(20000);
	fake_raw(fake, "stop", "{\"return\": {}, \"id\": @ID@}\n{\"return\": {}, \"id\": @ID@}\n");
	ck_assert_ok(qmp_stop(qmp, &err), &err);
	let_pass(10);
	ck_assert(!qmp_alive(qmp));
	ck_assert_int_eq(qmp_stop(qmp, &err), -1);
	ck_assert_has(err.text, "an answer that nobody asked for");
	end();
}
END_TEST

static void close_half_way(struct fake *f, json_t *args, void *arg)
{
	(void)args;
	(void)arg;
	fake_send(f, "{\"return\": {\"status\": \"run");
	fake_close(f, false);
}

START_TEST(half_an_answer_and_then_the_end_is_the_end)
{
	struct qmp_status status;

	begin_open(20000);
	fake_call_fn(fake, "query-status", close_half_way, NULL);
	ck_assert_int_eq(qmp_status_query(qmp, &status, &err), -1);
	ck_assert_int_eq(err.kind, ERR_CLOSED);
	ck_assert(!qmp_alive(qmp));
	end();
}
END_TEST

START_TEST(empty_lines_are_passed_over)
{
	begin_open(20000);
	fake_raw(fake, "stop", "\r\n\n\r\n{\"return\": {}, \"id\": @ID@}\n\r\n");
	ck_assert_ok(qmp_stop(qmp, &err), &err);
	ck_assert_ok(qmp_stop(qmp, &err), &err);
	end();
}
END_TEST

START_TEST(a_result_of_another_type_is_taken_for_nothing)
{
	struct qmp_status status;
	struct qmp_migration migration;
	struct qmp_drives drives;
	struct qmp_job job;
	const char *id = "j";
	char *any;
	bool there;
	static const char *const results[] = {"[]",
					      "5",
					      "\"x\"",
					      "null",
					      "{}",
					      "[[], 5, {}]",
					      "{\"status\": {}, \"running\": 1, \"ram\": []}"};

	begin_open(20000);
	for (size_t i = 0; i < COUNT_OF(results); i++) {
		fake_reply(fake, "query-status", results[i]);
		fake_reply(fake, "query-migrate", results[i]);
		fake_reply(fake, "query-block-jobs", results[i]);
		fake_reply(fake, "query-block", results[i]);
		fake_reply(fake, "query-named-block-nodes", results[i]);
		ck_assert_ok(qmp_status_query(qmp, &status, &err), &err);
		ck_assert_str_eq(status.state, "");
		ck_assert(!status.running);
		ck_assert_ok(qmp_migration_query(qmp, &migration, &err), &err);
		ck_assert_str_eq(migration.status, "");
		ck_assert_ok(qmp_jobs_query(qmp, &id, &job, 1, &err), &err);
		ck_assert(!job.found);
		ck_assert_ok(qmp_any_job(qmp, &any, &err), &err);
		free(any);
		ck_assert_ok(qmp_node_exists(qmp, "n", &there, &err), &err);
		ck_assert(!there);
		ck_assert_ok(qmp_drives_query(qmp, &drives, &err), &err);
		for (size_t k = 0; k < drives.count; k++)
			ck_assert(qmp_drive_name(&drives.list[k]) && !drives.list[k].inserted);
		qmp_drives_deinit(&drives);
	}
	end();
}
END_TEST

/* --- errors --- */

START_TEST(qemus_error_is_told_with_the_command)
{
	begin_open(20000);
	fake_error(fake, "stop", "No");
	ck_assert_int_eq(qmp_stop(qmp, &err), -1);
	ck_assert_int_eq(err.kind, ERR_QMP);
	ck_assert_str_eq(err.text, "hostb: stop: No");
	fake_reply(fake, "stop", "{}");
	ck_assert_ok(qmp_stop(qmp, &err), &err);
	end();
}
END_TEST

START_TEST(an_error_without_words_is_an_error)
{
	static const char *const answers[] = {
		"{\"error\": {\"class\": \"GenericError\"}, \"id\": @ID@}\n",
		"{\"error\": {\"desc\": 5}, \"id\": @ID@}\n",
		"{\"error\": \"text\", \"id\": @ID@}\n",
		"{\"error\": null, \"id\": @ID@}\n",
		"{\"error\": {}, \"return\": {}, \"id\": @ID@}\n",
	};

	begin_open(20000);
	for (size_t i = 0; i < COUNT_OF(answers); i++) {
		fake_raw(fake, "stop", answers[i]);
		ck_assert_int_eq(qmp_stop(qmp, &err), -1);
		ck_assert_int_eq(err.kind, ERR_QMP);
		ck_assert_str_eq(err.text, "hostb: stop: an error without words");
	}
	end();
}
END_TEST

START_TEST(control_characters_of_an_error_are_cleaned)
{
	begin_open(20000);
	fake_raw(fake, "stop",
		 "{\"error\": {\"desc\": \"a\\u001b[31m\\r\\n\\u009bb\"}, \"id\": @ID@}\n");
	ck_assert_int_eq(qmp_stop(qmp, &err), -1);
	ck_assert_str_eq(err.text, "hostb: stop: a?[31m? ??b");
	end();
}
END_TEST

START_TEST(quit_may_close_before_it_answers)
{
	begin_open(20000);
	fake_hang_up(fake, "quit");
	ck_assert_ok(qmp_quit(qmp, &err), &err);
	ck_assert(!qmp_alive(qmp));
	end();
}
END_TEST

/* --- events --- */

static void stop_between_events(struct fake *f, json_t *args, void *arg)
{
	(void)args;
	(void)arg;
	fake_event(f, "STOP", NULL);
	fake_answer(f, NULL);
	fake_event(f, "BLOCK_JOB_COMPLETED",
		   json_pack("{s:s, s:s}", "device", "job\"0", "error", "Input/output error"));
}

START_TEST(events_come_before_and_after_an_answer)
{
	begin_open(20000);
	fake_call_fn(fake, "stop", stop_between_events, NULL);
	ck_assert_ok(qmp_stop(qmp, &err), &err);
	fake_event(fake, "MIGRATION", json_pack("{s:s}", "status", "active"));
	let_pass(10);
	ck_assert_int_eq(seen.count, 3);
	ck_assert_str_eq(seen.names[0], "STOP");
	ck_assert_str_eq(seen.names[1], "BLOCK_JOB_COMPLETED");
	ck_assert_str_eq(seen.names[2], "MIGRATION");
	ck_assert_str_eq(seen.status, "active");
	ck_assert_str_eq(seen.job, "(none)");
	end();
}
END_TEST

START_TEST(the_members_of_events_are_taken)
{
	begin_open(20000);
	fake_event(fake, "BLOCK_JOB_COMPLETED",
		   json_pack("{s:s, s:s}", "device", "j", "error", "No space left on device"));
	let_pass(10);
	ck_assert_str_eq(seen.job, "j");
	ck_assert_str_eq(seen.error, "No space left on device");
	fake_event(fake, "JOB_STATUS_CHANGE",
		   json_pack("{s:s, s:s}", "id", "k", "status", "concluded"));
	let_pass(10);
	ck_assert_str_eq(seen.job, "k");
	ck_assert_str_eq(seen.status, "concluded");
	ck_assert_str_eq(seen.error, "(none)");
	fake_event(fake, "STOP", json_pack("{s:i, s:[]}", "status", 5, "device"));
	let_pass(10);
	ck_assert_str_eq(seen.status, "(none)");
	ck_assert_str_eq(seen.job, "(none)");
	end();
}
END_TEST

static const char answer_and_events[] = "{\"event\": \"STOP\", \"data\": {\"x\": \"\\u00fc\"}}\r\n"
					"{\"return\": {}, \"id\": @ID@}\r\n"
					"{\"event\": \"RESUME\"}\r\n";

START_TEST(an_output_cut_at_any_byte_is_the_same)
{
	begin_open(20000);
	fake_raw(fake, "stop", answer_and_events);
	for (size_t at = 1; at < strlen(answer_and_events); at++) {
		int before = seen.count;

		fake_split(fake, at);
		ck_assert_ok(qmp_stop(qmp, &err), &err);
		for (int i = 0; i < 100 && seen.count < before + 2; i++)
			let_pass(5);
		ck_assert_int_eq(seen.count, before + 2);
	}
	end();
}
END_TEST

START_TEST(an_output_in_single_bytes_is_the_same)
{
	begin_open(20000);
	fake_raw(fake, "stop", answer_and_events);
	fake_chunk(fake, 1);
	for (int i = 0; i < 5; i++)
		ck_assert_ok(qmp_stop(qmp, &err), &err);
	let_pass(50);
	ck_assert_int_eq(seen.count, 10);
	end();
}
END_TEST

/* --- several requests --- */

static void keep_id(struct fake *f, json_t *args, void *arg)
{
	(void)f;
	(void)args;
	(*(int *)arg)++;
}

START_TEST(answers_come_in_any_order)
{
	struct qmp_request *stop, *cont, *status;
	struct qmp_status s;

	begin_open(20000);
	fake_silence(fake, "stop");
	fake_silence(fake, "cont");
	stop = qmp_send(qmp, "stop", NULL);           /* id 2 */
	cont = qmp_cont_send(qmp);                    /* id 3 */
	status = qmp_send(qmp, "query-status", NULL); /* id 4, answers all three */
	fake_raw(fake, "query-status",
		 "{\"return\": {\"status\": \"paused\", \"running\": false}, \"id\": @ID@}\n"
		 "{\"error\": {\"desc\": \"no\"}, \"id\": 3}\n"
		 "{\"return\": {}, \"id\": 2}\n");
	ck_assert_ok(qmp_finish(stop, &err), &err);
	ck_assert_int_eq(qmp_finish(cont, &err), -1);
	ck_assert_str_eq(err.text, "hostb: cont: no");
	ck_assert_ok(qmp_status_take(status, &s, &err), &err);
	ck_assert_str_eq(s.state, "paused");
	end();
}
END_TEST

START_TEST(an_answer_after_its_deadline_is_dropped)
{
	struct qmp_status status;

	begin_open(50);
	fake_silence(fake, "stop");
	ck_assert_int_eq(qmp_stop(qmp, &err), -1); /* id 2 */
	ck_assert_int_eq(err.kind, ERR_TIMEOUT);
	ck_assert_str_eq(err.text, "hostb: stop: timed out after 0.05 s waiting for its answer");
	ck_assert(qmp_alive(qmp));
	fake_raw(fake, "query-status",
		 "{\"return\": {\"status\": \"late\"}, \"id\": 2}\n"
		 "{\"return\": {\"status\": \"running\", \"running\": true}, \"id\": @ID@}\n");
	ck_assert_ok(qmp_status_query(qmp, &status, &err), &err);
	ck_assert_str_eq(status.state, "running");
	ck_assert(status.running);
	end();
}
END_TEST

/* Twice, and then for a second, until it says something again. */
START_TEST(one_that_hangs_is_not_waited_for_as_long_each_time)
{
	struct qmp_status status;

	begin_open(1100);
	fake_silence(fake, "stop");
	for (int i = 0; i < 2; i++) {
		ck_assert_int_eq(qmp_stop(qmp, &err), -1);
		ck_assert_str_eq(err.text,
				 "hostb: stop: timed out after 1.1 s waiting for its answer");
	}
	ck_assert_int_eq(qmp_stop(qmp, &err), -1);
	ck_assert_str_eq(err.text, "hostb: stop: timed out after 1 s waiting for its answer");
	fake_reply(fake, "query-status", "{\"status\": \"running\", \"running\": true}");
	ck_assert_ok(qmp_status_query(qmp, &status, &err), &err);
	ck_assert_int_eq(qmp_stop(qmp, &err), -1);
	ck_assert_str_eq(err.text, "hostb: stop: timed out after 1.1 s waiting for its answer");
	end();
}
END_TEST

START_TEST(a_forgotten_answer_is_dropped)
{
	struct qmp_request *request;

	begin_open(20000);
	fake_reply(fake, "stop", "{}");
	fake_reply(fake, "cont", "{}");
	qmp_forget(NULL);
	qmp_forget(qmp_send(qmp, "stop", NULL)); /* before its answer */
	request = qmp_send(qmp, "stop", NULL);
	ck_assert_ok(qmp_finish(qmp_cont_send(qmp), &err), &err);
	qmp_forget(request); /* after it */
	ck_assert_ok(qmp_stop(qmp, &err), &err);
	end();
}
END_TEST

START_TEST(forgotten_answers_that_came_count_no_more)
{
	begin_open(20000);
	fake_reply(fake, "stop", "{}");
	for (int i = 0; i < 600; i++) {
		qmp_forget(qmp_send(qmp, "stop", NULL));
		if (i % 100 == 0)
			ck_assert_ok(qmp_stop(qmp, &err), &err);
	}
	ck_assert(qmp_alive(qmp));
	end();
}
END_TEST

START_TEST(too_many_unanswered_commands_end_the_connection)
{
	struct qmp_request *requests[257];
	int count = 0;

	begin_open(20000);
	fake_call_fn(fake, "stop", keep_id, &count);
	for (int i = 0; i < 256; i++)
		requests[i] = qmp_send(qmp, "stop", NULL);
	ck_assert(qmp_alive(qmp));
	requests[256] = qmp_send(qmp, "stop", NULL);
	ck_assert(!qmp_alive(qmp));
	for (int i = 0; i < 257; i++) {
		ck_assert_int_eq(qmp_finish(requests[i], &err), -1);
		ck_assert_str_eq(err.text, "hostb: leaves too many commands unanswered");
	}
	end();
}
END_TEST

START_TEST(the_end_of_the_connection_answers_every_request)
{
	struct qmp_request *a, *b, *c;

	begin_open(20000);
	fake_silence(fake, "stop");
	fake_hang_up(fake, "cont");
	a = qmp_send(qmp, "stop", NULL);
	b = qmp_send(qmp, "stop", NULL);
	c = qmp_cont_send(qmp);
	ck_assert_int_eq(qmp_finish(b, &err), -1);
	ck_assert_int_eq(err.kind, ERR_CLOSED);
	ck_assert_int_eq(qmp_finish(c, &err), -1);
	ck_assert_int_eq(err.kind, ERR_CLOSED);
	qmp_forget(a);
	ck_assert_int_eq(qmp_stop(qmp, NULL), -1);
	end();
}
END_TEST

START_TEST(requests_under_way_end_with_the_client)
{
	begin_open(20000);
	fake_silence(fake, "stop");
	qmp_send(qmp, "stop", json_pack("{s:i}", "x", 1));
	qmp_forget(qmp_send(qmp, "stop", NULL));
	end();
}
END_TEST

START_TEST(a_command_that_was_sent_is_seen_through)
{
	begin_open(20000);
	fake_reply(fake, "stop", "{}");
	fake_chunk(fake, 3);
	raise(SIGTERM);
	ck_assert_ok(qmp_stop(qmp, &err), &err);
	ck_assert_int_eq(loop_signal(loop), SIGTERM);
	end();
}
END_TEST

START_TEST(a_long_command_goes_out_in_pieces)
{
	size_t len = 4u << 20;
	char *text = mem_zalloc(len + 1, 1);

	memset(text, 'x', len);
	begin_open(20000);
	fake_reply(fake, "stop", "{}");
	ck_assert_ok(qmp_call(qmp, "stop", json_pack("{s:s}", "x", text), NULL, &err), &err);
	ck_assert_uint_eq(json_string_length(json_object_get(fake_last(fake, "stop"), "x")), len);
	free(text);
	end();
}
END_TEST

/* --- descriptors --- */

static void look_at_fd(struct fake *f, json_t *args, void *arg)
{
	int fd = fake_take_fd(f);

	ck_assert_str_eq(qmp_str(args, "fdname"), "name");
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, "x", 1), 1);
	close(fd);
	(*(int *)arg)++;
	fake_answer(f, NULL);
}

START_TEST(a_descriptor_is_passed_with_its_command)
{
	int count = 0, fds[2];
	char c;

	begin_open(20000);
	ck_assert_int_eq(pipe(fds), 0);
	fake_call_fn(fake, "getfd", look_at_fd, &count);
	ck_assert_ok(qmp_pass_fd(qmp, "name", fds[1], &err), &err);
	ck_assert_int_eq(count, 1);
	ck_assert_int_eq(read(fds[0], &c, 1), 1); /* ours stays open */
	ck_assert_int_eq(write(fds[1], "y", 1), 1);
	fake_error(fake, "getfd", "no");
	ck_assert_int_eq(qmp_pass_fd(qmp, "name", fds[1], &err), -1);
	ck_assert_str_eq(err.text, "hostb: getfd: no");
	fake_error(fake, "closefd", "File descriptor named 'name' not found");
	qmp_drop_fd(qmp, "name");
	ck_assert_uint_eq(fake_count(fake, "closefd"), 1);
	fake_close(fake, true);
	let_pass(10);
	ck_assert_int_eq(qmp_pass_fd(qmp, "name", fds[1], &err), -1);
	ck_assert_int_eq(err.kind, ERR_CLOSED);
	qmp_drop_fd(qmp, "name");
	end();
}
END_TEST

START_TEST(what_is_no_descriptor_is_not_passed)
{
	begin_open(20000);
	fake_reply(fake, "stop", "{}");
	ck_assert_int_eq(qmp_pass_fd(qmp, "name", -1, &err), -1);
	ck_assert_has(err.text, "hostb: pass a descriptor: Bad file descriptor");
	ck_assert_ok(qmp_stop(qmp, &err), &err);
	ck_assert_uint_eq(fake_count(fake, "getfd"), 0);
	end();
}
END_TEST

/* --- what is said with it --- */

START_TEST(a_status_never_heard_of_is_under_way)
{
	static const char *const ended[] = {"", "none", "completed", "failed", "cancelled"};
	static const char *const active[] = {
		"setup", "cancelling",     "active", "postcopy-active", "postcopy-paused",
		"colo",  "pre-switchover", "device", "wait-unplug",     "never-heard-of"};

	for (size_t i = 0; i < COUNT_OF(ended); i++)
		ck_assert_msg(!qmp_migration_active(ended[i]), "%s", ended[i]);
	for (size_t i = 0; i < COUNT_OF(active); i++)
		ck_assert_msg(qmp_migration_active(active[i]), "%s", active[i]);
}
END_TEST

START_TEST(a_migrations_state_is_taken)
{
	struct qmp_migration m;

	begin_open(20000);
	fake_reply(fake, "query-migrate",
		   "{\"status\": \"failed\", \"error-desc\": \"a\\nb\", \"blocked-reasons\": "
		   "[\"first\", \"second\"], \"expected-downtime\": 300, \"downtime\": 12, "
		   "\"ram\": {\"total\": 100, \"remaining\": 40, \"transferred\": -1}}");
	ck_assert_ok(qmp_migration_query(qmp, &m, &err), &err);
	ck_assert_str_eq(m.status, "failed");
	ck_assert_str_eq(m.error, "a b");
	ck_assert_str_eq(m.blocked, "first");
	ck_assert_uint_eq(m.total_bytes, 100);
	ck_assert_uint_eq(m.remaining_bytes, 40);
	ck_assert_uint_eq(m.transferred_bytes, 0);
	ck_assert_int_eq(m.expected_downtime_ms, 300);
	ck_assert_int_eq(m.downtime_ms, 12);
	ck_assert(!m.listening && m.port == 0);
	end();
}
END_TEST

START_TEST(a_port_that_is_waited_on_is_taken)
{
	static const struct {
		const char *address;
		int port;
	} cases[] = {
		{"{\"type\": \"inet\", \"host\": \"::1\", \"port\": \"49153\"}", 49153},
		{"{\"type\": \"inet\", \"host\": \"::1\", \"port\": \"65536\"}", 0},
		{"{\"type\": \"inet\", \"host\": \"::1\", \"port\": \"-1\"}", 0},
		{"{\"type\": \"inet\", \"host\": \"::1\", \"port\": \"1x\"}", 0},
		{"{\"type\": \"inet\", \"host\": \"::1\", \"port\": 5}", 0},
		{"{\"type\": \"unix\", \"path\": \"/run/x\"}", 0},
		{"5", 0},
	};
	struct qmp_migration m;

	begin_open(20000);
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		_autofree_ char *text = str_printf("{\"socket-address\": [%s]}", cases[i].address);

		fake_reply(fake, "query-migrate", text);
		ck_assert_ok(qmp_migration_query(qmp, &m, &err), &err);
		ck_assert(m.listening);
		ck_assert_int_eq(m.port, cases[i].port);
	}
	end();
}
END_TEST

START_TEST(jobs_are_found_by_their_ids)
{
	const char *const ids[] = {"a", "b", "c"};
	struct qmp_job jobs[3];
	char *any;

	begin_open(20000);
	fake_reply(
		fake, "query-block-jobs",
		"[{\"device\": \"x\"}, {\"device\": \"c\", \"status\": \"concluded\", \"error\": "
		"\"No space left on device\"}, {\"device\": \"a\", \"status\": \"ready\", "
		"\"ready\": true, \"offset\": 5, \"len\": 7, \"actively-synced\": true}]");
	ck_assert_ok(qmp_jobs_query(qmp, ids, jobs, 3, &err), &err);
	ck_assert(jobs[0].found && jobs[0].ready && jobs[0].in_sync && !jobs[0].concluded);
	ck_assert_uint_eq(jobs[0].done_bytes, 5);
	ck_assert_uint_eq(jobs[0].total_bytes, 7);
	ck_assert(!jobs[1].found);
	ck_assert(jobs[2].found && jobs[2].concluded && !jobs[2].ready);
	ck_assert_str_eq(jobs[2].error, "No space left on device");
	ck_assert_ok(qmp_any_job(qmp, &any, &err), &err);
	ck_assert_str_eq(any, "x");
	free(any);
	end();
}
END_TEST

/* --- drives --- */

static json_t *recording;

static void answer_type(struct fake *f, json_t *args, void *arg)
{
	json_t *type = json_object_get(json_object_get(recording, "types"), qmp_str(args, "path"));

	(void)arg;
	ck_assert_str_eq(qmp_str(args, "property"), "type");
	if (type)
		fake_answer(f, json_incref(type));
	else
		fake_refuse(f, "Device not found");
}

static void query_recorded(const char *version, struct qmp_drives *drives)
{
	_autofree_ char *path = str_printf("%s/drives-%s.json", UNIT_DATA, version);
	json_error_t error;

	recording = json_load_file(path, 0, &error);
	ck_assert_msg(recording != NULL, "%s: %s", path, error.text);
	fake_reply_json(fake, "query-block",
			json_incref(json_object_get(recording, "query-block")));
	fake_call_fn(fake, "qom-get", answer_type, NULL);
	ck_assert_ok(qmp_drives_query(qmp, drives, &err), &err);
}

static const struct qmp_drive *drive(const struct qmp_drives *drives, const char *name)
{
	const struct qmp_drive *found = NULL;

	for (size_t i = 0; i < drives->count; i++) {
		if (!qmp_drive_is(&drives->list[i], name))
			continue;
		ck_assert_msg(!found, "%s: two drives have that name", name);
		found = &drives->list[i];
	}
	ck_assert_msg(found != NULL, "%s: no such drive", name);
	return found;
}

static void is(const char *text, const char *wanted)
{
	if (wanted)
		ck_assert_str_eq(text, wanted);
	else
		ck_assert_ptr_null(text);
}

static void check_recorded(const char *version)
{
	static const struct {
		const char *find, *name, *device, *type, *driver, *file;
		uint64_t size, cluster;
		const char *compat;
		bool removable, inserted, read_only, temporary;
	} wanted[] = {
		{"pflash0", "pflash0", "pflash0", "cfi.pflash01", "raw", "/rec/code.fd", 4 << 20, 0,
		 NULL, false, true, true, false},
		{"pflash1", "pflash1", "pflash1", "cfi.pflash01", "raw", "/rec/vars.fd", 4 << 20, 0,
		 NULL, false, true, false, false},
		{"virtio0", "virtio0", "virtio0", "virtio-blk-device", "raw", "/rec/a.raw", 1 << 20,
		 0, NULL, false, true, false, false},
		{"vd1", "dv", "dv", "virtio-blk-device", "raw", "/rec/b.raw", 2 << 20, 0, NULL,
		 false, true, false, false},
		{"vd2", "nq", NULL, "virtio-blk-device", "qcow2", "/rec/q.qcow2", 3 << 20, 131072,
		 "1.1", false, true, false, false},
		{"nold", "nold", NULL, "scsi-hd", "qcow2", "/rec/old.qcow2", 1 << 20, 65536, "0.10",
		 false, true, false, false},
		{"vd3", "over", "over", "scsi-hd", "qcow2", "/rec/over.qcow2", 1 << 20, 65536,
		 "1.1", false, true, false, false},
		{"vd4", "nt", NULL, "virtio-blk-device", "throttle", "/rec/t.raw", 1 << 20, 0, NULL,
		 false, true, false, false},
		{"dj", "dj", "dj", "virtio-blk-device", "raw", "/rec/n.raw", 512 << 10, 0, NULL,
		 false, true, false, false},
		{"snap", "snap", "snap", "virtio-blk-device", "qcow2", NULL, 1 << 20, 65536, "1.1",
		 false, true, false, true},
		{"cd0", "cd0", NULL, "ide-cd", NULL, NULL, 0, 0, NULL, true, false, false, false},
		{"cdrom1", "cd1", "cd1", "ide-cd", "raw", "/rec/cd.iso", 1 << 20, 0, NULL, true,
		 true, true, false},
		{"fd0", "nfd", NULL, "floppy", "raw", "/rec/fd.img", 1440 << 10, 0, NULL, true,
		 true, false, false},
		{"vd7", "dn", "dn", "virtio-blk-device", "raw", NULL, 1 << 20, 0, NULL, false, true,
		 false, false},
		{"idle", "idle", "idle", NULL, "raw", "/rec/c.raw", 1 << 20, 0, NULL, true, true,
		 false, false},
	};
	struct qmp_drives drives;

	begin_open(20000);
	query_recorded(version, &drives);
	ck_assert_uint_eq(drives.count, COUNT_OF(wanted));
	for (size_t i = 0; i < COUNT_OF(wanted); i++) {
		const struct qmp_drive *d = drive(&drives, wanted[i].find);

		ck_assert_str_eq(qmp_drive_name(d), wanted[i].name);
		is(d->device, wanted[i].device);
		is(d->type, wanted[i].type);
		is(d->driver, wanted[i].driver);
		if (!wanted[i].temporary)
			is(d->file, wanted[i].file);
		is(d->compat, wanted[i].compat);
		ck_assert_uint_eq(d->virtual_size, wanted[i].size);
		ck_assert_uint_eq(d->cluster_size, wanted[i].cluster);
		ck_assert_int_eq(d->removable, wanted[i].removable);
		ck_assert_int_eq(d->inserted, wanted[i].inserted);
		ck_assert_int_eq(d->read_only, wanted[i].read_only);
		ck_assert_int_eq(d->temporary, wanted[i].temporary);
		ck_assert(!d->encrypted);
		ck_assert(!d->inserted || (d->node && d->url));
	}
	ck_assert(drive(&drives, "vd3")->backing_count == 1 && !drive(&drives, "vd2")->backing);
	ck_assert_has(drive(&drives, "snap")->file, "/vl.");
	ck_assert_has(drive(&drives, "dn")->url, "nbd+unix://");
	ck_assert_ptr_null(drive(&drives, "idle")->qdev);
	ck_assert_uint_gt(drive(&drives, "vd2")->actual_size, 0);
	qmp_drives_deinit(&drives);
	json_decref(recording);
	end();
}

START_TEST(the_drives_of_7_2_are_understood)
{
	check_recorded("7.2");
}
END_TEST

START_TEST(the_drives_of_10_0_are_understood)
{
	check_recorded("10.0");
}
END_TEST

START_TEST(the_drives_of_11_1_are_understood)
{
	check_recorded("11.1");
}
END_TEST

static void image_named(const char *filename, const char *wanted)
{
	json_t *answer = json_pack("[{s:s, s:{s:s, s:s, s:{s:s}}}]", "device", "d", "inserted",
				   "node-name", "n", "drv", "raw", "image", "filename", filename);
	struct qmp_drives drives;

	fake_reply_json(fake, "query-block", answer);
	ck_assert_ok(qmp_drives_query(qmp, &drives, &err), &err);
	is(drives.list[0].file, wanted);
	ck_assert_str_eq(drives.list[0].url, filename);
	qmp_drives_deinit(&drives);
}

START_TEST(the_file_at_the_bottom_is_found)
{
	begin_open(20000);
	image_named("/srv/a:b.img", "/srv/a:b.img");
	image_named("a.img", "a.img");
	image_named("./a:b.img", "./a:b.img");
	image_named("file:a:b.img", "a:b.img");
	image_named("nbd:localhost:10809", NULL);
	image_named("nbd://h/x", NULL);
	image_named("rbd:pool/image", NULL);
	image_named("/dev/vg/lv", "/dev/vg/lv");
	image_named("json:{\"driver\": \"raw\", \"file.filename\": \"/x\"}", "/x");
	image_named("json:{\"driver\": \"file\", \"filename\": \"/x\"}", "/x");
	image_named("json:{\"driver\": \"raw\", \"file\": {\"driver\": \"host_device\", "
		    "\"filename\": \"/dev/sdb\"}}",
		    "/dev/sdb");
	image_named("json:{\"driver\": \"raw\", \"file\": {\"driver\": \"nbd\", \"path\": \"/s\"}}",
		    NULL);
	image_named("json:{\"driver\": \"raw\", \"file\": \"nodename\"}", NULL);
	image_named("json:broken", NULL);
	image_named("json:[]", NULL);
	image_named("json:{\"file\": {\"filename\": 5}}", NULL);
	end();
}
END_TEST

START_TEST(more_drives_than_any_machine_has_are_refused)
{
	struct qmp_drives drives;
	json_t *list = json_array();

	begin_open(20000);
	for (int i = 0; i < 1025; i++)
		json_array_append_new(list, json_pack("{s:s}", "device", "x"));
	fake_reply_json(fake, "query-block", list);
	ck_assert_int_eq(qmp_drives_query(qmp, &drives, &err), -1);
	ck_assert_str_eq(err.text, "hostb: shows more than 1024 drives");
	qmp_drives_deinit(&drives);
	end();
}
END_TEST

START_TEST(a_type_that_cannot_be_asked_is_no_error)
{
	struct qmp_drives drives;

	begin_open(20000);
	fake_reply(fake, "query-block", "[{\"device\": \"d\", \"qdev\": \"/machine/x\"}]");
	ck_assert_ok(qmp_drives_query(qmp, &drives, &err), &err);
	ck_assert_ptr_null(drives.list[0].type);
	qmp_drives_deinit(&drives);
	fake_hang_up(fake, "qom-get");
	ck_assert_int_eq(qmp_drives_query(qmp, &drives, &err), -1);
	ck_assert_int_eq(err.kind, ERR_CLOSED);
	qmp_drives_deinit(&drives);
	end();
}
END_TEST

START_TEST(a_device_is_known_by_its_id)
{
	char qdev[] = "/machine/peripheral/vd1/virtio-backend", id[] = "vd1", node[] = "#block7";
	struct qmp_drive d = {.qdev = qdev, .id = id, .node = node};

	ck_assert(qmp_drive_is(&d, "vd1"));
	ck_assert(qmp_drive_is(&d, qdev));
	ck_assert(qmp_drive_is(&d, "#block7"));
	ck_assert(!qmp_drive_is(&d, "vd"));
	ck_assert(!qmp_drive_is(&d, "vd11"));
	ck_assert(!qmp_drive_is(&d, ""));
	ck_assert(!qmp_drive_is(&d, "virtio-backend"));
	ck_assert_str_eq(qmp_drive_name(&d), "vd1");
	d.id = NULL;
	ck_assert(!qmp_drive_is(&d, "vd1"));
	ck_assert_str_eq(qmp_drive_name(&d), qdev);
	d.qdev = NULL;
	ck_assert_str_eq(qmp_drive_name(&d), "#block7");
	d.node = NULL;
	ck_assert_str_eq(qmp_drive_name(&d), "(unnamed)");
}
END_TEST

/* --- a day of events in some seconds --- */

#define EVENTS 1000000
#define EVENTS_A_WRITE 100

/* What a busy guest's QEMU tells for ever, from a thread of its own as fast as it is read. Between
 * its events it answers what it is asked, in order: ids go up by one. */
static void *tell_events(void *arg)
{
	_cleanup_buf_ struct buf events = {0};
	int fd = *(int *)arg, id = 0;

	dprintf(fd, "{\"QMP\": {}}\r\n");
	for (int i = 0; i < EVENTS_A_WRITE; i++)
		buf_printf(&events,
			   "{\"timestamp\": {\"seconds\": %d, \"microseconds\": %d}, \"event\": "
			   "\"BLOCK_JOB_ERROR\", \"data\": {\"device\": \"vmferry-0\", "
			   "\"operation\": \"write\", \"action\": \"report\"}}\r\n",
			   1795542167 + i, i);
	for (int told = 0; told < EVENTS; told += EVENTS_A_WRITE) {
		char chunk[4096];
		ssize_t n = recv(fd, chunk, sizeof(chunk), MSG_DONTWAIT);

		for (ssize_t i = 0; i < n; i++)
			if (chunk[i] == '\n')
				dprintf(fd,
					"{\"return\": {\"status\": \"running\", \"running\": "
					"true}, \"id\": %d}\r\n",
					++id);
		for (size_t sent = 0; sent < events.len; sent += (size_t)n) {
			n = send(fd, events.data + sent, events.len - sent, MSG_NOSIGNAL);
			if (n < 0)
				return NULL;
		}
	}
	shutdown(fd, SHUT_RDWR);
	return NULL;
}

/* KiB that we have resident; proc(5). */
static long resident_kib(void)
{
	long pages = 0, total;
	FILE *f = fopen("/proc/self/statm", "r");

	ck_assert_int_eq(fscanf(f, "%ld %ld", &total, &pages), 2);
	fclose(f);
	return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

START_TEST(a_million_events_take_no_memory)
{
	static const struct qmp_handlers handlers = {.event = on_event};
	struct qmp_status status;
	long before_kib = 0;
	int ends[2], asked = 0;
	pthread_t thread;

	loop = loop_new(NULL);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
	fcntl(ends[0], F_SETFL, O_NONBLOCK);
	pthread_create(&thread, NULL, tell_events, &ends[1]);
	qmp = qmp_open(loop, stream_socket(loop, ends[0]), "hostb", &handlers, 20000, 20000, &err);
	ck_assert_msg(qmp != NULL, "%s", err.text);
	while (qmp_status_query(qmp, &status, &err) == 0) {
		asked++;
		if (!before_kib && seen.count > EVENTS / 10)
			before_kib = resident_kib();
	}
	ck_assert_int_eq(err.kind, ERR_CLOSED);
	ck_assert_int_eq(seen.count, EVENTS);
	ck_assert_int_gt(asked, 1); /* between events, not only behind them; how often is speed */
	ck_assert_int_gt(before_kib, 0);
	ck_assert_int_lt(resident_kib() - before_kib, 1024);
	pthread_join(thread, NULL);
	close(ends[1]);
	qmp_close(qmp);
	loop_free(loop);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		a_monitor_is_opened_and_negotiated,
		a_monitor_that_another_client_holds_is_told_so,
		a_signal_ends_the_wait_for_the_greeting,
		what_is_no_greeting_is_refused,
		a_greeting_in_any_pieces_is_understood,
		a_peer_that_closes_before_it_greets_is_closed,
		a_refused_negotiation_is_an_error,
		a_line_without_end_ends_the_connection,
		deep_nesting_ends_the_connection,
		an_answer_nobody_asked_for_ends_the_connection,
		what_is_no_answer_ends_the_connection,
		a_second_answer_ends_the_connection,
		half_an_answer_and_then_the_end_is_the_end,
		empty_lines_are_passed_over,
		a_result_of_another_type_is_taken_for_nothing,
		qemus_error_is_told_with_the_command,
		an_error_without_words_is_an_error,
		control_characters_of_an_error_are_cleaned,
		quit_may_close_before_it_answers,
		events_come_before_and_after_an_answer,
		the_members_of_events_are_taken,
		an_output_cut_at_any_byte_is_the_same,
		an_output_in_single_bytes_is_the_same,
		answers_come_in_any_order,
		an_answer_after_its_deadline_is_dropped,
		one_that_hangs_is_not_waited_for_as_long_each_time,
		a_forgotten_answer_is_dropped,
		forgotten_answers_that_came_count_no_more,
		too_many_unanswered_commands_end_the_connection,
		the_end_of_the_connection_answers_every_request,
		requests_under_way_end_with_the_client,
		a_command_that_was_sent_is_seen_through,
		a_long_command_goes_out_in_pieces,
		a_descriptor_is_passed_with_its_command,
		what_is_no_descriptor_is_not_passed,
		a_status_never_heard_of_is_under_way,
		a_migrations_state_is_taken,
		a_port_that_is_waited_on_is_taken,
		jobs_are_found_by_their_ids,
		the_drives_of_7_2_are_understood,
		the_drives_of_10_0_are_understood,
		the_drives_of_11_1_are_understood,
		the_file_at_the_bottom_is_found,
		more_drives_than_any_machine_has_are_refused,
		a_type_that_cannot_be_asked_is_no_error,
		a_device_is_known_by_its_id,
		a_million_events_take_no_memory,
	};

	return unit_run("qmp", tests, COUNT_OF(tests));
}
