# demo and test need nothing but Python (3.11 or later) with pip; each makes the virtual environment first.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python

.PHONY: demo test check bench

demo: $(VENV)/installed
	$(RUN) examples/demo.py

test: $(VENV)/installed
	$(RUN) -m pytest tests

check: $(VENV)/installed
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy
	$(RUN) -m pytest --doctest-modules elman

bench: $(VENV)/installed
	$(RUN) benchmarks/grid.py
	$(RUN) benchmarks/speed.py
	$(RUN) benchmarks/memory.py
	$(RUN) benchmarks/table.py

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@
