"""Windows of series: the inputs of a network before a forecast, and the targets after it.

A window has S segments of w steps: the segments of the context, then those of the horizon.  Step i
of the network, i = 0 .. S - 2, reads

    y of segment i, and its mask                               the latest numbers
    y some steps (lags) before segment i + 1, and its mask     earlier numbers
    covariates of segment i that are known only in the past, and their mask
    covariates of segment i + 1 that are known in advance, and the calendar
    constants: numbers, log of the scale relative to the usual one, categories
    texts and images of segment i, as numbers of the items of the batch

and predicts y of segment i + 1, in units of the scale of its window (`elman.encode.scale`).  The
scale is at least a share of the usual scale of the series: the mean over its successive contexts
before the origin; in training over all of the training part.

The input y is masked after the origin.  A forecast is therefore the prediction without any further
observation, and the state continues as usual.  With `feedback` (as in Salinas et al. 2017,
arXiv:1704.04110) the horizon is an input, one step late: true numbers in training, samples in a
forecast.  In training, some windows have hidden numbers, single ones or many in a row, so that the
network learns to be uncertain where numbers are missing.

Shape legend: B windows, L steps of the series in a window, K targets, S segments, w steps of one, I
columns of items (texts or images).
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from elman.encode.encoder import Change
from elman.encode.layout import Layout, Record
from elman.encode.neighbours import draw_turns, look_around
from elman.encode.units import UsualScale, draw_gaps, hide_ends, in_units, size_of
from elman.padded import Padded, pad_arrays

Numbers = NDArray[np.float64]
HIDDEN = 0.1  # share of the training windows without the items of a column


class Window(NamedTuple):
    """Windows in the form that the network takes.

    Attributes:
        inputs: (B, S - 1, numbers + categories + w I); the last columns are the numbers of items
            among `items`, -1 for none.
        targets: (B, S - 1, w K, 2): y in units of the scale, NaN for no target; and the scale.
        shift, scale: (B, 1, K), or (B, horizon, K) if they differ between steps.
        items: the different items in the windows, for each of the I columns.
    """

    inputs: Tensor
    targets: Tensor
    shift: Numbers
    scale: Numbers
    items: tuple[Padded, ...] = ()

    @property
    def batch(self) -> Padded:
        """The inputs as a batch for the network."""
        return Padded.full(self.inputs)._replace(others=self.items)


class Windows:
    """All windows of a list of series.

    Args:
        records: the series.
        layout: layout of the windows.
        others: (rows of all series, M) the rows of the neighbours, -1 for none, see
            `elman.encode.neighbours.find_neighbours`; None for no neighbours.
        items: for each of the I columns of items, the arrays of all items of the series, and their
            random change in training, if there is one.

    Example:
        >>> import numpy as np
        >>> from elman.encode.layout import Layout, Record
        >>> from elman.encode.windows import Windows
        >>> none = np.zeros((6, 0), dtype=np.float32)
        >>> y = np.arange(1.0, 7.0)[:, None]
        >>> one = Record(y, none, none, none[0], np.zeros(0, dtype=np.int64))
        >>> layout = Layout(context=2, horizon=2, scaling=None)
        >>> window = Windows([one], layout).cut(np.array([0]), np.array([3]))
        >>> window.inputs[0, :, 0].tolist()     # y_2 and y_3 are inputs, y_4 is not
        [2.0, 3.0, 0.0]
        >>> window.targets[0, :, 0, 0].tolist()
        [nan, 4.0, 5.0]
    """

    def __init__(
        self,
        records: Sequence[Record],
        layout: Layout,
        others: NDArray[np.int64] | None = None,
        items: Sequence[tuple[Sequence[Any], Change | None]] = (),
    ) -> None:
        self.layout, self.others, self.items = layout, others, items
        self._hidden: tuple[int, int] | None = None
        self.lengths = np.array([len(one.y) for one in records], dtype=np.int64)
        self.begins = np.append(0, np.cumsum(self.lengths)[:-1])
        self.y = np.concatenate([one.y for one in records])
        self.past = np.concatenate([one.past for one in records])
        # Covariates known in advance continue after the end of each series.
        self._known_begins = self.begins + layout.steps_ahead * np.arange(len(records))
        total = len(self.y) + layout.steps_ahead * len(records)
        self.known = np.zeros((total, layout.known), dtype=np.float32)
        for begin, one in zip(self._known_begins.tolist(), records, strict=True):
            known = one.known[: len(one.y) + layout.steps_ahead]
            self.known[begin : begin + len(known)] = known
        self.static = np.stack([one.static for one in records])
        self.codes = np.stack([one.codes for one in records])
        if layout.items:
            parts = [one.items for one in records if one.items is not None]
            self.item_numbers: Numbers = np.concatenate(parts)
        none = np.zeros(layout.targets)
        usual: list[Numbers] = [none if one.usual is None else one.usual for one in records]
        self.usual: Numbers = np.stack(usual)
        # The usual scale of each series after 0, 1, 2, .. whole contexts.
        before = [UsualScale(layout).after_each(one.y) for one in records]
        self._before_begins = np.append(0, np.cumsum([len(part) for part in before])[:-1])
        self._before = np.concatenate(before)

    def cut(
        self,
        which: NDArray[np.int64],
        origins: NDArray[np.int64],
        ends: NDArray[np.int64] | None = None,
        *,
        learn: bool = True,
        draw: np.random.Generator | None = None,
    ) -> Window:
        """Cut windows (B) from series, given their indices and origins.

        Args:
            which: indices of the series.
            origins: number of steps before the first step of the forecast.
            ends: number of steps of each series that can be read; None for all.
            learn: with feedback, whether the context has targets too.
            draw: random generator that rotates windows of positions, adds noise, and hides numbers
                in training; None to leave windows unchanged.
        """
        layout, w = self.layout, self.layout.segment
        rows, steps, context, back = len(which), layout.steps, layout.context, layout.back
        last = (self.lengths if ends is None else ends)[which, None]
        time = origins[:, None] + np.arange(-context - back, layout.steps_ahead)
        past = self._at(self.past, which, time[:, back:-w], last)
        whole: Numbers = self._at(self.y, which, time, last)
        read, turn, spare = whole, None, self.usual[which, None]
        if self._hidden is not None:
            read = hide_ends(whole, past, layout, *self._hidden)
        if draw is None:
            usual = self._before[self._before_begins[which] + origins // context][:, None]
        else:
            usual = spare
            whole, read, turn = self._varied(whole, past, draw)
        seen, shift, scale = in_units(read, layout, usual, spare)
        time, y, read = time[:, back:], whole[:, back:], read[:, back:]
        if not layout.feedback:
            seen[:, back + context :] = np.nan
        parts = [seen[:, back:-w]]
        for lag in layout.lags:  # the numbers some steps before each prediction
            parts.append(seen[:, back + w - lag :][:, : steps * w])
        past[:, context:] = np.nan
        numbers = [_with_mask(part).reshape(rows, steps, -1) for part in [*parts, past]]
        known = self.known[self._known_begins[which, None] + time[:, w:].clip(min=0)]
        known[time[:, w:] < 0] = 0
        known[:, context + layout.horizon - w :] = 0  # a segment can extend beyond the horizon
        numbers.append(known.reshape(rows, steps, -1))
        fixed: list[NDArray[Any]] = [self.static[which], size_of(scale[:, 0], layout)]
        numbers += [np.repeat(part[:, None], steps, axis=1) for part in fixed]
        if not layout.feedback:  # distance from the origin, from 0 to 1
            ahead = (np.arange(steps) - layout.seen + 1).clip(min=0) / layout.ahead
            numbers.append(np.broadcast_to(ahead[:, None], (rows, steps, 1)))
        if self.others is not None:  # at the end of each segment
            own = np.diff(read, axis=1, prepend=np.nan)[:, w - 1 : context : w]
            around = self.around(which, time[:, w - 1 : context : w], own, turn)
            numbers.append(np.pad(around, ((0, 0), (0, steps - layout.seen), (0, 0))))
        numbers.append(np.repeat(self.codes[which][:, None], steps, axis=1))
        items: tuple[Padded, ...] = ()
        if layout.items:
            found = self._at(self.item_numbers, which, time[:, :-w], last)
            codes, items = self._items_of(found, draw)
            numbers.append(codes.astype(np.float32).reshape(rows, steps, -1))
        inputs = np.concatenate([part.astype(np.float32) for part in numbers], axis=2)
        targets = self._targets(y, read, shift, scale, learn=learn)
        shift, scale = shift[:, : layout.horizon], scale[:, : layout.horizon]
        return Window(torch.from_numpy(inputs), torch.from_numpy(targets), shift, scale, items)

    def _items_of(
        self, numbers: Numbers, draw: np.random.Generator | None
    ) -> tuple[Numbers, tuple[Padded, ...]]:
        """Return the items of windows, and their numbers (B, L, I) among them, -1 for none.

        The numbers among all items, NaN for none, are changed in place.  In training, all items of
        a column are hidden in some windows.
        """
        context = self.layout.context
        numbers[:, context:] = np.nan
        if self._hidden is not None:
            first, last = self._hidden
            numbers[:, :first] = numbers[:, context - last : context] = np.nan
        if draw is not None:
            hidden = draw.random((len(numbers), 1, self.layout.items)) < HIDDEN
            numbers[np.broadcast_to(hidden, numbers.shape)] = np.nan
        codes, found = np.full(numbers.shape, -1.0), []
        for k, (arrays, change) in enumerate(self.items):
            there = ~np.isnan(numbers[..., k])
            chosen, places = np.unique(numbers[..., k][there].astype(np.int64), return_inverse=True)
            codes[..., k][there] = places.ravel()
            # There is always an item, so that all weights have a gradient in every process.
            some = [arrays[number] for number in chosen.tolist()] or arrays[:1]
            if draw is not None and change is not None:
                some = [change(one, draw)[0] for one in some]
            empty = Padded(torch.zeros(0, 1), torch.zeros(0, dtype=torch.int64))
            found.append(pad_arrays(some) if some else empty)
        return codes, tuple(found)

    def _targets(
        self, y: Numbers, read: Numbers, shift: Numbers, scale: Numbers, *, learn: bool
    ) -> NDArray[np.float32]:
        """Return the targets (B, S - 1, w K, 2) of windows (B, L, K); `read`: the inputs."""
        layout, context, rows = self.layout, self.layout.context, len(y)
        # Nothing is learned from a window without observed numbers.
        there = ~np.isnan(read[:, :context])
        y = np.where(there.any(1, keepdims=True), y, np.nan)
        targets = np.full((*y.shape, 2), np.nan)
        targets[..., 1] = scale[:, :1]
        targets[:, context:, :, 1] = scale
        targets[:, context:, :, 0] = (y[:, context:] - shift) / scale
        if layout.feedback and learn:
            # A window with hidden numbers has targets only in the horizon, as in a forecast.
            hidden = np.any(~np.isnan(y[:, :context]) & ~there, axis=(1, 2), keepdims=True)
            before = (y[:, :context] - shift) / scale
            targets[:, :context, :, 0] = np.where(hidden, np.nan, before)
        if layout.scaling == "last":  # the last number is 0 by definition
            last = context - 1 - there[:, ::-1].argmax(1)
            targets[np.arange(rows)[:, None], last, np.arange(layout.targets), 0] = np.nan
        targets[:, context + layout.horizon :, :, 0] = np.nan
        wanted = targets[:, layout.segment :].reshape(rows, layout.steps, -1, 2)
        return wanted.astype(np.float32)

    def around(
        self,
        which: NDArray[np.int64],
        time: NDArray[np.int64],
        own: Numbers,
        turn: Numbers | None = None,
    ) -> Numbers:
        """Return features of neighbours (B, S, ...) at steps (B, S), given the own velocity."""
        assert self.others is not None
        rows = self.begins[which, None] + time
        return look_around(self.y, self.others, rows, time > 0, own, turn)

    def _varied(
        self, y: Numbers, past: NDArray[np.float32], draw: np.random.Generator
    ) -> tuple[Numbers, Numbers, Numbers | None]:
        """Return windows (B, L, K) with rotation and noise, these with gaps, and the rotations.

        Numbers of the past covariates are hidden in place at the same time.
        """
        layout, turn = self.layout, None
        until = layout.back + layout.context
        if layout.plane:
            turn = draw_turns(draw, len(y))
            y = y @ turn
        if layout.jitter:
            noise = draw.standard_normal((len(y), until - 1, layout.targets))
            size = layout.jitter * draw.uniform(0, 2, (len(y), 1, 1))  # random for each window
            y[:, : noise.shape[1]] += size * np.array(layout.usual) * noise
        read = y
        if layout.gaps:
            shape = (len(y), until, layout.targets + layout.past)
            hidden = draw_gaps(draw, shape, layout.gaps)
            read = y.copy()
            read[:, :until][hidden[..., : layout.targets]] = np.nan
            past[:, : layout.context][hidden[:, layout.back :, layout.targets :]] = np.nan
        return y, read, turn

    def with_gaps(self, draw: np.random.Generator) -> Windows:
        """Return these windows with numbers hidden at random, as in training."""
        context, total, targets = self.layout.context, len(self.y), self.layout.targets
        shape = (-(-total // context), context, targets + self.layout.past)
        hidden = draw_gaps(draw, shape, 1.0).reshape(-1, shape[2])[:total]
        windows = copy.copy(self)
        windows.y = np.where(hidden[:, :targets], np.nan, self.y)
        windows.past = np.where(hidden[:, targets:], np.float32(np.nan), self.past)
        return windows

    def without(self, first: int, last: int) -> Windows:
        """Return these windows with the first and the last steps of each context hidden."""
        windows = copy.copy(self)
        windows._hidden = first, last
        return windows

    def without_items(self, column: int) -> Windows:
        """Return these windows without the items of a column."""
        windows = copy.copy(self)
        windows.item_numbers = self.item_numbers.copy()
        windows.item_numbers[:, column] = np.nan
        return windows

    def seen(self, which: NDArray[np.int64], origins: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return whether the context of windows (B) has a number of every target."""
        before = np.concatenate([np.zeros((1, self.layout.targets)), (~np.isnan(self.y)).cumsum(0)])
        end = self.begins[which] + origins
        begin = np.maximum(self.begins[which], end - self.layout.context)
        return np.asarray((before[end] > before[begin]).all(1))

    def truth(self, which: NDArray[np.int64], origins: NDArray[np.int64]) -> Numbers:
        """Return the true numbers (B, horizon, K) after origins, NaN where there are none."""
        time = origins[:, None] + np.arange(self.layout.horizon)
        return self._at(self.y, which, time, self.lengths[which, None])

    def _at(
        self,
        values: NDArray[np.floating],
        which: NDArray[np.int64],
        time: NDArray[np.int64],
        last: NDArray[np.int64],
    ) -> NDArray[Any]:
        """Return values (B, L, ...) of series at steps (B, L) before `last`; NaN elsewhere."""
        place = self.begins[which, None] + time.clip(0, self.lengths[which, None] - 1)
        found: NDArray[Any] = values[place]
        found[(time < 0) | (time >= last)] = np.nan
        return found


def context_of(inputs: Tensor, layout: Layout) -> NDArray[np.float32]:
    """Return the context (B, T, K) of windows in units of their scales, NaN where missing."""
    width = layout.segment * 2 * layout.targets
    y = inputs[:, : layout.seen, :width].numpy().reshape(len(inputs), -1, 2 * layout.targets)
    there = y[..., layout.targets :] > 0
    return np.asarray(np.where(there, y[..., : layout.targets], np.float32(np.nan)))


def _with_mask(part: NDArray[np.floating]) -> NDArray[np.float32]:
    """Replace NaN by 0 and append a mask: (B, L, K) to (B, L, 2 K)."""
    there = ~np.isnan(part)
    return np.concatenate([np.where(there, part, 0), there], axis=2).astype(np.float32)
