# Nucleus: build, run, test.  `make help` lists the targets.

SHELL := /bin/sh
.DEFAULT_GOAL := all

# Where everything is built; sanitizer and coverage builds use their own.
B ?= build
PORT ?= 8080
NGINX ?= $(shell command -v nginx || echo /usr/sbin/nginx)
# a tree in which nginx's ./configure runs: Debian's nginx-dev, or nginx's sources
NGINX_SRC ?= /usr/share/nginx/src

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
SINK := $(call sources,nuc_sink)
WORKER := $(call sources,nuc_worker)
HTTP := $(call sources,nuc_http)

LIB_SRCS := $(CORE) $(FORMATS) $(QUEUE) $(SINK) $(WORKER)
LIB_OBJS := $(LIB_SRCS:%.c=$(B)/obj/%.o)
UNIT_TESTS := $(patsubst t/unit/%.c,$(B)/unit/%,$(wildcard t/unit/test_*.c))
UNIT_LIB := $(filter-out $(wildcard t/unit/test_*.c t/unit/bench_*.c),$(wildcard t/unit/*.c))
UNIT_LIB_OBJS := $(UNIT_LIB:t/unit/%.c=$(B)/unit/%.o)

NUC_CFLAGS := -std=gnu11 $(OPT) $(WARN) $(SAN) -D_GNU_SOURCE -pthread -fno-common -MMD -MP \
	-I$(SRC)/core -I$(SRC)/formats -I$(SRC)/queue -I$(SRC)/sink -I$(SRC)/worker $(CFLAGS)
NUC_LIBS := -lcrypto -lpthread

MODULE := modules/ngx_http_nucleus_module.so

## all: the module and the worker
.PHONY: all
all: module worker

$(B)/obj/%.o: $(SRC)/%.c
	@mkdir -p $(@D)
	$(CC) $(NUC_CFLAGS) -c -o $@ $<

$(B)/libnucleus.a: $(LIB_OBJS)
	@rm -f $@
	$(AR) rcs $@ $^

.PHONY: worker
worker: $(B)/nucleus-worker
$(B)/nucleus-worker: $(B)/obj/worker/nuc_worker_main.o $(B)/libnucleus.a
	$(CC) $(SAN) $(LDFLAGS) -o $@ $^ $(NUC_LIBS)

# unit tests: t/unit/test_*.c, each a program that prints TAP; other t/unit/*.c are their helpers
.PHONY: unit
unit: $(UNIT_TESTS)
$(B)/unit/%.o: t/unit/%.c
	@mkdir -p $(@D)
	$(CC) $(NUC_CFLAGS) -It/unit -c -o $@ $<
$(B)/unit/test_%: $(B)/unit/test_%.o $(UNIT_LIB_OBJS) $(B)/libnucleus.a
	$(CC) $(SAN) $(LDFLAGS) -o $@ $^ $(NUC_LIBS) -ljansson

-include $(shell find $(B) -name '*.d' 2>/dev/null)

# the module, built by nginx's own configure in a copy of its tree
.PHONY: module
module: $(MODULE)
$(B)/nginx/objs/Makefile: config $(SRC)/sources $(SRC)/exports.map Makefile
	@test -x $(NGINX_SRC)/configure || { echo "no nginx source tree at $(NGINX_SRC): install nginx-dev, or give NGINX_SRC=DIR" >&2; exit 1; }
	rm -rf $(B)/nginx && mkdir -p $(B)/nginx && cp -r $(NGINX_SRC)/. $(B)/nginx
	cd $(B)/nginx && ./configure --with-compat --with-threads --with-http_ssl_module --with-http_v2_module \
		--with-debug --with-cc-opt='$(OPT) -D_GNU_SOURCE $(SAN)' --with-ld-opt='$(SAN)' \
		--add-dynamic-module=$(CURDIR) > configure.log
$(MODULE): $(B)/nginx/objs/Makefile $(wildcard $(SRC)/*/*.[ch])
	$(MAKE) -C $(B)/nginx -f objs/Makefile modules > $(B)/nginx/make.log 2>&1 || { cat $(B)/nginx/make.log; exit 1; }
	@mkdir -p modules && cp $(B)/nginx/objs/ngx_http_nucleus_module.so $@
	@echo "built $@"

## clean: remove what was built (not run/, which holds data)
.PHONY: clean
clean:
	rm -rf build build-* modules coverage
