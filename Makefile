# Each target does what it says and nothing twice: what is installed is only installed again when its pins change.
# Tests wait for servers and processes a third of their time: there is one worker more than there are cores. Those that
# do not wait have as many as there are cores, since each worker loads all libraries.
PYTHON ?= python3
BIN := .venv/bin
CORES := $(shell $(PYTHON) -c "import os; print(os.cpu_count() or 1)")
DISTRIBUTED := --dist loadfile --no-loadscope-reorder
PARALLEL := --numprocesses $$(($(CORES) + 1)) $(DISTRIBUTED)
UNIT := --numprocesses $(CORES) $(DISTRIBUTED) -m unit
OLDEST_TORCH ?= 2.13.0
unexport PYTHONDONTWRITEBYTECODE  # else each process of the tests compiles them again

.PHONY: train test test-fast test-oldest lint docs benchmark ui clean

train: .venv/installed  ## the main job: train the tutorial's network with its gradient norm clipped at 1
	$(BIN)/python src/train.py clip=norm clip.value=1.0

test: .venv/installed-dev  ## all tests
	$(BIN)/python -m pytest $(PARALLEL)

test-fast: .venv/installed-dev  ## the tests that start no command, server or browser and open no store: about two minutes on two cores
	$(BIN)/python -m pytest $(UNIT)

test-oldest: .venv-oldest/installed  ## the same, trainings and the training command with the oldest versions that pyproject.toml allows; constraints-oldest.txt has more about torch
	.venv-oldest/bin/python -m pytest $(UNIT)
	.venv-oldest/bin/python -m pytest $(PARALLEL) tests/commands/test_train.py tests/stacked

lint: .venv/installed-dev  ## style, types and layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: .venv/installed-docs  ## the documentation as a site, in site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

benchmark: .venv/installed-dev  ## the tables and the figures of the README and docs/
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

ui: .venv/installed  ## the MLflow pages over the default store, on this machine only
	$(BIN)/gradclip ui

clean:  ## remove the environments; runs stay
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
