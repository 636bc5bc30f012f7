"""Widen intervals that hold too seldom, or where numbers are missing; without torch.

    q_p  becomes  q_0.5 + a (1 + c m) (q_p - q_0.5)

m is the share of missing numbers in the context.  a >= 1 is the smallest number with which the
central interval holds as often as it should on complete validation windows; few series or few
windows in training make it larger than 1.  c >= 0 is the smallest number with which the interval
holds as often on windows whose numbers are hidden at random.  Both are at most MOST.

Shape legend: N windows, E numbers of a forecast, Q levels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

MOST = 2.0  # a and c at most, as few validation windows give far larger ones
CENTRAL = 0.1, 0.9  # levels of the interval, or those next to them

Numbers = NDArray[np.float64]


def widen(
    quantiles: NDArray[Any], factor: Numbers, middle: int, *drawn: NDArray[Any]
) -> list[NDArray[Any]]:
    """Move quantiles (N, H, K, Q) and futures (N, S, H, K) away from the median.

    Args:
        quantiles: predictions.
        factor: (N,) factors of the distances from the median.
        middle: place of the median among the quantiles.
        drawn: futures.

    Example:
        >>> import numpy as np
        >>> from elman.decode.widen import widen
        >>> widen(np.array([1.0, 2.0, 4.0]).reshape(1, 1, 1, 3), np.array([2.0]), 1)[0].ravel()
        array([0., 2., 6.])
    """
    each = factor[:, None, None, None]
    median = quantiles[..., middle, None]
    wider = [median + each * (quantiles - median)]
    median = median[..., 0][:, None]
    return wider + [median + each * (one - median) for one in drawn]


def find_widening(
    missing: Numbers, y: Numbers, quantiles: Numbers, levels: Sequence[float]
) -> tuple[float, float]:
    """Return a and c.

    Args:
        missing: (N,) shares of missing numbers; 0 for the complete windows.
        y: (N, E) true numbers, NaN for none.
        quantiles: (N, E, Q) predictions.
        levels: rising, with 0.5.

    Example:
        >>> import numpy as np
        >>> from elman.decode.widen import find_widening
        >>> missing, draw = np.repeat([0.0, 0.5], 5000), np.random.default_rng(0)
        >>> y = draw.normal(0, np.where(missing > 0, 1.8, 1.2))[:, None]
        >>> quantiles = np.broadcast_to([-1.28, 0.0, 1.28], (10000, 1, 3))
        >>> a, c = find_widening(missing, y, quantiles, [0.1, 0.5, 0.9])
        >>> f"{a:.1f} {c:.0f}"
        '1.2 1'
    """
    low, high = (int(np.abs(np.array(levels) - level).argmin()) for level in CENTRAL)
    middle, share = quantiles[..., levels.index(0.5)], levels[high] - levels[low]
    error = y - middle
    half = np.where(error < 0, middle - quantiles[..., low], quantiles[..., high] - middle)
    there = ~np.isnan(error) & (half > 0)
    ratios = np.abs(error[there]) / half[there]
    m = np.broadcast_to(missing[:, None], y.shape)[there]
    if not (m == 0).any():
        return 1.0, 0.0
    if levels.index(0.5) in (low, high):  # only errors of one side have a width
        share *= 2
    usual = float(np.quantile(ratios[m == 0], share))
    a = min(MOST, max(1.0, usual))
    if usual == 0 or not (m > 0).any():
        return a, 0.0
    wanted = (ratios[m > 0] / usual - 1) / m[m > 0]
    return a, min(MOST, max(0.0, float(np.quantile(wanted, share))))
