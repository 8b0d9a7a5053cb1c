/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the engine needs of the kernel, for one geometry (PAGE_SHIFT, VA_BITS).
 * Stands in for every header that it includes; names and meanings are those of
 * the kernel, the behaviour is machine.c's.
 */
#ifndef SHIM_H
#define SHIM_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef uint64_t u64;
typedef u64 phys_addr_t;
typedef u64 pteval_t;
typedef unsigned int gfp_t;
typedef struct { pteval_t pte; } pte_t;
typedef struct { pteval_t pgprot; } pgprot_t;
typedef struct { pteval_t pgd; } pgd_t;

#define fallthrough		__attribute__((fallthrough))
#define BIT(n)			(1UL << (n))
#define IS_ENABLED(option)	(option)
#define min(a, b)		((a) < (b) ? (a) : (b))
#define max(a, b)		((a) > (b) ? (a) : (b))
#define PTR_ALIGN_DOWN(p, size)	((__typeof__(p))((uintptr_t)(p) & -(size)))
#define container_of(p, type, member) \
	((type *)((char *)(p) - offsetof(type, member)))

/* ---- linux/list.h ---- */

struct list_head {
	struct list_head *next, *prev;
};

#define LIST_HEAD_INIT(head)	{ &(head), &(head) }

static inline void list_add_tail(struct list_head *entry, struct list_head *head)
{
	entry->prev = head->prev;
	entry->next = head;
	head->prev->next = entry;
	head->prev = entry;
}

static inline void list_del(struct list_head *entry)
{
	entry->next->prev = entry->prev;
	entry->prev->next = entry->next;
	entry->next = NULL;
	entry->prev = NULL;
}

#define list_first_entry(head, type, member) \
	container_of((head)->next, type, member)

#define list_for_each_entry_safe(pos, n, head, member)			     \
	for (pos = list_first_entry(head, __typeof__(*pos), member),	     \
	     n = list_first_entry(&pos->member, __typeof__(*pos), member);    \
	     &pos->member != (head);					     \
	     pos = n, n = list_first_entry(&n->member, __typeof__(*pos), member))

/* ---- the geometry: asm/pgtable-hwdef.h ---- */

#define CONFIG_ARM64_4K_PAGES	(PAGE_SHIFT == 12)
#define PAGE_SIZE		BIT(PAGE_SHIFT)
#define PAGE_MASK		(~(PAGE_SIZE - 1))

/* What the CPU at hand is like */
static struct {
	bool fallback;		/* no LPA2, or no LVA */
	bool tlb_range;
	bool erratum;		/* TLBI and DSB have to be repeated */
} cpu;

#define PA_BITS			(VA_BITS == 52 && !cpu.fallback ? 52 : 48)

#define BITS_PER_LEVEL		(PAGE_SHIFT - 3)
#define CONFIG_PGTABLE_LEVELS	((VA_BITS - 4) / BITS_PER_LEVEL)
#define ARM64_HW_PGTABLE_LEVEL_SHIFT(level) \
	(BITS_PER_LEVEL * (4 - (level)) + 3)
#define PTRS_PER_PTE		BIT(BITS_PER_LEVEL)
#define PTRS_PER_PGD \
	BIT(VA_BITS - ARM64_HW_PGTABLE_LEVEL_SHIFT(4 - CONFIG_PGTABLE_LEVELS))
#define PMD_SIZE		BIT(ARM64_HW_PGTABLE_LEVEL_SHIFT(2))

/* Arm ARM, D8.7.1 "The Contiguous bit", table of the group sizes */
#define CONT_PTE_SIZE \
	(PAGE_SIZE << (PAGE_SHIFT == 12 ? 4 : PAGE_SHIFT == 14 ? 7 : 5))
#define CONT_PMD_SIZE		(PMD_SIZE << (PAGE_SHIFT == 12 ? 4 : 5))
#define CONT_PTE_MASK		(~(CONT_PTE_SIZE - 1))
#define CONT_PMD_MASK		(~(CONT_PMD_SIZE - 1))

/* Arm ARM, D8.3 "Translation table descriptor formats" */
#define PTE_TYPE_MASK		3UL
#define PTE_TYPE_PAGE		3UL
#define PMD_TYPE_TABLE		3UL
#define PMD_TYPE_SECT		1UL
#define PTE_CONT		BIT(52)
#define PMD_TABLE_PXN		BIT(59)
#define PMD_TABLE_UXN		BIT(60)

#define HAS_LPA2		(VA_BITS == 52 && PAGE_SHIFT != 16)
#define pgtable_l5_enabled()	(!cpu.fallback)
#define pgtable_l4_enabled()	(PAGE_SHIFT != 14 || !cpu.fallback)
#define lpa2_is_enabled()	(HAS_LPA2 && !cpu.fallback)
#define PTE_SHARED		(3UL << 8)
#define PTE_MAYBE_SHARED	(lpa2_is_enabled() ? 0 : PTE_SHARED)

/* Where the descriptor holds the address bits that its low half cannot */
static inline pteval_t __phys_to_pte_val(phys_addr_t phys)
{
	if (HAS_LPA2)	/* OA[51:50] in bits 9:8 */
		return (phys & (BIT(50) - 1)) | (phys >> 50 & 3) << 8;
	if (VA_BITS == 52)	/* 64K: OA[51:48] in bits 15:12 */
		return (phys & (BIT(48) - 1)) | (phys >> 48 & 15) << 12;
	return phys;
}

static inline phys_addr_t __pte_to_phys(pte_t pte)
{
	if (HAS_LPA2)
		return (pte.pte & (BIT(50) - 1) & PAGE_MASK) |
		       ((pte.pte & ~PTE_MAYBE_SHARED) >> 8 & 3) << 50;
	if (VA_BITS == 52)
		return (pte.pte & (BIT(48) - 1) & PAGE_MASK) |
		       (pte.pte >> 12 & 15) << 48;
	return pte.pte & (BIT(48) - 1) & PAGE_MASK;
}

#define __pte(val)		((pte_t){ val })
#define pte_val(x)		((x).pte)
#define __pgd(val)		((pgd_t){ val })
#define pgprot_val(x)		((x).pgprot)
#define pte_cont(x)		(!!(pte_val(x) & PTE_CONT))
#define pte_pfn(x)		(__pte_to_phys(x) >> PAGE_SHIFT)

/* ---- memory ---- */

enum owner { FREE, PRIVATE, TABLE, DETACHED, MEMMAP };

struct page {
	struct list_head lru;
	unsigned long private;
	/* The simulator's own: */
	enum owner owner;
	int level;		/* of the table, or of the leaf that maps this */
	u64 va;			/* first address that it serves */
	u64 sum;		/* of a table's entries */
	unsigned int order;
	bool reserved, constructed;
	bool visible;		/* private: all stores are before the last barrier */
	bool mapped;		/* memmap: a live entry leads here */
	bool kicked;		/* detached: no software walker is in here */
};

struct vmem_altmap {
	unsigned long base_pfn, end_pfn, alloc;
};

struct mm_struct {
	pgd_t *pgd;
};

static struct mm_struct init_mm;

#define __GFP_RETRY_MAYFAIL	0x1u
#define __GFP_NOWARN		0x2u
#define GFP_KERNEL		0x4u

#define PageReserved(page)	((page)->reserved)
#define page_folio(page)	(page)
#define folio_test_pgtable(f)	((f)->constructed)
#define page_private(page)	((page)->private)
#define set_page_private(p, v)	((p)->private = (v))

static struct page *virt_to_page(const void *va);
static struct page *pfn_to_page(unsigned long pfn);
static void *page_address(const struct page *page);
static phys_addr_t __pa(const void *va);
static void *__va(phys_addr_t pa);
static unsigned long __get_free_page(gfp_t gfp);
static void __free_pages(struct page *page, unsigned int order);
static void vmem_altmap_free(struct vmem_altmap *altmap, unsigned long nr);

#define __free_page(page)	__free_pages(page, 0)
#define free_page(addr)		__free_pages(virt_to_page((void *)(addr)), 0)
#define clear_page(addr)	memset(addr, 0, PAGE_SIZE)

/* ---- accesses, barriers, invalidation ---- */

static const void *seen_read(const void *p);
static void live_store(pte_t *ptep, pteval_t val, bool to_root);
static bool in_swapper_pgdir(void *p);
static void machine_dsb(const char *kind);
static void machine_isb(void);
static void machine_tlbi(const char *op, u64 start, u64 last, int level);
static void tlbi_range(const char *op, u64 start, u64 pages, u64 stride,
		       int level, bool lpa2);

#define READ_ONCE(x)		(*(const volatile __typeof__(x) *)seen_read(&(x)))
#define WRITE_ONCE(x, val)	live_store(&(x), pte_val(val), false)
#define set_swapper_pgd(p, v)	live_store((pte_t *)(p), (v).pgd, true)

#define dsb(kind)		machine_dsb(#kind)
#define isb()			machine_isb()
#define __tlbi_sync_s1ish()	machine_dsb("ish, repeated")

#define TLBI_TTL_UNKNOWN	(-100)
#define MAX_TLBI_RANGE_PAGES	BIT(21)	/* Arm ARM: SCALE 3, NUM 31 */
#define system_supports_tlb_range() (cpu.tlb_range)
#define __flush_tlb_range_op(op, start, pages, stride, asid, level, user, lpa2) \
	tlbi_range(#op, start, pages, stride, level, lpa2)

static inline void flush_tlb_all(void)
{
	dsb(ishst);
	machine_tlbi("vmalle1is", 0, ~0UL, TLBI_TTL_UNKNOWN);
	__tlbi_sync_s1ish();
	isb();
}

static inline void local_flush_tlb_all(void)
{
	dsb(nshst);
	machine_tlbi("vmalle1", 0, ~0UL, TLBI_TTL_UNKNOWN);
	dsb(nsh);
	isb();
}

/* ---- the rest ---- */

#define WARN_ON_ONCE(condition) \
	((condition) && seen_warning(__LINE__, #condition))

static bool seen_warning(int line, const char *condition);
static void mem_hotplug_assert_write_held(void);
static void cond_resched(void);
static void kick_all_cpus_sync(void);

#endif /* SHIM_H */
