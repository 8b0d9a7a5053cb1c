// SPDX-License-Identifier: GPL-2.0-only
/*
 * One geometry: the machine, the engine on it, and the interpreter of operations
 * that compares what the engine does with a model of what it should do. Compiled
 * once for each geometry, with PAGE_SHIFT, VA_BITS, NAME, TITLE and ENGINE defined.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include <sanitizer/asan_interface.h>

#include "shim.h"
#include "sim.h"
#include "machine.c"

/* Ten of them go into one program */
#define PASTE_(a, b)		a##_##b
#define PASTE(a, b)		PASTE_(a, b)
#define STRING_(a)		#a
#define STRING(a)		STRING_(a)
#define this_geometry		PASTE(geometry, NAME)
#define hotplug_batch_init	PASTE(hotplug_batch_init, NAME)
#define hotplug_batch_finish	PASTE(hotplug_batch_finish, NAME)
#define map_hotplug_range	PASTE(map_hotplug_range, NAME)
#define unmap_hotplug_range	PASTE(unmap_hotplug_range, NAME)
#define vmemmap_free		PASTE(vmemmap_free, NAME)
#define hotplug_range_splits_leaf PASTE(hotplug_range_splits_leaf, NAME)

#include ENGINE

#undef min
#undef max

/* A bit of each attribute that may be lost. With LPA2 bits 9:8 are of the address */
#define PROT	(BIT(55) | BIT(54) | BIT(53) | BIT(51) | BIT(11) | BIT(10) | BIT(2) | \
		 PTE_MAYBE_SHARED | 3)

#define PAGES(size)	((long)((size) >> PAGE_SHIFT))

/* ---- the model: what is mapped, as runs of leaves of one size ---- */

struct run {
	u64 first, last;
	u64 pa;			/* of @first */
	int level;
	bool cont;
	bool memmap;		/* of pages of RAM, which are freed with it */
	bool altmap;
	bool foreign;
};

#define MAX_RUNS 2048

static struct {
	unsigned int nr_runs;
	struct region {
		u64 anchor;		/* position 0 */
		u64 floor, ceiling;
	} region[NR_WINDOWS];
	struct page *fixed[16];		/* reserved and constructed tables */
	unsigned int nr_fixed;
	struct hotplug_batch batch;
	bool batch_open;
	unsigned long batch_memmap;	/* pages of memmap that it should free */
	long recent[8];			/* positions, for generate() */
	unsigned int steps;
	/* Last: it is not cleared between sequences */
	struct run runs[MAX_RUNS];	/* in order of address */
} sim;

/* Size of what is invalidated and cleared as one: a leaf, a contiguous group */
static u64 run_unit_mask(const struct run *run)
{
	return run->cont ? group_mask(run->level) : level_span_mask(run->level);
}

/* The first run that ends at or after @addr; past the last one if there is none */
static struct run *run_from(u64 addr)
{
	unsigned int lo = 0, hi = sim.nr_runs;

	while (lo < hi) {
		unsigned int mid = (lo + hi) / 2;

		if (sim.runs[mid].last < addr)
			lo = mid + 1;
		else
			hi = mid;
	}
	return &sim.runs[lo];
}

static bool run_overlaps(const struct run *run, u64 first, u64 last)
{
	return run < sim.runs + sim.nr_runs && run->first <= last &&
	       run->last >= first;
}

static bool mapped(u64 first, u64 last)
{
	return run_overlaps(run_from(first), first, last);
}

static void insert_run(struct run new)
{
	struct run *at = run_from(new.first), *before = at - 1;

	if (at > sim.runs && before->last + 1 == new.first &&
	    before->level == new.level && before->cont == new.cont &&
	    before->memmap == new.memmap && before->altmap == new.altmap &&
	    before->foreign == new.foreign &&
	    before->pa + (new.first - before->first) == new.pa) {
		before->last = new.last;
		return;
	}
	if (sim.nr_runs == MAX_RUNS) {
		fprintf(stderr, "error: MAX_RUNS is too small\n");
		abort();
	}
	memmove(at + 1, at, (sim.runs + sim.nr_runs - at) * sizeof(*at));
	*at = new;
	sim.nr_runs++;
}

/* Leaves that lie wholly in the range go, the others stay */
static void model_unmap(u64 first, u64 last)
{
	struct run *run = run_from(first);

	while (run_overlaps(run, first, last)) {
		u64 mask = run_unit_mask(run);
		u64 from = first > run->first ? first : run->first;
		u64 to = last < run->last ? last : run->last;
		struct run rest = *run;

		from = (from + mask) & ~mask;
		to = ((to + 1) & ~mask) - 1;
		if (from > to) {
			run++;
			continue;
		}
		if (run->memmap || run->altmap)
			sim.batch_memmap += PAGES(to - from + 1);

		if (from > run->first) {
			run->last = from - 1;
			run++;
			if (to < rest.last) {
				rest.pa += to + 1 - rest.first;
				rest.first = to + 1;
				insert_run(rest);
			}
		} else if (to < run->last) {
			run->pa += to + 1 - run->first;
			run->first = to + 1;
		} else {
			memmove(run, run + 1, (sim.runs + sim.nr_runs - run - 1) *
					      sizeof(*run));
			sim.nr_runs--;
		}
	}
}

/* Whether a leaf or contiguous group covers both @addr and the byte before it */
static bool model_splits(u64 addr)
{
	const struct run *run = run_from(addr);

	return run_overlaps(run, addr, addr) && addr & run_unit_mask(run);
}

/*
 * Whether there is a table below an entry of @level of whose span nothing is
 * mapped. All that go empty are freed, but for those that are not ours to free.
 */
static bool slot_has_table(u64 first, int level)
{
	u64 last = first | level_span_mask(level);

	for (unsigned int i = 0; i < sim.nr_fixed; i++) {
		const struct page *page = sim.fixed[i];

		if (page->level > level && page->va <= last &&
		    (page->va | table_span_mask(page->level)) >= first)
			return true;
	}
	return false;
}

/*
 * The largest leaves that fit, as stock maps ("make leaves"). A contiguous group
 * has to be wholly in the range, and all of it of leaves.
 */
static void model_map(u64 first, u64 last, u64 pa, unsigned int flags,
		      struct run *to, unsigned int *nr)
{
	bool merge = false, fixed = false;
	u64 addr, next;

	for (unsigned int i = 0; i < sim.nr_fixed; i++)
		fixed |= sim.fixed[i]->va <= last && first <=
			 (sim.fixed[i]->va | table_span_mask(sim.fixed[i]->level));

	for (addr = first; ; addr = next + 1) {
		u64 here = pa + (addr - first);
		struct run run = { .first = addr, .pa = here, .level = LAST };
		u64 group;
		int level;

		for (level = PAGE_SHIFT == 12 ? 1 : 2; level < LAST; level++) {
			u64 mask = level_span_mask(level);

			if (level >= machine.root_level &&
			    !(flags & F_NOBLOCK) && !((addr | here) & mask) &&
			    (addr | mask) <= last &&
			    !(fixed && slot_has_table(addr, level))) {
				run.level = level;
				break;
			}
		}

		/* Nor in the root */
		group = level == 1 || level == machine.root_level ? 0 : group_mask(level);
		if (group && !(flags & F_NOCONT) && !((addr ^ here) & group))
			run.cont = (addr & ~group) >= first &&
				   (addr | group) <= last;
		/* Page by page and block by block is right, but takes long */
		next = addr | level_span_mask(level == LAST ? 2 : level);
		if (group && (level == LAST ? !(flags & F_NOCONT) : !fixed))
			next = addr | group;
		if (level < LAST && next > last)
			next = ((last + 1) & ~level_span_mask(level)) - 1;
		if (level < LAST && run.cont && fixed) {
			u64 a = addr & ~group;

			for (; run.cont && a < (addr | group);
			     a += level_span_mask(level) + 1)
				run.cont = !slot_has_table(a, level);
		}
		if (next > last)
			next = last;
		run.last = next;

		if (merge && to[*nr - 1].level == run.level &&
		    to[*nr - 1].cont == run.cont)
			to[*nr - 1].last = next;
		else if (*nr < MAX_RUNS)
			to[(*nr)++] = run;
		merge = true;
		if (next == last)
			return;
	}
}

/* ---- the comparison of the tables with the model ---- */

static bool inside(const struct region *region, u64 first, u64 last)
{
	return first >= region->floor && last < region->ceiling;
}

/* A table that stays although nothing is mapped by it: it serves others, too */
static bool may_be_empty(const struct page *page)
{
	u64 last = page->va | table_span_mask(page->level);

	return page->reserved || page->constructed ||
	       (!inside(&sim.region[LIN], page->va, last) &&
		!inside(&sim.region[VMM], page->va, last));
}

static pteval_t leaf_value(const struct run *run, u64 va)
{
	return (PROT & ~PTE_TYPE_MASK) |
	       (run->level == LAST ? PTE_TYPE_PAGE : PMD_TYPE_SECT) |
	       (run->cont ? PTE_CONT : 0) |
	       __phys_to_pte_val(run->pa + (va - run->first));
}

UNCHECKED static void compare_table(const pte_t *table, int level, u64 base,
				    u64 first, u64 last)
{
	u64 mask = level_span_mask(level);
	unsigned int shift = ARM64_HW_PGTABLE_LEVEL_SHIFT(level);
	unsigned long i = (first - base) >> shift, stop = (last - base) >> shift;
	const struct run *run = run_from(base + (i << shift));
	const struct run *end = sim.runs + sim.nr_runs;

	for (; i <= stop; i++) {
		u64 va = base + (i << shift);
		pteval_t val = pte_val(table[i]);

		while (run < end && run->last < va)
			run++;

		if (run == end || run->first > (va | mask)) {
			const struct page *page;

			if (!val)
				continue;
			if (!entry_is_table(val, level))
				broken("left-behind", "%#lx is mapped by %#lx",
				       va, val);
			page = virt_to_page(__va(__pte_to_phys(table[i])));
			if (!may_be_empty(page))
				broken("left-behind", "empty table of level %d at %#lx",
				       level + 1, va);
			compare_table(page_address(page), level + 1, va, va,
				      va | mask);
			continue;
		}

		if (entry_is_table(val, level)) {
			pte_t *child = __va(__pte_to_phys(table[i]));
			struct page *page = virt_to_page(child);

			if (page->owner != TABLE || page->va != va ||
			    page->level != level + 1)
				broken("wrong-table", "at %#lx, level %d", va, level);
			compare_table(child, level + 1, va,
				      va > first ? va : first,
				      (va | mask) < last ? va | mask : last);
			continue;
		}

		for (;;) {
			if (run->level != level || run->first > va ||
			    val != leaf_value(run, va))
				broken("wrong-leaf", "%#lx for %#lx, level %d, not %slevel %d",
				       val, va, level,
				       run->cont ? "contiguous, " : "", run->level);
			va += mask + 1;
			if (i == stop || va > run->last)
				break;
			val = pte_val(table[++i]);
		}
	}
}

static u64 root_base(void)
{
	return -(u64)machine.root_entries *
	       (level_span_mask(machine.root_level) + 1);
}

static void compare(u64 first, u64 last)
{
	if (first > root_base())
		first -= PAGE_SIZE;
	if (last != ~0UL)
		last += PAGE_SIZE;
	compare_table(machine.root, machine.root_level, root_base(), first, last);
}

/* Everything, and that nobody stored to a live table behind our back */
static void compare_all(void)
{
	compare_table(machine.root, machine.root_level, root_base(), root_base(),
		      ~0UL);
	if (machine.root_sum != table_sum(machine.root, machine.root_entries))
		broken("plain-store", "to the root table");
	for (unsigned int i = 0; i < NR_TABLES; i++) {
		const struct page *page = &machine.pages[i];

		if (page->owner == TABLE &&
		    page->sum != table_sum(page_address(page), PTRS_PER_PTE))
			broken("plain-store", "to live table of level %d at %#lx",
			       page->level, page->va);
	}
}

/* After each call */
static void check_quiet(void)
{
	if (!machine.lock_asserted)
		broken("lock", "it was not asserted that the lock is held");
	if (machine.unpublished)
		broken("not-published", "no DSB after an entry became valid");
	if (machine.unsynchronized)
		broken("no-isb", "no ISB after a DSB");
	if (sim.batch_open)
		return;
	if (machine.nr_stale)
		broken("stale-entry", "an entry of level %d for [%#lx, %#lx]: %s",
		       machine.stale[0].level, machine.stale[0].first,
		       machine.stale[0].last, how_far(&machine.stale[0]));
	if (machine.nr_private)
		broken("lost-page", "a table that was never linked");
	for (unsigned int i = 0; machine.detached && i < NR_TABLES; i++) {
		if (machine.pages[i].owner == DETACHED)
			broken("lost-page", "a table that was unlinked");
	}
	for (unsigned int i = NR_TABLES; machine.unmapped_memmap && i < NR_PAGES;
	     i++) {
		if (machine.pages[i].owner == MEMMAP &&
		    !machine.pages[i].mapped && !machine.pages[i].reserved)
			broken("lost-page", "a memmap page that is not mapped");
	}
}

/* ---- operations ---- */

static void begin_call(void)
{
	report->calls++;
	machine.lock_asserted = false;
	machine.alloc_failed = false;
	machine.stores = 0;
	machine.reads = 0;
	machine.busy = 0;
}

static void finish_batch(void)
{
	struct hotplug_batch *batch = &sim.batch;
	unsigned int nr;

	if (!sim.batch_open)
		return;
	sim.batch_open = false;
	nr = batch->nr_ranges;
	begin_call();
	machine.invalidations = 0;
	hotplug_batch_finish(batch);

	if (batch->nr_flushes != machine.invalidations ||
	    machine.invalidations > (nr ? nr : 1))
		broken("counters", "%lu invalidations for %u ranges, counted as %lu",
		       machine.invalidations, nr, batch->nr_flushes);
	if (batch->nr_tables != machine.detached)
		broken("counters", "%lu tables, counted as %lu",
		       machine.detached, batch->nr_tables);
	if (batch->nr_memmap != machine.unmapped_memmap ||
	    batch->nr_memmap != sim.batch_memmap)
		broken("counters", "%lu memmap pages, counted as %lu, %lu in the model",
		       machine.unmapped_memmap, batch->nr_memmap,
		       sim.batch_memmap);
	check_quiet();
}

static void do_unmap(const struct op *op, u64 first, u64 last)
{
	const struct region *region = &sim.region[op->window];
	unsigned long limit;

	if (op->window == LIN && !(op->flags & F_UNCHECKED)) {
		bool splits = hotplug_range_splits_leaf(first, last + 1);

		if (splits != (model_splits(first) || model_splits(last + 1)))
			broken("split-leaf", "hotplug_range_splits_leaf() says %d",
			       splits);
		if (splits)
			return;	/* as arch_check_remove_memory() does */
	}

	if (!sim.batch_open) {
		hotplug_batch_init(&sim.batch);
		sim.batch_open = true;
		sim.batch_memmap = 0;
		machine.detached = 0;
		machine.detached_upper = 0;
		machine.unmapped_memmap = 0;
	}
	sim.batch.altmap = machine.altmap.alloc ? &machine.altmap : NULL;
	limit = machine.detached_upper;

	begin_call();
	unmap_hotplug_range(first, last + 1, region->floor, region->ceiling,
			    op->window == LIN ? HOTPLUG_LINEAR : HOTPLUG_VMEMMAP,
			    &sim.batch);
	model_unmap(first, last);

	/* Not one by one below a link that goes: only edges, and what must stay */
	limit = machine.detached_upper - limit + 8 * CONFIG_PGTABLE_LEVELS +
		2 * sim.nr_fixed;
	if (op->window == LIN && machine.reads + machine.stores >
	    limit * PTRS_PER_PTE)
		broken("too-much-work", "%lu reads and %lu stores",
		       machine.reads, machine.stores);

	check_quiet();
	compare(first, last);
	if (op->verb == UNMAP)
		finish_batch();
}

/* What a caller must not do: it is told, and nothing is torn down */
static void do_mistake(const struct op *op, u64 first, u64 last)
{
	const struct region *region = &sim.region[op->window];

	finish_batch();
	machine.may_warn = true;
	machine.warned = false;
	if (op->verb == MAP) {
		int ret = map_hotplug_range(first, last + 1, first,
					    (pgprot_t){ PROT }, 0, NULL);

		if (ret != -EINVAL)
			broken("wrong-result", "%d for a range of no size", ret);
	} else if (first < last && inside(region, first, last)) {
		do_unmap(op, first, last);
	} else {
		hotplug_batch_init(&sim.batch);
		unmap_hotplug_range(first, last + 1, region->floor,
				    region->ceiling, HOTPLUG_LINEAR, &sim.batch);
		if (sim.batch.nr_ranges)
			broken("wrong-result", "a range was touched");
	}
	if (!machine.warned)
		broken("no-warning", "a mistake passed unseen");
	machine.may_warn = false;
	compare_all();
}

/* Returns whether an allocation failed */
static bool do_map_once(const struct op *op, u64 first, u64 last,
			unsigned int fail)
{
	static struct run runs[MAX_RUNS];
	u64 pa = (first & (BIT(PA_BITS - 1) - 1)) | BIT(PA_BITS - 1);
	unsigned int before = machine.table_pool.in_use, nr = 0;
	unsigned long tables = 0;
	bool taken = mapped(first, last);
	unsigned int flags = 0;
	int ret;

	pa ^= (op->flags & F_SKEW ? PAGE_SIZE : 0) |
	      (op->flags & F_SKEWC ? CONT_PTE_SIZE : 0) |
	      (op->flags & F_SKEWM ? PMD_SIZE : 0);
	if (!taken) {
		model_map(first, last, pa, op->flags, runs, &nr);
		if (sim.nr_runs + nr >= MAX_RUNS)
			return false;
	}
	if (op->flags & F_NOBLOCK)
		flags |= HOTPLUG_NO_BLOCK;
	if (op->flags & F_NOCONT)
		flags |= HOTPLUG_NO_CONT;
	if (!(op->flags & F_EXEC))
		flags |= HOTPLUG_NO_EXEC;
	machine.table_attrs = PMD_TABLE_UXN |
			      (op->flags & F_EXEC ? 0 : PMD_TABLE_PXN);

	begin_call();
	machine.fail_at = fail;
	ret = map_hotplug_range(first, last + 1, pa, (pgprot_t){ PROT }, flags,
				op->flags & F_EXEC ? NULL : &tables);
	machine.fail_at = 0;

	if (taken ? ret != -EEXIST && !(ret == -ENOMEM && machine.alloc_failed) :
	    ret != (machine.alloc_failed ? -ENOMEM : 0))
		broken("wrong-result", "%d although %s", ret,
		       machine.alloc_failed ? "an allocation failed" :
		       taken ? "the range is mapped" : "all is well");
	if (ret && (machine.stores || machine.table_pool.in_use != before))
		broken("not-undone", "failed with %d, but %lu stores and %u tables remain",
		       ret, machine.stores, machine.table_pool.in_use - before);
	if (!ret && !(op->flags & F_EXEC) &&
	    tables != machine.table_pool.in_use - before)
		broken("counters", "%u tables, counted as %lu",
		       machine.table_pool.in_use - before, tables);
	for (unsigned int i = 0; !ret && i < nr; i++)
		insert_run(runs[i]);
	check_quiet();
	compare(first, last);
	return machine.alloc_failed;
}

/* The live entry for @addr in a table of @level; tables on the way are made */
static pte_t *generic_entry(u64 addr, int to, u64 attrs, bool constructed)
{
	pte_t *table = machine.root;
	int level = machine.root_level;

	for (;; level++) {
		u64 base = level == machine.root_level ? root_base() :
			   virt_to_page(table)->va;
		pte_t *ptep = table + ((addr - base) >>
				       ARM64_HW_PGTABLE_LEVEL_SHIFT(level));
		unsigned long page;

		if (level == to)
			return ptep;
		if (!pte_val(*ptep)) {
			page = __get_free_page(0);
			if (!page)
				return NULL;
			memset((void *)page, 0, PAGE_SIZE);
			virt_to_page((void *)page)->constructed = constructed;
			dsb(ishst);
			machine.table_attrs = attrs;
			live_store(ptep, __phys_to_pte_val(__pa((void *)page)) |
				   PMD_TYPE_TABLE | attrs,
				   in_swapper_pgdir(ptep));
		}
		if (!entry_is_table(pte_val(*ptep), level))
			return NULL;
		table = __va(__pte_to_phys(*ptep));
	}
}

static bool generic_leaf(u64 addr, struct run *run, bool constructed)
{
	pte_t *ptep = generic_entry(addr, run->level, PMD_TABLE_UXN, constructed);

	if (!ptep || pte_val(*ptep))
		return false;
	live_store(ptep, leaf_value(run, addr), in_swapper_pgdir(ptep));
	insert_run(*run);
	return true;
}

/* One leaf of memmap, as vmemmap_populate() makes it */
static bool populate_leaf(const struct op *op, u64 addr, u64 last, u64 *next)
{
	struct page *page = NULL;
	struct run run = { .first = addr, .level = LAST };
	unsigned int order = 0;

	if (op->flags & F_BLOCK && !(addr & (PMD_SIZE - 1)) &&
	    (addr | (PMD_SIZE - 1)) <= last && !slot_has_table(addr, 2)) {
		run.level = 2;
		order = BITS_PER_LEVEL;
	}
	run.last = *next = addr | level_span_mask(run.level);
	/* Tables first, then the page, then the entry */
	if (!generic_entry(addr, run.level, PMD_TABLE_UXN, false))
		return false;

	if (op->flags & F_ALTMAP) {
		unsigned int at = machine.altmap_next;

		at = (at + (1U << order) - 1) & ~((1U << order) - 1);
		if (allocation_fails() || at + (1U << order) > ALTMAP_PAGES) {
			machine.alloc_failed = true;
			return false;
		}
		machine.altmap_next = at + (1U << order);
		machine.altmap.alloc += 1U << order;
		run.pa = ALTMAP_PA + at * PAGE_SIZE;
		run.altmap = true;
	} else {
		page = get_memmap_page(order);
		if (!page)
			return false;
		page->reserved = op->flags & F_BOOT;
		page->mapped = true;
		page->level = run.level;
		page->va = addr;
		run.pa = memmap_pa(page);
		run.memmap = true;
	}
	return generic_leaf(addr, &run, false);
}

static bool do_populate_once(const struct op *op, u64 first, u64 last,
			     unsigned int fail)
{
	struct op undo = *op;
	bool ok = true;
	u64 addr, next;

	if (!machine.altmap.alloc)
		machine.altmap_next = 0;
	begin_call();
	machine.generic = true;
	machine.fail_at = fail;
	for (addr = first; ok; addr = next + 1) {
		ok = populate_leaf(op, addr, last, &next);
		if (next == last)
			break;
	}
	machine.fail_at = 0;
	machine.generic = false;
	dsb(ishst);
	isb();
	if (ok)
		return false;

	/* As section_activate() does, and for the whole range */
	undo.verb = UNMAP;
	do_unmap(&undo, first, last);
	return true;
}

static void do_add(const struct op *op, u64 first, u64 last,
		   bool (*once)(const struct op *, u64, u64, unsigned int))
{
	unsigned int k;

	if (op->fail != FAIL_EACH) {
		once(op, first, last, op->fail);
		return;
	}
	for (k = 1; k < 1000; k++) {
		if (!once(op, first, last, k) || mapped(first, last))
			return;
	}
}

static void do_fixed(const struct op *op, u64 first)
{
	int level = op->fail - 1;
	struct page *page;
	pte_t *ptep;
	u64 va;

	if (level <= machine.root_level || level > LAST || sim.nr_fixed == 16)
		return;
	va = first & ~table_span_mask(level);
	machine.generic = true;
	ptep = generic_entry(va, level, PMD_TABLE_UXN | PMD_TABLE_PXN, true);
	machine.generic = false;
	dsb(ishst);
	isb();
	if (!ptep)
		return;
	page = virt_to_page(ptep);
	if (page->reserved)
		return;
	page->constructed = op->verb == CONSTRUCTED;
	page->reserved = op->verb == RESERVED;
	/* Tables above it have become constructed ones, the model knows by this */
	sim.fixed[sim.nr_fixed++] = page;
}

static void do_foreign(u64 first, u64 last)
{
	machine.generic = true;
	for (u64 addr = first; addr <= last; addr += PAGE_SIZE) {
		struct run run = {
			.first = addr, .last = addr + PAGE_SIZE - 1,
			.pa = (addr & (BIT(PA_BITS - 2) - 1)), .level = LAST,
			.foreign = true,
		};

		if (mapped(addr, addr) || !generic_leaf(addr, &run, true))
			break;
	}
	machine.generic = false;
	dsb(ishst);
	isb();
}

/* The kernel's layout: arch/arm64/include/asm/memory.h, and the base's rst */
static void do_place(unsigned int window, enum place place)
{
	unsigned int min_bits = VA_BITS <= 48 ? VA_BITS : PAGE_SHIFT == 14 ? 47 : 48;
	unsigned int bits = cpu.fallback ? min_bits : VA_BITS;
	u64 linear = -(1UL << (min_bits - 1)) + (1UL << bits);
	struct region *r = &sim.region[window];
	u64 span = level_span_mask(machine.root_level) + 1;

	if (window == LIN) {
		r->floor = -(1UL << bits);
		r->ceiling = r->floor + linear;
	} else {
		r->ceiling = -(1UL << 30);
		r->floor = r->ceiling - (linear >> PAGE_SHIFT) * 64;
	}

	switch (place) {
	case PLACE_START:
		r->anchor = r->floor;
		break;
	case PLACE_END:
		r->anchor = r->ceiling;
		break;
	case PLACE_TOP:
		/* The root's last entry, up to the page that ERR_PTR() uses */
		if (window == LIN) {
			r->floor = -(1UL << 30);
			r->ceiling = -PAGE_SIZE;
			r->anchor = -2 * PMD_SIZE;
			break;
		}
		fallthrough;
	default:
		while (span > (r->ceiling - r->floor) / 2)
			span >>= BITS_PER_LEVEL;
		r->anchor = (r->floor + (r->ceiling - r->floor) / 2) & ~(span - 1);
	}
}

static void step(const struct op *op)
{
	struct region *region = &sim.region[op->window];
	u64 first = region->anchor + op->start * PAGE_SIZE;
	u64 last = region->anchor + op->end * PAGE_SIZE - 1;
	bool valid;

	switch (op->verb) {
	case PLACE:
		if (!sim.nr_runs && !sim.nr_fixed && !sim.batch_open)
			do_place(op->window, op->fail);
		return;
	case CPU:
		cpu.tlb_range = !(op->flags & F_NORANGE);
		cpu.erratum = op->flags & F_ERRATUM;
		return;
	case RESERVED:
	case CONSTRUCTED:
		if (inside(region, first, first) && !sim.batch_open)
			do_fixed(op, first);
		return;
	}

	if (op->flags & F_UNCHECKED && (op->verb == MAP || op->verb == UNMAP)) {
		do_mistake(op, first, last);
		return;
	}
	if (op->start >= op->end || op->end - op->start > PAGES(BIT(VA_BITS - 1)))
		return;
	valid = first < last && inside(region, first, last);
	if (op->verb == FOREIGN) {
		/* Beside the region, in the first table that it does not fill */
		if (op->end - op->start <= 16 && first < last && ~last &&
		    first >= root_base() &&
		    !inside(&sim.region[LIN], first, first) &&
		    !inside(&sim.region[LIN], last, last) &&
		    !inside(&sim.region[VMM], first, first) &&
		    !inside(&sim.region[VMM], last, last) && !sim.batch_open)
			do_foreign(first, last);
		return;
	}
	if (!valid)
		return;

	if (op->verb == MAP || op->verb == POPULATE)
		finish_batch();
	switch (op->verb) {
	case MAP:
		if (op->window == LIN)
			do_add(op, first, last, do_map_once);
		break;
	case POPULATE:
		if (op->window == VMM && !mapped(first, last))
			do_add(op, first, last, do_populate_once);
		break;
	default:
		if (op->flags & F_LATE && op->window == VMM)
			first += PAGE_SIZE / 4;
		if (op->flags & F_EARLY && op->window == VMM)
			last -= PAGE_SIZE / 4;
		do_unmap(op, first, last);
	}
	if (++sim.steps % 64 == 0)
		compare_all();
}

static void reset(bool fallback)
{
	machine_reset(fallback);
	memset(&sim, 0, offsetof(__typeof__(sim), runs));
	do_place(LIN, PLACE_MIDDLE);
	do_place(VMM, PLACE_MIDDLE);
}

/* The end of a sequence; if @everything_goes, what is still there is removed */
static void finish(bool everything_goes)
{
	finish_batch();
	while (everything_goes) {
		struct run *run = sim.runs;
		struct op op = { .verb = UNMAP };

		while (run < sim.runs + sim.nr_runs && run->foreign)
			run++;
		if (run == sim.runs + sim.nr_runs)
			break;
		op.window = run->memmap || run->altmap ? VMM : LIN;
		do_unmap(&op, run->first, run->last);
	}
	compare_all();
	for (unsigned int i = 0; everything_goes && i < NR_TABLES; i++) {
		struct page *page = &machine.pages[i];

		if (page->owner != FREE && !may_be_empty(page) &&
		    !mapped(page->va, page->va | table_span_mask(page->level)))
			broken("lost-page", "table of level %d at %#lx",
			       page->level, page->va);
	}
	for (unsigned int i = NR_TABLES; i < NR_PAGES; i++)
		machine.memmap_pool.in_use -= machine.pages[i].owner == MEMMAP &&
					      machine.pages[i].reserved;
	if (everything_goes && (machine.memmap_pool.in_use ||
				machine.block_pool.in_use || machine.altmap.alloc))
		broken("lost-page", "%u pages, %u blocks, %lu altmap pages of memmap",
		       machine.memmap_pool.in_use, machine.block_pool.in_use,
		       machine.altmap.alloc);
}

/* ---- random operations ---- */

static unsigned int random_byte(struct source *source)
{
	if (source->data) {
		if (!source->left)
			return 0;
		source->left--;
		return *source->data++;
	}
	/* xorshift64*, Vigna 2016 */
	source->state ^= source->state >> 12;
	source->state ^= source->state << 25;
	source->state ^= source->state >> 27;
	return source->state * 0x2545f4914f6cdd1dULL >> 56;
}

/* A position: often one that was used before, else some units from the anchor */
static long random_position(struct source *source, unsigned int window)
{
	static const char units[16] = "pppppccccmmmmkku";
	unsigned int b = random_byte(source);
	const struct region *r = &sim.region[window];
	long pages;

	if (b & 1)
		return sim.recent[(b >> 1 & 3) + 4 * window];
	pages = this_geometry.unit[strchr(UNITS, units[b >> 4]) - UNITS];
	pages *= (b >> 1 & 7) - 3;
	b = random_byte(source);
	if (b & 1)
		pages += (b >> 1 & 7) - 3;
	if (b & 16)
		pages += (b >> 5) * this_geometry.unit[1];
	if (r->anchor == r->floor && pages < 0)
		pages = -pages;
	if (r->anchor == r->ceiling && pages > 0)
		pages = -pages;
	sim.recent[(b >> 3 & 3) + 4 * window] = pages;
	return pages;
}

/* What takes long, many leaves that are all the same, is done seldom */
static void shorten(struct op *op, struct source *source)
{
	long block = PAGES(PMD_SIZE);
	long head = -op->start & (block - 1), tail = op->end & (block - 1);

	if (!(random_byte(source) & 0x1f))
		return;
	if (op->end - op->start > 16 * block)
		op->end = op->start + 16 * block + tail;
	if (op->end - op->start < head + tail) {
		if (op->end - op->start > 256)
			op->end = op->start + 256 - (op->end & 3);
		return;
	}
	if (head > 256)
		op->start += head - (head & 31);
	if (tail > 256)
		op->end -= tail - (tail & 31);
	if (op->start >= op->end)
		op->end = op->start + 1;
}

static long pages_between(u64 from, u64 to)
{
	return (long)(to - from) >> PAGE_SHIFT;
}

static bool generate(struct op *op, struct source *source)
{
	unsigned int b = random_byte(source);
	struct region *r;
	long length;
	u64 first;

	if (source->data && !source->left)
		return false;

	memset(op, 0, sizeof(*op));
	op->window = b >> 7;
	r = &sim.region[op->window];

	/* How the machine is, before the first addition */
	if (!sim.steps && !sim.nr_runs) {
		unsigned int what = b & 15;

		if (what < 4) {
			op->verb = PLACE;
			op->fail = b >> 4 & 3;
			return true;
		}
		if (what < 6) {
			op->verb = CPU;
			op->flags = (b & 16 ? F_NORANGE : 0) |
				    (b & 32 ? F_ERRATUM : 0);
			return true;
		}
		if (what < 9) {
			op->verb = b & 16 ? RESERVED : CONSTRUCTED;
			op->fail = (random_byte(source) & 3) + 1;
			op->start = random_position(source, op->window);
			return true;
		}
		if (what < 11) {
			length = 1 + (b >> 5 & 3);
			op->verb = FOREIGN;
			op->start = b & 16 ? pages_between(r->anchor, r->ceiling) :
				    pages_between(r->anchor, r->floor) - length;
			op->end = op->start + length;
			return true;
		}
	}

	op->start = random_position(source, op->window);
	op->end = random_position(source, op->window);
	if (op->start > op->end) {
		long swap = op->start;

		op->start = op->end;
		op->end = swap;
	}
	if (op->start == op->end)
		op->end++;
	shorten(op, source);
	length = op->end - op->start;
	first = r->anchor + op->start * PAGE_SIZE;

	/* Rather remove what is there and add what is not */
	if (mapped(first, first) == !!(b & 31)) {
		op->verb = b & 32 ? UNMAP : DETACH;
		if (op->window == VMM)
			op->flags = (b & 64 ? F_LATE : 0) | (b & 16 ? F_EARLY : 0);
		return true;
	}

	b = random_byte(source);
	if ((b & 0xe0) == 0x20)
		op->fail = (b >> 2 & 7) + 1;
	if ((b & 0xe0) == 0x40)
		op->fail = FAIL_EACH;
	if (op->window == VMM) {
		op->verb = POPULATE;
		op->flags = (b & 1 ? F_BLOCK : 0) | (b & 2 ? F_ALTMAP : 0);
		/* Work is for tables, not for many pages that are all the same */
		if (length > 8 && !(op->flags & F_BLOCK))
			op->end = op->start + (op->fail == FAIL_EACH ? 8 : 24);
		if (op->flags & F_BLOCK) {
			op->start &= -PAGES(PMD_SIZE);
			op->end = op->start + PAGES(PMD_SIZE) *
				  (1 + (length / PAGES(PMD_SIZE) & 3));
		}
		return true;
	}
	op->verb = MAP;
	op->flags = b & 3;
	b = random_byte(source);
	op->flags |= b & 1 ? F_EXEC : 0;
	if ((b & 0x0e) == 0x0e)
		op->flags |= b & 0x10 ? F_SKEWM : b & 0x20 ? F_SKEWC : F_SKEW;
	/* Seldom, and never over terabytes: libFuzzer would do only that */
	if (length > PAGES(PMD_SIZE) &&
	    ((random_byte(source) & (length > 4 * PAGES(PMD_SIZE) ? 0xff : 0x0f)) ||
	     length > 64 * PAGES(PMD_SIZE)))
		op->flags &= ~(F_NOBLOCK | F_SKEW | F_SKEWC);
	if (op->fail == FAIL_EACH && length > 4 * PAGES(PMD_SIZE))
		op->fail = 9;
	return true;
}

#include "memmap.c"

/* ---- what is mapped, as text: "FIRST..END kind", in the units of operations ---- */

static void leaves(char *to, size_t size)
{
	static const char * const kinds[] = { "", "huge", "block", "page" };
	char *start = to, *end = to + size, first[40], last[40];
	const struct run *run, *stop = sim.runs + sim.nr_runs;

	*to = 0;
	for (run = sim.runs; run < stop; run++) {
		unsigned int window = run->memmap || run->altmap ? VMM : LIN;
		const struct region *r = &sim.region[window];
		const struct run *next = run;

		if (run->foreign)
			continue;
		/* Where a memmap's pages come from does not show in its leaves */
		while (next + 1 < stop && next[1].first == next->last + 1 &&
		       next[1].level == run->level &&
		       next[1].cont == run->cont && !next[1].foreign &&
		       (next[1].memmap || next[1].altmap) == (window == VMM))
			next++;
		to += snprintf(to, end - to, "%s%s%s..%s %s%s",
			       to > start ? ", " : "",
			       window == VMM ? "vmm " : "",
			       format_pages(first, &this_geometry,
					    pages_between(r->anchor, run->first)),
			       format_pages(last, &this_geometry,
					    pages_between(r->anchor,
							  next->last + 1)),
			       run->cont ? "cont " : "", kinds[run->level]);
		if (to >= end)
			return;
		run = next;
	}
}

const struct geometry this_geometry = {
	.name = TITLE,
	.levels = CONFIG_PGTABLE_LEVELS,
#ifdef FALLBACK
	.fallback = TITLE "-on-" STRING(FALLBACK),
#endif
	.unit = {
		1, PAGES(CONT_PTE_SIZE), PAGES(PMD_SIZE), PAGES(CONT_PMD_SIZE),
		1L << 2 * BITS_PER_LEVEL,
	},
	.reset = reset,
	.step = step,
	.generate = generate,
	.finish = finish,
	.leaves = leaves,
	.random_devices = random_devices,
};
