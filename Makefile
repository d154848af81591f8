# Two commands are enough: `make demo` and `make test`. Both make what they need in .venv.

PYTHON ?= python3
UV ?= uv
ARGS ?=
# How many tests run at once: three, as a third of their time is waiting; chosen ones run in one, so
# that -s and --pdb work as ever. `make test WORKERS=4` and `make test ARGS=... WORKERS=2` override.
WORKERS ?= $(if $(ARGS),0,3)
SCENARIO ?= steady
DURATION ?=

# Set in many container images, it would have every server that a test starts compile all modules.
export PYTHONDONTWRITEBYTECODE :=

BIN := .venv/bin
INSTALL := $(BIN)/python -m pip --disable-pip-version-check install -qq
PROJECT := $(INSTALL) --no-deps --no-build-isolation --editable .
COMPILE := $(UV) pip compile pyproject.toml --quiet --universal --python-version 3.11 \
	--generate-hashes --no-header --no-emit-index-url --no-emit-find-links

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help venv demo test fuzz load soak bench check lint coverage-report format requirements

help:
	@echo "make demo             see it work: starts the server and sends it a few runs"
	@echo "make test             run the tests, and note what they cover (ARGS=... goes to pytest:"
	@echo "                      ARGS=tests/api, ARGS='-k cancel --pdb'; WORKERS=n runs n at once)"
	@echo "make check            lint, types, contracts, tests, coverage: what must pass"
	@echo "make fuzz             hold the API to its document with 100 examples each, auth off and on"
	@echo "make load             put load on a service of its own and report on it (SCENARIO=burst,"
	@echo "                      overload, ...; DURATION=seconds): see docs/load.md"
	@echo "make soak             an hour at 80 % of what it can do (DURATION=120 for two minutes)"
	@echo "make bench            measure Masterloop beside its peers, write docs/performance.md (half an hour;"
	@echo "                      ARGS=--quick for a look, ARGS=--help for the rest)"
	@echo "make format           let ruff format the code and fix what it can"
	@echo "make venv             only make .venv; the command is then $(BIN)/masterloop"
	@echo "make requirements     pin the dependencies again (needs uv; ARGS=--upgrade to renew)"

venv: .venv/.dev

demo: .venv/.demo
	@$(BIN)/python examples/demo.py $(ARGS)

test: .venv/.dev
	@$(BIN)/coverage erase
	@$(BIN)/coverage run -m pytest --numprocesses $(WORKERS) --dist worksteal $(ARGS)
	@$(BIN)/coverage combine --quiet

fuzz: .venv/.dev
	@FUZZ_EXAMPLES=100 $(BIN)/python -m pytest -o faulthandler_timeout=0 tests/fuzz $(ARGS)

load: .venv/.load
	@$(BIN)/python -m load.run $(SCENARIO) $(if $(DURATION),--duration $(DURATION)) $(ARGS)

soak:
	@$(MAKE) --no-print-directory load SCENARIO=soak

bench: .venv/.dev
	@$(BIN)/python -m load.bench $(ARGS)

check: lint test coverage-report

lint: .venv/.dev
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/basedpyright
	@$(BIN)/lint-imports --no-logo

coverage-report: .venv/.dev
	@$(BIN)/coverage report

format: .venv/.dev
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

requirements:
	@command -v $(UV) >/dev/null || { echo "This needs uv (pip install uv), or UV=/path/to/uv."; exit 1; }
	@$(COMPILE) $(ARGS) --extra build --output-file requirements.txt
	@$(COMPILE) $(ARGS) --extra build --extra dev --constraints requirements.txt \
		--output-file requirements-dev.txt
	@$(COMPILE) $(ARGS) --extra build --extra load --constraints requirements.txt \
		--output-file requirements-load.txt

# The environment. Each stamp is renewed when what it was made from changes.

.venv/.python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "Masterloop needs Python 3.11 or newer; '$(PYTHON)' is not."; \
		echo "Name another one: make PYTHON=python3.12 ..."; exit 1; }
	@$(PYTHON) -m venv .venv || { \
		rm -rf .venv; echo "'$(PYTHON) -m venv' failed; on Debian: apt install python3-venv"; exit 1; }
	@touch $@

.venv/.demo: .venv/.python requirements.txt pyproject.toml
	@echo "Installing the server into .venv (once, about a minute) ..."
	@$(INSTALL) --require-hashes --requirement requirements.txt
	@$(PROJECT)
	@touch $@

.venv/.dev: .venv/.python requirements-dev.txt pyproject.toml
	@echo "Installing the server and the tools into .venv (once, about two minutes) ..."
	@$(INSTALL) --require-hashes --requirement requirements-dev.txt
	@$(PROJECT)
	@touch .venv/.demo $@

.venv/.load: .venv/.python requirements-load.txt pyproject.toml
	@echo "Installing the server and what puts load on it into .venv (once, about a minute) ..."
	@$(INSTALL) --require-hashes --requirement requirements-load.txt
	@$(PROJECT)
	@touch .venv/.demo $@
