"""Widen intervals whose coverage is too low, or where numbers are missing; without torch.

    q_p  becomes  q_0.5 + a max(r, t, l) (q_p - q_0.5)

a >= 1 is the smallest number that gives the central interval its nominal coverage on complete
validation windows; few series or few windows in training make it larger than 1.  The other factors
are for windows with missing numbers: r depends on the share of the context that is missing, t on
the share that is missing at its end, after the last number, and l on the share that is missing at
its beginning, before the first number.  They are measured at the shares GAPS, on validation windows
in which numbers are hidden.  They never decrease and are linear between these shares, and they are
reduced where few windows determine them.

Shape legend: N windows, E numbers of a forecast, T steps of the context, H steps ahead, K targets,
Q levels, G shares of the context.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

MOST = 2.0  # maximum of a, because few validation windows give far larger values
GAPS = np.array([1 / 8, 1 / 4, 1 / 2, 3 / 4, 15 / 16])  # G shares of the context
NEAR = 1 / 8  # windows that differ less from a share determine its factor
MOST_OF_GAPS, FEW = 30.0, 10  # maximum of r, t and l; windows that halve their excess over 1
CENTRAL = 0.1, 0.9  # levels of the central interval; the nearest ones are used

Numbers = NDArray[np.float64]


def widen(
    quantiles: NDArray[Any], factor: Numbers, middle: int, *drawn: NDArray[Any]
) -> list[NDArray[Any]]:
    """Move quantiles (N, H, K, Q) and futures (N, S, H, K) away from the median.

    Args:
        quantiles: predictions.
        factor: (N, K) factors of the distances from the median.
        middle: place of the median among the quantiles.
        drawn: futures.

    Example:
        >>> import numpy as np
        >>> from elman.decode.widen import widen
        >>> widen(np.array([1.0, 2.0, 4.0]).reshape(1, 1, 1, 3), np.array([[2.0]]), 1)[0].ravel()
        array([0., 2., 6.])
    """
    each = factor[:, None]  # (N, 1, K)
    median = quantiles[..., middle, None]
    wider = [median + each[..., None] * (quantiles - median)]
    median = median[..., 0][:, None]
    return wider + [median + each[:, None] * (one - median) for one in drawn]


def find_factors(context: NDArray[np.floating], widening: Numbers) -> Numbers:
    """Return the factors (N, K) of intervals after contexts (N, T, K) with NaN for missing numbers.

    Args:
        context: numbers that the forecasts read.
        widening: a, and r, t and l at the shares GAPS (1 + 3 G).

    Example:
        >>> import numpy as np
        >>> from elman.decode.widen import GAPS, find_factors
        >>> context = np.array([[1.0, 1.0, np.nan, 1.0], [1.0, 1.0, np.nan, np.nan]])[..., None]
        >>> widening = np.array([1.5, *(1 + 2 * GAPS), *(1 + 8 * GAPS), *np.ones(len(GAPS))])
        >>> find_factors(context, widening).ravel().tolist()
        [2.25, 7.5]
    """
    there, steps = ~np.isnan(context), context.shape[1]
    factor: Numbers = np.full(there[:, 0].shape, widening[0])
    if there.all():
        return factor
    some = there.any(1)
    missing = (
        missing_share(context)[:, None],
        *(np.where(some, side.argmax(1) / steps, 1.0) for side in (there[:, ::-1], there)),
    )
    found = np.ones_like(factor)
    for share, known in zip(missing, np.split(widening[1:], 3), strict=True):
        found = np.maximum(found, np.interp(share, np.r_[0.0, GAPS], np.r_[1.0, known]))
    return np.asarray(factor * found)


def missing_share(context: NDArray[np.floating]) -> Numbers:
    """Return the share (N,) of numbers of the targets that are missing in contexts (N, T, K).

    Steps before the first number of a window do not count, as the series begins there.
    """
    there = ~np.isnan(context)
    begun = np.maximum.accumulate(there.any(2), axis=1)
    count = begun.sum(1) * context.shape[2]
    return np.asarray(1 - there.sum((1, 2)) / np.maximum(count, 1))


def complete_widening(widening: Numbers) -> Numbers:
    """Return all 1 + 3 G numbers; earlier versions stored a and the slope of r, or the slope."""
    if len(widening) > 2:
        return widening
    always, slope = np.r_[1.0, widening][-2:]
    return np.concatenate([[always], 1 + slope * GAPS, np.ones(2 * len(GAPS))])


def find_widening(
    missing: Numbers, y: Numbers, quantiles: Numbers, levels: Sequence[float]
) -> tuple[float, Numbers]:
    """Return a, and r (G,) at the shares GAPS.

    Args:
        missing: (N,) shares of missing numbers; 0 for the complete windows.
        y: (N, E) true numbers, NaN if missing.
        quantiles: (N, E, Q) predictions.
        levels: ascending, including 0.5.

    Example:
        >>> import numpy as np
        >>> from elman.decode.widen import find_widening
        >>> missing, draw = np.repeat([0.0, 0.5], 5000), np.random.default_rng(0)
        >>> y = draw.normal(0, np.where(missing > 0, 1.8, 1.2))[:, None]
        >>> quantiles = np.broadcast_to([-1.28, 0.0, 1.28], (10000, 1, 3))
        >>> a, r = find_widening(missing, y, quantiles, [0.1, 0.5, 0.9])
        >>> f"{a:.1f} {r[2]:.1f}"
        '1.2 1.5'
    """
    ratios, share = _ratios(y[missing == 0], quantiles[missing == 0], levels)
    always = min(MOST, max(1.0, float(np.quantile(ratios, share)))) if len(ratios) else 1.0
    found = []
    for gap in GAPS:
        near = (missing > 0) & (np.abs(missing - gap) <= NEAR)
        found.append(find_factor(y[near], quantiles[near], levels, always))
    return always, np.maximum.accumulate(found)


def find_factor(y: Numbers, quantiles: Numbers, levels: Sequence[float], always: float) -> float:
    """Return the factor that multiplies a, from windows with hidden numbers.

    Args:
        y, quantiles, levels: as for `find_widening`.
        always: a.
    """
    ratios, share = _ratios(y, quantiles, levels)
    if not len(ratios):
        return 1.0
    factor = min(MOST_OF_GAPS, max(1.0, float(np.quantile(ratios, share)) / always))
    return 1.0 + (factor - 1.0) * len(y) / (len(y) + FEW)


def _ratios(y: Numbers, quantiles: Numbers, levels: Sequence[float]) -> tuple[Numbers, float]:
    """Return errors in units of half the central interval, and the level of the interval."""
    low, high = (int(np.abs(np.array(levels) - level).argmin()) for level in CENTRAL)
    middle, share = quantiles[..., levels.index(0.5)], levels[high] - levels[low]
    error = y - middle
    half = np.where(error < 0, middle - quantiles[..., low], quantiles[..., high] - middle)
    there = ~np.isnan(error) & (half > 0)
    if levels.index(0.5) in (low, high):  # only errors of one side have a width
        share *= 2
    return np.abs(error[there]) / half[there], share
