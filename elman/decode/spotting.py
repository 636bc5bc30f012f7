"""Find key words in running sound, from the probabilities of windows of the sound.

    q_t = (p_t + p_{t-1} + .. + p_{t-n+1}) / n      smoothing; p is 0 before the first window
    a key word is detected at window t if q_t >= threshold, and not at any of the r - 1 windows
    before; n windows last `smoothing` seconds, and r windows last `refractory` seconds

Each key word is detected independently of the others.  Source: Chen, Parada and Heigold 2014,
"Small-footprint keyword spotting using deep neural networks", ICASSP.

Shape legend: T windows, K key words, N thresholds.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from elman.arguments import check_types
from elman.errors import ArgumentError

Floats = NDArray[np.float64]
HOUR = 3600.0  # seconds
TOLERANCE = 0.5  # seconds after the end of a key word in which a detection is a hit


@dataclass(frozen=True, kw_only=True)
class Spotting:
    """The rules of the detection.

    Attributes:
        threshold: probability from which a key word is detected, in 0..1.
        smoothing: seconds over which probabilities are averaged.
        refractory: seconds after a detection in which the key word is not detected again.
        hop: seconds from one window to the next, rounded to steps of the model, at most a window.

    Raises:
        ArgumentError: a value is out of its range.

    Example:
        >>> from elman.decode.spotting import Spotting
        >>> Spotting(threshold=1.5)
        Traceback (most recent call last):
        elman.errors.ArgumentError: threshold must be in 0..1, got 1.5
    """

    threshold: float = 0.5
    smoothing: float = 0.3
    refractory: float = 1.0
    hop: float = 0.1

    def __post_init__(self) -> None:
        check_types(self)
        if not 0 <= self.threshold <= 1:
            raise ArgumentError(f"threshold must be in 0..1, got {self.threshold:g}")
        for name, least in (("smoothing", 0), ("refractory", 0), ("hop", 1e-3)):
            value = getattr(self, name)
            if not least <= value <= HOUR:
                raise ArgumentError(f"{name} must be in {least:g}..{HOUR:g} s, got {value:g}")


class Spotted(NamedTuple):
    """A key word that was detected.

    Attributes:
        label: the key word.
        start, end: the window in seconds; the detection was possible at its end.
        probability: smoothed probability.
    """

    label: str
    start: float
    end: float
    probability: float


class Detector:
    """Detect key words in probabilities that arrive window by window, in constant memory.

    Args:
        keywords: K.
        spotting: the rules; their `hop` must be the exact time between windows.
        thresholds: (N,) thresholds that are applied in parallel; None for the one of the rules.

    Attributes:
        window: number of windows so far.
        last: (n - 1, K) last probabilities.
        wait: (N, K) first window at which the key word can be detected again.

    Example:
        >>> from elman.decode.spotting import Detector, Spotting
        >>> detector = Detector(1, Spotting(smoothing=0.2, refractory=0.4))
        >>> fired, smoothed = detector.push([[0.0], [0.6], [0.8], [0.9], [0.9], [0.9], [0.9]])
        >>> fired[:, 0, 0].nonzero()[0].tolist()
        [2, 6]
        >>> round(float(smoothed[2, 0]), 2)
        0.7
    """

    def __init__(
        self, keywords: int, spotting: Spotting, thresholds: ArrayLike | None = None
    ) -> None:
        given = spotting.threshold if thresholds is None else thresholds
        self.thresholds: Floats = np.atleast_1d(np.asarray(given, dtype=np.float64))
        self.size = max(1, round(spotting.smoothing / spotting.hop))
        self.refractory = max(1, math.ceil(spotting.refractory / spotting.hop - 1e-6))
        self.window = 0
        self.last: Floats = np.zeros((self.size - 1, keywords))
        self.wait = np.zeros((len(self.thresholds), keywords), dtype=np.int64)

    def push(self, p: ArrayLike) -> tuple[NDArray[np.bool_], Floats]:
        """Return the detections (T, N, K) and the smoothed probabilities (T, K) of windows (T, K).

        The results of a window do not depend on how many windows arrive together.
        """
        new = np.asarray(p, dtype=np.float64)
        whole, count = np.concatenate([self.last, new]), len(new)
        smoothed = np.zeros_like(new)
        for n in range(self.size):  # in this order for any number of windows
            smoothed += whole[n : n + count]
        smoothed /= self.size
        self.last = whole[count:]
        fired = smoothed[:, None] >= self.thresholds[:, None]
        for n in np.flatnonzero(fired.any((1, 2))).tolist():
            at = self.window + n
            fired[n] &= self.wait <= at
            self.wait[fired[n]] = at + self.refractory
        self.window += count
        return fired, smoothed


class SpottingCurve(NamedTuple):
    """False alarms and misses at many thresholds.

    Attributes:
        thresholds: (N,), increasing.
        false_alarms_per_hour: (N,) detections that are not hits, in an hour of sound.
        miss_rate: (N,) share of the key words without a hit; NaN if there are none.
    """

    thresholds: Floats
    false_alarms_per_hour: Floats
    miss_rate: Floats

    def allowed(self, false_alarms_per_hour: float) -> int | None:
        """Return the lowest threshold with at most so many false alarms, as its number in N.

        No higher threshold has more of them, either.  None if there is no such threshold.
        """
        bad = np.flatnonzero(self.false_alarms_per_hour > false_alarms_per_hour)
        first = int(bad[-1]) + 1 if len(bad) else 0
        return first if first < len(self.thresholds) else None

    def at_misses(self, share: float) -> float | None:
        """Return the fewest false alarms per hour at which at most this share is missed.

        None if more are missed at every threshold.
        """
        found = self.false_alarms_per_hour[self.miss_rate <= share]
        return float(found.min()) if len(found) else None


def spotting_curve(
    p: ArrayLike,
    ends: ArrayLike,
    truth: Iterable[tuple[int, float, float]],
    *,
    spotting: Spotting,
    thresholds: Sequence[float] | Floats,
    seconds: float,
    tolerance: float = TOLERANCE,
) -> SpottingCurve:
    """Return the false alarms and misses of a recording at many thresholds.

    A detection is a hit if its window ends while a key word of its label is spoken, or at most
    `tolerance` seconds later.  A key word has at most one hit, and a detection is the hit of at
    most one key word; every other detection is a false alarm.

    Args:
        p: (T, K) probabilities of the key words, before smoothing.
        ends: (T,) seconds at which the windows end.
        truth: number in K, start and end in seconds of each key word that is spoken.
        spotting: the rules; their `hop` must be the exact time between windows.
        thresholds: (N,) thresholds.
        seconds: duration of the recording.
        tolerance: seconds after the end of a key word.

    Raises:
        ArgumentError: the shapes do not match, or the recording has no duration.

    Example:
        >>> from elman.decode.spotting import Spotting, spotting_curve
        >>> rules = Spotting(smoothing=0, hop=0.5)
        >>> p = [[0.1], [0.7], [0.2], [0.1], [0.1], [0.1], [0.9], [0.1]]
        >>> ends = [0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0]
        >>> curve = spotting_curve(
        ...     p, ends, [(0, 3.0, 3.5)], spotting=rules, thresholds=[0.5, 0.8, 0.95], seconds=4
        ... )
        >>> curve.false_alarms_per_hour.tolist(), curve.miss_rate.tolist()
        ([900.0, 0.0, 0.0], [0.0, 0.0, 1.0])
    """
    x, times = np.asarray(p, dtype=np.float64), np.asarray(ends, dtype=np.float64)
    if x.ndim != 2 or times.shape != x.shape[:1]:
        raise ArgumentError(f"p must be (T, K) and ends (T,), got {x.shape} and {times.shape}")
    if not seconds > 0:
        raise ArgumentError(f"seconds must be the duration of the recording, got {seconds}")
    levels = np.sort(np.asarray(thresholds, dtype=np.float64))
    fired, _ = Detector(x.shape[1], spotting, levels).push(x)
    hits, words = np.zeros(len(levels), dtype=np.int64), sorted(truth, key=lambda one: one[1])
    for label, start, end in words:
        first, last = np.searchsorted(times, [start, end + tolerance + 1e-9]).tolist()
        near = fired[first:last, :, label]
        hit = near.any(0)
        near[near.argmax(0)[hit], np.flatnonzero(hit)] = False
        hits += hit
    wrong = fired.sum((0, 2)) * (HOUR / seconds)
    missed = 1 - hits / len(words) if words else np.full(len(levels), np.nan)
    return SpottingCurve(levels, wrong, missed)
