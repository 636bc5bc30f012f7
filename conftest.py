"""For all tests and doctests: a cache folder of their own, and one thread.

The tensors of tests are small: a second thread only waits, and on a busy machine for long.
"""

from __future__ import annotations

import os
import tempfile

import torch

_cache = tempfile.TemporaryDirectory(prefix="elman-cache-")
os.environ["ELMAN_CACHE"] = _cache.name
os.environ["OMP_NUM_THREADS"] = "1"  # for the processes that tests start
torch.set_num_threads(1)


def pytest_unconfigure() -> None:  # noqa: D103
    _cache.cleanup()
