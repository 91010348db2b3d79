/*
 * The test guest: what a migration test runs instead of an operating system.
 *
 * It does two things for ever:
 *
 *   it beats   about 1000 times a second (PIT) it counts one up and says so
 *              on the debug port, so that a reader sees that the guest runs,
 *              that it ran nowhere twice and lost nothing in between;
 *   it writes  "rate" times a second it writes one request to one of its
 *              disks and says so when the disk has acknowledged it.
 *
 * In between it halts: an idle guest does not burn a core.
 *
 * It is its own firmware and its own drivers (virtio-blk, virtio-scsi, IDE by
 * DMA), because where KVM is itself nested, code that runs without paging may
 * be emulated at a million instructions a second: SeaBIOS needs seconds to
 * start there and a core for 5 MB/s. So this executes few instructions: it
 * runs 20 ms after the start, and a request costs the same 200 instructions
 * whatever its size, because the data is not copied but gathered by the disk.
 *
 * Requests are numbered from 1 by seq, one at a time; seq alone tells where a
 * request goes (Guest.place() in system/guest.py computes the same):
 *
 *   disk = seq % disks       n = seq / disks
 *   slot = n % slots[disk]                      (sequential)
 *          (h ^ h >> 15) % slots[disk], h = n * 0x9e3779b1   (scattered)
 *   lba  = start[disk] + slot * sectors
 *
 * A sector is 480 bytes that tell its index in the request, then the stamp of
 * the request, which ends with the sum of its other words: see struct filler
 * and struct stamp.
 *
 * What it says on port 0xe9. Every byte is an exit to QEMU, so nearly all is
 * one byte; the bytes below 0x40 make up whole lines. (H is 8 hex digits,
 * written as '0' + nibble: 0123456789:;<=>?)
 *
 *   0x80 | (beat & 0x7f)      beat
 *   0x40 | (seq & 0x3f)       request seq was acknowledged
 *   #H,H\n                    after every 128th beat: beat, last seq acknowledged
 *   !H\n                      started: guest id
 *   $H,H\n                    something is wrong: code, number (enum wrong)
 *
 * With dirty_per_beat it also writes that many pages of RAM a beat, round and
 * round over dirty_pages pages, and checks in each what it wrote there the
 * round before.
 */
#include <stdint.h>

enum { DISKS_MAX = 4, SECTORS_MAX = 127, DIRTY_START = 0x400000 };

enum bus { BUS_VIRTIO, BUS_SCSI, BUS_IDE };

enum wrong {
	WRONG_NO_DISK = 1,     /* number: the disk */
	WRONG_QUEUE_TOO_SMALL, /* number: the disk */
	WRONG_RAM,             /* number: the page */
	WRONG_WRITE = 0x100,   /* + the disk's status; number: the request */
};

/* Written into the image by the rig, which has the same layout. */
extern const struct {
	char magic[8];
	uint32_t guest_id;
	uint32_t disks;
	uint32_t sectors; /* a request */
	uint32_t rate;    /* requests in 1000 beats */
	uint32_t credit_max;
	uint32_t scattered;
	uint32_t dirty_per_beat;
	uint32_t dirty_pages;
	struct {
		uint32_t bus;
		uint32_t unit;  /* n-th virtio-blk; SCSI target; IDE 0 to 3 */
		uint32_t start; /* the first sector to write */
		uint32_t slots; /* so many requests from there on */
	} disk[DISKS_MAX];
} settings;

struct filler {
	char magic[4];
	uint32_t guest_id;
	uint32_t index; /* of the sector in its request */
	uint32_t sum;
};

struct stamp {
	char magic[4];
	uint32_t guest_id;
	uint32_t disk;
	uint32_t lba; /* of the request */
	uint32_t seq;
	uint32_t sectors;
	uint32_t zero;
	uint32_t sum;
};

enum { FILLERS = (512 - sizeof(struct stamp)) / sizeof(struct filler) };

static struct filler fillers[SECTORS_MAX][FILLERS];
static struct stamp stamp;

volatile uint32_t beat; /* counted up by on_timer in start.S */
static volatile uint32_t acked;
static uint32_t seq;
static uint32_t credit;
uint64_t idt[33];

void on_timer(void);
void say_state(void);
int main(void);

/* ---- ports */

static inline void out8(uint16_t port, uint8_t value)
{
	__asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port) : "memory");
}

static inline void out16(uint16_t port, uint16_t value)
{
	__asm__ volatile("outw %0, %1" : : "a"(value), "Nd"(port) : "memory");
}

static inline void out32(uint16_t port, uint32_t value)
{
	__asm__ volatile("outl %0, %1" : : "a"(value), "Nd"(port) : "memory");
}

static inline uint8_t in8(uint16_t port)
{
	uint8_t value;
	__asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port) : "memory");
	return value;
}

static inline uint16_t in16(uint16_t port)
{
	uint16_t value;
	__asm__ volatile("inw %1, %0" : "=a"(value) : "Nd"(port) : "memory");
	return value;
}

static inline uint32_t in32(uint16_t port)
{
	uint32_t value;
	__asm__ volatile("inl %1, %0" : "=a"(value) : "Nd"(port) : "memory");
	return value;
}

static inline void interrupts_off(void)
{
	__asm__ volatile("cli" : : : "memory");
}

static inline void interrupts_on(void)
{
	__asm__ volatile("sti" : : : "memory");
}

/* Waits for an interrupt; to be called with interrupts off, leaves them on. */
static inline void halt(void)
{
	__asm__ volatile("sti; hlt" : : : "memory");
}

/* ---- what it says */

static void say(uint8_t byte)
{
	out8(0xe9, byte);
}

static void say_hex(uint32_t value)
{
	for (int shift = 28; shift >= 0; shift -= 4)
		say('0' + (value >> shift & 15));
}

static void say_line(char what, uint32_t first, uint32_t second)
{
	say(what);
	say_hex(first);
	say(',');
	say_hex(second);
	say('\n');
}

void say_state(void)
{
	say_line('#', beat, acked);
}

static void say_wrong(uint32_t code, uint32_t number)
{
	interrupts_off();
	say_line('$', code, number);
	interrupts_on();
}

/* ---- PCI */

static uint16_t next_io_base = 0xc000;

static uint32_t pci_read(uint32_t device, uint32_t offset)
{
	out32(0xcf8, 0x80000000 | device | offset);
	return in32(0xcfc);
}

static void pci_write(uint32_t device, uint32_t offset, uint32_t value)
{
	out32(0xcf8, 0x80000000 | device | offset);
	out32(0xcfc, value);
}

/* The n-th function on bus 0 with this vendor and device id; 0: none. */
static uint32_t pci_find(uint32_t id, uint32_t n)
{
	for (uint32_t slot = 0; slot < 32; slot++) {
		uint32_t device = slot << 11;
		if (pci_read(device, 0) == 0xffffffff)
			continue;
		uint32_t functions = pci_read(device, 12) & 0x800000 ? 8 : 1;
		for (uint32_t function = 0; function < functions; function++, device += 0x100)
			if (pci_read(device, 0) == id && n-- == 0)
				return device;
	}
	return 0;
}

/* Gives the device an I/O range in this base register and switches it on. */
static uint16_t pci_enable_io(uint32_t device, uint32_t bar)
{
	uint16_t base = next_io_base;
	next_io_base += 0x100;
	pci_write(device, bar, base);
	pci_write(device, 4, 0x5); /* I/O space, bus master */
	return base;
}

/* ---- virtio, in the old way by I/O ports that QEMU's devices still speak */

enum { RING_SIZE = 32768, RING_MAX = 1024 };
enum { DESC_NEXT = 1, DESC_WRITE = 2 };
enum {
	REG_FEATURES = 0,
	REG_GUEST_FEATURES = 4,
	REG_QUEUE_PAGE = 8,
	REG_QUEUE_SIZE = 12,
	REG_QUEUE_SELECT = 14,
	REG_NOTIFY = 16,
	REG_STATUS = 18,
};
enum { FEATURE_FLUSH = 1 << 9 }; /* without it QEMU flushes after each write */

struct desc {
	uint64_t address;
	uint32_t length;
	uint16_t flags;
	uint16_t next;
};

struct virtio {
	uint16_t io;
	uint16_t queue;
	uint16_t size;
	struct desc *desc;
	volatile uint16_t *avail; /* flags, idx, ring[] */
	volatile uint16_t *used;  /* flags, idx, ... */
};

static uint8_t rings[DISKS_MAX][RING_SIZE] __attribute__((aligned(4096)));

static void virtio_init(struct virtio *v, uint16_t io, uint16_t queue, uint8_t *ring)
{
	v->io = io;
	v->queue = queue;
	out8(io + REG_STATUS, 0);
	out8(io + REG_STATUS, 3); /* acknowledge, driver */
	out32(io + REG_GUEST_FEATURES, in32(io + REG_FEATURES) & FEATURE_FLUSH);
	out16(io + REG_QUEUE_SELECT, queue);
	v->size = in16(io + REG_QUEUE_SIZE);
	v->desc = (struct desc *)ring;
	v->avail = (volatile uint16_t *)(ring + 16 * v->size);
	v->used = (volatile uint16_t *)(((uintptr_t)v->avail + 6 + 2 * v->size + 4095) & ~4095ul);
	out32(io + REG_QUEUE_PAGE, (uintptr_t)ring >> 12);
	out8(io + REG_STATUS, 7); /* driver ok */
	v->avail[0] = 1;          /* no interrupts, please */
}

static uint16_t desc_set(struct virtio *v, uint16_t n, const void *data, uint32_t length,
			 uint16_t flags)
{
	v->desc[n] = (struct desc){(uintptr_t)data, length, flags, n + 1};
	return n + 1;
}

/* Lays out the one chain of descriptors that every request uses. */
static int virtio_chain(struct virtio *v, const void *head, uint32_t head_length, void *status,
			uint32_t status_length)
{
	if (v->size > RING_MAX || v->size < 2 * settings.sectors + 2)
		return -1;
	uint16_t n = desc_set(v, 0, head, head_length, DESC_NEXT);
	for (uint32_t i = 0; i < settings.sectors; i++) {
		n = desc_set(v, n, fillers[i], sizeof(fillers[i]), DESC_NEXT);
		n = desc_set(v, n, &stamp, sizeof(stamp), DESC_NEXT);
	}
	desc_set(v, n, status, status_length, DESC_WRITE);
	return 0;
}

/* Looks a while, then sleeps till the next beat. */
static void wait_a_little(uint32_t *looks)
{
	if (++*looks < 64)
		return;
	interrupts_off();
	halt();
}

static void virtio_run(struct virtio *v)
{
	uint16_t idx = v->avail[1] + 1;
	uint32_t looks = 0;

	v->avail[1] = idx; /* ring[] is all 0: the chain starts there */
	__sync_synchronize();
	out16(v->io + REG_NOTIFY, v->queue);
	while (v->used[1] != idx)
		wait_a_little(&looks);
}

/* ---- the disks */

struct blk_head {
	uint32_t type, reserved;
	uint64_t lba;
};

struct scsi_head {
	uint8_t lun[8];
	uint64_t tag;
	uint8_t attribute, priority, crn;
	uint8_t cdb[32];
} __attribute__((packed));

struct scsi_status {
	uint32_t sense_length, residual;
	uint16_t qualifier;
	uint8_t status, response;
	uint8_t sense[96];
};

struct prd {
	uint32_t address;
	uint16_t length, flags;
};

static struct virtio blk[DISKS_MAX], scsi;
static struct blk_head blk_head[DISKS_MAX];
static volatile uint8_t blk_status[DISKS_MAX];
static struct scsi_head scsi_head;
static volatile struct scsi_status scsi_status;
static struct prd prds[2 * SECTORS_MAX] __attribute__((aligned(4096)));
static uint16_t ide_dma;

static int blk_init(uint32_t disk)
{
	uint32_t device = pci_find(0x10011af4, settings.disk[disk].unit);
	if (!device)
		return WRONG_NO_DISK;
	virtio_init(&blk[disk], pci_enable_io(device, 0x10), 0, rings[disk]);
	blk_head[disk].type = 1;
	return virtio_chain(&blk[disk], &blk_head[disk], sizeof(blk_head[disk]),
			    (void *)&blk_status[disk], 1)
		       ? WRONG_QUEUE_TOO_SMALL
		       : 0;
}

static uint8_t blk_write(uint32_t disk)
{
	blk_head[disk].lba = stamp.lba;
	blk_status[disk] = 0xff;
	virtio_run(&blk[disk]);
	return blk_status[disk];
}

static int scsi_init(uint32_t disk)
{
	if (scsi.io)
		return 0;
	uint32_t device = pci_find(0x10041af4, 0);
	if (!device)
		return WRONG_NO_DISK;
	virtio_init(&scsi, pci_enable_io(device, 0x10), 2, rings[disk]);
	return virtio_chain(&scsi, &scsi_head, sizeof(scsi_head), (void *)&scsi_status,
			    sizeof(scsi_status))
		       ? WRONG_QUEUE_TOO_SMALL
		       : 0;
}

static uint8_t scsi_write(uint32_t disk)
{
	uint8_t *cdb = scsi_head.cdb;

	scsi_head.lun[0] = 1;
	scsi_head.lun[1] = settings.disk[disk].unit;
	scsi_head.lun[2] = 0x40;
	cdb[0] = 0x2a; /* WRITE(10) */
	for (int i = 0; i < 4; i++)
		cdb[2 + i] = stamp.lba >> (24 - 8 * i);
	cdb[8] = settings.sectors;
	for (int tries = 0; tries < 3; tries++) {
		scsi_status.response = 0xff;
		virtio_run(&scsi);
		if (scsi_status.response)
			return scsi_status.response;
		if (scsi_status.status != 2) /* the first says "power on" */
			break;
	}
	return scsi_status.status;
}

static int ide_init(uint32_t disk)
{
	(void)disk;
	if (ide_dma)
		return 0;
	uint32_t device = pci_find(0x70108086, 0);
	if (!device)
		return WRONG_NO_DISK;
	pci_write(device, 0x40, 0x80008000); /* decode both channels */
	ide_dma = pci_enable_io(device, 0x20);
	for (uint32_t i = 0; i < settings.sectors; i++) {
		prds[2 * i] = (struct prd){(uintptr_t)fillers[i], sizeof(fillers[i]), 0};
		prds[2 * i + 1] = (struct prd){(uintptr_t)&stamp, sizeof(stamp), 0};
	}
	prds[2 * settings.sectors - 1].flags = 0x8000; /* the last */
	return 0;
}

static uint8_t ide_write(uint32_t disk)
{
	uint32_t unit = settings.disk[disk].unit, looks = 0;
	uint16_t io = unit & 2 ? 0x170 : 0x1f0, dma = ide_dma + (unit & 2 ? 8 : 0);

	out8(io + 6, 0xe0 | (unit & 1) << 4 | (stamp.lba >> 24 & 15));
	out8(io + 2, settings.sectors);
	out8(io + 3, stamp.lba);
	out8(io + 4, stamp.lba >> 8);
	out8(io + 5, stamp.lba >> 16);
	out8(dma, 0);
	out8(dma + 2, 6); /* clear interrupt and error */
	out32(dma + 4, (uintptr_t)prds);
	out8(io + 7, 0xca); /* WRITE DMA */
	out8(dma, 1);
	while (in8(dma + 2) & 1)
		wait_a_little(&looks);
	out8(dma, 0);
	uint8_t status = in8(io + 7);
	return status & 0x21 ? status : 0; /* error, fault */
}

static const struct {
	int (*init)(uint32_t disk);      /* 0 or an enum wrong */
	uint8_t (*write)(uint32_t disk); /* the stamped request; 0 or a status */
} drivers[] = {
	[BUS_VIRTIO] = {blk_init, blk_write},
	[BUS_SCSI] = {scsi_init, scsi_write},
	[BUS_IDE] = {ide_init, ide_write},
};

/* ---- the work */

static uint32_t sum_of(const void *data, int words)
{
	uint32_t sum = 0;
	for (const uint32_t *word = data; words > 0; words--)
		sum += *word++;
	return sum;
}

static void make_fillers(void)
{
	for (uint32_t i = 0; i < settings.sectors; i++) {
		struct filler filler = {"VMFF", settings.guest_id, i, 0};
		filler.sum = sum_of(&filler, 3);
		for (int n = 0; n < FILLERS; n++)
			fillers[i][n] = filler;
	}
}

static void make_stamp(void)
{
	uint32_t disk = seq % settings.disks, n = seq / settings.disks;

	if (settings.scattered) {
		n *= 0x9e3779b1;
		n ^= n >> 15;
	}
	n %= settings.disk[disk].slots;
	stamp = (struct stamp){
		.magic = "VMFY",
		.guest_id = settings.guest_id,
		.disk = disk,
		.lba = settings.disk[disk].start + n * settings.sectors,
		.seq = seq,
		.sectors = settings.sectors,
	};
	stamp.sum = sum_of(&stamp, 7);
}

/* Writes the next request, again and again until the disk takes it. */
static void write_request(void)
{
	uint8_t status;

	seq++;
	make_stamp();
	while ((status = drivers[settings.disk[stamp.disk].bus].write(stamp.disk))) {
		say_wrong(WRONG_WRITE + status, seq);
		interrupts_off();
		halt();
	}
	interrupts_off(); /* say_state must not come in between */
	acked = seq;
	say(0x40 | (seq & 0x3f));
	interrupts_on();
}

static void dirty_ram(void)
{
	static uint32_t page, round;

	for (uint32_t n = 0; n < settings.dirty_per_beat; n++) {
		volatile uint32_t *word = (volatile uint32_t *)(DIRTY_START + page * 4096);
		if (round && *word != round + page)
			say_wrong(WRONG_RAM, page);
		*word = round + 1 + page;
		if (++page == settings.dirty_pages) {
			page = 0;
			round++;
		}
	}
}

/* Sleeps until there was a beat since the last time; how many there were. */
static uint32_t wait_for_beat(void)
{
	static uint32_t seen;

	interrupts_off();
	while (beat == seen) {
		halt();
		interrupts_off();
	}
	uint32_t beats = beat - seen;
	seen = beat;
	interrupts_on();
	return beats;
}

static void start_beating(void)
{
	static const uint8_t pic[][2] = {
		{0x20, 0x11}, {0x21, 0x20}, {0x21, 4}, {0x21, 1}, {0x21, 0xfe},
		{0xa0, 0x11}, {0xa1, 0x28}, {0xa1, 2}, {0xa1, 1}, {0xa1, 0xff},
	};
	uint32_t handler = (uintptr_t)on_timer;
	volatile uint32_t *apic = (volatile uint32_t *)0xfee00000;

	apic[0xf0 / 4] = 0x1ff;   /* on */
	apic[0x350 / 4] = 0x8700; /* takes interrupts from the PIC */

	idt[32] = (uint64_t)(handler & 0xffff0000) << 32 | 0x8e0000080000ull | (handler & 0xffff);
	for (unsigned i = 0; i < sizeof(pic) / sizeof(pic[0]); i++)
		out8(pic[i][0], pic[i][1]);
	out8(0x43, 0x34); /* channel 0, rate generator, 1193182 / 1193 Hz */
	out8(0x40, 1193 & 0xff);
	out8(0x40, 1193 >> 8);
}

int main(void)
{
	say('!');
	say_hex(settings.guest_id);
	say('\n');
	make_fillers();
	start_beating();
	for (uint32_t disk = 0; disk < settings.disks; disk++) {
		int wrong = drivers[settings.disk[disk].bus].init(disk);
		if (wrong)
			say_wrong(wrong, disk);
	}
	for (;;) {
		uint32_t beats = wait_for_beat();
		dirty_ram();
		credit += beats * settings.rate;
		if (credit > settings.credit_max)
			credit = settings.credit_max;
		for (; credit >= 1000; credit -= 1000)
			write_request();
	}
}
