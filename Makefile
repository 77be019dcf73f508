# Everything runs in .venv, which is made on first use and brought up to date when the requirements change.
# requirements*.txt are locks: pip installs nothing that has no hash there.
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
LOCK := $(BIN)/uv pip compile --quiet --no-config --default-index https://pypi.org/simple --universal \
  --python-version 3.11 --generate-hashes --no-annotate --custom-compile-command 'make lock' $(ARGS)

.DEFAULT_GOAL := help
.PHONY: help python up test chaos bench docs lint format lock audit sbom clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo '  Settings of `make up`: PORT=8000 SIMULATE=25 WEB_WORKERS=2 WORKER_CONCURRENCY=2 ENERGY_HOME=.energy,'
	@echo '  and DATABASE_URL, REDIS_URL for servers of your own. Another Python: make up PYTHON=python3.12'

up: $(VENV)/.installed | python ## the whole stack on this machine, until Ctrl-C
	@exec $(BIN)/python -m devstack

test: $(VENV)/.installed-dev ## all tests; ARGS= goes to pytest
	@echo 'make test: all tests, with faults and whole stacks: 6 to 15 minutes (make quick: about one)'
	@exec $(BIN)/python -m pytest -n 2 --dist loadfile $(ARGS)

quick: $(VENV)/.installed-dev ## the tests that start no process and wait for none; ARGS= goes to pytest
	@exec $(BIN)/python -m pytest -n 2 --dist loadfile -m 'not slow' --timeout 60 $(ARGS)

chaos: $(VENV)/.installed-dev ## faults at random under load, then an audit; MINUTES=10 RATE=4000 ARGS=--help
	@exec $(BIN)/python -m tests.chaos $(if $(MINUTES),--minutes $(MINUTES)) $(if $(RATE),--rate $(RATE)) $(ARGS)

bench: $(VENV)/.installed ## how fast it is here, beside baselines; QUICK=1, ONLY=bulk,lag, ARGS=--help
	@exec $(BIN)/python -m bench $(if $(QUICK),--quick) $(if $(ONLY),--only $(ONLY)) $(ARGS)

docs: $(VENV)/.installed ## docs/settings.md, made from the settings' declarations
	@$(BIN)/python -m deploy.settings_page >.settings.md && mv .settings.md docs/settings.md

lint: $(VENV)/.installed-dev ## rules and format (ruff), layers (import-linter), types (mypy)
	@$(BIN)/python -m ruff check .
	@$(BIN)/python -m ruff format --check .
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/python -m mypy

format: $(VENV)/.installed-dev ## fix what ruff can fix
	@$(BIN)/python -m ruff check --fix-only --quiet . && exec $(BIN)/python -m ruff format .

lock: $(VENV)/.installed-dev ## requirements*.txt from requirements*.in; ARGS='--upgrade-package flask'
	@$(LOCK) requirements-dev.in --output-file requirements-dev.txt
	@$(LOCK) requirements.in --constraints requirements-dev.txt --output-file requirements.txt
	@$(LOCK) requirements-embedded.in --constraints requirements-dev.txt --output-file requirements-embedded.txt

audit: $(VENV)/.installed-dev ## known vulnerabilities of the locked packages; status 2 if no advisories are available
	@exec $(BIN)/python -m deploy.audit

sbom: $(VENV)/.installed-dev ## sbom.json: what the service consists of (CycloneDX)
	@$(BIN)/python -m deploy.sbom >.sbom.json && mv .sbom.json sbom.json

clean: ## remove .venv and caches; the data in .energy stays
	@rm -rf $(VENV) .pytest_cache .ruff_cache .mypy_cache .import_linter_cache .hypothesis *.egg-info
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.installed: pyproject.toml requirements.txt requirements-embedded.txt | $(BIN)/pip
	@echo 'installing what the stack needs into $(VENV) …'
	@$(PIP) --require-hashes -r requirements.txt -r requirements-embedded.txt
	@PYTHONWARNINGS=ignore $(PIP) --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml requirements-dev.txt | $(BIN)/pip
	@echo 'installing what the tests need into $(VENV) …'
	@$(PIP) --require-hashes -r requirements-dev.txt
	@PYTHONWARNINGS=ignore $(PIP) --no-deps --no-build-isolation --editable .
	@touch $@ $(VENV)/.installed

# A Python that was asked for must be that of the virtualenv.
python: | $(BIN)/pip
	@version='import sys; print("%d.%d" % sys.version_info[:2])'; \
	test -z '$(PYTHON)' || test "$$($(PYTHON) -c "$$version" 2>&1)" = "$$($(BIN)/python -c "$$version")" || \
	  { echo "make: $(VENV) has Python $$($(BIN)/python -c "$$version"), not $(PYTHON); first: make clean" >&2; exit 1; }

# The Python to use: $(PYTHON) if given, else the first of these that is new enough.
PYTHONS := $(or $(PYTHON),python3 python3.14 python3.13 python3.12 python3.11)

$(BIN)/pip:
	@for python in $(PYTHONS); do \
	  if $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	    $$python -c 'import ensurepip, venv' 2>/dev/null || \
	      { echo "make: $$python has no venv module; on Debian: apt-get install python3-venv" >&2; exit 1; }; \
	    exec $$python -m venv $(VENV); \
	  fi; \
	done; echo 'make: needs Python 3.11 or newer, found none as: $(PYTHONS)' >&2; exit 1
