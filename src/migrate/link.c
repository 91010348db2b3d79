#include "migrate/link.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/str.h"
#include "base/tcp.h"
#include "migrate/nbd.h"
#include "migrate/rejoin.h"
#include "migrate/tunnel.h"

/* How often lost connections are looked for. */
#define LOOK_MS 250

/* Without an acknowledgement for so long, it is told; the kernel of the other side acknowledges
 * whatever its programs do. */
#define QUIET_MS 3000

/* Then it is ended, and QEMU makes a new one: an old one on a network that was away comes to life
 * only after up to twice the time that it was away. */
#define PATIENCE_MS 15000

static void drop(struct disk *disk)
{
	loop_fd_del(disk->nbd_watch);
	disk->nbd_watch = NULL;
	if (disk->nbd_fd >= 0)
		close(disk->nbd_fd);
	disk->nbd_fd = -1;
}

/* --- quick answers --- */

/* QEMU's NBD server before 8.1 leaves Nagle's algorithm on and sends each answer by itself:
 * one waits until the one before it was acknowledged, which our kernel delays by 40 ms
 * unless somebody asks again and again not to. On 7.2 the copy takes twice as long without
 * this, the switchover pause is 44 ms instead of 14 (medians, guest writing 20 MB/s), and
 * blockdev-add stops the guest for 85 ms while it negotiates.
 * That server cannot be asked about it; block-job-change came a version later. */
#define QUICKACK_EVERY_MS 2

static void find(struct migration *m);

static bool all_found(const struct migration *m)
{
	for (size_t i = 0; i < m->disks.count; i++)
		if (m->disks.list[i].nbd_fd < 0)
			return false;
	return true;
}

static void keep_answers_coming(void *arg)
{
	struct migration *m = arg;

	if (m->link.expecting && !all_found(m))
		find(m);
	for (size_t i = 0; i < m->disks.count; i++)
		if (m->disks.list[i].nbd_fd >= 0)
			tcp_quickack(m->disks.list[i].nbd_fd);
}

static void begin_to_keep_answers_coming(struct migration *m)
{
	if (!m->link.quickack && !tunnel_is_used(m) && !qmp_can(&m->dst.caps, QMP_BLOCK_JOB_CHANGE))
		m->link.quickack =
			loop_timer_add(m->loop, QUICKACK_EVERY_MS, keep_answers_coming, m);
}

/* --- finding and losing --- */

static void lost_since(struct migration *m, int64_t ms)
{
	m->link.behind = true;
	if (!m->link.lost_ms || m->link.lost_ms > ms)
		m->link.lost_ms = ms;
}

/* Some connection has ended. */
static void on_end(void *arg, short revents)
{
	struct migration *m = arg;

	(void)revents;
	for (size_t i = 0; i < m->disks.count; i++) {
		struct disk *disk = &m->disks.list[i];

		if (disk->nbd_fd < 0 || tcp_health(disk->nbd_fd).stands)
			continue;
		m->link.stale = true;
		drop(disk);
		lost_since(m, loop_now_ms());
	}
}

static void take(struct migration *m, struct disk *disk, int fd)
{
	disk->nbd_fd = fd;
	if (!m->link.returns)
		return;
	tcp_keep_alive(fd, PATIENCE_MS);
	disk->nbd_watch = loop_fd_add(m->loop, fd, POLLRDHUP, on_end, m);
}

static bool is_among(int fd, const int *fds, size_t count)
{
	struct stat one, other;

	for (size_t i = 0; i < count; i++)
		if (fstat(fd, &one) == 0 && fstat(fds[i], &other) == 0 &&
		    one.st_ino == other.st_ino)
			return true;
	return false;
}

static bool is_known(const struct migration *m, int fd)
{
	for (size_t i = 0; i < m->disks.count; i++)
		if (m->disks.list[i].nbd_fd >= 0 && is_among(fd, &m->disks.list[i].nbd_fd, 1))
			return true;
	return false;
}

static struct disk *disk_without_one(const struct migration *m)
{
	for (size_t i = 0; i < m->disks.count; i++)
		if (m->disks.list[i].nbd_fd < 0)
			return &m->disks.list[i];
	return NULL;
}

/* Which connection is which disk's does not matter: all are treated alike. */
static void find(struct migration *m)
{
	int *fds;
	size_t count;

	if (tunnel_is_used(m))
		return;
	if (m->link.look)
		on_end(m, 0);
	fds = mem_zalloc(m->disks.count + 1, sizeof(*fds));
	count = tcp_connections_of(m->src_pid, m->listening.address, m->listening.nbd_port, fds,
				   m->disks.count);
	for (size_t i = 0; i < m->disks.count; i++)
		if (m->disks.list[i].nbd_fd >= 0 && !is_among(m->disks.list[i].nbd_fd, fds, count))
			drop(&m->disks.list[i]);
	for (size_t i = 0; i < count; i++) {
		struct disk *disk = disk_without_one(m);

		if (disk && !is_known(m, fds[i]) && tcp_health(fds[i]).stands)
			take(m, disk, fds[i]);
		else
			close(fds[i]);
	}
	free(fds);
}

void link_forget(struct migration *m, struct disk *disk)
{
	if (m->link.expecting)
		find(m); /* only what QEMU has now */
	else
		drop(disk);
}

#define PROBE_NAME "vmferry-probe"

bool link_can_be_seen(struct migration *m)
{
	struct err ignored;
	int pair[2];
	bool seen;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return false;
	seen = qmp_pass_fd(m->src.qmp, PROBE_NAME, pair[0], &ignored) == 0 &&
	       tcp_can_copy(m->src_pid, pair[0]);
	qmp_drop_fd(m->src.qmp, PROBE_NAME);
	close(pair[0]);
	close(pair[1]);
	return seen;
}

void link_expect(struct migration *m)
{
	m->link.expecting = m->link.made_by_qemu;
	begin_to_keep_answers_coming(m);
}

/* A resumed process needs no `made_by_qemu`: whatever QEMU has is found. */
void link_adopt(struct migration *m)
{
	m->link.returns = m->record.reconnects && link_can_be_seen(m);
	find(m);
	m->link.stale = m->link.returns && (disks_any_stopped(&m->disks) || !all_found(m));
	m->link.behind = m->link.returns; /* the one before us may not have caught up */
	begin_to_keep_answers_coming(m);
	if (tcp_connections_of(m->src_pid, m->listening.address, m->listening.ram_port, &m->ram_fd,
			       1) == 0)
		m->ram_fd = -1;
}

/* --- watching --- */

/* For how long the quietest was silent; those that were for too long are ended. */
static int64_t silent_ms(struct migration *m)
{
	int64_t longest = 0;

	for (size_t i = 0; i < m->disks.count; i++) {
		int fd = m->disks.list[i].nbd_fd;
		int64_t ms = fd >= 0 ? tcp_health(fd).silent_ms : 0;

		if (ms > longest)
			longest = ms;
		if (ms > PATIENCE_MS)
			tcp_disconnect(fd);
	}
	return longest;
}

static void tell_lost(struct migration *m)
{
	if (m->link.told || loop_now_ms() - m->link.lost_ms < 2 * LOOK_MS)
		return;
	m->link.told = true;
	migration_note(m, "the link of the disks to %s is lost; waiting for it, %.3g s at most",
		       m->dst.name, (double)m->opt->timeouts.reconnect_ms / 1000);
}

static void tell_back(struct migration *m)
{
	if (m->link.told)
		migration_note(m, "the link of the disks to %s is back after %.1f s", m->dst.name,
			       (double)(loop_now_ms() - m->link.lost_ms) / 1000);
	m->link.told = false;
	m->link.lost_ms = 0;
	m->link.why[0] = '\0';
}

static void look_at_sockets(struct migration *m)
{
	int64_t silent;

	if (!all_found(m))
		find(m);
	silent = silent_ms(m);
	if (!all_found(m))
		lost_since(m, loop_now_ms());
	else if (silent > QUIET_MS)
		lost_since(m, loop_now_ms() - silent);
	else if (m->link.lost_ms && !m->link.plugging)
		tell_back(m);
}

static void look(void *arg)
{
	struct migration *m = arg;

	if (!tunnel_is_used(m))
		look_at_sockets(m);
	else if (!tunnel_stands(m))
		lost_since(m, loop_now_ms());
	if (m->link.lost_ms)
		tell_lost(m);
}

/* A host that refuses a login is not to take us for somebody who tries passwords. */
#define LOGIN_EVERY_MS 3000

/* What a session that has ended held may yet come: nothing goes through another one before it can
 * get nowhere any more. */
static int open_session_anew(struct migration *m, struct err *err)
{
	m->link.stale = true;
	lost_since(m, loop_now_ms()); /* also when it is back before anybody looks */
	m->link.next_login_ms = loop_now_ms() + LOGIN_EVERY_MS;
	if (nbd_serve_anew(m, err) < 0 || tunnel_reopen(m, err) < 0)
		return -1;
	m->link.why[0] = '\0';
	return 0;
}

/* What cannot be had yet is tried again, for as long as --reconnect allows. */
static int not_yet(struct migration *m, const struct err *err)
{
	snprintf(m->link.why, sizeof(m->link.why), "%.255s", err->text);
	return err->kind == ERR_INTERRUPTED ? -1 : 0;
}

/* What goes through a session is not seen: it is back when each mirror goes on. */
static int mend(struct migration *m, struct err *err)
{
	struct rejoined now;

	if (tunnel_is_used(m) && !tunnel_stands(m)) {
		if (loop_now_ms() < m->link.next_login_ms)
			return 0;
		if (open_session_anew(m, err) < 0)
			return not_yet(m, err);
	}
	if (m->link.stale)
		rejoin_begin(m);
	m->link.stale = false;
	if (rejoin_mirrors(m, &now, err) < 0)
		return -1;
	if (tunnel_is_used(m) && now.all && m->link.lost_ms)
		tell_back(m);
	if (now.caught_up && !now.any_stopped && !link_is_lost(m))
		m->link.behind = false;
	return 0;
}

bool link_is_well(const struct migration *m)
{
	return !link_is_lost(m) && !m->link.behind && !disks_any_stopped(&m->disks);
}

int link_mend(struct migration *m, struct err *err)
{
	if (!m->link.returns || link_is_well(m))
		return 0;
	return mend(m, err);
}

void link_watch(struct migration *m)
{
	m->link.expecting = false;
	if (m->link.made_by_qemu && !all_found(m))
		find(m);
	if (!m->link.returns || m->link.look)
		return;
	if (!tunnel_is_used(m) && !all_found(m))
		lost_since(m, loop_now_ms());
	m->link.look = loop_timer_add(m->loop, LOOK_MS, look, m);
}

static void unwatch(struct migration *m)
{
	loop_timer_del(m->link.look);
	m->link.look = NULL;
	m->link.lost_ms = 0;
	for (size_t i = 0; i < m->disks.count; i++) {
		loop_fd_del(m->disks.list[i].nbd_watch);
		m->disks.list[i].nbd_watch = NULL;
	}
}

bool link_is_lost(const struct migration *m)
{
	return m->link.look && m->link.lost_ms;
}

bool link_stands(struct migration *m)
{
	on_end(m, 0); /* what is known by now */
	return all_found(m);
}

bool link_lacks_some(struct migration *m)
{
	if (tunnel_is_used(m))
		return tunnel_stands(m);
	if (!link_stands(m))
		find(m);
	return !all_found(m) && silent_ms(m) <= QUIET_MS;
}

void link_settle(struct migration *m)
{
	unwatch(m);
	m->link.returns = false;
}

bool link_has_failed(const struct migration *m, struct err *err)
{
	int64_t reconnect_ms = m->opt->timeouts.reconnect_ms;

	if (!link_is_lost(m) || loop_now_ms() - m->link.lost_ms <= reconnect_ms)
		return false;
	err_set(err, ERR_FAILED,
		"%s: the link of the disks did not come back within %.3g s (--reconnect)%s%s",
		m->dst.name, (double)reconnect_ms / 1000, m->link.why[0] ? ": " : "", m->link.why);
	return true;
}

/* --- ending --- */

/* For QEMU's answer, which comes at once, also while its main loop stands still. */
#define YANK_MS 1000

/* Also those that would come back; see qmp_target. It is seen that QEMU has given them up, before
 * it can see one of them end: it would connect anew at once, and the server over there, told to end
 * in the middle of that handshake, hang (7.2; see qmp_nbd_stop_send). Over 4 Mbit/s that was every
 * second move that was given up. */
static void yank(struct migration *m)
{
	struct qmp_request **requests = mem_zalloc(2 * m->disks.count + 1, sizeof(*requests));
	size_t count = 0;
	struct err ignored;

	for (size_t i = 0; i < m->disks.count && !m->in_stream; i++) {
		requests[count++] = qmp_node_yank_send(m->src.qmp, m->disks.list[i].nbd);
		if (m->disks.list[i].has_plug)
			requests[count++] = qmp_node_yank_send(m->src.qmp, m->disks.list[i].plug);
	}
	qmp_set_answer_timeout(m->src.qmp, YANK_MS);
	for (size_t i = 0; i < count; i++)
		if (qmp_finish(requests[i], &ignored) < 0 && ignored.kind == ERR_TIMEOUT)
			qmp_set_answer_timeout(m->src.qmp, 0);
	qmp_set_answer_timeout(m->src.qmp, m->opt->timeouts.answer_ms);
	free(requests);
}

/* Our descriptors and QEMU's are one socket each. */
void link_end(struct migration *m)
{
	unwatch(m);
	for (size_t i = 0; i < m->disks.count; i++)
		if (m->disks.list[i].nbd_fd >= 0)
			tcp_disconnect(m->disks.list[i].nbd_fd);
}

void link_hang_up(struct migration *m)
{
	if (m->src.qmp && qmp_can(&m->src.caps, QMP_YANK))
		yank(m);
	tunnel_hang_up(m);
	if (m->record.reconnects) /* it may have made others since */
		find(m);
	link_end(m);
}

void link_close(struct migration *m)
{
	unwatch(m);
	loop_timer_del(m->link.quickack);
	m->link.quickack = NULL;
	for (size_t i = 0; i < m->disks.count; i++)
		drop(&m->disks.list[i]);
}
