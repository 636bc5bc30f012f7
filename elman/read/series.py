"""Series of numbers over time, out of tables: one for each id, on an even grid of stamps.

    unique_id  ds  y  ...       long: a row a series and stamp (the names are Nixtla's)
    ds  north  south  ...       wide: a column a series

A source is a table (see `elman.read.columns`), a list of numbers (one series), or a list of lists.

What is not there stays not there: a missing value is NaN, a stamp that is left out a row of NaN,
and it is said how many there are.  Rows out of order are sorted, which is said, too.  A stamp
twice, one beside the grid, and a series without a number are errors.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman.errors import ArgumentError, DataError
from elman.read.columns import Column, Columns, Table
from elman.read.convert import Kind
from elman.read.dialect import Dialect, equal_names
from elman.read.rows import Rejects
from elman.read.stamps import Frequency, Stamps

ID, DS, Y = "unique_id", "ds", "y"
SPARSE, FEW = 1000, 1 << 16  # a grid has at most so many steps a row, and some more

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Series:
    """One series on its grid.

    Attributes:
        unique_id: its name.
        start: the first stamp, int64 or datetime64[us].
        values: (T, C) of the columns, NaN where there is none; of a category its number.
    """

    unique_id: str
    start: Any
    values: Numbers

    @property
    def who(self) -> str:
        """Its name, for people."""
        return f"series {self.unique_id!r}" if self.unique_id else "the series"


@dataclass(frozen=True)
class SeriesTable:
    """Series that share columns and a frequency.

    Attributes:
        series: in the order in which they come first.
        columns: C names.
        categories: of each column of words the words, in the order of their numbers.
        frequency: of all.
        counted: whether there were no stamps, and the rows of each series count from 0.
        notes: what was found and done, for people.
        ids: names that were no text, as they were given.
    """

    series: list[Series]
    columns: tuple[str, ...]
    categories: dict[str, list[str]]
    frequency: Frequency
    counted: bool
    notes: list[str]
    ids: dict[str, Any] = field(default_factory=dict)

    def given_id(self, one: Series) -> Any:
        """The name of a series as it was given: a number where it was one."""
        return self.ids.get(one.unique_id, one.unique_id)


class SeriesSource:
    """Where series are, and how they are read.

    Args:
        source: a table, or numbers.
        targets: columns of numbers; in a wide table the series, without any all other columns.
        covariates: more columns, of numbers or words.
        unique_id: column of the series' name; without it there is one series.
        ds: column of the stamp; without it rows are steps.
        wide: whether a column is a series.
        freq: name of the frequency, see `Frequency.named`; None to find it.
        ds_format: of stamps that are not ISO 8601, as for `datetime.strptime`.
        encoding: of the file.
        lenient: whether bytes that are not text are an error of their row instead of the file.
        dialect: how the values of a table are written.

    Raises:
        ArgumentError: a column is not there, or a setting cannot be.
        DataError: the file is missing.

    Example:
        >>> from elman.read.rows import Rejects
        >>> from elman.read.series import SeriesSource
        >>> found = SeriesSource(
        ...     {"ds": ["2024-01-01", "2024-01-02", "2024-01-04"], "y": [1, None, 3]}
        ... ).read(Rejects(None))
        >>> found.series[0].values[:, 0].tolist(), str(found.frequency)
        ([1.0, nan, nan, 3.0], 'D')
    """

    def __init__(
        self,
        source: Any,
        targets: Sequence[str] = (Y,),
        covariates: Sequence[str] = (),
        *,
        unique_id: str = ID,
        ds: str = DS,
        wide: bool = False,
        freq: str | None = None,
        ds_format: str | None = None,
        encoding: str = "utf-8",
        lenient: bool = False,
        dialect: Dialect | None = None,
    ) -> None:
        numbers = _numbers_of(source)
        self.table = Table(
            source if numbers is None else numbers,
            encoding=encoding, lenient=lenient, dialect=dialect,
        )  # fmt: skip
        there = self.table.names
        self.ids = unique_id if unique_id in there or unique_id != ID else None
        self.stamps = ds if ds in there or ds != DS else None
        if wide and self.ids:
            raise ArgumentError(f"wide: a column is a series, but there is {self.ids!r}, too")
        if wide and tuple(targets) in ((), (Y,)):
            targets = [name for name in there if name not in (self.stamps, *covariates)]
        if not targets:
            raise ArgumentError("targets must name at least one column")
        self.targets, self.covariates, self.wide = tuple(targets), tuple(covariates), wide
        used = (self.ids, self.stamps, *targets, *covariates)
        unused = [name for name in there if name not in used]
        self.notes: list[str] = []  # of what one might have expected
        if numbers is None and unused:
            rest = f"; not read: {', '.join(map(repr, unused))}"
            if self.ids is None and not wide:
                self.notes.append(f"no column {unique_id!r}: all rows are one series{rest}")
            if self.stamps is None:
                self.notes.append(f"no column {ds!r}: rows are steps{rest}")
        self.frequency = None if freq is None else Frequency.named(freq)
        self.ds_format = ds_format
        self.kinds: dict[str, Kind] = {}
        wanted = [x for x in (self.ids, self.stamps) if x] + [*self.targets, *self.covariates]
        self.rows = self.table.rows(wanted)
        for name in wanted:
            self.kinds[name] = (
                "name" if name == self.ids
                else "stamp" if name == self.stamps
                else "number" if name in self.targets
                else "value"
            )  # fmt: skip

    @property
    def name(self) -> str:
        """For people."""
        return self.rows.name

    @property
    def files(self) -> tuple[Path, ...]:
        """None for data in memory."""
        return self.rows.files

    def fingerprint(self) -> str:
        """Hash of the content and of how it is read."""
        how = (
            self.rows.fingerprint(), self.wide, str(self.frequency), self.ds_format,
            self.table.dialect,
        )  # fmt: skip
        return hashlib.blake2b(repr(how).encode(), digest_size=16).hexdigest()

    def read(self, rejects: Rejects, like: SeriesTable | None = None) -> SeriesTable:
        """All series.

        Args:
            rejects: hears of rows and of series that cannot be used.
            like: a table whose frequency, and whose words with their numbers, hold here, too.

        Raises:
            DataError: something cannot be read, or no frequency fits.
        """
        kinds, words = self.kinds, {}
        if like is not None:
            self.frequency, words = like.frequency, like.categories
            as_before: dict[str, Kind] = {
                name: "word" if name in words else "number" for name in self.covariates
            }
            kinds = kinds | as_before
        columns = self.table.read(kinds, rejects, ds_format=self.ds_format, words=words)
        return _Grid(self, columns, rejects, like=like).table(rejects)


def _numbers_of(source: Any) -> dict[str, list[Any]] | None:
    """The columns of a list of numbers or of several; None of anything else."""
    if not isinstance(source, list | tuple | np.ndarray) or not len(source):
        return None
    one = np.ndim(source[0]) == 0
    several = [source] if one else source
    names = [str(n) for n, values in enumerate(several) for _ in values]
    columns = {Y: [value for values in several for value in values]}
    return columns if one else {ID: names, **columns}


class _Grid:
    """Columns on their way to series: rows in order, then each series on its grid."""

    def __init__(
        self, source: SeriesSource, columns: Columns, rejects: Rejects, *, like: SeriesTable | None
    ) -> None:
        self.source, self.columns, self.like = source, columns, like is not None
        self.notes = list(source.table.notes)
        if like is None:
            self.notes += source.notes
        rows = len(columns.ordinals)
        only = Column(np.zeros(rows, dtype=np.int64), [""])
        ids = columns.columns[source.ids] if source.ids else only
        self.names, self.code = ids.words or [""], ids.values
        given = self.names
        if like is not None:
            self.names = equal_names(given, [one.unique_id for one in like.series])
        pairs = zip(self.names, given, strict=True)
        self.ids = {name: ids.given[old] for name, old in pairs if old in ids.given}
        self.order = np.argsort(self.code, kind="stable")
        ends = np.flatnonzero(np.diff(self.code[self.order])) + 1
        self.borders = np.array([0, *ends, rows])
        if source.stamps:
            self.stamps: Stamps = columns.columns[source.stamps].values
            self._sort(rejects)
        else:  # each series counts from 0
            self.stamps = np.empty(rows, dtype=np.int64)
            begins = np.repeat(self.borders[:-1], np.diff(self.borders))
            self.stamps[self.order] = np.arange(rows) - begins
        if columns.moved:
            self.notes.append("stamps with an offset from UTC are moved to UTC")

    def _place(self, n: int) -> str:
        """Where row n, in order, stands, and of which series."""
        return self._places_of([n])[0]

    def _places_of(self, numbers: Sequence[int] | NDArray[np.int64]) -> list[str]:
        """Where rows, by their number in order, stand."""
        rows = [int(self.order[n]) for n in numbers]
        names = [self.names[self.code[row]] for row in rows]
        return [
            place + (f": series {name!r}" if name else "")
            for place, name in zip(self.columns.places(rows), names, strict=True)
        ]

    def _sort(self, rejects: Rejects) -> None:
        """Bring rows into the order of series and stamp; a stamp a second time is a bad row."""
        code, stamps = self.code, self.stamps

        def gaps() -> NDArray[np.int64]:
            within = np.diff(code[self.order]) == 0
            return np.where(within, np.diff(stamps[self.order]).astype(np.int64), 1)

        back = gaps() < 0
        if back.any():
            place = self._place(int(back.argmax()) + 1)
            self.notes.append(
                f"rows behind a later one of their series: {int(back.sum()):,}, the first at "
                f"{place}; they are sorted"
            )
            self.order = np.lexsort((stamps, code))
        twice = np.flatnonzero(gaps() == 0) + 1
        for n, place in zip(twice.tolist(), self._places_of(twice), strict=True):
            reason = (
                f"{place}: has {shown(stamps[self.order[n]])} a second time; drop one, or name the "
                "column that tells series apart (unique_id); of clocks that are set back, give "
                "stamps with their offset from UTC"
            )
            rejects.add(place, DataError(reason))
        self.order = np.delete(self.order, twice)
        ends = np.flatnonzero(np.diff(code[self.order])) + 1
        self.borders = np.array([0, *ends, len(self.order)])

    def table(self, rejects: Rejects) -> SeriesTable:
        """All series."""
        source, columns = self.source, self.columns.columns
        names = (*source.targets, *source.covariates)
        values = np.stack([columns[name].values for name in names], 1)[self.order]
        categories = {name: words for name in names if (words := columns[name].words)}
        frequency = self._frequency()
        self._note_missing(names, values)
        series, left_out, empty = [], [], list[tuple[int, str]]()
        for low, high in pairwise(self.borders.tolist()):
            places = self._places(frequency, low, high)
            whole = np.full((places[-1] + 1, values.shape[1]), np.nan)
            whole[places] = values[low:high]
            first = self.order[low]
            one = Series(self.names[self.code[first]], self.stamps[first], whole)
            parts = [one] if not source.wide else _split(one, source.targets)
            for part, targets in zip(parts, self._targets(), strict=True):
                none = np.isnan(part.values[:, : len(targets)]).all(0)
                if none.any():
                    who = f"series {part.unique_id!r} " if part.unique_id else ""
                    name = targets[int(none.argmax())]
                    empty.append((int(first), f"{who}has no number in column {name!r}; drop it"))
                else:
                    series.append(part)
            if len(whole) > high - low:
                n = low + int((np.diff(places) > 1).argmax())
                left_out.append((len(whole) - high + low, n))
        places_of = self.columns.places([row for row, _ in empty])
        for place, (_, reason) in zip(places_of, empty, strict=True):
            rejects.add(place, DataError(f"{place}: {reason}"))
        if not series:
            raise DataError(f"{source.name}: no series has a number")
        if left_out:
            n = left_out[0][1]
            many = f" in {len(left_out):,} series" if len(left_out) > 1 else ""
            self.notes.append(
                f"stamps left out: {sum(count for count, _ in left_out):,}{many}, the first behind "
                f"{self._place(n)}, {shown(self.stamps[self.order[n]])}; they are masked"
            )
        same = [one.unique_id for one in series if _is_constant(one, len(self._targets()[0]))]
        if same:
            more = f" and {len(same) - 3:,} more" if len(same) > 3 else ""
            self.notes.append(f"always the same number: {', '.join(map(repr, same[:3]))}{more}")
        kept = (*((Y,) if source.wide else source.targets), *source.covariates)
        return SeriesTable(
            series, kept, categories, frequency, source.stamps is None, self.notes, self.ids
        )

    def _targets(self) -> list[tuple[str, ...]]:
        """Of each series that comes of a block of rows its targets."""
        targets = self.source.targets
        return [(name,) for name in targets] if self.source.wide else [targets]

    def _frequency(self) -> Frequency:
        stamps, borders, given = self.stamps[self.order], self.borders, self.source.frequency
        if given is not None:
            kind = "dates" if stamps.dtype.kind == "M" else "whole numbers"
            if (given.unit == "step") != (kind == "whole numbers"):
                found = f"are {kind}" if self.source.stamps else "are not there: rows are steps"
                raise ArgumentError(f"expected a stamp every {given}, but the stamps {found}")
            if self.like:
                self._check_each(given)
            return given
        if not self.source.stamps:
            return Frequency("step", 1)
        try:
            frequency = Frequency.infer(stamps, borders[1:-1])
        except DataError as error:
            raise DataError(f"{self.source.name}: {error}") from None
        if len(borders) > 2:
            self._check_each(frequency)
        self.notes.append(f"the frequency of {self.source.stamps!r} is {frequency}")
        return frequency

    def _check_each(self, frequency: Frequency) -> None:
        """Refuse a series that comes less often than the others."""
        stamps = self.stamps[self.order]
        for low, high in pairwise(self.borders.tolist()):
            if high - low > 3:
                own = Frequency.infer(stamps[low:high])
                apart = np.diff(frequency.places(stamps[low:high]))
                if own != frequency and bool((apart > 1).all()):
                    most = "training has" if self.like else "most others"
                    raise DataError(
                        f"{self._place(low)}: has a stamp every {own}, {most} every {frequency}; "
                        "train them apart, or set freq"
                    )

    def _places(self, frequency: Frequency, low: int, high: int) -> NDArray[np.int64]:
        """The places of a series' rows on its grid."""
        stamps = self.stamps[self.order[low:high]]
        places = frequency.places(stamps)
        if (places < 0).any():
            n = int((places < 0).argmax())
            raise DataError(
                f"{self._place(low + n)}: {shown(stamps[n])} is no whole number of {frequency} "
                f"behind {shown(stamps[0])}; set freq, or resample"
            )
        if places[-1] >= SPARSE * len(places) + FEW:
            n = int(np.diff(places).argmax()) + 1
            raise DataError(
                f"{self._place(low + n)}: {shown(stamps[n])} is {places[n] - places[n - 1]:,} "
                f"steps of {frequency} behind {shown(stamps[n - 1])}; mend it, or set freq"
            )
        return places

    def _note_missing(self, names: Sequence[str], values: Numbers) -> None:
        for name, column in zip(names, values.T, strict=True):
            gone = np.isnan(column)
            if gone.any():
                self.notes.append(
                    f"{name}: {int(gone.sum()):,} of {len(gone):,} values are missing, the first "
                    f"at {self._place(int(gone.argmax()))}; they are masked"
                )


def _split(whole: Series, targets: Sequence[str]) -> list[Series]:
    """A series a target, each with all covariates."""
    beside = whole.values[:, len(targets) :]
    return [
        Series(name, whole.start, np.concatenate([whole.values[:, n, None], beside], axis=1))
        for n, name in enumerate(targets)
    ]


def _is_constant(one: Series, targets: int) -> bool:
    numbers = one.values[:, :targets]
    return bool((np.nanmin(numbers, axis=0) == np.nanmax(numbers, axis=0)).any())


def shown(stamp: Any) -> str:
    """A stamp as people write it.

    >>> shown(np.datetime64("2024-03-01T05:00:00.000000")), shown(np.int64(3))
    ('2024-03-01 05:00:00', '3')
    """
    return str(stamp).replace("T", " ").removesuffix(".000000").removesuffix(" 00:00:00")
