# Everything a newcomer types; each target does its own set-up.
#   make demo    trains the digits and shows where the pictures are
#   make test    runs the tests

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
VERSION := $(shell $(PYTHON) -c 'import sys; print("py%d%d" % sys.version_info[:2])' 2>/dev/null)
CONSTRAINTS := constraints/$(if $(filter py311,$(VERSION)),py311,py312).txt

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-slow lint format docs build clean

help:  ## Shows this list.
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

setup: $(VENV)/installed  ## Makes .venv and installs the project and its tools.

$(VENV)/installed: setup.cfg pyproject.toml $(wildcard constraints/*.txt)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	  { echo "error: $(PYTHON) must be Python 3.11 or newer; set PYTHON=python3.12 or such" >&2; exit 2; }
	@echo "Installing into $(VENV): a minute or two"
	@$(PYTHON) -m venv --clear $(VENV)
	@$(BIN)/python -m pip install --quiet --constraint $(CONSTRAINTS) --editable '.[dev]'
	@touch $@

demo: setup  ## Trains Progressive GAN on handwritten digits, 4x4 to 32x32.
	$(BIN)/python -m progan_jax.main --config=configs/digits.py

test: setup  ## Runs all tests but the slow ones.
	$(BIN)/python -m pytest --numprocesses=auto --dist=loadfile

test-slow: setup  ## Runs the slow tests.
	$(BIN)/python -m pytest -m slow

lint: setup  ## Checks format, style and types.
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright --pythonpath $(BIN)/python

format: setup  ## Formats the code.
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: setup  ## Builds the pages of docs/ in site/.
	$(BIN)/python -m pip install --quiet --constraint $(CONSTRAINTS) --editable '.[docs]'
	$(BIN)/mkdocs build --strict

build: setup  ## Builds a wheel in dist/.
	$(BIN)/python -m build --wheel

clean:  ## Removes what can be made anew; never a run.
	rm -rf $(VENV) .jax_cache build dist site *.egg-info .pytest_cache .ruff_cache .hypothesis
