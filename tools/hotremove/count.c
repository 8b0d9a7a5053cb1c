// SPDX-License-Identifier: GPL-2.0-only
/*
 * QEMU TCG plugin: what one kernel function does between its call and its
 * return, interrupts included: instructions, TLBI, DSB, ISB.
 *
 * Arguments: out=FILE, and for each function NAME one NAME=ENTRY:RET[:RET...]
 * in hexadecimal, as tools/hotremove/count reads them from vmlinux. One line is
 * appended to FILE for each call. Meant for one CPU.
 *
 * Debian has no package with QEMU's header: the few declarations needed are
 * here, as documented for version 1 of the interface (QEMU 7.2,
 * docs/devel/tcg-plugins.rst).
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
const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *insn);
uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *insn);
void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *tb, vcpu_cb cb,
					  int flags, void *data);
void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *insn,
					    vcpu_cb cb, int flags, void *data);

EXPORT int qemu_plugin_version = 1;

enum kind { TLBI, DSB, ISB, KINDS };

#define MAX_FUNCTIONS	8
#define MAX_RETURNS	16

static struct function {
	char name[64];
	uint64_t entry;
	uint64_t returns[MAX_RETURNS];
	int nr_returns;
	bool active;
	uint64_t insns;
	uint64_t kinds[KINDS];
} functions[MAX_FUNCTIONS];

static int nr_functions;
static FILE *out;

static void on_tb(unsigned int cpu, void *data)
{
	int i;

	(void)cpu;
	for (i = 0; i < nr_functions; i++) {
		if (functions[i].active)
			functions[i].insns += (uintptr_t)data;
	}
}

static void on_kind(unsigned int cpu, void *data)
{
	int i;

	(void)cpu;
	for (i = 0; i < nr_functions; i++) {
		if (functions[i].active)
			functions[i].kinds[(uintptr_t)data]++;
	}
}

static void on_entry(unsigned int cpu, void *data)
{
	struct function *f = data;

	(void)cpu;
	f->active = true;
	f->insns = 0;
	memset(f->kinds, 0, sizeof(f->kinds));
}

static void on_return(unsigned int cpu, void *data)
{
	struct function *f = data;

	(void)cpu;
	if (!f->active)
		return;
	f->active = false;
	fprintf(out, "%s insns=%llu tlbi=%llu dsb=%llu isb=%llu\n", f->name,
		(unsigned long long)f->insns, (unsigned long long)f->kinds[TLBI],
		(unsigned long long)f->kinds[DSB],
		(unsigned long long)f->kinds[ISB]);
	fflush(out);
}

/* Arm ARM C4.1: SYS with CRn 8 or 9 is TLBI, CRm of barriers does not matter */
static int kind_of(uint32_t insn)
{
	if ((insn & 0xfff8e000) == 0xd5088000)
		return TLBI;
	if ((insn & 0xfffff0ff) == 0xd503309f)
		return DSB;
	if ((insn & 0xfffff0ff) == 0xd50330df)
		return ISB;
	return -1;
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
		uint32_t code;

		memcpy(&code, qemu_plugin_insn_data(insn), sizeof(code));
		kind = kind_of(code);
		if (kind >= 0)
			qemu_plugin_register_vcpu_insn_exec_cb(insn, on_kind, 0,
						(void *)(uintptr_t)kind);
		for (k = 0; k < nr_functions; k++) {
			struct function *f = &functions[k];

			if (at == f->entry)
				qemu_plugin_register_vcpu_insn_exec_cb(insn,
							on_entry, 0, f);
			for (r = 0; r < f->nr_returns; r++) {
				if (at == f->returns[r])
					qemu_plugin_register_vcpu_insn_exec_cb(
						insn, on_return, 0, f);
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
