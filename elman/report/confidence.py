"""Calibration of the confidence in a word: the probability that the word is correct.

    p = sigmoid(slope z + offset + second f),   z = logit(raw confidence),   slope >= 0

This is the scaling of Platt (1999, "Probabilistic outputs for support vector machines"), applied to
the logit of a raw confidence, with an optional second feature f of the word.  The weights minimise,
on words of the validation data,

    sum over words of -log p(what the word is)  +  1/2 |(slope, offset, second) - (1, 0, 0)|^2

where f is scaled to mean 0 and deviation 1.  The second term is a normal prior: without any words
the raw confidences stay unchanged, and if all words are correct, p stays below 1.

    ECE   sum over bins of p of |correct words - sum of p| / words
    NCE   1 - H(p) / H(share of correct words), where H is the cross-entropy with what the words
          are: 0 if p is that share for every word, 1 if p is perfect, below 0 if p misleads
          (Siu, Gish and Richardson 1997, "Improved estimation, evaluation and applications of
          confidence measures for speech recognition")

Shape legend: N words.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from elman.errors import ArgumentError
from elman.report.classes import BINS

Array = NDArray[np.float64]
LEAST = 1e-6  # probabilities are at least this, and at most 1 minus this, in a logit or logarithm
PRIOR = np.array([1.0, 0.0, 0.0])  # the weights that leave a raw confidence unchanged
STEPS = 100  # of Newton's method, which needs fewer than 20
CLOSE = 1e-12  # change of the loss at which it ends
ROUNDING = 1e-9  # deviation of a constant feature, relative to its size, is at most this


@dataclass(frozen=True)
class Calibration:
    """A map from the raw confidence in a word to the probability that the word is correct.

    Attributes:
        slope: weight of the logit of the raw confidence, 0 or more.
        offset: constant term.
        second: weight of the second feature.

    Example:
        >>> from elman.report.confidence import Calibration
        >>> Calibration(slope=0.5)([0.5, 0.8]).round(3).tolist()
        [0.5, 0.667]
    """

    slope: float = 1.0
    offset: float = 0.0
    second: float = 0.0

    def __call__(self, raw: ArrayLike, feature: ArrayLike | None = None) -> Array:
        """Return the probabilities (N) that words are correct.

        Args:
            raw: raw confidences (N) in 0..1.
            feature: the second feature (N), if the weights were fitted with one.

        Raises:
            ArgumentError: a value is not a number or not in 0..1, shapes differ, or the second
                feature is missing.
        """
        if feature is None and self.second:
            raise ArgumentError("feature: got None, expected the second feature of the fit")
        return _sigmoid(_inputs(raw, feature) @ [self.slope, self.offset, self.second])


def fit_calibration(
    raw: ArrayLike, correct: ArrayLike, feature: ArrayLike | None = None
) -> Calibration:
    """Fit a calibration to words of the validation data.

    Args:
        raw: raw confidences (N) in 0..1.
        correct: whether each word is correct (N).
        feature: a second feature (N), such as the duration of a word in seconds.

    Raises:
        ArgumentError: a value is not a number or not in 0..1, or shapes differ.

    Example:
        >>> from elman.report.confidence import fit_calibration
        >>> fitted = fit_calibration([0.99] * 400, [True, True, True, False] * 100)
        >>> fitted([0.99]).round(2).tolist()
        [0.75]
    """
    inputs = _inputs(raw, feature)
    right = _checked("correct", correct, len(inputs))
    if not len(inputs):
        return Calibration()
    f = inputs[:, 2]
    mean, deviation = float(f.mean()), float(f.std())
    if deviation <= ROUNDING * np.abs(f).max():
        deviation = math.inf  # a constant has no weight
    inputs[:, 2] = (f - mean) / deviation
    weights = _minimise(inputs, right, PRIOR)
    if weights[0] < 0:  # the loss is convex, so the best slope that is not negative is 0
        weights = _minimise(inputs * [0, 1, 1], right, np.zeros(3))
    slope, offset, second = (float(w) for w in weights)
    second /= deviation
    return Calibration(slope, offset - second * mean, second)


def score_confidences(p: ArrayLike, correct: ArrayLike) -> dict[str, float]:
    """Score the probabilities that words are correct.

    Args:
        p: probabilities (N).
        correct: whether each word is correct (N).

    Returns:
        ECE, the number of words, and NCE if some words are correct and some are wrong.

    Raises:
        ArgumentError: a value is not a number or not in 0..1, or shapes differ.

    Example:
        >>> from elman.report.confidence import score_confidences
        >>> scores = score_confidences([0.9, 0.8, 0.2], [True, True, False])
        >>> round(scores["ECE"], 3), round(scores["NCE"], 3)
        (0.167, 0.711)
    """
    chance = _checked("p", p, None)
    right = _checked("correct", correct, len(chance))
    words = len(chance)
    bins = np.minimum((chance * BINS).astype(np.int64), BINS - 1)
    gaps = np.bincount(bins, right - chance, minlength=BINS)
    scores = {"ECE": float(np.abs(gaps).sum()) / max(1, words), "words": words}
    if 0 < right.sum() < words:
        scores["NCE"] = 1 - _entropy(chance, right) / _entropy(right.mean(), right)
    return scores


def _minimise(inputs: Array, right: Array, prior: Array) -> Array:
    """Return the weights with the lowest loss, by Newton's method with halved steps."""
    sign = 2 * right - 1

    def loss(weights: Array) -> float:
        fit = np.logaddexp(0, -sign * (inputs @ weights)).sum()
        return float(fit + ((weights - prior) ** 2).sum() / 2)

    weights, value = prior, loss(prior)
    for _ in range(STEPS):
        p = _sigmoid(inputs @ weights)
        slope = inputs.T @ (p - right) + weights - prior
        curvature = (inputs.T * (p * (1 - p))) @ inputs + np.eye(3)
        step = np.linalg.solve(curvature, slope)
        while loss(weights - step) > value and np.abs(step).max() > CLOSE:
            step = step / 2
        weights, before = weights - step, value
        value = loss(weights)
        if before - value <= CLOSE * (1 + before):
            break
    return weights


def _inputs(raw: ArrayLike, feature: ArrayLike | None) -> Array:
    """Return the logits, ones and the second feature (N, 3)."""
    p = _checked("raw", raw, None).clip(LEAST, 1 - LEAST)
    f = np.zeros_like(p) if feature is None else _checked("feature", feature, len(p))
    return np.stack([np.log(p) - np.log1p(-p), np.ones_like(p), f], 1)


def _checked(name: str, values: ArrayLike, words: int | None) -> Array:
    """Return values (N) as floats; they must be in 0..1, unless they are a second feature."""
    array = np.asarray(values, dtype=np.float64)
    wanted = "one number" if words is None else f"{words} numbers, one"
    if array.ndim != 1 or (words is not None and len(array) != words):
        raise ArgumentError(f"{name}: got shape {array.shape}, expected {wanted} for each word")
    valid = np.isfinite(array) if name == "feature" else (array >= 0) & (array <= 1)
    if not valid.all():
        expected = "finite numbers" if name == "feature" else "numbers in 0..1"
        raise ArgumentError(f"{name}: got {array[~valid][0]}, expected {expected}")
    return array


def _sigmoid(x: Array) -> Array:
    return np.asarray(np.exp(-np.logaddexp(0, -x)))


def _entropy(p: Array, right: Array) -> float:
    p = np.clip(p, LEAST, 1 - LEAST)
    return float(-np.where(right > 0, np.log(p), np.log1p(-p)).mean())
