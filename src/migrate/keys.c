/* Keys for one migration. Both QEMUs get 256 random bits in a file, and an object that reads it;
 * by that each knows the other (TLS-PSK), and nobody else can listen or join in. The key goes over
 * SSH alone and is drawn, written and forgotten within one function here: QMP, the journal, the
 * log and every command line know only where the file is.
 *
 * The source's QEMU reads the file once, when its object is made: there it is gone right after. The
 * destination's reads it anew for whoever connects (gnutls' own habit; seen on 5.2, 7.2, 10.0,
 * 11.1), so there it stays until the guest runs.
 *
 * As the server of TLS a QEMU draws a group for Diffie-Hellman, for half a second or some
 * seconds, when the file with the key has none beside it; so we put a well-known one there. Later
 * ones (11.1) have that by themselves, and warn of the file.
 *
 * What is taken back is looked for first, so that a process may do it that has made nothing; the
 * directories' names are on record before they are made, and the guard of --clone knows that over
 * there.
 */
#include "migrate/keys.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/random.h>

#include "base/str.h"
#include "migrate/key_directory.h"
#include "migrate/step_functions.h"
#include "qmp/tls.h"

#define KEY_BYTES 32
/* "USER:HEX\n" */
#define KEY_LINE_SIZE (sizeof(QMP_TLS_USER) + 2 * KEY_BYTES + 2)

enum encrypt_method keys_method(const struct migration *m)
{
	if (m->by_hand) /* neither process sees both hosts */
		return ENCRYPT_NONE;
	if (m->opt->encrypt != ENCRYPT_AUTO)
		return m->opt->encrypt;
	return m->opt->dst.host ? ENCRYPT_PSK : ENCRYPT_NONE;
}

bool keys_are_used(const struct migration *m)
{
	return keys_method(m) == ENCRYPT_PSK || keys_method(m) == ENCRYPT_X509;
}

const char *keys_object(struct migration *m)
{
	if (!keys_are_used(m))
		return NULL;
	snprintf(m->keys.object, sizeof(m->keys.object), "vmferry-keys-%s", m->id);
	return m->keys.object;
}

const char *keys_certificate_name(const struct migration *m)
{
	if (keys_method(m) != ENCRYPT_X509)
		return NULL;
	return m->opt->dst.host ? m->opt->dst.host : "localhost";
}

const char *keys_method_name(enum encrypt_method method)
{
	static const char *const names[] = {
		[ENCRYPT_PSK] = "psk",
		[ENCRYPT_X509] = "x509",
		[ENCRYPT_SSH] = "ssh",
		[ENCRYPT_NONE] = "none",
	};

	return names[method];
}

const char *keys_words(const struct migration *m)
{
	if (keys_method(m) == ENCRYPT_PSK)
		return "encrypted, by a key made for this move";
	if (keys_method(m) == ENCRYPT_X509)
		return "encrypted, by certificates";
	if (keys_method(m) == ENCRYPT_SSH)
		return "through SSH";
	if (m->opt->encrypt == ENCRYPT_AUTO && !m->by_hand)
		return "not encrypted, for it stays on this host";
	return "NOT ENCRYPTED";
}

void keys_tell(struct migration *m)
{
	if (keys_method(m) != ENCRYPT_NONE || (m->by_hand && m->phase == PHASE_BEGIN))
		return;
	if (m->by_hand)
		migration_note(m, "disks and memory go NOT ENCRYPTED, on ports open to whoever "
				  "reaches them: phases by hand have no keys");
	else if (m->opt->encrypt == ENCRYPT_NONE)
		migration_note(m, "disks and memory go NOT ENCRYPTED, on ports open to whoever "
				  "reaches them (--encrypt=none)");
}

/* --- the key --- */

/* "USER:HEX" and a newline, into @line of KEY_LINE_SIZE bytes. No library sees it. */
static int draw_key(char *line, struct err *err)
{
	static const char hex[] = "0123456789abcdef";
	unsigned char key[KEY_BYTES];
	char *at = stpcpy(line, QMP_TLS_USER ":");

	if (getrandom(key, sizeof(key), 0) != (ssize_t)sizeof(key))
		return err_errno(err, errno, "getrandom");
	for (size_t i = 0; i < sizeof(key); i++) {
		*at++ = hex[key[i] >> 4];
		*at++ = hex[key[i] & 15];
	}
	strcpy(at, "\n");
	explicit_bzero(key, sizeof(key));
	return 0;
}

static int choose(struct migration *m, struct host *host, const char *which, char *reader,
		  char **path, struct key_place *place, int64_t timeout_ms, struct err *err)
{
	_autofree_ char *name = str_printf("vmferry-%s-%s", m->id, which);
	int ret = key_directory_choose(host, name, reader, place, timeout_ms, err);

	free(reader);
	if (ret == 0)
		*path = str_dup(place->path);
	return ret;
}

static char *dst_reader(struct migration *m)
{
	return m->opt->clone ? str_printf("echo %s", m->clone_user.uid)
			     : key_reader_listener(m->opt->dst.socket);
}

void keys_place_deinit(struct key_place *place)
{
	free(place->path);
	free(place->owner);
}

/* No core file of ours has it from here on: SSH's own memory is not ours to wipe. */
static int put_key(struct migration *m, const struct key_place *src, const struct key_place *dst,
		   int64_t timeout_ms, struct err *err)
{
	bool group = !qmp_can(&m->dst.caps, QMP_ACCELERATORS);
	char line[KEY_LINE_SIZE];
	int ret;

	prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	ret = draw_key(line, err);
	if (ret == 0)
		ret = key_directory_make(m->here, src, line, strlen(line), false, timeout_ms, err);
	if (ret == 0)
		ret = key_directory_make(m->host, dst, line, strlen(line), group, timeout_ms, err);
	explicit_bzero(line, sizeof(line));
	return ret;
}

int keys_choose_places(struct migration *m, bool ours, struct key_place *src, struct key_place *dst,
		       int64_t timeout_ms, struct err *err)
{
	char *reader = ours ? str_dup(":") : key_reader_process(m->src_pid);

	if (choose(m, m->here, "source", reader, &m->keys.src_directory, src, timeout_ms, err) <
		    0 ||
	    choose(m, m->host, "destination", dst_reader(m), &m->keys.dst_directory, dst,
		   timeout_ms, err) < 0 ||
	    migration_record(m, err) < 0)
		return -1;
	return m->guard ? guard_keys(m->guard, dst->path, err) : 0;
}

static int make_key(struct migration *m, int64_t timeout_ms, struct err *err)
{
	struct key_place src = {0}, dst = {0};
	int ret = keys_choose_places(m, false, &src, &dst, timeout_ms, err);

	if (ret == 0)
		ret = put_key(m, &src, &dst, timeout_ms, err);
	keys_place_deinit(&src);
	keys_place_deinit(&dst);
	return ret;
}

/* --- the objects --- */

static int add_object(struct migration *m, struct side *side, const char *directory,
		      struct err *err)
{
	bool certificates = keys_method(m) == ENCRYPT_X509;
	struct qmp_tls tls = {
		.id = keys_object(m),
		.directory = directory,
		.certificates = certificates,
		.server = side == &m->dst,
	};

	if (qmp_tls_add(side->qmp, &tls, err) == 0)
		return 0;
	if (err->kind != ERR_QMP)
		return -1;
	return err_wrap(
		err,
		certificates ? "%s: its QEMU cannot encrypt by certificates; see that they are "
			       "as the manual says, or do without encryption (--encrypt=none)"
			     : "%s: its QEMU cannot take a key to encrypt with; use certificates "
			       "(--encrypt=x509:DIR), or do without encryption "
			       "(--encrypt=none)",
		side->name);
}

static int add_to_source(struct migration *m, struct err *err)
{
	bool certificates = keys_method(m) == ENCRYPT_X509;

	m->keys.src_added = true;
	return add_object(m, &m->src, certificates ? m->opt->certificates : m->keys.src_directory,
			  err);
}

static int add_to_destination(struct migration *m, struct err *err)
{
	bool certificates = keys_method(m) == ENCRYPT_X509;

	m->keys.dst_added = true;
	if (add_object(m, &m->dst, certificates ? m->opt->certificates : m->keys.dst_directory,
		       err) < 0)
		return -1;
	return qmp_tls_for_ram(m->dst.qmp, keys_object(m), err);
}

static int remove_directory(struct host *host, char **path, int64_t timeout_ms, struct err *err)
{
	if (!*path)
		return 0;
	if (key_directory_remove(host, *path, timeout_ms, err) < 0)
		return -1;
	free(*path);
	*path = NULL;
	return 0;
}

/* A QEMU that was started again gets what the one before had: the source's has the key in memory.
 */
int step_keys(struct migration *m, int64_t timeout_ms, struct err *err)
{
	if (m->retried)
		return add_to_destination(m, err);
	if (keys_method(m) == ENCRYPT_PSK && make_key(m, timeout_ms, err) < 0)
		return -1;
	if (add_to_source(m, err) < 0 || add_to_destination(m, err) < 0)
		return -1;
	return remove_directory(m->here, &m->keys.src_directory, timeout_ms, err);
}

/* --- taking back --- */

static int remove_from_destination(struct migration *m, struct err *err)
{
	if (qmp_tls_for_ram(m->dst.qmp, "", err) < 0)
		return -1;
	return qmp_tls_remove(m->dst.qmp, keys_object(m), err);
}

static int remove_over_there(struct migration *m, int64_t timeout_ms, struct err *err)
{
	if (!m->keys.dst_directory)
		return 0;
	if (ensure_host(m, err) == 0 &&
	    remove_directory(m->host, &m->keys.dst_directory, timeout_ms, err) == 0)
		return 0;
	return err_wrap(err, "%s stays%s", m->keys.dst_directory,
			keys_are_used(m) ? ", with a key that is of no use any more" : "");
}

/* The directory is removed whatever becomes of the object. */
int keys_release(struct migration *m, int64_t timeout_ms, struct err *err)
{
	struct err object = {0};
	int ret = m->keys.dst_added ? undo_on_destination(m, remove_from_destination, &object) : 0;

	if (ret == 0)
		m->keys.dst_added = false;
	if (remove_over_there(m, timeout_ms, err) < 0) {
		if (ret < 0)
			problems_add(&m->left_behind, "%s", object.text);
		return -1;
	}
	*err = object;
	return ret;
}

/* With its QEMU gone there is nothing of ours in it. */
static int take_back_here(struct migration *m, int64_t timeout_ms, struct err *err)
{
	if (m->keys.src_added && qmp_alive(m->src.qmp) &&
	    qmp_tls_remove(m->src.qmp, keys_object(m), err) < 0)
		return -1;
	m->keys.src_added = false;
	return remove_directory(m->here, &m->keys.src_directory, timeout_ms, err);
}

int undo_keys(struct migration *m, int64_t timeout_ms, struct err *err)
{
	struct err here = {0};
	int ret = take_back_here(m, timeout_ms, &here);

	if (keys_release(m, timeout_ms, err) < 0) {
		if (ret < 0)
			problems_add(&m->left_behind, "%s", here.text);
		return -1;
	}
	*err = here;
	return ret;
}
