// SPDX-License-Identifier: GPL-2.0
/* Removal of memory that is in use: what can move moves, what cannot stays. */
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <linux/kernel-page-flags.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../../../../mm/gup_test.h"
#include "../../kselftest_harness.h"
#include "others.h"
#include "util.h"

FIXTURE(busy) {
	struct dimm dimm;
	struct state before;
};

FIXTURE_SETUP(busy)
{
	self->dimm = (struct dimm) { .id = "d0", .size = GiB, .addr = ADDRESS };
	if (self->dimm.size < block_size())
		self->dimm.size = block_size();
	if (qmp_open())
		SKIP(return, "needs QEMU's monitor at " PORT_QMP);
	log_start();
	dimms_drop();
	state_take(&self->before);
	ASSERT_EQ(0, dimm_plug(&self->dimm));
}

FIXTURE_TEARDOWN(busy)
{
	/* A test that was skipped left it */
	dimms_drop();
	EXPECT_EQ(0, state_same(&self->before, noise_kb(2048)));
	EXPECT_EQ(0, log_clean());
}

/* A process's pages are migrated away by device_del, whatever kind they are of */
struct kind {
	int flags;		/* of mmap() */
	bool huge;		/* with pages as large as can be had */
	bool locked;
	bool bad;		/* and one that went bad beside it */
};

/* Whether the page is of a transparent huge one; not of hugetlb */
static bool is_huge(const void *p)
{
	int fd = open("/proc/kpageflags", O_RDONLY);
	uint64_t flags = 0;

	if (pread(fd, &flags, 8, physical(p) / getpagesize() * 8) != 8)
		flags = 0;
	close(fd);
	return flags >> KPF_THP & 1;
}

static void is_migrated(struct __test_metadata *_metadata, const struct dimm *dimm,
			struct kind kind)
{
	/* No more, as it moves from block to block of the DIMM until that has none left */
	const size_t size = (kind.huge ? 128 : 32) * MiB, page = getpagesize();
	long bad_kb = meminfo_kb("HardwareCorrupted");
	uint64_t *p;
	char *bad;

	ASSERT_EQ(0, blocks_set(dimm->addr, dimm->size, "online_movable"));
	if (kind.flags & MAP_HUGETLB)
		ASSERT_EQ(0, write_file(HUGE "/nr_hugepages", "16"));
	/* On 64K one as large as a PMD maps would be of 512 MiB */
	if (kind.huge)
		ASSERT_EQ(0, write_file(THP, "madvise"));
	p = mmap(NULL, size, PROT_READ | PROT_WRITE, kind.flags | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, p);
	madvise(p, size, kind.huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
	if (kind.locked)
		ASSERT_EQ(0, mlock(p, size));
	fill(p, size);
	ASSERT_TRUE(on_dimm(dimm, p));
	ASSERT_TRUE(on_dimm(dimm, (char *)p + size - 4096));
	/* The first may be of a part that is too small for one */
	ASSERT_EQ(kind.huge, is_huge((char *)p + size / 2));
	if (kind.bad) {
		/* Whoever has it dies of it */
		pid_t pid = fork();

		if (!pid) {
			bad = mmap(NULL, page, PROT_READ | PROT_WRITE,
				   MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
			if (on_dimm(dimm, bad))
				madvise(bad, page, MADV_HWPOISON);
			_exit(0);
		}
		ASSERT_EQ(pid, waitpid(pid, NULL, 0));
		ASSERT_LT(bad_kb, meminfo_kb("HardwareCorrupted"));
	}

	ASSERT_EQ(0, dimm_unplug(dimm));
	EXPECT_NE(0, physical(p));
	EXPECT_FALSE(on_dimm(dimm, p));
	EXPECT_EQ(0, wrong(p, size));
	EXPECT_EQ(bad_kb, meminfo_kb("HardwareCorrupted"));
	munmap(p, size);
	if (kind.flags & MAP_HUGETLB)
		ASSERT_EQ(0, write_file(HUGE "/nr_hugepages", "0"));
}

/* Pages of one process */
TEST_F(busy, process_is_migrated)
{
	is_migrated(_metadata, &self->dimm, (struct kind) { MAP_PRIVATE });
}

/* Pages of a file in memory, which several may have */
TEST_F(busy, shared_is_migrated)
{
	is_migrated(_metadata, &self->dimm, (struct kind) { MAP_SHARED });
}

/* Pages that mlock() keeps from being swapped out, which is all that it does */
TEST_F(busy, locked_is_migrated)
{
	is_migrated(_metadata, &self->dimm, (struct kind) { MAP_PRIVATE, .locked = true });
}

/* Transparent huge pages */
TEST_F(busy, huge_is_migrated)
{
	is_migrated(_metadata, &self->dimm, (struct kind) { MAP_PRIVATE, .huge = true });
}

/* Pages of a pool of huge ones */
TEST_F(busy, hugetlb_is_migrated)
{
	is_migrated(_metadata, &self->dimm, (struct kind) { MAP_PRIVATE | HUGE_FLAGS });
}

/* A page that went bad is no reason to stay; it is not counted when it has gone */
TEST_F(busy, bad_page_goes)
{
	is_migrated(_metadata, &self->dimm, (struct kind) { MAP_PRIVATE, .bad = true });
}

/* Free pages of the zones that are of movable pages only */
static unsigned long movable_pages_free(void)
{
	unsigned long n, sum = 0;
	char line[256], zone[16] = "";
	FILE *f = fopen("/proc/zoneinfo", "r");

	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "Node %*d, zone %15s", zone) == 1)
			continue;
		if (!strcmp(zone, "Movable") && sscanf(line, " pages free %lu", &n) == 1)
			sum += n;
	}
	if (f)
		fclose(f);
	return sum;
}

/* A DIMM of which less than a tenth is free, as the kernel keeps some in reserve, goes, as
 * long as there is room elsewhere. With a second node it is all of that.
 */
TEST_F_TIMEOUT(busy, filled_to_the_brim, 900)
{
	struct dimm d = { .id = "d1", .size = 2 * block_size(), .addr = ADDRESS + 2 * GiB };
	size_t size = d.size + 16 * MiB;
	uint64_t *p, at;

	/* Else a page block, 512 MiB with 64K pages, can be kept free for a while */
	ASSERT_EQ(0, write_file(BOOST, "0"));
	/* The DIMM that all tests have is in nobody's way, as it is not put online */
	d.node = two_nodes();
	ASSERT_EQ(0, dimm_plug(&d));
	ASSERT_EQ(0, blocks_set(d.addr, d.size, "online_movable"));
	/* Huge pages of 32 MiB, with 16K, might not fit any more, and come from elsewhere */
	p = populate(d.node, size);
	ASSERT_NE(NULL, p);
	fill(p, size);
	at = physical(p);
	ASSERT_LE(d.addr, at);
	ASSERT_GT(d.addr + d.size, at);
	ASSERT_GT(d.size / getpagesize() / 10, movable_pages_free());
	ASSERT_EQ(0, dimm_unplug(&d));
	EXPECT_FALSE(on_dimm(&d, p));
	EXPECT_EQ(0, wrong(p, size));
	munmap(p, size);
	ASSERT_EQ(0, dimm_unplug(&self->dimm));
}

/* As an administrator can; how many there were */
static int eject_memory_devices(void)
{
	size_t i;
	glob_t g;
	int n = 0;

	if (glob("/sys/bus/acpi/devices/PNP0C80:*/eject", 0, NULL, &g))
		return -1;
	for (i = 0; i < g.gl_pathc; i++)
		n += !write_file(g.gl_pathv[i], "1");
	globfree(&g);
	return n;
}

/* Asked more than once, by QEMU and by an administrator, the kernel gives it back once */
TEST_F(busy, ejected_twice)
{
	ASSERT_EQ(0, blocks_set(self->dimm.addr, self->dimm.size, "online_movable"));
	ASSERT_EQ(0, dimm_eject(&self->dimm));
	/* QEMU says so itself, or asks again where the kernel has the first by now */
	if (qmp("device_del", "\"id\":\"%s\"", self->dimm.id))
		EXPECT_NE(NULL, strstr(qmp_reply(), "already in the process of unplug"));
	/* The only one there is: of a slot that is empty the kernel knows nothing */
	ASSERT_EQ(1, eject_memory_devices());
	ASSERT_EQ(0, dimm_gone(&self->dimm, PATIENCE));
}

/* One comes while another goes */
TEST_F(busy, plugged_during_removal)
{
	struct dimm d = { .id = "d1", .size = block_size(), .addr = ADDRESS + 2 * GiB };
	int i, at_once = 0;

	/* On a fast machine it may be gone already */
	for (i = 0; i < 10 && !at_once; i++) {
		if (i)
			ASSERT_EQ(0, dimm_plug(&self->dimm));
		ASSERT_EQ(0, blocks_set(self->dimm.addr, self->dimm.size, "online_movable"));
		ASSERT_EQ(0, dimm_eject(&self->dimm));
		ASSERT_EQ(0, dimm_insert(&d));
		at_once = blocks_present(self->dimm.addr, self->dimm.size);
		ASSERT_EQ(0, dimm_gone(&self->dimm, PATIENCE));
		ASSERT_EQ(0, blocks_wait_state(d.addr, d.size, "offline"));
		ASSERT_EQ(0, blocks_set(d.addr, d.size, "online_movable"));
		ASSERT_EQ(0, dimm_unplug(&d));
	}
	EXPECT_LT(0, at_once);
}

/* One who writes to files of a memory block sits in them while it is removed, waiting
 * for device_hotplug_lock. That does no harm, and lockdep knows it.
 */
TEST_F(busy, written_to_while_removed)
{
	const char * const files[] = { "state", "online" };
	pid_t pid[2];
	char path[2][128];
	int i, status;

	for (i = 0; i < 2; i++) {
		block_path(path[i], sizeof(path[i]), self->dimm.addr, files[i]);
		ASSERT_EQ(0, write_file(path[i], i ? "0" : "online_movable"));
	}
	for (i = 0; i < 2; i++) {
		pid[i] = fork();
		if (!pid[i])
			prctl(PR_SET_PDEATHSIG, SIGKILL);
		while (!pid[i]) {
			if (write_file(path[i], i ? "0" : "offline") &&
			    (errno == ENODEV || errno == ENOENT))
				_exit(0);
		}
	}
	ASSERT_EQ(0, dimm_unplug(&self->dimm));
	for (i = 0; i < 2; i++) {
		ASSERT_EQ(pid[i], waitpid(pid[i], &status, 0));
		EXPECT_EQ(0, status);
	}
}

/* How much of a process's memory is at [start, end) */
static size_t lies_in(const uint64_t *p, size_t size, uint64_t start, uint64_t end)
{
	size_t i, n = 0, page = getpagesize();

	for (i = 0; i < size; i += page) {
		uint64_t at = physical((const char *)p + i);

		n += at >= start && at < end ? page : 0;
	}
	return n;
}

/* A pinned page keeps its block: putting that offline goes on trying until a
 * signal ends it, device_del until the pin is gone. Nothing is lost meanwhile.
 */
TEST_F(busy, pinned_is_kept)
{
	const size_t size = 64 * 1024;
	struct iovec iov;
	uint64_t *p, *seen = malloc(size), at;
	bool kexec, crash;
	int fds[2];
	ssize_t n;

	ASSERT_EQ(0, blocks_set(self->dimm.addr, self->dimm.size, "online_movable"));
	p = mmap(NULL, size, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	ASSERT_NE(MAP_FAILED, p);
	fill(p, size);
	ASSERT_TRUE(on_dimm(&self->dimm, p));
	ASSERT_EQ(0, pipe(fds));
	iov = (struct iovec) { p, size };
	n = vmsplice(fds[1], &iov, 1, 0);
	ASSERT_LT(0, n);

	/* One block, wherever the page is, does not go; nor then does the DIMM */
	for (at = self->dimm.addr; at < self->dimm.addr + self->dimm.size;
	     at += block_size()) {
		if (block_try(at, "offline", 10)) {
			EXPECT_EQ(EINTR, errno);
			break;
		}
	}
	ASSERT_LT(at, self->dimm.addr + self->dimm.size);
	ASSERT_EQ(1, blocks_in_state(at, block_size(), "online"));
	ASSERT_LT(0, lies_in(p, size, at, at + block_size()));
	ASSERT_EQ(0, wrong(p, size));

	kexec = !load_kernel();
	crash = !load_file();
	ASSERT_EQ(0, dimm_eject(&self->dimm));
	ASSERT_EQ(-1, dimm_gone(&self->dimm, 3));
	ASSERT_EQ(0, wrong(p, size));

	/* Whoever loads a kernel meanwhile is told that it cannot be done, and waits no more */
	if (kexec)
		EXPECT_EQ(MET_NOTHING, load_kernel());
	if (!kexec)
		TH_LOG("without CONFIG_KEXEC nobody loads a kernel meanwhile");
	/* But a crash kernel can be loaded at any time */
	if (crash)
		EXPECT_EQ(0, load_crash_kernel());
	if (!crash)
		TH_LOG("without crashkernel= or /boot/Image nobody loads one");

	/* Whoever has the pages in the pipe has what was in them */
	ASSERT_EQ(n, read(fds[0], seen, size));
	EXPECT_EQ(0, memcmp(p, seen, n));
	free(seen);
	close(fds[0]);
	close(fds[1]);
	ASSERT_EQ(0, dimm_gone(&self->dimm, PATIENCE));
	EXPECT_FALSE(on_dimm(&self->dimm, p));
	EXPECT_EQ(0, wrong(p, size));
	munmap(p, size);
}

/* Pages that a device may write to for long (FOLL_LONGTERM) leave memory that may go,
 * when they are pinned, and nothing holds that up
 */
TEST_F(busy, pinned_for_long_leaves)
{
	struct pin_longterm_test pin = { .flags = PIN_LONGTERM_TEST_FLAG_USE_WRITE };
	int fd = open(GUP_TEST, O_RDWR);
	const size_t size = 64 * 1024;
	uint64_t *p, *seen, at;

	if (fd < 0)
		SKIP(return, "needs CONFIG_GUP_TEST");
	ASSERT_EQ(0, blocks_set(self->dimm.addr, self->dimm.size, "online_movable"));
	p = mmap(NULL, size, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	seen = malloc(size);
	ASSERT_NE(MAP_FAILED, p);
	fill(p, size);
	ASSERT_TRUE(on_dimm(&self->dimm, p));

	pin.addr = (uintptr_t)p;
	pin.size = size;
	ASSERT_EQ(0, ioctl(fd, PIN_LONGTERM_TEST_START, &pin));
	EXPECT_FALSE(on_dimm(&self->dimm, p));
	at = physical(p);
	ASSERT_EQ(0, dimm_unplug(&self->dimm));

	/* As the device sees them, and where it saw them */
	EXPECT_EQ(0, wrong(p, size));
	EXPECT_EQ(at, physical(p));
	at = (uintptr_t)seen;
	ASSERT_EQ(0, ioctl(fd, PIN_LONGTERM_TEST_READ, &at));
	EXPECT_EQ(0, memcmp(p, seen, size));
	ASSERT_EQ(0, ioctl(fd, PIN_LONGTERM_TEST_STOP));
	close(fd);
	free(seen);
	munmap(p, size);
}

/* An area that drivers share with pages that can move, here more than half of memory:
 * so many of a process's pages are there unless there is ZONE_MOVABLE
 */
#define AREA		DEBUGFS "/cma/reserved"
#define AREA_USER	(16 * MiB)

FIXTURE(cma) {
	struct dimm dimm;
	struct state before;
	uint64_t start, end;
	uint64_t *p;
};

static uint64_t area_number(const char *file)
{
	char buf[32];

	return read_file(file, buf, sizeof(buf)) < 0 ? 0 : strtoull(buf, NULL, 10);
}

static int area_write(const char *file, uint64_t pages)
{
	char buf[32];

	snprintf(buf, sizeof(buf), "%d", (int)pages);
	return write_file(file, buf);
}

/* The driver takes all that no other has of the area */
static int area_take(void)
{
	return area_write(AREA "/alloc", area_number(AREA "/maxchunk"));
}

static int area_give(void)
{
	return area_write(AREA "/free", area_number(AREA "/count"));
}

static size_t lies_on(const struct dimm *dimm, const uint64_t *p)
{
	return lies_in(p, AREA_USER, dimm->addr, dimm->addr + dimm->size);
}

FIXTURE_SETUP(cma)
{
	self->dimm = (struct dimm) { .id = "d0", .size = 2 * block_size(), .addr = ADDRESS };
	if (qmp_open())
		SKIP(return, "needs QEMU's monitor at " PORT_QMP);
	if (access(AREA "/alloc", W_OK) ||
	    meminfo_kb("CmaTotal") <= meminfo_kb("MemTotal") / 2)
		SKIP(return, "needs CONFIG_CMA_DEBUGFS and cma= of more than half of memory");
	self->start = area_number(AREA "/base_pfn") * getpagesize();
	self->end = self->start + area_number(AREA "/count") * getpagesize();
	log_start();
	dimms_drop();
	/*
	 * One that failed may have it all. And lists of each CPU can have all that a test
	 * asks for, from elsewhere: they are drained
	 */
	area_give();
	ASSERT_EQ(0, area_take());
	ASSERT_EQ(0, area_give());
	state_take(&self->before);
	self->p = mmap(NULL, AREA_USER, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, self->p);
	madvise(self->p, AREA_USER, MADV_NOHUGEPAGE);
	ASSERT_EQ(0, dimm_plug(&self->dimm));
}

FIXTURE_TEARDOWN(cma)
{
	dimms_drop();
	EXPECT_EQ(0, lies_on(&self->dimm, self->p));
	EXPECT_EQ(0, wrong(self->p, AREA_USER));
	munmap(self->p, AREA_USER);
	EXPECT_EQ(0, state_same(&self->before, noise_kb(2048)));
	EXPECT_EQ(0, log_clean());
}

/* A process's memory leaves the area for the driver, and the DIMM for what is left */
TEST_F(cma, taken)
{
	fill(self->p, AREA_USER);
	ASSERT_LT(0, lies_in(self->p, AREA_USER, self->start, self->end));
	ASSERT_EQ(0, area_take());
	EXPECT_EQ(0, lies_in(self->p, AREA_USER, self->start, self->end));
	EXPECT_EQ(0, wrong(self->p, AREA_USER));
	madvise(self->p, AREA_USER, MADV_DONTNEED);

	ASSERT_EQ(0, blocks_set(self->dimm.addr, self->dimm.size, "online_movable"));
	fill(self->p, AREA_USER);
	ASSERT_EQ(AREA_USER, lies_on(&self->dimm, self->p));
	ASSERT_EQ(0, dimm_unplug(&self->dimm));
	EXPECT_EQ(0, lies_in(self->p, AREA_USER, self->start, self->end));
	EXPECT_EQ(0, area_give());
}

/* What leaves the DIMM may stay in the area until the driver wants that */
TEST_F(cma, free)
{
	ASSERT_EQ(0, blocks_set(self->dimm.addr, self->dimm.size, "online_movable"));
	fill(self->p, AREA_USER);
	ASSERT_EQ(AREA_USER, lies_on(&self->dimm, self->p));
	ASSERT_EQ(0, dimm_unplug(&self->dimm));
	EXPECT_LT(0, lies_in(self->p, AREA_USER, self->start, self->end));
	EXPECT_EQ(0, wrong(self->p, AREA_USER));
	ASSERT_EQ(0, area_take());
	EXPECT_EQ(0, lies_in(self->p, AREA_USER, self->start, self->end));
	EXPECT_EQ(0, area_give());
}

/* The driver takes and gives while the DIMM comes and goes */
TEST_F_TIMEOUT(cma, at_once, 900)
{
	int i, status, taken, fds[2];
	pid_t pid;

	fill(self->p, AREA_USER);
	ASSERT_EQ(0, pipe2(fds, O_NONBLOCK));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		char stop;

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(fds[1]);
		/* With a page on its way, it is refused */
		for (taken = 0; read(fds[0], &stop, 1); )
			taken += !area_take() && !area_give();
		_exit(!taken);
	}
	close(fds[0]);
	for (i = 0; i < 5; i++) {
		ASSERT_EQ(0, blocks_set(self->dimm.addr, self->dimm.size, "online_movable"));
		usleep(500000);
		ASSERT_EQ(0, dimm_unplug(&self->dimm));
		EXPECT_EQ(0, wrong(self->p, AREA_USER));
		ASSERT_EQ(0, dimm_plug(&self->dimm));
	}
	close(fds[1]);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	ASSERT_EQ(0, dimm_unplug(&self->dimm));
}

TEST_HARNESS_MAIN
