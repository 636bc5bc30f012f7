"""Live forecasts: the next forecast after every observation, in constant memory.

A session stores the end of the series, as far as a forecast reads it.  An observation advances it
by one step, or by several if its time shows that steps are missing.  The window is then computed
again, because its scale has changed.  A live forecast equals that of `predict` on the series up to
the observation, including missing steps.

Shape legend: L steps of the series in a window, S steps of the network, w steps of the series in
one step of the network, K targets, H steps ahead, Q levels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from elman.encode.index import SeriesIndex
from elman.encode.layout import Layout, Record
from elman.encode.neighbours import look_around
from elman.encode.units import UsualScale, in_units, size_of
from elman.encode.windows import Window
from elman.errors import ArgumentError
from elman.read.clock import Clock, read_stamps
from elman.read.frequency import Frequency, Stamps
from elman.report.terminal import counted

Numbers = NDArray[np.float64]
Predict = Callable[[Window], tuple[Numbers, Numbers]]
CHUNK = 512  # steps for which the calendar is computed at a time


class LiveForecast(NamedTuple):
    """A forecast.

    Attributes:
        mean: means (H, K).
        quantiles: quantiles (H, K, Q).
    """

    mean: Numbers
    quantiles: Numbers


class Stamped(NamedTuple):
    """The times of a session, and how they are read and written.

    Attributes:
        start: the first time of the series; None if there are no times.
        clock: clock of the training data.
        form: form of dates that are not ISO 8601, see `elman.read.stamps.parse`.
    """

    start: Any
    clock: Clock = Clock()
    form: str | None = None


class LiveForecaster:
    """A live session of one series.

    Args:
        record: the series so far, and the known covariates of the steps ahead.
        stamped: how times are read and written.
        index: description of the training data.
        layout: layout of the windows.
        predict: returns means (1, H, K) and quantiles (1, H, K, Q) for a window, in the unit of the
            series.
        scene: for a model with neighbours: the name of this series, the neighbours in the steps of
            the context, and the current places of all others; else None.
    """

    def __init__(
        self,
        record: Record,
        stamped: Stamped,
        index: SeriesIndex,
        layout: Layout,
        predict: Predict,
        scene: tuple[str, Numbers, Mapping[str, Numbers]] | None = None,
    ) -> None:
        self._index, self._layout, self._predict = index, layout, predict
        self._names = {*index.past, *index.future}
        self._gap = True  # whether the last numbers can be missing
        self._stamped, self._frequency = stamped, Frequency.named(index.frequency)
        self._start = np.int64(0) if stamped.start is None else stamped.start
        self._steps = len(record.y)
        self._name, self._around, self._others = scene or ("", np.zeros((layout.context, 0)), {})
        # After the last observation there are no numbers, as far as a window reaches.
        length = layout.back + layout.context
        self._whole = np.full((length + layout.behind, layout.targets), np.nan)
        self._y = self._whole[:length]
        self._y[:] = _end(record.y, self._steps, len(self._y), np.nan)
        self._usual = UsualScale(layout)
        self._usual.after_each(record.y)
        self._spare = np.zeros((1, layout.targets)) if record.usual is None else record.usual[None]
        unknown = [index.encode_value(name, "") for name in index.past]
        self._unknown = np.concatenate(unknown) if unknown else np.zeros(0, dtype=np.float32)
        self._past = _end(record.past, self._steps, layout.context, np.nan)
        self._known = np.zeros((layout.context + layout.behind, layout.known), dtype=np.float32)
        self._told = self._known[: layout.context + layout.horizon]
        self._told[:] = _end(record.known, self._steps + layout.horizon, len(self._told), 0.0)
        self._waves, self._waves_at = np.zeros((0, 0), dtype=np.float32), 0
        size = layout.numbers + layout.around + len(layout.categories)
        self._inputs = np.zeros((layout.steps, size), dtype=np.float32)
        self._parts, views = self._cut_inputs(record)
        self._old, self._ahead, self._size, self._near = views
        self._window = torch.from_numpy(self._inputs)[None]
        self._nothing = torch.zeros(0, dtype=torch.float32)

    def push(
        self,
        y: Any,
        others: Mapping[str, Any] | None = None,
        /,
        *,
        at: Any = None,
        **covariates: Any,
    ) -> LiveForecast:
        """Read an observation and return the next forecast.

        Args:
            y: the number, or one number for each target; NaN or None if it is missing.
            others: for a model with neighbours: the current places of all others, by name.
            at: time of the observation, in the form of the training data; all steps between the
                previous time and this one are missing.  None for the next step.
            covariates: for covariates of the past, their current values; for covariates that are
                known in advance, their values at the last step of the forecast.

        Raises:
            ArgumentError: the number of values is not the number of targets, one is infinite, a
                covariate is missing or unknown, a place is not two numbers, or `at` is not after
                the previous time or does not fit the frequency.
        """
        index = self._index
        try:
            given = [math.nan] * self._layout.targets if y is None else y
            value = np.array(given, dtype=np.float64).reshape(-1)
        except (TypeError, ValueError):
            value = np.zeros(0)
        gap = not math.isfinite(value.sum())
        if value.size != self._layout.targets or (gap and np.isinf(value).any()):
            raise ArgumentError(
                f"y must be {counted(self._layout.targets, 'finite numbers')} or NaN, got {y!r}"
            )
        if "at" in self._names:  # a covariate has this name, so the session takes no times
            covariates, at = {**covariates, "at": at}, None
        if covariates.keys() != self._names:
            wanted = ", ".join((*index.past, *index.future)) or "none"
            shown = ", ".join(covariates) or "none"
            raise ArgumentError(f"covariates must be {wanted}, got {shown}")
        past = [index.encode_value(name, covariates[name]) for name in index.past]
        known = [index.encode_value(name, covariates[name]) for name in index.future]
        places = {} if others is None else self._places_of(others)
        missed = 0 if at is None else self._missed(at)
        self._skip(missed)
        self._gap = gap or missed > 0
        self._take(value, places)
        if past:
            self._past[-1] = np.concatenate(past)
        if known:
            whole = np.concatenate(known)
            self._told[-1, : len(whole)] = whole
        return self.forecast()

    def _take(self, value: Numbers, places: Mapping[str, Numbers]) -> None:
        """Advance by one step, without covariates except the calendar."""
        _append(self._y, value)
        if self._layout.neighbours:
            _append(self._around, self._look(places))
            self._others = places
        if self._layout.past:
            _append(self._past, self._unknown)
        if self._layout.known:
            _append(self._told, self._next_waves())
        self._steps += 1
        if self._steps % self._layout.context == 0:
            self._usual.after_each(self._y[-self._layout.context :])

    def _skip(self, count: int) -> None:
        """Advance by steps that are missing."""
        context = self._layout.context  # after so many steps the usual scale includes all numbers
        reach = len(self._whole) + self._layout.horizon  # no window reads earlier steps
        beyond = max(0, count - reach - context)
        for step in range(count - beyond):
            self._steps += beyond if step == context else 0
            self._take(np.full(self._layout.targets, np.nan), {})

    def _missed(self, at: Any) -> int:
        """Return the number of missing steps between the previous observation and a time."""
        start, clock, form = self._stamped
        if start is None:
            raise ArgumentError("at must be None: the training data had no timestamps")
        stamps, bad = read_stamps([at], form, clock)
        shown = repr(at)[:60]
        if bad or (stamps.dtype.kind == "M") != isinstance(start, np.datetime64):
            raise ArgumentError(f"at must be a timestamp such as {self.stamps[0]}, got {shown}")
        stamps = self._frequency.floor(stamps)
        last = self._frequency.after(np.array([start]), 1, self._steps - 1)
        if stamps[0] <= last[0]:
            raise ArgumentError(
                f"at must be after the previous timestamp, {clock.write(last)[0]}, got {shown}"
            )
        place = int(self._frequency.places(np.concatenate([[start], stamps]))[1])
        if place < 0:
            closed = self._frequency.closed
            raise ArgumentError(
                f"at must be a whole number of {self._frequency.name} after {clock.write(last)[0]}"
                + (f", outside closed times ({closed})" if closed else "")
                + f", got {shown}"
            )
        return place - self._steps

    def forecast(self) -> LiveForecast:
        """Return the forecast without a new observation; NaN if the context has no numbers."""
        mean, quantiles = self._predict(self._read())
        if self._gap and np.isnan(self._y[-self._layout.context :]).all(0).any():
            mean, quantiles = mean * np.nan, quantiles * np.nan
        return LiveForecast(mean[0], quantiles[0])

    @property
    def ds(self) -> Stamps:
        """The times (H,) of the forecast, in the form of `Forecasts.ds`."""
        return self._frequency.after(np.array([self._start]), self._layout.horizon, self._steps)

    @property
    def stamps(self) -> list[Any]:
        """The H times of the forecast in the form of the data: text, datetimes or integers."""
        return self._stamped.clock.write(self.ds)

    def _places_of(self, others: Mapping[str, Any]) -> dict[str, Numbers]:
        """Check the places of others and return them as arrays, by name."""
        if others and not self._layout.neighbours:
            raise ArgumentError("others must not be given: this model has no neighbours")
        if not isinstance(others, Mapping) or self._name in others:
            raise ArgumentError(f"others must be a dict of places by name, got {others!r}")
        places = {}
        for name, place in others.items():
            try:
                places[name] = np.array(place, dtype=np.float64).reshape(-1)
            except (TypeError, ValueError):
                places[name] = np.zeros(0)
            if places[name].size != self._layout.targets or not np.isfinite(places[name]).all():
                raise ArgumentError(
                    f"others[{name!r}] must be a place of two numbers, got {place!r}"
                )
        return places

    def _look(self, places: Mapping[str, Numbers]) -> Numbers:
        """Return the features of others with a current and a previous place, nearest first."""
        before = self._others
        both = [(before[name], place) for name, place in places.items() if name in before]
        y = np.array([self._y[-2:], *both])
        apart = np.linalg.norm(y[1:, 1] - y[0, 1], axis=1)
        nearest = apart.argsort(kind="stable")[: self._layout.neighbours]
        others = np.full((2 * len(y), self._layout.neighbours), -1, dtype=np.int64)
        others[1, : len(nearest)] = 2 * nearest + 3
        here = np.array([[not np.isnan(y[0]).any()]])
        own = (y[0, 1] - y[0, 0])[None, None]
        found = look_around(y.reshape(-1, 2), others, np.array([[1]]), here, own, None)
        return np.asarray(found[0, 0])

    def _next_waves(self) -> NDArray[np.float32]:
        """Return the known features of the step that enters the window: its calendar."""
        step = self._steps + self._layout.horizon
        if not self._waves_at <= step < self._waves_at + len(self._waves):
            self._waves = np.zeros((CHUNK, self._layout.known), dtype=np.float32)
            self._waves_at = step
            if self._index.cycles:
                waves = self._index.waves(self._start, CHUNK, step)
                self._waves[:, -waves.shape[1] :] = waves
        return np.asarray(self._waves[step - self._waves_at])

    def _cut_inputs(self, record: Record) -> tuple[list[Part], tuple[NDArray[np.float32], ...]]:
        """Return views of the inputs, and fill in the features that never change.

        The views are the parts of y, past and known covariates, logarithm of the scale, neighbours.
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
        near = self._inputs[: layout.seen, at : at + layout.around]
        self._inputs[:, at + layout.around :] = record.codes
        seen, *lagged, past, known = views
        begins = [layout.back, *(layout.back + w - lag for lag in layout.lags)]
        parts = [
            Part(begin, view[..., : layout.targets], view[..., layout.targets :])
            for begin, view in zip(begins, [seen[: layout.seen], *lagged], strict=True)
        ]
        return parts, (past[: layout.seen], known, size, near)

    def _read(self) -> Window:
        """Return the last window, as `Windows.cut` would."""
        layout = self._layout
        seen, shift, scale = in_units(self._whole[None], layout, self._usual.now, self._spare)
        there = ~np.isnan(seen[0])
        y = np.where(there, seen[0], 0)
        for part in self._parts:
            part.fill(y, there)
        if layout.past:
            there = ~np.isnan(self._past)
            old = Part(0, self._old[..., : layout.past], self._old[..., layout.past :])
            old.fill(np.where(there, self._past, 0), there)
        if layout.known:
            self._ahead[:] = self._known[layout.segment :].reshape(self._ahead.shape)
        if layout.neighbours:
            self._near[:] = self._around[layout.segment - 1 :: layout.segment]
            if layout.segment == 1:  # the velocity at the first place is unknown
                self._near[0] = 0
        self._size[:] = size_of(scale[0, 0], layout)
        shift, scale = shift[:, : layout.horizon], scale[:, : layout.horizon]
        return Window(self._window, self._nothing, shift, scale)


class Part(NamedTuple):
    """The part of the inputs that is filled from rows of a series: S steps of w rows.

    Attributes:
        begin: index of the first row.
        numbers: view (S, w, K) of the inputs; 0 where a number is missing.
        there: view (S, w, K) of the inputs; whether there is a number.
    """

    begin: int
    numbers: NDArray[np.float32]
    there: NDArray[np.float32]

    def fill(self, numbers: NDArray[Any], there: NDArray[np.bool_]) -> None:
        """Copy rows (L, K) into the inputs."""
        shape = self.numbers.shape
        end = self.begin + shape[0] * shape[1]
        self.numbers[:] = numbers[self.begin : end].reshape(shape)
        self.there[:] = there[self.begin : end].reshape(shape)


def _end(values: NDArray[Any], until: int, steps: int, nothing: float) -> NDArray[Any]:
    """Return the `steps` rows before `until`; rows before the beginning are `nothing`."""
    found = np.full((steps, values.shape[1]), nothing, dtype=values.dtype)
    part = values[max(0, until - steps) : until]
    first = max(0, steps - until)
    found[first : first + len(part)] = part
    return found


def _append(rows: NDArray[Any], row: NDArray[Any]) -> None:
    rows[:-1] = rows[1:]
    rows[-1] = row
