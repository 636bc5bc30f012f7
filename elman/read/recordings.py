"""Recordings: several channels over time, out of tables or arrays; no grid is asked for.

    unique_id  ds  x  y  z  label         a row a step; a table for all, or a file for each
    unique_id  ds  variable  value        a row a measurement, whichever comes when

Labels stand in a column of the table, in the name of the folder that a file is in, in a list, or
in a table of their own,

    unique_id  label  [start  end]        of the whole recording, or of a span start <= ds < end

in which columns that do not change within a recording may stand, too.  Stamps are dates, or
numbers of seconds, ms, us or ns; without them rows are steps.  What is not there is NaN and stays
so.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elman.errors import ArgumentError
from elman.read.clock import Clock, write_moments
from elman.read.codes import find_code
from elman.read.dialect import Dialect, is_mark, is_none
from elman.read.series import DS, ID
from elman.read.stamps import UNITS

FAR = 20  # steps that a rate makes of one, at most, in a unit that is likely

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Recording:
    """One recording.

    Attributes:
        unique_id: its name.
        begin: the first stamp, a number or datetime64[us], which is in UTC if there is a zone.
        times: (T,) seconds after it, never less than the one before; or steps.
        values: (T, C) of the channels, NaN where there is none.
        static: of the columns that do not change, as they were read.
        unit: seconds of one, in which stamps that are numbers are counted.
        clock: how stamps that are dates are written.
        whole: whether names were whole numbers, and no text.
    """

    unique_id: str
    begin: Any
    times: Numbers
    values: Numbers
    static: tuple[object, ...] = ()
    unit: float = 1.0
    clock: Clock = Clock()  # noqa: RUF009
    whole: bool = False

    @property
    def name(self) -> str | int:
        """Its name as it came."""
        return int(self.unique_id) if self.whole else self.unique_id

    def __len__(self) -> int:
        return len(self.times)

    @property
    def stamps(self) -> NDArray[Any]:
        """(T,) stamps, of the kind that was read."""
        return np.asarray(self.stamp(self.times))

    def stamp(self, times: Any) -> Any:
        """The stamps so many seconds after the beginning."""
        if isinstance(self.begin, np.datetime64):
            return self.begin + (np.asarray(times) * 1e6).round().astype("timedelta64[us]")
        if self.unit < 1 and isinstance(self.begin, np.integer):  # such as ns, which no float holds
            return self.begin + np.rint(np.asarray(times) / self.unit).astype(np.int64)
        return float(self.begin) + np.asarray(times) / self.unit

    def moments(self, stamps: Any) -> list[Any]:
        """Stamps as they are written: datetimes with their zone, if they have one, or numbers."""
        found = np.asarray(stamps)
        if found.dtype.kind == "f":
            return list(found.round(6).tolist())
        return self.clock.moments(found)

    def shown(self, step: int) -> str:
        """The stamp of a step, for people."""
        return str(write_moments(self.moments(self.stamps[[step]]))[0])

    def part(self, first: int, last: int) -> Recording:
        """The steps first..last."""
        times = self.times[first:last]
        begin = self.stamps[first] if first < last else self.begin
        rest = times - times[0] if len(times) else times
        return replace(self, begin=begin, times=rest, values=self.values[first:last])


@dataclass
class Recordings:
    """Recordings, the label of each or one of each step, and where each stands.

    Attributes:
        items: the recordings.
        labels: of each, or a list of those of its steps; None for none.
        places: for people.
        channels: names of the C channels.
        timed: whether there are stamps.
        notes: what was found and done, for people.
        unit: seconds of one, in which stamps that are numbers are counted.
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
        """Seconds between steps of all, where any passed."""
        gaps = np.concatenate([np.zeros(0), *(np.diff(one.times) for one in self.items)])
        return np.asarray(gaps[gaps > 0])

    @property
    def step(self) -> float:
        """Seconds between steps, mostly."""
        gaps = self.gaps
        return float(np.median(gaps)) if len(gaps) else 1.0

    def add(self, item: Recording, label: Any, place: str) -> None:
        """One more."""
        self.items.append(item)
        self.labels.append(label)
        self.places.append(place)


@dataclass(frozen=True)
class Layout:
    """How columns are named.

    Attributes:
        channels: of numbers; of a table of measurements the variables, none for all.
        static: that do not change within a recording; of measurements also variables.
        label: of the labels.
        variable, value: of a table of measurements; None for a row a step.
        unique_id, ds, ds_format: of the name and the stamp, and the form of stamps.
        background: label of the steps outside all spans.
        encoding: of the files.
        several: whether rows of labels of one recording are labels of its together.
        dialect: how the values of tables are written.
        rate: steps a second that are asked for, by which the unit of stamps may be found.
        unit: seconds of one, in which stamps that are numbers are counted; None to find it.
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
    """Bring times to seconds, in whatever unit stamps that are numbers are counted.

    Returns:
        What was found, for people; "" for seconds, or for what the layout says.
    """
    name, note = (layout.ds_format or "s"), ""
    if layout.unit is None and layout.ds_format is None:
        begins = np.array([one.begin for one in found.items])
        code = find_code(begins) if begins.dtype.kind == "i" else ""
        name = code if code in UNITS else unit_at(layout.rate, found.step)
        if UNITS[name] > 1:
            why = "since 1970" if code in UNITS else f"at {layout.rate:g} steps a second"
            note = f"{layout.ds!r} is read as {name} {why}; ds_format=s reads seconds"
    unit = layout.unit or 1 / UNITS.get(name, 1)
    found.unit = unit
    found.items = [
        replace(
            one, times=one.times * unit, unit=unit,
            begin=float(one.begin) if unit == 1 else one.begin,
        )
        for one in found.items
    ]  # fmt: skip
    return note


def unit_at(rate: float | None, step: float) -> str:
    """The largest unit in which steps are not far less frequent than a rate; s if none is.

    Example:
        >>> from elman.read.recordings import unit_at
        >>> unit_at(25, 0.04), unit_at(25, 40), unit_at(100, 1e7)
        ('s', 'ms', 'ns')
    """
    return next((name for name in UNITS if step * (rate or 0) <= FAR * UNITS[name]), "s")


def is_arrays(source: Any) -> bool:
    """Whether it is a list of arrays (T, C) or (T,), or an array or tensor of them."""
    if getattr(source, "ndim", 0) in (2, 3) and not hasattr(source, "columns"):
        return np.asarray(source).dtype.kind in "fiub"
    if not isinstance(source, list | tuple | np.ndarray):
        return False
    if getattr(source, "ndim", 1) == 0 or not len(source):
        return False
    first = source[0]
    return getattr(first, "ndim", 0) > 0 and np.asarray(first).dtype.kind in "fiub"


def checked_arrays(source: Any) -> list[Numbers]:
    """Arrays (T, C) of float64; ArgumentError for what does not fit."""
    arrays: list[Numbers] = []
    for n, one in enumerate(source):
        try:
            values = np.asarray(one, dtype=np.float64)
        except (TypeError, ValueError):
            raise ArgumentError(f"array {n} must hold numbers, got {type(one).__name__}") from None
        values = values[:, None] if values.ndim == 1 else values
        if values.ndim != 2 or (arrays and values.shape[1] != arrays[0].shape[1]):
            wanted = f"(T, {arrays[0].shape[1]})" if arrays else "(T, C)"
            raise ArgumentError(f"array {n} must have the shape {wanted}, got {values.shape}")
        if np.isinf(values).any():
            row, column = np.argwhere(np.isinf(values))[0].tolist()
            raise ArgumentError(
                f"array {n} must have finite numbers, or NaN for none, got "
                f"{values[row, column]} at step {row}, channel {column}"
            )
        arrays.append(values)
    return arrays


def check_labels(arrays: list[Numbers], labels: list[Any], *, each: bool) -> None:
    """Refuse what are not the labels of arrays, or with `each` of their steps."""
    if len(labels) != len(arrays):
        raise ArgumentError(f"{len(arrays)} arrays need as many labels, got {len(labels)}")
    if not each:
        return
    for n, (values, some) in enumerate(zip(arrays, labels, strict=True)):
        if isinstance(some, str) or not hasattr(some, "__len__") or len(some) != len(values):
            count = len(some) if hasattr(some, "__len__") else "no list"
            raise ArgumentError(f"array {n} has {len(values)} steps, its labels are {count}")
        empty = next((k for k, one in enumerate(some) if is_blank(one)), None)
        if empty is not None:
            raise ArgumentError(f"array {n} has no label at step {empty}; give one to every step")


def is_blank(value: object) -> bool:
    """Whether a name or a label is none: nothing, NaN or blank; "none" is a word."""
    return is_none(value) or not str(value).strip() or is_mark(str(value))
