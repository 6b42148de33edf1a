# What can be done with this repository; each command does its own set-up and works alone.

SHELL := /bin/bash
CARGO ?= cargo

# Built once by the set-up, for all profiles and features.
export ROCKSDB_LIB_DIR := $(shell scripts/rocksdb.sh folder)
export ROCKSDB_STATIC := 1

.PHONY: help demo test chaos bench bench-growth lint fuzz build

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST)

demo: ## simulate a fleet into a real Prometheus (DEMO_SECONDS=60, 0 is until Ctrl-C)
	@scripts/setup.sh demo
	@echo "== Building weir and weirgen (release)"
	@$(CARGO) build --release --workspace --bins
	@scripts/demo.sh

test: ## all tests, with real Prometheus, VictoriaMetrics, Kafka, Mosquitto, PostgreSQL, kinesis-local and moto
	@scripts/setup.sh test
	@echo "== Building weir and weirgen (release)"
	@$(CARGO) build --release --workspace --bins
	@echo "== Running all tests"
	@$(CARGO) test --release --workspace

chaos: ## kill weir and its servers 200 times (CHAOS_KILLS, CHAOS_SEED); nothing may be lost or doubled
	@scripts/setup.sh test
	@CHAOS_KILLS=$${CHAOS_KILLS:-200} $(CARGO) test --release --test chaos -- \
		--nocapture every_sample every_acknowledged

bench: ## events/s beside a hand-written loop, by format and by source, memory, checkpoints and restarts, requests made a second
	@scripts/setup.sh build
	@$(CARGO) build --release --workspace --bins
	@$(CARGO) bench --profile release --bench limit
	@$(CARGO) bench --profile release --bench formats
	@$(CARGO) bench --profile release --bench state
	@$(CARGO) bench --profile release --bench sender
	@scripts/setup.sh test
	@$(CARGO) bench --profile release --bench sources

bench-growth: ## events/s as things grow; writes docs/performance.md and its plots anew
	@scripts/setup.sh build
	@$(CARGO) bench --profile release --bench growth -- write-docs

lint: ## formatting, clippy, documentation, dependencies
	@scripts/setup.sh build
	@scripts/lint.sh

fuzz: ## every fuzz target for a minute (needs a nightly toolchain and cargo-fuzz)
	@scripts/setup.sh build
	@scripts/fuzz.sh

build: ## the release binaries
	@scripts/setup.sh build
	@$(CARGO) build --release --workspace --bins
