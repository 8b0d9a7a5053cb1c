// SPDX-License-Identifier: GPL-2.0
/*
 * Not a test by itself: memory comes and goes, for somebody outside to count
 * what that costs. Arguments are sizes in GiB: a DIMM of that size is added and
 * removed; after "online" put online and offline meanwhile; after "virtio-mem"
 * that device is resized to it and to nothing. Or "dax": an NVDIMM without labels
 * becomes a DAX device, whose memory is ZONE_DEVICE, and ceases to be one.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "util.h"

/* Where in a trace it begins */
static void mark(const char *what)
{
	write_file("/sys/kernel/tracing/trace_marker", what);
}

static int dimm_cycle(uint64_t size, int online)
{
	struct dimm d = { .id = "d0", .size = size };

	mark("plug");
	if (dimm_plug(&d))
		return -1;
	if (online && (blocks_set(d.addr, size, "online_movable") ||
		       blocks_set(d.addr, size, "offline")))
		return -1;
	mark("unplug");
	return dimm_unplug(&d);
}

static int vmem_cycle(uint64_t size)
{
	/* More than a GiB comes only when what is there was put online */
	write_file(MEMORY "/auto_online_blocks", "online_movable");
	mark("plug");
	if (vmem_resize(size))
		return -1;
	mark("unplug");
	return vmem_resize(0);
}

#define ND	"/sys/bus/nd/"

static int dax_cycle(void)
{
	char align[32];

	snprintf(align, sizeof(align), "%ld", sysconf(_SC_PAGESIZE));
	return write_file(ND "drivers/nd_pmem/unbind", "namespace0.0") ||
	       write_file(ND "devices/dax0.0/uuid",
			  "00000000-0000-4000-8000-000000000001") ||
	       write_file(ND "devices/dax0.0/align", align) ||
	       write_file(ND "devices/dax0.0/mode", "ram") ||
	       write_file(ND "devices/dax0.0/namespace", "namespace0.0") ||
	       write_file(ND "drivers/dax_pmem/bind", "dax0.0") ||
	       write_file("/sys/bus/dax/drivers/device_dax/unbind", "dax0.0");
}

int main(int argc, char **argv)
{
	int i, ret = qmp_open(), online = 0, vmem = 0;

	for (i = 1; i < argc && !ret; i++) {
		if (!strcmp(argv[i], "online"))
			online = 1;
		else if (!strcmp(argv[i], "dax"))
			ret = dax_cycle();
		else if (!strcmp(argv[i], "virtio-mem"))
			vmem = 1;
		else if (vmem)
			ret = vmem_cycle(strtoull(argv[i], NULL, 0) * GiB);
		else
			ret = dimm_cycle(strtoull(argv[i], NULL, 0) * GiB, online);
	}
	return !!ret;
}
