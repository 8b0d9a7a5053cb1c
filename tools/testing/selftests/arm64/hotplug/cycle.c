// SPDX-License-Identifier: GPL-2.0
/*
 * Not a test by itself: add and remove one DIMM of 8 GiB, never put online, for
 * somebody outside to count what that costs.
 */
#include "util.h"

int main(void)
{
	struct dimm d = { .id = "d0", .size = 8 * GiB };

	return qmp_open() || dimm_plug(&d) || dimm_unplug(&d);
}
