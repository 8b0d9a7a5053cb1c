// SPDX-License-Identifier: GPL-2.0
/*
 * soak [MINUTES [SEED]]: a random mix of everything, on a guest with several DIMMs, of
 * one node or two, a virtio-mem device and an NVDIMM; each step while one of the others
 * (others.h) is at work. The seed that is printed replays the sequence. In the end all
 * is taken away, and memory is as it was.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

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

static int plug(void)
{
	struct dimm *d = any_dimm();

	if (d->size)
		return 1;
	d->size = (1 + rand() % 8) * block_size();
	/* Where the others look */
	d->addr = ADDRESS + (d - dimms) * 8 * block_size();
	d->node = rand() % (1 + two_nodes());
	return dimm_plug(d);
}

static int unplug(void)
{
	struct dimm *d = any_dimm();

	if (!d->size || dimm_unplug(d))
		return d->size ? -1 : 1;
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
	block_path(path, sizeof(path),
		   d->addr + rand() % (d->size / block_size()) * block_size(), "state");
	if (nth)
		fail_nth("self", nth);
	/* It may be so already; that is refused, and right so */
	ret = write_file(path, state) ? 1 : 0;
	if (nth)
		fail_nth("self", 0);
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

/* A driver has memory of its own (ZONE_DEVICE), or not */
static int pmem(void)
{
	static bool bound;

	if (write_file(bound ? PMEM "/unbind" : PMEM "/bind", NAMESPACE))
		return 1;
	bound = !bound;
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

	return unit ? resize_to(rand() % (2 * GiB / unit) * unit) : 1;
}

static int use(void)
{
	size_t size = (1 + rand() % 64) * MiB, i;
	char *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		return 1;
	for (i = 0; i < size; i += 4096)
		p[i] = 1;
	munmap(p, size);
	return 0;
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
	{ "plug", plug }, { "unplug", unplug }, { "online", online },
	{ "offline", offline }, { "fail", fail }, { "spoil", spoil }, { "pmem", pmem },
	{ "resize", resize }, { "use", use }, { "dump", dump }, { "reclaim", reclaim },
};

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

/* Let the one that is at work end, and count it; -1 if it could not be had */
static int end_other(void)
{
	pid_t pid = working;
	int status;

	if (!pid)
		return 0;
	working = 0;
	if (waitpid(pid, &status, 0) != pid || status)
		return -1;
	who->done++;
	return 0;
}

/* Another goes to work while the next steps are taken */
static int next_other(void)
{
	if (end_other())
		return -1;
	who = &others[rand() % ARRAY_SIZE(others)];
	working = fork();
	if (!working)
		_exit(!!who->round());
	return working < 0 ? -1 : 0;
}

int main(int argc, char **argv)
{
	const int minutes = argc > 1 ? atoi(argv[1]) : 1;
	time_t until = time(NULL) + 60 * minutes;
	unsigned int seed, i;
	const unsigned int n = ARRAY_SIZE(actions);
	int failed = 0, steps = 0;
	char *before;
	long free_before, lost;

	if (argc > 2)
		seed = strtoul(argv[2], NULL, 10);
	else if (getrandom(&seed, sizeof(seed), 0) < 0)
		return KSFT_FAIL;
	if (qmp_open())
		return KSFT_SKIP;
	/* One with labels has no namespace yet; one without has just this */
	(void)!system("ndctl create-namespace -f -m raw -r region0 >/dev/null 2>&1");
	write_file(PMEM "/unbind", NAMESPACE);
	faults_on();
	log_start();
	write_file(MEMORY "/auto_online_blocks", "online_movable");
	before = picture();
	free_before = free_kb();
	printf("# seed %u\n", seed);
	fflush(stdout);
	srand(seed);
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
	unload_kernel();
	bpf_gone();
	write_file(PMEM "/unbind", NAMESPACE);
	for (i = 0; i < DIMMS; i++) {
		if (dimms[i].size && dimm_unplug(&dimms[i]))
			failed = 1;
	}
	if (vmem_property("memaddr")) {
		failed |= !!resize_to(0);
		failed |= !!blocks_wait(vmem_property("memaddr"), 16 * GiB, 0, PATIENCE);
	}
	write_file(MEMORY "/auto_online_blocks", "offline");
	failed |= same_picture(before) || log_sound();
	/* Nodes that were there once keep a little */
	lost = free_before - free_kb();
	failed |= lost > noise_kb(8192);

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
