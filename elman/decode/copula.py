"""Whole futures out of the quantiles of single numbers: which of these go together.

    z_i = g_i^-1(y_i),   g_i through (Phi^-1(p), q_p) of all levels p, in straight lines
    R = correlation of z around 0 over forecasts that training has not seen; of few of them drawn
        towards its means over all steps that are as far apart
    future = g(z),   z ~ N(0, R)

i counts the numbers of a forecast, all steps and targets.  Each number of a future has the
distribution that its quantiles say, beyond the outermost going on as straight lines; and where
one is high, those are that used to be.

Source: a Gaussian copula of quantile forecasts, as Pinson et al. 2009, "From probabilistic
forecasts to statistical scenarios of short-term wind power production", Wind Energy 12.  Different
here: R is that of all forecasts and does not change with time.

Shape legend: B forecasts, H steps, K targets, Q levels, S futures, D = H K.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from elman.encode.scale import ROUNDING

MOST = 1024  # numbers of a forecast
WIDEST = 4.0  # deviations that a number may be off, as it is taken

Numbers = NDArray[np.float64]


def find_dependence(y: Numbers, quantiles: Numbers, levels: Sequence[float]) -> Numbers:
    """R (D, D) of what came (B, H, K) and the quantiles of it (B, H, K, Q).

    Of what is missing (NaN) nothing counts.

    Example:
        >>> import numpy as np
        >>> from elman.decode.copula import find_dependence
        >>> y = np.repeat(np.random.default_rng(0).normal(size=(500, 1, 1)), 2, axis=1)
        >>> quantiles = np.broadcast_to([-0.8416, 0.0, 0.8416], (500, 2, 1, 3))
        >>> find_dependence(y, quantiles, [0.2, 0.5, 0.8]).round(2).tolist()
        [[1.0, 1.0], [1.0, 1.0]]
    """
    targets = y.shape[2]
    z = _scores(y, quantiles, levels).reshape(len(y), -1)
    there = (~np.isnan(z)).astype(np.float64)
    z = np.nan_to_num(z)
    squares = (z * z).T @ there
    count = there.T @ there
    found = z.T @ z / np.maximum(np.sqrt(squares * squares.T), 1e-12)
    step, target = np.divmod(np.arange(len(found)), targets)
    apart = np.abs(np.subtract.outer(step, step))
    kind = (apart * targets + target[:, None]) * targets + target
    some = (count > 0).ravel()
    sums, many = (np.bincount(kind.ravel(), weights) for weights in ((found.ravel() * some), some))
    like = (sums / np.maximum(many, 1))[kind]
    # Of few forecasts chance is left out by what all steps so far apart have in common.
    found = (count * found + len(found) * like) / (count + len(found))
    np.fill_diagonal(found, 1.0)
    root = find_root(found)  # of what is no correlation of anything, the nearest that is
    root /= np.maximum(np.linalg.norm(root, axis=1, keepdims=True), 1e-6)
    return np.asarray(root @ root.T)


def find_root(dependence: Numbers) -> Numbers:
    """A matrix (D, D) that makes independent numbers depend on each other like R."""
    values, vectors = np.linalg.eigh(dependence)
    return np.asarray(vectors * np.sqrt(values.clip(min=0)))


def draw_futures(
    quantiles: Numbers,
    levels: Sequence[float],
    root: Numbers,
    count: int,
    draw: np.random.Generator,
) -> Numbers:
    """Futures (B, S, H, K) of quantiles (B, H, K, Q), with the same random numbers for all rows.

    Args:
        quantiles: of each number.
        levels: Q of them.
        root: of the dependence, see `find_root`.
        count: S.
        draw: the random numbers.

    Example:
        >>> import numpy as np
        >>> from elman.decode.copula import draw_futures, find_root
        >>> quantiles = np.array([[[[-1.0, 0.0, 1.0]], [[9.0, 10.0, 11.0]]]])
        >>> found = draw_futures(
        ...     quantiles, [0.2, 0.5, 0.8], find_root(np.ones((2, 2))), 5, np.random.default_rng(0)
        ... )
        >>> found.shape, np.allclose(found[0, :, 1] - found[0, :, 0], 10)
        ((1, 5, 2, 1), True)
    """
    z = (draw.standard_normal((count, len(root))) @ root.T).reshape(count, *quantiles.shape[1:3])
    knots = _knots(levels)
    upper = np.searchsorted(knots, z).clip(1, len(knots) - 1)
    share = (z - knots[upper - 1]) / (knots[upper] - knots[upper - 1])
    ends = quantiles[:, None]
    low, high = (
        np.take_along_axis(ends, place[None, ..., None], -1)[..., 0] for place in (upper - 1, upper)
    )
    return np.asarray(low + share * (high - low))


def _scores(y: Numbers, quantiles: Numbers, levels: Sequence[float]) -> Numbers:
    """z (B, H, K)."""
    knots = _knots(levels)
    upper = (y[..., None] > quantiles).sum(-1, keepdims=True).clip(1, len(knots) - 1)
    low, high = (np.take_along_axis(quantiles, n, -1)[..., 0] for n in (upper - 1, upper))
    upper = upper[..., 0]
    width = np.maximum(high - low, ROUNDING * np.maximum(np.abs(high), np.abs(y)))
    share = (y - low) / np.where(width > 0, width, 1.0)
    found = knots[upper - 1] + share * (knots[upper] - knots[upper - 1])
    return np.asarray(found.clip(-WIDEST, WIDEST))


def _knots(levels: Sequence[float]) -> Numbers:
    return np.array([NormalDist().inv_cdf(p) for p in levels])
