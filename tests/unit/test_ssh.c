/* Getting in, against a real sshd: addresses, host keys, our keys. */
#include <check.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ssh/keyagent.h"
#include "test_ssh_server.h"

static struct server server;
static struct loop *loop;
static struct err err;

static void setup(void)
{
	server_start(&server, NULL);
	loop = loop_new(&err);
}

static void teardown(void)
{
	loop_free(loop);
	server_stop(&server);
}

static void assert_opens(void)
{
	ssh_close(server_open(loop, &server));
}

/* That it is refused, with each of the words in the error. */
static void assert_refused(const struct ssh_target *target, const char *const *words)
{
	struct ssh *ssh = ssh_open(loop, target, &err);

	ck_assert_ptr_null(ssh);
	for (; *words; words++)
		ck_assert_msg(strstr(err.text, *words) != NULL, "no \"%s\" in: %s", *words,
			      err.text);
}

#define REFUSED(target, ...) assert_refused((target), (const char *const[]){__VA_ARGS__, NULL})

static void assert_good_refused(const char *const *words)
{
	struct ssh_target target = server_target(&server);

	assert_refused(&target, words);
	ck_assert_int_eq(err.kind, ERR_REFUSED);
}

#define GOOD_REFUSED(...) assert_good_refused((const char *const[]){__VA_ARGS__, NULL})

START_TEST(opens_by_alias)
{
	struct ssh *ssh = server_open(loop, &server);

	ck_assert_str_eq(ssh_peer_address(ssh), "127.0.0.1");
	ssh_close(ssh);
}
END_TEST

START_TEST(opens_by_what_the_user_says)
{
	_autofree_ char *key = str_printf("%s/user", server.dir);
	_autofree_ char *known = str_printf("%s/known_hosts", server.dir);
	struct ssh_target target = {
		.host = "127.0.0.1",
		.port = server.port,
		.config = "none",
		.identity = key,
		.known_hosts = known,
	};
	struct ssh *ssh = ssh_open(loop, &target, &err);

	ck_assert_msg(ssh != NULL, "%s", err.text);
	ssh_close(ssh);
}
END_TEST

START_TEST(opens_by_name)
{
	server_shell(&server, "sed -i s/127.0.0.1/localhost/ $DIR/ssh_config $DIR/known_hosts");
	assert_opens();
}
END_TEST

START_TEST(no_such_name)
{
	struct ssh_target target = server_target(&server);

	target.host = "nowhere.invalid";
	REFUSED(&target, "nowhere.invalid", "there is no host named");
}
END_TEST

START_TEST(nobody_listens)
{
	struct ssh_target target = server_target(&server);

	server_shell(&server, "sed -i s/$PORT/1/ $DIR/ssh_config");
	REFUSED(&target, "good: connect to 127.0.0.1 port 1", "Connection refused", "sshd");
}
END_TEST

/* A listener that accepts and says nothing, and one that has no room. */
START_TEST(server_never_speaks)
{
	struct ssh_target target = server_target(&server);
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(a);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	ck_assert_int_eq(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	ck_assert_int_eq(listen(fd, 4), 0);
	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&a, &len), 0);
	target.host = "127.0.0.1";
	target.port = ntohs(a.sin_port);
	target.connect_timeout_ms = 300;
	REFUSED(&target, "127.0.0.1: timed out after", "SSH handshake");
	ck_assert_int_eq(err.kind, ERR_TIMEOUT);
	close(fd);
}
END_TEST

START_TEST(bad_ssh_config_is_told)
{
	server_shell(&server, "echo Nonsense yes >> $DIR/ssh_config");
	GOOD_REFUSED("good: ssh -G", "nonsense");
}
END_TEST

START_TEST(unknown_host_key)
{
	server_shell(&server, "rm $DIR/known_hosts");
	GOOD_REFUSED("good: its host key is not in", "/known_hosts",
		     "ED25519 SHA256:", "ssh-keyscan -t ed25519 -p", "127.0.0.1 >> ");
}
END_TEST

START_TEST(changed_host_key)
{
	server_shell(&server, "cd $DIR && echo \"[127.0.0.1]:$PORT $(cut -d' ' -f1,2 user.pub)\""
			      " > known_hosts");
	GOOD_REFUSED("good: ITS HOST KEY HAS CHANGED", "listening in", "line 1",
		     "ssh-keygen -R '[127.0.0.1]:");
}
END_TEST

START_TEST(revoked_host_key)
{
	server_shell(&server, "cd $DIR && echo \"@revoked * $(cut -d' ' -f1,2 host_ed25519.pub)\""
			      " >> known_hosts");
	GOOD_REFUSED("revoked");
}
END_TEST

START_TEST(certificate_authority_only)
{
	server_shell(&server, "cd $DIR && sed -i 's/^/@cert-authority /' known_hosts");
	GOOD_REFUSED("its host key is not in", "@cert-authority");
}
END_TEST

START_TEST(hashed_host_key)
{
	server_shell(&server, "ssh-keygen -q -H -f $DIR/known_hosts 2>&1 >/dev/null && "
			      "grep -q '^|1|' $DIR/known_hosts");
	assert_opens();
}
END_TEST

START_TEST(changed_hashed_host_key)
{
	server_shell(&server, "cd $DIR && ssh-keygen -q -H -f known_hosts >/dev/null 2>&1 && "
			      "sed -i \"s|AAAA.*|$(cut -d' ' -f2 user.pub)|\" known_hosts");
	GOOD_REFUSED("HAS CHANGED");
}
END_TEST

START_TEST(host_key_by_pattern_and_second_file)
{
	server_shell(&server, "cd $DIR && cp known_hosts other && echo '# empty' > known_hosts && "
			      "sed -i 's/^[^ ]*/!bad,[127.0.*]:*/' other && "
			      "sed -i \"s|^UserKnown.*|& $DIR/other|\" ssh_config");
	assert_opens();
}
END_TEST

START_TEST(host_key_alias)
{
	server_shell(&server, "cd $DIR && sed -i 's/^[^ ]*/lovely/' known_hosts && "
			      "sed -i '1aHostKeyAlias lovely' ssh_config");
	assert_opens();
}
END_TEST

/* The server prefers ed25519, but only its ecdsa key is known. */
START_TEST(known_kind_of_key_is_asked_for)
{
	server_shell(&server, "cd $DIR && echo \"[127.0.0.1]:$PORT $(cut -d' ' -f1,2 "
			      "host_ecdsa.pub)\" > known_hosts");
	assert_opens();
}
END_TEST

START_TEST(only_rsa_host_key_known)
{
	server_shell(&server,
		     "cd $DIR && ssh-keygen -q -t rsa -b 2048 -N '' -f rsa && "
		     "echo \"[127.0.0.1]:$PORT $(cut -d' ' -f1,2 rsa.pub)\" > known_hosts");
	GOOD_REFUSED("its host key is not in", "only its RSA key is there", "ssh-keyscan");
}
END_TEST

START_TEST(no_key_is_accepted)
{
	server_shell(&server, "cd $DIR && echo > authorized_keys && "
			      "ssh-keygen -q -t ed25519 -N secret -f locked && "
			      "cp user open && chmod 644 open && "
			      "echo garbage > garbage && chmod 600 garbage && "
			      "for f in locked open garbage; do "
			      "  echo IdentityFile $DIR/$f >> ssh_config; done");
	GOOD_REFUSED("good: no key lets", "/user: refused by the server",
		     "/locked: needs a passphrase", "ssh-add", "/open: its permissions",
		     "/garbage: ", "authorized_keys");
}
END_TEST

START_TEST(no_key_file)
{
	server_shell(&server, "rm $DIR/user");
	GOOD_REFUSED("/user: no such file");
}
END_TEST

START_TEST(wrong_user)
{
	struct ssh_target target = server_target(&server);

	target.user = "nobody-such";
	REFUSED(&target, "no key lets nobody-such log in");
}
END_TEST

/* RSA keys of all formats need rsa-sha2, which libssh2 1.10 has not by itself. */
START_TEST(rsa_key_file)
{
	server_shell(&server, "cd $DIR && ssh-keygen -q -t rsa -b 2048 -N '' -f user2 && "
			      "cp user2.pub authorized_keys && mv user2 user");
	assert_opens();
}
END_TEST

START_TEST(pem_key_files)
{
	server_shell(&server, "cd $DIR && rm user && "
			      "ssh-keygen -q -t ecdsa -m PEM -N '' -f user3 && "
			      "cp user3.pub authorized_keys && mv user3 user");
	assert_opens();
}
END_TEST

START_TEST(agent_key)
{
	struct keyagent *k = keyagent_start(loop, 10000, &err);
	_autofree_ char *file = str_printf("%s/user", server.dir);

	ck_assert_msg(k != NULL, "%s", err.text);
	ck_assert_int_eq(keyagent_add(k, file, NULL, 10000, &err), 0);
	setenv("SSH_AUTH_SOCK", keyagent_path(k), 1);
	server_shell(&server, "cd $DIR && rm user && sed -i /IdentityAgent/d ssh_config");
	assert_opens();
	keyagent_stop(k);
}
END_TEST

/* IdentitiesOnly: the agent's key that belongs to no key file is not shown. */
START_TEST(agent_key_of_no_file)
{
	struct keyagent *k = keyagent_start(loop, 10000, &err);
	_autofree_ char *file = str_printf("%s/user", server.dir);

	ck_assert_msg(k != NULL, "%s", err.text);
	ck_assert_int_eq(keyagent_add(k, file, NULL, 10000, &err), 0);
	setenv("SSH_AUTH_SOCK", keyagent_path(k), 1);
	server_shell(&server,
		     "cd $DIR && rm user user.pub && sed -i /IdentityAgent/d ssh_config && "
		     "echo IdentitiesOnly yes >> ssh_config");
	GOOD_REFUSED("no key lets", "/user: no such file");
	keyagent_stop(k);
}
END_TEST

START_TEST(too_many_keys)
{
	struct ssh_target target = server_target(&server);

	server_shell(&server, "cd $DIR && echo > authorized_keys && for i in 1 2 3 4 5 6 7 8; do "
			      "ssh-keygen -q -t ed25519 -N '' -f k$i; "
			      "echo IdentityFile $DIR/k$i >> ssh_config; done");
	REFUSED(&target, "good: the SSH connection was lost", "Too many authentication failures",
		"/k1: refused", "by -i");
	ck_assert_int_eq(err.kind, ERR_CLOSED);
}
END_TEST

START_TEST(nothing_is_left_behind)
{
	_autofree_ char *tmp = str_printf("%s/tmp", server.dir);

	server_shell(&server, "mkdir $DIR/tmp");
	setenv("TMPDIR", tmp, 1);
	assert_opens();
	server_shell(&server, "rmdir $DIR/tmp"); /* which was in use, and is empty */
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {opens_by_alias,
				      opens_by_what_the_user_says,
				      opens_by_name,
				      no_such_name,
				      nobody_listens,
				      server_never_speaks,
				      bad_ssh_config_is_told,
				      unknown_host_key,
				      changed_host_key,
				      revoked_host_key,
				      certificate_authority_only,
				      hashed_host_key,
				      changed_hashed_host_key,
				      host_key_by_pattern_and_second_file,
				      host_key_alias,
				      known_kind_of_key_is_asked_for,
				      only_rsa_host_key_known,
				      no_key_is_accepted,
				      no_key_file,
				      wrong_user,
				      rsa_key_file,
				      pem_key_files,
				      agent_key,
				      agent_key_of_no_file,
				      too_many_keys,
				      nothing_is_left_behind};

	return server_run_tests("ssh", tests, sizeof(tests) / sizeof(tests[0]), setup, teardown);
}
