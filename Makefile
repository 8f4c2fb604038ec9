# `make demo` and `make test` set everything up by themselves; they need Python 3.11 or newer and make. With a C
# compiler and Python's headers parts are compiled, and faster; GUARDSTEER_COMPILE (hatch_build.py) says whether to.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --disable-pip-version-check --quiet -c constraints.txt

# Compiled all or none, each beside its source.
EXTENSIONS := $(shell find guardsteer -name '*.c')

# A model of a few million weights runs many times faster on one thread than on several.
export OMP_NUM_THREADS ?= 1
export TOKENIZERS_PARALLELISM ?= false
# How many processes share the tests.
WORKERS ?= 2

.DELETE_ON_ERROR:
.PHONY: help demo test check lint bench setup clean

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/make \1	\2/p' Makefile

demo: $(VENV)/.core ## show guarded and unguarded answers of the built-in model side by side
	$(BIN)/guardsteer demo

test: $(VENV)/.dev ## run the tests
	$(BIN)/python -m pytest -n $(WORKERS)

check: lint test ## lint, type-check, check the layers and run the tests

lint: $(VENV)/.dev ## lint, type-check and check the layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy

bench: $(VENV)/.dev ## run the benchmarks that need no data from outside
	for file in benchmarks/[a-z]*.py; do echo "== $$file"; $(BIN)/python -m benchmarks.$$(basename $$file .py) || exit 1; done

setup: $(VENV)/.dev ## install everything for development

clean: ## remove the environment and what builds leave behind
	find guardsteer -name '*.so' -delete
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "guardsteer needs Python 3.11 or newer; name one: make PYTHON=python3.11 ..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

# torch goes first and by its exact version: left to a range beside other requirements, the resolver
# may take a build for another device.
# pip keeps what a build says to itself, so what it left out is said here.
$(VENV)/.core: pyproject.toml constraints.txt hatch_build.py $(EXTENSIONS) | $(VENV)/bin/python
	$(PIP) torch==2.13.0
	$(PIP) hatchling setuptools
	$(PIP) --no-build-isolation -e .
	@test -e $(basename $(firstword $(EXTENSIONS))).abi3.so || echo "note: installed without its compiled parts;" \
		"everything works, only more slowly (with a C compiler and Python's headers: make -B setup)" >&2
	@touch $@

$(VENV)/.dev: $(VENV)/.core
	$(PIP) --no-build-isolation -e '.[train,examples,dev]'
	@touch $@
