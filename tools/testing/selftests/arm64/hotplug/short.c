// SPDX-License-Identifier: GPL-2.0
/*
 * A machine too small for the DIMM: run in a guest of 256 MiB. The add fails and
 * says so, nothing is killed or lost, and a smaller add then works. One that just
 * fits leaves enough to everybody else.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../../kselftest_harness.h"
#include "util.h"

FIXTURE(shortage) {
	struct state before;
};

/* With 36 address bits the linear map holds 32 GiB, and does not begin with DIMMs */
static uint64_t at_most(uint64_t size)
{
	return size > 16 * GiB && !va_bits_beyond(37) ? 16 * GiB : size;
}

/* A struct page is 64 bytes; page tables come on top */
static uint64_t memmap_of(uint64_t size)
{
	return size / getpagesize() * 64;
}

/* Wait until an add of @dimm has succeeded or was refused because of @why: which */
static bool comes(const struct dimm *dimm, const char *why)
{
	int blocks = dimm->size / block_size(), i;

	for (i = 0; i < PATIENCE * 10; i++) {
		if (log_has(why))
			return false;
		if (blocks_present(dimm->addr, dimm->size) == blocks)
			break;
		usleep(100000);
	}
	return true;
}

FIXTURE_SETUP(shortage)
{
	if (qmp_open())
		SKIP(return, "needs QEMU's monitor at " PORT_QMP);
	if (meminfo_kb("MemTotal") > 300 * 1024)
		SKIP(return, "needs a machine of 256 MiB");
	log_start();
	dimms_drop();
	state_take(&self->before);
}

FIXTURE_TEARDOWN(shortage)
{
	EXPECT_EQ(0, state_same(&self->before, 2048));
	EXPECT_EQ(0, log_clean());
}

/* What is free of the area for drivers the kernel cannot have */
static long kernel_kb(void)
{
	long cma_kb = meminfo_kb("CmaFree");

	return meminfo_kb("MemFree") - (cma_kb > 0 ? cma_kb : 0);
}

/* An add succeeds whole or fails with -ENOMEM, and then a small one fits */
static void add(struct __test_metadata *_metadata, uint64_t size, bool may_fit)
{
	struct dimm large = { .id = "d0", .size = size };
	struct dimm small = { .id = "d1", .size = block_size() };
	size_t room = memmap_of(size), taken = 0;
	int blocks = size / block_size();
	char *ballast;
	bool fits;

	/* Large pages need little memmap: leave less than that */
	ballast = mmap(NULL, 256 * MiB, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	ASSERT_NE(MAP_FAILED, ballast);
	/* Caches are as good as free */
	free_kb();
	while (!may_fit && kernel_kb() * KiB > room - room / 8) {
		ASSERT_GT(256 * MiB, taken);
		memset(ballast + taken, 1, MiB);
		taken += MiB;
	}

	ASSERT_EQ(0, dimm_insert(&large));
	fits = comes(&large, "-ENOMEM");
	ASSERT_EQ(fits ? blocks : 0, blocks_present(large.addr, size));
	EXPECT_EQ(may_fit, fits);
	munmap(ballast, 256 * MiB);
	/* A small one has its place behind the large one */
	if (!fits) {
		ASSERT_EQ(0, dimm_plug(&small));
		ASSERT_EQ(0, blocks_set(small.addr, small.size, "online_movable"));
		ASSERT_EQ(0, dimm_unplug(&small));
	}
	ASSERT_EQ(0, dimm_eject(&large));
	dimm_gone(&large, 10);
}

/* Page tables (rodata=full) or memmap are many times what there is */
TEST_F(shortage, far_too_large)
{
	add(_metadata, at_most(150 * GiB), false);
}

/* Memmap is a multiple of it, or with large pages of what ballast leaves */
TEST_F(shortage, too_large)
{
	add(_metadata, at_most(64 * GiB), false);
}

/* An add for which there is enough is not refused beforehand */
TEST_F(shortage, fits)
{
	add(_metadata, 4 * GiB, true);
}

/* The largest that is not refused leaves enough for everybody else to go on */
TEST_F_TIMEOUT(shortage, brim, 1200)
{
	struct dimm d = { .id = "d0", .size = block_size() };
	uint64_t step;
	int i;

	/* So that the memmap of a step is 1 MiB, or that of a block */
	while (memmap_of(d.size) < MiB)
		d.size *= 2;
	step = d.size;
	d.size *= self->before.free_kb * KiB / memmap_of(step);
	d.size = at_most(d.size);

	for (;; d.size -= step) {
		d.addr = 0;
		ASSERT_EQ(0, dimm_insert(&d));
		if (comes(&d, "-ENOMEM"))
			break;
		ASSERT_EQ(0, dimm_eject(&d));
		dimm_gone(&d, 10);
		ASSERT_EQ(0, log_clean());
		ASSERT_LT(step, d.size);
		log_start();
	}
	ASSERT_EQ(d.size / block_size(), blocks_present(d.addr, d.size));
	TH_LOG("free: %ld MiB before, of which the memmap takes %d MiB; then %ld MiB",
	       self->before.free_kb / 1024, (int)(memmap_of(d.size) / MiB),
	       meminfo_kb("MemFree") / 1024);
	/* Programs start, and all of sysfs is read */
	for (i = 0; i < 10; i++)
		ASSERT_EQ(0, system("ls -lR " MEMORY " >/dev/null"));
	ASSERT_EQ(0, dimm_unplug(&d));
}

TEST_HARNESS_MAIN
