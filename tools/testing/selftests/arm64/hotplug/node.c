// SPDX-License-Identifier: GPL-2.0
/* A NUMA node that has nothing but DIMMs comes with the first and goes with the last. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../../kselftest_harness.h"
#include "util.h"

#define NODE		1

static bool node_is_there(void)
{
	return !access(NODE1, F_OK);
}

static long node_kb(void)
{
	char buf[4096], *p;

	if (read_file(NODE1 "/meminfo", buf, sizeof(buf)) < 0)
		return -1;
	p = strstr(buf, "MemTotal:");
	return p ? atol(p + strlen("MemTotal:")) : -1;
}

FIXTURE(node) {
	struct state before;
};

FIXTURE_SETUP(node)
{
	struct dimm d = { .id = "d0", .size = block_size(), .node = NODE };

	if (qmp_open())
		SKIP(return, "needs QEMU's monitor at " PORT_QMP);
	if (!two_nodes())
		SKIP(return, "needs two NUMA nodes, the second without memory");

	dimms_drop();
	/* What boots with no memory goes with the first that came */
	if (node_is_there()) {
		ASSERT_EQ(0, node_kb());
		ASSERT_EQ(0, dimm_plug(&d));
		ASSERT_EQ(0, blocks_set(d.addr, d.size, "online_movable"));
		ASSERT_EQ(0, dimm_unplug(&d));
	}
	ASSERT_FALSE(node_is_there());
	log_start();
	state_take(&self->before);
}

FIXTURE_TEARDOWN(node)
{
	EXPECT_EQ(0, state_same(&self->before, noise_kb(512)));
	EXPECT_EQ(0, log_clean());
}

/* Two DIMMs, one for each kind of zone, make a node; it goes with the last of them,
 * whichever that is, ten times
 */
TEST_F_TIMEOUT(node, comes_and_goes, 900)
{
	long kb = block_size() / KiB;
	int i;

	for (i = 0; i < 10; i++) {
		struct dimm d[] = {
			{ .id = "d0", .size = 2 * block_size(), .node = NODE },
			{ .id = "d1", .size = block_size(), .node = NODE },
		};

		ASSERT_EQ(0, dimm_plug(&d[0]));
		ASSERT_EQ(0, blocks_set(d[0].addr, d[0].size, "online_movable"));
		ASSERT_EQ(2 * kb, node_kb());
		ASSERT_EQ(0, dimm_plug(&d[1]));
		/*
		 * The kernel has no use for it as long as there is memory with the CPUs. For
		 * a second block it would: page_ext, and with KASAN shadow that stays.
		 */
		ASSERT_EQ(0, blocks_set(d[1].addr, d[1].size, "online_kernel"));
		ASSERT_EQ(3 * kb, node_kb());

		ASSERT_EQ(0, dimm_unplug(&d[i % 2]));
		ASSERT_EQ(i % 2 ? 2 * kb : kb, node_kb());
		ASSERT_EQ(0, dimm_unplug(&d[1 - i % 2]));
		ASSERT_FALSE(node_is_there());
	}
}

/* A DIMM that is never put online makes a node, too */
TEST_F(node, never_online)
{
	struct dimm d = { .id = "d0", .size = 4 * block_size(), .node = NODE };

	ASSERT_EQ(0, dimm_plug(&d));
	ASSERT_EQ(0, node_kb());
	ASSERT_EQ(0, dimm_unplug(&d));
	ASSERT_FALSE(node_is_there());
}

TEST_HARNESS_MAIN
