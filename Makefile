# Everything a fresh machine needs, in one folder: Python 3.11 or newer and make are enough to begin with.
# Written for GNU make 3.81 too, which is what macOS ships.

SHELL  := /bin/sh
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.ready
# Four for the two cores that the five-minute promise is made for: many a test waits for a server or a process.
WORKERS ?= 4
# Compiled once and not by every worker, also where the environment says otherwise.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
# The checks run in the order they are named, cheapest first, whatever -j says.
.NOTPARALLEL:
.PHONY: help setup demo test lint migrations-check compiled pytest bench format roles lock clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-17s %s\n", $$1, $$2}' Makefile

setup: $(STAMP) ## create .venv and install what requirements.lock names (the other targets do it by themselves)

# Made once, and again when the lock or the project's own description changes. Of the Pythons on PATH the first that
# is new enough and can make a virtual environment is taken; `make setup PYTHON=/path/to/python` overrules that.
$(STAMP): requirements.lock pyproject.toml
	@if ! $(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 \
	    || ! $(BIN)/python -m pip --version >/dev/null 2>&1; then \
	  found=; lacking=; \
	  for candidate in $(PYTHON) python3.13 python3.12 python3.11 python3; do \
	    "$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 || continue; \
	    if "$$candidate" -c 'import ensurepip, venv' >/dev/null 2>&1; then found=$$candidate; break; fi; \
	    [ -n "$$lacking" ] || lacking=$$candidate; \
	  done; \
	  if [ -z "$$found" ] && [ -n "$$lacking" ]; then \
	    version=$$("$$lacking" -c 'import sys; print("%d.%d" % sys.version_info[:2])'); \
	    echo "$$lacking cannot make a virtual environment: run \`sudo apt install python$$version-venv\` and try again." >&2; exit 1; \
	  fi; \
	  if [ -z "$$found" ]; then \
	    echo "Python 3.11 or newer is needed and none is on PATH: install it, or run \`make PYTHON=/path/to/python\`." >&2; exit 1; \
	  fi; \
	  echo "Setting up $(VENV) with $$("$$found" --version); the first time takes a minute or two."; \
	  "$$found" -m venv --clear $(VENV); \
	else \
	  echo "Bringing $(VENV) up to date."; \
	fi
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps -e .
	@touch $(STAMP)

demo: $(STAMP) ## a sample company on this machine, in the browser; nothing else is needed
	@$(BIN)/nhi demo

# mypy keeps one core busy for long; meanwhile the other checks the migrations and compiles the tests for all workers.
test: $(STAMP) ## everything that must hold before a change is done
	@said=$$(mktemp "$${TMPDIR:-/tmp}/nhi-XXXXXX") && trap 'rm -f "$$said"' EXIT && \
	  { $(MAKE) -s migrations-check compiled >"$$said" 2>&1 & } && other=$$! && \
	  { $(MAKE) -s lint; linted=$$?; wait $$other; others=$$?; cat "$$said"; [ $$linted -eq 0 ] && [ $$others -eq 0 ]; }
	@$(MAKE) -s pytest

lint: $(STAMP) ## format, lint, types, and who may import whom
	@echo "== ruff format --check"; $(BIN)/ruff format --check --quiet || { echo "Some files are not formatted: run \`make format\`." >&2; exit 1; }
	@echo "== ruff check"; $(BIN)/ruff check
	@echo "== mypy"; $(BIN)/mypy
	@echo "== import-linter"; $(BIN)/lint-imports --no-logo

migrations-check: $(STAMP) ## up from empty, no drift from the tables, one down, up again, on a throw-away database
	@echo "== alembic"; folder=$$(mktemp -d "$${TMPDIR:-/tmp}/nhi-XXXXXX") && trap 'rm -rf "$$folder"' EXIT && \
	  DATABASE_URL="sqlite:///$$folder/check.db" && export DATABASE_URL && \
	  for step in "upgrade head" check "downgrade -1" "upgrade head"; do \
	    echo "alembic $$step"; $(BIN)/alembic $$step || exit 1; \
	  done

compiled: $(STAMP)
	@$(BIN)/python -m pytest --collect-only -q >/dev/null

pytest: $(STAMP) ## only the tests; `make pytest ARGS="-k word"` passes arguments on
	@echo "== pytest"; $(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS)

bench: $(STAMP) ## every tests/bench_*.py, one after the other; docs/benchmarks.md says what the figures mean
	@missed=; for script in tests/bench_*.py; do \
	  echo "== $$script"; PYTHONPATH=. $(BIN)/python "$$script" || missed="$$missed $$script"; \
	done; \
	if [ -n "$$missed" ]; then echo "A target is missed in:$$missed" >&2; exit 1; fi

format: $(STAMP) ## let ruff set the code and put right what it safely can
	@$(BIN)/ruff check --fix-only --quiet; $(BIN)/ruff format

roles: $(STAMP) ## write docs/aws-roles.* anew from the permissions declared beside the code
	@$(BIN)/python -m nhi.providers.aws.role_documents

# Pins stay as they are unless pyproject.toml asks for others; `make lock UPGRADE=--upgrade` takes the newest.
# The header names this command, and neither lock names an index, so both read the same wherever they were made.
lock: $(STAMP) ## write requirements.lock and requirements-prod.lock from pyproject.toml
	@export UV_CUSTOM_COMPILE_COMMAND="make lock"; \
	  compile="$(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes \
	    --no-emit-index-url --no-emit-find-links --quiet" && \
	  $$compile --all-extras $(UPGRADE) --output-file requirements.lock && \
	  $$compile --constraints requirements.lock --upgrade --output-file requirements-prod.lock

clean: ## remove .venv and everything that tools left behind
	@rm -rf $(VENV) build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
