// SPDX-License-Identifier: GPL-2.0
/*
 * Nothing stays behind: CYCLES (environment; 50) times a DIMM comes, is used and
 * goes. What is free, in slabs, in page tables and in vmalloc is compared to the
 * page; with page_owner=on whoever allocated what stayed is named.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../../kselftest_harness.h"
#include "util.h"

#define STACKS "/sys/kernel/debug/page_owner_stacks/show_stacks"

/* Enough for what is allocated once, at first use, to be there */
#define WARM_UP	10

static const char *const figures[] = {
	"Slab", "PageTables", "SecPageTables", "KernelStack", "VmallocUsed", "Percpu",
};

static void cycle(struct __test_metadata *_metadata)
{
	struct dimm d = { .id = "d0", .size = block_size() };

	ASSERT_EQ(0, dimm_plug(&d));
	ASSERT_EQ(0, blocks_set(d.addr, d.size, "online_movable"));
	ASSERT_EQ(0, dimm_unplug(&d));
}

/* All of a file that has no size, malloc'ed, or NULL */
static char *read_all(const char *path)
{
	FILE *f = fopen(path, "r");
	size_t len = 0, size = 1 << 20, n;
	char *text = f ? malloc(size) : NULL;

	while (text && (n = fread(text + len, 1, size - len - 1, f)) > 0) {
		len += n;
		if (size - len < 4096)
			text = realloc(text, size *= 2);
	}
	if (text)
		text[len] = 0;
	if (f)
		fclose(f);
	return text;
}

/* A stack and, behind it, "nr_base_pages: N"; the next one follows an empty line */
static long pages_of(const char *stacks, const char *stack, size_t len)
{
	const char *p = stacks;

	while ((p = strstr(p, stack))) {
		if (p == stacks || p[-1] == '\n')
			return atol(p + len + strlen("nr_base_pages:"));
		p++;
	}
	return 0;
}

/*
 * Say which call chains hold at least @least pages more than before, apart from the
 * memory of processes, this one's
 */
static int name_owners(const char *before, char *after, long least)
{
	char *stack = after, *end;
	int n = 0;

	while (before && (end = strstr(stack, "nr_base_pages:"))) {
		long now = atol(end + strlen("nr_base_pages:")), was;
		char *next = strchr(end, '\n');

		*end = 0;
		was = pages_of(before, stack, end - stack);
		if (now - was >= least && !strstr(stack, "handle_mm_fault")) {
			fprintf(stderr, "# %ld pages more (%ld) of\n%s", now - was, now, stack);
			n++;
		}
		if (!next)
			break;
		stack = next + strspn(next, "\n");
	}
	return n;
}

FIXTURE(leaks) { };

FIXTURE_SETUP(leaks)
{
	if (qmp_open())
		SKIP(return, "needs QEMU's monitor at " PORT_QMP);
}

FIXTURE_TEARDOWN(leaks)
{
}

TEST_F_TIMEOUT(leaks, repeated, 7200)
{
	const char *s = getenv("CYCLES");
	long cycles = s ? atol(s) : 50, was[ARRAY_SIZE(figures)], free_before, lost;
	char *before, *after, *picture_before, *picture_after;
	unsigned int i;
	long k;

	log_start();
	for (k = 0; k < WARM_UP; k++)
		cycle(_metadata);
	picture_before = picture();
	free_before = free_kb();
	before = read_all(STACKS);
	for (i = 0; i < ARRAY_SIZE(figures); i++)
		was[i] = meminfo_kb(figures[i]);

	for (k = 0; k < cycles; k++)
		cycle(_metadata);

	lost = free_before - free_kb();
	TH_LOG("%ld cycles: %ld pages less are free", cycles,
	       lost / (getpagesize() / 1024));
	for (i = 0; i < ARRAY_SIZE(figures); i++) {
		long kb = meminfo_kb(figures[i]);

		TH_LOG("%s %+ld kB, now %ld", figures[i], kb - was[i], kb);
	}
	picture_after = picture();
	EXPECT_EQ(0, same_picture(picture_before, picture_after));
	EXPECT_EQ(0, log_clean());

	/* What leaks with each cycle, leaks at least a page in two of them */
	EXPECT_LT(lost, cycles / 2 * (getpagesize() / 1024) + 512);
	after = read_all(STACKS);
	if (!after)
		TH_LOG("page_owner=on would say who allocated what");
	EXPECT_EQ(0, after ? name_owners(before, after, cycles / 2) : 0);
	free(after);
	free(before);
	free(picture_after);
	free(picture_before);
}

TEST_HARNESS_MAIN
