# Everything happens in .venv, which is made on first use and brought up to date when pyproject.toml changes.
# Needed: Python 3.11 or newer, make, git. Another interpreter: `make test PYTHON=python3.13` (after `make clean`).

PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
PIP := $(PY) -m pip --disable-pip-version-check --quiet

# Stamps: the environment itself, flowstmt with its dependencies, the tools for development.
MADE := $(VENV)/.made
CORE := $(VENV)/.core
DEV := $(VENV)/.dev

.DEFAULT_GOAL := help
.PHONY: help demo test lint format bench bench-peers compare chaos messages diagrams recording pictures docs clean

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

demo: $(CORE)  ## order a pizza in processes that get killed
	$(PY) examples/pizza.py

test: $(DEV)  ## run all tests and check coverage; a part of them: make test ARGS='-k name'
ifdef ARGS
	$(PY) -m pytest $(ARGS)
else
	$(PY) -m coverage run -m pytest
	$(PY) -m coverage report --include='flowstmt/core/*' --fail-under=100
	$(PY) -m coverage report --fail-under=95
endif

lint: $(DEV)  ## check format, rules, types and imports
	$(PY) -m ruff format --check .
	$(PY) -m ruff check .
	$(PY) -m mypy $(wildcard flowstmt tests examples benchmarks docs)
	$(PY) -m mypy --follow-imports=silent $(patsubst %.pyi,%.py,$(wildcard flowstmt/core/*.pyi))
	$(PY) -m pyright --pythonpath $(PY) examples
	$(VENV)/bin/lint-imports

format: $(DEV)  ## put code into the format that lint wants
	$(PY) -m ruff format .
	$(PY) -m ruff check --fix .

bench: $(DEV)  ## measure speed: of the core, and of the engine on SQLite and PostgreSQL
	$(PY) benchmarks/run.py

PEERS := 'bare UPDATE and commit' flowstmt 'flowstmt engine' DBOS LangGraph absurd
bench-peers: $(DEV)  ## measure the engine beside DBOS, LangGraph and absurd, which get environments of their own
	$(PY) -m benchmarks.peers.compare --only $(PEERS) --sizes 10 1000 10000 --rounds 7 --command 'make bench-peers' $(ARGS)

compare: $(DEV)  ## measure it against other durable executions, which get environments of their own
	$(PY) -m benchmarks.peers.compare $(ARGS)

chaos: $(DEV)  ## kill workers and disturb databases, ten minutes: make chaos ARGS='--seconds 3600 --seed 17 --on postgres'
	$(PY) -m tests.chaos $(ARGS)

messages: $(DEV)  ## write tests/messages/messages.txt anew: every error message on one page
	$(PY) -m tests.messages

diagrams: $(CORE)  ## draw docs/states.md anew, from the transition tables
	$(PY) docs/draw_states.py

recording: $(CORE)  ## play the session of the quick start, and draw docs/pictures/terminal.svg
	$(PY) docs/record_terminal.py

docs: $(DEV)  ## build the site into build/site; warnings are errors
	NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build --strict

pictures: $(DEV)  ## draw docs/pictures anew; needs chromium
	$(PY) docs/draw_workflows.py

clean:  ## remove .venv and everything else that was made
	rm -rf $(VENV) .venv-peers build dist .coverage .coverage.* .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(MADE):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "flowstmt needs Python 3.11 or newer; choose one with: make PYTHON=/path/to/python3" >&2; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)
	@touch $@

$(CORE): $(MADE) pyproject.toml
	$(PIP) install --editable .
	@touch $@

$(DEV): $(MADE) pyproject.toml
	$(PIP) install --editable '.[dev]'
	@touch $(CORE) $@
