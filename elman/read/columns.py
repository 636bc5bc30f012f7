"""Typed columns out of tables and frames: names, stamps, numbers, and values of either kind.

    name      words, none missing
    stamp     dates or whole numbers, see `elman.read.clock`
    moment    dates, or seconds: numbers of any kind, or hours:minutes(:seconds)
    number    a number, true or false, or nothing; text is an error of its row
    value     the same, or words in all rows: a category
    word      a category, whatever it looks like
    raw       anything, as it is

Nothing is an empty field, NA or NaN; it is NaN here and stays so, but NA may be a name.  Infinity
is an error.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from elman.errors import ArgumentError, DataError
from elman.read.clock import Clock, wanted_stamp
from elman.read.files import files_below, kind_of, path_of
from elman.read.rows import Rejects, Row, Rows
from elman.read.stamps import Parsed, parse, parse_seconds
from elman.read.tables import TABLES, listed
from elman.read.text import table_columns

Kind = Literal["name", "stamp", "moment", "number", "value", "word", "raw"]
NOTHING = {"", "na", "n/a", "nan", "null", "none", "?"}
TRUTH = {"true": 1.0, "false": 0.0}  # as frames write them
DATE = re.compile(r"\d{1,4}[-/.]\d\d?[-/.]\d")
PLAIN = {str, float, bool, type(None)}  # types of one value each, of any size
LARGEST = 10**300  # whole number that a float holds safely
SHOWN = 60  # characters of a value in a message
BLOCK = 1 << 16  # rows that are turned into arrays at a time
Part = NDArray[Any] | list[object] | Parsed  # of a column


@dataclass
class Column:
    """Values (N,) of good rows: float64, stamps, the numbers of words, or objects.

    Attributes:
        values: of the rows; of stamps with a zone in UTC.
        words: of a column of names or categories, by number; else None.
        whole: whether all names were whole numbers, and no text.
        clock: of a column of stamps, how they are read and written; else None.
        offsets: (N,) microseconds by which the clock of a stamp's zone is ahead of UTC; or None.
    """

    values: NDArray[Any]
    words: list[str] | None = None
    whole: bool = False
    clock: Clock | None = None
    offsets: NDArray[np.int64] | None = None


@dataclass
class Columns:
    """Columns of one length, and where their rows stand.

    Attributes:
        columns: by name.
        ordinals: (N,) number of each row in the source.
        rows: the source.
    """

    columns: dict[str, Column]
    ordinals: NDArray[np.int64]
    rows: Rows

    def place(self, row: int) -> str:
        """Where a row stands: the source is read again, as only a complaint needs it."""
        return self.places([row])[0]

    def places(self, rows: Sequence[int]) -> list[str]:
        """Where rows stand."""
        wanted = {int(self.ordinals[row]): "" for row in rows}
        for n, row in enumerate(islice(self.rows.read(), max(wanted, default=-1) + 1)):
            if n in wanted:
                wanted[n] = row.place
        return [wanted[int(self.ordinals[row])] for row in rows]


class Table:
    """A table of any kind, with the names of its columns.

    Args:
        source: a file, a data frame of polars or pandas, or a dict of columns.
        encoding: of the file.
        lenient: whether bytes that are not text are an error of their row instead of the file.

    Raises:
        ArgumentError: it is none of these.
        DataError: the file is not there.

    Example:
        >>> from elman.read.columns import Table
        >>> from elman.read.rows import Rejects
        >>> table = Table({"who": ["a", "b"], "y": ["1", ""], "kind": ["x", "x"]})
        >>> found = table.read({"who": "name", "y": "number", "kind": "value"}, Rejects(None))
        >>> [(c.values.tolist(), c.words) for c in found.columns.values()]
        [([0, 1], ['a', 'b']), ([1.0, nan], None), ([0.0, 0.0], ['x'])]
    """

    def __init__(self, source: Any, *, encoding: str = "utf-8", lenient: bool = False) -> None:
        self.encoding, self.lenient = encoding, lenient
        self.file: Path | None = None
        self.frame: dict[str, list[object]] = {}
        if type(source).__name__ == "LazyFrame":
            source = source.collect()
        if isinstance(source, str | Path):
            if not path_of(source, "a table").exists():
                raise DataError(f"{source}: there is no such file; expected a table")
            self.file = files_below(source)[0]
            if kind_of(self.file) not in TABLES or Path(source).is_dir():
                shown = ", ".join(sorted(TABLES))
                raise ArgumentError(f"{source}: expected a table ({shown}, also .gz)")
            self.names = table_columns(self.file, encoding)
        elif isinstance(source, Mapping):
            self.frame = {str(name): list(values) for name, values in source.items()}
            self.names = list(self.frame)
        elif hasattr(source, "columns") and hasattr(source, "__getitem__"):
            names = [str(name) for name in source.columns]
            twice = next((name for name, count in Counter(names).items() if count > 1), None)
            if twice is not None:
                raise ArgumentError(f"the data frame has two columns {twice!r}; rename one")
            self.frame = _index_of(source, names)
            self.frame |= {str(name): source[name].to_list() for name in source.columns}
            self.names = list(self.frame)
        else:
            raise ArgumentError(
                "expected a file, a data frame or a dict of columns, got " + type(source).__name__
            )
        if not self.names:
            raise ArgumentError("a table without columns; expected one or more")

    def rows(self, names: Sequence[str]) -> Rows:
        """The rows of some columns.

        Raises:
            ArgumentError: one is not there, or named twice.
        """
        there = set(self.names)
        for name, count in Counter(names).items():
            if count > 1:
                raise ArgumentError(f"column {name!r} is named for two different ends")
            if name not in there:
                where = f"{self.file}: " if self.file else ""
                shown = listed(self.names)
                raise ArgumentError(f"{where}no column {name!r}; its columns: {shown}")
        if self.file is not None:
            return Rows(self.file, names, encoding=self.encoding, lenient=self.lenient)
        first, *rest = (self.frame[name] for name in names)
        return Rows(first, names, beside=rest)

    def read(
        self,
        kinds: Mapping[str, Kind],
        rejects: Rejects,
        *,
        ds_format: str | None = None,
        zone: str | None = None,
        clock: Clock | None = None,
        words: Mapping[str, Sequence[str]] | None = None,
    ) -> Columns:
        """All rows of the columns named.

        Args:
            kinds: of the columns.
            rejects: hears of rows that cannot be used.
            ds_format: of stamps that are not ISO 8601, see `elman.read.stamps.parse`.
            zone: of the stamps; None for that which they have.
            clock: of stamps that are read as others were; None to find it.
            words: of categories those whose numbers are known.

        Raises:
            DataError: there is no good row, or a column holds numbers in some and words in others.
        """
        rows = self.rows(list(kinds))
        parts: list[list[Part]] = [[] for _ in kinds]
        names: list[dict[str, int]] = [{} for _ in kinds]
        ordinals: list[NDArray[np.int64]] = []
        texts = set[str]()  # columns of names with text among them
        for numbers, places, block in _good(rows.read(), rejects):
            bad: dict[int, str] = {}
            found: list[Part] = []
            for (name, kind), known, values in zip(kinds.items(), names, block, strict=True):
                values, strange = (values, {}) if kind == "raw" else _single(values)
                array, wrong = _convert(kind, values, known, ds_format)
                wrong |= strange
                bad = {n: f"column {name!r} {why}" for n, why in wrong.items()} | bad
                found.append(array)
                if kind == "name" and not all(type(value) is int for value in values):
                    texts.add(name)
            for n in sorted(bad):
                rejects.add(places[n], DataError(f"{places[n]}: {bad[n]}"))
            kept = np.ones(len(numbers), dtype=bool)
            kept[list(bad)] = False
            ordinals.append(numbers[kept])
            for part, array in zip(parts, found, strict=True):
                if isinstance(array, list):
                    part.append([value for value, keep in zip(array, kept, strict=True) if keep])
                else:
                    part.append(array.pick(kept) if isinstance(array, Parsed) else array[kept])
        if not sum(map(len, ordinals)):
            raise DataError(f"{rows.name}: has no row that can be used")
        whole = Columns({}, np.concatenate(ordinals), rows)
        bad = {}
        for (name, kind), part, known in zip(kinds.items(), parts, names, strict=True):
            if kind in ("stamp", "moment"):
                stamps = [one for one in part if isinstance(one, Parsed) and len(one.values)]
                if len({one.values.dtype.kind == "M" for one in stamps}) > 1:
                    raise DataError(f"{rows.name}: column {name!r} has dates and numbers; mend it")
                parsed = Parsed.join(stamps)
                known_clock = clock or Clock.find(parsed, ds_format, zone, seconds=kind == "moment")
                moments, offsets, unread = known_clock.read(parsed)
                bad |= {n: f"column {name!r} {known_clock.why(parsed, n)}" for n in unread}
                known_clock = replace(known_clock, text=parsed.text)
                whole.columns[name] = Column(moments, clock=known_clock, offsets=offsets)
                continue
            before = list(known) if kind == "name" else list((words or {}).get(name, ()))
            whole.columns[name] = _join(name, kind, part, before, whole)
            whole.columns[name].whole = kind == "name" and name not in texts
        return _without(whole, bad, rejects) if bad else whole


def _without(whole: Columns, bad: Mapping[int, str], rejects: Rejects) -> Columns:
    """The rows that are not bad."""
    rows = sorted(bad)
    for row, place in zip(rows, whole.places(rows), strict=True):
        rejects.add(place, DataError(f"{place}: {bad[row]}"))
    kept = np.ones(len(whole.ordinals), dtype=bool)
    kept[rows] = False
    if not kept.any():
        raise DataError(f"{whole.rows.name}: has no row that can be used")
    columns = {
        name: replace(
            one, values=one.values[kept],
            offsets=None if one.offsets is None else one.offsets[kept],
        )
        for name, one in whole.columns.items()
    }  # fmt: skip
    return Columns(columns, whole.ordinals[kept], whole.rows)


def _index_of(frame: Any, names: Sequence[str]) -> dict[str, list[object]]:
    """The index of a frame of pandas as a column, if it has a name or holds stamps."""
    index = getattr(frame, "index", None)
    if index is None or not hasattr(index, "nlevels"):
        return {}
    if type(index).__name__ == "PeriodIndex":
        index = index.to_timestamp()
    stamps = type(index).__name__ == "DatetimeIndex"
    levels = [
        (name or ("ds" if stamps else None), index.get_level_values(level).tolist())
        for level, name in enumerate(index.names)
    ]
    return {str(name): values for name, values in levels if name and str(name) not in names}


def _good(
    rows: Iterator[Row], rejects: Rejects
) -> Iterator[tuple[NDArray[np.int64], list[str], list[tuple[object, ...]]]]:
    """Blocks of rows that are some: their numbers in the source, places, and columns."""
    at = 0
    while block := list(islice(rows, BLOCK)):
        numbers, places, values = [], [], []
        for n, row in enumerate(block, at):
            if isinstance(row.values, DataError):
                rejects.add(row.place, row.values)
            else:
                numbers.append(n)
                places.append(row.place)
                values.append(row.values)
        at += len(block)
        if values:
            yield np.array(numbers), places, list(zip(*values, strict=True))


def _single(values: tuple[object, ...]) -> tuple[tuple[object, ...], dict[int, str]]:
    """Values with None for those that are several, or integers too large; and why, by number."""
    wrong: dict[int, str] = {}
    if set(map(type, values)) <= PLAIN:
        return values, wrong
    for n, value in enumerate(values):
        if isinstance(value, list | tuple | dict | set) or getattr(value, "ndim", 0) > 0:
            wrong[n] = f"is {_shown(value)}, expected one value; drop the row, or split it"
        elif isinstance(value, int) and abs(value) > LARGEST:
            wrong[n] = "is a whole number of over 300 digits; mend or drop the row"
    kept = tuple(None if n in wrong else v for n, v in enumerate(values)) if wrong else values
    return kept, wrong


def _convert(
    kind: Kind, values: Sequence[object], known: dict[str, int], form: str | None
) -> tuple[Part, dict[int, str]]:
    """An array, of a category the words, or stamps as they are written; and what is wrong where."""
    if kind == "name":
        texts = ["" if _is_none(value) else str(value) for value in values]
        numbers = [known.setdefault(text, len(known)) for text in texts]
        nothing = {known[word] for word in known if not word.strip()}
        wrong = {n: "is empty, expected a name" for n, k in enumerate(numbers) if k in nothing}
        return np.array(numbers), wrong
    if kind in ("stamp", "moment"):
        parsed = (parse if kind == "stamp" else parse_seconds)(values, form)
        wanted = wanted_stamp(form, seconds=kind == "moment")
        return parsed, {n: f"is {_shown(values[n])}, expected {wanted}" for n in parsed.bad}
    if kind in ("word", "raw"):
        return list(values), {}
    array: NDArray[Any] | None = None
    with suppress(TypeError, ValueError):  # what most columns are, at once
        array = np.array([math.nan if v is None or v == "" else v for v in values], np.float64)
    try:
        if array is None:
            array = np.array([math.nan if is_nothing(v) else _number(v) for v in values])
    except (TypeError, ValueError):
        if kind == "value":
            return list(values), {}
        array = np.array([number_or_nan(value) for value in values])
    strange = np.flatnonzero(~np.isfinite(array)).tolist()
    wrong = {
        n: f"is {_shown(values[n])}, expected a finite number; "
        + ("name it as ds" if DATE.match(str(values[n])) else "mend or drop the row")
        for n in strange if not is_nothing(values[n])
    }  # fmt: skip
    return array, wrong


def _join(name: str, kind: Kind, parts: list[Part], known: list[str], whole: Columns) -> Column:
    """One column of its blocks."""
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
    numbers = (
        n for n, v in enumerate(values)
        if math.isfinite(number_or_nan(v)) and str(v).strip().lower() not in TRUTH
    )  # fmt: skip
    if kind == "value" and (number := next(numbers, None)) is not None:
        fits = (is_nothing(v) or math.isfinite(number_or_nan(v)) for v in values)
        wrong = next(n for n, fine in enumerate(fits) if not fine)
        raise DataError(
            f"{whole.place(wrong)}: column {name!r} is {values[wrong]!r}, but a number "
            f"({values[number]!r}) in other rows; make all of them numbers or all of them words"
        )
    codes = {word: n for n, word in enumerate(known)}
    found = [math.nan if is_nothing(v) else codes.setdefault(str(v), len(codes)) for v in values]
    return Column(np.array(found, dtype=np.float64), list(codes))


def number_or_nan(value: object) -> float:
    """The number that a value is or says, NaN if none."""
    try:
        return _number(value)
    except (TypeError, ValueError):
        return math.nan


def _number(value: object) -> float:
    if isinstance(value, str) and value.strip().lower() in TRUTH:
        return TRUTH[value.strip().lower()]
    return float(value)  # type: ignore[arg-type]


def is_nothing(value: object) -> bool:
    """Whether a value, or what is written, means that there is none."""
    if isinstance(value, str):
        return value.strip().lower() in NOTHING
    return _is_none(value)


def _is_none(value: object) -> bool:
    # Those of pandas are neither equal to themselves nor not.
    return type(value).__name__ in ("NoneType", "NAType", "NaTType") or bool(value != value)


def _shown(value: object) -> str:
    if getattr(value, "ndim", 0):
        return f"an array of shape {value.shape}"  # type: ignore[attr-defined]
    if is_nothing(value):
        return "empty"
    text = repr(value)
    return text if len(text) <= SHOWN + 3 else f"{text[:SHOWN]}... ({len(text):,} characters)"
