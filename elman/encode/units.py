"""Scale windows of series by their observed numbers, and hide numbers in training.

A scale is at least a share of the usual scale of its series (`elman.encode.scale.find_scale`).  The
usual scale is the mean over the successive contexts before the origin that are not constant.

Shape legend: B windows, L steps of the series in a window, K targets, N contexts, C columns.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from elman.encode.layout import Layout
from elman.encode.scale import find_scale, find_scales, find_steps, find_velocity

FAR = 3.0  # maximum deviations of the logarithm of a scale from the usual one

Numbers = NDArray[np.float64]


class UsualScale:
    """The running usual scale of a series: the mean over its contexts that are not constant.

    Args:
        layout: layout of the windows.

    Example:
        >>> import numpy as np
        >>> from elman.encode.units import UsualScale
        >>> from elman.encode.layout import Layout
        >>> usual = UsualScale(Layout(context=2, horizon=1, scaling="last"))
        >>> y = np.array([1.0, 3.0, 4.0, 4.0, 4.0, 10.0, 9.0])[:, None]
        >>> usual.after_each(y)[:, 0].tolist(), usual.now[0, 0].item()
        ([0.0, 1.0, 1.0, 2.0], 2.0)
    """

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self.totals = np.zeros((2, layout.targets))  # sum and number of the scales above 0

    def after_each(self, y: Numbers) -> Numbers:
        """Return the usual scale (1 + N, K) now and after each of N whole contexts of y (T, K)."""
        layout = self._layout
        scales = find_scales(y, layout.scaling, layout.context, plane=layout.plane)
        sums = np.cumsum([self.totals[0], *scales], axis=0)
        counts = np.cumsum([self.totals[1], *(scales > 0)], axis=0)
        self.totals = np.stack([sums[-1], counts[-1]])
        return np.asarray(sums / np.maximum(counts, 1))

    @property
    def now(self) -> Numbers:
        """The current usual scale (1, K); 0 if all contexts are constant."""
        return np.asarray(self.totals[0] / np.maximum(self.totals[1], 1))[None]


def in_units(
    y: Numbers, layout: Layout, usual: Numbers, spare: Numbers
) -> tuple[Numbers, Numbers, Numbers]:
    """Scale windows (B, back + L, K) by their observed numbers; also return shift and scale.

    With scaling `velocity` the inputs are changes of y per step, and the prediction is the mean
    velocity since the last number: shift and scale differ for each step after the origin,
    (B, steps_ahead, K); otherwise they are (B, 1, K).

    Args:
        y: the windows.
        layout: layout of the windows.
        usual, spare: scales (B, 1, K), see `find_scale`; usual steps replace them for positions.
    """
    known = y[:, layout.back :][:, : layout.context]
    if layout.plane or layout.scaling == "velocity":
        usual = spare = np.array([[layout.usual or [0.0] * layout.targets]])
    shift, scale = find_scale(
        known, layout.scaling, usual=usual, spare=spare, plane=layout.plane, level=layout.level
    )
    if layout.scaling is None and layout.unit:  # one unit for all windows
        scale = scale * layout.unit
    seen = (y - shift) / scale
    if layout.scaling == "velocity":
        seen = find_steps(seen)
        velocity, time = find_velocity(known, layout.steps_ahead)
        shift, scale = shift + velocity * time, scale * time
    return seen, shift, scale


def size_of(scale: Numbers, layout: Layout) -> Numbers:
    """Return scales (..., K) as inputs: logarithms, relative to the usual scale in training."""
    if not layout.unit:
        return np.log(scale)
    spread = np.maximum(layout.spread, 1.0)
    return np.asarray((np.log(scale / layout.unit) / spread).clip(-FAR, FAR))


def draw_gaps(
    draw: np.random.Generator, shape: tuple[int, int, int], share: float
) -> NDArray[np.bool_]:
    """Draw which numbers of windows (B, T, C) are hidden, in blocks, in a share of the windows.

    Each window has a random length of blocks, 1 to T / 2, and a random probability of hiding one.

    Example:
        >>> import numpy as np
        >>> from elman.encode.units import draw_gaps
        >>> hidden = draw_gaps(np.random.default_rng(0), (4000, 20, 1), 0.4)
        >>> round(float(hidden.any(1).mean()), 2), round(float(hidden.mean()), 2)
        (0.35, 0.2)
    """
    rows, steps, columns = shape
    some, rate = draw.random(rows) < share, draw.random(rows)
    length = np.exp(draw.random(rows) * np.log(max(1.0, steps / 2)))[:, None]
    block = (np.arange(steps) / length + draw.random((rows, 1))).astype(np.int64)
    lots = np.take_along_axis(draw.random((rows, steps + 1, columns)), block[..., None], 1)
    return np.asarray((lots < rate[:, None, None]) & some[:, None, None])


def hide_ends(
    y: Numbers, past: NDArray[np.float32], layout: Layout, first: int, last: int
) -> Numbers:
    """Return windows (B, back + L, K) without the first and the last steps of their contexts.

    Numbers of the past covariates (B, L, P) are hidden in place.  Steps before hidden first
    steps are hidden, too.
    """
    back, context = layout.back, layout.context
    read: Numbers = y.copy()
    read[:, : back + first if first else 0] = np.nan
    past[:, :first] = np.nan
    read[:, back + context - last : back + context] = np.nan
    past[:, context - last : context] = np.nan
    return read
