"""Live forecasts: the next forecast after every observation, in constant memory.

A session stores the part at the end of the series that a forecast reads.  An observation advances
it by one step, or by several if its time shows that steps are missing.  The window is then computed
again, because its scale has changed.  A live forecast equals that of `predict` on the series up to
the observation, including missing steps.

Shape legend: L steps of the series in a window, S steps of the network, w steps of the series in
one step of the network, K targets, H steps ahead, Q levels.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from elman.encode.layout import Record
from elman.encode.series import SeriesEmbed
from elman.encode.units import UsualScale, in_units, size_of
from elman.encode.windows import Window
from elman.errors import ArgumentError, DataError
from elman.forecast.history import steps_between
from elman.forecast.inputs import LiveItems
from elman.forecast.predictor import Numbers, Predictor, window_predictor
from elman.forecast.scene import Scene, append
from elman.padded import Padded
from elman.read.clock import read_stamps
from elman.read.frequency import Stamps
from elman.read.series import SeriesTable
from elman.read.stamps import EDGES
from elman.report.terminal import counted
from elman.state import State, hash_of, named_leaves, restored, sealed

CHUNK = 512  # steps for which the calendar is computed at a time
COUNTED = 1 << 53  # largest step of series without times


class LiveForecast(NamedTuple):
    """A forecast.

    Attributes:
        mean: means (H, K).
        quantiles: quantiles (H, K, Q).
    """

    mean: Numbers
    quantiles: Numbers


class LiveForecaster:
    """A live session of one series.

    Created by `Forecaster.stream`.

    Args:
        predictor: the result of the training.
        table: the series so far, and the known covariates of the steps ahead.
        number: place of the series in the table.

    Example:
        >>> import elman
        >>> model = elman.Forecaster(horizon=2, season=4, hidden_size=4, epochs=1, device="cpu")
        >>> live = model.fit([1.0, 2.0, 3.0, 2.0] * 20).stream()
        >>> first = live.push(1.0)
        >>> blob = live.state_bytes()
        >>> second = live.push(2.0)
        >>> live.restore(blob)      # back before the second observation
        >>> live.push(2.0).mean.tolist() == second.mean.tolist()
        True
    """

    def __init__(self, predictor: Predictor, table: SeriesTable, number: int) -> None:
        one, layout = table.series[number], predictor.layout
        self._index, self._layout = predictor.index, layout
        self._network, self._predict = predictor.network, window_predictor(predictor)
        self._clock, self._form = table.clock, predictor.settings.ds_format
        self._names = {*self._index.past, *self._index.future, *self._index.items}
        self._timed, self._frequency, self._start = not table.counted, table.frequency, one.start
        self._dates = self._start.dtype.kind == "M"
        self._gap = True  # whether the last numbers can be missing
        record = self._index.encode(table, one, more=layout.steps_ahead)
        self._steps = len(record.y)
        self._scene = Scene.of(predictor, table, number)
        # The part of a window after the last observation has no numbers.
        length = layout.back + layout.context
        self._whole = np.full((length + layout.steps_ahead, layout.targets), np.nan)
        self._y = self._whole[:length]
        self._y[:] = _end(record.y, self._steps, len(self._y), np.nan)
        self._usual = UsualScale(layout)
        self._usual.after_each(record.y)
        self._spare = np.zeros((1, layout.targets)) if record.usual is None else record.usual[None]
        unknown = [self._index.encode_value(name, "") for name in self._index.past]
        self._unknown = np.concatenate(unknown) if unknown else np.zeros(0, dtype=np.float32)
        self._past = _end(record.past, self._steps, layout.context, np.nan)
        self._known = np.zeros(
            (layout.context + layout.steps_ahead, layout.known), dtype=np.float32
        )
        self._told = self._known[: layout.context + layout.horizon]
        self._told[:] = _end(record.known, self._steps + layout.horizon, len(self._told), 0.0)
        self._arrays: list[NDArray[Any]] = [self._y, self._past, self._told, self._scene.around]
        embed = self._network.encode
        assert isinstance(embed, SeriesEmbed)
        none = np.zeros((self._steps, 0)) if record.items is None else record.items
        numbers = _end(none, self._steps, layout.context, np.nan)
        self._items = LiveItems(predictor.inputs, embed.items, numbers, table.items)
        self._arrays += self._items.arrays
        self._waves, self._waves_at = np.zeros((0, 0), dtype=np.float32), 0
        self._constants = np.concatenate([record.static, record.codes, self._spare[0]])
        self._inputs = np.zeros((layout.steps, layout.width), dtype=np.float32)
        self._cut_inputs(record)
        self._window = torch.from_numpy(self._inputs)[None]
        self._nothing = torch.zeros(0, dtype=torch.float32)
        self._beginning = self.state_bytes()

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
            others: for a model with neighbours, the current places of all other series, by name.
            at: time of the observation, in the format of the training data; all steps between the
                previous time and this one are missing.  None for the next step.
            covariates: for covariates of the past, texts and images, their current values (None or
                "" for no text or image); for covariates that are known in advance, their values at
                the last step of the forecast.

        Raises:
            ArgumentError: the number of values is not the number of targets, one is infinite, a
                covariate is missing or unknown, a place is not two numbers, or `at` is not after
                the previous time or does not fit the frequency.
        """
        index = self._index
        try:
            given = [math.nan] * self._layout.targets if y is None else y
            value = np.array(given, dtype=np.float64).reshape(-1)
        except (OverflowError, TypeError, ValueError):
            value = np.zeros(0)
        gap = not math.isfinite(value.sum())
        if value.size != self._layout.targets or (gap and np.isinf(value).any()):
            raise ArgumentError(
                f"y must be {counted(self._layout.targets, 'finite numbers')} or NaN, got {y!r}"
            )
        if "at" in self._names:  # a covariate has this name, so `push` cannot take times
            covariates, at = {**covariates, "at": at}, None
        if covariates.keys() != self._names:
            wanted = ", ".join((*index.past, *index.future, *index.items)) or "none"
            shown = ", ".join(covariates) or "none"
            raise ArgumentError(f"covariates must be {wanted}, got {shown}")
        past = [index.encode_value(name, covariates[name]) for name in index.past]
        known = [index.encode_value(name, covariates[name]) for name in index.future]
        items = self._items.read(covariates)
        places = {} if others is None else self._scene.places_of(others)
        missed = 0 if at is None else self._missed(at)
        self._skip(missed)
        self._gap = gap or missed > 0
        self._take(value, places)
        if past:
            self._past[-1] = np.concatenate(past)
        self._items.take(items)
        if known:
            whole = np.concatenate(known)
            self._told[-1, : len(whole)] = whole
        return self.forecast()

    def _take(self, value: Numbers, places: dict[str, Numbers]) -> None:
        """Advance by one step, without covariates except the calendar."""
        append(self._y, value)
        if self._layout.neighbours:
            self._scene.take(self._y[-2:], places)
        if self._layout.past:
            append(self._past, self._unknown)
        if self._layout.known:
            append(self._told, self._next_waves())
        self._items.advance()
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
        start, clock = self._start, self._clock
        if not self._timed:
            raise ArgumentError("at must be None: the training data had no timestamps")
        stamps, bad = read_stamps([at], self._form, clock)
        shown = repr(at)[:60]
        if bad or (stamps.dtype.kind == "M") != self._dates:
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
        return self._clock.write(self.ds)

    def finish(self) -> LiveForecast:
        """Return the last forecast; a session does not delay observations."""
        return self.forecast()

    def restart(self) -> None:
        """Return to the beginning of the session, with the series that it was created with."""
        self.restore(self._beginning)

    def state_bytes(self) -> bytes:
        """Return the state of the session as bytes, for `restore` here or in another process."""
        return sealed(self._state(), hash_of(self._network))

    def restore(self, blob: bytes) -> None:
        """Continue from a state that `state_bytes` returned in a session of this series.

        Raises:
            ArgumentError: `blob` is not bytes.
            DataError: the bytes are damaged, or come from another model or another series.
        """
        *ours, names = (leaf for _, leaf in named_leaves(self._state()))
        like = (*ours, names[:0])  # the text of the other series has any length
        given = restored(blob, like, hash_of(self._network))
        found: list[NDArray[Any]] = [leaf.numpy() for _, leaf in named_leaves(given)]
        *arrays, totals, constants, counters, text = found
        number, steps, gap = counters.tolist()
        start = self._start_of(number, steps)
        finite = np.concatenate([totals.ravel(), *(part.ravel() for part in arrays[2:])])
        infinite = any(np.isinf(part).any() for part in arrays[:2])  # NaN is a missing number
        try:
            others = self._scene.places_of(json.loads(text.tobytes()))
        except (ArgumentError, RecursionError, ValueError):
            others = None
        wrong = infinite or not np.isfinite(finite).all() or (totals < 0).any() or others is None
        faults = {
            "of another series": not np.array_equal(constants, self._constants),
            "with invalid times": start is None or gap not in (0, 1),
            "with invalid numbers": wrong,
        }
        for fault, there in faults.items():
            if there:
                raise DataError(f"a state {fault}: restore one of a session of this series")
        for mine, theirs in zip(self._arrays, arrays, strict=True):
            mine[:] = theirs
        self._usual.totals, self._scene.others = totals, others or {}
        self._start, self._steps, self._gap = start, steps, bool(gap)
        self._waves = self._waves[:0]  # drop the calendar of the old times

    def _state(self) -> State:
        """Return all that `push` changes, and the constants of the series to compare."""
        counters = np.array([self._start.astype(np.int64), self._steps, self._gap])
        others = json.dumps({name: place.tolist() for name, place in self._scene.others.items()})
        text = np.array(bytearray(others.encode()))
        arrays = (*self._arrays, self._usual.totals, self._constants, counters, text)
        return tuple(map(torch.from_numpy, arrays))

    def _start_of(self, number: int, steps: int) -> Any:
        """Return a stored start time; None if a series of this length cannot begin there."""
        low, high = EDGES.astype(np.int64).tolist() if self._dates else (-COUNTED, COUNTED)
        each = self._frequency.mean or self._frequency.count
        last = steps + self._layout.horizon + (CHUNK if self._index.cycles else 0)
        if steps < 0 or number < low or number + last * each > high:
            return None
        start = np.int64(number).astype(self._start.dtype)
        return None if steps_between(self._frequency, self._start, start) is None else start

    def _next_waves(self) -> NDArray[np.float32]:
        """Return the known features of the step that enters the window: its calendar."""
        step = self._steps + self._layout.horizon
        if not self._waves_at <= step < self._waves_at + len(self._waves):
            self._waves = np.zeros((CHUNK, self._layout.known), dtype=np.float32)
            self._waves_at = step - step % CHUNK
            if self._index.cycles:
                waves = self._index.waves(self._start, CHUNK, self._waves_at)
                self._waves[:, -waves.shape[1] :] = waves
        return np.asarray(self._waves[step - self._waves_at])

    def _cut_inputs(self, record: Record) -> None:
        """Cut the inputs into views, and fill in the features that never change."""
        layout, w, targets = self._layout, self._layout.segment, self._layout.targets
        widths = [2 * targets] * (1 + len(layout.lags)) + [2 * layout.past, layout.known]
        views, at = [], 0
        for width in widths:
            part = self._inputs[:, at : at + w * width]
            views.append(part.reshape(layout.steps, w, width))
            at += w * width
        seen, *lagged, past, self._ahead = views
        begins = [layout.back, *(layout.back + w - lag for lag in layout.lags)]
        self._parts = list(zip([seen[: layout.seen], *lagged], begins, strict=True))
        self._past_part = past[: layout.seen]
        self._inputs[:, at : at + layout.static] = record.static
        at += layout.static
        self._size = self._inputs[:, at : at + targets]
        at += targets
        if not layout.feedback:
            ahead = (np.arange(layout.steps) - layout.seen + 1).clip(min=0)
            self._inputs[:, at] = ahead / layout.ahead
            at += 1
        self._near = self._inputs[: layout.seen, at : at + layout.around]
        at += layout.around
        self._inputs[:, at : at + len(record.codes)] = record.codes
        numbers = self._inputs[:, at + len(record.codes) :]
        numbers[:] = -1
        self._item_numbers = numbers[: layout.seen].reshape(layout.seen, w, layout.items)

    def _read(self) -> Window:
        """Return the last window, as `Windows.cut` would."""
        layout = self._layout
        seen, shift, scale = in_units(self._whole[None], layout, self._usual.now, self._spare)
        there = ~np.isnan(seen[0])
        y = np.where(there, seen[0], 0)
        for view, begin in self._parts:
            _fill(view, y[begin:], there[begin:])
        if layout.past:
            there = ~np.isnan(self._past)
            _fill(self._past_part, np.where(there, self._past, 0), there)
        if layout.known:
            self._ahead[:] = self._known[layout.segment :].reshape(self._ahead.shape)
        if layout.neighbours:
            self._near[:] = self._scene.around[layout.segment - 1 :: layout.segment]
            if layout.segment == 1:  # the velocity at the first place is unknown
                self._near[0] = 0
        self._size[:] = size_of(scale[0, 0], layout)
        items: tuple[Padded, ...] = ()
        if layout.items:
            numbers, items = self._items.window()
            self._item_numbers[:] = numbers.reshape(self._item_numbers.shape)
        shift, scale = shift[:, : layout.horizon], scale[:, : layout.horizon]
        return Window(self._window, self._nothing, shift, scale, items)


def _fill(view: NDArray[np.float32], numbers: NDArray[Any], there: NDArray[np.bool_]) -> None:
    """Copy rows (L, K), and whether they exist, into the inputs (S, w, 2 K) of S w rows."""
    steps, w, width = view.shape
    view[..., : width // 2] = numbers[: steps * w].reshape(steps, w, -1)
    view[..., width // 2 :] = there[: steps * w].reshape(steps, w, -1)


def _end(values: NDArray[Any], until: int, steps: int, nothing: float) -> NDArray[Any]:
    """Return the `steps` rows before `until`; rows before the beginning are `nothing`."""
    found = np.full((steps, values.shape[1]), nothing, dtype=values.dtype)
    part = values[max(0, until - steps) : until]
    first = max(0, steps - until)
    found[first : first + len(part)] = part
    return found
