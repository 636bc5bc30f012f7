"""Fast C++ versions of the functions of `elman.recur`, compiled for several instruction sets.

The functions are chosen when this package is imported; `name` returns the choice:

    >>> from elman import kernels
    >>> kernels.name() in ("amx", "avx512_bf16", "avx512", "avx2", "portable", "plain")
    True

"plain" means the functions of torch and Python: there was no compiler when elman was installed, or
the environment has ELMAN_KERNELS=plain.  ELMAN_KERNELS can also name an instruction set.
"""

from __future__ import annotations

import importlib
import os
from types import ModuleType

from elman.errors import ArgumentError

native: ModuleType | None
try:
    native = importlib.import_module("elman.kernels._native")
except ImportError:  # installed without a compiler
    native = None


def _choose(wanted: str) -> None:
    global native
    sets = [] if native is None else native.instruction_sets()
    if wanted == "plain":
        native = None
    elif wanted in sets:
        assert native is not None
        native.choose(wanted)
    elif wanted:
        raise ArgumentError(
            f"ELMAN_KERNELS={wanted!r} is not available here; choose one of {[*sets, 'plain']}"
        )


built = native is not None
_choose(os.environ.get("ELMAN_KERNELS", ""))


def name() -> str:
    """Return the instruction set of the kernels that run, or "plain"."""
    return "plain" if native is None else str(native.chosen())


def describe() -> str:
    """Return one line that describes the kernels that run.

    Example:
        >>> from elman import kernels
        >>> kernels.describe().split()[0].rstrip(",") == kernels.name()
        True
    """
    if native is not None:
        return f"{name()}, on the threads of {native.threads()}"
    if built:
        return "plain, which is slower: ELMAN_KERNELS=plain is set"
    return "plain, which is slower: there was no C++ compiler when elman was installed"
