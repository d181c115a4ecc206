# Two targets do everything on a fresh clone with Python 3.11 or later: `make check` and `make test`.
# PYTHON chooses the interpreter: make test PYTHON=python3.12
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: check test wheel-test bench lint types clean

check: $(VENV)/.installed
	$(BIN)/paritree check

test: $(VENV)/.installed-test
	$(BIN)/python -m pytest

# The suite against the built wheel, in an environment that has never seen the tree.
wheel-test:
	rm -rf dist $(VENV)-wheel
	$(PYTHON) -m venv $(VENV)-wheel
	$(VENV)-wheel/bin/python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir dist .
	$(VENV)-wheel/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt \
		"$$(echo dist/paritree-*.whl)[test]"
	$(VENV)-wheel/bin/python -m pytest

bench: $(VENV)/.installed
	$(BIN)/python -m benchmarks

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# Type checkers cannot follow the import hook of the default editable install, so this one is strict: real links.
types: $(VENV)/.installed-dev
	$(BIN)/pyright

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(BIN)/python pyproject.toml constraints.txt
	$(PIP_INSTALL) -e . --config-settings editable_mode=strict
	touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	$(PIP_INSTALL) -e ".[test]" --config-settings editable_mode=strict
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed-test
	$(PIP_INSTALL) -e ".[test,dev]" --config-settings editable_mode=strict
	touch $@

clean:
	rm -rf $(VENV) $(VENV)-wheel build dist *.egg-info
