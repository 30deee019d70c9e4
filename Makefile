# Targets do nothing twice: packages are installed again only if their pins change.
# Tests spend a third of their time waiting for servers and processes, so `make test` uses one worker more than there
# are cores. Unit tests do not wait: they use one worker per core, since each worker loads all libraries.
PYTHON ?= python3
BIN := .venv/bin
CORES := $(shell $(PYTHON) -c "import os; print(os.cpu_count() or 1)")
DISTRIBUTED := --dist loadfile --no-loadscope-reorder
PARALLEL := --numprocesses $$(($(CORES) + 1)) $(DISTRIBUTED)
UNIT := --numprocesses $(CORES) $(DISTRIBUTED) -m unit
OLDEST_TORCH ?= 2.13.0
unexport PYTHONDONTWRITEBYTECODE  # otherwise each test process compiles all modules again

.PHONY: train test test-fast test-oldest lint docs benchmark ui clean

train: .venv/installed  ## train the tutorial's network with its gradient norm clipped to 1
	$(BIN)/python src/train.py clip=norm clip.value=1.0

test: .venv/installed-dev  ## run all tests
	$(BIN)/python -m pytest $(PARALLEL)

test-fast: .venv/installed-dev  ## run the tests that need no command, server, browser or store: about two minutes on two cores
	$(BIN)/python -m pytest $(UNIT)

test-oldest: .venv-oldest/installed  ## run unit tests, stacked training and the training command with the oldest versions that pyproject.toml allows; about torch, see constraints-oldest.txt
	.venv-oldest/bin/python -m pytest $(UNIT)
	.venv-oldest/bin/python -m pytest $(PARALLEL) tests/commands/test_train.py tests/stacked

lint: .venv/installed-dev  ## check style, types and layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: .venv/installed-docs  ## build the documentation site in site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

benchmark: .venv/installed-dev  ## make the tables and figures of the README and docs/
	$(BIN)/python tests/benchmarks/figure.py
	$(BIN)/python tests/benchmarks/reference.py
	$(BIN)/python tests/benchmarks/speed.py
	$(BIN)/python tests/benchmarks/gradients.py
	$(BIN)/python -m tests.benchmarks.vectorized
	$(BIN)/python tests/benchmarks/store.py
	$(BIN)/python tests/benchmarks/compare.py
	$(BIN)/python -m tests.benchmarks.coverage
	$(BIN)/python -m tests.benchmarks.power
	$(BIN)/python -m tests.benchmarks.advice
	$(BIN)/python -m tests.benchmarks.league
	$(BIN)/python -m tests.benchmarks.screenshots
	$(BIN)/python -m tests.benchmarks.robustness

ui: .venv/installed  ## serve the MLflow UI for the default store, to this machine only
	$(BIN)/gradclip ui

clean:  ## remove the environments, but not the runs
	rm -rf .venv .venv-oldest

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/installed: .venv/bin/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch==2.13.0
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[pipeline]'
	touch $@

.venv/installed-dev: .venv/installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

.venv/installed-docs: .venv/installed-dev
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[docs]'
	touch $@

.venv-oldest/installed: pyproject.toml constraints-oldest.txt
	$(PYTHON) -m venv --clear .venv-oldest
	.venv-oldest/bin/python -m pip install --quiet --constraint constraints-oldest.txt torch==$(OLDEST_TORCH)
	.venv-oldest/bin/python -m pip install --quiet --constraint constraints-oldest.txt --editable '.[test]'
	touch $@
