# Everything a person or CI runs. `make help` lists it; nothing else is needed than Python >= 3.11, pip and make.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check -q
CASE   ?=

.DEFAULT_GOAL := help
.PHONY: help demo quick test long check types imports format unit wire process coverage gpu bench clean

help: ## show this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{printf "%-16s %s\n", $$1, $$2}'

demo: $(VENV)/.demo $(VENV)/.torch ## train a small CNN on real digits, serve it, post 200 images, print the accuracy
	@$(BIN)/python examples/digits/demo.py

quick: $(VENV)/.dev ## under a minute: ruff, the import contract, the unit and wire rings without PyTorch and TensorFlow
	@$(BIN)/ruff format --check -q . && $(BIN)/ruff check -q .
	@$(MAKE) --no-print-directory imports
	@$(BIN)/python -m pytest -q -n auto -m "not torch and not tensorflow" --ignore=tests/unit/frameworks tests/unit tests/wire

test: $(VENV)/.dev $(VENV)/.torch $(VENV)/.tensorflow $(VENV)/.frameworks ## all checks and all three rings (what CI runs)
	@$(MAKE) --no-print-directory check
	@$(BIN)/python -m pytest -q -n auto tests/unit tests/wire -rs
	@$(BIN)/python -m pytest tests/process -rs
	@$(MAKE) --no-print-directory coverage

long: $(VENV)/.dev $(VENV)/.torch $(VENV)/.tensorflow $(VENV)/.frameworks ## the slow cases, resumable, results in docs/results (make long CASE=name for one)
	@$(BIN)/python scripts/long.py $(CASE)

check: $(VENV)/.dev ## formatting, lint, both type checkers, the import contract
	@$(BIN)/ruff format --check -q .
	@$(BIN)/ruff check -q .
	@$(MAKE) --no-print-directory types imports

types: $(VENV)/.dev ## mypy strict and pyright strict
	@$(BIN)/mypy --no-error-summary
	@$(BIN)/basedpyright --level error

imports: $(VENV)/.dev ## the import contract of the house
	@$(BIN)/lint-imports --no-logo
	@$(BIN)/lint-imports --no-logo --config scripts/cycles.toml

format: $(VENV)/.dev ## rewrite the sources in the one format
	@$(BIN)/ruff check -q --fix-only . && $(BIN)/ruff format -q .

unit wire process: $(VENV)/.dev ## one ring of tests
	@$(BIN)/python -m pytest -q tests/$@

coverage: $(VENV)/.dev ## branch coverage of the scheduler's room, 95 % or it fails
	@rm -f .coverage .coverage.*
	@$(BIN)/coverage run --source=tiffin.batching -m pytest -q tests/unit/batching
	@$(BIN)/coverage combine -q && $(BIN)/coverage report --fail-under=95

gpu: $(VENV)/.dev $(VENV)/.torch ## the tests and the benchmark that need a GPU (they skip where there is none)
	@$(BIN)/python -m pytest -rs -m gpu tests
	@$(BIN)/python benchmarks/gpu.py

bench: $(VENV)/.dev $(VENV)/.torch ## Tiffin against its peers, interleaved; writes the table and the chart in docs/
	@$(BIN)/python benchmarks/run.py

clean: ## remove what was built here, the environment too
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage*

$(BIN)/python:
	@sh scripts/venv.sh "$(PYTHON)" $(VENV)

$(VENV)/.demo: pyproject.toml | $(BIN)/python
	@echo "Installing Tiffin and what the demo needs into $(VENV)"
	@$(PIP) install -e '.[demo]' && touch $@

$(VENV)/.dev: pyproject.toml | $(BIN)/python
	@echo "Installing Tiffin and its development tools into $(VENV)"
	@$(PIP) install -e '.[dev]' && touch $@

$(VENV)/.torch: scripts/install_torch.py | $(BIN)/python
	@$(BIN)/python scripts/install_torch.py && touch $@

$(VENV)/.tensorflow: | $(BIN)/python
	@echo "Installing TensorFlow (274 MB, the CPU build)"
	@$(PIP) install 'tensorflow-cpu>=2.16' || echo "warning: pip could not install TensorFlow; its tests will skip" >&2
	@touch $@

$(VENV)/.frameworks: pyproject.toml $(VENV)/.torch $(VENV)/.dev
	@echo "Installing the other frameworks that the tests save and load"
	@$(PIP) install -e '.[frameworks]' || echo "warning: pip could not install all frameworks; their tests will skip" >&2
	@touch $@
