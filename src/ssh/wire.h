/* SSH's way to write numbers and strings (RFC 4251, 5), and keys as text. */
#ifndef VMFERRY_SSH_WIRE_H
#define VMFERRY_SSH_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"

void wire_add_u32(struct buf *b, uint32_t n);
void wire_add_string(struct buf *b, const void *data, size_t len);

/* What is left to read; everything that is taken is checked against it. */
struct wire {
	const unsigned char *data;
	size_t len;
};

bool wire_u32(struct wire *w, uint32_t *n);
bool wire_string(struct wire *w, struct wire *string); /* points into what is read */

/* Base64 of RFC 4648 with padding. Caller frees. */
char *wire_base64(const void *data, size_t len);

/* The opposite, for at most 16 KiB of text. False when @text is not that, or empty. */
bool wire_from_base64(const char *text, struct buf *data);

/* The type of a public key, its first string: "ssh-ed25519". NULL when it is no text of at
 * most 63 characters. Caller frees. */
char *wire_key_type(const void *key, size_t len);

#endif
