/* --incremental: only the top image of each disk is copied, so what is under it must have the same
 * contents on both sides already. That is compared by the SHA-256 of each file of the chain:
 * identical files of identical formats have identical contents. The other way round does not hold
 * (qcow2 files of the same contents differ), so whoever knows better says --trust-backing.
 *
 * The top images are not read: they change. The files under them do not while a guest uses them.
 * Whether the top image over there can take the data is look_overlay.c's business.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "migrate/digest.h"
#include "migrate/look.h"

#define WITHOUT "or move without --incremental"
#define TRUST                                                                                      \
	"if both are surely the same, say --trust-backing (if they are not, the disk is garbage "  \
	"over there)"

#define NONE SIZE_MAX

/* The images at one depth under a disk: where their files stand among the digests. */
struct pair {
	struct disk *disk;
	size_t depth;
	size_t src, dst; /* NONE: that side is not looked at here */
};

struct comparison {
	struct migration *m;
	bool src, dst; /* the sides that are looked at: by hand one, else both */
	struct digests digests;
	struct pair *pairs;
	size_t count;
};

static const char *why_incomparable(const struct qmp_backing *backing)
{
	if (!backing->file)
		return "it is no file";
	return backing->partial ? "its file is not just this image" : NULL;
}

static void object(struct comparison *c, const struct disk *disk, const char *where,
		   const struct qmp_backing *backing, const char *why)
{
	problems_add(&c->m->problems,
		     "disk %s: its backing image %s on %s cannot be compared: %s; " TRUST
		     ", " WITHOUT,
		     disk->name, backing->url ? backing->url : "?", where, why);
}

/* The place of a backing image's file among the digests; NONE, and said why, if it has none. */
static size_t place_of(struct comparison *c, const struct disk *disk,
		       const struct qmp_backing *backing, bool src)
{
	struct migration *m = c->m;
	const char *where = src ? "source" : m->dst.name, *why = why_incomparable(backing);
	_autofree_ char *path = NULL;
	size_t place = NONE;
	struct err err;

	if (!why) {
		path = src ? look_src_path(m, backing->file)
			   : look_dst_path(m, disk, backing->file);
		if (path && *path != '/')
			why = "its path is relative to a directory that cannot be seen";
	}
	if (path && !why &&
	    digests_add(&c->digests, src ? m->here : m->host, path, m->opt->timeouts.answer_ms,
			&place, &err) < 0) {
		why = err.text;
		place = NONE;
	}
	if (why)
		object(c, disk, where, backing, why);
	return place;
}

/* Between two hosts that share a file system: one file, as it is now. Two files of equal number,
 * size and times to the nanosecond could only be copies of one. */
static bool is_shared(struct migration *m, const struct digest_file *src,
		      const struct digest_file *dst)
{
	struct process_output outputs[2] = {0};
	bool shared = look_same_storage(m, src->path, dst->path, NULL) == 1;

	for (int i = 0; i < 2; i++) {
		_autofree_ char *word = str_shell_quote(i ? dst->path : src->path);
		_autofree_ char *command = str_printf(
			"if [ -b %s ]; then echo device; else stat -L -c '%%i %%s %%.9Y %%.9Z' %s; "
			"fi",
			word, word);

		shared = shared &&
			 host_command_ok(i ? dst->host : src->host, command,
					 m->opt->timeouts.answer_ms, &outputs[i], NULL) == 0;
	}
	shared = shared && str_eq(outputs[0].out.data, outputs[1].out.data);
	process_output_deinit(&outputs[0]);
	process_output_deinit(&outputs[1]);
	return shared;
}

static bool need_no_look(struct comparison *c, const struct pair *pair)
{
	if (!c->src || !c->dst)
		return false;
	return pair->src == pair->dst ||
	       is_shared(c->m, &c->digests.list[pair->src], &c->digests.list[pair->dst]);
}

static void add_pair(struct comparison *c, struct disk *disk, size_t depth)
{
	struct pair pair = {.disk = disk, .depth = depth, .src = NONE, .dst = NONE};

	if (c->src)
		pair.src = place_of(c, disk, &disk->src->backing[depth], true);
	if (c->dst)
		pair.dst = place_of(c, disk, &disk->dst->backing[depth], false);
	if ((c->src && pair.src == NONE) || (c->dst && pair.dst == NONE) || need_no_look(c, &pair))
		return;
	if (c->src)
		c->digests.list[pair.src].wanted = true;
	if (c->dst)
		c->digests.list[pair.dst].wanted = true;
	c->pairs = mem_grow(c->pairs, c->count + 1, sizeof(*c->pairs));
	c->pairs[c->count++] = pair;
}

/* Where not even the files of both sides correspond. */
static char *why_unlike(const struct qmp_drive *src, const struct qmp_drive *dst)
{
	if (src->backing_count != dst->backing_count)
		return str_printf("%zu image%s under the disk here, %zu there", src->backing_count,
				  src->backing_count == 1 ? "" : "s", dst->backing_count);
	for (size_t i = 0; i < src->backing_count; i++)
		if (!str_eq(src->backing[i].format, dst->backing[i].format))
			return str_printf("%s is %s here and %s there", src->backing[i].url,
					  src->backing[i].format, dst->backing[i].format);
	return NULL;
}

static void add_disk(struct comparison *c, struct disk *disk)
{
	const struct qmp_drive *drive = c->src ? disk->src : disk->dst;
	_autofree_ char *why = c->src && c->dst ? why_unlike(disk->src, disk->dst) : NULL;

	if (why) {
		object(c, disk, c->m->dst.name, &disk->dst->backing[0], why);
		return;
	}
	if (!c->src && !disk->backing) {
		problems_add(&c->m->problems,
			     "disk %s: the cookie tells nothing of its backing image's contents; "
			     "begin anew without --trust-backing, or say it here, too (if they "
			     "differ, the disk is garbage here)",
			     disk->name);
		return;
	}
	for (size_t i = 0; i < drive->backing_count; i++)
		add_pair(c, disk, i);
}

static void tell(const struct comparison *c)
{
	uint64_t bytes = 0;
	size_t count = 0;
	char size[32];

	for (size_t i = 0; i < c->digests.count; i++) {
		count += c->digests.list[i].wanted;
		bytes += c->digests.list[i].wanted ? c->digests.list[i].size_bytes : 0;
	}
	if (count)
		migration_note(c->m,
			       "the backing images are compared: %zu file%s, %s to read; "
			       "--trust-backing leaves that out",
			       count, count == 1 ? "" : "s", str_size(size, sizeof(size), bytes));
}

/* Whether both files of @pair were read; said if not. */
static bool was_read(struct comparison *c, const struct pair *pair)
{
	const size_t places[] = {pair->src, pair->dst};
	bool ok = true;

	for (int i = 0; i < 2; i++) {
		const struct digest_file *file =
			places[i] == NONE ? NULL : &c->digests.list[places[i]];

		if (!file || !file->error)
			continue;
		object(c, pair->disk, i ? c->m->dst.name : "source",
		       i ? &pair->disk->dst->backing[pair->depth]
			 : &pair->disk->src->backing[pair->depth],
		       file->error);
		ok = false;
	}
	return ok;
}

static void object_to_contents(struct migration *m, const struct disk *disk,
			       const struct qmp_backing *dst)
{
	problems_add(&m->problems,
		     "disk %s: its backing image on %s (%s) has not the contents of the source's; "
		     "put the same one there, " WITHOUT,
		     disk->name, m->dst.name, dst->url);
}

static void compare_pairs(struct comparison *c)
{
	for (size_t i = 0; i < c->count; i++) {
		const struct pair *pair = &c->pairs[i];

		if (was_read(c, pair) &&
		    !str_eq(c->digests.list[pair->src].hex, c->digests.list[pair->dst].hex))
			object_to_contents(c->m, pair->disk,
					   &pair->disk->dst->backing[pair->depth]);
	}
}

/* Of a whole chain, for the cookie: the digest of each file's format and digest. */
static int chain_digest(struct comparison *c, const struct disk *disk, char hex[65],
			struct err *err)
{
	const struct qmp_drive *drive = c->src ? disk->src : disk->dst;
	_cleanup_buf_ struct buf text = {0};

	for (size_t i = 0; i < c->count; i++) {
		const struct pair *pair = &c->pairs[i];

		if (pair->disk != disk)
			continue;
		if (!was_read(c, pair))
			return -1;
		buf_printf(&text, "%s %s\n", drive->backing[pair->depth].format,
			   c->digests.list[c->src ? pair->src : pair->dst].hex);
	}
	if (digest_of_text(c->m->here, text.data, c->m->opt->timeouts.answer_ms, hex, err) == 0)
		return 0;
	problems_add(&c->m->problems, "disk %s: %s", disk->name, err->text);
	return -1;
}

/* By hand: begin's to the cookie, prepare's against it. */
static void compare_by_hand(struct comparison *c, struct disk *disk)
{
	char hex[65];
	struct err err;

	if (chain_digest(c, disk, hex, &err) < 0)
		return;
	if (c->src)
		disk->backing = str_dup(hex);
	else if (!str_eq(disk->backing, hex))
		object_to_contents(c->m, disk, &disk->dst->backing[0]);
}

static int compare(struct comparison *c, struct err *err)
{
	struct migration *m = c->m;

	for (size_t i = 0; i < m->disks.count; i++)
		add_disk(c, &m->disks.list[i]);
	if (m->problems.count)
		return 0;
	tell(c);
	if (digests_make(&c->digests, m->loop, m->here, err) < 0)
		return -1;
	if (c->src && c->dst)
		compare_pairs(c);
	for (size_t i = 0; !(c->src && c->dst) && i < m->disks.count; i++)
		compare_by_hand(c, &m->disks.list[i]);
	return 0;
}

int look_at_backing(struct migration *m, struct err *err)
{
	struct comparison c = {.m = m, .src = !m->cookie, .dst = m->dst.qmp != NULL};
	int ret = 0;

	if (m->incremental && !m->opt->trust_backing && !m->problems.count)
		ret = compare(&c, err);
	digests_deinit(&c.digests);
	free(c.pairs);
	return ret;
}
