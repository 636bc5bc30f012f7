"""The layout of windows of series, and the arrays of a series.

Shape legend: T steps of a series, K targets, P past covariates, F known features, I columns of
items (texts or images).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from elman.encode.neighbours import FEATURES
from elman.encode.scale import Scaling

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Layout:
    """Sizes of windows and of the inputs of a step.

    Attributes:
        context: maximum number of observed steps; a multiple of the segment.
        horizon: steps to forecast.
        segment: w, steps of the series in one step of the network.
        targets: K.
        past: number of covariates known only in the past.
        known: number of covariates known in advance, with the calendar.
        static: number of constant numbers.
        categories: number of values of each category.
        lags: distances to earlier steps that are inputs, each at least 1.
        feedback: whether a step after the origin is an input of the next step.
        scaling: scaling of the targets.
        usual: mean absolute difference between successive numbers of each target in training.
        plane: whether the two targets are a position in the plane.
        neighbours: M, the maximum number of neighbours of a step.
        jitter: mean deviation of the noise on inputs in training, in usual steps.
        gaps: share of the training windows in which numbers are hidden.
        unit: usual scale of each target in the training data; () in models of version 0.1.0.
        spread: deviation of the logarithm of the scales of windows around `unit`.
        items: I, the number of columns of texts and images.
        level: minimum scale as a share of the mean |y|, in models of version 0.1.0.
    """

    context: int
    horizon: int
    segment: int = 1
    targets: int = 1
    past: int = 0
    known: int = 0
    static: int = 0
    categories: tuple[int, ...] = ()
    lags: tuple[int, ...] = ()
    feedback: bool = False
    scaling: Scaling | None = "mean"
    usual: tuple[float, ...] = ()
    plane: bool = False
    neighbours: int = 0
    jitter: float = 0.0
    gaps: float = 0.0
    unit: tuple[float, ...] = ()
    spread: tuple[float, ...] = ()
    items: int = 0
    level: float = 0.0

    @property
    def seen(self) -> int:
        """The number of segments of the context."""
        return self.context // self.segment

    @property
    def back(self) -> int:
        """The number of steps before the context that lags read."""
        return max((self.segment, *self.lags)) - self.segment

    @property
    def ahead(self) -> int:
        """The number of segments of the horizon."""
        return math.ceil(self.horizon / self.segment)

    @property
    def steps_ahead(self) -> int:
        """The number of steps of the series in the segments of the horizon."""
        return self.ahead * self.segment

    @property
    def steps(self) -> int:
        """The number of steps of the network in a window."""
        return self.seen + self.ahead - 1

    @property
    def numbers(self) -> int:
        """The number of inputs of a step."""
        each = 2 * self.targets * (1 + len(self.lags)) + 2 * self.past + self.known
        return each * self.segment + self.static + self.targets + (not self.feedback)

    @property
    def around(self) -> int:
        """The number of inputs of a step from neighbours."""
        return FEATURES * self.neighbours

    @property
    def width(self) -> int:
        """The number of columns of a step: numbers, neighbours, categories and items."""
        return self.numbers + self.around + len(self.categories) + self.segment * self.items

    @property
    def output(self) -> int:
        """The number of outputs of a step."""
        return self.segment * self.targets


@dataclass(frozen=True)
class Record:
    """A series in arrays.

    Attributes:
        y: (T, K), NaN for missing numbers.
        past: (T, P), NaN for missing numbers.
        known: (T or more, F).
        static: constant numbers.
        codes: codes of categories, -1 for an unknown value.
        usual: usual scale (K,) of its windows in training, or of all series for a new series;
            None if it is unknown.
        items: (T, I) numbers of texts and images, NaN for none; None without such columns.
    """

    y: Numbers
    past: NDArray[np.float32]
    known: NDArray[np.float32]
    static: NDArray[np.float32]
    codes: NDArray[np.int64]
    usual: Numbers | None = None
    items: Numbers | None = None
