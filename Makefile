# Everything a newcomer types. `make` alone lists it.

SHELL := /bin/sh
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
MUTATION := .venv-mutation
# The oldest Python that is supported, and the names under which a newer one may hide.
PYTHONS := python3 python3.14 python3.13 python3.12 python3.11
RING_UNIT := tests/property tests/contract tests/unit
RING_INTEGRATION := tests/chaos tests/integration
COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-header --no-annotate

# Debian's Chromium, brought once where that is possible; CHROMIUM names another one. In CI its absence is a failure.
FIND_CHROMIUM = if [ -z "$$CHROMIUM" ] && ! command -v chromium >/dev/null && ! command -v chromium-browser >/dev/null && \
			[ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		(apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium) >/dev/null 2>&1; \
	fi;

# For two cores. Tests that mostly wait for a broker and a database leave some of them to others.
PROCESSES = 2
WAITING_PROCESSES = 3
# A test goes to whichever process is free; what must stay together does (tests/conftest.py).
PARALLEL = --numprocesses $(WAITING_PROCESSES) --dist loadscope --durations 12

.DEFAULT_GOAL := help
.PHONY: help install demo test unit system integration acceptance browser screenshots lint format bench schemas mutants lock clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z%-]+:.*## / { printf "  make %-17s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(INSTALLED) ## the environment in .venv, exact and hashed (seconds; again: nothing to do)

demo: $(INSTALLED) ## settle some hundred orders on a real broker and a real database, and show it
	@$(BIN)/settlement demo

test: lint unit system ## everything that must be green before a merge
	@$(BIN)/python -m tests.acceptance.harness

unit: $(INSTALLED) ## everything that needs neither broker nor database: the rules above all, a minute
	$(BIN)/pytest --numprocesses $(PROCESSES) --dist worksteal $(RING_UNIT)

acceptance: $(INSTALLED) ## the whole program, seen from outside
	$(BIN)/pytest tests/acceptance

system: $(INSTALLED) ## acceptance, browser and integration in one run, so that no process waits for the end of another
	@$(FIND_CHROMIUM) $(BIN)/pytest $(PARALLEL) tests/acceptance tests/browser $(RING_INTEGRATION)

integration: $(INSTALLED) ## every part on the real broker and the real database
	$(BIN)/pytest $(PARALLEL) $(RING_INTEGRATION)

browser: $(INSTALLED) ## the pages of the ops view in a real Chromium, as people use them
	@$(FIND_CHROMIUM) $(BIN)/pytest tests/browser

screenshots: $(INSTALLED) ## the pages as pictures in docs/screenshots, from a deployment at work
	@$(FIND_CHROMIUM) $(BIN)/python -m tests.browser.screenshots

lint: $(INSTALLED) ## style, types and the walls between the rooms
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

format: $(INSTALLED) ## put the code into the common form
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(INSTALLED) ## throughput against a ceiling and a plain version, measured in one run
	$(BIN)/python -m tests.bench $(WRITE)

bench-%: $(INSTALLED) ## one part: rules, ledger, profile, command, memory, scaling, growth, delivery, waiting, latency, bulkhead, kills, outage, ops
	$(BIN)/python -m tests.bench $* $(WRITE) $(OPTIONS)

schemas: $(INSTALLED) ## the messages as one page to read, build/schemas.html
	@$(BIN)/python schemas/page.py build/schemas.html

mutants: $(MUTATION)/.installed ## change the rules in six thousand ways, one by one: do their tests notice? (long; docs/mutants.md)
	@rm -f mutants/mutmut-stats.json # which tests reach which function is found out anew
	PATH="$(CURDIR)/$(MUTATION)/bin:$$PATH" $(MUTATION)/bin/python tests/mutation/run.py run $(ONLY)
	@$(MUTATION)/bin/python tests/mutation/run.py results

lock: $(INSTALLED) ## renew every pinned version and hash, of Python packages and of the broker's jars
	echo uv | $(COMPILE) --upgrade - -o requirements/uv.txt
	$(COMPILE) --upgrade --extra dev pyproject.toml -o requirements/dev.txt
	$(COMPILE) --upgrade --extra local --extra ops --constraint requirements/dev.txt \
		pyproject.toml -o requirements/plain.txt
	$(COMPILE) --upgrade --extra build --extra ops --extra traces --constraint requirements/dev.txt \
		pyproject.toml -o requirements/image.txt
	$(COMPILE) --upgrade --group mutation -o requirements/mutation.txt
	$(BIN)/python -m worker.stack.lock

clean: ## remove the environment and every cache in this folder (data of `settlement stack` stays)
	rm -rf $(VENV) $(MUTATION) mutants build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(MUTATION)/.installed: $(INSTALLED) requirements/mutation.txt
	@index="$${UV_DEFAULT_INDEX:-$${PIP_INDEX_URL:-$$($(BIN)/pip config get global.index-url 2>/dev/null || true)}}"; \
	if [ -n "$$index" ]; then export UV_DEFAULT_INDEX="$$index"; fi; \
	export UV_SYSTEM_CERTS=1 VIRTUAL_ENV="$(CURDIR)/$(MUTATION)"; \
	$(BIN)/uv venv --quiet --allow-existing --python $(BIN)/python $(MUTATION) && \
	$(BIN)/uv pip sync --quiet --require-hashes requirements/mutation.txt
	@touch $@

# uv brings the packages in seconds; pip brings uv. The index and its mirror are whatever this
# machine's pip is told to use. `sync` also removes what an older requirement file had brought. Where Python may
# not keep what it compiles, it is compiled once here, ours included, so that commands start in half the time.
$(INSTALLED): requirements/uv.txt requirements/dev.txt pyproject.toml
	@python= ; \
	for name in $(PYTHONS); do \
		if $$name -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then python=$$name; break; fi; \
	done; \
	if [ -z "$$python" ]; then \
		echo "No Python 3.11 or later was found; install one, for example with: apt-get install python3" >&2; exit 1; \
	fi; \
	if [ ! -x $(BIN)/pip ] && ! $$python -c 'import ensurepip' 2>/dev/null; then \
		package=$$($$python -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])'); \
		echo "$$python cannot make environments; the command that helps: apt-get install $$package" >&2; \
		[ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -qq && apt-get install -y -qq $$package >&2 \
			|| exit 1; \
	fi; \
	[ -x $(BIN)/pip ] || $$python -m venv --clear $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
	@index="$${UV_DEFAULT_INDEX:-$${PIP_INDEX_URL:-$$($(BIN)/pip config get global.index-url 2>/dev/null || true)}}"; \
	if [ -n "$$index" ]; then export UV_DEFAULT_INDEX="$$index"; fi; \
	export UV_SYSTEM_CERTS=1 VIRTUAL_ENV="$(CURDIR)/$(VENV)"; \
	$(BIN)/uv pip sync --quiet $${PYTHONDONTWRITEBYTECODE:+--compile-bytecode} --require-hashes requirements/dev.txt requirements/uv.txt && \
	$(BIN)/uv pip install --quiet --no-deps --no-build-isolation --editable .
	@[ -z "$$PYTHONDONTWRITEBYTECODE" ] || $(BIN)/python -m compileall -q worker
	@touch $@
