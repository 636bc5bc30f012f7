"""Scaling of series by what was seen of them.  No torch here.

    scaled = (y - shift) / scale, of what is seen before a forecast and of nothing behind it:

    mean       shift 0,             scale mean |y|         (Salinas et al. 2017, arXiv:1704.04110)
    standard   shift mean,          scale standard deviation
    robust     shift median,        scale 0.7413 * interquartile range
    last       shift the last y,    scale standard deviation

A scale is at least the mean |y| / n^2, of n numbers, and a thousandth of it, below which a series
counts as constant; 1 if all are 0.  Robust is standard where half of the numbers are the same.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Scaling = Literal["mean", "standard", "robust", "last"]
TINY = 1e-3  # of |y|, the least scale
TO_DEVIATION = 0.7413  # interquartile ranges of a normal distribution in a standard deviation

Numbers = NDArray[np.float64]


def find_scale(seen: Numbers, how: Scaling | None) -> tuple[Numbers, Numbers]:
    """Shift and scale (B, 1, K) of windows from what is seen of them (B, T, K), NaN where nothing.

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
    elif how == "last":
        shift = y[:, -1:]
        if there is not None:
            last = seen.shape[1] - 1 - there[:, ::-1].argmax(1)[:, None]
            shift = np.take_along_axis(y, last, 1)
    if how is not None:
        scale = np.maximum(scale, np.maximum(TINY, 1.0 / (count * count)) * size)
    if not scale.all():
        scale = np.where(scale == 0, 1.0, scale)
    return shift, scale


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
