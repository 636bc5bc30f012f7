"""Import optional libraries, and report missing ones."""

from __future__ import annotations

import importlib
from typing import Any

from elman.errors import DataError

PACKAGES = {"rouge_score": "rouge-score", "sklearn": "scikit-learn"}  # module: its package


def find(module: str) -> Any:
    """Import a module; return None if its library is not installed.

    Example:
        >>> from elman.optional import find
        >>> find("json").__name__, find("no_such_library")
        ('json', None)
    """
    try:
        return importlib.import_module(module)
    except ImportError:
        return None


def need(module: str, what: str) -> Any:
    """Import a module; raise a DataError with the name of the library that `what` needs.

    Example:
        >>> from elman.optional import need
        >>> need("no_such_library.parts", "table.xyz")
        Traceback (most recent call last):
        elman.errors.DataError: table.xyz needs no_such_library: pip install no_such_library
    """
    found = find(module)
    if found is None:
        package = _package(module)
        raise DataError(f"{what} needs {package}: pip install {package}")
    return found


def absent(module: str, what: str) -> list[str]:
    """Return a note that `what` is not computed, if the library for it is not installed.

    Example:
        >>> from elman.optional import absent
        >>> absent("json", "BLEU"), absent("no_such_library", "BLEU")
        ([], ['not computed without no_such_library: BLEU (pip install no_such_library)'])
    """
    package = _package(module)
    if find(module) is not None:
        return []
    return [f"not computed without {package}: {what} (pip install {package})"]


def _package(module: str) -> str:
    library = module.partition(".")[0]
    return PACKAGES.get(library, library)
