"""Labels, tags and events of a recording as its steps come, in constant memory.

What is said behind a step equals what a batch says of the recording up to there; a classifier of
windows says it of the last one.  At a rate, a step is a cell of time that may still fill: what is
said then is of what lies in it so far.
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
from elman.recur.stack import Stack
from elman.recur.stream import Stream
from elman.state import State

Said = TypeVar("Said")
FAR = 1 << 16  # cells without anything, at most


class _Live(Generic[Said]):
    """Steps to features to states; what is said of them is left to each kind.

    Args:
        model: reads forward only, but for windows.
        index: of its channels.
        static: the columns that do not change, by name.
    """

    def __init__(
        self, model: SequenceModel, index: RecordingIndex, static: Mapping[str, object]
    ) -> None:
        unknown = set(static) - set(index.static)
        if unknown:
            wanted = ", ".join(index.static) or "none"
            raise ArgumentError(f"static columns are {wanted}, got {', '.join(sorted(unknown))}")
        self._model, self._index = model.eval(), index
        self._stream: Stream | None = None
        encode, core = model.encode, model.core
        plain = isinstance(encode, SeriesEmbed) and encode.layer is None
        if plain and isinstance(core, Stack) and core.causal:
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
        self._zoned = False  # whether stamps have an offset from UTC
        self._time = -math.inf  # of the last step
        self._cell = 0
        self._sums = np.zeros((2, len(self._index.channels)))  # of a cell, and how many

    def push(self, values: Any, at: Any = None) -> Said:
        """Take a step.

        Args:
            values: a number for each channel, NaN or None for none; or a dict of those there are.
            at: when, a date or a number in the unit of the training data, if training had stamps;
                None for a usual step later.

        Raises:
            ArgumentError: the channels are others, a number is infinite, or `at` is in the past.
        """
        row, time = self._row(values), self._moment(at)
        rate = self._index.rate
        if rate is None:
            self._time = time
            return self._advance(self._features(time, row[None]), row[None])
        cell = math.floor(time * rate + 1e-9)
        if cell - self._cell > FAR:
            raise ArgumentError(
                f"at={at!r} is {cell - self._cell:,} cells of {1 / rate:g} s behind the last step; "
                "begin a new recording with restart"
            )
        self._time = time
        if cell > self._cell:
            self._close(cell)
        there = ~np.isnan(row)
        self._sums += np.where(there, [row, np.ones(len(row))], 0)
        encoder, kept = copy.copy(self._encoder), self._kept()
        state = self._state if self._stream is None else self._stream.state
        row = self._mean()
        said = self._advance(self._features(cell / rate, row[None]), row[None])
        self._encoder = encoder
        self._keep(kept)
        if self._stream is None:
            self._state = state
        elif state is not None:
            self._stream.state = state
        return said

    def _close(self, cell: int) -> None:
        """What lies in front of a cell is over."""
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
        """(1, n, F)."""
        part = Recording("", 0.0, np.atleast_1d(np.asarray(times, dtype=np.float64)), rows)
        return torch.from_numpy(self._encoder.push(part))[None]

    def _row(self, values: Any) -> NDArray[np.float64]:
        names = self._index.channels
        if isinstance(values, Mapping):
            unknown = [str(name) for name in values if name not in names]
            if unknown:
                raise ArgumentError(f"channels are {', '.join(names)}, got {', '.join(unknown)}")
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
                f"a step has {len(names)} finite numbers, or NaN, for {', '.join(names)}; got "
                f"{values!r}"
            )
        return row

    def _moment(self, at: Any) -> float:
        """Seconds since the beginning."""
        if at is None:
            return self._time + self._index.step if self._time > -math.inf else 0.0
        if not self._index.timed:
            raise ArgumentError("at must be None: training had no stamps")
        parsed = parse_seconds([at])
        stamps, _, bad = Clock.find(parsed, seconds=True).read(parsed)
        if bad:
            raise ArgumentError(f"at must be a date, or seconds, got {at!r}")
        if self._begin is None and self._time > -math.inf:
            raise ArgumentError("at must be given from the first step on, or never")
        begin = stamps[0] if self._begin is None else self._begin
        zoned = parsed.offsets is not None
        alike = self._begin is None or zoned == self._zoned
        if not alike or (np.asarray(begin).dtype.kind == "M") != (stamps.dtype.kind == "M"):
            raise ArgumentError(f"at must be like the first, {begin}, got {at!r}")
        behind = stamps[0] - begin
        dates = stamps.dtype.kind == "M"
        time = float(behind / np.timedelta64(1, "s") if dates else behind * self._index.unit)
        if not self._time <= time < math.inf:
            raise ArgumentError(f"at must not be in the past, got {at!r}")
        self._begin, self._zoned = begin, zoned
        return time

    def _run(self, x: Tensor) -> Tensor:
        """The states (1, n, D)."""
        if self._stream is not None:
            y = self._stream.run(x)
            return torch.cat([y, x], 2) if self._model.skip else y
        states, self._state = self._model.run(Padded.full(x), self._state)
        return states.data

    def _advance(self, x: Tensor, rows: NDArray[np.float64]) -> Said:
        """Read steps, as features (1, n, F) and as numbers (n, C)."""
        raise NotImplementedError

    def _kept(self) -> Any:
        """What `_advance` changes."""
        raise NotImplementedError

    def _keep(self, kept: Any) -> None:
        raise NotImplementedError


class LiveLabels(_Live[dict[Any, float]]):
    """What a recording is, so far: `push` gives the probability of each label.

    A model of windows says it of the last one; it may read from the end as well.

    Args:
        model: with a LabelHead.
        index: of its channels.
        classes: its labels.
        temperature: of the probabilities.
        static: the columns that do not change, by name.
        window: steps of a window; None for all.
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
                "a recording can be followed only by a model that reads forward: "
                "bidirectional=False, or one of windows"
            )
        assert isinstance(model.head, LabelHead)
        self._head, self._classes, self._temperature = model.head, list(classes), temperature
        self._window, self._levels = window, levels
        super().__init__(model, index, static)

    def restart(self) -> None:
        """Begin a new recording."""
        super().restart()
        self._pooled: Pooled | None = None
        self._last: Tensor | None = None  # features of the window
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
    """The tag of each step: `push` gives it and its probability; `events` those that have ended.

    Args:
        model: with a TagHead without a chain, reads forward.
        index: of its channels.
        tags: names.
        static: the columns that do not change, by name.
        spotter: of events.
    """

    def __init__(
        self, model: SequenceModel, index: RecordingIndex, tags: Sequence[str],
        static: Mapping[str, object], spotter: Spotter,
    ) -> None:  # fmt: skip
        if not model.core.causal:
            raise ArgumentError(
                "steps can be tagged live only by a model that reads forward: bidirectional=False"
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
        """Of each tag at the last step."""
        return dict(zip(self._tags, self._p, strict=True))

    @property
    def active(self) -> str | None:
        """The event that goes on."""
        active = self._spotter.active
        return None if active is None else self._tags[active]

    def events(self) -> list[Event]:
        """The events that have ended since this was asked last; steps count from 0."""
        found, self._found = self._found, []
        return found

    def finish(self) -> list[Event]:
        """The same at the end of the recording, with the one that went on."""
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
