// SPDX-License-Identifier: GPL-2.0
/*
 * A machine too small for the DIMM: run in a guest of 256 MiB. The add fails and
 * says so, nothing is killed or lost, and a smaller add then works.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../../kselftest_harness.h"
#include "util.h"

FIXTURE(shortage) {
	struct state before;
};

FIXTURE_VARIANT(shortage) {
	uint64_t size;
};

/* Page tables (rodata=full) or memmap are many times what there is */
FIXTURE_VARIANT_ADD(shortage, far_too_large) { .size = 150 * GiB };
FIXTURE_VARIANT_ADD(shortage, too_large) { .size = 64 * GiB };
FIXTURE_VARIANT_ADD(shortage, fits) { .size = 4 * GiB };
/* Sizes about what fits, where it fails late or not at all */
FIXTURE_VARIANT_ADD(shortage, border_8) { .size = 8 * GiB };
FIXTURE_VARIANT_ADD(shortage, border_9) { .size = 9 * GiB };
FIXTURE_VARIANT_ADD(shortage, border_10) { .size = 10 * GiB };
FIXTURE_VARIANT_ADD(shortage, border_11) { .size = 11 * GiB };
FIXTURE_VARIANT_ADD(shortage, border_12) { .size = 12 * GiB };

FIXTURE_SETUP(shortage)
{
	if (qmp_open())
		SKIP(return, "needs QEMU's monitor at " PORT_QMP);
	if (meminfo_kb("MemTotal") > 300 * 1024)
		SKIP(return, "needs a machine of 256 MiB");
	log_start();
	state_take(&self->before);
}

FIXTURE_TEARDOWN(shortage)
{
	EXPECT_EQ(0, state_same(&self->before, 2048));
	EXPECT_EQ(0, log_clean());
}

/* An add succeeds whole or fails with -ENOMEM, and then a small one fits */
TEST_F_TIMEOUT(shortage, add, 600)
{
	struct dimm large = { .id = "large", .size = variant->size };
	struct dimm small = { .id = "small", .size = block_size() };
	int blocks = large.size / block_size(), i;
	/* With 36 address bits the linear map holds 32 GiB */
	bool beyond = large.size > 32 * GiB && !va_bits_beyond(37);
	const char *why = beyond ? "exceeds maximum addressable range" : "-ENOMEM";
	/* A struct page is 64 bytes; page tables come on top */
	long memmap_kb = large.size / getpagesize() * 64 / KiB;

	ASSERT_EQ(0, dimm_insert(&large));
	for (i = 0; i < PATIENCE * 10; i++) {
		if (log_has(why) || blocks_present(large.addr, large.size) == blocks)
			break;
		usleep(100000);
	}
	if (log_has(why)) {
		EXPECT_EQ(0, blocks_present(large.addr, large.size));
	} else {
		ASSERT_EQ(blocks, blocks_present(large.addr, large.size));
		TH_LOG("fits");
	}
	/* A small one has its place behind the large one */
	if (log_has(why) && !beyond) {
		ASSERT_EQ(0, dimm_plug(&small));
		ASSERT_EQ(0, blocks_set(small.addr, small.size, "online_movable"));
		ASSERT_EQ(0, dimm_unplug(&small));
	}
	/* It is not refused for nothing, nor is too much of it taken */
	if (memmap_kb > self->before.free_kb)
		EXPECT_TRUE(log_has(why));
	if (memmap_kb < self->before.free_kb / 2)
		EXPECT_FALSE(log_has(why));
	ASSERT_EQ(0, dimm_eject(&large));
	dimm_gone(&large, 10);
}

TEST_HARNESS_MAIN
