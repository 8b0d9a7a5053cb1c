// SPDX-License-Identifier: GPL-2.0
/*
 * DIMMs come and go while others walk, change or use the same page tables and
 * memory maps. Each race runs for SECONDS (environment; 15) and says how often each
 * side got round; what it proves is that nothing was logged and that the kernel's
 * memory is as it was.
 */
#define _GNU_SOURCE
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../../kselftest_harness.h"
#include "others.h"
#include "util.h"

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

/*
 * Stopped, until it is told to go on, for some seconds: a removal that has to wait for
 * whom it keeps from running would wait for minutes
 */
static pid_t hog_cpu(void)
{
	pid_t pid = fork();
	time_t until;
	int status;

	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (stay_on_first_cpu())
			_exit(1);
		for (;;) {
			raise(SIGSTOP);
			until = time(NULL) + 4;
			while (time(NULL) < until)
				;
		}
	}
	return pid > 0 && waitpid(pid, &status, WUNTRACED) == pid && WIFSTOPPED(status) ?
	       pid : -1;
}

FIXTURE(race) {
	struct state before;
	char *owners;
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
	/* Another above it stays, so that it is at its front that the zone shrinks */
	bool below;
	/*
	 * It is half used, between pages that are free, and that other one full: whoever
	 * compacts has work below where the zone then begins, and no room above it
	 */
	bool half;
	/* It has pages that move, and then none: whoever compacts waits for those moving */
	bool moves;
	/* Pages that went bad are not there again */
	bool spoils;
	const char *needs;
};

/* One may be luck, of each side */
#define ROUNDS	3

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
	.needs = "CONFIG_KEXEC_FILE, CONFIG_CRASH_DUMP, crashkernel=64M, /boot/Image",
};

FIXTURE_VARIANT_ADD(race, kexec_tools) {
	.round = run_kexec, .online = false,
	.needs = "kexec(8), CONFIG_KEXEC_FILE, crashkernel=64M, /boot/Image",
};

FIXTURE_VARIANT_ADD(race, vmalloc) {
	.round = load_module, .online = false, .needs = "CONFIG_TEST_VMALLOC=m",
};

FIXTURE_VARIANT_ADD(race, bpf) {
	.round = load_bpf, .online = false, .needs = "CONFIG_BPF_SYSCALL, CONFIG_BPF_JIT",
};

FIXTURE_VARIANT_ADD(race, module) {
	.round = cycle_module, .online = false, .needs = "CONFIG_TEST_HMM=m",
};

FIXTURE_VARIANT_ADD(race, forks) {
	.round = fork_storm, .online = true, .needs = "",
};

FIXTURE_VARIANT_ADD(race, compaction) {
	.round = compact_node, .online = true, .starved = true, .apart = true,
	.needs = "CONFIG_COMPACTION",
};

FIXTURE_VARIANT_ADD(race, compaction_front) {
	.round = compact_node, .online = true, .starved = true, .apart = true, .below = true,
	.needs = "CONFIG_COMPACTION",
};

FIXTURE_VARIANT_ADD(race, compaction_half) {
	.round = compact_node, .online = true, .starved = true, .apart = true, .below = true,
	.half = true, .needs = "CONFIG_COMPACTION",
};

/* Which may be for a node that goes meanwhile, and comes back */
FIXTURE_VARIANT_ADD(race, compaction_throttled) {
	.round = compact_node, .online = true, .apart = true, .moves = true,
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
	if (variant->round() & ~MET_NOTHING)
		SKIP(return, "needs %s", variant->needs);
	bpf_gone();
	log_start();
	dimms_drop();
	state_take(&self->before);
	self->owners = owners();
}

FIXTURE_TEARDOWN(race)
{
	/* What the other may have left half way */
	write_file(CPU1, "1");
	unload_kernel();
	bpf_gone();
	EXPECT_EQ(0, state_same(&self->before, variant->spoils ? LONG_MAX : 4096 + shadow_kb()));
	EXPECT_EQ(0, memmap_same(self->owners));
	EXPECT_EQ(0, log_clean());
	free(self->owners);
}

/* While the other goes round, memory comes and goes, and nothing comes of it */
TEST_F_TIMEOUT(race, add_remove, 900)
{
	const char *s = getenv("SECONDS");
	int seconds = s ? atoi(s) : 15, cycles = 0, status, i;
	struct shared {
		int rounds;	/* of the other, that met something */
		int changes;	/* odd while memory comes or goes */
		int stop;
	} *shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct dimm above = { .id = "d1", .addr = ADDRESS + 2 * block_size(),
			      .size = 2 * block_size() };
	time_t until = time(NULL) + seconds;
	uint64_t *taken = NULL, *rest = NULL;
	size_t at, used = 0;
	pid_t pid, hog = 0;

	ASSERT_NE(MAP_FAILED, shared);
	if (variant->below) {
		above.node = variant->apart && two_nodes();
		ASSERT_EQ(0, dimm_plug(&above));
		ASSERT_EQ(0, blocks_set(above.addr, above.size, "online_movable"));
		if (variant->half)
			ASSERT_NE(NULL, (rest = populate(above.node, above.size)));
	}
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
		while (!__atomic_load_n(&shared->stop, __ATOMIC_RELAXED)) {
			/* One that meets neither an add nor a removal does not count */
			int before = __atomic_load_n(&shared->changes, __ATOMIC_RELAXED);
			int ret = variant->round();
			bool met = before % 2 ||
				   before != __atomic_load_n(&shared->changes, __ATOMIC_RELAXED);

			if (ret & ~MET_NOTHING)
				_exit(1);
			__atomic_add_fetch(&shared->rounds, met && !ret, __ATOMIC_RELAXED);
		}
		_exit(0);
	}
	/* A slow machine may take longer for its first rounds */
	while (time(NULL) < until ||
	       ((__atomic_load_n(&shared->rounds, __ATOMIC_RELAXED) < ROUNDS ||
		 cycles < ROUNDS) && time(NULL) < until + 300)) {
		struct dimm d = { .id = "d0", .addr = ADDRESS };

		d.size = variant->online ? (2 - variant->half) * block_size() : 4 * GiB;
		d.node = variant->apart && two_nodes();
		__atomic_add_fetch(&shared->changes, 1, __ATOMIC_RELAXED);
		ASSERT_EQ(0, dimm_plug(&d));
		__atomic_add_fetch(&shared->changes, 1, __ATOMIC_RELAXED);
		if (variant->online)
			ASSERT_EQ(0, blocks_set(d.addr, d.size, "online_movable"));
		if (variant->half) {
			/* It is to be in the middle of that work */
			kill(pid, SIGSTOP);
			ASSERT_NE(NULL, (taken = populate(d.node, (used = d.size))));
			for (at = 0; at < used; at += 2 * getpagesize())
				madvise((char *)taken + at, getpagesize(), MADV_DONTNEED);
			kill(pid, SIGCONT);
			usleep(cycles % 16 * 5000);
		}
		if (variant->moves)
			ASSERT_NE(NULL, (taken = populate(d.node, (used = 32 * MiB))));
		if (hog)
			kill(hog, SIGCONT);
		__atomic_add_fetch(&shared->changes, 1, __ATOMIC_RELAXED);
		ASSERT_EQ(0, dimm_unplug(&d));
		__atomic_add_fetch(&shared->changes, 1, __ATOMIC_RELAXED);
		if (hog)
			kill(hog, SIGSTOP);
		if (taken)
			munmap(taken, used);
		cycles++;
	}
	/* Alive and well until now */
	ASSERT_EQ(0, waitpid(pid, &status, WNOHANG));
	if (hog) {
		kill(hog, SIGKILL);
		waitpid(hog, NULL, 0);
	}
	/* Killed in the middle of it, vmalloc() would log that it could not go on */
	__atomic_store_n(&shared->stop, 1, __ATOMIC_RELAXED);
	for (i = 0; i < 10 * PATIENCE && !waitpid(pid, &status, WNOHANG); i++)
		usleep(100000);
	if (i == 10 * PATIENCE) {
		kill(-pid, SIGKILL);
		waitpid(pid, &status, 0);
	}
	if (rest)
		munmap(rest, above.size);
	if (variant->below)
		ASSERT_EQ(0, dimm_unplug(&above));
	/* It came to its end, its last round too */
	EXPECT_EQ(0, status);
	TH_LOG("%d times added and removed, %d rounds of the other", cycles, shared->rounds);
	EXPECT_LE(ROUNDS, cycles);
	EXPECT_LE(ROUNDS, shared->rounds);
}

TEST_HARNESS_MAIN
