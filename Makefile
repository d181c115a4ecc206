# Two targets do everything on a fresh clone with Python 3.11 or later: `make check` and `make test`.
# PYTHON chooses the interpreter: make test PYTHON=python3.12
# JOBS is how many processes the suite runs in; each takes some 4 GB.
PYTHON ?= python3
JOBS ?= 2
VENV ?= .venv
BIN := $(VENV)/bin
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: check test wheel-test mutants clean-runs bench lint types clean

check: $(VENV)/.installed
	$(BIN)/paritree check

test: $(VENV)/.installed-test
	$(BIN)/python -m pytest -n $(JOBS)

# The suite against the built wheel, in an environment that has never seen the tree.
wheel-test:
	rm -rf build dist $(VENV)-wheel
	$(PYTHON) -m venv $(VENV)-wheel
	$(VENV)-wheel/bin/python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir dist .
	$(VENV)-wheel/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt \
		"$$(echo dist/paritree-*.whl)[test]"
	$(VENV)-wheel/bin/python -m pytest -n $(JOBS)

# Every planted fault against every contract: which are found, and what is said of them.
mutants: $(VENV)/.installed-test
	JOBS=$(JOBS) $(BIN)/python -m tests.conformance.mutants

# More than a thousand runs of pairs without a fault: a false alarm is an error.
clean-runs: $(VENV)/.installed-test
	$(BIN)/python -m tests.conformance.mutants.clean_runs

bench: $(VENV)/.installed
	$(BIN)/python -m benchmarks

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# Of the package as it installs: a type checker cannot follow the mapping of folders to packages in an editable install.
types: $(VENV)/.installed-dev
	rm -rf build
	$(PIP_INSTALL) --no-deps --target build/types .
	$(BIN)/pyright --pythonpath $(BIN)/python

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(BIN)/python pyproject.toml constraints.txt
	$(PIP_INSTALL) -e .
	touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	$(PIP_INSTALL) -e ".[test]"
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed-test
	$(PIP_INSTALL) -e ".[test,dev]"
	touch $@

clean:
	rm -rf $(VENV) $(VENV)-wheel build dist *.egg-info
