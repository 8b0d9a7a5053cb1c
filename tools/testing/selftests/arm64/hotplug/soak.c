// SPDX-License-Identifier: GPL-2.0
/*
 * soak [MINUTES [SEED]]: everything at once, at random, on a guest with several
 * DIMMs and a virtio-mem device. The seed that is printed replays the sequence. In
 * the end all is taken away, and memory is as it was.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "../../kselftest.h"
#include "util.h"

#define DIMMS	6

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
	d->addr = 0;
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

static int set_block(const char *state)
{
	struct dimm *d = any_dimm();

	if (!d->size)
		return 1;
	/* It may be so already; that is refused, and right so */
	block_set(d->addr + rand() % (d->size / block_size()) * block_size(), state);
	return 0;
}

static int online(void)
{
	return set_block("online_movable");
}

static int offline(void)
{
	return set_block("offline");
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

	return unit ? resize_to(rand() % 64 * unit) : 1;
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

static int compact(void)
{
	return write_file("/proc/sys/vm/compact_memory", "1");
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
	{ "offline", offline }, { "resize", resize }, { "use", use },
	{ "dump", dump }, { "compact", compact }, { "reclaim", reclaim },
};

int main(int argc, char **argv)
{
	time_t until = time(NULL) + 60 * (argc > 1 ? atoi(argv[1]) : 1);
	unsigned int seed, i;
	const unsigned int n = ARRAY_SIZE(actions);
	int failed = 0, steps = 0;
	char *before, *after;

	if (argc > 2)
		seed = strtoul(argv[2], NULL, 10);
	else if (getrandom(&seed, sizeof(seed), 0) < 0)
		return KSFT_FAIL;
	if (qmp_open())
		return KSFT_SKIP;
	log_start();
	write_file(MEMORY "/auto_online_blocks", "online_movable");
	before = picture();
	printf("# seed %u\n", seed);
	fflush(stdout);
	srand(seed);
	while (!failed && time(NULL) < until) {
		int ret;

		i = rand() % n;
		ret = actions[i].run();
		actions[i].done += !ret;
		failed = ret < 0 || (steps % 16 == 0 && log_clean());
		if (failed)
			printf("# step %d, %s, failed\n", steps, actions[i].name);
		steps++;
	}

	for (i = 0; i < DIMMS; i++) {
		if (dimms[i].size && dimm_unplug(&dimms[i]))
			failed = 1;
	}
	if (vmem_property("memaddr")) {
		failed |= !!resize_to(0);
		failed |= !!blocks_wait(vmem_property("memaddr"), 16 * GiB, 0, PATIENCE);
	}
	write_file(MEMORY "/auto_online_blocks", "offline");
	after = picture();
	failed |= same_picture(before, after) || log_clean();

	printf("# %d steps:", steps);
	for (i = 0; i < n; i++)
		printf(" %s %d", actions[i].name, actions[i].done);
	printf("\n1..1\n%sok 1 soak, seed %u\n", failed ? "not " : "", seed);
	return failed;
}
