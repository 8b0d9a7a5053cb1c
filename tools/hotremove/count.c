// SPDX-License-Identifier: GPL-2.0-only
/*
 * QEMU TCG plugin: what kernel functions do between their call and their return,
 * in the task that called them: instructions, TLB invalidations by kind, barriers,
 * and the longest stretches, in instructions, without a scheduling point and with
 * interrupts off. Instructions of other tasks and of interrupts that come in
 * between are counted by themselves ("others").
 *
 * Arguments: out=FILE and, as tools/hotremove/bench reads them from vmlinux,
 *	call=NAME:ENTRY:RET[:RET...]	a line for each return; hexadecimal
 *	part=NAME:ENTRY:RET[:RET...]	within a call, only instructions
 *	switch=ADDRESS	the load in cpu_switch_to() that reads from the next task
 *	resched=ADDRESS	where __cond_resched() begins
 *	irq=ADDRESS	the vector of an interrupt taken in the kernel
 *	profile=FILE	at the end, instructions by address, within calls
 * The line of an outermost call is followed by one for each function within it,
 * with the instructions of that function but not of those that it called and that
 * have a line of their own. Meant for one CPU.
 *
 * Debian has no package with QEMU's header: the few declarations needed are
 * here, as documented for versions 1 (QEMU 7.2), 2 (9.0) and 3 (9.1 and later) of
 * the interface, docs/devel/tcg-plugins.rst; API says which.
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct qemu_plugin_tb;
struct qemu_plugin_insn;
typedef uint64_t qemu_plugin_id_t;
typedef void (*vcpu_cb)(unsigned int cpu, void *data);
typedef void (*mem_cb)(unsigned int cpu, uint32_t info, uint64_t addr, void *data);

#define EXPORT	__attribute__((visibility("default")))
#define MEM_R	1

void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t id,
		void (*cb)(qemu_plugin_id_t id, struct qemu_plugin_tb *tb));
void qemu_plugin_register_atexit_cb(qemu_plugin_id_t id,
		void (*cb)(qemu_plugin_id_t id, void *data), void *data);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *tb,
						 size_t n);
#if API < 3
const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *insn);
#else
size_t qemu_plugin_insn_data(const struct qemu_plugin_insn *insn, void *dest,
			     size_t len);
#endif
uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *insn);
void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *tb, vcpu_cb cb,
					  int flags, void *data);
void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *insn,
					    vcpu_cb cb, int flags, void *data);
void qemu_plugin_register_vcpu_mem_cb(struct qemu_plugin_insn *insn, mem_cb cb,
				      int flags, int rw, void *data);

EXPORT int qemu_plugin_version = API;

enum kind {
	INSNS, TLBI_ALL, TLBI_VA, TLBI_RANGE, DSB, ISB, OTHERS, KINDS,
	RESCHED, IRQS_OFF, IRQS_RESTORE, IRQS_ON, ERET
};

static const char * const names[KINDS] = {
	"insns", "tlbi_all", "tlbi_va", "tlbi_range", "dsb", "isb", "others",
};

#define MAX_FUNCTIONS	100
#define MAX_RETURNS	32
#define MAX_CALLS	8

static struct function {
	char name[64];
	uint64_t entry;
	uint64_t returns[MAX_RETURNS];
	int nr_returns;
	int call;			/* number of a call, -1 for a part */
	int depth;
	uint64_t before[KINDS];
	uint64_t inner;			/* instructions of functions called by it */
	uint64_t self, times;		/* within the outermost call */
	uint64_t no_resched, irqs_off;	/* the longest so far */
} functions[MAX_FUNCTIONS];

static int nr_functions, nr_calls;

/* The functions that the task, "owner", is in; the outermost is a call */
static struct function *stack[MAX_FUNCTIONS];
static int nr_stack;
static uint64_t owner, current;
static bool in_interrupt;

static FILE *out;
static const char *profile;
static uint64_t switch_at, resched_at, irq_at;

/* Of the owner; a block of translated code is counted when it begins */
static uint64_t total[KINDS];
static uint64_t last_resched, irqs_off_since;
static unsigned int irqs_off;

static struct block {
	struct block *next;
	uint64_t addr, insns;
	uint64_t executed[MAX_CALLS];
} *blocks;

static bool counting(void)
{
	return nr_stack && current == owner && !in_interrupt;
}

static void end_stretch(uint64_t since, bool of_irqs_off)
{
	int i;

	for (i = 0; i < nr_stack; i++) {
		struct function *f = stack[i];
		uint64_t *longest = of_irqs_off ? &f->irqs_off : &f->no_resched;
		uint64_t begin = since > f->before[INSNS] ? since : f->before[INSNS];

		if (total[INSNS] - begin > *longest)
			*longest = total[INSNS] - begin;
	}
}

static void on_block(unsigned int cpu, void *data)
{
	struct block *b = data;

	(void)cpu;
	if (!nr_stack)
		return;
	if (!counting()) {
		total[OTHERS] += b->insns;
		return;
	}
	total[INSNS] += b->insns;
	b->executed[stack[0]->call]++;
}

static void on_interrupt(unsigned int cpu, void *data)
{
	in_interrupt = true;
	on_block(cpu, data);
}

static void on_switch(unsigned int cpu, uint32_t info, uint64_t addr, void *data)
{
	(void)cpu;
	(void)info;
	(void)data;
	if (counting())
		end_stretch(last_resched, false);
	current = addr;
	last_resched = total[INSNS];
}

static void on_kind(unsigned int cpu, void *data)
{
	uintptr_t kind = (uintptr_t)data;

	(void)cpu;
	if (kind == ERET && in_interrupt) {
		in_interrupt = false;
		return;
	}
	if (!counting())
		return;
	switch (kind) {
	case RESCHED:
		end_stretch(last_resched, false);
		last_resched = total[INSNS];
		return;
	case IRQS_OFF:
		if (!irqs_off++)
			irqs_off_since = total[INSNS];
		return;
	case IRQS_RESTORE:
	case IRQS_ON:
	case ERET:
		/* Restored to off where it was saved while off */
		if (irqs_off == 1 || (irqs_off && kind != IRQS_RESTORE))
			end_stretch(irqs_off_since, true);
		irqs_off = kind == IRQS_RESTORE && irqs_off ? irqs_off - 1 : 0;
		return;
	default:
		total[kind]++;
	}
}

static void on_entry(unsigned int cpu, void *data)
{
	struct function *f = data;

	(void)cpu;
	if (!nr_stack) {
		if (f->call < 0 || in_interrupt)
			return;
		owner = current;
		irqs_off = 0;
		last_resched = total[INSNS];
	}
	if (current != owner || in_interrupt || f->depth++)
		return;
	stack[nr_stack++] = f;
	memcpy(f->before, total, sizeof(total));
	f->inner = 0;
	f->no_resched = 0;
	f->irqs_off = 0;
}

static void print_call(const struct function *f)
{
	int i;

	fputs(f->name, out);
	for (i = 0; i < KINDS; i++)
		fprintf(out, " %s=%llu", names[i],
			(unsigned long long)(total[i] - f->before[i]));
	fprintf(out, " no_resched=%llu irqs_off=%llu\n",
		(unsigned long long)f->no_resched,
		(unsigned long long)f->irqs_off);
}

static void print_parts(const struct function *outermost)
{
	int i;

	for (i = 0; i < nr_functions; i++) {
		struct function *f = &functions[i];

		if (f->times)
			fprintf(out, " %s %s self=%llu times=%llu\n", outermost->name,
				f->name, (unsigned long long)f->self,
				(unsigned long long)f->times);
		f->self = 0;
		f->times = 0;
	}
	fflush(out);
}

static void on_return(unsigned int cpu, void *data)
{
	struct function *f = data;
	uint64_t insns;

	(void)cpu;
	if (!counting() || !f->depth || --f->depth)
		return;
	end_stretch(last_resched, false);
	if (irqs_off)
		end_stretch(irqs_off_since, true);
	/* Whatever stands above it has left in a way that was not seen */
	while (stack[--nr_stack] != f)
		stack[nr_stack]->depth = 0;
	insns = total[INSNS] - f->before[INSNS];
	f->self += insns - f->inner;
	f->times++;
	if (nr_stack)
		stack[nr_stack - 1]->inner += insns;

	if (f->call >= 0)
		print_call(f);
	if (!nr_stack)
		print_parts(f);
}

/*
 * Arm ARM, C5.5 and C6.2: TLBI is SYS with CRn 8 or 9; op2 is 0 for all of a
 * kind, CRm 2, 5 and 6 are for ranges. DSB and ISB whatever their option; writes
 * of DAIF, of which I is bit 1 of the immediate.
 */
static int kind_of(uint32_t insn)
{
	unsigned int crm = insn >> 8 & 15;

	if ((insn & 0xfff8e000) == 0xd5088000)
		return crm == 2 || crm == 5 || crm == 6 ? TLBI_RANGE :
		       insn >> 5 & 7 ? TLBI_VA : TLBI_ALL;
	if ((insn & 0xfffff0ff) == 0xd503309f)
		return DSB;
	if ((insn & 0xfffff0ff) == 0xd50330df)
		return ISB;
	if ((insn & 0xfffff2ff) == 0xd50342df)
		return IRQS_OFF;
	if ((insn & 0xfffff2ff) == 0xd50342ff)
		return IRQS_ON;
	if ((insn & 0xffffffe0) == 0xd51b4220)
		return IRQS_RESTORE;
	if (insn == 0xd69f03e0)
		return ERET;
	return -1;
}

static void on_execution(struct qemu_plugin_insn *insn, vcpu_cb cb, void *data)
{
	qemu_plugin_register_vcpu_insn_exec_cb(insn, cb, 0, data);
}

static void on_translate(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
	size_t n = qemu_plugin_tb_n_insns(tb), i;
	struct block *b = calloc(1, sizeof(*b));
	int k, r, kind;

	(void)id;
	if (!b)
		abort();
	b->insns = n;
	b->addr = qemu_plugin_insn_vaddr(qemu_plugin_tb_get_insn(tb, 0));
	b->next = blocks;
	blocks = b;
	qemu_plugin_register_vcpu_tb_exec_cb(tb, b->addr == irq_at ? on_interrupt :
					     on_block, 0, b);
	for (i = 0; i < n; i++) {
		struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
		uint64_t at = qemu_plugin_insn_vaddr(insn);
		uint32_t code = 0;

#if API < 3
		memcpy(&code, qemu_plugin_insn_data(insn), sizeof(code));
#else
		qemu_plugin_insn_data(insn, &code, sizeof(code));
#endif
		if (at == switch_at)
			qemu_plugin_register_vcpu_mem_cb(insn, on_switch, 0, MEM_R, NULL);
		kind = at == resched_at ? RESCHED : kind_of(code);
		if (kind >= 0)
			on_execution(insn, on_kind, (void *)(uintptr_t)kind);
		for (k = 0; k < nr_functions; k++) {
			struct function *f = &functions[k];

			if (at == f->entry)
				on_execution(insn, on_entry, f);
			for (r = 0; r < f->nr_returns; r++) {
				if (at == f->returns[r])
					on_execution(insn, on_return, f);
			}
		}
	}
}

static void write_profile(qemu_plugin_id_t id, void *data)
{
	const char *call_names[MAX_CALLS];
	FILE *file = fopen(profile, "w");
	const struct block *b;
	int i;

	(void)id;
	(void)data;
	if (!file)
		return;
	for (i = 0; i < nr_functions; i++) {
		if (functions[i].call >= 0)
			call_names[functions[i].call] = functions[i].name;
	}
	for (b = blocks; b; b = b->next) {
		for (i = 0; i < nr_calls; i++) {
			if (b->executed[i])
				fprintf(file, "%s %llx %llu\n", call_names[i],
					(unsigned long long)b->addr,
					(unsigned long long)(b->executed[i] * b->insns));
		}
	}
	fclose(file);
}

static bool add_function(char *p, int call)
{
	struct function *f = &functions[nr_functions];
	char *end = strchr(p, ':');

	if (!end || nr_functions == MAX_FUNCTIONS || call == MAX_CALLS)
		return false;
	nr_functions++;
	f->call = call;
	*end = 0;
	snprintf(f->name, sizeof(f->name), "%s", p);
	f->entry = strtoull(end + 1, &p, 16);
	while (*p == ':' && f->nr_returns < MAX_RETURNS)
		f->returns[f->nr_returns++] = strtoull(p + 1, &p, 16);
	return !*p;
}

EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const void *info, int argc,
			       char **argv)
{
	int i;

	(void)info;
	for (i = 0; i < argc; i++) {
		char *p = strchr(argv[i], '=');

		if (!p)
			return -1;
		*p++ = 0;
		if (!strcmp(argv[i], "out"))
			out = fopen(p, "w");
		else if (!strcmp(argv[i], "profile"))
			profile = strdup(p);
		else if (!strcmp(argv[i], "switch"))
			switch_at = strtoull(p, NULL, 16);
		else if (!strcmp(argv[i], "resched"))
			resched_at = strtoull(p, NULL, 16);
		else if (!strcmp(argv[i], "irq"))
			irq_at = strtoull(p, NULL, 16);
		else if (!add_function(p, *argv[i] == 'c' ? nr_calls++ : -1))
			return -1;
	}
	if (!out || !nr_functions)
		return -1;
	qemu_plugin_register_vcpu_tb_trans_cb(id, on_translate);
	if (profile)
		qemu_plugin_register_atexit_cb(id, write_profile, NULL);
	return 0;
}
