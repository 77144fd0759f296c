# make dev: everything set up and running, no account needed.  make test: everything checked.
# Both work on a machine that has only git, make and Python 3.11+ with venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: dev test lint types unit bench bench-peers pins clean

dev: $(VENV)/.installed
	@$(BIN)/gateway dev

test: $(VENV)/.installed-test lint types unit

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed") if sys.version_info < (3, 11) else 0'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(BIN)/python requirements.txt pyproject.toml
	$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements.txt
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.installed-test: $(VENV)/.installed requirements-test.txt
	$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements-test.txt
	@touch $@

lint:
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types:
	$(BIN)/mypy

unit:
	$(BIN)/python -m pytest -n 2 --dist loadgroup

# Figures for docs/performance.md. By hand: needs wrk, nginx, webhook (Debian packages), node and npm; takes 20 minutes.
bench: bench-peers
	$(BIN)/python -m bench.intake
	$(BIN)/python -m bench.latency
	$(BIN)/python -m bench.deliveries
	$(BIN)/python -m bench.memory
	$(BIN)/python -m bench.console

bench-peers: $(VENV)/.installed-test
	cd bench/peers && npm install --no-audit --no-fund --no-package-lock
	$(BIN)/python -m pip install -q --disable-pip-version-check -r bench/requirements.txt

# Pins: names, versions and hashes only, never an index address.
pins:
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header pyproject.toml build.in -o requirements.txt
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --extra test pyproject.toml build.in -c requirements.txt -o requirements-test.txt

clean:
	rm -rf $(VENV) dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis
