/* Cookies as texts, to be taken and to be spoiled. */
#ifndef VMFERRY_TESTS_COOKIE_TEXTS_H
#define VMFERRY_TESTS_COOKIE_TEXTS_H

#define UUID "c7a5fdbd-edaf-9455-926a-d65c16db1809"
#define HEX32 "0123456789abcdef0123456789abcdef"

/* A cookie around @inside, and the <vmferry> in it. */
#define COOKIE(inside) "<qemu-migration><uuid>" UUID "</uuid>" inside "</qemu-migration>"
#define VMFERRY(phase, more, inside)                                                               \
	"<vmferry xmlns='urn:vmferry:cookie:1' phase='" phase "' id='" HEX32                       \
	"' method='nbd' " more ">" inside "</vmferry>"

/* begin's, as vmferry has it. */
static const char good[] =
	"<qemu-migration>\n"
	"  <name>web1</name>\n"
	"  <uuid>" UUID "</uuid>\n"
	"  <hostname>hosta</hostname>\n"
	"  <hostuuid>00000000-0000-0000-0000-00000000000a</hostuuid>\n"
	"  <nbd>\n"
	"    <disk src='/srv/a.img' size='17179869184'/>\n"
	"    <disk src='/srv/b.img' size='512'/>\n"
	"  </nbd>\n"
	"  <vmferry xmlns='urn:vmferry:cookie:1' phase='begin' id='" HEX32 "' method='nbd'>\n"
	"    <disk name='vda' src='/srv/a.img' size='17179869184' mode='0640' format='raw'/>\n"
	"    <disk name='vdb' src='/srv/b.img' size='512' format='qcow2' cluster-size='65536'/>\n"
	"  </vmferry>\n"
	"</qemu-migration>\n";

#endif
