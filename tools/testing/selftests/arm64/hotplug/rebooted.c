// SPDX-License-Identifier: GPL-2.0
/*
 * What was plugged before the guest rebooted can be taken away after it. The first
 * run plugs, and reboots; the second, in the new guest, tests.
 */
#include <stdio.h>
#include <string.h>
#include <sys/reboot.h>
#include <unistd.h>

#include "../../kselftest_harness.h"
#include "util.h"

static struct dimm dimm = { .id = "d0", .size = GiB, .addr = ADDRESS };

FIXTURE(rebooted) { };

FIXTURE_SETUP(rebooted)
{
	if (qmp_open())
		SKIP(return, "needs QEMU's monitor at " PORT_QMP);
	log_start();
}

FIXTURE_TEARDOWN(rebooted)
{
	EXPECT_EQ(0, log_clean());
}

/* A DIMM is there again, as memory that ACPI adds, and is given back */
TEST_F(rebooted, dimm)
{
	ASSERT_EQ(0, blocks_wait_state(dimm.addr, dimm.size, "offline"));
	ASSERT_EQ(0, blocks_set(dimm.addr, dimm.size, "online_movable"));
	ASSERT_EQ(0, dimm_unplug(&dimm));
	EXPECT_EQ(0, blocks_present(dimm.addr, dimm.size));
}

/* A virtio-mem device begins at nothing, is filled to what was asked for, and is emptied */
TEST_F(rebooted, virtio_mem)
{
	uint64_t addr = vmem_property("memaddr");

	if (!addr)
		SKIP(return, "needs a virtio-mem device with the id vmem0");
	ASSERT_EQ(0, blocks_wait_state(addr, GiB, "offline"));
	ASSERT_EQ(0, blocks_set(addr, GiB, "online_movable"));
	ASSERT_EQ(0, vmem_resize(0));
	EXPECT_EQ(0, blocks_wait(addr, GiB, 0, PATIENCE));
}

/* An object in QEMU outlives the guest */
static bool first_boot(void)
{
	static const char mark[] =
		"\"qom-type\":\"memory-backend-ram\",\"id\":\"booted\",\"size\":65536";

	return !qmp_open() && !qmp("qom-list", "\"path\":\"/objects\"") &&
	       !strstr(qmp_reply(), "\"booted\"") &&
	       !qmp("object-add", "%s", mark);
}

int main(int argc, char **argv)
{
	if (first_boot() && !dimm_plug(&dimm) &&
	    !blocks_set(dimm.addr, dimm.size, "online_movable") &&
	    (!vmem_property("memaddr") ||
	     (!write_file(MEMORY "/auto_online_blocks", "online_movable") && !vmem_resize(GiB))))
		return log_clean() ? KSFT_FAIL : reboot(RB_AUTOBOOT);
	return test_harness_run(argc, argv);
}
