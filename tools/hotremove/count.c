// SPDX-License-Identifier: GPL-2.0-only
/*
 * QEMU TCG plugin: what kernel functions do between their call and their return,
 * whatever runs meanwhile included: instructions, TLB invalidations by kind,
 * barriers, context switches; instructions without those of inner functions that
 * are counted, too ("self"); and the longest stretches, in instructions, without
 * a scheduling point and with interrupts off.
 *
 * Arguments: out=FILE; for each function NAME=ENTRY:RET[:RET...] in hexadecimal,
 * as tools/hotremove/bench reads them from vmlinux; switch=ADDRESS and
 * resched=ADDRESS, where cpu_switch_to() and __cond_resched() begin. One line is
 * appended to FILE for each return. Meant for one CPU.
 *
 * Debian has no package with QEMU's header: the few declarations needed are
 * here, as documented for versions 1 (QEMU 7.2) and 3 (QEMU 9.1 and later) of
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

#define EXPORT	__attribute__((visibility("default")))

void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t id,
		void (*cb)(qemu_plugin_id_t id, struct qemu_plugin_tb *tb));
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

EXPORT int qemu_plugin_version = API;

enum kind {
	INSNS, TLBI_ALL, TLBI_VA, TLBI_RANGE, DSB, ISB, SWITCH, KINDS,
	RESCHED, IRQS_OFF, IRQS_ON
};

static const char * const names[KINDS] = {
	"insns", "tlbi_all", "tlbi_va", "tlbi_range", "dsb", "isb", "switches",
};

#define MAX_FUNCTIONS	40
#define MAX_RETURNS	16

static struct function {
	char name[64];
	uint64_t entry;
	uint64_t returns[MAX_RETURNS];
	int nr_returns;
	int depth;
	uint64_t before[KINDS];
	uint64_t inner;			/* instructions of functions called by it */
	uint64_t no_resched, irqs_off;	/* the longest so far */
} functions[MAX_FUNCTIONS];

static struct function *stack[MAX_FUNCTIONS];
static int nr_stack;

static int nr_functions;
static FILE *out;
static uint64_t switch_to, cond_resched;

/* Since boot; a block of translated code is counted when it begins */
static uint64_t total[KINDS];
static uint64_t last_resched, irqs_off_since;

static void end_stretch(bool of_irqs_off)
{
	uint64_t length = total[INSNS] - (of_irqs_off ? irqs_off_since : last_resched);
	int i;

	for (i = 0; i < nr_functions; i++) {
		struct function *f = &functions[i];
		uint64_t *longest = of_irqs_off ? &f->irqs_off : &f->no_resched;
		uint64_t within = total[INSNS] - f->before[INSNS];

		if (f->depth && length < within && length > *longest)
			*longest = length;
		else if (f->depth && within <= length && within > *longest)
			*longest = within;
	}
}

static void on_tb(unsigned int cpu, void *data)
{
	(void)cpu;
	total[INSNS] += (uintptr_t)data;
}

static void on_kind(unsigned int cpu, void *data)
{
	uintptr_t kind = (uintptr_t)data;

	(void)cpu;
	if (kind == IRQS_OFF) {
		if (!irqs_off_since)
			irqs_off_since = total[INSNS];
	} else if (kind == IRQS_ON) {
		if (irqs_off_since)
			end_stretch(true);
		irqs_off_since = 0;
	} else {
		if (kind == RESCHED || kind == SWITCH) {
			end_stretch(false);
			last_resched = total[INSNS];
		}
		if (kind < KINDS)
			total[kind]++;
	}
}

static void on_entry(unsigned int cpu, void *data)
{
	struct function *f = data;

	(void)cpu;
	if (f->depth++)
		return;
	stack[nr_stack++] = f;
	memcpy(f->before, total, sizeof(total));
	f->inner = 0;
	f->no_resched = 0;
	f->irqs_off = 0;
}

static void on_return(unsigned int cpu, void *data)
{
	struct function *f = data;
	int i;

	(void)cpu;
	if (!f->depth || --f->depth)
		return;
	f->depth = 1;
	end_stretch(false);
	f->depth = 0;
	/* Whatever stands above it has left in a way that was not seen */
	while (stack[--nr_stack] != f)
		stack[nr_stack]->depth = 0;
	if (nr_stack)
		stack[nr_stack - 1]->inner += total[INSNS] - f->before[INSNS];

	fputs(f->name, out);
	for (i = 0; i < KINDS; i++)
		fprintf(out, " %s=%llu", names[i],
			(unsigned long long)(total[i] - f->before[i]));
	fprintf(out, " self=%llu no_resched=%llu irqs_off=%llu\n",
		(unsigned long long)(total[INSNS] - f->before[INSNS] - f->inner),
		(unsigned long long)f->no_resched,
		(unsigned long long)f->irqs_off);
	fflush(out);
}

/*
 * Arm ARM, C5.5 and C6.2: TLBI is SYS with CRn 8 or 9; op2 is 0 for all of a
 * kind, CRm 2, 5 and 6 are for ranges. DSB and ISB whatever their option; writes
 * of DAIF.
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
	if ((insn & 0xfffff0ff) == 0xd50340df)
		return IRQS_OFF;
	if ((insn & 0xfffff0ff) == 0xd50340ff || (insn & 0xffffffe0) == 0xd51b4220)
		return IRQS_ON;
	return -1;
}

static void on_execution(struct qemu_plugin_insn *insn, vcpu_cb cb, void *data)
{
	qemu_plugin_register_vcpu_insn_exec_cb(insn, cb, 0, data);
}

static void on_translate(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
	size_t n = qemu_plugin_tb_n_insns(tb), i;
	int k, r, kind;

	(void)id;
	qemu_plugin_register_vcpu_tb_exec_cb(tb, on_tb, 0, (void *)n);
	for (i = 0; i < n; i++) {
		struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
		uint64_t at = qemu_plugin_insn_vaddr(insn);
		uint32_t code = 0;

#if API < 3
		memcpy(&code, qemu_plugin_insn_data(insn), sizeof(code));
#else
		qemu_plugin_insn_data(insn, &code, sizeof(code));
#endif
		kind = at == switch_to ? SWITCH : at == cond_resched ? RESCHED :
		       kind_of(code);
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

EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const void *info, int argc,
			       char **argv)
{
	int i;

	(void)info;
	for (i = 0; i < argc; i++) {
		struct function *f = &functions[nr_functions];
		char *p = strchr(argv[i], '=');

		if (!p)
			return -1;
		*p++ = 0;
		if (!strcmp(argv[i], "out")) {
			out = fopen(p, "a");
			continue;
		}
		if (!strcmp(argv[i], "switch")) {
			switch_to = strtoull(p, NULL, 16);
			continue;
		}
		if (!strcmp(argv[i], "resched")) {
			cond_resched = strtoull(p, NULL, 16);
			continue;
		}
		if (nr_functions == MAX_FUNCTIONS)
			return -1;
		snprintf(f->name, sizeof(f->name), "%s", argv[i]);
		f->entry = strtoull(p, &p, 16);
		while (*p == ':' && f->nr_returns < MAX_RETURNS)
			f->returns[f->nr_returns++] = strtoull(p + 1, &p, 16);
		nr_functions++;
	}
	if (!out || !nr_functions)
		return -1;
	qemu_plugin_register_vcpu_tb_trans_cb(id, on_translate);
	return 0;
}
