// SPDX-License-Identifier: GPL-2.0
/*
 * Nothing stays behind: CYCLES (environment; 50) times a DIMM, the memory of a virtio-mem
 * device or two DAX devices, whose memmap shares a section, come, are used and go. What is
 * free is compared to the page, what is in slabs by the object; whoever allocated what
 * stayed is named: pages with page_owner=on, objects with slab_debug=U, which also has
 * them counted exactly. Other figures may not grow with each cycle, either.
 */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../../kselftest_harness.h"
#include "util.h"

/* Enough for what is allocated once, at first use, to be there */
#define WARM_UP	10

/* Pages that others may have taken meanwhile, however many cycles there were */
#define FEW	48

#define DAX_DRIVER	"/sys/bus/dax/drivers/device_dax"

/* They share a section; with 64K pages, a page of memmap */
static const char *const dax[] = { "dax0.0", "dax0.1" };

static const char *const figures[] = {
	"Slab",		/* the first */
	"PageTables", "SecPageTables", "KernelStack", "VmallocUsed", "Percpu",
};

static void cycle_dax(struct __test_metadata *_metadata)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(dax); i++)
		ASSERT_EQ(0, write_file(DAX_DRIVER "/bind", dax[i]));
	for (i = 0; i < ARRAY_SIZE(dax); i++)
		ASSERT_EQ(0, write_file(DAX_DRIVER "/unbind", dax[i]));
}

/* Two of an odd number of subsections, and without a driver for now */
static int make_dax(void)
{
	char create[128];
	unsigned int i;

	if (nvdimm_wipe())
		return -1;
	snprintf(create, sizeof(create), "ndctl create-namespace -f -r region0 %s -a %d >/dev/null",
		 "-m devdax -M mem -s 18M", getpagesize());
	for (i = 0; i < ARRAY_SIZE(dax); i++) {
		if (system(create) || write_file(DAX_DRIVER "/unbind", dax[i]))
			return -1;
	}
	return 0;
}

static void cycle_vmem(struct __test_metadata *_metadata)
{
	ASSERT_EQ(0, vmem_resize(2 * block_size()));
	ASSERT_EQ(0, vmem_resize(0));
	ASSERT_EQ(0, blocks_wait(vmem_property("memaddr"), 16 * GiB, 0, PATIENCE));
}

static void cycle_dimm(struct __test_metadata *_metadata)
{
	struct dimm d = { .id = "d0", .size = block_size() };

	ASSERT_EQ(0, dimm_plug(&d));
	ASSERT_EQ(0, blocks_set(d.addr, d.size, "online_movable"));
	ASSERT_EQ(0, dimm_unplug(&d));
}

struct cache {
	char name[64];
	long objects;
	long per_slab;
};

static long slab_number(const char *cache, const char *file)
{
	char path[512], buf[256];

	snprintf(path, sizeof(path), SLABS "/%s/%s", cache, file);
	return read_file(path, buf, sizeof(buf)) > 0 ? atol(buf) : 0;
}

/* Objects in use, by cache, the last of which has no name; malloc'ed */
static struct cache *count_objects(void)
{
	struct cache *caches = calloc(1, sizeof(*caches)), *c;
	char line[512];
	int n = 0;
	FILE *f;

	shrink_slabs();
	/* kfree_rcu() frees within seconds, for one what sysfs had for the files just used */
	sleep(8);
	f = fopen("/proc/slabinfo", "r");
	while (f && fgets(line, sizeof(line), f)) {
		c = caches + n;
		if (sscanf(line, "%63s %ld %*d %*d %ld", c->name, &c->objects, &c->per_slab) == 3)
			caches = realloc(caches, (++n + 1) * sizeof(*caches));
	}
	caches[n] = (struct cache) { };
	if (f)
		fclose(f);
	return caches;
}

static long total(const struct cache *caches)
{
	long n = 0;

	for (; *caches->name; caches++)
		n += caches->objects;
	return n;
}

/* Who allocated at least @least objects of a cache, with its call chain */
static void show_callers(const char *cache, long least)
{
	char path[512], line[512];
	bool show = false;
	FILE *f;

	/* page_owner has objects of that for call chains: one more, and this reads for ever */
	if (!strcmp(cache, "kmalloc-16") && !access(DEBUGFS "/page_owner", F_OK))
		return;
	snprintf(path, sizeof(path), DEBUGFS "/slab/%s/alloc_traces", cache);
	f = fopen(path, "r");
	while (f && fgets(line, sizeof(line), f)) {
		if (isdigit(line[strspn(line, " ")]))
			show = atol(line) >= least;
		if (show)
			fprintf(stderr, "#   %s", line);
	}
	if (f)
		fclose(f);
}

/*
 * Say which caches have at least @least objects more in use than before, and that beyond
 * the slabs that CPUs allocate from, all of which counts unless it is debugged. Not dentries,
 * inodes and what else is there until it is reclaimed.
 */
static int name_caches(const struct cache *before, const struct cache *after, long least)
{
	long more, cpus = sysconf(_SC_NPROCESSORS_ONLN);
	const struct cache *was;
	int n = 0;

	for (; *after->name; after++) {
		for (was = before; *was->name && strcmp(was->name, after->name); was++)
			;
		more = after->objects - was->objects;
		if (more < least || slab_number(after->name, "reclaim_account") ||
		    (more < cpus * after->per_slab && !slab_number(after->name, "store_user")))
			continue;
		fprintf(stderr, "# %ld objects more (%ld) in %s\n", more, after->objects,
			after->name);
		show_callers(after->name, least);
		n++;
	}
	return n;
}

FIXTURE(leaks) { };

FIXTURE_VARIANT(leaks) {
	void (*cycle)(struct __test_metadata *_metadata);
};

FIXTURE_VARIANT_ADD(leaks, dimm) { .cycle = cycle_dimm };
FIXTURE_VARIANT_ADD(leaks, virtio_mem) { .cycle = cycle_vmem };
FIXTURE_VARIANT_ADD(leaks, dax) { .cycle = cycle_dax };

FIXTURE_SETUP(leaks)
{
	if (qmp_open())
		SKIP(return, "needs QEMU's monitor at " PORT_QMP);
	if (variant->cycle == cycle_vmem && !vmem_property("memaddr"))
		SKIP(return, "needs a virtio-mem device with the id vmem0");
	if (variant->cycle == cycle_dax && make_dax())
		SKIP(return, "needs an NVDIMM and ndctl");
	write_file(AUTO_ONLINE, variant->cycle == cycle_vmem ? "online_movable" : "offline");
}

FIXTURE_TEARDOWN(leaks)
{
}

/* Over many cycles of add, use and remove nothing grows */
TEST_F_TIMEOUT(leaks, repeated, 7200)
{
	const char *s = getenv("CYCLES");
	long cycles = s ? atol(s) : 50, was[ARRAY_SIZE(figures)], free_before, lost;
	/* Not all may show: of an object that leaks with each cycle */
	long least = cycles - cycles / 10 < FEW ? cycles - cycles / 10 : FEW;
	char *before, *after, *picture_before;
	struct cache *caches_before, *caches_after;
	unsigned int i;
	long k;

	log_start();
	for (k = 0; k < WARM_UP; k++)
		variant->cycle(_metadata);
	picture_before = picture();
	before = owners();
	caches_before = count_objects();
	/* Behind what this itself takes */
	free_before = free_kb();
	for (i = 0; i < ARRAY_SIZE(figures); i++)
		was[i] = meminfo_kb(figures[i]);

	for (k = 0; k < cycles; k++)
		variant->cycle(_metadata);

	/* In slabs, which also are there for what others have, objects are counted */
	for (i = 0; i < 10; i++) {
		lost = free_before - free_kb() - (meminfo_kb("Slab") - was[0]);
		lost /= getpagesize() / 1024;
		if (lost < FEW)
			break;
		/* Slabs that kfree_rcu() empties between the two look lost: what is stays so */
		sleep(1);
	}
	caches_after = count_objects();
	TH_LOG("%ld cycles: %ld pages less are free, slabs apart", cycles, lost);
	for (i = 0; i < ARRAY_SIZE(figures); i++) {
		long kb = meminfo_kb(figures[i]);

		TH_LOG("%s %+ld kB, now %ld", figures[i], kb - was[i], kb);
		/* Slabs apart, which are there for what others have, too */
		if (i)
			EXPECT_LT((kb - was[i]) / (getpagesize() / 1024), FEW);
	}
	EXPECT_EQ(0, same_picture(picture_before));
	EXPECT_EQ(0, log_clean());

	/* A page that leaks with each cycle shows here, an object below */
	EXPECT_LT(lost, FEW);
	EXPECT_LT(0, total(caches_before)) {
		TH_LOG("needs CONFIG_SLUB_DEBUG");
	}
	EXPECT_EQ(0, name_caches(caches_before, caches_after, least));
	EXPECT_EQ(0, memmap_same(before));
	after = owners();
	EXPECT_EQ(0, after ? name_owners(before, after, FEW / 2, NULL) : 0);
	free(after);
	free(before);
	free(caches_after);
	free(caches_before);
	free(picture_before);
}

TEST_HARNESS_MAIN
