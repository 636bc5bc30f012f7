"""Scaling of series by what was seen of them.  No torch here.

    scaled = (y - shift) / scale, of the numbers before a forecast and of none after its origin:

    mean       shift 0,             scale mean |y|         (Salinas et al. 2017, arXiv:1704.04110)
    standard   shift mean,          scale standard deviation
    robust     shift median,        scale 0.7413 * interquartile range
    last       shift the last y,    scale standard deviation
    velocity   shift the last y and on at its last step,   scale root mean square of the steps

The unit of y and, but for `mean`, its level change nothing: if y becomes f y + c, shift becomes
f shift + c and scale f scale.  So the least scale is a share of the usual one of the series,
LEAST, or 1 / n where the window has fewer than 1 / LEAST numbers; a window that never moves takes
it.  A deviation that is no more than float64's rounding of the level counts as no movement.
Robust is standard where half of the numbers are the same.  A place in the plane, whose axes may
begin anywhere, has one scale for both, with velocity that of the steps' length, and at least a
fifth of a usual step.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Scaling = Literal["mean", "standard", "robust", "last", "velocity"]
ROUNDING = 2.0**-48  # of a level: movement below it is rounding of float64
LEAST = 0.3  # of the usual scale of a series, the least scale of a window
LEVEL = 1e-3  # of the mean |y|, the least scale in models of version 0.1.0
LEAST_STEP = 0.2  # of a usual step, the least scale of places
TO_DEVIATION = 0.7413  # interquartile ranges of a normal distribution in a standard deviation
NEVER = 1e30  # deviation of what never changes in training: whatever comes is 0
BLOCK = 1 << 20  # numbers of which scales are found at a time

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
    """Shift and scale (B, 1, K) of windows from what is seen of them (B, T, K), NaN where nothing.

    Args:
        seen: the windows.
        how: to scale them; None for not at all.
        usual: scale (B or 1, 1, K) of which a share is the least, 0 if it is not known; of places
            and with velocity the usual step.
        spare: usual scale of a window that does not move, where `usual` is not known.
        plane: whether the targets are a place: they share one scale, and axes begin anywhere.
        level: share of the mean |y| that the scale has at least, as in version 0.1.0.

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
        if not scale.all():  # nothing has moved so far, or ever
            scale = np.where(scale > 0, scale, share * np.asarray(spare))
            scale = np.where(scale > 0, scale, ROUNDING * size)
    if plane:
        scale = _of_places(scale, how)
    return shift, scale if scale.all() else np.where(scale == 0, 1.0, scale)


def find_scales(y: Numbers, how: Scaling | None, steps: int, *, plane: bool = False) -> Numbers:
    """Scales (N, K) of a series (T, K), of one part of `steps` after the other; 0 of one at rest.

    The scaling None has those of `mean`.  A part at the end that is not whole is left out.

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
    """Mean and deviation of the numbers (N,) of a covariate; NEVER of one that does not change.

    Example:
        >>> import numpy as np
        >>> from elman.encode.scale import find_unit
        >>> find_unit(np.array([1.0, 3.0])), find_unit(np.array([7.0, 7.0]))
        ([2.0, 1.0], [7.0, 1e+30])
    """
    if not len(numbers):
        return [0.0, NEVER]
    first = numbers[0]  # from here on all digits are left to the movement
    mean, deviation = float(first + (numbers - first).mean()), float((numbers - first).std())
    return [mean, deviation if deviation > ROUNDING * abs(mean) else NEVER]


def _own_scale(seen: Numbers, how: Scaling | None) -> tuple[Numbers, Numbers, Numbers, Any]:
    """Shift, scale, 0 of what does not move, and mean |y| (B, 1, K) of windows; their numbers."""
    there, last = None, seen[:, -1:]
    y, count = seen, np.asarray(seen.shape[1])
    if np.isnan(seen.sum()):  # without gaps half of the work is enough
        there = ~np.isnan(seen)
        y, count = np.where(there, seen, 0.0), np.maximum(there.sum(1, keepdims=True), 1)
        place = seen.shape[1] - 1 - there[:, ::-1].argmax(1)[:, None]
        last = np.take_along_axis(y, place, 1)
    size = np.abs(y).sum(1, keepdims=True) / count
    if how is None or how == "mean":
        return np.zeros_like(size), size if how else np.ones_like(size), size, count
    if how == "velocity":
        return last, _step_size(seen), size, count
    # From the last number on, which leaves all digits to the movement.
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
    """One scale for both axes of places: of velocities the length, of others the mean."""
    many = 1 if how == "velocity" else scale.shape[2]
    whole = np.sqrt((scale * scale).sum(2, keepdims=True) / many)
    return np.repeat(whole, scale.shape[2], 2)


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


def _step_size(seen: Numbers) -> Numbers:
    """Root mean square (B, 1, K) of the steps of windows."""
    steps = find_steps(seen)
    there = ~np.isnan(steps)
    squares = np.where(there, steps, 0.0) ** 2
    count = np.maximum(there.sum(1, keepdims=True), 1)
    return np.asarray(np.sqrt(squares.sum(1, keepdims=True) / count))


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
