/* Runs a fuzz target over each file of a folder: its corpus as an ordinary test. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/str.h"
#include "fuzz.h"

static void read_file(const char *path, struct buf *content)
{
	char piece[4096];
	size_t len;
	FILE *file = fopen(path, "rb");

	if (!file) {
		perror(path);
		exit(EXIT_FAILURE);
	}
	while ((len = fread(piece, 1, sizeof(piece), file)) > 0)
		buf_add(content, piece, len);
	fclose(file);
}

static void replay(const char *folder, const char *name)
{
	_autofree_ char *path = str_printf("%s/%s", folder, name);
	_cleanup_buf_ struct buf content = {0};

	read_file(path, &content);
	printf("%s: %zu bytes\n", name, content.len);
	fflush(stdout); /* the name is out before an abort */
	LLVMFuzzerTestOneInput((const uint8_t *)(content.data ? content.data : ""), content.len);
}

int main(int argc, char **argv)
{
	struct dirent **entries;
	int count = argc == 2 ? scandir(argv[1], &entries, NULL, alphasort) : -1;
	int replayed = 0;

	if (count < 0) {
		fprintf(stderr, "usage: %s FOLDER\n", argv[0]);
		return EXIT_FAILURE;
	}
	for (int i = 0; i < count; i++) {
		if (entries[i]->d_name[0] != '.') {
			replay(argv[1], entries[i]->d_name);
			replayed++;
		}
		free(entries[i]);
	}
	free(entries);
	printf("%d files\n", replayed);
	return replayed ? EXIT_SUCCESS : EXIT_FAILURE;
}
