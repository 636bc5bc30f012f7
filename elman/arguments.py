"""Check the types of arguments of public methods, with errors of one line."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from functools import cache
from numbers import Integral, Real
from types import UnionType
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin, get_type_hints

from elman.errors import ArgumentError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

NAMES: dict[object, tuple[str, str]] = {  # singular and plural of each type
    int: ("a whole number", "whole numbers"),
    float: ("a number", "numbers"),
    str: ("a string", "strings"),
    bool: ("True or False", "True or False"),
}


def is_unicode(text: str) -> bool:
    """Return whether a text can be encoded; a text with half of a surrogate pair cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def text_of_argument(value: object, name: str) -> str:
    """Return a string that can be encoded; raise an ArgumentError for anything else.

    Example:
        >>> from elman.arguments import text_of_argument
        >>> text_of_argument(["the"], "text")
        Traceback (most recent call last):
        elman.errors.ArgumentError: text must be a string, got list
    """
    if not isinstance(value, str):
        raise ArgumentError(f"{name} must be a string, got {type(value).__name__}")
    if not is_unicode(value):
        raise ArgumentError(f"{name} is not valid Unicode: it has half a surrogate pair")
    return value


def list_of_argument(value: Any, name: str, of: str) -> list[Any]:
    """Return an iterable as a list; raise an ArgumentError for a string or anything else."""
    if isinstance(value, str | bytes):
        raise ArgumentError(f"expected a list of {of}, got one: {value[:40]!r}; write [{name}]")
    if not isinstance(value, Iterable) or getattr(value, "ndim", 1) == 0:
        raise ArgumentError(f"{name} must be a list of {of}, got {type(value).__name__}")
    return list(value)


def texts_of_argument(value: Any, name: str) -> list[str]:
    """Return an iterable of strings as a list; raise an ArgumentError for anything else."""
    return [
        text_of_argument(text, f"{name}[{n}]")
        for n, text in enumerate(list_of_argument(value, name, "strings"))
    ]


def check_whole(value: object, name: str, *, least: int | None = None) -> None:
    """Raise an ArgumentError unless the value is a whole number, at least `least`."""
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise ArgumentError(f"{name} must be a whole number, got {_shown(value)}")
    if least is not None and value < least:
        raise ArgumentError(f"{name} must be at least {least}, got {value}")


def check_seed(seed: int) -> None:
    """Raise an ArgumentError unless the seed is a whole number of 64 bits."""
    check_whole(seed, "seed")
    if not abs(seed) < 2**63:
        raise ArgumentError(f"seed must have 64 bits, got {seed}")


def check_number(value: object, name: str) -> None:
    """Raise an ArgumentError unless the value is a number."""
    if not isinstance(value, Real) or isinstance(value, bool):
        raise ArgumentError(f"{name} must be a number, got {_shown(value)}")


def check_kind(value: object, kinds: tuple[type, ...], name: str) -> None:
    """Raise an ArgumentError unless the value is None or an instance of `kinds`."""
    if value is not None and not isinstance(value, kinds):
        wanted = " or ".join(article(kind.__name__) for kind in kinds)
        raise ArgumentError(f"{name} must be {wanted}, got {type(value).__name__}")


def article(noun: str) -> str:
    """Return a noun with its indefinite article, which depends on the first letter.

    Example:
        >>> from elman.arguments import article
        >>> article("Endpoints"), article("LanguageModel")
        ('an Endpoints', 'a LanguageModel')
    """
    return f"{'an' if noun[:1] in 'AEIOUaeio' else 'a'} {noun}"


def plain(value: Any, kind: str = "") -> Any:
    """Convert a setting to plain Python values, which can be compared and written as JSON.

    Args:
        value: value of a setting; numbers of NumPy or torch, arrays, lists and paths are converted.
        kind: type annotation of the setting; if it is a tuple, a single value becomes one.

    Example:
        >>> import numpy as np
        >>> from elman.arguments import plain
        >>> plain(np.int64(8)), plain(np.arange(2)), plain("x", "tuple[str, ...]")
        (8, (0, 1), ('x',))
    """
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, Mapping):  # codes of missing values by column
        pairs = [(name, one) for name, some in value.items() for one in plain(some, "tuple[str")]
        return tuple(f"{name}={one}" for name, one in pairs)
    if hasattr(value, "tolist"):  # NumPy and torch
        value = value.tolist()
    if isinstance(value, list | tuple | range | set | frozenset):
        items = tuple(map(plain, value))
        if isinstance(value, tuple) and all(a is b for a, b in zip(value, items, strict=True)):
            items = value  # clone of scikit-learn checks that the object is the same
    elif kind.startswith("tuple[") and value is not None and not kind.endswith("| int"):
        items = (value,)
    else:
        return value
    if kind.startswith("tuple[str") and not all(isinstance(one, str) for one in items):
        return tuple(map(str, items))
    return items


def check_types(values: DataclassInstance) -> None:
    """Raise an ArgumentError unless each field of a dataclass has a value of its annotated type.

    This function checks the settings of a task and values read from JSON.  If a subclass narrows
    the type of a field, as the flags of the command line do, the wider type is accepted too.

    Example:
        >>> from elman.arguments import check_types
        >>> from elman.train.settings import TrainingSettings
        >>> check_types(TrainingSettings(epochs=1.5))
        Traceback (most recent call last):
        elman.errors.ArgumentError: epochs must be a whole number, got 1.5
    """
    hints = hints_of(type(values))
    for field in fields(values):
        value, kinds = getattr(values, field.name), hints[field.name]
        if not any(is_of_type(value, kind) for kind in kinds):
            check_type(value, kinds[0], field.name)


@cache
def hints_of(kind: type) -> dict[str, list[object]]:
    """Return the annotated types of each field of a dataclass: its own, then those of its bases."""
    found: dict[str, list[object]] = {}
    for one in kind.__mro__:
        for name, hint in get_type_hints(one).items():
            found.setdefault(name, []).append(hint)
    return found


def check_type(value: object, hint: object, name: str) -> None:
    """Raise an ArgumentError unless a value is of an annotated type, see `is_of_type`."""
    if not is_of_type(value, hint):
        shown = repr(value)[:40] if isinstance(value, list | tuple | dict) else _shown(value)
        raise ArgumentError(f"{name} must be {_name_of_type(hint)}, got {shown}")


def check_names(what: str, names: object) -> None:
    """Raise an ArgumentError unless there are two or more different names of classes."""
    if not (isinstance(names, list) and len(set(map(repr, names))) == len(names) >= 2):
        raise ArgumentError(f"{what} must be a list of two or more different names, got {names!r}")
    check_type(names, list[str | int | float | bool | dict[str, str]], what)


def is_of_type(value: object, hint: object) -> bool:
    """Return whether a value is of an annotated type; an int counts as a float, a bool does not.

    Example:
        >>> from elman.arguments import is_of_type
        >>> is_of_type([1, 2.5], list[float]), is_of_type(True, int), is_of_type(None, str | None)
        (True, False, True)
    """
    origin, inside = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return any(is_of_type(value, one) for one in inside)
    if origin is Literal:
        return any(type(value) is type(one) and value == one for one in inside)
    if origin in (list, tuple):
        return isinstance(value, origin) and all(is_of_type(one, inside[0]) for one in value)
    if origin is dict:
        if not isinstance(value, dict):
            return False
        keys = all(is_of_type(key, inside[0]) for key in value)
        return keys and all(is_of_type(one, inside[1]) for one in value.values())
    if isinstance(value, bool):
        return hint is bool
    if hint is float:
        return isinstance(value, int | float)
    kind = origin or hint
    return isinstance(kind, type) and isinstance(value, kind)


def _name_of_type(hint: object, *, many: bool = False) -> str:
    """Return the name of an annotated type for a message, without None."""
    origin, inside = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        kinds = [one for one in inside if one is not type(None)]
        return " or ".join(_name_of_type(one, many=many) for one in kinds)
    if origin is Literal:
        return f"one of {', '.join(map(str, inside))}"
    if origin in (list, tuple):
        return f"{'lists' if many else 'a list'} of {_name_of_type(inside[0], many=True)}"
    if origin is dict:
        return f"{'objects' if many else 'an object'} of {_name_of_type(inside[1], many=True)}"
    if hint in NAMES:
        return NAMES[hint][many]
    return hint.__name__ if isinstance(hint, type) else str(hint)


def _shown(value: object) -> str:
    text = repr(value) if isinstance(value, str | int | float | None) else type(value).__name__
    return text if len(text) <= 40 else f"{text[:40]}..."


def either(names: Sequence[str]) -> str:
    """Return names as a choice for a message.

    Example:
        >>> from elman.arguments import either
        >>> either(["a"]), either(["a", "b", "c"])
        ('a', 'a, b or c')
    """
    return " or ".join(filter(None, (", ".join(names[:-1]), names[-1])))
