"""Live labels, tags and events of a recording, one step at a time, in constant memory.

The result after a step equals that of a batch with the recording up to this step; a classifier of
windows classifies the last window.  If recordings have a fixed rate, measurements are averaged in
cells of time, and a result includes the incomplete last cell.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from elman.decode.events import Event, Spotter
from elman.encode.bags import Levels
from elman.encode.recordings import RecordingIndex
from elman.encode.series import SeriesEmbed
from elman.encode.statistics import Running, whole_statistics
from elman.errors import ArgumentError
from elman.heads import LabelHead, TagHead
from elman.heads.labels import Pooled
from elman.model import SequenceModel
from elman.padded import Padded
from elman.read.clock import Clock
from elman.read.recordings import Recording
from elman.read.stamps import parse_seconds
from elman.recur.stream import Stream
from elman.report.terminal import counted
from elman.state import State

Result = TypeVar("Result")
FAR = 1 << 16  # largest number of cells between two steps


class _Live(Generic[Result]):
    """Turn steps into features and states; subclasses turn states into results.

    Args:
        model: a model that is not bidirectional, unless it classifies windows.
        index: description of the channels.
        static: values of the columns that do not change within a recording, by name.
    """

    def __init__(
        self, model: SequenceModel, index: RecordingIndex, static: Mapping[str, object]
    ) -> None:
        unknown = set(static) - set(index.static)
        if unknown:
            wanted = ", ".join(index.static) or "none"
            raise ArgumentError(
                f"static columns must be {wanted}, got {', '.join(sorted(unknown))}"
            )
        self._model, self._index = model.eval(), index
        self._stream: Stream | None = None
        encode, core = model.encode, model.core
        plain = isinstance(encode, SeriesEmbed) and encode.layer is None
        if plain and core.causal:
            self._stream = Stream(core)
        self._static = [static.get(name) for name in index.static]
        self.restart()

    def restart(self) -> None:
        """Begin a new recording."""
        self._encoder = self._index.encoder(self._static)
        self._state: State | None = None
        if self._stream is not None:
            self._stream.restart()
        self._begin: Any = None
        self._zoned = False  # whether dates have an offset from UTC
        self._time = -math.inf  # time of the last step
        self._cell = 0
        self._sums = np.zeros((2, len(self._index.channels)))  # sum and count in the current cell

    def push(self, values: Any, at: Any = None) -> Result:
        """Read a step and return the result so far.

        Args:
            values: a number for each channel, NaN or None if it is missing; or a dict of the
                channels that were measured.
            at: time of the step, a date or a number in the unit of the training data; None for one
                usual step after the previous one, or if training had no times.

        Raises:
            ArgumentError: the channels are unknown, a number is infinite, or `at` is before the
                previous step.
        """
        row, time = self._row(values), self._moment(at)
        rate = self._index.rate
        if rate is None:
            self._time = time
            return self._advance(self._features(time, row[None]), row[None])
        cell = math.floor(time * rate + 1e-9)
        if cell - self._cell > FAR:
            raise ArgumentError(
                f"at={at!r} is {cell - self._cell:,} cells of {1 / rate:g} s after the last step; "
                "begin a new recording with restart"
            )
        self._time = time
        if cell > self._cell:
            self._close(cell)
        there = ~np.isnan(row)
        self._sums += np.where(there, [row, np.ones(len(row))], 0)
        encoder, kept = copy.copy(self._encoder), self._kept()
        state = self._state if self._stream is None else self._stream.state
        values = self._mean()
        result = self._advance(self._features(cell / rate, values[None]), values[None])
        self._encoder = encoder
        self._keep(kept)
        if self._stream is None:
            self._state = state
        elif state is not None:
            self._stream.state = state
        return result

    def _close(self, cell: int) -> None:
        """Read all cells before the given one, which are now complete."""
        assert self._index.rate is not None
        rows = np.full((cell - self._cell, self._sums.shape[1]), np.nan)
        rows[0] = self._mean()
        self._advance(self._features(np.arange(self._cell, cell) / self._index.rate, rows), rows)
        self._cell = cell
        self._sums[:] = 0

    def _mean(self) -> NDArray[np.float64]:
        with np.errstate(invalid="ignore"):
            return np.asarray(self._sums[0] / self._sums[1])

    def _features(self, times: Any, rows: NDArray[np.float64]) -> Tensor:
        """Return features (1, n, F) of rows at n times."""
        part = Recording("", 0.0, np.atleast_1d(np.asarray(times, dtype=np.float64)), rows)
        return torch.from_numpy(self._encoder.push(part))[None]

    def _row(self, values: Any) -> NDArray[np.float64]:
        names = self._index.channels
        if isinstance(values, Mapping):
            unknown = [str(name) for name in values if name not in names]
            if unknown:
                raise ArgumentError(
                    f"channels must be {', '.join(names)}, got {', '.join(unknown)}"
                )
            values = [values.get(name) for name in names]
        try:
            row = np.array(
                [math.nan if one is None else one for one in np.atleast_1d(values).tolist()],
                dtype=np.float64,
            )
        except (TypeError, ValueError):
            row = np.zeros(0)
        if row.shape != (len(names),) or np.isinf(row).any():
            raise ArgumentError(
                f"a step must have {counted(len(names), 'finite numbers')} or NaN, for "
                f"{', '.join(names)}; got {values!r}"
            )
        return row

    def _moment(self, at: Any) -> float:
        """Return the seconds from the beginning to a step."""
        if at is None:
            return self._time + self._index.step if self._time > -math.inf else 0.0
        if not self._index.timed:
            raise ArgumentError("at must be None: the training data had no timestamps")
        parsed = parse_seconds([at])
        stamps, _, bad = Clock.find(parsed, seconds=True).read(parsed)
        if bad:
            raise ArgumentError(f"at must be a date or a number of seconds, got {at!r}")
        if self._begin is None and self._time > -math.inf:
            raise ArgumentError("at must be given for the first step already, or never")
        begin = stamps[0] if self._begin is None else self._begin
        zoned = parsed.offsets is not None
        alike = self._begin is None or zoned == self._zoned
        if not alike or (np.asarray(begin).dtype.kind == "M") != (stamps.dtype.kind == "M"):
            raise ArgumentError(f"at must have the form of the first, {begin}, got {at!r}")
        passed = stamps[0] - begin
        dates = stamps.dtype.kind == "M"
        time = float(passed / np.timedelta64(1, "s") if dates else passed * self._index.unit)
        if not self._time <= time < math.inf:
            raise ArgumentError(f"at must not be before the previous step, got {at!r}")
        self._begin, self._zoned = begin, zoned
        return time

    def _run(self, x: Tensor) -> Tensor:
        """Return states (1, n, D) for features (1, n, F)."""
        if self._stream is not None:
            y = self._stream.run(x)
            return torch.cat([y, x], 2) if self._model.skip else y
        states, self._state = self._model.run(Padded.full(x), self._state)
        return states.data

    def _advance(self, x: Tensor, rows: NDArray[np.float64]) -> Result:
        """Read steps as features (1, n, F) and as numbers (n, C), and return the result."""
        raise NotImplementedError

    def _kept(self) -> Any:
        """Return all that `_advance` changes in a subclass."""
        raise NotImplementedError

    def _keep(self, kept: Any) -> None:
        """Restore what `_kept` returned."""
        raise NotImplementedError


class LiveLabels(_Live[dict[Any, float]]):
    """Live classification: `push` returns the probability of each label for the steps so far.

    A model of windows classifies the last window, and can be bidirectional.

    Args:
        model: a model with a LabelHead.
        index: description of the channels.
        classes: the labels.
        temperature: divisor of the scores before they become probabilities.
        static: values of the columns that do not change within a recording, by name.
        window: steps of a window; None for entire recordings.
        levels: levels of the statistics that the wide part reads; None without one.
    """

    def __init__(
        self,
        model: SequenceModel,
        index: RecordingIndex,
        classes: Sequence[Any],
        temperature: float,
        static: Mapping[str, object],
        *,
        window: int | None = None,
        levels: Levels | None = None,
    ) -> None:
        if window is None and not model.core.causal:
            raise ArgumentError(
                "a bidirectional model cannot classify a recording live: train with "
                "bidirectional=False, or with windows"
            )
        assert isinstance(model.head, LabelHead)
        self._head, self._classes, self._temperature = model.head, list(classes), temperature
        self._window, self._levels = window, levels
        super().__init__(model, index, static)

    def restart(self) -> None:
        """Begin a new recording."""
        super().restart()
        self._pooled: Pooled | None = None
        self._last: Tensor | None = None  # features of the last window
        self._rows = np.zeros((0, len(self._index.channels)))  # its numbers
        self._running = Running.start(len(self._index.channels))

    @torch.inference_mode()
    def _advance(self, x: Tensor, rows: NDArray[np.float64]) -> dict[Any, float]:
        if self._window is not None:
            whole = x if self._last is None else torch.cat([self._last, x], 1)
            self._last = whole[:, -self._window :]
            states, _ = self._model.run(Padded.full(self._last))
            scores = self._head(states)
        else:
            for h in self._run(x).unbind(1):
                scores, self._pooled = self._head.follow(h, self._pooled)
        if self._levels is not None and self._head.wide is not None:
            scores = scores + self._head.wide(self._levels.encode(self._statistics(rows)))
        scores = scores[0] / self._temperature
        p = scores.sigmoid() if self._head.several else scores.softmax(0)
        return dict(zip(self._classes, p.tolist(), strict=True))

    def _statistics(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the statistics (1, S) of the recording, or of its window, after more steps."""
        assert self._levels is not None
        if self._window is None:
            self._running = self._running.push(rows)
            found = self._running.values
        else:
            self._rows = np.concatenate([self._rows, rows])[-self._window :]
            found = np.append(whole_statistics(self._rows), len(self._rows))
        return np.concatenate([found, self._index.fixed(self._static)])[None]

    def _kept(self) -> Any:
        return self._pooled, self._last, self._rows, self._running

    def _keep(self, kept: Any) -> None:
        self._pooled, self._last, self._rows, self._running = kept


class LiveSteps(_Live[tuple[str, float]]):
    """Live tagging: `push` returns the tag of a step and its probability.

    `events` returns the events that have ended.

    Args:
        model: a model with a TagHead without a chain, not bidirectional.
        index: description of the channels.
        tags: names of the tags.
        static: values of the columns that do not change within a recording, by name.
        spotter: finds the events.
    """

    def __init__(
        self, model: SequenceModel, index: RecordingIndex, tags: Sequence[str],
        static: Mapping[str, object], spotter: Spotter,
    ) -> None:  # fmt: skip
        if not model.core.causal:
            raise ArgumentError(
                "a bidirectional model cannot tag steps live: train with bidirectional=False"
            )
        assert isinstance(model.head, TagHead)
        self._head, self._tags, self._blank = model.head, list(tags), spotter
        super().__init__(model, index, static)

    def restart(self) -> None:
        """Begin a new recording."""
        super().restart()
        self._spotter = copy.copy(self._blank)
        self._found: list[Event] = []
        self._p = [0.0] * len(self._tags)

    @property
    def probabilities(self) -> dict[str, float]:
        """The probability of each tag at the last step."""
        return dict(zip(self._tags, self._p, strict=True))

    @property
    def active(self) -> str | None:
        """The label of the event that has begun and not ended; None if there is none."""
        active = self._spotter.active
        return None if active is None else self._tags[active]

    def events(self) -> list[Event]:
        """Return the events that have ended since the previous call; steps count from 0."""
        found, self._found = self._found, []
        return found

    def finish(self) -> list[Event]:
        """Return the remaining events at the end of the recording."""
        if self._index.rate is not None and self._sums[1].any():
            self._close(self._cell + 1)
        self._found += self._spotter.finish()
        return self.events()

    @torch.inference_mode()
    def _advance(self, x: Tensor, _rows: NDArray[np.float64]) -> tuple[str, float]:
        for h in self._run(x).unbind(1):
            scores = self._head(h)
            self._p = scores.softmax(1)[0].tolist()
            self._found += self._spotter.push(self._p)
        best = max(range(len(self._p)), key=self._p.__getitem__)
        return self._tags[best], self._p[best]

    def _kept(self) -> Any:
        return copy.copy(self._spotter), list(self._found)

    def _keep(self, kept: Any) -> None:
        self._spotter, self._found = kept
