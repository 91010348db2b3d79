/* What of ssh_config(5) counts, and how: its keywords as `ssh -G` prints them, and a real sshd. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ssh/config.h"
#include "ssh/keyagent.h"
#include "ssh/keyword.h"
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

/* Puts lines, which end with \n, before the others of the host "good". */
static void configure(const char *lines)
{
	_autofree_ char *path = str_printf("%s/lines", server.dir);
	FILE *f = fopen(path, "we");

	ck_assert_ptr_nonnull(f);
	fprintf(f, "Host good\n%s", lines);
	fclose(f);
	server_shell(&server, "cd $DIR && cat ssh_config >> lines && mv lines ssh_config");
}

static void assert_opens(void)
{
	ssh_close(server_open(loop, &server));
}

static void assert_refused(const char *word)
{
	struct ssh_target target = server_target(&server);

	ck_assert_ptr_null(ssh_open(loop, &target, &err));
	ck_assert_msg(err.kind == ERR_REFUSED, "%s", err.text);
	ck_assert_msg(strstr(err.text, word) != NULL, "no \"%s\" in: %s", word, err.text);
}

static void assert_line_refused(const char *line, const char *word)
{
	_autofree_ char *lines = str_printf("%s\n", line);

	configure(lines);
	assert_refused(word);
	server_shell(&server, "sed -i 1,2d $DIR/ssh_config");
}

static void assert_line_opens(const char *line)
{
	_autofree_ char *lines = str_printf("%s\n", line);

	configure(lines);
	assert_opens();
	server_shell(&server, "sed -i 1,2d $DIR/ssh_config");
}

/* --- the table --- */

/* Those that are printed only when they are set; the values are of no importance. */
static const char rare[] = "BindAddress 127.0.0.1\nBindInterface lo\nCertificateFile /x\n"
			   "ControlPath /x\nDynamicForward 1\nHostKeyAlias x\nIdentityAgent none\n"
			   "KnownHostsCommand /bin/true\nLocalCommand x\nLocalForward 1 x:1\n"
			   "PKCS11Provider /x\nPreferredAuthentications password\n"
			   "RemoteCommand x\nRemoteForward 1 x:1\nRevokedHostKeys /x\n"
			   "SecurityKeyProvider /x\nSendEnv X\nSetEnv A=b\n"
			   "KbdInteractiveDevices x\nProxyUseFdpass yes\n";

static int count_unknown(const char *command)
{
	FILE *f = popen(command, "re");
	char name[64];
	int printed = 0;

	ck_assert_ptr_nonnull(f);
	while (fscanf(f, "%63s%*[^\n]", name) == 1) {
		ck_assert_msg(keyword_is_known(name), "%s: not in keyword.c", name);
		printed++;
	}
	ck_assert_int_eq(pclose(f), 0);
	return printed;
}

START_TEST(every_keyword_is_decided_upon)
{
	_autofree_ char *command = str_printf("ssh -F %s/ssh_config -G good", server.dir);

	configure(rare);
	ck_assert_int_gt(count_unknown(command), 85);
	configure("ProxyJump x\n");
	ck_assert_int_gt(count_unknown(command), 85);
	configure("ProxyCommand x\n");
	ck_assert_int_gt(count_unknown(command), 85);
	ck_assert(!keyword_is_known("nonsense"));
}
END_TEST

START_TEST(names_are_expanded)
{
	struct ssh_target target = server_target(&server);
	struct ssh_config c;

	setenv("SOME_NAME", "some", 1);
	configure("IdentityFile ~/%%x-%h-%n-%p-${SOME_NAME}\nUserKnownHostsFile /a/%k /b\n"
		  "HostKeyAlias key\nServerAliveInterval 7\nServerAliveCountMax 2\n"
		  "IdentityAgent $SOME_NAME\nConnectTimeout 77\nConnectionAttempts 4\n"
		  "AddressFamily inet6\nTCPKeepAlive no\nBatchMode yes\n"
		  "StrictHostKeyChecking no\n");
	target.connect_timeout_ms = 0;
	ck_assert_int_eq(ssh_config_read(&c, loop, &target, &err), 0);
	ck_assert_msg(strstr(c.identities.name[0], "/%x-127.0.0.1-good-"), "%s",
		      c.identities.name[0]);
	ck_assert_msg(strstr(c.identities.name[0], "-some"), "%s", c.identities.name[0]);
	ck_assert_str_eq(c.known_hosts.name[0], "/a/key");
	ck_assert_str_eq(c.known_hosts.name[1], "/b");
	ck_assert_str_eq(c.agent, "some");
	ck_assert_str_eq(c.not_strict, "no");
	ck_assert_int_eq(c.connect_timeout_ms, 77000);
	ck_assert_int_eq(c.attempts, 4);
	ck_assert_int_eq(c.alive_interval_s, 7);
	ck_assert_int_eq(c.alive_count_max, 2);
	ck_assert(c.batch && !c.tcp_keepalive);
	ssh_config_deinit(&c);
}
END_TEST

/* --- what cannot be heeded --- */

START_TEST(what_cannot_be_heeded_is_refused)
{
	assert_line_refused("RevokedHostKeys /x", "@revoked lines in known_hosts count");
	assert_line_refused("BindInterface lo", "with BindAddress");
	assert_line_refused("PubkeyAuthentication no", "by public key only");
	assert_line_refused("PreferredAuthentications password,keyboard-interactive",
			    "by public key only");
	assert_line_opens("PreferredAuthentications gssapi-with-mic,publickey");
	assert_line_opens("RevokedHostKeys none");
}
END_TEST

/* --- algorithms --- */

START_TEST(algorithms_are_those_allowed)
{
	assert_line_opens("KexAlgorithms ecdh-sha2-nistp521,sntrup761x25519-sha512@openssh.com");
	assert_line_opens("Ciphers aes256-ctr\nMACs hmac-sha2-512");
	server_shell(&server, "sed -i 1d $DIR/ssh_config"); /* it had a line more */
	assert_line_refused("KexAlgorithms sntrup761x25519-sha512@openssh.com",
			    "of the KexAlgorithms that ssh_config allows");
	assert_line_refused("Ciphers chacha20-poly1305@openssh.com", "it has aes128-ctr");
	assert_line_refused("MACs hmac-sha2-512-etm@openssh.com", "of the MACs");
	assert_line_refused("HostKeyAlgorithms rsa-sha2-512", "HostKeyAlgorithms");
	assert_line_refused("PubkeyAcceptedAlgorithms rsa-sha2-512", "PubkeyAcceptedAlgorithms");
}
END_TEST

/* The server would rather be known by its ed25519 key, which is known, too. */
START_TEST(host_key_algorithms)
{
	configure("HostKeyAlgorithms ecdsa-sha2-nistp256\n");
	assert_refused("its host key is not in");
	server_shell(&server, "cd $DIR && echo \"[127.0.0.1]:$PORT $(cut -d' ' -f1,2 "
			      "host_ecdsa.pub)\" >> known_hosts");
	assert_opens();
}
END_TEST

/* --- connecting --- */

START_TEST(bind_address)
{
	assert_line_opens("BindAddress 127.0.0.2");
	assert_line_refused("BindAddress ::1", "no numeric address of its kind");
	assert_line_refused("BindAddress localhost", "no numeric address of its kind");
}
END_TEST

START_TEST(connection_attempts)
{
	struct ssh_target target = server_target(&server);
	int64_t begun_ms = loop_now_ms();

	configure("Port 1\nConnectionAttempts 2\n");
	ck_assert_ptr_null(ssh_open(loop, &target, &err));
	ck_assert_msg(strstr(err.text, "Connection refused"), "%s", err.text);
	ck_assert_int_ge(loop_now_ms() - begun_ms, 1000);
}
END_TEST

START_TEST(address_family)
{
	struct ssh_target target = server_target(&server);

	configure("AddressFamily inet6\n");
	ck_assert_ptr_null(ssh_open(loop, &target, &err));
}
END_TEST

/* --- known hosts --- */

START_TEST(strictness_does_not_give_way)
{
	static const char *const values[] = {"no", "off", "accept-new"};

	server_shell(&server, "rm $DIR/known_hosts");
	for (int i = 0; i < 3; i++) {
		_autofree_ char *line = str_printf("StrictHostKeyChecking %s", values[i]);

		assert_line_refused(line, "does not count here");
	}
	server_shell(&server, "! test -e $DIR/known_hosts");
}
END_TEST

START_TEST(second_file_and_one_that_is_not_there)
{
	configure("UserKnownHostsFile /nonexistent/file\nCheckHostIP yes\n");
	assert_refused("its host key is not in");
	server_shell(&server, "sed -i \"s|^UserKnownHostsFile /non.*|& $DIR/other|\" "
			      "$DIR/ssh_config && mv $DIR/known_hosts $DIR/other");
	assert_opens();
}
END_TEST

START_TEST(an_authority_and_the_key_itself)
{
	server_shell(&server, "cd $DIR && echo \"@cert-authority * $(cut -d' ' -f1,2 user.pub)\""
			      " >> known_hosts");
	assert_opens();
	server_shell(&server, "sed -i 1d $DIR/known_hosts");
	assert_refused("the host's own key has to be there as well");
}
END_TEST

/* The name alone, hashed, for a port that is not 22: ssh(1) takes that, too. */
START_TEST(hashed_name_without_the_port)
{
	server_shell(&server, "cd $DIR && sed -i 's/^[^ ]*/127.0.0.1/' known_hosts && "
			      "ssh-keygen -q -H -f known_hosts >/dev/null 2>&1");
	assert_opens();
}
END_TEST

START_TEST(revoked_and_hashed)
{
	server_shell(&server, "cd $DIR && cp known_hosts plain && "
			      "ssh-keygen -q -H -f known_hosts >/dev/null 2>&1 && "
			      "sed 's/^/@revoked /' known_hosts >> plain && mv plain known_hosts");
	assert_refused("revoked");
}
END_TEST

/* --- our keys --- */

START_TEST(agents)
{
	struct keyagent *k = keyagent_start(loop, 10000, &err);
	_autofree_ char *file = str_printf("%s/user", server.dir);
	_autofree_ char *line = str_printf("IdentityAgent %s", keyagent_path(k));

	ck_assert_int_eq(keyagent_add(k, file, NULL, 10000, &err), 0);
	server_shell(&server, "rm $DIR/user");
	assert_line_opens(line);
	setenv("SOME_SOCKET", keyagent_path(k), 1);
	assert_line_opens("IdentityAgent $SOME_SOCKET");
	setenv("SSH_AUTH_SOCK", keyagent_path(k), 1);
	assert_line_opens("IdentityAgent SSH_AUTH_SOCK");
	assert_line_refused("IdentityAgent none", "no such file");
	keyagent_stop(k);
}
END_TEST

START_TEST(keys_that_cannot_be_used_are_named)
{
	server_shell(&server, "echo > $DIR/authorized_keys");
	assert_line_refused("CertificateFile /some/cert.pub", "CertificateFile /some/cert.pub:");
	assert_line_refused("PKCS11Provider /some/lib.so", "ssh-add -s /some/lib.so");
}
END_TEST

/* A certificate beside the key, which ssh-add adds, too, is in nobody's way. */
START_TEST(certificate_beside_the_key)
{
	server_shell(&server,
		     "cd $DIR && ssh-keygen -q -t ed25519 -N '' -f ca && "
		     "ssh-keygen -q -s ca -I me -n root user.pub && test -e user-cert.pub");
	assert_opens();
	server_shell(&server, "echo > $DIR/authorized_keys");
	assert_refused("a kind of key that libssh2 cannot use");
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {every_keyword_is_decided_upon,
				      names_are_expanded,
				      what_cannot_be_heeded_is_refused,
				      algorithms_are_those_allowed,
				      host_key_algorithms,
				      bind_address,
				      connection_attempts,
				      address_family,
				      strictness_does_not_give_way,
				      second_file_and_one_that_is_not_there,
				      an_authority_and_the_key_itself,
				      hashed_name_without_the_port,
				      revoked_and_hashed,
				      agents,
				      keys_that_cannot_be_used_are_named,
				      certificate_beside_the_key};

	return server_run_tests("ssh_config", tests, sizeof(tests) / sizeof(tests[0]), setup,
				teardown);
}
