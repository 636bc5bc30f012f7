"""Scores of short utterances, and searches by enumeration."""

from __future__ import annotations

import itertools

import numpy as np
import torch

from elman.decode.ctc import CtcSearch
from elman.decode.hypotheses import Hypothesis, SpeechSearch

Sums = dict[tuple[int, ...], float]


def scores(steps: int, size: int, seed: int, sharpness: float = 2.0) -> torch.Tensor:
    """Return random log-probabilities (steps, size)."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(steps, size, generator=generator).mul(sharpness).log_softmax(1)


def spoken(
    tokens: list[int], size: int, *, other: int | None = None, p: float = 0.9
) -> torch.Tensor:
    """Return log-probabilities in which each token is likely, with a blank after it."""
    rows = []
    for token in tokens:
        row = torch.full((size,), 1e-3)
        row[token] = p
        if other is not None:
            row[other] = 1 - p
        rows += [row, torch.tensor([1e-3] * (size - 1) + [0.99])]
    return torch.stack(rows).log().log_softmax(1)


def all_sums(log_p: torch.Tensor) -> Sums:
    """Return log p of every sequence of tokens, by enumeration of all CTC paths."""
    values, sums = log_p.double().numpy(), Sums()
    for path in itertools.product(range(values.shape[1]), repeat=len(values)):
        y = tuple(k for k, _ in itertools.groupby(path) if k != values.shape[1] - 1)
        p = sum(values[t, k] for t, k in enumerate(path))
        sums[y] = float(np.logaddexp(sums.get(y, -np.inf), p))
    return sums


def decoded(
    log_p: torch.Tensor, search: SpeechSearch, scorer: object = None, *, final: bool = True
) -> list[Hypothesis]:
    """Return what a CTC search finds."""
    live = CtcSearch(log_p.shape[1], search, scorer)  # type: ignore[arg-type]
    live.push(log_p)
    return live.best(final=final)
