// SPDX-License-Identifier: GPL-2.0-only
/*
 * The same operations, chosen by libFuzzer: the first byte of an input is the
 * geometry, the others are what sim.c's generate() would draw at random.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "sim.h"

static struct report the_report;
struct report *report = &the_report;
static const struct geometry *geo;

void broken(const char *rule, const char *fmt, ...)
{
	static char text[32768];
	va_list args;

	fprintf(stderr, "rule: %s\n", rule);
	va_start(args, fmt);
	vfprintf(stderr, fmt, args);
	va_end(args);
	format_ops(text, sizeof(text), geo, report->ops, report->nr_ops);
	fprintf(stderr, "\n%s: %s\n", geo->name, text);
	abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct source source = { .data = data + 1, .left = size - 1 };
	bool fallback;

	if (size < 2)
		return 0;
	geo = geometries[*data % NR_GEOMETRIES];
	fallback = geo->fallback && *data / NR_GEOMETRIES % 2;
	random_sequence(geo, fallback, &source, MAX_OPS);
	return 0;
}
