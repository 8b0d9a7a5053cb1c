// SPDX-License-Identifier: GPL-2.0
/*
 * Not a test: plug a DIMM and resize a virtio-mem device ("vmem0"), and show
 * what becomes of memory and of the kernel's page tables.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "../../kselftest.h"
#include "util.h"

static int memory_blocks(const char *state)
{
	return blocks_in_state(0, 1024 * GiB, state);
}

static void show(const char *when)
{
	printf("  %-12s %6ld MiB memory, %4d memory blocks, %4d of them online\n",
	       when, meminfo_kb("MemTotal") / 1024, memory_blocks(""),
	       memory_blocks("online"));
	fflush(stdout);
}

static void show_leaves(const char *before, const char *during)
{
	char *lines = new_mappings(before, during), *line, *save;

	printf("  new in the kernel's page tables (linear map, then memmap):\n");
	for (line = strtok_r(lines, "\n", &save); line;
	     line = strtok_r(NULL, "\n", &save))
		printf("    %s\n", line);
	free(lines);
}

static void show_add(void)
{
	const char *t = trace_line("hotplug_add:");

	if (!t)
		return;
	printf("  adding it took %llu page-table pages for the linear map and %llu us\n",
	       trace_field(t, "tables"), trace_field(t, "ns") / 1000);
}

static void show_remove(void)
{
	const char *t = trace_line("hotplug_remove:");

	if (!t) {
		printf("  what that took this kernel does not say\n");
		return;
	}
	printf("  removing it gave back %llu page-table pages of the linear map,\n"
	       "  %llu of the memmap, and %llu memmap pages (%llu MiB),\n"
	       "  with %llu invalidation(s), in %llu us\n",
	       trace_field(t, "tables"), trace_field(t, "memmap_tables"),
	       trace_field(t, "memmap"),
	       trace_field(t, "memmap") * getpagesize() / MiB,
	       trace_field(t, "flushes"), trace_field(t, "ns") / 1000);
}

static int show_dimm(void)
{
	struct dimm d = { .id = "demo", .size = 4 * GiB };
	char *before = picture(), *during;

	printf("\nA DIMM of 4 GiB\n");
	show("before");
	if (dimm_plug(&d))
		return -1;
	show("plugged");
	show_add();
	during = picture();
	show_leaves(before, during);
	if (blocks_set(d.addr, d.size, "online_movable"))
		return -1;
	show("online");
	if (blocks_set(d.addr, d.size, "offline"))
		return -1;
	show("offline");
	if (dimm_unplug(&d))
		return -1;
	show("unplugged");
	show_remove();
	free(before);
	free(during);
	return 0;
}

static int show_vmem(void)
{
	static const uint64_t sizes[] = { 2 * GiB, GiB / 2, GiB + 256 * MiB, 0 };
	unsigned int i;

	printf("\nA virtio-mem device, resized\n");
	write_file(AUTO_ONLINE, "online_movable");
	show("before");
	trace_start("arm64_hotplug");
	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		char when[32];

		snprintf(when, sizeof(when), "%llu MiB",
			 (unsigned long long)(sizes[i] / MiB));
		if (vmem_resize(sizes[i]))
			return -1;
		show(when);
	}
	printf("  of the last block of many:\n");
	show_remove();
	return 0;
}

int main(void)
{
	struct utsname uts;
	long kb, kb_after;
	char *before;
	int ret;

	if (qmp_open()) {
		fprintf(stderr, "no QEMU monitor at " PORT_QMP "\n");
		return 1;
	}
	uname(&uts);
	printf("Linux %s on %s, pages of %d KiB, memory blocks of %llu MiB\n",
	       uts.release, uts.machine, getpagesize() / 1024,
	       (unsigned long long)(block_size() / MiB));

	log_start();
	/* Its buffers come with the first event */
	trace_start("arm64_hotplug");
	before = picture();
	kb = free_kb();
	ret = show_dimm() || show_vmem() || log_clean();
	kb_after = free_kb();

	printf("\n");
	if (same_picture(before) || ret || labs(kb - kb_after) > noise_kb(1024)) {
		printf("NOT as before: see above (%ld kB free before, %ld kB now)\n",
		       kb, kb_after);
		return 1;
	}
	printf("The kernel's page tables and memory are as they were before\n"
	       "(%ld kB free then, %ld kB now).\n", kb, kb_after);
	return 0;
}
