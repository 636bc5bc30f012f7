"""The next forecast after every observation, in constant memory.

A session keeps the end of the series that a forecast reads.  An observation moves it on by a step,
or by several if its stamp says that some were missed, and the window is read anew, as its scale has
changed: a live forecast is that of `predict` on the series up to there, gaps and all.

Shape legend: L steps of the series in a window, S of the network, w of the series in one of these,
K targets, H steps ahead, Q levels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from elman.encode.index import SeriesIndex
from elman.encode.neighbours import look_around
from elman.encode.units import UsualScale, in_units, size_of
from elman.encode.windows import Layout, Record, Window
from elman.errors import ArgumentError
from elman.read.clock import Clock, read_stamps
from elman.read.frequency import Frequency, Stamps

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


class Stamped(NamedTuple):
    """How the stamps of a session are read and written.

    Attributes:
        start: the first stamp of the series; None if there are no stamps.
        clock: of the training data.
        form: of stamps that are not ISO 8601, see `elman.read.stamps.parse`.
    """

    start: Any
    clock: Clock = Clock()
    form: str | None = None


class LiveForecaster:
    """A live session of one series.

    Args:
        record: what came before, and what is known of the steps ahead.
        stamped: how stamps are read and written.
        index: what training has seen.
        layout: of the windows.
        say: means (1, H, K) and quantiles (1, H, K, Q) of a window, in the unit of the series.
        scene: of a model that sees neighbours one's own name, what was seen of others in the steps
            of the context, and where they are now.
    """

    def __init__(
        self,
        record: Record,
        stamped: Stamped,
        index: SeriesIndex,
        layout: Layout,
        say: Say,
        scene: tuple[str, Numbers, Mapping[str, Numbers]] | None = None,
    ) -> None:
        self._index, self._layout, self._say = index, layout, say
        self._names = {*index.past, *index.future}
        self._gap = True  # whether the last numbers may be none
        self._stamped, self._frequency = stamped, Frequency.named(index.frequency)
        self._start = np.int64(0) if stamped.start is None else stamped.start
        self._steps = len(record.y)
        self._name, self._around, self._others = scene or ("", np.zeros((layout.context, 0)), {})
        # Behind what was seen there is nothing, as far as a window reaches.
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
        """Take an observation and return the next forecast.

        Args:
            y: the number, NaN or None for none; of several targets all of them, None for none.
            others: of a model that sees neighbours the places of all others now, by their names.
            at: the stamp of the observation, as in the training data; steps between the previous
                one and this are missing, with all covariates.  None for the next step.
            covariates: of those known of the past the values of now; of those known before the
                values of the last step that is then forecast.

        Raises:
            ArgumentError: there are more or fewer numbers than targets, one is infinite, a
                covariate is missing or unknown, another has no place, or `at` is not after the
                previous stamp or lies between those of the frequency.
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
                f"y must be {self._layout.targets} finite numbers or NaN, got {y!r}"
            )
        if "at" in self._names:  # a covariate of that name: the session takes no stamps
            covariates, at = {**covariates, "at": at}, None
        if covariates.keys() != self._names:
            wanted = ", ".join((*index.past, *index.future)) or "none"
            shown = ", ".join(covariates) or "none"
            raise ArgumentError(f"push takes the covariates {wanted}, got {shown}")
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
        """Move on by a step, of which no covariate is known but the calendar."""
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
        """Move on by steps of which nothing is known."""
        context = self._layout.context  # after one more the usual scale has seen all numbers
        reach = len(self._whole) + self._layout.horizon  # no window reads what came before
        beyond = max(0, count - reach - context)
        for step in range(count - beyond):
            self._steps += beyond if step == context else 0
            self._take(np.full(self._layout.targets, np.nan), {})

    def _missed(self, at: Any) -> int:
        """Steps between the previous observation and one with a stamp."""
        start, clock, form = self._stamped
        if start is None:
            raise ArgumentError("at must be None: training had no stamps")
        stamps, bad = read_stamps([at], form, clock)
        shown = repr(at)[:60]
        if bad or (stamps.dtype.kind == "M") != isinstance(start, np.datetime64):
            raise ArgumentError(f"at must be a stamp such as {self.stamps[0]}, got {shown}")
        stamps = self._frequency.floor(stamps)
        last = self._frequency.after(np.array([start]), 1, self._steps - 1)
        if stamps[0] <= last[0]:
            raise ArgumentError(
                f"at must be after the previous stamp, {clock.write(last)[0]}, got {shown}"
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
        """What comes next, with nothing new; NaN if no number is left to tell it from."""
        mean, quantiles = self._say(self._read())
        if self._gap and np.isnan(self._y[-self._layout.context :]).all(0).any():
            mean, quantiles = mean * np.nan, quantiles * np.nan
        return LiveForecast(mean[0], quantiles[0])

    @property
    def ds(self) -> Stamps:
        """(H,) stamps of the forecast, as `Forecasts.ds` has them."""
        return self._frequency.after(np.array([self._start]), self._layout.horizon, self._steps)

    @property
    def stamps(self) -> list[Any]:
        """H stamps of the forecast as they were in the data: text, datetimes or whole numbers."""
        return self._stamped.clock.write(self.ds)

    def _places_of(self, others: Mapping[str, Any]) -> dict[str, Numbers]:
        """Places by name, checked."""
        if others and not self._layout.neighbours:
            raise ArgumentError("this model sees no neighbours: push takes no others")
        if not isinstance(others, Mapping) or self._name in others:
            wanted = "places by the names of others"
            raise ArgumentError(f"others must be {wanted}, got {others!r}")
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
        """What is seen of others that are here and were a step before, the nearest first."""
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
        """Views of the inputs: parts of y; past, known, logarithm of the scale, neighbours.

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
        """The window at the end, as `Windows.cut` makes it."""
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
            if layout.segment == 1:  # of the first place no velocity is known
                self._near[0] = 0
        self._size[:] = size_of(scale[0, 0], layout)
        shift, scale = shift[:, : layout.horizon], scale[:, : layout.horizon]
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
