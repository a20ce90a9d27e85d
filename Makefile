# Nucleus: build, run, test.  `make help` lists the targets.

SHELL := /bin/sh
.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

# Where everything is built; sanitizer and coverage builds use their own.
B ?= build
PORT ?= 8080
# public test data that is not part of the sources; tests that use it say so when it is absent
CORPORA ?=
# DEPS=no: install nothing, all that is needed is there
DEPS ?= yes
JOBS ?= $(shell nproc)

# a tree in which nginx's configure runs: Debian's nginx-dev, nginx's sources, or sources that are
# configured already, and then with what arguments
NGINX_SRC ?= /usr/share/nginx/src
# the nginx to use: what was built there, or the system's
NGINX ?= $(abspath $(or $(wildcard $(NGINX_SRC)/objs/nginx),\
	$(shell command -v nginx || echo /usr/sbin/nginx)))
# yes: build nginx itself too, from NGINX_SRC
NGINX_BUILD ?= no

CC ?= cc
OPT ?= -O2 -g
WARN := -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes -Wmissing-prototypes
SAN ?=
CFLAGS ?=
LDFLAGS ?=

SRC := ngx_nucleus_module
sources = $(shell . ./$(SRC)/sources; echo $$$(1))

CORE := $(call sources,nuc_core)
FORMATS := $(call sources,nuc_formats)
QUEUE := $(call sources,nuc_queue) $(call sources,nuc_queue_worker)
REGISTRY := $(call sources,nuc_registry) $(call sources,nuc_registry_store)
SINK := $(call sources,nuc_sink)
WORKER := $(call sources,nuc_worker)
CTL := $(call sources,nuc_ctl)

LIB_SRCS := $(CORE) $(FORMATS) $(QUEUE) $(REGISTRY) $(SINK) $(WORKER) $(CTL)
LIB_OBJS := $(LIB_SRCS:%.c=$(B)/obj/%.o)
NUC_FILES := $(wildcard $(SRC)/*/nuc_*.[ch] t/unit/*.[ch] t/fuzz/*.[ch] tools/*.c)

UNIT_TESTS := $(patsubst t/unit/%.c,$(B)/unit/%,$(wildcard t/unit/test_*.c))
UNIT_BENCHES := $(patsubst t/unit/%.c,$(B)/unit/%,$(wildcard t/unit/bench_*.c))
UNIT_LIB := $(filter-out $(wildcard t/unit/test_*.c t/unit/bench_*.c),$(wildcard t/unit/*.c))
UNIT_LIB_OBJS := $(UNIT_LIB:t/unit/%.c=$(B)/unit/%.o)

FUZZ_SUBJECTS := $(patsubst t/fuzz/fuzz_%.c,%,$(wildcard t/fuzz/fuzz_*.c))
FUZZERS := $(FUZZ_SUBJECTS:%=$(B)/fuzz/fuzz_%)
REPLAYS := $(FUZZ_SUBJECTS:%=$(B)/fuzz/replay_%)
FUZZ_LIB_OBJS := $(B)/fuzz/fuzz.o $(B)/fuzz/memfs.o $(B)/unit/json_oracle.o

NUC_CFLAGS := -std=gnu11 $(OPT) $(WARN) $(SAN) -D_GNU_SOURCE -pthread -fno-common -MMD -MP \
	-I$(SRC)/core -I$(SRC)/formats -I$(SRC)/queue -I$(SRC)/registry -I$(SRC)/sink -I$(SRC)/worker -I$(SRC)/ctl $(CFLAGS)
NUC_LIBS := -lcrypto -lpthread -Wl,--push-state,--as-needed -lsqlite3 -lcurl -Wl,--pop-state

# V=1 shows the commands
Q := $(if $(V),,@)
say = $(if $(V),,@echo "  $(1)	$(2)")

# nginx loads it from below its prefix, which is this directory in `make run`
MODULE_NAME := ngx_http_nucleus_module.so
MODULE := $(if $(filter build,$(B)),modules,$(B)/modules)/$(MODULE_NAME)

ifeq ($(NGINX_BUILD),yes)
NGINX := $(abspath $(B))/nginx/objs/nginx
endif

deps = $(if $(filter no,$(DEPS)),true,tools/deps)

# ---- build

## all: the module, the worker and nucleusctl
.PHONY: all
all: module worker ctl

$(B)/obj/%.o: $(SRC)/%.c
	@mkdir -p $(@D)
	$(call say,cc,$<)
	$(Q)$(CC) $(NUC_CFLAGS) -c -o $@ $<

$(B)/libnucleus.a: $(LIB_OBJS)
	@rm -f $@
	$(call say,ar,$@)
	$(Q)$(AR) rcs $@ $^

.PHONY: worker
worker: $(B)/nucleus-worker
$(B)/nucleus-worker: $(B)/obj/worker/nuc_worker_main.o $(B)/libnucleus.a
	$(call say,link,$@)
	$(Q)$(CC) $(SAN) $(LDFLAGS) -o $@ $^ $(NUC_LIBS) -lmicrohttpd

.PHONY: ctl
ctl: $(B)/nucleusctl
$(B)/nucleusctl: $(B)/obj/ctl/nuc_ctl_main.o $(B)/libnucleus.a
	$(call say,link,$@)
	$(Q)$(CC) $(SAN) $(LDFLAGS) -o $@ $^ $(NUC_LIBS)

# unit tests: t/unit/test_*.c, each a program that prints TAP; bench_*.c measure; the others are
# their helpers
.PHONY: unit bench-programs
unit: $(UNIT_TESTS) $(UNIT_BENCHES) $(REPLAYS)
bench-programs: $(UNIT_BENCHES)
$(B)/unit/%.o: t/unit/%.c
	@mkdir -p $(@D)
	$(call say,cc,$<)
	$(Q)$(CC) $(NUC_CFLAGS) -It/unit -c -o $@ $<
# memory that runs out: t/unit/nomem.h
$(B)/unit/test_nomem: LDFLAGS += -Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc,--wrap=strdup,--wrap=strndup
$(UNIT_TESTS) $(UNIT_BENCHES): %: %.o $(UNIT_LIB_OBJS) $(B)/libnucleus.a
	$(call say,link,$@)
	$(Q)$(CC) $(SAN) $(LDFLAGS) -o $@ $^ $(NUC_LIBS) -ljansson

# fuzz targets, t/fuzz/fuzz_*.c: with replay.c they are tests, with libFuzzer they search
$(B)/fuzz/%.o: t/fuzz/%.c
	@mkdir -p $(@D)
	$(call say,cc,$<)
	$(Q)$(CC) $(NUC_CFLAGS) -It/unit -It/fuzz -c -o $@ $<
$(FUZZERS): LDFLAGS += -fsanitize=fuzzer
$(FUZZERS): $(B)/fuzz/fuzz_%: $(B)/fuzz/fuzz_%.o $(FUZZ_LIB_OBJS) $(B)/libnucleus.a
$(REPLAYS): $(B)/fuzz/replay_%: $(B)/fuzz/fuzz_%.o $(B)/fuzz/replay.o $(FUZZ_LIB_OBJS) $(B)/libnucleus.a
$(FUZZERS) $(REPLAYS):
	$(call say,link,$@)
	$(Q)$(CC) $(SAN) $(LDFLAGS) -o $@ $^ $(NUC_LIBS) -ljansson

-include $(shell find $(B) -name '*.d' 2>/dev/null)

# the module, built by nginx's own configure in a copy of its tree; NGINX_SAN stands for SAN where
# nginx's own code needs other flags
NGINX_SAN ?= $(SAN)
NGINX_CC_OPT := $(OPT) -D_GNU_SOURCE $(NGINX_SAN) \
	$(if $(and $(SAN),$(filter yes,$(NGINX_BUILD))),-DNGX_DEBUG_PALLOC=1)

# those of Debian's nginx that stand beside Nucleus in configurations and tests, and HTTP/3 where it is
NGINX_MODULES := addition auth_request gunzip gzip_static realip slice ssl stub_status sub v2 \
	$(if $(wildcard $(NGINX_SRC)/src/http/v3),v3)

# nginx's own leaks are not ours to find
NGINX_LSAN := $(if $(findstring address,$(SAN)),$(abspath $(B))/lsan-nginx.o)
$(abspath $(B))/lsan-nginx.o: tools/lsan-nginx.c
	@mkdir -p $(@D)
	$(Q)$(CC) $(OPT) $(WARN) -fPIC -c -o $@ $<

# a tree that is configured already says with what, and CC counts only if it is given
NGINX_CONFIGURED := $(if $(filter yes,$(NGINX_BUILD)),,$(wildcard $(NGINX_SRC)/objs/ngx_auto_config.h))
NGINX_CC := $(if $(and $(NGINX_CONFIGURED),$(filter default file,$(origin CC))),,--with-cc='$(CC)')

ifneq ($(NGINX_CONFIGURED),)
NGINX_ARGUMENTS = $(shell tools/nginx-arguments '$(NGINX_SRC)' '$(CURDIR)')
NGINX_MADE = $(patsubst %,-o %,$(shell tools/nginx-arguments --made '$(NGINX_SRC)'))
else
NGINX_ARGUMENTS = --with-compat --with-threads --with-debug $(NGINX_MODULES:%=--with-http_%_module) \
	--with-cc-opt='$(NGINX_CC_OPT)' --with-ld-opt='$(NGINX_SAN) $(NGINX_LSAN)'
endif

# only what is needed of it: an nginx that is configured already builds its other modules itself
NGINX_TARGETS := $(if $(filter yes,$(NGINX_BUILD)),binary modules,objs/$(MODULE_NAME))

# configure notes the headers' names, and is not told when its tree is another, so it runs again
# when one of these is new
HEADERS := $(sort $(wildcard $(SRC)/*/*.h))
$(B)/configured: FORCE
	@mkdir -p $(@D)
	@{ printf '%s\n' $(HEADERS) "$$CONFIGURED" && \
		cat $(NGINX_SRC)/src/core/nginx.h $(NGINX_CONFIGURED) 2> /dev/null; } > $@.new || true
	@cmp -s $@.new $@ || cp $@.new $@
	@rm $@.new
$(B)/configured: export CONFIGURED = $(abspath $(NGINX_SRC)) $(NGINX_CC) $(NGINX_ARGUMENTS)

$(B)/nginx/objs/Makefile: config $(SRC)/sources $(SRC)/exports.map Makefile $(B)/configured $(NGINX_LSAN)
	@test -x $(NGINX_SRC)/configure || test -x $(NGINX_SRC)/auto/configure || { \
		echo "no nginx source tree at $(NGINX_SRC): install nginx-dev, or give NGINX_SRC=DIR" >&2; exit 1; }
	$(call say,config,$(B)/nginx)
	$(Q)rm -rf $(B)/nginx && mkdir -p $(B)/nginx && \
		tar -C $(NGINX_SRC) --exclude=./objs --exclude=./.git -cf - . | tar -C $(B)/nginx -xf -
	$(Q)cd $(B)/nginx && { test -x configure || cp auto/configure .; } && \
		./configure $(NGINX_ARGUMENTS) $(NGINX_CC) --add-dynamic-module=$(CURDIR) > configure.log || { cat configure.log; exit 1; }

.PHONY: module
module: $(MODULE)
$(MODULE): $(B)/nginx/objs/Makefile $(wildcard $(SRC)/*/*.[ch])
	$(call say,module,$@)
	@$(MAKE) -C $(B)/nginx -f objs/Makefile $(NGINX_MADE) $(NGINX_TARGETS) \
		> $(B)/nginx/make.log 2>&1 || { cat $(B)/nginx/make.log; exit 1; }
	@mkdir -p $(@D) && cp $(B)/nginx/objs/$(MODULE_NAME) $@

.PHONY: FORCE
FORCE:

# ---- use

## run: install what is missing, build, and start nginx and the worker in the foreground (PORT=8080)
# (exported rather than set before the command, so that make signals the script and not a shell)
.PHONY: run
run: export PORT := $(PORT)
run: export NUCLEUS_NGINX = $(NGINX)
run: export NUCLEUS_WORKER = $(B)/nucleus-worker
run: export NUCLEUSCTL = $(B)/nucleusctl
run:
	@$(deps) run
	@$(MAKE) -j$(JOBS) all
	@tools/run

## deps: install with apt what `make run` and `make test` need
.PHONY: deps
deps:
	@$(deps) run test

# ---- test

# What the tests find in their environment.
export TEST_NGINX_BINARY = $(NGINX)
export TEST_NGINX_MODULE = $(abspath $(MODULE))
export TEST_NUCLEUS_WORKER = $(abspath $(B))/nucleus-worker
export TEST_NUCLEUSCTL = $(abspath $(B))/nucleusctl
PROVE = $(if $(CORPORA),CORPORA='$(abspath $(CORPORA))') prove --timer -It/lib

## test: build and run all tests (CORPORA=DIR: with the public test data)
.PHONY: test
test:
	@$(deps) test
	@$(MAKE) -j$(JOBS) all unit
	@$(MAKE) prove

.PHONY: prove
prove:
	$(PROVE) -j2 $(TESTS)
TESTS ?= $(UNIT_TESTS) $(REPLAYS) $(WHOLE_TESTS)
WHOLE_TESTS := $(sort $(wildcard t/*.t))

## builds: every way to build it, each module loaded by the nginx that it is for and given an event
.PHONY: builds
builds:
	@$(deps) builds
	@JOBS='$(JOBS)' tools/check-builds build-builds

# (unit tests know no nginx)
## stable: the tests with the newest stable nginx, HTTP/3 included; fetches and builds it
.PHONY: stable
stable:
	@$(deps) test builds
	@src=$$(tools/nginx-source stable) && \
		set -- DEPS=no NGINX_BUILD=yes NGINX_SRC="$$src" B=build-stable && \
		$(MAKE) "$$@" -j$(JOBS) all && $(MAKE) "$$@" prove TESTS='$(WHOLE_TESTS)'

## asan: the tests with address and leak sanitizer in nginx, module, worker and unit tests
.PHONY: asan
asan:
	@$(deps) test
	@src=$$(tools/nginx-source) && $(SANITIZED) NGINX_SRC="$$src" B=build-asan \
		SAN='-fsanitize=address -fno-omit-frame-pointer'

# (nginx reads words at odd addresses and copies nothing from NULL, knowingly)
## ubsan: the tests with the undefined behaviour sanitizer
.PHONY: ubsan
ubsan:
	@$(deps) test
	@src=$$(tools/nginx-source) && $(SANITIZED) NGINX_SRC="$$src" B=build-ubsan \
		SAN='$(UBSAN)' NGINX_SAN='$(UBSAN) -fno-sanitize=nonnull-attribute,alignment'

UBSAN := -fsanitize=undefined -fno-sanitize-recover=all

SANITIZED = $(MAKE) DEPS=no NGINX_BUILD=yes OPT='-O1 -g' test

# those without threads have nothing to find
TSAN_TESTS = $(filter-out $(addprefix $(B)/unit/test_,conf core credentials format_json generation json json_differential key record snapshot),$(UNIT_TESTS))
.PHONY: tsan tsan-prove
## tsan: the tests of queue, sink and worker with the thread sanitizer
tsan:
	@$(deps) test
	@$(MAKE) -j$(JOBS) DEPS=no B=build-tsan SAN='-fsanitize=thread' OPT='-O1 -g' tsan-prove
tsan-prove: $(UNIT_TESTS)
	$(PROVE) -j2 $(TSAN_TESTS)

## fuzz: search for inputs that break what must hold (FUZZ_SECONDS=900 each, FUZZ="SUBJECT ...")
FUZZ ?= $(FUZZ_SUBJECTS)
FUZZ_SECONDS ?= 900
FUZZ_CC ?= clang
.PHONY: fuzz fuzz-programs
fuzz:
	@$(deps) fuzz
	@$(MAKE) -j$(JOBS) DEPS=no B=build-fuzz CC='$(FUZZ_CC)' OPT='-O1 -g' FUZZ='$(FUZZ)' \
		SAN='-fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all' fuzz-programs
	@tools/fuzz build-fuzz/fuzz $(FUZZ_SECONDS) $(FUZZ)
fuzz-programs: $(FUZZ:%=$(B)/fuzz/fuzz_%)

## deb: Debian packages for this machine's nginx, into build/deb
DEB := $(B)/deb
.PHONY: deb
deb:
	@$(deps) deb
	@JOBS='$(JOBS)' tools/build-deb $(DEB)

# (the newer version is the same but for its number)
## packages: the packages on a clean system, as README.md says: installed, upgraded, purged; as root
.PHONY: packages
packages: deb
	@$(deps) packages
	@JOBS='$(JOBS)' tools/build-deb $(DEB)-newer 9.9.9-1
	tools/check-packages $(DEB) $(DEB)-newer
	tools/check-spec $(B)/rpm
	tools/check-docker

## torture: the ledger of kills, reloads, upgrades, full and stalled disks, at its full length
.PHONY: torture
torture:
	@$(deps) test
	@$(MAKE) -j$(JOBS) all
	NUCLEUS_TORTURE=full $(PROVE) -v t/torture.t t/reload.t

## backlog: the worker comes to a log of 10 GB; as much must be free below TMPDIR
.PHONY: backlog
backlog:
	@$(deps) test
	@$(MAKE) -j$(JOBS) all
	NUCLEUS_BACKLOG=10g $(PROVE) -v t/worker_backlog.t

## soak: half of what the machine can do for half an hour, a fault a minute; SOAK=10m for less
SOAK ?= 30m
.PHONY: soak
soak:
	@$(deps) test
	@$(MAKE) -j$(JOBS) all
	NUCLEUS_SOAK=$(SOAK) $(PROVE) -v t/soak.t

## siege: hostile clients, memory and errors at full length: 10,000 connections, 1,000,000 requests
.PHONY: siege
siege:
	@$(deps) test
	@$(MAKE) -j$(JOBS) all
	ulimit -n 20000 && NUCLEUS_SIEGE=full $(PROVE) -v t/memory.t t/hostile.t t/siege.t

## bench: requests per second and CPU time per request, beside nginx's "return 204"
.PHONY: bench
bench:
	@$(deps) bench
	@$(MAKE) -j$(JOBS) all bench-programs
	@B='$(B)' tools/bench $(BENCH)

## instructions: what a request to each location executes, counted (BENCH="--locations /events,/keyed")
.PHONY: instructions
instructions:
	@$(deps) instructions
	@$(MAKE) -j$(JOBS) all bench-programs
	@B='$(B)' tools/bench --parts instructions $(BENCH)

## coverage: the share of the lines that the tests reach; details in coverage/index.html
.PHONY: coverage
coverage:
	@$(deps) coverage
	@find build-cov -name '*.gcda' -delete 2> /dev/null || true
	@$(MAKE) DEPS=no B=build-cov SAN=--coverage OPT='-O0 -g' test
	@rm -rf coverage && mkdir coverage
	@# lcov 1.16 warns about itself
	@{ lcov -q -c -d build-cov --include '$(CURDIR)/$(SRC)/*' -o coverage/all.info && \
		genhtml -q -o coverage coverage/all.info; } > coverage/log 2>&1 || { cat coverage/log; exit 1; }
	@lcov --summary coverage/all.info

# ---- checks

## check: what must hold of the sources: warnings, analyzers, layers, exports, format, examples
.PHONY: check
check:
	@$(deps) check
	@$(MAKE) -j$(JOBS) all unit
	@$(MAKE) -j$(JOBS) warnings
	tools/check-layers
	tools/check-exports $(MODULE)
	@tools/check-globals $(filter-out $(B)/obj/worker/% $(B)/obj/ctl/%,$(LIB_OBJS))
	$(call say,cppcheck,$(SRC))
	$(Q)cppcheck -q -j$(JOBS) --std=c11 --enable=warning,performance,portability --inline-suppr \
		--error-exitcode=1 -D_GNU_SOURCE $(CHECK_INCLUDES) $(wildcard $(SRC)/*/*.c)
	$(call say,format,$(SRC) t/unit)
	$(Q)clang-format --dry-run -Werror $(NUC_FILES)
	tools/check-examples $(NGINX) $(MODULE) $(B)/nucleus-worker $(B)/nucleusctl
	@for script in $(filter-out %.c,$(wildcard tools/*)) .ci/run $(PACKAGE_SCRIPTS); do \
		case "$$(head -n 1 $$script)" in \
		*perl*) perl -c $$script ;; \
		*bash*) bash -n $$script ;; \
		*) sh -n $$script ;; \
		esac || exit 1; \
	done

PACKAGE_SCRIPTS := packaging/nginx-org/build packaging/test/run \
	$(wildcard packaging/debian/*.post* packaging/debian/*.prerm) \
	$(wildcard docker/build-* docker/setup-*) docker/nucleus-init

# what two compilers and clang's analyzer say of each file; nginx's handlers have parameters that
# not all of them use
CHECK_INCLUDES := $(addprefix -I$(SRC)/,core formats queue registry sink worker ctl http) \
	$(addprefix -I$(B)/nginx/,src/core src/event src/event/modules src/os/unix src/http \
		src/http/modules src/http/v2 src/http/v3 src/event/quic objs)
CHECK_FLAGS := -std=gnu11 -O2 $(WARN) -D_GNU_SOURCE -pthread -fno-common
CHECKED := $(patsubst %.c,$(B)/check/%.ok,$(wildcard $(SRC)/*/*.c t/unit/*.c t/fuzz/*.c))

.PHONY: warnings
warnings: $(CHECKED)
$(filter $(B)/check/$(SRC)/http/%,$(CHECKED)): CHECK_FLAGS += -Wno-unused-parameter
$(filter $(B)/check/t/%,$(CHECKED)): ANALYZE := true
ANALYZE := clang --analyze --analyzer-output text -Xanalyzer -analyzer-werror

$(B)/check/%.ok: %.c $(HEADERS) $(wildcard t/unit/*.h t/fuzz/*.h) $(B)/nginx/objs/Makefile
	@mkdir -p $(@D)
	$(call say,check,$<)
	$(Q)gcc $(CHECK_FLAGS) $(CHECK_INCLUDES) -It/unit -It/fuzz -c -o /dev/null $<
	$(Q)clang $(CHECK_FLAGS) $(CHECK_INCLUDES) -It/unit -It/fuzz -c -o /dev/null $<
	$(Q)$(ANALYZE) -std=gnu11 -D_GNU_SOURCE $(CHECK_INCLUDES) $<
	@touch $@

## format: bring the nuc_* files into the form that check wants
.PHONY: format
format:
	@$(deps) check
	@clang-format -i $(NUC_FILES)

## clean: remove what was built (not run/, which holds data)
.PHONY: clean
clean:
	rm -rf build build-* modules coverage

## help: this list
.PHONY: help
help:
	@sed -n 's/^## \([a-z]*\): \(.*\)/\1	\2/p' Makefile | while IFS='	' read -r name text; do \
		printf '  make %-12s %s\n' "$$name" "$$text"; done
