# install: build .venv at the pins of constraints.txt, only if they changed · demo: the main job · test: lint and tests · test-all: the slow ones too
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: install demo test test-all lint

# `--no-deps`: constraints.txt lists the whole closure, but with OpenCV's headless build in place of the one that needs a screen's libraries.
install:
	@cmp -s constraints.txt $(VENV)/pins.txt || { \
	  $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "error: Python %d.%d is too old: Rein needs 3.11 or newer; name one with make PYTHON=python3.11" % sys.version_info[:2])' && \
	  echo "building $(VENV) at the pins of constraints.txt (some GB of downloads)" >&2 && \
	  $(PYTHON) -m venv --clear $(VENV) >&2 && \
	  $(BIN)/python -m pip install --quiet --no-deps -r constraints.txt >&2 && \
	  cp constraints.txt $(VENV)/pins.txt; }

demo: install
	@$(BIN)/python -m pipelines demo --json

lint: install
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/lint-imports

test: lint
	@$(BIN)/python -m pytest -m 'not slow'

test-all: lint
	@$(BIN)/python -m pytest
