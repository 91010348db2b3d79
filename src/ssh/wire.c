#include "ssh/wire.h"

#include <string.h>

#define BASE64_MAX (16u << 10)

void wire_add_u32(struct buf *b, uint32_t n)
{
	const unsigned char bytes[4] = {(unsigned char)(n >> 24), (unsigned char)(n >> 16),
					(unsigned char)(n >> 8), (unsigned char)n};

	buf_add(b, bytes, sizeof(bytes));
}

void wire_add_string(struct buf *b, const void *data, size_t len)
{
	wire_add_u32(b, (uint32_t)len);
	buf_add(b, data, len);
}

bool wire_u32(struct wire *w, uint32_t *n)
{
	const unsigned char *d = w->data;

	if (w->len < 4)
		return false;
	*n = (uint32_t)d[0] << 24 | (uint32_t)d[1] << 16 | (uint32_t)d[2] << 8 | d[3];
	w->data += 4;
	w->len -= 4;
	return true;
}

bool wire_string(struct wire *w, struct wire *string)
{
	uint32_t n;

	if (!wire_u32(w, &n) || n > w->len)
		return false;
	*string = (struct wire){.data = w->data, .len = n};
	w->data += n;
	w->len -= n;
	return true;
}

char *wire_base64(const void *data, size_t len)
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const unsigned char *d = data;
	struct buf b = {0};

	for (size_t i = 0; i < len; i += 3) {
		uint32_t n = (uint32_t)d[i] << 16;
		char out[4];

		n |= i + 1 < len ? (uint32_t)d[i + 1] << 8 : 0;
		n |= i + 2 < len ? d[i + 2] : 0;
		out[0] = digits[n >> 18];
		out[1] = digits[n >> 12 & 63];
		out[2] = i + 1 < len ? digits[n >> 6 & 63] : '=';
		out[3] = i + 2 < len ? digits[n & 63] : '=';
		buf_add(&b, out, 4);
	}
	return b.data ? b.data : str_dup("");
}

static int digit_value(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '+' ? 62 : c == '/' ? 63 : -1;
}

bool wire_from_base64(const char *text, struct buf *data)
{
	size_t len = strcspn(text, "=");
	uint32_t bits = 0;

	if (!len || strlen(text) > BASE64_MAX || len % 4 == 1)
		return false;
	for (size_t i = 0; i < len; i++) {
		int value = digit_value(text[i]);

		if (value < 0)
			return false;
		bits = bits << 6 | (uint32_t)value;
		if (i % 4) {
			const char byte = (char)(bits >> (6 - 2 * (i % 4)));

			buf_add(data, &byte, 1);
		}
	}
	return true;
}

char *wire_key_type(const void *key, size_t len)
{
	struct wire w = {.data = key, .len = key ? len : 0};
	struct wire type;

	if (!wire_string(&w, &type) || type.len == 0 || type.len > 63)
		return NULL;
	return str_printf("%.*s", (int)type.len, (const char *)type.data);
}
