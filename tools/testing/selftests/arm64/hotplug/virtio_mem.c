// SPDX-License-Identifier: GPL-2.0
/* A virtio-mem device ("vmem0") that the host grows and shrinks. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include "../../kselftest_harness.h"
#include "util.h"

FIXTURE(vmem) {
	struct state before;
	uint64_t addr;
};

FIXTURE_SETUP(vmem)
{
	if (qmp_open())
		SKIP(return, "needs QEMU's monitor at " PORT_QMP);
	self->addr = vmem_property("memaddr");
	if (!self->addr)
		SKIP(return, "needs a virtio-mem device with the id vmem0");
	log_start();
	write_file(AUTO_ONLINE, "online_movable");
	ASSERT_EQ(0, vmem_resize(0));
	ASSERT_EQ(0, blocks_wait(self->addr, 16 * GiB, 0, PATIENCE));
	state_take(&self->before);
}

FIXTURE_TEARDOWN(vmem)
{
	EXPECT_EQ(0, vmem_resize(0));
	EXPECT_EQ(0, blocks_wait(self->addr, 16 * GiB, 0, PATIENCE));
	EXPECT_EQ(0, state_same(&self->before, noise_kb(2048)));
	EXPECT_EQ(0, log_clean());
}

/* All of it is taken and given back, three times */
TEST_F(vmem, up_and_down)
{
	int i;

	for (i = 0; i < 3; i++) {
		ASSERT_EQ(0, vmem_resize(2 * GiB));
		ASSERT_EQ(0, vmem_resize(0));
		ASSERT_EQ(0, blocks_wait(self->addr, 16 * GiB, 0, PATIENCE));
	}
}

/*
 * Up and down by steps that are no multiple of a memory block, unless the device's own are
 * larger, nor of what the guest can take or give: it stops before what was asked for
 */
TEST_F_TIMEOUT(vmem, odd_steps, 900)
{
	/* The guest's page block, where that is larger than the device's unit */
	uint64_t unit = vmem_property("block-size"), step = unit, block, odd, size = 0;
	long empty_kb = meminfo_kb("MemTotal");
	char buf[64];
	unsigned int i;

	if (read_file("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size", buf,
		      sizeof(buf)) > 0 && strtoull(buf, NULL, 10) > step)
		step = strtoull(buf, NULL, 10);
	block = block_size() > step ? block_size() : step;
	odd = step > unit ? unit : 0;

	const uint64_t sizes[] = {
		step, block + step, 3 * block - step, 7 * block + 3 * step,
		2 * block + step, block - step, 5 * block, step,
	};

	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		uint64_t want = sizes[i] + odd;

		if (want > size)
			size += (want - size) / step * step;
		else
			size -= (size - want) / step * step;
		ASSERT_EQ(0, vmem_request(want));
		ASSERT_EQ(0, vmem_wait(size, empty_kb + size / KiB));
	}
}

/* What QEMU rejects changes nothing: neither what there is nor what is asked for */
TEST_F(vmem, rejected_by_qemu)
{
	uint64_t unit = vmem_property("block-size");

	ASSERT_EQ(0, vmem_resize(GiB));
	EXPECT_EQ(-1, vmem_request(GiB + unit / 2));
	EXPECT_EQ(-1, vmem_request(1024 * GiB));
	/* It has memory */
	EXPECT_EQ(-1, qmp("device_del", "%s", "\"id\":\"vmem0\""));
	EXPECT_EQ(GiB, vmem_property("size"));
	EXPECT_EQ(GiB, vmem_property("requested-size"));
	ASSERT_EQ(0, vmem_resize(2 * GiB));
}

/* What a process has there is migrated when the host takes all of it */
TEST_F(vmem, in_use)
{
	const size_t size = 128 * MiB;
	uint64_t *p;

	ASSERT_EQ(0, vmem_resize(GiB));
	p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, p);
	fill(p, size);
	ASSERT_LE(self->addr, physical(p));
	ASSERT_EQ(0, vmem_resize(0));
	EXPECT_NE(0, physical(p));
	EXPECT_GT(self->addr, physical(p));
	EXPECT_EQ(0, wrong(p, size));
	munmap(p, size);
}

/* Pinned, it keeps what it is in: the rest goes, and that when the pin is gone */
TEST_F(vmem, pinned)
{
	long empty_kb = meminfo_kb("MemTotal");
	const size_t size = 64 * 1024;
	struct iovec iov;
	uint64_t *p;
	int fds[2], i;

	ASSERT_EQ(0, vmem_resize(2 * GiB));
	p = mmap(NULL, size, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	ASSERT_NE(MAP_FAILED, p);
	fill(p, size);
	ASSERT_LE(self->addr, physical(p));
	ASSERT_EQ(0, pipe(fds));
	iov = (struct iovec) { p, size };
	ASSERT_LT(0, vmsplice(fds[1], &iov, 1, 0));

	ASSERT_EQ(0, vmem_request(0));
	for (i = 0; i < PATIENCE && vmem_property("size") == 2 * GiB; i++)
		sleep(1);
	sleep(10);
	EXPECT_LT(0, vmem_property("size"));
	EXPECT_GT(2 * GiB, vmem_property("size"));
	EXPECT_LE(self->addr, physical(p));
	EXPECT_EQ(0, wrong(p, size));

	close(fds[0]);
	close(fds[1]);
	/* By itself it tries again in 50 s, and at once when it is asked for something else */
	ASSERT_EQ(0, vmem_request(2 * GiB));
	ASSERT_EQ(0, vmem_request(0));
	ASSERT_EQ(0, vmem_wait(0, empty_kb));
	EXPECT_GT(self->addr, physical(p));
	EXPECT_EQ(0, wrong(p, size));
	munmap(p, size);
}

/* The host asks for something else while the guest is still at work */
TEST_F(vmem, changed_request)
{
	static const int sizes[] = { 4, 0, 2, 1, 3, 0, 4, 1 };
	long empty_kb = meminfo_kb("MemTotal");
	uint64_t size = 0, last, want;
	unsigned int i, naps, met = 0;
	bool begun;

	for (i = 0; i < 3 * ARRAY_SIZE(sizes) || (met < 3 && i < 500); i++) {
		want = sizes[i % ARRAY_SIZE(sizes)] * GiB;
		last = size;
		ASSERT_EQ(0, vmem_request(want));
		/* At any time, or, each other time, as soon as it has begun */
		begun = i / ARRAY_SIZE(sizes) % 2;
		naps = begun ? 400 : i % 24;
		while (naps-- && !(begun && size != last)) {
			usleep(5000);
			size = vmem_property("size");
		}
		/* It has begun, and not come to its end */
		met += size != last && size != want;
	}
	ASSERT_EQ(0, vmem_request(0));
	ASSERT_EQ(0, vmem_wait(0, empty_kb));
	EXPECT_LE(3, met);
}

TEST_HARNESS_MAIN
