"""Read series of numbers over time from tables: one for each id, on an even grid of stamps.

    unique_id  ds  y  ...       long: one row per series and stamp (the names are Nixtla's)
    ds  north  south  ...       wide: one column per series

A source is a table (see `elman.read.columns`), a list of numbers (one series), or a list of lists.

A missing value is NaN, a missing stamp is a row of NaN, and a note gives their numbers.  Places of
the week that never occur are closed, and have no row.  Rows out of order are sorted, with a note.
A repeated stamp, a stamp that is not on the grid, and a series without a number are errors.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman.errors import ArgumentError, DataError
from elman.read.clock import Clock
from elman.read.columns import Table
from elman.read.convert import Kind
from elman.read.dialect import Dialect, equal_names
from elman.read.frequency import Frequency, Stamps
from elman.read.grid import Grid
from elman.read.items import ReadItem, read_items
from elman.read.rows import Rejects
from elman.read.stamps import UNITS, check_form

ID, DS, Y = "unique_id", "ds", "y"

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Series:
    """One series on its grid.

    Attributes:
        unique_id: name of the series.
        start: the first stamp, int64 or datetime64[us], as the clock of its table stores it.
        values: (T, C) values of the columns; NaN for missing ones; categories are numbers.
    """

    unique_id: str
    start: Any
    values: Numbers

    @property
    def who(self) -> str:
        """The name of the series, for messages."""
        return f"series {self.unique_id!r}" if self.unique_id else "the series"


@dataclass(frozen=True)
class SeriesTable:
    """Series that share columns and a frequency.

    Attributes:
        series: the series, in the order of their first rows.
        columns: names of the C columns.
        categories: words of each column of words, in the order of their numbers.
        frequency: frequency of all series.
        counted: whether there were no stamps, and the rows of each series count from 0.
        notes: messages about what was detected and done.
        clock: clock by which stamps are read and written.
        ids: original values of names that were not text.
        items: texts or images of each column of items, in the order of their numbers; their names
            are in `categories`.
    """

    series: list[Series]
    columns: tuple[str, ...]
    categories: dict[str, list[str]]
    frequency: Frequency
    counted: bool
    notes: list[str]
    clock: Clock = Clock()  # noqa: RUF009
    ids: dict[str, Any] = field(default_factory=dict)
    items: dict[str, list[Any]] = field(default_factory=dict)

    def stamps(self, one: Series, steps: int, first: int = 0) -> Stamps:
        """Return the stamps (steps,) of a series, starting at step `first`."""
        return self.frequency.after(np.array([one.start]), steps, first)

    def shown(self, stamp: Any) -> str:
        """Format a stamp for a message."""
        return str(self.clock.write(np.array([stamp]))[0])

    def given_id(self, one: Series) -> Any:
        """Return the original name of a series: a number if it was one."""
        return self.ids.get(one.unique_id, one.unique_id)


class SeriesSource:
    """A source of series.

    Args:
        source: a table, or numbers.
        targets: columns of numbers; in a wide table the series, by default all other columns.
        covariates: more columns, of numbers or words.
        items: more columns, of texts or of files, with the function that reads a cell; None if
            the text is the item.
        unique_id: column of the series' name; without it there is one series.
        ds: column of the stamp; without it rows are steps.
        wide: whether each column is a series.
        freq: name of the frequency, see `Frequency.named`; None to detect it.
        ds_format: form of stamps that are not ISO 8601, see `elman.read.stamps.parse`.
        zone: zone of the stamps; None to detect it.
        closed: whether places of the week that never occur are closed.
        ahead: whether targets can be missing, because rows are in the future.
        encoding: encoding of the file.
        lenient: whether bytes that are not text are an error of their row instead of the file.
        dialect: format of the values of a table.

    Raises:
        ArgumentError: a column does not exist, or a setting is not valid.
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
        items: Mapping[str, ReadItem | None] | None = None,
        unique_id: str = ID,
        ds: str = DS,
        wide: bool = False,
        freq: str | None = None,
        ds_format: str | None = None,
        zone: str | None = None,
        closed: bool = True,
        ahead: bool = False,
        encoding: str = "utf-8",
        lenient: bool = False,
        dialect: Dialect | None = None,
    ) -> None:
        check_form(ds_format)
        if type(source).__name__ == "Series":  # of pandas; its index can be stamps
            source = source.to_frame(Y)
        numbers = _numbers_of(source)
        given = source if numbers is None else numbers
        self.table = Table(given, encoding=encoding, lenient=lenient, dialect=dialect)
        present = self.table.names
        self.ids = unique_id if unique_id in present or unique_id != ID else None
        self.stamps = ds if ds in present or ds != DS else None
        if wide and self.ids:
            raise ArgumentError(
                f"with wide, each column is a series, but there is a column {self.ids!r}"
            )
        if wide and tuple(targets) in ((), (Y,)):
            others = {self.stamps, *covariates, *(items or ())}
            targets = [name for name in present if name not in others]
        if not targets:
            raise ArgumentError("targets must name at least one column")
        if zone is not None and self.stamps is None:
            raise ArgumentError(f"zone={zone}: rows are steps, because there is no column {ds!r}")
        self.targets, self.wide, self.items = tuple(targets), wide, dict(items or {})
        self.covariates = (*covariates, *self.items)
        used = {self.ids, self.stamps, *targets, *self.covariates}
        unused = [name for name in present if name not in used]
        self.unused = unused if numbers is None else []
        self.frequency = None if freq is None else Frequency.named(freq)
        self.ds_format, self.zone, self.closed, self.ahead = ds_format, zone, closed, ahead
        # A table of the future can lack targets, but an unused column may be a misspelt target.
        numeric = [name for name in self.targets if unused or not ahead or name in present]
        wanted = [x for x in (self.ids, self.stamps) if x] + [*numeric, *self.covariates]
        self.rows = self.table.rows(wanted)
        files = [name for name, read in self.items.items() if read is not None]
        self.rows.file_columns = list(map(wanted.index, files))
        kinds: dict[str | None, Kind] = {self.ids: "name", self.stamps: "stamp"}
        kinds |= dict.fromkeys(self.targets, "number")
        kinds |= dict.fromkeys(self.items, "word")
        self.kinds: dict[str, Kind] = {name: kinds.get(name, "value") for name in wanted}

    @property
    def name(self) -> str:
        """The name of the source, for messages."""
        return self.rows.name

    @property
    def files(self) -> tuple[Path, ...]:
        """The files of the source; none for data in memory."""
        return self.rows.files

    def fingerprint(self) -> str:
        """Return a hash of the content and of the settings."""
        stamps = (str(self.frequency), self.ds_format, self.zone, self.closed)
        how = (self.rows.fingerprint(), self.wide, *stamps, self.table.dialect)
        return hashlib.blake2b(repr(how).encode(), digest_size=16).hexdigest()

    def read(self, rejects: Rejects, like: SeriesTable | None = None) -> SeriesTable:
        """Read all series.

        Args:
            rejects: receives rows and series that cannot be used.
            like: a table whose clock, frequency and numbers of words are used here too.

        Raises:
            DataError: the source cannot be read, or no frequency fits.
        """
        kinds, words, clock = dict(self.kinds), {}, None
        if like is not None:
            self.frequency, words, clock = like.frequency, like.categories, like.clock
            for name in self.covariates:
                kinds[name] = "word" if name in words or name in self.items else "number"
            words = {name: known for name, known in words.items() if name not in self.items}
        columns = self.table.read(
            kinds, rejects, ds_format=self.ds_format, zone=self.zone, clock=clock, words=words
        )
        categories, items = ({}, {}) if like is None else (like.categories, like.items)
        first = {name: (categories.get(name, []), some) for name, some in items.items()}
        columns, items = read_items(columns, self.items, first, rejects)
        if like is not None and self.ids is not None:
            named = columns.columns[self.ids]
            given = named.words or []
            named.words = equal_names(given, [one.unique_id for one in like.series])
            pairs = zip(named.words, given, strict=True)
            named.given = {name: named.given[old] for name, old in pairs if old in named.given}
        grid = Grid(
            columns,
            self.ids,
            self.stamps,
            rejects,
            frequency=self.frequency,
            closed=self.closed,
            like=like is not None,
        )
        own = self._notes_of_stamps(grid) if like is None else []
        grid.notes[:0] = [*self.table.notes, *self._notes_of_columns(like), *own]
        found = replace(_build(grid, self, rejects), items=items)
        if like is not None and self.wide:
            names = equal_names(list(self.targets), [one.unique_id for one in like.series])
            known = dict(zip(self.targets, names, strict=True))
            series = [replace(one, unique_id=known[one.unique_id]) for one in found.series]
            found = replace(found, series=series)
        return found

    def _notes_of_columns(self, like: SeriesTable | None) -> list[str]:
        """Return notes about missing columns that the user may have expected."""
        named = like is not None and any(one.unique_id for one in like.series)
        if not named and (like is not None or not self.unused):
            return []
        rest = f"; not read: {', '.join(map(repr, self.unused))}" if self.unused else ""
        only = ", new and without a name; those of the training data have names" if named else ""
        notes = []
        if self.ids is None and not self.wide:
            notes.append(f"no column {ID!r}: all rows are one series{only}{rest}")
        if self.stamps is None and not named:
            notes.append(f"no column {DS!r}: rows are steps{rest}")
        return notes

    def _notes_of_stamps(self, grid: Grid) -> list[str]:
        """Return notes about stamps that are read in a possibly unexpected way."""
        clock, notes, name = grid.clock, [], f"{self.stamps!r}"
        if clock.code and self.ds_format is None:
            since = " since 1970" if clock.code in UNITS else ""
            notes.append(
                f"{name} is read as {clock.code}{since}; set ds_format=step to read plain steps"
            )
        if clock.moving:
            notes.append(
                f"{name} has several offsets from UTC and is written with the last, {clock.zone}; "
                "set zone, such as Europe/Berlin, to follow its clock"
            )
        elif clock.zone:
            utc = ", in UTC where no offset is given" if clock.naive == "utc" else ""
            notes.append(f"the zone of {name} is {clock.zone}{utc}")
        return notes


def _numbers_of(source: Any) -> dict[str, list[Any]] | None:
    """Return the columns of one or several lists of numbers; None for anything else."""
    if type(source).__name__ == "Tensor":
        source = source.detach().cpu().numpy()
    if not isinstance(source, list | tuple | np.ndarray):
        return None
    if getattr(source, "ndim", 1) == 0 or not len(source):
        return None
    one = np.ndim(source[0]) == 0
    several = [source] if one else source
    names = [str(n) for n, values in enumerate(several) for _ in values]
    columns = {Y: [value for values in several for value in values]}
    return columns if one else {ID: names, **columns}


def _build(grid: Grid, source: SeriesSource, rejects: Rejects) -> SeriesTable:
    """Build all series from sorted rows."""
    columns, targets = grid.columns.columns, source.targets
    names = (*targets, *source.covariates)
    values = np.stack([_values(grid, name) for name in names], 1)[grid.order]
    read = {name: columns[name].words for name in names if name in columns}
    categories = {name: words for name, words in read.items() if words}
    _note_missing(grid, source, values)
    each = [(name,) for name in targets] if source.wide else [targets]
    series, gaps, empty = [], [], list[tuple[int, str]]()
    for low, high in pairwise(grid.borders.tolist()):
        places = grid.places(low, high)
        filled = np.full((places[-1] + 1, values.shape[1]), np.nan)
        filled[places] = values[low:high]
        first = grid.order[low]
        one = Series(grid.names[grid.code[first]], grid.stamps[first], filled)
        parts = [one] if not source.wide else _split(one, targets)
        for part, some in zip(parts, each, strict=True):
            none = np.isnan(part.values[:, : len(some)]).all(0)
            if none.any() and not source.ahead:
                who = f"series {part.unique_id!r} " if part.unique_id else ""
                name = some[int(none.argmax())]
                empty.append((int(first), f"{who}has no number in column {name!r}; drop it"))
            else:
                series.append(part)
        if len(filled) > high - low:
            gaps.append((len(filled) - high + low, low + int((np.diff(places) > 1).argmax())))
    for (_, reason), place in zip(empty, grid.columns.places([n for n, _ in empty]), strict=True):
        rejects.add(place, DataError(f"{place}: {reason}"))
    if not series:
        raise DataError(f"{source.name}: no series has a number")
    grid.note_gaps(gaps)
    same = [one.unique_id for one in series if _is_constant(one, len(each[0]))]
    if same:
        more = f" and {len(same) - 3:,} more" if len(same) > 3 else ""
        grid.notes.append(f"series with a constant value: {', '.join(map(repr, same[:3]))}{more}")
    kept = (*((Y,) if source.wide else targets), *source.covariates)
    counted = source.stamps is None
    ids = columns[source.ids].given if source.ids else {}
    return SeriesTable(
        series, kept, categories, grid.frequency, counted, grid.notes, grid.clock, ids
    )


def _values(grid: Grid, name: str) -> Numbers:
    """Return a column; NaN if it is missing, as targets of the future can be."""
    column = grid.columns.columns.get(name)
    return np.full(len(grid.code), np.nan) if column is None else column.values


def _note_missing(grid: Grid, source: SeriesSource, values: Numbers) -> None:
    """Add a note for each column in which values are missing.

    In rows of the future, targets and columns known only for the past do not count as missing.
    """
    future = _future(grid, source, values) & source.ahead
    for n, name in enumerate((*source.targets, *source.covariates)):
        if name in source.items:  # most rows have none
            continue
        gone = np.isnan(values[:, n])
        ahead = future[:, n] if n < len(source.targets) else future.all(1)
        if not gone[ahead].all():  # known for the future, too
            ahead = np.zeros_like(gone)
        gone, count = gone & ~ahead, int((~ahead).sum())
        if gone.any() and name in grid.columns.columns:
            grid.notes.append(
                f"{name}: {int(gone.sum()):,} of {count:,} values are missing, the first "
                f"at {grid.place(int(gone.argmax()))}; they are masked"
            )


def _future(grid: Grid, source: SeriesSource, values: Numbers) -> NDArray[np.bool_]:
    """Return a mask (N, targets) of the rows after the last number of their series."""
    there = ~np.isnan(values[:, : len(source.targets)])
    if not source.wide:  # the targets end together
        there = np.broadcast_to(there.any(1, keepdims=True), there.shape)
    future = np.empty(there.shape, dtype=bool)
    for low, high in pairwise(grid.borders.tolist()):
        later = np.logical_or.accumulate(there[low:high][::-1])[::-1]  # a number here or later
        future[low:high] = ~later
    return future


def _split(whole: Series, targets: Sequence[str]) -> list[Series]:
    """Split into one series per target, each with all covariates."""
    covariates = whole.values[:, len(targets) :]
    return [
        Series(name, whole.start, np.concatenate([whole.values[:, n, None], covariates], axis=1))
        for n, name in enumerate(targets)
    ]


def _is_constant(one: Series, targets: int) -> bool:
    numbers = one.values[:, :targets]
    if np.isnan(numbers).all(0).any():
        return False
    return bool((np.nanmin(numbers, axis=0) == np.nanmax(numbers, axis=0)).any())
