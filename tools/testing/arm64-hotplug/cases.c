// SPDX-License-Identifier: GPL-2.0-only
/*
 * The directed cases: a name, the steps (see text.c), and what is mapped at the
 * end. Each runs on every geometry, or on those whose name begins with .only;
 * then again with each allocation of each addition failing in turn; and then
 * everything is removed. All rules are checked at every step, so a case has to
 * say no more than this.
 */
#include "sim.h"

const struct directed directed_cases[] = {
	/* What is mapped by what */
	{ "page", "map lin 0 1p", "0..1p page" },
	{ "executable_page", "map lin 0 1p exec", "0..1p page" },
	{ "contiguous_pages", "map lin 0 1c", "0..1c cont page" },
	{ "contiguous_pages_forbidden", "map lin 0 1c nocont", "0..1c page" },
	{ "only_whole_groups_are_contiguous", "map lin 1p 2c+1p",
	  "1p..1c page, 1c..2c cont page, 2c..2c+1p page" },
	{ "block", "map lin 0 1m", "0..1m block" },
	{ "block_forbidden", "map lin 0 1m noblock", "0..1m cont page" },
	{ "block_and_contiguous_forbidden", "map lin 0 1m noblock nocont",
	  "0..1m page" },
	{ "contiguous_blocks", "map lin 0 1k", "0..1k cont block",
	  THREE_LEVELS },
	{ "no_group_in_the_root", "map lin 0 2k; unmap lin 1k+1m 2k",
	  "0..1k+1m block", TWO_LEVELS },
	{ "contiguous_blocks_forbidden", "map lin 0 1k nocont", "0..1k block" },
	{ "block_between_pages", "map lin -1p 1m+1p",
	  "-1p..0 page, 0..1m block, 1m..1m+1p page" },
	{ "blocks_beside_a_group", "map lin -1m 1k+1m",
	  "-1m..0 block, 0..1k cont block, 1k..1k+1m block", THREE_LEVELS },
	{ "block_above_the_pmd", "map lin 0 1u", "0..1u huge", "4k" },
	{ "no_block_above_the_pmd", "map lin 0 1u", "0..1u cont block", "16k-4" },
	{ "every_size", "map lin -1m-1c-1p 1u",
	  "-1m-1c-1p..-1m-1c page, -1m-1c..-1m cont page, -1m..0 block, 0..1u huge",
	  "4k" },
	{ "physical_address_does_not_fit", "map lin 0 1m skew", "0..1m page" },
	{ "memory_aligned_to_a_block_only", "map lin 0 1k skewm", "0..1k block" },
	{ "memory_aligned_to_a_group_of_pages_only", "map lin 0 1m skewc",
	  "0..1m cont page" },

	/* Edges, at each level */
	{ "page_goes", "map lin 0 1p; unmap lin 0 1p", "" },
	{ "pages_within_a_table_go",
	  "map lin 0 1m noblock nocont; unmap lin 3p 1m-2p",
	  "0..3p page, 1m-2p..1m page" },
	{ "table_goes_with_its_last_page",
	  "map lin 0 1m noblock nocont; unmap lin 1p 1m; unmap lin 0 1p", "" },
	{ "edge_tables_go",
	  "map lin 0 3m noblock nocont; unmap lin 1p 3m-1p; unmap lin 0 1p;"
	  "unmap lin 3m-1p 3m",
	  "" },
	{ "edge_tables_stay",
	  "map lin 0 3m noblock nocont; unmap lin 1m-1p 2m+1p",
	  "0..1m-1p page, 2m+1p..3m page" },
	{ "many_tables_go_at_once",
	  "map lin 0 100m noblock nocont; unmap lin 0 100m", "" },
	{ "block_goes", "map lin 0 2m; unmap lin 0 1m", "1m..2m block" },
	{ "group_of_pages_goes", "map lin 0 2c; unmap lin 0 1c",
	  "1c..2c cont page" },
	{ "group_of_blocks_goes", "map lin 0 2k; unmap lin 0 1k",
	  "1k..2k cont block", THREE_LEVELS },
	{ "block_above_the_pmd_goes", "map lin 0 2u; unmap lin 1u 2u",
	  "0..1u huge", "4k" },
	{ "around_the_next_level", "map lin 1p-1u 1u-1p; unmap lin 1p-1u 1u-1p",
	  "" },
	{ "around_the_anchor", "map lin -1p 1p; unmap lin -1p 0", "0..1p page" },
	{ "nothing_is_there", "unmap lin -2m 5m", "" },
	{ "holes", "map lin 0 1p; map lin 2p 3p; map lin 2m 3m; unmap lin 0 4m",
	  "" },
	{ "hole_is_filled",
	  "map lin 0 3m noblock nocont; unmap lin 1p 3m-1p; map lin 1p 3m-1p nocont",
	  "0..1m page, 1m..2m block, 2m..3m page" },

	/* Leaves that are needed on the other side of an edge */
	{ "straddling_block_is_refused", "map lin 0 2m; unmap lin 1p 2m",
	  "0..2m block" },
	{ "straddling_block_is_refused_at_the_end",
	  "map lin 0 2m; unmap lin 0 2m-1p", "0..2m block" },
	{ "straddling_group_of_pages_is_refused",
	  "map lin 0 2c noblock; unmap lin 1p 2c", "0..2c cont page" },
	{ "straddling_group_of_blocks_is_refused",
	  "map lin 0 1k; unmap lin 1m 1k", "0..1k cont block", THREE_LEVELS },

	/* What is there already */
	{ "over_a_page", "map lin 0 1p; map lin -1m 2m", "0..1p page" },
	{ "over_a_block", "map lin 0 1m; map lin 1p 2p", "0..1m block" },
	{ "over_the_last_page", "map lin 3m-1p 3m; map lin 0 3m",
	  "3m-1p..3m page" },
	{ "over_the_same", "map lin 0 1m+1p; map lin 0 1m+1p",
	  "0..1m block, 1m..1m+1p page" },

	/* Out of memory; all cases also run with each allocation failing */
	{ "second_table_cannot_be_had", "map lin -1p 2m+1p fail 2", "" },
	{ "smaller_fits_afterwards",
	  "map lin 0 3m noblock fail 3; map lin 0 1m noblock", "0..1m cont page" },

	/* The memmap */
	{ "memmap_of_pages", "populate vmm 0 8p", "vmm 0..8p page" },
	{ "memmap_of_pages_goes", "populate vmm 0 8p; unmap vmm 2p 5p",
	  "vmm 0..2p page, vmm 5p..8p page" },
	{ "memmap_of_blocks_goes", "populate vmm 0 2m blocks; unmap vmm 0 1m",
	  "vmm 1m..2m block" },
	{ "memmap_block_in_use_stays",
	  "populate vmm 0 2m blocks; unmap vmm 1p 2m-1p", "vmm 0..2m block" },
	{ "memmap_block_goes_with_the_last",
	  "populate vmm 0 1m blocks; unmap vmm 1p 1m; unmap vmm 0 1m", "" },
	{ "memmap_in_altmap", "populate vmm 0 8p altmap; unmap vmm 0 4p",
	  "vmm 4p..8p page" },
	{ "memmap_blocks_in_altmap",
	  "populate vmm 0 2m altmap blocks; unmap vmm 0 1m", "vmm 1m..2m block" },
	{ "memmap_from_altmap_and_ram",
	  "populate vmm 0 4p altmap; populate vmm 4p 8p; unmap vmm 2p 6p",
	  "vmm 0..2p page, vmm 6p..8p page" },
	/* Was left: the table in which the first page should have gone */
	{ "memmap_half_made", "populate vmm 0 8p fail 3", "" },

	{ "memmap_page_used_in_part_stays",
	  "populate vmm 0 8p; unmap vmm 0 8p late early", "vmm 0..1p page, vmm 7p..8p page" },
	/* Was freed with its translation in the TLBs: the last page */
	{ "memmap_begins_within_a_page", "populate vmm 0 8p; unmap vmm 0 8p late",
	  "vmm 0..1p page" },
	{ "memmap_ends_within_a_page", "populate vmm 0 8p; unmap vmm 0 8p early",
	  "vmm 7p..8p page" },

	/* Batches */
	{ "linear_map_and_memmap_at_once",
	  "map lin 0 4m; populate vmm 0 8p; populate vmm 1m 1m+8p;"
	  "detach vmm 0 8p; detach vmm 1m 1m+8p; unmap lin 0 4m",
	  "" },
	{ "more_ranges_than_a_batch_has",
	  "map lin 0 1p; map lin 2m 2m+1p; map lin 4m 4m+1p; map lin 6m 6m+1p;"
	  "map lin 8m 8m+1p; detach lin 0 1p; detach lin 2m 2m+1p;"
	  "detach lin 4m 4m+1p; detach lin 6m 6m+1p; unmap lin 8m 8m+1p",
	  "" },
	{ "ranges_that_touch_are_one",
	  "map lin 0 4m noblock nocont; detach lin 1m 2m; detach lin 2m 3m;"
	  "detach lin 0 1m; unmap lin 3m 4m",
	  "" },
	{ "longer_than_one_instruction_reaches", "map lin 0 9u; unmap lin 0 9u", "",
	  "4k" },
	{ "longer_than_one_instruction_reaches", "map lin 0 1u; unmap lin 0 1u", "",
	  "16k-4" },
	{ "page_by_page_without_range_instructions",
	  "cpu norange; map lin 0 64p noblock; unmap lin 0 64p", "" },
	{ "everything_without_range_instructions",
	  "cpu norange; map lin 0 65p noblock; unmap lin 0 65p", "" },
	{ "repeated_for_an_erratum",
	  "cpu erratum; map lin 0 1m noblock; unmap lin 0 1m", "" },

	/* A caller's mistakes */
	{ "mistake_no_range_to_map", "map lin 1p 1p unchecked", "" },
	{ "mistake_no_range_to_unmap", "map lin 0 1p; unmap lin 1p 0 unchecked",
	  "0..1p page" },
	{ "mistake_below_floor",
	  "place lin start; map lin 0 1p; unmap lin -1p 1p unchecked",
	  "0..1p page" },
	{ "mistake_above_ceiling",
	  "place lin end; map lin -1p 0; unmap lin -1p 1p unchecked",
	  "-1p..0 page" },
	{ "mistake_straddling_block", "map lin 0 2m; unmap lin 1p 2m unchecked",
	  "0..1m block" },
	{ "mistake_straddling_group",
	  "map lin 0 2c noblock; unmap lin 0 2c-1p unchecked",
	  "1c..2c cont page" },
	{ "mistake_memmap_of_boot_memory",
	  "populate vmm 0 1p boot; unmap vmm 0 1p unchecked", "" },

	/* Where the regions begin and end, and who else is there */
	{ "first_address", "place lin start; map lin 0 1p; unmap lin 0 1p", "" },
	{ "last_address", "place lin end; map lin -1m-1p 0; unmap lin -1p-1m 0",
	  "" },
	{ "last_entry_of_the_root",
	  "place lin top; map lin 1m 2m-1p; unmap lin 1m 2m-1p", "" },
	{ "vmalloc_below_memmap",
	  "place vmm start; foreign vmm -2p 0; populate vmm 0 8p; unmap vmm 0 8p",
	  "" },
	{ "memmap_below_pci_io",
	  "place vmm end; foreign vmm 0 2p; populate vmm -8p 0; unmap vmm -8p 0",
	  "" },
	{ "modules_above_linear_map",
	  "place lin end; foreign lin 0 2p; map lin -1m 0; unmap lin -1m 0", "" },
	{ "boot_table_stays",
	  "reserved lin 0 level 3; map lin 0 1m; unmap lin 0 1m", "" },
	{ "boot_table_within_what_goes",
	  "reserved lin 0 level 3; map lin -1m 2m; unmap lin -1m 2m", "" },
	{ "table_of_another_user_stays",
	  "constructed lin 0 level 3; map lin 0 1p; unmap lin 0 1p", "" },
	{ "table_instead_of_a_block_above_the_pmd",
	  "constructed lin 0 level 2; map lin 0 1u", "0..1u cont block", "4k" },
	/* Was marked contiguous, all but the block where the table is */
	{ "no_contiguous_group_with_a_table",
	  "reserved lin 1m level 3; map lin 0 2k",
	  "0..1m block, 1m..2m cont page, 2m..1k block, 1k..2k cont block",
	  THREE_LEVELS },
};

const unsigned int nr_directed_cases =
	ARRAY_SIZE(directed_cases);
