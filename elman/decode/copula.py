"""Sample whole futures from the quantiles of single numbers, with the dependence between them.

    z_i = g_i^-1(y_i),   g_i piecewise linear through (Phi^-1(p), q_p) of all levels p
    R = correlation of z around 0 over forecasts that are not in the training data; if these are
        few, R is shrunk towards its means over all pairs of steps with the same distance
    future = g(z),   z ~ N(0, R)

The index i counts the numbers of a forecast, over all steps and targets.  Each number of a future
has the distribution that its quantiles describe, extrapolated linearly beyond the outermost, and
numbers that were high together in the past are high together in a future.

Source: a Gaussian copula of quantile forecasts, as Pinson et al. 2009, "From probabilistic
forecasts to statistical scenarios of short-term wind power production", Wind Energy 12.  Unlike
there, R is estimated from all forecasts and does not change with time.

Shape legend: B forecasts, H steps, K targets, Q levels, S futures, D = H K.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from elman.encode.scale import ROUNDING

MOST = 1024  # numbers of a forecast, at most
WIDEST = 4.0  # z is clipped to this

Numbers = NDArray[np.float64]


def find_dependence(y: Numbers, quantiles: Numbers, levels: Sequence[float]) -> Numbers:
    """Estimate R (D, D) from true numbers (B, H, K) and their predicted quantiles (B, H, K, Q).

    Missing numbers (NaN) are ignored.

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
    # With few forecasts, the mean over all pairs of steps with the same distance reduces the noise.
    found = (count * found + len(found) * like) / (count + len(found))
    np.fill_diagonal(found, 1.0)
    root = find_root(found)  # of the nearest valid correlation matrix
    root /= np.maximum(np.linalg.norm(root, axis=1, keepdims=True), 1e-6)
    return np.asarray(root @ root.T)


def find_root(dependence: Numbers) -> Numbers:
    """Return a matrix (D, D) that gives independent normal numbers the correlation R."""
    values, vectors = np.linalg.eigh(dependence)
    return np.asarray(vectors * np.sqrt(values.clip(min=0)))


def draw_futures(
    quantiles: Numbers,
    levels: Sequence[float],
    root: Numbers,
    count: int,
    draw: np.random.Generator,
) -> Numbers:
    """Draw futures (B, S, H, K) from quantiles (B, H, K, Q), with equal random numbers in all rows.

    Args:
        quantiles: quantiles of each number.
        levels: the Q levels.
        root: root of the correlation matrix, see `find_root`.
        count: S.
        draw: random generator.

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
    """Return z (B, H, K)."""
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
