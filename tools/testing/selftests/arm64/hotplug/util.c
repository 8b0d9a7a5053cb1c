// SPDX-License-Identifier: GPL-2.0
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/mempolicy.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "../../kselftest.h"
#include "util.h"

static int complain(const char *format, ...)
	__attribute__((format(printf, 1, 2)));

static int complain(const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	fprintf(stderr, "# ");
	vfprintf(stderr, format, ap);
	fprintf(stderr, "\n");
	va_end(ap);
	return -1;
}

static int now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec;
}

static void nap(int ms)
{
	usleep(ms * 1000);
}

/* ---- files ---- */

int read_file(const char *path, char *buf, int size)
{
	int fd = open(path, O_RDONLY), n;

	if (fd < 0)
		return -1;
	n = read(fd, buf, size - 1);
	close(fd);
	if (n < 0)
		return -1;
	buf[n] = 0;
	return n;
}

int write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY), ret, err;

	if (fd < 0)
		return -1;
	ret = write(fd, text, strlen(text)) < 0 ? -1 : 0;
	err = errno;
	close(fd);
	errno = err;
	return ret;
}

/* What is the machine's to decide, and tests change; it is again as it was in the end */
static struct {
	const char *path;
	char was[128];
} settings[] = { { AUTO_ONLINE }, { THP }, { BOOST } };
static pid_t main_program;

static void restore_settings(void)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(settings) && getpid() == main_program; i++) {
		if (settings[i].was[0])
			write_file(settings[i].path, settings[i].was);
	}
}

static void __attribute__((constructor)) save_settings(void)
{
	char buf[128], *was, *one;
	unsigned int i;

	main_program = getpid();
	for (i = 0; i < ARRAY_SIZE(settings); i++) {
		if (read_file(settings[i].path, buf, sizeof(buf)) <= 0)
			continue;
		/* "always [madvise] never" */
		one = strchr(buf, '[');
		was = one ? one + 1 : buf;
		snprintf(settings[i].was, sizeof(settings[i].was), "%.*s",
			 (int)strcspn(was, "]\n"), was);
	}
	atexit(restore_settings);
}

/* ---- QEMU ---- */

static int qmp_fd = -1;
static char qmp_buf[65536];	/* bytes read, not yet a whole line */
static int qmp_len;
static char qmp_line[65536];
static char qmp_events[65536];	/* lines of events since qmp_forget() */

/* The next line from QEMU; -1 if none comes within @ms */
static int qmp_next(int ms)
{
	struct pollfd p = { .fd = qmp_fd, .events = POLLIN };
	int until = now() + ms / 1000 + 1;

	for (;;) {
		char *nl = memchr(qmp_buf, '\n', qmp_len);
		int n;

		if (nl) {
			n = nl - qmp_buf + 1;
			memcpy(qmp_line, qmp_buf, n);
			qmp_line[n] = 0;
			qmp_len -= n;
			memmove(qmp_buf, nl + 1, qmp_len);
			return 0;
		}
		if (now() > until || poll(&p, 1, ms) <= 0)
			return -1;
		n = read(qmp_fd, qmp_buf + qmp_len, sizeof(qmp_buf) - qmp_len);
		if (n <= 0) {
			if (n < 0 && errno != EAGAIN)
				return -1;
			nap(10);
			continue;
		}
		qmp_len += n;
	}
}

static void qmp_keep_event(void)
{
	size_t have = strlen(qmp_events), n = strlen(qmp_line);

	if (have + n >= sizeof(qmp_events))
		have = 0;
	memcpy(qmp_events + have, qmp_line, n + 1);
}

int qmp_open(void)
{
	int until = now() + PATIENCE;

	if (qmp_fd >= 0)
		return 0;
	/* One at a time has it, perhaps a child of the last test that is still to die */
	while ((qmp_fd = open(PORT_QMP, O_RDWR)) < 0) {
		if (errno != EBUSY || now() > until)
			return -1;
		nap(100);
	}
	/*
	 * The greeting comes once per boot, to whoever opens first, and later
	 * openers may find what an earlier one did not read.
	 */
	while (!qmp_next(200))
		;
	if (qmp("qmp_capabilities", "%s", "") && !strstr(qmp_reply(), "Capabilities") &&
	    !strstr(qmp_reply(), "CommandNotFound"))
		return -1;
	return 0;
}

int qmp(const char *command, const char *arguments, ...)
{
	char text[4096], args[3072];
	va_list ap;
	int n;

	va_start(ap, arguments);
	vsnprintf(args, sizeof(args), arguments, ap);
	va_end(ap);
	n = snprintf(text, sizeof(text), "{\"execute\":\"%s\",\"arguments\":{%s}}\n",
		     command, args);
	if (write(qmp_fd, text, n) != n)
		return complain("QEMU's monitor does not take commands");

	while (!qmp_next(PATIENCE * 1000)) {
		if (strstr(qmp_line, "\"event\""))
			qmp_keep_event();
		else if (strstr(qmp_line, "\"return\""))
			return 0;
		else if (strstr(qmp_line, "\"error\""))
			return -1;
	}
	return complain("QEMU's monitor does not answer %s", command);
}

const char *qmp_reply(void)
{
	return qmp_line;
}

void qmp_forget(void)
{
	while (!qmp_next(0))
		;
	qmp_events[0] = 0;
}

int qmp_wait(const char *event, const char *id, int seconds)
{
	int until = now() + seconds;

	for (;;) {
		char *line = qmp_events, *nl;

		for (; (nl = strchr(line, '\n')); line = nl + 1) {
			bool found;

			*nl = 0;
			found = strstr(line, event) && strstr(line, id);
			*nl = '\n';
			if (found)
				return 0;
		}
		if (now() > until)
			return -1;
		if (!qmp_next(1000) && strstr(qmp_line, "\"event\""))
			qmp_keep_event();
	}
}

/* A number among the properties of a device; 0 if it cannot be had */
static uint64_t qom_get(const char *id, const char *property)
{
	const char *p;

	if (qmp("qom-get",
		"\"path\":\"/machine/peripheral/%s\",\"property\":\"%s\"",
		id, property))
		return 0;
	p = strstr(qmp_reply(), "\"return\"");
	return strtoull(strchr(p, ':') + 1, NULL, 0);
}

/* ---- DIMMs ---- */

int dimm_insert(struct dimm *dimm)
{
	char at[64] = "";

	if (qmp("object-add",
		"\"qom-type\":\"memory-backend-ram\",\"id\":\"m-%s\",\"size\":%llu,\"reserve\":false",
		dimm->id, (unsigned long long)dimm->size))
		return complain("object-add: %s", qmp_reply());
	if (dimm->addr)
		snprintf(at, sizeof(at), ",\"addr\":%llu",
			 (unsigned long long)dimm->addr);
	if (qmp("device_add",
		"\"driver\":\"pc-dimm\",\"id\":\"%s\",\"memdev\":\"m-%s\",\"node\":%d%s",
		dimm->id, dimm->id, dimm->node, at)) {
		complain("device_add: %s", qmp_reply());
		qmp("object-del", "\"id\":\"m-%s\"", dimm->id);
		return -1;
	}

	dimm->addr = qom_get(dimm->id, "addr");
	return dimm->addr ? 0 : complain("qom-get: %s", qmp_reply());
}

int dimm_plug(struct dimm *dimm)
{
	if (dimm_insert(dimm))
		return -1;
	return blocks_wait(dimm->addr, dimm->size, dimm->size / block_size(),
			   PATIENCE);
}

int dimm_eject(const struct dimm *dimm)
{
	int until = now() + PATIENCE;

	qmp_forget();
	/* QEMU takes the next request only when the guest is done with the last */
	while (qmp("device_del", "\"id\":\"%s\"", dimm->id)) {
		if (!strstr(qmp_reply(), "already in the process of unplug") ||
		    now() > until)
			return complain("device_del: %s", qmp_reply());
		nap(100);
	}
	return 0;
}

int dimm_gone(const struct dimm *dimm, int seconds)
{
	char name[64];

	snprintf(name, sizeof(name), "\"device\": \"%s\"", dimm->id);
	if (qmp_wait("DEVICE_DELETED", name, seconds))
		return -1;
	if (qmp("object-del", "\"id\":\"m-%s\"", dimm->id))
		return complain("object-del: %s", qmp_reply());
	/*
	 * Until ACPI has looked at the empty slot, one that is plugged in again looks like
	 * one that did not go. It says so of a slot, no more of a device
	 */
	qmp_wait("ACPI_DEVICE_OST", "\"info\": {\"source\"", 10);
	return 0;
}

int dimm_unplug(const struct dimm *dimm)
{
	if (dimm_eject(dimm))
		return -1;
	if (dimm_gone(dimm, PATIENCE))
		return complain("DIMM %s was not given back; QEMU said:\n%s",
				dimm->id, qmp_events);
	return 0;
}

void dimms_drop(void)
{
	char id[] = "d0";

	write_file(AUTO_ONLINE, "offline");
	for (; id[1] <= '9'; id[1]++) {
		struct dimm dimm = { .id = id };

		if (qom_get(id, "size"))
			dimm_unplug(&dimm);
	}
}

bool two_nodes(void)
{
	char possible[64];

	return read_file("/sys/devices/system/node/possible", possible, sizeof(possible)) >= 0 &&
	       !strcmp(possible, "0-1\n");
}

/* ---- virtio-mem ---- */

uint64_t vmem_property(const char *name)
{
	return qom_get("vmem0", name);
}

int vmem_request(uint64_t size)
{
	if (qmp("qom-set",
		"\"path\":\"/machine/peripheral/vmem0\",\"property\":\"requested-size\",\"value\":%llu",
		(unsigned long long)size))
		return complain("qom-set: %s", qmp_reply());
	return 0;
}

int vmem_wait(uint64_t size, long total_kb)
{
	uint64_t has, had = 0;
	int i;

	for (i = 0; i < PATIENCE * 10; i++) {
		has = vmem_property("size");
		if (has == size && meminfo_kb("MemTotal") == total_kb)
			return 0;
		/* Slow is not stuck */
		if (has != had)
			i = 0;
		had = has;
		nap(100);
	}
	return complain("vmem0 is at %llu of %llu, MemTotal at %ld of %ld kB",
			(unsigned long long)vmem_property("size"),
			(unsigned long long)size, meminfo_kb("MemTotal"), total_kb);
}

int vmem_resize(uint64_t size)
{
	long had = vmem_property("size") / KiB, total = meminfo_kb("MemTotal");

	return vmem_request(size) ? -1 : vmem_wait(size, total + (long)(size / KiB) - had);
}

/* ---- the NVDIMM ---- */

int nvdimm_wipe(void)
{
	/* Another's is not to be wiped */
	if (!qom_get("nv0", "addr"))
		return -1;
	if (system("ndctl disable-region all >/dev/null 2>&1") ||
	    system("ndctl init-labels -f nmem0 >/dev/null 2>&1") ||
	    system("ndctl enable-region all >/dev/null 2>&1"))
		return -1;
	return write_file(REGION "/align", "0x200000");
}

/* ---- memory blocks ---- */

uint64_t block_size(void)
{
	char buf[64];

	if (read_file(MEMORY "/block_size_bytes", buf, sizeof(buf)) < 0)
		return 0;
	return strtoull(buf, NULL, 16);
}

void block_path(char *path, int size, uint64_t addr, const char *file)
{
	snprintf(path, size, MEMORY "/memory%llu/%s",
		 (unsigned long long)(addr / block_size()), file);
}

static int is_block(const struct dirent *d)
{
	return !strncmp(d->d_name, "memory", 6) && isdigit(d->d_name[6]);
}

typedef void (*block_visitor)(uint64_t addr, const char *state, void *data);

/* Call @visit with the address and state of each block there is, in order */
static void visit_blocks(block_visitor visit, void *data)
{
	struct dirent **names;
	int n = scandir(MEMORY, &names, is_block, versionsort), i;
	uint64_t step = block_size();
	char path[128], state[64];

	for (i = 0; i < n; i++) {
		uint64_t addr = strtoull(names[i]->d_name + 6, NULL, 10) * step;

		block_path(path, sizeof(path), addr, "state");
		if (read_file(path, state, sizeof(state)) >= 0)
			visit(addr, state, data);
		free(names[i]);
	}
	if (n >= 0)
		free(names);
}

struct block_count {
	uint64_t start, end;
	const char *state;
	int n;
};

static void count_block(uint64_t addr, const char *state, void *data)
{
	struct block_count *c = data;

	if (addr >= c->start && addr < c->end &&
	    !strncmp(state, c->state, strlen(c->state)))
		c->n++;
}

int blocks_in_state(uint64_t addr, uint64_t size, const char *state)
{
	struct block_count c = { addr, addr + size, state, 0 };

	visit_blocks(count_block, &c);
	return c.n;
}

int blocks_present(uint64_t addr, uint64_t size)
{
	return blocks_in_state(addr, size, "");
}

static int wait_for_blocks(uint64_t addr, uint64_t size, const char *state, int count,
			   int seconds)
{
	int until = now() + seconds;

	while (blocks_in_state(addr, size, state) != count) {
		if (now() > until)
			return complain("%d memory blocks of %d at %#llx %s after %d s",
					blocks_in_state(addr, size, state), count,
					(unsigned long long)addr, state, seconds);
		nap(20);
	}
	return 0;
}

int blocks_wait(uint64_t addr, uint64_t size, int count, int seconds)
{
	return wait_for_blocks(addr, size, "", count, seconds);
}

int blocks_wait_state(uint64_t addr, uint64_t size, const char *state)
{
	return wait_for_blocks(addr, size, state, size / block_size(), PATIENCE);
}

bool block_is_in_zone(uint64_t addr, const char *zone)
{
	char path[128], zones[64];

	block_path(path, sizeof(path), addr, "valid_zones");
	return read_file(path, zones, sizeof(zones)) > 0 &&
	       !strncmp(zones, zone, strlen(zone));
}

int block_set(uint64_t addr, const char *state)
{
	char path[128];

	block_path(path, sizeof(path), addr, "state");
	return write_file(path, state);
}

static void on_alarm(int signal)
{
	(void)signal;
}

int block_try(uint64_t addr, const char *state, int seconds)
{
	struct sigaction act = { .sa_handler = on_alarm };
	int ret, err;

	sigaction(SIGALRM, &act, NULL);
	alarm(seconds);
	ret = block_set(addr, state);
	err = errno;
	alarm(0);
	errno = err;
	return ret;
}

int blocks_set(uint64_t addr, uint64_t size, const char *state)
{
	uint64_t at, step = block_size();

	for (at = addr; at < addr + size; at += step) {
		if (block_set(at, state))
			return complain("memory%llu does not go %s: %s",
					(unsigned long long)(at / step), state,
					strerror(errno));
	}
	return 0;
}

uint64_t physical(const void *p)
{
	uint64_t page = getpagesize(), entry = 0;
	int fd = open("/proc/self/pagemap", O_RDONLY), i;

	/*
	 * Bit 63: present; bits 54:0: the page frame. What is just being migrated, by
	 * compaction too, is not present until it has moved, for which a read waits.
	 */
	for (i = 0; i < 100 && !(entry >> 63); i++) {
		__atomic_load_n((const char *)p, __ATOMIC_RELAXED);
		if (pread(fd, &entry, 8, (uintptr_t)p / page * 8) != 8)
			break;
	}
	close(fd);
	return entry >> 63 ? (entry & ((1ULL << 55) - 1)) * page : 0;
}

bool on_dimm(const struct dimm *dimm, const void *p)
{
	uint64_t at = physical(p);

	return at >= dimm->addr && at < dimm->addr + dimm->size;
}

/* ---- what to compare ---- */

struct text {
	char *s;
	size_t len, size;
};

static void text_add(struct text *t, const char *line)
{
	size_t n = strlen(line);

	if (t->len + n + 1 > t->size) {
		t->size = 2 * (t->len + n + 4096);
		t->s = realloc(t->s, t->size);
	}
	memcpy(t->s + t->len, line, n + 1);
	t->len += n;
}

static void draw_block(uint64_t addr, const char *state, void *data)
{
	char line[128];

	snprintf(line, sizeof(line), "memory block at %#llx %s",
		 (unsigned long long)addr, state);
	text_add(data, line);
}

/* The firmware's map of memory, which hot-added memory becomes part of */
static void draw_firmware_map(struct text *t)
{
	struct dirent **names;
	int n = scandir("/sys/firmware/memmap", &names, NULL, versionsort), i;
	char path[300], start[64], end[64], line[160];

	for (i = 0; i < n; i++) {
		snprintf(path, sizeof(path), "/sys/firmware/memmap/%s/start",
			 names[i]->d_name);
		if (isdigit(names[i]->d_name[0]) &&
		    read_file(path, start, sizeof(start)) > 0) {
			snprintf(path, sizeof(path), "/sys/firmware/memmap/%s/end",
				 names[i]->d_name);
			read_file(path, end, sizeof(end));
			start[strcspn(start, "\n")] = 0;
			snprintf(line, sizeof(line), "firmware map %s-%s", start, end);
			text_add(t, line);
		}
		free(names[i]);
	}
	if (n >= 0)
		free(names);
}

/* One line of kernel_page_tables: true if it shows leaves, not a hole */
static bool parse_leaves(const char *line, unsigned long long *start,
			 unsigned long long *end, char *level, const char **attrs)
{
	int at;

	if (sscanf(line, "0x%llx-0x%llx %*s %15s%n", start, end, level, &at) != 3)
		return false;
	*attrs = line + at + strspn(line + at, " ");
	return **attrs != '\n';
}

/* debug_pagealloc and KFENCE unmap single pages at any time */
bool linear_map_changes(void)
{
	char buf[4096];

	if (read_file("/sys/module/kfence/parameters/sample_interval", buf, sizeof(buf)) > 0 &&
	    atoi(buf))
		return true;
	return read_file("/proc/cmdline", buf, sizeof(buf)) > 0 &&
	       strstr(buf, "debug_pagealloc=on");
}

/* Which memory blocks of the linear map a line of kernel_page_tables has leaves in */
static void draw_blocks(struct text *t, const char *line, unsigned long long *last)
{
	unsigned long long start, end;
	char level[16], buf[64];
	const char *attrs;

	if (!parse_leaves(line, &start, &end, level, &attrs))
		return;
	for (start /= block_size(); start <= (end - 1) / block_size(); start++) {
		if (start == *last)
			continue;
		*last = start;
		snprintf(buf, sizeof(buf), "%#llx mapped\n", start * block_size());
		text_add(t, buf);
	}
}

char *picture(void)
{
	bool linear = false, vmemmap = false, changes = linear_map_changes();
	static bool said;
	unsigned long long last = 0;
	struct text t = { 0 };
	char line[512];
	FILE *f;

	text_add(&t, "");
	f = fopen(DEBUGFS "/kernel_page_tables", "r");
	if (!f && !said) {
		complain("without CONFIG_PTDUMP_DEBUGFS page tables are not compared");
		said = true;
	}
	while (f && fgets(line, sizeof(line), f)) {
		if (!strncmp(line, "---[", 4)) {
			linear = strstr(line, "Linear Mapping start");
			vmemmap = strstr(line, "vmemmap start");
		}
		if (linear && changes)
			draw_blocks(&t, line, &last);
		else if (linear || vmemmap)
			text_add(&t, line);
	}
	if (f)
		fclose(f);

	f = fopen("/proc/iomem", "r");
	while (f && fgets(line, sizeof(line), f))
		text_add(&t, line);
	if (f)
		fclose(f);

	f = fopen(DEBUGFS "/memblock/memory", "r");
	while (f && fgets(line, sizeof(line), f)) {
		text_add(&t, "memblock ");
		text_add(&t, line);
	}
	if (f)
		fclose(f);

	draw_firmware_map(&t);
	visit_blocks(draw_block, &t);
	return t.s;
}

static bool has_line(const char *text, const char *line, size_t len)
{
	const char *p = text;

	while ((p = strstr(p, line))) {
		if ((p == text || p[-1] == '\n') && p[len] == '\n')
			return true;
		p++;
	}
	return false;
}

static char *new_lines(const char *before, const char *after)
{
	struct text t = { 0 };
	char *copy = strdup(after), *line = copy, *nl;

	text_add(&t, "");
	for (; (nl = strchr(line, '\n')); line = nl + 1) {
		*nl = 0;
		if (!has_line(before, line, nl - line)) {
			text_add(&t, line);
			text_add(&t, "\n");
		}
	}
	free(copy);
	return t.s;
}

/* On a real machine, which has work of its own, others change all of that, too */
static bool all_ours(void)
{
	return !qmp_open();
}

int same_picture(const char *before)
{
	char *after = picture(), *gone, *new;
	int ret = all_ours() && strcmp(before, after) ? -1 : 0;

	if (ret) {
		gone = new_lines(after, before);
		new = new_lines(before, after);
		complain("no longer there:\n%sthere now:\n%s", gone, new);
		free(gone);
		free(new);
	}
	free(after);
	return ret;
}

void state_take(struct state *state)
{
	free(state->picture);
	state->picture = picture();
	state->free_kb = free_kb();
}

int state_same(struct state *state, long kb)
{
	int ret = same_picture(state->picture);
	long now_kb = free_kb();
	int i;

	if (!all_ours())
		kb = LONG_MAX;
	/* kfree_rcu(), for one of what sysfs had, takes seconds where a machine is busy */
	for (i = 0; labs(now_kb - state->free_kb) >= kb && i < 10; i++) {
		nap(1000);
		now_kb = free_kb();
	}
	free(state->picture);
	state->picture = NULL;
	if (labs(now_kb - state->free_kb) < kb)
		return ret;
	return complain("%ld kB free, %ld kB before, may differ by %ld", now_kb,
			state->free_kb, kb);
}

char *new_mappings(const char *before, const char *after)
{
	unsigned long long start, end, was_start, was_end;
	char level[16], was_level[16], buf[256];
	const char *line, *old, *attrs, *was_attrs;
	struct text t = { 0 };

	text_add(&t, "");
	for (line = after; *line; line = strchr(line, '\n') + 1) {
		if (!parse_leaves(line, &start, &end, level, &attrs))
			continue;
		/* Ranges come in order, and what was mapped stays mapped */
		for (old = before; *old; old = strchr(old, '\n') + 1) {
			if (!parse_leaves(old, &was_start, &was_end, was_level,
					  &was_attrs) ||
			    was_end <= start || was_start >= end)
				continue;
			if (was_start <= start)
				start = was_end;
			else
				end = was_start;
		}
		if (start >= end)
			continue;
		snprintf(buf, sizeof(buf), "0x%016llx-0x%016llx %6llu MiB %s",
			 start, end, (end - start) / MiB, level);
		text_add(&t, buf);
		while (*attrs != '\n') {
			int n = strcspn(attrs, "\n ");

			snprintf(buf, sizeof(buf), " %.*s", n, attrs);
			text_add(&t, buf);
			attrs += n + strspn(attrs + n, " ");
		}
		text_add(&t, "\n");
	}
	return t.s;
}

uint64_t *populate(int node, size_t size)
{
	unsigned long nodes = 1UL << node;
	uint64_t *p;

	if (node && syscall(SYS_set_mempolicy, MPOL_PREFERRED, &nodes, node + 2))
		return NULL;
	p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED)
		return NULL;
	/* Not there where the kernel has no huge pages */
	madvise(p, size, MADV_NOHUGEPAGE);
	if (madvise(p, size, MADV_POPULATE_WRITE))
		return NULL;
	if (node && syscall(SYS_set_mempolicy, MPOL_DEFAULT, NULL, 0))
		return NULL;
	return p;
}

void fill(uint64_t *p, size_t size)
{
	size_t i;

	for (i = 0; i < size / sizeof(*p); i += 512)
		p[i] = i * 0x9e3779b97f4a7c15ULL;
}

size_t wrong(const uint64_t *p, size_t size)
{
	size_t i, n = 0;

	for (i = 0; i < size / sizeof(*p); i += 512)
		n += p[i] != i * 0x9e3779b97f4a7c15ULL;
	return n;
}

long meminfo_kb(const char *name)
{
	char line[256];
	long kb = -1;
	FILE *f = fopen("/proc/meminfo", "r");

	while (f && fgets(line, sizeof(line), f)) {
		if (!strncmp(line, name, strlen(name)) &&
		    line[strlen(name)] == ':')
			kb = atol(line + strlen(name) + 1);
	}
	if (f)
		fclose(f);
	return kb;
}

long own_memmap_kb(uint64_t size)
{
	char on[16] = "";

	read_file("/sys/module/memory_hotplug/parameters/memmap_on_memory", on, sizeof(on));
	/* A struct page is 64 bytes; for 128 MiB of larger pages they fill no PMD block */
	return *on && *on != 'N' && getpagesize() == 4096 ? size / 4096 * 64 / KiB : 0;
}

/* Merged caches have links to what they share */
static int is_cache(const struct dirent *d)
{
	return d->d_type == DT_DIR && d->d_name[0] != '.';
}

void shrink_slabs(void)
{
	struct dirent **names;
	char path[512];
	int i, n = scandir(SLABS, &names, is_cache, alphasort);

	for (i = 0; i < n; i++) {
		snprintf(path, sizeof(path), SLABS "/%s/shrink", names[i]->d_name);
		write_file(path, "1");
		free(names[i]);
	}
	if (n >= 0)
		free(names);
}

/* Pages on the per-CPU free lists, which MemFree does not count */
static long pcp_pages(void)
{
	char line[256];
	long n, sum = 0;
	FILE *f = fopen("/proc/zoneinfo", "r");

	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, " count: %ld", &n) == 1)
			sum += n;
	}
	if (f)
		fclose(f);
	return sum;
}

long free_kb(void)
{
	long kb = -1, last;
	int i = 0;

	/* What is freed through RCU or a work queue comes in late */
	do {
		last = kb;
		/* In this order: looking for slabs fills the caches of names */
		shrink_slabs();
		write_file("/proc/sys/vm/drop_caches", "3");
		nap(100);
		kb = meminfo_kb("MemFree") + pcp_pages() * getpagesize() / 1024;
	} while (labs(kb - last) > 64 && i++ < 20);
	return kb;
}

long shadow_kb(void)
{
	return system("grep -q ' kasan_report$' /proc/kallsyms") ? 0 : 9 * 1024;
}

long noise_kb(long kb)
{
	long slabs_kb = 48 * getpagesize() / 1024;

	return kb > slabs_kb ? kb : slabs_kb;
}

bool va_bits_beyond(int bits)
{
	void *at = (void *)(1UL << bits);
	void *p = mmap(at, 1, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS |
		       MAP_FIXED_NOREPLACE, -1, 0);

	if (p != MAP_FAILED)
		munmap(p, 1);
	return p == at;
}

/* ---- who has which pages ---- */

char *owners(void)
{
	FILE *f = fopen(DEBUGFS "/page_owner_stacks/show_stacks", "r");
	size_t len = 0, size = 1 << 20, n;
	char *text = f ? malloc(size) : NULL;

	while (text && (n = fread(text + len, 1, size - len - 1, f)) > 0) {
		len += n;
		if (size - len < 4096)
			text = realloc(text, size *= 2);
	}
	if (text)
		text[len] = 0;
	if (f)
		fclose(f);
	return text;
}

/* A stack and, behind it, "nr_base_pages: N"; the next one follows an empty line */
static long pages_of(const char *stacks, const char *stack, size_t len)
{
	const char *p = stacks;

	while ((p = strstr(p, stack))) {
		if (p == stacks || p[-1] == '\n')
			return atol(p + len + strlen("nr_base_pages:"));
		p++;
	}
	return 0;
}

int name_owners(const char *before, char *after, long least, const char *within)
{
	char *stack = after, *end;
	int n = 0;

	while (before && (end = strstr(stack, "nr_base_pages:"))) {
		long now = atol(end + strlen("nr_base_pages:")), was;
		char *next = strchr(end, '\n');

		*end = 0;
		was = pages_of(before, stack, end - stack);
		if (now - was >= least && (!within || strstr(stack, within)) &&
		    !strstr(stack, "handle_mm_fault") &&
		    !strstr(stack, "new_slab") && !strstr(stack, "virtio_mem_fake_offline")) {
			fprintf(stderr, "# %ld pages more (%ld) of\n%s", now - was, now, stack);
			n++;
		}
		if (!next)
			break;
		stack = next + strspn(next, "\n");
	}
	return n;
}

int memmap_same(const char *before)
{
	char *now = owners();
	int ret = 0;

	if (before && now)
		ret = name_owners(before, now, 1, "arch_add_memory") ? -1 : 0;
	else if (!system("grep -qw page_owner=on /proc/cmdline"))
		ret = complain("needs CONFIG_PAGE_OWNER");
	free(now);
	return ret;
}

/* ---- the kernel log ---- */

static char log_mark[64];	/* nothing: from the first record on */

void log_start(void)
{
	static int n;

	snprintf(log_mark, sizeof(log_mark), "hotplug test: mark %d.%d\n",
		 getpid(), n++);
	write_file("/dev/kmsg", log_mark);
}

/* Lockdep's report on a cycle is of about this length */
#define REPORT_RECORDS	100

/*
 * How many records since log_start() have one of @texts in them. @show also shows
 * what follows the first: it explains it.
 */
static int log_search(const char *const *texts, bool show)
{
	int fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK), found = 0, shown = 0, i, n;
	bool marked = false;
	unsigned long long seq;
	char rec[8192];

	/* EPIPE: records were overwritten while we read, the next read goes on */
	while ((n = read(fd, rec, sizeof(rec) - 1)) > 0 ||
	       (n < 0 && errno == EPIPE)) {
		const char *text;

		rec[n > 0 ? n : 0] = 0;
		text = strchr(rec, ';');
		if (!text)
			continue;
		/* A record is "level,sequence number,...;text" */
		if (!marked && !log_mark[0])
			marked = sscanf(rec, "%*u,%llu", &seq) == 1 && !seq;
		else if (!marked && !strcmp(text + 1, log_mark))
			marked = true;
		if (!marked)
			continue;
		for (i = 0; texts[i] && !strstr(text, texts[i]); i++)
			;
		found += !!texts[i];
		if (show && found && shown++ < REPORT_RECORDS)
			complain("kernel log: %s", text + 1);
	}
	close(fd);
	if (!marked) {
		complain("the kernel log has lost its beginning: log_buf_len= makes it longer");
		return -1;
	}
	return found;
}

int log_sound(void)
{
	static const char *const alarming[] = {
		"WARNING:", "BUG:", "BUG at", "Oops",
		"possible circular", "possible recursive",
		"INFO: task", "INFO: rcu", "rcu_sched", "soft lockup",
		"Bad page", "bad page", "inconsistent lock", "list_add corruption",
		"list_del corruption", "Out of memory", "oom-kill", "refcount_t",
		"UBSAN:", "Kernel panic", "Unable to handle", "vmemmap alloc failure",
		/* At the beginning: slab debugging's */
		";BUG ", "pagealloc:", "INFO: trying to register", NULL
	};

	return log_search(alarming, true) ? -1 : 0;
}

int log_clean(void)
{
	static const char *const trace[] = { "Call trace", NULL };
	int sound = log_sound();

	/* What was alarming has been shown already, with the trace that followed */
	return log_search(trace, !sound) ? -1 : sound;
}

bool log_has(const char *text)
{
	const char *const texts[] = { text, NULL };

	return log_search(texts, false) > 0;
}

/* ---- faults ---- */

int faults_on(void)
{
	static const char *const files[][2] = {
		{ "/failslab/ignore-gfp-wait", "N" },
		{ "/failslab/verbose", "0" },
		{ "/fail_page_alloc/ignore-gfp-wait", "N" },
		{ "/fail_page_alloc/ignore-gfp-highmem", "N" },
		{ "/fail_page_alloc/min-order", "0" },
		{ "/fail_page_alloc/verbose", "0" },
	};
	char path[256];
	unsigned int i;

	for (i = 0; i < sizeof(files) / sizeof(*files); i++) {
		snprintf(path, sizeof(path), DEBUGFS "%s", files[i][0]);
		if (access(path, W_OK) || write_file(path, files[i][1]))
			return -1;
	}
	return 0;
}

int fail_nth(const char *pid, int n)
{
	char path[300], text[32];
	int fd, ret;

	snprintf(path, sizeof(path), "/proc/%s/fail-nth", pid);
	snprintf(text, sizeof(text), "%d", n);
	fd = open(path, O_WRONLY);
	ret = fd >= 0 && write(fd, text, strlen(text)) > 0 ? 0 : -1;
	close(fd);
	return ret;
}

int fails_left(const char *pid)
{
	char path[300], text[32];

	snprintf(path, sizeof(path), "/proc/%s/fail-nth", pid);
	return read_file(path, text, sizeof(text)) > 0 ? atoi(text) : -1;
}

/* One that came since has met nothing */
static char workers[256][16];
static int nr_workers;

int workers_fail_nth(int n)
{
	DIR *proc = opendir("/proc");
	char path[300], name[64];
	struct dirent *d;

	nr_workers = 0;
	write_file(DEBUGFS "/failslab/cache-filter", "Y");
	while (proc && (d = readdir(proc)) && nr_workers < ARRAY_SIZE(workers)) {
		if (!isdigit(d->d_name[0]))
			continue;
		snprintf(path, sizeof(path), "/proc/%s/comm", d->d_name);
		if (read_file(path, name, sizeof(name)) <= 0 ||
		    strncmp(name, "kworker/", 8) || fail_nth(d->d_name, n))
			continue;
		snprintf(workers[nr_workers++], sizeof(*workers), "%.15s", d->d_name);
	}
	if (proc)
		closedir(proc);
	return nr_workers ? 0 : -1;
}

bool worker_hit(void)
{
	int i;

	for (i = 0; i < nr_workers; i++) {
		if (!fails_left(workers[i]))
			return true;
	}
	return false;
}

int workers_failed(void)
{
	int hit = 0;

	write_file(DEBUGFS "/failslab/cache-filter", "N");
	while (nr_workers) {
		hit += !fails_left(workers[--nr_workers]);
		fail_nth(workers[nr_workers], 0);
	}
	return hit;
}

int dimm_insert_failing(struct dimm *dimm, int n)
{
	int i;

	qmp_forget();
	if (workers_fail_nth(n) || dimm_insert(dimm)) {
		workers_failed();
		return -1;
	}
	/* ACPI says that it is done, if not just that was what failed */
	for (i = 0; i < PATIENCE && qmp_wait("ACPI_DEVICE_OST", dimm->id, 0); i++) {
		if (i > 10 && worker_hit())
			break;
	}
	return workers_failed();
}

/* ---- modules ---- */

int module_load(const char *name, const char *arguments)
{
	char path[128];
	int fd, ret, err;

	snprintf(path, sizeof(path), "/lib/modules/%s.ko", name);
	fd = open(path, O_RDONLY);
	if (fd < 0) {
		/* Where distributions have it. Why it does not load is not said */
		snprintf(path, sizeof(path), "modprobe -n -q %s", name);
		err = system(path) ? ENOENT : EAGAIN;
		snprintf(path, sizeof(path), "modprobe -q %s %s", name, arguments);
		ret = err == ENOENT || system(path) ? -1 : 0;
		errno = err;
		return ret;
	}
	ret = syscall(SYS_finit_module, fd, arguments, 0);
	err = errno;
	close(fd);
	errno = err;
	return ret;
}

int module_unload(const char *name)
{
	return syscall(SYS_delete_module, name, O_NONBLOCK);
}

/* ---- tracing ---- */

#define TRACING	"/sys/kernel/tracing"

void trace_start(const char *group)
{
	char path[128];

	snprintf(path, sizeof(path), TRACING "/events/%s/enable", group);
	write_file(path, "1");
	close(open(TRACING "/trace", O_WRONLY | O_TRUNC));
}

static char trace_found[512];

int trace_number(const char *event)
{
	char line[512];
	int n, found = -1;
	FILE *f = fopen(TRACING "/trace", "r");

	for (n = 0; f && fgets(line, sizeof(line), f); n++) {
		if (strstr(line, event)) {
			memcpy(trace_found, line, sizeof(line));
			found = n;
		}
	}
	if (f)
		fclose(f);
	return found;
}

const char *trace_line(const char *event)
{
	return trace_number(event) < 0 ? NULL : trace_found;
}

unsigned long long trace_field(const char *line, const char *name)
{
	char key[64];
	const char *p;

	snprintf(key, sizeof(key), " %s=", name);
	p = line ? strstr(line, key) : NULL;
	return p ? strtoull(p + strlen(key), NULL, 0) : 0;
}

int kprobe_add(const char *function)
{
	char line[128];
	int fd = open(TRACING "/kprobe_events", O_WRONLY | O_APPEND), n, ret;

	n = snprintf(line, sizeof(line), "p:kprobes/%s %s\n", function, function);
	ret = fd >= 0 && write(fd, line, n) == n ? 0 : -1;
	close(fd);
	return ret;
}

void kprobes_remove(void)
{
	write_file(TRACING "/events/kprobes/enable", "0");
	close(open(TRACING "/kprobe_events", O_WRONLY | O_TRUNC));
}
