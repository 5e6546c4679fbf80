# `make help` lists the targets. PIP_* settings of the environment are left alone.
PYTHON ?= python3
ARGS ?=
BIN := .venv/bin

export PYTHONUTF8 := 1
export PIP_ROOT_USER_ACTION ?= ignore
export PIP_DISABLE_PIP_VERSION_CHECK ?= 1

.DEFAULT_GOAL := help
.PHONY: help install install-dev demo test check bench faults lock

help:  ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' Makefile | \
	  while IFS='|' read -r target text; do printf '%-20s %s\n' "$$target" "$$text"; done

# Usage: $(call into_venv,LOCK). The stamp of a lock holds the digest of all that the installation
# was made from, so an unchanged lock costs no call of pip.
define into_venv
@set -eu; lock=$(1); stamp=".venv/.$$lock.stamp"; \
if [ -x $(BIN)/python ]; then python=$(BIN)/python; else python=$(PYTHON); fi; \
digest() { "$$python" -c 'import hashlib, os, sys; print(hashlib.sha256(b"".join(open(f, "rb").read() for f in sys.argv[1:]) + os.getcwd().encode() + sys.version.encode()).hexdigest())' "$$1" pyproject.toml; }; \
if [ -x $(BIN)/zhuxue ] && [ -f "$$stamp" ] && [ "$$(cat "$$stamp")" = "$$(digest "$$lock")" ]; then exit 0; fi; \
if [ ! -x $(BIN)/python ] || ! $(BIN)/python -c 'import pip' 2>/dev/null; then \
  $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
    echo 'Zhuxue needs Python 3.11 or newer; name it with: make PYTHON=python3.12 ...' >&2; exit 1; }; \
  $(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
    echo 'This Python cannot make a virtual environment (ensurepip is missing).' >&2; \
    echo 'On Debian and Ubuntu: sudo apt-get install python3-venv, then run make again.' >&2; exit 1; }; \
  $(PYTHON) -m venv --clear .venv; python=$(BIN)/python; \
fi; \
echo "Installing from $$lock ..."; \
$(BIN)/python -m pip install --quiet --require-hashes -r "$$lock"; \
$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --force-reinstall -e .; \
rm -f .venv/.*.stamp; digest "$$lock" > "$$stamp"; \
if [ "$$lock" = requirements-dev.lock ]; then digest requirements.lock > .venv/.requirements.lock.stamp; fi
endef

install:  ## make .venv from requirements.lock (skipped while the lock is unchanged)
	$(call into_venv,requirements.lock)

install-dev:  ## the same with what tests and checks need
	$(call into_venv,requirements-dev.lock)

demo: install  ## build the demo city once and serve it on this machine
	@$(BIN)/zhuxue demo $(ARGS)

test: install-dev  ## every test, on SQLite and on PostgreSQL, browser journeys included
	@$(BIN)/python -m pytest -n 2 $(ARGS)

check: install-dev  ## format, lint, types, floors, templates, migrations
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/djlint templates --lint --quiet
	@set -eu; folder=$$(mktemp -d); trap 'rm -rf "$$folder"' EXIT; \
	  export ZHUXUE_MODE=demo ZHUXUE_DATA_DIR="$$folder" ZHUXUE_DATABASE_URL="sqlite:///$$folder/check.db"; \
	  export ZHUXUE_OWNER_DATABASE_URL="$$ZHUXUE_DATABASE_URL"; \
	  echo 'zhuxue migrate && alembic check (SQLite)'; \
	  $(BIN)/zhuxue migrate; $(BIN)/alembic check

bench: install-dev  ## measure the full city against its floors; prints ratios
	@$(BIN)/python -m benchmarks $(ARGS)

# The short form of all of it is part of `make test`. ARGS="--fault-rounds 450" races 10,000 times and more.
faults: install-dev  ## attacks, races and kills, many rounds of each
	@$(BIN)/python -m pytest -m fault --fault-rounds 20 $(ARGS)

lock:  ## resolve both lock files again (uv in a throw-away venv)
	@set -eu; folder=$$(mktemp -d); trap 'rm -rf "$$folder"' EXIT; \
	  $(PYTHON) -m venv "$$folder"; "$$folder/bin/python" -m pip install --quiet uv; \
	  compile() { "$$folder/bin/uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	    --no-header --no-annotate --no-emit-index-url --no-emit-find-links $(ARGS) "$$@" pyproject.toml; }; \
	  compile --group build -o requirements.lock; \
	  compile --group build --group test --group lint -c requirements.lock -o requirements-dev.lock
