"""Tests may run on another build of the native kernels, or with other seeds.

`make sanitize` sets ELMAN_TEST_NATIVE to the path of a build.

`make learn` sets ELMAN_TEST_SEED: models without an explicit seed then use that one, and the tests
that train until a problem is solved must still pass.
"""

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

if seed := os.environ.get("ELMAN_TEST_SEED"):
    import elman

    for task in (
        elman.Classifier,
        elman.Forecaster,
        elman.LanguageModel,
        elman.Tagger,
        elman.Translator,
    ):
        task.__init__.__kwdefaults__["seed"] = int(seed)
