"""Encode recordings as arrays (T, F), with statistics of the training data.

A step has the columns

    channels     (x - mean) / deviation of the training data, clipped to -8..8; a missing number is
                 the last number, or 0, the mean, if there was none; a channel with a long tail
                 (skewness above 1) has log(1 + d / median) in place of x, where d is x minus the
                 smallest x of the training data
    there        1 or 0, for each channel with missing numbers in the training data
    since        log(1 + time since the last number), for the same channels, if times are inputs
    elapsed      log(1 + time since the previous step), if times are inputs
    static       standardised numbers, and whether they are given; one-hot columns of words

No step depends on a later one, so a recording can arrive one step at a time.

With a rate, the time is divided into cells of 1 / rate seconds: a step is the mean of the numbers
in a cell, and is missing if the cell is empty.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from elman.encode.index import MANY, check_units
from elman.encode.scale import NEVER, ROUNDING, find_unit
from elman.errors import ArgumentError, DataError
from elman.read.dialect import are_numbers, is_nothing, is_same, name_of, number_or_nan
from elman.read.grid import FEW, SPARSE
from elman.read.recording_source import RecordingSource
from elman.read.recordings import Recording, Recordings
from elman.read.rows import Rejects

MOST = 8.0  # deviations at which numbers are clipped
SKEWED = 1.0  # skewness above which a channel has a long tail
UNEVEN = 0.1  # relative deviation, and share of steps, above which times are uneven

Floats = NDArray[np.float32]
Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class RecordingIndex:
    """Statistics of the recordings in the training data.

    Attributes:
        channels, static: names of columns.
        units: mean and deviation of the channels, and of the static columns that are numbers.
        tails: median distance from the smallest number, for the channels with a long tail.
        words: words of the static columns that are words.
        gappy: channels with missing numbers in the training data.
        timed: whether the recordings have stamps.
        elapsed: whether the time between steps is an input.
        step: usual seconds between steps.
        rate: steps per second after resampling; None for no resampling.
        decays: whether arrays are inputs of cells such as `elman.GRUD`: channels with 0 where
            missing, a mask of all channels, the time since the previous step in usual steps,
            static columns.
        lows: smallest number of the channels with a long tail; 0 in models of version 0.1.0.
        unit: seconds per unit of stamps that are numbers.

    Example:
        >>> from elman.encode.recordings import RecordingIndex
        >>> from elman.read.recording_source import RecordingSource
        >>> from elman.read.rows import Rejects
        >>> import numpy as np
        >>> arrays = [np.array([[1.0, 5.0], [3.0, np.nan]])]
        >>> found = RecordingSource(arrays).read(Rejects(None))
        >>> index = RecordingIndex.build(found)
        >>> index.encode(found.items[0]).tolist()
        [[-1.0, 0.0, 1.0], [1.0, 0.0, 0.0]]
    """

    channels: list[str]
    static: list[str]
    units: dict[str, list[float]]
    tails: dict[str, float]
    words: dict[str, list[str]]
    gappy: list[str]
    timed: bool
    elapsed: bool
    step: float
    rate: float | None
    decays: bool = False
    lows: dict[str, float] = field(default_factory=dict)
    unit: float = 1.0

    @classmethod
    def build(
        cls,
        found: Recordings,
        *,
        static: Sequence[str] = (),
        rate: float | None = None,
        elapsed: bool | None = None,
        decays: bool = False,
        strict: bool = True,
    ) -> RecordingIndex:
        """Compute the statistics of the training data.

        Args:
            found: the recordings.
            static: names of the static columns.
            rate: steps per second after resampling; None for no resampling.
            elapsed: whether the time between steps is an input; None if only uneven time is.
            decays: whether arrays are inputs of cells such as `elman.GRUD`.
            strict: whether a channel without numbers is an error; otherwise it is constant.

        Raises:
            ArgumentError: `rate` or `elapsed` is set for recordings without stamps.
            DataError: a channel has no numbers, or a static column has too many words.
        """
        if not found.timed and (rate is not None or (elapsed and not decays)):
            name = "elapsed" if rate is None else "rate"
            raise ArgumentError(f"{name} needs stamps; set ds to their column")
        step = found.step
        if elapsed is None:
            elapsed = bool(found.timed and rate is None and _uneven(found.gaps, step))
        draft = cls(
            list(found.channels),
            list(static),
            {},
            {},
            {},
            [],
            found.timed,
            elapsed,
            step,
            rate,
            decays,
            unit=found.unit,
        )
        items = [draft.resampled(one) for one in found.items]
        values = np.concatenate([one.values for one in items])
        for n, name in enumerate(found.channels):
            there = values[~np.isnan(values[:, n]), n]
            if not len(there) and not strict:
                draft.units[name] = [0.0, NEVER]
                draft.gappy.append(name)
                continue
            if not len(there):
                raise DataError(f"channel {name!r}: has no number in the training data; omit it")
            draft._learn_channel(name, there)
            if len(there) < len(values) or decays:
                draft.gappy.append(name)
        for n, name in enumerate(static):
            seen = [one.static[n] for one in found.items if not is_nothing(one.static[n])]
            draft._learn_static(name, seen, words=name in found.words)
        return draft

    def _learn_static(self, name: str, seen: list[object], *, words: bool) -> None:
        """Store the unit of a static column of numbers, or its words."""
        if seen and not words and are_numbers(seen):
            self.units[name] = find_unit(np.array([number_or_nan(value) for value in seen]))
            return
        self.words[name] = sorted({name_of(value) for value in seen})
        if not 0 < len(self.words[name]) <= MANY:
            raise DataError(
                f"static column {name!r}: {len(self.words[name])} different words, expected 1 to "
                f"{MANY}; omit it, or convert it to numbers"
            )

    def check(self) -> None:
        """Raise a ValueError, with the name of the field, for a value that is not possible."""
        static = [column for column in self.static if column not in self.words]
        check_units(self.units, [*self.channels, *static])
        for name, names in {"gappy": self.gappy, "tails": self.tails, "lows": self.lows}.items():
            if unknown := set(names) - set(self.channels):
                raise ValueError(f"{name} names {min(unknown)!r}, which is not a channel")
        numbers = {"unit": self.unit, "step": self.step, "rate": self.rate}
        numbers |= {f"tails of {channel!r}": tail for channel, tail in self.tails.items()}
        for name, number in numbers.items():
            if number is not None and not number > 0:
                raise ValueError(f"{name} must be above 0, got {number}")

    def _learn_channel(self, name: str, numbers: Numbers) -> None:
        """Compute the unit of a channel, and its tail, from all its numbers (N,)."""
        if _is_skewed(numbers):
            low = self.lows[name] = float(numbers.min())
            above = numbers - low
            self.tails[name] = float(np.median(above[above > 0]))
            numbers = np.log1p(above / self.tails[name])
        self.units[name] = find_unit(numbers)

    @property
    def features(self) -> int:
        """F, the number of columns."""
        gappy = len(self.gappy) * (2 if self.elapsed and not self.decays else 1)
        fixed = sum(len(self.words.get(name, "12")) for name in self.static)
        return len(self.channels) + gappy + bool(self.elapsed) + fixed

    def encode(self, one: Recording) -> Floats:
        """Return the array (T, F) of a recording, resampled.

        Raises:
            ArgumentError: the recording has other channels.
        """
        width = one.values.shape[1]
        if width != len(self.channels):
            raise ArgumentError(
                f"{one.unique_id}: expected {len(self.channels)} channels, got {width}"
            )
        return self.encoder(one.static).push(self.resampled(one))

    def encoder(self, static: Sequence[object] = ()) -> Encoder:
        """Return an encoder for one recording whose steps arrive in parts."""
        return Encoder(self, self.fixed(static))

    def cells(self, one: Recording) -> NDArray[np.int64]:
        """Return the index (T,) that each step of a recording has after resampling."""
        if self.rate is None:
            return np.arange(len(one))
        return np.floor(one.times * self.rate + 1e-9).astype(np.int64)

    def resampled(self, one: Recording) -> Recording:
        """Return the recording, resampled to the rate."""
        if self.rate is None or not len(one):
            return one
        cell = self.cells(one)
        count = int(cell[-1]) + 1
        if count > SPARSE // 10 * len(one) + FEW:
            raise DataError(
                f"recording {one.unique_id!r}: its {len(one):,} steps span {one.times[-1]:g} "
                f"s, {count:,} cells at rate={self.rate:g}; set a lower rate, fix the stamps, or, "
                "if they are not seconds, set ds_format=ms, us or ns"
            )
        there = ~np.isnan(one.values)
        sums = np.zeros((count, one.values.shape[1]))
        counts = np.zeros_like(sums)
        np.add.at(sums, cell, np.where(there, one.values, 0))
        np.add.at(counts, cell, there)
        with np.errstate(invalid="ignore"):
            values = sums / counts
        return replace(one, times=np.arange(count) / self.rate, values=values)

    def fixed(self, static: Sequence[object]) -> Floats:
        """Return the static columns."""
        parts: list[float] = []
        for name, value in zip(self.static, static or [None] * len(self.static), strict=True):
            if name in self.words:
                parts += [float(is_same(value, word)) for word in self.words[name]]
                continue
            number = number_or_nan(value)
            mean, deviation = self.units[name]
            there = bool(np.isfinite(number))
            parts += [(number - mean) / deviation if there else 0.0, float(there)]
        return np.array(parts, dtype=np.float32)


class Encoder:
    """An encoder of the steps of one recording, in order and in parts.

    Args:
        index: statistics of the training data.
        fixed: the static columns.
    """

    def __init__(self, index: RecordingIndex, fixed: Floats) -> None:
        self._index, self._fixed = index, fixed
        self._units = np.array([index.units[name] for name in index.channels]).T
        self._tails = np.array([index.tails.get(name, math.nan) for name in index.channels])
        self._lows = np.array([index.lows.get(name, 0.0) for name in index.channels])
        place = {name: n for n, name in enumerate(index.channels)}
        self._gappy = [place[name] for name in index.gappy]
        self.last = np.zeros(len(index.channels))
        self.since = np.zeros(len(index.channels))  # time of the last number of each channel
        self.time = 0.0

    def push(self, part: Recording) -> Floats:
        """Return the array (T, F) of the next steps; their times continue the previous ones."""
        index, values, times = self._index, part.values, part.times
        steps, width = values.shape
        if width != len(index.channels):
            raise ArgumentError(f"expected {len(index.channels)} channels, got {width}")
        mean, deviation = self._units
        if index.tails:
            logs = np.log1p(np.maximum(values - self._lows, 0) / self._tails)
            values = np.where(self._tails > 0, logs, values)
        there = ~np.isnan(values)
        scaled = ((values - mean) / deviation).clip(-MOST, MOST)
        if not there.all():
            rows = np.where(there, np.arange(1, steps + 1)[:, None], 0)
            latest = np.maximum.accumulate(rows, axis=0)
            whole = np.concatenate([self.last[None], np.where(there, scaled, 0)])
            scaled = np.take_along_axis(whole, latest, 0)
            before = np.concatenate(
                [self.since[None], np.broadcast_to(times[:, None], there.shape)]
            )
            since = times[:, None] - np.take_along_axis(before, latest, 0)
        else:
            since = np.zeros_like(scaled)
        parts = [np.where(there, scaled, 0) if index.decays else scaled, there[:, self._gappy]]
        if index.elapsed:
            between = np.diff(times, prepend=self.time)[:, None] / index.step
            if not index.decays:
                parts += [np.log1p(since[:, self._gappy] / index.step)]
                between = np.log1p(np.maximum(between, 0))
            parts += [between]
        parts += [np.broadcast_to(self._fixed, (steps, len(self._fixed)))]
        if steps:
            self.last, self.time = scaled[-1], float(times[-1])
            self.since = self.time - since[-1]
        return np.concatenate(parts, axis=1, dtype=np.float32)


def read_like(
    source: RecordingSource, rejects: Rejects, like: Recordings | RecordingIndex | None
) -> Recordings:
    """Return all recordings of a source, with the channels and stamps of the training data.

    If only one of the two has stamps, steps are evenly spaced, as in a live session without `at`.
    """
    if like is None:
        return source.read(rejects)
    source.layout = replace(source.layout, channels=tuple(like.channels), unit=like.unit)
    found = source.read(rejects)
    if found.timed == like.timed:
        return found
    step = like.step if like.timed else 1.0
    rows = [step * np.arange(len(one), dtype=np.float64) for one in found.items]
    items = [replace(one, times=t) for one, t in zip(found.items, rows, strict=True)]
    return replace(found, items=items, timed=like.timed)


def windows_of(steps: int, size: int | None, overlap: float) -> list[tuple[int, int]]:
    """Return the bounds, as for `range`, of windows of a recording; the last is at its end.

    Example:
        >>> from elman.encode.recordings import windows_of
        >>> windows_of(10, 4, 0.5), windows_of(3, 4, 0.5)
        ([(0, 4), (2, 6), (4, 8), (6, 10)], [(0, 3)])
    """
    if size is None or steps <= size:
        return [(0, steps)]
    stride = max(1, round(size * (1 - overlap)))
    begins = [*range(0, steps - size, stride), steps - size]
    return [(begin, begin + size) for begin in begins]


def _is_skewed(numbers: Numbers) -> bool:
    level = numbers.min()
    error = numbers - level - (numbers - level).mean()
    deviation = error.std()
    if deviation <= ROUNDING * abs(level):
        return False
    return bool(((error / deviation) ** 3).mean() > SKEWED)


def _uneven(gaps: Numbers, step: float) -> bool:
    return bool(len(gaps) and (np.abs(gaps - step) > UNEVEN * step).mean() > UNEVEN)
