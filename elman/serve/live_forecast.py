"""The next forecast after every observation, in constant memory.

Kept is the end of the series that a forecast reads.  An observation moves it on by a step, and its
window is read anew, as its scale has changed: a live forecast is that of `predict` on the series
up to there.

Shape legend: L steps of the series in a window, S of the network, w of the series in one of these,
K targets, H steps ahead, Q levels.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from elman.encode.index import SeriesIndex
from elman.encode.scale import find_scale
from elman.encode.windows import Layout, Record, Window
from elman.errors import ArgumentError
from elman.read.stamps import Frequency, Stamps

Numbers = NDArray[np.float64]
Say = Callable[[Window], tuple[Numbers, Numbers]]
CHUNK = 512  # steps of which the calendar is computed at a time


class LiveForecast(NamedTuple):
    """What comes next.

    Attributes:
        mean: (H, K).
        quantiles: (H, K, Q).
    """

    mean: Numbers
    quantiles: Numbers


class LiveForecaster:
    """A live session of one series.

    Args:
        record: what came before, and what is known of the steps ahead.
        start: the first stamp of it.
        index: what training has seen.
        layout: of the windows.
        say: means (1, H, K) and quantiles (1, H, K, Q) of a window, in the unit of the series.
    """

    def __init__(
        self, record: Record, start: Any, index: SeriesIndex, layout: Layout, say: Say
    ) -> None:
        self._index, self._layout, self._say = index, layout, say
        self._names = {*index.past, *index.future}
        self._gap = True  # whether the last numbers may be none
        self._start, self._frequency = start, Frequency.named(index.frequency)
        self._steps = len(record.y)
        lag = max(layout.lags, default=0)
        # Behind what was seen there is nothing, as far as a window reaches.
        self._whole = np.full((lag + layout.context + layout.behind, layout.targets), np.nan)
        self._y = self._whole[: lag + layout.context]
        self._y[:] = _end(record.y, self._steps, len(self._y), np.nan)
        self._past = _end(record.past, self._steps, layout.context, np.nan)
        self._known = np.zeros((layout.context + layout.behind, layout.known), dtype=np.float32)
        self._told = self._known[: layout.context + layout.horizon]
        self._told[:] = _end(record.known, self._steps + layout.horizon, len(self._told), 0.0)
        self._waves, self._waves_at = np.zeros((0, 0), dtype=np.float32), 0
        size = layout.numbers + len(layout.categories)
        self._inputs = np.zeros((layout.steps, size), dtype=np.float32)
        self._parts, (self._old, self._ahead, self._size) = self._cut_inputs(record)
        self._window = torch.from_numpy(self._inputs)[None]
        self._nothing = torch.zeros(0)

    def push(self, y: Any, /, **covariates: Any) -> LiveForecast:
        """Take what came; say what comes next.

        Args:
            y: the number, NaN or None for none; of several targets all of them.
            covariates: of those known of the past the values of now; of those known before the
                values of the last step that is then forecast.

        Raises:
            ArgumentError: there are more or fewer numbers than targets, one is infinite, or a
                covariate is missing or unknown.
        """
        index = self._index
        try:
            value = np.array(math.nan if y is None else y, dtype=np.float64).reshape(-1)
        except (TypeError, ValueError):
            value = np.zeros(0)
        gap = not math.isfinite(value.sum())
        if value.size != self._layout.targets or (gap and np.isinf(value).any()):
            raise ArgumentError(
                f"y must be {self._layout.targets} finite numbers or NaN, got {y!r}"
            )
        if covariates.keys() != self._names:
            wanted = ", ".join((*index.past, *index.future)) or "none"
            shown = ", ".join(covariates) or "none"
            raise ArgumentError(f"push takes the covariates {wanted}, got {shown}")
        past = [index.encode_value(name, covariates[name]) for name in index.past]
        known = [index.encode_value(name, covariates[name]) for name in index.future]
        self._gap = gap
        _append(self._y, value)
        if past:
            _append(self._past, np.concatenate(past))
        if self._layout.known:
            _append(self._told, self._next_waves())
            if known:
                whole = np.concatenate(known)
                self._told[-1, : len(whole)] = whole
        self._steps += 1
        return self.forecast()

    def forecast(self) -> LiveForecast:
        """What comes next, with nothing new; NaN if no number is left to tell it from."""
        mean, quantiles = self._say(self._read())
        if self._gap and np.isnan(self._y[-self._layout.context :]).all(0).any():
            mean, quantiles = mean * np.nan, quantiles * np.nan
        return LiveForecast(mean[0], quantiles[0])

    @property
    def ds(self) -> Stamps:
        """(H,) stamps of the forecast."""
        return self._frequency.after(np.array([self._start]), self._layout.horizon, self._steps)

    def _next_waves(self) -> NDArray[np.float32]:
        """What is known before of the step that comes into the window: its calendar."""
        step = self._steps + self._layout.horizon
        if not self._waves_at <= step < self._waves_at + len(self._waves):
            self._waves = np.zeros((CHUNK, self._layout.known), dtype=np.float32)
            self._waves_at = step
            if self._index.cycles:
                waves = self._index.waves(self._start, CHUNK, step)
                self._waves[:, -waves.shape[1] :] = waves
        return np.asarray(self._waves[step - self._waves_at])

    def _cut_inputs(self, record: Record) -> tuple[list[Part], tuple[NDArray[np.float32], ...]]:
        """Views of the inputs: parts of y; what is past, what is known, the logarithm of the scale.

        What never changes is filled in.
        """
        layout, w = self._layout, self._layout.segment
        widths = [2 * layout.targets] * (1 + len(layout.lags)) + [2 * layout.past, layout.known]
        views, at = [], 0
        for width in widths:
            part = self._inputs[:, at : at + w * width]
            views.append(part.reshape(layout.steps, w, width))
            at += w * width
        self._inputs[:, at : at + layout.static] = record.static
        at += layout.static
        size = self._inputs[:, at : at + layout.targets]
        at += layout.targets
        if not layout.feedback:
            ahead = (np.arange(layout.steps) - layout.seen + 1).clip(min=0)
            self._inputs[:, at] = ahead / layout.ahead
            at += 1
        self._inputs[:, at:] = record.codes
        seen, *lagged, past, known = views
        first = len(self._y) - layout.context
        begins = [first, *(first + w - lag for lag in layout.lags)]
        parts = [
            Part(begin, view[..., : layout.targets], view[..., layout.targets :])
            for begin, view in zip(begins, [seen[: layout.seen], *lagged], strict=True)
        ]
        return parts, (past[: layout.seen], known, size)

    def _read(self) -> Window:
        """The window at the end, as `Windows.cut` makes it."""
        layout = self._layout
        shift, scale = find_scale(self._y[None, -layout.context :], layout.scaling)
        y = (self._whole - shift[0]) / scale[0]
        there = ~np.isnan(y)
        y = np.where(there, y, 0)
        for part in self._parts:
            part.fill(y, there)
        if layout.past:
            there = ~np.isnan(self._past)
            old = Part(0, self._old[..., : layout.past], self._old[..., layout.past :])
            old.fill(np.where(there, self._past, 0), there)
        if layout.known:
            self._ahead[:] = self._known[layout.segment :].reshape(self._ahead.shape)
        self._size[:] = np.log(scale[0])
        return Window(self._window, self._nothing, shift, scale)


class Part(NamedTuple):
    """Inputs that come from rows of a series: S steps of w rows.

    Attributes:
        begin: the first of the rows.
        numbers, there: (S, w, K) views of the inputs: 0 for none, and whether there is one.
    """

    begin: int
    numbers: NDArray[np.float32]
    there: NDArray[np.float32]

    def fill(self, numbers: NDArray[Any], there: NDArray[np.bool_]) -> None:
        """With rows (L, K)."""
        shape = self.numbers.shape
        end = self.begin + shape[0] * shape[1]
        self.numbers[:] = numbers[self.begin : end].reshape(shape)
        self.there[:] = there[self.begin : end].reshape(shape)


def _end(values: NDArray[Any], until: int, steps: int, nothing: float) -> NDArray[Any]:
    """The `steps` before `until`, filled up where there is nothing."""
    found = np.full((steps, values.shape[1]), nothing, dtype=values.dtype)
    part = values[max(0, until - steps) : until]
    first = max(0, steps - until)
    found[first : first + len(part)] = part
    return found


def _append(rows: NDArray[Any], row: NDArray[Any]) -> None:
    rows[:-1] = rows[1:]
    rows[-1] = row
