"""Read typed columns of tables and frames: names, stamps, numbers, and categories.

    name      words, none of them missing; the numbers 7 and 7.0 are the same name
    stamp     dates or whole numbers, see `elman.read.clock`
    moment    dates, or seconds: numbers of any kind, or hours:minutes(:seconds)
    number    a number, true or false, or nothing; text is an error of its row
    value     a number, or a category if all rows are words; the declared type decides in a frame,
              Parquet or JSONL, and the form of the values in .csv and .tsv (see `dialect.py`)
    word      a category, in any form
    raw       any value, unchanged

A missing value is an empty field, NA, NaN, an error of Excel such as #N/A, or a code that the user
names; it becomes NaN.  In a column of names, NA is a name.  Infinity is an error.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from elman.errors import ArgumentError, DataError
from elman.read.clock import Clock
from elman.read.convert import (
    Column,
    Kind,
    Part,
    convert,
    is_number,
    join_blocks,
    join_stamps,
    scalar_of,
    single,
)
from elman.read.dialect import (
    Dialect,
    are_numbers,
    choose_decimal,
    is_code,
    is_none,
    name_of,
    number_of,
)
from elman.read.files import files_below, is_path, kind_of, path_of
from elman.read.frames import WORDS, is_frame, read_frame
from elman.read.rows import Rejects, Row, Rows
from elman.read.stamps import Parsed
from elman.read.tables import TABLES, USUAL, no_column
from elman.read.text import table_head

BLOCK = 1 << 16  # rows that are converted to arrays at a time


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

    def without(self, bad: Mapping[int, str], rejects: Rejects) -> Columns:
        """Return the rows that are not bad, and reject the others with their reasons."""
        rows = sorted(bad)
        for row, place in zip(rows, self.places(rows), strict=True):
            rejects.add(place, DataError(f"{place}: {bad[row]}"))
        kept = np.ones(len(self.ordinals), dtype=bool)
        kept[rows] = False
        if not kept.any():
            raise DataError(f"{self.rows.name}: has no row that can be used")
        columns = {}
        for name, one in self.columns.items():
            offsets = None if one.offsets is None else one.offsets[kept]
            columns[name] = replace(one, values=one.values[kept], offsets=offsets)
        return replace(self, columns=columns, ordinals=self.ordinals[kept])


class _Blocks:
    """Blocks of converted rows.

    Attributes:
        kinds: kinds of the columns.
        decimal: decimal mark of the numbers; None until it is detected.
        ds_format: form of the stamps.
        parts: the blocks of each column.
        words: number of each name or value, by column.
        given: original values of names that were not text, by column.
        ordinals: numbers of the rows in the source.
    """

    def __init__(
        self, kinds: Mapping[str, Kind], decimal: str | None, ds_format: str | None
    ) -> None:
        self.kinds, self.decimal, self.ds_format = kinds, decimal, ds_format
        self.parts: dict[str, list[Part]] = {name: [] for name in kinds}
        self.words: dict[str, dict[Any, int]] = {name: {} for name in kinds}
        self.given: dict[str, dict[str, Any]] = {}
        self.ordinals: list[NDArray[np.int64]] = []


def check_rows(given: object, *, encoding: str = "utf-8", delimiter: str | None = None) -> None:
    """Raise a DataError if data are the file of a table that has only a header."""
    # Path.is_file raises for a name that is too long.
    if not is_path(given) or not os.path.isfile(given) or kind_of(Path(given)) not in TABLES:  # noqa: PTH113
        return
    table = Table(given, encoding=encoding, lenient=True, dialect=Dialect(delimiter))
    if next(iter(table.rows(table.names[:1]).read()), None) is None:
        raise DataError(f"{given}: has a header, but no rows; add a row for each example")


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
        ArgumentError: the source is of another kind.
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
        elif (found := read_frame(source)) is not None:
            self.frame, self.declared = found
            self.names, self.typed = list(self.frame), not isinstance(source, Mapping)
        else:
            raise ArgumentError(
                "expected a file, a data frame or a dict of columns, got " + type(source).__name__
            )
        if not self.names:
            raise ArgumentError("the table has no columns; expected one or more")

    def rows(self, names: Sequence[str]) -> Rows:
        """Return the rows of some columns.

        Raises:
            ArgumentError: a column does not exist, or is named twice.
        """
        present = set(self.names)
        for name, count in Counter(names).items():
            if count > 1:
                raise ArgumentError(
                    f"column {name!r} is named for two different purposes; name two columns"
                )
            if name not in present:
                where = f"{self.file}: " if self.file else ""
                wanted = names if self.file and not self.typed else self.names
                raise no_column(ArgumentError, name, wanted, self.names, where)
        if self.file is not None:
            mark = self.dialect.delimiter
            return Rows(
                self.file, names, encoding=self.encoding, lenient=self.lenient, delimiter=mark
            )
        first, *rest = (self.frame[name] for name in names)
        return Rows(first, names, parallel=rest)

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
            words: known words of categories; they keep their numbers.

        Raises:
            DataError: there is no good row, or a column mixes numbers and words.
        """
        rows = self.rows(list(kinds))
        kinds = {name: self._kind(name, kind) for name, kind in kinds.items()}
        blocks = _Blocks(kinds, self.dialect.decimal, ds_format)
        for numbers, places, block in _good(rows.read(), rejects):
            if blocks.decimal is None:
                blocks.decimal = self._find_decimal(kinds, block)
            self._add(blocks, numbers, places, block, rejects)
        if not sum(map(len, blocks.ordinals)):
            raise DataError(f"{rows.name}: has no row that can be used; add at least one")
        ordinals = np.concatenate(blocks.ordinals)
        found = Columns({}, ordinals, rows, self.dialect, blocks.decimal or ".")
        bad: dict[int, str] = {}
        for name, kind in kinds.items():
            part, known = blocks.parts[name], blocks.words[name]
            if kind in ("stamp", "moment"):
                found.columns[name], wrong = join_stamps(
                    part, f"{rows.name}: column {name!r}", clock, ds_format, zone, kind
                )
                bad |= {n: f"column {name!r} {why}" for n, why in wrong.items()}
            elif kind == "value":
                arrays = cast("list[NDArray[Any]]", part)
                found.columns[name] = self._join_values(name, arrays, known, found)
            else:
                before = list(known) if kind == "name" else list((words or {}).get(name, ()))
                found.columns[name] = join_blocks(kind, part, before)
                found.columns[name].given = blocks.given.get(name, {})
        return found.without(bad, rejects) if bad else found

    def _add(
        self,
        blocks: _Blocks,
        numbers: NDArray[np.int64],
        places: Sequence[str],
        block: Sequence[tuple[object, ...]],
        rejects: Rejects,
    ) -> None:
        """Convert a block of rows, and keep the good ones."""
        bad: dict[int, str] = {}
        found: list[Part] = []
        for (name, kind), given in zip(blocks.kinds.items(), block, strict=True):
            alone, strange = (given, {}) if kind == "raw" else single(given)
            values = self._without_codes(name, kind, alone)
            if kind == "name":  # names are text in .csv and .tsv, and of any type elsewhere
                others = [one for one in values if not isinstance(one, str) and not is_none(one)]
                ids = blocks.given.setdefault(name, {})
                ids.update((name_of(one), one) for one in map(scalar_of, others))
            known = blocks.words[name]
            array, wrong = convert(kind, values, known, blocks.ds_format, blocks.decimal)
            bad = {n: f"column {name!r} {why}" for n, why in (wrong | strange).items()} | bad
            found.append(array)
        for n in sorted(bad):
            rejects.add(places[n], DataError(f"{places[n]}: {bad[n]}"))
        kept = np.ones(len(numbers), dtype=bool)
        kept[list(bad)] = False
        blocks.ordinals.append(numbers[kept])
        for part, array in zip(blocks.parts.values(), found, strict=True):
            if isinstance(array, list):
                part.append([value for value, keep in zip(array, kept, strict=True) if keep])
            else:
                part.append(array.pick(kept) if isinstance(array, Parsed) else array[kept])

    def is_missing(self, value: object, column: str, *, named: bool = False) -> bool:
        """Return whether a value is a code for a missing one; `named`: a code for this column."""
        return is_code(value, self.dialect.codes(column, named=named))

    def words_among(self, columns: Sequence[str]) -> set[str]:
        """Return the columns that are words by their declared type or by a setting."""
        found = self.declared | set(self.dialect.categorical)
        if self.frame and self.typed:
            for name in set(columns) & set(self.frame):
                if any(isinstance(value, str) for value in self.frame[name]):
                    found.add(name)
        return found & set(columns) - set(self.dialect.numeric)

    def _kind(self, name: str, kind: Kind) -> Kind:
        """Return the kind of a column: for values, the one that a type or a setting declares."""
        if kind != "value":
            return kind
        if name in self.dialect.numeric:
            return "number"
        return "word" if name in self.declared or name in self.dialect.categorical else kind

    def _find_decimal(self, kinds: Mapping[str, Kind], block: list[tuple[object, ...]]) -> str:
        """Return the decimal mark of a file; add a note if it is a comma or uncertain."""
        if self.typed or self.file is None:
            return "."
        fields = [
            value
            for kind, values in zip(kinds.values(), block, strict=True)
            if kind in ("number", "value", "moment")
            for value in values
        ]
        found, note = choose_decimal(fields, self._delimiter)
        self.notes += [f"{self.file.name}: {note}"] if note else []
        return found

    def _without_codes(self, name: str, kind: Kind, values: Sequence[object]) -> Sequence[object]:
        """Return the values with None for codes of missing values."""
        named = kind not in ("number", "value", "word")  # common codes are for values only
        codes = self.dialect.codes(name, named=named)
        return [None if is_code(value, codes) else value for value in values] if codes else values

    def _join_values(
        self, name: str, parts: list[NDArray[Any]], known: Mapping[Any, int], table: Columns
    ) -> Column:
        """Return numbers if all values are numbers, else a category; `known` has codes by value."""
        codes, values, decimal = np.concatenate(parts), list(known), table.decimal
        if are_numbers(values, decimal, typed=self.typed):
            return Column(np.array([*(number_of(one, decimal) for one in values), math.nan])[codes])
        fits = [
            not isinstance(one, str) if self.typed else is_number(one, decimal) for one in values
        ]
        if any(fits) and not all(fits):
            wrong, number = fits.index(False), values[fits.index(True)]
            place = table.place(int(np.flatnonzero(codes == wrong)[0]))
            raise DataError(
                f"{place}: column {name!r} is {values[wrong]!r}, but a number ({number!r}) in "
                "other rows; make all of them numbers or all of them words, or name the column in "
                "categorical or numeric"
            )
        words = {word: n for n, word in enumerate(dict.fromkeys(map(name_of, values)))}
        numbers = [*(words[name_of(one)] for one in values), math.nan]
        return Column(np.array(numbers)[codes], list(words))


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
