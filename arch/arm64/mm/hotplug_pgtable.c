// SPDX-License-Identifier: GPL-2.0-only
/*
 * The page-table engine of memory hotplug: adds ranges to init_mm's tables and
 * takes them away again, at every level and granule with one walk.
 *
 * Adding builds, then publishes: subtrees are filled where no walker can see
 * them and are linked into the live tables last, one store each, so a failure
 * leaves no trace. Removing detaches, flushes, then frees: an entry whose whole
 * span goes is cleared once, at the highest level, and what hung below it is
 * freed as it stands after one invalidation.
 *
 * An entry has one format at every level (Arm ARM, D8.3 "Translation table
 * descriptor formats"), so all of them are handled as pte_t.
 */
#include <linux/align.h>
#include <linux/lockdep.h>
#include <linux/memory_hotplug.h>
#include <linux/memremap.h>
#include <linux/mm.h>
#include <linux/sched.h>
#include <linux/smp.h>

#include <asm/barrier.h>
#include <asm/memory.h>
#include <asm/pgtable.h>
#include <asm/tlbflush.h>

#include "hotplug.h"

#define LAST_LEVEL	3
#define ROOT_LEVEL	(4 - CONFIG_PGTABLE_LEVELS)

/* What is collected or freed from one scheduling point to the next */
#define PAGES_AT_ONCE	64

/* Never wake the OOM killer: failing to add memory must cost nobody anything */
#define GFP_HOTPLUG	(GFP_KERNEL | __GFP_RETRY_MAYFAIL | __GFP_NOWARN)

static unsigned long level_mask(int level)
{
	return (1UL << ARM64_HW_PGTABLE_LEVEL_SHIFT(level)) - 1;
}

static unsigned int level_entries(int level)
{
	return level == ROOT_LEVEL ? PTRS_PER_PGD : PTRS_PER_PTE;
}

static unsigned int level_index(unsigned long addr, int level)
{
	return (addr >> ARM64_HW_PGTABLE_LEVEL_SHIFT(level)) &
	       (level_entries(level) - 1);
}

/*
 * Offset mask of the contiguous group that a leaf of @level may be part of. The
 * root has none, as at boot: where it is the PMD, 16K/36 and 64K/42 bits.
 */
static unsigned long cont_mask(int level)
{
	if (level == LAST_LEVEL)
		return ~CONT_PTE_MASK;
	return level == 2 && level != ROOT_LEVEL ? ~CONT_PMD_MASK : 0;
}

/*
 * The root in use. Where LPA2 is configured but the CPU lacks it, the level
 * above is folded and the root is all of swapper_pg_dir's page.
 */
static pte_t *root_table(int *level)
{
	*level = ROOT_LEVEL;
	if ((CONFIG_PGTABLE_LEVELS == 5 && !pgtable_l5_enabled()) ||
	    (CONFIG_PGTABLE_LEVELS == 4 && !pgtable_l4_enabled()))
		(*level)++;

	return (pte_t *)init_mm.pgd;
}

static bool is_table(pte_t entry, int level)
{
	return level < LAST_LEVEL &&
	       (pte_val(entry) & PTE_TYPE_MASK) == PMD_TYPE_TABLE;
}

static pte_t *table_of(pte_t entry)
{
	return __va(__pte_to_phys(entry));
}

/* The root is read-only after boot; there the store goes through the fixmap */
static void set_entry(pte_t *ptep, pteval_t val)
{
	if (in_swapper_pgdir(ptep))
		set_swapper_pgd((pgd_t *)ptep, __pgd(val));
	else
		WRITE_ONCE(*ptep, __pte(val));
}

/*
 * Whether the hotplug code may free @table: tables from boot are reserved, and
 * a table that was constructed is vmalloc's or another generic user's.
 */
static bool may_free_table(pte_t *table)
{
	struct page *page = virt_to_page(table);

	return !PageReserved(page) && !folio_test_pgtable(page_folio(page));
}

/* Whether all of @table is empty, looking at what follows entry number @from first */
static bool table_empty(pte_t *table, unsigned int from)
{
	unsigned int i;

	for (i = 0; i < PTRS_PER_PTE; i++) {
		if (pte_val(READ_ONCE(table[(from + i) % PTRS_PER_PTE])))
			return false;
	}
	return true;
}

/* ---- the batch ---- */

/**
 * hotplug_batch_init() - start collecting
 * @batch:	the batch, any content
 */
void hotplug_batch_init(struct hotplug_batch *batch)
{
	*batch = (struct hotplug_batch) {
		.tables = LIST_HEAD_INIT(batch->tables),
		.memmap = LIST_HEAD_INIT(batch->memmap),
	};
}

/* Note that entries for [start, last] were cleared, wherever they stood */
static void batch_range(struct hotplug_batch *batch, unsigned long start,
			unsigned long last)
{
	unsigned int i;

	for (i = 0; i < batch->nr_ranges; i++) {
		if (start > batch->last[i] + 1 || last < batch->start[i] - 1)
			continue;
		batch->start[i] = min(batch->start[i], start);
		batch->last[i] = max(batch->last[i], last);
		return;
	}

	if (i == HOTPLUG_BATCH_RANGES) {
		batch->flush_all = true;
		return;
	}
	batch->start[i] = start;
	batch->last[i] = last;
	batch->nr_ranges++;
}

/* After each page: a scheduling point for every so many */
static inline void rest(struct hotplug_batch *batch, unsigned int order)
{
	batch->busy += 1U << order;
	if (batch->busy < PAGES_AT_ONCE)
		return;
	batch->busy = 0;
	cond_resched();
}

static void batch_table(struct hotplug_batch *batch, pte_t *table)
{
	list_add_tail(&virt_to_page(table)->lru, &batch->tables);
	batch->nr_tables++;
	rest(batch, 0);
}

static void batch_memmap(struct hotplug_batch *batch, pte_t entry, int level)
{
	struct vmem_altmap *altmap = batch->altmap;
	unsigned int order = ARM64_HW_PGTABLE_LEVEL_SHIFT(level) - PAGE_SHIFT;
	unsigned long pfn = pte_pfn(entry);
	struct page *page;

	batch->nr_memmap += 1UL << order;
	rest(batch, order);

	/* A neighbour that shares the page may have brought it from RAM */
	if (altmap && pfn >= altmap->base_pfn && pfn <= altmap->end_pfn) {
		vmem_altmap_free(altmap, 1UL << order);
		return;
	}

	page = pfn_to_page(pfn);
	if (WARN_ON_ONCE(PageReserved(page)))
		return;
	set_page_private(page, order);
	list_add_tail(&page->lru, &batch->memmap);
}

/* Without FEAT_TLBIRANGE each page takes an instruction: beyond so many, all is less work */
#define MAX_TLBI_PAGES	64

/*
 * One invalidation of every level and ASID (kernel entries are nG under KPTI)
 * for each range, or one of everything where that is less work.
 */
static void batch_flush(struct hotplug_batch *batch)
{
	unsigned long limit = system_supports_tlb_range() ?
			      MAX_TLBI_RANGE_PAGES : MAX_TLBI_PAGES;
	unsigned long pages = 0;
	unsigned int i;

	for (i = 0; i < batch->nr_ranges; i++) {
		pages = max(pages, (batch->last[i] - batch->start[i] + 1) >>
				   PAGE_SHIFT);
	}

	if (batch->flush_all || pages > limit) {
		flush_tlb_all();
		batch->nr_flushes = 1;
		return;
	}

	/* The walkers see what was cleared before anything is invalidated */
	dsb(ishst);
	for (i = 0; i < batch->nr_ranges; i++) {
		unsigned long start = batch->start[i];

		pages = (batch->last[i] - start + 1) >> PAGE_SHIFT;
		__flush_tlb_range_op(vaae1is, start, pages, PAGE_SIZE, 0,
				     TLBI_TTL_UNKNOWN, false,
				     lpa2_is_enabled());
	}
	__tlbi_sync_s1ish();
	isb();
	batch->nr_flushes = batch->nr_ranges;
}

/**
 * hotplug_batch_finish() - flush what a batch touched and free what it holds
 * @batch:	the batch; its counters stay readable, all else is spent
 *
 * No walker, neither a CPU's nor one in software that keeps interrupts off
 * (show_pte(), perf_get_page_size()), can be in a detached table when it is
 * freed.
 *
 * Context: process context, mem_hotplug_lock held for write. Sleeps.
 */
void hotplug_batch_finish(struct hotplug_batch *batch)
{
	struct page *page, *next;

	mem_hotplug_assert_write_held();

	if (batch->nr_ranges)
		batch_flush(batch);
	if (batch->nr_ranges && batch->nr_tables)
		kick_all_cpus_sync();

	list_for_each_entry_safe(page, next, &batch->tables, lru) {
		__free_page(page);
		rest(batch, 0);
	}

	list_for_each_entry_safe(page, next, &batch->memmap, lru) {
		unsigned int order = page_private(page);

		__free_pages(page, order);
		rest(batch, order);
	}
}

/* ---- removing ---- */

struct unmap_walk {
	unsigned long start;
	unsigned long last;
	unsigned long floor;
	unsigned long ceiling;
	enum hotplug_what what;
	struct hotplug_batch *batch;
};

/*
 * Collect @table, which no live entry points to, with all that hangs below it.
 * Its entries stay as they are until it is freed.
 */
static void detach_table(pte_t *table, int level, enum hotplug_what what,
			 struct hotplug_batch *batch)
{
	unsigned int i;

	/* The leaves of the linear map hold nothing that is ours to free */
	if (level == LAST_LEVEL && what == HOTPLUG_LINEAR)
		goto out;

	for (i = 0; i < PTRS_PER_PTE; i++) {
		pte_t entry = READ_ONCE(table[i]);

		if (is_table(entry, level))
			detach_table(table_of(entry), level + 1, what, batch);
		else if (what == HOTPLUG_VMEMMAP && pte_val(entry))
			batch_memmap(batch, entry, level);
	}
	cond_resched();
out:
	batch_table(batch, table);
}

/* Unlink the table that @ptep points to if it is empty and only ours */
static bool free_empty_table(pte_t *ptep, unsigned long addr, int level,
			     struct unmap_walk *walk)
{
	unsigned long first = addr & ~level_mask(level);
	unsigned long last = addr | level_mask(level);
	pte_t *table = table_of(READ_ONCE(*ptep));
	unsigned int from = level_index(walk->last, level + 1);

	if (first < walk->floor || last > walk->ceiling - 1)
		return false;
	if (!may_free_table(table) || !table_empty(table, from))
		return false;

	set_entry(ptep, 0);
	batch_table(walk->batch, table);
	return true;
}

/* Clear [addr, last], which lies in one table, and say whether anything was */
static bool unmap_table(pte_t *table, int level, unsigned long addr,
			unsigned long last, struct unmap_walk *walk)
{
	unsigned long mask = level_mask(level);
	bool cleared = false;
	unsigned long next;

	for (;; addr = next + 1) {
		pte_t *ptep = table + level_index(addr, level);
		pte_t entry = READ_ONCE(*ptep);
		unsigned long span = mask;

		next = min(addr | mask, last);

		if (!pte_val(entry))
			goto next;

		if (is_table(entry, level)) {
			pte_t *child = table_of(entry);

			if (next - addr == mask && may_free_table(child)) {
				set_entry(ptep, 0);
				detach_table(child, level + 1, walk->what,
					     walk->batch);
				cleared = true;
			} else {
				/* An add that failed may have left it empty */
				cleared |= unmap_table(child, level + 1, addr,
						       next, walk);
				cleared |= free_empty_table(ptep, addr, level,
							    walk);
			}
			goto next;
		}

		/* A leaf, or a contiguous group, goes whole or not at all */
		if (pte_cont(entry))
			span = cont_mask(level);
		if ((addr & ~span) < walk->start || (addr | span) > walk->last) {
			WARN_ON_ONCE(walk->what == HOTPLUG_LINEAR);
			goto next;
		}
		set_entry(ptep, 0);
		if (walk->what == HOTPLUG_VMEMMAP)
			batch_memmap(walk->batch, entry, level);
		cleared = true;
next:
		if (next == last)
			return cleared;
	}
}

/**
 * unmap_hotplug_range() - take a range out of init_mm's tables
 * @start:	first virtual address, page aligned unless @what is a memmap
 * @end:	end of the range (exclusive), likewise
 * @floor:	start of the region that the range belongs to: a table that also
 *		serves addresses below it is never freed
 * @ceiling:	end of that region (exclusive)
 * @what:	what the leaves map
 * @batch:	collects what is to be flushed and freed
 *
 * Work on the linear map is in proportion to the tables that go, not to pages.
 * What is not mapped is passed over. A leaf or contiguous group that reaches
 * beyond the range stays whole: ask hotplug_range_splits_leaf() first. The
 * range must not be mapped again before hotplug_batch_finish().
 *
 * Context: process context, mem_hotplug_lock held for write. Sleeps.
 */
void unmap_hotplug_range(unsigned long start, unsigned long end,
			 unsigned long floor, unsigned long ceiling,
			 enum hotplug_what what, struct hotplug_batch *batch)
{
	struct unmap_walk walk = {
		.start = start,
		.last = end - 1,
		.floor = floor,
		.ceiling = ceiling,
		.what = what,
		.batch = batch,
	};
	pte_t *root;
	int level;

	mem_hotplug_assert_write_held();
	if (WARN_ON_ONCE(start >= end || start < floor || end > ceiling))
		return;

	root = root_table(&level);
	/* Whole pages: the flush counts them from the first */
	if (unmap_table(root, level, start, walk.last, &walk))
		batch_range(batch, start & PAGE_MASK, walk.last | ~PAGE_MASK);
}

/* Whether a leaf or contiguous group covers both @addr and @addr - 1 */
static bool leaf_straddles(unsigned long addr)
{
	int level;
	pte_t *table = root_table(&level);

	for (;; level++) {
		pte_t entry = READ_ONCE(table[level_index(addr, level)]);
		unsigned long span = level_mask(level);

		if (!pte_val(entry))
			return false;
		if (!is_table(entry, level)) {
			if (pte_cont(entry))
				span = cont_mask(level);
			return addr & span;
		}
		table = table_of(entry);
	}
}

/**
 * hotplug_range_splits_leaf() - whether unmapping a range would split a leaf
 * @start:	first virtual address, page aligned
 * @end:	end of the range (exclusive), page aligned
 *
 * Context: mem_hotplug_lock held, for read or write.
 *
 * Return: true if a leaf or contiguous group reaches over an edge of the range.
 */
bool hotplug_range_splits_leaf(unsigned long start, unsigned long end)
{
	return leaf_straddles(start) || leaf_straddles(end);
}

/* ---- adding ---- */

/*
 * The live tables are walked twice: first to build what is missing, then, when
 * all of it is there, to publish. The lock keeps them as they are in between,
 * so the second walk meets the holes in the order of the first.
 */
struct map_walk {
	unsigned long start;
	unsigned long last;
	phys_addr_t phys;
	pgprot_t prot;
	unsigned int flags;
	struct list_head built;
	bool publish;
	unsigned long nr_tables;
};

static phys_addr_t map_phys(const struct map_walk *walk, unsigned long addr)
{
	return walk->phys + (addr - walk->start);
}

/*
 * The attributes of a leaf of @level for @addr, 0 where a table is needed.
 * Blocks as can be had at all: PUD on 4K, PMD.
 */
static pteval_t leaf_attrs(const struct map_walk *walk, unsigned long addr,
			   int level)
{
	pteval_t attrs = pgprot_val(walk->prot) & ~PTE_TYPE_MASK;
	phys_addr_t phys = map_phys(walk, addr);
	unsigned long mask = level_mask(level);
	unsigned long group = cont_mask(level);

	if (level < LAST_LEVEL) {
		if (walk->flags & HOTPLUG_NO_BLOCK)
			return 0;
		if (level < (IS_ENABLED(CONFIG_ARM64_4K_PAGES) ? 1 : 2))
			return 0;
		if ((addr | phys) & mask || (addr | mask) > walk->last)
			return 0;
	}

	if (group && !(walk->flags & HOTPLUG_NO_CONT) &&
	    (addr & ~group) >= walk->start && (addr | group) <= walk->last &&
	    !((addr ^ phys) & group))
		attrs |= PTE_CONT;

	return attrs | (level < LAST_LEVEL ? PMD_TYPE_SECT : PTE_TYPE_PAGE);
}

static pteval_t table_entry(const struct map_walk *walk, pte_t *table)
{
	pteval_t val = __phys_to_pte_val(__pa(table)) | PMD_TYPE_TABLE |
		       PMD_TABLE_UXN;

	if (walk->flags & HOTPLUG_NO_EXEC)
		val |= PMD_TABLE_PXN;
	return val;
}

/* Fill a new last-level table for [addr, last], page by page */
static void fill_pages(pte_t *table, unsigned long addr, unsigned long last,
		       const struct map_walk *walk)
{
	unsigned long group = walk->flags & HOTPLUG_NO_CONT ? ~0UL : ~CONT_PTE_MASK;
	pte_t *ptep = table + level_index(addr, LAST_LEVEL);
	pte_t *end = table + level_index(last, LAST_LEVEL) + 1;

	memset(table, 0, (void *)ptep - (void *)table);
	memset(end, 0, (void *)(table + PTRS_PER_PTE) - (void *)end);

	while (ptep < end) {
		unsigned long next = min(addr | group, last);
		pteval_t attrs = leaf_attrs(walk, addr, LAST_LEVEL);
		phys_addr_t phys = map_phys(walk, addr);
		pte_t *stop = ptep + ((next - addr) >> PAGE_SHIFT) + 1;

		/* Added, not ORed, an instruction less: no bit is in both */
		for (; ptep < stop; ptep++, phys += PAGE_SIZE)
			*ptep = __pte(__phys_to_pte_val(phys) + attrs);
		addr = next + 1;
	}
}

static void free_built_table(pte_t *table, int level)
{
	unsigned int i;

	for (i = 0; level < LAST_LEVEL && i < PTRS_PER_PTE; i++) {
		if (is_table(table[i], level))
			free_built_table(table_of(table[i]), level + 1);
	}
	free_page((unsigned long)table);
	cond_resched();
}

/* Build a table of @level for [addr, last], private: plain stores, no barrier */
static pte_t *build_table(int level, unsigned long addr, unsigned long last,
			  struct map_walk *walk)
{
	unsigned long mask = level_mask(level);
	unsigned long next;
	pte_t *table;

	table = (pte_t *)__get_free_page(GFP_HOTPLUG);
	if (!table)
		return NULL;
	walk->nr_tables++;
	cond_resched();

	if (level == LAST_LEVEL) {
		fill_pages(table, addr, last, walk);
		return table;
	}

	clear_page(table);
	for (;; addr = next + 1) {
		pte_t *ptep = table + level_index(addr, level);
		pteval_t attrs = leaf_attrs(walk, addr, level);

		next = min(addr | mask, last);
		if (attrs) {
			*ptep = __pte(__phys_to_pte_val(map_phys(walk, addr)) |
				      attrs);
		} else {
			pte_t *child = build_table(level + 1, addr, next, walk);

			if (!child) {
				free_built_table(table, level);
				return NULL;
			}
			*ptep = __pte(table_entry(walk, child));
		}
		if (next == last)
			break;
	}
	return table;
}

/*
 * Whether a table, be it empty, stands in the group of @ptep: then the others
 * must not be marked contiguous (Arm ARM, R_QTRPM).
 */
static bool group_has_table(pte_t *ptep, int level)
{
	unsigned int i, nr = (cont_mask(level) + 1) >>
			     ARM64_HW_PGTABLE_LEVEL_SHIFT(level);

	ptep = PTR_ALIGN_DOWN(ptep, nr * sizeof(*ptep));
	for (i = 0; i < nr; i++) {
		if (is_table(READ_ONCE(ptep[i]), level))
			return true;
	}
	return false;
}

/*
 * Map the hole at @addr, and those that follow it, by as many leaves as fit until
 * @last; before they are published, only pass over them. Return where they end.
 */
static unsigned long map_leaves(pte_t *ptep, int level, unsigned long addr,
				unsigned long last, pteval_t attrs,
				const struct map_walk *walk)
{
	unsigned long mask = level_mask(level);
	phys_addr_t phys = map_phys(walk, addr);

	for (;; addr += mask + 1, phys += mask + 1) {
		if (walk->publish)
			set_entry(ptep, attrs | __phys_to_pte_val(phys));
		if (last - addr <= 2 * mask || pte_val(READ_ONCE(*++ptep)))
			return addr | mask;
	}
}

/*
 * Fill the hole of a live table at @addr: build for it, or publish what was built.
 * Leaves may fill more holes, up to @last. Set *@next to where that ends.
 */
static int map_hole(pte_t *ptep, int level, unsigned long addr,
		    unsigned long last, unsigned long *next,
		    struct map_walk *walk)
{
	pteval_t attrs = leaf_attrs(walk, addr, level);
	unsigned long group = cont_mask(level);
	struct page *page;
	pte_t *table;

	if (attrs) {
		/* What is contiguous and what not, a group has in common */
		if (group && !(walk->flags & HOTPLUG_NO_CONT))
			last = min(last, addr | group);
		if (walk->publish && attrs & PTE_CONT &&
		    group_has_table(ptep, level))
			attrs &= ~PTE_CONT;
		*next = map_leaves(ptep, level, addr, last, attrs, walk);
		return 0;
	}

	if (walk->publish) {
		page = list_first_entry(&walk->built, struct page, lru);
		list_del(&page->lru);
		set_page_private(page, 0);
		set_entry(ptep, table_entry(walk, page_address(page)));
		return 0;
	}

	table = build_table(level + 1, addr, *next, walk);
	if (!table)
		return -ENOMEM;
	page = virt_to_page(table);
	set_page_private(page, level + 1);
	list_add_tail(&page->lru, &walk->built);
	return 0;
}

static int map_table(pte_t *table, int level, unsigned long addr,
		     unsigned long last, struct map_walk *walk)
{
	unsigned long mask = level_mask(level);
	unsigned long next;
	int ret;

	for (;; addr = next + 1) {
		pte_t *ptep = table + level_index(addr, level);
		pte_t entry = READ_ONCE(*ptep);

		next = min(addr | mask, last);
		if (is_table(entry, level))
			ret = map_table(table_of(entry), level + 1, addr, next,
					walk);
		else if (pte_val(entry))
			ret = -EEXIST;
		else
			ret = map_hole(ptep, level, addr, last, &next, walk);
		if (ret || next == last)
			return ret;
	}
}

/**
 * map_hotplug_range() - map a range in init_mm's tables
 * @start:	first virtual address, page aligned
 * @end:	end of the range (exclusive), page aligned
 * @phys:	physical address that @start is mapped to, page aligned
 * @prot:	attributes of the leaves
 * @flags:	HOTPLUG_NO_BLOCK, HOTPLUG_NO_CONT, HOTPLUG_NO_EXEC
 * @nr_tables:	where to store how many tables were added, or NULL
 *
 * Uses the largest leaves that fit and that @flags allow. A live entry is only
 * ever written from zero, so nothing needs to be invalidated.
 *
 * Context: process context, mem_hotplug_lock held for write. Sleeps; never
 * wakes the OOM killer.
 *
 * Return: 0, -EEXIST if any part of the range is mapped already, -ENOMEM if a
 * table cannot be had, -EINVAL for a range that is none. On error nothing has
 * changed.
 */
int map_hotplug_range(unsigned long start, unsigned long end, phys_addr_t phys,
		      pgprot_t prot, unsigned int flags,
		      unsigned long *nr_tables)
{
	struct map_walk walk = {
		.start = start,
		.last = end - 1,
		.phys = phys,
		.prot = prot,
		.flags = flags,
		.built = LIST_HEAD_INIT(walk.built),
	};
	struct page *page, *next;
	pte_t *table;
	int level, ret;

	mem_hotplug_assert_write_held();
	if (WARN_ON_ONCE(start >= end || (start | end | phys) & ~PAGE_MASK))
		return -EINVAL;

	table = root_table(&level);
	ret = map_table(table, level, start, walk.last, &walk);
	if (ret) {
		list_for_each_entry_safe(page, next, &walk.built, lru) {
			int page_level = page_private(page);

			set_page_private(page, 0);
			free_built_table(page_address(page), page_level);
		}
		return ret;
	}

	/* Every walker finds a table filled once it finds the table */
	dsb(ishst);
	walk.publish = true;
	map_table(table, level, start, walk.last, &walk);
	dsb(ishst);
	isb();

	if (nr_tables)
		*nr_tables = walk.nr_tables;
	return 0;
}
