// SPDX-License-Identifier: GPL-2.0-only
/*
 * The memmap of devices that come and go within some sections: vmemmap_free() of
 * hotplug.c and what it rests on, unchanged (the Makefile cuts them out), called as
 * mm/sparse.c and mm/memory_hotplug.c do. Part of sim.c.
 *
 * One rule comes on top of the machine's: a page of memmap is there if and only if a
 * live subsection uses part of it. Early sections are left out.
 */

/* ---- what hotplug.c uses of the kernel ---- */

#define SUBSECTION_SHIFT	21
#define SECTION_SIZE_BITS	(PAGE_SHIFT == 16 ? 29 : 27)
#define PAGES_PER_SECTION	BIT(SECTION_SIZE_BITS - PAGE_SHIFT)
#define PAGES_PER_SUBSECTION	BIT(SUBSECTION_SHIFT - PAGE_SHIFT)
#define SUBSECTIONS_PER_SECTION	(1U << (SECTION_SIZE_BITS - SUBSECTION_SHIFT))
#define NR_SECTIONS		4

/* Of the size that the kernel's has; the machine's own struct page is another */
struct memmap_page {
	char size[64];
};

struct mem_section_usage {
	unsigned long subsection_map[4];
};

static struct mem_section {
	struct mem_section_usage *usage;	/* NULL when no subsection lives */
	struct mem_section_usage own;
} sections[NR_SECTIONS];

#define MEMMAP			(sim.region[VMM].anchor)
#define page_to_pfn(p)		(((unsigned long)(p) - MEMMAP) / sizeof(struct memmap_page))
#define pfn_to_page(pfn)	((struct memmap_page *)MEMMAP + (pfn))
#define __pfn_to_section(pfn)	(&sections[(pfn) / PAGES_PER_SECTION])
#define subsection_map_index(pfn) ((pfn) % PAGES_PER_SECTION / PAGES_PER_SUBSECTION)
#define test_bit(n, map)	((map)[(n) / 64] >> ((n) % 64) & 1)
#define ALIGN_DOWN(x, a)	((x) & -(a))
#define SZ_8M			0x800000UL
#define VMALLOC_END		(sim.region[VMM].floor - SZ_8M)
#define VMEMMAP_END		(sim.region[VMM].ceiling)
#define min(a, b)		((a) < (b) ? (a) : (b))
#define max(a, b)		((a) > (b) ? (a) : (b))

static unsigned int find_next_bit(const unsigned long *map, unsigned int nr,
				  unsigned int at)
{
	while (at < nr && !test_bit(at, map))
		at++;
	return at;
}

#define page memmap_page
#include "hotplug_memmap.h"
#undef page
#undef min
#undef max

/* ---- who calls it ---- */

static bool subsection_lives(unsigned long pfn)
{
	const struct mem_section *s = __pfn_to_section(pfn);

	return s->usage && test_bit(subsection_map_index(pfn), s->usage->subsection_map);
}

/* @nr pages of one section begin or end to live */
static void set_lives(unsigned long pfn, unsigned long nr, bool lives)
{
	struct mem_section *s = __pfn_to_section(pfn);
	unsigned int i = subsection_map_index(pfn);

	if (!s->usage) {
		s->usage = &s->own;
		memset(s->usage, 0, sizeof(*s->usage));
	}
	for (; nr; nr -= PAGES_PER_SUBSECTION, i++) {
		s->usage->subsection_map[i / 64] &= ~BIT(i % 64);
		s->usage->subsection_map[i / 64] |= (unsigned long)lives << i % 64;
	}
	if (find_next_bit(s->usage->subsection_map, SUBSECTIONS_PER_SECTION, 0) ==
	    SUBSECTIONS_PER_SECTION)
		s->usage = NULL;
}

/* How many of [pfn, end) are in the section of the first */
static unsigned long within_section(unsigned long pfn, unsigned long end)
{
	unsigned long stop = ALIGN_DOWN(pfn, PAGES_PER_SECTION) + PAGES_PER_SECTION;

	return (stop < end ? stop : end) - pfn;
}

static void deactivate(unsigned long pfn, unsigned long nr, struct vmem_altmap *altmap)
{
	set_lives(pfn, nr, false);
	vmemmap_free((unsigned long)pfn_to_page(pfn),
		     (unsigned long)pfn_to_page(pfn + nr), altmap);
}

static void remove_pages(unsigned long pfn, unsigned long end, struct vmem_altmap *altmap)
{
	unsigned long nr;

	for (; pfn < end; pfn += nr) {
		cond_resched();
		nr = within_section(pfn, end);
		deactivate(pfn, nr, altmap);
	}
}

/* The page of memmap at @va is there, or is made, from the altmap if @flags say so */
static bool have_page(u64 va, u64 last, unsigned int flags)
{
	struct op op = { .flags = flags };
	u64 next;

	va &= PAGE_MASK;
	return mapped(va, va) || populate_leaf(&op, va, last, &next);
}

/* As vmemmap_populate() does: what neighbours may share at the edges comes from RAM */
static bool populate_section(unsigned long pfn, unsigned long nr, unsigned int flags)
{
	u64 va = (u64)pfn_to_page(pfn), end = (u64)pfn_to_page(pfn + nr);

	if (PAGE_SHIFT == 12 && nr == PAGES_PER_SECTION)
		return have_page(va, end - 1, flags | F_BLOCK);
	if ((va & ~PAGE_MASK && !have_page(va, va | ~PAGE_MASK, 0)) ||
	    (end & ~PAGE_MASK && !have_page(end, end | ~PAGE_MASK, 0)))
		return false;
	for (; va < end; va += PAGE_SIZE) {
		if (!have_page(va, va | ~PAGE_MASK, flags))
			return false;
	}
	return true;
}

/* The model loses what nobody uses, and is then what the tables have to be */
static void check_memmap(void)
{
	u64 va = MEMMAP, end = va + NR_SECTIONS * PAGES_PER_SECTION * sizeof(struct memmap_page);

	for (; va < end; va += PAGE_SIZE) {
		unsigned long pfn = page_to_pfn(va), stop = page_to_pfn(va + PAGE_SIZE);
		const struct run *run = run_from(va);
		bool used = false;

		for (; pfn < stop; pfn += PAGES_PER_SUBSECTION)
			used |= subsection_lives(pfn);
		if (used && !mapped(va, va))
			broken("memmap", "%#lx is in use and not there", va);
		if (!used && mapped(va, va))
			model_unmap(va & ~run_unit_mask(run), va | run_unit_mask(run));
	}
	check_quiet();
	compare_all();
}

/* ---- devices ---- */

static struct device {
	unsigned long pfn, end;		/* none: 0 */
	struct vmem_altmap *altmap;
} devices[12];

#define NR_DEVICES	ARRAY_SIZE(devices)

static void unplug(struct device *d)
{
	struct hotplug_batch batch;

	begin_call();
	hotplug_batch_init(&batch);
	active_batch = &batch;
	remove_pages(d->pfn, d->end, d->altmap);
	active_batch = NULL;
	unmap_unused_memmap(&batch);
	hotplug_batch_finish(&batch);
	if (d->altmap && d->altmap->alloc)
		broken("altmap", "%lu pages are not given back", d->altmap->alloc);
	d->end = 0;
	check_memmap();
}

/* With the @fail-th allocation failing, if not 0; then it is undone */
static void plug(struct device *d, unsigned long pfn, unsigned long end,
		 struct vmem_altmap *altmap, unsigned int fail)
{
	unsigned long at, nr;
	bool ok = true;

	begin_call();
	machine.lock_asserted = true;
	machine.fail_at = fail;
	for (at = pfn; at < end && ok; at += nr) {
		nr = within_section(at, end);
		set_lives(at, nr, true);
		machine.generic = true;
		ok = populate_section(at, nr, altmap ? F_ALTMAP : 0);
		machine.generic = false;
		dsb(ishst);
		isb();
		if (ok)
			continue;
		deactivate(at, nr, altmap);
		remove_pages(pfn, at, altmap);
	}
	machine.fail_at = 0;
	if (ok)
		*d = (struct device) { pfn, end, altmap };
	else if (altmap && altmap->alloc)
		broken("altmap", "%lu pages are not given back", altmap->alloc);
	check_memmap();
}

static void random_device(struct device *d, struct source *source)
{
	unsigned int all = NR_SECTIONS * SUBSECTIONS_PER_SECTION;
	unsigned int first = (random_byte(source) << 8 | random_byte(source)) % all;
	unsigned int few = random_byte(source) & 1 ? 6 : SUBSECTIONS_PER_SECTION;
	unsigned int nr = 1 + random_byte(source) % few;
	unsigned int b = random_byte(source);
	struct vmem_altmap *altmap = b & 1 && !machine.altmap.alloc ? &machine.altmap : NULL;
	unsigned long pfn, end, at;

	/* Some are of whole sections */
	if (!(b & 0x0e)) {
		first -= first % SUBSECTIONS_PER_SECTION;
		nr = SUBSECTIONS_PER_SECTION * (1 + (b >> 7));
	}
	if (first + nr > all)
		nr = all - first;
	pfn = first * PAGES_PER_SUBSECTION;
	end = pfn + nr * PAGES_PER_SUBSECTION;
	for (at = pfn; at < end; at += PAGES_PER_SUBSECTION) {
		if (subsection_lives(at))
			return;
	}
	for (unsigned int i = 0; altmap && i < NR_DEVICES; i++) {
		if (devices[i].end && devices[i].altmap)
			altmap = NULL;
	}
	machine.altmap_next = altmap ? 0 : machine.altmap_next;
	b = random_byte(source);
	plug(d, pfn, end, altmap, b & 3 ? 0 : 1 + (b >> 4));
}

static void random_devices(struct source *source)
{
	memset(sections, 0, sizeof(sections));
	memset(devices, 0, sizeof(devices));
	for (unsigned int i = 0; i < 48; i++) {
		struct device *d = &devices[random_byte(source) % NR_DEVICES];

		if (d->end)
			unplug(d);
		else
			random_device(d, source);
	}
	for (unsigned int i = 0; i < NR_DEVICES; i++) {
		if (devices[i].end)
			unplug(&devices[i]);
	}
}
