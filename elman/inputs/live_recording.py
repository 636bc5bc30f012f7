"""One recording that arrives step by step.

With a rate, steps fall into cells of time.  A cell is complete when the next one begins; until then
its mean can still change.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from elman.encode.bags import Bag, Levels
from elman.encode.recordings import RecordingIndex
from elman.encode.statistics import Running, whole_statistics
from elman.errors import ArgumentError, DataError
from elman.inputs.live import LiveInput, Step
from elman.read.clock import Clock
from elman.read.recordings import Recording, seconds_of
from elman.read.stamps import parse_seconds
from elman.report.terminal import counted
from elman.state import MOST, State

FAR = 1 << 16  # largest number of cells between two steps
BEGINS = ("", "f", "i", "M")  # kinds of first stamps: none, a number, a whole number, a date

LATEST = 1e15  # largest time of a recording, in seconds
Numbers = NDArray[np.float64]


class LiveRecording(LiveInput):
    """A recording that arrives step by step.

    Args:
        index: statistics of the channels in the training data.
        static: values of the columns that do not change within a recording, by name.
        levels: levels of the statistics that the wide part reads; None without one.
        window: steps of the windows that the model reads; None for whole recordings.
    """

    def __init__(
        self,
        index: RecordingIndex,
        static: Mapping[str, object],
        *,
        levels: Levels | None,
        window: int | None,
    ) -> None:
        unknown = set(static) - set(index.static)
        if unknown:
            wanted = ", ".join(index.static) or "none"
            raise ArgumentError(
                f"static columns must be {wanted}, got {', '.join(sorted(unknown))}"
            )
        self._index, self._levels, self._window = index, levels, window
        values = [static.get(name) for name in index.static]
        self._encoder, self._fixed = index.encoder(values), index.fixed(values)
        self.key = repr(self._fixed.tolist())
        self._begin: Any = None  # the first stamp
        self._zoned = False  # whether dates have an offset from UTC
        self._time = -math.inf  # time of the last step
        self._cell = 0
        channels = len(index.channels)
        self._sums = np.zeros((2, channels))  # sum and count in the current cell
        self._running = Running.start(channels)
        self._rows = np.zeros((0, channels))  # numbers of the last window

    @property
    def starts(self) -> float | None:  # type: ignore[override]
        """The first stamp in seconds; None before it, or without stamps."""
        return None if self._begin is None else seconds_of(self._begin, self._index.unit)

    @property
    def dates(self) -> bool | None:  # type: ignore[override]
        """Whether stamps are dates; None before the first one."""
        return None if self._begin is None else np.asarray(self._begin).dtype.kind == "M"

    # The state.

    @property
    def state(self) -> State:
        """Return a copy of the state."""
        kind = "" if self._begin is None else np.asarray(self._begin).dtype.kind
        begin = np.zeros(1) if self._begin is None else np.asarray(self._begin).reshape(1)
        started = self._time > -math.inf
        whole = [
            BEGINS.index(kind),
            int(begin.view(np.int64)[0]),
            self._zoned,
            started,
            self._cell,
            self._running.steps,
        ]
        encoder = self._encoder
        arrays = (
            np.array(whole, dtype=np.int64),
            np.array([self._time if started else 0.0, encoder.time]),
            self._sums,
            encoder.last,
            encoder.since,
            self._running.sums,
            self._running.ends,
            self._rows,
        )
        return tuple(torch.from_numpy(np.array(one)) for one in arrays)

    def restore(self, state: State) -> None:
        """Continue from a state of the right shapes; raise a DataError for impossible values."""
        leaves = [leaf.numpy().copy() for leaf in state if isinstance(leaf, Tensor)]
        whole, times, sums, last, since, running, ends, rows = leaves
        kind, bits, zoned, started, cell, steps = whole.tolist()
        finite = all(np.isfinite(one).all() for one in (times, sums, last, since, running))
        short = len(rows) <= (self._window or 0)
        counts = 0 <= kind < len(BEGINS) and {zoned, started} <= {0, 1}
        counts = counts and 0 <= cell < MOST and 0 <= steps < MOST
        finite = finite and bool((np.abs(times) < LATEST).all())
        if not (finite and counts and short) or np.isinf(ends).any() or np.isinf(rows).any():
            raise DataError("the state of the recording is damaged: it has impossible values")
        begin = np.array([bits], dtype=np.int64)
        found: dict[str, Any] = {
            "": None,
            "f": begin.view(np.float64)[0],
            "i": begin[0],
            "M": begin.view("M8[us]")[0],
        }
        self._begin, self._zoned = found[BEGINS[kind]], bool(zoned)
        self._time, self._cell = float(times[0]) if started else -math.inf, cell
        self._sums, self._rows = sums, rows
        self._running = Running(steps, running, ends)
        self._encoder = copy.copy(self._encoder)
        self._encoder.last, self._encoder.since = last, since
        self._encoder.time = float(times[1])

    # Steps.

    def push(self, element: Any, at: Any = None) -> tuple[Step | None, Step | None]:
        """Read a step.

        Args:
            element: a number for each channel, NaN or None if it is missing; or a dict of the
                channels that were measured.
            at: time of the step, a date or a number in the unit of the training data; None for one
                usual step after the previous one, or if training had no times.

        Raises:
            ArgumentError: the channels are unknown, a number is infinite, or `at` is before the
                previous step.
        """
        row, time = self._row(element), self._moment(at)
        rate = self._index.rate
        if rate is None:
            self._time = time
            return self._step(np.array([time]), row[None]), None
        cell = math.floor(time * rate + 1e-9)
        if cell - self._cell > FAR:
            raise ArgumentError(
                f"at={at!r} is {cell - self._cell:,} cells of {1 / rate:g} s after the last step; "
                "begin a new recording with restart"
            )
        self._time = time
        complete = self._close(cell) if cell > self._cell else None
        there = ~np.isnan(row)
        self._sums += np.where(there, [row, np.ones(len(row))], 0)
        kept = copy.copy(self._encoder), self._running, self._rows
        draft = self._step(np.array([cell / rate]), self._mean()[None])
        self._encoder, self._running, self._rows = kept
        return complete, draft

    def finish(self) -> Step | None:
        """Return the last cell, which is complete now."""
        if self._index.rate is None or not self._sums[1].any():
            return None
        return self._close(self._cell + 1)

    def _close(self, cell: int) -> Step:
        """Return all cells before the given one, which are now complete."""
        assert self._index.rate is not None
        rows = np.full((cell - self._cell, self._sums.shape[1]), np.nan)
        rows[0] = self._mean()
        step = self._step(np.arange(self._cell, cell) / self._index.rate, rows)
        self._cell = cell
        self._sums[:] = 0
        return step

    def _mean(self) -> Numbers:
        with np.errstate(invalid="ignore"):
            return np.asarray(self._sums[0] / self._sums[1])

    def _step(self, times: Numbers, rows: Numbers) -> Step:
        """Return the features of rows (n, C) at n times, and the bag after them."""
        return Step(self._encoder.push(Recording("", 0.0, times, rows)), self._bag(rows))

    def _bag(self, rows: Numbers) -> Bag | None:
        """Return the statistics of the recording, or of its window, after more rows."""
        if self._levels is None:
            return None
        if self._window is None:
            self._running = self._running.push(rows)
            found = self._running.values
        else:
            self._rows = np.concatenate([self._rows, rows])[-self._window :]
            found = np.append(whole_statistics(self._rows), len(self._rows))
        return self._levels.encode(np.concatenate([found, self._fixed])[None])

    def _row(self, values: Any) -> Numbers:
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
            raise ArgumentError("at must be given from the first step on, or never")
        begin = stamps[0] if self._begin is None else self._begin
        zoned = parsed.offsets is not None
        alike = self._begin is None or zoned == self._zoned
        if not alike or (np.asarray(begin).dtype.kind == "M") != (stamps.dtype.kind == "M"):
            raise ArgumentError(f"at must have the form of the first time, {begin}, got {at!r}")
        passed = stamps[0] - begin
        dates = stamps.dtype.kind == "M"
        time = float(passed / np.timedelta64(1, "s") if dates else passed * self._index.unit)
        if not self._time <= time < math.inf:
            raise ArgumentError(f"at must not be before the previous step, got {at!r}")
        self._begin, self._zoned = begin, zoned
        return time
