"""Scaling of series by what was seen of them.  No torch here.

    scaled = (y - shift) / scale, of what is seen before a forecast and of nothing behind it:

    mean       shift 0,             scale mean |y|         (Salinas et al. 2017, arXiv:1704.04110)
    standard   shift mean,          scale standard deviation
    robust     shift median,        scale 0.7413 * interquartile range
    last       shift the last y,    scale standard deviation
    velocity   shift the last y and on at its last step,   scale root mean square of the steps

A scale is at least the mean |y| / n^2, of n numbers, and a thousandth of it, below which a series
counts as constant; 1 if all are 0.  Robust is standard where half of the numbers are the same.
A place in the plane, whose axes may begin anywhere, has one scale for both, with velocity that of
the steps' length, and at least a fifth of a usual step.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Scaling = Literal["mean", "standard", "robust", "last", "velocity"]
TINY = 1e-3  # of |y|, the least scale
LEAST_STEP = 0.2  # of a usual step, the least scale of places
TO_DEVIATION = 0.7413  # interquartile ranges of a normal distribution in a standard deviation

Numbers = NDArray[np.float64]


def find_scale(
    seen: Numbers,
    how: Scaling | None,
    *,
    usual: Sequence[float] = (),
    plane: bool = False,
) -> tuple[Numbers, Numbers]:
    """Shift and scale (B, 1, K) of windows from what is seen of them (B, T, K), NaN where nothing.

    Args:
        seen: the windows.
        how: to scale them; None for not at all.
        usual: of a plane K usual steps, of which a part is the least scale: who stands has one.
        plane: whether the targets are a place: they share one scale, and axes begin anywhere.

    Example:
        >>> import numpy as np
        >>> from elman.encode.scale import find_scale
        >>> shift, scale = find_scale(np.array([[[2.0], [4.0], [np.nan]]]), "standard")
        >>> shift.item(), scale.item()
        (3.0, 1.0)
    """
    total = seen.sum(1, keepdims=True)
    if np.isnan(total).any():
        there = ~np.isnan(seen)
        y = np.where(there, seen, 0.0)
        count: Any = np.maximum(there.sum(1, keepdims=True), 1)
        total = y.sum(1, keepdims=True)
    else:  # without gaps half of the work is enough
        there, y, count = None, seen, seen.shape[1]
    size = np.abs(y).sum(1, keepdims=True) / count
    if how is None or how == "mean":
        shift = np.zeros_like(size)
        scale = size if how else shift + 1
    else:
        shift = total / count
        error = y - shift if there is None else np.where(there, y - shift, 0.0)
        scale = np.sqrt((error * error).sum(1, keepdims=True) / count)
    if how == "robust":
        low, shift, high = _quartiles(seen, ~np.isnan(seen))
        scale = np.where(high > low, TO_DEVIATION * (high - low), scale)
    elif how in ("last", "velocity"):
        shift = y[:, -1:]
        if there is not None:
            last = seen.shape[1] - 1 - there[:, ::-1].argmax(1)[:, None]
            shift = np.take_along_axis(y, last, 1)
    if how == "velocity":
        scale = _step_size(seen, np.array(usual or [0.0] * seen.shape[2]))
    elif plane:
        scale = np.maximum(scale, LEAST_STEP * np.array(usual))
    elif how is not None:
        share = 1.0 / (count * count)
        least = max(TINY, share) if there is None else np.maximum(TINY, share)
        scale = np.maximum(scale, least * size)
    if plane:  # of velocities the length, of others the mean
        many = 1 if how == "velocity" else seen.shape[2]
        whole = np.sqrt((scale * scale).sum(2, keepdims=True) / many)
        scale = np.repeat(whole, seen.shape[2], 2)
    if not scale.all():
        scale = np.where(scale == 0, 1.0, scale)
    return shift, scale


def find_steps(y: Numbers) -> Numbers:
    """Of each number of (B, T, K) the way from the last one, by the time between; NaN of none.

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


def _step_size(seen: Numbers, usual: Numbers) -> Numbers:
    """Root mean square (B, 1, K) of the steps, with some of a usual one."""
    steps = find_steps(seen)
    there = ~np.isnan(steps)
    squares = np.where(there, steps, 0.0) ** 2
    mean = squares.sum(1, keepdims=True) / np.maximum(there.sum(1, keepdims=True), 1)
    return np.asarray(np.sqrt(mean + (LEAST_STEP * usual) ** 2))


def find_velocity(seen: Numbers, steps: int) -> tuple[Numbers, Numbers]:
    """The step (B, 1, K) that a window made last, and the time (B, steps, K) since its last number.

    That is the distance of the last two numbers of what is seen (B, T, K) by their time; 0 of less.

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
    """The three quartiles (B, 1, K), linear between neighbours; 0 of nothing."""
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
