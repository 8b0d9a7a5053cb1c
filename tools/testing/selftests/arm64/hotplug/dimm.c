// SPDX-License-Identifier: GPL-2.0
/*
 * DIMMs that come and go, on a machine where nothing uses them: whatever the
 * order and size, the kernel's memory is afterwards as it was before.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../../kselftest_harness.h"
#include "util.h"

FIXTURE(dimm) {
	struct state before;
};

FIXTURE_SETUP(dimm)
{
	if (qmp_open())
		SKIP(return, "needs QEMU's monitor at " PORT_QMP);
	log_start();
	dimms_drop();
	state_take(&self->before);
}

FIXTURE_TEARDOWN(dimm)
{
	/*
	 * Nodes that were online once keep a little. A lost memmap is, on 4K, 16 KiB per
	 * MiB; less, as that of one block of larger pages, is for leaks.c to find.
	 */
	EXPECT_EQ(0, state_same(&self->before, noise_kb(2048)));
	EXPECT_EQ(0, log_clean());
}

/* Plug, put online, offline, unplug */
static void cycle(struct __test_metadata *_metadata, struct dimm dimm)
{
	int n = dimm.size / block_size();

	ASSERT_EQ(0, dimm_plug(&dimm));
	ASSERT_EQ(0, blocks_set(dimm.addr, dimm.size, "online_movable"));
	ASSERT_EQ(n, blocks_in_state(dimm.addr, dimm.size, "online"));
	ASSERT_EQ(0, blocks_set(dimm.addr, dimm.size, "offline"));
	ASSERT_EQ(n, blocks_in_state(dimm.addr, dimm.size, "offline"));
	ASSERT_EQ(0, dimm_unplug(&dimm));
	ASSERT_EQ(0, blocks_present(dimm.addr, dimm.size));
}

/* The smallest DIMM there can be comes and goes five times */
TEST_F(dimm, one_block_repeated)
{
	int i;

	for (i = 0; i < 5; i++)
		cycle(_metadata, (struct dimm) { .id = "d0", .size = block_size() });
}

/*
 * rodata=full is the default of whoever configures what distributions do; KFENCE that is
 * off may be turned on
 */
static bool attributes_may_change(void)
{
	char cmdline[4096] = "";

	read_file("/proc/cmdline", cmdline, sizeof(cmdline));
	return (!strstr(cmdline, "rodata=on") && !strstr(cmdline, "rodata=off")) ||
	       !access("/sys/module/kfence/parameters/sample_interval", F_OK);
}

/* 4 GiB are mapped by pages where attributes may change by page, else by larger leaves */
TEST_F(dimm, four_gib)
{
	struct dimm d = { .id = "d0", .size = 4 * GiB };
	char *before = picture(), *after, *lines, level[8] = "";

	ASSERT_EQ(0, dimm_plug(&d));
	after = picture();
	/* First comes the linear map, then the memmap, which can have blocks in any case */
	lines = new_mappings(before, after);
	if (!linear_map_changes()) {
		int n = sscanf(lines, "%*s %*s MiB %7s", level);

		EXPECT_EQ(1, n);
		EXPECT_EQ(attributes_may_change(), !strcmp(level, "PTE")) {
			TH_LOG("%s", lines);
		}
	}
	free(lines);
	free(after);
	free(before);
	ASSERT_EQ(0, dimm_unplug(&d));
	cycle(_metadata, d);
}

/* 64 GiB, on 4K a GiB of memmap, with its first and its last block in use */
TEST_F_TIMEOUT(dimm, sixty_four_gib, 900)
{
	struct dimm d = { .id = "d0", .size = 64 * GiB };

	if (!va_bits_beyond(37))
		SKIP(return, "the linear map holds 32 GiB");
	ASSERT_EQ(0, dimm_plug(&d));
	ASSERT_EQ(0, block_set(d.addr, "online_movable"));
	ASSERT_EQ(0, block_set(d.addr + d.size - block_size(), "online_movable"));
	ASSERT_EQ(2, blocks_in_state(d.addr, d.size, "online"));
	ASSERT_EQ(0, dimm_unplug(&d));
	EXPECT_EQ(0, blocks_present(d.addr, d.size));
}

/* A DIMM that was never put online is given back */
TEST_F(dimm, never_online)
{
	struct dimm d = { .id = "d0", .size = 2 * GiB };

	ASSERT_EQ(0, dimm_plug(&d));
	ASSERT_EQ(0, dimm_unplug(&d));
}

/* device_del alone puts all of a DIMM offline and takes it away */
TEST_F(dimm, unplug_online)
{
	struct dimm d = { .id = "d0", .size = GiB };

	ASSERT_EQ(0, dimm_plug(&d));
	ASSERT_EQ(0, blocks_set(d.addr, d.size, "online_movable"));
	ASSERT_EQ(0, dimm_unplug(&d));
	ASSERT_EQ(0, blocks_present(d.addr, d.size));
}

/* New memory is put online by itself, or not, as auto_online_blocks says */
TEST_F(dimm, auto_online)
{
	struct dimm d = { .id = "d0", .size = 2 * block_size() };

	ASSERT_EQ(0, write_file(AUTO_ONLINE, "online_movable"));
	EXPECT_EQ(0, dimm_plug(&d));
	EXPECT_EQ(0, blocks_wait_state(d.addr, d.size, "online"));
	EXPECT_TRUE(block_is_in_zone(d.addr, "Movable"));
	EXPECT_EQ(0, dimm_unplug(&d));

	ASSERT_EQ(0, write_file(AUTO_ONLINE, "offline"));
	ASSERT_EQ(0, dimm_plug(&d));
	EXPECT_EQ(0, blocks_wait_state(d.addr, d.size, "offline"));
	ASSERT_EQ(0, dimm_unplug(&d));
}

/* With memmap_on_memory a block brings its own memmap, if that fills PMD blocks */
TEST_F(dimm, brings_its_memmap)
{
	struct dimm d = { .id = "d0", .size = 2 * block_size() };
	long kb = meminfo_kb("MemTotal") + d.size / KiB - own_memmap_kb(d.size);

	ASSERT_EQ(0, dimm_plug(&d));
	ASSERT_EQ(0, blocks_set(d.addr, d.size, "online_movable"));
	EXPECT_EQ(kb, meminfo_kb("MemTotal"));
	ASSERT_EQ(0, dimm_unplug(&d));
}

/* Neighbours, among them one that starts off any large alignment, go in an
 * order other than they came in; whoever stays can be used throughout.
 */
TEST_F_TIMEOUT(dimm, several_in_another_order, 900)
{
	struct dimm d[] = {
		{ .id = "d0", .size = block_size() },
		{ .id = "d1", .size = 5 * block_size() },
		{ .id = "d2", .size = GiB > block_size() ? GiB : block_size() },
		{ .id = "d3", .size = 3 * block_size() },
	};
	static const int order[] = { 2, 0, 3, 1 };
	unsigned int i, k;

	for (i = 0; i < ARRAY_SIZE(d); i++) {
		ASSERT_EQ(0, dimm_plug(&d[i]));
		ASSERT_EQ(0, blocks_set(d[i].addr, d[i].size, "online_movable"));
	}
	for (i = 0; i < ARRAY_SIZE(d); i++) {
		ASSERT_EQ(0, dimm_unplug(&d[order[i]]));
		for (k = i + 1; k < ARRAY_SIZE(d); k++) {
			const struct dimm *left = &d[order[k]];

			ASSERT_EQ(0, blocks_set(left->addr, left->size, "offline"));
			ASSERT_EQ(0, blocks_set(left->addr, left->size, "online_movable"));
		}
	}
}

/* Single blocks of a DIMM that the linear map may hold in larger leaves go
 * offline and come back; the DIMM can be given back with some of them offline.
 */
TEST_F(dimm, single_blocks)
{
	struct dimm d = { .id = "d0", .size = 4 * GiB };
	int n = d.size / block_size();
	uint64_t last;

	ASSERT_EQ(0, dimm_plug(&d));
	last = d.addr + d.size - block_size();
	ASSERT_EQ(0, blocks_set(d.addr, d.size, "online_movable"));
	ASSERT_EQ(0, block_set(d.addr, "offline"));
	ASSERT_EQ(0, block_set(d.addr + 2 * block_size(), "offline"));
	ASSERT_EQ(0, block_set(last, "offline"));
	ASSERT_EQ(n - 3, blocks_in_state(d.addr, d.size, "online"));
	ASSERT_EQ(0, block_set(d.addr, "online_movable"));
	ASSERT_EQ(n - 2, blocks_in_state(d.addr, d.size, "online"));
	ASSERT_EQ(0, dimm_unplug(&d));
}

/* Insert a DIMM that the kernel cannot take; it says @why, has no part of it, and QEMU
 * gets it back
 */
static int refused(struct dimm *dimm, const char *why)
{
	int ret = dimm_insert(dimm), i;

	for (i = 0; !ret && !log_has(why) && i < 100 * PATIENCE; i++)
		usleep(10000);
	if (!ret && (i == 100 * PATIENCE || blocks_present(dimm->addr, dimm->size)))
		ret = -1;
	return ret ? ret : dimm_unplug(dimm);
}

/* Refused where the linear map ends before it, like any other where it does not */
TEST_F(dimm, far_address)
{
	struct dimm d = { .id = "d0", .size = block_size(), .addr = 512 * GiB };

	if (va_bits_beyond(40)) {
		ASSERT_EQ(0, dimm_plug(&d));
		ASSERT_EQ(0, dimm_unplug(&d));
		return;
	}
	EXPECT_EQ(0, refused(&d, "exceeds maximum addressable range"));
}

/* A DIMM that is no multiple of a memory block is refused with a message, and
 * can be taken out again
 */
TEST_F(dimm, odd_size)
{
	struct dimm d = { .id = "d0", .size = block_size() + block_size() / 2 };

	EXPECT_EQ(0, refused(&d, "unaligned hotplug range"));
}

/* What QEMU rejects does nothing to the DIMM that is in its way */
TEST_F(dimm, rejected_by_qemu)
{
	struct dimm d = { .id = "d0", .size = block_size() };
	struct dimm second = { .id = "d1", .size = block_size() };

	ASSERT_EQ(0, dimm_plug(&d));
	ASSERT_EQ(0, block_set(d.addr, "online_movable"));
	second.addr = d.addr;
	EXPECT_EQ(-1, dimm_insert(&second));
	/* Beyond what the machine can have, or whose backend is that of a DIMM */
	second.addr = 0;
	second.size = 1ULL << 44;
	EXPECT_EQ(-1, dimm_insert(&second));
	EXPECT_EQ(-1, qmp("object-del", "%s", "\"id\":\"m-d0\""));
	EXPECT_EQ(1, blocks_in_state(d.addr, d.size, "online"));
	second.size = block_size();
	ASSERT_EQ(0, dimm_plug(&second));
	EXPECT_NE(d.addr, second.addr);
	ASSERT_EQ(0, dimm_unplug(&d));
	ASSERT_EQ(0, dimm_unplug(&second));
}

/* Not the fixture above: kprobes leave a page of theirs read-only */
FIXTURE(order) { };

FIXTURE_SETUP(order)
{
	if (qmp_open())
		SKIP(return, "needs QEMU's monitor at " PORT_QMP);
	log_start();
	dimms_drop();
}

FIXTURE_TEARDOWN(order)
{
	kprobes_remove();
	EXPECT_EQ(0, log_clean());
}

/* What a removal tears down it tears down in the order of its dependence: who is
 * told where memory is loses it after the page tables, the address last
 */
TEST_F(order, of_removal)
{
	static const char *const order[] = {
		"remove_memory_block_devices", "arch_remove_memory", "memblock_remove",
		"firmware_map_remove", "release_mem_region_adjustable", "try_offline_node",
	};
	struct dimm d = { .id = "d0", .size = block_size() };
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(order); i++) {
		if (kprobe_add(order[i]))
			SKIP(return, "needs CONFIG_KPROBE_EVENTS, CONFIG_FIRMWARE_MEMMAP");
	}
	ASSERT_EQ(0, dimm_plug(&d));
	trace_start("kprobes");
	EXPECT_EQ(0, dimm_unplug(&d));
	for (i = 0; i < ARRAY_SIZE(order); i++) {
		EXPECT_NE(NULL, trace_line(order[i])) {
			TH_LOG("%s was not called", order[i]);
		}
		if (i)
			EXPECT_LT(trace_number(order[i - 1]), trace_number(order[i])) {
				TH_LOG("%s comes before %s", order[i], order[i - 1]);
			}
	}
}

/* QEMU has no part in it */
FIXTURE(device) {
	struct state before;
};

FIXTURE_SETUP(device)
{
	if (geteuid())
		SKIP(return, "needs root");
	log_start();
	state_take(&self->before);
}

FIXTURE_TEARDOWN(device)
{
	EXPECT_EQ(0, state_same(&self->before, noise_kb(2048)));
	EXPECT_EQ(0, log_clean());
}

/* A device's own memory, which has a memmap and no linear map (DEVICE_PRIVATE), comes
 * and goes with its driver
 */
TEST_F(device, private_memory)
{
	int i, ret;

	for (i = 0; i < 5; i++) {
		ret = module_load("test_hmm", "");
		if (ret && errno == ENOENT)
			SKIP(return, "needs CONFIG_TEST_HMM=m");
		ASSERT_EQ(0, ret);
		ASSERT_EQ(0, module_unload("test_hmm"));
	}
}

TEST_HARNESS_MAIN
