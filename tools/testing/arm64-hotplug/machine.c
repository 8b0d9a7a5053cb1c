// SPDX-License-Identifier: GPL-2.0-only
/*
 * The machine that the engine runs on: memory with an owner for every page, and
 * TLBs as hostile as the architecture permits. Included by sim.c.
 *
 * The TLBs. Rules in brackets are those of the Arm ARM, DDI 0487, D8.16 and
 * D8.17, under the names that they keep over its issues.
 *
 * - Whatever is valid may be cached at any time, on every CPU, tables included
 *   [R_SQBCS, R_RRVJDB]: so every entry that was valid is taken to be cached.
 *   Nothing but an invalidation drops it; what is not valid is never cached
 *   [R_XCLRD], so mapping what was unmapped needs none [I_WZCBG].
 * - An invalidation works on an entry only if the store that cleared the entry
 *   was made visible by a DSB before, and is complete only with a DSB after it,
 *   both for the shareability domain of all CPUs [R_DDMVT, R_TGVWD].
 * - It drops an entry of any level that is used to translate an address within
 *   its range; a block goes by any address in it, however it is cached
 *   [R_LGSCG]. With "L" it drops what the last lookup returned, not tables; with
 *   a level hint, only leaves of that level [I_DMCXY]. Tables count as non-global
 *   [R_CHVGJ], and so do kernel leaves under KPTI: it must be for all ASIDs.
 * - A contiguous group may be cached as one entry as long as one member is
 *   valid; to drop it all of its range must be invalidated [D8.7.1].
 * - A valid entry is never replaced, nor anything mapped where an old entry may
 *   still be cached: break before make [R_WHZWS].
 *
 * A stale entry is one that is not valid any more and may still be cached. All
 * entries in a table are stale once the link to it is cleared: a walker may be
 * in there.
 */

#define NR_TABLES	(PAGE_SHIFT == 16 ? 128 : 512)
#define NR_MEMMAP	1024
#define NR_BLOCKS	32
#define NR_PAGES	(NR_TABLES + NR_MEMMAP + NR_BLOCKS)
#define NR_STALE	4096
#define LAST		3	/* the last level */

/* Where things are in physical memory; high, so that encodings count */
#define TABLES_PA	((3UL << (PA_BITS - 4)) + 0x740000000)
#define MEMMAP_PA	((5UL << (PA_BITS - 4)) + 0x740000000)
#define ALTMAP_PA	(6UL << (PA_BITS - 4))
#define BLOCKS_PA	(7UL << (PA_BITS - 4))
#define ALTMAP_PAGES	(8 * PTRS_PER_PTE)

struct stale {
	u64 first, last;	/* a run of entries of one level */
	int level;
	bool table;
	pte_t *group;		/* contiguous, in a live table: its first entry */
	enum { CLEARED, VISIBLE, ISSUED } state;
};

struct pool {
	unsigned int first, nr;		/* pages[first] to pages[first + nr - 1] */
	unsigned int next, in_use;
};

static struct {
	int root_level;
	unsigned int root_entries;
	pte_t *root;
	unsigned char *tables;		/* NR_TABLES pages */
	struct page pages[NR_PAGES];
	struct pool table_pool, memmap_pool, block_pool;
	struct stale stale[NR_STALE];
	unsigned int nr_stale;
	struct page *private[NR_TABLES];
	unsigned int nr_private;
	struct vmem_altmap altmap;
	unsigned int altmap_next;

	u64 root_sum;
	u64 table_attrs;		/* that tables linked now have to have */
	unsigned int fail_at;		/* this allocation fails */
	bool alloc_failed;
	bool generic;			/* it is not the engine that runs */
	bool lock_asserted;
	bool may_warn, warned;
	bool unpublished;		/* valid entries stored, no DSB since */
	bool unsynchronized;		/* a DSB, no ISB since */
	unsigned long stores;		/* to live tables */
	unsigned long reads;
	unsigned long invalidations;
	unsigned long detached, detached_upper, unmapped_memmap;
	unsigned int busy;		/* pages had or freed without a rest */
} machine;

/* The checks read what they like, as fast as they can */
#define UNCHECKED __attribute__((no_sanitize("address", "undefined")))

static u64 level_span_mask(int level)
{
	return BIT(ARM64_HW_PGTABLE_LEVEL_SHIFT(level)) - 1;
}

static u64 group_mask(int level)
{
	return (level == LAST ? CONT_PTE_SIZE : CONT_PMD_SIZE) - 1;
}

/* Of what a table of @level serves */
static u64 table_span_mask(int level)
{
	return level_span_mask(level - 1);
}

static bool entry_is_table(pteval_t val, int level)
{
	return level < LAST && (val & PTE_TYPE_MASK) == PMD_TYPE_TABLE;
}

/* ---- pages ---- */

static unsigned long page_index(const struct page *page)
{
	return page - machine.pages;
}

static bool in_tables(const void *p)
{
	const unsigned char *c = p;

	return c >= machine.tables && c < machine.tables + NR_TABLES * PAGE_SIZE;
}

static struct page *virt_to_page(const void *va)
{
	if (!in_tables(va))
		broken("stray-pointer", "virt_to_page() of what is no page table");
	return machine.pages +
	       ((const unsigned char *)va - machine.tables) / PAGE_SIZE;
}

static void *page_address(const struct page *page)
{
	if (page_index(page) >= NR_TABLES)
		broken("stray-pointer", "page_address() of what is no page table");
	return machine.tables + page_index(page) * PAGE_SIZE;
}

static phys_addr_t __pa(const void *va)
{
	return TABLES_PA + page_index(virt_to_page(va)) * PAGE_SIZE;
}

static void *__va(phys_addr_t pa)
{
	if (pa < TABLES_PA || pa >= TABLES_PA + NR_TABLES * PAGE_SIZE ||
	    pa & ~PAGE_MASK)
		broken("stray-pointer", "%#lx taken for a page table", pa);
	return machine.tables + (pa - TABLES_PA);
}

static struct page *pfn_to_page(unsigned long pfn)
{
	u64 pa = pfn << PAGE_SHIFT;

	if (pa >= MEMMAP_PA && pa < MEMMAP_PA + NR_MEMMAP * PAGE_SIZE)
		return &machine.pages[NR_TABLES + (pa - MEMMAP_PA) / PAGE_SIZE];
	if (pa >= BLOCKS_PA && pa < BLOCKS_PA + NR_BLOCKS * PMD_SIZE &&
	    !(pa & (PMD_SIZE - 1)))
		return &machine.pages[NR_TABLES + NR_MEMMAP +
				      (pa - BLOCKS_PA) / PMD_SIZE];
	broken("stray-pointer", "pfn_to_page() of %#lx, which has no struct page",
	       pa);
}

static phys_addr_t memmap_pa(const struct page *page)
{
	unsigned long i = page_index(page) - NR_TABLES;

	return i < NR_MEMMAP ? MEMMAP_PA + i * PAGE_SIZE :
			       BLOCKS_PA + (i - NR_MEMMAP) * PMD_SIZE;
}

UNCHECKED static u64 table_sum(const pte_t *table, unsigned int nr)
{
	u64 sum = 0;

	for (unsigned int i = 0; i < nr; i++)
		sum += pte_val(table[i]);
	return sum;
}

static struct page *pool_get(struct pool *pool)
{
	struct page *page;

	if (pool->in_use == pool->nr)
		return NULL;
	/* The page that was free for longest: use after free shows for long */
	do {
		page = &machine.pages[pool->first + pool->next];
		pool->next = (pool->next + 1) % pool->nr;
	} while (page->owner != FREE);
	pool->in_use++;
	memset(page, 0, sizeof(*page));
	return page;
}

static bool allocation_fails(void)
{
	return machine.fail_at && !--machine.fail_at;
}

static void work_on_page(void)
{
	if (++machine.busy > 64)
		broken("soft-lockup", "%u pages without cond_resched()",
		       machine.busy);
}

static unsigned long __get_free_page(gfp_t gfp)
{
	struct page *page;

	if (!machine.generic) {
		work_on_page();
		if (!(gfp & __GFP_RETRY_MAYFAIL) || !(gfp & __GFP_NOWARN))
			broken("oom-killer", "an allocation that wakes it");
	}
	page = allocation_fails() ? NULL : pool_get(&machine.table_pool);
	if (!page) {
		machine.alloc_failed = true;
		return 0;
	}
	page->owner = PRIVATE;
	machine.private[machine.nr_private++] = page;
	__asan_unpoison_memory_region(page_address(page), PAGE_SIZE);
	return (unsigned long)page_address(page);
}

static struct page *get_memmap_page(unsigned int order)
{
	struct page *page;

	page = allocation_fails() ? NULL :
	       pool_get(order ? &machine.block_pool : &machine.memmap_pool);
	if (!page) {
		machine.alloc_failed = true;
		return NULL;
	}
	page->owner = MEMMAP;
	page->order = order;
	return page;
}

static void forget_private(struct page *page)
{
	for (unsigned int i = machine.nr_private; i--; ) {
		if (machine.private[i] == page) {
			machine.private[i] = machine.private[--machine.nr_private];
			return;
		}
	}
}

/* Whether a stale entry of at most @level leads to [first, last] */
static const struct stale *stale_above(u64 first, u64 last, int level)
{
	for (unsigned int i = 0; i < machine.nr_stale; i++) {
		struct stale *s = &machine.stale[i];

		if (s->level <= level && s->first <= last && s->last >= first)
			return s;
	}
	return NULL;
}

static const char *how_far(const struct stale *s)
{
	return s->state == CLEARED ? "its clearing is not visible yet" :
	       s->state == VISIBLE ? "no invalidation has covered it" :
	       "the invalidation is not complete";
}

static void __free_pages(struct page *page, unsigned int order)
{
	const struct stale *s = NULL;
	const char *what;
	struct pool *pool = &machine.table_pool;

	work_on_page();
	if (page->reserved || page->constructed)
		broken("not-ours", "a table of somebody else's is freed");

	switch (page->owner) {
	case FREE:
		broken("double-free", "page %lu is free already", page_index(page));
	case TABLE:
		broken("live-free", "table of level %d at %#lx is freed, linked",
		       page->level, page->va);
	case PRIVATE:
		forget_private(page);
		break;
	case DETACHED:
		if (page->sum != table_sum(page_address(page), PTRS_PER_PTE))
			broken("detached-store",
			       "a walker may be in the table of level %d at %#lx",
			       page->level, page->va);
		s = stale_above(page->va,
				page->va | table_span_mask(page->level),
				page->level - 1);
		if (!s && !page->kicked)
			broken("software-walker", "no IPI before table of level %d at %#lx goes",
			       page->level, page->va);
		break;
	case MEMMAP:
		if (page->mapped)
			broken("live-free", "memmap page at %#lx is freed, mapped",
			       page->va);
		if (page->va)
			s = stale_above(page->va,
					page->va | level_span_mask(page->level),
					page->level);
		pool = page->order ? &machine.block_pool : &machine.memmap_pool;
		break;
	}
	what = page->owner == MEMMAP ? "memmap page" : "table";
	if (s)
		broken("stale-free", "%s at %#lx, but level %d, [%#lx, %#lx], leads there: %s",
		       what, page->va, s->level, s->first, s->last, how_far(s));
	if (order != page->order)
		broken("wrong-order", "%s of order %u freed as order %u", what,
		       page->order, order);

	page->owner = FREE;
	/* Nobody has a right to what was in it */
	page->lru.next = NULL;
	page->lru.prev = NULL;
	page->private = ~0UL;
	pool->in_use--;
	if (pool == &machine.table_pool) {
		memset(page_address(page), 0x5b, PAGE_SIZE);
		__asan_poison_memory_region(page_address(page), PAGE_SIZE);
	}
}

static void vmem_altmap_free(struct vmem_altmap *altmap, unsigned long nr)
{
	if (altmap != &machine.altmap || altmap->alloc < nr)
		broken("altmap", "%lu pages given back, %lu had", nr, altmap->alloc);
	altmap->alloc -= nr;
	machine.unmapped_memmap += nr;
}

/* ---- the TLBs ---- */

static void push_stale(struct stale s)
{
	if (machine.nr_stale == NR_STALE) {
		fprintf(stderr, "error: NR_STALE is too small\n");
		abort();
	}
	machine.stale[machine.nr_stale++] = s;
}

static void add_stale(u64 first, u64 last, int level, bool table, pte_t *group)
{
	struct stale *s = machine.stale + machine.nr_stale;

	if (machine.nr_stale && (--s)->state == CLEARED && s->level == level &&
	    s->table == table && s->group == group) {
		if (group)
			return;
		if (s->last + 1 == first) {
			s->last = last;
			return;
		}
	}
	push_stale((struct stale) { first, last, level, table, group, CLEARED });
}

/* A contiguous group can be cached again as long as a member is valid */
UNCHECKED static bool group_lives(const struct stale *s)
{
	unsigned int nr = (group_mask(s->level) + 1) /
			  (level_span_mask(s->level) + 1);

	if (!s->group)
		return false;
	if (in_tables(s->group) && virt_to_page(s->group)->owner != TABLE)
		return false;
	for (unsigned int i = 0; i < nr; i++) {
		if (pte_val(s->group[i]))
			return true;
	}
	return false;
}

static void machine_tlbi(const char *op, u64 start, u64 last, int level)
{
	bool all = !strncmp(op, "vmalle1", 7);
	bool leaves = !strncmp(op, "vaale1", 6) || !strncmp(op, "vale1", 5);
	unsigned int i, nr = machine.nr_stale;

	machine.invalidations++;
	if (strcmp(op + strlen(op) - 2, "is"))
		return;		/* the other CPUs keep what they have */
	if (!all && strncmp(op, "vaa", 3))
		return;		/* one ASID: the others keep what they have */

	for (i = 0; i < nr; i++) {
		struct stale *s = &machine.stale[i], rest = *s;
		u64 mask = level_span_mask(s->level);
		u64 first = start & ~mask, end = last | mask;

		if (s->state != VISIBLE || s->first > end || s->last < first)
			continue;
		if (s->table ? leaves || level != TLBI_TTL_UNKNOWN :
		    level != TLBI_TTL_UNKNOWN && level != s->level)
			continue;
		if (group_lives(s))
			continue;

		s->state = ISSUED;
		if (s->first < first) {
			s->first = first;
			rest.last = first - 1;
			push_stale(rest);
			rest.last = s->last;
		}
		if (s->last > end) {
			s->last = end;
			rest.first = end + 1;
			push_stale(rest);
		}
	}
}

static void tlbi_range(const char *op, u64 start, u64 pages, u64 stride,
		       int level, bool lpa2)
{
	if (stride != PAGE_SIZE)
		broken("tlbi-range", "%lu bytes at a time: pages are passed over", stride);
	/* The macro would never come to a base in units of 64K */
	if (start & ~PAGE_MASK)
		broken("tlbi-range", "begins within a page");
	if (!pages) {
		machine.invalidations++;
		return;
	}
	if (cpu.tlb_range && pages > MAX_TLBI_RANGE_PAGES)
		broken("tlbi-range", "%lu pages do not fit into one instruction",
		       pages);
	if (!cpu.tlb_range && pages > 64)
		broken("tlbi-range", "%lu instructions, one for each page", pages);
	/* The base address is in units of 64K if TCR.DS is set, else of pages */
	if (cpu.tlb_range && lpa2 != lpa2_is_enabled()) {
		machine.invalidations++;
		return;
	}
	machine_tlbi(op, start, start + pages * PAGE_SIZE - 1, level);
}

static void machine_dsb(const char *kind)
{
	bool stores_only = strstr(kind, "st");
	unsigned int to = 0;
	unsigned int i;

	if (!strncmp(kind, "nsh", 3) || strstr(kind, "ld"))
		return;		/* says nothing to other CPUs */

	machine.unsynchronized |= machine.unpublished;
	machine.unpublished = false;
	for (i = 0; i < machine.nr_private; i++) {
		struct page *page = machine.private[i];

		page->sum = table_sum(page_address(page), PTRS_PER_PTE);
		page->visible = true;
	}

	for (i = 0; i < machine.nr_stale; i++) {
		struct stale *s = &machine.stale[i];

		if (s->state == ISSUED && !stores_only &&
		    (!cpu.erratum || strstr(kind, "repeated"))) {
			machine.unsynchronized = true;
			continue;
		}
		if (s->state == CLEARED)
			s->state = VISIBLE;
		machine.stale[to++] = *s;
	}
	machine.nr_stale = to;
}

static void machine_isb(void)
{
	machine.unsynchronized = false;
}

/* ---- stores ---- */

static bool in_swapper_pgdir(void *p)
{
	return (pte_t *)p >= machine.root &&
	       (pte_t *)p < machine.root + machine.root_entries;
}

static const void *seen_read(const void *p)
{
	machine.reads++;
	return p;
}

/* A link to @table is stored: it and all below it can be walked from now on */
UNCHECKED static void link_table(pte_t *table, pteval_t entry, int level, u64 va)
{
	struct page *page = virt_to_page(table);
	u64 attrs = entry & (PMD_TABLE_PXN | PMD_TABLE_UXN);

	if (page->owner != PRIVATE)
		broken("linked-twice", "table of level %d at %#lx", level, va);
	if (!page->visible ||
	    page->sum != table_sum(table, PTRS_PER_PTE))
		broken("published-early", "level %d, %#lx: its entries may not be visible",
		       level, va);
	if (attrs != machine.table_attrs)
		broken("wrong-table", "attributes %#lx of table of level %d at %#lx",
		       attrs, level, va);

	forget_private(page);
	page->owner = TABLE;
	page->level = level;
	page->va = va;

	if (level == LAST)
		return;
	for (unsigned int i = 0; i < PTRS_PER_PTE; i++) {
		pteval_t val = pte_val(table[i]);

		if (entry_is_table(val, level))
			link_table(__va(__pte_to_phys(table[i])), val, level + 1,
				   va + i * (level_span_mask(level) + 1));
	}
}

/* The leaf @val is not valid any more: if it maps memmap, that can be freed */
static void unmap_leaf(pteval_t val)
{
	phys_addr_t pa = __pte_to_phys(__pte(val));
	struct page *page;

	if (pa < MEMMAP_PA || pa >> (PA_BITS - 1) ||
	    (pa >= ALTMAP_PA && pa < BLOCKS_PA))
		return;
	page = pfn_to_page(pa >> PAGE_SHIFT);
	page->mapped = false;
	machine.unmapped_memmap += 1UL << page->order;
}

static bool may_be_empty(const struct page *page);

/* The link to @table is gone, so all that it holds is stale */
UNCHECKED static void unlink_table(pte_t *table)
{
	struct page *page = virt_to_page(table);
	int level = page->level;
	u64 step = level_span_mask(level) + 1;

	/* Another region's user may be about to fill it, under another lock */
	if (may_be_empty(page))
		broken("not-ours", "table of level %d at %#lx is somebody else's too",
		       level, page->va);
	page->owner = DETACHED;
	machine.detached++;
	machine.detached_upper += level < LAST;

	for (unsigned int i = 0; i < PTRS_PER_PTE; i++) {
		pteval_t val = pte_val(table[i]);
		u64 va = page->va + i * step;

		if (!val)
			continue;
		add_stale(va, va + step - 1, level, entry_is_table(val, level),
			  NULL);
		if (!entry_is_table(val, level))
			unmap_leaf(val);
	}
	for (unsigned int i = 0; level < LAST && i < PTRS_PER_PTE; i++) {
		if (entry_is_table(pte_val(table[i]), level))
			unlink_table(__va(__pte_to_phys(table[i])));
	}
}

static void live_store(pte_t *ptep, pteval_t val, bool to_root)
{
	struct page *page = NULL;
	pteval_t old = pte_val(*ptep);
	const struct stale *s;
	int level;
	u64 va, mask;

	if (in_swapper_pgdir(ptep)) {
		if (!to_root)
			broken("read-only-root", "a plain store to the root table");
		level = machine.root_level;
		mask = level_span_mask(level);
		/* The root's last entry is for the last addresses there are */
		va = (u64)(ptep - machine.root) - machine.root_entries;
		va *= mask + 1;
		machine.root_sum += val - old;
	} else {
		page = virt_to_page(ptep);
		if (page->owner != TABLE) {
			*ptep = __pte(val);
			return;
		}
		level = page->level;
		mask = level_span_mask(level);
		va = page->va + (ptep - (pte_t *)page_address(page)) * (mask + 1);
		page->sum += val - old;
	}

	machine.stores++;
	if (val && !(val & 1))
		broken("wrong-leaf", "%#lx is no descriptor", val);
	if (old && val)
		broken("break-before-make", "entry of level %d for %#lx goes from %#lx to %#lx",
		       level, va, old, val);
	if (val) {
		s = stale_above(va, va | mask, LAST);
		if (s)
			broken("break-before-make", "[%#lx, %#lx], but level %d may be cached: %s",
			       va, va | mask, s->level, how_far(s));
		if (entry_is_table(val, level))
			link_table(__va(__pte_to_phys(__pte(val))), val,
				   level + 1, va);
		*ptep = __pte(val);
		machine.unpublished = true;
		return;
	}

	*ptep = __pte(0);
	if (!old)
		return;
	if (entry_is_table(old, level)) {
		add_stale(va, va | mask, level, true, NULL);
		unlink_table(__va(__pte_to_phys(__pte(old))));
	} else if (old & PTE_CONT) {
		u64 group = va & ~group_mask(level);

		add_stale(group, va | group_mask(level), level, false,
			  ptep - (va - group) / (mask + 1));
		unmap_leaf(old);
	} else {
		add_stale(va, va | mask, level, false, NULL);
		unmap_leaf(old);
	}
}

/* ---- the rest ---- */

static void mem_hotplug_assert_write_held(void)
{
	machine.lock_asserted = true;
}

static bool seen_warning(int line, const char *condition)
{
	if (!machine.may_warn)
		broken("warning", "line %d: %s", line, condition);
	machine.warned = true;
	return true;
}

static void cond_resched(void)
{
	machine.busy = 0;
}

static void kick_all_cpus_sync(void)
{
	for (unsigned int i = 0; i < NR_TABLES; i++)
		machine.pages[i].kicked = machine.pages[i].owner == DETACHED;
}

static void machine_reset(bool fallback)
{
	bool folded = fallback && PAGE_SHIFT != 16;

	cpu.fallback = fallback;
	cpu.tlb_range = true;
	cpu.erratum = false;

	if (!machine.tables) {
		machine.tables = mmap(NULL, (NR_TABLES + 1) * PAGE_SIZE,
				      PROT_READ | PROT_WRITE,
				      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (machine.tables == MAP_FAILED) {
			perror("error: mmap");
			exit(2);
		}
		machine.root = (pte_t *)(machine.tables + NR_TABLES * PAGE_SIZE);
		__asan_poison_memory_region(machine.tables, NR_TABLES * PAGE_SIZE);
	}

	for (unsigned int i = 0; i < NR_PAGES; i++) {
		struct page *page = &machine.pages[i];

		if (i < NR_TABLES && page->owner != FREE)
			__asan_poison_memory_region(page_address(page), PAGE_SIZE);
		page->owner = FREE;
	}
	machine.table_pool = (struct pool) { 0, NR_TABLES };
	machine.memmap_pool = (struct pool) { NR_TABLES, NR_MEMMAP };
	machine.block_pool = (struct pool) { NR_TABLES + NR_MEMMAP, NR_BLOCKS };
	machine.altmap = (struct vmem_altmap) {
		.base_pfn = ALTMAP_PA >> PAGE_SHIFT,
		.end_pfn = (ALTMAP_PA >> PAGE_SHIFT) + ALTMAP_PAGES - 1,
	};
	machine.altmap_next = 0;
	machine.nr_stale = 0;
	machine.nr_private = 0;

	machine.root_level = 4 - CONFIG_PGTABLE_LEVELS + folded;
	machine.root_entries = folded ? PTRS_PER_PTE : PTRS_PER_PGD;
	machine.root_sum = 0;
	__asan_unpoison_memory_region(machine.root, PAGE_SIZE);
	memset(machine.root, 0, PAGE_SIZE);
	__asan_poison_memory_region(machine.root + machine.root_entries,
				    PAGE_SIZE - machine.root_entries * 8);
	init_mm.pgd = (pgd_t *)machine.root;
	machine.unpublished = false;
	machine.unsynchronized = false;
	machine.alloc_failed = false;
	machine.generic = false;
	machine.fail_at = 0;
	machine.busy = 0;
}
