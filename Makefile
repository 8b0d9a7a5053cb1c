# SPDX-License-Identifier: GPL-2.0-only
#
# The one entry point. 'make help' lists the targets.

GEOMETRY ?= 4k-48
export GEOMETRY KSRC STOCK DEBUG W CPU EVERY CYCLES SECONDS SABOTAGE QUICK

# What is set for other work is not meant for this
unexport CDPATH ARCH LLVM CFLAGS CPPFLAGS LDFLAGS LDLIBS GIT_DIR GIT_INDEX_FILE GIT_WORK_TREE
# Some shells have variables of these names
$(foreach v,HOST GROUP,$(if $(filter command,$(origin $v)),,$(eval override $v :=)))
$(if $(word 2,$(CURDIR)),$(error $(CURDIR): a path without spaces, please))

# What may be said on the command line: a misspelt one would be ignored in silence
VARIABLES := GEOMETRY KSRC STOCK DEBUG W CPU GROUP MEM REPS SEED OPS STEPS MUTANT SECONDS \
	EVERY CYCLES MINUTES SABOTAGE JOBS VERSION SIGNOFF BRANCH COMMIT CONFIG LOCALVERSION HOST QUICK
SAID := $(foreach v,$(.VARIABLES),$(if $(findstring command line,$(origin $v)),$v))
UNKNOWN := $(filter-out $(VARIABLES) MAKEOVERRIDES -%,$(SAID))
$(if $(UNKNOWN),$(error no variable $(UNKNOWN): 'make help' lists them))

# Some targets take all geometries, or several, unless told which
GIVEN := $(if $(filter command line environment,$(origin GEOMETRY)),$(GEOMETRY))
SIM = $(MAKE) -s -j$$(nproc) -C tools/testing/arm64-hotplug O=$(CURDIR)/build/sim \
	GEOMETRY='$(GIVEN)'
MINUTES ?= 10
NUMBERS := $(foreach v,MINUTES REPS SEED,$(if $($v),$(if $(shell echo '$($v)' | grep -x '[1-9][0-9]*'),,$v=$($v))))
$(if $(strip $(NUMBERS)),$(error $(strip $(NUMBERS)) is not a number from 1 on))
$(foreach v,STOCK HOST QUICK,$(if $(filter-out 1,$($v)),$(error $v=$($v): 1, or not at all)))
T := tools/hotremove

# Each uses all CPUs, and apt can only be run once at a time
.NOTPARALLEL:

# All that the list shows; a folder of that name would be taken for made
TARGETS := $(shell sed -n 's/^\([a-z-]*\):.*\#\# .*/\1/p' Makefile)
$(if $(filter-out $(TARGETS),$(MAKECMDGOALS)),$(error no target $(filter-out \
	$(TARGETS),$(MAKECMDGOALS)): 'make help' lists them))

.DEFAULT_GOAL := help
.PHONY: $(TARGETS)

help: ## this list
	@echo "Targets:"
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1\t\2/p' Makefile | expand -t 16
	@echo "Variables:"
	@echo "  GEOMETRY=4k-48 (or 4k-39 4k-52 16k-36 16k-47 16k-48 16k-52 64k-42 64k-48 64k-52)"
	@echo "  STOCK=1 the unchanged base   KSRC=DIR your own 6.12.y tree"
	@echo "  DEBUG=1 a kernel that checks itself, which test and soak have anyway"
	@echo "  DEBUG=light without lockdep   DEBUG=kasan DEBUG=kcsan DEBUG=pagealloc one that also checks each"
	@echo "    access, looks for data races, or takes free pages out of the linear map"
	@echo "  CPU=max,lpa2=off CPU=neoverse-n1 the emulated CPU: without 52-bit addresses, on 4K and 16K, on 64K"
	@echo "  GROUP='rodata=full;nvdimm' only those parts of the tests (README.md has all names)"
	@echo "  JOBS=1 how many guests are tested at a time"
	@echo "  EVERY=1 (else 5) CYCLES=1000 (50) SECONDS=60 (10) more of the tests: fail every n-th"
	@echo "    allocation, look for leaks over so many cycles, race for so long"
	@echo "  SABOTAGE=hotplug_batch_finish a function of the kernel that does nothing: tests must fail"
	@echo "  VERSION=2 a second posting   SIGNOFF='Name <mail>' who signs off   BRANCH=name to apply to"
	@echo "  COMMIT=N only that one   CONFIG=FILE (or small) LOCALVERSION=-name the packages' kernel"
	@echo "  MEM=2G the guest's memory for 'make leaves'   W=1 all of gcc's warnings for 'make kernel'"
	@echo "  QUICK=1 'make arches' just compiles what the series changes"
	@echo "  REPS=3 how often 'make bench' repeats   HOST=1 measure this arm64 machine, by its tracepoints"
	@echo "  SEED=N OPS=N, or GEOMETRY=4k-48 STEPS='map lin 0 1m' what the simulator does; see its README"
	@echo "  MUTANT='no flush' only that sabotage"

setup: ## install the Debian packages that are missing
	@$(T)/setup

tree: setup ## the base with the series on it, as commits, in build/6.12/linux
	@$(T)/tree

guest: tree ## what the guest runs, in build/guest
	@$(T)/guest

kernel: tree ## the kernel in build/6.12/$(GEOMETRY)
	@$(T)/kernel

shell: kernel guest ## a shell in the guest, with QEMU's monitor at hand
	@$(T)/boot -v

demo: kernel guest ## plug and unplug memory, and see what happens
	@$(T)/boot -v -t 300 demo

test: guest $(if $(GROUP),,sim) ## the simulator, then the tests in a kernel that checks itself
	@DEBUG=$(or $(DEBUG),1) $(T)/kernel
	@$(T)/test $(if $(GROUP),'$(GROUP)')

sim: ## the engine on a simulated, hostile machine: seconds, no kernel
	@GEOMETRY= $(T)/setup sim
	@$(SIM) run

mutants: ## that the simulator notices sabotage of the engine
	@GEOMETRY= $(T)/setup sim
	@$(SIM) mutants

fuzz: ## the simulator driven by libFuzzer, for SECONDS=60
	@GEOMETRY= $(T)/setup sim
	@$(SIM) fuzz

kunit: tree ## the engine's KUnit tests by the kernel's own tool, in a small kernel
	@$(T)/kunit

# What they build on takes one, or none
matrix bisect-check bench: override GEOMETRY :=

matrix: guest ## all tests on every geometry, fallback and DEBUG; goes on where it was (long)
	@MATRIX_GEOMETRY='$(GIVEN)' GROUP='$(GROUP)' $(T)/matrix

# With each other seed, memory blocks bring their own memmap
soak: guest ## a random mix of everything, for MINUTES=10, from SEED=N
	@DEBUG=$(or $(DEBUG),1) $(T)/kernel
	@seed=$(or $(SEED),$$(shuf -n 1 -i 1-2147483647)); \
	more=; [ $$((seed % 2)) = 0 ] || more=memory_hotplug.memmap_on_memory=force; \
	DEBUG=$(or $(DEBUG),1) $(T)/boot -v -m 2G -n -d 2G -T -t $$(($(MINUTES) * 60 + 300)) \
		-a "rodata=full preempt=full page_owner=on page_poison=1 crashkernel=64M $$more" \
		"log && soak $(MINUTES) $$seed && log"

arches: tree ## the generic changes on x86-64, riscv, s390 and powerpc
	@$(T)/setup arches
	@$(T)/arches

leaves: guest ## compare how stock and we map hot-added memory
	@STOCK= DEBUG= $(T)/kernel
	@STOCK=1 DEBUG= $(T)/kernel
	@$(T)/leaves

ifdef HOST
bench:
	@$(T)/bench-host
else
bench: guest ## count what adding and removing costs, stock and ours (half an hour)
	@$(T)/setup bench
	@rows=$$(GEOMETRY='$(GIVEN)' $(T)/bench rows) && for g in $$rows; do \
		for s in "" 1; do GEOMETRY=$$g STOCK=$$s DEBUG= $(T)/kernel || exit; done; done
	@GEOMETRY='$(GIVEN)' $(T)/bench run
endif

bench-check: guest ## one row of it, 4k-48, compared with what is on record
	$(if $(filter-out 4k-48,$(GIVEN)),$(error GEOMETRY=$(GIVEN): only 4k-48 is on record))
	@GEOMETRY=4k-48 DEBUG= STOCK= $(T)/kernel
	@GEOMETRY=4k-48 DEBUG= STOCK=1 $(T)/kernel
	@$(T)/bench check

bad-input: guest ## that bad input gets one clear line
	@STOCK= DEBUG= $(T)/kernel
	@$(T)/bad-input

check: tree ## checkpatch, sparse, coccicheck and their kin on the series
	@$(T)/setup check
	@$(T)/setup docs
	@$(T)/check

docs: tree ## the kernel's documentation build of ours, without a warning
	@$(T)/setup docs
	@$(T)/docs

series: tree ## the mails to send, in build/series, checked with git am and b4
	@$(T)/setup series
	@$(T)/series

follow: guest series ## do what the cover letter says, word for word (a kernel of defconfig: long)
	@GEOMETRY= $(T)/setup sim
	@$(T)/setup follow
	@$(T)/follow

apply: ## put the series on a new BRANCH of your own git tree, KSRC
	@$(T)/setup apply
	@$(T)/apply

bisect-check: guest ## build and boot every commit of the series (takes long)
	@GEOMETRY= GEOMETRIES_WANTED="$(GIVEN)" $(T)/bisect-check

deb: guest ## arm64 Debian packages, from CONFIG (takes long unless CONFIG=small)
	@$(T)/setup deb
	@$(T)/deb

clean: ## remove all that was built
	rm -rf build
