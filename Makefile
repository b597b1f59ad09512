# Two commands do everything on a fresh machine: `make run` and `make test`. They need python3 (3.11 or newer) and nothing
# else: the virtual environment .venv/ is made here from requirements/dev.lock and made again only when that or
# pyproject.toml changes. The lock names every package, so pip resolves nothing (--no-deps): old pips answer an extra such
# as pydantic[email] with the newest release, which the lock does not have. On Debian as root, missing system packages are
# installed (scripts/system-packages).
export PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
# One more than two processors: some tests wait for processes, restarts and schedules, and others work meanwhile.
JOBS ?= 3
# Some hundred processes are started by the tests. Each would compile every module anew where this is set, as in many images.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup run test test-fast lint bench soak fuzz lock

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1	/p' Makefile

setup: $(READY) ## make .venv/

$(READY): requirements/dev.lock pyproject.toml
	@sh scripts/system-packages setup
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --no-deps --require-hashes -r requirements/dev.lock
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --no-deps --no-build-isolation -e .
	@touch $@

run: $(READY) ## start syncd on SQLite with the sample directory
	@exec $(BIN)/python -m syncd.quickstart

test: $(READY) ## every test; those that need a server name it when they skip
	@sh scripts/system-packages test
	$(BIN)/python -m pytest -n $(JOBS) $(ARGS)

test-fast: $(READY) ## unit and property tests, no servers: under a minute
	$(BIN)/python -m pytest -n $(JOBS) --hypothesis-profile=fast -m "not server" tests/unit tests/property tests/test_imports.py $(ARGS)

lint: $(READY) ## ruff, mypy --strict, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(READY) ## measure; writes figures, judges nothing
	@sh scripts/system-packages bench
	$(BIN)/python -m bench $(ARGS)

MINUTES ?= 30
KILLS ?= 500
soak: $(READY) ## the daemon under load for MINUTES=30, KILLS=500 of runs, property tests for long; PART=load, kill or property
	cd tests && ../$(BIN)/python -m soak --minutes $(MINUTES) --kills $(KILLS) $(PART) $(ARGS)

FUZZED := tests/unit/ldap tests/unit/core/test_resource.py tests/property/test_parsers_any_text.py \
	tests/property/test_patch.py tests/property/test_patch_model.py tests/property/test_settings_any_text.py \
	tests/property/test_filter_sql.py tests/contract/scim/test_odd_requests.py \
	tests/contract/scim/test_wire.py tests/property/test_shown_holds.py tests/contract/api/test_any_request.py
FUZZ_REQUESTS ?= 200000
FUZZ_SEED ?= $$(date +%s)
fuzz: $(READY) ## parsers with thousands of odd inputs and SCIM with 200,000 odd requests, new ones each time
	FUZZ_REQUESTS=$(FUZZ_REQUESTS) FUZZ_SEED=$(FUZZ_SEED) $(BIN)/python -m pytest -n $(JOBS) --hypothesis-profile=soak $(FUZZED) $(ARGS)

# Needs uv on the machine. No index address goes into a lock, so that it installs from any mirror.
UV_LOCK = uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header
lock: ## resolve the dependencies anew (UPGRADE=--upgrade for newer versions)
	$(UV_LOCK) $(UPGRADE) pyproject.toml -o requirements/run.lock
	$(UV_LOCK) $(UPGRADE) pyproject.toml --group dev -c requirements/run.lock -o requirements/dev.lock
	$(UV_LOCK) $(UPGRADE) requirements/peers.in -o requirements/peers.lock
