// SPDX-License-Identifier: GPL-2.0
/*
 * Memory that is added, put offline or removed while the kernel runs short: each
 * allocation fails in turn (CONFIG_FAILSLAB, CONFIG_FAIL_PAGE_ALLOC, /proc/PID/fail-nth),
 * and whatever could not be done has left no trace. Memory notifiers refuse
 * (CONFIG_MEMORY_NOTIFIER_ERROR_INJECT). EVERY=n in the environment takes every
 * n-th allocation of an add only, from the one that FIRST says.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../../kselftest_harness.h"
#include "util.h"

#define NVDIMM		"namespace0.0"
#define DAX		"dax0.0"
#define DAX_BUS		"/sys/bus/dax"
#define KMEM		DAX_BUS "/drivers/kmem"

/* More than any add here makes */
#define MANY	100000

static int from_environment(const char *name)
{
	const char *s = getenv(name);
	int n = s ? atoi(s) : 1;

	return n > 0 ? n : 1;
}

/* Beyond what others allocate, KASAN takes its shadow page by page, tens of thousands of them */
static int next_nth(int n, int step)
{
	return n + step + (n > 1000 ? n / 16 : 0);
}

FIXTURE(faults) {
	struct state before;
	char *owners;
};

FIXTURE_SETUP(faults)
{
	if (faults_on())
		SKIP(return, "needs CONFIG_FAILSLAB, CONFIG_FAIL_PAGE_ALLOC");
	if (qmp_open())
		SKIP(return, "needs QEMU's monitor at " PORT_QMP);
	log_start();
	dimms_drop();
	state_take(&self->before);
	self->owners = owners();
}

FIXTURE_TEARDOWN(faults)
{
	/* What a test that failed may have left for the next */
	workers_failed();
	fail_nth("self", 0);
	write_file(NOTIFIER "/MEM_GOING_ONLINE/error", "0");
	write_file(NOTIFIER "/MEM_GOING_OFFLINE/error", "0");
	EXPECT_EQ(0, state_same(&self->before, 2 * noise_kb(1024)));
	EXPECT_EQ(0, memmap_same(self->owners));
	EXPECT_EQ(0, log_sound());
	free(self->owners);
}

/* A pc-dimm: refused or taken whole, and then it comes out again */
TEST_F_TIMEOUT(faults, dimm, 3600)
{
	int n, missed = 0, refused = 0, adds = 0, step = from_environment("EVERY");

	for (n = from_environment("FIRST"); n < MANY && missed < 3; n = next_nth(n, step), adds++) {
		/* Of two blocks, so that half of it can have been added */
		struct dimm d = { .id = "d0", .size = 2 * block_size() };
		int hit = dimm_insert_failing(&d, n), present;

		ASSERT_LE(0, hit);
		/* All of it is there now, or nothing, and that for a reason */
		present = blocks_present(d.addr, d.size);
		ASSERT_NE(1, present);
		ASSERT_NE(0, hit + present);
		missed = hit ? 0 : missed + 1;
		refused += !present;
		ASSERT_EQ(0, dimm_unplug(&d));
		ASSERT_EQ(0, same_picture(self->before.picture)) {
			TH_LOG("after the failure of allocation %d", n);
		}
	}
	EXPECT_LT(0, refused);
	TH_LOG("%d adds, %d refused", adds, refused);
}

/* A block that a process has pages on goes offline or stays as it was, and goes then */
TEST_F_TIMEOUT(faults, offline, 3600)
{
	const size_t size = 16 * getpagesize();
	struct dimm d = { .id = "d0", .size = block_size() };
	int n, left = 0, refused = 0;
	char state[128];

	ASSERT_EQ(0, dimm_plug(&d));
	block_path(state, sizeof(state), d.addr, "state");
	for (n = 1; n < MANY && !left; n++) {
		uint64_t *p;
		int ret;

		ASSERT_EQ(0, block_set(d.addr, "online_movable"));
		p = populate(d.node, size);
		ASSERT_NE(NULL, p);
		fill(p, size);
		ASSERT_TRUE(on_dimm(&d, p));
		ASSERT_EQ(0, fail_nth("self", n));
		ret = write_file(state, "offline");
		left = fails_left("self");
		fail_nth("self", 0);
		ASSERT_EQ(1, blocks_in_state(d.addr, d.size, ret ? "online" : "offline"));
		refused += !!ret;
		if (ret)
			ASSERT_EQ(0, block_set(d.addr, "offline"));
		ASSERT_EQ(0, wrong(p, size)) {
			TH_LOG("after the failure of allocation %d", n);
		}
		munmap(p, size);
	}
	ASSERT_EQ(0, dimm_unplug(&d));
	EXPECT_LT(0, refused);
	EXPECT_NE(0, left);
	TH_LOG("%d times, %d refused", n - 1, refused);
}

/* A whole removal: what fails is tried again, unless it was to ask for it, and the DIMM goes */
TEST_F_TIMEOUT(faults, removal, 3600)
{
	const size_t size = 16 * getpagesize();
	int n, missed = 0, met = 0, lost = 0;

	for (n = 1; n < MANY && missed < 3; n++) {
		struct dimm d = { .id = "d0", .size = block_size() };
		int hit, stays;
		uint64_t *p;

		ASSERT_EQ(0, dimm_plug(&d));
		ASSERT_EQ(0, block_set(d.addr, "online_movable"));
		p = populate(d.node, size);
		ASSERT_NE(NULL, p);
		fill(p, size);
		ASSERT_TRUE(on_dimm(&d, p));
		ASSERT_EQ(0, workers_fail_nth(n));
		ASSERT_EQ(0, dimm_eject(&d));
		stays = dimm_gone(&d, PATIENCE);
		hit = workers_failed();
		missed = hit ? 0 : missed + 1;
		met += hit;
		if (stays) {
			ASSERT_NE(0, hit);
			ASSERT_EQ(0, dimm_unplug(&d));
			lost++;
		}
		ASSERT_EQ(0, wrong(p, size));
		munmap(p, size);
		ASSERT_EQ(0, same_picture(self->before.picture)) {
			TH_LOG("after the failure of allocation %d", n);
		}
	}
	EXPECT_LT(0, met);
	EXPECT_LT(lost, met);
	TH_LOG("%d removals, %d allocations failed, %d requests lost", n - 1, met, lost);
}

/* virtio-mem: whatever it could not add, it gives back what it did, and tries again */
TEST_F_TIMEOUT(faults, virtio_mem, 3600)
{
	uint64_t addr = vmem_property("memaddr"), size = 2 * block_size();
	int n, missed = 0, met = 0, adds = 0, step = from_environment("EVERY");

	if (!addr)
		SKIP(return, "needs a virtio-mem device with the id vmem0");
	write_file(AUTO_ONLINE, "online_movable");
	for (n = from_environment("FIRST"); n < MANY && missed < 3; n = next_nth(n, step), adds++) {
		int i, hit;

		ASSERT_EQ(0, workers_fail_nth(n));
		ASSERT_EQ(0, vmem_request(size));
		for (i = 0; i < PATIENCE * 50 && !worker_hit(); i++) {
			if (vmem_property("size") == size)
				break;
			usleep(20000);
		}
		hit = workers_failed();
		ASSERT_LT(i, PATIENCE * 50);
		missed = hit ? 0 : missed + 1;
		met += hit;
		/* It waits for a minute before it tries again, unless asked */
		ASSERT_EQ(0, vmem_request(0));
		ASSERT_EQ(0, blocks_wait(addr, 16 * GiB, 0, PATIENCE));
		/* What it took and could not add it gives back a little later */
		for (i = 0; i < PATIENCE * 50 && vmem_property("size"); i++)
			usleep(20000);
		ASSERT_EQ(0, vmem_property("size"));
	}
	ASSERT_EQ(0, vmem_resize(size));
	ASSERT_EQ(0, vmem_resize(0));
	ASSERT_EQ(0, blocks_wait(addr, 16 * GiB, 0, PATIENCE));
	write_file(AUTO_ONLINE, "offline");
	EXPECT_LT(0, met);
	/* So does the driver say, or retries */
	EXPECT_TRUE(log_has("adding memory failed: -12"));
	TH_LOG("%d adds, %d allocations failed", adds, met);
}

/* memremap_pages(), here of persistent memory: a driver that is bound or not */
TEST_F_TIMEOUT(faults, memremap_pages, 3600)
{
	int n, left = 0, refused = 0, adds = 0, step = from_environment("EVERY");

	/* One with labels has no namespace yet; one without has just this */
	(void)!system("ndctl create-namespace -f -m raw -r region0 >/dev/null 2>&1");
	if (access(PMEM "/" NVDIMM, F_OK))
		SKIP(return, "needs an nvdimm, and ndctl if that has labels");
	write_file(PMEM "/unbind", NVDIMM);
	state_take(&self->before);
	for (n = from_environment("FIRST"); n < MANY && !left; n = next_nth(n, step), adds++) {
		int ret;

		ASSERT_EQ(0, fail_nth("self", n));
		ret = write_file(PMEM "/bind", NVDIMM);
		left = fails_left("self");
		fail_nth("self", 0);
		refused += !!ret;
		if (!access(PMEM "/" NVDIMM, F_OK))
			ASSERT_EQ(0, write_file(PMEM "/unbind", NVDIMM));
		ASSERT_EQ(0, same_picture(self->before.picture)) {
			TH_LOG("after the failure of allocation %d", n);
		}
	}
	EXPECT_LT(0, refused);
	EXPECT_NE(0, left);
	TH_LOG("%d adds, %d refused", adds, refused);
}

/*
 * A DAX device becomes system RAM, in the task that asks for it, so that whatever it
 * allocates can be had to fail; on a machine with a second node, that node comes up
 */
TEST_F_TIMEOUT(faults, kmem, 3600)
{
	int n, left = 0, refused = 0, adds = 0, step = from_environment("EVERY");

	if (system("ndctl create-namespace -f -e " NVDIMM " -m devdax -M mem >/dev/null 2>&1"))
		SKIP(return, "needs an nvdimm and ndctl");
	/* Its own driver has it by now; kmem is told that it may */
	ASSERT_EQ(0, write_file(KMEM "/new_id", DAX));
	ASSERT_EQ(0, write_file(DAX_BUS "/drivers/device_dax/unbind", DAX));
	state_take(&self->before);
	for (n = from_environment("FIRST"); n < MANY && !left; n = next_nth(n, step), adds++) {
		int ret;

		ASSERT_EQ(0, fail_nth("self", n));
		ret = write_file(KMEM "/bind", DAX);
		left = fails_left("self");
		fail_nth("self", 0);
		refused += !!ret;
		if (!access(KMEM "/" DAX, F_OK))
			ASSERT_EQ(0, write_file(KMEM "/unbind", DAX));
		ASSERT_EQ(0, same_picture(self->before.picture)) {
			TH_LOG("after the failure of allocation %d", n);
		}
	}
	EXPECT_LT(0, refused);
	EXPECT_NE(0, left);
	TH_LOG("%d adds, %d refused", adds, refused);
}

/* Somebody else refuses what is asked for: the block stays as it was */
TEST_F(faults, notifiers)
{
	struct dimm d = { .id = "d0", .size = block_size() };

	if (access(NOTIFIER "/MEM_GOING_ONLINE/error", W_OK))
		SKIP(return, "needs CONFIG_MEMORY_NOTIFIER_ERROR_INJECT");
	ASSERT_EQ(0, dimm_plug(&d));

	ASSERT_EQ(0, write_file(NOTIFIER "/MEM_GOING_ONLINE/error", "-12"));
	EXPECT_EQ(-1, block_set(d.addr, "online_movable"));
	EXPECT_EQ(ENOMEM, errno);
	EXPECT_EQ(1, blocks_in_state(d.addr, d.size, "offline"));
	ASSERT_EQ(0, write_file(NOTIFIER "/MEM_GOING_ONLINE/error", "0"));
	ASSERT_EQ(0, block_set(d.addr, "online_movable"));

	ASSERT_EQ(0, write_file(NOTIFIER "/MEM_GOING_OFFLINE/error", "-16"));
	EXPECT_EQ(-1, block_set(d.addr, "offline"));
	EXPECT_EQ(EBUSY, errno);
	EXPECT_EQ(1, blocks_in_state(d.addr, d.size, "online"));
	/* device_del asks for the same, and is refused */
	ASSERT_EQ(0, dimm_eject(&d));
	ASSERT_EQ(0, qmp_wait("ACPI_DEVICE_OST", "\"status\": 130", PATIENCE));
	ASSERT_EQ(1, blocks_in_state(d.addr, d.size, "online"));
	ASSERT_EQ(0, write_file(NOTIFIER "/MEM_GOING_OFFLINE/error", "0"));
	ASSERT_EQ(0, dimm_unplug(&d));
}

TEST_HARNESS_MAIN
