// SPDX-License-Identifier: GPL-2.0
/*
 * Not a test by itself: print how hot-added ranges of several sizes are mapped,
 * to be compared between kernels (boot them with nokaslr).
 */
#include <stdio.h>
#include <stdlib.h>

#include "../../kselftest.h"
#include "util.h"

int main(void)
{
	uint64_t block = block_size();
	struct dimm d[] = {
		{ .id = "d0", .size = block },
		{ .id = "d1", .size = 3 * block },
		{ .id = "d2", .size = 33 * block },
		/* On 64K a contiguous group of blocks is 16 GiB */
		{ .id = "d3", .size = 64 * block },
	};
	char *before, *after, *lines;
	unsigned int i;

	if (qmp_open())
		return 1;
	for (i = 0; i < ARRAY_SIZE(d); i++) {
		before = picture();
		if (dimm_plug(&d[i]))
			return 1;
		after = picture();
		lines = new_mappings(before, after);
		printf("%u blocks of %llu MiB at %#llx\n%s",
		       (unsigned int)(d[i].size / block),
		       (unsigned long long)(block / MiB),
		       (unsigned long long)d[i].addr, lines);
		free(before);
		free(after);
		free(lines);
	}
	return 0;
}
