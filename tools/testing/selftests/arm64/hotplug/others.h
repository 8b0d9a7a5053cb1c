/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Others at work while memory comes and goes at ADDRESS. Each does one round of it and
 * returns 0, MET_NOTHING if it did not find what it looks for, or something else when it
 * cannot be had.
 */
#ifndef OTHERS_H
#define OTHERS_H

#define MET_NOTHING	2

#define CPU1	"/sys/devices/system/cpu/cpu1/online"

int dump_tables(void);		/* CONFIG_PTDUMP_DEBUGFS */
int read_owners(void);		/* CONFIG_PAGE_OWNER and page_owner=on */
int read_flags(void);		/* CONFIG_PROC_PAGE_MONITOR */
int read_kernel(void);		/* CONFIG_PROC_KCORE */
int load_kernel(void);		/* CONFIG_KEXEC */
int load_file(void);		/* CONFIG_KEXEC_FILE, crashkernel=64M, /boot/Image */
int load_crash_kernel(void);	/* the same; never MET_NOTHING */
int run_kexec(void);		/* the same, and kexec(8) */
int load_module(void);		/* CONFIG_TEST_VMALLOC=m */
int cycle_module(void);		/* CONFIG_TEST_HMM=m */
int load_bpf(void);		/* CONFIG_BPF_SYSCALL, CONFIG_BPF_JIT */
int fork_storm(void);
int compact_node(void);		/* CONFIG_COMPACTION */
int mark_idle(void);		/* CONFIG_IDLE_PAGE_TRACKING */
int scan(void);			/* split_huge_pages in debugfs */
int cycle_cpu(void);		/* a second CPU */
int soft_offline(void);		/* CONFIG_MEMORY_FAILURE, these two */
int hard_offline(void);

/* Afterwards: what a round that was ended may have left, and what goes only later */
int unload_kernel(void);
void bpf_gone(void);

#endif
