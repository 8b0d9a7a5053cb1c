// SPDX-License-Identifier: GPL-2.0
/*
 * soak [MINUTES [SEED]]: a random mix of everything, on a guest with several DIMMs, of
 * one node or two, a virtio-mem device and an NVDIMM, whose content is lost; each step
 * while memory is in use and one of the others (others.h) is at work. The seed that is
 * printed replays the sequence. In the end all is taken away, and memory is as it was.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../../../../../mm/gup_test.h"
#include "../../kselftest.h"
#include "others.h"
#include "util.h"

#define DIMMS	6
#define NAMESPACE	"namespace0.0"

static struct dimm dimms[DIMMS] = {
	{ .id = "d0" }, { .id = "d1" }, { .id = "d2" },
	{ .id = "d3" }, { .id = "d4" }, { .id = "d5" },
};

static struct dimm *any_dimm(void)
{
	return &dimms[rand() % DIMMS];
}

/* Where one of its memory blocks is */
static uint64_t any_block(const struct dimm *d)
{
	return d->addr + rand() % (d->size / block_size()) * block_size();
}

/* One that is not there, with a size and a place; NULL if that one is */
static struct dimm *new_dimm(void)
{
	struct dimm *d = any_dimm();

	if (d->size)
		return NULL;
	d->size = (1 + rand() % 8) * block_size();
	/* Where the others look */
	d->addr = ADDRESS + (d - dimms) * 8 * block_size();
	d->node = rand() % (1 + two_nodes());
	return d;
}

static int plug(void)
{
	struct dimm *d = new_dimm();

	return d ? dimm_plug(d) : 1;
}

static int unplug(void)
{
	struct dimm *d = any_dimm();

	if (!d->size || dimm_unplug(d))
		return d->size ? -1 : 1;
	d->size = 0;
	return 0;
}

/* A page of those that it takes cannot be had: all of it is there then, or nothing */
static int plug_fails(void)
{
	struct dimm *d = new_dimm();
	int hit, present;

	if (!d)
		return 1;
	hit = dimm_insert_failing(d, 1 + rand() % 128);
	if (hit < 0)
		return -1;
	present = blocks_present(d->addr, d->size);
	if (present)
		return present == d->size / block_size() ? !hit : -1;
	if (!hit || dimm_unplug(d))
		return -1;
	d->size = 0;
	return 0;
}

/* Asked for again before it is done, which QEMU may refuse */
static int eject_twice(void)
{
	struct dimm *d = any_dimm();

	if (!d->size)
		return 1;
	if (dimm_eject(d))
		return -1;
	qmp("device_del", "\"id\":\"%s\"", d->id);
	if (dimm_gone(d, PATIENCE))
		return -1;
	d->size = 0;
	return 0;
}

/* With the @nth allocation of it failing, unless that is 0 */
static int set_block(const char *state, int nth)
{
	struct dimm *d = any_dimm();
	char path[128];
	int ret;

	if (!d->size)
		return 1;
	block_path(path, sizeof(path), any_block(d), "state");
	if (nth)
		fail_nth("self", nth);
	/* It may be so already; that is refused, and right so */
	ret = write_file(path, state) ? 1 : 0;
	if (nth) {
		/* What counts is that it failed, whatever came of it */
		ret = fails_left("self") ? 1 : 0;
		fail_nth("self", 0);
	}
	return ret;
}

static int online(void)
{
	return set_block("online_movable", 0);
}

static int offline(void)
{
	return set_block("offline", 0);
}

/* It may be refused, then */
static int fail(void)
{
	return set_block("offline", 1 + rand() % 32);
}

/* A notifier refuses what is asked for: the block stays as it was */
static int refuse(void)
{
	struct dimm *d = any_dimm();
	const char *error;
	uint64_t at;
	int online;

	if (!d->size || access(NOTIFIER, F_OK))
		return 1;
	at = any_block(d);
	online = blocks_in_state(at, block_size(), "online");
	error = online ? NOTIFIER "/MEM_GOING_OFFLINE/error" : NOTIFIER "/MEM_GOING_ONLINE/error";
	if (write_file(error, "-12"))
		return -1;
	if (!block_set(at, online ? "offline" : "online_movable") ||
	    blocks_in_state(at, block_size(), "online") != online) {
		printf("# a notifier was not asked, or not heard\n");
		return -1;
	}
	return write_file(error, "0");
}

/* A page of a DIMM, free or not, goes bad; one of boot memory would be lost */
static int spoil(void)
{
	struct dimm *d = any_dimm();
	char text[32];

	if (!d->size)
		return 1;
	snprintf(text, sizeof(text), "%#llx", (unsigned long long)
		 (d->addr + rand() % (d->size / getpagesize()) * getpagesize()));
	return write_file(MEMORY "/soft_offline_page", text) ? 1 : 0;
}

/* A disk, and what can become memory: a whole block of that, wherever it begins */
static void make_namespaces(void)
{
	static const char create[] = "ndctl create-namespace -f -r region0";
	char command[256];

	if (nvdimm_wipe()) {
		printf("# no NVDIMM\n");
		return;
	}
	snprintf(command, sizeof(command), "(%s -m raw -s 128M; %s %s -s %llu -a %d) %s",
		 create, create, "-m devdax -M mem", 2 * (unsigned long long)block_size(),
		 getpagesize(), ">/dev/null 2>&1");
	(void)!system(command);
	write_file(PMEM "/unbind", NAMESPACE);
}

/* A driver has memory of its own (ZONE_DEVICE), or not */
static int pmem(void)
{
	static bool bound;

	if (write_file(bound ? PMEM "/unbind" : PMEM "/bind", NAMESPACE))
		return 1;
	bound = !bound;
	return 0;
}

/* A DAX device is memory of its node, or is not. With pages on their way it may have to wait */
static bool is_ram;

static int kmem(void)
{
	if (system(is_ram ? "daxctl reconfigure-device -f -m devdax all >/dev/null 2>&1" :
			    "daxctl reconfigure-device -f -m system-ram all >/dev/null 2>&1"))
		return 1;
	is_ram = !is_ram;
	return 0;
}

/* Whether it is in use does not matter; DIMMs come and go online meanwhile */
static int resize_to(uint64_t size)
{
	int i;

	if (vmem_request(size))
		return -1;
	for (i = 0; i < PATIENCE * 10 && vmem_property("size") != size; i++)
		usleep(100000);
	return vmem_property("size") == size ? 0 : -1;
}

static int resize(void)
{
	uint64_t unit = vmem_property("block-size");

	if (!unit)
		return 1;
	/* At times the request changes while it is worked on */
	if (rand() % 2 && vmem_request(rand() % (2 * GiB / unit) * unit))
		return -1;
	return resize_to(rand() % (2 * GiB / unit) * unit);
}

/* What we hold stays until the next is taken, wherever it has moved to by then */
static struct {
	uint64_t *p;
	size_t size;
	int pin;
} held = { .pin = -1 };

static int drop(void)
{
	int ret = 0;

	if (!held.p)
		return 0;
	if (wrong(held.p, held.size)) {
		printf("# what was held is not what it was\n");
		ret = -1;
	}
	/* That unpins it */
	close(held.pin);
	munmap(held.p, held.size);
	write_file(HUGE "/nr_hugepages", "0");
	held.p = NULL;
	held.pin = -1;
	return ret;
}

static int hold(int flags, int advice)
{
	char pages[16];

	if (drop())
		return -1;
	held.size = (1 + rand() % 32) * 2 * MiB;
	snprintf(pages, sizeof(pages), "%llu", held.size / (2 * MiB));
	if (flags & MAP_HUGETLB)
		write_file(HUGE "/nr_hugepages", pages);
	held.p = mmap(NULL, held.size, PROT_READ | PROT_WRITE, flags | MAP_ANONYMOUS, -1, 0);
	if (held.p == MAP_FAILED) {
		held.p = NULL;
		write_file(HUGE "/nr_hugepages", "0");
		return 1;
	}
	/* It is ours alone: the others are no users of it */
	madvise(held.p, held.size, MADV_DONTFORK);
	madvise(held.p, held.size, advice);
	fill(held.p, held.size);
	return 0;
}

static int use(void)
{
	return hold(MAP_PRIVATE, MADV_NOHUGEPAGE);
}

static int share(void)
{
	return hold(MAP_SHARED, MADV_NOHUGEPAGE);
}

static int huge(void)
{
	return hold(MAP_PRIVATE, MADV_HUGEPAGE);
}

static int hugetlb(void)
{
	return hold(MAP_PRIVATE | HUGE_FLAGS, MADV_NORMAL);
}

static int lock(void)
{
	int ret = use();

	return ret ? ret : mlock(held.p, held.size);
}

/* For long, as a device does. What is pinned otherwise is not given back as long as it is */
static int pin(void)
{
	struct pin_longterm_test pin = { .flags = PIN_LONGTERM_TEST_FLAG_USE_WRITE };
	int ret = use();

	if (ret)
		return ret;
	pin.addr = (uintptr_t)held.p;
	pin.size = held.size;
	held.pin = open(GUP_TEST, O_RDWR);
	return ioctl(held.pin, PIN_LONGTERM_TEST_START, &pin) ? 1 : 0;
}

static int dump(void)
{
	free(picture());
	return 0;
}

static int reclaim(void)
{
	return write_file("/proc/sys/vm/drop_caches", "3");
}

static struct {
	const char *name;
	int (*run)(void);	/* 0 done, 1 nothing to do, -1 failed */
	int done;
} actions[] = {
	{ "plug", plug }, { "plug-fails", plug_fails }, { "unplug", unplug },
	{ "eject-twice", eject_twice },
	{ "online", online }, { "offline", offline }, { "fail", fail },
	{ "refuse", refuse }, { "spoil", spoil }, { "pmem", pmem },
	{ "kmem", kmem }, { "resize", resize }, { "use", use }, { "share", share },
	{ "huge", huge }, { "hugetlb", hugetlb }, { "lock", lock }, { "pin", pin },
	{ "dump", dump }, { "reclaim", reclaim },
};

/* Not hard_offline(): a page of virtio-mem that went bad cannot be given back */
static struct other {
	const char *name;
	int (*round)(void);
	int done;
} others[] = {
	{ "tables", dump_tables }, { "owners", read_owners }, { "flags", read_flags },
	{ "kcore", read_kernel }, { "kexec", load_kernel }, { "kexec-file", load_file },
	{ "kexec-tools", run_kexec }, { "vmalloc", load_module }, { "module", cycle_module },
	{ "bpf", load_bpf }, { "forks", fork_storm }, { "compact", compact_node },
	{ "idle", mark_idle }, { "scan", scan }, { "cpu", cycle_cpu },
};

static pid_t working;
static struct other *who;
static unsigned int turn;

/* Let the one that is at work end, and count it; -1 if it could not be had */
static int end_other(void)
{
	pid_t pid = working;
	int status;

	if (!pid)
		return 0;
	working = 0;
	if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status) ||
	    WEXITSTATUS(status) & ~MET_NOTHING)
		return -1;
	who->done += !status;
	return 0;
}

/* Another goes to work while the next steps are taken */
static int next_other(void)
{
	if (end_other())
		return -1;
	/* In turn, as it is for some steps */
	who = &others[turn++ % ARRAY_SIZE(others)];
	working = fork();
	if (!working) {
		int ret = who->round();

		_exit(ret & ~MET_NOTHING ? 1 : ret);
	}
	return working < 0 ? -1 : 0;
}

int main(int argc, char **argv)
{
	const int minutes = argc > 1 ? atoi(argv[1]) : 1;
	time_t until = time(NULL) + 60 * minutes;
	unsigned int seed, i;
	const unsigned int n = ARRAY_SIZE(actions);
	int failed = 0, steps = 0;
	char *before, *owners_before;
	long free_before, lost;

	if (argc > 2)
		seed = strtoul(argv[2], NULL, 10);
	else if (getrandom(&seed, sizeof(seed), 0) < 0)
		return KSFT_FAIL;
	if (qmp_open())
		return KSFT_SKIP;
	make_namespaces();
	if (faults_on())
		printf("# no faults\n");
	log_start();
	write_file(AUTO_ONLINE, "online_movable");
	before = picture();
	owners_before = owners();
	free_before = free_kb();
	printf("# seed %u\n", seed);
	fflush(stdout);
	srand(seed);
	turn = rand();
	while (!failed && time(NULL) < until) {
		int ret;

		if (steps % 8 == 0 && next_other()) {
			printf("# step %d: %s cannot be had\n", steps, who->name);
			failed = 1;
			break;
		}
		i = rand() % n;
		ret = actions[i].run();
		actions[i].done += !ret;
		failed = ret < 0;
		if (!failed && steps % 16 == 0) {
			failed = log_sound();
			log_start();
		}
		if (failed)
			printf("# step %d, %s while %s, failed\n", steps, actions[i].name,
			       who->name);
		steps++;
	}

	failed |= !!end_other();
	failed |= !!drop();
	unload_kernel();
	bpf_gone();
	write_file(PMEM "/unbind", NAMESPACE);
	for (i = 0; i < PATIENCE && is_ram && kmem(); i++)
		sleep(1);
	failed |= is_ram;
	for (i = 0; i < DIMMS; i++) {
		if (dimms[i].size && dimm_unplug(&dimms[i]))
			failed = 1;
	}
	if (vmem_property("memaddr")) {
		failed |= !!resize_to(0);
		failed |= !!blocks_wait(vmem_property("memaddr"), 16 * GiB, 0, PATIENCE);
	}
	failed |= same_picture(before) || log_sound();
	/* Nodes that were there once keep a little */
	lost = free_before - free_kb();
	failed |= lost > noise_kb(8192);
	failed |= !!memmap_same(owners_before);

	printf("# %ld kB less are free\n", lost);
	printf("# %d steps:", steps);
	for (i = 0; i < n; i++)
		printf(" %s %d", actions[i].name, actions[i].done);
	/* What is never done in so long cannot be done */
	for (i = 0; i < n && minutes >= 10; i++) {
		if (!actions[i].done) {
			printf("\n# %s: not once", actions[i].name);
			failed = 1;
		}
	}
	printf("\n# meanwhile:");
	for (i = 0; i < ARRAY_SIZE(others); i++)
		printf(" %s %d", others[i].name, others[i].done);
	printf("\n1..1\n%sok 1 soak, seed %u\n", failed ? "not " : "", seed);
	return failed;
}
