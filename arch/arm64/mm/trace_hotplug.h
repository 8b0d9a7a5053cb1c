/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Tracepoints of memory hotplug: what one call did to the kernel's tables. The
 * time is taken only while they are enabled: 0 if they were not when it began.
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM arm64_hotplug

#if !defined(__ARM64_MM_TRACE_HOTPLUG_H) || defined(TRACE_HEADER_MULTI_READ)
#define __ARM64_MM_TRACE_HOTPLUG_H

#include <linux/ktime.h>
#include <linux/tracepoint.h>

#include "hotplug.h"

TRACE_EVENT(hotplug_add,
	TP_PROTO(u64 start, u64 size, unsigned long tables, u64 began, int ret),
	TP_ARGS(start, size, tables, began, ret),

	TP_STRUCT__entry(
		__field(u64, start)
		__field(u64, size)
		__field(unsigned long, tables)
		__field(u64, ns)
		__field(int, ret)
	),

	TP_fast_assign(
		__entry->start = start;
		__entry->size = size;
		__entry->tables = tables;
		__entry->ns = began ? ktime_get_ns() - began : 0;
		__entry->ret = ret;
	),

	TP_printk("start=%#llx size=%#llx tables=%lu ns=%llu ret=%d",
		  __entry->start, __entry->size, __entry->tables, __entry->ns,
		  __entry->ret)
);

TRACE_EVENT(hotplug_remove,
	TP_PROTO(u64 start, u64 size, unsigned long memmap_tables,
		 const struct hotplug_batch *batch, u64 began),
	TP_ARGS(start, size, memmap_tables, batch, began),

	TP_STRUCT__entry(
		__field(u64, start)
		__field(u64, size)
		__field(unsigned long, tables)
		__field(unsigned long, memmap_tables)
		__field(unsigned long, memmap)
		__field(unsigned long, flushes)
		__field(u64, ns)
	),

	TP_fast_assign(
		__entry->start = start;
		__entry->size = size;
		__entry->tables = batch->nr_tables - memmap_tables;
		__entry->memmap_tables = memmap_tables;
		__entry->memmap = batch->nr_memmap;
		__entry->flushes = batch->nr_flushes;
		__entry->ns = began ? ktime_get_ns() - began : 0;
	),

	TP_printk("start=%#llx size=%#llx tables=%lu memmap_tables=%lu memmap=%lu flushes=%lu ns=%llu",
		  __entry->start, __entry->size, __entry->tables,
		  __entry->memmap_tables, __entry->memmap, __entry->flushes,
		  __entry->ns)
);

#endif /* __ARM64_MM_TRACE_HOTPLUG_H */

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE trace_hotplug
#include <trace/define_trace.h>
