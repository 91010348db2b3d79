#include "migrate/record.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/str.h"
#include "migrate/keys.h"
#include "migrate/source_process.h"

/* --- what is known --- */

static char *boot_id_of(struct migration *m, struct host *host)
{
	struct file_id id;

	return host && host_file_id(host, "/", &id, m->opt->timeouts.answer_ms, NULL) == 0
		       ? str_dup(id.boot_id)
		       : NULL;
}

static const char *const mirror_words[] = {
	[MIRROR_AUTO] = "auto",
	[MIRROR_BLOCKDEV] = "blockdev",
	[MIRROR_DRIVE] = "drive",
	[MIRROR_NONE] = "none",
};

static void note_timeouts(struct record *r, const struct timeouts *asked)
{
	r->connect_ms = asked->connect_ms;
	r->answer_ms = asked->answer_ms;
	r->start_ms = asked->start_ms;
	r->stall_ms = asked->stall_ms;
	r->switchover_ms = asked->switchover_ms;
	r->no_reconnect = asked->reconnect_ms < 0;
	r->reconnect_ms = r->no_reconnect ? 0 : asked->reconnect_ms;
}

static void note_options(struct record *r, const struct options *opt)
{
	r->identity = str_dup(opt->ssh.identity);
	r->config = str_dup(opt->ssh.config);
	r->known_hosts = str_dup(opt->ssh.known_hosts);
	r->sudo = opt->ssh.sudo;
	r->starts = opt->start;
	r->mirror = str_dup(mirror_words[opt->mirror]);
	r->certificates = str_dup(opt->certificates);
	r->data_address = str_dup(opt->data_address);
	r->clone = opt->clone;
	r->fast = opt->fast;
	r->incremental = opt->incremental;
	r->keep_source = opt->keep_source;
	r->bandwidth = opt->bandwidth;
	r->downtime_limit = opt->downtime_limit_ms;
	r->port_low = (uint32_t)opt->port_low;
	r->port_high = (uint32_t)opt->port_high;
	note_timeouts(r, &opt->asked);
}

static void note_sides(struct migration *m)
{
	struct record *r = &m->record;

	r->id = str_dup(m->id);
	r->guest = m->guest.name[0] ? str_dup(m->guest.name) : NULL;
	r->uuid = m->guest.uuid[0] ? str_dup(m->guest.uuid) : NULL;
	r->begun = time(NULL);
	r->source = realpath(m->opt->source, NULL);
	r->src_boot = boot_id_of(m, m->here);
	r->src_process = process_name(m->src_pid);
	r->dst_host = str_dup(m->opt->dst.host);
	r->dst_user = str_dup(m->opt->dst.user);
	r->dst_port = (uint32_t)m->opt->dst.port;
	r->dst_socket = str_dup(m->opt->dst.socket);
	r->dst_boot = boot_id_of(m, m->host);
}

static void note_disk(const struct disk *disk, struct record_disk *to)
{
	const struct qmp_drive *src = disk->src;

	*to = (struct record_disk){
		.name = str_dup(disk->name),
		.device = str_dup(src->device),
		.node = str_dup(src->node),
		.qdev = str_dup(src->qdev),
		.src = disk->src_path && *disk->src_path == '/' ? str_dup(disk->src_path) : NULL,
		.dst = disk->dst_path && *disk->dst_path == '/' ? str_dup(disk->dst_path) : NULL,
		.export = str_dup(disk->export),
		.size = src->virtual_size,
		.create = disk->fate == DISK_CREATE,
	};
}

static void note_disks(struct migration *m)
{
	m->record.disks_count = m->disks.count;
	m->record.disks = mem_zalloc(m->disks.count + 1, sizeof(*m->record.disks));
	for (size_t i = 0; i < m->disks.count; i++)
		note_disk(&m->disks.list[i], &m->record.disks[i]);
}

/* NULL and "" are the same. */
static void take_words(char **to, const char *words)
{
	free(*to);
	*to = words && *words ? str_dup(words) : NULL;
}

/* Those of an earlier process are as they are. */
static void refresh_extras(struct migration *m)
{
	struct record *r = &m->record;

	if (m->resumed || !m->extras.count)
		return;
	if (!r->extras)
		r->extras = mem_zalloc(m->extras.count, sizeof(*r->extras));
	r->extras_count = m->extras.count;
	for (size_t i = 0; i < r->extras_count; i++) {
		const struct extra *extra = &m->extras.list[i];

		if (!r->extras[i].name) {
			r->extras[i].name = str_dup(extra->file->path);
			r->extras[i].dst = str_dup(extra->file->path);
		}
		r->extras[i].inode = extra->made_inode;
		r->extras[i].birth = extra->made_birth;
	}
}

static void take_extras(struct migration *m)
{
	const struct record *r = &m->record;

	for (size_t i = 0; i < r->extras_count; i++) {
		const struct record_disk *from = &r->extras[i];

		if (!from->dst || !from->inode)
			continue;
		m->extras.list =
			mem_grow(m->extras.list, m->extras.count + 1, sizeof(*m->extras.list));
		m->extras.list[m->extras.count++] = (struct extra){.made_path = str_dup(from->dst),
								   .made_inode = from->inode,
								   .made_birth = from->birth};
	}
}

/* What changes as it goes on. */
static void refresh(struct migration *m)
{
	struct record *r = &m->record;

	refresh_extras(m);

	r->in_stream = m->in_stream;
	r->was_running = m->was_running;
	r->incoming = m->incoming;
	r->migrating = m->migrating;
	r->switched = m->switched;
	r->capabilities = m->capabilities_set;
	r->retried = (uint32_t)m->retried;
	r->halted = m->halted;
	r->untidy = m->untidy;
	r->parameters = m->parameters_set;
	r->max_bandwidth = m->src_parameters.max_bandwidth;
	r->src_downtime_limit = m->src_parameters.downtime_limit_ms;
	take_words(&r->src_tls_name, m->src_parameters.tls_name);
	take_words(&r->src_keys, m->keys.src_directory);
	take_words(&r->dst_keys, m->keys.dst_directory);
	if (!r->address)
		r->address = str_dup(m->listening.address);
	r->nbd_port = (uint32_t)m->listening.nbd_port;
	r->ram_port = (uint32_t)m->listening.ram_port;
	for (size_t i = 0; i < r->disks_count; i++) {
		r->disks[i].dst_size = m->disks.list[i].dst_size;
		r->disks[i].inode = m->disks.list[i].made_inode;
		r->disks[i].birth = m->disks.list[i].made_birth;
	}
}

/* --- one migration a guest --- */

/* A monitor that is busy takes one connection more, and is silent on it. */
#define LOOK_MS 1000

bool record_is_of(const struct record *record, const char *source, const char *process,
		  const char *boot)
{
	if (str_eq(record->source, source))
		return true;
	return process && str_eq(record->src_process, process) && str_eq(record->src_boot, boot);
}

void record_find_process(struct loop *loop, const char *source, char **process, char **boot)
{
	struct host *here = host_local(loop, LOOK_MS);
	struct stream *stream = stream_unix(loop, source, LOOK_MS, NULL);
	struct file_id id;

	*process = stream ? process_name(stream_unix_peer(stream)) : NULL;
	*boot = host_file_id(here, "/", &id, LOOK_MS, NULL) == 0 ? str_dup(id.boot_id) : NULL;
	stream_close(stream);
	host_close(here);
}

char *record_holder_words(pid_t holder)
{
	return holder > 0 ? str_printf("by vmferry, process %d", (int)holder)
			  : str_dup("by a vmferry in another pid namespace");
}

static int taken(const struct journal_entry *entry, struct err *err)
{
	const struct record *r = &entry->record;
	const char *guest = r->guest ? r->guest : r->source;

	if (entry->holder) {
		_autofree_ char *who = record_holder_words(entry->holder);

		return err_set(err, ERR_REFUSED,
			       "this guest is being moved to %s already, %s; `vmferry status` "
			       "shows it, `vmferry cancel %s` ends it",
			       r->dst_host ? r->dst_host : r->dst_socket, who, guest);
	}
	return err_set(
		err, ERR_REFUSED,
		"an earlier move of this guest to %s was not ended (%s); `vmferry recover %s` "
		"does that",
		r->dst_host ? r->dst_host : r->dst_socket, entry->path, guest);
}

int record_refuse_another(struct migration *m, struct err *err)
{
	_autofree_ char *source = realpath(m->opt->source, NULL);
	_autofree_ char *process = process_name(m->src_pid);
	_autofree_ char *boot = process ? boot_id_of(m, m->here) : NULL;
	struct journal_list list;
	int ret = 0;

	if (journal_list(m->opt->journal_directory, NULL, &list, err) < 0)
		return -1;
	for (size_t i = 0; ret == 0 && i < list.count; i++) {
		const struct journal_entry *entry = &list.list[i];

		if (entry->readable && record_is_of(&entry->record, source, process, boot))
			ret = taken(entry, err);
	}
	journal_list_deinit(&list);
	return ret;
}

/* Only milliseconds are spent with it locked. */
#define DIRECTORY_PATIENCE_MS 10000

static int create(struct migration *m, struct err *err)
{
	const char *directory = m->opt->journal_directory;
	int lock = journal_lock_directory(directory, DIRECTORY_PATIENCE_MS, err);
	int ret;

	if (lock < 0)
		return -1;
	ret = record_refuse_another(m, err);
	if (ret == 0)
		m->journal = journal_create(directory, &m->record, err);
	journal_unlock_directory(lock);
	return m->journal ? 0 : -1;
}

int record_open(struct migration *m, struct err *err)
{
	struct record *r = &m->record;

	if (!m->opt->journal_directory)
		return 0;
	note_sides(m);
	note_options(r, m->opt);
	r->encrypt = str_dup(keys_method_name(keys_method(m)));
	note_disks(m);
	refresh(m);
	r->step = str_dup(steps[0].name);
	r->state = RECORD_DONE;
	r->since = r->begun;
	if (!r->source)
		return err_errno(err, errno, "source: %s", m->opt->source);
	return create(m, err);
}

/* --- as it goes on --- */

/* While the guest stands still only the point of no return waits for the disk. */
static bool waits_for_disk(const struct migration *m, const struct step *step,
			   enum record_state state)
{
	if (state == RECORD_DONE)
		return !step->cancellable;
	return !m->src.stopped || !step->cancellable;
}

int record_step(struct migration *m, const struct step *step, enum record_state state,
		struct err *err)
{
	struct record *r = &m->record;

	if (!m->journal)
		return 0;
	free(r->step);
	r->step = str_dup(step->name);
	r->state = state;
	r->since = time(NULL);
	refresh(m);
	/* From here on it is not known any more whether `cont` was sent. */
	if (!step->cancellable && state == RECORD_BEGUN)
		r->switched = true;
	return journal_append(m->journal, r, waits_for_disk(m, step, state), err);
}

int migration_record(struct migration *m, struct err *err)
{
	if (!m->journal)
		return 0;
	refresh(m);
	return journal_append(m->journal, &m->record, !m->src.stopped, err);
}

void record_undoing(struct migration *m)
{
	struct err err;

	if (!m->journal)
		return;
	refresh(m);
	m->record.state = RECORD_UNDOING;
	m->record.since = time(NULL);
	if (journal_append(m->journal, &m->record, false, &err) < 0)
		migration_note(m, "%s", err.text);
}

void record_end(struct migration *m, enum record_outcome outcome)
{
	struct err err;

	m->outcome = outcome;
	if (!m->journal)
		return;
	refresh(m);
	m->record.state = RECORD_ENDED;
	m->record.outcome = outcome;
	m->record.since = time(NULL);
	if (journal_end(m->journal, &m->record, &err) < 0)
		migration_note(m, "%s", err.text);
	journal_close(m->journal);
	m->journal = NULL;
}

/* --- by a later process --- */

size_t record_row(const struct record *record)
{
	for (size_t i = 0; i < steps_count; i++)
		if (str_eq(steps[i].name, record->step))
			return i;
	return steps_count;
}

size_t record_furthest_row(const struct record *record)
{
	size_t row = record_row(record), again = step_row("sync");

	return record->retried && row < again ? again : row;
}

#define TAKE(field, value)                                                                         \
	do {                                                                                       \
		if (!(field))                                                                      \
			(field) = (value);                                                         \
	} while (0)

void record_options(const struct record *r, struct options *opt)
{
	opt->source = r->source;
	opt->dst.host = r->dst_host;
	opt->dst.user = r->dst_user;
	opt->dst.port = (int)r->dst_port;
	opt->dst.socket = r->dst_socket;
	opt->ssh.host = r->dst_host;
	opt->ssh.user = r->dst_user;
	opt->ssh.port = (int)r->dst_port;
	TAKE(opt->ssh.identity, r->identity);
	TAKE(opt->ssh.config, r->config);
	TAKE(opt->ssh.known_hosts, r->known_hosts);
	opt->ssh.sudo |= r->sudo;
	opt->start = NULL; /* nothing is started again */
	opt->clone = r->clone;
	opt->data_address = r->data_address;
	opt->fast = r->fast;
	opt->incremental = r->incremental;
	opt->keep_source = r->keep_source;
	opt->bandwidth = r->bandwidth;
	opt->downtime_limit_ms = r->downtime_limit;
	opt->port_low = (int)r->port_low;
	opt->port_high = (int)r->port_high;
	TAKE(opt->timeouts.connect_ms, r->connect_ms);
	TAKE(opt->timeouts.answer_ms, r->answer_ms);
	TAKE(opt->timeouts.start_ms, r->start_ms);
	TAKE(opt->timeouts.stall_ms, r->stall_ms);
	TAKE(opt->timeouts.switchover_ms, r->switchover_ms);
	TAKE(opt->timeouts.reconnect_ms, r->no_reconnect ? -1 : r->reconnect_ms);
	opt->certificates = r->certificates;
	opt->encrypt = ENCRYPT_NONE;
	for (int i = ENCRYPT_PSK; i <= ENCRYPT_NONE; i++)
		if (str_eq(keys_method_name((enum encrypt_method)i), r->encrypt))
			opt->encrypt = (enum encrypt_method)i;
	for (size_t i = 0; i < sizeof(mirror_words) / sizeof(mirror_words[0]); i++)
		if (str_eq(mirror_words[i], r->mirror))
			opt->mirror = (enum mirror_method)i;
}

static void take_disk(struct migration *m, const struct record_disk *from, size_t row)
{
	static const struct qmp_drive none;
	struct qmp_drive named = {.device = from->name};
	struct disk *disk;

	disks_add(&m->disks, &named, from->dst, m->opt, NULL);
	disk = &m->disks.list[m->disks.count - 1];
	disk->src = &none; /* until it was looked at */
	disk->src_path = str_dup(from->src);
	disk->fate = from->create ? DISK_CREATE : DISK_EXISTS;
	disk->dst_size = from->dst_size;
	disk->making = from->create && row >= step_row("create");
	disk->made_inode = from->inode;
	disk->made_birth = from->birth;
	if (from->export)
		snprintf(disk->export, sizeof(disk->export), "%s", from->export);
	/* What is not there is not found when it is to be taken back. */
	disk->passed_fd = disk->has_target = row >= step_row("target");
	disk->has_plug = disk->has_target;
	disk->has_job = row >= step_row("mirror");
}

/* As earlier versions have it. */
static void forget_start(struct record *r)
{
	r->starts = r->starts || r->start;
	free(r->start);
	r->start = NULL;
}

void record_take(struct migration *m, struct journal *journal, struct record *record)
{
	const struct record *r = &m->record;
	size_t row = record_row(record), furthest = record_furthest_row(record);

	m->resumed = true;
	m->journal = journal;
	m->record = *record;
	*record = (struct record){0};
	forget_start(&m->record);
	snprintf(m->id, sizeof(m->id), "%s", r->id);
	snprintf(m->guest.name, sizeof(m->guest.name), "%s", r->guest ? r->guest : "");
	snprintf(m->guest.uuid, sizeof(m->guest.uuid), "%s", r->uuid ? r->uuid : "");
	m->in_stream = r->in_stream;
	m->was_running = r->was_running;
	m->started_dst =
		(r->starts && row >= step_row("start")) || (r->clone && row >= step_row("clone"));
	m->incoming = r->incoming || row >= step_row("listen");
	m->migrating = r->migrating;
	m->retried = (int)r->retried;
	m->halted = r->halted;
	m->untidy = r->untidy;
	m->switched = m->may_have_run = r->switched;
	m->capabilities_set = r->capabilities;
	m->parameters_set = r->parameters;
	m->src_parameters.max_bandwidth = r->max_bandwidth;
	m->src_parameters.downtime_limit_ms = r->src_downtime_limit;
	snprintf(m->src_parameters.tls_name, sizeof(m->src_parameters.tls_name), "%s",
		 r->src_tls_name ? r->src_tls_name : "");
	m->keys.src_directory = str_dup(r->src_keys);
	m->keys.dst_directory = str_dup(r->dst_keys);
	m->keys.src_added = keys_are_used(m) && furthest >= step_row("keys");
	m->keys.dst_added = keys_are_used(m) && row >= step_row("keys");
	m->nbd_started = row >= step_row("probe") && !r->in_stream;
	m->listening = (struct listening){
		.address = r->address,
		.nbd_port = (int)r->nbd_port,
		.ram_port = (int)r->ram_port,
	};
	for (size_t i = 0; i < r->disks_count; i++)
		take_disk(m, &r->disks[i], furthest);
	take_extras(m);
}
