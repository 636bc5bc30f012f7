"""Recordings: several channels over time, from tables or arrays, without an even grid.

    unique_id  ds  x  y  z  label         one row per step; one table for all, or a file for each
    unique_id  ds  variable  value        one row per measurement, at any time

Labels are in a column of the table, in the name of the folder of a file, in a list, or in a
separate table,

    unique_id  label  [start  end]        of the whole recording, or of a span start <= ds < end

which can also have columns that do not change within a recording.  Stamps are dates, or numbers of
seconds, ms, us or ns; without stamps rows are steps.  Missing values are NaN.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman.errors import ArgumentError, DataError
from elman.read.clock import Clock, write_moments
from elman.read.codes import find_code
from elman.read.dialect import (
    Dialect,
    is_code,
    is_mark,
    is_none,
    is_nothing,
    number_or_nan,
    with_point,
)
from elman.read.series import DS, ID
from elman.read.stamps import UNITS

FAR = 20  # maximum number of resampled steps per step in a plausible unit

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Recording:
    """One recording.

    Attributes:
        unique_id: name of the recording.
        begin: the first stamp: a number, whole if all stamps of the recording are, or
            datetime64[us], in UTC if there is a zone.
        times: (T,) seconds after `begin`, never decreasing; or steps.
        values: (T, C) values of the channels; NaN for missing ones.
        static: values of the columns that do not change, unconverted.
        unit: seconds per unit of stamps that are numbers.
        clock: clock by which stamps that are dates are written.
        whole: whether names were whole numbers, not text.
        timed: whether times are those of stamps.
        names: names of the channels of a file that has only this recording; otherwise ().
    """

    unique_id: str
    begin: Any
    times: Numbers
    values: Numbers
    static: tuple[object, ...] = ()
    unit: float = 1.0
    clock: Clock = Clock()  # noqa: RUF009
    whole: bool = False
    timed: bool = False
    names: tuple[str, ...] = ()

    @property
    def starts(self) -> float | None:
        """The first stamp in seconds; None without stamps."""
        return seconds_of(self.begin, self.unit) if self.timed else None

    @property
    def name(self) -> str | int:
        """The name in its original type."""
        return int(self.unique_id) if self.whole else self.unique_id

    def __len__(self) -> int:
        return len(self.times)

    @property
    def stamps(self) -> NDArray[Any]:
        """The stamps (T,), of the kind that was read."""
        return np.asarray(self.stamp(self.times))

    def stamp(self, times: Any) -> Any:
        """Return the stamps at `times` seconds after the beginning."""
        if isinstance(self.begin, np.datetime64):
            return self.begin + (np.asarray(times) * 1e6).round().astype("timedelta64[us]")
        if isinstance(self.begin, np.integer):  # such as ns, too large for floats
            return self.begin + np.rint(np.asarray(times) / self.unit).astype(np.int64)
        return float(self.begin) + np.asarray(times) / self.unit

    def moments(self, stamps: Any) -> list[Any]:
        """Return stamps for output: datetimes with their zone, if they have one, or numbers."""
        found = np.asarray(stamps)
        if found.dtype.kind == "f":
            return list(found.round(6).tolist())
        return self.clock.moments(found)

    def shown(self, step: int) -> str:
        """Format the stamp of a step for a message."""
        return str(write_moments(self.moments(self.stamps[[step]]))[0])

    def part(self, first: int, last: int) -> Recording:
        """Return the steps first..last."""
        times = self.times[first:last]
        begin = self.stamps[first] if first < last else self.begin
        rest = times - times[0] if len(times) else times
        return replace(self, begin=begin, times=rest, values=self.values[first:last])


@dataclass
class Recordings:
    """Recordings with their labels and places.

    Attributes:
        items: the recordings.
        labels: label of each recording, or a list with a label for each step; None for no label.
        places: places of the recordings, for messages.
        channels: names of the C channels.
        timed: whether there are stamps.
        notes: messages about what was detected and done.
        unit: seconds per unit of stamps that are numbers.
        words: static columns that are declared as words.
    """

    items: list[Recording]
    labels: list[Any]
    places: list[str]
    channels: tuple[str, ...]
    timed: bool
    notes: list[str] = field(default_factory=list)
    unit: float = 1.0
    words: set[str] = field(default_factory=set)

    @property
    def gaps(self) -> Numbers:
        """The times between steps of all recordings, in seconds, without zeros."""
        gaps = np.concatenate([np.zeros(0), *(np.diff(one.times) for one in self.items)])
        return np.asarray(gaps[gaps > 0])

    @property
    def step(self) -> float:
        """The median time between steps, in seconds; 1 if it is unknown."""
        gaps = self.gaps
        return float(np.median(gaps)) if len(gaps) else 1.0

    def add(self, item: Recording, label: Any, place: str) -> None:
        """Add a recording."""
        self.items.append(item)
        self.labels.append(label)
        self.places.append(place)


@dataclass(frozen=True)
class Layout:
    """The names of columns, and settings of reading.

    Attributes:
        channels: columns of numbers; in a table of measurements the variables, () for all.
        static: columns that do not change within a recording; in measurements also variables.
        label: column of the labels.
        variable, value: columns of a table of measurements; None for one row per step.
        unique_id, ds, ds_format: columns of the name and the stamp, and the form of stamps.
        background: label of the steps outside all spans.
        encoding: encoding of the files.
        several: whether several rows of labels give one recording several labels.
        dialect: format of the values of tables.
        rate: steps per second after resampling, which helps to detect the unit of stamps.
        unit: seconds per unit of stamps that are numbers; None to detect it.
    """

    channels: tuple[str, ...] = ()
    static: tuple[str, ...] = ()
    label: str = "label"
    variable: str | None = None
    value: str = "value"
    unique_id: str = ID
    ds: str = DS
    ds_format: str | None = None
    background: str = "none"
    encoding: str = "utf-8"
    several: bool = False
    rate: float | None = None
    unit: float | None = None
    dialect: Dialect = field(default_factory=Dialect)


def in_seconds(found: Recordings, layout: Layout) -> str:
    """Convert times to seconds, if stamps are numbers of another unit.

    Returns:
        A message about the detected unit; "" for seconds, or if the layout sets the unit.
    """
    name, note = (layout.ds_format or "s"), ""
    if layout.unit is None and layout.ds_format is None:
        code = find_code(np.array([one.begin for one in found.items]))
        name = code if code in UNITS else unit_at(layout.rate, found.step)
        if UNITS[name] > 1:
            why = "since 1970" if code in UNITS else f"at {layout.rate:g} steps a second"
            note = f"{layout.ds!r} is read as {name} {why}; ds_format=s reads seconds"
    unit = layout.unit or 1 / UNITS.get(name, 1)
    found.unit = unit
    found.items = [
        replace(
            one,
            times=one.times * unit,
            unit=unit,
            begin=float(one.begin) if unit == 1 else one.begin,
        )
        for one in found.items
    ]
    return note


def seconds_of(stamp: Any, unit: float) -> float:
    """Return a stamp in seconds, since 1970 if it is a date.

    Args:
        stamp: a number or datetime64[us].
        unit: seconds per unit of numbers.
    """
    if isinstance(stamp, np.datetime64):
        return int(stamp.astype("datetime64[us]").astype(np.int64)) / 1e6
    return float(stamp) * unit


def unit_at(rate: float | None, step: float) -> str:
    """Return the largest unit in which a step has at most `FAR` resampled steps; s if none fits.

    Example:
        >>> from elman.read.recordings import unit_at
        >>> unit_at(25, 0.04), unit_at(25, 40), unit_at(100, 1e7)
        ('s', 'ms', 'ns')
    """
    return next((name for name in UNITS if step * (rate or 0) <= FAR * UNITS[name]), "s")


def static_values(
    values: Iterable[object], column: str, dialect: Dialect, *, decimal: str
) -> list[object]:
    """Return the values of a static column that are not missing; decimal commas become points.

    Example:
        >>> from elman.read.dialect import Dialect
        >>> from elman.read.recordings import static_values
        >>> static_values(["20,5", "-1", "NA", None], "age", Dialect(missing=("-1",)), decimal=",")
        ['20.5']
    """
    codes = dialect.codes(column)
    found = [value for value in values if not is_nothing(value) and not is_code(value, codes)]
    if decimal == ",":
        found = [with_point(value) for value in found]
    if column in dialect.numeric:
        return [number for one in found if math.isfinite(number := number_or_nan(one))]
    return found


def is_arrays(source: Any) -> bool:
    """Return whether a source is a list of arrays (T, C) or (T,), or an array or tensor of them."""
    if getattr(source, "ndim", 0) in (2, 3) and not hasattr(source, "columns"):
        return np.asarray(source).dtype.kind in "fiub"
    if not isinstance(source, list | tuple | np.ndarray):
        return False
    if getattr(source, "ndim", 1) == 0 or not len(source):
        return False
    first = source[0]
    return getattr(first, "ndim", 0) > 0 and np.asarray(first).dtype.kind in "fiub"


def checked_arrays(source: Any) -> list[Numbers]:
    """Return arrays (T, C) of float64; raise an ArgumentError if they do not match."""
    arrays: list[Numbers] = []
    for n, one in enumerate(source):
        values = checked_array(one, f"array {n}")
        if arrays and values.shape[1] != arrays[0].shape[1]:
            wanted = f"(T, {arrays[0].shape[1]})"
            raise ArgumentError(f"array {n} must have the shape {wanted}, got {values.shape}")
        arrays.append(values)
    return arrays


def checked_array(given: Any, name: str) -> Numbers:
    """Return an array (T, C) or (T,) as (T, C) of float64; raise an ArgumentError if it is none."""
    try:
        values = np.asarray(given, dtype=np.float64)
    except (TypeError, ValueError):
        raise ArgumentError(f"{name} must hold numbers, got {type(given).__name__}") from None
    values = values[:, None] if values.ndim == 1 else values
    if values.ndim != 2:
        raise ArgumentError(f"{name} must have the shape (T, C), got {values.shape}")
    if np.isinf(values).any():
        row, column = np.argwhere(np.isinf(values))[0].tolist()
        raise ArgumentError(
            f"{name} must have finite numbers, or NaN for missing ones, got "
            f"{values[row, column]} at step {row}, channel {column}"
        )
    return values


def recordings_of(items: Sequence[Recording], channels: Sequence[str] = ()) -> Recordings:
    """Return recordings that were read one by one.

    Raises:
        DataError: they do not have equally many channels, or not those that are named.
    """
    channels = items[0].names or channels
    width = len(channels) or items[0].values.shape[1]
    for one in items:
        if one.values.shape[1] != width:
            raise DataError(
                f"{one.unique_id}: expected {width} channels, got {one.values.shape[1]}"
            )
    names = tuple(channels) or tuple(map(str, range(width)))
    return Recordings(list(items), [], [], names, timed=items[0].timed, unit=items[0].unit)


def check_labels(arrays: list[Numbers], labels: list[Any], *, each: bool) -> None:
    """Raise an error unless there is a label for each array, or with `each` for each step."""
    if len(labels) != len(arrays):
        raise ArgumentError(f"expected a label for each array ({len(arrays)}), got {len(labels)}")
    if not each:
        return
    for n, (values, some) in enumerate(zip(arrays, labels, strict=True)):
        if isinstance(some, str) or not hasattr(some, "__len__") or len(some) != len(values):
            count = len(some) if hasattr(some, "__len__") else "no list"
            raise ArgumentError(
                f"array {n} needs {len(values)} labels, one for each step, got {count}"
            )
        empty = next((k for k, one in enumerate(some) if is_blank(one)), None)
        if empty is not None:
            raise ArgumentError(f"array {n} has no label at step {empty}; give one to every step")


def is_blank(value: object) -> bool:
    """Return whether a name or a label is missing: None, NaN or blank; "none" is a word."""
    return is_none(value) or not str(value).strip() or is_mark(str(value))
