# ML4EP Portal. `make run` is all it takes; the other targets are for those who change it.

SHELL := /bin/sh
.DEFAULT_GOAL := help
BIN := .venv/bin

# The interpreter: the one that .venv was made with, else the newest supported one that really runs. PYTHON=... chooses another.
ifeq ($(origin PYTHON), undefined)
PYTHON := $(shell for p in $(BIN)/python python3.13 python3.12 python3.11 python3; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' >/dev/null 2>&1 && { echo $$p; exit; }; \
	done; echo python3)
endif

# PORT=... is the port of this run.
ifdef PORT
export ML4EP_PORT := $(PORT)
endif

.PHONY: help run setup dev test test-all check format bench bench-forests bench-networks bench-batches bench-showers bench-matrix conformance operators client-wheel licences lock clean clean-data

help:  ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/ ##/' | awk -F ' ## ' '{printf "  make %-14s %s\n", $$1, $$2}'

run: setup  ## install what is missing and start the portal: make run PORT=8000
	@exec $(BIN)/ml4ep up

setup:  ## the installing alone
	@$(PYTHON) portal/bootstrap.py

dev:
	@$(PYTHON) portal/bootstrap.py --dev

test: dev  ## the tests, without the slow ones
	@$(BIN)/python -m tests -m "not slow and not gpu" $(ARGS)

test-all: dev  ## every test that this machine can run
	@$(BIN)/python -m tests -m "not gpu" $(ARGS)

check: dev  ## formatting, lint, types, floors, and what Django says about the project
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python manage.py makemigrations --check --dry-run
	$(BIN)/python manage.py check --fail-level WARNING

format: dev  ## format all Python
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: dev  ## the benchmarks
	@$(BIN)/python -m benchmarks $(ARGS)

bench-forests: dev  ## the forests against their peers; ARGS=--quick for a look
	@$(BIN)/python -m benchmarks forests $(ARGS)

bench-networks: dev  ## the networks against their peers; ARGS=--quick for a look
	@$(BIN)/python -m benchmarks networks $(ARGS)

bench-batches: dev  ## the loader of batches against its peers; ARGS=--quick for a look
	@$(BIN)/python -m benchmarks batches $(ARGS)

bench-showers: dev  ## models of showers against the full simulation; ARGS=--quick for a look
	@$(BIN)/python -m benchmarks showers $(ARGS)

bench-matrix: dev  ## every engine on every model, time and memory side by side; QUICK=1 for a look
	@$(BIN)/ml4ep benchmark install all --environments benchmarks/out/engines
	@ML4EP_BENCHMARK_ENGINES=benchmarks/out/engines $(BIN)/ml4ep benchmark run --models all --batches 1 --batches 64 \
	$(if $(QUICK),--quick) --out benchmarks/out/matrix --force $(ARGS)

conformance: dev  ## ONNX's own backend tests against the generated code, with a reason for each that fails
	@$(BIN)/python -m mlcore.networks.conformance --jobs 2 $(ARGS)

operators: dev  ## write the table of the operators that networks may have
	@$(BIN)/python -m mlcore.networks.support_table tests/data/networks/known_failures.txt > docs/reference/operators.md

client-wheel: dev  ## build the Python client as a wheel of its own: build/client/ml4ep_client-….whl
	@$(BIN)/python -m pip wheel --quiet --no-build-isolation --no-deps --wheel-dir build/client portal/client && ls build/client

licences: dev  ## write the list of the dependencies' licences
	@{ printf '# Licences of the dependencies\n\nWritten by `make licences` from what each installed package says of itself.\n\n'; \
	$(BIN)/pip-licenses --format=markdown --order=name --ignore-packages ml4ep-portal; } > docs/reference/licences.md

lock:  ## recompute constraints.txt from pyproject.toml
	@$(PYTHON) portal/bootstrap.py --lock

clean:  ## remove .venv, builds and caches; files, jobs and models in var/ stay
	rm -rf .venv build .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache benchmarks/out
	find . -name __pycache__ -type d -not -path './var/*' -prune -exec rm -rf {} +

clean-data:  ## remove var/: every file, job, index and model of the portal in this folder
	rm -rf var
