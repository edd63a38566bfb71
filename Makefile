# Everything a newcomer types; each target does its own set-up.
#   make demo            trains the digits and shows where the pictures are
#   make demo-stylegan   trains StyleGAN on them
#   make test            runs the tests

PYTHON ?= python3
VERSION := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)
# The default Python's environment is .venv; PYTHON=python3.13 has .venv-3.13.
VENV := .venv$(if $(filter-out file,$(origin PYTHON)),-$(VERSION))
BIN := $(VENV)/bin
# Marks of what is installed there: the package alone, and the tools besides.
PACKAGE := $(VENV)/package-$(VERSION)
TOOLS := $(VENV)/tools-$(VERSION)
# Modules get their bytecode when they are imported: most never are.
INSTALL := $(BIN)/python -m pip install --no-compile --disable-pip-version-check \
  --constraint constraints/$(if $(filter 3.11,$(VERSION)),py311,py312).txt
TESTS := tests
# The page of this clone's origin, for links of the documentation and of PyPI.
REPOSITORY_URL ?= $(shell git remote get-url origin 2>/dev/null | \
  sed -nE 's,^(ssh://)?(https://|git@)([^/:@]+)[/:](.+)$$,https://\3/\4,; s,\.git$$,,; /^https:[^@]*$$/p')
# The authors' numbers, and a run that grows, is killed and resumed.
QUICK := tests/models/progan/test_networks_golden.py \
  tests/test_train.py::test_a_killed_run_continues_bit_for_bit

.DEFAULT_GOAL := help
.PHONY: help setup demo demo-stylegan quick test test-slow lint format docs build clean

help:  ## Shows this list.
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 22

setup: $(TOOLS)  ## Makes .venv and installs the project and its tools.

$(PACKAGE): setup.cfg pyproject.toml $(wildcard constraints/*.txt)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	  { echo "error: $(PYTHON) must be Python 3.11 or newer; set PYTHON=python3.12 or such" >&2; exit 2; }
	@echo "Making $(VENV) with Python $(VERSION), and installing the package (0.9 GB)"
	@$(PYTHON) -m venv --clear $(VENV)
	@$(INSTALL) --editable .
	@touch $@

$(TOOLS): $(PACKAGE)
	@echo "Installing the tools of tests, lint and docs into $(VENV) (0.8 GB more)"
	@$(INSTALL) --editable '.[dev]'
	@touch $@

demo: $(PACKAGE)  ## Trains Progressive GAN on handwritten digits, 4x4 to 32x32.
	$(BIN)/progan_jax --config=digits
	@echo "To type the other commands of README.md: source $(BIN)/activate"

demo-stylegan: $(PACKAGE)  ## Trains StyleGAN on them, 8x8 to 32x32.
	$(BIN)/progan_jax --config=stylegan_digits
	@echo "To type the other commands of README.md: source $(BIN)/activate"

quick: setup  ## Checks style, types, golden values and a run that is resumed; 90 s.
	@bash -euc 'time { $(BIN)/pyright --pythonpath $(BIN)/python & types=$$!; \
	  $(BIN)/ruff format --check .; $(BIN)/ruff check .; \
	  $(BIN)/python -m pytest --quiet $(QUICK); wait $$types; }'

test: setup  ## Runs all tests but the slow ones, or TESTS="tests/a.py tests/b.py".
	$(BIN)/python -m pytest --numprocesses=auto --dist=loadfile $(TESTS)

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
	@$(INSTALL) --editable '.[docs]'
	@REPOSITORY_URL=$(REPOSITORY_URL) NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

build: setup  ## Builds a wheel and an archive of the source in dist/, and checks them.
	rm -rf dist
	REPOSITORY_URL=$(REPOSITORY_URL) $(BIN)/python -m build
	$(BIN)/python -m twine check --strict dist/*

clean:  ## Removes what can be rebuilt; never a run.
	rm -rf .venv .venv-* .jax_cache build dist site *.egg-info .pytest_cache .ruff_cache .hypothesis
