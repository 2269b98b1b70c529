# Everything a fresh machine needs is Python 3.11 or newer, git and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready

.PHONY: sandbox test quick check bench requirements clean

sandbox: $(READY)  ## Try it: the real bot against a pretend Slack and a pretend Microsoft 365, in a web page
	$(BIN)/latchkey sandbox $(ARGS)

test: $(READY)  ## Everything: all tests, then lint and types
	$(BIN)/pytest -n auto --dist loadfile $(ARGS)
	$(MAKE) --no-print-directory check

quick: $(READY)  ## The tests that take no time
	$(BIN)/pytest -n auto -m "not slow" $(ARGS)

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(READY)  ## Ratios against floors measured in the same run
	$(BIN)/python -m tests.benchmarks $(ARGS)

$(READY): requirements-dev.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $(READY)

requirements:  ## Pin anew: needs pip-tools on the path and a package index
	pip-compile --quiet --generate-hashes --allow-unsafe --strip-extras --no-header --no-emit-index-url \
		--no-emit-trusted-host --no-emit-find-links --output-file requirements.txt pyproject.toml
	pip-compile --quiet --generate-hashes --allow-unsafe --strip-extras --no-header --no-emit-index-url \
		--no-emit-trusted-host --no-emit-find-links --extra dev --output-file requirements-dev.txt pyproject.toml

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
