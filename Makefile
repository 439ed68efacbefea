# What a developer calls. Everything works on a bare Debian 12 with a Rust toolchain and make: `deps` installs the rest.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := build

CARGO ?= cargo
TARGET := $(or $(CARGO_TARGET_DIR),target)
MINUTES ?= 10
BENCH ?=

.PHONY: build demo test bench soak fuzz chaos fmt lint deps

deps: ## installs what is missing (PostgreSQL, a linker, etcd), nothing when all is there
	@deploy/install-debian.sh

build: deps ## release programs in $(TARGET)/release
	$(CARGO) build --release --workspace --bins

demo: build ## a cluster beside a plain PostgreSQL: TPC-H, compared; DEMO_STOP=1 stops it at the end
	$(TARGET)/release/atoll demo

test: deps ## every test, against real clusters
	$(CARGO) build --workspace --bins
	$(CARGO) test --workspace

bench: build ## throughput beside plain PostgreSQL's; BENCH=name for one; writes target/bench.json
	$(TARGET)/release/atoll-bench $(if $(BENCH),--bench $(BENCH))

soak: build ## clients that come and go for MINUTES
	$(TARGET)/release/atoll-bench soak --minutes $(MINUTES) $(if $(SEED),--seed $(SEED))

fuzz: build ## random queries on PostgreSQL and on a cluster, compared: SEED= MINUTES= COUNT=
	$(TARGET)/release/atoll-fuzz $(if $(SEED),--seed $(SEED)) $(if $(filter-out file,$(origin MINUTES)),--minutes $(MINUTES)) $(if $(COUNT),--count $(COUNT))

chaos: deps ## 3 groups of 3 nodes in network namespaces, broken in every way while clients write; as root: SEED= MINUTES=
	@deploy/install-debian.sh chaos
	$(CARGO) build --release --bins -p atoll-coordinator -p atoll-agent -p atoll-chaos
	$(TARGET)/release/atoll-chaos run --minutes $(MINUTES) $(if $(SEED),--seed $(SEED))

fmt:
	$(CARGO) fmt --all

lint: deps
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
