"""Combine forecasts with a simple forecast, by an estimated share; without torch.

    f_h  becomes  f_h + w (g_h - f_h),   g_h = y_T + s_{T+h} - s_T

g is the last number y_T; with a season, the change of the mean season s of the context is added.
The mean of each season and the trend are removed from s.  Where little can be predicted, as with
prices, a network follows movements that do not recur, and the last number alone is hard to beat.

w is 0 if the loss of g on validation windows is higher than that of f by MARGIN standard errors.
Otherwise w is the share with the lowest loss, if the loss of g is higher than that by MARGIN
standard errors, and else 1.  It is reduced where few independent windows determine it.

Source: Bates and Granger 1969, "The Combination of Forecasts".

Shape legend: B windows, T steps of the context, H steps ahead, K targets, Q levels, W shares.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SHARES = np.arange(11) / 10  # W candidates
MARGIN = 2.0  # standard errors by which a model must be better than the simple forecast
ROUNDS = 10  # of alternating means, if numbers are missing
FEW = 20  # number of independent windows for which the share is halved

Numbers = NDArray[np.float64]
Whole = NDArray[np.int64]


def simple_forecast(context: NDArray[np.floating], horizon: int, season: int = 1) -> Numbers:
    """Return the simple forecast g (B, H, K) for contexts (B, T, K).

    NaN is missing; a context without numbers has NaN forecasts.  If the context has fewer than two
    seasons, the season is not used.

    Example:
        >>> import numpy as np
        >>> from elman.decode.combine import simple_forecast
        >>> y = np.array([1.0, 5.0, 2.0, 6.0, 3.0, 7.0])[None, :, None]
        >>> simple_forecast(y, 2).ravel().tolist(), simple_forecast(y, 2, season=2).ravel().tolist()
        ([7.0, 7.0], [3.5, 7.0])
    """
    there = ~np.isnan(context)
    steps = context.shape[1]
    last = steps - 1 - there[:, ::-1].argmax(1)[:, None]  # (B, 1, K)
    y = np.take_along_axis(context, last, 1).astype(np.float64)
    count = steps // season
    if season == 1 or count < 2:
        return np.repeat(y, horizon, 1)
    begin = steps - count * season
    shape = (len(context), count, season, context.shape[2])
    rows, known = context[:, begin:].reshape(shape), there[:, begin:].reshape(shape)
    index = np.zeros(1)
    for _ in range(1 if known.all() else ROUNDS):  # repeated so that gaps have no influence
        levels = _mean(rows - index, known, 2)  # (B, count, 1, K)
        index = np.nan_to_num(_mean(rows - levels, known, 1))  # (B, 1, season, K)
    slope = np.nan_to_num(levels[:, -1] - levels[:, 0]) / (season * (count - 1))
    index = index[:, 0] - slope * (np.arange(season)[:, None] - (season - 1) / 2)
    ahead = index[:, np.arange(steps - begin, steps - begin + horizon) % season]
    return np.asarray(y + ahead - np.take_along_axis(index, (last - begin) % season, 1))


def _mean(values: NDArray[np.floating], known: NDArray[np.bool_], axis: int) -> Numbers:
    """Return the mean of the known values; NaN if there are none."""
    total = np.where(known, values, 0.0).sum(axis, keepdims=True, dtype=np.float64)
    count = known.sum(axis, keepdims=True)
    return np.asarray(np.where(count > 0, total / np.maximum(count, 1), np.nan))


def find_share(losses: Numbers, series: Whole, blocks: Whole) -> float:
    """Return the share of the simple forecast.

    Args:
        losses: (B, W) losses of windows with each of SHARES; NaN if unknown.
        series: (B,) series of the windows.
        blocks: (B,) periods of the windows; errors of one period are correlated, and so are
            those of one series.

    Example:
        >>> import numpy as np
        >>> from elman.decode.combine import SHARES, find_share
        >>> each, noise = np.arange(100), np.random.default_rng(0).normal(0, 0.5, (100, 1))
        >>> from_best = [SHARES - best for best in (0.0, 0.5, 1.0)]
        >>> losses = [distance**2 + noise * distance for distance in from_best]
        >>> [round(find_share(one, each, each * 0), 2) for one in losses]
        [0.0, 0.42, 0.83]
    """
    known = ~np.isnan(losses).any(1)
    losses, series, blocks = losses[known], series[known], blocks[known]
    if not len(losses):
        return 0.0
    best = int(losses.mean(0).argmin())
    for number in (0, best):
        above = losses[:, -1] - losses[:, number]
        error = max(_standard_error(above, series), _standard_error(above, blocks))
        if above.mean() > MARGIN * error:
            break
    else:
        number = len(SHARES) - 1
    independent = len(np.unique(series)) * len(np.unique(blocks))
    return float(SHARES[number] * independent / (independent + FEW))


def _standard_error(values: Numbers, groups: Whole) -> float:
    """Return the standard error of the mean of values (B,) that are correlated within groups."""
    sums = np.bincount(np.unique(groups, return_inverse=True)[1], values - values.mean())
    count = len(sums)
    return float(np.sqrt((sums @ sums) * count / max(1, count - 1))) / len(values)
