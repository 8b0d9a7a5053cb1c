/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the memory hotplug tests share: the QEMU monitor, memory blocks, the
 * kernel log, and a picture of the kernel's memory to compare.
 *
 * Calls that can fail return -1 after saying why on stderr.
 */
#ifndef UTIL_H
#define UTIL_H

#include <dirent.h>
#include <stdbool.h>
#include <stdint.h>

#define KiB	1024ULL
#define MiB	(1024 * KiB)
#define GiB	(1024 * MiB)

/*
 * Where to plug: above boot memory and 4 GiB, so that its zone is the first choice for
 * both the kernel's data and processes'; below the 32 GiB that a linear map of 35 bits
 * holds
 */
#define ADDRESS	(24 * GiB)

#define PORT_QMP	"/dev/port/qmp"
#define MEMORY		"/sys/devices/system/memory"
/* These, and THP, are as they were when a program ends */
#define AUTO_ONLINE	MEMORY "/auto_online_blocks"
#define BOOST		"/proc/sys/vm/watermark_boost_factor"
#define DEBUGFS		"/sys/kernel/debug"

/* Huge pages of 2 MiB can be had with all page sizes */
#define THP		"/sys/kernel/mm/transparent_hugepage/hugepages-2048kB/enabled"
#define HUGE		"/sys/kernel/mm/hugepages/hugepages-2048kB"
#define HUGE_FLAGS	(MAP_HUGETLB | 21 << MAP_HUGE_SHIFT)

/* Pins pages for long; CONFIG_GUP_TEST */
#define GUP_TEST	DEBUGFS "/gup_test"

/*
 * Waiting is cheap where nothing hangs, and TCG with lockdep or KCSAN is slow: for one thing
 * to come, and, in place of the harness' 30, for a test to end
 */
#define PATIENCE	300	/* seconds */
#undef TEST_TIMEOUT_DEFAULT
#define TEST_TIMEOUT_DEFAULT	600

/* ---- QEMU ---- */

/* Open the monitor once; -1 where there is none (a real machine) */
int qmp_open(void);

/* Run one command, its arguments being JSON made by printf(); keep the reply */
int qmp(const char *command, const char *arguments, ...)
	__attribute__((format(printf, 2, 3)));
const char *qmp_reply(void);

/*
 * Wait until an event of that name that mentions @id comes, or has come since
 * qmp_forget(). 0 when it came, -1 after @seconds.
 */
int qmp_wait(const char *event, const char *id, int seconds);
void qmp_forget(void);

/* ---- DIMMs ---- */

struct dimm {
	const char *id;
	uint64_t size;
	uint64_t addr;		/* where the guest sees it, from QEMU unless set */
	int node;		/* whose memory it is, on a machine with several */
};

/*
 * Plug a DIMM and wait for its memory blocks; @addr 0 lets QEMU choose. With
 * dimm_insert() no wait, for what is not expected to work.
 */
int dimm_insert(struct dimm *dimm);
int dimm_plug(struct dimm *dimm);
/* Ask for removal; dimm_gone() waits until QEMU has it back, and frees it */
int dimm_eject(const struct dimm *dimm);
int dimm_gone(const struct dimm *dimm, int seconds);
/* Eject it whatever state it is in, and wait */
int dimm_unplug(const struct dimm *dimm);

/*
 * Take away what a test that failed has left, so that the next can have its own; and have
 * no memory put online by itself
 */
void dimms_drop(void);

/* Whether there can be a second node, which then has only what is plugged with node = 1 */
bool two_nodes(void);
#define NODE1	"/sys/devices/system/node/node1"

/* ---- the virtio-mem device "vmem0" ---- */

/* A number that QEMU knows of it; 0 if there is no such device */
uint64_t vmem_property(const char *name);
/* Ask for @size and wait until the guest has just that, in use, or gave it back */
int vmem_resize(uint64_t size);
/* Just ask; and wait, as long as some comes or goes, for @size and a MemTotal of @total_kb */
int vmem_request(uint64_t size);
int vmem_wait(uint64_t size, long total_kb);

/* ---- the NVDIMM "nv0" ---- */

#define REGION		"/sys/bus/nd/devices/region0"

/* No namespaces on it, and those to come may begin and end at any subsection */
int nvdimm_wipe(void);

/* ---- memory blocks ---- */

uint64_t block_size(void);
/* The path of a file of the block at @addr ("state", "online", "valid_zones") */
void block_path(char *path, int size, uint64_t addr, const char *file);
/* How many blocks of [addr, addr + size) there are, or are in a state */
int blocks_present(uint64_t addr, uint64_t size);
int blocks_in_state(uint64_t addr, uint64_t size, const char *state);
/* Write @state ("online_movable", "offline", ...) to all blocks of the range */
int blocks_set(uint64_t addr, uint64_t size, const char *state);
int block_set(uint64_t addr, const char *state);
/* The same, but given up after @seconds, with EINTR */
int block_try(uint64_t addr, const char *state, int seconds);
int blocks_wait(uint64_t addr, uint64_t size, int count, int seconds);
/* Wait until all blocks of the range are there and in a state */
int blocks_wait_state(uint64_t addr, uint64_t size, const char *state);
/* Whether an online block is in that zone ("Normal", "Movable") */
bool block_is_in_zone(uint64_t addr, const char *zone);

/* The physical address behind @p, 0 if it has none (or we are not root) */
uint64_t physical(const void *p);
/* Whether that is on the DIMM */
bool on_dimm(const struct dimm *dimm, const void *p);
/*
 * Memory of a process, from @node first, all of it there, and not of huge pages; NULL if it
 * cannot be had
 */
uint64_t *populate(int node, size_t size);
/* Give all of a range a content, and count where that is not found again */
void fill(uint64_t *p, size_t size);
size_t wrong(const uint64_t *p, size_t size);

/* ---- what to compare ---- */

/*
 * The linear map and memmap as kernel_page_tables shows them, /proc/iomem, memblock,
 * the firmware's map and the memory blocks. Malloc'ed text.
 */
char *picture(void);
/*
 * 0 if it is equal to that one, or on a real machine, where others change it, too; else
 * -1 and the lines that differ go to stderr
 */
int same_picture(const char *before);

/* What memory was: take it again and what was taken before is forgotten */
struct state {
	char *picture;
	long free_kb;
};

void state_take(struct state *state);
/*
 * 0 if the picture is the same and free memory differs by less than @kb, or on a real
 * machine; else -1. Forgets it.
 */
int state_same(struct state *state, long kb);
/*
 * How what is mapped in @after and was not in @before is mapped: a line for each
 * run of like leaves, "start-end MiB level attributes", malloc'ed.
 */
char *new_mappings(const char *before, const char *after);

/* Whether single pages of the linear map come and go at any time */
bool linear_map_changes(void);

#define SLABS	"/sys/kernel/slab"
/*
 * Free slabs without an object, and with them what KASAN holds back in quarantine; and
 * take from CPUs the slabs they allocate from, all of which counts as in use
 */
void shrink_slabs(void);

/* kB free, per-CPU lists included, once caches and batched work are drained */
long free_kb(void);

/* What others may have taken meanwhile: @kb, or with large pages a few slabs' worth */
long noise_kb(long kb);
/* What a kernel with KASAN frees later: shadow of what was mapped, an eighth of that */
long shadow_kb(void);
long meminfo_kb(const char *name);
/* What of @size of memory its own memmap takes; 0 unless memory_hotplug.memmap_on_memory is on */
long own_memmap_kb(uint64_t size);

/* User space has as many bits of address as the kernel, whose linear map has half of them */
bool va_bits_beyond(int bits);

/* ---- who has which pages: CONFIG_PAGE_OWNER, page_owner=on ---- */

/* How many pages each call chain has, malloc'ed text; NULL if it cannot be had */
char *owners(void);
/*
 * Say which call chains, those with a call of @within if that is not NULL, have at least
 * @least pages more than @before, and return how many do. Apart from the memory of
 * processes, this one's; slabs, whose objects can be counted; and what virtio-mem took to
 * put it offline: that went without being freed. Changes @after.
 */
int name_owners(const char *before, char *after, long least, const char *within);
/*
 * 0 if not a page of memmap and page tables is there that was not in @before. Without
 * page_owner=on that is not known, and 0.
 */
int memmap_same(const char *before);

/* ---- the kernel log ---- */

/*
 * Start reading here, not at boot; log_clean() then is 0 if nothing alarming was logged,
 * and log_sound() if nothing but stacks that others dump who run short of memory.
 */
void log_start(void);
int log_clean(void);
int log_sound(void);
/* Whether a message with @text came since log_start() */
bool log_has(const char *text);

/* ---- faults ---- */

/* What memory notifiers are to answer; CONFIG_MEMORY_NOTIFIER_ERROR_INJECT */
#define NOTIFIER	DEBUGFS "/notifier-error-inject/memory/actions"

/* Have fail-nth reach what may sleep, what is small or a process's, and say nothing of it */
int faults_on(void);
/* Let the @n-th allocation of a task ("self", or a number) fail; 0 ends it */
int fail_nth(const char *pid, int n);
/* How many are left until then: 0 when it has failed; -1 if that was in reading this */
int fails_left(const char *pid);
/*
 * Hot-add of a device runs in a worker that nobody knows beforehand: this is for all of
 * them. Pages only, as ACPI alone asks for thousands of objects and does not go on without
 * them. worker_hit() says whether one has met its failure; workers_failed() ends it, and
 * says how many have.
 */
int workers_fail_nth(int n);
bool worker_hit(void);
int workers_failed(void);
/* Insert a DIMM with that, and wait until it is settled: how many have, or -1 */
int dimm_insert_failing(struct dimm *dimm, int n);

/* ---- modules, in /lib/modules or as modprobe finds them ---- */

/* -1 with errno if it does not load; errno is ENOENT if it is not there */
int module_load(const char *name, const char *arguments);
int module_unload(const char *name);

/* The driver of persistent memory; whoever is bound to it has memory of ZONE_DEVICE */
#define PMEM	"/sys/bus/nd/drivers/nd_pmem"

/* ---- files ---- */

int read_file(const char *path, char *buf, int size);
int write_file(const char *path, const char *text);

/* Trace the events of one group, "arm64_hotplug" or "kprobes", from here on */
void trace_start(const char *group);
/* The last line in the trace buffer that mentions @event, or NULL; its number or -1 */
const char *trace_line(const char *event);
int trace_number(const char *event);
/* The number after "name=" in a trace line */
unsigned long long trace_field(const char *line, const char *name);
/* Have calls of a kernel function traced in the group "kprobes" */
int kprobe_add(const char *function);
void kprobes_remove(void);

#endif
