"""Calibrate quantiles by their errors on numbers that are not in the training data.

    e_i = (y_i - q_p(x_i)) / scale_i,  i = 1 .. n
    c_p = the ceil((n + 1) p)-th smallest e for p > 1/2, the floor((n + 1) p)-th for p < 1/2
    q_p(x) + c_p scale reaches a new y with a probability of at least p

if the new number and the n numbers are exchangeable.  Within one series they are only approximately
exchangeable.  Each target has separate corrections, and so has each step ahead if there are at
least ENOUGH numbers for it; otherwise all steps share them.  The median does not change.  All
quantiles of a point forecast are the point itself, so the corrections turn it into an interval.

Source: split conformal prediction, of quantiles as in Romano, Patterson and Candes 2019
(arXiv:1905.03222), separately for each side.

Shape legend: B windows, H steps, K targets, Q levels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

ENOUGH = 100  # numbers for corrections of a single step ahead

Numbers = NDArray[np.float64]


def least(levels: Sequence[float]) -> int:
    """Return the least n that these levels need: (n + 1) p <= n for the outermost.

    >>> least([0.025, 0.5, 0.975])
    39
    """
    outermost = max(levels[-1], 1 - levels[0])
    return math.ceil(round(outermost / (1 - outermost), 6))


def find_corrections(errors: Numbers, levels: Sequence[float]) -> Numbers:
    """Find corrections (H, K, Q) from errors (B, H, K, Q) in units of the scale; NaN is ignored.

    Example:
        >>> import numpy as np
        >>> from elman.decode.conformal import find_corrections
        >>> errors = np.arange(-9.0, 10.0).reshape(19, 1, 1, 1)
        >>> find_corrections(np.repeat(errors, 3, 3), [0.1, 0.5, 0.9])[0, 0].tolist()
        [-8.0, 0.0, 8.0]
    """
    found = np.zeros(errors.shape[1:])
    if (~np.isnan(errors[..., 0])).sum(0).min() < ENOUGH:
        errors = errors.reshape(-1, 1, *errors.shape[2:])
    order = np.sort(errors, axis=0)  # NaN is last
    count = (~np.isnan(errors[..., 0])).sum(0)
    for place, p in enumerate(levels):
        exact = (count + 1) * p
        rank = np.where(p > 0.5, np.ceil(exact - 1e-9), np.floor(exact + 1e-9)).astype(np.int64)
        chosen = rank.clip(1, np.maximum(count, 1)) - 1
        values = np.take_along_axis(order[..., place], chosen[None], 0)[0]
        if not math.isclose(p, 0.5):
            found[..., place] = np.where(count > 0, values, 0.0)  # for all steps, if shared
    return found


def correct(
    quantiles: Numbers, scale: Numbers, corrections: Numbers, levels: Sequence[float]
) -> Numbers:
    """Correct quantiles (B, H, K, Q), whose levels are ascending and include 0.5.

    Example:
        >>> import numpy as np
        >>> from elman.decode.conformal import correct
        >>> c = np.array([-1.0, 0.0, 2.0]).reshape(1, 1, 3)
        >>> correct(np.full((1, 1, 1, 3), 5.0), np.full((1, 1, 1, 1), 10.0), c, [0.1, 0.5, 0.9])
        array([[[[-5.,  5., 25.]]]])
    """
    moved = quantiles + corrections * scale
    middle = list(levels).index(0.5)
    median = quantiles[..., middle, None]
    low = np.sort(np.minimum(moved[..., :middle], median), axis=-1)
    high = np.sort(np.maximum(moved[..., middle + 1 :], median), axis=-1)
    return np.concatenate([low, median, high], axis=-1)
