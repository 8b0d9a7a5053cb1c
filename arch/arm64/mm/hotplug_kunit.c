// SPDX-License-Identifier: GPL-2.0-only
/*
 * KUnit tests of the memory hotplug engine on the real MMU, on virtual ranges
 * that nothing else uses. What is mapped is asked of each CPU: by AT S1E1R, and
 * where there is memory by reading it, so that its TLB knows what is to go. What
 * the MMU does not tell, the size of a leaf and the like, is read in the tables.
 */
#include <kunit/test.h>

#include <linux/bitfield.h>
#include <linux/cpu.h>
#include <linux/memblock.h>
#include <linux/memory.h>
#include <linux/memory_hotplug.h>
#include <linux/memremap.h>
#include <linux/mm.h>
#include <linux/smp.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>

#include <asm/cpufeature.h>
#include <asm/pgtable.h>
#include <asm/sections.h>
#include <asm/sysreg.h>

#include "hotplug.h"

/*
 * A whole table of blocks, so that no table below its own is shared; where that
 * table is the root, two contiguous groups of blocks
 */
#define UNIT	(PMD_SIZE * (CONFIG_PGTABLE_LEVELS > 2 ? PTRS_PER_PTE : 2 * CONT_PMDS))

struct ctx {
	struct vm_struct *area;
	unsigned long start;	/* two UNITs from here on are ours */
	phys_addr_t phys;
};

static const phys_addr_t NOWHERE = ~0ULL;

/* The memory type in PAR_EL1, encoded as in MAIR_EL1 */
#define PAR_ATTR	GENMASK_ULL(63, 56)

/* What this CPU says of an access to @va (Arm ARM, PAR_EL1) */
static u64 ask(unsigned long va, bool write)
{
	unsigned long flags;
	u64 par;

	/* A handler that faults asks, too, and does not put the answer back */
	local_irq_save(flags);
	if (write)
		asm volatile("at s1e1w, %0" : : "r" (va));
	else
		asm volatile("at s1e1r, %0" : : "r" (va));
	isb();
	par = read_sysreg_par();
	local_irq_restore(flags);
	return par;
}

/* Where this CPU finds @va, NOWHERE if it faults */
static phys_addr_t translate(unsigned long va)
{
	u64 par = ask(va, false);

	if (par & SYS_PAR_EL1_F)
		return NOWHERE;
	return (par & GENMASK_ULL(51, 12) & PAGE_MASK) | (va & ~PAGE_MASK);
}

static int map_prot(struct ctx *ctx, unsigned long at, unsigned long size,
		    pgprot_t prot, unsigned int flags)
{
	int ret;

	mem_hotplug_begin();
	ret = map_hotplug_range(ctx->start + at, ctx->start + at + size,
				ctx->phys + at, prot, flags, NULL);
	mem_hotplug_done();
	return ret;
}

/* Memory or not, nothing is read there by speculation */
static int map(struct ctx *ctx, unsigned long at, unsigned long size,
	       unsigned int flags)
{
	return map_prot(ctx, at, size, pgprot_device(PAGE_KERNEL), flags);
}

/*
 * Returns how many tables went; with @altmap the range is a memmap in there. All
 * that is ours lies between @floor and @ceiling.
 */
static unsigned long unmap_what(struct ctx *ctx, unsigned long at,
				unsigned long size, unsigned long floor,
				unsigned long ceiling, struct vmem_altmap *altmap)
{
	struct hotplug_batch batch;

	mem_hotplug_begin();
	hotplug_batch_init(&batch);
	batch.altmap = altmap;
	unmap_hotplug_range(ctx->start + at, ctx->start + at + size,
			    ctx->start + floor, ctx->start + ceiling,
			    altmap ? HOTPLUG_VMEMMAP : HOTPLUG_LINEAR, &batch);
	hotplug_batch_finish(&batch);
	mem_hotplug_done();
	return batch.nr_tables;
}

static unsigned long unmap_memmap(struct ctx *ctx, unsigned long at,
				  unsigned long size, struct vmem_altmap *altmap)
{
	return unmap_what(ctx, at, size, 0, 2 * UNIT, altmap);
}

static unsigned long unmap(struct ctx *ctx, unsigned long at,
			   unsigned long size)
{
	return unmap_what(ctx, at, size, 0, 2 * UNIT, NULL);
}

struct question {
	struct ctx *ctx;
	unsigned long at, size;
	bool mapped;
	/* The first address with another answer, and that answer */
	unsigned long wrong;
	phys_addr_t got;
};

/* Whether this CPU can read at @va, where not so long ago it may have been able to */
static bool can_read(unsigned long va)
{
	u8 byte;

	return !copy_from_kernel_nofault(&byte, (void *)va, 1);
}

static void ask_all(void *data)
{
	struct question *q = data;
	unsigned long step = q->size > SZ_64M ? (q->size >> 8 & PAGE_MASK) + PAGE_SIZE : PAGE_SIZE;
	u64 mmfr0 = read_sanitised_ftr_reg(SYS_ID_AA64MMFR0_EL1);
	int parange = cpuid_feature_extract_unsigned_field(mmfr0, ID_AA64MMFR0_EL1_PARANGE_SHIFT);
	phys_addr_t end = BIT_ULL(id_aa64mmfr0_parange_to_phys_shift(parange));
	unsigned long stop = q->at + q->size, last = stop - PAGE_SIZE, at;

	q->wrong = NOWHERE;
	/* The last page in any case */
	for (at = q->at; at < stop; at = at < last ? min(at + step, last) : stop) {
		/* A CPU may have fewer physical address bits than a UNIT wants */
		if (q->mapped && q->ctx->phys + at >= end)
			return;
		q->got = translate(q->ctx->start + at);
		if (q->got == (q->mapped ? q->ctx->phys + at : NOWHERE) &&
		    (!memblock_is_map_memory(q->ctx->phys + at) ||
		     can_read(q->ctx->start + at) == q->mapped))
			continue;
		q->wrong = at;
		return;
	}
}

/*
 * Every page of [at, at + size), or what one can look at in reasonable time, as
 * each CPU sees it
 */
static void expect_mapped(struct kunit *test, unsigned long at,
			  unsigned long size, bool mapped)
{
	struct question q = {
		.ctx = test->priv, .at = at, .size = size, .mapped = mapped,
	};
	int cpu;

	cpus_read_lock();
	for_each_online_cpu(cpu) {
		smp_call_function_single(cpu, ask_all, &q, 1);
		if (q.wrong != NOWHERE)
			KUNIT_FAIL(test, "CPU %d: %#lx is at %#llx", cpu,
				   q.wrong, (u64)q.got);
	}
	cpus_read_unlock();
}

/* The entry that maps @va, 0 if none does, and how many bytes it maps */
static u64 leaf_of(unsigned long va, unsigned long *size)
{
	pgd_t *pgdp = pgd_offset_k(va);
	p4d_t *p4dp;
	pud_t *pudp;
	pmd_t *pmdp;

	if (pgd_none(READ_ONCE(*pgdp)))
		return 0;
	p4dp = p4d_offset(pgdp, va);
	if (p4d_none(READ_ONCE(*p4dp)))
		return 0;
	pudp = pud_offset(p4dp, va);
	*size = PUD_SIZE;
	if (pud_none(READ_ONCE(*pudp)) || pud_leaf(READ_ONCE(*pudp)))
		return pud_val(READ_ONCE(*pudp));
	pmdp = pmd_offset(pudp, va);
	*size = PMD_SIZE;
	if (pmd_none(READ_ONCE(*pmdp)) || pmd_leaf(READ_ONCE(*pmdp)))
		return pmd_val(READ_ONCE(*pmdp));
	*size = PAGE_SIZE;
	return pte_val(READ_ONCE(*pte_offset_kernel(pmdp, va)));
}

/*
 * The tables have all over [at, at + size) what @flags make of it: the largest leaves that
 * are aligned and fit, contiguous where a group of them is and does, never to be executed,
 * and there without a fault (Arm ARM, descriptor formats)
 */
static void expect_leaves(struct kunit *test, unsigned long at, unsigned long size,
			  unsigned int flags)
{
	const u64 attrs = PTE_VALID | PTE_AF | PTE_UXN | PTE_PXN;
	unsigned long start = at, end = at + size, found;
	struct ctx *ctx = test->priv;

	for (; at < end; at += found) {
		bool block = !(flags & HOTPLUG_NO_BLOCK) && IS_ALIGNED(at, PMD_SIZE) &&
			     end - at >= PMD_SIZE;
		unsigned long group = block ? CONT_PMD_SIZE : CONT_PTE_SIZE;
		bool cont = !(flags & HOTPLUG_NO_CONT) && ALIGN_DOWN(at, group) >= start &&
			    end - ALIGN_DOWN(at, group) >= group;
		u64 leaf = leaf_of(ctx->start + at, &found);

		KUNIT_ASSERT_EQ(test, leaf & attrs, attrs);
		KUNIT_ASSERT_EQ(test, found, block ? PMD_SIZE : PAGE_SIZE);
		KUNIT_EXPECT_EQ(test, !!(leaf & PTE_CONT), cont);
		if (!block)
			KUNIT_EXPECT_EQ(test, pmd_val(*pmd_off_k(ctx->start + at)) & PMD_TABLE_PXN,
					flags & HOTPLUG_NO_EXEC ? PMD_TABLE_PXN : 0);
	}
}

/*
 * Boot memory is refused by itself, before anybody asks whether it is offline; and
 * nothing is added over it
 */
static void boot_memory_stays(struct kunit *test)
{
	u64 size = memory_block_size_bytes();
	u64 start = ALIGN_DOWN(__pa_symbol(_text), size);

	KUNIT_EXPECT_EQ(test, remove_memory(start, size), -EPERM);
	KUNIT_EXPECT_EQ(test, add_memory(0, start, size, MHP_NONE), -EEXIST);
}

/* Pages, contiguous pages, and blocks where they fit: there, and gone again */
static void map_and_unmap(struct kunit *test)
{
	static const unsigned int flags[] = {
		0, HOTPLUG_NO_CONT, HOTPLUG_NO_BLOCK,
		HOTPLUG_NO_BLOCK | HOTPLUG_NO_CONT | HOTPLUG_NO_EXEC,
	};
	static const struct {
		unsigned long at, size;
	} ranges[] = {
		{ 0, PAGE_SIZE },
		{ 0, CONT_PTE_SIZE },
		{ PAGE_SIZE, CONT_PTE_SIZE },
		{ 0, PMD_SIZE },
		{ PMD_SIZE - PAGE_SIZE, 2 * PAGE_SIZE },
		{ PMD_SIZE - PAGE_SIZE, PMD_SIZE + 2 * PAGE_SIZE },
		{ UNIT - PAGE_SIZE, PMD_SIZE + PAGE_SIZE },
	};
	struct ctx *ctx = test->priv;
	unsigned long left;
	int i, k;

	for (i = 0; i < ARRAY_SIZE(flags); i++) {
		for (k = 0; k < ARRAY_SIZE(ranges); k++) {
			unsigned long at = ranges[k].at, size = ranges[k].size;

			KUNIT_ASSERT_EQ(test, map(ctx, at, size, flags[i]), 0);
			expect_mapped(test, at, size, true);
			expect_leaves(test, at, size, flags[i]);
			KUNIT_EXPECT_EQ(test, translate(ctx->start + at + size),
					NOWHERE);
			unmap(ctx, at, size);
			KUNIT_EXPECT_EQ(test, leaf_of(ctx->start + at, &left), 0);
			expect_mapped(test, at, size, false);
			/* No table was left: there is nothing to give back */
			KUNIT_EXPECT_EQ(test, unmap(ctx, 0, 2 * UNIT), 0);
		}
	}
}

/* The largest leaves there are: contiguous blocks, and on 4K blocks of a UNIT */
static void large_leaves(struct kunit *test)
{
	static const unsigned int flags[] = { 0, HOTPLUG_NO_CONT };
	static const struct {
		unsigned long at, size;
	} ranges[] = {
		{ 0, CONT_PMD_SIZE },
		{ PMD_SIZE, CONT_PMD_SIZE },
		{ UNIT - CONT_PMD_SIZE, 2 * CONT_PMD_SIZE },
		{ 0, UNIT },
		{ UNIT - PMD_SIZE, UNIT + PMD_SIZE },
	};
	struct ctx *ctx = test->priv;
	int i, k;

	ctx->phys = ALIGN_DOWN(ctx->phys, UNIT);
	for (i = 0; i < ARRAY_SIZE(flags); i++) {
		for (k = 0; k < ARRAY_SIZE(ranges); k++) {
			unsigned long at = ranges[k].at, size = ranges[k].size;
			unsigned long va = ctx->start + ALIGN(at, CONT_PMD_SIZE);
			/* Nothing is contiguous in the root */
			bool one_leaf = (!flags[i] && CONFIG_PGTABLE_LEVELS > 2) ||
					(IS_ENABLED(CONFIG_ARM64_4K_PAGES) && size >= UNIT);

			KUNIT_ASSERT_EQ(test, map(ctx, at, size, flags[i]), 0);
			expect_mapped(test, at, size, true);
			KUNIT_EXPECT_EQ(test, translate(ctx->start + at + size), NOWHERE);
			if (size > CONT_PMD_SIZE || !at)
				KUNIT_EXPECT_EQ(test, one_leaf,
						hotplug_range_splits_leaf(va, va + PMD_SIZE));
			unmap(ctx, at, size);
			expect_mapped(test, at, size, false);
			KUNIT_EXPECT_EQ(test, unmap(ctx, 0, 2 * UNIT), 0);
		}
	}
}

/* An add that meets a mapping, wherever in its range, changes nothing, with tables built or not */
static void add_over_mapping(struct kunit *test)
{
	static const unsigned int flags[] = { 0, HOTPLUG_NO_BLOCK | HOTPLUG_NO_CONT };
	static const unsigned long taken[] = {
		0, PMD_SIZE, 3 * PMD_SIZE + PAGE_SIZE, 8 * PMD_SIZE - PAGE_SIZE,
	};
	struct ctx *ctx = test->priv;
	int i;

	for (i = 0; i < 2 * ARRAY_SIZE(taken); i++) {
		unsigned long at = taken[i / 2], after = at + PAGE_SIZE;

		KUNIT_ASSERT_EQ(test, map(ctx, at, PAGE_SIZE, 0), 0);
		KUNIT_EXPECT_EQ(test, map(ctx, 0, 8 * PMD_SIZE, flags[i % 2]), -EEXIST);
		expect_mapped(test, 0, at, false);
		expect_mapped(test, at, PAGE_SIZE, true);
		expect_mapped(test, after, 8 * PMD_SIZE - after, false);
		unmap(ctx, at, PAGE_SIZE);
		KUNIT_EXPECT_EQ(test, unmap(ctx, 0, 2 * UNIT), 0);
	}
}

/* What stands beside a range that goes stays, to the page */
static void neighbours_stay(struct kunit *test)
{
	unsigned long at = PMD_SIZE - 3 * PAGE_SIZE, size = PMD_SIZE + 7 * PAGE_SIZE;
	struct ctx *ctx = test->priv;

	KUNIT_ASSERT_EQ(test, map(ctx, 0, 4 * PMD_SIZE,
				  HOTPLUG_NO_BLOCK | HOTPLUG_NO_CONT), 0);
	unmap(ctx, at, size);
	expect_mapped(test, 0, at, true);
	expect_mapped(test, at, size, false);
	expect_mapped(test, at + size, 4 * PMD_SIZE - at - size, true);

	/* And the hole can be filled again, by larger leaves where they fit */
	KUNIT_EXPECT_EQ(test, map(ctx, at, size, 0), 0);
	expect_mapped(test, 0, 4 * PMD_SIZE, true);
	unmap(ctx, 0, 4 * PMD_SIZE);
	expect_mapped(test, 0, 4 * PMD_SIZE, false);
	KUNIT_EXPECT_EQ(test, unmap(ctx, 0, 2 * UNIT), 0);
}

/* A leaf or contiguous group that a range would split is seen beforehand */
static void splits_are_seen(struct kunit *test)
{
	struct ctx *ctx = test->priv;
	unsigned long start = ctx->start;

	KUNIT_ASSERT_EQ(test, map(ctx, 0, 2 * PMD_SIZE, HOTPLUG_NO_CONT), 0);
	KUNIT_EXPECT_FALSE(test, hotplug_range_splits_leaf(start, start + 2 * PMD_SIZE));
	KUNIT_EXPECT_FALSE(test, hotplug_range_splits_leaf(start, start + PMD_SIZE));
	KUNIT_EXPECT_TRUE(test, hotplug_range_splits_leaf(start, start + PAGE_SIZE));
	KUNIT_EXPECT_TRUE(test, hotplug_range_splits_leaf(start + PMD_SIZE - PAGE_SIZE,
							  start + 2 * PMD_SIZE));
	unmap(ctx, 0, 2 * PMD_SIZE);

	KUNIT_ASSERT_EQ(test, map(ctx, 0, 2 * CONT_PTE_SIZE, HOTPLUG_NO_BLOCK), 0);
	KUNIT_EXPECT_FALSE(test, hotplug_range_splits_leaf(start, start + CONT_PTE_SIZE));
	KUNIT_EXPECT_TRUE(test, hotplug_range_splits_leaf(start + PAGE_SIZE,
							  start + CONT_PTE_SIZE));
	unmap(ctx, 0, 2 * CONT_PTE_SIZE);
	KUNIT_EXPECT_EQ(test, unmap(ctx, 0, 2 * UNIT), 0);
}

/* Part of a leaf of the linear map cannot be removed; here there is just the map */
static void splitting_removal_is_refused(struct kunit *test)
{
	u64 start = ALIGN(memblock_end_of_DRAM(), SZ_1G);
	unsigned long va = __phys_to_virt(start), end = va + 2 * PMD_SIZE;
	struct hotplug_batch batch;
	int ret;

	if (start + 2 * PMD_SIZE - 1 > arch_get_mappable_range().end)
		kunit_skip(test, "memory ends where the linear map does");

	mem_hotplug_begin();
	ret = map_hotplug_range(va, end, start, pgprot_device(PAGE_KERNEL),
				HOTPLUG_NO_CONT, NULL);
	if (!ret) {
		KUNIT_EXPECT_EQ(test, arch_check_remove_memory(start, PMD_SIZE), 0);
		KUNIT_EXPECT_EQ(test, arch_check_remove_memory(start, PMD_SIZE / 2), -EBUSY);
		KUNIT_EXPECT_EQ(test, arch_check_remove_memory(start + PMD_SIZE / 2, PMD_SIZE),
				-EBUSY);
		hotplug_batch_init(&batch);
		unmap_hotplug_range(va, end, _PAGE_OFFSET(vabits_actual), PAGE_END,
				    HOTPLUG_LINEAR, &batch);
		hotplug_batch_finish(&batch);
	}
	mem_hotplug_done();
	if (ret == -EEXIST)
		kunit_skip(test, "a device's memory is mapped there");
	KUNIT_EXPECT_EQ(test, ret, 0);
}

/* What the linear map has no place for is refused, to drivers and by the arch code itself */
static void beyond_the_map_is_refused(struct kunit *test)
{
	u64 size = memory_block_size_bytes();
	u64 start = ALIGN(arch_get_mappable_range().end + 1, size);
	struct mhp_params params = { .pgprot = PAGE_KERNEL };

	KUNIT_EXPECT_EQ(test, add_memory(first_online_node, start, size, MHP_NONE), -E2BIG);
	mem_hotplug_begin();
	KUNIT_EXPECT_EQ(test, arch_add_memory(first_online_node, start, size, &params), -E2BIG);
	mem_hotplug_done();
}

/* A block of memmap that is still used in part stays, and is accounted once */
static void memmap_goes_whole(struct kunit *test)
{
	struct ctx *ctx = test->priv;
	struct vmem_altmap altmap = {
		.base_pfn = PHYS_PFN(ctx->phys),
		.end_pfn = PHYS_PFN(ctx->phys + 2 * PMD_SIZE) - 1,
		.alloc = 2 * PTRS_PER_PTE,
	};

	KUNIT_ASSERT_EQ(test, map(ctx, 0, 2 * PMD_SIZE, HOTPLUG_NO_CONT), 0);

	unmap_memmap(ctx, PAGE_SIZE, PMD_SIZE - PAGE_SIZE, &altmap);
	expect_mapped(test, 0, 2 * PMD_SIZE, true);
	KUNIT_EXPECT_EQ(test, altmap.alloc, 2 * PTRS_PER_PTE);

	unmap_memmap(ctx, 0, PMD_SIZE + PAGE_SIZE, &altmap);
	expect_mapped(test, 0, PMD_SIZE, false);
	expect_mapped(test, PMD_SIZE, PMD_SIZE, true);
	KUNIT_EXPECT_EQ(test, altmap.alloc, PTRS_PER_PTE);

	unmap_memmap(ctx, 0, 2 * PMD_SIZE, &altmap);
	expect_mapped(test, 0, 2 * PMD_SIZE, false);
	KUNIT_EXPECT_EQ(test, altmap.alloc, 0);
	KUNIT_EXPECT_EQ(test, unmap(ctx, 0, 2 * UNIT), 0);
}

/* What PAR_EL1 says of a read at the first and the last page, and of a write there */
struct pars {
	unsigned long first, last;
	u64 read_first, read_last, write_last;
};

static void ask_attributes(void *data)
{
	struct pars *p = data;

	p->read_first = ask(p->first, false);
	p->read_last = ask(p->last, false);
	p->write_last = ask(p->last, true);
}

static void expect_attributes(struct kunit *test, unsigned long size, pgprot_t prot,
			      unsigned int attr, bool writable)
{
	struct ctx *ctx = test->priv;
	struct pars p = { .first = ctx->start, .last = ctx->start + size - PAGE_SIZE };
	int cpu;

	KUNIT_ASSERT_EQ(test, map_prot(ctx, 0, size, prot, 0), 0);
	cpus_read_lock();
	for_each_online_cpu(cpu) {
		smp_call_function_single(cpu, ask_attributes, &p, 1);
		KUNIT_EXPECT_EQ(test, p.read_first & PAR_ATTR, FIELD_PREP(PAR_ATTR, attr));
		KUNIT_EXPECT_EQ(test, p.read_last & PAR_ATTR, FIELD_PREP(PAR_ATTR, attr));
		KUNIT_EXPECT_FALSE(test, p.read_last & SYS_PAR_EL1_F);
		/* Inner shareable; of what is not cached the MMU may say: outer */
		if (attr != MAIR_ATTR_NORMAL_NC)
			KUNIT_EXPECT_EQ(test, FIELD_GET(SYS_PAR_EL1_SH, p.read_last), 3);
		KUNIT_EXPECT_EQ(test, !(p.write_last & SYS_PAR_EL1_F), writable);
	}
	cpus_read_unlock();
	unmap(ctx, 0, size);
	KUNIT_EXPECT_EQ(test, unmap(ctx, 0, 2 * UNIT), 0);
}

/* Have as much memory as that behind the range, which one may read by speculation */
static bool use_memory(struct ctx *ctx, unsigned long size)
{
	phys_addr_t start, end;
	u64 i;

	for_each_mem_range(i, &start, &end) {
		start = ALIGN(start, size);
		if (start < end && end - start >= size) {
			ctx->phys = start;
			return true;
		}
	}
	return false;
}

/* Memory type and permissions are those that were asked for, of pages and blocks */
static void attributes(struct kunit *test)
{
	static const unsigned long sizes[] = {
		PAGE_SIZE, CONT_PTE_SIZE, PMD_SIZE,
	};
	struct ctx *ctx = test->priv;
	int i;

	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		if (!use_memory(ctx, sizes[i]))
			kunit_skip(test, "no memory of %lu KiB in one piece", sizes[i] / SZ_1K);
		expect_attributes(test, sizes[i], PAGE_KERNEL, MAIR_ATTR_NORMAL, true);
		expect_attributes(test, sizes[i], PAGE_KERNEL_RO, MAIR_ATTR_NORMAL, false);
		expect_attributes(test, sizes[i], pgprot_writecombine(PAGE_KERNEL),
				  MAIR_ATTR_NORMAL_NC, true);
		/* As the linear map of memory that has tags */
		if (system_supports_mte())
			expect_attributes(test, sizes[i], pgprot_tagged(PAGE_KERNEL),
					  MAIR_ATTR_NORMAL_TAGGED, true);
	}
}

/* A table that reaches below the floor or above the ceiling is not ours to free */
static void shared_tables_stay(struct kunit *test)
{
	struct ctx *ctx = test->priv;
	unsigned long at = PAGE_SIZE, end = 2 * PAGE_SIZE;

	KUNIT_ASSERT_EQ(test, map(ctx, at, PAGE_SIZE, 0), 0);
	KUNIT_EXPECT_EQ(test, unmap_what(ctx, at, PAGE_SIZE, at, 2 * UNIT, NULL), 0);
	expect_mapped(test, at, PAGE_SIZE, false);
	KUNIT_EXPECT_EQ(test, unmap_what(ctx, at, PAGE_SIZE, 0, end, NULL), 0);
	KUNIT_EXPECT_NE(test, unmap(ctx, at, PAGE_SIZE), 0);
	KUNIT_EXPECT_EQ(test, unmap(ctx, 0, 2 * UNIT), 0);
}

/*
 * Tables that vmalloc and the memmap both need are there, used or not: the two
 * install tables without a common lock, and one could overwrite the other's. Only
 * a linear map that was randomized far enough could leave one out.
 */
static void shared_tables_are_there(struct kunit *test)
{
	unsigned long below = VMALLOC_END - 1, addr = VMALLOC_END + SZ_8M;
	pgd_t *pgdp = pgd_offset_k(addr);
	p4d_t *p4dp;
	pud_t *pudp;

	if ((below ^ addr) >> PGDIR_SHIFT)
		return;
	KUNIT_ASSERT_FALSE(test, pgd_none(READ_ONCE(*pgdp)));
	p4dp = p4d_offset(pgdp, addr);
	if ((below ^ addr) >> P4D_SHIFT)
		return;
	KUNIT_ASSERT_FALSE(test, p4d_none(READ_ONCE(*p4dp)));
	pudp = pud_offset(p4dp, addr);
	if ((below ^ addr) >> PUD_SHIFT)
		return;
	KUNIT_EXPECT_FALSE(test, pud_none(READ_ONCE(*pudp)));
}

/* The ith of the ranges that go at once, of two regions in turn */
static unsigned long place(int i)
{
	return i % 2 * UNIT + 2 * i * PMD_SIZE;
}

/*
 * Ranges far apart, of a linear map and of a memmap, go in one batch, more of them than
 * it can tell apart as well
 */
static void one_batch(struct kunit *test)
{
	struct ctx *ctx = test->priv;
	phys_addr_t phys = ctx->phys;
	int i, n;

	for (n = 1; n <= HOTPLUG_BATCH_RANGES + 1; n++) {
		struct vmem_altmap altmap = {
			.base_pfn = PHYS_PFN(phys),
			.end_pfn = PHYS_PFN(phys),
			.alloc = n,
		};
		struct hotplug_batch batch;

		/* A page that is there, so that CPUs read it */
		for (i = 0; i < n; i++) {
			ctx->phys = phys - place(i);
			KUNIT_ASSERT_EQ(test, map(ctx, place(i), PAGE_SIZE, 0), 0);
			expect_mapped(test, place(i), PAGE_SIZE, true);
		}
		mem_hotplug_begin();
		hotplug_batch_init(&batch);
		batch.altmap = &altmap;
		for (i = 0; i < n; i++) {
			unsigned long va = ctx->start + place(i);

			unmap_hotplug_range(va, va + PAGE_SIZE, ctx->start,
					    ctx->start + 2 * UNIT,
					    i % 2 ? HOTPLUG_VMEMMAP : HOTPLUG_LINEAR,
					    &batch);
		}
		hotplug_batch_finish(&batch);
		mem_hotplug_done();
		KUNIT_EXPECT_EQ(test, batch.nr_flushes,
				n > HOTPLUG_BATCH_RANGES ? 1 : n);
		KUNIT_EXPECT_EQ(test, altmap.alloc, n - n / 2);
		for (i = 0; i < n; i++) {
			ctx->phys = phys - place(i);
			expect_mapped(test, place(i), PAGE_SIZE, false);
		}
		KUNIT_EXPECT_EQ(test, unmap(ctx, 0, 2 * UNIT), 0);
	}
}

static int hotplug_test_init(struct kunit *test)
{
	struct ctx *ctx = kunit_kzalloc(test, sizeof(*ctx), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, ctx);
	ctx->area = get_vm_area(3 * UNIT, VM_MAP);
	if (!ctx->area)
		kunit_skip(test, "no virtual range of %lu MiB", 3 * UNIT >> 20);
	ctx->start = ALIGN((unsigned long)ctx->area->addr, UNIT);
	/* At most read */
	ctx->phys = ALIGN_DOWN(__pa_symbol(_text), PMD_SIZE);
	/* Who had the range before may have left tables */
	unmap(ctx, 0, 2 * UNIT);
	test->priv = ctx;
	return 0;
}

static void hotplug_test_exit(struct kunit *test)
{
	struct ctx *ctx = test->priv;

	if (ctx)
		free_vm_area(ctx->area);
}

static struct kunit_case hotplug_test_cases[] = {
	KUNIT_CASE(boot_memory_stays),
	KUNIT_CASE(map_and_unmap),
	KUNIT_CASE(large_leaves),
	KUNIT_CASE(add_over_mapping),
	KUNIT_CASE(neighbours_stay),
	KUNIT_CASE(splits_are_seen),
	KUNIT_CASE(splitting_removal_is_refused),
	KUNIT_CASE(beyond_the_map_is_refused),
	KUNIT_CASE(memmap_goes_whole),
	KUNIT_CASE(attributes),
	KUNIT_CASE(shared_tables_stay),
	KUNIT_CASE(shared_tables_are_there),
	KUNIT_CASE(one_batch),
	{}
};

static struct kunit_suite hotplug_test_suite = {
	.name = "arm64_hotplug",
	.init = hotplug_test_init,
	.exit = hotplug_test_exit,
	.test_cases = hotplug_test_cases,
};

kunit_test_suite(hotplug_test_suite);
