# Needs Python 3.10 or newer and make; everything else goes into .venv.

PYTHON ?= python3
VENV ?= .venv
ARGS ?=
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet install
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help demo test check format coverage screenshots dist clients servers everything clean

help: ## Say what can be made
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

demo: $(READY)-server ## Run the demo: the login server and a site on this machine (ARGS="--check")
	$(BIN)/clef-wsgi demo $(ARGS)

test: $(READY)-dev ## Run the tests (ARGS="-k name")
	$(BIN)/python -m pytest -n auto --dist worksteal $(ARGS)

check: $(READY)-dev ## Check the format, the lint rules and the types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(READY)-dev ## Put the code into the common format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

coverage: $(READY)-dev ## Run the tests and report the branches they missed
	$(BIN)/python -m pytest -n auto --dist worksteal --cov --cov-report=term $(ARGS)

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

servers: $(READY)-dev ## Install the older gunicorn that tests/test_raw_lines.py runs, outside of this folder
	PYTHON=$(BIN)/python scripts/old_gunicorn.sh

everything: check clients servers coverage ## What CI runs: all of this, and the built wheel on every Python and at the lowest versions
	$(BIN)/python scripts/check_dist.py build demo tests

clean: ## Remove what was made, .venv aside
	rm -rf build dist *.egg-info .venvs .coverage .coverage.* htmlcov .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -path ./$(VENV) -prune -o -name __pycache__ -type d -exec rm -rf {} +

# A virtual environment that is there already is used as it is.
$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' \
	  || { echo "Python 3.10 or newer is needed: make PYTHON=/path/to/python3.12"; exit 2; }
	@$(PYTHON) -m venv $(VENV) || { echo "Debian and Ubuntu keep venv in a package of its own: python3-venv"; exit 2; }

$(READY)-%: $(BIN)/python setup.cfg pyproject.toml
	$(PIP) --editable '.[$*]'
	@touch $@
