# `make` lists the targets. Each one makes and uses .venv/ by itself; PYTHON=... names another Python 3.11+.
# Programs are run as `.venv/bin/python -m ...`: scripts with a #! line break in long paths and moved folders.

ifeq ($(OS),Windows_NT)
$(error Windows itself is not supported: install WSL2 (wsl --install) and run make inside it)
endif

.DEFAULT_GOAL := help
.NOTPARALLEL:
.DELETE_ON_ERROR:

VENV_PYTHON := .venv/bin/python
RUN := .venv/.installed-run
DEV := .venv/.installed-dev
BENCH := .venv/.installed-bench
PYTEST ?= -n 3 --dist loadfile

$(RUN): requirements.txt requirements-embedded.txt
	@bash scripts/make-venv.sh run

$(DEV): requirements-dev.txt requirements.txt requirements-embedded.txt
	@bash scripts/make-venv.sh dev

$(BENCH): requirements-bench.txt $(DEV)
	@$(VENV_PYTHON) -m pip install --disable-pip-version-check --quiet -r requirements-bench.txt
	@touch $@

##@ Use

.PHONY: run
run: $(RUN) ## Try it: start everything on this machine with sample tasks, and show their first results
	@$(VENV_PYTHON) -m scripts.embedded run

.PHONY: status
status: $(RUN) ## What `make run` started, and the latest runs
	@$(VENV_PYTHON) -m scripts.embedded status

.PHONY: stop
stop: ## Stop everything that `make run` started
	@if [ -x $(VENV_PYTHON) ]; then $(VENV_PYTHON) -m scripts.embedded stop; else echo "Nothing is running."; fi

.PHONY: migrate
migrate: $(RUN) ## Bring the database of DATABASE_URL to the newest schema; install what TASK_PACKS needs
	@for file in $$($(VENV_PYTHON) -m packs requirements --missing); do bash scripts/make-venv.sh extra $$file || exit 1; done
	@$(VENV_PYTHON) -m store.migrate
	@$(VENV_PYTHON) -m packs tables

##@ Develop

.PHONY: test
test: $(DEV) packages lint ## Everything: lint, types and every test (installs MariaDB and the rest when root)
	@$(VENV_PYTHON) -m pytest $(PYTEST)

.PHONY: test-providers
test-providers: $(DEV) packages ## The adapters against real servers, installed under data/ (no part of `make test`)
	@$(VENV_PYTHON) -m tests.providers.environments
	@$(VENV_PYTHON) -m pytest tests/providers

.PHONY: quick
quick: $(DEV) ## Lint, types and the tests that take no long-running processes
	@$(MAKE) --no-print-directory lint
	@$(VENV_PYTHON) -m pytest $(PYTEST) -m "not slow"

.PHONY: lint
lint: $(DEV) ## ruff check, ruff format --check, mypy --strict
	@$(VENV_PYTHON) -m ruff check .
	@$(VENV_PYTHON) -m ruff format --check .
	@$(VENV_PYTHON) -m mypy .

.PHONY: fmt
fmt: $(DEV) ## Format, and mend what ruff can mend
	@$(VENV_PYTHON) -m ruff check --fix .
	@$(VENV_PYTHON) -m ruff format .

.PHONY: openapi
openapi: $(DEV) ## Write docs/openapi.json anew from the code
	@$(VENV_PYTHON) -m api.documents

.PHONY: bench
bench: $(BENCH) packages ## Measure beside the rivals, into bench/out/; FULL=1: all, up to a million rows
	@$(VENV_PYTHON) -m bench $(if $(FULL),--full)
	@$(VENV_PYTHON) -m bench.planning --json bench/out/planning.json

.PHONY: torture
torture: $(DEV) packages ## Fault after fault under load, judged by an independent checker: MINUTES=45 SEED=1
	@$(VENV_PYTHON) -m tests.faults.torture --minutes $(or $(MINUTES),45) --seed $(or $(SEED),1)

.PHONY: packages
packages: $(DEV) ## Install the Debian packages the tests need (root), or name them
	@bash scripts/install-packages.sh

.PHONY: clean
clean: stop ## Remove .venv and caches; data/ and logs/ stay
	@rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: help
help: ## This list
	@awk 'BEGIN { FS = ":.*## " } \
		/^##@ / { printf "\n%s\n", substr($$0, 5) } \
		/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile
