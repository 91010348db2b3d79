/* Looking at what there is, without taking a lock: its owner goes on meanwhile. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/str.h"
#include "journal/journal.h"
#include "journal/journal_file.h"

static bool is_journal(const char *name)
{
	size_t len = strlen(name);
	size_t suffix = strlen(JOURNAL_FILE_SUFFIX);

	return name[0] != '.' && len > suffix && str_eq(name + len - suffix, JOURNAL_FILE_SUFFIX);
}

/* By what it is, not by its name, for a second name of it would do the same harm: to close any
 * descriptor of it drops our lock. */
static bool is_own(int directory_fd, const char *name, const struct journal *own)
{
	struct stat ours, st;

	return own && stat(journal_path(own), &ours) == 0 &&
	       fstatat(directory_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	       st.st_dev == ours.st_dev && st.st_ino == ours.st_ino;
}

/* The holder is asked for first: when there is none, what is read then is the last word, if the
 * file is still there. Ended ones are ERR_CLOSED. */
static int look(int fd, struct journal_entry *entry, struct err *err)
{
	off_t end;

	if (journal_file_holder(fd, &entry->holder, err) < 0)
		return -1;
	if (journal_file_read(fd, &entry->record, &end, err) < 0)
		return journal_file_gone(fd) ? err_set(err, ERR_CLOSED, "has gone") : -1;
	entry->readable = true;
	if (journal_file_gone(fd) || entry->record.state == RECORD_ENDED)
		return err_set(err, ERR_CLOSED, "has ended");
	return 0;
}

/* What journal_end() did not come to. */
static void remove_ended(int directory_fd, const char *name, int fd,
			 const struct journal_entry *entry)
{
	if (entry->readable && entry->record.state == RECORD_ENDED && !entry->holder &&
	    fsync(fd) == 0)
		unlinkat(directory_fd, name, 0);
}

static void entry_deinit(struct journal_entry *entry)
{
	free(entry->path);
	record_deinit(&entry->record);
}

static void list_add(struct journal_list *list, const struct journal_entry *entry)
{
	list->list = mem_grow(list->list, list->count + 1, sizeof(*list->list));
	list->list[list->count++] = *entry;
}

static void take_file(int directory_fd, const char *directory, const char *name,
		      struct journal_list *list)
{
	struct journal_entry entry = {.path = str_printf("%s/%s", directory, name)};
	struct err err = {0};
	_cleanup_fd_ int fd = journal_file_open(directory_fd, name, &err);

	if (fd >= 0 && look(fd, &entry, &err) == 0)
		err.kind = ERR_NONE;
	if (err.kind == ERR_CLOSED) {
		remove_ended(directory_fd, name, fd, &entry);
		entry_deinit(&entry);
		return;
	}
	if (err.kind)
		snprintf(entry.error, sizeof(entry.error), "%.255s", err.text);
	list_add(list, &entry);
}

/* Oldest first, and those whose age is not known behind them. */
static int compare(const void *a, const void *b)
{
	const struct journal_entry *x = a, *y = b;

	if (x->readable != y->readable)
		return x->readable ? -1 : 1;
	if (x->record.begun != y->record.begun)
		return x->record.begun < y->record.begun ? -1 : 1;
	return strcmp(x->path, y->path);
}

int journal_list(const char *directory, const struct journal *own, struct journal_list *list,
		 struct err *err)
{
	struct err why = {0};
	int fd = journal_file_open_directory(directory, &why);
	const struct dirent *file;
	DIR *stream;

	*list = (struct journal_list){0};
	if (fd < 0 && why.kind == ERR_CLOSED)
		return 0;
	if (fd < 0)
		return err_set(err, why.kind, "%s: %s", directory, why.text);
	stream = fdopendir(fd); /* which has the descriptor now */
	if (!stream) {
		journal_file_closep(&fd);
		return err_errno(err, errno, "%s", directory);
	}
	while ((file = readdir(stream)))
		if (is_journal(file->d_name) && !is_own(fd, file->d_name, own))
			take_file(fd, directory, file->d_name, list);
	closedir(stream);
	if (list->count)
		qsort(list->list, list->count, sizeof(*list->list), compare);
	return 0;
}

void journal_list_deinit(struct journal_list *list)
{
	for (size_t i = 0; i < list->count; i++)
		entry_deinit(&list->list[i]);
	free(list->list);
	*list = (struct journal_list){0};
}
