"""Scale windows of series by their observed numbers.  This file does not import torch.

    scaled = (y - shift) / scale, computed from the numbers before the origin of a forecast only:

    mean       shift 0,             scale mean |y|         (Salinas et al. 2017, arXiv:1704.04110)
    standard   shift mean,          scale standard deviation
    robust     shift median,        scale 0.7413 * interquartile range
    last       shift the last y,    scale standard deviation
    velocity   shift the last y, continued by its last step,   scale root mean square of the steps

The result does not depend on the unit of y nor, except for `mean`, on its level: if y becomes
f y + c, shift becomes f shift + c and scale becomes f scale.  The minimum scale is thus a share
of the usual scale of the series: LEAST, or 1 / n if the window has n < 1 / LEAST numbers; constant
windows use the usual scale.  A deviation within float64's rounding of the level counts as zero.
`robust` uses the standard deviation if the interquartile range is 0.  The two axes of a position in
the plane share one scale, which is at least a fifth of a usual step; for `velocity` it is that of
the length of the steps.  The origin of the plane is arbitrary.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Scaling = Literal["mean", "standard", "robust", "last", "velocity"]
ROUNDING = 2.0**-48  # share of the level below which movement is rounding of float64
LEAST = 0.3  # minimum scale of a window, as a share of the usual scale of its series
LEVEL = 1e-3  # minimum scale in models of version 0.1.0, as a share of the mean |y|
LEAST_STEP = 0.2  # minimum scale of positions, as a share of a usual step
TO_DEVIATION = 0.7413  # standard deviation / interquartile range of a normal distribution
NEVER = 1e30  # deviation of a constant covariate, so that all its scaled values are 0
BLOCK = 1 << 20  # numbers for which scales are computed at a time

Numbers = NDArray[np.float64]


def find_scale(
    seen: Numbers,
    how: Scaling | None,
    *,
    usual: ArrayLike = 0.0,
    spare: ArrayLike = 0.0,
    plane: bool = False,
    level: float = 0.0,
) -> tuple[Numbers, Numbers]:
    """Return shift and scale (B, 1, K) of windows (B, T, K); NaN is a missing number.

    Args:
        seen: the windows.
        how: kind of scaling; None for none.
        usual: usual scale (B or 1, 1, K), which determines the minimum; 0 if unknown; for positions
            and with velocity it is the usual step.
        spare: usual scale of a constant window, where `usual` is unknown.
        plane: whether the targets are a position in the plane, whose axes share one scale.
        level: minimum scale as a share of the mean |y|, as in version 0.1.0.

    Example:
        >>> import numpy as np
        >>> from elman.encode.scale import find_scale
        >>> shift, scale = find_scale(np.array([[[2.0], [4.0], [np.nan]]]), "standard")
        >>> shift.item(), scale.item()
        (3.0, 1.0)
        >>> find_scale(np.full((1, 20, 1), 7.0), "last", usual=5.0)[1].item()
        1.5
    """
    shift, scale, size, count = _own_scale(seen, how)
    if how == "velocity":
        scale = np.hypot(scale, LEAST_STEP * np.asarray(usual))
    elif plane:
        scale = np.maximum(scale, LEAST_STEP * np.asarray(usual))
    elif level:
        scale = np.maximum(scale, np.maximum(level, 1.0 / (count * count)) * size)
    elif how is not None:
        share = np.maximum(LEAST, 1.0 / count)
        scale = np.maximum(scale, share * np.asarray(usual))
        if not scale.all():  # some windows are constant
            scale = np.where(scale > 0, scale, share * np.asarray(spare))
            scale = np.where(scale > 0, scale, ROUNDING * size)
    if plane:
        scale = _of_places(scale, how)
    return shift, scale if scale.all() else np.where(scale == 0, 1.0, scale)


def find_scales(y: Numbers, how: Scaling | None, steps: int, *, plane: bool = False) -> Numbers:
    """Return scales (N, K) of successive parts (steps, K) of a series (T, K); 0 for constant ones.

    With the scaling None, they are the scales of `mean`.  An incomplete part at the end is skipped.

    Example:
        >>> import numpy as np
        >>> from elman.encode.scale import find_scales
        >>> find_scales(np.array([[1.0], [3.0], [4.0], [4.0], [9.0]]), "last", 2).ravel().tolist()
        [1.0, 0.0]
    """
    parts = y[: len(y) // steps * steps].reshape(-1, steps, y.shape[1])
    rows = max(1, BLOCK // (steps * y.shape[1]))
    found = [np.zeros((0, 1, y.shape[1]))]
    for at in range(0, len(parts), rows):
        scale = _own_scale(parts[at : at + rows], how or "mean")[1]
        found.append(_of_places(scale, how) if plane else scale)
    return np.concatenate(found)[:, 0]


def find_unit(numbers: Numbers) -> list[float]:
    """Return mean and deviation of the numbers (N,) of a covariate; NEVER if it is constant.

    Example:
        >>> import numpy as np
        >>> from elman.encode.scale import find_unit
        >>> find_unit(np.array([1.0, 3.0])), find_unit(np.array([7.0, 7.0]))
        ([2.0, 1.0], [7.0, 1e+30])
    """
    if not len(numbers):
        return [0.0, NEVER]
    first = numbers[0]  # differences from it keep all digits
    mean, deviation = float(first + (numbers - first).mean()), float((numbers - first).std())
    return [mean, deviation if deviation > ROUNDING * abs(mean) else NEVER]


def _own_scale(seen: Numbers, how: Scaling | None) -> tuple[Numbers, Numbers, Numbers, Any]:
    """Return shift, scale (0 if constant), mean |y| and count of numbers (B, 1, K) of windows."""
    there, last = None, seen[:, -1:]
    y, count = seen, np.asarray(seen.shape[1])
    if np.isnan(seen.sum()):  # windows without gaps need half of the work
        there = ~np.isnan(seen)
        y, count = np.where(there, seen, 0.0), np.maximum(there.sum(1, keepdims=True), 1)
        place = seen.shape[1] - 1 - there[:, ::-1].argmax(1)[:, None]
        last = np.take_along_axis(y, place, 1)
    size = np.abs(y).sum(1, keepdims=True) / count
    if how is None or how == "mean":
        return np.zeros_like(size), size if how else np.ones_like(size), size, count
    if how == "velocity":
        return last, _step_size(seen), size, count
    # Differences from the last number keep all digits.
    error = y - last if there is None else np.where(there, y - last, 0.0)
    mean = error.sum(1, keepdims=True) / count
    error = error - mean if there is None else np.where(there, error - mean, 0.0)
    scale = np.sqrt((error * error).sum(1, keepdims=True) / count)
    shift = last + mean if how == "standard" else last
    if how == "robust":
        low, shift, high = _quartiles(seen, ~np.isnan(seen))
        wide = TO_DEVIATION * (high - low)
        scale = np.where(wide > ROUNDING * size, wide, scale)
    return shift, np.where(scale > ROUNDING * size, scale, 0.0), size, count


def _of_places(scale: Numbers, how: Scaling | None) -> Numbers:
    """Return one scale for both axes of positions: the length for velocities, else the mean."""
    many = 1 if how == "velocity" else scale.shape[2]
    whole = np.sqrt((scale * scale).sum(2, keepdims=True) / many)
    return np.repeat(whole, scale.shape[2], 2)


def find_steps(y: Numbers) -> Numbers:
    """Return the change per step of each number (B, T, K) since the previous one; NaN if none.

    Example:
        >>> import numpy as np
        >>> from elman.encode.scale import find_steps
        >>> find_steps(np.array([[[1.0], [2.0], [np.nan], [8.0]]])).ravel().tolist()
        [nan, 1.0, nan, 3.0]
    """
    there = ~np.isnan(y)
    place = np.where(there, np.arange(y.shape[1])[:, None], -1)
    before = np.maximum.accumulate(place, axis=1)
    before = np.concatenate([np.full_like(before[:, :1], -1), before[:, :-1]], axis=1)
    way = y - np.take_along_axis(y, before.clip(0), 1)
    return np.asarray(np.where((before < 0) | ~there, np.nan, way / np.maximum(place - before, 1)))


def _step_size(seen: Numbers) -> Numbers:
    """Return the root mean square (B, 1, K) of the steps of windows."""
    steps = find_steps(seen)
    there = ~np.isnan(steps)
    squares = np.where(there, steps, 0.0) ** 2
    count = np.maximum(there.sum(1, keepdims=True), 1)
    return np.asarray(np.sqrt(squares.sum(1, keepdims=True) / count))


def find_velocity(seen: Numbers, steps: int) -> tuple[Numbers, Numbers]:
    """Return the last step (B, 1, K) of windows, and the time (B, steps, K) since the last number.

    The last step is the difference of the last two numbers of a window (B, T, K) per step; 0 if
    there are fewer than two.

    Example:
        >>> import numpy as np
        >>> from elman.encode.scale import find_velocity
        >>> velocity, time = find_velocity(np.array([[[1.0], [np.nan], [9.0], [np.nan]]]), 2)
        >>> velocity.item(), time.ravel().tolist()
        (4.0, [2, 3])
    """
    last = np.where(~np.isnan(seen), np.arange(seen.shape[1])[:, None], 0).max(1, keepdims=True)
    velocity = np.nan_to_num(np.take_along_axis(find_steps(seen), last, 1))
    return velocity, np.arange(steps)[:, None] + seen.shape[1] - last


def _quartiles(seen: Numbers, there: NDArray[np.bool_]) -> tuple[Numbers, Numbers, Numbers]:
    """Return the three quartiles (B, 1, K), interpolated linearly; 0 without numbers."""
    order = np.sort(np.where(there, seen, np.inf), axis=1)
    last = np.maximum(there.sum(1, keepdims=True) - 1, 0)
    found = []
    for share in (0.25, 0.5, 0.75):
        place = share * last
        below = np.floor(place).astype(np.int64)
        low = np.take_along_axis(order, below, 1)
        high = np.take_along_axis(order, np.minimum(below + 1, last), 1)
        low, high = (np.where(np.isfinite(x), x, 0.0) for x in (low, high))
        found.append(low + (place - below) * (high - low))
    return found[0], found[1], found[2]
