# `make load` and `make test` do all of their own set-up; nothing is done twice when nothing changed.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
ARGS ?=
# Some images set it for everybody. Without bytecode each of our processes would compile a thousand files at its start.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: load test test-servers check suite setup up lint types contracts quick site docs bench campaign lock clean help

load: setup ## start the whole platform, run 100 users, print the verdict
	@$(BIN)/locust -f locustfiles/ws_ordering.py --headless $(ARGS)

test: setup ## lint, types, import contracts and every test
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/pytest -q -n 4 --dist loadfile --no-loadscope-reorder $(ARGS)

test-servers: setup ## the tests that need foreign servers of npm or Debian; says what is missing, and counts it as not run
	@$(BIN)/pytest -q -rs -m servers tests $(ARGS)

check: setup ## what to run before a commit: lint, types, contracts, docs, and the quick tests
	@$(MAKE) --no-print-directory -j2 lint types contracts site quick

suite: setup ## the ten functional scenarios on the real platform
	@$(BIN)/pytest pytest_suite -m critical --real-services $(ARGS)

setup: $(READY)

$(READY): requirements.lock requirements-uv.lock pyproject.toml $(wildcard harness/native/*.c harness/native/*.h)
	@echo "earwitness: setting up $(VENV) (once; about a minute) ..."
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(None if (3, 11) <= v < (3, 14) else f"earwitness needs Python 3.11, 3.12 or 3.13, but $(PYTHON) is {v[0]}.{v[1]}. Name another one: make PYTHON=python3.12 load")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements-uv.lock
	@UV_PYTHON_DOWNLOADS=never $(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --require-hashes -r requirements.lock
	@UV_PYTHON_DOWNLOADS=never $(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	@$(BIN)/python -m compileall -q checks harness locustfiles
	@$(BIN)/python -m earwitness.harness.report.warm
	@touch $(READY)

up: setup ## start the platform in the foreground and print its endpoints
	@$(BIN)/earwitness up

lint: setup ## ruff: rules, docstrings, format
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .

types: setup ## mypy --strict
	@$(BIN)/mypy

contracts: setup ## the rules of who imports whom
	@$(BIN)/lint-imports

quick: setup ## the tests that start no processes and are not slow
	@$(BIN)/pytest -q -n 2 --dist loadfile -m "not processes and not slow and not campaign and not servers" $(ARGS)

site: setup ## build docs/ into build/site as it is; a warning is an error
	@$(BIN)/zensical build --strict --clean

docs: setup ## write the generated pages and build docs/ into build/site; a warning is an error
	@$(BIN)/python -m earwitness.harness.evidence.pages
	@$(BIN)/zensical build --strict --clean

bench: setup ## the table of benchmarks (takes some minutes)
	@$(BIN)/python -m benchmarks

# `make campaign NAME`: the word behind it is the name of a campaign, and no target of its own.
ifeq (campaign,$(firstword $(MAKECMDGOALS)))
CAMPAIGN := $(wordlist 2,$(words $(MAKECMDGOALS)),$(MAKECMDGOALS))
.PHONY: $(CAMPAIGN)
$(CAMPAIGN): ; @:
endif

campaign: setup ## thousands of seeded trials: make campaign NAME [ARGS="…"]; without a name, what there is
	@nice -n 19 $(BIN)/python tests/support/campaigns.py $(CAMPAIGN) $(ARGS)

lock: setup ## resolve the dependencies anew, and the uv that installs them
	@echo uv | $(BIN)/uv pip compile --quiet --upgrade --universal --generate-hashes --no-annotate --custom-compile-command "make lock" - -o requirements-uv.lock
	@$(BIN)/uv pip compile --quiet --universal --generate-hashes --all-extras --no-strip-extras --no-annotate --custom-compile-command "make lock" pyproject.toml -o requirements.lock

clean: ## remove the environment, caches and runs
	@rm -rf $(VENV) runs build *.egg-info .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis

help:
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/'
