"""Read typed columns of tables and frames: names, stamps, numbers, and categories.

    name      words, none missing; whole numbers of any type are equal names
    stamp     dates or whole numbers, see `elman.read.clock`
    moment    dates, or seconds: numbers of any kind, or hours:minutes(:seconds)
    number    a number, true or false, or nothing; text is an error of its row
    value     a number, or a category if all rows are words; the declared type of a frame, Parquet
              or JSONL decides, in .csv and .tsv the form of the values (see `dialect.py`)
    word      a category, in any form
    raw       any value, unchanged

A missing value is an empty field, NA, NaN, an error of Excel such as #N/A, or a code that the user
names; it is NaN here, but NA can be a name.  Infinity is an error.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from elman.errors import ArgumentError, DataError
from elman.optional import need
from elman.read.clock import Clock
from elman.read.convert import Kind, Part, convert, is_number, scalar_of, single
from elman.read.dialect import (
    Dialect,
    are_numbers,
    find_decimal,
    is_code,
    is_nothing,
    name_of,
    named_like,
    number_of,
)
from elman.read.files import files_below, is_path, kind_of, path_of
from elman.read.rows import Rejects, Row, Rows
from elman.read.stamps import Parsed
from elman.read.tables import TABLES, USUAL, listed, no_column
from elman.read.text import table_head

WORDS = ("category", "string", "str", "Categorical", "Enum", "String", "Utf8")  # types of frames
BLOCK = 1 << 16  # rows that are converted to arrays at a time


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


@dataclass
class Columns:
    """Columns of equal length, and the places of their rows.

    Attributes:
        columns: columns by name.
        ordinals: (N,) number of each row in the source.
        rows: the source.
        dialect: format of the values.
        decimal: decimal mark of the numbers.
    """

    columns: dict[str, Column]
    ordinals: NDArray[np.int64]
    rows: Rows
    dialect: Dialect
    decimal: str

    def place(self, row: int) -> str:
        """Return the place of a row; the source is read again, as only messages need it."""
        return self.places([row])[0]

    def places(self, rows: Sequence[int]) -> list[str]:
        """Return the places of rows."""
        wanted = {int(self.ordinals[row]): "" for row in rows}
        for n, row in enumerate(islice(self.rows.read(), max(wanted, default=-1) + 1)):
            if n in wanted:
                wanted[n] = row.place
        return [wanted[int(self.ordinals[row])] for row in rows]


def is_frame(source: object) -> bool:
    """Return whether a source is a data frame, or a dict of columns."""
    columns = hasattr(source, "columns") and hasattr(source, "__getitem__")
    return columns or isinstance(source, Mapping) or type(source).__name__ == "LazyFrame"


def column_of(source: Any, name: str) -> Any:
    """Return the values of a column if the source is a frame; else the source unchanged."""
    return next(iter(Table(source).rows([name]).lists)) if is_frame(source) else source


class Table:
    """A table of any kind, with the names of its columns.

    Args:
        source: a file, a data frame of polars or pandas, or a dict of columns.
        encoding: encoding of the file.
        lenient: whether bytes that are not text are an error of their row instead of the file.
        dialect: format of the values; settings that are None are detected.

    Attributes:
        names: names of the columns.
        typed: whether types are declared, as in a frame, so that text is never a number.
        declared: columns that are words by their declared type.
        notes: messages about the detected format.

    Raises:
        ArgumentError: the source is none of these.
        DataError: the file does not exist.

    Example:
        >>> from elman.read.columns import Table
        >>> from elman.read.rows import Rejects
        >>> table = Table({"who": ["a", "b"], "y": ["1", ""], "kind": ["x", "x"]})
        >>> found = table.read({"who": "name", "y": "number", "kind": "value"}, Rejects(None))
        >>> [(c.values.tolist(), c.words) for c in found.columns.values()]
        [([0, 1], ['a', 'b']), ([1.0, nan], None), ([0.0, 0.0], ['x'])]
    """

    def __init__(
        self,
        source: Any,
        *,
        encoding: str = "utf-8",
        lenient: bool = False,
        dialect: Dialect | None = None,
    ) -> None:
        self.encoding, self.lenient = encoding, lenient
        self.dialect = dialect or Dialect()
        self.file: Path | None = None
        self._delimiter: str | None = None
        self.typed, self.declared = True, set[str]()
        self.notes: list[str] = []
        self.frame: dict[str, list[object]] = {}
        if type(source).__name__ == "LazyFrame":
            source = source.collect()
        if type(source).__module__.startswith("pyarrow"):
            source = need("polars", "a table of pyarrow").from_arrow(source)
        if is_path(source):
            if not path_of(source, "a table").exists():
                raise DataError(f"{source}: there is no such file; expected a table")
            self.file = files_below(source)[0]
            if kind_of(self.file) not in TABLES or Path(source).is_dir():
                shown = ", ".join(sorted(TABLES))
                raise ArgumentError(f"{source}: expected a table ({shown}, also .gz)")
            head = table_head(self.file, encoding, self.dialect.delimiter, lenient=lenient)
            self._delimiter = head.delimiter
            self.names, self.typed = head.names, kind_of(self.file) not in USUAL
            self.declared = {name for name, kind in head.types.items() if kind.startswith(WORDS)}
            self.notes += [] if head.note is None else [head.note]
        elif isinstance(source, Mapping):
            self.frame = {str(name): list(values) for name, values in source.items()}
            self.names, self.typed = list(self.frame), False
        elif hasattr(source, "columns") and hasattr(source, "__getitem__"):
            names = [str(name) for name in source.columns]
            twice = next((name for name, count in Counter(names).items() if count > 1), None)
            if twice is not None:
                raise ArgumentError(f"the data frame has two columns {twice!r}; rename one")
            self.frame = _index_of(source, names)
            for name in source.columns:
                column = source[name]
                self.frame[str(name)] = column.to_list()
                if str(column.dtype).startswith(WORDS):
                    self.declared.add(str(name))
            self.names = list(self.frame)
        else:
            raise ArgumentError(
                "expected a file, a data frame or a dict of columns, got " + type(source).__name__
            )
        if not self.names:
            raise ArgumentError("a table without columns; expected one or more")

    def rows(self, names: Sequence[str]) -> Rows:
        """Return the rows of some columns.

        Raises:
            ArgumentError: a column does not exist, or is named twice.
        """
        there = set(self.names)
        for name, count in Counter(names).items():
            if count > 1:
                raise ArgumentError(f"column {name!r} is named for two different purposes")
            if name not in there:
                where = f"{self.file}: " if self.file else ""
                if self.file and not self.typed:
                    raise ArgumentError(no_column(name, names, self.names, where))
                shown = listed(self.names)
                raise ArgumentError(f"{where}no column {name!r}; its columns: {shown}")
        if self.file is not None:
            return Rows(
                self.file, names, encoding=self.encoding, lenient=self.lenient,
                delimiter=self.dialect.delimiter,
            )  # fmt: skip
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
        """Read all rows of the named columns.

        Args:
            kinds: kinds of the columns.
            rejects: receives rows that cannot be used.
            ds_format: form of stamps that are not ISO 8601, see `elman.read.stamps.parse`.
            zone: zone of the stamps; None to detect it.
            clock: clock of earlier data; None to detect it.
            words: known words of categories, whose numbers are kept.

        Raises:
            DataError: there is no good row, or a column mixes numbers and words.
        """
        rows = self.rows(list(kinds))
        kinds = {name: self._kind(name, kind) for name, kind in kinds.items()}
        parts: list[list[Part]] = [[] for _ in kinds]
        names: list[dict[Any, int]] = [{} for _ in kinds]
        ordinals: list[NDArray[np.int64]] = []
        decimal = self.dialect.decimal
        ids: dict[str, dict[str, Any]] = {}
        for numbers, places, block in _good(rows.read(), rejects):
            bad: dict[int, str] = {}
            found: list[Part] = []
            if decimal is None:
                decimal = self._find_decimal(kinds, block)
            for (name, kind), known, given in zip(kinds.items(), names, block, strict=True):
                alone, strange = (given, {}) if kind == "raw" else single(given)
                values = self._without_codes(name, kind, alone)
                if kind == "name" and self.frame:
                    others = (scalar_of(one) for one in values if not isinstance(one, str))
                    ids.setdefault(name, {}).update((name_of(one), one) for one in others)
                array, wrong = convert(kind, values, known, ds_format, decimal)
                wrong |= strange
                bad = {n: f"column {name!r} {why}" for n, why in wrong.items()} | bad
                found.append(array)
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
        whole = Columns({}, np.concatenate(ordinals), rows, self.dialect, decimal or ".")
        bad = {}
        for (name, kind), part, known in zip(kinds.items(), parts, names, strict=True):
            if kind in ("stamp", "moment"):
                stamps = [one for one in part if isinstance(one, Parsed) and len(one.values)]
                if len({one.values.dtype.kind == "M" for one in stamps}) > 1:
                    raise DataError(f"{rows.name}: column {name!r} has dates and numbers; fix it")
                parsed = Parsed.join(stamps)
                known_clock = clock or Clock.find(parsed, ds_format, zone, seconds=kind == "moment")
                moments, offsets, unread = known_clock.read(parsed, whole=kind == "stamp")
                bad |= {n: f"column {name!r} {known_clock.why(parsed, n)}" for n in unread}
                known_clock = replace(known_clock, text=parsed.text, days=parsed.days)
                whole.columns[name] = Column(moments, clock=known_clock, offsets=offsets)
            elif kind == "value":
                arrays = cast("list[NDArray[Any]]", part)
                whole.columns[name] = self._join_values(name, arrays, known, whole)
            else:
                before = list(known) if kind == "name" else list((words or {}).get(name, ()))
                whole.columns[name] = _join(kind, part, before)
                whole.columns[name].given = ids.get(name, {})
        return _without(whole, bad, rejects) if bad else whole

    def is_missing(self, value: object, column: str, *, named: bool = False) -> bool:
        """Return whether a value is a code for a missing one, for this column only if `named`."""
        return is_code(value, self.dialect.codes(column, named=named))

    def words_among(self, columns: Sequence[str]) -> set[str]:
        """Return the columns that are words by their declared type or by a setting."""
        found = self.declared | set(self.dialect.categorical)
        if self.frame and self.typed:
            found |= {
                name
                for name in set(columns) & set(self.frame)
                if any(isinstance(value, str) for value in self.frame[name])
            }
        return found & set(columns) - set(self.dialect.numeric)

    def _kind(self, name: str, kind: Kind) -> Kind:
        """Return the kind of a column, more exact for values if a type or a setting declares it."""
        if kind != "value":
            return kind
        if name in self.dialect.numeric:
            return "number"
        return "word" if name in self.declared or name in self.dialect.categorical else kind

    def _find_decimal(self, kinds: Mapping[str, Kind], block: list[tuple[object, ...]]) -> str:
        """Return the decimal mark of a file not delimited by commas; note it if it is a comma."""
        if self.typed or self.file is None or self._delimiter == ",":
            return "."
        fields = [
            value for kind, values in zip(kinds.values(), block, strict=True)
            if kind in ("number", "value", "moment") for value in values
        ]  # fmt: skip
        found = find_decimal(fields)
        if found == ",":
            example = next(x for x in fields if isinstance(x, str) and find_decimal([x]) == ",")
            self.notes.append(f"{self.file.name}: {example.strip()} is read with a decimal comma")
        return found

    def _without_codes(self, name: str, kind: Kind, values: Sequence[object]) -> Sequence[object]:
        """Return the values with None for codes of missing values."""
        named = kind not in ("number", "value", "word")  # common codes are not for the rest
        codes = self.dialect.codes(name, named=named)
        return [None if is_code(value, codes) else value for value in values] if codes else values

    def _join_values(
        self, name: str, parts: list[NDArray[Any]], known: Mapping[Any, int], whole: Columns
    ) -> Column:
        """Return numbers if all values are numbers, else a category; `known` numbers the values."""
        codes, values, decimal = np.concatenate(parts), list(known), whole.decimal
        if are_numbers(values, decimal, typed=self.typed):
            return Column(np.array([*(number_of(one, decimal) for one in values), math.nan])[codes])
        fits = [
            not isinstance(one, str) if self.typed else is_number(one, decimal) for one in values
        ]
        if any(fits) and not all(fits):
            wrong, number = fits.index(False), values[fits.index(True)]
            place = whole.place(int(np.flatnonzero(codes == wrong)[0]))
            raise DataError(
                f"{place}: column {name!r} is {values[wrong]!r}, but a number ({number!r}) in "
                "other rows; make all of them numbers or all of them words, or name the column in "
                "categorical or numeric"
            )
        words = {word: n for n, word in enumerate(dict.fromkeys(map(name_of, values)))}
        return Column(np.array([*(words[name_of(one)] for one in values), math.nan])[codes],
                      list(words))  # fmt: skip


def _without(whole: Columns, bad: Mapping[int, str], rejects: Rejects) -> Columns:
    """Return the rows that are not bad."""
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
    return replace(whole, columns=columns, ordinals=whole.ordinals[kept])


def _index_of(frame: Any, names: Sequence[str]) -> dict[str, list[object]]:
    """Return the index of a pandas frame as a column, if it has a name or contains stamps."""
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
    """Yield blocks of readable rows: their numbers in the source, places, and columns."""
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


def _join(kind: Kind, parts: list[Part], known: list[str]) -> Column:
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
