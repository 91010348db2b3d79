/* --incremental: the image that the top image's data goes into. It has to be an overlay, too, over
 * a backing image of the same size, and
 *
 *  - hold nothing where the source's top image holds nothing. A mirror with sync=top, and
 *    `migrate` inc, write only what that one holds; what the other one held elsewhere would show
 *    through. An empty one is best; but one that a failed move has left half full holds nothing
 *    else than what the next one writes over: an overlay gives back nothing that it held once.
 *  - be no smaller. Growing an overlay writes zeroes where its backing image goes on
 *    (qemu-img resize does so, too, since 5.0), and the mirror would not write over them.
 *
 * What an image holds itself is asked of qemu-img. It reads under the QEMU that has the image
 * open: of what is not written back yet it sees nothing. On the source that leads to a needless
 * refusal at worst; over there only an earlier try of ours can have left such, which does no harm.
 *
 * That the backing images have the same contents is look_backing.c's business.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "migrate/look.h"

#define WITHOUT "or move without --incremental"

/* How the image over there is made, as far as that is known here. Caller frees. */
static char *how_to_make(const struct disk *disk)
{
	const struct qmp_backing *backing = disk->src->backing;
	_autofree_ char *size =
		!backing || backing->virtual_size != disk->src->virtual_size
			? str_printf(" %llu", (unsigned long long)disk->src->virtual_size)
			: str_dup("");

	return str_printf("qemu-img create -f qcow2 -b %s -F %s %s%s",
			  backing && backing->file ? backing->file : "BACKING",
			  backing && backing->format ? backing->format : "FORMAT",
			  disk->dst_path ? disk->dst_path : "PATH", size);
}

void look_for_backing(struct migration *m, struct disk *disk)
{
	if (disk->src->backing_count)
		disk->backing_size = disk->src->backing[0].virtual_size;
	else
		problems_add(&m->problems,
			     "disk %s: has no backing image, so all of it would have to be copied; "
			     "leave it out with --disk, " WITHOUT,
			     disk->name);
}

void look_for_overlay(struct migration *m, const struct disk *disk)
{
	_autofree_ char *make = how_to_make(disk);

	problems_add(&m->problems,
		     "disk %s: %s does not exist on %s, and is not made with --incremental; make "
		     "it first: %s",
		     disk->name, disk->dst_path, m->dst.name, make);
}

/* A part of an image that is in its own file, not in its backing image. */
struct extent {
	uint64_t begin, end;
};

struct extents {
	struct extent *list;
	size_t count;
};

/* Neighbours become one. */
static void add_extent(struct extents *extents, uint64_t begin, uint64_t length)
{
	struct extent *last = extents->count ? &extents->list[extents->count - 1] : NULL;

	if (last && last->end == begin) {
		last->end += length;
		return;
	}
	extents->list = mem_grow(extents->list, extents->count + 1, sizeof(*extents->list));
	extents->list[extents->count++] = (struct extent){begin, begin + length};
}

static int parse_extents(struct extents *extents, const struct process_output *output,
			 struct err *err)
{
	const char *line = output->out.data ? output->out.data : "";
	const char *said = output->err.len ? output->err.data : "it gave no reason";
	uint64_t begin, length;

	if (output->out.len == PROCESS_OUTPUT_MAX)
		return err_set(err, ERR_FAILED, "it is in too many pieces");
	for (; *line; line += strcspn(line, "\n") + 1) {
		if (sscanf(line, "%" SCNu64 " %" SCNu64, &begin, &length) != 2 ||
		    length > UINT64_MAX - begin)
			return err_set(err, ERR_FAILED, "%.*s", (int)strcspn(said, "\n"), said);
		add_extent(extents, begin, length);
		if (!line[strcspn(line, "\n")])
			break;
	}
	return 0;
}

/* What the image at @path holds itself. "present" is told since 6.1; before, what lies behind a
 * shorter backing image counts, too. */
static int look_at_extents(struct migration *m, struct host *host, const char *format,
			   const char *path, struct extents *extents, struct err *err)
{
	_autofree_ char *word = str_shell_quote(path), *driver = str_shell_quote(format);
	_autofree_ char *command = str_printf(
		"{ qemu-img map -U -f %s --output=json %s || echo failed; } | sed -n -e "
		"'/^failed/p' "
		"-e '/\"present\": false/d' -e 's/.*\"start\": \\([0-9]*\\), \"length\": "
		"\\([0-9]*\\), \"depth\": 0,.*/\\1 \\2/p'",
		driver, word);
	struct process_output output = {0};
	int ret = host_command_ok(host, command, m->opt->timeouts.answer_ms, &output, err);

	if (ret == 0)
		ret = parse_extents(extents, &output, err);
	process_output_deinit(&output);
	return ret;
}

/* Whether all of @inner is in @outer; both are in the order of their places. */
static bool is_within(const struct extents *inner, const struct extents *outer)
{
	size_t k = 0;

	for (size_t i = 0; i < inner->count; i++) {
		while (k < outer->count && outer->list[k].end < inner->list[i].end)
			k++;
		if (k == outer->count || outer->list[k].begin > inner->list[i].begin)
			return false;
	}
	return true;
}

/* Whether the source's top image holds all that, so that all of it is written over. By hand
 * that is not seen. */
static bool is_replaced(struct migration *m, const struct disk *disk, const struct extents *there)
{
	_autofree_ char *path =
		disk->src_path && m->src.qmp ? source_path(m, disk->src_path) : NULL;
	struct extents here = {0};
	bool replaced = path &&
			look_at_extents(m, m->here, disk->src->driver, path, &here, NULL) == 0 &&
			is_within(there, &here);

	free(here.list);
	return replaced;
}

static void look_for_data(struct migration *m, const struct disk *disk)
{
	_autofree_ char *make = how_to_make(disk);
	struct extents there = {0};
	struct err err;
	int ret = disk->dst_path ? look_at_extents(m, m->host, disk->dst->driver, disk->dst_path,
						   &there, &err)
				 : err_set(&err, ERR_FAILED, "it is no file");

	if (ret < 0)
		problems_add(&m->problems,
			     "disk %s: whether its image on %s is empty, as --incremental needs "
			     "it, cannot be seen: %s; see that qemu-img over there can read "
			     "it, " WITHOUT,
			     disk->name, m->dst.name, err.text);
	else if (there.count && !is_replaced(m, disk, &there))
		problems_add(
			&m->problems,
			"disk %s: its image on %s holds data where the source's holds none, "
			"which would show through; end its QEMU and make it anew: %s; " WITHOUT,
			disk->name, m->dst.name, make);
	free(there.list);
}

void look_at_overlay(struct migration *m, const struct disk *disk)
{
	const struct qmp_drive *dst = disk->dst;
	_autofree_ char *make = how_to_make(disk);

	if (!dst->backing_count)
		problems_add(
			&m->problems,
			"disk %s: its image on %s has no backing image; make it anew: %s; " WITHOUT,
			disk->name, m->dst.name, make);
	else if ((m->cookie || disk->backing_size) &&
		 dst->backing[0].virtual_size != disk->backing_size)
		problems_add(&m->problems,
			     "disk %s: its backing image on %s (%s) has %llu bytes, the source's "
			     "%llu; put the same one there, " WITHOUT,
			     disk->name, m->dst.name, dst->backing[0].url,
			     (unsigned long long)dst->backing[0].virtual_size,
			     (unsigned long long)disk->backing_size);
	else if (dst->virtual_size < disk->src->virtual_size)
		problems_add(&m->problems,
			     "disk %s: smaller on %s than on the source, and an image cannot be "
			     "grown over "
			     "its backing image; make it anew: %s; " WITHOUT,
			     disk->name, m->dst.name, make);
	else
		look_for_data(m, disk);
}
