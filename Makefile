# Two commands do everything on a fresh machine:
#   make quickstart   environment, the embedded study, its report
#   make test         environment, checks, all tests
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
READY = $(VENV)/.ready
PARALLEL = -n 2 --dist worksteal

.PHONY: quickstart test check fast soak promises docs environment clean

quickstart: $(READY)
	$(BIN)/raystilts run experiments/quickstart.py

test: check
	$(BIN)/python -m pytest $(PARALLEL)

fast: $(READY)
	$(BIN)/python -m pytest $(PARALLEL) -m "not slow and not soak"

# full sizes, for a quiet machine; `make test` runs a smaller version of each
soak: $(READY)
	$(BIN)/python -m pytest -m soak --promises=analysis/promises.md

# the tests that hold what the README promises, and the table of how they ended
promises: $(READY)
	$(BIN)/python -m pytest $(PARALLEL) -m "promise and not soak" --promises=analysis/promises.md

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# the documentation, in docs/_build; a warning, such as a dead link, is an error
docs: $(READY)
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --quiet docs docs/_build

environment: $(READY)

# constraints.txt holds the versions that were tested together, torch among them: a free range would pull a CUDA build of gigabytes
$(READY): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[test,docs]"
	touch $@

clean:
	rm -rf $(VENV) docs/_build .pytest_cache .mypy_cache .ruff_cache
