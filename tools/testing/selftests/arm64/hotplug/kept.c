// SPDX-License-Identifier: GPL-2.0
/*
 * DIMMs in a zone where the kernel puts data of its own, so that they may stay: what was
 * before cannot be compared, and it is to be run once in a boot, after all other tests.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/kernel-page-flags.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../../kselftest_harness.h"
#include "util.h"

/* Whether an earlier run has left it */
static bool left(const struct dimm *d)
{
	return blocks_present(d->addr, d->size);
}

#define RAN	"has run since the machine booted"

/* All of them are below 33 GiB */
FIXTURE(kept) { };

FIXTURE_SETUP(kept)
{
	if (qmp_open())
		SKIP(return, "needs QEMU's monitor at " PORT_QMP);
	log_start();
	dimms_drop();
}

FIXTURE_TEARDOWN(kept)
{
	EXPECT_EQ(0, log_clean());
}

/* Memory that cannot move, here of a pipe, makes device_del fail at once, and the
 * DIMM works on
 */
TEST_F(kept, unmovable_is_refused)
{
	struct dimm dimm = { .id = "k0", .size = 2 * block_size(), .addr = ADDRESS + 4 * GiB };
	char page[65536], got[65536];
	int fds[2], i, n = 0;

	if (left(&dimm))
		SKIP(return, RAN);
	ASSERT_EQ(0, pipe2(fds, O_NONBLOCK));
	ASSERT_EQ(1 << 20, fcntl(fds[1], F_SETPIPE_SZ, 1 << 20));
	memset(page, 0x5a, sizeof(page));
	ASSERT_EQ(0, dimm_plug(&dimm));
	ASSERT_EQ(0, blocks_set(dimm.addr, dimm.size, "online_kernel"));
	while (write(fds[1], page, sizeof(page)) == sizeof(page))
		n++;
	ASSERT_LT(0, n);

	ASSERT_EQ(0, dimm_eject(&dimm));
	/* _OST 0x82: device busy (ACPI 6.5, table 6.33) */
	ASSERT_EQ(0, qmp_wait("ACPI_DEVICE_OST", "\"status\": 130", PATIENCE));
	ASSERT_LT(0, blocks_in_state(dimm.addr, dimm.size, "online"));
	ASSERT_EQ(2, blocks_present(dimm.addr, dimm.size));
	for (i = 0; i < n; i++) {
		ASSERT_EQ((ssize_t)sizeof(got), read(fds[0], got, sizeof(got)));
		ASSERT_EQ(0, memcmp(page, got, sizeof(page)));
	}
	for (i = 0; i < 2; i++) {
		uint64_t at = dimm.addr + i * block_size();

		if (blocks_in_state(at, block_size(), "offline"))
			EXPECT_EQ(0, block_set(at, "online_kernel"));
	}
	EXPECT_EQ(2, blocks_in_state(dimm.addr, dimm.size, "online"));
	/*
	 * It is not asked for again: where offlining does not see that the kernel has data there
	 * it goes on trying, and nobody can interrupt ACPI
	 */
	close(fds[0]);
	close(fds[1]);
}

/* auto_online_blocks can give new memory to the kernel for data of its own, if told so or
 * just "online"
 */
TEST_F(kept, auto_online_kernel)
{
	static const char *const how[] = { "online_kernel", "online" };
	struct dimm dimms[] = {
		{ .id = "k1", .size = 2 * block_size(), .addr = ADDRESS + 5 * GiB },
		{ .id = "k3", .size = 2 * block_size(), .addr = ADDRESS + 6 * GiB },
	};
	int i;

	if (left(&dimms[0]))
		SKIP(return, RAN);
	for (i = 0; i < 2; i++) {
		struct dimm *d = &dimms[i];

		ASSERT_EQ(0, write_file(AUTO_ONLINE, how[i]));
		EXPECT_EQ(0, dimm_plug(d));
		EXPECT_EQ(0, write_file(AUTO_ONLINE, "offline"));
		EXPECT_EQ(0, blocks_wait_state(d->addr, d->size, "online"));
		EXPECT_TRUE(block_is_in_zone(d->addr, "Normal"));
	}
}

/* Memory that came while there was too little to group pages by mobility (five page
 * blocks, which are 2.5 GiB with 64K pages, and one more with CMA) is used once there is
 * enough
 */
TEST_F(kept, grouped_late)
{
	struct dimm kernel = { .id = "k2", .size = 3 * block_size(), .addr = ADDRESS + 7 * GiB };
	struct dimm movable = { .id = "m2", .size = block_size(), .addr = ADDRESS + 3 * GiB };
	/* More than is in the zone of movable pages, which is taken first */
	const size_t size = block_size() + block_size() / 2;
	char *p;

	if (left(&kernel))
		SKIP(return, RAN);
	ASSERT_EQ(0, dimm_plug(&kernel));
	ASSERT_EQ(0, blocks_set(kernel.addr, kernel.size, "online_kernel"));
	ASSERT_EQ(0, dimm_plug(&movable));
	ASSERT_EQ(0, blocks_set(movable.addr, movable.size, "online_movable"));
	p = mmap(NULL, size, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	ASSERT_NE(MAP_FAILED, p);
	munmap(p, size);
	EXPECT_EQ(0, dimm_unplug(&movable));
}

/* One object of SLUB's for each */
#define LOCKS	SLABS "/file_lock_cache"

static int lock_byte(int fd, int n, short how)
{
	struct flock lock = { .l_type = how, .l_whence = SEEK_SET, .l_start = 2 * n, .l_len = 1 };

	return fcntl(fd, F_SETLK, &lock);
}

static int slabs_on(const struct dimm *d, int kpageflags)
{
	uint64_t flags[512], at = d->addr / getpagesize() * 8;
	uint64_t end = at + d->size / getpagesize() * 8;
	int n = 0, i;

	for (; at < end && pread(kpageflags, flags, sizeof(flags), at) == sizeof(flags);
	     at += sizeof(flags)) {
		for (i = 0; i < ARRAY_SIZE(flags); i++)
			n += flags[i] >> KPF_SLAB & 1;
	}
	return n;
}

/* Memory with a slab is refused at once, whatever SLUB keeps where page->mapping would say
 * that a page can move: here how many partial slabs a CPU had. Where the kernel has other
 * memory of that zone, it would not use this one
 */
TEST_F(kept, slab_is_refused)
{
	struct dimm d = { .id = "k4", .size = block_size(), .addr = ADDRESS + 2 * GiB };
	int flags = open("/proc/kpageflags", O_RDONLY), shrink = open(LOCKS "/shrink", O_WRONLY);
	int fd = open("/tmp", O_TMPFILE | O_RDWR, 0600), objs, most, n, i, k;
	char buf[32] = "";

	if (left(&d))
		SKIP(return, RAN);
	if (flags < 0 || shrink < 0 || read_file(LOCKS "/objs_per_slab", buf, sizeof(buf)) <= 0)
		SKIP(return, "needs CONFIG_SLUB_DEBUG, CONFIG_PROC_PAGE_MONITOR");
	objs = atoi(buf);
	most = 40 * objs;
	ASSERT_EQ(0, dimm_plug(&d));
	/* Slabs of memory that stays, and all else that is allocated meanwhile */
	ASSERT_EQ(1, pwrite(shrink, "1", 1, 0));
	for (n = 0; n < 12 * objs; n++)
		ASSERT_EQ(0, lock_byte(fd, n, F_WRLCK));
	ASSERT_EQ(0, block_set(d.addr, "online_kernel"));
	for (; n < most && !slabs_on(&d, flags); n++)
		ASSERT_EQ(0, lock_byte(fd, n, F_WRLCK));
	if (n == most)
		SKIP(return, "needs a machine that has no other memory of that zone");
	for (i = 0; i < 4; i++)
		ASSERT_EQ(0, lock_byte(fd, n++, F_WRLCK));

	/* The last of k + 1 partial slabs, which a CPU takes when it needs one */
	for (k = 0; k < 8; k++) {
		for (i = 0; i < k; i++)
			ASSERT_EQ(0, lock_byte(fd, i * objs, F_UNLCK));
		ASSERT_EQ(1, pwrite(shrink, "1", 1, 0));
		ASSERT_EQ(0, lock_byte(fd, most, F_WRLCK));
		EXPECT_NE(0, block_try(d.addr, "offline", 10));
		EXPECT_EQ(EBUSY, errno);
		ASSERT_EQ(0, lock_byte(fd, most, F_UNLCK));
		for (i = 0; i < k; i++)
			ASSERT_EQ(0, lock_byte(fd, i * objs, F_WRLCK));
	}

	/* The kernel may have other data there by now */
	close(fd);
	ASSERT_EQ(1, pwrite(shrink, "1", 1, 0));
	if (!block_try(d.addr, "offline", 10))
		ASSERT_EQ(0, dimm_unplug(&d));
	close(shrink);
	close(flags);
}

TEST_HARNESS_MAIN
