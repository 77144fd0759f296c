# make dev: everything set up and running, no account needed.  make quick: the fast tests, in under a minute.
# make test: everything checked.  All work on a machine that has only git, make and Python 3.11+ with venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Each test that starts a gateway would compile every module anew where Python is told to keep no bytecode.
export PYTHONDONTWRITEBYTECODE :=
PYTEST := $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadgroup

.PHONY: dev quick test lint types unit torture-postgres storm backfill seed reloads bench bench-peers findings pins docs pictures schemastore event-types stripe-objects dictionary generated fuzz attack-idle soak sbom audit dist pythons torture clean model simulate

dev: $(VENV)/.installed
	@$(BIN)/gateway dev

# The types are looked at beside the first tests.
test: $(VENV)/.installed-test lint
	@$(MAKE) --no-print-directory -j2 types unit

quick: $(VENV)/.installed-test
	$(PYTEST) -m quick tests/unit tests/contract

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed") if sys.version_info < (3, 11) else 0'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(BIN)/python requirements.txt pyproject.toml
	$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements.txt
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e .
	$(BIN)/python -m compileall -q gateway actions
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
	$(PYTEST)

# The faults of docs/reliability.md with ten times the load and the faults, on this machine alone. By hand: half an hour.
torture: $(VENV)/.installed-test
	TORTURE=10 $(BIN)/python -m pytest -s --durations=0 $(sort $(wildcard tests/acceptance/test_faults_*.py))

# Four gateways on one PostgreSQL, 10,000 events, kill -9, SIGSTOP and restarts of the database. By hand: some minutes.
torture-postgres: $(VENV)/.installed-test
	TORTURE_EVENTS=10000 $(BIN)/python -m pytest -s tests/acceptance/test_many_gateways.py

# Ten thousand reloads that leave nothing behind, and five minutes of reloads under load. By hand: takes 15 minutes.
reloads: $(VENV)/.installed-test
	GATEWAY_RELOADS=10000 $(BIN)/python -m pytest -s tests/integration/test_reload_leaks.py
	GATEWAY_RELOAD_SECONDS=300 $(BIN)/python -m pytest -s --timeout 900 tests/acceptance/test_reload.py -k under_load

# The coverage-guided fuzzer on each of its targets, and 100,000 idle connections one after another. By hand.
fuzz: $(VENV)/.installed-test
	for target in signature envelope yaml template; do $(BIN)/python -m tests.attacks.fuzz $$target 300 || exit 1; done

attack-idle: $(VENV)/.installed-test
	ulimit -n $$(ulimit -H -n) && ATTACK_IDLE=100000 ATTACK_BAD=50000 $(BIN)/python -m pytest -q -s tests/attacks/test_load.py

# Both stores beside the model of tests/model: a million steps. By hand: takes hours. STEPS and SEED choose others.
STEPS ?= 1000000
SEED ?= 1
model: $(VENV)/.installed-test
	$(BIN)/python -W ignore -m tests.model --steps $(STEPS) --seed $(SEED)

# Whole gateways in simulated time: ten thousand seeds, and every fault that is planted. By hand: an hour and a half.
SEEDS ?= 10000
simulate: $(VENV)/.installed-test
	$(BIN)/python -W ignore -m tests.simulate --seeds $(SEEDS)
	$(BIN)/python -W ignore -m tests.simulate.faults

# An hour at half of saturation with reloads, faults and purges; the plot of docs/reliability.md. By hand.
soak: $(VENV)/.installed-test
	$(BIN)/python -m bench.soak --svg docs/soak.svg

# Files made from the code: the editor's schema and docs/configuration.md. A test compares them.
generated: $(VENV)/.installed-test
	$(BIN)/python -m tests.docs.generated

# The docs as a site, in site/: nothing is fetched, and a dead link fails it.
docs: $(VENV)/.installed-test
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build

# The pictures of README and docs, from the program itself: after a change of the console or of what `gateway dev` prints.
pictures: $(VENV)/.installed-test
	$(BIN)/python -m tests.docs.pictures

# The schema, its entry and its samples as SchemaStore takes them, in dist/schemastore/.
schemastore: $(VENV)/.installed-test
	$(BIN)/python -m tests.docs.schemastore dist/schemastore

# tests/acceptance/test_out_of_order.py at its full size: every order of six events; 1,000 objects, 10 updates each, all
# sent twice.
storm: $(VENV)/.installed-test
	STORM_OBJECTS=1000 $(BIN)/python -m pytest -q -s -k 'storm or order' tests/acceptance/test_out_of_order.py

# tests/acceptance/test_missed_events.py at its full size: a backfill of 25,000 events that is killed twice, on each store.
backfill: $(VENV)/.installed-test
	BACKFILL_EVENTS=25000 $(BIN)/python -m pytest -q -s -o timeout=1800 --durations=0 tests/acceptance/test_missed_events.py

# A seed of 25,000 objects that is killed twice, and an audit of 10,000 rows of which 28 are wrong. By hand.
seed: $(VENV)/.installed-test
	SEED_OBJECTS=25000 $(BIN)/python -m pytest -q -s -o timeout=3600 --durations=0 tests/acceptance/test_seeded.py
	AUDIT_ROWS=10000 $(BIN)/python -m pytest -q -s -o timeout=3600 --durations=0 tests/integration/test_audit.py -k planted

# Figures for docs/performance.md and docs/compare.md. By hand: needs wrk, nginx, webhook (Debian packages), node, npm and
# 8 GB of disk for the large tables; takes 45 minutes.
bench: bench-peers
	$(BIN)/python -m bench.intake
	$(BIN)/python -m bench.intake_postgres
	$(BIN)/python -m bench.rejected
	$(BIN)/python -m bench.tracing
	$(BIN)/python -m bench.latency
	$(BIN)/python -m bench.offered_load --svg docs/offered-load.svg
	$(BIN)/python -m bench.table_size --svg docs/table-size.svg --plans
	$(BIN)/python -m bench.disk
	$(BIN)/python -m bench.idle
	$(BIN)/python -m bench.deliveries
	$(BIN)/python -m bench.memory
	$(BIN)/python -m bench.config_load
	$(BIN)/python -m bench.console
	$(BIN)/python -m bench.watched
	$(BIN)/python -m bench.fairness
	$(BIN)/python -m bench.finished_rows
	$(BIN)/python -m bench.sync_engine

bench-peers: $(VENV)/.installed-test
	cd bench/peers && npm install --no-audit --no-fund --no-package-lock
	$(BIN)/python -m pip install -q --disable-pip-version-check -r bench/requirements.txt

# What was found in others' software, seen again: findings/README.md. By hand: needs the network, takes some minutes.
findings:
	@status=0; for script in $(filter-out findings/common.sh,$(wildcard findings/*.sh)); do \
	    echo "== $$script"; bash $$script; case $$? in 0|77) ;; *) status=1 ;; esac; done; exit $$status

# Pins: names, versions and hashes only, never an index address.
pins:
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header pyproject.toml build.in -o requirements.txt
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --extra test pyproject.toml build.in -c requirements.txt -o requirements-test.txt

# The bill of materials (CycloneDX 1.6) of what a gateway is installed with, from the pins.
SBOM ?= dist/sbom.json
sbom: $(VENV)/.installed-test
	@mkdir -p $(dir $(SBOM))
	$(BIN)/python -W ignore::UserWarning -m cyclonedx_py requirements requirements.txt --pyproject pyproject.toml --sv 1.6 --of JSON --output-reproducible -o $(SBOM)

# Known vulnerabilities of the pinned packages, where pip-audit can reach its data.
audit: $(VENV)/.installed-test
	.ci/audit

# The wheel and the sdist.
dist: $(VENV)/.installed-test
	$(BIN)/python -m hatchling build -t wheel -t sdist -d dist

# The wheel in a clean environment of every Python that is here: starts, takes an event. By hand.
pythons: $(VENV)/.installed-test
	@for version in 3.11 3.12 3.13 3.14; do \
	    python=$$(command -v python$$version || ls -d $$HOME/.pyenv/versions/$$version.*/bin/python 2>/dev/null | tail -1); \
	    if [ -z "$$python" ]; then echo "Python $$version: not here"; continue; fi; \
	    said=$$(GATEWAY_TEST_PYTHON=$$python $(BIN)/python -m pytest -q tests/acceptance/test_package.py -k installed) \
	        && echo "Python $$version: works" || { echo "$$said"; echo "Python $$version: FAILED"; exit 1; }; \
	done

# The list of Stripe's event types, after an upgrade of the stripe library.
event-types: $(VENV)/.installed-test
	$(BIN)/python -m tests.unit.stripe.test_event_types

# Stripe's objects, after an upgrade of the stripe library.
stripe-objects: $(VENV)/.installed-test
	$(BIN)/python -m tests.docs.stripe_objects

# The dictionaries that stored bodies are compressed with: the next ones, trained on our samples. Older ones stay.
dictionary: $(VENV)/.installed-test
	$(BIN)/python -m tests.docs.dictionary

clean:
	rm -rf $(VENV) dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis
