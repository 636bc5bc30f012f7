"""Convert the values of a column to arrays, and explain which values cannot be converted."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from elman.errors import DataError
from elman.read.clock import Clock, wanted_stamp
from elman.read.dialect import (
    COMMA,
    TRUTH,
    is_mark,
    is_none,
    is_nothing,
    name_of,
    named_like,
    number_or_nan,
    with_point,
)
from elman.read.stamps import Parsed, parse, parse_seconds

Kind = Literal["name", "stamp", "moment", "number", "value", "word", "raw"]
DATE = re.compile(r"\d{1,4}[-/.]\d\d?[-/.]\d")
GROUPED = re.compile(r"[+-]?\d{1,3}([.,\u2019\u00a0\u202f ]\d{3})+([.,]\d+)?", re.ASCII)
SINGLE = {str, float, bool, type(None)}  # types that need no check in `single`
LARGEST = 10**300  # the largest whole number that a float can safely represent
SHOWN = 60  # characters of a value in a message
PLAIN = re.compile(r"[0-9+\-.eE\s]*", re.ASCII)  # text that float() reads correctly


Part = NDArray[Any] | list[object] | Parsed  # a block of a column


@dataclass
class Column:
    """Values (N,) of good rows: float64, stamps, the numbers of words, or objects.

    Attributes:
        values: values of the rows; stamps with a zone are in UTC.
        words: words of a column of names or categories, by number; else None.
        given: original values of names that were not text.
        clock: clock of a column of stamps; else None.
        offsets: (N,) microseconds by which the clock of a stamp's zone is ahead of UTC; or None.
    """

    values: NDArray[Any]
    words: list[str] | None = None
    given: dict[str, Any] = field(default_factory=dict)
    clock: Clock | None = None
    offsets: NDArray[np.int64] | None = None


def scalar_of(value: Any) -> Any:
    """Convert a single number of NumPy or torch to a Python value; keep anything else."""
    if isinstance(value, np.datetime64):
        value = value.astype("datetime64[us]")  # `item` of ns would return a number, not a date
    return value.item() if getattr(value, "ndim", None) == 0 and hasattr(value, "item") else value


def single(values: tuple[object, ...]) -> tuple[tuple[object, ...], dict[int, str]]:
    """Replace lists and too large integers by None; return the values, and reasons by index."""
    wrong: dict[int, str] = {}
    if set(map(type, values)) <= SINGLE:
        return values, wrong
    for n, value in enumerate(values):
        if isinstance(value, list | tuple | dict | set) or getattr(value, "ndim", 0) > 0:
            wrong[n] = f"is {_shown(value)}, expected one value; drop the row, or split it"
        elif isinstance(value, int) and abs(value) > LARGEST:
            wrong[n] = "is a whole number with over 300 digits; correct or drop the row"
    kept = tuple(None if n in wrong else v for n, v in enumerate(values)) if wrong else values
    return kept, wrong


def convert(
    kind: Kind,
    values: Sequence[object],
    known: dict[Any, int],
    form: str | None,
    decimal: str | None,
) -> tuple[Part, dict[int, str]]:
    """Convert values to an array, a list or parsed stamps; return them and the bad ones' errors."""
    if kind == "name":
        texts = ["" if is_none(v) or is_mark(str(v)) else name_of(v) for v in values]
        numbers = [known.setdefault(text, len(known)) for text in texts]
        nothing = {known[word] for word in known if not word.strip()}
        wrong = {n: "is empty, expected a name" for n, k in enumerate(numbers) if k in nothing}
        return np.array(numbers), wrong
    if kind in ("stamp", "moment"):
        if decimal == ",":
            values = [with_point(value) for value in values]
        parsed = (parse if kind == "stamp" else parse_seconds)(values, form)
        if type(values[0]) is date:
            parsed = replace(parsed, days=all(type(value) is date for value in values))
        if not parsed.bad:
            return parsed, {}
        wanted = wanted_stamp(form, values, seconds=kind == "moment")
        return parsed, {n: f"is {_shown(values[n])}, expected {wanted}" for n in parsed.bad}
    if kind in ("word", "raw"):
        return list(values), {}
    if kind == "value":
        return _numbered(values, known)
    array = _all_numbers(values, decimal or ".")
    if array is None:
        array = np.array([number_or_nan(value, decimal or ".") for value in values])
    strange = np.flatnonzero(~np.isfinite(array)).tolist()
    wrong = {
        n: f"is {_shown(values[n])}, expected a finite number; {_remedy(values[n])}"
        for n in strange
        if not is_nothing(values[n])
    }
    return array, wrong


def _all_numbers(values: Sequence[object], decimal: str) -> NDArray[np.float64] | None:
    """Convert all values to numbers at once if that is safe; else return None."""
    text = "\n".join([value for value in values if isinstance(value, str)])
    if text and (not PLAIN.fullmatch(text) or (decimal == "," and "." in text)):
        return None
    with suppress(TypeError, ValueError):
        return np.array([math.nan if v is None or v == "" else v for v in values], np.float64)
    return None


def _numbered(
    values: Sequence[object], known: dict[Any, int]
) -> tuple[NDArray[Any], dict[int, str]]:
    """Return the number of each value, -1 for missing ones, and the errors of infinite values."""
    try:
        numbers = [-1 if is_nothing(v) else known.setdefault(v, len(known)) for v in values]
    except TypeError:  # values such as lists cannot be keys
        numbers = [-1 if is_nothing(v) else known.setdefault(str(v), len(known)) for v in values]
    infinite = {n for v, n in known.items() if isinstance(v, float) and math.isinf(v)}
    wrong = {
        place: f"is {values[place]!r}, expected a finite number; {_remedy(values[place])}"
        for place, n in enumerate(numbers)
        if n in infinite
    }
    return np.array(numbers, dtype=np.int64), wrong


def _remedy(value: object) -> str:
    """Return the remedy for a value that is not a number."""
    text = str(value).strip()
    if DATE.match(text):
        return "set ds to this column"
    if COMMA.fullmatch(text):
        return 'set decimal="," if its comma is a decimal mark'
    if GROUPED.fullmatch(text):
        return "write it without thousands separators"
    return "correct or drop the row, or set missing to this code"


def is_number(value: object, decimal: str) -> bool:
    """Return whether a value or its text is a number; the texts true and false are words."""
    is_truth = isinstance(value, str) and value.strip().lower() in TRUTH
    return not is_truth and not math.isnan(number_or_nan(value, decimal))


def _shown(value: object) -> str:
    if getattr(value, "ndim", 0):
        return f"an array of shape {value.shape}"  # type: ignore[attr-defined]
    if is_nothing(value):
        return "empty"
    text = repr(value)
    return text if len(text) <= SHOWN + 3 else f"{text[:SHOWN]}... ({len(text):,} characters)"


def join_stamps(
    parts: list[Part],
    where: str,
    clock: Clock | None,
    ds_format: str | None,
    zone: str | None,
    kind: Kind,
) -> tuple[Column, dict[int, str]]:
    """Join the blocks of a column of stamps; also return the errors of bad stamps by index."""
    stamps = [one for one in parts if isinstance(one, Parsed) and len(one.values)]
    if len({one.values.dtype.kind == "M" for one in stamps}) > 1:
        raise DataError(f"{where} has both dates and numbers; use one kind")
    parsed = Parsed.join(stamps)
    clock = clock or Clock.find(parsed, ds_format, zone, seconds=kind == "moment")
    moments, offsets, unread = clock.read(parsed, whole=kind == "stamp")
    wrong = {n: clock.why(parsed, n) for n in unread}
    clock = replace(clock, text=parsed.text, days=parsed.days)
    return Column(moments, clock=clock, offsets=offsets), wrong


def join_blocks(kind: Kind, parts: list[Part], known: list[str]) -> Column:
    """Join the blocks of one column."""
    if kind == "name":
        return Column(np.concatenate(cast("list[NDArray[Any]]", parts)), known)
    arrays = [part for part in parts if isinstance(part, np.ndarray) and len(part)]
    if not any(isinstance(part, list) for part in parts):
        return Column(np.concatenate(arrays))
    values = [value for part in parts if not isinstance(part, Parsed) for value in part]
    if kind == "raw":
        column = np.empty(len(values), dtype=object)
        column[:] = values
        return Column(column)
    codes = {word: n for n, word in enumerate(known)}
    found = [
        math.nan if is_nothing(v) else codes.setdefault(_as_known(v, codes), len(codes))
        for v in values
    ]
    return Column(np.array(found, dtype=np.float64), list(codes))


def _as_known(value: object, known: Mapping[str, int]) -> str:
    """Return a word, or the known word that equals it as a number: 1, 1.0 and "1.0"."""
    word = name_of(value)
    return word if word in known or named_like(word) not in known else named_like(word)
