"""Tests may run on another build of the native kernels: `make sanitize` names it."""

from __future__ import annotations

import importlib.util
import os
import sys

NAME = "elman.kernels._native"
if path := os.environ.get("ELMAN_TEST_NATIVE"):
    spec = importlib.util.spec_from_file_location(NAME, path)
    assert spec is not None
    assert spec.loader is not None
    sys.modules[NAME] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules[NAME])
