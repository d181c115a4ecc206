# Two targets do everything on a fresh clone with Python 3.11 or later: `make check` and `make test`.
# PYTHON chooses the interpreter: make test PYTHON=python3.12
# JOBS is how many processes the suite runs in; each takes some 4 GB.
PYTHON ?= python3
JOBS ?= 2
VENV ?= .venv
# The versions: constraints.txt is what CI uses, constraints-newest.txt the newest releases that were tried.
CONSTRAINTS ?= constraints.txt
BIN := $(VENV)/bin
# What is left of a package that was built before would be put into the next one.
BUILT := build/lib build/bdist.* build/types
PIP_INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c $(CONSTRAINTS)

.PHONY: check check-devices test test-newest docs wheel-test mutants mutations clean-runs fuzz killed bench lint types clean

check: $(VENV)/.installed
	$(BIN)/paritree check

# The slowest tests are printed: what takes long shows before it is a habit.
test: $(VENV)/.installed-test
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal --durations=15 --durations-min=3

# The suite with the newest releases that were tried, in an environment of its own: docs/versions.md.
test-newest:
	$(MAKE) test VENV=.venv-newest CONSTRAINTS=constraints-newest.txt

# For a machine with an accelerator, in some minutes: models, ties, draws and precisions there. DEVICE chooses another.
DEVICE ?= cuda
check-devices: $(VENV)/.installed-test
	$(BIN)/python -m tests.devices --require-device $(DEVICE) --json build/devices.json

# The site, in build/docs. The study is run for it, which takes a minute or two; a warning is an error.
docs: $(VENV)/.installed-docs
	rm -rf build/docs build/doctrees
	$(BIN)/python -m sphinx -W --keep-going -q -d build/doctrees docs build/docs

# What the wheel can change, in an environment that has never seen the tree: its contents, its imports, its entry points
# (the command line and the plugin), its data (the report's template), and one file of tests for each room.
WHEEL_TESTS := tests/test_package.py tests/api tests/common/test_tables.py tests/wings/test_build.py \
	tests/pairs/maps/test_files.py tests/migration/test_carry.py tests/conformance/test_known_differences.py \
	tests/conformance/reports tests/study/test_source.py

wheel-test:
	rm -rf $(BUILT) dist $(VENV)-wheel
	$(PYTHON) -m venv $(VENV)-wheel
	$(VENV)-wheel/bin/python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir dist .
	$(VENV)-wheel/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt \
		"$$(echo dist/paritree-*.whl)[test]"
	$(VENV)-wheel/bin/python -m pytest -n $(JOBS) $(WHEEL_TESTS)

# Every planted fault against every contract: which are found, and what is said of them.
mutants: $(VENV)/.installed-test
	JOBS=$(JOBS) $(BIN)/python -m tests.conformance.mutants

# Two hundred small changes of the code that judges, drawn by SEED: nine in ten must be noticed by a test.
SEED ?= 0
mutations: $(VENV)/.installed-test
	JOBS=$(JOBS) $(BIN)/python -m tests.mutations --seed $(SEED)

# More than a thousand runs of pairs without a fault: a false alarm is an error.
clean-runs: $(VENV)/.installed-test
	$(BIN)/python -m tests.conformance.mutants.clean_runs

# Thousands of conversions that are killed or race: what they leave is old or new, and whole.
killed: $(VENV)/.installed-test
	$(BIN)/python -m tests.migration.convert.killed --kills 2000 --races 2000 --walk 1

# Ten minutes of coverage-guided fuzzing of all that reads a file; without atheris for this Python, of property tests.
SECONDS ?= 600
fuzz: $(VENV)/.installed-test
	$(PIP_INSTALL) -e ".[test,fuzz]" || echo "atheris cannot be installed here"
	$(BIN)/python -m tests.fuzzing --seconds $(SECONDS)

bench: $(VENV)/.installed
	$(BIN)/python -m benchmarks

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# Of the package as it installs: a type checker cannot follow the mapping of folders to packages in an editable install.
types: $(VENV)/.installed-dev
	rm -rf $(BUILT)
	$(PIP_INSTALL) --no-deps --target build/types .
	$(BIN)/pyright --pythonpath $(BIN)/python

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(BIN)/python pyproject.toml $(CONSTRAINTS)
	$(PIP_INSTALL) -e .
	touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	$(PIP_INSTALL) -e ".[test]"
	touch $@

$(VENV)/.installed-docs: $(VENV)/.installed
	$(PIP_INSTALL) -e ".[docs]"
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed-test
	$(PIP_INSTALL) -e ".[test,dev]"
	touch $@

clean:
	rm -rf $(VENV) $(VENV)-newest $(VENV)-wheel build dist *.egg-info
