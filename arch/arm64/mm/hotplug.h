/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Memory hotplug on arm64: what hotplug.c, hotplug_bootmem.c and the engine in
 * hotplug_pgtable.c share. Nobody else includes it.
 */
#ifndef __ARM64_MM_HOTPLUG_H
#define __ARM64_MM_HOTPLUG_H

#include <linux/bits.h>
#include <linux/list.h>
#include <linux/types.h>

#include <asm/pgtable-types.h>

struct vmem_altmap;

/* Flags of map_hotplug_range() */
#define HOTPLUG_NO_BLOCK	BIT(0)	/* last-level leaves only */
#define HOTPLUG_NO_CONT		BIT(1)	/* no contiguous groups */
#define HOTPLUG_NO_EXEC		BIT(2)	/* new tables carry PXNTable */

/**
 * enum hotplug_what - what the leaves of a range map
 * @HOTPLUG_LINEAR:	memory that belongs to somebody else: leaves are
 *			cleared, and those of detached last-level tables not
 *			even read
 * @HOTPLUG_VMEMMAP:	the memmap's backing pages: freed with their leaves
 */
enum hotplug_what {
	HOTPLUG_LINEAR,
	HOTPLUG_VMEMMAP,
};

/* The linear map, the memmap of one range, and room for a second of each */
#define HOTPLUG_BATCH_RANGES	4

/**
 * struct hotplug_batch - what one removal has detached and not yet freed
 * @tables:		detached page tables, linked by page->lru
 * @memmap:		detached memmap backing pages, linked by page->lru, the
 *			order of each in page->private
 * @altmap:		where backing pages of the range at hand may come from;
 *			these are only accounted. NULL: all come from RAM
 * @start:		first byte of each range touched
 * @last:		last byte of each range touched
 * @nr_ranges:		how many ranges there are
 * @flush_all:		there were too many: flush everything
 * @busy:		pages collected or freed since the last scheduling point
 * @nr_tables:		tables detached
 * @nr_memmap:		memmap pages detached, in units of PAGE_SIZE
 * @nr_flushes:		invalidations: one for each range, or one for all
 *
 * Nothing is allocated to keep track of a page: it is linked through its own
 * struct page. Lives on the caller's stack, between hotplug_batch_init() and
 * hotplug_batch_finish(), under mem_hotplug_lock held for write.
 */
struct hotplug_batch {
	struct list_head tables;
	struct list_head memmap;
	struct vmem_altmap *altmap;
	unsigned long start[HOTPLUG_BATCH_RANGES];
	unsigned long last[HOTPLUG_BATCH_RANGES];
	unsigned int nr_ranges;
	bool flush_all;
	unsigned int busy;
	unsigned long nr_tables;
	unsigned long nr_memmap;
	unsigned long nr_flushes;
};

void hotplug_batch_init(struct hotplug_batch *batch);
void hotplug_batch_finish(struct hotplug_batch *batch);

int map_hotplug_range(unsigned long start, unsigned long end, phys_addr_t phys,
		      pgprot_t prot, unsigned int flags,
		      unsigned long *nr_tables);
void unmap_hotplug_range(unsigned long start, unsigned long end,
			 unsigned long floor, unsigned long ceiling,
			 enum hotplug_what what, struct hotplug_batch *batch);
bool hotplug_range_splits_leaf(unsigned long start, unsigned long end);

#endif /* __ARM64_MM_HOTPLUG_H */
