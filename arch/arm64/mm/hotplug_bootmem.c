// SPDX-License-Identifier: GPL-2.0-only
/*
 * Boot memory stays: the next kernel finds memory in the firmware map that this
 * one booted from (EFI memory map, passed on by kexec), which cannot be changed.
 * So boot memory is neither put offline nor removed.
 */
#define pr_fmt(fmt) "hotplug: " fmt

#include <linux/init.h>
#include <linux/memory.h>
#include <linux/memory_hotplug.h>
#include <linux/mm.h>
#include <linux/mmzone.h>
#include <linux/pfn.h>

#include <asm/memory.h>

#include "hotplug.h"

static bool has_boot_memory(unsigned long pfn, unsigned long nr_pages)
{
	unsigned long end_pfn = pfn + nr_pages;

	for (; pfn < end_pfn; pfn += PAGES_PER_SECTION) {
		if (early_section(__pfn_to_section(pfn)))
			return true;
	}
	return false;
}

static int bootmem_notifier(struct notifier_block *nb, unsigned long action,
			    void *data)
{
	struct memory_notify *arg = data;
	u64 start = PFN_PHYS(arg->start_pfn);
	u64 end = start + PFN_PHYS(arg->nr_pages) - 1;

	if (action != MEM_GOING_OFFLINE ||
	    !has_boot_memory(arg->start_pfn, arg->nr_pages))
		return NOTIFY_OK;

	pr_warn("boot memory [mem %#018llx-%#018llx] cannot be put offline\n",
		start, end);
	return NOTIFY_BAD;
}

static struct notifier_block bootmem_nb = {
	.notifier_call = bootmem_notifier,
};

static int __init bootmem_init_notifier(void)
{
	return register_memory_notifier(&bootmem_nb);
}
early_initcall(bootmem_init_notifier);

/**
 * arch_check_remove_memory() - whether a range can be removed at all
 * @start:	physical address
 * @size:	bytes
 *
 * Asked before anything is torn down.
 *
 * Context: process context, mem_hotplug_lock held for write.
 *
 * Return: 0, -EPERM for boot memory, whatever its state, -EBUSY if the linear
 * map uses a leaf for the range that memory outside of it needs too.
 */
int arch_check_remove_memory(u64 start, u64 size)
{
	unsigned long va = __phys_to_virt(start);
	u64 end = start + size - 1;

	mem_hotplug_assert_write_held();
	if (has_boot_memory(PHYS_PFN(start), PHYS_PFN(size))) {
		pr_warn("boot memory [mem %#018llx-%#018llx] cannot be removed\n",
			start, end);
		return -EPERM;
	}

	if (hotplug_range_splits_leaf(va, va + size)) {
		pr_warn("[mem %#018llx-%#018llx] shares a block of the linear map with its neighbour, remove both at once\n",
			start, end);
		return -EBUSY;
	}

	return 0;
}
