"""Statistics of recordings, which the wide part of a classifier reads.

The statistics of each channel of a whole recording or window, where a change is the difference of
adjacent numbers, are

    mean, deviation, minimum, maximum, quartiles, first and last number; means of four quarters
    mean absolute, root mean square, smallest and largest change
    share of adjacent numbers with the mean between them; share of numbers that are not missing

and the correlations of the channels, if there are at most MOST channels.

If a recording is read forward only, fewer statistics are known after each step, in constant
memory: mean, deviation, minimum, maximum, first and last number, mean absolute and root mean square
change, share of numbers that are not missing.  They are sums over the steps in order, so that they
do not depend on the parts in which steps arrive.

A channel without numbers has NaN.  This file does not import torch.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

QUARTERS, MOST = 4, 8

Numbers = NDArray[np.float64]


def whole_statistics(values: Numbers) -> Numbers:
    """Return the statistics (S) of a recording or window (T, C).

    Example:
        >>> import numpy as np
        >>> from elman.encode.statistics import whole_statistics
        >>> whole_statistics(np.array([[1.0], [3.0], [2.0]])).round(2).tolist()[:9]
        [2.0, 0.82, 1.0, 3.0, 1.5, 2.0, 2.5, 1.0, 2.0]
    """
    there = ~np.isnan(values)
    count = there.sum(0)
    steps = np.maximum(count - 1, 1)
    x = np.take_along_axis(values, np.argsort(~there, axis=0, kind="stable"), 0)  # NaN at the end
    ordered = np.sort(values, axis=0)
    last = np.maximum(count - 1, 0)[None]
    change = np.diff(x, axis=0)
    moves = ~np.isnan(change)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.nansum(x, 0) / count
        deviation = np.sqrt(np.nansum((x - mean) ** 2, 0) / count)
        above = x > mean
        parts = [
            mean,
            deviation,
            ordered[0],
            np.take_along_axis(ordered, last, 0)[0],
            *(_quantile(ordered, count, q) for q in (0.25, 0.5, 0.75)),
            x[0],
            np.take_along_axis(x, last, 0)[0],
            *(
                np.nansum(part, 0) / (~np.isnan(part)).sum(0)
                for part in np.array_split(values, QUARTERS)
            ),
            np.nansum(np.abs(change), 0) / steps,
            np.sqrt(np.nansum(change**2, 0) / steps),
            np.where(moves, change, 0).min(0, initial=0),
            np.where(moves, change, 0).max(0, initial=0),
            ((above[1:] != above[:-1]) & moves).sum(0) / steps,
            count / len(values),
        ]
        if 1 < values.shape[1] <= MOST:
            z = np.where(there & (deviation > 0), (values - mean) / deviation, 0)
            both = there.T.astype(np.float64) @ there
            first, second = np.triu_indices(values.shape[1], 1)
            parts.append((z.T @ z / both)[first, second])
    return np.concatenate(parts)


def _quantile(ordered: Numbers, count: NDArray[np.int64], q: float) -> Numbers:
    """Return a quantile of the first `count` rows of each column; these are sorted."""
    place = np.maximum(count - 1, 0) * q
    low = np.floor(place).astype(np.int64)
    high = np.minimum(low + 1, np.maximum(count - 1, 0))
    a, b = (np.take_along_axis(ordered, at[None], 0)[0] for at in (low, high))
    return np.asarray(a + (place - low) * (b - a))


@dataclass(frozen=True)
class Running:
    """Statistics of the steps of a recording so far.

    Attributes:
        steps: number of steps.
        sums: (5, C) for each channel: count of numbers; sum and sum of squares of x - first; sum
            of absolute values and sum of squares of the changes.
        ends: (4, C) first and last number, minimum and maximum; NaN without numbers.

    Example:
        >>> import numpy as np
        >>> from elman.encode.statistics import Running
        >>> start = Running.start(1)
        >>> start.push(np.array([[1.0], [3.0]])).push(np.array([[2.0]])).values.round(2).tolist()
        [2.0, 0.82, 1.0, 3.0, 1.0, 2.0, 1.5, 1.58, 1.0]
    """

    steps: int
    sums: Numbers
    ends: Numbers

    @classmethod
    def start(cls, channels: int) -> Running:
        """Return the statistics before the first step."""
        return cls(0, np.zeros((5, channels)), np.full((4, channels), np.nan))

    def push(self, values: Numbers) -> Running:
        """Return the statistics after more steps (T, C)."""
        if not len(values):
            return self
        there = ~np.isnan(values)
        first, last = self.ends[:2]
        first = np.where(np.isnan(first), _first(values, there), first)
        before = np.concatenate([last[None], values])
        places = np.concatenate([np.zeros((1, values.shape[1]), int), there * self._rows(values)])
        latest = np.take_along_axis(before, np.maximum.accumulate(places, axis=0), 0)
        change = np.nan_to_num(values - latest[:-1])
        x = np.where(there, values - first, 0)
        terms = np.stack([there, x, x * x, np.abs(change), change * change], 1)
        sums = np.add.accumulate(np.concatenate([self.sums[None], terms]), axis=0)[-1]
        low = np.fmin.reduce(values, axis=0, initial=np.nan)
        high = np.fmax.reduce(values, axis=0, initial=np.nan)
        ends = [first, latest[-1], np.fmin(self.ends[2], low), np.fmax(self.ends[3], high)]
        return replace(self, steps=self.steps + len(values), sums=sums, ends=np.stack(ends))

    @staticmethod
    def _rows(values: Numbers) -> NDArray[np.int64]:
        return np.arange(1, len(values) + 1)[:, None]

    @property
    def values(self) -> Numbers:
        """The statistics (S)."""
        count, total, squares, absolute, moved = self.sums
        first, last, low, high = self.ends
        moves = np.maximum(count - 1, 1)
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = total / count
            deviation = np.sqrt(np.maximum(squares / count - mean**2, 0))
        return np.concatenate(
            [
                first + mean,
                deviation,
                low,
                high,
                first,
                last,
                absolute / moves,
                np.sqrt(moved / moves),
                count / max(1, self.steps),
            ]
        )


def _first(values: Numbers, there: NDArray[np.bool_]) -> Numbers:
    """Return the first number of each column; NaN without one."""
    return np.asarray(np.take_along_axis(values, there.argmax(0)[None], 0)[0])
