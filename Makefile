# `make help` lists the targets. Each one installs what it needs first and is quick the second time.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export DO_NOT_TRACK := 1
unexport PYTHONDONTWRITEBYTECODE # what is in .venv is compiled once, not at every start

.PHONY: help install run test soak lint bench lock clean

help: ## list the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  make \1\t\2/' | expand -t 16

install: $(VENV)/run.stamp ## what Titan runs on, into .venv

run: $(VENV)/run.stamp ## start the database, load, build, test, and print a summary (DATA=path for your own files)
	@$(BIN)/titan run $(if $(DATA),$(foreach path,$(DATA),"$(path)")) || [ $$? -eq 3 ] # 3: rows in quarantine, as it said

test: $(VENV)/dev.stamp ## the whole suite, on an embedded database of its own (TITAN_TEST_URL for another server)
	@$(BIN)/pytest $(ARGS)

soak: $(VENV)/dev.stamp ## the properties with a thousand histories each, and as many judgements (HISTORIES for another number)
	@TITAN_SOAK=$(or $(HISTORIES),1000) $(BIN)/pytest tests/properties tests/integration/test_alerts.py::test_nothing_is_told_of_a_sound_warehouse $(ARGS)

lint: $(VENV)/dev.stamp ## ruff, mypy strict, sqlfluff
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy
	@$(BIN)/python -m tests.lint_sql

bench: $(VENV)/dev.stamp ## the figures of the README, side by side in one run
	@$(BIN)/python -m tests.bench $(ARGS)

lock: $(VENV)/bin/uv ## compile requirements*.in into the hash-locked requirements*.txt
	@for name in requirements requirements-dev; do \
	  $(BIN)/uv pip compile --quiet --generate-hashes --no-header --python-version 3.11 $(ARGS) $$name.in -o $$name.txt; done

clean: ## remove the virtual environment and dbt's output; the data of the embedded server stays
	@rm -rf $(VENV) target logs

$(VENV)/bin/uv:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Titan needs Python 3.11 or newer; name one with PYTHON=…" >&2; exit 1; }
	@echo "creating $(VENV)"
	@$(PYTHON) -m venv $(VENV) || { echo "python3 -m venv failed: apt-get install python3-venv" >&2; exit 1; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-uv.txt

$(VENV)/run.stamp: requirements.txt pyproject.toml | $(VENV)/bin/uv
	@echo "installing requirements.txt"
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements.txt
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/dev.stamp: requirements-dev.txt $(VENV)/run.stamp
	@echo "installing requirements-dev.txt"
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements-dev.txt
	@touch $@
