"""Check the types of arguments of public methods, with errors of one line."""

from __future__ import annotations

from collections.abc import Iterable
from numbers import Integral, Real
from typing import Any

from elman.errors import ArgumentError


def is_unicode(text: str) -> bool:
    """Return whether a text can be encoded: it has no half of a surrogate pair."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def text_of_argument(value: object, name: str) -> str:
    """Return a text that can be encoded; raise an ArgumentError for anything else.

    Example:
        >>> from elman.arguments import text_of_argument
        >>> text_of_argument(["the"], "text")
        Traceback (most recent call last):
        elman.errors.ArgumentError: text must be a text, got list
    """
    if not isinstance(value, str):
        raise ArgumentError(f"{name} must be a text, got {type(value).__name__}")
    if not is_unicode(value):
        raise ArgumentError(f"{name} is not valid Unicode: it has half a surrogate pair")
    return value


def list_of_argument(value: Any, name: str, of: str) -> list[Any]:
    """Return an iterable as a list; raise an ArgumentError for a single text or anything else."""
    if isinstance(value, str | bytes):
        raise ArgumentError(f"expected a list of {of}, got one: {value[:40]!r}; write [{name}]")
    if not isinstance(value, Iterable) or getattr(value, "ndim", 1) == 0:
        raise ArgumentError(f"{name} must be a list of {of}, got {type(value).__name__}")
    return list(value)


def check_whole(value: object, name: str, *, least: int | None = None) -> None:
    """Raise an ArgumentError unless the value is a whole number, at least `least`."""
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise ArgumentError(f"{name} must be a whole number, got {_shown(value)}")
    if least is not None and value < least:
        raise ArgumentError(f"{name} must be at least {least}, got {value}")


def check_number(value: object, name: str) -> None:
    """Raise an ArgumentError unless the value is a number."""
    if not isinstance(value, Real) or isinstance(value, bool):
        raise ArgumentError(f"{name} must be a number, got {_shown(value)}")


def check_kind(value: object, kinds: tuple[type, ...], name: str) -> None:
    """Raise an ArgumentError unless the value is None or an instance of `kinds`."""
    if value is not None and not isinstance(value, kinds):
        wanted = " or ".join(kind.__name__ for kind in kinds)
        raise ArgumentError(f"{name} must be a {wanted}, got {type(value).__name__}")


def _shown(value: object) -> str:
    text = repr(value) if isinstance(value, str | int | float | None) else type(value).__name__
    return text if len(text) <= 40 else f"{text[:40]}..."
