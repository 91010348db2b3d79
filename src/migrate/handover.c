#include "migrate/handover.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/str.h"
#include "migrate/look.h"
#include "migrate/mark.h"
#include "migrate/source_process.h"

void handover_note_of(const struct migration *m, char *note, size_t size)
{
	snprintf(note, size, "vmferry-%s", m->id);
}

/* --- writing --- */

static char *boot_id(const struct migration *m)
{
	struct file_id id;

	return host_file_id(m->here, "/", &id, m->opt->timeouts.answer_ms, NULL) == 0
		       ? str_dup(id.boot_id)
		       : NULL;
}

static char *own_hostname(void)
{
	char name[256] = "";

	return gethostname(name, sizeof(name) - 1) == 0 && name[0] ? str_dup(name) : NULL;
}

void handover_check_process(struct migration *m)
{
	_autofree_ char *process = process_name(m->dst_pid);

	if (m->cookie->process && !str_eq(process, m->cookie->process))
		problems_add(&m->problems,
			     "%s: the QEMU of %s is not the one that prepare has got ready: it is "
			     "left as it is",
			     m->dst.name, m->opt->dst.socket);
}

static void write_disk(const struct disk *disk, struct cookie_disk *to)
{
	const struct qmp_drive *src = disk->src;

	*to = (struct cookie_disk){
		.name = str_dup(disk->name),
		.src = disk->src_path && *disk->src_path == '/' ? str_dup(disk->src_path) : NULL,
		.size = src->virtual_size,
		.device = str_dup(src->device),
		.node = str_dup(src->node),
		.qdev = str_dup(src->qdev),
		.format = str_dup(src->driver),
		.allocated = src->actual_size,
		.cluster_size = src->cluster_size,
		.compat = str_dup(src->compat),
		.storage = str_dup(disk->storage),
		.mode = disk->mode,
		.backing = str_dup(disk->backing),
		.backing_size = disk->backing_size,
	};
}

/* What prepare knows. */
static void write_disk_over_there(const struct migration *m, const struct disk *disk,
				  struct cookie_disk *to)
{
	if (!m->in_stream)
		to->export = str_dup(disk->export);
	to->dst = disk->dst_path && *disk->dst_path == '/' ? str_dup(disk->dst_path) : NULL;
	to->dst_size = disk->dst_size;
	to->made = disk->made_path != NULL;
}

static void write_disks(const struct migration *m, struct cookie *cookie)
{
	cookie->disks_count = m->disks.count;
	cookie->disks = mem_zalloc(m->disks.count + 1, sizeof(*cookie->disks));
	for (size_t i = 0; i < m->disks.count; i++) {
		write_disk(&m->disks.list[i], &cookie->disks[i]);
		if (m->phase == PHASE_PREPARE)
			write_disk_over_there(m, &m->disks.list[i], &cookie->disks[i]);
	}
}

/* The phases after prepare have nothing to add to what was agreed, whatever they have seen. */
static void pass_on(const struct migration *m, struct cookie *cookie)
{
	const struct cookie *from = m->cookie;

	free(cookie->name);
	free(cookie->uuid);
	cookie->name = str_dup(from->name);
	cookie->uuid = str_dup(from->uuid);
	cookie->nbd = from->method == COOKIE_NBD && from->disks_count;
	cookie->method = from->method;
	cookie->started = from->started;
	free(cookie->process);
	cookie->process = str_dup(from->process);
	cookie->completed = m->phase == PHASE_PERFORM ? !cookie->failed : from->completed;
	cookie->disks_count = from->disks_count;
	cookie->disks = mem_zalloc(from->disks_count + 1, sizeof(*cookie->disks));
	for (size_t i = 0; i < from->disks_count; i++)
		cookie_disk_copy(&cookie->disks[i], &from->disks[i]);
}

static void write_settings(const struct migration *m, struct cookie *cookie)
{
	cookie->src_capabilities = cookie->dst_capabilities = m->capabilities_set;
	if (m->parameters_set) {
		cookie->max_bandwidth = m->src_parameters.max_bandwidth;
		cookie->downtime_limit = m->src_parameters.downtime_limit_ms;
	}
}

static enum cookie_phase cookie_phase_of(enum phase phase)
{
	static const enum cookie_phase phases[] = {
		[PHASE_BEGIN] = COOKIE_BEGIN,
		[PHASE_PREPARE] = COOKIE_PREPARE,
		[PHASE_PERFORM] = COOKIE_PERFORM,
		[PHASE_FINISH] = COOKIE_FINISH,
	};

	return phases[phase];
}

void handover_write(const struct migration *m, const struct err *failure, struct cookie *cookie)
{
	*cookie = (struct cookie){
		.name = m->guest.name[0] ? str_dup(m->guest.name) : NULL,
		.uuid = str_dup(m->guest.uuid),
		.hostname = own_hostname(),
		.hostuuid = boot_id(m),
		.phase = cookie_phase_of(m->phase),
		.nbd = m->disks.count && !m->in_stream,
		.nbd_port = m->phase == PHASE_PREPARE ? m->listening.nbd_port : 0,
		.vmferry = true,
		.id = str_dup(m->id),
		.method = m->in_stream ? COOKIE_BLOCK : COOKIE_NBD,
		.stream = m->phase == PHASE_BEGIN && can_stream(m),
		.incremental = m->incremental,
		.failed = failure != NULL,
		.reason = failure ? str_dup(failure->text) : NULL,
		.was_running = m->was_running,
		.address = m->phase == PHASE_PREPARE ? str_dup(m->listening.address) : NULL,
		.ram_port = m->phase == PHASE_PREPARE ? m->listening.ram_port : 0,
		.process = m->phase == PHASE_PREPARE ? process_name(m->dst_pid) : NULL,
		.started = m->started_dst,
		.hangup_kills = m->hangup_kills,
	};
	write_settings(m, cookie);
	if (m->phase > PHASE_PREPARE)
		pass_on(m, cookie);
	else
		write_disks(m, cookie);
}

/* --- reading --- */

/* prepare's is not finish's, whoever has lost the one between. */
static int check_phase(const struct migration *m, struct err *err)
{
	enum phase before = m->phase - 1;

	if (m->cookie->phase == cookie_phase_of(before))
		return 0;
	return err_set(err, ERR_REFUSED,
		       "this is the cookie of %s; %s takes that of %s (vmferry %s ... > cookie)",
		       cookie_phase_name(m->cookie->phase), phase_name(m->phase),
		       phase_name(before), phase_name(before));
}

/* begin's may be another tool's; the later ones must tell more than those do. */
static int check_origin(const struct migration *m, struct err *err)
{
	if (m->cookie->vmferry || m->phase == PHASE_PREPARE)
		return 0;
	return err_set(err, ERR_REFUSED, "this cookie is not vmferry's: it lacks what %s needs",
		       phase_name(m->phase));
}

static int check_listening(const struct migration *m, struct err *err)
{
	if (m->phase != PHASE_PERFORM || (m->cookie->address && m->cookie->ram_port))
		return 0;
	return err_set(err, ERR_REFUSED,
		       "this cookie does not tell where the destination listens for RAM");
}

static void draw_id(char *id, size_t size)
{
	unsigned long long half[2] = {0};

	if (getentropy(half, sizeof(half)) < 0)
		half[0] = (unsigned long long)loop_now_ms(); /* a name, no secret */
	snprintf(id, size, "%016llx%016llx", half[0], half[1]);
}

static void read_settings(struct migration *m)
{
	const struct cookie *cookie = m->cookie;

	m->capabilities_set = cookie->src_capabilities | cookie->dst_capabilities;
	m->src_parameters = (struct qmp_parameters){
		.max_bandwidth = cookie->max_bandwidth,
		.downtime_limit_ms = cookie->downtime_limit,
	};
	m->parameters_set = cookie->max_bandwidth || cookie->downtime_limit;
}

static void read_listening(struct migration *m)
{
	if (m->phase != PHASE_PERFORM)
		return;
	m->address = str_dup(m->cookie->address);
	m->listening = (struct listening){
		.address = m->address,
		.nbd_port = m->cookie->nbd_port,
		.ram_port = m->cookie->ram_port,
	};
}

int handover_read(struct migration *m, struct err *err)
{
	const struct cookie *cookie = m->cookie;

	if (check_phase(m, err) < 0 || check_origin(m, err) < 0 || check_listening(m, err) < 0)
		return -1;
	snprintf(m->guest.name, sizeof(m->guest.name), "%s", cookie->name ? cookie->name : "");
	snprintf(m->guest.uuid, sizeof(m->guest.uuid), "%s", cookie->uuid);
	/* A destination's QEMU can be used only once: prepare keeps the id that was drawn for it,
	 * which is one for each handing over, and none that another host has chosen. */
	if (cookie->id && m->phase != PHASE_PREPARE)
		snprintf(m->id, sizeof(m->id), "%s", cookie->id);
	m->in_stream = cookie->method == COOKIE_BLOCK;
	m->incremental = cookie->incremental;
	m->was_running = cookie->was_running;
	m->started_dst = m->phase == PHASE_FINISH && cookie->started;
	m->hangup_kills = cookie->hangup_kills;
	if (m->phase == PHASE_PERFORM || m->phase == PHASE_CONFIRM)
		m->dst.name = cookie->hostname ? cookie->hostname : "destination";
	read_settings(m);
	read_listening(m);
	return 0;
}

void handover_new_id(struct migration *m)
{
	draw_id(m->id, sizeof(m->id));
}

/* --- comparing and taking back --- */

void handover_check_guest(struct migration *m, const struct qmp_identity *guest, const char *who)
{
	if (!str_eq(guest->uuid, m->cookie->uuid))
		problems_add(&m->problems,
			     "%s: its QEMU is another guest's than the cookie's: its UUID is %s, "
			     "not %s",
			     who, guest->uuid, m->cookie->uuid);
	else if (m->cookie->name && !str_eq(guest->name, m->cookie->name))
		problems_add(
			&m->problems,
			"%s: its QEMU is another guest's than the cookie's: its name is \"%s\", "
			"not \"%s\"",
			who, guest->name, m->cookie->name);
}

/* Only what carries our mark is ours to remove; see mark.h. */
static void take_made(struct migration *m, size_t i)
{
	const struct cookie_disk *from = &m->cookie->disks[i];

	if (!from->made || !from->dst)
		return;
	if (mark_is_on(from->dst, m->id))
		m->disks.list[i].made_path = str_dup(from->dst);
	else if (access(from->dst, F_OK) == 0)
		problems_add(&m->left_behind,
			     "%s: it does not carry the mark of this move's prepare, so it stays; "
			     "remove it if it is of no use",
			     from->dst);
}

static void begun_over_there(struct migration *m)
{
	m->incoming = true;
	m->nbd_started = m->disks.count && !m->in_stream;
	for (size_t i = 0; i < m->disks.count; i++)
		take_made(m, i);
}

void handover_begun(struct migration *m)
{
	enum phase phase = m->phase == PHASE_FINISH ? PHASE_PREPARE : PHASE_PERFORM;

	if (phase == PHASE_PREPARE)
		begun_over_there(m);
	else
		/* Else perform has taken it back itself, unless it was killed. */
		m->migrating =
			m->cookie->completed || str_eq(m->src.status.state, "finish-migrate");
	for (size_t i = 0; i < steps_count; i++)
		m->begun[i] = steps[i].phase == phase;
}
