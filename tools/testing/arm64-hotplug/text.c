// SPDX-License-Identifier: GPL-2.0-only
/*
 * Operations as text, in the form of the directed cases:
 *
 *	VERB WINDOW FIRST [END] [FLAG...] [fail K]; ...
 *
 * FIRST and END are sums such as 2m+3p-1c of pages (p), contiguous groups of
 * pages (c), blocks (m), contiguous groups of blocks (k) and what the level
 * above blocks maps (u), counted from where the window was placed.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim.h"

static const char * const verbs[NR_VERBS] = {
	"place", "cpu", "reserved", "constructed", "foreign", "map", "populate",
	"detach", "unmap",
};

static const char * const windows[NR_WINDOWS] = { "lin", "vmm" };
static const char * const places[NR_PLACES] = { "start", "middle", "end", "top" };

static const struct {
	const char *name;
	unsigned short flag;
} flags[] = {
	{ "noblock", F_NOBLOCK }, { "nocont", F_NOCONT }, { "exec", F_EXEC },
	{ "skew", F_SKEW }, { "blocks", F_BLOCK }, { "altmap", F_ALTMAP },
	{ "norange", F_NORANGE }, { "erratum", F_ERRATUM },
	{ "boot", F_BOOT }, { "unchecked", F_UNCHECKED },
	{ "late", F_LATE }, { "early", F_EARLY },
	{ "skewc", F_SKEWC }, { "skewm", F_SKEWM },
};

#define NR_FLAGS	ARRAY_SIZE(flags)

/* Whatever is near a multiple of a larger unit is written that way */
char *format_pages(char *to, const struct geometry *geo, long pages)
{
	static const int order[] = { 4, 2, 0 };
	char *p = to;

	to[0] = '0';
	to[!pages] = 0;
	for (unsigned int i = 0; i < 3 && pages; i++) {
		long unit = geo->unit[order[i]];
		long n = unit == 1 ? pages :
			 (pages + (pages < 0 ? -unit / 4 : unit / 4)) / unit;

		if (n)
			p += sprintf(p, "%s%ld%c", n > 0 && p > to ? "+" : "", n,
				     UNITS[order[i]]);
		pages -= n * unit;
	}
	return to;
}

void format_ops(char *to, size_t size, const struct geometry *geo,
		const struct op *ops, unsigned int nr)
{
	char *end = to + size, number[40];

	*to = 0;
	for (unsigned int i = 0; i < nr; i++) {
		const struct op *op = &ops[i];

		to += snprintf(to, end - to, "%s%s", i ? "; " : "",
			       verbs[op->verb]);
		if (op->verb != CPU && to < end)
			to += snprintf(to, end - to, " %s", windows[op->window]);
		if (op->verb == PLACE && to < end)
			to += snprintf(to, end - to, " %s", places[op->fail]);
		if (op->verb > CPU && to < end)
			to += snprintf(to, end - to, " %s",
				       format_pages(number, geo, op->start));
		if (op->verb >= FOREIGN && to < end)
			to += snprintf(to, end - to, " %s",
				       format_pages(number, geo, op->end));
		for (unsigned int k = 0; k < NR_FLAGS && to < end; k++) {
			if (op->flags & flags[k].flag)
				to += snprintf(to, end - to, " %s", flags[k].name);
		}
		if ((op->verb == RESERVED || op->verb == CONSTRUCTED) && to < end)
			to += snprintf(to, end - to, " level %d", op->fail - 1);
		else if (op->verb != PLACE && op->fail == FAIL_EACH && to < end)
			to += snprintf(to, end - to, " fail each");
		else if (op->verb != PLACE && op->fail && to < end)
			to += snprintf(to, end - to, " fail %d", op->fail);
		if (to >= end)
			return;
	}
}

static void __attribute__((noreturn)) bad_steps(const char *text, const char *why)
{
	fprintf(stderr, "error: steps \"%s\": %s\n", text, why);
	exit(2);
}

static long parse_pages(const struct geometry *geo, const char *text,
			const char *word)
{
	long pages = 0;

	if (!strcmp(word, "0"))
		return 0;
	while (*word) {
		char *unit;
		long n = strtol(word, &unit, 10);
		const char *which = *unit ? strchr(UNITS, *unit) : NULL;

		if (unit == word || !which)
			bad_steps(text, "a position is a sum such as 2m+3p");
		pages += n * geo->unit[which - UNITS];
		word = unit + 1;
	}
	return pages;
}

static int find_word(const char *word, const char * const *words, int nr)
{
	while (nr-- && strcmp(word, words[nr]))
		;
	return nr;
}

static void parse_op(const struct geometry *geo, const char *text, char *step,
		     struct op *op)
{
	char *save, *word = strtok_r(step, " ", &save);
	int n, positions = 0;

	memset(op, 0, sizeof(*op));
	n = word ? find_word(word, verbs, NR_VERBS) : -1;
	if (n < 0)
		bad_steps(text, "an operation begins with its verb");
	op->verb = n;

	while ((word = strtok_r(NULL, " ", &save))) {
		unsigned int k = 0;

		n = find_word(word, windows, NR_WINDOWS);
		if (n >= 0) {
			op->window = n;
			continue;
		}
		n = find_word(word, places, NR_PLACES);
		if (n >= 0 && op->verb == PLACE) {
			op->fail = n;
			continue;
		}
		if (!strcmp(word, "fail") || !strcmp(word, "level")) {
			bool level = *word == 'l';

			word = strtok_r(NULL, " ", &save);
			if (!word)
				bad_steps(text, "fail and level want a number");
			op->fail = !strcmp(word, "each") ? FAIL_EACH :
				   atoi(word) + level;
			continue;
		}
		while (k < NR_FLAGS && strcmp(word, flags[k].name))
			k++;
		if (k < NR_FLAGS) {
			op->flags |= flags[k].flag;
			continue;
		}
		if (positions == 2)
			bad_steps(text, "what is this third position?");
		*(positions++ ? &op->end : &op->start) =
			parse_pages(geo, text, word);
	}
	if (positions != (op->verb <= CPU ? 0 : op->verb < FOREIGN ? 1 : 2))
		bad_steps(text, "an operation has too few positions");
}

unsigned int parse_ops(const struct geometry *geo, const char *text,
		       struct op *ops)
{
	char *copy = strdup(text), *save, *step;
	unsigned int nr = 0;

	for (step = strtok_r(copy, ";", &save); step;
	     step = strtok_r(NULL, ";", &save)) {
		if (nr == MAX_OPS)
			bad_steps(text, "too many");
		parse_op(geo, text, step, &ops[nr++]);
	}
	free(copy);
	return nr;
}

/* The positions in @text, a directed case's .leaves, in the form of geo->leaves() */
void normalize_leaves(char *to, size_t size, const struct geometry *geo,
		      const char *text)
{
	char *copy = strdup(text), *save, *word, *dots, *end = to + size;
	char first[40], last[40];
	bool space = false;

	*to = 0;
	for (word = strtok_r(copy, " ", &save); word && to < end;
	     word = strtok_r(NULL, " ", &save)) {
		dots = strstr(word, "..");
		if (dots) {
			*dots = 0;
			format_pages(first, geo, parse_pages(geo, text, word));
			format_pages(last, geo, parse_pages(geo, text, dots + 2));
		}
		to += snprintf(to, end - to, "%s%s%s%s", space ? " " : "",
			       dots ? first : word, dots ? ".." : "",
			       dots ? last : "");
		space = true;
	}
	free(copy);
}

/* What the source has in store, at most @length operations; then all goes */
void random_sequence(const struct geometry *geo, bool fallback,
		     struct source *source, unsigned int length)
{
	struct op op;

	geo->reset(fallback);
	report->nr_ops = 0;
	while (length-- && geo->generate(&op, source)) {
		report->ops[report->nr_ops++] = op;
		geo->step(&op);
	}
	geo->finish(true);
}
