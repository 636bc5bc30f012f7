"""Labels: values that are read from a cell, written to a cell, and stored in a model."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from typing import Any

import numpy as np

from elman.arguments import article
from elman.errors import ArgumentError, DataError
from elman.read.convert import scalar_of
from elman.read.dialect import Dialect, is_code, is_none, named_like
from elman.read.recordings import is_blank
from elman.read.text import checked_text

Label = Any  # text, a number, or any other value that can be a key of a dict
KINDS: dict[str, Callable[[str], Any]] = {  # types of labels that JSON does not have
    "bytes": bytes.fromhex,
    "date": date.fromisoformat,
    "datetime": datetime.fromisoformat,
    "Timestamp": datetime.fromisoformat,
    "Decimal": Decimal,
    "float": float,
}


def labels_of(
    value: object,
    place: str,
    column: str,
    *,
    separator: str | None,
    dialect: Dialect,
    written: bool,
) -> tuple[Label, ...]:
    """Return the label of a cell, or its labels.

    Args:
        value: the value that was read.
        place: where the row was read, for messages.
        column: name of the column.
        separator: text between several labels; None if each row has exactly one.
        dialect: format of the values, with the codes for missing labels.
        written: whether the value comes from a file, where blanks around a label are ignored.

    Raises:
        DataError: the row has no label.
    """
    value = scalar_of(value)
    if is_code(value, dialect.codes(column, named=True)):
        value = None
    if separator is None:
        return (_label(value, place, column, written=written),)
    if isinstance(value, str):
        value = split_labels(value, separator)
    if hasattr(value, "tolist"):
        value = value.tolist()
    if is_none(value):
        return ()
    some = value if isinstance(value, list | tuple | set | frozenset) else [value]
    labels = [_label(scalar_of(one), place, column, written=written) for one in some]
    return tuple(dict.fromkeys(labels))


def _label(value: object, place: str, column: str, *, written: bool) -> Label:
    if isinstance(value, str):
        checked_text(value, f"{place}: column {column!r}")
        value = " ".join(value.split()) if written else value
    if is_blank(value):
        raise DataError(f"{place}: column {column!r} is empty, expected a label; fill or drop it")
    if isinstance(value, list | dict | tuple | set | frozenset | np.ndarray):
        raise DataError(
            f"{place}: column {column!r} is {article(type(value).__name__)}, expected a label; for "
            "any number of labels set several=True"
        )
    # Other values, such as members of an Enum, cannot be restored from a saved model.  They become
    # text at once, so that a model predicts the same labels before and after it is saved.
    if isinstance(value, Enum) and isinstance(value, str | int | float):
        value = value.value  # equal to the member
    kept = type(value) in (str, int, float, bool, bytes) or type(value).__name__ in KINDS
    return value if kept else str(value)


def join_labels(labels: Iterable[Label], separator: str) -> str:
    """Return labels as one text; a label that contains the separator is put in double quotes.

    Example:
        >>> from elman.read.labels import join_labels, split_labels
        >>> join_labels(["a", "b, c"], ","), split_labels('a,"b, c"', ",")
        ('a,"b, c"', ['a', 'b, c'])
    """
    texts = map(str, labels)
    return separator.join(
        '"' + text.replace('"', '""') + '"' if separator in text or text.startswith('"') else text
        for text in texts
    )


def split_labels(text: str, separator: str) -> list[str]:
    """Return the labels of a text in the form that `join_labels` returns."""
    mark = re.escape(separator)
    found = re.findall(rf'\s*"((?:[^"]|"")*)"\s*(?:{mark}|$)|(.*?)(?:{mark}|$)', text, re.DOTALL)
    labels = [quoted.replace('""', '"') if quoted else plain for quoted, plain in found]
    return [label for label in labels if label.strip()]


def shown_label(label: Label) -> str | int | float | bool:
    """Return a label for JSON and tables: as text, unless it is a plain value."""
    if isinstance(label, float) and not math.isfinite(label):
        return str(label)
    return label if type(label) in (str, int, float, bool) else str(label)


def packed_label(label: Label) -> Any:
    """Return a label as a value for config.json, from which `unpacked_label` restores it.

    Values of other types than those of JSON and `KINDS`, such as an Enum, become text.

    Example:
        >>> from datetime import date
        >>> from elman.read.labels import packed_label, unpacked_label
        >>> packed_label(date(2024, 1, 31)), unpacked_label(packed_label(b"a"))
        ({'date': '2024-01-31'}, b'a')
    """
    kind = type(label).__name__
    if isinstance(label, bytes):
        return {"bytes": label.hex()}
    if kind in KINDS:
        return {kind: str(label)}
    found = shown_label(label)
    return found if found == label or not isinstance(label, float) else {"float": found}


def unpacked_label(value: Any) -> Label:
    """Return the label from which `packed_label` made the value."""
    if not isinstance(value, dict):
        return value
    if len(value) != 1 or not set(value) <= set(KINDS):
        raise ArgumentError(f"a label must be a value, or a type and its text, got {value!r}")
    ((kind, text),) = value.items()
    return KINDS[kind](text)


def alike(label: Label) -> str:
    """Return a label as text for comparison, which does not depend on its type."""
    return named_like(" ".join(str(label).split()))


def columns_set(labels: Any, *, several: bool) -> Any:
    """Return the indices of the ones in each row of a matrix (N, K) of zeros and ones.

    Other labels are returned unchanged.

    Raises:
        ArgumentError: a matrix has other values, or `several` is not set.
    """
    shape = getattr(labels, "shape", ())
    if len(shape) < 2:
        return labels
    matrix = np.asarray(labels)
    if not several or matrix.ndim != 2 or not np.isin(matrix, (0, 1)).all():
        raise ArgumentError(
            f"labels must be a list, or with several=True a matrix of zeros and ones; got {shape}"
        )
    return [np.flatnonzero(row).tolist() for row in matrix]
