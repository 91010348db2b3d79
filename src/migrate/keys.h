/* What the two QEMUs encrypt with what goes between them, disks and RAM. */
#ifndef VMFERRY_MIGRATE_KEYS_H
#define VMFERRY_MIGRATE_KEYS_H

#include "migrate/migration.h"

/* By the options; never ENCRYPT_AUTO. */
enum encrypt_method keys_method(const struct migration *m);

/* Whether the two QEMUs themselves encrypt. */
bool keys_are_used(const struct migration *m);

/* The name of the object by which both QEMUs encrypt, or NULL: they do not. */
const char *keys_object(struct migration *m);

/* What the destination's certificate is to be made out to, or NULL without certificates. */
const char *keys_certificate_name(const struct migration *m);

/* "psk", "x509", "ssh" or "none". */
const char *keys_method_name(enum encrypt_method method);

/* For words: "encrypted, by a key made for this move", ... */
const char *keys_words(const struct migration *m);

/* What keeps the guest's data from being read on its way is said; or that nothing does. */
void keys_tell(struct migration *m);

/* Where directories of this move would be that only the two QEMUs' users, and on this host only
 * its QEMU's or our own (@ours), may enter. What is in @src and @dst is the caller's to free
 * (keys_place_deinit()). They are in m->keys from here on, and on record, and known to the
 * guard. */
struct key_place;
int keys_choose_places(struct migration *m, bool ours, struct key_place *src, struct key_place *dst,
		       int64_t timeout_ms, struct err *err);
void keys_place_deinit(struct key_place *place);

/* Nothing needs the key any more: takes it back over there, and on the source if its QEMU is
 * kept. */
int keys_release(struct migration *m, int64_t timeout_ms, struct err *err);

#endif
