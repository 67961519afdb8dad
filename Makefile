# make run: set up and start everything on this machine.  make test: set up and run the whole suite (T=tests/app: a part
# of it).  make bench, lint, audit, test-all, clean: see below.

PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { command -v "$$p"; break; }; done)
VENV := .venv
IN := $(VENV)/bin
hash = $(shell cat $(1) | cksum | cut -d ' ' -f 1)
READY := $(VENV)/.ready-$(call hash,requirements.txt)
TESTABLE := $(VENV)/.testable-$(call hash,requirements.txt tests/requirements.txt)
PEERS := .venv-bench/.ready-$(call hash,bench/requirements.txt)
PIP := $(IN)/python -m pip --disable-pip-version-check -qq

.PHONY: run setup test test-all bench lint audit clean

run: $(READY)
	@exec $(IN)/python main.py serve

setup: $(READY)

test: $(TESTABLE) browser
	@$(IN)/python -m pytest -m "not nightly" $(T)

test-all: $(TESTABLE) browser
	@$(IN)/python -m pytest

# ARGS=--quick for two minutes; see bench/README.md
bench: $(TESTABLE) $(PEERS)
	@$(IN)/python -m bench $(ARGS)

lint: $(TESTABLE)
	@$(IN)/ruff check . && $(IN)/ruff format --check . && $(IN)/mypy && $(IN)/lint-imports --config .importlinter

# known weaknesses of the pinned packages; SIGNALBOX_ADVISORIES=folder asks no network
audit: $(TESTABLE)
	@$(IN)/python .ci/audit.py requirements.txt

clean:
	rm -rf $(VENV) .venv-bench .bench-node .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# ---- set-up ---------------------------------------------------------------------------------------------------------
$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "Signalbox needs Python 3.11 or newer; install it or say where it is: make PYTHON=..."; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { echo "No virtual environment could be made. On Debian: apt-get install python3-venv"; exit 1; }

# durable-rules is C source only. From Python 3.13 on it needs the name of a function that was removed; where it cannot
# be built at all, the product runs on the Python matcher, which gives the same answers.
$(READY): | $(VENV)/bin/python
	@echo "Setting up (once): Python packages ..."
	@flag=$$($(IN)/python -c 'import sys; print("-DPyEval_CallObject=PyObject_CallObject" if sys.version_info >= (3, 13) else "")'); \
	grep -v '^durable_rules' requirements.txt > $(VENV)/most.txt; \
	$(PIP) install -r $(VENV)/most.txt || { echo "The packages could not be installed; see above."; exit 1; }; \
	CPPFLAGS="$$CPPFLAGS $$flag" $(PIP) install -r requirements.txt > $(VENV)/durable-rules.log 2>&1 \
		&& $(IN)/python -c 'import durable_rules_engine' 2>> $(VENV)/durable-rules.log \
		|| echo "durable-rules could not be built here (needs a C compiler; $(VENV)/durable-rules.log), so rules run on the Python matcher."
	@rm -f $(VENV)/.ready-* && touch $@

$(TESTABLE): $(READY)
	@echo "Setting up (once): test packages ..."
	@grep -v '^-r' tests/requirements.txt > $(VENV)/tests.txt && $(PIP) install -c requirements.txt -r $(VENV)/tests.txt
	@rm -f $(VENV)/.testable-* && touch $@

# What the benchmark compares with. What cannot be had is left out, and the run says so.
$(PEERS): | $(VENV)/bin/python
	@echo "Setting up (once): the benchmark's peers ..."
	@$(IN)/python -m venv .venv-bench
	@.venv-bench/bin/python -m pip --disable-pip-version-check --quiet install -r bench/requirements.txt
	@if command -v npm > /dev/null; then \
		npm install --prefix .bench-node --no-audit --no-fund --silent node-red@4 json-rules-engine@7 > .venv-bench/npm.log 2>&1 \
			|| echo "Node-RED and json-rules-engine could not be installed (.venv-bench/npm.log); they are left out."; fi
	@if ! command -v wrk > /dev/null && [ "$$(id -u)" = 0 ] && command -v apt-get > /dev/null; then \
		{ apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq wrk; } > /dev/null 2>&1 || true; fi
	@rm -f .venv-bench/.ready-* && touch $@

.PHONY: browser
browser:
	@if command -v chromium chromium-browser google-chrome > /dev/null; then :; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get > /dev/null; then \
		echo "Setting up (once): Debian's chromium ..."; \
		{ apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium; } > /dev/null 2>&1 \
			|| echo "chromium could not be installed; browser tests are skipped. Have them with: apt-get install chromium"; \
	else echo "Browser tests are skipped: no Chromium. Have them with: sudo apt-get install chromium"; fi
