/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the parts of the simulator share: operations, and one machine for each
 * geometry (sim.c, compiled once for each).
 */
#ifndef SIM_H
#define SIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum verb {
	PLACE,		/* put a window somewhere: .fail is an enum place */
	CPU,		/* .flags: what the CPU is like */
	RESERVED,	/* a table of boot memory at .start, of level .fail - 1 */
	CONSTRUCTED,	/* a table of another user of kernel tables, likewise */
	FOREIGN,	/* a mapping of somebody else's, outside of the region */
	MAP,		/* map_hotplug_range() */
	POPULATE,	/* what generic code does to make a memmap */
	DETACH,		/* unmap_hotplug_range(), and leave the batch open */
	UNMAP,		/* the same, and finish the batch */
	NR_VERBS
};

enum place { PLACE_START, PLACE_MIDDLE, PLACE_END, PLACE_TOP, NR_PLACES };
enum window { LIN, VMM, NR_WINDOWS };

/* Flags of operations */
#define F_NOBLOCK	0x01
#define F_NOCONT	0x02
#define F_EXEC		0x04
#define F_SKEW		0x08	/* physical address one page off */
#define F_BLOCK		0x10	/* a memmap of blocks */
#define F_ALTMAP	0x20	/* a memmap in the memory it describes */
#define F_NORANGE	0x40	/* CPU without TLB range instructions */
#define F_ERRATUM	0x80	/* CPU that needs TLBI and DSB repeated */
#define F_BOOT		0x100	/* a memmap of reserved pages, as boot memory's */
#define F_LATE		0x400	/* a memmap's range begins within its first page ... */
#define F_EARLY		0x800	/* ... ends within its last: subsections share them */
#define F_SKEWC		0x1000	/* a contiguous group of pages off */
#define F_SKEWM		0x2000	/* a block (PMD) off, as memory on 64K may be */
#define F_UNCHECKED	0x200	/* a caller's mistake: has to warn, and no more */

#define FAIL_EACH	255

/* One step. Positions are in pages, relative to where the window was placed */
struct op {
	unsigned char verb;
	unsigned char window;
	unsigned char fail;	/* the allocation that fails, FAIL_EACH: in turn */
	unsigned short flags;
	long start;
	long end;
};

#define MAX_OPS		256

/* What a run leaves behind, in memory shared with who started it */
struct report {
	char rule[32];		/* the rule that was broken, "" if none */
	char text[256];
	char leaves[2048];	/* what is mapped at the end, in text form */
	unsigned long calls;	/* of the engine, and of generic code's populate */
	unsigned int nr_ops;
	struct op ops[MAX_OPS];	/* the sequence that runs */
};

extern struct report *report;

/* Stop this run: @rule was broken. Never returns */
void broken(const char *rule, const char *fmt, ...)
	__attribute__((noreturn, format(printf, 2, 3)));

/* Where the random bytes that make up a sequence come from */
struct source {
	const uint8_t *data;	/* NULL: from the generator with this state */
	size_t left;
	uint64_t state;
};

/* One for each geometry: exported by sim.o under its name */
struct geometry {
	const char *name;
	unsigned int levels;
	const char *fallback;	/* name with fewer VA bits in use, or NULL */
	long unit[5];		/* pages in each of UNITS */
	void (*reset)(bool fallback);
	void (*step)(const struct op *op);
	bool (*generate)(struct op *op, struct source *source);
	void (*finish)(bool everything_goes);
	void (*leaves)(char *text, size_t size);
	void (*random_devices)(struct source *source);
};

/* page, contiguous pages, block (PMD), contiguous blocks, what is above (PUD) */
#define UNITS "pcmku"

/* From the Makefile: GEOMETRIES names them, GEOMETRY_POINTERS points to them */
extern const struct geometry GEOMETRIES;
static const struct geometry * const geometries[] = { GEOMETRY_POINTERS };

#define ARRAY_SIZE(array)	(sizeof(array) / sizeof((array)[0]))
#define NR_GEOMETRIES		ARRAY_SIZE(geometries)

/* One directed case */
struct directed {
	const char *name;
	const char *steps;
	const char *leaves;	/* what is mapped at the end */
	const char *only;	/* the geometries it is for, NULL: all */
};

/* No contiguous group is in the root: one of blocks takes three levels */
#define THREE_LEVELS "at least three"
#define TWO_LEVELS "just two"

extern const struct directed directed_cases[];
extern const unsigned int nr_directed_cases;

char *format_pages(char *to, const struct geometry *geo, long pages);
void format_ops(char *to, size_t size, const struct geometry *geo,
		const struct op *ops, unsigned int nr);
unsigned int parse_ops(const struct geometry *geo, const char *text,
		       struct op *ops);
void normalize_leaves(char *to, size_t size, const struct geometry *geo,
		      const char *text);
void random_sequence(const struct geometry *geo, bool fallback,
		     struct source *source, unsigned int length);

#endif /* SIM_H */
