// SPDX-License-Identifier: GPL-2.0
/*
 * ZONE_DEVICE memory that comes and goes in units of 2 MiB, smaller than any memory
 * block: namespaces on QEMU's NVDIMM "nv0", made with ndctl and daxctl as a user would.
 * Whatever is on that NVDIMM is lost, and on the device DAX=dax0.0, which need not be of it.
 */
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "../../kselftest_harness.h"
#include "util.h"

#define SUBSECTION	(2 * MiB)
#define MPOL_BIND	2

struct namespace {
	char name[32];		/* namespace0.0 */
	char dev[32];		/* dax0.0 or pmem0 */
	uint64_t addr, size;
};

/* What the last command said */
static char output[16384];

/* Run a command, return its exit status; what it said is shown if it failed */
static int run(const char *format, ...) __attribute__((format(printf, 1, 2)));

static int run(const char *format, ...)
{
	char command[256], line[300];
	va_list ap;
	FILE *f;
	int ret;

	va_start(ap, format);
	vsnprintf(command, sizeof(command), format, ap);
	va_end(ap);
	snprintf(line, sizeof(line), "%s 2>&1", command);

	f = popen(line, "r");
	if (!f)
		return -1;
	output[fread(output, 1, sizeof(output) - 1, f)] = 0;
	ret = pclose(f);
	if (ret)
		fprintf(stderr, "# %s: %s\n", command, output);
	return ret;
}

/* Copy the string that is called @key in what the last command said */
static int said(const char *key, char *value, int size)
{
	char quoted[32];
	const char *p;

	snprintf(quoted, sizeof(quoted), "\"%s\":\"", key);
	p = strstr(output, quoted);
	if (!p)
		return -1;
	p += strlen(quoted);
	snprintf(value, size, "%.*s", (int)strcspn(p, "\""), p);
	return 0;
}

/* The number in a file whose path has @name in it; 0 if there is none */
static uint64_t number(const char *format, const char *name)
{
	char path[128], buf[64];

	snprintf(path, sizeof(path), format, name);
	return read_file(path, buf, sizeof(buf)) < 0 ? 0 : strtoull(buf, NULL, 0);
}

static int ns_create(struct namespace *ns, const char *mode, const char *map, uint64_t size)
{
	/* By force, as ndctl wants an alignment that suits all architectures */
	if (run("ndctl create-namespace -f -r region0 -m %s -M %s -s %llu -a %d", mode,
		map, (unsigned long long)size, getpagesize()) ||
	    said("dev", ns->name, sizeof(ns->name)) ||
	    said(strcmp(mode, "fsdax") ? "chardev" : "blockdev", ns->dev, sizeof(ns->dev)))
		return -1;
	ns->addr = number("/sys/bus/nd/devices/%s/resource", ns->name);
	ns->size = number("/sys/bus/nd/devices/%s/size", ns->name);
	return ns->size == size ? 0 : -1;
}

static int ns_destroy(const struct namespace *ns)
{
	return run("ndctl destroy-namespace -f %s", ns->name);
}

/*
 * Write to every page of a dax device and read it back by way of its struct page: a
 * fault sets up its mapping, vmsplice() takes a reference.
 */
static int dax_use(const struct namespace *ns)
{
	size_t size = number("/sys/bus/dax/devices/%s/size", ns->dev), page = getpagesize(), at;
	int fd, fds[2], slots, i, n = 0, wrong = 0;
	struct iovec iov[256];
	uint64_t got[256];
	char path[64], *p;

	snprintf(path, sizeof(path), "/dev/%s", ns->dev);
	fd = open(path, O_RDWR);
	p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (p == MAP_FAILED || pipe(fds)) {
		fprintf(stderr, "# %s: %m (to map it needs CONFIG_FS_DAX)\n", path);
		return -1;
	}
	for (at = 0; at < size; at += page)
		*(uint64_t *)(p + at) = ns->addr + at;

	slots = fcntl(fds[1], F_SETPIPE_SZ, 256 * 4096) / page;
	for (at = 0; at < size && !wrong; at += n * page) {
		for (n = 0; n < slots && at + n * page < size; n++)
			iov[n] = (struct iovec) { p + at + n * page, sizeof(*got) };
		if (vmsplice(fds[1], iov, n, 0) != (ssize_t)(n * sizeof(*got)) ||
		    read(fds[0], got, sizeof(got)) != (ssize_t)(n * sizeof(*got)))
			wrong++;
		for (i = 0; i < n; i++)
			wrong += got[i] != ns->addr + at + i * page;
	}
	close(fds[0]);
	close(fds[1]);
	munmap(p, size);
	return wrong ? -1 : 0;
}

/* Write to both ends of a pmem disk and read it back */
static int pmem_use(const struct namespace *ns)
{
	static char out[65536] __attribute__((aligned(65536)));
	static char in[65536] __attribute__((aligned(65536)));
	uint64_t size = number("/sys/class/block/%s/size", ns->dev) * 512;
	char path[64];
	int ret, fd;

	snprintf(path, sizeof(path), "/dev/%s", ns->dev);
	fd = open(path, O_RDWR | O_DIRECT);
	memset(out, 0x5a, sizeof(out));
	ret = pwrite(fd, out, sizeof(out), 0) == sizeof(out) &&
	      pwrite(fd, out, sizeof(out), size - sizeof(out)) == sizeof(out) &&
	      pread(fd, in, sizeof(in), size - sizeof(in)) == sizeof(in) &&
	      !memcmp(in, out, sizeof(in)) ? 0 : -1;
	close(fd);
	return ret;
}

/* Why nothing can be tested here, or NULL */
static const char *missing(void)
{
	if (qmp_open() ||
	    qmp("qom-get", "\"path\":\"/machine/peripheral/nv0\",\"property\":\"addr\""))
		return "needs QEMU's monitor, and an NVDIMM called nv0";
	if (system("ndctl --version >/dev/null 2>&1 && daxctl --version >/dev/null 2>&1"))
		return "needs ndctl and daxctl";
	return NULL;
}

/* An NVDIMM without namespaces, which may begin and end at any subsection */
static int begin(struct state *before)
{
	if (nvdimm_wipe())
		return -1;
	log_start();
	dimms_drop();
	state_take(before);
	return 0;
}

static void end(struct __test_metadata *_metadata, struct state *before)
{
	/* Tables of vmalloc's area stay: 512 kB for 256 MiB that a driver maps by pages of 4K */
	long tables_kb = getpagesize() == 4096 ? 512 : 0;

	EXPECT_EQ(0, state_same(before, noise_kb(1024) + tables_kb + shadow_kb()));
	EXPECT_EQ(0, log_clean());
}

/* ---- one namespace ---- */

FIXTURE(alone) {
	struct state before;
};

FIXTURE_VARIANT(alone) {
	const char *mode, *map;
};

FIXTURE_VARIANT_ADD(alone, fsdax_mem) { "fsdax", "mem" };
FIXTURE_VARIANT_ADD(alone, fsdax_dev) { "fsdax", "dev" };
FIXTURE_VARIANT_ADD(alone, devdax_mem) { "devdax", "mem" };
FIXTURE_VARIANT_ADD(alone, devdax_dev) { "devdax", "dev" };

FIXTURE_SETUP(alone)
{
	if (missing())
		SKIP(return, "%s", missing());
	ASSERT_EQ(0, begin(&self->before));
}

FIXTURE_TEARDOWN(alone)
{
	end(_metadata, &self->before);
}

/* A namespace comes, is used, and goes without a trace, twice; its memmap is
 * where it was asked to be
 */
TEST_F(alone, comes_and_goes)
{
	/* On 16K more, for a memmap that shows */
	const uint64_t size = (getpagesize() == 16384 ? 512 : 128) * MiB;
	long memmap_kb = size / getpagesize() * 64 / KiB, kb;
	struct namespace ns;
	int i;

	for (i = 0; i < 2; i++) {
		kb = free_kb();
		ASSERT_EQ(0, ns_create(&ns, variant->mode, variant->map, size));
		kb -= free_kb();
		/* Others take and give back some meanwhile; on 64K as much as that */
		if (memmap_kb >= 2048) {
			EXPECT_EQ(!strcmp(variant->map, "mem"), kb >= memmap_kb / 2) {
				TH_LOG("took %ld kB, the memmap is %ld kB", kb, memmap_kb);
			}
		}
		ASSERT_EQ(0, strcmp(variant->mode, "fsdax") ? dax_use(&ns) : pmem_use(&ns));
		ASSERT_EQ(0, ns_destroy(&ns));
	}
}

/* ---- neighbours ---- */

#define NR	3

FIXTURE(neighbours) {
	struct state before;
};

FIXTURE_VARIANT(neighbours) {
	const char *map[NR];
	int order[NR];
};

FIXTURE_VARIANT_ADD(neighbours, mem_in_order) { { "mem", "mem", "mem" }, { 0, 1, 2 } };
FIXTURE_VARIANT_ADD(neighbours, mem_reversed) { { "mem", "mem", "mem" }, { 2, 1, 0 } };
FIXTURE_VARIANT_ADD(neighbours, dev_in_order) { { "dev", "dev", "dev" }, { 0, 1, 2 } };
FIXTURE_VARIANT_ADD(neighbours, dev_reversed) { { "dev", "dev", "dev" }, { 2, 1, 0 } };
FIXTURE_VARIANT_ADD(neighbours, both_middle_first) { { "mem", "dev", "mem" }, { 1, 0, 2 } };
FIXTURE_VARIANT_ADD(neighbours, both_middle_last) { { "dev", "mem", "dev" }, { 0, 2, 1 } };

FIXTURE_SETUP(neighbours)
{
	if (missing())
		SKIP(return, "%s", missing());
	ASSERT_EQ(0, begin(&self->before));
}

FIXTURE_TEARDOWN(neighbours)
{
	end(_metadata, &self->before);
}

/* Namespaces share a section and, on 16K and 64K, meet within a page of memmap. Whoever
 * of them goes, and comes again, leaves the struct pages of the others alone.
 */
TEST_F(neighbours, share_memmap)
{
	/* The second begins and ends at an odd subsection */
	static const uint64_t sizes[NR] = { 9 * SUBSECTION, 10 * SUBSECTION, 9 * SUBSECTION };
	struct namespace ns[NR];
	bool there[NR] = { };
	int i, k;

	for (i = 0; i < NR; i++) {
		ASSERT_EQ(0, ns_create(&ns[i], "devdax", variant->map[i], sizes[i]));
		there[i] = true;
		if (i) {
			ASSERT_EQ(ns[i].addr, ns[i - 1].addr + ns[i - 1].size);
			ASSERT_EQ(1, ns[i].addr / SUBSECTION % 2);
		}
		ASSERT_EQ(0, dax_use(&ns[i]));
	}
	/* Each goes and comes again, then all go */
	for (k = 0; k < 2 * NR; k++) {
		int who = variant->order[k % NR];

		ASSERT_EQ(0, ns_destroy(&ns[who]));
		there[who] = false;
		for (i = 0; i < NR; i++)
			ASSERT_EQ(0, there[i] ? dax_use(&ns[i]) : 0);
		if (k >= NR)
			continue;
		ASSERT_EQ(0, ns_create(&ns[who], "devdax", variant->map[who], sizes[who]));
		there[who] = true;
		for (i = 0; i < NR; i++)
			ASSERT_EQ(0, dax_use(&ns[i]));
	}
}

/* ---- kmem ---- */

FIXTURE(kmem) {
	struct state before;
	unsigned long node;
};

FIXTURE_VARIANT(kmem) {
	const char *map;
};

FIXTURE_VARIANT_ADD(kmem, mem) { "mem" };
FIXTURE_VARIANT_ADD(kmem, dev) { "dev" };

FIXTURE_SETUP(kmem)
{
	if (missing())
		SKIP(return, "%s", missing());
	self->node = number("%s", REGION "/target_node");
	if ((long)self->node < 0)
		SKIP(return, "needs an NVDIMM that belongs to a NUMA node");
	ASSERT_EQ(0, begin(&self->before));
}

FIXTURE_TEARDOWN(kmem)
{
	end(_metadata, &self->before);
}

/* Make a dax device memory, online and movable; its memmap is on it, as CXL's is, if it can be */
static int become_memory(const struct namespace *ns)
{
	if (own_memmap_kb(block_size()) &&
	    run("echo 1 >/sys/bus/dax/devices/%s/memmap_on_memory", ns->dev))
		return -1;
	return run("daxctl reconfigure-device -m system-ram %s", ns->dev);
}

/* And a dax device again */
static int become_device(const struct namespace *ns)
{
	return run("daxctl offline-memory %s", ns->dev) ||
	       run("daxctl reconfigure-device -m devdax %s", ns->dev);
}

/* Use a dax device as one and as memory of @node, which a process has then, twice */
static void memory_and_back(struct __test_metadata *_metadata, const struct namespace *ns,
			    unsigned long node)
{
	unsigned long nodes = 1UL << node;
	const size_t size = 64 * MiB;
	char *devdax;
	uint64_t *p, added;
	long kb;
	size_t i;
	int n;

	ASSERT_EQ(0, dax_use(ns));
	devdax = picture();
	for (n = 0; n < 2; n++) {
		kb = meminfo_kb("MemTotal");
		ASSERT_EQ(0, become_memory(ns));
		ASSERT_LT(0, blocks_present(ns->addr, ns->size));
		ASSERT_EQ(blocks_present(ns->addr, ns->size),
			  blocks_in_state(ns->addr, ns->size, "online"));
		added = blocks_present(ns->addr, ns->size) * block_size();
		EXPECT_EQ(kb + (long)(added / KiB) - own_memmap_kb(added), meminfo_kb("MemTotal"));

		p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		ASSERT_NE(MAP_FAILED, p);
		ASSERT_EQ(0, syscall(SYS_mbind, p, size, MPOL_BIND, &nodes, 64, 0));
		for (i = 0; i < size / sizeof(*p); i++)
			p[i] = i;
		EXPECT_LE(ns->addr, physical(p));
		EXPECT_GT(ns->addr + ns->size, physical(p));

		ASSERT_EQ(0, become_device(ns));
		ASSERT_EQ(0, blocks_present(ns->addr, ns->size));
		for (i = 0; i < size / sizeof(*p) && p[i] == i; i++)
			;
		EXPECT_EQ(size / sizeof(*p), i);
		munmap(p, size);

		EXPECT_EQ(0, same_picture(devdax));
		ASSERT_EQ(0, dax_use(ns));
	}
	free(devdax);
}

/* A dax device becomes memory of its node, a process's pages go there, and leave it
 * when it becomes a dax device again, twice
 */
TEST_F(kmem, devdax_and_back)
{
	struct namespace ns;

	/* Of this, what is a whole memory block can be used as memory */
	ASSERT_EQ(0, ns_create(&ns, "devdax", variant->map, 2 * block_size()));
	memory_and_back(_metadata, &ns, self->node);
	ASSERT_EQ(0, ns_destroy(&ns));
}

/* A DIMM on the node of a DAX device that became memory stays when that becomes a device
 * again, and goes, as the node's last memory. What could go wrong does where that device's
 * memory is the first that the node ever had.
 */
TEST_F(kmem, dimm_goes_after)
{
	struct dimm d = { .id = "d0", .size = block_size(), .node = self->node };
	struct namespace ns;

	ASSERT_EQ(0, ns_create(&ns, "devdax", variant->map, 2 * block_size()));
	ASSERT_EQ(0, become_memory(&ns));
	ASSERT_EQ(0, dimm_plug(&d));
	ASSERT_EQ(0, block_set(d.addr, "online_movable"));
	ASSERT_EQ(0, become_device(&ns));
	EXPECT_EQ(1, blocks_in_state(d.addr, d.size, "online"));
	ASSERT_EQ(0, dimm_unplug(&d));
	ASSERT_EQ(0, ns_destroy(&ns));
}

#define TIERS	"/sys/devices/virtual/memory_tiering/memory_tier*/nodelist"

/* A DAX device is in a tier of its own, not in the one of a DIMM that its node had before */
TEST_F(kmem, has_its_own_tier)
{
	struct dimm d = { .id = "d0", .size = block_size(), .node = self->node };
	struct namespace ns;

	ASSERT_EQ(0, dimm_plug(&d));
	ASSERT_EQ(0, block_set(d.addr, "online_movable"));
	ASSERT_EQ(0, dimm_unplug(&d));
	ASSERT_EQ(0, ns_create(&ns, "devdax", variant->map, 2 * block_size()));
	ASSERT_EQ(0, become_memory(&ns));
	/* Nor is any other node in that of boot memory */
	EXPECT_EQ(0, run("grep -qx 0 " TIERS));
	EXPECT_EQ(0, run("grep -qx %lu " TIERS, self->node));
	ASSERT_EQ(0, become_device(&ns));
	ASSERT_EQ(0, ns_destroy(&ns));
}

/* ---- a dax device that somebody else has made: of CXL, of a GPU, of the firmware ---- */

FIXTURE(given) {
	struct state before;
	struct namespace ns;
	unsigned long node;
};

FIXTURE_SETUP(given)
{
	const char *dev = getenv("DAX");
	char mode[16];

	if (!dev || !*dev)
		SKIP(return, "needs DAX=dax0.0, a device whose content may go");
	snprintf(self->ns.dev, sizeof(self->ns.dev), "%s", dev);
	ASSERT_EQ(0, run("daxctl list -d %s", dev));
	ASSERT_EQ(0, said("mode", mode, sizeof(mode))) {
		TH_LOG("there is no %s", dev);
	}
	/* What is in use as memory already is nobody's to take away */
	ASSERT_STREQ("devdax", mode);
	self->ns.addr = number("/sys/bus/dax/devices/%s/resource", dev);
	self->ns.size = number("/sys/bus/dax/devices/%s/size", dev);
	self->node = number("/sys/bus/dax/devices/%s/target_node", dev);
	ASSERT_NE(0, self->ns.addr);
	ASSERT_GT(64, self->node);
	log_start();
	state_take(&self->before);
}

FIXTURE_TEARDOWN(given)
{
	end(_metadata, &self->before);
}

/* It becomes memory and a dax device again, twice */
TEST_F(given, becomes_memory_and_back)
{
	memory_and_back(_metadata, &self->ns, self->node);
}

TEST_HARNESS_MAIN
