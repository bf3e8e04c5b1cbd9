# Commands for developers; `make help` lists them.
#
# Packages are installed from requirements/*.txt, locked with hashes, into .venv. A stamp file for
# each lock prevents a second installation.

# The first interpreter of version 3.11 to 3.13 that can create virtual environments.
PYTHON ?= $(shell for candidate in python3 python3.13 python3.12 python3.11; do \
	$$candidate -c 'import ensurepip, sys, venv; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' \
	2>/dev/null && echo $$candidate && break; done)

BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input --quiet
LOCKED := --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	--no-emit-find-links --no-header --no-annotate $(UPGRADE)
COMPILE := $(BIN)/uv pip compile pyproject.toml --group build $(LOCKED)
# The packages of each extra, as pyproject.toml lists them, in the versions of dev.txt.
EXTRAS = $(shell $(BIN)/python -c "import tomllib; \
	print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['optional-dependencies'])")
LINES_OF = $(BIN)/python -c "import sys, tomllib; project = tomllib.load(open('pyproject.toml', 'rb')); \
	print(*project['project']['optional-dependencies'][sys.argv[1]], sep='\n')"
INSTALLED = run $(addprefix extras/,$(filter-out demo,$(EXTRAS))) # the locks of a host
# Tests wait for servers and processes, so that one more worker than cores keeps the cores busy.
TEST_WORKERS ?= $(shell expr $$(nproc) + 1)
SAMPLE ?= 256
SEED ?=
# Without its cached bytecode, each of some thousand processes would compile Standfast again.
unexport PYTHONDONTWRITEBYTECODE

.DELETE_ON_ERROR:
.PHONY: help demo test test-all lint format docs site lock sbom audit bench clean

help: ## list the commands
	@sed -n 's/^\([a-z-]*\):.*## /make \1:	/p' Makefile | expand -t 14

demo: .venv/installed-demo ## run the demonstration; AGAIN=1 replaces an earlier one
	$(BIN)/standfast demo $(if $(AGAIN),--again)

# Complete test sets (a kill at every disk operation, every bit of a record) run in part: one of
# SAMPLE parts, chosen by SEED. pytest prints both, and CONTRIBUTING.md says what each tier covers.
test: lint ## lint and tests; SAMPLE=N and SEED=S choose the part of the complete sets
	$(BIN)/pytest -n $(TEST_WORKERS) --dist loadgroup --sample=$(SAMPLE) \
		$(if $(SEED),--randomly-seed=$(SEED))

test-all: SAMPLE = 1
test-all: test ## every test, with the complete sets

lint: .venv/installed-dev ## format, lint, types, layers, language
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m tests.project.language

format: .venv/installed-dev ## format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: .venv/installed-dev ## generate the pages that come from the code, and the site of all pages
	$(BIN)/python -m standfast.config.reference_page > docs/configuration.md
	$(BIN)/python -m standfast.config.json_schema > docs/standfast.schema.json
	$(BIN)/standfast playbook page --to docs/playbooks
	$(BIN)/python -m standfast.playbook.json_schema > playbooks/schema.json
	$(BIN)/python -m tests.project.module_map
	$(MAKE) site

site: .venv/installed-dev ## the documentation as a web site, in dist/site/
	$(BIN)/python -m tests.project.documentation_site dist/site

# rfc3987-syntax: cyclonedx-py requests it and works without it. If it is installed, each import of
# jsonschema, and so each process of Prefect, takes 0.8 s longer.
lock: .venv/installed-dev ## resolve pyproject.toml into requirements/; UPGRADE=--upgrade for newer ones
	$(COMPILE) --group dev --all-extras --no-emit-package rfc3987-syntax --output-file requirements/dev.txt
	$(COMPILE) --constraints requirements/dev.txt --extra demo --output-file requirements/demo.txt
	$(COMPILE) --constraints requirements/dev.txt --output-file requirements/run.txt
	mkdir -p requirements/extras
	for extra in $(filter-out demo,$(EXTRAS)); do \
	  $(LINES_OF) $$extra | $(BIN)/uv pip compile - $(LOCKED) --constraints requirements/dev.txt \
	    --output-file requirements/extras/$$extra.txt || exit 1; \
	done

sbom: .venv/installed-dev ## a bill of materials (CycloneDX) for each lock, in dist/sbom/
	mkdir -p dist/sbom
	for lock in $(INSTALLED); do \
	  $(BIN)/cyclonedx-py requirements requirements/$$lock.txt --output-reproducible --of JSON \
	    --pyproject pyproject.toml --output-file dist/sbom/$$(basename $$lock).cdx.json || exit 1; \
	done

audit: .venv/installed-dev ## list known vulnerabilities of the locked versions; needs the network
	@mkdir -p dist
	@$(BIN)/pip-audit --strict --disable-pip --require-hashes \
	  $(foreach lock,$(INSTALLED),--requirement requirements/$(lock).txt) \
	  >dist/audit.txt 2>&1 && cat dist/audit.txt || { \
	  if grep -q '^Found [0-9]* known vulnerabilit' dist/audit.txt; then cat dist/audit.txt; else \
	    tail -n 1 dist/audit.txt; \
	    echo 'audit: incomplete: the versions were not checked. It needs the network; see dist/audit.txt.'; \
	  fi >&2; exit 1; }

bench: .venv/installed-dev ## measure Standfast and other tools side by side
	$(BIN)/python -m benchmarks

clean: ## remove what `make` built
	rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The locks are complete, so pip resolves nothing (--no-deps): it would refuse a lock as soon as a
# package that is needed with an extra has a newer release.
# dev.txt contains the packages of demo.txt and run.txt in the same versions, so its stamp also
# counts for demo.
.venv/installed-dev: requirements/dev.txt pyproject.toml | .venv/bin/pip
	@echo 'Installing what requirements/dev.txt locks; the first time takes a minute or two.'
	$(PIP) install --no-deps --require-hashes --requirement requirements/dev.txt
	$(PIP) install --no-deps --no-build-isolation --editable .
	touch .venv/installed-demo $@

.venv/installed-%: requirements/%.txt pyproject.toml | .venv/bin/pip
	@echo 'Installing what $< locks; the first time takes a minute.'
	$(PIP) install --no-deps --require-hashes --requirement $<
	$(PIP) install --no-deps --no-build-isolation --editable .
	touch $@

.venv/bin/pip:
	@test -n '$(PYTHON)' || { \
		echo 'No usable Python: 3.11, 3.12 or 3.13 with venv is needed.' >&2; \
		echo 'On Debian and Ubuntu: apt-get install python3 python3-venv' >&2; exit 1; }
	$(PYTHON) -m venv .venv
