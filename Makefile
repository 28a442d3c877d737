# Every target installs what it needs first; nothing is downloaded after installation.
PYTHON   ?= python3
VENV     ?= .venv
# For example PIP_ARGS="--extra-index-url https://download.pytorch.org/whl/cpu" saves 2.5 GB on Linux without a GPU.
PIP_ARGS ?=
BIN      := $(VENV)/bin

.PHONY: install quickstart test test-slow faults check bench docs clean
install: $(VENV)/.installed
$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "Python 3.11 or newer is needed: make install PYTHON=python3.11"'
	@echo "Installing into $(VENV): about 1.7 GB on disk with a CPU build of torch, 7 GB with a CUDA build."
	test -d $(VENV) || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check $(PIP_ARGS) -c constraints.txt -e .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/python -m pip install -q --disable-pip-version-check $(PIP_ARGS) -c constraints.txt -e '.[dev,trl,gradients]'
	@touch $@

quickstart: install ## train, measure and draw a Pareto front from nothing
	$(BIN)/paretune quickstart

test: $(VENV)/.installed-dev ## every test that needs no GPU and no patience
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2

test-slow: $(VENV)/.installed-dev ## the acceptance tests that train for minutes
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -m slow

faults: $(VENV)/.installed-dev ## kills, damage, full disks, signals: all trials, with docs/reliability.md
	OMP_NUM_THREADS=1 $(BIN)/python tests/faults

check: $(VENV)/.installed-dev ## style, types, security and layers
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/ruff format --check src tests benchmarks
	$(BIN)/mypy
	$(BIN)/bandit -q -c pyproject.toml -r src
	$(BIN)/python -m pytest tests/test_layers.py tests/test_imports.py

bench: $(VENV)/.installed-dev ## the speed tables of docs/benchmarks.md, and a small comparison of all methods
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/train_step.py
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/generate.py
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/selection.py
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/mopo.py
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/divergences.py
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/preferences.py --sizes tiny --scenarios ""
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/serve.py --sizes tiny
	OMP_NUM_THREADS=1 $(BIN)/paretune compare recipes/compare_small.yaml

docs: $(VENV)/.installed-dev ## regenerate docs/cli.md and docs/papers.md
	$(BIN)/python -m paretune.cli.reference docs

clean:
	rm -rf $(VENV) build dist .pytest_cache .ruff_cache .mypy_cache
