// SPDX-License-Identifier: GPL-2.0-only
/*
 * Memory hotplug on arm64: the entry points that generic code calls. The page
 * tables themselves are changed by hotplug_pgtable.c.
 */
#define pr_fmt(fmt) "hotplug: " fmt

#include <linux/build_bug.h>
#include <linux/init.h>
#include <linux/ktime.h>
#include <linux/memblock.h>
#include <linux/memory_hotplug.h>
#include <linux/memremap.h>
#include <linux/mm.h>
#include <linux/mmzone.h>
#include <linux/pfn.h>
#include <linux/set_memory.h>
#include <linux/sizes.h>
#include <linux/swap.h>
#include <linux/vmstat.h>

#include <asm/fixmap.h>
#include <asm/memory.h>
#include <asm/pgalloc.h>
#include <asm/pgtable.h>
#include <asm/virt.h>

#include "hotplug.h"

#define CREATE_TRACE_POINTS
#include "trace_hotplug.h"

/*
 * The batch of the arch_remove_memory() or arch_add_memory() that runs, and the memmap
 * that is to go with it. mem_hotplug_lock guards them.
 */
static struct hotplug_batch *active_batch;
static struct {
	unsigned long start;
	unsigned long end;
	struct vmem_altmap *altmap;
} unused_memmap;

/*
 * Whether @need pages for page tables and memmap can be had without dipping into
 * what the kernel keeps for others: free pages and what can be reclaimed of the LRU
 * lists (of slabs nobody knows how much can), but not those of ZONE_MOVABLE or CMA;
 * what is not free of CMA may be what could be reclaimed; nor what lower zones keep
 * for lower addresses, and any for who cannot wait.
 * As much again stays: taking many pages boosts watermarks by up to a page block or
 * 1.5 times the high one (vm.watermark_boost_factor) and fills the lists of each CPU,
 * and memory blocks have devices. Slabs and processes' page tables take whole pages,
 * however few fit between the watermarks: some hundred.
 */
static bool pages_to_spare(unsigned long need)
{
	unsigned long swap = max(get_nr_swap_pages(), 0L);
	struct zone *zone;

	for_each_populated_zone(zone) {
		unsigned long cma = zone_cma_pages(zone);
		unsigned long free_cma = min(cma, zone_page_state(zone, NR_FREE_CMA_PAGES));
		unsigned long have, lru, anon, keep = high_wmark_pages(zone);
		unsigned long more = max(3 * keep, 512UL);

		if (zone_idx(zone) > ZONE_NORMAL)
			continue;
		if (zone_managed_pages(zone) >= 4 * pageblock_nr_pages)
			more += pageblock_nr_pages;
		keep += min(need, more) + zone->lowmem_reserve[ZONE_NORMAL] +
			READ_ONCE(zone->nr_free_highatomic);
		anon = zone_page_state(zone, NR_ZONE_INACTIVE_ANON) +
		       zone_page_state(zone, NR_ZONE_ACTIVE_ANON);
		anon = min(anon, swap);
		swap -= anon;
		lru = anon + zone_page_state(zone, NR_ZONE_INACTIVE_FILE) +
		      zone_page_state(zone, NR_ZONE_ACTIVE_FILE);
		have = zone_page_state(zone, NR_FREE_PAGES) + lru;
		have -= min(have, free_cma + min(lru, cma - free_cma));
		if (have > keep + need)
			return true;
		if (have > keep)
			need -= have - keep;
	}
	return false;
}

/*
 * Refuse at once what cannot succeed. Allocations that fail only when the last
 * free page is gone would leave none for anyone else meanwhile, and it would be
 * somebody else who meets the OOM killer.
 */
static bool enough_memory(u64 size, const struct mhp_params *params,
			  unsigned int flags)
{
	unsigned long leaf = flags & HOTPLUG_NO_BLOCK ? PAGE_SIZE : PMD_SIZE;
	unsigned long need = size / leaf / PTRS_PER_PTE;

	if (!params->altmap)
		need += (size >> PAGE_SHIFT) * sizeof(struct page) / PAGE_SIZE;

	return pages_to_spare(need);
}

static void unmap_linear(unsigned long start, u64 size,
			 struct hotplug_batch *batch)
{
	unmap_hotplug_range(start, start + size, _PAGE_OFFSET(vabits_actual),
			    PAGE_END, HOTPLUG_LINEAR, batch);
}

static void unmap_memmap(unsigned long start, unsigned long end,
			 struct vmem_altmap *altmap, struct hotplug_batch *batch)
{
	batch->altmap = altmap;
	/* Where fewer VA bits are in use, vmalloc ends above VMEMMAP_START */
	unmap_hotplug_range(start, end, VMALLOC_END + SZ_8M, VMEMMAP_END,
			    HOTPLUG_VMEMMAP, batch);
}

static void unmap_unused_memmap(struct hotplug_batch *batch)
{
	if (unused_memmap.end)
		unmap_memmap(unused_memmap.start, unused_memmap.end,
			     unused_memmap.altmap, batch);
	unused_memmap.end = 0;
}

/**
 * arch_add_memory() - map a range and give it a memmap
 * @nid:	node that the memory belongs to
 * @start:	physical address, subsection aligned
 * @size:	bytes, a multiple of a subsection
 * @params:	attributes of the mapping, and where the memmap comes from
 *
 * Context: process context, mem_hotplug_lock held for write. Sleeps.
 *
 * Return: 0, -E2BIG if the linear map cannot hold the range, -EEXIST if any
 * of it is there already, -EINVAL if it is not aligned or @params->altmap is not
 * its, -ENOMEM. On error nothing has changed.
 */
int arch_add_memory(int nid, u64 start, u64 size, struct mhp_params *params)
{
	unsigned int flags = HOTPLUG_NO_EXEC;
	unsigned long va = __phys_to_virt(start);
	u64 end = start + size - 1;
	u64 began = trace_hotplug_add_enabled() ? ktime_get_ns() : 0;
	struct hotplug_batch batch;
	unsigned long tables = 0;
	int ret;

	ret = -E2BIG;
	if (!mhp_range_allowed(start, size, true))
		goto out;

	if (can_set_direct_map())
		flags |= HOTPLUG_NO_BLOCK | HOTPLUG_NO_CONT;

	ret = -ENOMEM;
	if (!enough_memory(size, params, flags))
		goto out;

	ret = map_hotplug_range(va, va + size, start, params->pgprot, flags,
				&tables);
	if (ret)
		goto out;

	/* If it fails, what it had added goes together */
	hotplug_batch_init(&batch);
	active_batch = &batch;
	ret = __add_pages(nid, PHYS_PFN(start), PHYS_PFN(size), params);
	active_batch = NULL;
	if (ret) {
		unmap_unused_memmap(&batch);
		unmap_linear(va, size, &batch);
		hotplug_batch_finish(&batch);
		tables = 0;
		goto out;
	}

	/* Address of hotplugged memory can be smaller */
	max_pfn = max(max_pfn, PFN_UP(start + size));
	max_low_pfn = max_pfn;
out:
	trace_hotplug_add(start, size, tables, began, ret);
	if (ret)
		pr_err("adding [mem %#018llx-%#018llx] failed: %pe\n", start,
		       end, ERR_PTR(ret));
	return ret;
}

/*
 * Widen [*start, *end), the memmap of subsections that have just gone, by that
 * of the dead subsections beside them: on 16K and 64K a page of memmap serves
 * several subsections, and whoever goes last takes it along.
 */
static void widen_to_dead(unsigned long *start, unsigned long *end)
{
	unsigned long pfn = page_to_pfn((struct page *)*start);
	unsigned long first = ALIGN_DOWN(pfn, PAGES_PER_SECTION);
	struct mem_section_usage *usage;
	unsigned int lo, hi;

	if (*end - *start == PAGES_PER_SECTION * sizeof(struct page))
		return;

	usage = __pfn_to_section(pfn)->usage;
	lo = subsection_map_index(pfn);
	hi = lo + (*end - *start) / (PAGES_PER_SUBSECTION * sizeof(struct page));
	if (usage) {
		while (lo && !test_bit(lo - 1, usage->subsection_map))
			lo--;
		hi = find_next_bit(usage->subsection_map,
				   SUBSECTIONS_PER_SECTION, hi);
	} else {
		lo = 0;
		hi = SUBSECTIONS_PER_SECTION;
	}

	*start = (unsigned long)pfn_to_page(first + lo * PAGES_PER_SUBSECTION);
	*end = *start + (hi - lo) * PAGES_PER_SUBSECTION * sizeof(struct page);
}

/**
 * vmemmap_free() - take away the memmap of subsections of one section
 * @start:	address of the first struct page
 * @end:	end of the last (exclusive)
 * @altmap:	where the backing pages came from, NULL for RAM
 *
 * A backing page goes when no live subsection uses any part of it. Within
 * arch_remove_memory() all of it is unmapped at the end of that: sections come
 * in their order, so their memmap is one piece. In an add that fails it is two:
 * the section that failed comes first. Else it goes before this returns. Copes
 * with a memmap that was populated only in part.
 *
 * Context: process context, mem_hotplug_lock held for write. Sleeps.
 */
void vmemmap_free(unsigned long start, unsigned long end,
		  struct vmem_altmap *altmap)
{
	mem_hotplug_assert_write_held();
	widen_to_dead(&start, &end);

	if (!active_batch) {
		struct hotplug_batch own;

		hotplug_batch_init(&own);
		unmap_memmap(start, end, altmap, &own);
		hotplug_batch_finish(&own);
		return;
	}

	/* What was widened may begin before the last one's end */
	if (start > unused_memmap.end || end < unused_memmap.start) {
		unmap_unused_memmap(active_batch);
		unused_memmap.start = start;
		unused_memmap.end = end;
		unused_memmap.altmap = altmap;
		return;
	}
	unused_memmap.start = min(unused_memmap.start, start);
	unused_memmap.end = max(unused_memmap.end, end);
}

/**
 * arch_remove_memory() - take away the memmap and the mapping of a range
 * @start:	physical address, subsection aligned
 * @size:	bytes, a multiple of a subsection
 * @altmap:	where the memmap's backing pages came from, NULL for RAM
 * @pgmap:	ZONE_DEVICE only
 *
 * One batch covers all of it, so whatever is flushed is flushed once. When this
 * returns, no CPU reaches the range any more and @altmap is accounted for.
 *
 * Context: process context, mem_hotplug_lock held for write. Sleeps. Of the callers
 * try_remove_memory() has asked arch_check_remove_memory(). The others take back,
 * whole, what they have added themselves: no boot memory, and no leaf is split.
 */
void arch_remove_memory(u64 start, u64 size, struct vmem_altmap *altmap,
			struct dev_pagemap *pgmap)
{
	u64 began = trace_hotplug_remove_enabled() ? ktime_get_ns() : 0;
	struct hotplug_batch batch;
	unsigned long memmap_tables;

	mem_hotplug_assert_write_held();
	hotplug_batch_init(&batch);

	active_batch = &batch;
	__remove_pages(PHYS_PFN(start), PHYS_PFN(size), altmap, pgmap);
	active_batch = NULL;
	unmap_unused_memmap(&batch);
	memmap_tables = batch.nr_tables;

	unmap_linear(__phys_to_virt(start), size, &batch);
	hotplug_batch_finish(&batch);

	trace_hotplug_remove(start, size, memmap_tables, &batch, began);
}

/**
 * arch_get_mappable_range() - the physical addresses the linear map can hold
 *
 * Return: first and last address, both inclusive.
 */
struct range arch_get_mappable_range(void)
{
	struct range range = {
		.start = __pa(_PAGE_OFFSET(vabits_actual)),
		.end = __pa(PAGE_END - 1),
	};

	/* A randomized linear map can begin below physical address 0 */
	if (range.start > range.end)
		range.start = 0;

	/* At EL2 without VHE KVM can map 51 bits, see arm64_memblock_init() */
	if (IS_ENABLED(CONFIG_KVM) && vabits_actual == 52 &&
	    is_hyp_mode_available() && !is_kernel_in_hyp_mode())
		range.end = min(range.end, (u64)memstart_addr + BIT(51) - 1);

	return range;
}

/* ---- tables that the linear map or the memmap shares with other regions ---- */

/* Where the memmap of the linear map begins when @va address bits are in use */
#define MEMMAP_START(va)						\
	(VMEMMAP_START + ((_PAGE_OFFSET(va) - PAGE_OFFSET) >> PAGE_SHIFT) * \
			 sizeof(struct page))

/* Whether entries that span 1 << @shift bytes serve both addresses */
#define SAME_ENTRY(a, b, shift)	(!(((a) ^ (b)) >> (shift)))

/* Tables that the linear map or the memmap shares above are fixmap's: static */
#define SHARED_IS_STATIC(a, b, shift)					\
	(!SAME_ENTRY(a, b, shift) ||					\
	 SAME_ENTRY(a, FIXADDR_TOP - 1, shift))

#define CHECK_SHARED(a, b)						\
	static_assert(SHARED_IS_STATIC(a, b, PGDIR_SHIFT) &&		\
		      SHARED_IS_STATIC(a, b, P4D_SHIFT) &&		\
		      SHARED_IS_STATIC(a, b, PUD_SHIFT))

/* Floors, ceilings and hotplug_share_tables() rest on this */
static_assert(VMALLOC_START == MODULES_END);
static_assert(VMEMMAP_END <= PCI_IO_START);
CHECK_SHARED(_PAGE_END(VA_BITS_MIN) - 1, MODULES_VADDR);
CHECK_SHARED(VMEMMAP_END - 1, PCI_IO_START);

/* No last-level table is shared */
static_assert(IS_ALIGNED(_PAGE_END(VA_BITS_MIN), PMD_SIZE));
static_assert(IS_ALIGNED(MEMMAP_START(VA_BITS), PMD_SIZE));
static_assert(IS_ALIGNED(MEMMAP_START(VA_BITS_MIN), PMD_SIZE));
static_assert(IS_ALIGNED(VMEMMAP_END, PMD_SIZE));

/* A backing page is mapped once: detach_table() frees what it finds */
static_assert(!IS_ENABLED(CONFIG_ARCH_WANT_OPTIMIZE_HUGETLB_VMEMMAP) &&
	      !IS_ENABLED(CONFIG_ARCH_WANT_OPTIMIZE_DAX_VMEMMAP));

/*
 * vmemmap_populate() installs tables without init_mm.page_table_lock. Those that
 * vmalloc needs too are made here, so that neither finds the entry empty.
 */
static int __init hotplug_share_tables(void)
{
	unsigned long addr = MEMMAP_START(vabits_actual);
	unsigned long below = VMALLOC_END - 1;
	p4d_t *p4dp;
	pud_t *pudp;

	if (!SAME_ENTRY(below, addr, PGDIR_SHIFT))
		return 0;
	p4dp = p4d_alloc(&init_mm, pgd_offset_k(addr), addr);
	if (!p4dp)
		return -ENOMEM;

	if (!SAME_ENTRY(below, addr, P4D_SHIFT))
		return 0;
	pudp = pud_alloc(&init_mm, p4dp, addr);
	if (!pudp)
		return -ENOMEM;

	if (!SAME_ENTRY(below, addr, PUD_SHIFT))
		return 0;
	return pmd_alloc(&init_mm, pudp, addr) ? 0 : -ENOMEM;
}
early_initcall(hotplug_share_tables);
