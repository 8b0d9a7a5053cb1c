#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Sabotage the engine, one change at a time: the simulator has to notice each.

usage: mutants.py ENGINE OUT [NAME...]

A mutant is a name, what stands in the engine or in hotplug.c (once), and what to put
there. A line of KTAP for each names the rule that caught it.
"""
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

# Between them: every granule, a fallback, and a root table of blocks
GEOMETRIES = ['4k-48', '16k-52', '64k-42']

MUTANTS = [
    # The flush
    ('no flush', 'if (batch->nr_ranges)\n\t\tbatch_flush(batch);', ''),
    ('last level only', '__flush_tlb_range_op(vaae1is,',
     '__flush_tlb_range_op(vaale1is,'),
    ('one ASID only', '__flush_tlb_range_op(vaae1is,',
     '__flush_tlb_range_op(vae1is,'),
    ('this CPU only', '__flush_tlb_range_op(vaae1is,',
     '__flush_tlb_range_op(vaae1,'),
    ('everything, but on this CPU only', '\t\tflush_tlb_all();',
     '\t\tlocal_flush_tlb_all();'),
    ('half of the range', 'start, pages, PAGE_SIZE, 0,',
     'start, (pages + 1) / 2, PAGE_SIZE, 0,'),
    ('all but the last page', 'start, pages, PAGE_SIZE, 0,',
     'start, pages - (pages > 1), PAGE_SIZE, 0,'),
    ('a page for each block', 'start, pages, PAGE_SIZE, 0,', 'start, pages, PMD_SIZE, 0,'),
    ('with a level hint', '     TLBI_TTL_UNKNOWN, false,', '     3, false,'),
    ('base address in the wrong unit', '     lpa2_is_enabled());',
     '     !lpa2_is_enabled());'),
    ('only the first range', 'for (i = 0; i < batch->nr_ranges; i++) {\n\t\tunsigned long start',
     'for (i = 0; i < 1; i++) {\n\t\tunsigned long start'),
    ('too long for an instruction', 'batch->flush_all || pages > limit',
     'batch->flush_all'),
    ('page by page, however many', 'define MAX_TLBI_PAGES\t64', 'define MAX_TLBI_PAGES\tPTRS_PER_PTE'),
    ('too many ranges, the last is forgotten', 'batch->flush_all = true;', ''),
    ('ranges that touch are merged to the smaller',
     'batch->last[i] = max(batch->last[i], last);',
     'batch->last[i] = min(batch->last[i], last);'),
    ('memmap free before the flush', '\tif (batch->nr_ranges)\n\t\tbatch_flush(batch);\n',
     '\tlist_for_each_entry_safe(page, next, &batch->memmap, lru) {\n'
     '\t\tlist_del(&page->lru);\n\t\t__free_pages(page, page_private(page));\n\t}\n'
     '\tif (batch->nr_ranges)\n\t\tbatch_flush(batch);\n'),
    ('store to a table that went', '\tlist_add_tail(&virt_to_page(table)->lru, &batch->tables);',
     '\t*table = __pte((pteval_t)table | 3);\n'
     '\tlist_add_tail(&virt_to_page(table)->lru, &batch->tables);'),
    ('order read from a page that was freed', '\t\t__free_pages(page, order);\n\t\trest(batch, order);',
     '\t\t__free_pages(page, order);\n\t\trest(batch, page_private(page));'),
    ('table freed at once', '\tlist_add_tail(&virt_to_page(table)->lru, &batch->tables);',
     '\t__free_page(virt_to_page(table));'),
    ('range not noted', '\t\tbatch_range(batch, start & PAGE_MASK, walk.last | ~PAGE_MASK);', '\t\t;'),
    ('range begins within a page', 'start & PAGE_MASK, walk.last', 'start, walk.last'),

    # Barriers
    ('no barrier before the flush', '\tdsb(ishst);\n\tfor (i = 0;', '\tfor (i = 0;'),
    ('barrier for this CPU only', '\tdsb(ishst);\n\tfor (i = 0;',
     '\tdsb(nshst);\n\tfor (i = 0;'),
    ('barrier for loads only', '\tdsb(ishst);\n\tfor (i = 0;', '\tdsb(ishld);\n\tfor (i = 0;'),
    ('flush not completed', '\t__tlbi_sync_s1ish();\n', ''),
    ('flush completed without the erratum in mind', '\t__tlbi_sync_s1ish();\n',
     '\tdsb(ish);\n'),
    ('flush completed for stores only', '\t__tlbi_sync_s1ish();\n', '\tdsb(ishst);\n'),
    ('no ISB after the flush', '\t__tlbi_sync_s1ish();\n\tisb();', '\t__tlbi_sync_s1ish();'),
    ('no barrier before publishing', '\tdsb(ishst);\n\twalk.publish', '\twalk.publish'),
    ('no barrier after publishing', 'map_table(table, level, start, walk.last, &walk);\n\tdsb(ishst);',
     'map_table(table, level, start, walk.last, &walk);'),
    ('no ISB after publishing', '\tdsb(ishst);\n\tisb();\n\n\tif (nr_tables)',
     '\tdsb(ishst);\n\n\tif (nr_tables)'),
    ('no IPI to walkers in software', '\t\tkick_all_cpus_sync();', '\t\t;'),

    # Removing
    ('ceiling ignored', '|| last > walk->ceiling - 1)', ')'),
    ('floor ignored', 'if (first < walk->floor || ', 'if ('),
    ('tables from boot freed', 'return !PageReserved(page) && ', 'return '),
    ('tables of others freed', '!PageReserved(page) && !folio_test_pgtable(page_folio(page))',
     '!PageReserved(page)'),
    ('table of a whole entry taken without asking', 'if (next - addr == mask && may_free_table(child))',
     'if (next - addr == mask)'),
    ('straddling leaf cleared', '\t\t\tWARN_ON_ONCE(walk->what == HOTPLUG_LINEAR);\n\t\t\tgoto next;\n', ''),
    ('straddling leaf not seen at the end', '(addr & ~span) < walk->start || (addr | span) > walk->last',
     '(addr & ~span) < walk->start'),
    ('group cleared like a single leaf', '\t\tif (pte_cont(entry))\n\t\t\tspan = cont_mask(level);\n\t\tif ((addr',
     '\t\tif ((addr'),
    ('empty table left', 'cleared |= free_empty_table(ptep, addr, level,\n\t\t\t\t\t\t\t    walk);', ';'),
    ('table taken for empty too early', 'i < PTRS_PER_PTE; i++) {\n\t\tif (pte_val(READ_ONCE(table[(from',
     'i < PTRS_PER_PTE / 2; i++) {\n\t\tif (pte_val(READ_ONCE(table[(from'),
    ('last page of a range stays', '.last = end - 1,\n\t\t.floor', '.last = end - 1 - PAGE_SIZE,\n\t\t.floor'),
    ('entry before the range goes', '.start = start,\n\t\t.last = end - 1,\n\t\t.floor',
     '.start = start -= PAGE_SIZE,\n\t\t.last = end - 1,\n\t\t.floor'),
    ('tables below a detached one forgotten', '\t\t\tdetach_table(table_of(entry), level + 1, what, batch);',
     '\t\t\tcontinue;'),
    ('memmap below a detached table forgotten', 'else if (what == HOTPLUG_VMEMMAP && pte_val(entry))',
     'else if (0)'),
    ('leaves of the linear map read', '\tif (level == LAST_LEVEL && what == HOTPLUG_LINEAR)\n\t\tgoto out;',
     '\tif (0)\n\t\tgoto out;'),
    ('altmap given to the page allocator', 'if (altmap && pfn >= altmap->base_pfn', 'if (0 && pfn >= altmap->base_pfn'),
    ('block freed as a page', 'set_page_private(page, order);', 'set_page_private(page, 0);'),
    ('split seen at the start only', 'leaf_straddles(start) || leaf_straddles(end)', 'leaf_straddles(start)'),
    ('split of a group not seen', '\t\t\tif (pte_cont(entry))\n\t\t\t\tspan = cont_mask(level);\n\t\t\treturn addr',
     '\t\t\treturn addr'),
    ('root written like any table', 'if (in_swapper_pgdir(ptep))', 'if (0)'),
    ('root one level too high on a fallback', '\t\t(*level)++;', '\t\t;'),
    ('lock not asserted', '\tmem_hotplug_assert_write_held();\n\tif (WARN_ON_ONCE(start >= end || start < floor',
     '\tif (WARN_ON_ONCE(start >= end || start < floor'),
    ('no rest between tables', '\t\t__free_page(page);\n\t\trest(batch, 0);', '\t\t__free_page(page);'),

    # Adding
    ('published before it is filled', '\tpage = virt_to_page(table);\n\tset_page_private(page, level + 1);',
     '\tset_entry(ptep, table_entry(walk, table));\n'
     '\tpage = virt_to_page(table);\n\tset_page_private(page, level + 1);'),
    ('one table missed on rollback', '\t\t\t\tfree_built_table(table, level);\n', ''),
    ('nothing freed on rollback', '\t\t\tfree_built_table(page_address(page), page_level);\n', ''),
    ('only the top freed on rollback', 'i < PTRS_PER_PTE; i++) {\n\t\tif (is_table(table[i], level))\n\t\t\tfree_built',
     'i < 0; i++) {\n\t\tif (is_table(table[i], level))\n\t\t\tfree_built'),
    ('mapped over what is there', '\t\telse if (pte_val(entry))\n\t\t\tret = -EEXIST;\n', ''),
    ('OOM killer woken', '(GFP_KERNEL | __GFP_RETRY_MAYFAIL | __GFP_NOWARN)', '(GFP_KERNEL | __GFP_NOWARN)'),
    ('head of a table not zeroed', '\tmemset(table, 0, (void *)ptep - (void *)table);\n', ''),
    ('tail of a table not zeroed', '\tmemset(end, 0, (void *)(table + PTRS_PER_PTE) - (void *)end);\n', ''),
    ('upper table not zeroed', '\tclear_page(table);\n', ''),
    ('block although the end does not reach', '|| (addr | mask) > walk->last)\n\t\t\treturn 0;', ')\n\t\t\treturn 0;'),
    ('block although memory is not aligned', 'if ((addr | phys) & mask ||', 'if (addr & mask ||'),
    ('group that begins before the range', '(addr & ~group) >= walk->start && ', ''),
    ('group that ends after the range', ' && (addr | group) <= walk->last &&', ' &&'),
    ('group of blocks of memory aligned for one of pages', '!((addr ^ phys) & group))',
     '!((addr ^ phys) & ~CONT_PTE_MASK))'),
    ('block of memory aligned for a group of pages', 'if ((addr | phys) & mask ||',
     'if (addr & mask || phys & ~CONT_PTE_MASK ||'),
    ('attribute lost', 'pgprot_val(walk->prot) & ~PTE_TYPE_MASK;',
     'pgprot_val(walk->prot) & ~PTE_TYPE_MASK & ~BIT(11);'),
    ('group of unaligned memory', ' &&\n\t    !((addr ^ phys) & group))', ')'),
    ('group with a table among its blocks', 'if (walk->publish && attrs & PTE_CONT &&\n\t\t    group_has_table(ptep, level))', 'if (0)'),
    ('group in the root', 'level == 2 && level != ROOT_LEVEL ?', 'level == 2 ?'),
    ('contiguous though forbidden', 'if (group && !(walk->flags & HOTPLUG_NO_CONT) &&', 'if (group &&'),
    ('blocks though forbidden', 'if (walk->flags & HOTPLUG_NO_BLOCK)', 'if (0)'),
    ('tables executable', '\tif (walk->flags & HOTPLUG_NO_EXEC)', '\tif (0)'),
    ('address encoded without its high bits', '\tpteval_t val = __phys_to_pte_val(__pa(table))', '\tpteval_t val = (__pa(table) & PAGE_MASK & 0xffffffffffff)'),
    ('tables not counted', '\twalk->nr_tables++;\n', ''),

    # hotplug.c: the memmap of subsections
    ('memmap not widened to what is dead', '\twiden_to_dead(&start, &end);\n', ''),
    ('widened over a neighbour below', 'while (lo && !test_bit(lo - 1, usage->subsection_map))',
     'while (lo)'),
    ('widened over a neighbour above', 'hi = find_next_bit(usage->subsection_map,\n'
     '\t\t\t\t   SUBSECTIONS_PER_SECTION, hi);', 'hi = SUBSECTIONS_PER_SECTION;'),
    ('not widened in a section that is empty', '} else {\n\t\tlo = 0;', '} else if (0) {\n\t\tlo = 0;'),
    ('memmap of the next section forgotten',
     '\tunused_memmap.end = max(unused_memmap.end, end);\n', ''),
    ('memmap taken again with the next removal', '\tunused_memmap.end = 0;\n', ''),
    ('altmap forgotten', 'unused_memmap.altmap = altmap;', 'unused_memmap.altmap = NULL;'),
    ('batch of its own not finished', '\t\thotplug_batch_finish(&own);\n', ''),
]


def try_mutant(job):
    """Build and run one; return its name, and the rule or what else happened."""
    number, (name, old, new), engine, out = job
    directory = os.path.abspath(f'{out}/{number}')
    os.makedirs(directory, exist_ok=True)
    there = 0
    for part in ('hotplug.h', 'hotplug.c', os.path.basename(engine)):
        with open(os.path.join(os.path.dirname(engine), part), encoding='utf-8') as file:
            text = file.read()
        there += text.count(old)
        with open(f'{directory}/{part}', 'w', encoding='utf-8') as file:
            file.write(text.replace(old, new))
    if there != 1:
        return name, None, f'what it changes stands {there} times in {engine} and beside it'
    mutant = f'{directory}/{os.path.basename(engine)}'
    here = os.path.dirname(os.path.abspath(__file__))
    environment = {k: v for k, v in os.environ.items()
                   if k not in ('MAKEFLAGS', 'MFLAGS', 'MAKELEVEL', 'GEOMETRY', 'SEED')}
    environment.update(OPS='100000', JOBS='1', FIRST='1')
    for geometry in GEOMETRIES:
        build = f'{directory}/{geometry}'
        make = subprocess.run(
            ['make', '-s', '-C', here, build + '/sim', 'O=' + build, 'ENGINE=' + mutant,
             f'HOTPLUG={directory}/hotplug.c',
             'EXTRA=-O1 -w', 'COVERAGE=', 'GEOMETRIES=' + geometry],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
            env=environment)
        if make.returncode:
            return name, None, 'does not build: ' + make.stdout.strip()[-300:]
        run = subprocess.run([build + '/sim'], stdout=subprocess.PIPE, check=False,
                             stderr=subprocess.DEVNULL, text=True, errors='replace',
                             env=environment)
        rules = [line.split(': ', 1)[1] for line in run.stdout.splitlines() if '# rule: ' in line]
        if run.returncode and rules:
            return name, rules[0], f'on {geometry}'
    return name, None, 'not caught'


def main():
    """Try all mutants, or those named."""
    engine, out, *names = sys.argv[1:]
    jobs = [(n, m, engine, out) for n, m in enumerate(MUTANTS) if not names or m[0] in names]
    if not jobs:
        sys.exit(f'error: no mutant is called {" or ".join(names)}: see the list in {sys.argv[0]}')
    print(f'KTAP version 1\n1..{len(jobs)}')
    failed = 0
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for number, (name, rule, how) in enumerate(pool.map(try_mutant, jobs), 1):
            if rule:
                print(f'ok {number} {name} # caught by {rule}, {how}', flush=True)
            else:
                failed += 1
                print(f'not ok {number} {name} # {how}', flush=True)
    print(f'{len(jobs) - failed} passed, {failed} failed, 0 skipped')
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
