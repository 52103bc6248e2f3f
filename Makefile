# Everything one does here. `make` alone lists it.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

BIN := .venv/bin
SOURCES := $(wildcard packages/*/src services/*/src) tests $(wildcard bench/*.py protos/*.py)

.PHONY: help setup demo test test-unit test-model test-integration test-answers lint format bench lock protos clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## Make .venv with the locked versions (every target below does it when needed)
	@.ci/bootstrap

demo: setup ## Run everything on this machine; Ctrl-C stops, a second run resumes (SECONDS=30 FEED=... VENUE=... TRINO=1)
	@$(BIN)/python -m seamark.local demo $(if $(SECONDS),--seconds $(SECONDS)) $(if $(FEED),--feed $(FEED)) $(if $(VENUE),--venue $(VENUE)) $(if $(TRINO),--trino)

test: test-unit test-model test-integration ## All tests, the quick ones first

test-unit: setup ## Pure functions: seconds
	@$(BIN)/pytest -n 2 tests/unit

test-model: setup ## Seeded interleavings against in-memory twins: a minute or so
	@$(BIN)/pytest -n 2 tests/model

test-integration: setup ## Real Kafka, object store and catalog on loopback: minutes
	@$(BIN)/pytest -n 0 tests/integration  # one after another: engines and tests share the cores

test-answers: setup ## Ten thousand answers on real engines while everything moves, each judged by the oracle
	@SEAMARK_TEST_ANSWERS=10000 $(BIN)/pytest -n 0 -s tests/integration/test_answers.py

lint: setup ## Style, formatting, types, and which package may import which
	@echo "ruff check";  $(BIN)/ruff check --quiet
	@echo "ruff format"; $(BIN)/ruff format --quiet --check --diff
	@echo "mypy";        $(BIN)/mypy $(SOURCES)
	@echo "imports";     $(BIN)/lint-imports --no-logo

format: setup ## Format, and fix what ruff can fix
	@$(BIN)/ruff format
	@$(BIN)/ruff check --fix

bench: setup ## Measure throughput and latency; figures go to bench/results
	@$(BIN)/python -m bench

lock: setup ## Bring requirements.lock in line with every pyproject.toml (UPGRADE=1: newest versions)
	@.cache/bin/uv pip compile $(if $(UPGRADE),--upgrade) --quiet --universal --generate-hashes --no-annotate \
		--no-emit-index-url --no-header --python-version 3.11 --group dev \
		$(patsubst %,--no-emit-package %,$(shell sed -n 's/^name = "\(.*\)"/\1/p' packages/*/pyproject.toml services/*/pyproject.toml)) \
		$(wildcard packages/*/pyproject.toml services/*/pyproject.toml) --output-file requirements.lock

protos: setup ## Make the gRPC stubs from protos/ and record what was added; a change that breaks peers is refused
	@$(BIN)/python protos/generate.py

clean: ## Remove .venv, all caches and what the demo has stored
	@rm -rf .venv .cache .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis run
