// SPDX-License-Identifier: GPL-2.0
/*
 * DIMMs come and go while others walk, change or use the same page tables and
 * memory maps. Each race runs for SECONDS (environment; 15) and says how often each
 * side got round; what it proves is that nothing was logged and that the kernel's
 * memory is as it was.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/elf.h>
#include <linux/kexec.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../../kselftest_harness.h"
#include "util.h"

#define DEBUGFS		"/sys/kernel/debug"
#define CPU1		"/sys/devices/system/cpu/cpu1/online"
#define IMAGE		"/boot/Image"

#ifndef MADV_SOFT_OFFLINE
#define MADV_SOFT_OFFLINE	101
#endif

static char buffer[1 << 20];

/* Each of these does one round of it, and returns 0, or -1 when it cannot be had */

static int read_from(const char *path, off_t at)
{
	int fd = open(path, O_RDONLY), n;

	if (fd < 0)
		return -1;
	lseek(fd, at, SEEK_SET);
	while ((n = read(fd, buffer, sizeof(buffer))) > 0)
		;
	close(fd);
	return n;
}

/* All of init_mm's tables, under the lock that this is to show */
static int dump_tables(void)
{
	return read_from(DEBUGFS "/kernel_page_tables", 0);
}

/* Who allocated which page of the range that comes and goes, and beyond it */
static int read_owners(void)
{
	return read_from(DEBUGFS "/page_owner", ADDRESS / getpagesize());
}

/* The memmap of the range that comes and goes */
static int read_flags(void)
{
	int fd = open("/proc/kpageflags", O_RDONLY);
	off_t at = ADDRESS / getpagesize() * 8;
	off_t end = at + 2 * block_size() / getpagesize() * 8;

	if (fd < 0)
		return -1;
	for (; at < end; at += sizeof(buffer)) {
		if (pread(fd, buffer, sizeof(buffer), at) < 0)
			break;
	}
	close(fd);
	return 0;
}

/*
 * Kernel memory through a file, reads that may fault: something of everything, and all
 * of the range that comes and goes
 */
static int read_kernel(void)
{
	int fd = open("/proc/kcore", O_RDONLY), i, k;
	struct elf64_phdr *ph;
	struct elf64_hdr eh;
	off_t at;

	if (fd < 0 || pread(fd, &eh, sizeof(eh), 0) != sizeof(eh))
		return -1;
	ph = calloc(eh.e_phnum, sizeof(*ph));
	if (pread(fd, ph, eh.e_phnum * sizeof(*ph), eh.e_phoff) < 0)
		return -1;
	for (i = 0; i < eh.e_phnum; i++) {
		for (k = 0; k < 64; k++)
			(void)!pread(fd, buffer, 4096, ph[i].p_offset +
				     ph[i].p_filesz / 64 * k);
		if (ph[i].p_paddr != ADDRESS)
			continue;
		for (at = 0; at < ph[i].p_filesz; at += sizeof(buffer))
			(void)!pread(fd, buffer, sizeof(buffer), ph[i].p_offset + at);
	}
	free(ph);
	close(fd);
	return 0;
}

static int unload_kernel(void)
{
	int ret = syscall(SYS_kexec_load, 0, 0, NULL, KEXEC_ARCH_AARCH64);

	syscall(SYS_kexec_file_load, -1, -1, 0, NULL,
		KEXEC_FILE_UNLOAD | KEXEC_FILE_ON_CRASH);
	return ret && errno != EBUSY;
}

/* kexec_load() copies the whole linear map's tables */
static int load_kernel(void)
{
	struct kexec_segment segment = {
		.buf = buffer, .bufsz = 4096,
		.mem = (void *)0x48000000, .memsz = 65536,
	};
	/* Nothing is run: any load address in boot memory will do */
	long ret = syscall(SYS_kexec_load, 0x48000000, 1, &segment, KEXEC_ARCH_AARCH64);

	if (ret && errno != EBUSY)
		return -1;
	return unload_kernel();
}

/* kexec_file_load() looks for room in memblock, for a crash kernel lists it, too */
static int load_file(void)
{
	static const unsigned long flags[] = {
		KEXEC_FILE_NO_INITRAMFS, KEXEC_FILE_NO_INITRAMFS | KEXEC_FILE_ON_CRASH,
	};
	int fd = open(IMAGE, O_RDONLY), ret = fd < 0;
	unsigned int i;

	for (i = 0; !ret && i < ARRAY_SIZE(flags); i++) {
		ret = syscall(SYS_kexec_file_load, fd, -1, 1, "", flags[i]);
		if (ret && errno == EBUSY)
			ret = 0;
	}
	close(fd);
	return ret || unload_kernel();
}

/* What an administrator or kdump does: kexec(8) looks into /proc/iomem first */
static int run_kexec(void)
{
	return system("kexec -c -l " IMAGE " --append=quiet && kexec -u") ||
	       system("kexec -s -l " IMAGE " --append=quiet && kexec -u") ||
	       system("kexec -s -p " IMAGE " --append=quiet && kexec -p -u");
}

/*
 * vmalloc() and vfree() in a module that is loaded for it, which changes the
 * attributes of its pages in the linear map; it runs its tests as it is loaded
 */
static int load_module(void)
{
	int ret = module_load("test_vmalloc",
			      "run_test_mask=63 test_repeat_count=1 test_loop_count=20");

	/* That is how it says that it is done */
	return ret && errno == EAGAIN ? 0 : -1;
}

/* A program that is compiled, which makes its pages read-only and executable, and freed */
static int load_bpf(void)
{
	struct bpf_insn program[] = {
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0 },
		{ .code = BPF_JMP | BPF_EXIT },
	};
	union bpf_attr attr = {
		.prog_type = BPF_PROG_TYPE_SYSCALL, .prog_flags = BPF_F_SLEEPABLE,
		.insns = (uintptr_t)program, .insn_cnt = ARRAY_SIZE(program),
		.license = (uintptr_t)"GPL",
	};
	struct bpf_prog_info info = { };
	int fd = syscall(SYS_bpf, BPF_PROG_LOAD, &attr, sizeof(attr)), ret;

	attr = (union bpf_attr) {
		.info = { .bpf_fd = fd, .info_len = sizeof(info), .info = (uintptr_t)&info },
	};
	ret = syscall(SYS_bpf, BPF_OBJ_GET_INFO_BY_FD, &attr, sizeof(attr));
	close(fd);
	return ret || !info.jited_prog_len ? -1 : 0;
}

/* Programs are freed by a worker, later, which makes their pages writable again */
static void bpf_gone(void)
{
	int i;

	for (i = 0; i < 300 && !system("grep -q bpf_prog /proc/vmallocinfo"); i++)
		usleep(100000);
}

static int fork_one(void)
{
	pid_t pid = fork();

	if (!pid) {
		size_t i, size = 4 * MiB;
		char *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		for (i = 0; p != MAP_FAILED && i < size; i += 4096)
			p[i] = 1;
		_exit(0);
	}
	return pid > 0 && waitpid(pid, NULL, 0) == pid ? 0 : -1;
}

/* The node that comes and goes, if it may: all memory takes long, and hardly meets a removal */
static int compact_node(void)
{
	if (!two_nodes() || access("/proc/sys/vm/compact_memory", W_OK))
		return write_file("/proc/sys/vm/compact_memory", "1");
	if (write_file(NODE1 "/compact", "1"))
		usleep(1000);
	return 0;
}

/* Which pages of the range that comes and goes were used, and now are idle */
static int mark_idle(void)
{
	int fd = open("/sys/kernel/mm/page_idle/bitmap", O_RDWR), n;
	off_t at = ADDRESS / getpagesize() / 8;

	if (fd < 0)
		return -1;
	n = pread(fd, buffer, 2 * block_size() / getpagesize() / 8, at);
	if (n > 0)
		(void)!pwrite(fd, buffer, n, at);
	close(fd);
	return 0;
}

/* Others that go through the memmap of what is online */
static int scan(void)
{
	return read_from("/proc/pagetypeinfo", 0) || write_file(DEBUGFS "/split_huge_pages", "1");
}

static int cycle_cpu(void)
{
	return write_file(CPU1, "0") || write_file(CPU1, "1");
}

/*
 * A page goes bad, as a rule one of the DIMM: often enough to meet its removal, and
 * not often, as a page of boot memory stays lost
 */
static int spoil_page(int how)
{
	size_t page = getpagesize();
	char *p = mmap(NULL, page, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	int ret = madvise(p, page, how);

	munmap(p, page);
	usleep(20000);
	/* Or somebody has isolated it, or it is gone */
	return ret && errno != EBUSY && errno != EIO ? -1 : 0;
}

static int soft_offline(void)
{
	return spoil_page(MADV_SOFT_OFFLINE);
}

static int hard_offline(void)
{
	pid_t pid = fork();
	int status;

	/* Whoever had the page is killed */
	if (!pid)
		_exit(spoil_page(MADV_HWPOISON));
	usleep(20000);
	return pid > 0 && waitpid(pid, &status, 0) == pid && !WEXITSTATUS(status) ? 0 : -1;
}

static int stay_on_first_cpu(void)
{
	cpu_set_t first;

	CPU_ZERO(&first);
	CPU_SET(0, &first);
	return sched_setaffinity(0, sizeof(first), &first);
}

/* Share a CPU with hog_cpu(), and have next to nothing of it while that runs */
static int give_way(void)
{
	struct sched_param none = {};

	return stay_on_first_cpu() || sched_setscheduler(0, SCHED_IDLE, &none);
}

/* Stopped, until it is told to go on */
static pid_t hog_cpu(void)
{
	pid_t pid = fork();
	int status;

	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (stay_on_first_cpu())
			_exit(1);
		raise(SIGSTOP);
		for (;;)
			;
	}
	return pid > 0 && waitpid(pid, &status, WUNTRACED) == pid && WIFSTOPPED(status) ?
	       pid : -1;
}

FIXTURE(race) {
	char *before;
	long free_kb;
};

FIXTURE_VARIANT(race) {
	int (*round)(void);
	/* Put it online each time, or just have page tables come and go */
	bool online;
	/*
	 * Have it preempted wherever it is by each removal, and for longer than that takes:
	 * for those who hold nothing for long that a removal waits for. Preemption being
	 * full, that can be anywhere.
	 */
	bool starved;
	/* Where there can be two nodes, the DIMM is all that the second has */
	bool apart;
	/* Pages that went bad are not there again */
	bool spoils;
	const char *needs;
};

FIXTURE_VARIANT_ADD(race, ptdump) {
	.round = dump_tables, .online = false, .needs = "CONFIG_PTDUMP_DEBUGFS",
};

FIXTURE_VARIANT_ADD(race, page_owner) {
	.round = read_owners, .online = true, .needs = "CONFIG_PAGE_OWNER and page_owner=on",
};

FIXTURE_VARIANT_ADD(race, kpageflags) {
	.round = read_flags, .online = true, .needs = "CONFIG_PROC_PAGE_MONITOR",
};

FIXTURE_VARIANT_ADD(race, kcore) {
	.round = read_kernel, .online = true, .starved = true, .needs = "CONFIG_PROC_KCORE",
};

FIXTURE_VARIANT_ADD(race, kexec) {
	.round = load_kernel, .online = false, .needs = "CONFIG_KEXEC",
};

FIXTURE_VARIANT_ADD(race, kexec_file) {
	.round = load_file, .online = false,
	.needs = "CONFIG_KEXEC_FILE, CONFIG_CRASH_DUMP, crashkernel=64M, " IMAGE,
};

FIXTURE_VARIANT_ADD(race, kexec_tools) {
	.round = run_kexec, .online = false,
	.needs = "kexec(8), CONFIG_KEXEC_FILE, crashkernel=64M, " IMAGE,
};

FIXTURE_VARIANT_ADD(race, vmalloc) {
	.round = load_module, .online = false, .needs = "CONFIG_TEST_VMALLOC=m",
};

FIXTURE_VARIANT_ADD(race, bpf) {
	.round = load_bpf, .online = false, .needs = "CONFIG_BPF_SYSCALL, CONFIG_BPF_JIT",
};

FIXTURE_VARIANT_ADD(race, forks) {
	.round = fork_one, .online = true, .needs = "",
};

FIXTURE_VARIANT_ADD(race, compaction) {
	.round = compact_node, .online = true, .starved = true, .apart = true,
	.needs = "CONFIG_COMPACTION",
};

FIXTURE_VARIANT_ADD(race, page_idle) {
	.round = mark_idle, .online = true, .starved = true,
	.needs = "CONFIG_IDLE_PAGE_TRACKING",
};

FIXTURE_VARIANT_ADD(race, scanners) {
	.round = scan, .online = true, .needs = "split_huge_pages in debugfs",
};

FIXTURE_VARIANT_ADD(race, cpu_hotplug) {
	.round = cycle_cpu, .online = true, .needs = "a second CPU",
};

FIXTURE_VARIANT_ADD(race, soft_offline) {
	.round = soft_offline, .online = true, .spoils = true, .needs = "CONFIG_MEMORY_FAILURE",
};

FIXTURE_VARIANT_ADD(race, memory_failure) {
	.round = hard_offline, .online = true, .spoils = true, .needs = "CONFIG_MEMORY_FAILURE",
};

FIXTURE_SETUP(race)
{
	if (qmp_open())
		SKIP(return, "needs QEMU's monitor at " PORT_QMP);
	if (variant->round())
		SKIP(return, "needs %s", variant->needs);
	bpf_gone();
	log_start();
	self->before = picture();
	self->free_kb = free_kb();
}

FIXTURE_TEARDOWN(race)
{
	char *after = picture();
	long kb = free_kb();

	EXPECT_EQ(0, same_picture(self->before, after));
	EXPECT_EQ(0, log_clean());
	if (!variant->spoils)
		EXPECT_LT(labs(kb - self->free_kb), 4096) {
			TH_LOG("%ld kB free, %ld kB before", kb, self->free_kb);
		}
	free(after);
	free(self->before);
}

TEST_F_TIMEOUT(race, add_remove, 900)
{
	const char *s = getenv("SECONDS");
	int seconds = s ? atoi(s) : 15, cycles = 0, status;
	int *rounds = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
				    MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	time_t until = time(NULL) + seconds;
	pid_t pid, hog = 0;

	ASSERT_NE(MAP_FAILED, rounds);
	if (variant->starved)
		ASSERT_LT(0, (hog = hog_cpu()));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		/* With what it runs it is ended */
		setpgid(0, 0);
		if (hog && give_way())
			_exit(1);
		for (;;) {
			if (variant->round())
				_exit(1);
			__atomic_add_fetch(rounds, 1, __ATOMIC_RELAXED);
		}
	}
	/* A slow machine may take longer for its first round */
	while (time(NULL) < until ||
	       (!__atomic_load_n(rounds, __ATOMIC_RELAXED) && time(NULL) < until + 300)) {
		struct dimm d = { .id = "d0", .addr = ADDRESS };

		d.size = variant->online ? 2 * block_size() : 4 * GiB;
		d.node = variant->apart && two_nodes();
		ASSERT_EQ(0, dimm_plug(&d));
		if (variant->online)
			ASSERT_EQ(0, blocks_set(d.addr, d.size, "online_movable"));
		if (hog)
			kill(hog, SIGCONT);
		ASSERT_EQ(0, dimm_unplug(&d));
		if (hog)
			kill(hog, SIGSTOP);
		cycles++;
	}
	/* Alive and well until now */
	ASSERT_EQ(0, waitpid(pid, &status, WNOHANG));
	kill(-pid, SIGKILL);
	waitpid(pid, &status, 0);
	if (hog) {
		kill(hog, SIGKILL);
		waitpid(hog, NULL, 0);
	}
	/* What it may have left half way */
	write_file(CPU1, "1");
	unload_kernel();
	bpf_gone();
	TH_LOG("%d times added and removed, %d rounds of the other", cycles, *rounds);
	EXPECT_LT(0, cycles);
	EXPECT_LT(0, *rounds);
}

TEST_HARNESS_MAIN
