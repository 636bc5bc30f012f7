# demo and test need only Python 3.11 or later with pip; each creates the virtual environment first.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python

.PHONY: demo test learn check sanitize bench

demo: $(VENV)/installed
	$(RUN) examples/demo.py

test: $(VENV)/installed
	$(RUN) -m pytest tests --numprocesses auto --maxprocesses 4 --dist worksteal

# Repeat the tests that train until a problem is solved with other kernels, which round differently,
# and other seeds.  A test that passes for only some of them has too small a margin.
KERNELS ?= plain
SEEDS ?= 0
learn: $(VENV)/installed
	for kernels in $(KERNELS); do for seed in $(SEEDS); do \
	  echo "kernels $$kernels, seed $$seed"; \
	  ELMAN_KERNELS=$$kernels ELMAN_TEST_SEED=$$seed $(RUN) -m pytest tests -m learns \
	    --numprocesses auto --maxprocesses 4 --dist worksteal || exit 1; done; done

check: $(VENV)/installed
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy
	$(RUN) -m pytest --doctest-modules elman

# Repeat the tests of the kernels on a build with the address and undefined-behaviour sanitizers,
# for the instruction sets of this processor except `portable`.
SANITIZE := "from elman.kernels import native; print('module', *native.instruction_sets()[:-1], sep=';')"
sanitize: $(VENV)/installed
	$(RUN) -m cmake -S . -B build/sanitize -G Ninja \
	  -DELMAN_SANITIZE="$$($(RUN) -c $(SANITIZE))" -DPython_EXECUTABLE=$(CURDIR)/$(RUN) \
	  -DCMAKE_MAKE_PROGRAM=$(CURDIR)/$(VENV)/bin/ninja -Dnanobind_DIR=$$($(RUN) -m nanobind --cmake_dir)
	$(RUN) -m cmake --build build/sanitize
	ELMAN_TEST_NATIVE=$$(ls build/sanitize/_native.*) ASAN_OPTIONS=detect_leaks=0 \
	  LD_PRELOAD="$$($(CXX) -print-file-name=libasan.so) $$($(CXX) -print-file-name=libubsan.so)" \
	  $(RUN) -m pytest tests/kernels tests/recur/test_matrix.py tests/recur/test_record.py -k "not test_graphs and not compile and not portable and not memory and not stored" \
	  --numprocesses auto --maxprocesses 4 --dist worksteal

bench: $(VENV)/installed
	$(RUN) benchmarks/grid.py
	$(RUN) benchmarks/cross_entropy.py
	$(RUN) benchmarks/linear_recurrence.py
	$(RUN) benchmarks/speech_losses.py
	$(RUN) benchmarks/speed.py
	$(RUN) benchmarks/memory.py
	$(RUN) benchmarks/table.py

$(VENV)/installed: pyproject.toml constraints.txt CMakeLists.txt $(wildcard csrc/*)
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@
