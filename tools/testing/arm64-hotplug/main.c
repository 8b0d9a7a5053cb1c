// SPDX-License-Identifier: GPL-2.0-only
/*
 * Runs directed cases and random sequences over all geometries and reports in
 * KTAP. Every case and every stretch of random sequences runs in a process of
 * its own, so that nothing, not even a crash, hides what led to it.
 */
#define _GNU_SOURCE
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <sanitizer/asan_interface.h>

#include "sim.h"

#define SEQUENCE	128	/* operations */
#define DEVICES_SHARE	100	/* operations for each that is of devices */

struct report *report;

static const struct geometry *geo;
static bool fallback;
static unsigned long seed = 1, nr_calls;
static bool first_only;			/* stop at the first failure */

static struct counts {
	unsigned int passed, failed;
} *counts;

/* Where coverage is wanted, it has to be written before a process ends */
int __llvm_profile_write_file(void) __attribute__((weak));

static void __attribute__((noreturn)) quit(int status)
{
	if (__llvm_profile_write_file)
		__llvm_profile_write_file();
	_exit(status);
}

static void set_rule(const char *rule)
{
	snprintf(report->rule, sizeof(report->rule), "%s", rule);
}

void broken(const char *rule, const char *fmt, ...)
{
	va_list args;

	set_rule(rule);
	va_start(args, fmt);
	vsnprintf(report->text, sizeof(report->text), fmt, args);
	va_end(args);
	geo->leaves(report->leaves, sizeof(report->leaves));
	quit(1);
}

/* ---- running in a process of its own ---- */

static void seen_by_asan(const char *text)
{
	if (*report->rule)
		return;
	set_rule(strstr(text, "use-after-poison") ? "freed-read" : "sanitizer");
	snprintf(report->text, sizeof(report->text),
		 "%s", strstr(text, "ERROR:") ? strstr(text, "ERROR:") : text);
	report->text[strcspn(report->text, "\n")] = 0;
}

static void run_ops(const struct op *ops, unsigned int nr, bool everything_goes)
{
	geo->reset(fallback);
	report->nr_ops = 0;
	for (unsigned int i = 0; i < nr; i++) {
		report->ops[report->nr_ops++] = ops[i];
		geo->step(&ops[i]);
	}
	geo->finish(everything_goes);
	geo->leaves(report->leaves, sizeof(report->leaves));
}

/* Whether @run passes; else report->rule and ->text say what happened */
static bool in_child(void (*run)(const void *), const void *arg, bool quiet)
{
	int status;
	pid_t pid;

	memset(report->rule, 0, sizeof(report->rule));
	fflush(NULL);
	pid = fork();
	if (pid < 0) {
		perror("error: fork");
		exit(2);
	}
	if (!pid) {
		if (quiet && !freopen("/dev/null", "w", stderr))
			_exit(2);
		__asan_set_error_report_callback(seen_by_asan);
		alarm(20);
		run(arg);
		quit(0);
	}
	waitpid(pid, &status, 0);
	if (!status)
		return true;
	if (!*report->rule) {
		bool hang = WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM;

		set_rule(hang ? "hang" : "crash");
		snprintf(report->text, sizeof(report->text), "wait status %#x",
			 status);
	}
	return false;
}

struct steps {
	struct op ops[MAX_OPS];
	unsigned int nr;
	bool everything_goes;
};

static void run_steps(const void *arg)
{
	const struct steps *steps = arg;

	run_ops(steps->ops, steps->nr, steps->everything_goes);
}

/* ---- what a failure prints ---- */

static bool still_fails(const struct steps *steps, const char *rule)
{
	return !in_child(run_steps, steps, true) && !strcmp(report->rule, rule);
}

/* Leave out and simplify as long as the same rule is broken */
static void shrink(struct steps *steps)
{
	char rule[sizeof(report->rule)];
	time_t end = time(NULL) + 30;
	bool again = true;

	snprintf(rule, sizeof(rule), "%s", report->rule);
	if (first_only || !still_fails(steps, rule)) {
		set_rule(rule);
		return;
	}
	while (again && time(NULL) < end) {
		struct steps try;

		again = false;
		for (unsigned int n = steps->nr; n; n /= 2) {
			for (unsigned int at = 0;
			     at + n <= steps->nr && time(NULL) < end;) {
				try = *steps;
				try.nr -= n;
				memmove(try.ops + at, try.ops + at + n,
					(try.nr - at) * sizeof(try.ops[0]));
				if (still_fails(&try, rule)) {
					*steps = try;
					again = true;
				} else {
					at += n;
				}
			}
		}
		for (unsigned int i = 0; i < steps->nr; i++) {
			struct op *op = &steps->ops[i], old = *op;
			long size = op->end - op->start;
			struct op simpler[] = {
				old, old, old, old, old, old, old,
			};

			simpler[0].flags = 0;
			simpler[1].flags &= old.flags - 1;
			simpler[2].fail = old.fail == FAIL_EACH ? 1 : 0;
			simpler[3].start = 0;
			simpler[3].end = size;
			simpler[4].end = old.start + 1;
			simpler[5].end = old.start + size / 2;
			simpler[6].start = old.end - 1;
			if (op->verb == PLACE)
				continue;
			for (unsigned int k = 0; k < 7; k++) {
				if (!memcmp(&simpler[k], op, sizeof(*op)))
					continue;
				try = *steps;
				try.ops[i] = simpler[k];
				if (still_fails(&try, rule)) {
					*steps = try;
					again = true;
					break;
				}
			}
		}
	}
	still_fails(steps, rule);
}

static void explain(void)
{
	static char text[32768];
	struct steps steps = { .nr = report->nr_ops, .everything_goes = true };

	memcpy(steps.ops, report->ops, sizeof(steps.ops));
	shrink(&steps);
	format_ops(text, sizeof(text), geo, steps.ops, steps.nr);
	printf("    # rule: %s\n    # %s\n", report->rule, report->text);
	printf("    # as a directed case:\n");
	printf("    #\t{ \"name_it\", \"%s\",\n    #\t  \"%s\" },\n", text,
	       report->leaves);
}

static void result(bool passed, unsigned int nr, const char *name)
{
	printf("    %sok %u %s\n", passed ? "" : "not ", nr, name);
	if (passed)
		counts->passed++;
	else
		counts->failed++;
}

/* ---- directed cases ---- */

static bool is_for(const struct directed *directed)
{
	const char *only = directed->only;

	if (!only)
		return true;
	if (!strcmp(only, TWO_LEVELS) || !strcmp(only, THREE_LEVELS))
		return (geo->levels == 2) == !strcmp(only, TWO_LEVELS);
	return strstr(geo->name, only) == geo->name;
}

static void check_leaves(const struct directed *directed)
{
	char want[sizeof(report->leaves)];

	normalize_leaves(want, sizeof(want), geo, directed->leaves);
	if (strcmp(report->leaves, want)) {
		set_rule("wrong-leaves");
		snprintf(report->text, sizeof(report->text), "\"%s\" instead of \"%s\"",
			 report->leaves, want);
		quit(1);
	}
}

static void run_directed(const void *arg)
{
	const struct directed *directed = arg;
	struct op ops[MAX_OPS];
	unsigned int nr = parse_ops(geo, directed->steps, ops);

	run_ops(ops, nr, false);
	check_leaves(directed);

	/* And again, each allocation of each addition failing once */
	for (unsigned int i = 0; i < nr; i++) {
		if ((ops[i].verb == MAP || ops[i].verb == POPULATE) &&
		    !ops[i].fail)
			ops[i].fail = FAIL_EACH;
	}
	run_ops(ops, nr, false);
	check_leaves(directed);
	run_ops(ops, nr, true);
}

/* ---- random sequences ---- */

static struct source random_source(unsigned long i)
{
	/* splitmix64, Steele et al. 2014: no two sequences are alike */
	uint64_t z = seed * 0x9e3779b97f4a7c15 + i * 0xbf58476d1ce4e5b9;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return (struct source) { .state = (z ^ z >> 31) | 1 };
}

static void run_random(const void *arg)
{
	unsigned long end = report->calls + nr_calls;
	unsigned long i;

	for (i = 0; report->calls < end; i++) {
		struct source source = random_source(i);

		alarm(20);
		random_sequence(geo, fallback, &source, SEQUENCE);
	}
	(void)arg;
}

/* Devices that share sections. All of it is looked at after each, which takes its time */
static void run_devices(const void *arg)
{
	unsigned long end = report->calls + nr_calls / DEVICES_SHARE;
	unsigned long i;

	for (i = 0; report->calls < end; i++) {
		struct source source = random_source(i);

		alarm(20);
		geo->reset(fallback);
		geo->random_devices(&source);
	}
	(void)arg;
}

/* ---- all of it ---- */

static bool run_geometry(void)
{
	unsigned int failed = counts->failed, nr = 0;
	unsigned long calls;
	char name[64];

	for (unsigned int i = 0; i < nr_directed_cases; i++)
		nr += is_for(&directed_cases[i]);
	printf("    KTAP version 1\n    1..%u\n", nr + 2 * (nr_calls > 0));

	nr = 0;
	for (unsigned int i = 0; i < nr_directed_cases; i++) {
		const struct directed *directed = &directed_cases[i];
		bool ok;

		if (!is_for(directed))
			continue;
		ok = in_child(run_directed, directed, false);
		if (!ok) {
			printf("    # rule: %s\n    # %s\n", report->rule,
			       report->text);
			printf("    # steps: %s\n", directed->steps);
		}
		result(ok, ++nr, directed->name);
		if (!ok && first_only)
			return false;
	}

	if (nr_calls) {
		bool ok;

		calls = report->calls;
		ok = in_child(run_random, NULL, false);
		snprintf(name, sizeof(name), "random # %lu operations, SEED=%lu",
			 report->calls - calls, seed);
		if (!ok)
			explain();
		result(ok, ++nr, name);
		if (!ok && first_only)
			return false;

		calls = report->calls;
		ok = in_child(run_devices, NULL, false);
		if (!ok)
			printf("    # rule: %s\n    # %s\n", report->rule, report->text);
		snprintf(name, sizeof(name), "devices # %lu come and go, SEED=%lu",
			 report->calls - calls, seed);
		result(ok, ++nr, name);
	}
	return counts->failed == failed;
}

/* The larger the tables, the longer an operation takes: divide time, not count */
static unsigned int work_weight(const struct geometry *g)
{
	return g->unit[2] == 512 ? 12 : g->unit[2] == 2048 ? 2 : 1;
}

static unsigned long from_env(const char *name, unsigned long otherwise)
{
	const char *text = getenv(name);
	char *end;
	unsigned long n;

	if (!text || !*text)
		return otherwise;
	n = strtoul(text, &end, 0);
	if (*end) {
		fprintf(stderr, "error: %s=%s is not a number\n", name, text);
		exit(2);
	}
	return n;
}

static void *shared(size_t size)
{
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED) {
		perror("error: mmap");
		exit(2);
	}
	return p;
}

/* One case from the command line, on one geometry */
static int try_steps(const char *text)
{
	static struct steps steps;
	bool ok;

	steps.nr = parse_ops(geo, text, steps.ops);
	ok = in_child(run_steps, &steps, false);
	if (!ok)
		printf("rule: %s\n%s\n", report->rule, report->text);
	printf("leaves: \"%s\"\n", report->leaves);
	return !ok;
}

int main(int argc, char **argv)
{
	struct {
		const struct geometry *geo;
		bool fallback;
		const char *name;
		FILE *out;
		pid_t pid;
		bool failed, done;
	} runs[32] = { 0 };
	const char *only = getenv("GEOMETRY");
	unsigned int nr = 0, weight, weights = 0, started = 0, printed = 0, running = 0;
	unsigned int jobs = from_env("JOBS", sysconf(_SC_NPROCESSORS_ONLN));
	unsigned long ops = from_env("OPS", 10000000);
	struct timespec began, now;

	if (argc > 2 || (argc == 2 && (!only || !*only))) {
		fprintf(stderr, "usage: [SEED=N] [OPS=N] [JOBS=N] [GEOMETRY=NAME] sim\n"
			"       GEOMETRY=NAME sim 'STEPS'\n");
		return 2;
	}
	clock_gettime(CLOCK_MONOTONIC, &began);
	seed = from_env("SEED", 1);
	first_only = from_env("FIRST", 0);
	setvbuf(stdout, NULL, _IOLBF, 0);

	for (unsigned int i = 0; i < NR_GEOMETRIES; i++) {
		for (int f = 0; f < 2; f++) {
			const struct geometry *g = geometries[i];
			const char *name = f ? g->fallback : g->name;

			if (!name || (only && *only && strcmp(name, only)))
				continue;
			weights += work_weight(g);
			runs[nr].geo = g;
			runs[nr].fallback = f;
			runs[nr++].name = name;
		}
	}
	if (!nr) {
		fprintf(stderr, "error: GEOMETRY=%s is none of:", only);
		for (unsigned int i = 0; i < NR_GEOMETRIES; i++)
			fprintf(stderr, " %s %s", geometries[i]->name,
				geometries[i]->fallback ?: "");
		fprintf(stderr, "\n");
		return 2;
	}

	counts = shared(sizeof(*counts) * nr);
	if (argc == 2) {
		report = shared(sizeof(*report));
		geo = runs[0].geo;
		fallback = runs[0].fallback;
		return try_steps(argv[1]);
	}

	printf("KTAP version 1\n1..%u\n", nr);
	while (printed < nr) {
		int status;
		pid_t pid;

		while (started < nr && running < jobs) {
			runs[started].out = tmpfile();
			if (!runs[started].out) {
				perror("error: a temporary file");
				return 2;
			}
			fflush(NULL);
			pid = fork();
			if (!pid) {
				dup2(fileno(runs[started].out), 1);
				counts += started;
				geo = runs[started].geo;
				fallback = runs[started].fallback;
				report = shared(sizeof(*report));
				weight = work_weight(geo);
				nr_calls = (ops * weight + weights - 1) / weights;
				status = !run_geometry();
				fflush(NULL);
				_exit(status);
			}
			runs[started++].pid = pid;
			running++;
		}
		pid = wait(&status);
		running--;
		for (unsigned int i = 0; i < nr; i++) {
			if (runs[i].pid == pid) {
				runs[i].done = true;
				runs[i].failed = status;
				/* It died of something that was no test */
				if (status && !counts[i].failed)
					counts[i].failed = 1;
			}
		}
		for (; printed < nr && runs[printed].done; printed++) {
			char line[4096];

			printf("    # Subtest: %s\n", runs[printed].name);
			rewind(runs[printed].out);
			while (fgets(line, sizeof(line), runs[printed].out))
				fputs(line, stdout);
			fclose(runs[printed].out);
			printf("%sok %u %s\n", runs[printed].failed ? "not " : "",
			       printed + 1, runs[printed].name);
		}
	}

	for (unsigned int i = 1; i < nr; i++) {
		counts[0].passed += counts[i].passed;
		counts[0].failed += counts[i].failed;
	}
	clock_gettime(CLOCK_MONOTONIC, &now);
	printf("# %ld s\n", (long)(now.tv_sec - began.tv_sec));
	printf("%u passed, %u failed, 0 skipped\n", counts[0].passed,
	       counts[0].failed);
	return counts[0].failed || !counts[0].passed;
}
