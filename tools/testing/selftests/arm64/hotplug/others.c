// SPDX-License-Identifier: GPL-2.0
/* What walks, changes or uses page tables and memory maps while memory comes and goes */
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/elf.h>
#include <linux/kexec.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../kselftest.h"
#include "others.h"
#include "util.h"

#define IMAGE		"/boot/Image"

#ifndef MADV_SOFT_OFFLINE
#define MADV_SOFT_OFFLINE	101
#endif

static char buffer[1 << 20];

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
int dump_tables(void)
{
	return read_from(DEBUGFS "/kernel_page_tables", 0);
}

/* Who allocated which page of the range that comes and goes, and beyond it */
int read_owners(void)
{
	return read_from(DEBUGFS "/page_owner", ADDRESS / getpagesize());
}

/* The memmap of the range that comes and goes */
int read_flags(void)
{
	int fd = open("/proc/kpageflags", O_RDONLY), ret = MET_NOTHING;
	off_t at = ADDRESS / getpagesize() * 8;
	off_t end = at + 2 * block_size() / getpagesize() * 8;

	if (fd < 0)
		return -1;
	for (; at < end; at += sizeof(buffer)) {
		if (pread(fd, buffer, sizeof(buffer), at) <= 0)
			break;
		ret = 0;
	}
	close(fd);
	return ret;
}

/*
 * Kernel memory through a file, reads that may fault: something of everything, and all
 * of the range that comes and goes
 */
int read_kernel(void)
{
	int fd = open("/proc/kcore", O_RDONLY), ret = MET_NOTHING, i, k;
	struct elf64_phdr *ph;
	struct elf64_hdr eh;
	off_t at;

	if (fd < 0 || pread(fd, &eh, sizeof(eh), 0) != sizeof(eh)) {
		close(fd);
		return -1;
	}
	ph = calloc(eh.e_phnum, sizeof(*ph));
	if (pread(fd, ph, eh.e_phnum * sizeof(*ph), eh.e_phoff) < 0)
		eh.e_phnum = 0;
	for (i = 0; i < eh.e_phnum; i++) {
		for (k = 0; k < 64; k++)
			(void)!pread(fd, buffer, 4096, ph[i].p_offset +
				     ph[i].p_filesz / 64 * k);
		if (ph[i].p_paddr != ADDRESS)
			continue;
		for (at = 0; at < ph[i].p_filesz; at += sizeof(buffer))
			ret = pread(fd, buffer, sizeof(buffer), ph[i].p_offset + at) > 0 ? 0 : ret;
	}
	free(ph);
	close(fd);
	return ret;
}

int unload_kernel(void)
{
	int ret = syscall(SYS_kexec_load, 0, 0, NULL, KEXEC_ARCH_AARCH64);

	syscall(SYS_kexec_file_load, -1, -1, 0, NULL,
		KEXEC_FILE_UNLOAD | KEXEC_FILE_ON_CRASH);
	return ret && errno != EBUSY;
}

/* kexec_load() copies the whole linear map's tables */
int load_kernel(void)
{
	struct kexec_segment segment = {
		.buf = buffer, .bufsz = 4096,
		.mem = (void *)0x48000000, .memsz = 65536,
	};
	/* Nothing is run: any load address in boot memory will do */
	long ret = syscall(SYS_kexec_load, 0x48000000, 1, &segment, KEXEC_ARCH_AARCH64);

	if (ret && errno != EBUSY)
		return -1;
	return unload_kernel() ? -1 : ret ? MET_NOTHING : 0;
}

static int load_image(unsigned long flags)
{
	int fd = open(IMAGE, O_RDONLY), ret;

	ret = fd < 0 ? -1 : syscall(SYS_kexec_file_load, fd, -1, 1, "",
				    KEXEC_FILE_NO_INITRAMFS | flags);
	close(fd);
	return ret;
}

/* kexec_file_load() lists memblock for a crash kernel, and waits for nobody */
int load_crash_kernel(void)
{
	return load_image(KEXEC_FILE_ON_CRASH) || unload_kernel() ? -1 : 0;
}

/* For another it looks for room in memblock, and copies tables */
int load_file(void)
{
	int ret = load_image(0);

	if (ret && errno != EBUSY)
		return -1;
	return load_crash_kernel() ? -1 : ret ? MET_NOTHING : 0;
}

/* What an administrator or kdump does: kexec(8) looks into /proc/iomem first */
int run_kexec(void)
{
	return system("kexec -c -l " IMAGE " --append=quiet && kexec -u") ||
	       system("kexec -s -l " IMAGE " --append=quiet && kexec -u") ||
	       system("kexec -s -p " IMAGE " --append=quiet && kexec -p -u");
}

/*
 * vmalloc() and vfree() in a module that is loaded for it, which changes the
 * attributes of its pages in the linear map; it runs its tests as it is loaded
 */
int load_module(void)
{
	int ret = module_load("test_vmalloc",
			      "run_test_mask=63 test_repeat_count=1 test_loop_count=20");

	/* That is how it says that it is done */
	return ret && errno == EAGAIN ? 0 : -1;
}

/* A program that is compiled, which makes its pages read-only and executable, and freed */
int load_bpf(void)
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
void bpf_gone(void)
{
	int i;

	for (i = 0; i < 300 && !system("grep -q bpf_prog /proc/vmallocinfo"); i++)
		usleep(100000);
}

int fork_storm(void)
{
	const size_t size = 4 * MiB;
	int i, n = 0;
	char *p;

	for (i = 0; i < 16; i++) {
		pid_t pid = fork();

		n += pid > 0;
		if (pid)
			continue;
		p = mmap(NULL, size, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
		_exit(p == MAP_FAILED);
	}
	for (i = 0; i < n; i++)
		wait(NULL);
	return n ? 0 : -1;
}

/* A driver with memory of its own (DEVICE_PRIVATE), which comes and goes with it */
int cycle_module(void)
{
	return module_load("test_hmm", "") || module_unload("test_hmm");
}

/* The node that comes and goes, if it may: all memory takes long, and hardly meets a removal */
int compact_node(void)
{
	if (!two_nodes() || access("/proc/sys/vm/compact_memory", W_OK))
		return write_file("/proc/sys/vm/compact_memory", "1");
	if (!write_file(NODE1 "/compact", "1"))
		return 0;
	usleep(1000);
	return MET_NOTHING;
}

/* Which pages of the range that comes and goes were used, and now are idle */
int mark_idle(void)
{
	int fd = open("/sys/kernel/mm/page_idle/bitmap", O_RDWR), n;
	off_t at = ADDRESS / getpagesize() / 8;

	if (fd < 0)
		return -1;
	n = pread(fd, buffer, 2 * block_size() / getpagesize() / 8, at);
	if (n > 0)
		n = pwrite(fd, buffer, n, at);
	close(fd);
	return n > 0 ? 0 : MET_NOTHING;
}

/* Others that go through the memmap of what is online */
int scan(void)
{
	return read_from("/proc/pagetypeinfo", 0) || write_file(DEBUGFS "/split_huge_pages", "1");
}

int cycle_cpu(void)
{
	return write_file(CPU1, "0") || write_file(CPU1, "1");
}

/* What is left to say for whoever is killed for having the page */
static int spoiled;

static void on_bus(int signal)
{
	(void)signal;
	_exit(spoiled);
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
	bool ours;
	int ret;

	if (p == MAP_FAILED)
		return MET_NOTHING;
	ours = physical(p) >= ADDRESS;
	spoiled = ours ? 0 : MET_NOTHING;
	ret = madvise(p, page, how);
	/* Somebody has isolated it, or it is gone */
	if (ret)
		ret = errno == EBUSY || errno == EIO ? MET_NOTHING : -1;
	munmap(p, page);
	usleep(20000);
	return ret || ours ? ret : MET_NOTHING;
}

/* What it says of a page that a child spoils, which may be killed for having it */
static int spoil_in_child(int how)
{
	pid_t pid = fork();
	int status;

	if (!pid) {
		signal(SIGBUS, on_bus);
		_exit(spoil_page(how) & 0xff);
	}
	return pid > 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status) ?
	       WEXITSTATUS(status) : -1;
}

/* Several at a time: one has a page, perhaps, while it waits for another */
int soft_offline(void)
{
	static const int how[] = { MADV_SOFT_OFFLINE, MADV_HWPOISON };
	unsigned int i;
	int ret;

	for (i = 0; i < ARRAY_SIZE(how); i++) {
		if (!fork()) {
			spoil_in_child(how[i]);
			_exit(0);
		}
	}
	ret = spoil_page(MADV_SOFT_OFFLINE);
	while (wait(NULL) > 0)
		;
	return ret;
}

int hard_offline(void)
{
	usleep(20000);
	return spoil_in_child(MADV_HWPOISON);
}
