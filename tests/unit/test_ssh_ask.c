/* Keys that want a passphrase: who is asked, when, and how often. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ssh/wire.h"
#include "test_ssh_server.h"

static struct server server;
static struct loop *loop;
static struct err err;

/* What the user will answer, and what he was asked. */
static const char *answers[8];
static enum err_kind refusal;
static int asked;
static char prompt_seen[256];

static int fake_ask(struct loop *l, const char *prompt, char *secret, size_t size, struct err *e)
{
	ck_assert_ptr_eq(l, loop);
	snprintf(prompt_seen, sizeof(prompt_seen), "%s", prompt);
	if (refusal)
		return err_set(e, refusal, "nobody is there");
	ck_assert_ptr_nonnull(answers[asked]);
	snprintf(secret, size, "%s", answers[asked++]);
	return 0;
}

static void setup(void)
{
	server_start(&server, NULL);
	loop = loop_new(&err);
	memset(answers, 0, sizeof(answers));
	refusal = ERR_NONE;
	asked = 0;
}

static void teardown(void)
{
	loop_free(loop);
	server_stop(&server);
}

START_TEST(base64_both_ways)
{
	static const char *const wrong[] = {"", "A", "AAAAA", "A*AA", "AA AA", "="};
	unsigned char bytes[200];

	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (unsigned char)(i * 37);
	for (size_t len = 1; len <= sizeof(bytes); len++) {
		_autofree_ char *text = wire_base64(bytes, len);
		struct buf back = {0};

		ck_assert(wire_from_base64(text, &back));
		ck_assert_uint_eq(back.len, len);
		ck_assert_mem_eq(back.data, bytes, len);
		buf_deinit(&back);
	}
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		struct buf back = {0};

		ck_assert_msg(!wire_from_base64(wrong[i], &back), "%s", wrong[i]);
		buf_deinit(&back);
	}
}
END_TEST

/* The user's only key is made anew by ssh-keygen with these options. */
static void make_key(const char *options)
{
	_autofree_ char *command = str_printf("cd $DIR && rm user user.pub && "
					      "ssh-keygen -q -C test -f user %s && "
					      "cp user.pub authorized_keys",
					      options);

	server_shell(&server, command);
}

static struct ssh *open_asking(void)
{
	struct ssh_target target = server_target(&server);

	target.ask = fake_ask;
	return ssh_open(loop, &target, &err);
}

static void assert_opens(int questions)
{
	struct ssh *ssh = open_asking();

	ck_assert_msg(ssh != NULL, "%s", err.text);
	ck_assert_int_eq(asked, questions);
	ssh_close(ssh);
}

static void assert_refused(int questions, const char *word)
{
	ck_assert_ptr_null(open_asking());
	ck_assert_msg(strstr(err.text, word) != NULL, "no \"%s\" in: %s", word, err.text);
	ck_assert_int_eq(asked, questions);
}

static const char *const kinds[] = {
	"-t ed25519",
	"-t ecdsa -b 384",
	"-t rsa -b 2048",
	"-t ecdsa -b 256 -m PEM",
	"-t rsa -b 2048 -m PEM",
	"-t rsa -b 2048 -m PKCS8",
};

START_TEST(each_kind_of_key)
{
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		_autofree_ char *options = str_printf("%s -N \"it's \\\"50%%\\\" \\$x\"", kinds[i]);

		make_key(options);
		answers[0] = "it's \"50%\" $x";
		asked = 0;
		assert_opens(1);
	}
	ck_assert_msg(strstr(prompt_seen, "/user, for ") && strstr(prompt_seen, "@good: "), "%s",
		      prompt_seen);
}
END_TEST

START_TEST(the_third_answer_is_right)
{
	make_key("-t ed25519 -N secret");
	answers[0] = "wrong";
	answers[1] = "also wrong";
	answers[2] = "secret";
	assert_opens(3);
}
END_TEST

START_TEST(three_wrong_answers)
{
	make_key("-t ed25519 -N secret");
	answers[0] = answers[1] = answers[2] = "wrong";
	assert_refused(3, "/user: wrong passphrase");
	ck_assert_int_eq(err.kind, ERR_REFUSED);
}
END_TEST

START_TEST(no_answer_goes_on)
{
	make_key("-t ed25519 -N secret");
	answers[0] = "";
	assert_refused(1, "/user: no passphrase was given");
}
END_TEST

START_TEST(interrupted)
{
	make_key("-t ed25519 -N secret");
	refusal = ERR_INTERRUPTED;
	assert_refused(0, "nobody is there");
	ck_assert_int_eq(err.kind, ERR_INTERRUPTED);
}
END_TEST

START_TEST(nobody_is_there)
{
	make_key("-t ed25519 -N secret");
	refusal = ERR_FAILED;
	assert_refused(0, "/user: nobody is there");
	ck_assert_int_eq(err.kind, ERR_REFUSED);
}
END_TEST

START_TEST(batch_mode_of_the_configuration)
{
	make_key("-t ed25519 -N secret");
	server_shell(&server, "echo BatchMode yes >> $DIR/ssh_config");
	assert_refused(0, "ssh-add");
}
END_TEST

START_TEST(an_open_key_comes_first)
{
	server_shell(&server, "cd $DIR && ssh-keygen -q -t ed25519 -N secret -f locked && "
			      "cat locked.pub >> authorized_keys && "
			      "sed -i \"s|^Host \\*|&\\nIdentityFile $DIR/locked|\" ssh_config");
	assert_opens(0);
}
END_TEST

/* Nobody is asked for the passphrase of a key that does not help. */
START_TEST(a_key_that_the_server_does_not_take)
{
	make_key("-t ed25519 -N secret");
	server_shell(&server, "echo > $DIR/authorized_keys");
	assert_refused(0, "/user: refused by the server");
}
END_TEST

START_TEST(a_key_without_its_public_part)
{
	make_key("-t ed25519 -N secret");
	server_shell(&server, "rm $DIR/user.pub");
	answers[0] = "secret";
	assert_opens(1);
}
END_TEST

/* Connecting again, the user is not asked again. */
START_TEST(the_key_is_kept)
{
	struct ssh_target target = server_target(&server);
	struct ssh *ssh;

	make_key("-t ed25519 -N secret");
	answers[0] = "secret";
	target.ask = fake_ask;
	target.keys = ssh_keys_new();
	ssh = ssh_open(loop, &target, &err);
	ck_assert_msg(ssh != NULL, "%s", err.text);
	ssh_close(ssh);
	target.ask = NULL;
	ssh = ssh_open(loop, &target, &err);
	ck_assert_msg(ssh != NULL, "%s", err.text);
	ssh_close(ssh);
	ssh_keys_free(target.keys);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {base64_both_ways,
				      each_kind_of_key,
				      the_third_answer_is_right,
				      three_wrong_answers,
				      no_answer_goes_on,
				      interrupted,
				      nobody_is_there,
				      batch_mode_of_the_configuration,
				      an_open_key_comes_first,
				      a_key_that_the_server_does_not_take,
				      a_key_without_its_public_part,
				      the_key_is_kept};

	return server_run_tests("ssh_ask", tests, sizeof(tests) / sizeof(tests[0]), setup,
				teardown);
}
