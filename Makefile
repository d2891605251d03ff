# The commands of a developer; `make` without a target lists them.

SHELL := /bin/sh
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
MUTATION := .venv-mutation
# Names of Python, tried in this sequence; the oldest supported version is 3.11.
PYTHONS := python3 python3.14 python3.13 python3.12 python3.11
RING_UNIT := tests/property tests/contract tests/unit
RING_INTEGRATION := tests/chaos tests/integration
COMPILE := $(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-header --no-annotate

# uv does not read pip's configuration: this passes pip's index (or mirror) on to it. The index is written to no file.
SHARE_PIPS_INDEX = index="$${UV_DEFAULT_INDEX:-$$PIP_INDEX_URL}"; \
	index="$${index:-$$($(BIN)/pip config get global.index-url 2>/dev/null || true)}"; \
	if [ -n "$$index" ]; then export UV_DEFAULT_INDEX="$$index"; fi; \
	export UV_SYSTEM_CERTS=1;

# Installs Chromium where there is none, as root on Debian; otherwise the browser tests are skipped, and fail in CI.
INSTALL_CHROMIUM = if [ -z "$$CHROMIUM" ] && ! command -v chromium >/dev/null && ! command -v chromium-browser >/dev/null && \
			[ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		echo "Installing Debian's package chromium for the browser tests (the variable CHROMIUM names another browser)."; \
		output=$$( (apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium) 2>&1 ) \
			|| echo "chromium could not be installed: $$output" >&2; \
	fi;

# For two cores. Tests that mostly wait for a broker and a database leave processor time for one more process.
PROCESSES = 2
WAITING_PROCESSES = 3
MINUTES = 10
# A test runs in whichever process is free; tests that must stay together run in one (tests/conftest.py).
PARALLEL = --numprocesses $(WAITING_PROCESSES) --dist loadscope --durations 12

.DEFAULT_GOAL := help
.PHONY: help install demo test unit system integration acceptance browser screenshots lint format bench soak schemas mutants lock clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z%-]+:.*## / { printf "  make %-17s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(INSTALLED) ## create the environment in .venv, with pinned and hashed packages (does nothing the second time)

demo: $(INSTALLED) ## settle 300 orders on a real broker and a real database, and show the result
	@$(BIN)/settlement demo

test: lint unit system ## everything that must be green before a merge
	@$(BIN)/python -m tests.acceptance.harness

unit: $(INSTALLED) ## tests that need neither broker nor database, above all those of the rules (a minute)
	$(BIN)/pytest --numprocesses $(PROCESSES) --dist worksteal $(RING_UNIT)

acceptance: $(INSTALLED) ## test the whole program from outside
	$(BIN)/pytest tests/acceptance

system: $(INSTALLED) ## acceptance, browser and integration in one run, so that no process waits for another ring
	@$(INSTALL_CHROMIUM) $(BIN)/pytest $(PARALLEL) tests/acceptance tests/browser $(RING_INTEGRATION)

integration: $(INSTALLED) ## test each part on a real broker and a real database
	$(BIN)/pytest $(PARALLEL) $(RING_INTEGRATION)

browser: $(INSTALLED) ## test the pages of the ops view in a real Chromium
	@$(INSTALL_CHROMIUM) $(BIN)/pytest tests/browser

screenshots: $(INSTALLED) ## write pictures of the pages of a running deployment to docs/screenshots
	@$(INSTALL_CHROMIUM) $(BIN)/python -m tests.browser.screenshots

lint: $(INSTALLED) ## check style, types and the imports between packages
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

format: $(INSTALLED) ## fix style and format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(INSTALLED) ## measure throughput, compared with an upper bound and a naive version
	$(BIN)/python -m tests.bench $(WRITE)

bench-%: $(INSTALLED) ## one benchmark: rules, ledger, profile, command, memory, scaling, growth, delivery, waiting, latency, bulkhead, kills, outage, ops
	$(BIN)/python -m tests.bench $* $(WRITE) $(OPTIONS)

soak: $(INSTALLED) ## work under random kills, freezes and decisions, then check all books (MINUTES=60 for an hour)
	$(BIN)/python -m tests.soak --minutes $(MINUTES) $(OPTIONS)

schemas: $(INSTALLED) ## write the documentation of all messages to build/schemas.html
	@$(BIN)/python schemas/page.py build/schemas.html

mutants: $(MUTATION)/.installed ## test the tests: apply 6,000 changes to the rules, one by one (long; docs/mutants.md)
	@rm -f mutants/mutmut-stats.json # so that mutmut measures again which tests reach which function
	PATH="$(CURDIR)/$(MUTATION)/bin:$$PATH" $(MUTATION)/bin/python tests/mutation/run.py run $(ONLY)
	@$(MUTATION)/bin/python tests/mutation/run.py results

lock: $(INSTALLED) ## renew every pinned version and hash, of Python packages and of the broker's jars
	@$(SHARE_PIPS_INDEX) set -ex; \
	echo uv | $(COMPILE) - -o requirements/uv.txt; \
	$(COMPILE) --extra dev pyproject.toml -o requirements/dev.txt; \
	echo hatchling | $(COMPILE) --constraint requirements/dev.txt - -o requirements/build.txt; \
	$(COMPILE) --extra ops --extra traces --constraint requirements/dev.txt pyproject.toml -o requirements/image.txt; \
	$(COMPILE) --group mutation -o requirements/mutation.txt
	$(BIN)/python -m worker.stack.lock

clean: ## remove the environment and every cache in this folder (data of `settlement stack` stays)
	rm -rf $(VENV) $(MUTATION) mutants build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(MUTATION)/.installed: $(INSTALLED) requirements/mutation.txt
	@$(SHARE_PIPS_INDEX) export VIRTUAL_ENV="$(CURDIR)/$(MUTATION)"; \
	$(BIN)/uv venv --quiet --allow-existing --python $(BIN)/python $(MUTATION) && \
	$(BIN)/uv pip sync --quiet --require-hashes requirements/mutation.txt
	@touch $@

# pip installs uv, and uv installs the packages in seconds. `uv pip sync` also removes packages that are not required.
# Where PYTHONDONTWRITEBYTECODE is set, everything is compiled once here, so that commands start in half the time.
$(INSTALLED): requirements/uv.txt requirements/dev.txt pyproject.toml
	@echo "Installing the pinned packages into $(VENV): a minute or two, the first time." >&2
	@python= ; \
	for name in $(PYTHONS); do \
		if $$name -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then python=$$name; break; fi; \
	done; \
	if [ -z "$$python" ]; then \
		echo "Python 3.11 or later was not found; install it, for example with: apt-get install python3" >&2; exit 1; \
	fi; \
	if [ ! -x $(BIN)/pip ] && ! $$python -c 'import ensurepip' 2>/dev/null; then \
		package=$$($$python -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])'); \
		echo "$$python cannot create virtual environments without the package $$package: apt-get install $$package" >&2; \
		[ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -qq && apt-get install -y -qq $$package >&2 \
			|| exit 1; \
	fi; \
	[ -x $(BIN)/pip ] || $$python -m venv --clear $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
	@$(SHARE_PIPS_INDEX) export VIRTUAL_ENV="$(CURDIR)/$(VENV)"; \
	$(BIN)/uv pip sync --quiet $${PYTHONDONTWRITEBYTECODE:+--compile-bytecode} --require-hashes requirements/dev.txt requirements/uv.txt && \
	$(BIN)/uv pip install --quiet --no-deps --no-build-isolation --editable .
	@[ -z "$$PYTHONDONTWRITEBYTECODE" ] || $(BIN)/python -m compileall -q worker
	@touch $@
