#include "test_ssh_server.h"

#include <arpa/inet.h>
#include <check.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static void echo(int fd)
{
	char chunk[16384];
	ssize_t n;

	while ((n = read(fd, chunk, sizeof(chunk))) > 0 &&
	       !memmem(chunk, (size_t)n, SERVER_QUIT, sizeof(SERVER_QUIT)))
		for (ssize_t done = 0, w; done < n; done += w)
			if ((w = write(fd, chunk + done, (size_t)(n - done))) < 0)
				_exit(0);
	_exit(0);
}

static void sshd(int fd, const char *dir)
{
	char config[64];

	snprintf(config, sizeof(config), "%s/sshd_config", dir);
	dup2(fd, 0);
	dup2(fd, 1);
	execl("/usr/sbin/sshd", "sshd", "-i", "-e", "-f", config, NULL);
	_exit(127);
}

static void serve(int listener, bool is_ssh, const char *dir)
{
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

	if (fd < 0)
		return;
	if (fork() == 0) {
		signal(SIGCHLD, SIG_DFL);
		if (is_ssh)
			sshd(fd, dir);
		echo(fd);
	}
	close(fd);
}

/* Serves until the test lets go of the lifeline, or is gone. */
static void guard(const struct server *s, int lifeline, int tcp, int sock)
{
	struct pollfd fds[] = {{lifeline, POLLIN, 0}, {tcp, POLLIN, 0}, {sock, POLLIN, 0}};
	char command[64];

	setpgid(0, 0);
	signal(SIGCHLD, SIG_IGN);
	while (poll(fds, 3, -1) >= 0 && !fds[0].revents) {
		if (fds[1].revents)
			serve(tcp, true, s->dir);
		if (fds[2].revents)
			serve(sock, false, s->dir);
	}
	signal(SIGCHLD, SIG_DFL);
	snprintf(command, sizeof(command), "rm -rf %s", s->dir);
	if (system(command) != 0)
		perror(command);
	kill(0, SIGKILL);
}

static int listen_tcp(int *port)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(a);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	ck_assert_int_eq(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	ck_assert_int_eq(listen(fd, 16), 0);
	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&a, &len), 0);
	*port = ntohs(a.sin_port);
	return fd;
}

static int listen_unix(const char *path)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	strcpy(a.sun_path, path);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	ck_assert_int_eq(listen(fd, 16), 0);
	return fd;
}

static const char make_files[] =
	"cd $DIR && "
	"ssh-keygen -q -t ed25519 -N '' -f host_ed25519 && "
	"ssh-keygen -q -t ecdsa -N '' -f host_ecdsa && "
	"ssh-keygen -q -t ed25519 -N '' -C test -f user && "
	"cp user.pub authorized_keys && "
	"echo \"[127.0.0.1]:$PORT $(cut -d' ' -f1,2 host_ed25519.pub)\" > known_hosts && "
	"cat > sshd_config <<END\n"
	"HostKey $DIR/host_ed25519\nHostKey $DIR/host_ecdsa\n"
	"AuthorizedKeysFile $DIR/authorized_keys\nPidFile none\nUsePAM no\nStrictModes no\n"
	"PermitRootLogin yes\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n"
	"LogLevel QUIET\n"
	"SetEnv SHLVL=1\n" /* else bash reads root's .bashrc, and does what stands there */
	"$EXTRA\n"
	"END\n"
	"grep -q '^Subsystem' sshd_config || echo 'Subsystem sftp internal-sftp' >> sshd_config;"
	"cat > ssh_config <<END\n"
	"Host good\nHostName 127.0.0.1\nPort $PORT\n"
	"Host *\nIdentityAgent none\nIdentityFile $DIR/user\nUserKnownHostsFile $DIR/known_hosts\n"
	"GlobalKnownHostsFile /dev/null\n"
	"END\n";

void server_shell(const struct server *s, const char *command)
{
	char port[16];

	snprintf(port, sizeof(port), "%d", s->port);
	setenv("DIR", s->dir, 1);
	setenv("PORT", port, 1);
	ck_assert_msg(system(command) == 0, "failed: %s", command);
}

void server_start(struct server *s, const char *sshd_config)
{
	int lifeline[2];
	int tcp, sock;

	unsetenv("SSH_AUTH_SOCK");
	strcpy(s->dir, "/tmp/vmferry-test-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(s->dir));
	snprintf(s->echo, sizeof(s->echo), "%s/echo", s->dir);
	snprintf(s->config, sizeof(s->config), "%s/ssh_config", s->dir);
	if (getuid() == 0)
		mkdir("/run/sshd", 0755); /* sshd's own, which its unit file would make */
	tcp = listen_tcp(&s->port);
	sock = listen_unix(s->echo);
	ck_assert_int_eq(pipe2(lifeline, O_CLOEXEC), 0);
	s->guardian = fork();
	if (s->guardian == 0) {
		close(lifeline[1]);
		guard(s, lifeline[0], tcp, sock);
	}
	setpgid(s->guardian, s->guardian);
	close(lifeline[0]);
	close(tcp);
	close(sock);
	s->lifeline = lifeline[1];
	setenv("EXTRA", sshd_config ? sshd_config : "", 1);
	server_shell(s, make_files);
}

void server_stop(struct server *s)
{
	if (s->guardian <= 0)
		return;
	close(s->lifeline);
	waitpid(s->guardian, NULL, 0);
	s->guardian = 0;
}

struct ssh_target server_target(const struct server *s)
{
	return (struct ssh_target){
		.host = "good",
		.config = s->config,
		.connect_timeout_ms = 20000,
		.answer_timeout_ms = 20000,
	};
}

struct ssh *server_open(struct loop *loop, const struct server *s)
{
	struct ssh_target target = server_target(s);
	struct err err = {0};
	struct ssh *ssh = ssh_open(loop, &target, &err);

	ck_assert_msg(ssh != NULL, "%s", err.text);
	return ssh;
}

int server_run_tests(const char *name, const TTest *const *tests, size_t count, void (*setup)(void),
		     void (*teardown)(void))
{
	TCase *tc = tcase_create(name);
	Suite *suite = suite_create(name);
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_set_timeout(tc, 90);
	for (size_t i = 0; i < count; i++)
		tcase_add_test(tc, tests[i]);
	suite_add_tcase(suite, tc);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
