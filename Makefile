# The commands of this project. A machine with Python 3.11 or newer and make is enough.
#
# Set-up is one virtual environment, .venv, made once and again when a file in constraints/ or pyproject.toml changes.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CORE := $(VENV)/.core-installed
ANALYSIS := $(VENV)/.analysis-installed
DEV := $(VENV)/.dev-installed
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input

# Many tests wait for processes that they started, so one more than there are cores; each may take half a gigabyte.
TEST_PROCESSES ?= $(shell $(PYTHON) -c 'import os; print(min(8, (os.cpu_count() or 1) + 1))' 2>/dev/null || echo 2)
CHAOS_ROUNDS ?= 1
ENGINES := engine-demucs engine-spleeter
DEMO_HOME ?= $(CURDIR)/demo

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup engines $(ENGINES) analysis demo up test long chaos soak check format clean

help: ## List these commands.
	@echo "Ironclad: a song dropped into the upload folder comes out in the library."
	@echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

demo: $(CORE) ## Take a synthesised song from upload to library and show what happened (about a minute).
	@IRONCLAD_HOME="$(DEMO_HOME)" $(BIN)/pipelinectl demo

up: $(CORE) ## Start the whole system and keep it running; stop it with Ctrl-C.
	@$(BIN)/pipelinectl up

setup: $(CORE) $(DEV) ## Make the virtual environment with everything for development.

engines: $(ENGINES) ## Build the environments of Demucs and Spleeter (a few minutes; up to 1 GB of downloads, 4 GB of disk).

$(ENGINES): engine-%: $(CORE)
	@$(BIN)/pipelinectl engines install $*

analysis: $(ANALYSIS) ## Add what finds tempo, key and beats of songs (75 MB of downloads, 270 MB of disk).

test: $(DEV) ## Run the tests; those of engines whose environment is there included.
	@$(BIN)/python -m pytest -n $(TEST_PROCESSES) --dist loadfile --no-loadscope-reorder

long: $(DEV) ## Run the tests that take minutes and that `make test` leaves out (10 minutes).
	@$(BIN)/python -m pytest -m "long and not chaos" -n $(TEST_PROCESSES) --dist loadfile

chaos: $(DEV) ## Kill everything, cut the power, fill disks, pull storage away; 200 songs under 24 kills (20 minutes).
	@rm -f chaos-report.txt
	@CHAOS_ROUNDS=$(CHAOS_ROUNDS) CHAOS_CUTS=21 CHAOS_CALLS=10 CHAOS_LOG=$(CURDIR)/chaos-report.txt \
	  $(BIN)/python -m pytest -m chaos -n 2 --dist loadfile; status=$$?; cat chaos-report.txt; exit $$status

soak: $(DEV) ## Take 1,000 songs while 120 processes are killed, and see that nothing is lost or grows (up to two hours).
	@CHAOS_SONGS=1000 CHAOS_KILLS=120 CHAOS_REPORT=$(CURDIR)/soak-report.json \
	  $(BIN)/python -m pytest -m long -s tests/chaos/test_many_songs.py

check: $(DEV) ## Check lint, format, types and imports.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

format: $(DEV) ## Put code in its format and imports in order.
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## Remove the virtual environment, the demo and every cache.
	rm -rf $(VENV) demo build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .coverage
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "Ironclad needs Python 3.11 or newer; '$(PYTHON)' is $$($(PYTHON) --version 2>/dev/null || echo missing)." >&2; \
	  echo "Install one and say which: make $(or $(MAKECMDGOALS),setup) PYTHON=python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "This Python cannot make virtual environments. On Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	@echo "Setting up $(VENV) (once; a minute or two, most of it downloads)"
	@$(PYTHON) -m venv $(VENV)

$(CORE): constraints/core.txt constraints/build.txt pyproject.toml | $(BIN)/python
	@$(PIP) install -qq --no-deps --only-binary :all: -r constraints/build.txt -r constraints/core.txt
	@$(PIP) install -qq --no-deps --no-build-isolation -e .
	@touch $@

$(ANALYSIS): constraints/analysis.txt constraints/analysis-python313.txt $(CORE)
	@$(PIP) install -qq --no-deps --only-binary :all: -r constraints/analysis.txt \
	  $$($(BIN)/python -c 'import sys; print("-r constraints/analysis-python313.txt" * (sys.version_info >= (3, 13)))')
	@touch $@

$(DEV): constraints/dev.txt $(CORE) $(ANALYSIS)
	@$(PIP) install -qq --no-deps --only-binary :all: -r constraints/dev.txt
	@$(PIP) check > /dev/null
	@touch $@
