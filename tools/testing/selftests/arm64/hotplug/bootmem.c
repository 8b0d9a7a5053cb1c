// SPDX-License-Identifier: GPL-2.0
/* Boot memory stays: every block of it refuses to go offline, and says so. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../../kselftest_harness.h"
#include "util.h"

/* Of ACPI's, virtio-mem's or a DAX device's: not there at boot, whatever its address */
static bool was_added(uint64_t at)
{
	unsigned long long start, end;
	char line[256], path[128];
	bool named = false;
	FILE *f = fopen("/proc/iomem", "r");

	while (f && fgets(line, sizeof(line), f)) {
		if (strstr(line, "System RAM (") && sscanf(line, " %llx-%llx", &start, &end) == 2)
			named |= at >= start && at <= end;
	}
	if (f)
		fclose(f);
	block_path(path, sizeof(path), at, "firmware_node");
	return named || !access(path, F_OK);
}

FIXTURE(bootmem) {
	char *before;
};

FIXTURE_SETUP(bootmem)
{
	if (geteuid() || !block_size())
		SKIP(return, "needs root, CONFIG_MEMORY_HOTPLUG");
	log_start();
	self->before = picture();
}

FIXTURE_TEARDOWN(bootmem)
{
	EXPECT_EQ(0, same_picture(self->before));
	EXPECT_EQ(0, log_clean());
}

/* Each block is refused, with a message that names it, and stays online */
TEST_F(bootmem, offline_refused)
{
	char message[128];
	uint64_t step = block_size(), at;
	int named = 0, online = 0;

	for (at = 0; at < 16 * GiB; at += step) {
		if (!blocks_in_state(at, step, "online") || was_added(at))
			continue;
		online++;
		ASSERT_EQ(-1, block_set(at, "offline")) {
			/* Whoever's it is wants it back */
			block_set(at, "online");
		}
		/* One with holes, or with unmovable data, is refused before us */
		if (errno == EINVAL || errno == EBUSY)
			continue;
		named++;
		ASSERT_EQ(EPERM, errno);
		snprintf(message, sizeof(message),
			 "boot memory [mem %#018llx-%#018llx] cannot be put offline",
			 (unsigned long long)at, (unsigned long long)(at + step - 1));
		EXPECT_TRUE(log_has(message));
	}
	if (!online)
		SKIP(return, "no memory below 16 GiB that is no ACPI device's");
	if (!named)
		SKIP(return, "none of it could go, or needs CONFIG_MEMORY_HOTREMOVE");
}

TEST_HARNESS_MAIN
