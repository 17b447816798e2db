# Everything a newcomer needs: `make demo` and `make test` each work on a fresh machine and install what they use.
# PYTHON chooses the interpreter (3.10 to 3.12).

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
WORKERS ?= 2
.DEFAULT_GOAL := help

.PHONY: help demo test lint docs bench ops clean

help:
	@echo "make demo   environment, synthetic data, training, evaluation, inference, a report to open"
	@echo "make test   environment, native operators, every test"
	@echo "make lint   ruff, ruff format, codespell, mypy, hadolint"
	@echo "make docs   the documentation as pages to open, in site/"
	@echo "make bench  measure the tables of docs/performance.md again (BENCH=--full, BENCH='--only ops')"
	@echo "make ops    build the native operators (CPU, and CUDA where nvcc is found)"
	@echo "make clean  remove what these commands made (but runs/)"

# The stamps carry a time: installing again happens only when a requirements file changed.
$(VENV)/.runtime: requirements.txt pyproject.toml tools/check_python.py
	@$(PYTHON) tools/check_python.py
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing requirements.txt (MindSpore is about 800 MB: this takes a few minutes the first time)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $@

$(VENV)/.development: requirements-dev.txt $(VENV)/.runtime
	@echo "installing requirements-dev.txt"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@

# Rebuilds only what changed, and says so when there is no compiler: the package then uses its pure-MindSpore twins.
ops: $(VENV)/.runtime
	@$(BIN)/python custom_ops/build.py

demo: ops
	@$(BIN)/mindvideo demo --output demo

# Fresh processes within 6 GB in all, because a process keeps every graph it ever compiled (tests/run.py --help).
test: $(VENV)/.development ops
	@$(BIN)/python tests/run.py --jobs $(WORKERS) $(ARGS)

lint: $(VENV)/.development
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/codespell
	@$(BIN)/mypy
	@$(BIN)/hadolint Dockerfile

# Opens from disk, without a network: site/index.html. Searching needs it served: python -m http.server -d site
docs: $(VENV)/.development
	@$(BIN)/mkdocs build --quiet --strict

bench: ops
	@$(BIN)/python -m benchmarks.every $(BENCH)

clean:
	rm -rf $(VENV) demo site custom_ops/build .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
