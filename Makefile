# Needs Python 3.10 or newer and make; everything else goes into .venv.

PYTHON ?= python3
VENV ?= .venv
ARGS ?=
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet install
LOCK := constraints/dev.txt
UV := UV_SYSTEM_CERTS=1 $(BIN)/uv
PYTEST := -m pytest -n auto --dist worksteal
QUICK := not browser and not services and not process and not slow
# Percent of lines and branches. Of the core's a few are taken only when threads meet by chance: so not 100.
CORE_PERCENT := 99
SERVER_PERCENT := 98
CORE_WITHOUT := */clef_wsgi/server/*,*/clef_wsgi/demo/*,*/clef_wsgi/testing/*,*/clef_wsgi/cli.py,*/clef_wsgi/__main__.py
READY := $(VENV)/.ready

# Without bytecode every process that a test starts compiles all that it imports anew.
export UV_COMPILE_BYTECODE := 1
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help demo quick test check docs format coverage lock newest screenshots dist clients axe servers providers everything clean

help: ## Say what can be made
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

demo: $(READY)-server $(if $(findstring --oidc,$(ARGS)),$(READY)-oidc providers) ## Run the demo: the login server and a site on this machine (ARGS="--check", ARGS=--oidc)
	$(BIN)/clef-wsgi demo $(ARGS)

quick: $(READY)-dev ## Run the tests that need no process, browser or service (ARGS="-k name")
	$(BIN)/python $(PYTEST) -m "$(QUICK)" $(ARGS)

test: $(READY)-dev ## Run all tests (ARGS="-k name")
	$(BIN)/python $(PYTEST) $(ARGS)

check: $(READY)-dev docs ## Check the format, the lint rules and the types, and build the pages
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

docs: $(READY)-docs ## Build docs/ with its reference into build/html (Python 3.11 or newer)
	@if $(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 11))'; \
	  then set -x; $(BIN)/python -m sphinx --quiet --fail-on-warning --keep-going docs build/html; \
	  else echo "docs: not built, Sphinx needs Python 3.11"; fi

format: $(READY)-dev ## Put the code into the common format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

coverage: $(READY)-dev ## Run the tests twice where one failed, and hold what they cover
	$(BIN)/coverage erase
	$(BIN)/python scripts/steady.py checkout $(BIN)/coverage run $(PYTEST) $(ARGS)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report --omit='$(CORE_WITHOUT)' --fail-under=$(CORE_PERCENT)
	$(BIN)/coverage report --include='*/clef_wsgi/server/*' --fail-under=$(SERVER_PERCENT)

lock: $(READY)-dev ## Write constraints/ anew, with the newest versions there are
	UV_SYSTEM_CERTS=1 PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python scripts/lock.py

newest: $(READY)-dev ## Run the quick tests with the newest versions; a failure is a warning
	$(BIN)/python scripts/check_dist.py build newest

screenshots: $(READY)-dev ## Take the README's pictures with Chromium
	$(BIN)/python scripts/screenshots.py build/screenshots $(ARGS)
	for scheme in light dark; do \
	  cp build/screenshots/account-desktop-$$scheme.png docs/images/site-desktop-$$scheme.png; \
	  cp build/screenshots/log-out-phone-$$scheme.png docs/images/provider-phone-$$scheme.png; \
	done

dist: $(READY)-dev ## Build the sdist and the wheel, and check them
	$(BIN)/python scripts/check_dist.py build

clients: $(READY)-dev ## Install the old clients of Clef that tests/server runs (needs npm)
	PYTHON=$(BIN)/python scripts/old_clients.sh

axe: ## Install axe-core, which looks at the server's pages (needs npm)
	scripts/axe.sh

servers: $(READY)-dev ## Install the older gunicorn that tests/test_raw_lines.py runs, outside of this folder
	PYTHON=$(BIN)/python scripts/old_gunicorn.sh

providers: ## Install the OpenID provider that the tests and the demo run, outside of this folder (needs npm)
	scripts/oidc_provider.sh

everything: check clients axe servers providers ## What CI runs: all of this, and the built wheel on every Python and at the lowest versions
	$(BIN)/python scripts/steady.py forget
	$(MAKE) --no-print-directory coverage
	$(BIN)/python scripts/check_dist.py build demo tests
	$(BIN)/python scripts/steady.py report

clean: ## Remove what was made, .venv aside
	rm -rf build dist *.egg-info .venvs .coverage .coverage.* htmlcov .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -path ./$(VENV) -prune -o -name __pycache__ -type d -exec rm -rf {} +

# A virtual environment that is there already is used as it is.
$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' \
	  || { echo "Python 3.10 or newer is needed: make PYTHON=/path/to/python3.12"; exit 2; }
	@$(PYTHON) -m venv $(VENV) || { echo "Debian and Ubuntu keep venv in a package of its own: python3-venv"; exit 2; }

$(BIN)/uv: $(BIN)/python $(LOCK)
	$(PIP) --constraint $(LOCK) uv
	@touch $@

# Everything comes at the versions of constraints/, and what is needed for building too.
$(READY)-%: $(BIN)/uv setup.cfg pyproject.toml $(LOCK)
	$(UV) pip install --quiet --python $(BIN)/python --constraints $(LOCK) --build-constraints $(LOCK) --editable '.[$*]'
	@touch $@
